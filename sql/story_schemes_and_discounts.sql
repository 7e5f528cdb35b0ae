\i sql/include/fresh.psql
SET TimeZone = 'America/Sao_Paulo';
-- A language school: billed in advance or in arrears and on the day the customer wants, with discounts and increments,
-- cycles that are skipped, items for a while and a set-up fee of its own.
SELECT billing.create_entity('lingua', name => 'Lingua Ltda', country => 'BR', currency => 'BRL', time_zone => 'America/Sao_Paulo');
SELECT billing.create_tax('none', category => 'Z', rate => 0);
SELECT billing.create_price('course', name => 'Course', currency => 'BRL', every => '1 month', tax => 'none', scheme => '{"model":"flat","flat_amount":100}');
SELECT billing.create_price('late', name => 'Course, paid afterwards', currency => 'BRL', every => '1 month', timing => 'arrears', tax => 'none', scheme => '{"model":"flat","flat_amount":100}');
SELECT billing.create_price('week', name => 'Conversation, weekly', currency => 'BRL', every => '7 days', tax => 'none', scheme => '{"model":"flat","flat_amount":25}');
SELECT billing.create_price('year', name => 'Library', currency => 'BRL', every => '1 year', tax => 'none', scheme => '{"model":"flat","flat_amount":240}');
SELECT billing.create_price('enrolment', name => 'Enrolment', currency => 'BRL', tax => 'none', scheme => '{"model":"flat","flat_amount":60}');
SELECT billing.create_price('workbook', name => 'Workbook of the month', currency => 'BRL', every => '1 month', tax => 'none', scheme => '{"model":"flat","flat_amount":15}');
SELECT billing.create_plan('any', items => '[{"price":"course","optional":true},{"price":"late","optional":true},{"price":"year","optional":true}]');
SELECT billing.create_plan('weekly', items => '[{"price":"week"}]');
CREATE VIEW line AS
SELECT h.account_id, h.billed_at::date AS billed, h.id & 16777215 AS document, l.kind, l.price, l.gross_amount AS gross, l.discount_amount AS discount, l.increment_amount AS increment,
       l.amount, l.period_start::date AS from_day, l.period_end::date AS to_day
  FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
 ORDER BY h.account_id, h.billed_at, h.id, l.line_no;

-- Weekly, monthly and yearly; in advance at the start of a cycle, in arrears at its end.
SELECT billing.create_account('Ana') AS ana \gset
SELECT billing.create_subscription(:ana, 'weekly', start_at => '2026-01-05 00:00-03') AS weekly \gset
SELECT billing.create_subscription(:ana, 'any', start_at => '2026-01-05 00:00-03', items => '[{"price":"late"},{"price":"year"}]') AS arrears \gset
CALL billing.bill_run(at => '2026-02-05 00:00-03');
SELECT billed, price, amount, from_day, to_day FROM line WHERE account_id = :ana;

-- On the 31st, which is the last day of shorter months and springs back.
SELECT billing.create_account('Bia') AS bia \gset
SELECT billing.create_subscription(:bia, 'any', start_at => '2026-01-31 00:00-03', billing_day => 31, items => '[{"price":"course"}]') AS subscription \gset
CALL billing.bill_run(at => '2026-04-30 00:00-03');
SELECT billed, price, amount, from_day, to_day FROM line WHERE account_id = :bia;

-- Enrolment is an order of its own when the subscription is made, even where it is paid in arrears.
SELECT billing.create_account('Caio') AS caio \gset
SELECT billing.create_subscription(:caio, 'any', start_at => '2026-01-05 00:00-03',
           items => '[{"price":"late"},{"price":"enrolment","own_invoice":true}]') AS subscription \gset
CALL billing.bill_run(at => '2026-02-05 00:00-03');
SELECT document, billed, kind, price, amount FROM line WHERE account_id = :caio;

-- Discounts: 10 % of everything for this customer, 30.00 off one subscription for two cycles, and a surcharge of 5 % in
-- May.  Each is taken of the same amount; nothing falls below zero.
SELECT billing.create_account('Davi') AS davi \gset
SELECT billing.create_subscription(:davi, 'any', start_at => '2026-03-01 00:00-03', items => '[{"price":"course"}]') AS subscription \gset
SELECT billing.add_discount(:davi, 10, effective_at => '2026-03-01 00:00-03', description => 'loyal customer') IS NOT NULL AS ten_percent;
SELECT billing.add_discount(:davi, 30, type => 'fixed', subscription_id => :subscription, cycles => 2, effective_at => '2026-03-01 00:00-03') IS NOT NULL AS thirty;
SELECT billing.add_discount(:davi, 5, kind => 'increment', subscription_id => :subscription, effective_at => '2026-05-01 00:00-03', until => '2026-06-01 00:00-03') IS NOT NULL AS surcharge;
CALL billing.bill_run(at => '2026-06-01 00:00-03');
SELECT billed, price, gross, discount, increment, amount FROM line WHERE account_id = :davi;

-- The next two cycles are skipped: each is a row of its own, nothing is charged, and the days stay as they were.
SELECT billing.skip_cycles(:subscription, 2, effective_at => '2026-06-10 00:00-03', reason => 'holidays') = :subscription AS skipped;
CALL billing.bill_run(at => '2026-09-01 00:00-03');
SELECT schedule_version, period_no, skipped, reason FROM billing.skipped_cycle WHERE account_id = :davi ORDER BY period_no;
SELECT billed, price, gross, discount, amount, from_day, to_day FROM line WHERE account_id = :davi AND billed > '2026-06-01';

-- An item for a while: a workbook for three cycles.  A minimum for the whole subscription is trued up when a cycle ends.
SELECT billing.create_account('Eva') AS eva \gset
SELECT billing.create_subscription(:eva, 'any', start_at => '2026-03-01 00:00-03', items => '[{"price":"course"}]') AS subscription \gset
SELECT billing.add_item(:subscription, 'workbook', cycles => 3, effective_at => '2026-03-01 00:00-03') IS NOT NULL AS added;
SELECT billing.set_minimum(:subscription, 110, effective_at => '2026-05-01 00:00-03') IS NOT NULL AS minimum;
CALL billing.bill_run(at => '2026-07-01 00:00-03');
SELECT billed, kind, price, amount, from_day, to_day FROM line WHERE account_id = :eva;

-- The term is changed, the day of billing is moved from the 1st to the 10th, which leaves a part of a month, and a future
-- start is pulled forward: the library's year stays the calendar's, so the rest of this one is charged.
SELECT billing.change_term(:subscription, end_at => '2026-12-10 00:00-03') = :subscription AS changed;
SELECT billing.move_billing_day(:subscription, 10, effective_at => '2026-07-05 00:00-03') = :subscription AS moved;
SELECT billing.create_subscription(:eva, 'any', start_at => '2027-01-01 00:00-03', items => '[{"price":"year"}]') AS future \gset
SELECT billing.move_start(:future, '2026-08-10 00:00-03') = :future AS moved;
CALL billing.bill_run(at => '2026-09-10 00:00-03');
SELECT billed, kind, price, amount, from_day, to_day FROM line WHERE account_id = :eva AND billed > '2026-07-01';
SELECT count(*) AS findings FROM billing.check(deep => true);
