-- The collection run as one of the runs: batches, accounts in error, repeating, sellers, jobs.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SELECT plan(17);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC'),
       billing.create_entity('bolt', name => 'Bolt', country => 'NL', currency => 'EUR', time_zone => 'UTC') \g /dev/null
-- Seven debtors with a card and two invoices each, the second one due a day later; of the last two the seller is another.
SELECT billing.create_account('Debtor ' || n, entity => CASE WHEN n > 5 THEN 'bolt' ELSE 'acme' END, external_id => 'debtor ' || n) FROM generate_series(1, 7) n \g /dev/null
SELECT billing.add_payment_method(a.account_id, 'card', provider => 'psp', token => 'tok') FROM billing.account a \g /dev/null
SELECT billing.record_external_invoice(a.account_id, format('%s/%s', a.account_id, n), '2025-01-01', 50 + n, 'EUR', due_on => date '2025-01-09' + n) FROM billing.account a, generate_series(1, 2) n \g /dev/null
CREATE FUNCTION pg_temp.run() RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', r.procedure, r.entity, r.status, r.accounts, r.done, r.documents, r.errors) FROM billing.run r ORDER BY r.id DESC LIMIT 1 $$;
CREATE FUNCTION pg_temp.requests() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(x.n, ' ' ORDER BY x.n) FROM (SELECT substr(a.external_id, 8) || ':' || count(*) AS n FROM billing.collection c JOIN billing.account a USING (account_id) GROUP BY a.external_id) x $$;
CREATE FUNCTION pg_temp.written() RETURNS text LANGUAGE sql AS $$
    SELECT md5(concat((SELECT string_agg(c::text, ',' ORDER BY c.id) FROM billing.collection c), (SELECT string_agg(e::text, ',' ORDER BY e.account_id, e.event_no) FROM billing.event e),
               (SELECT string_agg(s::text, ',' ORDER BY s.account_id) FROM billing.account_state s), (SELECT string_agg(m::text, ',' ORDER BY m.id) FROM billing.payment_method m))) $$;

-- --- Sellers ----------------------------------------------------------------------------------------------
CREATE ROLE billing_test_collector;
SELECT billing.grant_access('billing_test_collector', 'operator', 'bolt') \g /dev/null
SET LOCAL ROLE billing_test_collector;
SELECT throws_ok($$CALL billing.collection_run('2025-01-10')$$, '42501', NULL, 'who may collect for one seller must name it');
SELECT throws_ok($$CALL billing.collection_run('2025-01-10', entity => 'acme')$$, '42501', NULL, 'and not another');
SELECT lives_ok($$CALL billing.collection_run('2025-01-10', entity => 'bolt')$$, 'and may then');
RESET ROLE;
SELECT is(pg_temp.requests(), '6:1 7:1', 'its accounts only are asked');
SELECT throws_ok($$CALL billing.collection_run('2025-01-10', entity => '?')$$, 'LB101', NULL, 'an unknown seller');
SELECT throws_ok($$CALL billing.collection_run('2025-01-10', batch_size => 0)$$, 'LB208', NULL, 'a batch of nobody');

-- --- An account in error does not stop the others ----------------------------------------------------------------
-- It has no id left.
UPDATE billing.account_state s SET next_ordinal = 1 << 24 FROM billing.account a WHERE a.account_id = s.account_id AND a.external_id = 'debtor 3';
CALL billing.collection_run('2025-01-10', batch_size => 2);
SELECT is(pg_temp.run(), 'collection_run finished 5 4 4 1', 'five are due, one of them is parked');
SELECT is(pg_temp.requests(), '1:1 2:1 4:1 5:1 6:1 7:1', 'all others are asked');
SELECT is((SELECT array_agg((a.external_id, e.sqlstate, e.message)::text) FROM billing.run_error e JOIN billing.account a USING (account_id)),
          (SELECT ARRAY[('debtor 3', 'LB006', format('account %s has used up its ids', account_id))::text] FROM billing.account WHERE external_id = 'debtor 3'), 'it is told why');
SELECT is((SELECT count(*) FROM billing.event WHERE type = 'collection.requested'), 6::bigint, 'each request has its event');
UPDATE billing.account_state s SET next_ordinal = 100 FROM billing.account a WHERE a.account_id = s.account_id AND a.external_id = 'debtor 3';
CALL billing.collection_run('2025-01-10');
SELECT is(pg_temp.run(), 'collection_run finished 1 1 1 0', 'it stayed due, and is asked when it is repaired');
SELECT pg_temp.written() AS before \gset
CALL billing.collection_run('2025-01-10');
SELECT is(pg_temp.run(), 'collection_run finished 0 0 0 0', 'then nothing is due');
SELECT is(pg_temp.written(), :'before', 'and nothing is written');

-- --- Several invoices of an account, and one that cannot be collected -------------------------------------------------
SELECT billing.change_payment_method(m.id, 'dead') FROM billing.payment_method m JOIN billing.account a USING (account_id) WHERE a.external_id = 'debtor 2' \g /dev/null
SELECT billing.record_external_invoice(a.account_id, '1/3', '2025-01-01', 9, 'EUR', due_on => '2025-01-11') FROM billing.account a WHERE a.external_id = 'debtor 1' \g /dev/null
CALL billing.collection_run('2025-01-11', batch_size => 3);
SELECT is(pg_temp.run(), 'collection_run finished 6 6 7 0', 'all that is due of an account at once, nothing of one whose card is dead');
SELECT is((SELECT array_agg((i.number = format('%s/%s', i.account_id, n), c.amount, e.payload->>'amount')::text ORDER BY c.id) FROM billing.account a
             JOIN LATERAL (SELECT x.*, row_number() OVER (ORDER BY x.id) AS n FROM billing.collection x WHERE x.account_id = a.account_id) c ON true
             JOIN billing.invoice i ON i.account_id = c.account_id AND i.id = c.invoice_id
             JOIN billing.event e ON e.account_id = c.account_id AND e.payload->>'collection_id' = c.id::text WHERE a.external_id = 'debtor 4'),
          '{"(t,51.00,51.00)","(t,52.00,52.00)"}', 'each request is of its invoice');
-- Where nothing is open a method that ended is noted all the same.
SELECT billing.create_account('Idle', entity => 'acme') AS idle \gset
SELECT billing.add_payment_method(:idle, 'card', provider => 'psp', token => 'old', expires_on => '2025-01-31') \g /dev/null
CALL billing.collection_run('2025-02-01', entity => 'acme');
SELECT is((SELECT status FROM billing.payment_method WHERE account_id = :idle), 'expired', 'a card that expired is noted');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

SELECT * FROM finish();
ROLLBACK;
