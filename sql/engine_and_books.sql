\i sql/include/fresh.psql
-- The engine is the extension, the books are ordinary tables: made by billing.setup(), owned by a
-- role, there when the engine goes and comes back.
SET client_min_messages = warning;
\set VERBOSITY terse
DROP EXTENSION billing CASCADE;
DROP SCHEMA billing CASCADE;
DROP ROLE IF EXISTS regress_billing_owner, regress_billing_user;
CREATE ROLE regress_billing_owner NOLOGIN;
CREATE ROLE regress_billing_user;
SET billing.max_future = '36500d';
RESET client_min_messages;

-- An engine without books says so; what is pure needs none.
CREATE EXTENSION billing;
SELECT billing.create_account('Jane Ltd');
\echo :SQLSTATE
SELECT billing.bill_account(1);
CALL billing.bill_run();
SELECT billing.adopt_books();
SELECT * FROM billing.check();
SELECT billing.charge('{"model":"per_unit","unit_amount":12.50}', 5);

-- Books are made by a superuser, for a role that nobody logs in as.
SET ROLE regress_billing_user;
SELECT billing.setup();
RESET ROLE;
GRANT USAGE ON SCHEMA billing TO regress_billing_user;
GRANT EXECUTE ON FUNCTION billing.setup TO regress_billing_user;
SET ROLE regress_billing_user;
SELECT billing.setup('regress_billing_user');
\echo :SQLSTATE
RESET ROLE;
REVOKE ALL ON SCHEMA billing FROM regress_billing_user;
REVOKE ALL ON FUNCTION billing.setup FROM regress_billing_user;
SELECT action, from_version IS NULL AS new FROM billing.setup('regress_billing_owner');

-- Again: nothing to do, and nothing done.
CREATE TABLE before AS SELECT oid, relname, relfilenode FROM pg_class WHERE relnamespace = 'billing'::regnamespace;
SELECT action, from_version = to_version AS same FROM billing.setup();
SELECT count(*) FROM (
    (SELECT oid, relname, relfilenode FROM pg_class WHERE relnamespace = 'billing'::regnamespace EXCEPT TABLE before)
    UNION ALL (TABLE before EXCEPT SELECT oid, relname, relfilenode FROM pg_class WHERE relnamespace = 'billing'::regnamespace)) difference;
DROP TABLE before;

-- The owner is who was named first; to give the books away is the server's business.
SELECT * FROM billing.setup('regress_billing_user');
\echo :SQLSTATE

-- All relations belong to the owner and none to the extension, which has nothing but functions and a schema for its own.
SELECT relowner::regrole, count(*) > 25 AS many FROM pg_class WHERE relnamespace = 'billing'::regnamespace GROUP BY 1;
SELECT DISTINCT d.classid::regclass FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
 WHERE e.extname = 'billing' AND d.deptype = 'e' ORDER BY 1;
SELECT nspname, has_schema_privilege('regress_billing_owner', oid, 'CREATE') AS owner_may_create
  FROM pg_namespace WHERE nspname LIKE 'billing%' ORDER BY 1;

-- The identity of the books.
SELECT version = (SELECT extversion FROM pg_extension WHERE extname = 'billing') AS version_fits,
       system_identifier = (SELECT system_identifier FROM pg_control_system()) AS this_cluster,
       database_oid = (SELECT oid FROM pg_database WHERE datname = current_database()) AS this_database, adoption_number
  FROM billing.book;

-- Something to keep.
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":12.50}');
SELECT billing.create_plan('team', items => '[{"price":"seat","quantity":5}]');
SELECT billing.create_subscription(billing.create_account('Jane Ltd'), 'team', start_at => '2026-01-31 00:00+01') IS NOT NULL AS subscribed;
SELECT count(*) FROM billing.bill_account(1, '2026-02-01 00:00+01');
SELECT billing.grant_access('regress_billing_user', 'administrator');

-- Billing can be switched off, say in a copy made from the disk, which the books cannot tell from the original.
SET billing.enabled = off;
CALL billing.bill_run('2026-03-01 00:00+01');
\echo :SQLSTATE
SELECT billing.bill_account(1, '2026-03-01 00:00+01');
SELECT count(*) FROM billing.preview(1, '2026-03-01 00:00+01');
RESET billing.enabled;

-- Books from elsewhere do not bill until somebody adopts them.
UPDATE billing.book SET system_identifier = 42;
CALL billing.bill_run('2026-03-01 00:00+01');
SELECT billing.bill_account(1, '2026-03-01 00:00+01');
SELECT billing.void_invoice((SELECT id FROM billing.invoice), rebill => false);
\echo :SQLSTATE
SELECT count(*) FROM billing.preview(1, '2026-03-01 00:00+01');
SELECT billing.create_account('John Inc');
SELECT billing.adopt_books();
UPDATE billing.book SET database_oid = 42;
SELECT billing.bill_account(1, '2026-03-01 00:00+01');
SELECT billing.adopt_books();
SELECT count(*) FROM billing.bill_account(1, '2026-03-01 00:00+01');

-- The engine does not go while triggers of the books need it ...
SELECT string_agg(md5(x::text), '' ORDER BY number) AS invoices FROM billing.invoice x \gset
DROP EXTENSION billing;
\echo :SQLSTATE

-- ... and takes only triggers and views along when told to cascade.
CREATE TABLE before AS
SELECT 'table' AS kind, c.oid::regclass::text AS object FROM pg_class c WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r'
UNION ALL SELECT 'column', attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
 WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'default', adrelid::regclass || '.' || adnum FROM pg_attrdef JOIN pg_class c ON c.oid = adrelid WHERE relnamespace = 'billing'::regnamespace
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname FROM pg_constraint WHERE connamespace = 'billing'::regnamespace
UNION ALL SELECT 'index', c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'billing'::regnamespace AND relkind = 'i'
UNION ALL SELECT 'sequence', c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'billing'::regnamespace AND relkind = 'S';
SELECT count(*) AS triggers FROM pg_trigger WHERE NOT tgisinternal \gset
SET client_min_messages = warning;
DROP EXTENSION billing CASCADE;
RESET client_min_messages;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'billing%';
SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE 'billing.%';
SELECT b.kind, count(*) > 0 AS there, count(*) FILTER (WHERE CASE kind
           WHEN 'table' THEN to_regclass(object) IS NULL
           WHEN 'index' THEN to_regclass(object) IS NULL
           WHEN 'sequence' THEN to_regclass(object) IS NULL
           WHEN 'column' THEN NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid::regclass || '.' || attname = object AND NOT attisdropped)
           WHEN 'default' THEN NOT EXISTS (SELECT FROM pg_attrdef WHERE adrelid::regclass || '.' || adnum = object)
           WHEN 'constraint' THEN NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid::regclass || '.' || conname = object) END) AS lost
  FROM before b GROUP BY kind ORDER BY kind;
SELECT name FROM billing.account;

-- The engine comes back, setup() makes the books whole again, every row is there.
CREATE EXTENSION billing;
SELECT action, from_version = to_version AS same FROM billing.setup();
SELECT count(*) = :triggers AS all_triggers FROM pg_trigger WHERE NOT tgisinternal;
SELECT string_agg(md5(x::text), '' ORDER BY number) = :'invoices' AS same_invoices FROM billing.invoice x;
SELECT count(*) FROM billing.check();
DELETE FROM billing.invoice_line;
SELECT relowner::regrole FROM pg_class WHERE relnamespace = 'billing'::regnamespace GROUP BY 1;
SELECT count(*) FROM billing.bill_account(1, '2026-04-01 00:00+02');

-- So are the rights that were granted.
SET ROLE regress_billing_user;
SELECT billing.create_product('phone', 'Telephone');
INSERT INTO billing.price (code, name, currency, every, timing, tax) VALUES ('fax', 'Fax', 'EUR', '1 month', 'advance', 'vat');
RESET ROLE;

-- A copy of the schema alone, as test databases are made, is completed.
SET client_min_messages = warning;
ALTER TABLE billing.invoice_header DISABLE TRIGGER USER;
DELETE FROM billing.book;
RESET client_min_messages;
SELECT billing.create_account('Jim SA');
SELECT action, from_version FROM billing.setup();
SELECT billing.create_account('Jim SA') IS NOT NULL AS opened;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'billing.invoice_header'::regclass AND tgenabled <> 'A' AND NOT tgisinternal;

-- Older books are migrated by setup(); until then every call says what to do.
UPDATE billing.book SET version = '0.1.0';
\set VERBOSITY sqlstate
SELECT billing.create_account('Joe AG');
SELECT billing.bill_account(1, '2026-05-01 00:00+02');
SELECT billing.adopt_books();
\set VERBOSITY terse
SELECT action, from_version, to_version = (SELECT extversion FROM pg_extension WHERE extname = 'billing') AS fits FROM billing.setup();
SELECT billing.create_account('Joe AG') IS NOT NULL AS opened;

-- Newer ones are left alone, and those of an unknown version.
\set VERBOSITY sqlstate
UPDATE billing.book SET version = '99.0.0';
SELECT billing.create_account('Jon BV');
SELECT * FROM billing.setup();
UPDATE billing.book SET version = '0.0.1';
SELECT * FROM billing.setup();
\set VERBOSITY terse
SELECT version FROM billing.book;

SET client_min_messages = warning;
DROP TABLE before;
DROP EXTENSION billing CASCADE;
DROP SCHEMA billing CASCADE;
DROP ROLE regress_billing_owner, regress_billing_user;
