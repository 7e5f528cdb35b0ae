-- The rows of the run that was just made, as the raw insert's source, and its ranges of accounts.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
SET synchronous_commit = off;
CREATE SCHEMA bench;
CREATE TABLE bench.hot (name text PRIMARY KEY);
INSERT INTO bench.hot VALUES ('invoice_header'), ('invoice_line'), ('invoice_tax'), ('charge'), ('seal'), ('event');
CREATE TABLE bench.result (pass int, what text, seconds numeric, cpu numeric);
CREATE TABLE bench.series AS TABLE billing.series;
CREATE TABLE bench.state_before AS SELECT account_id, entity, 4 AS next_ordinal, NULL::timestamptz AS billed_through,
    NULL::timestamptz AS recompute_from, '2026-01-01 00:00+01'::timestamptz AS next_due, 0::bigint AS event_no FROM billing.account;
CREATE TABLE bench.state_after AS TABLE billing.account_state;
CREATE UNIQUE INDEX ON bench.state_after (account_id);
SELECT format('CREATE TABLE bench.%I AS SELECT * FROM billing.%I; CREATE INDEX ON bench.%I (account_id)', name, name, name)
  FROM bench.hot \gexec

-- Seconds of processor time that this session has used.
CREATE FUNCTION bench.cpu() RETURNS numeric LANGUAGE sql AS $$
    SELECT (f[14]::numeric + f[15]::numeric) / 100
      FROM regexp_split_to_array(pg_read_file('/proc/self/stat'), ' ') f
$$;

-- Empty copies of the tables, with their indexes, constraints and storage options; no trigger of the
-- originals fires at an insert.
CREATE PROCEDURE bench.fresh_copies() LANGUAGE plpgsql AS $$
DECLARE
    t text;
BEGIN
    DROP SCHEMA IF EXISTS raw CASCADE;
    CREATE SCHEMA raw;
    FOR t IN SELECT name FROM bench.hot UNION ALL VALUES ('account_state') LOOP
        EXECUTE format('CREATE TABLE raw.%I (LIKE billing.%I INCLUDING ALL)', t, t);
        EXECUTE coalesce((SELECT format('ALTER TABLE raw.%I SET (%s)', t, array_to_string(reloptions, ', '))
                            FROM pg_class WHERE oid = format('billing.%I', t)::regclass AND reloptions IS NOT NULL), '');
    END LOOP;
    INSERT INTO raw.account_state (account_id, entity, next_ordinal, billed_through, recompute_from, next_due, event_no) TABLE bench.state_before;
END $$;

-- The books as they were before the run.
CREATE PROCEDURE bench.unbill() LANGUAGE plpgsql AS $$
DECLARE
    t text;
BEGIN
    FOR t IN SELECT name FROM bench.hot WHERE name <> 'event' LOOP
        EXECUTE format('ALTER TABLE billing.%I DISABLE TRIGGER %I', t, t || '_truncate');
    END LOOP;
    TRUNCATE billing.invoice_header, billing.invoice_line, billing.invoice_tax, billing.charge, billing.seal,
        billing.credit_allocation, billing.event, billing.account_state, billing.run CASCADE;
    FOR t IN SELECT name FROM bench.hot WHERE name <> 'event' LOOP
        EXECUTE format('ALTER TABLE billing.%I ENABLE ALWAYS TRIGGER %I', t, t || '_truncate');
    END LOOP;
    INSERT INTO billing.account_state (account_id, entity, next_ordinal, billed_through, recompute_from, next_due, event_no) TABLE bench.state_before;
    UPDATE billing.series SET position = 0, counter = 0, counter_year = NULL, last_issued_on = NULL, chain_hash = NULL;
END $$;

-- The same rows and the same update, or a part of them, committed in the same batches; every nth batch only,
-- as one of several sessions.
CREATE PROCEDURE bench.raw_run(parts text[] DEFAULT '{account_state,invoice_header,invoice_line,invoice_tax,charge,seal,event}',
    sessions int DEFAULT 1, session int DEFAULT 0)
LANGUAGE plpgsql AS $$
DECLARE
    low bigint := 1 + 1000 * session;
    high bigint := 1000 + 1000 * session;
BEGIN
    WHILE low <= (SELECT max(account_id) FROM billing.account) LOOP
        IF 'account_state' = ANY (parts) THEN
            UPDATE raw.account_state s SET next_ordinal = n.next_ordinal, billed_through = n.billed_through,
                   recompute_from = n.recompute_from, next_due = n.next_due, event_no = n.event_no
              FROM bench.state_after n WHERE n.account_id = s.account_id AND s.account_id BETWEEN low AND high
               AND n.account_id BETWEEN low AND high;
        END IF;
        IF 'invoice_header' = ANY (parts) THEN
            INSERT INTO raw.invoice_header SELECT * FROM bench.invoice_header WHERE account_id BETWEEN low AND high;
        END IF;
        IF 'invoice_line' = ANY (parts) THEN
            INSERT INTO raw.invoice_line SELECT * FROM bench.invoice_line WHERE account_id BETWEEN low AND high;
        END IF;
        IF 'invoice_tax' = ANY (parts) THEN
            INSERT INTO raw.invoice_tax SELECT * FROM bench.invoice_tax WHERE account_id BETWEEN low AND high;
        END IF;
        IF 'charge' = ANY (parts) THEN
            INSERT INTO raw.charge SELECT * FROM bench.charge WHERE account_id BETWEEN low AND high;
        END IF;
        IF 'seal' = ANY (parts) THEN
            INSERT INTO raw.seal SELECT * FROM bench.seal WHERE account_id BETWEEN low AND high;
        END IF;
        IF 'event' = ANY (parts) THEN
            INSERT INTO raw.event SELECT * FROM bench.event WHERE account_id BETWEEN low AND high;
        END IF;
        COMMIT;
        low := low + 1000 * sessions;
        high := high + 1000 * sessions;
    END LOOP;
END $$;
VACUUM (FREEZE, ANALYZE);
