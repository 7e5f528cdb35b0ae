# A run with several workers makes the documents of a run with one: whatever the order in which they
# claim ranges, whoever calls, however many there are, and also while others hold accounts.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $at = '2026-03-20 00:00+01';
my $node = new_server('main');

sub run_with
{
	my ($workers, $more) = @_;

	return "CALL billing.bill_run('$at', workers => $workers, batch_size => 50" . ($more // '') . ')';
}

# Processes of runs that wait for a lock.
my $waiting = q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
	AND (query LIKE 'CALL billing.bill_run%' OR backend_type = 'billing run worker')};

new_books($node, 'one', accounts => 4000);
copy_books($node, 'one', $_) for qw(many two held parked few);
$node->safe_psql('one', run_with(1));
my $expected = documents_of($node, 'one');

# Three processes, which all begin before the first may finish a batch

my $holder = Billing::Session->new($node->connstr('many'));
my $session = Billing::Session->new($node->connstr('many'));

$holder->query('BEGIN; SELECT FROM billing.series FOR NO KEY UPDATE');
$session->send(run_with(3));
wait_for($node, 'many', "SELECT ($waiting) = 3", 'three processes wait for the series');
is($node->safe_psql('many', q{SELECT string_agg(worker || ' ' || phase || ' ' || done || ' of ' || total, ', ' ORDER BY worker)
	FROM billing.progress_run}), '0 billing 0 of 4000, 1 billing 0 of 4000, 2 billing 0 of 4000', 'three processes in progress_run');
is($node->safe_psql('many', q{SELECT string_agg(query, ', ' ORDER BY query) FROM pg_stat_activity WHERE backend_type = 'billing run worker'}),
	'billing.bill_run: run 1, worker 1, billing.bill_run: run 1, worker 2', 'workers tell what they do');
$holder->query('COMMIT');
is(($session->result)[1], '', 'the run ends without a word');
same_documents($node, 'many', $expected, 'three workers: the same documents as one');
sound_books($node, 'many', 'three workers: books are sound');
is($node->safe_psql('many', q{SELECT count(*) FILTER (WHERE done > 0 AND phase = 'done') || ' ' || sum(done) || ' ' || sum(documents) FROM billing.run_worker}),
	'3 ' . $node->safe_psql('one', q{SELECT done || ' ' || documents FROM billing.run}), 'each did a part, together all of it');
is($node->safe_psql('many', q{SELECT status || ' ' || (done = accounts) || ' ' || errors FROM billing.run}), 'finished true 0', 'the run counts what its workers did');
is($node->safe_psql('many', run_with(4) . q{; SELECT accounts || ' ' || (SELECT count(*) FROM billing.run_worker WHERE run_id = 2) FROM billing.run WHERE id = 2}),
	'0 1', 'nothing to do: no worker is started');
wait_for($node, 'many', q{SELECT n_tup_ins > 0 AND n_tup_ins = (SELECT count(*) FROM billing.invoice_header)
	FROM pg_stat_user_tables WHERE relid = 'billing.invoice_header'::regclass}, 'what workers wrote is in the statistics');

$_->finish for $holder, $session;

# Two such runs at once

$holder = Billing::Session->new($node->connstr('two'));
my @sessions = map { Billing::Session->new($node->connstr('two')) } 1 .. 2;

$holder->query('BEGIN; SELECT FROM billing.series FOR NO KEY UPDATE');
$_->send(run_with(2)) for @sessions;
wait_for($node, 'two', "SELECT ($waiting) = 4", 'four processes wait for the series');
$holder->query('COMMIT');
is(($_->result)[1], '', 'it ends without an error') for @sessions;
same_documents($node, 'two', $expected, 'two runs of two workers: the same documents');
sound_books($node, 'two', 'two runs of two workers: books are sound');

$_->finish for $holder, @sessions;

# Accounts that others hold are left out, and waited for at the end by any of the processes

$holder = Billing::Session->new($node->connstr('held'));
$session = Billing::Session->new($node->connstr('held'));
$holder->query('BEGIN; SELECT FROM billing.account_state WHERE account_id % 500 IN (1, 60) FOR NO KEY UPDATE');
$session->send(run_with(2));
wait_for($node, 'held', qq{SELECT count(*) = 16 FROM billing.account_state WHERE next_due <= timestamptz '$at'}, 'all but what is held is billed');
wait_for($node, 'held', "SELECT ($waiting) = 2", 'both processes wait for the held accounts');
is($node->safe_psql('held', q{SELECT count(*) || ' ' || sum(array_length(left_out, 1)) FROM billing.run_batch WHERE status = 'held'}), '16 16', 'they are noted');
$holder->query('COMMIT');
is(($session->result)[1], '', 'the run ends without an error');
same_documents($node, 'held', $expected, 'accounts held: the same documents');
is($node->safe_psql('held', q{SELECT count(*) FROM billing.run_batch WHERE status <> 'done'}), 0, 'no range is left');

$_->finish for $holder, $session;

# An account in error is parked, by whichever process came upon it; also where a deferred constraint of the user finds it

$node->safe_psql('parked', q{UPDATE billing.account SET tax_status = 'unheard of' WHERE account_id IN (77, 2500);
	CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE check_violation USING MESSAGE = 'not this one'; END $$;
	CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON billing.invoice_header DEFERRABLE INITIALLY DEFERRED
	    FOR EACH ROW WHEN (NEW.account_id = 1234) EXECUTE FUNCTION public.refuse()});
my (undef, undef, $stderr) = $node->psql('parked', run_with(3));
like($stderr, qr/WARNING:  bill run 1 could not bill 3 accounts/, 'a warning counts them');
is($node->safe_psql('parked', q{SELECT string_agg(account_id || ' ' || sqlstate, ', ' ORDER BY account_id) FROM billing.run_error}), '77 LB401, 1234 23514, 2500 LB401', 'they are parked');
is($node->safe_psql('parked', q{SELECT status || ' ' || done || ' ' || errors FROM billing.run}), 'finished 3997 3', 'all others are billed');
$node->safe_psql('parked', q{UPDATE billing.account SET tax_status = DEFAULT WHERE account_id IN (77, 2500); DROP TRIGGER refuse ON billing.invoice_header});
$node->safe_psql('parked', run_with(2));
same_documents($node, 'parked', $expected, 'mended: the same documents');

# One account with 20,000 items: nobody waits for it

new_books($node, 'huge', accounts => 2000);
$node->safe_psql('huge', q{
	INSERT INTO billing.subscription_item SELECT (x.r).* FROM (SELECT jsonb_populate_record(i, jsonb_build_object('id', i.id + 10 + 2 * n)) AS r
	    FROM billing.subscription_item i, generate_series(1, 10000) n WHERE account_id = 2) x;
	INSERT INTO billing.item_version SELECT (x.r).* FROM (SELECT jsonb_populate_record(v, jsonb_build_object('item_id', v.item_id + 10 + 2 * n)) AS r
	    FROM billing.item_version v, generate_series(1, 10000) n WHERE account_id = 2) x;
	UPDATE billing.account_state SET next_ordinal = 20030 WHERE account_id = 2;
	UPDATE billing.account_state SET next_due = '2026-01-03 00:00+01';
	ANALYZE});
$node->safe_psql('huge', "CALL billing.bill_run('2026-01-05 00:00+01', workers => 2, batch_size => 50)");
is($node->safe_psql('huge', q{SELECT (SELECT position FROM billing.seal WHERE account_id = 2) = (SELECT max(position) FROM billing.seal) FROM billing.seal LIMIT 1}),
	't', 'the huge account gets the last number');
is($node->safe_psql('huge', q{SELECT accounts || ' ' || first_account_id FROM billing.run_batch ORDER BY batch_no DESC LIMIT 1}), '1 2', 'as a range of its own');
cmp_ok($node->safe_psql('huge', 'SELECT count(*) FROM billing.invoice_line WHERE account_id = 2'), '>', 10000, 'with a line for every item');
sound_books($node, 'huge', 'huge account: books are sound', shallow => 1);

# Who calls, and with which settings: roles that own nothing, books of a role that cannot log in

$node->safe_psql('postgres', $_) for 'CREATE ROLE keeper', 'CREATE ROLE boss NOSUPERUSER', 'CREATE ROLE lou LOGIN IN ROLE boss', 'CREATE ROLE outsider LOGIN';
new_books($node, 'roles', accounts => 400, owner => 'keeper');
$node->safe_psql('roles', q{
	SELECT billing.grant_access('boss', 'operator', entity => 'acme');
	CREATE TABLE public.seen (worker int, session_name text, user_name text, tag text, isolation text, seal_timeout text);
	GRANT INSERT ON public.seen TO keeper;
	CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	    INSERT INTO public.seen VALUES (NEW.worker, session_user, current_user, current_setting('shop.tag', true),
	        current_setting('transaction_isolation'), current_setting('billing.seal_timeout'));
	    RETURN NULL; END $$;
	CREATE TRIGGER see AFTER INSERT ON billing.run_worker FOR EACH ROW WHEN (NEW.worker > 0) EXECUTE FUNCTION public.see()});
is(sqlstate_of($node, 'roles', 'SET SESSION AUTHORIZATION outsider; ' . run_with(3)), '42501', 'who has no right starts nothing');
is(sqlstate_of($node, 'roles', 'SET SESSION AUTHORIZATION lou; ' . run_with(3)), '42501', 'the right to one entity is not that to all');
is(sqlstate_of($node, 'roles', q{SET billing.enabled = off; } . run_with(3)), 'LB004', 'nothing runs where billing is disabled');
is($node->safe_psql('roles', 'SELECT count(*) FROM billing.run_worker'), 0, 'no process was entered');
my $lou = Billing::Session->new($node->connstr('roles') . ' user=lou');
$lou->query($_) for 'SET ROLE boss', q{SET shop.tag = 'O''Hara %'}, q{SET default_transaction_isolation = 'serializable'}, q{SET billing.seal_timeout = '7s'};
is(($lou->query(run_with(3, q{, entity => 'acme'})))[1], '', 'an operator of the entity runs it, in serializable transactions');
is($node->safe_psql('roles', q{SELECT DISTINCT session_name, user_name, tag, isolation, seal_timeout FROM public.seen}),
	"lou|keeper|O'Hara %|read committed|7s", 'workers are the same user, with the settings of the session');
is($node->safe_psql('roles', q{SELECT status || ' ' || done || ' ' || entity FROM billing.run}), 'finished 400 acme', 'it is done');
sound_books($node, 'roles', 'run by another role: books are sound');
$lou->finish;

# Fewer slots than asked for: fewer workers, never an error

$node->append_conf('postgresql.conf', "max_worker_processes = 2\nmax_logical_replication_workers = 0");
$node->restart;
(undef, undef, $stderr) = $node->psql('few', run_with(9));
like($stderr, qr/^(psql:\S+ )?NOTICE:  bill run 1 has 3 workers instead of 9\n.*HINT:  Raise max_worker_processes/s, 'two slots: three processes, and a notice');
is($node->safe_psql('few', 'SELECT count(*) FROM billing.run_worker'), 3, 'three took part');
same_documents($node, 'few', $expected, 'fewer slots: the same documents');
# The launcher of logical replication takes the only one.
$node->append_conf('postgresql.conf', "max_worker_processes = 1\nmax_logical_replication_workers = 1");
$node->restart;
copy_books($node, 'roles', 'alone');
is($node->safe_psql('alone', "CALL billing.bill_run('2026-04-20 00:00+02', workers => 2, batch_size => 50); SELECT status || ' ' || done FROM billing.run ORDER BY id DESC LIMIT 1"),
	'finished 360', 'no slot: the leader bills alone');
sound_books($node, 'alone', 'alone: books are sound');
$node->stop;

done_testing();
