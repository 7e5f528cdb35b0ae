-- What guards would cost that the books do without: the raw insert with and without each, twice.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;

-- Overlap of charged ranges, refused by a statement: of each new range the two neighbours in the key.
CREATE FUNCTION bench.refuse_overlap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM arrived n
         WHERE n.period_end > n.period_start AND (
               (SELECT c.period_end FROM raw.charge c
                 WHERE c.account_id = n.account_id AND c.item_id = n.item_id AND c.kind = n.kind AND c.period_start < n.period_start
                 ORDER BY c.period_start DESC, c.ordinal DESC, c.revision DESC LIMIT 1) > n.period_start
            OR (SELECT c.period_start FROM raw.charge c
                 WHERE c.account_id = n.account_id AND c.item_id = n.item_id AND c.kind = n.kind AND c.period_start > n.period_start
                 ORDER BY c.period_start, c.ordinal, c.revision LIMIT 1) < n.period_end)) THEN
        RAISE EXCEPTION 'charged ranges overlap';
    END IF;
    RETURN NULL;
END $$;

CREATE PROCEDURE bench.add_guard(guard text) LANGUAGE plpgsql AS $$
BEGIN
    IF guard = 'five foreign keys' THEN
        ALTER TABLE raw.invoice_header ADD FOREIGN KEY (account_id) REFERENCES billing.account;
        ALTER TABLE raw.invoice_line ADD FOREIGN KEY (account_id, invoice_id) REFERENCES raw.invoice_header;
        ALTER TABLE raw.invoice_tax ADD FOREIGN KEY (account_id, invoice_id) REFERENCES raw.invoice_header;
        ALTER TABLE raw.charge ADD FOREIGN KEY (account_id, invoice_id, line_no) REFERENCES raw.invoice_line;
        ALTER TABLE raw.seal ADD FOREIGN KEY (account_id, invoice_id) REFERENCES raw.invoice_header;
    ELSIF guard = 'index on next_due' THEN
        CREATE INDEX ON raw.account_state (next_due);
    ELSIF guard = 'overlap trigger' THEN
        CREATE TRIGGER refuse_overlap AFTER INSERT ON raw.charge REFERENCING NEW TABLE AS arrived
            FOR EACH STATEMENT EXECUTE FUNCTION bench.refuse_overlap();
    END IF;
END $$;

CREATE TEMP TABLE cost (guard text, pass int, guarded boolean, seconds numeric);
CREATE TEMP TABLE trial AS
SELECT row_number() OVER (ORDER BY g.no, pass, guarded) AS no, g.guard, g.parts, pass, guarded
  FROM (VALUES (1, 'five foreign keys', '{account_state,invoice_header,invoice_line,invoice_tax,charge,seal,event}'::text[]),
               (2, 'index on next_due', '{account_state}'),
               (3, 'overlap trigger', '{charge}')) g (no, guard, parts),
       generate_series(1, 2) pass, (VALUES (false), (true)) t (guarded);
SELECT format($q$
    CALL bench.fresh_copies();
    CALL bench.add_guard(%L);
    CHECKPOINT;
    SELECT clock_timestamp() AS started \gset
    CALL bench.raw_run(%L);
    INSERT INTO cost SELECT %L, %s, %L, extract(epoch FROM clock_timestamp() - :'started');$q$,
    CASE WHEN guarded THEN guard ELSE '' END, parts, guard, pass, guarded) AS script FROM trial ORDER BY no
\g (format=unaligned tuples_only=on) :script_file
\i :script_file

\pset footer off
\pset title 'guards that the books do without: times the raw statements alone'
SELECT guard, round(avg(seconds) FILTER (WHERE NOT guarded) * 1e6 / n.accounts, 1) AS without_us,
       round(avg(seconds) FILTER (WHERE guarded) * 1e6 / n.accounts, 1) AS with_us,
       round(avg(seconds) FILTER (WHERE guarded) / avg(seconds) FILTER (WHERE NOT guarded), 2) AS ratio
  FROM cost, (SELECT count(*) AS accounts FROM billing.account) n GROUP BY guard, n.accounts ORDER BY min(pass), ratio DESC;
