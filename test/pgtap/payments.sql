-- Payments: allocation by rules, customer credit, refunds, chargebacks, write-offs, invoices made outside, bad input.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(293);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 25) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"flat","flat_amount":80}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"}]') \g /dev/null
-- An account that owes amounts, due day by day, from invoices made outside; and its nth document.
CREATE FUNCTION pg_temp.debtor(VARIADIC amounts numeric[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    a bigint := billing.create_account('Debtor');
BEGIN
    FOR i IN 1 .. cardinality(amounts) LOOP
        PERFORM billing.record_external_invoice(a, format('%s/%s', a, i), '2025-01-01', amounts[i], 'EUR', due_on => date '2025-01-10' + i);
    END LOOP;
    RETURN a;
END $$;
CREATE FUNCTION pg_temp.doc(account bigint, n int) RETURNS bigint LANGUAGE sql AS $$
    SELECT id FROM billing.invoice WHERE account_id = $1 ORDER BY id OFFSET $2 - 1 LIMIT 1 $$;
-- What is due of each document, with its status where it is not open; and the account's credit.
CREATE FUNCTION pg_temp.owes(account bigint) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', string_agg(concat_ws(' ', trim_scale(i.amount_due), nullif(i.status, 'open')), ', ' ORDER BY i.id),
           (SELECT 'credit ' || trim_scale(sum(p.amount - p.amount_allocated - p.amount_refunded - p.amount_charged_back)) FROM billing.payment p
             WHERE p.account_id = $1 AND p.kind = 'payment' HAVING sum(p.amount - p.amount_allocated - p.amount_refunded - p.amount_charged_back) > 0))
      FROM billing.invoice i WHERE i.account_id = $1 $$;
CREATE FUNCTION pg_temp.pay(account bigint, amount numeric, rules text[] DEFAULT NULL, named int[] DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.record_payment($1, $2, 'EUR', rules => $3, effective_at => '2025-02-01',
                                  invoice_ids => (SELECT array_agg(pg_temp.doc($1, n) ORDER BY o) FROM unnest($4) WITH ORDINALITY u (n, o))) $$;
-- What the chain of rules makes of a payment.
CREATE FUNCTION pg_temp.spread(amounts numeric[], amount numeric, rules text[] DEFAULT NULL, named int[] DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    a bigint := pg_temp.debtor(VARIADIC amounts);
BEGIN
    PERFORM pg_temp.pay(a, amount, rules, named);
    RETURN pg_temp.owes(a);
END $$;
-- What was written of payments at all.
CREATE FUNCTION pg_temp.written() RETURNS text LANGUAGE sql AS $$
    SELECT md5(concat((SELECT string_agg(p::text, ',' ORDER BY p.id) FROM billing.payment p), (SELECT string_agg(a::text, ',' ORDER BY a.payment_id, a.allocation_no) FROM billing.payment_allocation a),
               (SELECT string_agg(r::text, ',' ORDER BY r.id) FROM billing.refund r), (SELECT string_agg(i::text, ',' ORDER BY i.id) FROM billing.invoice i),
               (SELECT count(*) FROM billing.key), (SELECT count(*) FROM billing.event), (SELECT string_agg(s::text, ',' ORDER BY s.account_id) FROM billing.account_state s))) $$;
CREATE FUNCTION pg_temp.fails(command text, code text, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    before text := pg_temp.written();
BEGIN
    RETURN NEXT throws_ok(command, code::char(5), NULL, what);
    RETURN NEXT is(pg_temp.written(), before, what || ': nothing is written');
END $$;

-- --- The rules, in order ---------------------------------------------------------------------------
SELECT is(pg_temp.spread(amounts, amount, rules, named), expected, format('%s of %s by %s%s', amount, amounts, coalesce(rules::text, 'the entity''s rules'), ', named ' || named::text))
  FROM (VALUES
    ('{100,50,70}'::numeric[], 60, NULL::text[], NULL::int[], '40, 50, 70'),
    ('{100,50,70}', 70, NULL, NULL, '100, 50, 0 paid'),
    ('{100,50,70}', 70, '{oldest}', NULL, '30, 50, 70'),
    ('{100,50,70}', 130, '{named,oldest}', '{3,2}', '90, 0 paid, 0 paid'),
    ('{100,50,70}', 60, '{named}', '{3,2}', '100, 50, 10'),
    ('{100,50,70}', 60, '{named}', '{2}', '100, 0 paid, 70 credit 10'),
    ('{100,50,70}', 60, '{named}', '{2,2}', '100, 0 paid, 70 credit 10'),
    -- what the named one leaves is just what another one owes
    ('{100,50,70}', 120, '{named,exact,oldest}', '{2}', '100, 0 paid, 0 paid'),
    ('{100,50,50}', 50, '{exact}', NULL, '100, 0 paid, 50'),
    ('{100,50,70}', 60, '{exact}', NULL, '100, 50, 70 credit 60'),
    ('{100,50,70}', 60, '{}', NULL, '100, 50, 70 credit 60'),
    ('{100,50,70}', 22, '{pro_rata}', NULL, '90, 45, 63'),
    -- 0.01 is left after rounding down: it goes to the largest remainder, of equal ones to the earlier
    ('{100,100,100}', 100, '{pro_rata}', NULL, '66.66, 66.67, 66.67'),
    ('{0.01,0.01,0.01}', 0.02, '{pro_rata}', NULL, '0 paid, 0 paid, 0.01'),
    ('{100,50,70}', 300, '{pro_rata}', NULL, '0 paid, 0 paid, 0 paid credit 80'),
    ('{100,50,70}', 300, NULL, NULL, '0 paid, 0 paid, 0 paid credit 80')) x (amounts, amount, rules, named, expected);
SELECT pg_temp.debtor(70, 50, 100) AS a \gset
SELECT pg_temp.pay(:a, 150, '{named,oldest}', '{2}') AS p \gset
SELECT is((SELECT string_agg(format('%s %s %s', allocation_no, amount, reason), ', ' ORDER BY allocation_no) FROM billing.payment_allocation WHERE payment_id = :p),
          '1 50.00 named, 2 70.00 oldest, 3 30.00 oldest', 'each allocation says by which rule it was set');
SELECT billing.set_payment_rules('acme', allocation_rules => '{pro_rata}') \g /dev/null
SELECT is(pg_temp.spread('{100,50,50}', 100), '50, 25, 25', 'an entity has rules of its own');
SELECT billing.set_payment_rules('acme', allocation_rules => '{named,exact,oldest}') \g /dev/null
-- Oldest is the earliest due, not the earliest entered.
SELECT is(pg_temp.owes(a), '100, 0 paid', 'the one that is due first')
  FROM (SELECT a, billing.record_external_invoice(a, 'later', '2025-01-01', 100, 'EUR', due_on => '2025-01-20'),
               billing.record_external_invoice(a, 'sooner', '2025-01-02', 50, 'EUR', due_on => '2025-01-19'), pg_temp.pay(a, 50, '{oldest}')
          FROM (SELECT billing.create_account('Order') AS a OFFSET 0) x OFFSET 0) y;

-- --- Once per reference ------------------------------------------------------------------------------
SELECT pg_temp.debtor(100, 100) AS a \gset
SELECT billing.record_payment(:a, 60, 'EUR', provider => 'psp', reference => 'tr_1') AS p \gset
SELECT is(billing.record_payment(:a, 60, 'EUR', provider => 'psp', reference => 'tr_1'), :p::bigint, 'the same payment again is the first');
SELECT isnt(billing.record_payment(:a, 60, 'EUR', provider => 'bank', reference => 'tr_1'), :p::bigint, 'another provider''s reference is another payment');
SELECT isnt(billing.record_payment(:a, 1, 'EUR', reference => 'tr_1'), billing.record_payment(:a, 1, 'EUR', reference => 'tr_1'), 'a reference without provider is only text');
SELECT pg_temp.fails(format('SELECT billing.record_payment(%s, 61, ''EUR'', provider => ''psp'', reference => ''tr_1'')', :a), 'LB301', 'one reference, another amount');
SELECT pg_temp.fails(format('SELECT billing.record_payment(%s, 60, ''EUR'', provider => ''psp'', reference => ''tr_1'')', pg_temp.debtor(100)), 'LB301', 'one reference, another account');
SELECT is(billing.record_payment(:a, 2, 'EUR', idempotency_key => 'k'), billing.record_payment(:a, 2, 'EUR', idempotency_key => 'k'), 'one idempotency key, one payment');
SELECT is(billing.refund_payment(:p, 5, provider => 'psp', reference => 're_1'), billing.refund_payment(:p, 5, provider => 'psp', reference => 're_1'), 'one reference, one refund');
SELECT pg_temp.fails(format('SELECT billing.charge_back_payment(%s, 5, provider => ''psp'', reference => ''re_1'')', :p), 'LB301', 'a refund''s reference for a chargeback');
SELECT is((SELECT amount_refunded FROM billing.payment WHERE id = :p), 5.00, 'given back once');
SELECT is(array_agg(p ORDER BY no), ARRAY[NULL, :p]::bigint[] || array_agg(p ORDER BY no) FILTER (WHERE no > 2), 'many at once, in order; what was recorded before is not again')
  FROM (SELECT nullif(p, max(p) OVER ()) AS p, no FROM billing.record_payments(format(
        '[{"account_id":%s,"amount":"3.50","currency":"EUR","rules":["oldest"],"invoice_ids":null},{"account_id":%1$s,"amount":60,"currency":"EUR","provider":"psp","reference":"tr_1"}]', :a)::jsonb)
        WITH ORDINALITY r (p, no)) x;

-- --- Provisional and final ---------------------------------------------------------------------------
SELECT pg_temp.debtor(100) AS a \gset
SELECT billing.record_payment(:a, n, 'EUR', method => m, reversible_until => r, effective_at => '2025-01-31')
  FROM (VALUES (1, 'direct_debit', NULL), (2, 'transfer', NULL), (3, NULL, NULL), (4, 'direct_debit', '2025-03-01'), (5, 'card', timestamptz '2025-01-31')) x (n, m, r) \g /dev/null
SELECT is(array_agg(reversible_until ORDER BY amount), ARRAY['2026-02-28', NULL, NULL, '2025-03-01', '2025-01-31']::timestamptz[],
          'a direct debit can come back for 13 months, a transfer not; the caller may know better') FROM billing.payment WHERE account_id = :a;

-- --- Customer credit ---------------------------------------------------------------------------------
SELECT billing.create_subscription(billing.create_account('Credit'), 'team', start_at => '2025-01-01') AS s \gset
SELECT billing.bill_account(:s >> 24, '2025-01-01') \g /dev/null
SELECT pg_temp.pay(:s >> 24, 250) AS p \gset
SELECT is(row(pg_temp.owes(:s >> 24), has_credit)::text, '("0 paid credit 150",t)', 'what is paid too much is credit') FROM billing.account_state WHERE account_id = :s >> 24;
SELECT billing.bill_account(:s >> 24, '2025-02-01') \g /dev/null
SELECT is(pg_temp.owes(:s >> 24), '0 paid, 0 paid credit 50', 'which pays the next invoice');
CALL billing.bill_run('2025-03-01');
SELECT is(row(pg_temp.owes(:s >> 24), has_credit)::text, '("0 paid, 0 paid, 50",f)', 'and a part of the one after it') FROM billing.account_state WHERE account_id = :s >> 24;
SELECT is((SELECT array_agg(allocated_at ORDER BY allocation_no) FROM billing.payment_allocation WHERE payment_id = :p),
          ARRAY['2025-02-01', '2025-02-01', '2025-03-01']::timestamptz[], 'as of the moment for which they were billed');
SELECT is((SELECT array_agg(type ORDER BY event_no) FROM billing.event WHERE account_id = :s >> 24 AND type ~ '^(payment|invoice[.](paid|part|reopened))'),
          '{payment.received,invoice.paid,invoice.paid,invoice.part_settled}', 'with an event for each that is paid, and for a part');
SELECT is(pg_temp.owes(a), '0 paid, 40', 'an invoice made outside takes credit too')
  FROM (SELECT a, pg_temp.pay(a, 70), billing.record_external_invoice(a, 'one more', '2025-02-02', 60, 'EUR') FROM pg_temp.debtor(50) a OFFSET 0) x;

-- --- By hand -----------------------------------------------------------------------------------------
SELECT pg_temp.debtor(100, 100) AS a \gset
SELECT pg_temp.pay(:a, 150, '{}') AS p \gset
SELECT billing.allocate_payment(:p, pg_temp.doc(:a, 2), 30) \g /dev/null
SELECT is(pg_temp.owes(:a), '100, 70 credit 120', 'so much');
SELECT billing.allocate_payment(:p, pg_temp.doc(:a, 2)) \g /dev/null
SELECT is(pg_temp.owes(:a), '100, 0 paid credit 50', 'as much as is due');
SELECT billing.allocate_payment(:p, pg_temp.doc(:a, 1)) \g /dev/null
SELECT is(pg_temp.owes(:a), '50, 0 paid', 'as much as is left');
SELECT pg_temp.fails(format('SELECT billing.allocate_payment(%s, %s)', :p, pg_temp.doc(:a, 1)), 'LB502', 'nothing is left');
SELECT billing.deallocate_payment(:p, pg_temp.doc(:a, 2), 40, reason => 'mistake') \g /dev/null
SELECT is(pg_temp.owes(:a), '50, 40 credit 40', 'and back');
SELECT pg_temp.fails(format('SELECT billing.deallocate_payment(%s, %s, 60.01)', :p, pg_temp.doc(:a, 2)), 'LB502', 'more than is set against it');
SELECT pg_temp.fails(format('SELECT billing.allocate_payment(%s, %s, 40.01)', :p, pg_temp.doc(:a, 1)), 'LB502', 'more than is left');
SELECT pg_temp.fails(format('SELECT billing.allocate_payment(%s, %s, 1)', :p, pg_temp.doc(pg_temp.debtor(100), 1)), 'LB110', 'another account''s invoice');
SELECT billing.deallocate_payment(:p, pg_temp.doc(:a, 2)) \g /dev/null
SELECT is((SELECT string_agg(format('%s %s', trim_scale(amount), reason), ', ' ORDER BY allocation_no) FROM billing.payment_allocation WHERE payment_id = :p),
          '30 by hand, 70 by hand, 50 by hand, -40 mistake, -60 by hand', 'nothing is erased');

-- What was known later counts from no earlier instant than what it undoes or follows.
SELECT pg_temp.debtor(100) AS a \gset
SELECT billing.record_payment(:a, 100, 'EUR', effective_at => '2025-03-01') AS p \gset
SELECT billing.deallocate_payment(:p, pg_temp.doc(:a, 1), effective_at => '2025-02-01') \g /dev/null
SELECT billing.record_payment(:a, 30, 'EUR', effective_at => '2025-01-20') AS q \gset
SELECT billing.allocate_payment(:p, pg_temp.doc(:a, 1), effective_at => '2025-01-20') \g /dev/null
SELECT is((SELECT array_agg(DISTINCT allocated_at) FROM billing.payment_allocation WHERE account_id = :a), ARRAY['2025-03-01']::timestamptz[], 'an allocation is never older than what it follows');

-- --- Refunds and chargebacks -------------------------------------------------------------------------
SELECT pg_temp.debtor(100, 50, 70) AS a \gset
SELECT pg_temp.pay(:a, 250) AS p \gset
SELECT billing.refund_payment(:p, 20) \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid, 0 paid, 0 paid credit 10', 'first what is not used');
SELECT billing.refund_payment(:p, 30, reason => 'damaged') \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid, 0 paid, 20', 'then the latest allocation: its invoice is open again');
SELECT is((SELECT array_agg(payload->>'amount_due' || ' ' || (payload->>'reason')) FROM billing.event WHERE account_id = :a AND type = 'invoice.reopened'), '{20.00 damaged}', 'and an event says so');
SELECT pg_temp.fails(format('SELECT billing.refund_payment(%s, 200.01)', :p), 'LB502', 'more than is left of it');
SELECT billing.charge_back_payment(:p, effective_at => '2025-04-02', fee => 3.50, reason => 'no mandate') \g /dev/null
SELECT is(pg_temp.owes(:a), '100, 50, 70', 'a chargeback after 60 days takes all that is left and opens all that it paid');
SELECT is(row(amount_allocated, amount_refunded, amount_charged_back)::text, '(0.00,50.00,200.00)', 'the payment keeps its story') FROM billing.payment WHERE id = :p;
SELECT is((SELECT string_agg(format('%s %s %s %s', kind, amount, trim_scale(fee), reason), ', ' ORDER BY id) FROM billing.refund WHERE payment_id = :p),
          'refund 20.00 0 , refund 30.00 0 damaged, chargeback 200.00 3.5 no mandate', 'so do its refunds');
SELECT pg_temp.fails(format('SELECT billing.refund_payment(%s)', :p), 'LB502', 'nothing is left');
SELECT pg_temp.fails(format('SELECT billing.charge_back_payment(%s)', :p), 'LB502', 'nothing is left to be charged back');
SELECT is(pg_temp.owes(:a), '0 paid, 50, 70', 'paid again') FROM (SELECT pg_temp.pay(:a, 100) OFFSET 0) x;

-- What changes and leaves the invoice open is told too.
SELECT pg_temp.debtor(100) AS a \gset
SELECT pg_temp.pay(:a, 60) AS p \gset
SELECT billing.deallocate_payment(:p, pg_temp.doc(:a, 1), 10, effective_at => '2025-02-02', reason => 'mistake') \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', payload->>'amount_due', payload->>'currency', payload->>'reason'), ', ' ORDER BY event_no) FROM billing.event WHERE account_id = :a AND type = 'invoice.part_settled' AND invoice_id = pg_temp.doc(:a, 1)),
          '40.00 EUR oldest, 50.00 EUR mistake', 'a part that is paid, and taken back');

-- Told to be earlier than there was so much of the payment: it counts from then on.
SELECT pg_temp.debtor(100) AS a \gset
SELECT pg_temp.pay(:a, 100) AS p, pg_temp.pay(:a, 50) AS free \gset
SELECT billing.deallocate_payment(:p, pg_temp.doc(:a, 1), 40, effective_at => '2025-04-01'), billing.refund_payment(:p, 20, effective_at => '2025-03-01'), billing.refund_payment(:p, 50, effective_at => '2025-03-02'),
       billing.refund_payment(:free, 10, effective_at => '2025-03-01'), billing.charge_back_payment(:free, effective_at => '2025-01-20') \g /dev/null
SELECT is((SELECT array_agg((amount, refunded_at::date)::text ORDER BY id) FROM billing.refund WHERE account_id = :a), '{"(20.00,2025-04-01)","(50.00,2025-04-01)","(10.00,2025-03-01)","(40.00,2025-02-01)"}', 'no date shows more given back than there was');

-- The bank's fee, passed on: a claim for the invoice that is open again, which the next payment pays.
SELECT pg_temp.debtor(100) AS a \gset
SELECT pg_temp.pay(:a, 100) AS p \gset
SELECT billing.charge_back_payment(:p, fee => 3.50, pass_on => true, effective_at => '2025-03-01', reason => 'no mandate', provider => 'psp', reference => 'cb_1') AS c \gset
SELECT is(array_agg(row(kind, status, total, tax_total, issued_on, claims_invoice_id, reason)::text), ARRAY[row('claim', 'open', 3.50, 0.00, date '2025-03-01', pg_temp.doc(:a, 1), 'no mandate')::text], 'a fee that is passed on is a claim')
  FROM billing.invoice WHERE account_id = :a AND kind = 'claim';
SELECT is(billing.charge_back_payment(:p, fee => 3.50, pass_on => true, provider => 'psp', reference => 'cb_1'), :c::bigint, 'the same chargeback again');
SELECT pg_temp.fails(format('SELECT billing.charge_back_payment(%s, fee => 4, provider => ''psp'', reference => ''cb_1'')', :p), 'LB301', 'another fee for the same reference');
SELECT is(pg_temp.owes(:a), '100, 3.5', 'is the first, with one claim');
SELECT is(pg_temp.owes(:a), '0 paid, 0 paid', 'paid like an invoice') FROM (SELECT pg_temp.pay(:a, 103.50) OFFSET 0) x;
SELECT billing.charge_back_payment(pg_temp.pay(:a, 10), fee => 2, effective_at => '2025-03-02') \g /dev/null
SELECT is(pg_temp.owes(:a), '0 paid, 0 paid', 'a fee that is not passed on is nobody''s debt');
SELECT billing.charge_back_payment(pg_temp.pay(:a, 10), fee => 2, pass_on => true, effective_at => '2025-03-02') \g /dev/null
SELECT is(row(pg_temp.owes(:a), (SELECT claims_invoice_id FROM billing.invoice WHERE account_id = :a AND kind = 'claim' AND status = 'open'))::text, '("0 paid, 0 paid, 2",)', 'of money that paid nothing the claim is for no invoice');

-- A credit note takes the place of the money that is given back, so the invoice stays paid.
SELECT billing.create_meter('gauge', aggregation => 'last') \g /dev/null
SELECT billing.create_price('metered', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'gauge', scheme => '{"model":"per_unit","unit_amount":1}') \g /dev/null
SELECT billing.create_plan('metered', items => '[{"price":"metered"}]') \g /dev/null
SELECT billing.create_subscription(billing.create_account('Noted'), 'metered', start_at => '2025-01-01') AS s \gset
SELECT billing.record_usage(:s, 'gauge', quantity => 80, at => '2025-01-05', event_key => 'g1') \g /dev/null
SELECT billing.bill_account(:s >> 24, '2025-02-01') AS i \gset
SELECT pg_temp.pay(:s >> 24, 100) AS p \gset
SELECT billing.record_usage(:s, 'gauge', quantity => 60, at => '2025-01-06', event_key => 'g2') \g /dev/null
SELECT billing.bill_account(:s >> 24, '2025-03-01') \g /dev/null
SELECT id AS note FROM billing.invoice WHERE account_id = :s >> 24 AND kind = 'credit_note' \gset
SELECT is(row(i.status, i.amount_due, s.has_credit)::text, '(open,-25.00,t)', 'a credit note of a paid invoice is customer credit')
  FROM billing.invoice i, billing.account_state s WHERE i.id = :note AND s.account_id = :s >> 24;
SELECT billing.refund_payment(:p, 10, effective_at => '2025-03-02') \g /dev/null
SELECT is(row(status, amount_paid, amount_credited)::text, '(paid,90.00,10.00)', 'the note takes the place of what is refunded') FROM billing.invoice WHERE id = :i;
SELECT is((SELECT count(*)::int FROM billing.event WHERE type IN ('invoice.reopened') AND invoice_id = :i), 0, 'the invoice was never open again');
SELECT billing.refund_credit(:note, 6, effective_at => '2025-03-02') \g /dev/null
SELECT is(row(status, amount_paid, amount_credited, amount_due)::text, '(open,6.00,10.00,-9.00)', 'a part of the note is paid out') FROM billing.invoice WHERE id = :note;
SELECT pg_temp.fails(format('SELECT billing.refund_credit(%s, 9.01)', :note), 'LB502', 'more than is left of the note');
SELECT billing.refund_credit(:note) \g /dev/null
SELECT is(row(status, amount_due, has_credit)::text, '(paid,0.00,f)', 'then the rest') FROM billing.invoice, billing.account_state s WHERE id = :note AND s.account_id = :s >> 24;
SELECT pg_temp.fails(format('SELECT billing.refund_credit(%s)', :note), 'LB502', 'nothing is left of the note');
SELECT pg_temp.fails(format('SELECT billing.refund_credit(%s)', :i), 'LB403', 'an invoice is no credit');

-- --- Write-off ---------------------------------------------------------------------------------------
SELECT pg_temp.debtor(100, 50, 70) AS a \gset
SELECT pg_temp.pay(:a, 20, '{oldest}') AS p \gset
SELECT is(billing.write_off_invoice(pg_temp.doc(:a, 1), reason => 'insolvent'), pg_temp.doc(:a, 1), 'an invoice is given up');
SELECT is(pg_temp.owes(:a), '80 uncollectible, 50, 70', 'it still shows what it lacks');
SELECT pg_temp.fails(format('SELECT billing.write_off_invoice(%s)', pg_temp.doc(:a, 1)), 'LB403', 'given up twice');
SELECT is(pg_temp.owes(:a), '80 uncollectible, 20, 70', 'rules pass it over') FROM (SELECT pg_temp.pay(:a, 30, '{oldest}') OFFSET 0) x;
SELECT is(pg_temp.owes(:a), '60 uncollectible, 20, 70', 'it is paid where it is named') FROM (SELECT pg_temp.pay(:a, 20, '{named}', '{1}') OFFSET 0) x;
SELECT billing.charge_back_payment(:p) \g /dev/null
SELECT is(pg_temp.owes(:a), '80 uncollectible, 20, 70', 'what comes back of it leaves it given up');
SELECT pg_temp.pay(:a, 80, '{exact}') AS p \gset
SELECT is(pg_temp.owes(:a), '0 paid, 20, 70', 'or where just that is paid: recovered');
SELECT is((SELECT array_agg(trim_scale(amount) ORDER BY write_off_no) FROM billing.write_off WHERE account_id = :a), '{80,-20,20,-80}', 'in steps that sum to nothing');
SELECT billing.charge_back_payment(:p) \g /dev/null
SELECT is(pg_temp.owes(:a), '80, 20, 70', 'and open when that comes back');

-- --- Tolerance ---------------------------------------------------------------------------------------
SELECT billing.set_payment_rules('acme', payment_tolerance => 0.50) \g /dev/null
SELECT pg_temp.debtor(100, 50) AS a \gset
SELECT pg_temp.pay(:a, 99.50) AS p \gset
SELECT is(pg_temp.owes(:a), '0 paid, 50', 'what lacks is given up');
SELECT is((SELECT array_agg(row(p.kind, p.amount, a.reason)::text) FROM billing.payment p JOIN billing.payment_allocation a ON a.payment_id = p.id WHERE p.account_id = :a AND p.kind <> 'payment'),
          '{"(write_off,0.50,tolerance)"}', 'as a payment of its own kind, allocated');
SELECT pg_temp.pay(:a, 49.49) AS q \gset
SELECT is(pg_temp.owes(:a), '0 paid, 0.51', 'no more than the tolerance');
SELECT billing.charge_back_payment(:p) \g /dev/null
SELECT is(pg_temp.owes(:a), '100, 0.51', 'it comes back with the payment for whose sake it was given up');
SELECT is((SELECT has_credit FROM billing.account_state WHERE account_id = :a), false, 'and is nobody''s credit');
SELECT is((SELECT array_agg(payload->>'amount_due') FROM billing.event WHERE account_id = :a AND type = 'invoice.reopened'), '{100.00}', 'in one step');
SELECT pg_temp.fails(format('SELECT billing.refund_payment(%s)', id), 'LB140', 'what was given up is not refunded') FROM billing.payment WHERE account_id = :a AND kind = 'write_off';
SELECT is(pg_temp.spread('{100,50}', 99.80, '{named}', '{2}'), '100, 0 paid credit 49.8', 'a payment that is not used up forgives nothing');
SELECT billing.set_payment_rules('acme', payment_tolerance => 0) \g /dev/null

-- --- Invoices made outside ---------------------------------------------------------------------------
SELECT billing.create_account('Outside') AS a \gset
SELECT billing.record_external_invoice(:a, 'R-7', '2025-01-15', 178, 'EUR', due_on => '2025-01-20', tax_total => 28, metadata => '{"order":7}', lines =>
    '[{"description":"router","amount":100,"tax_rate":20,"quantity":1},{"description":"books","amount":"80.00","tax_rate":10},{"description":"voucher","amount":-30,"tax_category":"O"}]') AS i \gset
SELECT is(row(number, status, issued_on, due_on, net_total, tax_total, total, amount_due, position, series, external, metadata)::text,
          '(R-7,open,2025-01-15,2025-01-20,150.00,28.00,178.00,178.00,,"",t,"{""order"": 7}")', 'they are shown like others, without seal') FROM billing.invoice WHERE id = :i;
SELECT is((SELECT array_agg(row(category, rate, taxable_amount, tax_amount)::text ORDER BY category DESC, rate DESC) FROM billing.invoice_tax WHERE invoice_id = :i),
          '{"(S,20,100.00,20.00)","(S,10,80.00,8.00)","(O,0,-30.00,0.00)"}', 'their tax is what they say');
SELECT is((SELECT array_agg(DISTINCT nature) FROM billing.invoice_line WHERE invoice_id = :i), '{external}', 'their lines are nobody''s charges');
SELECT billing.record_external_invoice(:a, 'R-8', '2025-01-15', 10, 'EUR') AS j \gset
SELECT is(due_on, date '2025-01-29', 'due after the account''s terms') FROM billing.invoice WHERE id = :j;
SELECT is((SELECT count(*)::int FROM billing.record_external_invoices(format('[{"account_id":%s,"number":"R-9","issued_on":"2025-01-15","total":"10.00","currency":"EUR"},
    {"account_id":%1$s,"number":"R-10","issued_on":"2025-01-15","total":20,"currency":"EUR","tax_total":null,"lines":[{"description":"all","amount":20}]}]', :a)::jsonb)), 2, 'many at once');
SELECT billing.create_entity('other', name => 'Other', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT isnt(billing.record_external_invoice(billing.create_account('Same', entity => 'other'), 'R-7', '2025-01-15', 1, 'EUR'), NULL, 'a number is unique for its seller');
SELECT pg_temp.fails(format('SELECT billing.void_invoice(%s, true)', :i), 'LB403', 'they are voided where they were made');
SELECT billing.bill_account(:a, '2025-05-01') \g /dev/null
SELECT is((SELECT count(*)::int FROM billing.tax_summary WHERE rate = 20), 0, 'their tax is declared where they were made');
SELECT pg_temp.fails(format('SELECT billing.record_external_invoice(%s, %s)', :a, arguments), code, what) FROM (VALUES
    ('''R-7'', ''2025-02-01'', 1, ''EUR''', '23505', 'a number twice'),
    ('''X'', ''2025-02-01'', 1, ''USD''', 'LB204', 'a foreign currency'),
    ('''X'', ''2025-02-01'', 0, ''EUR''', 'LB501', 'a total of zero'),
    ('''X'', ''2025-02-01'', 1.001, ''EUR''', 'LB501', 'a total with too many decimals'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', tax_total => -1', 'LB501', 'negative tax'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', tax_total => 2', 'LB501', 'more tax than total'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', due_on => ''2025-01-31''', 'LB208', 'due before it was issued'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', due_on => ''infinity''', 'LB208', 'due never'),
    ('''X'', ''infinity'', 1, ''EUR''', '22008', 'issued never'),
    ('''X'', ''9999-01-01'', 1, ''EUR''', 'LB405', 'issued in a far future'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', lines => ''[]''', 'LB208', 'no lines'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', lines => ''{}''', 'LB208', 'lines that are no array'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', lines => ''[7]''', 'LB208', 'a line that is no object'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', lines => ''[{"description":"a","amount":1,"colour":"red"}]''', 'LB208', 'an unknown key'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', lines => ''[{"description":"a","amount":2}]''', 'LB501', 'lines that do not sum to the total'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', lines => ''[{"description":"a","amount":"NaN"}]''', '22003', 'a line that is not a number'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', lines => ''[{"description":"a","amount":"one"}]''', '22P02', 'a line that is a word'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', lines => ''[{"description":"a","amount":1,"tax_rate":"Infinity"}]''', 'LB208', 'an infinite rate'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', subscription_id => 7', 'LB109', 'an unknown subscription'),
    (''''', ''2025-02-01'', 1, ''EUR''', 'LB208', 'no number'),
    ('''X'', ''2025-02-01'', 1, ''EUR'', metadata => ''7''', 'LB208', 'metadata that is no object'),
    ('NULL, ''2025-02-01'', 1, ''EUR''', '22004', 'null')) x (arguments, code, what);

-- What is told again is the first payment, whatever has become of the invoice that it names.
SELECT billing.create_subscription(billing.create_account('Again', entity => 'acme'), 'team', start_at => '2025-01-01') AS s \gset
SELECT billing.bill_account(:s >> 24, '2025-01-01') AS i2 \gset
SELECT billing.record_payment(:s >> 24, 10, 'EUR', provider => 'psp', reference => 'tr_9', invoice_ids => ARRAY[:i2], effective_at => '2025-01-02') AS p2 \gset
SELECT billing.deallocate_payment(:p2, :i2), billing.void_invoice(:i2, rebill => false, effective_at => '2025-01-03') \g /dev/null
SELECT is(billing.record_payment(:s >> 24, 10, 'EUR', provider => 'psp', reference => 'tr_9', invoice_ids => ARRAY[:i2]), :p2::bigint, 'a payment told again for an invoice that is void now');

-- --- Bad input ---------------------------------------------------------------------------------------
SELECT billing.create_subscription(billing.create_account('Bad', entity => 'acme'), 'team', start_at => '2025-01-01') AS s \gset
SELECT billing.bill_account(:s >> 24, '2025-01-01') AS voided \gset
SELECT billing.void_invoice(:voided, rebill => true, effective_at => '2025-01-01') AS note \gset
CALL billing.bill_run('2025-01-01', finalize => false);
SELECT id AS draft FROM billing.invoice_header WHERE account_id = :s >> 24 AND status = 'draft' \gset
SELECT pg_temp.pay(:s >> 24, 10) AS p \gset
SELECT pg_temp.fails(format(command, :s >> 24, :voided, :draft, :note, :p), code, what) FROM (VALUES
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', invoice_ids => ARRAY[%2$s])', 'LB403', 'paying a void invoice'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', invoice_ids => ARRAY[%3$s])', 'LB403', 'paying a draft'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', invoice_ids => ARRAY[%4$s])', 'LB403', 'paying a credit note'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', invoice_ids => ARRAY[7])', 'LB110', 'paying an unknown invoice'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', invoice_ids => ARRAY[NULL]::bigint[])', 'LB110', 'paying null'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', invoice_ids => ARRAY[%2$s], rules => ''{oldest}'')', 'LB208', 'named, but not by the rules'),
    ('SELECT billing.allocate_payment(%5$s, %2$s)', 'LB403', 'allocating to a void invoice'),
    ('SELECT billing.allocate_payment(%5$s, %3$s)', 'LB403', 'allocating to a draft'),
    ('SELECT billing.allocate_payment(%5$s, %4$s)', 'LB403', 'allocating to a credit note'),
    ('SELECT billing.deallocate_payment(%5$s, %2$s)', 'LB403', 'taking back from a void invoice'),
    ('SELECT billing.write_off_invoice(%2$s)', 'LB403', 'giving a void invoice up'),
    ('SELECT billing.write_off_invoice(%3$s)', 'LB403', 'giving a draft up'),
    ('SELECT billing.write_off_invoice(%4$s)', 'LB403', 'giving a credit note up'),
    ('SELECT billing.write_off_invoice(7)', 'LB110', 'giving an unknown invoice up'),
    ('SELECT billing.refund_credit(7)', 'LB110', 'paying an unknown note out'),
    ('SELECT billing.refund_credit(%4$s)', 'LB502', 'paying a note out that is used up'),
    ('SELECT billing.refund_payment(7)', 'LB140', 'refunding an unknown payment'),
    ('SELECT billing.charge_back_payment(7)', 'LB140', 'an unknown payment comes back'),
    ('SELECT billing.allocate_payment(7, %2$s)', 'LB140', 'allocating an unknown payment'),
    ('SELECT billing.refund_payment(%5$s, 10.01)', 'LB502', 'refunding more than was paid'),
    ('SELECT billing.charge_back_payment(%5$s, fee => -1)', 'LB501', 'a negative fee'),
    ('SELECT billing.charge_back_payment(%5$s, fee => ''NaN'')', 'LB501', 'a fee that is not a number'),
    ('SELECT billing.record_payment(%1$s, 1, ''USD'')', 'LB204', 'a foreign currency'),
    ('SELECT billing.record_payment(%1$s, 1, ''XXX'')', 'LB102', 'no currency at all'),
    ('SELECT billing.record_payment(%1$s, 1, '''')', 'LB102', 'an empty currency'),
    ('SELECT billing.record_payment(%1$s, 0, ''EUR'')', 'LB501', 'zero'),
    ('SELECT billing.record_payment(%1$s, -1, ''EUR'')', 'LB501', 'a negative amount'),
    ('SELECT billing.record_payment(%1$s, ''NaN'', ''EUR'')', 'LB501', 'not a number'),
    ('SELECT billing.record_payment(%1$s, ''Infinity'', ''EUR'')', 'LB501', 'infinity'),
    ('SELECT billing.record_payment(%1$s, ''-Infinity'', ''EUR'')', 'LB501', 'minus infinity'),
    ('SELECT billing.record_payment(%1$s, 0.001, ''EUR'')', 'LB501', 'less than a cent'),
    ('SELECT billing.record_payment(%1$s, 1.005, ''EUR'')', 'LB501', 'half a cent'),
    ('SELECT billing.record_payment(%1$s, 1e20, ''EUR'')', '22003', 'more than there is'),
    ('SELECT billing.record_payment(NULL, 1, ''EUR'')', '22004', 'null for an account'),
    ('SELECT billing.record_payment(%1$s, NULL, ''EUR'')', '22004', 'null for an amount'),
    ('SELECT billing.record_payment(%1$s, 1, NULL)', '22004', 'null for a currency'),
    ('SELECT billing.record_payment(536870911, 1, ''EUR'')', 'LB108', 'an unknown account'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', method => ''shells'')', 'LB141', 'an unknown way to pay'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', payment_method_id => 7)', 'LB141', 'an unknown payment method'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', rules => ''{newest}'')', 'LB208', 'an unknown rule'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', rules => ''{oldest,oldest}'')', 'LB208', 'a rule twice'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', rules => ''{NULL}'')', 'LB208', 'a rule that is null'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', effective_at => ''infinity'')', '22008', 'received never'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', effective_at => ''9999-01-01'')', 'LB405', 'received in a far future'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', reversible_until => ''infinity'')', '22008', 'reversible for ever'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', provider => '''', reference => ''x'')', 'LB208', 'an empty provider'),
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'', metadata => ''[]'')', 'LB208', 'metadata that is no object'),
    ('SELECT billing.record_payments(''7'')', 'LB208', 'many that are a number'),
    ('SELECT billing.record_payments(''[{"account_id":%1$s,"amount":1}]'')', '22004', 'one of many without currency'),
    ('SELECT billing.record_payments(''[{"account_id":%1$s,"amount":1,"currency":"EUR","tip":1}]'')', 'LB208', 'one of many with an unknown key'),
    ('SELECT billing.record_payments(''[{"account_id":%1$s,"amount":1,"currency":"EUR","invoice_ids":"{1}"}]'')', 'LB208', 'one of many with a list that is text'),
    ('SELECT billing.record_payments(''[{"account_id":%1$s,"amount":1,"currency":"EUR"},{"account_id":%1$s,"amount":-1,"currency":"EUR"}]'')', 'LB501', 'one of many that is negative: none is recorded'),
    ('SELECT billing.set_payment_rules(''nobody'')', 'LB101', 'rules of nobody'),
    ('SELECT billing.set_payment_rules(''acme'', payment_tolerance => -1)', 'LB501', 'a negative tolerance'),
    ('SELECT billing.set_payment_rules(''acme'', payment_tolerance => 0.001)', 'LB501', 'a tolerance below a cent'),
    ('SELECT billing.set_payment_rules(''acme'', collect => ''later'')', 'LB208', 'an unknown time to collect'),
    ('SELECT billing.set_payment_rules(''acme'', retry_policy => ''none'')', 'LB149', 'an unknown policy'),
    ('SELECT billing.set_payment_rules(''acme'', dunning_scheme => ''none'')', 'LB143', 'an unknown scheme'),
    ('SELECT billing.set_payment_rules(''acme'', language => ''German'')', 'LB208', 'no language')) x (command, code, what);
SELECT throws_ok(format('UPDATE billing.payment SET amount_allocated = 11 WHERE id = %s', :p), '23514', NULL, 'no more can be allocated than was received');

-- --- Rights ------------------------------------------------------------------------------------------
-- An operator of one seller has no hand in another's money, by whatever id he names it.
CREATE ROLE regress_operator;
SELECT billing.grant_access('regress_operator', 'operator', entity => 'other') \g /dev/null
SELECT billing.create_account('Theirs', entity => 'other') AS theirs \gset
SELECT billing.record_external_invoice(:theirs, 'T-1', '2025-01-01', 30, 'EUR') AS t \gset
SET LOCAL ROLE regress_operator;
SELECT throws_ok(format(command, :s >> 24, :p, :note, :i), '42501', NULL, command) FROM (VALUES
    ('SELECT billing.record_payment(%1$s, 1, ''EUR'')'), ('SELECT billing.allocate_payment(%2$s, %4$s)'), ('SELECT billing.deallocate_payment(%2$s, %4$s)'),
    ('SELECT billing.refund_payment(%2$s)'), ('SELECT billing.charge_back_payment(%2$s)'), ('SELECT billing.refund_credit(%3$s)'), ('SELECT billing.write_off_invoice(%4$s)'),
    ('SELECT billing.record_external_invoice(%1$s, ''Y'', ''2025-01-01'', 1, ''EUR'')'), ('SELECT billing.record_payments(''[]'')'),
    ('SELECT billing.record_external_invoices(''[]'')'), ('SELECT billing.set_payment_rules(''other'')')) x (command);
SELECT throws_ok(format('SELECT billing.allocate_payment(%s, %s)', :p, :t), 'LB110', NULL, 'nor by the side of his own');
SELECT lives_ok(format('SELECT billing.refund_payment(billing.record_payment(%s, 30, ''EUR''), 10)', :theirs), 'he has his own');
RESET ROLE;
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
