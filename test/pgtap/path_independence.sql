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

DO $$
DECLARE
    lives CONSTANT int := coalesce(nullif(current_setting('test.lives', true), ''), '200');
    seed CONSTANT int := coalesce(nullif(current_setting('test.seed', true), ''), '1');
    only_life CONSTANT int := nullif(current_setting('test.life', true), '');
BEGIN
    FOR i IN coalesce(only_life, 1) .. coalesce(only_life, lives) LOOP
        PERFORM live_through(i, seed);
    END LOOP;
END $$;
SELECT count_prices();

SELECT is((SELECT count(*) FROM failure), 0::bigint, format('%s random lives end as if billed once', (SELECT count(*) FROM lives)));
SELECT diag(format('life %s: %s: %s', life, what, left(detail, 300))) FROM failure ORDER BY life LIMIT 15;
SELECT diag(reduced(life)) FROM (SELECT DISTINCT life FROM failure ORDER BY 1 LIMIT 6) x;
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound, every charge computed again');
SELECT diag(string_agg(format('%s %s', what, times), ', ' ORDER BY what)) FROM seen;
SELECT ok(EXISTS (SELECT FROM seen WHERE what = 'did ' || name), 'the generator made: ' || name) FROM verb ORDER BY name;
SELECT * FROM finish();
