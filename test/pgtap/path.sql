-- The dates and order of runs do not matter: random lives, billed at random, cost what one last run charges (doc/rules.md 4, P8).
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(8);

SELECT setseed(0.25);
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
-- A class whose pieces are cut where the rate changes.
SELECT billing.create_tax('cut', category => 'S', rate => 19, tax_point => 'split'), billing.create_tax_rate('cut', category => 'S', rate => 21, valid_from => '2023-10-17');
SELECT billing.create_meter('sum'), billing.create_meter('last', aggregation => 'last'), billing.create_meter('max', aggregation => 'max');
SELECT billing.create_price(t || ' ' || charge || ' ' || credit || ' ' || every, currency => 'EUR', every => every::interval, timing => t, tax => CASE t WHEN 'advance' THEN 'cut' ELSE 'vat' END,
                            proration_charge => charge, proration_credit => credit, tax_inclusive => every = '3 months',
                            scheme => jsonb_build_object('model', 'flat', 'flat_amount', '9.99'))
  FROM unnest(ARRAY['advance', 'arrears']) t, unnest(ARRAY['day', 'second', 'none', 'full']) charge, unnest(ARRAY['day', 'second', 'none', 'full']) credit,
       unnest(ARRAY['1 month', '3 months', '1 year']) every
 WHERE charge IN ('none', 'full') OR credit IN ('none', 'full', charge);
SELECT billing.create_price(m || ' ' || every, currency => 'EUR', every => every::interval, tax => CASE m WHEN 'sum' THEN 'cut' ELSE 'vat' END, meter => m, tax_inclusive => m = 'max',
                            scheme => '{"model":"volume","tiers":[{"up_to":10,"unit_amount":0.333},{"up_to":25,"unit_amount":0.2},{"up_to":null,"unit_amount":0.05}],"minimum_amount":0.5}')
  FROM unnest(ARRAY['sum', 'last', 'max']) m, unnest(ARRAY['1 month', '3 months', '1 year']) every;
-- A plan of one or two flat prices and one or two metered ones, none shorter than the first.
CREATE FUNCTION pg_temp.random_items() RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('price', code)) FROM (
        (SELECT code FROM billing.price WHERE meter IS NULL ORDER BY random() LIMIT 1 + floor(random() * 2)::int)
        UNION ALL (SELECT code FROM billing.price WHERE meter IS NOT NULL ORDER BY random() LIMIT 1 + floor(random() * 2)::int)) x $$;
SELECT billing.create_plan('plan ' || n, items => pg_temp.random_items()) FROM generate_series(1, 20) n;

-- A life is written down first, then lived by two accounts.
CREATE TEMP TABLE life AS
SELECT n, 'plan ' || 1 + floor(random() * 20)::int AS plan, start_at, start_at + random() * interval '500 days' AS end_at,
       CASE WHEN random() < 0.5 THEN 1 + floor(random() * 31)::int END AS billing_day,
       (ARRAY['prorate', 'prorate', 'free', 'full'])[1 + floor(random() * 4)::int] AS first_period,
       (ARRAY['Europe/Berlin', 'Etc/GMT-14', 'Etc/GMT+12', 'America/New_York'])[1 + floor(random() * 4)::int] AS zone
  FROM (SELECT n, '2023-01-01'::timestamptz + floor(random() * 4000) * interval '3 hours' AS start_at FROM generate_series(1, 30) n) x;
CREATE TEMP TABLE usage AS
SELECT l.n, e, (ARRAY['sum', 'last', 'max'])[1 + floor(random() * 3)::int] AS meter, floor(random() * 20) AS quantity, random() AS at_share, random() ^ 3 AS late
  FROM life l CROSS JOIN generate_series(1, 12) e;
ALTER TABLE usage ADD at timestamptz, ADD entered_at timestamptz;
UPDATE usage u SET at = l.start_at + at_share * (l.end_at - l.start_at), entered_at = l.start_at + at_share * (l.end_at - l.start_at) + late * interval '200 days' FROM life l WHERE l.n = u.n;
DELETE FROM usage u WHERE NOT EXISTS (SELECT FROM life l JOIN billing.plan_item i USING (plan) JOIN billing.price p ON p.code = i.price WHERE l.n = u.n AND p.meter = u.meter);
CREATE TEMP TABLE bill AS
SELECT l.n, l.start_at + random() * interval '700 days' AS at, (ARRAY['bill', 'bill', 'bill', 'draft', 'finalize', 'void', 'pay'])[1 + floor(random() * 7)::int] AS act
  FROM life l CROSS JOIN generate_series(1, 14);

CREATE FUNCTION pg_temp.born(l life, name text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    account bigint := billing.create_account(name, time_zone => l.zone);
BEGIN
    RETURN billing.create_subscription(account, l.plan, start_at => l.start_at, end_at => l.end_at, billing_day => l.billing_day, first_period => l.first_period);
END $$;
CREATE FUNCTION pg_temp.act(account bigint, act text, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    chosen bigint;
BEGIN
    CASE act
    WHEN 'bill' THEN PERFORM billing.bill_account(account, at);
    WHEN 'draft' THEN CALL billing.bill_run(at => at, finalize => false);
    WHEN 'finalize' THEN
        SELECT id INTO chosen FROM billing.invoice_header h WHERE h.account_id = account AND status = 'draft' ORDER BY id LIMIT 1;
        IF FOUND THEN PERFORM billing.finalize_invoice(chosen, at); END IF;
    WHEN 'void' THEN
        SELECT id INTO chosen FROM billing.invoice_header h WHERE h.account_id = account AND kind = 'invoice' AND status IN ('open', 'paid') ORDER BY id DESC LIMIT 1;
        IF FOUND THEN PERFORM billing.void_invoice(chosen, true, effective_at => at); END IF;
    WHEN 'pay' THEN
        PERFORM billing.record_payment(account, sum(i.amount_due), 'EUR', effective_at => at) FROM billing.invoice i
          WHERE i.account_id = account AND i.kind = 'invoice' AND i.status = 'open' HAVING count(*) > 0;
    END CASE;
EXCEPTION WHEN SQLSTATE 'LB404' OR SQLSTATE 'LB403' THEN -- not to be voided, or nothing left to finish
END $$;

CREATE TEMP TABLE twin (n int, way text, account bigint, subscription bigint);
INSERT INTO twin SELECT n, 'many', id >> 24, id FROM life l CROSS JOIN LATERAL pg_temp.born(l, 'many ' || n) id ORDER BY n;
-- Usage and runs of all of them as they come; an account is billed for no instant before the events that it knows.
DO $$
DECLARE
    x record;
BEGIN
    FOR x IN SELECT t.account, t.subscription, u.entered_at AS at, 'use' AS act, u FROM usage u JOIN twin t USING (n)
             UNION ALL SELECT t.account, NULL, b.at, b.act, NULL FROM bill b JOIN twin t USING (n) ORDER BY at, act LOOP
        IF x.act = 'use' THEN
            PERFORM billing.record_usage(x.subscription, (x.u).meter, 'e' || (x.u).e, (x.u).quantity::numeric, (x.u).at);
        ELSE
            PERFORM pg_temp.act(x.account, x.act, x.at);
        END IF;
    END LOOP;
END $$;
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'sound on the way');
INSERT INTO twin SELECT n, 'once', id >> 24, id FROM life l CROSS JOIN LATERAL pg_temp.born(l, 'once ' || n) id ORDER BY n;
SELECT billing.record_usage(t.subscription, u.meter, 'e' || e, u.quantity::numeric, u.at) FROM usage u JOIN twin t USING (n) WHERE t.way = 'once' \g /dev/null
CALL billing.bill_run(at => '2030-01-01');

CREATE TEMP TABLE charged AS
SELECT t.n, t.way, l.item_id - t.subscription AS item, l.kind, l.period_no, sum(CASE h.kind WHEN 'invoice' THEN l.amount ELSE -l.amount END) AS amount
  FROM twin t JOIN billing.invoice_header h ON h.account_id = t.account JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id
 GROUP BY 1, 2, 3, 4, 5;
SELECT ok((SELECT count(*) FROM billing.invoice_line WHERE nature = 'correction') > 30 AND (SELECT count(*) FROM billing.invoice WHERE kind = 'credit_note') > 5
          AND (SELECT count(*) FROM charged) > 200, 'there was much to go wrong');
SELECT is_empty($$ SELECT n, item, kind, period_no, m.amount AS many, o.amount AS once FROM (SELECT * FROM charged WHERE way = 'many') m
    FULL JOIN (SELECT * FROM charged WHERE way = 'once') o USING (n, item, kind, period_no) WHERE coalesce(m.amount, 0) <> coalesce(o.amount, 0) $$,
    'for every key the same is charged, however often and when it was billed');
SELECT is_empty($$ SELECT * FROM billing.run_error $$, 'no account was parked');
SELECT is_empty($$ SELECT t.n, x.category, x.rate FROM twin t JOIN billing.invoice_header h ON h.account_id = t.account JOIN billing.invoice_tax x ON x.account_id = h.account_id AND x.invoice_id = h.id
    GROUP BY 1, 2, 3 HAVING abs(sum(x.tax_amount * CASE h.kind WHEN 'invoice' THEN 1 ELSE -1 END * CASE way WHEN 'many' THEN 1 ELSE -1 END)) > 0.005 * count(*) $$,
    'and the taxes differ by no more than their roundings');
CREATE TEMP TABLE before AS SELECT count(*) FROM billing.invoice;
CALL billing.bill_run(at => '2030-01-01');
SELECT results_eq('SELECT count(*) FROM billing.invoice', 'SELECT * FROM before', 'a further run writes nothing');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'sound');
SELECT is_empty('SELECT * FROM billing.verify_chain()', 'and proven');

SELECT * FROM finish();
ROLLBACK;
