-- The passes, and the rows of both sides compared: other rows, and the ratio counts for nothing.
\set ON_ERROR_STOP on
\set QUIET on
SELECT (SELECT count(*) FROM (SELECT account_id, id, total FROM billing.invoice_header EXCEPT SELECT account_id, id, total FROM raw.invoice_header) d)
     + (SELECT count(*) FROM (SELECT account_id, invoice_id, line_no, amount FROM billing.invoice_line EXCEPT SELECT account_id, invoice_id, line_no, amount FROM raw.invoice_line) d)
     + (SELECT count(*) FROM (SELECT account_id, invoice_id, tax_amount FROM billing.invoice_tax EXCEPT SELECT account_id, invoice_id, tax_amount FROM raw.invoice_tax) d)
     + (SELECT count(*) FROM (SELECT account_id, item_id, amount FROM billing.charge EXCEPT SELECT account_id, item_id, amount FROM raw.charge) d)
     + (SELECT count(*) FROM (SELECT account_id, number, payload_hash FROM billing.seal EXCEPT SELECT account_id, number, payload_hash FROM raw.seal) d)
     + (SELECT count(*) FROM (SELECT account_id, event_no, type, invoice_id, payload FROM billing.event EXCEPT SELECT account_id, event_no, type, invoice_id, payload FROM raw.event) d)
     + (SELECT count(*) FROM (TABLE billing.account_state EXCEPT TABLE raw.account_state) d) = 0 AS same \gset
\if :same
\else
    \warn 'the run and the raw insert did not write the same rows'
    SELECT 1 / 0;
\endif

\pset footer off
\pset title 'bill run and raw insert: seconds, microseconds an account, and of processor time'
CREATE TEMP VIEW pair AS
SELECT pass, run.seconds AS run, raw.seconds AS raw, run.cpu AS run_cpu, raw.cpu AS raw_cpu, n.accounts
  FROM bench.result run JOIN bench.result raw USING (pass), (SELECT count(*) AS accounts FROM billing.account) n
 WHERE run.what = 'run' AND raw.what = 'raw';
SELECT pass, round(run, 2) AS run, round(raw, 2) AS raw, round(run * 1e6 / accounts, 1) AS run_us, round(raw * 1e6 / accounts, 1) AS raw_us,
       round(run / raw, 2) AS ratio, round(run_cpu * 1e6 / accounts, 1) AS run_cpu_us, round(raw_cpu * 1e6 / accounts, 1) AS raw_cpu_us,
       round(run_cpu / raw_cpu, 2) AS cpu_ratio
  FROM pair ORDER BY pass;
\pset title
\pset tuples_only on
SELECT format('bill run ratio: median %s (aim 1.5), of processor time %s',
              round(percentile_cont(0.5) WITHIN GROUP (ORDER BY run / raw)::numeric, 2),
              round(percentile_cont(0.5) WITHIN GROUP (ORDER BY run_cpu / raw_cpu)::numeric, 2)) FROM pair;

SELECT format('with events against without: %s, of processor time %s',
              round(percentile_cont(0.5) WITHIN GROUP (ORDER BY run.seconds / quiet.seconds)::numeric, 2),
              round(percentile_cont(0.5) WITHIN GROUP (ORDER BY run.cpu / quiet.cpu)::numeric, 2))
  FROM bench.result run JOIN bench.result quiet USING (pass) WHERE run.what = 'run' AND quiet.what = 'quiet';

-- SHA-256 by the same code of the server, over as many bytes as a document's canonical form has, and
-- over those of a seal.
SELECT round(avg(h.bytes + l.bytes + t.bytes + 19)) AS form
  FROM (SELECT account_id, sum(length(key) + length(value) + 2) AS bytes FROM billing.invoice_header h, jsonb_each_text(to_jsonb(h)) WHERE account_id <= 100 GROUP BY 1) h
  JOIN (SELECT account_id, sum(length(key) + length(value) + 2) AS bytes FROM billing.invoice_line l, jsonb_each_text(to_jsonb(l)) WHERE account_id <= 100 GROUP BY 1) l USING (account_id)
  JOIN (SELECT account_id, sum(length(key) + length(value) + 2) AS bytes FROM billing.invoice_tax t, jsonb_each_text(to_jsonb(t)) WHERE account_id <= 100 GROUP BY 1) t USING (account_id) \gset
SET max_parallel_workers_per_gather = 0;
SET jit = off;
SELECT clock_timestamp() AS started \gset
SELECT count(sha256(form)) + count(sha256(seal)) AS hashes
  FROM (SELECT convert_to(repeat('x', :form), 'UTF8'), convert_to(repeat('x', 110), 'UTF8') OFFSET 0) b (form, seal), generate_series(1, 200000) \gset
SELECT format('of that hashing: %s us an account (a form of %s bytes, and the chain''s link)',
              round(extract(epoch FROM clock_timestamp() - :'started') * 1e6 / 200000, 1), :form);
