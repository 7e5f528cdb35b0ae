# make html: every page is built, and every link and picture in it leads to a file and a place.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use Pages;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'no pandoc (Debian: pandoc)' if system('command -v pandoc >/dev/null 2>&1') != 0;
output_of('doc/bin/html.sh', 'sh', 'doc/bin/html.sh', 'build/html');

my %text = map { $_ => slurp_file($_) } split /\n/, `find build/html -name '*.html'`;

# Links of a page that lead nowhere; those to other pages with their anchors.
sub astray
{
	my ($page) = @_;
	my @astray;

	for my $link ($text{$page} =~ /(?:href|src)="(?!https?:)([^"]+)"/g)
	{
		my ($path, $anchor) = $link =~ /^([^#]*)(?:#(.*))?$/;
		my $target = $path eq '' ? $page : dirname($page) . "/$path";

		1 while $target =~ s,[^/.]+/\.\./,,;
		push @astray, $link if !-e $target || defined $anchor && index($text{$target} // '', "id=\"$anchor\"") < 0;
	}
	return @astray;
}

is(join(' ', grep { !$text{ 'build/html/' . s/md$/html/r } } glob '*.md doc/*.md doc/reference/*.md src/*/README.md'), '', 'every page is built');
for my $page (sort keys %text)
{
	is(join(' ', astray($page)), '', "$page: links") if $page !~ m,/index\.html$,;
}
like($text{'build/html/doc/developer.html'}, qr/<span class="kw">SELECT/, 'statements are highlighted');

done_testing();
