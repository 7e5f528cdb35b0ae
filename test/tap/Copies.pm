# Helpers of the TAP tests of copies: books as text, so that two can be compared, and dumps of old versions.

package Copies;

use strict;
use warnings FATAL => 'all';

use Billing;
use Exporter 'import';
use File::Basename qw(dirname);
use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(sorted_rows catalog_of books_of same_books copy_roles released_versions released_file load_sql bills_on);

# Everything in or about the schemas.
my $relations = q{(SELECT oid FROM pg_class WHERE relnamespace = 'billing'::regnamespace)};
my $routines = q{pg_proc WHERE pronamespace IN ('billing'::regnamespace, 'billing_internal'::regnamespace)};
my %catalog = (
	columns => qq{SELECT attrelid::regclass, row_number() OVER (PARTITION BY attrelid ORDER BY attnum) AS position, attname, format_type(atttypid, atttypmod),
			attnotnull, attidentity, pg_get_expr(adbin, adrelid)
		FROM pg_attribute a LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE attrelid IN $relations AND attnum > 0 AND NOT attisdropped},
	indexes => q{SELECT indexdef FROM pg_indexes WHERE schemaname = 'billing'},
	constraints => q{SELECT conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'billing'::regnamespace},
	triggers => qq{SELECT tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid IN $relations AND NOT tgisinternal},
	views => q{SELECT viewname, viewowner, definition FROM pg_views WHERE schemaname = 'billing'},
	policies => q{SELECT tablename, policyname, roles, qual FROM pg_policies WHERE schemaname = 'billing'},
	relations => q{SELECT relname, relkind, relowner::regrole, reloptions, relrowsecurity, (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(relacl) x)
		FROM pg_class WHERE relnamespace = 'billing'::regnamespace},
	column_privileges => qq{SELECT attrelid::regclass, attname, attacl FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid IN $relations},
	routines => qq{SELECT oid::regprocedure, proowner::regrole, md5(pg_get_functiondef(oid)), obj_description(oid, 'pg_proc'),
			(SELECT array_agg(x::text ORDER BY x::text) FROM unnest(proacl) x) FROM $routines},
	# what the extension itself granted is not dumped
	initial_privileges => qq{SELECT oid::regprocedure, (SELECT array_agg(x::text ORDER BY x::text) FROM pg_init_privs i, unnest(initprivs) x
			WHERE i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid) FROM $routines} =~ s/pg_proc WHERE/pg_proc p WHERE/r,
	schemas => q{SELECT nspname, nspowner::regrole, obj_description(oid, 'pg_namespace'), (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(nspacl) x)
		FROM pg_namespace WHERE nspname LIKE 'billing%'},
	members => q{SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
		WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'billing')},
	others => q{SELECT extname, extversion, (SELECT count(*) FROM pg_operator WHERE oprnamespace = 'billing'::regnamespace) FROM pg_extension WHERE extname = 'billing'},
	comments => qq{SELECT objoid::regclass, objsubid, description FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid IN $relations});
my $sequences = q{SELECT sequencename, start_value, increment_by, max_value, last_value FROM pg_sequences WHERE schemaname = 'billing'};

sub sorted_rows
{
	my ($node, $db, $query) = @_;

	return $node->safe_psql($db, "SELECT x::text COLLATE \"C\" FROM ($query) x ORDER BY 1");
}

# The catalog's view of engine and books.
sub catalog_of
{
	my ($node, $db) = @_;

	return { map { $_ => sorted_rows($node, $db, $catalog{$_}) } keys %catalog };
}

# That, and the rows of every table; all must be the same in a copy.
sub books_of
{
	my ($node, $db) = @_;
	my $books = catalog_of($node, $db);

	$books->{sequences} = sorted_rows($node, $db, $sequences);
	for my $table (split /\n/, $node->safe_psql($db, q{SELECT relname FROM pg_class
			WHERE relnamespace = 'billing'::regnamespace AND relkind IN ('r', 'p')}))
	{
		$books->{"rows of $table"} = sorted_rows($node, $db, "SELECT * FROM billing.$table");
	}
	return $books;
}

# Compares all parts that are expected, and shows the lines that differ.
sub same_books
{
	my ($node, $db, $expected, $name) = @_;
	my $found = (grep { /^rows of/ } keys %$expected) ? books_of($node, $db) : catalog_of($node, $db);

	for my $part (grep { ($found->{$_} // '') ne $expected->{$_} } sort keys %$expected)
	{
		my %known = map { $_ => 1 } split /\n/, $expected->{$part};

		is(join("\n", grep { !delete $known{$_} } split /\n/, $found->{$part} // ''), join("\n", sort keys %known), "$name: $part");
	}
	is_deeply($found, $expected, "$name: nothing differs");
	return;
}

# The roles of a cluster in another one, whose superuser is there already.
sub copy_roles
{
	my ($from, $to) = @_;
	my $user = $to->safe_psql('postgres', 'SELECT current_user');
	my ($roles, $stderr) = run_command([ 'pg_dumpall', '-r', '--no-role-passwords', '-d', $from->connstr('postgres') ]);

	$roles =~ s/^CREATE ROLE $user;$//m;
	$to->safe_psql('postgres', $roles);
	return;
}

# The released versions whose scripts and books are kept.
sub released_versions
{
	return map { m{([^/]+)/story\.sql$} } glob(dirname(__FILE__) . '/../released/*/story.sql');
}

# A file of a released version, unpacked.
sub released_file
{
	my ($version, $name) = @_;
	my $file = dirname(__FILE__) . "/../released/$version/$name";
	my $text;

	return slurp_file($file) if -e $file;
	gunzip("$file.gz" => \$text) or die "cannot read $file.gz: $GunzipError";
	return $text;
}

# Feeds SQL to psql, also with COPY's data; returns what it complains about.
sub load_sql
{
	my ($node, $db, $sql, %options) = @_;
	my $stderr;

	IPC::Run::run([ 'psql', '-XqAt', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=' . ($options{go_on} ? 0 : 1), '-d', $node->connstr($db) ],
		'<', \$sql, '2>', \$stderr);
	return $stderr;
}

# A copy refuses to bill until it is adopted; then it makes the documents that the original makes, and is sound.
sub bills_on
{
	my ($node, $db, $run, $documents, $name) = @_;

	is(sqlstate_of($node, $db, $run), 'LB003', "$name: refuses to bill");
	is($node->safe_psql($db, 'SELECT billing.adopt_books()'), '2', "$name: is adopted");
	is(sqlstate_of($node, $db, $run), '', "$name: bills");
	same_documents($node, $db, $documents, "$name: the documents are those of the original");
	sound_books($node, $db, "$name: books are sound");
	return;
}

1;
