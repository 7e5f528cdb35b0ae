# Eight sessions do everything at once, to few accounts: calls, runs that commit, runs in transaction
# blocks, drafts, voids, usage by call and by INSERT.  Accounts are taken in ascending order, so nothing
# deadlocks; who bills before the end of his transaction may get LB406.  Afterwards the books are sound.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $script = PostgreSQL::Test::Utils::tempdir() . '/mixture.sql';
my @acts = qw(bill subscribe subscribe_and_bill use insert void finalize draft run);

new_books($node, 'books', accounts => 200);
$node->safe_psql('books', <<'SQL');
CREATE TABLE public.outcome (act text, state text);
CREATE PROCEDURE public.act(act text, a bigint, b bigint, day int) LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := timestamptz '2026-02-01 00:00+01' + day * interval '1 day';
    early CONSTANT timestamptz := timestamptz '2026-02-01 00:00+01' + day % 60 * interval '1 day';
    phone CONSTANT bigint := (SELECT min(id) FROM billing.subscription s WHERE s.account_id = a AND plan = 'team' AND end_at IS NULL);
    chosen bigint;
BEGIN
    BEGIN
        CASE act
        WHEN 'bill' THEN PERFORM billing.bill_account(a, at), billing.bill_account(b, at);
        WHEN 'subscribe' THEN PERFORM billing.create_subscription(a, 'team', start_at => early, end_at => '2026-06-01 00:00+02');
        WHEN 'subscribe_and_bill' THEN PERFORM billing.create_subscription(a, 'home', start_at => early, cycles => 2), billing.bill_account(b, at);
        WHEN 'use' THEN
            IF phone IS NOT NULL THEN PERFORM billing.record_usage(phone, 'minutes', 'use ' || day, day, early); END IF;
        WHEN 'insert' THEN
            INSERT INTO billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity)
            SELECT account_id, 'insert ' || gen_random_uuid(), min(id), 'minutes', early, 1 FROM billing.subscription s
             WHERE s.account_id IN (a, b) AND plan = 'team' AND end_at IS NULL GROUP BY 1;
        WHEN 'void' THEN
            SELECT id INTO chosen FROM billing.invoice_header h WHERE h.account_id = a AND kind = 'invoice' AND status = 'open' ORDER BY random() LIMIT 1;
            IF FOUND THEN PERFORM billing.void_invoice(chosen, random() < 0.5, effective_at => at); END IF;
        WHEN 'finalize' THEN
            SELECT id INTO chosen FROM billing.invoice_header h WHERE h.account_id = a AND status = 'draft' LIMIT 1;
            IF FOUND THEN PERFORM billing.finalize_invoice(chosen, at); END IF;
        WHEN 'draft' THEN CALL billing.bill_run(at, finalize => false);
        WHEN 'run' THEN CALL billing.bill_run(at, batch_size => 7);
        END CASE;
        INSERT INTO public.outcome VALUES (act, 'done');
    EXCEPTION WHEN OTHERS THEN
        INSERT INTO public.outcome VALUES (act, SQLSTATE);
    END;
END $$;
SQL
append_to_file($script, <<'SCRIPT');
\set a random(1, 30)
\set b :a + random(0, 10)
\set day random(1, 150)
\set act random(0, 11)
\if :act > 8
CALL billing.bill_run(timestamptz '2026-02-01 00:00+01' + :day * interval '1 day', batch_size => 10);
SCRIPT
append_to_file($script, join('', map { "\\elif :act = $_\nCALL public.act('$acts[$_]', :a, :b, :day);\n" } 0 .. $#acts) . "\\endif\n");
command_ok([ 'pgbench', '-n', '-c', '8', '-T', '8', '-f', $script, $node->connstr('books') ], 'eight sessions');

is($node->safe_psql('books', q{SELECT string_agg(DISTINCT act, ' ' ORDER BY act) FROM public.outcome WHERE state = 'done'}),
	join(' ', sort @acts), 'each act was done');
is($node->safe_psql('books', q{SELECT act, state, count(*) FROM public.outcome
	WHERE state NOT IN ('done', 'LB403', 'LB404') AND (act, state) NOT IN (('bill', 'LB406'), ('subscribe_and_bill', 'LB406')) GROUP BY 1, 2}), '',
	'no deadlock and no other error than those that the state of a document explains');
is($node->safe_psql('books', q{SELECT status, errors FROM billing.run WHERE status <> 'finished' OR errors > 0}), '', 'every run finished, no account was parked');
sound_books($node, 'books', 'the books are sound');
$node->safe_psql('books', q{CALL billing.bill_run('2026-08-01 00:00+02')});
sound_books($node, 'books', 'and after a last run, too');
$node->stop;

done_testing();
