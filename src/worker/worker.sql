-- Jobs for the background workers.

CREATE FUNCTION billing.schedule_job(name text, procedure text, every interval, first_start timestamptz DEFAULT NULL,
    time_zone text DEFAULT NULL, arguments jsonb DEFAULT NULL, paused boolean DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_schedule_job';
COMMENT ON FUNCTION billing.schedule_job(text, text, interval, timestamptz, text, jsonb, boolean) IS
    'lets workers call a procedure or function at regular intervals with the caller''s rights, or changes the job of that name; what is left out stays as it is, and for a new job is now, UTC, no arguments, not paused; returns the name';

CREATE FUNCTION billing.alter_job(name text, procedure text DEFAULT NULL, every interval DEFAULT NULL, first_start timestamptz DEFAULT NULL,
    time_zone text DEFAULT NULL, arguments jsonb DEFAULT NULL, paused boolean DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_alter_job';
COMMENT ON FUNCTION billing.alter_job(text, text, interval, timestamptz, text, jsonb, boolean) IS
    'changes a job; what is left out stays as it is; returns its name';

CREATE FUNCTION billing.unschedule_job(name text) RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_unschedule_job';
COMMENT ON FUNCTION billing.unschedule_job(text) IS 'removes a job and its history; a run under way goes on to its end; returns its name';

CREATE PROCEDURE billing.run_job(name text) LANGUAGE c AS 'MODULE_PATHNAME', 'billing_run_job';
COMMENT ON PROCEDURE billing.run_job(text) IS
    'runs a job now, in the session of the caller, who must be its owner; works without workers';

CREATE FUNCTION billing_internal.job_instant(first_start timestamptz, every interval, time_zone text, at timestamptz)
    RETURNS timestamptz LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_job_instant';
COMMENT ON FUNCTION billing_internal.job_instant(timestamptz, interval, text, timestamptz) IS
    'the first planned instant of a job that is not before a moment';

CREATE FUNCTION billing_internal.wake_workers() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'billing_wake_workers';
COMMENT ON FUNCTION billing_internal.wake_workers() IS 'at commit wakes the worker that looks for due jobs in this database';
