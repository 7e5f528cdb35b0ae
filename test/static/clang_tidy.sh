#!/bin/sh
# clang-tidy, with clang's static analyzer, over all C files; .clang-tidy says what it looks for.
set -eu

. test/bin/tap.sh

have clang-tidy || skip_all 'clang-tidy is missing (Debian: clang-tidy)'

# With assertions, which tell the analyzer what cannot be.
tidy() {
	find src -name '*.c' | xargs -P 2 -n 4 sh -c '
		clang-tidy --quiet "$@" -- -std=gnu99 -Isrc -I"$0" -D_GNU_SOURCE -DUSE_ASSERT_CHECKING -DBILLING_VERSION=\"\" \
			-Wno-everything 2>/dev/null' "$(config --includedir-server)" || echo 'clang-tidy found something'
}

check 'clang-tidy has nothing to say' tidy
finish
