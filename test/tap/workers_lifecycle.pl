# Workers come and go: with books, settings, signals, crashes, and commands that need a database for themselves.

use strict;
use warnings FATAL => 'all';

use Billing;
use File::Spec;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', "shared_preload_libraries = 'billing'", 'billing.job_retry = 600', 'log_line_prefix = \'%b %p \'');
my $scheduler = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'billing scheduler' AND datname = };

# Waits until there is a scheduler in a database (other than one given), or none; its process id.
sub scheduler_of
{
	my ($db, $not) = @_;

	$not //= 0;
	wait_for($node, 'postgres', "SELECT EXISTS ($scheduler '$db' AND pid <> $not AND state = 'idle')", "there is a scheduler in $db");
	return $node->safe_psql('postgres', "$scheduler '$db'");
}

sub no_scheduler_in
{
	my ($db, $name) = @_;

	wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ '^billing (scheduler|runner)' AND datname = '$db')",
		"there is no worker in $db");
	pass($name);
	return;
}

sub launcher
{
	return $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'billing launcher'});
}

# Lets a job run for long; returns the process id of its runner.
sub long_job
{
	my ($db) = @_;

	$node->safe_psql($db, q{
		CREATE OR REPLACE PROCEDURE public.nap(seconds int DEFAULT 600) LANGUAGE sql AS 'SELECT pg_sleep(seconds)';
		SELECT billing.unschedule_job(name) FROM billing.job WHERE name = 'long';
		SELECT billing.schedule_job('long', 'public.nap', '1 day')});
	wait_for($node, $db, q{SELECT EXISTS (SELECT FROM billing.job j JOIN pg_stat_activity a ON a.pid = j.running_pid WHERE j.name = 'long' AND a.query LIKE '%CALL%')}, 'the long job runs');
	return $node->safe_psql($db, q{SELECT running_pid FROM billing.job WHERE name = 'long'});
}

# How the last run of the long job ended, once it is noted.
sub long_job_ended
{
	my ($db) = @_;

	wait_for($node, $db, q{SELECT EXISTS (SELECT FROM billing.job_history WHERE job = 'long')}, 'the end of the long job is noted');
	my $result = $node->safe_psql($db, q{SELECT status, sqlstate FROM billing.job_history WHERE job = 'long' ORDER BY run_no DESC LIMIT 1});
	$node->safe_psql($db, q{SELECT billing.alter_job('long', paused => true)});
	return $result;
}

# Books bring a scheduler, the extension alone does not

$node->safe_psql('postgres', 'CREATE DATABASE plain');
$node->safe_psql('postgres', 'CREATE DATABASE empty');
$node->safe_psql('empty', 'CREATE EXTENSION billing');
$node->safe_psql('empty', 'BEGIN; SELECT billing.setup(); ROLLBACK');
new_books($node, 'shop');
my $pid = scheduler_of('shop');
is($node->safe_psql('postgres', q{SELECT string_agg(datname, ' ') FROM pg_stat_activity WHERE backend_type = 'billing scheduler'}), 'shop', 'only where books are set up');
is($node->safe_psql('postgres', q{SELECT string_agg(concat_ws('|', backend_type, application_name, datname, state, query), E'\n' ORDER BY backend_type)
	FROM pg_stat_activity WHERE backend_type LIKE 'billing%'}) =~ s/(?<=next at ).*//r,
	"billing launcher|billing launcher|idle|starts schedulers where books are set up or jobs change\n"
	  . 'billing scheduler|billing scheduler|shop|idle|0 jobs, none planned', 'pg_stat_activity tells what they do');

is($node->safe_psql('postgres', q{SELECT DISTINCT wait_event_type || CASE WHEN current_setting('server_version_num')::int < 170000 THEN '' ELSE wait_event END
	FROM pg_stat_activity WHERE backend_type = 'billing launcher'}), $node->pg_version < 17 ? 'Extension' : 'ExtensionBillingLauncher', 'their waits are named, where the server has names for waits of extensions');

# Terminated, they come again; killed, the server restarts and they come again

my $old = launcher();
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$pid = scheduler_of('shop', $pid);
ok($pid, 'a terminated scheduler is started again');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($old)");
wait_for($node, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'billing launcher' AND pid <> $old)", 'the launcher comes again');
is(scheduler_of('shop'), $pid, 'the launcher comes again and leaves the scheduler in peace');

my $runner = long_job('shop');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($runner)");
is(long_job_ended('shop'), 'interrupted|57P01', 'a terminated runner: its job is noted as interrupted');
$runner = long_job('shop');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$pid = scheduler_of('shop', $pid);
is($node->safe_psql('shop', q{SELECT running_pid FROM billing.job WHERE name = 'long'}), $runner, 'a runner outlives its scheduler, and the next one leaves it in peace');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($runner)");
is(long_job_ended('shop'), 'interrupted|57P01', 'the new scheduler notes the end of a runner that it did not start');

for my $victim (qw(runner scheduler launcher))
{
	$runner = long_job('shop');
	my $log = -s $node->logfile;
	kill 'KILL', $victim eq 'runner' ? $runner : $victim eq 'launcher' ? launcher() : scheduler_of('shop');
	$node->wait_for_log(qr/ready to accept connections/, $log);
	is(long_job_ended('shop'), 'interrupted|57P01', "kill -9 of the $victim: the job does not stay running");
	ok(scheduler_of('shop') && launcher(), 'workers are there again');
}
$runner = long_job('shop');
$node->stop('immediate');
$node->start;
is(long_job_ended('shop'), 'interrupted|57P01', 'server stopped at once: the job does not stay running');
$runner = long_job('shop');
$node->stop('fast');
$node->start;
is(long_job_ended('shop'), 'interrupted|57P01', 'server stopped in the middle of a job');

# Settings

$node->safe_psql('shop', q{SELECT billing.alter_job('long', arguments => '{"seconds": 0}', every => '1 second', paused => false)});
wait_for($node, 'shop', q{SELECT count(*) >= 3 FROM billing.job_history WHERE status = 'succeeded'}, 'a job runs every second');
for my $setting (qw(workers enabled))
{
	$node->append_conf('postgresql.conf', "billing.$setting = off");
	$node->reload;
	no_scheduler_in('shop', "billing.$setting = off: no worker is left");
	is($node->safe_psql('postgres', q{SELECT query FROM pg_stat_activity WHERE backend_type = 'billing launcher'}), "billing.$setting is off", 'the launcher says why');
	$node->append_conf('postgresql.conf', "billing.$setting = on");
	$node->reload;
	ok(scheduler_of('shop'), "billing.$setting = on: they come again");
}
$node->safe_psql('shop', 'ALTER DATABASE shop SET billing.enabled = off');
$node->reload;
no_scheduler_in('shop', 'billing.enabled = off for a database: no worker is left there');
$node->safe_psql('shop', 'ALTER DATABASE shop RESET billing.enabled');
$node->reload;
ok(scheduler_of('shop'), 'and reset, they come again');
$runner = long_job('shop');
$pid = scheduler_of('shop');
$node->reload;
$pid = scheduler_of('shop', $pid);
is($node->safe_psql('shop', q{SELECT running_pid FROM billing.job WHERE name = 'long'}), $runner, 'a job under way outlives a reload');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($runner)");
is(long_job_ended('shop'), 'interrupted|57P01', 'and its end is seen');
$node->safe_psql('shop', q{SELECT billing.alter_job('long', every => '1 day')});

# DROP EXTENSION, committed or not

long_job('shop');
$node->safe_psql('shop', 'BEGIN; DROP EXTENSION billing CASCADE; SELECT pg_sleep(0.1); ROLLBACK');
ok(scheduler_of('shop'), 'DROP EXTENSION rolled back: the scheduler comes again');
is(long_job_ended('shop'), 'interrupted|57P01', 'the job was interrupted');
$node->safe_psql('shop', q{SELECT billing.schedule_job('bill', 'billing.bill_run', '1 second', arguments => '{"batch_size": 1, "at": "2026-06-01 00:00+02"}')});
wait_for($node, 'shop', q{SELECT count(*) > 0 FROM billing.run_batch}, 'a bill run is under way');
$node->safe_psql('shop', 'DROP EXTENSION billing CASCADE');
no_scheduler_in('shop', 'DROP EXTENSION in the middle of a bill run: the workers end');
$node->safe_psql('shop', 'CREATE EXTENSION billing');
$node->safe_psql('shop', 'SELECT billing.setup()');
ok(scheduler_of('shop'), 'setup(): they come again');
$node->safe_psql('shop', q{UPDATE billing.job SET next_run = now() WHERE name = 'bill'});
wait_for($node, 'shop', q{SELECT EXISTS (SELECT FROM billing.job_history WHERE job = 'bill' AND status = 'succeeded' AND started_at > (SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'billing scheduler'))},
	'the bill run has ended');
$node->safe_psql('shop', q{SELECT billing.alter_job('bill', paused => true)});
sound_books($node, 'shop', 'and take the books over as they are');
$node->safe_psql('empty', 'DROP EXTENSION billing');

# DROP, RENAME, copy, move of a database with scheduler and runner

sub lasts_at_most
{
	my ($seconds, $db, $sql, $name) = @_;
	my $start = time;
	my ($code, $stdout, $stderr) = $node->psql($db, $sql);

	is($stderr, '', $name);
	cmp_ok(time - $start, '<=', $seconds, 'at once');
	return;
}

long_job('shop');
lasts_at_most(3, 'postgres', 'CREATE DATABASE copy TEMPLATE shop', 'CREATE DATABASE TEMPLATE while a job runs');
is(long_job_ended('shop'), 'interrupted|57P01', 'its job is interrupted');
ok(scheduler_of('shop'), 'the scheduler comes again');
$node->safe_psql('copy', q{SELECT billing.adopt_books()});
ok(scheduler_of('copy'), 'the copy has its own as soon as it is adopted');

long_job('shop');
lasts_at_most(3, 'postgres', 'ALTER DATABASE shop RENAME TO store', 'RENAME while a job runs');
ok(scheduler_of('store'), 'the scheduler comes again');
is(long_job_ended('store'), 'interrupted|57P01', 'the job is interrupted');
lasts_at_most(3, 'postgres', 'BEGIN; ALTER DATABASE store RENAME TO shop; SELECT pg_sleep(0.3); ROLLBACK', 'RENAME rolled back');
ok(scheduler_of('store'), 'the scheduler comes again');

my $holder = Billing::Session->new($node->connstr('postgres'));
$holder->query('BEGIN; ALTER DATABASE store RENAME TO shop');
no_scheduler_in('store', 'RENAME keeps workers out until its transaction ends');
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $holder->pid . ')');
$holder->finish;
ok(scheduler_of('store'), 'also when its session is terminated: then the scheduler comes again');

my $place = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir);
$node->safe_psql('postgres', "CREATE TABLESPACE place LOCATION '$place'");
lasts_at_most(3, 'postgres', 'ALTER DATABASE store SET TABLESPACE place', 'SET TABLESPACE');
ok(scheduler_of('store'), 'the scheduler comes again');

$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN CREATEDB');
$pid = scheduler_of('store');
for my $sql ('DROP DATABASE store', 'ALTER DATABASE store RENAME TO mine', 'CREATE DATABASE mine TEMPLATE store')
{
	my $stderr;
	$node->psql('postgres', $sql, connstr => $node->connstr('postgres') . ' user=nobody', stderr => \$stderr);
	like($stderr, qr/must be owner|permission denied/, "$sql by somebody else fails");
}
is(scheduler_of('store'), $pid, 'and disturbs no worker');

my $session = Billing::Session->new($node->connstr('store'));
$session->query('SELECT 1');
long_job('store');
is(sqlstate_of($node, 'postgres', 'DROP DATABASE store'), '55006', 'DROP DATABASE fails where a client is connected');
ok(scheduler_of('store'), 'then the scheduler comes again');
$session->finish;
lasts_at_most(3, 'postgres', 'DROP DATABASE store', 'DROP DATABASE while a job runs');
lasts_at_most(3, 'postgres', 'DROP DATABASE copy WITH (FORCE)', 'DROP DATABASE WITH (FORCE)');
lasts_at_most(3, 'postgres', 'DROP DATABASE plain', 'DROP DATABASE without workers');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^billing (scheduler|runner)'}), 0, 'no worker is left');

# The log holds no more than what was done to the workers.

my $log = slurp_file($node->logfile);
my @unexpected = grep { /^billing/ && /(?:ERROR|PANIC|WARNING):|FATAL: (?! terminating (?:background worker|connection))/ } split /\n/, $log;
is(join("\n", @unexpected), '', 'workers logged no error of their own');
is(join("\n", grep { /TRAP|segmentation|signal 11/ } split /\n/, $log), '', 'none crashed');

$node->stop;
done_testing();
