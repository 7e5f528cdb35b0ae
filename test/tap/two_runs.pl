# Runs at the same time share the accounts that are due: no document twice, none missing, numbers
# gapless, the same documents as one run makes.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $run = "CALL billing.bill_run('2026-03-20 00:00+01', batch_size => 100)";
my $node = new_server('main');

new_books($node, 'one', accounts => 4000);
copy_books($node, 'one', $_) for qw(two slow);
$node->safe_psql('one', $run);
my $expected = documents_of($node, 'one');

# Two runs start at once, while a third session holds accounts at both ends of several batches.

my ($first, $second, $holder) = map { Billing::Session->new($node->connstr('two')) } 1 .. 3;

$holder->query('BEGIN; SELECT FROM billing.account_state WHERE account_id % 250 IN (1, 100) FOR NO KEY UPDATE');
$_->send($run) for $first, $second;
wait_for($node, 'two', q{SELECT count(*) = 32 FROM billing.account_state WHERE next_due <= timestamptz '2026-03-20 00:00+01'},
	'everything is billed but what another session holds');
wait_for($node, 'two', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE query LIKE 'CALL%' AND wait_event_type = 'Lock'},
	'both runs wait for the accounts that are held');
is($node->safe_psql('two', 'SELECT count(DISTINCT pid) FROM billing.progress_run'), 2, 'both runs are under way, all else is billed');
$holder->query('COMMIT');
is(($_->result)[1], '', 'the run ends without an error') for $first, $second;
same_documents($node, 'two', $expected, 'two runs: the same documents as one');
sound_books($node, 'two', 'two runs: books are sound');
is($node->safe_psql('two', 'SELECT sum(done) || $$ $$ || sum(documents) || $$ $$ || sum(errors) FROM billing.run WHERE status = $$finished$$'),
	$node->safe_psql('one', 'SELECT sum(done) || $$ $$ || sum(documents) || $$ $$ || sum(errors) FROM billing.run'),
	'what both count together is what one run counts');

# A session that holds the series longer than billing.seal_timeout: batches roll back and try again.

$first = Billing::Session->new($node->connstr('slow'));
$holder = Billing::Session->new($node->connstr('slow'));
$holder->query('BEGIN; SELECT FROM billing.series FOR NO KEY UPDATE');
$first->query("SET billing.seal_timeout = '50ms'");
$first->send($run);
wait_for($node, 'slow', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL%' AND wait_event_type = 'Lock'
	AND now() - query_start > interval '300 ms'}, 'the run has tried several times');
is($node->safe_psql('slow', 'SELECT count(*) FROM billing.invoice_header'), 0, 'nothing is written while the series is held');
is($node->safe_psql('slow', 'BEGIN; SELECT count(*) FROM (SELECT FROM billing.account_state WHERE account_id > 100 FOR UPDATE NOWAIT) x; ROLLBACK'), 3900,
	'the run holds the accounts of its batch only');
$holder->query('COMMIT');
is(($first->result)[1], '', 'the run goes on when the series is free');
same_documents($node, 'slow', $expected, 'series held: the same documents');
sound_books($node, 'slow', 'series held: books are sound');

# In a transaction block the error of a series that stays held reaches the caller.

$holder->query('BEGIN; SELECT FROM billing.series FOR NO KEY UPDATE');
$first->query("SET billing.seal_timeout = '50ms'");
is(($first->query("SELECT billing.bill_account(1, '2026-05-20 00:00+01')"))[1], 'ERROR:  55P03', 'bill_account gives up after billing.seal_timeout');
is($first->query('SHOW lock_timeout'), '0', 'the session keeps its own lock_timeout');
$holder->query('ROLLBACK');
like($first->query("SELECT billing.bill_account(1, '2026-05-20 00:00+01')"), qr/^\d+\n/, 'and works again when it is free');
$node->stop;

done_testing();
