# Every record, replayed on every block that it names, makes the page that the
# server had.
#
# With wal_consistency_checking = all, the server adds to each record an image
# of each of its blocks as the record left it; a standby compares them
# with what its own redo has made, under the mask of the record's resource
# manager.  The same is done here, for a workload with all resource managers:
# each page is taken from its first record to its last, one at a time, and
# compared after each.  So redo of every record with several blocks is tried
# with each of them as the target.
#
# The images are no help to what they check: redo does not apply them.
# Full-page images that it does apply (of the first change to a page after a
# checkpoint, and of CREATE INDEX and the like) are counted separately, since it
# is trivial that they are equal.
#
# The pages of some histories are compared once more with indexes of WAL, without,
# and with damaged ones.
#
# Seen to fail:
# - when a scan that went on after an index did not look at whether the index
#   fits to WAL there;
# - when a page that is not the target was missing in the child instead of
#   being a dummy;
# - when a dummy was left as an earlier record had filled it in;
# - when the record's start was stamped on the page instead of its end;
# - when pages were never dropped from the child's small pool.

use WalredoIndexes;
use WalredoTest;
use WalredoWorkload;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', WalredoWorkload::conf());
$node->append_conf('postgresql.conf', 'wal_consistency_checking = all');
$node->start;
if ($node->safe_psql('postgres',
		"SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'wal_compression'"
	) eq 't')
{
	# Otherwise WAL would be very long.
	$node->safe_psql('postgres', "ALTER SYSTEM SET wal_compression = 'lz4'");
	$node->reload;
}
$node->safe_psql('postgres',
	'CREATE EXTENSION walredo; CREATE EXTENSION pageinspect');
$node->safe_psql('postgres', 'CHECKPOINT');

my $start = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
WalredoWorkload::run($node);
my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres',
	"ALTER SYSTEM SET wal_consistency_checking = ''");
$node->reload;

#
# All pages, all records
#

# One call of walredo_apply() for each record: "page" is what the record before
# has left, and null until WAL has made the page.
my $sql = <<'SQL';
CREATE TABLE checked AS
SELECT s.tag, s.end_lsn, s.resource_manager, s.record_type,
	i.apply, s.page IS NULL AS no_page,
	walredo_page_mask(s.resource_manager, i.image, b.blkno)
		= walredo_page_mask(s.resource_manager, s.page, b.blkno) AS equal,
	(page_header(s.page)).lsn = s.end_lsn AS end_stamped,
	i.image IS NOT NULL AS has_image
FROM (
	SELECT r.end_lsn, r.resource_manager, r.record_type, r.rec, d.tag,
		d.record, redo(d.tag, d.record)
			OVER (PARTITION BY d.tag ORDER BY r.end_lsn, d.n) AS page
	FROM walredo_wal_records(:'start', :'end') r,
		walredo_decode(r.end_lsn, r.rec) WITH ORDINALITY d(tag, record, n)
	WHERE d.tag::text LIKE 'rel %') s
	LEFT JOIN LATERAL walredo_record_images(s.end_lsn, s.rec) i
		ON i.tag = s.tag AND s.record::text !~ '^\S+ (clear|truncate)_',
	LATERAL (SELECT substring(s.tag::text, 'blk (\d+)$')::int8) b(blkno);
SQL

$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION redo_step(page bytea, tag walredo_tag, rec walredo_record)
RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
	IF page IS NOT NULL THEN
		RETURN walredo_apply(tag, page, ARRAY[rec]);
	END IF;
	BEGIN
		RETURN walredo_apply(tag, NULL, ARRAY[rec]);
	EXCEPTION WHEN invalid_parameter_value THEN
		RETURN NULL;			-- the record needs a base image
	END;
END
$$;
CREATE AGGREGATE redo(walredo_tag, walredo_record)
	(sfunc = redo_step, stype = bytea);
SQL
$node->safe_psql('postgres', "SET work_mem = '256MB'; $sql",
	extra_params => [ '-v', "start=$start", '-v', "end=$end" ]);

my ($blocks, $records, $pages, $applied) = split /\|/,
  $node->safe_psql('postgres', <<'SQL');
SELECT count(*) FILTER (WHERE NOT apply AND equal),
	count(DISTINCT end_lsn) FILTER (WHERE NOT apply AND equal),
	count(DISTINCT tag) FILTER (WHERE NOT apply AND equal),
	count(*) FILTER (WHERE apply AND equal)
FROM checked
SQL
diag("$blocks blocks of $records records on $pages pages are equal to the ",
	"server's, and $applied more in records that hold the image");
cmp_ok($blocks, '>', 250000, 'many blocks were checked');
cmp_ok($records, '>', 200000, '... of many records');
cmp_ok($pages, '>', 3000, '... on many pages');

is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*), resource_manager, record_type, min(end_lsn), min(tag::text)
FROM checked WHERE has_image AND NOT coalesce(equal, false) GROUP BY 2, 3
SQL
	'',
	'no image is different, and none is missing');

# Some records name a block without changing it (a hash bucket's first page,
# to be locked), or without stamping it (the heap block whose bits in the map
# are set).  A map page whose bits are clear already is not stamped by a record
# that clears them; here these are pages of catalogs, since creation of the
# database has put images of them into WAL that lack their bits.
is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*), resource_manager, record_type, min(end_lsn), min(tag::text)
FROM checked
WHERE NOT apply AND NOT coalesce(end_stamped, false)
	AND NOT (resource_manager = 'Hash'
		AND record_type IN ('DELETE', 'MOVE_PAGE_CONTENTS', 'SQUEEZE_PAGE'))
	AND NOT (resource_manager = 'Heap2' AND record_type = 'VISIBLE'
		AND tag::text !~ 'fork vm')
	AND NOT (resource_manager ~ '^Heap' AND
		coalesce(substring(tag::text, '/(\d+) fork vm')::int8, 16384) < 16384)
GROUP BY 2, 3
SQL
	'',
	'pages have the end LSNs of their records');

# Nothing that the server has written an image of has been left out; records
# that have none are those that change pages without naming them, and, in some
# minor releases, those that name the first page of a hash bucket to have it
# locked.
is( $node->safe_psql('postgres', <<"SQL"),
SELECT count(*) = (SELECT count(*) FROM checked WHERE has_image)
FROM walredo_wal_records('$start', '$end') r,
	walredo_record_images(r.end_lsn, r.rec)
SQL
	't',
	'all images were compared');
is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*), resource_manager, record_type, min(end_lsn), min(tag::text)
FROM checked WHERE NOT has_image AND tag::text !~ 'fork vm'
	AND NOT (resource_manager = 'Hash'
		AND record_type IN ('DELETE', 'MOVE_PAGE_CONTENTS', 'SQUEEZE_PAGE'))
GROUP BY 2, 3
SQL
	'',
	'all records were checked but those that clear bits of a map');

# Which records those were
my $kinds = $node->safe_psql('postgres', <<'SQL');
SELECT resource_manager, record_type, count(*), count(*) FILTER (WHERE multi)
FROM (SELECT resource_manager, record_type,
		count(*) OVER (PARTITION BY end_lsn) > 1 AS multi
	  FROM checked WHERE NOT apply) c
GROUP BY 1, 2
UNION ALL
SELECT resource_manager, record_type, 0, 0 FROM checked WHERE apply
GROUP BY 1, 2
ORDER BY 1, 2
SQL
my (%checked, %multi, %forced);
foreach my $line (split /\n/, $kinds)
{
	my ($rmgr, $type, $count, $multi) = split /\|/, $line;

	if ($count == 0)
	{
		$forced{"$rmgr $type"} = 1;
		next;
	}
	note sprintf('%-8s %-20s %7d blocks, %6d of them not alone in a record',
		$rmgr, $type, $count, $multi);
	$checked{"$rmgr $type"} = $count;
	$multi{ $rmgr =~ /^Heap/ ? 'Heap' : $rmgr } += $multi;
}
foreach my $rmgr (qw(Heap Btree Hash Gin Gist SPGist BRIN))
{
	cmp_ok($multi{$rmgr} // 0, '>', 10,
		"$rmgr: blocks of records with several blocks");
}
my @kinds = (
	'Heap INSERT', 'Heap DELETE', 'Heap UPDATE', 'Heap HOT_UPDATE',
	'Heap LOCK', 'Heap INPLACE', 'Heap HEAP_CONFIRM', 'Heap2 MULTI_INSERT',
	'Heap2 LOCK_UPDATED', 'Btree INSERT_LEAF',
	'Btree INSERT_POST', 'Btree SPLIT_L', 'Btree SPLIT_R', 'Btree DEDUP',
	'Btree DELETE', 'Btree VACUUM', 'Btree UNLINK_PAGE', 'Btree NEWROOT',
	'Btree MARK_PAGE_HALFDEAD', 'Hash INSERT', 'Hash ADD_OVFL_PAGE',
	'Hash SPLIT_ALLOCATE_PAGE', 'Hash SPLIT_COMPLETE',
	'Hash SQUEEZE_PAGE', 'Hash MOVE_PAGE_CONTENTS', 'Hash VACUUM_ONE_PAGE',
	'Gin INSERT', 'Gin DELETE_PAGE',
	'Gin UPDATE_META_PAGE', 'Gin INSERT_LISTPAGE', 'Gin DELETE_LISTPAGE',
	'Gist PAGE_UPDATE', 'Gist PAGE_SPLIT', 'Gist DELETE', 'Gist PAGE_DELETE',
	'SPGist ADD_LEAF', 'SPGist MOVE_LEAFS', 'SPGist ADD_NODE',
	'SPGist SPLIT_TUPLE', 'SPGist PICKSPLIT', 'SPGist VACUUM_LEAF',
	'SPGist VACUUM_REDIRECT', 'BRIN INSERT', 'BRIN UPDATE',
	'BRIN SAMEPAGE_UPDATE', 'BRIN REVMAP_EXTEND', 'Sequence LOG');
push @kinds, 'Heap2 VISIBLE' if $node->pg_version->major < 19;
ok($checked{$_}, "checked: $_") foreach @kinds;

# These always hold images of all that they change.
ok($forced{$_}, "images of: $_")
  foreach ('Hash SPLIT_PAGE', 'Gin SPLIT', 'Gin VACUUM_PAGE', 'XLOG FPI');

#
# walredo_page_history(), which does the same, for a few pages of each sort
#

# These pages, and the images that the server has written of them.
$node->safe_psql(
	'postgres', <<'SQL',
CREATE TABLE looked_at AS
SELECT tag, substring(tag::text, 'blk (\d+)$')::int8 AS blkno, n,
	row_number() OVER (ORDER BY n, resource_manager) AS rank
FROM (
	SELECT tag, resource_manager, row_number() OVER
		(PARTITION BY resource_manager ORDER BY kinds DESC, records) AS n
	FROM (SELECT tag, min(resource_manager) AS resource_manager,
			count(DISTINCT record_type) AS kinds, count(*) AS records
		  FROM checked WHERE NOT apply GROUP BY tag) t
	WHERE records < 400) r
WHERE n <= 2;
CREATE TABLE images AS
SELECT i.tag, r.end_lsn, i.image
FROM walredo_wal_records(:'start', :'end') r,
	walredo_record_images(r.end_lsn, r.rec) i
WHERE i.tag IN (SELECT tag FROM looked_at);
SQL
	extra_params => [ '-v', "start=$start", '-v', "end=$end" ]);

# For some of these pages: how many images there are for records of their
# histories, how many pages are equal to them, how many records are described,
# and how many there are.  Or what has failed.
sub compare_histories
{
	my ($condition, $settings) = @_;

	return value_or_error($node, 'postgres', ($settings // '') . <<SQL);
SELECT count(i.image),
	count(*) FILTER (WHERE
		walredo_page_mask(h.resource_manager, i.image, l.blkno)
			= walredo_page_mask(h.resource_manager, h.page, l.blkno)),
	count(h.description), count(*)
FROM looked_at l
	JOIN LATERAL walredo_page_history(l.tag, '$start', '$end') h ON true
	LEFT JOIN images i ON i.tag = l.tag AND i.end_lsn = h.lsn
WHERE ($condition)
	-- Not where the page ends with its file: such a record does not name it.
	AND (h.page IS NOT NULL
		OR h.resource_manager NOT IN ('Transaction', 'Storage'))
SQL
}

my $history_blocks = 0;
my @tags = split /\n/,
  $node->safe_psql('postgres', 'SELECT tag FROM looked_at ORDER BY 1');
cmp_ok(scalar @tags, '>=', 16, 'pages to look at the history of');
foreach my $tag (@tags)
{
	my ($count, $equal, $described, $total) = split /\|/,
	  compare_histories("l.tag = '$tag'");

	$history_blocks += $equal;
	is($equal, $count, "history of $tag: $count images");
	is($described, $total, "history of $tag: all records are described");
	is( $node->safe_psql('postgres',
			"SELECT count(DISTINCT end_lsn) FROM checked WHERE tag = '$tag'"),
		$total,
		"history of $tag: all records are there");
}
diag("$history_blocks pages from walredo_page_history() are equal");
cmp_ok($history_blocks, '>', 500, 'pages from walredo_page_history()');

#
# The same with indexes
#

# The number of images of some of these pages, and of pages that are equal to them
# if each is made by a call of its own.
sub compare_pages
{
	my ($condition, $settings) = @_;

	return value_or_error($node, 'postgres', ($settings // '') . <<SQL);
SELECT count(*), count(*) FILTER (WHERE
	walredo_page_mask(resource_manager, image, blkno)
		= walredo_page_mask(resource_manager, page, blkno))
FROM (
	SELECT c.resource_manager, i.image, l.blkno,
		walredo_page_at(i.tag, i.end_lsn) AS page
	FROM images i JOIN looked_at l USING (tag)
		JOIN checked c USING (tag, end_lsn)
	WHERE ($condition) OFFSET 0) p
SQL
}

my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;
$other->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE t AS SELECT g, repeat('t', 100) FROM generate_series(1, 250000) g;
SELECT pg_switch_wal();
SQL
index_server_wal($other);
my $foreign = read_indexes($other);
$other->stop;

my $all = compare_histories('true');
$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
is(index_server_wal($node), 0, 'all segments have indexes');
my $indexes = read_indexes($node);
is(compare_histories('true'), $all, 'histories with indexes');
like(compare_pages('true'), qr/^([1-9]\d{3,})\|\1$/,
	'each record with indexes');

# A few of them take long enough without, or with indexes of which all are
# damaged in the same way, which the server can neither remove nor make anew.
my $few = 'l.rank <= 4';
my $few_pages = "$few AND i.end_lsn::text ~ '8\$'";
my $histories = compare_histories($few);
my $few_equal = compare_pages($few_pages);
like($histories, qr/^\d{3,}\|/, 'some histories');
like($few_equal, qr/^([1-9]\d+)\|\1$/, 'some records');
my $no_indexes = 'SET walredo.index_size = 0;';
is(compare_histories($few, $no_indexes), $histories,
	'histories without indexes');
is(compare_pages($few_pages, $no_indexes), $few_equal,
	'records without indexes');
keep_indexes($node, 1);
foreach my $damage (@index_damages)
{
	damage_indexes($node, $damage, $indexes, $foreign);
	is(compare_histories($few), $histories,
		"histories with indexes that have $damage");

	# What an index of another segment does not have of a page, it hides, if
	# it passes for the right one, and nothing of what it has is looked at.
	# Then there is an error, but never another page.
	my $equal = compare_pages($few_pages);
	my $hidden = $damage =~ /, and say that they are of /
	  && $equal =~ /cannot rebuild .*\nDETAIL: .* has no record of the page/;
	is($hidden ? $few_equal : $equal, $few_equal,
		"records with indexes that have $damage");
}

# What cannot be noticed can hide a record, but not make one.
damage_indexes($node, $unseen_damage, $indexes, $foreign);
is( value_or_error($node, 'postgres', <<SQL),
SELECT l.tag, r.end_lsn
FROM looked_at l, walredo_page_records(l.tag, '$start', '$end') r
EXCEPT SELECT tag, end_lsn FROM checked
SQL
	'',
	"no other records with indexes that have $unseen_damage");
keep_indexes($node, 0);

$node->stop;
done_testing();
