-- Path independence (doc/rules.md P8): whatever the order and the dates of runs, a life cycle ends with the same
-- charges per key as the same life cycle billed once at the end.
--
-- Each life is played on two accounts: one is billed at random moments, also going backwards, with corrections
-- invoiced at once or with the next invoice, and voided now and then; the other gets the same edits and one run.
-- include/life_verbs.psql lists the edits, include/life_compare.psql what must hold at the end.
--
-- Settings: test.lives how many, test.seed which, test.life one of them alone.
\set ON_ERROR_STOP on
SET billing.max_future = '100000d';
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT no_plan();

\ir include/life_catalog.psql
\ir include/life_plans.psql
\ir include/life_verbs.psql
\ir include/life_play.psql
\ir include/life_draw.psql
\ir include/life_compare.psql
\ir include/life_loop.psql

-- Statistics now and then, or plans made for empty tables stay.
SELECT statement
  FROM (SELECT coalesce(nullif(current_setting('test.lives', true), ''), '250')::int AS lives, coalesce(nullif(current_setting('test.seed', true), ''), '1') AS seed,
               nullif(current_setting('test.life', true), '')::int AS only_life) s,
       generate_series(coalesce(only_life, 1), coalesce(only_life, lives)) i,
       unnest(CASE WHEN i IN (5, 20, 80, 320) THEN ARRAY['ANALYZE'] ELSE '{}' END || format('SELECT live_through(%s, %s)', i, seed)) WITH ORDINALITY x (statement, o)
 ORDER BY i, o \gexec
SELECT count_prices();

SELECT is((SELECT count(*) FROM failure), 0::bigint, format('%s random lives end as if billed once', (SELECT count(*) FROM lives)));
SELECT diag(format('life %s: %s: %s', life, what, left(detail, 300))) FROM failure ORDER BY life LIMIT 15;
SELECT diag(reduced(life)) FROM (SELECT DISTINCT life FROM failure ORDER BY 1 LIMIT 3) x;
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound, every charge computed again');
SELECT diag(string_agg(format('%s %s', what, times), ', ' ORDER BY what)) FROM seen;
SELECT ok(EXISTS (SELECT FROM seen WHERE what = 'did ' || name), 'the generator made: ' || name) FROM verb ORDER BY name;
SELECT ok(EXISTS (SELECT FROM seen s WHERE s.what = w), 'the generator made: ' || w)
  FROM unnest(ARRAY['run', 'draft', 'finalized early', 'invoice on demand', 'void with rebill', 'void without rebill', 'late usage', 'backdated',
                    'at period end', 'invoice now', 'at another edit', 'at a cycle''s start', 'at a month''s end', 'at 29 February',
                    'excluded: void without rebill', 'excluded: document discount', 'timing advance', 'timing arrears',
                    'interval 7 days', 'interval 14 days', 'interval 1 mon', 'interval 3 mons', 'interval 1 year', 'inclusive true',
                    'meter sum', 'meter count', 'meter max', 'meter last']
               || ARRAY(SELECT format('%s side %s', s, b) FROM unnest(ARRAY['charge', 'credit']) s, unnest(ARRAY['day', 'second', '30/360', 'none', 'full']) b)
               || ARRAY(SELECT 'created with ' || x FROM unnest(ARRAY['first_period prorate', 'first_period free', 'first_period full', 'first_period join', 'trial_every',
                        'trial_end_at', 'cycles', 'end_at', 'billing_day', 'coupon', 'await_payment', 'time_zone Europe/Berlin', 'time_zone Asia/Kolkata']) x)) w;
SELECT * FROM finish();
