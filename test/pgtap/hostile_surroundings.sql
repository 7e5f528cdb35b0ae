-- Whatever the caller's schemas hold and his settings say, the documents are the same: traps stand in for every operator
-- and function that bodies use, for types and for tables, first in the search path.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
BEGIN;
\ir include/rights_books.psql
CREATE SCHEMA traps;
GRANT USAGE, CREATE ON SCHEMA traps TO PUBLIC;
CREATE TEMPORARY TABLE plain (type oid PRIMARY KEY);
INSERT INTO plain SELECT unnest('{text,bigint,int,numeric,timestamptz,timestamp,date,interval,boolean,jsonb,bytea,oid,name,tstzrange,"text[]","bigint[]"}'::regtype[]);
GRANT SELECT ON plain TO PUBLIC;
-- All functions of the server that a body of the engine names.
CREATE TEMPORARY TABLE trap AS
SELECT DISTINCT format('CREATE FUNCTION traps.%I(%s) RETURNS %s LANGUAGE plpgsql AS $t$ BEGIN RAISE EXCEPTION ''trapped'' USING ERRCODE = ''TR001''; END $t$',
                       p.proname, pg_get_function_identity_arguments(p.oid), p.prorettype::regtype) AS statement
  FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.provariadic = 0 AND p.prorettype IN (SELECT type FROM plain)
   AND NOT EXISTS (SELECT FROM unnest(p.proargtypes::oid[]) t WHERE t NOT IN (SELECT type FROM plain))
   AND p.proname IN (SELECT DISTINCT w[1] FROM pg_proc e, regexp_matches(e.prosrc, '([a-z_0-9]+)\(', 'g') w WHERE e.pronamespace = 'billing_internal'::regnamespace)
 UNION
SELECT format('CREATE FUNCTION traps.operator_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS $t$ BEGIN RAISE EXCEPTION ''trapped'' USING ERRCODE = ''TR001''; END $t$',
              o.oid, o.oprleft::regtype, o.oprright::regtype, o.oprresult::regtype)
  FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft IN (SELECT type FROM plain) AND o.oprright IN (SELECT type FROM plain) AND o.oprresult IN (SELECT type FROM plain)
 UNION
SELECT format('CREATE DOMAIN traps.%I AS pg_catalog.%1$I CHECK (false)', n) FROM unnest('{text,jsonb,timestamptz,tstzrange,date,regclass,regrole,oid,name,bytea,int8,int4,numeric,bool,interval}'::text[]) n;
SELECT count(*) AS traps FROM trap \gset
SELECT statement FROM trap \gexec
SELECT format('CREATE OPERATOR traps.%s (leftarg = %s, rightarg = %s, function = traps.operator_%s)', o.oprname, o.oprleft::regtype, o.oprright::regtype, o.oid)
  FROM pg_operator o JOIN pg_proc p ON p.proname = format('operator_%s', o.oid) AND p.pronamespace = 'traps'::regnamespace \gexec
-- What the documents say, but for ids.
CREATE TEMPORARY TABLE document (play text, text text);
CREATE FUNCTION public.note_documents(play text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET standard_conforming_strings = on AS
$$
BEGIN
    INSERT INTO pg_temp.document SELECT play, format('%s %s %s %s %s %s %s', i.number, i.kind, i.status, i.billed_at, i.net_total, i.tax_total, i.total) FROM billing.invoice i
     UNION ALL SELECT play, (to_jsonb(l) - '{account_id,invoice_id,item_id,subscription_id,corrects_invoice_id}'::text[])::text FROM billing.invoice_line l
     UNION ALL SELECT play, format('%s %s', c.verb, c.effective_at) FROM billing.subscription_change c
     UNION ALL SELECT play, format('check: %s', c) FROM billing.check(true) c;
END $$;
SAVEPOINT books;

-- Hostile first: what a session prepares once, it keeps.
SET LOCAL search_path = traps, public, pg_catalog;
SET LOCAL standard_conforming_strings = off;
SET LOCAL escape_string_warning = off;
SET LOCAL transform_null_equals = on;
SET LOCAL array_nulls = off;
SET LOCAL quote_all_identifiers = on;
SET LOCAL DateStyle = 'SQL, DMY';
SET LOCAL IntervalStyle = 'sql_standard';
SET LOCAL TimeZone = 'Pacific/Kiritimati';
SET LOCAL bytea_output = 'escape';
SET LOCAL extra_float_digits = -15;
SET LOCAL row_security = off;
SET LOCAL check_function_bodies = off;
SET LOCAL work_mem = '64kB';
SET LOCAL plan_cache_mode = 'force_custom_plan';
SET LOCAL enable_indexscan = off;
SET LOCAL plpgsql.extra_errors = 'all';
\ir include/hostile_play.psql
SAVEPOINT spring;
\set ON_ERROR_STOP off
\set VERBOSITY sqlstate
SELECT 1 = 1 \g /dev/null
\set operator :SQLSTATE
ROLLBACK TO spring;
SELECT lower('A'::pg_catalog.text) \g /dev/null
\set function :SQLSTATE
ROLLBACK TO spring;
\set VERBOSITY default
\set ON_ERROR_STOP on
SELECT public.note_documents('hostile') \g /dev/null
RESET ALL;
SET client_min_messages = error;
SET billing.max_future = '36500d';
SELECT json_agg(text ORDER BY text) AS hostile, count(*) AS lines FROM document \gset
ROLLBACK TO books;
\ir include/hostile_play.psql
SELECT public.note_documents('calm') \g /dev/null
SELECT plan(5);
SELECT cmp_ok(:traps, '>', 250, 'there are many traps');
SELECT is(:'operator' || ' ' || :'function', 'TR001 TR001', 'and they spring');
SELECT cmp_ok(:lines, '>', 20, 'there are documents');
SELECT is_empty($$SELECT text FROM document WHERE text ~ '^check:'$$, 'the books are sound');
SELECT bag_eq(format('SELECT json_array_elements_text(%L)', :'hostile'), 'SELECT text FROM document', 'the documents are the same in hostile surroundings');
SELECT * FROM finish();
ROLLBACK;
