-- Invoices on demand: what is due and all that waits, at once (doc/rules.md 5).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('calls'), billing.create_meter('peak', aggregation => 'max') \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":31}'),
       billing.create_price('post', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":31}'),
       billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'calls', scheme => '{"model":"per_unit","unit_amount":1,"free_quantity":2}'),
       billing.create_price('quarter', currency => 'EUR', every => '3 months', tax => 'vat', meter => 'calls', scheme => '{"model":"per_unit","unit_amount":1}'),
       billing.create_price('peak', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'peak', scheme => '{"model":"volume","tiers":[{"up_to":10,"unit_amount":10},{"up_to":null,"unit_amount":1}]}') \g /dev/null
SELECT billing.create_plan('any', items => '[{"price":"seat","optional":true}]') \g /dev/null

CREATE FUNCTION pg_temp.subscribe(VARIADIC items text[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.create_subscription(billing.create_account('x'), 'any', start_at => '2026-01-01', items => (SELECT jsonb_agg(jsonb_build_object('price', i)) FROM unnest(items) i)) $$;
-- The lines of documents: status, due day, price, nature, amount, service period.
CREATE FUNCTION pg_temp.lines(ids bigint[]) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s %s %s %s%s %s-%s', to_char(h.billed_at, 'DD.MM'), h.status, l.price, CASE l.nature WHEN 'correction' THEN 'correction ' END, l.amount,
                             to_char(l.period_start, 'DD.MM'), to_char(l.period_end, 'DD.MM')), ', ' ORDER BY h.id, l.line_no)
      FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id WHERE h.id = ANY (ids) $$;
CREATE FUNCTION pg_temp.bill(subscription bigint, at timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.lines(ARRAY(SELECT billing.bill_account(subscription >> 24, at))) $$;
CREATE FUNCTION pg_temp.demand(subscription bigint, at timestamptz, usage boolean DEFAULT false) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.lines(ARRAY(SELECT billing.invoice_account(subscription >> 24, at, include_usage => usage))) $$;

-- What is due, as a run would; nothing more.
SELECT pg_temp.subscribe('seat', 'post') AS s \gset
SELECT is(pg_temp.demand(:s, '2026-01-05'), '01.01 open seat 31.00 01.01-01.02', 'what is due stands under its due instant');
SELECT is(pg_temp.demand(:s, '2026-01-10', true), NULL, 'arrears in progress without usage are not invoiced');
SELECT is(pg_temp.bill(:s, '2026-02-01'), '01.02 open seat 31.00 01.02-01.03, 01.02 open post 31.00 01.01-01.02', 'the next run goes on');

-- What waits: prorated charges and corrections.
SELECT billing.add_item(:s, 'seat', quantity => 2, effective_at => '2026-02-15') AS item \gset
SELECT is(pg_temp.bill(:s, '2026-02-15'), NULL, 'a prorated charge waits');
SELECT is(pg_temp.demand(:s, '2026-02-15'), '15.02 open seat 31.00 15.02-01.03', 'but not on demand');
SELECT is(pg_temp.demand(:s, '2026-02-15'), NULL, 'once');
SELECT billing.change_item(:item, quantity => 1, effective_at => '2026-02-22') \g /dev/null
SELECT is(pg_temp.demand(:s, '2026-02-22'), '22.02 open seat 7.75 22.02-01.03, 22.02 paid seat correction 15.50 22.02-01.03', 'a correction does not wait either');
SELECT is(pg_temp.bill(:s, '2026-03-01'), '01.03 open seat 31.00 01.03-01.04, 01.03 open post 31.00 01.02-01.03, 01.03 open seat 31.00 01.03-01.04', 'nothing of it comes again');

-- Usage so far, and the rest with the regular invoice.
SELECT pg_temp.subscribe('seat', 'call') AS s \gset
SELECT is(pg_temp.demand(:s, '2026-01-05', true), '01.01 open seat 31.00 01.01-01.02', 'no usage, no line');
SELECT billing.record_usage(:s, 'calls', 'a', 5, '2026-01-06'), billing.record_usage(:s, 'calls', 'b', 4, '2026-01-20') \g /dev/null
SELECT is(pg_temp.demand(:s, '2026-01-10'), NULL, 'usage in progress only where wanted');
SELECT is(pg_temp.demand(:s, '2026-01-10', true), '10.01 open call 3.00 01.01-10.01', 'usage up to the moment');
SELECT is(pg_temp.demand(:s, '2026-01-10', true), NULL, 'once');
SELECT is(pg_temp.bill(:s, '2026-01-15'), NULL, 'a run in between leaves it');
SELECT is(pg_temp.demand(:s, '2026-01-15', true), NULL, 'nothing new');
SELECT is(pg_temp.demand(:s, '2026-01-25', true), '25.01 open call correction 4.00 10.01-25.01', 'more usage is a difference');
SELECT billing.record_usage(:s, 'calls', 'c', 1, '2026-01-02') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-02-01'), '01.02 open seat 31.00 01.02-01.03, 01.02 open call correction 1.00 25.01-01.02', 'late usage too, with the regular invoice');
SELECT is(pg_temp.bill(:s, '2026-03-01'), '01.03 open seat 31.00 01.03-01.04, 01.03 open call 0.00 01.02-01.03', 'the next period begins anew');
-- All of it asked for already: the regular invoice closes the period.
SELECT pg_temp.subscribe('call') AS s \gset
SELECT billing.record_usage(:s, 'calls', 'a', 5, '2026-01-06') \g /dev/null
SELECT is(pg_temp.demand(:s, '2026-01-10', true), '10.01 open call 3.00 01.01-10.01', 'usage up to the moment');
SELECT is(pg_temp.bill(:s, '2026-02-01'), '01.02 paid call correction 0.00 10.01-01.02', 'nothing is left of the period');
SELECT billing.record_usage(:s, 'calls', 'b', 1, '2026-01-30') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-03-01'), '01.03 open call correction 1.00 01.01-01.02, 01.03 open call 0.00 01.02-01.03', 'but late usage is charged');
-- An item of a longer period waits for its own end, not for the next invoice.
SELECT pg_temp.subscribe('seat', 'quarter') AS s \gset
SELECT billing.record_usage(:s, 'calls', 'a', 5, '2026-01-06'), billing.record_usage(:s, 'calls', 'b', 4, '2026-01-20') \g /dev/null
SELECT is(pg_temp.demand(:s, '2026-01-10', true), '01.01 open seat 31.00 01.01-01.02, 10.01 open quarter 5.00 01.01-10.01', 'a quarter''s usage so far');
SELECT is(pg_temp.bill(:s, '2026-02-01'), '01.02 open seat 31.00 01.02-01.03', 'the next month does not ask for more of it');
SELECT is(pg_temp.bill(:s, '2026-04-01'), '01.03 open seat 31.00 01.03-01.04, 01.04 open seat 31.00 01.04-01.05, 01.04 open quarter correction 4.00 10.01-01.04', 'the quarter''s end does');
-- Where more usage costs less, the rest is given back.
SELECT pg_temp.subscribe('peak') AS s \gset
SELECT billing.record_usage(:s, 'peak', 'a', 10, '2026-01-06'), billing.record_usage(:s, 'peak', 'b', 20, '2026-01-20') \g /dev/null
SELECT is(pg_temp.demand(:s, '2026-01-10', true), '10.01 open peak 100.00 01.01-10.01', 'dear so far');
SELECT is(pg_temp.bill(:s, '2026-02-01'), '01.02 paid peak correction 80.00 10.01-01.02', 'cheaper in the end');

-- Drafts are finished, whatever their grace.
SELECT pg_temp.subscribe('seat') AS s \gset
UPDATE billing.account SET grace_period = '10 days' WHERE account_id = :s >> 24;
SELECT is(pg_temp.bill(:s, '2026-01-01'), '01.01 draft seat 31.00 01.01-01.02', 'a draft');
SELECT billing.add_item(:s, 'seat', effective_at => '2026-01-02') \g /dev/null
SELECT is(pg_temp.demand(:s, '2026-01-02'), '01.01 open seat 31.00 01.01-01.02, 02.01 open seat 30.00 02.01-01.02', 'on demand it is finished');

-- Bad calls.
SELECT throws_ok('SELECT billing.invoice_account(NULL)', '22004', NULL, 'an account is wanted');
SELECT throws_ok('SELECT billing.invoice_account(77777)', 'LB108', NULL, 'an unknown one is refused');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
