-- Path independence (doc/rules.md P8): whatever the order and the dates of runs, a life cycle ends with the same
-- charges per key as the same life cycle billed once at the end.
--
-- Each cycle is played on two accounts: one is billed at random moments, also going backwards, with corrections
-- invoiced at once or with the next invoice, and voided now and then; the other gets the same edits and one run.
-- Edits fit the item that they change, fall together with others or with a cycle's start now and then, and choose
-- from few quantities, so that terms return.
\set ON_ERROR_STOP on
SET billing.max_future = '100000d';
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT no_plan();

-- The number of life cycles may be raised: psql -v or PGOPTIONS="-c test.cycles=2000".
SELECT set_config('test.cycles', coalesce(nullif(current_setting('test.cycles', true), ''), '250'), false) \g /dev/null
SELECT setseed(0.42) \g /dev/null

SELECT billing.create_entity('acme', name => 'Acme', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('use') \g /dev/null
-- One price per timing and pair of sides, two amounts each, so that one may succeed the other.
SELECT billing.create_price(format('%s-%s-%s-%s', t, c, r, a), currency => 'EUR', every => '1 month', timing => t, tax => 'vat',
                            proration_charge => c, proration_credit => r,
                            scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', a))
  FROM unnest(ARRAY['advance', 'arrears']) t,
       (VALUES ('day', 'day'), ('second', 'second'), ('30/360', '30/360'), ('none', 'none'), ('full', 'full'),
               ('none', 'full'), ('full', 'none'), ('day', 'none'), ('none', 'day'), ('full', 'second')) s (c, r),
       unnest(ARRAY[9.99, 17.03]) a \g /dev/null
SELECT billing.create_price(format('advance-incl-day-%s', a), currency => 'EUR', every => '1 month', tax => 'vat', tax_inclusive => true,
                            scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', a))
  FROM unnest(ARRAY[9.99, 17.03]) a \g /dev/null
SELECT billing.create_price('use' || free, currency => 'EUR', every => '1 month', tax => 'vat', meter => 'use',
    scheme => jsonb_build_object('free_quantity', free) ||
              '{"model":"volume","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":null,"unit_amount":0.80}]}')
  FROM unnest(ARRAY[0, 2]) free \g /dev/null
SELECT billing.create_price('year-' || side, currency => 'EUR', every => '1 year', tax => 'vat', proration_charge => side, proration_credit => side,
                            scheme => '{"model":"per_unit","unit_amount":100}')
  FROM unnest(ARRAY['day', 'full']) side \g /dev/null
SELECT billing.create_plan('base', items => '[{"price":"use0"},{"price":"year-day","optional":true}]') \g /dev/null

CREATE TABLE seen (what text PRIMARY KEY, times int NOT NULL);
CREATE TABLE failure (cycle int, what text, detail text);

CREATE FUNCTION saw(what text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO seen VALUES (what, 1) ON CONFLICT (what) DO UPDATE SET times = seen.times + 1 $$;

CREATE FUNCTION pick(choices text[]) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT choices[1 + floor(random() * cardinality(choices))::int] $$;

CREATE FUNCTION instant(span int) RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT '2026-01-05 00:00+01'::timestamptz + floor(random() * span * 24) * interval '1 hour' $$;

-- The n-th item of an account's only subscription.
CREATE FUNCTION item(account bigint, n int) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT id FROM billing.subscription_item WHERE account_id = account ORDER BY id OFFSET n - 1 LIMIT 1 $$;

-- One edit; the same call with the same arguments on both accounts.
CREATE FUNCTION edit(account bigint, e jsonb, invoice_now boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    s bigint := (SELECT id FROM billing.subscription WHERE account_id = account);
    at timestamptz := (e->>'at')::timestamptz;
    period_end boolean := (e->>'at_period_end')::boolean;
BEGIN
    CASE e->>'verb'
        WHEN 'quantity' THEN PERFORM billing.change_item(item(account, (e->>'item')::int), quantity => (e->>'quantity')::numeric,
            effective_at => at, at_period_end => period_end, invoice_now => invoice_now);
        WHEN 'price' THEN PERFORM billing.change_item(item(account, (e->>'item')::int), price => e->>'price',
            effective_at => at, at_period_end => period_end, invoice_now => invoice_now);
        WHEN 'add' THEN PERFORM billing.add_item(s, e->>'price', quantity => (e->>'quantity')::numeric,
            effective_at => at, at_period_end => period_end, invoice_now => invoice_now);
        WHEN 'end' THEN PERFORM billing.end_item(item(account, (e->>'item')::int), effective_at => at, at_period_end => period_end,
            invoice_now => invoice_now);
        WHEN 'cancel' THEN PERFORM billing.cancel_subscription(s, effective_at => at, at_period_end => period_end, invoice_now => invoice_now);
        WHEN 'undo' THEN PERFORM billing.undo_cancellation(s, effective_at => '2026-01-01');
        WHEN 'usage' THEN PERFORM billing.record_usage(s, 'use', e->>'key', quantity => (e->>'quantity')::numeric, at => at);
    END CASE;
    RETURN '';
EXCEPTION WHEN SQLSTATE 'LB303' OR SQLSTATE 'LB207' OR SQLSTATE 'LB302' OR SQLSTATE 'LB114' OR SQLSTATE '22004' THEN
    RETURN SQLSTATE;
END $$;

-- Voids an invoice so that it is billed again, unless a later document corrects it.
CREATE FUNCTION try_void(invoice bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM billing.void_invoice(invoice, true, effective_at => '2026-12-31');
    RETURN 'void with rebill';
EXCEPTION WHEN SQLSTATE 'LB404' THEN
    RETURN 'void refused';
END $$;

-- Finishes a draft before its time, unless nothing is left to charge on it.
CREATE FUNCTION try_finalize(draft bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM billing.finalize_invoice(draft, '2026-12-31');
    RETURN 'finalized early';
EXCEPTION WHEN SQLSTATE 'LB403' THEN
    RETURN 'nothing to finalize';
END $$;

-- An instant of an edit: any, that of another edit, or the start of a cycle.
CREATE FUNCTION edit_instant(account bigint, span int) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    kind float := random();
    result timestamptz;
BEGIN
    IF kind < 0.15 THEN
        SELECT valid_from INTO result FROM billing.item_version WHERE account_id = account ORDER BY random() LIMIT 1;
        PERFORM saw('with another edit');
    ELSIF kind < 0.3 THEN
        SELECT lower(billing.nth_period(anchor, every, floor(random() * 7)::int, time_zone, billing_day)) INTO result
          FROM billing.schedule_version WHERE account_id = account;
        PERFORM saw('at a cycle''s start');
    END IF;
    RETURN coalesce(result, instant(span));
END $$;

-- An edit that fits the timeline of the account; most succeed.
CREATE FUNCTION random_edit(account bigint, n int, span int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    verb text := pick(ARRAY['quantity', 'quantity', 'quantity', 'price', 'price', 'price', 'add', 'add', 'end', 'cancel', 'undo', 'usage', 'usage', 'usage']);
    at timestamptz := edit_instant(account, span);
    chosen record;
    price text;
BEGIN
    SELECT i.n, i.price INTO chosen
      FROM (SELECT row_number() OVER (ORDER BY s.id) AS n, s.start_at, v.price
              FROM billing.subscription_item s JOIN billing.item_version v ON v.account_id = s.account_id AND v.item_id = s.id AND v.version = 1
             WHERE s.account_id = account) i
     WHERE verb <> 'quantity' OR i.price NOT LIKE 'use%' ORDER BY at < i.start_at, random() LIMIT 1;
    SELECT p.code INTO price FROM billing.price p JOIN billing.price q ON q.code = chosen.price
     WHERE verb = 'add' OR (p.every, p.timing) = (q.every, q.timing) AND p.meter IS NOT DISTINCT FROM q.meter ORDER BY random() LIMIT 1;
    RETURN jsonb_build_object('verb', verb, 'item', chosen.n, 'quantity', CASE WHEN verb = 'usage' OR price NOT LIKE 'use%' THEN floor(random() * 4)::int END,
        'key', 'e' || n, 'price', price, 'at', at, 'at_period_end', random() < 0.2);
END $$;

-- Charges per key: the item's place, its kind and period, and what is live.
CREATE FUNCTION keys(account bigint) RETURNS TABLE (item bigint, kind text, period_no bigint, amount numeric)
LANGUAGE sql STABLE AS $$
    SELECT i.n, l.kind, l.period_no, sum(CASE WHEN h.kind = 'credit_note' THEN -l.amount ELSE l.amount END)
      FROM billing.invoice_line l
      JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
      JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM billing.subscription_item WHERE account_id = account) i ON i.id = l.item_id
     WHERE l.account_id = account AND l.nature IN ('charge', 'correction')
     GROUP BY 1, 2, 3 HAVING sum(CASE WHEN h.kind = 'credit_note' THEN -l.amount ELSE l.amount END) <> 0 $$;

-- What changes inside a cycle make waits for the next regular invoice: of an account billed once, no document lies
-- inside a cycle where a regular one of something live follows within a month of it.
CREATE FUNCTION misplaced(cycle int, account bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO failure
    SELECT cycle, 'a change does not wait for the next invoice', format('%s before %s', h.billed_at, later.billed_at)
      FROM billing.invoice_header h JOIN billing.subscription s USING (account_id) JOIN billing.schedule_version v USING (account_id)
      JOIN LATERAL (SELECT x.billed_at FROM billing.invoice_header x JOIN billing.invoice_line l ON l.account_id = x.account_id AND l.invoice_id = x.id
                      JOIN billing.subscription_item i ON i.account_id = l.account_id AND i.id = l.item_id
                     WHERE x.account_id = account AND l.nature = 'charge' AND x.billed_at > h.billed_at AND x.billed_at <= h.billed_at + interval '1 month'
                       AND (l.period_start = x.billed_at OR l.period_end = x.billed_at) AND x.billed_at <= coalesce(least(i.end_at, s.end_at, s.canceled_at), 'infinity')
                       AND x.billed_at = lower(billing.nth_period(v.anchor, v.every, billing_internal.period_at(v.anchor, v.every, v.time_zone,
                                               v.billing_day, x.billed_at), v.time_zone, v.billing_day)) LIMIT 1) later ON true
     WHERE h.account_id = account AND h.billed_at <> s.start_at
       AND h.billed_at <> lower(billing.nth_period(v.anchor, v.every, billing_internal.period_at(v.anchor, v.every, v.time_zone,
                                                   v.billing_day, h.billed_at), v.time_zone, v.billing_day)) $$;

CREATE FUNCTION life_cycle(cycle int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    span CONSTANT int := 200;
    horizon CONSTANT timestamptz := '2027-06-01 00:00+02';
    a bigint := billing.create_account('A');
    b bigint := billing.create_account('B');
    start_at timestamptz := instant(40);
    day int := CASE WHEN random() < 0.4 THEN 1 + floor(random() * 31)::int END;
    items jsonb := jsonb_build_array(jsonb_build_object('price', format('%s-%s-9.99', pick(ARRAY['advance', 'arrears']),
        pick(ARRAY['day-day', 'second-second', '30/360-30/360', 'none-none', 'full-full', 'none-full', 'full-none'])), 'quantity', 1 + floor(random() * 5)::int));
    first text := pick(ARRAY['prorate', 'prorate', 'free', 'full']);
    e jsonb;
    note text;
    documents bigint;
    invoice bigint;
    line text;
BEGIN
    -- Drafts that wait, finished early, late or in the last run, and documents by subscription change no charge.
    UPDATE billing.account SET grace_period = CASE WHEN random() < 0.4 THEN pick(ARRAY['1 day', '9 days', '40 days', '1 mon 2 days 03:00'])::interval END,
           invoice_grouping = pick(ARRAY['account', 'subscription']) WHERE account_id = a;
    IF random() < 0.3 THEN items := items || jsonb_build_array(jsonb_build_object('price', 'year-' || pick(ARRAY['day', 'full']))); PERFORM saw('yearly item'); END IF;
    PERFORM billing.create_subscription(x, 'base', start_at => start_at, items => items, billing_day => day, first_period => first)
       FROM unnest(ARRAY[a, b]) x;
    PERFORM saw('first period ' || first), saw(CASE WHEN day IS NULL THEN 'anchored' ELSE 'billing day' END);
    FOR n IN 1 .. 3 + floor(random() * 9)::int LOOP
        IF random() < 0.6 THEN
            PERFORM billing.bill_account(a, instant(span + 40));
            PERFORM saw('run');
            IF NOT EXISTS (SELECT FROM billing.invoice_header h WHERE h.account_id = a AND h.status = 'draft')
               AND EXISTS (SELECT FROM billing.bill_account(a, least(instant(10), coalesce((SELECT s.billed_through FROM billing.account_state s WHERE s.account_id = a), '2026-01-01')))) THEN
                INSERT INTO failure VALUES (cycle, 'a run that goes back writes something', n::text);
            END IF;
        END IF;
        e := random_edit(a, n, span);
        note := edit(a, e, random() < 0.25);
        IF note IS DISTINCT FROM edit(b, e, false) THEN
            INSERT INTO failure VALUES (cycle, 'the verb fails on one account only', e::text);
        END IF;
        PERFORM saw(CASE WHEN note = '' THEN e->>'verb' ELSE 'refused' END);
        SELECT h.id INTO invoice FROM billing.invoice_header h WHERE h.account_id = a AND h.status = 'draft' ORDER BY random() LIMIT 1;
        IF FOUND THEN
            PERFORM saw('draft');
            IF random() < 0.3 THEN PERFORM saw(try_finalize(invoice)); END IF;
        END IF;
        IF random() < 0.1 THEN
            SELECT h.id INTO invoice FROM billing.invoice_header h
             WHERE h.account_id = a AND h.kind = 'invoice' AND h.status IN ('open', 'paid')
             ORDER BY random() LIMIT 1;
            IF FOUND THEN
                PERFORM saw(try_void(invoice));
            END IF;
        END IF;
    END LOOP;
    UPDATE billing.account SET grace_period = NULL WHERE account_id = a;
    PERFORM billing.bill_account(x, horizon) FROM unnest(ARRAY[a, b]) x;
    PERFORM misplaced(cycle, b);
    SELECT string_agg(format('item %s %s %s: %s, once %s', coalesce(x.item, y.item), coalesce(x.kind, y.kind), coalesce(x.period_no, y.period_no),
           x.amount, y.amount), '; ') INTO line
      FROM keys(a) x FULL JOIN keys(b) y USING (item, kind, period_no) WHERE x.amount IS DISTINCT FROM y.amount;
    IF line IS NOT NULL THEN INSERT INTO failure VALUES (cycle, 'other charges than in one run', line); END IF;
    SELECT count(*) INTO documents FROM billing.invoice_header WHERE account_id = a;
    IF EXISTS (SELECT FROM billing.bill_account(a, horizon)) OR EXISTS (SELECT FROM billing.bill_account(a, horizon - interval '100 days')) THEN
        INSERT INTO failure VALUES (cycle, 'a further run writes something', (SELECT count(*) - documents FROM billing.invoice_header WHERE account_id = a)::text);
    END IF;
    INSERT INTO failure
    SELECT cycle, 'kept + credited <> charged', format('%s from %s', c.item_id, c.period_start)
      FROM (SELECT c.item_id, c.kind, c.period_no, min(c.period_start) AS period_start, sum(c.amount) AS live
              FROM (SELECT DISTINCT ON (item_id, kind, period_start) * FROM billing.charge WHERE account_id = a
                     ORDER BY item_id, kind, period_start, revision DESC) c GROUP BY 1, 2, 3) c
      LEFT JOIN (SELECT l.item_id, l.kind, l.period_no, sum(CASE WHEN h.kind = 'credit_note' THEN -l.amount ELSE l.amount END) AS charged
              FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
             WHERE l.account_id = a GROUP BY 1, 2, 3) l USING (item_id, kind, period_no)
     WHERE c.live IS DISTINCT FROM l.charged;
    INSERT INTO failure
    SELECT cycle, 'tax beyond the bound', format('%s and %s', x.tax, y.tax)
      FROM (SELECT sum(CASE WHEN h.kind = 'credit_note' THEN -t.tax_amount ELSE t.tax_amount END) AS tax, count(*) AS n
              FROM billing.invoice_tax t JOIN billing.invoice_header h ON h.account_id = t.account_id AND h.id = t.invoice_id WHERE t.account_id = a) x,
           (SELECT sum(CASE WHEN h.kind = 'credit_note' THEN -t.tax_amount ELSE t.tax_amount END) AS tax, count(*) AS n
              FROM billing.invoice_tax t JOIN billing.invoice_header h ON h.account_id = t.account_id AND h.id = t.invoice_id WHERE t.account_id = b) y
     WHERE abs(coalesce(x.tax, 0) - coalesce(y.tax, 0)) > 0.005 * (x.n + y.n);
END $$;

DO $$
BEGIN
    FOR i IN 1 .. current_setting('test.cycles')::int LOOP
        BEGIN
            PERFORM life_cycle(i);
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO failure VALUES (i, 'error ' || SQLSTATE, SQLERRM);
        END;
    END LOOP;
END $$;

SELECT is((SELECT count(*) FROM failure), 0::bigint, format('%s random life cycles end as if billed once', current_setting('test.cycles')));
SELECT diag(format('cycle %s: %s: %s', cycle, what, left(detail, 300))) FROM failure ORDER BY cycle LIMIT 15;
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound, every charge computed again');
SELECT diag(string_agg(format('%s %s', what, times), ', ' ORDER BY what)) FROM seen;
SELECT ok(times > 0, 'the generator made: ' || w) FROM unnest(ARRAY['quantity', 'price', 'add', 'end', 'cancel', 'undo', 'usage', 'run',
    'draft', 'finalized early', 'void with rebill', 'refused', 'with another edit', 'at a cycle''s start', 'first period free', 'first period full', 'billing day', 'anchored', 'yearly item']) w LEFT JOIN seen ON what = w;
SELECT * FROM finish();
