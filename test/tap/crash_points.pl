# Cancel, terminate, kill -9 of every maker of documents at every point of its way: the books are sound at once, nothing
# is left behind, and what is repeated makes the documents of an undisturbed run.

use strict;
use warnings FATAL => 'all';

use Billing;
use Crash;
use PostgreSQL::Test::Utils;
use Test::More;

# Two workers take all the slots there are: one that is not given back is missed at once.
my $node = new_server('main', 'max_worker_processes = 2', 'max_logical_replication_workers = 0', 'max_connections = 20',
	'max_prepared_transactions = 1');

# What is disturbed, and the points that it does not pass.  The victim is the session unless said otherwise; it gets both
# signals, or by turns one of them, where another kind is much the same.
my @kinds = (
	{ name => 'run', call => q{CALL billing.bill_run('AT', batch_size => 20)}, kill => 1 },
	{ name => 'drafts', call => q{CALL billing.bill_run('AT', batch_size => 20, finalize => false)}, without => ['seal'], turns => 1 },
	{ name => 'spread', call => q{CALL billing.bill_run('AT', batch_size => 20, spread => '3 days')}, turns => 1 },
	{ name => 'block', call => q{BEGIN; CALL billing.bill_run('AT', batch_size => 20); COMMIT} },
	{ name => 'account', call => q{SELECT billing.bill_account(50, 'AT')}, without => ['run'], turns => 1 },
	{ name => 'leader', call => q{CALL billing.bill_run('AT', workers => 3, batch_size => 20)}, kill => 2 },
	{ name => 'worker', call => q{CALL billing.bill_run('AT', workers => 3, batch_size => 20)}, without => ['leader'], kill => 2,
		victim => q{backend_type = 'billing run worker'} });

# What is done to it, and the SQLSTATE with which it ends.
my @signals = ([ 'cancel', 'pg_cancel_backend', '57014' ], [ 'terminate', 'pg_terminate_backend', '57P01' ]);

my @months = map { sprintf '%d-%02d-20 12:00+01', 2026 + int($_ / 12), 1 + $_ % 12 } 1 .. 48;
my %expected;

new_books($node, 'undisturbed', accounts => 60);
new_gates($node, 'undisturbed');
copy_books($node, 'undisturbed', $_) for qw(standby prepared), map { $_->{name} } @kinds;
copy_books($node, 'undisturbed', "killed_$_->{name}") for grep { $_->{kill} } @kinds;

# The documents after so many months.
sub expected_after
{
	my ($months) = @_;

	for my $month (keys(%expected) .. $months - 1)
	{
		$node->safe_psql('undisturbed', "CALL billing.bill_run('$months[$month]')");
		$expected{$month} = documents_of($node, 'undisturbed');
	}
	return $expected{ $months - 1 };
}

# A run that stands at a point, which it is to be disturbed at.
sub start_at
{
	my ($db, $kind, $point, $at) = @_;
	my $holder = hold($node, $db, $point);
	my $session = Billing::Session->new($node->connstr($db));
	my $condition = $kind->{victim} // 'pid = ' . $session->pid;

	$session->send($kind->{call} =~ s/AT/$at/r);
	return ($holder, $session, stopped_process($node, $holder, $condition));
}

# Everything is in order, and the same is done again; returns what is not as it should be.
sub repeat
{
	my ($db, $at) = @_;
	my $wrong = flaws_of($node, $db, shallow => 1, idle => 1);
	my $stderr;

	$node->psql($db, "CALL billing.bill_run('$at', workers => 3, batch_size => 20)", stderr => \$stderr);
	return "$wrong$stderr";
}

# At each point a run of a month is told to end.
for my $kind (@kinds)
{
	my $db = $kind->{name};
	my $month = 0;

	for my $point (points(@{ $kind->{without} }))
	{
		for ($kind->{turns} ? $signals[ $month % 2 ] : @signals)
		{
			my ($name, $function, $sqlstate) = @$_;
			my $at = $months[ $month++ ];
			my ($holder, $session, $pid) = start_at($db, $kind, $point, $at);

			$holder->query("SELECT $function($pid)");
			my $stderr = $kind->{victim} || $name eq 'terminate' ? '' : ($session->result)[1];
			wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid AND state = 'active')", 'it ends')
			  if $kind->{victim} || $name eq 'terminate';
			$holder->finish;
			$stderr .= ($session->result)[1] if $kind->{victim};
			$stderr .= $session->finish;
			wait_for($node, 'postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'billing run worker')}, 'no worker is left')
			  if $db eq 'leader';
			like($stderr, qr/\b$sqlstate$|server closed the connection/m, "$db: $name while it $point->{name}");
			is(repeat($db, $at), '', '... nothing is wrong');
		}
	}
	same_documents($node, $db, expected_after($month), "$db, disturbed $month times: the documents of undisturbed runs");
	sound_books($node, $db, "$db: the books are sound");
	is($node->safe_psql($db, q{
		SELECT id, r.status, worker, phase FROM billing.run r JOIN billing.run_worker w ON w.run_id = r.id
		 WHERE r.status = 'running' OR phase NOT IN ('done', 'stopped') UNION ALL
		SELECT id, status, done::int, documents::text FROM (SELECT *, (SELECT sum(done) FROM billing.run_worker w WHERE w.run_id = r.id) AS sum FROM billing.run r) x WHERE done <> sum}),
		'', "$db: no run hangs, all count what they did");
}

# At each point, or at every second where another kind is much the same, a process is killed.
for my $kind (grep { $_->{kill} } @kinds)
{
	my $db = "killed_$kind->{name}";
	my $month = 0;
	my @points = points(@{ $kind->{without} });

	for my $point (grep { $_ } map { $_ % $kind->{kill} ? undef : $points[$_] } 0 .. $#points)
	{
		my $at = $months[ $month++ ];
		my ($holder, $session, $pid) = start_at($db, $kind, $point, $at);
		my $log = -s $node->logfile;

		kill 'KILL', $pid;
		like($session->finish, qr/57P02|server closed the connection/, "$kind->{name}: kill -9 while it $point->{name}");
		$holder->finish;
		$node->wait_for_log(qr/ready to accept connections/, $log);
		is(repeat($db, $at), '', '... nothing is wrong');
	}
	same_documents($node, $db, expected_after($month), "$kind->{name}, killed $month times: the documents of undisturbed runs");
	sound_books($node, $db, "$kind->{name}: the books are sound");
}

# After its commit became durable a process waits for a standby that never comes: what it waits for stays.
my ($commit) = grep { $_->{name} eq 'commits a range' } points();
for my $month (0, 1)
{
	my ($holder, $session, $pid) = start_at('standby', $kinds[0], $commit, $months[$month]);
	my $log = -s $node->logfile;
	my $before = $node->safe_psql('standby', 'SELECT count(*) FROM billing.seal');

	$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
	$node->reload;
	$node->poll_query_until('postgres', q{SELECT current_setting('synchronous_standby_names') = 'nobody'});
	$holder->finish;
	wait_for($node, 'postgres', qq{SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = $pid}, 'the commit waits for a standby');
	if ($month == 0) { $node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)") }
	else { kill 'KILL', $pid }
	like($session->finish, qr/57P01|server closed the connection/, ($month == 0 ? 'terminate' : 'kill -9') . ' while its commit waits for a standby');
	$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$node->wait_for_log(qr/ready to accept connections/, $log) if $month == 1;
	$node->reload;
	is($node->safe_psql('standby', "SELECT count(*) > $before FROM billing.seal"), 't', '... the range stays billed');
	is(repeat('standby', $months[$month]), '', '... nothing is wrong');
}
same_documents($node, 'standby', expected_after(2), 'commits that waited for a standby: the documents of undisturbed runs');

# In a transaction block a run that was rolled back to a savepoint can be called again; prepared, it outlives the server.
$node->safe_psql('prepared', "BEGIN; SAVEPOINT a; CALL billing.bill_run('$months[0]', batch_size => 20); ROLLBACK TO a;"
	  . " CALL billing.bill_run('$months[0]', batch_size => 20); PREPARE TRANSACTION 'run'");
$node->stop('immediate');
$node->start;
is($node->safe_psql('prepared', q{SELECT count(*) FROM billing.run}), 0, 'prepared: nothing is seen');
$node->safe_psql('prepared', q{COMMIT PREPARED 'run'});
same_documents($node, 'prepared', expected_after(1), 'prepared and committed: the documents of an undisturbed run');
is(repeat('prepared', $months[0]), '', '... nothing is wrong');
$node->stop;

done_testing();
