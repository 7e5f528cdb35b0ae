# random_kill.pl with many accounts.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/..";

use Crash;
use Test::More;

kill_at_random(accounts => 100_000);
done_testing();
