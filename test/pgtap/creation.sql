-- New subscriptions: trials, what is charged once, dates, terms of one customer; the rows that they make.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('minutes') \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":10}'),
       billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'minutes', scheme => '{"model":"per_unit","unit_amount":0.10}'),
       billing.create_price('year', currency => 'EUR', every => '1 year', tax => 'vat', scheme => '{"model":"flat","flat_amount":24}'),
       billing.create_price('week', currency => 'EUR', every => '7 days', tax => 'vat', scheme => '{"model":"flat","flat_amount":3}'),
       billing.create_price('box', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":100}'),
       billing.create_price('visit', currency => 'EUR', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":30}') \g /dev/null
SELECT billing.create_plan('plain', items => '[{"price":"seat"}]'),
       billing.create_plan('days', items => '[{"price":"seat"}]', trial_every => '14 days'),
       billing.create_plan('month', items => '[{"price":"seat"}]', trial_every => '1 month', trial_end_action => 'cancel'),
       billing.create_plan('first', items => '[{"price":"seat"}]', trial_every => '10 days', billing_day => 1),
       billing.create_plan('home', items => '[{"price":"seat"},{"price":"box","instalments":3},{"price":"visit","quantity":2,"own_invoice":true},{"price":"year","optional":true}]'),
       billing.create_plan('fees', items => '[{"price":"box"}]') \g /dev/null
SELECT billing.create_account('Jane Ltd') AS account \gset

-- A subscription with arguments of create_subscription; returns its row and its calendar as text, in Berlin's time.
CREATE FUNCTION pg_temp.local(at timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT to_char(at AT TIME ZONE 'Europe/Berlin', 'DD.MM.YY HH24:MI') $$;
CREATE FUNCTION pg_temp.make(plan text, arguments jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
    SELECT x FROM billing.create_subscriptions(jsonb_build_array(
        jsonb_build_object('account_id', (SELECT max(account_id) FROM billing.account), 'plan', plan, 'start_at', '2026-01-31 00:00+01') || arguments)) x $$;
CREATE FUNCTION pg_temp.trial(plan text, arguments jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n CONSTANT bigint := pg_temp.make(plan, arguments);
BEGIN
    RETURN (
    SELECT concat_ws(', ', 'until ' || pg_temp.local(s.trial_end_at), s.trial_end_action, s.trial_every, 'anchor ' || pg_temp.local(v.anchor),
                     (SELECT concat_ws(' ', i.kind, pg_temp.local(i.from_at), i.to_at, 'asked ' || pg_temp.local(i.requested_at)) FROM billing.interruption i
                       WHERE i.account_id = s.account_id AND i.subscription_id = s.id))
      FROM billing.subscription s JOIN billing.schedule_version v ON v.account_id = s.account_id AND v.subscription_id = s.id
     WHERE s.account_id = n >> 24 AND s.id = n); END $$;

-- Trials: the first paid instant is the anchor unless a billing day is named.
SELECT is(pg_temp.trial('plain'), 'anchor 31.01.26 00:00', 'no trial');
SELECT is(pg_temp.trial('days'), 'until 14.02.26 00:00, activate, 14 days, anchor 14.02.26 00:00', 'a trial of days');
SELECT is(pg_temp.trial('month'), 'until 28.02.26 00:00, cancel, 1 mon, anchor 28.02.26 00:00, cancel 28.02.26 00:00 asked 31.01.26 00:00',
          'a trial of a month, at whose end the subscription ends');
SELECT is(pg_temp.trial('month', '{"start_at":"2026-03-15 00:00+01"}'), 'until 15.04.26 00:00, cancel, 1 mon, anchor 15.04.26 00:00, cancel 15.04.26 00:00 asked 15.03.26 00:00',
          'counted in local days');
SELECT is(pg_temp.trial('first'), 'until 10.02.26 00:00, activate, 10 days, anchor 01.02.26 00:00', 'a billing day is the anchor all the same');
SELECT is(pg_temp.trial('plain', '{"trial_every":"7 days","trial_end_action":"cancel"}'),
          'until 07.02.26 00:00, cancel, 7 days, anchor 07.02.26 00:00, cancel 07.02.26 00:00 asked 31.01.26 00:00', 'a trial of this subscription');
SELECT is(pg_temp.trial('days', '{"trial_end_at":"2026-03-05 12:00+01"}'), 'until 05.03.26 12:00, activate, anchor 05.03.26 12:00', 'until an instant');
SELECT is(pg_temp.trial('month', '{"trial_end_action":"activate"}'), 'until 28.02.26 00:00, activate, 1 mon, anchor 28.02.26 00:00', 'another end than the plan''s');
SELECT is(pg_temp.trial('days', '{"trial_end_at":"2026-01-31 00:00+01"}'), 'anchor 31.01.26 00:00', 'a trial that ends at the start is none');

-- Finite cycles are counted from the first paid instant; what is free or joined to the next is none of its own.
CREATE FUNCTION pg_temp.ends(plan text, arguments jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n CONSTANT bigint := pg_temp.make(plan, arguments);
BEGIN
    RETURN (
    SELECT concat_ws(', ', pg_temp.local(s.end_at), 'item ' || (SELECT string_agg(pg_temp.local(i.end_at), ' ') FROM billing.subscription_item i
                                                                WHERE i.account_id = s.account_id AND i.subscription_id = s.id))
      FROM billing.subscription s WHERE s.account_id = n >> 24 AND s.id = n); END $$;
SELECT is(pg_temp.ends('plain', '{"cycles":2}'), '31.03.26 00:00', 'two cycles');
SELECT is(pg_temp.ends('days', '{"cycles":2}'), '14.04.26 00:00', 'two cycles after a trial');
SELECT is(pg_temp.ends('days', '{"items":[{"price":"seat","cycles":1}]}'), 'item 14.03.26 00:00', 'an item for one cycle after a trial');
SELECT is(pg_temp.ends('plain', '{"cycles":2,"billing_day":15}'), '15.03.26 00:00', 'a stub is a cycle');
SELECT is(pg_temp.ends('plain', '{"cycles":2,"billing_day":15,"first_period":"free"}'), '15.04.26 00:00', 'but not when it is free');
SELECT is(pg_temp.ends('plain', '{"cycles":2,"billing_day":15,"first_period":"join"}'), '15.04.26 00:00', 'nor when it is joined to the next');
SELECT is(pg_temp.ends('plain', '{"cycles":2,"end_at":"2026-03-01 00:00+01"}'), '01.03.26 00:00', 'an end that comes first');

-- Items: what recurs, what is charged in instalments, what is charged once.
CREATE FUNCTION pg_temp.items(plan text, arguments jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n CONSTANT bigint := pg_temp.make(plan, arguments);
BEGIN
    RETURN (
    SELECT string_agg(concat_ws(' ', i.kind, v.price, v.quantity, v.scheme->>'model', 'x' || i.instalments, lower(daterange(i.charge_from, NULL)),
                                'until ' || i.charge_until, CASE WHEN i.own_invoice THEN 'alone' END, '"' || i.description || '"', CASE WHEN i.from_plan THEN 'planned' END),
                      ', ' ORDER BY i.id)
      FROM billing.subscription_item i JOIN billing.item_version v ON v.account_id = i.account_id AND v.item_id = i.id
     WHERE i.account_id = n >> 24 AND i.subscription_id = n); END $$;
SELECT is(pg_temp.items('home', '{}'), 'recurring seat 1 planned, instalment box 1 x3, setup visit 2 alone', 'the plan''s items');
SELECT is(pg_temp.items('home', '{"items":[{"price":"box","instalments":2,"charge_from":"2026-03-01"},{"price":"visit","quantity":1,"own_invoice":false},{"price":"year"}]}'),
          'recurring seat 1 planned, instalment box 1 x2 2026-03-01, setup visit 1, recurring year 1 planned', 'what the caller says goes before');
SELECT is(pg_temp.items('plain', '{"items":[{"price":"seat","quantity":3,"scheme":{"model":"flat","flat_amount":25},"description":"Three seats","charge_until":"2026-12-31"},{"price":"visit"},{"price":"call"}]}'),
          'recurring seat 3 flat until 2026-12-31 "Three seats" planned, setup visit 1, recurring call', 'terms of this customer, and further prices');
SELECT is(pg_temp.items('fees', '{"items":[{"price":"week"}]}'), 'setup box 1, recurring week 1', 'a plan of fees needs an item that recurs');

-- Instalments: the cycles take them, one each, from the first paid one on; what is left over goes to the last.
SELECT pg_temp.make('home', '{"items":[{"price":"box","quantity":2}],"trial_every":"14 days"}') AS s \gset
SELECT results_eq(format('SELECT ordinal, pg_temp.local(due_at), amount FROM billing.instalment WHERE item_id = %s ORDER BY 1', :s + 2),
                  $$VALUES (1, '14.02.26 00:00', 33.33), (2, '14.03.26 00:00', 33.33), (3, '14.04.26 00:00', 33.34)$$, 'instalments');

-- Waiting for the first payment.
SELECT pg_temp.make('plain', '{"await_payment":true}') AS waiting, pg_temp.make('plain', '{"await_payment":false}') AS not_waiting \gset
SELECT is((SELECT activation FROM billing.subscription WHERE id = :waiting), 'pending', 'it waits for its first payment');
SELECT is((SELECT activation FROM billing.subscription WHERE id = :not_waiting), 'immediate', 'or does not');

-- A coupon is redeemed as of the start.
SELECT billing.create_coupon('first', name => 'Welcome', scope => 'subscription', type => 'percentage', value => 50, cycles => 2, expires_at => '2026-02-01') \g /dev/null
SELECT pg_temp.make('days', '{"coupon":"first"}') AS s \gset
SELECT results_eq(format('SELECT coupon, value, cycles, pg_temp.local(from_at), pg_temp.local(to_at) FROM billing.discount WHERE subscription_id = %s', :s),
                  $$VALUES ('first', 50::numeric, 2, '31.01.26 00:00', '14.04.26 00:00')$$, 'the discount lasts two cycles from the first paid one on');
SELECT throws_ok($$SELECT pg_temp.make('days', '{"coupon":"first","start_at":"2026-02-01 00:00+00"}')$$, 'LB305', NULL, 'which must not be later than it expires');

-- Price versions are marked as used, those of items that the subscription does not take are not.
SELECT is((SELECT array_agg(price ORDER BY price) FROM billing.price_version WHERE in_use), ARRAY['box', 'call', 'seat', 'visit', 'week', 'year'], 'what is used cannot be changed');

-- What cannot be is refused, by its code, and leaves nothing.
SELECT max(id) AS last FROM billing.subscription \gset
SELECT throws_ok(format('SELECT pg_temp.make(%L, %L)', plan, arguments), code, message, message) FROM (VALUES
    ('plain', '{"trial_every":"7 days","trial_end_at":"2026-02-05 00:00+01"}', 'LB208', 'trial_every and trial_end_at exclude each other'),
    ('plain', '{"trial_end_at":"2026-01-05 00:00+01"}', 'LB208', 'trial_end_at lies before start_at'),
    ('plain', '{"trial_end_at":"infinity"}', '22008', 'trial_end_at is out of range'),
    ('plain', '{"trial_end_action":"cancel"}', 'LB208', 'trial_end_action needs a trial'),
    ('days', '{"trial_end_action":"pause"}', 'LB208', 'unknown end of a trial "pause"'),
    ('plain', '{"trial_every":"12 hours"}', 'LB205', 'interval "12:00:00" is not a positive number of whole months or whole days'),
    ('plain', '{"first_period":"half"}', 'LB208', 'unknown first period "half"'),
    ('fees', '{}', 'LB207', 'a subscription of plan "fees" needs an item that recurs'),
    ('plain', '{"items":[{"price":"seat","instalments":3}]}', 'LB207', 'price "seat" is not charged once and takes no instalments'),
    ('plain', '{"items":[{"price":"seat","own_invoice":true}]}', 'LB207', 'price "seat" is not charged once and takes no invoice of its own'),
    ('plain', '{"items":[{"price":"box","cycles":3}]}', 'LB207', 'price "box" is charged once and takes no cycles'),
    ('plain', '{"items":[{"price":"box","instalments":3,"own_invoice":true}]}', 'LB207', 'price "box" is charged in instalments and takes no invoice of its own'),
    ('plain', '{"items":[{"price":"box","charge_from":"2026-03-01"}]}', 'LB207', 'price "box" is charged once and takes no dates; with one instalment it does'),
    ('plain', '{"items":[{"price":"seat","charge_from":"2026-03-02","charge_until":"2026-03-01"}]}', 'LB207', 'price "seat" may be charged until a day before it may be charged from'),
    ('plain', '{"items":[{"price":"seat","charge_until":"2026-06-31"}]}', '22008', 'date/time field value out of range: "2026-06-31"'),
    ('plain', '{"items":[{"price":"seat","charge_until":20260630}]}', 'LB207', 'charge_until must be a string'),
    ('plain', '{"items":[{"price":"seat","scheme":{"model":"flat"}}]}', 'LB201', 'invalid price scheme'),
    ('plain', '{"items":[{"price":"seat","scheme":7}]}', 'LB201', 'invalid price scheme'),
    ('plain', '{"items":[{"price":"seat","scheme":{"model":"percentage","rate":1,"free_count":2}}]}', 'LB201', 'free_count and free_amount need a metered price'),
    ('plain', '{"items":[{"price":"week"}]}', 'LB205', 'interval of price "seat" is not a multiple of 7 days')
) x (plan, arguments, code, message);
SELECT is((SELECT max(id) FROM billing.subscription), :last::bigint, 'refused calls leave nothing');

SELECT * FROM finish();
ROLLBACK;
