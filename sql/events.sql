-- Events: what happened, as rows that any number of consumers read, each at its own pace.
\i sql/include/fresh.psql
SET billing.max_future = '100000d';
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":12.50}');
SELECT billing.create_plan('team', items => '[{"price":"seat"}]');

-- A consumer is a name with a cursor.  One for everything, one for documents only.
SELECT billing.create_event_consumer('crm'), billing.create_event_consumer('ledger', types => '{invoice.finalized,credit_note.issued}');

SELECT billing.create_account('Jane Ltd', external_id => 'crm-17') AS jane \gset
SELECT billing.create_subscription(:jane, 'team', start_at => '2026-01-31 00:00+01', external_id => 'sub-17', items => '[{"price":"seat","quantity":5}]') AS sub \gset
CALL billing.bill_run('2026-01-31 00:00+01');
SELECT billing.cancel_subscription(:sub, effective_at => '2026-02-14 00:00+01', invoice_now => true, reason => 'moved');
UPDATE billing.account SET email = 'jane@example.com' WHERE account_id = :jane;

-- An event is readable once no older transaction is under way in the cluster.
DO $$ BEGIN WHILE EXISTS (SELECT FROM billing.event WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;

-- Positions hold transaction ids, so they are not shown here.
SELECT event_no, type, nullif(occurred_at, recorded_at) AS occurred_at, subscription_id, invoice_id, payload - 'states' AS payload FROM billing.read_events('crm');
SELECT event_no, type, jsonb_path_query_array(payload, '$.states[*].state') AS states, payload->'states'->-1->>'from' AS last_from FROM billing.read_events('crm') WHERE payload ? 'states';
SELECT event_no, type, payload->>'number' AS number, payload->>'total' AS total FROM billing.read_events('ledger');

-- They come again until they are acknowledged: a consumer that dies on the way has missed nothing.
SELECT count(*) AS again FROM billing.read_events('crm');
SELECT position AS second FROM billing.read_events('crm', 2) OFFSET 1 \gset
SELECT billing.acknowledge_events('crm', :'second') = :'second' AS acknowledged;
SELECT billing.acknowledge_events('crm', :'second') = :'second' AS once_more;
SELECT event_no, type FROM billing.read_events('crm');
SELECT position AS last FROM billing.read_events('crm') ORDER BY event_no DESC LIMIT 1 \gset
SELECT billing.acknowledge_events('crm', :'last') = :'last' AS acknowledged;
SELECT count(*) AS left FROM billing.read_events('crm');

-- Never backwards, never beyond what could be read, and only what read_events() returned.
\set VERBOSITY terse
SELECT billing.acknowledge_events('crm', :'second');
SELECT billing.acknowledge_events('crm', '1-9000000000-1-1');
SELECT billing.acknowledge_events('crm', 'the last one');
SELECT * FROM billing.read_events('erp');
\set VERBOSITY default

-- What every consumer has acknowledged, and is old enough, goes; the ledger is not so far yet.
SELECT billing.prune_events(older_than => '90 days') AS young, billing.prune_events(older_than => '0') AS held;
SELECT billing.acknowledge_events('ledger', position) = position AS acknowledged FROM billing.read_events('ledger') OFFSET 1;
SELECT count(*) AS left FROM billing.read_events('ledger');
SELECT billing.prune_events(older_than => '0') AS pruned;
SELECT event_no AS counter FROM billing.account_state;

-- Types that nobody wants are not written.
SELECT billing.keep_events('{account.changed}', keep => false);
UPDATE billing.account SET phone = '+49 30 901820' WHERE account_id = :jane;
SELECT event_no AS counter, (SELECT count(*) FROM billing.event) AS events FROM billing.account_state;
SELECT type, meaning FROM billing.event_type WHERE NOT kept;

SELECT billing.drop_event_consumer('ledger');
SELECT name, types FROM billing.event_consumer;
SELECT * FROM billing.check(deep => true);
