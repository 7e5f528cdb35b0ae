-- What is refused of payments, refunds, credit, collections and dunning: each with its SQLSTATE, and nothing at all is written.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"flat","flat_amount":100}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"}]') \g /dev/null
SELECT billing.create_dunning_scheme('usual', '[{"after":"1 day","actions":["event"]}]') \g /dev/null
SELECT billing.create_account('Ann') AS ann, billing.create_account('Ben') AS ben, billing.create_account('Cem') AS cem \gset
SELECT billing.assign_dunning_scheme('usual', account_id => :cem) \g /dev/null
-- Ann: a paid invoice, an open one, a void one and a draft; Ben: one made outside; Cem: one that is dunned, and one credited.
SELECT billing.create_subscription(:ann, 'team', start_at => '2026-01-01') \g /dev/null
SELECT billing.bill_account(:ann, m::timestamptz) FROM unnest('{2026-01-01,2026-02-01,2026-03-01}'::text[]) m \g /dev/null
SELECT (array_agg(id ORDER BY id))[1] AS paid, (array_agg(id ORDER BY id))[2] AS open, (array_agg(id ORDER BY id))[3] AS void FROM billing.invoice WHERE account_id = :ann \gset
SELECT billing.void_invoice(:void, false) \g /dev/null
CALL billing.bill_run('2026-04-01', finalize => false);
SELECT id AS draft FROM billing.invoice WHERE account_id = :ann AND status = 'draft' \gset
SELECT billing.record_payment(:ann, 119, 'EUR', provider => 'psp', reference => 'tr_1', invoice_ids => ARRAY[:paid]::bigint[], effective_at => '2026-01-05') AS payment \gset
SELECT billing.record_payment(:ann, 30, 'EUR', rules => '{}', effective_at => '2026-01-06') AS credit \gset
SELECT billing.record_external_invoice(:ben, 'B-1', '2026-01-01', 50, 'EUR', due_on => '2026-01-10') AS outside \gset
SELECT billing.record_external_invoice(:cem, 'C-1', '2026-01-01', 50, 'EUR', due_on => '2026-01-10') AS late \gset
SELECT billing.record_external_invoice(:cem, 'C-2', '2026-01-01', 40, 'EUR', due_on => '2026-01-10') AS credited \gset
CALL billing.dunning_run('2026-01-11');
SELECT billing.record_payment(:cem, 40, 'EUR', invoice_ids => ARRAY[:credited]::bigint[], effective_at => '2026-01-12') \g /dev/null
SELECT billing.credit_invoice(:credited, effective_at => '2026-01-12') AS note \gset
SELECT id AS dunning_case FROM billing.dunning_case WHERE invoice_id = :late \gset
SELECT billing.add_payment_method(:ben, 'card', provider => 'psp', token => 'tok') AS method, billing.collect_invoice(:outside, effective_at => '2026-01-10') AS collection \gset
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books before');

-- All that the books hold.
CREATE FUNCTION pg_temp.books() RETURNS TABLE (relation text, digest text) LANGUAGE plpgsql AS $$
DECLARE
    t regclass;
BEGIN
    FOR t IN SELECT c.oid FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'billing'::regnamespace LOOP
        RETURN QUERY EXECUTE format('SELECT %L, count(*) || md5(coalesce(string_agg(x::text, '','' ORDER BY x::text), '''')) FROM %s x', t, t);
    END LOOP;
END $$;
CREATE TEMP TABLE before AS SELECT * FROM pg_temp.books();
CREATE TEMP TABLE expected_error (code text);
CREATE FUNCTION pg_temp.refused(command text, code text, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pg_temp.expected_error VALUES (code);
    RETURN NEXT throws_ok('SELECT billing.' || command, code::char(5), NULL, what);
    RETURN NEXT is_empty('SELECT relation FROM pg_temp.books() EXCEPT SELECT relation FROM before UNION ALL (SELECT relation FROM (TABLE before EXCEPT SELECT * FROM pg_temp.books()) x)', what || ': nothing is written');
END $$;

SELECT pg_temp.refused(command, code, what) FROM (VALUES
    -- paying twice
    (format($$record_payment(%s, 120, 'EUR', provider => 'psp', reference => 'tr_1')$$, :ann), 'LB301', 'another amount with the reference of a payment'),
    (format($$record_payment(%s, 119, 'EUR', provider => 'psp', reference => 'tr_1')$$, :ben), 'LB301', 'another account'),
    (format($$record_payments('[{"account_id":%s,"amount":5,"currency":"EUR"},{"account_id":%s,"amount":1,"currency":"EUR","provider":"psp","reference":"tr_1"}]')$$, :ann, :ben), 'LB301', 'one of many that was paid before'),
    (format($$record_external_invoice(%s, 'B-1', '2026-01-01', 51, 'EUR')$$, :cem), '23505', 'another invoice with a number of those made outside'),
    -- what cannot be paid
    (format($$record_payment(%s, 119, 'EUR', invoice_ids => ARRAY[%s]::bigint[])$$, :ann, :void), 'LB403', 'paying a void invoice'),
    (format($$record_payment(%s, 119, 'EUR', invoice_ids => ARRAY[%s]::bigint[])$$, :ann, :draft), 'LB403', 'a draft'),
    (format($$record_payment(%s, 119, 'EUR', invoice_ids => ARRAY[%s]::bigint[])$$, :ann, :late), 'LB110', 'another account''s invoice'),
    (format($$record_payment(%s, 119, 'EUR', invoice_ids => ARRAY[77]::bigint[])$$, :ann), 'LB110', 'one that does not exist'),
    (format($$record_payment(%s, 40, 'EUR', invoice_ids => ARRAY[%s]::bigint[])$$, :cem, :note), 'LB403', 'a credit note'),
    (format($$allocate_payment(%s, %s)$$, :credit, :void), 'LB403', 'allocating to a void invoice'),
    (format($$allocate_payment(%s, %s, 31)$$, :credit, :open), 'LB502', 'allocating more than there is'),
    (format($$allocate_payment(%s, %s, 120)$$, :credit, :open), 'LB502', 'or more than is due'),
    (format($$collect_invoice(%s)$$, :void), 'LB403', 'collecting a void invoice'),
    (format($$write_off_invoice(%s)$$, :void), 'LB403', 'giving it up'),
    (format($$write_off_invoice(%s)$$, :paid), 'LB403', 'giving up what is paid'),
    (format($$credit_invoice(%s)$$, :void), 'LB403', 'crediting a void invoice'),
    -- refunds
    (format($$refund_payment(%s, 119.01)$$, :payment), 'LB502', 'refunding more than was paid'),
    (format($$charge_back_payment(%s, 120)$$, :payment), 'LB502', 'charging more back'),
    (format($$refund_credit(%s, 41)$$, :note), 'LB502', 'paying out more than a credit note'),
    (format($$refund_credit(%s)$$, :open), 'LB403', 'paying an invoice out'),
    (format($$refund_payment(%s)$$, 77), 'LB140', 'refunding no payment'),
    (format($$credit_invoice(%s, amount => 119.01)$$, :open), 'LB502', 'crediting more than an invoice'),
    (format($$credit_invoice(%s, amount => 1)$$, :credited), 'LB502', 'crediting an invoice twice'),
    -- amounts
    (format($$record_payment(%s, 10, 'USD')$$, :ann), 'LB204', 'foreign currency'),
    (format($$record_external_invoice(%s, 'B-2', '2026-01-01', 51, 'USD')$$, :ben), 'LB204', 'an invoice in foreign currency'),
    (format($$record_payment(%s, 10, 'XYZ')$$, :ann), 'LB102', 'an unknown currency'),
    (format($$record_payment(%s, -10, 'EUR')$$, :ann), 'LB501', 'a negative amount'),
    (format($$record_payment(%s, 0, 'EUR')$$, :ann), 'LB501', 'nothing'),
    (format($$record_payment(%s, 'NaN', 'EUR')$$, :ann), 'LB501', 'no number'),
    (format($$record_payment(%s, 'infinity', 'EUR')$$, :ann), 'LB501', 'no end'),
    (format($$record_payment(%s, 0.001, 'EUR')$$, :ann), 'LB501', 'less than a cent'),
    (format($$record_payment(%s, NULL, 'EUR')$$, :ann), '22004', 'no amount'),
    (format($$refund_payment(%s, -1)$$, :payment), 'LB501', 'a negative refund'),
    (format($$charge_back_payment(%s, 1, fee => -1)$$, :payment), 'LB501', 'a negative fee'),
    (format($$credit_invoice(%s, amount => -1)$$, :open), 'LB501', 'a negative credit'),
    (format($$record_external_invoice(%s, 'B-2', '2026-01-01', -1, 'EUR')$$, :ben), 'LB501', 'a negative invoice'),
    (format($$promise_payment(%s, -1, '2026-02-01', effective_at => '2026-01-13')$$, :dunning_case), 'LB501', 'a negative promise'),
    -- templates and schemes
    ($$create_template('acme', 'reminder', 'mail', 'en', '{amount_owed}', 'Reminder')$$, 'LB505', 'a template with an unknown field'),
    ($$create_template('acme', 'reminder', 'mail', 'en', '{amount_due', 'Reminder')$$, 'LB505', 'with a brace that is not closed'),
    ($$create_dunning_scheme('empty', '[]')$$, 'LB504', 'a scheme without steps'),
    ($$create_dunning_scheme('usual', '[]')$$, 'LB504', 'a next version without'),
    ($$create_dunning_scheme('empty', '{}')$$, 'LB504', 'steps that are no list'),
    ($$create_dunning_scheme('empty', NULL)$$, '22004', 'no steps at all'),
    ($$create_dunning_scheme('x', '[{"after":"1 day","actions":[]}]')$$, 'LB504', 'a step that does nothing'),
    ($$create_dunning_scheme('x', '[{"after":"1 day","actions":["event"]},{"after":"1 day","actions":["shoot"]}]')$$, 'LB504', 'one that does something else'),
    ($$create_dunning_scheme('x', '[{"after":"1 day","actions":["remind"],"template":"none"}]')$$, 'LB504', 'one with a template that does not exist'),
    ($$create_dunning_scheme('x', '[{"after":"1 day","actions":["fee"],"fee":-5}]', currency => 'EUR')$$, 'LB501', 'one with a negative fee'),
    ($$create_dunning_scheme('x', '[{"after":"1 day","actions":["interest"]}]', interest => 'none')$$, 'LB149', 'interest at an unknown rate'),
    ($$assign_dunning_scheme('none', entity => 'acme')$$, 'LB143', 'an unknown scheme'),
    -- cases, arrangements, collections, messages
    (format($$promise_payment(%s, 51, '2026-02-01', effective_at => '2026-01-13')$$, :dunning_case), 'LB502', 'promising more than is due'),
    (format($$promise_payment(%s, 5, '2026-01-12', effective_at => '2026-01-13')$$, :dunning_case), 'LB208', 'promising for a day that is past'),
    (format($$resume_case(%s)$$, :dunning_case), 'LB506', 'resuming what runs'),
    ($$pause_case(77, 'dispute')$$, 'LB144', 'pausing no case'),
    (format($$arrange_payments(%s, ARRAY[%s]::bigint[], 3, 'week', effective_at => '2026-01-13')$$, :cem, :credited), 'LB403', 'arranging what is paid'),
    (format($$arrange_payments(%s, ARRAY[%s]::bigint[], 3, 'week', initial_amount => 60, effective_at => '2026-01-13')$$, :cem, :late), 'LB502', 'arranging more than is due'),
    (format($$arrange_payments(%s, ARRAY[%s]::bigint[], 0, 'week', effective_at => '2026-01-13')$$, :cem, :late), 'LB208', 'in no parts'),
    ($$report_transfer(77, 'accepted')$$, 'LB145', 'a report about nothing'),
    (format($$settle_collection(%s, 'succeeded')$$, :collection), 'LB508', 'an outcome of what was not claimed'),
    ($$settle_collection(77, 'succeeded')$$, 'LB142', 'an outcome of nothing'),
    ($$acknowledge_notification(77, 'sent')$$, 'LB146', 'a message that does not exist'),
    (format($$add_payment_method(%s, 'direct_debit', iban => 'DE88370400440532013000')$$, :ben), 'LB503', 'a wrong account number'),
    (format($$collect_invoice(%s)$$, :open), 'LB507', 'collecting without a method')) x (command, code, what);
-- The same once more is no error, and writes nothing either.
SELECT is(billing.record_payment(:ann, 119, 'EUR', provider => 'psp', reference => 'tr_1', invoice_ids => ARRAY[:paid]::bigint[], effective_at => '2026-01-05'), :payment::bigint, 'the same payment again is the first');
SELECT bag_eq('SELECT * FROM pg_temp.books()', 'TABLE before', 'nothing is written');
SELECT is_empty($$SELECT code FROM expected_error WHERE code LIKE 'LB%' EXCEPT SELECT e.code FROM billing.error_code e$$, 'every code is documented');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books after');
SELECT * FROM finish();
ROLLBACK;
