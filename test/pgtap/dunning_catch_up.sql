-- Runs that did not come: whenever they come again, debtors who do nothing get the same steps in the same order as by a
-- run every day, none sooner, never two on one day, with at least the scheme's distance, and as soon as that allows.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(9);
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_template('acme', 'reminder', 'letter', 'en', '{step_no}') \g /dev/null
SELECT billing.create_dunning_scheme('due', currency => 'EUR', steps => '[{"after":"1 day","actions":["remind"],"template":"reminder","channels":["letter"]},{"after":"8 days","actions":["remind","fee"],"fee":5,"template":"reminder","channels":["letter"]},
           {"after":"10 days","actions":["remind"],"template":"reminder","channels":["letter"]},{"after":"24 days","actions":["agency"],"agency":"Inkasso"}]'),
       billing.create_dunning_scheme('previous', final_invoice => 'write_off', steps => '[{"after":"2 days","actions":["remind"],"template":"reminder","channels":["letter"]},{"after":"5 days","counted_from":"previous","actions":["remind"],"template":"reminder","channels":["letter"],"weekdays":[1,2,3,4,5]},
           {"after":"12 hours","counted_from":"previous","actions":["event"]},{"after":"7 days","counted_from":"previous","actions":["remind"],"template":"reminder","channels":["letter"],"not_before":"08:00","not_after":"18:00"}]') \g /dev/null
-- Every debtor once for each way in which runs come: every day, weekly, in three long gaps, now and then, every four weeks; always on a Monday where it is seldom.
CREATE FUNCTION pg_temp.dice(a int, b int) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT hashint4extended(a, b) & 2147483647 $$;
CREATE TEMP TABLE way AS SELECT way, day FROM generate_series(0, 120) day, unnest('{daily,weekly,gaps,random,monthly}'::text[]) way
 WHERE CASE way WHEN 'daily' THEN true WHEN 'weekly' THEN day % 7 = 4 WHEN 'gaps' THEN day NOT BETWEEN 12 AND 40 AND day NOT BETWEEN 42 AND 60 AND day NOT BETWEEN 62 AND 75 WHEN 'random' THEN pg_temp.dice(day, 1) % 5 = 0 ELSE day % 28 = 25 END;
CREATE TEMP TABLE debtor AS
SELECT way, n, CASE n % 2 WHEN 0 THEN 'due' ELSE 'previous' END AS scheme, billing.create_account(way || n, address => '{"city":"Ulm"}', time_zone => (ARRAY['UTC', 'America/Los_Angeles', 'Pacific/Auckland'])[1 + n % 3]) AS account_id
  FROM generate_series(1, 6) n, (SELECT DISTINCT way FROM way) w;
SELECT billing.assign_dunning_scheme(scheme, account_id => account_id), billing.record_external_invoice(account_id, way || n, '2026-01-01', 100, 'EUR', due_on => date '2026-01-06' + n * 4) FROM debtor \g /dev/null
DO $$
DECLARE
    w record;
    at timestamptz;
    due bigint[];
BEGIN
    FOR w IN SELECT y.day, array_agg(d.account_id ORDER BY d.account_id) AS accounts FROM way y JOIN debtor d USING (way) GROUP BY 1 ORDER BY 1 LOOP
        at := timestamptz '2026-01-01 10:00' + w.day * interval '1 day';
        -- as a run does, only for those accounts whose runs come on this day
        due := ARRAY(SELECT a FROM billing_internal.dunning_accounts(at, NULL, 0, 9223372036854775807) a WHERE a = ANY (w.accounts));
        CONTINUE WHEN due = '{}';
        PERFORM billing_internal.dun_accounts(due, at, false);
    END LOOP;
END $$;
CREATE TEMP TABLE step AS
SELECT d.way, d.n, d.scheme, x.step_no, x.due_at, x.done_at, (x.done_at AT TIME ZONE a.time_zone)::date AS done_on, s.after, s.counted_from, x.done,
       (lag(x.done_at AT TIME ZONE a.time_zone) OVER w)::date AS before_on, lag(s.after) OVER w AS before_after
  FROM billing.dunning_action x JOIN debtor d USING (account_id) JOIN billing.account a USING (account_id) JOIN billing.dunning_step s ON s.scheme = d.scheme AND s.version = 1 AND s.step_no = x.step_no
WINDOW w AS (PARTITION BY d.account_id ORDER BY x.done_at, x.step_no);
SELECT set_eq('SELECT DISTINCT way, count(*) FROM step WHERE way <> ''monthly'' GROUP BY way, n', $$SELECT way, 4 FROM way WHERE way <> 'monthly'$$, 'everybody gets every step, but where a run comes once a month');
SELECT cmp_ok((SELECT count(*) FROM step WHERE way = 'monthly'), '>=', 18::bigint, 'there at least three');
SELECT is_empty('SELECT way, n, array_agg(step_no ORDER BY done_at) FROM step GROUP BY 1, 2 HAVING array_agg(step_no ORDER BY done_at) <> array_agg(step_no ORDER BY step_no)', 'in their order');
SELECT is_empty('SELECT way, n, done_on FROM step GROUP BY 1, 2, 3 HAVING count(*) > 1', 'never two on one day');
SELECT is_empty($$SELECT s.* FROM step s JOIN step d ON d.way = 'daily' AND d.n = s.n AND d.step_no = s.step_no WHERE s.done_at < d.done_at$$, 'none sooner than by daily runs');
SELECT is_empty($$SELECT * FROM step WHERE done_on - before_on < extract(day FROM CASE counted_from WHEN 'due' THEN after - before_after ELSE after END)$$, 'at the distance of the scheme');
SELECT is_empty($$SELECT s.* FROM step s JOIN debtor d USING (way, n) WHERE EXISTS (SELECT FROM way y WHERE y.way = s.way
                     AND timestamptz '2026-01-01 10:00' + y.day * interval '1 day' >= s.due_at AND timestamptz '2026-01-01 10:00' + y.day * interval '1 day' < s.done_at)$$, 'by the first run that comes after it is due');
SELECT is_empty($$SELECT d.way, d.n, i.status, c.state FROM debtor d JOIN billing.invoice i ON i.account_id = d.account_id AND i.kind = 'invoice' JOIN billing.dunning_case c ON c.account_id = d.account_id
                   WHERE d.way <> 'monthly' AND (i.status, c.state) <> (CASE d.scheme WHEN 'due' THEN 'open' ELSE 'uncollectible' END, CASE d.scheme WHEN 'due' THEN 'at_agency' ELSE 'written_off' END)$$, 'to the same end');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
