-- The books in double entry: every document, payment and correction posts as much on the left as on the right.

\pset footer off
\pset linestyle unicode
\qecho 'Trial balance at the end of March: billing.journal'
\qecho
SELECT coalesce(j.ledger_account, '') AS "Account", CASE WHEN j.ledger_account IS NULL THEN 'Sum' ELSE max(l.name) END AS "Name", sum(j.debit) AS "Debit", sum(j.credit) AS "Credit",
       sum(j.debit - j.credit) AS "Balance"
  FROM billing.journal j JOIN billing.ledger_account l ON l.code = j.ledger_account
 WHERE j.posted_on <= '2026-03-31'
 GROUP BY ROLLUP (j.ledger_account) ORDER BY j.ledger_account NULLS LAST;
SELECT CASE WHEN count(*) = 0 THEN 'billing.check(deep => true) finds nothing wrong.' ELSE count(*) || ' findings!' END AS check
  FROM billing.check(deep => true) \gset
\qecho :check
\qecho
