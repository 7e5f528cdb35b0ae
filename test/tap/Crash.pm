# Points at which a test can stop a run of any kind: what the test holds is what a process of the run waits for.
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

our @EXPORT = qw(new_gates points hold stopped_process);

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

1;
