\i sql/include/fresh.psql
-- The engine calls functions by schema, and the books live in a schema of that name which may be
-- there before it: one that could shadow or change what the engine does is refused.
SET client_min_messages = warning;
\set VERBOSITY terse
DROP EXTENSION billing CASCADE;
DROP SCHEMA billing CASCADE;
DROP ROLE IF EXISTS regress_billing_mallory, regress_billing_owner;
CREATE ROLE regress_billing_mallory;
CREATE ROLE regress_billing_owner NOLOGIN;
SET billing.max_future = '36500d';
RESET client_min_messages;
\set VERBOSITY default
\set SHOW_CONTEXT never

-- A schema of somebody who is not a superuser.
CREATE SCHEMA billing AUTHORIZATION regress_billing_mallory;
CREATE EXTENSION billing;
\echo :SQLSTATE
ALTER SCHEMA billing OWNER TO CURRENT_USER;

-- Or one into which others may put things.
GRANT CREATE ON SCHEMA billing TO regress_billing_mallory;
CREATE EXTENSION billing;
\echo :SQLSTATE
REVOKE CREATE ON SCHEMA billing FROM regress_billing_mallory;
GRANT CREATE ON SCHEMA billing TO PUBLIC;
CREATE EXTENSION billing;
\echo :SQLSTATE
REVOKE CREATE ON SCHEMA billing FROM PUBLIC;

-- A function, a procedure, an aggregate.
CREATE FUNCTION billing.charge(scheme jsonb, quantity int) RETURNS numeric LANGUAGE sql AS 'SELECT 0.00';
CREATE EXTENSION billing;
\echo :SQLSTATE
DROP FUNCTION billing.charge;
CREATE PROCEDURE billing.bill_run() LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION billing;
\echo :SQLSTATE
DROP PROCEDURE billing.bill_run;
CREATE AGGREGATE billing.sum(int) (sfunc = int4pl, stype = int);
CREATE EXTENSION billing;
\echo :SQLSTATE
DROP AGGREGATE billing.sum(int);

-- An operator.
CREATE OPERATOR billing.= (leftarg = text, rightarg = text, function = textne);
CREATE EXTENSION billing;
\echo :SQLSTATE
DROP OPERATOR billing.= (text, text);

-- Types other than the rows of tables: domain, enum, range, composite.
CREATE DOMAIN billing.text AS pg_catalog.text CHECK (value <> 'x');
CREATE EXTENSION billing;
\echo :SQLSTATE
DROP DOMAIN billing.text;
CREATE TYPE billing.status AS ENUM ('open', 'paid');
CREATE EXTENSION billing;
\echo :SQLSTATE
DROP TYPE billing.status;
CREATE TYPE billing.amount AS (value numeric, currency text);
CREATE EXTENSION billing;
\echo :SQLSTATE
DROP TYPE billing.amount;
CREATE TYPE billing.span AS RANGE (subtype = numeric);
\set VERBOSITY terse
CREATE EXTENSION billing;
\set VERBOSITY default
\echo :SQLSTATE
DROP TYPE billing.span;

-- The schema of the helpers is the extension's own.
CREATE SCHEMA billing_internal;
CREATE EXTENSION billing;
\echo :SQLSTATE
DROP SCHEMA billing_internal;

-- Nothing is left of what was refused.
SELECT count(*) FROM pg_extension WHERE extname = 'billing';
SELECT count(*) FROM pg_proc WHERE pronamespace = 'billing'::regnamespace;

-- Tables are what the schema is for, so they hinder no extension; books are not made around them.
CREATE TABLE billing.account (id int);
CREATE EXTENSION billing;
SELECT billing.setup('regress_billing_owner');
\echo :SQLSTATE
DROP TABLE billing.account;
CREATE VIEW billing.report AS SELECT 1;
SELECT billing.setup('regress_billing_owner');
\echo :SQLSTATE
DROP VIEW billing.report;
CREATE SEQUENCE billing.account_id_seq;
SELECT billing.setup('regress_billing_owner');
\echo :SQLSTATE
DROP SEQUENCE billing.account_id_seq;

-- A view called book, made to run something as the superuser who calls setup().
CREATE FUNCTION public.regress_billing_trap() RETURNS text LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE VIEW billing.book AS SELECT public.regress_billing_trap() AS version;
ALTER VIEW billing.book OWNER TO regress_billing_mallory;
SELECT billing.setup();
\echo :SQLSTATE
DROP VIEW billing.book;

SELECT action, from_version IS NULL AS new FROM billing.setup('regress_billing_owner');

-- Later a relation of another's in the place of one of the books is refused too ...
SET client_min_messages = warning;
DROP VIEW billing.invoice CASCADE;
RESET client_min_messages;
CREATE VIEW billing.invoice AS SELECT 1 AS id;
ALTER VIEW billing.invoice OWNER TO regress_billing_mallory;
SELECT billing.setup();
\echo :SQLSTATE
DROP VIEW billing.invoice;
-- ... and one of another name is left alone, also when rights are granted.
CREATE TABLE billing.note (text text);
SELECT action, from_version = to_version AS same FROM billing.setup();
SELECT billing.grant_access('regress_billing_mallory', 'reader');
SELECT has_table_privilege('regress_billing_mallory', 'billing.note', 'SELECT') AS note,
       has_table_privilege('regress_billing_mallory', 'billing.invoice', 'SELECT') AS invoice;
SELECT billing.revoke_access('regress_billing_mallory', 'reader');
DROP TABLE billing.note;

-- Triggers of the owner do not get put off until the superuser who calls setup() is back ...
CREATE FUNCTION public.regress_billing_spy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'trigger runs as %', current_user; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER spy AFTER UPDATE ON billing.book DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION regress_billing_spy();
SELECT billing.setup();
\echo :SQLSTATE
DROP TRIGGER spy ON billing.book;
-- ... and run as himself, also in a call of a superuser.
CREATE TRIGGER spy AFTER INSERT ON billing.product FOR EACH ROW EXECUTE FUNCTION regress_billing_spy();
\set VERBOSITY terse
SELECT billing.create_product('phone', 'Telephone');

-- A search path full of traps changes nothing.
CREATE SCHEMA regress_billing_traps;
CREATE FUNCTION regress_billing_traps.regress_billing_equal(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT 1 / 0 = 1';
CREATE OPERATOR regress_billing_traps.= (leftarg = text, rightarg = text, function = regress_billing_traps.regress_billing_equal);
CREATE FUNCTION regress_billing_traps.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT 'infinity'::timestamptz$$;
CREATE FUNCTION regress_billing_traps.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT (1 / 0)::text';
CREATE TEMPORARY TABLE pg_proc (oid oid);
CREATE TEMPORARY TABLE arrived (account_id bigint);
SET search_path = regress_billing_traps, pg_temp, pg_catalog;
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_meter('minutes');
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'minutes', scheme => '{"model":"per_unit","unit_amount":0.10}');
SELECT billing.create_plan('voice', items => '[{"price":"call"}]');
SELECT billing.create_subscription(billing.create_account('Jane Ltd', external_id => 'crm-17'), 'voice', start_at => '2026-01-01 00:00+01') AS subscription_id \gset
SELECT billing.record_usage(:subscription_id, 'minutes', 'call-1', 35, '2026-01-10 12:00+01');
SELECT count(*) FROM billing.bill_account(billing.account_id('crm-17'), '2026-02-01 00:00+01');
SELECT total FROM billing.invoice;
SELECT * FROM billing.check();
RESET search_path;
DROP TABLE pg_temp.pg_proc, pg_temp.arrived;

SET client_min_messages = warning;
DROP EXTENSION billing CASCADE;
DROP SCHEMA billing, regress_billing_traps CASCADE;
DROP FUNCTION public.regress_billing_trap, public.regress_billing_spy;
DROP ROLE regress_billing_mallory, regress_billing_owner;
