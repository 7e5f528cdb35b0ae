# Points at which a test can stop a run of any kind, and runs that are killed at random.
#
# At a point the test holds what a process of the run waits for.
#
#   new_gates($node, 'a');
#   for my $point (points())
#   {
#       my $holder = hold($node, 'a', $point);
#       ... start a run ...
#       my $pid = stopped_process($node, $holder, "backend_type = 'billing run worker'");
#
# The packaged server has no injection points; locks on the books, and triggers that wait for a lock (gates), do as well.
# A gate opens where nobody holds its table.

package Crash;

use strict;
use warnings FATAL => 'all';

use Billing;
use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(new_gates points hold stopped_process kill_at_random);

# Name of a point, what the test holds there, and whether only a run, rather than every maker of documents, comes by.
# Where only some ranges of accounts come by, not every process of a run waits there.
my @points = (
	{ name => 'enters the run', hold => 'LOCK TABLE billing.run IN SHARE MODE', run => 1, leader => 1 },
	{ name => 'lists the work', hold => 'LOCK TABLE billing.run_batch IN SHARE MODE', run => 1, leader => 1 },
	{ name => 'locks accounts', hold => 'LOCK TABLE billing.account_state IN EXCLUSIVE MODE' },
	{ name => 'waits for an account', hold => 'SELECT FROM billing.account_state WHERE account_id = 50 FOR NO KEY UPDATE', leader => 1 },
	{ name => 'loads', hold => 'LOCK TABLE billing.item_version IN ACCESS EXCLUSIVE MODE' },
	{ name => 'writes states', hold => 'LOCK TABLE billing.account_state IN SHARE MODE' },
	{ name => 'writes headers', hold => 'LOCK TABLE billing.invoice_header IN SHARE MODE' },
	{ name => 'is in the middle of lines', hold => 'LOCK TABLE gate.line IN EXCLUSIVE MODE' },
	{ name => 'is in the middle of lines of the last range', hold => 'LOCK TABLE gate.last_line IN EXCLUSIVE MODE', leader => 1 },
	{ name => 'writes taxes', hold => 'LOCK TABLE billing.invoice_tax IN SHARE MODE' },
	{ name => 'writes charges', hold => 'LOCK TABLE billing.charge IN SHARE MODE' },
	{ name => 'locks the series', hold => 'SELECT FROM billing.series FOR NO KEY UPDATE', seal => 1 },
	{ name => 'seals', hold => 'LOCK TABLE billing.seal IN SHARE MODE', seal => 1 },
	{ name => 'reports', hold => 'LOCK TABLE gate.report IN EXCLUSIVE MODE', run => 1 },
	{ name => 'commits a range', hold => 'LOCK TABLE gate.commit IN EXCLUSIVE MODE' },
	{ name => 'finishes the run', hold => 'LOCK TABLE gate.finish IN EXCLUSIVE MODE', run => 1, leader => 1 });

my $gates = <<'SQL';
CREATE SCHEMA gate;
CREATE TABLE gate.line ();
CREATE TABLE gate.last_line ();
CREATE TABLE gate.report ();
CREATE TABLE gate.commit ();
CREATE TABLE gate.finish ();
CREATE FUNCTION gate.pass() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK TABLE gate.%I IN ROW SHARE MODE', TG_NAME);
    RETURN NEW;
END $$;
CREATE TRIGGER line BEFORE INSERT ON billing.invoice_line FOR EACH ROW WHEN (NEW.account_id % 20 = 10) EXECUTE FUNCTION gate.pass();
CREATE TRIGGER last_line BEFORE INSERT ON billing.invoice_line FOR EACH ROW WHEN (NEW.account_id = 50) EXECUTE FUNCTION gate.pass();
CREATE TRIGGER report BEFORE UPDATE ON billing.run_worker FOR EACH ROW WHEN (NEW.done > 0) EXECUTE FUNCTION gate.pass();
CREATE CONSTRAINT TRIGGER commit AFTER INSERT ON billing.invoice_header DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.account_id % 20 = 10) EXECUTE FUNCTION gate.pass();
CREATE TRIGGER finish BEFORE UPDATE ON billing.run FOR EACH ROW WHEN (NEW.status = 'finished') EXECUTE FUNCTION gate.pass();
SQL

# Books get their gates.
sub new_gates
{
	my ($node, $db) = @_;

	$node->safe_psql($db, $gates);
	return;
}

# The points that lack all of the marks given.
sub points
{
	my (@without) = @_;

	return grep { my $point = $_; !grep { $point->{$_} } @without } @points;
}

# A session that holds what a run needs at a point.
sub hold
{
	my ($node, $db, $point) = @_;
	my $holder = Billing::Session->new($node->connstr($db));

	$holder->{pid} = $holder->pid;
	$holder->query("BEGIN; $point->{hold}");
	return $holder;
}

# Waits until a process of a run waits for the holder, and one that meets a condition waits too, for it or for another
# process of the run; returns its id.
sub stopped_process
{
	my ($node, $holder, $condition) = @_;
	my $held = "$holder->{pid} = ANY (pg_blocking_pids(pid))";

	return wait_for($node, 'postgres', "SELECT pid FROM pg_stat_activity WHERE $condition AND wait_event_type IN ('Lock', 'Extension')"
		  . " AND EXISTS (SELECT FROM pg_stat_activity WHERE $held) ORDER BY $held DESC LIMIT 1", 'the run waits');
}

# Kilobytes of memory that are a process's own; undef where the system does not tell.
sub memory_of
{
	my ($pid) = @_;
	my $file = "/proc/$pid/status";

	return -r $file && slurp_file($file) =~ /^RssAnon:\s+(\d+) kB/m ? $1 : undef;
}

# Whether so many ranges of a run behind one with that id are done.
sub ranges_done
{
	my ($ranges, $after) = @_;

	return "SELECT count(*) FILTER (WHERE status = 'done') >= $ranges AND count(*) > 0 FROM billing.run_batch WHERE run_id > $after";
}

sub last_run
{
	my ($node, $db) = @_;

	return $node->safe_psql($db, 'SELECT coalesce(max(id), 0) FROM billing.run');
}

# Monthly runs of one session.  Its memory grows neither from range to range nor from month to month.
sub run_undisturbed
{
	my ($node, $db, $ranges, @calls) = @_;
	my $session = Billing::Session->new($node->connstr($db));
	my $pid = $session->pid;
	my @after;

	for my $call (@calls)
	{
		my $before = last_run($node, $db);

		$session->send($call);
		if ($call eq $calls[-1])
		{
			my @within = map { wait_for($node, $db, ranges_done($_ * $ranges, $before), 'ranges are done'); memory_of($pid) } 0.3, 0.9;

		  SKIP:
			{
				skip 'the system does not tell the memory of a process', 1 if !defined $within[0];
				note "memory in a run: @within kB";
				cmp_ok($within[1] - $within[0], '<', 4096, 'memory does not grow from range to range');
			}
		}
		$session->result;
		push @after, memory_of($pid);
	}
	$session->finish;
  SKIP:
	{
		skip 'the system does not tell the memory of a process', 1 if !defined $after[0];
		note "memory after each run: @after kB";
		cmp_ok($after[-1] - $after[1], '<', 2048, 'memory does not grow from run to run');
	}
	return;
}

# Starts a run and kills one of its processes, whichever, behind so many ranges or a little later.
sub kill_one
{
	my ($node, $db, $ranges, $call) = @_;
	my $session = Billing::Session->new($node->connstr($db));
	my $before = last_run($node, $db);
	my $log = -s $node->logfile;

	$session->send($call);
	wait_for($node, $db, ranges_done($ranges, $before), 'the run is under way');
	usleep(rand 20_000);
	my @pids = split /\n/, $node->safe_psql($db, "SELECT pid FROM billing.run_worker WHERE run_id > $before AND phase <> 'done'");
	my $killed = @pids && kill 'KILL', $pids[ rand @pids ];

	note sprintf '%s one of %d processes behind %d ranges', $killed ? 'killed' : 'could not kill', scalar @pids, $ranges;
	$session->result if !$killed;
	$session->finish;
	$node->wait_for_log(qr/ready to accept connections/, $log) if $killed;
	return $killed;
}

# Ten monthly runs with workers in a row, in each of which a process is killed at random, and then one without:
# afterwards the books are those of undisturbed runs.
sub kill_at_random
{
	my (%options) = @_;
	my $seed = time;
	my $node = new_server('main');
	my $size = $options{accounts} / 50;
	my @months = map { sprintf '2026-%02d-20 00:00+01', $_ } 1 .. 10;
	my @calls = map { "CALL billing.bill_run('$_', workers => 3, batch_size => $size)" } @months;

	# A failure can be repeated roughly: when a process dies depends on the machine.
	note "seed $seed";
	srand $seed;
	new_books($node, 'undisturbed', accounts => $options{accounts});
	copy_books($node, 'undisturbed', 'killed');
	run_undisturbed($node, 'undisturbed', 40, map { "CALL billing.bill_run('$_', batch_size => $size)" } @months);
	cmp_ok(scalar(grep { kill_one($node, 'killed', int(rand 20), $_) } @calls), '>=', 8, 'a process of nearly every run was killed');
	is(flaws_of($node, 'killed', shallow => 1, idle => 1), '', 'after ten kills the books are sound');
	$node->safe_psql('killed', $calls[-1]);

	# An account that is done is billed through the run that came to it, which may be a later one.
	my $state = q{SELECT md5(string_agg(concat_ws(' ', account_id, next_ordinal, recompute_from, next_due), ',' ORDER BY account_id)) FROM billing.account_state};
	my ($expected, $got) = map { +{ %{ documents_of($node, $_) }, account_state => $node->safe_psql($_, $state) } } qw(undisturbed killed);
	is_deeply($got, $expected, 'the same documents as of undisturbed runs');
	is(flaws_of($node, 'killed', idle => 1), '', 'at the end the books are sound, and nothing is left behind');
	is($node->safe_psql('killed', q{SELECT string_agg(DISTINCT status, ' ' ORDER BY status) FROM billing.run}), 'finished interrupted',
		'runs were interrupted, the last one finished');
	$node->stop;
	return;
}

1;
