# Reads what the tests left in the folder's .gcda files and prints, file by file, the share of lines that they
# reached and those that they did not.  Fails below GOAL per cent.
#
# usage: perl coverage.pl GOAL        in the folder in which the extension was built
use strict;
use warnings;

use Cwd qw(getcwd);
use JSON::PP;

my $goal = shift;
my %lines;    # of src/..., by number: how often

for my $file (split /\n/, `find src -name '*.gcda'`)
{
	(my $folder = $file) =~ s{/[^/]*$}{};
	for my $json (split /\n/, `gcov --json-format --stdout --object-directory $folder $file 2>/dev/null`)
	{
		for my $source (@{ JSON::PP->new->decode($json)->{files} })
		{
			(my $name = $source->{file}) =~ s{^\Q@{[getcwd]}\E/|^\./}{};
			next unless $name =~ m{^src/};
			$lines{$name}{ $_->{line_number} } += $_->{count} for @{ $source->{lines} };
		}
	}
}

# "12-14 20" of a list of numbers
sub ranges
{
	my @ranges;

	for my $number (@_)
	{
		if (@ranges && $ranges[-1][1] == $number - 1) { $ranges[-1][1] = $number }
		else { push @ranges, [ $number, $number ] }
	}
	return join ' ', map { $_->[0] == $_->[1] ? $_->[0] : "$_->[0]-$_->[1]" } @ranges;
}

my ($all, $reached) = (0, 0);
for my $name (sort keys %lines)
{
	my $counts = $lines{$name};
	my @missed = sort { $a <=> $b } grep { !$counts->{$_} } keys %$counts;
	my $total = keys %$counts;

	$all += $total;
	$reached += $total - @missed;
	printf "coverage   %-32s %3d %% of %4d%s\n", $name, 100 * ($total - @missed) / $total, $total, @missed ? ', not ' . ranges(@missed) : '';
}
die "no lines were counted\n" unless $all;
my $share = 100 * $reached / $all;
printf "coverage   all %31.1f %% of %d\n", $share, $all;
exit($share >= $goal ? 0 : 1);
