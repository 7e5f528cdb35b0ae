-- Minimums of items and subscriptions, and commitments (doc/rules.md 5).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19), billing.create_tax('low', category => 'S', rate => 7) \g /dev/null
SELECT billing.create_meter('calls') \g /dev/null
SELECT billing.create_price(code, currency => 'EUR', every => every::interval, tax => tax, timing => timing, meter => meter,
    scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', amount))
  FROM (VALUES ('p10', 10, 'advance', '1 month', NULL, 'vat'), ('p20', 20, 'advance', '1 month', NULL, 'vat'), ('book', 10, 'advance', '1 month', NULL, 'low'),
               ('year', 120, 'advance', '1 year', NULL, 'vat'), ('call', 1, 'arrears', '1 month', 'calls', 'vat')) p (code, amount, timing, every, meter, tax) \g /dev/null
SELECT billing.create_plan('any', items => '[{"price":"p10","optional":true}]') \g /dev/null

CREATE FUNCTION pg_temp.subscribe(VARIADIC prices text[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.create_subscription(billing.create_account('x'), 'any', start_at => '2026-04-01',
        items => (SELECT jsonb_agg(jsonb_build_object('price', p)) FROM unnest(prices) p)) $$;
-- The new lines: day due, price, amount, service period of a minimum.
CREATE FUNCTION pg_temp.bill(subscription bigint, VARIADIC at timestamptz[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := '{}';
    t timestamptz;
BEGIN
    FOREACH t IN ARRAY at LOOP
        ids := ids || ARRAY(SELECT billing.bill_account(subscription >> 24, t));
    END LOOP;
    RETURN (SELECT string_agg(format('%s %s%s %s', to_char(h.billed_at, 'DD.MM'), CASE h.kind WHEN 'credit_note' THEN 'CREDIT ' END,
                                     CASE l.kind WHEN 'minimum' THEN format('MINIMUM %s %s-%s', l.tax, to_char(l.period_start, 'DD.MM'), to_char(l.period_end, 'DD.MM')) ELSE l.price END,
                                     l.amount), ', ' ORDER BY h.id, l.line_no)
              FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id WHERE h.id = ANY (ids));
END $$;
CREATE FUNCTION pg_temp.sound() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT is((SELECT string_agg(format('%s %s %s', finding, id, detail), '; ') FROM billing.check(true)), NULL, 'the books are sound') $$;

-- A subscription's minimum is due at the end of its cycle.
SELECT pg_temp.subscribe('p10', 'call') AS s \gset
SELECT billing.set_minimum(:s, 50, effective_at => '2026-04-01') AS m \gset
SELECT billing.record_usage(:s, 'calls', 'a', 5, '2026-04-10') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01', '2026-05-01'), '01.04 p10 10.00, 01.05 MINIMUM vat 01.04-01.05 35.00, 01.05 p10 10.00, 01.05 call 5.00', 'what the cycle misses is a line at its end');
SELECT is((SELECT format('%s|%s|%s|%s|%s', description, price, quantity, gross_amount, item_id) FROM billing.invoice_line WHERE kind = 'minimum'), 'Minimum|||35.00|', 'of its own');
SELECT billing.record_usage(:s, 'calls', 'b', 100, '2026-04-20') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-01'), '01.06 MINIMUM vat 01.05-01.06 40.00, 01.06 p10 10.00, 01.06 call 100.00, 01.06 call 0.00, 01.06 CREDIT MINIMUM vat 01.04-01.05 35.00',
          'late usage takes it back');
SELECT pg_temp.sound();
SELECT billing.set_minimum(:s, 20, effective_at => '2026-06-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-07-01'), '01.07 MINIMUM vat 01.06-01.07 10.00, 01.07 p10 10.00, 01.07 call 0.00', 'set again: in place of the one before');
SELECT billing.end_minimum((SELECT max(id) FROM billing.minimum), effective_at => '2026-06-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-08-01'), '01.08 p10 10.00, 01.08 call 0.00, 01.08 CREDIT MINIMUM vat 01.06-01.07 10.00', 'ended late it is given back');
SELECT pg_temp.sound();

-- It shrinks with the days of service.
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT billing.set_minimum(:s, 60, effective_at => '2026-04-01') \g /dev/null
SELECT billing.cancel_subscription(:s, effective_at => '2026-04-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.04 p10 5.00, 16.04 MINIMUM vat 01.04-16.04 25.00', 'half a month: half of it');
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT billing.set_minimum(:s, 60, proration => 'none', effective_at => '2026-04-01') \g /dev/null
SELECT billing.cancel_subscription(:s, effective_at => '2026-04-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.04 p10 5.00, 16.04 MINIMUM vat 01.04-16.04 55.00', 'or all of it');
SELECT billing.create_subscription(billing.create_account('x'), 'any', start_at => '2026-04-16', billing_day => 1, items => '[{"price":"p10"}]') AS s \gset
SELECT billing.set_minimum(:s, 60, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01', '2026-06-01'), '16.04 p10 5.00, 01.05 MINIMUM vat 16.04-01.05 25.00, 01.05 p10 10.00, 01.06 MINIMUM vat 01.05-01.06 50.00, 01.06 p10 10.00', 'a first cycle cut by the start');
SELECT pg_temp.sound();

-- Tax: by the lines, or a class of its own.
SELECT pg_temp.subscribe('p20', 'book') AS s \gset
SELECT billing.set_minimum(:s, 60, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.04 p20 20.00, 01.04 book 10.00, 01.05 MINIMUM vat 01.04-01.05 20.00, 01.05 p20 20.00, 01.05 MINIMUM low 01.04-01.05 10.00, 01.05 book 10.00',
          'split in proportion to the lines');
SELECT billing.end_item(:s + 2, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-01'),
          '01.06 MINIMUM vat 01.04-01.05 40.00, 01.06 MINIMUM vat 01.05-01.06 40.00, 01.06 p20 20.00, 01.06 CREDIT MINIMUM vat 01.04-01.05 20.00, 01.06 CREDIT MINIMUM low 01.04-01.05 10.00, 01.06 CREDIT book 10.00, 01.06 CREDIT book 10.00',
          'which moves with them');
SELECT pg_temp.subscribe('p20', 'book') AS s \gset
SELECT billing.set_minimum(:s, 60, tax => 'low', effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.04 p20 20.00, 01.04 book 10.00, 01.05 MINIMUM low 01.04-01.05 30.00, 01.05 p20 20.00, 01.05 book 10.00', 'or of one class');
SELECT pg_temp.sound();

-- Of an item, between its discounts and the subscription's.
SELECT pg_temp.subscribe('p10', 'p20') AS s \gset
SELECT billing.set_minimum(:s, 15, item_id => :s + 1, effective_at => '2026-04-01'),
       billing.add_discount(:s >> 24, 10, item_id => :s + 1, effective_at => '2026-04-01'), billing.add_discount(:s >> 24, 50, subscription_id => :s, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.04 p10 4.50, 01.04 p20 10.00, 01.05 MINIMUM vat 01.04-01.05 3.00, 01.05 p10 4.50, 01.05 p20 10.00', 'an item''s minimum: 15.00 - 9.00, of which half');
SELECT billing.set_minimum(:s, 30, effective_at => '2026-05-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-01'), '01.06 MINIMUM vat 01.05-01.06 12.50, 01.06 MINIMUM vat 01.05-01.06 3.00, 01.06 p10 4.50, 01.06 p20 10.00', 'the subscription''s comes after everything');
SELECT billing.end_item(:s + 1, effective_at => '2026-06-11') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-07-01'), '01.07 MINIMUM vat 01.06-01.07 17.50, 01.07 MINIMUM vat 01.06-11.06 1.00, 01.07 p20 10.00, 01.07 CREDIT p10 3.00', 'an item''s shrinks with the item');
SELECT pg_temp.sound();

-- A commitment over a longer time; what does not lie in a period does not count.
SELECT pg_temp.subscribe('p10', 'call') AS s \gset
SELECT billing.set_minimum(:s, 100, every => '3 months', effective_at => '2026-04-01') \g /dev/null
SELECT billing.record_usage(:s, 'calls', 'a', 25, '2026-05-10') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01', '2026-05-01', '2026-06-01', '2026-07-01'),
          '01.04 p10 10.00, 01.05 p10 10.00, 01.05 call 0.00, 01.06 p10 10.00, 01.06 call 25.00, 01.07 MINIMUM vat 01.04-01.07 45.00, 01.07 p10 10.00, 01.07 call 0.00', 'a commitment of a quarter');
SELECT billing.add_item(:s, 'p20', effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-08-01'), '01.04 p20 20.00, 01.05 p20 20.00, 01.06 p20 20.00, 01.07 p20 20.00, 01.08 p10 10.00, 01.08 call 0.00, 01.08 p20 20.00, 01.08 CREDIT MINIMUM vat 01.04-01.07 45.00',
          'later charges of the quarter take it back');
SELECT pg_temp.sound();
SELECT pg_temp.subscribe('p10', 'year') AS s \gset
SELECT billing.set_minimum(:s, 15, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.04 p10 10.00, 01.04 year 120.00, 01.05 MINIMUM vat 01.04-01.05 5.00, 01.05 p10 10.00', 'a year''s charge does not lie in a month');
SELECT pg_temp.sound();

-- Skipped cycles and pauses; a longer period is only shortened.
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT billing.set_minimum(:s, 60, effective_at => '2026-04-01'), billing.set_minimum(:s, 183, every => '3 months', effective_at => '2026-04-01'), billing.skip_cycles(:s, 1, effective_at => '2026-04-02') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01', '2026-05-01', '2026-06-01', '2026-07-01'),
          '01.04 p10 10.00, 01.05 MINIMUM vat 01.04-01.05 50.00, 01.06 p10 10.00, 01.07 MINIMUM vat 01.04-01.07 0.66, 01.07 MINIMUM vat 01.06-01.07 50.00, 01.07 p10 10.00',
          'nothing for a skipped cycle; 183.00 x 60/91 = 120.66, less twice 60.00');
SELECT billing.pause_subscription(:s, until => '2026-07-21', effective_at => '2026-07-11') \g /dev/null
SELECT pg_temp.bill(:s, '2026-08-01') \g /dev/null
SELECT is((SELECT string_agg(format('%s %s', l.kind, l.amount), ', ' ORDER BY l.kind) FROM billing.invoice_line l JOIN billing.invoice_header h ON h.id = l.invoice_id
            WHERE h.account_id = :s >> 24 AND l.kind = 'minimum' AND l.period_start >= '2026-07-01' AND l.period_end < '2026-09-01'), 'minimum 33.87', '60.00 x 21/31 = 40.65 less the 6.78 that July still costs');
SELECT pg_temp.sound();

-- Bad input changes nothing.
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT billing.add_item(:s, 'once', effective_at => '2026-04-01') AS once FROM (SELECT billing.create_price('once', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":5}')) p \gset
CREATE TEMP TABLE before AS SELECT count(*) AS minimums FROM billing.minimum;
SELECT throws_ok(format(call, :s, :once), code, NULL, call) FROM (VALUES
    ('SELECT billing.set_minimum(17, 10)', 'LB109'),
    ('SELECT billing.set_minimum(%1$s, NULL)', '22004'),
    ('SELECT billing.set_minimum(%1$s, -1)', 'LB208'),
    ('SELECT billing.set_minimum(%1$s, ''NaN'')', 'LB208'),
    ('SELECT billing.set_minimum(%1$s, 1.001)', 'LB208'),
    ('SELECT billing.set_minimum(%1$s, 10, item_id => %1$s)', 'LB114'),
    ('SELECT billing.set_minimum(%1$s, 10, item_id => %2$s)', 'LB208'),
    ('SELECT billing.set_minimum(%1$s, 10, every => ''10 days'')', 'LB205'),
    ('SELECT billing.set_minimum(%1$s, 10, every => ''-1 month'')', 'LB205'),
    ('SELECT billing.set_minimum(%1$s, 10, tax => ''none'')', 'LB103'),
    ('SELECT billing.set_minimum(%1$s, 10, proration => ''hour'')', 'LB208'),
    ('SELECT billing.set_minimum(%1$s, 10, effective_at => ''infinity'')', '22008'),
    ('SELECT billing.end_minimum(%1$s)', 'LB118')) c (call, code);
SELECT billing.set_minimum(:s, 10, effective_at => '2026-05-01') AS m \gset
SELECT billing.end_minimum(:m, effective_at => '2026-06-01') \g /dev/null
SELECT throws_ok(format('SELECT billing.end_minimum(%s, effective_at => ''2026-07-01'')', :m), 'LB306', NULL, 'a minimum ends once');
SELECT is((SELECT count(*) FROM billing.minimum), (SELECT minimums + 1 FROM before), 'nothing else was entered');
SELECT * FROM finish();
ROLLBACK;
