# The types through pg_dump and COPY: stored values are the same after them, in
# text and in binary form, with the indexes on them; and a binary form that is
# broken is refused.

use WalredoTest;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;

my $dir = PostgreSQL::Test::Utils::tempdir;
# COPY writes its files as the server
chmod 0777, $dir;

# One row for each kind of tag and of record, some far too long for a page;
# the WAL record is a whole one, in this machine's byte order.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE stored (
	i int PRIMARY KEY,
	tag walredo_tag,
	rec walredo_record,
	recs walredo_record[],
	member walredo_multixact_member
);
INSERT INTO stored (i, tag, rec)
SELECT row_number() OVER (), t::walredo_tag, r::walredo_record
FROM (VALUES
	('rel 1663/5/16384 blk 7', '0/1 clear_visibility_map_flags new_heap_blkno=5 flags=3'),
	('rel 1663/5/16384 fork vm blk 0', '0/2 clear_visibility_map_flags old_heap_blkno=7 flags=1'),
	('rel 1664/0/1262 blk 4294967294', '0/3 truncate_visibility_map trunc_byte=12 trunc_offs=2'),
	('slru pg_xact/0000 blk 3', '0/4 clog_set_committed xids=731,732'),
	('slru pg_xact/0FFF blk 31', '0/5 clog_set_aborted xids=731'),
	(NULL, '0/6 clog_set_subcommitted xids=731'),
	('slru pg_multixact/offsets/0000 blk 0', '0/7 multixact_offset_create mid=5 moff=77'),
	('slru pg_multixact/members/0000 blk 0', '0/8 multixact_members_create moff=77 members=731:4,732:1'),
	('slru pg_commit_ts/0000 blk 0', '0/9 commit_ts_set timestamp=-1 origin=7 xids=731'),
	('relmap 1663/5', 'FFFFFFFF/FFFFFFFF zero_page'),
	('twophase 731', '0/B replace contents=\x0001feff'),
	('twophase 4294967295', NULL),
	(NULL, '0/16B3740 postgres rec=\x1c000000db02000000376b010000000000000000baf80fdaff026869'),
	(NULL, '0/16B3740 postgres will_init=true rec=\x1c000000db02000000376b010000000000000000baf80fdaff026869'),
	(NULL, '0/16B3740 postgres will_init=false rec=\x1c000000db02000000376b010000000000000000baf80fdaff026869'))
	AS v(t, r);
INSERT INTO stored (i, tag, rec)
SELECT 100 + i, ('rel 1663/5/16385 blk ' || i)::walredo_tag,
	walredo_replace('0/1', convert_to((
		SELECT string_agg(md5((i * 1000 + j)::text), '') FROM generate_series(0, i * 10) AS j), 'UTF8'))
FROM generate_series(0, 200) AS i;
UPDATE stored SET
	recs = ARRAY[rec, NULL, rec],
	member = ROW((3 + i)::text::xid, i % 6);
CREATE INDEX stored_btree ON stored USING btree (tag);
CREATE INDEX stored_hash ON stored USING hash (tag);
SQL

# All rows are equal in their binary form: records have no operator for equality.
sub is_equal
{
	my ($database, $copied, $name) = @_;

	is( $node->safe_psql($database, <<"SQL"), '216|0', $name);
SELECT count(*), count(*) FILTER (WHERE
	a.tag IS DISTINCT FROM b.tag OR
	_walredo_record_send(a.rec) IS DISTINCT FROM _walredo_record_send(b.rec) OR
	array_send(a.recs) IS DISTINCT FROM array_send(b.recs) OR
	record_send(a.member) IS DISTINCT FROM record_send(b.member))
FROM stored AS a FULL JOIN $copied AS b USING (i)
SQL
	return;
}

#
# pg_dump and psql
#

$node->safe_psql('postgres', 'CREATE DATABASE restored');
my $dump = "$dir/dump.sql";
$node->command_ok(
	[ 'pg_dump', '--no-sync', '--file', $dump, 'postgres' ], 'dump');
$node->command_ok(
	[
		'psql', '--no-psqlrc', '--quiet', '--set', 'ON_ERROR_STOP=1',
		'--file', $dump, 'restored'
	],
	'restore');

# the table that was dumped, next to the one that was restored
$node->safe_psql('postgres',
	"COPY (SELECT * FROM stored) TO '$dir/original' (FORMAT binary)");
$node->safe_psql('restored', <<"SQL");
CREATE TABLE original (LIKE stored);
COPY original FROM '$dir/original' (FORMAT binary);
SQL
is_equal('restored', 'original', 'restored as it was');

foreach my $index ('stored_btree', 'stored_hash')
{
	# the other index would do as well
	my $result = $node->safe_psql('restored', <<"SQL");
SET enable_seqscan = off;
SET enable_bitmapscan = off;
BEGIN;
DROP INDEX ${\($index eq 'stored_btree' ? 'stored_hash' : 'stored_btree')};
EXPLAIN (COSTS OFF) SELECT i FROM stored WHERE tag = 'rel 1663/5/16385 blk 77';
SELECT i FROM stored WHERE tag = 'rel 1663/5/16385 blk 77';
SELECT i FROM stored WHERE tag = 'slru pg_xact/0FFF blk 31';
ROLLBACK;
SQL
	like($result, qr/\bIndex Scan using $index\b.*^177\n5$/ms,
		"$index was restored");
}

#
# COPY
#

foreach my $format ('text', 'csv', 'binary')
{
	$node->safe_psql('postgres', <<"SQL");
COPY stored TO '$dir/$format' (FORMAT $format);
CREATE TABLE copied_$format (LIKE stored);
COPY copied_$format FROM '$dir/$format' (FORMAT $format);
SQL
	is_equal('postgres', "copied_$format", "COPY, $format");
}

# A value of the binary form through COPY, with nothing around it but COPY's
# own header and trailer.
sub copy_binary_value
{
	my ($type, $value) = @_;
	my $file = "$dir/value";

	write_file($file,
		    "PGCOPY\n\xff\r\n\0"
		  . pack('NN', 0, 0)
		  . pack('nN', 1, length $value)
		  . $value
		  . pack('n', 0xffff));
	my ($stdout, $stderr) = ask($node, 'postgres', <<"SQL");
CREATE TEMP TABLE one_value (v $type);
COPY one_value FROM '$file' (FORMAT binary);
SELECT v FROM one_value;
SQL
	return $stderr =~ /ERROR:  (\w{5}): /
	  ? $1
	  : $stdout . $stderr;
}

my @values = (

	# kind, fork, tablespace, database, relation, number
	[ 'rel 1/2/3 fork vm blk 4', 'walredo_tag', pack('CCNNNQ>', 0, 2, 1, 2, 3, 4) ],
	[ '22P03', 'walredo_tag', '' ],
	[ '22P03', 'walredo_tag', pack('CCNNNN', 0, 2, 1, 2, 3, 4) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>C', 0, 2, 1, 2, 3, 4, 0) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 7, 0, 0, 0, 0, 4) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 255, 0, 0, 0, 0, 4) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 0, 4, 1, 2, 3, 4) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 0, 255, 1, 2, 3, 4) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 0, 0, 0, 2, 3, 4) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 0, 0, 1, 2, 0, 4) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 0, 0, 1, 2, 3, 0xFFFFFFFF) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 0, 0, 1, 2, 3, 2**40) ],
	[ 'slru pg_xact/0FFF blk 31', 'walredo_tag', pack('CCNNNQ>', 1, 0, 0, 0, 0, 131071) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 1, 0, 0, 0, 0, 131072) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 1, 0, 1, 0, 0, 0) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 1, 1, 0, 0, 0, 0) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 5, 0, 1, 2, 0, 1) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 6, 0, 0, 0, 0, 2) ],
	[ '22P03', 'walredo_tag', pack('CCNNNQ>', 6, 0, 0, 0, 0, 2**32) ],

	# kind, flags, LSN; then fields, and a count with entries
	[ '0/1 zero_page', 'walredo_record', pack('CCQ>', 9, 0, 1) ],
	[ '22P03', 'walredo_record', '' ],
	[ '22P03', 'walredo_record', pack('CCN', 9, 0, 1) ],
	[ '22P03', 'walredo_record', pack('CCQ>C', 9, 0, 1, 0) ],
	[ '22P03', 'walredo_record', pack('CCQ>', 11, 0, 1) ],
	[ '22P03', 'walredo_record', pack('CCQ>', 255, 0, 1) ],
	[ '22023', 'walredo_record', pack('CCQ>', 9, 0, 0) ],
	[ '22023', 'walredo_record', pack('CCQ>', 9, 1, 1) ],
	[ '22023', 'walredo_record', pack('CCQ>', 9, 4, 1) ],
	[ '0/1 clog_set_aborted xids=3,4', 'walredo_record', pack('CCQ>NNN', 4, 0, 1, 2, 3, 4) ],
	[ '22P03', 'walredo_record', pack('CCQ>', 4, 0, 1) ],
	[ '22P03', 'walredo_record', pack('CCQ>NNN', 4, 0, 1, 3, 3, 4) ],
	[ '22P03', 'walredo_record', pack('CCQ>NNN', 4, 0, 1, 1, 3, 4) ],
	[ '22P03', 'walredo_record', pack('CCQ>NNNC', 4, 0, 1, 2, 3, 4, 0) ],
	[ '22P03', 'walredo_record', pack('CCQ>NNN', 4, 0, 1, 0xFFFFFFFF, 3, 4) ],
	[ '22P03', 'walredo_record', pack('CCQ>NNN', 4, 0, 1, 0x40000002, 3, 4) ],
	[ '22023', 'walredo_record', pack('CCQ>N', 4, 0, 1, 0) ],
	[ '22023', 'walredo_record', pack('CCQ>NN', 4, 0, 1, 1, 2) ],
	[ '22P03', 'walredo_record', pack('CCQ>NN', 1, 0, 1, 5, 7) ],
	[ '22023', 'walredo_record', pack('CCQ>NNN', 1, 0, 1, 5, 7, 4) ],
	[ '22P03', 'walredo_record', pack('CCQ>Q>NNNNN', 7, 0, 1, 77, 1, 3, 0, 4, 0) ],
	[ '0/1 multixact_members_create moff=77 members=3:5', 'walredo_record',
		pack('CCQ>Q>NNN', 7, 0, 1, 77, 1, 3, 5) ],
	[ '22023', 'walredo_record', pack('CCQ>Q>NNN', 7, 0, 1, 77, 1, 3, 6) ],
	[ '22P03', 'walredo_record', pack('CCQ>N', 0, 0, 1, 0x7FFFFFFF) ],
	[ 'XX001', 'walredo_record', pack('CCQ>N', 0, 0, 1, 0) ],
	[ 'XX001', 'walredo_record', pack('CCQ>Na24', 0, 0, 1, 24, '') ],
	[ '22023', 'walredo_record', pack('CCQ>Na24', 0, 2, 1, 24, '') ],
	[ '22P03', 'walredo_record', pack('CCQ>Na24', 10, 0, 1, 23, '') ],
	[ '54000', 'walredo_record', pack('CCQ>N', 3, 0, 1, 2**22 + 1) . (pack('N', 3) x (2**22 + 1)) ]);

foreach my $case (@values)
{
	my ($expected, $type, $value) = @$case;

	is(copy_binary_value($type, $value), $expected,
		"$type from " . length($value) . ' bytes ' . unpack('H80', $value));
}

$node->stop;
done_testing();
