# shellcheck shell=sh
# Sourced by checks written as shell scripts: lines as TAP has them.

. test/bin/tools.sh

claims=0

ok() {
	claims=$((claims + 1))
	printf 'ok %s - %s\n' "$claims" "$1"
}

# Say why before.
not_ok() {
	claims=$((claims + 1))
	printf 'not ok %s - %s\n' "$claims" "$1"
}

# usage: check CLAIM COMMAND...; holds where the command succeeds and says nothing
check() {
	claim=$1
	shift
	if said=$("$@" 2>&1) && [ -z "$said" ]; then
		ok "$claim"
	else
		printf '%s\n' "$said"
		not_ok "$claim"
	fi
}

# usage: skip CLAIM REASON
skip_claim() {
	ok "$1 # skip $2"
}

# usage: skip_all REASON
skip_all() {
	printf '%s .. skipped: %s\n' "$0" "$1"
	exit 0
}

finish() {
	printf '1..%s\n' "$claims"
}
