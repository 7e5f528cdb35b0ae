-- Two sellers with :accounts customers each, two items a customer: those of "old" are billed for 119 months,
-- those of "young" for one, up to the same day.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
SET billing.max_future = '100000d';
DROP EXTENSION IF EXISTS billing CASCADE;
DROP SCHEMA IF EXISTS billing, bench, raw CASCADE;
CREATE EXTENSION billing;
\o /dev/null
SELECT billing.setup();
SELECT billing.create_entity(e, name => e, country => 'DE', currency => 'EUR', time_zone => 'UTC') FROM unnest(ARRAY['old', 'young']) e;
SELECT billing.create_tax('vat', entity => 'old', category => 'S', rate => 19);
SELECT billing.create_tax_rate('vat', entity => 'young', category => 'S', rate => 19);
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat', scheme => '{"model": "per_unit", "unit_amount": 12.50}');
SELECT billing.create_price('base', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat', scheme => '{"model": "flat", "flat_amount": 19.90}');
SELECT billing.create_plan('team', name => 'Team', items => '[{"price": "seat", "quantity": 3}, {"price": "base"}]');
SET synchronous_commit = off;
SELECT count(billing.create_subscription(billing.create_account('Customer ' || i, entity => 'old'), 'team', start_at => '2016-01-01', time_zone => 'UTC')) FROM generate_series(1, :accounts) i;
CREATE SCHEMA bench;
CREATE TABLE bench.history (what text, pass int, entity text, seconds numeric, cpu numeric);
-- Processor time of this backend.
CREATE FUNCTION bench.cpu() RETURNS numeric LANGUAGE sql AS $$
    SELECT (f[14]::numeric + f[15]::numeric) / 100
      FROM regexp_split_to_array(pg_read_file('/proc/self/stat'), ' ') f
$$;
-- All months but the last in one document each, as runs of those months would write them.
CREATE PROCEDURE bench.months(entity text, from_at timestamptz, n int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 0 .. n - 1 LOOP
        CALL billing.bill_run(at => from_at + i * interval '1 month', entity => entity);
    END LOOP;
END $$;
SET timezone = 'UTC';
CALL bench.months('old', '2016-01-01', 119);
SELECT count(billing.create_subscription(billing.create_account('Customer ' || i, entity => 'young'), 'team', start_at => '2025-11-01', time_zone => 'UTC')) FROM generate_series(1, :accounts) i;
CALL bench.months('young', '2025-11-01', 1);
\o
VACUUM (FREEZE, ANALYZE);
