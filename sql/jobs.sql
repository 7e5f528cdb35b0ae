-- Jobs without workers: run by hand; when a job would run.
\i sql/include/fresh.psql

-- As in books that come from a server with workers: a job, paused, so that none here runs it.
INSERT INTO billing.job (name, owner, procedure, arguments, every, first_start, time_zone, paused, next_run)
SELECT 'check', current_user, 'billing.check', '{"deep": true}', '1 day', '2026-01-01', 'UTC', true, '2026-01-01';
CALL billing.run_job('check');
CALL billing.run_job('other');
SELECT name, state, runs, failures, last_status, next_run > now() AS planned FROM billing.job_status;
SELECT job, run_no, status, planned_at, sqlstate FROM billing.job_history;

-- A job's arguments are given by name; what does not fit is told.
UPDATE billing.job SET arguments = '{"depth": 2}';
CALL billing.run_job('check');
UPDATE billing.job SET procedure = 'billing.chek', arguments = '{}';
CALL billing.run_job('check');
SELECT run_no, status, sqlstate, message FROM billing.job_history ORDER BY 1;

-- In a transaction block the run goes with it.
UPDATE billing.job SET procedure = 'billing.bill_run', arguments = '{"at": "2026-01-01", "batch_size": 10}';
BEGIN;
CALL billing.run_job('check');
SELECT status, at, batch_size FROM billing.run;
ROLLBACK;
SELECT count(*) AS runs FROM billing.run;

-- Planned instants: a day stays at its hour when the clocks change, a month on its day, hours elapse.
SELECT n, billing_internal.job_instant('2026-03-27 03:30+01', '1 day', 'Europe/Berlin', timestamptz '2026-03-27 03:31+01' + n * interval '24 hours') AT TIME ZONE 'Europe/Berlin' AS day,
       billing_internal.job_instant('2026-03-27 03:30+01', '24 hours', 'Europe/Berlin', timestamptz '2026-03-27 03:31+01' + n * interval '24 hours') AT TIME ZONE 'Europe/Berlin' AS hours
  FROM generate_series(0, 3) n;
SELECT billing_internal.job_instant('2026-01-31', '1 month', 'UTC', at) AS month FROM (VALUES (timestamptz '2026-01-01'), ('2026-02-01'), ('2026-02-28 00:00:01')) v (at);
SELECT billing_internal.job_instant('2026-01-31', '1 day 1 hour', 'UTC', '2026-02-01');
SELECT billing_internal.job_instant('2026-01-31', '0.5 seconds', 'UTC', '2026-02-01');
