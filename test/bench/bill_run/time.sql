-- Times :what ('run', 'quiet', a run whose events are not kept, or 'raw') on books, or copies, as they were before the run.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
SELECT :'what' <> 'raw' AS is_run, billing.keep_events(ARRAY(SELECT type FROM billing.event_type), :'what' <> 'quiet') AS switched \gset
\if :is_run
    CALL bench.unbill();
    VACUUM ANALYZE billing.account_state;
\else
    CALL bench.fresh_copies();
    VACUUM ANALYZE raw.account_state;
\endif
CHECKPOINT;
SELECT clock_timestamp() AS started, bench.cpu() AS cpu \gset
\if :is_run
    CALL billing.bill_run(at => '2026-01-01 12:00+01');
\else
    CALL bench.raw_run();
\endif
INSERT INTO bench.result SELECT :pass, :'what', extract(epoch FROM clock_timestamp() - :'started'), bench.cpu() - :cpu;
