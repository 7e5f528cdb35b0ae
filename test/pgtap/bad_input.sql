-- Bad input: every call refuses it with a documented SQLSTATE and writes nothing.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;

-- A digest of all tables of the books.
CREATE FUNCTION pg_temp.books_digest() RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
    relation regclass;
    part text;
    result text := '';
BEGIN
    FOR relation IN SELECT oid FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname LOOP
        EXECUTE format('SELECT count(*) || md5(string_agg(x::text, E''\n'' ORDER BY x::text)) FROM %s x', relation) INTO part;
        result := md5(result || relation || coalesce(part, 'empty'));
    END LOOP;
    RETURN result;
END $$;

-- A run commits by itself; one that refuses its arguments has not begun.
SELECT pg_temp.books_digest() AS digest \gset
\set ON_ERROR_STOP off
\set VERBOSITY sqlstate
\o /dev/null
CALL billing.bill_run(entity => 'nowhere');
\set unknown_entity :SQLSTATE
CALL billing.bill_run(at => 'infinity');
\set infinite :SQLSTATE
CALL billing.bill_run(batch_size => 0);
\set no_batch :SQLSTATE
\o
\set VERBOSITY default
\set ON_ERROR_STOP on
SELECT pg_temp.books_digest() AS digest_after \gset

BEGIN;
SET LOCAL timezone = 'Europe/Berlin';
SET LOCAL billing.max_future = '36500d';
CREATE TEMPORARY TABLE bad (n int GENERATED ALWAYS AS IDENTITY, code text NOT NULL, statement text NOT NULL);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('minutes') \g /dev/null
SELECT billing.create_meter('bytes') \g /dev/null
SELECT billing.create_product('phone', 'Telephone') \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":12.50}') \g /dev/null
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'minutes', scheme => '{"model":"per_unit","unit_amount":0.10}') \g /dev/null
SELECT billing.create_price('dollar', currency => 'USD', every => '1 month', tax => 'vat', scheme => '{"model":"flat","flat_amount":9}') \g /dev/null
SELECT billing.create_price('daily', currency => 'EUR', every => '1 day', tax => 'vat', scheme => '{"model":"flat","flat_amount":1}') \g /dev/null
SELECT billing.create_price('fee', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":9}') \g /dev/null
SELECT billing.create_price('old', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"flat","flat_amount":9}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"},{"price":"call"}]') \g /dev/null
SELECT billing.create_plan('us', items => '[{"price":"dollar"}]') \g /dev/null
SELECT billing.create_plan('days', items => '[{"price":"daily"}]') \g /dev/null
SELECT billing.create_plan('former', items => '[{"price":"seat"}]') \g /dev/null
SELECT billing.create_plan('dusty', items => '[{"price":"old"}]') \g /dev/null
SELECT billing.create_plan('bare', items => '[]') \g /dev/null
SELECT billing.archive_plan('former'), billing.archive_price('old') \g /dev/null
INSERT INTO billing.price (code, name, currency, every, timing, tax) VALUES ('later', 'Later', 'EUR', '1 month', 'advance', 'vat');
INSERT INTO billing.price_version (price, version, scheme, valid_from) VALUES ('later', 1, '{"model":"flat","flat_amount":1}', '2030-01-01');
SELECT billing.create_plan('soon', items => '[{"price":"later"}]') \g /dev/null
SELECT billing.create_account('Jane Ltd', external_id => 'crm-17', idempotency_key => 'open-jane') AS account_id \gset
SELECT billing.create_subscription(:account_id, 'team', start_at => '2026-01-01', end_at => '2026-07-01', external_id => 'sub-1') AS subscription_id \gset
SELECT billing.record_usage(:subscription_id, 'minutes', 'call-1', 35, '2026-02-10 12:00') \g /dev/null
SELECT id AS invoice_id FROM billing.bill_account(:account_id, '2026-01-01') id \gset

-- Catalogue: entities and series.
INSERT INTO bad (code, statement) VALUES
('22004', $$SELECT billing.create_entity(NULL, 'X', 'DE', 'EUR', 'UTC')$$),
('22004', $$SELECT billing.create_entity('x', NULL, 'DE', 'EUR', 'UTC')$$),
('22004', $$SELECT billing.create_entity('x', 'X', NULL, 'EUR', 'UTC')$$),
('22004', $$SELECT billing.create_entity('x', 'X', 'DE', NULL, 'UTC')$$),
('22004', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', NULL)$$),
('LB208', $$SELECT billing.create_entity('', 'X', 'DE', 'EUR', 'UTC')$$),
('LB208', $$SELECT billing.create_entity('x', '', 'DE', 'EUR', 'UTC')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'de', 'EUR', 'UTC')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DEU', 'EUR', 'UTC')$$),
('LB102', $$SELECT billing.create_entity('x', 'X', 'DE', 'eur', 'UTC')$$),
('LB102', $$SELECT billing.create_entity('x', 'X', 'DE', 'XXX', 'UTC')$$),
('LB206', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'Europe/Bonn')$$),
('LB206', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', '')$$),
('LB206', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC+2')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', payment_terms_days => -1)$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', payment_terms_days => 3651)$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', address => '{"street":"Here 1"}')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', address => '{"line1":1}')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', address => '[]')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', tax_ids => '{}')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', tax_ids => '["DE1"]')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', tax_ids => '[{"type":"vat"}]')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', tax_ids => '[{"type":"vat","value":"1","more":1}]')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', metadata => '[]')$$),
('LB208', $$SELECT billing.create_entity('x', 'X', 'DE', 'EUR', 'UTC', metadata => 'null')$$),
('23505', $$SELECT billing.create_entity('acme', 'X', 'DE', 'EUR', 'UTC')$$),
('LB101', $$SELECT billing.create_series('s', 'nowhere', '{number}')$$),
('LB208', $$SELECT billing.create_series('', 'acme', '{number}')$$),
('LB208', $$SELECT billing.create_series('s', 'acme', 'INV')$$),
('LB208', $$SELECT billing.create_series('s', 'acme', '')$$),
('LB208', $$SELECT billing.create_series('s', 'acme', '{number:0}')$$),
('LB208', $$SELECT billing.create_series('s', 'acme', '{number:100}')$$),
('LB208', $$SELECT billing.create_series('s', 'acme', repeat('x', 60) || '{number}')$$),
('LB208', $$SELECT billing.create_series('s', 'acme', '{number}', restart_yearly => true)$$),
('22004', $$SELECT billing.create_series('s', 'acme', NULL)$$),
('23505', $$SELECT billing.create_series('acme-invoice', 'acme', '{number}')$$);

-- Tax.
INSERT INTO bad (code, statement) VALUES
('LB208', $$SELECT billing.create_tax('', category => 'S', rate => 19)$$),
('22004', $$SELECT billing.create_tax('t', category => NULL, rate => 19)$$),
('22004', $$SELECT billing.create_tax('t', category => 'S', rate => NULL)$$),
('LB208', $$SELECT billing.create_tax('t', category => 'X', rate => 19)$$),
('LB208', $$SELECT billing.create_tax('t', category => 'S', rate => -1)$$),
('LB208', $$SELECT billing.create_tax('t', category => 'S', rate => 'NaN')$$),
('LB208', $$SELECT billing.create_tax('t', category => 'S', rate => 'Infinity')$$),
('LB208', $$SELECT billing.create_tax('t', category => 'S', rate => 1000.01)$$),
('LB208', $$SELECT billing.create_tax('t', category => 'Z', rate => 1)$$),
('LB208', $$SELECT billing.create_tax('t', category => 'E', rate => 0)$$),
('LB208', $$SELECT billing.create_tax('t', category => 'S', rate => 19, tax_point => 'never')$$),
('LB208', $$SELECT billing.create_tax('t', category => 'S', rate => 19, tax_status => '')$$),
('LB101', $$SELECT billing.create_tax('t', category => 'S', rate => 19, entity => 'nowhere')$$),
('22008', $$SELECT billing.create_tax('t', category => 'S', rate => 19, valid_from => 'infinity')$$),
('22008', $$SELECT billing.create_tax('t', category => 'S', rate => 19, valid_from => '10000-01-01')$$),
('23505', $$SELECT billing.create_tax('vat', category => 'S', rate => 19)$$),
('LB103', $$SELECT billing.create_tax_rate('nothing', 'S', 19)$$),
('23505', $$SELECT billing.create_tax_rate('vat', 'S', 7)$$),
('22004', $$SELECT billing.create_tax_rate(NULL, 'S', 7)$$);

-- Products, meters, prices.
INSERT INTO bad (code, statement) VALUES
('LB208', $$SELECT billing.create_product('', 'X')$$),
('22004', $$SELECT billing.create_product('x', NULL)$$),
('LB208', $$SELECT billing.create_product('x', 'X', metadata => '"text"')$$),
('23505', $$SELECT billing.create_product('phone', 'X')$$),
('LB208', $$SELECT billing.create_meter('')$$),
('LB208', $$SELECT billing.create_meter('x', aggregation => 'median')$$),
('22004', $$SELECT billing.create_meter(NULL)$$),
('23505', $$SELECT billing.create_meter('minutes')$$);
INSERT INTO bad (code, statement)
SELECT code, format($$SELECT billing.create_price(%L, %L, %L, %L, %L %s)$$, price, currency, tax, scheme, every, rest)
  FROM (VALUES
('22004', NULL, 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', ''),
('22004', 'x', NULL, '1 month', 'vat', '{"model":"flat","flat_amount":1}', ''),
('LB208', 'x', 'EUR', NULL, 'vat', '{"model":"flat","flat_amount":1}', $$, meter => 'minutes'$$),
('22004', 'x', 'EUR', '1 month', NULL, '{"model":"flat","flat_amount":1}', ''),
('22004', 'x', 'EUR', '1 month', 'vat', NULL, ''),
('LB208', '', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', ''),
('23505', 'seat', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', ''),
('LB102', 'x', 'EURO', '1 month', 'vat', '{"model":"flat","flat_amount":1}', ''),
('LB103', 'x', 'EUR', '1 month', 'gst', '{"model":"flat","flat_amount":1}', ''),
('LB205', 'x', 'EUR', '1.5 months', 'vat', '{"model":"flat","flat_amount":1}', ''),
('LB205', 'x', 'EUR', '-1 month', 'vat', '{"model":"flat","flat_amount":1}', ''),
('LB205', 'x', 'EUR', '1 month 1 day', 'vat', '{"model":"flat","flat_amount":1}', ''),
('LB205', 'x', 'EUR', '1 hour', 'vat', '{"model":"flat","flat_amount":1}', ''),
('LB205', 'x', 'EUR', '1 day 1 second', 'vat', '{"model":"flat","flat_amount":1}', ''),
('LB205', 'x', 'EUR', '0', 'vat', '{"model":"flat","flat_amount":1}', ''),
('22007', 'x', 'EUR', 'monthly', 'vat', '{"model":"flat","flat_amount":1}', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1,"colour":"red"}', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', '{"model":"tiered"}', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', '{}', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', 'null', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', '[]', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":"NaN"}', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":"Infinity"}', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":null}', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', '{"model":"volume","tiers":[{"up_to":20,"unit_amount":1},{"up_to":10,"unit_amount":1}]}', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', '{"model":"volume","tiers":[{"up_to":10,"unit_amount":1},{"up_to":10,"unit_amount":1}]}', ''),
('LB201', 'x', 'EUR', '1 month', 'vat', '{"model":"percentage","rate":1,"free_count":3}', ''),
('22P02', 'x', 'EUR', '1 month', 'vat', '{"model":', ''),
('LB208', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', $$, timing => 'later'$$),
('LB208', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', $$, timing => 'advance', meter => 'minutes'$$),
('LB104', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', $$, meter => 'hours'$$),
('LB105', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', $$, product => 'fax'$$),
('LB208', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', $$, proration_charge => 'week'$$),
('LB208', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', $$, proration_credit => 'week'$$),
('LB208', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', $$, proration_charge => 'second'$$),
('LB208', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', $$, proration_charge => NULL, proration_credit => 'second'$$),
('LB208', 'x', 'EUR', '7 days', 'vat', '{"model":"flat","flat_amount":1}', $$, proration_charge => 'none', proration_credit => '30/360'$$),
('LB208', 'x', 'EUR', '1 month', 'vat', '{"model":"flat","flat_amount":1}', $$, metadata => '1'$$)
) p (code, price, currency, every, tax, scheme, rest);
INSERT INTO bad (code, statement) VALUES
('LB106', $$SELECT billing.create_price_version('none', '{"model":"flat","flat_amount":1}')$$),
('LB201', $$SELECT billing.create_price_version('seat', '{"model":"flat"}')$$),
('22004', $$SELECT billing.create_price_version('seat', NULL)$$),
('22008', $$SELECT billing.create_price_version('seat', '{"model":"flat","flat_amount":1}', 'infinity')$$),
('22008', $$SELECT billing.create_price_version('seat', '{"model":"flat","flat_amount":1}', '10000-01-01Z')$$),
('LB106', $$SELECT billing.archive_price('none')$$),
('LB107', $$SELECT billing.archive_plan('none')$$),
('22008', $$SELECT billing.archive_price('seat', '-infinity')$$),
('22008', $$SELECT billing.archive_plan('team', 'infinity')$$),
('LB121', $$UPDATE billing.price SET currency = 'USD' WHERE code = 'seat'$$),
('LB121', $$UPDATE billing.price SET every = '30 days' WHERE code = 'seat'$$),
('LB121', $$DELETE FROM billing.price WHERE code = 'seat'$$),
('LB121', $$UPDATE billing.price_version SET scheme = '{"model":"flat","flat_amount":1}' WHERE price = 'seat'$$),
('LB121', $$UPDATE billing.price_version SET in_use = false WHERE price = 'seat'$$),
('LB121', $$DELETE FROM billing.price_version WHERE price = 'seat'$$);

-- Plans.
INSERT INTO bad (code, statement) VALUES
('LB208', $$SELECT billing.create_plan('', '[]')$$),
('22004', $$SELECT billing.create_plan('x', NULL)$$),
('23505', $$SELECT billing.create_plan('team', '[]')$$),
('LB207', $$SELECT billing.create_plan('x', '{}')$$),
('LB207', $$SELECT billing.create_plan('x', 'null')$$),
('LB207', $$SELECT billing.create_plan('x', '["seat"]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"quantity":1}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":1}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat","color":1}]')$$),
('LB106', $$SELECT billing.create_plan('x', '[{"price":"none"}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat"},{"price":"seat"}]')$$),
('LB203', $$SELECT billing.create_plan('x', '[{"price":"seat","quantity":-1}]')$$),
('LB203', $$SELECT billing.create_plan('x', '[{"price":"seat","quantity":"NaN"}]')$$),
('LB203', $$SELECT billing.create_plan('x', '[{"price":"seat","quantity":"Infinity"}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat","quantity":[1]}]')$$),
('22P02', $$SELECT billing.create_plan('x', '[{"price":"seat","quantity":"many"}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"call","quantity":1}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat","optional":"yes"}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat","cycles":0}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat","cycles":1.5}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat","cycles":1e30}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat","cycles":"3"}]')$$),
('LB204', $$SELECT billing.create_plan('x', '[{"price":"seat"},{"price":"dollar"}]')$$),
('LB205', $$SELECT billing.create_plan('x', '[{"price":"seat"},{"price":"daily"}]')$$),
('LB120', $$SELECT billing.create_plan('x', '[{"price":"old"}]')$$),
('LB208', $$SELECT billing.create_plan('x', '[{"price":"seat"}]', billing_day => 0)$$),
('LB208', $$SELECT billing.create_plan('x', '[{"price":"seat"}]', billing_day => 32)$$),
('LB205', $$SELECT billing.create_plan('x', '[{"price":"daily"}]', billing_day => 1)$$),
('LB208', $$SELECT billing.create_plan('x', '[{"price":"seat"}]', cycles => 0)$$),
('LB208', $$SELECT billing.create_plan('x', '[{"price":"seat"}]', metadata => '[]')$$),
('LB205', $$SELECT billing.create_plan('x', '[{"price":"seat"}]', trial_every => '0')$$),
('LB205', $$SELECT billing.create_plan('x', '[{"price":"seat"}]', trial_every => '1 hour')$$),
('LB208', $$SELECT billing.create_plan('x', '[{"price":"seat"}]', trial_end_action => 'pause')$$),
('LB208', $$SELECT billing.create_plan('x', '[{"price":"seat"}]', resume_anchor => 'restart')$$),
('LB208', $$SELECT billing.create_plan('x', '[{"price":"fee","event":"birthday"}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"fee","event":1}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"fee","charge_once":"yes","event":"trial_start"}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"fee","charge_once":true}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"fee","event":"trial_start","optional":true}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"fee","event":"trial_start","instalments":2}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"fee","event":"trial_start"},{"price":"fee","event":"trial_start"}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"fee","own_invoice":true,"instalments":2}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"fee","instalments":0}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"fee","cycles":3}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat","event":"trial_start"}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat","own_invoice":true}]')$$),
('LB207', $$SELECT billing.create_plan('x', '[{"price":"seat","instalments":3}]')$$),
('LB204', $$SELECT billing.create_plan('x', '[{"price":"dollar"},{"price":"fee","event":"trial_start"}]')$$);

-- Accounts.
INSERT INTO bad (code, statement) VALUES
('22004', $$SELECT billing.create_account(NULL)$$),
('LB208', $$SELECT billing.create_account('')$$),
('LB208', $$SELECT billing.create_account('X', external_id => '')$$),
('23505', $$SELECT billing.create_account('X', external_id => 'crm-17')$$),
('LB101', $$SELECT billing.create_account('X', entity => 'nowhere')$$),
('LB102', $$SELECT billing.create_account('X', currency => 'DEM')$$),
('LB206', $$SELECT billing.create_account('X', time_zone => 'Berlin')$$),
('LB208', $$SELECT billing.create_account('X', country => 'd1')$$),
('LB208', $$SELECT billing.create_account('X', payment_terms_days => -1)$$),
('LB208', $$SELECT billing.create_account('X', tax_status => '')$$),
('LB208', $$SELECT billing.create_account('X', address => '{"line1":null}')$$),
('LB208', $$SELECT billing.create_account('X', tax_ids => '[1]')$$),
('LB208', $$SELECT billing.create_account('X', metadata => '"x"')$$),
('LB208', $$SELECT billing.create_account('X', invoice_grouping => 'order')$$),
('LB208', $$SELECT billing.create_account('X', grace_period => '-1 day')$$),
('LB208', $$SELECT billing.create_account('X', grace_period => '1 month')$$),
('LB208', $$SELECT billing.create_accounts('[{"name":"X","grace_period":"400 days"}]')$$),
('LB112', $$SELECT billing.create_account('X', invoice_series => 'none')$$),
('LB112', $$SELECT billing.create_account('X', credit_note_series => 'none')$$),
('LB301', $$SELECT billing.create_account('Other', external_id => 'crm-17', idempotency_key => 'open-jane')$$),
('LB208', $$SELECT billing.create_account('X', idempotency_key => '')$$),
('LB111', $$SELECT billing.account_id('crm-18')$$),
('22004', $$SELECT billing.account_id(NULL)$$),
('LB111', $$SELECT billing.subscription_id('crm-17')$$),
('22004', $$SELECT billing.create_accounts(NULL)$$),
('LB208', $$SELECT billing.create_accounts('{}')$$),
('LB208', $$SELECT billing.create_accounts('["Jane"]')$$),
('LB208', $$SELECT billing.create_accounts('[{"name":"X"},{"name":"Y","nickname":"Z"}]')$$),
('LB208', $$SELECT billing.create_accounts('[{"name":"X"},{"name":{"first":"Y"}}]')$$),
('LB208', $$SELECT billing.create_accounts('[{"name":"X","external_id":17}]')$$),
('LB208', $$SELECT billing.create_accounts('[{"name":"X","payment_terms_days":true}]')$$),
('LB208', $$SELECT billing.create_accounts('[{"name":"X","idempotency_key":"k"}]')$$),
('22004', $$SELECT billing.create_accounts('[{"name":"X"},{"name":null}]')$$),
('22004', $$SELECT billing.create_accounts('[{"name":"X"},{}]')$$),
('22P02', $$SELECT billing.create_accounts('[{"name":"X","payment_terms_days":1.5}]')$$),
('22003', $$SELECT billing.create_accounts('[{"name":"X","payment_terms_days":99999999999999999999}]')$$),
('23505', $$SELECT billing.create_accounts('[{"name":"X","external_id":"a"},{"name":"Y","external_id":"a"}]')$$);

-- Subscriptions.
INSERT INTO bad (code, statement)
SELECT code, format($$SELECT billing.create_subscription(%s, %L, start_at => %L %s)$$, coalesce(id, 'NULL'), plan, start_at, rest)
  FROM (VALUES
('22004', NULL, 'team', '2026-01-01', ''),
('22004', :'account_id', NULL, '2026-01-01', ''),
('LB108', '999999', 'team', '2026-01-01', ''),
('LB108', '0', 'team', '2026-01-01', ''),
('LB108', '-1', 'team', '2026-01-01', ''),
('LB108', :'subscription_id', 'team', '2026-01-01', ''),
('LB108', '9223372036854775807', 'team', '2026-01-01', ''),
('LB107', :'account_id', 'none', '2026-01-01', ''),
('LB107', :'account_id', '', '2026-01-01', ''),
('LB120', :'account_id', 'former', '2026-01-01', ''),
('LB120', :'account_id', 'dusty', '2026-01-01', ''),
('LB204', :'account_id', 'us', '2026-01-01', ''),
('LB204', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"dollar"}]'$$),
('LB106', :'account_id', 'soon', '2026-01-01', ''),
('LB207', :'account_id', 'bare', '2026-01-01', ''),
('22008', :'account_id', 'team', 'infinity', ''),
('22008', :'account_id', 'team', '-infinity', ''),
('22008', :'account_id', 'team', '10000-01-01Z', ''),
('22008', :'account_id', 'team', '294276-12-31', ''),
('22008', :'account_id', 'team', '9999-12-20', ''),
('22008', :'account_id', 'team', '2026-01-01', $$, end_at => 'infinity'$$),
('LB208', :'account_id', 'team', '2026-01-01', $$, end_at => '2025-12-31'$$),
('LB208', :'account_id', 'team', '2026-01-01', $$, cycles => 0$$),
('LB208', :'account_id', 'team', '2026-01-01', $$, cycles => 2147483647$$),
('22008', :'account_id', 'team', '2026-01-01', $$, cycles => 99999$$),
('LB208', :'account_id', 'team', '2026-01-01', $$, billing_day => 0$$),
('LB208', :'account_id', 'team', '2026-01-01', $$, billing_day => 32$$),
('LB205', :'account_id', 'days', '2026-01-01', $$, billing_day => 1$$),
('LB206', :'account_id', 'team', '2026-01-01', $$, time_zone => 'Mars/Olympus'$$),
('LB208', :'account_id', 'team', '2026-01-01', $$, first_period => 'half'$$),
('LB208', :'account_id', 'team', '2026-01-01', $$, external_id => ''$$),
('23505', :'account_id', 'team', '2026-01-01', $$, external_id => 'sub-1'$$),
('LB208', :'account_id', 'team', '2026-01-01', $$, metadata => '[]'$$),
('LB301', :'account_id', 'team', '2026-01-01', $$, idempotency_key => 'open-jane'$$),
('LB207', :'account_id', 'team', '2026-01-01', $$, items => '{}'$$),
('LB207', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"seat"},{"price":"seat"}]'$$),
('LB207', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"seat","optional":true}]'$$),
('LB207', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"call","quantity":5}]'$$),
('LB106', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"none"}]'$$),
('LB120', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"old"}]'$$),
('LB205', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"daily"}]'$$),
('LB203', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"seat","quantity":-0.1}]'$$),
('LB203', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"seat","quantity":"nan"}]'$$),
('LB203', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"seat","quantity":"-Infinity"}]'$$),
('22P02', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"seat","quantity":""}]'$$),
('LB207', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"seat","cycles":-1}]'$$),
('22008', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"seat","cycles":99999}]'$$),
('LB208', :'account_id', 'team', '2026-01-01', $$, items => '[{"price":"seat","metadata":1}]'$$)
) s (code, id, plan, start_at, rest);
INSERT INTO bad (code, statement) VALUES
('22003', format($$SELECT billing.create_subscription(%s, 'team', items => '[{"price":"seat","quantity":1e200000}]')$$, :'account_id')),
('22004', $$SELECT billing.create_subscriptions(NULL)$$),
('LB208', $$SELECT billing.create_subscriptions('{}')$$),
('LB208', $$SELECT billing.create_subscriptions('[1]')$$),
('22004', $$SELECT billing.create_subscriptions('[{"plan":"team"}]')$$),
('22004', format($$SELECT billing.create_subscriptions('[{"account_id":%s}]')$$, :'account_id')),
('LB108', $$SELECT billing.create_subscriptions('[{"account_id":4711,"plan":"team"}]')$$),
('22P02', $$SELECT billing.create_subscriptions('[{"account_id":"crm-17","plan":"team"}]')$$),
('22003', $$SELECT billing.create_subscriptions('[{"account_id":1e30,"plan":"team"}]')$$),
('LB208', format($$SELECT billing.create_subscriptions('[{"account_id":%s,"plan":"team","billingday":1}]')$$, :'account_id')),
('LB208', format($$SELECT billing.create_subscriptions('[{"account_id":%s,"plan":["team"]}]')$$, :'account_id')),
('LB208', format($$SELECT billing.create_subscriptions('[{"account_id":%s,"plan":"team","start_at":2026}]')$$, :'account_id')),
('22007', format($$SELECT billing.create_subscriptions('[{"account_id":%s,"plan":"team","start_at":"tomorrowish"}]')$$, :'account_id')),
('LB107', format($$SELECT billing.create_subscriptions('[{"account_id":%1$s,"plan":"team"},{"account_id":%1$s,"plan":"none"}]')$$, :'account_id'));

-- Usage.
INSERT INTO bad (code, statement)
SELECT code, format($$SELECT billing.record_usage(%s, %L, %L, %s, %L)$$, coalesce(id, 'NULL'), meter, event_key, quantity, at)
  FROM (VALUES
('22004', NULL, 'minutes', 'e', '1', '2026-02-01'),
('22004', :'subscription_id', NULL, 'e', '1', '2026-02-01'),
('22004', :'subscription_id', 'minutes', NULL, '1', '2026-02-01'),
('LB109', '4711', 'minutes', 'e', '1', '2026-02-01'),
('LB109', :'account_id', 'minutes', 'e', '1', '2026-02-01'),
('LB109', '-1', 'minutes', 'e', '1', '2026-02-01'),
('LB104', :'subscription_id', 'hours', 'e', '1', '2026-02-01'),
('LB104', :'subscription_id', 'bytes', 'e', '1', '2026-02-01'),
('LB208', :'subscription_id', 'minutes', '', '1', '2026-02-01'),
('LB203', :'subscription_id', 'minutes', 'e', '-1', '2026-02-01'),
('LB203', :'subscription_id', 'minutes', 'e', '''NaN''', '2026-02-01'),
('LB203', :'subscription_id', 'minutes', 'e', '''Infinity''', '2026-02-01'),
('LB203', :'subscription_id', 'minutes', 'e', 'NULL', '2026-02-01'),
('22008', :'subscription_id', 'minutes', 'e', '1', 'infinity'),
('22008', :'subscription_id', 'minutes', 'e', '1', '10000-01-01Z'),
('LB302', :'subscription_id', 'minutes', 'e', '1', '2025-12-31'),
('LB302', :'subscription_id', 'minutes', 'e', '1', '2026-07-01'),
('LB301', :'subscription_id', 'minutes', 'call-1', '36', '2026-02-10 12:00'),
('LB301', :'subscription_id', 'minutes', 'call-1', '35', '2026-02-10 12:01')
) u (code, id, meter, event_key, quantity, at);
INSERT INTO bad (code, statement) VALUES
('22004', $$SELECT billing.record_usages(NULL)$$),
('LB208', $$SELECT billing.record_usages('{}')$$),
('LB208', $$SELECT billing.record_usages('[[]]')$$),
('22004', $$SELECT billing.record_usages('[{}]')$$),
('22P02', $$SELECT billing.record_usages('[{"subscription_id":"sub-1"}]')$$),
('LB208', format($$SELECT billing.record_usages('[{"subscription_id":%s,"meter":"minutes","event_key":"e","when":"2026-02-01"}]')$$, :'subscription_id')),
('LB208', format($$SELECT billing.record_usages('[{"subscription_id":%s,"meter":"minutes","event_key":5,"at":"2026-02-01"}]')$$, :'subscription_id')),
('LB203', format($$SELECT billing.record_usages('[{"subscription_id":%s,"meter":"minutes","event_key":"e","quantity":null}]')$$, :'subscription_id')),
('LB203', format($$SELECT billing.record_usages('[{"subscription_id":%1$s,"meter":"minutes","event_key":"a","quantity":1,"at":"2026-02-01"},
                                                  {"subscription_id":%1$s,"meter":"minutes","event_key":"b","quantity":-1,"at":"2026-02-01"}]')$$, :'subscription_id')),
('23505', format($$INSERT INTO billing.usage_event VALUES (%s, 'call-1', %s, 'minutes', '2026-02-01', 1)$$, :'account_id', :'subscription_id')),
('23514', format($$INSERT INTO billing.usage_event VALUES (%s, 'e', %s, 'minutes', '2026-02-01', -1)$$, :'account_id', :'subscription_id')),
('23514', format($$INSERT INTO billing.usage_event VALUES (%s, 'e', %s, 'minutes', '2026-02-01', 'NaN')$$, :'account_id', :'subscription_id')),
('23514', format($$INSERT INTO billing.usage_event VALUES (%s, 'e', %s, 'minutes', 'infinity', 1)$$, :'account_id', :'subscription_id')),
('LB302', format($$INSERT INTO billing.usage_event VALUES (%s, 'e', %s, 'minutes', '2026-12-01', 1)$$, :'account_id', :'subscription_id')),
('LB108', format($$INSERT INTO billing.usage_event VALUES (4711, 'e', %s, 'minutes', '2026-02-01', 1)$$, :'subscription_id'));

-- Documents and runs.
INSERT INTO bad (code, statement) VALUES
('22004', $$SELECT billing.bill_account(NULL)$$),
('LB108', $$SELECT billing.bill_account(4711)$$),
('LB108', format($$SELECT billing.bill_account(%s)$$, :'subscription_id')),
('22008', format($$SELECT billing.bill_account(%s, 'infinity')$$, :'account_id')),
('22008', format($$SELECT billing.bill_account(%s, '10000-01-01Z')$$, :'account_id')),
('LB405', format($$SET LOCAL billing.max_future = '1h'; SELECT billing.bill_account(%s, now() + '61 minutes')$$, :'account_id')),
('LB405', $$SET LOCAL billing.max_future = '1h'; CALL billing.bill_run(now() + '61 minutes')$$),
('22008', $$CALL billing.bill_run('-infinity')$$),
('LB101', $$CALL billing.bill_run(entity => 'nowhere')$$),
('LB208', $$CALL billing.bill_run(workers => 0)$$),
('0A000', $$CALL billing.bill_run(workers => 2)$$),
('LB208', $$CALL billing.bill_run(batch_size => -5)$$),
('LB208', $$CALL billing.bill_run(batch_size => 100001)$$),
('22004', $$SELECT billing.preview(NULL)$$),
('LB108', $$SELECT billing.preview(4711)$$),
('LB108', format($$SELECT billing.preview(%s)$$, :'subscription_id')),
('22008', format($$SELECT billing.preview(%s, 'infinity')$$, :'account_id')),
('22008', $$SELECT billing.unbilled_on('infinity')$$),
('22004', $$SELECT billing.finalize_invoice(NULL)$$),
('LB110', $$SELECT billing.finalize_invoice(4711)$$),
('LB110', format($$SELECT billing.finalize_invoice(%s)$$, :'account_id')),
('LB403', format($$SELECT billing.finalize_invoice(%s)$$, :'invoice_id')),
('22004', format($$SELECT billing.void_invoice(%s, NULL)$$, :'invoice_id')),
('22004', $$SELECT billing.void_invoice(NULL, true)$$),
('LB110', $$SELECT billing.void_invoice(4711, true)$$),
('LB110', format($$SELECT billing.void_invoice(%s, true)$$, :'subscription_id')),
('22008', format($$SELECT billing.void_invoice(%s, true, 'infinity')$$, :'invoice_id')),
('LB405', format($$SET LOCAL billing.max_future = '1h'; SELECT billing.void_invoice(%s, true, now() + '61 minutes')$$, :'invoice_id')),
('22004', $$SELECT billing.invoice_document(NULL)$$),
('LB110', $$SELECT billing.invoice_document(4711)$$),
('LB112', $$SELECT billing.verify_chain('none')$$),
('LB402', $$UPDATE billing.invoice_line SET amount = amount$$),
('LB402', $$DELETE FROM billing.invoice_header$$),
('LB402', $$DELETE FROM billing.charge$$),
('LB402', $$TRUNCATE billing.seal$$),
('LB403', $$UPDATE billing.invoice_header SET status = 'draft'$$);

-- Pure functions and access.
INSERT INTO bad (code, statement) VALUES
('LB203', $$SELECT billing.charge('{"model":"flat","flat_amount":1}', -1)$$),
('LB203', $$SELECT billing.charge('{"model":"flat","flat_amount":1}', 'NaN')$$),
('LB203', $$SELECT billing.charge('{"model":"flat","flat_amount":1}', 'Infinity')$$),
('LB202', $$SELECT billing.charge('{"model":"volume","tiers":[{"up_to":10,"unit_amount":1}]}', 11)$$),
('LB201', $$SELECT billing.charge('{"model":"volume","tiers":[]}', 11)$$),
('LB201', $$SELECT * FROM billing.explain_charge('{"model":"magic"}', 1)$$),
('LB203', $$SELECT * FROM billing.explain_charge('{"model":"flat","flat_amount":1}', -1)$$),
('LB102', $$SELECT billing.round_amount(1, '')$$),
('22003', $$SELECT billing.round_amount('NaN', 'EUR')$$),
('22003', $$SELECT billing.round_amount('Infinity', 'EUR')$$),
('22004', $$SELECT billing.nth_period('2026-01-01', '1 month', NULL, 'UTC')$$),
('22008', $$SELECT billing.nth_period('2026-01-01', '100000000 years', 0, 'UTC')$$),
('22008', $$SELECT billing.nth_period('2026-01-01', '1 month', 2147483647, 'UTC')$$),
('22008', $$SELECT billing.nth_period('2026-01-01', '1 month', -2147483648, 'UTC')$$),
('22004', $$SELECT billing.grant_access(NULL, 'reader')$$),
('22004', $$SELECT billing.grant_access('postgres', NULL)$$),
('LB208', $$SELECT billing.grant_access('postgres', 'king')$$),
('LB101', $$SELECT billing.grant_access('postgres', 'operator', 'nowhere')$$),
('55000', $$SELECT billing.grant_access('postgres', 'reader', 'acme')$$),
('42704', $$SELECT billing.grant_access('regress_nobody', 'reader')$$),
('42704', $$SELECT billing.grant_access(4294967295::oid::regrole, 'reader')$$),
('LB208', $$SELECT billing.grant_access(current_user::regrole, 'reader')$$),  -- the owner: taking it back would lock him out
('LB208', $$SELECT billing.revoke_access('postgres', 'reader')$$),
('22004', $$SELECT billing.setup(NULL)$$),
('42704', $$SELECT billing.setup(4294967295::oid::regrole)$$);

SELECT plan(6 + (SELECT count(*) FROM bad)::int);
SELECT is(ARRAY[:'unknown_entity', :'infinite', :'no_batch']::text[], ARRAY['LB101', '22008', 'LB208'], 'a run refuses its arguments ...');
SELECT is(:'digest_after'::text, :'digest', '... and has written nothing');
SELECT pg_temp.books_digest() AS before \gset
SELECT isnt(:'before'::text, :'digest', 'the digest sees what is written');
SELECT throws_ok(statement, code::char(5), NULL, format('%s: %s', code, statement)) FROM bad ORDER BY n;
SELECT throws_ok(format('CALL billing.bill_run(batch_size => %s)', n), 'LB208', format('batch_size is %s', n), format('a batch of %s is refused as such', n))
  FROM unnest(ARRAY[0, 100001]) n;
SELECT is(pg_temp.books_digest(), :'before', 'nothing was written');
SELECT * FROM finish();
ROLLBACK;
