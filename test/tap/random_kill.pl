# Ten monthly runs with workers in a row, in each of which a process is killed at random: what the next
# ones make up for is what undisturbed runs made.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $seed = time;
my @months = map { sprintf '2026-%02d-20 00:00+01', $_ } 1 .. 10;
my $node = new_server('main');

# A failure can be repeated roughly: when a process dies depends on the machine.
note "seed $seed";
srand $seed;

sub run_at
{
	my ($at) = @_;

	return "CALL billing.bill_run('$at', workers => 3, batch_size => 100)";
}

new_books($node, 'undisturbed', accounts => 5000);
copy_books($node, 'undisturbed', 'killed');
$node->safe_psql('undisturbed', "CALL billing.bill_run('$_')") for @months;

for my $at (@months)
{
	my $session = Billing::Session->new($node->connstr('killed'));
	my $before = $node->safe_psql('killed', 'SELECT coalesce(max(id), 0) FROM billing.run');
	my $log = -s $node->logfile;
	my $ranges = int rand 20;

	$session->send(run_at($at));
	wait_for($node, 'killed', "SELECT count(*) FILTER (WHERE status = 'done') >= $ranges AND count(*) > 0 FROM billing.run_batch WHERE run_id > $before", 'the run is under way');
	usleep(rand 20_000);
	my @pids = split /\n/, $node->safe_psql('killed', "SELECT pid FROM billing.run_worker WHERE run_id > $before");
	my $victim = $pids[ rand @pids ];
	note "$at: killed one of " . @pids . " processes behind range $ranges";
	if (kill 'KILL', $victim)
	{
		$session->finish;
		$node->wait_for_log(qr/ready to accept connections/, $log);
	}
	else
	{
		# A worker that had ended by then
		$session->result;
		$session->finish;
	}
}
sound_books($node, 'killed', 'after ten kills the books are sound', shallow => 1);
$node->safe_psql('killed', run_at($months[-1]));
my ($expected, $got) = map { documents_of($node, $_) } qw(undisturbed killed);
# An account that is done is billed through the run that came to it, which may be a later one.
my $state = q{SELECT md5(string_agg(concat_ws(' ', account_id, next_ordinal, recompute_from, next_due), ',' ORDER BY account_id)) FROM billing.account_state};
$_->[0]{account_state} = $node->safe_psql($_->[1], $state) for [ $expected, 'undisturbed' ], [ $got, 'killed' ];
is_deeply($got, $expected, 'the same documents as of undisturbed runs');
sound_books($node, 'killed', 'at the end the books are sound', shallow => 1);
like($node->safe_psql('killed', q{SELECT string_agg(DISTINCT status, ' ' ORDER BY status) FROM billing.run}), qr/^finished interrupted$/, 'runs were interrupted, the last one finished');
is($node->safe_psql('killed', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'billing run worker'}), 0, 'no process is left');
is($node->safe_psql('killed', q{SELECT count(*) FROM pg_prepared_xacts}), 0, 'no transaction is left');
$node->stop;

done_testing();
