-- How subscriptions begin, in money: trials, set-up fees, charges for events, a first period that is joined, the first payment.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('minutes') \g /dev/null
SELECT billing.create_price('line', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":30}'),
       billing.create_price('post', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":30}'),
       billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'minutes', scheme => '{"model":"per_unit","unit_amount":1}'),
       billing.create_price('setup', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":25}'),
       billing.create_price('card', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":5}'),
       billing.create_price('box', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":50}'),
       billing.create_price('move', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":8}'),
       billing.create_price('bye', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":15}') \g /dev/null
SELECT billing.create_plan('line', items => '[{"price":"line"}]'),
       billing.create_plan('post', items => '[{"price":"post"}]'),
       billing.create_plan('trial', items => '[{"price":"line"},{"price":"call"}]', trial_every => '14 days'),
       billing.create_plan('try', items => '[{"price":"line"}]', trial_every => '14 days', trial_end_action => 'cancel'),
       billing.create_plan('events', items => '[{"price":"line"},{"price":"card","event":"trial_start"},{"price":"box","event":"subscription_activation","charge_once":true},
                                               {"price":"move","event":"plan_activation"},{"price":"bye","event":"contract_termination"}]'),
       billing.create_plan('bigger', items => '[{"price":"line","quantity":2},{"price":"box","event":"subscription_activation","charge_once":true},
                                               {"price":"move","event":"plan_activation"},{"price":"bye","event":"contract_termination"}]') \g /dev/null

CREATE FUNCTION pg_temp.make(plan text, arguments jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
    SELECT x FROM billing.create_subscriptions(jsonb_build_array(
        jsonb_build_object('account_id', billing.create_account('x'), 'plan', plan, 'start_at', '2026-01-01') || arguments)) x $$;
-- Bills the account of a subscription; its documents: day, and lines of price and amount.
CREATE FUNCTION pg_temp.bill(subscription bigint, VARIADIC at timestamptz[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := '{}';
    t timestamptz;
BEGIN
    FOREACH t IN ARRAY at LOOP ids := ids || ARRAY(SELECT billing.bill_account(subscription >> 24, t)); END LOOP;
    RETURN (SELECT string_agg(x.document, '; ' ORDER BY x.id) FROM (
        SELECT h.id, to_char(h.billed_at, 'DD.MM ') || CASE h.kind WHEN 'credit_note' THEN 'C ' ELSE '' END || string_agg(l.price || ' ' || l.amount, ', ' ORDER BY l.line_no) AS document
          FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id WHERE h.id = ANY (ids) GROUP BY h.id, h.billed_at, h.kind) x);
END $$;

-- Trials: nothing that recurs is charged before their end, nor usage; from then on periods run.
SELECT pg_temp.make('trial') AS s \gset
SELECT billing.record_usage(:s, 'minutes', 'e1', 7, '2026-01-10'), billing.record_usage(:s, 'minutes', 'e2', 9, '2026-01-20') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-01-10', '2026-03-01'), '15.01 line 30.00; 15.02 line 30.00, call 9.00', 'from the end of the trial on, and use after it');
SELECT pg_temp.make('try') AS s \gset
SELECT is(pg_temp.bill(:s, '2027-01-01'), NULL, 'a trial that ends it costs nothing');
SELECT pg_temp.make('try') AS s \gset
SELECT billing.undo_cancellation(:s, effective_at => '2026-01-10') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-02-20'), '15.01 line 30.00; 15.02 line 30.00', 'unless the end is taken back in time');
SELECT pg_temp.make('try') AS s \gset
SELECT billing.cancel_subscription(pg_temp.make('trial'), effective_at => '2026-01-14') AS c \gset
SELECT is(pg_temp.bill(:c, '2027-01-01'), NULL, 'nor does one that is canceled in its trial');
SELECT is(pg_temp.bill(pg_temp.make('trial', '{"billing_day":1}'), '2026-02-10'), '15.01 line 16.45; 01.02 line 30.00, call 0.00', 'with a billing day a stub follows the trial: 17 of 31 days');

-- A first period that is joined: its days with the next one's.
SELECT is(pg_temp.bill(pg_temp.make('line', '{"billing_day":15,"first_period":"join"}'), '2026-02-20'), '15.01 line 13.55, line 30.00; 15.02 line 30.00', 'joined: 14 of 31 days');
SELECT is(pg_temp.bill(pg_temp.make('line', '{"billing_day":15}'), '2026-02-20'), '01.01 line 13.55; 15.01 line 30.00; 15.02 line 30.00', 'not joined');

-- Set-up fees: a line of the first invoice, or an invoice of their own at once.
SELECT is(pg_temp.bill(pg_temp.make('line', '{"items":[{"price":"setup"}]}'), '2026-02-10'), '01.01 line 30.00, setup 25.00; 01.02 line 30.00', 'a line of the first invoice');
SELECT is(pg_temp.bill(pg_temp.make('post', '{"items":[{"price":"setup"}]}'), '2026-02-10'), '01.02 post 30.00, setup 25.00', 'in arrears at the end of the first cycle');
SELECT is(pg_temp.bill(pg_temp.make('post', '{"items":[{"price":"setup","own_invoice":true}]}'), '2026-02-10'), '01.01 setup 25.00; 01.02 post 30.00',
          'on an invoice of its own: at once, also in arrears');
SELECT is(pg_temp.bill(pg_temp.make('trial', '{"items":[{"price":"setup"}]}'), '2026-01-20'), '15.01 line 30.00, setup 25.00', 'after a trial with the first invoice');
SELECT is(pg_temp.bill(pg_temp.make('trial', '{"items":[{"price":"setup","own_invoice":true}]}'), '2026-01-20'), '01.01 setup 25.00; 15.01 line 30.00', 'or in it');

-- Charges for events, once and again.
SELECT pg_temp.make('events', '{"trial_every":"14 days"}') AS s \gset
SELECT is(pg_temp.bill(:s, '2026-02-20'), '15.01 line 30.00, card 5.00, box 50.00, move 8.00; 15.02 line 30.00', 'trial and activation');
SELECT billing.change_plan(:s, 'bigger', effective_at => '2026-03-15') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-03-20'), '15.03 line 30.00, move 8.00', 'a change of plan activates it, the box was charged');
SELECT billing.cancel_subscription(:s, effective_at => '2026-04-15') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-20'), '15.04 bye 15.00', 'the end');
SELECT billing.restart_subscription(:s, effective_at => '2026-06-15') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-20'), '15.06 line 30.00, move 8.00', 'coming back: charged once means once, whatever happened in between');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
-- A backdated end of the trial moves what happened at it.
SELECT pg_temp.make('events', '{"trial_every":"14 days"}') AS s \gset
SELECT pg_temp.bill(:s, '2026-01-20') \g /dev/null
SELECT billing.change_trial(:s, '2026-01-10') \g /dev/null
SELECT pg_temp.bill(:s, '2026-03-20') \g /dev/null
SELECT is((SELECT sum(CASE h.kind WHEN 'credit_note' THEN -l.amount ELSE l.amount END) FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
            WHERE l.account_id = :s >> 24 AND l.price = 'box'), 50.00, 'the box is charged once after all');
SELECT is((SELECT string_agg(to_char(i.start_at, 'DD.MM'), ' ') FROM billing.subscription_item i JOIN billing.item_version v ON v.item_id = i.id AND v.price = 'box'
            WHERE i.subscription_id = :s AND (i.end_at IS NULL OR i.end_at > i.start_at)), '10.01', 'at the new end of the trial');

-- Nothing is charged while the first payment is waited for; then all products at once, in the same call.
SELECT pg_temp.make('line', '{"await_payment":true,"items":[{"price":"setup"},{"price":"call"}]}') AS s \gset
SELECT is(pg_temp.bill(:s, '2026-01-05'), NULL, 'nothing is charged');
SELECT results_eq(format('SELECT * FROM billing.first_payment(%s, %L)', :s, '2026-01-10'), $$VALUES ('EUR', 65.45)$$, 'the first payment: 30.00 + 25.00 and tax');
SELECT is((SELECT count(*) FROM billing.invoice_header WHERE account_id = :s >> 24), 0::bigint, 'asking writes nothing');
SELECT billing.activate_subscription(:s, effective_at => '2026-01-10') \g /dev/null
SELECT results_eq(format('SELECT status, total, to_char(billed_at, %L) FROM billing.invoice_header WHERE account_id = %s', 'DD.MM', :s >> 24), $$VALUES ('open', 65.45, '10.01')$$,
                  'paid: the first invoice is made in the same call, from the day of the payment on');
SELECT is(pg_temp.bill(:s, '2026-02-20'), '10.02 line 30.00, call 0.00', 'and its periods run from there');
SELECT is(billing.subscription_state_on(:s, '2026-01-09') || ' ' || billing.subscription_state_on(:s, '2026-01-10'), 'pending active', 'it waited and came to life');
SELECT throws_ok(format('SELECT billing.activate_subscription(%s)', :s), 'LB303', NULL, 'not twice');
SELECT throws_ok(format('SELECT * FROM billing.first_payment(%s)', :s), 'LB303', NULL, 'nor is a first payment asked of it');
SELECT throws_ok('SELECT * FROM billing.first_payment(1)', 'LB109', NULL, 'or of none');
SELECT pg_temp.make('trial', '{"await_payment":true}') AS s \gset
SELECT results_eq(format('SELECT * FROM billing.first_payment(%s, %L)', :s, '2026-01-10'), $$VALUES ('EUR', 0::numeric)$$, 'before a trial nothing is to be paid');
SELECT billing.activate_subscription(:s, effective_at => '2026-01-10') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-02-01'), '24.01 line 30.00', 'the trial follows the start');
SELECT pg_temp.make('events', '{"await_payment":true}') AS s \gset
SELECT billing.activate_subscription(:s, effective_at => '2026-01-10') \g /dev/null
SELECT is((SELECT string_agg(price || ' ' || amount, ', ' ORDER BY line_no) FROM billing.invoice_line WHERE account_id = :s >> 24), 'line 30.00, box 50.00, move 8.00', 'what happens with it is charged with it');
-- A first payment that fails: it never lived.
SELECT pg_temp.make('line', '{"await_payment":true,"items":[{"price":"setup","own_invoice":true}]}') AS s \gset
SELECT billing.fail_subscription(:s, effective_at => '2026-01-03') \g /dev/null
SELECT is(pg_temp.bill(:s, '2027-01-01'), NULL, 'failed: nothing is ever charged');
SELECT is(billing.subscription_state_on(:s, '2026-02-01'), 'failed', 'and stays so');
SELECT throws_ok(format('SELECT billing.activate_subscription(%s)', :s), 'LB303', NULL, 'for good');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
