# The 7,043 real subscribers of the file named by TELCO_CSV, one month of them: known to the cent.
#
# Nine services have one price each; which of them a subscriber has stands in the file's columns.
# The file's own MonthlyCharges, made by another system, must come out within 5.00 of ours.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use Billing;

my $file = $ENV{TELCO_CSV} // '';

plan skip_all => 'TELCO_CSV names no file of real subscribers' if $file eq '';
plan skip_all => "TELCO_CSV names $file, which does not exist" unless -f $file;

my $node = new_server('telco');
my $month = "at => '2026-01-01 06:00 Europe/Berlin'";

sub query
{
	return $node->safe_psql('postgres', shift);
}

query(<<'SQL');
CREATE EXTENSION billing;
SELECT billing.setup();
SELECT billing.create_entity('telco', name => 'Telco GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);

-- "column" and "value" tell who has the service
CREATE TABLE service (code text, amount numeric, "column" text, value text);
INSERT INTO service VALUES
    ('phone', 20, 'PhoneService', 'Yes'), ('lines', 5, 'MultipleLines', 'Yes'),
    ('dsl', 25, 'InternetService', 'DSL'), ('fibre', 50, 'InternetService', 'Fiber optic'),
    ('security', 5, 'OnlineSecurity', 'Yes'), ('backup', 5, 'OnlineBackup', 'Yes'), ('protection', 5, 'DeviceProtection', 'Yes'),
    ('support', 5, 'TechSupport', 'Yes'), ('tv', 10, 'StreamingTV', 'Yes'), ('movies', 10, 'StreamingMovies', 'Yes');
SELECT billing.create_price(code, currency => 'EUR', every => '1 month', tax => 'vat',
                            scheme => jsonb_build_object('model', 'flat', 'flat_amount', amount)) FROM service;
SELECT billing.create_plan('services', items => jsonb_agg(jsonb_build_object('price', code, 'optional', true))) FROM service;
SQL

# The table has the columns of the file's first line.
open my $csv, '<', $file or die "$file: $!";
my @columns = <$csv> =~ /(\w+)/g;
close $csv;
query('CREATE TABLE subscriber (' . join(', ', map { "\"$_\" text" } @columns) . ')');
query("\\copy subscriber FROM '$file' (FORMAT csv, HEADER)");
is(query('SELECT count(*), count(DISTINCT "customerID") FROM subscriber'), '7043|7043', 'the file has 7,043 subscribers');

# A thousand at a time, as an application would.
is(query(<<'SQL'), '7043|7043', 'all are accounts with a subscription');
CREATE TEMPORARY TABLE item AS
    SELECT "customerID" AS id, jsonb_agg(jsonb_build_object('price', code)) AS items
      FROM subscriber s, jsonb_each_text(to_jsonb(s)) AS has (key, value) JOIN service v ON v."column" = has.key AND v.value = has.value
     GROUP BY 1;
WITH chunk AS MATERIALIZED (
    SELECT jsonb_agg(jsonb_build_object('external_id', id, 'name', 'Subscriber ' || id)) AS accounts
      FROM (SELECT id, row_number() OVER (ORDER BY id) / 1000 AS no FROM item) x GROUP BY no)
SELECT FROM chunk, billing.create_accounts(accounts);
WITH chunk AS MATERIALIZED (
    SELECT jsonb_agg(jsonb_build_object('account_id', account_id, 'plan', 'services', 'items', items, 'start_at', '2026-01-01 00:00+01')
                     ORDER BY account_id) AS subscriptions
      FROM (SELECT billing.account_id(id) AS account_id, items, row_number() OVER (ORDER BY id) / 1000 AS no FROM item) x GROUP BY no)
SELECT FROM chunk, billing.create_subscriptions(subscriptions);
SELECT (SELECT count(*) FROM billing.account), (SELECT count(*) FROM billing.subscription);
SQL

query("CALL billing.bill_run($month)");
is(query('SELECT count(*), count(DISTINCT account_id), sum(net_total) FROM billing.invoice'),
	'7043|7043|456360.00', 'one invoice each, 456,360.00 net in total');
is(query(<<'SQL'), '7043', 'each agrees with MonthlyCharges within 5.00');
SELECT count(*) FROM subscriber s JOIN billing.invoice i ON i.account_id = billing.account_id(s."customerID")
 WHERE abs(i.net_total - s."MonthlyCharges"::numeric) <= 5.00
SQL
is(query('SELECT count(*) FROM billing.run_error'), '0', 'nobody is parked');

my $documents = documents_of($node, 'postgres');
query("CALL billing.bill_run($month)");
same_documents($node, 'postgres', $documents, 'a second run writes nothing');
sound_books($node, 'postgres', 'the books are sound');

$node->stop;
done_testing();
