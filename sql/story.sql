\i sql/include/fresh.psql
-- From nothing to sealed invoices: a seller, a plan, a customer, two bill runs.
-- A seller, the tax that her prices name, and a meter.
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', entity => 'acme', category => 'S', rate => 19);
SELECT billing.create_meter('minutes', aggregation => 'sum');

-- Seats are paid in advance, calls afterwards, by brackets.
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat',
                            scheme => '{"model":"per_unit","unit_amount":12.50}');
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat', meter => 'minutes',
                            scheme => '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":null,"unit_amount":0.80}]}');
SELECT billing.create_plan('team', name => 'Team', items => '[{"price":"seat"},{"price":"call"}]');

-- A customer subscribes on 31 January and calls in February.
SELECT billing.create_account('Jane Ltd', external_id => 'crm-17') AS account_id \gset
SELECT billing.create_subscription(:account_id, 'team', start_at => '2026-01-31 00:00+01', items => '[{"price":"seat","quantity":5}]') AS subscription_id \gset
SELECT billing.record_usage(:subscription_id, 'minutes', quantity => 35, at => '2026-02-10 12:00+01', event_key => 'call-1');

-- Both taxes, 11.875 and 17.765, are exact ties and are rounded away from zero.
CALL billing.bill_run(at => '2026-02-01 00:00+01');   -- 5 seats, 31 Jan – 28 Feb: 62.50 + 11.88 = 74.38
CALL billing.bill_run(at => '2026-03-01 00:00+01');   -- 5 seats, 28 Feb – 31 Mar, and 35 minutes 10.00 + 9.00 + 12.00: 93.50 + 17.77 = 111.27
SELECT id, number, account_id, status, issued_on, due_on, currency, net_total, tax_total, total, amount_paid, amount_due FROM billing.invoice ORDER BY number;
SELECT invoice_id, line_no, subscription_id, price, description, quantity, unit_amount, amount, period_start, period_end FROM billing.invoice_line ORDER BY 1, 2;

-- Once more, or for an earlier day: there is no difference, so nothing is written.
CALL billing.bill_run(at => '2026-03-01 00:00+01');
CALL billing.bill_run(at => '2026-02-01 00:00+01');
SELECT count(*) AS documents, sum(total) AS total FROM billing.invoice;

-- What a run on 31 March would write; nothing is written.
SELECT billing.record_usage(:subscription_id, 'minutes', quantity => 5, at => '2026-03-12 12:00+01', event_key => 'call-2');
SELECT document, kind, line_no, price, quantity, unit_amount, amount, net_total, tax_total, total
  FROM billing.preview(:account_id, at => '2026-03-31 00:00+02');

-- A whole document as JSON, with the brackets behind the calls.
SELECT jsonb_pretty(billing.invoice_document(id)) FROM billing.invoice WHERE number = 'INV-2026-000002';

-- The books are sound, also when every charge is computed again, and no number is missing or changed.
SELECT * FROM billing.check(deep => true);
SELECT * FROM billing.verify_chain();
