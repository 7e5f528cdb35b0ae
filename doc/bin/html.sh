#!/bin/sh
# Builds all Markdown pages of the tree to HTML in FOLDER, each at the path that its source has, with pandoc.  Pages need
# no server: they are read from the file system.  Links to files that are no pages lead into the tree.
#
# usage: html.sh FOLDER
set -eu

bin=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$bin/../.." && pwd)
. "$tree/test/bin/tools.sh"

have pandoc || die 'no pandoc (Debian: pandoc)'
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$tree"

# usage: title FILE; the first heading, without marks, safe in HTML
title() {
	sed -n '/^# /{s/^# //; s/`//g; s/&/\&amp;/g; s/</\&lt;/g; p; q;}' "$1"
}

# usage: entries ROOT CURRENT FILE...; links of the navigation, the page that is shown marked
entries() {
	root=$1 current=$2
	shift 2
	for page in "$@"; do
		mark=
		[ "$page" != "$current" ] || mark=' aria-current="page"'
		printf '<li><a href="%s%s"%s>%s</a></li>\n' "$root" "${page%.md}.html" "$mark" "$(title "$page" | sed 's/:.*//')"
	done
}

# usage: section NAME ENTRIES-ARGUMENT...; long ones are folded where a page of another is shown
section() {
	name=$1
	shift
	open=' open'
	case $name:$2 in
		Reference:doc/reference/* | Source:src/* | Source:test/*) ;;
		Reference:* | Source:*) open= ;;
	esac
	printf '<details%s><summary>%s</summary><ul>\n' "$open" "$name"
	entries "$@"
	printf '</ul></details>\n'
}

# Pages of doc/ that the index names, in its order: those of its first table are the guides.
indexed() {
	sed -n 's,.*](\([a-z-]*\.md\)).*,doc/\1,p'
}
guides=$(sed '/^| reference/,$d' doc/README.md | indexed)
others=$(sed '1,/^| reference/d' doc/README.md | indexed)

navigation() {
	section 'Start' "$1" "$2" README.md doc/README.md
	section 'Guides' "$1" "$2" $guides
	section 'Rules and design' "$1" "$2" $others
	section 'Reference' "$1" "$2" doc/reference/README.md doc/reference/[!R]*.md
	section 'Source' "$1" "$2" src/*/README.md test/README.md test/bench/README.md CHANGELOG.md
}

pages=$(echo README.md CHANGELOG.md doc/*.md doc/reference/*.md src/*/README.md test/README.md test/bench/README.md)
for page in $pages; do
	folder=$(dirname "$page")
	root=$(printf '%s/' "$folder" | sed 's,^\./,,; s,[^/]*/,../,g')
	mkdir -p "$out/$folder"
	pandoc --from=gfm --to=html5 --template="$bin/html/page.html" --lua-filter="$bin/html/links.lua" --toc --toc-depth=2 \
		--metadata=root:"$root" --metadata=folder:"$folder" --metadata=pagetitle:"$(title "$page")" \
		--variable=root:"$root" --variable=navigation:"$(navigation "$root" "$page")" \
		--output="$out/${page%.md}.html" "$page"
done

mkdir -p "$out/doc/pictures"
cp doc/pictures/*.svg "$out/doc/pictures/"
cp "$bin/html/style.css" "$out/style.css"
printf '<!DOCTYPE html><meta charset="utf-8"><title>billing</title><meta http-equiv="refresh" content="0; url=doc/README.html">\n' >"$out/index.html"
say "$(echo "$pages" | wc -w) pages: $out/index.html"
