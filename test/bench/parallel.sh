#!/bin/sh
# Benchmark: a bill run with two processes on one number series, against one process, against two
# sessions that insert the same rows, and against two runs with a series each.  All ratios come from
# this one run.
#
# environment: PGHOST PGPORT PGUSER PGDATABASE; BENCH_ACCOUNTS BENCH_PASSES
set -eu

here=$(cd "$(dirname "$0")/bill_run" && pwd)
accounts=${BENCH_ACCOUNTS:-200000}
passes=${BENCH_PASSES:-3}
results=$(mktemp)
trap 'rm -f "$results"' EXIT
trap 'exit 130' INT TERM

at=2026-01-01T12:00+01

sql() {
	psql -X -q -v ON_ERROR_STOP=1 "$@"
}

# usage: both STATEMENT STATEMENT; at the same time
both() {
	sql -c "$1" &
	first=$!
	sql -c "$2"
	wait "$first"
}

work() {
	case $1 in
		one) sql -c "CALL billing.bill_run('$at')" ;;
		two) sql -c "CALL billing.bill_run('$at', workers => 2)" ;;
		series) both "CALL billing.bill_run('$at', entity => 'acme')" "CALL billing.bill_run('$at', entity => 'beta')" ;;
		raw_one) sql -c 'CALL bench.raw_run()' ;;
		raw_two) both 'CALL bench.raw_run(sessions => 2, session => 0)' 'CALL bench.raw_run(sessions => 2, session => 1)' ;;
	esac
}

# usage: median KIND; in milliseconds
median() {
	awk -v what="$1" '$1 == what { print $2 }' "$results" | sort -n |
		awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'
}

echo
echo "parallel bill run, $accounts accounts of 2 items, one number series; milliseconds"
sql -v accounts="$accounts" -f "$here/load.sql"
sql -o /dev/null -c "SELECT billing.create_entity('beta', name => 'Beta GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin')" \
	-c "INSERT INTO billing.tax_rate SELECT (r).* FROM (SELECT jsonb_populate_record(t, '{\"entity\": \"beta\"}') AS r FROM billing.tax_rate t) x"
sql -c "CALL billing.bill_run('$at')"
sql -f "$here/prepare.sql"

kinds='one two series raw_one raw_two'
pass=1
while [ "$pass" -le "$passes" ]; do
	line=
	for kind in $kinds; do
		sql -v what="$kind" -f "$here/parallel.sql"
		start=$(date +%s%N)
		work "$kind"
		took=$((($(date +%s%N) - start) / 1000000))
		echo "$kind $took" >>"$results"
		line="$line $kind $took"
		if [ "$kind" = two ]; then
			sql -At -c "SELECT CASE WHEN count(*) = $accounts AND max(position) = $accounts AND min(position) = 1 THEN '' ELSE 'numbers are not gapless' END FROM billing.seal" \
				-c "SELECT 'chain is broken: ' || problem FROM billing.verify_chain('acme-invoice')" |
				while read -r flaw; do [ -z "$flaw" ] || { echo "$flaw"; exit 1; }; done
		fi
	done
	echo "pass $pass:$line"
	# another order next time
	kinds="${kinds#* } ${kinds%% *}"
	pass=$((pass + 1))
done
echo "medians: speed-up by a second process $(ratio "$(median one)" "$(median two)"), of the raw inserts by a second session" \
	"$(ratio "$(median raw_one)" "$(median raw_two)")"
echo "two processes on one series against a series each: $(ratio "$(median two)" "$(median series)")"
