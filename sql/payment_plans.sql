\i sql/include/fresh.psql
-- Payment plans: what an additional service costs is charged on every invoice, once, or in instalments; and dates win over the plan.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET billing.max_future = '36500d';
SELECT billing.create_entity('isp', name => 'Wisp SA', country => 'MX', currency => 'MXN', time_zone => 'America/Mexico_City') \g /dev/null
SELECT billing.create_tax('iva', category => 'S', rate => 16) \g /dev/null
SELECT billing.create_price('internet', name => 'Internet', currency => 'MXN', every => '1 month', tax => 'iva', scheme => '{"model":"flat","flat_amount":350}'),
       billing.create_price('tv', name => 'Television', currency => 'MXN', every => '1 month', tax => 'iva', scheme => '{"model":"flat","flat_amount":120}'),
       billing.create_price('visit', name => 'Technician', currency => 'MXN', tax => 'iva', scheme => '{"model":"flat","flat_amount":200}'),
       billing.create_price('router', name => 'Router', currency => 'MXN', tax => 'iva', scheme => '{"model":"flat","flat_amount":1000}') \g /dev/null
SELECT billing.create_plan('home', name => 'Home', items => '[{"price":"internet"}]') \g /dev/null

-- Television goes on every invoice, the technician is one payment, the router costs three instalments: the total divided, the rest on the last.
SELECT billing.create_account('Ana', time_zone => 'America/Mexico_City') AS ana \gset
SELECT billing.create_subscription(:ana, 'home', start_at => '2026-04-01 00:00-06',
    items => '[{"price":"tv"},{"price":"visit","instalments":1},{"price":"router","instalments":3}]') AS subscription \gset
SELECT count(*) AS invoices FROM billing.bill_account(:ana, '2026-07-15');
SELECT h.billed_at::date AS invoice, l.description, l.amount FROM billing.invoice_line l JOIN billing.invoice_header h ON h.id = l.invoice_id
 WHERE l.price <> 'internet' ORDER BY h.id, l.line_no;

-- Recurring is active, the others are to be collected until all of it is invoiced and paid.
SELECT description, payment_plan, state, total, instalments, instalments_billed AS billed, instalments_paid AS paid, unbilled_remainder AS lost
  FROM billing.payment_plan WHERE account_id = :ana ORDER BY item_id;

-- Dates win over the plan, always.  Four instalments, and invoices from April to June only: three are charged, the fourth is lost for ever.
SELECT billing.create_account('Bea', time_zone => 'America/Mexico_City') AS bea \gset
SELECT billing.create_subscription(:bea, 'home', start_at => '2026-04-01 00:00-06',
    items => '[{"price":"router","instalments":4,"charge_from":"2026-04-01","charge_until":"2026-06-30"}]') AS subscription \gset
-- What counts is the day on which an invoice is due to be made, so a run that comes half a year late loses nothing.
SELECT count(*) AS invoices FROM billing.bill_account(:bea, '2026-12-15');
SELECT h.billed_at::date AS invoice, l.description, l.amount FROM billing.invoice_line l JOIN billing.invoice_header h ON h.id = l.invoice_id
 WHERE l.account_id = :bea AND l.price = 'router' ORDER BY h.id;
SELECT a.name, p.description, p.state, p.total, p.amount_billed, p.unbilled_remainder AS lost
  FROM billing.payment_plan p JOIN billing.account a USING (account_id) WHERE p.unbilled_remainder > 0;

-- The window takes invoices of both its first and its last day; there is no 31st of June.
SELECT billing.create_account('Eva', time_zone => 'America/Mexico_City') AS eva \gset
SELECT billing.create_subscription(:eva, 'home', start_at => '2026-04-01 00:00-06',
    items => '[{"price":"tv","charge_from":"2026-05-01","charge_until":"2026-06-01"}]') AS subscription \gset
SELECT count(*) AS invoices FROM billing.bill_account(:eva, '2026-12-15');
SELECT h.billed_at::date AS invoice, l.description, l.amount FROM billing.invoice_line l JOIN billing.invoice_header h ON h.id = l.invoice_id
 WHERE l.account_id = :eva AND l.price = 'tv' ORDER BY h.id;
SELECT billing.create_subscription(:eva, 'home', items => '[{"price":"tv","charge_until":"2026-06-31"}]');
\echo :SQLSTATE

-- An invoice that is voided and billed again gives its instalment back.
SELECT billing.void_invoice((SELECT min(id) FROM billing.invoice_header WHERE account_id = :ana), rebill => true, effective_at => '2026-07-16') IS NOT NULL AS voided;
SELECT description, total, instalments_billed AS billed, amount_billed FROM billing.payment_plan WHERE account_id = :ana AND payment_plan <> 'recurring' ORDER BY item_id;
SELECT count(*) AS invoices FROM billing.bill_account(:ana, '2026-08-15');
SELECT description, total, instalments_billed AS billed, amount_billed FROM billing.payment_plan WHERE account_id = :ana AND payment_plan <> 'recurring' ORDER BY item_id;
SELECT * FROM billing.check(deep => true);
