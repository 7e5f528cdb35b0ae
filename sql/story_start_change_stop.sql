\i sql/include/fresh.psql
SET TimeZone = 'Europe/Amsterdam';
-- A leasing house: start, change and stop are single calls, everything else is the run's.  Rate plans are copied, so a
-- customer may have a price and a quantity of his own; a stopped subscription lives again when a product is added to it.
SELECT billing.create_entity('lease', name => 'Lease BV', country => 'NL', currency => 'EUR', time_zone => 'Europe/Amsterdam');
SELECT billing.create_tax('btw', category => 'S', rate => 21);
SELECT billing.create_price(code, currency => 'EUR', every => '1 month', tax => 'btw', proration_charge => charge, proration_credit => credit,
                            scheme => '{"model":"per_unit","unit_amount":40}')
  FROM (VALUES ('bike', 'day', 'day'), ('locker', 'full', 'none'), ('parking', 'none', 'full'), ('helmet', 'day', 'day')) p (code, charge, credit);
SELECT billing.create_plan('city', billing_day => 1, items => '[{"price":"bike"}]');
SELECT billing.create_plan('coast', billing_day => 1, items => '[{"price":"helmet"}]');
CREATE VIEW line AS
SELECT h.account_id, h.kind AS document, h.billed_at::date AS billed, l.nature, l.price, l.quantity, l.unit_amount, l.amount, l.period_start::date AS from_day, l.period_end::date AS to_day
  FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
 ORDER BY h.account_id, h.billed_at, h.id, l.line_no;

-- Start with a price and a quantity of the customer's own; later changes of the catalogue do not touch the copy.
SELECT billing.create_account('Saar', metadata => '{"segment":"blue"}') AS saar \gset
SELECT billing.create_subscription(:saar, 'city', start_at => '2026-01-01 00:00+01',
           items => '[{"price":"bike","quantity":2,"scheme":{"model":"per_unit","unit_amount":35.50}}]', metadata => '{"order":"A-17"}') AS subscription \gset
SELECT billing.create_price_version('bike', '{"model":"per_unit","unit_amount":45}', from_at => '2026-01-02') AS version;
CALL billing.bill_run(at => '2026-02-01 00:00+01');
SELECT billed, price, quantity, unit_amount, amount FROM line WHERE account_id = :saar;
SELECT metadata FROM billing.invoice WHERE account_id = :saar ORDER BY number LIMIT 1;

-- Broken periods are the price's affair: by days, in full (full when it starts, nothing back when it ends), or not at
-- all (nothing in the month it starts, everything back in the month it ends).
SELECT billing.add_item(:subscription, price, effective_at => '2026-02-11 00:00+01') IS NOT NULL AS added FROM unnest(ARRAY['locker', 'parking', 'helmet']) price;
CALL billing.bill_run(at => '2026-04-01 00:00+02');
SELECT billing.end_item(id, effective_at => '2026-04-16 00:00+02') = id AS ended FROM billing.subscription_item WHERE account_id = :saar AND start_at = '2026-02-11 00:00+01' ORDER BY id;
CALL billing.bill_run(at => '2026-05-01 00:00+02');
SELECT * FROM line WHERE account_id = :saar AND billed > '2026-02-01';

-- Stopped at the end of May: no more invoices.  A new product on the same subscription brings it to life again.
SELECT billing.stop_subscription(:subscription, effective_at => '2026-05-20 00:00+02', at_period_end => true, reason => 'moved') = :subscription AS stopped;
CALL billing.bill_run(at => '2026-07-01 00:00+02');
SELECT billing.subscription_state_on(:subscription, '2026-07-01');
SELECT billing.add_item(:subscription, 'helmet', quantity => 3, effective_at => '2026-08-01 00:00+02') IS NOT NULL AS lives_again;
CALL billing.bill_run(at => '2026-09-01 00:00+02');
SELECT * FROM line WHERE account_id = :saar AND billed > '2026-05-01';
SELECT state, valid_from FROM billing.subscription_state WHERE account_id = :saar ORDER BY valid_from;

-- A pause with a date to come back, and earlier than planned.
SELECT billing.pause_subscription(:subscription, until => '2026-12-01 00:00+01', effective_at => '2026-10-01 00:00+02') = :subscription AS paused;
SELECT billing.resume_subscription(:subscription, effective_at => '2026-11-16 00:00+01') = :subscription AS resumed;
CALL billing.bill_run(at => '2026-12-01 00:00+01');
SELECT * FROM line WHERE account_id = :saar AND billed > '2026-09-01';

-- Start and first payment in one step: nothing is charged and nothing lives until the payment succeeds, then all
-- products at once; where it fails there is no subscription.
SELECT billing.create_account('Tijs') AS tijs \gset
SELECT billing.create_subscription(:tijs, 'city', start_at => '2026-03-01 00:00+01', await_payment => true, items => '[{"price":"locker"}]') AS subscription \gset
SELECT billing.create_subscription(:tijs, 'coast', start_at => '2026-03-01 00:00+01', await_payment => true) AS other \gset
CALL billing.bill_run(at => '2026-03-02 00:00+01');
SELECT * FROM line WHERE account_id = :tijs;
SELECT * FROM billing.first_payment(:subscription, at => '2026-03-03 10:00+01');
SELECT billing.activate_subscription(:subscription, effective_at => '2026-03-03 10:00+01') = :subscription AS activated;
SELECT billing.fail_subscription(:other, effective_at => '2026-03-03 10:00+01', reason => 'card refused') = :other AS failed;
SELECT * FROM line WHERE account_id = :tijs;
SELECT subscription_id = :subscription AS activated, state, valid_from FROM billing.subscription_state WHERE account_id = :tijs ORDER BY 1, valid_from;
\set VERBOSITY terse
SELECT billing.activate_subscription(:other);
\set VERBOSITY default
SELECT count(*) AS findings FROM billing.check(deep => true);
