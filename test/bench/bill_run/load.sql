-- Books with :accounts accounts, each with one subscription of two items: 1 to 40 seats and a base fee,
-- both monthly and in advance. Written straight into the tables, as this measures what comes after.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS billing CASCADE;
DROP SCHEMA IF EXISTS billing, bench, raw CASCADE;
CREATE EXTENSION billing;
\o /dev/null
SELECT billing.setup();
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin',
    address => '{"line1": "Hafenstr. 1", "city": "Hamburg", "postal_code": "20457"}', tax_ids => '[{"type": "vat", "value": "DE123456789"}]');
SELECT billing.create_tax('vat', entity => 'acme', category => 'S', rate => 19);
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat',
    scheme => '{"model": "per_unit", "unit_amount": 12.50}');
SELECT billing.create_price('base', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat',
    scheme => '{"model": "flat", "flat_amount": 19.90}');
SELECT billing.create_plan('team', name => 'Team', items => '[{"price": "seat", "quantity": 3}, {"price": "base"}]');
\o

-- The keys of these rows are sound by construction.
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO billing.account (account_id, entity, name, currency, time_zone, payment_terms_days, email, country, address)
SELECT a, 'acme', 'Customer ' || a, 'EUR', 'Europe/Berlin', 14, 'customer' || a || '@example.com', 'DE',
       jsonb_build_object('line1', 'Lange Reihe ' || a % 100, 'city', 'Hamburg', 'postal_code', '20099')
  FROM generate_series(1, :accounts) a;
INSERT INTO billing.account_state (account_id, entity, next_ordinal, next_due)
SELECT a, 'acme', 4, '2026-01-01 00:00+01' FROM generate_series(1, :accounts) a;
INSERT INTO billing.subscription (account_id, id, plan, start_at)
SELECT a, billing_internal.make_id(a, 1), 'team', '2026-01-01 00:00+01' FROM generate_series(1, :accounts) a;
INSERT INTO billing.schedule_version (account_id, subscription_id, version, valid_from, anchor, every, time_zone)
SELECT account_id, id, 1, start_at, start_at, '1 month', 'Europe/Berlin' FROM billing.subscription;
INSERT INTO billing.subscription_item (account_id, id, subscription_id, start_at)
SELECT account_id, billing_internal.make_id(account_id, n), id, start_at FROM billing.subscription, generate_series(2, 3) n;
INSERT INTO billing.item_version (account_id, item_id, version, valid_from, price, price_version, quantity)
SELECT account_id, id, 1, start_at, CASE id & 1 WHEN 0 THEN 'seat' ELSE 'base' END, 1, CASE id & 1 WHEN 0 THEN 1 + account_id % 40 ELSE 1 END
  FROM billing.subscription_item;
UPDATE billing.price_version SET in_use = true;
SELECT setval('billing.account_id_seq', :accounts) \g /dev/null
RESET session_replication_role;
VACUUM (FREEZE, ANALYZE);
