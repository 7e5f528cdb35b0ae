-- Pauses begin and end.

-- A pause gives what it was resumed for back: the calendar anchored at its end goes.
CREATE FUNCTION billing_internal.without_return(edits jsonb, timeline jsonb, at timestamptz) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce((SELECT billing_internal.with_row(edits, 'schedule_version', to_jsonb(x) || '{"valid_from":"infinity"}')
      FROM jsonb_populate_recordset(NULL::billing.schedule_version, timeline->'schedule_version') x
     WHERE x.valid_from = at AND x.anchor = at AND x.version > 1), edits);
END $$;
COMMENT ON FUNCTION billing_internal.without_return(jsonb, jsonb, timestamptz) IS
    'a plan without the calendar that begins, anchored there, at the end of a pause';

-- The pause in which an instant lies; null: none.
CREATE FUNCTION billing_internal.pause_at(timeline jsonb, at timestamptz) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT to_jsonb(x) FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') x
     WHERE x.kind = 'pause' AND x.from_at <= at AND at < coalesce(x.to_at, 'infinity') ORDER BY x.number DESC LIMIT 1);
END $$;
COMMENT ON FUNCTION billing_internal.pause_at(jsonb, timestamptz) IS 'the pause in which an instant lies; or null';

CREATE FUNCTION billing_internal.return_anchor(timeline jsonb, at timestamptz, anchor text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce(billing_internal.check_one_of(anchor, 'anchor', 'keep', 'resume'),
                    (SELECT p.resume_anchor FROM billing.plan p WHERE p.code = billing_internal.plan_on(timeline, at, true)));
END $$;
COMMENT ON FUNCTION billing_internal.return_anchor(jsonb, timestamptz, text) IS 'what the calendar of a subscription does when it is resumed: as asked for, or as its plan says';

CREATE FUNCTION billing_internal.plan_pause_subscription(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change);
    cycles CONSTANT int := billing_internal.check_between((change->>'cycles')::int, 'cycles', 1, 1000);
    until timestamptz := change->>'until';
    edits jsonb := billing_internal.new_edits(subscription_id, at);
    x billing.interruption := jsonb_populate_record(NULL::billing.interruption, billing_internal.pause_at(timeline, at));
BEGIN
    IF until IS NOT NULL AND cycles IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_argument', 'until and cycles exclude each other');
    ELSIF until <= at THEN
        PERFORM billing_internal.fail('invalid_argument', 'until must lie after the instant at which the pause begins');
    ELSIF until IS NULL AND cycles IS NULL AND change->>'anchor' IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_argument', 'anchor needs an end of the pause', NULL, 'Name it when the subscription is resumed.');
    END IF;
    PERFORM billing_internal.check_instant(coalesce(until, at), 'until');
    IF x.number IS NULL THEN
        PERFORM billing_internal.check_live(timeline, at);
        PERFORM billing_internal.check_no_pause_to_come(timeline, at);
    ELSE
        edits := billing_internal.without_return(edits, timeline, x.to_at);
        timeline := billing_internal.overlay_rows(timeline, edits);
        x.to_at := at;
        timeline := billing_internal.overlay_rows(timeline, billing_internal.with_row('{}', 'interruption', to_jsonb(x)));
    END IF;
    IF cycles IS NOT NULL THEN
        until := billing_internal.end_of_cycles(timeline, at, cycles, true);
    END IF;
    IF x.number IS NULL THEN
        edits := billing_internal.with_interruption(edits, timeline, 'pause', at, until, change);
    ELSE
        x.to_at := until;
        edits := billing_internal.with_row(edits, 'interruption', to_jsonb(x));
    END IF;
    RETURN CASE WHEN until IS NULL THEN edits ELSE billing_internal.with_return(edits, timeline, coalesce(x.from_at, at), until,
                billing_internal.return_anchor(timeline, until, change->>'anchor')) END;
END $$;
COMMENT ON FUNCTION billing_internal.plan_pause_subscription(bigint, jsonb) IS 'plan of billing.pause_subscription';

CREATE FUNCTION billing_internal.check_no_pause_to_come(timeline jsonb, at timestamptz) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    later CONSTANT timestamptz := (SELECT min(x.from_at) FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') x
                                    WHERE x.kind = 'pause' AND x.from_at > at AND coalesce(x.to_at, 'infinity') > x.from_at);
BEGIN
    IF later IS NOT NULL THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s pauses from %s on', timeline->'subscription'->0->>'id', later),
                                      NULL, 'Withdraw that pause first.');
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_no_pause_to_come(jsonb, timestamptz) IS 'refuses a pause before another one';

CREATE FUNCTION billing.pause_subscription(subscription_id bigint, until timestamptz DEFAULT NULL, cycles int DEFAULT NULL, anchor text DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, at_period_end boolean DEFAULT false, invoice_now boolean DEFAULT false, reason text DEFAULT NULL,
    idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.pause_subscription(bigint, timestamptz, int, text, timestamptz, boolean, boolean, text, text) IS
    'pauses a subscription until an instant, for the next so many cycles, or until it is resumed; of a paused one moves the end; returns its id';
CREATE FUNCTION billing_internal.pause_subscription(subscription_id bigint, until timestamptz, cycles int, anchor text,
    effective_at timestamptz, at_period_end boolean, invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'pause_subscription', 'until', $2, 'cycles', $3, 'anchor', $4,
        'effective_at', $5, 'at_period_end', $6, 'reason', $8), $7)
$$;
COMMENT ON FUNCTION billing_internal.pause_subscription(bigint, timestamptz, int, text, timestamptz, boolean, boolean, text, text) IS
    'body of billing.pause_subscription';

CREATE FUNCTION billing_internal.plan_resume_subscription(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change);
    anchor CONSTANT text := billing_internal.return_anchor(timeline, at, change->>'anchor');
    x billing.interruption := jsonb_populate_record(NULL::billing.interruption, billing_internal.pause_at(timeline, at));
    edits jsonb := billing_internal.new_edits(subscription_id, at);
BEGIN
    IF x.number IS NULL OR billing_internal.state_at(timeline, at, NULL) <> 'paused' THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is not paused at %s', subscription_id, at));
    END IF;
    edits := billing_internal.without_return(edits, timeline, x.to_at);
    timeline := billing_internal.overlay_rows(timeline, edits);
    x.to_at := at;
    RETURN billing_internal.with_return(billing_internal.with_row(edits, 'interruption', to_jsonb(x)), timeline, x.from_at, at, anchor);
END $$;
COMMENT ON FUNCTION billing_internal.plan_resume_subscription(bigint, jsonb) IS 'plan of billing.resume_subscription';

CREATE FUNCTION billing.resume_subscription(subscription_id bigint, anchor text DEFAULT NULL, effective_at timestamptz DEFAULT NULL,
    at_period_end boolean DEFAULT false, invoice_now boolean DEFAULT false, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.resume_subscription(bigint, text, timestamptz, boolean, boolean, text, text) IS
    'ends a pause; in a later period anchor resume bills from then on, keep by the old calendar (default: as the plan says); returns the subscription''s id';
CREATE FUNCTION billing_internal.resume_subscription(subscription_id bigint, anchor text, effective_at timestamptz,
    at_period_end boolean, invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'resume_subscription', 'anchor', $2, 'effective_at', $3,
        'at_period_end', $4, 'reason', $6), $5)
$$;
COMMENT ON FUNCTION billing_internal.resume_subscription(bigint, text, timestamptz, boolean, boolean, text, text) IS 'body of billing.resume_subscription';
