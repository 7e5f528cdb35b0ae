-- An application can never change a finished document, a price in use or what belongs to another seller: every way
-- that SQL offers is tried, as application for all sellers and for one.  Afterwards every row is what it was.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
BEGIN;
\ir include/rights_books.psql
\ir include/rights.psql
SET timezone = 'UTC';
CREATE ROLE walls_acme;
SELECT billing.limit_reading() WHERE current_setting('server_version_num')::int >= 150000 \g /dev/null
SELECT billing.grant_access('walls_acme', 'application', entity => 'acme') \g /dev/null
CREATE SCHEMA walls;
GRANT ALL ON SCHEMA walls, public TO rights_application, walls_acme;
GRANT TEMPORARY ON DATABASE :DBNAME TO rights_application, walls_acme;

-- Two sellers with finished documents.
CREATE TEMPORARY TABLE thing (entity text, name text, id bigint);
INSERT INTO thing SELECT e, 'account_id', billing.create_account('Customer of ' || e, entity => e, external_id => e || '-1') FROM unnest('{acme,bolt}'::text[]) e;
INSERT INTO thing SELECT entity, 'subscription_id', billing.create_subscription(id, 'team', start_at => '2026-01-01', items => '[{"price":"seat","quantity":2}]') FROM thing WHERE name = 'account_id';
SELECT billing.record_usage(id, 'minutes', 'call-1', 10, '2026-01-05') FROM thing WHERE name = 'subscription_id' \g /dev/null
INSERT INTO thing SELECT entity, 'item_id', billing.add_item(id, 'fee', effective_at => '2026-01-01') FROM thing WHERE name = 'subscription_id';
INSERT INTO thing SELECT entity, 'discount_id', billing.add_discount(id, 10, effective_at => '2026-01-01') FROM thing WHERE name = 'account_id';
INSERT INTO thing SELECT entity, 'minimum_id', billing.set_minimum(id, 100, effective_at => '2026-01-01') FROM thing WHERE name = 'subscription_id';
CALL billing.bill_run('2026-02-01');
INSERT INTO thing SELECT i.entity, 'invoice_id', max(i.id) FROM billing.invoice i GROUP BY 1;
INSERT INTO thing SELECT t.entity, 'change_id', max(c.id) FROM billing.subscription_change c JOIN thing t ON t.id = c.subscription_id GROUP BY 1;
SELECT entity AS e, max(id) FILTER (WHERE name = 'account_id') AS account, max(id) FILTER (WHERE name = 'subscription_id') AS subscription,
       max(id) FILTER (WHERE name = 'item_id') AS item, max(id) FILTER (WHERE name = 'invoice_id') AS invoice FROM thing WHERE entity = 'acme' GROUP BY 1 \gset own_
SELECT entity AS e, max(id) FILTER (WHERE name = 'account_id') AS account, max(id) FILTER (WHERE name = 'subscription_id') AS subscription,
       max(id) FILTER (WHERE name = 'item_id') AS item, max(id) FILTER (WHERE name = 'invoice_id') AS invoice FROM thing WHERE entity = 'bolt' GROUP BY 1 \gset their_

CREATE TEMPORARY VIEW relation AS SELECT c.oid, c.relname::text AS name, c.relkind FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'p', 'v');
CREATE FUNCTION pg_temp.books() RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
    part text;
    result text := '';
    relation regclass;
BEGIN
    FOR relation IN SELECT oid FROM relation WHERE relkind <> 'v' ORDER BY name LOOP
        EXECUTE format('SELECT md5(string_agg(x::text, '','' ORDER BY x::text)) FROM %s x', relation) INTO part;
        result := md5(result || coalesce(part, ''));
    END LOOP;
    RETURN result;
END $$;
SELECT pg_temp.books() AS before \gset

-- Statements that each application is refused for want of a right, or, of views, because they are views.
CREATE TEMPORARY TABLE way (n int GENERATED ALWAYS AS IDENTITY, statement text NOT NULL, of_view boolean NOT NULL DEFAULT false);
INSERT INTO way (statement, of_view)
SELECT format(s, r.name, (SELECT quote_ident(a.attname) FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum = 1)), r.relkind = 'v' FROM relation r, unnest(ARRAY[
    'UPDATE billing.%1$I SET %2$s = %2$s', 'DELETE FROM billing.%1$I', 'INSERT INTO billing.%1$I SELECT * FROM billing.%1$I', 'SELECT FROM billing.%1$I FOR UPDATE',
    'ALTER TABLE billing.%1$I ADD COLUMN mine int', 'ALTER TABLE billing.%1$I OWNER TO CURRENT_USER', 'DROP TABLE billing.%1$I', 'COMMENT ON TABLE billing.%1$I IS ''mine''',
    'GRANT ALL ON billing.%1$I TO CURRENT_USER; DELETE FROM billing.%1$I', 'CREATE POLICY mine ON billing.%1$I', 'CREATE RULE mine AS ON INSERT TO billing.%1$I DO INSTEAD NOTHING',
    'CREATE TRIGGER mine BEFORE INSERT ON billing.%1$I FOR EACH ROW EXECUTE FUNCTION walls.mine()']) s
 WHERE NOT (r.name = 'usage_event' AND s ~ '^INSERT') AND NOT (r.relkind = 'v' AND s ~ '^DROP');
INSERT INTO way (statement)
SELECT format(s, r.name) FROM relation r, unnest(ARRAY['TRUNCATE billing.%I CASCADE', 'LOCK billing.%I IN EXCLUSIVE MODE', 'ALTER TABLE billing.%I DISABLE TRIGGER ALL', 'ALTER TABLE billing.%I DISABLE ROW LEVEL SECURITY',
    'CREATE INDEX ON billing.%I ((walls.mine_too()))', 'CREATE TABLE walls.mine (LIKE billing.%1$I INCLUDING ALL) INHERITS (billing.%1$I)',
    'COPY billing.%I FROM PROGRAM ''true''']) s WHERE r.relkind <> 'v';
INSERT INTO way (statement) VALUES
('SET LOCAL session_replication_role = replica'), ('SET LOCAL allow_system_table_mods = on'),
('SET LOCAL billing.max_future = ''1d'''), ('ALTER DEFAULT PRIVILEGES FOR ROLE rights_owner GRANT ALL ON TABLES TO CURRENT_USER'),
('GRANT rights_owner TO CURRENT_USER'), ('REASSIGN OWNED BY rights_owner TO CURRENT_USER'), ('DROP OWNED BY rights_owner'), ('ALTER ROLE rights_owner RENAME TO other'), ('ALTER SCHEMA billing RENAME TO other'),
('CREATE TABLE billing.mine (id int)'), ('CREATE FUNCTION billing.mine() RETURNS int LANGUAGE sql AS ''SELECT 1'''), ('CREATE OPERATOR billing.= (leftarg = text, rightarg = text, function = texteq)'),
('CREATE TYPE billing.mine AS (x int)'), ('DROP FUNCTION billing.charge(jsonb, numeric)'), ('CREATE OR REPLACE FUNCTION billing.charge(scheme jsonb, quantity numeric) RETURNS numeric LANGUAGE sql AS ''SELECT 0.0'''),
('ALTER FUNCTION billing.charge(jsonb, numeric) OWNER TO CURRENT_USER'), ('DROP EXTENSION billing CASCADE'), ('DROP SCHEMA billing CASCADE'), ('ALTER EXTENSION billing ADD TABLE pg_class'),
('SELECT nextval(''billing.account_id_seq'')'), ('SELECT setval(''billing.account_id_seq'', 1)'), ('CREATE CAST (text AS jsonb) WITH FUNCTION to_jsonb(text)'), ('CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION walls.mine()'),
('UPDATE pg_class SET relowner = 10'), ('CREATE PUBLICATION mine FOR TABLE billing.seal'), ('SELECT billing.setup()'), ('SELECT billing.limit_reading(false)'), ('SELECT billing.create_price_version(''seat'', ''{"model":"flat","flat_amount":0}'')'),
('SELECT billing.archive_price(''seat'')'), ('SELECT billing.create_series(''mine'', ''bolt'', ''{number}'')'), ('SELECT billing.grant_access(''rights_none'', ''reader'')'), ('CALL billing.bill_run()'), ('CALL billing.run_job(''x'')'),
(format('SELECT billing.void_invoice(%s, false)', :own_invoice)), (format('SELECT billing.finalize_invoice(%s)', :own_invoice));
INSERT INTO way (statement) SELECT format('SELECT %s(%s)', p.oid::regproc, (SELECT string_agg(format('NULL::%s', t::regtype), ', ') FROM unnest(p.proargtypes::oid[]) t))
  FROM pg_proc p WHERE p.pronamespace = 'billing_internal'::regnamespace AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype;
CREATE FUNCTION walls.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION walls.mine_too() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';

SELECT plan(23);
CREATE TEMPORARY TABLE tried AS SELECT w.*, role, pg_temp.outcome(role, statement) AS outcome FROM way w, unnest('{rights_application,walls_acme}'::name[]) role;
SELECT cmp_ok((SELECT count(*) FROM tried), '>', 1500::bigint, 'many ways were tried');
SELECT is_empty($$SELECT role, statement, outcome FROM tried WHERE outcome <> '42501' AND (outcome = 'done' OR NOT of_view)$$, 'each is refused for want of a right');
SELECT is(pg_temp.books(), :'before', 'and every row is what it was');

-- Calls that name the own seller's things and, beside them, another's.
CREATE TEMPORARY TABLE mixture AS SELECT statement FROM (VALUES
    (format('SELECT billing.redeem_coupon(%s, ''ten'', subscription_id => %s)', :own_account, :their_subscription)),
    (format('SELECT billing.add_discount(%s, 5, subscription_id => %s)', :own_account, :their_subscription)),
    (format('SELECT billing.add_discount(%s, 5, subscription_id => %s, item_id => %s)', :own_account, :own_subscription, :their_item)),
    (format('SELECT billing.set_minimum(%s, 5, item_id => %s)', :own_subscription, :their_item)),
    (format('SELECT * FROM billing.preview_change(%s, ''{"verb":"change_item","item_id":%s,"quantity":9}'')', :own_subscription, :their_item)),
    (format('SELECT billing.record_usages(''[{"subscription_id":%s,"meter":"minutes","event_key":"x","at":"2026-02-05T00:00Z"}]'')', :their_subscription)),
    (format('SELECT billing.create_subscriptions(''[{"account_id":%s,"plan":"solo"}]'')', :their_account)),
    ('SELECT billing.create_accounts(''[{"name":"Bob","entity":"bolt"}]'')'),
    ('SELECT billing.create_account(''Bob'', entity => ''acme'', invoice_series => ''bolt-invoice'')'),
    ('SELECT billing.create_account(''Bob'', entity => ''acme'', credit_note_series => ''bolt-credit-note'')'),
    ('SELECT billing.create_account(''Bob'', entity => ''acme'', external_id => ''bolt-1'')'),
    (format('SELECT billing.create_subscription(%s, ''solo'', external_id => ''theirs'')', :own_account)),
    (format('SELECT billing.add_discount(%s, 5, idempotency_key => ''their key'')', :own_account))) x (statement);
SELECT billing.create_subscription(:their_account, 'solo', start_at => '2026-01-01', external_id => 'theirs', idempotency_key => 'their key') \g /dev/null
SELECT pg_temp.books() AS before \gset
SELECT isnt(pg_temp.outcome('walls_acme', statement), 'done', format('refused: %s', statement)) FROM mixture;
SELECT is_empty($$SELECT p.proname, t.name FROM pg_proc p JOIN argument a ON a.routine = p.oid AND NOT a.optional JOIN thing t ON t.name = a.name AND t.entity = 'bolt'
                   WHERE pg_temp.outcome('walls_acme', pg_temp.call_of(p.oid, t.id >> CASE t.name WHEN 'account_id' THEN 0 ELSE 24 END)) <> '42501'$$, 'no call takes another''s id');

-- Usage events are written by INSERT too; they are checked alike, and never change.
CREATE FUNCTION pg_temp.insert_usage(account bigint, subscription bigint, key text, more text DEFAULT '') RETURNS text LANGUAGE sql AS
$$ SELECT pg_temp.outcome('rights_application', format('INSERT INTO billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity) VALUES (%s, %L, %s, ''minutes'', ''2026-01-06'', 5) %s', account, key, subscription, more)) $$;
SELECT is(pg_temp.insert_usage(:own_account, :their_subscription, 'call-9'), 'LB104', 'an event needs a subscription of its account');
SELECT is(pg_temp.insert_usage(:own_account, :own_subscription, 'call-1'), '23505', 'an event is stored once');
SELECT is(pg_temp.insert_usage(:own_account, :own_subscription, 'call-1', 'ON CONFLICT (account_id, event_key) DO UPDATE SET quantity = 0'), '42501', 'and not changed by another');
SELECT is(pg_temp.insert_usage(4711, :own_subscription, 'call-9'), 'LB108', 'an account must be there');

-- Code of the application's own, wherever the engine could meet it while it works as the owner of the books.
GRANT SELECT ON relation TO rights_application;
SET LOCAL ROLE rights_application;
CREATE FUNCTION walls.grab() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user USING ERRCODE = 'TR001'; END $$;
SELECT format('CREATE TEMPORARY TABLE %I (LIKE billing.%I)', p || r.name, r.name) FROM relation r, unnest('{"",new_}'::text[]) p WHERE r.relkind <> 'v'
 UNION ALL VALUES ('CREATE TEMPORARY TABLE arrived (LIKE billing.usage_event)')
 UNION ALL SELECT format('CREATE TEMPORARY TABLE %I (x int)', n) FROM unnest('{pg_roles,pg_class,pg_proc,pg_policy,x,s,a}'::text[]) n \gexec
SELECT format('CREATE TRIGGER grab BEFORE INSERT OR UPDATE OR DELETE ON pg_temp.%I FOR EACH STATEMENT EXECUTE FUNCTION walls.grab()', c.relname)
  FROM pg_catalog.pg_class c WHERE c.relnamespace = pg_my_temp_schema() AND c.relkind = 'r' AND c.relowner = 'rights_application'::regrole \gexec
SET LOCAL search_path = pg_temp, walls, pg_catalog;
INSERT INTO billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity) VALUES (:own_account, 'call-2', :own_subscription, 'minutes', '2026-01-07', 5);
SELECT billing.record_usage(:own_subscription, 'minutes', 'call-3', 5, '2026-02-07') \g /dev/null
SELECT billing.change_item(i.item_id, quantity => 7, effective_at => '2026-02-10') FROM billing.subscription_items_on(:own_subscription, '2026-02-05') i WHERE i.price = 'seat' \g /dev/null
SELECT count(*) AS documents FROM billing.bill_account(:own_account, '2026-03-01') \gset
RESET ROLE;
RESET search_path;
DROP TABLE pg_temp.pg_roles, pg_temp.pg_class, pg_temp.pg_proc, pg_temp.pg_policy, pg_temp.x, pg_temp.s, pg_temp.a;
SELECT cmp_ok(:'documents'::int, '>', 0, 'with temporary tables of every name in the way an account is billed');
SELECT is_empty('SELECT * FROM billing.check(true)', 'and the books are sound');
SELECT * FROM finish();
ROLLBACK;
