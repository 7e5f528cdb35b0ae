-- Price schemes: every model, every edge, every malformed scheme.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SELECT plan(700);

-- --- Charges -------------------------------------------------------------------------------

CREATE TEMP TABLE scheme (name text PRIMARY KEY, scheme jsonb NOT NULL);
INSERT INTO scheme VALUES
    ('flat', '{"model":"flat","flat_amount":9.90}'),
    ('flat zero', '{"model":"flat","flat_amount":0}'),
    ('unit', '{"model":"per_unit","unit_amount":1.00}'),
    ('unit 5, minimum 1', '{"model":"per_unit","unit_amount":5.00,"minimum_amount":1.00}'),
    ('unit, free 10', '{"model":"per_unit","unit_amount":2,"free_quantity":10}'),
    ('unit, free 2.5', '{"model":"per_unit","unit_amount":2,"free_quantity":2.5}'),
    ('unit, limits', '{"model":"per_unit","unit_amount":1,"minimum_amount":5,"maximum_amount":20}'),
    ('unit, equal limits', '{"model":"per_unit","unit_amount":1,"minimum_amount":5,"maximum_amount":5}'),
    ('package', '{"model":"package","unit_amount":5,"package_size":10}'),
    ('package 0.3', '{"model":"package","unit_amount":1,"package_size":0.3}'),
    ('stairstep', '{"model":"stairstep","tiers":[{"up_to":10,"flat_amount":50},{"up_to":50,"flat_amount":70},{"up_to":100,"flat_amount":100}]}'),
    ('stairstep overage', '{"model":"stairstep","tiers":[{"up_to":10,"flat_amount":50},{"up_to":50,"flat_amount":70},{"up_to":100,"flat_amount":100}],"overage_unit_amount":0.90}'),
    ('volume', '{"model":"volume","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":50,"unit_amount":0.80}]}'),
    ('volume overage', '{"model":"volume","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":50,"unit_amount":0.80}],"overage_unit_amount":0.70}'),
    ('volume vendor', '{"model":"volume","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":50,"unit_amount":0.80}],"overage_unit_amount":0.70}'),
    ('volume flat', '{"model":"volume","tiers":[{"up_to":10,"unit_amount":1,"flat_amount":3},{"up_to":null,"unit_amount":0.5,"flat_amount":4}]}'),
    ('volume package', '{"model":"volume","tiers":[{"up_to":10,"unit_amount":3,"package_size":4},{"up_to":20,"unit_amount":2,"package_size":8}],"overage_unit_amount":1}'),
    ('graduated', '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":50,"unit_amount":0.80}]}'),
    ('graduated overage', '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":50,"unit_amount":0.80}],"overage_unit_amount":0.70}'),
    ('graduated open', '{"model":"graduated","tiers":[{"up_to":20,"unit_amount":15},{"up_to":25,"unit_amount":10},{"up_to":30,"unit_amount":8},{"up_to":null,"unit_amount":5}]}'),
    ('graduated flat', '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1,"flat_amount":5},{"up_to":20,"flat_amount":7},{"up_to":null,"unit_amount":2}]}'),
    ('graduated package', '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":3,"package_size":4},{"up_to":20,"unit_amount":2,"package_size":4,"flat_amount":1},{"up_to":null,"unit_amount":1}]}'),
    ('graduated free', '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90}],"free_quantity":5}'),
    ('steps of rates', '{"model":"graduated_percentage","tiers":[{"up_to":1000,"rate":2},{"up_to":5000,"rate":1.5,"flat_amount":3}]}'),
    ('rate', '{"model":"percentage","rate":2.9,"fixed_amount":0.30}'),
    ('rate, limits', '{"model":"percentage","rate":10,"per_transaction_minimum":1,"per_transaction_maximum":5,"minimum_amount":2}'),
    ('rate, free', '{"model":"percentage","rate":10,"fixed_amount":1,"free_count":3,"free_amount":1000}');

SELECT is(billing.charge(scheme, quantity), charge, format('%s: %s costs %s', name, quantity, charge))
  FROM (VALUES
    ('unit', 50, 50.00), ('unit', 0, 0), ('unit', 100, 100.00), ('unit', 0.005, 0.005),
    ('flat', 0, 9.90), ('flat', 1, 9.90), ('flat', 1000.5, 9.90), ('flat zero', 7, 0),
    ('unit 5, minimum 1', 100, 500.00), ('unit 5, minimum 1', 0, 1.00), ('unit 5, minimum 1', 0.1, 1.00),
    ('unit, free 10', 0, 0), ('unit, free 10', 9, 0), ('unit, free 10', 10, 0), ('unit, free 10', 10.5, 1), ('unit, free 10', 11, 2),
    ('unit, free 2.5', 2, 0), ('unit, free 2.5', 3, 1), ('unit, free 2.5', 3.25, 1.5),
    ('unit, limits', 0, 5), ('unit, limits', 4.99, 5), ('unit, limits', 5.01, 5.01), ('unit, limits', 20, 20), ('unit, limits', 20.01, 20),
    ('unit, equal limits', 0, 5), ('unit, equal limits', 9, 5),
    ('package', 0, 0), ('package', 0.001, 5), ('package', 10, 5), ('package', 10.001, 10), ('package', 11, 10),
    ('package 0.3', 0.3, 1), ('package 0.3', 0.9, 3), ('package 0.3', 1, 4), ('package 0.3', 1.2, 4),
    ('stairstep', 0, 50.00), ('stairstep', 9, 50.00), ('stairstep', 10, 50.00), ('stairstep', 10.5, 70), ('stairstep', 11, 70.00),
    ('stairstep', 25, 70.00), ('stairstep', 50, 70), ('stairstep', 51, 100), ('stairstep', 100, 100),
    ('stairstep overage', 25, 70), ('stairstep overage', 100, 100), ('stairstep overage', 101, 100.90), ('stairstep overage', 100.5, 100.45),
    ('volume', 0, 0), ('volume', 10, 10.00), ('volume', 10.5, 9.45), ('volume', 11, 9.90), ('volume', 20, 18.00),
    ('volume', 21, 16.80), ('volume', 35, 28.00), ('volume', 50, 40.00),
    ('volume overage', 0, 0), ('volume overage', 10, 10), ('volume overage', 10.5, 9.45), ('volume overage', 11, 9.90),
    ('volume overage', 50, 40), ('volume overage', 51, 40.70), ('volume overage', 60, 47.00),
    ('volume vendor', 25, 20.00),
    ('volume flat', 0, 3), ('volume flat', 10, 13), ('volume flat', 11, 9.5),
    ('volume package', 0, 0), ('volume package', 1, 3), ('volume package', 10, 9), ('volume package', 11, 4), ('volume package', 17, 6),
    ('volume package', 20, 6), ('volume package', 22, 8),
    ('graduated', 0, 0), ('graduated', 10, 10), ('graduated', 10.5, 10.45), ('graduated', 11, 10.90), ('graduated', 25, 23.00),
    ('graduated', 35, 31.00), ('graduated', 50, 43.00),
    ('graduated overage', 0, 0), ('graduated overage', 10, 10), ('graduated overage', 10.5, 10.45), ('graduated overage', 11, 10.90),
    ('graduated overage', 35, 31.00), ('graduated overage', 50, 43.00), ('graduated overage', 51, 43.70), ('graduated overage', 60, 50.00),
    ('graduated open', 10, 150), ('graduated open', 50, 490),
    ('graduated flat', 0, 5), ('graduated flat', 10, 15), ('graduated flat', 10.001, 22), ('graduated flat', 20, 22), ('graduated flat', 21, 24),
    ('graduated package', 1, 3), ('graduated package', 10, 9), ('graduated package', 11, 12), ('graduated package', 20, 16), ('graduated package', 21, 17),
    ('graduated free', 5, 0), ('graduated free', 16, 10.90), ('graduated free', 25, 19.00),
    ('steps of rates', 0, 0), ('steps of rates', 1000, 20), ('steps of rates', 1001, 23.015), ('steps of rates', 5000, 83),
    ('rate', 0, 0.30), ('rate', 1, 0.329), ('rate', 1000, 29.30),
    ('rate, limits', 0, 2), ('rate, limits', 15, 2), ('rate, limits', 30, 3), ('rate, limits', 51, 5),
    ('rate, free', 100, 11)
    ) given (name, quantity, charge) LEFT JOIN scheme USING (name);

-- Above a closed last bracket.
SELECT throws_ok(format('SELECT * FROM %s(%L, %s)', function, scheme, quantity), 'LB202', 'quantity lies above the last bracket',
                 format('%s: %s of %s lies above', function, quantity, name))
  FROM (VALUES ('stairstep', 101), ('stairstep', 100.001), ('volume', 51), ('graduated', 51), ('graduated', 50.001), ('graduated', 1e30),
               ('graduated free', 25.01), ('steps of rates', 5001)) given (name, quantity) LEFT JOIN scheme USING (name),
       unnest('{billing.charge,billing.explain_charge}'::text[]) function;

-- Quantities that are none, in every model.
SELECT throws_ok(format('SELECT * FROM %s(%L, %L)', function, scheme, quantity), 'LB203', 'invalid quantity',
                 format('%s: quantity %s of %s', function, quantity, name))
  FROM scheme, unnest('{-1,-0.000001,NaN,Infinity,-Infinity,-1e40}'::numeric[]) quantity,
       unnest('{billing.charge,billing.explain_charge}'::text[]) function;

-- The same numbers as JSON numbers and as strings; keys in any order, twice, or spelled with an exponent.
SELECT is(billing.charge(scheme::jsonb, 35), 31.00, scheme)
  FROM unnest(ARRAY[
    '{"model":"graduated","tiers":[{"up_to":"10","unit_amount":"1.00"},{"up_to":" 20 ","unit_amount":".9"},{"up_to":"5e1","unit_amount":"+8E-1"}]}',
    '{"tiers":[{"unit_amount":1,"up_to":1e1},{"unit_amount":9e-1,"up_to":20},{"up_to":null,"unit_amount":0.8}],"model":"graduated"}',
    '{"model":"flat","model":"graduated","tiers":[],"tiers":[{"up_to":10,"unit_amount":7,"unit_amount":1},{"up_to":20,"unit_amount":0.9},{"up_to":50,"unit_amount":"0.8000"}]}'
    ]) scheme;

-- Scale of the result: the quantity's (at least that of the scheme's quantities) and the amounts'.
SELECT is(billing.charge(scheme::jsonb, quantity)::text, charge, format('%s for %s is written %s', quantity, scheme, charge))
  FROM (VALUES
    ('{"model":"per_unit","unit_amount":1.00}', 50, '50.00'),
    ('{"model":"per_unit","unit_amount":1}', 50, '50'),
    ('{"model":"per_unit","unit_amount":1.0}', 50.10, '50.100'),
    ('{"model":"per_unit","unit_amount":1,"free_quantity":0.25}', 50, '49.75'),
    ('{"model":"per_unit","unit_amount":1.00}', 1e30, '1000000000000000000000000000000.00'),
    ('{"model":"flat","flat_amount":5}', 1.50, '5.00'),
    ('{"model":"percentage","rate":2.5}', 1, '0.025')) given (scheme, quantity, charge);

-- Exact where floats and 64-bit integers are not.
SELECT is(billing.charge(format('{"model":"per_unit","unit_amount":%s}', unit_amount)::jsonb, quantity), quantity * unit_amount,
          format('%s x %s is exact', quantity, unit_amount))
  FROM (VALUES (1e15, 1e-12), (1e15 - 1, 1e-12), (999999999999999.999999, 0.000000000001), (9223372036854775807, 1), (9223372036854775808, 1),
               (4611686018427387904, 2), (4611686018427387903.5, 2), (9223372036854775807, 9223372036854775807), (1e-12, 1e-12), (0.1, 0.2),
               (1e100, 1e-100), (12345678901234567890.123456789, 98765432109876543210.987654321)) given (quantity, unit_amount);
SELECT is(billing.charge('{"model":"package","unit_amount":1,"package_size":"1e-12"}', 1e15), 1e27, 'a package of 10^-12 in 10^15');
SELECT is(billing.charge('{"model":"package","unit_amount":1,"package_size":3}', 1e40), 3333333333333333333333333333333333333334,
          'a begun package of 3 in 10^40');
-- 2^46 x 10^18 is a multiple of 2^64: scaled to such a quantity these vanish, unless overflow is seen.
SELECT is(billing.charge('{"model":"per_unit","unit_amount":1,"free_quantity":70368744177664}', 1e-18), 0::numeric, '10^-18 of 2^46 free');
SELECT is(billing.charge('{"model":"package","unit_amount":3,"package_size":70368744177664}', 1e-18), 3::numeric, '10^-18 of a package of 2^46');
SELECT throws_ok($$SELECT billing.charge('{"model":"per_unit","unit_amount":"1e-9000"}', 1e-9000)$$, '22003',
                 'charge has too many digits after the point', 'more digits than numeric holds are refused, not rounded');

-- Thousands of tiers, each reached by its own quantity.
CREATE TEMP TABLE many AS
SELECT jsonb_build_object('model', model, 'tiers', jsonb_agg(jsonb_build_object('up_to', i * 2, 'unit_amount', 1, 'flat_amount', i) ORDER BY i)) AS scheme, model
  FROM generate_series(1, 5000) i, unnest('{volume,graduated}'::text[]) model GROUP BY model;
SELECT is((SELECT count(*) FROM many, generate_series(1, 10000, 37) quantity
            WHERE billing.charge(scheme, quantity) <> quantity +
                  CASE model WHEN 'volume' THEN (quantity + 1) / 2 ELSE ((quantity + 1) / 2) * ((quantity + 1) / 2 + 1) / 2 END),
          0::bigint, 'each of 5,000 tiers is found');
SELECT is((SELECT count(*) FROM many, billing.explain_charge(scheme, 10000)), 5001::bigint, 'and explained: 5,000 graduated, one volume');

-- One call site, more schemes than it remembers, in turn.
SELECT is((SELECT sum(billing.charge(jsonb_build_object('model', 'per_unit', 'unit_amount', i % 40), 2)) FROM generate_series(1, 400) i),
          2.0 * 10 * (39 * 40 / 2), 'schemes do not mix at a call site');
SELECT is((SELECT array_agg(billing.charge(scheme, 1) ORDER BY i) FROM (SELECT i, CASE WHEN i % 2 = 0 THEN '{"model":"flat","flat_amount":1}'::jsonb
                   ELSE '{"model":"flat","flat_amount":2}' END AS scheme FROM generate_series(1, 4) i) s),
          '{2,1,2,1}'::numeric[], 'schemes of equal length are told apart');

-- --- Explanations --------------------------------------------------------------------------

PREPARE explained AS SELECT billing.explain_charge(scheme, $2)::text FROM scheme WHERE name = $1;
SELECT results_eq(format('EXECUTE explained(%L, %s)', name, quantity), rows, format('explain %s of %s', quantity, name))
  FROM (VALUES
    ('flat', 3, '{"(1,0,,3,,9.90,9.90)"}'::text[]),
    ('unit', 0, '{"(1,0,,0,1.00,,0.00)"}'),
    ('unit 5, minimum 1', 0, '{"(1,0,,0,5.00,,0.00)","(,,,,,,1.00)"}'),
    ('unit, limits', 30, '{"(1,0,,30,1,,30)","(,,,,,,-10)"}'),
    ('unit, limits', 5, '{"(1,0,,5,1,,5)"}'),
    ('unit, free 10', 25, '{"(1,0,,15,2,,30)"}'),
    ('package', 25, '{"(1,0,,3,5,,15)"}'),
    ('stairstep overage', 101, '{"(3,50,100,100,,100,100)","(4,100,,1,0.90,,0.90)"}'),
    ('volume', 35, '{"(3,20,50,35,0.80,,28.00)"}'),
    ('volume overage', 60, '{"(3,20,50,50,0.80,,40.00)","(4,50,,10,0.70,,7.00)"}'),
    ('graduated', 0, '{"(1,0,10,0,1.00,,0.00)"}'),
    ('graduated', 10, '{"(1,0,10,10,1.00,,10.00)"}'),
    ('graduated', 35, '{"(1,0,10,10,1.00,,10.00)","(2,10,20,10,0.90,,9.00)","(3,20,50,15,0.80,,12.00)"}'),
    ('graduated flat', 21, '{"(1,0,10,10,1,5,15)","(2,10,20,10,,7,7)","(3,20,,1,2,,2)"}'),
    ('graduated package', 11, '{"(1,0,10,3,3,,9)","(2,10,20,1,2,1,3)"}'),
    ('steps of rates', 1500, '{"(1,0,1000,1000,0.02,,20.00)","(2,1000,5000,500,0.015,3,10.500)"}'),
    ('rate', 100, '{"(1,0,,100,0.029,0.30,3.200)"}'),
    ('rate, limits', 1, '{"(1,0,,1,0.10,,0.10)","(,,,,,,1.90)"}')) given (name, quantity, rows_array),
    LATERAL (SELECT format('SELECT unnest(%L::text[])', rows_array)) q (rows);
SELECT is_empty($$SELECT * FROM billing.explain_charge(NULL, 1) UNION ALL SELECT * FROM billing.explain_charge('{"model":"flat","flat_amount":1}', NULL)$$,
                'null is explained by no row');
SELECT is(billing.charge(NULL, 1), NULL, 'no scheme, no charge');
SELECT is(billing.charge('{"model":"flat","flat_amount":1}', NULL), NULL, 'no quantity, no charge');

-- --- Transactions of a period --------------------------------------------------------------

SELECT is(billing_internal.charge_transactions(('{"model":"percentage","rate":10' || rest || '}')::jsonb, amounts::numeric[]), charge::numeric,
          format('rate 10%s on %s', rest, amounts))
  FROM (VALUES
    ('', '{}', 0), ('', '{100}', 10), ('', '{100,50,0}', 15),
    (',"fixed_amount":1', '{100,0}', 12),
    (',"free_count":2', '{100,50,30}', 3), (',"free_count":2', '{100}', 0),
    (',"free_amount":120', '{100,50,30}', 6), (',"free_amount":120,"fixed_amount":1', '{100,50,30}', 8),
    (',"free_amount":150,"fixed_amount":1', '{100,50,30}', 4), (',"free_amount":20,"fixed_amount":1', '{0,50}', 5),
    (',"free_count":1,"free_amount":20', '{100,50,30}', 6), (',"free_count":1,"free_amount":60', '{100,50,30}', 2),
    (',"per_transaction_minimum":2,"per_transaction_maximum":4', '{10,30,100}', 9),
    (',"per_transaction_minimum":2,"free_amount":10', '{10,20,11}', 4),
    (',"free_quantity":10', '{5,20}', 1),
    (',"minimum_amount":7', '{}', 7), (',"minimum_amount":7', '{10,20}', 7), (',"maximum_amount":7', '{100,200}', 7),
    (',"minimum_amount":7,"per_transaction_maximum":5', '{100,200}', 10)) given (rest, amounts, charge);
SELECT throws_ok(format('SELECT billing_internal.charge_transactions(%L, %L)', scheme, amounts), state, message, message || ': ' || amounts)
  FROM (VALUES
    ('{"model":"percentage","rate":1}', '{1,-1}', 'LB203', 'invalid quantity'),
    ('{"model":"percentage","rate":1,"free_count":5}', '{1,NaN}', 'LB203', 'invalid quantity'),
    ('{"model":"percentage","rate":1}', '{1,NULL}', '22004', 'amounts must not contain null'),
    ('{"model":"flat","flat_amount":1}', '{1}', 'LB208', 'price scheme does not charge transactions')) given (scheme, amounts, state, message);

-- --- The one rate of a line ----------------------------------------------------------------

SELECT is((SELECT r FROM scheme, billing_internal.charge_rate(scheme, quantity) r WHERE name = given.name)::text, rate,
          format('rate of %s of %s', quantity, name))
  FROM (VALUES
    ('unit', 50, '(1.00,1)'), ('unit', 0, '(1.00,1)'), ('flat', 1, '(9.90,1)'), ('flat', 2, '(,)'),
    ('unit, free 10', 25, '(,)'), ('unit, limits', 10, '(1,1)'), ('unit, limits', 1, '(,)'), ('unit, limits', 30, '(,)'),
    ('package', 20, '(5,10)'), ('package', 25, '(,)'), ('package 0.3', 0.9, '(1,0.3)'),
    ('volume', 35, '(0.80,1)'), ('volume flat', 5, '(,)'), ('graduated', 8, '(1.00,1)'), ('graduated', 35, '(,)'),
    ('volume overage', 60, '(,)'), ('steps of rates', 100, '(0.02,1)'), ('rate', 100, '(,)')) given (name, quantity, rate);

-- --- Malformed schemes ---------------------------------------------------------------------

CREATE FUNCTION pg_temp.refusal(scheme text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text;
BEGIN
    PERFORM billing_internal.check_scheme(scheme::jsonb);
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN format('%s %s: %s', state, message, detail);
END $$;

SELECT is(pg_temp.refusal(scheme), 'LB201 invalid price scheme: ' || detail, left(scheme, 200))
  FROM (VALUES
    -- the object and its model
    ('1', 'A price scheme must be a JSON object.'), ('"flat"', 'A price scheme must be a JSON object.'), ('null', 'A price scheme must be a JSON object.'),
    ('[]', 'A price scheme must be a JSON object.'), ('[{"model":"flat","flat_amount":1}]', 'A price scheme must be a JSON object.'),
    (repeat('[', 5000) || repeat(']', 5000), 'A price scheme must be a JSON object.'),
    ('{}', 'Key "model" is missing; it is one of flat, per_unit, package, stairstep, volume, graduated, graduated_percentage, percentage.'),
    ('{"model":1}', 'Key "model" must be a string, one of flat, per_unit, package, stairstep, volume, graduated, graduated_percentage, percentage.'),
    ('{"model":null}', 'Key "model" must be a string, one of flat, per_unit, package, stairstep, volume, graduated, graduated_percentage, percentage.'),
    ('{"model":["flat"]}', 'Key "model" must be a string, one of flat, per_unit, package, stairstep, volume, graduated, graduated_percentage, percentage.'),
    ('{"model":"Flat"}', 'Model "Flat" is not known; it is one of flat, per_unit, package, stairstep, volume, graduated, graduated_percentage, percentage.'),
    ('{"model":""}', 'Model "" is not known; it is one of flat, per_unit, package, stairstep, volume, graduated, graduated_percentage, percentage.'),
    ('{"model":"fla"}', 'Model "fla" is not known; it is one of flat, per_unit, package, stairstep, volume, graduated, graduated_percentage, percentage.'),
    -- missing keys
    ('{"model":"flat"}', 'Key "flat_amount" is missing.'), ('{"model":"per_unit"}', 'Key "unit_amount" is missing.'),
    ('{"model":"package","unit_amount":1}', 'Key "package_size" is missing.'), ('{"model":"package","package_size":1}', 'Key "unit_amount" is missing.'),
    ('{"model":"percentage","fixed_amount":1}', 'Key "rate" is missing.'),
    ('{"model":"stairstep"}', 'Key "tiers" is missing.'), ('{"model":"volume"}', 'Key "tiers" is missing.'),
    -- unknown keys
    ('{"model":"flat","flat_amount":1,"unit_amount":1}', 'Key "unit_amount" is not known in model "flat", which takes "flat_amount", "free_quantity", "minimum_amount", "maximum_amount".'),
    ('{"model":"flat","flat_amount":1,"tiers":[]}', 'Key "tiers" is not known in model "flat", which takes "flat_amount", "free_quantity", "minimum_amount", "maximum_amount".'),
    ('{"model":"flat","flat_amount":1,"":1}', 'Key "" is not known in model "flat", which takes "flat_amount", "free_quantity", "minimum_amount", "maximum_amount".'),
    ('{"model":"per_unit","unit_amount":1,"package_size":1}', 'Key "package_size" is not known in model "per_unit", which takes "unit_amount", "free_quantity", "minimum_amount", "maximum_amount".'),
    ('{"model":"per_unit","unit_amount":1,"overage_unit_amount":1}', 'Key "overage_unit_amount" is not known in model "per_unit", which takes "unit_amount", "free_quantity", "minimum_amount", "maximum_amount".'),
    ('{"model":"package","unit_amount":1,"package_size":1,"flat_amount":1}', 'Key "flat_amount" is not known in model "package", which takes "unit_amount", "package_size", "free_quantity", "minimum_amount", "maximum_amount".'),
    ('{"model":"percentage","rate":1,"flat_amount":1}', 'Key "flat_amount" is not known in model "percentage", which takes "rate", "fixed_amount", "free_count", "free_amount", "per_transaction_minimum", "per_transaction_maximum", "free_quantity", "minimum_amount", "maximum_amount".'),
    ('{"model":"graduated_percentage","overage_unit_amount":1,"tiers":[{"up_to":1,"rate":1}]}', 'Key "overage_unit_amount" is not known in model "graduated_percentage", which takes "tiers", "free_quantity", "minimum_amount", "maximum_amount".'),
    ('{"model":"volume","rate":1,"tiers":[{"up_to":1,"unit_amount":1}]}', 'Key "rate" is not known in model "volume", which takes "tiers", "overage_unit_amount", "free_quantity", "minimum_amount", "maximum_amount".'),
    ('{"model":"volume","tiers":[{"up_to":1,"unit_amount":1},{"up_to":2,"unit_amount":1,"model":"flat"}]}', 'Key "model" of tier 2 is not known in model "volume", which takes "up_to", "unit_amount", "flat_amount", "package_size".'),
    ('{"model":"volume","tiers":[{"up_to":1,"rate":1}]}', 'Key "rate" of tier 1 is not known in model "volume", which takes "up_to", "unit_amount", "flat_amount", "package_size".'),
    ('{"model":"graduated","tiers":[{"up_to":1,"unit_amount":1,"free_quantity":1}]}', 'Key "free_quantity" of tier 1 is not known in model "graduated", which takes "up_to", "unit_amount", "flat_amount", "package_size".'),
    ('{"model":"stairstep","tiers":[{"up_to":1,"flat_amount":1,"unit_amount":1}]}', 'Key "unit_amount" of tier 1 is not known in model "stairstep", which takes "up_to", "flat_amount".'),
    ('{"model":"graduated_percentage","tiers":[{"up_to":1,"rate":1,"unit_amount":1}]}', 'Key "unit_amount" of tier 1 is not known in model "graduated_percentage", which takes "up_to", "flat_amount", "rate".'),
    -- what is no number
    ('{"model":"flat","flat_amount":null}', 'Key "flat_amount" is null, but must be a number or a decimal string.'),
    ('{"model":"flat","flat_amount":true}', 'Key "flat_amount" is a boolean, but must be a number or a decimal string.'),
    ('{"model":"flat","flat_amount":[1]}', 'Key "flat_amount" is an array, but must be a number or a decimal string.'),
    ('{"model":"flat","flat_amount":[]}', 'Key "flat_amount" is an array, but must be a number or a decimal string.'),
    ('{"model":"flat","flat_amount":{"a":1}}', 'Key "flat_amount" is an object, but must be a number or a decimal string.'),
    ('{"model":"flat","flat_amount":1,"minimum_amount":null}', 'Key "minimum_amount" is null, but must be a number or a decimal string.'),
    ('{"model":"volume","tiers":[{"up_to":true,"unit_amount":1}]}', 'Key "up_to" of tier 1 is a boolean, but must be a number or a decimal string.'),
    ('{"model":"volume","tiers":[{"up_to":1,"unit_amount":null}]}', 'Key "unit_amount" of tier 1 is null, but must be a number or a decimal string.'),
    -- numbers out of range
    ('{"model":"flat","flat_amount":-1}', 'Key "flat_amount" is -1, but must not be negative.'),
    ('{"model":"flat","flat_amount":"-0.01"}', 'Key "flat_amount" is -0.01, but must not be negative.'),
    ('{"model":"per_unit","unit_amount":-1e-30}', 'Key "unit_amount" is -0.000000000000000000000000000001, but must not be negative.'),
    ('{"model":"per_unit","unit_amount":1,"free_quantity":-1}', 'Key "free_quantity" is -1, but must not be negative.'),
    ('{"model":"per_unit","unit_amount":1,"minimum_amount":-1}', 'Key "minimum_amount" is -1, but must not be negative.'),
    ('{"model":"per_unit","unit_amount":1,"minimum_amount":2,"maximum_amount":1.99}', 'Key "minimum_amount" is 2, but must not be greater than "maximum_amount", which is 1.99.'),
    ('{"model":"package","unit_amount":1,"package_size":0}', 'Key "package_size" is 0, but must be greater than zero.'),
    ('{"model":"package","unit_amount":1,"package_size":-1}', 'Key "package_size" is -1, but must be greater than zero.'),
    ('{"model":"percentage","rate":-1}', 'Key "rate" is -1, but must not be negative.'),
    ('{"model":"percentage","rate":1,"fixed_amount":-1}', 'Key "fixed_amount" is -1, but must not be negative.'),
    ('{"model":"percentage","rate":1,"free_count":1.5}', 'Key "free_count" is 1.5, but must be a whole number.'),
    ('{"model":"percentage","rate":1,"free_count":-1}', 'Key "free_count" is -1, but must not be negative.'),
    ('{"model":"percentage","rate":1,"free_amount":-1}', 'Key "free_amount" is -1, but must not be negative.'),
    ('{"model":"percentage","rate":1,"per_transaction_minimum":2,"per_transaction_maximum":1}', 'Key "per_transaction_minimum" is 2, but must not be greater than "per_transaction_maximum", which is 1.'),
    ('{"model":"per_unit","unit_amount":"1e-16383"}', 'Its quantities and amounts have 0 and 16383 digits after the point, too many for an exact product.'),
    ('{"model":"package","unit_amount":"1e-9000","package_size":"1e-9000"}', 'Its quantities and amounts have 9000 and 9000 digits after the point, too many for an exact product.'),
    -- tiers
    ('{"model":"volume","tiers":null}', 'Key "tiers" must be an array.'), ('{"model":"volume","tiers":1}', 'Key "tiers" must be an array.'),
    ('{"model":"volume","tiers":{"up_to":1,"unit_amount":1}}', 'Key "tiers" must be an array.'),
    ('{"model":"volume","tiers":[]}', 'Key "tiers" is an empty array, but needs at least one tier.'),
    ('{"model":"volume","tiers":[1]}', 'Tier 1 must be an object.'), ('{"model":"volume","tiers":[{"up_to":1,"unit_amount":1},null]}', 'Tier 2 must be an object.'),
    ('{"model":"volume","tiers":[[{"up_to":1,"unit_amount":1}]]}', 'Tier 1 must be an object.'),
    ('{"model":"volume","tiers":[{}]}', 'Key "up_to" of tier 1 is missing.'),
    ('{"model":"volume","tiers":[{"unit_amount":1}]}', 'Key "up_to" of tier 1 is missing.'),
    ('{"model":"volume","tiers":[{"up_to":1,"unit_amount":1},{"unit_amount":1}]}', 'Key "up_to" of tier 2 is missing.'),
    ('{"model":"volume","tiers":[{"up_to":1}]}', 'Tier 1 has no amount; it needs at least one of "unit_amount", "flat_amount".'),
    ('{"model":"volume","tiers":[{"up_to":1,"package_size":1}]}', 'Tier 1 has no amount; it needs at least one of "unit_amount", "flat_amount".'),
    ('{"model":"volume","tiers":[{"up_to":1,"package_size":1,"flat_amount":1}]}', 'Tier 1 has a "package_size" without a "unit_amount".'),
    ('{"model":"stairstep","tiers":[{"up_to":1,"flat_amount":1},{"up_to":2}]}', 'Tier 2 has no amount; it needs at least one of "flat_amount".'),
    ('{"model":"graduated_percentage","tiers":[{"up_to":null}]}', 'Tier 1 has no amount; it needs at least one of "flat_amount", "rate".'),
    ('{"model":"volume","tiers":[{"up_to":0,"unit_amount":1}]}', 'Key "up_to" of tier 1 is 0, but must be greater than zero.'),
    ('{"model":"volume","tiers":[{"up_to":-5,"unit_amount":1}]}', 'Key "up_to" of tier 1 is -5, but must be greater than zero.'),
    ('{"model":"volume","tiers":[{"up_to":10,"unit_amount":1},{"up_to":10.0,"unit_amount":1}]}', 'Key "up_to" of tier 2 is 10.0, but must be greater than that of the tier before, 10.'),
    ('{"model":"volume","tiers":[{"up_to":10,"unit_amount":1},{"up_to":20,"unit_amount":1},{"up_to":15,"unit_amount":1}]}', 'Key "up_to" of tier 3 is 15, but must be greater than that of the tier before, 20.'),
    ('{"model":"volume","tiers":[{"up_to":null,"unit_amount":1},{"up_to":20,"unit_amount":1}]}', 'Key "up_to" of tier 1 is null, but only the last tier may be open.'),
    ('{"model":"volume","tiers":[{"up_to":null,"unit_amount":1},{"up_to":null,"unit_amount":1}]}', 'Key "up_to" of tier 1 is null, but only the last tier may be open.'),
    ('{"model":"volume","tiers":[{"up_to":1,"unit_amount":1,"package_size":0}]}', 'Key "package_size" of tier 1 is 0, but must be greater than zero.'),
    ('{"model":"volume","tiers":[{"up_to":1,"unit_amount":-1}]}', 'Key "unit_amount" of tier 1 is -1, but must not be negative.'),
    ('{"model":"volume","tiers":[{"up_to":null,"unit_amount":1}],"overage_unit_amount":1}', 'Key "overage_unit_amount" is given, but the last tier is open.'),
    ('{"model":"volume","tiers":[{"up_to":1,"unit_amount":1}],"overage_unit_amount":-1}', 'Key "overage_unit_amount" is -1, but must not be negative.')
    ) given (scheme, detail);
SELECT is(pg_temp.refusal(jsonb_build_object('model', 'flat', 'flat_amount', text)::text),
          format('LB201 invalid price scheme: Key "flat_amount" is the string "%s", which is not a decimal number.', text),
          format('the string "%s" is no number', text))
  FROM unnest(ARRAY['', ' ', E'\t', 'NaN', 'nan', 'Infinity', '-Infinity', 'inf', '+inf', 'abc', '1,5', '1 2', '1.2.3', '.', '-', '+', '1e', '1e+', 'e5', '--1', '0x1F', '0b1', '1_000',
                    '1e9999999', '1e99999999999999999999', '$1', '1;', '٣', '1e1.5']) text;
SELECT throws_ok(format($$SELECT billing_internal.check_scheme('{"model":"flat","flat_amount":"%s"}')$$, text), '22003', NULL, text || ' is beyond numeric itself')
  FROM unnest('{1e200000,1e-20000}'::text[]) text;
SELECT ok(billing_internal.check_scheme(scheme), 'well-formed: ' || name) FROM scheme;
SELECT is(billing_internal.check_scheme(NULL), NULL, 'no scheme is neither');
SELECT throws_ok($$SELECT * FROM billing.explain_charge('{"model":"flat"}', 1)$$, 'LB201', 'invalid price scheme', 'explain_charge checks the scheme');
SELECT throws_ok($$SELECT billing.charge('{"model":"flat"}', 1)$$, 'LB201', 'invalid price scheme', 'charge checks the scheme');

-- --- Random schemes against the rules written down naively ---------------------------------

-- A number of up to 10^size with up to "scale" digits after the point, greater than zero.
CREATE FUNCTION pg_temp.random_number(size int, scale int) RETURNS numeric LANGUAGE sql VOLATILE AS $$
    SELECT greatest(round((random()::numeric(20,18) + random()::numeric(20,18) / 1e15) * power(10::numeric, floor(random() * (size + 1))::int), s),
                    round(power(10::numeric, -s), s)) FROM floor(random() * (scale + 1)) f, LATERAL (SELECT f::int) i (s) $$;

CREATE FUNCTION pg_temp.random_scheme(model text, size int, scale int) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    scheme jsonb := jsonb_build_object('model', model);
    tiers jsonb := '[]';
    tier jsonb;
    up_to numeric := 0;
    count int := 1 + floor(random() * 5);
    open boolean := random() < 0.5;
BEGIN
    IF random() < 0.3 THEN scheme := scheme || jsonb_build_object('free_quantity', pg_temp.random_number(size, scale)); END IF;
    IF random() < 0.2 THEN scheme := scheme || jsonb_build_object('minimum_amount', pg_temp.random_number(size, scale)); END IF;
    IF random() < 0.2 THEN
        scheme := scheme || jsonb_build_object('maximum_amount', coalesce((scheme->>'minimum_amount')::numeric, 0) + pg_temp.random_number(2 * size, scale));
    END IF;
    CASE model
        WHEN 'flat' THEN RETURN scheme || jsonb_build_object('flat_amount', pg_temp.random_number(size, scale));
        WHEN 'per_unit' THEN RETURN scheme || jsonb_build_object('unit_amount', pg_temp.random_number(size, scale)::text);
        WHEN 'package' THEN RETURN scheme || jsonb_build_object('unit_amount', pg_temp.random_number(size, scale), 'package_size', pg_temp.random_number(size, scale));
        WHEN 'percentage' THEN RETURN scheme || jsonb_build_object('rate', pg_temp.random_number(3, scale), 'fixed_amount', pg_temp.random_number(size, scale),
            'per_transaction_minimum', pg_temp.random_number(1, scale), 'per_transaction_maximum', 10 + pg_temp.random_number(size, scale));
        ELSE NULL;
    END CASE;
    FOR i IN 1 .. count LOOP
        up_to := up_to + pg_temp.random_number(size, scale);
        tier := jsonb_build_object('up_to', CASE WHEN i < count OR NOT open THEN up_to END);
        IF model = 'graduated_percentage' THEN
            tier := tier || jsonb_build_object('rate', pg_temp.random_number(3, scale));
        ELSIF model <> 'stairstep' AND random() < 0.8 THEN
            tier := tier || jsonb_build_object('unit_amount', pg_temp.random_number(size, scale));
            IF random() < 0.3 THEN tier := tier || jsonb_build_object('package_size', pg_temp.random_number(size, scale)); END IF;
        END IF;
        IF NOT tier ?| '{unit_amount,rate}' OR random() < 0.3 THEN
            tier := tier || jsonb_build_object('flat_amount', pg_temp.random_number(size, scale)::text);
        END IF;
        tiers := tiers || tier;
    END LOOP;
    IF NOT open AND model <> 'graduated_percentage' AND random() < 0.7 THEN
        scheme := scheme || jsonb_build_object('overage_unit_amount', pg_temp.random_number(size, scale));
    END IF;
    RETURN scheme || jsonb_build_object('tiers', tiers);
END $$;

\ir include/charge_reference.psql

CREATE FUNCTION pg_temp.charge_or_null(scheme jsonb, quantity numeric) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN billing.charge(scheme, quantity);
EXCEPTION WHEN SQLSTATE 'LB202' THEN
    RETURN NULL;
END $$;

SELECT setseed(0.20260131);
CREATE TEMP TABLE trial AS
SELECT s.scheme, q.quantity, size, scale
  FROM (VALUES (2, 2), (4, 0), (9, 6), (20, 12)) magnitude (size, scale),
       unnest('{flat,per_unit,package,stairstep,volume,graduated,graduated_percentage,percentage}'::text[]) model,
       generate_series(1, 60) n,
       LATERAL (SELECT pg_temp.random_scheme(model, size, scale) AS scheme, n AS anew) s,
       LATERAL (SELECT pg_temp.random_number(size, scale) + s.anew * 0 FROM generate_series(1, 6)
                UNION ALL SELECT 0
                UNION ALL SELECT (t->>'up_to')::numeric + coalesce((s.scheme->>'free_quantity')::numeric, 0) + d
                            FROM jsonb_array_elements(s.scheme->'tiers') t, unnest('{0,0.001,1}'::numeric[]) d
                           WHERE t->>'up_to' IS NOT NULL) q (quantity);
SELECT cmp_ok((SELECT count(*) FROM trial), '>', 20000::bigint, 'enough trials');
SELECT is_empty('SELECT * FROM trial WHERE pg_temp.charge_or_null(scheme, quantity) IS DISTINCT FROM pg_temp.reference(scheme, quantity)',
                'charge is what the rules say');
DELETE FROM trial WHERE pg_temp.reference(scheme, quantity) IS NULL;
SELECT cmp_ok((SELECT count(*) FROM trial), '>', 15000::bigint, 'most trials have a charge');
SELECT is_empty('SELECT * FROM trial WHERE billing.charge(scheme, quantity) <> (SELECT sum(amount) FROM billing.explain_charge(scheme, quantity))',
                'explain_charge sums to charge');
SELECT is_empty('SELECT * FROM trial, billing.explain_charge(scheme, trial.quantity) e WHERE e.tier IS NOT NULL
                    AND e.amount <> e.quantity * coalesce(e.unit_amount, 0) + coalesce(e.flat_amount, 0)',
                'every bracket is quantity x unit amount + flat amount');
SELECT is_empty($$SELECT * FROM trial WHERE NOT scheme ? 'maximum_amount' AND billing.charge(scheme, quantity)::text
                    <> billing.charge(scheme || '{"maximum_amount":1e60}', quantity)::text$$,
                'numbers too large for integers change neither value nor scale');
SELECT is_empty('SELECT * FROM trial, billing_internal.charge_rate(scheme, quantity) r
                  WHERE r.unit_amount * quantity <> billing.charge(scheme, quantity) * r.base_quantity', 'a rate gives the charge');

SELECT * FROM finish();
ROLLBACK;
