-- Which pages a WAL record changes, and how.
--
-- Seen to fail: when row locks cleared no bits of the visibility map, when rows
-- that were inserted frozen cleared bits, and when a truncation in the middle of
-- the first byte of a map page was left out.

-- Keep the WAL that is read below, if the server has slots.
DO $$
BEGIN
	IF current_setting('wal_level') <> 'minimal' AND
		current_setting('max_replication_slots')::int > 0
	THEN
		PERFORM pg_create_physical_replication_slot('regress_walredo_decode', true);
	END IF;
END
$$;

-- Which bits of the first heap blocks a record clears in the visibility map,
-- tried on a page with all bits set.  A server older than August 2026 does not
-- name the map's page in records that clear bits, so that walredo_decode()
-- returns another record for it, but that has the same effect.
CREATE FUNCTION regress_cleared(tag walredo_tag, record walredo_record)
RETURNS text
LANGUAGE sql AS $$
SELECT 'clears ' || string_agg(format('%s of block %s', 3 - bits, blk), ', ')
  FROM (SELECT walredo_apply(tag, decode(repeat('00', 8), 'hex') ||
			substr(get_raw_page('regress_decode', 'vm', 0), 9, 16) ||
			decode(repeat('ff', 8168), 'hex'), ARRAY[record]) AS page) p,
	   generate_series(0, 7) blk,
	   LATERAL (SELECT get_byte(page, 24 + blk / 4) >> (blk % 4 * 2) & 3) b(bits)
 WHERE bits <> 3
$$;

-- The page changes of a range of WAL.  Numbers that vary are left out.
CREATE FUNCTION regress_changes(lsn1 pg_lsn, lsn2 pg_lsn, rel regclass)
RETURNS TABLE (resource_manager text, record_type text, tag text,
			   record text)
LANGUAGE sql AS $$
SELECT resource_manager, record_type,
	   regexp_replace(regexp_replace(tag::text, '^rel \S+', 'rel REL'),
					  '/[0-9A-F]{4} blk \d+', ''),
	   CASE WHEN resource_manager = 'Heap' AND tag::text ~ ' fork vm '
		   THEN regress_cleared(tag, record)
		   ELSE regexp_replace(regexp_replace(record::text, '^\S+ ', ''),
					  '(rec|xids|mid|moff|members|timestamp|contents)=\S+',
					  '\1=...', 'g') END
  FROM walredo_wal_records(lsn1, lsn2) r,
	   walredo_decode(end_lsn, rec) WITH ORDINALITY d(tag, record, ord)
 WHERE tag::text ~ ('/' || pg_relation_filenode(rel) || ' ')
	OR tag::text !~ '^rel '
 ORDER BY start_lsn, ord
$$;

SET synchronous_commit = on;
SET default_statistics_target = 1;
CREATE TABLE regress_decode (id int, v text) WITH (autovacuum_enabled = off);
INSERT INTO regress_decode
	SELECT g, repeat('x', 300) FROM generate_series(1, 27) g;
VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) regress_decode;
-- no page images in what follows
CHECKPOINT;
UPDATE regress_decode SET v = v WHERE id IN (1, 27);
VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) regress_decode;

-- ===================================================================
-- Validation
-- ===================================================================

\set VERBOSITY sqlstate
SELECT * FROM walredo_decode('0/1', '');
SELECT * FROM walredo_decode('0/1', '\x1234');
SELECT * FROM walredo_decode('0/1', decode(repeat('00', 24), 'hex'));
SELECT * FROM walredo_decode('0/1', decode(repeat('18000000', 6), 'hex'));
SELECT * FROM walredo_decode('0/0', decode(repeat('18000000', 6), 'hex'));
\set VERBOSITY default
SELECT * FROM walredo_decode(NULL, '\x');
SELECT * FROM walredo_decode('0/1', NULL);

-- ===================================================================
-- Function
-- ===================================================================

-- a commit, and the visibility map bits that a deletion and a lock clear
SELECT pg_current_wal_insert_lsn() AS lsn1 \gset
BEGIN;
DELETE FROM regress_decode WHERE id = 2;
SELECT FROM regress_decode WHERE id = 26 FOR UPDATE;
COMMIT;
SELECT pg_current_wal_insert_lsn() AS lsn2 \gset
SELECT resource_manager, record_type, tag, record
  FROM regress_changes(:'lsn1', :'lsn2', 'regress_decode')
 WHERE tag !~ 'pg_commit_ts'
   AND resource_manager IN ('Heap', 'Transaction')
 ORDER BY resource_manager, record_type, tag COLLATE "C";

-- a commit with subtransactions, and one that aborts; the records of commit
-- timestamps are there whether the server keeps timestamps or not
SELECT pg_current_wal_insert_lsn() AS lsn1 \gset
BEGIN;
INSERT INTO regress_decode VALUES (100, 'top');
SAVEPOINT a;
INSERT INTO regress_decode VALUES (101, 'sub');
SAVEPOINT b;
INSERT INTO regress_decode VALUES (102, 'sub of sub');
ROLLBACK TO b;
COMMIT;
SELECT pg_current_wal_insert_lsn() AS lsn2 \gset
SELECT record_type, tag, split_part(d.record::text, ' ', 2) AS kind,
	   sum(array_length(string_to_array(substring(d.record::text
							FROM 'xids=(.*)'), ','), 1)) AS xids
  FROM walredo_wal_records(:'lsn1', :'lsn2') r,
	   walredo_decode(end_lsn, rec) WITH ORDINALITY d(page, record, ord),
	   substring(page::text FROM '^slru [a-z_/]+') AS tag
 WHERE resource_manager = 'Transaction'
 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- a multixact: its offset, the next one's, and its members
SELECT pg_current_wal_insert_lsn() AS lsn1 \gset
BEGIN;
SELECT FROM regress_decode WHERE id = 20 FOR KEY SHARE;
SAVEPOINT a;
SELECT FROM regress_decode WHERE id = 20 FOR NO KEY UPDATE;
COMMIT;
SELECT pg_current_wal_insert_lsn() AS lsn2 \gset
SELECT DISTINCT tag, record
  FROM regress_changes(:'lsn1', :'lsn2', 'regress_decode')
 WHERE resource_manager = 'MultiXact' AND record_type = 'CREATE_ID'
 ORDER BY 1, 2;

-- relation maps
SELECT pg_current_wal_insert_lsn() AS lsn1 \gset
REINDEX INDEX pg_class_oid_index;
SELECT pg_current_wal_insert_lsn() AS lsn2 \gset
SELECT DISTINCT tag = 'relmap 1663/' || oid AS is_of_database, record
  FROM regress_changes(:'lsn1', :'lsn2', 'regress_decode'), pg_database
 WHERE resource_manager = 'RelMap' AND datname = current_database();

-- truncation cuts a page of the map
SELECT pg_current_wal_insert_lsn() AS lsn1 \gset
DELETE FROM regress_decode WHERE ctid >= '(1,0)';
VACUUM (TRUNCATE) regress_decode;
SELECT pg_current_wal_insert_lsn() AS lsn2 \gset
SELECT resource_manager, record_type, tag, record
  FROM regress_changes(:'lsn1', :'lsn2', 'regress_decode')
 WHERE record_type = 'TRUNCATE';

-- a block is initialized, or not
SELECT pg_current_wal_insert_lsn() AS lsn1 \gset
TRUNCATE regress_decode;
INSERT INTO regress_decode VALUES (1, 'a'), (2, 'b');
SELECT pg_current_wal_insert_lsn() AS lsn2 \gset
SELECT resource_manager, record_type, tag, record
  FROM regress_changes(:'lsn1', :'lsn2', 'regress_decode')
 WHERE resource_manager LIKE 'Heap%';

-- the records of a page are all there are, and can be replayed
SELECT count(*) AS pages,
	   bool_and(walredo_apply(tag, NULL, records) =
				get_raw_page('regress_decode', 0)) AS same
  FROM (SELECT tag, array_agg(record ORDER BY start_lsn) AS records
		  FROM walredo_wal_records(:'lsn1', :'lsn2') r,
			   walredo_decode(end_lsn, rec) d
		 WHERE tag = walredo_tag('regress_decode', 'main', 0)
		 GROUP BY tag) s;

-- rows that are inserted frozen set bits of the map, and clear none
SELECT pg_current_wal_insert_lsn() AS lsn1 \gset
BEGIN;
TRUNCATE regress_decode;
COPY regress_decode FROM STDIN (FREEZE);
1	a
2	b
\.
COMMIT;
SELECT pg_current_wal_insert_lsn() AS lsn2 \gset
SELECT count(*) AS clear
  FROM regress_changes(:'lsn1', :'lsn2', 'regress_decode')
 WHERE record_type LIKE 'MULTI_INSERT%' AND record LIKE 'clear%';

-- ===================================================================
-- Permissions
-- ===================================================================

SELECT has_function_privilege('public', 'walredo_decode(pg_lsn, bytea)',
							  'EXECUTE');

-- ===================================================================
-- Clean-up
-- ===================================================================

DROP FUNCTION regress_changes, regress_cleared;
DROP TABLE regress_decode;
DO $$
BEGIN
	PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots
		WHERE slot_name = 'regress_walredo_decode';
END
$$;
