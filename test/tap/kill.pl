# A run that dies in the middle, however it dies, and is started again makes the same documents as one
# that was left alone.  Ids are made from the account's own counter, so they are compared too, and so
# are the payload hashes; only number, position, issue date and chain follow the order of the batches.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $at = '2026-03-20 00:00+01';
my $run = "CALL billing.bill_run('$at', batch_size => 400)";
my $node = new_server('main');

new_books($node, 'undisturbed', accounts => 20000);
copy_books($node, 'undisturbed', $_) for qw(killed ended);
$node->safe_psql('undisturbed', $run);
my $expected = documents_of($node, 'undisturbed');
sound_books($node, 'undisturbed', 'undisturbed run: books are sound', shallow => 1);
is($node->safe_psql('undisturbed', 'SELECT status, accounts = done, errors FROM billing.run'), 'finished|t|0',
	'undisturbed run: every account is done');

# Starts a run in a session of its own and waits until so many of its batches are committed.
sub start_run
{
	my ($db, $batches, %settings) = @_;
	my $session = Billing::Session->new($node->connstr($db));
	my $pid = $session->pid;
	my $before = $node->safe_psql($db, 'SELECT coalesce(max(id), 0) FROM billing.run');

	$session->query("SET $_ = '$settings{$_}'") for keys %settings;
	$session->send($run);
	wait_for($node, $db, "SELECT count(*) FILTER (WHERE status = 'done') >= $batches AND count(*) > 0 FROM billing.run_batch WHERE run_id > $before",
		"$batches batches are done");
	return ($session, $pid);
}

sub runs
{
	my ($db) = @_;

	return $node->safe_psql($db, q{SELECT string_agg(status, ' ' ORDER BY id) FROM billing.run});
}

# kill -9 of the server process, at several moments of what is one month's run

for my $batches (0, 3, 11)
{
	my ($session, $pid) = start_run('killed', $batches);
	my $log = -s $node->logfile;

	kill 'KILL', $pid;
	like($session->finish, qr/server closed the connection|connection to server was lost/, "kill -9 after $batches batches");
	$node->wait_for_log(qr/ready to accept connections/, $log);
	sound_books($node, 'killed', 'books are sound in the middle of a run', shallow => 1);
}
cmp_ok($node->safe_psql('killed', q{SELECT count(*) FROM billing.account_state WHERE next_due <= timestamptz '2026-03-20 00:00+01'}),
	'>', 0, 'accounts are still due');
$node->safe_psql('killed', $run);
is(runs('killed'), 'interrupted interrupted interrupted finished', 'interrupted runs are marked');
same_documents($node, 'killed', $expected, 'kill -9: the same documents as the undisturbed run');
sound_books($node, 'killed', 'kill -9: books are sound', shallow => 1);

# Everything else that ends a run

my ($session, $pid) = start_run('ended', 2, client_connection_check_interval => '20ms');
$session->kill;
wait_for($node, 'ended', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", 'the server notices that the client is gone');
is($node->safe_psql('ended', q{SELECT count(*) > 0 FROM billing.run_batch WHERE status = 'pending'}), 't', 'client killed');

($session, $pid) = start_run('ended', 2);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
is(($session->result)[1], 'ERROR:  57014', 'pg_cancel_backend');
# The session stays, idle: the next run must not take its run for one under way.

(my $other, my $other_pid) = start_run('ended', 1);
is(runs('ended'), 'interrupted interrupted running', 'a run that was canceled is marked while its session lives on');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($other_pid)");
like($other->finish, qr/57P01|server closed the connection/, 'pg_terminate_backend');
$session->finish;

($session) = start_run('ended', 0, statement_timeout => '150ms');
is(($session->result)[1], 'ERROR:  57014', 'statement_timeout');

($other) = start_run('ended', 3);
$node->stop('immediate');
like($other->finish, qr/server closed the connection|connection to server was lost/, 'server stopped in the middle');
$node->start;
sound_books($node, 'ended', 'books are sound after it comes back', shallow => 1);

$node->safe_psql('ended', $run);
like(runs('ended'), qr/^(interrupted )+finished$/, 'all but the last run are marked');
same_documents($node, 'ended', $expected, 'ended in every way: the same documents as the undisturbed run');
sound_books($node, 'ended', 'ended in every way: books are sound');
$node->safe_psql('ended', $run);
same_documents($node, 'ended', $expected, 'one run more writes nothing');
$node->stop;

done_testing();
