-- Reading limited to an entity: of every table and view, also those to come, a limited reader sees the rows of its
-- entity and those that are of all; everybody else, and billing, what they saw before.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
BEGIN;
\ir include/rights_books.psql
\ir include/rights.psql

SELECT current_setting('server_version_num')::int < 150000 AS old \gset
\if :old
SELECT plan(1);
SELECT throws_ok('SELECT billing.limit_reading()', '0A000', NULL, 'before PostgreSQL 15 reading cannot be limited');
SELECT * FROM finish();
ROLLBACK;
\q
\endif

-- The same life for both sellers, which leaves rows in every table; every text of a seller's names it.
SET timezone = 'UTC';
CREATE FUNCTION pg_temp.live(e text) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
    account bigint;
    subscription bigint;
BEGIN
    FOR i IN 1..3 LOOP
        account := billing.create_account(format('Customer %s of %s', i, e), entity => e, external_id => e || i, email => format('%s@%s.example', i, e),
                                          metadata => jsonb_build_object('of', e), idempotency_key => format('%s account %s', e, i));
        subscription := billing.create_subscription(account, 'team', start_at => '2026-01-01', external_id => format('%s-s%s', e, i), cycles => 12,
                                                    items => '[{"price":"seat","quantity":2}]', idempotency_key => format('%s subscription %s', e, i));
        PERFORM billing.record_usage(subscription, 'minutes', format('%s %s', e, i), 10, '2026-01-05');
        PERFORM billing.add_item(subscription, 'fee', instalments => 3, description => 'fee of ' || e, effective_at => '2026-01-01');
        PERFORM billing.redeem_coupon(account, 'ten', effective_at => '2026-01-01');
        PERFORM billing.set_minimum(subscription, 100, effective_at => '2026-01-01', reason => 'minimum of ' || e);
        PERFORM billing.change_plan(subscription, 'solo', effective_at => '2026-02-01', reason => 'plan of ' || e);
        PERFORM billing.skip_cycles(subscription, effective_at => '2026-03-01', reason => 'skipped by ' || e);
        PERFORM billing.pause_subscription(subscription, until => '2026-05-10', effective_at => '2026-05-02', reason => 'pause of ' || e);
    END LOOP;
    CALL billing.bill_run('2026-02-01', entity => e);
    PERFORM billing.void_invoice((SELECT max(id) FROM billing.invoice WHERE entity = e AND number IS NOT NULL), rebill => true, effective_at => '2026-02-02', reason => 'void of ' || e);
    CALL billing.bill_run('2026-03-01', entity => e, finalize => false);
    INSERT INTO billing.run_error (run_id, account_id, sqlstate, message, occurred_at) VALUES ((SELECT max(id) FROM billing.run), account, 'LB000', 'error of ' || e, now());
    PERFORM pg_temp.owe(e, account);
END $$;

-- What money leaves behind: everything that is about an account's debts.
CREATE FUNCTION pg_temp.owe(e text, account bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    invoices CONSTANT bigint[] := ARRAY(SELECT billing.record_external_invoice(account, format('%s-%s', e, i), '2026-01-01', 100, 'EUR', due_on => '2026-01-15') FROM generate_series(1, 5) i);
    payment bigint;
    unpaid CONSTANT bigint := billing.record_external_invoice(account - 1, format('%s-unpaid', e), '2026-01-01', 100, 'EUR', due_on => '2026-01-15');
    pursued bigint;
BEGIN
    PERFORM billing.create_event_consumer('consumer of ' || e, entity => e),
            billing.add_payment_method(account, 'direct_debit', iban => 'DE89370400440532013000', mandate_reference => 'mandate of ' || e, mandate_signed_on => '2026-01-01');
    payment := billing.record_payment(account, 150, 'EUR', reference => 'payment of ' || e, provider => 'bank', invoice_ids => invoices[1:1], rules => '{named}', effective_at => '2026-02-03');
    PERFORM billing.refund_payment(payment, 10, effective_at => '2026-02-04'), billing.write_off_invoice(invoices[2], effective_at => '2026-02-04'),
            billing.assign_dunning_scheme('strict', entity => e), billing.collect_invoice(invoices[3], effective_at => '2026-02-04');
    PERFORM billing.claim_collections('worker of ' || e, at => '2026-02-05', entity => e);
    CALL billing.dunning_run('2026-02-06', entity => e);
    SELECT c.id INTO STRICT pursued FROM billing.dunning_case c WHERE c.account_id = account AND c.invoice_id = invoices[4];
    PERFORM billing.promise_payment(pursued, 50, '2026-03-01', effective_at => '2026-02-06'),
            billing.arrange_payments(account, invoices[5:5], 2, 'month', effective_at => '2026-02-06');
    INSERT INTO billing.agency_transfer (account_id, id, case_id, agency, currency, amount, created_at, changed_at)
    VALUES (account, account << 24 | 16777215, pursued, 'agency of ' || e, 'EUR', 100, '2026-02-06', '2026-02-06');
    -- what nobody pays goes on
    INSERT INTO billing.agency_transfer (account_id, id, case_id, agency, currency, amount, created_at, changed_at)
    SELECT c.account_id, c.account_id << 24 | 16777215, c.id, 'agency of ' || e, 'EUR', 100, '2026-02-06', '2026-02-06' FROM billing.dunning_case c WHERE c.invoice_id = unpaid;
    INSERT INTO billing.template VALUES (e, 'reminder', 'mail', 'en', 'reminder of ' || e, 'pay');
    INSERT INTO billing.notification (account_id, id, code, channel, language, recipient, body, created_at, not_before)
    VALUES (account, account << 24 | 16777214, 'reminder', 'mail', 'en', '{}', 'pay', '2026-02-06', '2026-02-06');
    PERFORM billing.record_payment(account, 100000, 'EUR', rules => '{named}', effective_at => '2026-02-06');
END $$;
SELECT billing.create_dunning_scheme('strict', '[{"after": "7 days", "actions": ["event"]}, {"after": "90 days", "actions": ["event"]}]'), billing.create_interest_rate('legal', 9, '2026-01-01'),
       billing.create_retry_policy('twice', '{1 day}') \g /dev/null
SELECT pg_temp.live('acme'), pg_temp.live('bolt') \g /dev/null
CALL billing.bill_run('2026-03-02');
UPDATE billing.run SET status = 'running' WHERE id IN (SELECT max(id) FROM billing.run GROUP BY entity);
INSERT INTO billing.job (name, owner, procedure, arguments, every, first_start, time_zone, paused, next_run)
VALUES ('all', 'rights_operator', 'billing.bill_run', '{}', '1 day', now(), 'UTC', true, now());
INSERT INTO billing.job_history (job, run_no, status, started_at, finished_at) VALUES ('all', 1, 'succeeded', now(), now());

CREATE TEMPORARY VIEW relation AS
SELECT c.oid, c.relname::text AS name, c.relkind FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relname <> 'own_access';
CREATE TEMPORARY VIEW attribute AS SELECT a.attrelid, a.attname::text AS name FROM pg_attribute a WHERE a.attnum > 0 AND NOT a.attisdropped;
-- What is of all sellers.  A new table must come in here, or have an account, an entity or a run.
CREATE TEMPORARY TABLE of_all AS SELECT unnest('{book,error_code,currency,tax_class,product,meter,price,price_version,plan,plan_item,coupon,state_transition,event_type,payment_method_type,decline_code,retry_policy,interest_rate,dunning_scheme,dunning_step,ledger_account}'::text[]) AS name;
-- What is of a seller: a row of one of its accounts, with its code, or of a run for it; and jobs, which are for all, are nobody's.
CREATE FUNCTION pg_temp.rows_expected(relation oid, entity text) RETURNS text[] LANGUAGE plpgsql AS
$$
DECLARE
    columns CONSTANT text[] := (SELECT array_agg(name) FROM attribute WHERE attrelid = relation);
    relname CONSTANT text := (SELECT c.relname FROM pg_class c WHERE c.oid = relation);
    result text[];
BEGIN
    EXECUTE format('SELECT coalesce(array_agg(x::text ORDER BY x::text COLLATE "C"), %L) FROM %s x WHERE %s', '{}', relation::regclass,
        CASE WHEN relname IN (SELECT name FROM of_all) THEN 'true'
             WHEN relname = 'entity' THEN format('code = %L', entity)
             WHEN relname = 'posting_rule' THEN format('entity IN (%L, %L)', '', entity)
             WHEN 'entity' = ANY (columns) THEN format('entity = %L', entity)
             WHEN 'account_id' = ANY (columns) THEN format('account_id IN (SELECT account_id FROM billing.account WHERE entity = %L)', entity)
             WHEN 'run_id' = ANY (columns) THEN format('run_id IN (SELECT id FROM billing.run WHERE entity = %L)', entity)
             ELSE 'false' END) INTO result;
    RETURN result;
END $$;

CREATE ROLE limited_acme;
CREATE ROLE limited_bolt;
CREATE ROLE limited_application;
CREATE ROLE limited_member;
CREATE ROLE limited_both IN ROLE limited_acme, limited_bolt;
CREATE ROLE limited_and_all IN ROLE limited_acme, rights_reader;
CREATE ROLE limited_later;
GRANT limited_acme TO limited_member;
SELECT billing.grant_access('limited_application', 'application', entity => 'acme') \g /dev/null

SELECT plan(40 + 7 * (SELECT count(*) FROM relation)::int);

-- Off until somebody asks for it.
SELECT is_empty($$SELECT oid::regclass FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND (relrowsecurity OR relforcerowsecurity OR reloptions::text ~ 'invoker')$$, 'row-level security is off');
SELECT throws_ok($$SELECT billing.grant_access('limited_acme', 'reader', entity => 'acme')$$, '55000', 'reading is not limited to entities', 'and reading cannot be limited then');
SELECT is(pg_temp.outcome('limited_application', 'SELECT * FROM billing.account'), '42501', 'access to one entity is through calls only');
CREATE TEMPORARY TABLE seen_before AS SELECT r.oid, pg_temp.rows_of('rights_reader', format('SELECT * FROM billing.%I', r.name)) AS rows FROM relation r;
SELECT is_empty($$SELECT oid::regclass FROM seen_before WHERE rows = '{}'$$, 'every table and view has rows');
SELECT is(pg_temp.outcome('rights_operator', 'SELECT billing.limit_reading()'), '42501', 'an operator does not limit reading');
SELECT is(pg_temp.outcome('limited_application', 'SELECT billing.limit_reading()'), '42501', 'nor does who has access to one entity');
SET LOCAL ROLE rights_administrator;
SELECT billing.limit_reading() AS first, billing.limit_reading() AS second \gset
RESET ROLE;
SELECT is(:'first' || :'second', 'tf', 'an administrator does, and is told whether that changed anything');
SELECT billing.grant_access('limited_acme', 'reader', entity => 'acme'), billing.grant_access('limited_bolt', 'reader', entity => 'bolt') \g /dev/null
UPDATE seen_before SET rows = pg_temp.rows_of('rights_owner', 'SELECT * FROM billing.access') WHERE oid = 'billing.access'::regclass;

-- Every table and view.
SELECT is(pg_temp.rows_of('limited_acme', format('SELECT * FROM billing.%I', name)), pg_temp.rows_expected(oid, 'acme'), format('%s: the rows of its entity and of all', name)) FROM relation ORDER BY name;
SELECT is_empty(format($$SELECT x FROM unnest(pg_temp.rows_of('limited_acme', 'SELECT * FROM billing.%I')) x WHERE x ~* 'bolt'$$, name), format('%s: no row names another', name)) FROM relation ORDER BY name;
SELECT is(pg_temp.rows_of('limited_application', format('SELECT * FROM billing.%I', name)) || pg_temp.rows_of('limited_member', format('SELECT * FROM billing.%I', name)),
          pg_temp.rows_of('limited_acme', format('SELECT * FROM billing.%I', name)) || pg_temp.rows_of('limited_acme', format('SELECT * FROM billing.%I', name)),
          format('%s: the same for an application of that entity, and for a member', name)) FROM relation ORDER BY name;
SELECT is(pg_temp.rows_of('limited_both', format('SELECT * FROM billing.%I', r.name)),
          ARRAY(SELECT x FROM unnest(pg_temp.rows_expected(r.oid, 'acme') || pg_temp.rows_expected(r.oid, 'bolt')) x GROUP BY x ORDER BY x COLLATE "C"),
          format('%s: two entities where both were granted', name)) FROM relation r ORDER BY name;
SELECT is(pg_temp.rows_of(role, format('SELECT * FROM billing.%I', r.name)), s.rows, format('%s: as before for %s', r.name, role))
  FROM relation r JOIN seen_before s USING (oid), unnest('{rights_reader,limited_and_all,rights_owner}'::name[]) role ORDER BY r.name;

-- How: a policy on every table that is not of all, none of them with a function of the engine, and not forced on the owner.
SELECT set_eq($$SELECT c.relname::text FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE p.polname = 'own_entity' AND c.relrowsecurity AND NOT c.relforcerowsecurity$$,
              $$SELECT name FROM relation WHERE relkind <> 'v' AND name NOT IN (SELECT name FROM of_all)$$, 'all tables that are not of all have the policy');
SELECT is_empty($$SELECT pg_describe_object(d.refclassid, d.refobjid, 0) FROM pg_depend d JOIN pg_extension e ON e.extname = 'billing'
                    JOIN pg_depend m ON m.refclassid = 'pg_extension'::regclass AND m.refobjid = e.oid AND m.classid = d.refclassid AND m.objid = d.refobjid
                   WHERE d.classid = 'pg_policy'::regclass$$, 'no policy uses a function of the engine');
SELECT is_empty($$SELECT name FROM relation r JOIN pg_class c USING (oid) WHERE r.relkind = 'v' AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)$$, 'views read as who asks');
SELECT is(pg_temp.rows_of('limited_member', 'SELECT * FROM billing.own_access'), ARRAY['(limited_acme,reader,acme)'], 'a member sees the access it has');
SELECT is(pg_temp.rows_of('rights_operator', 'SELECT * FROM billing.own_access'), ARRAY['(rights_operator,operator,"")'], 'and an operator his');
SELECT is(pg_temp.outcome('rights_none', 'SELECT * FROM billing.own_access'), '42501', 'who has none sees nothing');

-- Calls that tell of all accounts tell of those that may be seen.
SELECT is(pg_temp.rows_of('limited_acme', $$SELECT DISTINCT account_id FROM billing.subscription_status_on('2026-02-15')$$), ARRAY['(1)', '(2)', '(3)'], 'states of the own subscriptions');
SELECT is(pg_temp.rows_of('limited_acme', $$SELECT DISTINCT account_id FROM billing.unbilled_on('2026-06-15')$$), ARRAY['(1)', '(2)', '(3)'], 'what own accounts owe');
SELECT is(pg_temp.rows_of('rights_reader', $$SELECT count(DISTINCT account_id) FROM billing.unbilled_on('2026-06-15')$$), ARRAY['(6)'], 'a reader is told of all');
SELECT is(pg_temp.rows_of('limited_acme', $$SELECT billing.account_id('acme2') UNION SELECT billing.subscription_id('acme-s1')$$), ARRAY['(16777217)', '(2)'], 'own external ids are found');
SELECT is(pg_temp.outcome('limited_acme', $$SELECT billing.account_id('bolt2')$$) || pg_temp.outcome('limited_acme', $$SELECT billing.account_id('nobody')$$), '4250142501',
          'another''s look like those that nobody has');
SELECT is(pg_temp.outcome('limited_acme', $$SELECT * FROM billing.verify_chain('acme-invoice')$$) || pg_temp.outcome('limited_acme', $$SELECT * FROM billing.verify_chain('bolt-invoice')$$),
          pg_temp.outcome('rights_reader', $$SELECT * FROM billing.verify_chain()$$) || pg_temp.outcome('rights_reader', $$SELECT * FROM billing.verify_chain('nowhere')$$), 'the own chains are verified, another''s are unknown');

-- It writes nothing, and no trick shows more.
SELECT is_empty($$SELECT r.name, p FROM relation r, unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p, unnest('{limited_acme,limited_application}'::name[]) o
                   WHERE has_table_privilege(o, r.oid, p)$$, 'who has access to one entity writes by calls only');
CREATE FUNCTION public.rights_leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN IF $1 ~* 'bolt' THEN RAISE EXCEPTION 'leaked %', $1; END IF; RETURN true; END $$;
SELECT is(pg_temp.outcome('limited_acme', 'SELECT * FROM billing.account WHERE public.rights_leak(name)') || pg_temp.outcome('limited_acme', 'SELECT * FROM billing.invoice WHERE public.rights_leak(metadata::text)'),
          'donedone', 'a cheap function of its own is not shown other rows');
SELECT is(pg_temp.outcome('rights_reader', 'SELECT * FROM billing.account WHERE public.rights_leak(name)'), 'P0001', 'the function would tell');
SELECT is(pg_temp.outcome('limited_acme', 'SET LOCAL row_security = off; SELECT * FROM billing.account'), '42501', 'switching row-level security off is an error');
GRANT USAGE ON SCHEMA billing TO rights_none;
GRANT SELECT ON billing.invoice, billing.invoice_line TO rights_none;
SELECT is(pg_temp.outcome('rights_none', 'SELECT * FROM billing.invoice_line') || pg_temp.outcome('rights_none', 'SELECT * FROM billing.invoice'), '4250142501', 'SELECT that was granted by hand ends in an error, not in silence');
SELECT is(pg_temp.rows_of('limited_acme', 'SELECT most_common_vals FROM pg_stats WHERE schemaname = ''billing'' AND tablename = ''account'''), '{}', 'statistics tell nothing');

-- Whoever has access to all entities works as before.
SELECT is(pg_temp.outcome('rights_application', $$INSERT INTO billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity)
    SELECT s.account_id, 'more', s.id, 'minutes', '2026-01-06', 1 FROM billing.subscription s$$), 'done', 'an application inserts usage events');
SELECT is(pg_temp.outcome('rights_administrator', $$INSERT INTO billing.entity (code, name, country, currency, time_zone) VALUES ('cato', 'Cato', 'DE', 'EUR', 'UTC');
    UPDATE billing.series SET format = 'C-{year}-{number}' WHERE entity = 'cato'; INSERT INTO billing.tax_rate (entity, tax, category, rate) VALUES ('cato', 'vat', 'S', 19)$$), 'done',
          'an administrator writes the catalogue');
UPDATE billing.run SET status = 'interrupted' WHERE status = 'running';
SELECT is(pg_temp.outcome('rights_operator', $$CALL billing.bill_run('2026-07-01'); SELECT 1 / count(*) FROM billing.invoice WHERE entity = 'bolt' AND billed_at > '2026-06-01'$$), 'done', 'an operator bills');
SELECT is(pg_temp.outcome('limited_application', $$CALL billing.bill_run('2026-07-01', entity => 'acme')$$), '42501', 'an application of one entity does not');
SELECT is(pg_temp.outcome('limited_application', $$SELECT billing.create_account('New', entity => 'acme')$$) || pg_temp.outcome('limited_application', $$SELECT billing.create_account('New', entity => 'bolt')$$), 'done42501',
          'but opens accounts of it');

-- It stays through setup() and without the engine.
CREATE FUNCTION pg_temp.limited_digest() RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(r.name || md5(pg_temp.rows_of('limited_acme', format('SELECT * FROM billing.%I', r.name))::text), ' ' ORDER BY r.name) FROM relation r $$;
SELECT pg_temp.limited_digest() AS before \gset
SELECT billing.setup() \g /dev/null
SELECT is(pg_temp.limited_digest(), :'before', 'setup() keeps it');
SAVEPOINT engine;
DROP EXTENSION billing CASCADE;
SELECT is(pg_temp.rows_of('limited_acme', 'SELECT DISTINCT entity FROM billing.invoice UNION SELECT DISTINCT entity FROM billing.account UNION SELECT DISTINCT entity FROM billing.revenue_by_month'), ARRAY['(acme)'], 'without the engine reading is limited too');
CREATE EXTENSION billing;
SELECT billing.setup() \g /dev/null
SELECT is(pg_temp.limited_digest(), :'before', 'and with the next one as before');
ROLLBACK TO engine;

-- Granted later, taken away, ended.
SELECT billing.grant_access('limited_later', 'operator', entity => 'bolt') \g /dev/null
SELECT is(pg_temp.rows_of('limited_later', 'SELECT DISTINCT entity FROM billing.account'), ARRAY['(bolt)'], 'access that is granted later is limited as well');
SELECT billing.revoke_access('limited_later', 'operator', entity => 'bolt') \g /dev/null
SELECT is(pg_temp.outcome('limited_later', 'SELECT * FROM billing.account'), '42501', 'and gone when it is taken');
CREATE POLICY mine ON billing.account TO limited_later USING (false);
SELECT is(billing.limit_reading(false), true, 'it can be ended');
SELECT is_empty($$SELECT oid::regclass FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND (relrowsecurity AND relname <> 'account' OR reloptions::text ~ 'invoker')$$, 'then no table or view knows of it');
SELECT is((SELECT relrowsecurity FROM pg_class WHERE oid = 'billing.account'::regclass), true, 'but one that has a policy of somebody else');
SELECT is(pg_temp.outcome('limited_acme', 'SELECT * FROM billing.invoice_line') || pg_temp.outcome('limited_acme', 'SELECT billing.account_id(''acme1'')'), '42501done', 'who could read one entity is left with its calls');
SELECT is(pg_temp.rows_of('rights_reader', 'SELECT * FROM billing.invoice_line'), (SELECT rows FROM seen_before WHERE oid = 'billing.invoice_line'::regclass), 'a reader reads on');
SELECT * FROM finish();
ROLLBACK;
