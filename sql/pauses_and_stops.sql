\i sql/include/fresh.psql
-- A subscription pauses and resumes, stops and comes back, and waits for its first payment.  Usage is refused while
-- there is no service.  States have a history, past and to come.
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC');
SELECT billing.create_tax('none', category => 'Z', rate => 0);
SELECT billing.create_meter('calls');
SELECT billing.create_price('tv', currency => 'EUR', every => '1 month', tax => 'none', scheme => '{"model":"flat","flat_amount":30}');
SELECT billing.create_price('keep', currency => 'EUR', every => '1 month', tax => 'none', proration_credit => 'none', scheme => '{"model":"flat","flat_amount":30}');
SELECT billing.create_price('year', currency => 'EUR', every => '1 year', tax => 'none', scheme => '{"model":"flat","flat_amount":365}');
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'none', meter => 'calls', scheme => '{"model":"per_unit","unit_amount":0.10}');
SELECT billing.create_plan('tv', items => '[{"price":"tv"},{"price":"call"}]'), billing.create_plan('keep', items => '[{"price":"keep"}]'),
       billing.create_plan('year', items => '[{"price":"year"}]');
CREATE VIEW bill AS
SELECT h.account_id AS account, h.kind, h.billed_at::date AS billed, l.price, l.quantity, l.amount, l.period_start::date AS from_day, l.period_end::date AS to_day
  FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
 ORDER BY h.account_id, h.id, l.line_no;

\set VERBOSITY terse
-- Paused from 11 to 21 April: ten days come back.
SELECT billing.create_account('Holiday') AS account \gset
SELECT billing.create_subscription(:account, 'tv', start_at => '2024-04-01') AS subscription \gset
CALL billing.bill_run(at => '2024-04-01');
SELECT billing.pause_subscription(:subscription, until => '2024-04-21', effective_at => '2024-04-11') = :subscription AS paused;
SELECT billing.record_usage(:subscription, 'calls', 'a', quantity => 50, at => '2024-04-10');
SELECT billing.record_usage(:subscription, 'calls', 'b', quantity => 50, at => '2024-04-11');
SELECT billing.record_usage(:subscription, 'calls', 'c', quantity => 50, at => '2024-04-21');
CALL billing.bill_run(at => '2024-05-01');
SELECT * FROM bill WHERE account = :account;
SELECT valid_from, state FROM billing.subscription_state WHERE subscription_id = :subscription ORDER BY 1;
SELECT billing.subscription_state_on(:subscription, '2024-04-15');

-- Where a pause gives nothing back, resuming inside the period costs nothing.
SELECT billing.create_account('Kept') AS account \gset
SELECT billing.create_subscription(:account, 'keep', start_at => '2024-04-01') AS subscription \gset
CALL billing.bill_run(at => '2024-04-01');
SELECT billing.pause_subscription(:subscription, effective_at => '2024-04-11') = :subscription AS paused;
CALL billing.bill_run(at => '2024-04-15');
SELECT billing.resume_subscription(:subscription, effective_at => '2024-04-21') = :subscription AS resumed;
CALL billing.bill_run(at => '2024-05-01');
SELECT * FROM bill WHERE account = :account;

-- A year keeps its anniversary over a pause of a month.
SELECT billing.create_account('Year') AS account \gset
SELECT billing.create_subscription(:account, 'year', start_at => '2024-04-01') AS subscription \gset
CALL billing.bill_run(at => '2024-04-01');
SELECT billing.pause_subscription(:subscription, until => '2024-06-01', effective_at => '2024-05-01') = :subscription AS paused;
CALL billing.bill_run(at => '2025-04-01');
SELECT * FROM bill WHERE account = :account;

-- Resumed in a later period it keeps its billing day, or is billed from then on.
SELECT billing.create_account(anchor) AS account, billing.create_subscription(currval('billing.account_id_seq'), 'keep', start_at => '2024-04-01') AS subscription
  FROM unnest(ARRAY['keep', 'resume']) anchor;
SELECT billing.pause_subscription(s.id, effective_at => '2024-05-01') = s.id AS paused
  FROM billing.subscription s JOIN billing.account a USING (account_id) WHERE a.name IN ('keep', 'resume');
SELECT billing.resume_subscription(s.id, a.name, effective_at => '2024-06-11') = s.id AS resumed
  FROM billing.subscription s JOIN billing.account a USING (account_id) WHERE a.name IN ('keep', 'resume');
CALL billing.bill_run(at => '2024-07-11');
SELECT a.name, b.billed, b.amount, b.from_day, b.to_day FROM bill b JOIN billing.account a ON a.account_id = b.account WHERE a.name IN ('keep', 'resume');

-- Stopped, it lives again when it is restarted, or with a new item alone.  Canceled, it can be restarted only.
SELECT billing.create_account('Back') AS account \gset
SELECT billing.create_subscription(:account, 'tv', start_at => '2024-04-01') AS subscription \gset
CALL billing.bill_run(at => '2024-04-01');
SELECT billing.stop_subscription(:subscription, effective_at => '2024-04-10', at_period_end => true) = :subscription AS stopped;
SELECT billing.add_item(:subscription, 'keep', effective_at => '2024-06-16') - :subscription AS item;
SELECT item_id - :subscription AS item, price FROM billing.subscription_items_on(:subscription, '2024-04-30');
SELECT item_id - :subscription AS item, price FROM billing.subscription_items_on(:subscription, '2024-05-01');
SELECT item_id - :subscription AS item, price FROM billing.subscription_items_on(:subscription, '2024-06-16');
SELECT billing.cancel_subscription(:subscription, effective_at => '2024-07-01') = :subscription AS canceled;
SELECT billing.add_item(:subscription, 'tv', effective_at => '2024-07-05');
SELECT billing.restart_subscription(:subscription, effective_at => '2024-07-05') = :subscription AS restarted;
CALL billing.bill_run(at => '2024-08-01');
SELECT * FROM bill WHERE account = :account;
SELECT valid_from, state FROM billing.subscription_state WHERE subscription_id = :subscription AND valid_from < '2024-07-31' ORDER BY 1;

-- A subscription that waits for its first payment starts when that succeeds, with all its products, or never does.
SELECT billing.create_account('Combined') AS account \gset
SELECT billing.create_subscription(:account, 'tv', start_at => '2024-04-01', await_payment => true) AS subscription \gset
SELECT billing.create_subscription(:account, 'tv', start_at => '2024-04-01', await_payment => true) AS declined \gset
CALL billing.bill_run(at => '2024-04-02');
SELECT billing.activate_subscription(:subscription, effective_at => '2024-04-03') = :subscription AS activated;
SELECT billing.fail_subscription(:declined, effective_at => '2024-04-03', reason => 'card declined') = :declined AS failed;
CALL billing.bill_run(at => '2024-05-03');
SELECT * FROM bill WHERE account = :account;
SELECT subscription_id = :declined AS declined, valid_from, state FROM billing.subscription_state WHERE account_id = :account ORDER BY 1, 2;

SELECT * FROM billing.check(deep => true);
