#!/bin/sh
# Installs what TARGET needs and this machine lacks; nothing if all is there.
#
# A server with headers (PG_CONFIG) and a compiler are needed.  Where PG_CONFIG names a complete
# server, none is installed.  The tools of single test kinds are installed if that can be done
# without asking; otherwise those kinds are skipped by name later.
#
# usage: prepare.sh TARGET    environment: PG_CONFIG PG_CONFIG_ORIGIN NO_INSTALL
set -eu

target=$1
bin=$(cd "$(dirname "$0")" && pwd)
. "$bin/tools.sh"

[ -r /etc/os-release ] && . /etc/os-release

# The server version that this distribution ships.
distribution_major() {
	case ${ID:-}:${VERSION_ID:-} in
		debian:12) echo 15 ;;
		debian:13) echo 17 ;;
		ubuntu:22.04) echo 14 ;;
		ubuntu:24.04) echo 16 ;;
		ubuntu:25.*) echo 17 ;;
	esac
}

# True for a server in the folders of Debian's packages, and where there is none yet.
is_debian_server() {
	case $(config --bindir) in
		'' | /usr/lib/postgresql/*/bin) return 0 ;;
		*) return 1 ;;
	esac
}

# Words: what is missing and cannot be done without.
needed() {
	case $target in
		html) have pandoc || echo pandoc; return ;;
		doc) have dot || echo 'dot (graphviz)' ;;
	esac
	has_compiler || echo 'a C compiler'
	has_server || echo 'a PostgreSQL server'
	has_headers || echo "its headers (postgres.h)"
}

needed_packages() {
	case $target in
		html) have pandoc || echo pandoc; return ;;
		doc) have dot || echo graphviz ;;
	esac
	has_compiler || echo gcc libc6-dev
	[ -x "/usr/lib/postgresql/$major/bin/postgres" ] || has_server || echo "postgresql-$major"
	has_headers || echo "postgresql-server-dev-$major"
}

# For single test kinds; pgTAP's package would bring a server along, so only beside Debian's own.
wanted_packages() {
	case $target in test | test-long) ;; *) return ;; esac
	perl -MIPC::Run -e 1 2>/dev/null && have prove || echo libipc-run-perl
	have pg_prove || echo libtap-parser-sourcehandler-pgtap-perl
	[ -x /usr/sbin/pgbouncer ] || have pgbouncer || echo pgbouncer
	[ "$target" = test ] || have pandoc || echo pandoc
	have hledger || echo hledger
	! is_debian_server || [ -f "/usr/share/postgresql/$major/extension/pgtap.control" ] ||
		echo "postgresql-$major-pgtap"
}

# For checks of the source, the package and the pure C, where the distribution has them.
check_packages() {
	case $target:${ID:-} in
		test:debian | test-long:debian | test:ubuntu | test-long:ubuntu) ;;
		*) return ;;
	esac
	have cppcheck || echo cppcheck
	have clang-tidy || echo clang-tidy
	have pg_bsd_indent || echo pg-bsd-indent
	has_fuzzer || echo clang libclang-rt-dev
	[ "$target" != test-long ] || have valgrind || echo valgrind libc6-dbg
	have git || echo git
	! is_debian_server || { have dh && have pg_buildext && have dpkg-buildpackage; } ||
		echo dpkg-dev debhelper postgresql-server-dev-all
}

# For the README's examples, where the distribution has them; a Node that somebody else
# installed is left alone, since Debian's driver would replace it.  Java is too big to bring along.
driver_packages() {
	case $target:${ID:-}:${VERSION_ID:-} in
		test:debian:1[23] | test-long:debian:1[23] | test:ubuntu:2[4-9].* | test-long:ubuntu:2[4-9].*) ;;
		*) return ;;
	esac
	[ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import psycopg' 2>/dev/null || echo python3-psycopg
	have node || echo node-pg
	! is_debian_server || [ -f "/usr/share/postgresql/$major/extension/pg_cron.control" ] ||
		echo "postgresql-$major-cron"
}

one_line() {
	tr '\n' ' ' | sed 's/ *$//'
}

explain_and_exit() {
	cat >&2 <<-TEXT
		billing: missing: $missing
		billing: $1
		billing: packages by system (or set PG_CONFIG to a server 14 to 18 with its development files):
		  Debian 12  apt-get install gcc libc6-dev postgresql-15 postgresql-server-dev-15 postgresql-15-pgtap \\
		             libipc-run-perl libtap-parser-sourcehandler-pgtap-perl pgbouncer hledger
		  Fedora     dnf install gcc postgresql-server postgresql-server-devel postgresql-test pgtap \\
		             perl-IPC-Run perl-Test-Harness perl-TAP-Parser-SourceHandler-pgTAP pgbouncer hledger
		  Alpine     apk add gcc musl-dev make postgresql15 postgresql15-dev postgresql15-contrib \\
		             perl-ipc-run perl-utils pgbouncer runuser
		  Homebrew   brew install postgresql@15 pgtap pgbouncer hledger && cpan IPC::Run TAP::Parser::SourceHandler::pgTAP
	TEXT
	exit 1
}

if [ "${PG_CONFIG_ORIGIN:-file}" != file ]; then
	have "$PG_CONFIG" || die "PG_CONFIG=$PG_CONFIG cannot be run"
	supported "$(server_major)" || die "PG_CONFIG=$PG_CONFIG is $(config --version), and billing needs PostgreSQL 14 to 18"
fi

missing=$(needed | sed '$!s/$/,/' | one_line)
major=$(server_major)
if is_debian_server && ! supported "$major"; then
	major=$(distribution_major)
fi

if ! have apt-get || [ -z "$major" ] || { ! is_debian_server && ! { has_server && has_headers; }; }; then
	[ -z "$missing" ] || explain_and_exit 'this is installed for you only on Debian and Ubuntu, for a server of their own packages'
	exit 0
fi

packages=$( { needed_packages; wanted_packages; } | one_line)
drivers=$( { driver_packages; check_packages; } | one_line)
[ -n "$packages$drivers" ] || exit 0

if [ -n "${NO_INSTALL:-}" ]; then
	[ -z "$missing" ] || explain_and_exit "NO_INSTALL is set; otherwise this would be installed: $packages"
	exit 0
fi

if [ "$(id -u)" = 0 ]; then
	become=
elif have sudo && sudo -n true 2>/dev/null; then
	become='sudo -n'
elif have sudo && [ -n "$missing" ] && [ -t 0 ]; then
	become=sudo
else
	[ -z "$missing" ] || explain_and_exit "neither root nor sudo, so this cannot be installed: $packages"
	exit 0
fi

# usage: install PACKAGE...
install() {
	[ $# = 0 ] || $become sh "$bin/install-debian.sh" "$major" "$@"
}

say "installing with apt-get (NO_INSTALL=1 forbids it): $(echo $packages $drivers)"
if ! install $packages $drivers && ! { [ -n "$drivers" ] && install $packages; }; then
	[ -z "$missing" ] || die 'the installation failed'
	say 'the installation failed; going on with what is there'
fi

missing=$(needed | sed '$!s/$/,/' | one_line)
[ -z "$missing" ] || die "still missing after the installation: $missing (pg_config in use: $(command -v "$PG_CONFIG"))"
