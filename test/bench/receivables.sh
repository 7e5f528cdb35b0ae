#!/bin/sh
# Benchmark: what receivables do in bulk against the plain writes of the same rows in the same tables; reading the
# journal and the aging of receivables.  All ratios come from this one run.
#
# environment: PGHOST PGPORT PGUSER PGDATABASE; BENCH_ACCOUNTS BENCH_PASSES
set -eu

here=$(cd "$(dirname "$0")/receivables" && pwd)
accounts=$((${BENCH_ACCOUNTS:-200000} / 4))
passes=${BENCH_PASSES:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

run_sql() {
	file=$1
	shift
	psql -X -q "$@" -f "$here/$file.sql"
}

# measure WHAT CALL before_|after_: the books that the next one finds
measure() {
	run_sql measure -v passes="$passes" -v what="$1" -v call="$2" -v left_as="$3" -v script_file="$work/measure.sql"
}

echo
echo "receivables, $accounts accounts with an open invoice each"
run_sql load -v accounts="$accounts"
run_sql harness
measure 'invoices made outside' "CALL bench.call_in_batches('bench.invoice')" before_
measure 'collection requests' "CALL billing.collection_run(at => '2026-01-16 12:00+01')" before_
measure 'payments' "CALL bench.call_in_batches('bench.pay')" before_
measure 'cases open, event' "CALL billing.dunning_run(at => '2026-01-17 12:00+01')" after_
measure 'step: event' "CALL billing.dunning_run(at => '2026-01-20 12:00+01')" after_
measure 'step: message' "CALL billing.dunning_run(at => '2026-01-26 12:00+01')" after_
measure 'step: passed over' "CALL billing.dunning_run(at => '2026-01-30 12:00+01')" after_
measure 'step: suspend' "CALL billing.dunning_run(at => '2026-02-05 12:00+01')" after_
measure 'payments of reminded' "CALL bench.call_in_batches('bench.pay')" after_
run_sql report
