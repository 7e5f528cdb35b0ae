#!/bin/sh
# The benchmarks, one after the other, in an empty database whose server writes to the disk at every
# commit. `make bench` calls this; see README.md.
#
# environment: PGHOST PGPORT PGUSER PGDATABASE; BENCH_ACCOUNTS (200000), BENCH_PASSES (3), BENCH_ROWS (2000000)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
psql -X -v rows="${BENCH_ROWS:-2000000}" -f "$here/charge.sql"
sh "$here/bill_run.sh"
sh "$here/history.sh"
sh "$here/parallel.sh"
sh "$here/receivables.sh"
