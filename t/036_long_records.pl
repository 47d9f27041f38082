# WAL records of more than 16 MB, which is more than a wal-redo child is given:
# they are read, decoded and stored as others are, and only replay is refused.
#
# Seen to fail: the tests of a message, when the limit was one for all records;
# "replay" without a limit, since the child ends then; "history" when the child
# was asked to describe a long commit.

use WalredoTest;

my $length = 17_000_000;
my $node = wal_server('long');
$node->start;
$node->safe_psql('postgres', qq{
	CREATE EXTENSION walredo;
	CREATE EXTENSION pageinspect;
	CREATE TABLE t (i int);
	INSERT INTO t VALUES (1);
	CHECKPOINT;
	CREATE TABLE range AS SELECT pg_current_wal_insert_lsn() AS start_lsn,
		NULL::pg_lsn AS end_lsn;
	INSERT INTO t VALUES (2);
	SELECT pg_logical_emit_message(false, 'long', repeat('x', $length));
	INSERT INTO t VALUES (3);
	UPDATE range SET end_lsn = pg_current_wal_insert_lsn();
	SELECT pg_switch_wal();
});
my $tag = "walredo_tag('t', 'main', 0)";
my $range =
  '(SELECT start_lsn FROM range), (SELECT end_lsn FROM range)';

# What is returned may be as long as the records are.
sub query
{
	return substr value_or_error($node, 'postgres', shift), 0, 1000;
}

#
# A message, which changes no page
#

my $long = "walredo_wal_records($range) AS r WHERE record_length > $length";
my ($start, $end, $size) = split /\|/,
  $node->safe_psql('postgres',
	"SELECT start_lsn, end_lsn, record_length FROM $long");
cmp_ok($size, '>', $length, 'a message is read');
is( query(
		"SELECT count(*) > 3, count(d.tag) > 2 FROM walredo_wal_records($range) AS r LEFT JOIN LATERAL walredo_decode(r.end_lsn, r.rec) AS d ON true"
	),
	't|t',
	'all records are decoded');
is( query(
		"SELECT count(*) FROM $long AND EXISTS (SELECT FROM walredo_decode(r.end_lsn, r.rec))"
	),
	0,
	'a message changes no page');
is( query(
		"SELECT length(_walredo_record_send(walredo_postgres(end_lsn, rec))) - record_length, (SELECT count(*) FROM walredo_record_images(end_lsn, rec)) FROM $long"
	),
	'14|0',
	'a message is a record, and has no images');
is( query(
		"SELECT (SELECT count(*) FROM walredo_page_history($tag, $range)), walredo_page_at($tag, (SELECT end_lsn FROM range)) = get_raw_page('t', 0)"
	),
	'2|t',
	'a message does not keep a page from being rebuilt');
like(
	query(
		"SELECT walredo_apply($tag, NULL, ARRAY[walredo_postgres(end_lsn, rec)]) FROM $long"
	),
	qr/^22023: WAL record does not belong to the page/,
	'a message is not applied');

#
# Records that are as long, of other sorts
#

# Puts a record into a file of the server's, with the right checksum.  Returns
# what it has put there.
my $file = "pg_read_binary_file('record')";

sub write_record
{
	my $record = sealed_record(shift);

	write_file($node->data_dir . '/record', $record);
	return $record;
}

# A record, but for its checksum, of the message's length.
sub long_record
{
	my ($rmid, $info, $headers, $main) = @_;
	my $n = $size - $record_header_size - length($headers) - 5;

	die 'too long' if length $main > $n;
	return
		pack('LLQCCSL', $size, 1000, 0, $info, $rmid, 0, 0)
	  . $headers
	  . pack('CL', 254, $n)
	  . $main
	  . "\0" x ($n - length $main);
}

# The record of a commit: its time, what it has besides that, and counts.
my $subxacts = 20_000;
my $invals = int(($length - 4 * $subxacts) / 16) - 10;
my $commit = write_record(
	long_record(
		1, 0x80, '',
		pack('QLL', 0, 0x02 | 0x08, $subxacts)
		  . pack('L*', 1001 .. 1000 + $subxacts)
		  . pack('L', $invals)));
is( query(
		"SELECT DISTINCT tag FROM walredo_decode('0/5000', $file) WHERE tag::text ~ 'xact'"
	),
	'slru pg_xact/0000 blk 0',
	'a commit is decoded');
is( query(
		"SELECT md5(walredo_apply('slru pg_xact/0000 blk 0', decode(repeat('00', $page_size), 'hex'), ARRAY[walredo_postgres('0/5000', $file)])) = md5(walredo_apply('slru pg_xact/0000 blk 0', decode(repeat('00', $page_size), 'hex'), (SELECT array_agg(record) FROM walredo_decode('0/5000', $file) WHERE tag = 'slru pg_xact/0000 blk 0')))"
	),
	't',
	'a commit is applied');

my $dir = copy_segments($node->data_dir . '/pg_wal',
	PostgreSQL::Test::Utils::tempdir());
my ($prev) = $node->safe_psql('postgres',
	"SELECT prev_lsn - '0/0'::pg_lsn FROM $long");
substr($commit, 8, 8) = pack 'Q', $prev;
overwrite_record($dir, $start, sealed_record($commit));
is( query(
		"SELECT resource_manager, record_type, description FROM walredo_page_history('slru pg_xact/0000 blk 0', '$start', '$end', '$dir')"
	),
	'Transaction|COMMIT|',
	'history: a commit has no description');
is( query(
		"SELECT resource_manager, record_type FROM walredo_page_records('slru pg_xact/0000 blk 0', '$start', '$end', '$dir')"
	),
	'Transaction|COMMIT',
	'a commit in WAL is read');

# The state of a prepared transaction is an object as long as the record.
write_record(
	long_record(
		1, 0x10, '',
		pack('LLLL', 0, $size - 29 + 4, 1000, 5)));
is( query(
		"SELECT tag, octet_length(walredo_apply(tag, NULL, ARRAY[record])) - $size FROM walredo_decode('0/5000', $file)"
	),
	'twophase 1000|-25',
	'a prepared transaction is decoded and applied');

# A record that a child would have to replay.
write_record(
	long_record(
		10, 0x00,
		pack('CCSLLLL', 0, 0x40, 0, 1663, 5, 16384, 7), ''));
is( query("SELECT tag FROM walredo_decode('0/5000', $file)"),
	'rel 1663/5/16384 blk 7',
	'a record that names a block is decoded');
is( query(
		"SELECT walredo_apply('rel 1663/5/16384 blk 7', NULL, ARRAY[walredo_postgres('0/5000', $file)])"
	),
	"54000: WAL record is too large to be replayed\nDETAIL:  The record at 0/5000 has $size bytes, but the limit is 16777216.\n",
	'replay');

$node->stop;
done_testing();
