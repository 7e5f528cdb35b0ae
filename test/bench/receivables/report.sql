-- The medians of each; then what reading takes, on books with two invoices in three open.
\set QUIET on
\pset footer off
\pset title 'receivables: calls against the plain writes of the same rows, medians, microseconds an account'
SELECT r.what, max(r.pass) AS passes, round(max(r.rows)::numeric / max(n.accounts), 1) AS rows,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY r.seconds) FILTER (WHERE kind = 'run')::numeric * 1e6 / max(n.accounts), 1) AS run_us,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY r.seconds) FILTER (WHERE kind = 'plain')::numeric * 1e6 / max(n.accounts), 1) AS plain_us,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY r.seconds) FILTER (WHERE kind = 'run')
           / percentile_cont(0.5) WITHIN GROUP (ORDER BY r.seconds) FILTER (WHERE kind = 'plain'))::numeric, 2) AS ratio,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY r.cpu) FILTER (WHERE kind = 'run')
           / nullif(percentile_cont(0.5) WITHIN GROUP (ORDER BY r.cpu) FILTER (WHERE kind = 'plain'), 0))::numeric, 2) AS cpu_ratio
  FROM bench.result r, (SELECT count(*) AS accounts FROM billing.account) n GROUP BY r.what ORDER BY min(r.no);

-- Reading, against the plain sum of the same rows: each three times, the median.
CREATE TEMP TABLE reading (no int, what text, statement text);
INSERT INTO reading VALUES
    (1, 'sum of the headers, allocations and payments', 'SELECT (SELECT sum(total) FROM billing.invoice_header) + (SELECT sum(amount) FROM billing.payment_allocation) + (SELECT sum(amount) FROM billing.payment)'),
    (2, 'journal: sum of debits and credits', 'SELECT sum(debit), sum(credit) FROM billing.journal'),
    (3, 'sum of what is open in the headers', $$SELECT sum(total + rounding_amount - amount_paid - amount_credited) FROM billing.invoice_header WHERE status = 'open'$$),
    (4, 'receivable_aging', 'SELECT count(*), sum(amount_due) FROM billing.receivable_aging'),
    (5, 'receivable_aging_on', $$SELECT count(*), sum(amount) FROM billing.receivable_aging_on('2026-02-28')$$),
    (6, 'account_statement of one account', 'SELECT count(*) FROM billing.account_statement(1)');
CREATE TEMP TABLE read_result (no int, what text, ms numeric);
DO $$
DECLARE
    r record;
    started timestamptz;
BEGIN
    FOR r IN SELECT x.* FROM reading x, generate_series(1, 3) ORDER BY x.no LOOP
        started := clock_timestamp();
        EXECUTE r.statement;
        INSERT INTO read_result VALUES (r.no, r.what, 1000 * extract(epoch FROM clock_timestamp() - started));
    END LOOP;
END $$;
\pset title 'reading, milliseconds'
SELECT what, round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 1) AS ms FROM read_result GROUP BY no, what ORDER BY no;
