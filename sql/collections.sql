-- Collecting: methods and mandates, what workers claim and settle, retries by policy, money that comes back.
\i sql/include/fresh.psql
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') AS entity;
SELECT billing.create_account('Jane Ltd') AS jane \gset
SELECT billing.create_account('Karl') AS karl \gset
-- Declined cards are tried on days 1, 4, 7, 8 and 9 of ten days, and never more than 8 times in 30 days.
SELECT billing.create_retry_policy('ten days', '{1 day,4 days,7 days,8 days,9 days}', window_length => '30 days', window_attempts => 8);
SELECT billing.set_payment_rules('acme', retry_policy => 'ten days');

-- Numbers of cards are not kept, account numbers must be right.
\set VERBOSITY terse
SELECT billing.add_payment_method(:jane, 'card', provider => 'psp', token => '4111 1111 1111 1111');
SELECT billing.add_payment_method(:karl, 'direct_debit', iban => 'DE88 3704 0044 0532 0130 00');
\set VERBOSITY default
SELECT billing.add_payment_method(:jane, 'card', provider => 'psp', token => 'tok_jane', display => '**** 1111', expires_on => '2027-12-31') > 0 AS card;
SELECT billing.add_payment_method(:karl, 'direct_debit', iban => 'DE89 3704 0044 0532 0130 00', mandate_reference => 'ACME-0001', mandate_signed_on => '2026-01-02') > 0 AS direct_debit;
SELECT type, status, display, iban FROM billing.payment_method ORDER BY id;

SELECT billing.record_external_invoice(:jane, 'J-1', '2026-01-01', 100, 'EUR', due_on => '2026-01-10') > 0 AS invoiced;
SELECT billing.record_external_invoice(:karl, 'K-1', '2026-01-01', 60, 'EUR', due_on => '2026-01-10') > 0 AS invoiced;
CALL billing.collection_run('2026-01-09 12:00+00'); -- too early
CALL billing.collection_run('2026-01-10 12:00+00');
CALL billing.collection_run('2026-01-10 12:00+00'); -- nothing is left
SELECT procedure, at, status, accounts, done, documents AS requests FROM billing.run ORDER BY id;

-- A worker takes both.
SELECT account_id, number, attempt_no, amount, type, provider, token, iban, mandate_reference, sequence
  FROM billing.claim_collections('worker 1', 10, at => '2026-01-10 12:00+00') ORDER BY 1;
SELECT id AS j FROM billing.collection WHERE account_id = :jane \gset
SELECT id AS k FROM billing.collection WHERE account_id = :karl \gset
-- Karl's bank decides later; Jane's card has no funds, on every day but the last.
SELECT billing.settle_collection(:k, 'submitted', reference => 'file 7', effective_at => '2026-01-10 12:01+00') = :k AS submitted;
DO $$
DECLARE
    day timestamptz;
BEGIN
    FOR day IN SELECT generate_series(timestamptz '2026-01-10 12:00+00', '2026-01-18 12:00+00', '1 day') LOOP
        PERFORM billing.claim_collections('worker 1', 10, at => day);
        PERFORM billing.settle_collection(t.collection_id, 'declined', code => '51', effective_at => day + '1 minute')
           FROM billing.collection_attempt t WHERE t.account_id = 1 AND t.outcome IS NULL;
    END LOOP;
END $$;
SELECT attempt_no, claimed_at::date - date '2026-01-10' AS day, outcome, code, class FROM billing.collection_attempt WHERE account_id = :jane ORDER BY 1;
SELECT account_id, attempt_no FROM billing.claim_collections('worker 2', 10, at => '2026-01-19 12:00+00');
SELECT billing.settle_collection(:j, 'succeeded', reference => 'ch_1', effective_at => '2026-01-19 12:01+00') = :j AS settled;
-- Told twice it is one payment.
SELECT billing.settle_collection(:j, 'succeeded', reference => 'ch_1', effective_at => '2026-01-19 12:02+00') = :j AS settled;
SELECT billing.settle_collection(:k, 'succeeded', effective_at => '2026-01-14 12:00+00') = :k AS settled;
SELECT c.account_id, c.status, c.attempts, p.amount, p.method, p.reference, p.reversible_until, i.status AS invoice
  FROM billing.collection c JOIN billing.payment p ON p.id = c.payment_id JOIN billing.invoice i ON i.id = c.invoice_id ORDER BY 1;
SELECT reference, sequence, last_used_on FROM billing.mandate;

-- Karl has his bank take the money back: the invoice is open again, and no run tries the same method by itself.
SELECT billing.charge_back_payment(payment_id, reference => 'return 3', effective_at => '2026-03-01 12:00+00') > 0 AS charged_back FROM billing.collection WHERE id = :k;
SELECT status, amount_due FROM billing.invoice WHERE account_id = :karl;
CALL billing.collection_run('2026-03-02 12:00+00');
SELECT accounts, documents AS requests FROM billing.run ORDER BY id DESC LIMIT 1;
-- He pays once by iDEAL; a direct debit on that account recurs from then on.
SELECT billing.record_payment(:karl, 60, 'EUR', method => 'ideal', provider => 'psp', reference => 'ideal 9', effective_at => '2026-03-03 12:00+00') AS ideal \gset
SELECT billing.recurring_payment_method(:ideal, iban => 'NL91 ABNA 0417 1643 00', mandate_reference => 'ACME-0002', mandate_signed_on => '2026-03-03') > 0 AS recurs;
SELECT m.type, m.iban, m.status FROM billing.account a JOIN billing.payment_method m ON m.id = a.payment_method_id WHERE a.account_id = :karl;
SELECT type, payload - 'collection_id' - 'payment_method_id' AS payload FROM billing.event WHERE account_id = :karl ORDER BY event_no;
SELECT * FROM billing.check();
