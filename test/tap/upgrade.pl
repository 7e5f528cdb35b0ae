# From every released version to this one: old functions with the new library, ALTER EXTENSION UPDATE,
# setup().  Afterwards catalog, rows and what a run makes are those of fresh books.

use strict;
use warnings FATAL => 'all';

use Billing;
use Copies;
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', "shared_preload_libraries = 'billing'");
my ($share) = run_command([ 'pg_config', '--sharedir' ]);
my $extensions = "$share/extension";
my $user = $node->safe_psql('postgres', 'SELECT current_user');
my @written;

END { unlink @written }

sub write_script
{
	my ($name, $text) = @_;

	push @written, "$extensions/$name";
	append_to_file($written[-1], $text);
	return;
}

$node->safe_psql('postgres', 'CREATE ROLE bookkeeper; CREATE ROLE clerk; CREATE ROLE auditor; CREATE ROLE application');
my $current = $node->safe_psql('postgres', q{SELECT default_version FROM pg_available_extensions WHERE name = 'billing'});

# The version is the same wherever it is written.
my $tree = "$ENV{TESTDIR}";
my $meta = decode_json(slurp_file("$tree/META.json"));
is($meta->{version}, $current, 'META.json has the version of the control file');
is($meta->{provides}{billing}{version}, $current, 'also for what it provides');
my ($changes) = slurp_file("$tree/CHANGELOG.md") =~ /^## (\S+)/m;
is($changes, $current, 'so has the changelog');

my @versions = released_versions();
cmp_ok(scalar @versions, '>=', 1, "released versions: @versions");

# Every C function of the old script, with nulls and with some value: it may refuse, and it must be there.
my $sweep = q{
	DO $$
	DECLARE
		f record;
		call text;
		sample CONSTANT jsonb := '{"bigint": 1, "integer": 1, "numeric": 1, "boolean": true, "text": "acme", "regrole": "clerk", "date": "2026-05-01", "jsonb": "{}",
			"interval": "1 month", "timestamp with time zone": "2026-05-01 00:00+02", "text[]": "{}", "bigint[]": "{}", "numeric[]": "{}"}';
	BEGIN
		FOR f IN SELECT p.oid::regprocedure AS name, p.prokind, p.pronargs,
				(SELECT string_agg(format('%L::%s', CASE WHEN sampled THEN sample ->> format_type(t, NULL) END, format_type(t, NULL)), ', ' ORDER BY i)
				   FROM unnest(p.proargtypes) WITH ORDINALITY x (t, i)) AS arguments,
				format('%I.%I', n.nspname, p.proname) AS plain
			  FROM unnest(ARRAY[false, true]) sampled, pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
			 WHERE l.lanname = 'c' AND n.nspname LIKE 'billing%' AND p.prorettype <> 'trigger'::regtype LOOP
			call := format(CASE f.prokind WHEN 'p' THEN 'CALL %s(%s)' ELSE 'SELECT * FROM %s(%s)' END, f.plain, f.arguments);
			BEGIN
				EXECUTE call;
				RAISE NOTICE '% works', f.name;
			EXCEPTION WHEN OTHERS THEN
				RAISE NOTICE '% % %', f.name, SQLSTATE, SQLERRM;
			END;
		END LOOP;
	END $$};

# Fresh books that saw the same as the old ones.
sub make_fresh
{
	my ($db, $story) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION billing; SELECT billing.setup('bookkeeper')");
	is(load_sql($node, $db, "SET SESSION AUTHORIZATION bookkeeper;\n$story"), '', "$db: the story");
	return;
}

# What psql says of a dump that grants on functions whose signature has changed since.
my $lacking = qr/\A(?:ERROR:  (?:procedure|function) \S+\(.*\) does not exist\n)*\z/;

my @more = ("CALL billing.bill_run('2026-05-20 00:00+02')", "CALL billing.bill_run('2026-06-20 00:00+02')",
	"SELECT billing.record_usage((SELECT min(id) FROM billing.subscription WHERE account_id = 14), 'minutes', 'last', 5, '2026-03-01 00:00+01')",
	"CALL billing.bill_run('2026-07-20 00:00+02')");
my $run = join('; ', @more);

for my $version (@versions)
{
	my $word = $version =~ s/\./_/gr;
	my ($fresh, $placed, $restored, $schema, $again) = map { "${_}_$word" } qw(fresh placed restored schema again);
	my $dump = released_file($version, 'books.sql');
	my $old = $dump =~ s/WITH SCHEMA billing;/WITH SCHEMA billing VERSION '$version';/r;

	make_fresh($fresh, released_file($version, 'story.sql'));
	my $catalog = catalog_of($node, $fresh);
	write_script("billing--$version.sql", released_file($version, "billing--$version.sql"));
	$node->safe_psql('postgres', "CREATE DATABASE $_") for $placed, $restored, $schema, $again;

	# In place: the new library serves the functions and books of the old version

	is(load_sql($node, $placed, $old), '', "$version: its books are loaded");
	is($node->safe_psql($placed, q{SELECT extversion FROM pg_extension WHERE extname = 'billing'}), $version, "$version: its functions too");
	same_documents($node, $placed, documents_of($node, $fresh), "$version: it made the documents that this version makes");

	my ($status, $stdout, $stderr) = $node->psql($placed, "BEGIN; $sweep; ROLLBACK");
	is($status, 0, "$version: no old function ends the session");
	cmp_ok(scalar(() = $stderr =~ /NOTICE/g), '>', 150, "$version: many were called");
	# which complains of what it is not told
	$stderr =~ s/^.*NOTICE:  billing_internal\.(?:fail|seal_document)\(.*\n//mg;
	unlike($stderr, qr/ (?:XX000|42883|58\w\w\w) /, "$version: none is missing, none fails in an unforeseen way");
	is($node->safe_psql($placed, q{SELECT billing.charge('{"model":"per_unit","unit_amount":2.5}', 3)}), '7.5', "$version: pure functions work");
	is(sqlstate_of($node, $placed, 'SELECT * FROM billing.invoice, billing.tax_summary'), '', "$version: views work");
	is(sqlstate_of($node, $placed, 'UPDATE billing.invoice_line SET amount = 0'), 'LB402', "$version: documents are guarded");
	for my $call (q{SELECT billing.create_account('x', entity => 'acme')}, 'SELECT billing.preview(1)', 'CALL billing.bill_run()',
		'SELECT billing.adopt_books()', 'SELECT billing.setup()')
	{
		($status, $stdout, $stderr) = $node->psql($placed, $call);
		like($stderr, qr/version.*HINT:  Use ALTER EXTENSION billing UPDATE/s, "$version: $call says what to do");
		is(sqlstate_of($node, $placed, $call), 'LB002', "$version: $call refuses");
	}

	# A schema without rows does not know its version
	($stdout) = run_command([ 'pg_dump', '-s', $node->connstr($placed) ]);
	like(load_sql($node, $schema, $stdout, go_on => 1), $lacking, "$version: the schema alone, under this version");
	$node->safe_psql($schema, "INSERT INTO billing.access VALUES ('clerk', 'operator', ''), ('auditor', 'reader', ''), ('application', 'application', 'acme')");
	is($node->safe_psql($schema, 'SELECT action FROM billing.setup()'), 'completed', "$version: schema: setup() completes it");
	same_books($node, $schema, $catalog, "$version: schema and fresh");

	# Without the engine and with it again
	is(load_sql($node, $again, "$old\nDROP EXTENSION billing CASCADE; CREATE EXTENSION billing; SELECT billing.setup();"), '', "$version: engine dropped, made anew");
	same_books($node, $again, $catalog, "$version: anew and fresh");

	# Rolled back, an update never was
	my $before = books_of($node, $placed);
	$node->safe_psql($placed, "BEGIN; ALTER EXTENSION billing UPDATE; SELECT billing.setup(); SELECT billing.adopt_books(); ROLLBACK");
	same_books($node, $placed, $before, "$version: update rolled back");

	# Updated
	$node->safe_psql($placed, 'ALTER EXTENSION billing UPDATE');
	($status, $stdout, $stderr) = $node->psql($placed, 'CALL billing.bill_run()');
	like($stderr, qr/books are version \Q$version\E\nHINT:  Call billing.setup\(\)/, "$version: then setup() is missing");
	is($node->safe_psql($placed, 'SELECT * FROM billing.setup()'), "migrated|$version|$current", "$version: setup() migrates");
	same_books($node, $placed, $catalog, "$version: updated and fresh");
	my $rows = books_of($node, $placed);
	is($node->safe_psql($placed, 'SELECT action FROM billing.setup()'), 'completed', "$version: once is enough");
	same_books($node, $placed, $rows, "$version: twice does nothing more");
	($status, $stdout, $stderr) = $node->psql($placed, "ALTER EXTENSION billing UPDATE TO '$version'");
	like($stderr, qr/has no update path from version "\Q$current\E" to version "\Q$version\E"/, "$version: there is no way back");

	# What was granted is in dumps made later
	$node->safe_psql('postgres', "CREATE DATABASE later_$word");
	($stdout, $stderr) = run_command([ 'pg_dump', $node->connstr($placed) ]);
	is(load_sql($node, "later_$word", $stdout), '', "$version: dumped and restored after the update");
	same_books($node, "later_$word", { %$rows, initial_privileges => $catalog->{initial_privileges} }, "$version: nothing is lost then");

	# The old dump under this version, with what users made
	like(load_sql($node, $restored, $dump, go_on => 1), $lacking,
		"$version: an old dump lacks only grants on calls that have changed");
	$node->safe_psql($restored, q{
		CREATE INDEX my_idx ON billing.run_batch (accounts);
		COMMENT ON INDEX billing.my_idx IS 'ours';
		CREATE FUNCTION my_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER my_trigger BEFORE UPDATE ON billing.run FOR EACH ROW EXECUTE FUNCTION my_trigger();
		CREATE POLICY my_policy ON billing.run_batch USING (true)});
	is($node->safe_psql($restored, 'SELECT * FROM billing.setup()'), "migrated|$version|$current", "$version: old dump: setup() migrates");
	$node->safe_psql($restored, 'DROP INDEX billing.my_idx; DROP TRIGGER my_trigger ON billing.run; DROP POLICY my_policy ON billing.run_batch');
	same_books($node, $restored, $catalog, "$version: old dump and fresh");

	# All go on alike; in place a worker does it
	$node->safe_psql($fresh, $run);
	my $documents = documents_of($node, $fresh);
	my $numbers = sorted_rows($node, $fresh, 'SELECT account_id, invoice_id, number, issued_on FROM billing.seal');
	bills_on($node, $restored, $run, $documents, "$version: old dump");
	is(sorted_rows($node, $restored, 'SELECT account_id, invoice_id, number, issued_on FROM billing.seal'), $numbers, "$version: old dump: also their numbers");
	$node->safe_psql($placed, q{SELECT billing.adopt_books();
		SELECT billing.schedule_job('first', 'billing.bill_run', '1 year', arguments => '{"at": "2026-05-20 00:00+02"}')});
	wait_for($node, $placed, q{SELECT count(*) = 1 FROM billing.job_history WHERE status = 'succeeded'}, 'a worker has billed');
	$node->safe_psql($placed, join('; ', @more[1 .. $#more]));
	same_documents($node, $placed, $documents, "$version: in place: a worker and calls make the same documents");
	sound_books($node, $placed, "$version: in place: books are sound");
	is(sorted_rows($node, $placed, 'SELECT account_id, invoice_id, number, issued_on FROM billing.seal'), $numbers, "$version: in place: also their numbers");
}

# As if there were a next version: the way there is made of the files for each step

my $next = '99.0.0';
my $source = PostgreSQL::Test::Utils::tempdir;
my ($modules) = slurp_file("$tree/Makefile") =~ /^MODULES_ORDER = (.*)/m;

system_or_bail('cp', '-R', "$tree/src/.", $source);
append_to_file("$source/updates/billing--$current--$next.sql", "DROP FUNCTION billing_internal.books_ddl();\n");
append_to_file("$source/updates/books--$current--$next.sql", "ALTER TABLE billing.run ADD COLUMN IF NOT EXISTS next text;\n");
for my $version (@versions, $current)
{
	my ($script, $errors) = run_command([ 'sh', "$source/install/assemble.sh", $source, $next, $version, split(' ', $modules) ]);

	is($errors, '', "$version to $next: a script is made");
	write_script("billing--$version--$next.sql", $script);
}
is_deeply([ map { /^-- (billing--.*)/ } split /\n/, slurp_file("$extensions/billing--$versions[0]--$next.sql") ],
	[ map { s/.*\///r } glob "$source/updates/billing--*.sql" ], 'step by step');
$node->safe_psql('postgres', 'CREATE DATABASE steps');
load_sql($node, 'steps', released_file($versions[0], 'books.sql') =~ s/WITH SCHEMA billing;/WITH SCHEMA billing VERSION '$versions[0]';/r);
$node->safe_psql('steps', "ALTER EXTENSION billing UPDATE TO '$next'");
for my $from ($versions[0], $current)
{
	my $expected = join '', map { slurp_file($_) } glob "$source/updates/books--" . ($from eq $current ? "$current--*" : '*') . '.sql';
	my $found = $node->safe_psql('steps', "SELECT billing_internal.books_migration('$from', '$next')");

	s/^\n|\n\z//mg for $expected, $found;
	is($found, $expected, "so are the tables changed, from $from");
}
my (undef, undef, $refusal) = $node->psql('steps', 'SELECT billing.setup()');
like($refusal, qr/extension is version \Q$next\E, its library is version \Q$current\E/, 'but not by the library of another version');

# A job under way makes room for an update, kept or not, and runs again

my $db = 'placed_' . $versions[0] =~ s/\./_/gr;

$node->safe_psql($db, q{
	ALTER SYSTEM SET billing.job_retry = '1s';
	SELECT pg_reload_conf();
	CREATE PROCEDURE long() LANGUAGE sql AS 'SELECT pg_sleep(100000)';
	SELECT billing.unschedule_job('first');
	SELECT billing.schedule_job('long', 'public.long', '1 year')});
for my $end ('ROLLBACK', 'COMMIT')
{
	wait_for($node, $db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type = 'billing runner'}, 'the job is under way');
	my $pid = $node->safe_psql($db, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'billing runner'});

	is(sqlstate_of($node, $db, "BEGIN; ALTER EXTENSION billing UPDATE TO '$next'; $end"), '', "update while a job runs, then $end");
	is($node->safe_psql($db, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid"), 0, "$end: the job made room");
	wait_for($node, $db, 'SELECT running_pid IS NOT NULL FROM billing.job', 'the job runs again');
	is($node->safe_psql($db, q{SELECT extversion FROM pg_extension WHERE extname = 'billing'}), $end eq 'COMMIT' ? $next : $current, "$end: the version");
}
is($node->safe_psql($db, q{SELECT string_agg(DISTINCT status, ' ') FROM billing.job_history}), 'interrupted', 'and was interrupted, not lost');
sound_books($node, $db, 'books are sound after it');

$node->stop;
done_testing();
