-- What will it cost?  The next invoices, a change before it is made, a year ahead, and an invoice on demand.
\i sql/include/fresh.psql
SET billing.max_future = '100000d';
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_meter('minutes');
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":30}');
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'minutes', scheme => '{"model":"per_unit","unit_amount":0.10}');
SELECT billing.create_plan('team', items => '[{"price":"seat"},{"price":"call"}]');
SELECT billing.create_subscription(billing.create_account('Jane Ltd'), 'team', start_at => '2027-04-01') AS subscription_id \gset
SELECT billing.bill_account(:subscription_id >> 24, '2027-04-01') > 0 AS billed;
SELECT billing.record_usage(:subscription_id, 'minutes', 'call-1', 120, '2027-04-05');

-- The next three invoices, with the usage that is known now.
SELECT document, billed_at, price, quantity, amount, total FROM billing.preview_invoices(:subscription_id, 3);

-- Two more seats from the 16th: what the next invoice then says, and how much more that is.
SELECT document, billed_at, price, quantity, amount, period_start, period_end
  FROM billing.preview_change(:subscription_id, '{"verb": "change_item", "item_id": 16777218, "quantity": 3, "effective_at": "2027-04-16"}');
SELECT * FROM billing.preview_change_cost(:subscription_id, '{"verb": "change_item", "item_id": 16777218, "quantity": 3, "effective_at": "2027-04-16"}');
-- The same invoiced at once, and a cancellation that gives back.
SELECT * FROM billing.preview_change_cost(:subscription_id, '{"verb": "change_item", "item_id": 16777218, "quantity": 3, "effective_at": "2027-04-16", "invoice_now": true}');
SELECT * FROM billing.preview_change_cost(:subscription_id, '{"verb": "cancel_subscription", "effective_at": "2027-04-16", "invoice_now": true}');
-- What the call itself would refuse, its preview refuses.
\set SHOW_CONTEXT never
SELECT * FROM billing.preview_change_cost(:subscription_id, '{"verb": "change_item", "item_id": 16777218, "price": "call", "effective_at": "2027-04-16"}');
-- Nothing was written.
SELECT count(*) FROM billing.subscription_change;

-- A year ahead for the account.
SELECT count(DISTINCT document) AS documents, sum(net_amount) AS net FROM billing.preview(:subscription_id >> 24, '2028-04-01');

-- On demand the customer pays what he used so far; the next invoice asks for the rest.
SELECT billing.invoice_account(:subscription_id >> 24, '2027-04-10', include_usage => true) AS invoice_id \gset
SELECT price, quantity, amount, period_start, period_end FROM billing.invoice_line WHERE invoice_id = :invoice_id::bigint;
SELECT billing.record_usage(:subscription_id, 'minutes', 'call-2', 30, '2027-04-20');
SELECT price, nature, quantity, amount, period_start, period_end FROM billing.preview_invoices(:subscription_id);
