#!/bin/sh
# Makes the reference and the pictures of doc/ anew, from the catalog of an empty database and from the source.
#
# usage: make.sh    environment: PGHOST, PGUSER, PGDATABASE: an empty database; called in the top folder of the tree
set -eu

. test/bin/tools.sh

have dot || die "no dot (Debian: graphviz)"
psql -XqAt -v ON_ERROR_STOP=1 -o /dev/null -c 'CREATE EXTENSION billing' -c 'SELECT billing.setup()'
rm -rf doc/reference doc/pictures
mkdir doc/reference doc/pictures
perl -I doc/bin doc/bin/pictures.pl doc/pictures
perl -I doc/bin doc/bin/reference.pl doc/reference
for picture in doc/pictures/*.dot; do
	dot -Tsvg "$picture" -o "${picture%.dot}.svg"
	printf '<!-- drawn from %s -->\n' "$(md5sum <"$picture" | cut -c 1-32)" >>"${picture%.dot}.svg"
done
