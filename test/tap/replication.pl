# Logical replication: a subscriber that began with the schema alone has the same books, and does not
# bill.  It lives through a setup() on both sides, and bills on once it is adopted.

use strict;
use warnings FATAL => 'all';

use Billing;
use Copies;
use PostgreSQL::Test::Utils;
use Test::More;

my @settings = ("shared_preload_libraries = 'billing'", 'max_logical_replication_workers = 6', 'max_worker_processes = 16');
my $node = new_server('publisher', 'wal_level = logical', @settings);
my $subscriber = new_server('subscriber', @settings);

$node->safe_psql('postgres', 'CREATE ROLE bookkeeper; CREATE ROLE clerk LOGIN');
copy_roles($node, $subscriber);
new_books($node, 'books', accounts => 40, owner => 'bookkeeper');
$node->safe_psql('books', q{
	CREATE TABLE tick (at timestamptz PRIMARY KEY DEFAULT clock_timestamp());
	CREATE PROCEDURE tick() LANGUAGE sql AS 'INSERT INTO public.tick DEFAULT VALUES';
	ALTER TABLE tick OWNER TO bookkeeper;
	ALTER PROCEDURE tick OWNER TO bookkeeper;
	ALTER ROLE bookkeeper LOGIN;
	SELECT billing.grant_access('clerk', 'operator');
	SET SESSION AUTHORIZATION bookkeeper;
	SELECT billing.schedule_job('tick', 'public.tick', '1 day');
	CALL billing.bill_run('2026-02-20 00:00+01')});
$subscriber->safe_psql('postgres', 'ALTER ROLE bookkeeper LOGIN');
wait_for($node, 'books', q{SELECT runs = 1 AND running_pid IS NULL FROM billing.job}, 'the job has run');

is($node->safe_psql('books', q{SELECT count(*) FROM pg_class c WHERE relnamespace = 'billing'::regnamespace AND relkind IN ('r', 'p')
	AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)}), 0, 'every table has a key for changes');

# The schema, without publications, then the rows

sub load_schema
{
	my ($db) = @_;
	my ($schema) = run_command([ 'pg_dump', '-s', '--no-publications', '--no-subscriptions', $node->connstr('books') ]);

	$subscriber->safe_psql('postgres', "CREATE DATABASE $db");
	is(load_sql($subscriber, $db, $schema), '', "$db: the schema is loaded");
	return;
}

sub subscribe
{
	my ($db, $publication, $options) = @_;

	$subscriber->safe_psql($db, sprintf "CREATE SUBSCRIPTION to_$db CONNECTION '%s' PUBLICATION $publication%s",
		$node->connstr('books') =~ s/'/''/gr, $options // '');
	wait_for($subscriber, $db, q{SELECT count(*) > 30 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel}, 'the tables are copied');
	return;
}

# What the subscriber must have: the rows of all tables.
sub same_rows
{
	my ($db, $name) = @_;
	my $expected = books_of($node, 'books');
	my $found;

	$node->wait_for_catchup("to_$db");
	$found = books_of($subscriber, $db);
	is($found->{$_}, $expected->{$_}, "$name: $_") for grep { /^rows of/ && ($found->{$_} // '') ne $expected->{$_} } sort keys %$expected;
	is_deeply([ map { $found->{$_} } grep { /^rows of/ } sort keys %$found ], [ map { $expected->{$_} } grep { /^rows of/ } sort keys %$expected ],
		"$name: the same rows");
	return;
}

load_schema('copy');
my $run = "CALL billing.bill_run('2026-06-20 00:00+02')";
is(sqlstate_of($subscriber, 'copy', $run), 'LB001', 'a schema is no books yet');
$node->safe_psql('books', 'CREATE PUBLICATION everything FOR ALL TABLES');
subscribe('copy', 'everything');
same_rows('copy', 'initial copy');

# Whatever changes rows, also what the guards of documents let pass

$node->safe_psql('books', $_) for (
	"SELECT billing.record_usage(id, 'minutes', 'late', 7, '2026-01-25 00:00+01') FROM billing.subscription WHERE account_id = 10",
	"CALL billing.bill_run('2026-03-20 00:00+01', finalize => false)",
	"SELECT billing.record_usage(id, 'minutes', 'later', 7, '2026-02-25 00:00+01') FROM billing.subscription WHERE account_id = 10",
	"SELECT billing.finalize_invoice(min(id), '2026-03-20 00:00+01') FROM billing.invoice WHERE status = 'draft'",
	"CALL billing.bill_run('2026-04-20 00:00+02', workers => 2)",
	"SELECT billing.void_invoice((SELECT min(id) FROM billing.invoice WHERE account_id = 4), rebill => true, effective_at => '2026-04-21 00:00+02')",
	"SELECT billing.change_item(min(id), quantity => 9, effective_at => '2026-04-10 00:00+02') FROM billing.subscription_item WHERE account_id = 5",
	"SELECT billing.create_price_version('care', '{\"model\":\"flat\",\"flat_amount\":8.88}', from_at => '2026-05-01 00:00+02')",
	"UPDATE billing.price SET name = 'A seat' WHERE code = 'seat'",
	"SELECT billing.create_account('Late comer')",
	"DELETE FROM billing.plan_item WHERE plan = 'home' AND optional",
	"CALL billing.bill_run('2026-05-20 00:00+02')");
same_rows('copy', 'changes');
sound_books($subscriber, 'copy', 'the copy is sound');
unlike(slurp_file($subscriber->logfile), qr/ERROR:  \w.*finished document|conflict|duplicate key/, 'nothing got in the way of replication');

# The copy shows, and does not bill

is(sorted_rows($subscriber, 'copy', 'SELECT * FROM billing.invoice'), sorted_rows($node, 'books', 'SELECT * FROM billing.invoice'), 'views show the same');
is(sorted_rows($subscriber, 'copy', q{SELECT * FROM billing.account a, billing.preview(a.account_id, '2026-07-20 00:00+02')}),
	sorted_rows($node, 'books', q{SELECT * FROM billing.account a, billing.preview(a.account_id, '2026-07-20 00:00+02')}), 'previews too');
is(sqlstate_of($subscriber, 'copy', $_), 'LB003', "refused: $_") for $run, "SELECT billing.bill_account(1, '2026-06-20 00:00+02')", "CALL billing.run_job('tick')";
is(sqlstate_of($subscriber, 'copy', 'SET ROLE bookkeeper; UPDATE billing.invoice_line SET amount = 1'), 'LB402', 'finished documents are guarded there too');
wait_for($subscriber, 'copy', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ 'billing (scheduler|runner)')}, 'there are no workers');
is($subscriber->safe_psql('copy', 'SELECT count(*) FROM tick'), 1, 'no job ran');

# setup() on both sides while nothing is replicated, then on without a copy

$subscriber->safe_psql('copy', 'DROP SUBSCRIPTION to_copy');
is($_->[0]->safe_psql($_->[1], 'SELECT action FROM billing.setup()'), 'completed', "setup(): $_->[1]") for [ $subscriber, 'copy' ], [ $node, 'books' ];
subscribe('copy', 'everything', ' WITH (copy_data = false)');
$node->safe_psql('books', "SELECT billing.create_account('Last comer')");
same_rows('copy', 'after setup()');
is(sqlstate_of($subscriber, 'copy', $run), 'LB003', 'the copy still does not bill');

SKIP:
{
	skip 'no publications of schemas', 3 if $node->safe_psql('postgres', 'SHOW server_version_num') < 150000;
	load_schema('schema_copy');
	$node->safe_psql('books', 'CREATE PUBLICATION the_books FOR TABLES IN SCHEMA billing');
	subscribe('schema_copy', 'the_books');
	same_rows('schema_copy', 'publication of the schema');
	sound_books($subscriber, 'schema_copy', 'publication of the schema: sound');
	$subscriber->safe_psql('schema_copy', 'DROP SUBSCRIPTION to_schema_copy');
}

# The copy takes over

$node->wait_for_catchup('to_copy');
$node->safe_psql('postgres', 'ALTER SYSTEM SET billing.enabled = off; SELECT pg_reload_conf()');
$subscriber->safe_psql('copy', 'DROP SUBSCRIPTION to_copy');
is(sqlstate_of($node, 'books', $run), 'LB004', 'the original bills no more');
$node->safe_psql('postgres', 'CREATE DATABASE original TEMPLATE books');
$node->safe_psql('original', 'SET billing.enabled = on; SELECT billing.adopt_books(); ' . $run);
bills_on($subscriber, 'copy', $run, documents_of($node, 'original'), 'promoted');
is($subscriber->safe_psql('copy', q{SELECT billing.create_account('New')}), 43, 'promoted: accounts go on with the next number');
is($subscriber->safe_psql('copy', q{SELECT count(DISTINCT id) = count(*) AND max(id) = count(*) FROM billing.run}), 't', 'so do runs');
$subscriber->safe_psql('copy', q{SET SESSION AUTHORIZATION bookkeeper; SELECT billing.schedule_job('tick', 'public.tick', '1 day', first_start => now())});
wait_for($subscriber, 'copy', 'SELECT count(*) > 1 FROM tick', 'the job runs');
pass('promoted: jobs run');

$_->stop for $node, $subscriber;
done_testing();
