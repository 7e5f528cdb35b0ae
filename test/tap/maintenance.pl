# What administrators do to tables and servers, and what must not matter to the books: VACUUM FULL,
# REINDEX CONCURRENTLY, CLUSTER, a move to another tablespace, a new owner.

use strict;
use warnings FATAL => 'all';

use Billing;
use Copies;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $folder = PostgreSQL::Test::Utils::tempdir();

$node->safe_psql('postgres', 'CREATE ROLE bookkeeper LOGIN; CREATE ROLE successor LOGIN; CREATE ROLE clerk LOGIN');
new_books($node, 'books', accounts => 40, owner => 'bookkeeper');
$node->safe_psql('books', "SELECT billing.grant_access('clerk', 'operator'); CALL billing.bill_run('2026-03-20 00:00+01')");
copy_books($node, 'books', 'quiet');

my $expected = books_of($node, 'books');
my $run = "CALL billing.bill_run('%s-20 00:00+02')";

$node->safe_psql('quiet', sprintf($run, $_)) for qw(2026-04 2026-05 2026-06);

$node->command_ok([ 'vacuumdb', '--analyze', '--freeze', '-j2', $node->connstr('books') ], 'vacuumdb');
$node->command_ok([ 'vacuumdb', '--full', $node->connstr('books') ], 'vacuumdb --full');
$node->command_ok([ 'reindexdb', '--concurrently', '-S', 'billing', $node->connstr('books') ], 'reindexdb --concurrently');
$node->command_ok([ 'reindexdb', $node->connstr('books') ], 'reindexdb');
$node->safe_psql('books', q{SELECT format('CLUSTER %s USING %I', i.indrelid::regclass, c.relname)
	FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
	WHERE i.indisprimary AND c.relnamespace = 'billing'::regnamespace \gexec});
# the index that a table was clustered by is a mark of its own
is($node->safe_psql('books', q{SELECT count(*) > 30 FROM pg_index WHERE indisclustered AND indrelid::regclass::text LIKE 'billing.%'}), 't', 'all tables are clustered');
same_books($node, 'books', $expected, 'maintenance');
$node->safe_psql('books', sprintf($run, '2026-04'));

# All of that while a run bills
my $session = Billing::Session->new($node->connstr('books'));
$session->send(sprintf($run, '2026-05'));
$node->command_ok([ 'reindexdb', '--concurrently', '-S', 'billing', $node->connstr('books') ], 'reindexdb --concurrently beside a run');
$node->command_ok([ 'vacuumdb', '--analyze', $node->connstr('books') ], 'vacuumdb beside a run');
my (undef, $errors) = $session->result;
is($errors, '', 'the run ends well');
$session->finish;

# A new owner: his are the tables, setup() lets him write
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$folder'");
$node->safe_psql('books', q{
	ALTER TABLE ALL IN TABLESPACE pg_default OWNED BY bookkeeper SET TABLESPACE elsewhere;
	REASSIGN OWNED BY bookkeeper TO successor});
is($node->safe_psql('books', 'SELECT action FROM billing.setup()'), 'completed', 'setup() for a new owner');
is(sqlstate_of($node, 'books', 'SET ROLE clerk; ' . sprintf($run, '2026-06')), '', 'rights stay');
is($node->safe_psql('books', q{SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'billing'::regnamespace}), 'successor', 'all is his');
same_documents($node, 'books', documents_of($node, 'quiet'), 'documents are those of undisturbed books');
sound_books($node, 'books', 'books are sound');

$node->stop;
done_testing();
