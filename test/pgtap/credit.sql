-- Customer credit: set against invoices by hand and taken back, and what becomes of it when an invoice is open again.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
-- An account that owes amounts, due day by day; its nth document; what is due of each, and the credit.
CREATE FUNCTION pg_temp.debtor(VARIADIC amounts numeric[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    a bigint := billing.create_account('Debtor');
BEGIN
    FOR i IN 1 .. cardinality(amounts) LOOP
        PERFORM billing.record_external_invoice(a, format('%s/%s', a, i), '2025-01-01', amounts[i], 'EUR', due_on => date '2025-01-10' + i);
    END LOOP;
    RETURN a;
END $$;
CREATE FUNCTION pg_temp.doc(account bigint, n int) RETURNS bigint LANGUAGE sql AS $$ SELECT id FROM billing.invoice WHERE account_id = $1 AND kind <> 'credit_note' ORDER BY id OFFSET $2 - 1 LIMIT 1 $$;
CREATE FUNCTION pg_temp.owes(account bigint) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', string_agg(concat_ws(' ', trim_scale(i.amount_due), nullif(i.status, 'open')), ', ' ORDER BY i.id) FILTER (WHERE i.kind <> 'credit_note'),
           (SELECT 'credit ' || trim_scale(sum(c.amount)) FROM billing.customer_credit c WHERE c.account_id = $1)) FROM billing.invoice i WHERE i.account_id = $1 $$;
CREATE FUNCTION pg_temp.pay(account bigint, amount numeric, n int DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.record_payment($1, $2, 'EUR', rules => '{named}', invoice_ids => pg_temp.doc($1, $3) || '{}'::bigint[], effective_at => '2025-02-01') $$;
CREATE FUNCTION pg_temp.written() RETURNS text LANGUAGE sql AS $$
    SELECT md5(concat((SELECT string_agg(p::text, ',' ORDER BY p.id) FROM billing.payment p), (SELECT string_agg(c::text, ',' ORDER BY c.*) FROM billing.credit_allocation c),
               (SELECT string_agg(i::text, ',' ORDER BY i.id) FROM billing.invoice i), (SELECT count(*) FROM billing.event), (SELECT string_agg(s::text, ',' ORDER BY s.account_id) FROM billing.account_state s))) $$;
CREATE FUNCTION pg_temp.fails(command text, code text, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    before text := pg_temp.written();
BEGIN
    RETURN NEXT throws_ok(command, code::char(5), NULL, what);
    RETURN NEXT is(pg_temp.written(), before, what || ': nothing is written');
END $$;

-- --- By hand -----------------------------------------------------------------------------------------
SELECT pg_temp.debtor(100, 50, 70) AS a \gset
SELECT pg_temp.pay(:a, 100, 1), billing.credit_invoice(pg_temp.doc(:a, 1), effective_at => '2025-02-02') AS note \gset
SELECT is(pg_temp.owes(:a), '0 paid, 50, 70 credit 100', 'what is credited of a paid invoice waits, so that it can be paid out');
SELECT is(billing.allocate_credit(:note, pg_temp.doc(:a, 3), 30, effective_at => '2025-02-03'), :note::bigint, 'set against an invoice');
SELECT is(pg_temp.owes(:a), '0 paid, 50, 40 credit 70', 'so much');
SELECT billing.allocate_credit(:note, pg_temp.doc(:a, 3), effective_at => '2025-02-03'), billing.allocate_credit(:note, pg_temp.doc(:a, 2), effective_at => '2025-02-03') \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid, 20, 0 paid', 'as much as is due, as much as is left');
SELECT is((SELECT status FROM billing.invoice WHERE id = :note), 'paid', 'the note is used up');
SELECT is((SELECT has_credit FROM billing.account_state WHERE account_id = :a), false, 'and no credit is left');
SELECT pg_temp.fails(format('SELECT billing.allocate_credit(%s, %s)', :note, pg_temp.doc(:a, 2)), 'LB502', 'nothing is left');
SELECT is(billing.deallocate_credit(:note, pg_temp.doc(:a, 3), 60, effective_at => '2025-02-04', reason => 'mistake'), :note::bigint, 'taken back');
SELECT is(pg_temp.owes(:a), '0 paid, 20, 60 credit 60', 'the invoice is open again, the note too');
SELECT is((SELECT has_credit FROM billing.account_state WHERE account_id = :a), true, 'there is credit');
SELECT pg_temp.fails(format('SELECT billing.deallocate_credit(%s, %s, 10.01)', :note, pg_temp.doc(:a, 3)), 'LB502', 'more than is set against it');
SELECT billing.deallocate_credit(:note, pg_temp.doc(:a, 3)) \g /dev/null
SELECT pg_temp.fails(format('SELECT billing.deallocate_credit(%s, %s)', :note, pg_temp.doc(:a, 3)), 'LB502', 'nothing is set against it any more');
SELECT is((SELECT string_agg(format('%s %s', trim_scale(amount), reason), ', ' ORDER BY allocation_no) FROM billing.credit_allocation WHERE invoice_id = pg_temp.doc(:a, 3)),
          '30 by hand, 40 by hand, -60 mistake, -10 by hand', 'nothing is erased');
SELECT is((SELECT string_agg(format('%s %s', type, payload->>'reason'), ', ' ORDER BY event_no) FROM billing.event WHERE invoice_id = pg_temp.doc(:a, 3) AND type ~ 'invoice.(paid|reopened)'),
          'invoice.paid , invoice.reopened mistake', 'with events');
SELECT is(billing.allocate_credit(:note, pg_temp.doc(:a, 3), 5, idempotency_key => 'k'), billing.allocate_credit(:note, pg_temp.doc(:a, 3), 5, idempotency_key => 'k'), 'one key');
SELECT is(pg_temp.owes(:a), '0 paid, 20, 65 credit 65', 'is one time');
SELECT billing.write_off_invoice(pg_temp.doc(:a, 3), effective_at => '2025-03-01'), billing.allocate_credit(:note, pg_temp.doc(:a, 3), effective_at => '2025-03-02'),
       billing.deallocate_credit(:note, pg_temp.doc(:a, 3), 15, effective_at => '2025-03-03') \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid, 20, 15 credit 15', 'what was given up can be credited, and is open when that is taken back');

-- --- Refused, and nothing written --------------------------------------------------------------------
SELECT pg_temp.fails(format(command, :note, pg_temp.doc(:a, 2), pg_temp.doc(pg_temp.debtor(10), 1)), code, what) FROM (VALUES
    ('SELECT billing.allocate_credit(%1$s, %2$s, 15.01)', 'LB502', 'more than is left'),
    ('SELECT billing.allocate_credit(%1$s, %2$s, 0)', 'LB501', 'an amount of nothing'),
    ('SELECT billing.allocate_credit(%1$s, %2$s, -1)', 'LB501', 'a negative amount'),
    ('SELECT billing.allocate_credit(%1$s, %2$s, 1.001)', 'LB501', 'less than a minor unit'),
    ('SELECT billing.allocate_credit(%1$s, %2$s, ''NaN'')', 'LB501', 'no number'),
    ('SELECT billing.deallocate_credit(%1$s, %2$s, -1)', 'LB501', 'taking a negative amount back'),
    ('SELECT billing.allocate_credit(%1$s, %3$s, 1)', 'LB110', 'another account''s invoice'),
    ('SELECT billing.allocate_credit(%1$s, %1$s, 1)', 'LB403', 'against itself'),
    ('SELECT billing.allocate_credit(%2$s, %2$s, 1)', 'LB403', 'an invoice as credit'),
    ('SELECT billing.deallocate_credit(%2$s, %2$s, 1)', 'LB403', 'an invoice taken back'),
    ('SELECT billing.allocate_credit(7, %2$s)', 'LB110', 'unknown credit note'),
    ('SELECT billing.allocate_credit(%1$s, 7)', 'LB110', 'unknown invoice'),
    ('SELECT billing.allocate_credit(NULL, %2$s)', '22004', 'null'),
    ('SELECT billing.allocate_credit(%1$s, %2$s, effective_at => ''infinity'')', '22008', 'at no time')) x (command, code, what);

-- --- Open again --------------------------------------------------------------------------------------
SELECT pg_temp.debtor(60, 20) AS a \gset
SELECT pg_temp.pay(:a, 60, 1) AS p, pg_temp.pay(:a, 45) AS q \gset
SELECT is(pg_temp.owes(:a), '0 paid, 20 credit 45', 'money on account that was to wait');
SELECT billing.charge_back_payment(:p, effective_at => '2025-03-01') \g /dev/null
SELECT is(pg_temp.owes(:a), '15, 20', 'an invoice whose payment came back takes other credit, oldest first');
SELECT is((SELECT string_agg(format('%s %s %s', CASE payment_id WHEN :p THEN 'p' ELSE 'q' END, trim_scale(amount), reason), ', ' ORDER BY payment_id, allocation_no) FROM billing.payment_allocation WHERE account_id = :a),
          'p 60 named, p -60 charged back, q 45 oldest', 'and not what came back');
SELECT pg_temp.debtor(60, 60) AS a \gset
SELECT pg_temp.pay(:a, 60, 1) AS p, pg_temp.pay(:a, 60) AS q \gset
SELECT billing.refund_payment(:p, effective_at => '2025-03-01') \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid, 60', 'paid twice and the first given back: the second takes its place');
SELECT is((SELECT array_agg(type ORDER BY event_no) FROM billing.event WHERE account_id = :a AND type ~ '^invoice.(paid|re)'), '{invoice.paid,invoice.reopened,invoice.paid}', 'told by events');
SELECT pg_temp.debtor(60, 60) AS a \gset
SELECT pg_temp.pay(:a, 60, 1) AS p, pg_temp.pay(:a, 60) AS q \gset
SELECT billing.refund_payment(:q, 20, effective_at => '2025-03-01') \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid, 60 credit 40', 'where nothing is open again, credit stays where it is');
SELECT billing.deallocate_payment(:p, pg_temp.doc(:a, 1), effective_at => '2025-03-02') \g /dev/null
SELECT is(pg_temp.owes(:a), '60, 60 credit 100', 'also what a person takes back waits for him');
SELECT billing.record_external_invoice(:a, 'one more', '2025-03-03', 10, 'EUR') \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid, 20, 10', 'or for the next invoice, with which all credit is used, the oldest first');
-- Credit notes likewise, after payments; those of the invoice itself first.
SELECT pg_temp.debtor(60, 30, 40) AS a \gset
SELECT pg_temp.pay(:a, 60, 1) AS p, pg_temp.pay(:a, 30, 2) AS q \gset
SELECT billing.credit_invoice(pg_temp.doc(:a, 2), effective_at => '2025-02-02') AS note, billing.refund_payment(:p, effective_at => '2025-03-01') AS refund \gset
SELECT is(pg_temp.owes(:a), '30, 0 paid, 40', 'a credit note of another invoice pays what is open again');
SELECT pg_temp.debtor(60, 30) AS a \gset
SELECT pg_temp.pay(:a, 60, 1) AS p \gset
SELECT billing.credit_invoice(pg_temp.doc(:a, 1), amount => 45, effective_at => '2025-02-02') AS note, billing.refund_payment(:p, 45, effective_at => '2025-03-01') AS refund \gset
SELECT is(pg_temp.owes(:a), '0 paid, 30', 'credited and refunded: nothing is open again');
-- By hand only.
SELECT billing.set_payment_rules('acme', allocation_rules => '{named}') \g /dev/null
SELECT pg_temp.debtor(60) AS a \gset
SELECT pg_temp.pay(:a, 60, 1) AS p, pg_temp.pay(:a, 60) AS q \gset
SELECT billing.charge_back_payment(:p, effective_at => '2025-03-01') \g /dev/null
SELECT is(pg_temp.owes(:a), '60 credit 60', 'a seller who matches by hand has credit wait');
SELECT billing.allocate_payment(:q, pg_temp.doc(:a, 1)) \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid', 'until he does');
SELECT billing.set_payment_rules('acme', allocation_rules => '{named,exact,oldest}') \g /dev/null
-- The fee comes after.
SELECT pg_temp.debtor(60) AS a \gset
SELECT pg_temp.pay(:a, 60, 1) AS p, pg_temp.pay(:a, 65) AS q \gset
SELECT billing.charge_back_payment(:p, fee => 8, pass_on => true, effective_at => '2025-03-01') \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid, 3', 'the invoice first, then the fee for the payment that came back');

-- Within the seller's tolerance: what other credit leaves open is given up for its sake, and no longer.
SELECT billing.set_payment_rules('acme', payment_tolerance => 0.50) \g /dev/null
SELECT pg_temp.debtor(60) AS a \gset
SELECT pg_temp.pay(:a, 60, 1) AS p, pg_temp.pay(:a, 59.60) AS q \gset
SELECT billing.charge_back_payment(:p, effective_at => '2026-02-28') \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid', 'a direct debit that came back after 13 months, covered but for 0.40');
SELECT billing.refund_payment(:q, 10, effective_at => '2026-03-01') \g /dev/null
SELECT is(pg_temp.owes(:a), '10.4', 'a part of the credit goes, and what was given up with it');
SELECT billing.record_payment(:a, m, 'EUR', effective_at => '2026-03-02') FROM unnest('{3,3,4}'::numeric[]) m \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid', 'several payments, the last of which lacks no more than that');
SELECT billing.credit_invoice(pg_temp.doc(:a, 1), amount => 20, effective_at => '2026-03-03') AS note \gset
SELECT is(pg_temp.owes(:a), '0 paid credit 20', 'what is credited beyond is credit');
SELECT billing.refund_payment(:q, effective_at => '2026-03-04') \g /dev/null
SELECT is(pg_temp.owes(:a), '30', 'the note takes the place of a part; 49.60 and the 0.40 that go with it are open but for that');
SELECT billing.set_payment_rules('acme', payment_tolerance => 0) \g /dev/null
-- --- The first payment -------------------------------------------------------------------------------
SELECT billing.create_tax('vat', category => 'S', rate => 25) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"flat","flat_amount":80}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"}]') \g /dev/null
CREATE FUNCTION pg_temp.pending(account bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT billing.create_subscription($1, 'team', start_at => '2025-04-01', await_payment => true) $$;
CREATE FUNCTION pg_temp.status(subscription bigint, at timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT billing.subscription_state_on($1, $2) $$;
SELECT pg_temp.debtor(30) AS a \gset
SELECT pg_temp.pending(:a) AS s, billing.add_payment_method(:a, 'card', provider => 'psp', token => 't', make_default => false) AS card \gset
SELECT billing.record_payment(:a, 40, 'EUR', subscription_id => :s, effective_at => '2025-04-01') AS p \gset
SELECT is(row(pg_temp.owes(:a), pg_temp.status(:s, '2025-04-02'))::text, '("30 credit 40",pending)', 'less than the first payment waits for the rest, and pays nothing else');
SELECT billing.record_payment(:a, 60, 'EUR', payment_method_id => :card, subscription_id => :s, effective_at => '2025-04-05') AS q \gset
SELECT is(row(pg_temp.owes(:a), pg_temp.status(:s, '2025-04-06'))::text, '("30, 0 paid",active)', 'all of it brings the subscription to life and pays its first invoice');
SELECT is((SELECT min(period_start) FROM billing.invoice_line WHERE subscription_id = :s), '2025-04-05'::timestamptz, 'from when it was paid');
SELECT is((SELECT payment_method_id FROM billing.subscription WHERE id = :s), :card::bigint, 'what recurs by the same method is collected with it');
SELECT is((SELECT count(*) FROM billing.event WHERE account_id = :a AND payload->>'verb' = 'activate_subscription'), 1::bigint, 'told by an event');
SELECT billing.bill_account(:a, '2025-05-05') \g /dev/null
SELECT billing.record_payment(:a, 110, 'EUR', subscription_id => :s, effective_at => '2025-05-06') \g /dev/null
SELECT is(pg_temp.owes(:a), '20, 0 paid, 0 paid', 'later its invoices come first, then the rules');
SELECT pg_temp.debtor(30) AS a \gset
SELECT pg_temp.pending(:a) AS s, pg_temp.pending(:a) AS t \gset
SELECT billing.fail_subscription(:t, effective_at => '2025-04-02') \g /dev/null
SELECT billing.record_payment(:a, 120, 'EUR', method => 'ideal', subscription_id => :s, provider => 'psp', reference => 'first', effective_at => '2025-04-01'),
       billing.record_payment(:a, 20, 'EUR', subscription_id => :t, effective_at => '2025-04-03') \g /dev/null
SELECT is(billing.record_payment(:a, 120, 'EUR', subscription_id => :s, provider => 'psp', reference => 'first') > 0, true, 'told twice, paid once');
SELECT is(row(pg_temp.owes(:a), pg_temp.status(:s, '2025-04-06'), pg_temp.status(:t, '2025-04-06'))::text, '("0 paid, 0 paid credit 10",active,failed)',
          'what is more goes by the rules; money for what failed is recorded and brings nothing to life');
SELECT pg_temp.fails(format('SELECT billing.record_payment(%s, 1, ''EUR'', subscription_id => %s)', pg_temp.debtor(10), :s), 'LB109', 'another account''s subscription');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
