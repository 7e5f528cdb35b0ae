-- A run whose statements report their durations; statements.awk sums them up.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
LOAD 'auto_explain';
CALL bench.unbill();
VACUUM ANALYZE billing.account_state;
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_nested_statements = on;
SET auto_explain.log_level = notice;
SET client_min_messages = notice;
\timing on
CALL billing.bill_run(at => '2026-01-01 12:00+01');
