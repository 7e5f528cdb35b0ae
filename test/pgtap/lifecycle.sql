-- Changes of running subscriptions, rule by rule (doc/rules.md 4 and 5).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('calls') \g /dev/null
-- One price per unit.
CREATE FUNCTION pg_temp.price(code text, unit numeric, charge text DEFAULT 'day', credit text DEFAULT 'day', every interval DEFAULT '1 month',
    timing text DEFAULT NULL, meter text DEFAULT NULL, inclusive boolean DEFAULT false) RETURNS text LANGUAGE sql AS $$
    SELECT billing.create_price(code, currency => 'EUR', every => every, timing => timing, tax => 'vat', meter => meter, tax_inclusive => inclusive,
        proration_charge => charge, proration_credit => credit, scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', unit)) $$;
CREATE TEMP TABLE sides AS
SELECT c, r, coalesce(nullif(nullif(c, 'none'), 'full'), nullif(nullif(r, 'none'), 'full'), 'day') AS basis
  FROM unnest(ARRAY['day', 'second', '30/360', 'none', 'full']) c, unnest(ARRAY['day', 'second', '30/360', 'none', 'full']) r
 WHERE c = r OR c IN ('none', 'full') OR r IN ('none', 'full');
SELECT pg_temp.price(format('%s %s %s', c, r, unit), unit, c, r) FROM sides, unnest(ARRAY[100, 200]) unit \g /dev/null
SELECT pg_temp.price('p30', 30), pg_temp.price('p60', 60), pg_temp.price('p31', 31), pg_temp.price('cent', 0.05), pg_temp.price('sec', 30, 'second', 'second'),
       pg_temp.price('arrears', 30, timing => 'arrears'), pg_temp.price('arrears60', 60, timing => 'arrears'), pg_temp.price('call', 1, meter => 'calls'), pg_temp.price('call2', 2, meter => 'calls'),
       pg_temp.price('year', 365, every => '1 year'), pg_temp.price('year2', 730, every => '1 year'), pg_temp.price('yearfull', 120, 'full', 'full', '1 year'),
       pg_temp.price('gross', 11.90, inclusive => true), pg_temp.price('m30', 30, '30/360', '30/360') \g /dev/null
SELECT billing.create_plan('any', items => '[{"price":"p30","optional":true}]') \g /dev/null

-- An account with one subscription of the items; returns the subscription, whose items follow it in number.
CREATE FUNCTION pg_temp.subscribe(items text[], start_at timestamptz, quantity int DEFAULT 1, day int DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.create_subscription(billing.create_account('x'), 'any', start_at => start_at, billing_day => day,
        items => (SELECT jsonb_agg(CASE WHEN i LIKE 'call%' THEN jsonb_build_object('price', i) ELSE jsonb_build_object('price', i, 'quantity', quantity) END) FROM unnest(items) i)) $$;
-- Bills the account of a subscription; returns the new lines: day due, price, amount, service period.
CREATE FUNCTION pg_temp.bill(subscription bigint, VARIADIC at timestamptz[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := '{}';
    t timestamptz;
BEGIN
    FOREACH t IN ARRAY at LOOP
        ids := ids || ARRAY(SELECT billing.bill_account(subscription >> 24, t));
    END LOOP;
    RETURN (SELECT string_agg(format('%s %s%s %s %s-%s', to_char(h.billed_at, 'DD.MM'), CASE h.kind WHEN 'credit_note' THEN 'CREDIT ' END,
                                     l.price, l.amount, to_char(l.period_start, 'DD.MM'), to_char(l.period_end, 'DD.MM')), ', ' ORDER BY h.id, l.line_no)
              FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id WHERE h.id = ANY (ids));
END $$;
-- What an item's period costs after all, with corrections.
CREATE FUNCTION pg_temp.cost(item bigint, n int DEFAULT 0) RETURNS numeric LANGUAGE sql AS $$
    SELECT coalesce(sum(CASE h.kind WHEN 'credit_note' THEN -l.amount ELSE l.amount END), 0)
      FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
     WHERE l.account_id = item >> 24 AND l.item_id = item AND l.period_no = n $$;

-- Every pair of sides: January with 31 days, a change on the 21st at noon.  The parts by the bases:
CREATE TEMP TABLE part (basis text, kept numeric, rest numeric);
INSERT INTO part VALUES ('day', 20 / 31.0, 11 / 31.0), ('second', 20.5 / 31, 10.5 / 31), ('30/360', 20 / 30.0, 10 / 30.0);
CREATE FUNCTION pg_temp.play(change text, pair text, billed boolean) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    high boolean := change LIKE 'fall%';
    s bigint := pg_temp.subscribe(ARRAY['p30', pair || CASE WHEN change = 'fall by price' THEN ' 200' ELSE ' 100' END], '2026-01-01',
                                  CASE WHEN change = 'fall by quantity' THEN 2 ELSE 1 END);
    item bigint := s + 2;
    at CONSTANT timestamptz := '2026-01-21 12:00';
BEGIN
    IF billed THEN PERFORM pg_temp.bill(s, '2026-01-01'); END IF;
    CASE change
        WHEN 'rise by price' THEN PERFORM billing.change_item(item, price => pair || ' 200', effective_at => at);
        WHEN 'fall by price' THEN PERFORM billing.change_item(item, price => pair || ' 100', effective_at => at);
        WHEN 'rise by quantity' THEN PERFORM billing.change_item(item, quantity => 2, effective_at => at);
        WHEN 'fall by quantity' THEN PERFORM billing.change_item(item, quantity => 1, effective_at => at);
        WHEN 'start' THEN item := billing.add_item(s, pair || ' 100', effective_at => at);
        WHEN 'end' THEN PERFORM billing.end_item(item, effective_at => at);
        WHEN 'cancel' THEN PERFORM billing.cancel_subscription(s, effective_at => at);
    END CASE;
    PERFORM pg_temp.bill(s, '2026-02-01', '2026-03-01');
    RETURN pg_temp.cost(item);
END $$;
CREATE FUNCTION pg_temp.expected(change text, side text, kept numeric, rest numeric) RETURNS numeric LANGUAGE sql AS $$
    SELECT CASE WHEN change LIKE 'rise%' THEN CASE side WHEN 'none' THEN 100 WHEN 'full' THEN 200 ELSE round(100 * kept, 2) + round(200 * rest, 2) END
                WHEN change LIKE 'fall%' THEN CASE side WHEN 'none' THEN 200 WHEN 'full' THEN 100 ELSE round(200 * kept, 2) + round(100 * rest, 2) END
                WHEN change = 'start' THEN CASE side WHEN 'none' THEN 0 WHEN 'full' THEN 100 ELSE round(100 * rest, 2) END
                ELSE CASE side WHEN 'none' THEN 100 WHEN 'full' THEN 0 ELSE round(100 * kept, 2) END END $$;
SELECT is(ARRAY[trim_scale(pg_temp.play(change, c || ' ' || r, true)), trim_scale(pg_temp.play(change, c || ' ' || r, false))],
          array_fill(trim_scale(pg_temp.expected(change, CASE WHEN change LIKE 'rise%' OR change = 'start' THEN c ELSE r END, kept, rest)), ARRAY[2]),
          format('%s, charge %s, credit %s: billed before and not', change, c, r))
  FROM sides JOIN part USING (basis),
       unnest(ARRAY['rise by price', 'fall by price', 'rise by quantity', 'fall by quantity', 'start', 'end', 'cancel']) change ORDER BY change, c, r;

-- 27 January to 1 February.
SELECT pg_temp.subscribe(ARRAY['p60'], '2026-01-01') AS s \gset
SELECT billing.add_item(:s, 'p31', effective_at => '2026-01-27') AS by_day \gset
SELECT billing.add_item(:s, 'm30', effective_at => '2026-01-27') AS by_360 \gset
SELECT pg_temp.bill(:s, '2026-02-01') \g /dev/null
SELECT is(ARRAY[pg_temp.cost(:by_day), pg_temp.cost(:by_360)], ARRAY[5.00, 4.00], '27 January to 1 February: 5/31 by day, 4/30 by 30/360');

-- Several changes, entered in either order, before and after the first invoice.
CREATE FUNCTION pg_temp.several(dates date[], quantities int[], billed boolean) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    s bigint := pg_temp.subscribe(ARRAY['p30'], '2026-04-01');
BEGIN
    IF billed THEN PERFORM pg_temp.bill(s, '2026-04-01'); END IF;
    PERFORM billing.change_item(s + 1, quantity => q, effective_at => d::timestamptz) FROM unnest(dates, quantities) x (d, q);
    IF billed THEN PERFORM pg_temp.bill(s, '2026-04-15'); END IF;
    PERFORM pg_temp.bill(s, '2026-06-01');
    RETURN pg_temp.cost(s + 1);
END $$;
SELECT is(pg_temp.several(d, q, billed), want, format('%s (billed before: %s)', what, billed))
  FROM (VALUES ('three tens of days', '{2026-04-11,2026-04-21}'::date[], '{2,3}'::int[], 60.00),
               ('the same, the later entered first', '{2026-04-21,2026-04-11}', '{3,2}', 60.00),
               ('of two at one instant the later entered holds', '{2026-04-16,2026-04-16}', '{9,3}', 60.00),
               ('there and back: three pieces', '{2026-04-11,2026-04-21}', '{2,1}', 40.00),
               ('a change at the period''s start is the whole period''s', '{2026-04-01}', '{2}', 60.00),
               ('a change at its end is none of it', '{2026-05-01}', '{2}', 30.00),
               ('head replaced, tail kept', '{2026-04-01,2026-04-11}', '{2,1}', 40.00),
               ('down to nothing', '{2026-04-11}', '{0}', 10.00),
               ('nothing at all, later something', '{2026-04-01,2026-04-16}', '{0,2}', 30.00)) v (what, d, q, want), unnest(ARRAY[true, false]) billed;

-- A tail that is kept behind a hole is a row of its own; what is live are exactly the pieces.
SELECT pg_temp.subscribe(ARRAY['p30'], '2026-04-01') AS s \gset
SELECT pg_temp.bill(:s, '2026-04-01') \g /dev/null
SELECT billing.change_item(:s + 1, quantity => 2, effective_at => '2026-04-01'), billing.change_item(:s + 1, quantity => 1, effective_at => '2026-04-11') \g /dev/null
SELECT pg_temp.bill(:s, '2026-05-01') \g /dev/null
SELECT is((SELECT string_agg(format('%s-%s %s', to_char(period_start, 'DD.MM'), to_char(period_end, 'DD.MM'), amount), ', ' ORDER BY period_start)
             FROM (SELECT DISTINCT ON (period_start) * FROM billing.charge WHERE account_id = :s >> 24 AND period_no = 0 ORDER BY period_start, revision DESC) c),
          '01.04-11.04 20.00, 11.04-01.05 20.00', 'head replaced: two rows, no overlap');

-- none and full in time order, judged against what is in force.
CREATE FUNCTION pg_temp.folded(pair text, quantities int[]) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    s bigint := pg_temp.subscribe(ARRAY[pair || ' 100'], '2026-04-01', quantities[1]);
BEGIN
    PERFORM pg_temp.bill(s, '2026-04-01');
    PERFORM billing.change_item(s + 1, quantity => quantities[2], effective_at => '2026-04-11'), billing.change_item(s + 1, quantity => quantities[3], effective_at => '2026-04-21');
    PERFORM pg_temp.bill(s, '2026-06-01');
    RETURN pg_temp.cost(s + 1);
END $$;
SELECT is(pg_temp.folded(pair, q), want, format('%s: %s', pair, q))
  FROM (VALUES ('none full', '{2,1,3}'::int[], 100.00), ('none full', '{2,3,1}', 100.00), ('none full', '{2,3,2}', 200.00),
               ('full none', '{1,2,1}', 200.00), ('full none', '{2,1,3}', 300.00), ('full none', '{3,1,2}', 300.00),
               ('day full', '{1,2,1}', 100.00), ('full day', '{1,3,2}', 266.67), ('none day', '{1,2,1}', 100.00), ('day none', '{2,1,2}', 200.00)) v (pair, q, want);

-- A part without a length makes no line, and does not cut what lies around it.
SELECT pg_temp.subscribe(ARRAY['p30'], '2026-04-01 08:00') AS s \gset
SELECT billing.change_item(:s + 1, quantity => 2, effective_at => '2026-04-01 15:00') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-02'), '01.04 p30 60.00 01.04-01.05', 'changed on the day of the start, before a run: charged at the start');
SELECT pg_temp.subscribe(ARRAY['p30'], '2026-04-01 08:00') AS s \gset
SELECT pg_temp.bill(:s, '2026-04-01 08:00') \g /dev/null
SELECT billing.change_item(:s + 1, quantity => 2, effective_at => '2026-04-01 15:00') \g /dev/null
SELECT pg_temp.bill(:s, '2026-05-01 08:00') \g /dev/null
SELECT is(pg_temp.cost(:s + 1), 60.00, 'and after one: all of the old is given back');
SELECT pg_temp.subscribe(ARRAY['cent'], '2026-04-01') AS s \gset
SELECT billing.change_item(:s + 1, quantity => 9, effective_at => '2026-04-16 08:00'), billing.change_item(:s + 1, quantity => 1, effective_at => '2026-04-16 15:00') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-30'), '01.04 cent 0.05 01.04-01.05', 'there and back on one day: one piece, rounded once');
SELECT pg_temp.subscribe(ARRAY['sec'], '2026-04-01') AS s \gset
SELECT billing.change_item(:s + 1, quantity => 3, effective_at => '2026-04-16 00:00'), billing.change_item(:s + 1, quantity => 1, effective_at => '2026-04-16 12:00') \g /dev/null
SELECT pg_temp.bill(:s, '2026-05-01') \g /dev/null
SELECT is(pg_temp.cost(:s + 1), 31.00, 'by second half a day has a length');

-- In arrears.
SELECT pg_temp.subscribe(ARRAY['arrears'], '2026-04-01') AS s \gset
SELECT billing.change_item(:s + 1, price => 'arrears60', effective_at => '2026-04-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-20', '2026-05-01'), '01.05 arrears 15.00 01.04-16.04, 01.05 arrears60 30.00 16.04-01.05', 'in arrears both parts are charged at the end');
SELECT billing.cancel_subscription(:s, effective_at => '2026-05-11') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-11', '2026-08-01'), '11.05 arrears60 19.35 01.05-11.05', 'cancelled in arrears: nothing follows, so it is charged at once');
SELECT pg_temp.subscribe(ARRAY['arrears', 'call', 'p30'], '2026-04-01') AS s \gset
SELECT billing.change_item(:s + 1, quantity => 2, effective_at => '2026-04-16'),
       billing.change_item(:s + 2, quantity => 2, effective_at => '2026-04-16', invoice_now => true) \g /dev/null
SELECT is((SELECT string_agg(l.price || ' ' || l.amount, ', ' ORDER BY l.price, l.amount) FROM billing.invoice_line l WHERE account_id = :s >> 24),
          'arrears 15.00, p30 15.00, p30 30.00', 'at once, before any run: what has begun in advance, and of arrears what has ended');
SELECT pg_temp.bill(:s, '2026-05-01') \g /dev/null
SELECT is(ARRAY[pg_temp.cost(:s + 1), pg_temp.cost(:s + 2), pg_temp.cost(:s + 3)], ARRAY[45.00, 45.00, 0.00], 'and nothing of it again');

-- Metered items: each part rates its own usage.
SELECT pg_temp.subscribe(ARRAY['call'], '2026-04-01') AS s \gset
SELECT billing.record_usage(:s, 'calls', 'a', 5, '2026-04-15 23:59'), billing.record_usage(:s, 'calls', 'b', 7, '2026-04-16') \g /dev/null
SELECT billing.change_item(:s + 1, price => 'call2', effective_at => '2026-04-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.05 call 5.00 01.04-16.04, 01.05 call2 14.00 16.04-01.05', 'a metered price changes: each part rates its own usage');

-- A yearly item on a monthly schedule.
SELECT pg_temp.subscribe(ARRAY['p30', 'year'], '2026-01-01') AS s \gset
SELECT pg_temp.bill(:s, '2026-06-01') \g /dev/null
SELECT billing.change_item(:s + 2, price => 'year2', effective_at => '2026-06-11') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-11'), NULL, 'a yearly item waits for the monthly invoice');
SELECT pg_temp.bill(:s, '2026-07-01') \g /dev/null
SELECT is(pg_temp.cost(:s + 2), 161 + 2 * 204.00, 'a yearly item is measured by its own year');
SELECT billing.end_item(:s + 2, effective_at => '2026-09-15') \g /dev/null
SELECT pg_temp.bill(:s, '2027-03-01') \g /dev/null
SELECT is(pg_temp.cost(:s + 2), 161 + 2 * 96.00, 'ended ahead of its day');

-- A change that lies ahead: what makes room is given back with the charge that takes it.
SELECT pg_temp.subscribe(ARRAY['p30', 'yearfull'], '2026-01-01') AS s \gset
SELECT pg_temp.bill(:s, '2026-04-01') \g /dev/null
SELECT billing.change_item(:s + 2, quantity => 3, effective_at => '2026-08-10') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01', '2026-08-10'), '01.05 p30 30.00 01.05-01.06, 01.06 p30 30.00 01.06-01.07, 01.07 p30 30.00 01.07-01.08, 01.08 p30 30.00 01.08-01.09',
          'before its day a change is not billed');
SELECT pg_temp.bill(:s, '2026-09-01') \g /dev/null
SELECT is(pg_temp.cost(:s + 2), 360.00, 'then it is, from the start of the year');
SELECT pg_temp.subscribe(ARRAY['p30', 'yearfull'], '2026-01-01') AS s \gset
SELECT id AS invoice FROM billing.bill_account(:s >> 24, '2026-01-01') id \gset
SELECT billing.void_invoice(:invoice, true, effective_at => '2026-01-05'), billing.change_item(:s + 2, quantity => 3, effective_at => '2026-08-10') \g /dev/null
SELECT pg_temp.bill(:s, '2026-02-01', '2026-09-01') \g /dev/null
SELECT is(ARRAY[pg_temp.cost(:s + 1), pg_temp.cost(:s + 2)], ARRAY[30.00, 360.00], 'also where the first invoice was voided');

-- Where corrections land.
SELECT pg_temp.subscribe(ARRAY['p60'], '2026-04-01') AS s \gset
SELECT pg_temp.bill(:s, '2026-04-01') \g /dev/null
SELECT billing.record_payment(account_id, amount_due, currency) FROM billing.invoice WHERE account_id = :s >> 24 \g /dev/null
SELECT billing.change_item(:s + 1, price => 'p30', effective_at => '2026-04-21') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-25'), NULL, 'a correction waits');
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.05 p60 -20.00 21.04-01.05, 01.05 p30 10.00 21.04-01.05, 01.05 p30 30.00 01.05-01.06', 'for the next regular invoice');
SELECT is(pg_temp.bill(:s, '2026-05-01', '2026-04-01'), NULL, 'once');
SELECT billing.cancel_subscription(:s, effective_at => '2026-05-11') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-12'), '12.05 CREDIT p30 20.32 11.05-01.06', 'where none follows within a month, at once');
SELECT is(pg_temp.bill(:s, '2026-05-12', '2026-09-01', '2026-05-01'), NULL, 'a second look neither charges nor credits');
SELECT pg_temp.subscribe(ARRAY['p30'], '2026-04-01') AS s \gset
SELECT pg_temp.bill(:s, '2026-04-01') \g /dev/null
SELECT billing.change_item(:s + 1, quantity => 2, effective_at => '2026-04-16', invoice_now => true) \g /dev/null
SELECT is(pg_temp.cost(:s + 1), 45.00, 'invoice_now: at once');
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.05 p30 60.00 01.05-01.06', 'and not again');

-- What waits for a regular charge that is then given up is charged all the same.
SELECT pg_temp.price('week', 7, every => '7 days', timing => 'arrears'), pg_temp.price('weeks', 28, every => '28 days') \g /dev/null
SELECT pg_temp.subscribe(ARRAY['week', 'weeks'], '2026-01-01') AS s \gset
SELECT pg_temp.bill(:s, '2026-01-01'), billing.end_item(:s + 1, effective_at => '2026-01-03') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-01-10'), NULL, 'two days of a week wait for the charge of four weeks ...');
SELECT billing.end_item(:s + 2, effective_at => '2026-01-20') \g /dev/null
SELECT pg_temp.bill(:s, '2026-01-25') \g /dev/null
SELECT is(ARRAY[pg_temp.cost(:s + 1), pg_temp.cost(:s + 2)], ARRAY[2.00, 19.00], '... and are charged when that is not to come');

-- Cancel, look away, undo.
SELECT pg_temp.subscribe(ARRAY['p30'], '2026-04-01') AS s \gset
SELECT pg_temp.bill(:s, '2026-04-01') \g /dev/null
SELECT billing.cancel_subscription(:s, effective_at => '2026-04-16'), billing.undo_cancellation(:s, effective_at => '2026-04-10') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-20', '2026-05-01'), '01.05 p30 30.00 01.05-01.06', 'cancelled and undone with no run between: nothing');
SELECT billing.cancel_subscription(:s, effective_at => '2026-05-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-02'), '02.05 CREDIT p30 15.48 16.05-01.06', 'cancelled ...');
SELECT billing.undo_cancellation(:s, effective_at => '2026-05-03') \g /dev/null
SELECT pg_temp.bill(:s, '2026-06-01') \g /dev/null
SELECT is(ARRAY[pg_temp.cost(:s + 1, 1), pg_temp.cost(:s + 1, 2)], ARRAY[30.00, 30.00], '... and undone: charged again, once');
SELECT billing.cancel_subscription(:s, effective_at => '2026-06-01', at_period_end => true) \g /dev/null
SELECT is((SELECT from_at FROM billing.interruption WHERE subscription_id = :s AND to_at IS NULL), '2026-07-01'::timestamptz, 'at the very start of a period its end is meant');
SELECT is(pg_temp.bill(:s, '2026-09-01'), NULL, 'cancelled at the period''s end: nothing is given back, nothing follows');

-- Inclusive prices and tax: amounts are gross, the credit carries the line's rate.
SELECT pg_temp.subscribe(ARRAY['gross'], '2026-04-01') AS s \gset
SELECT pg_temp.bill(:s, '2026-04-01') \g /dev/null
SELECT billing.create_tax_rate('vat', category => 'S', rate => 25, valid_from => '2026-04-10') \g /dev/null
SELECT billing.cancel_subscription(:s, effective_at => '2026-04-16', invoice_now => true) \g /dev/null
SELECT results_eq(format('SELECT kind, net_total, tax_total, total FROM billing.invoice_header WHERE account_id = %s ORDER BY id', :s >> 24),
    $$VALUES ('invoice', 10.00, 1.90, 11.90), ('credit_note', 5.00, 0.95, 5.95)$$, 'tax included: half comes back, at the rate of the line');

-- Versions of a price: running items keep theirs until they name their price again.
SELECT pg_temp.price('v', 30) \g /dev/null
SELECT pg_temp.subscribe(ARRAY['v'], '2026-04-01') AS s \gset
SELECT billing.create_price_version('v', '{"model":"per_unit","unit_amount":60}', from_at => '2026-04-11') \g /dev/null
SELECT billing.change_item(:s + 1, quantity => 2, effective_at => '2026-05-01') \g /dev/null
SELECT pg_temp.bill(:s, '2026-05-01') \g /dev/null
SELECT is(ARRAY[pg_temp.cost(:s + 1, 0), pg_temp.cost(:s + 1, 1)], ARRAY[30.00, 60.00], 'a change of quantity keeps the version');
SELECT billing.change_item(:s + 1, price => 'v', effective_at => '2026-06-01'), pg_temp.bill(:s, '2026-06-01') \g /dev/null
SELECT is(pg_temp.cost(:s + 1, 2), 120.00, 'naming the price moves to the version of that instant');
SELECT billing.archive_price('v') \g /dev/null
SELECT billing.change_item(:s + 1, quantity => 1, effective_at => '2026-07-01'), pg_temp.bill(:s, '2026-07-01') \g /dev/null
SELECT is(pg_temp.cost(:s + 1, 3), 60.00, 'the quantity may change where the price is archived');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
