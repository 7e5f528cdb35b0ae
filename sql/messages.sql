-- Messages to customers: texts with fields, written with what they tell of, claimed by a sender and acknowledged.
\i sql/include/fresh.psql
\set VERBOSITY terse
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_price('line', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"flat","flat_amount":100}');
SELECT billing.create_plan('internet', items => '[{"price":"line"}]');

-- --- Texts ------------------------------------------------------------------------------------------
-- Those with the codes invoice, credit_note, claim and receipt are written for every such document or payment.
SELECT billing.create_template('acme', 'invoice', 'mail', 'en', 'Dear {account_name}, invoice {number} over {total} {currency} is due on {due_on}.', subject => 'Invoice {number}');
SELECT billing.create_template('acme', 'invoice', 'mail', 'de', 'Guten Tag, {account_name}: {total} {currency} bis {due_on}.', subject => 'Rechnung {number}');
SELECT billing.create_template('acme', 'receipt', 'mail', 'en', 'Thank you for {payment_amount} {currency}.', subject => 'Received');
-- Others are named by steps of dunning schemes.  A brace that is text is written twice.
SELECT billing.create_template('acme', 'reminder', 'sms', 'en', '{number}: {amount_due} {currency} are open {{reminder {step_no}}}');
SELECT billing.create_dunning_scheme('usual', '[{"after":"7 days","actions":["remind"],"template":"reminder","channels":["sms","mail"],"not_before":"08:00","not_after":"20:00"}]');
SELECT billing.assign_dunning_scheme('usual', entity => 'acme');
-- What is no field is refused when it is written, not when it is sent.
SELECT billing.create_template('acme', 'invoice', 'mail', 'en', '{amuont}', subject => 'Invoice');

-- --- Written with what they tell of --------------------------------------------------------------------
SELECT billing.create_account('Ann', email => 'ann@example.com') AS ann \gset
SELECT billing.create_account('Ben', email => 'ben@example.com') AS ben \gset
SELECT billing.create_account('Nobody') AS nobody \gset
UPDATE billing.account SET language = 'de-AT', phone = '+43 1 0000' WHERE account_id = :ben;
SELECT count(billing.create_subscription(a, 'internet', start_at => '2025-01-01 00:00+01', cycles => 1)) FROM unnest(ARRAY[:ann, :ben, :nobody]) a;
CALL billing.bill_run(at => '2025-01-01 06:00+01');
-- Ben's language without its region; who has no address gets none.
SELECT account_id, code, channel, language, recipient, subject, body FROM billing.notification ORDER BY id;

-- --- A sender ---------------------------------------------------------------------------------------------
-- Two take different ones.
SELECT notification_id AS first, account_id, attempt_no FROM billing.claim_notifications('sender 1', at => '2025-01-01 06:01+01') \gset
SELECT account_id, attempt_no FROM billing.claim_notifications('sender 2', 10, lease => '1 minute', at => '2025-01-01 06:01+01');
SELECT billing.acknowledge_notification(:first, 'sent', effective_at => '2025-01-01 06:02+01') = :first AS acknowledged;
-- The second sender died: after its lease the first one gets its message, and can not deliver it.
SELECT count(*) AS still_leased FROM billing.claim_notifications('sender 1', 10, at => '2025-01-01 06:01:30+01');
SELECT notification_id AS second, account_id, attempt_no FROM billing.claim_notifications('sender 1', 10, at => '2025-01-01 06:03+01') \gset
SELECT billing.acknowledge_notification(:second, 'failed', failure => 'no such mailbox', effective_at => '2025-01-01 06:04+01') = :second AS acknowledged;
SELECT billing.acknowledge_notification(:second, 'sent');
SELECT account_id, code, status, attempts, claimed_by, failure FROM billing.notification ORDER BY id;

-- --- Reminders ----------------------------------------------------------------------------------------------
-- At night they wait for the morning of the debtor.
CALL billing.dunning_run(at => '2025-01-23 22:00+01');
SELECT account_id, channel, recipient->>'phone' AS phone, body, not_before FROM billing.notification WHERE code = 'reminder';
SELECT account_id, done, passed_over FROM billing.dunning_action ORDER BY account_id;
SELECT count(*) AS at_night FROM billing.claim_notifications('sender 1', 10, at => '2025-01-23 22:01+01');
-- He pays before it goes out: it is canceled, and he is thanked.
SELECT billing.record_payment(:ben, 119, 'EUR', effective_at => '2025-01-23 23:00+01') > 0 AS paid;
SELECT code, status, failure FROM billing.notification WHERE account_id = :ben ORDER BY id;
SELECT code, subject, body FROM billing.claim_notifications('sender 1', 10, at => '2025-01-24 08:00+01');
SELECT * FROM billing.check();
