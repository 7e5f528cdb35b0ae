-- Rules of dunning: when steps are due, what they charge, what waits.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(35);
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_interest_rate('legal', 10.15, '2024-07-01'), billing.create_interest_rate('legal', 10.40, '2025-02-16') \g /dev/null

-- An account of its own with one invoice of 1,000.00 due on a day, pursued by a scheme with these steps.
CREATE SEQUENCE pg_temp.number;
CREATE FUNCTION pg_temp.owed(code text, due_on date DEFAULT '2025-01-31', zone text DEFAULT 'UTC') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    account CONSTANT bigint := billing.create_account(code, time_zone => zone);
BEGIN
    PERFORM billing.assign_dunning_scheme(code, account_id => account);
    RETURN billing.record_external_invoice(account, 'X-' || nextval('pg_temp.number'), due_on - 14, 1000, 'EUR', due_on => due_on);
END $$;
CREATE FUNCTION pg_temp.dun(invoice bigint, VARIADIC at timestamptz[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
BEGIN
    FOREACH moment IN ARRAY at LOOP PERFORM billing_internal.dun_accounts(ARRAY[invoice >> 24], moment, false); END LOOP;
END $$;
CREATE FUNCTION pg_temp.steps(invoice bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s.%s@%s', x.round, x.step_no, to_char(x.done_at, 'MM-DD HH24:MI')), ' ' ORDER BY x.done_at, x.round, x.step_no)
      FROM billing.dunning_action x WHERE x.account_id = invoice >> 24 $$;
CREATE FUNCTION pg_temp.case_of(invoice bigint) RETURNS billing.dunning_case LANGUAGE sql AS $$
    SELECT c FROM billing.dunning_case c WHERE c.account_id = invoice >> 24 AND c.invoice_id IS NOT DISTINCT FROM coalesce((SELECT x.invoice_id FROM billing.dunning_case x WHERE x.invoice_id = invoice), c.invoice_id) $$;

-- Interest.
SELECT billing.create_dunning_scheme('interest', currency => 'EUR', interest => 'legal', fixed_sum => 40, steps => '[
    {"after":"60 days","actions":["interest"]},{"after":"10 days","counted_from":"previous","actions":["interest"]}]') \g /dev/null
SELECT pg_temp.owed('interest') AS i \gset
SELECT pg_temp.dun(:i, '2025-04-01 09:00') \g /dev/null
SELECT is((SELECT interest FROM billing.dunning_action WHERE account_id = :i >> 24), 16.99, 'interest on 1,000.00: 15 days at 10.15 %, then 45 days at 10.40 %');
SELECT is((SELECT total FROM billing.invoice WHERE claims_invoice_id = :i), 56.99, 'the claim has it and the fixed sum');
SELECT billing.record_payment(:i >> 24, 600, 'EUR', invoice_ids => ARRAY[:i]::bigint[], effective_at => '2025-04-05 15:00') \g /dev/null
SELECT pg_temp.dun(:i, '2025-04-10', '2025-04-11 09:00') \g /dev/null
SELECT is((SELECT interest FROM billing.dunning_action WHERE account_id = :i >> 24 AND step_no = 2), round(4 * 1000 * 10.40 / 36500 + 6 * 400 * 10.40 / 36500, 2),
          'then only what came after: four days on all, six on what was left');
SELECT is((SELECT fixed_sum FROM billing.dunning_action WHERE account_id = :i >> 24 AND step_no = 2), 0::numeric, 'the fixed sum is charged once');
SELECT is((pg_temp.case_of(:i)).state, 'exhausted', 'after the last step the case is exhausted');

-- When.
SELECT billing.create_dunning_scheme('days', '[{"after":"1 day","actions":["event"]},{"after":"8 days","actions":["event"]},{"after":"15 days","actions":["event"]}]') \g /dev/null
SELECT pg_temp.owed('days') AS i \gset
SELECT pg_temp.dun(:i, '2025-01-31 23:59:59', '2025-02-01 00:00', '2025-02-01 12:00', '2025-02-07 23:59', '2025-02-08', '2025-02-15') \g /dev/null
SELECT is(pg_temp.steps(:i), '1.1@02-01 00:00 1.2@02-08 00:00 1.3@02-15 00:00', 'steps are due by the day, each once');
SELECT pg_temp.owed('days') AS i \gset
SELECT pg_temp.dun(:i, VARIADIC ARRAY(SELECT generate_series(timestamptz '2025-06-01 09:00', '2025-06-30', '6 hours'))) \g /dev/null
SELECT is(pg_temp.steps(:i), '1.1@06-01 09:00 1.2@06-08 03:00 1.3@06-15 03:00', 'after a time without runs the distances are kept');
SELECT pg_temp.owed('days', zone => 'America/New_York') AS i \gset
SELECT pg_temp.dun(:i, '2025-02-01 04:59', '2025-02-01 05:00') \g /dev/null
SELECT is(pg_temp.steps(:i), '1.1@02-01 05:00', 'days are those of the debtor''s zone');
SELECT billing.create_dunning_scheme('week', '[{"after":"-2 days","actions":["event"]},{"after":"1 day","actions":["event"],"weekdays":[2,4],"not_before":"09:00","not_after":"17:00"},
    {"after":"12 hours","counted_from":"previous","actions":["event"]}]') \g /dev/null
SELECT pg_temp.owed('week') AS i \gset
SELECT pg_temp.dun(:i, VARIADIC ARRAY(SELECT generate_series(timestamptz '2025-01-25', '2025-02-10', '3 hours'))) \g /dev/null
SELECT is(pg_temp.steps(:i), '1.1@01-29 00:00 1.2@02-04 09:00 1.3@02-05 00:00', 'before the due date; on Tuesdays and Thursdays at nine; at most one step a day');
SELECT pg_temp.owed('week') AS i \gset
SELECT pg_temp.dun(:i, '2025-02-01', '2025-02-04 12:00') \g /dev/null
SELECT is(pg_temp.steps(:i), '1.2@02-04 12:00', 'what belongs before the due date is passed by after it');

-- What waits.
SELECT billing.create_dunning_scheme('little', currency => 'EUR', threshold => 500, steps => '[{"after":"1 day","actions":["event"]},{"after":"2 days","actions":["event"],"minimum_due":800},{"after":"3 days","actions":["event"]}]') \g /dev/null
SELECT pg_temp.owed('little') AS i \gset
SELECT billing.record_payment(:i >> 24, 300, 'EUR', effective_at => '2025-01-20') \g /dev/null
SELECT pg_temp.dun(:i, '2025-02-01', '2025-02-02', '2025-02-03') \g /dev/null
SELECT is((SELECT string_agg(step_no || coalesce(' ' || passed_over, ''), ', ' ORDER BY step_no) FROM billing.dunning_action WHERE account_id = :i >> 24), '1, 2 less than minimum_due is open, 3', 'a step passed over does nothing and the next follows');
SELECT pg_temp.owed('little') AS i \gset
SELECT billing.record_payment(:i >> 24, 600, 'EUR', effective_at => '2025-01-20') \g /dev/null
SELECT pg_temp.dun(:i, '2025-02-01', '2025-02-02') \g /dev/null
SELECT is(pg_temp.steps(:i), NULL, 'below the threshold nothing is done');
SELECT pg_temp.owed('days') AS i \gset
INSERT INTO billing.payment_method (account_id, id, type, created_at) VALUES (:i >> 24, billing_internal.next_id(:i >> 24), 'transfer', now());
INSERT INTO billing.collection (account_id, id, invoice_id, payment_method_id, currency, amount, status, requested_at)
SELECT :i >> 24, billing_internal.next_id(:i >> 24), :i, m.id, 'EUR', 1000, 'submitted', now() FROM billing.payment_method m WHERE m.account_id = :i >> 24;
SELECT pg_temp.dun(:i, '2025-02-01') \g /dev/null
SELECT is(pg_temp.steps(:i), NULL, 'while a collection is under way nothing is done');
SELECT is((SELECT count(*) FROM billing.dunning_preview('2025-02-01') WHERE account_id = :i >> 24), 0::bigint, 'and the preview knows it');
UPDATE billing.collection SET status = 'failed', failure = 'refused' WHERE account_id = :i >> 24;
SELECT is((SELECT array_agg(step_no) FROM billing.dunning_preview('2025-02-01') WHERE account_id = :i >> 24), '{1}', 'when it failed the preview shows the step');
SELECT pg_temp.dun(:i, '2025-02-01') \g /dev/null
SELECT is(pg_temp.steps(:i), '1.1@02-01 00:00', 'and the run does it');

-- Messages.
SELECT billing.create_template('acme', 'reminder', 'mail', 'en', 'Please pay {amount_due} {currency}, reminder {step_no}.', subject => 'Invoice {number}') \g /dev/null
SELECT billing.create_dunning_scheme('mail', '[{"after":"1 day","actions":["remind"],"template":"reminder","not_before":"09:00","not_after":"17:00"},
    {"after":"8 days","actions":["remind"],"template":"reminder","channels":["letter","mail"]}]') \g /dev/null
SELECT pg_temp.owed('mail') AS i \gset
SELECT pg_temp.dun(:i, '2025-02-01 20:00') \g /dev/null
SELECT is((SELECT passed_over FROM billing.dunning_action WHERE account_id = :i >> 24), 'not done: remind', 'who has no address is not reminded');
UPDATE billing.account SET email = 'ann@example.com' WHERE account_id = :i >> 24;
SELECT pg_temp.dun(:i, '2025-02-08 20:00') \g /dev/null
SELECT is((SELECT body FROM billing.notification WHERE account_id = :i >> 24), 'Please pay 1000.00 EUR, reminder 2.', 'a reminder on the first channel for which there is a template');
SELECT billing.record_payment(:i >> 24, 1000, 'EUR', effective_at => '2025-02-08 21:00') \g /dev/null
SELECT is((SELECT status FROM billing.notification WHERE account_id = :i >> 24 AND code = 'reminder'), 'canceled', 'which is canceled when the invoice is paid before it went');
SELECT pg_temp.owed('mail') AS i \gset
UPDATE billing.account SET email = 'ben@example.com' WHERE account_id = :i >> 24;
SELECT pg_temp.dun(:i, '2025-02-01 20:00') \g /dev/null
SELECT is((SELECT not_before FROM billing.notification WHERE account_id = :i >> 24), '2025-02-02 09:00', 'outside of its window of time a message waits for it');

-- Rounds.
SELECT billing.create_dunning_scheme('cap', currency => 'EUR', step_cap => 3, steps => '[{"after":"1 day","actions":["fee"],"fee":5},{"after":"2 days","actions":["event"]}]') \g /dev/null
SELECT billing.create_dunning_scheme('anew', currency => 'EUR', step_cap => 3, rounds_restart => true, steps => '[{"after":"1 day","actions":["event","fee"],"fee":5},{"after":"2 days","actions":["event"]}]') \g /dev/null
CREATE FUNCTION pg_temp.rounds(code text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    i CONSTANT bigint := pg_temp.owed(code);
    payment bigint;
BEGIN
    FOR n IN 0 .. 2 LOOP
        PERFORM pg_temp.dun(i, timestamptz '2025-02-01' + n * interval '1 month', timestamptz '2025-02-02' + n * interval '1 month', timestamptz '2025-02-03' + n * interval '1 month');
        payment := billing.record_payment(i >> 24, 1000, 'EUR', invoice_ids => ARRAY[i], effective_at => timestamptz '2025-02-20' + n * interval '1 month');
        PERFORM billing.refund_payment(payment, effective_at => timestamptz '2025-02-28' + n * interval '1 month');
    END LOOP;
    RETURN (SELECT string_agg(format('%s.%s:%s', round, step_no, fee), ' ' ORDER BY round, step_no) FROM billing.dunning_action WHERE account_id = i >> 24);
END $$;
SELECT is(pg_temp.rounds('cap'), '1.1:5.00 1.2:0 2.1:0 2.2:0', 'fees and the cap count over all rounds');
SELECT is(pg_temp.rounds('anew'), '1.1:5.00 1.2:0 2.1:5.00 2.2:0 3.1:5.00 3.2:0', 'unless the scheme begins anew with each round');

-- Who pursues: subscription, account, entity.
SELECT billing.assign_dunning_scheme('days', entity => 'acme') \g /dev/null
SELECT billing.create_account('nobody') AS a \gset
SELECT billing.record_external_invoice(:a, 'N-1', '2025-01-17', 50, 'EUR', due_on => '2025-01-31') AS i \gset
SELECT is(billing_internal.scheme_of(:a, :i), 'days', 'the entity''s scheme');
SELECT billing.assign_dunning_scheme('week', account_id => :a) \g /dev/null
SELECT is(billing_internal.scheme_of(:a, :i), 'week', 'before it the account''s');
SELECT billing.assign_dunning_scheme('', account_id => :a) \g /dev/null
SELECT is(billing_internal.scheme_of(:a, :i), 'days', 'an empty one takes it back');
SELECT pg_temp.dun(:i, '2025-02-01') \g /dev/null
SELECT is(billing.create_dunning_scheme('days', '[{"after":"30 days","actions":["event"]}]'), 2, 'a change is the next version');
SELECT pg_temp.dun(:i, '2025-02-08') \g /dev/null
SELECT is(pg_temp.steps(:i), '1.1@02-01 00:00 1.2@02-08 00:00', 'cases keep the version with which they opened');
SELECT pg_temp.owed('days') AS j \gset
SELECT pg_temp.dun(:j, '2025-02-08', '2025-03-02') \g /dev/null
SELECT is(pg_temp.steps(:j), '1.1@03-02 00:00', 'later ones have the new one');

-- How it ends.
SELECT billing.write_off_invoice(:j, effective_at => '2025-03-03', reason => 'gone') \g /dev/null
SELECT is((pg_temp.case_of(:j)).state, 'written_off', 'given up');
SELECT billing.create_dunning_scheme('last', final_invoice => 'write_off', steps => '[{"after":"1 day","actions":["event"]}]') \g /dev/null
SELECT pg_temp.owed('last') AS i \gset
SELECT pg_temp.dun(:i, '2025-02-01') \g /dev/null
SELECT is((SELECT status FROM billing.invoice WHERE id = :i), 'uncollectible', 'after the last step the invoice is given up where the scheme says so');
SELECT billing.create_dunning_scheme('all', scope => 'account', steps => '[{"after":"1 day","actions":["event"]},{"after":"5 days","actions":["event"]}]') \g /dev/null
SELECT pg_temp.owed('all') AS i \gset
SELECT billing.record_external_invoice(:i >> 24, 'A-2', '2025-01-17', 70, 'EUR', due_on => '2025-02-02') AS second \gset
SELECT pg_temp.dun(:i, '2025-02-01', '2025-02-05') \g /dev/null
SELECT is((SELECT string_agg(amount_due::text, ' ' ORDER BY step_no) FROM billing.dunning_action WHERE account_id = :i >> 24), '1000.00 1070.00', 'one case for all that the account owes');
SELECT billing.record_payment(:i >> 24, 1070, 'EUR', effective_at => '2025-02-06') \g /dev/null
SELECT is((SELECT array_agg(state) FROM billing.dunning_case WHERE account_id = :i >> 24), '{succeeded}', 'which succeeds when all is paid');
SELECT pg_temp.owed('days') AS i \gset
SELECT pg_temp.dun(:i, '2025-03-02') \g /dev/null
SET LOCAL TimeZone = 'Asia/Tokyo';
SELECT billing.pause_case((pg_temp.case_of(:i)).id, 'dispute', until => '2025-03-10 00:00+00', effective_at => '2025-03-03 00:00+00') \g /dev/null
SET LOCAL TimeZone = 'UTC';
SELECT is((SELECT payload->>'until' FROM billing.event WHERE account_id = :i >> 24 AND payload->>'to' = 'paused'), '2025-03-10T00:00:00Z', 'events tell in UTC how long a case waits');
SELECT throws_ok($$SELECT billing_internal.change_case(account_id, id, 'running', now(), NULL) FROM billing.dunning_case WHERE state = 'succeeded'$$, 'LB506', NULL, 'no state follows that may not');
SELECT is_empty($$SELECT * FROM billing.check()$$, 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
