#!/bin/sh
# Prints the install script: header, the functions of every module in order, one function that holds
# the DDL of the books (all tables.sql in the same order, so that nobody writes it twice) and one that
# holds what older books need before it, footer.  Or the script that updates the extension from an
# older version: the transition files on the way from there, then all of the same, repeatable.
#
# usage: assemble.sh SOURCE VERSION FROM MODULE...      FROM: an older version, or - for the install script
set -eu

source=$1
version=$2
from=$3
shift 3

# usage: transitions; those from FROM to VERSION, one after the other
transitions() {
	at=$from
	while [ "$at" != "$version" ]; do
		set -- "$source/updates/billing--$at--"*.sql
		[ -f "$1" ] || { echo "no file $1" >&2; exit 1; }
		printf '\n-- %s\n\n' "${1##*/}"
		cat "$1"
		at=${1##*--}
		at=${at%.sql}
	done
}

functions() {
	for module in "$@"; do
		printf '\n-- module %s\n\n' "$module"
		for file in "$source/$module"/*.sql; do
			case $file in
				*/tables.sql | *'/*.sql') ;;
				*) cat "$file" ;;
			esac
		done
	done
}

tables() {
	cat <<-'SQL'

	-- What billing.setup() executes.
	CREATE FUNCTION billing_internal.books_ddl() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $billing_books$ SELECT $billing_ddl$
	SQL
	for module in "$@"; do
		file=$source/$module/tables.sql
		if [ -f "$file" ]; then
			printf -- '-- module %s\n' "$module"
			awk -f "$source/install/comments.awk" "$file"
		fi
	done
	cat <<-'SQL'
	$billing_ddl$::pg_catalog.text $billing_books$;
	COMMENT ON FUNCTION billing_internal.books_ddl() IS 'the DDL of the books in all modules, repeatable; billing.setup() executes it';
	SQL
}

steps() {
	cat <<-'SQL'

	-- What billing.setup() executes before that in books of older versions.
	CREATE FUNCTION billing_internal.books_steps(OUT from_version text, OUT to_version text, OUT ddl text) RETURNS SETOF record
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $billing_books$ VALUES
	SQL
	comma=
	for file in "$source"/updates/books--*--*.sql; do
		name=${file##*/books--}
		name=${name%.sql}
		printf "%s('%s', '%s', \$billing_ddl\$\n" "$comma" "${name%--*}" "${name#*--}"
		cat "$file"
		printf '$billing_ddl$)\n'
		comma=,
	done
	cat <<-'SQL'
	$billing_books$;
	COMMENT ON FUNCTION billing_internal.books_steps() IS 'the changes that make tables of one version into those of the next, repeatable';
	SQL
}

members() {
	functions "$@"
	tables "$@"
	steps
	cat "$source/install/footer.sql"
}

if [ "$from" = - ]; then
	cat "$source/install/header.sql"
	members "$@"
else
	cat "$source/install/update.sql"
	transitions
	printf '\n-- end of transitions\n'
	members "$@" | sed 's/^CREATE \(FUNCTION\|PROCEDURE\) /CREATE OR REPLACE \1 /'
fi
