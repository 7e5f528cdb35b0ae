#!/bin/sh
# Debian's package of this server's version: built from a clean copy of the tree, unpacked over a copy of the
# server, and used there.
set -eu

. test/bin/tap.sh

major=$(server_major)
work=$WORK/package
version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" billing.control)
package=postgresql-$major-billing

for tool in dpkg-buildpackage dh pg_buildext; do
	have $tool || skip_all "$tool is missing (Debian: dpkg-dev debhelper postgresql-server-dev-all)"
done
grep -qx "$major" /usr/share/postgresql-common/supported-versions 2>/dev/null ||
	pg_buildext supported-versions 2>/dev/null | grep -qx "$major" ||
	skip_all "this distribution has no packages for PostgreSQL $major"

# What the tests wrote into the tree does not belong to the sources.
copy_sources() {
	mkdir -p "$work/source"
	tar --exclude='*.o' --exclude='*.so' --exclude='./billing--*.sql' --exclude=./results --exclude=./output_iso --exclude=./tmp_check \
		--exclude=./.git -cf - . | tar -C "$work/source" -xf -
}

build_package() {
	cd "$work/source" && dpkg-buildpackage -us -uc -b >"$work/build.log" 2>&1 || tail -n 40 "$work/build.log"
}

# The server of the tests without its billing, and with the package's.
unpack() {
	cp -R "$WORK/server" "$work/server"
	find "$work/server" -name 'billing*' ! -type d -exec rm {} +
	dpkg-deb --extract "$work/${package}_$version"-*.deb "$work/server"
}

has_files() {
	for file in lib/postgresql/$major/lib/billing.so share/postgresql/$major/extension/billing.control \
		"share/postgresql/$major/extension/billing--$version.sql" share/doc/$package/copyright; do
		[ -f "$work/server/usr/$file" ] || echo "no $file"
	done
}

# A server of its own, with the package's files.
run_sql() {
	bin=$work/server$(config --bindir)
	mkdir -m 700 "$work/socket"
	"$bin/initdb" --pgdata="$work/data" --username=postgres --auth=trust --encoding=UTF8 --no-locale --no-sync >"$work/initdb.log" 2>&1
	"$bin/pg_ctl" start -s -w -D "$work/data" -l "$work/server.log" \
		-o "-c listen_addresses='' -c unix_socket_directories='$work/socket' -c fsync=off" || cat "$work/server.log"
	PGHOST=$work/socket PGPORT=5432 "$bin/psql" -XqAt -v ON_ERROR_STOP=1 -d postgres <<-SQL
		CREATE EXTENSION billing;
		SELECT 'version ' || extversion FROM pg_extension WHERE extname = 'billing' AND extversion <> '$version';
		SELECT action FROM billing.setup() WHERE action <> 'created';
		SELECT 'charge ' || c FROM billing.charge('{"model":"per_unit","unit_amount":12.50}', 5) c WHERE c <> 62.5;
	SQL
	"$bin/pg_ctl" stop -s -w -m immediate -D "$work/data"
}

copy_sources
check 'debian/control is what pg_buildext makes of debian/control.in' sh -c "cd '$work/source' && pg_buildext checkcontrol"
check 'dpkg-buildpackage builds the package' build_package
if [ -f "$(echo "$work/${package}_$version"-*.deb)" ]; then
	check 'it can be unpacked over a server' unpack
	check 'its files are in their places' has_files
	check 'CREATE EXTENSION, setup() and a call work' run_sql
else
	not_ok "there is a package $package of version $version"
fi
finish
