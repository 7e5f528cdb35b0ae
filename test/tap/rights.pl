# Rights in sessions of their own: what an application cannot become, reading limited to an entity through COPY, dump and
# restore, and a database, roles and jobs with names that are made to break out of statements.

use strict;
use warnings FATAL => 'all';
use utf8;

use Billing;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', "shared_preload_libraries = 'billing'");
if ($node->safe_psql('postgres', q{SELECT current_setting('server_version_num')::int}) < 150000)
{
	plan skip_all => 'reading can be limited to an entity from PostgreSQL 15 on';
}
my $folder = PostgreSQL::Test::Utils::tempdir();
my $db = qq{we"ird %s \\ o'clock \$1; DROP TABLE x; -- \x{1F600}};
utf8::encode($db);
my $quoted = '"' . ($db =~ s/"/""/gr) . '"';

# What a role gets in a session of its own: SQLSTATE or output.
sub as_role
{
	my ($role, $sql) = @_;
	my ($stdout, $stderr);

	$node->psql($db, "\\set VERBOSITY sqlstate\n$sql", connstr => $node->connstr($db) . " user=$role", stdout => \$stdout, stderr => \$stderr, on_error_stop => 1);
	return $stderr =~ /(?:ERROR|FATAL):\s+(\w{5})\s*$/m ? $1 : $stdout;
}

$node->safe_psql('postgres', "CREATE ROLE bookkeeper; CREATE ROLE boss LOGIN; CREATE ROLE shop LOGIN; CREATE ROLE shop_acme LOGIN; CREATE ROLE auditor LOGIN; CREATE ROLE loader LOGIN BYPASSRLS; CREATE DATABASE $quoted");
$node->safe_psql($db, q{CREATE EXTENSION billing; SELECT billing.setup('bookkeeper')});
fill_books($node, $db);
$node->safe_psql($db, q{
	SELECT billing.create_entity('bolt', name => 'Bolt Ltd', country => 'GB', currency => 'EUR', time_zone => 'Europe/London');
	SELECT billing.create_tax_rate('vat', entity => 'bolt', category => 'S', rate => 20);
	SELECT billing.create_subscription(billing.create_account('Bob', entity => 'bolt'), 'team', start_at => '2026-01-01 00:00+00');
	SELECT billing.grant_access('boss', 'administrator'), billing.grant_access('shop', 'application'), billing.grant_access('loader', 'application');
	SELECT billing.limit_reading();
	SELECT billing.grant_access('shop_acme', 'application', entity => 'acme'), billing.grant_access('auditor', 'reader', entity => 'bolt')});

# A run that commits, with helpers, in a database of that name, from a session full of traps.

$node->safe_psql($db, q{CREATE SCHEMA traps AUTHORIZATION boss});
as_role('boss', qq{
	CREATE FUNCTION traps.trap($_, $_) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
	CREATE OPERATOR traps.= (leftarg = $_, rightarg = $_, function = traps.trap);
	CREATE OPERATOR traps.> (leftarg = $_, rightarg = $_, function = traps.trap)}) for qw(text bigint integer timestamptz boolean);
is(as_role('boss', q{SET search_path = traps, pg_catalog; SELECT 1 = 1}), 'P0001', 'the traps spring');
is(as_role('boss', q{SET client_min_messages = error; SET standard_conforming_strings = off; SET search_path = traps, pg_catalog;
	CALL billing.bill_run('2026-03-01 00:00+01', batch_size => 5, workers => 2)}), '', 'but not in a run that commits, nor in its helpers');
cmp_ok($node->safe_psql($db, q{SELECT count(*) FROM billing.invoice}), '>', 20, 'it has billed');
is($node->safe_psql($db, q{SELECT count(*) FROM billing.check(true)}), '0', 'and the books are sound');

# What a session cannot become

for my $way ('SET ROLE bookkeeper', 'SET SESSION AUTHORIZATION bookkeeper', 'SET session_replication_role = replica', q{SET billing.enabled = off},
	'ALTER ROLE shop SUPERUSER', 'ALTER ROLE shop BYPASSRLS', 'GRANT bookkeeper TO shop', 'ALTER TABLE billing.seal DISABLE TRIGGER ALL',
	q{COPY billing.invoice_line TO PROGRAM 'cat'}, q{COPY billing.seal FROM '/dev/null'}, q{LOAD '/tmp/x.so'}, 'ALTER SYSTEM SET row_security = off')
{
	like(as_role($_, $way), qr/^42501$|^55P02$/, "$_: $way") for qw(shop shop_acme);
}
as_role('shop_acme', q{ALTER DEFAULT PRIVILEGES IN SCHEMA billing GRANT ALL ON TABLES TO PUBLIC});
$node->safe_psql($db, 'SELECT billing.setup()');
is($node->safe_psql($db, q{SELECT count(*) FROM pg_class, aclexplode(relacl) a WHERE relnamespace = 'billing'::regnamespace AND grantee = 0}), '0', 'nobody\'s default privileges reach the books');

# COPY

my $copy = qq{COPY billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity) FROM stdin;\n2\tcopied\t33554433\tminutes\t2026-02-10 12:00+01\t5\n\\.\n};

is(as_role('auditor', 'COPY (SELECT DISTINCT entity FROM billing.invoice) TO stdout'), 'bolt', 'COPY of a query shows the own entity');
is(as_role('auditor', 'COPY billing.entity (code) TO stdout'), 'bolt', 'so does COPY of a table');
is(as_role('shop_acme', $copy), '42501', 'access to one entity is no right to write');
is(as_role('shop', $copy), '0A000', 'the server takes no COPY into a table with row-level security');
is(as_role('loader', $copy), '', 'unless it is bypassed');
is(as_role('shop', q{INSERT INTO billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity)
	VALUES (2, 'inserted', 33554433, 'minutes', '2026-02-10 12:00+01', 5)}), '', 'INSERT works as before');

# Dumps, and restores into another cluster

my @seen = map { as_role('auditor', "SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM billing.$_ x") } qw(account invoice invoice_line usage_event tax_summary);

$node->command_fails_like([ 'pg_dump', '-a', '-t', 'billing.account', $node->connstr($db) . ' user=auditor' ], qr/row-level security|row security/, 'a dump by a limited role is refused, not cut');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/dump", $node->connstr($db) ], 'a dump by a superuser is whole');
my $copied = new_server('copy');
$copied->safe_psql('postgres', "CREATE ROLE $_ LOGIN") for qw(bookkeeper boss shop shop_acme auditor loader);
$copied->safe_psql('postgres', "CREATE DATABASE $quoted");
$copied->command_ok([ 'pg_restore', '-j2', '--exit-on-error', '-d', $copied->connstr($db), "$folder/dump" ], 'it is restored');
{
	my $original = $node;

	$node = $copied;
	is_deeply([ map { as_role('auditor', "SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM billing.$_ x") } qw(account invoice invoice_line usage_event tax_summary) ],
		\@seen, 'reading is limited in the copy as it was');
	$node = $original;
}
is($copied->safe_psql($db, q{SELECT billing.adopt_books(), (SELECT action FROM billing.setup())}), '2|completed', 'the copy is adopted and completed');
is($copied->safe_psql($db, q{SELECT count(*) FROM billing.invoice}), $node->safe_psql($db, q{SELECT count(*) FROM billing.invoice}), 'it is whole');
$copied->stop;

# Renamed, a role has no access until its row says so.

$node->safe_psql($db, 'ALTER ROLE shop RENAME TO store');
is(as_role('store', q{SELECT billing.create_account('Ann', entity => 'acme')}), '42501', 'a renamed role is refused');
$node->safe_psql($db, q{UPDATE billing.access SET role_name = 'store' WHERE role_name = 'shop'});
like(as_role('store', q{SELECT billing.create_account('Ann', entity => 'acme')}), qr/^\d+$/, 'until its access is renamed too');

# Jobs: every text is kept or refused.

$node->safe_psql($db, 'CREATE TABLE public.victim ()');
my @hostile = (q{'; DROP TABLE public.victim; --}, q{"; DROP TABLE public.victim; --}, q{\\'; DROP TABLE public.victim; --}, '%s%n$1', "\x{202E}\x{1F600}\x{200B}", "a\nb\tc");
utf8::encode($_) for @hostile;
for my $text (@hostile)
{
	my $literal = $text =~ s/'/''/gr;
	my $name = $text =~ s/[^ -~]/?/gr;
	my $schedule = sub { as_role('boss', sprintf(q{SELECT billing.schedule_job('%s', %s, '1 day', %s) = '%1$s'}, $_[0], $_[1], $_[2])) };

	is($schedule->($literal, q{'billing.bill_run'}, q{arguments => '{"workers": 1}', paused => true}), 't', "job $name: is kept");
	is($node->safe_psql($db, "SELECT count(*) FROM billing.job WHERE name = '$literal'"), '1', "job $name: by that name");
	is(as_role('boss', "CALL billing.run_job('$literal')"), '', "job $name: runs");
	like($schedule->('x', "'$literal'", 'paused => true'), qr/^(?:LB\d{3}|42883|42602)$/, "job $name: no procedure");
	like($schedule->('x', q{'billing.bill_run'}, "time_zone => '$literal'"), qr/^LB206$/, "job $name: no time zone");
	like($schedule->('x', q{'billing.bill_run'}, "arguments => jsonb_build_object('$literal', 1)"), qr/^LB\d{3}$/, "job $name: no argument");
	is(as_role('boss', "SELECT billing.unschedule_job('$literal') = '$literal'"), 't', "job $name: goes");
}
is($node->safe_psql($db, q{SELECT to_regclass('public.victim')}), 'victim', 'nothing slipped in');
is($node->safe_psql($db, q{SELECT count(*) FROM billing.job}), '0', 'and nothing is left');

$node->stop;
done_testing();
