-- A subscription moves to another plan and stays the same subscription.

-- Which of its items the new plan keeps, changes, ends and adds.  An item whose price the plan has stays; of the
-- others one takes the price that is named to replace its own or, of those that nobody replaces by name, the price
-- at its place among those with its interval, timing and meter.
CREATE FUNCTION billing_internal.match_items(timeline jsonb, at timestamptz, wanted jsonb, OUT item_id bigint, OUT wanted_no int)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH old AS (
        SELECT i.id, i.from_plan, t.price, (p.every, p.timing, p.meter)::text AS fit
          FROM jsonb_populate_recordset(NULL::billing.subscription_item, timeline->'subscription_item') i,
               billing_internal.terms_at(timeline, i.id, at) t JOIN billing.price p ON p.code = t.price
         WHERE i.kind = 'recurring' AND i.start_at <= at AND at < coalesce(i.end_at, 'infinity')),
    new AS (
        SELECT (w.e->>'ordinal')::int AS no, w.e->>'price' AS price, w.e->>'replaces' AS replaces, (p.every, p.timing, p.meter)::text AS fit
          FROM jsonb_array_elements(wanted) w (e) JOIN billing.price p ON p.code = w.e->>'price' WHERE p.every IS NOT NULL),
    staying AS (SELECT DISTINCT ON (n.no) o.id, n.no FROM new n JOIN old o ON o.price = n.price AND o.from_plan WHERE n.replaces IS NULL ORDER BY n.no, o.id),
    named AS (SELECT DISTINCT ON (n.no) o.id, n.no FROM new n JOIN old o ON o.price = n.replaces WHERE o.id NOT IN (SELECT s.id FROM staying s)
               ORDER BY n.no, o.from_plan DESC, o.id),
    known AS (SELECT * FROM staying UNION ALL SELECT * FROM named),
    left_old AS (SELECT o.id, o.fit, row_number() OVER (PARTITION BY o.fit ORDER BY o.id) AS place FROM old o
                  WHERE o.from_plan AND o.id NOT IN (SELECT k.id FROM known k)),
    left_new AS (SELECT n.no, n.fit, row_number() OVER (PARTITION BY n.fit ORDER BY n.no) AS place FROM new n WHERE n.no NOT IN (SELECT k.no FROM known k))
    SELECT k.id, k.no FROM known k UNION ALL
    SELECT o.id, n.no FROM left_old o FULL JOIN left_new n USING (fit, place);
END $$;
COMMENT ON FUNCTION billing_internal.match_items(jsonb, timestamptz, jsonb) IS
    'items of a subscription with their successors in another plan, null where there is none';

-- The items of a plan with those of a call merged over them, and what they replace.  Optional ones of the plan that
-- the subscription has already (prices it has: had) stay too, unless another replaces them.
CREATE FUNCTION billing_internal.wanted_items(plan text, items jsonb, had text[]) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kept CONSTANT jsonb := (
        SELECT coalesce(jsonb_agg(jsonb_build_object('price', i.price)), '[]') FROM billing.plan_item i
         WHERE i.plan = wanted_items.plan AND i.optional AND i.event IS NULL AND i.price = ANY (had)
           AND NOT jsonb_path_exists(coalesce(items, '[]'), '$[*] ? (@.price == $price || @.replaces == $price)', jsonb_build_object('price', i.price)));
    cleaned CONSTANT jsonb := CASE WHEN coalesce(jsonb_typeof(items), 'array') = 'array' THEN kept || (
        SELECT coalesce(jsonb_agg(CASE WHEN jsonb_typeof(e) = 'object' THEN e - 'replaces' ELSE e END), '[]') FROM jsonb_array_elements(items) e) ELSE items END;
BEGIN
    RETURN (SELECT coalesce(jsonb_agg(to_jsonb(m) || jsonb_build_object('given_quantity', g.e->'quantity', 'replaces', g.e->'replaces') ORDER BY m.ordinal), '[]')
              FROM billing_internal.merge_items(plan, cleaned) m LEFT JOIN jsonb_array_elements(items) g (e) ON g.e->>'price' = m.price
             WHERE g.e IS NOT NULL OR m.instalments IS NOT NULL OR EXISTS (SELECT FROM billing.price p WHERE p.code = m.price AND p.every IS NOT NULL));
END $$;
COMMENT ON FUNCTION billing_internal.wanted_items(text, jsonb, text[]) IS
    'items that a subscription which moves to a plan is to have; set-up fees of the plan are for new subscriptions only';

CREATE FUNCTION billing_internal.check_plan_change(timeline jsonb, plan text, at timestamptz, items jsonb) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id CONSTANT text := timeline->'subscription'->0->>'id';
    later CONSTANT timestamptz := (SELECT min(v.valid_from) FROM jsonb_populate_recordset(NULL::billing.plan_version, timeline->'plan_version') v WHERE v.valid_from > at);
    archived_at timestamptz;
BEGIN
    SELECT p.archived_at INTO archived_at FROM billing.plan p WHERE p.code = check_plan_change.plan;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_plan', format('plan "%s" does not exist', plan));
    ELSIF archived_at <= now() THEN
        PERFORM billing_internal.fail('archived_object', format('plan "%s" is archived', plan));
    END IF;
    PERFORM billing_internal.check_live(timeline, at);
    IF later IS NOT NULL THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s moves to another plan at %s', id, later), NULL, 'Withdraw that change first.');
    ELSIF items IS NULL AND billing_internal.plan_on(timeline, at, true) = plan THEN
        PERFORM billing_internal.fail('invalid_argument', format('subscription %s has plan "%s" already', id, plan));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_plan_change(jsonb, text, timestamptz, jsonb) IS 'refuses a move to a plan that is not there or was made already';

-- Intervals of the items that are left give the calendar: another shortest one makes another version of it.
CREATE FUNCTION billing_internal.with_interval(edits jsonb, timeline jsonb, at timestamptz, every interval) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old_every CONSTANT interval := (SELECT c.every FROM billing_internal.cycle_at(timeline, at) c);
    billing_day CONSTANT int := (SELECT h.billing_day FROM billing_internal.schedules(timeline) h WHERE h.valid_from <= at AND at < h.valid_until);
BEGIN
    RETURN CASE WHEN every = old_every THEN edits ELSE billing_internal.with_schedule(edits, timeline, at, every, billing_day) END;
END $$;
COMMENT ON FUNCTION billing_internal.with_interval(jsonb, jsonb, timestamptz, interval) IS 'a plan with a calendar of an interval from an instant on, if it is another';

CREATE FUNCTION billing_internal.interval_after(timeline jsonb, at timestamptz) RETURNS interval
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN billing_internal.common_interval(ARRAY(
        SELECT DISTINCT t.price FROM jsonb_populate_recordset(NULL::billing.subscription_item, timeline->'subscription_item') i,
               billing_internal.terms_at(timeline, i.id, greatest(at, i.start_at)) t
         WHERE i.kind = 'recurring' AND coalesce(i.end_at, 'infinity') > greatest(at, i.start_at)));
END $$;
COMMENT ON FUNCTION billing_internal.interval_after(jsonb, timestamptz) IS 'shortest interval of the recurring items that live at an instant or later; null: none';

CREATE FUNCTION billing_internal.plan_change_plan(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change);
    plan CONSTANT text := change->>'plan';
    items CONSTANT jsonb := nullif(change->'items', 'null');
    edits jsonb := billing_internal.new_edits(subscription_id, at);
    after jsonb;
    every interval;
    wanted jsonb;
    m record;
    w jsonb;
    v billing.plan_version;
    i billing.subscription_item;
BEGIN
    PERFORM billing_internal.check_plan_change(timeline, plan, at, items);
    wanted := billing_internal.wanted_items(plan, items, ARRAY(
        SELECT t.price FROM jsonb_populate_recordset(NULL::billing.subscription_item, timeline->'subscription_item') x, billing_internal.terms_at(timeline, x.id, at) t
         WHERE x.kind = 'recurring' AND x.from_plan AND x.start_at <= at AND at < coalesce(x.end_at, 'infinity')));
    v := (subscription_id >> 24, subscription_id, 1 + (SELECT coalesce(max((e->>'version')::int), 0) FROM jsonb_array_elements(timeline->'plan_version') e), at, plan);
    edits := billing_internal.with_row(edits, 'plan_version', to_jsonb(v));
    FOR m IN SELECT * FROM billing_internal.match_items(timeline, at, wanted) x ORDER BY x.item_id, x.wanted_no LOOP
        w := (SELECT e FROM jsonb_array_elements(wanted) e WHERE (e->>'ordinal')::int = m.wanted_no);
        IF m.wanted_no IS NULL THEN
            SELECT * INTO STRICT i FROM jsonb_populate_recordset(NULL::billing.subscription_item, timeline->'subscription_item') x WHERE x.id = m.item_id;
            i.end_at := at;
            edits := billing_internal.with_row(edits, 'subscription_item', to_jsonb(i));
        ELSIF m.item_id IS NOT NULL THEN
            edits := billing_internal.with_successor(edits, timeline, m.item_id, at, w, change->>'reason');
        END IF;
    END LOOP;
    FOR w IN SELECT e FROM jsonb_array_elements(wanted) e
              WHERE NOT EXISTS (SELECT FROM billing_internal.match_items(timeline, at, wanted) x
                                 WHERE x.item_id IS NOT NULL AND x.wanted_no = (e->>'ordinal')::int) LOOP
        IF w->>'replaces' IS NOT NULL THEN
            PERFORM billing_internal.fail('invalid_item', format('subscription %s has no item of price "%s" to replace', subscription_id, w->>'replaces'));
        END IF;
        edits := billing_internal.with_item(edits, subscription_id, NULL, w || jsonb_build_object('start_at', at, 'reason', change->>'reason', 'from_plan', w->'planned'));
    END LOOP;
    after := billing_internal.overlay_rows(timeline, edits);
    every := billing_internal.interval_after(after, at);
    IF every IS NULL THEN
        PERFORM billing_internal.fail('invalid_item', format('a subscription of plan "%s" needs an item that recurs', plan));
    END IF;
    RETURN billing_internal.with_interval(edits, timeline, at, every) || jsonb_build_object('result', subscription_id);
END $$;
COMMENT ON FUNCTION billing_internal.plan_change_plan(bigint, jsonb) IS 'plan of billing.change_plan';

-- The item goes on with another price, quantity or scheme, where that is another.
CREATE FUNCTION billing_internal.with_successor(edits jsonb, timeline jsonb, item_id bigint, at timestamptz, wanted jsonb, reason text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    terms CONSTANT record := billing_internal.terms_at(timeline, item_id, at);
    price CONSTANT text := nullif(wanted->>'price', terms.price);
    quantity CONSTANT numeric := wanted->>'given_quantity';
    scheme CONSTANT jsonb := nullif(wanted->'scheme', 'null');
BEGIN
    IF NOT (SELECT i->>'from_plan' = 'true' FROM jsonb_array_elements(timeline->'subscription_item') i WHERE (i->>'id')::bigint = with_successor.item_id) THEN
        edits := billing_internal.with_row(edits, 'subscription_item', (SELECT i || '{"from_plan":true}' FROM jsonb_array_elements(timeline->'subscription_item') i
                                                                         WHERE (i->>'id')::bigint = with_successor.item_id));
    END IF;
    IF price IS NULL AND quantity IS NULL AND scheme IS NULL THEN RETURN edits; END IF;
    RETURN billing_internal.with_terms(edits, timeline, NULL, item_id, quantity, price, scheme, at, reason);
END $$;
COMMENT ON FUNCTION billing_internal.with_successor(jsonb, jsonb, bigint, timestamptz, jsonb, text) IS 'a plan in which an item takes the terms of its successor in another plan';

CREATE FUNCTION billing.change_plan(subscription_id bigint, plan text, items jsonb DEFAULT NULL, effective_at timestamptz DEFAULT NULL,
    at_period_end boolean DEFAULT false, invoice_now boolean DEFAULT false, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.change_plan(bigint, text, jsonb, timestamptz, boolean, boolean, text, text) IS
    'moves a subscription to another plan; items go on with their successors there, which items [{"price", "replaces", "quantity", ...}, ...] may name; returns its id';
CREATE FUNCTION billing_internal.change_plan(subscription_id bigint, plan text, items jsonb, effective_at timestamptz,
    at_period_end boolean, invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'change_plan', 'plan', $2, 'items', $3, 'effective_at', $4,
        'at_period_end', $5, 'reason', $7), $6)
$$;
COMMENT ON FUNCTION billing_internal.change_plan(bigint, text, jsonb, timestamptz, boolean, boolean, text, text) IS 'body of billing.change_plan';
