#!/bin/sh
# Runs one file of one kind of tests, so that several go on at a time: the output, as prove --verbose
# writes it, goes to a log, and once it is over its status to a file beside.
#
# usage: one-test.sh pgtap|tap FILE      environment: from inside.sh; writes $WORK/KIND_NAME.{log,status}
set -eu

. test/bin/tools.sh

# In a database of its own on the throw-away server.
run_pgtap() {
	createdb --template=template0 "pgtap_$name" &&
		psql -Xq -v ON_ERROR_STOP=1 -d "pgtap_$name" -o /dev/null -c 'CREATE EXTENSION pgtap' \
			-c 'CREATE EXTENSION billing' -c 'SELECT billing.setup()' &&
		pg_prove --verbose --dbname "pgtap_$name" "$1"
}

# With servers of its own in a folder of its own; ports are agreed upon among all.
run_tap() {
	checks=$PWD/tmp_check/$name
	mkdir -p "$checks" "$WORK/ports"
	env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE -u PGCLIENTENCODING TESTDIR="$PWD" \
		TESTDATADIR="$checks" TESTLOGDIR="$checks/log" PG_TEST_PORT_DIR="$WORK/ports" \
		PG_REGRESS="$(server_tests)/regress/pg_regress" \
		prove --verbose -I "$(server_tests)/perl" -I test/tap "$1"
}

kind=$1
name=$(basename "${2%.*}")
log=$WORK/${kind}_$name
status=0
"run_$kind" "$2" >"$log.log" 2>&1 || status=$?
case $kind in
	pgtap) dropdb --if-exists --force "pgtap_$name" >>"$log.log" 2>&1 || true ;;
	tap)
		if [ "$status" != 0 ] && [ -f "$checks/log/regress_log_$name" ]; then
			tail -n 30 "$checks/log/regress_log_$name" >"$log.more"
		fi
		rm -rf "$checks"
		;;
esac
echo "$status" >"$log.part"
mv "$log.part" "$log.status"
