-- Benchmark: billing.charge, graduated with 3 tiers, over 2 million rows, against the same done in
-- plpgsql and in plain SQL. All figures come from this one run; every contender computes each row's
-- charge and their sums are compared.
--
--   psql -X -d SOME_EMPTY_DATABASE -f test/bench/charge.sql       (-v rows=... for another size)
--
-- Parallel query and JIT are off, so that one processor does the work everywhere. Two sets of
-- quantities from 0 to 60: with six digits after the point nearly all differ, so that each charge is
-- computed; with two there are 6,001, and a lateral subquery remembers its results (Memoize) and
-- computes nearly nothing. Ratios include scan and sum; net ratios leave them out.
\set ON_ERROR_STOP on
\set QUIET on
\if :{?rows}
\else
\set rows 2000000
\endif
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS billing;
SET max_parallel_workers_per_gather = 0;
SET jit = off;

CREATE TEMP TABLE bench_usage (quantity numeric);
CREATE TEMP TABLE bench_price AS
SELECT '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":null,"unit_amount":0.80}]}'::jsonb AS scheme;
-- The same tiers for those who do not take JSON; "before" is what all tiers below cost.
CREATE TEMP TABLE bench_tier (lower numeric, up_to numeric, unit_amount numeric, before numeric);
INSERT INTO bench_tier VALUES (0, 10, 1.00, 0), (10, 20, 0.90, 10.00), (20, 'Infinity', 0.80, 19.00);
ANALYZE bench_price, bench_tier;

-- What one would write by hand: the scheme is an argument, its tiers are walked.
CREATE FUNCTION pg_temp.charge_plpgsql(scheme jsonb, quantity numeric) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    tier jsonb;
    lower numeric := 0;
    upper numeric;
    amount numeric := 0;
BEGIN
    FOR tier IN SELECT value FROM jsonb_array_elements(scheme->'tiers') LOOP
        upper := (tier->>'up_to')::numeric;
        IF upper IS NULL OR quantity <= upper THEN
            RETURN amount + (quantity - lower) * (tier->>'unit_amount')::numeric;
        END IF;
        amount := amount + (upper - lower) * (tier->>'unit_amount')::numeric;
        lower := upper;
    END LOOP;
    RAISE EXCEPTION 'quantity lies above the last bracket';
END $$;

-- The fastest plpgsql: one price list, written into the code.
CREATE FUNCTION pg_temp.charge_constants(quantity numeric) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF quantity <= 10 THEN RETURN quantity * 1.00; END IF;
    IF quantity <= 20 THEN RETURN 10.00 + (quantity - 10) * 0.90; END IF;
    RETURN 19.00 + (quantity - 20) * 0.80;
END $$;

CREATE TEMP TABLE bench_contender (no int, name text, query text);
CREATE TEMP TABLE bench_result (digits int, no int, seconds numeric, total numeric);
INSERT INTO bench_contender VALUES
    (0, 'no charge: scan and sum alone', 'SELECT sum(quantity) FROM bench_usage'),
    (1, 'billing.charge, scheme constant', format('SELECT sum(billing.charge(%L, quantity)) FROM bench_usage', (SELECT scheme FROM bench_price))),
    (2, 'billing.charge, scheme from a table', 'SELECT sum(billing.charge(scheme, quantity)) FROM bench_usage, bench_price'),
    (3, 'plpgsql over the scheme', 'SELECT sum(pg_temp.charge_plpgsql(scheme, quantity)) FROM bench_usage, bench_price'),
    (4, 'SQL, lateral over the scheme''s tiers',
     $q$SELECT sum(charge) FROM bench_usage, bench_price, LATERAL (
         SELECT sum((least(quantity, up_to) - lower) * unit_amount) AS charge
           FROM (SELECT up_to, unit_amount, lag(up_to, 1, 0.0) OVER (ORDER BY n) AS lower
                   FROM jsonb_array_elements(scheme->'tiers') WITH ORDINALITY e (tier, n),
                        LATERAL (SELECT (tier->>'up_to')::numeric, (tier->>'unit_amount')::numeric) t (up_to, unit_amount)) t
          WHERE quantity > lower) c$q$),
    (5, 'SQL, tier table, sum over the tiers entered',
     'SELECT sum(charge) FROM bench_usage, LATERAL (SELECT sum((least(quantity, up_to) - lower) * unit_amount) AS charge FROM bench_tier WHERE quantity > lower) c'),
    (6, 'SQL, unnested arrays, sum over the tiers entered',
     $q$SELECT sum(charge) FROM bench_usage, LATERAL (SELECT sum((least(quantity, up_to) - lower) * unit_amount) AS charge
          FROM unnest('{0,10,20}'::numeric[], '{10,20,Infinity}'::numeric[], '{1.00,0.90,0.80}'::numeric[]) t (lower, up_to, unit_amount)
         WHERE quantity > lower) c$q$),
    (7, 'SQL, tier table with totals worked out beforehand',
     'SELECT sum(before + (quantity - lower) * unit_amount) FROM bench_usage JOIN bench_tier ON quantity > lower AND quantity <= up_to'),
    (8, 'plpgsql, one price list in its code', 'SELECT sum(pg_temp.charge_constants(quantity)) FROM bench_usage'),
    (9, 'SQL, one price list as CASE with constants',
     'SELECT sum(CASE WHEN quantity <= 10 THEN quantity * 1.00 WHEN quantity <= 20 THEN 10.00 + (quantity - 10) * 0.90 ELSE 19.00 + (quantity - 20) * 0.80 END) FROM bench_usage');

-- Best of three; one run is enough for what takes more than two seconds.
CREATE FUNCTION pg_temp.seconds(query text, OUT seconds numeric, OUT total numeric) LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    took numeric;
BEGIN
    FOR i IN 1 .. 3 LOOP
        started := clock_timestamp();
        EXECUTE query INTO total;
        took := extract(epoch FROM clock_timestamp() - started);
        seconds := least(seconds, took);
        EXIT WHEN took > 2;
    END LOOP;
END $$;

CREATE FUNCTION pg_temp.compare(rows int, digits int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    contender bench_contender;
BEGIN
    TRUNCATE bench_usage;
    INSERT INTO bench_usage SELECT round((hashint4(i)::numeric + 2147483648) / 4294967296 * 60, digits) FROM generate_series(1, rows) i;
    ANALYZE bench_usage;
    FOR contender IN SELECT * FROM bench_contender ORDER BY no LOOP
        INSERT INTO bench_result SELECT digits, contender.no, s.seconds, s.total FROM pg_temp.seconds(contender.query) s;
    END LOOP;
END $$;
SELECT pg_temp.compare(:rows, 6), pg_temp.compare(:rows, 2) \g /dev/null

-- The same sums from all, or the run counts for nothing.
SELECT count(*) = 2 AS agreed FROM (SELECT DISTINCT digits, total FROM bench_result WHERE no > 0) d \gset
\if :agreed
\else
    \warn 'the contenders disagree'
    SELECT * FROM bench_result;
    SELECT 1 / 0;
\endif

\pset footer off
\pset title 'charge, graduated with 3 tiers: nanoseconds a row, and times the charge'
CREATE TEMP VIEW bench_ratio AS
SELECT r.digits, r.no, r.seconds, r.seconds / charge.seconds AS ratio,
       (r.seconds - scan.seconds) / (charge.seconds - scan.seconds) AS net_ratio
  FROM bench_result r JOIN bench_result charge ON charge.digits = r.digits AND charge.no = 1
  JOIN bench_result scan ON scan.digits = r.digits AND scan.no = 0;
SELECT name, round(differ.seconds * 1e9 / :rows) AS differing, round(differ.ratio, 1) AS ratio, round(differ.net_ratio, 1) AS net,
       round(repeat.seconds * 1e9 / :rows) AS repeating, round(repeat.ratio, 1) AS ratio, round(repeat.net_ratio, 1) AS net
  FROM bench_contender c JOIN bench_ratio differ ON differ.no = c.no AND differ.digits = 6
  JOIN bench_ratio repeat ON repeat.no = c.no AND repeat.digits = 2 ORDER BY c.no;
\pset title
SELECT format('charge ratio: plpgsql %s (aim 10); SQL over the scheme %s, over tier rows %s (aim 5), over tier rows with totals %s',
              round(max(ratio) FILTER (WHERE no = 3), 1), round(max(ratio) FILTER (WHERE no = 4), 1),
              round(min(ratio) FILTER (WHERE no IN (5, 6)), 1), round(max(ratio) FILTER (WHERE no = 7), 1)) AS summary
  FROM bench_ratio WHERE digits = 6;
