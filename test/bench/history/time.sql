-- Times the next month of one seller; :what says whether its customers were edited in the month before.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
SET billing.max_future = '100000d';
SET timezone = 'UTC';
SELECT min(next_due) AS due FROM billing.account_state WHERE entity = :'entity' \gset
SELECT :'what' = 'edited' AS edited \gset
\if :edited
    SET synchronous_commit = off;
    SELECT count(billing.change_item(i.id, quantity => 1 + :pass % 7, effective_at => timestamptz :'due' - interval '10 days'))
      FROM billing.subscription_item i JOIN billing.account a USING (account_id) WHERE a.entity = :'entity' AND i.id & 16777215 = 2 \g /dev/null
    RESET synchronous_commit;
\endif
VACUUM ANALYZE billing.account_state;
CHECKPOINT;
SELECT clock_timestamp() AS started, bench.cpu() AS cpu \gset
CALL billing.bill_run(at => :'due', entity => :'entity');
INSERT INTO bench.history SELECT :'what', :pass, :'entity', extract(epoch FROM clock_timestamp() - :'started'), bench.cpu() - :cpu;
