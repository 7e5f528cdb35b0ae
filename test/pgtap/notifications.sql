-- Messages to customers: templates, what is written when, claims and acknowledgements, bad input.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(66);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"flat","flat_amount":100}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"}]') \g /dev/null
CREATE TEMP TABLE customer AS
SELECT name, billing.create_account(name, email => email, address => address::jsonb) AS id FROM (VALUES
    ('Mail', 'mail@example.org', '{}'), ('Letter', NULL, '{"city":"Bonn"}'), ('Nobody', NULL, '{}'), (E'Eve {amount_due}\nBcc: all', 'eve@example.org', '{"city":"Ulm"}')) v (name, email, address);
CREATE FUNCTION pg_temp.customer(name text) RETURNS bigint LANGUAGE sql AS $$ SELECT min(c.id) FROM pg_temp.customer c WHERE c.name LIKE $1 || '%' $$;
SELECT billing.create_subscription(id, 'team', start_at => '2026-01-01 00:00+01') FROM customer \g /dev/null
CREATE FUNCTION pg_temp.messages() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', split_part(c.name, ' ', 1), n.code, n.channel, n.language, n.recipient - 'name', n.subject, n.body) FROM billing.notification n JOIN pg_temp.customer c ON c.id = n.account_id ORDER BY n.id $$;
CREATE FUNCTION pg_temp.written() RETURNS text LANGUAGE sql AS $$
    SELECT md5(concat((SELECT string_agg(t::text, ',' ORDER BY t::text) FROM billing.template t), (SELECT string_agg(n::text, ',' ORDER BY n.id) FROM billing.notification n), (SELECT count(*) FROM billing.event))) $$;
CREATE FUNCTION pg_temp.fails(command text, code text, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    before text := pg_temp.written();
BEGIN
    RETURN NEXT throws_ok(command, code::char(5), NULL, what);
    RETURN NEXT is(pg_temp.written(), before, what || ': nothing is written');
END $$;

-- --- Bad templates ------------------------------------------------------------------------------------
SELECT pg_temp.fails(format('SELECT billing.create_template(%s)', a), c, w) FROM (VALUES
    ($$'acme', 'x', 'mail', 'en', 'You owe {amout_due}', 'S'$$, 'LB505', 'an unknown field'),
    ($$'acme', 'x', 'mail', 'en', 'B', 'Invoice {nr}'$$, 'LB505', 'in the subject'),
    ($$'acme', 'x', 'mail', 'en', 'You owe {amount_due', 'S'$$, 'LB505', 'a brace that is not closed'),
    ($$'acme', 'x', 'mail', 'en', 'You owe amount_due}', 'S'$$, 'LB505', 'one that was not opened'),
    ($$'acme', 'x', 'mail', 'en', '{Amount Due}', 'S'$$, 'LB505', 'what is no name'),
    ($$'acme', 'x', 'mail', 'en', '', 'S'$$, 'LB208', 'an empty text'),
    ($$'acme', 'x', 'mail', 'en', 'B'$$, 'LB208', 'a mail without subject'),
    ($$'acme', 'x', 'sms', 'en', 'B', 'S'$$, 'LB208', 'a text message with one'),
    ($$'acme', 'x', 'fax', 'en', 'B', 'S'$$, 'LB208', 'an unknown channel'),
    ($$'acme', 'x', 'mail', 'German', 'B', 'S'$$, 'LB208', 'no language'),
    ($$'acme', '', 'mail', 'en', 'B', 'S'$$, 'LB208', 'no code'),
    ($$'acme', 'x', 'mail', 'en', NULL, 'S'$$, '22004', 'null')) v (a, c, w);
SELECT pg_temp.fails($$SELECT billing.create_template('other', 'x', 'mail', 'en', 'B', 'S')$$, code, 'an unknown seller') FROM billing.error_code WHERE name = 'unknown_entity';
SELECT pg_temp.fails($$SELECT billing.drop_template('acme', 'x', 'mail', 'en')$$, 'LB148', 'a template that is not there');

-- --- Documents ----------------------------------------------------------------------------------------
SELECT billing.bill_account(id, '2026-01-01 00:00+01') FROM customer \g /dev/null
SELECT is((SELECT count(*) FROM billing.notification), 0::bigint, 'without templates nothing is written');
SELECT billing.create_template('acme', 'invoice', 'mail', 'en', 'Dear {account_name}, pay {amount_due} {currency} of {total} by {due_on}. {{{seller_name}}}', 'Invoice {number} for {account_name}'),
       billing.create_template('acme', 'invoice', 'letter', 'en', 'Invoice {number} of {issued_on}{fee}') \g /dev/null
SELECT billing.bill_account(id, '2026-02-01 00:00+01') FROM customer ORDER BY id \g /dev/null
SELECT results_eq('SELECT pg_temp.messages()', $$VALUES
    ('Mail | invoice | mail | en | {"email": "mail@example.org"} | Invoice INV-2026-000005 for Mail | Dear Mail, pay 119.00 EUR of 119.00 by 2026-02-15. {Acme GmbH}'),
    ('Letter | invoice | letter | en | {"address": {"city": "Bonn"}} | Invoice INV-2026-000006 of 2026-02-01'),
    (E'Eve | invoice | mail | en | {"email": "eve@example.org"} | Invoice INV-2026-000008 for Eve {amount_due} Bcc: all | Dear Eve {amount_due}\nBcc: all, pay 119.00 EUR of 119.00 by 2026-02-15. {Acme GmbH}')$$,
    'invoices: by the channel there is an address for; what a name holds is no field and begins no line');
SELECT is((SELECT count(*) FROM billing.event WHERE type = 'notification.created'), 3::bigint, 'each has an event');

-- --- Languages ----------------------------------------------------------------------------------------
SELECT billing.create_template('acme', 'receipt', 'mail', l, b, 'R') FROM (VALUES ('en', 'Received {payment_amount} on {received_on} by {method}'), ('de', 'Erhalten {payment_amount}'), ('de-AT', 'Bekommen {payment_amount}'), ('fr', 'Reçu')) v (l, b) \g /dev/null
CREATE FUNCTION pg_temp.receipt(speaks text, seller text DEFAULT 'en') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing.account SET language = speaks WHERE account_id = pg_temp.customer('Mail');
    PERFORM billing.set_payment_rules('acme', language => seller);
    PERFORM billing.record_payment(pg_temp.customer('Mail'), 5, 'EUR', method => 'transfer', effective_at => '2026-02-03 23:30+00');
    RETURN (SELECT body FROM billing.notification WHERE code = 'receipt' ORDER BY id DESC LIMIT 1);
END $$;
SELECT is(pg_temp.receipt(NULL), 'Received 5.00 on 2026-02-04 by Transfer', 'the seller''s language');
SELECT is(pg_temp.receipt('de'), 'Erhalten 5.00', 'the customer''s');
SELECT is(pg_temp.receipt('de-AT'), 'Bekommen 5.00', 'with its region');
SELECT is(pg_temp.receipt('de-CH'), 'Erhalten 5.00', 'without it');
SELECT is(pg_temp.receipt('it', 'fr'), 'Reçu', 'the seller''s, where there is none of the customer''s');
SELECT is(pg_temp.receipt('it', 'es'), 'Erhalten 5.00', 'any other, where there is none of both');
SELECT billing.record_payment(pg_temp.customer('Nobody'), 5, 'EUR') \g /dev/null
SELECT is((SELECT count(*) FROM billing.notification WHERE account_id = pg_temp.customer('Nobody')), 0::bigint, 'nor to one without address');

-- --- Other documents ----------------------------------------------------------------------------------
SELECT billing.set_payment_rules('acme', language => 'en'), billing.create_template('acme', 'credit_note', 'mail', 'en', '{kind} {total}', 'C'), billing.create_template('acme', 'claim', 'mail', 'en', '{total} for {claimed_number}', 'C') \g /dev/null
SELECT min(id) AS invoice FROM billing.invoice WHERE account_id = pg_temp.customer('Eve') \gset
SELECT billing.credit_invoice(:invoice, amount => 11.90, effective_at => '2026-02-05'), billing_internal.lock_account(:invoice >> 24),
       billing_internal.write_claim(:invoice >> 24, :invoice, '[{"kind":"fee","description":"Fee","amount":5}]', '2026-02-05', NULL) \g /dev/null
SELECT results_eq($$SELECT body FROM billing.notification WHERE code IN ('credit_note', 'claim') ORDER BY id$$, ARRAY['credit_note 11.90', '5.00 for INV-2026-000004'], 'credit notes and claims');

-- --- A run ------------------------------------------------------------------------------------------
DELETE FROM billing.notification;
SELECT billing.bill_account(id, '2026-03-01 00:00+01') FROM customer ORDER BY id \g /dev/null
SELECT is((SELECT count(*) FROM billing.notification WHERE created_at = '2026-03-01 00:00+01' AND not_before = created_at), 3::bigint, 'the next invoices');
SELECT is_empty('SELECT * FROM billing.check()', 'the books are sound');

-- --- Claims -----------------------------------------------------------------------------------------
SELECT is((SELECT count(*) FROM billing.claim_notifications('w', 10, at => '2026-02-28')), 0::bigint, 'not before their time');
SELECT notification_id AS first FROM billing.claim_notifications('w', at => '2026-03-01 12:00+00') \gset
SELECT is((SELECT array_agg((code, channel, recipient->>'name', attempt_no, lease_until)::text) FROM billing.claim_notifications('v', 10, at => '2026-03-01 12:01+00', entity => 'acme') WHERE account_id = pg_temp.customer('Letter')),
          ARRAY['(invoice,letter,Letter,1,"2026-03-01 12:06:00+00")'], 'the rest, to another');
SELECT is((SELECT count(*) FROM billing.claim_notifications('v', 10, at => '2026-03-01 12:04+00')), 0::bigint, 'while leases run there is nothing');
SELECT is((SELECT array_agg((notification_id = :first, attempt_no)::text) FROM billing.claim_notifications('v', 10, at => '2026-03-01 12:05+00')), ARRAY['(t,2)'], 'what was not acknowledged comes again');
SELECT is(billing.acknowledge_notification(:first, 'sent', effective_at => '2026-03-01 12:06+00'), :first::bigint, 'sent');
SELECT is(billing.acknowledge_notification(:first, 'sent'), :first::bigint, 'again');
SELECT is((SELECT (status, attempts, finished_at)::text FROM billing.notification WHERE id = :first), '(sent,2,"2026-03-01 12:06:00+00")', 'changes nothing');
SELECT billing.acknowledge_notification(id, 'failed', 'no such address') FROM billing.notification WHERE status = 'claimed' \g /dev/null
SELECT is((SELECT count(*) FROM billing.claim_notifications('v', 10, at => '2030-01-01')), 0::bigint, 'nothing is sent twice');
SELECT pg_temp.fails(c, e, w) FROM (VALUES
    (format($$SELECT billing.acknowledge_notification(%s, 'failed')$$, :first), 'LB508', 'another outcome'), (format($$SELECT billing.acknowledge_notification(%s, 'lost')$$, :first), 'LB208', 'an unknown one'),
    ($$SELECT billing.acknowledge_notification(4711, 'sent')$$, 'LB146', 'a message that is not there'), (format($$SELECT billing.acknowledge_notification(%s, 'sent', 'why')$$, :first), 'LB208', 'sent with a failure'),
    ($$SELECT billing.claim_notifications('w', 0)$$, 'LB208', 'none'), ($$SELECT billing.claim_notifications('')$$, 'LB208', 'nobody'), ($$SELECT billing.claim_notifications('w', lease => '0')$$, 'LB208', 'no lease')) v (c, e, w);
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

-- --- What the check finds ------------------------------------------------------------------------------
SAVEPOINT sound;
UPDATE billing.template SET body = body || '{x}' WHERE code = 'claim';
UPDATE billing.notification SET status = 'waiting' WHERE id = :first;
UPDATE billing.notification SET invoice_id = 1 WHERE id = :first;
SELECT set_eq('SELECT finding FROM billing.check()', ARRAY['wrong field', 'wrong state', 'message about nothing'], 'damage');
ROLLBACK TO sound;
SELECT billing.drop_template('acme', 'invoice', 'mail', 'en'), billing.drop_template('acme', 'invoice', 'letter', 'en') \g /dev/null
SELECT billing.bill_account(id, '2026-04-01 00:00+02') FROM customer \g /dev/null
SELECT is((SELECT count(*) FROM billing.notification WHERE code = 'invoice'), 3::bigint, 'without the texts no more is written');
SELECT * FROM finish();
ROLLBACK;
