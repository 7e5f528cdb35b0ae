# Dumped and restored, books are the same to the last row, index, trigger, comment and privilege, and
# refuse to bill until they are adopted.  A copy of the schema alone becomes new books by setup().

use strict;
use warnings FATAL => 'all';

use Billing;
use Copies;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $folder = PostgreSQL::Test::Utils::tempdir();

$node->safe_psql('postgres', 'CREATE ROLE bookkeeper LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE auditor LOGIN; CREATE ROLE seller LOGIN');
new_books($node, 'books', accounts => 40, owner => 'bookkeeper');
$node->safe_psql('books', <<'SQL');
SELECT billing.grant_access('clerk', 'operator'), billing.grant_access('auditor', 'reader');
SELECT billing.grant_access('seller', 'application', entity => 'acme');

-- what users add to tables of the books
CREATE INDEX my_line_idx ON billing.invoice_line (product, price);
ALTER TABLE billing.account ADD COLUMN my_note text DEFAULT 'none', ADD CONSTRAINT my_check CHECK (my_note <> '');
CREATE FUNCTION public.my_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.my_note := ''touched''; RETURN NEW; END';
CREATE TRIGGER my_trigger BEFORE UPDATE ON billing.account FOR EACH ROW EXECUTE FUNCTION public.my_trigger();
ALTER TABLE billing.account ENABLE ROW LEVEL SECURITY;
CREATE POLICY my_policy ON billing.account TO auditor USING (account_id <= 10);
COMMENT ON COLUMN billing.account.my_note IS 'ours';
GRANT SELECT (number, total) ON billing.invoice TO PUBLIC;

CALL billing.bill_run('2026-02-20 00:00+01');
SELECT billing.record_usage(id, 'minutes', 'late', 7, '2026-01-25 00:00+01') FROM billing.subscription WHERE account_id = 10;
SELECT billing.void_invoice((SELECT min(id) FROM billing.invoice WHERE account_id = 4), rebill => true, effective_at => '2026-02-21 00:00+01');
UPDATE billing.account SET name = 'Touched' WHERE account_id = 7;
CALL billing.bill_run('2026-03-20 00:00+01', finalize => false);
SQL
# row-level security of the books; views follow it since 15
$node->safe_psql('books', 'SELECT billing.limit_reading()') if $node->safe_psql('postgres', 'SHOW server_version_num') >= 150000;
cmp_ok($node->safe_psql('books', q{SELECT count(*) FROM billing.invoice WHERE status = 'draft'}), '>', 10, 'the books have drafts');
cmp_ok($node->safe_psql('books', q{SELECT count(*) FROM billing.invoice WHERE kind = 'credit_note'}), '>', 0, 'and credit notes');
sound_books($node, 'books', 'the books are sound');

my $expected = books_of($node, 'books');

for my $found (
	[ triggers => qr/^\(A,"CREATE TRIGGER invoice_line_immutable/m ], [ triggers => qr/my_trigger/ ],
	[ policies => qr/my_policy/ ], [ columns => qr/my_note/ ], [ indexes => qr/my_line_idx/ ], [ comments => qr/,ours\)/ ],
	[ routines => qr/bill_run.*clerk=X/ ], [ sequences => qr/account_id_seq,1,1,.*,40\)/ ])
{
	like($expected->{ $found->[0] }, $found->[1], "compared are $found->[0], with $found->[1]");
}

# Dumps into a fresh cluster, roles first

my $copy = new_server('copy');
my @owner = ('-U', 'bookkeeper');

copy_roles($node, $copy);

# Dumps with pg_dump's options, or restores with pg_restore's; both must have nothing to say.
sub dumped
{
	my ($file, @options) = @_;

	$node->command_ok([ 'pg_dump', @options, '-f', "$folder/$file", $node->connstr('books') ], "pg_dump @options");
	return;
}

sub restored
{
	my ($db, $file, @options) = @_;

	$copy->command_ok([ 'pg_restore', '--exit-on-error', @options, '-d', $copy->connstr($db), "$folder/$file" ], "$db: pg_restore @options");
	return;
}

my @copies = qw(plain custom folder by_owner by_section data_only);

$copy->safe_psql('postgres', "CREATE DATABASE $_") for @copies, 'schema_only';

dumped('plain.sql', '-Fp');
$copy->command_ok([ 'psql', '-Xq', '-o', "$folder/out", '-v', 'ON_ERROR_STOP=1', '-f', "$folder/plain.sql", $copy->connstr('plain') ], 'plain: psql');
dumped('custom', '-Fc');
restored('custom', 'custom', '-j4');
dumped('folder', '-Fd', '-j4');
restored('folder', 'folder', '-j4');
dumped('by_owner', '-Fc', @owner);
restored('by_owner', 'by_owner', '-j4');
for my $section (qw(pre-data data post-data))
{
	dumped($section, '-Fc', "--section=$section");
	restored('by_section', $section);
}

# Rows alone go into empty tables: those of a schema-only dump, not those of setup(), which have rows.
# Triggers are off meanwhile, and pg_restore does not put them back as they were; setup() does.
dumped('schema', '-Fc', '-s');
restored('data_only', 'schema');
dumped('data', '-Fc', '-a');
restored('data_only', 'data', '--disable-triggers');
is($copy->safe_psql('data_only', 'SELECT action FROM billing.setup()'), 'completed', 'data_only: setup() completes the books');

my $run = "CALL billing.bill_run('2026-04-20 00:00+02')";
$node->safe_psql('books', $run);
my $billed = documents_of($node, 'books');

for my $db (@copies)
{
	same_books($copy, $db, $expected, $db);
	is(sqlstate_of($copy, $db, "SELECT billing.bill_account(1, '2026-04-20 00:00+02')"), 'LB003', "$db: refuses a single account");
	is(sqlstate_of($copy, $db, 'SELECT * FROM billing.check()'), '', "$db: but it can be read");
	bills_on($copy, $db, "SET ROLE clerk; $run", $billed, $db);
	is(sqlstate_of($copy, $db, "SET ROLE auditor; $run"), '42501', "$db: a reader may not bill");
	is(sorted_rows($copy, $db, 'SELECT * FROM billing.invoice'), sorted_rows($node, 'books', 'SELECT * FROM billing.invoice'), "$db: views show the same");
}

# Copied as a template

$node->safe_psql('postgres', 'CREATE DATABASE template_copy TEMPLATE books');
is(sqlstate_of($node, 'template_copy', $run), 'LB003', 'a template copy refuses to bill');
is(sqlstate_of($node, 'books', $run), '', 'the original still bills');

# Schema only, then setup()

$node->command_ok([ 'pg_dump', '-s', '-f', "$folder/schema.sql", $node->connstr('books') ], 'schema-only dump');
$copy->command_ok([ 'psql', '-Xq', '-o', "$folder/out", '-v', 'ON_ERROR_STOP=1', '-f', "$folder/schema.sql", $copy->connstr('schema_only') ],
	'and its restore');
is(sqlstate_of($copy, 'schema_only', $run), 'LB001', 'a schema is no books yet');
is($copy->safe_psql('schema_only', 'SELECT action FROM billing.setup()'), 'completed', 'setup() completes it');
$copy->command_ok([ 'pg_dump', '-s', '-f', "$folder/completed.sql", $copy->connstr('schema_only') ], 'the completed schema is dumped');

# A dump without what depends on when and by which minor version it was made.
sub schema_text
{
	my $text = slurp_file(shift);

	$text =~ s/^(-- Dumped (from|by).*|\\(un)?restrict .*)\n//mg;
	return $text;
}

is(schema_text("$folder/completed.sql"), schema_text("$folder/schema.sql"), 'the schema is the same');
is(sorted_rows($copy, 'schema_only', 'SELECT * FROM billing.currency'), $expected->{'rows of currency'}, 'facts of the engine are there');
fill_books($copy, 'schema_only');
$copy->safe_psql('schema_only', $run);
is($copy->safe_psql('schema_only', 'SELECT count(*) > 20, max(account_id) FROM billing.invoice'), 't|20', 'and it bills');
sound_books($copy, 'schema_only', 'schema only: books are sound');
$_->stop for $node, $copy;

done_testing();
