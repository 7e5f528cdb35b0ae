-- Rights, asked of the catalog, so that what is new is covered: nothing for PUBLIC, nothing that runs with rights
-- of somebody else, and for every call and every kind of access whether the one may make the other.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
BEGIN;
\ir include/rights_books.psql
\ir include/rights.psql
SELECT billing.create_account('Customer of ' || e, entity => e, external_id => e || '-1') FROM unnest('{acme,bolt}'::text[]) e \g /dev/null
CREATE ROLE rights_acme;
SELECT billing.limit_reading() WHERE current_setting('server_version_num')::int >= 150000 \g /dev/null
SELECT billing.grant_access('rights_acme', 'administrator', entity => 'acme') \g /dev/null

-- What there is.
CREATE TEMPORARY VIEW room AS SELECT oid FROM pg_namespace WHERE nspname IN ('billing', 'billing_internal');
CREATE TEMPORARY VIEW routine AS SELECT p.*, l.lanname FROM pg_proc p JOIN room n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang;
CREATE TEMPORARY VIEW relation AS SELECT * FROM pg_class WHERE relnamespace IN (SELECT oid FROM room) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S');
CREATE TEMPORARY TABLE kind AS SELECT kind, rank::int, format('rights_%s', kind)::name AS role FROM unnest('{none,reader,application,operator,administrator}'::text[]) WITH ORDINALITY k (kind, rank);
-- setup() is for superusers only.
CREATE TEMPORARY TABLE call AS
SELECT p.oid, p.proname::text AS name, coalesce(k.rank, 6) AS rank,
       -- these compute from their arguments alone: whoever may execute them may call them
       p.proname IN ('charge', 'explain_charge', 'round_amount', 'nth_period') AS pure
  FROM pg_proc p LEFT JOIN kind k ON p.oid IN (SELECT r::oid FROM billing_internal.access_routines(k.kind) r)
 WHERE p.pronamespace = 'billing'::regnamespace;

SELECT plan(22 + 4 * (SELECT count(*) FROM call)::int);

-- Nothing for PUBLIC.
SELECT is_empty($$SELECT r.oid::regprocedure FROM routine r, aclexplode(coalesce(r.proacl, acldefault('f', r.proowner))) a WHERE a.grantee = 0$$, 'PUBLIC may execute nothing');
SELECT is_empty($$SELECT c.oid::regclass FROM relation c, aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
                   WHERE a.grantee = 0$$, 'PUBLIC has nothing of a table, view or sequence');
SELECT is_empty($$SELECT attrelid::regclass, attname FROM pg_attribute, aclexplode(attacl) a WHERE attrelid IN (SELECT oid FROM relation) AND a.grantee = 0$$, 'nor of a column');
SELECT is_empty($$SELECT n.oid::regnamespace FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
                   WHERE n.oid IN (SELECT oid FROM room) AND a.grantee = 0$$, 'nor of a schema');
SELECT is_empty($$SELECT defaclnamespace::regnamespace FROM pg_default_acl WHERE defaclnamespace IN (SELECT oid FROM room) OR defaclrole = 'rights_owner'::regrole$$,
                'nothing is granted on what comes later');

-- Nothing runs as somebody else, or finds something else under a name.
SELECT is_empty($$SELECT oid::regprocedure FROM routine WHERE prosecdef$$, 'nothing is SECURITY DEFINER');
SELECT is_empty($$SELECT oid::regprocedure FROM routine WHERE lanname NOT IN ('c', 'sql', 'plpgsql')$$, 'functions are in C, SQL and plpgsql');
SELECT is_empty($$SELECT oid::regprocedure FROM routine WHERE pronamespace = 'billing'::regnamespace AND lanname <> 'c'$$, 'calls are in C: the door is in front of every body');
SELECT is_empty($$SELECT oid::regprocedure FROM routine WHERE lanname IN ('sql', 'plpgsql') AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)$$, 'functions in SQL and plpgsql have a locked search path');
SELECT is_empty($$SELECT oid::regprocedure FROM routine WHERE prokind = 'p' AND (lanname <> 'c' OR proconfig IS NOT NULL)$$, 'procedures may commit: C without settings');
SELECT set_eq('SELECT DISTINCT relowner::regrole::text FROM relation', ARRAY['rights_owner'], 'all relations belong to the owner of the books');
SELECT is_empty($$SELECT r.oid::regprocedure FROM routine r, aclexplode(r.proacl) a
                   WHERE r.pronamespace = 'billing_internal'::regnamespace AND a.grantee NOT IN (r.proowner, 'rights_owner'::regrole)
                     AND (a.grantee <> 'rights_administrator'::regrole OR r.proname !~ '^check_' AND r.proname <> 'fail')$$,
                'helpers are for the owner of the books, those that check catalogue tables for administrators too');
SELECT is_empty($$SELECT t.tgrelid::regclass, t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                   WHERE t.tgrelid IN (SELECT oid FROM relation) AND (p.proname ~ 'immutable$' OR t.tgname IN ('price_check', 'price_version_check')) AND t.tgenabled <> 'A'$$,
                'what keeps documents and prices as they are fires always');
SELECT set_has($$SELECT t.tgrelid::regclass::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.proname ~ 'immutable$'$$,
               $$SELECT format('billing.%s', n) FROM unnest('{invoice_header,invoice_line,invoice_tax,charge,discount_use,seal}'::text[]) n$$, 'on all tables of documents');

-- Privileges on relations, kind by kind.
CREATE TEMPORARY VIEW relation_privilege AS
SELECT k.kind, c.relname::text, p AS privilege FROM kind k, relation c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
 WHERE c.relkind <> 'S' AND has_table_privilege(k.role, c.oid, p);
SELECT is_empty($$SELECT * FROM relation_privilege WHERE kind = 'none'$$, 'who has no access has nothing of a relation');
SELECT is_empty($$SELECT k.kind, c.oid::regclass FROM kind k, relation c WHERE c.relkind = 'S' AND has_sequence_privilege(k.role, c.oid, 'USAGE, SELECT, UPDATE')$$, 'sequences are nobody''s');
SELECT set_eq($$SELECT kind, relname FROM relation_privilege WHERE privilege = 'SELECT'$$,
              $$SELECT kind, relname::text FROM kind, relation WHERE relkind <> 'S' AND kind <> 'none'$$, 'all others read all tables and views');
SELECT set_eq($$SELECT kind, relname, privilege FROM relation_privilege WHERE privilege <> 'SELECT' AND kind <> 'administrator'$$,
              $$VALUES ('application', 'usage_event', 'INSERT'), ('operator', 'usage_event', 'INSERT')$$, 'they write nothing but usage events');
SELECT set_eq($$SELECT relname, string_agg(privilege, ',' ORDER BY privilege) FROM relation_privilege WHERE privilege <> 'SELECT' AND kind = 'administrator' GROUP BY 1$$,
              $$SELECT 'usage_event' AS relation, 'INSERT' AS privileges UNION ALL SELECT n, 'DELETE,INSERT,UPDATE' FROM unnest('{entity,tax_class,tax_rate,product,meter,price,price_version,plan,plan_item,ledger_account,posting_rule}'::text[]) n$$,
              'administrators write the catalogue too');
SELECT is_empty($$SELECT k.kind, c.oid::regclass, a.attname FROM kind k, relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                   WHERE c.relname = 'series' AND (k.kind <> 'administrator' OR a.attname NOT IN ('code', 'entity', 'format', 'restart_yearly'))
                     AND has_column_privilege(k.role, c.oid, a.attname, 'INSERT, UPDATE')$$, 'and of series all but the counters');
SELECT is_empty($$SELECT k.kind, n.oid::regnamespace FROM kind k, room n WHERE has_schema_privilege(k.role, n.oid, 'CREATE')
                   UNION ALL SELECT k.kind, 'billing' FROM kind k WHERE has_schema_privilege(k.role, 'billing', 'USAGE') <> (k.kind <> 'none')
                   UNION ALL SELECT k.kind, 'billing_internal' FROM kind k WHERE has_schema_privilege(k.role, 'billing_internal', 'USAGE') <> (k.kind = 'administrator')$$,
                'nobody makes anything in the schemas');

-- Every call, for every kind.
CREATE TEMPORARY TABLE tried AS
SELECT c.name, c.rank, k.kind, k.rank AS caller, pg_temp.outcome(k.role, pg_temp.call_of(c.oid, 1)) AS outcome FROM call c, kind k;
SELECT is_empty(format($$SELECT kind, outcome FROM tried WHERE name = %L AND caller < rank AND outcome <> '42501'$$, name), format('%s is refused to every kind below its own', name)) FROM call ORDER BY name;
SELECT is_empty(format($$SELECT kind, outcome FROM tried WHERE name = %L AND caller >= rank AND outcome = '42501'$$, name), format('%s is allowed to its own and those above', name)) FROM call ORDER BY name;

-- Access to one entity: its accounts and what is named with it, nobody else's, and what is of all entities not at all.
SELECT is_empty(format($$SELECT account, outcome FROM (SELECT a.account, pg_temp.outcome('rights_acme', pg_temp.call_of(%s, a.account, 'account_id')) AS outcome FROM (VALUES (1), (2)) a (account)) x
                          WHERE (outcome = '42501') <> (account = 2)$$, c.oid), format('%s is allowed for the accounts of the own entity only', c.name))
  FROM call c WHERE EXISTS (SELECT FROM argument a WHERE a.routine = c.oid AND NOT a.optional AND a.name ~ '_id$' AND a.type = 'bigint')
 UNION ALL
SELECT is(pg_temp.outcome('rights_acme', pg_temp.call_of(c.oid, 1)) = '42501',
          c.name NOT IN ('charge', 'explain_charge', 'round_amount', 'nth_period', 'verify_chain', 'unbilled_on', 'dunning_forecast', 'subscription_status_on', 'dunning_preview', 'receivable_aging_on'),
          format('%s without an account is for access to all entities, unless it tells of those that may be seen', c.name))
  FROM call c WHERE NOT EXISTS (SELECT FROM argument a WHERE a.routine = c.oid AND NOT a.optional AND a.name ~ '_id$' AND a.type = 'bigint');

-- EXECUTE alone is no right, and is asked of nobody before the right is.
GRANT USAGE ON SCHEMA billing TO rights_none;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA billing TO rights_none;
SELECT is(pg_temp.outcome('rights_none', pg_temp.call_of(oid, 4711)) = '42501', NOT pure, format('%s is refused where only EXECUTE was granted', name)) FROM call ORDER BY name;
SELECT is(pg_temp.outcome('rights_none', 'SELECT * FROM billing.own_access'), '42501', 'and shows no table');
SELECT * FROM finish();
ROLLBACK;
