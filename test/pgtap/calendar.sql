-- Billing periods against the server's own calendar, over thousands of anchors.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL timezone = 'Asia/Kathmandu';  -- no result may depend on it
SET LOCAL datestyle = 'ISO';
SELECT plan(44);

CREATE FUNCTION pg_temp.dice(seed int, roll int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashint4extended(seed, roll) & 2147483647 $$;

-- The SQLSTATE that a statement raises, or null.
CREATE FUNCTION pg_temp.sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS
$$
BEGIN
    EXECUTE statement;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate;
END $$;

-- Schedules without (day null) and with a billing day, anchored from 1990 to 2089.
CREATE TEMPORARY TABLE schedule AS
SELECT i, zone, every, day, months,
       '1990-01-01Z'::timestamptz + make_interval(secs => (pg_temp.dice(i, 1) % 36500) * 86400 + pg_temp.dice(i, 2) % 86400) AS anchor,
       (pg_temp.dice(i, 3) % 121 - 40)::int AS n
  FROM generate_series(1, 6000) i,
       LATERAL (SELECT (ARRAY['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Pacific/Kiritimati', 'Etc/GMT+12',
                              'UTC', 'America/Sao_Paulo', 'Asia/Tehran', 'Pacific/Chatham'])[1 + pg_temp.dice(i, 4) % 9] AS zone,
                       (ARRAY['1 month', '2 months', '3 months', '6 months', '1 year', '1 day', '1 week', '30 days'
                             ]::interval[])[1 + pg_temp.dice(i, 5) % 8] AS every) z,
       LATERAL (SELECT extract(day FROM every) = 0 AS months) m,
       LATERAL (SELECT CASE WHEN months AND i % 3 = 0 THEN (1 + pg_temp.dice(i, 6) % 31)::int END AS day) d;

CREATE TEMPORARY TABLE period AS
SELECT s.*, p.start_at, p.end_at, (s.anchor AT TIME ZONE zone) AS local_anchor, (p.start_at AT TIME ZONE zone) AS local_start
  FROM schedule s, LATERAL (SELECT lower(r) AS start_at, upper(r) AS end_at
                              FROM billing.nth_period(anchor, every, n, zone, day) r) p;

SELECT is_empty($$
    SELECT * FROM period WHERE day IS NULL
       AND start_at <> CASE n WHEN 0 THEN anchor ELSE (local_anchor + n * every) AT TIME ZONE zone END
$$, 'period n starts at the anchor''s wall-clock time plus n intervals, as the server resolves it');
SELECT is_empty($$
    SELECT * FROM period p,
           LATERAL (SELECT date_trunc('month', local_anchor) AS month) m,
           LATERAL (SELECT CASE WHEN month + (least(day, extract(day FROM month + '1 month - 1 day')) - 1) * '1 day'::interval
                                     <= local_anchor THEN month ELSE month - '1 month'::interval END AS anchor_month) a,
           LATERAL (SELECT anchor_month + n * every AS month_n) b
     WHERE day IS NOT NULL
       AND start_at <> (month_n + (least(day, extract(day FROM month_n + '1 month - 1 day')) - 1) * '1 day'::interval)
                       AT TIME ZONE zone
$$, 'with a billing day it is that day at local midnight, clamped to its month');
SELECT is_empty($$
    SELECT * FROM period WHERE months
       AND extract(day FROM local_start) <> least(coalesce(day, extract(day FROM local_anchor)),
                                                  extract(day FROM date_trunc('month', local_start) + '1 month - 1 day'))
$$, 'its day is the anchor''s, clamped');
SELECT is_empty($$
    SELECT * FROM period
     WHERE end_at <> lower(billing.nth_period(anchor, every, n + 1, zone, day)) OR start_at >= end_at
$$, 'periods tile without gap or overlap');
SELECT is_empty($$
    SELECT * FROM period
     WHERE n <> ALL (ARRAY[billing_internal.period_at(anchor, every, zone, day, start_at),
                           billing_internal.period_at(anchor, every, zone, day, end_at - '1 microsecond'::interval),
                           billing_internal.period_at(anchor, every, zone, day,
                               start_at + (end_at - start_at) * (pg_temp.dice(i, 7) % 1000) / 1000)])
        OR n + 1 <> billing_internal.period_at(anchor, every, zone, day, end_at)
$$, 'period_at finds the period of every moment in it');
SELECT is_empty($$
    SELECT * FROM period, billing_internal.schedule_anchor(anchor, zone, day) a
     WHERE day IS NOT NULL
       AND (a > anchor OR a <> lower(billing.nth_period(anchor, every, 0, zone, day))
            OR a <> billing_internal.schedule_anchor(a, zone, day)
            OR billing_internal.schedule_anchor(anchor + '32 days'::interval, zone, day) <= a)
$$, 'the anchor of a billing day is the latest not after the start, and stays where it is');

-- The cases that people ask about
CREATE FUNCTION pg_temp.starts(anchor text, every interval, zone text, first int, last int, day int DEFAULT NULL)
    RETURNS text LANGUAGE sql AS
$$
    SELECT string_agg(to_char(lower(billing.nth_period(anchor::timestamp AT TIME ZONE zone, every, n, zone, day))
                              AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI'), ', ' ORDER BY n)
      FROM generate_series(first, last) n
$$;
SELECT is(pg_temp.starts(anchor, every::interval, zone, first, last, day),
          expected, format('%s, %s, %s', anchor, every, zone))
  FROM (VALUES
    ('2026-01-31', '1 month', 'Europe/Berlin', 1, 3, NULL, '2026-02-28 00:00, 2026-03-31 00:00, 2026-04-30 00:00'),
    ('2024-01-31', '1 month', 'Europe/Berlin', -1, 1, NULL, '2023-12-31 00:00, 2024-01-31 00:00, 2024-02-29 00:00'),
    ('2028-01-30', '1 month', 'Europe/Berlin', 1, 2, NULL, '2028-02-29 00:00, 2028-03-30 00:00'),
    ('2099-11-30', '3 months', 'Europe/Berlin', 1, 2, NULL, '2100-02-28 00:00, 2100-05-30 00:00'),
    ('2025-12-31', '2 months', 'Europe/Berlin', 1, 2, NULL, '2026-02-28 00:00, 2026-04-30 00:00'),
    ('2025-08-31', '6 months', 'Europe/Berlin', 1, 2, NULL, '2026-02-28 00:00, 2026-08-31 00:00'),
    ('2024-02-29', '1 year', 'Europe/Berlin', 1, 4, NULL,
     '2025-02-28 00:00, 2026-02-28 00:00, 2027-02-28 00:00, 2028-02-29 00:00'),
    ('2026-01-31', '1 week', 'Europe/Berlin', -1, 1, NULL, '2026-01-24 00:00, 2026-01-31 00:00, 2026-02-07 00:00'),
    ('2024-01-31', '30 days', 'Europe/Berlin', 1, 2, NULL, '2024-03-01 00:00, 2024-03-31 00:00'),
    -- forward: the hour from 2 to 3 is missing; back: it comes twice and the later counts
    ('2026-03-28 02:30', '1 day', 'Europe/Berlin', 1, 2, NULL, '2026-03-29 03:30, 2026-03-30 02:30'),
    ('2026-02-08 02:30', '1 month', 'America/New_York', 1, 2, NULL, '2026-03-08 03:30, 2026-04-08 02:30'),
    ('2026-10-03 02:15', '1 day', 'Australia/Lord_Howe', 1, 2, NULL, '2026-10-04 02:45, 2026-10-05 02:15'),
    ('2017-09-15', '1 month', 'America/Sao_Paulo', 1, 2, NULL, '2017-10-15 01:00, 2017-11-15 00:00'),
    ('2017-09-20', '1 month', 'America/Sao_Paulo', 0, 2, 15, '2017-09-15 00:00, 2017-10-15 01:00, 2017-11-15 00:00'),
    ('2026-02-10 15:00', '1 month', 'Europe/Berlin', -1, 1, 31, '2025-12-31 00:00, 2026-01-31 00:00, 2026-02-28 00:00'),
    ('2026-02-28', '1 month', 'Europe/Berlin', 0, 1, 30, '2026-02-28 00:00, 2026-03-30 00:00'),
    ('2026-02-27 23:59', '1 month', 'Pacific/Kiritimati', 0, 1, 29, '2026-01-29 00:00, 2026-02-28 00:00'),
    ('2026-02-28', '1 year', 'Etc/GMT+12', 0, 2, 29, '2026-02-28 00:00, 2027-02-28 00:00, 2028-02-29 00:00'))
       x (anchor, every, zone, first, last, day, expected);
SELECT is(lower(billing.nth_period('2026-10-24 02:30+02', '1 day', 1, 'Europe/Berlin')), '2026-10-25 02:30+01',
          'of an hour that comes twice the later counts');
SELECT is(billing.nth_period('2026-10-25 02:30+02', '1 day', 0, 'Europe/Berlin'), '[2026-10-25 02:30+02,2026-10-26 02:30+01)',
          'unless the anchor itself lies in the earlier');
SELECT ok(isempty(billing.nth_period('2011-12-25 12:00-10', '1 day', 5, 'Pacific/Apia'))
          AND billing_internal.period_at('2011-12-25 12:00-10', '1 day', 'Pacific/Apia', NULL, '2011-12-31 13:00+14') = 6,
          'a day that a zone skipped is an empty period');
SELECT is(billing_internal.schedule_anchor('2018-02-17 23:30-02', 'America/Sao_Paulo', 17), '2018-02-17 00:00-02',
          'midnight after an hour that came twice');
SELECT is(lower(billing.nth_period('2026-01-01 00:00+01', '1 month', 6, 'CET')), '2026-07-01 00:00+02',
          'CET is the zone, not the abbreviation');

-- Lengths
SELECT is(billing_internal.proration_length(basis, from_at::timestamptz, until_at::timestamptz, 'Europe/Berlin'),
          expected::bigint, format('%s from %s to %s', basis, from_at, until_at))
  FROM (VALUES
    ('day', '2026-01-27 00:00+01', '2026-02-01 00:00+01', 5),
    ('30/360', '2026-01-27 00:00+01', '2026-02-01 00:00+01', 4),
    ('day', '2026-03-28 23:00+01', '2026-03-30 01:00+02', 2),
    ('second', '2026-03-29 00:00+01', '2026-03-30 00:00+02', 82800000000),
    ('30/360', '2026-01-31 00:00+01', '2026-02-28 00:00+01', 28),
    ('30/360', '2026-02-28 00:00+01', '2026-03-31 00:00+02', 32),
    ('30/360', '2025-12-30 00:00+01', '2025-12-31 00:00+01', 0))
       x (basis, from_at, until_at, expected);
SELECT throws_ok($$SELECT billing_internal.proration_length('hour', now(), now(), 'UTC')$$, 'LB208', NULL, 'no such basis');

-- What is refused; the last periods before year 10000
SELECT is(upper(billing.nth_period('9998-12-01 00:00Z', '1 month', 11, 'UTC')), '9999-12-01 00:00Z', 'the last whole period');
SELECT is_empty($$
    SELECT call, expected, got FROM (VALUES
        ('NULL, ''1 month'', 0, ''UTC''', '22004'),
        ('''2026-01-01'', NULL, 0, ''UTC''', '22004'),
        ('''2026-01-01'', ''1 month'', NULL, ''UTC''', '22004'),
        ('''2026-01-01'', ''1 month'', 0, NULL', '22004'),
        ('''2026-01-01'', ''0'', 0, ''UTC''', 'LB205'),
        ('''2026-01-01'', ''-1 month'', 0, ''UTC''', 'LB205'),
        ('''2026-01-01'', ''1 month 1 day'', 0, ''UTC''', 'LB205'),
        ('''2026-01-01'', ''1 month -1 day'', 0, ''UTC''', 'LB205'),
        ('''2026-01-01'', ''24 hours'', 0, ''UTC''', 'LB205'),
        ('''2026-01-01'', ''1 day'', 0, ''UTC'', 1', 'LB205'),
        ('''2026-01-01'', ''1 month'', 0, ''UTC'', 0', 'LB208'),
        ('''2026-01-01'', ''1 month'', 0, ''UTC'', 32', 'LB208'),
        ('''2026-01-01'', ''1 month'', 0, ''Nowhere''', 'LB206'),
        ('''2026-01-01'', ''1 month'', 0, ''UTC+3''', 'LB206'),
        ('''2026-01-01'', ''1 month'', 0, ''Etc/GMT+15''', 'LB206'),
        ('''2026-01-01'', ''1 month'', 0, ''''', 'LB206'),
        ('''infinity'', ''1 month'', 0, ''UTC''', '22008'),
        ('''-infinity'', ''1 month'', 0, ''UTC''', '22008'),
        ('''10000-01-01Z'', ''1 month'', 0, ''UTC''', '22008'),
        ('''9999-12-31 23:59:59.999999Z'', ''1 day'', 0, ''UTC''', '22008'),
        ('''2026-01-01'', ''1 month'', 2147483647, ''UTC''', '22008'),
        ('''2026-01-01'', ''1 month'', -2147483648, ''UTC''', '22008'),
        ('''2026-01-01'', ''2147483647 days'', 1, ''UTC''', '22008'),
        ('''4713-01-01Z BC'', ''1 day'', -100, ''UTC''', '22008'),
        ('''4713-01-15Z BC'', ''1 month'', -2, ''UTC''', '22008'),
        ('''4713-01-15Z BC'', ''1 month'', -1, ''UTC''', NULL),
        ('''2026-01-01'', ''1 month'', 0, ''est5edt''', NULL),
        ('''2026-01-01'', ''1 month'', 0, ''GMT+0''', NULL),
        ('''2026-01-01'', ''1 month'', 0, ''europe/berlin''', NULL)) x (call, expected),
        pg_temp.sqlstate_of('SELECT billing.nth_period(' || call || ')') got
     WHERE got IS DISTINCT FROM expected
$$, 'every mistake has its SQLSTATE');
SELECT throws_ok($$SELECT billing_internal.check_instant('infinity', 'effective_at')$$, '22008',
                 'effective_at is out of range', 'the message names the argument');
SELECT throws_ok($$SELECT billing_internal.check_instant('10000-01-01Z', 'at')$$, '22008', NULL, 'year 10000 is too late');
SELECT lives_ok($$SELECT billing_internal.check_instant('9999-12-31 23:59:59.999999Z', 'at')$$, 'the last instant');
SELECT throws_ok($$SELECT billing_internal.check_interval(NULL)$$, '22004', '"every" must not be null', 'null is no interval');

-- Offsets of zones are remembered; the server always looks them up. A day that a zone left out is empty.
SELECT is_empty($$
    SELECT z, a, n, p FROM (SELECT name FROM pg_timezone_names WHERE name ~ '/' AND name !~ '^(posix|right)/') zones (z),
           LATERAL (SELECT timestamptz '1990-01-01' + random() * interval '20000 days' AS a, (random() * 9000)::int + 1 AS n
                      FROM generate_series(1, 50) WHERE z IS NOT NULL) drawn, billing.nth_period(a, '1 day', n, z) p
     WHERE NOT isempty(p) AND lower(p) <> (a AT TIME ZONE z + n * interval '1 day') AT TIME ZONE z $$,
    'days at random in all zones begin when the server says');
SELECT * FROM finish();
ROLLBACK;
