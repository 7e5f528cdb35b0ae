-- The calendar of running subscriptions: billing day, interval, skipped cycles.

-- A calendar from an instant on.  Until the first paid instant it begins there.  At the instant of the last one it
-- takes its place; none may come before one that is there already.
CREATE FUNCTION billing_internal.with_schedule(edits jsonb, timeline jsonb, at timestamptz, every interval, billing_day int) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first CONSTANT timestamptz := coalesce(timeline->'subscription'->0->>'trial_end_at', timeline->'subscription'->0->>'start_at');
    later CONSTANT timestamptz := (SELECT min(x.valid_from) FROM jsonb_populate_recordset(NULL::billing.schedule_version, timeline->'schedule_version') x
                                    WHERE x.valid_from > at AND x.valid_from < 'infinity');
    v billing.schedule_version;
    x jsonb;
BEGIN
    IF later IS NOT NULL THEN
        PERFORM billing_internal.fail('wrong_subscription_state',
            format('subscription %s has another calendar from %s on', timeline->'subscription'->0->>'id', later), NULL,
            'Withdraw that change first, or change the calendar from then on.');
    END IF;
    SELECT * INTO STRICT v FROM jsonb_populate_recordset(NULL::billing.schedule_version, timeline->'schedule_version') x
     WHERE x.valid_from < 'infinity' ORDER BY x.valid_from DESC, x.version DESC LIMIT 1;
    IF v.valid_from < at THEN
        v.valid_from := at;
        v.first_period := 'prorate';
        v.version := 1 + (SELECT max((e->>'version')::int) FROM jsonb_array_elements(timeline->'schedule_version') e);
    ELSE
        FOR x IN SELECT e FROM jsonb_array_elements(timeline->'skipped_cycle') e WHERE (e->>'schedule_version')::int = v.version LOOP
            edits := billing_internal.with_row(edits, 'skipped_cycle', x || '{"skipped":false}');
        END LOOP;
    END IF;
    v.every := every;
    v.billing_day := CASE WHEN extract(day FROM every) = 0 THEN billing_day END;
    v.anchor := greatest(at, first);
    IF v.billing_day IS NOT NULL THEN
        v.anchor := billing_internal.schedule_anchor(v.anchor, v.time_zone, v.billing_day);
    END IF;
    PERFORM billing.nth_period(v.anchor, v.every, 0, v.time_zone, v.billing_day);
    RETURN billing_internal.with_row(edits, 'schedule_version', to_jsonb(v));
END $$;
COMMENT ON FUNCTION billing_internal.with_schedule(jsonb, jsonb, timestamptz, interval, int) IS
    'a plan with another calendar from an instant on, anchored there or at the billing day';

-- A subscription that comes back in a later period than it left may be billed from then on.
CREATE FUNCTION billing_internal.with_return(edits jsonb, timeline jsonb, left_at timestamptz, at timestamptz, anchor text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v record;
    c record;
BEGIN
    SELECT * INTO STRICT c FROM billing_internal.cycle_at(timeline, at);
    SELECT * INTO STRICT v FROM billing_internal.schedules(timeline) x WHERE x.version = c.version;
    IF anchor = 'keep' OR v.billing_day IS NOT NULL OR c.start_at = at
       OR (SELECT (l.version, l.period_no) = (c.version, c.period_no) FROM billing_internal.cycle_at(timeline, left_at) l) THEN
        RETURN edits;
    END IF;
    RETURN billing_internal.with_schedule(edits, timeline, at, v.every, NULL);
END $$;
COMMENT ON FUNCTION billing_internal.with_return(jsonb, jsonb, timestamptz, timestamptz, text) IS
    'a plan in which a subscription comes back, with a calendar anchored there unless it keeps its own, has a billing day or is in the same period';

CREATE FUNCTION billing_internal.plan_move_billing_day(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, '{"at_period_end":true}' || change);
    billing_day CONSTANT int := billing_internal.check_between((change->>'billing_day')::int, 'billing_day', 1, 31);
    every CONSTANT interval := (SELECT c.every FROM billing_internal.cycle_at(timeline, at) c);
BEGIN
    PERFORM billing_internal.check_live(timeline, at);
    IF extract(day FROM every) > 0 THEN
        PERFORM billing_internal.fail('invalid_argument', format('subscription %s is billed every %s and has no billing day', subscription_id, every));
    END IF;
    RETURN billing_internal.with_schedule(billing_internal.new_edits(subscription_id, at), timeline, at, every, billing_day);
END $$;
COMMENT ON FUNCTION billing_internal.plan_move_billing_day(bigint, jsonb) IS 'plan of billing.move_billing_day';

CREATE FUNCTION billing.move_billing_day(subscription_id bigint, billing_day int, effective_at timestamptz DEFAULT NULL,
    at_period_end boolean DEFAULT true, invoice_now boolean DEFAULT false, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.move_billing_day(bigint, int, timestamptz, boolean, boolean, text, text) IS
    'moves the day of the month on which periods start, from the end of the period or an instant on; returns the subscription''s id';
CREATE FUNCTION billing_internal.move_billing_day(subscription_id bigint, billing_day int, effective_at timestamptz,
    at_period_end boolean, invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'move_billing_day', 'billing_day', $2, 'effective_at', $3,
        'at_period_end', coalesce($4, true), 'reason', $6), $5)
$$;
COMMENT ON FUNCTION billing_internal.move_billing_day(bigint, int, timestamptz, boolean, boolean, text, text) IS 'body of billing.move_billing_day';

-- Takes effect when the first of them would start.
CREATE FUNCTION billing_internal.plan_skip_cycles(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change - 'at_period_end');
    wanted CONSTANT int := billing_internal.check_between(coalesce((change->>'count')::int, 1), 'count', 1, 1000);
    s CONSTANT billing.subscription := jsonb_populate_record(NULL::billing.subscription, timeline->'subscription'->0);
    x billing.skipped_cycle;
    c record;
    no int;
    edits jsonb;
    found_so_far int := 0;
BEGIN
    FOR c IN SELECT * FROM billing_internal.cycles(timeline, at, wanted, true) n WHERE n.start_at < s.end_at OR s.end_at IS NULL OR s.cycles IS NOT NULL ORDER BY n.n LOOP
        edits := coalesce(edits, billing_internal.new_edits(subscription_id, c.start_at));
        FOREACH no IN ARRAY array_remove(ARRAY[c.stub_no, c.period_no], NULL) LOOP
            x := (s.account_id, s.id, c.version, no, true, change->>'reason');
            edits := billing_internal.with_row(edits, 'skipped_cycle', to_jsonb(x));
        END LOOP;
        found_so_far := found_so_far + 1;
    END LOOP;
    IF s.activation <> 'immediate' OR at >= s.end_at OR found_so_far < wanted THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s has no %s cycles to come at %s', subscription_id, wanted, at));
    END IF;
    RETURN edits;
END $$;
COMMENT ON FUNCTION billing_internal.plan_skip_cycles(bigint, jsonb) IS 'plan of billing.skip_cycles';

CREATE FUNCTION billing.skip_cycles(subscription_id bigint, count int DEFAULT 1, effective_at timestamptz DEFAULT NULL,
    invoice_now boolean DEFAULT false, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.skip_cycles(bigint, int, timestamptz, boolean, text, text) IS
    'charges nothing for the next so many cycles that start at an instant (default now) or later; they do not count; returns the subscription''s id';
CREATE FUNCTION billing_internal.skip_cycles(subscription_id bigint, count int, effective_at timestamptz,
    invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'skip_cycles', 'count', $2, 'effective_at', $3, 'reason', $5), $4)
$$;
COMMENT ON FUNCTION billing_internal.skip_cycles(bigint, int, timestamptz, boolean, text, text) IS 'body of billing.skip_cycles';
