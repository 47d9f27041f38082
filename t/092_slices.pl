# Slices of the pages of an archive: each of several servers, which do not have
# the relations, makes its share of the pages, and together they return each page
# once.  The shares are those of partitions by hash, so that foreign tables of them
# are a partitioned table, which is scanned on all servers at the same time.
#
# Seen to fail:
# - "a slice is a partition", when another seed was hashed;
# - "no page twice", when the server's blocks were returned whatever their slice, if
#   they were in a backup, too;
# - "all pages", when only forks with a record in the slice were returned;
# - "files are the same one by one", when the end of a database was not applied to
#   files that WAL had not named before;
# - "a dropped database", when that end was not applied to files that WAL had named;
# - "the pages are the server's", when records of one page were left out.

use WalredoTest;

my $main = wal_server('main', conf => <<'CONF');
fsync = off
max_wal_senders = 4
CONF
$main->start;
$main->safe_psql('postgres',
	'CREATE EXTENSION walredo; CREATE EXTENSION pageinspect');

my @shards;
foreach my $i (0, 1)
{
	my $node = PostgreSQL::Test::Cluster->new("shard_$i");

	$node->init;
	$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
shared_preload_libraries = 'walredo'
walredo.timeout = '60s'
CONF
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION walredo');
	push @shards, $node;
}

sub query
{
	return $main->safe_psql('postgres', shift);
}

#
# WAL of tables that are truncated and dropped, and of a database that is dropped
# and made again under the same OID
#

query(<<'SQL');
CREATE DATABASE other OID = 900000 STRATEGY wal_log;
CREATE TABLE still AS SELECT g AS i FROM generate_series(1, 5000) g;
SQL
$main->safe_psql('other',
	'CREATE TABLE old AS SELECT g AS i FROM generate_series(1, 20000) g');
my $old = $main->safe_psql('other', "SELECT pg_relation_filenode('old')");
$main->backup('backup');
my $backup = $main->backup_dir . '/backup';

query(<<'SQL');
CREATE TABLE t (i int PRIMARY KEY, a int[], s text);
CREATE INDEX ON t USING gin (a);
INSERT INTO t SELECT g, ARRAY[g % 10, g % 77], repeat('a', 50)
	FROM generate_series(1, 20000) g;
CREATE TABLE cut AS SELECT g AS i FROM generate_series(1, 30000) g;
CREATE TABLE gone AS SELECT g AS i FROM generate_series(1, 5000) g;
CHECKPOINT;
UPDATE t SET s = repeat('b', 60) WHERE i % 9 = 0;
DELETE FROM cut WHERE i > 10000;
VACUUM cut;
VACUUM t;
UPDATE still SET i = 0 WHERE i = 1;
SQL
my $gone = query("SELECT walredo_tag('gone', 0)");
my $before = query('SELECT pg_current_wal_insert_lsn()');
query('DROP TABLE gone');
query('DROP DATABASE other');
query('CREATE DATABASE other OID = 900000 STRATEGY file_copy');
$main->safe_psql('other', 'CREATE TABLE new AS SELECT 1 AS i');
query(<<"SQL");
DELETE FROM t WHERE i % 100 = 3;
CREATE TABLE lsn AS SELECT NULL::pg_lsn AS lsn;
CHECKPOINT;
SQL

# With no hint bits that replay would not set, the table is complete.
query("SELECT count(*) FROM $_") foreach qw(t cut still);
query(<<'SQL');
CREATE TABLE pages AS
	SELECT relname, tag, CASE WHEN relkind = 'i' THEN
			CASE relam WHEN 403 THEN 'Btree' ELSE 'Gin' END
		ELSE 'Heap' END AS rmgr, f AS fork,
		b AS blkno, get_raw_page(oid::regclass::text, f, b) AS page
	FROM pg_class, unnest('{main, vm}'::text[]) f,
		generate_series(0, pg_relation_size(oid, f)
			/ current_setting('block_size')::int - 1) AS b,
		walredo_tag(oid, f, b) AS t (tag)
	WHERE relname ~ '^(t|t_.*|cut|still)$' AND relkind IN ('r', 'i');
SQL
my $lsn = query('SELECT pg_current_wal_insert_lsn()');
query('SELECT pg_switch_wal()');
query('CHECKPOINT');
my $archive = copy_segments($main->data_dir . '/pg_wal',
	$main->data_dir . '/archive');
unlink map { "$archive/$_" } grep { $_ gt segment_name(1, $lsn) } slurp_dir($archive);

#
# All slices together
#

# The pages of slices, as (slice, tag, page), for some arguments of the function.
sub slices
{
	my ($arguments, $count) = @_;

	return join(' UNION ALL ', map {
			"SELECT $_ AS slice, tag, page FROM walredo_pages_at_all($arguments, $_, $count)"
	} 0 .. $count - 1);
}

# A table, of a name, has all pages of some arguments, and slices have the same.
sub same_pages
{
	my ($node, $count, $settings, $arguments, $what) = @_;
	my $slices = slices($arguments, $count);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE IF NOT EXISTS parted (tag walredo_tag) PARTITION BY HASH (tag);
$settings
DROP TABLE IF EXISTS whole, sliced;
CREATE TABLE whole AS SELECT tag, page FROM walredo_pages_at_all($arguments);
CREATE TABLE sliced AS $slices;
SQL
	is( $node->safe_psql('postgres', <<'SQL'), 't|0', "$what: all pages");
SELECT count(*) > 100, count(*) FILTER (WHERE w.page IS DISTINCT FROM s.page)
FROM whole w FULL JOIN sliced s USING (tag)
SQL
	is( $node->safe_psql('postgres',
			'SELECT count(*) - count(DISTINCT tag) FROM sliced'),
		0,
		"$what: no page twice");
	is( $node->safe_psql('postgres', <<"SQL"),
SELECT count(DISTINCT slice), count(*) FILTER (
	WHERE NOT satisfies_hash_partition('parted'::regclass, $count, slice, tag))
FROM sliced
SQL
		"$count|0",
		"$what: a slice is a partition");
	return;
}

my $all = "NULL::walredo_tag[], '$lsn', '$archive'";
my $set = "SET walredo.backup_directory = '$backup';";
same_pages($shards[0], 3, '', $all, 'an archive');
my $tags = query("SELECT array_agg(tag) FROM pages WHERE tag::text ~ '[02468]\$'");
same_pages($shards[0], 2, '', "'$tags', '$lsn', '$archive'", 'some files');
same_pages($shards[0], 2, $set, $all, 'with a backup');

# The table has the latter.  Of each file, these are the pages that are made of it
# alone.
is( $shards[0]->safe_psql('postgres', <<"SQL"),
$set
WITH files AS (
	SELECT regexp_replace(tag::text, 'blk .*', 'blk ') AS file, count(*)
	FROM whole GROUP BY 1)
SELECT count(*) > 20, sum(n)::int - (SELECT count(*) FROM whole),
	count(*) FILTER (WHERE n <> f.count OR n <> same)
FROM files f, LATERAL (
	SELECT count(*) AS n, count(*) FILTER (WHERE w.page = p.page) AS same
	FROM walredo_pages_at((file || '0')::walredo_tag, '$lsn', '$archive') p
		LEFT JOIN whole w ON w.tag = (file || p.blkno)::walredo_tag) s
SQL
	't|0|0',
	'files are the same one by one');
is( $shards[0]->safe_psql('postgres', <<"SQL"), '0|t', 'a dropped database');
SELECT (SELECT count(*) FROM walredo_pages_at_all($all) WHERE tag::text ~ '/900000/$old blk'),
	(SELECT count(*) > 20 FROM walredo_pages_at_all(NULL, '$before', '$archive', 1, 2)
	 WHERE tag::text ~ '/900000/$old blk')
SQL
is( $shards[0]->safe_psql('postgres', <<"SQL"),
SELECT (SELECT count(*) FROM whole WHERE tag::text ~ regexp_replace('$gone', '0\$', '')),
	(SELECT count(*) > 5 FROM walredo_pages_at_all(ARRAY['$gone'::walredo_tag], '$before', '$archive', 1, 2))
SQL
	'0|t',
	'a dropped table');
like(
	error_of($shards[0], 'postgres',
		"SELECT count(*) FROM walredo_pages_at_all('{$gone}', '$lsn', '$archive', 1, 2)"
	),
	qr/22023: file "base\S+" does not exist at/,
	'... named by a tag');

# The server's own pages, which WAL has not changed since.
same_pages($main, 2, $set,
	"'{t, cut, still}'::regclass[], '$lsn', '$archive'",
	'own pages and a backup');
same_pages($main, 2, '', "'{t, cut, still}'::regclass[], '$lsn', '$archive'",
	'own pages');
is(query("SELECT count(*) FROM whole WHERE tag = walredo_tag('still', 5)"),
	1, 'own pages: one that the archive does not have');

#
# On all servers at the same time
#

query('CREATE EXTENSION postgres_fdw');
query('CREATE TABLE sliced_pages (tag walredo_tag, page bytea) PARTITION BY HASH (tag)');
foreach my $i (0, 1)
{
	my $shard = $shards[$i];
	my ($host, $port) = ($shard->host, $shard->port);

	$shard->safe_psql('postgres', <<"SQL");
CREATE TABLE request AS SELECT '$lsn'::pg_lsn AS lsn;
CREATE VIEW sliced_pages AS
	SELECT p.tag, p.page FROM request,
		walredo_pages_at_all(NULL::walredo_tag[], lsn, '$archive', $i, 2) p;
SQL
	query(<<"SQL");
CREATE SERVER shard_$i FOREIGN DATA WRAPPER postgres_fdw
	OPTIONS (host '$host', port '$port', dbname 'postgres',
		extensions 'walredo', async_capable 'true');
CREATE USER MAPPING FOR CURRENT_USER SERVER shard_$i;
CREATE FOREIGN TABLE sliced_pages_$i PARTITION OF sliced_pages
	FOR VALUES WITH (MODULUS 2, REMAINDER $i)
	SERVER shard_$i OPTIONS (table_name 'sliced_pages');
SQL
}
my $plan = query('EXPLAIN (VERBOSE, COSTS OFF) SELECT tag, page FROM sliced_pages');
is(scalar(() = $plan =~ /Async Foreign Scan/g), 2, 'the plan: asynchronous');
is( query(<<'SQL'),
SELECT count(*) > 500, count(*) FILTER (WHERE s.page IS NULL),
	count(*) FILTER (WHERE walredo_page_mask(rmgr, s.page, blkno)
		<> walredo_page_mask(rmgr, p.page, blkno))
FROM pages p LEFT JOIN sliced_pages s USING (tag)
WHERE fork = 'main' AND relname <> 'still'
SQL
	't|0|0',
	'the pages are the server\'s');
is( query(<<'SQL'), 't|0', '... and its maps');
SELECT count(*) > 1, count(*) FILTER (WHERE substr(s.page, 25) <> substr(p.page, 25))
FROM sliced_pages s JOIN pages p USING (tag) WHERE fork = 'vm'
SQL
my $tag = query("SELECT walredo_tag('t', 3)");
$plan = query("EXPLAIN (VERBOSE, COSTS OFF) SELECT page FROM sliced_pages WHERE tag = '$tag'");
is(scalar(() = $plan =~ /Foreign Scan on/g), 1, 'one page is of one server');
is( query(
		"SELECT count(*) FROM sliced_pages WHERE tag = '$tag'"),
	1,
	'... and it is there');

$_->stop foreach $main, @shards;
done_testing();
