# Many jobs at once, too few processes for them, and none: what workers do and what they cost.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $jobs = 1000;
my $node = new_server('main', "shared_preload_libraries = 'billing'", 'billing.max_runners = 4', 'max_worker_processes = 12',
	'autovacuum = off', 'max_logical_replication_workers = 0');

new_books($node, 'shop');
$node->safe_psql('shop', q{
	CREATE TABLE note (job int, pid int DEFAULT pg_backend_pid());
	CREATE PROCEDURE note(job int) LANGUAGE sql AS 'INSERT INTO public.note VALUES (job)';
	CREATE PROCEDURE nap() LANGUAGE sql AS 'SELECT pg_sleep(600)'});

sub scheduler
{
	my ($db) = @_;

	wait_for($node, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'billing scheduler' AND datname = '$db')", "there is a scheduler in $db");
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'billing scheduler' AND datname = '$db'");
}

# Milliseconds of CPU that a process has used; undef where the system does not tell.
sub cpu_of
{
	my ($pid) = @_;
	my $file = "/proc/$pid/schedstat";

	return -r $file ? (split / /, slurp_file($file))[0] / 1e6 : undef;
}

# Kilobytes of memory that are a process's own.
sub memory_of
{
	my ($pid) = @_;
	my $file = "/proc/$pid/status";

	return -r $file ? slurp_file($file) =~ /^RssAnon:\s+(\d+) kB/m ? $1 : undef : undef;
}

# All jobs are due in the same second

sub schedule_all
{
	my ($minutes) = @_;

	$node->safe_psql('shop', qq{SELECT count(billing.schedule_job('job ' || i, 'public.note', '1 day', now() - interval '1 day' + interval '$minutes',
		arguments => jsonb_build_object('job', i))) FROM generate_series(1, $jobs) i});
	return;
}

sub all_have_run
{
	my ($times) = @_;

	wait_for($node, 'shop', "SELECT count(*) = $jobs FROM billing.job WHERE runs = $times AND running_pid IS NULL AND name LIKE 'job %'", "all jobs have run $times times");
	return $node->safe_psql('shop', "SELECT count(DISTINCT job), count(*), count(DISTINCT pid) FROM note");
}

my $pid = scheduler('shop');
my $before = cpu_of($pid);
schedule_all('2 seconds');
wait_for($node, 'shop', "SELECT running_pid IS NOT NULL FROM billing.job WHERE name LIKE 'job %' ORDER BY running_pid LIMIT 1", 'the first jobs run');
is(all_have_run(1), "$jobs|$jobs|$jobs", "$jobs jobs that are due in the same second are all run, once, each in a process of its own");
is($node->safe_psql('shop', q{SELECT DISTINCT status FROM billing.job_history}), 'succeeded', 'all succeeded');
is($node->safe_psql('shop', q{SELECT count(*) <= 4 FROM billing.job_history a JOIN billing.job_history b ON b.started_at <= a.started_at AND b.finished_at > a.started_at
	GROUP BY a.job ORDER BY count(*) DESC LIMIT 1}), 't', 'never more at once than billing.max_runners');

SKIP:
{
	skip 'the system does not tell the CPU time of a process', 1 if !defined $before;
	my $took = 1000 * $node->safe_psql('shop', q{SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM billing.job_history});
	my $share = (cpu_of($pid) - $before) / $took * 100;
	note(sprintf '%d jobs in %.1f s, scheduler %.1f %%', $jobs, $took / 1000, $share);
	cmp_ok($share, '<', 5, 'the scheduler takes less than 5 % of the time');
}

my $memory = memory_of($pid);
$node->safe_psql('shop', q{UPDATE billing.job SET next_run = now()});
all_have_run(2);
SKIP:
{
	skip 'the system does not tell the memory of a process', 1 if !defined $memory;
	cmp_ok(memory_of($pid) - $memory, '<', 256, 'the scheduler gives its memory back');
}
is(scheduler('shop'), $pid, 'it is the same process');

# Idle, it costs nothing

$node->append_conf('postgresql.conf', 'billing.scheduler_interval = 1');
$node->reload;
wait_for($node, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'billing scheduler' AND datname = 'shop' AND pid <> $pid)", 'the scheduler has read its settings');
$pid = scheduler('shop');
my $last_look = q{SELECT state_change FROM pg_stat_activity WHERE backend_type = 'billing scheduler' AND datname = 'shop'};

sub wait_for_looks
{
	my ($looks) = @_;

	for (1 .. $looks)
	{
		my $at = $node->safe_psql('postgres', $last_look);
		wait_for($node, 'postgres', "SELECT ($last_look AND state = 'idle') > '$at'", 'the scheduler has looked again');
	}
	return;
}

sub books_now
{
	return $node->safe_psql('shop', q{SELECT pg_snapshot_xmax(pg_current_snapshot()), pg_relation_size('billing.job'), pg_relation_size('billing.job_history')});
}

wait_for_looks(2);
my $cpu = cpu_of($pid);
my $books = books_now();
wait_for_looks(4);
is(books_now(), $books, 'idle: no transaction id is used, no table grows');
SKIP:
{
	skip 'the system does not tell the CPU time of a process', 1 if !defined $cpu;
	my $look = (cpu_of($pid) - $cpu) / 4;
	note(sprintf "a look at %d jobs takes %.2f ms", $jobs, $look);
	cmp_ok($look, '<', 3, 'idle: a look, one a minute unless told otherwise, takes milliseconds of CPU with a thousand jobs');
	$node->safe_psql('shop', q{SELECT count(billing.unschedule_job(name)) FROM billing.job WHERE name <> 'job 1'});
	wait_for_looks(2);
	$cpu = cpu_of($pid);
	wait_for_looks(4);
	$look = (cpu_of($pid) - $cpu) / 4;
	note(sprintf "a look at one job takes %.2f ms", $look);
	cmp_ok($look, '<', 2, 'idle: less with few jobs');
}

# As many run as may

$node->safe_psql('shop', q{SELECT billing.schedule_job('nap ' || i, 'public.nap', '1 hour') FROM generate_series(1, 6) i});
wait_for($node, 'shop', q{SELECT count(*) = 4 FROM billing.job WHERE running_pid IS NOT NULL}, 'four jobs run');
wait_for($node, 'postgres', q{SELECT query LIKE '4 of % jobs running, 2 waiting' FROM pg_stat_activity WHERE backend_type = 'billing scheduler'}, 'two wait');
pass('after so many runners all places are free again');
$node->append_conf('postgresql.conf', 'billing.max_runners = 5');
$node->reload;
wait_for($node, 'shop', q{SELECT count(*) = 5 FROM billing.job WHERE running_pid IS NOT NULL}, 'five jobs run');
pass('a higher billing.max_runners is used at once');
$node->safe_psql('shop', q{SELECT billing.unschedule_job(name) FROM billing.job; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'billing runner'});

# Too few processes: launcher and schedulers of two databases take all

$node->adjust_conf('postgresql.conf', 'max_worker_processes', 3);
$node->restart;
new_books($node, 'other');
scheduler($_) for qw(shop other);
my $log = -s $node->logfile;
$node->safe_psql('shop', q{SELECT billing.schedule_job('job', 'public.note', '1 day', arguments => '{"job": 0}')});
$node->wait_for_log(qr/no free background worker for a job/, $log);
is($node->safe_psql('shop', q{SELECT state, runs, failures FROM billing.job_status}), 'due|0|0', 'without a free process the job stays due');
$node->safe_psql('postgres', 'CREATE DATABASE third TEMPLATE other');
scheduler('other');
$node->safe_psql('shop', q{SELECT billing.alter_job('job', arguments => '{"job": 7000}')}) for 1 .. 5;
$node->safe_psql('third', 'SELECT billing.adopt_books()');
$node->wait_for_log(qr/no free background worker for a scheduler/, $log);
$node->safe_psql('postgres', 'DROP DATABASE other');
scheduler('third');
$node->safe_psql('postgres', 'DROP DATABASE third');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM note WHERE job = 7000}, 'the job has run');
is($node->safe_psql('shop', q{SELECT state, runs, failures FROM billing.job_status}), 'waiting|1|0', 'as soon as one is free it runs');
is(scalar(() = slurp_file($node->logfile, $log) =~ /no free background worker for a job/g), 1, 'the log says so once');

$node->stop;
done_testing();
