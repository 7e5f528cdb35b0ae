-- What people who pursue debts meet in practice: other currencies, payment in parts before anything was sent, messages
-- on their way when the money or a dispute comes in.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(45);
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_template('acme', 'reminder', 'mail', 'en', 'Please pay {amount_due} {currency}', subject => 'Invoice {number}') \g /dev/null
CREATE FUNCTION pg_temp.dun(account bigint, VARIADIC at timestamptz[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
BEGIN
    FOREACH moment IN ARRAY at LOOP PERFORM billing_internal.dun_accounts(ARRAY[account], moment, false); END LOOP;
END $$;
CREATE FUNCTION pg_temp.steps(account bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s.%s@%s:%s', x.round, x.step_no, to_char(x.done_at, 'MM-DD'), trim_scale(x.fee)), ' ' ORDER BY x.done_at, x.round, x.step_no)
      FROM billing.dunning_action x WHERE x.account_id = account $$;
CREATE FUNCTION pg_temp.case_state(account bigint) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', c.state, c.pause_reason, to_char(c.next_step_at, 'MM-DD')) FROM billing.dunning_case c WHERE c.account_id = account $$;

-- Amounts of a scheme are in its currency.
SELECT billing.create_dunning_scheme('euro', currency => 'EUR', threshold => 5, fixed_sum => 40, steps => '[{"after":"1 day","actions":["fee","interest"],"fee":5}]') \g /dev/null
SELECT billing.create_dunning_scheme('yen', currency => 'JPY', steps => '[{"after":"1 day","actions":["fee"],"fee":500}]') \g /dev/null
SELECT billing.assign_dunning_scheme('euro', entity => 'acme') \g /dev/null
SELECT billing.create_account('Jun', currency => 'JPY') AS jun \gset
SELECT billing.record_external_invoice(:jun, 'J-1', '2025-01-01', 1000, 'JPY', due_on => '2025-01-15') AS i \gset
SELECT pg_temp.dun(:jun, '2025-01-16') \g /dev/null
SELECT is(pg_temp.steps(:jun), NULL, 'a scheme in euros charges nobody who pays in yen');
SELECT throws_ok(format($$SELECT billing.assign_dunning_scheme('euro', account_id => %s)$$, :jun), 'LB204', NULL, 'nor can it be given to such an account');
SELECT billing.assign_dunning_scheme('yen', account_id => :jun) \g /dev/null
SELECT pg_temp.dun(:jun, '2025-01-17') \g /dev/null
SELECT is(pg_temp.steps(:jun), '1.1@01-17:500', 'one in yen does');
SELECT is((SELECT total FROM billing.invoice WHERE account_id = :jun AND kind = 'claim'), 500::numeric, 'and the claim is in yen');

-- Payment in parts is watched whether or not a scheme pursues the invoice, and nothing is sent meanwhile.
SELECT billing.create_dunning_scheme('together', scope => 'account', currency => 'EUR', steps => '[{"after":"1 day","actions":["remind","fee"],"template":"reminder","fee":5},
    {"after":"8 days","actions":["event"]}]') \g /dev/null
SELECT billing.create_entity('quiet', name => 'Quiet Ltd', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_account('Una', entity => 'quiet') AS una \gset
SELECT billing.record_external_invoice(:una, 'U-1', '2025-01-01', 100, 'EUR', due_on => '2025-01-15') AS i \gset
SELECT billing.arrange_payments(:una, ARRAY[:i], 2, 'week', effective_at => '2025-01-20 09:00') AS r \gset
SELECT pg_temp.dun(:una, '2025-01-20 23:59') \g /dev/null
SELECT billing.record_payment(:una, 50, 'EUR', effective_at => '2025-01-20 23:59') \g /dev/null
SELECT billing.assign_dunning_scheme('euro', account_id => :una) \g /dev/null
SELECT pg_temp.dun(:una, '2025-01-21', '2025-01-27 23:59') \g /dev/null
SELECT results_eq(format('SELECT r.state, r.next_check_at, pg_temp.steps(%1$s) FROM billing.arrangement r WHERE r.account_id = %1$s', :una),
    $$VALUES ('active', timestamptz '2025-01-28', NULL::text)$$, 'it goes on to the next part, and a scheme that comes later waits for it');
SELECT pg_temp.dun(:una, '2025-01-28') \g /dev/null
SELECT results_eq(format('SELECT r.state, r.reason, pg_temp.steps(%1$s) FROM billing.arrangement r WHERE r.account_id = %1$s', :una),
    $$VALUES ('broken', 'the part due on 2025-01-27 was missed', '1.1@01-28:5')$$, 'the day after a missed part it is broken, and dunning begins');

SELECT billing.create_account('Tom', entity => 'acme', email => 'tom@example.org') AS tom \gset
SELECT billing.assign_dunning_scheme('together', account_id => :tom) \g /dev/null
SELECT billing.record_external_invoice(:tom, 'T-1', '2025-01-01', 100, 'EUR', due_on => '2025-01-15') AS i,
       billing.record_external_invoice(:tom, 'T-2', '2025-01-01', 200, 'EUR', due_on => '2025-01-16') AS j \gset
SELECT billing.arrange_payments(:tom, ARRAY[:i, :j], 2, 'week', effective_at => '2025-01-20 09:00') AS r \gset
SELECT is(pg_temp.case_state(:tom), 'paused arrangement 01-21', 'the case of an account that is not open yet opens and waits');
SELECT billing.record_payment(:tom, 150, 'EUR', effective_at => '2025-01-20') \g /dev/null
SELECT is((SELECT count(*) FROM billing.dunning_preview('2025-01-21') WHERE account_id = :tom), 0::bigint, 'a part that was paid in time, by a booking of that day: the preview shows nothing');
SELECT pg_temp.dun(:tom, '2025-01-21') \g /dev/null
SELECT is(pg_temp.case_state(:tom), 'paused arrangement 01-28', 'and the run moves on to the next part');
SELECT results_eq(format('SELECT step_no, due_at FROM billing.dunning_preview(%L) WHERE account_id = %s', '2025-01-28', :tom), $$VALUES (1, timestamptz '2025-01-16')$$,
    'a missed part: the preview shows the step that follows');
SELECT pg_temp.dun(:tom, '2025-01-28') \g /dev/null
SELECT is(pg_temp.steps(:tom), '1.1@01-28:5', 'and the run does it');
SELECT billing.record_external_invoice(:tom, 'T-3', '2025-01-01', 60, 'EUR', due_on => '2025-01-20') AS k, (SELECT id FROM billing.dunning_case WHERE account_id = :tom) AS c \gset
SELECT billing.pause_case(:c, 'dispute', effective_at => '2025-01-29') \g /dev/null
SELECT throws_ok(format('SELECT billing.arrange_payments(%s, ARRAY[%s], 2, %L, effective_at => %L)', :tom, :k, 'week', '2025-01-29'), 'LB506', NULL, 'what is disputed is not arranged');
SELECT billing.resume_case(:c, '2025-01-29'), billing.arrange_payments(:tom, ARRAY[:j], 2, 'week', effective_at => '2025-01-29') AS first,
       billing.arrange_payments(:tom, ARRAY[:k], 2, 'week', effective_at => '2025-01-29') AS second \gset
SELECT billing.terminate_arrangement(:first, '2025-01-29') \g /dev/null
SELECT is(pg_temp.case_state(:tom), 'paused arrangement 01-30', 'the case of an account waits while another arrangement holds');
SELECT billing.write_off_invoice(:k, '2025-01-29') \g /dev/null
SELECT is(pg_temp.case_state(:tom), 'running 02-04', 'one whose invoice is given up is over, and the case goes on where it was');
SELECT billing.stop_case(:c, '2025-01-30'), billing.arrange_payments(:tom, ARRAY[:j], 2, 'week', effective_at => '2025-01-30') \g /dev/null
SELECT results_eq(format('SELECT billing_internal.dunning_accounts(at, NULL, %1$s, %1$s) FROM unnest(%2$L::timestamptz[]) at', :tom, '{2025-01-30 23:59,2025-01-31}'),
    format('SELECT %s::bigint', :tom), 'arrangements are watched where the case is stopped, too');

-- Messages that nobody sent yet when there is nothing to remind of any more.
SELECT billing.create_dunning_scheme('mail', '[{"after":"1 day","actions":["remind"],"template":"reminder"}, {"after":"8 days","actions":["remind"],"template":"reminder","not_before":"08:00","not_after":"18:00"},
    {"after":"30 days","actions":["event"]}]') \g /dev/null
CREATE FUNCTION pg_temp.reminded(name text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    account CONSTANT bigint := billing.create_account(name, entity => 'acme', email => name || '@example.org');
BEGIN
    PERFORM billing.assign_dunning_scheme('mail', account_id => account), billing.record_external_invoice(account, name, '2025-02-01', 100, 'EUR', due_on => '2025-02-15');
    PERFORM pg_temp.dun(account, '2025-02-16');
    RETURN account;
END $$;
CREATE FUNCTION pg_temp.taken(account bigint, at timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(code || ' ' || attempt_no, ' ') FROM billing.claim_notifications('sender', 100, '5 minutes', at) c WHERE c.account_id = account $$;
SELECT pg_temp.reminded('Sue') AS sue, pg_temp.reminded('Dan') AS dan \gset
SELECT is(pg_temp.taken(:sue, '2025-02-16'), 'reminder 1', 'a sender takes a reminder, and is gone');
SELECT is(pg_temp.taken(:sue, '2025-02-16 00:05'), 'reminder 2', 'another one takes it');
SELECT billing.record_payment(:sue, 100, 'EUR', effective_at => '2025-02-16 00:06') \g /dev/null
SELECT is(pg_temp.taken(:sue, '2025-02-16 00:20'), NULL, 'nobody when it is paid meanwhile');
SELECT results_eq(format('SELECT status, failure FROM billing.notification WHERE account_id = %s AND code = %L', :sue, 'reminder'), $$VALUES ('canceled', 'the case waits or is over')$$, 'it is canceled');
SELECT pg_temp.dun(:dan, '2025-02-23 20:00') \g /dev/null
SELECT billing.pause_case(id, 'dispute', effective_at => '2025-02-23 21:00'), billing.resume_case(id, '2025-02-23 22:00') FROM billing.dunning_case WHERE account_id = :dan \g /dev/null
SELECT is(pg_temp.taken(:dan, '2025-02-25'), 'reminder 4', 'what waits for its window when the case is paused does not go afterwards');

-- A case of an account begins anew with new debts; what is given up takes its claims along.
CREATE FUNCTION pg_temp.debt(account bigint, due_on date) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.record_external_invoice(account, format('%s-%s', account, due_on), due_on - 14, 100, 'EUR', due_on => due_on) $$;
SELECT billing.create_account('Max', entity => 'acme', email => 'max@example.org') AS max \gset
SELECT billing.assign_dunning_scheme('together', account_id => :max), pg_temp.debt(:max, '2025-03-01') \g /dev/null
SELECT pg_temp.dun(:max, '2025-03-02', '2025-03-09') \g /dev/null
SELECT is(pg_temp.case_state(:max), 'exhausted', 'no step is left for what an account owes');
SELECT pg_temp.debt(:max, '2025-04-01') \g /dev/null
SELECT ok(:max IN (SELECT billing_internal.dunning_accounts('2025-04-02', NULL, 0, 1000000)), 'the run looks at it when more is overdue');
SELECT pg_temp.dun(:max, '2025-04-01', '2025-04-02', '2025-04-03') \g /dev/null
SELECT is(pg_temp.steps(:max), '1.1@03-02:5 1.2@03-09:0 2.1@04-02:5', 'the next round begins, with its own fee');
SELECT is((SELECT amount_due FROM billing.dunning_action WHERE account_id = :max AND round = 2), 200.00, 'and is about all');
SELECT billing.create_dunning_scheme('last', scope => 'account', currency => 'EUR', final_invoice => 'write_off', steps => '[{"after":"1 day","actions":["fee"],"fee":5}]') \g /dev/null
SELECT billing.create_account('Eve', entity => 'acme') AS eve \gset
SELECT billing.assign_dunning_scheme('last', account_id => :eve), pg_temp.debt(:eve, '2025-03-01'), pg_temp.debt(:eve, '2025-03-02') \g /dev/null
SELECT pg_temp.dun(:eve, '2025-03-03') \g /dev/null
SELECT results_eq(format('SELECT kind, status FROM billing.invoice WHERE account_id = %s ORDER BY 1', :eve),
    $$VALUES ('claim', 'uncollectible'), ('invoice', 'uncollectible'), ('invoice', 'uncollectible')$$, 'after the last step all is given up');
SELECT is(pg_temp.case_state(:eve), 'written_off', 'and the case is written off, not succeeded');

-- A promise is kept by what is booked on the morning of its day, and by nothing that was booked before.
SELECT pg_temp.reminded('Pia') AS pia \gset
SELECT billing.record_payment(:pia, 30, 'EUR', effective_at => '2025-02-17 09:00') \g /dev/null
SELECT billing.promise_payment(id, 40, '2025-02-20', effective_at => '2025-02-17 10:00') AS p FROM billing.dunning_case WHERE account_id = :pia \gset
SELECT billing.record_payment(:pia, 39, 'EUR', effective_at => '2025-02-17') \g /dev/null
SELECT is((SELECT state FROM billing.promise WHERE id = :p), 'open', 'so much has not come in yet');
SELECT billing.record_payment(:pia, 1, 'EUR', effective_at => '2025-02-17') \g /dev/null
SELECT is((SELECT state FROM billing.promise WHERE id = :p), 'kept', 'now it has');
SELECT is(pg_temp.case_state(:pia), 'running 02-23', 'and the case goes on');
SELECT billing.create_account('Leo', entity => 'acme', email => 'leo@example.org') AS leo \gset
SELECT billing.assign_dunning_scheme('together', account_id => :leo), pg_temp.debt(:leo, '2025-03-01') AS first, pg_temp.debt(:leo, '2025-03-08') \gset
SELECT pg_temp.dun(:leo, '2025-03-02', '2025-03-09') \g /dev/null
SELECT billing.record_payment(:leo, 100, 'EUR', invoice_ids => ARRAY[:first]::bigint[], effective_at => '2025-03-05') \g /dev/null
SELECT is(pg_temp.case_state(:leo), 'exhausted', 'nor does a late booking end a case that is about more since');

-- How a customer is reached.
SELECT billing.create_template('acme', 'reminder', 'sms', 'de', 'Bitte zahlen Sie {amount_due} {currency}.') \g /dev/null
SELECT billing.create_dunning_scheme('fallback', steps => '[{"after":"1 day","actions":["remind"],"template":"reminder","channels":["mail","sms"]}]') \g /dev/null
SELECT billing.create_account('Udo', entity => 'acme', email => 'udo@example.org') AS udo \gset
SELECT billing.change_contact(:udo, email => '', phone => '+49 30 1234', language => 'de-AT', address => '{"city":"Wien"}'),
       billing.change_contact(:udo), billing.assign_dunning_scheme('fallback', account_id => :udo), pg_temp.debt(:udo, '2025-03-01') \g /dev/null
SELECT pg_temp.dun(:udo, '2025-03-02') \g /dev/null
SELECT results_eq(format('SELECT channel, language, recipient->>%L, subject, body FROM billing.notification WHERE account_id = %s', 'phone', :udo),
    $$VALUES ('sms', 'de', '+49 30 1234', NULL::text, 'Bitte zahlen Sie 100.00 EUR.')$$, 'without electronic address by text message, in the language without its region');
SELECT throws_ok('SELECT billing.change_contact(0, phone => ''1'')', 'LB108', NULL, 'an account that is not there');
SELECT throws_ok(format('SELECT billing.change_contact(%s, language => %L)', :udo, 'Deutsch'), 'LB208', NULL, 'no language');
SELECT throws_ok(format('SELECT billing.change_contact(%s, address => %L)', :udo, '{"planet":"Mars"}'), 'LB208', NULL, 'no address');
SELECT throws_ok(format('SELECT billing.acknowledge_notification(%s, %L, effective_at => %L) FROM billing.claim_notifications(%L, 100, at => %L) WHERE account_id = %s',
    (SELECT id FROM billing.notification WHERE account_id = :udo), 'sent', 'infinity', 'w', '2025-03-02', :udo), '22008', NULL, 'a message is sent at an instant');

-- What a reminder asks for.
SELECT billing.create_template('acme', 'dun', 'mail', 'en', 'Pay {total_due}, of it {amount_due} for {number}, due on {due_on}', subject => 'Reminder') \g /dev/null
SELECT billing.create_dunning_scheme('one', currency => 'EUR', steps => '[{"after":"1 day","actions":["remind","fee"],"template":"dun","fee":5},{"after":"2 days","actions":["remind","fee"],"template":"dun","fee":10}]'),
       billing.create_dunning_scheme('all', currency => 'EUR', scope => 'account', steps => '[{"after":"3 days","actions":["remind","fee"],"template":"dun","fee":5}]') \g /dev/null
CREATE FUNCTION pg_temp.asked(scheme text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    account CONSTANT bigint := billing.create_account(scheme, entity => 'acme', email => 'x@example.org');
BEGIN
    PERFORM billing.assign_dunning_scheme(scheme, account_id => account), pg_temp.debt(account, '2025-03-01'), pg_temp.debt(account, '2025-03-02');
    PERFORM billing.record_payment(account, 30, 'EUR', effective_at => '2025-03-01');
    PERFORM pg_temp.dun(account, '2025-03-02', '2025-03-03', '2025-03-04');
    RETURN QUERY SELECT replace(n.body, account || '-', '') FROM billing.notification n WHERE n.account_id = account ORDER BY n.invoice_id, n.id;
END $$;
SELECT results_eq($$SELECT pg_temp.asked('one')$$, ARRAY['Pay 75.00, of it 70.00 for 2025-03-01, due on 2025-03-01', 'Pay 85.00, of it 70.00 for 2025-03-01, due on 2025-03-01',
    'Pay 105.00, of it 100.00 for 2025-03-02, due on 2025-03-02', 'Pay 115.00, of it 100.00 for 2025-03-02, due on 2025-03-02'], 'the invoice, and all that was claimed for its delay');
SELECT results_eq($$SELECT pg_temp.asked('all')$$, ARRAY['Pay 175.00, of it 170.00 for 2025-03-01, 2025-03-02, due on 2025-03-01'], 'or all invoices of the account, since the first was due');

-- Parts from the last day of a month, after an initial amount, with costs.
SELECT billing.create_account('Ida', entity => 'acme') AS ida \gset
SELECT billing.arrange_payments(:ida, ARRAY[pg_temp.debt(:ida, '2025-01-15')], 3, 'month', initial_amount => 10, costs => 5, start_on => '2025-01-31', effective_at => '2025-01-20') AS r \gset
SELECT results_eq(format('SELECT due_on::text, amount::text FROM billing.arrangement_instalment WHERE arrangement_id = %s ORDER BY instalment_no', :r),
    $$VALUES ('2025-01-31', '10.00'), ('2025-02-28', '31.67'), ('2025-03-31', '31.67'), ('2025-04-30', '31.66')$$, 'parts');

-- Slips that would be found when a reminder does not go out.
SELECT throws_ok($$SELECT billing.create_dunning_scheme('slip', '[{"after":7,"actions":["event"]}]')$$, 'LB504', NULL, 'an interval has a unit');
SELECT throws_ok($$SELECT billing.create_dunning_scheme('slip', '[{"after":"7 days","actions":["remind"],"template":"reminder","channels":["letter"]}]')$$, 'LB504', NULL, 'a template is there for one of the channels');
SELECT throws_ok(format('SELECT billing.assign_dunning_scheme(%L, %s)', 'mail', a), 'LB148', NULL, 'a seller has the texts of a scheme: ' || a)
  FROM unnest(ARRAY['entity => ''quiet''', format('account_id => %s', :una)]) a;
SELECT throws_ok($$SELECT billing.set_payment_rules('quiet', dunning_scheme => 'mail')$$, 'LB148', NULL, 'by whatever call');
SELECT throws_ok($$SELECT billing.drop_template('acme', 'reminder', 'mail', 'en')$$, 'LB505', NULL, 'the last text that a scheme needs stays');
SELECT is_empty('SELECT * FROM billing.check()', 'the books are sound');

SELECT * FROM finish();
ROLLBACK;
