# Files that are lost, cut or unreadable, and catalogs that are damaged: each is
# reported, block by block, and everything else is verified all the same.  The
# caller's settings change nothing, and nothing is left in shared buffers.
#
# Seen to fail on code that took a missing file for a fork that does not exist,
# that reported blocks past the end only if WAL has an image of them, that gave up
# on all relations because of one, and that read pages as the caller's settings
# say.

use File::Copy qw(move);
use WalredoTest;

my $node = wal_server(
	'main',
	extra => ['--data-checksums'],
	conf => <<'CONF');
min_wal_size = 2MB
wal_keep_size = 0
allow_in_place_tablespaces = on
shared_preload_libraries = 'walredo'
CONF
$node->start;

sub query
{
	return $node->safe_psql('postgres', shift);
}

# What walredo_verify() says of a fork: one row per status, with the number of
# blocks, the first and the last.
sub verified
{
	my ($relation, $fork, $where) = @_;
	my ($stdout, $stderr) = ask($node, 'postgres', <<SQL);
SELECT status, count(*), min(blkno), max(blkno)
FROM walredo_verify('$relation', '$fork') WHERE @{[$where // 'true']}
GROUP BY 1 ORDER BY 1
SQL
	return $stdout . $stderr;
}

#
# The end of a file is lost, and WAL has changes of its blocks, but no image
#

query(<<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLE tail (i int, p text) WITH (fillfactor = 50);
INSERT INTO tail SELECT g, repeat('x', 700) FROM generate_series(1, 50) g;
CREATE TABLE one (i int, p text) WITH (fillfactor = 50);
INSERT INTO one TABLE tail;
CREATE TABLE tree (i int, p text);
CREATE INDEX tree_i ON tree (i) WITH (fillfactor = 10);
INSERT INTO tree SELECT g FROM generate_series(1, 6000) g;
CREATE TABLE forgotten AS SELECT 1 AS i;
CREATE TABLE first_touch AS SELECT 1 AS i;
CHECKPOINT;
UPDATE tail SET i = i;
UPDATE one SET i = i;
DELETE FROM tree WHERE i % 2 = 0;
INSERT INTO tree SELECT g FROM generate_series(2, 6000, 2) g;
SELECT min(ctid) AS place FROM one WHERE ctid >= '(7,0)' AND ctid < '(8,0)' \gset
SELECT pg_switch_wal();
UPDATE tail SET i = i WHERE i % 5 = 0;
DELETE FROM one WHERE ctid = :'place';
INSERT INTO tree SELECT g FROM generate_series(1, 6000, 20) g;
CHECKPOINT;
CHECKPOINT;
SQL
my ($leaves) = query("SELECT pg_relation_size('tree_i') / $page_size");
cmp_ok($leaves, '>', 16, 'there is a tree');
is(query("SELECT status FROM walredo_verify('tail') WHERE blkno = 2"),
	'unverifiable', 'WAL that is left does not make a page of the table');

# From here on WAL is kept.
$node->append_conf('postgresql.conf', 'wal_keep_size = 1GB');
$node->reload;

#
# More of what can be lost
#

query(<<'SQL');
CREATE TABLESPACE elsewhere LOCATION '';
CREATE TABLE gone AS SELECT g AS i FROM generate_series(1, 600) g;
CREATE TABLE gone_index AS SELECT g AS i FROM generate_series(1, 600) g;
CREATE INDEX gone_index_i ON gone_index (i);
CREATE TABLE gone_toast (t text);
ALTER TABLE gone_toast ALTER t SET STORAGE EXTERNAL;
INSERT INTO gone_toast VALUES (repeat('x', 20000));
CREATE TABLE gone_map AS SELECT g AS i FROM generate_series(1, 600) g;
VACUUM (FREEZE) gone_map;
CREATE UNLOGGED TABLE gone_init (i int PRIMARY KEY);
CREATE TABLE gone_place TABLESPACE elsewhere
	AS SELECT g AS i FROM generate_series(1, 600) g;
CREATE TABLE empty (i int);
CREATE TABLE shut AS SELECT 1 AS i;
CREATE TABLE sound AS SELECT g AS i FROM generate_series(1, 600) g;
CREATE INDEX sound_i ON sound (i);
CREATE TABLE flipped AS SELECT g AS i FROM generate_series(1, 600) g;
CREATE TABLE flipped_too AS SELECT g AS i FROM generate_series(1, 600) g;
CREATE SEQUENCE gone_sequence;
SQL
my $toast = query(
	"SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'gone_toast'");

# Blocks that WAL has made; since PostgreSQL 16 a table may have more.
my %blocks = map {
	$_ => query("SELECT max(substring(ctid::text, '\\d+')::int) + 1 FROM $_")
} 'gone', $toast, 'gone_place';
$blocks{gone_index_i} =
  query("SELECT pg_relation_size('gone_index_i') / $page_size");
my @lost = map { path_of($node, 'postgres', @$_) } (
	[ 'gone', 'main' ],
	[ 'gone_index_i', 'main' ],
	[ $toast, 'main' ],
	[ 'gone_map', 'vm' ],
	[ 'gone_init_pkey', 'init' ],
	[ 'gone_sequence', 'main' ],
	[ 'empty', 'main' ],
	[ 'forgotten', 'main' ]);
my %cut = map { $_ => path_of($node, 'postgres', $_) } qw(tail one tree_i);
my $shut = path_of($node, 'postgres', 'shut');
my @flipped =
  map { path_of($node, 'postgres', $_) } qw(flipped flipped_too);
my $place = query("SELECT 'pg_tblspc/' || oid FROM pg_tablespace WHERE spcname = 'elsewhere'");
$place = $node->data_dir . "/$place";

$node->stop;
foreach my $file (@lost)
{
	unlink $file or die "could not remove $file: $!";
}
cut_file($cut{tail}, 5);
cut_file($cut{one}, 5);
cut_file($cut{tree_i}, 10);
move($place, "$place.lost") or die "could not move $place: $!";
chmod 0, $shut or die "could not change $shut: $!";
overwrite($_, 8000, 'xxx') foreach @flipped;
$node->start;

#
# Files that are gone
#

foreach my $relation ('gone', 'gone_index_i', $toast, 'gone_place')
{
	my $last = $blocks{$relation} - 1;

	is( verified($relation, 'main'),
		"mismatch|$blocks{$relation}|0|$last",
		"file of $relation is gone: each block is missing");
}
is(verified('gone_map', 'vm'), 'mismatch|1|0|0', 'a map that is gone');
like(verified('gone_init_pkey', 'init'),
	qr/^mismatch\|1\|0\|0/, 'an init fork that is gone');
foreach my $relation ('empty', 'forgotten', 'gone_sequence')
{
	like(verified($relation, 'main'),
		qr/^(?:mismatch|unverifiable)\||ERROR: .*(?:could not open|does not exist|no file)/,
		"file of $relation is gone, and WAL has no page of it: it is reported");
}

# Each is found as well when all relations are verified together.
my ($rows, $errors) = ask($node, 'postgres', <<'SQL');
SELECT relation, fork, status, count(*) FROM walredo_verify_all()
WHERE relation >= 16384 GROUP BY 1, 2, 3
SQL
unlike($errors, qr/ERROR:/, 'all can be verified');
my @all = split /\n/, $rows;
my %all;
foreach my $row (@all)
{
	my ($relation, $fork, $status, $count) = split /\|/, $row;

	$all{"$relation/$fork"}->{$status} = $count;
}
foreach my $relation ('gone', 'gone_index_i', $toast, 'gone_place')
{
	is_deeply(
		$all{"$relation/main"},
		{ mismatch => $blocks{$relation} },
		"file of $relation is gone: found among others");
}
is_deeply($all{'gone_map/vm'}, { mismatch => 1 }, 'a map is found among others');
is_deeply($all{'gone_init_pkey/init'},
	{ mismatch => 1 }, 'an init fork is found among others');
foreach my $relation ('empty', 'forgotten')
{
	ok( $all{"$relation/main"}->{mismatch}
		  || $all{"$relation/main"}->{unverifiable},
		"$relation is found among others");
}

#
# Files whose end is gone
#

is(verified('tail', 'main', 'blkno >= 5'),
	'mismatch|5|5|9', 'the end of a table is lost: each block WAL names');
like(verified('one', 'main', 'blkno >= 5'),
	qr/^mismatch\|\d\|[567]\|7$/, '... where WAL names one only');
unlike(verified('one', 'main', 'blkno < 5'),
	qr/mismatch/, 'the rest is not called wrong');
my ($named, $wrong) = split /\|/, join '', ask($node, 'postgres', <<SQL);
SELECT count(DISTINCT tag) FILTER (WHERE substring(tag::text, 'blk (\\d+)')::int >= 10),
	(SELECT count(*) FROM walredo_verify('tree_i') WHERE blkno >= 10
		AND status = 'mismatch')
FROM walredo_wal_records('0/0', '$open_end') r,
	walredo_decode(r.end_lsn, r.rec) d
WHERE tag BETWEEN walredo_tag('tree_i', 'main', 0)
	AND walredo_tag('tree_i', 'main', 4294967294)
SQL
cmp_ok($named // 0, '>', 3, 'WAL names blocks of the tree past its end');
cmp_ok($wrong // 0, '>=', $named // 1, 'the end of an index is lost');

#
# A file that cannot be opened
#

SKIP:
{
	skip 'this user may read all files', 3 if -r $shut;
	like( ($all{'shut/main'} ? join('', keys %{ $all{'shut/main'} }) : 'no row'),
		qr/^(?:mismatch|unverifiable)$/,
		'a file that cannot be opened: found among others');
	my ($detail) = ask($node, 'postgres',
		"SELECT detail FROM walredo_verify_all('{shut}') WHERE fork = 'main'");
	like($detail, qr/Permission denied/, '... with the reason');
	like(verified('shut', 'main'),
		qr/^(?:mismatch|unverifiable)\|1|ERROR:.*Permission denied/,
		'... and alone');
}
chmod 0600, $shut;
foreach my $relation ('sound', 'sound_i')
{
	is_deeply([ keys %{ $all{"$relation/main"} // {} } ],
		['ok'], "all of $relation is verified");
}

#
# The caller's settings
#

my $settings = {
	zero_damaged_pages => 'flipped',
	ignore_checksum_failure => 'flipped_too'
};
foreach my $setting (sort keys %$settings)
{
	my $table = $settings->{$setting};
	my $block = 0;

	foreach my $call ("walredo_verify('$table') WHERE blkno = $block",
		"walredo_verify_all('{$table}') WHERE blkno = $block AND fork = 'main'")
	{
		my ($row) = ask($node, 'postgres',
			"SET client_min_messages = error; SET $setting = on; SELECT status, detail FROM $call");
		like($row, qr/^mismatch\|/, "$setting: a mismatch");
		like($row, qr/invalid page/, "$setting: the page is invalid");
		unlike($row, qr/write was lost/, "$setting: not a lost write");
	}
	# The same holds for functions that may return a page of the server's.
	ask($node, 'postgres', <<SQL);
SET $setting = on;
SELECT walredo_page_at('$table', 'main', 0, pg_current_wal_flush_lsn());
SELECT count(*) FROM walredo_pages_at('$table', 'main', pg_current_wal_flush_lsn());
SQL
	like(
		error_of($node, 'postgres', "SELECT count(*) FROM $table"),
		qr/invalid page in block 0/,
		"$setting: other sessions still get the error");
}

#
# Damaged catalogs
#

# Makes a database with tables so wide that their rows fill blocks of a catalog,
# and damages one of those blocks.  Returns the database, the block, and how many
# tables have rows in it.
sub damage_catalog
{
	my ($catalog, $key) = @_;
	my $name = "bad_$catalog";

	query("CREATE DATABASE $name STRATEGY wal_log");
	$node->safe_psql($name, <<SQL);
CREATE EXTENSION walredo;
CREATE TABLE before AS SELECT 1 AS i;
DO \$\$
BEGIN
	FOR i IN 1 .. 300 LOOP
		EXECUTE format('CREATE TABLE wide%s (%s)', i,
			(SELECT string_agg(format('c%s int', g), ', ')
			FROM generate_series(1, 15) g));
	END LOOP;
END \$\$;
CREATE TABLE after AS SELECT 1 AS i;
SQL
	# A block with rows of such tables, and of views, only.
	my $block = $node->safe_psql($name, <<SQL);
SELECT substring(a.ctid::text, '\\d+')::int AS block
FROM $catalog a JOIN pg_class c ON c.oid = a.$key
GROUP BY 1
HAVING bool_and(c.relname ~ '^wide' OR c.relkind = 'v')
	AND count(*) FILTER (WHERE c.relname ~ '^wide') > 5
ORDER BY 1 LIMIT 1
SQL
	$block =~ /^\d+$/ or die "no block of $catalog has such tables only";
	my $damaged = $node->safe_psql($name, <<SQL);
SELECT count(DISTINCT $key) FROM $catalog
WHERE ${key}::regclass::text ~ '^wide' AND ctid >= '($block,0)' AND ctid < '(@{[$block + 1]},0)'
SQL
	my $file = path_of($node, $name, $catalog);
	$node->stop;
	overwrite($file, $block * $page_size + 8000, 'xxxxxxxx');
	$node->start;
	return ($name, $block, $damaged);
}

foreach my $catalog ([ 'pg_attribute', 'attrelid' ], [ 'pg_class', 'oid' ])
{
	my ($relname, $key) = @$catalog;
	my ($name, $block, $damaged) = damage_catalog($relname, $key);
	my ($stdout, $stderr) = ask($node, $name, <<SQL);
WITH result AS MATERIALIZED (SELECT * FROM walredo_verify_all())
SELECT (SELECT status FROM result
		WHERE relation = '$relname'::regclass AND fork = 'main'
			AND blkno = $block),
	(SELECT status FROM result
		WHERE relation = 'before'::regclass AND fork = 'main'),
	(SELECT status FROM result
		WHERE relation = 'after'::regclass AND fork = 'main'),
	(SELECT count(*) > 10 FROM result
		WHERE relation = 'pg_proc'::regclass AND status = 'ok'),
	(SELECT count(*) FROM result
		WHERE relation < 16384 AND status = 'mismatch'
			AND NOT (relation = '$relname'::regclass AND blkno = $block));
SQL
	unlike($stderr, qr/ERROR:/, "$relname is damaged: no error");
	is($stdout, 'mismatch|ok|ok|t|0',
		"$relname is damaged: its block, and all other relations, are reported"
	);
	next if $relname eq 'pg_class';

	# The tables that cannot be opened are not passed over.
	my ($bad) = ask($node, $name, <<SQL);
SELECT count(DISTINCT relation) FROM walredo_verify_all()
WHERE status IN ('mismatch', 'unverifiable') AND relation >= 16384
SQL
	cmp_ok($bad || 0, '>=', 1, "$relname is damaged: tables have a row that says so");
	cmp_ok($bad || 0, '<=', $damaged, '... but only those that are damaged');
}

# The directory is back.
$node->stop;
rmdir $place;
move("$place.lost", $place) or die "could not move $place: $!";
$node->start;
is( verified('gone_place', 'main', "blkno < $blocks{gone_place}"),
	"ok|$blocks{gone_place}|0|" . ($blocks{gone_place} - 1),
	'a directory that is back');
$node->stop;
done_testing();
