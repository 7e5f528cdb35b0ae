# pg_upgrade, by copy and by link, with the library preloaded and a job due: nothing runs during it, all
# is there afterwards, also what users made, and the books bill on once they are adopted.

use strict;
use warnings FATAL => 'all';

use Billing;
use Copies;
use Cwd;
use File::Spec;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $preload = "shared_preload_libraries = 'billing'";
my $node = new_server('old', $preload);
my ($bin) = run_command([ 'pg_config', '--bindir' ]);

plan skip_all => 'no pg_upgrade' if !-x "$bin/pg_upgrade";

$node->safe_psql('postgres', 'CREATE ROLE bookkeeper LOGIN; CREATE ROLE clerk LOGIN');
new_books($node, 'books', accounts => 40, owner => 'bookkeeper');
$node->safe_psql('books', q{
	SELECT billing.grant_access('clerk', 'operator');
	CREATE INDEX my_idx ON billing.invoice_line (product);
	COMMENT ON INDEX billing.my_idx IS 'ours';
	CREATE FUNCTION my_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER my_trigger BEFORE UPDATE ON billing.account FOR EACH ROW EXECUTE FUNCTION my_trigger();
	CREATE POLICY my_policy ON billing.account USING (true);
	CALL billing.bill_run('2026-03-20 00:00+01');
	CALL billing.bill_run('2026-04-20 00:00+02', finalize => false);
	CREATE TABLE tick (at timestamptz DEFAULT clock_timestamp());
	CREATE PROCEDURE tick() LANGUAGE sql AS 'INSERT INTO public.tick DEFAULT VALUES';
	ALTER TABLE tick OWNER TO bookkeeper;
	ALTER SYSTEM SET billing.workers = off;
	SELECT pg_reload_conf()});
my $run = "CALL billing.bill_run('2026-06-20 00:00+02')";

copy_books($node, 'books', 'original');
$node->safe_psql('original', $run);
my $documents = documents_of($node, 'original');
$node->safe_psql('postgres', 'DROP DATABASE original');

# Due since yesterday; the clusters that pg_upgrade starts would run it at once.
wait_for($node, 'postgres', q{SELECT current_setting('billing.workers') = 'off'}, 'no job is started');
$node->safe_psql('books', q{SET SESSION AUTHORIZATION bookkeeper; SELECT billing.schedule_job('tick', 'public.tick', '1 second', first_start => now() - interval '1 day')});
$node->safe_psql('postgres', 'ALTER SYSTEM RESET billing.workers');
my $expected = books_of($node, 'books');
$node->stop;

for my $mode ('--copy', '--link')
{
	my $name = "new_" . substr($mode, 2);
	my $new = PostgreSQL::Test::Cluster->new($name);
	my $here = Cwd::getcwd();

	$new->init;
	# by copy is the default, and has an option of its own only since 16
	my @command = ('pg_upgrade', '-b', $bin, '-B', $bin, '-d', File::Spec->rel2abs($node->data_dir), '-D', File::Spec->rel2abs($new->data_dir),
		'-p', $node->port, '-P', $new->port, '-s', $node->host, $mode eq '--link' ? $mode : ());
	$new->append_conf('postgresql.conf', "$preload\ntimezone = 'UTC'\nbilling.max_future = '100000d'");
	chdir PostgreSQL::Test::Utils::tempdir;
	$node->command_ok(\@command, "pg_upgrade $mode");
	chdir $here;

	$new->start;
	$new->wait_for_log(qr/runs no jobs in database "books": the books were copied here and not adopted/);
	is($new->safe_psql('books', 'SELECT count(*) FROM tick'), 0, "$mode: no job ran during it, or after");
	same_books($new, 'books', $expected, $mode);
	bills_on($new, 'books', $run, $documents, $mode);
	wait_for($new, 'books', 'SELECT count(*) > 0 FROM tick', 'the job runs');
	pass("$mode: the job runs once the books are adopted");
	is(sqlstate_of($new, 'books', "SET ROLE clerk; CALL billing.bill_run('2026-07-20 00:00+02')"), '', "$mode: rights are there");
	$new->stop;
}

done_testing();
