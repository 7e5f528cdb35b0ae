-- A thousand invoices of bill runs, ninety days, day by day: collected, declined, paid in part, taken back weeks later,
-- credited, promised, disputed, arranged and dunned at random.  Every invoice ends paid, credited, given up or at an agency;
-- the journal balances and tells what is open every day; nothing is sent while nothing is due; nothing is done twice.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(18);

-- Two sellers in two currencies, four schemes.
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC', payment_terms_days => 7),
       billing.create_entity('bolt', name => 'Bolt Inc', country => 'US', currency => 'USD', time_zone => 'UTC', payment_terms_days => 7) \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19, entity => 'acme'), billing.create_tax_rate('vat', category => 'S', rate => 8, entity => 'bolt') \g /dev/null
SELECT billing.create_price('seat-' || c, currency => c, every => '20 days', tax => 'vat', timing => 'advance', scheme => '{"model":"per_unit","unit_amount":10}') FROM unnest('{EUR,USD}'::text[]) c \g /dev/null
SELECT billing.create_plan('team-' || c, items => format('[{"price":"seat-%s"}]', c)::jsonb) FROM unnest('{EUR,USD}'::text[]) c \g /dev/null
SELECT billing.create_interest_rate('legal', 10.15, '2024-07-01'), billing.create_retry_policy('days', '{1 day,4 days,8 days}', window_length => '10 days', window_attempts => 3) \g /dev/null
SELECT billing.create_template(e, 'reminder', c, 'en', '{amount_due} {currency}', subject => CASE c WHEN 'mail' THEN '{number}' END), billing.create_template(e, 'receipt', 'mail', 'en', '{payment_amount}', subject => 'Thank you')
  FROM unnest('{acme,bolt}'::text[]) e, unnest('{mail,letter}'::text[]) c \g /dev/null
SELECT billing.create_dunning_scheme('agency-EUR', currency => 'EUR', interest => 'legal', fixed_sum => 40, claim_tax => 'vat', retry_policy => 'days', final_invoice => 'write_off', steps => '[
           {"after":"-2 days","actions":["remind"],"template":"reminder"}, {"after":"2 days","actions":["remind","retry_collection"],"template":"reminder","channels":["mail","letter"]},
           {"after":"5 days","counted_from":"previous","actions":["remind","fee","interest"],"template":"reminder","fee":5,"weekdays":[1,2,3,4,5]},
           {"after":"5 days","counted_from":"previous","actions":["agency"],"agency":"Inkasso"}]'),
       billing.create_dunning_scheme('loss-USD', currency => 'USD', final_invoice => 'write_off', steps => '[
           {"after":"1 day","actions":["remind","fee"],"fee":2.50,"template":"reminder"}, {"after":"9 days","actions":["event","suspend"],"minimum_due":20}, {"after":"12 days","actions":["write_off"]}]'),
       billing.create_dunning_scheme('stop-EUR', currency => 'EUR', step_cap => 6, final_invoice => 'write_off', steps => '[
           {"after":"3 days","actions":["remind"],"template":"reminder"}, {"after":"10 days","actions":["remind","stop"],"template":"reminder"}, {"after":"15 days","actions":["event"]}]'),
       billing.create_dunning_scheme('whole-EUR', currency => 'EUR', scope => 'account', interest => 'legal', final_invoice => 'write_off', rounds_restart => true, steps => '[
           {"after":"1 day","actions":["remind"],"template":"reminder"}, {"after":"6 days","actions":["remind","interest"],"template":"reminder"}, {"after":"12 days","actions":["agency"],"agency":"Inkasso"}]') \g /dev/null
SELECT billing.set_payment_rules('acme', payment_tolerance => 0.50, collect => 'due', retry_policy => 'days', dunning_scheme => 'agency-EUR'),
       billing.set_payment_rules('bolt', collect => 'issue', retry_policy => 'days', dunning_scheme => 'loss-USD') \g /dev/null

-- Cheap and repeatable numbers between 0 and 2^31 - 1; others with another test.seed.
CREATE FUNCTION pg_temp.dice(a bigint, b int, roll int) RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT hashint8extended(a * 1000 + b, roll + 100 * coalesce(current_setting('test.seed', true), '0')::bigint) & 2147483647 $$;
-- Customers in four zones with a card, a direct debit or neither; some have only an address, some cannot be reached.
CREATE TEMP TABLE customer AS
SELECT n, c.currency, a.account_id FROM generate_series(1, 350) n, LATERAL (SELECT CASE WHEN n % 5 = 0 THEN 'USD' ELSE 'EUR' END) c (currency),
       LATERAL (SELECT billing.create_account('Customer ' || n, entity => CASE c.currency WHEN 'EUR' THEN 'acme' ELSE 'bolt' END, email => CASE WHEN n % 7 > 1 THEN n || '@example.com' END,
                    address => CASE WHEN n % 7 = 1 THEN '{"city":"Ulm"}'::jsonb END, time_zone => (ARRAY['UTC', 'Europe/Berlin', 'America/Los_Angeles', 'Pacific/Auckland'])[1 + n / 3 % 4]) AS account_id) a;
SELECT billing.create_subscription(account_id, 'team-' || currency, start_at => '2026-01-01', items => format('[{"price":"seat-%s","quantity":%s}]', currency, 1 + pg_temp.dice(n, 0, 1) % 20)::jsonb) FROM customer \g /dev/null
SELECT billing.add_payment_method(account_id, CASE n % 3 WHEN 0 THEN 'card' ELSE 'direct_debit' END, provider => 'psp', token => 'tok-' || n) FROM customer WHERE n % 3 < 2 \g /dev/null
SELECT billing.assign_dunning_scheme(CASE n % 10 WHEN 3 THEN 'stop-EUR' ELSE 'whole-EUR' END, account_id => account_id) FROM customer WHERE n % 10 IN (3, 7) \g /dev/null

-- What customers, agencies and clerks do until day 62; afterwards the schemes have their way.
CREATE TEMP TABLE act (day int, n int, act text, outcome text);
CREATE FUNCTION pg_temp.live(c pg_temp.customer, day int, at timestamptz, act text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    luck CONSTANT bigint := pg_temp.dice(c.n, day, 3);
    i record;
    payment CONSTANT bigint := (SELECT p.id FROM billing.payment p WHERE p.account_id = c.account_id AND p.kind = 'payment' AND p.received_at < at - interval '10 days'
                                   AND p.amount_refunded + p.amount_charged_back = 0 ORDER BY p.id OFFSET luck % 2 LIMIT 1);
    d billing.dunning_case := (SELECT x FROM billing.dunning_case x WHERE x.account_id = c.account_id AND x.state <> 'succeeded' ORDER BY x.id DESC LIMIT 1);
BEGIN
    SELECT x.id, x.amount_due, x.due_on INTO i FROM billing.invoice x WHERE x.account_id = c.account_id AND x.status = 'open' AND x.kind = 'invoice' ORDER BY x.id OFFSET luck % 2 LIMIT 1;
    CASE act
    WHEN 'pay' THEN PERFORM billing.record_payment(c.account_id, sum(x.amount_due), c.currency, effective_at => at) FROM billing.invoice x WHERE x.account_id = c.account_id AND x.status = 'open' AND x.kind <> 'credit_note';
    WHEN 'named' THEN PERFORM billing.record_payment(c.account_id, i.amount_due - (luck % 3 > 0)::int * 0.30, c.currency, invoice_ids => ARRAY[i.id], provider => 'psp', reference => format('%s/%s', c.n, day), effective_at => at);
    WHEN 'part' THEN PERFORM billing.record_payment(c.account_id, round(i.amount_due / 3, 2), c.currency, effective_at => at);
    WHEN 'over' THEN PERFORM billing.record_payment(c.account_id, i.amount_due + 15, c.currency, rules => '{pro_rata}', effective_at => at);
    WHEN 'back' THEN PERFORM billing.charge_back_payment(payment, fee => 3, pass_on => luck % 3 > 0, effective_at => at);
    WHEN 'refund' THEN PERFORM billing.refund_payment(payment, effective_at => at);
    WHEN 'credit' THEN PERFORM billing.credit_invoice(i.id, amount => CASE luck % 3 WHEN 0 THEN 7 END, effective_at => at);
    WHEN 'promise' THEN PERFORM billing.promise_payment(d.id, round(x.amount_due / 2, 2), at::date + 3, effective_at => at) FROM billing.invoice x WHERE x.id = d.invoice_id;
    WHEN 'keep' THEN PERFORM billing.record_payment(c.account_id, p.amount, c.currency, invoice_ids => ARRAY[d.invoice_id], effective_at => at) FROM billing.promise p WHERE p.account_id = c.account_id AND p.state = 'open';
                     IF NOT FOUND THEN RETURN NULL; END IF;
    WHEN 'instalment' THEN PERFORM billing.record_payment(c.account_id, x.amount_due, c.currency, invoice_ids => ARRAY[x.id], effective_at => at) FROM billing.arrangement a
                              JOIN billing.arrangement_invoice v ON v.account_id = a.account_id AND v.arrangement_id = a.id JOIN billing.invoice x ON x.account_id = v.account_id AND x.id = v.invoice_id
                             WHERE a.account_id = c.account_id AND a.state = 'active' AND x.status = 'open' AND (luck % 3 > 0 OR x.kind = 'claim');
                           IF NOT FOUND THEN RETURN NULL; END IF;
    WHEN 'parts' THEN PERFORM billing.arrange_payments(c.account_id, ARRAY[i.id], 3, 'two_days', costs => 5, effective_at => at);
    WHEN 'dispute' THEN PERFORM billing.pause_case(d.id, 'dispute', until => at + interval '4 days 3 hours', effective_at => at);
    WHEN 'stop' THEN PERFORM billing.stop_case(d.id, effective_at => at), billing.resume_case(d.id, effective_at => at);
    WHEN 'agency' THEN PERFORM billing.report_transfer(t.id, r.state, amount_recovered => 0, effective_at => at) FROM billing.agency_transfer t,
                              LATERAL (SELECT CASE t.state WHEN 'pending' THEN 'accepted' WHEN 'pending_recall' THEN 'recalled' ELSE (ARRAY['refused', 'paid_in_part'])[1 + luck % 2] END) r (state)
                        WHERE t.account_id = c.account_id AND t.state IN ('pending', 'accepted', 'pending_recall');
                     IF NOT FOUND THEN RETURN NULL; END IF;
    WHEN 'give up' THEN PERFORM billing.write_off_invoice(i.id, effective_at => at);
    END CASE;
    RETURN 'done';
-- nothing there, or in another state
EXCEPTION WHEN null_value_not_allowed OR SQLSTATE 'LB110' OR SQLSTATE 'LB140' OR SQLSTATE 'LB144' OR SQLSTATE 'LB208' OR SQLSTATE 'LB403' OR SQLSTATE 'LB501' OR SQLSTATE 'LB502' OR SQLSTATE 'LB506' THEN RETURN SQLSTATE;
END $$;
-- A worker that collects, and now and then is lost; what it submitted is known days later.
CREATE TEMP TABLE collected (reference text, amount numeric);
CREATE FUNCTION pg_temp.collect(day int, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c record;
    luck bigint;
BEGIN
    CALL billing.collection_run(at);
    FOR c IN SELECT x.collection_id AS id, x.amount, x.attempt_key FROM billing.claim_collections('w', 1000, at => at) x
             UNION ALL SELECT x.id, x.amount, NULL FROM billing.collection x WHERE x.status = 'submitted' LOOP
        luck := pg_temp.dice(c.id, day, 4) % 100;
        IF luck < 40 THEN
            PERFORM billing.settle_collection(c.id, 'succeeded', reference => c.attempt_key, effective_at => at);
            INSERT INTO collected SELECT t.reference, c.amount FROM billing.collection_attempt t WHERE t.account_id = c.id >> 24 AND t.collection_id = c.id ORDER BY t.attempt_no DESC LIMIT 1;
        ELSIF luck < 60 AND day < 70 THEN
            PERFORM billing.settle_collection(c.id, 'submitted', reference => c.attempt_key, effective_at => at) WHERE c.attempt_key IS NOT NULL;
        ELSIF luck < 95 OR day >= 70 THEN
            PERFORM billing.settle_collection(c.id, 'declined', code => (ARRAY['51', '51', 'AM04', '05', '96', '14', '54', 'R1', '12'])[1 + luck % 9], effective_at => at);
        END IF;
    END LOOP;
END $$;
-- Messages go out; some sender dies on the way.
CREATE TEMP TABLE sent AS SELECT 0 AS day, n.notification_id, n.code, n.invoice_id, n.case_id, 0::numeric AS open FROM billing.claim_notifications('none', 1) n;
CREATE FUNCTION pg_temp.send(day int, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sent SELECT day, n.notification_id, n.code, n.invoice_id, n.case_id,
           (SELECT sum(i.amount_due) FROM billing.invoice i WHERE i.account_id = n.account_id AND i.status = 'open' AND i.kind = 'invoice' AND i.id = coalesce(n.invoice_id, i.id))
      FROM billing.claim_notifications('post', 1000, at => at) n;
    PERFORM billing.acknowledge_notification(s.notification_id, CASE pg_temp.dice(s.notification_id, s.day, 5) % 20 WHEN 0 THEN 'failed' ELSE 'sent' END, effective_at => at)
       FROM sent s WHERE s.day = send.day AND pg_temp.dice(s.notification_id, s.day, 6) % 20 > 0;
END $$;

-- Rows that this transaction has written into the books, but for those of the runs themselves.
CREATE FUNCTION pg_temp.written() RETURNS numeric LANGUAGE sql AS $$
    SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_all_tables WHERE schemaname = 'billing' AND relname NOT IN ('run', 'run_batch', 'run_worker') $$;
CREATE FUNCTION pg_temp.receivables() RETURNS TABLE (account_id bigint, currency text, amount numeric) LANGUAGE sql AS $$
    SELECT h.account_id, h.currency, sum(h.total + h.rounding_amount - h.amount_paid - h.amount_credited) FROM billing.invoice_header h WHERE h.kind <> 'credit_note' AND h.status = 'open' GROUP BY 1, 2 $$;
-- What is not as it must be, day by day; what was open at the end of each.
CREATE TEMP TABLE astray (day int, what text, detail text);
CREATE TEMP TABLE evening (day date, currency text, amount numeric);
CREATE TEMP TABLE foretold AS SELECT p.account_id, p.invoice_id, p.round, p.step_no, p.amount_due FROM billing.dunning_preview() p;
CREATE FUNCTION pg_temp.dun(day int, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    before numeric;
BEGIN
    TRUNCATE foretold;
    INSERT INTO foretold SELECT p.account_id, p.invoice_id, p.round, p.step_no, p.amount_due FROM billing.dunning_preview(at) p;
    CREATE TEMP TABLE open_before ON COMMIT DROP AS SELECT i.account_id, i.id, i.amount_due, i.due_on FROM billing.invoice i WHERE i.status = 'open' AND i.kind = 'invoice' AND i.amount_due > 0;
    CALL billing.dunning_run(at, batch_size => 50);
    INSERT INTO astray SELECT day, 'done of what is not due', x::text FROM billing.dunning_action x JOIN billing.dunning_case c ON c.account_id = x.account_id AND c.id = x.case_id
        JOIN billing.dunning_step s ON s.scheme = c.scheme AND s.version = c.version AND s.step_no = x.step_no JOIN billing.account a ON a.account_id = c.account_id
       WHERE x.done_at = at AND NOT EXISTS (SELECT FROM open_before o WHERE o.account_id = x.account_id AND o.id = coalesce(c.invoice_id, o.id)
                                               -- a case of an account goes on while anything is overdue, also where what it began with is paid
                                               AND o.due_on + CASE WHEN c.invoice_id IS NULL THEN interval '1 day' WHEN s.counted_from = 'due' THEN s.after ELSE '0' END <= at AT TIME ZONE a.time_zone);
    INSERT INTO astray SELECT day, 'preview', format('%s %s %s', account_id, round, step_no) FROM (
        (TABLE foretold EXCEPT SELECT x.account_id, c.invoice_id, x.round, x.step_no, x.amount_due FROM billing.dunning_action x JOIN billing.dunning_case c ON c.account_id = x.account_id AND c.id = x.case_id WHERE x.done_at = at)
        UNION ALL
        (SELECT x.account_id, c.invoice_id, x.round, x.step_no, x.amount_due FROM billing.dunning_action x JOIN billing.dunning_case c ON c.account_id = x.account_id AND c.id = x.case_id WHERE x.done_at = at EXCEPT TABLE foretold)) f;
    before := pg_temp.written();
    CALL billing.dunning_run(at + interval '30 minutes');
    INSERT INTO astray SELECT day, 'second run', (pg_temp.written() - before)::text WHERE pg_temp.written() <> before;
    DROP TABLE open_before;
END $$;
CREATE FUNCTION pg_temp.look(day int, today date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE posted ON COMMIT DROP AS SELECT j.account_id, j.entry, j.currency, j.part, j.debit, j.credit FROM billing.journal j;
    INSERT INTO astray SELECT day, 'entry', p.entry FROM posted p GROUP BY p.account_id, p.entry, p.currency HAVING sum(p.debit) <> sum(p.credit);
    INSERT INTO astray SELECT day, 'currency', p.currency FROM posted p GROUP BY p.currency HAVING sum(p.debit) <> sum(p.credit);
    INSERT INTO astray SELECT day, 'receivables', format('%s: %s by the journal, %s open', account_id, p.amount, r.amount)
       FROM (SELECT x.account_id, x.currency, sum(x.debit - x.credit) AS amount FROM posted x WHERE x.part = 'receivable' GROUP BY 1, 2 HAVING sum(x.debit - x.credit) <> 0) p
       FULL JOIN (SELECT * FROM pg_temp.receivables() WHERE amount <> 0) r USING (account_id, currency) WHERE p.amount IS DISTINCT FROM r.amount;
    INSERT INTO evening SELECT today, r.currency, sum(r.amount) FROM pg_temp.receivables() r GROUP BY 2;
    DROP TABLE posted;
END $$;
CREATE FUNCTION pg_temp.play() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    acts CONSTANT text[] := '{pay,pay,named,named,named,part,over,back,back,back,refund,credit,promise,promise,parts,parts,dispute,stop,agency,agency,give up}';
    at timestamptz;
BEGIN
    FOR day IN 0 .. 89 LOOP
        at := timestamptz '2026-01-01 06:00' + day * interval '1 day';
        IF day IN (0, 20, 40) THEN CALL billing.bill_run(at); END IF;
        -- Only the books: what is shared with other databases would stay locked until the end.
        IF day % 10 = 0 THEN EXECUTE (SELECT string_agg(format('ANALYZE %s', c.oid::regclass), ';') FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'billing'::regnamespace); END IF;
        PERFORM pg_temp.collect(day, at);
        INSERT INTO act SELECT day, c.n, x.act, pg_temp.live(c, day, at + interval '1 hour', x.act)
           FROM customer c, LATERAL (SELECT CASE WHEN pg_temp.dice(c.n, day, 7) % 12 = 0 THEN acts[1 + pg_temp.dice(c.n, day, 2) % cardinality(acts)] WHEN pg_temp.dice(c.n, day, 7) % 12 < 6 THEN NULL
                                            WHEN EXISTS (SELECT FROM billing.promise p WHERE p.account_id = c.account_id AND p.state = 'open') THEN 'keep'
                                            WHEN EXISTS (SELECT FROM billing.arrangement a WHERE a.account_id = c.account_id AND a.state = 'active') THEN 'instalment' END AS act) x
          WHERE day <= 62 AND x.act IS NOT NULL;
        PERFORM pg_temp.dun(day, at + interval '2 hours');
        PERFORM pg_temp.send(day, at + interval '3 hours');
        PERFORM pg_temp.look(day, at::date);
        IF day % 30 = 29 THEN INSERT INTO astray SELECT day, c.finding, c::text FROM billing.check() c; END IF;
    END LOOP;
END $$;
SELECT pg_temp.play() \g /dev/null

SELECT cmp_ok((SELECT count(*) FROM billing.invoice WHERE kind = 'invoice'), '>=', 1000::bigint, 'a thousand invoices and more');
SELECT set_eq($$SELECT act FROM act WHERE outcome = 'done'$$, $$VALUES ('pay'), ('named'), ('part'), ('over'), ('back'), ('refund'), ('credit'), ('promise'), ('keep'), ('parts'), ('instalment'), ('dispute'), ('stop'), ('agency'), ('give up')$$,
              'everything happened');
SELECT set_eq('SELECT DISTINCT class FROM billing.collection_attempt WHERE class IS NOT NULL', $$VALUES ('temporary'), ('data'), ('dead'), ('refused'), ('ours')$$, 'declined for every class of reasons');
SELECT set_eq('SELECT DISTINCT unnest(done) FROM billing.dunning_action', $$VALUES ('remind'), ('retry_collection'), ('fee'), ('interest'), ('suspend'), ('stop'), ('agency'), ('write_off'), ('event')$$, 'every kind of step');
SELECT set_has('SELECT state FROM billing.promise UNION ALL SELECT state FROM billing.arrangement', $$VALUES ('kept'), ('broken'), ('completed')$$, 'promises and arrangements were kept and broken');
SELECT isnt_empty($$SELECT p.id FROM billing.payment p JOIN billing.payment_allocation a ON a.account_id = p.account_id AND a.payment_id = p.id WHERE p.kind = 'write_off' GROUP BY p.id HAVING sum(a.amount) = 0$$,
                  'what was forgiven of a payment went back with it');
SELECT cmp_ok((SELECT count(*) FROM billing.dunning_case WHERE round > 1), '>', 20::bigint, 'cases opened again');
SELECT is_empty($$SELECT i.account_id, i.id, i.status FROM billing.invoice i WHERE i.kind = 'invoice' AND i.status NOT IN ('paid', 'uncollectible', 'void')
                  AND NOT EXISTS (SELECT FROM billing.dunning_case c WHERE c.account_id = i.account_id AND c.state = 'at_agency' AND coalesce(c.invoice_id, i.id) = i.id)$$,
                'every invoice ended paid, credited, given up or at an agency');
SELECT bag_has($$SELECT DISTINCT CASE WHEN i.status = 'open' THEN 'agency' WHEN i.amount_paid = 0 AND i.status = 'paid' THEN 'credited' ELSE i.status END FROM billing.invoice i WHERE i.kind = 'invoice'$$,
               $$VALUES ('paid'), ('credited'), ('uncollectible'), ('agency')$$, 'some each way');
SELECT is_empty('SELECT * FROM astray', 'on every day entries, currencies and receivables balanced, nothing was done of what was not due, the preview told what came, a second run wrote nothing');
CREATE TEMP TABLE posted AS SELECT posted_on, currency, sum(debit - credit) AS amount FROM billing.journal WHERE part = 'receivable' GROUP BY 1, 2;
SELECT is_empty($$SELECT e.*, p.amount FROM evening e, LATERAL (SELECT sum(p.amount) AS amount FROM posted p WHERE p.posted_on <= e.day AND p.currency = e.currency) p WHERE e.amount IS DISTINCT FROM p.amount$$,
                'the journal still tells what was open on every day that is past');
SELECT is_empty($$SELECT e.*, a.amount FROM evening e, LATERAL (SELECT sum(x.amount) AS amount FROM billing.receivable_aging_on(e.day) x WHERE x.currency = e.currency) a
                   WHERE e.day IN ('2026-01-20', '2026-02-10', '2026-03-05', '2026-03-31') AND a.amount IS DISTINCT FROM e.amount$$, 'and so does aging, on four of them');
SELECT is_empty($$SELECT case_id, payload->>'round', payload->>'step_no' FROM billing.event WHERE type = 'dunning.step_done' GROUP BY 1, 2, 3 HAVING count(*) > 1$$, 'no step was done twice in a round');
SELECT is_empty($$SELECT x.case_id, x.done_at::date FROM billing.dunning_action x JOIN billing.account a ON a.account_id = x.account_id WHERE x.done <> '{}'
                   GROUP BY x.case_id, x.done_at::date, (x.done_at AT TIME ZONE a.time_zone)::date HAVING count(*) > 1$$, 'no case had two on one day');
SELECT is_empty($$SELECT * FROM sent WHERE code = 'reminder' AND coalesce(open, 0) = 0$$, 'no reminder was sent of what was not open any more');
SELECT set_eq('SELECT reference, amount FROM collected', $$SELECT reference, amount FROM billing.payment WHERE metadata ? 'collection_id'$$, 'what was collected is payments, each once');
SELECT is_empty('SELECT * FROM billing.run_error', 'no run failed for anybody');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
