#!/bin/sh
# make dist: the archive for PGXN, of a clean copy of the tree under version control.
set -eu

. test/bin/tap.sh

work=$WORK/dist
version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" billing.control)

have git || skip_all 'git is missing'

make_archive() {
	mkdir -p "$work"
	tar --exclude='*.o' --exclude='*.so' --exclude=./.git -cf - . | tar -C "$work" -xf -
	cd "$work"
	git init -q
	git add -A
	git -c user.name=test -c user.email=test@localhost -c commit.gpgsign=false commit -q -m test
	"$MAKE" -s dist PG_CONFIG="$PG_CONFIG"
}

# Its files, each below billing-VERSION/.
has_files() {
	git -C "$work" ls-files | sed "s,^,billing-$version/," | sort >"$work.expected"
	perl -e '$/ = undef; my $zip = <STDIN>; while ($zip =~ /PK\x01\x02.{24}(..)(.{2})(.{2}).{12}/sg) {
		print substr($zip, pos $zip, unpack("v", $1)), "\n" }' <"$work/billing-$version.zip" | grep -v '/$' | sort | diff "$work.expected" -
}

check 'make dist makes the archive' make_archive
check 'it holds every file of the tree' has_files
finish
