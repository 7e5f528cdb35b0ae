\i sql/include/fresh.psql
-- Who may do what: administrator, operator, application, reader, each including those after it, for
-- all sellers or for one.  Calls check the caller's right and then write as the owner of the books.
SET client_min_messages = warning;
\set VERBOSITY terse
\set SHOW_CONTEXT never
DROP EXTENSION billing CASCADE;
DROP SCHEMA billing CASCADE;
DROP ROLE IF EXISTS regress_billing_owner, regress_billing_admin, regress_billing_operator, regress_billing_app,
                    regress_billing_reader, regress_billing_acme, regress_billing_none, regress_billing_member;
CREATE ROLE regress_billing_owner NOLOGIN;
CREATE ROLE regress_billing_admin;
CREATE ROLE regress_billing_operator;
CREATE ROLE regress_billing_app;
CREATE ROLE regress_billing_reader;
CREATE ROLE regress_billing_acme;
CREATE ROLE regress_billing_none;
CREATE ROLE regress_billing_member;
SET billing.max_future = '36500d';
CREATE EXTENSION billing;
SELECT billing.setup('regress_billing_owner') \g /dev/null
RESET client_min_messages;

-- PUBLIC has nothing, and nothing runs with the rights of who made it.
SELECT count(*) FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 WHERE p.pronamespace IN ('billing'::regnamespace, 'billing_internal'::regnamespace) AND a.grantee = 0;
SELECT count(*) FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
 WHERE c.relnamespace = 'billing'::regnamespace AND a.grantee = 0;
SELECT count(*) FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a WHERE n.nspname LIKE 'billing%' AND a.grantee = 0;
SELECT count(*) FROM pg_proc WHERE pronamespace IN ('billing'::regnamespace, 'billing_internal'::regnamespace) AND prosecdef;

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_entity('bolt', name => 'Bolt Ltd', country => 'GB', currency => 'GBP', time_zone => 'Europe/London');
SELECT billing.create_tax('vat', entity => 'acme', category => 'S', rate => 19);
SELECT billing.create_tax_rate('vat', entity => 'bolt', category => 'S', rate => 20);
SELECT billing.create_meter('minutes');
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'minutes', scheme => '{"model":"per_unit","unit_amount":0.10}');
SELECT billing.create_plan('voice', items => '[{"price":"call"}]');

SELECT billing.grant_access('regress_billing_admin', 'administrator');
SET ROLE regress_billing_admin;
SELECT billing.grant_access('regress_billing_operator', 'operator');
SELECT billing.grant_access('regress_billing_app', 'application');
SELECT billing.grant_access('regress_billing_reader', 'reader');
SELECT billing.grant_access('regress_billing_acme', 'application', entity => 'acme');
SELECT billing.grant_access('regress_billing_acme', 'operator', entity => 'acme');
SELECT billing.grant_access('regress_billing_reader', 'reader', entity => 'acme');
\echo :SQLSTATE
RESET ROLE;
GRANT regress_billing_app TO regress_billing_member;
SELECT * FROM billing.access ORDER BY role_name, kind;

-- Which routines each kind may execute.
SELECT kind, count(*) > 5 AS some, count(*) FILTER (WHERE has_function_privilege('regress_billing_' || role, routine, 'EXECUTE')) = count(*) AS itself,
       bool_or(has_function_privilege('regress_billing_' || below, routine, 'EXECUTE')) AS the_next_lower
  FROM (VALUES ('administrator', 'admin', 'operator'), ('operator', 'operator', 'app'), ('application', 'app', 'reader'), ('reader', 'reader', 'none')) k (kind, role, below),
       billing_internal.access_routines(kind) routine
 GROUP BY kind ORDER BY kind;

-- Somebody without a grant.
SET ROLE regress_billing_none;
SELECT billing.create_account('Jane Ltd');
\echo :SQLSTATE
SELECT * FROM billing.invoice;
\echo :SQLSTATE

-- EXECUTE alone is no right either.
RESET ROLE;
GRANT USAGE ON SCHEMA billing TO regress_billing_none;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA billing TO regress_billing_none;
SET ROLE regress_billing_none;
SELECT billing.create_account('Jane Ltd', entity => 'acme');
\echo :SQLSTATE
CALL billing.bill_run();
\echo :SQLSTATE
SELECT billing.bill_account(1);
\echo :SQLSTATE
SELECT * FROM billing.preview(1);
\echo :SQLSTATE
SELECT billing.finalize_invoice(1);
\echo :SQLSTATE
SELECT billing.void_invoice(1, true);
\echo :SQLSTATE
SELECT * FROM billing.verify_chain();
\echo :SQLSTATE
SELECT * FROM billing.check();
\echo :SQLSTATE
SELECT * FROM billing.unbilled_on();
\echo :SQLSTATE
SELECT billing.invoice_document(1);
\echo :SQLSTATE
SELECT billing.account_id('crm-17');
\echo :SQLSTATE
SELECT billing.grant_access('regress_billing_none', 'administrator');
\echo :SQLSTATE
SELECT billing.adopt_books();
\echo :SQLSTATE
RESET ROLE;
REVOKE ALL ON SCHEMA billing FROM regress_billing_none;
REVOKE ALL ON ALL ROUTINES IN SCHEMA billing FROM regress_billing_none;

-- An application opens accounts, takes usage, and bills an account.
SET ROLE regress_billing_app;
SELECT billing.create_account('Jane Ltd', entity => 'acme', external_id => 'crm-17', metadata => '{"by":"app"}') AS account_id \gset
SELECT billing.create_subscription(:account_id, 'voice', start_at => '2026-01-01 00:00+01') AS subscription_id \gset
SELECT billing.record_usage(:subscription_id, 'minutes', 'call-1', 35, '2026-01-10 12:00+01');
INSERT INTO billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity)
VALUES (:account_id, 'call-2', :subscription_id, 'minutes', '2026-01-11 12:00+01', 5);
COPY billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity) FROM stdin;
1	call-3	16777217	minutes	2026-01-12 12:00+01	7
\.
SELECT count(*) FROM billing.preview(:account_id, '2026-02-01 00:00+01');
SELECT count(*) FROM billing.bill_account(billing.account_id('crm-17'), '2026-02-01 00:00+01');
SELECT number, total FROM billing.invoice;
-- It makes no prices, runs nothing, gives no rights, and writes no other table.
SELECT billing.create_product('phone', 'Telephone');
\echo :SQLSTATE
CALL billing.bill_run('2026-02-01 00:00+01');
\echo :SQLSTATE
SELECT billing.void_invoice((SELECT id FROM billing.invoice), true);
\echo :SQLSTATE
SELECT billing.grant_access('regress_billing_none', 'reader');
\echo :SQLSTATE
INSERT INTO billing.product (code, name) VALUES ('phone', 'Telephone');
\echo :SQLSTATE
UPDATE billing.account SET name = 'Other';
\echo :SQLSTATE
DELETE FROM billing.usage_event;
\echo :SQLSTATE
UPDATE billing.book SET adopted_at = now();
\echo :SQLSTATE
ALTER TABLE billing.invoice_header DISABLE TRIGGER USER;
\echo :SQLSTATE
CREATE FUNCTION billing.charge(scheme jsonb, quantity int) RETURNS numeric LANGUAGE sql AS 'SELECT 0.00';
\echo :SQLSTATE
SELECT billing_internal.make_id(1, 1);
\echo :SQLSTATE
-- A member of the role may what the role may.
SET ROLE regress_billing_member;
SELECT billing.record_usage(:subscription_id, 'minutes', 'call-4', 1, '2026-02-10 12:00+01');

-- A reader reads, computes, and checks.
SET ROLE regress_billing_reader;
SELECT number, status, total FROM billing.invoice;
SELECT count(*) FROM billing.invoice_line;
SELECT billing.charge('{"model":"per_unit","unit_amount":0.10}', 7);
SELECT amount FROM billing.explain_charge('{"model":"per_unit","unit_amount":0.10}', 7);
SELECT billing.round_amount(0.125, 'EUR');
SELECT billing.account_id('crm-17');
SELECT count(*) FROM billing.check(), billing.verify_chain();
SELECT billing.invoice_document((SELECT id FROM billing.invoice))->>'total' AS total;
SELECT billing.create_account('John Inc', entity => 'acme');
\echo :SQLSTATE
SELECT billing.bill_account(:account_id);
\echo :SQLSTATE
SELECT billing.finalize_invoice((SELECT id FROM billing.invoice));
\echo :SQLSTATE
INSERT INTO billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity)
VALUES (:account_id, 'call-9', :subscription_id, 'minutes', '2026-01-11 12:00+01', 5);
\echo :SQLSTATE

-- An operator that owns nothing runs and voids, but makes no catalogue.
SET ROLE regress_billing_operator;
CALL billing.bill_run('2026-03-01 00:00+01');
SELECT count(*), sum(total) FROM billing.invoice;
SELECT billing.void_invoice((SELECT id FROM billing.invoice WHERE billed_at = '2026-03-01 00:00+01'), rebill => true) IS NOT NULL AS voided;
SELECT billing.create_product('phone', 'Telephone');
\echo :SQLSTATE
SELECT billing.adopt_books();
\echo :SQLSTATE
-- Only a superuser lets runs date documents far ahead.
SET billing.max_future = '3650d';
\echo :SQLSTATE

-- An administrator also writes the tables of the catalogue, under the same rules.
SET ROLE regress_billing_admin;
INSERT INTO billing.entity (code, name, country, currency, time_zone) VALUES ('cato', 'Cato SA', 'FR', 'EUR', 'Europe/Paris');
SELECT code, entity FROM billing.series ORDER BY code;
INSERT INTO billing.series (code, entity, format) VALUES ('cato-b', 'cato', 'B{number}');
UPDATE billing.entity SET invoice_series = 'cato-b' WHERE code = 'cato';
INSERT INTO billing.tax_class (code, name) VALUES ('reduced', 'Reduced rate');
INSERT INTO billing.tax_rate (entity, tax, category, rate) VALUES ('cato', 'reduced', 'S', 5.5);
INSERT INTO billing.product (code, name) VALUES ('phone', 'Telephone');
INSERT INTO billing.meter (code, name) VALUES ('bytes', 'Bytes');
INSERT INTO billing.price (code, name, product, currency, every, timing, tax) VALUES ('line', 'Line', 'phone', 'EUR', '1 month', 'advance', 'reduced');
INSERT INTO billing.price_version (price, version, scheme) VALUES ('line', 1, '{"model":"flat","flat_amount":"20.00"}');
INSERT INTO billing.plan (code, name) VALUES ('home', 'At home');
INSERT INTO billing.plan_item (plan, ordinal, price) VALUES ('home', 1, 'line'), ('home', 2, 'call');
UPDATE billing.plan_item SET quantity = 2 WHERE plan = 'home' AND price = 'line';
SELECT * FROM billing.plan_item WHERE plan = 'home';
INSERT INTO billing.price (code, name, currency, every, timing, tax) VALUES ('x', 'X', 'EUR', '1 month 1 day', 'advance', 'vat');
\echo :SQLSTATE
INSERT INTO billing.price_version (price, version, scheme) VALUES ('line', 2, '{"model":"magic"}');
\echo :SQLSTATE
INSERT INTO billing.entity (code, name, country, currency, time_zone) VALUES ('x', 'X', 'FR', 'FRF', 'Europe/Paris');
\echo :SQLSTATE
UPDATE billing.entity SET invoice_series = 'acme-invoice' WHERE code = 'cato';
\echo :SQLSTATE
UPDATE billing.plan_item SET quantity = 2 WHERE plan = 'home' AND price = 'call';
\echo :SQLSTATE
UPDATE billing.price SET currency = 'USD' WHERE code = 'call';
\echo :SQLSTATE
-- The counters of a series are not his, nor are accounts, documents and the list of rights.
UPDATE billing.series SET counter = 41;
\echo :SQLSTATE
UPDATE billing.series SET chain_hash = NULL;
\echo :SQLSTATE
INSERT INTO billing.account (account_id, entity, name, currency, time_zone, payment_terms_days) VALUES (99, 'acme', 'X', 'EUR', 'UTC', 1);
\echo :SQLSTATE
INSERT INTO billing.access (role_name, kind) VALUES ('regress_billing_none', 'administrator');
\echo :SQLSTATE
DELETE FROM billing.invoice_line;
\echo :SQLSTATE
SELECT billing.setup();
\echo :SQLSTATE

-- A right to one seller: its accounts, nobody else's.
SET ROLE regress_billing_app;
SELECT billing.create_account('Bob', entity => 'bolt') AS bob \gset
SELECT billing.create_account('Ann', entity => 'acme') AS ann \gset
SET ROLE regress_billing_acme;
SELECT billing.create_account('Jim', entity => 'acme') AS jim \gset
SELECT billing.create_account('Jim', entity => 'bolt');
\echo :SQLSTATE
SELECT billing.create_account('Jim');
\echo :SQLSTATE
SELECT billing.create_accounts('[{"name":"Jim","entity":"acme"}]');
\echo :SQLSTATE
SELECT billing.create_subscription(:ann, 'voice', start_at => '2026-01-01 00:00+01') AS anns \gset
SELECT billing.record_usage(:anns, 'minutes', 'call-1', 100, '2026-01-10 12:00+01');
SELECT count(*) FROM billing.preview(:ann, '2026-02-01 00:00+01');
CALL billing.bill_run('2026-03-01 00:00+01', entity => 'acme');
SELECT billing.create_subscription(:bob, 'voice', start_at => '2026-01-01 00:00+01');
\echo :SQLSTATE
SELECT billing.preview(:bob);
\echo :SQLSTATE
SELECT billing.bill_account(:bob);
\echo :SQLSTATE
SELECT billing.bill_account(4711);
\echo :SQLSTATE
CALL billing.bill_run('2026-03-01 00:00+01', entity => 'bolt');
\echo :SQLSTATE
CALL billing.bill_run('2026-03-01 00:00+01');
\echo :SQLSTATE
SELECT billing.void_invoice(:bob::bigint << 24 | 1, true);
\echo :SQLSTATE
SELECT count(*) FROM billing.account;
\echo :SQLSTATE
INSERT INTO billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity)
VALUES (:bob, 'call-9', :anns, 'minutes', '2026-01-11 12:00+01', 5);
\echo :SQLSTATE
-- An administrator for one seller gives no rights to another.
RESET ROLE;
SELECT billing.grant_access('regress_billing_acme', 'administrator', entity => 'acme');
SET ROLE regress_billing_acme;
SELECT billing.create_series('acme-b', 'acme', 'B{number}');
SELECT billing.grant_access('regress_billing_member', 'operator', entity => 'acme');
SELECT billing.grant_access('regress_billing_acme', 'administrator', entity => 'bolt');
\echo :SQLSTATE
SELECT billing.grant_access('regress_billing_acme', 'administrator');
\echo :SQLSTATE
SELECT billing.create_series('bolt-b', 'bolt', 'B{number}');
\echo :SQLSTATE
SELECT billing.create_product('fax', 'Fax');
\echo :SQLSTATE
RESET ROLE;

-- Rows belong to the owner, triggers run as the owner, whoever calls.
SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'billing'::regnamespace;
CREATE FUNCTION public.regress_billing_who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING '% of % runs as %', tg_op, tg_table_name, current_user; RETURN NULL; END $$;
CREATE TRIGGER who AFTER INSERT ON billing.account FOR EACH ROW EXECUTE FUNCTION regress_billing_who();
CREATE TRIGGER who AFTER INSERT ON billing.invoice_header FOR EACH STATEMENT EXECUTE FUNCTION regress_billing_who();
SELECT billing.create_account('Joe', entity => 'acme') IS NOT NULL AS opened;
SET ROLE regress_billing_app;
SELECT billing.create_account('Jon', entity => 'acme') IS NOT NULL AS opened;
SET ROLE regress_billing_operator;
CALL billing.bill_run('2026-04-01 00:00+02');
SELECT current_user;
-- Also after an error the caller is who he was.
SELECT billing.create_account('', entity => 'acme');
DO $$ BEGIN PERFORM billing.bill_account(4711); EXCEPTION WHEN OTHERS THEN RAISE WARNING '% as %', sqlstate, current_user; END $$;
SELECT current_user, current_setting('search_path') AS search_path;
RESET ROLE;
DROP TRIGGER who ON billing.account;
DROP TRIGGER who ON billing.invoice_header;

-- The owner's trigger cannot become somebody else.
CREATE FUNCTION public.regress_billing_climb() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; RETURN NULL; END $$;
CREATE TRIGGER climb AFTER INSERT ON billing.account FOR EACH ROW EXECUTE FUNCTION regress_billing_climb();
SELECT billing.create_account('Jil', entity => 'acme');
\echo :SQLSTATE
DROP TRIGGER climb ON billing.account;

-- What was granted can be taken back; what another grant gives stays.
SELECT billing.grant_access('regress_billing_operator', 'reader');
SELECT billing.revoke_access('regress_billing_operator', 'operator');
SELECT billing.revoke_access('regress_billing_operator', 'operator');
\echo :SQLSTATE
SET ROLE regress_billing_operator;
SELECT count(*) > 0 AS reads FROM billing.invoice;
CALL billing.bill_run('2026-05-01 00:00+02');
\echo :SQLSTATE
RESET ROLE;
SELECT billing.revoke_access(role_name::regrole, kind, nullif(entity, '')) FROM billing.access ORDER BY role_name, kind;
SELECT count(*) FROM billing.access;
SELECT count(*) FROM pg_shdepend d JOIN pg_database b ON b.oid = d.dbid AND b.datname = current_database()
 WHERE refclassid = 'pg_authid'::regclass AND refobjid IN (SELECT oid FROM pg_roles WHERE rolname LIKE 'regress_billing_%' AND rolname <> 'regress_billing_owner');

SET client_min_messages = warning;
DROP EXTENSION billing CASCADE;
DROP SCHEMA billing CASCADE;
DROP FUNCTION public.regress_billing_who, public.regress_billing_climb;
DROP ROLE regress_billing_owner, regress_billing_admin, regress_billing_operator, regress_billing_app,
          regress_billing_reader, regress_billing_acme, regress_billing_none, regress_billing_member;
