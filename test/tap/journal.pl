# The journal, read by an accounting program that knows nothing of billing: hledger takes its entries, finds each
# balanced, and comes to the same balances by account and currency.

use strict;
use warnings FATAL => 'all';

use Billing;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'hledger is missing (package hledger)' if system('command -v hledger >/dev/null 2>&1') != 0;

my $node = new_server('main');

new_books($node, 'books', accounts => 40);

# Billed, paid too much or too little, taken back, credited and given up at random; some of it in yen, which have no
# smaller unit.  What cannot be done at that moment is left out.
$node->safe_psql('books', <<'SQL');
CALL billing.bill_run('2026-02-20 00:00+01');
CALL billing.bill_run('2026-03-20 00:00+01');
SELECT billing.set_payment_rules((SELECT min(code) FROM billing.entity), payment_tolerance => 0.99);
SELECT billing.record_external_invoice(billing.create_account('Tokyo', currency => 'JPY'), 'JP-' || n, '2026-01-15', 1000 * n, 'JPY', tax_total => 90 * n) FROM generate_series(1, 3) n;
SELECT setseed(0.5);
CREATE TABLE done (act text, outcome text);
DO $$
DECLARE
    act text;
    h billing.invoice;
    p billing.payment;
    at timestamptz;
    part numeric;
    outcome text;
BEGIN
    FOR i IN 1 .. 400 LOOP
        act := (ARRAY['pay', 'pay', 'pay exactly', 'pay short', 'refund', 'chargeback', 'credit', 'give up', 'take back', 'void'])[1 + floor(random() * 10)];
        at := timestamptz '2026-03-21 12:00+01' + interval '6 hours' * i;
        SELECT * INTO h FROM billing.invoice WHERE kind = 'invoice' ORDER BY random() LIMIT 1;
        SELECT * INTO p FROM billing.payment WHERE kind = 'payment' ORDER BY random() LIMIT 1;
        part := billing.round_amount((random() * 60)::numeric, h.currency);
        outcome := 'done';
        BEGIN
            CASE act
            WHEN 'pay' THEN PERFORM billing.record_payment(h.account_id, part * 2, h.currency, method => (ARRAY['card', 'transfer', NULL])[1 + floor(random() * 3)], effective_at => at);
            WHEN 'pay exactly' THEN PERFORM billing.record_payment(h.account_id, h.amount_due, h.currency, invoice_ids => ARRAY[h.id], effective_at => at);
            WHEN 'pay short' THEN PERFORM billing.record_payment(h.account_id, h.amount_due - 0.50, h.currency, invoice_ids => ARRAY[h.id], effective_at => at);
            WHEN 'refund' THEN PERFORM billing.refund_payment(p.id, CASE WHEN random() < 0.5 THEN part END, effective_at => at);
            WHEN 'chargeback' THEN PERFORM billing.charge_back_payment(p.id, fee => 3, pass_on => random() < 0.5, effective_at => at);
            WHEN 'credit' THEN PERFORM billing.credit_invoice(h.id, amount => CASE WHEN random() < 0.7 THEN part END, effective_at => at);
            WHEN 'give up' THEN PERFORM billing.write_off_invoice(h.id, effective_at => at);
            WHEN 'take back' THEN PERFORM billing.deallocate_payment(a.payment_id, a.invoice_id, effective_at => at) FROM billing.payment_allocation a WHERE a.payment_id = p.id LIMIT 1;
            WHEN 'void' THEN PERFORM billing.void_invoice(h.id, rebill => true, effective_at => at);
            END CASE;
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE !~ '^(LB|22004)' THEN RAISE; END IF;
            outcome := SQLSTATE;
        END;
        INSERT INTO done VALUES (act, outcome);
    END LOOP;
END $$;
SQL

is($node->safe_psql('books', q{SELECT count(DISTINCT act) FROM done WHERE outcome = 'done'}), 9, 'each kind of act was done');
is($node->safe_psql('books', q{SELECT string_agg(DISTINCT source, ' ' ORDER BY source) FROM billing.journal}),
	'allocation chargeback claim credit_allocation credit_note external_invoice invoice payment recovery refund under_payment write_off', 'each kind of entry is there');
sound_books($node, 'books', 'the books are sound');

my $file = PostgreSQL::Test::Utils::tempdir() . '/journal';

append_to_file($file, "decimal-mark .\n\n" . $node->safe_psql('books', q{
	SELECT string_agg(format(E'%s %s\n%s\n', posted_on, entry, postings), E'\n' ORDER BY posted_on, entry)
	  FROM (SELECT posted_on, entry, string_agg(format('    %s:%s  %s %s', ledger_account, account_id, debit - credit, currency), E'\n' ORDER BY part, line_no) AS postings
	          FROM billing.journal GROUP BY posted_on, entry) x}) . "\n");

sub hledger
{
	my ($stdout, $stderr);
	my $worked = IPC::Run::run([ 'hledger', '-f', $file, @_ ], '<', \undef, '>', \$stdout, '2>', \$stderr);

	ok($worked, "hledger @_") or diag($stderr);
	return $stdout;
}

hledger('check', 'ordereddates');
my @balances = sort map { s/"//gr } grep { /^"\d/ } split /\r?\n/, hledger('balance', '--flat', '-N', '--layout=bare', '-O', 'csv');
my @expected = sort split /\n/, $node->safe_psql('books', q{
	SELECT format('%s:%s,%s,%s', ledger_account, account_id, currency, sum(debit - credit)) FROM billing.journal
	 GROUP BY ledger_account, account_id, currency HAVING sum(debit - credit) <> 0});

cmp_ok(scalar @expected, '>', 100, 'there are balances');
is_deeply(\@balances, \@expected, 'the same balances by account and currency');

# It would notice: an entry of which a part is gone is none to it.
my $broken = slurp_file($file) =~ s/^    \d+:.*\n//mr;
$file .= '_broken';
append_to_file($file, $broken);
ok(!IPC::Run::run([ 'hledger', '-f', $file, 'check' ], '<', \undef, '>', \my $out, '2>', \my $err), 'hledger refuses an entry that does not balance');
like($err, qr/balance/, 'since it does not balance');

$node->stop;
done_testing();
