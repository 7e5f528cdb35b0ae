# Five kinds of copy, and a standby: in each, jobs run only where somebody said that these books may bill.

use strict;
use warnings FATAL => 'all';

use Billing;
use Cwd;
use File::Spec;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', "shared_preload_libraries = 'billing'");

new_books($node, 'shop');
$node->safe_psql('shop', q{
	CREATE TABLE tick (at timestamptz DEFAULT clock_timestamp(), database text DEFAULT current_database());
	CREATE PROCEDURE tick() LANGUAGE sql AS 'INSERT INTO public.tick DEFAULT VALUES';
	SELECT billing.schedule_job('tick', 'public.tick', '1 second')});

# The job runs again and again.
sub ticks
{
	my ($server, $db, $name) = @_;

	$server->safe_psql($db, 'DELETE FROM tick');
	wait_for($server, $db, 'SELECT count(*) >= 2 FROM tick', "the job runs in $db");
	pass($name);
	return;
}

# The workers have looked at the database and left it; so no job runs.
sub stays_quiet
{
	my ($server, $db, $pattern, $name) = @_;

	$server->wait_for_log($pattern);
	wait_for($server, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ '^billing (scheduler|runner)' AND datname = '$db')",
		"there is no worker in $db");
	is($server->safe_psql($db, q{SELECT count(*) FROM tick WHERE at > pg_postmaster_start_time() AND database = current_database()}), 0, $name);
	return;
}

ticks($node, 'shop', 'the job runs');

# Template database

$node->safe_psql('postgres', 'CREATE DATABASE template_copy TEMPLATE shop');
$node->safe_psql('template_copy', 'DELETE FROM tick');
$node->safe_psql('template_copy', q{SELECT billing.alter_job('tick', paused => false)});
stays_quiet($node, 'template_copy', qr/runs no jobs in database "template_copy": the books were copied here and not adopted/, 'template copy: nothing runs');
is(sqlstate_of($node, 'template_copy', q{CALL billing.run_job('tick')}), 'LB003', 'template copy: not even by hand');
ticks($node, 'shop', 'the original goes on');
$node->safe_psql('template_copy', 'SELECT billing.adopt_books()');
ticks($node, 'template_copy', 'template copy: adopted, it runs');

# Dump

my $dump = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir) . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('shop') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
$node->safe_psql('restored', 'DELETE FROM tick');
$node->safe_psql('restored', q{SELECT billing.alter_job('tick', paused => false)});
stays_quiet($node, 'restored', qr/runs no jobs in database "restored": the books were copied here and not adopted/, 'restored dump: nothing runs');
$node->safe_psql('restored', 'SELECT billing.adopt_books()');
ticks($node, 'restored', 'restored dump: adopted, it runs');
$node->safe_psql('postgres', "DROP DATABASE $_") for qw(restored template_copy);

# Base backup, and a standby made of it

$node->backup('backup');

my $snapshot = PostgreSQL::Test::Cluster->new('snapshot');
$snapshot->init_from_backup($node, 'backup');
$snapshot->append_conf('postgresql.conf', 'billing.enabled = off');
$snapshot->start;
wait_for($snapshot, 'postgres', q{SELECT query = 'billing.enabled is off' FROM pg_stat_activity WHERE backend_type = 'billing launcher'}, 'the launcher is there');
is($snapshot->safe_psql('shop', q{SELECT count(*) FROM tick WHERE at > pg_postmaster_start_time()}), 0, 'base backup with billing.enabled = off: nothing runs');
is(sqlstate_of($snapshot, 'shop', q{CALL billing.run_job('tick')}), 'LB004', 'not even by hand');
$snapshot->stop;

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'billing%'}), 0, 'standby: no worker');
is($standby->safe_psql('shop', q{SELECT state FROM billing.job_status}) =~ s/running|due/waiting/r, 'waiting', 'standby: the views can be read');
is(sqlstate_of($standby, 'shop', q{SELECT billing.alter_job('tick', paused => true)}), '25006', 'standby: jobs cannot be changed');
$node->stop;
$standby->promote;
wait_for($standby, 'shop', q{SELECT count(*) >= 2 FROM tick WHERE at > (SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'billing launcher')}, 'the job runs');
pass('promotion: jobs go on');
$standby->stop;

# pg_upgrade

my $upgraded = PostgreSQL::Test::Cluster->new('upgraded');
$upgraded->init;
$upgraded->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'\ntimezone = 'UTC'");
my ($bin) = run_command([ 'pg_config', '--bindir' ]);
SKIP:
{
	skip 'no pg_upgrade', 3 if !-x "$bin/pg_upgrade";
	my $here = Cwd::getcwd();
	my @command = ('pg_upgrade', '-b', $bin, '-B', $bin, '-d', File::Spec->rel2abs($node->data_dir), '-D', File::Spec->rel2abs($upgraded->data_dir),
		'-p', $node->port, '-P', $upgraded->port, '-s', $node->host);

	chdir PostgreSQL::Test::Utils::tempdir;
	$node->command_ok(\@command, 'pg_upgrade with workers preloaded on both sides');
	chdir $here;
	$upgraded->start;
	stays_quiet($upgraded, 'shop', qr/runs no jobs in database "shop": the books were copied here and not adopted/, 'pg_upgrade: nothing runs');
	$upgraded->safe_psql('shop', 'SELECT billing.adopt_books()');
	ticks($upgraded, 'shop', 'pg_upgrade: adopted, it runs');
	$upgraded->stop;
}

done_testing();
