# Every verb beside every other on one subscription: while one session holds what it did, the other waits, and ends
# as if it had come after.  Both are played on the same account first, one after the other, and rolled back.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');

new_books($node, 'books');
$node->safe_psql('books', <<'SQL');
SELECT billing.create_price('once', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":100}');
SELECT billing.create_plan('desk', items => '[{"price":"care"},{"price":"seat"}]');

-- What a life may begin with: $1 is the subscription, billed until its first period.
CREATE TABLE public.base (name text, call text);
INSERT INTO public.base VALUES
    ('active', $$ PERFORM billing.add_item(s, 'care', effective_at => '2024-06-01') $$),
    ('paused', $$ PERFORM billing.pause_subscription(s, until => '2024-04-20', effective_at => '2024-04-05') $$),
    ('stopped', $$ PERFORM billing.stop_subscription(s, effective_at => '2024-04-05') $$),
    ('canceled', $$ PERFORM billing.cancel_subscription(s, effective_at => '2024-05-01') $$),
    ('pending', $$ NULL $$);
CREATE TABLE public.verb (name text, bases text[], call text);
INSERT INTO public.verb VALUES
    ('add_item', '{active,stopped}', $$ billing.add_item($1, 'seat', 2, effective_at => '2024-04-11') $$),
    ('one-off', '{active}', $$ billing.add_item($1, 'once', effective_at => '2024-04-11') $$),
    ('instalments', '{active}', $$ billing.add_item($1, 'once', instalments => 3, effective_at => '2024-04-11') $$),
    ('change_item', '{active,canceled}', $$ billing.change_item($1 + 1, quantity => 3, effective_at => '2024-04-12', invoice_now => true) $$),
    ('end_item', '{active}', $$ billing.end_item($1 + 1, effective_at => '2024-04-14') $$),
    ('change_plan', '{active}', $$ billing.change_plan($1, 'desk', effective_at => '2024-04-13') $$),
    ('cancel', '{active,paused,stopped}', $$ billing.cancel_subscription($1, effective_at => '2024-04-16') $$),
    ('undo', '{canceled}', $$ billing.undo_cancellation($1, effective_at => '2024-04-10') $$),
    ('stop', '{active,paused}', $$ billing.stop_subscription($1, effective_at => '2024-04-17') $$),
    ('restart', '{stopped}', $$ billing.restart_subscription($1, effective_at => '2024-04-15') $$),
    ('pause', '{active,paused}', $$ billing.pause_subscription($1, until => '2024-05-20', effective_at => '2024-04-18') $$),
    ('resume', '{paused}', $$ billing.resume_subscription($1, effective_at => '2024-04-10') $$),
    ('skip', '{active,canceled}', $$ billing.skip_cycles($1, effective_at => '2024-04-10') $$),
    ('billing day', '{active}', $$ billing.move_billing_day($1, 15, effective_at => '2024-04-10') $$),
    ('term', '{active,stopped}', $$ billing.change_term($1, cycles => 3) $$),
    ('start', '{active}', $$ billing.move_start($1, '2024-03-20') $$),
    ('trial', '{active}', $$ billing.change_trial($1, '2024-04-08') $$),
    ('activate', '{pending}', $$ billing.activate_subscription($1, effective_at => '2024-04-03') $$),
    ('fail', '{pending}', $$ billing.fail_subscription($1, effective_at => '2024-04-03') $$),
    ('discount', '{active,pending}', $$ billing.add_discount($1 >> 24, 10, subscription_id => $1, effective_at => '2024-04-01') $$),
    ('minimum', '{active}', $$ billing.set_minimum($1, 50, effective_at => '2024-04-01') $$),
    ('withdraw', '{active,paused,canceled}', $$ billing.withdraw_change((SELECT min(id) FROM billing.subscription_change WHERE subscription_id = $1), effective_at => '2024-04-01') $$),
    ('bill', '{active,paused,stopped,canceled,pending}', $$ (SELECT count(*) FROM billing.bill_account($1 >> 24, '2024-05-01')) $$);

CREATE FUNCTION public.life(base text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    s bigint := billing.create_subscription(billing.create_account('x', time_zone => 'UTC'), 'team', start_at => '2024-04-01', await_payment => base = 'pending');
BEGIN
    PERFORM billing.bill_account(s >> 24, '2024-04-01');
    EXECUTE format('DO %L', replace('DECLARE s bigint := $1; BEGIN ' || (SELECT call FROM public.base b WHERE b.name = base) || '; END', '$1', s::text));
    RETURN s;
END $$;
CREATE FUNCTION public.act(verb text, s bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT ' || (SELECT call FROM public.verb v WHERE v.name = verb) USING s;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
-- All that is known of an account, but for the moment of entry and what numbers others draw.
CREATE FUNCTION public.books(s bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT string_agg(t.key || ' ' || x::text, E'\n' ORDER BY t.key, x::text COLLATE "C")
              FROM jsonb_each(billing_internal.normal_rows(billing_internal.timeline(s))) t, jsonb_array_elements(t.value) x)
        || (SELECT string_agg(format('%s %s', valid_from, state), ', ' ORDER BY valid_from) FROM billing.subscription_state WHERE subscription_id = s)
        || coalesce((SELECT string_agg(format('%s %s %s', id, verb, withdrawn_at), ', ' ORDER BY id) FROM billing.subscription_change WHERE subscription_id = s), '')
        || coalesce((SELECT string_agg(to_jsonb(l)::text, E'\n' ORDER BY invoice_id, line_no) FROM billing.invoice_line l WHERE account_id = s >> 24), '')
        || coalesce((SELECT string_agg(c::text, E'\n' ORDER BY c::text COLLATE "C") FROM billing.charge c WHERE account_id = s >> 24), '')
        || (SELECT format('%s %s', a.next_ordinal, a.billed_through) FROM billing.account_state a WHERE account_id = s >> 24);
END $$;
SQL

my %session = map { $_ => Billing::Session->new($node->connstr('books')) } qw(first second look);
my $second = $session{second}->pid;
my @pairs = map { [ split /\|/ ] } split /\n/, $node->safe_psql('books',
	'SELECT b.name, v.name, w.name FROM public.base b JOIN public.verb v ON b.name = ANY (v.bases) JOIN public.verb w ON b.name = ANY (w.bases) ORDER BY 1, 2, 3');
my (%outcome, @wrong, @free);

# True when the second session waits for the first with a statement, false when that ended.
sub waits
{
	my ($statement) = @_;

	for (1 .. 5000)
	{
		my $state = $session{look}->query("SELECT CASE WHEN $session{first}{pid} = ANY (pg_blocking_pids($second)) THEN 'waits' WHEN query LIKE '%$statement%' THEN state ELSE 'active' END"
			  . " FROM pg_stat_activity WHERE pid = $second");

		return $state eq 'waits' if $state ne 'active';
	}
	return 0;
}

$session{first}{pid} = $session{first}->pid;
for my $pair (@pairs)
{
	my ($base, $one, $other) = @$pair;
	my $s = $session{look}->query("SELECT public.life('$base')");
	my $serial = $session{look}->query("BEGIN; SELECT public.act('$one', $s), public.act('$other', $s); SELECT public.books($s)");

	$session{look}->query('ROLLBACK');
	$session{first}->query("BEGIN; SELECT public.act('$one', $s)");
	$session{second}->send("SELECT /* $s */ public.act('$other', $s)");
	push @free, "@$pair" if !waits("/* $s */") && $serial =~ /^done/;		# what is refused holds nothing
	$session{first}->query('COMMIT');
	my $result = $session{second}->result;
	my $both = $session{look}->query("SELECT public.books($s)");

	$outcome{ $serial =~ /^(\w+)\|(\w+)/ && "$1 $2" }++;
	push @wrong, "@$pair: $serial\n--- but\n$both" unless $serial =~ s/^\w+\|\Q$result\E\n//r eq $both;
}
note(join ', ', map { "$_: $outcome{$_}" } sort keys %outcome);
cmp_ok(scalar @pairs, '>', 400, 'pairs of verbs');
cmp_ok($outcome{'done done'} // 0, '>', 250, 'most of them work one after the other');
is_deeply([ grep { !/^(done|LB303|LB304|LB208) (done|LB303|LB304|LB208)$/ } keys %outcome ], [], 'the others are refused by state');
is(join(', ', @free), '', 'the second waits for the first');
is(join("\n\n", @wrong[0 .. ($#wrong < 2 ? $#wrong : 2)]), '', 'and ends as if it had come after it');
$node->safe_psql('books', q{CALL billing.bill_run('2026-08-01 00:00+02')});
is($node->safe_psql('books', 'SELECT finding, relation, account_id, detail FROM billing.check(deep => true) LIMIT 3'), '', 'the books are sound');
$_->finish for values %session;
$node->stop;

done_testing();
