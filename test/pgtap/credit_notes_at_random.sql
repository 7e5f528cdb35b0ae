-- Credit notes among changes, pauses and ends of any kind: nobody is granted more than is charged, and a last run leaves
-- nothing to write.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(6);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC'), billing.create_tax('vat', category => 'S', rate => 19), billing.create_tax('low', category => 'S', rate => 7) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"per_unit","unit_amount":9.99}'),
       billing.create_price('gross', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', tax_inclusive => true, scheme => '{"model":"per_unit","unit_amount":3.33}'),
       billing.create_price('book', currency => 'EUR', every => '1 month', tax => 'low', timing => 'arrears', scheme => '{"model":"flat","flat_amount":12.34}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat","quantity":5},{"price":"gross","quantity":3},{"price":"book"}]') \g /dev/null
SELECT setseed(0.31) \g /dev/null
CREATE TEMPORARY TABLE done (what text);

-- One act at an instant; those that the state of things forbids are left out.
CREATE FUNCTION pg_temp.act(account bigint, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    luck int := floor(random() * 10);
    s bigint := (SELECT id FROM billing.subscription WHERE account_id = account);
    i bigint := (SELECT id FROM billing.invoice WHERE account_id = account AND kind = 'invoice' AND status IN ('open', 'paid') ORDER BY random() LIMIT 1);
    back timestamptz := at - random() * interval '40 days';
BEGIN
    CASE
    WHEN luck < 3 THEN
        PERFORM billing.credit_invoice(i, amount => greatest(billing.round_amount((random() * 40)::numeric, 'EUR'), 0.01), effective_at => at);
    WHEN luck = 3 THEN
        PERFORM billing.credit_invoice(i, effective_at => at);
    WHEN luck = 4 THEN
        PERFORM billing.credit_invoice(i, lines => '[{"line_no":1,"amount":4.44}]', effective_at => at);
    WHEN luck < 8 THEN
        PERFORM billing.change_item((SELECT t.id FROM billing.subscription_item t WHERE t.account_id = account ORDER BY random() LIMIT 1), quantity => floor(random() * 7)::int, effective_at => back);
    WHEN luck = 8 THEN
        PERFORM billing.pause_subscription(s, until => at + interval '9 days', effective_at => at);
    ELSE
        PERFORM billing.record_payment(account, 50, 'EUR', effective_at => at);
    END CASE;
    INSERT INTO done VALUES (CASE WHEN luck < 5 THEN 'credit' WHEN luck < 9 THEN 'change' ELSE 'payment' END);
EXCEPTION WHEN SQLSTATE 'LB502' OR SQLSTATE 'LB501' OR SQLSTATE 'LB303' OR SQLSTATE 'LB208' OR SQLSTATE '22004' OR SQLSTATE 'LB207' THEN
    NULL;
END $$;
CREATE FUNCTION pg_temp.life(account bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz := '2025-01-01';
BEGIN
    PERFORM billing.create_subscription(account, 'team', start_at => at);
    PERFORM billing.add_discount(account, 10, effective_at => at) WHERE account % 3 = 0;
    WHILE at < '2025-06-01' LOOP
        IF random() < 0.6 THEN
            PERFORM billing.bill_account(account, at);
        END IF;
        PERFORM pg_temp.act(account, at);
        at := at + interval '1 day' + random() * interval '8 days';
    END LOOP;
    PERFORM billing.cancel_subscription((SELECT id FROM billing.subscription WHERE account_id = account), effective_at => '2025-05-20 12:00') WHERE account % 2 = 0;
    PERFORM billing.bill_account(account, '2025-07-01');
END $$;
SELECT billing.create_account('Customer ' || n) FROM generate_series(1, 40) n \g /dev/null
SELECT pg_temp.life(account_id) FROM billing.account \g /dev/null

SELECT cmp_ok((SELECT count(*) FROM done WHERE what = 'credit'), '>', 150::bigint, 'many credits were given');
SELECT cmp_ok((SELECT count(*) FROM done WHERE what = 'change'), '>', 150::bigint, 'and many changes made');
SELECT is_empty($$SELECT c.account_id, c.item_id, c.kind, c.schedule_version, c.period_no, sum(c.amount), sum(c.granted)
    FROM (SELECT DISTINCT ON (x.account_id, x.item_id, x.kind, x.period_start, x.ordinal) x.* FROM billing.charge x ORDER BY x.account_id, x.item_id, x.kind, x.period_start, x.ordinal, x.revision DESC) c
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(c.amount) < sum(c.granted)$$, 'nobody was granted more of a key than is charged of it');
SELECT is_empty($$SELECT i.id, i.total, n.total FROM billing.invoice i, LATERAL (SELECT sum(n.total + n.rounding_amount) AS total FROM billing.invoice n WHERE n.account_id = i.account_id AND n.credits_invoice_id = i.id
       AND EXISTS (SELECT FROM billing.invoice_line l WHERE l.account_id = n.account_id AND l.invoice_id = n.id AND l.nature = 'grant')) n
    WHERE n.total > i.total + i.rounding_amount$$, 'nor of an invoice than its total');
SELECT is((SELECT count(*) FROM billing.account a, billing.bill_account(a.account_id, '2025-07-01')), 0::bigint, 'a further run writes nothing');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

SELECT * FROM finish();
ROLLBACK;
