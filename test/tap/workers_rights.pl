# Whose rights a job has: those of the role that scheduled it, whatever stands in the table; and what becomes of
# a job whose role cannot have a session.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', "shared_preload_libraries = 'billing'", 'billing.job_retry = 600');

$node->safe_psql('postgres', 'CREATE ROLE bookkeeper LOGIN; CREATE ROLE ops LOGIN');
new_books($node, 'shop', owner => 'bookkeeper');
$node->safe_psql('shop', q{
	SELECT billing.grant_access('ops', 'operator');
	CREATE TABLE note (who text DEFAULT current_user, session text DEFAULT session_user, super boolean);
	GRANT ALL ON note TO PUBLIC;
	CREATE PROCEDURE note() LANGUAGE sql AS 'INSERT INTO public.note (super) VALUES (current_setting($$is_superuser$$)::boolean)';
	CREATE SCHEMA theirs AUTHORIZATION bookkeeper});

sub as_role
{
	my ($role, $sql) = @_;

	return $node->safe_psql('shop', $sql, connstr => $node->connstr('shop') . " user=$role");
}

# Lets a job run once more; how that ended, and as whom it ran.
sub run_again
{
	my ($job) = @_;
	my $runs = $node->safe_psql('shop', "DELETE FROM note; UPDATE billing.job SET next_run = now(), paused = false WHERE name = '$job' RETURNING runs");

	wait_for($node, 'shop', "SELECT runs > $runs AND running_pid IS NULL FROM billing.job WHERE name = '$job'", "job $job has run");
	$node->safe_psql('shop', "UPDATE billing.job SET paused = true WHERE name = '$job'");
	return $node->safe_psql('shop', "SELECT concat_ws(' ', status, sqlstate, message) FROM billing.job_history WHERE job = '$job' ORDER BY run_no DESC LIMIT 1")
	  . $node->safe_psql('shop', q{SELECT concat(' as ', string_agg(who || CASE WHEN super THEN ', a superuser' ELSE '' END, '+')) FROM note});
}

my $super = $node->safe_psql('shop', 'SELECT current_user');

$node->safe_psql('shop', q{SELECT billing.schedule_job('super', 'public.note', '1 day', now() + interval '1 hour')});
as_role($_, "SELECT billing.schedule_job('$_', 'public.note', '1 day', now() + interval '1 hour')") for qw(ops bookkeeper);
is(run_again('super'), "succeeded as $super, a superuser", 'a superuser\'s job runs with his rights');
is(run_again('ops'), 'succeeded as ops', 'an operator\'s with hers');
is(run_again('bookkeeper'), 'succeeded as bookkeeper', 'and the owner of the books has jobs too');

# The owner of the books can write into the table, but gains nothing by that.

as_role('bookkeeper', q{CREATE PROCEDURE theirs.grab() LANGUAGE sql AS 'ALTER ROLE bookkeeper SUPERUSER'; GRANT ALL ON SCHEMA theirs TO PUBLIC});
for my $change (
	"owner = '$super' WHERE name = 'ops'",
	"owner = '$super' WHERE name = 'bookkeeper'",
	q{procedure = 'theirs.grab' WHERE name = 'super'},
	q{arguments = '{"x": 1}' WHERE name = 'super'},
	q{name = 'renamed' WHERE name = 'super'})
{
	my ($name) = $change =~ /name = '(\w+)'/g;
	my $before = $node->safe_psql('shop', "SELECT owner, procedure FROM billing.job WHERE name = '$name'");

	$name = 'super' if $change =~ /WHERE name = 'super'/;
	$name = 'ops' if $change =~ /WHERE name = 'ops'/;
	as_role('bookkeeper', "UPDATE billing.job SET $change");
	my $now = $change =~ /^name/ ? 'renamed' : $name;
	like(run_again($now), qr/^failed 42501 job "$now" is not as role "$super" scheduled it as $/, "refused after UPDATE billing.job SET $change");
	as_role('bookkeeper', "UPDATE billing.job SET name = 'super', owner = '$super', procedure = 'public.note', arguments = '{}' WHERE name = '$now'") if $name eq 'super';
	as_role('bookkeeper', "UPDATE billing.job SET owner = '$name' WHERE name = '$now'") if $name ne 'super';
}
is($node->safe_psql('shop', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'bookkeeper'}), 'f', 'nobody became superuser');
is(run_again('super'), "succeeded as $super, a superuser", 'set back as it was, it runs');
as_role('bookkeeper', q{UPDATE billing.job SET proof = NULL WHERE name = 'ops'});
like(run_again('ops'), qr/^failed 42501/, 'a job whose proof is lost does not run');
as_role('ops', q{SELECT billing.alter_job('ops')});
is(run_again('ops'), 'succeeded as ops', 'until its owner confirms it');
as_role('bookkeeper', q{UPDATE billing.job SET procedure = 'theirs.grab' WHERE name = 'bookkeeper'});
like(run_again('bookkeeper'), qr/^failed 42501 (?:must be superuser|permission denied)/, 'his own he may edit, and it has his rights only');

# Triggers of the owner of the books run with his rights, also those put off to the end of a transaction.

as_role('bookkeeper', q{
	CREATE TABLE theirs.trapped (who text DEFAULT current_user);
	CREATE FUNCTION theirs.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO theirs.trapped DEFAULT VALUES; RETURN NULL; END $$;
	CREATE TRIGGER trap AFTER UPDATE ON billing.job FOR EACH ROW EXECUTE FUNCTION theirs.trap()});
as_role('bookkeeper', q{UPDATE billing.job SET next_run = now(), paused = false WHERE name = 'super'});
wait_for($node, 'shop', q{SELECT count(*) >= 3 FROM theirs.trapped}, 'claim and end have met the trigger');
is($node->safe_psql('shop', q{SELECT DISTINCT who FROM theirs.trapped}), 'bookkeeper', 'a trigger on the table runs as the owner of the books');
as_role('bookkeeper', q{DROP TRIGGER trap ON billing.job;
	CREATE CONSTRAINT TRIGGER trap AFTER UPDATE ON billing.job DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION theirs.trap()});
my $log = -s $node->logfile;
as_role('bookkeeper', q{UPDATE billing.job SET next_run = now() WHERE name = 'super'});
$node->wait_for_log(qr/cannot fire deferred trigger within security-restricted operation/, $log);
as_role('bookkeeper', q{DROP TRIGGER trap ON billing.job});
is($node->safe_psql('shop', q{SELECT DISTINCT who FROM theirs.trapped}), 'bookkeeper', 'one that is put off is refused');
$node->safe_psql('shop', q{UPDATE billing.job SET paused = true});

# Settings of a role are those of its session, but not of what workers note.

$node->safe_psql('shop', q{ALTER ROLE ops SET default_transaction_read_only = on; ALTER ROLE ops SET default_transaction_isolation = 'serializable'});
like(run_again('ops'), qr/^failed 25006/, 'settings of the role hold for its jobs');
$node->safe_psql('shop', q{ALTER ROLE ops RESET ALL; ALTER ROLE ops SET statement_timeout = '20ms'});
$node->safe_psql('shop', q{CREATE PROCEDURE nap() LANGUAGE sql AS 'SELECT pg_sleep(600)'});
as_role('ops', q{SELECT billing.schedule_job('nap', 'public.nap', '1 day', now() + interval '1 hour')});
like(run_again('nap'), qr/^failed 57014 canceling statement due to statement timeout as $/, 'also its statement_timeout');
$node->safe_psql('shop', q{ALTER ROLE ops RESET ALL});
is(run_again('ops'), 'succeeded as ops', 'and not for noting how they ended');

# Roles that cannot have a session

for my $case (
	[ 'ALTER ROLE ops NOLOGIN', 'ALTER ROLE ops LOGIN', 'failed 28000 role "ops" does not exist or may not log in as ' ],
	[ 'ALTER ROLE ops CONNECTION LIMIT 0', 'ALTER ROLE ops CONNECTION LIMIT -1', 'succeeded as ops|failed 57P03 the job\'s process could not begin its session as ' ],
	[ 'REVOKE CONNECT ON DATABASE shop FROM PUBLIC', 'GRANT CONNECT ON DATABASE shop TO PUBLIC', 'failed 57P03 the job\'s process could not begin its session as ' ],
	[ 'ALTER ROLE ops RENAME TO ops2', 'ALTER ROLE ops2 RENAME TO ops', 'failed 28000 role "ops" does not exist or may not log in as ' ])
{
	my ($break, $mend, $expected) = @$case;

	$node->safe_psql('shop', $break);
	like(run_again('ops'), qr/^(?:$expected)$/, "$break: the job fails and says why");
	$node->safe_psql('shop', $mend);
	is(run_again('ops'), 'succeeded as ops', "$mend: it runs again");
}
is($node->safe_psql('shop', q{SELECT state FROM billing.job_status WHERE name = 'ops'}), 'paused', 'its state is told');

$node->stop;
done_testing();
