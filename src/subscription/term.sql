-- The life of a subscription as a whole: term, start, trial, and coming to life.

-- Exactly one of end_at and cycles; infinity is endless.  It takes effect at the earlier of the ends.
CREATE FUNCTION billing_internal.plan_change_term(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    new_end CONSTANT timestamptz := change->>'end_at';
    counted_from CONSTANT timestamptz := change->>'effective_at';
    s billing.subscription := jsonb_populate_record(NULL::billing.subscription, timeline->'subscription'->0);
    old_end CONSTANT timestamptz := s.end_at;
    at timestamptz;
BEGIN
    IF (new_end IS NULL) = (change->>'cycles' IS NULL) THEN
        PERFORM billing_internal.fail('invalid_argument', 'either end_at or cycles must be given', NULL, 'For a subscription without end pass end_at => ''infinity''.');
    ELSIF new_end < s.start_at OR counted_from < s.start_at THEN
        PERFORM billing_internal.fail('invalid_argument', format('subscription %s starts at %s only', subscription_id, s.start_at));
    END IF;
    PERFORM billing_internal.check_instant(CASE WHEN new_end < 'infinity' THEN new_end ELSE s.start_at END, 'end_at'),
            billing_internal.check_instant(coalesce(counted_from, s.start_at), 'effective_at');
    s.cycles := billing_internal.check_between((change->>'cycles')::int, 'cycles', 1, 100000);
    s.cycles_from := CASE WHEN new_end IS NULL THEN counted_from END;
    s.end_at := CASE WHEN s.cycles IS NULL THEN nullif(new_end, 'infinity') ELSE billing_internal.end_of_cycles(
                    timeline, coalesce(s.cycles_from, s.trial_end_at, s.start_at), s.cycles) END;
    at := coalesce(least(old_end, s.end_at), now());
    RETURN billing_internal.with_row(billing_internal.new_edits(subscription_id, at), 'subscription', to_jsonb(s));
END $$;
COMMENT ON FUNCTION billing_internal.plan_change_term(bigint, jsonb) IS 'plan of billing.change_term';

CREATE FUNCTION billing.change_term(subscription_id bigint, end_at timestamptz DEFAULT NULL, cycles int DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.change_term(bigint, timestamptz, int, timestamptz, text, text) IS
    'extends or shortens the term of a subscription to an instant (infinity: endless) or to so many cycles, counted from effective_at (default its start); returns its id';
CREATE FUNCTION billing_internal.change_term(subscription_id bigint, end_at timestamptz, cycles int,
    effective_at timestamptz, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'change_term', 'end_at', $2, 'cycles', $3, 'effective_at', $4,
        'reason', $5), false)
$$;
COMMENT ON FUNCTION billing_internal.change_term(bigint, timestamptz, int, timestamptz, text, text) IS 'body of billing.change_term';

-- Another first paid instant: the calendar that holds there is anchored at it or by its billing day, and a trial
-- that ends the subscription ends it there.
CREATE FUNCTION billing_internal.with_first_paid(edits jsonb, timeline jsonb, old_first timestamptz, new_first timestamptz) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held record;
    v billing.schedule_version;
    x billing.interruption;
BEGIN
    SELECT * INTO STRICT held FROM billing_internal.schedules(timeline) h WHERE old_first >= h.valid_from AND old_first < h.valid_until;
    IF new_first < held.valid_from OR new_first >= held.valid_until THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s has another calendar at %s',
            timeline->'subscription'->0->>'id', new_first), NULL, 'Withdraw that change first.');
    END IF;
    SELECT * INTO STRICT v FROM jsonb_populate_recordset(NULL::billing.schedule_version, timeline->'schedule_version') y WHERE y.version = held.version;
    v.anchor := CASE WHEN v.billing_day IS NULL THEN new_first ELSE billing_internal.schedule_anchor(new_first, v.time_zone, v.billing_day) END;
    edits := billing_internal.with_row(edits, 'schedule_version', to_jsonb(v));
    SELECT * INTO x FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') y
     WHERE timeline->'subscription'->0->>'trial_end_action' = 'cancel' AND y.kind = 'cancel' AND y.from_at = old_first;
    IF FOUND AND coalesce(x.to_at, 'infinity') > new_first THEN
        x.from_at := new_first;
        x.requested_at := least(x.requested_at, new_first);
        edits := billing_internal.with_row(edits, 'interruption', to_jsonb(x));
    END IF;
    RETURN edits;
END $$;
COMMENT ON FUNCTION billing_internal.with_first_paid(jsonb, jsonb, timestamptz, timestamptz) IS 'a plan with another first paid instant, and what hangs on it';

CREATE FUNCTION billing_internal.plan_change_trial(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    until CONSTANT timestamptz := change->>'trial_end_at';
    s billing.subscription := jsonb_populate_record(NULL::billing.subscription, timeline->'subscription'->0);
    old_first CONSTANT timestamptz := coalesce(s.trial_end_at, s.start_at);
BEGIN
    PERFORM billing_internal.check_instant(until, 'trial_end_at');
    IF until < s.start_at THEN
        PERFORM billing_internal.fail('invalid_argument', format('subscription %s starts at %s only', subscription_id, s.start_at));
    ELSIF until > s.end_at AND s.cycles IS NULL THEN
        PERFORM billing_internal.fail('invalid_argument', format('subscription %s ends at %s', subscription_id, s.end_at));
    END IF;
    s.trial_end_action := CASE WHEN until > s.start_at THEN coalesce(s.trial_end_action, 'activate') END;
    s.trial_end_at := CASE WHEN until > s.start_at THEN until END;
    s.trial_every := NULL;
    RETURN billing_internal.with_first_paid(
        billing_internal.with_row(billing_internal.new_edits(subscription_id, least(old_first, until)), 'subscription', to_jsonb(s)), timeline, old_first, until);
END $$;
COMMENT ON FUNCTION billing_internal.plan_change_trial(bigint, jsonb) IS 'plan of billing.change_trial';

CREATE FUNCTION billing.change_trial(subscription_id bigint, trial_end_at timestamptz, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.change_trial(bigint, timestamptz, text, text) IS
    'moves the end of a subscription''s trial, from which its periods are counted; to its start: no trial; returns its id';
CREATE FUNCTION billing_internal.change_trial(subscription_id bigint, trial_end_at timestamptz, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'change_trial', 'trial_end_at', $2, 'reason', $3), false)
$$;
COMMENT ON FUNCTION billing_internal.change_trial(bigint, timestamptz, text, text) IS 'body of billing.change_trial';

-- Everything that starts with the subscription moves with it.  Its first calendar and the first terms of items hold
-- from ever, so they need to move back only.  The calendar stays, but for a trial that lasts so long from the start.
CREATE FUNCTION billing_internal.with_start(edits jsonb, timeline jsonb, new_start timestamptz) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s billing.subscription := jsonb_populate_record(NULL::billing.subscription, timeline->'subscription'->0);
    old_start CONSTANT timestamptz := s.start_at;
    old_first CONSTANT timestamptz := coalesce(s.trial_end_at, s.start_at);
    t record;
    r jsonb;
BEGIN
    s.start_at := new_start;
    IF s.trial_every IS NOT NULL THEN
        s.trial_end_at := (SELECT upper(billing.nth_period(new_start, s.trial_every, 0, h.time_zone)) FROM billing_internal.schedules(timeline) h
                            WHERE h.valid_from = '-infinity');
    END IF;
    edits := billing_internal.with_row(edits, 'subscription', to_jsonb(s));
    FOR t IN SELECT * FROM (VALUES ('subscription_item', 'start_at', 'end_at'), ('discount', 'from_at', 'to_at'), ('minimum', 'from_at', 'to_at'))
                      x (name, from_column, to_column) LOOP
        FOR r IN SELECT e FROM jsonb_array_elements(timeline->t.name) e WHERE (e->>t.from_column)::timestamptz = old_start LOOP
            r := r || jsonb_build_object(t.from_column, new_start);
            IF (r->>t.to_column)::timestamptz = old_start OR (r->>t.to_column)::timestamptz < new_start THEN
                r := r || jsonb_build_object(t.to_column, new_start);
            END IF;
            edits := billing_internal.with_row(edits, t.name, r);
        END LOOP;
    END LOOP;
    FOR t IN SELECT 'item_version' AS name, v.e FROM jsonb_array_elements(timeline->'item_version') v (e), jsonb_array_elements(edits->'subscription_item') i (e)
              WHERE v.e->'item_id' = i.e->'id' AND v.e->>'version' = '1' UNION ALL
             SELECT 'schedule_version', e FROM jsonb_array_elements(timeline->'schedule_version') e WHERE e->>'version' = '1' LOOP
        IF (t.e->>'valid_from')::timestamptz > new_start THEN
            edits := billing_internal.with_row(edits, t.name, t.e || jsonb_build_object('valid_from', new_start));
        END IF;
    END LOOP;
    IF s.trial_every IS NOT NULL THEN
        edits := billing_internal.with_first_paid(edits, billing_internal.overlay_rows(timeline, edits), old_first, s.trial_end_at);
    END IF;
    RETURN edits;
END $$;
COMMENT ON FUNCTION billing_internal.with_start(jsonb, jsonb, timestamptz) IS 'a plan with another start of a subscription';

CREATE FUNCTION billing_internal.plan_move_start(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    new_start CONSTANT timestamptz := change->>'start_at';
    s CONSTANT billing.subscription := jsonb_populate_record(NULL::billing.subscription, timeline->'subscription'->0);
    next timestamptz;
BEGIN
    PERFORM billing_internal.check_instant(new_start, 'start_at');
    next := least(CASE WHEN s.cycles IS NULL THEN s.end_at END,
        CASE WHEN s.trial_every IS NULL THEN s.trial_end_at END,
        (SELECT min(x.from_at) FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') x
          WHERE coalesce(x.to_at, 'infinity') > x.from_at AND x.from_at IS DISTINCT FROM CASE WHEN s.trial_every IS NOT NULL THEN s.trial_end_at END),
        (SELECT min(x.valid_until) FROM billing_internal.schedules(timeline) x));
    IF new_start > next OR new_start = next AND new_start > s.start_at THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s cannot start at %s', subscription_id, new_start),
            format('It changes at %s.', next), 'Withdraw that change first, or start earlier.');
    END IF;
    RETURN billing_internal.with_start(billing_internal.new_edits(subscription_id, least(s.start_at, new_start)), timeline, new_start);
END $$;
COMMENT ON FUNCTION billing_internal.plan_move_start(bigint, jsonb) IS 'plan of billing.move_start';

CREATE FUNCTION billing.move_start(subscription_id bigint, start_at timestamptz, invoice_now boolean DEFAULT false, reason text DEFAULT NULL,
    idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.move_start(bigint, timestamptz, boolean, text, text) IS
    'moves the start of a subscription and of what starts with it, back or forth; its periods stay where they are; returns its id';
CREATE FUNCTION billing_internal.move_start(subscription_id bigint, start_at timestamptz, invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'move_start', 'start_at', $2, 'reason', $4), $3)
$$;
COMMENT ON FUNCTION billing_internal.move_start(bigint, timestamptz, boolean, text, text) IS 'body of billing.move_start';

-- What was paid later than it was to start starts then, and its periods with it.
CREATE FUNCTION billing_internal.plan_activate_subscription(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change - 'at_period_end');
    s billing.subscription := jsonb_populate_record(NULL::billing.subscription, timeline->'subscription'->0);
    old_first CONSTANT timestamptz := coalesce(s.trial_end_at, s.start_at);
    edits jsonb := billing_internal.new_edits(subscription_id, at);
BEGIN
    PERFORM billing_internal.check_pending(s.id, s.activation);
    IF at > s.start_at THEN
        IF s.trial_every IS NULL AND s.trial_end_at <= at OR s.cycles IS NULL AND s.end_at <= at THEN
            PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s cannot start at %s', s.id, at),
                                          'Its trial or its term would be over.');
        END IF;
        edits := billing_internal.with_start(edits, timeline, at);
        s := jsonb_populate_record(NULL::billing.subscription, edits->'subscription'->0);
        IF s.trial_every IS NULL AND s.trial_end_at IS NULL THEN
            edits := billing_internal.with_first_paid(edits, billing_internal.overlay_rows(timeline, edits), old_first, at);
        END IF;
    END IF;
    s.activation := 'immediate';
    RETURN billing_internal.with_row(edits || jsonb_build_object('changed_from', s.start_at), 'subscription', to_jsonb(s));
END $$;
COMMENT ON FUNCTION billing_internal.plan_activate_subscription(bigint, jsonb) IS 'plan of billing.activate_subscription';

CREATE FUNCTION billing_internal.check_pending(subscription_id bigint, activation text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF activation <> 'pending' THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s does not wait for its first payment', subscription_id));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_pending(bigint, text) IS 'refuses what does not wait for its first payment';

CREATE FUNCTION billing.activate_subscription(subscription_id bigint, effective_at timestamptz DEFAULT NULL, invoice_now boolean DEFAULT true,
    reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.activate_subscription(bigint, timestamptz, boolean, text, text) IS
    'brings a subscription to life that waited for its first payment, at an instant (default now), where it starts unless it starts later; returns its id';
CREATE FUNCTION billing_internal.activate_subscription(subscription_id bigint, effective_at timestamptz, invoice_now boolean,
    reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'activate_subscription', 'effective_at', $2, 'reason', $4), coalesce($3, true))
$$;
COMMENT ON FUNCTION billing_internal.activate_subscription(bigint, timestamptz, boolean, text, text) IS 'body of billing.activate_subscription';

CREATE FUNCTION billing_internal.plan_fail_subscription(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change - 'at_period_end');
    s billing.subscription := jsonb_populate_record(NULL::billing.subscription, timeline->'subscription'->0);
BEGIN
    PERFORM billing_internal.check_pending(s.id, s.activation);
    s.activation := 'failed';
    RETURN billing_internal.with_row(billing_internal.new_edits(subscription_id, at), 'subscription', to_jsonb(s));
END $$;
COMMENT ON FUNCTION billing_internal.plan_fail_subscription(bigint, jsonb) IS 'plan of billing.fail_subscription';

CREATE FUNCTION billing.fail_subscription(subscription_id bigint, effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL,
    idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.fail_subscription(bigint, timestamptz, text, text) IS
    'ends the wait of a subscription whose first payment failed, for good; returns its id';
CREATE FUNCTION billing_internal.fail_subscription(subscription_id bigint, effective_at timestamptz, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'fail_subscription', 'effective_at', $2, 'reason', $3), false)
$$;
COMMENT ON FUNCTION billing_internal.fail_subscription(bigint, timestamptz, text, text) IS 'body of billing.fail_subscription';
