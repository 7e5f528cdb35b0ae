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

CREATE TABLE IF NOT EXISTS billing.ledger_account ( -- chart of accounts of the journal
    code text NOT NULL CONSTRAINT ledger_account_key PRIMARY KEY CONSTRAINT ledger_account_code_check CHECK (code <> ''), -- code in the bookkeeping
    name text NOT NULL, -- for people
    type text NOT NULL CONSTRAINT ledger_account_type_check CHECK (type IN ('asset', 'liability', 'revenue', 'expense')) -- where it stands
);
CREATE TABLE IF NOT EXISTS billing.posting_rule ( -- which ledger account each part of an entry goes to
    source text NOT NULL, -- what the entry is made of: invoice, payment, refund ...
    part text NOT NULL, -- receivable, customer_credit, revenue, tax, rounding, cash, fee or write_off
    detail text NOT NULL DEFAULT '', -- revenue: product, or a claim's kind of line; tax: its category; cash: method of payment; empty: all others
    ledger_account text NOT NULL CONSTRAINT posting_rule_ledger_account_fkey REFERENCES billing.ledger_account ON UPDATE CASCADE, -- account
    entity text NOT NULL DEFAULT '', -- for this seller only, before those of all; empty: for all
    CONSTRAINT posting_rule_key PRIMARY KEY (source, part, detail, entity)
);
INSERT INTO billing.ledger_account (code, name, type) SELECT * FROM billing_internal.ledger_accounts()
 WHERE NOT EXISTS (SELECT FROM billing.ledger_account);
INSERT INTO billing.posting_rule (source, part, ledger_account)
SELECT r.source, r.part, r.ledger_account FROM billing_internal.posting_rules() r JOIN billing.ledger_account a ON a.code = r.ledger_account
    ON CONFLICT (source, part, detail, entity) DO NOTHING;

CREATE OR REPLACE VIEW billing.journal ( -- double entry: what documents, money and credit post; debits equal credits in every entry
    entity, -- seller
    entry, -- what the entry is made of, unique
    posted_on, -- date in the seller's zone, never before the documents it is about
    source, -- invoice, external_invoice, claim, credit_note, payment, allocation, credit_allocation, under_payment, refund, chargeback, write_off or recovery
    account_id, -- account of the customer
    invoice_id, -- document
    payment_id, -- payment
    part, -- receivable, customer_credit, revenue, tax, rounding, cash, fee or write_off
    line_no, -- revenue: line of the document
    ledger_account, -- account in ledger_account, by posting_rule
    currency, -- currency of the amounts
    debit, -- amount on the left side, or zero
    credit -- amount on the right side, or zero
) AS
WITH document AS NOT MATERIALIZED (
    SELECT h.account_id, h.id, h.entity, h.currency, coalesce(s.issued_on, h.external_issued_on) AS posted_on,
           CASE WHEN h.external_number IS NOT NULL THEN 'external_invoice' ELSE h.kind END AS source,
           -- what it sells, or gives back
           CASE WHEN coalesce(o.external_number, h.external_number) IS NOT NULL THEN 'external_invoice' WHEN 'claim' IN (o.kind, h.kind) THEN 'claim' ELSE 'invoice' END AS origin,
           CASE WHEN h.kind = 'credit_note' THEN -1 ELSE 1 END AS sign, h.total + h.rounding_amount AS payable, h.rounding_amount
      FROM billing.invoice_header h
      LEFT JOIN billing.seal s ON s.account_id = h.account_id AND s.invoice_id = h.id
      LEFT JOIN billing.invoice_header o ON o.account_id = h.account_id AND o.id = h.credits_invoice_id
     WHERE h.status <> 'draft'),
-- Constants have a type: what is read back from a dump is then word for word the same.
posting AS NOT MATERIALIZED (
    SELECT d.entity, d.source || ' ' || d.id AS entry, d.posted_on, d.source, d.account_id, d.id AS invoice_id, NULL::bigint AS payment_id,
           CASE d.sign WHEN 1 THEN 'receivable' ELSE 'customer_credit' END AS part, d.source AS rule, NULL AS detail, NULL::int AS line_no, d.currency, d.sign * d.payable AS amount
      FROM document d
    UNION ALL
    SELECT d.entity, d.source || ' ' || d.id, d.posted_on, d.source, d.account_id, d.id, NULL::bigint, 'revenue'::text, d.origin,
           CASE d.origin WHEN 'claim' THEN l.kind ELSE l.product END, l.line_no, d.currency, - d.sign * l.net_amount
      FROM document d JOIN billing.invoice_line l ON l.account_id = d.account_id AND l.invoice_id = d.id
    UNION ALL
    SELECT d.entity, d.source || ' ' || d.id, d.posted_on, d.source, d.account_id, d.id, NULL::bigint, 'tax'::text, d.origin, t.category, NULL::int, d.currency, - d.sign * t.tax_amount
      FROM document d JOIN billing.invoice_tax t ON t.account_id = d.account_id AND t.invoice_id = d.id
    UNION ALL
    SELECT d.entity, d.source || ' ' || d.id, d.posted_on, d.source, d.account_id, d.id, NULL::bigint, 'rounding'::text, d.origin, NULL::text, NULL::int, d.currency, - d.sign * d.rounding_amount
      FROM document d
    UNION ALL
    SELECT e.code, 'payment ' || p.id, (p.received_at AT TIME ZONE e.time_zone)::date, 'payment'::text, p.account_id, NULL::bigint, p.id, x.part, 'payment'::text, x.detail, NULL::int, p.currency, x.amount
      FROM billing.payment p
      JOIN billing.account c ON c.account_id = p.account_id
      JOIN billing.entity e ON e.code = c.entity
     CROSS JOIN LATERAL (VALUES ('cash', p.method, p.amount), ('customer_credit', NULL, - p.amount)) x (part, detail, amount)
     WHERE p.kind = 'payment'
    UNION ALL
    SELECT d.entity, format('%s %s/%s', k.source, a.payment_id, a.allocation_no), greatest((a.allocated_at AT TIME ZONE e.time_zone)::date, d.posted_on), k.source,
           a.account_id, a.invoice_id, a.payment_id, x.part, k.source, NULL::text, NULL::int, d.currency, x.amount
      FROM billing.payment_allocation a
      JOIN billing.payment p ON p.account_id = a.account_id AND p.id = a.payment_id
      JOIN document d ON d.account_id = a.account_id AND d.id = a.invoice_id
      JOIN billing.entity e ON e.code = d.entity
     CROSS JOIN LATERAL (SELECT CASE p.kind WHEN 'payment' THEN 'allocation' ELSE 'under_payment' END AS source) k
     CROSS JOIN LATERAL (VALUES (CASE p.kind WHEN 'payment' THEN 'customer_credit' ELSE 'write_off' END, a.amount), ('receivable', - a.amount)) x (part, amount)
    UNION ALL
    SELECT d.entity, format('credit_allocation %s/%s/%s', a.credit_note_id, a.invoice_id, a.allocation_no),
           greatest((a.allocated_at AT TIME ZONE e.time_zone)::date, d.posted_on, n.posted_on), 'credit_allocation'::text, a.account_id, a.invoice_id, NULL::bigint,
           x.part, 'credit_allocation'::text, NULL::text, NULL::int, d.currency, x.amount
      FROM billing.credit_allocation a
      JOIN document n ON n.account_id = a.account_id AND n.id = a.credit_note_id
      JOIN document d ON d.account_id = a.account_id AND d.id = a.invoice_id
      JOIN billing.entity e ON e.code = d.entity
     CROSS JOIN LATERAL (VALUES ('customer_credit', a.amount), ('receivable', - a.amount)) x (part, amount)
    UNION ALL
    SELECT e.code, format('%s %s', r.kind, r.id), (r.refunded_at AT TIME ZONE e.time_zone)::date, r.kind, r.account_id, r.credit_note_id, r.payment_id, x.part,
           r.kind, CASE x.part WHEN 'cash' THEN p.method END, NULL::int, r.currency, x.amount
      FROM billing.refund r
      LEFT JOIN billing.payment p ON p.account_id = r.account_id AND p.id = r.payment_id
      JOIN billing.account c ON c.account_id = r.account_id
      JOIN billing.entity e ON e.code = c.entity
     CROSS JOIN LATERAL (VALUES ('customer_credit', r.amount), ('fee', r.fee), ('cash', - r.amount - r.fee)) x (part, amount)
    UNION ALL
    SELECT d.entity, format('%s %s/%s', k.source, w.invoice_id, w.write_off_no), greatest((w.written_off_at AT TIME ZONE e.time_zone)::date, d.posted_on), k.source,
           w.account_id, w.invoice_id, NULL::bigint, x.part, CASE x.part WHEN 'tax' THEN 'write_off' ELSE k.source END, x.detail, NULL::int, w.currency, x.amount
      FROM billing.write_off w
      JOIN document d ON d.account_id = w.account_id AND d.id = w.invoice_id
      JOIN billing.entity e ON e.code = d.entity
     CROSS JOIN LATERAL (SELECT CASE WHEN w.amount > 0 THEN 'write_off' ELSE 'recovery' END AS source) k
     -- The tax share of all that is given up until then, less that of before; so what comes in after all brings back just that.
     CROSS JOIN LATERAL (
           SELECT array_agg(t.category) AS categories, array_agg(round(g.until_then * t.tax_amount / d.payable, scale(w.amount))
                  - round((g.until_then - w.amount) * t.tax_amount / d.payable, scale(w.amount))) AS shares
             FROM billing.invoice_tax t,
                  (SELECT sum(v.amount) AS until_then FROM billing.write_off v
                    WHERE v.account_id = w.account_id AND v.invoice_id = w.invoice_id AND v.write_off_no <= w.write_off_no) g
            WHERE t.account_id = w.account_id AND t.invoice_id = w.invoice_id
              AND EXISTS (SELECT FROM billing.posting_rule r WHERE r.source = 'write_off' AND r.part = 'tax' AND r.entity IN ('', d.entity))) t
     CROSS JOIN LATERAL (
           SELECT 'receivable'::text AS part, NULL::text AS detail, - w.amount AS amount
            UNION ALL SELECT 'tax'::text, u.category, u.share FROM unnest(t.categories, t.shares) u (category, share)
            UNION ALL SELECT 'write_off'::text, NULL::text, w.amount - coalesce((SELECT sum(u.share) FROM unnest(t.shares) u (share)), 0)) x)
SELECT p.entity, p.entry, p.posted_on, p.source, p.account_id, p.invoice_id, p.payment_id, p.part, p.line_no, coalesce(xe.ledger_account, e.ledger_account, x.ledger_account, r.ledger_account), p.currency,
       CASE WHEN p.amount > 0 THEN p.amount ELSE p.amount - p.amount END, CASE WHEN p.amount < 0 THEN - p.amount ELSE p.amount - p.amount END
  FROM posting p
  LEFT JOIN billing.posting_rule r ON r.source = p.rule AND r.part = p.part AND r.detail = '' AND r.entity = ''
  LEFT JOIN billing.posting_rule x ON x.source = p.rule AND x.part = p.part AND x.detail = p.detail AND x.entity = ''
  LEFT JOIN billing.posting_rule e ON e.source = p.rule AND e.part = p.part AND e.detail = '' AND e.entity = p.entity
  LEFT JOIN billing.posting_rule xe ON xe.source = p.rule AND xe.part = p.part AND xe.detail = p.detail AND xe.entity = p.entity
 WHERE p.amount <> 0;

CREATE OR REPLACE VIEW billing.open_item ( -- what customers owe now, by document
    account_id, -- account
    name, -- name of the account
    entity, -- seller
    invoice_id, -- document
    number, -- number
    kind, -- invoice or claim
    external, -- it was made outside and entered
    issued_on, -- date of issue
    due_on, -- last day for payment
    days_overdue, -- days since then in the seller's zone; negative: still to come
    currency, -- currency of the amounts
    total, -- what was to be paid
    amount_paid, -- money allocated
    amount_credited, -- credit allocated
    amount_due, -- what is still to be paid
    claims_invoice_id -- claim: the invoice for whose delay it is made
) AS
SELECT i.account_id, a.name, i.entity, i.id, i.number, i.kind, i.external, i.issued_on, i.due_on, (now() AT TIME ZONE e.time_zone)::date - i.due_on,
       i.currency, i.total + i.rounding_amount, i.amount_paid, i.amount_credited, i.amount_due, i.claims_invoice_id
  FROM billing.invoice i
  JOIN billing.account a ON a.account_id = i.account_id
  JOIN billing.entity e ON e.code = i.entity
 WHERE i.status = 'open' AND i.kind <> 'credit_note';

CREATE OR REPLACE VIEW billing.customer_credit ( -- what customers have left of payments and credit notes
    account_id, -- account
    name, -- name of the account
    entity, -- seller
    payment_id, -- payment that is not used up
    credit_note_id, -- or credit note
    since, -- when it was received, or issued, in the seller's zone
    currency, -- currency of the amount
    amount -- what is left
) AS
SELECT p.account_id, a.name, a.entity, p.id, NULL::bigint, (p.received_at AT TIME ZONE e.time_zone)::date, p.currency,
       p.amount - p.amount_allocated - p.amount_refunded - p.amount_charged_back
  FROM billing.payment p
  JOIN billing.account a ON a.account_id = p.account_id
  JOIN billing.entity e ON e.code = a.entity
 WHERE p.kind = 'payment' AND p.amount_allocated + p.amount_refunded + p.amount_charged_back < p.amount
UNION ALL
SELECT i.account_id, a.name, i.entity, NULL, i.id, i.issued_on, i.currency, - i.amount_due
  FROM billing.invoice i JOIN billing.account a ON a.account_id = i.account_id
 WHERE i.kind = 'credit_note' AND i.status = 'open';

-- A product with 0 gives sums of nothing the decimals of their currency.
CREATE OR REPLACE VIEW billing.receivable_aging ( -- what customers owe now, by days overdue
    account_id, -- account
    name, -- name of the account
    entity, -- seller
    currency, -- currency of the amounts
    invoices, -- number of documents
    not_due, -- not overdue
    days_1_to_30, -- overdue for 1 to 30 days
    days_31_to_60, -- for 31 to 60 days
    days_61_to_90, -- for 61 to 90 days
    days_over_90, -- for more
    amount_due -- all of it
) AS
SELECT o.account_id, o.name, o.entity, o.currency, count(*),
       coalesce(sum(o.amount_due) FILTER (WHERE o.days_overdue <= 0), 0 * sum(o.amount_due)), coalesce(sum(o.amount_due) FILTER (WHERE o.days_overdue BETWEEN 1 AND 30), 0 * sum(o.amount_due)),
       coalesce(sum(o.amount_due) FILTER (WHERE o.days_overdue BETWEEN 31 AND 60), 0 * sum(o.amount_due)), coalesce(sum(o.amount_due) FILTER (WHERE o.days_overdue BETWEEN 61 AND 90), 0 * sum(o.amount_due)),
       coalesce(sum(o.amount_due) FILTER (WHERE o.days_overdue > 90), 0 * sum(o.amount_due)), sum(o.amount_due)
  FROM billing.open_item o
 GROUP BY 1, 2, 3, 4;

CREATE OR REPLACE VIEW billing.collection_outcome ( -- what became of collections, by month in which they were asked for
    entity, -- seller
    month, -- first day of the month in the seller's zone
    type, -- type of the payment method
    provider, -- payment provider of the method
    currency, -- currency of the amounts
    requested, -- number of collections
    under_way, -- of them waiting, claimed or submitted
    succeeded, -- of them succeeded
    succeeded_at_first, -- of them at the first attempt
    failed, -- of them failed for good
    canceled, -- of them canceled
    attempts, -- number of attempts
    declined, -- of them declined
    requested_amount, -- sum of the collections
    collected_amount, -- sum of the payments that came of them
    reversed_amount -- of that, refunded or charged back since
) AS
SELECT h.entity, date_trunc('month', c.requested_at AT TIME ZONE e.time_zone)::date, m.type, m.provider, c.currency, count(*),
       count(*) FILTER (WHERE c.status IN ('waiting', 'claimed', 'submitted')), count(*) FILTER (WHERE c.status = 'succeeded'),
       count(*) FILTER (WHERE c.status = 'succeeded' AND c.attempts = 1), count(*) FILTER (WHERE c.status = 'failed'), count(*) FILTER (WHERE c.status = 'canceled'),
       sum(c.attempts), sum(t.declined)::bigint, sum(c.amount), coalesce(sum(p.amount), 0) + 0 * sum(c.amount), coalesce(sum(p.amount_refunded + p.amount_charged_back), 0) + 0 * sum(c.amount)
  FROM billing.collection c
  JOIN billing.invoice_header h ON h.account_id = c.account_id AND h.id = c.invoice_id
  JOIN billing.entity e ON e.code = h.entity
  JOIN billing.payment_method m ON m.account_id = c.account_id AND m.id = c.payment_method_id
  LEFT JOIN billing.payment p ON p.account_id = c.account_id AND p.id = c.payment_id
 CROSS JOIN LATERAL (SELECT count(*) AS declined FROM billing.collection_attempt t
                      WHERE t.account_id = c.account_id AND t.collection_id = c.id AND t.outcome = 'declined') t
 GROUP BY 1, 2, 3, 4, 5;

CREATE OR REPLACE VIEW billing.dunning_funnel ( -- how far cases went, and what came in after each step
    entity, -- seller
    scheme, -- scheme
    version, -- version of the scheme
    step_no, -- step
    currency, -- currency of the amounts
    cases, -- cases in which it was done
    steps, -- times that it was done, in all rounds
    last, -- cases that got no further
    succeeded, -- of them paid or credited
    at_agency, -- of them at the agency
    pursued_amount, -- sum of what was open when it was done
    recovered_amount -- what was paid of it until the next step, or since; less what was taken back then
) AS
SELECT a.entity, c.scheme, c.version, x.step_no, x.currency, count(DISTINCT x.case_id), count(*),
       count(*) FILTER (WHERE x.next_at IS NULL), count(*) FILTER (WHERE x.next_at IS NULL AND c.state = 'succeeded'), count(*) FILTER (WHERE x.next_at IS NULL AND c.state = 'at_agency'),
       sum(x.amount_due), coalesce(sum(r.amount), 0) + 0 * sum(x.amount_due)
  FROM (SELECT d.*, lead(d.done_at) OVER (PARTITION BY d.account_id, d.case_id ORDER BY d.round, d.step_no) AS next_at
          FROM billing.dunning_action d WHERE d.done <> '{}') x
  JOIN billing.dunning_case c ON c.account_id = x.account_id AND c.id = x.case_id
  JOIN billing.account a ON a.account_id = x.account_id
 CROSS JOIN LATERAL (
       SELECT sum(l.amount) AS amount FROM billing.payment_allocation l
         JOIN billing.payment p ON p.account_id = l.account_id AND p.id = l.payment_id AND p.kind = 'payment'
        WHERE l.account_id = x.account_id AND l.allocated_at >= x.done_at AND (x.next_at IS NULL OR l.allocated_at < x.next_at)
          AND CASE WHEN c.invoice_id IS NOT NULL THEN l.invoice_id = c.invoice_id
                   ELSE NOT EXISTS (SELECT FROM billing.dunning_case o WHERE o.account_id = l.account_id AND o.invoice_id = l.invoice_id) END) r
 GROUP BY 1, 2, 3, 4, 5;

CREATE OR REPLACE VIEW billing.promise_status ( -- promises to pay and what came in for them
    account_id, -- account
    name, -- name of the account
    entity, -- seller
    promise_id, -- promise
    case_id, -- case that waits for it
    invoice_id, -- invoice; null: all that the account owes
    number, -- number of the invoice
    state, -- open, kept, broken or canceled
    made_at, -- when it was made
    promised_on, -- last day, in the debtor's zone
    ended_at, -- when it was kept, broken or canceled
    currency, -- currency of the amounts
    amount, -- promised amount
    received_amount, -- paid since it was made, until it ended
    note -- who promised, and what else was said
) AS
SELECT p.account_id, a.name, a.entity, p.id, p.case_id, c.invoice_id, i.number, p.state, p.made_at, p.promised_on, p.ended_at, p.currency, p.amount, coalesce(r.amount, 0) + 0 * p.amount, p.note
  FROM billing.promise p
  JOIN billing.account a ON a.account_id = p.account_id
  JOIN billing.dunning_case c ON c.account_id = p.account_id AND c.id = p.case_id
  LEFT JOIN billing.invoice i ON i.account_id = c.account_id AND i.id = c.invoice_id
 CROSS JOIN LATERAL (
       SELECT sum(l.amount) AS amount FROM billing.payment_allocation l
         JOIN billing.payment y ON y.account_id = l.account_id AND y.id = l.payment_id AND y.kind = 'payment'
        WHERE l.account_id = p.account_id AND l.allocated_at >= p.made_at AND (p.ended_at IS NULL OR l.allocated_at <= p.ended_at)
          AND CASE WHEN c.invoice_id IS NOT NULL THEN l.invoice_id = c.invoice_id
                   ELSE NOT EXISTS (SELECT FROM billing.dunning_case o WHERE o.account_id = l.account_id AND o.invoice_id = l.invoice_id) END) r;

CREATE OR REPLACE VIEW billing.at_agency ( -- what agencies have in hand
    account_id, -- account
    name, -- name of the account
    entity, -- seller
    transfer_id, -- hand-over
    case_id, -- case
    invoice_id, -- invoice; null: all that the account owes
    number, -- number of the invoice
    agency, -- agency
    state, -- pending, transferred, accepted, pending_recall or recall_failed
    created_at, -- when it was handed over
    changed_at, -- last report
    reference, -- the agency's file
    currency, -- currency of the amounts
    amount, -- amount handed over
    recovered_amount, -- what the agency reported as paid
    amount_due -- what is open of the invoice now
) AS
SELECT t.account_id, a.name, a.entity, t.id, t.case_id, c.invoice_id, i.number, t.agency, t.state, t.created_at, t.changed_at, t.reference,
       t.currency, t.amount, t.amount_recovered + 0 * t.amount, i.amount_due
  FROM billing.agency_transfer t
  JOIN billing.account a ON a.account_id = t.account_id
  JOIN billing.dunning_case c ON c.account_id = t.account_id AND c.id = t.case_id
  LEFT JOIN billing.invoice i ON i.account_id = c.account_id AND i.id = c.invoice_id
 WHERE t.state IN ('pending', 'transferred', 'accepted', 'pending_recall', 'recall_failed');

CREATE OR REPLACE VIEW billing.next_dunning_step ( -- what comes next in cases that run or wait; dunning_forecast() tells what opens, too
    account_id, -- account
    name, -- name of the account
    entity, -- seller
    case_id, -- case
    invoice_id, -- invoice; null: all that the account owes
    number, -- number of the invoice
    scheme, -- scheme
    version, -- version of the scheme
    round, -- round
    state, -- not_started, running or paused
    pause_reason, -- paused: why
    next_step_at, -- when a run looks at it next; paused: not before the pause ends
    step_no, -- step that comes next
    actions, -- what it does
    channels, -- channels of its reminder
    currency, -- currency of the amount
    amount_due -- what is open of the invoice now
) AS
SELECT c.account_id, a.name, a.entity, c.id, c.invoice_id, i.number, c.scheme, c.version, c.round, c.state, c.pause_reason,
       greatest(c.next_step_at, c.paused_until), s.step_no, s.actions, s.channels, a.currency, i.amount_due
  FROM billing.dunning_case c
  JOIN billing.account a ON a.account_id = c.account_id
  LEFT JOIN billing.invoice i ON i.account_id = c.account_id AND i.id = c.invoice_id
  LEFT JOIN LATERAL (SELECT d.* FROM billing.dunning_step d
                      WHERE d.scheme = c.scheme AND d.version = c.version AND d.step_no > c.step_no
                        AND NOT (d.after < '0' AND (c.round > 1 OR (c.next_step_at AT TIME ZONE a.time_zone)::date > c.base_on))
                      ORDER BY d.step_no LIMIT 1) s ON true
 WHERE c.state IN ('not_started', 'running', 'paused');
