# What README.md says is what happens: its blocks run in their order in one fresh database, exactly as
# printed, and must print what it shows; its tables must name what the catalog holds, no more and no less.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use Pages;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file('README.md');
my $node = PostgreSQL::Test::Cluster->new('readme');
my $scratch = PostgreSQL::Test::Utils::tempdir;

$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing'");
$node->start;
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGUSER} = $node->safe_psql('postgres', 'SELECT current_user');
$ENV{PGDATABASE} = 'postgres';

my @blocks = blocks_of($readme);
my ($shown) = map { $_->{text} } grep { $_->{kind} eq 'text' } @blocks;

sub blocks_of_kind
{
	my ($kind) = @_;

	return grep { $_->{kind} eq $kind } @blocks;
}

# Installing: make's targets exist, the rest of the commands runs.

my $screen = join "\n", (split /\n/, $readme)[ 0 .. 39 ];
like($screen, qr/billing\.bill_run.*`make demo`/s, 'the first 40 lines hold the story and the demo');

for my $target (map { /`make ([\w-]+)`/g, /(?:^|&& )(?:sudo )?make ?([\w-]*)/mg } $readme =~ /(`make [\w-]+`|^make.*)/mg)
{
	like(slurp_file('Makefile'), $target eq '' || $target eq 'install' ? qr/include \$\(PGXS\)/ : qr/^SELF_CONTAINED = .*\b$target\b/m,
		"make $target: there is such a target");
}
for my $line (map { split /\n/, $_->{text} } blocks_of_kind('sh'))
{
	next if $line =~ /^make && sudo make install$/;
	output_of($line, 'sh', '-c', $line);
}
$ENV{PGDATABASE} = 'shop';

# Statements

cmp_ok(run_sql('README.md', grep { $_->{text} !~ /cron\./ } blocks_of_kind('sql')), '>=', 3, 'SQL blocks were found');
my ($story) = blocks_of_kind('sql');
is(scalar(() = $story->{text} =~ /(?:;|\\gset)(?:  --.*)?$/mg), 10, 'the story has ten statements');

# Programs: the first attempt of each to record usage meets 40001, so its retry is needed.

$node->safe_psql('shop', q{
	CREATE SEQUENCE attempt;
	CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	    IF nextval('public.attempt') = 1 THEN RAISE EXCEPTION 'try again' USING ERRCODE = '40001'; END IF;
	    RETURN NEW;
	END $$;
	CREATE TRIGGER fail_once BEFORE INSERT ON billing.usage_event FOR EACH ROW EXECUTE FUNCTION fail_once()});

# usage: check_program(KIND, FILE, REASON, COMMAND...); a reason skips it; the file takes the place of "{}"
sub check_program
{
	my ($kind, $file, $reason, @command) = @_;
	my @programs = blocks_of_kind($kind);

	is(scalar @programs, 1, "$kind: one program");
  SKIP:
	{
		skip "$kind example: $reason", 1 if $reason;
		my $path = in_file($file, $programs[0]->{text});
		$node->safe_psql('shop', q{SELECT setval('attempt', 1, false)});
		is(output_of($kind, map { $_ eq '{}' ? $path : $_ } @command), $shown, "$kind: prints what is shown");
		is($node->safe_psql('shop', 'SELECT last_value FROM attempt'), 2, "$kind: tried again after 40001");
	}
	return;
}

# The first of the programs that can load a driver.
sub first_with
{
	my ($check, @programs) = @_;

	for my $program (@programs)
	{
		my $out = '';

		return $program if eval { IPC::Run::run([ $program, @$check ], '<', \undef, '>&', \$out) };
	}
	return;
}

my $python = first_with([ '-c', 'import psycopg' ], '/usr/bin/python3', 'python3');
check_program('python', 'shop.py', $python ? '' : 'no Python with psycopg (Debian: python3-psycopg)', $python, '{}');

$ENV{NODE_PATH} ||= join ':', map { ("$_/node_modules", "$_/nodejs") } qw(/usr/share /usr/lib /usr/local/lib);
my $js = first_with([ '-e', 'require("pg")' ], 'node');
check_program('js', 'shop.js', $js ? '' : 'no Node with pg (Debian: node-pg)', $js, '{}');

# JDBC has no sockets of the file system, so the test brings a factory of them.
my ($jar) = grep { -f } split(/:/, $ENV{CLASSPATH} // ''), '/usr/share/java/postgresql.jar';
my $java = $jar && first_with([ '--list-modules' ], 'java') && `java --list-modules 2>/dev/null` =~ /^jdk\.compiler/m;
my @java;
if ($java)
{
	my $classes = "$scratch/classes";

	output_of('socket factory', 'java', '-m', 'jdk.compiler/com.sun.tools.javac.Main', '-d', $classes, 'test/tap/SocketFactory.java');
	@java = ('java', "-Dsocket=$ENV{PGHOST}/.s.PGSQL.$ENV{PGPORT}", '-cp', "$jar:$classes", '{}',
		"jdbc:postgresql://localhost/shop?socketFactory=SocketFactory&user=$ENV{PGUSER}");
}
check_program('java', 'Shop.java', $java ? '' : 'no Java 16 with compiler and JDBC driver (Debian: default-jdk-headless libpostgresql-jdbc-java)', @java);

# The demo: what `make demo` runs on a server of its own, on this one.

$node->safe_psql('postgres', 'CREATE DATABASE demo');
{
	local $ENV{PGDATABASE} = 'demo';
	like(output_of('make demo', 'sh', 'test/demo/run.sh'), qr/INV-2026-.*nothing wrong/s, 'make demo: prints an invoice and finds the books sound');
}

# Running it: the line of cron, and of pg_cron where that is installed.

for my $line (map { split /\n/, $_->{text} } blocks_of_kind('crontab'))
{
	my ($command) = $line =~ /^(?:\S+ ){5}(.*)$/;
	my $runs = $node->safe_psql('shop', 'SELECT count(*) FROM billing.run');

	is(output_of('cron line', 'sh', '-c', $command), '', 'cron line: prints nothing, so cron sends no mail');
	is($node->safe_psql('shop', 'SELECT count(*), max(status) FROM billing.run WHERE at > now() - interval \'1 hour\''), '1|finished',
		'cron line: bills as of now');
}

SKIP:
{
	my ($schedule) = grep { $_->{text} =~ /cron\./ } blocks_of_kind('sql');
	my $there = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'});

	skip 'pg_cron example: it is not installed (Debian: postgresql-15-cron)', 2 if !$there;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'billing, pg_cron'\ncron.host = '" . $node->host . "'\ncron.timezone = 'UTC'\n");
	$node->restart;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron');
	$node->safe_psql('postgres', $schedule->{text});
	is($node->safe_psql('postgres', 'SELECT database, schedule, command FROM cron.job'),
		'shop|5 * * * *|CALL billing.bill_run()', 'pg_cron: the job is scheduled');
	# It would begin at the next full minute; at the server's start it begins at once.
	$node->safe_psql('postgres', q{UPDATE cron.job SET schedule = '@reboot'});
	my $runs = $node->safe_psql('shop', 'SELECT count(*) FROM billing.run');
	$node->restart;
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM cron.job_run_details WHERE status = 'succeeded'});
	is($node->safe_psql('shop', q{SELECT count(*), (array_agg(status ORDER BY id DESC))[1] FROM billing.run}), $runs + 1 . '|finished', 'pg_cron: it bills');
	$node->safe_psql('postgres', 'DELETE FROM cron.job');
}

# Tables against the catalog

sub table_of
{
	my ($heading) = @_;
	my ($section) = $readme =~ /^## \Q$heading\E\n(.*?)(?=^## |\z)/ms;

	return sort grep { !/^\| (?:---|call|view|setting|SQLSTATE) / } grep { /^\|/ } split /\n/, $section // '';
}

# usage: check_table(HEADING, QUERY); the query gives the rows of the table
sub check_table
{
	my ($heading, $query) = @_;
	my %readme = map { $_ => 1 } table_of($heading);
	my %catalog = map { $_ => 1 } split /\n/, $node->safe_psql('shop', "LOAD 'billing'; $query");
	my @missing = sort grep { !$readme{$_} } keys %catalog;
	my @stale = sort grep { !$catalog{$_} } keys %readme;

	cmp_ok(scalar keys %catalog, '>', 2, "$heading: the catalog has them");
	is(join("\n", @missing), '', "$heading: no row is missing");
	is(join("\n", @stale), '', "$heading: no row is stale");
	return;
}

check_table('Calls', q{
	SELECT format('| `%s(%s)%s` | %s | %s |', p.proname,
	           array_to_string(p.proargnames[1:required] || CASE WHEN p.pronargdefaults > 0 THEN
	               '[' || array_to_string(p.proargnames[required + 1:p.pronargs], ', ') || ']' END, ', '),
	           CASE WHEN p.prokind = 'p' THEN '' WHEN p.proretset AND p.prorettype = 'record'::regtype THEN ' → rows'
	                WHEN p.prorettype = 'record'::regtype THEN ' → row'
	                ELSE format(' → %s%s', CASE WHEN p.proretset THEN 'setof ' END, format_type(p.prorettype, NULL)) END,
	           coalesce((SELECT k FROM unnest('{reader,application,operator,administrator}'::text[]) WITH ORDINALITY AS x (k, n)
	                      WHERE p.oid::regprocedure IN (SELECT billing_internal.access_routines(k)) ORDER BY n LIMIT 1), 'superuser'),
	           obj_description(p.oid, 'pg_proc'))
	  FROM pg_proc p CROSS JOIN LATERAL (SELECT p.pronargs - p.pronargdefaults AS required) r
	 WHERE p.pronamespace = 'billing'::regnamespace});
check_table('Views', q{
	SELECT format('| `%s` | %s |', relname, obj_description(oid, 'pg_class'))
	  FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind = 'v'});
check_table('Settings', q{
	SELECT format('| `%s` | %s | %s | %s |', name, concat_ws(' ', boot_val, unit), context, concat_ws(' ', short_desc, extra_desc))
	  FROM pg_settings WHERE name LIKE 'billing.%'});
check_table('Errors', q{
	SELECT format('| `%s` | `%s` | %s | %s |', code, name, meaning, action) FROM billing.error_code});

is(join(' ', sort grep { !/^(?:sh|sql|js|python|java|crontab|text)$/ } map { $_->{kind} } @blocks), '', 'every block is of a kind that is tested');

# The version is the same everywhere, and PGXN finds what its specification requires.

my ($version) = slurp_file('billing.control') =~ /^default_version = '(.*)'$/m;
my $meta = JSON::PP->new->utf8->decode(slurp_file('META.json'));

is(join(' ', grep { !defined $meta->{$_} } qw(name version abstract maintainer license provides meta-spec)), '', 'META.json: no field is missing');
is("$meta->{version} $meta->{provides}{billing}{version} $meta->{'meta-spec'}{version}", "$version $version 1.0.0", 'META.json: versions');
is(join(' ', grep { !-f } map { $meta->{provides}{billing}{$_} } qw(file docfile)), '', 'META.json: its files exist');
like(slurp_file('CHANGELOG.md'), qr/\A[^#]*# Changelog\n[^#]*\n## \Q$version\E – \d{4}-\d\d-\d\d\n/, 'CHANGELOG.md: begins with this version and its date');

$node->stop;
done_testing();
