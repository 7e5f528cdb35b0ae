-- Random calls on random subscriptions: each is done or refused with a documented code, states follow the table of
-- transitions and the timeline, and what was counted is what counting anew gives.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SELECT no_plan();
SELECT setseed(0.42) \g /dev/null

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
SELECT billing.create_tax('none', category => 'Z', rate => 0) \g /dev/null
SELECT billing.create_price(format('%s %s', every, a), currency => 'EUR', every => every::interval, tax => 'none', scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', a))
  FROM unnest(ARRAY['1 month', '3 months', '1 year', '7 days', '14 days']) every, unnest(ARRAY[10, 11]) a \g /dev/null
SELECT billing.create_price('once', currency => 'EUR', tax => 'none', scheme => '{"model":"per_unit","unit_amount":10}') \g /dev/null
SELECT billing.create_plan('a', items => '[{"price":"1 month 10"},{"price":"3 months 10"},{"price":"once"}]'), billing.create_plan('b', items => '[{"price":"1 month 11"},{"price":"1 year 10"}]'),
       billing.create_plan('c', items => '[{"price":"1 year 11"}]'), billing.create_plan('d', items => '[{"price":"7 days 10"},{"price":"14 days 10"}]'),
       billing.create_plan('e', items => '[{"price":"1 month 10"},{"price":"once","event":"plan_activation"},{"price":"once","event":"contract_termination"}]', resume_anchor => 'resume') \g /dev/null

CREATE FUNCTION die(n int) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT floor(random() * n)::int $$;
CREATE FUNCTION pick(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT choices[1 + die(cardinality(choices))] $$;
CREATE FUNCTION some_instant() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT timestamptz '2024-01-05' + die(300) * interval '1 day' + die(3) * interval '6 hours' $$;
CREATE FUNCTION some_price() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT code FROM billing.price ORDER BY random() LIMIT 1 $$;
-- The calls; $1 is the subscription, $2 one of its items, $3 an instant, $4 another one, $5 a small number.
CREATE TEMP TABLE verb (call text);
INSERT INTO verb VALUES
    ('change_plan($1, pick(''a'', ''b'', ''c'', ''d'', ''e''), effective_at => $3, at_period_end => $5 > 3)'), ('add_item($1, some_price(), effective_at => $3, at_period_end => $5 > 3)'),
    ('add_item($1, ''once'', instalments => $5, charge_from => pick(NULL, ''2024-05-01'')::date, effective_at => $3)'), ('add_item($1, some_price(), cycles => $5, effective_at => $3)'),
    ('change_item($2, quantity => $5, effective_at => $3)'), ('change_item($2, price => some_price(), effective_at => $3)'), ('end_item($2, effective_at => $3)'),
    ('cancel_subscription($1, effective_at => $3, at_period_end => $5 > 3)'), ('undo_cancellation($1, effective_at => $3 - interval ''200 days'')'), ('stop_subscription($1, effective_at => $3, at_period_end => $5 > 3)'),
    ('restart_subscription($1, pick(''keep'', ''restart''), effective_at => $3)'), ('pause_subscription($1, effective_at => $3, at_period_end => $5 > 3)'),
    ('pause_subscription($1, until => $4, anchor => pick(NULL, ''keep'', ''resume''), effective_at => $3)'), ('pause_subscription($1, cycles => $5, anchor => pick(NULL, ''keep'', ''resume''), effective_at => $3)'),
    ('resume_subscription($1, pick(NULL, ''keep'', ''resume''), effective_at => $3)'), ('skip_cycles($1, $5, effective_at => $3)'), ('move_billing_day($1, 1 + die(31), effective_at => $3, at_period_end => $5 > 3)'),
    ('change_term($1, cycles => $5, effective_at => $4)'), ('change_term($1, end_at => $4)'), ('change_term($1, end_at => ''infinity'')'), ('move_start($1, $3)'), ('change_trial($1, $3)'),
    ('activate_subscription($1, effective_at => $3, invoice_now => false)'), ('fail_subscription($1, effective_at => $3)'),
    ('withdraw_change((SELECT coalesce(max(id), 7) FROM billing.subscription_change WHERE subscription_id = $1 AND withdrawn_at IS NULL AND $5 > 0), effective_at => ''2023-01-01'')');
CREATE TEMP TABLE outcome (life int, call text, state text, message text);

CREATE FUNCTION pg_temp.live(life int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s bigint := billing.create_subscription(billing.create_account('x'), pick('a', 'b', 'c', 'd', 'e'), start_at => some_instant() - interval '100 days',
        trial_every => pick(NULL, NULL, '14 days')::interval, cycles => pick(NULL, NULL, '5')::int, await_payment => die(6) = 0, first_period => pick('prorate', 'free', 'full', 'join'));
    c text;
BEGIN
    FOR c IN SELECT v.call FROM verb v, generate_series(1, 2) ORDER BY random() LIMIT 8 LOOP
        BEGIN
            EXECUTE 'SELECT billing.' || c USING s, (SELECT i.id FROM billing.subscription_item i WHERE i.account_id = s >> 24 ORDER BY random() LIMIT 1), some_instant(), some_instant(), 1 + die(6);
            INSERT INTO outcome VALUES (life, c, 'done');
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO outcome VALUES (life, c, SQLSTATE, SQLERRM);
        END;
    END LOOP;
END $$;
SELECT pg_temp.live(n) FROM generate_series(1, 150) n \g /dev/null

SELECT is_empty($$SELECT * FROM outcome o WHERE o.state NOT IN ('done', '22008') AND NOT EXISTS (SELECT FROM billing.error_code e WHERE e.code = o.state)$$, 'done, or refused with a documented code');
SELECT cmp_ok((SELECT count(DISTINCT call) FROM outcome WHERE state = 'done'), '>=', 20::bigint, 'nearly all of the calls were done sometimes');
SELECT is_empty($$SELECT x.* FROM (SELECT subscription_id, coalesce(lag(state) OVER (PARTITION BY subscription_id ORDER BY valid_from), 'new') AS f, state AS t FROM billing.subscription_state) x
                   WHERE NOT EXISTS (SELECT FROM billing.state_transition s WHERE s.from_state = x.f AND s.to_state = x.t)$$, 'states follow the table of transitions');
SELECT is_empty($$SELECT s.id, d.now, t.kept FROM billing.subscription s,
        LATERAL (SELECT string_agg((h.valid_from, h.state)::text, ' ' ORDER BY h.valid_from) FROM billing_internal.whole_history(billing_internal.timeline(s.id), NULL) h) d (now),
        LATERAL (SELECT string_agg((x.valid_from, x.state)::text, ' ' ORDER BY x.valid_from) FROM billing.subscription_state x WHERE x.subscription_id = s.id) t (kept)
    WHERE d.now IS DISTINCT FROM t.kept$$, 'and the timeline');
SELECT is_empty($$SELECT s.id, r FROM billing.subscription s, LATERAL (SELECT billing_internal.timeline(s.id)) t (rows), LATERAL (SELECT billing_internal.recount(t.rows, t.rows, '{}')) c (r)
    WHERE r <> '{}'$$, 'ends and instalments are as counted anew');
SELECT is_empty($$SELECT n.item_id FROM billing.instalment n JOIN billing.subscription_item i ON i.account_id = n.account_id AND i.id = n.item_id
    WHERE n.active GROUP BY n.item_id HAVING sum(n.amount) > 60 OR max(n.ordinal) <> count(*)$$, 'instalments are without gaps');
SELECT diag(string_agg(format('%s %s', state, n), ', ' ORDER BY state)) FROM (SELECT state, count(*) AS n FROM outcome GROUP BY 1) x;

SELECT * FROM finish();
ROLLBACK;
