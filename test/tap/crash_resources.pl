# A process of a run that runs out of disk, memory or room for temporary files ends its run, or leaves its work to the
# others; nothing is half done, no account is parked for it, and with room again the documents are those of an
# undisturbed run.

use strict;
use warnings FATAL => 'all';

use Billing;
use Crash;
use PostgreSQL::Test::Utils;
use Test::More;

my $at = '2026-03-20 12:00+01';
my $run = "CALL billing.bill_run('$at', batch_size => 3000)";
my $parallel = "CALL billing.bill_run('$at', workers => 3, batch_size => 1000)";
my $worker = q{backend_type = 'billing run worker'};

plan skip_all => 'needs the program prlimit and the file system /proc' if system('prlimit --version >/dev/null 2>&1') != 0 || !-r "/proc/$$/status";

# Small files of the log, so that a limit can lie between them and the tables, and buffers that hold all, so that nothing but
# the log is written at a commit.
my $node = new_server('main', { extra => ['--wal-segsize=1'] }, 'shared_buffers = 64MB');

sub size_of
{
	my ($pid) = @_;

	return slurp_file("/proc/$pid/status") =~ /^VmSize:\s+(\d+) kB/m ? 1024 * $1 : die 'no size';
}

# What the process may use from the point on, and how that ends it.
my %limits = (
	disk => { limit => sub { '--fsize=1100000:' }, sqlstate => qr/53100|XX000/ },
	memory => { limit => sub { '--as=' . size_of($_[0]) . ':' }, sqlstate => qr/53200/ },
	log => { limit => sub { '--fsize=8192:' }, sqlstate => qr/57P02|server closed the connection/, crash => 1 });

my @cases = (
	[ 'disk', 'run', $run, 'loads' ],
	[ 'disk', 'leader', $parallel, 'loads' ],
	[ 'disk', 'worker', $parallel, 'loads', $worker ],
	[ 'memory', 'run', $run, 'locks accounts' ],
	[ 'memory', 'run', $run, 'writes taxes' ],
	[ 'memory', 'worker', $parallel, 'locks accounts', $worker ],
	[ 'log', 'run', $run, 'commits a range' ]);

new_books($node, 'undisturbed', accounts => 3000);
new_gates($node, 'undisturbed');
copy_books($node, 'undisturbed', $_) for qw(books temporary);
$node->safe_psql('undisturbed', $run);
my $expected = documents_of($node, 'undisturbed');

for my $i (0 .. $#cases)
{
	my ($what, $who, $call, $where, $victim) = @{ $cases[$i] };
	my ($point) = grep { $_->{name} eq $where } points();
	my ($db, $log, $limit) = ("books_$i", -s $node->logfile, $limits{$what});

	copy_books($node, 'books', $db);
	my $holder = hold($node, $db, $point);
	my $session = Billing::Session->new($node->connstr($db));
	my $condition = $victim // 'pid = ' . $session->pid;

	$session->send($call);
	my $pid = stopped_process($node, $holder, $condition);
	system_or_bail('prlimit', "--pid=$pid", $limit->{limit}->($pid));
	$holder->query('ROLLBACK');
	$holder->finish;
	my $stderr = ($limit->{crash} ? '' : ($session->result)[1]) . $session->finish;
	like($stderr, $limit->{sqlstate}, "$who without $what while it $where");
	$node->wait_for_log(qr/ready to accept connections/, $log) if $limit->{crash};
	is(flaws_of($node, $db, shallow => 1, idle => 1) . $node->safe_psql($db, 'SELECT * FROM billing.run_error'), '', '... nothing is wrong');
	$node->safe_psql($db, $run);
	same_documents($node, $db, $expected, '... the documents of an undisturbed run');
}

# Temporary files have a limit of their own.
for my $call ($run, $parallel)
{
	is(sqlstate_of($node, 'temporary', "SET temp_file_limit = '64kB'; SET work_mem = '64kB'; $call"), '53400', 'temp_file_limit');
	is(flaws_of($node, 'temporary', shallow => 1, idle => 1), '', '... nothing is wrong');
}
$node->safe_psql('temporary', $run);
same_documents($node, 'temporary', $expected, '... the documents of an undisturbed run');
$node->stop;

done_testing();
