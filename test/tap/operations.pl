# The commands of doc/operations.md, in their order, on two servers.

use strict;
use warnings FATAL => 'all';

use Billing;
use Copies;
use Cwd;
use Pages;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('primary', 'wal_level = logical', "shared_preload_libraries = 'billing'");
my $subscriber = new_server('subscriber', "shared_preload_libraries = 'billing'");
my @blocks = grep { $_->{kind} eq 'sh' } blocks_of(slurp_file('doc/operations.md'));
my $here = Cwd::getcwd();

$node->safe_psql('postgres', 'CREATE ROLE bookkeeper; CREATE ROLE clerk');
copy_roles($node, $subscriber);
new_books($node, 'shop', owner => 'bookkeeper');
$node->safe_psql('shop', "SELECT billing.grant_access('clerk', 'operator'); CALL billing.bill_run('2026-02-20 00:00+01')");
$subscriber->safe_psql('postgres', 'CREATE DATABASE shop');

$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PRIMARY} = sprintf 'host=%s port=%s dbname=shop', $node->host, $node->port;
$ENV{SUBSCRIBER} = sprintf 'host=%s port=%s dbname=shop', $subscriber->host, $subscriber->port;

cmp_ok(scalar @blocks, '>=', 7, 'there are commands');
chdir PostgreSQL::Test::Utils::tempdir;
my $number = 0;
for my $block (@blocks)
{
	$number++;
	# what was just subscribed to must have arrived before it is dropped
	wait_for($subscriber, 'shop', q{SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel}, 'the tables are copied') if $block->{text} =~ /DROP SUBSCRIPTION/;
	$node->safe_psql('shop', "CALL billing.bill_run('2026-03-20 00:00+01')") if $block->{text} =~ /ALTER SYSTEM/;
	command_ok([ 'sh', '-e', '-c', $block->{text} ], "block $number");
}
chdir $here;

for my $db (qw(restored rows_only))
{
	is(sqlstate_of($node, $db, "SET billing.enabled = on; CALL billing.bill_run('2026-03-20 00:00+01')"), '', "$db: bills");
	same_documents($node, $db, documents_of($node, 'shop'), "$db: as the original does");
}
sound_books($subscriber, 'shop', 'the subscriber that took over is sound');
is($subscriber->safe_psql('shop', 'SELECT adoption_number FROM billing.book'), 2, 'it was adopted');
is(sqlstate_of($node, 'shop', 'CALL billing.bill_run()'), 'LB004', 'the original bills no more');

$_->stop for $node, $subscriber;
done_testing();
