#!/bin/sh
# The version of billing.control, and what META.json, CHANGELOG.md and debian/changelog say; META.json and
# the rules of PGXN.
set -eu

. test/bin/tap.sh

version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" billing.control)

newest_change() {
	sed -n '/^## /{s/^## \([^ ]*\).*/\1/p;q}' CHANGELOG.md
}

packaged() {
	sed -n '1s/^postgresql-billing (\(.*\)-[^-]*) .*/\1/p' debian/changelog
}

# usage: same A B
same() {
	[ "$1" = "$2" ] || echo "\"$1\" is not \"$2\""
}

check "CHANGELOG.md begins with $version" same "$(newest_change)" "$version"
check "debian/changelog begins with $version" same "$(packaged)" "$version"
if perl -MJSON::PP -e 1 2>/dev/null; then
	check "META.json follows the rules of PGXN, of version $version" perl test/static/pgxn_meta.pl META.json "$version"
else
	skip_claim 'META.json follows the rules of PGXN' 'the Perl module JSON::PP is missing'
fi
finish
