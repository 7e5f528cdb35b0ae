-- Changes as a whole: what is remembered of each, what is to come, and taking it back.
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
SELECT billing.create_account('Changes') AS account \gset
SELECT billing.create_subscription(:account, 'any', start_at => '2026-04-01') AS s \gset

-- All rows of a timeline, to see that nothing else changed.
CREATE FUNCTION pg_temp.timeline(subscription bigint) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(key, (SELECT jsonb_agg(x ORDER BY x::text) FROM jsonb_array_elements(value) x))
      FROM jsonb_each(billing_internal.normal_rows(billing_internal.timeline(subscription))) $$;

-- A plan writes nothing.
CREATE TEMP TABLE before AS SELECT pg_temp.timeline(:s) AS rows;
SELECT is((SELECT e->'interruption'->0->>'from_at' FROM billing_internal.plan_change(:s, '{"verb":"cancel_subscription","effective_at":"2026-05-01T00:00:00Z"}') e)::timestamptz,
          '2026-05-01'::timestamptz, 'a plan says what would be');
SELECT is(pg_temp.timeline(:s), rows, 'and writes nothing') FROM before;
SELECT is((SELECT count(*) FROM billing.subscription_change), 0::bigint, 'nor remembers anything');
SELECT throws_ok(format('SELECT billing_internal.plan_change(%s, %L)', :s, c), e, NULL, c) FROM (VALUES
    ('{}', 'LB208'), ('[]', 'LB208'), ('{"verb":"nothing"}', 'LB208'), ('{"verb":"create_account","name":"x"}', 'LB208'),
    ('{"verb":"cancel_subscription","when":"2026-05-01"}', 'LB208'), ('{"verb":"cancel_subscription","at_period_end":7}', 'LB208'),
    ('{"verb":"cancel_subscription","subscription_id":7}', 'LB208'), ('{"verb":"end_item","item_id":7}', 'LB114'),
    ('{"verb":"change_item","quantity":7}', '22004'), ('{"verb":"change_plan"}', '22004'), ('{"verb":"move_billing_day"}', '22004'), ('{"verb":"cancel_subscription","effective_at":"2026-03-01T00:00:00Z"}', 'LB303')) t (c, e);
SELECT throws_ok('SELECT billing_internal.plan_change(7, ''{"verb":"cancel_subscription"}'')', 'LB109', NULL, 'no such subscription');

-- What is remembered.
SELECT billing.change_item(:s + 1, quantity => 3, effective_at => '2026-05-10', reason => 'grew') \g /dev/null
SELECT billing.add_item(:s, 'p20', quantity => 2, effective_at => '2026-05-20') AS item \gset
SELECT billing.cancel_subscription(:s, effective_at => '2026-06-10', at_period_end => true) \g /dev/null
SELECT results_eq(format('SELECT verb, effective_at, arguments - ARRAY[''effective_at''], reason FROM billing.pending_changes(%s, ''2026-04-15'')', :s),
    format($$VALUES ('change_item', '2026-05-10'::timestamptz, '{"item_id":%s,"quantity":3,"at_period_end":false,"reason":"grew"}'::jsonb, 'grew'),
             ('add_item', '2026-05-20', '{"price":"p20","quantity":2,"own_invoice":false,"at_period_end":false}', NULL),
             ('cancel_subscription', '2026-07-01', '{"at_period_end":true}', NULL)$$, :s + 1), 'what is to come, in the order in which it comes');
SELECT results_eq(format('SELECT verb FROM billing.pending_changes(%s, ''2026-05-20'')', :s), $$VALUES ('cancel_subscription')$$, 'what takes effect at the moment is not to come');
SELECT is((SELECT count(*) FROM billing.pending_changes(:s)), 0::bigint, 'the moment defaults to now');
SELECT is((SELECT replaced FROM billing.subscription_change WHERE verb = 'change_item'), '{}', 'new terms replace nothing');
SELECT throws_ok('SELECT * FROM billing.pending_changes(7)', 'LB109', NULL, 'changes of no subscription');

-- Taken back one by one, in any order, everything is as before but the item, which ends as it begins.
SELECT change_id AS c FROM billing.pending_changes(:s, '2026-04-15') WHERE verb = 'change_item' \gset
SELECT throws_ok(format('SELECT billing.withdraw_change(%s)', :c), 'LB304', NULL, 'what has taken effect stays');
SELECT throws_ok(format('SELECT billing.withdraw_change(%s, effective_at => ''2026-05-10'')', :c), 'LB304', NULL, 'also at the very instant');
SELECT throws_ok('SELECT billing.withdraw_change(7)', 'LB115', NULL, 'no such change');
SELECT throws_ok('SELECT billing.withdraw_change(7, effective_at => ''infinity'')', '22008', NULL, 'no such moment');
SELECT is(billing.withdraw_change(:c, effective_at => '2026-05-09', reason => 'error', idempotency_key => 'w'), :c::bigint, 'withdrawn');
SELECT is(billing.withdraw_change(:c, effective_at => '2026-05-09', reason => 'error', idempotency_key => 'w'), :c::bigint, 'once, by its key');
SELECT throws_ok(format('SELECT billing.withdraw_change(%s, effective_at => ''2026-05-09'')', :c), 'LB304', NULL, 'but not twice');
SELECT is((SELECT (withdrawn_at, reason)::text FROM billing.subscription_change WHERE id = :c), '("2026-05-09 00:00:00+00",error)', 'when and why');
SELECT billing.withdraw_change(change_id, effective_at => '2026-04-15') FROM billing.pending_changes(:s, '2026-04-15') \g /dev/null
SELECT is((SELECT end_at FROM billing.subscription_item WHERE id = :item), '2026-05-20'::timestamptz, 'an item that never came');
SELECT is(pg_temp.timeline(:s) - ARRAY['subscription_item', 'item_version'], rows - ARRAY['subscription_item', 'item_version'], 'all else is as it was') FROM before;
SELECT is((SELECT count(*) FROM billing.item_version WHERE item_id = :s + 1), 1::bigint, 'the terms too');
SELECT billing.bill_account(:account, '2026-07-01') \g /dev/null
SELECT is((SELECT array_agg(amount ORDER BY period_start) FROM billing.invoice_line WHERE account_id = :account), ARRAY[10.00, 10.00, 10.00, 10.00], 'and is charged so');

-- What was changed again cannot be taken back before that.
SELECT billing.cancel_subscription(:s, effective_at => '2026-09-01') \g /dev/null
SELECT change_id AS c FROM billing.pending_changes(:s, '2026-08-01') \gset
SELECT billing.undo_cancellation(:s, effective_at => '2026-08-01') \g /dev/null
SELECT throws_matching(format('SELECT billing.withdraw_change(%s, effective_at => ''2026-08-01'')', :c), 'changed again', 'what was changed again stays');
SELECT billing.withdraw_change(max(id), effective_at => '2026-08-01') FROM billing.subscription_change \g /dev/null
SELECT billing.withdraw_change(:c, effective_at => '2026-08-01') \g /dev/null
SELECT is((SELECT count(*) FROM billing.interruption), 0::bigint, 'until that is taken back');

-- Each verb taken back by itself: all is as it was, also what it made of the calendar, the term and the states.
CREATE FUNCTION pg_temp.withdrawn(call text, after text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    s bigint := billing.create_subscription(billing.create_account('x'), 'any', start_at => '2026-01-01', cycles => 9, trial_every => '1 month');
    before jsonb;
    states text;
BEGIN
    PERFORM billing.add_item(s, 'once', instalments => 3, effective_at => '2026-02-01');
    IF after IS NOT NULL THEN EXECUTE 'SELECT billing.' || after USING s; END IF;
    before := pg_temp.timeline(s);
    states := (SELECT string_agg(x::text, ' ' ORDER BY valid_from) FROM billing.subscription_state x WHERE subscription_id = s);
    EXECUTE 'SELECT billing.' || call USING s;
    PERFORM billing.withdraw_change(max(id), effective_at => '2025-12-31') FROM billing.subscription_change WHERE subscription_id = s;
    RETURN pg_temp.held(pg_temp.timeline(s)) = pg_temp.held(before)
       AND (SELECT string_agg(x::text, ' ' ORDER BY valid_from) FROM billing.subscription_state x WHERE subscription_id = s) = states;
END $$;
-- Without instalments that no cycle takes and items that never were.
CREATE FUNCTION pg_temp.held(timeline jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT timeline || jsonb_build_object('instalment', (SELECT jsonb_agg(e ORDER BY e::text) FROM jsonb_array_elements(timeline->'instalment') e WHERE e->>'active' = 'true'),
        'subscription_item', (SELECT jsonb_agg(e ORDER BY e::text) FROM jsonb_array_elements(timeline->'subscription_item') e WHERE e->'end_at' <> e->'start_at' OR e->>'end_at' IS NULL),
        'item_version', (SELECT jsonb_agg(v ORDER BY v::text) FROM jsonb_array_elements(timeline->'item_version') v
                          WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(timeline->'subscription_item') i WHERE i->'id' = v->'item_id' AND i->'end_at' = i->'start_at'))) $$;
SELECT billing.create_price('once', currency => 'EUR', tax => 'none', scheme => '{"model":"flat","flat_amount":100}'),
       billing.create_price('week', currency => 'EUR', every => '7 days', tax => 'none', scheme => '{"model":"flat","flat_amount":100}') \g /dev/null
SELECT billing.create_plan('week', items => '[{"price":"week"}]'), billing.create_plan('p20', items => '[{"price":"p20"},{"price":"p30"}]') \g /dev/null
SELECT ok(pg_temp.withdrawn(call, after), format('%s%s', call, ' after ' || after)) FROM (VALUES
    ('change_item($1 + 1, quantity => 2, effective_at => ''2026-03-01'')', NULL),
    ('add_item($1, ''p20'', cycles => 2, effective_at => ''2026-03-01'')', NULL),
    ('add_item($1, ''once'', instalments => 2, effective_at => ''2026-03-01'')', NULL),
    ('end_item($1 + 1, effective_at => ''2026-03-01'')', NULL),
    ('change_plan($1, ''p20'', effective_at => ''2026-03-01'')', NULL),
    ('change_plan($1, ''week'', effective_at => ''2026-03-10'')', NULL),
    ('cancel_subscription($1, effective_at => ''2026-03-10'')', NULL),
    ('undo_cancellation($1, effective_at => ''2026-02-10'')', 'cancel_subscription($1, effective_at => ''2026-03-10'')'),
    ('stop_subscription($1, effective_at => ''2026-03-10'')', NULL),
    ('restart_subscription($1, ''restart'', effective_at => ''2026-05-20'')', 'stop_subscription($1, effective_at => ''2026-03-10'')'),
    ('add_item($1, ''p20'', effective_at => ''2026-05-20'')', 'stop_subscription($1, effective_at => ''2026-03-10'')'),
    ('pause_subscription($1, until => ''2026-05-20'', anchor => ''resume'', effective_at => ''2026-03-10'')', NULL),
    ('pause_subscription($1, until => ''2026-05-30'', anchor => ''resume'', effective_at => ''2026-03-15'')', 'pause_subscription($1, until => ''2026-05-20'', anchor => ''resume'', effective_at => ''2026-03-10'')'),
    ('resume_subscription($1, effective_at => ''2026-04-15'')', 'pause_subscription($1, until => ''2026-05-20'', anchor => ''resume'', effective_at => ''2026-03-10'')'),
    ('skip_cycles($1, 2, effective_at => ''2026-03-10'')', NULL),
    ('move_billing_day($1, 15, effective_at => ''2026-03-10'')', NULL),
    ('move_billing_day($1, 20, effective_at => ''2026-03-10'')', 'move_billing_day($1, 15, effective_at => ''2026-03-10'')'),
    ('change_term($1, cycles => 5)', NULL),
    ('change_term($1, end_at => ''2026-06-10'')', NULL),
    ('change_term($1, end_at => ''infinity'')', NULL),
    ('move_start($1, ''2026-01-20'')', NULL),
    ('change_trial($1, ''2026-02-20'')', NULL)) t (call, after);
SELECT billing.create_subscription(billing.create_account('x'), 'any', start_at => '2026-01-01') AS s \gset
SELECT billing.move_billing_day(:s, 15, effective_at => '2026-03-10'), billing.skip_cycles(:s, effective_at => '2026-05-01') \g /dev/null
SELECT throws_ok(format('SELECT billing.withdraw_change(%s, effective_at => ''2026-01-01'')', min(change_id)), 'LB304', NULL, 'a calendar of which cycles are skipped') FROM billing.pending_changes(:s, '2026-01-01');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

SELECT * FROM finish();
ROLLBACK;
