-- Reading the server's own WAL.

-- Keep the segments that are read below, if the server has slots.
DO $$
BEGIN
	IF current_setting('wal_level') <> 'minimal' AND
		current_setting('max_replication_slots')::int > 0
	THEN
		PERFORM pg_create_physical_replication_slot('regress_walredo_wal', true);
	END IF;
END
$$;

CREATE TABLE regress_wal (id int PRIMARY KEY, t text);
CREATE INDEX regress_wal_hash ON regress_wal USING hash (t);
SELECT pg_current_wal_insert_lsn() AS lsn1 \gset
INSERT INTO regress_wal SELECT g, repeat('x', g) FROM generate_series(1, 500) g;
-- one record that is longer than some pages
SELECT pg_logical_emit_message(true, 'regress', repeat('m', 50000)) IS NOT NULL AS emitted;
DELETE FROM regress_wal WHERE id % 2 = 0;
-- a commit flushes WAL up to its end
SET synchronous_commit = on;
CREATE TABLE regress_wal_last ();
SELECT pg_current_wal_insert_lsn() AS lsn2 \gset
DROP TABLE regress_wal_last;

-- ===================================================================
-- Validation
-- ===================================================================

\set VERBOSITY sqlstate
-- from where WAL begins
SELECT (walredo_wal_records('0/0', :'lsn1')).start_lsn < :'lsn1' AS ok LIMIT 1;
-- an end before the start, and NULL
SELECT count(*) FROM walredo_wal_records(:'lsn2', :'lsn1');
SELECT count(*) FROM walredo_wal_records(NULL, :'lsn1');
SELECT count(*) FROM walredo_wal_records(:'lsn1', NULL);
-- the future
SELECT count(*) FROM walredo_wal_records(:'lsn1', 'FFFFFFFF/FFFFFFFE');
SELECT count(*) FROM walredo_wal_records('FFFFFFFF/FFFFFFFE', 'FFFFFFFF/FFFFFFFF');
-- before the first segment that there is
SELECT count(*) FROM walredo_wal_records('0/28', :'lsn2');
-- no such directory, a directory without WAL, a file
SELECT count(*) FROM walredo_wal_records(:'lsn1', :'lsn2', 'no such directory');
SELECT count(*) FROM walredo_wal_records(:'lsn1', :'lsn2', 'base');
SELECT count(*) FROM walredo_wal_records(:'lsn1', :'lsn2', 'PG_VERSION');
SELECT count(*) FROM walredo_wal_records(:'lsn1', :'lsn2', '');
SELECT count(*) FROM walredo_wal_records(:'lsn1', :'lsn2', repeat('x', 2000));
\set VERBOSITY default
-- with their messages
SELECT count(*) FROM walredo_wal_records('0/2', '0/1');
SELECT count(*) FROM walredo_wal_records(NULL, NULL);

-- ===================================================================
-- Function
-- ===================================================================

-- the records of what was done above are there
SELECT DISTINCT resource_manager
  FROM walredo_wal_records(:'lsn1', :'lsn2')
 WHERE resource_manager IN ('Heap', 'Btree', 'Hash', 'Storage', 'Transaction',
							'LogicalMessage')
 ORDER BY 1;
SELECT record_type, count(*) >= 250 AS many
  FROM walredo_wal_records(:'lsn1', :'lsn2')
 WHERE resource_manager = 'Heap' AND record_type IN ('INSERT', 'DELETE')
   AND xid <> '0'
 GROUP BY 1 ORDER BY 1;

-- no record is left out, and each one is whole
SELECT count(*) > 1000 AS many,
	   bool_and(prev_lsn = last) AS chained,
	   bool_and(start_lsn >= last_end) AS in_order,
	   bool_and(end_lsn > start_lsn) AS forward,
	   bool_and(length(rec) = record_length) AS whole,
	   max(record_length) > 50000 AS long,
	   min(start_lsn) >= :'lsn1' AND max(end_lsn) <= :'lsn2' AS in_range
  FROM (SELECT *, lag(start_lsn, 1, prev_lsn) OVER w AS last,
			   lag(end_lsn, 1, start_lsn) OVER w AS last_end
		  FROM walredo_wal_records(:'lsn1', :'lsn2')
		WINDOW w AS (ORDER BY start_lsn)) s;

-- every one is accepted as a WAL record, that is, has a right CRC
SELECT count(walredo_postgres(end_lsn, rec)) = count(*) AS accepted
  FROM walredo_wal_records(:'lsn1', :'lsn2');

-- the last record of a range ends at the range's end
SELECT max(start_lsn) AS last_start, max(end_lsn) AS last_end, count(*) AS n
  FROM walredo_wal_records(:'lsn1', :'lsn2') \gset
SELECT count(*) - :n AS same
  FROM walredo_wal_records(:'lsn1', :'last_end');
SELECT count(*) - :n AS one_less
  FROM walredo_wal_records(:'lsn1', :'last_end'::pg_lsn - 1);
SELECT start_lsn = :'last_start' AS last
  FROM walredo_wal_records(:'last_start', :'last_end');
-- a start within a record moves on to the next one
SELECT count(*) AS none
  FROM walredo_wal_records(:'last_start'::pg_lsn + 1, :'last_end');
SELECT count(*) AS none FROM walredo_wal_records(:'lsn1', :'lsn1');
-- an open end is as far as WAL is flushed
SELECT count(*) > :n AS more
  FROM walredo_wal_records(:'lsn1', 'FFFFFFFF/FFFFFFFF');

-- the same directory, by name
SELECT count(*) AS difference
  FROM (SELECT * FROM walredo_wal_records(:'lsn1', :'lsn2')
		EXCEPT ALL
		SELECT * FROM walredo_wal_records(:'lsn1', :'lsn2', 'pg_wal')) s;

-- rows are returned one by one, and a scan that was begun may be left, also after
-- a rollback to a savepoint
SELECT (r).start_lsn >= :'lsn1' AS found
  FROM (SELECT walredo_wal_records(:'lsn1', :'lsn2') AS r LIMIT 1) s;
BEGIN;
DECLARE c CURSOR FOR
	SELECT start_lsn FROM walredo_wal_records(:'lsn1', :'lsn2');
SAVEPOINT s;
MOVE 3 FROM c;
ROLLBACK TO s;
MOVE 500 FROM c;
CLOSE c;
COMMIT;

-- the planner inlines the function, so that columns that are not used are not
-- computed
PREPARE of_rmgr(pg_lsn, pg_lsn, text) AS
	SELECT count(*) > 0 AS found FROM walredo_wal_records($1, $2)
	WHERE resource_manager = $3;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE of_rmgr(:'lsn1', :'lsn2', 'Heap');
EXECUTE of_rmgr(:'lsn1', :'lsn2', 'Heap');
EXECUTE of_rmgr(NULL, :'lsn2', 'Heap');
RESET plan_cache_mode;
DEALLOCATE of_rmgr;

-- where it cannot, the rows are the same
SELECT count(*) AS difference
  FROM (SELECT * FROM walredo_wal_records(:'lsn1', :'lsn2')
		EXCEPT ALL
		SELECT start_lsn, end_lsn, prev_lsn, xid, resource_manager,
			record_type, record_length, rec, description
		  FROM walredo_wal_records(:'lsn1', :'lsn2') WITH ORDINALITY) s;

-- the functions that make columns are safe with any bytes
SELECT _walredo_wal_end_lsn('\x00');
SELECT _walredo_wal_record_type(decode(repeat('ff', 40), 'hex'));

-- ===================================================================
-- Permissions
-- ===================================================================

CREATE ROLE regress_walredo_reader;
SELECT has_function_privilege('regress_walredo_reader',
	'walredo_wal_records(pg_lsn, pg_lsn, text)', 'EXECUTE'); -- no
-- the right to execute is not the right to read WAL
GRANT EXECUTE ON FUNCTION walredo_wal_records(pg_lsn, pg_lsn, text)
	TO regress_walredo_reader;
SET ROLE regress_walredo_reader;
SELECT count(*) FROM walredo_wal_records(:'lsn1', :'lsn2');
RESET ROLE;
GRANT EXECUTE ON FUNCTION _walredo_read_wal(pg_lsn, pg_lsn, text)
	TO regress_walredo_reader;
SET ROLE regress_walredo_reader;
SELECT count(*) FROM walredo_wal_records(:'lsn1', :'lsn2');
\set VERBOSITY sqlstate
SELECT count(*) FROM walredo_wal_records(:'lsn1', :'lsn2', 'pg_wal');
\set VERBOSITY default
RESET ROLE;
REVOKE EXECUTE ON FUNCTION walredo_wal_records(pg_lsn, pg_lsn, text),
	_walredo_read_wal(pg_lsn, pg_lsn, text) FROM regress_walredo_reader;
GRANT pg_read_server_files TO regress_walredo_reader;
SET ROLE regress_walredo_reader;
SELECT count(*) > 0 AS ok FROM walredo_wal_records(:'lsn1', :'lsn2');
RESET ROLE;

-- ===================================================================
-- Clean-up
-- ===================================================================

DROP ROLE regress_walredo_reader;
DROP TABLE regress_wal;
DO $$
BEGIN
	PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots
		WHERE slot_name = 'regress_walredo_wal';
END
$$;
