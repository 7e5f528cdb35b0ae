-- What became of the invoices: how old the open ones are, and what reminding brought in.

\pset footer off
\pset linestyle unicode
\qecho 'What customers owe at the end of March, by days since it was due: billing.receivable_aging_on()'
\qecho
SELECT CASE WHEN from_days IS NULL THEN 'not due' WHEN until_days IS NULL THEN 'more' ELSE format('%s to %s', from_days, until_days) END AS "Days",
       count(DISTINCT account_id) AS "Customers", sum(invoices) AS "Documents", sum(amount) AS "EUR"
  FROM billing.receivable_aging_on('2026-03-31') GROUP BY from_days, until_days ORDER BY from_days NULLS FIRST;

\qecho 'Collections by way of payment: billing.collection_outcome'
\qecho
SELECT type AS "Way", sum(requested) AS "Asked for", sum(succeeded) AS "Came in", sum(succeeded_at_first) AS "At once", sum(failed) AS "Failed",
       sum(attempts) AS "Attempts", sum(collected_amount) AS "EUR", sum(reversed_amount) AS "Taken back"
  FROM billing.collection_outcome GROUP BY type ORDER BY type;

\qecho 'Reminding, step by step: billing.dunning_funnel'
\qecho
SELECT f.step_no AS "Step", array_to_string(s.actions, ', ') AS "Does", f.cases AS "Cases", f.pursued_amount AS "Open, EUR", f.recovered_amount AS "Then paid",
       round(100 * f.recovered_amount / f.pursued_amount) AS "%", f.succeeded AS "Over", f.at_agency AS "At agency"
  FROM billing.dunning_funnel f JOIN billing.dunning_step s ON s.scheme = f.scheme AND s.version = f.version AND s.step_no = f.step_no
 ORDER BY f.step_no;
