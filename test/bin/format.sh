#!/bin/sh
# Formats C files as PostgreSQL's pgindent does, in 100 columns.
#
# Of pgindent it takes the program beneath, which Debian packages, and does the few repairs that
# this code needs itself.  Types of the files come from their definitions, those of the server and
# of the C library from src/typedefs.list; text, type, string and varlena stay out of it, because
# variables are called so too.
#
# usage: format.sh [--check] FILE...    environment: PG_BSD_INDENT
set -eu

indent=${PG_BSD_INDENT:-pg_bsd_indent}
bin=$(cd "$(dirname "$0")" && pwd)
. "$bin/tools.sh"

check=
if [ "$1" = --check ]; then
	check=1
	shift
fi
have "$indent" || die "no $indent (Debian: pg-bsd-indent); set PG_BSD_INDENT=/path/to/pg_bsd_indent"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Names that are defined by } Name; or typedef ... Name; or typedef ... (*Name) (...);
types_of() {
	sed -n 's/^}[[:space:]]*\([A-Za-z0-9_]\{1,\}\);.*/\1/p
		/^typedef.*(\*/s/^typedef[^(]*(\*\([A-Za-z0-9_]*\)).*/\1/p
		/^typedef[^(]*;/s/.*[ *]\([A-Za-z0-9_]*\);.*/\1/p' "$@"
}

# Space between initializers; none between a function's type and its star.
repair() {
	sed 's/,\(\.[a-z]\)/, \1/g; s/^\([A-Za-z_][^[:space:]]*\)[[:space:]]\{1,\}\*$/\1 */' "$1"
}

{ types_of "$@"; cat "$bin/../../src/typedefs.list"; } | sort -u >"$work/types"
status=0
for file; do
	! LC_ALL=C grep -q '[^[:print:][:space:]]' "$file" || die "$file: not ASCII, which $indent would spoil"
	if ! "$indent" -bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -nfcb -i4 -l100 -lp -lpl -nip -npro \
		-sac -tpg -ts4 -U"$work/types" <"$file" >"$work/out" 2>"$work/errors" || [ -s "$work/errors" ]; then
		die "$file: $(cat "$work/errors")"
	fi
	repair "$work/out" >"$work/new"
	if [ -n "$check" ]; then
		diff -u "$file" "$work/new" || status=1
	else
		cmp -s "$file" "$work/new" || cat "$work/new" >"$file"
	fi
done
exit "$status"
