-- States of subscriptions over time.  They follow from the timeline; the table of transitions says which may
-- follow which, and is asked here only.

-- What the timeline says for itself: a cancellation goes before a stop, that before a pause, where they overlap.
CREATE FUNCTION billing_internal.state_at(timeline jsonb, at timestamptz, last_cycle timestamptz) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s billing.subscription;
    kinds text[];
BEGIN
    SELECT * INTO STRICT s FROM jsonb_populate_recordset(NULL::billing.subscription, timeline->'subscription');
    IF at >= s.end_at THEN RETURN 'canceled'; END IF;
    kinds := ARRAY(SELECT x.kind FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') x
                    WHERE x.from_at <= at AND at < coalesce(x.to_at, 'infinity'));
    RETURN CASE WHEN 'cancel' = ANY (kinds) THEN 'canceled' WHEN 'stop' = ANY (kinds) THEN 'stopped' WHEN 'pause' = ANY (kinds) THEN 'paused'
                WHEN at < s.start_at THEN 'future' WHEN at < s.trial_end_at THEN 'trialing'
                WHEN at >= last_cycle OR EXISTS (SELECT FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') x
                                                  WHERE x.kind IN ('cancel', 'stop') AND x.requested_at <= at AND at < least(x.from_at, x.taken_back_at)
                                                    AND (x.to_at IS DISTINCT FROM x.from_at OR x.taken_back_at IS NOT NULL)) THEN 'non_renewing'
                ELSE 'active' END;
END $$;
COMMENT ON FUNCTION billing_internal.state_at(jsonb, timestamptz, timestamptz) IS
    'state of a subscription that is neither pending nor failed at an instant; last_cycle: start of the last cycle of its term';

CREATE FUNCTION billing_internal.state_history(timeline jsonb, known_from timestamptz, OUT valid_from timestamptz, OUT state text)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s billing.subscription;
    last_cycle timestamptz;
BEGIN
    SELECT * INTO STRICT s FROM jsonb_populate_recordset(NULL::billing.subscription, timeline->'subscription');
    IF s.end_at > s.start_at THEN
        last_cycle := (SELECT greatest(c.start_at, s.start_at) FROM billing_internal.cycle_at(timeline, s.end_at - interval '1 microsecond') c);
    END IF;
    RETURN QUERY
    SELECT h.at, h.now_state FROM (
        SELECT p.at, x.now_state, lag(x.now_state) OVER (ORDER BY p.at) AS before
          FROM (SELECT known_from UNION SELECT s.start_at UNION SELECT s.trial_end_at UNION SELECT s.end_at UNION SELECT last_cycle
                UNION SELECT unnest(ARRAY[i.from_at, i.to_at, i.requested_at, i.taken_back_at])
                        FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') i) p (at),
               LATERAL (SELECT billing_internal.state_at(timeline, p.at, last_cycle)) x (now_state)
         WHERE p.at >= known_from) h
     WHERE h.now_state IS DISTINCT FROM h.before ORDER BY h.at;
END $$;
COMMENT ON FUNCTION billing_internal.state_history(jsonb, timestamptz) IS
    'states of a subscription that is neither pending nor failed, from an instant on, as its timeline says';

-- The whole history.  A subscription that waited for its first payment keeps that it did: at an instant it came
-- to life, or failed.
CREATE FUNCTION billing_internal.whole_history(timeline jsonb, decided_at timestamptz, OUT valid_from timestamptz, OUT state text)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s billing.subscription;
    known_from timestamptz;
    waited_from timestamptz;
BEGIN
    SELECT * INTO STRICT s FROM jsonb_populate_recordset(NULL::billing.subscription, timeline->'subscription');
    SELECT min(x.valid_from), min(x.valid_from) FILTER (WHERE x.state = 'pending'),
           coalesce(decided_at, min(x.valid_from) FILTER (WHERE x.state <> 'pending')) INTO known_from, waited_from, decided_at
      FROM billing.subscription_state x WHERE x.account_id = s.account_id AND x.subscription_id = s.id;
    IF s.activation = 'immediate' AND waited_from IS NULL THEN
        RETURN QUERY SELECT * FROM billing_internal.state_history(timeline, least(known_from, s.start_at, CASE WHEN known_from IS NULL THEN now() END));
        RETURN;
    END IF;
    waited_from := least(waited_from, s.start_at, CASE WHEN waited_from IS NULL THEN now() END);
    IF s.activation = 'pending' OR decided_at IS NULL OR decided_at > waited_from THEN
        RETURN QUERY SELECT waited_from, 'pending';
    END IF;
    IF s.activation = 'failed' THEN
        RETURN QUERY SELECT decided_at, 'failed';
    ELSIF s.activation = 'immediate' THEN
        RETURN QUERY SELECT * FROM billing_internal.state_history(timeline, decided_at);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.whole_history(jsonb, timestamptz) IS
    'states of a subscription as its timeline says; decided_at: when a call said what became of a pending one';

-- The one place where states are checked.
CREATE FUNCTION billing_internal.checked_history(subscription_id bigint, timeline jsonb, decided_at timestamptz, OUT instants timestamptz[], OUT states text[])
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong record;
BEGIN
    SELECT array_agg(h.valid_from ORDER BY h.valid_from), array_agg(h.state ORDER BY h.valid_from) INTO instants, states
      FROM billing_internal.whole_history(timeline, decided_at) h;
    SELECT x.* INTO wrong FROM (SELECT u.at, u.state, coalesce(lag(u.state) OVER (ORDER BY u.at), 'new') AS before FROM unnest(instants, states) u (at, state)) x
     WHERE NOT EXISTS (SELECT FROM billing.state_transition t WHERE t.from_state = x.before AND t.to_state = x.state) ORDER BY x.at LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('wrong_subscription_state',
            format('subscription %s cannot become %s at %s, since it is %s', subscription_id, wrong.state, wrong.at, wrong.before), NULL,
            'See billing.subscription_state for its states.');
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.checked_history(bigint, jsonb, timestamptz) IS
    'states of a subscription as its timeline says, or wrong_subscription_state where one may not follow the other';

-- The one place where they are written.
CREATE FUNCTION billing_internal.write_states(subscription_id bigint, decided_at timestamptz DEFAULT NULL, timeline jsonb DEFAULT NULL) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := subscription_id >> 24;
    s CONSTANT jsonb := timeline->'subscription'->0;
    instants timestamptz[];
    states text[];
    changed_from timestamptz;
    unchanged int := 0;
BEGIN
    -- Most new subscriptions: to come, then active.  Deriving that would be a third of what their creation costs.
    IF s->>'activation' = 'immediate' AND coalesce(s->>'trial_end_at', s->>'end_at') IS NULL AND NOT timeline ? 'interruption' THEN
        instants := CASE WHEN (s->>'start_at')::timestamptz > now() THEN ARRAY[now()] END || (s->>'start_at')::timestamptz;
        states := CASE cardinality(instants) WHEN 2 THEN '{future,active}' ELSE '{active}' END::text[];
    ELSE
        SELECT h.instants, h.states INTO instants, states
          FROM billing_internal.checked_history(subscription_id, coalesce(timeline, billing_internal.timeline(subscription_id)), decided_at) h;
    END IF;
    IF timeline IS NULL THEN
        SELECT min(d.at) INTO changed_from FROM (
            SELECT coalesce(x.valid_from, u.at) AS at
              FROM (SELECT y.valid_from, y.state FROM billing.subscription_state y WHERE y.account_id = account AND y.subscription_id = write_states.subscription_id) x
              FULL JOIN unnest(instants, states) u (at, state) ON u.at = x.valid_from AND u.state = x.state
             WHERE x.state IS NULL OR u.state IS NULL) d;
        IF changed_from IS NULL THEN RETURN NULL; END IF;
        DELETE FROM billing.subscription_state x WHERE x.account_id = account AND x.subscription_id = write_states.subscription_id
           AND NOT EXISTS (SELECT FROM unnest(instants, states) u (at, state) WHERE u.at = x.valid_from AND u.state = x.state);
        -- those before that stay, but for the last of them
        unchanged := greatest((SELECT count(*) FROM unnest(instants) u (at) WHERE u.at < changed_from) - 1, 0);
    END IF;
    INSERT INTO billing.subscription_state (account_id, subscription_id, valid_from, state)
    SELECT account, write_states.subscription_id, u.at, u.state FROM unnest(instants, states) u (at, state) ON CONFLICT DO NOTHING;
    RETURN billing_internal.states_payload(instants[unchanged + 1:], states[unchanged + 1:]);
END $$;
COMMENT ON FUNCTION billing_internal.write_states(bigint, timestamptz, jsonb) IS
    'writes the states of a subscription that its timeline says (null: that of the tables; else of a new one), or wrong_subscription_state where one may not follow the other; returns what changed, as events tell it';

CREATE FUNCTION billing.subscription_state_on(subscription_id bigint, at timestamptz DEFAULT NULL) RETURNS text
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.subscription_state_on(bigint, timestamptz) IS 'state of a subscription at a moment (default now), past or to come';
CREATE FUNCTION billing_internal.subscription_state_on(subscription_id bigint, at timestamptz) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing.subscription s WHERE s.account_id = subscription_state_on.subscription_id >> 24 AND s.id = subscription_state_on.subscription_id) THEN
        PERFORM billing_internal.fail('unknown_subscription', format('subscription %s does not exist', subscription_id));
    END IF;
    RETURN coalesce((SELECT x.state FROM billing.subscription_state x
                      WHERE x.account_id = subscription_state_on.subscription_id >> 24 AND x.subscription_id = subscription_state_on.subscription_id
                        AND x.valid_from <= coalesce(at, now()) ORDER BY x.valid_from DESC LIMIT 1), 'future');
END $$;
COMMENT ON FUNCTION billing_internal.subscription_state_on(bigint, timestamptz) IS 'body of billing.subscription_state_on';

CREATE FUNCTION billing.subscription_items_on(subscription_id bigint, at timestamptz DEFAULT NULL, OUT item_id bigint, OUT kind text,
    OUT price text, OUT price_version int, OUT scheme jsonb, OUT quantity numeric)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.subscription_items_on(bigint, timestamptz) IS
    'items that a subscription has at a moment (default now), with the terms that hold then; none while it is stopped or canceled';
CREATE FUNCTION billing_internal.subscription_items_on(subscription_id bigint, at timestamptz, OUT item_id bigint, OUT kind text,
    OUT price text, OUT price_version int, OUT scheme jsonb, OUT quantity numeric)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    moment CONSTANT timestamptz := coalesce(at, now());
BEGIN
    IF billing_internal.subscription_state_on(subscription_id, moment) IN ('stopped', 'canceled', 'failed') THEN RETURN; END IF;
    RETURN QUERY
    SELECT i.id, i.kind, t.price, t.price_version, t.scheme, t.quantity
      FROM jsonb_populate_recordset(NULL::billing.subscription_item, timeline->'subscription_item') i, billing_internal.terms_at(timeline, i.id, moment) t
     WHERE i.kind IN ('recurring', 'instalment') AND i.start_at <= moment AND moment < coalesce(i.end_at, 'infinity') ORDER BY i.id;
END $$;
COMMENT ON FUNCTION billing_internal.subscription_items_on(bigint, timestamptz) IS 'body of billing.subscription_items_on';

CREATE FUNCTION billing.subscription_status_on(at timestamptz DEFAULT NULL, OUT account_id bigint, OUT subscription_id bigint, OUT external_id text,
    OUT plan text, OUT state text, OUT start_at timestamptz, OUT trial_end_at timestamptz, OUT end_at timestamptz, OUT canceled_at timestamptz, OUT reason text,
    OUT period_start timestamptz, OUT period_end timestamptz, OUT next_billing_at timestamptz)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.subscription_status_on(timestamptz) IS
    'state, plan, current period and next billing of all subscriptions at a moment (default now)';
-- Set-based: it is asked about all subscriptions at once.
CREATE FUNCTION billing_internal.subscription_status_on(at timestamptz, OUT account_id bigint, OUT subscription_id bigint, OUT external_id text,
    OUT plan text, OUT state text, OUT start_at timestamptz, OUT trial_end_at timestamptz, OUT end_at timestamptz, OUT canceled_at timestamptz, OUT reason text,
    OUT period_start timestamptz, OUT period_end timestamptz, OUT next_billing_at timestamptz)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment CONSTANT timestamptz := coalesce(at, now());
BEGIN
    RETURN QUERY
    SELECT s.account_id, s.id, s.external_id,
           coalesce((SELECT v.plan FROM billing.plan_version v WHERE v.account_id = s.account_id AND v.subscription_id = s.id AND v.valid_from <= moment
                      ORDER BY v.valid_from DESC, v.version DESC LIMIT 1), s.plan),
           t.state, s.start_at, s.trial_end_at, s.end_at, c.from_at, c.reason,
           CASE WHEN t.state = 'trialing' THEN s.start_at WHEN t.live THEN greatest(lower(p.period), v.valid_from, s.start_at, s.trial_end_at) END,
           e.at, CASE WHEN t.state = 'future' THEN coalesce(s.trial_end_at, s.start_at) ELSE e.at END
      FROM billing.subscription s
      LEFT JOIN LATERAL (SELECT x.from_at, x.reason FROM billing.interruption x WHERE x.account_id = s.account_id AND x.subscription_id = s.id
                            AND x.kind = 'cancel' AND x.to_at IS NULL ORDER BY x.from_at LIMIT 1) c ON true
     CROSS JOIN LATERAL (SELECT x.state, x.state IN ('trialing', 'active', 'non_renewing') FROM (
             SELECT coalesce((SELECT y.state FROM billing.subscription_state y WHERE y.account_id = s.account_id AND y.subscription_id = s.id AND y.valid_from <= moment
                               ORDER BY y.valid_from DESC LIMIT 1), 'future')) x (state)) t (state, live)
      LEFT JOIN LATERAL (SELECT * FROM billing.schedule_version x WHERE x.account_id = s.account_id AND x.subscription_id = s.id AND x.valid_from <= moment
                          ORDER BY x.valid_from DESC LIMIT 1) v ON t.live
      LEFT JOIN LATERAL (SELECT x.valid_from FROM billing.schedule_version x WHERE x.account_id = s.account_id AND x.subscription_id = s.id AND x.valid_from > moment
                          ORDER BY x.valid_from LIMIT 1) n ON t.live
     CROSS JOIN LATERAL (SELECT CASE WHEN v.version IS NOT NULL THEN billing.nth_period(v.anchor, v.every,
             billing_internal.period_at(v.anchor, v.every, v.time_zone, v.billing_day, moment), v.time_zone, v.billing_day) END) p (period)
     CROSS JOIN LATERAL (SELECT CASE WHEN t.state = 'trialing' THEN least(s.trial_end_at, s.end_at, c.from_at)
                                     WHEN t.live THEN least(upper(p.period), n.valid_from, s.end_at, c.from_at) END) e (at);
END $$;
COMMENT ON FUNCTION billing_internal.subscription_status_on(timestamptz) IS 'body of billing.subscription_status_on';
