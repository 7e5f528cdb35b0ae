#!/bin/sh
# Runs inside.sh TARGET as an unprivileged user in a copy of the tree in a temporary folder, and
# leaves nothing behind: no process, no file, however it ends.
#
# usage: sandbox.sh TARGET
# environment: PG_CONFIG MAKE ASSERTIONS TELCO_CSV KINDS ONLY NODE_PATH CLASSPATH; KEEP=1 keeps the folder
set -eu

target=$1
bin=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$bin/../.." && pwd)
. "$bin/tools.sh"

PG_CONFIG=$(command -v "$PG_CONFIG") || die "no pg_config; set PG_CONFIG=/path/to/pg_config"
export PG_CONFIG

child=
work=

# Runs a command as the unprivileged user.
as_user() {
	if [ -z "$user" ]; then
		"$@"
	elif have runuser; then
		runuser -u "$user" -- "$@"
	else
		su -s /bin/sh "$user" -c 'exec "$@"' -- sh "$@"
	fi
}

unprivileged_user() {
	[ "$(id -u)" = 0 ] || return 0
	for name in postgres nobody; do
		if id "$name" >/dev/null 2>&1; then
			echo "$name"
			return 0
		fi
	done
	die 'as root this needs a user postgres or nobody to run a server as'
}

# A folder in which the user may run programs, with a name short enough for sockets in it.
make_work() {
	for base in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
		work=$(mktemp -d "$base/billing.XXXXXX" 2>/dev/null) || continue
		mkdir "$work/tree" "$work/tmp"
		printf '#!/bin/sh\n' >"$work/tmp/try"
		chmod 755 "$work/tmp/try"
		[ -z "$user" ] || chown -R "$user:" "$work"
		if [ ${#work} -le 60 ] && as_user "$work/tmp/try" 2>/dev/null; then
			rm "$work/tmp/try"
			return 0
		fi
		rm -rf "$work"
		work=
	done
	die 'no temporary folder in which programs may run; set TMPDIR'
}

copy_tree() {
	tar -C "$tree" --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' --exclude='./billing--*.sql' \
		--exclude=./results --exclude=./output_iso --exclude=./tmp_check --exclude=./build -cf - . | tar -C "$work/tree" -xf -
	if [ -f "${TELCO_CSV:-}" ]; then
		cp "$TELCO_CSV" "$work/telco.csv"
	fi
	chmod -R u+rwX "$work"
	[ -z "$user" ] || chown -R "$user:" "$work"
}

# Process ids that run a program of the folder or work in it, where the system tells; of servers
# or of everything else.
processes() {
	for process in /proc/[0-9]*; do
		id=${process#/proc/}
		program=$(readlink "$process/exe" 2>/dev/null) || continue
		case $program:$(readlink "$process/cwd" 2>/dev/null) in
			"$work"/*/postgres:*) [ "$1" != servers ] || echo "$id" ;;
			"$work"/* | *:"$work"/*) [ "$1" = servers ] || [ "$id" = $$ ] || echo "$id" ;;
		esac
	done
}

# usage: end_all servers|others
end_all() {
	left=$(processes "$1")
	[ -z "$left" ] || kill -s KILL $left 2>/dev/null || true
}

stop_servers() {
	find "$work" -name postmaster.pid 2>/dev/null | while read -r file; do
		as_user "$work/server$(config --bindir)/pg_ctl" stop -s -w -m immediate -D "$(dirname "$file")" >/dev/null 2>&1 || true
	done
}

clean_up() {
	trap '' INT TERM HUP
	cd /
	[ -n "$work" ] || return 0
	# tests first, or they complain that the server is gone; servers orderly, to free shared memory
	end_all others
	[ -z "$child" ] || wait "$child" 2>/dev/null || true
	stop_servers
	end_all servers
	if [ -n "${KEEP:-}" ]; then
		say "kept: $work"
	else
		rm -rf "$work"
	fi
}

# What make doc made, back from the copy.
take_doc() {
	for folder in doc/reference doc/pictures; do
		rm -rf "$tree/$folder"
		mkdir "$tree/$folder"
		cp "$work/tree/$folder"/* "$tree/$folder/"
	done
}

# The child runs in the background, so that a signal ends it at once and not when it is done.
run_child() {
	exec 3<&0
	cd "$work/tree"
	as_user env -i PATH="$PATH:/usr/sbin:/sbin" HOME="$work" TERM="${TERM:-dumb}" TMPDIR="$work/tmp" LC_ALL=C.UTF-8 \
		WORK="$work" PG_CONFIG="$PG_CONFIG" MAKE="${MAKE:-make}" ASSERTIONS="${ASSERTIONS:-}" \
		NODE_PATH="${NODE_PATH:-}" CLASSPATH="${CLASSPATH:-}" KINDS="${KINDS:-}" ONLY="${ONLY:-}" JOBS="${JOBS:-}" \
		FUZZ_SECONDS="${FUZZ_SECONDS:-}" FUZZ_SEED="${FUZZ_SEED:-}" COVERAGE_GOAL="${COVERAGE_GOAL:-}" \
		BENCH_ACCOUNTS="${BENCH_ACCOUNTS:-}" BENCH_PASSES="${BENCH_PASSES:-}" BENCH_ROWS="${BENCH_ROWS:-}" sh test/bin/inside.sh "$target" <&3 3<&- &
	child=$!
	while :; do
		status=0
		wait "$child" || status=$?
		# psql gets the interrupt too and goes on
		kill -0 "$child" 2>/dev/null || break
	done
	child=
	return "$status"
}

trap clean_up EXIT
if [ "$target" = demo-psql ]; then
	trap : INT
else
	trap 'exit 130' INT
fi
trap 'exit 143' TERM HUP

user=$(unprivileged_user)
make_work
as_user "$PG_CONFIG" --version >/dev/null 2>&1 || die "user ${user:-$(id -un)} cannot run $PG_CONFIG"
copy_tree
run_child
[ "$target" != doc ] || take_doc
