\echo Use "ALTER EXTENSION billing UPDATE" to load this file. \quit

SET LOCAL search_path TO pg_catalog, pg_temp;
-- Bodies name tables that billing.setup() makes later.
SET LOCAL check_function_bodies TO off;
