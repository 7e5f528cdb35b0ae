# Everything works through a pooler in transaction mode: no call leaves anything in a session, or
# depends on what an earlier call left there.

use strict;
use warnings FATAL => 'all';

use Billing;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'pgbouncer is missing (package pgbouncer)' if system('command -v pgbouncer >/dev/null 2>&1') != 0;

my $node = new_server('main');
my $pooler;

# Starts a pooler with so many server connections in front of a database; returns how to connect.
sub start_pooler
{
	my ($db, $connections) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir_short();
	my $connstr = "host=$folder port=6432 dbname=books user=" . getpwuid($<);
	my $user = $node->safe_psql('postgres', 'SELECT current_user');

	append_to_file("$folder/ini", <<"INI");
[databases]
books = host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=$db user=$user
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = $folder
auth_type = any
pool_mode = transaction
default_pool_size = $connections
server_reset_query =
ignore_startup_parameters = extra_float_digits
INI
	$pooler = IPC::Run::start([ 'pgbouncer', "$folder/ini" ], '<', \undef, '>', '/dev/null', '2>', "$folder/log");
	for (1 .. 500)
	{
		last if -S "$folder/.s.PGSQL.6432";
		Time::HiRes::usleep(20_000);
	}
	-S "$folder/.s.PGSQL.6432" or die 'pgbouncer does not start: ' . slurp_file("$folder/log");
	return $connstr;
}

sub stop_pooler
{
	$pooler->kill_kill if $pooler;
	undef $pooler;
	return;
}

END { my $status = $?; stop_pooler(); $? = $status; }

# Two clients share one server connection; every statement of the story is said by the other one.

$node->safe_psql('postgres', 'CREATE DATABASE story');
my $connstr = start_pooler('story', 1);
my @clients = map { Billing::Session->new($connstr) } 1, 2;
my $turn = 0;

sub say_by_turns
{
	return $clients[ $turn++ % 2 ]->query(@_);
}

my ($account, $subscription);
say_by_turns($_) for (
	'CREATE EXTENSION billing',
	'SELECT billing.setup()',
	q{SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin')},
	q{SELECT billing.create_tax('vat', entity => 'acme', category => 'S', rate => 19)},
	q{SELECT billing.create_meter('minutes', aggregation => 'sum')},
	q{SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat',
	  scheme => '{"model":"per_unit","unit_amount":12.50}')},
	q{SELECT billing.create_price('call', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat', meter => 'minutes',
	  scheme => '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":null,"unit_amount":0.80}]}')},
	q{SELECT billing.create_plan('team', name => 'Team', items => '[{"price":"seat"},{"price":"call"}]')});
$account = say_by_turns(q{SELECT billing.create_account('Jane Ltd', external_id => 'crm-17')});
$subscription = say_by_turns(qq{SELECT billing.create_subscription($account, 'team', start_at => '2026-01-31 00:00+01',
	items => '[{"price":"seat","quantity":5}]')});
say_by_turns(qq{SELECT billing.record_usage($subscription, 'minutes', quantity => 35, at => '2026-02-10 12:00+01', event_key => 'call-1')});

my $documents = q{SELECT number, net_total, tax_total, total FROM billing.invoice ORDER BY number};

# A client that rolls back, as tests do: one notice, and nothing is left.
my ($printed, $notices) = $clients[0]->query(qq{BEGIN; CALL billing.bill_run(at => '2026-03-01 00:00+01', batch_size => 1); $documents; ROLLBACK});
like($printed, qr/74\.38.*\n.*111\.27/, 'in a transaction block: the run bills in it');
is($notices, 'NOTICE:  00000', 'in a transaction block: one notice');
is($clients[1]->query('SELECT (SELECT count(*) FROM billing.run), (SELECT count(*) FROM billing.invoice_header), (SELECT count(*) FROM billing.charge)'),
	'0|0|0', 'after ROLLBACK nothing is left');

is_deeply([ say_by_turns(qq{CALL billing.bill_run(at => '2026-02-01 00:00+01')}) ], [ '', '' ], 'a run that commits says nothing');
say_by_turns(qq{CALL billing.bill_run(at => '2026-03-01 00:00+01')});
my @numbers = split /\n/, say_by_turns($documents);
is(scalar @numbers, 2, 'two documents');
like($numbers[0], qr/^[^|]+\|62\.50\|11\.88\|74\.38$/, 'the story: first invoice');
like($numbers[1], qr/^[^|]+\|93\.50\|17\.77\|111\.27$/, 'the story: second invoice');

# An error in the middle leaves the shared connection as it was.
is((say_by_turns(q{CALL billing.bill_run(at => 'infinity')}))[1], 'ERROR:  22008', 'an error of a run');
is((say_by_turns(q{SELECT billing.create_subscription(1, 'nothing')}))[1], 'ERROR:  LB107', 'an error of a call');
is(say_by_turns(q{SELECT current_user = session_user, current_setting('search_path'), current_setting('lock_timeout'), txid_current_if_assigned() IS NULL}),
	't|"$user", public|0|t', 'the connection has its user, settings and no transaction');

# Prepared with untyped parameters, as drivers do.
$printed = say_by_turns(q{BEGIN; PREPARE usage AS SELECT billing.record_usage($1, $2, event_key => $3, quantity => $4, at => $5);
	EXECUTE usage (} . $subscription . q{, 'minutes', 'call-2', 1.5, '2026-03-10 12:00+01'); DEALLOCATE usage; COMMIT});
is($printed, 't', 'parameters get their types from the signature');
$_->finish for @clients;
stop_pooler();

# Drivers' protocol with untyped parameters, four clients over two connections, and two runs at once.

new_books($node, 'bulk', accounts => 2000);
copy_books($node, 'bulk', 'direct');
$connstr = start_pooler('bulk', 2);
my $script = PostgreSQL::Test::Utils::tempdir_short() . '/usage.sql';
append_to_file($script, <<'SCRIPT');
\set n :client_id * 20 + 1
\set account 20 * :n + 2
\set subscription :account * 16777216 + 1
SELECT billing.record_usage(:subscription, 'minutes', :n || '-' || :n, 2.5, '2026-02-01 12:00+01')
SCRIPT
command_ok([ 'pgbench', '-n', '-M', 'extended', '-c', '4', '-t', '10', '-f', $script, $connstr ], 'extended protocol, four clients');
is($node->safe_psql('bulk', q{SELECT count(*), sum(quantity) FROM billing.usage_event WHERE event_key LIKE '%-%'}), '4|10.0', 'each event is recorded once');
$node->safe_psql('direct', q{INSERT INTO billing.usage_event SELECT account_id, n || '-' || n, id, 'minutes', '2026-02-01 12:00+01', 2.5
	FROM billing.subscription, generate_series(1, 61, 20) n WHERE account_id = 20 * n + 2});
$node->safe_psql('direct', q{CALL billing.bill_run('2026-03-20 00:00+01')});

@clients = map { Billing::Session->new($connstr) } 1 .. 3;
$_->send(q{CALL billing.bill_run('2026-03-20 00:00+01', batch_size => 50)}) for @clients[ 0, 1 ];
$_->result for @clients[ 0, 1 ];
is($clients[2]->query(q{SELECT string_agg(DISTINCT status, ' '), sum(errors) FROM billing.run}), 'finished|0', 'two runs through the pooler');
same_documents($node, 'bulk', documents_of($node, 'direct'), 'the same documents as one run without it');
sound_books($node, 'bulk', 'books are sound');
$_->finish for @clients;
stop_pooler();
$node->stop;

done_testing();
