#!/bin/sh
# Runs the tests of all kinds against the throw-away server and sums them up.  The last line is
# "N passed, N failed"; the exit status is 0 only if none failed.
#
# usage: run-tests.sh test|test-long      environment: from inside.sh
set -eu

target=$1
. test/bin/tools.sh

kinds='static package fuzz regress isolation pgtap tap'
[ "$target" != test-long ] || kinds="$kinds sanitizer valgrind coverage"

jobs_at_once=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
passed=0
failed=0
broken=

wanted() {
	case " ${KINDS:-$kinds} " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# usage: files PATTERN...; those that exist and match ONLY
files() {
	for file in "$@"; do
		[ -f "$file" ] || continue
		case ${file##*/} in *"$ONLY"*) echo "$file" ;; esac
	done
}

names() {
	files "$@" | sed 's,.*/,,; s,\.[a-z]*$,,'
}

skip() {
	say "skipped: $1, since $2"
}

# usage: count KIND NAME PASSED FAILED
count() {
	passed=$((passed + $3))
	failed=$((failed + $4))
	[ "$4" = 0 ] || broken="$broken $1/$2"
}

# Reads one line "ok NAME" or "failed NAME" per test from the output of pg_regress, old and new style.
regress_results() {
	sed -n 's/^test \([^ ]*\) *\.\.\. ok.*/ok \1/p
		s/^test \([^ ]*\) *\.\.\. FAILED.*/failed \1/p
		s/^ok [0-9][0-9]* *[-+] \([^ ]*\).*/ok \1/p
		s/^not ok [0-9][0-9]* *[-+] \([^ ]*\).*/failed \1/p' "$1"
}

# usage: run_regress KIND DIFFS MAKE-VARIABLE...
run_regress() {
	kind=$1
	diffs=$2
	shift 2
	status=0
	"$MAKE" -s installcheck PG_CONFIG="$PG_CONFIG" "$@" >"$WORK/$kind.log" 2>&1 || status=$?
	regress_results "$WORK/$kind.log" >"$WORK/$kind.results"
	while read -r result name; do
		printf '%-10s %-40s %s\n' "$kind" "$name" "$result"
		case $result in
			ok) count "$kind" "$name" 1 0 ;;
			*) count "$kind" "$name" 0 1 ;;
		esac
	done <"$WORK/$kind.results"
	if [ "$status" != 0 ]; then
		if [ -f "$diffs" ]; then
			cat "$diffs"
		else
			cat "$WORK/$kind.log"
		fi
		grep -q '^failed' "$WORK/$kind.results" || count "$kind" "$kind" 0 1
	fi
}

# usage: tap_result KIND NAME LOG STATUS; one file's output as prove --verbose writes it
tap_result() {
	ok=$(grep -c '^ok ' "$3" || true)
	bad=$(grep '^not ok ' "$3" | grep -vc '# TODO' || true)
	if [ "$4" != 0 ] && [ "$bad" = 0 ]; then
		bad=1
	fi
	count "$1" "$2" "$ok" "$bad"
	if [ "$bad" != 0 ]; then
		printf '%-10s %-40s failed (%s of %s)\n' "$1" "$2" "$bad" "$((ok + bad))"
		grep -v -e '^ok ' -e '^ *$' "$3" | tail -n 60
	elif [ "$ok" = 0 ]; then
		printf '%-10s %-40s %s\n' "$1" "$2" "$(sed -n 's/^.*\.\. skipped: /skipped: /p' "$3")"
	else
		printf '%-10s %-40s ok (%s)\n' "$1" "$2" "$ok"
	fi
	grep '^ok .*# skip' "$3" | sed 's/^ok [0-9]* */           /' || true
}

# usage: run_files KIND JOBS FILE...; so many at a time, told in their order
run_files() {
	kind=$1
	jobs=$2
	shift 2
	[ $# != 0 ] || return 0
	printf '%s\n' "$@" | xargs -P "$jobs" -n 1 sh test/bin/one-test.sh "$kind" &
	runner=$!
	for file in "$@"; do
		name=$(basename "${file%.*}")
		log=$WORK/${kind}_$name
		while [ ! -f "$log.status" ] && kill -0 "$runner" 2>/dev/null; do sleep 0.1; done
		tap_result "$kind" "$name" "$log.log" "$(cat "$log.status" 2>/dev/null || echo 1)"
		[ ! -f "$log.more" ] || cat "$log.more"
	done
	wait "$runner" || true
}

# usage: run_checks KIND; scripts that write as TAP has it
run_checks() {
	for file in $(files "test/$1"/*.sh); do
		check_name=$(basename "$file" .sh)
		log=$WORK/$1_$check_name.log
		status=0
		sh "$file" >"$log" 2>&1 || status=$?
		tap_result "$1" "$check_name" "$log" "$status"
	done
}

# usage: run_variant KIND; other tests once more, with the extension built in another way
run_variant() {
	log=$WORK/$1.log
	sh test/bin/variant.sh "$1" >"$log" 2>&1 || echo '0 passed, 1 failed' >>"$log"
	sed '$d' "$log"
	count "$1" "$1" "$(sed -n '$s/^\([0-9]*\) passed, .*/\1/p' "$log")" "$(sed -n '$s/.* passed, \([0-9]*\) failed$/\1/p' "$log")"
}

for kind in static package; do
	if wanted "$kind"; then
		run_checks "$kind"
	fi
done

if wanted fuzz; then
	[ "$target" != test-long ] || export FUZZ_SECONDS="${FUZZ_SECONDS:-1200}" FUZZ_SEED="${FUZZ_SEED:-0}"
	run_checks fuzz
fi

if wanted regress; then
	list=$(names sql/*.sql | tr '\n' ' ')
	if ! has_regress; then
		skip regress 'pg_regress is missing (Debian: postgresql-client-15; Fedora: postgresql-test)'
	elif [ -n "$list" ]; then
		run_regress regress regression.diffs REGRESS="$list" ISOLATION=
	fi
fi

if wanted isolation; then
	list=$(names test/isolation/specs/*.spec | tr '\n' ' ')
	if ! has_isolation; then
		skip isolation 'isolationtester is missing (Debian: postgresql-client-15; Fedora: postgresql-test)'
	elif [ -n "$list" ]; then
		run_regress isolation output_iso/regression.diffs REGRESS= ISOLATION="$list"
	fi
fi

if wanted pgtap; then
	if has_pgtap; then
		alone=$(grep -l '^-- Runs alone' test/pgtap/*.sql)
		run_files pgtap 1 $(files $alone)
		run_files pgtap "$jobs_at_once" $(files test/pgtap/*.sql | grep -vxF "$alone")
	else
		skip pgtap 'pgTAP or pg_prove is missing (Debian: postgresql-15-pgtap libtap-parser-sourcehandler-pgtap-perl)'
	fi
fi

if wanted tap; then
	if has_tap; then
		patterns='test/tap/*.pl'
		[ "$target" != test-long ] || patterns="$patterns test/tap/long/*.pl"
		run_files tap "$jobs_at_once" $(files $patterns)
	else
		skip tap 'the Perl modules PostgreSQL::Test or IPC::Run are missing (Debian: postgresql-client-15 libipc-run-perl)'
	fi
fi

if wanted sanitizer; then
	if have gcc && [ -f "$(gcc -print-file-name=libasan.so)" ]; then
		run_variant sanitizer
	else
		skip sanitizer 'gcc or its libasan is missing (Debian: gcc)'
	fi
fi

if wanted valgrind; then
	if have valgrind; then
		run_variant valgrind
	else
		skip valgrind 'valgrind is missing (Debian: valgrind libc6-dbg)'
	fi
fi

if wanted coverage; then
	if have gcc && have gcov; then
		run_variant coverage
	else
		skip coverage 'gcc or gcov is missing (Debian: gcc)'
	fi
fi

if grep -E 'TRAP:|PANIC:|was terminated by signal' "$WORK/server.log"; then
	count server crash 0 1
	tail -n 20 "$WORK/server.log"
fi

[ -z "$broken" ] || say "failed:$broken"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
