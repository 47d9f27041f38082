# Pages from an archive: segments that have been moved out of pg_wal give the
# same pages; an error says why a page cannot be rebuilt; a base image that the
# caller gives makes up for WAL that is gone; and a deleted row is there again at
# an LSN before its deletion.
#
# Seen to fail:
# - when a history began after the gap that it was to lead across;
# - when records older than a base image of the visibility map were applied to
#   it;
# - when the end of WAL, as the start of a range, was said to be in the future;
# - when only the archive was looked at for a relation's other file, and when
#   verification did not read it.

use File::Copy qw(move);
use WalredoTest;

my $node = wal_server('main');
my $data = $node->data_dir;
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
SQL

sub current_lsn
{
	return $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
}

# The segment that an LSN is in.
sub segment_of
{
	return segment_name(1, shift);
}

# The error of a statement that must fail.
sub failure
{
	return error_of($node, 'postgres', shift);
}

#
# WAL of many segments, and pages from it
#

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (i int PRIMARY KEY, t text);
INSERT INTO t SELECT g, repeat('a', 200) FROM generate_series(1, 3000) g;
VACUUM t;
SQL
my %lsn;
$lsn{alive} = current_lsn();
$node->safe_psql('postgres', 'DELETE FROM t WHERE i = 3');
$lsn{deleted} = current_lsn();
$node->safe_psql('postgres', 'VACUUM t');
$lsn{vacuumed} = current_lsn();
$node->safe_psql('postgres', "UPDATE t SET t = repeat('b', 210) WHERE i % 3 = 0");
$lsn{updated} = current_lsn();
$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
$node->safe_psql('postgres', <<'SQL');
UPDATE t SET t = repeat('c', 200) WHERE i % 5 = 0;
DELETE FROM t WHERE i BETWEEN 1000 AND 2000;
VACUUM t;
SQL
$lsn{last} = current_lsn();

# A row is back before its DELETE
my $row = "FROM heap_page_items(walredo_page_at('t', 'main', 0, '%s')) WHERE lp = 3";
is( $node->safe_psql('postgres',
		'SELECT lp_flags, t_xmax, substr(t_data, 1, 4) '
		  . sprintf($row, $lsn{alive})),
	'1|0|\x03000000',
	'a row is alive before its DELETE');
is( $node->safe_psql('postgres',
		'SELECT lp_flags, t_xmax::text::int > 0, substr(t_data, 1, 4) '
		  . sprintf($row, $lsn{deleted})),
	'1|t|\x03000000',
	'... deleted after it');
is( $node->safe_psql('postgres',
		'SELECT lp_flags, t_xmax ' . sprintf($row, $lsn{vacuumed})),
	'0|',
	'... and gone after VACUUM');

# All pages at all of these
my $lsns = join ', ', map { "('$_'::pg_lsn)" } sort values %lsn;
$node->safe_psql('postgres', <<SQL);
CREATE TABLE expected AS
SELECT walredo_tag(f.rel, f.fork, p.blkno) AS tag, l.lsn, p.page
FROM (VALUES ('t'::regclass, 'main'), ('t', 'vm'), ('t_pkey', 'main')) f(rel, fork),
	(VALUES $lsns) l(lsn), LATERAL walredo_pages_at(f.rel, f.fork, l.lsn) p;
CREATE TABLE expected_history AS
SELECT t.tag, h.*
FROM (SELECT DISTINCT tag FROM expected WHERE tag::text ~ ' blk [01]\$') t,
	LATERAL walredo_page_history(t.tag, '0/0', '$lsn{last}') h;
CREATE TABLE expected_records AS
SELECT t.tag, r.*
FROM (SELECT DISTINCT tag FROM expected WHERE tag::text ~ ' blk [01]\$') t,
	LATERAL walredo_page_records(t.tag, '0/0', '$lsn{last}') r;
SQL
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM expected'),
	'>', 400, 'pages before the move');
is( $node->safe_psql('postgres', <<SQL),
SELECT count(*) FROM expected
WHERE page IS DISTINCT FROM walredo_page_at(tag, lsn)
SQL
	0,
	'one page at a time is the same as all at once');

#
# The segments elsewhere
#

$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
$node->stop;

# It was stopped cleanly, so redo would begin at the checkpoint.
my $redo_segment = segment_of(checkpoint_lsn($node));
my $archive = "$data/archive";
mkdir $archive or die "mkdir: $!";
my @moved = grep { /^[0-9A-F]{24}$/ && $_ lt $redo_segment }
  sort { $a cmp $b } slurp_dir("$data/pg_wal");
move("$data/pg_wal/$_", "$archive/$_") or die "move $_: $!" foreach @moved;
cmp_ok(scalar @moved, '>=', 4, 'segments moved');
cmp_ok(segment_of($lsn{last}), 'le', $moved[-1], 'WAL of all that is elsewhere');
$node->start;

is( $node->safe_psql('postgres', <<SQL),
SELECT count(*), count(*) FILTER (WHERE page = walredo_page_at(tag, lsn, NULL, '$archive'))
FROM expected
SQL
	join('|', ($node->safe_psql('postgres', 'SELECT count(*) FROM expected')) x 2),
	'an archive gives the same pages');
is( $node->safe_psql('postgres', <<SQL),
WITH archived AS (
	SELECT t.tag, h.*
	FROM (SELECT DISTINCT tag FROM expected_history) t,
		LATERAL walredo_page_history(t.tag, '0/0', '$lsn{last}', '$archive') h)
SELECT count(*)
FROM ((TABLE archived EXCEPT ALL TABLE expected_history) UNION ALL
	(TABLE expected_history EXCEPT ALL TABLE archived)) d
SQL
	0,
	'... and the same histories');
is( $node->safe_psql('postgres', <<SQL),
SELECT count(*) FROM expected_records e FULL JOIN
	(SELECT t.tag, r.start_lsn, r.end_lsn, r.record::text AS record
	 FROM (SELECT DISTINCT tag FROM expected_records) t,
		LATERAL walredo_page_records(t.tag, '0/0', '$lsn{last}', '$archive') r) a
	ON e.tag = a.tag AND e.start_lsn = a.start_lsn AND e.end_lsn = a.end_lsn
		AND e.record::text = a.record
WHERE e.tag IS NULL OR a.tag IS NULL
SQL
	0,
	'... and the same records');

#
# By the names of relations, which are those that the server has now
#

my $expected_pages = $node->safe_psql('postgres', 'SELECT count(*) FROM expected');
is( $node->safe_psql('postgres', <<SQL),
SELECT count(*), count(*) FILTER (WHERE e.page = p.page)
FROM (VALUES ('t'::regclass, 'main'), ('t', 'vm'), ('t_pkey', 'main')) f(rel, fork),
	(VALUES $lsns) l(lsn), LATERAL walredo_pages_at(f.rel, f.fork, l.lsn, '$archive') p,
	expected e
WHERE e.tag = walredo_tag(f.rel, f.fork, p.blkno) AND e.lsn = l.lsn
SQL
	"$expected_pages|$expected_pages",
	'an archive gives the pages of relations');
is( $node->safe_psql('postgres', <<SQL),
SELECT count(*) > 10, bool_and(e.page = p.page)
FROM walredo_pages_at_all('{t, t_pkey}', '$lsn{updated}', '$archive') p
	JOIN expected e ON e.tag = walredo_tag(p.relation, p.fork, p.blkno)
WHERE e.lsn = '$lsn{updated}'
SQL
	't|t',
	'... of several at once');
is( $node->safe_psql('postgres', <<SQL),
SELECT count(*), bool_and(e.page = walredo_page_at('t', 1, e.lsn, '$archive')
	AND e.page = walredo_page_at('t', 'main', 1, e.lsn, '$archive'))
FROM expected e WHERE e.tag = walredo_tag('t', 1)
SQL
	scalar(keys %lsn) . '|t',
	'... and one at a time');

# A table that came later, in the server's own WAL, was not there.
$node->safe_psql('postgres', 'CREATE TABLE later AS SELECT 1 AS i');
like(
	failure("SELECT count(*) FROM walredo_pages_at('later', 'main', '$lsn{alive}', '$archive')"),
	qr{22023: relation "later" had another file, or did not exist, at},
	'a table that is newer than the archive');

# Pages whose last images are in the archive can be verified with it.
is( $node->safe_psql('postgres', <<SQL),
SELECT count(*) FILTER (WHERE o.status = 'unverifiable') > 20,
	count(*) FILTER (WHERE a.status = 'ok') = pg_relation_size('t') / $page_size,
	count(*) = pg_relation_size('t') / $page_size
FROM walredo_verify('t') o FULL JOIN walredo_verify('t', 'main', '$archive') a USING (blkno)
SQL
	't|t|t',
	'an archive makes up for WAL that the server has not any more');
is( $node->safe_psql('postgres', <<SQL),
SELECT DISTINCT status FROM walredo_verify_all('{t, t_pkey}', '$archive')
SQL
	'ok',
	'... for several relations');

#
# What the WAL that is left does not tell
#

my $block = "SELECT walredo_page_at('t', 'main', 0, '%s')";
my $tag = $node->safe_psql('postgres', "SELECT walredo_tag('t', 'main', 0)");
my $left_at = plain_lsns(current_lsn());

# The end of WAL, which the message looks beyond, is as good as any LSN.
my $clog = 'slru pg_xact/0000 blk 0';
like(
	failure("SELECT walredo_page_at('$clog', '$open_end')"),
	qr{22023:\ cannot\ rebuild\ \Q$clog\E\ at\ [0-9A-F]+/[0-9A-F]+\n
	   .*WAL\ segment\ "$moved[-1]"\ is\ the\ first\ that\ is\ missing}xs,
	'the missing segment is named at the end of WAL');

# The first change after the checkpoint puts an image into WAL, from which on the
# page can be rebuilt.
$node->safe_psql('postgres', "UPDATE t SET t = 'with an image' WHERE i = 1");
like(
	failure(sprintf($block, $left_at)),
	qr{22023:\ cannot\ rebuild\ \Q$tag\E\ at\ \Q$left_at\E\n
	   DETAIL:\ \ WAL\ from\ [0-9A-F]+/[0-9A-F]+\ to\ \Q$left_at\E\ has\ no\ record\ of\ the\ page\.\ The\ earliest.*\n
	   HINT:\ \ .*WAL\ segment\ "$moved[-1]"\ is\ the\ first\ that\ is\ missing}x,
	'so it is before');
my $stderr = failure(sprintf($block, $left_at));
like($stderr, qr{The earliest LSN at which it can be rebuilt is [0-9A-F]+/[0-9A-F]+\.},
	'the earliest LSN is named');
my ($earliest) =
  $stderr =~ m{earliest LSN at which it can be rebuilt is ([0-9A-F]+/[0-9A-F]+)};
is( $node->safe_psql('postgres',
		"SELECT length(walredo_page_at('t', 'main', 0, '$earliest'))"),
	$page_size,
	'at that LSN it can be rebuilt');
like(
	failure("SELECT walredo_page_at('t', 'main', 0, '$earliest'::pg_lsn - 1)"),
	qr/ERROR:/, '... but not before it');

# Without images it never can, except from a base image that the caller gives.
$node->safe_psql('postgres', <<'SQL');
ALTER SYSTEM SET full_page_writes = off;
SELECT pg_reload_conf();
SQL
$node->restart;
$node->safe_psql('postgres', 'VACUUM t; CHECKPOINT');
my $file = $node->safe_psql('postgres', "SELECT pg_relation_filepath('t')");
$node->safe_psql('postgres', <<SQL);
CREATE TABLE base AS
SELECT walredo_tag('t', 'main', g) AS tag,
	pg_read_binary_file('$file', g * $page_size, $page_size) AS page
FROM generate_series(2, 9) g
UNION ALL
SELECT walredo_tag('t', 'vm', 0),
	pg_read_binary_file('${file}_vm', 0, $page_size);
CREATE TABLE base_lsn AS SELECT pg_current_wal_insert_lsn() AS lsn;
UPDATE t SET t = 'without an image'
WHERE ctid >= '(2,0)' AND ctid < '(10,0)' AND i % 7 = 0;
SQL
my $middle = plain_lsns(current_lsn());
$node->safe_psql('postgres', <<'SQL');
UPDATE t SET t = 'without an image, again'
WHERE ctid >= '(2,0)' AND ctid < '(10,0)' AND i % 7 = 1;
SQL
my $end = plain_lsns(current_lsn());
like(
	failure("SELECT walredo_page_at('t', 'main', 5, '$middle')"),
	qr{22023: cannot rebuild .* at \Q$middle\E\nDETAIL:.* has \d+ records of the page, but none that initializes it or contains an image of it\.},
	'records without an image do not make a page');
$node->safe_psql('postgres', 'CHECKPOINT');
is( $node->safe_psql('postgres', <<SQL),
SELECT count(*), count(*) FILTER (WHERE walredo_page_mask('Heap', made, blkno)
		= walredo_page_mask('Heap', disk, blkno)),
	count(*) FILTER (WHERE made <> page)
FROM base,
	LATERAL (SELECT substring(tag::text, 'blk (\\d+)')::int8) b(blkno),
	LATERAL (SELECT walredo_page_at(tag, '$end', page)) m(made),
	LATERAL (SELECT pg_read_binary_file('$file', blkno * $page_size, $page_size)) d(disk)
WHERE tag::text !~ 'fork vm'
SQL
	'8|8|8',
	'base images lead to the pages on disk');

# The same for the visibility map, most of whose changes do not show in its
# LSN: records that are older than the base image must not be applied to it.
my $map_sql = <<'SQL';
SELECT substr(walredo_page_at(tag, '%s', page, %s), 11)
	= substr(pg_read_binary_file('%s', 0, %d), 11)
FROM base WHERE tag::text ~ 'fork vm'
SQL
is( $node->safe_psql(
		'postgres',
		sprintf($map_sql, $end, 'NULL', "${file}_vm", $page_size)),
	't',
	'the base of a map leads to the map on disk');
is( $node->safe_psql(
		'postgres',
		# but for the checksum, which is as old as the image in WAL
		"SELECT overlay(walredo_page_at(tag, lsn, page) PLACING '\\x0000' FROM 9)
			= overlay(page PLACING '\\x0000' FROM 9)
		FROM base, base_lsn WHERE tag::text ~ 'fork vm'"),
	't',
	'a map is as it was when the base was taken');

#
# A gap
#

my @between = grep
{
	$_ gt segment_of($lsn{alive}) && $_ lt segment_of($lsn{last})
} @moved;
my $gap = $between[ int(@between / 2) ];
cmp_ok(segment_of($lsn{alive}), 'lt', $gap, 'there is WAL before the gap');
cmp_ok(segment_of($lsn{last}), 'gt', $gap, '... and after it');
unlink "$archive/$gap" or die "unlink: $!";

# A page whose image is before the gap
like(
	failure(
		"SELECT walredo_page_at('$tag', '$lsn{last}', NULL::bytea, '$archive')"),
	qr{22023: cannot rebuild .*WAL segment "$gap" is the first that is missing}s,
	'a page cannot be made across the gap, which is named');
# ... and ranges across it
like(
	failure(
		"SELECT * FROM walredo_page_history('$tag', '$lsn{alive}', '$lsn{last}', '$archive')"
	),
	qr{58P01: WAL segment "$gap" is missing},
	'no history across the gap, which is named');
like(
	failure(
		"SELECT * FROM walredo_page_records('$tag', '$lsn{alive}', '$lsn{last}', '$archive')"
	),
	qr{58P01: WAL segment "$gap" is missing},
	'no records across the gap, which is named');
like(
	failure("SELECT walredo_page_at('t', 0, '$lsn{alive}', '$archive')"),
	qr{58P01: WAL segment "$gap" is missing},
	'whether the table had another file cannot be told across the gap');
like(
	failure(
		"SELECT walredo_page_at('rel 1663/5/1 blk 0'::walredo_tag, '$lsn{alive}', NULL::bytea, '$archive')"),
	qr{22023: cannot rebuild },
	'a look ahead for a message ends at the gap');

# What is before it and after it can be read.
is( $node->safe_psql('postgres', <<SQL),
SELECT count(*) > 100 FROM expected
WHERE lsn = '$lsn{alive}' AND page = walredo_page_at(tag, lsn, NULL, '$archive')
SQL
	't',
	'pages from before the gap');

$node->stop;
done_testing();
