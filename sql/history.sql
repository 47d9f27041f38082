--
-- walredo_page_history and walredo_page_records: rows one by one, columns that
-- are made when they are asked for
--
-- Seen to fail: when the scan did not notice that pages are used, or always
-- thought so; when rows were stored without their page; when a page was kept for
-- the next row; when no records were collected; and when an entry, or its record,
-- was not checked.
--
CREATE EXTENSION pg_walinspect;

-- A table of one page, and what its page was after each record, as
-- walredo_page_at() returns it.
SET synchronous_commit = on;
SELECT pg_current_wal_insert_lsn() AS start_lsn \gset
CREATE TABLE changed (id int, t text)
	WITH (autovacuum_enabled = off, fillfactor = 50);
INSERT INTO changed SELECT i, 'x' FROM generate_series(1, 20) i;
UPDATE changed SET t = 'y' WHERE id < 10;
SELECT pg_current_wal_insert_lsn() AS middle_lsn \gset
CHECKPOINT;
UPDATE changed SET t = 'z' WHERE id > 10;
VACUUM changed;
DELETE FROM changed WHERE id % 2 = 0;
SELECT walredo_tag('changed', 0) AS tag \gset
SELECT pg_current_wal_flush_lsn() AS end_lsn \gset
CREATE TABLE truth AS
	SELECT start_lsn, end_lsn AS lsn, resource_manager, record_type, coalesce(description, '') AS description,
		row_number() OVER (ORDER BY start_lsn)::int AS n,
		walredo_page_at(:'tag', end_lsn) AS page
	FROM pg_get_wal_records_info(:'start_lsn', :'end_lsn')
	WHERE block_ref ~ (:'tag' || '( |;|$)')
		OR block_ref ~ (replace(:'tag', ' blk', ' fork main blk') || '( |;|$)');
SELECT count(*) > 50 AS many, count(DISTINCT page) > 20 AS they_differ,
	walredo_page_mask('Heap', (array_agg(page ORDER BY n DESC))[1], 0)
		= walredo_page_mask('Heap', get_raw_page('changed', 0), 0) AS last
FROM truth;
\set history 'walredo_page_history(:''tag'', :''start_lsn'', :''end_lsn'')'
\set records 'walredo_page_records(:''tag'', :''start_lsn'', :''end_lsn'')'

-- The columns are those of the truth.
CREATE FUNCTION requests() RETURNS int8
LANGUAGE sql AS 'SELECT requests FROM walredo_stat';
SELECT count(*) AS differences
FROM (SELECT lsn, start_lsn, resource_manager, record_type, description, page
		FROM :history
	EXCEPT ALL
	SELECT lsn, start_lsn, resource_manager, record_type, description, page
		FROM truth) s;
SELECT (SELECT count(*) FROM :history) - count(*) AS more,
	(SELECT count(*) FROM :records) - count(*) AS more
FROM truth;

-- and so they are where the function is not inlined
SELECT count(*) AS differences
FROM (SELECT * FROM :history WITH ORDINALITY
	EXCEPT ALL
	SELECT lsn, start_lsn, resource_manager, record_type, description, page, n
		FROM truth) s;
SELECT count(*) AS differences
FROM (SELECT (r).lsn, (r).page FROM (SELECT :history AS r) h
	EXCEPT ALL
	SELECT lsn, page FROM truth) s;
SELECT count(*) AS differences
FROM (SELECT start_lsn, end_lsn, resource_manager, record_type, record::text, ordinality
		FROM :records WITH ORDINALITY
	EXCEPT ALL
	SELECT start_lsn, end_lsn, resource_manager, record_type, record::text,
		row_number() OVER (ORDER BY start_lsn)
		FROM :records r) s;
SELECT walredo_apply(:'tag', NULL, array_agg(record ORDER BY end_lsn))
	= (SELECT page FROM truth ORDER BY n DESC LIMIT 1) AS equal
FROM :records;

SET compute_query_id = off;
-- The planner inlines both, and only columns that are used are computed.
\pset format unaligned
EXPLAIN (VERBOSE, COSTS OFF)
SELECT record_type FROM walredo_page_history('rel 1/2/3 blk 4', 'AB/12345678', 'AB/23456789');
EXPLAIN (VERBOSE, COSTS OFF)
SELECT lsn, page FROM walredo_page_history('rel 1/2/3 blk 4', 'AB/12345678', 'AB/23456789');
EXPLAIN (VERBOSE, COSTS OFF)
SELECT record_type FROM walredo_page_records('rel 1/2/3 blk 4', 'AB/12345678', 'AB/23456789');

--
-- What is made
---- A description is made only for rows that are shown.
EXPLAIN (VERBOSE, COSTS OFF)
SELECT start_lsn, description FROM walredo_wal_records('AB/12345678', 'AB/23456789')
ORDER BY record_length DESC LIMIT 3;
\pset format aligned
RESET compute_query_id;

-- Requests to replay records: none without pages, and one for each page that is
-- asked for.
SELECT requests() AS before \gset
SELECT count(*) > 50 AS many, max(lsn) <= :'end_lsn' AS in_range,
	count(DISTINCT record_type) > 3 AS types
FROM :history;
SELECT count(*) > 50 AS many, max(record::text) > '' AS has_records FROM :records;
SELECT count(*) > 50 AS many, min(length(rec)) > 0 AS has_records
FROM walredo_wal_records(:'start_lsn', :'end_lsn');
SELECT lsn > start_lsn AS ok FROM :history ORDER BY lsn DESC LIMIT 1;
SELECT requests() - :before AS requests;
SELECT h.page = t.page AS equal FROM :history h, truth t
WHERE h.lsn = t.lsn AND h.lsn = (SELECT lsn FROM truth WHERE n = 40);
SELECT requests() - :before AS requests;
SELECT description <> '' AS described, page IS NOT NULL AS made FROM :history LIMIT 1;
SELECT requests() - :before AS requests;
-- Descriptions are the server's.  Those of transactions have times, which depend
-- on the time zone.
SELECT count(*) > 100 AS many, bool_and(w.description = coalesce(i.description, '')) AS equal
FROM walredo_wal_records(:'start_lsn', :'end_lsn') w
	JOIN pg_get_wal_records_info(:'start_lsn', :'end_lsn') i USING (start_lsn)
WHERE w.resource_manager <> 'Transaction';

--
-- When it is made
--
-- every third page, and the first ones alone
SELECT count(*) > 15 AS many, bool_and(h.page = t.page) AS equal
FROM (SELECT lsn, page FROM :history WHERE lsn IN (SELECT lsn FROM truth WHERE n % 3 = 0)) h
	JOIN truth t USING (lsn);
SELECT t.n, h.page = t.page AS equal
FROM (SELECT lsn, page FROM :history LIMIT 3) h JOIN truth t USING (lsn) ORDER BY n;

-- twice in a row, and only in a filter
SELECT count(*) > 50 AS many, bool_and(a.page = b.page AND a.length = 8192) AS equal
FROM (SELECT lsn, page, length(page) FROM :history WHERE page IS NOT NULL) a
	JOIN truth b USING (lsn);
SELECT bool_or(lsn = (SELECT lsn FROM truth WHERE n = 30)) AS found
FROM :history WHERE page = (SELECT page FROM truth WHERE n = 30);

-- after a sort
SELECT t.n - (SELECT max(n) FROM truth) AS n, h.page = t.page AS equal
FROM (SELECT lsn, page FROM :history ORDER BY lsn DESC LIMIT 3) h
	JOIN truth t USING (lsn)
ORDER BY t.n DESC;
SELECT count(*) > 50 AS many, bool_and(md5 = md5(page)) AS equal
FROM (SELECT lsn, md5(page) FROM :history ORDER BY record_type, md5(lsn::text)) h
	JOIN truth USING (lsn);

-- after all sorts of joins, with the history on both sides
CREATE FUNCTION joined() RETURNS TABLE (method text, rows int8, equal bool)
LANGUAGE plpgsql AS $$
BEGIN
	FOREACH method IN ARRAY ARRAY['hashjoin', 'mergejoin', 'nestloop'] LOOP
		PERFORM set_config('enable_' || m, (m = method)::text, true)
		FROM unnest(ARRAY['hashjoin', 'mergejoin', 'nestloop']) m;
		FOR i IN 1 .. 2 LOOP
			EXECUTE format('SELECT count(*), bool_and(h.page = t.page)
				FROM %s JOIN %s ON h.lsn = t.lsn AND t.n %% 2 = 0',
				CASE i WHEN 1 THEN 'truth t' ELSE current_setting('my.history') END,
				CASE i WHEN 2 THEN 'truth t' ELSE current_setting('my.history') END)
				INTO rows, equal;
			RETURN NEXT;
		END LOOP;
	END LOOP;
END
$$;
SELECT set_config('my.history', format('walredo_page_history(%L, %L, %L) h',
	:'tag', :'start_lsn', :'end_lsn'), false) <> '' AS set;
SET join_collapse_limit = 1;
SELECT method, rows = (SELECT count(*) FROM truth WHERE n % 2 = 0) AS all_rows, equal
FROM joined();
RESET join_collapse_limit;
SET enable_hashjoin = off;
SET enable_nestloop = off;
SELECT count(*) > 50 AS many, bool_and(a.page = b.page AND a.page = c.page) AS equal
FROM :history a JOIN :history b USING (lsn) JOIN truth c USING (lsn);
RESET enable_hashjoin;
RESET enable_nestloop;

-- two scans by turns, and one that is begun again for each row of another
SELECT count(*) > 1000 AS many, bool_and(a.page = t.page AND b.page = u.page) AS equal
FROM (:history a JOIN truth t ON a.lsn = t.lsn)
	CROSS JOIN (:history b JOIN truth u ON b.lsn = u.lsn);
SELECT count(*) > 20 AS many, bool_and(h.page = t.page) AS equal
FROM truth t, LATERAL (SELECT page FROM walredo_page_history(:'tag', t.start_lsn, t.lsn) OFFSET 0) h;
SELECT count(*) > 20 AS many, bool_and(h.page = t.page) AS equal
FROM truth t, LATERAL walredo_page_history(:'tag', t.start_lsn, t.lsn) h;
SELECT count(*) > 50 AS many, bool_and((SELECT h.page
	FROM walredo_page_history(:'tag', t.start_lsn, t.lsn) h LIMIT 1) = t.page) AS equal
FROM truth t;
SELECT count(*) > 50 AS many, bool_and(r.record IS NOT NULL) AS has_records,
	bool_and(r.end_lsn = t.lsn) AS equal
FROM truth t, LATERAL walredo_page_records(:'tag', t.start_lsn, t.lsn) r;

-- grouped, numbered, united, and in a common table expression
SELECT count(*) > 20 AS many, bool_and(h.page = t.page) AS equal
FROM (SELECT page, min(lsn) AS lsn FROM :history GROUP BY page) h JOIN truth t USING (lsn);
SELECT count(*) > 50 AS many, bool_and(h.before IS NOT DISTINCT FROM b.page
	AND h.page = t.page) AS equal
FROM (SELECT lsn, page, lag(page) OVER (ORDER BY lsn) AS before FROM :history) h
	JOIN truth t USING (lsn) LEFT JOIN truth b ON b.n = t.n - 1;
WITH h AS MATERIALIZED (SELECT * FROM :history)
SELECT count(*) > 100 AS many, bool_and(h.page = t.page) AS equal
FROM (SELECT lsn, page FROM h UNION ALL SELECT lsn, page FROM :history) h
	JOIN truth t USING (lsn);

-- by cursors: forth and back, two by turns, and after the transaction
BEGIN;
DECLARE a CURSOR FOR SELECT n, h.page = t.page AS equal
	FROM :history h JOIN truth t USING (lsn) WHERE n <= 10 ORDER BY n;
DECLARE b SCROLL CURSOR FOR SELECT n, h.page = t.page AS equal
	FROM (SELECT lsn, page FROM :history OFFSET 0) h,
		LATERAL (SELECT n, page FROM truth WHERE lsn = h.lsn OFFSET 0) t;
DECLARE c CURSOR WITH HOLD FOR SELECT lsn, page FROM :history;
FETCH 2 FROM a;
FETCH 3 FROM b;
FETCH BACKWARD 2 FROM b;
FETCH 2 FROM a;
FETCH 4 FROM b;
SAVEPOINT s;
FETCH 2 FROM a;
ROLLBACK TO s;
FETCH 1 FROM b;
COMMIT;
DO $$
DECLARE
	c refcursor := 'c';
	h record;
	equal int := 0;
BEGIN
	LOOP
		FETCH c INTO h;
		EXIT WHEN NOT FOUND;
		equal := equal + (SELECT count(*) FROM truth WHERE lsn = h.lsn AND page = h.page);
	END LOOP;
	RAISE NOTICE 'all are equal: %', equal = (SELECT count(*) FROM truth);
END
$$;

-- by a generic plan, and by one of a function
PREPARE of_type(walredo_tag, pg_lsn, pg_lsn) AS
	SELECT count(*) > 20 AS many, bool_and(h.page = t.page) AS equal
	FROM walredo_page_history($1, $2, $3) h JOIN truth t USING (lsn);
SET plan_cache_mode = force_generic_plan;
EXECUTE of_type(:'tag', :'start_lsn', :'end_lsn');
EXECUTE of_type(:'tag', NULL, :'end_lsn');
RESET plan_cache_mode;
DEALLOCATE of_type;
CREATE FUNCTION pages(walredo_tag, pg_lsn, pg_lsn) RETURNS TABLE (lsn pg_lsn, page bytea)
LANGUAGE plpgsql AS $$
BEGIN
	FOR lsn, page IN SELECT h.lsn, h.page FROM walredo_page_history($1, $2, $3) h LOOP
		RETURN NEXT;
	END LOOP;
END
$$;
SELECT count(*) > 20 AS many, bool_and(h.page = t.page) AS equal
FROM pages(:'tag', :'start_lsn', :'end_lsn') h JOIN truth t USING (lsn);

-- from the middle on: the page before the range is made if it is needed
SELECT requests() AS before \gset
SELECT count(*) > 20 AS many FROM walredo_page_history(:'tag', :'middle_lsn', :'end_lsn');
SELECT requests() - :before AS requests;
SELECT count(*) > 20 AS many, bool_and(h.page = t.page) AS equal
FROM walredo_page_history(:'tag', :'middle_lsn', :'end_lsn') h JOIN truth t USING (lsn);

-- nothing of nothing
SELECT count(*), count(page) FROM walredo_page_history(NULL, :'start_lsn', :'end_lsn');
SELECT count(*), count(page) FROM walredo_page_history(:'tag', :'start_lsn', NULL);
SELECT count(*), count(record) FROM walredo_page_records(:'tag', NULL, :'end_lsn');
SELECT count(*), count(page) FROM walredo_page_history('rel 1/2/3 blk 4', :'start_lsn', :'end_lsn');

--
-- Ends: a page that is not there, and one of a file that is created or removed,
-- have the same rows with and without the column "page"
--
SELECT pg_current_wal_insert_lsn() AS start_lsn \gset
CREATE TABLE ended (id int);
SELECT walredo_tag('ended', 0) AS tag \gset
INSERT INTO ended VALUES (1);
SELECT pg_current_wal_insert_lsn() AS middle_lsn \gset
INSERT INTO ended VALUES (2);
DROP TABLE ended;
SELECT pg_current_wal_flush_lsn() AS end_lsn \gset
SELECT record_type, page IS NULL AS ended FROM :history;
SELECT record_type FROM :history;
SELECT record_type FROM walredo_page_history(:'tag', '0/0', :'end_lsn');
SELECT record_type FROM walredo_page_history(:'tag', :'middle_lsn', :'end_lsn');
SELECT record_type FROM :records;

--
-- Entries that were made by hand
--
-- One that is stored has its page, if that was used, and only then.
CREATE TABLE entries AS
	SELECT _walredo_read_history(:'tag', :'start_lsn', :'end_lsn', NULL) AS entry;
SELECT _walredo_wal_record_type(entry) FROM entries LIMIT 1;
SELECT _walredo_history_page(entry) FROM entries;
DROP TABLE entries;
CREATE TABLE entries AS
	SELECT entry, _walredo_history_page(entry) AS page
	FROM (SELECT _walredo_read_history(:'tag', :'start_lsn', :'end_lsn', NULL) AS entry) s;
SELECT _walredo_wal_record_type(entry), _walredo_history_page(entry) IS NOT DISTINCT FROM page AS equal
FROM entries;
-- The first has a page.  What is cut, longer, of another function, or no entry is
-- refused.
SELECT entry FROM entries LIMIT 1 \gset
SELECT page FROM entries LIMIT 1 \gset
SELECT _walredo_history_page(substr(:'entry'::bytea, 1, length(:'entry'::bytea) - 1));
SELECT _walredo_history_page(:'entry'::bytea || '\x00');
SELECT _walredo_history_page(set_byte(:'entry'::bytea, length(:'entry'::bytea) - 8, 7));
SELECT _walredo_history_page(set_byte(:'entry'::bytea, length(:'entry'::bytea) - 8, 0));
SELECT _walredo_history_page(set_byte(:'entry'::bytea, 19, 127));
SELECT _walredo_history_page(set_byte(:'entry'::bytea, 16, 1));
SELECT _walredo_history_page('');
SELECT _walredo_page_record(:'entry'::bytea);
SELECT _walredo_history_page(entry)
FROM _walredo_read_wal(:'start_lsn', :'end_lsn', NULL) entry LIMIT 1;
SELECT _walredo_page_record(entry)
FROM _walredo_read_wal(:'start_lsn', :'end_lsn', NULL) entry LIMIT 1;
SELECT entry FROM _walredo_read_page_records(:'tag', :'start_lsn', :'end_lsn', NULL) entry LIMIT 1 \gset
SELECT _walredo_page_record(:'entry')::text = record::text AS equal FROM :records LIMIT 1;
SELECT _walredo_history_page(:'entry');
-- of another change, of a page that cannot be, and with a record that is damaged
SELECT _walredo_page_record(set_byte(:'entry'::bytea, length(:'entry'::bytea) - 8, 1));
SELECT _walredo_page_record(set_byte(:'entry'::bytea, length(:'entry'::bytea) - 5, 255));
SELECT _walredo_page_record(set_byte(:'entry'::bytea, length(:'entry'::bytea) - 32, 255));
\set VERBOSITY terse
SELECT _walredo_page_record(set_byte(:'entry'::bytea, 40, 255));
SELECT _walredo_wal_description(set_byte(:'entry'::bytea, 40, 255));
\set VERBOSITY default
SELECT _walredo_wal_description('\x0000');

--
-- Permissions
--
CREATE ROLE regress_walredo_history;
GRANT EXECUTE ON FUNCTION walredo_page_history, walredo_page_records,
	_walredo_read_history, _walredo_read_page_records TO regress_walredo_history;
SET ROLE regress_walredo_history;
SELECT count(*) FROM :history;
SELECT count(*) FROM :records;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION walredo_page_history, walredo_page_records,
	_walredo_read_history, _walredo_read_page_records FROM regress_walredo_history;
SET ROLE regress_walredo_history;
SELECT count(*) FROM :history;
SELECT count(*) FROM :records;
RESET ROLE;
GRANT pg_read_server_files TO regress_walredo_history;
SET ROLE regress_walredo_history;
SELECT count(*), count(page), count(description) FROM :history;
SELECT count(*), count(record) FROM :records;
RESET ROLE;

--
-- Clean up
--
DROP ROLE regress_walredo_history;
DROP TABLE changed, truth, entries;
DROP FUNCTION requests, joined, pages;
DROP EXTENSION pg_walinspect;
