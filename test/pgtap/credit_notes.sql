-- Credit notes that people give, and claims: amounts, tax, what runs do afterwards, bad input.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(134);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19), billing.create_tax('low', category => 'S', rate => 7) \g /dev/null
SELECT billing.create_price(p, currency => 'EUR', every => '1 month', tax => t, timing => 'advance', tax_inclusive => i, scheme => jsonb_build_object('model', 'flat', 'flat_amount', a))
  FROM (VALUES ('net', 'vat', false, 100), ('gross', 'vat', true, 9.99), ('book', 'low', false, 33.33), ('odd', 'vat', false, 0.07)) v (p, t, i, a) \g /dev/null
SELECT billing.create_price('minutes', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'arrears', meter => billing.create_meter('minutes', aggregation => 'sum'),
                            scheme => '{"model":"per_unit","unit_amount":0.10}') \g /dev/null
SELECT billing.create_plan(p, items => jsonb_build_array(jsonb_build_object('price', p))) FROM unnest('{net,gross,book,odd,minutes}'::text[]) p \g /dev/null
SELECT billing.create_plan('all', items => '[{"price":"net"},{"price":"gross"},{"price":"book"},{"price":"odd"}]') \g /dev/null
-- The first invoice of a new account.
CREATE FUNCTION pg_temp.invoice(plan text, coupon numeric DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    a bigint := billing.create_account('Ann');
    s bigint := billing.create_subscription(a, plan, start_at => '2025-01-01');
BEGIN
    IF coupon IS NOT NULL THEN
        PERFORM billing.add_discount(a, coupon, effective_at => '2025-01-01');
    END IF;
    PERFORM billing.bill_account(a, '2025-01-01');
    RETURN (SELECT id FROM billing.invoice WHERE account_id = a AND kind = 'invoice');
END $$;
CREATE FUNCTION pg_temp.credit(invoice bigint, amount numeric DEFAULT NULL, lines jsonb DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.credit_invoice($1, lines => $3, amount => $2, effective_at => '2025-01-05') $$;
-- net + tax (+ rounding) of a document.
CREATE FUNCTION pg_temp.sums(document bigint) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', net_total, tax_total, nullif(rounding_amount, 0)) FROM billing.invoice WHERE id = $1 $$;
CREATE FUNCTION pg_temp.notes(invoice bigint) RETURNS numeric LANGUAGE sql AS $$
    SELECT coalesce(sum(total + rounding_amount), 0) FROM billing.invoice WHERE account_id = $1 >> 24 AND kind = 'credit_note' $$;
CREATE FUNCTION pg_temp.written() RETURNS text LANGUAGE sql AS $$
    SELECT md5(concat((SELECT string_agg(i::text, ',' ORDER BY i.id) FROM billing.invoice i), (SELECT count(*) FROM billing.invoice_line), (SELECT count(*) FROM billing.charge),
               (SELECT count(*) FROM billing.event), (SELECT string_agg(s::text, ',' ORDER BY s.code) FROM billing.series s), (SELECT string_agg(s::text, ',' ORDER BY s.account_id) FROM billing.account_state s))) $$;
CREATE FUNCTION pg_temp.fails(command text, code text, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    before text := pg_temp.written();
BEGIN
    RETURN NEXT throws_ok(command, code::char(5), NULL, what);
    RETURN NEXT is(pg_temp.written(), before, what || ': nothing is written');
END $$;

-- --- Whole, by line, by amount -----------------------------------------------------------------------
CREATE TEMPORARY TABLE doc (name text, id bigint);
INSERT INTO doc SELECT p, pg_temp.invoice(p) FROM unnest('{net,gross,book,odd,all}'::text[]) p;
CREATE FUNCTION pg_temp.doc(name text) RETURNS bigint LANGUAGE sql AS $$ SELECT id FROM doc WHERE name = $1 $$;

SELECT is(pg_temp.sums(pg_temp.credit(pg_temp.doc('net'), 50)), '42.02 7.98', 'half of 119.00 by amount');
SELECT is((SELECT (status, amount_credited, amount_due)::text FROM billing.invoice WHERE id = pg_temp.doc('net')), '(open,50.00,69.00)', 'it reduces what is open');
SELECT is(pg_temp.sums(pg_temp.credit(pg_temp.doc('net'), lines => '[{"line_no":1,"amount":10}]')), '10.00 1.90', 'ten of a line, in its terms');
SELECT is(pg_temp.sums(pg_temp.credit(pg_temp.doc('net'))), '47.98 9.12', 'all that is left');
SELECT is((SELECT (status, amount_credited, amount_due)::text FROM billing.invoice WHERE id = pg_temp.doc('net')), '(paid,119.00,0.00)', 'the invoice is settled');
SELECT is(pg_temp.sums(pg_temp.credit(pg_temp.doc('gross'), 5)), '4.20 0.80', 'inclusive: half');
SELECT is(pg_temp.sums(pg_temp.credit(pg_temp.doc('gross'))), '4.19 0.79 0.01', 'inclusive: the rest has the rest of net, tax and rounding');
SELECT is((SELECT (count(*), sum(net_amount))::text FROM billing.invoice_line WHERE invoice_id IN (SELECT id FROM billing.invoice WHERE credits_invoice_id = pg_temp.doc('gross'))),
          '(2,8.39)', 'net amounts of inclusive lines sum to the invoice''s');
SELECT is(pg_temp.sums(pg_temp.credit(pg_temp.doc('odd'), 0.03)), '0.03 0.01 -0.01', 'an amount that no net amount makes is rounded');
SELECT is(pg_temp.sums(pg_temp.credit(pg_temp.doc('odd'))), '0.04 0.00 0.01', 'which the last note makes good');
SELECT is(pg_temp.notes(pg_temp.doc('odd')), (SELECT total FROM billing.invoice WHERE id = pg_temp.doc('odd')), 'all notes together are the invoice');
SELECT pg_temp.credit(pg_temp.doc('book')) AS note \gset
SELECT is((SELECT array_agg((rate, tax_amount)::text ORDER BY rate) FROM billing.invoice_tax WHERE invoice_id = :note),
          ARRAY['(7,2.33)'], 'tax by category and rate');
SELECT pg_temp.credit(pg_temp.doc('all'), lines => '[{"line_no":3},{"line_no":1,"amount":"1.50"}]') AS note \gset
SELECT is((SELECT array_agg(amount ORDER BY line_no) FROM billing.invoice_line WHERE invoice_id = :note),
          '{1.50,33.33}', 'lines without an amount are credited whole, in the order of the invoice');
SELECT ok((SELECT quantity = 1 AND unit_amount = 33.33 FROM billing.invoice_line WHERE nature = 'grant' AND price = 'book' AND invoice_id >> 24 = pg_temp.doc('all') >> 24),
          'a whole line is copied');
SELECT ok((SELECT quantity IS NULL AND unit_amount IS NULL FROM billing.invoice_line WHERE nature = 'grant' AND price = 'net' AND invoice_id >> 24 = pg_temp.doc('all') >> 24),
          'of a part only the amount stands');
SELECT is((SELECT count(*) FROM billing.bill_account(pg_temp.doc('all') >> 24, '2025-01-20')), 0::bigint, 'a run bills nothing of it again');
SELECT is((SELECT count(*) FROM billing.preview(pg_temp.doc('net') >> 24, '2025-01-20')), 0::bigint, 'nor does a preview');
SELECT is((SELECT array_agg(DISTINCT series) FROM billing.invoice WHERE kind = 'credit_note'), '{acme-credit-note}', 'their own series');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

-- --- Paid before: customer credit, which the next invoice takes -----------------------------------------
INSERT INTO doc SELECT 'paid', pg_temp.invoice('net');
SELECT billing.record_payment(pg_temp.doc('paid') >> 24, 100, 'EUR', effective_at => '2025-01-02') \g /dev/null
SELECT pg_temp.credit(pg_temp.doc('paid'), 59.50) AS note \gset
SELECT is((SELECT (status, amount_credited, amount_due)::text FROM billing.invoice WHERE id = :note), '(open,19.00,-40.50)', 'more than is open is credit');
SELECT is((SELECT status FROM billing.invoice WHERE id = pg_temp.doc('paid')), 'paid', 'the invoice is paid');
SELECT ok((SELECT has_credit FROM billing.account_state WHERE account_id = pg_temp.doc('paid') >> 24), 'the account has credit');
SELECT billing.bill_account(pg_temp.doc('paid') >> 24, '2025-02-01') \g /dev/null
SELECT is((SELECT (total, amount_credited, amount_due)::text FROM billing.invoice WHERE account_id = pg_temp.doc('paid') >> 24 AND kind = 'invoice' ORDER BY id DESC LIMIT 1),
          '(119.00,40.50,78.50)', 'the next invoice takes it');
-- --- Given up: recovered by the credit ---
INSERT INTO doc SELECT 'lost', pg_temp.invoice('net');
SELECT billing.write_off_invoice(pg_temp.doc('lost'), effective_at => '2025-01-03') \g /dev/null
SELECT pg_temp.credit(pg_temp.doc('lost')) AS note \gset
SELECT is((SELECT (status, total)::text FROM billing.invoice WHERE id = :note), '(paid,119.00)', 'an uncollectible invoice can be credited');
SELECT is((SELECT (status, amount_due)::text FROM billing.invoice WHERE id = pg_temp.doc('lost')), '(paid,0.00)', 'and is settled');

-- --- What runs do after it: greatest(desired, granted) - charged (P4) ----------------------------------------
CREATE FUNCTION pg_temp.credited_then_ended(credit numeric) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    i bigint := pg_temp.invoice('net');
BEGIN
    PERFORM pg_temp.credit(i, lines => jsonb_build_array(jsonb_build_object('line_no', 1, 'amount', credit))) WHERE credit > 0;
    PERFORM billing.cancel_subscription((SELECT s.id FROM billing.subscription s WHERE s.account_id = i >> 24), effective_at => '2025-01-16 12:00');
    PERFORM billing.bill_account(i >> 24, '2025-01-16 12:00');
    PERFORM billing.bill_account(i >> 24, '2025-03-01');
    RETURN (SELECT sum(net_total) FROM billing.invoice WHERE account_id = i >> 24 AND kind = 'credit_note');
END $$;
SELECT is(pg_temp.credited_then_ended(0), 51.61, 'a subscription that ends gives back what was not used');
SELECT is(pg_temp.credited_then_ended(10), 61.61, 'besides what was granted');
SELECT is(pg_temp.credited_then_ended(48.39), 100.00, 'until all is given back');
SELECT is(pg_temp.credited_then_ended(70), 100.00, 'never more than the invoice');
SELECT is(pg_temp.credited_then_ended(100), 100.00, 'and nothing where all was');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound after it');

-- Corrected by the engine first: only the rest can be credited.
CREATE FUNCTION pg_temp.ended_then_credited() RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    i bigint := pg_temp.invoice('net');
BEGIN
    PERFORM billing.cancel_subscription((SELECT s.id FROM billing.subscription s WHERE s.account_id = i >> 24), effective_at => '2025-01-16 12:00');
    PERFORM billing.bill_account(i >> 24, '2025-01-16 12:00');
    PERFORM pg_temp.credit(i);
    PERFORM billing.bill_account(i >> 24, '2025-03-01');
    RETURN pg_temp.notes(i);
END $$;
SELECT is(pg_temp.ended_then_credited(), 119.00, 'what the engine gave back is not credited again');
-- Usage that came late, and was billed as a correction on another invoice.
INSERT INTO doc SELECT 'late', NULL;
DO $$
DECLARE
    a bigint := billing.create_account('Late');
    s bigint := billing.create_subscription(a, 'minutes', start_at => '2025-01-01');
BEGIN
    PERFORM billing.record_usage(s, 'minutes', quantity => 100, at => '2025-01-10', event_key => 'l1');
    PERFORM billing.bill_account(a, '2025-02-01');
    PERFORM billing.record_usage(s, 'minutes', quantity => 50, at => '2025-01-11', event_key => 'l2');
    PERFORM billing.bill_account(a, '2025-03-01');
    PERFORM pg_temp.credit(i.id) FROM billing.invoice i WHERE i.account_id = a;
    PERFORM billing.bill_account(a, '2025-04-01');
    UPDATE doc SET id = a WHERE name = 'late';
END $$;
SELECT is((SELECT array_agg(net_total ORDER BY id) FROM billing.invoice WHERE account_id = pg_temp.doc('late')), '{10.00,5.00,10.00,5.00,0.00}', 'late usage is credited with its own invoice');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound with late usage');

-- --- At random: many notes on one invoice are the invoice --------------------------------------------------
SELECT setseed(0.42) \g /dev/null
CREATE FUNCTION pg_temp.pieces(plan text, coupon numeric) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    i bigint := pg_temp.invoice(plan, coupon);
    h record;
    left_over numeric;
    line record;
BEGIN
    SELECT * INTO h FROM billing.invoice WHERE id = i;
    FOR n IN 1 .. 8 LOOP
        left_over := billing_internal.creditable_total(i >> 24, i);
        EXIT WHEN left_over <= 0;
        -- A few cents may be left that cannot be divided so.
        BEGIN
        IF random() < 0.5 THEN
            PERFORM pg_temp.credit(i, greatest(billing.round_amount((left_over * random()::numeric / 3), 'EUR'), 0.01));
        ELSE
            SELECT c.line_no, greatest(billing.round_amount(c.amount_left * random()::numeric / 2, 'EUR'), 0.01) AS amount INTO line
              FROM billing_internal.creditable_lines(i >> 24, i) c WHERE c.amount_left > 0.02 ORDER BY random() LIMIT 1;
            PERFORM pg_temp.credit(i, lines => jsonb_build_array(jsonb_build_object('line_no', line.line_no, 'amount', line.amount::text))) WHERE line.line_no IS NOT NULL;
        END IF;
        EXCEPTION WHEN SQLSTATE 'LB501' THEN
            EXIT;
        END;
    END LOOP;
    PERFORM pg_temp.credit(i) WHERE billing_internal.creditable_total(i >> 24, i) > 0;
    RETURN NEXT is(pg_temp.notes(i), h.total + h.rounding_amount, format('notes on %s with %s %% off sum to the invoice', plan, coupon));
    RETURN NEXT is_empty(format('SELECT t.rate, t.tax_amount, t.taxable_amount FROM billing.invoice_tax t WHERE t.invoice_id = %1$s
        EXCEPT SELECT t.rate, sum(t.tax_amount), sum(t.taxable_amount) FROM billing.invoice_tax t JOIN billing.invoice i ON i.id = t.invoice_id AND i.account_id = t.account_id
         WHERE i.credits_invoice_id = %1$s GROUP BY 1', i), 'and so do their taxes');
    RETURN NEXT is_empty(format('SELECT l.line_no, l.amount, l.document_discount, l.net_amount FROM billing.invoice_line l WHERE l.invoice_id = %1$s
        EXCEPT SELECT l.corrects_line_no, sum(l.amount), sum(l.document_discount), sum(l.net_amount) FROM billing.invoice_line l WHERE l.corrects_invoice_id = %1$s GROUP BY 1', i),
        'line by line');
END $$;
SELECT pg_temp.pieces(p, c) FROM unnest('{net,gross,book,odd,all}'::text[]) p, unnest(ARRAY[NULL, 10, 33.3]::numeric[]) c;
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound after all of them');
SELECT is_empty($$SELECT b.* FROM billing.account a, billing.bill_account(a.account_id, '2025-01-20') b WHERE NOT EXISTS (SELECT FROM billing.invoice i WHERE i.account_id = a.account_id AND i.billed_at > '2025-01-20')$$,
                'and a run finds nothing to write');

-- --- Invoices made outside, and claims --------------------------------------------------------------------
SELECT billing.create_account('Outside') AS out \gset
SELECT billing.record_external_invoice(:out, 'X-1', '2025-01-01', 119.01, 'EUR', tax_total => 19.01) AS ext \gset
SELECT is(pg_temp.sums(pg_temp.credit(:ext, 50)), '42.01 7.99', 'the tax of an invoice made outside is in proportion to what it says');
SELECT is(pg_temp.sums(pg_temp.credit(:ext)), '57.99 11.02', 'the rest of it too');
SELECT is((SELECT array_agg(DISTINCT nature) FROM billing.invoice_line WHERE account_id = :out), '{external}', 'it has no charges');
SELECT is((SELECT (status, amount_due)::text FROM billing.invoice WHERE id = :ext), '(paid,0.00)', 'it is settled');
SELECT billing_internal.lock_account(:out), billing_internal.write_claim(:out, :ext, '[{"kind":"interest","description":"Interest","amount":1.23},{"kind":"fixed_sum","description":"Costs of recovery","amount":40}]',
                                                                   '2025-02-01', 'late') AS claim \gset
SELECT is((SELECT (kind, status, number, net_total, tax_total, total, due_on, claims_invoice_id = :ext)::text FROM billing.invoice WHERE id = :claim),
          '(claim,open,CL-2025-000001,41.23,0.00,41.23,2025-02-15,t)', 'a claim is a document of its own, outside the scope of tax');
SELECT is((SELECT claim_series FROM billing.entity), 'acme-claim', 'its series is made with it');
SELECT is((SELECT array_agg((kind, amount, tax_category)::text ORDER BY line_no) FROM billing.invoice_line WHERE invoice_id = :claim), '{"(interest,1.23,O)","(fixed_sum,40.00,O)"}', 'with its lines');
SELECT is(billing.invoice_document(:claim)->>'claims_invoice_id', :'ext', 'which invoice it is for stands on the document');
SELECT is_empty('SELECT * FROM billing.verify_chain()', 'and is sealed');
SET LOCAL session_replication_role = replica;
ALTER TABLE billing.invoice_header DISABLE TRIGGER USER;
SAVEPOINT moved;
UPDATE billing.invoice_header SET claims_invoice_id = claims_invoice_id - 1 WHERE id = :claim;
SELECT is((SELECT series_code FROM billing.verify_chain()), 'acme-claim', 'the seal covers it');
ROLLBACK TO moved;
ALTER TABLE billing.invoice_header ENABLE ALWAYS TRIGGER invoice_header_immutable;
SET LOCAL session_replication_role = origin;
SELECT is(pg_temp.sums(pg_temp.credit(:claim, 1.23)), '1.23 0.00', 'a claim can be credited');
SELECT is((SELECT count(*) FROM billing.record_payment(:out, 40, 'EUR', effective_at => '2025-02-02')), 1::bigint, 'and paid');
SELECT is((SELECT status FROM billing.invoice WHERE id = :claim), 'paid', 'until nothing is due');
SELECT is((SELECT array_agg(type ORDER BY event_no) FROM billing.event WHERE account_id = :out AND type ~ 'issued'), '{credit_note.issued,credit_note.issued,claim.issued,credit_note.issued}', 'each with its event');

-- --- Dates: what corrects a document is not older than it -----------------------------------------------
SELECT billing.create_series('early', 'acme', 'E-{number}') \g /dev/null
SELECT billing.create_subscription(billing.create_account('Early', credit_note_series => 'early'), 'net', start_at => '2025-01-01') AS early \gset
SELECT billing.bill_account(:early >> 24, '2025-01-01') AS early_invoice \gset
SELECT billing.credit_invoice(:early_invoice, amount => 1, effective_at => '2015-01-02') \g /dev/null
SELECT is((SELECT array_agg(issued_on) FROM billing.invoice WHERE account_id = :early >> 24), '{2025-04-01,2025-04-01}', 'a credit note dated ten years before the invoice is of its day');
SELECT billing.bill_account(:early >> 24, '2025-02-01') AS early_invoice \gset
SELECT billing.void_invoice(:early_invoice, rebill => true, effective_at => '2015-01-02') AS note \gset
SELECT is((SELECT (n.issued_on, c.allocated_at::date)::text FROM billing.invoice n JOIN billing.credit_allocation c ON c.credit_note_id = n.id WHERE n.id = :note), '(2025-04-01,2025-04-01)', 'so is that of a void');

-- --- Refused ---------------------------------------------------------------------------------------------
INSERT INTO doc SELECT 'open', pg_temp.invoice('all');
INSERT INTO doc SELECT 'void', pg_temp.invoice('net');
SELECT billing.void_invoice(pg_temp.doc('void'), rebill => false, effective_at => '2025-01-02') AS note \gset
SELECT pg_temp.fails(format('SELECT billing.credit_invoice(%s, %s, effective_at => ''2025-01-06'')', coalesce(d.id, d.other), d.args), d.code, d.what)
  FROM (VALUES (pg_temp.doc('open'), NULL::bigint, 'amount => 1000', 'LB502', 'more than the invoice'),
               (pg_temp.doc('open'), NULL, 'amount => 0', 'LB501', 'nothing'),
               (pg_temp.doc('open'), NULL, 'amount => -1', 'LB501', 'a negative amount'),
               (pg_temp.doc('open'), NULL, 'amount => ''NaN''', 'LB501', 'not a number'),
               (pg_temp.doc('open'), NULL, 'amount => 0.001', 'LB501', 'a fraction of a cent'),
               (pg_temp.doc('open'), NULL, 'amount => 1, lines => ''[{"line_no":1}]''', 'LB208', 'amount and lines'),
               (pg_temp.doc('open'), NULL, 'lines => ''[]''', 'LB208', 'no lines'),
               (pg_temp.doc('open'), NULL, 'lines => ''{"line_no":1}''', 'LB208', 'an object for lines'),
               (pg_temp.doc('open'), NULL, 'lines => ''[{"line_no":9}]''', 'LB208', 'an unknown line'),
               (pg_temp.doc('open'), NULL, 'lines => ''[{"line_no":1},{"line_no":1}]''', 'LB208', 'a line twice'),
               (pg_temp.doc('open'), NULL, 'lines => ''[{"line_no":1,"amount":100.01}]''', 'LB502', 'more than the line'),
               (pg_temp.doc('open'), NULL, 'lines => ''[{"line_no":1,"amount":"NaN"}]''', 'LB208', 'a line''s amount that is none'),
               (pg_temp.doc('open'), NULL, 'lines => ''[{"line_no":1,"sum":1}]''', 'LB208', 'an unknown key'),
               (pg_temp.doc('open'), NULL, 'metadata => ''[]''', 'LB208', 'metadata that is no object'),
               (pg_temp.doc('net'), NULL, 'amount => 0.01', 'LB502', 'what is credited already'),
               (pg_temp.doc('void'), NULL, 'amount => 1', 'LB403', 'a void invoice'),
               (:note, NULL, 'amount => 1', 'LB403', 'a credit note'),
               (NULL, 16777216000, 'amount => 1', 'LB110', 'an unknown document')) d (id, other, args, code, what);
SELECT is(billing.credit_invoice(pg_temp.doc('open'), amount => 1, effective_at => '2025-01-06', idempotency_key => 'k1'),
          billing.credit_invoice(pg_temp.doc('open'), amount => 1, effective_at => '2025-01-06', idempotency_key => 'k1'), 'the same key: the same note');

SELECT * FROM finish();
ROLLBACK;
