#!/bin/sh
# The C files have pgindent's format.
set -eu

. test/bin/tap.sh

have pg_bsd_indent || skip_all 'pg_bsd_indent is missing (Debian: pg-bsd-indent)'

check 'make check-format has nothing to say' "$MAKE" -s check-format PG_CONFIG="$PG_CONFIG"
finish
