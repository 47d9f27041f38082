--
-- walredo_tag and walredo_record: input, output, operators, constructors
--
-- The error of a command, in one row.
CREATE FUNCTION failure(command text,
	OUT state text, OUT message text, OUT detail text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	message := 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE,
		message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
END
$$;
SET timezone = 'UTC';

-- ===================================================================
-- walredo_tag: text form
-- ===================================================================

SELECT t AS input, t::walredo_tag AS tag
FROM (VALUES
	(1, 'rel 1663/5/16384 blk 7'),
	(2, 'rel 1663/5/16384 fork main blk 7'),
	(3, 'rel 1663/5/16384 fork vm blk 0'),
	(4, 'rel 1663/5/16384 fork fsm blk 2'),
	(5, 'rel 1663/5/16384 fork init blk 0'),
	(6, 'rel 1664/0/1262 blk 4294967294'),
	(7, 'rel 4294967295/4294967295/4294967295 blk 0'),
	(8, 'slru pg_xact/0000 blk 3'),
	(9, 'slru pg_xact/0FFF blk 31'),
	(10, 'slru pg_multixact/offsets/0000 blk 0'),
	(11, 'slru pg_multixact/members/0000 blk 0'),
	(12, 'slru pg_multixact/members/14078 blk 4'),
	(13, 'slru pg_multixact/members/000000000014078 blk 4'),
	(14, 'slru pg_commit_ts/0000 blk 0'),
	(15, 'slru pg_commit_ts/28028 blk 0'),
	(16, 'relmap 1663/5'),
	(17, 'relmap 1664/0'),
	(18, 'twophase 731'),
	(19, 'twophase 4294967295'),
	(20, E'  rel   1663/5/16384\tfork  vm \n blk  0  ')) AS v(n, t)
ORDER BY n;

-- Everything else is an error.
SELECT left(quote_literal(t), 45) AS input, f.*
FROM (VALUES
	(1, ''),
	(2, ' '),
	(3, 'rel'),
	(4, 'relation 1663/5/16384 blk 7'),
	(5, 'REL 1663/5/16384 blk 7'),
	(6, 'rel1663/5/16384 blk 7'),
	(7, 'rel 1663/5/16384'),
	(8, 'rel 1663/5 blk 7'),
	(9, 'rel 1663 /5/16384 blk 7'),
	(10, 'rel 1663/5/16384blk 7'),
	(11, 'rel 1663/5/16384 blk7'),
	(12, 'rel 1663/5/16384 blk 7x'),
	(13, 'rel 1663/5/16384 blk 7 8'),
	(14, 'rel 1663/5/16384 blk -1'),
	(15, 'rel 1663/5/16384 blk 0x7'),
	(16, 'rel 1663/5/16384 blk 4294967295'),
	(17, 'rel 1663/5/16384 blk 18446744073709551623'),
	(18, 'rel 4294967296/5/16384 blk 7'),
	(19, 'rel 0/5/16384 blk 7'),
	(20, 'rel 1663/5/0 blk 7'),
	(21, 'rel 1663/5/16384 fork blk 7'),
	(22, 'rel 1663/5/16384 fork vms blk 7'),
	(23, 'rel 1663/5/16384 blk 7 fork vm'),
	(24, 'slru pg_xact/0000'),
	(25, 'slru pg_xact/000 blk 0'),
	(26, 'slru pg_xact/000a blk 0'),
	(27, 'slru pg_xact/0000 blk 32'),
	(28, 'slru pg_xact/1000 blk 0'),
	(29, 'slru pg_xact/FFFFFFFFFFFFFFF blk 31'),
	(30, 'slru pg_xact/0000000000000000 blk 0'),
	(31, 'slru pg_commit_ts/28028 blk 1'),
	(32, 'slru pg_subtrans/0000 blk 0'),
	(33, 'slru pg_multixact/0000 blk 0'),
	(34, 'slru pg_multixact/offsets0000 blk 0'),
	(35, 'relmap 1663'),
	(36, 'relmap 0/5'),
	(37, 'relmap 1663/5 blk 0'),
	(38, 'twophase'),
	(39, 'twophase 2'),
	(40, 'twophase 4294967296'),
	(41, 'rel 1663/5/16384 blk 7 ' || repeat('x', 1000))) AS v(n, t),
	failure(format('SELECT %L::walredo_tag', t)) AS f
ORDER BY n;

-- ===================================================================
-- walredo_tag: binary form
-- ===================================================================

SELECT _walredo_tag_send(t::walredo_tag)
FROM (VALUES
	(1, 'rel 1663/5/16384 fork vm blk 4294967294'),
	(2, 'slru pg_multixact/members/0001 blk 2'),
	(3, 'relmap 1663/5'),
	(4, 'twophase 731')) AS v(n, t)
ORDER BY n;

-- ===================================================================
-- walredo_tag: address of a block of a relation
-- ===================================================================

CREATE TABLE types_table (i int PRIMARY KEY, t text);
CREATE VIEW types_view AS SELECT * FROM types_table;
CREATE TEMP TABLE types_temp (i int);
CREATE UNLOGGED TABLE types_unlogged (i int);
CREATE TABLE types_parted (i int) PARTITION BY LIST (i);
CREATE INDEX types_parted_idx ON types_parted (i);

-- the same as the server's name of the file
CREATE FUNCTION file_of(tag walredo_tag) RETURNS text
LANGUAGE sql STABLE AS $$
	SELECT m[2] || '/' || m[3]
	FROM regexp_match(tag::text, '^rel (\d+)/(\d+)/(\d+) ') AS m
$$;
SELECT c.oid::regclass AS relation, forkname, b AS blkno,
	'base/' || file_of(walredo_tag(c.oid, forkname, b)) =
		pg_relation_filepath(c.oid) AS same_file,
	walredo_tag(c.oid, forkname, b)::text LIKE
		'rel 1663/%' || CASE forkname WHEN 'main' THEN '' ELSE ' fork ' || forkname END ||
		' blk ' || b AS same_page
FROM pg_class AS c,
	(VALUES ('main', 0::int8), ('fsm', 1), ('vm', 2), ('init', 3),
		('main', 4294967294)) AS v(forkname, b)
WHERE c.oid IN ('types_table'::regclass, 'types_table_pkey'::regclass,
	'types_unlogged'::regclass, 'pg_class'::regclass)
ORDER BY c.oid::regclass::text COLLATE "C", forkname, b;

-- a shared relation belongs to no database
SELECT regexp_replace(walredo_tag('pg_database', 'main', 3)::text,
	'/\d+ ', '/n ');

SELECT command, f.*
FROM (VALUES
	(1, $$SELECT walredo_tag('types_view', 'main', 0)$$),
	(2, $$SELECT walredo_tag('types_parted', 'main', 0)$$),
	(3, $$SELECT walredo_tag('types_parted_idx', 'main', 0)$$),
	(4, $$SELECT walredo_tag('types_temp', 'main', 0)$$),
	(5, $$SELECT walredo_tag('types_table', 'main', -1)$$),
	(6, $$SELECT walredo_tag('types_table', 'main', 4294967295)$$),
	(7, $$SELECT walredo_tag('types_table', 'none', 0)$$),
	(8, $$SELECT walredo_tag('types_none', 'main', 0)$$),
	(9, $$SELECT walredo_tag(1, 'main', 0)$$)) AS v(n, command),
	failure(command) AS f
ORDER BY n;

SELECT walredo_tag(NULL, 'main', 0) IS NULL AS strict;

-- ===================================================================
-- walredo_tag: operators and operator classes
-- ===================================================================

-- Each tag is less than all that follow it.
CREATE TABLE types_tags (n int, tag walredo_tag);
INSERT INTO types_tags VALUES
	(1, 'rel 1663/5/16384 blk 0'),
	(2, 'rel 1663/5/16384 blk 7'),
	(3, 'rel 1663/5/16384 blk 4294967294'),
	(4, 'rel 1663/5/16384 fork fsm blk 0'),
	(5, 'rel 1663/5/16384 fork vm blk 0'),
	(6, 'rel 1663/5/16385 blk 0'),
	(7, 'rel 1663/6/1 blk 0'),
	(8, 'rel 4294967295/5/1 blk 0'),
	(9, 'slru pg_xact/0000 blk 0'),
	(10, 'slru pg_xact/0FFF blk 31'),
	(11, 'slru pg_multixact/offsets/0000 blk 0'),
	(12, 'slru pg_multixact/members/0000 blk 0'),
	(13, 'slru pg_commit_ts/0000 blk 0'),
	(14, 'relmap 1663/5'),
	(15, 'relmap 1664/0'),
	(16, 'twophase 3'),
	(17, 'twophase 4294967295');

SELECT a.tag, b.tag
FROM types_tags AS a, types_tags AS b
WHERE (a.tag = b.tag) <> (a.n = b.n) OR (a.tag <> b.tag) <> (a.n <> b.n) OR
	(a.tag < b.tag) <> (a.n < b.n) OR (a.tag <= b.tag) <> (a.n <= b.n) OR
	(a.tag > b.tag) <> (a.n > b.n) OR (a.tag >= b.tag) <> (a.n >= b.n) OR
	sign(_walredo_tag_cmp(a.tag, b.tag)) <> sign(a.n - b.n) OR
	(_walredo_tag_hash(a.tag) = _walredo_tag_hash(b.tag)) <> (a.n = b.n) OR
	(_walredo_tag_hash_extended(a.tag, 1) =
		_walredo_tag_hash_extended(b.tag, 1)) <> (a.n = b.n) OR
	_walredo_tag_hash_extended(a.tag, 0) = _walredo_tag_hash_extended(a.tag, 1);

SELECT array_agg(n ORDER BY tag) AS sorted FROM types_tags;

-- seed 0 gives the plain hash in the lower half
SELECT bool_and(_walredo_tag_hash_extended(tag, 0)::bit(64) << 32 =
	_walredo_tag_hash(tag)::int8::bit(64) << 32) AS same_hash FROM types_tags;

INSERT INTO types_tags
SELECT 100 + b, ('rel 1663/5/16390 blk ' || b)::walredo_tag
FROM generate_series(0, 999) AS b;

CREATE INDEX types_tags_btree ON types_tags USING btree (tag);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_indexonlyscan = off;
EXPLAIN (COSTS OFF)
SELECT n FROM types_tags WHERE tag = 'rel 1663/5/16390 blk 77';
SELECT n FROM types_tags WHERE tag = 'rel 1663/5/16390 fork main blk 77';
SELECT n FROM types_tags
WHERE tag BETWEEN 'rel 1663/5/16390 blk 998' AND 'slru pg_xact/0000 blk 0'
ORDER BY tag;
DROP INDEX types_tags_btree;

CREATE INDEX types_tags_hash ON types_tags USING hash (tag);
EXPLAIN (COSTS OFF)
SELECT n FROM types_tags WHERE tag = 'rel 1663/5/16390 blk 77';
SELECT n FROM types_tags WHERE tag = 'rel 1663/5/16390 fork main blk 77';
SELECT n FROM types_tags WHERE tag = 'twophase 3';
DROP INDEX types_tags_hash;
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_indexonlyscan;

SET enable_nestloop = off;
SET enable_mergejoin = off;
SELECT count(*) FROM types_tags AS a JOIN types_tags AS b USING (tag);
SET enable_hashjoin = off;
RESET enable_mergejoin;
SELECT count(*) FROM types_tags AS a JOIN types_tags AS b USING (tag);
RESET enable_nestloop;
RESET enable_hashjoin;

-- ===================================================================
-- walredo_record: text form
-- ===================================================================

-- A WAL record of 28 bytes with the right checksum.  Its numbers are in the
-- byte order of this machine, which has to be little-endian.
\set wal_record 1c000000db02000000376b010000000000000000baf80fdaff026869

CREATE TABLE types_records (n int PRIMARY KEY, rec walredo_record);
INSERT INTO types_records
SELECT n, (t)::walredo_record
FROM (VALUES
	(1, '0/16B3740 postgres rec=\x' || :'wal_record'),
	(2, '0/16B3740 postgres will_init=true rec=\x' || :'wal_record'),
	(3, '0/16B3740 postgres will_init=false rec=\x' || upper(:'wal_record')),
	(4, '0/16B3740 clear_visibility_map_flags new_heap_blkno=5 old_heap_blkno=7 flags=3'),
	(5, '0/16B3740 clear_visibility_map_flags new_heap_blkno=4294967294 flags=1'),
	(6, '0/16B3740 clear_visibility_map_flags old_heap_blkno=0 flags=2'),
	(7, '0/16B3740 truncate_visibility_map trunc_byte=12 trunc_offs=2'),
	(8, '0/16B3740 truncate_visibility_map trunc_byte=8167 trunc_offs=6'),
	(9, '0/16B3740 clog_set_committed xids=731,732'),
	(10, '0/16B3740 clog_set_aborted xids=3'),
	(11, '0/16B3740 clog_set_subcommitted xids=4294967295,3,3'),
	(12, '0/16B3740 multixact_offset_create mid=5 moff=77'),
	(13, '0/16B3740 multixact_offset_create mid=4294967295 moff=4294967295'),
	(14, '0/16B3740 multixact_members_create moff=77 members=731:4,732:1'),
	(15, '0/16B3740 multixact_members_create moff=4294967295 members=3:0,4294967295:5'),
	(16, '0/16B3740 commit_ts_set timestamp=768787200123456 origin=0 xids=731'),
	(17, '0/16B3740 commit_ts_set timestamp=-9223372036854775808 origin=65535 xids=731,732'),
	(18, '0/16B3740 commit_ts_set timestamp=9223372036854775807 origin=1 xids=3'),
	(19, '0/16B3740 zero_page'),
	(20, E' \n FFFFFFFF/ffffffff\tzero_page '),
	(21, '0/16B3740 replace contents=\x0001FEff'),
	(22, '  0/016b3740   commit_ts_set   timestamp=-1   origin=00   xids=731  ')) AS v(n, t);
SELECT * FROM types_records ORDER BY n;

-- What is output as text is read as the same value.
SELECT count(*) AS different FROM types_records
WHERE _walredo_record_send(rec::text::walredo_record) <> _walredo_record_send(rec);

SELECT replace(t, :'wal_record', 'R') AS input, f.*
FROM (VALUES
	(1, ''),
	(2, 'zero_page'),
	(3, '0 zero_page'),
	(4, '0/ zero_page'),
	(5, '0/16B3740'),
	(6, '0/16B3740zero_page'),
	(7, '100000000/0 zero_page'),
	(8, '0/100000000 zero_page'),
	(9, '0/16B3740 zeropage'),
	(10, '0/16B3740 zero_page x'),
	(11, '0/16B3740 postgres'),
	(12, '0/16B3740 postgres rec='),
	(13, '0/16B3740 postgres rec=\x0'),
	(14, '0/16B3740 postgres rec=\x0g'),
	(15, '0/16B3740 postgres rec=\x' || :'wal_record' || ' will_init=true'),
	(16, '0/16B3740 postgres will_init=yes rec=\x' || :'wal_record'),
	(17, '0/16B3740 zero_page will_init=true'),
	(18, '0/16B3740 clear_visibility_map_flags new_heap_blkno=5'),
	(19, '0/16B3740 clear_visibility_map_flags old_heap_blkno=7 new_heap_blkno=5 flags=3'),
	(20, '0/16B3740 clear_visibility_map_flags new_heap_blkno=4294967295 flags=3'),
	(21, '0/16B3740 clear_visibility_map_flags new_heap_blkno= flags=3'),
	(22, '0/16B3740 clear_visibility_map_flags new_heap_blkno=5flags=3'),
	(23, '0/16B3740 truncate_visibility_map trunc_byte=12'),
	(24, '0/16B3740 truncate_visibility_map trunc_byte=12 trunc_offs=2 trunc_offs=2'),
	(25, '0/16B3740 truncate_visibility_map trunc_byte=-1 trunc_offs=2'),
	(26, '0/16B3740 truncate_visibility_map trunc_byte=4294967296 trunc_offs=2'),
	(27, '0/16B3740 clog_set_committed'),
	(28, '0/16B3740 clog_set_committed xids='),
	(29, '0/16B3740 clog_set_committed xids=731,'),
	(30, '0/16B3740 clog_set_committed xids=,731'),
	(31, '0/16B3740 clog_set_committed xids=731, 732'),
	(32, '0/16B3740 clog_set_committed xids=4294967296'),
	(33, '0/16B3740 multixact_offset_create moff=77 mid=5'),
	(34, '0/16B3740 multixact_offset_create mid=5 moff=18446744073709551616'),
	(35, '0/16B3740 multixact_members_create moff=77 members=731'),
	(36, '0/16B3740 multixact_members_create moff=77 members=731:'),
	(37, '0/16B3740 multixact_members_create moff=77 members=731:1:2'),
	(38, '0/16B3740 commit_ts_set timestamp=9223372036854775808 origin=0 xids=731'),
	(39, '0/16B3740 commit_ts_set timestamp=-9223372036854775809 origin=0 xids=731'),
	(40, '0/16B3740 commit_ts_set timestamp=- origin=0 xids=731'),
	(41, '0/16B3740 replace contents=0001')) AS v(n, t),
	failure(format('SELECT %L::walredo_record', t)) AS f
ORDER BY n;

-- ===================================================================
-- walredo_record: values that make no sense
-- ===================================================================

SELECT t AS input, f.*
FROM (VALUES
	(1, '0/0 zero_page'),
	(2, '0/16B3740 clear_visibility_map_flags flags=3'),
	(3, '0/16B3740 clear_visibility_map_flags new_heap_blkno=5 flags=0'),
	(4, '0/16B3740 clear_visibility_map_flags new_heap_blkno=5 flags=4'),
	(5, '0/16B3740 clear_visibility_map_flags new_heap_blkno=5 flags=4294967295'),
	(6, '0/16B3740 truncate_visibility_map trunc_byte=8168 trunc_offs=0'),
	(7, '0/16B3740 truncate_visibility_map trunc_byte=0 trunc_offs=8'),
	(8, '0/16B3740 clog_set_committed xids=731,0'),
	(9, '0/16B3740 clog_set_aborted xids=1'),
	(10, '0/16B3740 clog_set_subcommitted xids=2,731'),
	(11, '0/16B3740 multixact_offset_create mid=0 moff=77'),
	(12, '0/16B3740 multixact_offset_create mid=5 moff=9223372036854775808'),
	(13, '0/16B3740 multixact_members_create moff=9223372036854775808 members=731:1'),
	(14, '0/16B3740 multixact_members_create moff=77 members=731:1,2:1'),
	(15, '0/16B3740 multixact_members_create moff=77 members=731:6'),
	(16, '0/16B3740 commit_ts_set timestamp=0 origin=65536 xids=731'),
	(17, '0/16B3740 commit_ts_set timestamp=0 origin=0 xids=2'),
	(18, '0/16B3740 replace contents=\x')) AS v(n, t),
	failure(format('SELECT %L::walredo_record', t)) AS f
ORDER BY n;

-- more members than a page has
SELECT f.*
FROM (VALUES (1636), (1637)) AS v(n),
	failure(format('SELECT %L::walredo_record',
		'0/16B3740 multixact_members_create moff=0 members=' ||
		substr(repeat(',731:1', n), 2))) AS f;

-- WAL records that are broken: empty, shorter than a header, cut off, too
-- long, each of the fields changed
SELECT r AS rec, f.*
FROM (VALUES
	(1, ''),
	(2, substr(:'wal_record', 1, 46)),
	(3, substr(:'wal_record', 1, 48)),
	(4, :'wal_record' || '00'),
	(5, overlay(:'wal_record' PLACING '18' FROM 1)),
	(6, overlay(:'wal_record' PLACING 'ffffffff' FROM 1)),
	(7, overlay(:'wal_record' PLACING 'dc' FROM 9)),
	(8, overlay(:'wal_record' PLACING 'bb' FROM 41)),
	(9, overlay(:'wal_record' PLACING '68' FROM 55))) AS v(n, r),
	failure(format('SELECT %L::walredo_record', '0/16B3740 postgres rec=\x' || r)) AS f
ORDER BY n;

-- too large
SELECT f.*
FROM (VALUES
	(1, $$SELECT walredo_postgres('0/1', convert_to(repeat('x', 16777217), 'UTF8'))$$),
	(2, $$SELECT ('0/1 clog_set_committed xids=3' || repeat(',3', 4194304))::walredo_record$$),
	(3, $$SELECT walredo_clog_set_committed('0/1', array_fill('3'::xid, '{4194305}'))$$)) AS v(n, command),
	failure(command) AS f
ORDER BY n;
SELECT length(_walredo_record_send(walredo_replace('0/1',
	convert_to(repeat('x', 20000000), 'UTF8')))) AS large;

-- ===================================================================
-- walredo_record: binary form, storage
-- ===================================================================

SELECT n, _walredo_record_send(rec) FROM types_records ORDER BY n;

-- compressed, out of line and in arrays
INSERT INTO types_records VALUES
	(100, ('0/16B3740 replace contents=\x' || repeat('00', 100000))::walredo_record),
	(101, (SELECT '0/16B3740 replace contents=\x' || string_agg(md5(i::text), '' ORDER BY i)
		FROM generate_series(1, 5000) AS i)::walredo_record);
SELECT n, pg_column_size(rec) < 10000 AS compressed,
	length(_walredo_record_send(rec)) FROM types_records WHERE n >= 100 ORDER BY n;
SELECT count(*) AS different
FROM types_records, LATERAL (SELECT array_agg(rec ORDER BY n) AS a FROM types_records) AS l,
	LATERAL unnest(a) WITH ORDINALITY AS u(element, i)
WHERE i = (SELECT count(*) FROM types_records AS r WHERE r.n <= types_records.n) AND
	_walredo_record_send(element) <> _walredo_record_send(rec);
SELECT ARRAY['0/1 zero_page', '0/2 clog_set_aborted xids=3']::walredo_record[];

-- ===================================================================
-- Constructors
-- ===================================================================

SELECT walredo_postgres('0/16B3740', decode(:'wal_record', 'hex')) AS rec
UNION ALL SELECT walredo_postgres('0/16B3740', decode(:'wal_record', 'hex'), NULL)
UNION ALL SELECT walredo_postgres('0/16B3740', decode(:'wal_record', 'hex'), true)
UNION ALL SELECT walredo_postgres('0/16B3740', decode(:'wal_record', 'hex'), false)
UNION ALL SELECT walredo_clear_visibility_map_flags('0/16B3740', 5, 7, 3)
UNION ALL SELECT walredo_clear_visibility_map_flags('0/16B3740', 4294967294, NULL, 1)
UNION ALL SELECT walredo_clear_visibility_map_flags('0/16B3740', NULL, 0, 2)
UNION ALL SELECT walredo_truncate_visibility_map('0/16B3740', 8167, 6)
UNION ALL SELECT walredo_clog_set_committed('0/16B3740', '{731,732}')
UNION ALL SELECT walredo_clog_set_aborted('0/16B3740', '[5:6]={731,4294967295}')
UNION ALL SELECT walredo_clog_set_subcommitted('0/16B3740', '{3}')
UNION ALL SELECT walredo_multixact_offset_create('0/16B3740', '5', 77)
UNION ALL SELECT walredo_multixact_offset_create('0/16B3740', '4294967295', 4294967295)
UNION ALL SELECT walredo_multixact_members_create('0/16B3740', 77,
	ARRAY[ROW('731', 4), ROW('732', 1)]::walredo_multixact_member[])
UNION ALL SELECT walredo_multixact_members_create('0/16B3740', 0,
	'{"(3,0)","(4294967295,5)"}')
UNION ALL SELECT walredo_commit_ts_set('0/16B3740', '{731,732}', '2000-01-01 00:00:01Z')
UNION ALL SELECT walredo_commit_ts_set('0/16B3740', '{731}', '1999-12-31 23:59:59.999999Z', 65535)
UNION ALL SELECT walredo_commit_ts_set('0/16B3740', '{731}', 'infinity', 0)
UNION ALL SELECT walredo_zero_page('FFFFFFFF/FFFFFFFF')
UNION ALL SELECT walredo_replace('0/16B3740', '\x0001feff');

SELECT command, f.*
FROM (VALUES
	(1, $$SELECT walredo_zero_page('0/0')$$),
	(2, $$SELECT walredo_postgres('0/1', '')$$),
	(3, $$SELECT walredo_clear_visibility_map_flags('0/1', NULL, NULL, 3)$$),
	(4, $$SELECT walredo_clear_visibility_map_flags('0/1', -1, NULL, 3)$$),
	(5, $$SELECT walredo_clear_visibility_map_flags('0/1', 4294967295, NULL, 3)$$),
	(6, $$SELECT walredo_clear_visibility_map_flags('0/1', NULL, 4294967295, 3)$$),
	(7, $$SELECT walredo_clear_visibility_map_flags('0/1', 1, 2, 0)$$),
	(8, $$SELECT walredo_clear_visibility_map_flags('0/1', 1, 2, 4)$$),
	(9, $$SELECT walredo_clear_visibility_map_flags('0/1', 1, 2, -1)$$),
	(10, $$SELECT walredo_truncate_visibility_map('0/1', -1, 0)$$),
	(11, $$SELECT walredo_truncate_visibility_map('0/1', 8168, 0)$$),
	(12, $$SELECT walredo_truncate_visibility_map('0/1', 0, 8)$$),
	(13, $$SELECT walredo_truncate_visibility_map('0/1', 0, -1)$$),
	(14, $$SELECT walredo_clog_set_committed('0/1', '{}')$$),
	(15, $$SELECT walredo_clog_set_committed('0/1', '{731,2}')$$),
	(16, $$SELECT walredo_clog_set_aborted('0/1', '{731,NULL}')$$),
	(17, $$SELECT walredo_clog_set_subcommitted('0/1', '{{731,732},{733,734}}')$$),
	(18, $$SELECT walredo_multixact_offset_create('0/1', '0', 1)$$),
	(21, $$SELECT walredo_multixact_members_create('0/1', 1, '{}')$$),
	(22, $$SELECT walredo_multixact_members_create('0/1', 1, '{NULL}')$$),
	(23, $$SELECT walredo_multixact_members_create('0/1', 1, '{"(,1)"}')$$),
	(24, $$SELECT walredo_multixact_members_create('0/1', 1, '{"(731,)"}')$$),
	(25, $$SELECT walredo_multixact_members_create('0/1', 1, '{"(731,6)"}')$$),
	(26, $$SELECT walredo_multixact_members_create('0/1', 1, '{"(731,-1)"}')$$),
	(27, $$SELECT walredo_multixact_members_create('0/1', 1, '{"(0,1)"}')$$),
	(30, $$SELECT walredo_multixact_members_create('0/1', 1, '{{"(731,1)"},{"(732,1)"}}')$$),
	(31, $$SELECT walredo_commit_ts_set('0/1', '{}', now())$$),
	(32, $$SELECT walredo_commit_ts_set('0/1', '{1}', now())$$),
	(33, $$SELECT walredo_commit_ts_set('0/1', '{731}', now(), -1)$$),
	(34, $$SELECT walredo_commit_ts_set('0/1', '{731}', now(), 65536)$$),
	(35, $$SELECT walredo_replace('0/1', '')$$)) AS v(n, command),
	failure(command) AS f
ORDER BY n;

-- multixact offsets have 32 bits, since PostgreSQL 19 63
SELECT command, state, message, detail IN ('-1 is not between 0 and 4294967295.',
	'-1 is not between 0 and 9223372036854775807.') AS detail
FROM (VALUES
	(1, $$SELECT walredo_multixact_offset_create('0/1', '1', -1)$$),
	(2, $$SELECT walredo_multixact_members_create('0/1', -1, '{"(731,1)"}')$$)
	) AS v(n, command), failure(command) AS f
ORDER BY n;
SELECT state IS DISTINCT FROM CASE
	WHEN current_setting('server_version_num')::int < 190000 THEN '22023' END AS wrong
FROM (VALUES
	(1, $$SELECT walredo_multixact_offset_create('0/1', '1', 4294967296)$$),
	(2, $$SELECT walredo_multixact_members_create('0/1', 4294967296, '{"(731,1)"}')$$)
	) AS v(n, command), failure(command) AS f
ORDER BY n;

-- where NULL has no special meaning, the result is NULL
SELECT walredo_postgres(NULL, '\x00') IS NULL AND
	walredo_postgres('0/1', NULL) IS NULL AND
	walredo_clear_visibility_map_flags(NULL, 1, 2, 3) IS NULL AND
	walredo_clear_visibility_map_flags('0/1', 1, 2, NULL) IS NULL AND
	walredo_truncate_visibility_map('0/1', NULL, 0) IS NULL AND
	walredo_clog_set_committed('0/1', NULL) IS NULL AND
	walredo_multixact_offset_create('0/1', NULL, 1) IS NULL AND
	walredo_multixact_members_create('0/1', 1, NULL) IS NULL AND
	walredo_commit_ts_set('0/1', '{731}', NULL) IS NULL AND
	walredo_zero_page(NULL) IS NULL AND
	walredo_replace('0/1', NULL) IS NULL AS all_null;

-- a row type that was altered is noticed
BEGIN;
ALTER TYPE walredo_multixact_member ADD ATTRIBUTE more int4;
SELECT * FROM failure(
	$$SELECT walredo_multixact_members_create('0/1', 1, '{"(731,1,1)"}')$$);
ROLLBACK;

-- ===================================================================
-- Clean-up
-- ===================================================================

DROP VIEW types_view;
DROP TABLE types_table, types_temp, types_unlogged, types_parted, types_tags,
	types_records;
DROP FUNCTION file_of(walredo_tag);
DROP FUNCTION failure(text);
