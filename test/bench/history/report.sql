-- The passes; a ratio counts only if every account was billed.
\set ON_ERROR_STOP on
\set QUIET on
SELECT 1 / (count(*) = 0)::int FROM billing.account_state WHERE next_due <= (SELECT min(billed_through) FROM billing.account_state) \g /dev/null
\pset footer off
\pset title 'billing an account after ten years and in its first months: microseconds an account'
CREATE TEMP VIEW pair AS
SELECT o.what, o.pass, o.seconds * 1e6 / n.accounts AS old_us, y.seconds * 1e6 / n.accounts AS young_us,
       o.cpu * 1e6 / n.accounts AS old_cpu_us, y.cpu * 1e6 / n.accounts AS young_cpu_us
  FROM bench.history o JOIN bench.history y USING (what, pass), (SELECT count(*) / 2 AS accounts FROM billing.account) n
 WHERE o.entity = 'old' AND y.entity = 'young';
SELECT what, pass, round(old_us) AS old_us, round(young_us) AS young_us, round(old_us / young_us, 2) AS ratio,
       round(old_cpu_us) AS old_cpu_us, round(young_cpu_us) AS young_cpu_us, round(old_cpu_us / young_cpu_us, 2) AS cpu_ratio FROM pair ORDER BY 1 DESC, 2;
\pset title
\pset tuples_only on
SELECT format('%s accounts: median ratio %s (aim 1.3), of processor time %s', what,
              round(percentile_cont(0.5) WITHIN GROUP (ORDER BY old_us / young_us)::numeric, 2),
              round(percentile_cont(0.5) WITHIN GROUP (ORDER BY old_cpu_us / young_cpu_us)::numeric, 2))
  FROM pair GROUP BY what ORDER BY what DESC;
