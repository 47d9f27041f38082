--
-- walredo_apply, and the other functions that use a wal-redo child
--
-- Seen to fail: "pages" when replay left the last record out, when the start LSN
-- was taken for the end LSN, and when masking left the page as it was; "mixed
-- runs" when native records were applied before all others; each check when it
-- was taken out; walredo_page_diff when each byte was a run; "long record" when a
-- child had too little memory for the record or for the decoded one, when it
-- freed the latter and used it again for a shorter one, and when it freed it
-- twice.
--
CREATE EXTENSION pg_walinspect;

-- The error of a command.
CREATE FUNCTION failure(command text, OUT state text, OUT message text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	message := 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
END
$$;

-- A record with its CRC-32C in its header.
CREATE FUNCTION sealed(rec bytea) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE
	data bytea := substr(rec, 25) || substr(rec, 1, 20);
	crc int8 := 4294967295;
BEGIN
	FOR i IN 0 .. length(data) - 1 LOOP
		crc := crc # get_byte(data, i);
		FOR j IN 1 .. 8 LOOP
			crc := (crc >> 1) # (CASE WHEN crc & 1 = 1 THEN 2197175160 ELSE 0 END);
		END LOOP;
	END LOOP;
	crc := crc # 4294967295;
	FOR i IN 0 .. 3 LOOP
		rec := set_byte(rec, 20 + i, ((crc >> (8 * i)) & 255)::int);
	END LOOP;
	RETURN rec;
END
$$;

-- A page of the visibility map without its LSN, which native records leave as
-- it is, and without its checksum, which is not part of replay.
CREATE FUNCTION only_bits(page bytea) RETURNS bytea
LANGUAGE sql AS $$ SELECT substr(page, 11) $$;

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
UPDATE replayed SET t = 'z' WHERE id IN (2, 502);
VACUUM replayed;
DELETE FROM replayed WHERE id IN (3, 4);
INSERT INTO replayed
	SELECT i, repeat('x', i % 100) FROM generate_series(2001, 3000) AS i;
SELECT pg_current_wal_lsn() AS end_lsn \gset

-- one row for each record and each block that it names
CREATE TABLE refs AS
	SELECT w.end_lsn, w.resource_manager, w.record_type, w.rec,
		replace(block[1], ' fork main', '')::walredo_tag AS tag
	FROM walredo_wal_records(:'start_lsn', :'end_lsn') AS w
		JOIN pg_get_wal_records_info(:'start_lsn', :'end_lsn') AS i
			USING (start_lsn, end_lsn),
		regexp_matches(i.block_ref,
			'blkref #\d+: (rel \d+/\d+/\d+(?: fork \w+)? blk \d+)', 'g') AS block;

CREATE TABLE pages AS
	SELECT v.relname, v.rmgr, b AS blkno, tag,
		get_raw_page(v.relname, b) AS page,
		(SELECT array_agg(walredo_postgres(end_lsn, rec) ORDER BY end_lsn)
			FROM refs WHERE refs.tag = t.tag) AS recs,
		(SELECT max(end_lsn) FROM refs WHERE refs.tag = t.tag) AS last_lsn
	FROM (VALUES ('replayed', 'Heap'), ('replayed_pkey', 'Btree'))
			AS v (relname, rmgr),
		generate_series(0, pg_relation_size(v.relname)::int
			/ current_setting('block_size')::int - 1) AS b,
		walredo_tag(v.relname, 'main', b) AS t (tag);

--
-- Pages: each is equal to the server's, and has the same LSN
--
SELECT relname, count(*) > 5 AS several, sum(cardinality(recs)) > 1000 AS many,
	bool_and(walredo_page_mask(rmgr, walredo_apply(tag, NULL, recs), blkno)
		= walredo_page_mask(rmgr, page, blkno)) AS equal,
	bool_and((page_header(walredo_apply(tag, NULL, recs))).lsn
		= (page_header(page)).lsn) AS equal_lsn,
	bool_or((page_header(page)).lsn = last_lsn) AS lsn_of_last
FROM pages GROUP BY relname ORDER BY relname;

-- in two steps
SELECT relname,
	bool_and(walredo_apply(tag,
		walredo_apply(tag, NULL, recs[:cardinality(recs) / 2]),
		recs[cardinality(recs) / 2 + 1:])
		= walredo_apply(tag, NULL, recs)) AS equal
FROM pages GROUP BY relname ORDER BY relname;

-- each record changes something: without the last one, the page is another
SELECT count(*) FILTER (WHERE walredo_apply(tag, NULL, recs)
	= walredo_apply(tag, NULL, recs[:cardinality(recs) - 1])) AS unchanged
FROM pages WHERE cardinality(recs) > 1;

-- a record that is already on the page does not change it
SELECT bool_and(walredo_apply(tag, page, recs[cardinality(recs):]) = page)
	AS equal
FROM (SELECT tag, recs, walredo_apply(tag, NULL, recs) AS page FROM pages
	WHERE cardinality(recs) > 1 AND blkno > 0) AS s;

--
-- Mixed runs: records that set bits of a visibility map page name the page.
-- Those that clear bits do so only since August 2026, but there are native
-- records for them, too.
--
CREATE TABLE map_records AS
	SELECT end_lsn, walredo_postgres(end_lsn, rec) AS record
	FROM refs WHERE tag = walredo_tag('replayed', 'vm', 0)
		AND resource_manager = 'Heap2'
	UNION ALL
	SELECT end_lsn, walredo_clear_visibility_map_flags(end_lsn,
		NULL, blkno, 3)
	FROM refs JOIN pages USING (tag)
	WHERE relname = 'replayed' AND resource_manager = 'Heap'
		AND end_lsn > (SELECT min(end_lsn) FROM refs
			WHERE tag = walredo_tag('replayed', 'vm', 0));
SELECT count(*) > 2 AS several_runs
FROM (SELECT record::text ~ 'postgres' AS is_postgres,
	lag(record::text ~ 'postgres') OVER (ORDER BY end_lsn) AS was_postgres
	FROM map_records) AS s
WHERE is_postgres <> was_postgres;
-- from a page of zeroes, in case the server writes no full-page images
SELECT only_bits(walredo_apply(walredo_tag('replayed', 'vm', 0), zeroes,
		array_agg(record ORDER BY end_lsn)))
	= only_bits(get_raw_page('replayed', 'vm', 0)) AS equal,
	only_bits(walredo_apply(walredo_tag('replayed', 'vm', 0), zeroes,
		array_agg(record ORDER BY end_lsn)
			FILTER (WHERE record::text ~ 'postgres')))
	= only_bits(get_raw_page('replayed', 'vm', 0))
		AS equal_without_native
FROM map_records, decode(repeat('00', 8192), 'hex') AS zeroes
GROUP BY zeroes;

--
-- Validation: the request
--
CREATE TABLE request AS
	SELECT r.tag, r.end_lsn, r.rec, walredo_postgres(r.end_lsn, r.rec) AS init,
		p.recs[2] AS other
	FROM refs AS r JOIN pages AS p USING (tag)
	WHERE p.relname = 'replayed' AND p.blkno = 1
		AND r.record_type = 'INSERT+INIT';

SELECT v.arguments, f.*
FROM (VALUES
	(1, 'NULL, NULL, ARRAY[init]'),
	(2, 'tag, NULL, NULL'),
	(3, 'tag, NULL, ''{}'''),
	(4, 'tag, page, ''{}'''),
	(5, 'tag, NULL, ARRAY[NULL]::walredo_record[]'),
	(6, 'tag, NULL, ARRAY[init, NULL]'),
	(7, 'tag, NULL, ARRAY[ARRAY[init, init], ARRAY[init, init]]'),
	(8, 'tag, NULL, ARRAY[other]'),
	(9, 'tag, NULL, ARRAY[other, init]'),
	(10, 'tag, '''', ARRAY[init]'),
	(11, 'tag, substr(page, 2), ARRAY[other]'),
	(12, 'tag, page || ''\x00'', ARRAY[other]'),
	(13, 'walredo_tag(''replayed'', ''main'', 0), page, ARRAY[init]'),
	(14, 'walredo_tag(''replayed'', ''vm'', 1), page, ARRAY[init]'),
	(15, 'walredo_tag(''replayed_pkey'', ''main'', 1), page, ARRAY[init]'),
	(16, 'tag, NULL, ARRAY[walredo_zero_page(end_lsn)]'),
	(17, 'tag, NULL, ARRAY[init, walredo_zero_page(end_lsn)]'),
	(18, 'walredo_tag(''replayed'', ''vm'', 0), NULL,
		ARRAY[walredo_clear_visibility_map_flags(end_lsn, 1, NULL, 3)]'),

	-- a child cannot know that the base image should have a page header
	(19, 'tag, decode(repeat(''00'', 8192), ''hex''), ARRAY[other]'),

	(20, 'tag, NULL, ARRAY[walredo_postgres(end_lsn, rec, true)]'),
	(21, 'tag, page, ARRAY[walredo_postgres(end_lsn, rec, false)]'),
	(22, 'tag, NULL, ARRAY[walredo_postgres(end_lsn, rec, false)]'),
	(23, 'tag, page, ARRAY[init]'),
	(24, 'tag, NULL, ARRAY[init, other]')
	) AS v (n, arguments),
	failure('SELECT walredo_apply(' || v.arguments || ')
		FROM request CROSS JOIN
			(SELECT page FROM pages
				WHERE relname = ''replayed'' AND blkno = 1) AS p') AS f
ORDER BY n;

-- a record that is said to initialize the page, but does not
SELECT f.*
FROM failure('SELECT walredo_apply(tag, page,
		ARRAY[walredo_postgres(refs.end_lsn, refs.rec, true)])
	FROM refs JOIN pages USING (tag)
	WHERE relname = ''replayed'' AND blkno = 1 AND record_type = ''DELETE''
	LIMIT 1') AS f;

-- a heap record does not belong to pages that are not a relation's
SELECT tag, state
FROM unnest(ARRAY['slru pg_xact/0000 blk 0',
	'slru pg_multixact/offsets/0000 blk 0', 'slru pg_commit_ts/0000 blk 0',
	'relmap 1663/5', 'twophase 731']) AS tag,
	failure(format('SELECT walredo_apply(%L, %s, ARRAY[init]) FROM request', tag,
		CASE WHEN tag LIKE 'slru%' THEN '(SELECT page FROM pages LIMIT 1)'
			ELSE 'NULL' END));

--
-- Validation: a broken record does not become a walredo_record
--
-- The record is a header of 24 bytes, a block reference of 20 (ID, flags,
-- length of data, relation, block), a main data header of 2, and data.
SELECT v.what, f.*
FROM (VALUES
	(1, 'sound', 'sealed(rec)'),
	(2, 'empty', '''''::bytea'),
	(3, 'shorter than a header', 'substr(rec, 1, 23)'),
	(4, 'only a header', 'substr(rec, 1, 24)'),
	(5, 'a byte missing', 'substr(rec, 1, length(rec) - 1)'),
	(6, 'a byte too many', 'rec || ''\x00''::bytea'),
	(7, 'a byte of data changed',
		'set_byte(rec, length(rec) - 1, get_byte(rec, length(rec) - 1) # 1)'),
	(8, 'a byte of the header changed', 'set_byte(rec, 4, get_byte(rec, 4) # 1)'),
	(9, 'the checksum changed', 'set_byte(rec, 20, get_byte(rec, 20) # 1)'),
	(10, 'a block of unknown ID', 'sealed(set_byte(rec, 24, 100))'),
	(11, 'a fork that does not exist', 'sealed(set_byte(rec, 25, 39))'),
	(12, 'a block of the relation before it', 'sealed(set_byte(rec, 25, 224))'),
	(13, 'more data than there is', 'sealed(set_byte(rec, 26, 255))'),
	(14, 'far more data than there is', 'sealed(set_byte(rec, 27, 255))'),
	(15, 'data that has no flag', 'sealed(set_byte(rec, 25, 64))'),
	(16, 'an image that is not there', 'sealed(set_byte(rec, 25, 112))'),
	(17, 'less main data than there is', 'sealed(set_byte(rec, 45, 1))'),
	(18, 'more main data than there is', 'sealed(set_byte(rec, 45, 255))'),
	(19, 'a long header of main data', 'sealed(set_byte(rec, 44, 254))')
	) AS v (n, what, changed),
	failure('SELECT walredo_postgres(''0/100'', ' || v.changed || ')
		FROM request') AS f (state, message)
ORDER BY n;

--
-- Errors of the child: its message, and another child serves the next request
--
SELECT state, message FROM failure('SELECT walredo_apply(tag, NULL,
	ARRAY[walredo_postgres(end_lsn,
		sealed(set_byte(rec, length(rec) - 2, 255)))]) FROM request');
SELECT state, message FROM failure('SELECT walredo_apply(tag, NULL,
	ARRAY[walredo_postgres(end_lsn,
		sealed(set_byte(rec, 17, 200)))]) FROM request');
SELECT walredo_page_mask('Heap', walredo_apply(tag, NULL, recs), blkno)
	= walredo_page_mask('Heap', page, blkno) AS equal
FROM pages WHERE relname = 'replayed' AND blkno = 1;

--
-- walredo_page_mask
--
SELECT bool_and(walredo_page_mask(rmgr, walredo_page_mask(rmgr, page, blkno),
		blkno) = walredo_page_mask(rmgr, page, blkno)) AS idempotent,
	bool_or(walredo_page_mask(rmgr, page, blkno) = page) AS unmasked,
	bool_and(walredo_page_mask(upper(rmgr), page, blkno)
		= walredo_page_mask(lower(rmgr), page, blkno)) AS any_case,
	bool_and(walredo_page_mask('Transaction', page, blkno) = page)
		AS nothing_to_mask
FROM pages;
SELECT v.arguments, f.*
FROM (VALUES
	(1, '''Heap'', page, -1'),
	(2, '''Heap'', page, 4294967295'),
	(3, '''Heap'', page, 4294967294'),
	(4, '''Heap'', '''', 0'),
	(5, '''Heap'', substr(page, 2), 0'),
	(6, '''Heap'', page || page, 0'),
	(7, '''Heaps'', page, 0'),
	(8, ''''', page, 0'),
	(9, 'NULL, page, 0')
	) AS v (n, arguments),
	failure('SELECT walredo_page_mask(' || v.arguments || ')
		FROM pages WHERE relname = ''replayed'' AND blkno = 0') AS f
ORDER BY n;

--
-- walredo_page_diff
--
CREATE TEMP TABLE zeroes AS SELECT decode(repeat('00', 8192), 'hex') AS page;
SELECT d.* FROM zeroes, walredo_page_diff(page, page) d;
SELECT d.* FROM zeroes,
	walredo_page_diff(overlay(page PLACING '\x01020304050607' FROM 1),
		overlay(page PLACING '\x11020314250617' FROM 1)) d;
SELECT d.* FROM zeroes,
	walredo_page_diff(overlay(page PLACING '\x010203' FROM 8190),
		overlay(page PLACING '\x020202' FROM 8190)) d;
SELECT count(*), sum(length) FROM walredo_page_diff(
	decode(repeat('00', 8192), 'hex'), decode(repeat('0001', 4096), 'hex'));
SELECT count(*), sum(length) FROM walredo_page_diff(
	decode(repeat('00', 8192), 'hex'), decode(repeat('ff', 8192), 'hex'));
SELECT * FROM walredo_page_diff(NULL, '\x');

-- arguments that are no pages: a byte too few or too many, two pages, a
-- relation map
SELECT walredo_page_diff('\x', '\x');
SELECT walredo_page_diff('\x01', '\x0102');
SELECT walredo_page_diff(page, substr(page, 2)) FROM zeroes;
SELECT walredo_page_diff(page || '\x00', page) FROM zeroes;
SELECT walredo_page_diff(page || page, page || page) FROM zeroes;
SELECT walredo_page_diff(substr(page, 1, 524), substr(page, 1, 524))
FROM zeroes;
SELECT walredo_page_mask('Heap', page || page, 0) FROM zeroes;

--
-- walredo_page_at with arguments of unknown type: which function is called
--
SELECT tag, last_lsn, page FROM pages
WHERE relname = 'replayed' AND blkno = 0 \gset
SELECT n, length(page) AS length,
	walredo_page_mask('Heap', page, 0) = walredo_page_mask('Heap', :'page', 0) AS equal
FROM (VALUES
	(1, walredo_page_at(:'tag', :'last_lsn')),
	(2, walredo_page_at(:'tag', :'last_lsn', NULL)),
	(3, walredo_page_at(:'tag', :'last_lsn', NULL, 'pg_wal')),
	(4, walredo_page_at(:'tag', :'last_lsn', :'page')),
	(5, walredo_page_at(:'tag', :'last_lsn', :'page', NULL)),
	(6, walredo_page_at(walredo_tag :'tag', :'last_lsn', NULL, 'pg_wal')),
	(7, walredo_page_at(:'tag', pg_lsn :'last_lsn', NULL, 'pg_wal')),
	(8, walredo_page_at(:'tag', :'last_lsn', bytea :'page', 'pg_wal')),
	(9, walredo_page_at(:'tag', :'last_lsn', wal_directory => 'pg_wal')),
	(10, walredo_page_at(tag => :'tag', lsn => :'last_lsn', base => NULL,
		wal_directory => 'pg_wal')),
	(11, walredo_page_at(:'tag'::text, :'last_lsn', NULL, 'pg_wal')),
	(21, walredo_page_at('replayed', 'main', 0, :'last_lsn')),
	(22, walredo_page_at('replayed', 'main', '0', :'last_lsn')),
	(23, walredo_page_at('replayed', 0, :'last_lsn')),
	(24, walredo_page_at('replayed', '0', :'last_lsn')),
	(25, walredo_page_at('replayed', '0', pg_lsn :'last_lsn')),
	(26, walredo_page_at('replayed'::regclass, '0', :'last_lsn')),
	(27, walredo_page_at('replayed'::text, 'main', '0', :'last_lsn')),
	(28, walredo_page_at(relname => 'replayed', blkno => 0, lsn => :'last_lsn')),
	(29, walredo_page_at('replayed', 0::int8, :'last_lsn'))
	) AS v (n, page)
ORDER BY n;

-- parameters without types, as a driver sends them
PREPARE page_at AS SELECT length(walredo_page_at($1, $2, $3, $4));
EXECUTE page_at(:'tag', :'last_lsn', NULL, 'pg_wal');
EXECUTE page_at('replayed', 'main', '0', :'last_lsn');
DEALLOCATE page_at;

-- NULL arguments, and arguments that make no sense
SELECT n, page IS NULL AS is_null
FROM (VALUES
	(1, walredo_page_at(NULL, NULL, NULL, NULL)),
	(2, walredo_page_at(NULL, NULL, NULL)),
	(3, walredo_page_at(:'tag', NULL, NULL, 'pg_wal')),
	(4, walredo_page_at('replayed', 'main', NULL, :'last_lsn')),
	(5, walredo_page_at('replayed', 'main', '0', NULL)),
	(6, walredo_page_at('replayed', NULL, :'last_lsn'))
	) AS v (n, page)
ORDER BY n;
SELECT v.arguments, f.*
FROM (VALUES
	(1, $$'replayed', '0/1', NULL, NULL$$),
	(2, $$'rel 1/2/3 blk 0', 'main', '0', '0/1'$$),
	(3, $$'replayed', 'side', '0', '0/1'$$),
	(4, $$'replayed', 'main', 'x', '0/1'$$),
	(5, $$'replayed', '0', 'x'$$),
	(6, $$'absent', 'main', '0', '0/1'$$),
	(7, $$'replayed', '0/x', NULL, NULL$$),
	(8, $$'relmap 1663/5', '0/1', '\x0g'$$)
	) AS v (n, arguments),
	failure('SELECT walredo_page_at(' || v.arguments || ')') AS f
ORDER BY n;

-- without a fork, as get_raw_page() may be called
SELECT walredo_tag('replayed', 0) = walredo_tag('replayed', 'main', 0) AS same,
	walredo_tag('replayed', '0') = walredo_tag('replayed', 'main', 0) AS literal,
	walredo_tag('replayed', NULL) IS NULL AS is_null;

--
-- walredo_ping
--
SELECT walredo_ping() > 0 AS positive, walredo_ping() < 20000 AS in_time;

--
-- A long record, then short ones, then the long one again: images of many
-- pages in one record
--
CREATE TABLE regress_long (id int, words int[])
	WITH (autovacuum_enabled = off);
INSERT INTO regress_long
	SELECT i, ARRAY[i, i * 7919 % 10007, i * 104729 % 20011]
	FROM generate_series(1, 20000) i;
SELECT pg_current_wal_insert_lsn() AS long_start \gset
CREATE INDEX regress_long_words ON regress_long USING gin (words);
SELECT pg_current_wal_insert_lsn() AS long_end \gset
CREATE TEMP TABLE long_record AS
	SELECT end_lsn, rec
	FROM walredo_wal_records(:'long_start', :'long_end')
	WHERE record_length > 65536 ORDER BY start_lsn LIMIT 1;
SELECT count(*) FROM long_record;
SELECT count(*) > 10 AS many_blocks,
	bool_and(walredo_apply(d.tag, NULL, ARRAY[d.record]) = i.image) AS equal
FROM long_record r, walredo_decode(r.end_lsn, r.rec) d,
	walredo_record_images(r.end_lsn, r.rec) i
WHERE i.tag = d.tag;
SELECT length(walredo_apply(tag, NULL, ARRAY[init])) FROM request;
SELECT bool_and(walredo_apply(d.tag, NULL, ARRAY[d.record]) = i.image) AS equal
FROM long_record r, walredo_decode(r.end_lsn, r.rec) d,
	walredo_record_images(r.end_lsn, r.rec) i
WHERE i.tag = d.tag;
DROP TABLE regress_long;

--
-- Settings
--
SET walredo.enabled = off;
SELECT f.* FROM failure('SELECT walredo_apply(tag, NULL, ARRAY[init])
	FROM request') AS f;
SELECT f.* FROM failure('SELECT walredo_ping()') AS f;
SELECT f.* FROM failure('SELECT walredo_page_mask(rmgr, page, blkno)
	FROM pages') AS f;
-- nor anything that needs no child
SELECT f.* FROM failure($$SELECT walredo_apply('slru pg_xact/0000 blk 0', NULL,
	ARRAY[walredo_zero_page('0/100')])$$) AS f;
RESET walredo.enabled;
SELECT length(walredo_apply(tag, NULL, ARRAY[init])) FROM request;

-- the range is printed with its unit since PostgreSQL 17
\set VERBOSITY sqlstate
SET walredo.timeout = 0;
SET walredo.timeout = -1;
\set VERBOSITY default
SET walredo.max_retries = -1;
SET walredo.max_retries = 11;

--
-- statement_timeout; the next result is right
--
SET statement_timeout = '100ms';
SELECT count(walredo_apply(tag, NULL, recs)), count(i)
FROM pages, generate_series(1, 1000000) AS i;
\echo :SQLSTATE
RESET statement_timeout;
SELECT bool_and(walredo_page_mask(rmgr, walredo_apply(tag, NULL, recs), blkno)
	= walredo_page_mask(rmgr, page, blkno)) AS equal
FROM pages;

--
-- Parallel query
--
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET parallel_leader_participation = off;
ALTER TABLE pages SET (parallel_workers = 2);
EXPLAIN (COSTS OFF)
SELECT bool_and(walredo_page_mask(rmgr, walredo_apply(tag, NULL, recs), blkno)
	= walredo_page_mask(rmgr, page, blkno)) AS equal
FROM pages;
SELECT bool_and(walredo_page_mask(rmgr, walredo_apply(tag, NULL, recs), blkno)
	= walredo_page_mask(rmgr, page, blkno)) AS equal
FROM pages;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
RESET parallel_leader_participation;

-- a parallel worker for everything that may run in one
SELECT set_config(CASE
	WHEN current_setting('server_version_num')::int < 160000
	THEN 'force_parallel_mode' ELSE 'debug_parallel_query' END,
	'on', false) AS parallel;
SELECT bool_and(walredo_page_mask(rmgr, walredo_apply(tag, NULL, recs), blkno)
	= walredo_page_mask(rmgr, page, blkno)) AS equal
FROM pages;
SELECT walredo_ping() > 0 AS positive;
SELECT set_config(CASE
	WHEN current_setting('server_version_num')::int < 160000
	THEN 'force_parallel_mode' ELSE 'debug_parallel_query' END,
	'off', false) AS parallel;

--
-- Clean up
--
DROP TABLE replayed, refs, pages, map_records, request;
DROP FUNCTION failure, sealed, only_bits;
DROP EXTENSION pg_walinspect;
