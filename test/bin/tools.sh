# shellcheck shell=sh
# Sourced: what there is on this machine.  Needs PG_CONFIG.

say() {
	printf 'billing: %s\n' "$*"
}

die() {
	printf 'billing: %s\n' "$*" >&2
	exit 1
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# What pg_config answers to OPTION; nothing if there is none.
config() {
	"$PG_CONFIG" "$1" 2>/dev/null || true
}

# 15 for "PostgreSQL 15.20 (Debian ...)" and for "PostgreSQL 15devel".
server_major() {
	config --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'
}

supported() {
	[ "${1:-0}" -ge 14 ] && [ "$1" -le 18 ]
}

has_headers() {
	[ -f "$(config --includedir-server)/postgres.h" ]
}

# PGXS, and the programs that a throw-away server needs.
has_server() {
	[ -f "$(config --pgxs)" ] && [ -x "$(config --bindir)/postgres" ] && [ -x "$(config --bindir)/initdb" ] &&
		[ -x "$(config --bindir)/psql" ]
}

has_compiler() {
	compiler=$(config --cc)
	have "${compiler:-cc}" &&
		printf '#include <stdio.h>\n' | ${compiler:-cc} -fsyntax-only -x c - 2>/dev/null
}

# Folder of pg_regress, isolationtester and the Perl modules.
server_tests() {
	dirname "$(dirname "$(config --pgxs)")" | sed 's,$,/test,'
}

has_regress() {
	[ -x "$(server_tests)/regress/pg_regress" ]
}

has_isolation() {
	[ -x "$(server_tests)/isolation/pg_isolation_regress" ] && [ -x "$(server_tests)/isolation/isolationtester" ]
}

has_pgtap() {
	have pg_prove && [ -f "$(config --sharedir)/extension/pgtap.control" ]
}

has_tap() {
	[ -f "$(server_tests)/perl/PostgreSQL/Test/Cluster.pm" ] && have prove && perl -MIPC::Run -e 1 2>/dev/null
}

has_fuzzer() {
	have clang && [ -f "$(clang -print-runtime-dir)/libclang_rt.fuzzer_no_main-$(uname -m).a" ]
}
