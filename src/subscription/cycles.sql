-- Cycles: the aligned periods of a subscription's schedule versions.

CREATE FUNCTION billing_internal.schedules(timeline jsonb, OUT version int, OUT valid_from timestamptz, OUT valid_until timestamptz,
    OUT anchor timestamptz, OUT every interval, OUT time_zone text, OUT billing_day int, OUT first_period text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT x.version, CASE WHEN row_number() OVER w = 1 THEN '-infinity' ELSE x.valid_from END,
           coalesce(lead(x.valid_from) OVER w, 'infinity'), x.anchor, x.every, x.time_zone, x.billing_day, x.first_period
      FROM jsonb_populate_recordset(NULL::billing.schedule_version, timeline->'schedule_version') x
    WINDOW w AS (ORDER BY x.valid_from, x.version);
END $$;
COMMENT ON FUNCTION billing_internal.schedules(jsonb) IS 'schedule versions with the ranges in which they hold, the first from ever on';

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
    start_at := greatest(lower(period), v.valid_from, CASE WHEN at >= first THEN first END);
    end_at := least(upper(period), v.valid_until, CASE WHEN at < s.start_at THEN s.start_at WHEN at < first THEN first END);
END $$;
COMMENT ON FUNCTION billing_internal.cycle_at(jsonb, timestamptz) IS 'the cycle of a subscription in which an instant lies, without what lies before the subscription';
