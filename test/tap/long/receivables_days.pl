# Ninety days of receivables from several seeds: the pgTAP test of that name, each time in a database of its own.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/..";

use Billing;
use Test::More;

my $node = new_server('main');

plan skip_all => 'pgtap is not installed'
	if $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'pgtap'") eq '0';

for my $seed (1 .. 5)
{
	my ($out, $err);

	$node->safe_psql('postgres', "CREATE DATABASE seed_$seed");
	$node->safe_psql("seed_$seed", "CREATE EXTENSION pgtap; CREATE EXTENSION billing; SELECT billing.setup(); ALTER DATABASE seed_$seed SET test.seed = $seed");
	is($node->psql("seed_$seed", "\\i $FindBin::RealBin/../../pgtap/receivables_days.sql", extra_params => ['-At'], stdout => \$out, stderr => \$err, timeout => 1800),
		0, "seed $seed: the test ends") or diag($err);
	like($out, qr/^ok 18 /m, "seed $seed: it has come to its end");
	unlike($out, qr/^not ok/m, "seed $seed: whatever happens, all is as it must be") or diag($out);
}

$node->stop;
done_testing();
