# What the reference and the pictures are drawn from: the server's catalog and the folders of src.
#
#   my @calls = routines('billing');       # of the database that PGHOST, PGDATABASE ... name
#   my $module = module_of('routine', 'billing.create_price');

package Catalog;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use JSON::PP;

our @EXPORT = qw(routines relations settings errors event_types transitions modules module_of title_of source_files slurp arguments);

my $source = dirname(__FILE__) . '/../..';

sub slurp
{
	my ($file) = @_;

	open my $handle, '<:encoding(UTF-8)', $file or die "$file: $!\n";
	local $/ = undef;
	return scalar <$handle>;
}

# Rows of a query as hashes; texts are characters, whatever the server's encoding.
sub rows
{
	my ($query) = @_;
	my $prelude = "SET client_encoding = 'UTF8'; SET search_path = ''; SET intervalstyle = 'postgres'; SET datestyle = 'ISO';";

	local $ENV{PGOPTIONS} = '';
	open my $psql, '-|:raw', 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-c', $prelude, '-c', "LOAD 'billing'",
	  '-c', "SELECT row_to_json(x) FROM ($query) x"
	  or die "psql: $!\n";
	my @rows = map { JSON::PP->new->utf8->decode($_) } <$psql>;
	close $psql or die "psql failed\n";
	return @rows;
}

# Functions and procedures of a schema by name: arguments (name, type, default), columns of the result,
# least kind of access.
sub routines
{
	my ($schema) = @_;

	return rows(qq{
		SELECT p.proname AS name, obj_description(p.oid, 'pg_proc') AS comment, p.prokind = 'p' AS procedure,
		       p.prorettype = 'trigger'::regtype AS trigger, p.provolatile AS volatility, p.proparallel = 's' AS parallel,
		       p.proretset AS many, format_type(p.prorettype, NULL) AS result,
		       (SELECT k FROM unnest('{reader,application,operator,administrator}'::text[]) WITH ORDINALITY AS x (k, n)
		         WHERE p.oid::regprocedure IN (SELECT billing_internal.access_routines(k)) ORDER BY n LIMIT 1) AS access,
		       coalesce((SELECT json_agg(json_build_object('name', coalesce(p.proargnames[i], ''), 'mode', coalesce(p.proargmodes[i]::text, 'i'),
		                   'type', format_type(t, NULL), 'default', CASE WHEN i <= p.pronargs THEN pg_get_function_arg_default(p.oid, i::int) END) ORDER BY i)
		                   FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY a (t, i)), '[]') AS arguments
		  FROM pg_proc p WHERE p.pronamespace = '$schema'::regnamespace
		 ORDER BY p.proname COLLATE "C"});
}

# Tables and views of the books by name: columns, constraints, indexes that are none, triggers.
sub relations
{
	return rows(q{
		SELECT c.relname AS name, obj_description(c.oid, 'pg_class') AS comment, c.relkind = 'v' AS view,
		       (SELECT json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'required', a.attnotnull,
		                   'default', coalesce(pg_get_expr(d.adbin, d.adrelid), CASE WHEN a.attidentity <> '' THEN 'identity' END),
		                   'comment', col_description(c.oid, a.attnum)) ORDER BY a.attnum)
		          FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
		       coalesce((SELECT json_agg(json_build_object('name', k.conname, 'type', k.contype, 'text', pg_get_constraintdef(k.oid),
		                   'target', (SELECT relname FROM pg_class WHERE oid = k.confrelid), 'own', names.own) ORDER BY k.conname COLLATE "C")
		          FROM pg_constraint k
		         CROSS JOIN LATERAL (SELECT json_agg(a.attname ORDER BY n) AS own FROM unnest(k.conkey) WITH ORDINALITY x (attnum, n)
		                               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.attnum) names
		         WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'f', 'c')), '[]') AS constraints,
		       coalesce((SELECT json_agg(json_build_object('name', i.relname, 'text', pg_get_indexdef(i.oid)) ORDER BY i.relname COLLATE "C")
		          FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
		         WHERE x.indrelid = c.oid AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u'))), '[]') AS indexes,
		       coalesce((SELECT json_agg(json_build_object('name', t.tgname, 'text', obj_description(t.tgfoid, 'pg_proc')) ORDER BY t.tgname COLLATE "C")
		          FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal), '[]') AS triggers
		  FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'p', 'v')
		 ORDER BY c.relname COLLATE "C"});
}

sub settings
{
	return rows(q{SELECT name, vartype AS type, unit, boot_val AS value, context, min_val AS least, max_val AS most, short_desc AS comment, extra_desc AS more
	                FROM pg_settings WHERE name LIKE 'billing.%' ORDER BY name COLLATE "C"});
}

sub errors
{
	return rows(q{SELECT code, name, meaning, action FROM billing.error_code ORDER BY code COLLATE "C"});
}

sub event_types
{
	return rows(q{SELECT type, meaning, ids, payload_keys FROM billing.event_type ORDER BY type COLLATE "C"});
}

# Which state may follow which, by the function that says so.
sub transitions
{
	my ($function) = @_;

	return rows(qq{SELECT from_state AS "from", unnest(to_states) AS "to" FROM billing_internal.$function()});
}

# Modules in the order in which they may know each other.
sub modules
{
	my ($list) = slurp("$source/Makefile") =~ /^MODULES_ORDER = (.*)$/m;

	return split ' ', $list;
}

# Files of a module, with the tree's path, sorted.
sub source_files
{
	my ($module, @kinds) = @_;

	return sort map { glob "$source/src/$module/*.$_" } @kinds;
}

my %home;

# The module whose SQL makes a routine or a relation, named with its schema; undef for what is not ours.
sub module_of
{
	my ($kind, $name) = @_;

	if (!%home)
	{
		for my $module (modules())
		{
			for my $text (map { slurp($_) } source_files($module, 'sql'))
			{
				$home{routine}{$1} = $module while $text =~ /^CREATE (?:FUNCTION|PROCEDURE) (billing(?:_internal)?\.\w+)/mg;
				$home{relation}{$1} = $module while $text =~ /^CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (billing\.\w+)/mg;
			}
		}
		# assembled from files of all modules
		my $assembled = slurp("$source/src/install/assemble.sh");
		$home{routine}{$1} = 'lib' while $assembled =~ /^\t?CREATE FUNCTION (billing_internal\.\w+)/mg;
	}
	return $home{$kind}{$name};
}

# "what is sold" for "# catalog: what is sold"
sub title_of
{
	my ($module) = @_;
	my ($title) = slurp("$source/src/$module/README.md") =~ /^# \w+: (.*)/;

	return $title // die "src/$module/README.md: the first line is not '# $module: what it is'\n";
}

# Meanings of arguments and of result columns: "name: text", or "call.name: text" where a call means something of
# its own.  Continued lines are indented.
sub arguments
{
	my $text = slurp(dirname(__FILE__) . '/arguments.txt');

	$text =~ s/^#.*\n//mg;
	$text =~ s/\n[ \t]+/ /g;
	return { map { /^([\w.]+): (.+)$/ ? ($1 => $2) : die "arguments.txt: what is \"$_\"?\n" } grep { /\S/ } split /\n/, $text };
}

1;
