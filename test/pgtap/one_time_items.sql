-- What is charged once: one-off items, set-up fees, events; and in instalments (doc/rules.md 4).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'Europe/Berlin';
SET LOCAL billing.max_future = '100000d';
SELECT plan(30);
\ir include/timeline.psql

SELECT pg_temp.flat('advance', 30), pg_temp.flat('arrears', 30, timing => 'arrears'), pg_temp.flat('year', 365, '1 year'), pg_temp.flat('year arrears', 365, '1 year', 'arrears'),
       pg_temp.flat('once', 99), pg_temp.flat('small', 5);
SELECT billing.create_plan('both', items => '[{"price":"advance"},{"price":"arrears"}]');

-- --- One-off items -----------------------------------------------------------------------------------

SELECT pg_temp.subscribe('one', 'both', '2025-01-01'), pg_temp.billed('one', '2025-01-01');
SELECT pg_temp.add('one', 'once', '2025-01-10 15:00', '{"kind":"one_off","description":"Installation"}', 2);
SELECT is(pg_temp.billed('one', '2025-01-31'), NULL, 'a one-off item waits for the next regular invoice');
SELECT is(pg_temp.billed('one', '2025-02-01'), '01.02 advance 30.00 01.02-01.03, arrears 30.00 01.01-01.02, once 99.00 10.01-11.01', 'and stands on it, for the day of its instant');
SELECT is(row(kind, description, quantity, schedule_version, period_no)::text, '(one_off,Installation,2,1,0)', 'with its own text') FROM billing.invoice_line
 WHERE account_id = pg_temp.account('one') AND price = 'once';
SELECT pg_temp.interrupt('one', '2025-01-05', '2025-01-20');
SELECT is(pg_temp.billed('one', '2025-03-01') ~ 'once', false, 'a pause does not touch it');
UPDATE billing.subscription_item SET start_at = '2025-01-12' WHERE id = pg_temp.item('one', 3);
SELECT pg_temp.changed('one', '2025-01-10');
SELECT is(pg_temp.billed('one', '2025-04-01') ~ 'once', false, 'nor does another day: it is charged once');
UPDATE billing.subscription_item SET end_at = start_at WHERE id = pg_temp.item('one', 3);
SELECT pg_temp.changed('one', '2025-01-12');
SELECT matches(pg_temp.billed('one', '2025-05-01'), 'CREDIT once 99.00 10.01-11.01', 'taken back it is given back');
SELECT is(pg_temp.billed('one', '2025-05-01'), NULL, 'once');
SELECT pg_temp.subscribe('own', 'both', '2025-01-01'), pg_temp.add('own', 'once', '2025-01-01', '{"kind":"one_off","own_invoice":true}'),
       pg_temp.add('own', 'small', '2025-01-10 15:00', '{"kind":"one_off","own_invoice":true}');
SELECT is(pg_temp.billed('own', '2025-01-01'), '01.01 advance 30.00 01.01-01.02; 01.01 once 99.00 01.01-02.01', 'on an invoice of its own, at its instant');
SELECT is(pg_temp.billed('own', '2025-01-10 14:59'), NULL, 'not before');
SELECT is(pg_temp.billed('own', '2025-01-10 15:00'), '10.01 small 5.00 10.01-11.01', 'also between regular ones');
SELECT pg_temp.subscribe('alone', 'year', '2025-01-01'), pg_temp.billed('alone', '2025-01-01'), pg_temp.add('alone', 'once', '2025-03-10', '{"kind":"one_off"}');
SELECT is(pg_temp.billed('alone', '2025-03-10'), '10.03 once 99.00 10.03-11.03', 'at once where no regular invoice follows within a month');
SELECT pg_temp.subscribe('demand', 'advance', '2025-01-01'), pg_temp.billed('demand', '2025-01-01'), pg_temp.add('demand', 'once', '2025-01-10', '{"kind":"one_off"}'),
       pg_temp.add('demand', 'small', '2025-01-20', '{"kind":"one_off"}');
SELECT billing.invoice_account(pg_temp.account('demand'), '2025-01-15');
SELECT is(array_agg(price), '{once}', 'on demand it does not wait') FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id
 WHERE h.account_id = pg_temp.account('demand') AND h.billed_at = '2025-01-15';
SELECT is(pg_temp.billed('demand', '2025-02-01'), '01.02 advance 30.00 01.02-01.03, small 5.00 20.01-21.01', 'and is not charged again');
SELECT billing.create_tax('cut', category => 'S', rate => 19, tax_point => 'split'), billing.create_tax_rate('cut', category => 'S', rate => 21, valid_from => '2025-01-10');
SELECT billing.create_price('cut', currency => 'EUR', every => '1 month', tax => 'cut', scheme => '{"model":"flat","flat_amount":7}');
SELECT pg_temp.subscribe('cut', 'advance', '2025-01-01'), pg_temp.add('cut', 'cut', '2025-01-09 23:30', '{"kind":"one_off"}');
SELECT is(pg_temp.billed('cut', '2025-02-01'), '01.01 advance 30.00 01.01-01.02; 01.02 advance 30.00 01.02-01.03, cut 7.00 09.01-10.01', 'a change of tax does not cut it');

-- --- Set-up fees and events ----------------------------------------------------------------------------

SELECT pg_temp.subscribe('setup', 'year arrears', '2025-01-01'), pg_temp.add('setup', 'small', '2025-01-01', '{"kind":"setup","own_invoice":true}'),
       pg_temp.add('setup', 'once', '2025-01-01', '{"kind":"setup"}');
SELECT is(pg_temp.billed('setup', '2025-01-01'), '01.01 small 5.00 01.01-02.01', 'a set-up fee: at once, also where all else is in arrears');
SELECT is(next_due, '2026-01-01', 'or with the first regular invoice, whenever that is') FROM billing.account_state WHERE account_id = pg_temp.account('setup');
SELECT is(pg_temp.billed('setup', '2026-01-01'), '01.01 year arrears 365.00 01.01-01.01, once 99.00 01.01-02.01', 'as a line of it');
SELECT is(pg_temp.billed('setup', '2027-01-01'), '01.01 year arrears 365.00 01.01-01.01', 'once');
SELECT pg_temp.subscribe('trial', 'advance', '2025-01-10');
UPDATE billing.subscription SET trial_end_at = '2025-03-20', trial_end_action = 'activate' WHERE account_id = pg_temp.account('trial');
UPDATE billing.schedule_version SET anchor = '2025-03-20' WHERE account_id = pg_temp.account('trial');
SELECT pg_temp.add('trial', 'small', '2025-01-10', '{"kind":"event","event":"trial_start"}');
SELECT is(pg_temp.billed('trial', '2025-03-19', '2025-03-20'), '20.03 advance 30.00 20.03-20.04, small 5.00 10.01-11.01', 'an event before the first paid instant waits for it');
SELECT pg_temp.subscribe('gone', 'both', '2025-01-01'), pg_temp.billed('gone', '2025-01-01'), pg_temp.interrupt('gone', '2025-02-01', kind => 'cancel'),
       pg_temp.add('gone', 'small', '2025-02-01', '{"kind":"event","event":"contract_termination"}');
SELECT is(pg_temp.billed('gone', '2025-02-01'), '01.02 arrears 30.00 01.01-01.02, small 5.00 01.02-02.02', 'the end is an event too');
SELECT pg_temp.subscribe('none left', 'advance', '2025-01-01'), pg_temp.interrupt('none left', '2025-02-01', kind => 'cancel'), pg_temp.billed('none left', '2025-03-01'),
       pg_temp.add('none left', 'small', '2025-03-05', '{"kind":"event","event":"contract_termination"}');
SELECT is(pg_temp.billed('none left', '2025-03-05'), '05.03 small 5.00 05.03-06.03', 'at once where no regular invoice is left');
SELECT pg_temp.resume('none left', '2025-04-01');
SELECT is(pg_temp.billed('none left', '2025-04-01'), '01.04 advance 30.00 01.04-01.05', 'a restart does not charge it again');

-- --- Instalments ---------------------------------------------------------------------------------------

SELECT pg_temp.subscribe('rates', 'advance', '2025-01-01'), pg_temp.billed('rates', '2025-01-01');
SELECT pg_temp.add('rates', 'once', '2025-01-10', '{"kind":"instalment","instalments":3}') AS item \gset
INSERT INTO billing.instalment SELECT pg_temp.account('rates'), :item, n, 1, n, m + n * interval '1 month', m + (n + 1) * interval '1 month', m + n * interval '1 month', 'EUR', 33
  FROM generate_series(1, 3) n, (VALUES ('2025-01-01'::timestamptz)) x (m);
SELECT is(pg_temp.billed('rates', '2025-02-01'), '01.02 advance 30.00 01.02-01.03, once 33.00 01.02-01.03', 'an instalment is charged with its cycle''s regular invoice');
SELECT is(row(kind, quantity, unit_amount, gross_amount, period_no)::text, '(instalment,1,33.00,33.00,1)', 'as one of its amount') FROM billing.invoice_line WHERE account_id = pg_temp.account('rates') AND item_id = :item;
SELECT pg_temp.billed('rates', '2025-03-01');
UPDATE billing.instalment SET active = false WHERE account_id = pg_temp.account('rates') AND ordinal >= 2;
SELECT pg_temp.changed('rates', '2025-03-01');
SELECT is(pg_temp.billed('rates', '2025-04-01'), '01.04 advance 30.00 01.04-01.05; 01.04 CREDIT once 33.00 01.03-01.04', 'taken back: one is given back, the other not charged');
UPDATE billing.instalment SET active = true, amount = 40, period_start = '2025-05-01', period_end = '2025-06-01', due_at = '2025-05-01' WHERE account_id = pg_temp.account('rates') AND ordinal = 2;
SELECT pg_temp.changed('rates', '2025-05-01');
SELECT is(pg_temp.billed('rates', '2025-05-01'), '01.05 advance 30.00 01.05-01.06, once 40.00 01.05-01.06', 'another cycle takes it');
UPDATE billing.instalment SET amount = 35 WHERE account_id = pg_temp.account('rates') AND ordinal IN (1, 2);
SELECT pg_temp.changed('rates', '2025-02-01');
SELECT is(pg_temp.billed('rates', '2025-06-01'), '01.06 advance 30.00 01.06-01.07, once 2.00 01.02-01.03; 01.06 CREDIT once 5.00 01.05-01.06', 'another amount is a correction');
SELECT is(array_agg(row(ordinal, live)::text ORDER BY ordinal), '{"(1,35.00)","(2,35.00)"}', 'the ordinal is the key') FROM (
    SELECT DISTINCT ON (ordinal, period_start) ordinal, amount AS live, period_end > period_start AS holds FROM billing.charge
     WHERE account_id = pg_temp.account('rates') AND kind = 'instalment' ORDER BY ordinal, period_start, revision DESC) x WHERE holds;

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'all of it is sound');
SELECT is_empty('SELECT * FROM billing.verify_chain()', 'and proven');

SELECT * FROM finish();
ROLLBACK;
