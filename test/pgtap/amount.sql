-- Rounding, proration, splitting and currencies: exact, once, and nothing lost.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SELECT plan(39);

-- Cheap and repeatable numbers between 0 and 2^31 - 1.
CREATE FUNCTION pg_temp.dice(seed int, roll int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashint4extended(seed, roll) & 2147483647 $$;

-- Rounded half away from zero without a quotient: the definition that the engine must meet.
CREATE FUNCTION pg_temp.round_fraction(a numeric, b numeric, digits int) RETURNS numeric
    LANGUAGE sql IMMUTABLE AS
$$ SELECT round(sign(a) * div(2 * abs(a) * 10::numeric ^ digits + b, 2 * b) / 10::numeric ^ digits, digits) $$;

-- Rounding
SELECT is(billing.round_amount(amount, currency)::text, expected, format('%s %s', amount, currency))
  FROM (VALUES (11.875, 'EUR', '11.88'), (17.765, 'EUR', '17.77'), (-0.125, 'EUR', '-0.13'),
               (0.004999999999999999999999, 'EUR', '0.00'), (0.5, 'JPY', '1'), (-2.5, 'JPY', '-3'),
               (1.2345, 'BHD', '1.235'), (-1.0005, 'KWD', '-1.001'), (0.00005, 'CLF', '0.0001'),
               (7, 'CLF', '7.0000'), (9999999999999999.99, 'EUR', '9999999999999999.99'))
       x (amount, currency, expected);
SELECT is_empty($$
    SELECT i, c.code, v FROM generate_series(1, 200) i, billing_internal.currencies() c,
           LATERAL (SELECT (pg_temp.dice(i, 1) - 1073741824) / 1000000::numeric AS v) x
     WHERE billing.round_amount(v, c.code)::text IS DISTINCT FROM round(v, c.minor_units)::text
$$, 'every currency rounds and shows exactly its minor units');
SELECT throws_ok(format('SELECT billing.round_amount(%L, ''EUR'')', v), '22003', 'amount out of range', v)
  FROM unnest(ARRAY['NaN', 'Infinity', '-1e16', '1e300']) v;

-- Proration
SELECT is_empty($$
    SELECT i FROM generate_series(1, 5000) i,
           LATERAL (SELECT (pg_temp.dice(i, 1) - 1073741824) / 10::numeric ^ (i % 12) AS level,
                           1 + pg_temp.dice(i, 2) % 2678400000000 AS whole) w,
           LATERAL (SELECT pg_temp.dice(i, 3) * 1000003 % (whole + 1) AS part) p,
           unnest(ARRAY['JPY', 'EUR', 'KWD', 'CLF']) WITH ORDINALITY c (currency, no)
     WHERE billing_internal.prorate(level, part, whole, currency)
           <> pg_temp.round_fraction(level * part, whole, (ARRAY[0, 2, 3, 4])[no])
$$, 'a share is level × length / full length, rounded once');
SELECT is(billing_internal.prorate(0.05, 15, 30, 'EUR'), 0.03, 'half of 0.05 is rounded away from zero');
SELECT is(billing_internal.prorate(62.50, 30, 31, 'EUR'), 60.48, 'a day less than a period');
SELECT is(billing_internal.prorate(62.50, 62, 31, 'EUR'), 125.00, 'two periods');
SELECT throws_ok($$SELECT billing_internal.prorate(1, 1, 0, 'EUR')$$, 'LB208', NULL, 'a period has a length');

-- Splitting
SELECT is_empty($$
    SELECT i, parts FROM generate_series(1, 3000) i,
           LATERAL (SELECT array_agg(((pg_temp.dice(i * 31 + k, 4) % 20001) - CASE WHEN i % 3 = 0 THEN 5000 ELSE 0 END)
                                     / 100.00 ORDER BY k) AS weights,
                           (pg_temp.dice(i, 5) - 1073741824) / 100::numeric AS total
                      FROM generate_series(1, 1 + i % 9) k) w,
           LATERAL (SELECT billing_internal.split_amount(total, weights, 'EUR') AS parts,
                           billing_internal.split_amount(-total, weights, 'EUR') AS mirror) p,
           LATERAL (SELECT sum(part) AS sum, sum(part + other) AS mirrored, sum(weight) AS weight,
                           max(abs(part - total * weight / nullif((SELECT sum(x) FROM unnest(weights) x), 0))) AS off
                      FROM unnest(parts, mirror, weights) x (part, other, weight)) s
     WHERE s.sum <> total OR mirrored <> 0 OR (s.weight <> 0 AND off >= 0.01)
$$, 'parts sum to the total, lie within a minor unit of their share, and mirror with the sign');
SELECT is(billing_internal.split_amount(0.05, '{1,1,1}', 'EUR'), '{0.02,0.02,0.01}', 'ties go to the earlier');
SELECT is(billing_internal.split_amount(8, '{1,3,4}', 'JPY'), '{1,3,4}', 'whole shares stay whole');
SELECT is(billing_internal.split_amount(1, '{0,0}', 'EUR'), '{1.00,0.00}', 'without proportion the first takes all');
SELECT is(billing_internal.split_amount(9999999999999999.99, '{9999999999999999.99,0.01}', 'EUR'),
          '{9999999999999999.98,0.01}', 'products of 128 bits are exact');
SELECT throws_ok(format('SELECT billing_internal.split_amount(%s, %L, ''EUR'')', total, weights), '22003',
                 'amount out of range', 'a part beyond the range of amounts')
  FROM (VALUES (9999999999999999.99, '{9999999999999999.99,-9999999999999999.98}'),
               (0.11, '{9000000000000000.00,-8999999999999999.99}')) x (total, weights);

-- Currencies
SELECT results_eq($$SELECT minor_units, count(*)::int FROM billing_internal.currencies() GROUP BY 1 ORDER BY 1$$,
                  $$VALUES (0, 17), (2, 139), (3, 7), (4, 2)$$, 'ISO 4217 is complete');
SELECT is((SELECT array_agg(code ORDER BY ord) FROM billing_internal.currencies() WITH ORDINALITY x (code, n, m, t, ord)),
          (SELECT array_agg(code ORDER BY code COLLATE "C") FROM billing_internal.currencies()),
          'the list is in the order in which it is searched');
SELECT throws_ok(format('SELECT billing_internal.check_currency(%L)', c), s, NULL, coalesce('currency ' || c, 'no currency'))
  FROM (VALUES ('eur', 'LB102'), ('XXX', 'LB102'), ('', 'LB102'), (NULL, '22004')) x (c, s);

-- Errors
SELECT is_empty($$
    SELECT code, name FROM billing_internal.error_codes()
     WHERE code !~ '^LB[0-9]{3}$' OR name !~ '^[a-z_]+$' OR meaning = '' OR action = ''
     UNION ALL
    SELECT max(code), name FROM billing_internal.error_codes() GROUP BY name HAVING count(*) > 1
     UNION ALL
    SELECT code, max(name) FROM billing_internal.error_codes() GROUP BY code HAVING count(*) > 1
$$, 'every error has its own code and name');
SELECT throws_ok(format('SELECT billing_internal.fail(%L, ''what happened'')', name), code, 'what happened', name)
  FROM (SELECT name, code FROM billing_internal.error_codes() ORDER BY code LIMIT 2) own
 UNION ALL
SELECT throws_ok(format('SELECT billing_internal.fail(%L, ''what happened'')', name), code, 'what happened', name)
  FROM (VALUES ('lock_not_available', '55P03'), ('null_value_not_allowed', '22004')) servers (name, code);

SELECT * FROM finish();
ROLLBACK;
