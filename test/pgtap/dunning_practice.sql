-- What people who pursue debts meet in practice: other currencies, payment in parts before anything was sent, messages
-- on their way when the money or a dispute comes in.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(4);
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_template('acme', 'reminder', 'mail', 'en', 'Please pay {amount_due} {currency}', subject => 'Invoice {number}') \g /dev/null
CREATE FUNCTION pg_temp.dun(account bigint, VARIADIC at timestamptz[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
BEGIN
    FOREACH moment IN ARRAY at LOOP PERFORM billing_internal.dun_accounts(ARRAY[account], moment, false); END LOOP;
END $$;
CREATE FUNCTION pg_temp.steps(account bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s.%s@%s:%s', x.round, x.step_no, to_char(x.done_at, 'MM-DD'), x.fee), ' ' ORDER BY x.done_at, x.round, x.step_no)
      FROM billing.dunning_action x WHERE x.account_id = account $$;
CREATE FUNCTION pg_temp.case_state(account bigint) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', c.state, c.pause_reason, to_char(c.next_step_at, 'MM-DD')) FROM billing.dunning_case c WHERE c.account_id = account $$;

-- Amounts of a scheme are in its currency.
SELECT billing.create_dunning_scheme('euro', currency => 'EUR', threshold => 5, fixed_sum => 40, steps => '[{"after":"1 day","actions":["fee","interest"],"fee":5}]') \g /dev/null
SELECT billing.create_dunning_scheme('yen', currency => 'JPY', steps => '[{"after":"1 day","actions":["fee"],"fee":500}]') \g /dev/null
SELECT billing.assign_dunning_scheme('euro', entity => 'acme') \g /dev/null
SELECT billing.create_account('Jun', currency => 'JPY') AS jun \gset
SELECT billing.record_external_invoice(:jun, 'J-1', '2025-01-01', 1000, 'JPY', due_on => '2025-01-15') AS i \gset
SELECT pg_temp.dun(:jun, '2025-01-16') \g /dev/null
SELECT is(pg_temp.steps(:jun), NULL, 'a scheme in euros charges nobody who pays in yen');
SELECT throws_ok(format($$SELECT billing.assign_dunning_scheme('euro', account_id => %s)$$, :jun), 'LB204', NULL, 'nor can it be given to such an account');
SELECT billing.assign_dunning_scheme('yen', account_id => :jun) \g /dev/null
SELECT pg_temp.dun(:jun, '2025-01-17') \g /dev/null
SELECT is(pg_temp.steps(:jun), '1.1@01-17:500', 'one in yen does');
SELECT is((SELECT total FROM billing.invoice WHERE account_id = :jun AND kind = 'claim'), 500::numeric, 'and the claim is in yen');

SELECT * FROM finish();
ROLLBACK;
