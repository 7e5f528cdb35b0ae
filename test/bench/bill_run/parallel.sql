-- Books, or copies, as they were before the run, for :what: one run or two sessions of raw inserts on one
-- series, or runs of two sellers that have a series each.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
SELECT :'what' LIKE 'raw%' AS is_raw, :'what' = 'series' AS is_series \gset
\if :is_raw
    CALL bench.fresh_copies();
    VACUUM ANALYZE raw.account_state;
\else
    CALL bench.unbill();
    SET session_replication_role = replica;
    UPDATE billing.account SET entity = CASE WHEN :'is_series' AND account_id / 1000 % 2 = 1 THEN 'beta' ELSE 'acme' END
     WHERE entity <> CASE WHEN :'is_series' AND account_id / 1000 % 2 = 1 THEN 'beta' ELSE 'acme' END;
    UPDATE billing.account_state s SET entity = a.entity FROM billing.account a WHERE a.account_id = s.account_id AND a.entity <> s.entity;
    VACUUM ANALYZE billing.account, billing.account_state;
\endif
CHECKPOINT;
