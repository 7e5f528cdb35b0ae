# The test of path independence finds what it is for: with a fault planted in the source it fails.
#
# Each fault is a small change of a copy of the source.  The copy is compiled, and the functions of a new database are
# led to that library; or SQL changes the books.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/..";

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = "$FindBin::RealBin/../../..";
my $node = new_server('main');

plan skip_all => 'pgtap is not installed'
	if $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'pgtap'") eq '0';
plan skip_all => 'PG_CONFIG is not set' unless $ENV{PG_CONFIG};

my @faults = (
	{   name => 'none',
		lives => 100,
		expected => qr/^ok 1 /m },
	{   name => 'at_closes_charges',
		file => 'src/run/load.c',
		from => qr/Max\(at, batch->accounts\[i\]\.billed_through\)/,
		to => 'at',
		lives => 100,
		expected => qr/^not ok 1 .*: (?:a run that goes back|other charges)/ms },
	{   name => 'credit_rounded_by_itself',
		file => 'src/charge/compare.c',
		from => qr/(?=\tset_range\(&delta, live, parts, nparts\);)/,
		to => <<'C',
	if (nparts == 1 && has_range(live->kind) && parts[0]->start == live->start && parts[0]->end < live->end)
	{
		int64		lost = (live->end - parts[0]->end) / USECS_PER_HOUR;
		int64		whole = (live->end - live->start) / USECS_PER_HOUR;

		delta.money.amount = -(2 * live->money.amount * lost + whole) / (2 * whole);
		delta.money.gross = delta.money.amount + delta.money.discount - delta.money.increment;
	}
C
		lives => 200,
		expected => qr/^not ok 1 .*: (?:kept \+ credited|other charges)/ms },
	{   name => 'counter_by_document',
		sql => <<'SQL',
CREATE FUNCTION count_documents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing.subscription_item i
       SET end_at = CASE WHEN i.cycles <= (SELECT count(*) FROM billing.invoice_header h WHERE h.account_id = i.account_id AND h.billed_at >= i.start_at)
                         THEN greatest(NEW.billed_at, i.start_at) END
     WHERE i.account_id = NEW.account_id AND i.cycles IS NOT NULL;
    PERFORM billing_internal.timeline_changed(NEW.account_id, '-infinity', true);
    RETURN NULL;
END $$;
CREATE TRIGGER count_documents AFTER INSERT ON billing.invoice_header FOR EACH ROW EXECUTE FUNCTION count_documents();
SQL
		lives => 100,
		expected => qr/^not ok 1 .*: (?:a further run|other charges)/ms });

# The library of a tree with the fault.
sub planted_library
{
	my ($fault) = @_;
	my $copy = PostgreSQL::Test::Utils::tempdir("fault_$fault->{name}");

	system('cp', '-R', map({ "$tree/$_" } qw(src Makefile billing.control)), $copy) == 0 or die 'the source cannot be copied';
	if ($fault->{file})
	{
		my $source = slurp_file("$copy/$fault->{file}");

		is($source =~ s/$fault->{from}/$fault->{to}/, 1, "$fault->{name}: the fault is planted");
		open(my $out, '>', "$copy/$fault->{file}") or die $!;
		print $out $source;
		close($out);
	}
	system("cd '$copy' && make -s PG_CONFIG='$ENV{PG_CONFIG}' WERROR=0 billing.so >make.log 2>&1") == 0
	  or die 'the copy does not compile: ' . slurp_file("$copy/make.log");
	return "$copy/billing.so";
}

for my $fault (@faults)
{
	my ($status, $out, $err) = live_lives($node, "fault_$fault->{name}", $fault->{lives}, 1,
		library => $fault->{sql} ? undef : planted_library($fault), sql => $fault->{sql});

	is($status, 0, "$fault->{name}: the test ends") or diag($err);
	like($out, $fault->{expected}, "$fault->{name}: " . ($fault->{name} eq 'none' ? 'nothing is found' : 'it is found'));
	note($out);
}

$node->stop;
done_testing();
