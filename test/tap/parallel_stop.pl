# Whatever ends a run with workers, or one of its workers, nothing is half done, no process is left
# within a second, and the next run makes the documents of an undisturbed one.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $at = '2026-03-20 00:00+01';
my $run = "CALL billing.bill_run('$at', workers => 3, batch_size => 20)";
my $node = new_server('main', 'max_connections = 30');
my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'billing run worker'};

new_books($node, 'undisturbed', accounts => 4000);
copy_books($node, 'undisturbed', $_) for qw(stopped died);
$node->safe_psql('undisturbed', "CALL billing.bill_run('$at')");
my $expected = documents_of($node, 'undisturbed');

# Starts a run in a session of its own and waits until three processes take part and so many of its
# ranges are done.
sub start_run
{
	my ($db, $ranges, %settings) = @_;
	my $session = Billing::Session->new($node->connstr($db));
	my $pid = $session->pid;
	my $before = $node->safe_psql($db, 'SELECT coalesce(max(id), 0) FROM billing.run');

	$session->query("SET $_ = '$settings{$_}'") for keys %settings;
	$session->send($run);
	wait_for($node, $db, "SELECT count(*) FILTER (WHERE status <> 'pending') >= $ranges AND ($workers) = 2 FROM billing.run_batch WHERE run_id > $before",
		"$ranges ranges are done by three processes");
	return ($session, $pid);
}

# The same while another session holds the series, so that all three wait for it.
sub start_and_hold
{
	my ($db, %settings) = @_;
	my $holder = Billing::Session->new($node->connstr($db));

	$holder->query('BEGIN; SELECT FROM billing.series FOR NO KEY UPDATE');
	my ($session, $pid) = start_run($db, 0, %settings);
	wait_for($node, $db, q{SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}, 'three processes wait');
	return ($session, $pid, $holder);
}

# Nobody is left, nothing changes any more, the books are sound.
sub all_stopped
{
	my ($db, $name) = @_;

	is($node->safe_psql($db, $workers), 0, "$name: no worker is left");
	sound_books($node, $db, "$name: books are sound", shallow => 1);
	return;
}

# A leader that is canceled tells its caller when its workers are gone, also from waits

for my $held (0, 1)
{
	my ($session, $pid, $holder) = $held ? start_and_hold('stopped') : start_run('stopped', 3);
	my $done = $node->safe_psql('stopped', 'SELECT count(*) FROM billing.seal');
	my $start = time;

	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	is(($session->result)[1], 'ERROR:  57014', 'canceled');
	cmp_ok(time - $start, '<', 1, 'canceled: within a second');
	all_stopped('stopped', 'canceled');
	is($node->safe_psql('stopped', 'SELECT count(*) FROM billing.seal'), $done, 'canceled: who waited wrote nothing') if $held;
	$_->finish for grep { defined } $session, $holder;
}

my ($session, $pid, $holder) = start_and_hold('stopped', statement_timeout => '1s');
is(($session->result)[1], 'ERROR:  57014', 'statement_timeout');
all_stopped('stopped', 'statement_timeout');
$_->finish for $session, $holder;

# A leader that is terminated, or whose client is gone, cannot wait for its workers

($session, $pid, $holder) = start_and_hold('stopped');
my $start = time;
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)");
wait_for($node, 'stopped', "SELECT ($workers) = 0", 'its workers are gone');
cmp_ok(time - $start, '<', 1, 'terminated: within a second');
like($session->finish, qr/57P01|server closed the connection/, 'terminated');
$holder->finish;
all_stopped('stopped', 'terminated');

($session, $pid) = start_run('stopped', 2, client_connection_check_interval => '20ms');
$session->kill;
wait_for($node, 'stopped', "SELECT ($workers) = 0", 'its workers are gone');
all_stopped('stopped', 'client killed');
like($node->safe_psql('stopped', q{SELECT string_agg(DISTINCT status, ' ') FROM billing.run_batch}), qr/pending/, 'client killed in the middle');

# The server stops

($session, undef, $holder) = start_and_hold('stopped');
$start = time;
$node->stop('fast');
cmp_ok(time - $start, '<', 5, 'server stopped fast');
$_->finish for $session, $holder;
$node->start;
all_stopped('stopped', 'server stopped fast');
($session) = start_run('stopped', 1);
$node->stop('immediate');
$session->finish;
$node->start;
all_stopped('stopped', 'server stopped at once');

$node->safe_psql('stopped', $run);
like($node->safe_psql('stopped', q{SELECT string_agg(status, ' ' ORDER BY id) FROM billing.run}), qr/^(interrupted ){7}finished$/, 'all but the last run are marked');
same_documents($node, 'stopped', $expected, 'stopped in every way: the same documents as the undisturbed run');
sound_books($node, 'stopped', 'stopped in every way: books are sound');

# A worker ends, by a signal that it heeds: the others finish the run

for ([ 'pg_cancel_backend', 'canceled', '57014' ], [ 'pg_terminate_backend', 'terminated', '57P01' ])
{
	my ($how, $books, $sqlstate) = @$_;

	copy_books($node, 'died', $books);
	($session, undef, $holder) = start_and_hold($books);
	$node->safe_psql($books, qq{SELECT $how(pid) FROM billing.run_worker WHERE worker = 1});
	wait_for($node, $books, "SELECT ($workers) = 1", 'one worker is gone');
	$holder->query('COMMIT');
	like(($session->result)[1], qr/^WARNING:  $sqlstate$/m, "$how: the run ends, with a warning");
	is($node->safe_psql($books, q{SELECT string_agg(worker || ' ' || phase, ', ' ORDER BY worker) FROM billing.run_worker}),
		'0 done, 1 stopped, 2 done', "$how: which one is noted");
	is($node->safe_psql($books, q{SELECT status || ' ' || (done = accounts) FROM billing.run}), 'finished true', "$how: everything is billed");
	same_documents($node, $books, $expected, "$how: the same documents");
	$_->finish for $session, $holder;
}
sound_books($node, 'terminated', 'a worker ended: books are sound', shallow => 1);

# A worker ends by an error of the server: the caller learns which

copy_books($node, 'died', 'failed');
$node->safe_psql('failed', q{
	CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	    IF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'billing run worker' THEN
	        RAISE disk_full USING MESSAGE = 'no room for 100 % of ' || quote_literal('it'), DETAIL = 'the disk is small', HINT = 'buy another';
	    END IF;
	    RETURN NULL; END $$;
	CREATE TRIGGER fail AFTER INSERT ON billing.invoice_header EXECUTE FUNCTION public.fail()});
# While the leader waits, so that both have begun.
$holder = Billing::Session->new($node->connstr('failed'));
$holder->query('BEGIN; SELECT FROM billing.series FOR NO KEY UPDATE');
$session = Billing::Session->new($node->connstr('failed'), VERBOSITY => 'verbose', SHOW_CONTEXT => 'always');
$session->send($run);
wait_for($node, 'failed', "SELECT count(*) = 3 AND ($workers) = 0 FROM billing.run_worker", 'both workers have ended');
$holder->query('COMMIT');
my $told = ($session->result)[1];
like($told, qr/WARNING:  53100: bill run 1: worker $_ ended early: no room for 100 % of 'it'\nDETAIL:  the disk is small\nHINT:  buy another\nCONTEXT:  PL\/pgSQL function (?:public\.)?fail\(\)/,
	"error of worker $_: the caller learns all of it") for 1, 2;
$_->finish for $session, $holder;
same_documents($node, 'failed', $expected, 'both workers ended: the same documents');
sound_books($node, 'failed', 'both workers ended: books are sound', shallow => 1);

# A worker or the leader is killed: the server starts anew, and nothing but whole ranges is there

for my $worker (0, 1, 2)
{
	($session) = start_run('died', 2 + 3 * $worker);
	my $log = -s $node->logfile;

	kill 'KILL', $node->safe_psql('died', "SELECT pid FROM billing.run_worker WHERE worker = $worker ORDER BY run_id DESC LIMIT 1");
	like($session->finish, qr/server closed the connection|connection to server was lost|57P02/, "kill -9 of process $worker");
	$node->wait_for_log(qr/ready to accept connections/, $log);
	all_stopped('died', "kill -9 of process $worker");
}
$node->safe_psql('died', $run);
same_documents($node, 'died', $expected, 'kill -9: the same documents');
sound_books($node, 'died', 'kill -9: books are sound', shallow => 1);
$node->stop;

done_testing();
