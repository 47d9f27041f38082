
# docs/reference.md is compared with the system catalogs, and
# docs/troubleshooting.md with the messages in the source, in both directions:
# everything that exists is documented, and everything that is documented exists.
# And every object has a comment.
#
# In reference.md, a function is its name and arguments in one code span, an
# arrow, and the type of its result, or "procedure", or "rows" if it has columns,
# which the next table lists.  The table after a view, a table or a composite type
# lists its columns, too.
# Troubleshooting.md has messages in code spans at the beginning of a table's rows,
# with an ellipsis for each part that varies.
#
# Seen to fail: when a function that walredo_wal_records() is made of had a name
# without an underscore.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/..";

my $node = PostgreSQL::Test::Cluster->new('catalogue');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION walredo');

# Members of the extension, by catalog.  Since PostgreSQL 17 the types that
# come with others are among them: those of arrays, and of the rows of views.
my $members = q{
	SELECT classid, objid FROM pg_depend
	WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
		AND refobjid = (SELECT oid FROM pg_extension
			WHERE extname = 'walredo')
		AND NOT (classid = 'pg_type'::regclass AND objid IN (
			SELECT t.oid FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
			WHERE t.typcategory = 'A' OR c.relkind <> 'c'))};

sub rows
{
	my ($sql) = @_;

	return split /\n/, $node->safe_psql('postgres', $sql);
}

sub same_lists
{
	my ($documented, $real, $what) = @_;
	my %documented = map { $_ => 1 } @$documented;
	my %real = map { $_ => 1 } @$real;
	my @missing = grep { !$documented{$_} } sort keys %real;
	my @invented = grep { !$real{$_} } sort keys %documented;

	cmp_ok(scalar(@$real), '>', 0, "there are $what");
	is(join("\n", @missing), '', "all $what are documented");
	is(join("\n", @invented), '', "all documented $what exist");
	is( scalar(keys %documented),
		scalar(@$documented),
		"$what are documented once");
	return;
}

# The server's names of types that have a shorter one.
my %long_names = (
	bool => 'boolean',
	float8 => 'double precision',
	int4 => 'integer',
	int8 => 'bigint',
	timestamptz => 'timestamp with time zone');
my $short_names = join '|', keys %long_names;

sub long_names
{
	my ($text) = @_;

	# An argument may have the name of a type, but not as its last word.
	$text =~ s/\b($short_names)\b(?=\[\]|,|\)| DEFAULT|$)/$long_names{$1}/g;
	return $text;
}

#
# What reference.md has
#

my (@functions, @types, @views, @columns, @operators, @classes, @settings);
my $columns_of;
my $in_columns = 0;

foreach my $line (split /\n/, slurp_file("$top/docs/reference.md"))
{
	if ($line =~ /`(_?walredo_\w+)\(([^`]*)\)`(?:\*\*)? → (.*?)(?: \||$)/)
	{
		my ($name, $arguments, $result) = ($1, $2, $3);

		$result =~ s/^`(.*)`$/$1/;
		$result =~ s/^rows$/SETOF record/;
		$result =~ s/^the columns of .*/record/;
		push @functions,
		  long_names("$name($arguments)") . ' ' . long_names($result);
		$columns_of = $name;
	}
	elsif ($line =~ /^\*\*(type|view|table) `(\w+)`\*\*$/)
	{
		push @types, $2 if $1 eq 'type';
		push @views, $2 if $1 eq 'view';
		$columns_of = $2;
	}
	elsif ($line eq '| column | type | |')
	{
		$in_columns = 1;
	}
	elsif ($line !~ /^\|/)
	{
		$in_columns = 0;
	}
	elsif ($in_columns && $line =~ /^\| `(\w+)` \| `([^`]+)` \|/)
	{
		push @columns, "$columns_of.$1 " . long_names($2);
	}
	elsif ($line =~ /^\| `(walredo_\w+ [<=>]+ walredo_\w+)` \|/)
	{
		push @operators, $1;
	}
	elsif ($line =~ /^\| `(walredo_\w+)` \| `(\w+)` \| `(\w+)`(, by default)? \|/)
	{
		push @classes, "$1 $2 $3 " . ($4 ? 't' : 'f');
	}
	elsif ($line =~
		/^\| `(walredo\.\w+)` \| (?:`(\w+)` )?\| (?:`(\d+)` to `(\d+)`(?: (\w+))?)? ?\| `(\w+)` \|/
	  )
	{
		push @settings, join ' ', $1, $2 // '', $3 // '', $4 // '', $5 // '', $6;
	}
}

#
# The catalogs
#

same_lists(
	\@functions,
	[
		rows(
			qq{
	SELECT p.proname || '(' ||
		coalesce((SELECT string_agg(regexp_replace(regexp_replace(
				replace(a, '"', ''), '^IN ', ''), '::[a-z_]+(\\[\\])?\$', ''), ', ' ORDER BY i)
			FROM unnest(string_to_array(pg_get_function_arguments(p.oid), ', '))
				WITH ORDINALITY AS arguments (a, i)
			WHERE a !~ '^OUT '), '') || ') ' || coalesce(pg_get_function_result(p.oid), 'procedure')
	FROM pg_proc p JOIN ($members) m
		ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid})
	],
	'functions');
same_lists(
	\@types,
	[
		rows(
			qq{
	SELECT t.typname FROM pg_type t JOIN ($members) m
		ON m.classid = 'pg_type'::regclass AND m.objid = t.oid})
	],
	'types');
same_lists(
	\@views,
	[
		rows(
			qq{
	SELECT c.relname FROM pg_class c JOIN ($members) m
		ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
	WHERE c.relkind = 'v'})
	],
	'views');

# The one function whose columns are said to be another's.
same_lists(
	\@columns,
	[
		rows(
			qq{
	SELECT p.proname || '.' || a.name || ' ' || format_type(a.type, NULL)
	FROM pg_proc p JOIN ($members) m
		ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid,
		unnest(p.proargnames, p.proargmodes, p.proallargtypes)
			AS a (name, mode, type)
	WHERE a.mode = 'o' AND p.proname <> '_walredo_get_stat'
	UNION ALL
	SELECT c.relname || '.' || a.attname || ' ' ||
		format_type(a.atttypid, a.atttypmod)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		LEFT JOIN pg_type t ON t.typrelid = c.oid
	WHERE a.attnum > 0
		AND (('pg_class'::regclass, c.oid) IN ($members)
			OR ('pg_type'::regclass, t.oid) IN ($members))})
	],
	'columns');
is_deeply(
	[
		rows(
			q{SELECT proargnames FROM pg_proc WHERE proname = '_walredo_get_stat'}
		)
	],
	[
		rows(
			q{SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
			WHERE attrelid = 'walredo_stat'::regclass AND attnum > 0})
	],
	'_walredo_get_stat() has the columns of walredo_stat');
same_lists(
	\@operators,
	[
		rows(
			qq{
	SELECT format_type(o.oprleft, NULL) || ' ' || o.oprname || ' ' ||
		format_type(o.oprright, NULL)
	FROM pg_operator o JOIN ($members) m
		ON m.classid = 'pg_operator'::regclass AND m.objid = o.oid})
	],
	'operators');
same_lists(
	\@classes,
	[
		rows(
			qq{
	SELECT c.opcname || ' ' || a.amname || ' ' ||
		format_type(c.opcintype, NULL) || ' ' ||
		CASE WHEN c.opcdefault THEN 't' ELSE 'f' END
	FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod JOIN ($members) m
		ON m.classid = 'pg_opclass'::regclass AND m.objid = c.oid})
	],
	'operator classes');
same_lists(
	\@settings,
	[
		rows(
			q{
	LOAD 'walredo';
	SELECT name || ' ' || current_setting(name) || ' ' ||
		coalesce(min_val, '') || ' ' || coalesce(max_val, '') || ' ' ||
		coalesce(unit, '') || ' ' || context
	FROM pg_settings WHERE name LIKE 'walredo.%'})
	],
	'settings');

is( join(
		"\n",
		rows(
			qq{
	SELECT DISTINCT classid::regclass FROM ($members) m
	WHERE classid NOT IN ('pg_class'::regclass, 'pg_opclass'::regclass,
		'pg_operator'::regclass, 'pg_opfamily'::regclass, 'pg_proc'::regclass,
		'pg_type'::regclass)})),
	'',
	'there are no objects of other kinds');

is( join(
		"\n",
		rows(
			qq{
	SELECT pg_describe_object(classid, objid, 0) FROM ($members) m
	WHERE obj_description(objid, classid::regclass::text) IS NULL})),
	'',
	'everything has a comment');
is( join(
		"\n",
		rows(
			qq{
	SELECT p.oid::regprocedure FROM pg_proc p JOIN ($members) m
		ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	WHERE has_function_privilege('public', p.oid, 'EXECUTE')})),
	'',
	'PUBLIC may execute nothing');

# "\df walredo*" shows the functions that users call: a function that a type, an
# operator, an operator class, a view or another function depends on has a name
# that begins with an underscore, and no other has.
is( join(
		"\n",
		rows(
			qq{
	SELECT p.oid::regprocedure FROM pg_proc p JOIN ($members) m
		ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	WHERE (p.proname LIKE '\\_%') <> EXISTS (SELECT FROM pg_depend d
		WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid)})),
	'',
	'functions that other objects depend on have names with an underscore');

# Who may call what.
my ($privileges) = slurp_file("$top/docs/reference.md") =~
  /^## Privileges$(.*?)^## /ms;
my @granted;
while ($privileges =~ /^\| `(pg_\w+)` \| (.*) \|$/mg)
{
	my ($role, $names) = ($1, $2);

	push @granted, map { "$role $_" } $names =~ /`(\w+)`/g;
}
same_lists(
	\@granted,
	[
		rows(
			qq{
	SELECT DISTINCT r.rolname || ' ' || p.proname
	FROM pg_proc p JOIN ($members) m
			ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid,
		aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
	WHERE r.oid <> p.proowner})
	],
	'privileges');

$node->stop;

#
# Messages
#

# Messages with their formats replaced.  A format string may be in pieces.
sub message_of
{
	my ($literals) = @_;
	my $message = join '', $literals =~ /"((?:[^"\\]|\\.)*)"/g;

	$message =~ s/" *UINT64_FORMAT *"/%u/g;
	$message =~ s/\\"/"/g;
	$message =~ s{%X/%X}{…}g;
	$message =~ s{%[-+ 0-9.*]*(?:hh|h|ll|l|z)?[a-zA-Z]}{…}g;
	$message =~ s{…/?…}{…}g;
	return $message;
}

my @messages;
foreach my $file (glob "$top/src/*.[ch] $top/src/*/*.[ch]")
{
	my $source = slurp_file($file);

	while ($source =~ /\berrmsg\(\s*("(?:[^"\\]|\\.)*"(?:\s*"(?:[^"\\]|\\.)*")*)/g)
	{
		push @messages, message_of($1);
	}

	# See report_failure() of pool/request.c.
	while ($source =~ /\bmessage = ("(?:[^"\\]|\\.)*");/g)
	{
		push @messages, message_of($1);
	}
}
my %messages = map { $_ => 1 } @messages;

my @explained = slurp_file("$top/docs/troubleshooting.md") =~ /^\| `([^`]+)` \|/mg;
same_lists(\@explained, [ keys %messages ], 'messages');

done_testing();
