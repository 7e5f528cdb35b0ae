-- What is told of dunning: the funnel, promises, what is at the agency, what comes next; and the text of a reminder.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(16);
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_template('acme', 'reminder', 'mail', 'en', 'Reminder {step_no}: {amount_due} {currency} of {number}', 'Please pay {number}') \g /dev/null
SELECT billing.create_dunning_scheme('std', currency => 'EUR', steps => '[{"after":"1 day","actions":["remind"],"template":"reminder"},
    {"after":"8 days","actions":["event"]},{"after":"15 days","actions":["agency"],"agency":"Collect"}]') \g /dev/null
SELECT billing.assign_dunning_scheme('std', entity => 'acme') \g /dev/null
CREATE TEMP TABLE debtor AS SELECT name, billing.create_account(name, email => name || '@example.org') AS account FROM unnest(ARRAY['Ann', 'Ben', 'Cid']) name;
ALTER TABLE debtor ADD invoice bigint;
UPDATE debtor SET invoice = billing.record_external_invoice(account, 'X-' || name, '2025-01-01', 1000, 'EUR', due_on => '2025-01-31');
CREATE FUNCTION pg_temp.debtor(name text) RETURNS pg_temp.debtor LANGUAGE sql AS $$ SELECT d FROM pg_temp.debtor d WHERE d.name = $1 $$;
CREATE FUNCTION pg_temp.dun(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM billing_internal.dun_accounts(ARRAY(SELECT account FROM pg_temp.debtor ORDER BY 1), at, false); END $$;
CREATE FUNCTION pg_temp.pay(name text, amount numeric, at timestamptz) RETURNS bigint LANGUAGE sql AS $$ SELECT billing.record_payment((pg_temp.debtor(name)).account, amount, 'EUR', effective_at => at) $$;
CREATE FUNCTION pg_temp.funnel() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', step_no, currency, 'cases', cases, 'steps', steps, 'last', last, 'succeeded', succeeded, 'agency', at_agency, 'pursued', trim_scale(pursued_amount), 'recovered', trim_scale(recovered_amount))
      FROM billing.dunning_funnel WHERE entity = 'acme' AND scheme = 'std' AND version = 1 ORDER BY step_no $$;

SELECT is_empty('SELECT pg_temp.funnel()', 'before the first step there is nothing');
SELECT results_eq($$SELECT account_id, case_id, step_no, due_at, amount_due FROM billing.dunning_forecast('2025-02-01', '2025-01-20')$$,
    $$SELECT account, NULL::bigint, 1, timestamptz '2025-02-01', 1000.00 FROM pg_temp.debtor ORDER BY 1$$, 'cases that are to open are foreseen');
SELECT is_empty($$SELECT * FROM billing.dunning_forecast('2025-01-31 23:59', '2025-01-20')$$, 'not before their time');
SELECT pg_temp.dun('2025-02-01 09:00'), billing.record_payment((pg_temp.debtor('Ann')).account, 999, 'EUR', rules => '{}', effective_at => '2025-02-02') \g /dev/null
SELECT results_eq('SELECT subject || chr(58) || body FROM billing.notification ORDER BY id', $$SELECT format('Please pay X-%1$s:Reminder 1: 1000.00 EUR of X-%1$s', name) FROM unnest(ARRAY['Ann', 'Ben', 'Cid']) name$$, 'reminders');
SELECT results_eq($$SELECT name, round, state, next_step_at, step_no, actions, amount_due FROM billing.next_dunning_step ORDER BY name$$,
    $$SELECT n, 1, 'running', timestamptz '2025-02-08', 2, '{event}'::text[], 1000.00 FROM unnest(ARRAY['Ann', 'Ben', 'Cid']) n$$, 'what comes next');
SELECT billing.record_external_invoice((pg_temp.debtor('Cid')).account, 'late', '2025-01-20', 50, 'EUR', due_on => '2025-02-03') AS late \gset
SELECT results_eq(format($$SELECT DISTINCT invoice_id = %s, case_id IS NULL, step_no, due_at FROM billing.dunning_forecast('2025-02-10', '2025-02-02') ORDER BY 1$$, :late),
    $$VALUES (false, false, 2, timestamptz '2025-02-08'), (true, true, 1, '2025-02-04')$$, 'cases and what opens beside them');
SELECT is_empty($$SELECT f.* FROM billing.dunning_forecast('2025-02-10', '2025-02-02') f WHERE NOT EXISTS (
    SELECT FROM billing.dunning_preview(f.due_at) p WHERE (p.account_id, p.invoice_id, p.step_no, p.due_at) = (f.account_id, f.invoice_id, f.step_no, f.due_at))$$, 'as a run would do it then');
SELECT billing.credit_invoice(:late, effective_at => '2025-02-02') \g /dev/null
SELECT pg_temp.pay('Ben', 400, '2025-02-05') \g /dev/null
SELECT pg_temp.dun('2025-02-08 09:00') \g /dev/null
SELECT pg_temp.pay('Cid', 1000, '2025-02-10') AS cid \gset
SELECT billing.promise_payment((SELECT id FROM billing.dunning_case WHERE invoice_id = (pg_temp.debtor('Ben')).invoice), 300, '2025-02-20', 'on the phone', '2025-02-11') AS promise \gset
SELECT is((SELECT (name, number, state, promised_on, currency, amount, received_amount, note)::text FROM billing.promise_status), '(Ben,X-Ben,open,2025-02-20,EUR,300,0,"on the phone")', 'a promise');
SELECT results_eq($$SELECT name, state, pause_reason, next_step_at, step_no FROM billing.next_dunning_step ORDER BY name$$,
    $$VALUES ('Ann', 'running', NULL, timestamptz '2025-02-15', 3), ('Ben', 'paused', 'promise', '2025-02-21', 3)$$, 'a case that waits comes when its pause ends; one that is paid does not');
SELECT pg_temp.pay('Ben', 100, '2025-02-12') \g /dev/null
SELECT is((SELECT received_amount FROM billing.promise_status), 100.00, 'what came in for it; what came before does not count');
SELECT pg_temp.dun('2025-02-15 09:00') \g /dev/null
SELECT is((SELECT (name, number, agency, state, created_at, currency, amount, recovered_amount, amount_due)::text FROM billing.at_agency),
          '(Ann,X-Ann,Collect,pending,"2025-02-15 09:00:00+00",EUR,1000.00,0.00,1000.00)', 'at the agency');
SELECT results_eq('SELECT pg_temp.funnel()', ARRAY[
    '1 EUR cases 3 steps 3 last 0 succeeded 0 agency 0 pursued 3000 recovered 400',
    '2 EUR cases 3 steps 3 last 2 succeeded 1 agency 0 pursued 2600 recovered 1100',
    '3 EUR cases 1 steps 1 last 1 succeeded 0 agency 1 pursued 1000 recovered 0'], 'the funnel');
SELECT billing.charge_back_payment(:cid, effective_at => '2025-03-01') \g /dev/null
SELECT is((SELECT recovered_amount FROM billing.dunning_funnel WHERE step_no = 2), 100.00, 'what was taken back was not recovered');
SELECT pg_temp.dun('2025-03-03 09:00') \g /dev/null
SELECT is((SELECT (cases, steps)::text FROM billing.dunning_funnel WHERE step_no = 1), '(3,4)', 'the next round is one more step of the same case');
SELECT is((SELECT state FROM billing.promise_status), 'broken', 'a promise that was not kept');
SELECT is_empty('SELECT * FROM billing.check()', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
