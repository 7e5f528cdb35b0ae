-- What the bill runs of each month did, from the log they leave.

\pset footer off
\pset linestyle unicode
\qecho
SELECT coalesce(to_char(date_trunc('month', r.at), 'FMMonth'), 'Total') AS "Month", count(*) AS "Runs", sum(r.done) AS "Accounts billed",
       sum(r.documents) AS "Documents", sum(r.errors) AS "Parked errors",
       round(sum(extract(epoch FROM r.finished_at - r.started_at)), 2) AS "Seconds"
  FROM billing.run r WHERE r.procedure = 'bill_run' GROUP BY ROLLUP (date_trunc('month', r.at)) ORDER BY date_trunc('month', r.at);
