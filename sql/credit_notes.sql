-- Money given back by credit notes: of a line, of an amount, of all that is left; and a claim for a late payer.
\i sql/include/fresh.psql
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') AS entity;
SELECT billing.create_tax('vat', entity => 'acme', category => 'S', rate => 19), billing.create_tax('books', entity => 'acme', category => 'S', rate => 7);
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":12.50}');
SELECT billing.create_price('journal', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'books', scheme => '{"model":"flat","flat_amount":10}');
SELECT billing.create_plan('team', items => '[{"price":"seat","quantity":8},{"price":"journal"}]');
SELECT billing.create_account('Jane Ltd') AS jane \gset
SELECT billing.create_subscription(:jane, 'team', start_at => '2026-01-01 00:00+01') AS subscription \gset
CALL billing.bill_run(at => '2026-01-01 00:00+01');
SELECT id AS january FROM billing.invoice \gset
SELECT line_no, description, amount, tax_rate FROM billing.invoice_line ORDER BY 1;

-- The journal never came: its line is given back, with its tax.
SELECT billing.credit_invoice(:january, lines => '[{"line_no":2}]', effective_at => '2026-01-05 12:00+01', reason => 'journal not delivered') > 0 AS credited;
-- For an outage twenty euros, tax included; what is open of the invoice is less by both.
SELECT billing.credit_invoice(:january, amount => 20, effective_at => '2026-01-06 12:00+01', reason => 'outage') > 0 AS credited;
SELECT number, kind, status, reason, net_total, tax_total, total, amount_credited, amount_due FROM billing.invoice ORDER BY kind DESC, number;

-- Paid in full by mistake: what is too much pays the next invoice.
SELECT billing.record_payment(:jane, 129.70, 'EUR', effective_at => '2026-01-10 12:00+01') > 0 AS paid;
CALL billing.bill_run(at => '2026-02-01 00:00+01');
-- The run bills February, and of January nothing again.
SELECT number, status, total, amount_paid, amount_credited, amount_due FROM billing.invoice WHERE kind = 'invoice' ORDER BY number;

-- She ends on 15 January after all, backdated: what was given back stands, the run gives back the rest of what was not used.
SELECT billing.cancel_subscription(:subscription, effective_at => '2026-01-15 00:00+01') > 0 AS canceled;
CALL billing.bill_run(at => '2026-02-02 00:00+01');
SELECT h.number, l.nature, l.price, l.amount, l.period_start, l.period_end
  FROM billing.invoice_line l JOIN billing.invoice h ON h.id = l.invoice_id WHERE h.kind = 'credit_note' ORDER BY l.invoice_id, l.line_no;
-- All that is left, and then nothing more.
SELECT billing.credit_invoice(:january, effective_at => '2026-02-03 12:00+01') > 0 AS credited;
\set VERBOSITY sqlstate
SELECT billing.credit_invoice(:january, amount => 0.01, effective_at => '2026-02-03 12:00+01');
\set VERBOSITY default
SELECT l.line_no, l.amount AS charged, sum(c.amount) AS given_back FROM billing.invoice_line l JOIN billing.invoice_line c ON c.corrects_invoice_id = l.invoice_id AND c.corrects_line_no = l.line_no
 WHERE l.invoice_id = :january GROUP BY 1, 2 ORDER BY 1;

-- A claim for interest and a lump sum: a document of its own, outside the scope of tax.
SELECT billing.create_account('Late Ltd') AS late \gset
SELECT billing.record_external_invoice(:late, 'OLD-7', '2026-01-02', 1000, 'EUR') AS old \gset
BEGIN;
SELECT billing_internal.lock_account(:late), billing_internal.write_claim(:late, :old,
    '[{"kind":"interest","description":"Interest","amount":16.99},{"kind":"fixed_sum","description":"Costs of recovery","amount":40}]', '2026-03-20 12:00+01', 'paid late') > 0 AS claimed;
COMMIT;
SELECT number, kind, status, total, amount_due, due_on, claims_invoice_id = :old AS for_old FROM billing.invoice WHERE account_id = :late ORDER BY id;
SELECT * FROM billing.check(deep => true);
