-- What each step of a dunning scheme does, by runs; whom which scheme pursues; when a step is due where clocks change.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19), billing.create_interest_rate('legal', 10, '2020-01-01'), billing.create_retry_policy('daily', '{1 day}') \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"flat","flat_amount":100}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"}]') \g /dev/null
SELECT billing.create_template('acme', 'reminder', c, 'en', '{number} {amount_due} {fee}', subject => CASE c WHEN 'mail' THEN '{number}' END), billing.create_template('acme', 'by post', 'letter', 'en', '{number}')
  FROM unnest('{mail,sms,letter}'::text[]) c \g /dev/null

-- Accounts by name, each with an invoice over 1,000.00 that is due on a day and a scheme of this name, or without its number.
CREATE FUNCTION pg_temp.account(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT account_id FROM billing.account a WHERE a.name = $1 $$;
CREATE FUNCTION pg_temp.invoice(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT min(id) FROM billing.invoice WHERE account_id = pg_temp.account($1) AND kind = 'invoice' $$;
CREATE FUNCTION pg_temp.owes(name text, due_on date, zone text DEFAULT 'UTC', email text DEFAULT NULL, address jsonb DEFAULT NULL, phone text DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    account CONSTANT bigint := billing.create_account(name, time_zone => zone, email => email, address => address);
BEGIN
    PERFORM billing.change_contact(account, phone => phone);
    PERFORM billing.assign_dunning_scheme(rtrim(name, '123456789 '), account_id => account);
    RETURN billing.record_external_invoice(account, name, due_on - 14, 1000, 'EUR', due_on => due_on);
END $$;
CREATE FUNCTION pg_temp.run(VARIADIC at timestamptz[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
BEGIN
    FOREACH moment IN ARRAY at LOOP CALL billing.dunning_run(moment); END LOOP;
END $$;
-- Steps of an account: number, when, what was done or why not.
CREATE FUNCTION pg_temp.steps(name text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s %s %s', x.step_no, to_char(x.done_at, 'MM-DD HH24:MI'), concat_ws(', ', nullif(array_to_string(x.done, '+'), ''), x.passed_over)), '; ' ORDER BY x.done_at, x.step_no)
      FROM billing.dunning_action x WHERE x.account_id = pg_temp.account($1) $$;
CREATE FUNCTION pg_temp.case_of(name text) RETURNS billing.dunning_case LANGUAGE sql STABLE AS $$ SELECT c FROM billing.dunning_case c WHERE c.account_id = pg_temp.account($1) $$;
-- Claims of an account: kind and net of each line, tax, total.
CREATE FUNCTION pg_temp.claims(name text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s = %s + %s', (SELECT string_agg(l.kind || ' ' || l.net_amount, ' ' ORDER BY l.line_no) FROM billing.invoice_line l WHERE l.account_id = h.account_id AND l.invoice_id = h.id), h.net_total, h.tax_total), '; ' ORDER BY h.id)
      FROM billing.invoice h WHERE h.account_id = pg_temp.account($1) AND h.kind = 'claim' $$;

-- --- remind ---------------------------------------------------------------------------------------------
SELECT billing.create_dunning_scheme('remind', '[{"after":"1 day","actions":["remind"],"template":"reminder","channels":["sms","mail","letter"]}]'),
       billing.create_dunning_scheme('post', '[{"after":"1 day","actions":["remind"],"template":"by post","channels":["mail","letter"]}]') \g /dev/null
SELECT pg_temp.owes('remind 1', '2026-02-01', phone => '+49 1', email => 'a@example.com'), pg_temp.owes('remind 2', '2026-02-01', email => 'a@example.com', address => '{"city":"Ulm"}'),
       pg_temp.owes('remind 3', '2026-02-01', address => '{"city":"Ulm"}'), pg_temp.owes('remind 4', '2026-02-01'), pg_temp.owes('post', '2026-02-01', email => 'a@example.com', address => '{"city":"Ulm"}') \g /dev/null
SELECT pg_temp.run('2026-02-02 09:00') \g /dev/null
SELECT is((SELECT n.channel FROM billing.notification n WHERE n.account_id = pg_temp.account(name)), channel, name || ': ' || what) FROM (VALUES
    ('remind 1', 'sms', 'the first channel'), ('remind 2', 'mail', 'without a number the second'), ('remind 3', 'letter', 'then the third'), ('remind 4', NULL, 'without an address none'),
    ('post', 'letter', 'nor one for which there is no template')) v (name, channel, what);
SELECT is(pg_temp.steps('remind 4'), '1 02-02 09:00 not done: remind', 'which the step says');
SELECT is((SELECT n.recipient->>'phone' FROM billing.notification n WHERE n.account_id = pg_temp.account('remind 1')), '+49 1', 'to the number');

-- Before it is due: an invitation, no matter that a direct debit follows; canceled when it is paid before it went.
SELECT billing.create_dunning_scheme('before', '[{"after":"-14 days","actions":["event"]},{"after":"-3 days","actions":["remind"],"template":"reminder","not_before":"10:00","not_after":"12:00"},{"after":"1 day","actions":["event"]}]') \g /dev/null
SELECT pg_temp.owes('before 1', '2026-02-10', email => 'a@example.com'), pg_temp.owes('before 2', '2026-02-10', email => 'b@example.com') \g /dev/null
SELECT pg_temp.run('2026-01-26', '2026-01-27', '2026-02-06 23:59', '2026-02-07 09:59', '2026-02-07 10:00') \g /dev/null
SELECT is(pg_temp.steps('before 1'), '1 01-27 00:00 event; 2 02-07 10:00 remind', 'fourteen and three days before the due date');
SELECT billing.record_payment(pg_temp.account('before 1'), 1000, 'EUR', effective_at => '2026-02-08') \g /dev/null
SELECT pg_temp.run('2026-02-11', '2026-02-12') \g /dev/null
SELECT is(pg_temp.steps('before 1'), '1 01-27 00:00 event; 2 02-07 10:00 remind', 'who paid hears no more');
SELECT is((SELECT status FROM billing.notification WHERE account_id = pg_temp.account('before 1') AND code = 'reminder'), 'canceled', 'and not what was not sent yet');
SELECT is(pg_temp.steps('before 2'), '1 01-27 00:00 event; 2 02-07 10:00 remind; 3 02-11 00:00 event', 'who did not does');

-- --- retry_collection -----------------------------------------------------------------------------------
SELECT billing.create_dunning_scheme('retry', retry_policy => 'daily', steps => '[{"after":"1 day","actions":["retry_collection"]},{"after":"4 days","actions":["event"]}]') \g /dev/null
SELECT pg_temp.owes('retry 1', '2026-02-01'), pg_temp.owes('retry 2', '2026-02-01'), pg_temp.owes('retry 3', '2026-02-01') \g /dev/null
SELECT billing.add_payment_method(pg_temp.account('retry ' || n), 'card', provider => 'psp', token => 'tok' || n) FROM generate_series(1, 2) n \g /dev/null
CALL billing.collection_run('2026-02-01');
CREATE FUNCTION pg_temp.settle(name text, outcome text, at timestamptz, code text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.settle_collection(max(c.id), outcome, code => code, effective_at => at) FROM billing.collection c WHERE c.account_id = pg_temp.account($1) $$;
SELECT collection_id FROM billing.claim_collections('w', 10, at => '2026-02-01') \g /dev/null
SELECT pg_temp.settle('retry 1', 'declined', '2026-02-01', '51'), pg_temp.settle('retry 2', 'submitted', '2026-02-01') \g /dev/null
SELECT pg_temp.run('2026-02-02') \g /dev/null
SELECT is((SELECT array_agg(c.status ORDER BY c.id) || array_agg(c.policy ORDER BY c.id) FROM billing.collection c WHERE c.account_id = pg_temp.account('retry 1')), '{failed,waiting,NULL,daily}',
          'what failed is collected again, by the scheme''s policy');
SELECT is((SELECT x.collection_id FROM billing.dunning_action x WHERE x.account_id = pg_temp.account('retry 1')), (SELECT max(c.id) FROM billing.collection c WHERE c.account_id = pg_temp.account('retry 1')), 'the step names the collection');
SELECT is(pg_temp.steps('retry 2'), NULL, 'while the provider has one the case waits');
SELECT is((SELECT count(*) FROM billing.dunning_preview('2026-02-02') WHERE account_id = pg_temp.account('retry 2')), 0::bigint, 'in the preview, too');
SELECT is(pg_temp.steps('retry 3'), '1 02-02 00:00 not done: retry_collection', 'without a method nothing is collected');
SELECT pg_temp.settle('retry 2', 'declined', '2026-02-03', 'AM04') \g /dev/null
SELECT collection_id FROM billing.claim_collections('w', 10, at => '2026-02-03') \g /dev/null
SELECT pg_temp.settle('retry 1', 'succeeded', '2026-02-03') \g /dev/null
SELECT pg_temp.run('2026-02-04', '2026-02-05', '2026-02-06', '2026-02-07') \g /dev/null
SELECT is(pg_temp.steps('retry 1'), '1 02-02 00:00 retry_collection', 'what came in ends it');
SELECT is((pg_temp.case_of('retry 1')).state, 'succeeded', 'the case succeeded');
SELECT is(pg_temp.steps('retry 2'), '1 02-04 00:00 retry_collection; 2 02-07 00:00 event', 'the case that waited goes on, at the distance of its steps');

-- --- fee, interest, fixed sum ----------------------------------------------------------------------------
SELECT billing.create_dunning_scheme('untaxed', currency => 'EUR', steps => '[{"after":"1 day","actions":["fee"],"fee":5}]'),
       billing.create_dunning_scheme('taxed', currency => 'EUR', claim_tax => 'vat', steps => '[{"after":"1 day","actions":["fee"],"fee":5}]'),
       billing.create_dunning_scheme('all', currency => 'EUR', interest => 'legal', fixed_sum => 40, steps => '[{"after":"73 days","actions":["interest","fee"],"fee":7.50},{"after":"146 days","actions":["fee","interest"],"fee":9}]'),
       billing.create_dunning_scheme('lump', currency => 'EUR', fixed_sum => 40, steps => '[{"after":"1 day","actions":["interest"]},{"after":"2 days","actions":["interest"]}]') \g /dev/null
SELECT pg_temp.owes(name, '2026-02-01') FROM unnest('{untaxed,taxed,all,lump}'::text[]) name \g /dev/null
SELECT pg_temp.run('2026-02-02', '2026-02-03', '2026-04-15', '2026-06-27') \g /dev/null
SELECT is(pg_temp.claims('untaxed'), 'fee 5.00 = 5.00 + 0.00', 'costs are outside the scope of tax');
SELECT is(pg_temp.claims('taxed'), 'fee 5.00 = 5.00 + 0.95', 'unless the scheme names a class of tax');
SELECT is((SELECT string_agg(tax_category || ' ' || tax_scope, ', ' ORDER BY i.account_id DESC) FROM billing.invoice_header i JOIN billing.invoice_line l ON l.invoice_id = i.id WHERE i.account_id IN (pg_temp.account('taxed'), pg_temp.account('untaxed')) AND i.kind = 'claim'),
          'S taxed, O outside', 'as the documents say');
SELECT is(pg_temp.claims('all'), 'fee 7.50 interest 20.00 fixed_sum 40.00 = 67.50 + 0.00; fee 9.00 interest 20.00 = 29.00 + 0.00', 'fee, interest and the fixed sum are one claim of a step; the fixed sum comes once');
SELECT is((SELECT array_agg(array[fee, interest, fixed_sum] ORDER BY step_no) FROM billing.dunning_action WHERE account_id = pg_temp.account('all')), '{{7.5,20,40},{9,20,0}}', 'the steps say so');
SELECT is(pg_temp.claims('lump'), 'fixed_sum 40.00 = 40.00 + 0.00', 'a fixed sum without a rate of interest');
SELECT is((SELECT array_agg(done ORDER BY step_no) FROM billing.dunning_action WHERE account_id = pg_temp.account('lump')), '{{interest},{interest}}', 'its step is done also where it comes to nothing');
SELECT is((SELECT count(*) FROM billing.dunning_case c JOIN billing.invoice i ON i.id = c.invoice_id WHERE i.kind = 'claim'), 0::bigint, 'claims have no cases');

-- --- suspend, stop, cancel, event ------------------------------------------------------------------------
SELECT billing.create_dunning_scheme('suspend', '[{"after":"1 day","actions":["suspend","event"]}]'), billing.create_dunning_scheme('stop', '[{"after":"1 day","actions":["stop"]},{"after":"2 days","actions":["stop"]}]'),
       billing.create_dunning_scheme('cancel', '[{"after":"1 day","actions":["cancel"]}]'), billing.create_dunning_scheme('end nothing', '[{"after":"1 day","actions":["cancel","event"]}]') \g /dev/null
CREATE FUNCTION pg_temp.serves(name text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    account CONSTANT bigint := billing.create_account(name, payment_terms_days => 5);
BEGIN
    PERFORM billing.assign_dunning_scheme(name, account_id => account);
    RETURN billing.create_subscription(account, 'team', start_at => '2026-05-01');
END $$;
SELECT pg_temp.serves(name) FROM unnest('{suspend,stop,cancel}'::text[]) name \g /dev/null
SELECT pg_temp.owes('end nothing', '2026-05-06') \g /dev/null
SELECT billing.create_subscription(pg_temp.account('stop'), 'team', start_at => '2026-05-01') AS other \g /dev/null
CALL billing.bill_run(at => '2026-05-01');
SELECT pg_temp.run('2026-05-06 23:00', '2026-05-07', '2026-05-08') \g /dev/null
SELECT is((SELECT array_agg(type || ' ' || (payload->>'step_no') ORDER BY event_no) FROM billing.event WHERE account_id = pg_temp.account('suspend') AND type ~ 'service_|step_event' AND case_id = (pg_temp.case_of('suspend')).id),
          '{"dunning.service_suspended 1","dunning.step_event 1"}', 'suspend and event are told, in the order of the actions');
SELECT billing.record_payment(pg_temp.account('suspend'), amount_due, currency, effective_at => '2026-05-08 12:00') FROM billing.invoice WHERE id = pg_temp.invoice('suspend') \g /dev/null
SELECT is((SELECT (e.type, e.payload->>'to', e.occurred_at)::text FROM billing.event e WHERE e.case_id = (pg_temp.case_of('suspend')).id ORDER BY e.event_no DESC LIMIT 1), '(dunning.case_changed,succeeded,"2026-05-08 12:00:00+00")', 'who pays is served again: the case tells that it succeeded, at once');
SELECT is(pg_temp.steps('stop'), '1 05-07 00:00 stop; 2 05-08 00:00 not done: stop', 'stop ends the subscriptions of the invoice once');
SELECT is(pg_temp.steps('cancel'), '1 05-07 00:00 cancel', 'cancel');
SELECT is(pg_temp.steps('end nothing'), '1 05-07 00:00 event, not done: cancel', 'where no subscription is served nothing ends, the rest is done');
CREATE FUNCTION pg_temp.states(name text, at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(s.state, ' ' ORDER BY s.subscription_id) FROM (SELECT DISTINCT ON (x.subscription_id) x.* FROM billing.subscription_state x
      WHERE x.account_id = pg_temp.account($1) AND x.valid_from <= $2 ORDER BY x.subscription_id, x.valid_from DESC) s $$;
SELECT is(pg_temp.states(name, '2026-05-07 00:00:01'), states, name || ': the subscriptions') FROM (VALUES ('suspend', 'active'), ('stop', 'stopped stopped'), ('cancel', 'canceled')) v (name, states);

-- --- agency, write_off ------------------------------------------------------------------------------------
SELECT billing.create_dunning_scheme('agency', currency => 'EUR', steps => '[{"after":"1 day","actions":["fee"],"fee":5},{"after":"2 days","actions":["fee","agency"],"fee":10,"agency":"Inkasso"}]'),
       billing.create_dunning_scheme('loss', '[{"after":"1 day","actions":["event","write_off"]}]'), billing.create_dunning_scheme('kept', '[{"after":"1 day","actions":["event"]}]') \g /dev/null
SELECT pg_temp.owes(name, '2026-02-01') FROM unnest('{agency,loss,kept}'::text[]) name \g /dev/null
SELECT pg_temp.run('2026-02-02', '2026-02-03', '2026-02-04') \g /dev/null
SELECT is((SELECT (t.agency, t.amount, t.state)::text FROM billing.agency_transfer t WHERE t.account_id = pg_temp.account('agency')), '(Inkasso,1015.00,pending)', 'an agency gets the invoice and the claims for its delay');
SELECT is((pg_temp.case_of('agency')).state, 'at_agency', 'the case is there');
SELECT is((SELECT (i.status, w.amount, (pg_temp.case_of('loss')).state)::text FROM billing.invoice i JOIN billing.write_off w ON w.invoice_id = i.id WHERE i.id = pg_temp.invoice('loss')), '(uncollectible,1000.00,written_off)', 'given up');
SELECT is(pg_temp.steps('loss'), '1 02-02 00:00 event+write_off', 'once');
SELECT is((SELECT i.status || ' ' || (pg_temp.case_of('kept')).state FROM billing.invoice i WHERE i.id = pg_temp.invoice('kept')), 'open exhausted', 'without it the invoice stays open');

-- --- What waits and what is passed over --------------------------------------------------------------------
SELECT billing.create_dunning_scheme('over', currency => 'EUR', steps => '[{"after":"1 day","actions":["event"]},{"after":"5 days","counted_from":"previous","actions":["fee"],"fee":5,"minimum_due":800},
    {"after":"5 days","counted_from":"previous","actions":["event"]}]'), billing.create_dunning_scheme('enough', currency => 'EUR', threshold => 400, steps => '[{"after":"1 day","actions":["event"]},{"after":"2 days","actions":["event"]}]') \g /dev/null
SELECT pg_temp.owes('over', '2026-02-01'), pg_temp.owes('enough', '2026-02-01') \g /dev/null
SELECT pg_temp.run('2026-02-02') \g /dev/null
SELECT billing.record_payment(pg_temp.account('over'), 300, 'EUR', effective_at => '2026-02-02 12:00'), billing.record_payment(pg_temp.account('enough'), 700, 'EUR', effective_at => '2026-02-02 12:00') AS part \gset
SELECT pg_temp.run('2026-02-03', '2026-02-07', '2026-02-07', '2026-02-08', '2026-02-11 23:59', '2026-02-12') \g /dev/null
SELECT is(pg_temp.steps('over'), '1 02-02 00:00 event; 2 02-07 00:00 less than minimum_due is open; 3 02-12 00:00 event', 'a step that is passed over takes its place: the next one keeps its distance');
SELECT is(pg_temp.steps('enough'), '1 02-02 00:00 event', 'below the threshold the case waits');
SELECT billing.refund_payment(:part, effective_at => '2026-02-13') \g /dev/null
SELECT pg_temp.run('2026-02-13', '2026-02-14', '2026-02-15', '2026-02-16') \g /dev/null
SELECT is(pg_temp.steps('enough'), '1 02-02 00:00 event; 2 02-13 00:00 event', 'and goes on when more is owed again');

-- --- Which scheme -------------------------------------------------------------------------------------------
SELECT billing.create_dunning_scheme('of ' || x, '[{"after":"1 day","actions":["event"]}]') FROM unnest('{seller,account,subscription}'::text[]) x \g /dev/null
SELECT billing.assign_dunning_scheme('of seller', entity => 'acme') \g /dev/null
CREATE FUNCTION pg_temp.segment(name text, account text, schemes text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    id CONSTANT bigint := billing.create_account(name, payment_terms_days => 5);
    scheme text;
BEGIN
    IF account IS NOT NULL THEN PERFORM billing.assign_dunning_scheme(account, account_id => id); END IF;
    FOREACH scheme IN ARRAY schemes LOOP
        PERFORM billing.assign_dunning_scheme(scheme, subscription_id => x) FROM billing.create_subscription(id, 'team', start_at => '2026-07-01') x;
    END LOOP;
END $$;
SELECT pg_temp.segment('none', NULL, '{""}'), pg_temp.segment('account', 'of account', '{""}'), pg_temp.segment('subscription', 'of account', '{"of subscription"}'), pg_temp.segment('second', 'of account', '{"","of subscription"}'),
       pg_temp.segment('both', NULL, '{"of account","of subscription"}') \g /dev/null
CALL billing.bill_run(at => '2026-07-01');
SELECT pg_temp.run('2026-07-07') \g /dev/null
SELECT is((pg_temp.case_of(name)).scheme, scheme, name || ': ' || what) FROM (VALUES ('none', 'of seller', 'the seller''s'), ('account', 'of account', 'the account''s before it'), ('subscription', 'of subscription', 'the subscription''s before both'),
    ('second', 'of subscription', 'of whichever subscription on the invoice has one'), ('both', 'of account', 'of the first that has')) v (name, scheme, what);
SELECT billing.assign_dunning_scheme('', entity => 'acme') \g /dev/null

-- --- When ----------------------------------------------------------------------------------------------------
-- A Friday before clocks go forward: in New York on 8 March, in Berlin on 29 March.  
SELECT billing.create_dunning_scheme('office', '[{"after":"1 day","actions":["event"],"weekdays":[1,2,3,4,5],"not_before":"09:00","not_after":"17:00"},{"after":"1 day","counted_from":"previous","actions":["event"],"not_before":"09:00","not_after":"17:00"}]'),
       billing.create_dunning_scheme('night', '[{"after":"1 day","actions":["event"],"not_before":"02:30"},{"after":"2 days","actions":["event"],"not_before":"02:30"}]') \g /dev/null
SELECT pg_temp.owes('office 1', '2026-03-06', 'America/New_York'), pg_temp.owes('office 2', '2026-03-27', 'Europe/Berlin'), pg_temp.owes('office 3', '2026-03-27', 'Pacific/Auckland'),
       pg_temp.owes('office 4', '2026-03-30', 'Asia/Kolkata'), pg_temp.owes('night 1', '2026-03-28', 'Europe/Berlin'), pg_temp.owes('night 2', '2026-10-24', 'Europe/Berlin'), pg_temp.owes('night 3', '2026-04-03', 'Australia/Lord_Howe') \g /dev/null
-- Every six hours, and a minute before and at the minutes at which something is to be done.
SELECT pg_temp.run(VARIADIC ARRAY(SELECT x FROM (SELECT generate_series(timestamptz '2026-03-06', '2026-03-11', '6 hours') UNION SELECT generate_series(timestamptz '2026-03-27', '2026-04-06', '6 hours') UNION SELECT generate_series(timestamptz '2026-10-24 18:00', '2026-10-26 06:00', '6 hours')
    UNION SELECT m - s FROM unnest('{2026-03-09 13:00,2026-03-10 13:00,2026-03-30 07:00,2026-03-31 07:00,2026-03-29 20:00,2026-03-30 20:00,2026-03-31 03:30,2026-04-01 03:30,2026-03-29 01:30,2026-03-30 00:30,2026-10-25 01:30,2026-10-26 01:30,2026-04-03 15:30,2026-04-04 16:00}'::timestamptz[]) m,
          unnest('{1 minute,0}'::interval[]) s) r (x) ORDER BY x)) \g /dev/null
SELECT is(pg_temp.steps(name), steps, name || ': ' || what) FROM (VALUES
    ('office 1', '1 03-09 13:00 event; 2 03-10 13:00 event', 'Monday at nine in New York, where summer has begun'),
    ('office 2', '1 03-30 07:00 event; 2 03-31 07:00 event', 'Monday at nine in Berlin, where it has, too'),
    ('office 3', '1 03-29 20:00 event; 2 03-30 20:00 event', 'Monday at nine in Auckland is Sunday here'),
    ('office 4', '1 03-31 03:30 event; 2 04-01 03:30 event', 'Tuesday at nine in Kolkata'),
    ('night 1', '1 03-29 01:30 event; 2 03-30 00:30 event', 'half past two does not exist that night: an hour later by the clock'),
    ('night 2', '1 10-25 01:30 event; 2 10-26 01:30 event', 'half past two comes twice that night: the second'),
    ('night 3', '1 04-03 15:30 event; 2 04-04 16:00 event', 'where clocks go back by half an hour')) v (name, steps, what);
SELECT is((SELECT count(*) FROM billing.dunning_action x WHERE x.account_id IN (pg_temp.account('night 2'), pg_temp.account('night 1'))), 4::bigint, 'each once');

SELECT is_empty('SELECT * FROM billing.run_error', 'no run failed for anybody');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
