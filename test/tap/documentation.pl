# What doc/ says is what happens: the reference and the pictures are those of the catalog and the source, the SQL of
# the guides runs and prints what they show, and all links lead somewhere.

use strict;
use warnings FATAL => 'all';

use Digest::MD5 qw(md5_hex);
use Pages;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('documentation');

$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\ntimezone = 'UTC'");
$node->start;
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGUSER} = $node->safe_psql('postgres', 'SELECT current_user');

# Generated pages and pictures

sub files_of
{
	my ($folder, $ending) = @_;

	return { map { s,.*/,,r => slurp_file($_) } glob "$folder/*.$ending" };
}

# Names of files that one side lacks or that differ.
sub differing
{
	my ($one, $other) = @_;
	my %all = (%$one, %$other);

	return grep { ($one->{$_} // '') ne ($other->{$_} // '') } sort keys %all;
}

$node->safe_psql('postgres', 'CREATE DATABASE books');
$node->safe_psql('books', 'CREATE EXTENSION billing; SELECT billing.setup()');
$ENV{PGDATABASE} = 'books';

for my $made ([ 'reference', 'md' ], [ 'pictures', 'dot' ])
{
	my ($what, $ending) = @$made;
	my $folder = PostgreSQL::Test::Utils::tempdir;

	output_of("doc/bin/$what.pl", $^X, '-I', 'doc/bin', "doc/bin/$what.pl", $folder);
	my @stale = differing(files_of($folder, $ending), files_of("doc/$what", $ending));
	is("@stale", '', "doc/$what is what the catalog and the source say")
	  or diag("\"make doc\" makes it anew; what changed:\n" . join '', map { `diff "doc/$what/$_" "$folder/$_" 2>&1` } @stale);
	cmp_ok(scalar keys %{ files_of($folder, $ending) }, '>', 8, "doc/$what: pages were made");
}
is(join(' ', grep { index(eval { slurp_file(s/dot$/svg/r) } // '', md5_hex(slurp_file($_))) < 0 } glob 'doc/pictures/*.dot'),
	'', 'every picture is drawn from what it is said to be');

# Guides.  Those of the developer and on receivables begin with empty books, the analyst's with those of the demo, the
# DBA's with nothing.

sub check_guide
{
	my ($name, $least) = @_;
	my @blocks = blocks_of(slurp_file("doc/$name.md"));

	$ENV{PGDATABASE} = $name;
	cmp_ok(run_sql("doc/$name.md", grep { $_->{kind} eq 'sql' } @blocks), '>=', $least, "doc/$name.md: SQL blocks were found");
	is($node->safe_psql($name, 'SELECT * FROM billing.check(deep => true)'), '', "doc/$name.md: the books are sound after it");
	return;
}

$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(developer receivables analyst dba);
for my $guide ([ 'developer', 10 ], [ 'receivables', 20 ])
{
	$node->safe_psql($guide->[0], 'CREATE EXTENSION billing; SELECT billing.setup()');
	check_guide(@$guide);
}

$ENV{PGDATABASE} = 'analyst';
output_of('make demo', 'sh', 'test/demo/run.sh');
check_guide('analyst', 8);
check_guide('dba', 5);

# Links

my @pages = glob '*.md doc/*.md doc/reference/*.md test/*.md test/*/README.md src/*/README.md';

is(join(' ', map { my $page = $_; map { "$page: $_" } dead_links($page) } @pages), '', 'every link leads to a file and a heading');
my $index = slurp_file('doc/README.md');
is(join(' ', grep { index($index, "($_)") < 0 } map { s,^doc/,,r } grep { $_ ne 'doc/README.md' } glob 'doc/*.md doc/reference/README.md'),
	'', 'doc/README.md names every page');

$node->stop;
done_testing();
