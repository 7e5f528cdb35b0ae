-- A second reminder as it went out, to a customer who had a direct debit taken back if there is one.

SELECT n.recipient->>'email' AS email, n.subject, n.body, n.account_id FROM billing.notification n
 WHERE n.code = 'second' ORDER BY NOT EXISTS (SELECT FROM billing.refund r WHERE r.account_id = n.account_id), n.id LIMIT 1 \gset
\qecho 'A reminder as it went out: billing.claim_notifications()'
\qecho
SELECT repeat('─', 86);
\qecho To: :email
\qecho Subject: :subject
\qecho
\qecho :body
SELECT repeat('─', 86);
\qecho
\qecho 'The account of that customer: billing.account_statement()'
\qecho
\pset tuples_only off
\pset format aligned
\pset footer off
\pset linestyle unicode
SELECT coalesce(posted_on::text, '') AS "Date", replace(source, '_', ' ') AS "What", coalesce(number, '') AS "Number", amount AS "EUR", balance AS "Balance"
  FROM billing.account_statement(:account_id, until_on => '2026-03-31');
