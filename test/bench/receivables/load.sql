-- Books with :accounts accounts, each with an address, a payment method and one open invoice that was made
-- outside. Written straight into the tables, as this measures what comes after.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS billing CASCADE;
DROP SCHEMA IF EXISTS billing, bench, raw CASCADE;
CREATE EXTENSION billing;
\o /dev/null
SELECT billing.setup();
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_template('acme', 'reminder', 'mail', 'en', subject => 'Invoice {number} is overdue',
    body => 'Dear {account_name}, please pay the {amount_due} {currency} that were due on {due_on}. {seller_name}');
SELECT billing.create_dunning_scheme('usual', name => 'Usual', currency => 'EUR', steps => '[
    {"after": "1 day", "actions": ["event"]},
    {"after": "4 days", "actions": ["event"]},
    {"after": "8 days", "actions": ["remind"], "template": "reminder", "channels": ["mail"], "weekdays": [1, 2, 3, 4, 5], "not_before": "08:00", "not_after": "20:00"},
    {"after": "12 days", "actions": ["event"], "minimum_due": 100000},
    {"after": "16 days", "actions": ["suspend"]},
    {"after": "20 days", "actions": ["fee"], "fee": 5},
    {"after": "40 days", "actions": ["event"]}]');
SELECT billing.assign_dunning_scheme('usual', entity => 'acme'), billing.set_payment_rules('acme', collect => 'due');
\o

-- The keys of these rows are sound by construction.
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO billing.account (account_id, entity, name, currency, time_zone, payment_terms_days, email, country, payment_method_id)
SELECT a, 'acme', 'Customer ' || a, 'EUR', 'Europe/Berlin', 14, 'customer' || a || '@example.com', 'DE', billing_internal.make_id(a, 1)
  FROM generate_series(1, :accounts) a;
INSERT INTO billing.account_state (account_id, entity, next_ordinal) SELECT a, 'acme', 3 FROM generate_series(1, :accounts) a;
INSERT INTO billing.payment_method (account_id, id, type, provider, token, created_at)
SELECT a, billing_internal.make_id(a, 1), 'card', 'bench', 'token ' || a, '2026-01-01' FROM generate_series(1, :accounts) a;
INSERT INTO billing.invoice_header (account_id, id, kind, status, entity, series, currency, tax_scope, billed_at, net_total, tax_total, total, payment_terms_days,
    seller, buyer, external_number, external_issued_on)
SELECT a, billing_internal.make_id(a, 2), 'invoice', 'open', 'acme', '', 'EUR', 'taxed', '2026-01-02 00:00+01', 100.00, 19.00, 119.00, 14,
       '{"name": "Acme GmbH", "country": "DE"}', jsonb_build_object('name', 'Customer ' || a, 'country', 'DE'), 'X-' || a, '2026-01-02'
  FROM generate_series(1, :accounts) a;
INSERT INTO billing.invoice_line (account_id, invoice_id, line_no, nature, description, gross_amount, amount, net_amount, tax_category, tax_rate)
SELECT account_id, id, 1, 'external', external_number, net_total, net_total, net_total, 'S', 19 FROM billing.invoice_header;
INSERT INTO billing.invoice_tax (account_id, invoice_id, category, rate, taxable_amount, tax_amount)
SELECT account_id, id, 'S', 19, net_total, tax_total FROM billing.invoice_header;
INSERT INTO billing.key (kind, key, account_id, id)
SELECT 'external_invoice', jsonb_build_array('acme', external_number)::text, account_id, id FROM billing.invoice_header;
SELECT setval('billing.account_id_seq', :accounts) \g /dev/null
RESET session_replication_role;
VACUUM (FREEZE, ANALYZE);
