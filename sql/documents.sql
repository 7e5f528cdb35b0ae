\i sql/include/fresh.psql
-- Documents: what stands together, tax, numbers, snapshots, drafts, voids.
\set VERBOSITY terse
SET TimeZone = 'Europe/Berlin';
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin',
    address => '{"line1":"Am Markt 1","postal_code":"10115","city":"Berlin"}', tax_ids => '[{"type":"eu_vat","value":"DE123456789"}]');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_tax('books', category => 'S', rate => 7);
SELECT billing.create_tax('insurance', category => 'E', rate => 0, reason => 'insurance is exempt');
SELECT billing.create_tax('deposit', category => 'O', rate => 0);
SELECT billing.create_meter('hours');
CREATE FUNCTION pg_temp.flat(code text, amount text, tax text, inclusive boolean DEFAULT false) RETURNS text
    LANGUAGE sql AS $$ SELECT billing.create_price(code, currency => 'EUR', every => '1 month', tax => tax, tax_inclusive => inclusive,
                                                   scheme => jsonb_build_object('model', 'flat', 'flat_amount', amount)) $$;
SELECT pg_temp.flat('line', '30', 'vat'), pg_temp.flat('magazine', '9.99', 'vat', true), pg_temp.flat('book', '15', 'books'),
       pg_temp.flat('cover', '4', 'insurance'), pg_temp.flat('router', '25', 'deposit'), pg_temp.flat('gift', '0', 'vat');
SELECT billing.create_price('support', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'hours',
                            scheme => '{"model":"per_unit","unit_amount":50}');
SELECT billing.create_plan('internet', items => '[{"price":"line"}]');
SELECT billing.create_plan('press', items => '[{"price":"magazine"}]');
SELECT billing.create_plan('reader', items => '[{"price":"line"},{"price":"book"}]');
SELECT billing.create_plan('family', items => '[{"price":"line"},{"price":"cover"},{"price":"router"}]');
SELECT billing.create_plan('trial', items => '[{"price":"gift"}]');
SELECT billing.create_plan('care', items => '[{"price":"line"},{"price":"support"}]');

-- --- Catch-up -------------------------------------------------------------------------------
-- A run that is five cycles late writes one document per cycle, oldest first, all issued on the day it runs.
SELECT billing.create_account('Late Ltd') AS late \gset
SELECT billing.create_subscription(:late, 'internet', start_at => '2025-01-31') AS s \gset
CALL billing.bill_run(at => '2025-06-15');
SELECT number, billed_at::date, period_start::date, period_end::date, issued_on, due_on, total FROM billing.invoice ORDER BY position;

-- --- What stands on one document --------------------------------------------------------------
-- Several rates: one document, tax once per rate on the sum.
SELECT billing.create_account('Reader Ltd') AS reader \gset
SELECT billing.create_subscription(:reader, 'reader', start_at => '2025-06-20') AS s \gset
-- Taxed, exempt and outside the scope of tax: three documents.
SELECT billing.create_account('Family') AS family \gset
SELECT billing.create_subscription(:family, 'family', start_at => '2025-06-20') AS s \gset
-- One order number each: two documents.
SELECT billing.create_account('Orders Ltd', buyer_reference => 'dept 7') AS orders \gset
SELECT billing.create_subscription(:orders, 'internet', start_at => '2025-06-20', purchase_order => 'PO-' || n) FROM generate_series(1, 2) n \g /dev/null
SELECT billing.create_subscription(:orders, 'press', start_at => '2025-06-20', purchase_order => 'PO-1') AS s \gset
-- A price that contains the tax: 9.99 at 19 % is 8.39 + 1.59, and 0.01 that neither holds.
SELECT billing.create_account('Press Ltd', payment_terms_days => 30) AS press \gset
SELECT billing.create_subscription(:press, 'press', start_at => '2025-06-20') AS s \gset
-- Three of them: the net 25.18 of 29.97 is shared out by largest remainder.
SELECT billing.create_account('Kiosk Ltd', payment_terms_days => 0) AS kiosk \gset
SELECT billing.create_subscription(:kiosk, 'press', start_at => '2025-06-20') FROM generate_series(1, 3) \g /dev/null
-- Nothing to pay: the document is finished as paid.
SELECT billing.create_account('Guest') AS guest \gset
SELECT billing.create_subscription(:guest, 'trial', start_at => '2025-06-20') AS s \gset
CALL billing.bill_run(at => '2025-06-20');
SELECT a.name, i.number, i.status, h.tax_scope, i.purchase_order, i.buyer_reference, i.due_on, i.net_total, i.tax_total, i.total, i.rounding_amount, i.amount_due
  FROM billing.invoice i JOIN billing.invoice_header h USING (account_id, id) JOIN billing.account a USING (account_id)
 WHERE i.issued_on = '2025-06-20' ORDER BY i.account_id, h.tax_scope, i.purchase_order;
SELECT a.name, t.category, t.rate, t.taxable_amount, t.tax_amount, t.reason
  FROM billing.invoice_tax t JOIN billing.account a USING (account_id) WHERE a.name IN ('Reader Ltd', 'Family') ORDER BY 1, 2, 3;
SELECT line_no, price, amount, net_amount, tax_inclusive FROM billing.invoice_line WHERE account_id = :kiosk ORDER BY 1;

-- --- A tax rate that changes ------------------------------------------------------------------
-- From 1 July 2025 on the rate is 21. What counts is the end of service, its start, or the day of issue.
SELECT billing.create_tax('at_end', category => 'S', rate => 19), billing.create_tax('at_start', category => 'S', rate => 19, tax_point => 'service_start'),
       billing.create_tax('at_issue', category => 'S', rate => 19, tax_point => 'issue_date');
SELECT billing.create_tax_rate(t, category => 'S', rate => 21, valid_from => '2025-07-01') FROM unnest(ARRAY['at_end', 'at_start', 'at_issue']) t;
SELECT pg_temp.flat('by_end', '10', 'at_end'), pg_temp.flat('by_start', '10', 'at_start'), pg_temp.flat('by_issue', '10', 'at_issue');
SELECT billing.create_plan('points', items => '[{"price":"by_end"},{"price":"by_start"},{"price":"by_issue"}]');
SELECT billing.create_account('Points Ltd') AS points \gset
-- 1 to 30 June ends on its last day; 15 June to 14 July straddles the change.
SELECT billing.create_subscription(:points, 'points', start_at => '2025-06-01', end_at => '2025-07-01') AS june \gset
SELECT billing.create_subscription(:points, 'points', start_at => '2025-06-15', end_at => '2025-07-15') AS across \gset
SELECT billing.create_subscription(:points, 'points', start_at => '2025-07-01', end_at => '2025-08-01') AS july \gset
CALL billing.bill_run(at => '2025-06-30 23:59');
CALL billing.bill_run(at => '2025-07-01');
SELECT l.period_start::date, l.period_end::date, i.issued_on, l.price, l.tax_rate
  FROM billing.invoice_line l JOIN billing.invoice i ON i.account_id = l.account_id AND i.id = l.invoice_id
 WHERE l.account_id = :points ORDER BY 1, l.line_no;

-- --- Series -----------------------------------------------------------------------------------
-- Each series counts by itself; one that restarts yearly begins at 1 in each year of issue.
SELECT billing.create_series('shop', 'acme', 'S{yy}/{number:4}', restart_yearly => true), billing.create_series('export', 'acme', 'EX-{number}');
SELECT billing.create_account('Shop 1', invoice_series => 'shop') AS shop1 \gset
SELECT billing.create_account('Shop 2', invoice_series => 'shop') AS shop2 \gset
SELECT billing.create_account('Export', invoice_series => 'export', credit_note_series => 'export') AS export \gset
SELECT billing.create_subscription(a, 'internet', start_at => '2025-11-10', cycles => 3) FROM unnest(ARRAY[:shop1, :shop2, :export]) a \g /dev/null
CALL billing.bill_run(at => '2025-11-10');
CALL billing.bill_run(at => '2025-12-10');
CALL billing.bill_run(at => '2026-01-10');
SELECT series, position, number, issued_on FROM billing.invoice WHERE series IN ('shop', 'export') ORDER BY 1, 2;

-- --- Snapshots --------------------------------------------------------------------------------
-- A document keeps what was true when it was made.
SELECT billing.create_account('Old Name Ltd', country => 'FR', address => '{"line1":"1 rue Vieille","city":"Lyon"}',
    tax_ids => '[{"type":"eu_vat","value":"FR1"}]', email => 'old@example.com', metadata => '{"region":"south","tier":"a"}') AS moved \gset
SELECT billing.create_subscription(:moved, 'internet', start_at => '2025-12-01', metadata => '{"tier":"b","site":"x"}') AS s \gset
CALL billing.bill_run(at => '2025-12-01');
UPDATE billing.account SET name = 'New Name SA', address = '{"line1":"2 rue Neuve","city":"Paris"}', email = NULL WHERE account_id = :moved;
CALL billing.bill_run(at => '2026-01-10');
SELECT h.billed_at::date, h.buyer, h.seller->>'name' AS seller, h.metadata FROM billing.invoice_header h WHERE account_id = :moved ORDER BY 1;

-- --- Drafts -----------------------------------------------------------------------------------
-- A draft has no number and no date; every run makes it anew under the same id.
SELECT billing.create_account('Draft Ltd') AS draft \gset
SELECT billing.create_subscription(:draft, 'care', start_at => '2026-01-15') AS s \gset
SELECT billing.record_usage(:s, 'hours', quantity => 2, at => '2026-01-20', event_key => 'h1');
CALL billing.bill_run(at => '2026-02-15', finalize => false);
SELECT id AS draft_id, number, status, issued_on, due_on, billed_at::date, net_total, total FROM billing.invoice WHERE account_id = :draft ORDER BY id;
SELECT min(id) AS first, max(id) AS last FROM billing.invoice WHERE account_id = :draft \gset
-- Late usage changes it.
SELECT billing.record_usage(:s, 'hours', quantity => 1, at => '2026-02-14', event_key => 'h2');
CALL billing.bill_run(at => '2026-02-16', finalize => false);
SELECT id IN (:first, :last) AS same_id, number, status, billed_at::date, net_total, total FROM billing.invoice WHERE account_id = :draft ORDER BY id;
-- One is finished by hand, a later run finishes the rest; and more usage is in time for it.
SELECT billing.finalize_invoice(:first, effective_at => '2026-02-17') = :first AS finished;
SELECT billing.record_usage(:s, 'hours', quantity => 0.5, at => '2026-02-14 12:00', event_key => 'h3');
CALL billing.bill_run(at => '2026-02-18');
SELECT id IN (:first, :last) AS same_id, number, status, issued_on, due_on, net_total, total FROM billing.invoice WHERE account_id = :draft ORDER BY id;
SELECT billing.finalize_invoice(:first);

-- --- Voids ------------------------------------------------------------------------------------
-- With rebill the same is charged again, under a new number; without it never is.
SELECT billing.create_account('Void Ltd') AS void \gset
SELECT billing.create_subscription(:void, 'press', start_at => '2026-02-20') AS s \gset
CALL billing.bill_run(at => '2026-02-20');
SELECT id AS voided FROM billing.invoice WHERE account_id = :void \gset
SELECT billing.void_invoice(:voided, rebill => true, effective_at => '2026-02-21', reason => 'wrong address') AS note \gset
CALL billing.bill_run(at => '2026-02-22');
SELECT id AS again FROM billing.invoice WHERE account_id = :void AND kind = 'invoice' AND status = 'open' \gset
SELECT billing.void_invoice(:again, rebill => false, effective_at => '2026-02-23') AS note \gset
CALL billing.bill_run(at => '2026-02-24');
SELECT kind, number, status, issued_on, due_on, net_total, tax_total, rounding_amount, amount_credited, amount_due, reason,
       (SELECT c.number FROM billing.invoice c WHERE c.account_id = i.account_id AND c.id = i.credits_invoice_id) AS credits
  FROM billing.invoice i WHERE account_id = :void ORDER BY id;
SELECT i.number, l.nature, l.amount, l.net_amount, l.quantity, l.corrects_line_no
  FROM billing.invoice i JOIN billing.invoice_line l ON l.account_id = i.account_id AND l.invoice_id = i.id WHERE i.account_id = :void ORDER BY i.id;
SELECT revision, amount, granted, period_start::date, period_end::date FROM billing.charge WHERE account_id = :void ORDER BY period_start, revision;
-- It can be done once.
SELECT billing.void_invoice(:again, rebill => true);
SELECT billing.void_invoice(:note, rebill => true);

-- --- All of it is sound -----------------------------------------------------------------------
SELECT * FROM billing.check(deep => true);
SELECT * FROM billing.verify_chain();
