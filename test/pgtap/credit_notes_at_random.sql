-- Credit notes among changes, pauses, ends, voids and late usage: nobody is granted more than is charged, no line is given
-- back beyond what it charged, and a last run leaves nothing to write.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(12);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC'), billing.create_tax('vat', category => 'S', rate => 19), billing.create_tax('low', category => 'S', rate => 7) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"per_unit","unit_amount":9.99}'),
       billing.create_price('gross', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', tax_inclusive => true, scheme => '{"model":"per_unit","unit_amount":3.33}'),
       billing.create_price('book', currency => 'EUR', every => '1 month', tax => 'low', timing => 'arrears', scheme => '{"model":"flat","flat_amount":12.34}') \g /dev/null
SELECT billing.create_meter('call', aggregation => 'sum') \g /dev/null
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'arrears', meter => 'call',
                            scheme => '{"model":"volume","tiers":[{"up_to":20,"unit_amount":1.01},{"up_to":null,"unit_amount":0.43}]}') \g /dev/null
SELECT billing.create_plan('ten', items => '[{"price":"seat","quantity":10}]') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat","quantity":5},{"price":"gross","quantity":3},{"price":"book"},{"price":"call"}]') \g /dev/null
-- What was granted of a line comes off what replaces it.
SELECT billing.create_subscription(billing.create_account('Example'), 'ten', start_at => '2025-01-01') AS s \gset
SELECT billing.bill_account(:s >> 24, '2025-01-01') AS i \gset
SELECT billing.credit_invoice(:i, lines => '[{"line_no":1,"amount":20}]', effective_at => '2025-01-02'),
       billing.change_item(:s + 1, quantity => 5, effective_at => '2025-01-01') \g /dev/null
SELECT billing.invoice_account(:s >> 24, '2025-01-03') \g /dev/null
SELECT is((SELECT string_agg(format('%s: %s', i.kind, l.lines), '; ' ORDER BY i.id) FROM billing.invoice i, LATERAL (
            SELECT string_agg(format('%s %s', l.nature, l.amount), ', ' ORDER BY l.line_no) AS lines FROM billing.invoice_line l WHERE l.invoice_id = i.id) l WHERE i.account_id = :s >> 24),
          'invoice: charge 99.90; credit_note: grant 20.00; invoice: correction -20.00, charge 49.95; credit_note: correction 79.90', 'credited 99.90 of 99.90, 29.95 to pay');
-- Also of an invoice that was voided for good.
SELECT billing.create_subscription(billing.create_account('Example'), 'ten', start_at => '2025-01-01') AS s2 \gset
SELECT billing.bill_account(:s2 >> 24, '2025-01-01') AS i \gset
SELECT billing.void_invoice(:i, rebill => false, effective_at => '2025-01-02'), billing.change_item(:s2 + 1, quantity => 12, effective_at => '2025-01-01') \g /dev/null
SELECT billing.invoice_account(:s2 >> 24, '2025-01-03') \g /dev/null
SELECT is((SELECT string_agg(format('%s: %s', i.kind, l.lines), '; ' ORDER BY i.id) FROM billing.invoice i, LATERAL (
            SELECT string_agg(format('%s %s', l.nature, l.amount), ', ' ORDER BY l.line_no) AS lines FROM billing.invoice_line l WHERE l.invoice_id = i.id) l WHERE i.account_id = :s2 >> 24),
          'invoice: charge 99.90; credit_note: grant 99.90; invoice: correction -99.90, charge 119.88', 'what was voided is not given back again');
SELECT setseed(0.31) \g /dev/null
CREATE TEMPORARY TABLE done (what text);

-- One act at an instant; those that the state of things forbids are left out.
CREATE FUNCTION pg_temp.act(account bigint, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    luck int := floor(random() * 16);
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
    WHEN luck = 9 THEN
        PERFORM billing.record_payment(account, 50, 'EUR', effective_at => at);
    WHEN luck = 10 THEN
        PERFORM billing.void_invoice(i, rebill => random() < 0.5, effective_at => at);
    WHEN luck = 11 THEN
        PERFORM billing.end_item((SELECT t.id FROM billing.subscription_item t WHERE t.account_id = account AND t.end_at IS NULL AND random() < 0.3 LIMIT 1), effective_at => back);
    ELSE
        PERFORM billing.record_usage(s, 'call', quantity => floor(random() * 25)::int, at => back, event_key => at::text);
    END CASE;
    INSERT INTO done VALUES (CASE WHEN luck < 5 THEN 'credit' WHEN luck < 9 THEN 'change' ELSE (ARRAY['payment', 'void', 'end'])[luck - 8] END);
EXCEPTION WHEN SQLSTATE 'LB302' OR SQLSTATE 'LB404' OR SQLSTATE 'LB502' OR SQLSTATE 'LB501' OR SQLSTATE 'LB303' OR SQLSTATE 'LB208' OR SQLSTATE '22004' OR SQLSTATE 'LB207' THEN
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
SELECT pg_temp.life(account_id) FROM billing.account WHERE name ~ '^Customer' \g /dev/null

SELECT cmp_ok((SELECT count(*) FROM done WHERE what = 'credit'), '>', 150::bigint, 'many credits were given');
SELECT cmp_ok((SELECT count(*) FROM done WHERE what = 'change'), '>', 150::bigint, 'and many changes made');
SELECT ok(count(*) FILTER (WHERE what = 'void') > 5 AND count(*) FILTER (WHERE what = 'end') > 20, 'some voided, some ended') FROM done;
SELECT is_empty($$SELECT c.account_id, c.item_id, c.kind, c.schedule_version, c.period_no, sum(c.amount), sum(c.granted)
    FROM (SELECT DISTINCT ON (x.account_id, x.item_id, x.kind, x.period_start, x.ordinal) x.* FROM billing.charge x ORDER BY x.account_id, x.item_id, x.kind, x.period_start, x.ordinal, x.revision DESC) c
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(c.amount) < sum(c.granted)$$, 'nobody was granted more of a key than is charged of it');
SELECT is_empty($$SELECT i.id, i.total, n.total FROM billing.invoice i, LATERAL (SELECT sum(n.total + n.rounding_amount) AS total FROM billing.invoice n WHERE n.account_id = i.account_id AND n.credits_invoice_id = i.id
       AND EXISTS (SELECT FROM billing.invoice_line l WHERE l.account_id = n.account_id AND l.invoice_id = n.id AND l.nature = 'grant')) n
    WHERE n.total > i.total + i.rounding_amount$$, 'nor of an invoice than its total');
CREATE VIEW pg_temp.given_back AS
SELECT l.account_id, l.corrects_invoice_id AS invoice_id, l.corrects_line_no AS line_no, sum(l.amount) AS amount
  FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
 WHERE h.kind = 'credit_note' AND l.corrects_invoice_id IS NOT NULL GROUP BY 1, 2, 3;
SELECT is_empty($$SELECT l.account_id, l.invoice_id, l.line_no, l.amount, g.amount FROM pg_temp.given_back g JOIN billing.invoice_line l USING (account_id, invoice_id, line_no)
    WHERE g.amount > greatest(l.amount, 0)$$, 'people and runs together give no line back beyond what it charged');
SELECT is_empty($$SELECT i.id, i.total, n.total FROM billing.invoice i, LATERAL (SELECT sum(n.total + n.rounding_amount) AS total FROM billing.invoice n WHERE n.account_id = i.account_id AND n.credits_invoice_id = i.id) n
    WHERE n.total > i.total + i.rounding_amount AND NOT EXISTS (SELECT FROM billing.invoice_line l WHERE l.account_id = i.account_id AND l.invoice_id = i.id AND l.amount < 0)$$,
    'nor an invoice beyond its total');
SELECT is((SELECT count(*) FROM billing.account a, billing.bill_account(a.account_id, '2025-07-01') WHERE a.name ~ '^Customer'), 0::bigint, 'a further run writes nothing');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
ALTER TABLE billing.invoice_line DISABLE TRIGGER USER;
UPDATE billing.invoice_line l SET amount = amount + 0.01, gross_amount = gross_amount + 0.01, net_amount = net_amount + 0.01 WHERE l.account_id = :s >> 24 AND l.nature = 'grant';
SELECT ok('more given back than charged' IN (SELECT finding FROM billing.check()), 'check() finds a line that more was given back of');

SELECT * FROM finish();
ROLLBACK;
