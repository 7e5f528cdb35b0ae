\i sql/include/fresh.psql
-- Price schemes: how a quantity becomes an amount.
--
-- A scheme is a JSON object. billing.charge() says what a quantity costs, exact and unrounded;
-- billing.explain_charge() shows the brackets behind it. Neither needs the books.
\pset null '-'

-- Per unit: 50 at 1.00.
SELECT billing.charge('{"model":"per_unit","unit_amount":1.00}', 50);

-- A flat amount does not ask for the quantity; packages are charged when they are begun.
SELECT quantity,
       billing.charge('{"model":"flat","flat_amount":9.90}', quantity) AS flat,
       billing.charge('{"model":"package","unit_amount":5.00,"package_size":10}', quantity) AS package
  FROM unnest('{0,1,10,11}'::numeric[]) quantity;

-- Stairstep: one price for everything up to 10, up to 50, up to 100.
SELECT quantity,
       billing.charge('{"model":"stairstep","tiers":[{"up_to":10,"flat_amount":50.00},
                                                     {"up_to":50,"flat_amount":70.00},
                                                     {"up_to":100,"flat_amount":100.00}]}', quantity)
  FROM unnest('{9,25}'::numeric[]) quantity;

-- Volume and graduated read the same brackets in two ways: the whole quantity at the price of
-- the bracket it reaches, or each bracket's part at its own price.
SELECT '[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":50,"unit_amount":0.80}]' AS tiers \gset
SELECT format('{"model":"volume","tiers":%s}', :'tiers') AS volume,
       format('{"model":"graduated","tiers":%s}', :'tiers') AS graduated,
       format('{"model":"volume","tiers":%s,"overage_unit_amount":0.70}', :'tiers') AS volume_overage,
       format('{"model":"graduated","tiers":%s,"overage_unit_amount":0.70}', :'tiers') AS graduated_overage \gset
SELECT billing.charge(:'volume', 35) AS volume, billing.charge(:'graduated', 35) AS graduated;
SELECT * FROM billing.explain_charge(:'volume', 35);
SELECT * FROM billing.explain_charge(:'graduated', 35);

-- The upper edge belongs to the lower bracket, and a fraction above it to the next one. Volume
-- totals may fall at an edge. With an overage price, what lies above the last bracket costs that.
SELECT quantity, billing.charge(:'volume_overage', quantity) AS volume,
       billing.charge(:'graduated_overage', quantity) AS graduated
  FROM unnest('{0,10,10.5,11,20,21,50,51,60}'::numeric[]) quantity;
SELECT * FROM billing.explain_charge(:'graduated_overage', 60);

-- Without an overage price nothing goes unbilled in silence.
SELECT billing.charge(:'graduated', 50);
SELECT billing.charge(:'graduated', 51);
SELECT billing.charge(:'volume', 51);

-- Percentages: 2.9 % and 0.30 of each transaction, at least 0.50. The charge is exact.
SELECT amount,
       billing.charge('{"model":"percentage","rate":2.9,"fixed_amount":0.30,"per_transaction_minimum":0.50}', amount)
  FROM unnest('{1.00,19.99,1000.00}'::numeric[]) amount;
SELECT * FROM billing.explain_charge(
    '{"model":"graduated_percentage","tiers":[{"up_to":1000,"rate":2},{"up_to":null,"rate":1.5,"flat_amount":3.00}]}', 1500);

-- In every model: a free quantity is taken off first, a minimum and a maximum come last. What they
-- add or take is a row without a tier.
SELECT quantity,
       billing.charge('{"model":"per_unit","unit_amount":0.10,"free_quantity":100,"minimum_amount":5.00,"maximum_amount":20.00}', quantity)
  FROM unnest('{0,100,160,200,1000}'::numeric[]) quantity;
SELECT * FROM billing.explain_charge(
    '{"model":"per_unit","unit_amount":0.10,"free_quantity":100,"minimum_amount":5.00,"maximum_amount":20.00}', 1000);

-- Exact at any size, and numbers may be strings.
SELECT billing.charge('{"model":"per_unit","unit_amount":"0.000000000001"}', 1000000000000000);
SELECT billing.charge('{"model":"per_unit","unit_amount":"0.000000000001"}', 123456789012345678901234567890.5);

-- A mistake in a scheme is named, with what is expected.
SELECT billing.charge('{"model":"per_unit","unit_price":1}', 1);
SELECT billing.charge('{"model":"volume","tiers":[{"up_to":10,"unit_amount":1},{"up_to":5,"unit_amount":2}]}', 1);
SELECT billing.charge('{"model":"graduated","tiers":[{"up_to":10,"unit_amount":true}]}', 1);
SELECT billing.charge('{"model":"per_unit","unit_amount":1}', -1);

-- Null in, null out.
SELECT billing.charge(NULL, 1) AS no_scheme, billing.charge('{"model":"flat","flat_amount":1}', NULL) AS no_quantity;
SELECT * FROM billing.explain_charge('{"model":"flat","flat_amount":1}', NULL);
