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

CREATE OR REPLACE VIEW billing.payment_plan ( -- how what subscriptions hold is paid: every period, at once or in instalments, and how far
    account_id, -- account
    subscription_id, -- subscription
    item_id, -- item
    price, -- price
    description, -- text on documents
    payment_plan, -- recurring, one_payment or instalments
    state, -- active: goes on; to_collect: not all is invoiced and paid; paid
    currency, -- currency of the amounts
    total, -- what it costs in all; null: it recurs
    instalments, -- in how many parts; null: it recurs
    instalments_billed, -- parts on invoices that hold
    instalments_paid, -- parts on invoices that are paid
    amount_billed, -- sum of the parts on invoices that hold, before discounts
    amount_paid, -- sum of the parts on invoices that are paid, before discounts
    unbilled_remainder, -- what no cycle takes: it lies outside the billing dates or after the end
    charge_from, -- first billing date on which it may be charged; null: any
    charge_until -- last billing date on which it may be charged; null: any
) AS
SELECT i.account_id, i.subscription_id, i.id, p.code, coalesce(i.description, p.name),
       CASE WHEN i.kind = 'recurring' THEN 'recurring' WHEN i.instalments > 1 THEN 'instalments' ELSE 'one_payment' END,
       CASE WHEN i.kind = 'recurring' THEN 'active' WHEN b.parts_paid >= coalesce(i.instalments, 1) THEN 'paid' ELSE 'to_collect' END,
       p.currency, c.total, CASE WHEN i.kind <> 'recurring' THEN coalesce(i.instalments, 1) END,
       b.parts, b.parts_paid, b.amount, b.amount_paid,
       CASE WHEN i.kind = 'instalment' THEN c.total - n.taken WHEN i.kind <> 'recurring' THEN 0 END, i.charge_from, i.charge_until
  FROM billing.subscription_item i
  JOIN billing.subscription s ON s.account_id = i.account_id AND s.id = i.subscription_id AND s.activation <> 'failed'
  -- the terms with which it began
 CROSS JOIN LATERAL (SELECT v.price, v.price_version, v.valid_from, v.version FROM billing.item_version v
                      WHERE v.account_id = i.account_id AND v.item_id = i.id AND v.price IS NOT NULL AND (v.valid_from <= i.start_at OR v.version = 1)
                      ORDER BY v.valid_from DESC, v.version DESC LIMIT 1) t
  JOIN billing.price p ON p.code = t.price
  LEFT JOIN LATERAL (SELECT billing.round_amount(billing.charge(coalesce((
                SELECT v.scheme FROM billing.item_version v WHERE v.account_id = i.account_id AND v.item_id = i.id AND v.scheme IS NOT NULL
                   AND v.valid_from <= i.start_at AND (v.valid_from, v.version) >= (t.valid_from, t.version) ORDER BY v.valid_from DESC, v.version DESC LIMIT 1),
                (SELECT v.scheme FROM billing.price_version v WHERE v.price = t.price AND v.version = t.price_version)),
                (SELECT v.quantity FROM billing.item_version v WHERE v.account_id = i.account_id AND v.item_id = i.id AND v.quantity IS NOT NULL
                    AND (v.valid_from <= i.start_at OR v.version = 1) ORDER BY v.valid_from DESC, v.version DESC LIMIT 1)), p.currency) AS total) c ON i.kind <> 'recurring'
 CROSS JOIN LATERAL (SELECT coalesce(sum(x.amount), 0) AS taken FROM billing.instalment x
                      WHERE x.account_id = i.account_id AND x.item_id = i.id AND x.active) n
  LEFT JOIN LATERAL (SELECT count(*) FILTER (WHERE x.holds) AS parts, count(*) FILTER (WHERE x.holds AND x.paid) AS parts_paid,
                            coalesce(sum(x.amount), 0) AS amount, coalesce(sum(x.amount) FILTER (WHERE x.paid), 0) AS amount_paid
                       FROM (SELECT sum(CASE h.kind WHEN 'credit_note' THEN -l.gross_amount ELSE l.gross_amount END) AS amount,
                                    bool_or(h.kind = 'invoice' AND h.status <> 'void')
                                        AND (sum(CASE h.kind WHEN 'credit_note' THEN -l.gross_amount ELSE l.gross_amount END) > 0 OR bool_and(l.gross_amount = 0)) AS holds,
                                    bool_and(h.status = 'paid') FILTER (WHERE h.kind = 'invoice' AND h.status <> 'void') AS paid
                               FROM billing.invoice_line l
                               JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id AND h.status <> 'draft'
                              WHERE l.account_id = i.account_id AND l.item_id = i.id
                              GROUP BY CASE WHEN i.kind = 'instalment' THEN l.period_no END) x) b ON i.kind <> 'recurring'
 WHERE i.kind <> 'event' AND (i.end_at IS NULL OR i.end_at > i.start_at);
