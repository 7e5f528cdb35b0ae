# doc/canonical-form.md is enough to compute every hash without the extension: this test reads the
# columns and their order from that page, builds the form from the tables with Perl, and compares
# the hashes with those of the seals.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(sha256 sha256_hex);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $page = slurp_file('doc/canonical-form.md');
my $node = PostgreSQL::Test::Cluster->new('canonical');

$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->start;

# What the page says

my %written = (
	number => '%s::text',
	text => '%s',
	object => '%s::text',
	boolean => 'CASE WHEN %s THEN $$t$$ ELSE $$f$$ END',
	instant => '((extract(epoch FROM %s) - 946684800) * 1000000)::bigint::text');
my %escaped = (text => 1, object => 1);
my %columns = map { /^\| `\[(\w+)\]` \| (.*) \|$/ ? ($1 => [ map { [ /`(\w+)` (\w+)/ ] } split /, /, $2 ]) : () } split /\n/, $page;

is(join(' ', sort keys %columns), 'header line tax', 'the page lists the columns of the three parts');

my %part = (
	header => [ 'invoice_header', 'id', 'id' ],
	line => [ 'invoice_line', 'invoice_id', 'line_no' ],
	tax => [ 'invoice_tax', 'invoice_id', 'category COLLATE "C", rate' ]);

# The form by the page; values come from the server in hexadecimal, so nothing is lost on the way.
sub form_of
{
	my ($db, $invoice) = @_;
	my $form = "billing document 1\n";

	for my $name (qw(header line tax))
	{
		my ($table, $key, $order) = @{ $part{$name} };
		my $list = join ', ', map { sprintf q{coalesce('=' || encode(convert_to(%s, 'UTF8'), 'hex'), '')}, sprintf $written{ $_->[1] }, $_->[0] }
		  @{ $columns{$name} };

		for my $row (split /\n/, $node->safe_psql($db, "SELECT $list FROM billing.$table WHERE $key = $invoice ORDER BY $order"))
		{
			my @values = split /\|/, $row, -1;

			$form .= "[$name]\n";
			for my $column (@{ $columns{$name} })
			{
				my $value = shift @values;

				next unless $value =~ s/^=//;
				$value = pack 'H*', $value;
				$value =~ s/\\/\\\\/g, $value =~ s/\n/\\n/g if $escaped{ $column->[1] };
				$form .= "$column->[0]=$value\n";
			}
		}
	}
	return $form;
}

# The example is the story's first invoice.

my ($story) = slurp_file('README.md') =~ /^```sql\n(.*?)^```\n/ms;
my ($example, $payload, $chain) = $page =~ /^```text\n(.*?)^```\n.*?payload_hash is `(\w{64})`.*?chain_hash is `(\w{64})`/ms;

$node->safe_psql('postgres', 'CREATE DATABASE story');
$node->safe_psql('story', "CREATE EXTENSION billing; SELECT billing.setup();\n$story");
is(form_of('story', '(SELECT min(id) FROM billing.invoice_header)'), $example, 'the example is the form of the first invoice');
is(sha256_hex($example), $payload, 'its SHA-256 is the payload hash of the page');
is($node->safe_psql('story', q{SELECT encode(payload_hash, 'hex'), encode(chain_hash, 'hex') FROM billing.seal WHERE position = 1}),
	"$payload|$chain", 'and so says the seal');

# Columns that the page leaves out are those that it names as not covered.

my %known = map { my $name = $_; map { ("$part{$name}->[0].$_->[0]" => 1) } @{ $columns{$name} } } keys %columns;
is(join(' ', grep { !$known{$_} } split /\n/, $node->safe_psql('story', q{
	SELECT attrelid::regclass || '.' || attname FROM pg_attribute
	 WHERE attrelid IN ('billing.invoice_header'::regclass, 'billing.invoice_line'::regclass, 'billing.invoice_tax'::regclass)
	   AND attnum > 0 AND NOT attisdropped ORDER BY attrelid::regclass::text, attnum}) =~ s/billing\.//gr),
	'invoice_header.status invoice_header.amount_paid invoice_header.amount_credited invoice_header.finalize_after'
	  . ' invoice_header.external_number invoice_header.external_issued_on',
	'every other column is covered');

# Documents of many kinds, made and proved under settings that print dates and numbers otherwise

$node->safe_psql('postgres', q{CREATE DATABASE documents; ALTER DATABASE documents SET DateStyle = 'German, DMY';
	ALTER DATABASE documents SET TimeZone = 'Asia/Kathmandu'; ALTER DATABASE documents SET bytea_output = 'escape'});
$node->safe_psql('documents', <<'SQL');
CREATE EXTENSION billing;
SELECT billing.setup();
SELECT billing.create_entity('akme', name => E'Äkme "GmbH"\\\nzweite Zeile', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin',
    address => '{"line1":"C:\\Straße\n1","city":"Köln"}', tax_ids => '[{"type":"vat","value":"DE 1"}]');
SELECT billing.create_tax('vat', category => 'S', rate => 7.0);
SELECT billing.create_tax('high', category => 'S', rate => 19);
SELECT billing.create_tax('none', category => 'E', rate => 0, reason => E'§ 4\\\nUStG');
SELECT billing.create_meter('calls', unit_code => 'C62');
SELECT billing.create_price('seat', name => E'Größe\t"M" \\n\n日本語 🧾', currency => 'EUR', every => '1 month', tax => 'vat',
    scheme => '{"model":"per_unit","unit_amount":"12.5000"}');
SELECT billing.create_price('paper', currency => 'EUR', every => '1 month', tax => 'high', tax_inclusive => true, scheme => '{"model":"flat","flat_amount":9.99}');
SELECT billing.create_price('course', currency => 'EUR', every => '1 month', tax => 'none', scheme => '{"model":"flat","flat_amount":100}');
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'calls',
    scheme => '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1},{"up_to":null,"unit_amount":0.8}]}');
SELECT billing.create_plan('all', items => '[{"price":"seat","quantity":3.50},{"price":"paper"},{"price":"course"},{"price":"call"}]');
SELECT billing.create_account(E'Zoë\\\r\nLtd', metadata => '{"path":"C:\\temp","note":"a\nb","empty":""}', buyer_reference => '')  AS a \gset
SELECT billing.create_subscription(:a, 'all', start_at => '2026-01-31 00:00+01', purchase_order => E'PO\\7\n8', metadata => '{"ü":[1.50,null,true]}') AS s \gset
SELECT billing.record_usage(:s, 'calls', 'early', quantity => 12.25, at => '2026-02-03 10:00:00.123456+01');
CALL billing.bill_run('2026-02-28 12:00+01');
SELECT billing.record_usage(:s, 'calls', 'late', quantity => 3, at => '2026-02-04 10:00+01');
CALL billing.bill_run('2026-03-31 12:00+02');
SELECT billing.void_invoice((SELECT min(id) FROM billing.invoice WHERE net_total = 100), rebill => true, reason => E'wrong \\ \n');
CALL billing.bill_run('2026-04-30 12:00+02', finalize => false);
SQL

my %before;
my @seals = split /\n/, $node->safe_psql('documents', q{SET bytea_output = 'hex'; SET DateStyle = 'ISO';
	SELECT invoice_id, series, position, number, issued_on, substr(payload_hash::text, 3), substr(chain_hash::text, 3) FROM billing.seal ORDER BY series, position});
my (@wrong_payload, @wrong_chain);
my $all = '';

for my $seal (@seals)
{
	my ($invoice, $series, $position, $number, $issued_on, $payload_hash, $chain_hash) = split /\|/, $seal;
	my $form = form_of('documents', $invoice);

	push @wrong_payload, $number if sha256_hex($form) ne $payload_hash;
	$before{$series} = sha256(($before{$series} // "\0" x 32) . "$series\n$position\n$number\n$issued_on\n" . sha256($form));
	push @wrong_chain, $number if unpack('H*', $before{$series}) ne $chain_hash;
	$all .= $form;
}
cmp_ok(scalar @seals, '>=', 6, 'documents were sealed');
is("@wrong_payload", '', 'payload hashes: all as the page says');
is("@wrong_chain", '', 'chain hashes: all as the page says');
like($all, qr/\[line\]\n(?:\w+=.*\n)*\[line\]\n/, 'a document with several lines is among them');
like($all, qr/^kind=credit_note$/m, 'a credit note');
like($all, qr/^nature=correction$/m, 'a correction');
like($all, qr/\[tax\]\n(?:\w+=.*\n)*\[tax\]\n/, 'two taxes');
like($all, qr/^rounding_amount=0\.01$/m, 'a rounding amount');
like($all, qr/^buyer_reference=$/m, 'an empty text, which is not null');
like($all, qr/^description=Gr\xc3\xb6\xc3\x9fe\t"M" \\\\n\\n\xe6\x97\xa5.* \xf0\x9f\xa7\xbe$/m, 'backslash, line feed and Unicode in a text');
like($all, qr/^buyer=.*Zo\xc3\xab\\\\\\\\\\\\r\\\\nLtd/m, 'backslash, carriage return and line feed in an object');
is($node->safe_psql('documents', 'SELECT * FROM billing.verify_chain()'), '', 'verify_chain() agrees');
is($node->safe_psql('documents', "SET DateStyle = 'ISO'; SELECT * FROM billing.verify_chain()"), '', 'verify_chain() agrees, whatever the DateStyle');

# The statement of the page finds what was changed by force, and nothing else.

my ($statement) = $page =~ /^```sql\n(.*?)^```\n/ms;
is($node->safe_psql('documents', $statement), '', 'the statement of the page finds nothing in sound books');
$node->safe_psql('documents', q{ALTER TABLE billing.seal DISABLE TRIGGER seal_immutable;
	UPDATE billing.seal SET number = 'INV-2026-000099' WHERE series = 'akme-invoice' AND position = 2});
is($node->safe_psql('documents', $statement), 'akme-invoice|2|INV-2026-000099', 'the statement of the page names a changed seal');

$node->stop;
done_testing();
