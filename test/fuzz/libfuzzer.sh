#!/bin/sh
# Fuzzes the extension's pure C with libFuzzer inside single-user servers of their own: every target
# at once, each on one processor, for FUZZ_SECONDS in all.  Needs clang with its run-time libraries.
#
# usage: libfuzzer.sh    environment: PG_CONFIG WORK; FUZZ_SECONDS of processor time, default 60;
#        FUZZ_SEED, default 1, so that a failure comes again, 0 for another each time; FUZZ_OPTIONS for libFuzzer
set -eu

. test/bin/tap.sh

targets='scheme timeline'
seconds=$((${FUZZ_SECONDS:-60} / $(echo $targets | wc -w)))
work=$WORK/fuzz
fuzzed="src/lib/amount.c src/lib/calendar.c src/lib/zone.c src/pricing/charge.c src/pricing/explain.c src/pricing/fixed.c
	src/pricing/scheme.c src/pricing/scheme_json.c $(echo src/charge/*.c)"

has_fuzzer || skip_all 'clang with libFuzzer is missing (Debian: clang libclang-rt-dev)'
runtime=$(clang -print-runtime-dir)
asan=$runtime/libclang_rt.asan-$(uname -m).so

# usage: compile OBJECT SOURCE FLAG...
compile() {
	object=$1 source=$2
	shift 2
	clang -g -O1 -fPIC -std=gnu99 -fno-omit-frame-pointer -fno-strict-aliasing -Wno-ignored-attributes -D_GNU_SOURCE \
		-Isrc -I"$(config --includedir-server)" "$@" -c "$source" -o "$work/$object.o"
}

# All that is undefined, but NULL + 0, an empty list, which the newest C allows.
build() {
	mkdir -p "$work"
	for source in $fuzzed; do
		compile "$(echo "$source" | tr / _)" "$source" -include test/fuzz/alloc.h -fsanitize=fuzzer-no-link,address,undefined \
			-fno-sanitize-recover=undefined -fno-sanitize=pointer-overflow
	done
	for source in test/fuzz/*.c; do
		compile "$(echo "$source" | tr / _)" "$source"
	done
	clang -shared -fPIC -o "$work/preload.so" test/bin/preload.c
	clang -shared -shared-libasan -Wl,-Bsymbolic-functions -fsanitize=address,undefined -o "$work/fuzz.so" "$work"/*.o \
		"$runtime/libclang_rt.fuzzer_no_main-$(uname -m).a" -lstdc++ -lpthread -lm
}

# The statements of a single-user session; each ends with an empty line.
session() {
	cat test/pgtap/include/charge_reference.psql
	cat <<-SQL
		CREATE FUNCTION pg_temp.billing_fuzz(target text, options text, reference oid) RETURNS void LANGUAGE c AS '$work/fuzz.so';

		SELECT pg_temp.billing_fuzz('$1', '-seed=${FUZZ_SEED:-1} -max_total_time=$seconds -max_len=1000 -timeout=60 -rss_limit_mb=2000 -print_final_stats=1
			-artifact_prefix=$work/$1- ${FUZZ_OPTIONS:-} $work/corpus/$1 $PWD/test/fuzz/seeds/$1',
			'pg_temp.reference(jsonb, numeric)'::regprocedure);

	SQL
}

# usage: fuzz TARGET; true where the fuzzer came to its end
fuzz() {
	mkdir -p "$work/corpus/$1"
	initdb --pgdata="$work/$1.data" --username=postgres --auth=trust --encoding=UTF8 --no-locale --no-sync >"$work/$1.initdb" 2>&1
	session "$1" | LD_PRELOAD="$asan $work/preload.so" ASAN_OPTIONS=detect_leaks=0 \
		timeout $((seconds + 60)) postgres --single -j -D "$work/$1.data" postgres >"$work/$1.log" 2>&1 &&
		grep -q '^stat::number_of_executed_units' "$work/$1.log"
}

if ! build >"$work.log" 2>&1; then
	cat "$work.log"
	not_ok 'the fuzzer is built'
	finish
	exit 1
fi
for target in $targets; do
	fuzz "$target" &
	eval "process_$target=\$!"
done
for target in $targets; do
	eval "wait_for=\$process_$target"
	if wait "$wait_for"; then
		ok "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log") inputs"
	else
		tail -n 60 "$work/$target.log"
		not_ok "$target"
	fi
done
finish
