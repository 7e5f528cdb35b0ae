#!/bin/sh
# cppcheck over all C files, without the server's headers; cppcheck.cfg says what it has to know of them.
set -eu

. test/bin/tap.sh

have cppcheck || skip_all 'cppcheck is missing (Debian: cppcheck)'

check 'cppcheck has nothing to say' cppcheck --quiet -j 2 --enable=warning,performance,portability --std=c99 \
	--library=posix,gnu --library=test/static/cppcheck.cfg --suppressions-list=test/static/cppcheck.suppress \
	-Isrc -DPG_VERSION_NUM=150000 -DBILLING_VERSION='""' --error-exitcode=1 src
finish
