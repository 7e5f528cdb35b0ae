-- What every table, function and setting must satisfy, asked of the server's own catalogs.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL search_path = public, pg_catalog;
SELECT billing.round_amount(1, 'EUR') \g /dev/null

CREATE TEMPORARY VIEW room AS SELECT oid, nspname FROM pg_namespace WHERE nspname IN ('billing', 'billing_internal');
CREATE TEMPORARY VIEW routine AS
SELECT p.*, n.nspname FROM pg_proc p JOIN room n ON n.oid = p.pronamespace;
CREATE TEMPORARY VIEW relation AS
SELECT c.* FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm');
-- Tables whose rows belong to one account: all with an account_id, but for the directory of keys and the
-- errors of runs, which say what happened to an account and belong to the run.
CREATE TEMPORARY VIEW account_scoped AS
SELECT c.oid, c.relname FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'account_id'
 WHERE c.relkind IN ('r', 'p') AND c.relname NOT IN ('key', 'run_error');

SELECT plan(40 + (SELECT count(*) FROM routine r JOIN pg_language l ON l.oid = r.prolang WHERE l.lanname IN ('plpgsql', 'sql'))::int);

SELECT cmp_ok((SELECT count(*) FROM routine WHERE nspname = 'billing'), '>', 30::bigint, 'there are calls');
SELECT cmp_ok((SELECT count(*) FROM relation WHERE relkind = 'r'), '>', 25::bigint, 'there are tables');
SELECT cmp_ok((SELECT count(*) FROM account_scoped), '>', 10::bigint, 'there are tables of accounts');

-- Comments.
SELECT is_empty($$SELECT oid::regprocedure FROM routine WHERE coalesce(obj_description(oid, 'pg_proc'), '') = ''$$, 'every routine has a comment');
SELECT is_empty($$SELECT oid::regclass FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
                  AND coalesce(obj_description(oid, 'pg_class'), '') = ''$$, 'every table and view has a comment');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'S'
                  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i')
                  AND coalesce(obj_description(c.oid, 'pg_class'), '') = ''$$, 'every sequence that is not a column''s identity has a comment');
SELECT is_empty($$SELECT attrelid::regclass, attname FROM pg_attribute WHERE attrelid IN (SELECT oid FROM relation) AND attnum > 0 AND NOT attisdropped
                  AND coalesce(col_description(attrelid, attnum), '') = ''$$, 'every column has a comment');
SELECT is_empty($$SELECT nspname FROM room WHERE nspname = 'billing_internal' AND obj_description(oid, 'pg_namespace') IS NULL$$, 'the schema of helpers has a comment');
SELECT is_empty($$SELECT oid::regprocedure FROM routine WHERE obj_description(oid, 'pg_proc') ~ '^[A-Z][a-z]|\.$'$$,
                'comments begin in lower case and end without a full stop');

-- Settings.
SELECT is((SELECT array_agg(name ORDER BY name) FROM pg_settings WHERE name LIKE 'billing.%'),
          ARRAY['billing.enabled', 'billing.job_history', 'billing.job_retry', 'billing.max_future', 'billing.max_runners',
                'billing.scheduler_interval', 'billing.seal_timeout', 'billing.workers'], 'the settings');
SELECT is_empty($$SELECT name FROM pg_settings WHERE name LIKE 'billing.%' AND (coalesce(short_desc, '') = '' OR coalesce(extra_desc, '') = '')$$,
                'every setting has a short and a long description');
SELECT CASE WHEN current_setting('server_version_num')::int >= 150000
            THEN throws_ok($$SET billing.enabeld = on$$, '42602', NULL, 'a misspelt setting is refused')
            ELSE skip('before PostgreSQL 15 a misspelt setting is only warned of') END;

-- Names.
SELECT is_empty($$SELECT conrelid::regclass, conname FROM pg_constraint WHERE connamespace = 'billing'::regnamespace AND contype IN ('c', 'f', 'p', 'u', 'x')
                  AND (conname ~ '_(check|fkey|key)[0-9]+$' OR contype = 'p' AND conname ~ '_pkey$')$$, 'no constraint has a name that the server chose');
SELECT is_empty($$SELECT conrelid::regclass, conname FROM pg_constraint WHERE connamespace = 'billing'::regnamespace AND contype <> 't' AND conname !~ '_not_null$'
                  AND position((SELECT relname FROM pg_class WHERE oid = conrelid) IN conname) <> 1$$, 'constraints begin with the name of their table');
SELECT is_empty($$SELECT a.conname, b.conname FROM pg_constraint a JOIN pg_constraint b USING (conname) WHERE a.oid < b.oid AND a.contype IN ('c', 'f', 'p', 'u')
                  AND a.connamespace = 'billing'::regnamespace AND b.connamespace = 'billing'::regnamespace$$, 'no two constraints have the same name');
SELECT is_empty($$SELECT indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE indrelid IN (SELECT oid FROM relation)
                  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid) AND c.relname !~ '_idx$'$$, 'indexes end in _idx');
SELECT is_empty($$SELECT proname FROM routine WHERE nspname = 'billing' GROUP BY 1 HAVING count(*) > 1$$, 'no call is overloaded');
SELECT is_empty($$SELECT proname FROM routine WHERE nspname = 'billing_internal' GROUP BY 1 HAVING count(*) > 1$$, 'nor is a helper');
SELECT is_empty($$SELECT r.proname FROM routine r, unnest(r.proargnames) n WHERE r.nspname = 'billing' AND n = '' OR r.nspname = 'billing' AND r.pronargs > 0 AND r.proargnames IS NULL$$,
                'every argument of a call has a name');

-- The order of arguments: what has no default, then what has; the last ones in their order.
SELECT is_empty($$
    WITH tail (name, rank) AS (VALUES ('effective_at', 1), ('at_period_end', 2), ('invoice_now', 3), ('reason', 4), ('metadata', 5), ('idempotency_key', 6)),
         argument AS (SELECT r.proname, a.name, a.n, t.rank FROM routine r, unnest(r.proargnames[1:r.pronargs]) WITH ORDINALITY a (name, n)
                        LEFT JOIN tail t ON t.name = a.name WHERE r.nspname = 'billing' AND r.proname NOT IN ('create_tax', 'create_tax_rate'))
    SELECT a.proname, a.name, b.name FROM argument a JOIN argument b ON b.proname = a.proname AND b.n > a.n
     WHERE a.rank > coalesce(b.rank, 0)$$, 'arguments common to calls stand last and in order');
SELECT is_empty($$SELECT proname FROM routine WHERE nspname = 'billing' AND proname ~ '^create_' AND 'metadata' = ANY (proargnames)
                  AND proargnames[pronargs] NOT IN ('metadata', 'idempotency_key')$$, 'creating calls end with metadata and the idempotency key');
SELECT is_empty($$SELECT r.oid::regprocedure FROM routine r WHERE r.nspname = 'billing' AND 'idempotency_key' = ANY (r.proargnames)
                  AND (r.prorettype <> 'bigint'::regtype OR r.prosrc !~ '^billing_call_')$$, 'calls with an idempotency key return an id');

-- Calls and their bodies.
SELECT is_empty($$SELECT r.oid::regprocedure FROM routine r WHERE r.nspname = 'billing' AND r.prosrc ~ '^billing_call_'
                  AND NOT EXISTS (SELECT FROM routine b WHERE b.nspname = 'billing_internal' AND b.proname = r.proname AND b.proargtypes = r.proargtypes
                                   AND b.prorettype = r.prorettype AND b.proretset = r.proretset AND b.provolatile = r.provolatile
                                   AND b.proargnames IS NOT DISTINCT FROM r.proargnames)$$, 'every door has a body with the same arguments, result and volatility');
SELECT is_empty($$SELECT oid::regprocedure FROM routine WHERE nspname = 'billing' AND prosrc ~ '^billing_call_' AND proisstrict$$, 'no door is strict: null is an error or a default');
SELECT is_empty($$SELECT r.oid::regprocedure FROM routine r JOIN pg_language l ON l.oid = r.prolang WHERE l.lanname IN ('plpgsql', 'sql')
                  AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (r.proconfig), false)$$,
                'every function in SQL has a locked search path');
SELECT is_empty($$SELECT oid::regprocedure FROM routine WHERE prosecdef$$, 'nothing is SECURITY DEFINER');
SELECT is_empty($$SELECT r.oid::regprocedure FROM routine r, aclexplode(coalesce(r.proacl, acldefault('f', r.proowner))) a WHERE a.grantee = 0$$, 'PUBLIC may execute nothing');
SELECT is_empty($$SELECT r.oid::regprocedure FROM routine r WHERE r.provolatile = 'i' AND r.prosrc ~* 'billing\.[a-z_]+' AND r.proname NOT IN ('books_ddl', 'books_steps')
                  AND regexp_replace(r.prosrc, 'billing\.(nth_period|charge|explain_charge|round_amount)\M', '', 'g') ~ '\mbilling\.'$$, 'no immutable function reads a table');
SELECT is_empty($$SELECT r.oid::regprocedure FROM routine r JOIN pg_language l ON l.oid = r.prolang WHERE l.lanname IN ('plpgsql', 'sql') AND r.provolatile IN ('i', 's')
                  AND r.proname NOT IN ('books_ddl', 'books_steps') AND r.prosrc ~* '\m(INSERT INTO|UPDATE billing|DELETE FROM|lock_account|nextval|FOR (NO KEY )?UPDATE)\M'$$, 'no stable function writes or locks');
SELECT is_empty($$SELECT r.oid::regprocedure FROM routine r, unnest(r.proargtypes::oid[] || r.prorettype) t WHERE t IN ('float4'::regtype, 'float8'::regtype, 'money'::regtype)$$, 'no function takes or returns a float');

-- Every helper in plpgsql compiles against the books.
SET LOCAL check_function_bodies = on;
SELECT lives_ok(format('%s', replace(pg_get_functiondef(r.oid), 'CREATE FUNCTION', 'CREATE OR REPLACE FUNCTION')), format('the body of %s is valid', r.proname))
  FROM routine r JOIN pg_language l ON l.oid = r.prolang WHERE l.lanname IN ('plpgsql', 'sql') ORDER BY r.proname;

-- Tables.
SELECT is_empty($$SELECT attrelid::regclass, attname FROM pg_attribute WHERE attrelid IN (SELECT oid FROM account_scoped) AND attname = 'account_id'
                  AND (atttypid <> 'bigint'::regtype OR NOT attnotnull)$$, 'account_id is bigint not null');
SELECT is_empty($$SELECT s.relname FROM account_scoped s WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = s.oid AND k.contype = 'p')$$, 'every table of accounts has a primary key');
SELECT is_empty($$SELECT i.indexrelid::regclass FROM pg_index i JOIN account_scoped s ON s.oid = i.indrelid JOIN pg_attribute a ON a.attrelid = s.oid AND a.attname = 'account_id'
                  WHERE i.indisunique AND a.attnum <> ALL (i.indkey::int2[]) AND i.indexrelid::regclass::text NOT IN ('billing.seal_position_key', 'billing.seal_number_key')$$,
                'nothing but keys and seals is unique across accounts');
SELECT is_empty($$SELECT k.conname FROM pg_constraint k JOIN account_scoped s ON s.oid = k.conrelid JOIN account_scoped t ON t.oid = k.confrelid
                    JOIN pg_attribute a ON a.attrelid = s.oid AND a.attname = 'account_id' WHERE k.contype = 'f' AND a.attnum <> ALL (k.conkey)$$,
                'foreign keys between tables of accounts contain the account');
SELECT is_empty($$SELECT a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid IN (SELECT oid FROM relation WHERE relkind IN ('r', 'p'))
                  AND a.attnum > 0 AND NOT a.attisdropped AND (a.atttypmod <> -1 OR a.atttypid NOT IN ('bigint'::regtype, 'int'::regtype, 'text'::regtype, 'numeric'::regtype,
                      'boolean'::regtype, 'date'::regtype, 'timestamptz'::regtype, 'interval'::regtype, 'jsonb'::regtype, 'bytea'::regtype, 'bigint[]'::regtype,
                      'text[]'::regtype, 'int[]'::regtype, 'interval[]'::regtype, 'time'::regtype, 'xid8'::regtype))$$, 'columns have plain types of the server');
-- What calls the engine must not be part of a table: DROP EXTENSION ... CASCADE would take the column along.
SELECT is_empty($$SELECT d.classid::regclass, d.objid FROM pg_depend d JOIN routine r ON r.oid = d.refobjid AND d.refclassid = 'pg_proc'::regclass
                  WHERE d.classid NOT IN ('pg_trigger'::regclass, 'pg_rewrite'::regclass, 'pg_proc'::regclass)$$, 'only triggers and views depend on functions of the engine');
SELECT is_empty($$SELECT attrelid::regclass, attname FROM pg_attribute a WHERE attrelid IN (SELECT oid FROM relation) AND attname ~ '(amount|total)$'
                  AND atttypid = 'numeric'::regtype AND NOT EXISTS (SELECT FROM pg_attribute c WHERE c.attrelid = a.attrelid AND c.attname IN ('currency', 'invoice_id', 'price'))$$,
                'amounts stand beside a currency, or in a part of a document or price that has one');

-- Errors.
SELECT set_eq('SELECT * FROM billing.error_code', 'SELECT * FROM billing_internal.error_codes()', 'the table of error codes is the engine''s list');
SELECT is_empty($$SELECT DISTINCT r.oid::regprocedure, m[1] FROM routine r, regexp_matches(r.prosrc, $r$\mfail\('([a-z_0-9]*)'$r$, 'g') m
                  WHERE m[1] NOT IN (SELECT name FROM billing.error_code)
                    AND m[1] NOT IN ('datetime_field_overflow', 'feature_not_supported', 'insufficient_privilege', 'lock_not_available', 'null_value_not_allowed',
                                     'numeric_value_out_of_range', 'object_in_use', 'object_not_in_prerequisite_state', 'undefined_object', 'unique_violation')$$,
                'every error that a function raises has a code');
-- Rights: every call belongs to a kind of access, only setup() to none.
SELECT set_eq($$
    SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'billing'::regnamespace
       AND NOT EXISTS (SELECT FROM unnest(ARRAY['reader', 'application', 'operator', 'administrator']) k
                        WHERE p.oid IN (SELECT r::oid FROM billing_internal.access_routines(k) r)) $$,
    ARRAY['setup'], 'every call but setup() belongs to a kind of access');

SELECT * FROM finish();
ROLLBACK;
