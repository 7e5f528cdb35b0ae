-- Changes of subscriptions that cannot be: each is refused with a documented SQLSTATE and writes nothing.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '36500d';

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
CREATE TEMPORARY TABLE bad (n int GENERATED ALWAYS AS IDENTITY, code text NOT NULL, statement text NOT NULL);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('minutes'), billing.create_meter('bytes') \g /dev/null
SELECT billing.create_price(code, currency => currency, every => every, timing => timing, tax => 'vat', meter => meter, scheme => '{"model":"per_unit","unit_amount":10}')
  FROM (VALUES ('seat', 'EUR', '1 month'::interval, 'advance', NULL), ('desk', 'EUR', '1 month', 'advance', NULL), ('after', 'EUR', '1 month', 'arrears', NULL),
               ('call', 'EUR', '1 month', 'arrears', 'minutes'), ('load', 'EUR', '1 month', 'arrears', 'bytes'), ('dollar', 'USD', '1 month', 'advance', NULL),
               ('daily', 'EUR', '1 day', 'advance', NULL), ('thirty', 'EUR', '30 days', 'advance', NULL), ('year', 'EUR', '1 year', 'advance', NULL),
               ('old', 'EUR', '1 month', 'advance', NULL)) p (code, currency, every, timing, meter) \g /dev/null
SELECT billing.archive_price('old') \g /dev/null
INSERT INTO billing.price (code, name, currency, every, timing, tax) VALUES ('later', 'Later', 'EUR', '1 month', 'advance', 'vat');
INSERT INTO billing.price_version (price, version, scheme, valid_from) VALUES ('later', 1, '{"model":"flat","flat_amount":1}', '2030-01-01');
SELECT billing.create_plan('team', items => '[{"price":"seat"},{"price":"call"}]') \g /dev/null
SELECT billing.create_account('Jane') AS account \gset
-- Subscription with items seat, call; a second one that is cancelled on 1 May, a third one that ended by itself.
SELECT billing.create_subscription(:account, 'team', start_at => '2026-01-01') AS s \gset
SELECT billing.create_subscription(:account, 'team', start_at => '2026-01-01') AS c \gset
SELECT billing.create_subscription(:account, 'team', start_at => '2026-01-01', end_at => '2026-05-01') AS e \gset
SELECT billing.cancel_subscription(:c, effective_at => '2026-05-01') \g /dev/null
SELECT billing.add_item(:s, 'desk', effective_at => '2026-02-01', idempotency_key => 'k-add') AS desk \gset
SELECT billing.end_item(:desk, effective_at => '2026-04-01', idempotency_key => 'k-end') \g /dev/null
SELECT billing.change_item(:s + 1, quantity => 2, effective_at => '2026-03-01', idempotency_key => 'k-change') \g /dev/null
SELECT id AS invoice FROM billing.bill_account(:account, '2026-01-01') id \gset

-- Null, unknown and of the wrong kind.
INSERT INTO bad (code, statement)
SELECT code, format(verb, id)
  FROM (VALUES ('LB114', $$SELECT billing.change_item(%s, quantity => 1)$$), ('LB114', $$SELECT billing.end_item(%s)$$),
               ('LB109', $$SELECT billing.add_item(%s, 'seat')$$), ('LB109', $$SELECT billing.cancel_subscription(%s)$$), ('LB109', $$SELECT billing.undo_cancellation(%s)$$)) v (code, verb),
       unnest(ARRAY['0', '-1', '1', '4711', '9223372036854775807', '-9223372036854775808', :'account', :'invoice',
                    (:s + 3 + 1000)::text]) id
UNION ALL SELECT 'LB114', format($$SELECT billing.change_item(%s, quantity => 1)$$, :s)
UNION ALL SELECT 'LB114', format($$SELECT billing.end_item(%s)$$, :s)
UNION ALL SELECT 'LB109', format($$SELECT billing.cancel_subscription(%s)$$, :s + 1)
UNION ALL SELECT 'LB109', format($$SELECT billing.add_item(%s, 'seat')$$, :desk);
INSERT INTO bad (code, statement) VALUES
('22004', $$SELECT billing.change_item(NULL, quantity => 1)$$),
('22004', $$SELECT billing.end_item(NULL)$$),
('22004', $$SELECT billing.add_item(NULL, 'seat')$$),
('22004', format($$SELECT billing.add_item(%s, NULL)$$, :s)),
('22004', $$SELECT billing.cancel_subscription(NULL)$$),
('22004', $$SELECT billing.undo_cancellation(NULL)$$),
('LB208', format($$SELECT billing.change_item(%s, effective_at => '2026-04-01')$$, :s + 1)),
('LB106', format($$SELECT billing.change_item(%s, price => '', effective_at => '2026-04-01')$$, :s + 1)),
('LB106', format($$SELECT billing.add_item(%s, 'nothing', effective_at => '2026-04-01')$$, :s)),
('LB106', format($$SELECT billing.add_item(%s, 'later', effective_at => '2026-04-01')$$, :s)),
('LB106', format($$SELECT billing.change_item(%s, price => 'later', effective_at => '2026-04-01')$$, :s + 1)),
('LB208', format($$SELECT billing.add_item(%s, 'seat', effective_at => '2026-04-01', metadata => '[]')$$, :s));

-- Instants that are none.
INSERT INTO bad (code, statement)
SELECT '22008', format(verb, id, instant)
  FROM (VALUES ($$SELECT billing.change_item(%s, quantity => 1, effective_at => %L)$$, :s + 1), ($$SELECT billing.end_item(%s, effective_at => %L)$$, :s + 1),
               ($$SELECT billing.add_item(%s, 'seat', effective_at => %L)$$, :s), ($$SELECT billing.cancel_subscription(%s, effective_at => %L)$$, :s),
               ($$SELECT billing.undo_cancellation(%s, effective_at => %L)$$, :c),
               ($$SELECT billing.cancel_subscription(%s, effective_at => %L, at_period_end => true)$$, :s)) v (verb, id),
       unnest(ARRAY['infinity', '-infinity', '10000-01-01Z', '294276-12-31Z']) instant;

-- Outside the life of what is changed.
INSERT INTO bad (code, statement)
SELECT 'LB303', format(verb, id, instant)
  FROM (VALUES ($$SELECT billing.change_item(%s, quantity => 1, effective_at => %L)$$, :s + 1, '2025-12-31 23:59:59'),
               ($$SELECT billing.change_item(%s, quantity => 1, effective_at => %L)$$, :desk, '2026-01-31'),
               ($$SELECT billing.change_item(%s, quantity => 1, effective_at => %L)$$, :desk, '2026-04-01'),
               ($$SELECT billing.change_item(%s, quantity => 1, effective_at => %L)$$, :c + 1, '2026-05-01'),
               ($$SELECT billing.change_item(%s, quantity => 1, effective_at => %L)$$, :e + 1, '2026-05-01'),
               ($$SELECT billing.change_item(%s, quantity => 1, effective_at => %L, at_period_end => true)$$, :c + 1, '2026-04-15'),
               ($$SELECT billing.end_item(%s, effective_at => %L)$$, :s + 1, '2025-12-31'),
               ($$SELECT billing.end_item(%s, effective_at => %L)$$, :desk, '2026-04-02'),
               ($$SELECT billing.end_item(%s, effective_at => %L)$$, :c + 1, '2026-05-02'),
               ($$SELECT billing.end_item(%s, effective_at => %L)$$, :e + 1, '2026-05-02'),
               ($$SELECT billing.add_item(%s, 'seat', effective_at => %L)$$, :s, '2025-12-31'),
               ($$SELECT billing.add_item(%s, 'seat', effective_at => %L)$$, :c, '2026-05-01'),
               ($$SELECT billing.add_item(%s, 'seat', effective_at => %L)$$, :e, '2026-05-01'),
               ($$SELECT billing.cancel_subscription(%s, effective_at => %L)$$, :s, '2025-12-31'),
               ($$SELECT billing.cancel_subscription(%s, effective_at => %L)$$, :e, '2026-05-02'),
               ($$SELECT billing.cancel_subscription(%s, effective_at => %L)$$, :c, '2026-04-01'),
               ($$SELECT billing.undo_cancellation(%s, effective_at => %L)$$, :s, '2026-04-01'),
               ($$SELECT billing.undo_cancellation(%s, effective_at => %L)$$, :c, '2026-05-01')) v (verb, id, instant);

-- Quantities, and prices that do not fit.
INSERT INTO bad (code, statement)
SELECT 'LB203', format(verb, id, quantity)
  FROM (VALUES ($$SELECT billing.change_item(%s, quantity => %L, effective_at => '2026-04-01')$$, :s + 1),
               ($$SELECT billing.add_item(%s, 'seat', quantity => %L, effective_at => '2026-04-01')$$, :s)) v (verb, id),
       unnest(ARRAY['-1', '-0.000000001', 'NaN', 'Infinity', '-Infinity']) quantity;
INSERT INTO bad (code, statement) VALUES
('LB207', format($$SELECT billing.change_item(%s, quantity => 1, effective_at => '2026-04-01')$$, :s + 2)),
('LB207', format($$SELECT billing.add_item(%s, 'call', quantity => 1, effective_at => '2026-04-01')$$, :s)),
('LB207', format($$SELECT billing.change_item(%s, price => 'call', quantity => 1, effective_at => '2026-04-01')$$, :s + 2)),
('LB207', format($$SELECT billing.change_item(%s, price => 'load', effective_at => '2026-04-01')$$, :s + 2)),
('LB207', format($$SELECT billing.change_item(%s, price => 'call', effective_at => '2026-04-01')$$, :s + 1)),
('LB207', format($$SELECT billing.change_item(%s, price => 'seat', effective_at => '2026-04-01')$$, :s + 2)),
('LB207', format($$SELECT billing.change_item(%s, price => 'after', effective_at => '2026-04-01')$$, :s + 1)),
('LB207', format($$SELECT billing.change_item(%s, price => 'year', effective_at => '2026-04-01')$$, :s + 1)),
('LB204', format($$SELECT billing.change_item(%s, price => 'dollar', effective_at => '2026-04-01')$$, :s + 1)),
('LB204', format($$SELECT billing.add_item(%s, 'dollar', effective_at => '2026-04-01')$$, :s)),
('LB205', format($$SELECT billing.change_item(%s, price => 'daily', effective_at => '2026-04-01')$$, :s + 1)),
('LB205', format($$SELECT billing.change_item(%s, price => 'thirty', effective_at => '2026-04-01')$$, :s + 1)),
('LB205', format($$SELECT billing.add_item(%s, 'daily', effective_at => '2026-04-01')$$, :s)),
('LB205', format($$SELECT billing.add_item(%s, 'thirty', effective_at => '2026-04-01')$$, :s)),
('LB120', format($$SELECT billing.change_item(%s, price => 'old', effective_at => '2026-04-01')$$, :s + 1)),
('LB120', format($$SELECT billing.add_item(%s, 'old', effective_at => '2026-04-01')$$, :s));

-- Keys that were used for something else, and an invoice at a moment too far ahead.
INSERT INTO bad (code, statement) VALUES
('LB301', format($$SELECT billing.change_item(%s, quantity => 3, effective_at => '2026-03-01', idempotency_key => 'k-change')$$, :s + 1)),
('LB301', format($$SELECT billing.change_item(%s, quantity => 2, effective_at => '2026-03-02', idempotency_key => 'k-change')$$, :s + 1)),
('LB301', format($$SELECT billing.change_item(%s, quantity => 2, effective_at => '2026-03-01', invoice_now => true, idempotency_key => 'k-change')$$, :s + 1)),
('LB301', format($$SELECT billing.add_item(%s, 'desk', effective_at => '2026-02-02', idempotency_key => 'k-add')$$, :s)),
('LB301', format($$SELECT billing.end_item(%s, effective_at => '2026-04-01', idempotency_key => 'k-add')$$, :desk)),
('LB301', format($$SELECT billing.cancel_subscription(%s, effective_at => '2026-04-01', idempotency_key => 'k-end')$$, :s)),
('LB405', format($$SET LOCAL billing.max_future = '1h'; SELECT billing.cancel_subscription(%s, effective_at => now() + '2 hours', invoice_now => true)$$, :s)),
('LB405', format($$SET LOCAL billing.max_future = '1h'; SELECT billing.change_item(%s, quantity => 7, effective_at => now() + '2 hours', invoice_now => true)$$, :s + 1));

SELECT plan(6 + (SELECT count(*) FROM bad)::int);
SELECT pg_temp.books_digest() AS before \gset
SELECT throws_ok(statement, code::char(5), NULL, format('%s: %s', code, statement)) FROM bad ORDER BY n;
SELECT is(pg_temp.books_digest(), :'before', 'nothing was written');

-- A key that was used with the same arguments gives the same answer and does nothing.
SELECT is(billing.add_item(:s, 'desk', effective_at => '2026-02-01', idempotency_key => 'k-add'), :desk::bigint, 'add_item again');
SELECT is(billing.end_item(:desk, effective_at => '2026-04-01', idempotency_key => 'k-end'), :desk::bigint, 'end_item again');
SELECT is(billing.change_item(:s + 1, quantity => 2, effective_at => '2026-03-01', idempotency_key => 'k-change'), (:s + 1)::bigint, 'change_item again');
SELECT is(pg_temp.books_digest(), :'before', 'and nothing was written');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
