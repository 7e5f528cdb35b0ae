-- What of collections, messages and dunning does not add up is found by check(), whatever was done to the rows by force:
-- each finding at least once.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_retry_policy('daily', '{1 day}'), billing.create_template('acme', 'reminder', 'mail', 'en', '{amount_due}', 'Reminder') \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => billing.create_tax('vat', category => 'S', rate => 19), timing => 'advance', scheme => '{"model":"flat","flat_amount":100}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"}]') \g /dev/null
SELECT billing.create_dunning_scheme('usual', currency => 'EUR', retry_policy => 'daily', steps => '[{"after":"1 day","actions":["remind","fee"],"template":"reminder","fee":5},{"after":"8 days","actions":["event"]},{"after":"20 days","actions":["event"]}]'),
       billing.create_dunning_scheme('hard', steps => '[{"after":"1 day","actions":["agency"],"agency":"Inkasso"}]') \g /dev/null
-- Nine debtors, each with an invoice X1: Run, Promise, Instalments, Agency, Success, Loss; Waiting, Claimed and Taken are collected from.
CREATE TEMP TABLE debtor AS SELECT name, billing.create_account(name, email => 'a@example.com') AS account_id FROM unnest('{Run,Promise,Instalments,Agency,Success,Loss,Waiting,Claimed,Taken}'::text[]) name;
SELECT billing.assign_dunning_scheme(CASE name WHEN 'Agency' THEN 'hard' ELSE 'usual' END, account_id => account_id) FROM debtor WHERE name NOT IN ('Waiting', 'Claimed', 'Taken') \g /dev/null
SELECT billing.record_external_invoice(account_id, name, '2026-01-01', 100, 'EUR', due_on => '2026-01-10') FROM debtor \g /dev/null
CREATE FUNCTION pg_temp.debtor(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT account_id FROM pg_temp.debtor d WHERE d.name = $1 $$;
CREATE FUNCTION pg_temp.case_of(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT c.id FROM billing.dunning_case c WHERE c.account_id = pg_temp.debtor($1) $$;
CREATE FUNCTION pg_temp.invoice(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT min(i.id) FROM billing.invoice i WHERE i.account_id = pg_temp.debtor($1) $$;
CREATE FUNCTION pg_temp.collection(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT min(c.id) FROM billing.collection c WHERE c.account_id = pg_temp.debtor($1) $$;
CALL billing.dunning_run('2026-01-11 09:00');
SELECT billing.promise_payment(pg_temp.case_of('Promise'), 50, '2026-01-20', effective_at => '2026-01-11 10:00'), billing.arrange_payments(pg_temp.debtor('Instalments'), ARRAY[pg_temp.invoice('Instalments')], 3, 'month', effective_at => '2026-01-11 10:00'),
       billing.record_payment(pg_temp.debtor('Success'), 100, 'EUR', effective_at => '2026-01-11 10:00'), billing.write_off_invoice(pg_temp.invoice('Loss'), effective_at => '2026-01-11 10:00') \g /dev/null
SELECT billing.add_payment_method(pg_temp.debtor('Waiting'), 'direct_debit', iban => 'DE89370400440532013000', mandate_reference => 'M-1', mandate_signed_on => '2025-12-01'),
       billing.add_payment_method(pg_temp.debtor('Claimed'), 'card', provider => 'psp', token => 'tok-1'), billing.add_payment_method(pg_temp.debtor('Taken'), 'card', provider => 'psp', token => 'tok-2') \g /dev/null
SELECT billing.create_subscription(pg_temp.debtor('Taken'), 'team', start_at => '2030-01-01') \g /dev/null
SELECT billing.collect_invoice(pg_temp.invoice(name), 'daily', effective_at => '2026-01-11') FROM unnest('{Waiting,Claimed,Taken}'::text[]) name \g /dev/null
SELECT collection_id FROM billing.claim_collections('w', 3, at => '2026-01-11') \g /dev/null
SELECT billing.settle_collection(pg_temp.collection('Waiting'), 'declined', code => 'AM04', effective_at => '2026-01-11'), billing.settle_collection(pg_temp.collection('Taken'), 'succeeded', effective_at => '2026-01-11') \g /dev/null
CREATE TEMP TABLE message AS SELECT * FROM billing.claim_notifications('post', 1, at => '2026-01-11 09:00');
CREATE TEMP TABLE place AS
SELECT name || s AS name, x.id FROM debtor d, LATERAL (VALUES ('', d.account_id), ('''s case', pg_temp.case_of(d.name)), ('''s invoice', pg_temp.invoice(d.name)), ('''s collection', pg_temp.collection(d.name)),
    ('''s promise', (SELECT min(p.id) FROM billing.promise p WHERE p.account_id = d.account_id)), ('''s arrangement', (SELECT min(a.id) FROM billing.arrangement a WHERE a.account_id = d.account_id)),
    ('''s transfer', (SELECT min(t.id) FROM billing.agency_transfer t WHERE t.account_id = d.account_id)), ('''s method', (SELECT min(m.id) FROM billing.payment_method m WHERE m.account_id = d.account_id)),
    ('''s message', (SELECT min(n.id) FROM billing.notification n WHERE n.account_id = d.account_id AND n.code = 'reminder')), ('''s subscription', (SELECT min(u.id) FROM billing.subscription u WHERE u.account_id = d.account_id))) x (s, id) WHERE x.id IS NOT NULL;

-- What check() finds after a damage, which is undone again.
CREATE TEMP TABLE found (finding text);
CREATE FUNCTION pg_temp.findings(damage text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    result text[];
BEGIN
    ALTER TABLE billing.invoice_header DISABLE TRIGGER USER;
    SET LOCAL session_replication_role = replica; -- no foreign keys
    EXECUTE damage;
    SELECT array_agg(DISTINCT format('%s: %s %s', c.finding, c.relation, coalesce((SELECT min(p.name) FROM pg_temp.place p WHERE p.id = coalesce(c.id, c.account_id)), '-')))
      INTO result FROM billing.check(true) c
     -- what follows in the journal is left out
     WHERE c.finding NOT IN ('journal differs', 'unbalanced entry', 'posting without ledger account');
    RAISE EXCEPTION 'undo' USING ERRCODE = 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
    INSERT INTO found SELECT split_part(x, ':', 1) FROM unnest(result) x;
    RETURN coalesce(result, '{}');
END $$;
CREATE FUNCTION pg_temp.with_ids(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    p record;
BEGIN
    FOR p IN SELECT * FROM place ORDER BY length(name) DESC LOOP command := replace(command, format('{%s}', p.name), p.id::text); END LOOP;
    RETURN command;
END $$;

SELECT is(pg_temp.findings(pg_temp.with_ids(command)), expected::text[], what) FROM (VALUES
    ('no damage', 'SELECT', '{}'),
    -- cases
    ('case: over while the invoice is open', 'UPDATE billing.dunning_case SET state = ''succeeded'', next_step_at = NULL WHERE id = {Run''s case}', '{"wrong case: dunning_case Run''s case","wrong history of case: dunning_case Run''s case"}'),
    ('case: runs while the invoice is paid', 'UPDATE billing.dunning_case SET state = ''running'', next_step_at = now() WHERE id = {Success''s case}', '{"wrong case: dunning_case Success''s case","wrong history of case: dunning_case Success''s case"}'),
    ('case: runs while the invoice is given up', 'UPDATE billing.dunning_case SET state = ''exhausted'' WHERE id = {Loss''s case}', '{"wrong case: dunning_case Loss''s case","wrong history of case: dunning_case Loss''s case"}'),
    ('case: of no invoice', 'UPDATE billing.dunning_case SET invoice_id = 1 WHERE id = {Run''s case}', '{"wrong case: dunning_case Run''s case"}'),
    ('case: another round', 'UPDATE billing.dunning_case SET round = 2 WHERE id = {Run''s case}', '{"wrong history of case: dunning_case Run''s case"}'),
    ('case: an earlier round', 'UPDATE billing.dunning_case SET round = 0 WHERE id = {Run''s case}', '{"step that the scheme does not have: dunning_action Run''s case","wrong history of case: dunning_case Run''s case"}'),
    ('case: nothing is next', 'UPDATE billing.dunning_case SET next_step_at = NULL WHERE id = {Run''s case}', '{"case without a next step: dunning_case Run''s case"}'),
    ('case: its last step is none', 'UPDATE billing.dunning_case SET step_no = 0 WHERE id = {Run''s case}', '{"step that the scheme does not have: dunning_action Run''s case"}'),
    ('history: deleted', 'DELETE FROM billing.dunning_case_change WHERE case_id = {Run''s case}', '{"wrong history of case: dunning_case Run''s case"}'),
    ('history: a change deleted', 'DELETE FROM billing.dunning_case_change WHERE case_id = {Run''s case} AND change_no = 1', '{"broken history of case: dunning_case_change Run''s case"}'),
    ('history: from another state', 'UPDATE billing.dunning_case_change SET from_state = ''paused'' WHERE case_id = {Run''s case} AND change_no = 2', '{"broken history of case: dunning_case_change Run''s case"}'),
    ('history: what cannot follow', 'UPDATE billing.dunning_case_change SET to_state = ''succeeded'' WHERE case_id = {Run''s case} AND change_no = 1; UPDATE billing.dunning_case_change SET from_state = ''succeeded'' WHERE case_id = {Run''s case} AND change_no = 2',
     '{"broken history of case: dunning_case_change Run''s case"}'),
    ('step: of a step that there is not', 'UPDATE billing.dunning_action SET step_no = 4 WHERE case_id = {Run''s case}', '{"step that the scheme does not have: dunning_action Run''s case"}'),
    ('step: another claim', 'UPDATE billing.dunning_action SET claim_id = 1 WHERE case_id = {Run''s case}', '{"claim of a step is not there: dunning_action Run''s case"}'),
    ('step: its claim is an invoice', 'UPDATE billing.dunning_action SET claim_id = {Run''s invoice} WHERE case_id = {Run''s case}', '{"claim of a step is not there: dunning_action Run''s case"}'),
    -- promises, arrangements, transfers
    ('promise: open though broken', 'UPDATE billing.dunning_case SET pause_reason = ''dispute'' WHERE id = {Promise''s case}', '{"open promise of a case that does not wait for it: promise Promise''s promise"}'),
    ('arrangement: an instalment deleted', 'DELETE FROM billing.arrangement_instalment WHERE instalment_no = 1', '{"wrong arrangement: arrangement Instalments''s arrangement"}'),
    ('arrangement: all instalments deleted', 'DELETE FROM billing.arrangement_instalment', '{"wrong arrangement: arrangement Instalments''s arrangement"}'),
    ('arrangement: total', 'UPDATE billing.arrangement SET total = total + 1', '{"wrong arrangement: arrangement Instalments''s arrangement"}'),
    ('arrangement: ended', 'UPDATE billing.arrangement SET state = ''completed'', next_check_at = NULL', '{"case waits for no arrangement: dunning_case Instalments''s case"}'),
    ('arrangement: of another invoice', 'UPDATE billing.arrangement_invoice SET invoice_id = 1', '{"case waits for no arrangement: dunning_case Instalments''s case"}'),
    ('transfer: ended', 'UPDATE billing.agency_transfer SET state = ''refused''', '{"case at no agency: dunning_case Agency''s case"}'),
    ('transfer: deleted', 'DELETE FROM billing.agency_transfer', '{"case at no agency: dunning_case Agency''s case"}'),
    ('counter of ids: a case', 'UPDATE billing.account_state SET next_ordinal = 2 WHERE account_id = {Agency}', '{"id counter too low: account_state Agency''s transfer"}'),
    -- collections
    ('collection: attempts', 'UPDATE billing.collection SET attempts = 2 WHERE id = {Waiting''s collection}', '{"wrong attempts: collection Waiting''s collection"}'),
    ('collection: claimed by nobody', 'UPDATE billing.collection_attempt SET outcome = ''declined'' WHERE collection_id = {Claimed''s collection}', '{"wrong attempts: collection Claimed''s collection"}'),
    ('collection: submitted to nobody', 'UPDATE billing.collection SET status = ''submitted'', next_attempt_at = NULL, lease_until = NULL WHERE id = {Claimed''s collection}', '{"wrong attempts: collection Claimed''s collection"}'),
    ('collection: came in, but is open', 'UPDATE billing.collection SET status = ''waiting'', payment_id = NULL WHERE id = {Taken''s collection}', '{"collection of what is not open: collection Taken''s collection","wrong attempts: collection Taken''s collection"}'),
    ('collection: no payment', 'UPDATE billing.collection SET payment_id = NULL WHERE id = {Taken''s collection}', '{"collection without payment: collection Taken''s collection"}'),
    ('collection: another amount than its payment', 'UPDATE billing.collection SET amount = 99 WHERE id = {Taken''s collection}', '{"collection without payment: collection Taken''s collection"}'),
    ('collection: a payment, though it did not come in', 'UPDATE billing.collection SET payment_id = 1 WHERE id = {Waiting''s collection}', '{"collection without payment: collection Waiting''s collection"}'),
    ('collection: of a draft', 'UPDATE billing.collection SET invoice_id = {Success''s invoice}, account_id = {Success}, id = ({Success} << 24) + 2 WHERE id = {Waiting''s collection}; UPDATE billing.collection_attempt SET account_id = {Success}, collection_id = ({Success} << 24) + 2 WHERE collection_id = {Waiting''s collection}',
     '{"collection of what is not open: collection Success''s case"}'),
    ('collection: deleted', 'DELETE FROM billing.collection WHERE id = {Waiting''s collection}', '{"attempt without collection: collection_attempt Waiting''s collection"}'),
    ('method: account number', 'UPDATE billing.payment_method SET iban = ''DE88370400440532013000'' WHERE id = {Waiting''s method}', '{"wrong account number: payment_method Waiting''s method"}'),
    ('method: of another account', 'UPDATE billing.account SET payment_method_id = {Taken''s method} WHERE account_id = {Claimed}', '{"unknown payment method: account Claimed"}'),
    ('method: of another account''s subscription', 'UPDATE billing.subscription SET payment_method_id = {Claimed''s method}', '{"unknown payment method: subscription Taken''s subscription"}'),
    ('mandate: another reference', 'UPDATE billing.mandate SET reference = ''M-2''', '{"key without row: key Waiting''s method","row without key: mandate Waiting''s method"}'),
    ('directory: key of a mandate', 'DELETE FROM billing.key WHERE kind = ''mandate''', '{"row without key: mandate Waiting''s method"}'),
    ('counter of ids: a collection', 'UPDATE billing.account_state SET next_ordinal = 3 WHERE account_id = {Claimed}', '{"id counter too low: account_state Claimed''s collection"}'),
    -- messages
    ('message: claimed without a lease', format('UPDATE billing.notification SET lease_until = NULL WHERE id = %s', (SELECT notification_id FROM message)), '{"wrong state: notification Run''s message"}'),
    ('message: waits with a lease', 'UPDATE billing.notification SET lease_until = now() WHERE id = {Promise''s message}', '{"wrong state: notification Promise''s message"}'),
    ('message: sent at no time', 'UPDATE billing.notification SET status = ''sent'', attempts = 1, claimed_by = ''x'', lease_until = NULL, finished_at = NULL WHERE id = {Run''s message}', '{"wrong state: notification Run''s message"}'),
    ('message: sent by nobody', 'UPDATE billing.notification SET status = ''sent'', attempts = 0, lease_until = NULL, finished_at = now() WHERE id = {Run''s message}', '{"wrong state: notification Run''s message"}'),
    ('message: about nothing', 'UPDATE billing.notification SET invoice_id = 1 WHERE id = {Run''s message}', '{"message about nothing: notification Run''s message"}'),
    ('message: about no case', 'UPDATE billing.notification SET case_id = 1 WHERE id = {Run''s message}', '{"message about nothing: notification Run''s message"}'),
    ('message: about no payment', 'UPDATE billing.notification SET payment_id = 1 WHERE id = {Run''s message}', '{"message about nothing: notification Run''s message"}'),
    ('message: to nobody', 'UPDATE billing.notification SET account_id = 99, id = (99::bigint << 24) + 1, invoice_id = NULL, case_id = NULL WHERE id = {Run''s message}', '{"message about nothing: notification -"}'),
    ('template: an unknown field', 'UPDATE billing.template SET body = ''{amount}''', '{"wrong field: template -"}'),
    ('template: a brace', 'UPDATE billing.template SET subject = ''a } b''', '{"wrong field: template -"}'),
    ('counter of ids: a message', 'UPDATE billing.account_state SET next_ordinal = 4 WHERE account_id = {Run}', '{"id counter too low: account_state Run''s message"}')) x (what, command, expected);
SELECT is_empty($$SELECT m[1] FROM pg_proc p, regexp_matches(p.prosrc, 'SELECT ''([a-z][^'']+)'', (?:''[a-z_]+''|x\.relation),', 'g') m
                   WHERE p.pronamespace = 'billing_internal'::regnamespace AND p.proname IN ('check_dunning', 'check_collections', 'check_notifications') EXCEPT SELECT finding FROM found$$, 'every finding came');
SELECT * FROM finish();
ROLLBACK;
