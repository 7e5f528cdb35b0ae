-- Times :call against the plain writes of its rows, :passes times in turn, in another order each; the books are left
-- as they were before it or after it, as :left_as says.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
CALL bench.save('before_');
:call;
CALL bench.save('after_');
SELECT bench.make_plain() AS rows \gset
SELECT format($q$
    CALL bench.restore('before_');
    VACUUM (FREEZE, ANALYZE);
    CHECKPOINT;
    SELECT clock_timestamp() AS started, bench.cpu() AS cpu \gset
    %s;
    INSERT INTO bench.result (what, pass, kind, seconds, cpu, rows) SELECT %L, %s, %L, extract(epoch FROM clock_timestamp() - :'started'), bench.cpu() - :cpu, :rows;$q$,
    CASE k.kind WHEN 'plain' THEN 'CALL bench.plain_all(1000)' ELSE :'call' END, :'what', p, k.kind) AS script
  FROM generate_series(1, :passes) p, unnest(CASE p % 2 WHEN 1 THEN '{run,plain}'::text[] ELSE '{plain,run}' END) WITH ORDINALITY k (kind, no) ORDER BY p, k.no
\g (format=unaligned tuples_only=on) :script_file
\i :script_file
CALL bench.restore(:'left_as');
VACUUM (FREEZE, ANALYZE);
