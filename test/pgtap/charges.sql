-- What is charged, when and how much: one small account per rule (doc/rules.md 3 and 4).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'Europe/Berlin';
SET LOCAL billing.max_future = '100000d';
SELECT plan(108);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);

-- A price and a plan of the same code.
CREATE FUNCTION pg_temp.price(code text, scheme jsonb, every interval DEFAULT '1 month', timing text DEFAULT NULL, charge text DEFAULT 'day',
    credit text DEFAULT 'day', meter text DEFAULT NULL, currency text DEFAULT 'EUR') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM billing.create_price(code, currency => currency, every => every, timing => timing, tax => 'vat', meter => meter,
                                 proration_charge => charge, proration_credit => credit, scheme => scheme);
    PERFORM billing.create_plan(code, items => jsonb_build_array(jsonb_build_object('price', code)));
END $$;
CREATE FUNCTION pg_temp.flat(code text, amount numeric, every interval DEFAULT '1 month', timing text DEFAULT NULL, charge text DEFAULT 'day',
    credit text DEFAULT 'day', currency text DEFAULT 'EUR') RETURNS void LANGUAGE sql AS $$
    SELECT pg_temp.price(code, jsonb_build_object('model', 'flat', 'flat_amount', amount), every, timing, charge, credit, currency => currency) $$;

CREATE TEMP TABLE customer (name text PRIMARY KEY, account bigint NOT NULL, subscription bigint);
-- An account with one subscription; other arguments of create_subscription as JSON.
CREATE FUNCTION pg_temp.subscribe(customer text, plan text, start_at timestamptz, more jsonb DEFAULT '{}', currency text DEFAULT 'EUR', zone text DEFAULT NULL)
    RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    account bigint := (SELECT c.account FROM pg_temp.customer c WHERE c.name = customer LIMIT 1);
BEGIN
    account := coalesce(account, billing.create_account(customer, currency => currency, time_zone => zone));
    INSERT INTO pg_temp.customer VALUES (customer, account, billing.create_subscriptions(jsonb_build_array(
        jsonb_build_object('account_id', account, 'plan', plan, 'start_at', start_at) || more)))
        ON CONFLICT (name) DO UPDATE SET subscription = excluded.subscription;
END $$;
CREATE FUNCTION pg_temp.account(customer text) RETURNS bigint LANGUAGE sql AS $$ SELECT account FROM pg_temp.customer WHERE name = $1 $$;
CREATE FUNCTION pg_temp.use(customer text, meter text, quantity numeric, at timestamptz, key text DEFAULT NULL) RETURNS void
    LANGUAGE sql AS $$ SELECT billing.record_usage((SELECT subscription FROM pg_temp.customer WHERE name = $1), $2,
        coalesce($5, $2 || ' ' || $4), $3, $4) $$;
-- What billing an account at instants wrote, line by line: day it was due, price, amount, service period.
CREATE FUNCTION pg_temp.billed(customer text, VARIADIC at timestamptz[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := '{}';
    t timestamptz;
BEGIN
    FOREACH t IN ARRAY at LOOP
        ids := ids || ARRAY(SELECT billing.bill_account(pg_temp.account(customer), t));
    END LOOP;
    RETURN (SELECT string_agg(format('%s %s%s %s %s-%s', to_char(h.billed_at, 'DD.MM'), CASE h.kind WHEN 'credit_note' THEN 'CREDIT ' END,
                                     l.price, l.amount, to_char(l.period_start, 'DD.MM'), to_char(l.period_end, 'DD.MM')),
                              ', ' ORDER BY h.id, l.line_no)
              FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id
             WHERE h.id = ANY (ids));
END $$;

SELECT pg_temp.flat('advance', 30), pg_temp.flat('arrears', 30, timing => 'arrears');
SELECT pg_temp.flat(t || ' ' || b, 30, timing => t, charge => b, credit => b)
  FROM unnest(ARRAY['advance', 'arrears']) t, unnest(ARRAY['day', 'second', '30/360', 'none', 'full']) b;
SELECT billing.create_plan('both', items => '[{"price":"advance"},{"price":"arrears"}]');

-- --- When a charge is due --------------------------------------------------------------------

SELECT pg_temp.subscribe('due', 'both', '2025-01-15 00:00');
SELECT is(pg_temp.billed('due', '2025-01-14 23:59:59.999999'), NULL, 'nothing is due before the start');
SELECT is(pg_temp.billed('due', '2025-01-15'), '15.01 advance 30.00 15.01-15.02', 'in advance: at the start, that instant included');
SELECT is(pg_temp.billed('due', '2025-02-14 23:59:59.999999'), NULL, 'nothing more within the period');
SELECT is(pg_temp.billed('due', '2025-02-15'), '15.02 advance 30.00 15.02-15.03, 15.02 arrears 30.00 15.01-15.02',
          'in arrears: at the end, on the invoice of the next cycle');
SELECT is(pg_temp.billed('due', '2025-02-15'), NULL, 'a run repeated writes nothing');
SELECT is(pg_temp.billed('due', '2025-01-20'), NULL, 'a run for an earlier instant writes nothing');
SELECT is(billed_through, '2025-02-15', 'and does not take back what was billed') FROM billing.account_state WHERE account_id = pg_temp.account('due');

SELECT pg_temp.subscribe('month ends', 'advance', '2024-01-31');
SELECT is(pg_temp.billed('month ends', '2024-05-01'), '31.01 advance 30.00 31.01-29.02, 29.02 advance 30.00 29.02-31.03, '
          '31.03 advance 30.00 31.03-30.04, 30.04 advance 30.00 30.04-31.05', 'each cycle counts from the anchor; a late run charges them all');
SELECT is(count(*)::int, 4, 'with a document each') FROM billing.invoice WHERE account_id = pg_temp.account('month ends');

-- --- Stubs at the start: billing day 1, start on 20 January -------------------------------------

SELECT pg_temp.subscribe('start ' || p || h, p, ('2025-01-20 ' || h)::timestamptz, '{"billing_day":1}')
  FROM unnest(ARRAY['advance', 'arrears']) t, unnest(ARRAY['day', 'second', '30/360', 'none', 'full']) b, format('%s %s', t, b) p,
       unnest(ARRAY[' 00:00', ' 12:00']) h;
CREATE TEMP TABLE stub (customer text, at timestamptz, expected text, why text);
INSERT INTO stub VALUES
    ('start advance day 00:00', '2025-01-31', '20.01 advance day 11.61 20.01-01.02', 'day: 12 of 31 days'),
    ('start advance day 12:00', '2025-01-31', '20.01 advance day 11.61 20.01-01.02', 'day: the day of the start is part of it'),
    ('start advance second 00:00', '2025-01-31', '20.01 advance second 11.61 20.01-01.02', 'second: 12 of 31 days'),
    ('start advance second 12:00', '2025-01-31', '20.01 advance second 11.13 20.01-01.02', 'second: 11.5 of 31 days'),
    ('start advance 30/360 12:00', '2025-01-31', '20.01 advance 30/360 11.00 20.01-01.02', '30/360: 11 of 30 days'),
    ('start advance none 00:00', '2025-01-31', NULL, 'none: nothing until the period ends'),
    ('start advance full 00:00', '2025-01-31', '20.01 advance full 30.00 01.01-01.02', 'full: from the start of the period, charged at the subscription''s start'),
    ('start arrears day 00:00', '2025-02-01', '01.02 arrears day 11.61 20.01-01.02', 'day in arrears: at the end of the period'),
    ('start arrears second 12:00', '2025-02-01', '01.02 arrears second 11.13 20.01-01.02', 'second in arrears'),
    ('start arrears 30/360 00:00', '2025-02-01', '01.02 arrears 30/360 11.00 20.01-01.02', '30/360 in arrears'),
    ('start arrears none 00:00', '2025-02-01', NULL, 'none in arrears'),
    ('start arrears full 12:00', '2025-02-01', '01.02 arrears full 30.00 01.01-01.02', 'full in arrears');
SELECT is(pg_temp.billed(customer, at), expected, 'start inside a period, ' || why) FROM stub;
SELECT is(pg_temp.billed('start advance day 00:00', '2025-02-01'), '01.02 advance day 30.00 01.02-01.03', 'then whole months from the billing day on');
SELECT is(pg_temp.billed('start advance none 00:00', '2025-02-01'), '01.02 advance none 30.00 01.02-01.03', 'also after a free stub');

SELECT pg_temp.subscribe('free', 'advance', '2025-01-20', '{"billing_day":1,"first_period":"free"}');
SELECT is(pg_temp.billed('free', '2025-01-20', '2025-02-01'), '01.02 advance 30.00 01.02-01.03', 'first_period free: no stub');
SELECT pg_temp.subscribe('full', 'advance none', '2025-01-20', '{"billing_day":1,"first_period":"full"}');
SELECT is(pg_temp.billed('full', '2025-01-20', '2025-02-01'), '20.01 advance none 30.00 01.01-01.02, 01.02 advance none 30.00 01.02-01.03',
          'first_period full: the whole first month');
SELECT pg_temp.subscribe('free, no stub', 'advance', '2025-01-20', '{"first_period":"free"}');
SELECT is(pg_temp.billed('free, no stub', '2025-01-20'), '20.01 advance 30.00 20.01-20.02', 'first_period free frees no whole period');
SELECT pg_temp.subscribe('day 31', 'advance', '2025-02-10', '{"billing_day":31}');
SELECT is(pg_temp.billed('day 31', '2025-03-31'), '10.02 advance 19.29 10.02-28.02, 28.02 advance 30.00 28.02-31.03, 31.03 advance 30.00 31.03-30.04',
          'billing day 31: the stub is 18 of the 28 days from 31 January on, then clamped but never shifted');

-- --- Stubs at the end: monthly from 1 March, end on 15 March --------------------------------------

SELECT pg_temp.subscribe('end ' || p || h, p, '2025-03-01', jsonb_build_object('end_at', '2025-03-15' || h))
  FROM unnest(ARRAY['advance', 'arrears']) t, unnest(ARRAY['day', 'second', '30/360', 'none', 'full']) b, format('%s %s', t, b) p,
       unnest(ARRAY[' 00:00', ' 12:00']) h;
TRUNCATE stub;
INSERT INTO stub VALUES
    ('end advance day 00:00', '2025-03-01', '01.03 advance day 13.55 01.03-15.03', 'day: 14 of 31 days'),
    ('end advance day 12:00', '2025-03-01', '01.03 advance day 13.55 01.03-15.03', 'day: the day of the end is no longer part of it'),
    ('end advance second 12:00', '2025-03-01', '01.03 advance second 14.05 01.03-15.03', 'second: 348 of 743 hours, the month has a short day'),
    ('end advance 30/360 00:00', '2025-03-01', '01.03 advance 30/360 14.00 01.03-15.03', '30/360: 14 of 30 days'),
    ('end advance none 00:00', '2025-03-01', '01.03 advance none 30.00 01.03-01.04', 'none: ignored until the period ends'),
    ('end advance full 00:00', '2025-04-01', NULL, 'full: counts from the period''s start'),
    ('end arrears day 00:00', '2025-03-15', '15.03 arrears day 13.55 01.03-15.03', 'day in arrears: at once, since no regular invoice follows'),
    ('end arrears second 12:00', '2025-03-15 12:00', '15.03 arrears second 14.05 01.03-15.03', 'second in arrears'),
    ('end arrears 30/360 00:00', '2025-03-15', '15.03 arrears 30/360 14.00 01.03-15.03', '30/360 in arrears'),
    ('end arrears none 00:00', '2025-03-31', NULL, 'none in arrears: not before the period ends'),
    ('end arrears none 00:00', '2025-04-01', '01.04 arrears none 30.00 01.03-01.04', 'none in arrears: whole, when the period ends'),
    ('end arrears full 00:00', '2025-04-01', NULL, 'full in arrears');
SELECT is(pg_temp.billed(customer, at), expected, 'end inside a period, ' || why) FROM stub;
SELECT is(next_due, NULL, 'afterwards the account is never due again')
  FROM billing.account_state WHERE account_id = pg_temp.account('end arrears day 00:00');
SELECT pg_temp.subscribe('no life', 'both', '2025-03-01', '{"end_at":"2025-03-01"}');
SELECT is(pg_temp.billed('no life', '2025-06-01'), NULL, 'a subscription without length charges nothing');
SELECT pg_temp.subscribe('an afternoon', 'both', '2025-03-01 12:00', '{"end_at":"2025-03-01 18:00"}');
SELECT is(pg_temp.billed('an afternoon', '2025-06-01'), NULL, 'nor does one within a day, where days count');
SELECT pg_temp.subscribe('6 hours', 'advance second', '2025-03-01 12:00', '{"end_at":"2025-03-01 18:00"}');
SELECT is(pg_temp.billed('6 hours', '2025-06-01'), '01.03 advance second 0.24 01.03-01.03', 'where seconds count it does: 6 of 743 hours');
SELECT pg_temp.subscribe('start and end', 'advance', '2025-03-05', '{"end_at":"2025-03-15","billing_day":1}');
SELECT is(pg_temp.billed('start and end', '2025-04-01'), '05.03 advance 9.68 05.03-15.03', 'start and end in one period: 10 of 31 days');
SELECT pg_temp.flat('full none', 30, charge => 'full', credit => 'none'), pg_temp.flat('none full', 30, charge => 'none', credit => 'full'),
       pg_temp.flat('full day', 31, charge => 'full', credit => 'day');
SELECT pg_temp.subscribe('in and out ' || p, p, '2025-03-05', '{"end_at":"2025-03-15","billing_day":1}') FROM unnest(ARRAY['full none', 'none full', 'full day']) p;
SELECT is(pg_temp.billed('in and out full none', '2025-04-01'), '05.03 full none 30.00 01.03-01.04', 'full + none: the whole month');
SELECT is(pg_temp.billed('in and out none full', '2025-04-01'), NULL, 'none + full: nothing');
SELECT is(pg_temp.billed('in and out full day', '2025-04-01'), '05.03 full day 14.00 01.03-15.03', 'full + day: from the 1st, 14 of 31 days');

-- An end that is ignored is charged whenever its period ends, also a year later on an account that was billed in between.
SELECT pg_temp.flat('year none', 365, '1 year', 'arrears', credit => 'none');
SELECT pg_temp.subscribe('long arrears', 'year none', '2025-01-01', '{"end_at":"2025-02-10"}');
SELECT pg_temp.subscribe('long arrears', 'advance', '2025-01-01', '{"cycles":11}');
SELECT is(count(billed), 0::bigint, 'a year in arrears that ended early, credit none: nothing yet')
  FROM (SELECT pg_temp.billed('long arrears', d) AS billed FROM generate_series('2025-01-01', '2025-11-01', interval '1 month') d) x WHERE billed ~ 'year none';
SELECT is(pg_temp.billed('long arrears', '2026-01-01'), '01.01 year none 365.00 01.01-01.01', 'and all of it at the end of the year');

-- --- Finite cycles ------------------------------------------------------------------------------

SELECT pg_temp.subscribe('3 cycles', 'both', '2025-01-31', '{"cycles":3}');
SELECT is(pg_temp.billed('3 cycles', '2026-01-01'), '31.01 advance 30.00 31.01-28.02, 28.02 advance 30.00 28.02-31.03, 28.02 arrears 30.00 31.01-28.02, '
          '31.03 advance 30.00 31.03-30.04, 31.03 arrears 30.00 28.02-31.03, 30.04 arrears 30.00 31.03-30.04', 'a subscription of three cycles');
SELECT pg_temp.subscribe('stub cycles', 'advance', '2025-01-20', '{"billing_day":1,"cycles":2}');
SELECT is(pg_temp.billed('stub cycles', '2026-01-01'), '20.01 advance 11.61 20.01-01.02, 01.02 advance 30.00 01.02-01.03', 'a stub is a cycle');
SELECT pg_temp.subscribe('free cycles', 'advance', '2025-01-20', '{"billing_day":1,"cycles":2,"first_period":"free"}');
SELECT is(pg_temp.billed('free cycles', '2026-01-01'), '01.02 advance 30.00 01.02-01.03, 01.03 advance 30.00 01.03-01.04', 'a free one is none');
SELECT pg_temp.subscribe('item cycles', 'both', '2025-01-15', '{"items":[{"price":"arrears","cycles":1}],"cycles":2}');
SELECT is(pg_temp.billed('item cycles', '2026-01-01'), '15.01 advance 30.00 15.01-15.02, 15.02 advance 30.00 15.02-15.03, 15.02 arrears 30.00 15.01-15.02',
          'an item of one cycle in a subscription of two');

-- --- Items with longer periods than the schedule -------------------------------------------------

SELECT pg_temp.flat('year', 365, '1 year'), pg_temp.flat('year arrears', 365, '1 year', 'arrears'), pg_temp.flat('quarter', 90, '3 months');
SELECT billing.create_meter('m'), billing.create_meter('n', aggregation => 'count'), billing.create_meter('x', aggregation => 'max'),
       billing.create_meter('l', aggregation => 'last');
SELECT pg_temp.price('year use', '{"model":"per_unit","unit_amount":2}', '1 year', meter => 'm');
SELECT billing.create_plan('long', items => '[{"price":"advance"},{"price":"year"},{"price":"quarter"}]');
SELECT pg_temp.subscribe('long', 'long', '2025-01-10');
SELECT is(pg_temp.billed('long', '2025-01-10'), '10.01 advance 30.00 10.01-10.02, 10.01 year 365.00 10.01-10.01, 10.01 quarter 90.00 10.01-10.04', 'year and quarter begin with the first month');
SELECT is(pg_temp.billed('long', '2025-02-10', '2025-03-10'), '10.02 advance 30.00 10.02-10.03, 10.03 advance 30.00 10.03-10.04', 'months between');
SELECT is(pg_temp.billed('long', '2025-04-10'), '10.04 advance 30.00 10.04-10.05, 10.04 quarter 90.00 10.04-10.07', 'the next quarter stands on the invoice of its month');
SELECT ok(pg_temp.billed('long', '2026-01-10') ~ '10.01 year 365.00 10.01-10.01', 'the next year comes a year later');
SELECT pg_temp.subscribe('long stub', 'long', '2025-01-20', '{"billing_day":1}');
SELECT is(pg_temp.billed('long stub', '2025-01-20'), '20.01 advance 11.61 20.01-01.02, 20.01 year 346.00 20.01-01.01, 20.01 quarter 71.00 20.01-01.04',
          'stubs of each: 12/31, 346/365, 71/90');
SELECT billing.create_plan('early', items => '[{"price":"advance"},{"price":"year arrears","cycles":2},{"price":"year use","cycles":2}]');
SELECT pg_temp.subscribe('early', 'early', '2025-01-15');
SELECT pg_temp.use('early', 'm', 5, '2025-03-01');
SELECT is(pg_temp.billed('early', '2025-03-14'), '15.01 advance 30.00 15.01-15.02, 15.02 advance 30.00 15.02-15.03', 'arrears that end early are not due before');
SELECT is(pg_temp.billed('early', '2025-03-15'), '15.03 advance 30.00 15.03-15.04, 15.03 year arrears 59.00 15.01-15.03, 15.03 year use 10.00 15.01-15.03',
          'but with the next regular invoice, prorated where not metered');

-- --- Usage --------------------------------------------------------------------------------------

SELECT pg_temp.price('sum', '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1},{"up_to":null,"unit_amount":0.5}]}', meter => 'm'),
       pg_temp.price('count', '{"model":"per_unit","unit_amount":1}', meter => 'n'), pg_temp.price('max', '{"model":"per_unit","unit_amount":1}', meter => 'x'),
       pg_temp.price('last', '{"model":"per_unit","unit_amount":1}', meter => 'l'),
       pg_temp.price('minimum', '{"model":"per_unit","unit_amount":1,"minimum_amount":7}', meter => 'm'),
       pg_temp.price('fee', '{"model":"percentage","rate":2,"fixed_amount":0.30,"free_count":1,"free_amount":50}', meter => 'm');
SELECT billing.create_plan('meters', items => '[{"price":"sum"},{"price":"count"},{"price":"max"},{"price":"last"}]');
SELECT pg_temp.subscribe('meters', 'meters', '2025-01-01');
SELECT pg_temp.use('meters', m, q, t::timestamptz) FROM unnest(ARRAY['m', 'n', 'x', 'l']) m,
       (VALUES (8, '2025-01-01 00:00'), (7, '2025-01-20'), (4, '2025-01-31 23:59:59.999999'), (100, '2025-02-01')) u (q, t);
SELECT is(pg_temp.billed('meters', '2025-02-01'), '01.02 sum 14.50 01.01-01.02, 01.02 count 3.00 01.01-01.02, 01.02 max 8.00 01.01-01.02, 01.02 last 4.00 01.01-01.02',
          'sum, count, max, last over [start, end)');
SELECT is(array_agg(quantity ORDER BY line_no), '{19,3,8,4}', 'with their quantities') FROM billing.invoice_line WHERE account_id = pg_temp.account('meters');
SELECT is(pg_temp.billed('meters', '2025-03-01'), '01.03 sum 55.00 01.02-01.03, 01.03 count 1.00 01.02-01.03, 01.03 max 100.00 01.02-01.03, 01.03 last 100.00 01.02-01.03',
          'an event at the very end belongs to the next period');
SELECT is(pg_temp.billed('meters', '2025-04-01'), '01.04 sum 0.00 01.03-01.04, 01.04 count 0.00 01.03-01.04, 01.04 max 0.00 01.03-01.04, 01.04 last 0.00 01.03-01.04',
          'no usage is a charge of nothing');
SELECT is(status, 'paid', 'and its document is paid') FROM billing.invoice WHERE account_id = pg_temp.account('meters') AND billed_at = '2025-04-01';
SELECT pg_temp.subscribe('minimum', 'minimum', '2025-01-20', '{"billing_day":1,"end_at":"2025-02-15"}');
SELECT pg_temp.use('minimum', 'm', 9, '2025-02-14');
SELECT is(pg_temp.billed('minimum', '2025-03-01'), '01.02 minimum 7.00 20.01-01.02, 15.02 minimum 9.00 01.02-15.02', 'minimums of metered stubs are not prorated');
SELECT pg_temp.subscribe('fee', 'fee', '2025-01-01');
SELECT pg_temp.use('fee', 'm', q, t::timestamptz) FROM (VALUES (100, '2025-01-02'), (40, '2025-01-03'), (110, '2025-01-04')) u (q, t);
SELECT is(pg_temp.billed('fee', '2025-02-01'), '01.02 fee 2.30 01.01-01.02',
          'a percentage prices each event: the first is free, the second lies in the free amount, of the third 100 are left: 2 % + 0.30');

-- --- Late usage ---------------------------------------------------------------------------------

SELECT billing.create_plan('phone', items => '[{"price":"advance"},{"price":"sum"}]');
SELECT pg_temp.subscribe('late', 'phone', '2025-01-01');
SELECT pg_temp.use('late', 'm', 4, '2025-01-10');
SELECT pg_temp.billed('late', '2025-02-01');
SELECT pg_temp.use('late', 'm', 3, '2025-01-31');
SELECT is(pg_temp.billed('late', '2025-02-10'), NULL, 'late usage waits');
SELECT is(recompute_from, '2025-01-31', 'and is remembered') FROM billing.account_state WHERE account_id = pg_temp.account('late');
SELECT is(pg_temp.billed('late', '2025-03-01'), '01.03 advance 30.00 01.03-01.04, 01.03 sum 3.00 01.01-01.02, 01.03 sum 0.00 01.02-01.03',
          'for the next regular invoice');
SELECT is(row(l.nature, l.quantity, l.unit_amount, c.billed_at)::text, row('correction', 3, NULL::int, '2025-02-01'::timestamptz)::text, 'as a correction of the first line')
  FROM billing.invoice_line l JOIN billing.invoice c ON c.account_id = l.account_id AND c.id = l.corrects_invoice_id WHERE l.account_id = pg_temp.account('late');
SELECT is(pg_temp.billed('late', '2025-03-01'), NULL, 'once');
SELECT is(recompute_from, NULL, 'nothing waits any more') FROM billing.account_state WHERE account_id = pg_temp.account('late');
SELECT pg_temp.subscribe('late year', 'year use', '2024-01-01');
SELECT pg_temp.use('late year', 'm', 4, '2024-01-10');
SELECT pg_temp.billed('late year', '2025-01-01');
SELECT pg_temp.use('late year', 'm', 3, '2024-12-31');
SELECT is(pg_temp.billed('late year', '2025-01-05'), '05.01 year use 6.00 01.01-01.01', 'at once where no regular invoice follows within a month');
SELECT pg_temp.subscribe('late end', 'phone', '2025-01-01', '{"end_at":"2025-02-01"}');
SELECT pg_temp.billed('late end', '2025-02-01');
SELECT pg_temp.use('late end', 'm', 3, '2025-01-31');
SELECT is(pg_temp.billed('late end', '2025-02-03'), '03.02 sum 3.00 01.01-01.02', 'at once after the end');
SELECT throws_ok($$ SELECT pg_temp.use('late end', 'm', 3, '2025-02-01') $$, 'LB302', NULL, 'usage after the end is refused');

-- --- Currencies, zones, sizes ---------------------------------------------------------------------

SELECT pg_temp.flat('yen', 1000, currency => 'JPY'), pg_temp.flat('dinar', 10, currency => 'KWD');
SELECT pg_temp.subscribe('yen', 'yen', '2025-01-20', '{"billing_day":1}', currency => 'JPY'), pg_temp.subscribe('dinar', 'dinar', '2025-01-20', '{"billing_day":1}', currency => 'KWD');
SELECT is(pg_temp.billed('yen', '2025-01-20'), '20.01 yen 387 20.01-01.02', 'yen have no minor units');
SELECT is(pg_temp.billed('dinar', '2025-01-20'), '20.01 dinar 3.871 20.01-01.02', 'dinars have three');
SELECT is(array_agg(row(net_total, tax_total, total)::text ORDER BY currency), '{"(387,74,461)","(3.871,0.735,4.606)"}', 'their taxes too')
  FROM billing.invoice WHERE currency IN ('JPY', 'KWD');

SELECT pg_temp.subscribe('east', 'advance', '2025-01-31 00:00+14', zone => 'Etc/GMT-14'), pg_temp.subscribe('west', 'advance', '2025-01-31 00:00-12', zone => 'Etc/GMT+12');
SELECT is(pg_temp.billed('east', '2025-02-27 10:59:59+01'), '30.01 advance 30.00 30.01-27.02', 'the east''s February ends at 28 February 00:00+14');
SELECT is(pg_temp.billed('east', '2025-02-27 11:00+01'), '27.02 advance 30.00 27.02-30.03', 'and not before');
SELECT is(pg_temp.billed('west', '2025-02-28 12:59:59+01'), '31.01 advance 30.00 31.01-28.02', 'the west''s at 28 February 00:00-12');
SELECT is(pg_temp.billed('west', '2025-02-28 13:00+01'), '28.02 advance 30.00 28.02-31.03', 'and not before');
SELECT pg_temp.subscribe('summer time', 'advance second', '2025-03-01', '{"end_at":"2025-11-01"}');
SELECT is(whole, 8, 'months with a short or long day cost the same')
  FROM (SELECT cardinality(regexp_split_to_array(pg_temp.billed('summer time', '2025-12-01'), ' second 30.00 ')) - 1) x (whole);
SELECT pg_temp.subscribe('short day', 'advance second', '2025-03-30 00:00', '{"end_at":"2025-03-31 00:00","billing_day":1}');
SELECT is(pg_temp.billed('short day', '2025-03-30'), '30.03 advance second 0.93 30.03-31.03', 'by the second a day of 23 hours is 23/743 of 30.00');

SELECT pg_temp.price('tiny', '{"model":"per_unit","unit_amount":0.000000000001}', meter => 'm'), pg_temp.price('huge', '{"model":"per_unit","unit_amount":1e10}', meter => 'm');
SELECT pg_temp.subscribe('tiny', 'tiny', '2025-01-01'), pg_temp.subscribe('huge', 'huge', '2025-01-01');
SELECT pg_temp.use('tiny', 'm', 1e15, '2025-01-02'), pg_temp.use('huge', 'm', 1e15, '2025-01-02');
SELECT is(pg_temp.billed('tiny', '2025-02-01'), '01.02 tiny 1000.00 01.01-01.02', '10^15 x 10^-12 = 1000');
SELECT throws_ok($$ SELECT pg_temp.billed('huge', '2025-02-01') $$, '22003', NULL, 'an amount that no bank knows is out of range');

-- --- Several subscriptions, backdated ones, price versions -------------------------------------------

SELECT pg_temp.subscribe('two', 'advance', '2025-01-05'), pg_temp.subscribe('two', 'arrears', '2025-01-20');
SELECT is(pg_temp.billed('two', '2025-02-28'), '05.01 advance 30.00 05.01-05.02, 05.02 advance 30.00 05.02-05.03, 20.02 arrears 30.00 20.01-20.02', 'two days: documents of their own');
SELECT is(count(*), 3::bigint, 'three of them') FROM billing.invoice WHERE account_id = pg_temp.account('two');
SELECT pg_temp.subscribe('twins', 'advance', '2025-01-05'), pg_temp.subscribe('twins', 'year', '2025-01-05');
SELECT is(cardinality(ARRAY(SELECT billing.bill_account(pg_temp.account('twins'), '2025-01-05'))), 1, 'one day: one document');
SELECT pg_temp.subscribe('two', 'advance', '2024-12-15');
SELECT is(pg_temp.billed('two', '2025-03-01'), '15.12 advance 30.00 15.12-15.01, 15.01 advance 30.00 15.01-15.02, 15.02 advance 30.00 15.02-15.03',
          'a subscription entered late is charged from its start on, and the others not again');
SELECT is(pg_temp.billed('two', '2025-03-01'), NULL, 'once');

SELECT pg_temp.flat('tariff', 10);
SELECT pg_temp.subscribe('old', 'tariff', '2025-01-01');
SELECT pg_temp.billed('old', '2025-01-01');
SELECT is(billing.create_price_version('tariff', '{"model":"flat","flat_amount":12}', '2025-02-01'), 2, 'a new version of a price');
SELECT pg_temp.subscribe('new', 'tariff', '2025-02-01'), pg_temp.subscribe('backdated', 'tariff', '2025-01-31');
SELECT is(pg_temp.billed('old', '2025-02-01'), '01.02 tariff 10.00 01.02-01.03', 'running subscriptions keep theirs');
SELECT is(pg_temp.billed('new', '2025-02-01'), '01.02 tariff 12.00 01.02-01.03', 'new ones take it');
SELECT is(pg_temp.billed('backdated', '2025-02-01'), '31.01 tariff 10.00 31.01-28.02', 'those that start before it do not');
SELECT throws_ok($$ UPDATE billing.price_version SET scheme = '{"model":"flat","flat_amount":11}' WHERE price = 'tariff' AND version = 2 $$, 'LB121', NULL,
                 'a version that is used cannot be changed');

-- --- A bad account does not stop the others ---------------------------------------------------------

SELECT pg_temp.price('closed', '{"model":"stairstep","tiers":[{"up_to":10,"flat_amount":5}]}');
SELECT billing.create_account('no rate', tax_status => 'diplomat') AS no_rate \gset
SELECT billing.create_subscription(:no_rate, 'advance', '2026-01-01'), pg_temp.subscribe('beyond', 'closed', '2026-01-01', '{"items":[{"price":"closed","quantity":11}]}'),
       pg_temp.subscribe('good', 'advance', '2026-01-01');
CALL billing.bill_run(at => '2026-01-01');
SELECT is(array_agg(row(a.name, e.sqlstate)::text ORDER BY a.name), '{"(beyond,LB202)","(huge,22003)","(\"no rate\",LB401)"}', 'they are parked with their SQLSTATE')
  FROM billing.run_error e JOIN billing.account a USING (account_id);
SELECT is(count(*), 1::bigint, 'the good one is billed') FROM billing.invoice WHERE account_id = pg_temp.account('good');
SELECT is(count(*), 0::bigint, 'of the others nothing is written') FROM billing.invoice WHERE account_id IN (:no_rate, pg_temp.account('beyond'), pg_temp.account('huge'));
SELECT is(row(status, errors)::text, '(finished,3)', 'and the run says so') FROM billing.run;
SELECT ok(next_due <= '2026-01-01' AND billed_through IS NULL, 'they stay due') FROM billing.account_state WHERE account_id = :no_rate;
SELECT billing.create_tax_rate('vat', category => 'E', rate => 0, tax_status => 'diplomat', reason => 'diplomatic mission');
CALL billing.bill_run(at => '2026-01-02');
SELECT is(array_agg(row(total, tax_total, billed_at::date)::text), '{"(30.00,0.00,2026-01-01)"}', 'after the repair the next run bills it')
  FROM billing.invoice WHERE account_id = :no_rate;
SELECT is(count(*), 2::bigint, 'what was not repaired is parked again')
  FROM billing.run_error WHERE run_id = (SELECT max(id) FROM billing.run);

-- --- The key of charge --------------------------------------------------------------------------------

SELECT throws_ok(format($$ INSERT INTO billing.charge SELECT (jsonb_populate_record(c, '{"invoice_id":1,"line_no":1}')).* FROM billing.charge c
    WHERE account_id = %s AND revision = 0 LIMIT 1 $$, pg_temp.account('late')), '23505', NULL, 'a second charge of the same thing violates the key');
SELECT throws_ok(format($$ INSERT INTO billing.charge SELECT (jsonb_populate_record(c, '{"invoice_id":1,"line_no":1,"amount":0}')).* FROM billing.charge c
    WHERE account_id = %s AND revision = 1 $$, pg_temp.account('late')), '23505', NULL, 'and so does a second correction');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'all of it is sound');
SELECT is_empty('SELECT * FROM billing.verify_chain()', 'and proven');

SELECT * FROM finish();
ROLLBACK;
