# Helpers of the tests of documentation: blocks of Markdown pages, run as they stand there, and their links.
#
#   my @blocks = blocks_of(slurp_file('README.md'));   # hashes: kind, text, shown
#   run_sql('README.md', grep { $_->{kind} eq 'sql' } @blocks);
#   is(join(' ', dead_links('README.md')), '');
#
# Commands find their server and database in PGHOST, PGDATABASE ...

package Pages;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(blocks_of output_of in_file run_sql dead_links);

my $scratch = PostgreSQL::Test::Utils::tempdir;

# Fenced blocks in their order: kind, text, and what a block of kind text right below shows of its output.
sub blocks_of
{
	my ($page) = @_;
	my @blocks;

	while ($page =~ /^```(\w*)\n(.*?)^```$(?=(?:\n+```text\n(.*?)^```$)?)/msg)
	{
		push @blocks, { kind => $1, text => $2, shown => $3 };
	}
	return @blocks;
}

# Runs a command; its standard output, and the test fails when it does.
sub output_of
{
	my ($name, @command) = @_;
	my ($stdout, $stderr) = ('', '');
	my $worked = IPC::Run::run(\@command, '<', \undef, '>', \$stdout, '2>', \$stderr);

	ok($worked, "$name: works") or diag("$stdout$stderr");
	return $stdout;
}

sub in_file
{
	my ($name, $text) = @_;

	append_to_file("$scratch/$name", $text);
	return "$scratch/$name";
}

# Runs blocks of SQL in their order.  Where a block of text follows, psql -q prints that; else psql -qAt
# prints what stands behind "--".  Returns their number.
sub run_sql
{
	my ($page, @blocks) = @_;
	my $number = 0;

	for my $block (@blocks)
	{
		my $name = sprintf '%s, SQL block %d', $page, ++$number;
		my $file = in_file("$name.sql" =~ tr,/,_,r, $block->{text});
		my @psql = ('psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', $file);

		if (defined $block->{shown})
		{
			my $output = output_of($name, @psql, '-q') =~ s/[ ]+$//mgr;

			is($output =~ s/\n+\z/\n/r, $block->{shown}, "$name: prints what is shown");
		}
		else
		{
			my $expected = join '', map { "$_\n" } $block->{text} =~ /(?:^|;  )-- (.*)$/mg;

			is(output_of($name, @psql, '-qAt'), $expected, "$name: prints what is shown");
		}
	}
	return $number;
}

# Anchors of headings, as GitHub makes them.
sub anchors_of
{
	my ($file) = @_;
	my (%seen, %anchors);

	for my $heading (slurp_file($file) =~ s/^```.*?^```$//msgr =~ /^#+ (.*)$/mg)
	{
		my $anchor = lc $heading =~ s/\[([^\]]*)\]\([^)]*\)/$1/gr =~ s/[^\w\- ]//gr =~ tr/ /-/r;
		my $repeated = $seen{$anchor}++;

		$anchors{ $repeated ? "$anchor-$repeated" : $anchor } = 1;
	}
	return \%anchors;
}

# Relative links of a page to files or headings that do not exist.
sub dead_links
{
	my ($file) = @_;
	my $folder = $file =~ s,[^/]*$,,r;
	my @dead;

	for my $link (slurp_file($file) =~ s/^```.*?^```$//msgr =~ /\]\((?!https?:)([^)]+)\)/g)
	{
		my ($path, $anchor) = $link =~ /^([^#]*)(?:#(.*))?$/;
		my $target = $path eq '' ? $file : "$folder$path";

		push @dead, $link if !-e $target || defined $anchor && !anchors_of($target)->{$anchor};
	}
	return @dead;
}

1;
