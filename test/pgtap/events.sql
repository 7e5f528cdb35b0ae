-- Events: what writes them, their numbers and order, consumers, retention (src/event/README.md).
-- Without a transaction around it, since an event is readable only after its transaction.
-- Runs alone: transactions of other databases hold its events back too.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
SET TimeZone = 'UTC';
SET billing.max_future = '100000d';
SET statement_timeout = '5min';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme', country => 'DE', currency => 'EUR', time_zone => 'UTC'),
       billing.create_entity('beta', name => 'Beta', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 20, entity => 'acme'), billing.create_tax_rate('vat', category => 'S', rate => 20, entity => 'beta') \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":10}'),
       billing.create_price('free', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat', scheme => '{"model":"flat","flat_amount":0}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"}]'), billing.create_plan('gratis', items => '[{"price":"free"}]'),
       billing.create_plan('trial', items => '[{"price":"seat"}]', trial_every => '1 month') \g /dev/null
SELECT billing.create_coupon('half', scope => 'subscription', value => 50) \g /dev/null

-- Waits until what is committed can be read, whatever else is under way in the cluster.
CREATE FUNCTION pg_temp.settle() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM billing.event e WHERE e.xid >= pg_snapshot_xmin(pg_current_snapshot())) LOOP
        PERFORM pg_sleep(0.005);
    END LOOP;
END $$;
-- The types of an account's events from a number on.
CREATE FUNCTION pg_temp.types(account bigint, after bigint DEFAULT 0) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(e.type, ', ' ORDER BY e.event_no) FROM billing.event e WHERE e.account_id = account AND e.event_no > after $$;
CREATE FUNCTION pg_temp.counter(account bigint) RETURNS bigint LANGUAGE sql AS $$
    SELECT s.event_no FROM billing.account_state s WHERE s.account_id = account $$;
CREATE FUNCTION pg_temp.payload(account bigint, no bigint) RETURNS jsonb LANGUAGE sql AS $$
    SELECT e.payload FROM billing.event e WHERE e.account_id = account AND e.event_no = no $$;

-- --- What writes events --------------------------------------------------------------------------------

SELECT set_eq('SELECT type, meaning, ids, payload_keys FROM billing.event_type', 'SELECT * FROM billing_internal.event_types()', 'the table of types is the engine''s list');
SELECT ok((SELECT bool_and(kept) FROM billing.event_type), 'all are kept unless somebody says otherwise');

SELECT billing.create_event_consumer('all', from_start => true) \g /dev/null
SELECT billing.create_account('Ann', entity => 'acme', external_id => 'ann') AS ann \gset
SELECT is(pg_temp.types(:ann), 'account.created', 'an account');
SELECT is(pg_temp.payload(:ann, 1), '{"entity": "acme", "external_id": "ann"}', 'its payload');
SELECT billing.create_subscription(:ann, 'team', start_at => '2100-01-01', external_id => 'sub') AS sub \gset
SELECT is(pg_temp.types(:ann, 1), 'subscription.created', 'a subscription');
SELECT is(pg_temp.payload(:ann, 2) - 'states', '{"plan": "team", "external_id": "sub"}', 'its payload');
SELECT is(jsonb_path_query_array(pg_temp.payload(:ann, 2), '$.states[*].state'), '["future", "active"]', 'and its states');
SELECT is(pg_temp.payload(:ann, 2)->'states'->1->>'from', '2100-01-01T00:00:00Z', 'with their instants in UTC');
SELECT is((SELECT (e.subscription_id, e.occurred_at) FROM billing.event e WHERE e.account_id = :ann AND e.event_no = 2), ROW(:sub::bigint, timestamptz '2100-01-01'),
          'it occurs when it starts');

SELECT pg_temp.counter(:ann) AS n \gset
SELECT billing.bill_account(:ann, '2100-01-01') AS invoice \gset
SELECT is(pg_temp.types(:ann, :n), 'invoice.finalized', 'an invoice');
SELECT is(pg_temp.payload(:ann, :n + 1), (SELECT jsonb_build_object('number', number, 'currency', currency, 'total', total::text, 'due_on', due_on) FROM billing.invoice WHERE id = :invoice),
          'its payload is what stands on it');
SELECT is((SELECT (e.invoice_id, e.occurred_at) FROM billing.event e WHERE e.account_id = :ann AND e.event_no = :n + 1), ROW(:invoice::bigint, timestamptz '2100-01-01'), 'it occurs when it is issued');
SELECT is(pg_temp.counter(:ann), :n + 1::bigint, 'the account counts it');
SELECT billing.bill_account(:ann, '2100-01-01') \g /dev/null
SELECT is(pg_temp.counter(:ann), :n + 1::bigint, 'a run that writes nothing tells nothing');

SELECT pg_temp.counter(:ann) AS n \gset
SELECT billing.void_invoice(:invoice, rebill => true, effective_at => '2100-01-02') AS note \gset
SELECT is(pg_temp.types(:ann, :n), 'credit_note.issued, invoice.voided', 'a void');
SELECT is((SELECT array_agg(e.invoice_id ORDER BY e.event_no) FROM billing.event e WHERE e.account_id = :ann AND e.event_no > :n), ARRAY[:note, :invoice]::bigint[], 'of the note, then of the invoice');
SELECT is(pg_temp.payload(:ann, :n + 1), (SELECT jsonb_build_object('number', number, 'currency', currency, 'total', total::text) FROM billing.invoice WHERE id = :note), 'the note''s payload');
SELECT is(pg_temp.payload(:ann, :n + 2), jsonb_build_object('credit_note_id', :note::bigint, 'rebill', true), 'the invoice''s payload');

SELECT pg_temp.counter(:ann) AS n \gset
SELECT billing.bill_account(:ann, '2100-01-03') \g /dev/null
SELECT billing.cancel_subscription(:sub, '2100-01-17', invoice_now => true) \g /dev/null
SELECT is(pg_temp.types(:ann, :n), 'invoice.finalized, subscription.changed, credit_note.issued, invoice.part_settled', 'a cancellation that gives back at once');
SELECT is(pg_temp.payload(:ann, :n + 2) #- '{states,0,from}' #- '{change_id}', '{"verb": "cancel_subscription", "states": [{"state": "future"}, {"from": "2100-01-01T00:00:00Z", "state": "non_renewing"}, {"from": "2100-01-17T00:00:00Z", "state": "canceled"}]}',
          'a change tells the states from the last one on that stays');
SELECT is((pg_temp.payload(:ann, :n + 2)->>'change_id')::bigint, (SELECT max(id) FROM billing.subscription_change WHERE account_id = :ann), 'and its id');

-- Whatever is set off by a credit note in full is paid.
SELECT billing.create_account('Bob', entity => 'acme') AS bob \gset
SELECT billing.create_subscription(:bob, 'team', start_at => '2100-01-01') AS sub_bob \gset
SELECT billing.bill_account(:bob, '2100-01-01') \g /dev/null
SELECT pg_temp.counter(:bob) AS n \gset
SELECT billing.cancel_subscription(:sub_bob, '2100-01-01', invoice_now => true) \g /dev/null
SELECT is(pg_temp.types(:bob, :n) ~ 'credit_note.issued', true, 'a note for the whole invoice');
SELECT is(pg_temp.types(:bob, :n) ~ 'invoice.paid', true, 'settles it');
SELECT is((SELECT status FROM billing.invoice WHERE account_id = :bob AND kind = 'invoice'), 'paid', 'as the invoice says');

-- Nothing to pay.
SELECT billing.create_account('Cyd', entity => 'acme') AS cyd \gset
SELECT billing.create_subscription(:cyd, 'gratis', start_at => '2100-01-01') \g /dev/null
SELECT billing.bill_account(:cyd, '2100-01-01') \g /dev/null
SELECT is(pg_temp.types(:cyd, 2), 'invoice.finalized, invoice.paid', 'an invoice with nothing to pay is paid at once');

-- Drafts tell nothing before they are finished.
SELECT billing.create_account('Dan', entity => 'acme', grace_period => '5 days') AS dan \gset
SELECT billing.create_subscription(:dan, 'team', start_at => '2100-01-01') \g /dev/null
SELECT billing.bill_account(:dan, '2100-01-01') AS draft \gset
SELECT is(pg_temp.types(:dan, 2), NULL, 'a draft tells nothing');
SELECT billing.finalize_invoice(:draft, '2100-01-02') \g /dev/null
SELECT is(pg_temp.types(:dan, 2), 'invoice.finalized', 'finalize_invoice()');
SELECT billing.invoice_account(:dan, '2100-02-01') \g /dev/null
SELECT is(pg_temp.types(:dan, 3), 'invoice.finalized', 'invoice_account()');

-- Every verb that changes a subscription, and taking back.
SELECT billing.create_account('Eve', entity => 'acme') AS eve \gset
SELECT billing.create_subscription(:eve, 'trial', start_at => '2100-01-01', coupon => 'half') AS s \gset
SELECT is(pg_temp.types(:eve, 1), 'subscription.created, subscription.changed', 'a coupon redeemed at once is a change that follows');
SELECT billing.add_item(:s, 'free', effective_at => '2100-02-01') AS i,
       billing.change_item((SELECT min(id) FROM billing.subscription_item WHERE subscription_id = :s), quantity => 2, effective_at => '2100-02-01'),
       billing.pause_subscription(:s, effective_at => '2100-03-01'), billing.resume_subscription(:s, effective_at => '2100-04-01'),
       billing.skip_cycles(:s, effective_at => '2100-05-01'), billing.stop_subscription(:s, effective_at => '2100-08-01'),
       billing.restart_subscription(:s, effective_at => '2100-09-01'), billing.add_discount(:eve, 5, subscription_id => :s, effective_at => '2100-02-01'),
       billing.set_minimum(:s, 3, effective_at => '2100-02-01') \g /dev/null
SELECT is((SELECT array_agg(e.payload->>'verb' ORDER BY e.event_no) FROM billing.event e WHERE e.account_id = :eve AND e.type = 'subscription.changed'),
          (SELECT array_agg(c.verb ORDER BY c.id) FROM billing.subscription_change c WHERE c.account_id = :eve), 'every change tells its verb');
SELECT is((SELECT count(*) FROM billing.event e WHERE e.account_id = :eve AND e.type = 'subscription.changed'), 10::bigint, 'once each');
SELECT is((SELECT count(*) FROM billing.event e WHERE e.account_id = :eve AND e.payload->>'verb' IN ('add_item', 'change_item', 'add_discount', 'set_minimum') AND e.payload ? 'states'), 0::bigint,
          'those that change no state tell none');
SELECT billing.withdraw_change((SELECT id FROM billing.subscription_change WHERE account_id = :eve AND verb = 'restart_subscription'), '2100-01-01') \g /dev/null
SELECT is((SELECT (e.type, e.payload->>'verb', jsonb_path_query_array(e.payload, '$.states[*].state')) FROM billing.event e WHERE e.account_id = :eve ORDER BY event_no DESC LIMIT 1),
          ROW('subscription.change_withdrawn'::text, 'restart_subscription'::text, '["stopped"]'::jsonb), 'a change that is taken back');
SELECT pg_temp.counter(:eve) AS n \gset
SELECT billing.add_discount(:eve, 5, effective_at => '2100-02-01') AS discount \gset
SELECT billing.end_discount(:discount, '2100-03-01') \g /dev/null
SELECT is((SELECT jsonb_agg(e.payload ORDER BY e.event_no) FROM billing.event e WHERE e.account_id = :eve AND e.event_no > :n AND e.type = 'account.changed'),
          jsonb_build_array(jsonb_build_object('verb', 'add_discount', 'discount_id', :discount::bigint), jsonb_build_object('verb', 'end_discount', 'discount_id', :discount::bigint)),
          'a discount of the whole account changes the account');
SELECT billing.create_subscription(:eve, 'team', start_at => '2100-01-01', await_payment => true) AS waiting,
       billing.create_subscription(:eve, 'team', start_at => '2100-01-01', await_payment => true) AS lost \gset
SELECT billing.activate_subscription(:waiting, '2100-01-05'), billing.fail_subscription(:lost, '2100-01-05') \g /dev/null
SELECT is((SELECT array_agg(jsonb_path_query_array(e.payload, '$.states[*].state') ORDER BY e.event_no) FROM billing.event e WHERE e.subscription_id IN (:waiting, :lost)),
          '{"[\"pending\"]","[\"pending\"]","[\"pending\", \"active\"]","[\"pending\", \"failed\"]"}'::jsonb[], 'a first payment that is waited for, comes or fails');

-- The owner's hand.
SELECT pg_temp.counter(:eve) AS n \gset
UPDATE billing.account SET email = 'eve@example.com', name = 'Eva' WHERE account_id = :eve;
UPDATE billing.account SET name = 'Eva' WHERE account_id = :eve;
SELECT is(pg_temp.types(:eve, :n), 'account.changed', 'an account that is changed, once; the same values tell nothing');
SELECT is(pg_temp.payload(:eve, :n + 1), '{"columns": ["email", "name"]}', 'and what of it');

-- In bulk: accounts, subscriptions, a run of several batches.
SELECT min(a) AS first, max(a) AS last FROM billing.create_accounts((SELECT jsonb_agg(jsonb_build_object('name', 'n' || n, 'entity', 'beta')) FROM generate_series(1, 25) n)) a \gset
SELECT count(*) FROM billing.create_subscriptions((SELECT jsonb_agg(jsonb_build_object('account_id', a, 'plan', 'team', 'start_at', '2100-01-01')) FROM generate_series(:first, :last) a)) \g /dev/null
CALL billing.bill_run('2100-02-01', batch_size => 10, entity => 'beta');
SELECT is((SELECT array_agg(DISTINCT pg_temp.types(a)) FROM generate_series(:first, :last) a), '{"account.created, subscription.created, invoice.finalized, invoice.finalized"}', 'in bulk');
SELECT is_empty($$SELECT i.id FROM billing.invoice i LEFT JOIN billing.event e ON e.account_id = i.account_id AND e.invoice_id = i.id AND e.type IN ('invoice.finalized', 'credit_note.issued')
                  WHERE (e.payload->>'number') IS DISTINCT FROM i.number$$, 'every number is told as it is');
SELECT is((SELECT count(DISTINCT e.xid) FROM billing.event e WHERE e.account_id BETWEEN :first AND :last AND e.type = 'invoice.finalized'), 3::bigint, 'in the transaction of each batch');

-- A call that is repeated with its key, a preview and an error tell nothing.
SELECT billing.create_account('Hal', entity => 'acme', idempotency_key => 'hal') AS hal \gset
SELECT billing.create_account('Hal', entity => 'acme', idempotency_key => 'hal') \g /dev/null
SELECT billing.create_subscription(:hal, 'team', start_at => '2100-01-01', idempotency_key => 'sub') AS sub_hal \gset
SELECT billing.create_subscription(:hal, 'team', start_at => '2100-01-01', idempotency_key => 'sub') \g /dev/null
SELECT FROM billing.preview(:hal, '2100-03-01') \g /dev/null
SELECT FROM billing.preview_change(:sub_hal, '{"verb": "cancel_subscription", "effective_at": "2100-02-01 00:00+00"}') \g /dev/null
SELECT throws_ok(format('SELECT billing.resume_subscription(%s)', :sub_hal), 'LB303', NULL, 'an error');
SELECT is(pg_temp.types(:hal), 'account.created, subscription.created', 'once each');

-- What is rolled back was never told, also in part.
SELECT pg_temp.counter(:ann) AS n \gset
BEGIN;
UPDATE billing.account SET name = 'Anna' WHERE account_id = :ann;
SAVEPOINT s;
UPDATE billing.account SET name = 'Anne' WHERE account_id = :ann;
ROLLBACK TO s;
UPDATE billing.account SET email = 'ann@example.com' WHERE account_id = :ann;
COMMIT;
BEGIN;
UPDATE billing.account SET name = 'Anne' WHERE account_id = :ann;
ROLLBACK;
SELECT is((SELECT jsonb_agg(e.payload->'columns' ORDER BY e.event_no) FROM billing.event e WHERE e.account_id = :ann AND e.event_no > :n), '[["name"], ["email"]]', 'what is rolled back was never told');
SELECT is(pg_temp.counter(:ann), :n + 2::bigint, 'and leaves no gap');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

-- --- Reading -------------------------------------------------------------------------------------------

SELECT pg_temp.settle();
SELECT results_eq($$SELECT account_id, event_no FROM billing.read_events('all', 100000)$$,
                  'SELECT account_id, event_no FROM billing.event ORDER BY adoption_number, xid, account_id, event_no', 'all events, in their order');
SELECT is_empty($$SELECT FROM (SELECT e.event_no, lag(e.event_no) OVER (PARTITION BY e.account_id ORDER BY e.ordinality) AS before FROM billing.read_events('all', 100000) WITH ORDINALITY e) x WHERE event_no <> before + 1$$,
                'of one session: an account''s numbers one after the other');
CREATE TEMP TABLE seen AS SELECT * FROM billing.read_events('all', 7);
SELECT is((SELECT count(*) FROM seen), 7::bigint, 'at most so many');
SELECT results_eq($$SELECT position FROM billing.read_events('all', 7)$$, 'SELECT position FROM seen', 'the same again until they are acknowledged');
SELECT is((SELECT count(*) FROM billing.read_events('all', NULL)), 100::bigint, 'a hundred unless told otherwise');
SELECT (SELECT position FROM seen OFFSET 2 LIMIT 1) AS third, (SELECT position FROM seen OFFSET 6 LIMIT 1) AS seventh \gset
SELECT is(billing.acknowledge_events('all', :'third'), :'third', 'acknowledged in part');
SELECT results_eq($$SELECT position FROM billing.read_events('all', 4)$$, 'SELECT position FROM seen OFFSET 3', 'the rest comes again');
SELECT is(billing.acknowledge_events('all', :'seventh'), :'seventh', 'acknowledged');
SELECT is(billing.acknowledge_events('all', :'seventh'), :'seventh', 'once more does no harm');
SELECT throws_ok(format('SELECT billing.acknowledge_events(%L, %L)', 'all', :'third'), 'LB307', 'consumer "all" has acknowledged more than that', 'not backwards');
SELECT is_empty(format('SELECT FROM billing.read_events(%L, 100000) WHERE position = %L', 'all', :'seventh'), 'what is acknowledged does not come again');

-- Beyond what can be read: an event of this very transaction, which is under way.
BEGIN;
UPDATE billing.account SET name = 'Annie' WHERE account_id = :ann;
SELECT is_empty(format($$SELECT FROM billing.read_events('all', 100000) WHERE account_id = %s AND event_no > %s$$, :ann, :n + 2), 'a transaction cannot read its own events');
SELECT throws_ok(format('SELECT billing.acknowledge_events(%L, %L)', 'all', (SELECT concat_ws('-', adoption_number, xid, account_id, event_no) FROM billing.event ORDER BY xid DESC, event_no DESC LIMIT 1)),
                 'LB307', 'consumer "all" cannot have read that far', 'nor acknowledge them');
ROLLBACK;
SELECT throws_ok($$SELECT billing.acknowledge_events('all', '2-1-1-1')$$, 'LB307', NULL, 'nor those of an adoption to come');

-- Types, sellers, from now on.
SELECT billing.create_event_consumer('money', types => '{invoice.finalized,credit_note.issued}', from_start => true),
       billing.create_event_consumer('beta', entity => 'beta', from_start => true), billing.create_event_consumer('late'),
       billing.create_event_consumer('rare', types => '{dunning.step_done}', from_start => true) \g /dev/null
SELECT set_eq($$SELECT DISTINCT type FROM billing.read_events('money', 100000)$$, ARRAY['invoice.finalized', 'credit_note.issued'], 'some types only');
SELECT is((SELECT count(*) FROM billing.read_events('money', 100000)), (SELECT count(*) FROM billing.event WHERE type IN ('invoice.finalized', 'credit_note.issued')), 'all of them');
SELECT set_eq($$SELECT DISTINCT account_id FROM billing.read_events('beta', 100000)$$, format('SELECT generate_series(%s, %s)::bigint', :first, :last), 'one seller''s only');
SELECT is_empty($$SELECT * FROM billing.read_events('late')$$, 'nothing from before it was made');
SELECT billing.create_account('Fay', entity => 'acme') AS fay \gset
SELECT pg_temp.settle();
SELECT results_eq($$SELECT type, account_id FROM billing.read_events('late')$$, format($$VALUES ('account.created'::text, %s::bigint)$$, :fay), 'but all from then on');
CREATE TEMP TABLE before AS SELECT * FROM billing.event_consumer WHERE name = 'rare';
SELECT is_empty($$SELECT * FROM billing.read_events('rare')$$, 'nothing that it wants');
SELECT ok((SELECT (c.last_adoption_number, c.last_xid) > (b.last_adoption_number, b.last_xid) FROM billing.event_consumer c, before b WHERE c.name = 'rare'), 'so it need not look there again');
CREATE TEMP TABLE after AS SELECT * FROM billing.event_consumer WHERE name = 'rare';
SELECT is_empty($$SELECT * FROM billing.read_events('rare')$$, 'nor anything new');
SELECT results_eq($$SELECT * FROM billing.event_consumer WHERE name = 'rare'$$, 'SELECT * FROM after', 'and writes nothing');
BEGIN READ ONLY;
SELECT isnt_empty($$SELECT * FROM billing.read_events('money')$$, 'reading needs no write');
COMMIT;

-- --- Which types are kept ------------------------------------------------------------------------------

SELECT pg_temp.counter(:fay) AS n \gset
SELECT is(billing.keep_events('{account.changed,invoice.finalized,invoice.paid}', false), 3, 'types that nobody wants');
SELECT is(billing.keep_events('{account.changed,invoice.finalized}', false), 0, 'once is enough');
UPDATE billing.account SET name = 'Faye' WHERE account_id = :fay;
SELECT billing.create_subscription(:fay, 'gratis', start_at => '2100-01-01') \g /dev/null
SELECT billing.bill_account(:fay, '2100-01-01') \g /dev/null
SELECT is(pg_temp.types(:fay, :n), 'subscription.created', 'are not written');
SELECT is(pg_temp.counter(:fay), :n + 1::bigint, 'nor counted');
SELECT billing.keep_events('{invoice.paid}', true) \g /dev/null
SELECT billing.bill_account(:fay, '2100-02-01') \g /dev/null
SELECT is(pg_temp.types(:fay, :n + 1), 'invoice.paid', 'each for itself');
SELECT billing.keep_events(ARRAY(SELECT type FROM billing.event_type), true) \g /dev/null
SELECT billing.setup() \g /dev/null
SELECT billing.keep_events('{account.changed}', false), billing.setup() \g /dev/null
SELECT is((SELECT array_agg(type) FROM billing.event_type WHERE NOT kept), '{account.changed}', 'setup() leaves the choice alone');
SELECT billing.keep_events('{account.changed}', true) \g /dev/null

-- --- Bad input -----------------------------------------------------------------------------------------

CREATE TEMP TABLE consumers AS TABLE billing.event_consumer;
SELECT throws_ok($$SELECT * FROM billing.read_events('nobody')$$, 'LB147', 'consumer "nobody" does not exist', 'reading for nobody');
SELECT throws_ok($$SELECT * FROM billing.read_events(NULL)$$, '22004', NULL, 'reading for null');
SELECT throws_ok(format($$SELECT * FROM billing.read_events('all', %s)$$, max), 'LB208', NULL, format('reading %s events', max)) FROM unnest(ARRAY[0, -1, -2147483648, 2147483647]) max;
SELECT throws_ok($$SELECT billing.acknowledge_events('nobody', '1-1-1-1')$$, 'LB147', NULL, 'acknowledging for nobody');
SELECT throws_ok($$SELECT billing.acknowledge_events('all', NULL)$$, '22004', NULL, 'acknowledging null');
SELECT throws_ok(format('SELECT billing.acknowledge_events(%L, %L)', 'all', p), 'LB208', NULL, format('acknowledging "%s"', left(p, 30)))
  FROM unnest(ARRAY['', '1', '1-1-1', '1-1-1-1-1', '1-1-1--1', '-1-1-1-1', 'a-b-c-d', '1-1-1-1 ', E'1-1-1-1\n', '1.0-1-1-1', '٣-1-1-1', '9999999999-1-1-1', '1-99999999999999999999-1-1',
                    '1-1-9999999999-1', '1-1-1-9999999999999999999', ''';DROP TABLE billing.event;--', repeat('1', 100000)]) p;
SELECT throws_ok(format('SELECT billing.create_event_consumer(%s)', args), state, NULL, format('create_event_consumer(%s)', args))
  FROM (VALUES ('NULL', '22004'), ('''''', 'LB208'), ('''all''', '23505'), ('''x'', types => ''{}''', 'LB208'), ('''x'', types => ''{invoice.lost}''', 'LB208'),
               ('''x'', types => ''{NULL}''', 'LB208'), ('''x'', entity => ''gamma''', 'LB101')) v (args, state);
SELECT throws_ok($$SELECT billing.drop_event_consumer('nobody')$$, 'LB147', NULL, 'dropping nobody');
SELECT throws_ok($$SELECT billing.keep_events('{invoice.lost}', true)$$, 'LB208', 'no event has type "invoice.lost"', 'keeping what there is not');
SELECT throws_ok($$SELECT billing.keep_events('{}', true)$$, 'LB208', NULL, 'keeping nothing');
SELECT throws_ok($$SELECT billing.keep_events(NULL, true)$$, '22004', NULL, 'keeping null');
SELECT throws_ok($$SELECT billing.keep_events('{account.changed}', NULL)$$, '22004', NULL, 'keeping perhaps');
SELECT throws_ok($$SELECT billing.prune_events(NULL)$$, '22004', NULL, 'pruning for an unknown time');
SELECT throws_ok($$SELECT billing.prune_events('-1 second')$$, 'LB208', NULL, 'pruning what is to come');
SELECT throws_ok($$SELECT billing.prune_events('300000 years')$$, '22008', NULL, 'pruning from before time');
SELECT throws_ok($$SELECT billing_internal.emit(1, 'invoice.lost', now())$$, 'XX000', NULL, 'an event of a type that there is not');
SELECT throws_ok($$SELECT billing_internal.emit(99, 'account.changed', now())$$, 'LB108', NULL, 'an event of an account that there is not');
SELECT results_eq('TABLE billing.event_consumer', 'TABLE consumers', 'all of that changed nothing');

-- --- Rights --------------------------------------------------------------------------------------------

CREATE ROLE events_app;
CREATE ROLE events_operator;
CREATE ROLE events_beta;
SELECT billing.grant_access('events_app', 'application'), billing.grant_access('events_operator', 'operator'), billing.grant_access('events_beta', 'operator', 'beta') \g /dev/null
GRANT TEMPORARY ON DATABASE :DBNAME TO events_app, events_operator, events_beta;
GRANT USAGE ON SCHEMA public TO events_app, events_operator, events_beta;
SET ROLE events_app;
SELECT throws_ok($$SELECT * FROM billing.read_events('all')$$, '42501', NULL, 'an application does not read events');
SELECT isnt_empty('SELECT FROM billing.event', 'but the table');
SET ROLE events_operator;
SELECT isnt_empty($$SELECT * FROM billing.read_events('beta')$$, 'an operator reads them');
SELECT throws_ok($$SELECT billing.keep_events('{account.changed}', false)$$, '42501', NULL, 'but does not say which are written');
SET ROLE events_beta;
SELECT isnt_empty($$SELECT * FROM billing.read_events('beta')$$, 'an operator of one seller reads its events');
SELECT throws_ok($$SELECT * FROM billing.read_events('all')$$, '42501', NULL, 'not those of all');
SELECT throws_ok($$SELECT billing.create_event_consumer('mine')$$, '42501', NULL, 'nor by a consumer of his own');
SELECT throws_ok($$SELECT billing.create_event_consumer('mine', entity => 'acme')$$, '42501', NULL, 'nor those of another');
SELECT lives_ok($$SELECT billing.create_event_consumer('mine', entity => 'beta')$$, 'a consumer of his own seller');
SELECT throws_ok($$SELECT billing.drop_event_consumer('all')$$, '42501', NULL, 'nor does he drop another''s');
SELECT is(billing.drop_event_consumer('mine'), 'mine', 'but his own');
SELECT throws_ok($$SELECT billing.prune_events('0')$$, '42501', NULL, 'nor prune what belongs to all');
RESET ROLE;
SET billing.enabled = off;
SELECT throws_ok($$SELECT * FROM billing.read_events('all')$$, 'LB004', NULL, 'a copy that must not bill is not read either');
RESET billing.enabled;

-- --- Retention -----------------------------------------------------------------------------------------

SELECT is(billing.prune_events('1 day'), 0::bigint, 'nothing is old');
SELECT billing.drop_event_consumer(name) FROM unnest(ARRAY['money', 'beta', 'rare']) name \g /dev/null
SELECT is(billing.prune_events('0'), 7::bigint, 'what the slowest consumer has acknowledged');
SELECT is_empty('SELECT * FROM billing.check()', 'the books are sound');
SELECT is((SELECT count(*) FROM billing.event e WHERE NOT EXISTS (SELECT FROM billing.read_events('all', 100000) r WHERE (r.account_id, r.event_no) = (e.account_id, e.event_no))), 0::bigint, 'it misses nothing');
UPDATE billing.event SET recorded_at = now() - interval '10 days' WHERE position('invoice' IN type) = 0;
SELECT billing.acknowledge_events('all', (SELECT position FROM billing.read_events('all', 100000) OFFSET (SELECT count(*) - 1 FROM billing.event) LIMIT 1)) \g /dev/null
SELECT billing.acknowledge_events('late', c.last) FROM (SELECT concat_ws('-', last_adoption_number, last_xid, last_account_id, last_event_no) AS last FROM billing.event_consumer WHERE name = 'all') c \g /dev/null
SELECT count(*) AS old FROM billing.event e WHERE NOT EXISTS (SELECT FROM billing.event y WHERE y.recorded_at > now() - interval '5 days' AND (y.xid, y.account_id, y.event_no) <= (e.xid, e.account_id, e.event_no)) \gset
SELECT is(billing.prune_events('5 days'), :old::bigint, 'in their order up to the first that is young');
SELECT ok(:old < (SELECT count(*) FROM billing.event), 'which is not all');
SELECT is_empty('SELECT * FROM billing.check()', 'the books are sound');

-- An older transaction came to the account after a younger one: 3 before 1 and 2.
SELECT billing.prune_events('0') \g /dev/null
SELECT is((SELECT count(*) FROM billing.event), 0::bigint, 'acknowledged by all and old enough: nothing is kept');
SELECT is_empty('SELECT * FROM billing.check()', 'numbers go on after all were pruned');
SELECT billing.create_account('Gus', entity => 'acme') AS gus \gset
UPDATE billing.account SET name = 'Gustav' WHERE account_id = :gus;
UPDATE billing.account SET name = 'August' WHERE account_id = :gus;
UPDATE billing.event SET xid = (SELECT min(xid::text::bigint) - 1 FROM billing.event)::text::xid8, recorded_at = now() - interval '10 days' WHERE account_id = :gus AND event_no = 3;
SELECT billing.drop_event_consumer(name) FROM unnest(ARRAY['all', 'late']) name \g /dev/null
SELECT is(billing.prune_events('5 days'), 0::bigint, 'a number stays while a lower one does');
SELECT is_empty('SELECT * FROM billing.check()', 'so that there is no hole');
UPDATE billing.event SET recorded_at = now() - interval '10 days' WHERE account_id = :gus AND event_no = 1;
SELECT is(billing.prune_events('5 days'), 1::bigint, 'the lowest goes first');
SELECT is((SELECT array_agg(event_no ORDER BY event_no) FROM billing.event), '{2,3}', 'the later stay');
SELECT is(billing.prune_events('0'), 2::bigint, 'without consumers all that is old');

-- --- Damage --------------------------------------------------------------------------------------------

SELECT billing.create_event_consumer('all', from_start => true) \g /dev/null
UPDATE billing.account SET name = n FROM unnest(ARRAY['a']) n WHERE account_id IN (:gus, :ann);
UPDATE billing.account SET name = 'b' WHERE account_id IN (:gus, :ann);
UPDATE billing.account SET name = 'c' WHERE account_id IN (:gus, :ann);
CREATE FUNCTION pg_temp.found(damage text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE damage;
    SELECT string_agg(DISTINCT c.finding || coalesce(' ' || c.account_id, ''), ', ') INTO result FROM billing.check() c;
    RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = coalesce(result, 'nothing');
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
    RETURN SQLERRM;
END $$;
SELECT is(pg_temp.found('SELECT 1'), 'nothing', 'sound books');
SELECT is(pg_temp.found(format(damage, :gus)), finding || coalesce(' ' || CASE WHEN of_account THEN :gus END, ''), 'check() finds: ' || what)
  FROM (VALUES ('a gap', 'DELETE FROM billing.event WHERE account_id = %1$s AND event_no = (SELECT max(event_no) - 1 FROM billing.event WHERE account_id = %1$s)', 'wrong event numbers', true),
               ('the last one missing', 'DELETE FROM billing.event WHERE account_id = %1$s AND event_no = (SELECT max(event_no) FROM billing.event WHERE account_id = %1$s)', 'wrong event numbers', true),
               ('a number twice', 'INSERT INTO billing.event SELECT account_id, adoption_number, (xid::text::bigint + 1000)::text::xid8, event_no, type, occurred_at, recorded_at FROM billing.event WHERE account_id = %1$s ORDER BY event_no LIMIT 1', 'wrong event numbers', true),
               ('a counter too high', 'UPDATE billing.account_state SET event_no = event_no + 1 WHERE account_id = %1$s', 'wrong event numbers', true),
               ('a counter too low', 'UPDATE billing.account_state SET event_no = 0 WHERE account_id = %1$s', 'wrong event numbers', true),
               ('a type that there is not', 'UPDATE billing.event SET type = ''invoice.lost'' WHERE account_id = %1$s', 'wrong event', true),
               ('a key that its type has not', 'UPDATE billing.event SET payload = payload || ''{"colour": "red"}'' WHERE account_id = %1$s', 'wrong event', true),
               ('an id that its type has not', 'UPDATE billing.event SET case_id = 1 WHERE account_id = %1$s', 'wrong event', true),
               ('an adoption to come', 'UPDATE billing.event SET adoption_number = 2 WHERE account_id = %1$s', 'wrong event', true),
               ('a consumer ahead', 'UPDATE billing.event_consumer SET (last_adoption_number, last_xid) = (1, ''1000000000000'')', 'consumer ahead of the events', false)) d (what, damage, finding, of_account);

DROP OWNED BY events_app, events_operator, events_beta;
DROP ROLE events_app, events_operator, events_beta;
SELECT * FROM finish();
