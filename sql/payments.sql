\i sql/include/fresh.psql
-- Payments: from an open invoice to money, and what may happen on the way.
\set VERBOSITY terse
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_price('line', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"flat","flat_amount":100}');
SELECT billing.create_plan('internet', items => '[{"price":"line"}]');
SELECT billing.create_account('Jane Ltd', external_id => 'crm-17') AS jane \gset
SELECT billing.create_subscription(:jane, 'internet', start_at => '2025-01-01') AS s \gset
CALL billing.bill_run(at => '2025-01-01');
CALL billing.bill_run(at => '2025-02-01');
CREATE TEMP VIEW bill AS SELECT account_id, number, status, due_on, total, amount_paid, amount_credited, amount_due FROM billing.invoice WHERE kind <> 'credit_note' ORDER BY id;
CREATE TEMP VIEW money AS SELECT account_id, id AS payment_id, kind, amount, amount_allocated AS allocated, amount_refunded AS refunded, amount_charged_back AS charged_back,
    amount - amount_allocated - amount_refunded - amount_charged_back AS left, received_at::date AS received, reversible_until::date FROM billing.payment ORDER BY id;

-- --- A partial payment is split over two invoices ------------------------------------------------
-- Nothing is named and no invoice is of just 150.00: the oldest first.
SELECT billing.record_payment(:jane, 150, 'EUR', method => 'direct_debit', provider => 'bank', reference => 'SCT-1', effective_at => '2025-02-03') AS first \gset
SELECT * FROM bill WHERE account_id = :jane;
-- The bank tells the same twice: nothing happens.
SELECT billing.record_payment(:jane, 150, 'EUR', method => 'direct_debit', provider => 'bank', reference => 'SCT-1', effective_at => '2025-02-03') = :first AS the_same;
SELECT billing.record_payment(:jane, 15, 'EUR', method => 'direct_debit', provider => 'bank', reference => 'SCT-1', effective_at => '2025-02-03');
-- 88.00 are due; 300.00 come in.  The rest pays the next two invoices as soon as they are billed.
SELECT billing.record_payment(:jane, 300, 'EUR', method => 'transfer', provider => 'bank', reference => 'SCT-2', effective_at => '2025-02-10') AS second \gset
SELECT * FROM money;
CALL billing.bill_run(at => '2025-03-01');
CALL billing.bill_run(at => '2025-04-01');
SELECT * FROM bill WHERE account_id = :jane;

-- --- After 60 days the first payment comes back -----------------------------------------------------
SELECT billing.charge_back_payment(:first, fee => 3, provider => 'bank', reference => 'RET-1', reason => 'no mandate', effective_at => '2025-04-04') AS back \gset
SELECT * FROM bill WHERE account_id = :jane;
SELECT kind, amount, fee, refunded_at::date, reason FROM billing.refund ORDER BY id;
-- Every step is a row: what was paid on any day can be told.
SELECT payment_id, allocation_no AS no, invoice_id, amount, allocated_at::date, reason FROM billing.payment_allocation ORDER BY allocated_at, payment_id, allocation_no;
SELECT occurred_at::date, type, invoice_id, payment_id, payload FROM billing.event WHERE account_id = :jane AND type ~ '^(invoice.(paid|re)|payment)' ORDER BY event_no;

-- --- By name, by hand, in proportion ----------------------------------------------------------------
SELECT billing.record_payment(:jane, 100, 'EUR', rules => '{pro_rata}', effective_at => '2025-04-05') AS third \gset
SELECT * FROM bill WHERE account_id = :jane;
SELECT billing.deallocate_payment(:third, invoice_id, reason => 'meant for the first', effective_at => '2025-04-06')
  FROM (SELECT DISTINCT invoice_id FROM billing.payment_allocation WHERE payment_id = :third) x \g /dev/null
SELECT billing.allocate_payment(:third, id, effective_at => '2025-04-06') = :third AS allocated FROM billing.invoice WHERE number = 'INV-2025-000001';
SELECT * FROM bill WHERE account_id = :jane;
-- Refunded without a credit note: the invoice is open again.
SELECT billing.refund_payment(:third, 40, reason => 'goodwill', effective_at => '2025-04-07') AS refund \gset
SELECT * FROM bill WHERE account_id = :jane;
SELECT * FROM money;

-- --- Small differences, and invoices given up --------------------------------------------------------
SELECT billing.set_payment_rules('acme', payment_tolerance => 1.00);
-- 0.50 lacks: it is forgiven, as a payment of its own kind.
SELECT billing.record_payment(account_id, amount_due - 0.50, currency, invoice_ids => ARRAY[id], effective_at => '2025-04-08') AS short
  FROM billing.invoice WHERE number = 'INV-2025-000001' \gset
SELECT * FROM bill WHERE account_id = :jane;
SELECT * FROM money WHERE received = '2025-04-08';
-- Given up; then just that much is paid.
SELECT billing.write_off_invoice(id, reason => 'insolvent', effective_at => '2025-06-01') AS lost FROM billing.invoice WHERE number = 'INV-2025-000002' \gset
SELECT billing.record_payment(:jane, 31, 'EUR', effective_at => '2025-07-01') AS late \gset
SELECT write_off_no AS no, amount, written_off_at::date, reason FROM billing.write_off WHERE invoice_id = :lost ORDER BY 1;
SELECT * FROM bill WHERE account_id = :jane;

-- --- Invoices made outside -----------------------------------------------------------------------------
SELECT billing.create_account('Shop') AS shop \gset
SELECT count(*) FROM billing.record_external_invoices(format('[{"account_id":%s,"number":"2025/8","issued_on":"2025-03-01","total":238,"currency":"EUR","tax_total":38,"due_on":"2025-03-31"},
    {"account_id":%1$s,"number":"2025/9","issued_on":"2025-03-02","total":"50.00","currency":"EUR","lines":[{"description":"books","amount":46.73},{"description":"freight","amount":3.27}]}]', :shop)::jsonb);
SELECT billing.record_payment(:shop, 50, 'EUR', effective_at => '2025-03-05') AS exact \gset
SELECT * FROM bill WHERE account_id = :shop;
SELECT billing.record_external_invoice(:shop, '2025/8', '2025-03-01', 1, 'EUR');
SELECT * FROM billing.verify_chain();

-- --- Not with us ---------------------------------------------------------------------------------------
SELECT billing.record_payment(:jane, 1, 'USD');
SELECT billing.record_payment(:jane, -1, 'EUR');
SELECT billing.record_payment(:jane, 0.005, 'EUR');
SELECT billing.refund_payment(:second, 300.01);
SELECT billing.allocate_payment(:late, :lost);
SELECT * FROM billing.check(deep => true);
