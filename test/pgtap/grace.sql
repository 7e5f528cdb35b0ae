-- Grace before finalisation: drafts that take late usage (doc/rules.md 5).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'Europe/Berlin';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('calls') \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":10}'),
       billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'calls', scheme => '{"model":"per_unit","unit_amount":1}'),
       billing.create_price('year', currency => 'EUR', every => '1 year', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":365}') \g /dev/null
SELECT billing.create_plan('any', items => '[{"price":"seat","optional":true}]') \g /dev/null

CREATE FUNCTION pg_temp.subscribe(grace interval, VARIADIC items text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    a CONSTANT bigint := billing.create_account('x');
BEGIN
    UPDATE billing.account SET grace_period = grace WHERE account_id = a;
    RETURN billing.create_subscription(a, 'any', start_at => '2026-01-01', items => (SELECT jsonb_agg(jsonb_build_object('price', i)) FROM unnest(items) i));
END $$;
-- The documents of a subscription's account: due day, status, end of grace, total.
CREATE FUNCTION pg_temp.documents(subscription bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', to_char(billed_at, 'DD.MM'), CASE kind WHEN 'credit_note' THEN 'credit' END, status, to_char(finalize_after, 'DD.MM HH24:MI'), net_total::text), ', ' ORDER BY billed_at, id)
      FROM billing.invoice_header WHERE account_id = subscription >> 24 $$;
CREATE FUNCTION pg_temp.next_due(subscription bigint) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT next_due FROM billing.account_state WHERE account_id = subscription >> 24 $$;

-- A draft takes late usage until its grace is over, under one id.
SELECT pg_temp.subscribe('3 days', 'seat', 'call') AS s \gset
SELECT billing.record_usage(:s, 'calls', 'a', 5, '2026-01-10') \g /dev/null
SELECT billing.bill_account(:s >> 24, '2026-01-01') AS first \gset
SELECT is(pg_temp.documents(:s), '01.01 draft 04.01 00:00 10.00', 'a run makes a draft');
SELECT is(pg_temp.next_due(:s), '2026-01-04'::timestamptz, 'the account is due again when its grace ends');
SELECT is((SELECT number IS NULL AND issued_on IS NULL FROM billing.invoice WHERE id = :first), true, 'a draft has neither number nor date');
SELECT is(billing.bill_account(:s >> 24, '2026-01-03 23:59:59.999999'), :first::bigint, 'before that it is made again under its id');
SELECT is(pg_temp.documents(:s), '01.01 draft 04.01 00:00 10.00', 'and stays a draft');
SELECT is(billing.bill_account(:s >> 24, '2026-01-04'), :first::bigint, 'the first run after its grace finishes it');
SELECT is(pg_temp.documents(:s), '01.01 open 10.00', 'with a number');
SELECT is(pg_temp.next_due(:s), '2026-02-01'::timestamptz, 'then the next charge is what is due');
SELECT is((SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-01-05')), 0::bigint, 'a further run writes nothing');
SELECT billing.bill_account(:s >> 24, '2026-02-01') AS second \gset
SELECT is(pg_temp.documents(:s), '01.01 open 10.00, 01.02 draft 04.02 00:00 15.00', 'the second cycle');
SELECT billing.record_usage(:s, 'calls', 'b', 2, '2026-01-31') \g /dev/null
SELECT billing.bill_account(:s >> 24, '2026-02-02') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 open 10.00, 01.02 draft 04.02 00:00 17.00', 'late usage comes onto the draft');
SELECT billing.record_usage(:s, 'calls', 'c', 4, '2026-01-20') \g /dev/null
SELECT is((SELECT sum(amount) FROM billing.preview(:s >> 24, '2026-02-04')), 21.00, 'a preview shows the draft as it would be finished');
SELECT billing.bill_account(:s >> 24, '2026-02-04') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 open 10.00, 01.02 open 21.00', 'also what came since the last run: it is computed once more');
SELECT is((SELECT count(*) FROM billing.invoice_line WHERE invoice_id = :second::bigint AND nature = 'correction'), 0::bigint, 'without a correction');
SELECT billing.record_usage(:s, 'calls', 'd', 1, '2026-01-21') \g /dev/null
SELECT billing.bill_account(:s >> 24, '2026-03-01'), billing.bill_account(:s >> 24, '2026-03-04') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 open 10.00, 01.02 open 21.00, 01.03 open 11.00', 'what comes later still is charged with the next invoice');

-- Catch-up: each document has its own grace.
SELECT pg_temp.subscribe('20 days', 'seat') AS s \gset
SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-03-05') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 open 10.00, 01.02 open 10.00, 01.03 draft 21.03 00:00 10.00', 'only the latest of three cycles waits');
-- Grace may be longer than a cycle.
SELECT pg_temp.subscribe('1 mon 10 days', 'seat') AS s \gset
SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-02-05') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 draft 11.02 00:00 10.00, 01.02 draft 11.03 00:00 10.00', 'two drafts at a time');
SELECT is(pg_temp.next_due(:s), '2026-02-11'::timestamptz, 'the earlier end of a grace counts');
SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-02-11') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 open 10.00, 01.02 draft 11.03 00:00 10.00', 'the later draft does not hold it back');
SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-01-15') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 open 10.00, 01.02 draft 11.03 00:00 10.00', 'a run that goes back finishes nothing');

-- The interval counts on the seller's wall clock.
SELECT pg_temp.subscribe('28 days 02:30', 'seat') AS s \gset
SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-03-01') \g /dev/null
SELECT matches(pg_temp.documents(:s), '01.03 draft 29.03 03:30 10.00', 'days by the wall clock, hours as they pass, over a change of the clock');

-- The seller's grace period, and accounts with their own.
UPDATE billing.entity SET grace_period = '2 days' WHERE code = 'acme';
SELECT pg_temp.subscribe(NULL, 'seat') AS s, pg_temp.subscribe('0', 'seat') AS own \gset
SELECT billing.bill_account(:s >> 24, '2026-01-01'), billing.bill_account(:own >> 24, '2026-01-01') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 draft 03.01 00:00 10.00', 'the seller''s grace period holds for accounts without one');
SELECT is(pg_temp.documents(:own), '01.01 open 10.00', 'an account may have none');
UPDATE billing.entity SET grace_period = '0' WHERE code = 'acme';

-- Finished early.
SELECT pg_temp.subscribe('10 days', 'seat') AS s \gset
SELECT billing.bill_account(:s >> 24, '2026-01-01') AS draft \gset
SELECT is(billing.finalize_invoice(:draft, '2026-01-02'), :draft::bigint, 'finalize_invoice does not wait');
SELECT is(pg_temp.documents(:s), '01.01 open 10.00', 'the document is finished');

-- What a verb invoices at once is finished at once; the draft beside it waits on.
SELECT pg_temp.subscribe('10 days', 'seat') AS s \gset
SELECT billing.bill_account(:s >> 24, '2026-01-01') \g /dev/null
SELECT billing.add_item(:s, 'seat', quantity => 31, effective_at => '2026-01-02', invoice_now => true) \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 draft 11.01 00:00 10.00, 02.01 open 300.00', 'invoice_now has no grace');
SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-01-11') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 open 10.00, 02.01 open 300.00', 'and does not touch that of others');

-- Without a regular invoice to wait for, a correction is finished at once: each run would begin its grace anew.
SELECT pg_temp.subscribe('5 days', 'year') AS s \gset
SELECT billing.bill_account(:s >> 24, '2026-01-06') \g /dev/null
SELECT billing.end_item(:s + 1, effective_at => '2026-03-01') \g /dev/null
SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-03-02') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 open 365.00, 02.03 credit paid 306.00', 'a credit note in the middle of a year');

-- A credit note waits with the invoice of its group, and both are finished together.
SELECT pg_temp.subscribe('5 days', 'seat') AS s \gset
SELECT billing.bill_account(:s >> 24, '2026-01-06') \g /dev/null
SELECT billing.change_item(:s + 1, quantity => 0, effective_at => '2026-01-16') \g /dev/null
SELECT billing.add_item(:s, 'seat', effective_at => '2026-02-01') \g /dev/null
SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-02-01') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 open 10.00, 01.02 draft 06.02 00:00 10.00, 01.02 credit draft 06.02 00:00 5.16', 'invoice and credit note wait together');
SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-02-06') \g /dev/null
SELECT is(pg_temp.documents(:s), '01.01 open 10.00, 01.02 open 10.00, 01.02 credit paid 5.16', 'and are finished together');

-- A run without finalisation leaves drafts whatever the grace; the next run goes by the grace.
SELECT pg_temp.subscribe('5 days', 'seat') AS s \gset
DO $$ BEGIN CALL billing.bill_run('2026-01-03', finalize => false); END $$;
SELECT is(pg_temp.documents(:s), '01.01 draft 06.01 00:00 10.00', 'a run without finalisation');
DO $$ BEGIN CALL billing.bill_run('2026-01-03'); END $$;
SELECT is(pg_temp.documents(:s), '01.01 draft 06.01 00:00 10.00', 'within the grace');
DO $$ BEGIN CALL billing.bill_run('2026-01-06'); END $$;
SELECT is(pg_temp.documents(:s), '01.01 open 10.00', 'after it');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT is_empty('SELECT * FROM billing.verify_chain()', 'and so are the chains');
SELECT * FROM finish();
ROLLBACK;
