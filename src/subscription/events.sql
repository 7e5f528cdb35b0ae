-- Charges for what happens to a subscription.  A plan names a price for an event; each time the event
-- happens an item of kind event is there, which is charged once.  They are part of every plan of a change,
-- so that previews, withdrawals and later edits have them, too.

-- What happens to a subscription and when, and the plan in force then.  A subscription is activated when it
-- is first paid for and after each stop or cancellation; before its first activation nothing can terminate.
CREATE FUNCTION billing_internal.life_events(timeline jsonb) RETURNS TABLE (event text, at timestamptz, plan text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s CONSTANT billing.subscription := jsonb_populate_record(NULL::billing.subscription, timeline->'subscription'->0);
    over_at CONSTANT timestamptz := coalesce(s.end_at, 'infinity');
    activations timestamptz[];
BEGIN
    IF s.id IS NULL OR s.activation <> 'immediate' OR s.start_at >= over_at THEN RETURN; END IF;
    activations := billing_internal.activations(timeline, coalesce(s.trial_end_at, s.start_at), over_at);
    RETURN QUERY
    WITH dead AS (
        SELECT i.from_at, coalesce(i.to_at, 'infinity') AS to_at
          FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') i
         WHERE i.kind IN ('stop', 'cancel') AND coalesce(i.to_at, 'infinity') > i.from_at),
    changed AS (
        SELECT v.valid_from FROM jsonb_populate_recordset(NULL::billing.plan_version, timeline->'plan_version') v
         WHERE v.valid_from > activations[1] AND v.valid_from < over_at
           AND billing_internal.plan_on(timeline, v.valid_from, true) <> billing_internal.plan_on(timeline, v.valid_from, false)
           AND NOT EXISTS (SELECT FROM dead d WHERE d.from_at <= v.valid_from AND d.to_at > v.valid_from)),
    terminated AS (
        SELECT t.at FROM (SELECT d.from_at FROM dead d UNION SELECT over_at) t (at)
         WHERE t.at > activations[1] AND t.at <= over_at AND t.at < 'infinity'
           AND NOT EXISTS (SELECT FROM dead d WHERE d.from_at < t.at AND d.to_at >= t.at)),
    happened (event, at) AS (
        SELECT e.event, s.start_at FROM unnest(ARRAY['subscription_creation', CASE WHEN s.trial_end_at > s.start_at THEN 'trial_start' END]) e (event)
         WHERE NOT EXISTS (SELECT FROM dead d WHERE d.from_at <= s.start_at AND d.to_at > s.start_at)
        UNION SELECT 'subscription_activation', a FROM unnest(activations) a
        UNION SELECT 'plan_activation', a FROM unnest(activations) a
        UNION SELECT 'plan_activation', c.valid_from FROM changed c
        UNION SELECT 'contract_termination', t.at FROM terminated t)
    SELECT h.event, h.at, billing_internal.plan_on(timeline, h.at, h.event <> 'contract_termination') FROM happened h
     WHERE h.event IS NOT NULL ORDER BY h.at, array_position(billing_internal.events(), h.event);
END $$;
COMMENT ON FUNCTION billing_internal.life_events(jsonb) IS 'what happens to a subscription by its timeline: event, instant and the plan that charges for it';

-- The first instant of service that is paid for, and the first after each stop or cancellation.
CREATE FUNCTION billing_internal.activations(timeline jsonb, first_paid timestamptz, over_at timestamptz) RETURNS timestamptz[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH gap AS (
        SELECT i.kind, i.from_at, coalesce(i.to_at, 'infinity') AS to_at
          FROM jsonb_populate_recordset(NULL::billing.interruption, $1->'interruption') i WHERE coalesce(i.to_at, 'infinity') > i.from_at),
    candidate AS (
        SELECT c.at FROM (SELECT $2 UNION SELECT g.to_at FROM gap g) c (at)
         WHERE c.at >= $2 AND c.at < $3 AND NOT EXISTS (SELECT FROM gap g WHERE g.from_at <= c.at AND g.to_at > c.at))
    SELECT array_agg(DISTINCT n.at) FROM (SELECT $2 UNION SELECT g.to_at FROM gap g WHERE g.kind <> 'pause') b (at),
           LATERAL (SELECT min(c.at) AS at FROM candidate c WHERE c.at >= b.at) n WHERE n.at IS NOT NULL
$$;
COMMENT ON FUNCTION billing_internal.activations(jsonb, timestamptz, timestamptz) IS
    'instants at which a subscription comes to life: its first paid one and after each stop or cancellation';

CREATE FUNCTION billing_internal.plan_on(timeline jsonb, at timestamptz, including boolean) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT v.plan FROM jsonb_populate_recordset(NULL::billing.plan_version, $1->'plan_version') v
                      WHERE v.valid_from < $2 OR $3 AND v.valid_from = $2 ORDER BY v.valid_from DESC, v.version DESC LIMIT 1),
                    $1->'subscription'->0->>'plan')
$$;
COMMENT ON FUNCTION billing_internal.plan_on(jsonb, timestamptz, boolean) IS 'plan of a subscription at an instant, with changes at that very instant or without';

CREATE FUNCTION billing_internal.has_events(timeline jsonb) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    plans CONSTANT text[] := timeline->'subscription'->0->>'plan' || ARRAY(SELECT v->>'plan' FROM jsonb_array_elements(timeline->'plan_version') v);
BEGIN
    RETURN EXISTS (SELECT FROM billing.plan_item p WHERE p.plan = ANY (plans) AND p.event IS NOT NULL)
        OR EXISTS (SELECT FROM jsonb_array_elements(timeline->'subscription_item') i WHERE i->>'kind' = 'event');
END $$;
COMMENT ON FUNCTION billing_internal.has_events(jsonb) IS 'does a plan in a timeline charge for events, or was one charged';

-- Adds to a plan of a change the charges for what newly happens by it, and takes back those for what no
-- longer does.  What happens before and after it alike is left alone, whatever has become of the catalogue.
CREATE FUNCTION billing_internal.with_event_charges(edits jsonb, before jsonb, after jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    charged text[] := '{}';     -- events and prices with a charge
    given_back text[] := '{}';
    x record;
BEGIN
    IF NOT billing_internal.has_events(after) THEN RETURN edits; END IF;
    FOR x IN
        WITH gone AS (SELECT * FROM billing_internal.life_events(before) EXCEPT SELECT * FROM billing_internal.life_events(after)),
             news AS (SELECT * FROM billing_internal.life_events(after) EXCEPT SELECT * FROM billing_internal.life_events(before))
        SELECT i.event, i.start_at, v.price, to_jsonb(i) AS item,
               EXISTS (SELECT FROM gone g WHERE g.event = i.event AND g.at = i.start_at) AND
               NOT EXISTS (SELECT FROM news n JOIN billing.plan_item p ON p.plan = n.plan AND p.event = n.event
                            WHERE n.event = i.event AND n.at = i.start_at AND p.price = v.price) AS unwanted
          FROM jsonb_populate_recordset(NULL::billing.subscription_item, after->'subscription_item') i
          JOIN jsonb_populate_recordset(NULL::billing.item_version, after->'item_version') v ON v.item_id = i.id AND v.version = 1
         WHERE i.kind = 'event' AND (i.end_at IS NULL OR i.end_at > i.start_at) LOOP
        IF x.unwanted THEN
            edits := billing_internal.with_row(edits, 'subscription_item', x.item || jsonb_build_object('end_at', x.start_at));
            given_back := given_back || format('%s %s', x.event, x.price);
        ELSE
            charged := charged || format('%s %s', x.event, x.price) || format('%s %s %s', x.event, x.price, x.start_at);
        END IF;
    END LOOP;
    FOR x IN
        SELECT h.event, h.at, dense_rank() OVER (PARTITION BY h.event ORDER BY h.at)::int AS occurrence, p.price, p.quantity, p.own_invoice, p.charge_once, format('%s %s', h.event, p.price) AS what,
               EXISTS (SELECT FROM billing_internal.life_events(before) o WHERE (o.event, o.at, o.plan) = (h.event, h.at, h.plan)) AS old
          FROM billing_internal.life_events(after) h JOIN billing.plan_item p ON p.plan = h.plan AND p.event = h.event
         ORDER BY h.at, array_position(billing_internal.events(), h.event), p.ordinal LOOP
        -- of what is charged once the first that is left takes the place of one that was taken back
        CONTINUE WHEN x.old AND NOT (x.charge_once AND x.what = ANY (given_back));
        CONTINUE WHEN x.what = ANY (charged) AND (x.charge_once OR format('%s %s', x.what, x.at) = ANY (charged));
        charged := charged || x.what || format('%s %s', x.what, x.at);
        edits := billing_internal.with_event_item(edits, after, x.event, x.at, x.occurrence, x.price, x.quantity, x.own_invoice);
    END LOOP;
    RETURN edits;
END $$;
COMMENT ON FUNCTION billing_internal.with_event_charges(jsonb, jsonb, jsonb) IS
    'a plan of a change with the charges for what it makes happen, and without those for what it prevents';

CREATE FUNCTION billing_internal.with_event_item(edits jsonb, timeline jsonb, event text, at timestamptz, occurrence int,
    price text, quantity numeric, own_invoice boolean)
    RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := timeline->'subscription'->0->>'account_id';
    id CONSTANT bigint := billing_internal.new_id(account, edits);
    item CONSTANT jsonb := jsonb_build_object('account_id', account, 'id', id, 'subscription_id', timeline->'subscription'->0->'id', 'start_at', at,
        'metadata', '{}'::jsonb, 'kind', 'event', 'event', event, 'occurrence', occurrence,
        'own_invoice', own_invoice, 'from_plan', false);
    version CONSTANT jsonb := jsonb_build_object('account_id', account, 'item_id', id, 'version', 1, 'valid_from', at, 'price', price, 'quantity', quantity,
        'price_version', coalesce(billing_internal.check_item_price(id, NULL, price, quantity, at, false), (SELECT min(v.version) FROM billing.price_version v WHERE v.price = with_event_item.price)));
BEGIN
    RETURN billing_internal.with_row(billing_internal.with_new_row(edits, 'subscription_item', item), 'item_version', version);
END $$;
COMMENT ON FUNCTION billing_internal.with_event_item(jsonb, jsonb, text, timestamptz, int, text, numeric, boolean) IS 'a plan of a change with one more charge for an event';
