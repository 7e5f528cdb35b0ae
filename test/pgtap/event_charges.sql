-- Charges for what happens to a subscription, rule by rule: when they are there, when they move or go, and once only.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":30}'),
       billing.create_price('post', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":30}') \g /dev/null
SELECT billing.create_price(p, currency => 'EUR', tax => 'vat', scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', n))
  FROM unnest(ARRAY['created', 'tried', 'activated', 'box', 'planned', 'ended', 'ended2', 'setup', 'alone']) WITH ORDINALITY x (p, n) \g /dev/null
SELECT billing.create_plan('all', items => '[{"price":"seat"},{"price":"created","event":"subscription_creation"},{"price":"tried","event":"trial_start"},
           {"price":"activated","event":"subscription_activation","quantity":2},{"price":"box","event":"subscription_activation","charge_once":true},
           {"price":"planned","event":"plan_activation"},{"price":"ended","event":"contract_termination"}]'),
       billing.create_plan('other', items => '[{"price":"seat"},{"price":"box","event":"subscription_activation","charge_once":true},
           {"price":"planned","event":"plan_activation"},{"price":"ended2","event":"contract_termination"}]'),
       billing.create_plan('fees', items => '[{"price":"seat"},{"price":"setup"},{"price":"alone","own_invoice":true}]'),
       billing.create_plan('late', items => '[{"price":"post"},{"price":"setup"},{"price":"alone","own_invoice":true}]') \g /dev/null

CREATE FUNCTION pg_temp.make(plan text, arguments jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
    SELECT x FROM billing.create_subscriptions(jsonb_build_array(
        jsonb_build_object('account_id', billing.create_account('x'), 'plan', plan, 'start_at', '2026-01-01') || arguments)) x $$;
-- Charges of a subscription that are not taken back: day, price, the how manieth.
CREATE FUNCTION pg_temp.events(subscription bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s %s%s', to_char(i.start_at, 'DD.MM'), v.price, CASE WHEN i.occurrence > 1 THEN ' ' || i.occurrence END), ', ' ORDER BY i.start_at, v.price)
      FROM billing.subscription_item i JOIN billing.item_version v ON v.account_id = i.account_id AND v.item_id = i.id
     WHERE i.account_id = subscription >> 24 AND i.subscription_id = subscription AND i.kind = 'event' AND (i.end_at IS NULL OR i.end_at > i.start_at) $$;

-- What happens by the creation alone, and what is to come.
SELECT is(pg_temp.events(pg_temp.make('all')), '01.01 activated, 01.01 box, 01.01 created, 01.01 planned', 'without a trial everything happens at the start');
SELECT is(pg_temp.events(pg_temp.make('all', '{"trial_every":"14 days"}')), '01.01 created, 01.01 tried, 15.01 activated, 15.01 box, 15.01 planned',
          'the trial starts, and its end activates');
SELECT is(pg_temp.events(pg_temp.make('all', '{"trial_every":"14 days","trial_end_action":"cancel"}')), '01.01 created, 01.01 tried',
          'a trial that ends it activates nothing, and nothing terminates');
SELECT is(pg_temp.events(pg_temp.make('all', '{"cycles":2}')), '01.01 activated, 01.01 box, 01.01 created, 01.01 planned, 01.03 ended', 'the end of the term terminates');
SELECT is(pg_temp.events(pg_temp.make('all', '{"end_at":"2026-01-01"}')), NULL, 'nothing happens to what never lives');
SELECT is(pg_temp.events(pg_temp.make('all', '{"await_payment":true}')), NULL, 'nor while the first payment is waited for');
SELECT is(pg_temp.events(pg_temp.make('fees')), NULL, 'a plan without events');
SELECT results_eq($$SELECT i.event, i.kind, i.from_plan, v.quantity, v.price_version FROM billing.subscription_item i JOIN billing.item_version v ON v.item_id = i.id
                     WHERE v.price = 'activated' LIMIT 1$$, $$VALUES ('subscription_activation', 'event', false, 2::numeric, 1)$$, 'the charge has the plan''s quantity');
SELECT ok((SELECT bool_and(in_use) FROM billing.price_version WHERE price IN ('activated', 'box', 'created', 'planned', 'tried', 'ended')), 'its price is marked as used');

-- Cancellation: the end terminates; taken back it does not; coming back activates again, but what is charged once is not.
SELECT pg_temp.make('all') AS s \gset
SELECT billing.cancel_subscription(:s, effective_at => '2026-03-10') \g /dev/null
SELECT is(pg_temp.events(:s), '01.01 activated, 01.01 box, 01.01 created, 01.01 planned, 10.03 ended', 'canceled');
SELECT billing.undo_cancellation(:s, effective_at => '2026-03-01') \g /dev/null
SELECT is(pg_temp.events(:s), '01.01 activated, 01.01 box, 01.01 created, 01.01 planned', 'not canceled after all');
SELECT pg_temp.make('all', '{"trial_every":"14 days"}') AS s \gset
SELECT billing.cancel_subscription(:s, effective_at => '2026-01-10') \g /dev/null
SELECT is(pg_temp.events(:s), '01.01 created, 01.01 tried', 'canceled in the trial: it is not activated, so nothing terminates');

-- A change that is withdrawn takes its events along.
SELECT pg_temp.make('all') AS s \gset
SELECT billing.cancel_subscription(:s, effective_at => '2099-03-10') \g /dev/null
SELECT is(pg_temp.events(:s), '01.01 activated, 01.01 box, 01.01 created, 01.01 planned, 10.03 ended', 'to be canceled');
SELECT billing.withdraw_change((SELECT change_id FROM billing.pending_changes(:s))) \g /dev/null
SELECT is(pg_temp.events(:s), '01.01 activated, 01.01 box, 01.01 created, 01.01 planned', 'withdrawn');

-- What the catalogue says later touches nothing that has happened.
SELECT pg_temp.make('all') AS s \gset
INSERT INTO billing.plan_item (plan, ordinal, price, event) VALUES ('all', 9, 'ended2', 'subscription_creation');
DELETE FROM billing.plan_item WHERE plan = 'all' AND price = 'created';
SELECT billing.cancel_subscription(:s, effective_at => '2026-03-10') \g /dev/null
SELECT is(pg_temp.events(:s), '01.01 activated, 01.01 box, 01.01 created, 01.01 planned, 10.03 ended', 'neither charged later nor given back');
SELECT is(pg_temp.events(pg_temp.make('all')), '01.01 activated, 01.01 box, 01.01 ended2, 01.01 planned', 'a new subscription takes what the plan says now');

-- The price of the instant; where none is valid yet, its first.
SELECT billing.create_price_version('ended', '{"model":"flat","flat_amount":99}', from_at => '2026-02-01') \g /dev/null
SELECT pg_temp.make('all', '{"cycles":1}') AS later, pg_temp.make('all', '{"end_at":"2026-01-20"}') AS earlier \gset
SELECT is((SELECT string_agg(v.price_version::text, ' ' ORDER BY i.start_at) FROM billing.subscription_item i JOIN billing.item_version v ON v.item_id = i.id AND v.price = 'ended'
            WHERE i.subscription_id IN (:later, :earlier)), '1 2', 'the version that is valid when it happens');

-- An account cannot be charged in the currency of others.
SELECT billing.create_price('yen', currency => 'JPY', tax => 'vat', scheme => '{"model":"flat","flat_amount":500}') \g /dev/null
SELECT billing.create_plan('tokyo', items => '[{"price":"yen","event":"subscription_creation"}]') \g /dev/null
SELECT throws_ok($$SELECT pg_temp.make('tokyo', '{"items":[{"price":"seat"}]}')$$, 'LB204', 'price "yen" is in JPY, the account pays in EUR', 'in the currency of others');

SELECT * FROM finish();
ROLLBACK;
