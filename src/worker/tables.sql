-- Jobs.
CREATE TABLE IF NOT EXISTS billing.job ( -- procedures that workers call again and again; billing.schedule_job() and its like change them
    name text NOT NULL CONSTRAINT job_key PRIMARY KEY CONSTRAINT job_name_check CHECK (octet_length(name) BETWEEN 1 AND 100), -- name of the job
    owner text NOT NULL, -- role with whose rights it runs: the one that scheduled it
    procedure text NOT NULL, -- procedure or function, with schema; with argument types where the name alone is not unique
    arguments jsonb NOT NULL, -- its arguments by name
    every interval NOT NULL, -- how often: months or days on the wall clock, or hours, minutes and seconds of elapsed time
    first_start timestamptz NOT NULL, -- first planned instant, from which the others are counted
    time_zone text NOT NULL, -- zone in which months and days are counted
    paused boolean NOT NULL, -- it is not started; what it misses is caught up once when it goes on
    next_run timestamptz NOT NULL, -- when it is due: the next planned instant, or that of the next try after a failure
    proof text, -- made by the calls: this role scheduled this
    runs bigint NOT NULL DEFAULT 0, -- runs that were begun
    failures int NOT NULL DEFAULT 0, -- runs that did not succeed since the last that did
    running_pid int, -- server process that runs it; null: none
    running_since timestamptz, -- since when
    CONSTRAINT job_running_check CHECK ((running_pid IS NULL) = (running_since IS NULL))
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS billing.job_history ( -- the last runs of every job; billing.job_history limits them
    job text NOT NULL CONSTRAINT job_history_job_fkey REFERENCES billing.job ON UPDATE CASCADE ON DELETE CASCADE, -- job
    run_no bigint NOT NULL, -- 1, 2, 3 ... of the job
    status text NOT NULL CONSTRAINT job_history_status_check CHECK (status IN ('succeeded', 'failed', 'interrupted')), -- succeeded; failed with an error; interrupted: its process went away
    planned_at timestamptz, -- instant for which it ran; null: by hand, before it was due
    started_at timestamptz NOT NULL, -- start of the run
    finished_at timestamptz NOT NULL, -- end of the run
    sqlstate text, -- SQLSTATE of the error
    message text, -- message of the error
    detail text, -- detail of the error
    hint text, -- hint of the error
    context text, -- context of the error
    CONSTRAINT job_history_key PRIMARY KEY (job, run_no)
);

CREATE OR REPLACE VIEW billing.job_status ( -- jobs, what they are doing and how their last run ended
    name, -- job
    owner, -- role with whose rights it runs
    procedure, -- procedure or function
    state, -- running, paused, retrying (after a failure), due or waiting
    next_run, -- when it is due
    runs, -- runs that were begun
    failures, -- runs that did not succeed since the last that did
    running_pid, -- server process that runs it
    running_since, -- since when
    last_status, -- how its last run ended
    last_started_at, -- when that began
    last_finished_at, -- when that ended
    last_sqlstate, -- SQLSTATE of its error
    last_message -- message of its error
) AS
SELECT j.name, j.owner, j.procedure,
       CASE WHEN j.running_pid IS NOT NULL THEN 'running' WHEN j.paused THEN 'paused' WHEN j.failures > 0 THEN 'retrying'
            WHEN j.next_run <= now() THEN 'due' ELSE 'waiting' END,
       j.next_run, j.runs, j.failures, j.running_pid, j.running_since,
       h.status, h.started_at, h.finished_at, h.sqlstate, h.message
  FROM billing.job j
  LEFT JOIN LATERAL (SELECT * FROM billing.job_history x WHERE x.job = j.name ORDER BY x.run_no DESC LIMIT 1) h ON true;

CREATE OR REPLACE TRIGGER book_wake_workers AFTER INSERT OR UPDATE ON billing.book
    FOR EACH STATEMENT EXECUTE FUNCTION billing_internal.wake_workers();
CREATE OR REPLACE TRIGGER job_wake_workers AFTER INSERT OR UPDATE OR DELETE ON billing.job
    FOR EACH STATEMENT EXECUTE FUNCTION billing_internal.wake_workers();
