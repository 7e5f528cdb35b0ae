\i sql/include/fresh.psql
-- Accounts, and what they subscribe to.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET billing.max_future = '36500d';
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('minutes') \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":12.50}'),
       billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'minutes', scheme => '{"model":"per_unit","unit_amount":0.10}'),
       billing.create_price('domain', currency => 'EUR', every => '1 year', tax => 'vat', scheme => '{"model":"flat","flat_amount":24}'),
       billing.create_price('setup', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"flat","flat_amount":10}'),
       billing.create_price('day', currency => 'EUR', every => '1 day', tax => 'vat', scheme => '{"model":"flat","flat_amount":1}'),
       billing.create_price('yen', currency => 'JPY', every => '1 month', tax => 'vat', scheme => '{"model":"flat","flat_amount":500}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat","quantity":3},{"price":"call"},{"price":"domain","optional":true},{"price":"setup","cycles":2}]'),
       billing.create_plan('first', items => '[{"price":"seat"}]', billing_day => 1),
       billing.create_plan('daily', items => '[{"price":"day"}]'), billing.create_plan('tokyo', items => '[{"price":"yen"}]') \g /dev/null

-- An account needs a name; the rest comes from its seller.
SELECT billing.create_account('Jane Ltd');
SELECT billing.create_account('John Inc', external_id => 'crm-17', currency => 'JPY', time_zone => 'Asia/Tokyo', country => 'JP',
    address => '{"line1":"1-1","city":"Chiyoda","postal_code":"100-0001","region":"Tokyo"}', tax_ids => '[{"type":"jp_cn","value":"7000012050002"}]',
    tax_status => 'export', email => 'john@example.com', payment_terms_days => 0, buyer_reference => 'PO 5', metadata => '{"rank":1}');
\x on
SELECT account_id, entity, name, external_id, currency, time_zone, tax_status, payment_terms_days, email, country, address, tax_ids, buyer_reference, invoice_series, credit_note_series, metadata, invoice_grouping, grace_period
  FROM billing.account ORDER BY account_id;
\x off

-- Its own id in the application leads back to it, once.
SELECT billing.account_id('crm-17');
SELECT billing.create_account('Other', external_id => 'crm-17');
\echo :SQLSTATE
SELECT billing.account_id('crm-18');
\echo :SQLSTATE

-- A call that is repeated with its key has happened once, whatever the session's settings.
SELECT billing.create_account('Ann', idempotency_key => 'k1') AS ann \gset
SELECT billing.create_account('Ann', idempotency_key => 'k1') = :ann AS same;
SELECT billing.create_subscription(:ann, 'team', start_at => '2026-01-01 00:00+01', idempotency_key => 'k2') AS subscription_id \gset
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SELECT billing.create_subscription(:ann, 'team', start_at => '2026-01-01 00:00+01', idempotency_key => 'k2') = :subscription_id AS same;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SELECT billing.create_subscription(:ann, 'team', start_at => '2026-01-02 00:00+01', idempotency_key => 'k2');
\echo :SQLSTATE
SELECT billing.create_account('Bob', idempotency_key => 'k2');
\echo :SQLSTATE
-- A call that failed has not used its key.
SELECT billing.create_account('', idempotency_key => 'k3');
SELECT billing.create_account('Bob', idempotency_key => 'k3') IS NOT NULL AS opened;
SELECT kind, key, account_id, id FROM billing.key ORDER BY kind, key;

-- Ids say whose they are and are exact in a double.
SELECT :subscription_id >> 24 = :ann AS of_the_account, 536870911::bigint << 24 | 16777215 < 2::numeric ^ 53 AS exact;
SELECT setval('billing.account_id_seq', 536870911, false) \g /dev/null
SELECT billing.create_account('The last');
SELECT billing.create_account('One too many');
\echo :SQLSTATE
SELECT setval('billing.account_id_seq', 100) \g /dev/null
UPDATE billing.account_state SET next_ordinal = 16777216 - 3 WHERE account_id = :ann;
SELECT billing.create_subscription(:ann, 'team');
\echo :SQLSTATE
UPDATE billing.account_state SET next_ordinal = 100 WHERE account_id = :ann;

-- The plan's items, the caller's merged over them by price: other quantities, optional and further prices.
SELECT billing.create_subscription(1, 'team', start_at => '2026-01-31 10:00+01', external_id => 'sub-1', purchase_order => '4711', metadata => '{"a":1}',
    items => '[{"price":"domain"},{"price":"seat","quantity":"5","metadata":{"floor":2}},{"price":"setup","cycles":1}]') AS subscription_id \gset
SELECT billing.subscription_id('sub-1') = :subscription_id AS found;
SELECT i.id - :subscription_id AS n, v.price, v.price_version, v.quantity, i.cycles, i.end_at, i.metadata
  FROM billing.subscription_item i JOIN billing.item_version v ON v.account_id = i.account_id AND v.item_id = i.id
 WHERE i.subscription_id = :subscription_id ORDER BY i.id;
SELECT account_id, id = :subscription_id AS this, plan, external_id, start_at, end_at, cycles, purchase_order, metadata
  FROM billing.subscription WHERE external_id IS NOT NULL;
-- The schedule: the shortest interval, anchored at the start, in the account's zone.
SELECT version, valid_from, anchor, every, time_zone, billing_day, first_period FROM billing.schedule_version WHERE subscription_id = :subscription_id;
-- It is due from its start on.
SELECT next_due, billed_through, recompute_from FROM billing.account_state WHERE account_id = 1;

-- What does not fit is refused.
SELECT billing.create_subscription(1, 'tokyo');
\echo :SQLSTATE
SELECT billing.create_subscription(1, 'team', items => '[{"price":"call","quantity":1}]');
\echo :SQLSTATE
SELECT billing.create_subscription(1, 'team', items => '[{"price":"day"}]');
\echo :SQLSTATE

-- Cycles, an end, a billing day: what comes first ends it.  A stub is a cycle, unless it is free.
CREATE TEMPORARY TABLE asked (n int, start_at timestamptz, end_at timestamptz, cycles int, billing_day int, zone text, first_period text, plan text);
INSERT INTO asked VALUES
    (1, '2026-01-31 00:00+01', NULL, 1, NULL, NULL, NULL, 'team'), (2, '2026-01-31 00:00+01', NULL, 3, NULL, NULL, NULL, 'team'),
    (3, '2026-01-31 00:00+01', '2026-03-15 00:00+01', 3, NULL, NULL, NULL, 'team'), (4, '2026-01-31 00:00+01', '2026-12-31 00:00+01', 3, NULL, NULL, NULL, 'team'),
    (5, '2026-01-15 00:00+01', NULL, 2, 1, NULL, NULL, 'team'), (6, '2026-01-15 00:00+01', NULL, 2, 1, NULL, 'free', 'team'),
    (7, '2026-02-01 00:00+01', NULL, 2, 1, NULL, 'free', 'team'), (8, '2026-02-10 00:00+01', NULL, 2, 31, NULL, 'full', 'team'),
    (9, '2026-01-15 00:00+01', NULL, 2, NULL, NULL, NULL, 'first'), (10, '2026-01-15 00:00+01', NULL, 2, 20, NULL, NULL, 'first'),
    (11, '2026-03-28 12:00+01', NULL, 2, NULL, NULL, NULL, 'daily'), (12, '2026-03-28 12:00+01', NULL, 2, NULL, 'Pacific/Kiritimati', NULL, 'daily'),
    (13, '2026-01-31 23:30+01', NULL, 1, 1, 'Asia/Tokyo', NULL, 'team'), (14, '2026-01-31 00:00+01', '2026-01-31 00:00+01', NULL, NULL, NULL, NULL, 'team');
CREATE TEMPORARY TABLE made AS
SELECT n, billing.create_subscription(1, plan, start_at, end_at => end_at, cycles => cycles, billing_day => billing_day,
                                      time_zone => zone, first_period => first_period) AS id FROM asked ORDER BY n;
SELECT n, v.anchor AT TIME ZONE v.time_zone AS anchor_local, s.end_at AT TIME ZONE v.time_zone AS end_local, v.time_zone, v.billing_day, v.first_period
  FROM made JOIN billing.subscription s USING (id) JOIN billing.schedule_version v ON v.subscription_id = s.id ORDER BY n;

-- Many at once, in order, all or none.
SELECT * FROM billing.create_accounts('[{"name":"A","external_id":"a","metadata":null},{"name":"B","external_id":"b","time_zone":"UTC","payment_terms_days":7},{"name":"C"}]');
SELECT billing.create_accounts('[{"name":"D"},{"name":"E","external_id":"a"}]');
\echo :SQLSTATE
SELECT billing.create_accounts('[{"name":"D"},{"name":5}]');
\echo :SQLSTATE
SELECT name, time_zone, payment_terms_days FROM billing.account WHERE name IN ('A', 'B', 'C', 'D', 'E') ORDER BY 1;
SELECT id >> 24 = billing.account_id('b') AS of_b, row_number() OVER () AS n
  FROM billing.create_subscriptions((SELECT jsonb_agg(jsonb_build_object('account_id', billing.account_id(external_id), 'plan', 'team',
           'start_at', '2026-01-01 00:00+01', 'items', items, 'external_id', 'bulk-' || external_id))
         FROM (VALUES ('b', 'null'::jsonb), ('a', '[{"price":"seat","quantity":7}]')) x (external_id, items))) id;
SELECT s.external_id, v.price, v.quantity
  FROM billing.subscription s JOIN billing.subscription_item i ON i.subscription_id = s.id JOIN billing.item_version v ON v.item_id = i.id
 WHERE s.external_id LIKE 'bulk%' ORDER BY 1, i.id;
SELECT billing.create_subscriptions('[{"account_id":1,"plan":"team"},{"account_id":1,"plan":"none"}]');
\echo :SQLSTATE
SELECT * FROM billing.create_accounts('[]'), billing.create_subscriptions('[]');

-- Use, once per event key, however it comes.
SELECT billing.record_usage(billing.subscription_id('bulk-a'), 'minutes', 'e1', 35, '2026-01-10 12:00+01', '{"to":"+49"}') AS new;
SELECT billing.record_usage(billing.subscription_id('bulk-a'), 'minutes', 'e1', 35.0, '2026-01-10 12:00+01', '{"to":"+49"}') AS new;
SELECT billing.record_usage(billing.subscription_id('bulk-a'), 'minutes', 'e1', 36, '2026-01-10 12:00+01', '{"to":"+49"}');
\echo :SQLSTATE
SELECT billing.record_usages(jsonb_build_array(
    jsonb_build_object('subscription_id', billing.subscription_id('bulk-b'), 'meter', 'minutes', 'event_key', 'e1', 'at', '2026-01-11 12:00+01'),
    jsonb_build_object('subscription_id', billing.subscription_id('bulk-a'), 'meter', 'minutes', 'event_key', 'e2', 'at', '2026-01-11 12:00+01', 'quantity', '0.5'),
    jsonb_build_object('subscription_id', billing.subscription_id('bulk-a'), 'meter', 'minutes', 'event_key', 'e1', 'at', '2026-01-10 12:00+01', 'quantity', 35, 'properties', jsonb_build_object('to', '+49')))) AS new;
SELECT a.name, u.event_key, u.quantity, u.at, u.properties FROM billing.usage_event u JOIN billing.account a USING (account_id) ORDER BY 1, 2;

-- What it all bills.
SELECT count(*) FROM unnest(ARRAY['a', 'b']) external, billing.bill_account(billing.account_id(external), '2026-02-01 00:00+01');
SELECT a.name, i.number, l.description, l.quantity, l.amount, l.period_start AT TIME ZONE a.time_zone AS period_start, l.period_end AT TIME ZONE a.time_zone AS period_end
  FROM billing.account a JOIN billing.invoice i USING (account_id) JOIN billing.invoice_line l ON l.account_id = a.account_id AND l.invoice_id = i.id
 WHERE a.external_id IN ('a', 'b') ORDER BY 1, 2, l.line_no;
SELECT * FROM billing.check(deep => true);
