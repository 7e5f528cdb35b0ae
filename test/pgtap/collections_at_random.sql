-- Sixty days of collections with any outcome, while customers pay, are credited and have money sent back: the books are
-- sound every day, nothing is collected of what is not due, and money that came in is all there.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(67);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_retry_policy('days', '{1 day,3 days,7 days}', window_length => '20 days', window_attempts => 4), billing.set_payment_rules('acme', retry_policy => 'days', collect => 'issue') \g /dev/null
SELECT setseed(0.7) \g /dev/null
SELECT billing.create_account('Customer ' || n) FROM generate_series(1, 30) n \g /dev/null
SELECT billing.add_payment_method(a, CASE WHEN a % 3 = 0 THEN 'direct_debit' ELSE 'card' END, provider => 'psp', token => 'tok-' || a) FROM generate_series(1, 30) a \g /dev/null
-- Money that providers say came in.
CREATE TEMPORARY TABLE collected (reference text, amount numeric);

CREATE FUNCTION pg_temp.outcome(collection bigint, amount numeric, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    luck float8 := random();
    reference text := format('%s/%s', collection, at);
BEGIN
    IF luck < 0.35 THEN
        PERFORM billing.settle_collection(collection, 'succeeded', reference => reference, effective_at => at);
        INSERT INTO collected VALUES (reference, amount);
    ELSIF luck < 0.5 THEN
        PERFORM billing.settle_collection(collection, 'submitted', reference => reference, effective_at => at);
    ELSIF luck < 0.9 THEN
        PERFORM billing.settle_collection(collection, 'declined', code => (ARRAY['51', '51', '51', '05', '96', '14', '54', 'R1'])[1 + floor(random() * 8)::int], effective_at => at);
    END IF; -- else the worker is lost
END $$;
CREATE FUNCTION pg_temp.day(today timestamptz) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    PERFORM billing.record_external_invoice(a, format('%s/%s', a, today::date), today::date, 10 + a, 'EUR') FROM generate_series(1, 30) a WHERE random() < 0.08;
    PERFORM billing.add_payment_method(a, 'card', provider => 'psp', token => format('tok-%s-%s', a, today::date)) FROM generate_series(1, 30) a WHERE random() < 0.02;
    CALL billing.collection_run(today);
    FOR c IN SELECT x.collection_id, x.amount, x.account_id, x.invoice_id FROM billing.claim_collections('w', 100, at => today + interval '1 hour') x LOOP
        -- Something may happen while the worker is away.
        IF random() < 0.05 THEN
            PERFORM billing.record_payment(c.account_id, 7, 'EUR', effective_at => today + interval '2 hours');
        ELSIF random() < 0.05 THEN
            PERFORM billing.credit_invoice(c.invoice_id, effective_at => today + interval '2 hours');
        ELSIF random() < 0.03 THEN
            PERFORM billing.cancel_collection(c.collection_id, effective_at => today + interval '2 hours');
        END IF;
        PERFORM pg_temp.outcome(c.collection_id, c.amount, today + interval '3 hours');
    END LOOP;
    FOR c IN SELECT x.id, x.amount, t.reference FROM billing.collection x JOIN billing.collection_attempt t ON t.collection_id = x.id AND t.attempt_no = x.attempts
              WHERE x.status = 'submitted' AND random() < 0.3 LOOP
        IF random() < 0.6 THEN
            PERFORM billing.settle_collection(c.id, 'succeeded', effective_at => today + interval '4 hours');
            INSERT INTO collected VALUES (c.reference, c.amount);
        ELSE
            PERFORM billing.settle_collection(c.id, 'declined', code => 'AM04', effective_at => today + interval '4 hours');
        END IF;
    END LOOP;
    PERFORM billing.charge_back_payment(p.id, effective_at => today + interval '5 hours') FROM billing.payment p
      WHERE p.reference IS NOT NULL AND p.amount_refunded + p.amount_charged_back = 0 AND random() < 0.01;
    RETURN NEXT is_empty('SELECT * FROM billing.check()', format('the books are sound on %s', today::date));
END $$;
SELECT pg_temp.day(d) FROM generate_series(timestamptz '2025-01-01', '2025-03-01', '1 day') d;

SELECT cmp_ok((SELECT count(*) FROM collected), '>', 40::bigint, 'money came in');
SELECT set_eq('SELECT reference, amount FROM collected', 'SELECT reference, amount FROM billing.payment WHERE provider IS NOT NULL', 'what providers collected are payments, each once');
SELECT is_empty($$SELECT t.account_id, t.payment_method_id FROM billing.collection_attempt t JOIN billing.collection_attempt u ON u.account_id = t.account_id AND u.payment_method_id = t.payment_method_id
    AND u.claimed_at > t.claimed_at - interval '20 days' AND u.claimed_at <= t.claimed_at GROUP BY 1, 2, t.collection_id, t.attempt_no HAVING count(DISTINCT (u.collection_id, u.attempt_no)) > 4$$, 'the limit of attempts in a window holds');
SELECT is_empty($$SELECT c.id FROM billing.collection c JOIN billing.collection_attempt t ON t.account_id = c.account_id AND t.collection_id = c.id WHERE t.outcome = 'declined' GROUP BY c.id HAVING count(*) > 4$$,
                'nothing is tried more often than its policy says');
SELECT cmp_ok((SELECT count(*) FROM billing.collection_attempt WHERE outcome = 'lost'), '>', 0::bigint, 'workers were lost');
SELECT set_has('SELECT DISTINCT status FROM billing.collection', $$VALUES ('succeeded'), ('failed'), ('canceled')$$, 'collections ended in every way');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

SELECT * FROM finish();
ROLLBACK;
