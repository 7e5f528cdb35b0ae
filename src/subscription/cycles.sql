-- Cycles: the aligned periods of a subscription's schedule versions.

CREATE FUNCTION billing_internal.schedules(timeline jsonb, OUT version int, OUT valid_from timestamptz, OUT valid_until timestamptz,
    OUT anchor timestamptz, OUT every interval, OUT time_zone text, OUT billing_day int, OUT first_period text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT x.version, CASE WHEN row_number() OVER w = 1 THEN '-infinity' ELSE x.valid_from END,
           coalesce(lead(x.valid_from) OVER w, 'infinity'), x.anchor, x.every, x.time_zone, x.billing_day, x.first_period
      FROM jsonb_populate_recordset(NULL::billing.schedule_version, timeline->'schedule_version') x
     WHERE x.valid_from < 'infinity'
    WINDOW w AS (ORDER BY x.valid_from, x.version);
END $$;
COMMENT ON FUNCTION billing_internal.schedules(jsonb) IS 'schedule versions that were not taken back with the ranges in which they hold, the first from ever on';

-- Before the first paid instant what comes is waited for: the start, or the end of the trial.
CREATE FUNCTION billing_internal.cycle_at(timeline jsonb, at timestamptz, OUT version int, OUT period_no int,
    OUT start_at timestamptz, OUT end_at timestamptz, OUT every interval, OUT time_zone text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s billing.subscription;
    v record;
    period tstzrange;
    first timestamptz;
BEGIN
    SELECT * INTO STRICT s FROM jsonb_populate_recordset(NULL::billing.subscription, timeline->'subscription');
    SELECT * INTO STRICT v FROM billing_internal.schedules(timeline) x WHERE at >= x.valid_from AND at < x.valid_until;
    first := coalesce(s.trial_end_at, s.start_at);
    version := v.version;
    every := v.every;
    time_zone := v.time_zone;
    period_no := billing_internal.period_at(v.anchor, v.every, v.time_zone, v.billing_day, at);
    period := billing.nth_period(v.anchor, v.every, period_no, v.time_zone, v.billing_day);
    start_at := CASE WHEN at < s.start_at THEN '-infinity' WHEN at < first THEN s.start_at ELSE greatest(lower(period), v.valid_from, first) END;
    end_at := CASE WHEN at < s.start_at THEN s.start_at WHEN at < first THEN first ELSE least(upper(period), v.valid_until) END;
END $$;
COMMENT ON FUNCTION billing_internal.cycle_at(jsonb, timestamptz) IS 'the cycle of a subscription in which an instant lies, without what lies before the subscription';

-- The cycles that count: neither skipped, free, wholly in the trial nor wholly interrupted.  A joined stub belongs
-- to the first.  Each version gives as many as are wanted, and so many more as may turn out not to count.
CREATE FUNCTION billing_internal.cycles(timeline jsonb, from_at timestamptz, wanted int, starting boolean DEFAULT false,
    OUT n int, OUT version int, OUT period_no int, OUT stub_no int, OUT start_at timestamptz, OUT end_at timestamptz, OUT advance_at timestamptz,
    OUT time_zone text)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s billing.subscription;
    interrupted CONSTANT tstzmultirange := billing_internal.interrupted(timeline);
    first timestamptz;
    skipped jsonb;
    v record;
    lowest int;
    found_so_far int := 0;
    found_now int;
    stub int;
BEGIN
    SELECT * INTO STRICT s FROM jsonb_populate_recordset(NULL::billing.subscription, timeline->'subscription');
    first := coalesce(s.trial_end_at, s.start_at);
    from_at := greatest(from_at, first);
    FOR v IN SELECT * FROM billing_internal.schedules(timeline) x WHERE x.valid_until > from_at ORDER BY x.valid_from LOOP
        EXIT WHEN found_so_far >= wanted;
        lowest := billing_internal.period_at(v.anchor, v.every, v.time_zone, v.billing_day, greatest(from_at, v.valid_from));
        stub := CASE WHEN v.first_period IN ('free', 'join') AND first >= v.valid_from AND first < v.valid_until THEN
                    billing_internal.period_at(v.anchor, v.every, v.time_zone, v.billing_day, first) END;
        IF stub IS NOT NULL AND lower(billing.nth_period(v.anchor, v.every, stub, v.time_zone, v.billing_day)) = first THEN
            stub := NULL;
        END IF;
        SELECT jsonb_object_agg(x.period_no, true) INTO skipped FROM jsonb_populate_recordset(NULL::billing.skipped_cycle, timeline->'skipped_cycle') x
         WHERE x.schedule_version = v.version AND x.skipped;
        RETURN QUERY
        SELECT (found_so_far + row_number() OVER (ORDER BY c.no))::int, v.version::int, c.no, CASE WHEN c.joined THEN stub END, c.from_at, c.until_at,
               CASE WHEN c.joined THEN lower(c.period) ELSE c.from_at END, v.time_zone::text
          FROM (SELECT p.no, p.period, j.joined, CASE WHEN j.joined THEN first ELSE greatest(lower(p.period), v.valid_from, first) END,
                       least(upper(p.period), v.valid_until)
                  FROM (SELECT g.no, billing.nth_period(v.anchor, v.every, g.no, v.time_zone, v.billing_day) AS period
                          FROM generate_series(lowest, least(lowest + wanted - found_so_far + billing_internal.uncounted(v, interrupted, skipped, lowest),
                                   CASE WHEN v.valid_until < 'infinity' THEN billing_internal.period_at(v.anchor, v.every, v.time_zone, v.billing_day,
                                                                                                         v.valid_until - interval '1 microsecond') END)) g (no)) p,
                       LATERAL (SELECT v.first_period = 'join' AND p.no - 1 = stub) j (joined)) c (no, period, joined, from_at, until_at)
         WHERE c.no IS DISTINCT FROM stub AND (c.from_at >= cycles.from_at OR NOT starting)
           AND NOT coalesce(skipped ? c.no::text, false) AND NOT interrupted @> tstzrange(c.from_at, c.until_at)
         ORDER BY c.no LIMIT wanted - found_so_far;
        GET DIAGNOSTICS found_now = ROW_COUNT;
        found_so_far := found_so_far + found_now;
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.cycles(jsonb, timestamptz, int, boolean) IS
    'the cycles that count from that of an instant on, or from the first that starts at it or later; advance_at: regular due instant in advance, that in arrears being the end';

CREATE FUNCTION billing_internal.uncounted(schedule record, interrupted tstzmultirange, skipped jsonb, lowest int) RETURNS int
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN 1 + (SELECT count(*) FROM jsonb_object_keys(skipped)) + (
        SELECT coalesce(sum(greatest(0, billing_internal.period_at(schedule.anchor, schedule.every, schedule.time_zone, schedule.billing_day, upper(r))
                   - greatest(lowest, billing_internal.period_at(schedule.anchor, schedule.every, schedule.time_zone, schedule.billing_day, lower(r))) + 1)), 0)
          FROM unnest(interrupted) r WHERE NOT upper_inf(r));
END $$;
COMMENT ON FUNCTION billing_internal.uncounted(record, tstzmultirange, jsonb, int) IS 'how many cycles of a schedule version from one on may not count, at most';

CREATE FUNCTION billing_internal.end_of_cycles(timeline jsonb, from_at timestamptz, wanted int, starting boolean DEFAULT false) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT c.end_at FROM billing_internal.cycles(timeline, from_at, wanted, starting) c WHERE c.n = wanted);
END $$;
COMMENT ON FUNCTION billing_internal.end_of_cycles(jsonb, timestamptz, int, boolean) IS
    'instant at which so many cycles are over; null where an open interruption keeps them from it';
