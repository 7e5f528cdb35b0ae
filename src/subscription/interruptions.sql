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

CREATE FUNCTION billing_internal.plan_cancel_subscription(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change);
    canceled CONSTANT timestamptz := (SELECT x.from_at FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') x
                                       WHERE x.kind = 'cancel' AND x.to_at IS NULL);
    s billing.subscription;
BEGIN
    SELECT * INTO STRICT s FROM jsonb_populate_recordset(NULL::billing.subscription, timeline->'subscription');
    IF canceled IS NOT NULL THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is canceled already', subscription_id),
            format('It ends at %s.', canceled), 'Before that instant billing.undo_cancellation() takes it back.');
    ELSIF at < s.start_at OR at > s.end_at THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is not live at %s', subscription_id, at));
    END IF;
    RETURN billing_internal.with_interruption(billing_internal.new_edits(subscription_id, at), timeline, 'cancel', at, NULL, change);
END $$;
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

CREATE FUNCTION billing_internal.plan_undo_cancellation(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    moment CONSTANT timestamptz := coalesce((change->>'effective_at')::timestamptz, now());
    x billing.interruption;
BEGIN
    PERFORM billing_internal.check_instant(moment, 'effective_at');
    SELECT * INTO x FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') i
     WHERE i.kind = 'cancel' AND i.to_at IS NULL AND i.from_at > moment;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s has no cancellation to come', subscription_id));
    END IF;
    x.to_at := x.from_at;
    RETURN billing_internal.with_row(billing_internal.new_edits(subscription_id, x.from_at), 'interruption', to_jsonb(x));
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
