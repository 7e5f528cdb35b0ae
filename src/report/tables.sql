CREATE OR REPLACE VIEW billing.tax_summary ( -- tax by month of issue; credit notes count negative
    entity, -- seller
    month, -- first day of the month of issue
    currency, -- currency of the amounts
    category, -- EN 16931 VAT category
    rate, -- percent
    documents, -- number of documents
    taxable_amount, -- sum of the taxable amounts
    tax_amount -- sum of the taxes
) AS
SELECT h.entity, date_trunc('month', s.issued_on::timestamp)::date, h.currency, t.category, trim_scale(t.rate), count(*),
       sum(CASE WHEN h.kind = 'credit_note' THEN -t.taxable_amount ELSE t.taxable_amount END),
       sum(CASE WHEN h.kind = 'credit_note' THEN -t.tax_amount ELSE t.tax_amount END)
  FROM billing.seal s
  JOIN billing.invoice_header h ON h.account_id = s.account_id AND h.id = s.invoice_id
  JOIN billing.invoice_tax t ON t.account_id = s.account_id AND t.invoice_id = s.invoice_id
 GROUP BY 1, 2, 3, 4, 5;

CREATE OR REPLACE VIEW billing.revenue_by_month ( -- invoiced revenue by plan and month of issue; credit notes count negative
    entity, -- seller
    month, -- first day of the month of issue
    plan, -- plan of the subscription at the start of the line; null for lines without one
    currency, -- currency of the amounts
    documents, -- number of documents
    net_amount -- sum of the lines without tax
) AS
SELECT h.entity, date_trunc('month', s.issued_on::timestamp)::date, l.plan, h.currency, count(DISTINCT h.id),
       sum(CASE WHEN h.kind = 'credit_note' THEN -l.net_amount ELSE l.net_amount END)
  FROM billing.seal s
  JOIN billing.invoice_header h ON h.account_id = s.account_id AND h.id = s.invoice_id
  JOIN billing.invoice_line l ON l.account_id = s.account_id AND l.invoice_id = s.invoice_id
 GROUP BY 1, 2, 3, 4;

CREATE OR REPLACE VIEW billing.due_next ( -- when accounts are billed next
    account_id, -- account
    name, -- name of the account
    entity, -- seller
    currency, -- currency of the account
    next_due, -- nothing becomes due before; null: never again
    billed_through, -- everything due until then was charged
    recompute_from -- earliest edit whose differences are not all written; then the next run compares again
) AS
SELECT a.account_id, a.name, a.entity, a.currency, s.next_due, s.billed_through, s.recompute_from
  FROM billing.account a JOIN billing.account_state s ON s.account_id = a.account_id;

CREATE OR REPLACE VIEW billing.unbilled ( -- what accounts owe now that no document holds yet
    account_id, -- account
    subscription_id, -- subscription
    item_id, -- item
    price, -- price
    nature, -- charge or correction
    quantity, -- quantity so far
    currency, -- currency of the amount
    amount, -- amount so far
    tax_inclusive, -- the amount contains the tax
    period_start, -- service period: start
    period_end -- service period: end, at most now for arrears in progress
) AS
SELECT account_id, subscription_id, item_id, price, nature, quantity, currency, amount, tax_inclusive, period_start, period_end
  FROM billing.unbilled_on(now());
