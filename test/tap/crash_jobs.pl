# A bill run that is a job ends by itself, whatever befell it or the server: nobody has to start it again.

use strict;
use warnings FATAL => 'all';

use Billing;
use Crash;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_server('main', "shared_preload_libraries = 'billing'", 'billing.job_retry = 1');

# Who is hit, by what, while the run stands where.  After signals the server goes on, else it starts anew.
my @cases = (
	[ 'runner', 'pg_cancel_backend', 'loads' ],
	[ 'runner', 'pg_terminate_backend', 'seals' ],
	[ 'runner', 'kill', 'commits a range' ],
	[ 'run worker', 'kill', 'locks the series' ],
	[ 'scheduler', 'kill', 'finishes the run' ],
	[ 'launcher', 'kill', 'is in the middle of lines' ],
	[ 'bystander', 'kill', 'reports' ],
	[ 'postmaster', 'kill', 'writes charges' ],
	[ 'server', 'stop -m immediate', 'lists the work' ]);

# The server comes back after its postmaster was killed, as soon as the last of its processes has noticed.
sub start_again
{
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	until ($node->start(fail_ok => 1))
	{
		die 'timed out waiting until the server starts' if time > $end;
		usleep(100_000);
		$node->stop('fast', fail_ok => 1);
	}
	return;
}

# Does to the victim what is to be done, while the holder keeps the run from going on.
sub hit
{
	my ($victim, $how, $job, $holder) = @_;
	my $log = -s $node->logfile;
	my $pid = $victim eq 'bystander' ? $holder->{pid}
	  : $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'billing $victim' LIMIT 1");

	if ($victim eq 'postmaster') { $node->kill9 }
	elsif ($victim eq 'server') { $node->stop('immediate') }
	elsif ($how eq 'kill') { kill 'KILL', $pid; $node->wait_for_log(qr/ready to accept connections/, $log) }
	else
	{
		$node->safe_psql('postgres', "SELECT $how($pid)");
		wait_for($node, 'books', qq{SELECT EXISTS (SELECT FROM billing.job_history WHERE job = '$job' AND status <> 'running')}, 'its end is noted');
	}
	$holder->finish; # before a new server inherits its pipes
	start_again() if $victim eq 'postmaster' || $victim eq 'server';
	return;
}

new_books($node, 'undisturbed', accounts => 60);
new_gates($node, 'undisturbed');
copy_books($node, 'undisturbed', 'books');

for my $i (0 .. $#cases)
{
	my ($victim, $how, $where) = @{ $cases[$i] };
	my ($point) = grep { $_->{name} eq $where } points();
	my $at = sprintf '2026-%02d-20 12:00+01', $i + 2;
	my $holder = hold($node, 'books', $point);

	$node->safe_psql('books', qq{SELECT billing.schedule_job('month $i', 'billing.bill_run', '1 year', arguments => '{"at": "$at", "workers": 3, "batch_size": 20}')});
	stopped_process($node, $holder, sprintf q{backend_type = 'billing %s'}, $victim eq 'run worker' ? $victim : 'runner');
	hit($victim, $how, "month $i", $holder);
	wait_for($node, 'books', qq{SELECT EXISTS (SELECT FROM billing.job_history WHERE job = 'month $i' AND status = 'succeeded')}, 'the job has done its work');
	is(flaws_of($node, 'books', shallow => 1), '', "$victim, $how, while the run $where: the job ends its work, and nothing is wrong");
	$node->safe_psql('undisturbed', "CALL billing.bill_run('$at')");
}
same_documents($node, 'books', documents_of($node, 'undisturbed'), 'the documents of undisturbed runs');
sound_books($node, 'books', 'the books are sound');
is($node->safe_psql('books', q{SELECT string_agg(DISTINCT status, ' ' ORDER BY status) FROM billing.run}), 'finished interrupted', 'no run hangs');
is($node->safe_psql('books', q{SELECT string_agg(DISTINCT status, ' ' ORDER BY status), count(*) FILTER (WHERE status = 'succeeded') FROM billing.job_history}),
	'failed interrupted succeeded|' . @cases, 'no job hangs or is done twice');

# A run that never waits for anything notices too that the postmaster is gone, or no other could start.

new_books($node, 'busy', accounts => 8000);
my $session = Billing::Session->new($node->connstr('busy'));
$session->send(q{CALL billing.bill_run('2026-03-20 12:00+01', batch_size => 20)});
wait_for($node, 'busy', q{SELECT count(*) > 3 FROM billing.run_batch WHERE status = 'done'}, 'the run is under way');
$node->kill9;
like($session->finish, qr/57P01|server closed the connection/, 'postmaster killed: a run that never waits ends');
start_again();
is($node->safe_psql('busy', q{SELECT count(*) > 0 FROM billing.run_batch WHERE status = 'pending'}), 't', 'in the middle');
sound_books($node, 'busy', 'and the books are sound', shallow => 1);
$node->stop;

done_testing();
