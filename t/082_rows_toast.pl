# Values that are stored out of line or compressed, as they were at an LSN, and
# relations that the catalogs had then: walredo_rows_at() returns what a query
# returned at the LSN, whatever has become of the values, of their table and of
# its columns since; and says what it cannot return.
#
# Seen to fail:
# - when chunks and rows of catalogs were taken whether the snapshot saw them or
#   not, or the blocks did not count that VACUUM has cut off since;
# - when the TOAST table's index was not asked, or was believed to be complete;
# - when the size of a chunk, that of a pointer, its TOAST table, or a chunk that
#   is there twice was not checked;
# - when a compressed value could have any size, or less than its header says, or
#   the header another one than the pointer;
# - when there was no limit of memory;
# - when a record that sets bits of the visibility map only was taken to stamp the
#   page (on PostgreSQL 19);
# - when missing values were not read, or were taken for longer than they are;
# - when partitions of partitions, those that are being detached, tablespaces, or
#   the new file of a catalog were not looked at.

use WalredoSessions;
use WalredoTest;

my $node = wal_server('main', extra => no_checksums());
my $data = $node->data_dir;

$node->start;

sub query
{
	return $node->safe_psql('postgres', shift);
}

# Damage is to get past the server.
sub no_checksums
{
	my $major = PostgreSQL::Test::Cluster->new('version')->pg_version->major;

	return $major >= 18 ? ['--no-data-checksums'] : [];
}

sub current_lsn
{
	return query('SELECT pg_current_wal_insert_lsn()');
}

query(<<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;

-- Text that does not get shorter by compression.
CREATE FUNCTION noise(length int, seed int) RETURNS text LANGUAGE sql AS $$
	SELECT left(string_agg(md5(seed || '.' || g), ''), length)
	FROM generate_series(1, length / 32 + 1) g
$$;

-- All rows of a query, in a form that depends on each byte and each null.
CREATE FUNCTION digest(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT count(*) || '' rows, '' || md5(string_agg(md5(q::text), '''' ORDER BY q::text))
		FROM (%s) q', query) INTO result;
	RETURN result;
END $$;
SQL

# The rows of a table as of an LSN, and what is said of those that are missing.
sub digest_at
{
	my ($from, $columns) = @_;
	my ($stdout, $stderr) =
	  ask($node, 'postgres', "SELECT digest('SELECT $columns FROM $from')");

	return $stdout . $stderr;
}

#
# Values of a table that is still there
#

# A chunk has 1996 bytes.  Values end at, before and after the end of one.
my $columns = 'i, plain, pg, lz';
query(<<'SQL');
CREATE TABLE t (i int, plain text, pg text COMPRESSION pglz, lz text COMPRESSION lz4);
ALTER TABLE t ALTER plain SET STORAGE EXTERNAL;
INSERT INTO t SELECT g, noise(3991 + g % 3, g), repeat('pglz' || g, 1000), repeat('lz4' || g, 1000)
	FROM generate_series(1, 30) g;
INSERT INTO t SELECT g, noise(20000, g), repeat(noise(3000, g), 4), repeat(noise(3000, g), 3)
	FROM generate_series(31, 60) g;
INSERT INTO t SELECT g, 'short', noise(4000, g), noise(5000, g)
	FROM generate_series(61, 90) g;
INSERT INTO t VALUES (91, NULL, '', NULL);
SQL
my $toast = query("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 't'::regclass");
is( query(<<"SQL"),
SELECT count(DISTINCT chunk_id), count(*), max(chunk_seq), min(length(chunk_data)), max(length(chunk_data))
FROM $toast
SQL
	'180|700|10|1|1996',
	'values have one chunk and more');
is( query(<<'SQL'),
SELECT count(pg_column_compression(plain)), count(pg_column_compression(pg)),
	count(pg_column_compression(lz)), count(*)
FROM t
SQL
	'0|60|82|91',
	'and are compressed or not');

my $then = query("SELECT digest('SELECT $columns FROM t')");
query('CHECKPOINT');
my $lsn = current_lsn();
my $file = query("SELECT walredo_tag('t', 0)");

# The rows as of then, of a table or of a file.
sub is_as_then
{
	my ($name, $base, $tag) = @_;
	my $argument = $tag ? ", ''$tag''" : '';

	is(digest_at("walredo_rows_at(NULL::$base, ''$lsn''$argument)", $columns),
		$then, $name);
	return;
}

is_as_then('nothing has changed', 't');

query(<<'SQL');
UPDATE t SET plain = noise(4000, -i) WHERE i % 5 = 1;
UPDATE t SET pg = 'no more', i = i WHERE i % 5 = 2;
DELETE FROM t WHERE i % 5 = 3;
INSERT INTO t SELECT g, noise(5000, g) FROM generate_series(100, 110) g;
SQL
is_as_then('values have changed, and are gone', 't');

query('VACUUM t');
is(query("SELECT count(DISTINCT chunk_id) < 180 FROM $toast"), 't',
	'values were removed');
is_as_then('they were removed from the TOAST table', 't');

query(<<'SQL');
INSERT INTO t SELECT g, noise(3000, g) FROM generate_series(200, 300) g;
DELETE FROM t WHERE i < 250;
VACUUM t;
SQL
is_as_then('their places have other values', 't');

query('VACUUM FULL t');
is_as_then('the table and its TOAST table have other files', 't');

query(<<'SQL');
ALTER TABLE t ADD added text DEFAULT 'new';
ALTER TABLE t DROP added;
TRUNCATE t;
SQL
is_as_then('the table is empty', 't');

query(<<'SQL');
CREATE TABLE like_t AS SELECT * FROM t;
DROP TABLE t;
SQL
is_as_then('the table is gone', 'like_t', $file);

#
# Entries of the index that are gone, while their tuples are not
#

# The second value is deleted before the LSN, by a transaction that commits
# after it.  Its chunks are dead for everybody then, and the entries of the index
# are removed when the index needs their place, while nothing needs that of the
# chunks: what is inserted are chunks as long as can be.
query(<<'SQL');
CREATE TABLE d (i int, plain text);
ALTER TABLE d ALTER plain SET STORAGE EXTERNAL;
INSERT INTO d VALUES (1, noise(1996 * 2, 1)), (2, noise(1996 + 300, 2));
SQL
my $d_toast = query("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'd'::regclass");
my $d_value = query("SELECT max(chunk_id) FROM $d_toast");
my $d_then = query("SELECT digest('SELECT i, plain FROM d')");
query('CHECKPOINT');

my $deleter = session($node);
run_query($deleter, 'BEGIN; DELETE FROM d WHERE i = 2');
$lsn = current_lsn();
run_query($deleter, 'COMMIT');
$deleter->quit;

# How many entries the index has for the places of the second value, and how many
# chunks are at such places.
sub entries_and_chunks
{
	my $index = query("SELECT indexrelid::regclass FROM pg_index WHERE indrelid = '$d_toast'::regclass");

	return query(<<"SQL");
SELECT count(*) FILTER (WHERE htid IN ('(0,3)', '(0,4)')),
	(SELECT count(*) FROM heap_page_items(get_raw_page('$d_toast', 0)) WHERE lp IN (3, 4) AND lp_flags = 1)
FROM generate_series(1, pg_relation_size('$index') / 8192 - 1) AS blkno,
	LATERAL bt_page_items('$index', blkno) AS i
WHERE (SELECT type FROM bt_page_stats('$index', blkno)) = 'l'
SQL
}

is(entries_and_chunks(), '2|2', 'the index has the chunks');
is(digest_at("walredo_rows_at(NULL::d, ''$lsn'')", 'i, plain'),
	$d_then, 'a value is found whose deletion had not committed');

# The first statement marks the entries, and the second one removes them.
query(<<"SQL");
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*) FROM $d_toast WHERE chunk_id = $d_value;
INSERT INTO d SELECT g, noise(1996 * 2, g) FROM generate_series(3, 250) g;
SQL
is(entries_and_chunks(), '0|2', 'the index has lost them');
is(digest_at("walredo_rows_at(NULL::d, ''$lsn'')", 'i, plain'),
	$d_then, 'a value is found that the index does not have any more');

#
# Columns, partitions and files of then
#

query(<<'SQL');
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE c (i int, gone text, n numeric);
INSERT INTO c SELECT g, 'gone', g / 7.0 FROM generate_series(1, 10) g;
ALTER TABLE c DROP gone,
	ADD short text DEFAULT 'short', ADD long text DEFAULT repeat('long', 2000),
	ADD array_ int[] DEFAULT '{1,NULL,3}', ADD byval bool DEFAULT true,
	ADD fixed tid DEFAULT '(1,2)', ADD many float8 DEFAULT 0.1,
	ADD lost mood DEFAULT 'bad';
INSERT INTO c VALUES (11);
INSERT INTO c VALUES (12, 2, 'x', noise(5000, 1), '{}', NULL, '(3,4)', 5);

CREATE TABLE p (i int, plain text) PARTITION BY LIST (i);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2, 3) PARTITION BY LIST (i);
CREATE TABLE p2a PARTITION OF p2 FOR VALUES IN (2);
CREATE TABLE other (x text, i int, plain text);
ALTER TABLE other DROP x;
ALTER TABLE p2 ATTACH PARTITION other FOR VALUES IN (3);
INSERT INTO p SELECT 1 + g % 3, noise(5000, g) FROM generate_series(1, 30) g;
SQL
my $c_columns = 'i, n, short, long, array_, byval, fixed, many';
my $c_then = query("SELECT digest('SELECT $c_columns FROM c')");
my $c_file = query("SELECT walredo_tag('c', 0)");
my $p_then = query("SELECT digest('SELECT * FROM p')");
my $p2_then = query("SELECT digest('SELECT * FROM p2')");
query('CHECKPOINT');
$lsn = current_lsn();

is(digest_at("walredo_rows_at(NULL::p, ''$lsn'')", '*'),
	$p_then, 'all partitions at all levels');

query(<<'SQL');
ALTER TABLE c DROP n, DROP long, ADD long int, ALTER i TYPE bigint;
CREATE TYPE like_c AS (n numeric, i int, short text, long text, array_ int[],
	byval bool, fixed tid, many float8);
DROP TABLE c;
DROP TYPE mood;
ALTER TABLE p DETACH PARTITION p1;
CREATE TABLE p1new PARTITION OF p FOR VALUES IN (1);
INSERT INTO p VALUES (1, 'new');
DROP TABLE other;
TRUNCATE p2a;
VACUUM pg_class, pg_attribute, pg_inherits;
SQL
is( digest_at("walredo_rows_at(NULL::like_c, ''$lsn'', ''$c_file'')", $c_columns),
	$c_then, 'columns that were dropped or added before, and are gone, as is a type');
is(digest_at("walredo_rows_at(NULL::p, ''$lsn'')", '*'),
	$p_then, 'partitions that are detached, dropped, and truncated');
is(digest_at("walredo_rows_at(NULL::p2, ''$lsn'')", '*'),
	$p2_then, 'and those of a partition');

# A partition that is being detached is not part of the table any more for new
# queries, while the command waits for older ones.
my $reader = session($node);
my $detacher = session($node);
run_query($reader, 'BEGIN; SELECT count(*) FROM p');
begin_query($detacher, 'ALTER TABLE p DETACH PARTITION p1new CONCURRENTLY');
$node->poll_query_until('postgres',
	'SELECT count(*) = 1 FROM pg_inherits WHERE inhdetachpending')
  or die 'the partition is not being detached';
$p_then = query("SELECT digest('SELECT * FROM p')");
$lsn = current_lsn();
run_query($reader, 'COMMIT');
$reader->quit;
end_query($detacher);
$detacher->quit;
isnt($p_then, query("SELECT digest('SELECT * FROM p UNION ALL TABLE p1new')"),
	'a partition that is being detached has rows');
is(digest_at("walredo_rows_at(NULL::p, ''$lsn'')", '*'),
	$p_then, 'they are not returned');

query(<<'SQL');
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE away LOCATION '';
SQL
query(<<'SQL');
CREATE TABLE s (i int, plain text) TABLESPACE away;
INSERT INTO s SELECT g, noise(5000, g) FROM generate_series(1, 10) g;
SQL
my $s_then = query("SELECT digest('SELECT * FROM s')");
$lsn = current_lsn();
query('ALTER TABLE s SET TABLESPACE pg_default');
query('DROP TABLESPACE away');
is(digest_at("walredo_rows_at(NULL::s, ''$lsn'')", '*'),
	$s_then, 'a table that was in a tablespace that is gone');

#
# Damage
#

query(<<'SQL');
CREATE TABLE x (i int, plain text);
ALTER TABLE x ALTER plain SET STORAGE EXTERNAL;
INSERT INTO x SELECT g, noise(5000, g) FROM generate_series(1, 20) g;
CREATE TABLE y (i int, packed text COMPRESSION pglz);
INSERT INTO y SELECT g, repeat('pglz' || g, 600 + g) FROM generate_series(1, 4) g;
INSERT INTO y SELECT g, repeat(noise(3000, g), 3) FROM generate_series(5, 6) g;
ALTER TABLE y ALTER packed SET COMPRESSION lz4;
INSERT INTO y SELECT g, repeat('lz4' || g, 1000 + g) FROM generate_series(11, 14) g;
INSERT INTO y SELECT g, repeat(noise(3000, g), 3) FROM generate_series(15, 17) g;
SQL

# Many short values: more chunks than have room in the least memory.
my @many = map { "v$_" } 1 .. 16;
query('CREATE TABLE z (i int, '
	  . join(', ', map { "$_ text" } @many)
	  . ') WITH (toast_tuple_target = 128); ALTER TABLE z '
	  . join(', ', map { "ALTER $_ SET STORAGE EXTERNAL" } @many)
	  . '; INSERT INTO z SELECT g, '
	  . join(', ', map { "noise(150, g + $_)" } 1 .. @many)
	  . ' FROM generate_series(1, 4200) g');
my %toast_of = map
{ $_ => query("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '$_'::regclass") }
  qw(x y z);
my $x_then = query("SELECT digest('SELECT * FROM x')");
my @values = split /\n/,
  query("SELECT DISTINCT chunk_id FROM $toast_of{x} ORDER BY 1");
my @packed = split /\n/,
  query("SELECT DISTINCT chunk_id FROM $toast_of{y} ORDER BY 1");

# Since PostgreSQL 19, this sets bits of the visibility map.  The record names the
# page of the value, but does not stamp it.
my $z_value = query("SELECT min(chunk_id) FROM $toast_of{z}");
my $x_relid = query("SELECT '$toast_of{x}'::regclass::oid");
$lsn = current_lsn();
my $index = query(
	"SELECT pg_relation_filepath(indexrelid) FROM pg_index WHERE indrelid = '$toast_of{x}'::regclass"
);
my %file = (
	index => "$data/$index",
	map { $_ => path_of($node, 'postgres', $_) } qw(x y),
	values %toast_of);

# Changes bytes of a file, at an offset from where other bytes are for the first
# time.
sub damage
{
	my ($path, $near, $offset, $bytes) = @_;
	my $at = index slurp_file($path), $near;

	$at >= 0 or die "$path does not have these bytes";
	overwrite($path, $at + $offset, $bytes);
	return;
}

# What is returned of a table as of then, and what is said of the rest: by place,
# with numbers that can vary replaced.
sub rows_and_warnings
{
	my ($table, $what, $settings) = @_;
	my ($stdout, $stderr) =
	  ask($node, 'postgres', ($settings // '')
		  . "SELECT $what FROM walredo_rows_at(NULL::$table, '$lsn')");
	my %details = $stderr =~
	  /WARNING:  XX001: row \((\d+,\d+)\) of "$table" is left out\nDETAIL:  (.*)/g;

	# What is said of tuples alone is not the subject here.
	foreach (values %details)
	{
		s/^The value of column "\w+" cannot be had: //;
		s/(?:Attribute \d+, |The last attribute ends ).*/broken/;
		s/\b\d{5}\b/OID/g;
	}
	return { rows => $stdout, %details };
}

$node->stop;
write_block($file{index}, $_, "\xFF" x $page_size)
  foreach 0 .. (-s $file{index}) / $page_size - 1;
$node->start;
is(digest_at("walredo_rows_at(NULL::x, ''$lsn'')", '*'),
	$x_then, 'the index of the TOAST table is damaged');

# A pointer is: raw size, size and method, value, TOAST table.
my @pointer = map { pack 'LL', $_, $x_relid } @values;
$node->stop;
damage($file{x}, $pointer[0], -8, pack('l', -1));
damage($file{x}, $pointer[1], -8, pack('L', 0x7FFFFFFF));
damage($file{x}, $pointer[2], -4, pack('L', 0));
damage($file{x}, $pointer[3], -8, pack('LL', 0x3FFFFFFF, 0x3FFFFFF0));
damage($file{x}, $pointer[4], -4, pack('L', 3));
damage($file{x}, $pointer[5], -4, pack('L', 4000));
damage($file{x}, $pointer[6], -4, pack('L', 4000 | 0x40000000));
damage($file{x}, $pointer[7], -4, pack('L', 4000 | 0xC0000000));
damage($file{x}, $pointer[8], -8, pack('LL', 5000 + 4 - 1, 5000 - 1));
damage($file{x}, $pointer[9], -8, pack('LL', 9000 + 4, 9000));
damage($file{x}, $pointer[10], 0, pack('L', $values[-1] + 1));
damage($file{x}, $pointer[11], 4, pack('L', $x_relid + 1));

# A chunk is: value, sequence number, data.
damage($file{ $toast_of{x} }, pack('LL', $values[12], 1), 4, pack('L', 7));
damage($file{ $toast_of{x} }, pack('LL', $values[13], 1), 4, pack('L', 0));
damage($file{ $toast_of{x} }, pack('LL', $values[14], 2), 0, pack('L', $values[15]));
damage($file{ $toast_of{x} }, pack('LL', $values[16], 1), 8, pack('L', 1000 << 2));

# So many bytes of a compressed value, and the method, are after its header.
damage($file{y}, pack('L', 601 * 5), 0, pack('L', 500000000));
damage($file{y}, pack('L', 602 * 5), 0, pack('L', 602 * 5 - 1));
damage($file{y}, pack('L', 603 * 5), 0, pack('L', 603 * 5 | 0x80000000));
damage($file{y}, pack('L', 604 * 5), 4, "\xFF" x 4);
damage($file{ $toast_of{y} }, pack('LL', $packed[0], 0), 12, pack('L', 9001));
damage($file{ $toast_of{y} }, pack('LL', $packed[1], 1), 1000, "\xFF" x 100);
damage($file{y}, pack('L', 1011 * 5 | 0x40000000), 0, pack('L', 1011 * 5 - 1 | 0x40000000));
damage($file{y}, pack('L', 1012 * 5 | 0x40000000), 0, pack('L', 1012 * 5 + 1 | 0x40000000));
damage($file{y}, pack('L', 1013 * 5 | 0x40000000), 0, pack('L', 0x7FFFFFFF));
damage($file{y}, pack('L', 1014 * 5 | 0x40000000), 0, pack('L', 1014 * 5));
damage($file{ $toast_of{y} }, pack('LL', $packed[2], 0), 12, pack('L', 9000));
damage($file{ $toast_of{y} }, pack('LL', $packed[3], 0), 12, pack('L', 9001 | 0x40000000));
damage($file{ $toast_of{z} }, pack('LL', $z_value, 0), 0, pack('L', 1));
$node->start;

my $other = 'The size or the compression method of TOAST value OID is not what its row has.';
my $incomplete =
  'chunks of TOAST value OID were found. Not all of block 11 of the TOAST table is known: broken';
my $found = rows_and_warnings('x', 'i');
is_deeply(
	$found,
	{   '0,1' => 'broken',
		'0,2' => 'broken',
		'0,3' => 'TOAST value OID has 0 bytes, and a raw size of 5004, which is not possible.',
		'0,4' => 'TOAST value OID has 1073741808 bytes, which are more than the TOAST table has.',
		'0,5' => 'TOAST value OID has 3 bytes, which are too few to be decompressed.',
		'0,6' => 'Chunk 2 of TOAST value OID has a size of 1008, instead of 8.',
		'0,7' => 'Chunk 2 of TOAST value OID has a size of 1008, instead of 8.',
		'0,8' => 'broken',
		'0,9' => 'Chunk 2 of TOAST value OID has a size of 1008, instead of 1007.',
		'0,10' => 'Chunk 2 of TOAST value OID has a size of 1008, instead of 1996.',
		'0,11' => "Only 0 of 3 $incomplete",
		'0,12' => "TOAST value OID is in TOAST table OID, which is not the table's.",
		'0,13' => 'TOAST value OID has a chunk 7, but only 3 chunks are expected.',
		'0,14' => 'Chunk 0 of TOAST value OID is there twice.',
		'0,15' => "Only 2 of 3 $incomplete",
		'0,16' => 'Chunk 2 of TOAST value OID is there twice.',
		'0,17' => "Only 2 of 3 $incomplete",
		rows => "18\n19\n20" },
	'pointers and chunks are damaged')
  or diag explain $found;

$found = rows_and_warnings('y', 'i');
is_deeply(
	$found,
	{   '0,1' => 'A value of 500000000 bytes cannot have been compressed to 40 bytes.',
		(map { ("0,$_" => 'A compressed value is broken.') } 2, 4, 6, 7, 8, 10),
		'0,3' => 'broken',
		'0,9' => 'broken',
		(map { ("0,$_" => $other) } 5, 11, 12),
		rows => 17 },
	'compressed values are damaged')
  or diag explain $found;

#
# Memory
#

$found = rows_and_warnings('z', 'count(*)', "SET maintenance_work_mem = '1MB';");
is_deeply(
	$found,
	{   '0,1' => 'Only 0 of 1 chunks of TOAST value OID were found. '
		  . 'The places of all chunks would take more memory than maintenance_work_mem.',
		rows => 4199 },
	'too many values to find one without the index')
  or diag explain $found;

query('DELETE FROM z');
like(
	error_of(
		$node, 'postgres',
		"SET maintenance_work_mem = '1MB'; SELECT count(*) FROM walredo_rows_at(NULL::z, '$lsn')"),
	qr/ERROR:  54000: the places of TOAST values take more memory than maintenance_work_mem\nHINT:/,
	'too many values in blocks that have changed');

query(<<'SQL');
CREATE TABLE wide (i int) PARTITION BY LIST (i);
DO $$ BEGIN
	EXECUTE (SELECT format('ALTER TABLE wide %s', string_agg(format('ADD %I int', 'c' || g), ', '))
		FROM generate_series(1, 600) g);
	FOR i IN 1..20 LOOP
		EXECUTE format('CREATE TABLE wide%s PARTITION OF wide FOR VALUES IN (%s)', i, i);
	END LOOP;
	INSERT INTO wide SELECT generate_series(1, 20);
END $$;
SQL
$lsn = current_lsn();
is(rows_and_warnings('wide', 'count(*)')->{rows}, 20, 'many columns');
like(
	error_of(
		$node, 'postgres',
		"SET maintenance_work_mem = '1MB'; SELECT * FROM walredo_rows_at(NULL::wide, '$lsn')"),
	qr{ERROR:  54000: the catalogs as of \w+/\w+ take more memory than maintenance_work_mem\nHINT:},
	'too many columns');

#
# Catalogs that cannot be read
#

query('VACUUM FULL wide1');
foreach ([ 'pg_inherits', 'wide' ], [ 'pg_attribute', 'wide1' ], [ 'pg_class', 'wide1' ])
{
	my ($catalog, $table) = @$_;

	query("VACUUM FULL $catalog");
	my ($stdout, $stderr) =
	  ask($node, 'postgres', "SELECT * FROM walredo_rows_at(NULL::$table, '$lsn')");
	like(
		$stdout . $stderr,
		qr{^DETAIL:  .*Catalog $catalog has been rewritten at \w+/\w+\.$}m,
		"$catalog has another file");
}

$node->stop;
done_testing();
