\i sql/include/fresh.psql
SET TimeZone = 'Europe/Berlin';
-- A television provider: plans with a trial, packages on top, a box that is charged at the first activation only,
-- and a customer who buys more, moves to a better plan, pauses, leaves and comes back - always the same subscription.
SELECT billing.create_entity('tele', name => 'Tele GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_price(code, name => name, currency => 'EUR', every => '1 month', tax => 'vat',
                            scheme => jsonb_build_object('model', 'flat', 'flat_amount', amount))
  FROM (VALUES ('basic', 'Basic channels', 15.00), ('family', 'Family channels', 30.00),
               ('guide', 'Programme guide', 1.00), ('sports', 'Sports package', 9.00)) p (code, name, amount);
-- Prices without an interval are charged once.
SELECT billing.create_price(code, name => name, currency => 'EUR', tax => 'vat',
                            scheme => jsonb_build_object('model', 'flat', 'flat_amount', amount))
  FROM (VALUES ('box', 'Set-top box', 49.00), ('connection', 'Connection', 20.00), ('switch', 'Change of plan', 5.00),
               ('goodbye', 'Removal of the line', 12.00), ('film', 'Film of the week', 3.99)) p (code, name, amount);
-- The guide comes by itself, sports only on demand; the box is charged at activation, for its first use only; the
-- connection is a line of the first invoice; every start of a plan costs a fee, and so does its end.
SELECT billing.create_plan(code, trial_every => '14 days', items => jsonb_build_array(
           jsonb_build_object('price', code), '{"price":"guide"}'::jsonb, '{"price":"sports","optional":true}'::jsonb, '{"price":"connection"}'::jsonb,
           '{"price":"box","event":"subscription_activation","charge_once":true}'::jsonb,
           '{"price":"switch","event":"plan_activation"}'::jsonb,
           '{"price":"goodbye","event":"contract_termination"}'::jsonb))
  FROM unnest(ARRAY['basic', 'family']) code;
SELECT plan, ordinal, price, optional, event, charge_once FROM billing.plan_item ORDER BY 1, 2;

CREATE VIEW line AS
SELECT h.account_id, h.kind AS document, h.billed_at::date AS billed, l.kind, l.nature, l.price, l.amount, l.period_start::date AS from_day,
       l.period_end::date AS to_day, l.plan
  FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
 ORDER BY h.account_id, h.billed_at, h.id, l.line_no;

-- A customer may exist without a subscription.  Then two weeks of trial, in which nothing is charged; the months run
-- from the day on which it ends, and the first invoice brings the connection, the box and the plan's fee.
SELECT billing.create_account('Kim', external_id => 'kim') AS kim \gset
SELECT billing.create_subscription(:kim, 'basic', start_at => '2026-03-01 00:00+01', external_id => 'tv-1') AS subscription \gset
SELECT state, valid_from FROM billing.subscription_state WHERE account_id = :kim ORDER BY valid_from;
CALL billing.bill_run(at => '2026-03-10 00:00+01');
CALL billing.bill_run(at => '2026-03-15 00:00+01');
SELECT * FROM line WHERE account_id = :kim;

-- Sports from 30 March on, half a month; a better plan from 1 May on.  What a change would cost is asked first.
SELECT billing.add_item(:subscription, 'sports', effective_at => '2026-03-30 00:00+02') IS NOT NULL AS added;
SELECT billing.add_item(:subscription, 'film', effective_at => '2026-04-02 20:00+02', description => 'Film of the week: The Harbour') IS NOT NULL AS added;
CALL billing.bill_run(at => '2026-04-15 00:00+02');
SELECT document, kind, nature, price, amount, period_start::date, period_end::date
  FROM billing.preview_change(:subscription, '{"verb":"change_plan","plan":"family","effective_at":"2026-05-01 00:00+02"}', at => '2026-05-15 00:00+02');
SELECT billing.change_plan(:subscription, 'family', effective_at => '2026-05-01 00:00+02') = :subscription AS same_subscription;
CALL billing.bill_run(at => '2026-05-15 00:00+02');
SELECT * FROM line WHERE account_id = :kim AND billed > '2026-03-15';
SELECT item_id = :subscription + 1 AS same_item, price, quantity FROM billing.subscription_items_on(:subscription, '2026-05-20') WHERE kind = 'recurring' ORDER BY item_id;

-- A pause of two cycles from the next month on: nothing is charged, and nothing moves.
SELECT billing.pause_subscription(:subscription, cycles => 2, effective_at => '2026-05-20 12:00+02', at_period_end => true, reason => 'summer') = :subscription AS paused;
SELECT billing.subscription_state_on(:subscription, at) AS state, at FROM unnest(ARRAY['2026-06-14', '2026-06-16', '2026-08-14', '2026-08-16']::timestamptz[]) at;
CALL billing.bill_run(at => '2026-08-15 00:00+02');
SELECT * FROM line WHERE account_id = :kim AND billed > '2026-05-15';

-- A cancellation at the end of the period can be taken back before it takes effect; until then the subscription
-- is non-renewing.
SELECT billing.cancel_subscription(:subscription, effective_at => '2026-08-20 12:00+02', at_period_end => true, reason => 'too dear') = :subscription AS canceled;
SELECT billing.subscription_state_on(:subscription, at) AS state, at FROM unnest(ARRAY['2026-08-19', '2026-08-21', '2026-09-16']::timestamptz[]) at;
SELECT verb, effective_at, reason FROM billing.pending_changes(:subscription, at => '2026-08-21');
SELECT billing.undo_cancellation(:subscription, effective_at => '2026-08-22') = :subscription AS undone;
SELECT billing.subscription_state_on(:subscription, '2026-08-23');

-- It ends after all, and comes back in November: the fee of the plan is charged again, the box is not.
SELECT billing.cancel_subscription(:subscription, effective_at => '2026-09-15 00:00+02') = :subscription AS canceled;
CALL billing.bill_run(at => '2026-10-15 00:00+02');
SELECT billing.restart_subscription(:subscription, anchor => 'restart', effective_at => '2026-11-03 00:00+01') = :subscription AS restarted;
CALL billing.bill_run(at => '2026-11-03 00:00+01');
SELECT * FROM line WHERE account_id = :kim AND billed > '2026-08-15';
SELECT state, valid_from FROM billing.subscription_state WHERE account_id = :kim ORDER BY valid_from;
SELECT count(*) AS findings FROM billing.check(deep => true);

-- A term of three cycles: in the last one it is non-renewing, then it is canceled by itself.  An archived plan takes
-- nobody new.
SELECT billing.create_account('Noa') AS noa \gset
SELECT billing.create_subscription(:noa, 'basic', start_at => '2026-01-01 00:00+01', cycles => 3, trial_end_at => '2026-01-01 00:00+01') AS subscription \gset
SELECT state, valid_from FROM billing.subscription_state WHERE account_id = :noa ORDER BY valid_from;
SELECT billing.archive_plan('basic');
\set VERBOSITY terse
SELECT billing.create_subscription(:noa, 'basic');
