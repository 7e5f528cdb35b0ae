-- What of payments does not add up is found by check(), whatever was done to the rows by force.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(29);
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.set_payment_rules('acme', payment_tolerance => 0.5) \g /dev/null
-- Two invoices paid by one payment that leaves credit, one paid but for 0.50, one given up, a refund and a void.
SELECT billing.create_account('Ann') AS a \gset
SELECT billing.record_external_invoice(:a, 'E1', '2025-01-01', 100, 'EUR') AS e1 \gset
SELECT billing.record_external_invoice(:a, 'E2', '2025-01-02', 50, 'EUR') AS e2 \gset
SELECT billing.record_payment(:a, 170, 'EUR', provider => 'psp', reference => 'tr', effective_at => '2025-01-03') AS p \gset
SELECT billing.refund_payment(:p, 5, provider => 'psp', reference => 're', effective_at => '2025-01-04') AS r \gset
SELECT billing.create_account('Ben') AS b \gset
SELECT billing.record_external_invoice(:b, 'E3', '2025-01-01', 100, 'EUR') AS e3 \gset
SELECT billing.record_payment(:b, 99.50, 'EUR', effective_at => '2025-01-03') AS q \gset
SELECT billing.record_external_invoice(:b, 'E4', '2025-01-02', 40, 'EUR') AS e4 \gset
SELECT billing.write_off_invoice(:e4, effective_at => '2025-02-01') \g /dev/null
CREATE TEMP TABLE place (name text, id bigint);
INSERT INTO place VALUES ('A', :a), ('E1', :e1), ('E2', :e2), ('E3', :e3), ('E4', :e4), ('P', :p), ('Q', :q), ('R', :r);

-- What check() finds after a damage, which is undone again.
CREATE FUNCTION pg_temp.findings(damage text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    result text[];
BEGIN
    ALTER TABLE billing.invoice_header DISABLE TRIGGER USER;
    SET LOCAL session_replication_role = replica; -- no foreign keys
    EXECUTE damage;
    SELECT array_agg(DISTINCT format('%s: %s %s', c.finding, c.relation, coalesce((SELECT p.name FROM pg_temp.place p WHERE p.id = coalesce(c.id, c.account_id)), '-')))
      INTO result FROM billing.check(true) c
     -- what follows in the journal is left out
     WHERE c.finding NOT IN ('journal differs', 'unbalanced entry', 'posting without ledger account');
    RAISE EXCEPTION 'undo' USING ERRCODE = 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
    RETURN coalesce(result, '{}');
END $$;
CREATE FUNCTION pg_temp.with_ids(command text) RETURNS text LANGUAGE sql AS $$
    SELECT replace(replace(replace(replace(replace(replace(replace(replace($1, '$E1', max(id) FILTER (WHERE name = 'E1')::text), '$E2', max(id) FILTER (WHERE name = 'E2')::text),
           '$E3', max(id) FILTER (WHERE name = 'E3')::text), '$E4', max(id) FILTER (WHERE name = 'E4')::text), '$P', max(id) FILTER (WHERE name = 'P')::text),
           '$Q', max(id) FILTER (WHERE name = 'Q')::text), '$R', max(id) FILTER (WHERE name = 'R')::text), '$A', max(id) FILTER (WHERE name = 'A')::text) FROM pg_temp.place $$;

SELECT is(pg_temp.findings(pg_temp.with_ids(command)), expected::text[], what) FROM (VALUES
    ('no damage', 'SELECT', '{}'),
    ('payment: allocated', 'UPDATE billing.payment SET amount_allocated = amount_allocated - 1 WHERE id = $P', '{"wrong use of payment: payment P"}'),
    ('payment: refunded', 'UPDATE billing.payment SET amount_refunded = 0 WHERE id = $P', '{"wrong use of payment: payment P"}'),
    ('payment: charged back instead of refunded', 'UPDATE billing.payment SET amount_refunded = 0, amount_charged_back = 5 WHERE id = $P', '{"wrong use of payment: payment P"}'),
    ('payment: another reference', 'UPDATE billing.payment SET reference = ''x'' WHERE id = $P', '{"key without row: key P","row without key: payment P"}'),
    ('payment: another currency', 'UPDATE billing.payment SET currency = ''USD'' WHERE id = $P', '{"misplaced allocation: payment_allocation P"}'),
    ('payment: deleted', 'DELETE FROM billing.payment WHERE id IN ($P, $Q)',
     '{"key without row: key P","part without payment: payment_allocation P","part without payment: payment_allocation Q","part without payment: refund P"}'),
    ('allocation: more', 'UPDATE billing.payment_allocation SET amount = amount + 1 WHERE payment_id = $P AND invoice_id = $E2',
     '{"wrong payment: invoice_header E2","wrong use of payment: payment P"}'),
    ('allocation: on another invoice', 'UPDATE billing.payment_allocation SET invoice_id = $E1 WHERE payment_id = $P', '{"wrong payment: invoice_header E1","wrong payment: invoice_header E2"}'),
    ('allocation: deleted', 'DELETE FROM billing.payment_allocation WHERE payment_id = $P AND invoice_id = $E1', '{"wrong payment: invoice_header E1","wrong use of payment: payment P"}'),
    ('allocation: taken back before it was set', 'INSERT INTO billing.payment_allocation SELECT account_id, payment_id, 3 - 3 * g, $E2, 5 - 10 * g, allocated_at FROM billing.payment_allocation, generate_series(0, 1) g
      WHERE payment_id = $P AND invoice_id = $E1', '{"more taken back than allocated: payment_allocation P"}'),
    ('refund: more', 'UPDATE billing.refund SET amount = 6 WHERE id = $R', '{"wrong use of payment: payment P"}'),
    ('refund: another kind', 'UPDATE billing.refund SET kind = ''chargeback'' WHERE id = $R', '{"wrong use of payment: payment P"}'),
    ('refund: deleted', 'DELETE FROM billing.refund WHERE id = $R', '{"key without row: key R","wrong use of payment: payment P"}'),
    ('invoice: paid', 'UPDATE billing.invoice_header SET status = ''open'', amount_paid = 1 WHERE id = $E2', '{"wrong payment: invoice_header E2"}'),
    ('invoice: draft', 'UPDATE billing.invoice_header SET status = ''draft'', amount_paid = 0 WHERE id = $E2',
     '{"misplaced allocation: payment_allocation P","wrong payment: invoice_header E2"}'),
    ('invoice: credit note', 'UPDATE billing.invoice_header SET kind = ''credit_note'' WHERE id = $E2', '{"misplaced allocation: payment_allocation P"}'),
    ('invoice: another number', 'UPDATE billing.invoice_header SET external_number = ''E9'' WHERE id = $E2', '{"key without row: key E2","row without key: invoice_header E2"}'),
    ('invoice: not made outside', 'UPDATE billing.invoice_header SET external_number = NULL, external_issued_on = NULL WHERE id = $E2',
     '{"finished document without seal: invoice_header E2","key without row: key E2"}'),
    ('invoice: collectible again', 'UPDATE billing.invoice_header SET status = ''open'' WHERE id = $E4', '{"wrong write-off: invoice_header E4"}'),
    ('invoice: given up by hand', 'UPDATE billing.invoice_header SET status = ''uncollectible'', amount_paid = 99.5 WHERE id = $E3',
     '{"wrong payment: invoice_header E3","wrong write-off: invoice_header E3"}'),
    ('invoice: total', 'UPDATE billing.invoice_header SET net_total = 41, total = 41 WHERE id = $E4', '{"wrong total: invoice_header E4","wrong write-off: invoice_header E4"}'),
    ('write-off: amount', 'UPDATE billing.write_off SET amount = 41', '{"wrong write-off: invoice_header E4"}'),
    ('write-off: deleted', 'DELETE FROM billing.write_off', '{"wrong write-off: invoice_header E4"}'),
    ('tolerance: deleted', 'DELETE FROM billing.payment_allocation WHERE reason = ''tolerance''', '{"wrong payment: invoice_header E3","wrong use of payment: payment -"}'),
    ('credit: not known', 'UPDATE billing.account_state SET has_credit = false', '{"credit not known: account_state A"}'),
    ('counter of ids', 'UPDATE billing.account_state SET next_ordinal = 4 WHERE account_id = $A', '{"id counter too low: account_state R"}'),
    ('directory: key of a payment', 'DELETE FROM billing.key WHERE kind = ''payment''', '{"row without key: payment P"}'),
    ('directory: key of another row', 'UPDATE billing.key SET id = $P WHERE kind = ''refund''', '{"key without row: key P","row without key: refund R"}')) x (what, command, expected);
SELECT * FROM finish();
ROLLBACK;
