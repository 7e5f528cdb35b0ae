#!/bin/sh
# Benchmark: a bill run with one worker against the raw insert of the rows that it writes, into empty
# copies of the tables; its memory; where its time goes; what the books do without for its sake.
# All ratios come from this one run.
#
# environment: PGHOST PGPORT PGUSER PGDATABASE; BENCH_ACCOUNTS BENCH_PASSES
set -eu

here=$(cd "$(dirname "$0")/bill_run" && pwd)
accounts=${BENCH_ACCOUNTS:-200000}
passes=${BENCH_PASSES:-3}
few=$((accounts / 20))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

run_sql() {
	file=$1
	shift
	psql -X -q "$@" -f "$here/$file.sql"
}

# Bills the loaded books and prints the most memory that its backend had to itself, sampled.
bill_and_watch() {
	rm -f "$work/pid"
	run_sql bill -v pid_file="$work/pid" &
	client=$!
	peak=0
	while kill -0 "$client" 2>/dev/null; do
		pid=$(cat "$work/pid" 2>/dev/null || true)
		now=$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' "/proc/${pid:-none}/status" 2>/dev/null || true)
		[ "${now:-0}" -le "$peak" ] || peak=$now
		sleep 0.05
	done
	wait "$client"
	[ "$peak" -gt 0 ] && echo "$((peak / 1024)) MB" || echo 'not seen'
}

echo
echo "bill run, $accounts accounts of 2 items"
run_sql load -v accounts="$few"
echo "backend's own memory at its peak, $few accounts: $(bill_and_watch)"
run_sql load -v accounts="$accounts"
echo "backend's own memory at its peak, $accounts accounts: $(bill_and_watch)"

run_sql prepare
pass=1
while [ "$pass" -le "$passes" ]; do
	# the rows of the run are compared with those of raw, so it comes after the quiet one
	order='quiet run raw'
	[ $((pass % 2)) = 1 ] || order='raw quiet run'
	for what in $order; do
		run_sql time -v pass="$pass" -v what="$what"
	done
	pass=$((pass + 1))
done
run_sql report

if run_sql statements >"$work/statements" 2>&1; then
	awk -f "$here/statements.awk" "$work/statements"
else
	echo 'statements: skipped, there is no auto_explain'
fi
run_sql costs -v script_file="$work/costs.sql"
