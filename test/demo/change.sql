-- One customer who took a faster line inside a month: what it would have cost was asked before; what is charged heals
-- itself with the next invoice.

SELECT s.account_id, s.id, c.id AS change_id, s.external_id FROM billing.subscription_change c
  JOIN billing.subscription s ON s.account_id = c.account_id AND s.id = c.subscription_id
 WHERE c.verb = 'change_plan' ORDER BY c.account_id LIMIT 1 \gset
\pset footer off
\pset linestyle unicode
\qecho
\qecho The subscription that took a faster line on 12 February, invoice by invoice
\qecho
SELECT i.number AS "Number", i.kind AS "Kind", l.description AS "Service", l.period_start::date AS "From", l.period_end::date AS "Until before", l.amount AS "EUR"
  FROM billing.invoice_line l JOIN billing.invoice i ON i.account_id = l.account_id AND i.id = l.invoice_id
 WHERE l.account_id = :account_id AND l.kind = 'recurring' AND l.amount <> 0 ORDER BY i.billed_at, i.id, l.line_no;
\qecho And what it would cost to go back on 1 April
\qecho
SELECT document AS "Document", kind AS "Kind", description AS "Service", period_start::date AS "From", period_end::date AS "Until before", amount AS "EUR"
  FROM billing.preview_change(:id, '{"verb":"change_plan","plan":"home-fibre","effective_at":"2026-04-01 00:00+02"}', at => '2026-05-01 00:00+02')
 WHERE amount <> 0;
