-- Money at random: whatever is paid, set against invoices, taken back, refunded, charged back, credited and given up, the rows add
-- up after every step, and what becomes of an account does not depend on what others do in between.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(8);
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.set_payment_rules('acme', payment_tolerance => 0.75) \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('gauge', aggregation => 'last') \g /dev/null
SELECT billing.create_price('metered', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'gauge', scheme => '{"model":"per_unit","unit_amount":0.37}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"metered"}]') \g /dev/null

-- Cheap and repeatable numbers between 0 and 2^31 - 1.
CREATE FUNCTION pg_temp.dice(seed int, roll int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashint4extended(seed, roll) & 2147483647 $$;
-- One of the ids, or null where there is none.
CREATE FUNCTION pg_temp.pick(ids bigint[], die bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT ids[1 + die % nullif(cardinality(ids), 0)] $$;

-- Each life is lived twice: alone, step after step, and with those of all others in turn.  Dates of issue do not go back
-- in a series, so each has its own.
CREATE TEMP TABLE life (n int, way text, account bigint, subscription bigint);
INSERT INTO life
SELECT n, way, id >> 24, id FROM generate_series(1, 10) n, unnest(ARRAY['alone', 'together']) way,
       LATERAL billing.create_series(format('%s %s', way, n), 'acme', 'D-{number}') series,
       LATERAL billing.create_subscription(billing.create_account(way || ' ' || n, invoice_series => series, credit_note_series => series), 'team', start_at => '2024-01-01') id;
CREATE TEMP TABLE done (life int, way text, step int, act text, outcome text);

CREATE FUNCTION pg_temp.act(l pg_temp.life, step int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seed CONSTANT int := l.n * 1000 + step;
    at CONSTANT timestamptz := timestamptz '2024-01-02' + step * interval '6 days';
    -- what is told late
    past CONSTANT timestamptz := at - interval '1 day' * (pg_temp.dice(seed, 7) % 30);
    cents CONSTANT numeric := (1 + pg_temp.dice(seed, 1) % 6000) / 100::numeric(9,2);
    payment CONSTANT bigint := pg_temp.pick(ARRAY(SELECT p.id FROM billing.payment p WHERE p.account_id = l.account AND p.kind = 'payment' ORDER BY p.id), pg_temp.dice(seed, 2));
    document CONSTANT bigint := pg_temp.pick(ARRAY(SELECT h.id FROM billing.invoice_header h WHERE h.account_id = l.account ORDER BY h.id), pg_temp.dice(seed, 3));
    allocated CONSTANT bigint := pg_temp.pick(ARRAY(SELECT a.invoice_id FROM billing.payment_allocation a WHERE a.account_id = l.account AND a.payment_id = payment ORDER BY a.allocation_no), pg_temp.dice(seed, 3));
    credit CONSTANT bigint := pg_temp.pick(ARRAY(SELECT p.id FROM billing.payment p WHERE p.account_id = l.account AND p.kind = 'payment'
        AND p.amount_allocated + p.amount_refunded + p.amount_charged_back < p.amount ORDER BY p.id), pg_temp.dice(seed, 2));
    owed CONSTANT bigint := pg_temp.pick(ARRAY(SELECT i.id FROM billing.invoice i WHERE i.account_id = l.account AND i.amount_due > 0 ORDER BY i.id), pg_temp.dice(seed, 3));
    part CONSTANT numeric := CASE WHEN pg_temp.dice(seed, 4) % 3 > 0 THEN cents END;
    act CONSTANT text := (ARRAY['bill', 'bill', 'usage', 'usage', 'outside', 'pay', 'pay', 'pay', 'named', 'exact', 'short', 'allocate',
                                'deallocate', 'refund', 'chargeback', 'refund note', 'give up', 'credit', 'set off', 'take credit back'])[1 + pg_temp.dice(seed, 0) % 20];
    due numeric := (SELECT i.amount_due FROM billing.invoice i WHERE i.account_id = l.account AND i.id = document);
BEGIN
    CASE act
    WHEN 'bill' THEN PERFORM billing.bill_account(l.account, at);
    WHEN 'usage' THEN PERFORM billing.record_usage(l.subscription, 'gauge', quantity => pg_temp.dice(seed, 5) % 200, at => CASE WHEN pg_temp.dice(seed, 6) % 3 = 0 OR step < 11 THEN at ELSE date_trunc('month', at) - interval '1 month 1 hour' + step * interval '1 second' END, event_key => step::text);
    WHEN 'outside' THEN PERFORM billing.record_external_invoice(l.account, format('%s %s %s', l.way, l.n, step), at::date, cents, 'EUR');
    WHEN 'pay' THEN PERFORM billing.record_payment(l.account, cents * 2, 'EUR', effective_at => past,
        rules => (ARRAY[NULL, '{oldest}', '{pro_rata}', '{exact,pro_rata}', '{}', '{}', '{}', '{}'])[1 + pg_temp.dice(seed, 5) % 8]::text[]);
    WHEN 'named' THEN PERFORM billing.record_payment(l.account, cents, 'EUR', invoice_ids => ARRAY[document], effective_at => past);
    WHEN 'exact' THEN PERFORM billing.record_payment(l.account, due, 'EUR', effective_at => past);
    WHEN 'short' THEN PERFORM billing.record_payment(l.account, due - pg_temp.dice(seed, 5) % 100 / 100::numeric, 'EUR', invoice_ids => ARRAY[document], effective_at => past);
    WHEN 'allocate' THEN PERFORM billing.allocate_payment(credit, owed, amount => part, effective_at => past);
    WHEN 'deallocate' THEN PERFORM billing.deallocate_payment(payment, allocated, amount => part, effective_at => past);
    WHEN 'refund' THEN PERFORM billing.refund_payment(payment, amount => part, effective_at => past);
    WHEN 'chargeback' THEN PERFORM billing.charge_back_payment(payment, amount => part, effective_at => past);
    WHEN 'refund note' THEN PERFORM billing.refund_credit(i.id, amount => least(-i.amount_due, part), effective_at => at)
                               FROM billing.invoice i WHERE i.account_id = l.account AND i.kind = 'credit_note' AND i.amount_due < 0 ORDER BY i.id LIMIT 1;
    WHEN 'credit' THEN PERFORM billing.credit_invoice(document, amount => least(part, due + 20), effective_at => at);
    WHEN 'set off' THEN PERFORM billing.allocate_credit(pg_temp.pick(ARRAY(SELECT i.id FROM billing.invoice i WHERE i.account_id = l.account AND i.kind = 'credit_note' AND i.amount_due < 0 ORDER BY i.id), pg_temp.dice(seed, 2)), owed, amount => part, effective_at => past);
    WHEN 'take credit back' THEN PERFORM billing.deallocate_credit(c.credit_note_id, c.invoice_id, amount => least(part, c.amount), effective_at => past)
                                    FROM (SELECT a.credit_note_id, a.invoice_id, sum(a.amount) AS amount FROM billing.credit_allocation a WHERE a.account_id = l.account
                                           GROUP BY 1, 2 HAVING sum(a.amount) > 0 ORDER BY 1, 2 LIMIT 1) c;
    WHEN 'give up' THEN PERFORM billing.write_off_invoice(document, effective_at => at);
    END CASE;
    INSERT INTO pg_temp.done VALUES (l.n, l.way, step, act, 'done');
    RETURN NULL;
EXCEPTION WHEN SQLSTATE 'LB110' OR SQLSTATE 'LB403' OR SQLSTATE 'LB501' OR SQLSTATE 'LB502' OR null_value_not_allowed THEN -- nothing there, or not enough
    INSERT INTO pg_temp.done VALUES (l.n, l.way, step, act, SQLSTATE);
    RETURN NULL;
END $$;

-- What does not add up of an account; nothing: it does.
CREATE FUNCTION pg_temp.astray(account bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(x, '; ') FROM (
        SELECT format('invoice %s: paid %s, rows %s', h.id, h.amount_paid, a.amount) AS x
          FROM billing.invoice_header h, LATERAL (SELECT coalesce(sum(a.amount), 0) AS amount FROM billing.payment_allocation a WHERE a.account_id = h.account_id AND a.invoice_id = h.id) a
         WHERE h.account_id = $1 AND h.kind = 'invoice' AND h.amount_paid <> a.amount
        UNION ALL
        SELECT format('invoice %s: %s, due %s', i.id, i.status, i.amount_due) FROM billing.invoice i
         WHERE i.account_id = $1 AND i.kind = 'invoice' AND (i.amount_due < 0 OR i.amount_paid < 0 OR i.amount_credited < 0 OR (i.amount_due = 0) <> (i.status = 'paid'))
        UNION ALL
        SELECT format('payment %s: %s', p.id, p::text)
          FROM billing.payment p, LATERAL (SELECT coalesce(sum(a.amount), 0) AS amount FROM billing.payment_allocation a WHERE a.account_id = p.account_id AND a.payment_id = p.id) a,
               LATERAL (SELECT coalesce(sum(r.amount), 0) AS amount FROM billing.refund r WHERE r.account_id = p.account_id AND r.payment_id = p.id) r
         WHERE p.account_id = $1 AND (p.amount_allocated <> a.amount OR p.amount_refunded + p.amount_charged_back <> r.amount OR p.amount_allocated < 0
               OR p.amount_allocated + p.amount_refunded + p.amount_charged_back > p.amount)
        UNION ALL
        -- Money in is money out, on invoices or left.
        SELECT format('money: %s', m) FROM (
            SELECT (SELECT coalesce(sum(p.amount), 0) FROM billing.payment p WHERE p.account_id = $1 AND p.kind = 'payment')
                 - (SELECT coalesce(sum(r.amount), 0) FROM billing.refund r WHERE r.account_id = $1 AND r.payment_id IS NOT NULL)
                 - (SELECT coalesce(sum(h.amount_paid), 0) FROM billing.invoice_header h WHERE h.account_id = $1 AND h.kind = 'invoice')
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
          ARRAY['allocate', 'bill', 'chargeback', 'credit', 'deallocate', 'exact', 'give up', 'named', 'outside', 'pay', 'refund', 'refund note', 'set off', 'short', 'take credit back', 'usage'], 'each kind of step was done');
SELECT ok(ARRAY['tolerance', 'oldest', 'pro_rata', 'exact', 'named', 'by hand', 'refunded', 'charged back'] <@ array_agg(DISTINCT reason) AND (SELECT count(*) FROM billing.credit_allocation) > 0
          AND (SELECT count(*) FROM billing.write_off WHERE amount < 0) > 0 AND (SELECT count(*) FROM billing.refund WHERE credit_note_id IS NOT NULL) > 0, 'by every rule') FROM billing.payment_allocation;
SELECT is_empty($$SELECT a.n, s.* FROM pg_temp.life a JOIN pg_temp.life t ON t.n = a.n AND t.way = 'together', LATERAL
                  ((SELECT * FROM pg_temp.story(a.account) EXCEPT ALL SELECT * FROM pg_temp.story(t.account)) UNION ALL (SELECT * FROM pg_temp.story(t.account) EXCEPT ALL SELECT * FROM pg_temp.story(a.account))) s
                  WHERE a.way = 'alone'$$, 'what others do in between changes nothing');
SELECT is_empty('SELECT l.*, s.* FROM pg_temp.life l, pg_temp.astray_once(l.account) s', 'and so they do as of any instant');
-- The journal, day by day: no document owes less than nothing or more than it was for.
CREATE TEMP TABLE posted AS SELECT * FROM billing.journal;
SELECT is_empty($$SELECT * FROM (SELECT p.invoice_id, p.posted_on, sum(sum(p.debit - p.credit)) OVER (PARTITION BY p.invoice_id ORDER BY p.posted_on) AS open, i.total + i.rounding_amount AS total
                                   FROM pg_temp.posted p JOIN billing.invoice i ON i.id = p.invoice_id WHERE p.part = 'receivable' GROUP BY p.invoice_id, p.posted_on, i.total, i.rounding_amount) x
                  WHERE open NOT BETWEEN 0 AND total$$, 'nor as of any date, by the journal');
SELECT is_empty($$SELECT posted_on, sum(debit) - sum(credit) FROM pg_temp.posted GROUP BY posted_on, entity, currency HAVING sum(debit) <> sum(credit)$$, 'which balances every day');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
