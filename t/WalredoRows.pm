package WalredoRows;

# Tables of all sorts, and several sessions that change them at random, for tests
# of what rows there were.
#
# A single process takes all steps, one after another, and waits for the end of
# each.  So between two steps, whatever the sessions have under way, each
# transaction has either committed and can be seen, or has not written a commit
# record.  What a session sees there is what had committed at the LSN.
#
# A session that would have to wait for another one fails instead, by its
# lock_timeout.  Errors are part of the workload, but only the kinds that are
# listed here.
#
# Offers, none of them exported:
#	create		makes the tables
#	new			a workload: opens the sessions
#	step		lets one of the sessions take one step
#	locked		what was noted of a relation before it was locked
#	has_old		is there a transaction of before the last checkpoint?
#	finish		ends all that is under way
#	untyped		base types for which there is no value here
#
# The choices that it makes are those of rand(), so srand() repeats them.

use strict;
use warnings;

# How many sessions there are, and the length of the longest list of prepared
# transactions.
my $nsessions = 5;
my $max_prepared = 3;

# The errors that are expected.
my %expected_error = (
	'22001' => 'a column gets a type that is too short',
	'22003' => 'a column has a smaller type, or gets one',
	'23502' => 'a column without NULLs',
	'23503' => 'the key is referenced, or not there',
	'23505' => 'the key is there',
	'23514' => 'no partition has room for the row',
	'25001' => 'not in a transaction',
	'25P02' => 'the transaction has failed',
	'40001' => 'could not serialize',
	'40P01' => 'deadlock',
	'42701' => 'the column is there already',
	'42703' => 'the column is not there',
	'42704' => 'the object is not there',
	'42809' => 'the relation is of another kind',
	'42P01' => 'the table is not there',
	'42P07' => 'the table is there already',
	'55000' => 'not in the state for this',
	'55006' => 'in use',
	'55P03' => 'lock timeout',
	'55P04' => 'the label is not committed',
	'0A000' => 'cannot be prepared');

#
# Values
#

# SQL for a value of each base type, which depends on an integer G from 0 up.
# What names an object names one of those that the server has been made with.
my %base = (
	'"char"' => 'chr(33 + G % 90)::"char"',
	'aclitem' => q{makeaclitem(10, 10, 'SELECT', G % 2 = 0)},
	'bigint' => 'G * 4294967311::int8',
	'bit' => '(G % 256)::bit(8)',
	'bit varying' => q{left((G % 65536)::bit(16)::text, G % 17)::varbit},
	'boolean' => 'G % 2 = 0',
	'box' => 'box(point(G, 1), point(2, G))',
	'bytea' => q{decode(repeat(md5((G)::text), G % 4), 'hex')},
	'character' => 'left(md5((G)::text), G % 9)::bpchar',
	'character varying' => 'left(md5((G)::text), G % 9)',
	'cid' => '(G)::text::cid',
	'cidr' => q{network(set_masklen(inet '10.0.0.0' + G, 8 + G % 24))},
	'circle' => 'circle(point(G, 2), G % 10)',
	'date' =>
	  q{CASE G % 11 WHEN 0 THEN 'infinity' ELSE date '1990-01-01' + G % 20000 END},
	'double precision' =>
	  q{CASE G % 11 WHEN 0 THEN 'NaN' WHEN 1 THEN '-0' ELSE G / 7.0 END::float8},
	'inet' =>
	  q{CASE G % 2 WHEN 0 THEN inet '2001:db8::/32' ELSE inet '10.0.0.0/8' END + G},
	'int2vector' => q{(G % 1000 || ' ' || G % 7)::int2vector},
	'integer' => 'G',
	'interval' => 'make_interval(G % 5, G % 7, 0, G % 30, 0, 0, G % 1000)',
	'json' => q{json_build_object('g', G, 'a', ARRAY[G, 7], 't', 'x' || G)},
	'jsonb' =>
	  q{jsonb_build_object('g', G, 'a', ARRAY[G / 3.0, 7], 'o', jsonb_build_object('n', NULL, 't', md5((G)::text)))},
	'jsonpath' => q{('$.a' || G || ' ? (@ > 3)')::jsonpath},
	'line' => 'line(point(G, 1), point(G + 1, 3))',
	'lseg' => 'lseg(point(G, 1), point(2, G))',
	'macaddr' =>
	  q{('08:00:2b:01:02:' || lpad(to_hex(G % 256), 2, '0'))::macaddr},
	'macaddr8' =>
	  q{('08:00:2b:01:02:03:04:' || lpad(to_hex(G % 256), 2, '0'))::macaddr8},
	'money' => '(G)::money',
	'name' => 'md5((G)::text)::name',
	'numeric' =>
	  q{CASE G % 9 WHEN 0 THEN 'NaN' WHEN 1 THEN (G)::numeric ^ 20 WHEN 2 THEN 0 ELSE G / 7.0 END},
	'oid' => '(G)::oid',
	'oid8' => '(G)::text::oid8',
	'oidvector' => q{(G || ' ' || G % 7 || ' 3')::oidvector},
	'path' => q{((ARRAY['((', '[('])[1 + G % 2] || G || ',1),(2,3),(4,5)'
		|| (ARRAY[')', ']'])[1 + G % 2])::path},
	'pg_lsn' => q{pg_lsn '0/0' + G},
	'pg_snapshot' => q{(G + 3 || ':' || G + 9 || ':' || G + 4)::pg_snapshot},
	'point' => 'point(G, G / 3.0)',
	'polygon' => 'polygon(3 + G % 5, circle(point(G, 2), 3))',
	'real' => q{CASE G % 11 WHEN 0 THEN '-Infinity' ELSE G / 7.0 END::float4},
	'refcursor' => 'md5((G)::text)::refcursor',
	'smallint' => '(G % 30000)::int2',
	'text' => q{repeat(md5((G)::text), G % 5)},
	'tid' => q{format('(%s,%s)', G, 1 + G % 100)::tid},
	'time with time zone' =>
	  q{(time '00:00' + G % 86400 * interval '1 second')::timetz},
	'time without time zone' =>
	  q{time '00:00' + G % 86400 * interval '1 second'},
	'timestamp with time zone' =>
	  q{timestamptz '2000-01-01 00:00Z' + G * interval '1 minute'},
	'timestamp without time zone' =>
	  q{CASE G % 11 WHEN 0 THEN '-infinity' ELSE timestamp '1900-01-01' + G * interval '1 hour' END},
	'tsquery' => q{('a' || G || ' & !b | c:*')::tsquery},
	'tsvector' => q{to_tsvector('simple', md5((G)::text) || ' b ' || G)},
	'txid_snapshot' =>
	  q{(G + 3 || ':' || G + 9 || ':' || G + 4)::txid_snapshot},
	'uuid' => 'md5((G)::text)::uuid',
	'xid' => '(G)::text::xid',
	'xid8' => '(G)::text::xid8',
	'xml' => q{('<g n="' || G || '">' || md5((G)::text) || '</g>')::xml});
$base{$_} = "(G % 6000)::oid::$_"
  foreach qw(regclass regcollation regconfig regdatabase regdictionary
  regnamespace regoper regoperator regproc regprocedure regrole regtype);

# Types whose columns need a length, to be longer than 1.
my %length = (bit => 'bit(8)', character => 'character(9)');

# Base types whose input functions accept nothing, or nothing without an
# extended statistics object.
my @no_input = qw(gtsvector pg_brin_bloom_summary pg_brin_minmax_multi_summary
  pg_dependencies pg_mcv_list pg_ndistinct pg_node_tree);

my %range = (
	int4range => 'int4range(G, G + G % 5)',
	int8range =>
	  q{int8range(G, CASE G % 3 WHEN 0 THEN NULL ELSE G + 5 END, '(]')},
	numrange => q{numrange(G / 3.0, G / 2.0, '[]')},
	daterange => q{daterange(date '2000-01-01' + G % 999, 'infinity')},
	tsrange =>
	  q{tsrange(NULL, timestamp '2000-01-01' + G * interval '1 hour')},
	tstzrange =>
	  q{tstzrange('2000-01-01 00:00Z', timestamptz '2000-01-01 00:00Z' + G * interval '1 hour')},
	textrange => q{textrange('a' || md5((G)::text), 'z' || G)},
	mmrange => q{mmrange('{1,2}', ARRAY[2, G])});
my %multirange = (
	int4multirange =>
	  'int4multirange(int4range(G, G + 3), int4range(G + 9, G + 12))',
	int8multirange =>
	  q{CASE G % 4 WHEN 0 THEN '{}' ELSE int8multirange(int8range(G, NULL)) END},
	nummultirange =>
	  'nummultirange(numrange(G / 3.0, G / 2.0), numrange(G + 1, G + 2))',
	datemultirange =>
	  q{datemultirange(daterange(date '2000-01-01' + G % 99, NULL))},
	tsmultirange =>
	  q{tsmultirange(tsrange(NULL, timestamp '2000-01-01' + G * interval '1 hour'))},
	tstzmultirange => q{tstzmultirange(tstzrange('2000-01-01 00:00Z', NULL))},
	textmultirange =>
	  q{textmultirange(textrange('a', 'a' || G), textrange('b', 'z' || G))},
	mmmultirange => q{mmmultirange(mmrange('{1,2}', ARRAY[2, G]))});

# Types that are made here.
my %made = (
	mood => q{(ARRAY['sad', 'ok', 'happy'])[1 + G % 3]::mood},
	'mood[]' =>
	  q{ARRAY['sad', (ARRAY['sad', 'ok', 'happy'])[1 + G % 3]]::mood[]},
	pair => q{ROW(G, 'x' || G, ARRAY[G / 3.0, NULL])::pair},
	'pair[]' =>
	  q{ARRAY[ROW(G, 'x' || G, NULL)::pair, NULL, ROW(NULL, repeat('y', G % 3000), '{1,2}')::pair]},
	nest =>
	  q{ROW(ROW(G, 'n', '{}')::pair, ARRAY[ROW(1, 'q', NULL)::pair, ROW(G, NULL, '{7}')::pair], G + 1, 'ok', int4range(1, G + 2))::nest},
	positive => '(G + 1)::positive',
	'positive[]' => 'ARRAY[G + 1, 5]::positive[]',
	words => q{ARRAY['w' || G, repeat('v', G % 300)]::words},
	small_pair => q{ROW(G % 100, 'small', NULL)::small_pair},
	span => 'int4range(G, G + 7)::span');

# Longer values, in the tables that are about those: some are compressed, some
# moved out of line, some both.
my $noise =
  q{(SELECT string_agg(md5((G * 31 + i)::text), '') FROM generate_series(1, 1 + G % 7 * (G % 97)) i)};
my %long = (
	text => qq{CASE G % 3 WHEN 0 THEN repeat(md5((G)::text), G % 1500)
		WHEN 1 THEN $noise ELSE $noise || repeat('z', G % 9000) END},
	bytea => qq{decode($noise, 'hex')},
	jsonb =>
	  qq{jsonb_build_object('n', $noise, 'g', to_jsonb(ARRAY[G, 2, 3]))},
	numeric => 'round((G + 2)::numeric ^ (G % 3000), 0)',
	'integer[]' => 'ARRAY(SELECT i * G FROM generate_series(1, G % 4000) i)');

# A value of each type, in a hash by the type's name.
sub _values_of
{
	my $session = shift;
	my %value = (%base, %range, %multirange, %made);

	foreach my $type (keys %base, keys %range, keys %multirange)
	{
		next if $type =~ /^(?:int2|oid)vector$/;
		my $first = $value{$type};
		my $second = $first =~ s/\bG\b/(G + 1)/gr;
		my $cast = '::' . ($length{$type} // $type) . '[]';

		$value{"$type\[]"} = <<SQL;
CASE G % 4 WHEN 0 THEN '{}'$cast WHEN 1 THEN ARRAY[NULL, $first]$cast
	WHEN 2 THEN ARRAY[[$first, $second], [$second, $first]]$cast
	ELSE ARRAY[$first, NULL, $second, $first]$cast END
SQL
	}
	$value{'int2vector[]'} = q{'{1 2,3 4 5}'::int2vector[]};
	$value{'oidvector[]'} = q{'{1 2,3 4 5}'::oidvector[]};
	return \%value;
}

# Names of base types of the server of which this file has no value.
sub untyped
{
	my $node = shift;
	my %known = map { $_ => 1 } keys %base, @no_input;

	return grep { !$known{$_} } split /\n/,
	  $node->safe_psql('postgres', <<'SQL');
SELECT format_type(oid, NULL) FROM pg_type
WHERE typtype = 'b' AND typcategory <> 'A' AND oid < 10000
	OR oid IN ('int2vector'::regtype, 'oidvector'::regtype)
ORDER BY 1
SQL
}

#
# Tables
#

# All but partitions.  What can be done with them is said by words:
#	key			has a unique key, id
#	long		values are long
#	ddl			columns are added, dropped, and get other types
#	doomed		is dropped, and made again
#	empty		is emptied, by TRUNCATE
#	parent		has partitions
#	moved		is moved to another tablespace
my %tables = (
	types => 'empty',
	arrays => '',
	ranges => '',
	enums => '',
	domains => '',
	composites => 'empty',
	toast_extended => 'long',
	toast_external => 'long empty',
	toast_main => 'long',
	toast_plain => '',
	toast_compressed => 'long',
	toast_mixed => 'long doomed',
	hot => '',
	filled => '',
	keyed => 'key',
	customer => 'key',
	orders => 'key',
	generated => '',
	added => 'ddl',
	altered => 'ddl',
	retyped => 'ddl',
	emptied => 'empty',
	doomed => 'doomed',
	'"Other Schema"."Odd "" name"' => 'ddl',
	narrow => '',
	sparse => '',
	inherited => '',
	inheriting => 'ddl',
	moved => 'moved',
	by_list => 'parent',
	by_range => 'parent',
	by_hash => 'parent');

# Partitions that come and go, with their parents and bounds, and what their rows
# have to satisfy.
my %partitions = (
	by_range_1 => [ 'by_range', 'FROM (0) TO (300)', 'id >= 0 AND id < 300' ],
	by_range_2 =>
	  [ 'by_range', 'FROM (300) TO (600)', 'id >= 300 AND id < 600' ],
	by_list_1 => [ 'by_list', 'IN (1)', 'k = 1' ],
	by_hash_1 => [ 'by_hash', 'WITH (MODULUS 3, REMAINDER 1)', 'false' ]);

my @views = qw(view_plain view_unique);

my %definition = (
	doomed =>
	  'CREATE TABLE doomed (id int, a text, b numeric[], c timestamptz)',
	toast_mixed => <<'SQL');
CREATE TABLE toast_mixed (id int, t text, b bytea, j jsonb, n numeric);
ALTER TABLE toast_mixed ALTER b SET STORAGE EXTERNAL
SQL

# Makes the tables, in the database postgres.
sub create
{
	my $node = shift;
	my $has = sub {
		return $node->safe_psql('postgres', "SELECT EXISTS ($_[0])") eq 't';
	};
	my $list = sub {
		my ($table, $suffix, @types) = @_;
		my $i = 0;

		return
			"CREATE TABLE $table (id int"
		  . join('', map { sprintf ", v%d %s%s", ++$i, $_, $suffix } @types)
		  . ");\n";
	};
	my @types =
	  grep { $has->("SELECT FROM pg_type WHERE oid = to_regtype('$_')") }
	  sort keys %base;
	my $sql = '';

	# libxml may be left out.
	my ($rc) = $node->psql('postgres', q{SELECT '<a/>'::xml});
	@types = grep { $_ ne 'xml' } @types if $rc != 0;
	my $lz4 =
	  $has->(
		q{SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)}
	  )
	  ? 'lz4'
	  : 'pglz';

	$sql .= <<'SQL';
CREATE TABLESPACE elsewhere LOCATION '';
CREATE SCHEMA "Other Schema";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text, c numeric[]);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN words AS text[];
CREATE DOMAIN small_pair AS pair CHECK ((VALUE).a < 1000);
CREATE DOMAIN span AS int4range;
CREATE TYPE nest AS (p pair, q pair[], d positive, m mood, r int4range);
CREATE TYPE textrange AS RANGE (subtype = text, multirange_type_name = textmultirange);
CREATE TYPE mmrange AS RANGE (subtype = int[], multirange_type_name = mmmultirange);
SQL
	$sql .= $list->('types', '', map { $length{$_} // $_ } @types);
	$sql .= $list->('arrays', '[]', map { $length{$_} // $_ } @types);
	$sql .= $list->('ranges', '', sort(keys %range), sort keys %multirange);
	$sql .= <<SQL;
CREATE TABLE enums (id int, m mood, a mood[], c "char");
CREATE TABLE domains (id int, p positive, a positive[], w words, s small_pair, r span);
CREATE TABLE composites (id int, p pair, n nest, a pair[], t text);
CREATE TABLE toast_extended (id int, t text, b bytea, j jsonb, n numeric, a int[]);
CREATE TABLE toast_external (id int, n int, t text, b bytea);
ALTER TABLE toast_external ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
CREATE TABLE toast_main (id int, t text, j jsonb);
ALTER TABLE toast_main ALTER t SET STORAGE MAIN, ALTER j SET STORAGE MAIN;
CREATE TABLE toast_plain (id int, t text);
ALTER TABLE toast_plain ALTER t SET STORAGE PLAIN;
CREATE TABLE toast_compressed (id int, t text COMPRESSION $lz4, u text COMPRESSION pglz, b bytea COMPRESSION $lz4)
	WITH (toast_tuple_target = 256);
$definition{toast_mixed};
CREATE TABLE hot (id int, n int, t text) WITH (fillfactor = 50);
CREATE INDEX hot_id ON hot (id);
CREATE TABLE filled (id int, n int, t text);
CREATE INDEX filled_n ON filled (n);
CREATE TABLE keyed (id int PRIMARY KEY, n int, t text);
CREATE TABLE customer (id int PRIMARY KEY, n int, t text) WITH (fillfactor = 60);
CREATE TABLE orders (id int PRIMARY KEY, ref int REFERENCES customer, t text);
CREATE TABLE generated (id int, n int, g bigint GENERATED ALWAYS AS (n * 2) STORED,
	h text GENERATED ALWAYS AS (left(id::text || 'h', 5)) STORED, t text);
CREATE TABLE added (id int, t text);
CREATE TABLE altered (id int, a int, b text, c varchar(40), d numeric);
CREATE TABLE retyped (id int, r int, s smallint, v varchar(40), t text);
CREATE TABLE emptied (id int, t text);
CREATE INDEX emptied_id ON emptied (id);
$definition{doomed};
CREATE TABLE "Other Schema"."Odd "" name" (id int, "Column "" name" text, " " int);
CREATE TABLE narrow (id smallint, b boolean);
CREATE TABLE inherited (id int, t text);
CREATE TABLE inheriting (n numeric) INHERITS (inherited);
CREATE TABLE moved (id int, t text, u date);
CREATE TABLE nothing ();
SQL
	$sql .=
	  $list->('sparse', '', ('int', 'text', 'bool', 'int8', '"char"') x 8);
	$sql .= <<'SQL';
CREATE TABLE by_list (id int, k int, t text) PARTITION BY LIST (k);
CREATE TABLE by_list_1 PARTITION OF by_list FOR VALUES IN (1);
CREATE TABLE by_list_2 (t text, gone int, k int, id int);
ALTER TABLE by_list_2 DROP COLUMN gone;
ALTER TABLE by_list ATTACH PARTITION by_list_2 FOR VALUES IN (2);
CREATE TABLE by_list_rest PARTITION OF by_list DEFAULT PARTITION BY HASH (id);
CREATE TABLE by_list_rest_0 PARTITION OF by_list_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_list_rest_1 PARTITION OF by_list_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE by_range (id int, n int, t text) PARTITION BY RANGE (id);
CREATE TABLE by_range_1 PARTITION OF by_range FOR VALUES FROM (0) TO (300);
CREATE TABLE by_range_2 PARTITION OF by_range FOR VALUES FROM (300) TO (600);
CREATE TABLE by_range_3 PARTITION OF by_range DEFAULT;
CREATE TABLE by_hash (id int, t text) PARTITION BY HASH (id);
CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE by_hash_2 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 2);
CREATE MATERIALIZED VIEW view_plain AS
	SELECT id, t, repeat(md5(t), 80) AS long FROM hot WHERE id % 3 = 0;
CREATE MATERIALIZED VIEW view_unique AS SELECT id, n, t FROM keyed;
CREATE UNIQUE INDEX ON view_unique (id);
SQL
	$node->safe_psql('postgres', "SET client_min_messages = warning;\n$sql");
	return;
}

#
# Steps
#

sub _pick
{
	return $_[ int rand @_ ];
}

# A key of a hash from keys to weights.
sub _pick_weighted
{
	my %weight = @_;
	my $sum = 0;
	$sum += $_ foreach values %weight;
	my $at = rand $sum;

	foreach my $key (sort keys %weight)
	{
		$at -= $weight{$key};
		return $key if $at < 0;
	}
	die 'no weights';
}

# Opens the sessions.  Parameters: "directory", in which the server can write
# files; "before_lock", which is called before a transaction may lock a relation
# against readers, with the relation's name, and returns undef if it is locked
# already.
sub new
{
	my ($class, $node, %params) = @_;
	my $self = bless {
		node => $node,
		prepared => [],
		next_id => 1,
		next_name => 1,
		errors => {},
		statements => 0,
		%params
	}, $class;

	foreach my $i (1 .. $nsessions)
	{
		my $session = $node->background_psql('postgres', on_error_stop => 0);

		$session->set_query_timer_restart;
		$session->query("\\set VERBOSITY verbose");
		$session->query(
			"SET lock_timeout = '5ms'; SET client_min_messages = error");
		$session->query('SET synchronous_commit = off') if $i == 1;
		$session->query('SET enable_seqscan = off') if $i == 2;
		push @{ $self->{sessions} },
		  {
			psql => $session,
			number => $i,
			open => 0,
			savepoints => [],
			locked => {},
			old => 0
		  };
	}
	$self->{value} = _values_of();
	foreach my $table (sort keys %tables)
	{
		my $rows = 4;

		$self->_run($self->{sessions}[1],
			$self->_insert($self->{sessions}[1], $table, 10 * $_, 9))
		  foreach 1 .. $rows;
	}
	return $self;
}

# Runs SQL in a session.  If there is an error, its transaction, if it has one,
# goes on at a savepoint or ends.  Returns false then.
sub _run
{
	my ($self, $session, $sql) = @_;
	my $psql = $session->{psql};

	$psql->query($sql);
	$self->{statements}++;
	my $error = $psql->{stderr};
	$psql->{stderr} = '';
	return 1 if $error eq '';

	my ($state) = $error =~ /(?:ERROR|FATAL):  (\w{5}):/;
	die substr($sql, 0, 1000), "\n$error"
	  if !defined $state || !$expected_error{$state};
	$self->{errors}{$state}++;
	return 0 if !$session->{open};
	if (@{ $session->{savepoints} } && rand() < 0.8)
	{
		$psql->query("ROLLBACK TO $session->{savepoints}[-1]");
	}
	else
	{
		$self->_end($session, 'ROLLBACK');
	}
	return 0;
}

# Ends the transaction of a session.
sub _end
{
	my ($self, $session, $how) = @_;

	$session->{psql}->query($how);
	my $error = $session->{psql}{stderr};
	$session->{psql}{stderr} = '';
	if ($error ne '')
	{
		my ($state) = $error =~ /ERROR:  (\w{5}):/;
		die "$how\n$error" if !defined $state || !$expected_error{$state};
		$self->{errors}{$state}++;
	}
	@$session{qw(open savepoints locked old)} = (0, [], {}, 0);
	return $error eq '';
}

# The result of before_lock for a relation that cannot be read now, because a
# transaction has locked it.
sub locked
{
	my ($self, $relation) = @_;
	my ($last) = sort { $b->{since} <=> $a->{since} }
	  grep { defined } map { $_->{locked}{$relation} } @{ $self->{sessions} },
	  @{ $self->{prepared} };

	return $last ? $last->{result} : undef;
}

# Is there a transaction that was running at the last checkpoint, and still is?
sub has_old
{
	my $self = shift;

	return scalar grep { $_->{old} } @{ $self->{sessions} },
	  @{ $self->{prepared} };
}

# The columns of a table as a session sees them: lists of name, type, and whether
# it is generated.
sub _columns
{
	my ($self, $session, $table) = @_;
	my $list = $session->{psql}->query(<<SQL);
SELECT quote_ident(attname), format_type(atttypid, NULL), attgenerated <> ''
FROM pg_attribute
WHERE attrelid = to_regclass('$table') AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
SQL

	return map { [ split /\|/ ] } split /\n/, $list;
}

# SQL for a value of a column, or undef if there is none for its type.
sub _value
{
	my ($self, $table, $column, $g) = @_;
	my ($name, $type) = @$column;
	my $value = $self->{value}{$type};

	$value = $long{$type}
	  if $long{$type} && $tables{$table} && $tables{$table} =~ /long/;
	return $g if $name eq 'id' && $type ne 'smallint';
	return "($g) % 5" if $name eq 'k';
	return "($g) % 60 + 1" if $name eq 'ref';
	return 'NULL' if !defined $value;
	$value =~ s/\bG\b/($g)/g;
	my $sparse = $table eq 'sparse' ? 2 : 7;
	my $shift = length $name;
	return "CASE ($g + $shift) % $sparse WHEN 0 THEN NULL ELSE $value END";
}

sub _insert
{
	my ($self, $session, $table, $first, $count) = @_;
	my @columns = grep { $_->[2] ne 't' } $self->_columns($session, $table);
	my $last = $first + $count;
	my $conflict = '';

	return 'SELECT' if !@columns;
	if ($tables{$table} && $tables{$table} =~ /key/)
	{
		$conflict = _pick(
			'',
			'ON CONFLICT DO NOTHING',
			'ON CONFLICT (id) DO UPDATE SET t = excluded.t || $$!$$');
	}
	my $names = join ', ', map { $_->[0] } @columns;
	my $values = join ",\n\t",
	  map { $self->_value($table, $_, 'g') } @columns;
	return
	  "INSERT INTO $table ($names)\nSELECT $values\nFROM generate_series($first, $last) g $conflict";
}

# A list of columns whose values COPY can read back: the names of some functions
# and operators are not unique.
sub _copied_columns
{
	my ($self, $session, $table) = @_;

	return join ', ', map { $_->[0] }
	  grep { $_->[2] ne 't' && $_->[1] !~ /^reg(?:oper|proc)\b/ }
	  $self->_columns($session, $table);
}

# A condition that some rows of a table satisfy.
sub _some
{
	my $n = _pick(5, 9, 20);

	return "id % $n = " . int rand $n;
}

# Statements for a table, each a function of the workload, the session and the
# table.
my %statements = (
	insert => sub {
		my ($self, $session, $table) = @_;
		my $count = _pick(0, 0, 3, 12);
		my $first = int rand 700;

		return $self->_insert($session, $table, $first, $count);
	},
	copy => sub {
		my ($self, $session, $table) = @_;
		my $list = $self->_copied_columns($session, $table);
		my $file = "$self->{directory}/copy";

		return 'SELECT'
		  if $list eq '' || ($tables{$table} // '') =~ /key/;
		return
		  "COPY (SELECT $list FROM $table LIMIT 5) TO '$file';\nCOPY $table ($list) FROM '$file'";
	},
	update => sub {
		my ($self, $session, $table) = @_;
		my @columns = grep { $_->[2] ne 't' && $_->[0] ne 'id' }
		  $self->_columns($session, $table);
		my $g = int rand 100_000;
		my %set;

		return 'SELECT' if !@columns;
		foreach (1 .. 1 + int rand 2)
		{
			my $column = _pick(@columns);
			$set{ $column->[0] } =
			  $self->_value($table, $column, "($g + id)");
		}
		my $ctid = rand() < 0.2 ? 'AND ctid < $$(1,0)$$' : '';
		return
			"UPDATE $table SET "
		  . join(', ', map { "$_ = $set{$_}" } sort keys %set)
		  . ' WHERE '
		  . _some()
		  . " $ctid";
	},
	move => sub {
		my ($self, $session, $table) = @_;
		my $to = int rand 700;

		# across partitions
		return "UPDATE $table SET id = (id + $to) % 700 WHERE " . _some()
		  if ($tables{$table} // '') !~ /key/;
		return "UPDATE $table SET id = $to WHERE id = " . int rand 700;
	},
	delete => sub {
		my ($self, $session, $table) = @_;

		return "DELETE FROM $table WHERE " . _some();
	},
	lock => sub {
		my ($self, $session, $table) = @_;
		my $mode = _pick(
			'UPDATE', 'NO KEY UPDATE', 'SHARE', 'SHARE',
			'KEY SHARE', 'KEY SHARE');
		my $skip = rand() < 0.5 ? 'SKIP LOCKED' : '';
		my $some = _some();

		return
		  "SELECT count(*) FROM (SELECT FROM $table WHERE $some FOR $mode $skip) s";
	},
	read => sub {
		my ($self, $session, $table) = @_;

		return "SELECT count(*) FROM $table WHERE " . _some();
	},
	merge => sub {
		my $first = int rand 300;

		return <<SQL;
MERGE INTO keyed USING generate_series($first, $first + 300, 37) g ON id = g
WHEN MATCHED AND g % 2 = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET t = 'merged'
WHEN NOT MATCHED THEN INSERT VALUES (g, g, 'merged')
SQL
	},
	subtransactions => sub {
		my ($self, $session, $table) = @_;
		my $n = _pick(3, 10, 80);

		return <<SQL;
DO \$do\$
BEGIN
	FOR i IN 1 .. $n LOOP
		BEGIN
			INSERT INTO hot VALUES (i + 100, i, 'sub');
			UPDATE narrow SET b = NOT b WHERE narrow.id = i;
			DELETE FROM filled WHERE filled.id = i AND i % 4 = 0;
			IF i % 3 = 0 THEN
				RAISE division_by_zero;
			END IF;
		EXCEPTION WHEN division_by_zero OR lock_not_available
			OR serialization_failure THEN NULL;
		END;
	END LOOP;
END
\$do\$
SQL
	},
	nothing => sub {
		return _pick(
			'INSERT INTO nothing DEFAULT VALUES',
			'DELETE FROM nothing WHERE ctid = (SELECT min(ctid) FROM nothing)'
		);
	});

# Statements that lock a table against readers.
my %definitions = (
	truncate => sub {
		my ($self, $session, $table) = @_;
		my $sql = "TRUNCATE $table";

		return $sql if rand() < 0.5;
		$sql .= ";\n" . $self->_insert($session, $table, int rand 100, 30);
		return $sql if rand() < 0.5 || $session->{open};

		# frozen from the start
		my $file = "$self->{directory}/freeze";
		my $list = $self->_copied_columns($session, $table);
		return
		  "COPY (SELECT $list FROM $table) TO '$file'; BEGIN; TRUNCATE $table; COPY $table ($list) FROM '$file' (FREEZE); COMMIT";
	},
	add => sub {
		my ($self, $session, $table) = @_;
		my $name = 'added_' . $self->{next_name}++;
		my $sql = "ALTER TABLE $table ADD COLUMN $name";

		return _pick(
			"$sql int",
			"$sql int DEFAULT $self->{next_name}",
			"$sql text DEFAULT 'default $self->{next_name}' NOT NULL",
			"$sql numeric[] DEFAULT '{1,NULL,$self->{next_name}}'",
			"$sql boolean DEFAULT true",
			"$sql text DEFAULT repeat('long', 700)",
			"$sql double precision DEFAULT random()",
			"$sql text DEFAULT 'short'");
	},
	drop => sub {
		my ($self, $session, $table) = @_;
		my @columns = grep { $_->[0] !~ /^(?:id|r|t|a)$/ }
		  $self->_columns($session, $table);

		return 'SELECT' if !@columns || $table eq 'retyped' && @columns < 4;
		return "ALTER TABLE $table DROP COLUMN " . _pick(@columns)->[0];
	},
	retype => sub {
		my $type =
		  _pick('bigint', 'int', 'numeric', 'text', 'varchar(60)', 'int');
		my $length = _pick('text', 'varchar(50)', 'varchar(40)');

		return _pick(
			"ALTER TABLE retyped ALTER r TYPE $type USING NULLIF(regexp_replace(r::text, '\\D', '', 'g'), '')::numeric::int::$type",
			"ALTER TABLE retyped ALTER v TYPE $length",
			"ALTER TABLE altered ALTER a TYPE bigint",
			"ALTER TABLE altered ALTER a TYPE int");
	},
	rename => sub {
		my ($self, $session, $table) = @_;
		my @columns = grep { $_->[0] !~ /^(?:id|r|s|t|a|v)$/ }
		  $self->_columns($session, $table);

		return 'SELECT' if !@columns;
		my $old = _pick(@columns)->[0];
		return "ALTER TABLE $table RENAME COLUMN $old TO named_"
		  . $self->{next_name}++;
	},
	rewrite => sub {
		my ($self, $session, $table) = @_;
		my $sql = "ALTER TABLE $table SET TABLESPACE "
		  . _pick('elsewhere', 'pg_default');

		return $sql;
	},
	again => sub {
		my ($self, $session, $table) = @_;
		my $sql = "DROP TABLE $table;\n$definition{$table}";

		return $sql if rand() < 0.3;
		return
			"$sql;\nALTER TABLE $table ADD COLUMN extra_"
		  . $self->{next_name}++
		  . " int;\n"
		  . "INSERT INTO $table (id) SELECT generate_series(1, 25)";
	},
	options => sub {
		my ($self, $session, $table) = @_;

		return
		  "ALTER TABLE $table SET (fillfactor = " . _pick(40, 70, 100) . ')';
	},
	refresh => sub {
		return 'REFRESH MATERIALIZED VIEW ' . _pick(@views);
	});

# Which of these a table can have, with weights.
sub _definition
{
	my $table = shift;
	my $words = $tables{$table} // '';

	return 'truncate' if $words =~ /empty/;
	return _pick_weighted(add => 4, drop => 3, retype => 2, rename => 1)
	  if $words =~ /ddl/;
	return 'again' if $words   =~ /doomed/;
	return 'rewrite' if $words =~ /moved/;
	return 'options';
}

# Runs a statement that locks relations against readers.
sub _define
{
	my ($self, $session) = @_;
	my $table = _pick(grep { $tables{$_} !~ /key|parent/ } sort keys %tables);
	my $kind = rand() < 0.15 ? 'refresh' : _definition($table);
	my $sql = $definitions{$kind}->($self, $session, $table);
	my @locked = ($table);

	# What the statement itself says counts.
	@locked = ($1)
	  if $sql =~ /^(?:REFRESH MATERIALIZED VIEW|ALTER TABLE) (\w+)/;
	push @locked, 'inheriting' if $locked[0] eq 'inherited';
	if ($session->{open})
	{
		foreach my $relation (@locked)
		{
			my $result = $self->{before_lock}->($relation);

			# A lock of before a savepoint that it went back to is no more,
			# and then others may have changed it.
			if (defined $result)
			{
				$session->{locked}{$relation} =
				  { since => $self->{next_name}++, result => $result };
			}
			return if !$session->{locked}{$relation};
		}
	}
	$self->_run($session, $sql);
	return;
}

# What cannot be in a transaction, or should not be.
sub _maintain
{
	my ($self, $session) = @_;
	my $table = _pick(sort keys %tables);
	my $partition = _pick(sort keys %partitions);
	my ($parent, $bound, $condition) = @{ $partitions{$partition} };
	my $alone = !grep { $_->{open} } @{ $self->{sessions} };

	# To truncate a table, VACUUM would wait for others.
	my $truncate = $alone && !@{ $self->{prepared} } ? 'on' : 'off';

	my $kind = _pick_weighted(
		vacuum => 10,
		freeze => 4,
		full => 3,
		cluster => 1,
		concurrently => 2,
		partition => 3,
		analyze => 1,
		label => 0.2,
		index => 1,
		catalog => 0.5,
		switch => 1);
	my $sql =
		$kind eq 'vacuum' ? "VACUUM (TRUNCATE $truncate) $table"
	  : $kind eq 'freeze' ? "VACUUM (FREEZE, TRUNCATE $truncate) $table"
	  : $kind eq 'full'   ? 'VACUUM FULL '
	  . _pick(grep { $tables{$_} !~ /parent/ } sort keys %tables)
	  : $kind eq 'cluster' ? 'CLUSTER '
	  . _pick(
		'hot USING hot_id',
		'keyed USING keyed_pkey',
		'emptied USING emptied_id')
	  : $kind eq 'concurrently'
	  ? 'REFRESH MATERIALIZED VIEW CONCURRENTLY view_unique'
	  : $kind eq 'analyze' ? "ANALYZE $table"
	  : $kind eq 'label'
	  ? "ALTER TYPE mood ADD VALUE 'mood $self->{next_name}'"
	  : $kind eq 'index' ? _pick(
		'REINDEX TABLE hot',
		'CREATE INDEX ON filled (id)',
		'DROP INDEX IF EXISTS filled_id_idx')
	  : $kind eq 'catalog' ? 'VACUUM (TRUNCATE off) '
	  . _pick('pg_class', 'pg_attribute', 'pg_type', 'pg_proc')
	  : $kind eq 'switch' ? 'SELECT pg_switch_wal()'
	  :                     '';

	$self->{next_name}++;
	if ($kind eq 'partition')
	{
		my $attached =
		  $session->{psql}->query(
			"SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass('$partition')"
		  );

		$sql =
			$attached
		  ? rand() < 0.7
			  ? "ALTER TABLE $parent DETACH PARTITION $partition"
			  : rand() < 0.5 ? "DROP TABLE $partition"
			: "TRUNCATE $partition"
		  : rand() < 0.2 ? "DROP TABLE IF EXISTS $partition"
		  : "CREATE TABLE IF NOT EXISTS $partition (LIKE $parent);\n"
		  . "DELETE FROM $partition WHERE ($condition) IS NOT TRUE;\n"
		  . "ALTER TABLE $parent ATTACH PARTITION $partition FOR VALUES $bound";
	}
	$self->_run($session, $sql);
	return;
}

sub _checkpoint
{
	my $self = shift;

	$self->{node}->safe_psql('postgres', 'CHECKPOINT');
	$_->{old} = 1 foreach grep { $_->{open} } @{ $self->{sessions} };
	$_->{old} = 1 foreach @{ $self->{prepared} };
	return;
}

sub _end_prepared
{
	my $self = shift;
	my $i = int rand @{ $self->{prepared} };
	my ($prepared) = splice @{ $self->{prepared} }, $i, 1;
	my $how = rand() < 0.7 ? 'COMMIT' : 'ROLLBACK';

	$self->{node}->safe_psql('postgres', "$how PREPARED '$prepared->{name}'");
	return;
}

sub _statement
{
	my ($self, $session) = @_;
	my $table = _pick((sort keys %tables), sort keys %partitions);
	my $kind = _pick_weighted(
		insert => 10,
		copy => 2,
		update => 12,
		move => 2,
		delete => 3,
		lock => 6,
		read => 3,
		merge => 0.5,
		subtransactions => 1,
		nothing => 0.5);

	# An insertion into a partition that is detached needs no partition, so the
	# table that is there is asked.
	$self->_run($session, $statements{$kind}->($self, $session, $table));
	return;
}

# Takes one step.
sub step
{
	my $self = shift;
	my $session = _pick(@{ $self->{sessions} });

	if (rand() < 0.03)
	{
		$self->_checkpoint;
	}
	elsif (@{ $self->{prepared} } && rand() < 0.05 * @{ $self->{prepared} })
	{
		$self->_end_prepared;
	}
	elsif (!$session->{open})
	{
		my $kind = _pick_weighted(
			statement => 8,
			begin => 6,
			define => 1.5,
			maintain => 3);

		if ($kind eq 'begin')
		{
			my $level = _pick(
				'', '', '',
				'ISOLATION LEVEL REPEATABLE READ',
				'ISOLATION LEVEL SERIALIZABLE');

			$session->{psql}->query("BEGIN $level");
			$session->{open} = 1;
			$self->_statement($session);
		}
		$self->_statement($session) if $kind eq 'statement';
		$self->_define($session) if $kind eq 'define';
		$self->_maintain($session) if $kind eq 'maintain';
	}
	else
	{
		my $savepoints = $session->{savepoints};

		# The last session's transactions last longer.
		my $kind = _pick_weighted(
			statement => $session->{number} == $nsessions ? 60 : 12,
			define => 0.6,
			savepoint => 3,
			back => @$savepoints ? 2 : 0,
			release => @$savepoints ? 1 : 0,
			COMMIT => 2,
			ROLLBACK => 0.8,
			prepare => @{ $self->{prepared} } < $max_prepared ? 0.6 : 0);

		$self->_statement($session) if $kind eq 'statement';
		$self->_define($session) if $kind eq 'define';
		$self->_end($session, $kind)
		  if $kind eq 'COMMIT' || $kind eq 'ROLLBACK';
		if ($kind eq 'savepoint')
		{
			push @$savepoints, 's' . $self->{next_name}++;
			$session->{psql}->query("SAVEPOINT $savepoints->[-1]");
		}
		elsif ($kind eq 'back')
		{
			my $i = int rand @$savepoints;

			$session->{psql}->query("ROLLBACK TO $savepoints->[$i]");
			$#$savepoints = $i;
		}
		elsif ($kind eq 'release')
		{
			my $i = int rand @$savepoints;

			$session->{psql}->query("RELEASE $savepoints->[$i]");
			$#$savepoints = $i - 1;
		}
		elsif ($kind eq 'prepare')
		{
			my %prepared = (
				name => 'p' . $self->{next_name}++,
				locked => $session->{locked},
				old => $session->{old});

			push @{ $self->{prepared} }, \%prepared
			  if $self->_end($session,
				"PREPARE TRANSACTION '$prepared{name}'");
		}
	}
	return;
}

# Ends all transactions, and the sessions.
sub finish
{
	my $self = shift;

	foreach my $session (@{ $self->{sessions} })
	{
		$self->_end($session, _pick('COMMIT', 'ROLLBACK'))
		  if $session->{open};
		$session->{psql}->quit;
	}
	$self->_end_prepared while @{ $self->{prepared} };
	return;
}

1;
