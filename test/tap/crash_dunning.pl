# Cancel, terminate, kill -9 of a dunning run, and of a collection run, at every point of its way: the books are sound at
# once, and what is repeated does what undisturbed runs do.

use strict;
use warnings FATAL => 'all';

use Billing;
use Crash qw(hold stopped_process);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', 'max_connections = 20');

# What the test holds, and where the run stands then.  All is held that a run writes, in the order in which it does, and the
# commit of its first batch, by a gate.
my @points = (
	{ name => 'enters the run', hold => 'LOCK TABLE billing.run IN SHARE MODE' },
	{ name => 'lists the work', hold => 'LOCK TABLE billing.run_batch IN SHARE MODE' },
	{ name => 'waits for an account', hold => 'SELECT FROM billing.account_state WHERE account_id = 25 FOR NO KEY UPDATE' },
	{ name => 'changes cases', hold => 'LOCK TABLE billing.dunning_case IN SHARE MODE' },
	{ name => 'notes steps', hold => 'LOCK TABLE billing.dunning_action IN SHARE MODE' },
	{ name => 'writes claims', hold => 'LOCK TABLE billing.invoice_header IN SHARE MODE' },
	{ name => 'locks the series', hold => 'SELECT FROM billing.series FOR NO KEY UPDATE' },
	{ name => 'seals claims', hold => 'LOCK TABLE billing.seal IN SHARE MODE' },
	{ name => 'writes messages', hold => 'LOCK TABLE billing.notification IN SHARE MODE' },
	{ name => 'is in the middle of steps', hold => 'LOCK TABLE gate.step IN EXCLUSIVE MODE' },
	{ name => 'tells', hold => 'LOCK TABLE billing.event IN SHARE MODE' },
	{ name => 'commits a batch', hold => 'LOCK TABLE gate.commit IN EXCLUSIVE MODE' });
my @signals = (
	[ cancel => sub { $node->safe_psql('postgres', "SELECT pg_cancel_backend($_[0])") }, qr/\b57014$/m ],
	[ terminate => sub { $node->safe_psql('postgres', "SELECT pg_terminate_backend($_[0])") }, qr/\b57P01$|server closed the connection/m ],
	[ 'kill -9' => sub { kill 'KILL', $_[0] }, qr/\b57P02$|server closed the connection/m ]);

# Forty debtors, and a scheme with a step for each day; every fifth has a card.
my $steps = join ',', map {
	sprintf '{"after":"%d days","actions":["remind","fee","retry_collection","event"],"template":"reminder","fee":%d}', $_, 1 + $_ % 3
} 1 .. 2 * @points + 2;
my $books = <<"SQL";
CREATE EXTENSION billing;
SELECT billing.setup();
SELECT billing.create_entity('acme', name => 'Acme', country => 'DE', currency => 'EUR', time_zone => 'UTC');
SELECT billing.create_template('acme', 'reminder', 'mail', 'en', '{amount_due} {fee}', subject => '{step_no}');
SELECT billing.create_dunning_scheme('daily', '[$steps]', currency => 'EUR');
SELECT billing.assign_dunning_scheme('daily', entity => 'acme');
SELECT billing.record_external_invoice(billing.create_account('Debtor ' || n, email => n || '\@example.com'), 'X' || n, '2026-01-01', 100 + n, 'EUR', due_on => '2026-01-10') FROM generate_series(1, 40) n;
SELECT billing.add_payment_method(n, 'card', provider => 'psp', token => 'tok') FROM generate_series(1, 40, 5) n;
CREATE SCHEMA gate;
CREATE TABLE gate.step ();
CREATE TABLE gate.request ();
CREATE TABLE gate.commit ();
CREATE FUNCTION gate.pass() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
    EXECUTE format('LOCK TABLE gate.%I IN ROW SHARE MODE', TG_NAME);
    RETURN NEW;
END \$\$;
CREATE TRIGGER step BEFORE INSERT ON billing.dunning_action FOR EACH ROW WHEN (NEW.account_id = 25) EXECUTE FUNCTION gate.pass();
CREATE TRIGGER request BEFORE INSERT ON billing.collection FOR EACH ROW WHEN (NEW.account_id = 21) EXECUTE FUNCTION gate.pass();
CREATE CONSTRAINT TRIGGER commit AFTER INSERT ON billing.dunning_action DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.account_id = 25) EXECUTE FUNCTION gate.pass();
SQL
for my $db ('undisturbed', 'disturbed')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, $books);
}

# What was done, without ids and numbers, which depend on the order of the accounts.
my $done = <<'SQL';
SELECT 'step', x.account_id::text, concat_ws(' ', x.round, x.step_no, x.due_at, x.done_at, x.amount_due, x.fee, x.done, x.passed_over, x.collection_id IS NULL) FROM billing.dunning_action x
UNION ALL SELECT 'case', c.account_id::text, concat_ws(' ', c.round, c.state, c.step_no, c.next_step_at, c.stepped_at) FROM billing.dunning_case c
UNION ALL SELECT 'claim', i.account_id::text, concat_ws(' ', i.issued_on, i.total, i.status) FROM billing.invoice i WHERE i.kind = 'claim'
UNION ALL SELECT 'message', n.account_id::text, concat_ws(' ', n.created_at, n.subject, n.body, n.status) FROM billing.notification n
UNION ALL SELECT 'collection', k.account_id::text, concat_ws(' ', k.requested_at, k.status, k.amount) FROM billing.collection k
UNION ALL SELECT 'event', e.account_id::text, concat_ws(' ', e.event_no, e.type, e.occurred_at) FROM billing.event e WHERE e.type !~ '^(account|payment_method)[.]'
ORDER BY 1, 2, 3
SQL
my $day = 0;

# Stops a call at a point, sends the signal, and lets the same be done again.
sub disturb
{
	my ($call, $point, $signal, $at) = @_;
	my ($name, $send, $error) = @$signal;
	my $log = -s $node->logfile;
	my $holder = hold($node, 'disturbed', $point);
	my $session = Billing::Session->new($node->connstr('disturbed'));
	my $pid = $session->pid;

	$session->send($call =~ s/AT/$at/r);
	stopped_process($node, $holder, "pid = $pid");
	$send->($pid);
	my $stderr = $name eq 'cancel' ? ($session->result)[1] : '';
	$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid AND state = 'active')") if $name eq 'terminate';
	$holder->finish;
	like($stderr . $session->finish, $error, "$name while it $point->{name}");
	$node->wait_for_log(qr/ready to accept connections/, $log) if $name eq 'kill -9';
	is(flaws_of($node, 'disturbed', shallow => 1, idle => 1), '', '... nothing is wrong');
	$node->safe_psql($_, $call =~ s/AT/$at/r) for 'disturbed', 'undisturbed';
	return;
}

# At each point two of the three, by turns, so that each comes at every other point.
for my $n (0 .. $#points)
{
	disturb(q{CALL billing.dunning_run('AT', batch_size => 10)}, $points[$n], $signals[ ($n + $_) % 3 ], sprintf('2026-%02d-%02d 09:00', 1 + int((10 + $day) / 31), 1 + (10 + $day++) % 31)) for 0, 1;
}
is($node->safe_psql('disturbed', $done), $node->safe_psql('undisturbed', $done), "disturbed $day times: the steps, claims and messages of undisturbed runs");
is($node->safe_psql('disturbed', "SELECT count(*) FROM billing.dunning_action"), 40 * $day, 'each step of every debtor, once');

# Each day a claim of each debtor falls due; those with a card are asked in three batches.
my @asking = (
	{ name => 'enters a collection run', hold => 'LOCK TABLE billing.run IN SHARE MODE' },
	{ name => 'is in the middle of a second batch', hold => 'LOCK TABLE gate.request IN EXCLUSIVE MODE' },
	{ name => 'tells what it asked for', hold => 'LOCK TABLE billing.event IN SHARE MODE' });
disturb(q{CALL billing.collection_run('AT', batch_size => 3)}, $asking[$_], $signals[ 2 - $_ ], sprintf('2026-02-%02d 09:00', 6 + $_)) for 0 .. $#asking;
is($node->safe_psql('disturbed', q{SELECT string_agg(done::text, ' ' ORDER BY id) FROM billing.run WHERE procedure = 'collection_run' AND status = 'interrupted'}), '3 0',
	'what a run that was killed had committed stays');
is($node->safe_psql('disturbed', $done), $node->safe_psql('undisturbed', $done), 'disturbed collection runs: the collections of undisturbed ones');
sound_books($node, 'disturbed', 'the books are sound');
$node->stop;

done_testing();
