# Helpers of the TAP tests: servers with the extension, books full of accounts, fingerprints of
# what was billed, and sessions that stay open.
#
#   my $node = new_server('main');
#   new_books($node, 'a', accounts => 20000);
#   my $session = Billing::Session->new($node->connstr('a'));

package Billing;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(new_server new_books fill_books copy_books wait_for sqlstate_of documents_of same_documents
  flaws_of sound_books live_lives);

# Tables that a run writes, without what depends on the order in which it came to the accounts, and without
# what books of version 0.1.0 did not note: when something was allocated, credit left and events.
my %documents = (
	invoice_header => 'jsonb_strip_nulls(to_jsonb(invoice_header))',
	invoice_line => '*',
	invoice_tax => '*',
	charge => '*',
	credit_allocation => 'account_id, credit_note_id, invoice_id, amount',
	seal => 'account_id, invoice_id, series, payload_hash',
	account_state => 'account_id, entity, next_ordinal, billed_through, recompute_from, next_due');

# A running server; settings are appended to its configuration.  A reference to options of init() may come first.
sub new_server
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $options = ref $settings[0] ? shift @settings : {};

	$node->init(allows_streaming => 1, %$options);
	$node->append_conf('postgresql.conf', join("\n", "timezone = 'UTC'",
			'restart_after_crash = on', "billing.max_future = '100000d'", @settings));
	$node->start;
	return $node;
}

# The catalogue and a few accounts of every kind that bills differently, through the calls.
my $catalogue = <<'SQL';
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', entity => 'acme', category => 'S', rate => 19);
SELECT billing.create_tax('low', entity => 'acme', category => 'S', rate => 7);
SELECT billing.create_meter('minutes', aggregation => 'sum');
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat',
    scheme => '{"model":"per_unit","unit_amount":12.50}');
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat', meter => 'minutes',
    scheme => '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":null,"unit_amount":0.80}]}');
SELECT billing.create_price('paper', currency => 'EUR', every => '3 months', timing => 'advance', tax => 'low', tax_inclusive => true,
    scheme => '{"model":"flat","flat_amount":9.99}');
SELECT billing.create_price('care', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat',
    scheme => '{"model":"flat","flat_amount":7.77}');
SELECT billing.create_plan('team', items => '[{"price":"seat"},{"price":"call"}]');
SELECT billing.create_plan('home', items => '[{"price":"care"},{"price":"paper","optional":true}]', billing_day => 15);
SQL

my $patterns = <<'SQL';
SELECT count(*) FROM billing.create_accounts((SELECT jsonb_agg(jsonb_build_object('name', 'Customer ' || i)) FROM generate_series(1, 20) i));
SELECT count(*) FROM billing.create_subscriptions((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
           'account_id', i, 'plan', CASE WHEN i % 3 = 0 THEN 'home' ELSE 'team' END,
           'start_at', timestamptz '2026-01-01 00:00+01' + i * interval '1 day',
           'end_at', CASE WHEN i % 7 = 0 THEN timestamptz '2026-03-10 00:00+01' END,
           'items', CASE WHEN i % 6 = 0 THEN jsonb '[{"price":"paper"}]'
                         WHEN i % 3 > 0 THEN jsonb_build_array(jsonb_build_object('price', 'seat', 'quantity', i)) END)))
       FROM generate_series(1, 20) i));
SELECT count(*) FROM billing.record_usages((SELECT jsonb_agg(jsonb_build_object('subscription_id', id, 'meter', 'minutes',
           'event_key', 'call ' || account_id, 'quantity', 3.5 * account_id, 'at', start_at + interval '10 days'))
       FROM billing.subscription WHERE plan = 'team' AND account_id % 2 = 0));
SQL

# Copies the patterns' rows again and again: an id holds its account, so it moves with it.
my %copied = (
	account => [],
	account_state => [],
	subscription => ['id'],
	schedule_version => ['subscription_id'],
	subscription_item => [ 'id', 'subscription_id' ],
	item_version => ['item_id'],
	usage_event => ['subscription_id']);

sub copy_statement
{
	my ($node, $db, $table, $accounts) = @_;
	my %moved = map { $_ => "$_ + (n::bigint << 24)" } @{ $copied{$table} };
	my @columns = split /\n/, $node->safe_psql($db,
		"SELECT attname FROM pg_attribute WHERE attrelid = 'billing.$table'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum");

	$moved{account_id} = 'account_id + n';
	return sprintf "INSERT INTO billing.$table (%s) SELECT %s FROM billing.$table, generate_series(20, %d, 20) n",
	  join(', ', @columns), join(', ', map { $moved{$_} // $_ } @columns), $accounts - 20;
}

# A catalogue and 20 accounts in books that are set up.
sub fill_books
{
	my ($node, $db) = @_;

	$node->safe_psql($db, $catalogue);
	$node->safe_psql($db, $patterns);
	return;
}

# A database with books of so many accounts, a multiple of 20, nothing billed; owner is a role.
sub new_books
{
	my ($node, $db, %options) = @_;
	my $accounts = $options{accounts} // 20;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, sprintf('CREATE EXTENSION billing; SELECT billing.setup(%s)', $options{owner} ? "'$options{owner}'" : ''));
	fill_books($node, $db);
	$node->safe_psql($db, join(";\n", map { copy_statement($node, $db, $_, $accounts) }
			  qw(account account_state subscription schedule_version subscription_item item_version usage_event)))
	  if $accounts > 20;
	$node->safe_psql($db, "SELECT setval('billing.account_id_seq', $accounts); ANALYZE");
	return;
}

# The same books in another database, which may bill.
sub copy_books
{
	my ($node, $from, $to) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $to TEMPLATE $from");
	$node->safe_psql($to, 'SELECT billing.adopt_books()');
	return;
}

# Waits until a query says something other than f, looking again at once, and fails the test when it never does; returns
# what it says.
sub wait_for
{
	my ($node, $db, $query, $what) = @_;
	my $session = Billing::Session->new($node->connstr($db));
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	my $answer;

	until (($answer = $session->query($query)) =~ /^(?!f$)./)
	{
		die "timed out waiting until $what" if time > $end;
		usleep(5_000);
	}
	$session->finish;
	return $answer;
}

# SQLSTATE with which a script ends; empty when it works.
sub sqlstate_of
{
	my ($node, $db, $sql) = @_;
	my $stderr;

	$node->psql($db, "\\set VERBOSITY sqlstate\n$sql", stderr => \$stderr, on_error_stop => 1);
	return $stderr =~ /^(?:psql:.*?)?(?:ERROR|FATAL):\s+(\w{5})\s*$/m ? $1 : '';
}

# Number of rows of each table that a run writes, and a sum over them that does not depend on their order.
sub documents_of
{
	my ($node, $db) = @_;

	return {
		map { split /\|/, $_, 2 } split /\n/, $node->safe_psql($db, join(' UNION ALL ', map {
					qq{SELECT '$_', count(*), sum(hashtextextended(x::text, 0)) FROM (SELECT $documents{$_} FROM billing.$_) x}
				} sort keys %documents))
	};
}

# Both books hold the same documents, but for numbers, positions, dates and chains.
sub same_documents
{
	my ($node, $db, $expected, $name) = @_;

	is_deeply(documents_of($node, $db), $expected, $name);
	return;
}

# Queries that find something wrong; each answers nothing on sound books.
my %flaws = (
	'check' => q{
		SELECT * FROM billing.check(deep => DEEP)},
	'positions without gaps' => q{
		SELECT series FROM billing.seal GROUP BY series HAVING min(position) <> 1 OR max(position) <> count(*)},
	'series know their last position' => q{
		SELECT code FROM billing.series s WHERE position <> (SELECT count(*) FROM billing.seal x WHERE x.series = s.code)},
	'dates never go back' => q{
		SELECT series FROM (SELECT series, issued_on, lag(issued_on) OVER (PARTITION BY series ORDER BY position) AS before
		                      FROM billing.seal) x WHERE before > issued_on},
	'chain' => q{
		SELECT series, position FROM (SELECT *, lag(chain_hash, 1, decode(repeat('00', 32), 'hex'))
		           OVER (PARTITION BY series ORDER BY position) AS before FROM billing.seal) s
		 WHERE chain_hash <> sha256(before || convert_to(concat(series, E'\n', position, E'\n', number, E'\n', issued_on, E'\n'), 'UTF8')
		                            || payload_hash)},
	'the chain ends in its series' => q{
		SELECT code FROM billing.series s
		 WHERE chain_hash IS DISTINCT FROM (SELECT chain_hash FROM billing.seal x WHERE x.series = s.code AND x.position = s.position)},
	'documents and seals' => q{
		SELECT h.id FROM billing.invoice_header h FULL JOIN billing.seal s ON s.account_id = h.account_id AND s.invoice_id = h.id
		 WHERE (s.invoice_id IS NOT NULL) <> coalesce(h.status <> 'draft' AND h.external_number IS NULL, false)},
	'no orphans' => q{
		SELECT l.invoice_id FROM (SELECT account_id, invoice_id FROM billing.invoice_line UNION ALL
		                          SELECT account_id, invoice_id FROM billing.invoice_tax UNION ALL
		                          SELECT account_id, invoice_id FROM billing.charge) l
		  LEFT JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id WHERE h.id IS NULL},
	'totals' => q{
		SELECT id FROM billing.invoice_header h
		 WHERE net_total <> (SELECT sum(net_amount) FROM billing.invoice_line l WHERE l.account_id = h.account_id AND l.invoice_id = h.id)
		    OR tax_total <> (SELECT sum(tax_amount) FROM billing.invoice_tax t WHERE t.account_id = h.account_id AND t.invoice_id = h.id)},
	'no key is charged twice' => q{
		SELECT item_id FROM (SELECT item_id, period_end, lead(period_start) OVER (PARTITION BY account_id, item_id, kind ORDER BY period_start) AS next
		    FROM (SELECT DISTINCT ON (account_id, item_id, kind, period_start, ordinal) * FROM billing.charge
		           ORDER BY account_id, item_id, kind, period_start, ordinal, revision DESC) live WHERE period_end > period_start) x
		 WHERE next < period_end});

# What a run that has ended, however it did, must not leave behind in a server where nothing else happens.
my $leftovers = q{
	SELECT 'worker ' || pid FROM pg_stat_activity WHERE backend_type = 'billing run worker' UNION ALL
	SELECT 'transaction of ' || pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_xid IS NOT NULL AND backend_type !~ '^autovacuum' UNION ALL
	SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts UNION ALL
	SELECT 'temporary file ' || name FROM pg_ls_tmpdir() WHERE name !~ ('^pgsql_tmp' || pg_backend_pid() || '[.]') UNION ALL
	SELECT 'lock of ' || pid FROM pg_locks JOIN pg_stat_activity USING (pid)
	 WHERE pid <> pg_backend_pid() AND locktype IN ('relation', 'tuple') AND mode ~ 'Exclusive' AND backend_type !~ '^autovacuum'};

# What is wrong with the books, a line for each kind of flaw; unless shallow every charge is computed again.  With idle also
# what is left behind.
sub flaws_of
{
	my ($node, $db, %options) = @_;
	my $deep = $options{shallow} ? 'false' : 'true';
	my @queries = map {
		sprintf q{SELECT '%s: ' || (SELECT string_agg(f::text, ', ') FROM (SELECT * FROM (%s) x LIMIT 3) f)}, $_, $flaws{$_} =~ s/DEEP/$deep/r
	} sort keys %flaws;

	push @queries, $leftovers if $options{idle};
	return $node->safe_psql($db, join(' UNION ALL ', @queries)) =~ s/^\n+|(?<=\n)\n+|\n+$//gr;
}

# Numbers, chain, totals and keys are in order.
sub sound_books
{
	my ($node, $db, $name, %options) = @_;

	is(flaws_of($node, $db, %options), '', $name);
	return;
}

# Runs the pgTAP test of random lives in a database of its own, in the library given or the installed one, after
# the SQL given; returns what psql does.
sub live_lives
{
	my ($node, $db, $lives, $seed, %options) = @_;
	my $test = dirname(__FILE__) . '/../pgtap/path_independence.sql';

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION pgtap; CREATE EXTENSION billing; SELECT billing.setup();"
		  . " ALTER DATABASE $db SET test.lives = $lives; ALTER DATABASE $db SET test.seed = $seed");
	$node->safe_psql($db, "UPDATE pg_proc SET probin = '$options{library}' WHERE probin = '\$libdir/billing'")
	  if $options{library};
	$node->safe_psql($db, $options{sql}) if $options{sql};
	return $node->psql($db, "\\i $test", extra_params => ['-At'], timeout => 3600);
}

package Billing::Session;

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Utils;

# A psql that stays connected; errors show their SQLSTATE alone, unless variables of psql say otherwise.
sub new
{
	my ($class, $connstr, %variables) = @_;
	my $self = bless { stdin => '', stdout => '', stderr => '', marks => 0 }, $class;

	%variables = (VERBOSITY => 'sqlstate', %variables);
	$self->{timeout} = IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	$self->{process} = IPC::Run::start([ 'psql', '-XqAt', map({ ('-v', "$_=$variables{$_}") } keys %variables), '-d', $connstr ],
		'<', \$self->{stdin}, '>', \$self->{stdout}, '2>', \$self->{stderr}, $self->{timeout});
	return $self;
}

# Sends statements and does not wait.
sub send
{
	my ($self, $sql) = @_;

	$self->{marks}++;
	$self->{stdin} .= "$sql\n;\n\\echo done $self->{marks}\n\\warn done $self->{marks}\n";
	$self->{timeout}->start($PostgreSQL::Test::Utils::timeout_default);
	$self->{process}->pump_nb;
	return $self;
}

# Waits for what was sent; returns what it printed, and in list context also its errors and notices.
sub result
{
	my ($self) = @_;
	my $mark = "done $self->{marks}\n";

	$self->{process}->pump until $self->{stdout} =~ /^$mark/m && $self->{stderr} =~ /^$mark/m;
	my ($stdout, $stderr) = ($self->{stdout}, $self->{stderr});
	($self->{stdout}, $self->{stderr}) = ('', '');
	s/^\Q$mark\E//m, s/\n\z// for $stdout, $stderr;
	return wantarray ? ($stdout, $stderr) : $stdout;
}

# Both at once.
sub query
{
	my ($self, $sql) = @_;

	return $self->send($sql)->result;
}

# Process id of the server process behind the session.
sub pid
{
	my ($self) = @_;

	return scalar $self->query('SELECT pg_backend_pid()');
}

# Ends psql without goodbye.
sub kill
{
	my ($self) = @_;

	$self->{process}->kill_kill(grace => 0);
	return;
}

# Waits for psql to end after its connection broke, or says goodbye; returns its errors.
sub finish
{
	my ($self) = @_;

	$self->{process}->finish;
	return $self->{stderr};
}

1;
