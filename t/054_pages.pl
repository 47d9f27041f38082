# Pages that differ from what replay makes of them without being wrong, and
# pages that WAL does not make: other access methods, copied databases, pages
# that were made again without a record, base images that are too new, the free
# space map, sequences and unlogged tables.  And arguments that are no pages.
#
# Seen to fail on code that took the mask of the relation's own access method,
# that used images with a hole over live bytes, that called a page a mismatch which
# had been cut off and made again, that returned a base image newer than the LSN,
# and that returned old pages of free space maps.

use Time::HiRes qw(time);
use WalredoSessions;
use WalredoTest;

# Not preloaded, and with few workers.
my $node = wal_server(
	'main',
	extra => ['--data-checksums'],
	conf => 'max_worker_processes = 4');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
SQL

sub query
{
	return $node->safe_psql('postgres', shift);
}

# walredo_verify() returns no row with another status than ok and those in
# $allowed.
sub none_wrong
{
	my ($database, $relation, $fork, $allowed, $what) = @_;
	my ($stdout, $stderr) = ask($node, $database, <<SQL);
SELECT blkno, status, detail FROM walredo_verify('$relation', '$fork')
WHERE NOT status = ANY ('{ok, $allowed}') ORDER BY blkno LIMIT 5
SQL

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($stdout . $stderr, '', $what);
	return;
}

#
# Access methods that have the handler of another
#

query(<<'SQL');
CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
CREATE TABLE other USING heap2 AS SELECT i FROM generate_series(1, 100) i;
SQL
query('SELECT count(*) FROM other');
none_wrong('postgres', 'other', 'main', 'ok', 'table of another access method');
query('VACUUM (FREEZE) other; DELETE FROM other WHERE i = 3');
query('SELECT count(*) FROM other; CHECKPOINT');
none_wrong('postgres', 'other', 'main', 'ok', '... vacuumed and written to');
none_wrong('postgres', 'other', 'vm', 'ok', '... and its map');

# Each with a column, and an operator class as the built-in access method has it.
# (The server itself refuses that for a B-tree.)
my $compare =
  'OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >';
my %class_of = (
	hash => [ 'i', 'int4', 'OPERATOR 1 =, FUNCTION 1 hashint4(int4)' ],
	gin => [ 'a', 'int4[]', <<'SQL' ],
OPERATOR 1 && (anyarray, anyarray), OPERATOR 2 @> (anyarray, anyarray),
FUNCTION 1 btint4cmp(int4, int4),
FUNCTION 2 ginarrayextract(anyarray, internal, internal),
FUNCTION 3 ginqueryarrayextract(anyarray, internal, int2, internal, internal,
	internal, internal),
FUNCTION 4 ginarrayconsistent(internal, int2, anyarray, int4, internal,
	internal, internal, internal),
STORAGE int4
SQL
	gist => [ 'p', 'point', <<'SQL' ],
OPERATOR 6 ~=,
FUNCTION 1 gist_point_consistent(internal, point, int2, oid, internal),
FUNCTION 2 gist_box_union(internal, internal),
FUNCTION 3 gist_point_compress(internal),
FUNCTION 5 gist_box_penalty(internal, internal, internal),
FUNCTION 6 gist_box_picksplit(internal, internal),
FUNCTION 7 gist_box_same(box, box, internal),
STORAGE box
SQL
	spg => [ 'p', 'point', <<'SQL' ],
OPERATOR 6 ~=,
FUNCTION 1 spg_quad_config(internal, internal),
FUNCTION 2 spg_quad_choose(internal, internal),
FUNCTION 3 spg_quad_picksplit(internal, internal),
FUNCTION 4 spg_quad_inner_consistent(internal, internal),
FUNCTION 5 spg_quad_leaf_consistent(internal, internal)
SQL
	brin => [ 'i', 'int4', <<"SQL" ]);
$compare,
FUNCTION 1 brin_minmax_opcinfo(internal),
FUNCTION 2 brin_minmax_add_value(internal, internal, internal, internal),
FUNCTION 3 brin_minmax_consistent(internal, internal, internal),
FUNCTION 4 brin_minmax_union(internal, internal, internal)
SQL
query(<<'SQL');
CREATE TABLE indexed (i int, a int[], p point);
INSERT INTO indexed SELECT g, ARRAY[g % 10, g % 100], point(g % 83, g)
FROM generate_series(1, 2000) g;
SQL
foreach my $am (sort keys %class_of)
{
	my ($column, $type, $class) = @{ $class_of{$am} };

	query(<<SQL);
CREATE ACCESS METHOD ${am}2 TYPE INDEX HANDLER ${am}handler;
CREATE OPERATOR CLASS ${am}2_ops DEFAULT FOR TYPE $type USING ${am}2
AS $class;
CREATE INDEX other_$am ON indexed USING ${am}2 ($column);
INSERT INTO indexed SELECT g, ARRAY[g % 10, g % 100], point(g % 83, g)
FROM generate_series(2001, 4000) g;
DELETE FROM indexed WHERE i % 7 = 0;
SQL
	my $test =
		$am eq 'gin' ? 'a @> ARRAY[3]'
	  : $am =~ /^(?:gist|spg)$/ ? 'p ~= point(3, 3)'
	  : 'i < 100';
	# So that entries are marked as dead.
	query(<<SQL) foreach 1 .. 2;
SET enable_seqscan = off;
SELECT count(*) FROM indexed WHERE $test;
SQL
	none_wrong('postgres', "other_$am", 'main', 'ok',
		"index with ${am}handler");
	query('VACUUM indexed; CHECKPOINT');
	none_wrong('postgres', "other_$am", 'main', 'ok',
		"index with ${am}handler, vacuumed");
	query("DROP INDEX other_$am; TRUNCATE indexed");
	query(<<'SQL');
INSERT INTO indexed SELECT g, ARRAY[g % 10, g % 100], point(g % 83, g)
FROM generate_series(1, 2000) g;
SQL
}

#
# A copied database
#

query('CREATE DATABASE source');
$node->safe_psql('source', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLE t (i int, a int[], p point);
INSERT INTO t SELECT g, ARRAY[g % 10, g], point(g % 83, g)
FROM generate_series(1, 5000) g;
CREATE TABLE wide (i int, w char(4000)) WITH (fillfactor = 10);
ALTER TABLE wide ALTER w SET STORAGE PLAIN;
INSERT INTO wide SELECT g, 'w' FROM generate_series(1, 1500) g;
CREATE INDEX wide_brin ON wide USING brin (i) WITH (pages_per_range = 1);
CREATE INDEX t_btree ON t USING btree (i);
CREATE INDEX t_hash ON t USING hash (i);
CREATE INDEX t_gin ON t USING gin (a);
CREATE INDEX t_gist ON t USING gist (p);
CREATE INDEX t_spgist ON t USING spgist (p);
CREATE INDEX t_brin ON t USING brin (i);
INSERT INTO t SELECT g, ARRAY[g % 10, g], point(g % 83, g)
FROM generate_series(5001, 6000) g;
VACUUM (FREEZE) t;
VACUUM wide;
CREATE SEQUENCE s;
SELECT nextval('s');
CREATE UNLOGGED TABLE u (i int PRIMARY KEY);
CREATE TABLE toasted (t text);
INSERT INTO toasted SELECT string_agg(md5(g::text), '') FROM generate_series(1, 1000) g;
SQL
my ($revmap) = $node->safe_psql('source', <<'SQL');
SELECT lastrevmappage FROM brin_metapage_info(get_raw_page('wide_brin', 0))
SQL
cmp_ok($revmap, '>=', 2, 'there are pages of the reverse map');
query('CREATE DATABASE copy TEMPLATE source STRATEGY wal_log');
foreach my $relation (
	qw(t wide toasted u u_pkey s t_btree t_hash t_gin t_gist t_spgist t_brin wide_brin)
  )
{
	none_wrong('copy', $relation, $_, 'unverifiable, unlogged',
		"copied $relation, $_")
	  foreach $relation eq 't' ? qw(main vm)
	  : $relation eq 'u' || $relation eq 'u_pkey' ? qw(main init)
	  : qw(main);
}
is( $node->safe_psql('copy', <<'SQL'),
SELECT relation, fork, blkno, status, detail FROM walredo_verify_all()
WHERE status = 'mismatch' LIMIT 5
SQL
	'',
	'no mismatch in all of the copy');
is( $node->safe_psql('copy', <<'SQL'),
SELECT count(*) > 0 FROM walredo_verify('t') WHERE status = 'ok'
SQL
	't',
	'... where much is verified');

# Of a page whose image has a hole over its contents, walredo_page_at() returns the
# right one, or there is an error.
my @pages = split /\n/, $node->safe_psql('copy', <<'SQL');
SELECT r, f, b FROM (VALUES ('wide_brin', 'main'), ('t_brin', 'main'),
	('t_hash', 'main'), ('t', 'vm')) v(r, f),
	generate_series(0, pg_relation_size(r, f)
		/ current_setting('block_size')::int - 1) b
WHERE r <> 't_hash' OR hash_page_type(get_raw_page(r, f, b)) IN ('bitmap', 'metapage')
SQL
my @other;
foreach my $page (@pages)
{
	my ($relation, $fork, $block) = split /\|/, $page;
	my $manager =
	  $fork eq 'vm' ? 'Heap2' : $relation =~ /hash/ ? 'Hash' : 'BRIN';
	my ($stdout, $stderr) = ask($node, 'copy', <<SQL);
SELECT CASE WHEN '$fork' = 'vm' THEN substr(a, 25) = substr(b, 25)
	ELSE walredo_page_mask('$manager', a, $block) = walredo_page_mask('$manager', b, $block) END
FROM (SELECT walredo_page_at('$relation', '$fork', $block, '$open_end'),
	get_raw_page('$relation', '$fork', $block)) p(a, b)
SQL
	push @other, "$page: $stdout$stderr"
	  unless $stdout eq 't' || $stderr =~ /ERROR:  22023/;
}
is(join("\n", @other), '', 'pages of the copy are right, or an error');

# Once they are written to, none is a mismatch.
$node->safe_psql('copy', <<'SQL');
CHECKPOINT;
UPDATE t SET i = i + 1 WHERE i % 10 = 0;
UPDATE wide SET i = -i WHERE i % 100 = 0;
VACUUM t;
SQL
is( $node->safe_psql('copy', <<'SQL'),
SELECT relation, fork, blkno, status, detail FROM walredo_verify_all()
WHERE status = 'mismatch' LIMIT 5
SQL
	'',
	'no mismatch once the copy was written to');

#
# Base images that are too new
#

query(<<'SQL');
CREATE TABLE newer (w text);
INSERT INTO newer VALUES ('one');
SELECT pg_switch_wal();
INSERT INTO newer VALUES ('two');
VACUUM newer;
SQL
my $lsn = query('SELECT pg_current_wal_insert_lsn()');
query("INSERT INTO newer VALUES ('three'); VACUUM (FREEZE) newer");
my $directory = PostgreSQL::Test::Utils::tempdir();
my $segment = query("SELECT pg_walfile_name('$lsn')");
PostgreSQL::Test::Utils::system_or_bail('cp',
	$node->data_dir . "/pg_wal/$segment", $directory);
foreach my $wal ("'$directory'", 'NULL')
{
	foreach my $fork ('main', 'vm')
	{
		my ($stdout, $stderr) = ask($node, 'postgres', <<SQL);
SELECT encode(walredo_page_at(walredo_tag('newer', '$fork', 0), '$lsn',
	get_raw_page('newer', '$fork', 0), $wal), 'hex')
SQL
		like(
			$stderr,
			qr/ERROR:/,
			"a base image newer than the LSN, $fork, "
			  . ($wal eq 'NULL' ? 'WAL of the server' : 'other WAL'))
		  or diag('a page');
		unlike($stderr, qr/is missing/, '... not because WAL is missing');
	}
}
is( query(<<SQL),
SELECT count(*) FROM heap_page_items(walredo_page_at(
	walredo_tag('newer', 'main', 0), '$open_end', get_raw_page('newer', 0), NULL))
SQL
	3,
	'a base image that is not newer');

#
# Free space maps, sequences and unlogged tables
#

query(<<'SQL');
CREATE TABLE spacious (i int, pad text);
INSERT INTO spacious SELECT g, repeat('x', 500) FROM generate_series(1, 3000) g;
CHECKPOINT;
DELETE FROM spacious WHERE i % 2 = 0;
VACUUM spacious;
INSERT INTO spacious SELECT g, repeat('x', 700) FROM generate_series(1, 4000) g;
VACUUM spacious;
CREATE UNLOGGED TABLE unlogged (i int PRIMARY KEY);
INSERT INTO unlogged SELECT generate_series(1, 100);
CREATE SEQUENCE counter;
SELECT nextval('counter') FROM generate_series(1, 40);
SQL

# The page that the server has, or an error; never another one.
foreach my $place (
	[ 'spacious', 'fsm', 0 ],
	[ 'spacious', 'fsm', 2 ],
	[ 'unlogged', 'main', 0 ],
	[ 'unlogged_pkey', 'main', 1 ])
{
	my ($relation, $fork, $block) = @$place;
	my $name = "$relation, $fork, $block";

	foreach my $call (
		"walredo_page_at('$relation', '$fork', $block, pg_current_wal_flush_lsn())",
		"walredo_page_at(walredo_tag('$relation', '$fork', $block), pg_current_wal_flush_lsn())",
		"page FROM walredo_pages_at('$relation', '$fork', pg_current_wal_flush_lsn()) WHERE blkno = $block"
	  )
	{
		my ($stdout, $stderr) = ask($node, 'postgres',
			"SELECT md5(substr(page, 25)) = md5(substr(get_raw_page('$relation', '$fork', $block), 25)) FROM (SELECT $call) p(page)"
		);
		ok( $stdout eq 't' || $stderr =~ /ERROR:  (?:22023|0A000|42809|55000)/,
			"$name: the live page or an error, of " . substr($call, 0, 24))
		  or diag("'$stdout'$stderr");
	}
}
my ($stdout, $stderr) = ask($node, 'postgres', <<'SQL');
SELECT lp FROM heap_page_items(walredo_page_at('counter', 'main', 0,
	pg_current_wal_insert_lsn())) WHERE ('x' || encode(substr(t_data, 1, 1), 'hex'))::bit(8)::int >= 40
SQL
ok($stdout eq '1' || $stderr =~ /ERROR:/,
	'a sequence is ahead of the values that were taken, never behind')
  or diag($stdout, $stderr);
none_wrong('postgres', 'counter', 'main', 'unverifiable', 'a sequence');
none_wrong('postgres', 'unlogged', 'main', 'unlogged', 'an unlogged table');
none_wrong('postgres', 'unlogged_pkey', 'init', 'ok', 'its init fork');

#
# Cut off, and made again without a record
#

query('ALTER SYSTEM SET full_page_writes = off; SELECT pg_reload_conf()');
query('CREATE TABLE cut (i int)');
foreach my $statement (
	'INSERT INTO cut SELECT generate_series(1, 1000)',
	'VACUUM cut',
	'DELETE FROM cut',
	'VACUUM cut',
	'INSERT INTO cut SELECT generate_series(1, 1000)',
	'VACUUM cut')
{
	query($statement);
}
none_wrong('postgres', 'cut', 'vm', 'unverifiable',
	'map of a table that was cut off');
none_wrong('postgres', 'cut', 'main', 'ok', '... and the table');

# A serializable insertion that fails after it has made the table longer.
foreach my $full_page_writes ('off', 'on')
{
	query("ALTER SYSTEM SET full_page_writes = $full_page_writes; SELECT pg_reload_conf()");
	query(<<'SQL');
DROP TABLE IF EXISTS shrunk, reason;
CREATE TABLE shrunk (i int);
CREATE TABLE reason (i int);
INSERT INTO shrunk SELECT generate_series(1, 1000);
INSERT INTO reason VALUES (1);
DELETE FROM shrunk;
VACUUM shrunk;
VACUUM (ANALYZE) shrunk;
SQL
	is(query("SELECT pg_relation_size('shrunk')"), 0, 'the table is empty');
	my ($reader, $pivot) = (session($node), session($node));

	run_query($_, 'BEGIN ISOLATION LEVEL SERIALIZABLE') foreach $reader, $pivot;
	run_query($reader, 'SELECT count(*) FROM shrunk');
	run_query($pivot, 'SELECT count(*) FROM reason');
	query(
		'BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE reason SET i = 2; COMMIT');
	my (undef, $error) = run_query($pivot, 'INSERT INTO shrunk VALUES (1)');
	like($error, qr/40001/, 'the insertion fails');
	run_query($_, 'ROLLBACK') foreach $pivot, $reader;
	$_->quit foreach $pivot, $reader;
	cmp_ok(query("SELECT pg_relation_size('shrunk')"),
		'>', 0, 'but the table is longer');
	none_wrong('postgres', 'shrunk', 'main', 'unverifiable',
		"a page made again without a record, full_page_writes $full_page_writes"
	);
	query('CHECKPOINT');
	none_wrong('postgres', 'shrunk', 'main', 'unverifiable',
		'... and on disk');
	query('INSERT INTO shrunk VALUES (1)');
	none_wrong('postgres', 'shrunk', 'main', 'unverifiable',
		'... and written to');
}
query('ALTER SYSTEM RESET full_page_writes; SELECT pg_reload_conf()');

# Emptied in the transaction that made it.
query(<<'SQL');
BEGIN;
CREATE UNLOGGED TABLE init_again (i int PRIMARY KEY);
INSERT INTO init_again VALUES (1);
TRUNCATE init_again;
COMMIT;
BEGIN;
CREATE TABLE again (i int PRIMARY KEY);
INSERT INTO again SELECT generate_series(1, 1000);
TRUNCATE again;
INSERT INTO again SELECT generate_series(1, 10);
COMMIT;
SQL
none_wrong('postgres', 'init_again_pkey', 'init', 'ok',
	'init fork of a table that was emptied');
none_wrong('postgres', $_, 'main', 'ok', "$_, emptied as it was made")
  foreach qw(again again_pkey);

#
# Images that are too short, and long arguments
#

# The record of an image that is compressed, and one byte long.
sub short_image
{
	my ($method, $image) = @_;
	my %block = (spc => 1663, db => 5, rel => 16384, blk => 0);

	$block{image} = { bytes => $image, info => 0x02 | $method };
	return unpack 'H*', make_record(0, 0xB0, [ \%block ]);
}
my %short = (
	pglz => short_image(0x04, "\x00A"),
	lz4 => short_image(0x08, "\x10A"),
	zstd => short_image(0x10, "\x28\xB5\x2F\xFD\x20\x01\x09\x00\x00A"));
foreach my $method (sort keys %short)
{
	foreach my $sql (
		"SELECT length(image), md5(image) FROM walredo_record_images('0/2000', '\\x$short{$method}')",
		"SELECT md5(walredo_apply('rel 1663/5/16384 blk 0', NULL, ARRAY[walredo_postgres('0/2000', '\\x$short{$method}')]))"
	  )
	{
		like(error_of($node, 'postgres', $sql),
			qr/ERROR:/, "an image by $method that is too short");
	}
}

# Two images of 40 MB: refused, or cancelled in time.
my $started = time();
like(
	error_of($node, 'postgres', <<'SQL'),
SET statement_timeout = '1s';
SELECT count(*) FROM walredo_page_diff(decode(repeat('0011', 40 * 524288), 'hex'),
	decode(repeat('0000', 40 * 524288), 'hex'))
SQL
	qr/ERROR:/,
	'no difference between long images');
cmp_ok(time() - $started, '<', 10, '... in time');

# A message of 17 MB changes no page.
query(q{SELECT pg_logical_emit_message(false, 'm', repeat('x', 17000000))});
is( join('', ask($node, 'postgres', <<SQL)),
SELECT count(*) > 0 FROM walredo_wal_records('$lsn', '$open_end') r,
	walredo_decode(r.end_lsn, r.rec) d
SQL
	't',
	'a long record that changes no page can be decoded');
none_wrong('postgres', 'newer', 'main', 'ok',
	'... and does not keep a table from being verified');

#
# In a parallel plan
#

query(<<'SQL');
CREATE TABLE many (i int);
INSERT INTO many SELECT generate_series(1, 20000);
ANALYZE many;
SQL
my $parallel = <<'SQL';
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SQL
my %calls = (
	walredo_page_mask =>
	  q{length(walredo_page_mask('Heap', decode(repeat('00', 8192), 'hex'), i)) > 0}
);
foreach my $call (sort keys %calls)
{
	foreach my $ping ('', 'SELECT walredo_ping() > 0 AS ping \gset')
	{
		is( join('', ask($node, 'postgres', <<SQL)),
$ping
$parallel
SELECT count(*) FILTER (WHERE $calls{$call}) FROM many WHERE i < 5000
SQL
			'4999',
			"$call in a parallel plan" . ($ping ? ', with a child' : ''));
	}
}

$node->stop;
done_testing();
