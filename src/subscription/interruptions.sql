-- Times without service: cancellations, stops and pauses begin and end.

-- One more interruption; requested: when it was asked for, which with at_period_end is the instant named.
CREATE FUNCTION billing_internal.with_interruption(edits jsonb, timeline jsonb, kind text, from_at timestamptz, to_at timestamptz, change jsonb)
    RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    requested CONSTANT timestamptz := CASE WHEN (change->>'at_period_end')::boolean THEN coalesce((change->>'effective_at')::timestamptz, now()) ELSE now() END;
    x billing.interruption;
BEGIN
    x.account_id := timeline->'subscription'->0->'account_id';
    x.subscription_id := timeline->'subscription'->0->'id';
    x.number := 1 + (SELECT coalesce(max((e->>'number')::int), 0) FROM jsonb_array_elements(timeline->'interruption') e);
    x.kind := kind;
    x.from_at := from_at;
    x.to_at := to_at;
    x.requested_at := least(requested, from_at);
    x.reason := change->>'reason';
    RETURN billing_internal.with_row(edits, 'interruption', to_jsonb(x));
END $$;
COMMENT ON FUNCTION billing_internal.with_interruption(jsonb, jsonb, text, timestamptz, timestamptz, jsonb) IS 'a plan with one more interruption';

-- What was to be charged once from then on is no longer; what recurs lives again with a restart.
CREATE FUNCTION billing_internal.without_one_time_items(edits jsonb, timeline jsonb, at timestamptz) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i billing.subscription_item;
BEGIN
    FOR i IN SELECT x.* FROM jsonb_populate_recordset(NULL::billing.subscription_item, timeline->'subscription_item') x
              WHERE x.kind IN ('one_off', 'setup') AND x.start_at >= at AND x.end_at IS NULL LOOP
        i.end_at := i.start_at;
        edits := billing_internal.with_row(edits, 'subscription_item', to_jsonb(i));
    END LOOP;
    RETURN edits;
END $$;
COMMENT ON FUNCTION billing_internal.without_one_time_items(jsonb, jsonb, timestamptz) IS 'a plan that takes back what is charged once from an instant on';

-- A cancellation or a stop.  It holds until the next restart that is there already; of a pause it takes no notice.
CREATE FUNCTION billing_internal.plan_end_of_service(subscription_id bigint, change jsonb, kind text, word text, hint text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change);
    s CONSTANT billing.subscription := jsonb_populate_record(NULL::billing.subscription, timeline->'subscription'->0);
    x billing.interruption;
    until timestamptz;
BEGIN
    FOR x IN SELECT i.* FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') i
              WHERE i.kind <> 'pause' AND coalesce(i.to_at, 'infinity') > i.from_at ORDER BY i.from_at LOOP
        IF x.to_at IS NULL AND x.kind IN (kind, 'cancel') THEN
            PERFORM billing_internal.fail('wrong_subscription_state',
                format('subscription %s is %s already', subscription_id, CASE x.kind WHEN 'cancel' THEN 'canceled' ELSE word END),
                format('It ends at %s.', x.from_at), CASE WHEN x.kind = kind THEN hint END);
        ELSIF at >= x.from_at AND at < x.to_at THEN
            PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is not live at %s', subscription_id, at));
        ELSIF x.from_at > at AND x.to_at IS NOT NULL THEN
            until := coalesce(until, x.to_at);
        END IF;
    END LOOP;
    IF s.activation <> 'immediate' OR at < s.start_at OR at > s.end_at THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is not live at %s', subscription_id, at));
    END IF;
    RETURN billing_internal.without_one_time_items(
        billing_internal.with_interruption(billing_internal.new_edits(subscription_id, at), timeline, kind, at, until, change), timeline, at);
END $$;
COMMENT ON FUNCTION billing_internal.plan_end_of_service(bigint, jsonb, text, text, text) IS 'plan of a cancellation or a stop';

CREATE FUNCTION billing_internal.plan_cancel_subscription(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.plan_end_of_service($1, $2, 'cancel', 'canceled', 'Before that instant billing.undo_cancellation() takes it back.')
$$;
COMMENT ON FUNCTION billing_internal.plan_cancel_subscription(bigint, jsonb) IS 'plan of billing.cancel_subscription';

CREATE FUNCTION billing.cancel_subscription(subscription_id bigint, effective_at timestamptz DEFAULT NULL, at_period_end boolean DEFAULT false,
    invoice_now boolean DEFAULT false, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.cancel_subscription(bigint, timestamptz, boolean, boolean, text, text) IS
    'cancels a subscription now, at an instant or at the end of the period; what was charged beyond is given back as its prices say; returns its id';
CREATE FUNCTION billing_internal.cancel_subscription(subscription_id bigint, effective_at timestamptz, at_period_end boolean,
    invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'cancel_subscription', 'effective_at', $2, 'at_period_end', $3,
        'reason', $5), $4)
$$;
COMMENT ON FUNCTION billing_internal.cancel_subscription(bigint, timestamptz, boolean, boolean, text, text) IS 'body of billing.cancel_subscription';

-- What the cancellation took back is there again, unless it was changed since.
CREATE FUNCTION billing_internal.plan_undo_cancellation(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    moment CONSTANT timestamptz := coalesce((change->>'effective_at')::timestamptz, now());
    x billing.interruption;
    i jsonb;
    edits jsonb;
BEGIN
    PERFORM billing_internal.check_instant(moment, 'effective_at');
    SELECT * INTO x FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') i
     WHERE i.kind = 'cancel' AND i.to_at IS NULL AND i.from_at > moment;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s has no cancellation to come', subscription_id));
    END IF;
    x.to_at := x.from_at;
    x.taken_back_at := moment;
    edits := billing_internal.with_row(billing_internal.new_edits(subscription_id, x.from_at), 'interruption', to_jsonb(x));
    FOR i IN SELECT o.old_row FROM billing.subscription_change c, billing_internal.row_pairs(c.replaced, c.edits, 'subscription_item') o
              WHERE c.account_id = x.account_id AND c.subscription_id = x.subscription_id AND c.withdrawn_at IS NULL AND o.old_row IS NOT NULL
                AND c.edits->'interruption' @> jsonb_build_array(jsonb_build_object('number', x.number, 'kind', x.kind))
                AND c.verb = 'cancel_subscription'
                AND billing_internal.normal_rows(timeline)->'subscription_item' @> jsonb_build_array(o.new_row) LOOP
        edits := billing_internal.with_row(edits, 'subscription_item', i);
    END LOOP;
    RETURN edits;
END $$;
COMMENT ON FUNCTION billing_internal.plan_undo_cancellation(bigint, jsonb) IS 'plan of billing.undo_cancellation';

CREATE FUNCTION billing.undo_cancellation(subscription_id bigint, effective_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.undo_cancellation(bigint, timestamptz, text) IS
    'takes a cancellation back that has not taken effect at a moment (default now); returns the subscription''s id';
CREATE FUNCTION billing_internal.undo_cancellation(subscription_id bigint, effective_at timestamptz, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'undo_cancellation', 'effective_at', $2), false)
$$;
COMMENT ON FUNCTION billing_internal.undo_cancellation(bigint, timestamptz, text) IS 'body of billing.undo_cancellation';

CREATE FUNCTION billing_internal.plan_stop_subscription(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.plan_end_of_service($1, $2, 'stop', 'stopped', 'billing.restart_subscription() brings it back.')
$$;
COMMENT ON FUNCTION billing_internal.plan_stop_subscription(bigint, jsonb) IS 'plan of billing.stop_subscription';

CREATE FUNCTION billing.stop_subscription(subscription_id bigint, effective_at timestamptz DEFAULT NULL, at_period_end boolean DEFAULT false,
    invoice_now boolean DEFAULT false, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.stop_subscription(bigint, timestamptz, boolean, boolean, text, text) IS
    'stops a subscription now, at an instant or at the end of the period, until it is restarted or gets a new item; returns its id';
CREATE FUNCTION billing_internal.stop_subscription(subscription_id bigint, effective_at timestamptz, at_period_end boolean,
    invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'stop_subscription', 'effective_at', $2, 'at_period_end', $3,
        'reason', $5), $4)
$$;
COMMENT ON FUNCTION billing_internal.stop_subscription(bigint, timestamptz, boolean, boolean, text, text) IS 'body of billing.stop_subscription';

-- The interruptions in which an instant lies end there; null where none of them is a stop or a cancellation.
CREATE FUNCTION billing_internal.with_restart(edits jsonb, timeline jsonb, at timestamptz) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s CONSTANT billing.subscription := jsonb_populate_record(NULL::billing.subscription, timeline->'subscription'->0);
    x billing.interruption;
    left_at timestamptz;
BEGIN
    FOR x IN SELECT i.* FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') i
              WHERE i.from_at <= at AND at < coalesce(i.to_at, 'infinity') ORDER BY i.from_at LOOP
        left_at := CASE WHEN x.kind = 'pause' THEN left_at ELSE coalesce(left_at, x.from_at) END;
        x.to_at := at;
        edits := billing_internal.with_row(edits, 'interruption', to_jsonb(x));
    END LOOP;
    IF s.activation <> 'immediate' OR at >= s.end_at THEN RETURN NULL; END IF;
    RETURN CASE WHEN left_at IS NOT NULL THEN edits || jsonb_build_object('left_at', left_at) END;
END $$;
COMMENT ON FUNCTION billing_internal.with_restart(jsonb, jsonb, timestamptz) IS
    'a plan in which a stopped or canceled subscription lives again, with left_at, when it left; null where it is neither';

CREATE FUNCTION billing_internal.plan_restart_subscription(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change - 'at_period_end');
    anchor CONSTANT text := billing_internal.check_one_of(coalesce(change->>'anchor', 'keep'), 'anchor', 'keep', 'restart');
    edits CONSTANT jsonb := billing_internal.with_restart(billing_internal.new_edits(subscription_id, at), timeline, at);
BEGIN
    IF edits IS NULL THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is neither stopped nor canceled at %s', subscription_id, at), NULL,
                                      'One whose term is over needs billing.change_term().');
    END IF;
    RETURN billing_internal.with_return(edits - 'left_at', timeline, (edits->>'left_at')::timestamptz, at, anchor);
END $$;
COMMENT ON FUNCTION billing_internal.plan_restart_subscription(bigint, jsonb) IS 'plan of billing.restart_subscription';

CREATE FUNCTION billing.restart_subscription(subscription_id bigint, anchor text DEFAULT 'keep', effective_at timestamptz DEFAULT NULL,
    invoice_now boolean DEFAULT false, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.restart_subscription(bigint, text, timestamptz, boolean, text, text) IS
    'brings a stopped or canceled subscription back with the items it had; in a later period anchor restart bills from then on, keep by the old calendar; returns its id';
CREATE FUNCTION billing_internal.restart_subscription(subscription_id bigint, anchor text, effective_at timestamptz,
    invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'restart_subscription', 'anchor', $2, 'effective_at', $3,
        'reason', $5), $4)
$$;
COMMENT ON FUNCTION billing_internal.restart_subscription(bigint, text, timestamptz, boolean, text, text) IS 'body of billing.restart_subscription';
