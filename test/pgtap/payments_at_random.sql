-- Money at random: whatever is paid, collected, set against invoices, taken back, refunded, charged back, credited, voided and given up, the rows add
-- up after every step, and what becomes of an account does not depend on what others do in between.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(11);
SELECT billing.create_meter('gauge', aggregation => 'last') \g /dev/null
SELECT billing.create_retry_policy('days', '{1 day,3 days}') \g /dev/null

-- Cheap and repeatable numbers between 0 and 2^31 - 1.
CREATE FUNCTION pg_temp.dice(seed int, roll int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashint4extended(seed, roll) & 2147483647 $$;
-- One of the ids, or null where there is none.
CREATE FUNCTION pg_temp.pick(ids bigint[], die bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT ids[1 + die % nullif(cardinality(ids), 0)] $$;

-- Each life is lived twice: alone, step after step, and with those of all others in turn.  Dates of issue do not go back
-- in a series, so each has its own seller.  Currencies have two, no and three digits behind the point; unit: what an amount in
-- cents is multiplied by.
CREATE TEMP TABLE life (n int, way text, code text, currency text, unit numeric, account bigint, subscription bigint);
INSERT INTO life (n, way, code, currency, unit)
SELECT n, way, format('%s %s', way, n), (ARRAY['EUR', 'JPY', 'KWD'])[1 + n % 3], (ARRAY[1, 100, 0.1])[1 + n % 3] FROM generate_series(1, 10) n, unnest(ARRAY['alone', 'together']) way;
SELECT billing.create_entity(code, name => code, country => 'DE', currency => currency, time_zone => 'UTC'), billing.set_payment_rules(code, payment_tolerance => 0.75 * unit),
       billing.create_tax(code, entity => code, category => 'S', rate => 19),
       billing.create_price(code, currency => currency, every => '1 month', tax => code, meter => 'gauge', scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', 0.37 * unit)),
       billing.create_plan(code, items => jsonb_build_array(jsonb_build_object('price', code))) FROM life \g /dev/null
UPDATE life SET account = billing.create_account(code, entity => code);
UPDATE life SET subscription = billing.create_subscription(account, code, start_at => '2024-01-01');
SELECT billing.add_payment_method(account, 'card', provider => 'psp', token => 't') FROM life \g /dev/null
CREATE TEMP TABLE done (life int, way text, step int, act text, outcome text, account bigint, owed numeric);

CREATE FUNCTION pg_temp.act(l pg_temp.life, step int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seed CONSTANT int := l.n * 1000 + step;
    at CONSTANT timestamptz := timestamptz '2024-01-02' + step * interval '6 days';
    -- what is told late
    past CONSTANT timestamptz := at - interval '1 day' * (pg_temp.dice(seed, 7) % 30);
    cents CONSTANT numeric := trim_scale((1 + pg_temp.dice(seed, 1) % 6000) / 100::numeric(9,2) * l.unit);
    fee CONSTANT numeric := trim_scale(pg_temp.dice(seed, 5) % 300 / 100::numeric(9,2) * l.unit);
    payment CONSTANT bigint := pg_temp.pick(ARRAY(SELECT p.id FROM billing.payment p WHERE p.account_id = l.account AND p.kind = 'payment' ORDER BY p.id), pg_temp.dice(seed, 2));
    document CONSTANT bigint := pg_temp.pick(ARRAY(SELECT h.id FROM billing.invoice_header h WHERE h.account_id = l.account ORDER BY h.id), pg_temp.dice(seed, 3));
    allocated CONSTANT bigint := pg_temp.pick(ARRAY(SELECT a.invoice_id FROM billing.payment_allocation a WHERE a.account_id = l.account AND a.payment_id = payment ORDER BY a.allocation_no), pg_temp.dice(seed, 3));
    credit CONSTANT bigint := pg_temp.pick(ARRAY(SELECT p.id FROM billing.payment p WHERE p.account_id = l.account AND p.kind = 'payment'
        AND p.amount_allocated + p.amount_refunded + p.amount_charged_back < p.amount ORDER BY p.id), pg_temp.dice(seed, 2));
    owed CONSTANT bigint := pg_temp.pick(ARRAY(SELECT i.id FROM billing.invoice i WHERE i.account_id = l.account AND i.amount_due > 0 ORDER BY i.id), pg_temp.dice(seed, 3));
    part CONSTANT numeric := CASE WHEN pg_temp.dice(seed, 4) % 3 > 0 THEN cents END;
    act CONSTANT text := (ARRAY['bill', 'bill', 'usage', 'usage', 'outside', 'pay', 'pay', 'pay', 'named', 'exact', 'short', 'allocate',
                                'deallocate', 'refund', 'chargeback', 'refund note', 'give up', 'credit', 'set off', 'take credit back', 'void', 'credit line', 'collect', 'settle', 'settle'])[1 + pg_temp.dice(seed, 0) % 25];
    due CONSTANT numeric := (SELECT i.amount_due FROM billing.invoice i WHERE i.account_id = l.account AND i.id = document);
    payment_left CONSTANT numeric := (SELECT p.amount - p.amount_refunded - p.amount_charged_back FROM billing.payment p WHERE p.account_id = l.account AND p.id = payment);
    documents CONSTANT bigint[] := ARRAY(SELECT h.id FROM billing.invoice_header h WHERE h.account_id = l.account);
    pass_on CONSTANT boolean := pg_temp.dice(seed, 6) % 2 = 0;
    less CONSTANT numeric := trim_scale(pg_temp.dice(seed, 5) % 100 / 100::numeric * l.unit);
    -- The last collection that was tried, the last credit note that is not used up.
    tried billing.collection;
    note billing.refund; -- of which only these are used: the credit note and the amount
    attempt int;
    outcome CONSTANT text := (ARRAY['succeeded', 'declined', 'submitted', 'succeeded'])[1 + pg_temp.dice(seed, 9) % 4];
BEGIN
    CASE act
    WHEN 'bill' THEN PERFORM billing.bill_account(l.account, at);
    WHEN 'usage' THEN PERFORM billing.record_usage(l.subscription, 'gauge', quantity => pg_temp.dice(seed, 5) % 200, at => CASE WHEN pg_temp.dice(seed, 6) % 3 = 0 OR step < 11 THEN at ELSE date_trunc('month', at) - interval '1 month 1 hour' + step * interval '1 second' END, event_key => step::text);
    WHEN 'outside' THEN PERFORM billing.record_external_invoice(l.account, format('%s %s %s', l.way, l.n, step), at::date, cents, l.currency, tax_total => trunc(cents / 6, scale(cents)));
    WHEN 'pay' THEN PERFORM billing.record_payment(l.account, cents * 2, l.currency, effective_at => past,
        rules => (ARRAY[NULL, '{oldest}', '{pro_rata}', '{exact,pro_rata}', '{}', '{}', '{}', '{}'])[1 + pg_temp.dice(seed, 5) % 8]::text[]);
    WHEN 'named' THEN PERFORM billing.record_payment(l.account, cents, l.currency, invoice_ids => ARRAY[document], effective_at => past);
    WHEN 'exact' THEN PERFORM billing.record_payment(l.account, due, l.currency, effective_at => past);
    WHEN 'short' THEN PERFORM billing.record_payment(l.account, due - less, l.currency, invoice_ids => ARRAY[document], effective_at => past);
    WHEN 'allocate' THEN PERFORM billing.allocate_payment(credit, owed, amount => part, effective_at => past);
    WHEN 'deallocate' THEN PERFORM billing.deallocate_payment(payment, allocated, amount => part, effective_at => past);
    WHEN 'refund' THEN PERFORM billing.refund_payment(payment, amount => part, effective_at => past);
    WHEN 'chargeback' THEN PERFORM billing.charge_back_payment(payment, amount => part, fee => fee, pass_on => pass_on, effective_at => CASE WHEN fee > 0 THEN at ELSE past END);
    WHEN 'void' THEN PERFORM billing.void_invoice(document, rebill => pg_temp.dice(seed, 5) % 2 = 0, effective_at => at);
    WHEN 'credit line' THEN PERFORM billing.credit_invoice(document, lines => jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('line_no', 1, 'amount', part))), effective_at => at);
    WHEN 'collect' THEN PERFORM billing.collect_invoice(owed, 'days', effective_at => at);
    WHEN 'settle' THEN
        -- Claimed, perhaps for the second time: of the one before it may come in.
        PERFORM billing_internal.lock_account(l.account), billing_internal.claim_collection(c.account_id, c.id, 'w', '1 day', at)
           FROM billing.collection c WHERE c.account_id = l.account AND c.status IN ('waiting', 'claimed') AND pg_temp.dice(seed, 8) % 3 > 0;
        SELECT * INTO tried FROM billing.collection c WHERE c.account_id = l.account AND c.attempts > 0 ORDER BY c.id DESC LIMIT 1;
        attempt := greatest(tried.attempts - pg_temp.dice(seed, 10)::int % 3 / 2, 1);
        PERFORM billing.settle_collection(tried.id, outcome, reference => format('%s %s', tried.id, step), attempt_no => attempt, effective_at => at);
    WHEN 'refund note' THEN
        SELECT i.id, least(-i.amount_due, part) INTO note.credit_note_id, note.amount FROM billing.invoice i WHERE i.account_id = l.account AND i.kind = 'credit_note' AND i.amount_due < 0 ORDER BY i.id LIMIT 1;
        PERFORM billing.refund_credit(note.credit_note_id, amount => note.amount, effective_at => at);
    WHEN 'credit' THEN PERFORM billing.credit_invoice(document, amount => least(part, due + 20 * l.unit), effective_at => at);
    WHEN 'set off' THEN PERFORM billing.allocate_credit(pg_temp.pick(ARRAY(SELECT i.id FROM billing.invoice i WHERE i.account_id = l.account AND i.kind = 'credit_note' AND i.amount_due < 0 ORDER BY i.id), pg_temp.dice(seed, 2)), owed, amount => part, effective_at => past);
    WHEN 'take credit back' THEN PERFORM billing.deallocate_credit(c.credit_note_id, c.invoice_id, amount => least(part, c.amount), effective_at => past)
                                    FROM (SELECT a.credit_note_id, a.invoice_id, sum(a.amount) AS amount FROM billing.credit_allocation a WHERE a.account_id = l.account
                                           GROUP BY 1, 2 HAVING sum(a.amount) > 0 ORDER BY 1, 2 LIMIT 1) c;
    WHEN 'give up' THEN PERFORM billing.write_off_invoice(document, effective_at => at);
    END CASE;
    INSERT INTO pg_temp.done VALUES (l.n, l.way, step, act, 'done', l.account, CASE act
        WHEN 'outside' THEN cents WHEN 'pay' THEN -2 * cents WHEN 'named' THEN - cents WHEN 'exact' THEN - due WHEN 'short' THEN less - due
        WHEN 'refund' THEN coalesce(part, payment_left) WHEN 'chargeback' THEN coalesce(part, payment_left) + CASE WHEN pass_on THEN fee ELSE 0 END
        WHEN 'refund note' THEN note.amount WHEN 'void' THEN - (SELECT h.total + h.rounding_amount FROM billing.invoice_header h WHERE h.id = document)
        WHEN 'settle' THEN CASE WHEN outcome = 'succeeded' THEN - (SELECT t.amount FROM billing.collection_attempt t WHERE t.collection_id = tried.id AND t.attempt_no = attempt) ELSE 0 END
        ELSE (SELECT coalesce(sum((h.total + h.rounding_amount) * CASE h.kind WHEN 'credit_note' THEN -1 ELSE 1 END), 0) FROM billing.invoice_header h WHERE h.account_id = l.account AND h.id <> ALL (documents)) END);
    RETURN NULL;
EXCEPTION WHEN SQLSTATE 'LB110' OR SQLSTATE 'LB403' OR SQLSTATE 'LB404' OR SQLSTATE 'LB501' OR SQLSTATE 'LB502' OR SQLSTATE 'LB508' OR null_value_not_allowed THEN -- nothing there, or not enough
    INSERT INTO pg_temp.done VALUES (l.n, l.way, step, act, SQLSTATE);
    RETURN NULL;
END $$;

-- What does not add up of an account; nothing: it does.
CREATE FUNCTION pg_temp.astray(account bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(x, '; ') FROM (
        SELECT format('invoice %s: paid %s, rows %s', h.id, h.amount_paid, a.amount) AS x
          FROM billing.invoice_header h, LATERAL (SELECT coalesce(sum(a.amount), 0) AS amount FROM billing.payment_allocation a WHERE a.account_id = h.account_id AND a.invoice_id = h.id) a
         WHERE h.account_id = $1 AND h.kind <> 'credit_note' AND h.amount_paid <> a.amount
        UNION ALL
        SELECT format('invoice %s: %s, due %s', i.id, i.status, i.amount_due) FROM billing.invoice i
         WHERE i.account_id = $1 AND i.kind <> 'credit_note' AND i.status <> 'void' AND (i.amount_due < 0 OR i.amount_paid < 0 OR i.amount_credited < 0 OR (i.amount_due = 0) <> (i.status = 'paid'))
        UNION ALL
        SELECT format('payment %s: %s', p.id, p::text)
          FROM billing.payment p, LATERAL (SELECT coalesce(sum(a.amount), 0) AS amount FROM billing.payment_allocation a WHERE a.account_id = p.account_id AND a.payment_id = p.id) a,
               LATERAL (SELECT coalesce(sum(r.amount), 0) AS amount FROM billing.refund r WHERE r.account_id = p.account_id AND r.payment_id = p.id) r
         WHERE p.account_id = $1 AND (p.amount_allocated <> a.amount OR p.amount_refunded + p.amount_charged_back <> r.amount OR p.amount_allocated < 0
               OR p.amount_allocated + p.amount_refunded + p.amount_charged_back > p.amount)
        UNION ALL
        -- What every step said of the account alone, without regard to which document or payment it met.
        SELECT format('owed: %s, by the steps %s', o.owed, d.owed)
          FROM (SELECT (SELECT coalesce(sum(i.amount_due), 0) FROM billing.invoice i WHERE i.account_id = $1)
                     - (SELECT coalesce(sum(p.amount - p.amount_allocated - p.amount_refunded - p.amount_charged_back), 0) FROM billing.payment p WHERE p.account_id = $1 AND p.kind = 'payment')
                     + (SELECT coalesce(sum(p.amount_allocated), 0) FROM billing.payment p WHERE p.account_id = $1 AND p.kind = 'write_off') AS owed) o,
               (SELECT coalesce(sum(d.owed), 0) AS owed FROM pg_temp.done d WHERE d.account = $1) d
         WHERE o.owed <> d.owed
        UNION ALL
        -- Money in is money out, on invoices or left.
        SELECT format('money: %s', m) FROM (
            SELECT (SELECT coalesce(sum(p.amount), 0) FROM billing.payment p WHERE p.account_id = $1 AND p.kind = 'payment')
                 - (SELECT coalesce(sum(r.amount), 0) FROM billing.refund r WHERE r.account_id = $1 AND r.payment_id IS NOT NULL)
                 - (SELECT coalesce(sum(h.amount_paid), 0) FROM billing.invoice_header h WHERE h.account_id = $1 AND h.kind <> 'credit_note')
                 + (SELECT coalesce(sum(p.amount_allocated), 0) FROM billing.payment p WHERE p.account_id = $1 AND p.kind = 'write_off')
                 - (SELECT coalesce(sum(p.amount - p.amount_allocated - p.amount_refunded - p.amount_charged_back), 0) FROM billing.payment p WHERE p.account_id = $1 AND p.kind = 'payment') AS m) s WHERE m <> 0) y $$;

-- Allocations of an account by which an invoice or payment had at some instant more than there was, or less than nothing.
CREATE FUNCTION pg_temp.astray_once(account bigint) RETURNS TABLE (id bigint, at timestamptz, amount numeric) LANGUAGE sql AS $$
    SELECT x.id, x.at, x.running FROM (
        SELECT s.id, s.limit_, s.at, sum(s.amount) OVER (PARTITION BY s.id ORDER BY s.at) AS running
          FROM (SELECT a.invoice_id AS id, h.total + h.rounding_amount AS limit_, a.allocated_at AS at, a.amount
                  FROM billing.payment_allocation a JOIN billing.invoice_header h ON h.id = a.invoice_id WHERE a.account_id = $1
                UNION ALL
                SELECT c.invoice_id, h.total + h.rounding_amount, c.allocated_at, c.amount FROM billing.credit_allocation c JOIN billing.invoice_header h ON h.id = c.invoice_id WHERE c.account_id = $1
                UNION ALL
                SELECT a.payment_id, p.amount, a.allocated_at, a.amount FROM billing.payment_allocation a JOIN billing.payment p ON p.id = a.payment_id WHERE a.account_id = $1) s) x
     WHERE x.running < 0 OR x.running > x.limit_ $$;
-- What became of an account, told without ids.
CREATE FUNCTION pg_temp.story(account bigint) RETURNS TABLE (story text) LANGUAGE sql AS $$
    WITH place AS (SELECT h.id, row_number() OVER (ORDER BY h.id) AS n FROM billing.invoice_header h WHERE h.account_id = $1)
    SELECT format('%s %s %s %s %s %s', p.n, h.kind, h.status, h.total, h.amount_paid, h.amount_credited) FROM billing.invoice_header h JOIN place p ON p.id = h.id WHERE h.account_id = $1
    UNION ALL
    SELECT format('%s: %s %s %s', d.n, p.n, a.amount, a.reason) FROM (SELECT x.*, dense_rank() OVER (ORDER BY x.payment_id) AS n FROM billing.payment_allocation x WHERE x.account_id = $1) d
      JOIN billing.payment_allocation a ON (a.account_id, a.payment_id, a.allocation_no) = (d.account_id, d.payment_id, d.allocation_no) JOIN place p ON p.id = a.invoice_id
    UNION ALL
    SELECT format('event %s %s %s', e.event_no, e.type, p.n) FROM billing.event e LEFT JOIN place p ON p.id = e.invoice_id WHERE e.account_id = $1 AND e.type ~ '^(invoice|payment|credit)' $$;

CREATE TEMP TABLE broken (life int, way text, step int, what text);
DO $$
DECLARE
    l pg_temp.life;
    s int;
    what text;
BEGIN
    FOR l IN SELECT * FROM pg_temp.life WHERE way = 'alone' ORDER BY n LOOP
        FOR s IN 1 .. 70 LOOP
            PERFORM pg_temp.act(l, s);
            what := pg_temp.astray(l.account);
            IF what IS NOT NULL THEN INSERT INTO pg_temp.broken VALUES (l.n, l.way, s, what); EXIT; END IF;
        END LOOP;
    END LOOP;
    FOR s IN 1 .. 70 LOOP
        FOR l IN SELECT * FROM pg_temp.life WHERE way = 'together' ORDER BY pg_temp.dice(n, s) LOOP
            PERFORM pg_temp.act(l, s);
        END LOOP;
    END LOOP;
END $$;
SELECT is_empty('SELECT * FROM pg_temp.broken', 'after every step the rows add up');
SELECT is((SELECT array_agg(DISTINCT act) FROM pg_temp.done WHERE outcome = 'done'),
          ARRAY['allocate', 'bill', 'chargeback', 'collect', 'credit', 'credit line', 'deallocate', 'exact', 'give up', 'named', 'outside', 'pay', 'refund', 'refund note', 'set off', 'settle', 'short', 'take credit back', 'usage', 'void'], 'each kind of step was done');
SELECT ok(ARRAY['tolerance', 'oldest', 'pro_rata', 'exact', 'named', 'by hand', 'refunded', 'charged back'] <@ array_agg(DISTINCT reason) AND (SELECT count(*) FROM billing.credit_allocation) > 0
          AND (SELECT count(*) FROM billing.write_off WHERE amount < 0) > 0 AND (SELECT count(*) FROM billing.refund WHERE credit_note_id IS NOT NULL) > 0, 'by every rule') FROM billing.payment_allocation;
SELECT is_empty($$SELECT a.n, s.* FROM pg_temp.life a JOIN pg_temp.life t ON t.n = a.n AND t.way = 'together', LATERAL
                  ((SELECT * FROM pg_temp.story(a.account) EXCEPT ALL SELECT * FROM pg_temp.story(t.account)) UNION ALL (SELECT * FROM pg_temp.story(t.account) EXCEPT ALL SELECT * FROM pg_temp.story(a.account))) s
                  WHERE a.way = 'alone'$$, 'what others do in between changes nothing');
SELECT is_empty('SELECT l.*, s.* FROM pg_temp.life l, pg_temp.astray_once(l.account) s', 'and so they do as of any instant');
-- The journal, day by day: no document owes less than nothing or more than it was for.
INSERT INTO billing.posting_rule VALUES ('write_off', 'tax', '', '2200');
CREATE TEMP TABLE posted AS SELECT * FROM billing.journal;
SELECT is_empty($$SELECT * FROM (SELECT p.invoice_id, p.posted_on, sum(sum(p.debit - p.credit)) OVER (PARTITION BY p.invoice_id ORDER BY p.posted_on) AS open, i.total + i.rounding_amount AS total
                                   FROM pg_temp.posted p JOIN billing.invoice i ON i.id = p.invoice_id WHERE p.part = 'receivable' GROUP BY p.invoice_id, p.posted_on, i.total, i.rounding_amount) x
                  WHERE open NOT BETWEEN 0 AND total$$, 'nor as of any date, by the journal');
SELECT is_empty($$SELECT * FROM (SELECT p.account_id, p.posted_on, sum(sum(p.credit - p.debit)) OVER (PARTITION BY p.account_id ORDER BY p.posted_on) AS amount_left
                                   FROM pg_temp.posted p WHERE p.part = 'customer_credit' GROUP BY p.account_id, p.posted_on) x WHERE amount_left < 0$$, 'nor has a customer less than nothing left');
SELECT is_empty($$SELECT posted_on, sum(debit) - sum(credit) FROM pg_temp.posted GROUP BY posted_on, entity, currency HAVING sum(debit) <> sum(credit)$$, 'which balances every day');
SELECT is_empty($$SELECT p.invoice_id, sum(p.debit - p.credit) FROM pg_temp.posted p JOIN billing.invoice i ON i.id = p.invoice_id
                  WHERE p.source IN ('write_off', 'recovery') AND i.status <> 'uncollectible' GROUP BY p.invoice_id, p.part HAVING sum(p.debit - p.credit) <> 0$$, 'what was given up and came in leaves nothing, nor tax');
SELECT cmp_ok((SELECT count(*) FROM pg_temp.posted WHERE source = 'write_off' AND part = 'tax'), '>', 0::bigint, 'though tax was posted');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
