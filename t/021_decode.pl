# The page changes that walredo_decode() makes out of WAL, applied to old copies
# of files, must give what the server itself made of them.
#
# Seen to fail:
# - when the new block of an update was taken for the old one;
# - when bits on the second of two pages of the visibility map were left out;
# - when row locks, and locks of updated rows, cleared no bits;
# - when a truncation cleared all of a map page, or a block too few;
# - when subtransactions were set on one page only, and on a wrong one;
# - when member number 0 came after the last that there can be;
# - when all rows of walredo_decode() were made at once, and when a part of them
#   began a row late;
# - when one page was wanted, and there was a run for each transaction;
# - when a record was copied for each block that it names.

use PostgreSQL::Test::RecursiveCopy;
use File::Spec;
use WalredoTest;
use WalredoWorkload;

#
# Helpers
#

# Of the servers tested; see server_before_edges().
my $offsets_per_page;

# Since PostgreSQL 19 the number of a member has 64 bits, so that it does not
# wrap around, and the files of members have longer names.
my $wide_members = 0;

# A WAL record with the right length and checksum, whatever else is wrong.
sub forge
{
	my ($header, $rest) = @_;
	return sealed_record($header . $rest);
}

sub header
{
	my ($rmid, $info, $xid) = @_;
	return pack('LLQCCxxL', 0, $xid, 0x1000, $info, $rmid, 0);
}

# Main data of any length, behind its header.
sub main_data
{
	my $data = shift;
	return "\xFE" . pack('L', length($data)) . $data;
}

# A server whose transactions and multixacts are about to enter new pages, and
# the members of multixacts to begin again from zero after $members.
sub server_before_edges
{
	my ($name, $members) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$wide_members = $node->pg_version->major >= 19;
	$offsets_per_page = offsets_per_page($node);
	$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
track_commit_timestamp = on
max_prepared_transactions = 10
wal_level = logical
wal_keep_size = 4GB
max_wal_size = 4GB
checkpoint_timeout = 1h
CONF

	my $next_xid = 3 * $clog_per_page - 40;
	my $next_multi = 5 * $offsets_per_page - 20;
	my $next_offset = 2**32 - $members;
	my $data_dir = $node->data_dir;
	system_or_bail('pg_resetwal', '-D', $data_dir, '-x', $next_xid,
		'-m', "$next_multi,$next_multi", '-O', $next_offset);

	# The pages that the counters are moved to
	my $member_page = int($next_offset / $members_per_page);
	lengthen_file("$data_dir/pg_xact/0000", 3);
	lengthen_file("$data_dir/pg_multixact/offsets/0000", 5);
	lengthen_file(
		sprintf(
			"$data_dir/pg_multixact/members/%0*X",
			$wide_members ? 15 : 4,
			$member_page / 32),
		$member_page % 32 + 1);

	$node->start;
	$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT g, 'x' FROM generate_series(1, 5000) g;

-- multixacts of a transaction and its own subtransactions: of two and three
-- members for an odd row, and of two, three and four for an even one
CREATE PROCEDURE multixacts(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN first .. last LOOP
		PERFORM FROM t WHERE id = i FOR KEY SHARE;
		BEGIN
			PERFORM FROM t WHERE id = i FOR SHARE;
			IF i % 2 = 0 THEN
				PERFORM FROM t WHERE id = i FOR NO KEY UPDATE;
			END IF;
			BEGIN
				PERFORM FROM t WHERE id = i FOR UPDATE;
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
END $$;
SQL
	return $node;
}

# Stops a server and copies the files that WAL describes.  Returns the data
# directory, the copy, and the LSN at which later WAL begins.
sub stop_and_copy
{
	my $node = shift;
	my $data_dir = File::Spec->rel2abs($node->data_dir);
	my $base = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir());
	$node->stop('fast');
	PostgreSQL::Test::RecursiveCopy::copypath("$data_dir/$_", "$base/$_")
	  for (qw(pg_xact pg_multixact pg_commit_ts pg_twophase global base));
	return ($data_dir, $base, checkpoint_lsn($node));
}

my $node = server_before_edges('main', 41);
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE s (i int);

-- a row a page, without toast: more pages than one of the map describes
CREATE TABLE big (id int, v text) WITH (fillfactor = 100);
ALTER TABLE big ALTER v SET STORAGE PLAIN;
INSERT INTO big SELECT g, repeat('b', 4200) FROM generate_series(1, 32690) g;
-- the only page with so much room
INSERT INTO big VALUES (32691, repeat('r', 4000));
CREATE TABLE small (id int, v text);
INSERT INTO small SELECT g, repeat('s', 250) FROM generate_series(1, 3000) g;
CREATE TABLE pairs (id int, v text);
-- full pages, but for the last
INSERT INTO pairs SELECT g, repeat('s', 300) FROM generate_series(1, 3003) g;
CREATE TABLE cut (id int, v text);
INSERT INTO cut SELECT g, repeat('c', 300) FROM generate_series(1, 3000) g;
CREATE TABLE copied (id int, v text);
INSERT INTO copied SELECT g, 'c' FROM generate_series(1, 10) g;
CREATE TABLE gone AS TABLE cut;
VACUUM FREEZE big, small, pairs, cut, copied, gone;
SELECT pg_replication_origin_create('regress_origin');
SQL
my ($data_dir, $base, $start) = stop_and_copy($node);

#
# Every kind of record that has page changes besides those of its blocks
#

$node->start;

# Transactions: trees on one, two and three pages, committed and aborted
my ($three, $ten, $hundred, $many) =
  map { WalredoWorkload::subtransactions('s', $_) } (3, 10, 100, 34000);
$node->safe_psql('postgres', "BEGIN; $hundred COMMIT");
$node->safe_psql('postgres', "BEGIN; $many COMMIT");
$node->safe_psql('postgres', "BEGIN; $many ROLLBACK");
$node->safe_psql('postgres', 'BEGIN; SAVEPOINT a; INSERT INTO s VALUES (1); '
	  . 'SAVEPOINT b; INSERT INTO s VALUES (2); ROLLBACK TO a; '
	  . 'INSERT INTO s VALUES (3); COMMIT');

# ... prepared
for my $end ('COMMIT', 'ROLLBACK')
{
	$node->safe_psql('postgres',
		"BEGIN; $many PREPARE TRANSACTION 'regress_$end'; "
		  . "$end PREPARED 'regress_$end'");
}

# ... of another origin, with a time that it gives
$node->safe_psql('postgres', <<SQL);
SELECT pg_replication_origin_session_setup('regress_origin');
BEGIN;
SELECT pg_replication_origin_xact_setup('0/AFFE', '2001-02-03 04:05:06+00');
$ten
COMMIT;
BEGIN;
SELECT pg_replication_origin_xact_setup('0/BEEF', '2002-03-04 05:06:07+00');
$ten
PREPARE TRANSACTION 'regress_origin';
COMMIT PREPARED 'regress_origin';
SQL

# Multixacts: across the edge of pages of offsets and members, and past the last
# member to member 0
$node->safe_psql('postgres', 'CALL multixacts(1, 2000)');

# Relation maps: the database's and the shared one
$node->safe_psql('postgres', 'VACUUM FULL pg_class; VACUUM FULL pg_database; '
	  . 'REINDEX INDEX pg_class_oid_index');

# Visibility maps: each bit, cleared by each kind of record
my $pages = $node->safe_psql('postgres',
	"SELECT pg_relation_size('big') / $page_size");
cmp_ok($pages, '>', 8168 * 4, 'two pages of a visibility map');
$node->safe_psql('postgres', <<'SQL');
INSERT INTO small VALUES (3001, 'into any page');
DELETE FROM small WHERE id = 500;
UPDATE small SET v = 'short' WHERE id = 700;
UPDATE pairs SET v = repeat('l', 300) WHERE id = 2000;
SELECT FROM small WHERE id = 1100 FOR UPDATE;
-- from the map's first page to its second
SELECT FROM big WHERE id = 5 FOR KEY SHARE;
UPDATE big SET v = repeat('u', 4050) WHERE id = 10;
DELETE FROM big WHERE id IN (11, 32680);
-- cut in the middle of a byte, and again, and at the edge of one
DELETE FROM cut WHERE id > 2000;
VACUUM (TRUNCATE) cut;
DELETE FROM gone;
VACUUM (TRUNCATE) gone;
SQL
for my $blocks (81, 80, 76, 33)
{
	$node->safe_psql('postgres', "DELETE FROM cut WHERE ctid >= '($blocks,0)'");
	$node->safe_psql('postgres', 'VACUUM (TRUNCATE) cut');
	is( $node->safe_psql('postgres',
			"SELECT pg_relation_size('cut') / $page_size"),
		$blocks, "cut to $blocks blocks");
}
$node->safe_psql('postgres',
	"COPY copied FROM PROGRAM 'for i in 1 2 3 4 5; do echo \$i,copied; done' CSV");

# A map that is not there yet
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE fresh AS SELECT g AS id FROM generate_series(1, 10000) g;
VACUUM FREEZE fresh;
DELETE FROM fresh WHERE id % 3000 = 0;
SQL

# A transaction that stays prepared
$node->safe_psql('postgres',
	"BEGIN; $three DROP TABLE copied; CREATE TABLE stays ();"
	  . "PREPARE TRANSACTION 'regress_stays'");

$node->stop('fast');

#
# The page changes that another server makes out of that WAL
#

my $reader = PostgreSQL::Test::Cluster->new('reader');
$reader->init;
$reader->append_conf('postgresql.conf', 'autovacuum = off');
$reader->start;
$reader->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;

-- where the page is in a data directory
CREATE FUNCTION page_path(tag walredo_tag) RETURNS text IMMUTABLE
LANGUAGE sql AS $$
SELECT CASE
	WHEN tag::text ~ '^slru pg_multixact/members' AND
		current_setting('server_version_num')::int >= 190000
		THEN 'pg_multixact/members/' || lpad(substring(tag::text
			FROM 'members/([0-9A-F]+)'), 15, '0')
	WHEN tag::text ~ '^slru' THEN split_part(tag::text, ' ', 2)
	WHEN tag::text ~ '^relmap 1664/0' THEN 'global/pg_filenode.map'
	WHEN tag::text ~ '^relmap'
		THEN 'base/' || split_part(tag::text, '/', 2) || '/pg_filenode.map'
	-- since PostgreSQL 17 with the epoch, which is 0
	WHEN tag::text ~ '^twophase' THEN 'pg_twophase/' ||
		CASE WHEN current_setting('server_version_num')::int >= 170000
			THEN '00000000' ELSE '' END ||
		upper(lpad(to_hex(split_part(tag::text, ' ', 2)::int8), 8, '0'))
	WHEN tag::text ~ '^rel 1664' THEN 'global/' ||
		split_part(split_part(tag::text, ' ', 2), '/', 3) || '_vm'
	ELSE 'base/' || split_part(split_part(tag::text, ' ', 2), '/', 2) || '/' ||
		split_part(split_part(tag::text, ' ', 2), '/', 3) || '_vm'
	END
$$;

CREATE FUNCTION page_read(dir text, tag walredo_tag) RETURNS bytea
LANGUAGE sql AS $$
SELECT CASE WHEN tag::text ~ 'blk'
	-- nothing is there after the end of a file
	THEN nullif(pg_read_binary_file(dir || '/' || page_path(tag),
		substring(tag::text FROM 'blk ([0-9]+)')::int8 * 8192, 8192, true), '')
	ELSE pg_read_binary_file(dir || '/' || page_path(tag), 0, 1000000, true)
	END
$$;
SQL

# Each page that WAL changes, made from its old copy.  A map is extended without
# a record, so its new pages begin as zeroes.
sub rebuild
{
	my ($data_dir, $base, $start) = @_;
	$reader->safe_psql('postgres', <<"SQL");
DROP TABLE IF EXISTS page_changes, rebuilt;
CREATE TABLE page_changes AS
SELECT start_lsn, ord, resource_manager, record_type, tag, record
  FROM walredo_wal_records('$start', '$open_end', '$data_dir/pg_wal') r,
	   walredo_decode(end_lsn, rec) WITH ORDINALITY d(tag, record, ord)
 WHERE tag::text !~ '^rel ' OR tag::text ~ ' fork vm ';

CREATE TABLE rebuilt AS
SELECT tag, page_read('$data_dir', tag) AS disk,
	   walredo_apply(tag, CASE
		   WHEN page_read('$base', tag) IS NOT NULL
		   THEN page_read('$base', tag)
		   WHEN tag::text ~ '^rel ' THEN decode(repeat('00', 8192), 'hex')
		   END, array_agg(record ORDER BY start_lsn, ord)) AS page
  FROM page_changes
 GROUP BY tag;
SQL
}

rebuild($data_dir, $base, $start);

my %kinds = (
	'slru pg_xact/0000' => 5,
	'slru pg_commit_ts/....' => 20,
	'slru pg_multixact/offsets/0000' => 2,
	'slru pg_multixact/members/.*' => 3,
	'relmap' => 2,
	'twophase' => 1,
	'rel' => 6);
for my $kind (sort keys %kinds)
{
	my ($all, $same) = split /\|/, $reader->safe_psql(
		'postgres',
		"SELECT count(*), count(*) FILTER (WHERE page = disk OR
				tag::text ~ '^rel ' AND
				substr(page, 11) = substr(disk, 11))
		   FROM rebuilt
		  WHERE disk IS NOT NULL AND tag::text ~ '^$kind ' AND page IS NOT NULL");
	cmp_ok($all, '>=', $kinds{$kind}, "$kind: there are pages to compare");
	is($same, $all, "$kind: all are as on disk")
	  or diag(
		$reader->safe_psql(
			'postgres',
			"SELECT tag FROM rebuilt
			  WHERE tag::text ~ '^$kind ' AND page IS DISTINCT FROM disk"));
}

# No page of an SLRU changed but those
my $unexplained = '';
for my $dir ('pg_xact', 'pg_commit_ts', 'pg_multixact/offsets',
	'pg_multixact/members')
{
	for my $file (grep { /^[0-9A-F]+$/ } slurp_dir("$data_dir/$dir"))
	{
		my $now = slurp_file("$data_dir/$dir/$file");
		my $then = -f "$base/$dir/$file" ? slurp_file("$base/$dir/$file") : '';
		my $segment = sprintf('%04X', hex($file));
		for my $blk (0 .. length($now) / $page_size - 1)
		{
			my $old = length($then) > $blk * $page_size ?
			  substr($then, $blk * $page_size, $page_size) : '';
			next if substr($now, $blk * $page_size, $page_size) eq $old;
			$unexplained .= "slru $dir/$segment blk $blk\n"
			  unless $reader->safe_psql('postgres',
				"SELECT count(*) FROM rebuilt WHERE tag = 'slru $dir/$segment blk $blk'"
			  );
		}
	}
}
is($unexplained, '', 'no other page of an SLRU changed');

# ... and what was meant to happen has happened.  Since August 2026 the server
# names the map's page in a record that clears bits of it, but not for bits that
# are clear.
my $map_is_named = $reader->safe_psql('postgres',
	"SELECT count(*) > 0 FROM page_changes
	  WHERE resource_manager = 'Heap' AND record::text ~ ' postgres '") eq 't';
my %kinds_seen = map { $_ => 1 } split /\n/, $reader->safe_psql(
	'postgres', q{
SELECT DISTINCT concat_ws(' ', resource_manager, record_type,
		split_part(record::text, ' ', 2),
		CASE WHEN record::text ~ 'new_heap_blkno' THEN 'new' END,
		CASE WHEN record::text ~ 'old_heap_blkno' THEN 'old' END,
		substring(record::text FROM 'flags=.'))
  FROM page_changes});
my %kinds_wanted = map { $_ => 1 } split /\n/, <<'LIST';
CLOG ZEROPAGE zero_page
CommitTs ZEROPAGE zero_page
Heap DELETE clear_visibility_map_flags old flags=3
Heap HOT_UPDATE clear_visibility_map_flags old flags=3
Heap INSERT clear_visibility_map_flags new flags=3
Heap LOCK clear_visibility_map_flags old flags=2
Heap UPDATE clear_visibility_map_flags new flags=3
Heap UPDATE clear_visibility_map_flags new old flags=3
Heap UPDATE clear_visibility_map_flags old flags=3
Heap2 MULTI_INSERT clear_visibility_map_flags new flags=3
Heap2 VISIBLE postgres
MultiXact CREATE_ID multixact_members_create
MultiXact CREATE_ID multixact_offset_create
MultiXact ZERO_MEM_PAGE zero_page
MultiXact ZERO_OFF_PAGE zero_page
RelMap UPDATE replace
Storage TRUNCATE truncate_visibility_map
Transaction ABORT clog_set_aborted
Transaction ABORT_PREPARED clog_set_aborted
Transaction COMMIT clog_set_committed
Transaction COMMIT clog_set_subcommitted
Transaction COMMIT commit_ts_set
Transaction COMMIT_PREPARED clog_set_committed
Transaction COMMIT_PREPARED clog_set_subcommitted
Transaction COMMIT_PREPARED commit_ts_set
Transaction PREPARE replace
LIST

# With checksums, as is the default since PostgreSQL 18
delete $kinds_seen{'XLOG FPI postgres'};
if ($wide_members)
{
	# Pruning sets bits of the map itself.
	delete $kinds_wanted{'Heap2 VISIBLE postgres'};
	$kinds_wanted{"Heap2 $_ postgres"} = 1
	  foreach grep { $kinds_seen{"Heap2 $_ postgres"} }
	  qw(PRUNE_ON_ACCESS PRUNE_VACUUM_SCAN PRUNE_VACUUM_CLEANUP);
}
if ($map_is_named)
{
	my $clears = qr/clear_visibility_map_flags.*/;
	my %renamed;

	$renamed{ s/$clears/postgres/r } = 1 foreach keys %kinds_wanted;
	%kinds_wanted = %renamed;
	delete $kinds_seen{$_} foreach grep { /$clears/ } keys %kinds_seen;
}
is( join("\n", sort keys %kinds_seen),
	join("\n", sort keys %kinds_wanted),
	'all kinds of records are there');

# Members that end with the last there can be: the next ones do not begin at 0
my $node2 = server_before_edges('edge', 42);
my @edge = stop_and_copy($node2);
$node2->start;
$node2->safe_psql('postgres', 'CALL multixacts(1, 20)');
$node2->stop('fast');
rebuild(@edge);
is( $reader->safe_psql(
		'postgres',
		q{SELECT count(*), bool_and(page = disk) FROM rebuilt
		   WHERE tag::text ~ 'pg_multixact'}),
	$wide_members ? '3|t' : '4|t',
	'multixacts around the last member');
is( $reader->safe_psql(
		'postgres',
		q{SELECT DISTINCT substring(record::text FROM 'moff=.*') FROM page_changes
		   WHERE record::text ~ ' moff=[01]$'}),
	$wide_members ? '' : 'moff=1',
	'the first member after the last is number 1');

#
# Records that no server wrote
#

$reader->safe_psql('postgres', <<'SQL');
CREATE FUNCTION try_decode(rec bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n int8;
	detail text;
BEGIN
	SELECT count(*), string_agg(tag || ' ' || record, E'\n') INTO n, detail
	  FROM walredo_decode('0/1234568', rec);
	RETURN coalesce(regexp_replace(detail, 'rec=.*', 'rec'), 'nothing');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || detail;
END $$;
SQL

sub decode_is
{
	my ($rec, $like, $name) = @_;
	like(
		$reader->safe_psql(
			'postgres',
			"SELECT try_decode('\\x" . unpack('H*', $rec) . "')"),
		$like, $name);
}

my ($XLOG, $XACT, $SMGR, $CLOG, $MULTIXACT, $RELMAP, $HEAP2, $HEAP) =
  (0, 1, 2, 3, 6, 7, 9, 10);
my $time = pack('q', 0);

# The forged records are right where they mean to be
decode_is(
	forge(header($XACT, 0x00, 1000), main_data($time)),
	qr/pg_xact.*clog_set_committed xids=1000$/s, 'a forged commit');
decode_is(forge(header($XLOG, 0x00, 0), ''), qr/^nothing/, 'no data at all');
my $broken = forge(header($XACT, 0x00, 1000), main_data($time));
substr($broken, 30, 1) ^= 'x';
decode_is($broken, qr/^XX001/, 'wrong checksum');
decode_is('', qr/^XX001/, 'empty');
decode_is(substr($broken, 0, 23), qr/^XX001/, 'less than a header');
decode_is($broken . 'x', qr/^XX001/, 'longer than its header says');

# Lengths whose sum is right only if it overflows
decode_is(
	forge(
		header($XACT, 0x00, 1000),
		"\x00\x20" . pack('SLLLL', 0x30, 1, 2, 3, 4)
		  . "\xFE" . pack('L', 2**32 - 0x20) . 'x' x 16),
	qr/^XX001/, 'main data of 4 GB');
decode_is(
	forge(header($XACT, 0x00, 1000), "\xFE" . pack('L', 2**32 - 1)),
	qr/^XX001/, 'main data that is not there');

# Transactions
my $info = 0x80;
for my $count (-1, 3, 2**31 - 1)
{
	decode_is(
		forge(
			header($XACT, $info, 1000),
			main_data($time . pack('Ll', 2, $count) . pack('LL', 7, 8))),
		qr/^XX001 .*$count entries|^XX001 .*too short/,
		"commit with $count subtransactions");
	for my $xinfo (4, 8, 256)
	{
		decode_is(
			forge(
				header($XACT, $info, 1000),
				main_data($time . pack('Ll', $xinfo, $count))),
			qr/^XX001/,
			"commit with $count entries, info $xinfo");
	}
}
decode_is(
	forge(
		header($XACT, $info | 0x30, 1000),
		main_data($time . pack('LL', 16 | 128, 5000) . 'not ended')),
	qr/^XX001/, 'name of a prepared transaction without end');
decode_is(
	forge(header($XACT, 0x30, 1000), main_data($time)),
	qr/^XX001 Transaction ID 0/, 'commit of an unknown prepared transaction');
decode_is(
	forge(header($XACT, 0x00, 0), main_data($time)),
	qr/^XX001 Transaction ID 0/, 'commit of no transaction');
decode_is(
	forge(header($XACT, 0x20, 2), main_data($time)),
	qr/^XX001 Transaction ID 2/, 'abort of the frozen transaction');
decode_is(
	forge(header($XACT, 0x00, 1000), main_data('short')),
	qr/^XX001/, 'commit without a time');
decode_is(
	forge(
		header($XACT, $info, 40000),
		main_data($time . pack('LlLLLL', 2, 4, 40001, 70000, 40002, 3))),
	qr/subcommitted\ xids=70000\n.*subcommitted\ xids=40002\n
	   .*subcommitted\ xids=3\n.*committed\ xids=40000,40001\n
	   .*committed\ xids=70000\n.*committed\ xids=40002\n.*committed\ xids=3$/x,
	'subtransactions in no order: page by page');

# States of prepared transactions
my $state = pack('LLLLqLllllllCxSxxxxQq',
	0x57F94534, 0, 5000, 1, 0, 10, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0);
decode_is(forge(header($XACT, 0x10, 5000), main_data($state)),
	qr/^XX001 .*length/, 'state of wrong length');
substr($state, 4, 4) = pack('L', length($state) + 4);
decode_is(
	forge(header($XACT, 0x10, 5000), main_data($state)),
	qr/^twophase 5000 .*replace contents=/, 'state of right length');
substr($state, 8, 4) = pack('L', 0);
decode_is(forge(header($XACT, 0x10, 5000), main_data($state)),
	qr/^XX001/, 'state of no transaction');


# A large one, in a record that names a block, too: two parts of the result
substr($state, 8, 4) = pack('L', 5000);
my $long_state = $state . 'x' x 100_000;
substr($long_state, 4, 4) = pack('L', length($long_state) + 4);
decode_is(
	forge(
		header($XACT, 0x10, 5000),
		pack('CCSLLLL', 0, 0, 0, 1663, 5, 16384, 3) . main_data($long_state)),
	qr/^twophase 5000 .*replace contents=\S*\nrel 1663\/5\/16384 blk 3 /,
	'a long state, and a block');

# Multixacts
sub multixact
{
	return pack($wide_members ? 'Lx4Ql' : 'LLl', @_);
}

my $after_last = $wide_members ? 2**32 : 1;
for my $count (-1, 3, 2**31 - 1)
{
	decode_is(
		forge(
			header($MULTIXACT, 0x20, 0),
			main_data(multixact(10, 20, $count) . pack('LLLL', 7, 1, 8, 1))),
		qr/^XX001 .*$count members/,
		"multixact with $count members");
}
decode_is(
	forge(
		header($MULTIXACT, 0x20, 0),
		main_data(multixact(10, 20, 1) . pack('LL', 7, 6))),
	qr/^XX001 .*status 6/, 'unknown lock');
decode_is(
	forge(
		header($MULTIXACT, 0x20, 0),
		main_data(multixact(0, 20, 1) . pack('LL', 7, 5))),
	qr/^XX001/, 'multixact 0');
decode_is(
	forge(
		header($MULTIXACT, 0x20, 0),
		main_data(multixact(2**32 - 1, 2**32 - 1, 1) . pack('LL', 7, 5))),
	qr/mid=4294967295\ moff=4294967295\n.*mid=1\ moff=$after_last\n.*moff=4294967295/x,
	'the last multixact, and the last member');

# Pages that cannot be.  Their numbers have 64 bits since PostgreSQL 17.
my $pageno = $reader->pg_version->major >= 17 ? 'q' : 'l';
decode_is(forge(header($CLOG, 0x00, 0), main_data(pack($pageno, -1))),
	qr/^XX001/, 'CLOG page -1');
decode_is(
	forge(header($CLOG, 0x00, 0), main_data(pack($pageno, 131072))),
	qr/^XX001/, 'CLOG page past the last');
decode_is(forge(header($CLOG, 0x00, 0), main_data(pack($pageno, 131071))),
	qr/zero_page/, 'last CLOG page');
decode_is(forge(header($CLOG, 0x00, 0), main_data('abc')),
	qr/^XX001/, 'three bytes of a page number');
decode_is(forge(header($CLOG, 0x00, 0), main_data(substr(pack($pageno, 1), 1))),
	qr/^XX001/, 'a byte less than a page number');

# Relation maps
for my $count (-1, 0, 3, 5, 2**31 - 1)
{
	decode_is(
		forge(
			header($RELMAP, 0x00, 0),
			main_data(pack('LLl', 5, 1663, $count) . 'text')),
		qr/^XX001 .*length/,
		"relation map of $count bytes");
}

# Relations
my $block = sub {
	my ($id, $flags, $blkno) = @_;
	return pack('CCSLLLL', $id, $flags, 0, 1663, 5, 16384, $blkno);
};
decode_is(
	forge(header($SMGR, 0x20, 0), main_data(pack('LLLLL', 9, 1663, 5, 1, 7))),
	qr{^rel 1663/5/1 fork vm blk 0 .*trunc_byte=2 trunc_offs=2$}, 'truncation');
decode_is(
	forge(header($SMGR, 0x20, 0), main_data(pack('LLLLL', 9, 1663, 5, 1, 5))),
	qr/^nothing/, 'truncation of other forks');
decode_is(
	forge(
		header($SMGR, 0x20, 0),
		main_data(pack('LLLLL', 2**32 - 1, 1663, 5, 1, 7))),
	qr/^XX001/, 'truncation at no block');
decode_is(
	forge(header($SMGR, 0x20, 0), main_data(pack('LLLL', 9, 1663, 5, 1))),
	qr/^XX001/, 'truncation cut short');
decode_is(
	forge(header($HEAP, 0x00, 9), main_data(pack('SC', 1, 1))),
	qr/^XX001 .*name the block/, 'insertion nowhere');
decode_is(
	forge(header($HEAP, 0x00, 9), $block->(0, 0, 7) . main_data('x')),
	qr/^XX001/, 'insertion cut short');
decode_is(
	forge(
		header($HEAP, 0x00, 9),
		$block->(0, 0, 2**32 - 1) . main_data(pack('SC', 1, 1))),
	qr/^XX001/, 'insertion into no block');
decode_is(
	forge(header($HEAP, 0x00, 9),
		$block->(0, 0x05, 7) . main_data(pack('SC', 1, 1))),
	qr/^XX001 .*fork/, 'insertion into no fork');

# One record of two rows on two pages of the map; the same page twice
my $update = pack('LSCCLS', 9, 1, 0, 3, 0, 1);
decode_is(
	forge(
		header($HEAP, 0x20, 9),
		$block->(0, 0, 40000) . $block->(1, 0, 5) . main_data($update)),
	qr/^rel\ 1663\/5\/16384\ fork\ vm\ blk\ 0\ .*\ old_heap_blkno=5\ flags=3\n
	   rel\ 1663\/5\/16384\ fork\ vm\ blk\ 1\ .*\ new_heap_blkno=40000\ flags=3\n/x,
	'update on two map pages');
decode_is(
	forge(header($HEAP, 0x40, 9), $block->(0, 0, 40000) . main_data($update)),
	qr/^rel\ 1663\/5\/16384\ fork\ vm\ blk\ 1
	   \ .*\ new_heap_blkno=40000\ old_heap_blkno=40000\ flags=3\n/x,
	'update on one page');
decode_is(
	forge(
		header($HEAP2, 0x60, 9),
		$block->(0, 0, 3) . main_data(pack('LSCC', 9, 1, 0, 1))),
	qr/fork vm blk 0 .* old_heap_blkno=3 flags=2\n/,
	'lock of an updated row');
like(
	$reader->safe_psql(
		'postgres',
		"SELECT count(*), count(DISTINCT tag) FROM walredo_decode('0/1', '\\x"
		  . unpack('H*',
			forge(header($HEAP, 0x10, 9), $block->(0, 0, 3)
				  . $block->(1, 0, 3) . main_data(pack('LSCC', 9, 1, 0, 0))))
		  . "')"),
	qr/^1\|1$/,
	'one page under two numbers comes once');

# Half a million subtransactions that are on two pages in turn: three rows each,
# of many times the record's length together, but never in memory together.
my $nsubxacts = 500_000;
my $first_xid = 30 * $clog_per_page;
my $large = forge(
	header($XACT, $info, $first_xid + 5),
	main_data(
		$time
		  . pack('LL', 2, $nsubxacts)
		  . pack('L*',
			map {
				$first_xid
				  + ($_ % 2) * $clog_per_page
				  + int($_ / 2) % $clog_per_page
			} 1 .. $nsubxacts)));
my $large_file = PostgreSQL::Test::Utils::tempdir() . '/record';
write_file($large_file, $large);
$reader->safe_psql(
	'postgres', "
CREATE TABLE large (rec bytea);
ALTER TABLE large ALTER rec SET STORAGE EXTERNAL;
INSERT INTO large SELECT pg_read_binary_file('$large_file');
-- a subtransaction of the record, from 1 on, or with 0 the transaction
CREATE FUNCTION xid_of(i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE RETURN
	$first_xid + CASE i WHEN 0 THEN 5
		ELSE i % 2 * $clog_per_page + i / 2 % $clog_per_page END;
CREATE FUNCTION peak_memory() RETURNS int LANGUAGE sql RETURN
	substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\\s+(\\d+) kB')::int");

# How much more memory a query takes than its session had before, in multiples
# of the record's length
sub memory_of_query
{
	my ($query) = @_;
	my ($before, $after) = $reader->safe_psql('postgres',
		"SELECT peak_memory(); $query; SELECT peak_memory()") =~ /^(\d+)$/mg;
	note("$query: from $before to $after kB");
	return ($after - $before) * 1024 / length($large);
}
my $memory = memory_of_query(
	q{SELECT 'x' || count(*) FROM large, walredo_decode('0/1000', rec)});
cmp_ok($memory, '<', 16, 'memory that rows of a large record take');
is( $reader->safe_psql(
		'postgres', "
SELECT count(*), count(*) FILTER (WHERE split_part(record::text, ' ', 2) = kind
	AND split_part(split_part(record::text, 'xids=', 2), ' ', 1) = xid_of(n)::text
	AND tag = CASE WHEN kind = 'commit_ts_set'
		THEN format('slru pg_commit_ts/%s blk %s',
			lpad(upper(to_hex(xid_of(n) / $commit_ts_per_page / 32)), 4, '0'),
			xid_of(n) / $commit_ts_per_page % 32)
		ELSE format('slru pg_xact/0000 blk %s', xid_of(n) / $clog_per_page) END::walredo_tag)
FROM (SELECT tag, record,
		CASE WHEN i <= $nsubxacts + 1 THEN 'commit_ts_set'
			WHEN i <= 2 * $nsubxacts + 1 THEN 'clog_set_subcommitted'
			ELSE 'clog_set_committed' END AS kind,
		CASE WHEN i <= $nsubxacts + 1 THEN i - 1
			WHEN i <= 2 * $nsubxacts + 1 THEN i - $nsubxacts - 1
			ELSE i - 2 * $nsubxacts - 2 END AS n
	FROM large, walredo_decode('0/1000', rec) WITH ORDINALITY d(tag, record, i)) s"
	),
	(3 * $nsubxacts + 2) . '|' . (3 * $nsubxacts + 2),
	'all rows are there, in order');

# The same where one page is wanted
my $zeroes = "decode(repeat('00', $page_size), 'hex')";
$memory = memory_of_query(
	"SELECT 'x' || length(walredo_apply('slru pg_xact/0000 blk 31', $zeroes,
		ARRAY[walredo_postgres('0/1000', rec)])) FROM large");
cmp_ok($memory, '<', 16, 'memory that a large record takes to apply');
for my $tag ('slru pg_xact/0000 blk 30', 'slru pg_xact/0000 blk 31')
{
	is( $reader->safe_psql(
			'postgres', "
SELECT walredo_apply('$tag', $zeroes, ARRAY[walredo_postgres('0/1000', rec)]) =
	walredo_apply('$tag', $zeroes, (SELECT array_agg(record ORDER BY i)
		FROM walredo_decode('0/1000', rec) WITH ORDINALITY d(tag, record, i)
		WHERE tag = '$tag'))
FROM large"),
		't',
		"$tag: the same as with the rows of walredo_decode()");
}

# A record that names all the blocks it can has few copies of itself.
my $wide = forge(
	header($HEAP2, 0x10, 0),
	join('', map { pack('CCSLLLL', $_, $_ % 2 ? 0x60 : 0x20, 60_000, 1, 2, 3, $_) } 0 .. 32)
	  . 'x' x (33 * 60_000));
$reader->safe_psql('postgres', 'TRUNCATE large');
write_file($large_file, $wide);
$reader->safe_psql('postgres',
	"INSERT INTO large SELECT pg_read_binary_file('$large_file')");
is( $reader->safe_psql(
		'postgres', q{
SELECT count(DISTINCT tag), bool_and(record::text ~
	format('^0/1000 postgres will_init=%s rec=', ((i - 1) % 2 = 1)::text))
FROM large, walredo_decode('0/1000', rec) WITH ORDINALITY d(tag, record, i)}),
	'33|t',
	'a record that names 33 blocks');
$memory = memory_of_query(
	q{SELECT 'x' || count(*) FROM large, walredo_decode('0/1000', rec)});
cmp_ok($memory, '<', 16, 'memory that it takes');

# Real records with bytes changed, and the checksum made right again
my @real = split /\n/, $reader->safe_psql(
	'postgres', "
SELECT encode(rec, 'hex') FROM (
	SELECT rec, row_number() OVER (PARTITION BY resource_manager, record_type) n
	  FROM walredo_wal_records('$start', '$open_end', '$data_dir/pg_wal')
	 WHERE record_length < 3000) s WHERE n <= 4");
srand(21);
my $sql = "CREATE TABLE fuzzed (rec bytea);\nCOPY fuzzed FROM STDIN;\n";
for my $round (1 .. 3000)
{
	my $rec = pack('H*', $real[ int(rand(@real)) ]);
	my ($header, $rest) = (substr($rec, 0, $record_header_size),
		substr($rec, $record_header_size));
	for (0 .. int(rand(4)))
	{
		next unless length($rest);
		substr($rest, int(rand(length($rest))), 1) =
		  chr((0, 1, 2, 127, 128, 254, 255, int(rand(256)))[ int(rand(8)) ]);
	}
	substr($header, 16, 1) = chr(int(rand(256))) if rand() < 0.2;
	substr($header, 17, 1) = chr(int(rand(22))) if rand() < 0.2;
	$rest = substr($rest, 0, int(rand(length($rest)))) if rand() < 0.2;
	$sql .= '\\\\x' . unpack('H*', forge($header, $rest)) . "\n";
}
$reader->safe_psql('postgres', "$sql\\.\n");
my $outcome = $reader->safe_psql('postgres',
	q{SELECT string_agg(DISTINCT CASE WHEN r ~ '^[0-9A-Z]{5} ' THEN left(r, 5)
			ELSE 'pages' END, ' ')
		FROM (SELECT try_decode(rec) AS r FROM fuzzed) s});
is($outcome, 'XX001 pages', 'changed records: pages, or one kind of error');
ok(!$reader->log_contains('terminated by signal'), 'no process crashed');

done_testing();
