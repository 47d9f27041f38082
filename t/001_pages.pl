# Every page of a table, its index and its visibility map that walredo_apply()
# makes is the page that the server has, on servers with various settings.
#
# Seen to fail: all tests when a record was left out, and when the last record of
# a page was replayed first; "wal_log_hints" when the child had that setting off;
# "page LSNs" when the start LSN of records was taken for the end LSN.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub test_pages
{
	my ($name, $initdb, @settings) = @_;

	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(extra => $initdb);
	$node->append_conf('postgresql.conf', join "\n",
		'autovacuum = off', 'checkpoint_timeout = 1h',
		'max_wal_size = 1GB', @settings, '');
	$node->start;
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE EXTENSION pg_walinspect;
SELECT pg_current_wal_lsn() AS start_lsn \gset
CREATE TABLE replayed (id int PRIMARY KEY, t text);
INSERT INTO replayed
	SELECT i, repeat('x', i % 200) FROM generate_series(1, 6000) AS i;
UPDATE replayed SET t = t || 'y' WHERE id % 3 = 0;
DELETE FROM replayed WHERE id % 5 = 0;
VACUUM replayed;
-- from here on, the first change to a page has a full-page image
CHECKPOINT;
UPDATE replayed SET t = t || 'z' WHERE id % 7 = 0;
-- all of these go to the end of the index, and to new pages
INSERT INTO replayed
	SELECT i, repeat('x', i % 200) FROM generate_series(6001, 9000) AS i;
BEGIN;
DELETE FROM replayed WHERE id % 11 = 0;
ROLLBACK;
SELECT count(*) FROM (SELECT * FROM replayed WHERE id < 100 FOR UPDATE) AS s;
DELETE FROM replayed WHERE id BETWEEN 1000 AND 3000;
-- deletes pages of the index
VACUUM (FREEZE, TRUNCATE off) replayed;
INSERT INTO replayed
	SELECT i, repeat('w', i % 50) FROM generate_series(1000, 1500) AS i;
DELETE FROM replayed WHERE id > 8900;
SELECT pg_current_wal_lsn() AS end_lsn \gset
CREATE TABLE refs AS
	SELECT w.end_lsn, w.record_type, w.resource_manager, w.rec,
		replace(block[1], ' fork main', '')::walredo_tag AS tag
	FROM walredo_wal_records(:'start_lsn', :'end_lsn') AS w
		JOIN pg_get_wal_records_info(:'start_lsn', :'end_lsn') AS i
			USING (start_lsn, end_lsn),
		regexp_matches(i.block_ref,
			'blkref #\d+: (rel \d+/\d+/\d+(?: fork \w+)? blk \d+)', 'g')
				AS block;
CREATE TABLE pages AS
	SELECT v.relname, v.fork, v.rmgr, b AS blkno, tag,
		get_raw_page(v.relname, v.fork, b) AS page
	FROM (VALUES ('replayed', 'main', 'Heap'), ('replayed_pkey', 'main', 'Btree'),
			('replayed', 'vm', '')) AS v (relname, fork, rmgr),
		generate_series(0, pg_relation_size(v.relname, v.fork)::int
			/ current_setting('block_size')::int - 1) AS b,
		walredo_tag(v.relname, v.fork, b) AS t (tag);
-- records that clear bits of the map do not name the map's page before the minor
-- releases of August 2026
CREATE TABLE records AS
	SELECT tag, end_lsn, walredo_postgres(end_lsn, rec) AS record FROM refs
	UNION ALL
	SELECT walredo_tag('replayed', 'vm', 0), end_lsn,
		walredo_clear_visibility_map_flags(end_lsn, NULL, blkno,
			CASE WHEN record_type ~ 'LOCK' THEN 2 ELSE 3 END)
	FROM refs JOIN pages USING (tag)
	WHERE relname = 'replayed' AND resource_manager = 'Heap'
		AND end_lsn > (SELECT min(end_lsn) FROM refs
			WHERE tag = walredo_tag('replayed', 'vm', 0))
		AND end_lsn NOT IN (SELECT end_lsn FROM refs
			WHERE tag = walredo_tag('replayed', 'vm', 0));
-- LSN and checksum are compared apart from the rest, or not at all: the checksum
-- of a page in memory is the one that it had on disk.  Maps are not masked, since
-- nothing would be left of them.
CREATE TABLE results AS
	SELECT relname, fork, records, (page_header(page)).lsn AS wanted_lsn,
		(page_header(result)).lsn AS lsn,
		CASE rmgr WHEN '' THEN overlay(page PLACING '\x0000' FROM 9 FOR 2)
			ELSE walredo_page_mask(rmgr, page, blkno) END AS wanted,
		CASE rmgr WHEN '' THEN overlay(result PLACING '\x0000' FROM 9 FOR 2)
			ELSE walredo_page_mask(rmgr, result, blkno) END AS result
	FROM (SELECT pages.*, count(*) AS records,
			walredo_apply(tag, NULL, array_agg(record ORDER BY end_lsn)) AS result
		FROM pages JOIN records USING (tag)
		GROUP BY relname, fork, rmgr, blkno, tag, page) AS s;
SQL

	is( $node->safe_psql(
			'postgres', <<'SQL'),
SELECT relname, fork, count(*) > 50 AS many_pages, sum(records) > 1000 AS many,
	count(*) = pg_relation_size(relname, fork)
		/ current_setting('block_size')::int AS all
FROM results GROUP BY relname, fork ORDER BY 1, 2
SQL
		"replayed|main|t|t|t\nreplayed|vm|f|t|t\nreplayed_pkey|main|f|t|t",
		"$name: all pages are there, made from many records");
	is( $node->safe_psql(
			'postgres',
			"SELECT relname, fork, count(*) FROM results
				WHERE result <> wanted GROUP BY relname, fork"),
		'',
		"$name: pages are equal to the server's");
	is( $node->safe_psql(
			'postgres',
			"SELECT relname, fork, count(*) FROM results
				WHERE lsn <> wanted_lsn GROUP BY relname, fork"),
		'',
		"$name: page LSNs are equal to the server's");
	$node->stop;
}

test_pages('extension_alone', []);
test_pages('checksums', ['--data-checksums']);
test_pages('preloaded', [], "shared_preload_libraries = 'walredo'");
test_pages(
	'preloaded_checksums',
	['--data-checksums'],
	"shared_preload_libraries = 'walredo'");
test_pages('wal_log_hints', [], 'wal_log_hints = on');
test_pages('wal_compression', [], 'wal_compression = on');

done_testing();
