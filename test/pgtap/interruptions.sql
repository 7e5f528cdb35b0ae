-- Pauses and cancellations, skipped cycles, trials, joined first periods, billing dates (doc/rules.md 3 and 4).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'Europe/Berlin';
SET LOCAL billing.max_future = '100000d';
SELECT plan(41);
\ir include/timeline.psql

SELECT pg_temp.flat('advance', 30), pg_temp.flat('arrears', 30, timing => 'arrears'), pg_temp.flat('none', 30, credit => 'none'),
       pg_temp.flat('year', 365, '1 year'), pg_temp.flat('year arrears', 365, '1 year', 'arrears'), pg_temp.flat('week', 7, '7 days', 'arrears'),
       pg_temp.flat('small', 5), pg_temp.flat('free', 30, charge => 'none');
SELECT billing.create_plan('both', items => '[{"price":"advance"},{"price":"arrears"}]');
SELECT billing.create_plan('year and month', items => '[{"price":"year"},{"price":"advance"}]');
SELECT billing.create_meter('m');
SELECT pg_temp.price('use', '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1},{"up_to":null,"unit_amount":0.5}]}', meter => 'm');

-- --- Interruptions: a fall where they begin, a rise where they end ---------------------------------

SELECT pg_temp.subscribe('planned', 'both', '2025-04-01'), pg_temp.interrupt('planned', '2025-04-11', '2025-04-21');
SELECT is(pg_temp.billed('planned', '2025-04-01', '2025-05-01'), '01.04 advance 10.00 01.04-11.04; 01.05 advance 10.00 21.04-01.05, advance 30.00 01.05-01.06, '
          'arrears 10.00 01.04-11.04, arrears 10.00 21.04-01.05', 'a pause inside a period, known before: 10 of 30 days, and 10 with the next invoice');
SELECT pg_temp.subscribe('late', 'advance', '2025-04-01'), pg_temp.billed('late', '2025-04-01'), pg_temp.interrupt('late', '2025-04-11', '2025-04-21');
SELECT is(pg_temp.billed('late', '2025-04-11'), NULL, 'entered later: it waits for the next invoice');
SELECT is(pg_temp.billed('late', '2025-05-01'), '01.05 advance 30.00 01.05-01.06; 01.05 CREDIT advance 10.00 11.04-21.04', 'which gives back what lies between');
SELECT pg_temp.subscribe('open', 'both', '2025-04-01'), pg_temp.billed('open', '2025-04-01'), pg_temp.interrupt('open', '2025-04-11');
SELECT is(pg_temp.billed('open', '2025-04-11'), '11.04 arrears 10.00 01.04-11.04; 11.04 CREDIT advance 20.00 11.04-01.05',
          'an open pause: no regular invoice follows, so at once');
SELECT is(pg_temp.billed('open', '2025-06-11'), NULL, 'nothing is charged meanwhile');
SELECT is(next_due, NULL, 'the account is not even due') FROM billing.account_state WHERE account_id = pg_temp.account('open');
SELECT pg_temp.resume('open', '2025-06-11');
SELECT is(pg_temp.billed('open', '2025-06-11'), NULL, 'a resume waits for the next regular invoice');
SELECT is(pg_temp.billed('open', '2025-07-01'), '01.07 advance 20.00 11.06-01.07, advance 30.00 01.07-01.08, arrears 20.00 11.06-01.07', 'on the anchor of before');
SELECT pg_temp.subscribe('none', 'none', '2025-04-01'), pg_temp.billed('none', '2025-04-01'), pg_temp.interrupt('none', '2025-04-11', '2025-04-21');
SELECT is(pg_temp.billed('none', '2025-04-11', '2025-05-01'), '01.05 none 30.00 01.05-01.06', 'credit none: pause and resume inside a period cost nothing and give nothing');
SELECT pg_temp.subscribe('none over', 'none', '2025-04-01'), pg_temp.interrupt('none over', '2025-04-11', '2025-05-21');
SELECT is(pg_temp.billed('none over', '2025-04-01', '2025-06-01'), '01.04 none 30.00 01.04-01.05; 01.06 none 10.65 21.05-01.06, none 30.00 01.06-01.07',
          'credit none over a period''s end: the period of its beginning is whole');
SELECT pg_temp.subscribe('year', 'year and month', '2025-01-15'), pg_temp.interrupt('year', '2025-03-15', '2025-05-14');
SELECT is(pg_temp.billed('year', '2025-06-14'), '15.01 year 59.00 15.01-15.03, advance 30.00 15.01-15.02; 15.02 advance 30.00 15.02-15.03; '
          '15.05 year 246.00 14.05-15.01, advance 1.00 14.05-15.05, advance 30.00 15.05-15.06', 'a year keeps its anniversary over a pause: 59 and 246 of 365 days');
SELECT ok(pg_temp.billed('year', '2026-01-15') ~ '15.01 year 365.00 15.01-15.01', 'and the next year begins with it');
SELECT pg_temp.subscribe('week', 'week', '2025-01-01'), pg_temp.interrupt('week', '2025-01-10', '2025-01-28');
SELECT is(pg_temp.billed('week', '2025-01-27'), '08.01 week 7.00 01.01-08.01', 'arrears that a pause ended wait several periods for a regular invoice ...');
SELECT is(pg_temp.billed('week', '2025-01-29'), '29.01 week 2.00 08.01-10.01, week 1.00 28.01-29.01', '... and are found then');
SELECT pg_temp.subscribe('taken back', 'advance', '2025-04-01'), pg_temp.billed('taken back', '2025-04-01'), pg_temp.interrupt('taken back', '2025-04-11', '2025-04-11');
SELECT is(pg_temp.billed('taken back', '2025-05-01'), '01.05 advance 30.00 01.05-01.06', 'an interruption without length is none');
SELECT pg_temp.subscribe('overlap', 'advance', '2025-04-01'), pg_temp.interrupt('overlap', '2025-04-11', '2025-04-21'), pg_temp.interrupt('overlap', '2025-04-16', '2025-04-26');
SELECT is(pg_temp.billed('overlap', '2025-04-01', '2025-05-01'), '01.04 advance 10.00 01.04-11.04; 01.05 advance 5.00 26.04-01.05, advance 30.00 01.05-01.06',
          'interruptions that overlap are one');
SELECT pg_temp.subscribe('meanwhile', 'advance', '2025-04-01'), pg_temp.interrupt('meanwhile', '2025-04-11', '2025-04-21');
SELECT billing.change_item(pg_temp.item('meanwhile'), price => 'small', effective_at => '2025-04-05'), pg_temp.changed('meanwhile', '2025-04-05');
SELECT is(pg_temp.billed('meanwhile', '2025-04-01', '2025-05-01'), '01.04 advance 4.00 01.04-05.04; 01.05 small 1.00 05.04-11.04, small 1.67 21.04-01.05, small 5.00 01.05-01.06',
          'a change of price before it holds after it');
SELECT pg_temp.subscribe('never', 'both', '2025-04-01'), pg_temp.interrupt('never', '2025-04-01', kind => 'cancel');
SELECT is(pg_temp.billed('never', '2026-04-01'), NULL, 'cancelled as it begins: nothing');
SELECT pg_temp.subscribe('restart', 'both', '2025-04-01'), pg_temp.interrupt('restart', '2025-04-16', kind => 'cancel'), pg_temp.billed('restart', '2025-05-01'),
       pg_temp.resume('restart', '2025-05-16');
SELECT is(pg_temp.billed('restart', '2025-06-01'), '01.06 advance 15.48 16.05-01.06, advance 30.00 01.06-01.07, arrears 15.48 16.05-01.06',
          'cancelled and restarted: neither charged nor given back twice');

-- --- Usage ---------------------------------------------------------------------------------------

SELECT pg_temp.subscribe('use', 'use', '2025-01-01'), pg_temp.use('use', 'm', 8, '2025-01-05'), pg_temp.use('use', 'm', 100, '2025-01-15'),
       pg_temp.use('use', 'm', 4, '2025-01-25'), pg_temp.interrupt('use', '2025-01-10', '2025-01-20');
SELECT is(pg_temp.billed('use', '2025-02-01'), '01.02 use 11.00 01.01-01.02', 'usage: one piece over the gap, rated on 8 + 4, not on what lies in the gap');
SELECT is(array_agg(quantity), '{12}', 'and one row') FROM billing.charge WHERE account_id = pg_temp.account('use');
UPDATE billing.interruption SET to_at = from_at WHERE account_id = pg_temp.account('use');
SELECT pg_temp.changed('use', '2025-01-10');
SELECT is(pg_temp.billed('use', '2025-03-01'), '01.03 use 50.00 01.01-01.02, use 0.00 01.02-01.03', 'without the gap 112: 61.00 - 11.00');

-- --- Skipped cycles --------------------------------------------------------------------------------

SELECT pg_temp.subscribe('skip', 'both', '2025-01-15'), pg_temp.skip('skip', 1);
SELECT is(pg_temp.billed('skip', '2025-04-15'), '15.01 advance 30.00 15.01-15.02; 15.02 arrears 30.00 15.01-15.02; 15.03 advance 30.00 15.03-15.04; '
          '15.04 advance 30.00 15.04-15.05, arrears 30.00 15.03-15.04', 'a skipped cycle charges neither in advance nor in arrears');
SELECT pg_temp.skip('skip', 3);
SELECT is(pg_temp.billed('skip', '2025-04-16'), NULL, 'one that is charged already is given back ...');
SELECT is(pg_temp.billed('skip', '2025-05-15'), '15.05 advance 30.00 15.05-15.06; 15.05 CREDIT advance 30.00 15.04-15.05', '... with the next regular invoice');
SELECT pg_temp.skip('skip', 3, skipped => false);
SELECT is(pg_temp.billed('skip', '2025-05-16'), '15.04 advance 30.00 15.04-15.05; 15.05 arrears 30.00 15.04-15.05', 'no longer skipped: both are charged, for their instants');
SELECT pg_temp.subscribe('skip long', 'year and month', '2025-01-15'), pg_temp.skip('skip long', 0), pg_temp.skip('skip long', 1);
SELECT is(pg_temp.billed('skip long', '2025-03-15'), '15.03 advance 30.00 15.03-15.04', 'an item''s period is skipped with the cycle in which it starts: the year too');
SELECT pg_temp.subscribe('skip many', 'advance', '2025-01-01');
SELECT pg_temp.skip('skip many', n) FROM generate_series(0, 23) n;
SELECT pg_temp.billed('skip many', '2025-01-01');
SELECT is(next_due, '2027-01-01', 'after many skipped cycles the next that is charged is found') FROM billing.account_state WHERE account_id = pg_temp.account('skip many');

-- --- Trials, first payment ---------------------------------------------------------------------------

SELECT pg_temp.subscribe('trial', 'both', '2025-01-10');
UPDATE billing.subscription SET trial_end_at = '2025-01-20', trial_end_action = 'activate' WHERE account_id = pg_temp.account('trial');
UPDATE billing.schedule_version SET anchor = '2025-01-20' WHERE account_id = pg_temp.account('trial');
SELECT is(pg_temp.billed('trial', '2025-01-19', '2025-02-20'), '20.01 advance 30.00 20.01-20.02; 20.02 advance 30.00 20.02-20.03, arrears 30.00 20.01-20.02', 'a trial is free');
SELECT pg_temp.subscribe('pending', 'both', '2025-01-01');
UPDATE billing.subscription SET activation = 'pending' WHERE account_id = pg_temp.account('pending');
SELECT is(pg_temp.billed('pending', '2025-06-01'), NULL, 'what waits for its first payment charges nothing');
UPDATE billing.subscription SET activation = 'failed' WHERE account_id = pg_temp.account('pending');
SELECT is(pg_temp.billed('pending', '2025-06-01'), NULL, 'nor does what did not get it');

-- --- First periods that are joined to the next ---------------------------------------------------------

CREATE FUNCTION pg_temp.join_first(customer text, plan text, more jsonb) RETURNS void LANGUAGE sql AS $$
    SELECT pg_temp.subscribe($1, $2, '2025-01-20', $3 || '{"billing_day":1}');
    UPDATE billing.schedule_version SET first_period = 'join' WHERE account_id = pg_temp.account($1) $$;
SELECT pg_temp.join_first('join', 'both', '{}');
SELECT is(pg_temp.billed('join', '2025-01-20', '2025-01-31'), NULL, 'join: no invoice at the start');
SELECT is(pg_temp.billed('join', '2025-02-01'), '01.02 advance 11.61 20.01-01.02, advance 30.00 01.02-01.03', 'the stub stands on the next one');
SELECT is(pg_temp.billed('join', '2025-03-01'), '01.03 advance 30.00 01.03-01.04, arrears 11.61 20.01-01.02, arrears 30.00 01.02-01.03', 'in arrears on that of the next period');
SELECT pg_temp.join_first('join free', 'free', '{}');
SELECT is(pg_temp.billed('join free', '2025-02-01'), '01.02 free 11.61 20.01-01.02, free 30.00 01.02-01.03', 'join: prorated, also where the price ignores a rise');
SELECT pg_temp.join_first('join end', 'advance', '{"end_at":"2025-01-25"}');
SELECT is(pg_temp.billed('join end', '2025-01-24', '2025-02-01'), '25.01 advance 4.84 20.01-25.01', 'where no period follows, at its end');

-- --- Billing dates ---------------------------------------------------------------------------------

SELECT pg_temp.subscribe('dates', 'advance', '2025-01-01'), pg_temp.add('dates', 'small', '2025-01-01', '{"charge_from":"2025-02-15","charge_until":"2025-04-01"}'),
       pg_temp.add('dates', 'arrears', '2025-01-01', '{"charge_from":"2025-02-15","charge_until":"2025-04-01"}'),
       pg_temp.add('dates', 'year arrears', '2025-01-01', '{"charge_until":"2025-04-01"}');
SELECT pg_temp.billed('dates', '2026-06-01');
SELECT is(string_agg(format('%s %s %s', l.price, to_char(h.billed_at, 'DD.MM'), to_char(l.period_start, 'DD.MM')), ', ' ORDER BY h.id, l.line_no),
          'small 01.03 01.03, arrears 01.03 01.02, small 01.04 01.04, arrears 01.04 01.03', 'charged are the periods whose regular invoice is due within the dates, both included')
  FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id
 WHERE h.account_id = pg_temp.account('dates') AND l.price <> 'advance';
SELECT pg_temp.subscribe('dates over', 'small', '2025-01-01');
UPDATE billing.subscription_item SET charge_until = '2025-02-28' WHERE account_id = pg_temp.account('dates over');
SELECT pg_temp.billed('dates over', '2025-06-01');
SELECT is(next_due, NULL, 'behind the last date nothing is due') FROM billing.account_state WHERE account_id = pg_temp.account('dates over');
SELECT pg_temp.subscribe('dates ahead', 'small', '2025-01-01');
UPDATE billing.subscription_item SET charge_from = '2040-01-15' WHERE account_id = pg_temp.account('dates ahead');
SELECT pg_temp.billed('dates ahead', '2025-06-01');
SELECT is(next_due, '2040-02-01', 'the first date may lie far ahead') FROM billing.account_state WHERE account_id = pg_temp.account('dates ahead');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'all of it is sound');
SELECT is_empty('SELECT * FROM billing.verify_chain()', 'and proven');

SELECT * FROM finish();
ROLLBACK;
