-- Discounts and increments of lines (doc/rules.md 5).
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
SELECT billing.create_price(code, currency => 'EUR', every => every::interval, tax => 'vat', timing => timing, meter => meter,
    scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', amount))
  FROM (VALUES ('p10', 10, 'advance', '1 month', NULL), ('p20', 20, 'advance', '1 month', NULL), ('p30', 30, 'advance', '1 month', NULL), ('late', 8, 'arrears', '1 month', NULL),
               ('odd', 0.99, 'advance', '1 month', NULL), ('year', 120, 'advance', '1 year', NULL), ('lateyear', 120, 'arrears', '1 year', NULL), ('once', 50, 'advance', NULL, NULL),
               ('call', 1, 'arrears', '1 month', 'calls')) p (code, amount, timing, every, meter) \g /dev/null
SELECT billing.create_plan('any', items => '[{"price":"p10","optional":true}]') \g /dev/null

CREATE FUNCTION pg_temp.subscribe(VARIADIC prices text[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.create_subscription(billing.create_account('x'), 'any', start_at => '2026-04-01',
        items => (SELECT jsonb_agg(jsonb_build_object('price', p)) FROM unnest(prices) p)) $$;
-- The new lines: day due, price, gross, what is taken off and added, amount.
CREATE FUNCTION pg_temp.bill(subscription bigint, VARIADIC at timestamptz[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := '{}';
    t timestamptz;
BEGIN
    FOREACH t IN ARRAY at LOOP
        ids := ids || ARRAY(SELECT billing.bill_account(subscription >> 24, t));
    END LOOP;
    RETURN (SELECT string_agg(format('%s %s%s %s%s%s', to_char(h.billed_at, 'DD.MM'), CASE h.kind WHEN 'credit_note' THEN 'CREDIT ' END, l.price, l.gross_amount,
                                     CASE WHEN l.discount_amount <> 0 THEN to_char(-l.discount_amount, 'SFM990.00') END,
                                     CASE WHEN l.increment_amount <> 0 THEN to_char(l.increment_amount, 'SFM990.00') END), ', ' ORDER BY h.id, l.line_no)
              FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id WHERE h.id = ANY (ids));
END $$;
CREATE FUNCTION pg_temp.sound() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT is((SELECT string_agg(format('%s %s %s', finding, id, detail), '; ') FROM billing.check(true)), NULL, 'the books are sound') $$;

-- Percentages.
SELECT pg_temp.subscribe('p10', 'odd') AS s \gset
SELECT billing.add_discount(:s >> 24, 10, subscription_id => :s, effective_at => '2026-04-01') AS d \gset
SELECT is(pg_temp.bill(:s, '2026-04-01'), '01.04 p10 10.00-1.00, 01.04 odd 0.99-0.10', 'a percentage of each line, rounded');
SELECT is((SELECT amount FROM billing.charge WHERE item_id = :s + 1), 9.00, 'the charge is what is left');
SELECT is((SELECT net_total || ' ' || tax_total FROM billing.invoice WHERE account_id = :s >> 24), '9.89 1.88', 'which is taxed');
SELECT billing.end_discount(:d, effective_at => '2026-05-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.05 p10 10.00, 01.05 odd 0.99', 'ended: later cycles have it no more');
SELECT billing.add_discount(:s >> 24, 50, item_id => :s + 1, effective_at => '2026-05-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-01'), '01.06 p10 10.00-5.00, 01.06 odd 0.99, 01.06 CREDIT p10 0.00+5.00', 'of an item only; entered late it corrects what was charged');
SELECT is((SELECT quantity IS NULL AND amount = 5.00 FROM billing.invoice_line l JOIN billing.invoice_header h ON h.id = l.invoice_id WHERE h.account_id = :s >> 24 AND h.kind = 'credit_note'),
          true, 'a correction of the discount alone has no quantity');
SELECT billing.add_discount(:s >> 24, 20, effective_at => '2026-07-01'), billing.add_discount(:s >> 24, 10, subscription_id => :s, effective_at => '2026-07-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-07-01'), '01.07 p10 10.00-6.50, 01.07 odd 0.99-0.30', 'those of the item first, then those of subscription and account, all of one subtotal');

SELECT pg_temp.subscribe('p10') AS s \gset
SELECT billing.add_discount(:s >> 24, 60, item_id => :s + 1, effective_at => '2026-04-01'), billing.add_discount(:s >> 24, 70, item_id => :s + 1, effective_at => '2026-04-01'),
       billing.add_discount(:s >> 24, 5, kind => 'increment', item_id => :s + 1, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01'), '01.04 p10 10.00-10.00+0.50', 'never below zero, and what is added comes after that');
SELECT billing.add_discount(:s >> 24, 10, subscription_id => :s, effective_at => '2026-05-01'),
       billing.add_discount(:s >> 24, 20, kind => 'increment', subscription_id => :s, effective_at => '2026-05-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.05 p10 10.00-10.05+0.60', 'the subscription''s are of what the item''s left');

-- For so many cycles, until an instant.
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT billing.add_discount(:s >> 24, 10, subscription_id => :s, cycles => 2, effective_at => '2026-04-01'),
       billing.add_discount(:s >> 24, 20, subscription_id => :s, until => '2026-05-01', effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-07-01'), '01.04 p10 10.00-3.00, 01.05 p10 10.00-1.00, 01.06 p10 10.00, 01.07 p10 10.00', 'for two cycles, and until an instant');
SELECT billing.add_discount(:s >> 24, 10, cycles => 1, effective_at => '2026-07-10') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-09-01'), '01.08 p10 10.00-1.00, 01.09 p10 10.00', 'once for the account: the next cycle');

-- Fixed amounts are used up once per cycle, in order of due instant and item; the rest lapses.
SELECT pg_temp.subscribe('p10', 'p20', 'late') AS s \gset
SELECT billing.add_discount(:s >> 24, 35, type => 'fixed', subscription_id => :s, effective_at => '2026-04-01') AS d \gset
SELECT is(pg_temp.bill(:s, '2026-04-01'), '01.04 p10 10.00-10.00, 01.04 p20 20.00-20.00', 'what is charged in advance comes first');
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.05 p10 10.00-10.00, 01.05 p20 20.00-20.00, 01.05 late 8.00-5.00', 'what is charged at the end takes the rest');
SELECT billing.end_item(:s + 2, effective_at => '2026-05-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-01'), '01.06 p10 10.00-10.00, 01.06 p20 -10.32+10.32, 01.06 late 8.00-8.00',
          'a charge cut gives up what it no longer needs; the arrears of that cycle take what is free');

-- A fixed increment is added once per cycle, to what is due first.
SELECT pg_temp.subscribe('p10', 'late') AS s \gset
SELECT billing.add_discount(:s >> 24, 3, type => 'fixed', kind => 'increment', subscription_id => :s, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01', '2026-05-01'), '01.04 p10 10.00+3.00, 01.05 p10 10.00+3.00, 01.05 late 8.00', 'a fixed increment');
SELECT billing.change_item(:s + 1, price => 'p20', effective_at => '2026-05-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-01'), '01.06 p20 10.32, 01.06 p20 20.00+3.00, 01.06 late 8.00, 01.06 CREDIT p10 5.16', 'stays with the first part, and is not prorated');

-- Of an item: its own pieces only, also where it is metered or charged in arrears.
SELECT pg_temp.subscribe('p10', 'call') AS s \gset
SELECT billing.record_usage(:s, 'calls', 'a', 4, '2026-04-10') \g /dev/null
SELECT billing.add_discount(:s >> 24, 5, type => 'fixed', item_id => :s + 2, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01', '2026-05-01'), '01.04 p10 10.00, 01.05 p10 10.00, 01.05 call 4.00-4.00', 'the unused rest lapses');
SELECT billing.record_usage(:s, 'calls', 'b', 3, '2026-04-11') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-02', '2026-06-01'), '01.06 p10 10.00, 01.06 call 3.00-1.00, 01.06 call 0.00', 'late usage takes what was left of that cycle');

-- A period belongs to the cycle in which it begins.
SELECT pg_temp.subscribe('p10', 'year', 'lateyear') AS s \gset
SELECT billing.add_discount(:s >> 24, 15, type => 'fixed', subscription_id => :s, effective_at => '2026-04-01', cycles => 1),
       billing.add_discount(:s >> 24, 200, type => 'fixed', item_id => :s + 3, effective_at => '2026-04-01', cycles => 1) \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01', '2026-05-01'), '01.04 p10 10.00-10.00, 01.04 year 120.00-5.00, 01.05 p10 10.00', 'a year''s charge is discounted in its first cycle');
SELECT billing.change_item(:s + 1, price => 'p20', effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-01'), '01.06 p10 -10.00+10.00, 01.06 p20 20.00-15.00, 01.06 p20 20.00, 01.06 p20 20.00, 01.06 year 0.00+5.00, 01.06 CREDIT p10 10.00', 'a change of one charge corrects the others of its cycle');
SELECT pg_temp.sound();

-- One-time items, changes of the account's amounts inside a cycle, late joined items.
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT billing.add_discount(:s >> 24, 10, effective_at => '2026-04-01') \g /dev/null
SELECT pg_temp.bill(:s, '2026-04-01') \g /dev/null
SELECT billing.add_item(:s, 'p30', effective_at => '2026-04-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), '01.05 p10 10.00-1.00, 01.05 p30 15.00-1.50, 01.05 p30 30.00-3.00', 'an item added inside a cycle has the discount of that cycle');
SELECT billing.cancel_subscription(:s, effective_at => '2026-05-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-01'), '01.06 CREDIT p10 5.16-0.52, 01.06 CREDIT p30 15.48-1.55', 'a credit is what was charged less what is kept, part by part');
SELECT is((SELECT sum(CASE h.kind WHEN 'credit_note' THEN -l.amount ELSE l.amount END) FROM billing.invoice_line l JOIN billing.invoice_header h ON h.id = l.invoice_id
            WHERE h.account_id = :s >> 24 AND l.period_no = 1), (4.84 - 0.48) + (14.52 - 1.45), 'which adds up');
SELECT pg_temp.sound();

-- Bad input changes nothing.
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT pg_temp.subscribe('p10') AS t \gset
SELECT :s >> 24 AS a \gset
SELECT billing.add_discount(:a, 10, subscription_id => :s, effective_at => '2026-04-01') AS d \gset
SELECT billing.cancel_subscription(:t, effective_at => '2026-05-01') \g /dev/null
CREATE TEMP TABLE before AS SELECT (SELECT count(*) FROM billing.discount) AS discounts, (SELECT sum(next_ordinal) FROM billing.account_state) AS ids;
SELECT throws_ok(format(call, :a, :s, :t, :d), code, NULL, call) FROM (VALUES
    ('SELECT billing.add_discount(99999, 10)', 'LB108'),
    ('SELECT billing.add_discount(%1$s, 10, subscription_id => %3$s)', 'LB109'),
    ('SELECT billing.add_discount(%1$s, 10, subscription_id => 17)', 'LB109'),
    ('SELECT billing.add_discount(%1$s, 10, item_id => %3$s + 1)', 'LB114'),
    ('SELECT billing.add_discount(%1$s, 10, item_id => %2$s)', 'LB114'),
    ('SELECT billing.add_discount(%1$s, NULL)', '22004'),
    ('SELECT billing.add_discount(%1$s, -1)', 'LB208'),
    ('SELECT billing.add_discount(%1$s, ''NaN'')', 'LB208'),
    ('SELECT billing.add_discount(%1$s, ''Infinity'')', 'LB208'),
    ('SELECT billing.add_discount(%1$s, 101)', 'LB208'),
    ('SELECT billing.add_discount(%1$s, 10, type => ''free'')', 'LB208'),
    ('SELECT billing.add_discount(%1$s, 10, kind => ''gift'')', 'LB208'),
    ('SELECT billing.add_discount(%1$s, 1.005, type => ''fixed'')', 'LB208'),
    ('SELECT billing.add_discount(%1$s, 1, type => ''fixed'', kind => ''increment'')', 'LB208'),
    ('SELECT billing.add_discount(%1$s, 10, cycles => 0)', 'LB208'),
    ('SELECT billing.add_discount(%1$s, 10, until => ''2026-04-01'', effective_at => ''2026-04-01'')', 'LB208'),
    ('SELECT billing.add_discount(%1$s, 10, until => ''infinity'')', '22008'),
    ('SELECT billing.add_discount(%1$s, 10, effective_at => ''infinity'')', '22008'),
    ('SELECT billing.add_discount(%1$s, 10, metadata => ''[]'')', 'LB208'),
    ('SELECT billing.add_discount(%3$s >> 24, 10, cycles => 2, effective_at => ''2026-06-01'')', 'LB208'),
    ('SELECT billing.end_discount(%1$s)', 'LB117'),
    ('SELECT billing.end_discount(%4$s + 5)', 'LB117')) c (call, code);
SELECT billing.end_discount(:d, effective_at => '2026-05-01') \g /dev/null
SELECT throws_ok(format('SELECT billing.end_discount(%s, effective_at => ''2026-06-01'')', :d), 'LB306', NULL, 'a discount ends once');
SELECT is((SELECT count(*) FROM billing.discount), (SELECT discounts FROM before), 'nothing was entered');

-- Why: of the whole account and of a subscription alike.
SELECT billing.add_discount(:a, 10, effective_at => '2026-07-01', reason => 'loyal') AS d, billing.add_discount(:s >> 24, 10, subscription_id => :s, effective_at => '2026-07-01', reason => 'late') AS e \gset
SELECT billing.end_discount(:d, effective_at => '2026-08-01', reason => 'left'), billing.end_discount(:e, effective_at => '2026-08-01', reason => 'in time') \g /dev/null
SELECT is((SELECT string_agg(format('%s, %s', reason, end_reason), '; ' ORDER BY id = :e) FROM billing.discount WHERE id IN (:d, :e)), 'loyal, left; late, in time', 'the reasons are kept');
SELECT is((SELECT string_agg(payload->>'reason', ', ' ORDER BY event_no) FROM billing.event WHERE account_id = :a AND type = 'account.changed' AND payload->>'discount_id' = :'d'), 'loyal, left', 'and told');

-- Each key once, whatever the idempotency key is used for again.
SELECT billing.add_discount(:a, 10, effective_at => '2026-07-01', idempotency_key => 'k') AS d \gset
SELECT is(billing.add_discount(:a, 10, effective_at => '2026-07-01', idempotency_key => 'k'), :d::bigint, 'the same key: the same discount');
SELECT throws_ok(format('SELECT billing.add_discount(%s, 11, effective_at => ''2026-07-01'', idempotency_key => ''k'')', :a), 'LB301', NULL, 'for another one: an error');
SELECT pg_temp.sound();
SELECT * FROM finish();
ROLLBACK;
