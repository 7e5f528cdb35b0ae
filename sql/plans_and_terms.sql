\i sql/include/fresh.psql
-- A subscription moves to another plan, on the same id: at once, at the end of its period, to another interval.  Its
-- term and its billing day move, cycles are skipped; whatever lasts so many cycles moves with them.
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC');
SELECT billing.create_tax('none', category => 'Z', rate => 0);
SELECT billing.create_price(code, currency => 'EUR', every => every::interval, tax => 'none', scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', amount))
  FROM (VALUES ('bronze', 10, '1 month'), ('silver', 20, '1 month'), ('gold', 300, '1 year'), ('support', 5, '1 month'), ('router', 3, '1 month')) p (code, amount, every);
SELECT billing.create_price('visit', currency => 'EUR', tax => 'none', scheme => '{"model":"flat","flat_amount":100}');
SELECT billing.create_plan('bronze', items => '[{"price":"bronze"},{"price":"support"}]'),
       billing.create_plan('silver', items => '[{"price":"silver"}]'),
       billing.create_plan('gold', items => '[{"price":"gold"}]');
CREATE VIEW bill AS
SELECT h.account_id AS account, h.kind, h.billed_at::date AS billed, l.price, l.quantity, l.amount, l.period_start::date AS from_day, l.period_end::date AS to_day
  FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
 ORDER BY h.account_id, h.id, l.line_no;

-- An upgrade at half of April.  The plan's item goes on with its successor, quantity and all; support is not part of
-- the new plan and ends; the router, added by the customer, stays.
SELECT billing.create_account('Upgrade') AS account \gset
SELECT billing.create_subscription(:account, 'bronze', start_at => '2023-04-01', items => '[{"price":"bronze","quantity":2},{"price":"router"}]') AS subscription \gset
CALL billing.bill_run(at => '2023-04-01');
SELECT billing.change_plan(:subscription, 'silver', effective_at => '2023-04-16') = :subscription AS same_subscription;
CALL billing.bill_run(at => '2023-05-01');
SELECT * FROM bill WHERE account = :account;
SELECT plan, state, period_start, period_end, next_billing_at FROM billing.subscription_status_on('2023-04-20') WHERE subscription_id = :subscription;
SELECT item_id - :subscription AS item, price, quantity FROM billing.subscription_items_on(:subscription, '2023-04-15');
SELECT item_id - :subscription AS item, price, quantity FROM billing.subscription_items_on(:subscription, '2023-04-16');

-- To a yearly plan at the end of the period, where the router ends, too: the calendar is a year's from then on.  What
-- is to come can be listed and withdrawn until then.
\set VERBOSITY terse
SELECT billing.end_item(:subscription + 3, effective_at => '2023-06-01') = :subscription + 3 AS ended;
SELECT billing.change_plan(:subscription, 'gold', '[{"price":"gold","replaces":"nothing"}]', effective_at => '2023-05-10', at_period_end => true);
SELECT billing.change_plan(:subscription, 'gold', effective_at => '2023-05-10', at_period_end => true, reason => 'offer') = :subscription AS moved;
SELECT verb, effective_at, arguments, reason FROM billing.pending_changes(:subscription, '2023-05-10');
SELECT version, valid_from, anchor, every FROM billing.schedule_version WHERE subscription_id = :subscription ORDER BY 1;
SELECT billing.withdraw_change(change_id, effective_at => '2023-05-20') = change_id AS withdrawn FROM billing.pending_changes(:subscription, '2023-05-10');
SELECT * FROM billing.pending_changes(:subscription, '2023-05-10');
SELECT version, valid_from, anchor, every FROM billing.schedule_version WHERE subscription_id = :subscription ORDER BY 1;

-- Six cycles, an item for two of them and a visit paid in three instalments.  A skipped cycle puts all of them off.
SELECT billing.create_account('Term') AS account \gset
SELECT billing.create_subscription(:account, 'bronze', start_at => '2023-01-31', cycles => 6) AS subscription \gset
SELECT billing.add_item(:subscription, 'router', cycles => 2, effective_at => '2023-02-28') AS router \gset
SELECT billing.add_item(:subscription, 'visit', instalments => 3, effective_at => '2023-02-10', description => 'installation') AS visit \gset
CREATE VIEW term AS
SELECT s.id AS subscription, s.end_at::date AS ends, (SELECT max(i.end_at)::date FROM billing.subscription_item i WHERE i.subscription_id = s.id AND i.cycles IS NOT NULL) AS item_ends,
       (SELECT string_agg(format('%s on %s', n.amount, n.due_at::date), ', ' ORDER BY n.ordinal) FROM billing.instalment n
         WHERE n.account_id = s.account_id AND n.active) AS instalments
  FROM billing.subscription s;
SELECT ends, item_ends, instalments FROM term WHERE subscription = :subscription;
SELECT billing.skip_cycles(:subscription, effective_at => '2023-03-01') = :subscription AS skipped;
SELECT ends, item_ends, instalments FROM term WHERE subscription = :subscription;
SELECT billing.change_term(:subscription, cycles => 4) = :subscription AS shortened;
SELECT billing.move_billing_day(:subscription, 15, effective_at => '2023-05-01') = :subscription AS moved;
SELECT ends, item_ends, instalments FROM term WHERE subscription = :subscription;
CALL billing.bill_run(at => '2023-12-01');
SELECT * FROM bill WHERE account = :account;
SELECT valid_from, state FROM billing.subscription_state WHERE subscription_id = :subscription ORDER BY 1;

SELECT * FROM billing.check(deep => true);
