# Writes pictures in the language of Graphviz into a folder: the modules (from #include and the SQL of each), all
# tables, the tables of each module with their columns (from the catalog), and the states of dunning cases
# (from the function that says which may follow which).  `make doc` runs it and draws; a test compares.
#
# A solid arrow between tables is a foreign key, a dashed one a key that is shared without one: the engine alone writes
# there, and check() looks instead (doc/design.md).
#
# usage: perl -I doc/bin doc/bin/pictures.pl FOLDER

use strict;
use warnings FATAL => 'all';

use Catalog;

my ($folder) = @ARGV;
my $style = <<'DOT';
	graph [fontname="Helvetica,Arial,sans-serif", fontsize=12, bgcolor="white", pad=0.2, nodesep=0.25, ranksep=0.5];
	node [fontname="Helvetica,Arial,sans-serif", fontsize=10, shape=box, style="filled", fillcolor="#f4f6fa", color="#5b6b8c", margin="0.12,0.06"];
	edge [color="#5b6b8c", arrowsize=0.7];
DOT

sub write_picture
{
	my ($name, $attributes, @lines) = @_;

	open my $file, '>:encoding(UTF-8)', "$folder/$name.dot" or die "$folder/$name.dot: $!\n";
	print {$file} "digraph \"$name\" {\n$style\t$attributes\n", map({ "\t$_\n" } @lines), "}\n";
	close $file or die "$folder/$name.dot: $!\n";
	return;
}

# Modules

my @modules = modules();
my %place = map { $modules[$_] => $_ } 0 .. $#modules;

# usage: used_by(MODULE); the earlier modules that it names: module => 'include' or 'sql'
sub used_by
{
	my ($module) = @_;
	my %used;

	for my $text (map { slurp($_) } source_files($module, 'sql'))
	{
		while ($text =~ /\b(billing(?:_internal)?\.\w+)/g)
		{
			my $home = module_of('relation', $1) // module_of('routine', $1);
			$used{$home} = 'sql' if defined $home && $place{$home} < $place{$module};
		}
	}
	for my $text (map { slurp($_) } source_files($module, 'c', 'h'))
	{
		# the server has a folder "catalog", too
		while ($text =~ /^#include "(\w+)\/(\w+\.h)"/mg)
		{
			$used{$1} = 'include' if $1 ne $module && grep { /\/\Q$2\E$/ } source_files($1, 'h');
		}
	}
	return \%used;
}

my %used = map { $_ => used_by($_) } @modules;
my %reached;

for my $module (@modules)
{
	$reached{$module}{$_} = 1 for map { ($_, keys %{ $reached{$_} }) } keys %{ $used{$module} };
}

# Only the nearest: what a module reaches through another one is not drawn again.
sub nearest
{
	my ($module) = @_;
	my @used = sort { $place{$a} <=> $place{$b} } keys %{ $used{$module} };

	return grep {
		my $one = $_;
		!grep { $_ ne $one && $reached{$_}{$one} } @used
	} @used;
}

sub wrapped
{
	my ($text, $width) = @_;
	my @lines = ('');

	for my $word (split ' ', $text)
	{
		push @lines, '' if length("$lines[-1] $word") > $width;
		$lines[-1] .= ($lines[-1] eq '' ? '' : ' ') . $word;
	}
	return join '\n', @lines;
}

write_picture('modules', 'rankdir=BT; node [style="filled,rounded"];',
	(map { "$_ [label=\"$_\\n" . wrapped(title_of($_), 30) . '"];' } @modules),
	map {
		my $module = $_;
		map { "$module -> $_" . ($used{$module}{$_} eq 'sql' ? ' [style=dashed]' : '') . ';' } nearest($module)
	} @modules);

# Tables

my @tables = grep { !$_->{view} && defined module_of('relation', "billing.$_->{name}") } relations();
my %table = map { $_->{name} => $_ } @tables;

# Tables with the key (account_id, id).
my @scoped = grep { grep { $_->{type} eq 'p' && "@{ $_->{own} }" eq 'account_id id' } @{ $_->{constraints} } } @tables;

# The table that a column such as corrects_invoice_id means; undef where it means none.
sub meant_by
{
	my ($column) = @_;
	my ($words) = $column =~ /^(\w+)_id$/ or return;
	my ($word) = $words =~ /([^_]+)$/;

	return (grep { $_ eq $words || $_ eq $word || /_$word$/ || /^${word}_/ } sort { length $a <=> length $b } map { $_->{name} } @scoped)[0];
}

# Arrows from a table: [target, kind, columns].
sub arrows
{
	my ($from) = @_;
	my @arrows = map { [ $_->{target}, 'foreign', @{ $_->{own} } ] } grep { $_->{type} eq 'f' } @{ $from->{constraints} };
	my %taken = map { $_ => 1 } map { my (undef, undef, @own) = @$_; grep { $_ ne 'account_id' } @own } @arrows;
	my $has_account = grep { $_->{name} eq 'account_id' } @{ $from->{columns} };

	for my $column (map { $_->{name} } grep { $has_account && $_->{name} ne 'account_id' } @{ $from->{columns} })
	{
		my $target = meant_by($column);

		push @arrows, [ $target, 'shared', $column ] if defined $target && !$taken{$column};
	}
	# an account is reached through what belongs to it
	push @arrows, [ 'account', 'shared', 'account_id' ]
	  if $has_account && $from->{name} ne 'account' && !grep { grep { $_->{name} eq 'account_id' } @{ $table{ $_->[0] }{columns} } } @arrows;
	return @arrows;
}

sub edges
{
	my ($from) = @_;
	my (%seen, @lines);

	for my $arrow (arrows($from))
	{
		my $line = "$from->{name} -> $arrow->[0]" . ($arrow->[1] eq 'shared' ? ' [style=dashed]' : '') . ';';

		push @lines, $line if !$seen{$line}++;
	}
	return @lines;
}

# A box with a row for each column: those of the key underlined, those that refer to something in italics, those that
# may be null with a question mark.
sub box
{
	my ($one) = @_;
	my %key = map { $_ => 1 } map { @{ $_->{own} } } grep { $_->{type} eq 'p' } @{ $one->{constraints} };
	my %refers = map { $_ => 1 } map { my (undef, undef, @own) = @$_; @own } arrows($one);
	my @rows;

	for my $column (@{ $one->{columns} })
	{
		my $name = $column->{name};

		$name = "<u>$name</u>" if $key{$name};
		$name = "<i>$name</i>" if $refers{ $column->{name} };
		push @rows, sprintf '<tr><td align="left">%s%s  </td><td align="left"><font color="#707070">%s</font></td></tr>', $name,
		  $column->{required} ? '' : '?', $column->{type} =~ s/timestamp with time zone/timestamptz/r;
	}
	return "$one->{name} [shape=plain, label=<<table border=\"1\" cellborder=\"0\" cellspacing=\"0\" cellpadding=\"2\" color=\"#5b6b8c\" bgcolor=\"white\">"
	  . "<tr><td colspan=\"2\" bgcolor=\"#dfe6f3\"><b>&#160;$one->{name}&#160;</b></td></tr>" . join('', @rows) . '</table>>];';
}

my %members;

push @{ $members{ module_of('relation', "billing.$_->{name}") } }, $_ for @tables;
write_picture('tables', 'rankdir=RL; graph [ranksep=0.9];',
	(map {
		my $module = $_;
		$members{$module}
		  ? ("subgraph cluster_$module {", "\tlabel=\"$module\"; style=\"rounded\"; color=\"#b8c2d6\"; fontcolor=\"#5b6b8c\";",
			(map { "\t$_->{name};" } @{ $members{$module} }), '}')
		  : ()
	} @modules),
	map { edges($_) } @tables);

for my $module (grep { $members{$_} } @modules)
{
	my %own = map { $_->{name} => 1 } @{ $members{$module} };
	my %far = map { $_->[0] => 1 } grep { !$own{ $_->[0] } } map { arrows($_) } @{ $members{$module} };

	write_picture("tables-$module", 'rankdir=RL;', (map { box($_) } @{ $members{$module} }),
		(map { "$_ [label=\"$_\\n(" . module_of('relation', "billing.$_") . ')", fontcolor="#707070"];' } sort keys %far),
		map { edges($_) } @{ $members{$module} });
}

# States of dunning cases: one arrow with two heads where two may follow each other; pale where most lead to one.

my (%may, %into, @steps);

for my $step (transitions('case_transitions'))
{
	$may{ $step->{from} }{ $step->{to} } = 1;
	$into{ $step->{to} }++;
}
for my $from (sort keys %may)
{
	for my $to (sort keys %{ $may{$from} })
	{
		my $back = $may{$to} && $may{$to}{$from};

		push @steps, "$from -> $to" . ($back ? ' [dir=both]' : $into{$to} > 4 ? ' [color="#c3cbdc"]' : '') . ';' if !$back || $from lt $to;
	}
}
write_picture('states-case', 'rankdir=LR;', (map { "$_ [style=\"filled,rounded\", label=\"" . tr/_/ /r . '"];' } sort keys %into), @steps);
