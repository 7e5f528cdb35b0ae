# Path independence over thousands of random life cycles: the pgTAP test of that name, longer and from
# several seeds, each in a database of its own.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/..";

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');

plan skip_all => 'pgtap is not installed'
	if $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'pgtap'") eq '0';

my $test = PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../../pgtap/path_independence.sql");

for my $seed ('0.42', '0.17', '-0.5')
{
	(my $sql = $test) =~ s/setseed\([^)]*\)/setseed($seed)/;
	my $database = 'seed_' . ($seed =~ tr/-./m_/r);

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE EXTENSION pgtap; CREATE EXTENSION billing; SELECT billing.setup(); ALTER DATABASE $database SET test.cycles = 1000");

	my ($status, $out, $err) = $node->psql($database, $sql, extra_params => ['-At'], timeout => 1800);

	is($status, 0, "seed $seed: the test ends");
	unlike($out, qr/^not ok/m, "seed $seed: 1000 life cycles end as if billed once") or diag($out);
}

$node->stop;
done_testing();
