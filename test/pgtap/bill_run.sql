-- The bill run's work list: ranges, big accounts, and what is due spread over a window.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(27);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":10}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"}]') \g /dev/null
SELECT count(*) FROM billing.create_accounts((SELECT jsonb_agg(jsonb_build_object('name', 'Customer ' || i)) FROM generate_series(1, 300) i)) \g /dev/null
SELECT count(*) FROM billing.create_subscriptions((SELECT jsonb_agg(jsonb_build_object('account_id', i, 'plan', 'team', 'start_at', '2026-01-01')) FROM generate_series(1, 300) i)) \g /dev/null

CREATE FUNCTION pg_temp.billed(month date) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(DISTINCT account_id) FROM billing.invoice_header WHERE billed_at >= month AND billed_at < month + interval '1 month' $$;
CREATE FUNCTION pg_temp.ranges() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s-%s %s', first_account_id, last_account_id, accounts), ', ' ORDER BY batch_no)
      FROM billing.run_batch WHERE run_id = (SELECT max(id) FROM billing.run) $$;

-- Ranges; a big account is one by itself, and comes last.
SAVEPOINT ranges;
CALL billing.bill_run(at => '2026-01-01', batch_size => 120);
SELECT is(pg_temp.ranges(), '1-120 120, 121-240 120, 241-300 60', 'ranges of at most batch_size accounts');
SELECT results_eq('SELECT status, accounts, done, documents, errors, spread FROM billing.run', $$VALUES ('finished', 300::bigint, 300::bigint, 300::bigint, 0::bigint, NULL::interval)$$, 'all is billed');
CALL billing.bill_run(at => '2026-01-01');
SELECT is(pg_temp.ranges(), NULL, 'nothing is due twice');
ROLLBACK TO ranges;
UPDATE billing.account_state SET next_ordinal = 10001 WHERE account_id IN (1, 60, 61, 300);
CALL billing.bill_run(at => '2026-01-01', batch_size => 120);
SELECT is(pg_temp.ranges(), '2-59 58, 62-181 120, 182-299 118, 1-1 1, 60-60 1, 61-61 1, 300-300 1', 'big accounts are ranges of their own, behind the others');
SELECT is((SELECT done FROM billing.run), 300::bigint, 'and billed');
ROLLBACK TO ranges;
UPDATE billing.account_state SET next_ordinal = 10000;
CALL billing.bill_run(at => '2026-01-01', batch_size => 300);
SELECT is(pg_temp.ranges(), '1-300 300', 'ten thousand ids do not make an account big');
ROLLBACK TO ranges;
UPDATE billing.account_state SET next_ordinal = 50000;
CALL billing.bill_run(at => '2026-01-01');
SELECT is((SELECT count(*) || ' ' || sum(accounts) FROM billing.run_batch), '300 300', 'all may be big');
ROLLBACK TO ranges;

-- Spread: an account is due when its share of the window is over.
CALL billing.bill_run(at => '2026-01-01 00:00', spread => '10 hours');
SELECT is(pg_temp.billed('2026-01-01'), 0::bigint, 'at the moment itself nobody''s slot has come');
CALL billing.bill_run(at => '2026-01-01 01:00', spread => '10 hours');
SELECT cmp_ok(abs(pg_temp.billed('2026-01-01') - 30), '<=', 3::bigint, 'after a tenth of the window a tenth is billed');
CREATE TEMP TABLE early AS SELECT account_id FROM billing.invoice_header;
CALL billing.bill_run(at => '2026-01-01 01:00', spread => '10 hours');
SELECT is(pg_temp.billed('2026-01-01'), (SELECT count(*) FROM early), 'the same moment again: no more');
CALL billing.bill_run(at => '2026-01-01 05:00', spread => '10 hours');
SELECT cmp_ok(abs(pg_temp.billed('2026-01-01') - 150), '<=', 3::bigint, 'after half of it half');
SELECT is((SELECT count(*) FROM billing.invoice_header h WHERE billed_at <> '2026-01-01'), 0::bigint, 'what is billed later says when it was due');
SELECT results_eq('SELECT spread, accounts = done FROM billing.run ORDER BY id DESC LIMIT 1', $$VALUES (interval '10 hours', true)$$, 'the run notes the window');
CALL billing.bill_run(at => '2026-01-01 10:00', spread => '10 hours');
SELECT is(pg_temp.billed('2026-01-01'), 300::bigint, 'at its end all');
CALL billing.bill_run(at => '2026-02-01 01:00', spread => '10 hours');
SELECT set_eq($$SELECT account_id FROM billing.invoice_header WHERE billed_at >= '2026-02-01'$$, 'SELECT account_id FROM early', 'the next month the same accounts are the first');
CALL billing.bill_run(at => '2026-02-01 01:00', spread => '1 hour');
SELECT is(pg_temp.billed('2026-02-01'), 300::bigint, 'another window: the slots of that one');

-- What was changed does not wait for a slot; what was missed long ago has none left.
SELECT account_id AS a, id AS item FROM billing.subscription_item WHERE account_id NOT IN (SELECT account_id FROM early) ORDER BY 1 LIMIT 1 \gset
SELECT billing.change_item(:item, 3, effective_at => '2026-02-10') \g /dev/null
CALL billing.bill_run(at => '2026-03-01 00:00', spread => '10 hours');
SELECT results_eq('SELECT accounts FROM billing.run ORDER BY id DESC LIMIT 1', 'VALUES (1::bigint)', 'an account with a correction is billed at once');
SELECT is((SELECT sum(CASE kind WHEN 'invoice' THEN net_total ELSE -net_total END) FROM billing.invoice_header WHERE account_id = :a AND billed_at > '2026-02-01'), 43.57, 'all of it');
CALL billing.bill_run(at => '2026-06-01 00:00', spread => '31 days');
SELECT is((SELECT count(*) FROM billing.account_state WHERE next_due <= '2026-04-30'), 0::bigint, 'a run after months bills all that was missed');
SELECT is((SELECT count(DISTINCT period_start) FROM billing.invoice_line WHERE account_id = :a AND nature = 'charge'), 7::bigint, 'every month of an account at once, when its turn comes (and the change)');

-- Windows that are none.
SELECT throws_ok(format('CALL billing.bill_run(spread => %L)', w), 'LB208', 'spread must be a window of days, hours, minutes or seconds', 'refused: ' || w)
  FROM unnest(ARRAY['1 month', '0', '-1 hour', '0.999 seconds', '31 days 1 second', '32 days', '2000000000 days']) w;
SELECT * FROM finish();
ROLLBACK;
