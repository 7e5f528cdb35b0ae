#!/bin/sh
# Runs tests once more with the extension built in another way, on the test server started in another way.
#
#   coverage    counts the lines that all tests reach; coverage.pl tells which they do not
#   sanitizer   AddressSanitizer and UndefinedBehaviorSanitizer in the extension, not in the server
#   valgrind    memcheck, on the whole server, of which it does not know the memory contexts
#
# usage: variant.sh NAME      environment: from run-tests.sh
# The last line is "N passed, N failed".
set -eu

name=$1
. test/bin/tools.sh

outer=$WORK
WORK=$outer/$name
export WORK
server="$outer/server$(config --bindir)"

# usage: build FLAGS; in a copy of the tree, installed over the build before
build() {
	mkdir -p "$WORK/tree"
	tar --exclude='*.o' --exclude='*.so' --exclude='./billing--*.sql' --exclude=./results --exclude=./output_iso --exclude=./tmp_check \
		-cf - . | tar -C "$WORK/tree" -xf -
	cd "$WORK/tree"
	"$MAKE" -s -j2 PG_CONFIG="$PG_CONFIG" COPT="$1" DESTDIR="$outer/server" install >"$WORK/build.log" 2>&1 ||
		{ cat "$WORK/build.log"; die "the build for $name failed"; }
}

# usage: restart [VARIABLE=VALUE...]; the server, with these in its environment
restart() {
	pg_ctl stop -s -w -m fast -D "$outer/data"
	env "$@" pg_ctl start -s -w -t 600 -D "$outer/data" -l "$WORK/server.log" >"$WORK/start.log" 2>&1 ||
		{ cat "$WORK/start.log" "$WORK/server.log"; die "the server does not start for $name"; }
}

# usage: tests KIND...; prints all but the last line, and sets passed and failed
tests() {
	KINDS="$*" sh test/bin/run-tests.sh test >"$WORK/tests.log" 2>&1 || true
	sed '$d' "$WORK/tests.log"
	passed=$(sed -n '$s/^\([0-9]*\) passed, [0-9]* failed$/\1/p' "$WORK/tests.log")
	failed=$(sed -n '$s/^[0-9]* passed, \([0-9]*\) failed$/\1/p' "$WORK/tests.log")
}

# usage: claim TEXT COMMAND...; holds where the command succeeds and says nothing
claim() {
	text=$1
	shift
	if said=$("$@" 2>&1) && [ -z "$said" ]; then
		printf '%-10s %-40s ok\n' "$name" "$text"
		passed=$((passed + 1))
	else
		printf '%s\n%-10s %-40s failed\n' "$said" "$name" "$text"
		failed=$((failed + 1))
	fi
}

reports() {
	find "$WORK" -maxdepth 1 -name 'report.*' -exec cat {} +
}

coverage() {
	build '-O0 --coverage'
	restart
	tests regress isolation pgtap tap
	pg_ctl stop -s -w -m fast -D "$outer/data"
	if perl test/bin/coverage.pl "${COVERAGE_GOAL:-90}"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
	pg_ctl start -s -w -D "$outer/data" -l "$WORK/server.log" >/dev/null
}

# The sanitizer's memory comes from malloc's: a chunk of a memory context is not seen by itself, a block is.
sanitizer() {
	build '-O1 -fsanitize=address,undefined -fno-omit-frame-pointer'
	gcc -shared -fPIC -o "$WORK/preload.so" test/bin/preload.c
	restart "LD_PRELOAD=$(gcc -print-file-name=libasan.so) $WORK/preload.so" \
		"ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:log_path=$WORK/report" \
		"UBSAN_OPTIONS=print_stacktrace=1:log_path=$WORK/report"
	tests regress isolation pgtap
	restart
	claim 'no report of the sanitizers' reports
}

# Only what the extension's own code does first hand: of the server's own palloc memcheck knows nothing.
own_errors() {
	cat "$WORK"/memcheck.* | sed 's/^==[0-9]*== \{0,1\}//' | awk -v RS= '{
		split($0, lines, "\n")
		for (i = 1; i <= length(lines) && lines[i] !~ /^ +at 0x/; i++)
			;
		if (lines[i] ~ /billing\.so|\/src\// || lines[i + 1] ~ /billing\.so/)
			print $0 "\n"
	}'
}

memcheck() {
	build '-O1'
	pg_ctl stop -s -w -m fast -D "$outer/data"
	valgrind --quiet --leak-check=no --trace-children=yes --log-file="$WORK/memcheck.%p" \
		"$server/postgres" -D "$outer/data" >"$WORK/server.log" 2>&1 &
	tries=0
	until pg_isready -q; do
		tries=$((tries + 1))
		kill -0 $! && [ "$tries" -lt 300 ] || die 'the server does not start under valgrind'
		sleep 1
	done
	tests regress
	restart
	claim 'no report of memcheck' own_errors
}

mkdir -p "$WORK"
PATH=$server:$PATH
passed=0
failed=0
case $name in
	coverage) coverage ;;
	sanitizer) sanitizer ;;
	valgrind) memcheck ;;
	*) die "no variant $name" ;;
esac
echo "$passed passed, $failed failed"
