#!/bin/sh
# Keeps what a released version installs and the books that it makes, for the test of updates from it.
# Run it with that version installed in a server (PG_CONFIG, PGHOST, PGPORT, PGUSER: a superuser), on
# which roles bookkeeper, clerk, auditor and application are unknown, after writing VERSION/story.sql:
# the story of the version before, and what this one adds.
#
# usage: test/bin/freeze.sh VERSION
set -eu

version=$1
folder=$(cd "$(dirname "$0")/../released/$version" && pwd)
database=billing_freeze

as_superuser() {
	psql -XqAt -v ON_ERROR_STOP=1 -d "$1" -o /dev/null
}

cd "$folder"
as_superuser postgres <<-SQL
	CREATE ROLE bookkeeper; CREATE ROLE clerk; CREATE ROLE auditor; CREATE ROLE application;
	CREATE DATABASE $database TEMPLATE template0;
	ALTER DATABASE $database SET billing.max_future = '100000d';
	ALTER DATABASE $database SET timezone = 'UTC';
SQL
as_superuser $database <<-SQL
	CREATE EXTENSION billing VERSION '$version';
	SELECT billing.setup('bookkeeper');
	SET SESSION AUTHORIZATION bookkeeper;
	\\i story.sql
SQL
gzip -9n <"$("${PG_CONFIG:-pg_config}" --sharedir)/extension/billing--$version.sql" >"billing--$version.sql.gz"
# without what depends on the server's version and on who made it
user=$(psql -XAt -d postgres -c 'SELECT quote_ident(current_user)')
pg_dump "$database" | sed -e '/^-- Dumped /d; /^\\\(un\)\{0,1\}restrict /d' -e '/OWNER TO '"$user"';$/d' |
	gzip -9n >books.sql.gz
as_superuser postgres <<-SQL
	DROP DATABASE $database; DROP ROLE bookkeeper; DROP ROLE clerk; DROP ROLE auditor; DROP ROLE application;
SQL
ls -l
