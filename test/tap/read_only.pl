# What only looks works in a read-only transaction and on a standby, for readers too, and says the
# same there; what writes is refused.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');

$node->safe_psql('postgres', 'CREATE ROLE bookkeeper; CREATE ROLE auditor LOGIN; CREATE ROLE application LOGIN');
new_books($node, 'books', accounts => 40, owner => 'bookkeeper');
$node->safe_psql('books', <<'SQL');
SELECT billing.grant_access('auditor', 'reader'), billing.grant_access('application', 'application');
CALL billing.bill_run('2026-02-20 00:00+01');
SELECT billing.record_usage(id, 'minutes', 'late', 7, '2026-01-25 00:00+01') FROM billing.subscription WHERE account_id = 10;
CALL billing.bill_run('2026-03-20 00:00+01', finalize => false);
SELECT billing.add_payment_method(1, 'card', provider => 'psp', token => 't'), billing.record_payment(2, 10000, 'EUR', effective_at => '2026-02-21 00:00+01');
CALL billing.collection_run('2026-03-19 00:00+01');
SELECT billing.create_dunning_scheme('hard', currency => 'EUR', steps => '[{"after":"1 day","actions":["agency"],"agency":"Collect"}]'),
       billing.create_dunning_scheme('soft', currency => 'EUR', steps => '[{"after":"1 day","actions":["event"]},{"after":"400 days","actions":["event"]}]');
SELECT billing.assign_dunning_scheme('hard', account_id => 4), billing.assign_dunning_scheme('soft', account_id => 5),
       billing.record_external_invoice(4, 'X-4', '2026-01-01', 50, 'EUR'), billing.record_external_invoice(5, 'X-5', '2026-01-01', 50, 'EUR');
CALL billing.dunning_run('2026-02-20 00:00+01');
SELECT billing.promise_payment(id, 20, '2026-03-01', effective_at => '2026-02-21 00:00+01') FROM billing.dunning_case WHERE account_id = 5;
INSERT INTO billing.job (name, owner, procedure, arguments, every, first_start, time_zone, paused, next_run)
VALUES ('nightly', 'bookkeeper', 'billing.bill_run', '{}', '1 day', '2026-01-01 03:00+01', 'Europe/Berlin', true, '2026-01-01 03:00+01');
SQL

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);

my %reading = map { $_ => "SELECT * FROM billing.$_" } split /\n/, $node->safe_psql('books',
	q{SELECT viewname FROM pg_views WHERE schemaname = 'billing' ORDER BY 1});
my @views = sort keys %reading;

# This one looks at the clock, which moves on between two sessions.
$reading{unbilled} = 'SELECT DISTINCT account_id FROM billing.unbilled';

my %looking = (
	preview => q{SELECT * FROM billing.account a, billing.preview(a.account_id, '2026-05-20 00:00+02')},
	preview_change => q{SELECT p.* FROM (SELECT * FROM billing.subscription s WHERE coalesce(s.end_at, '2026-04-01') >= '2026-04-01' OFFSET 0) s, billing.preview_change(s.id,
		'{"verb": "cancel_subscription", "effective_at": "2026-03-10 00:00+01", "invoice_now": true}') p},
	preview_change_cost => q{SELECT p.* FROM (SELECT * FROM billing.subscription s WHERE coalesce(s.end_at, '2026-04-01') >= '2026-04-01' OFFSET 0) s, billing.preview_change_cost(s.id,
		'{"verb": "add_item", "price": "seat", "effective_at": "2026-03-10 00:00+01"}') p},
	preview_invoices => 'SELECT p.* FROM billing.subscription s, billing.preview_invoices(s.id, 3) p',
	unbilled_on => q{SELECT * FROM billing.unbilled_on('2026-05-01 00:00+02')},
	receivable_aging_on => q{SELECT * FROM billing.receivable_aging_on('2026-03-01')},
	account_statement => 'SELECT s.* FROM billing.account a, billing.account_statement(a.account_id) s',
	check => 'SELECT * FROM billing.check(deep => true)',
	verify_chain => 'SELECT * FROM billing.verify_chain()',
	explain_charge => q{SELECT * FROM billing.explain_charge((SELECT scheme FROM billing.price_version WHERE price = 'call'), 35)},
	invoice_document => 'SELECT billing.invoice_document(id) FROM billing.invoice',
	nth_period => 'SELECT billing.nth_period(start_at, $$1 month$$, 3, $$UTC$$) FROM billing.subscription',
	%reading);

cmp_ok(scalar @views, '>=', 5, "views: @views");
for my $what (sort keys %looking)
{
	my $sql = "SELECT x::text COLLATE \"C\" FROM ($looking{$what}) x ORDER BY 1";
	my $role = $what =~ /^preview/ ? 'application' : 'auditor';
	my $expected = $node->safe_psql('books', "SET ROLE $role; $sql");

	ok($node->safe_psql('books', "BEGIN READ ONLY; SET LOCAL ROLE $role; $sql; COMMIT") eq $expected, "$what: read-only");
	ok($standby->safe_psql('books', "SET ROLE $role; $sql") eq $expected, "$what: on a standby");
	ok($expected ne '' || $what =~ /^(check|verify_chain|progress_run|unbilled)$/, "$what: there was something to see");
}

for my $sql (q{CALL billing.bill_run('2026-05-20 00:00+02')}, q{SELECT billing.bill_account(1, '2026-05-20 00:00+02')},
	q{SELECT billing.create_account('New')}, 'SELECT billing.setup()')
{
	is(sqlstate_of($node, 'books', "BEGIN READ ONLY; $sql"), '25006', "refused in a read-only transaction: $sql");
	is(sqlstate_of($standby, 'books', $sql), '25006', "refused on a standby: $sql");
}

# The standby takes over: it is the same books, and bills on.
$node->stop('immediate');
$standby->promote;
is(sqlstate_of($standby, 'books', q{SET billing.enabled = off; CALL billing.bill_run('2026-05-20 00:00+02')}), 'LB004',
	'a copy of the files bills only where billing.enabled says so');
is(sqlstate_of($standby, 'books', q{CALL billing.bill_run('2026-05-20 00:00+02')}), '', 'after a fail-over billing goes on');
sound_books($standby, 'books', 'books are sound after it');
$standby->stop;

done_testing();
