# Path independence over thousands of random lives: the pgTAP test of that name, longer and from several seeds, each in
# a database of its own.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/..";

use Billing;
use Test::More;

my $lives = 800;
my $node = new_server('main');

plan skip_all => 'pgtap is not installed'
	if $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'pgtap'") eq '0';

for my $seed (2 .. 4)
{
	my ($status, $out, $err) = live_lives($node, "seed_$seed", $lives, $seed);

	is($status, 0, "seed $seed: the test ends") or diag($err);
	like($out, qr/^ok 1 - $lives random lives/m, "seed $seed: $lives lives end as if billed once");
	unlike($out, qr/^not ok/m, "seed $seed: all that a life can hold occurred, and the books are sound") or diag($out);
	note($out);
}

$node->stop;
done_testing();
