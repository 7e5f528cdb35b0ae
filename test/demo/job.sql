-- The run of 1 April, done by the server itself: a job of the clerk's, on two processes.

SELECT billing.schedule_job('morning run', 'billing.bill_run', every => '1 day',
                            arguments => '{"at": "2026-04-01 06:00 Europe/Berlin", "workers": 2, "batch_size": 50}') AS job \gset
-- A background worker starts when this commits; wait for it, two minutes at most.
DO $$
BEGIN
    FOR i IN 1 .. 1200 LOOP
        EXIT WHEN (SELECT runs > 0 AND state = 'waiting' FROM billing.job_status WHERE name = 'morning run');
        COMMIT;
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;

\pset footer off
\pset linestyle unicode
\qecho 'The run of 1 April by itself: billing.schedule_job(), carried out by a background worker'
\qecho
SELECT j.name AS "Job", j.last_status AS "Status", r.documents AS "Documents",
       (SELECT count(*) FROM billing.run_worker w WHERE w.run_id = r.id) AS "Processes",
       date_trunc('day', j.next_run) > now() AS "Planned again"
  FROM billing.job_status j, billing.run r
 WHERE r.at = '2026-04-01 06:00 Europe/Berlin';
SELECT billing.unschedule_job('morning run') AS job \gset
