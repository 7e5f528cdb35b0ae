-- Net revenue by plan and month of issue: one of the views for people, months turned into columns.

\pset footer off
\pset linestyle unicode
\qecho 'Net revenue in EUR by plan and month of issue'
\qecho
SELECT coalesce(p.name, 'Total') AS "Plan",
       sum(net_amount) FILTER (WHERE month = '2026-01-01') AS "January",
       sum(net_amount) FILTER (WHERE month = '2026-02-01') AS "February",
       sum(net_amount) FILTER (WHERE month = '2026-03-01') AS "March",
       sum(net_amount) AS "Quarter"
  FROM billing.revenue_by_month r JOIN billing.plan p ON p.code = r.plan
 GROUP BY ROLLUP (p.name) ORDER BY p.name NULLS LAST;
