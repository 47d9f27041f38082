# Every page that can be rebuilt from WAL is the page that the server has written.
#
# After a workload with all resource managers and a clean stop, the files on
# disk are what pages must be equal to: a copy is kept, and every block of a fork
# (but the free space map, which is not in WAL) that walredo_pages_at() makes is
# compared with it, under the resource manager's mask, on servers with and
# without checksums, full-page writes and compression of them.
#
# The same pages, made one at a time with indexes of WAL, are compared, too; and
# some of them without indexes, and with ones that are damaged in all the ways of
# WalredoIndexes, which must not lead to another page.
#
# What is not compared, and why:
# - a sequence's page: nextval() puts a value into WAL that is some fetches
#   ahead, so that not every fetch needs a record.  The page from WAL is ahead of
#   the one on disk, on purpose.
# - main forks of unlogged relations, which are not in WAL.
#
# What need not be there:
# - pages of zeroes: the server extends a relation without a record.
# - pages of the visibility map without any bit: the same.
# - pages of the visibility map of catalogs: when a database is created, WAL gets
#   images of them without their bits.  And, without full-page writes, any page
#   of a visibility map: no record makes such a page from nothing.
# - pages of relations that are older than the WAL that is there.
#
# Seen to fail:
# - when the page changes of a heap update lacked the old block's bits in the map;
# - when a rebuild kept the pages that a truncation had cut off;
# - when map pages were rebuilt from images without their bits;
# - when redo of a record looked for a page of the free space map that was not
#   in the child's pool, and when the child had lost what a decompressor needs;
# - when indexes were not compared with those beside them: those of another
#   system, made to fit, led to other pages.

use PostgreSQL::Test::RecursiveCopy;
use WalredoIndexes;
use WalredoTest;
use WalredoWorkload;

# Are a page that was rebuilt and the one on disk equal but for what may differ?
# A page of the visibility map looks empty to the heap's mask, so that of these
# only LSN and checksum are left out.
my $equal_sql = <<'SQL';
CASE WHEN fork = 'vm' THEN substr(rebuilt, 11) = substr(disk, 11)
	ELSE walredo_page_mask(rmgr, rebuilt, blkno)
		= walredo_page_mask(rmgr, disk, blkno) END
SQL

# For each block of each fork that WAL has records of: what WAL makes of it and
# what is on disk.  A table keeps the latter, for check_indexes().
my $compare_sql = <<"SQL";
CREATE UNLOGGED TABLE compared AS
WITH files AS MATERIALIZED (
	SELECT c.oid, c.relkind, c.relpersistence, c.relisshared, f.fork, f.tag,
		'stopped/' || pg_relation_filepath(c.oid) || f.suffix AS path,
		CASE coalesce(am.amname, 'heap')
			WHEN 'heap' THEN 'Heap' WHEN 'btree' THEN 'Btree'
			WHEN 'hash' THEN 'Hash' WHEN 'gin' THEN 'Gin'
			WHEN 'gist' THEN 'Gist' WHEN 'spgist' THEN 'SPGist'
			WHEN 'brin' THEN 'BRIN' ELSE 'Generic' END AS rmgr
	FROM pg_class c LEFT JOIN pg_am am ON am.oid = c.relam,
		(VALUES ('main', '', ''), ('vm', '_vm', ' fork vm'),
				('init', '_init', ' fork init')) f(fork, suffix, tag)
	WHERE pg_relation_filenode(c.oid) IS NOT NULL
), in_wal AS MATERIALIZED (
	SELECT f.*, s.size / 8192 AS nblocks
	FROM files f, pg_stat_file(f.path, true) s
	WHERE s.size > 0
		AND regexp_replace(walredo_tag(f.oid, f.fork, 0)::text, ' blk 0\$', '')
			IN (SELECT * FROM regexp_split_to_table(:'forks', E'\\n'))
), pages AS (
	SELECT l.oid::regclass AS rel, l.relkind, l.relpersistence,
		l.relisshared AS shared, l.fork, l.rmgr, x.*
	FROM in_wal l, LATERAL (
		SELECT blkno, p.page AS rebuilt, d.page AS disk
		FROM walredo_pages_at(l.oid, l.fork, :'lsn') p FULL JOIN
			(SELECT g AS blkno, pg_read_binary_file(l.path, g * 8192, 8192) AS page
			 FROM generate_series(0, l.nblocks - 1) g) d USING (blkno)) x
)
SELECT rel, fork, rmgr, blkno, disk, CASE
		WHEN relkind = 'S' THEN 'sequence'
		WHEN disk IS NULL THEN 'not on disk'
		WHEN rebuilt IS NOT NULL AND $equal_sql THEN 'equal'
		WHEN rebuilt IS NOT NULL THEN 'different'
		WHEN relpersistence = 'u' AND fork <> 'init' THEN 'unlogged'
		WHEN disk = decode(repeat('00', 8192), 'hex') THEN 'zeroes'
		WHEN fork = 'vm' AND substr(disk, 25) = decode(repeat('00', 8168), 'hex')
			THEN 'map without bits'
		WHEN fork = 'vm' AND (NOT :full_page_writes OR rel::oid < 16384)
			THEN 'map without image'
		WHEN shared OR NOT :from_wal THEN 'older than WAL'
		ELSE 'missing' END AS what
FROM pages;
SELECT what, count(*), count(DISTINCT (rel, fork)),
	(array_agg(format('%s %s %s', rel, fork, blkno) ORDER BY rel, fork, blkno))[1:5]
FROM compared GROUP BY 1 ORDER BY 1
SQL

#
# Indexes
#

# Compares pages that were equal with those that walredo_page_at() makes, one at a
# time: all of them, or one of each of some forks.  Returns the number of those
# that are equal, and which are not; or what has failed.
sub compare_alone
{
	my ($node, $lsn, $which, $settings) = @_;
	my $condition =
	  $which eq 'all' ? 'true' : 'n = 1 AND hashoid(rel) % 4 = 0';

	return value_or_error($node, $WalredoWorkload::database,
		($settings // '') . <<SQL);
SELECT count(*) FILTER (WHERE equal), (array_agg(
	format('%s %s %s', rel, fork, blkno)) FILTER (WHERE equal IS NOT TRUE))[1:5]
FROM (
	SELECT *, $equal_sql AS equal
	FROM (
		SELECT *, walredo_page_at(walredo_tag(rel, fork, blkno), '$lsn') AS rebuilt
		FROM (
			SELECT *, row_number() OVER (PARTITION BY rel, fork
				ORDER BY hashint8(blkno)) AS n
			FROM compared WHERE what = 'equal') numbered
		WHERE $condition OFFSET 0) pages) compared
SQL
}

# Compares all pages with complete indexes, which are returned.  If there are those
# of a foreign server, some pages are compared without indexes, and with ones that
# are all damaged in the same way.  Sessions are new ones, and the server can
# neither remove indexes nor make others, so each page meets the damage.
sub check_indexes
{
	my ($node, $lsn, $equal, $foreign) = @_;
	my $name = $node->name;

	$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
	is(index_server_wal($node), 0, "$name: all segments have indexes");
	my $indexes = read_indexes($node);
	cmp_ok(scalar keys %$indexes, '>', 20, '... which are many');
	is(compare_alone($node, $lsn, 'all'), "$equal|",
		"$name: all pages with indexes");
	return $indexes if !defined $foreign;

	my $some = compare_alone($node, $lsn, 'some');
	cmp_ok(int($some), '>', 50, "$name: some pages with indexes");
	is(compare_alone($node, $lsn, 'some', 'SET walredo.index_size = 0;'),
		$some, '... and without');
	keep_indexes($node, 1);
	foreach my $damage (@index_damages)
	{
		damage_indexes($node, $damage, $indexes, $foreign);
		is(compare_alone($node, $lsn, 'some'),
			$some, "... and with indexes that have $damage");
	}
	keep_indexes($node, 0);
	return $indexes;
}

# Runs the workload on a new server, and compares.  At least min_equal pages
# must be equal, and all others have a reason.  Returns the server's indexes.
sub check_cluster
{
	my ($name, %param) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $data = $node->data_dir;

	$node->init(
		extra => [
			'--wal-segsize=1',
			$param{checksums} ? '--data-checksums'
			: $node->pg_version->major >= 18 ? '--no-data-checksums'
			: () ]);
	$node->append_conf('postgresql.conf', WalredoWorkload::conf());
	$node->append_conf('postgresql.conf',
		"full_page_writes = $param{full_page_writes}");
	$node->append_conf('postgresql.conf', $param{conf}) if $param{conf};
	$node->start;

	my $compression = $param{wal_compression};
	if ($node->safe_psql('postgres',
			"SELECT '$compression' = ANY (enumvals) FROM pg_settings WHERE name = 'wal_compression'"
		) ne 't')
	{
		diag("$name: this server is built without $compression");
		$compression = 'pglz';
	}
	$node->safe_psql('postgres',
		"ALTER SYSTEM SET wal_compression = '$compression'");
	$node->restart;
	is( $node->safe_psql('postgres', <<'SQL'),
SELECT current_setting('data_checksums'), current_setting('full_page_writes'),
	current_setting('wal_compression')
SQL
		join('|',
			$param{checksums} ? 'on' : 'off', $param{full_page_writes},
			$compression),
		"$name: settings");

	$node->safe_psql('template1', 'CREATE EXTENSION walredo');
	$node->safe_psql('postgres', 'CREATE EXTENSION walredo');
	my $start_lsn =
	  $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
	WalredoWorkload::run($node);
	$node->stop;

	mkdir "$data/stopped" or die "mkdir $data/stopped: $!";
	foreach my $part (qw(base global pg_tblspc))
	{
		PostgreSQL::Test::RecursiveCopy::copypath("$data/$part",
			"$data/stopped/$part");
	}
	my $lsn = checkpoint_lsn($node);

	$node->start;
	my $forks = $node->safe_psql('postgres', <<SQL);
SELECT DISTINCT regexp_replace(d.tag::text, ' blk .*', '')
FROM walredo_wal_records('$start_lsn', '$lsn') r,
	walredo_decode(r.end_lsn, r.rec) d
WHERE d.tag::text LIKE 'rel %'
SQL
	my (%count, %equal_of);
	my @databases = split /\n/, $node->safe_psql('postgres',
		'SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1');
	foreach my $database (@databases)
	{
		# Creation of the database has put all its catalogs into WAL.
		my $from_wal = $database eq $WalredoWorkload::database ? 't' : 'f';
		my $rows = $node->safe_psql(
			$database,
			$compare_sql,
			extra_params => [
				'-v', "lsn=$lsn",
				'-v', "forks=$forks",
				'-v', "from_wal='$from_wal'",
				'-v', "full_page_writes='$param{full_page_writes}'" ]);
		my @wrong;

		foreach my $row (split /\n/, $rows)
		{
			my ($what, $pages, $nforks, $examples) = split /\|/, $row;

			$count{$what} += $pages;
			$equal_of{$database} = $pages if $what eq 'equal';
			note "$name, $database: $pages pages in $nforks forks: $what";
			push @wrong, "$what: $pages, such as $examples"
			  if $what =~ /^(different|not on disk|missing)$/;
		}
		is("@wrong", '', "$name: database $database");
	}
	my $equal = $count{equal} // 0;
	diag("$name: $equal pages rebuilt from WAL are equal to those on disk");
	cmp_ok($equal, '>=', $param{min_equal},
		"$name: at least $param{min_equal} pages are equal");
	is($count{sequence}, 4, "$name: only sequences are excepted");
	my $indexes =
	  check_indexes($node, $lsn, $equal_of{$WalredoWorkload::database},
		$param{foreign_indexes});
	$node->stop;
	return $indexes;
}

my $foreign_indexes = check_cluster(
	'plain',
	checksums => 0,
	full_page_writes => 'on',
	wal_compression => 'off',
	min_equal => 4000);
check_cluster(
	'checksums',
	checksums => 1,
	full_page_writes => 'on',
	wal_compression => 'pglz',
	foreign_indexes => $foreign_indexes,
	min_equal => 4000);
check_cluster(
	'no_images',
	checksums => 1,
	full_page_writes => 'off',
	wal_compression => 'lz4',
	min_equal => 4000);
check_cluster(
	'hints',
	checksums => 0,
	full_page_writes => 'off',
	wal_compression => 'zstd',
	conf => 'wal_log_hints = on',
	min_equal => 4000);

done_testing();
