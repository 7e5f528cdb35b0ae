#!/bin/sh
# Benchmark: does billing an account cost more after ten years than in its first months?  Both in the same
# books and in turn; as they are, and edited in the month before.
#
# environment: PGHOST PGPORT PGUSER PGDATABASE; BENCH_ACCOUNTS BENCH_PASSES
set -eu

here=$(cd "$(dirname "$0")/history" && pwd)
accounts=$((${BENCH_ACCOUNTS:-200000} / 50))
passes=${BENCH_PASSES:-5}

run_sql() {
	file=$1
	shift
	psql -X -q "$@" -f "$here/$file.sql"
}

echo
echo "history, $accounts accounts of 2 items each"
run_sql load -v accounts="$accounts"
pass=1
while [ "$pass" -le "$passes" ]; do
	order='old young'
	[ $((pass % 2)) = 1 ] || order='young old'
	for what in plain edited; do
		for entity in $order; do
			run_sql time -v pass="$pass" -v what="$what" -v entity="$entity"
		done
	done
	pass=$((pass + 1))
done
run_sql report
