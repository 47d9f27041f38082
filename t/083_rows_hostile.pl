# Tuples and values of pages that come from anywhere: damaged, or made to harm.
#
# Values of all types are changed at random, and so are pages of a table that has
# columns of all types, and of its TOAST table.  Whatever is changed, the server
# keeps running, and each value that is returned can be printed.  What a change
# has left as it was is returned as it was, and no sound value is refused.
#
# MUTATIONS is the number of changed pages that walredo_rows_at() reads, 400 if it
# is not set.  As many changes are tried with the values of each column.
#
# Seen to fail: the types with one left out of the table of types; sound values with
# another number of bytes for a tuple's bits of NULLs, and with the last index of a
# list of most common values refused; broken values and tuples without the checks
# for the order of an object's keys, for depth, for digits, for a place in a JSON
# path, for lexemes that share bytes, for the place of a left operand, for the
# bounds of an array, for the place of a range, for an encoding, for the type of an
# element or of a composite value, for a tuple that shares bytes with another one,
# and for bytes after the last attribute; changed values, by a process that was
# terminated, without the checks for the length of an attribute, for that of a
# varlena, and for the end of an entry in JSON, and by an error without that for the
# version of a composite type; strict, when it was not looked at.

use FindBin;
use lib $FindBin::RealBin;
use WalredoTest;

use File::Spec;

my $mutations = $ENV{MUTATIONS} || 400;
my $top = "$FindBin::RealBin/..";
my $dir = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir());
chomp(my $include = `pg_config --includedir-server`);

command_ok(
	[
		$ENV{CC} || 'cc', '-Wall', '-O2', '-fPIC', '-shared', '-D_GNU_SOURCE',
		"-I$include", "-I$top/src", '-o', "$dir/rows_test.so",
		"$top/test/rows_test.c", "$top/src/rows/tuple.c",
		glob("$top/src/rows/value*.c"), "$top/src/rows/toast_at.c",
		'-Wl,-Bsymbolic', '-llz4'
	],
	'build the module that changes values');

my $version = `pg_config --version` =~ /(\d+)/ ? $1 : die 'no version';
my $node = wal_server('hostile',
	extra => [
		'--encoding=UTF8', '--locale=C',
		$version >= 18 ? '--no-data-checksums' : ()
	]);
$node->start;

sub query
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

#
# A table of all types
#

my %values = (
	a_bool => [ 'bool', 'i % 2 = 0' ],
	a_char => [ '"char"', "'x'" ],
	a_name => [ 'name', "'name' || i" ],
	a_int2 => [ 'int2', 'i' ],
	a_int8 => [ 'int8', 'i * 1000000000::int8' ],
	a_float4 => [ 'float4', 'i / 3.0' ],
	a_float8 => [ 'float8', 'i / 7.0' ],
	a_money => [ 'money', 'i::text::money' ],
	a_numeric => [ 'numeric', "(ARRAY['NaN', 'Infinity', '-0.00012', '12345678.90123', '1e1000'])[1 + i % 5]::numeric" ],
	a_numeric2 => [ 'numeric', '(i::numeric ^ 20) / 7' ],
	a_uuid => [ 'uuid', 'md5(i::text)::uuid' ],
	a_text => [ 'text', "repeat('täxt' || i, i)" ],
	a_varchar => [ 'varchar', "'varchar'" ],
	a_bpchar => [ 'char(10)', "'bpchar'" ],
	a_bytea => [ 'bytea', "decode(md5(i::text), 'hex')" ],
	a_refcursor => [ 'refcursor', "'cursor'" ],
	a_json => [ 'json', q{'{"a": [1, 2, null]}'} ],
	a_jsonb => [ 'jsonb',
		q{'{"a": [1, 2.5, null, true, {"b": "ä", "cc": {}}], "bb": "text", "c": {"d": 1e100}}'} ],
	a_jsonb2 => [ 'jsonb', 'to_jsonb(ARRAY(SELECT j FROM generate_series(1, 40 + i) j))' ],
	a_jsonb3 => [ 'jsonb', q{(ARRAY['1', '"x"', 'null', 'false', '{}', '[]'])[1 + i % 6]::jsonb} ],
	a_jsonpath => [ 'jsonpath', q{(ARRAY[
		'$.a[*] ? (@.b > 1 && @.c like_regex "^x" flag "i")',
		'strict $.a[1, 2 to last].**{2 to 3}.datetime("HH24") + -$.x * 2.5',
		'$var.size() ? (exists (@.x) || !(@ starts with "y")) . keyvalue()',
		'($.a == null || $.b != true) is unknown', '"text"'])[1 + i % 5]::jsonpath} ],
	a_tsvector => [ 'tsvector', q{to_tsvector('simple', 'the quick brown fox jumps over the lazy dog')
		|| setweight('ä:1A,3B longer word'::tsvector, 'B')} ],
	a_tsquery => [ 'tsquery', q{'a & !(b:AB | c:*) <2> ''word'' & d'} ],
	a_bit => [ 'bit(11)', q{B'10101010101'} ],
	a_varbit => [ 'varbit', q{repeat('101', i)::varbit} ],
	a_date => [ 'date', q{date '2020-01-01' + i} ],
	a_time => [ 'time', q{'12:34:56.789'} ],
	a_timetz => [ 'timetz', q{'12:34:56+05:30'} ],
	a_timestamp => [ 'timestamp', q{(ARRAY['infinity', '4713-01-01 BC', '2020-01-01'])[1 + i % 3]::timestamp} ],
	a_timestamptz => [ 'timestamptz', q{'2020-01-01 00:00:00+00'} ],
	a_interval => [ 'interval', q{'1 year 2 mons 3 days 04:05:06'} ],
	a_point => [ 'point', q{'(1,2)'} ],
	a_lseg => [ 'lseg', q{'[(1,2),(3,4)]'} ],
	a_line => [ 'line', q{'{1,2,3}'} ],
	a_box => [ 'box', q{'((1,2),(3,4))'} ],
	a_circle => [ 'circle', q{'<(1,2),3>'} ],
	a_path => [ 'path', q{'((1,2),(3,4),(5,6))'} ],
	a_polygon => [ 'polygon', q{'((1,2),(3,4),(5,6),(7,8))'} ],
	a_inet => [ 'inet', q{(ARRAY['192.168.0.1/24', '2001:db8::1/64'])[1 + i % 2]::inet} ],
	a_cidr => [ 'cidr', q{(ARRAY['192.168.0.0/24', '2001:db8::/33'])[1 + i % 2]::cidr} ],
	a_macaddr => [ 'macaddr', q{'08:00:2b:01:02:03'} ],
	a_macaddr8 => [ 'macaddr8', q{'08:00:2b:01:02:03:04:05'} ],
	a_oid => [ 'oid', 'i' ],
	a_xid => [ 'xid', 'i::text::xid' ],
	a_xid8 => [ 'xid8', 'i::text::xid8' ],
	a_cid => [ 'cid', 'i::text::cid' ],
	a_tid => [ 'tid', q{'(1,2)'} ],
	a_lsn => [ 'pg_lsn', q{'1/23'} ],
	a_snapshot => [ 'pg_snapshot', q{'10:20:10,14,15'} ],
	a_txid_snapshot => [ 'txid_snapshot', q{'10:20:10,14,15'} ],
	a_acl => [ 'aclitem', q{makeaclitem(10, 10, 'SELECT', true)} ],
	a_acls => [ 'aclitem[]', q{ARRAY[makeaclitem(10, 10, 'SELECT', true), makeaclitem(0, 10, 'DELETE', false)]} ],
	a_regclass => [ 'regclass', q{'pg_class'} ],
	a_regtype => [ 'regtype', q{'int4'} ],
	a_int2vector => [ 'int2vector', q{'1 2 3'} ],
	a_oidvector => [ 'oidvector', q{(ARRAY['', '1 2 3 4'])[1 + i % 2]::oidvector} ],
	a_ints => [ 'int[]', 'ARRAY[i, NULL, 3]' ],
	a_texts => [ 'text[]', q{ARRAY['a', 'bc', NULL, repeat('x', 200)]} ],
	a_matrix => [ 'int8[]', q{(ARRAY['[2:3][0:1]={{1,2},{3,4}}', '{}'])[1 + i % 2]::int8[]} ],
	a_numerics => [ 'numeric[]', q{ARRAY[1.5, 22222222.2, 'NaN']} ],
	a_jsonbs => [ 'jsonb[]', q{ARRAY['{"a": 1}', '[]']::jsonb[]} ],
	a_bools => [ 'bool[]', q{'{t,f,NULL}'} ],
	a_names => [ 'name[]', q{'{a,b}'} ],
	a_timetzs => [ 'timetz[]', q{'{12:00+01,13:00-02}'} ],
	a_mood => [ 'mood', q{(ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood} ],
	a_moods => [ 'mood[]', q{'{sad,NULL,happy}'} ],
	a_pair => [ 'pair', q{ROW(i, 'text', '{1.5,2}')::pair} ],
	a_nested => [ 'nested', q{ROW(ROW(1, NULL, NULL)::pair,
		ARRAY[ROW(1, 'x', '{}')::pair, NULL, ROW(2, repeat('y', 150), NULL)::pair], 'ok')::nested} ],
	a_posint => [ 'posint', 'i' ],
	a_dpair => [ 'dpair', q{ROW(1, 'd', '{1}')::dpair} ],
	a_dpairs => [ 'dpair[]', q{ARRAY[ROW(1, 'd', '{1}')::dpair]} ],
	a_int4range => [ 'int4range', 'int4range(i, i + 10)' ],
	a_numrange => [ 'numrange', q{numrange(i, NULL, '(]')} ],
	a_tsrange => [ 'tstzrange', q{tstzrange('2020-01-01', '2021-01-01')} ],
	a_textrange => [ 'textrange', q{textrange('a', 'b' || repeat('c', 130))} ],
	a_ranges => [ 'numrange[]', q{ARRAY[numrange(1, 2), 'empty', numrange(NULL, NULL)]} ],
	a_intmulti => [ 'int4multirange', q{int4multirange(int4range(1, 2), int4range(5, 7),
		int4range(9, 10), int4range(12, 13), int4range(15, 16), int4range(20, NULL))} ],
	a_nummulti => [ 'nummultirange', q{nummultirange(numrange(NULL, 1.5), numrange(2, 3), numrange(100.25, 1000000))} ],
	a_textmulti => [ 'textmultirange', q{textmultirange(textrange('a', 'b'), textrange('x', repeat('y', 130)))} ],

	# Compressed, stored out of line, and both.
	a_long => [ 'text', q{repeat('long' || i, 2000)} ],
	a_plain => [ 'bytea', q{(SELECT string_agg(decode(md5((i * 1000 + j)::text), 'hex'), '') FROM generate_series(1, 200) j)} ],
	a_both => [ 'jsonb', q{(SELECT jsonb_agg(md5((i * 1000 + j)::text) || 'xxxxxxxxxxxxxxxxxxxx') FROM generate_series(1, 400) j)} ],
);
my @columns = sort keys %values;

# A server need not be built with libxml.
if ($node->safe_psql('postgres',
		"SELECT count(*) FROM pg_config() WHERE setting ~ 'with-libxml'"))
{
	$values{a_xml} = [ 'xml', q{'<a>x</a>'} ];
	push @columns, 'a_xml';
}

query(qq{
	CREATE EXTENSION walredo;
	CREATE EXTENSION pageinspect;
	CREATE FUNCTION rows_checker(oid) RETURNS void
		AS '$dir/rows_test.so' LANGUAGE C STRICT;
	CREATE FUNCTION rows_problem(anyelement) RETURNS text
		AS '$dir/rows_test.so' LANGUAGE C STRICT;
	CREATE FUNCTION rows_problem_of(bytea, oid) RETURNS text
		AS '$dir/rows_test.so' LANGUAGE C STRICT;
	CREATE FUNCTION rows_page(anyelement, bytea) RETURNS text
		AS '$dir/rows_test.so' LANGUAGE C;
	CREATE FUNCTION rows_mutate(anyelement, int, int,
			OUT passed int, OUT refused int)
		AS '$dir/rows_test.so' LANGUAGE C STRICT;
	CREATE FUNCTION rows_mutate_page(anyelement, bytea, int, int,
			OUT passed int, OUT refused int)
		AS '$dir/rows_test.so' LANGUAGE C;
	CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
	CREATE TYPE pair AS (a int, b text, c numeric[]);
	CREATE TYPE nested AS (p pair, q pair[], m mood);
	CREATE DOMAIN posint AS int CHECK (value > 0);
	CREATE DOMAIN dpair AS pair;
	CREATE TYPE textrange AS RANGE (subtype = text);
	CREATE TABLE all_types (id int,
		} . join(",\n", map { "$_ $values{$_}->[0]" } @columns) . ');');
query('INSERT INTO all_types SELECT i, '
	  . join(",\n", map { $values{$_}->[1] } @columns)
	  . ' FROM generate_series(1, 30) i');

#
# Which types there are
#

is( query(q{
		CREATE FUNCTION has_checker(oid) RETURNS bool LANGUAGE plpgsql AS $$
			BEGIN PERFORM rows_checker($1); RETURN true;
			EXCEPTION WHEN feature_not_supported THEN RETURN false; END $$;
		SELECT string_agg(typname, ' ' ORDER BY typname) FROM pg_type
		WHERE has_checker(oid) = (typtype = 'p')
	}),
	'anyarray',
	'all types but pseudo-types can be checked, and of these anyarray');

is( query(q{
		SELECT string_agg(typname, ' ' ORDER BY typname) FROM pg_type t
		WHERE typtype = 'b' AND oid < 16384 AND typcategory <> 'A'
			AND typinput NOT IN (SELECT oid FROM pg_proc
				WHERE proname ~ '^(regclass|reg.*)in$')
			AND NOT EXISTS (SELECT FROM pg_attribute
				WHERE attrelid = 'all_types'::regclass AND atttypid = t.oid)
	}),
	join(' ', sort(
		grep { $_ ne 'oid8' || $version >= 19 }
		qw(gtsvector oid8 pg_brin_bloom_summary pg_brin_minmax_multi_summary
		  pg_dependencies pg_mcv_list pg_ndistinct pg_node_tree),
		(grep { $_ eq 'a_xml' } @columns) ? () : 'xml')),
	'the table has the others');

#
# Sound values
#

query(q{
	CREATE STATISTICS extended (ndistinct, dependencies, mcv)
		ON id, a_text, a_mood, a_name FROM all_types;
	ALTER TABLE all_types ADD added pair DEFAULT ROW(1, 'x', NULL);
	CREATE TABLE defaults (i int DEFAULT 1 + 2, d posint DEFAULT 3);
	INSERT INTO defaults SELECT FROM generate_series(1, 100);
	ALTER TABLE defaults ADD added posint DEFAULT 4;
	ALTER TYPE pair ADD ATTRIBUTE d int;
	ALTER TYPE pair DROP ATTRIBUTE d;
	ANALYZE;
});
my $tables = query(q{
	SELECT string_agg(format('SELECT %L, rows_problem(t) FROM %s t', oid, oid::regclass), ' UNION ALL ')
	FROM pg_class WHERE relkind IN ('r', 'm')
});
is( query(qq{
		SELECT DISTINCT relation::oid::regclass || ': ' || problem
		FROM ($tables) t (relation, problem) WHERE problem IS NOT NULL
	}),
	'',
	'no value of any table is refused');
cmp_ok(
	query(q{SELECT count(*) FROM pg_statistic_ext_data
		WHERE stxdndistinct IS NOT NULL AND stxdmcv IS NOT NULL
			AND stxddependencies IS NOT NULL}),
	'>', 0, '... and there are extended statistics');

# Items of JSON paths that newer versions have.
my @paths = ('$.a');
push @paths, '$.a.bigint().boolean().date().decimal().decimal(3).decimal(3, 1)'
  . '.integer().number().string().time().time(2).time_tz(1).timestamp(3).timestamp_tz()'
  if $version >= 17;
push @paths, '$.a.replace("x", "y").split_part(",", 2).lower().upper().initcap()'
  . '.ltrim().rtrim("a").btrim("b")'
  if $version >= 19;
is(query("SELECT string_agg(rows_problem(path::jsonpath), '; ') FROM (VALUES "
	  . join(', ', map { "('$_')" } @paths) . ') p (path)'),
	'', 'no item of a JSON path is refused');

#
# Broken values
#

sub container
{
	my ($header, @entries) = @_;

	return pack('L*', $header, @entries);
}

sub array_of
{
	my ($type, $dimensions, $bounds, $contents) = @_;
	my $oid = query("SELECT '$type'::regtype::oid");
	my $header = pack('lLL', scalar @$dimensions, 0, $oid)
	  . pack('l*', @$dimensions, @$bounds);

	# The contents are aligned, counted from the length before all this.
	$header .= "\0" x 4 if (length($header) + 4) % 8 != 0;
	return $header . $contents;
}

# Arrays in arrays.
my $deep_jsonb = container(0x40000000);
$deep_jsonb =
  container(0x40000001, 0x50000000 | length $deep_jsonb) . $deep_jsonb
  foreach 1 .. 20000;

# Items of queries: a word of one letter, "!", and "&" with its left operand at a
# distance.
my $word = pack('CCCx l L', 1, 0, 0, 0, 1);
my $not = pack('Ccs L x4', 2, 1, 0, 1);

sub and_item
{
	return pack('Ccs L x4', 2, 2, 0, shift);
}

# The types of items of paths: "$", "?()", ".key", "[]" and "==".
my ($root, $filter, $key, $subscripts, $equal) = (27, 29, 25, 23, 8);

my $textrange = query(q{SELECT 'textrange'::regtype::oid});
my $int4range = query(q{SELECT 'int4range'::regtype::oid});
my $int4multirange = query(q{SELECT 'int4multirange'::regtype::oid});
my $pair = query(q{SELECT 'pair'::regtype::oid});

my @cases = (
	[ 'text', "a\0b", 'A text of 3 bytes is not valid in encoding' ],
	[ 'text', "a\xC3", 'not valid in encoding' ],
	[ 'numeric', '', 'has 0 bytes only' ],
	[ 'numeric', pack('Ss', 0x8000, 10000), 'has the digit 10000' ],
	[ 'numeric', pack('SsC', 0x8000, 1, 1), 'which is no number of digits' ],
	[ 'numeric', pack('S', 0), 'which is no number of digits' ],
	[ 'numeric', pack('S', 0xE000), 'unknown header E000' ],
	[ 'bit', pack('lC', 9, 0xFF), 'A bit string of 9 bits has 1 bytes' ],
	[ 'bit', pack('lC', -1, 0xFF), 'A bit string of -1 bits' ],
	[ 'bit', pack('lC', 5, 0xFF), 'has others after them' ],
	[ 'inet', pack('CCN', 9, 32, 1), 'of family 9' ],
	[ 'inet', pack('CCN', 2, 33, 1), 'and 33 bits' ],
	[ 'cidr', pack('CCN', 2, 31, 1), 'A network of 31 bits has others' ],
	[ 'path', pack('llld2', 0x10000001, 1, 0, 1, 2), '268435457 points has' ],
	[ 'polygon', pack('ld4d2', -1, (0) x 6), '-1 points has' ],
	[ 'pg_snapshot', pack('LQQ', 1, 5, 6), 'A snapshot of 1 transactions' ],
	[ 'pg_snapshot', pack('LQQQ', 1, 5, 6, 4), 'not in their order' ],
	[ 'pg_snapshot', pack('LQQ', 0, 6, 5), 'from 6 to 5' ],

	[ 'jsonb', $deep_jsonb, 'nested too deeply' ],
	[ 'jsonb', container(0x4FFFFFFF), 'has the header 4FFFFFFF in 4 bytes' ],
	[ 'jsonb', container(0x2FFFFFFF), 'has the header 2FFFFFFF' ],
	[ 'jsonb', container(0x60000000), 'has the header 60000000' ],
	[ 'jsonb', container(0x00000000), 'has the header 00000000' ],
	[ 'jsonb', container(0x50000002, 0x40000000, 0x40000000), 'header 50000002' ],
	[ 'jsonb', container(0x50000001, 0x50000004, 0x40000000), 'Entry 1 in JSON' ],
	[ 'jsonb', container(0x40000001, 0x00000001), 'ends at byte 1, but begins at byte 0 of 0' ],
	[ 'jsonb', container(0x40000002, 1, 0x80000000) . 'a', 'ends at byte 0, but begins at byte 1' ],
	[ 'jsonb', container(0x40000001, 0x60000000), 'unknown type or length 60000000' ],
	[ 'jsonb', container(0x40000001, 0x20000001) . 'a', 'unknown type or length 20000001' ],
	[ 'jsonb', container(0x20000002, 1, 1, 0x40000000, 0x40000000) . 'ba', 'Entry 2 in JSON .* out of order' ],
	[ 'jsonb', container(0x20000002, 1, 1, 0x40000000, 0x40000000) . 'aa', 'Entry 2 in JSON .* out of order' ],
	[ 'jsonb', container(0x20000001, 0x40000000, 0x40000000), 'Entry 1 in JSON' ],
	[ 'jsonb', container(0x40000001, 0x10000006, 0x38) . 'aa', 'A numeric in JSON has a broken header' ],
	[ 'jsonb', container(0x40000000) . 'a', 'ends at byte 0 of 1' ],
	[ 'jsonb', container(0x40000001, 0x10000003) . 'aaa', 'A numeric in JSON has a broken header' ],

	[ 'jsonpath', pack('LCx3l', 2, $root, 0), 'unknown header 00000002' ],
	[ 'jsonpath', pack('LCx3l', 1, $root, 0), undef ],
	[ 'jsonpath', pack('L', 1), 'an item is missing' ],
	[ 'jsonpath', pack('LC', 1, $root), 'an item is incomplete' ],
	[ 'jsonpath', pack('LCx3l', 1, 200, 0), 'the type of an item is unknown' ],
	[ 'jsonpath', pack('LCx3l', 1, $root, -8), 'is not after the one before' ],
	[ 'jsonpath', pack('LCx3lCx3l', 1, $root, 8, $root, -8),
		'is not after the one before' ],
	[ 'jsonpath', pack('LCx3lCx3l', 1, $root, 8, $root, 0), undef ],
	[ 'jsonpath', pack('LCx3ll', 1, $filter, 0, 0),
		'is not after the one before' ],
	[ 'jsonpath', pack('LCx3ll', 1, $key, 0, 0x7FFFFFFF),
		'a string is incomplete' ],
	[ 'jsonpath', pack('LCx3lla2', 1, $key, 0, 1, 'ab'),
		'a string does not end' ],
	[ 'jsonpath', pack('LCx3lla2', 1, $key, 0, 1, 'a'), undef ],
	[ 'jsonpath', pack('LCx3ll', 1, $root, 0, 0),
		'there are bytes after the last item' ],
	[ 'jsonpath', pack('LCx3ll', 1, $subscripts, 0, 0x7FFFFFFF),
		'a list of subscripts is incomplete' ],
	[ 'jsonpath', pack('LCx3lll', 1, $equal, 0, 0, 0),
		'is not after the one before' ],

	[ 'tsvector', pack('l', -1), '-1 lexemes has 4 bytes' ],
	[ 'tsvector', pack('l', 0x7FFFFFFF), '2147483647 lexemes' ],
	[ 'tsvector', pack('lL', 1, 5 << 1), 'ends at byte 5 of 0' ],
	[ 'tsvector', pack('lLL', 2, 1 << 1, 2 << 1) . 'ab', 'share bytes' ],
	[ 'tsvector', pack('lLL', 2, 1 << 1, 1 << 1 | 1 << 12) . 'ba', 'is not after the one before' ],
	[ 'tsvector', pack('lL', 1, 1 | 1 << 1) . 'a', 'The positions of lexeme 1' ],
	[ 'tsvector', pack('lL', 1, 1 | 1 << 1) . "a\0" . pack('S', 300), 'The positions of lexeme 1' ],
	[ 'tsvector', pack('lL', 1, 1 | 1 << 1) . "a\0" . pack('SSS', 2, 5, 4), 'The positions of lexeme 1' ],

	[ 'tsquery', pack('l', 20001) . $not x 20000 . $word . "a\0",
		'has more than \d+ levels' ],
	[ 'tsquery', pack('l', 40001) . (and_item(2) . $word) x 20000 . $word . "a\0" x 20001,
		'has more than \d+ levels' ],
	[ 'tsquery', pack('l', 5001) . $not x 5000 . $word . "a\0", undef ],
	[ 'tsquery', pack('l', 0x7FFFFFFF), '2147483647 items has' ],
	[ 'tsquery', pack('l', 1) . $not, 'lacks an operand' ],
	[ 'tsquery', pack('l', 1) . $word, 'Operand 1 of a text search query has 1 bytes, from byte 0 on, of 0' ],
	[ 'tsquery', pack('l', 1) . $word . 'aa', 'does not end after 1 bytes' ],
	[ 'tsquery', pack('l', 2) . $word . $word . "a\0", 'ends with item 1' ],
	[ 'tsquery', pack('l', 2) . $not . $word . "a\0", undef ],
	[ 'tsquery', pack('l', 3) . and_item(1) . $word . $word . "a\0a\0", 'is at distance 1, not 2' ],
	[ 'tsquery', pack('l', 3) . and_item(2) . $word . $word . "a\0a\0", undef ],
	[ 'tsquery', pack('l', 1) . pack('CCCx l L', 1, 0, 2, 0, 1) . "a\0", 'unknown flags' ],
	[ 'tsquery', pack('l', 1) . pack('Cx11', 3), 'unknown type 3' ],

	[ 'int[]', array_of('int', [2], [1], pack('ll', 1, 2)), undef ],
	[ 'int[]', '', 'less than its header' ],
	[ 'int[]', array_of('int', [ (1) x 7 ], [ (1) x 7 ], pack('l', 1)), 'An array of 7 dimensions' ],
	[ 'int[]', array_of('int', [ 65536, 65536 ], [ 1, 1 ], ''), 'impossible bounds' ],
	[ 'int[]', array_of('int', [ -1 ], [ 1 ], ''), 'impossible bounds' ],
	[ 'int[]', array_of('int', [1], [0x7FFFFFFF], pack('l', 1)), 'impossible bounds' ],
	[ 'int[]', array_of('int', [1000000], [1], pack('l', 1)), 'only 0 bytes are left' ],
	[ 'int[]', array_of('text', [1], [1], pack('l', 1)), 'has some of the type with OID 25' ],
	[ 'int[]', array_of('int', [1], [1], pack('ll', 1, 2)), 'end at byte 28 of 32' ],
	[ 'int[]', pack('lLLllllQ', 1, 28, 23, 1, 1, 1, 0), 'not at byte 32' ],
	[ 'text[]', array_of('text', [1], [1], pack('CC', 0x01, 1)), 'stored out of line' ],
	[ 'text[]', array_of('text', [1], [1], pack('Lx4', 100 << 2)), 'has the length 100, but only 8 bytes are left' ],
	[ 'text[]', array_of('text', [1], [1], pack('LLx8', 16 << 2 | 2, 100)), 'A compressed value is broken|cannot have been compressed' ],
	[ 'bool[]', array_of('bool', [2], [1], pack('CC', 1, 2)), 'A boolean is 2' ],
	[ 'name[]', array_of('name', [1], [1], 'x' x 64), 'A name is longer' ],
	[ 'time[]', array_of('time', [1], [1], pack('q', -1)), 'A time is -1 microseconds' ],
	[ 'timestamp[]', array_of('timestamp', [1], [1], pack('q', -9223372036854775807)), 'is out of range' ],
	[ 'date[]', array_of('date', [1], [1], pack('l', 0x7FFFFFFE) . "\0" x 4), 'is out of range' ],
	[ 'mood[]', array_of('mood', [1], [1], pack('Lx4', 1)), 'the label with OID 1, which does not exist' ],

	[ 'int4range', pack('LllC', $int4range, 1, 2, 2), undef ],
	[ 'int4range', pack('LC', $int4range, 1), undef ],
	[ 'int4range', pack('LC', $textrange, 1), "has the type with OID $textrange" ],
	[ 'int4range', pack('LC', $int4range, 0x80), 'A range has the flags 80' ],
	[ 'int4range', pack('LlC', $int4range, 1, 2), 'only 0 bytes are left' ],
	[ 'int4range', pack('LlllC', $int4range, 1, 2, 3, 2), 'end at byte 16 of 20' ],
	[ 'int4range', pack('L', $int4range), 'less than its header' ],
	[ 'textrange', pack('LCC', $textrange, 0xFF, 2 | 16), 'has the length 127, but only 1 bytes' ],
	[ 'int4multirange', pack('LL', $int4multirange, 0), undef ],
	[ 'int4multirange', pack('LL', $int4multirange, 0xFFFFFFFF), 'A multirange of 4294967295 ranges' ],
	[ 'int4multirange', pack('LLCx3ll', $int4multirange, 1, 2, 1, 2), undef ],
	[ 'int4multirange', pack('LLCx3', $int4multirange, 1, 1), 'A range has the flags 01' ],
	[ 'int4multirange', pack('LLLCCx2llll', $int4multirange, 2, 8, 2, 2, 1, 2, 4, 5), undef ],
	[ 'int4multirange', pack('LLLCCx2llll', $int4multirange, 2, 4, 2, 2, 1, 2, 4, 5), 'begins at byte 24, not at byte 28' ],
	[ 'pair', pack('lLSSSSSCx', -1, $pair, 0, 0, 0xFFFF, 0, 0, 24), undef ],
	[ 'pair', pack('lLSSSSSCx', -1, 16, 0, 0, 0xFFFF, 0, 0, 24), 'has the type with OID 16' ],
	[ 'pair', pack('lLSSSSSCx', -1, $pair, 0, 0, 0xFFFF, 5, 0, 24), 'has 5 attributes, but there are only 4' ],
	[ 'pair', pack('lLSSSSSCx', -1, $pair, 0, 0, 0xFFFF, 1, 0, 24), 'Attribute 1, "a", is broken' ],
	[ 'pair', pack('lLSSSSSCx', -1, $pair, 0, 0, 0xFFFF, 1, 0, 200), 'should begin at byte 24, but begin at byte 200' ],
	[ 'pair', pack('lLSSSSSCxl', -1, $pair, 0, 0, 0xFFFF, 0, 0, 24, 1), 'The last attribute ends at byte 24 of 28' ],
	[ 'pg_mcv_list', pack('LLLs', 0xE1A651C2, 1, 1, 9), 'of 9 dimensions' ],
	[ 'pg_ndistinct', pack('LLLdl', 0xA352BFA4, 1, 1, 1, 9), 'Item 1 of 1' ],
	[ 'gtsvector', pack('l', 1), 'cannot be in a table' ]);
my @problems = split /\n/, query('SELECT coalesce(rows_problem_of(contents, '
	  . "type::regtype), '') FROM (VALUES "
	  . join(', ', map { sprintf q{(%d, '\x%s'::bytea, '%s')}, $_,
		unpack('H*', $cases[$_]->[1]), $cases[$_]->[0] } 0 .. $#cases)
	  . ') c (n, contents, type) ORDER BY n'), -1;
foreach (@cases)
{
	my ($type, $contents, $problem) = @$_;
	my $name = "$type of " . length($contents) . ' bytes';
	my $got = shift @problems;

	if (defined $problem)
	{
		like($got, qr/$problem/, "$name: $problem");
	}
	else
	{
		is($got, '', "$name is sound");
	}
}

#
# Broken tuples
#

# Tuples of all lengths that there can be: before a column was added, and after
# one was dropped; and line pointers without tuples.
query(q{
	CREATE TABLE pages (i int, n name, t text);
	INSERT INTO pages VALUES (1, 'one', 'x'), (2, NULL, repeat('y', 300)), (3, 'three', NULL);
	ALTER TABLE pages DROP n, ADD c char(5) DEFAULT 'added', ADD d int;
	INSERT INTO pages VALUES (4, '', 'c', 5), (5, NULL, NULL, NULL);
	UPDATE pages SET t = 'z' WHERE i = 5;
	DELETE FROM pages WHERE i = 1;
});
query('VACUUM pages');
my $page = pack 'H*',
  query(q{SELECT encode(get_raw_page('pages', 0), 'hex')});

sub lines_of
{
	my ($contents) = @_;

	return query(sprintf q{SELECT rows_page(NULL::pages, '\x%s')},
		unpack('H*', $contents));
}

sub line_pointer
{
	my ($contents, $n) = @_;
	my $bits = unpack 'L', substr $contents, 20 + 4 * $n, 4;

	return ($bits & 0x7FFF, $bits >> 15 & 3, $bits >> 17);
}

my @lines = split /\n/, lines_of($page);
is_deeply(
	[ sort grep { $_ ne 'nothing' } @lines ],
	[ split /\n/, query('SELECT p::text FROM pages p ORDER BY i') ],
	'the tuples of a page, with columns that were added and dropped');
is($lines[0], 'nothing', '... and a line pointer without a tuple');

# Pages in which one thing is changed, by offset, or by offset in a tuple.
my ($offset, undef, $length) = line_pointer($page, 3);
my ($other) = line_pointer($page, 2);
is(lines_of("\0" x 8192), '', 'a page of zeroes');
foreach (
	[ 14, pack('S', 0), 'The page has no end of free space' ],
	[ 18, pack('S', 8192 | 5), 'layout version are 8192 and 5' ],
	[ 10, pack('S', 0x80), 'The page has unknown flags 80' ],
	[ 12, pack('S', 20), 'free space begins at byte 20' ],
	[ 12, pack('S', 8000), 'free space begins at byte 8000' ],
	[ 16, pack('S', 8184), 'has special space from byte 8184' ],
	[ 12, pack('S', 26), 'within a line pointer' ],
	[ 12, pack('SS', 24 + 4 * 300, 8000), 'has 300 line pointers' ],
	[ 32, pack('L', $offset + 4 | 1 << 15 | $length - 4 << 17), 'which is not aligned' ],
	[ 32, pack('L', 24 | 1 << 15 | $length << 17), 'but tuples are from byte' ],
	[ 32, pack('L', 8184 | 1 << 15 | 100 << 17), 'but tuples are from byte' ],
	[ 32, pack('L', $offset | 1 << 15 | 20 << 17), 'The tuple has 20 bytes, less than its header' ],
	[ 32, pack('L', $other | 1 << 15 | $length << 17), 'but line pointer 2, .* has some of these bytes' ],
	[ 32, pack('L', $offset | 2 << 15 | $length << 17), 'nothing' ],
	[ 32, pack('L', $offset | 1 << 15 | $length - 1 << 17), 'is broken' ],
	[ $offset + 22, pack('C', 32), 'should begin at byte 24, but begin at byte 32' ],
	[ $offset + 18, pack('S', 2047), 'The tuple has 2047 attributes, more than 1664' ],
	[ $offset + 18, pack('S', 6), 'The tuple has 6 attributes, but there are only 5' ],
	[ $offset + 18, pack('S', 1), 'The last attribute ends at byte 28 of' ],
	[ $offset + 20, pack('S', 0x1400), 'deleted by a multixact that has committed' ],
	[ $offset + 20, pack('S', 0xC001), 'moved both off and in' ],
	[ $offset + 20, pack('S', 0x0008), 'should begin at byte 32' ])
{
	my ($at, $bytes, $problem) = @$_;
	my $changed = $page;

	substr $changed, $at, length $bytes, $bytes;
	my $got = lines_of($changed);
	$got = (split /\n/, $got)[2] if $at >= 24;
	like($got, qr/$problem/, "a page that has other bytes at $at: $problem");
}

#
# Changed values, and changed pages
#

sub is_alive
{
	my ($what) = @_;

	my $crashes = () = slurp_file($node->logfile) =~ /was terminated by signal/g;
	is($crashes, 0, "$what: no process was terminated");
	return;
}

my $changes = int($mutations / 30) + 1;
my ($rc, $stdout, $stderr) = $node->psql('postgres', join ';', map { qq{
	SELECT '$_', sum(passed), sum(refused)
	FROM all_types, rows_mutate($_, id, $changes)} } @columns);
is($stderr, '', 'changed values of all types can be used if they pass');
note $stdout;
is_alive('changed values');

($rc, $stdout, $stderr) = $node->psql('postgres', qq{
	SELECT sum(passed), sum(refused) FROM generate_series(0,
			pg_relation_size('all_types') / current_setting('block_size')::int - 1) b,
		rows_mutate_page(NULL::all_types,
			get_raw_page('all_types', b::int), b::int, $changes)});
is($stderr, '', 'values of changed pages can be used if they pass');
like($stdout, qr/^[1-9]\d*\|[1-9]\d*$/, '... and some pass, and some do not');
note $stdout;
is_alive('changed pages');

#
# walredo_rows_at()
#

# Changes a page, of which tuples are the likeliest part.
sub mutate
{
	my ($page) = @_;
	my $lower = unpack 'x12 S', $page;
	my $n = ($lower - 24) / 4;
	my $pointer = 24 + 4 * int rand $n;
	my $bits = unpack "x$pointer L", $page;
	my ($offset, $length) = ($bits & 0x7FFF, $bits >> 17);
	my ($begin, $size) = ($offset + 24, $length - 24);
	my $kind = int rand 20;

	($begin, $size) = (0, 24) if $kind == 0;
	($begin, $size) = (24, $lower - 24) if $kind == 1;
	($begin, $size) = ($pointer, 4) if $kind == 2;
	($begin, $size) = ($offset, 32) if $kind == 3;
	foreach (0 .. int rand 3)
	{
		my $bytes =
		    rand() < 0.3 ? pack('C', int rand 256)
		  : rand() < 0.3 ? pack('S', int rand 65536)
		  : rand() < 0.3 ? pack('L', 2**int(rand 32) - int rand 2)
		  : rand() < 0.5 ? pack('L', int rand 64)
		  :                pack('L', 0xFFFFFFFF - int rand 64);
		my $at = $begin + int rand $size;

		$at = $begin + int rand($size > 40 ? 40 : $size) if rand() < 0.2;
		$bytes = substr $bytes, 0, 8192 - $at;
		if (rand() < 0.3)
		{
			vec($page, $at * 8 + int rand 8, 1) ^= 1;
		}
		else
		{
			substr $page, $at, length $bytes, $bytes;
		}
	}
	return $page;
}

# Copies of the rows, for more pages.
my $copies = $mutations < 20000 ? 4 : 100;
query(q{
	CREATE TABLE victim (LIKE all_types);
	INSERT INTO victim SELECT t.* FROM all_types t, generate_series(1, } . $copies . q{);
	SELECT count(*) FROM victim WHERE rows_problem(victim) IS NOT NULL;
});
query('VACUUM (FREEZE) victim; CHECKPOINT');
my $lsn = query('SELECT pg_current_wal_insert_lsn()');
my $expected = query(q{SELECT count(*), sum(hashtext(v::text)::int8) FROM victim v});
my $select = qq{SELECT count(*), sum(hashtext(v::text)::int8)
	FROM walredo_rows_at(NULL::victim, '$lsn') v};
is(query($select), $expected, 'pages that are not changed have all rows');

my %files = map {
	$_ => $node->data_dir . '/'
	  . query("SELECT pg_relation_filepath($_)")
} (
	q{'victim'::regclass},
	q{(SELECT reltoastrelid FROM pg_class WHERE oid = 'victim'::regclass)});
my %pages = map { $_ => slurp_file($_) } values %files;

srand($ENV{MUTATIONS_SEED} // 1);
my ($done, $returned, $warnings, $rounds) = (0, 0, 0, 0);
my @errors;
while ($done < $mutations)
{
	$node->stop;
	foreach my $file (sort keys %pages)
	{
		my $contents = $pages{$file};

		foreach my $blkno (0 .. length($contents) / $page_size - 1)
		{
			# Of the TOAST table, most pages stay as they are.
			next if rand() < ($file eq $files{q{'victim'::regclass}} ? 0.1 : 0.8);
			my $page = substr $contents, $blkno * $page_size, $page_size;
			substr $contents, $blkno * $page_size, $page_size, mutate($page);
			$done++;
		}
		write_file($file, $contents);
	}
	$node->start;
	my ($rc, $counts, $stderr) = $node->psql('postgres', qq{
		SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\\s*(\\d+)');
		$select;
		SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\\s*(\\d+)')});
	my ($before, $rows, $after) = split /\n/, $counts;

	$rounds++;
	push @errors, "round $rounds: $1" while $stderr =~ /(ERROR:.*|server closed.*)/g;
	$warnings++ while $stderr =~ /WARNING/g;
	next if @errors > 3 || !defined $after;
	$returned += $1 if $rows =~ /^(\d+)\|/;

	# Buffers and a few megabytes.
	push @errors, "round $rounds: $before kB, then $after kB of memory"
	  if $after - $before > 200000;
}
is(join("\n", @errors), '', "$done changed pages in $rounds rounds: no error, bounded memory");
note "$returned rows, $warnings warnings";
cmp_ok($returned, '>', 0, '... and rows were returned');
cmp_ok($warnings, '>', 0, '... and others were not');
is_alive('walredo_rows_at()');

# All is as before if the pages are.
$node->stop;
write_file($_, $pages{$_}) foreach keys %pages;
$node->start;
is(query($select), $expected, 'afterwards, all rows are returned again');

#
# A label that is gone
#

query(q{
	CREATE TYPE colour AS ENUM ('red', 'green');
	CREATE TABLE coloured (i int, c colour);
	INSERT INTO coloured VALUES (1, 'red'), (2, 'green');
	CHECKPOINT;
});
$lsn = query('SELECT pg_current_wal_insert_lsn()');
query(q{DELETE FROM pg_enum WHERE enumtypid = 'colour'::regtype AND enumlabel = 'red'});
($rc, $stdout, $stderr) = $node->psql('postgres',
	"SELECT * FROM walredo_rows_at(NULL::coloured, '$lsn')");
is($stdout, '2|green', 'a row with a label that is gone is left out');
like(
	$stderr,
	qr/WARNING.*\n.*A value of type colour is the label with OID \d+, which does not exist, or no longer\./,
	'... with a warning that says so');
foreach my $call ('SELECT count(*) FROM %s', 'SELECT %s')
{
	my $sql = sprintf($call, "walredo_rows_at(NULL::coloured, '$lsn', strict => true)");

	($rc, $stdout, $stderr) = $node->psql('postgres', $sql);
	like($stderr, qr/ERROR:  row \(0,1\) of "coloured" is left out/, "$sql: an error");
}

$node->stop;
done_testing();
