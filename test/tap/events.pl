# Events where several sessions and clusters matter: consumers are woken once per transaction, get each event
# once and in order while many write, are pruned behind by a job, and go on after a restore into a cluster
# whose transaction ids are lower.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', "shared_preload_libraries = 'billing'", 'max_worker_processes = 16');
my $folder = PostgreSQL::Test::Utils::tempdir();

new_books($node, 'books', accounts => 20);

# --- Woken ---

my $listener = Billing::Session->new($node->connstr('books'));
my $quiet = q{UPDATE billing.account SET name = name || 'x' WHERE account_id < 4};

# psql looks for notifications after each statement of its own.
sub woken
{
	my ($sql) = @_;

	$node->safe_psql('books', $sql);
	return scalar(() = $listener->query('SELECT 1') =~ /Asynchronous notification "billing_event"/g);
}

$listener->query('LISTEN billing_event');
is(woken($quiet), 0, 'without a consumer nobody is woken');
$node->safe_psql('books', q{SELECT billing.create_event_consumer('crm', from_start => true)});
is(woken($quiet), 1, 'once by a transaction of three events');
is(woken("BEGIN; $quiet; SAVEPOINT s; $quiet; RELEASE s; $quiet; COMMIT"), 1, 'also with subtransactions');
is(woken("BEGIN; $quiet; ROLLBACK"), 0, 'not by what is rolled back');
is(woken(q{CALL billing.bill_run('2026-02-20 00:00+01', batch_size => 5)}), 4, 'by each batch of a run');
is(woken(q{CALL billing.bill_run('2026-02-20 00:00+01')}), 0, 'not by a run that writes nothing');
is(woken("SELECT billing.keep_events('{account.changed}', false); $quiet"), 0, 'not by what is not kept');
$node->safe_psql('books', q{SELECT billing.keep_events('{account.changed}', true)});
$listener->finish;

# --- Many write, one reads ---

$node->safe_psql('books', <<'SQL');
CREATE TABLE taken (ordinal bigint GENERATED ALWAYS AS IDENTITY, adoption_number int, xid xid8, account_id bigint, event_no bigint);

-- Transactions of one to four changes, short and long, some rolled back; accounts in ascending order.
CREATE PROCEDURE write(transactions int) LANGUAGE plpgsql AS $$
DECLARE
    a bigint;
BEGIN
    FOR i IN 1 .. transactions LOOP
        IF random() < 0.5 THEN
            PERFORM pg_current_xact_id(), pg_sleep(random() * 0.004);
        END IF;
        FOR a IN SELECT DISTINCT 1 + floor(random() * 20)::bigint FROM generate_series(1, 4) ORDER BY 1 LOOP
            UPDATE billing.account SET name = 'n' || random() WHERE account_id = a;
        END LOOP;
        PERFORM pg_sleep(random() * 0.004);
        IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
END $$;

-- Reads until it has taken the last event of the books, which comes when all others are done.
CREATE PROCEDURE take() LANGUAGE plpgsql AS $$
DECLARE
    n int;
BEGIN
    LOOP
        INSERT INTO taken (adoption_number, xid, account_id, event_no)
        SELECT p[1]::int, p[2]::xid8, e.account_id, e.event_no
          FROM billing.read_events('crm', 20) WITH ORDINALITY e, string_to_array(e.position, '-') p ORDER BY e.ordinality;
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n > 0 THEN
            PERFORM billing.acknowledge_events('crm', concat_ws('-', adoption_number, xid, account_id, event_no)) FROM taken ORDER BY ordinal DESC LIMIT 1;
        END IF;
        COMMIT;
        EXIT WHEN EXISTS (SELECT FROM taken t JOIN billing.event e USING (account_id, event_no) WHERE e.type = 'account.created' AND e.payload->>'external_id' = 'last');
        IF n = 0 THEN PERFORM pg_sleep(0.001); END IF;
    END LOOP;
END $$;
SQL
my @writers = map { Billing::Session->new($node->connstr('books')) } 1 .. 5;
my $reader = Billing::Session->new($node->connstr('books'));
$reader->send('CALL take()');
$_->send('CALL write(50)') for @writers;
is(($_->result)[1], '', 'a writer is done') for @writers;
$node->safe_psql('books', q{SELECT billing.create_account('Last', external_id => 'last')});
is(($reader->result)[1], '', 'so is the reader');
$_->finish for @writers, $reader;

my $all = 'SELECT account_id, event_no FROM billing.event';
cmp_ok($node->safe_psql('books', 'SELECT count(*) FROM billing.event'), '>', 300, 'many events');
is($node->safe_psql('books', "$all EXCEPT SELECT account_id, event_no FROM taken"), '', 'none is skipped');
is($node->safe_psql('books', 'SELECT count(*) - count(DISTINCT (account_id, event_no)) FROM taken'), '0', 'none comes twice');
is($node->safe_psql('books', q{SELECT count(*) FROM (SELECT (adoption_number, xid, account_id, event_no) AS position,
	lag((adoption_number, xid, account_id, event_no)) OVER (ORDER BY ordinal) AS before FROM taken) x WHERE position < before}), '0', 'in their order');
cmp_ok($node->safe_psql('books', q{SELECT count(*) FROM (SELECT event_no, lag(event_no) OVER (PARTITION BY account_id ORDER BY ordinal) AS before FROM taken) x
	WHERE event_no < before}), '>', 0, 'and transactions came to accounts in another order than that of their ids');
sound_books($node, 'books', 'the books are sound');

# --- Pruned by a job ---

my $slow = q{SELECT billing.create_event_consumer('slow', from_start => true);
	SELECT billing.acknowledge_events('slow', (SELECT position FROM billing.read_events('slow', 50) OFFSET 49))};
$node->safe_psql('books', $slow);
$node->safe_psql('books', q{SELECT billing.schedule_job('prune', 'billing.prune_events', every => '1 day', arguments => '{"older_than": "0 seconds"}', paused => true)});
$node->safe_psql('books', q{CALL billing.run_job('prune')});
is($node->safe_psql('books', q{SELECT status FROM billing.job_history}), 'succeeded', 'a job prunes');
is($node->safe_psql('books', "SELECT count(*) FROM ($all) e"), $node->safe_psql('books', 'SELECT count(*) - 50 FROM taken'), 'what the slowest has acknowledged');
sound_books($node, 'books', 'the books are sound');

# --- Killed ---

my $half = Billing::Session->new($node->connstr('books'));
$half->query("BEGIN; $quiet");
my $counters = q{SELECT string_agg(event_no::text, ' ' ORDER BY account_id) FROM billing.account_state};
my $before = $node->safe_psql('books', $counters);
$node->stop('immediate');
$node->start;
eval { $half->finish };
is($node->safe_psql('books', $counters), $before, 'what was not committed when the server died was never told');
is($node->safe_psql('books', "$quiet; SELECT count(*) FROM billing.read_events('slow', 100000)"),
	$node->safe_psql('books', 'SELECT count(*) - 50 + 3 FROM taken'), 'and does not hold the others back');

# --- Restored where transaction ids are lower ---

$node->safe_psql('books', 'DO $$ BEGIN FOR i IN 1 .. 20000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
$node->safe_psql('books', $quiet);
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/dump", $node->connstr('books') ], 'a dump');
my $expected = $node->safe_psql('books', q{SELECT account_id, event_no FROM billing.event
	WHERE (xid, account_id, event_no) > (SELECT last_xid, last_account_id, last_event_no FROM billing.event_consumer WHERE name = 'slow')
	ORDER BY adoption_number, xid, account_id, event_no});

my $copy = new_server('copy');
my $change = q{UPDATE billing.account SET email = 'a@example.com' WHERE account_id = 7};

sub restored
{
	my ($server, $db, $dump) = @_;

	$copy->safe_psql('postgres', "CREATE DATABASE $db");
	$server->command_ok([ 'pg_restore', '--exit-on-error', '-d', $copy->connstr($db), $dump ], "$db: restored");
	is($copy->safe_psql($db, 'SELECT bool_or(xid > pg_current_xact_id()) FROM billing.event WHERE adoption_number = 1'), 't', "$db: ids of its events lie ahead");
	is(sqlstate_of($copy, $db, q{SELECT * FROM billing.read_events('slow')}), 'LB003', "$db: a copy is not read");
	is(sqlstate_of($copy, $db, q{SELECT billing.acknowledge_events('slow', '1-1-1-1')}), 'LB003', "$db: nor acknowledged");
	return;
}

# Reads to the end, some at a time; what was read.
sub read_on
{
	my ($db) = @_;
	my @got;

	while (my $rows = $copy->safe_psql($db, q{SELECT account_id, event_no, position FROM billing.read_events('slow', 100)}))
	{
		my @rows = split /\n/, $rows;
		my ($position) = $rows[-1] =~ /([^|]*)$/;

		push @got, map { s/\|[^|]*$//r } @rows;
		$copy->safe_psql($db, "SELECT billing.acknowledge_events('slow', '$position')");
	}
	return join "\n", @got;
}

my $number = $copy->safe_psql('postgres', 'SELECT 1') && $node->safe_psql('books', 'SELECT event_no FROM billing.account_state WHERE account_id = 7');
my ($next, $after) = ($number + 1, $number + 2);

restored($copy, 'adopted', "$folder/dump");
is($copy->safe_psql('adopted', 'SELECT billing.adopt_books()'), '2', 'adopted');
$copy->safe_psql('adopted', $change);
is($copy->safe_psql('adopted', 'SELECT adoption_number FROM billing.event ORDER BY 1 DESC LIMIT 1'), '2', 'what is written then has the new adoption number');
is(read_on('adopted'), "$expected\n7|$next", 'the consumer goes on where it was and misses nothing');
sound_books($copy, 'adopted', 'adopted: books are sound');

# Changed before it is adopted, and copied once more before that.
restored($copy, 'changed', "$folder/dump");
$copy->safe_psql('changed', $change);
is($copy->safe_psql('changed', 'SELECT event_adoption_number, adoption_number FROM billing.book'), '2|1', 'what is written before is no part of the old adoption');
$copy->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/changed", $copy->connstr('changed') ], 'a dump of it');
is($copy->safe_psql('changed', 'SELECT billing.adopt_books()'), '2', 'adopted after the change');
is(read_on('changed'), "$expected\n7|$next", 'it misses nothing');
restored($copy, 'again', "$folder/changed");
$copy->safe_psql('again', $change =~ s/a@/b@/r);
is($copy->safe_psql('again', 'SELECT billing.adopt_books()'), '3', 'the copy of a copy is adopted');
is(read_on('again'), "$expected\n7|$next\n7|$after", 'nor does that');
sound_books($copy, $_, "$_: books are sound") for qw(changed again);

# A new consumer gets all that came along.
is($copy->safe_psql('again', q{SELECT billing.create_event_consumer('new', from_start => true); SELECT count(*) FROM billing.read_events('new', 100000)}),
	"new\n" . $copy->safe_psql('again', "SELECT count(*) FROM ($all) e"), 'from the start');

# Copied as a template into a database of the same cluster
$copy->safe_psql('postgres', 'CREATE DATABASE template_copy TEMPLATE again');
$copy->safe_psql('template_copy', 'SELECT billing.adopt_books()');
$copy->safe_psql('template_copy', $change);
is(read_on('template_copy'), "7|" . ($after + 1), 'a template copy goes on too');
$_->stop for $node, $copy;

done_testing();
