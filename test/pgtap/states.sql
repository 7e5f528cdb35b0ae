-- States of subscriptions over time, and the verbs that lead from one to another (src/subscription).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('none', category => 'Z', rate => 0) \g /dev/null
SELECT billing.create_price(format('p%s', a), currency => 'EUR', every => '1 month', tax => 'none',
                            scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', a)) FROM unnest(ARRAY[10, 20, 30]) a \g /dev/null
SELECT billing.create_plan('any', items => '[{"price":"p10"}]') \g /dev/null

-- A new subscription from 1 January on.
CREATE FUNCTION pg_temp.subscribe(more jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.create_subscriptions(jsonb_build_array(jsonb_build_object('account_id', billing.create_account('x'), 'plan', 'any', 'start_at', '2024-01-01') || more)) $$;
-- Its states: from when, which.
CREATE FUNCTION pg_temp.states(s bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s %s', to_char(valid_from, 'DD.MM.'), state), ', ' ORDER BY valid_from) FROM billing.subscription_state WHERE subscription_id = s $$;
-- All rows of a timeline, and what was done to it.
CREATE FUNCTION pg_temp.everything(s bigint) RETURNS text LANGUAGE sql AS $$
    SELECT billing_internal.normal_rows(billing_internal.timeline(s))::text || pg_temp.states(s) || (SELECT count(*) FROM billing.subscription_change) $$;
-- Calls one after the other on a new subscription; $1 stands for it, $2 for its first item.
CREATE FUNCTION pg_temp.live(more jsonb, VARIADIC calls text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    s bigint := pg_temp.subscribe(more);
    c text;
BEGIN
    FOREACH c IN ARRAY calls LOOP
        EXECUTE 'SELECT billing.' || c USING s, s + 1;
    END LOOP;
    RETURN s;
END $$;

-- Every state, and how it follows from what was done.
SELECT is(pg_temp.states(pg_temp.live('{}'::jsonb || more, VARIADIC calls)), states, what) FROM (VALUES
    ('a start', '{}'::jsonb, '{}'::text[], '01.01. active'),
    ('a trial', '{"trial_every":"14 days"}', '{}', '01.01. trialing, 15.01. active'),
    ('a trial that ends the subscription', '{"trial_end_at":"2024-02-01","trial_end_action":"cancel"}', '{}', '01.01. trialing, 01.02. canceled'),
    ('a term', '{"cycles":3}', '{}', '01.01. active, 01.03. non_renewing, 01.04. canceled'),
    ('a term of one cycle', '{"cycles":1}', '{}', '01.01. non_renewing, 01.02. canceled'),
    ('a trial and a term', '{"trial_every":"1 month","cycles":2}', '{}', '01.01. trialing, 01.02. active, 01.03. non_renewing, 01.04. canceled'),
    ('a cancellation at the end of the period', '{}', '{"cancel_subscription($1, effective_at => ''2024-01-10'', at_period_end => true)"}', '01.01. active, 10.01. non_renewing, 01.02. canceled'),
    ('a cancellation in the past', '{}', '{"cancel_subscription($1, effective_at => ''2024-01-10'')"}', '01.01. active, 10.01. canceled'),
    ('a cancellation that was undone', '{}', '{"cancel_subscription($1, effective_at => ''2024-01-10'', at_period_end => true)","undo_cancellation($1, effective_at => ''2024-01-11'')"}', '01.01. active, 10.01. non_renewing, 11.01. active'),
    ('a cancellation and a restart', '{}', '{"cancel_subscription($1, effective_at => ''2024-01-10'')","restart_subscription($1, effective_at => ''2024-02-10'')"}', '01.01. active, 10.01. canceled, 10.02. active'),
    ('a stop and a restart', '{}', '{"stop_subscription($1, effective_at => ''2024-01-10'')","restart_subscription($1, effective_at => ''2024-02-10'')"}', '01.01. active, 10.01. stopped, 10.02. active'),
    ('a stop and a new item', '{}', '{"stop_subscription($1, effective_at => ''2024-01-10'')","add_item($1, ''p20'', effective_at => ''2024-02-10'')"}', '01.01. active, 10.01. stopped, 10.02. active'),
    ('a stop, then a cancellation', '{}', '{"stop_subscription($1, effective_at => ''2024-01-10'')","cancel_subscription($1, effective_at => ''2024-02-10'')"}', '01.01. active, 10.01. stopped, 10.02. canceled'),
    ('a cancellation before a stop that was ended', '{}', '{"stop_subscription($1, effective_at => ''2024-02-10'')","restart_subscription($1, effective_at => ''2024-03-10'')","cancel_subscription($1, effective_at => ''2024-01-10'')"}', '01.01. active, 10.01. canceled, 10.03. active'),
    ('an open pause', '{}', '{"pause_subscription($1, effective_at => ''2024-01-10'')"}', '01.01. active, 10.01. paused'),
    ('a pause until', '{}', '{"pause_subscription($1, until => ''2024-02-20'', effective_at => ''2024-01-10'')"}', '01.01. active, 10.01. paused, 20.02. active'),
    ('a pause for cycles', '{}', '{"pause_subscription($1, cycles => 2, effective_at => ''2024-01-10'')"}', '01.01. active, 10.01. paused, 01.04. active'),
    ('a pause for cycles from a period''s start', '{}', '{"pause_subscription($1, cycles => 2, effective_at => ''2024-02-01'')"}', '01.01. active, 01.02. paused, 01.04. active'),
    ('a pause at the period''s end, resumed before its end', '{}', '{"pause_subscription($1, until => ''2024-05-20'', effective_at => ''2024-01-10'', at_period_end => true)","resume_subscription($1, effective_at => ''2024-03-05'')"}', '01.01. active, 01.02. paused, 05.03. active'),
    ('a pause that is paused again', '{}', '{"pause_subscription($1, until => ''2024-05-20'', effective_at => ''2024-01-10'')","pause_subscription($1, until => ''2024-04-01'', effective_at => ''2024-02-01'')"}', '01.01. active, 10.01. paused, 01.04. active'),
    ('a pause that loses its end', '{}', '{"pause_subscription($1, until => ''2024-05-20'', effective_at => ''2024-01-10'')","pause_subscription($1, effective_at => ''2024-02-01'')"}', '01.01. active, 10.01. paused'),
    ('a cancellation in a pause', '{}', '{"pause_subscription($1, until => ''2024-05-20'', effective_at => ''2024-01-10'')","cancel_subscription($1, effective_at => ''2024-02-01'')"}', '01.01. active, 10.01. paused, 01.02. canceled'),
    ('a cancellation in a pause and a restart', '{}', '{"pause_subscription($1, effective_at => ''2024-01-10'')","cancel_subscription($1, effective_at => ''2024-02-01'')","restart_subscription($1, effective_at => ''2024-02-03'')"}', '01.01. active, 10.01. paused, 01.02. canceled, 03.02. active'),
    ('a term that a pause puts off', '{"cycles":3}', '{"pause_subscription($1, until => ''2024-03-01'', effective_at => ''2024-02-01'')"}', '01.01. active, 01.02. paused, 01.03. active, 01.04. non_renewing, 01.05. canceled'),
    ('a term that an open pause holds', '{"cycles":3}', '{"pause_subscription($1, effective_at => ''2024-02-01'')"}', '01.01. active, 01.02. paused'),
    ('a term that was extended', '{"cycles":3}', '{"change_term($1, cycles => 4)"}', '01.01. active, 01.04. non_renewing, 01.05. canceled'),
    ('a term that became endless', '{"cycles":3}', '{"change_term($1, end_at => ''infinity'')"}', '01.01. active'),
    ('a term from now on', '{}', '{"change_term($1, cycles => 2, effective_at => ''2024-03-10'')"}', '01.01. active, 01.04. non_renewing, 01.05. canceled'),
    ('a term to a date', '{}', '{"change_term($1, end_at => ''2024-03-10'')"}', '01.01. active, 01.03. non_renewing, 10.03. canceled'),
    ('a term of no time', '{}', '{"change_term($1, end_at => ''2024-01-01'')"}', '01.01. canceled'),
    ('a start that moved back', '{}', '{"move_start($1, ''2023-12-20'')"}', '20.12. active'),
    ('a start that moved forth', '{}', '{"move_start($1, ''2024-01-20'')"}', '01.01. future, 20.01. active'),
    ('a start that moved with its trial', '{"trial_every":"14 days"}', '{"move_start($1, ''2024-01-20'')"}', '01.01. future, 20.01. trialing, 03.02. active'),
    ('a trial that was extended', '{"trial_every":"14 days"}', '{"change_trial($1, ''2024-02-01'')"}', '01.01. trialing, 01.02. active'),
    ('a trial that was ended', '{"trial_every":"14 days"}', '{"change_trial($1, ''2024-01-01'')"}', '01.01. active'),
    ('a trial that moved its cancellation', '{"trial_every":"14 days","trial_end_action":"cancel"}', '{"change_trial($1, ''2024-02-01'')"}', '01.01. trialing, 01.02. canceled'),
    ('a trial that does not cancel after all', '{"trial_every":"14 days","trial_end_action":"cancel"}', '{"undo_cancellation($1, effective_at => ''2024-01-10'')"}', '01.01. trialing, 15.01. active'),
    ('a trial that was stopped and goes on', '{"trial_every":"14 days"}', '{"stop_subscription($1, effective_at => ''2024-01-05'')","restart_subscription($1, effective_at => ''2024-01-10'')"}', '01.01. trialing, 05.01. stopped, 10.01. trialing, 15.01. active'),
    ('a first payment to come', '{"await_payment":true}', '{}', '01.01. pending'),
    ('a first payment', '{"await_payment":true}', '{"activate_subscription($1, effective_at => ''2024-01-03'', invoice_now => false)"}', '01.01. pending, 03.01. active'),
    ('a first payment and a pause', '{"await_payment":true}', '{"activate_subscription($1, effective_at => ''2024-01-03'', invoice_now => false)","pause_subscription($1, effective_at => ''2024-02-01'')"}', '01.01. pending, 03.01. active, 01.02. paused'),
    ('a first payment before the start, taken back', '{"await_payment":true}',
        '{"activate_subscription($1, effective_at => ''2023-12-20'', invoice_now => false)","withdraw_change((SELECT max(id) FROM billing.subscription_change WHERE subscription_id = $1), effective_at => ''2023-12-01'')"}',
        '01.01. pending'),
    ('a first payment at once', '{"await_payment":true}', '{"activate_subscription($1, effective_at => ''2024-01-01'', invoice_now => false)"}', '01.01. active'),
    ('a first payment that failed', '{"await_payment":true}', '{"fail_subscription($1, effective_at => ''2024-01-03'')"}', '01.01. pending, 03.01. failed'),
    ('a skipped last cycle', '{"cycles":2}', '{"skip_cycles($1, effective_at => ''2024-01-02'')"}', '01.01. active, 01.03. non_renewing, 01.04. canceled')
) t (what, more, calls, states);
SELECT pg_temp.subscribe('{"start_at":"2100-01-01","cycles":3}') AS s \gset
SELECT is(billing.subscription_state_on(:s), 'future', 'a start to come');
SELECT matches(pg_temp.states(:s), 'future, 01.01. active, 01.03. non_renewing, 01.04. canceled$', '... and what follows it');
SELECT is(pg_temp.states(pg_temp.live('{"start_at":"2100-01-01"}', 'cancel_subscription($1, at_period_end => true)')),
          to_char(now(), 'DD.MM.') || ' future, 01.01. canceled', 'what is canceled before it starts never does');
SELECT is((SELECT count(DISTINCT state) FROM billing.subscription_state), 9::bigint, 'all nine states were seen');
SELECT is_empty($$SELECT x.* FROM (SELECT coalesce(lag(state) OVER (PARTITION BY subscription_id ORDER BY valid_from), 'new') AS f, state AS t FROM billing.subscription_state) x
                   WHERE NOT EXISTS (SELECT FROM billing.state_transition s WHERE s.from_state = x.f AND s.to_state = x.t)$$, 'and only transitions of the table');
SELECT is_empty($$SELECT s.id FROM billing.subscription s, LATERAL (SELECT array_agg(h ORDER BY h.valid_from) FROM billing_internal.whole_history(billing_internal.timeline(s.id), NULL) h) d (now),
                   LATERAL (SELECT array_agg((x.valid_from, x.state) ORDER BY x.valid_from) FROM billing.subscription_state x WHERE x.subscription_id = s.id) t (kept)
                   WHERE d.now::text <> t.kept::text$$, 'what is kept is what the timeline says');

-- As of a date.
SELECT pg_temp.live('{}', 'change_item($2, quantity => 3, effective_at => ''2024-02-10'')', 'change_item($2, price => ''p20'', effective_at => ''2024-03-10'')',
    'change_item($2, scheme => ''{"model":"flat","flat_amount":7}'', effective_at => ''2024-04-10'')', 'add_item($1, ''p30'', effective_at => ''2024-04-20'')',
    'end_item($2, effective_at => ''2024-05-10'')', 'pause_subscription($1, effective_at => ''2024-06-01'')', 'stop_subscription($1, effective_at => ''2024-07-01'')') AS s \gset
SELECT is((SELECT string_agg(format('%s %s x %s %s', item_id - :s, price, quantity, coalesce(scheme->>'unit_amount', scheme->>'flat_amount')), ', ' ORDER BY item_id)
             FROM billing.subscription_items_on(:s, at)), items, format('items on %s', at))
  FROM (VALUES ('2023-12-31'::timestamptz, NULL), ('2024-01-01', '1 p10 x 1 10'), ('2024-02-10', '1 p10 x 3 10'), ('2024-03-10', '1 p20 x 3 20'), ('2024-04-10', '1 p20 x 3 7'),
               ('2024-05-09', '1 p20 x 3 7, 5 p30 x 1 30'), ('2024-05-10', '5 p30 x 1 30'), ('2024-06-01', '5 p30 x 1 30'), ('2024-07-01', NULL)) t (at, items);
SELECT is(billing.subscription_state_on(:s, at), state, format('state on %s', at))
  FROM (VALUES ('2023-12-31'::timestamptz, 'future'), ('2024-01-01', 'active'), ('2024-06-01', 'paused'), ('2024-07-01', 'stopped'), ('2025-07-01', 'stopped')) t (at, state);
SELECT throws_ok('SELECT billing.subscription_state_on(7)', 'LB109', NULL, 'state of nothing');
SELECT throws_ok('SELECT * FROM billing.subscription_items_on(7)', 'LB109', NULL, 'items of nothing');
SELECT is((SELECT (plan, state, period_start, period_end, next_billing_at)::text FROM billing.subscription_status_on('2024-02-15') WHERE subscription_id = :s),
          '(any,active,"2024-02-01 00:00:00+00","2024-03-01 00:00:00+00","2024-03-01 00:00:00+00")', 'status on a date');
SELECT is((SELECT (state, period_start, next_billing_at)::text FROM billing.subscription_status WHERE subscription_id = :s), '(stopped,,)', 'status now');

-- What cannot be is refused with its code and leaves everything as it was.
CREATE FUNCTION pg_temp.refused(more jsonb, calls text[], call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    s bigint := pg_temp.live(more, VARIADIC calls);
    before text := pg_temp.everything(s);
BEGIN
    EXECUTE 'SELECT billing.' || call USING s, s + 1;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SELECT is(pg_temp.refused(more, calls, call), code, format('%s after %s', call, calls)) FROM (VALUES
    ('{}'::jsonb, '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}'::text[], 'cancel_subscription($1, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}', 'stop_subscription($1, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}', 'pause_subscription($1, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}', 'resume_subscription($1, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}', 'restart_subscription($1, effective_at => ''2024-01-31'')', 'LB303'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}', 'add_item($1, ''p20'', effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}', 'change_plan($1, ''any'', ''[]'', effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}', 'skip_cycles($1, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}', 'move_billing_day($1, 5, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}', 'undo_cancellation($1, effective_at => ''2024-02-01'')', 'LB303'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')","restart_subscription($1, effective_at => ''2024-03-01'')"}', 'cancel_subscription($1, effective_at => ''2024-02-15'')', 'LB303'),
    ('{}', '{"stop_subscription($1, effective_at => ''2024-02-01'')"}', 'stop_subscription($1, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"stop_subscription($1, effective_at => ''2024-02-01'')"}', 'pause_subscription($1, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"stop_subscription($1, effective_at => ''2024-02-01'')"}', 'end_item($2, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"pause_subscription($1, effective_at => ''2024-02-01'')"}', 'change_item($2, quantity => 2, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"pause_subscription($1, effective_at => ''2024-02-01'')"}', 'restart_subscription($1, effective_at => ''2024-03-01'')', 'LB303'),
    ('{}', '{"pause_subscription($1, effective_at => ''2024-02-01'')"}', 'resume_subscription($1, effective_at => ''2024-01-31'')', 'LB303'),
    ('{}', '{"pause_subscription($1, effective_at => ''2024-02-01'')"}', 'resume_subscription($1, ''restart'', effective_at => ''2024-03-01'')', 'LB208'),
    ('{}', '{"pause_subscription($1, effective_at => ''2024-02-01'')"}', 'pause_subscription($1, effective_at => ''2024-01-15'')', 'LB303'),
    ('{}', '{"pause_subscription($1, effective_at => ''2024-02-01'')","cancel_subscription($1, effective_at => ''2024-03-01'')"}', 'resume_subscription($1, effective_at => ''2024-04-01'')', 'LB303'),
    ('{}', '{}', 'pause_subscription($1, until => ''2024-02-01'', cycles => 1, effective_at => ''2024-01-10'')', 'LB208'),
    ('{}', '{}', 'pause_subscription($1, until => ''2024-01-01'', effective_at => ''2024-01-10'')', 'LB208'),
    ('{}', '{}', 'pause_subscription($1, cycles => 0, effective_at => ''2024-01-10'')', 'LB208'),
    ('{}', '{}', 'pause_subscription($1, anchor => ''keep'', effective_at => ''2024-01-10'')', 'LB208'),
    ('{}', '{}', 'pause_subscription($1, until => ''infinity'', effective_at => ''2024-01-10'')', '22008'),
    ('{}', '{}', 'pause_subscription($1, effective_at => ''2023-12-31'')', 'LB303'),
    ('{}', '{}', 'resume_subscription($1, effective_at => ''2024-01-10'')', 'LB303'),
    ('{}', '{}', 'restart_subscription($1, effective_at => ''2024-01-10'')', 'LB303'),
    ('{}', '{}', 'restart_subscription($1, ''resume'', effective_at => ''2024-01-10'')', 'LB208'),
    ('{}', '{}', 'undo_cancellation($1, effective_at => ''2024-01-10'')', 'LB303'),
    ('{}', '{}', 'cancel_subscription($1, effective_at => ''2023-12-31'')', 'LB303'),
    ('{}', '{}', 'skip_cycles($1, 0)', 'LB208'),
    ('{}', '{}', 'skip_cycles($1, effective_at => ''infinity'')', '22008'),
    ('{}', '{}', 'move_billing_day($1, 32)', 'LB208'),
    ('{}', '{"move_billing_day($1, 10, effective_at => ''2024-03-10'')"}', 'move_billing_day($1, 5, effective_at => ''2024-01-10'')', 'LB303'),
    ('{}', '{}', 'change_term($1)', 'LB208'),
    ('{}', '{}', 'change_term($1, end_at => ''2024-05-01'', cycles => 3)', 'LB208'),
    ('{}', '{}', 'change_term($1, end_at => ''2023-05-01'')', 'LB208'),
    ('{}', '{}', 'change_term($1, cycles => 0)', 'LB208'),
    ('{}', '{}', 'change_term($1, cycles => 100000)', '22008'),
    ('{}', '{}', 'move_start($1, ''infinity'')', '22008'),
    ('{}', '{"cancel_subscription($1, effective_at => ''2024-02-01'')"}', 'move_start($1, ''2024-03-01'')', 'LB303'),
    ('{}', '{}', 'change_trial($1, ''2023-12-01'')', 'LB208'),
    ('{"end_at":"2024-02-01"}', '{}', 'change_trial($1, ''2024-03-01'')', 'LB208'),
    ('{"trial_every":"1 month"}', '{}', 'pause_subscription($1, effective_at => ''2024-01-10'')', 'LB303'),
    ('{"cycles":2}', '{}', 'restart_subscription($1, effective_at => ''2024-04-01'')', 'LB303'),
    ('{"cycles":2}', '{}', 'add_item($1, ''p20'', effective_at => ''2024-04-01'')', 'LB303'),
    ('{"await_payment":true}', '{}', 'change_item($2, quantity => 2, effective_at => ''2024-02-01'')', 'LB303'),
    ('{"await_payment":true}', '{}', 'cancel_subscription($1, effective_at => ''2024-02-01'')', 'LB303'),
    ('{"await_payment":true}', '{}', 'pause_subscription($1, effective_at => ''2024-02-01'')', 'LB303'),
    ('{"await_payment":true}', '{}', 'skip_cycles($1, effective_at => ''2024-02-01'')', 'LB303'),
    ('{"await_payment":true,"end_at":"2024-02-01"}', '{}', 'activate_subscription($1, effective_at => ''2024-02-01'')', 'LB303'),
    ('{"await_payment":true}', '{"fail_subscription($1, effective_at => ''2024-01-03'')"}', 'activate_subscription($1, effective_at => ''2024-02-01'')', 'LB303'),
    ('{"await_payment":true}', '{"fail_subscription($1, effective_at => ''2024-01-03'')"}', 'change_term($1, cycles => 3)', 'LB303'),
    ('{}', '{}', 'activate_subscription($1, effective_at => ''2024-02-01'')', 'LB303'),
    ('{}', '{}', 'fail_subscription($1, effective_at => ''2024-02-01'')', 'LB303'),
    ('{}', '{}', 'change_plan($1, ''nothing'')', 'LB107'),
    ('{}', '{}', 'change_plan($1, ''any'')', 'LB208'),
    ('{}', '{}', 'change_plan($1, ''any'', ''[{"price":"p20","replaces":"p30"}]'')', 'LB207'),
    ('{}', '{}', 'change_plan($1, ''any'', ''[{"price":"nothing"}]'')', 'LB106'),
    ('{}', '{}', 'change_plan($1, ''any'', ''[7]'')', 'LB207'),
    ('{}', '{}', 'change_item($2, scheme => ''{"model":"nothing"}'')', 'LB201')
) t (more, calls, call, code);
SELECT throws_ok(format('SELECT billing.%s', c), 'LB109', NULL, c) FROM unnest(ARRAY['change_plan(7, ''any'')', 'stop_subscription(7)', 'restart_subscription(7)',
    'pause_subscription(7)', 'resume_subscription(7)', 'skip_cycles(7)', 'move_billing_day(7, 1)', 'change_term(7, cycles => 1)', 'move_start(7, now())',
    'change_trial(7, now())', 'activate_subscription(7)', 'fail_subscription(7)', 'add_item(7, ''p20'')']) c;
SELECT throws_ok(format('SELECT billing.%s', c), '22004', NULL, c) FROM unnest(ARRAY['change_plan(7, NULL)', 'move_billing_day(7, NULL)', 'move_start(7, NULL)', 'change_trial(7, NULL)', 'skip_cycles(NULL)']) c;
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

SELECT * FROM finish();
ROLLBACK;
