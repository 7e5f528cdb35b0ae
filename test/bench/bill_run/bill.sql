-- One run; the file :pid_file tells its server process.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
\pset tuples_only on
\pset format unaligned
SELECT pg_backend_pid() \g :pid_file
CALL billing.bill_run(at => '2026-01-01 12:00+01');
