-- What compares a call of the engine with the plain writes of the same rows: the books before and after it as
-- copies, and a procedure made of them that updates and inserts what differs, in the very tables.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
CREATE SCHEMA bench;
CREATE TABLE bench.result (no serial, what text, pass int, kind text, seconds numeric, cpu numeric, rows bigint);
-- The tables that receivables write, each behind those that it refers to.
CREATE TABLE bench.touched (no serial, name text PRIMARY KEY);
INSERT INTO bench.touched (name) SELECT unnest('{account_state,invoice_header,invoice_line,invoice_tax,seal,payment,payment_allocation,key,collection,
    dunning_case,dunning_case_change,dunning_action,notification,event}'::text[]);

-- Seconds of processor time that this session has used.
CREATE FUNCTION bench.cpu() RETURNS numeric LANGUAGE sql AS $$
    SELECT (f[14]::numeric + f[15]::numeric) / 100 FROM regexp_split_to_array(pg_read_file('/proc/self/stat'), ' ') f
$$;

CREATE FUNCTION bench.key_columns(name text) RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(quote_ident(a.attname) ORDER BY k.no)
      FROM pg_constraint c, unnest(c.conkey) WITH ORDINALITY k (attnum, no), pg_attribute a
     WHERE c.conrelid = format('billing.%I', name)::regclass AND c.contype = 'p' AND a.attrelid = c.conrelid AND a.attnum = k.attnum
$$;

-- Copies of the tables as they are.
CREATE PROCEDURE bench.save(prefix text) LANGUAGE plpgsql AS $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT x.name, array_to_string(bench.key_columns(x.name), ', ') AS key FROM bench.touched x LOOP
        EXECUTE format('DROP TABLE IF EXISTS bench.%I', prefix || t.name);
        EXECUTE format('CREATE TABLE bench.%I AS SELECT * FROM billing.%I ORDER BY %s', prefix || t.name, t.name, t.key);
    END LOOP;
END $$;

-- The tables as they were; runs and what refers to the tables are forgotten.
CREATE PROCEDURE bench.restore(prefix text) LANGUAGE plpgsql AS $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT tgrelid::regclass AS name, tgname FROM pg_trigger WHERE tgname LIKE '%\_truncate' AND tgrelid::regclass::text LIKE 'billing.%' LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', t.name, t.tgname);
    END LOOP;
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(format('billing.%I', name), ', ') || ', billing.run CASCADE' FROM bench.touched);
    FOR t IN SELECT tgrelid::regclass AS name, tgname FROM pg_trigger WHERE tgname LIKE '%\_truncate' AND tgrelid::regclass::text LIKE 'billing.%' LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.name, t.tgname);
    END LOOP;
    SET LOCAL session_replication_role = replica;
    FOR t IN SELECT name FROM bench.touched ORDER BY no LOOP
        EXECUTE format('INSERT INTO billing.%I SELECT * FROM bench.%I', t.name, prefix || t.name);
    END LOOP;
END $$;

-- Makes bench.plain(low, high) of what differs between the copies; returns how many rows that is.
CREATE FUNCTION bench.make_plain() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    t record;
    columns text[];
    n bigint;
    total bigint := 0;
    body text := '';
BEGIN
    FOR t IN SELECT x.name, bench.key_columns(x.name) AS keys FROM bench.touched x ORDER BY x.no LOOP
        EXECUTE format('DROP TABLE IF EXISTS bench.%I, bench.%I', 'new_' || t.name, 'changed_' || t.name);
        EXECUTE format('CREATE TABLE bench.%I AS SELECT a.* FROM bench.%I a LEFT JOIN bench.%I b USING (%s) WHERE b.%s IS NULL ORDER BY a.account_id',
                       'new_' || t.name, 'after_' || t.name, 'before_' || t.name, array_to_string(t.keys, ', '), t.keys[1]);
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n > 0 THEN
            total := total + n;
            EXECUTE format('CREATE INDEX ON bench.%I (account_id)', 'new_' || t.name);
            body := body || format('INSERT INTO billing.%I SELECT * FROM bench.%I n WHERE n.account_id BETWEEN low AND high;', t.name, 'new_' || t.name);
        END IF;
        EXECUTE format('CREATE TABLE bench.%I AS SELECT a.* FROM bench.%I a JOIN bench.%I b USING (%s) WHERE a IS DISTINCT FROM b ORDER BY a.account_id',
                       'changed_' || t.name, 'after_' || t.name, 'before_' || t.name, array_to_string(t.keys, ', '));
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n > 0 THEN
            total := total + n;
            EXECUTE format('CREATE INDEX ON bench.%I (account_id)', 'changed_' || t.name);
            EXECUTE format('SELECT array_agg(DISTINCT quote_ident(x.key)) FROM bench.%I a JOIN bench.%I b USING (%s), jsonb_each(to_jsonb(a)) x WHERE to_jsonb(b)->x.key IS DISTINCT FROM x.value',
                           'changed_' || t.name, 'before_' || t.name, array_to_string(t.keys, ', ')) INTO columns;
            body := body || format('UPDATE billing.%I t SET %s FROM bench.%I n WHERE %s AND n.account_id BETWEEN low AND high AND t.account_id BETWEEN low AND high;', t.name,
                (SELECT string_agg(format('%s = n.%s', c, c), ', ') FROM unnest(columns) c), 'changed_' || t.name,
                (SELECT string_agg(format('t.%s = n.%s', k, k), ' AND ') FROM unnest(t.keys) k));
        END IF;
    END LOOP;
    EXECUTE format('CREATE OR REPLACE PROCEDURE bench.plain(low bigint, high bigint) LANGUAGE plpgsql AS $p$BEGIN %s END $p$', body);
    RETURN total;
END $$;

CREATE PROCEDURE bench.plain_all(batch int) LANGUAGE plpgsql AS $$
DECLARE
    low bigint := 1;
BEGIN
    WHILE low <= (SELECT max(account_id) FROM billing.account) LOOP
        CALL bench.plain(low, low + batch - 1);
        COMMIT;
        low := low + batch;
    END LOOP;
END $$;

-- Calls a function with each range of 1,000 accounts, committed one by one.
CREATE PROCEDURE bench.call_in_batches(what regproc) LANGUAGE plpgsql AS $$
DECLARE
    low bigint := 1;
BEGIN
    WHILE low <= (SELECT max(account_id) FROM billing.account) LOOP
        EXECUTE format('SELECT %s($1, $2)', what) USING low, low + 999;
        COMMIT;
        low := low + 1000;
    END LOOP;
END $$;

-- The invoice of every second account is paid in full, that of the others in part.
CREATE FUNCTION bench.pay(low bigint, high bigint) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM billing.record_payments((
        SELECT jsonb_agg(jsonb_build_object('account_id', a.account_id, 'amount', CASE a.account_id % 2 WHEN 0 THEN 119 ELSE 60 END, 'currency', 'EUR',
                   'provider', 'bank', 'reference', 'R-' || a.account_id, 'effective_at', '2026-02-10 12:00+01') ORDER BY a.account_id)
          FROM billing.account a WHERE a.account_id BETWEEN low AND high))
$$;

CREATE FUNCTION bench.invoice(low bigint, high bigint) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM billing.record_external_invoices((
        SELECT jsonb_agg(jsonb_build_object('account_id', a.account_id, 'number', 'Y-' || a.account_id, 'issued_on', '2026-01-05', 'total', 119, 'tax_total', 19,
                   'currency', 'EUR') ORDER BY a.account_id)
          FROM billing.account a WHERE a.account_id BETWEEN low AND high))
$$;
