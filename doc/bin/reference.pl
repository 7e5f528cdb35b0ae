# Writes the reference into a folder, from the catalog of a database with fresh books: calls and tables by
# module, views, settings, errors, events, helpers and an index.  `make doc` runs it; a test compares.
#
# usage: perl -I doc/bin doc/bin/reference.pl FOLDER

use strict;
use warnings FATAL => 'all';

use Catalog;

my ($folder) = @ARGV;
my $meaning = arguments();
my (%used, @index);
my $notice = '<!-- Made by "make doc" from the catalog; comments are changed in src, meanings of arguments in doc/bin/arguments.txt. -->';

sub write_page
{
	my ($name, $title, @parts) = @_;

	open my $file, '>:encoding(UTF-8)', "$folder/$name.md" or die "$folder/$name.md: $!\n";
	print {$file} join("\n\n", "# $title", $notice, @parts), "\n";
	close $file or die "$folder/$name.md: $!\n";
	return;
}

sub cell
{
	my ($text) = @_;

	return ($text // '') =~ s/\|/\\|/gr;
}

sub table
{
	my ($head, @rows) = @_;

	return join "\n", map { '| ' . join(' | ', map { cell($_) } @$_) . ' |' } $head, [ map { '---' } @$head ], @rows;
}

# Sentences begin with a capital and end with a full stop; the catalog's comments do not.
sub sentence
{
	my ($text) = @_;

	return '' if !defined $text;
	$text = ucfirst $text if $text !~ /^\w*[._(]/;
	$text =~ s/([^.!?])\z/$1./;
	return $text;
}

sub without_casts
{
	my ($text) = @_;

	return $text =~ s/::(?:"char"|[a-z]+(?: with(?:out)? time zone| precision| varying)?(?:\[\])?)//gr;
}

sub type
{
	my ($type) = @_;

	return $type =~ s/timestamp with time zone/timestamptz/r;
}

sub as_code
{
	my ($text) = @_;

	return defined $text && $text ne '' ? '`' . without_casts($text) . '`' : '';
}

sub by_module
{
	my ($kind, $schema, @things) = @_;
	my %of;

	for my $thing (@things)
	{
		my $module = module_of($kind, "$schema.$thing->{name}") // die "$schema.$thing->{name}: no module makes it\n";

		push @{ $of{$module} }, $thing;
	}
	return map { [ $_, @{ $of{$_} } ] } grep { $of{$_} } modules();
}

# Calls

my %volatility = (
	i => 'Depends on its arguments alone.',
	s => 'Reads only: works in a read-only transaction and on a standby.',
	v => '');

sub meaning_of
{
	my ($call, $argument) = @_;

	for my $key ("$call.$argument", $argument)
	{
		next if !defined $meaning->{$key};
		$used{$key} = 1;
		return $meaning->{$key};
	}
	die "doc/bin/arguments.txt: $call has an argument or result column \"$argument\" without a meaning\n";
}

sub inputs  { return grep { $_->{mode} =~ /[ib]/ } @{ $_[0]{arguments} } }
sub outputs { return grep { $_->{mode} =~ /[otb]/ } @{ $_[0]{arguments} } }

sub signature
{
	my ($call) = @_;
	my @required = map { $_->{name} } grep { !defined $_->{default} } inputs($call);
	my @optional = map { $_->{name} } grep { defined $_->{default} } inputs($call);
	my $list = join ', ', @required, @optional ? '[' . join(', ', @optional) . ']' : ();

	return "$call->{name}($list)";
}

sub result_of
{
	my ($call) = @_;

	return '' if $call->{procedure};
	return $call->{many} ? 'rows' : 'one row' if outputs($call);
	return ($call->{many} ? 'a row each of ' : '') . "`$call->{result}`";
}

sub describe_call
{
	my ($call) = @_;
	my @parts = ("## $call->{name}");
	my @out = outputs($call);

	push @parts, sprintf('`%sbilling.%s`', $call->{procedure} ? 'CALL ' : '', signature($call)), sentence($call->{comment});
	push @parts, join ' ', grep { $_ } 'Right: ' . ($call->{access} // 'superuser') . '.',
	  $call->{procedure} ? 'A procedure: use `CALL`.' : 'Result: ' . result_of($call) . '.', $volatility{ $call->{volatility} },
	  $call->{volatility} eq 'i' && $call->{parallel} ? 'Parallel safe.' : ();
	push @parts, table([ 'argument', 'type', 'default', 'meaning' ],
		map { [ "`$_->{name}`", type($_->{type}), defined $_->{default} ? as_code($_->{default}) : 'required', meaning_of($call->{name}, $_->{name}) ] } inputs($call))
	  if inputs($call);
	push @parts, table([ 'result column', 'type', 'meaning' ], map { [ "`$_->{name}`", type($_->{type}), meaning_of($call->{name}, $_->{name}) ] } @out) if @out;
	return @parts;
}

my $intro = 'Arguments with a default may be left out and are passed by name (`entity => \'acme\'`). '
  . 'The right is the least kind of access that a caller needs; see [rights](README.md#rights).';

my @calls = grep { !$_->{trigger} } routines('billing');

for my $group (by_module('routine', 'billing', @calls))
{
	my ($module, @members) = @$group;

	write_page("calls-$module", "Calls of $module: " . title_of($module), $intro,
		"Rules: [src/$module/README.md](../../src/$module/README.md). Contents: " . join(', ', map { "[$_->{name}](#$_->{name})" } @members) . '.',
		map { describe_call($_) } @members);
	push @index, map { [ $_->{name}, 'call', "calls-$module.md#$_->{name}", $_->{comment}, $_->{access} // 'superuser' ] } @members;
}

# Tables and views

sub describe_relation
{
	my ($relation) = @_;
	my @parts = ("## $relation->{name}", sentence($relation->{comment}));
	my %kind = (p => 'primary key', u => 'unique', f => 'foreign key', c => 'check');
	my @rules = map { [ "`$_->{name}`", $kind{ $_->{type} }, as_code($_->{text}) ] } @{ $relation->{constraints} };

	if ($relation->{view})
	{
		return @parts, table([ 'column', 'type', 'meaning' ], map { [ "`$_->{name}`", type($_->{type}), $_->{comment} ] } @{ $relation->{columns} });
	}
	push @parts, table([ 'column', 'type', 'null', 'default', 'meaning' ],
		map { [ "`$_->{name}`", type($_->{type}), $_->{required} ? 'no' : 'yes', as_code($_->{default}), $_->{comment} ] } @{ $relation->{columns} });
	push @rules, map { [ "`$_->{name}`", 'index', as_code($_->{text} =~ s/^CREATE (UNIQUE )?INDEX \S+ ON \S+ /$1 \/\/ ''/er) ] } @{ $relation->{indexes} };
	push @rules, map { [ "`$_->{name}`", 'trigger', $_->{text} ] } @{ $relation->{triggers} };
	push @parts, table([ 'name', 'kind', 'rule' ], @rules);
	return @parts;
}

my @relations = grep { defined module_of('relation', "billing.$_->{name}") } relations();

for my $group (by_module('relation', 'billing', grep { !$_->{view} } @relations))
{
	my ($module, @members) = @$group;

	write_page("tables-$module", "Tables of $module: " . title_of($module),
		"![Tables of $module and what they refer to](../pictures/tables-$module.svg)",
		'Contents: ' . join(', ', map { "[$_->{name}](#$_->{name})" } @members) . '.',
		map { describe_relation($_) } @members);
	push @index, map { [ $_->{name}, 'table', "tables-$module.md#$_->{name}", $_->{comment}, 'reader' ] } @members;
}

my @views = grep { $_->{view} } @relations;

write_page('views', 'Views', 'Views read the books as they are at the moment of the query. Every amount stands beside its currency.',
	map { describe_relation($_) } @views);
push @index, map { [ $_->{name}, 'view', "views.md#$_->{name}", $_->{comment}, 'reader' ] } @views;

# Settings

my %context = (
	user => 'any role, also in a session or for a role or database (`SET`, `ALTER ROLE ... SET`)',
	superuser => 'superusers, also in a session or for a role or database',
	sighup => '`postgresql.conf` or `ALTER SYSTEM`, with a reload',
	postmaster => '`postgresql.conf` or `ALTER SYSTEM`, with a restart');

sub describe_setting
{
	my ($setting) = @_;
	my $unit = $setting->{unit} ? " $setting->{unit}" : '';
	my @facts = ([ 'type', $setting->{type} ], [ 'default', "`$setting->{value}`$unit" ]);

	push @facts, [ 'range', "$setting->{least} to $setting->{most}$unit" ] if defined $setting->{least};
	push @facts, [ 'set by', $context{ $setting->{context} } // die "setting of context $setting->{context}\n" ];
	return ("## $setting->{name}", join(' ', grep { defined } $setting->{comment}, $setting->{more}), table([ 'fact', 'value' ], @facts));
}

my @settings = settings();

write_page('settings', 'Settings', 'A number without a unit is in the unit of its default; with one it may be written as `10s`, `5min` or `1d`.',
	map { describe_setting($_) } @settings);

# Errors

my %class = (0 => 'Books', 1 => 'Names that do not exist', 2 => 'Values', 3 => 'Subscriptions and usage', 4 => 'Documents and runs', 5 => 'Money');
my %errors;

push @{ $errors{ substr $_->{code}, 2, 1 } }, $_ for errors();
write_page('errors', 'Errors',
	'Programs should go by the SQLSTATE, never by the message. Bad input changes nothing. `billing.error_code` holds these rows; '
	  . 'in PL/pgSQL they are caught as `WHEN SQLSTATE \'LB107\'`. Codes of the server that calls raise too, and which of all pass when '
	  . 'the transaction is tried again, are in [README.md](../../README.md#errors).',
	map {
		("## " . ($class{$_} // die "error codes LB$_..: no heading\n"),
			table([ 'SQLSTATE', 'name', 'what happened', 'what to do' ], map { [ "`$_->{code}`", "`$_->{name}`", $_->{meaning}, $_->{action} ] } @{ $errors{$_} }))
	} sort keys %errors);

# Events

sub list_of { return join ', ', map { "`$_`" } @{ $_[0] } }

write_page('events', 'Types of events',
	'What happens is a row of [`billing.event`](tables-event.md#event), read with [`billing.read_events()`](calls-event.md#read_events); `billing.event_type` holds this table. '
	  . 'Every event has `account_id`, `event_no` and `occurred_at`; the other ids may be filled as told here. Amounts in the payload are strings, instants are in UTC; '
	  . 'a key that has no value is null or left out. `billing.check()` finds events that carry anything else.',
	table([ 'type', 'when', 'ids', 'keys of the payload' ], map { [ "`$_->{type}`", $_->{meaning}, list_of($_->{ids}), list_of($_->{payload_keys}) ] } event_types()));

# Helpers

write_page('helpers', 'Helpers in billing_internal',
	'Functions behind the calls, views and triggers. Applications do not call them and may not; they are listed for whoever reads the source or the context of an error.',
	map {
		my ($module, @members) = @$_;
		("## $module", table([ 'function', 'does' ],
				map { [ '`' . $_->{name} . '(' . join(', ', grep { $_ ne '' } map { $_->{name} } inputs($_)) . ')`', $_->{comment} ] } @members))
	} by_module('routine', 'billing_internal', routines('billing_internal')));

# Index

sub links
{
	my ($pattern, $word) = @_;

	return table([ 'page', 'holds' ], map { [ "[$_]($word-$_.md)", title_of($_) ] } grep { -e "$folder/$word-$_.md" } modules());
}

write_page('README', 'Reference',
	'Every call, table, view, setting and error, as they are in the database.',
	'## Rights',
	'Rights are kinds of access that `billing.grant_access()` gives, each including those before it: reader, application, operator, administrator. '
	  . 'Superusers and the owner of the books have all of them. Tables and views are read with the kind reader.',
	'## Pages',
	table([ 'page', 'holds' ], [ '[views](views.md)', 'views for people and reporting tools' ], [ '[settings](settings.md)', 'settings of the server' ],
		[ '[errors](errors.md)', 'SQLSTATEs of class LB' ],
		[ '[events](events.md)', 'types of events, and what they carry' ], [ '[helpers](helpers.md)', 'functions behind the calls' ]),
	'## Calls by module', links('calls', 'calls'), '## Tables by module', links('tables', 'tables'),
	'## All names',
	table([ 'name', 'kind', 'right', 'what it is' ], map { [ "[$_->[0]]($_->[2])", $_->[1], $_->[4], $_->[3] ] } sort { $a->[0] cmp $b->[0] || $a->[1] cmp $b->[1] } @index));

my @stale = grep { !$used{$_} } sort keys %$meaning;

die "doc/bin/arguments.txt: no call has these: @stale\n" if @stale;
