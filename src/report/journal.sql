-- The journal's chart of accounts and rules, as new books have them; and the proof that the journal tells the same as
-- the documents.

CREATE FUNCTION billing_internal.ledger_accounts(OUT code text, OUT name text, OUT type text)
    RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('1000', 'Cash and bank', 'asset'),
           ('1200', 'Receivables', 'asset'),
           ('2000', 'Customer credit', 'liability'),
           ('2200', 'Tax on sales', 'liability'),
           ('4000', 'Revenue', 'revenue'),
           ('4100', 'Revenue invoiced outside', 'revenue'),
           ('4200', 'Interest, fees and costs charged', 'revenue'),
           ('4900', 'Rounding differences', 'revenue'),
           ('6000', 'Bad debts', 'expense'),
           ('6100', 'Under-payments', 'expense'),
           ('6200', 'Fees for chargebacks', 'expense')
$$;
COMMENT ON FUNCTION billing_internal.ledger_accounts() IS 'chart of accounts of new books; rows of billing.ledger_account may be added and changed';

CREATE FUNCTION billing_internal.posting_rules(OUT source text, OUT part text, OUT ledger_account text)
    RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('invoice', 'receivable', '1200'), ('invoice', 'revenue', '4000'), ('invoice', 'tax', '2200'), ('invoice', 'rounding', '4900'),
           ('external_invoice', 'receivable', '1200'), ('external_invoice', 'revenue', '4100'), ('external_invoice', 'tax', '2200'), ('external_invoice', 'rounding', '4900'),
           ('claim', 'receivable', '1200'), ('claim', 'revenue', '4200'), ('claim', 'tax', '2200'), ('claim', 'rounding', '4900'),
           -- what a credit note gives back is posted where the document that it corrects put it
           ('credit_note', 'customer_credit', '2000'),
           ('payment', 'cash', '1000'), ('payment', 'customer_credit', '2000'),
           ('allocation', 'customer_credit', '2000'), ('allocation', 'receivable', '1200'),
           ('credit_allocation', 'customer_credit', '2000'), ('credit_allocation', 'receivable', '1200'),
           ('under_payment', 'write_off', '6100'), ('under_payment', 'receivable', '1200'),
           ('refund', 'customer_credit', '2000'), ('refund', 'cash', '1000'),
           ('chargeback', 'customer_credit', '2000'), ('chargeback', 'cash', '1000'), ('chargeback', 'fee', '6200'),
           ('write_off', 'write_off', '6000'), ('write_off', 'receivable', '1200'),
           ('recovery', 'write_off', '6000'), ('recovery', 'receivable', '1200')
$$;
COMMENT ON FUNCTION billing_internal.posting_rules() IS 'posting rules of new books; rows of billing.posting_rule may be added and changed';

-- What customers owe and have left by the journal, and by documents and payments.
CREATE FUNCTION billing_internal.check_journal(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'unbalanced entry', 'journal', j.account_id, NULL::bigint, format('%s: %s on the left, %s on the right in %s', j.entry, sum(j.debit), sum(j.credit), j.currency)
      FROM billing.journal j GROUP BY j.account_id, j.entry, j.currency HAVING sum(j.debit) <> sum(j.credit)
    UNION ALL
    SELECT 'posting without ledger account', 'posting_rule', NULL, NULL, format('%s of %s, such as %s', j.part, j.source, min(j.entry))
      FROM billing.journal j WHERE j.ledger_account IS NULL GROUP BY j.source, j.part
    UNION ALL
    SELECT 'posting rule without seller', 'posting_rule', NULL, NULL, format('%s of %s for %s', r.part, r.source, r.entity)
      FROM billing.posting_rule r WHERE r.entity <> '' AND NOT EXISTS (SELECT FROM billing.entity e WHERE e.code = r.entity)
    UNION ALL
    SELECT 'journal differs', x.relation, x.account_id, NULL, format('%s %s by the journal, %s in all', sum(x.posted), x.currency, sum(x.open))
      FROM (SELECT CASE j.part WHEN 'receivable' THEN 'open_item' ELSE 'customer_credit' END AS relation, j.account_id, j.currency,
                   CASE j.part WHEN 'receivable' THEN j.debit - j.credit ELSE j.credit - j.debit END AS posted, 0 AS open
              FROM billing.journal j WHERE j.part IN ('receivable', 'customer_credit')
            UNION ALL SELECT 'open_item', o.account_id, o.currency, 0, o.amount_due FROM billing.open_item o
            UNION ALL SELECT 'customer_credit', c.account_id, c.currency, 0, c.amount FROM billing.customer_credit c) x
     GROUP BY x.relation, x.account_id, x.currency HAVING sum(x.posted) <> sum(x.open)
$$;
COMMENT ON FUNCTION billing_internal.check_journal() IS 'part of check(): the journal balances and agrees with open items and customer credit';
