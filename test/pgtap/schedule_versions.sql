-- The calendar of a subscription changes: billing day and interval (doc/rules.md 3 and 4).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'Europe/Berlin';
SET LOCAL billing.max_future = '100000d';
SELECT plan(25);
\ir include/timeline.psql

SELECT pg_temp.flat('advance', 30), pg_temp.flat('arrears', 30, timing => 'arrears'), pg_temp.flat('year', 365, '1 year'), pg_temp.flat('second', 30, charge => 'second', credit => 'second'),
       pg_temp.flat('30/360', 30, charge => '30/360', credit => '30/360'), pg_temp.flat('none', 30, charge => 'none', credit => 'none'),
       pg_temp.flat('full day', 30, charge => 'full'), pg_temp.flat('full none', 30, charge => 'full', credit => 'none'), pg_temp.flat('week', 7, '7 days');
SELECT billing.create_plan('both', items => '[{"price":"advance"},{"price":"arrears"}]');
SELECT billing.create_meter('m');
SELECT pg_temp.price('use', '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1},{"up_to":null,"unit_amount":0.5}]}', meter => 'm');

-- --- Stubs: always prorated, by the full period of their own version ----------------------------------

SELECT pg_temp.subscribe('move', 'both', '2025-01-01'), pg_temp.billed('move', '2025-01-01'), pg_temp.move('move', '2025-02-01', 15);
SELECT is(pg_temp.billed('move', '2025-02-01'), '01.02 advance 13.55 01.02-15.02, arrears 30.00 01.01-01.02', 'billing day 1 to 15 at period end: 14 of the 31 days from 15 January, due at once');
SELECT is(pg_temp.billed('move', '2025-02-15'), '15.02 advance 30.00 15.02-15.03, arrears 13.55 01.02-15.02', 'in arrears at the stub''s end');
SELECT is(array_agg(row(schedule_version, period_no)::text ORDER BY period_start, item_id), '{"(1,0)","(1,0)","(2,0)","(2,0)","(2,1)"}', 'the keys count by version')
  FROM billing.charge WHERE account_id = pg_temp.account('move');
SELECT pg_temp.subscribe('inside', 'both', '2025-01-01'), pg_temp.move('inside', '2025-01-20', 20);
SELECT is(pg_temp.billed('inside', '2025-01-01', '2025-01-20'), '01.01 advance 18.39 01.01-20.01; 20.01 advance 30.00 20.01-20.02, arrears 18.39 01.01-20.01',
          'inside a period: the old version''s stub is 19 of 31 days');
SELECT pg_temp.subscribe('billed', 'both', '2025-01-01'), pg_temp.billed('billed', '2025-01-01'), pg_temp.move('billed', '2025-01-20', 20);
SELECT is(pg_temp.billed('billed', '2025-01-19'), NULL, 'billed before: nothing changes yet');
SELECT is(pg_temp.billed('billed', '2025-01-20'), '20.01 advance 30.00 20.01-20.02, arrears 18.39 01.01-20.01; 20.01 CREDIT advance 11.61 20.01-01.02', 'the rest comes back with the new charge');
SELECT pg_temp.subscribe('stub ' || p, p, '2025-01-01'), pg_temp.move('stub ' || p, '2025-02-01 00:00', 15) FROM unnest(ARRAY['second', '30/360', 'none', 'full none']) p;
SELECT is(pg_temp.billed('stub second', '2025-02-01'), '01.01 second 30.00 01.01-01.02; 01.02 second 13.55 01.02-15.02', 'by the price''s basis: second');
SELECT is(pg_temp.billed('stub 30/360', '2025-02-01'), '01.01 30/360 30.00 01.01-01.02; 01.02 30/360 14.00 01.02-15.02', '30/360: 14 of 30 days');
SELECT is(pg_temp.billed('stub none', '2025-02-01'), '01.01 none 30.00 01.01-01.02; 01.02 none 13.55 01.02-15.02', 'none has no say: by day');
SELECT is(pg_temp.billed('stub full none', '2025-02-01'), '01.01 full none 30.00 01.01-01.02; 01.02 full none 13.55 01.02-15.02', 'nor has full');
SELECT pg_temp.subscribe('interval', 'year', '2025-01-01'), pg_temp.billed('interval', '2025-01-01'), pg_temp.move('interval', '2025-04-01', NULL);
SELECT is(pg_temp.billed('interval', '2025-04-01'), '01.04 year 365.00 01.04-01.04; 01.04 CREDIT year 275.00 01.04-01.01', 'anchored anew: a year from then on, 275 of 365 days come back');
SELECT pg_temp.subscribe('use', 'use', '2025-01-01'), pg_temp.use('use', 'm', 8, '2025-01-05'), pg_temp.use('use', 'm', 100, '2025-02-14'), pg_temp.use('use', 'm', 4, '2025-02-15'),
       pg_temp.move('use', '2025-02-01', 15);
SELECT is(pg_temp.billed('use', '2025-03-15'), '01.02 use 8.00 01.01-01.02; 15.02 use 55.00 01.02-15.02; 15.03 use 4.00 15.02-15.03', 'usage: each stub is rated by itself');
SELECT pg_temp.subscribe('weeks', 'week', '2025-01-01'), pg_temp.move('weeks', '2025-01-10', NULL), pg_temp.move('weeks', '2025-01-12', NULL);
SELECT is(pg_temp.billed('weeks', '2025-01-12'), '01.01 week 7.00 01.01-08.01; 08.01 week 2.00 08.01-10.01; 10.01 week 2.00 10.01-12.01; 12.01 week 7.00 12.01-19.01', 'two moves in a row');
SELECT pg_temp.subscribe('same', 'advance', '2025-01-01'), pg_temp.move('same', '2025-02-01', 15), pg_temp.move('same', '2025-02-01', 20);
SELECT is(pg_temp.billed('same', '2025-02-20'), '01.01 advance 30.00 01.01-01.02; 01.02 advance 18.39 01.02-20.02; 20.02 advance 30.00 20.02-20.03', 'of two at one instant the later entered holds');

-- --- Changes inside a stub ------------------------------------------------------------------------------

SELECT pg_temp.subscribe('sides', 'advance', '2025-01-01'), pg_temp.move('sides', '2025-02-01', 15),
       pg_temp.add('sides', 'full day', '2025-02-05'), pg_temp.add('sides', 'full day', '2025-02-05', '{"end_at":"2025-02-10"}'),
       pg_temp.add('sides', 'full none', '2025-02-05', '{"end_at":"2025-02-10"}'), pg_temp.add('sides', 'none', '2025-02-05'), pg_temp.add('sides', 'none', '2025-01-01', '{"end_at":"2025-02-10"}');
SELECT pg_temp.billed('sides', '2025-02-15');
SELECT is(string_agg(format('%s %s %s-%s', price, amount, to_char(period_start, 'DD.MM'), to_char(period_end, 'DD.MM')), ', ' ORDER BY item_id, period_start),
          'full day 30.00 01.02-15.02, full day 30.00 15.02-15.03, full day 19.29 01.02-10.02, full none 30.00 01.02-15.02, none 30.00 15.02-15.03, none 30.00 01.01-01.02, none 13.55 01.02-15.02',
          'full: the whole level of the stub, cut afterwards 9 of its 14 days; none: ignored until the stub ends')
  FROM billing.invoice_line l WHERE l.account_id = pg_temp.account('sides') AND price <> 'advance';

-- --- Ranges pass to another version, and back -------------------------------------------------------------

SELECT pg_temp.subscribe('back', 'both', '2025-01-01'), pg_temp.billed('back', '2025-02-01'), pg_temp.move('back', '2025-02-01', 15);
SELECT is(pg_temp.billed('back', '2025-02-10'), '01.02 advance 13.55 01.02-15.02; 01.02 CREDIT advance 30.00 01.02-01.03', 'backdated: charged anew and given back in one run');
SELECT is(array_agg(row(revision, schedule_version, period_no, amount)::text ORDER BY revision), '{"(0,1,1,30.00)","(1,1,1,0.00)","(2,2,0,13.55)"}',
          'first revised to nothing under the old key, then charged under the new') FROM billing.charge
 WHERE account_id = pg_temp.account('back') AND item_id = pg_temp.item('back') AND period_start = '2025-02-01';
SELECT is(pg_temp.billed('back', '2025-02-15'), '15.02 advance 30.00 15.02-15.03, arrears 13.55 01.02-15.02', 'then on');
DELETE FROM billing.schedule_version WHERE account_id = pg_temp.account('back') AND version = 2;
SELECT pg_temp.changed('back', '2025-02-01');
SELECT is(pg_temp.billed('back', '2025-02-16'), '01.02 advance 30.00 01.02-01.03; 01.02 CREDIT advance 13.55 01.02-15.02, advance 30.00 15.02-15.03', 'withdrawn: what the old version''s charge covers comes back with it');
SELECT is(pg_temp.billed('back', '2025-03-01'), '01.03 advance 30.00 01.03-01.04, arrears 30.00 01.02-01.03; 01.03 CREDIT arrears 13.55 01.02-15.02', 'the rest with the next invoice');
SELECT is(pg_temp.billed('back', '2025-03-01'), NULL, 'once');
SELECT pg_temp.subscribe('void', 'advance', '2025-01-01'), pg_temp.billed('void', '2025-02-01'), pg_temp.move('void', '2025-02-01', 15), pg_temp.billed('void', '2025-02-10');
SELECT billing.void_invoice(id, true, effective_at => '2025-02-10') FROM billing.invoice WHERE account_id = pg_temp.account('void') AND billed_at = '2025-02-01' AND kind = 'invoice' AND total < 20;
SELECT is(pg_temp.billed('void', '2025-02-11'), '01.02 advance 13.55 01.02-15.02', 'voided and billed again under the new key');
SELECT pg_temp.subscribe('granted', 'advance', '2025-01-01'), pg_temp.billed('granted', '2025-02-01');
SELECT billing.void_invoice(id, false, effective_at => '2025-02-02') FROM billing.invoice WHERE account_id = pg_temp.account('granted') AND billed_at = '2025-02-01';
SELECT pg_temp.move('granted', '2025-02-01', 15);
SELECT isnt(pg_temp.billed('granted', '2025-02-10'), NULL, 'also where the old charge was granted for ever');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'all of it is sound');
SELECT is_empty('SELECT * FROM billing.verify_chain()', 'and proven');

SELECT * FROM finish();
ROLLBACK;
