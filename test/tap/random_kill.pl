# Ten monthly runs with workers in a row, in each of which a process is killed at random: what the next ones make up for
# is what undisturbed runs made.

use strict;
use warnings FATAL => 'all';

use Crash;
use Test::More;

kill_at_random(accounts => 5000);
done_testing();
