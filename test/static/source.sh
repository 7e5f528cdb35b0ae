#!/bin/sh
# Limits of the source: lengths, functions of C that nobody should call, comments.
set -eu

. test/bin/tap.sh

sources=$(find src -name '*.c')
headers=$(find src -name '*.h')

# Functions longer than 100 lines; and those of more than 10 without a comment, both of C files in the
# server's format, where a body stands in its own lines at the margin and the name begins the line before.
functions() {
	awk -v what="$1" '
		FNR == 1 { comment = name_line = start = 0 }
		/\*\/[ \t]*$/ { comment = FNR }
		/^[A-Za-z_][A-Za-z0-9_]*\(.*[^;]$/ && !start { name_line = FNR; name = $0; bare = comment < FNR - 2 }
		/^\{/ && name_line { start = FNR }
		/^\}/ && start {
			size = FNR - start - 1
			if (what == "long" && size > 100 || what == "bare" && bare && size > 10)
				printf "%s:%s: %s (%s lines)\n", FILENAME, name_line, name, size
			name_line = start = 0
		}' $sources
}

# usage: longer_than LINES FILE...
longer_than() {
	limit=$1
	shift
	awk -v limit="$limit" 'FNR == limit + 1 { print FILENAME ": more than " limit " lines" }' "$@"
}

# Without bounds, without errors, or not of the server: what there is instead is in README.md of src/lib.
banned() {
	grep -nE '(^|[^A-Za-z0-9_>.])(strcpy|strncpy|strcat|strncat|sprintf|vsprintf|gets|strtok|atoi|atol|atof|malloc|calloc|realloc|free|alloca|system|popen|fork|exit|rand|random|time|localtime|gmtime)\(' $sources $headers || true
}

floats() {
	grep -nE '(^|[^A-Za-z0-9_"%])(float|double|float4|float8)[ \t]+[*a-z_]' $sources $headers || true
}

no_header_comment() {
	for file in $sources $headers; do
		head -n 1 "$file" | grep -qx '/\*' || echo "$file"
	done
}

version_questions() {
	grep -n PG_VERSION_NUM $sources $headers | grep -v '^src/compat\.h:' || true
}

check 'no function is longer than 100 lines' functions long
check 'no function of more than 10 lines is without a comment' functions bare
check 'no C file is longer than 500 lines' longer_than 500 $sources $headers
check 'no SQL file is longer than 500 lines' longer_than 500 $(find src -name '*.sql' ! -path 'src/updates/*')
check 'no banned function is called' banned
check 'nothing is a float' floats
check 'every file begins with a comment' no_header_comment
check 'only compat.h asks for the version of the server' version_questions
finish
