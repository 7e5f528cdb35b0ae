-- However often and in whatever order it is called, billing makes the same lines, periods, amounts and one document per
-- cycle: random subscriptions billed monthly, weekly, at random instants also going back, or once, late by all cycles.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(9);

SELECT setseed(0.625);
CREATE FUNCTION pg_temp.one_of(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT choices[1 + floor(random() * cardinality(choices))::int] $$;

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_tax('low', category => 'S', rate => 7);
SELECT billing.create_meter('sum'), billing.create_meter('max', aggregation => 'max'), billing.create_meter('count', aggregation => 'count');

-- Prices of every interval that may stand beside a base interval, and one plan per base that offers them all.
CREATE TEMP TABLE offer AS
SELECT base, every, timing, meter, row_number() OVER (PARTITION BY base) AS n, format('%s/%s/%s/%s', base, every, timing, meter) AS code
  FROM (VALUES ('1 month', '{1 month,2 months,3 months,1 year}'::text[]), ('2 months', '{2 months,6 months}'), ('3 months', '{3 months,1 year}'),
               ('1 year', '{1 year}'), ('7 days', '{7 days,14 days,28 days}'), ('10 days', '{10 days,30 days}'), ('1 day', '{1 day,3 days}')) b (base, intervals),
       unnest(intervals) every, (VALUES ('advance', NULL), ('arrears', NULL), ('arrears', 'sum'), ('arrears', 'max'), ('arrears', 'count')) k (timing, meter);
SELECT billing.create_price(code, currency => 'EUR', every => every::interval, timing => timing, meter => meter, tax => pg_temp.one_of('vat', 'low'),
           tax_inclusive => random() < 0.3, proration_charge => pg_temp.one_of('day', 'none', 'full'), proration_credit => pg_temp.one_of('day', 'none', 'full'),
           scheme => pg_temp.one_of('{"model":"per_unit","unit_amount":3.335}', '{"model":"flat","flat_amount":9.99}', '{"model":"package","unit_amount":1.25,"package_size":3}',
               '{"model":"graduated","tiers":[{"up_to":3,"unit_amount":1.111},{"up_to":null,"unit_amount":0.777,"flat_amount":0.5}]}')::jsonb)
  FROM offer;
SELECT billing.create_plan(base, items => jsonb_agg(jsonb_build_object('price', code, 'optional', true))) FROM offer GROUP BY base;

-- What is subscribed, written down once: one or two subscriptions an account, each of one to three items.
CREATE TEMP TABLE life AS
SELECT n, s, base, start_at, CASE WHEN base LIKE '%day%' THEN start_at + random() * interval '60 days' WHEN random() < 0.5 THEN start_at + random() * interval '500 days' END AS end_at,
       CASE WHEN base NOT LIKE '%day%' AND random() < 0.4 THEN 1 + floor(random() * 31)::int END AS billing_day, CASE WHEN random() < 0.3 THEN 1 + floor(random() * 6)::int END AS cycles,
       pg_temp.one_of('prorate', 'prorate', 'free', 'full') AS first_period, pg_temp.one_of('Europe/Berlin', 'America/New_York', 'Etc/GMT-14') AS zone, items
  FROM (SELECT n, s, pg_temp.one_of('1 month', '1 month', '1 month', '2 months', '3 months', '1 year', '7 days', '10 days', '1 day') AS base,
               timestamptz '2024-01-01 00:00+00' + floor(random() * 900) * interval '9 hours' AS start_at
          FROM generate_series(1, 80) n, generate_series(1, 2) s WHERE s = 1 OR random() < 0.3) x,
       LATERAL (SELECT jsonb_agg(jsonb_build_object('price', code) || CASE WHEN meter IS NULL THEN jsonb_build_object('quantity', round((random() * 9)::numeric, 1)) ELSE '{}' END
                                 || CASE WHEN random() < 0.2 THEN jsonb_build_object('cycles', 1 + floor(random() * 4)::int) ELSE '{}' END) AS items
                  FROM (SELECT * FROM offer o WHERE o.base = x.base AND (o.every::interval = x.base::interval OR random() < 0.6) ORDER BY o.every::interval <> x.base::interval, random() LIMIT 3) o) i;

CREATE TEMP TABLE way (way text PRIMARY KEY);
INSERT INTO way VALUES ('once'), ('monthly'), ('weekly'), ('at random');
CREATE TEMP TABLE twin AS
SELECT n, way, billing.create_account(way || ' ' || n) AS account FROM (SELECT DISTINCT n FROM life) l, way ORDER BY 1, 2;
CREATE TEMP TABLE subscribed AS
SELECT t.*, l.s, billing.create_subscription(account, base, start_at => start_at, end_at => end_at, billing_day => billing_day, cycles => cycles,
                                             first_period => first_period, time_zone => zone, items => items) AS id
  FROM twin t JOIN life l USING (n) ORDER BY n, way, s;

-- The same usage for all four, known before anything is billed.
SELECT billing.record_usages(jsonb_agg(jsonb_build_object('subscription_id', d.id, 'meter', meter, 'event_key', format('%s %s %s', d.s, meter, e),
                                                          'quantity', quantity, 'at', at)))
  FROM (SELECT l.n, l.s, p.meter, e, floor(random() * 8) AS quantity, o.start_at + random() * (least(o.end_at, timestamptz '2025-07-01 00:00+00') - o.start_at) AS at
          FROM life l JOIN subscribed f ON f.n = l.n AND f.s = l.s AND f.way = 'once' JOIN billing.subscription o ON o.id = f.id
          JOIN LATERAL (SELECT DISTINCT p.meter FROM jsonb_array_elements(l.items) x JOIN billing.price p ON p.code = x->>'price' WHERE p.meter IS NOT NULL) p ON true,
               generate_series(1, 10) e) u
  JOIN subscribed d USING (n, s)
 WHERE EXISTS (SELECT FROM billing.subscription_item i JOIN billing.item_version v ON v.account_id = i.account_id AND v.item_id = i.id
                 JOIN billing.price p ON p.code = v.price JOIN billing.subscription s ON s.id = d.id
                WHERE i.account_id = d.account AND i.subscription_id = d.id AND p.meter = u.meter AND u.at >= i.start_at AND u.at < coalesce(least(i.end_at, s.end_at), 'infinity'));
SELECT cmp_ok((SELECT count(*) FROM billing.usage_event), '>', 1000::bigint, 'there is usage');

-- Instants of each way; all end at the same.
CREATE TEMP TABLE step AS
SELECT 'monthly' AS way, NULL::int AS n, at FROM generate_series(timestamptz '2024-01-15 00:00+00', '2025-07-01 00:00+00', '1 month') at
UNION ALL SELECT 'weekly', NULL, at FROM generate_series(timestamptz '2024-01-03 07:00+00', '2025-07-01 00:00+00', '7 days') at
UNION ALL SELECT 'at random', n, timestamptz '2024-01-01 00:00+00' + random() * interval '540 days' FROM generate_series(1, 80) n, generate_series(1, 15);
DO $$
DECLARE
    x record;
BEGIN
    -- Those at random come in no order: most go back behind what is billed already.
    FOR x IN SELECT t.account, s.at FROM step s JOIN twin t ON t.way = s.way AND t.n = coalesce(s.n, t.n)
              ORDER BY t.n, s.way, CASE WHEN s.way <> 'at random' THEN s.at END, random() LOOP
        PERFORM billing.bill_account(x.account, x.at);
    END LOOP;
END $$;
SELECT is((SELECT count(*) FROM billing.invoice_header h JOIN twin t ON t.account = h.account_id WHERE t.way = 'once'), 0::bigint, 'one of four is not billed yet');
CALL billing.bill_run('2025-07-01 00:00+00', batch_size => 7);
SELECT is_empty('SELECT * FROM billing.run_error', 'no account was parked');

CREATE TEMP VIEW line AS
SELECT t.n, t.way, l.subscription_id & 16777215 AS subscription, l.item_id & 16777215 AS item, l.kind, l.nature, l.period_no, l.period_start, l.period_end,
       l.quantity, l.unit_amount, l.gross_amount, l.amount, l.net_amount, l.tax_rate, h.billed_at, h.kind AS document
  FROM twin t JOIN billing.invoice_header h ON h.account_id = t.account JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id;
CREATE TEMP VIEW document AS
SELECT t.n, t.way, h.billed_at, h.kind, h.status, h.period_start, h.period_end, h.net_total, h.tax_total, h.total, h.rounding_amount
  FROM twin t JOIN billing.invoice_header h ON h.account_id = t.account;
CREATE FUNCTION pg_temp.differences(view text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    w text;
BEGIN
    FOREACH w IN ARRAY ARRAY['monthly', 'weekly', 'at random'] LOOP
        RETURN QUERY EXECUTE format('SELECT %2$L || side || x FROM (
            SELECT '' too much: '' AS side, to_jsonb(a) - ''way'' AS x FROM %1$I a WHERE way = %2$L AND NOT EXISTS (SELECT FROM %1$I b WHERE b.way = ''once'' AND b.n = a.n AND to_jsonb(b) - ''way'' = to_jsonb(a) - ''way'')
            UNION ALL
            SELECT '' missing: '', to_jsonb(b) - ''way'' FROM %1$I b WHERE way = ''once'' AND NOT EXISTS (SELECT FROM %1$I a WHERE a.way = %2$L AND b.n = a.n AND to_jsonb(b) - ''way'' = to_jsonb(a) - ''way'')) d', view, w);
    END LOOP;
END $$;
CREATE TEMP TABLE lines AS SELECT * FROM line;
CREATE TEMP TABLE documents AS SELECT * FROM document;
CREATE INDEX ON lines (way, n);
CREATE INDEX ON documents (way, n);
SELECT is_empty($$ SELECT * FROM pg_temp.differences('lines') $$, 'the same lines, periods and amounts');
SELECT is_empty($$ SELECT * FROM pg_temp.differences('documents') $$, 'the same documents');
SELECT is_empty('SELECT n, way, billed_at FROM documents GROUP BY 1, 2, 3 HAVING count(*) > 1', 'one document per account and instant at which something is due');
SELECT ok((SELECT count(*) > 400 FROM documents WHERE way = 'once') AND (SELECT count(DISTINCT way) = 4 FROM documents)
          AND (SELECT count(*) = 4 * count(*) FILTER (WHERE way = 'once') FROM lines), 'every way made as many, and not few');

CALL billing.bill_run('2025-07-01 00:00+00');
SELECT billing.bill_account(account, at) FROM twin, unnest(ARRAY['2024-05-05', '2025-07-01']::timestamptz[]) at \g /dev/null
SELECT results_eq('SELECT count(*) FROM document', 'SELECT count(*) FROM documents', 'repeated, it writes nothing');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
