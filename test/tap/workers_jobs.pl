# Jobs: who may schedule what, when they run, as whom, and what is kept of their runs.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', "shared_preload_libraries = 'billing'", 'billing.job_retry = 1', 'billing.job_history = 3');

new_books($node, 'shop', accounts => 20);
$node->safe_psql('shop', q{
	CREATE ROLE ops LOGIN; CREATE ROLE app LOGIN; CREATE ROLE staff;
	SELECT billing.grant_access('ops', 'operator'), billing.grant_access('app', 'application'), billing.grant_access('staff', 'operator');
	CREATE TABLE note (at timestamptz, what text, who text DEFAULT current_user, session text DEFAULT session_user);
	GRANT ALL ON note TO ops;
	CREATE PROCEDURE note(what text, at timestamptz) LANGUAGE sql AS 'INSERT INTO public.note VALUES (at, what)';
	CREATE FUNCTION note_now(what text, n int[] DEFAULT '{}', doc jsonb DEFAULT NULL) RETURNS int LANGUAGE sql AS
	    'INSERT INTO public.note VALUES (now(), what || n::text || coalesce(doc::text, $$-$$)); SELECT 1';
	CREATE PROCEDURE "Odd ""name"(what text, OUT result int) LANGUAGE plpgsql AS
	    $$ BEGIN INSERT INTO public.note VALUES (now(), what); COMMIT; INSERT INTO public.note VALUES (now(), what); result := 1; END $$;
	CREATE PROCEDURE fail(what text) LANGUAGE plpgsql AS
	    $$ BEGIN RAISE EXCEPTION 'no %', what USING ERRCODE = 'XX123', DETAIL = 'why', HINT = 'do'; END $$;
	CREATE PROCEDURE secret() LANGUAGE sql AS '';
	REVOKE ALL ON PROCEDURE secret FROM PUBLIC;
	CREATE PROCEDURE nap(seconds double precision) LANGUAGE sql AS 'SELECT pg_sleep(seconds)'});

sub as_role
{
	my ($role, $sql) = @_;

	return $node->safe_psql('shop', $sql, connstr => $node->connstr('shop') . " user=$role");
}

sub error_as
{
	my ($role, $sql) = @_;
	my $stderr;

	$node->psql('shop', "\\set VERBOSITY sqlstate\n$sql", connstr => $node->connstr('shop') . " user=$role", stderr => \$stderr, on_error_stop => 1);
	return $stderr =~ /(?:ERROR|FATAL):\s+(\w{5})\s*$/m ? $1 : "none: $stderr";
}

# Waits until so many runs of a job have ended; how they ended.
sub runs_of
{
	my ($job, $runs) = @_;

	wait_for($node, 'shop', "SELECT runs >= $runs AND running_pid IS NULL FROM billing.job WHERE name = '$job'", "job $job has run $runs times");
	return $node->safe_psql('shop', "SELECT string_agg(concat_ws(' ', run_no, status, sqlstate, message, detail, hint, context), E'\n' ORDER BY run_no)"
		  . " FROM billing.job_history WHERE job = '$job'");
}

# The bill run, at once and as the operator who scheduled it

is(as_role('ops', q{SELECT billing.schedule_job('nightly', 'billing.bill_run', '1 day', arguments => '{"batch_size": 7, "at": "2026-03-01 00:00+01"}')}),
	'nightly', 'schedule_job returns the name');
is(runs_of('nightly', 1), '1 succeeded', 'a job without first start is due at once');
is($node->safe_psql('shop', 'SELECT at, batch_size, status, accounts = done FROM billing.run'), '2026-02-28 23:00:00+00|7|finished|t', 'the bill run ran with its arguments');
cmp_ok($node->safe_psql('shop', q{SELECT count(*) FROM billing.invoice}), '>', 20, 'and billed');
is($node->safe_psql('shop', q{SELECT owner, procedure, next_run = first_start + interval '1 day', failures, time_zone, paused FROM billing.job}),
	'ops|billing.bill_run|t|0|UTC|f', 'it waits for the next day');

# Arguments

my $hostile = q{x'); DROP TABLE public.note; -- $1 %s \\ "};
as_role('ops', qq{SELECT billing.schedule_job('at', 'note', '1 hour', arguments => jsonb_build_object('what', \$q\$$hostile\$q\$))});
is(runs_of('at', 1), '1 succeeded', 'a procedure with "at" and no default for it');
is($node->safe_psql('shop', q{SELECT n.what, n.who, n.session, n.at = h.started_at FROM note n, billing.job_history h WHERE h.job = 'at'}),
	"$hostile|ops|ops|t", 'gets the moment; runs as its owner; text stays text');
as_role('ops', q{SELECT billing.schedule_job('function', 'public.note_now(text, int[], jsonb)', '1 hour', arguments => '{"what": "f", "n": "{1,2}", "doc": {"a": ["b"]}}')});
is(runs_of('function', 1), '1 succeeded', 'a function');
is($node->safe_psql('shop', q{SELECT what FROM note WHERE what LIKE 'f%'}), 'f{1,2}{"a": ["b"]}', 'with an array and a document');
as_role('ops', q{SELECT billing.schedule_job('odd', '"Odd ""name"', '1 hour', arguments => '{"what": "o"}')});
is(runs_of('odd', 1), '1 succeeded', 'a quoted name, a result, a commit inside');
is($node->safe_psql('shop', q{SELECT count(*), count(DISTINCT at) FROM note WHERE what = 'o'}), '2|2', 'it could commit');
as_role('ops', q{SELECT billing.schedule_job('check', 'billing.check', '1 hour')});
is(runs_of('check', 1), '1 succeeded', 'a function that returns rows');

for my $case (
	[ q{'x', 'billing.nothing', '1 day'}, '42883', 'unknown procedure' ],
	[ q{'x', 'note', '1 day'}, 'LB208', 'missing argument' ],
	[ q{'x', 'note', '1 day', arguments => '{"wat": 1}'}, 'LB208', 'unknown argument' ],
	[ q{'x', 'note_now', '1 day', arguments => '{"what": "f", "n": [1]}'}, 'LB208', 'array for an array' ],
	[ q{'x', 'note_now', '1 day', arguments => '{"what": "f", "n": "x"}'}, '22P02', 'malformed value' ],
	[ q{'x', 'billing.check', '1 day', arguments => '[1]'}, 'LB208', 'arguments without names' ],
	[ q{'x', 'pg_catalog.sum(int)', '1 day'}, '42809', 'an aggregate' ],
	[ q{'x', 'secret', '1 day'}, '42501', 'a procedure that the owner may not execute' ],
	[ q{'x', 'billing.check', '0 days'}, 'LB205', 'no interval' ],
	[ q{'x', 'billing.check', '1 day 1 hour'}, 'LB205', 'mixed interval' ],
	[ q{'x', 'billing.check', '-1 day'}, 'LB205', 'negative interval' ],
	[ q{'x', 'billing.check', '1 day', time_zone => 'Europe/Berlin5'}, 'LB206', 'unknown zone' ],
	[ q{'x', 'billing.check', '1 day', first_start => 'infinity'}, '22008', 'infinite start' ],
	[ q{'', 'billing.check', '1 day'}, 'LB208', 'no name' ],
	[ q{repeat('x', 101), 'billing.check', '1 day'}, 'LB208', 'too long a name' ],
	[ q{NULL, 'billing.check', '1 day'}, '22004', 'null' ],
	[ q{'x', 'billing.check', NULL}, '22004', 'null interval' ])
{
	is(error_as('ops', "SELECT billing.schedule_job($case->[0])"), $case->[1], "refused: $case->[2]");
}
is($node->safe_psql('shop', q{SELECT count(*) FROM billing.job WHERE name = 'x'}), 0, 'what is refused changes nothing');

# Rights

is(error_as('app', q{SELECT billing.schedule_job('x', 'billing.check', '1 day')}), '42501', 'an application may not schedule');
is(error_as('app', q{SELECT billing.unschedule_job('check')}), '42501', 'nor unschedule');
is(error_as('app', q{CALL billing.run_job('check')}), '42501', 'nor run');
$node->safe_psql('shop', q{CREATE ROLE other LOGIN; SELECT billing.grant_access('other', 'operator')});
is(error_as('other', q{SELECT billing.alter_job('at', paused => true)}), '42501', 'another operator may not alter a job');
is(error_as('other', q{SELECT billing.schedule_job('at', 'billing.check', '1 day')}), '42501', 'nor take its name');
is(error_as('other', q{SELECT billing.unschedule_job('at')}), '42501', 'nor remove it');
is(error_as('other', q{CALL billing.run_job('at')}), '42501', 'nor run it');
is(sqlstate_of($node, 'shop', q{CALL billing.run_job('at')}), '42501', 'a superuser does not run it with rights of his own');
is(sqlstate_of($node, 'shop', q{SET ROLE staff; SELECT billing.schedule_job('x', 'billing.check', '1 day')}), '28000', 'a role that may not log in has no jobs');
is(error_as('ops', q{SELECT billing.unschedule_job('gone')}), 'LB130', 'unknown job');
is($node->safe_psql('shop', q{SELECT billing.alter_job('at', paused => true)}), 'at', 'a superuser may alter it');
is($node->safe_psql('shop', q{SELECT owner, paused FROM billing.job WHERE name = 'at'}), 'ops|t', 'and it stays its owner\'s');

# Change, run by hand, upsert

is(as_role('ops', q{SELECT billing.alter_job('at', every => '1 month', first_start => '2026-01-31 03:00+01', time_zone => 'Europe/Berlin', arguments => '{"what": "by hand"}')}),
	'at', 'alter_job');
is($node->safe_psql('shop', q{SELECT procedure, paused, (next_run AT TIME ZONE 'Europe/Berlin')::time, next_run > now() FROM billing.job WHERE name = 'at'}),
	'public.note|t|03:00:00|t', 'what is left out stays; the plan is new');
as_role('ops', q{CALL billing.run_job('at')});
is($node->safe_psql('shop', q{SELECT run_no, status, planned_at IS NULL FROM billing.job_history WHERE job = 'at' ORDER BY 1 DESC LIMIT 1}), '2|succeeded|t',
	'run by hand although paused');
is($node->safe_psql('shop', q{SELECT who FROM note WHERE what = 'by hand'}), 'ops', 'as its owner');
is(as_role('ops', q{BEGIN; CALL billing.run_job('nightly'); ROLLBACK; SELECT runs FROM billing.job WHERE name = 'nightly'}), 1, 'in a transaction block it goes with it');
as_role('ops', q{CALL billing.run_job('nightly')});
is($node->safe_psql('shop', q{SELECT count(*), max(status) FROM billing.run}), '2|finished', 'a bill run by hand commits by itself');
is(as_role('ops', q{SELECT next_run FROM billing.job WHERE name = 'function'}),
	as_role('ops', q{SELECT billing.schedule_job('function', 'note_now', '1 hour'); SELECT next_run FROM billing.job WHERE name = 'function'}) =~ s/^function\n//r,
	'scheduled again as it is: its plan stays');
is($node->safe_psql('shop', q{SELECT arguments->>'what' FROM billing.job WHERE name = 'function'}), 'f', 'and its arguments');
is(as_role('ops', q{SELECT billing.unschedule_job('function'); SELECT count(*) FROM billing.job_history WHERE job = 'function'}), "function\n0", 'unschedule_job removes job and history');

# Failures: kept, tried again ever later, forgotten after a success; history is bounded

as_role('ops', q{SELECT billing.schedule_job('bad', 'fail', '1 day', arguments => '{"what": "way"}')});
like(runs_of('bad', 1), qr/^1 failed XX123 no way why do PL\/pgSQL function .*fail\(text\) line 1 at RAISE\njob "bad"$/m, 'an error is kept whole');
is($node->safe_psql('shop', q{SELECT state, failures > 0, last_sqlstate FROM billing.job_status WHERE name = 'bad'}), 'retrying|t|XX123', 'it is tried again');
runs_of('bad', 3);
is($node->safe_psql('shop', q{SELECT string_agg((b.started_at >= a.finished_at + a.run_no * interval '1 second')::text, ' ') FROM billing.job_history a
	JOIN billing.job_history b ON b.job = a.job AND b.run_no = a.run_no + 1 WHERE a.job = 'bad' AND a.run_no < 3}), 'true true', 'the delay doubles');
as_role('ops', q{SELECT billing.alter_job('bad', procedure => 'note', arguments => '{"what": "good"}')});
like(runs_of('bad', 4), qr/\A2 failed .*4 succeeded\z/s, 'repaired; of four runs three are kept');
is($node->safe_psql('shop', q{SELECT state, failures, next_run > now() + interval '23 hours' FROM billing.job_status WHERE name = 'bad'}), 'waiting|0|t', 'then it waits for its next day');

# An error by hand is the caller's

is(error_as('ops', q{SELECT billing.schedule_job('hand', 'fail', '1 day', first_start => now() + interval '1 hour', arguments => '{"what": "way"}'); CALL billing.run_job('hand')}),
	'XX123', 'an error by hand is the caller\'s');
is(error_as('ops', q{CALL billing.run_job('hand')}), 'XX123', 'and its claim does not stay');
is($node->safe_psql('shop', q{SELECT DISTINCT h.status, j.next_run = j.first_start FROM billing.job j, billing.job_history h WHERE j.name = 'hand' AND h.job = 'hand'}),
	'interrupted|t', 'it is noted, and the plan stays');

# Never twice at once

as_role('ops', q{SELECT billing.schedule_job('long', 'nap', '1 hour', arguments => '{"seconds": 600}')});
wait_for($node, 'shop', q{SELECT running_pid IS NOT NULL FROM billing.job WHERE name = 'long'}, 'the long job runs');
is(error_as('ops', q{CALL billing.run_job('long')}), '55006', 'a job that runs cannot be run');
is($node->safe_psql('shop', q{SELECT a.usename, a.backend_type, a.state, a.query FROM pg_stat_activity a JOIN billing.job j ON j.running_pid = a.pid AND a.datname = 'shop'}),
	'ops|billing runner|active|job "long": CALL public.nap(seconds => $1)', 'pg_stat_activity tells what runs');
$node->safe_psql('shop', q{SELECT pg_cancel_backend(running_pid) FROM billing.job WHERE name = 'long'});
like(runs_of('long', 1), qr/^1 failed 57014/, 'pg_cancel_backend cancels the job');
is($node->safe_psql('shop', q{SELECT billing.alter_job('long', paused => true)}), 'long', 'paused');

# Without workers: jobs cannot be scheduled, but run by hand

$node->safe_psql('shop', q{UPDATE billing.job SET paused = true});
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', q{''});
$node->restart;
for my $call (q{schedule_job('x', 'billing.check', '1 day')}, q{alter_job('at', paused => false)}, q{unschedule_job('at')})
{
	my $stderr;
	is(error_as('ops', "SELECT billing.$call"), '55000', "not preloaded: $call");
	$node->psql('shop', "SELECT billing.$call", stderr => \$stderr);
	like($stderr, qr/HINT:  Add billing to shared_preload_libraries/, 'and how to change that');
}
is(error_as('ops', q{SELECT billing.schedule_job(NULL, 'billing.check', '1 day')}), '22004', 'null is null');
as_role('ops', q{CALL billing.run_job('nightly')});
is($node->safe_psql('shop', q{SELECT status FROM billing.job_history WHERE job = 'nightly' ORDER BY run_no DESC LIMIT 1}), 'succeeded', 'run_job works without workers');
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', q{'billing'});

# Missed runs are caught up once

$node->stop;
$node->start;
$node->safe_psql('shop', q{UPDATE billing.job SET paused = true WHERE name <> 'at'; DELETE FROM note});
my $missed = $node->safe_psql('shop', q{SELECT billing.alter_job('at', every => '1 minute', first_start => now() + interval '1 hour');
	UPDATE billing.job SET first_start = now() - interval '10 minutes 30 seconds', next_run = now() - interval '5 minutes 30 seconds' WHERE name = 'at';
	SELECT runs FROM billing.job WHERE name = 'at'}) =~ s/.*\n//r;
as_role('ops', q{SELECT billing.alter_job('at', paused => false)});
runs_of('at', $missed + 1);
is($node->safe_psql('shop', q{SELECT count(*) FROM note}), 1, 'five missed runs are caught up by one');
is($node->safe_psql('shop', q{SELECT next_run - first_start, next_run > now() FROM billing.job WHERE name = 'at'}), '00:11:00|t', 'the next is the next planned instant');

# The clock was set back by a year: jobs do not wait for it to come again

$node->safe_psql('shop', q{UPDATE billing.job SET next_run = next_run + interval '1 year' WHERE name = 'at'});
$node->restart;
wait_for($node, 'shop', q{SELECT next_run <= now() + interval '1 minute' FROM billing.job WHERE name = 'at'}, 'the plan is as of now');

# Days stay at their hour when the clocks change

is($node->safe_psql('shop', q{SELECT string_agg(to_char(i AT TIME ZONE 'Europe/Berlin', 'DD HH24:MI'), ', ' ORDER BY i)
	FROM (VALUES (0), (1), (2)) d (n), LATERAL (SELECT billing_internal.job_instant('2026-03-01 03:00+01', '1 day', 'Europe/Berlin', timestamptz '2026-03-28 03:00:01+01' + n * interval '24 hours') AS i) x}),
	'29 03:00, 30 03:00, 31 03:00', 'a day is a day of the zone');
is($node->safe_psql('shop', q{SELECT billing_internal.job_instant('2026-01-31 00:00+00', '1 month', 'UTC', '2026-02-01'), billing_internal.job_instant('2026-01-31 00:00+00', '7 hours', 'UTC', '2026-01-31 07:00:00.000001')}),
	'2026-02-28 00:00:00+00|2026-01-31 14:00:00+00', 'months from the first start; hours elapse');

$node->stop;
done_testing();
