#!/bin/sh
# In the copy of the tree, as an unprivileged user: builds, installs into a copy of the server, starts
# it on a socket of its own and does TARGET.  sandbox.sh calls this and cleans up after it.
#
# usage: inside.sh TARGET
# environment: WORK PG_CONFIG MAKE ASSERTIONS KINDS ONLY
set -eu

target=$1
. test/bin/tools.sh

# The server finds its files relative to its programs, so a copy with the same folders is a whole
# server, and nothing is installed into the system.
copy_server() {
	bindir=$(config --bindir)
	mkdir -p "$WORK/server$bindir"
	for program in "$bindir"/*; do
		case ${program##*/} in
			postgres | initdb | psql | pgbench | pg_* | createdb | dropdb | createuser | dropuser | vacuumdb | reindexdb)
				cp -L "$program" "$WORK/server$bindir/" ;;
		esac
	done
	for folder in "$(config --pkglibdir)" "$(config --sharedir)"; do
		mkdir -p "$WORK/server$folder"
		cp -RL "$folder/." "$WORK/server$folder/"
	done
	chmod -R u+w "$WORK/server"
	PATH=$WORK/server$bindir:$PATH
	export PATH
}

build() {
	if ! "$MAKE" -s -j2 PG_CONFIG="$PG_CONFIG" ASSERTIONS="$ASSERTIONS" DESTDIR="$WORK/server" install >"$WORK/build.log" 2>&1; then
		cat "$WORK/build.log"
		say 'the build failed'
		return 1
	fi
}

# Settings for runs that may lose everything in a power cut.
fast_settings() {
	cat <<-CONF
		fsync = off
		synchronous_commit = off
		full_page_writes = off
		shared_buffers = 256MB
		max_wal_size = 2GB
	CONF
}

# The same with background workers, for jobs.
worker_settings() {
	fast_settings
	echo "shared_preload_libraries = 'billing'"
}

# Settings of a small server in earnest: all commits reach the disk.
honest_settings() {
	cat <<-CONF
		fsync = on
		synchronous_commit = on
		full_page_writes = on
		shared_buffers = 1GB
		work_mem = 64MB
		maintenance_work_mem = 256MB
		max_wal_size = 8GB
		checkpoint_timeout = 30min
		wal_buffers = 64MB
	CONF
}

# usage: start_server SETTINGS-FUNCTION
start_server() {
	mkdir -m 700 "$WORK/socket"
	initdb --pgdata="$WORK/data" --username=postgres --auth=trust --encoding=UTF8 --no-locale --no-sync \
		>"$WORK/initdb.log" 2>&1 || { cat "$WORK/initdb.log"; die 'initdb failed'; }
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$WORK/socket'"
		echo "max_connections = 50"
		echo "timezone = 'UTC'"
		echo "log_timezone = 'UTC'"
		"$1"
	} >>"$WORK/data/postgresql.conf"
	pg_ctl start --silent --wait --pgdata="$WORK/data" --log="$WORK/server.log" >"$WORK/start.log" 2>&1 ||
		{ cat "$WORK/server.log"; die 'the server does not start'; }
	trap stop_server EXIT
	PGHOST=$WORK/socket PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PSQLRC=/dev/null PGCLIENTENCODING=UTF8
	export PGHOST PGPORT PGUSER PGDATABASE PSQLRC PGCLIENTENCODING
}

stop_server() {
	trap '' INT TERM
	pg_ctl stop --silent --wait --mode=immediate --pgdata="$WORK/data" >/dev/null 2>&1 || true
}

# usage: in_database NAME SCRIPT
in_database() {
	PGDATABASE=$1
	[ -f "$2" ] || die "$2 does not exist"
	createdb --template=template0 "$PGDATABASE"
	PSQL_PAGER=cat sh "$2"
}

TELCO_CSV=
[ ! -f "$WORK/telco.csv" ] || TELCO_CSV=$WORK/telco.csv
export TELCO_CSV PG_CONFIG WORK

# make's own variables of the outer run mean nothing here
unset MAKEFLAGS MFLAGS MAKELEVEL

copy_server
if ! build; then
	case $target in test | test-long) echo '0 passed, 1 failed' ;; esac
	exit 1
fi

case $target in
	test | test-long)
		start_server fast_settings
		sh test/bin/run-tests.sh "$target"
		;;
	demo)
		start_server worker_settings
		in_database demo test/demo/run.sh
		;;
	demo-psql)
		start_server worker_settings
		in_database demo test/demo/run.sh
		trap : INT
		LESS=-FRSX psql
		;;
	doc)
		start_server fast_settings
		in_database doc doc/bin/make.sh
		;;
	bench)
		start_server honest_settings
		in_database bench test/bench/run.sh
		;;
esac
