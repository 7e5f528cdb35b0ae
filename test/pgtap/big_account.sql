-- Accounts of tens of thousands of items: what a run does for them grows with their size, not with its square.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
-- A bound against a hang: each statement takes a second or two; compared item by item with all others it would take hours.
SET LOCAL statement_timeout = '3min';
SELECT plan(7);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_tax('cut', category => 'S', rate => 19, tax_point => 'split'), billing.create_tax_rate('cut', category => 'S', rate => 21, valid_from => '2026-02-10');
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":12.50}');
SELECT billing.create_price('line', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'cut', scheme => '{"model":"flat","flat_amount":7}');
SELECT billing.create_plan('team', name => 'Team', items => '[{"price":"seat"},{"price":"line"}]');

-- Three accounts: A is billed month by month, B once at the end; C likewise month by month, with an amount off each cycle.
SELECT billing.create_account(name) FROM unnest('{A,B,C}'::text[]) name;
SELECT billing.create_subscription(account_id, 'team', start_at => '2026-01-01 00:00+01') FROM billing.account;
SELECT billing.add_discount(a.account_id, 100, 'fixed', subscription_id => s.id, effective_at => s.start_at) FROM billing.account a JOIN billing.subscription s USING (account_id) WHERE a.name = 'C';
INSERT INTO billing.subscription_item (account_id, id, subscription_id, start_at)
SELECT account_id, billing_internal.make_id(account_id, 100 + n), id, start_at FROM billing.subscription, generate_series(1, 20000) n;
INSERT INTO billing.item_version (account_id, item_id, version, valid_from, price, price_version, quantity)
SELECT account_id, id, 1, start_at, CASE WHEN (id & 16777215) % 4 = 0 THEN 'line' ELSE 'seat' END, 1, 1 + (id & 16777215) % 7 FROM billing.subscription_item WHERE (id & 16777215) > 100;
UPDATE billing.account_state SET next_ordinal = 30000;
ANALYZE;

-- Every item gets another quantity inside the month.
CREATE FUNCTION pg_temp.edit(who text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO billing.item_version (account_id, item_id, version, valid_from, quantity)
    SELECT account_id, i.id, 2, '2026-01-20 00:00+01', 9 FROM billing.subscription_item i JOIN billing.account a USING (account_id) WHERE a.name = who;
    UPDATE billing.account_state s SET recompute_from = '2026-01-20 00:00+01' FROM billing.account a WHERE a.account_id = s.account_id AND a.name = who;
$$;
-- The subscription ends inside the next.
CREATE FUNCTION pg_temp.end_it(who text) RETURNS void LANGUAGE sql AS $$
    UPDATE billing.subscription s SET end_at = '2026-02-20 00:00+01' FROM billing.account a WHERE a.account_id = s.account_id AND a.name = who;
    UPDATE billing.account_state s SET recompute_from = '2026-02-20 00:00+01' FROM billing.account a WHERE a.account_id = s.account_id AND a.name = who;
$$;
CREATE FUNCTION pg_temp.bill(who text, at timestamptz) RETURNS int LANGUAGE sql AS $$
    SELECT count(*)::int FROM billing.account a, billing.bill_account(a.account_id, at) WHERE a.name = who $$;
CREATE FUNCTION pg_temp.charged(who text) RETURNS numeric LANGUAGE sql AS $$
    SELECT sum(amount) FROM (SELECT DISTINCT ON (item_id, kind, period_start, ordinal) c.amount FROM billing.charge c JOIN billing.account a USING (account_id)
     WHERE a.name = who ORDER BY item_id, kind, period_start, ordinal, revision DESC) live $$;

SELECT is(pg_temp.bill('A', '2026-01-01 12:00+01'), 1, 'the first month of 20,000 items is billed');
SELECT pg_temp.edit('A');
SELECT cmp_ok(pg_temp.bill('A', '2026-02-01 12:00+01'), '>=', 1, 'so is the next, after each of them was changed');
SELECT pg_temp.end_it('A');
SELECT cmp_ok(pg_temp.bill('A', '2026-04-01 12:00+01'), '>=', 1, 'and the last, after the end of all of them');

SELECT pg_temp.edit('B'), pg_temp.end_it('B');
SELECT pg_temp.bill('B', '2026-04-01 12:00+01');
SELECT is(pg_temp.charged('A'), pg_temp.charged('B'), 'what is charged is the same as billed once, after all of that');

SELECT pg_temp.bill('C', '2026-01-01 12:00+01');
SELECT pg_temp.edit('C');
SELECT pg_temp.bill('C', '2026-02-01 12:00+01');
SELECT pg_temp.end_it('C');
SELECT pg_temp.bill('C', '2026-04-01 12:00+01');
SELECT is(pg_temp.charged('C'), pg_temp.charged('A') - 2 * 100, 'an amount off each cycle is taken off once of each');
SELECT is((SELECT count(*) FROM billing.account a, billing.bill_account(a.account_id, '2026-04-02 12:00+01')), 0::bigint, 'then nothing is left to do');
SELECT is_empty('SELECT * FROM billing.check()', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
