-- Previews say what happens then: of any change, of the next invoices, of a year (doc/rules.md 4 and 5).
--
-- Lives are drawn as for path_independence.sql; each change that a plan is there for is foreseen, then made and billed.
-- Settings: test.lives how many, test.seed which.
\set ON_ERROR_STOP on
SET billing.max_future = '100000d';
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT no_plan();

\ir include/life_catalog.psql
\set ON_ERROR_STOP off
\ir include/life_plans.psql
\set ON_ERROR_STOP on
\ir include/life_verbs.psql
\ir include/life_play.psql
\ir include/life_draw.psql
DELETE FROM verb v WHERE NOT EXISTS (SELECT FROM pg_proc p WHERE p.proname = v.call AND p.pronamespace = 'billing'::regnamespace);

-- The lines of a preview, and those of documents made since an ordinal, as text.
CREATE TYPE document_line AS (kind text, billed_at timestamptz, nature text, subscription_id bigint, item_id bigint, price text, quantity numeric, unit_amount numeric,
                     amount numeric, net_amount numeric, tax_rate numeric, period_start timestamptz, period_end timestamptz, total numeric);
CREATE FUNCTION written(account bigint, ordinal int) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(string_agg(x::text, E'\n' ORDER BY x::text), '')
      FROM (SELECT (h.kind, h.billed_at, l.nature, l.subscription_id, l.item_id, l.price, l.quantity, l.unit_amount, l.amount, l.net_amount, l.tax_rate, l.period_start, l.period_end, h.total)::document_line AS x
              FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id
             WHERE h.account_id = account AND h.id & 16777215 > ordinal) x $$;
CREATE FUNCTION foreseen(subscription bigint, change jsonb, at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(string_agg(x::text, E'\n' ORDER BY x::text), '')
      FROM (SELECT (p.kind, p.billed_at, p.nature, p.subscription_id, p.item_id, p.price, p.quantity, p.unit_amount, p.amount, p.net_amount, p.tax_rate, p.period_start, p.period_end, p.total)::document_line AS x
              FROM billing.preview_change(subscription, change, at) p) x $$;
CREATE FUNCTION asked_for(account bigint, ordinal int) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(CASE kind WHEN 'credit_note' THEN -total - rounding_amount ELSE total + rounding_amount END), 0)
      FROM billing.invoice_header WHERE account_id = account AND id & 16777215 > ordinal $$;
CREATE FUNCTION last_ordinal(account bigint) RETURNS int LANGUAGE sql STABLE AS $$
    SELECT coalesce(max(id), 0) & 16777215 FROM billing.invoice_header WHERE account_id = account $$;

-- What billing at a moment would ask for; nothing of it stays.
CREATE FUNCTION trial_run(account bigint, at timestamptz) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    before CONSTANT int := last_ordinal(account);
BEGIN
    PERFORM billing.bill_account(account, at);
    RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = asked_for(account, before);
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
    RETURN SQLERRM;
END $$;

-- The subscription that a call changes; null: it names none.
CREATE FUNCTION subscription_of(args jsonb) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce((args->>'subscription_id')::bigint,
        (SELECT subscription_id FROM billing.subscription_item WHERE id = (args->>'item_id')::bigint),
        (SELECT subscription_id FROM billing.discount WHERE id = (args->>'discount_id')::bigint),
        (SELECT subscription_id FROM billing.minimum WHERE id = (args->>'minimum_id')::bigint)) $$;

-- The arguments that a call knows; not all calls know all yet.
CREATE FUNCTION known(call text, args jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_object_agg(a.key, a.value) FROM jsonb_each(args) a, pg_proc p
     WHERE p.proname = call AND p.pronamespace = 'billing'::regnamespace AND a.key = ANY (p.proargnames) $$;

-- Foresees an edit of an account, makes it, bills, and compares.
CREATE FUNCTION foresee(life int, a bigint, step jsonb, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    args CONSTANT jsonb := (SELECT jsonb_object_agg(e.key, CASE WHEN e.key LIKE '%\_id' THEN to_jsonb(id_at(a, e.key, (e.value #>> '{}')::int)) ELSE e.value END) FROM jsonb_each(step->'args') e);
    change CONSTANT jsonb := args || jsonb_build_object('verb', step->>'call') || coalesce(step->'now', '{}');
    subscription CONSTANT bigint := subscription_of(args);
    at_once CONSTANT boolean := step ? 'now';
    before CONSTANT int := last_ordinal(a);
    state CONSTANT text := (SELECT s::text FROM billing.account_state s WHERE s.account_id = a);
    expected text;
    cost record;
    without numeric;
    result text;
BEGIN
    IF subscription IS NULL OR step->>'call' IN ('create_subscription', 'record_usage') THEN
        PERFORM saw('not foreseen'), try(call_text(a, step->>'call', step->'args' || coalesce(step->'now', '{}')));
        RETURN;
    END IF;
    BEGIN
        expected := foreseen(subscription, change, CASE WHEN NOT at_once THEN at END);
        SELECT * INTO STRICT cost FROM billing.preview_change_cost(subscription, change, CASE WHEN NOT at_once THEN at END);
        without := trial_run(a, cost.at);
    EXCEPTION WHEN OTHERS THEN
        IF SQLERRM LIKE 'unknown verb%' THEN
            PERFORM saw('no plan of ' || (step->>'call')), try(call_text(a, step->>'call', step->'args' || coalesce(step->'now', '{}')));
            RETURN;
        END IF;
        expected := SQLSTATE;
    END;
    IF state IS DISTINCT FROM (SELECT s::text FROM billing.account_state s WHERE s.account_id = a) THEN
        INSERT INTO failure VALUES (life, 'a preview changes the account', step::text);
    END IF;
    result := try(call_text(a, step->>'call', step->'args' || coalesce(step->'now', '{}')));
    IF result <> 'done' THEN
        PERFORM saw('refused');
        IF result <> expected THEN
            INSERT INTO failure VALUES (life, 'refused otherwise than the preview', format('%s: %s, preview: %s', change, result, expected));
        END IF;
        RETURN;
    END IF;
    IF NOT at_once THEN PERFORM billing.bill_account(a, at); END IF;
    PERFORM saw(format('foresaw %s%s', step->>'verb', CASE WHEN at_once THEN ' at once' END)), saw(CASE expected WHEN '' THEN 'nothing to write' ELSE 'lines' END);
    IF expected <> written(a, before) THEN
        INSERT INTO failure VALUES (life, 'preview and run differ', format(E'%s at %s (state %s)\nforeseen %s\nwritten %s', change, at, state, expected, written(a, before)));
    ELSIF cost.total <> asked_for(a, before) - without THEN
        INSERT INTO failure VALUES (life, 'the cost is another', format('%s at %s: %s, written %s, without %s', change, cost.at, cost.total, asked_for(a, before), without));
    END IF;
END $$;

CREATE FUNCTION live_and_foresee(life int, seed int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    base CONSTANT timestamptz := '2026-08-20 00:00+02';
    at timestamptz;
    a bigint;
    step jsonb;
BEGIN
    PERFORM setseed((life::bigint * 7919 + seed * 104729) % 1000003 / 1000003.0);
    a := billing.create_account('A');
    at := draw_instant(a, base, 40);
    PERFORM try(call_text(a, 'create_subscription', known('create_subscription', draw_creation(a, at) - ARRAY['coupon', 'await_payment'])));
    FOR n IN 1 .. 3 + die(6) LOOP
        at := draw_instant(a, base, 200);
        IF random() < 0.6 THEN
            PERFORM billing.bill_account(a, at);
        END IF;
        step := draw_edit(a, at);
        IF step->'args' = known(step->>'call', step->'args') THEN
            PERFORM foresee(life, a, step, draw_instant(a, base, 260));
        END IF;
    END LOOP;
END $$;

DO $$
BEGIN
    FOR i IN 1 .. coalesce(nullif(current_setting('test.lives', true), ''), '100')::int LOOP
        BEGIN
            PERFORM live_and_foresee(i, coalesce(nullif(current_setting('test.seed', true), ''), '1')::int);
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO failure VALUES (i, 'error ' || SQLSTATE, SQLERRM);
        END;
    END LOOP;
END $$;
SELECT is((SELECT count(*) FROM failure), 0::bigint, 'every change does what its preview said');
SELECT diag(format('life %s: %s: %s', life, what, left(detail, 1500))) FROM failure ORDER BY life LIMIT 5;
SELECT diag(string_agg(format('%s %s', what, times), ', ' ORDER BY what)) FROM seen;
SELECT cmp_ok(sum(times), '>', 50::bigint, 'changes with lines to foresee') FROM seen WHERE what = 'lines';

-- A year ahead, and the next documents of a subscription: the same as runs at each due instant then write.
CREATE FUNCTION forecast(account bigint, at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(string_agg(x::text, E'\n' ORDER BY x::text), '')
      FROM (SELECT (p.kind, p.billed_at, p.nature, p.subscription_id, p.item_id, p.price, p.quantity, p.unit_amount, p.amount, p.net_amount, p.tax_rate, p.period_start, p.period_end, p.total)::document_line AS x
              FROM billing.preview(account, at) p) x $$;
CREATE FUNCTION totals(subscription bigint, n int) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s %s %s', x.kind, x.billed_at, x.total), ', ' ORDER BY x.billed_at, x.kind DESC, x.total)
      FROM (SELECT h.* FROM billing.invoice_header h
             WHERE h.account_id = subscription >> 24
               AND EXISTS (SELECT FROM billing.invoice_line l WHERE l.account_id = h.account_id AND l.invoice_id = h.id AND l.subscription_id = subscription)
             ORDER BY h.billed_at, h.id LIMIT n) x $$;
CREATE FUNCTION next_totals(subscription bigint, n int) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s %s %s', x.kind, x.billed_at, x.total), ', ' ORDER BY x.billed_at, x.kind DESC, x.total)
      FROM (SELECT DISTINCT document, kind, billed_at, total FROM billing.preview_invoices(subscription, n)) x $$;
CREATE FUNCTION play_a_year(life int, seed int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    base CONSTANT timestamptz := '2027-01-15 00:00+01';
    a CONSTANT bigint := billing.create_account('A');
    subscription bigint;
    year text;
    next text;
    due timestamptz;
BEGIN
    PERFORM setseed((life::bigint * 7919 + seed * 104729) % 1000003 / 1000003.0);
    IF 'done' <> try(call_text(a, 'create_subscription', known('create_subscription', draw_creation(a, draw_instant(a, base, 40)) - ARRAY['coupon', 'await_payment']))) THEN
        RETURN;
    END IF;
    subscription := id_at(a, 'subscription_id', 1);
    PERFORM try(call_text(a, step->>'call', step->'args')) FROM draw_edit(a, base + interval '50 days') step
     WHERE step->>'call' <> 'create_subscription' AND step->'args' = known(step->>'call', step->'args');
    year := forecast(a, base + interval '1 year');
    next := next_totals(subscription, 5);
    LOOP
        SELECT s.next_due INTO due FROM billing.account_state s WHERE s.account_id = a;
        EXIT WHEN due IS NULL OR due > base + interval '1 year';
        PERFORM billing.bill_account(a, due), saw('runs of a year');
    END LOOP;
    IF year <> written(a, 0) THEN
        INSERT INTO failure VALUES (life, 'a year''s runs write other lines', format(E'foreseen %s\nwritten %s', year, written(a, 0)));
    END IF;
    -- The year may have fewer documents.
    IF next IS DISTINCT FROM totals(subscription, 5) AND (SELECT count(*) FROM string_to_table(totals(subscription, 5), ', ')) = 5 THEN
        INSERT INTO failure VALUES (life, 'the next invoices are others', format(E'foreseen %s\nwritten %s', next, totals(subscription, 5)));
    END IF;
    PERFORM saw(format('foresaw %s invoices', (SELECT count(*) FROM string_to_table(next, ', '))));
END $$;
TRUNCATE failure, seen;
SELECT count(play_a_year(i, 1)) FROM generate_series(1, 40) i \g /dev/null
SELECT is((SELECT count(*) FROM failure), 0::bigint, 'a year of runs, and the next invoices, are as their previews said');
SELECT diag(format('life %s: %s: %s', life, what, left(detail, 1500))) FROM failure ORDER BY life LIMIT 5;
SELECT diag(string_agg(format('%s %s', what, times), ', ' ORDER BY what)) FROM seen;
SELECT cmp_ok(sum(times), '>', 20::bigint, 'forecasts of five invoices') FROM seen WHERE what = 'foresaw 5 invoices';

-- What the moment is where none is given, and what a change costs.
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":31}'),
       billing.create_price('year', currency => 'EUR', every => '1 year', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":365}') \g /dev/null
SELECT billing.create_plan('seats', items => '[{"price":"seat"}]'), billing.create_plan('years', items => '[{"price":"year"}]') \g /dev/null
SELECT billing.create_subscription(billing.create_account('x'), 'seats', start_at => '2027-01-01', time_zone => 'UTC') AS s,
       billing.create_subscription(billing.create_account('x'), 'years', start_at => '2027-01-01', time_zone => 'UTC') AS y \gset
SELECT billing.bill_account(:s >> 24, '2027-01-01'), billing.bill_account(:y >> 24, '2027-01-01') \g /dev/null
CREATE FUNCTION cost(subscription bigint, change text, at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('%s %s %s %s', to_char(c.at, 'DD.MM'), c.currency, c.net_total, c.total) FROM billing.preview_change_cost(subscription, change::jsonb, cost.at) c $$;
SELECT is(cost(:s, '{"verb":"add_item","price":"seat","effective_at":"2027-01-11"}'), '01.02 EUR 52.00 61.88', 'with the next regular invoice: the rest of the month and the next');
SELECT is(cost(:s, '{"verb":"add_item","price":"seat","effective_at":"2027-01-11","invoice_now":true}'), '11.01 EUR 21.00 24.99', 'at once: the rest of the month');
SELECT is(cost(:s, '{"verb":"add_item","price":"seat","effective_at":"2027-01-11"}', '2027-01-20'), '20.01 EUR 0.00 0.00', 'at a moment before the next invoice: nothing yet');
SELECT is(cost(:s, '{"verb":"add_item","price":"seat","effective_at":"2027-01-11","at_period_end":true}'), '01.02 EUR 31.00 36.89', 'at the end of the period: the next month');
SELECT is(cost(:s, '{"verb":"cancel_subscription","effective_at":"2027-01-11","invoice_now":true}'), '11.01 EUR -21.00 -24.99', 'a cancellation gives back');
SELECT is(cost(:s, '{"verb":"cancel_subscription","effective_at":"2027-03-01"}', '2027-06-01'), '01.06 EUR -124.00 -147.56', 'and saves what would be charged until then');
SELECT is(cost(:y, '{"verb":"end_item","item_id":' || :y + 1 || ',"effective_at":"2027-07-02"}'), '02.07 EUR -183.00 -217.77', 'no regular invoice within a month: when it takes effect');
SELECT is((SELECT string_agg(format('%s %s %s', document, kind, amount), ', ' ORDER BY document, line_no)
             FROM billing.preview_change(:s, '{"verb":"cancel_subscription","effective_at":"2027-01-11","invoice_now":true}')), '1 credit_note 21.00', 'its lines');
SELECT throws_ok(format('SELECT * FROM billing.preview_change(%s, %L)', :s, change), code, NULL, 'refused: ' || change)
  FROM (VALUES ('{"verb":"fly"}', 'LB208'), ('[]', 'LB208'), ('{"verb":"add_item","effective_at":"2027-02-01"}', '22004'), ('{"verb":"add_item","price":"none","effective_at":"2027-02-01"}', 'LB106'),
               ('{"verb":"add_item","price":"seat"}', 'LB303'),
               ('{"verb":"add_item","price":"seat","wings":2}', 'LB208'), ('{"verb":"end_item","item_id":1}', 'LB114')) x (change, code);
SELECT throws_ok('SELECT * FROM billing.preview_change(77, ''{"verb":"add_item"}'')', 'LB109', NULL, 'an unknown subscription');
SELECT throws_ok('SELECT * FROM billing.preview_change_cost(77, ''{"verb":"add_item"}'')', 'LB109', NULL, 'also of a cost');
SELECT throws_ok('SELECT * FROM billing.preview_invoices(77)', 'LB109', NULL, 'and of the next invoices');
SELECT throws_ok(format('SELECT * FROM billing.preview_invoices(%s, %s)', :s, n), 'LB208', NULL, n || ' invoices are refused') FROM unnest(ARRAY[0, -1, 1001]) n;
SELECT throws_ok('SELECT * FROM billing.' || call, '22004', NULL, 'null is refused: ' || call)
  FROM unnest(ARRAY['preview_change(NULL, ''{}'')', 'preview_change(1, NULL)', 'preview_change_cost(1, NULL)', 'preview_invoices(NULL)']) call;
SELECT is((SELECT count(DISTINCT document) FROM billing.preview_invoices(subscription_id => :s, count => NULL)), 1::bigint, 'no count: the next one');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound, also computed anew');
SELECT * FROM finish();
