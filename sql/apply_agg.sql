--
-- walredo_apply_agg
--
-- Seen to fail: "pages" when the last record of a group was left out; "in parts"
-- and "window" when the state did not go on with the page that it had; the checks of
-- the tag, of the base image and of the order when they were taken out; "stored out
-- of line" when all images that are were taken for the same; groups that share a
-- stream with one that was not finished before pages were returned, and with columns
-- that were not copied; "i" with a scan that had ended when it was begun again; what
-- is left to an Agg node when groups by random() were not, and by operators in
-- PL/pgSQL, for which there was no child then.
--
CREATE EXTENSION pg_walinspect;

-- The error of a command.
CREATE FUNCTION failure(command text, OUT state text, OUT message text,
	OUT detail text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	message := 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END
$$;

-- The first line of an error's context.
CREATE FUNCTION context(command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	context text;
BEGIN
	EXECUTE command;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RETURN split_part(context, E'\n', 1);
END
$$;

-- A query's plan, in one line.
CREATE FUNCTION plan_of(query text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := plan || line || ' ';
	END LOOP;
	RETURN plan;
END
$$;

--
-- A table, and the records of its pages
--
-- so that a commit flushes WAL
SET synchronous_commit = on;
SELECT pg_current_wal_lsn() AS start_lsn \gset
CREATE TABLE replayed (id int PRIMARY KEY, t text)
	WITH (autovacuum_enabled = off);
INSERT INTO replayed
	SELECT i, repeat('x', i % 100) FROM generate_series(1, 2000) AS i;
UPDATE replayed SET t = t || 'y' WHERE id % 3 = 0;
DELETE FROM replayed WHERE id % 5 = 0;
VACUUM replayed;
DELETE FROM replayed WHERE id IN (1, 501, 1001);
INSERT INTO replayed
	SELECT i, repeat('x', i % 100) FROM generate_series(2001, 3000) AS i;
-- many records of one page
DO $$
BEGIN
	FOR i IN 1 .. 1500 LOOP
		UPDATE replayed SET t = i WHERE id = 3000;
		COMMIT;
	END LOOP;
END $$;
SELECT pg_current_wal_lsn() AS end_lsn \gset

-- one row for each record and each block that it names
CREATE TABLE records AS
	SELECT w.end_lsn AS lsn,
		replace(block[1], ' fork main', '')::walredo_tag AS tag,
		walredo_postgres(w.end_lsn, w.rec) AS record
	FROM walredo_wal_records(:'start_lsn', :'end_lsn') AS w
		JOIN pg_get_wal_records_info(:'start_lsn', :'end_lsn') AS i
			USING (start_lsn, end_lsn),
		regexp_matches(i.block_ref,
			'blkref #\d+: (rel \d+/\d+/\d+(?: fork \w+)? blk \d+)', 'g') AS block
	WHERE w.resource_manager IN ('Heap', 'Heap2', 'Btree', 'XLOG');
CREATE TABLE pages AS
	SELECT v.relname, v.rmgr, b AS blkno, tag,
		get_raw_page(v.relname, b) AS page
	FROM (VALUES ('replayed', 'Heap'), ('replayed_pkey', 'Btree'))
			AS v (relname, rmgr),
		generate_series(0, pg_relation_size(v.relname)::int
			/ current_setting('block_size')::int - 1) AS b,
		walredo_tag(v.relname, 'main', b) AS t (tag);
DELETE FROM records WHERE tag NOT IN (SELECT tag FROM pages);

--
-- Pages: each is equal to the server's, and to what walredo_apply() makes
--
CREATE VIEW applied AS
	SELECT tag, walredo_apply(tag, NULL, array_agg(record ORDER BY lsn)) AS page
	FROM records GROUP BY tag;
CREATE TABLE wanted AS SELECT * FROM applied;
ANALYZE records, wanted;
SELECT relname, count(*) > 5 AS several, sum(n) > 1000 AS many,
	bool_and(walredo_page_mask(rmgr, s.page, blkno)
		= walredo_page_mask(rmgr, pages.page, blkno)) AS equal,
	bool_and(s.page = wanted.page) AS equal_to_apply
FROM (SELECT tag, count(*) AS n,
		walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM records GROUP BY tag) AS s
	JOIN pages USING (tag) JOIN wanted USING (tag)
GROUP BY relname ORDER BY relname;

-- Records that take more than work_mem are replayed in parts.
SET work_mem = 64;
SELECT count(*) > 10 AS several, max(size) > 65536 AS in_parts,
	bool_and(s.page = wanted.page) AS equal
FROM (SELECT tag, sum(pg_column_size(record)) AS size,
		walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM records GROUP BY tag) AS s
	JOIN wanted USING (tag);
RESET work_mem;

-- with a base image, stored out of line or not, compressed or not
CREATE TABLE bases (tag walredo_tag, half pg_lsn, plain bytea, page bytea);
ALTER TABLE bases ALTER plain SET STORAGE external;
INSERT INTO bases
	SELECT tag, half, page, page
	FROM (SELECT tag, half,
			walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM records JOIN (SELECT tag,
					percentile_disc(0.5) WITHIN GROUP (ORDER BY lsn) AS half
				FROM records GROUP BY tag) AS s USING (tag)
		WHERE lsn <= half GROUP BY tag, half) AS s;
SELECT count(*) > 10 AS several, bool_and(a = page) AS plain,
	bool_and(b = page) AS compressed, bool_and(c = page) AS computed,
	bool_and(d = page) AS either
FROM (SELECT tag, walredo_apply_agg(tag, bases.plain, record ORDER BY lsn) AS a,
		walredo_apply_agg(tag, bases.page, record ORDER BY lsn) AS b,
		walredo_apply_agg(tag, bases.page || '', record ORDER BY lsn) AS c,
		walredo_apply_agg(tag, CASE WHEN lsn::text ~ '[02468]$'
			THEN bases.page ELSE bases.plain END, record ORDER BY lsn) AS d
	FROM records JOIN bases USING (tag) WHERE lsn > half GROUP BY tag) AS s
	JOIN wanted USING (tag);

-- Without ORDER BY, the order is that of the rows, in hash aggregation, too.
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT tag, walredo_apply_agg(tag, NULL, record)
	FROM records GROUP BY tag;
SELECT count(*) > 10 AS several, bool_and(s.page = wanted.page) AS equal
FROM (SELECT tag, walredo_apply_agg(tag, NULL, record) AS page
		FROM records GROUP BY tag) AS s
	JOIN wanted USING (tag);
RESET enable_sort;

--
-- Nulls, FILTER, DISTINCT
--
-- a null is no record, and a group that has none has no page
SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) IS NULL AS no_page
FROM (VALUES ('rel 1663/5/16384 blk 0'::walredo_tag, pg_lsn '0/1',
	NULL::walredo_record)) AS v (tag, lsn, record) GROUP BY tag;
SELECT walredo_apply_agg(tag, NULL, record ORDER BY lsn) IS NULL AS no_page
FROM records WHERE false;
SELECT bool_and(s.page = wanted.page) AS equal
FROM (SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM (SELECT * FROM records
			UNION ALL SELECT lsn, tag, NULL FROM records) AS s
		GROUP BY tag) AS s
	JOIN wanted USING (tag);
SELECT bool_and(s.page = bases.page) AS equal
FROM (SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn)
			FILTER (WHERE lsn <= half) AS page
		FROM records JOIN bases USING (tag) GROUP BY tag) AS s
	JOIN bases USING (tag);
SELECT * FROM failure('SELECT walredo_apply_agg(DISTINCT tag, NULL, record)
	FROM records GROUP BY tag');

--
-- Errors
--
CREATE TABLE clog (n int, tag walredo_tag, base bytea, record walredo_record);
INSERT INTO clog VALUES
	(1, 'slru pg_xact/0000 blk 0', NULL, '0/1 zero_page'),
	(2, 'slru pg_xact/0000 blk 0', NULL, '0/2 clog_set_committed xids=731'),
	(3, 'slru pg_xact/0000 blk 0', NULL, '0/2 clog_set_aborted xids=732'),
	(4, 'slru pg_xact/0000 blk 0', NULL, '0/3 clog_set_committed xids=733');
SELECT get_byte(walredo_apply_agg(tag, base, record ORDER BY n), 182) AS b182,
	get_byte(walredo_apply_agg(tag, base, record ORDER BY n), 183) AS b183
FROM clog;
CREATE TABLE zeroes AS SELECT decode(repeat('00', 8192), 'hex') AS z;
SELECT v.arguments, f.*
FROM (VALUES
	(1, 'NULL::walredo_tag, base, record ORDER BY n'),
	(2, 'CASE n WHEN 3 THEN NULL ELSE tag END, base, record ORDER BY n'),
	(3, 'CASE n WHEN 3 THEN ''slru pg_xact/0000 blk 1'' ELSE tag END, base,
		record ORDER BY n'),
	(4, 'tag, CASE n WHEN 3 THEN z END, record ORDER BY n'),
	(5, 'tag, CASE WHEN n <> 3 THEN z END, record ORDER BY n'),
	(6, 'tag, CASE WHEN n = 3 THEN set_byte(z, 5, 1) ELSE z END,
		record ORDER BY n'),
	(7, 'tag, substr(z, 2), record ORDER BY n'),
	(8, 'tag, CASE WHEN n = 3 THEN substr(z, 2) ELSE z END, record ORDER BY n'),
	(9, 'tag, base, record ORDER BY n DESC'),
	(10, '''slru pg_xact/0000 blk 1'', base, record ORDER BY n'),
	(11, '''rel 1663/5/16384 blk 0'', base, record ORDER BY n'),
	(12, 'tag, z, record ORDER BY n')
	) AS v (n, arguments),
	failure('SELECT walredo_apply_agg(' || v.arguments || ') FROM clog, zeroes')
		AS f
ORDER BY n;
SELECT * FROM failure('SELECT walredo_apply_agg(tag, base, record ORDER BY n)
	FROM clog WHERE n > 1');

-- base images that are stored out of line
SELECT f.state, f.message
FROM failure('SELECT walredo_apply_agg(clog.tag, plain, record ORDER BY n)
	FROM clog JOIN (SELECT plain, row_number() OVER () AS n FROM bases) AS s
		USING (n)') AS f;

-- the error of one of many groups names its tag
SELECT context('SELECT tag, walredo_apply_agg(tag, CASE
		WHEN tag <> ''slru pg_xact/0005 blk 1'' THEN z END, record ORDER BY n)
	FROM (SELECT format(''slru pg_xact/%s blk 1'', to_char(i, ''FM0000''))
				::walredo_tag AS tag, n, z,
			walredo_clog_set_committed(''0/1'',
				ARRAY[((i * 32 + 1) * 32768 + n)::text::xid]) AS record
		FROM generate_series(1, 9) AS i, generate_series(1, 3) AS n, zeroes) AS s
	GROUP BY tag');
SET walredo.enabled = off;
SELECT * FROM failure('SELECT walredo_apply_agg(tag, base, record ORDER BY n)
	FROM clog');
RESET walredo.enabled;

--
-- Window: each page after each record
--
SELECT count(*) > 10 AS several, bool_and(s.page = walredo_apply(tag, NULL,
	(SELECT array_agg(record ORDER BY lsn) FROM records AS r
		WHERE r.tag = s.tag AND r.lsn <= s.lsn))) AS equal
FROM (SELECT tag, lsn,
		walredo_apply_agg(tag, NULL, record) OVER (ORDER BY lsn) AS page
	FROM records WHERE tag = walredo_tag('replayed', 'main', 1)) AS s;
-- of all pages, with a base image
SELECT count(*) > 1000 AS many, bool_and(last_page = wanted.page) AS equal
FROM (SELECT DISTINCT tag, last_value(page) OVER (PARTITION BY tag
		ORDER BY lsn RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
			AS last_page, lsn
	FROM (SELECT tag, lsn, walredo_apply_agg(tag, bases.page, record)
			OVER (PARTITION BY tag ORDER BY lsn) AS page
		FROM records JOIN bases USING (tag) WHERE lsn > half) AS s) AS s
	JOIN wanted USING (tag);
-- peers have the same page; a frame that moves has its own
SELECT n, get_byte(walredo_apply_agg(tag, z, record)
		OVER (ORDER BY n), 182) AS rows,
	get_byte(walredo_apply_agg(tag, z, record)
		OVER (ORDER BY n / 2), 182) AS peers,
	get_byte(walredo_apply_agg(tag, z, record)
		OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), 182)
		AS moving,
	get_byte(walredo_apply_agg(tag, z, record)
		OVER (ORDER BY n ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING), 182)
		AS before
FROM clog, zeroes ORDER BY n;

--
-- Groups that share a stream: a custom scan instead of an Agg node
--
SET max_parallel_workers_per_gather = 0;
-- some groups for each page
CREATE VIEW copies AS
	SELECT tag, lsn, record, copy, 'copy ' || copy AS name
	FROM records, generate_series(1, 5) AS copy;
EXPLAIN (COSTS OFF)
SELECT length(walredo_apply_agg(tag, NULL, record ORDER BY n)), n / 10 + 1 AS d
FROM clog GROUP BY tag, n / 10
HAVING length(walredo_apply_agg(tag, NULL, record ORDER BY n)) > 0
ORDER BY tag;
SELECT length(walredo_apply_agg(tag, NULL, record ORDER BY n)), n / 10 + 1 AS d
FROM clog GROUP BY tag, n / 10
HAVING length(walredo_apply_agg(tag, NULL, record ORDER BY n)) > 0
ORDER BY tag;

-- what is left to an Agg node
SELECT query, plan_of('SELECT ' || query) ~ 'walredo apply' AS shared
FROM (VALUES
	('tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) FROM records GROUP BY tag'),
	('walredo_apply_agg(tag, NULL, record ORDER BY lsn) FROM records'),
	('walredo_apply_agg(tag, NULL, record ORDER BY lsn), count(*) FROM records GROUP BY tag'),
	('walredo_apply_agg(tag, NULL, record) FROM records GROUP BY tag'),
	('walredo_apply_agg(tag, NULL, record ORDER BY lsn) FILTER (WHERE lsn > ''0/1'') FROM records GROUP BY tag'),
	('walredo_apply_agg(tag, NULL, record ORDER BY lsn) FROM records GROUP BY ROLLUP (tag)'),
	('GROUPING(tag), walredo_apply_agg(tag, NULL, record ORDER BY lsn) FROM records GROUP BY tag'),
	('generate_series(1, 2), walredo_apply_agg(tag, NULL, record ORDER BY lsn) FROM records GROUP BY tag'),
	('walredo_apply_agg(tag, page || '''', record ORDER BY lsn) FROM records JOIN bases USING (tag) GROUP BY tag'),
	('walredo_apply_agg(tag, NULL, record ORDER BY lsn, random()) FROM records GROUP BY tag'),
	('random(), random(), walredo_apply_agg(tag, NULL, record ORDER BY lsn) FROM records GROUP BY 1, 2'),
	('walredo_apply_agg(tag, NULL, record ORDER BY lsn) FROM records GROUP BY ARRAY[tag]'),
	('walredo_apply_agg(tag, NULL, record ORDER BY lsn) FROM records GROUP BY ROW(tag, 1)'),
	('walredo_apply_agg(tag, NULL, record) OVER (ORDER BY lsn) FROM records'))
	AS v (query);

-- Operators that need a child themselves, as only such in other languages can.
SET client_min_messages = warning;
CREATE TYPE number;
CREATE FUNCTION number_in(cstring) RETURNS number
	LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION number_out(number) RETURNS cstring
	LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE number (INPUT = number_in, OUTPUT = number_out, LIKE = int4);
CREATE FUNCTION number_cmp(number, number) RETURNS int
	LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE FUNCTION number_lt(number, number) RETURNS bool
	LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE FUNCTION number_gt(number, number) RETURNS bool
	LANGUAGE internal IMMUTABLE STRICT AS 'int4gt';
CREATE FUNCTION number_eq(a number, b number) RETURNS bool
	LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
	PERFORM walredo_page_mask('Heap', page, 1) FROM wanted LIMIT 1;
	RETURN a::text = b::text;
END
$$;
CREATE OPERATOR < (LEFTARG = number, RIGHTARG = number, FUNCTION = number_lt);
CREATE OPERATOR > (LEFTARG = number, RIGHTARG = number, FUNCTION = number_gt);
CREATE OPERATOR = (LEFTARG = number, RIGHTARG = number, FUNCTION = number_eq);
CREATE OPERATOR CLASS number_ops DEFAULT FOR TYPE number USING btree AS
	OPERATOR 1 <, OPERATOR 3 =, OPERATOR 5 >, FUNCTION 1 number_cmp(number, number);
WITH firsts AS (SELECT DISTINCT ON (tag) * FROM records ORDER BY tag, lsn)
SELECT count(*) > 20 AS many,
	bool_and(s.page = walredo_apply(tag, NULL, ARRAY[record])) AS equal
FROM (SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM firsts GROUP BY tag, length(tag::text)::text::number) AS s
	JOIN firsts USING (tag);
DROP TYPE number CASCADE;
RESET client_min_messages;

-- The pages are those of an Agg node, and of walredo_apply(): many batches, a
-- column that is not of the group, sorts above, HAVING.
SELECT count(*) > 100 AS many, bool_and(s.page = wanted.page) AS equal,
	bool_and(s.page = agg.page) AS equal_to_agg
FROM (SELECT tag, name, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM copies GROUP BY name, tag) AS s
	FULL JOIN (SELECT tag, name, count(*) AS n,
			walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM copies GROUP BY name, tag) AS agg USING (tag, name)
	LEFT JOIN wanted USING (tag) WHERE n > 0;
CREATE VIEW sorted AS
	SELECT name, tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page,
		row_number() OVER (ORDER BY tag DESC, name) AS n
	FROM copies GROUP BY tag, name
	HAVING get_byte(walredo_apply_agg(tag, NULL, record ORDER BY lsn), 0) >= 0
	ORDER BY tag DESC, name;
SELECT count(*) > 100 AS many, bool_and(n = m) AS sorted,
	bool_and(s.page = wanted.page) AS equal
FROM (SELECT *, row_number() OVER () AS m FROM sorted) AS s
	JOIN wanted USING (tag);
CREATE TABLE tags AS SELECT tag, tag::text AS name FROM records GROUP BY tag;
ALTER TABLE tags ADD PRIMARY KEY (tag);
SELECT count(*) > 10 AS several, bool_and(s.page = wanted.page) AS equal
FROM (SELECT tags.tag, tags.name, tags.name || '.' AS t,
			walredo_apply_agg(tags.tag, NULL, record ORDER BY lsn) AS page
		FROM records JOIN tags USING (tag) GROUP BY tags.tag) AS s
	JOIN wanted ON wanted.tag = s.tag AND wanted.tag::text = s.name
		AND s.t = s.name || '.';

-- with base images, and with little memory
SET work_mem = 64;
SELECT count(*) > 10 AS several, bool_and(s.page = wanted.page) AS equal
FROM (SELECT tag, copy,
			walredo_apply_agg(tag, bases.page, record ORDER BY lsn) AS page
		FROM copies JOIN bases USING (tag) WHERE lsn > half
		GROUP BY tag, copy) AS s
	JOIN wanted USING (tag);
RESET work_mem;

-- groups that no child replays, and ones without records
SELECT name, get_byte(walredo_apply_agg(tag, NULL, record ORDER BY n), 182) AS b182,
	walredo_apply_agg(tag, NULL, record ORDER BY n) IS NULL AS no_page
FROM (SELECT tag, n, record, 'clog' AS name FROM clog
	UNION ALL SELECT tag, n, NULL, 'none' FROM clog
	UNION ALL SELECT tag, n, record, NULL FROM clog) AS s
GROUP BY tag, name ORDER BY name;

-- again and again: with parameters, joined, prepared
SELECT count(*) > 10 AS several, bool_and(s.page = wanted.page) AS equal
FROM wanted, LATERAL (SELECT walredo_apply_agg(tag, NULL, record ORDER BY lsn)
			AS page
		FROM records WHERE records.tag = wanted.tag GROUP BY lower(tag::text)) AS s;
SELECT count(*) > 10 AS several, bool_and(page = (
		SELECT walredo_apply_agg(r.tag, NULL, r.record ORDER BY r.lsn)
		FROM records AS r WHERE r.tag = wanted.tag GROUP BY lower(r.tag::text)))
		AS equal
FROM wanted;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SELECT i, count(*) > 10 AS several, bool_and(s.page = wanted.page) AS equal
FROM generate_series(1, 2) AS i LEFT JOIN
	(SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM records GROUP BY tag OFFSET 0) AS s ON i > 0
	JOIN wanted ON wanted.tag = s.tag
GROUP BY i ORDER BY i;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;
SET plan_cache_mode = force_generic_plan;
PREPARE pages (pg_lsn) AS
	SELECT count(*) > 10 AS several, bool_and(s.page = wanted.page) AS equal
	FROM (SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
			FROM records WHERE lsn > $1 GROUP BY tag) AS s
		JOIN wanted USING (tag);
EXECUTE pages ('FFFFFFFF/FFFFFFFF');
EXECUTE pages ('0/0');
ALTER TABLE records ADD extra int;
EXECUTE pages ('0/0');
SELECT plan_of('EXECUTE pages (''0/0'')') ~ 'walredo apply' AS shared;
DEALLOCATE pages;
RESET plan_cache_mode;

-- A cursor that stands in the middle of a batch while others have a child; the
-- last row is fetched backwards.
BEGIN;
DECLARE c SCROLL CURSOR FOR
	SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
	FROM copies GROUP BY tag, name ORDER BY tag, name;
CREATE TEMPORARY TABLE fetched (n int, tag walredo_tag, page bytea) ON COMMIT DROP;
DO $$
DECLARE
	c refcursor := 'c';
	r record;
BEGIN
	FOR i IN 1 .. 60 LOOP
		FETCH c INTO r;
		INSERT INTO fetched VALUES (i, r.tag, r.page);
		IF (SELECT walredo_apply(tag, NULL, array_agg(record ORDER BY lsn))
				FROM records WHERE tag = r.tag GROUP BY tag) <> r.page THEN
			RAISE 'not the page of %', r.tag;
		END IF;
		IF i = 30 THEN
			BEGIN
				PERFORM walredo_apply_agg(tag, NULL, record ORDER BY lsn DESC)
					FROM records GROUP BY tag;
			EXCEPTION WHEN invalid_parameter_value THEN
				RAISE NOTICE 'caught';
			END;
		END IF;
	END LOOP;
	FETCH PRIOR FROM c INTO r;
	INSERT INTO fetched VALUES (59, r.tag, r.page);
END
$$;
SELECT count(*), bool_and(fetched.page = wanted.page) AS equal,
	(SELECT count(DISTINCT f.tag) FROM fetched AS f WHERE n = 59) AS prior
FROM fetched JOIN wanted USING (tag);
COMMIT;
SELECT count(*), bool_and(s.page = wanted.page) AS equal,
	bool_and(walredo_apply(tag, NULL, records) = s.page) AS equal_to_apply
FROM (SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM copies GROUP BY tag, name LIMIT 40) AS s
	JOIN wanted USING (tag)
	JOIN (SELECT tag, array_agg(record ORDER BY lsn) AS records
		FROM records GROUP BY tag) AS r USING (tag);

-- errors: the group's, though others are in the stream, and privileges
SELECT message, detail ~ 'comes after' AS later
FROM failure('SELECT walredo_apply_agg(tag, NULL, record ORDER BY lsn DESC)
	FROM copies GROUP BY tag');
SELECT message FROM failure('SELECT walredo_apply_agg(tag, NULL, record
		ORDER BY lsn)
	FROM copies GROUP BY name');
SELECT message FROM failure('SELECT walredo_apply_agg(tag, base, record ORDER BY lsn)
	FROM (SELECT tag, lsn, record, CASE copy WHEN 3 THEN NULL ELSE page END AS base
		FROM copies JOIN bases USING (tag) WHERE lsn > half OFFSET 0) AS s
	GROUP BY tag');
SELECT context('SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn)
	FROM (SELECT tag, lsn, record FROM records
		UNION ALL SELECT ''rel 1/2/3 blk 4'', lsn, record FROM records) AS s
	GROUP BY tag');
CREATE ROLE regress_walredo_agg;
GRANT SELECT ON copies TO regress_walredo_agg;
SET ROLE regress_walredo_agg;
SELECT plan_of('SELECT walredo_apply_agg(tag, NULL, record) FROM copies GROUP BY tag');
SELECT plan_of('SELECT walredo_apply_agg(tag, NULL, record ORDER BY lsn)
	FROM copies GROUP BY tag');
RESET ROLE;
REVOKE ALL ON copies FROM regress_walredo_agg;
DROP ROLE regress_walredo_agg;
RESET max_parallel_workers_per_gather;

--
-- Parallel: groups are spread, not the records of a group
--
CREATE TABLE spread (LIKE records) PARTITION BY HASH (tag);
CREATE TABLE spread_0 PARTITION OF spread
	FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE spread_1 PARTITION OF spread
	FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO spread SELECT * FROM records;
ANALYZE spread, spread_0, spread_1;
SET enable_partitionwise_aggregate = on;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET parallel_leader_participation = off;
SET enable_incremental_sort = off;
SET enable_gathermerge = off;
SELECT plan_of('SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn)
	FROM spread GROUP BY tag')
	~ '^Gather .*Append .*walredo apply.*walredo apply' AS spread;
SELECT count(*) > 10 AS several, bool_and(s.page = wanted.page) AS equal
FROM (SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM spread GROUP BY tag) AS s
	JOIN wanted USING (tag);

-- a parallel worker for everything that may run in one
SELECT set_config(CASE
	WHEN current_setting('server_version_num')::int < 160000
	THEN 'force_parallel_mode' ELSE 'debug_parallel_query' END,
	'on', false) AS parallel;
SELECT count(*) > 10 AS several, bool_and(s.page = wanted.page) AS equal
FROM (SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
		FROM records GROUP BY tag) AS s
	JOIN wanted USING (tag);
SELECT set_config(CASE
	WHEN current_setting('server_version_num')::int < 160000
	THEN 'force_parallel_mode' ELSE 'debug_parallel_query' END,
	'off', false) AS parallel;
RESET enable_partitionwise_aggregate;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
RESET parallel_leader_participation;
RESET enable_incremental_sort;
RESET enable_gathermerge;

--
-- Clean up
--
DROP VIEW applied, sorted, copies;
DROP TABLE tags, replayed, records, pages, wanted, bases, clog, zeroes, spread;
DROP FUNCTION failure, context, plan_of;
DROP EXTENSION pg_walinspect;
