-- Ninety days, day by day, of invoices that are paid, paid in part, charged back and credited at random: each ends paid,
-- credited, given up or at the agency, no step comes twice in a round, and nothing is sent while nothing is due.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(11);
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_interest_rate('legal', 10.15, '2024-07-01') \g /dev/null
SELECT billing.create_dunning_scheme('agency', currency => 'EUR', interest => 'legal', steps => '[{"after":"-3 days","actions":["event"]},{"after":"3 days","actions":["event","fee"],"fee":5},
    {"after":"5 days","counted_from":"previous","actions":["event","interest"],"weekdays":[1,2,3,4,5]},{"after":"5 days","counted_from":"previous","actions":["agency"],"agency":"Inkasso"}]') \g /dev/null
SELECT billing.create_dunning_scheme('loss', currency => 'EUR', final_invoice => 'write_off', steps => '[{"after":"1 day","actions":["event"]},{"after":"9 days","actions":["event","fee"],"fee":2.50}]') \g /dev/null
CREATE FUNCTION pg_temp.dice(seed int, roll int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashint4extended(seed, roll) & 2147483647 $$;
CREATE TEMP TABLE debtor (n int, account bigint, zone text, invoice bigint);
INSERT INTO debtor SELECT n, NULL, (ARRAY['UTC', 'Europe/Berlin', 'America/Los_Angeles', 'Pacific/Auckland'])[1 + n % 4], NULL FROM generate_series(1, 36) n;
UPDATE debtor SET account = billing.create_account('debtor ' || n, time_zone => zone);
SELECT billing.assign_dunning_scheme(CASE WHEN n % 3 = 0 THEN 'loss' ELSE 'agency' END, account_id => account) FROM debtor \g /dev/null
UPDATE debtor SET invoice = billing.record_external_invoice(account, 'X-' || n, date '2025-01-01', 100 + pg_temp.dice(n, 1) % 900, 'EUR', due_on => date '2025-01-10' + (pg_temp.dice(n, 2) % 20)::int);

CREATE TEMP TABLE act (day int, n int, act text, outcome text);
-- What a debtor does on a day, until the seventieth: afterwards the scheme has its way.
CREATE FUNCTION pg_temp.live(d pg_temp.debtor, day int, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seed CONSTANT int := d.n * 1000 + day;
    due numeric := (SELECT i.amount_due FROM billing.invoice i WHERE i.id = d.invoice AND i.status = 'open');
    payment bigint := (SELECT p.id FROM billing.payment p WHERE p.account_id = d.account AND p.kind = 'payment' AND p.amount_allocated > 0 ORDER BY p.id DESC LIMIT 1);
    c billing.dunning_case := (SELECT x FROM billing.dunning_case x WHERE x.account_id = d.account AND x.invoice_id = d.invoice);
    act CONSTANT text := (ARRAY['pay', 'part', 'back', 'refund', 'credit', 'promise', 'parts', 'dispute', 'stop', 'report'])[1 + pg_temp.dice(seed, 3) % 10];
BEGIN
    IF pg_temp.dice(seed, 4) % 8 > 0 OR day > 45 OR act = 'stop' AND c.state = 'at_agency' THEN RETURN NULL; END IF;
    CASE act
    WHEN 'pay' THEN PERFORM billing.record_payment(d.account, due, 'EUR', invoice_ids => ARRAY[d.invoice], effective_at => at);
    WHEN 'part' THEN PERFORM billing.record_payment(d.account, round(due / 2, 2), 'EUR', invoice_ids => ARRAY[d.invoice], effective_at => at);
    WHEN 'back' THEN PERFORM billing.charge_back_payment(payment, effective_at => at);
    WHEN 'refund' THEN PERFORM billing.refund_payment(payment, effective_at => at);
    WHEN 'credit' THEN PERFORM billing.credit_invoice(d.invoice, amount => 10, effective_at => at);
    WHEN 'promise' THEN PERFORM billing.promise_payment(c.id, round(due / 3, 2), at::date + 3, effective_at => at);
    WHEN 'parts' THEN PERFORM billing.arrange_payments(d.account, ARRAY[d.invoice], 3, 'week', costs => 5, effective_at => at);
    WHEN 'dispute' THEN PERFORM billing.pause_case(c.id, 'dispute', until => at + interval '5 days', effective_at => at);
    WHEN 'stop' THEN PERFORM billing.stop_case(c.id, effective_at => at), billing.resume_case(c.id, effective_at => at);
    ELSE PERFORM billing.report_transfer(t.id, 'accepted', effective_at => at) FROM billing.agency_transfer t WHERE t.account_id = d.account AND t.state = 'pending';
    END CASE;
    RETURN act;
EXCEPTION WHEN OTHERS THEN RETURN act || ' ' || SQLSTATE;
END $$;
-- The state at the end of each day, and what the preview said before each run.
CREATE TEMP TABLE sent (day int, account bigint, step int, previewed boolean, open numeric);
CREATE FUNCTION pg_temp.play() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz;
BEGIN
    FOR day IN 0 .. 89 LOOP
        at := timestamptz '2025-01-05 07:00' + day * interval '1 day';
        INSERT INTO act SELECT day, d.n, x.act FROM debtor d, LATERAL pg_temp.live(d, day, at) x (act) WHERE x.act IS NOT NULL ORDER BY d.n;
        -- a few days the run does not come
        CONTINUE WHEN day % 17 IN (4, 5, 6);
        CREATE TEMP TABLE foretold ON COMMIT DROP AS SELECT p.account_id, p.round, p.step_no FROM billing.dunning_preview(at + interval '1 hour') p;
        CREATE TEMP TABLE open_before ON COMMIT DROP AS SELECT i.id, i.amount_due FROM billing.invoice i JOIN debtor d ON d.invoice = i.id WHERE i.status = 'open';
        CALL billing.dunning_run(at + interval '1 hour', batch_size => 7);
        CALL billing.dunning_run(at + interval '2 hours');
        INSERT INTO sent SELECT day, x.account_id, x.step_no, f.account_id IS NOT NULL, o.amount_due
          FROM billing.dunning_action x JOIN debtor d ON d.account = x.account_id LEFT JOIN open_before o ON o.id = d.invoice
          FULL JOIN foretold f ON f.account_id = x.account_id AND f.round = x.round AND f.step_no = x.step_no AND x.done_at = at + interval '1 hour'
         WHERE x.done_at >= at + interval '1 hour' AND x.done_at < at + interval '1 day' OR x.account_id IS NULL;
        DROP TABLE foretold, open_before;
    END LOOP;
END $$;
SELECT pg_temp.play() \g /dev/null
SELECT cmp_ok((SELECT count(*) FROM billing.dunning_action), '>', 90::bigint, 'much was done');
SELECT cmp_ok((SELECT max(round) FROM billing.dunning_case), '>', 1, 'some cases opened again');
SELECT bag_has($$SELECT DISTINCT act FROM act$$, $$VALUES ('pay'), ('part'), ('back'), ('refund'), ('credit'), ('promise'), ('parts'), ('dispute'), ('stop')$$, 'everything happened at least once');
SELECT is_empty($$SELECT i.id, i.status, c.state, c.next_step_at FROM debtor d JOIN billing.invoice i ON i.id = d.invoice LEFT JOIN billing.dunning_case c ON c.account_id = d.account AND c.invoice_id = i.id
                  WHERE NOT (i.status IN ('paid', 'uncollectible', 'void') OR c.state = 'at_agency')$$, 'every invoice ended paid, credited, given up or at the agency');
SELECT is_empty($$SELECT case_id, (done_at AT TIME ZONE zone)::date FROM billing.dunning_action x JOIN debtor d ON d.account = x.account_id GROUP BY 1, 2 HAVING count(*) > 1$$,
                'no case had two steps on one day');
SELECT is_empty($$SELECT * FROM sent WHERE coalesce(open, 0) = 0$$, 'nothing was done of an invoice of which nothing was due');
SELECT is_empty($$SELECT * FROM sent WHERE account IS NULL OR NOT previewed$$, 'the preview foretold what each run did, and the second run of a day did nothing');
SELECT is_empty($$SELECT case_id, round, array_agg(step_no ORDER BY done_at) FROM billing.dunning_action GROUP BY 1, 2
                  HAVING array_agg(step_no ORDER BY done_at) <> array_agg(step_no ORDER BY step_no)$$, 'steps came in their order');
SELECT is_empty($$SELECT x.case_id, x.step_no, x.done_at - x.before FROM (SELECT a.*, lag(a.done_at) OVER w AS before, lag(a.done <> '{}') OVER w AS acted FROM billing.dunning_action a
                         WINDOW w AS (PARTITION BY a.case_id, a.round ORDER BY a.step_no)) x
                   JOIN billing.dunning_case c ON c.id = x.case_id JOIN billing.dunning_step s ON s.scheme = c.scheme AND s.version = c.version AND s.step_no = x.step_no
                  WHERE s.counted_from = 'previous' AND x.acted AND x.done_at::date < x.before::date + 5$$, 'and at their distance');
SELECT is_empty($$SELECT * FROM billing.run_error$$, 'no account could not be dunned');
SELECT is_empty($$SELECT * FROM billing.check(deep => true)$$, 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
