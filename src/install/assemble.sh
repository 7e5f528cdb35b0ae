#!/bin/sh
# Prints the install script: header, the functions of every module in order, one function that holds
# the DDL of the books (all tables.sql in the same order, so that nobody writes it twice), footer.
#
# usage: assemble.sh SOURCE MODULE...
set -eu

source=$1
shift

cat "$source/install/header.sql"

for module in "$@"; do
	printf '\n-- module %s\n\n' "$module"
	for file in "$source/$module"/*.sql; do
		case $file in
			*/tables.sql | *'/*.sql') ;;
			*) cat "$file" ;;
		esac
	done
done

cat <<'SQL'

-- What billing.setup() executes.
CREATE FUNCTION billing_internal.books_ddl() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $billing_books$ SELECT $billing_ddl$
SQL
for module in "$@"; do
	file=$source/$module/tables.sql
	if [ -f "$file" ]; then
		printf -- '-- module %s\n' "$module"
		awk -f "$source/install/comments.awk" "$file"
	fi
done
cat <<'SQL'
$billing_ddl$::pg_catalog.text $billing_books$;
COMMENT ON FUNCTION billing_internal.books_ddl() IS 'the DDL of the books in all modules, repeatable; billing.setup() executes it';
SQL

cat "$source/install/footer.sql"
