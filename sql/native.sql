--
-- Native records: CLOG, multixact, commit timestamp and visibility map pages
--
-- This test checks which bytes change and what is refused; t/010_native.pl checks
-- that the result is what the server itself writes.
--
-- Seen to fail: when the LSN of a visibility map page was set, when a truncation
-- cleared all of a map page, or a block too few, when members of a multixact that
-- are on the next page were left out, and when another byte of a CLOG page was
-- changed.
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
-- The error of walredo_apply() for a tag, a base image and records as text.
CREATE FUNCTION apply_failure(tag text, base bytea, VARIADIC records text[],
	OUT state text, OUT message text, OUT detail text)
LANGUAGE sql AS $$
	SELECT * FROM failure(format(
		'SELECT walredo_apply(%L, %L, %L::text[]::walredo_record[])',
		tag, base, records))
$$;
CREATE FUNCTION apply(tag text, base bytea, VARIADIC records text[])
RETURNS bytea
LANGUAGE sql AS $$
	SELECT walredo_apply(tag::walredo_tag, base, records::walredo_record[])
$$;
-- Which bytes differ between two pages, as runs of them.
CREATE FUNCTION changes(a bytea, b bytea,
	OUT byte_offset int, OUT old text, OUT new text)
RETURNS SETOF record
LANGUAGE sql AS $$
	SELECT min(i), encode(substr(a, min(i) + 1, count(*)::int), 'hex'),
		encode(substr(b, min(i) + 1, count(*)::int), 'hex')
	FROM (SELECT i, i - row_number() OVER (ORDER BY i) AS run
		FROM generate_series(0, greatest(length(a), length(b)) - 1) AS i
		WHERE substr(a, i + 1, 1) <> substr(b, i + 1, 1)) AS d
	GROUP BY run
	ORDER BY 1
$$;
-- Pages of all zeroes and of all ones; the latter shows what is not changed.
SELECT decode(repeat('00', 8192), 'hex') AS zeroes,
	decode(repeat('ff', 8192), 'hex') AS ones \gset

-- ===================================================================
-- CLOG
-- ===================================================================

-- the first and the last transaction of a byte, of the first page, of a later
-- page, and of all
SELECT * FROM changes(:'zeroes', apply('slru pg_xact/0000 blk 0', :'zeroes',
	'0/1 clog_set_committed xids=3,4,7,32767'));
SELECT * FROM changes(:'zeroes', apply('slru pg_xact/0000 blk 1', :'zeroes',
	'0/1 clog_set_committed xids=32768,32769,65535'));
SELECT * FROM changes(:'zeroes', apply('slru pg_xact/0001 blk 0', :'zeroes',
	'0/1 clog_set_aborted xids=1048576'));
SELECT * FROM changes(:'zeroes', apply('slru pg_xact/0FFF blk 31', :'zeroes',
	'0/1 clog_set_aborted xids=4294967295'));
-- each status, next to transactions that are not changed
SELECT * FROM changes(:'zeroes', apply('slru pg_xact/0000 blk 0', :'zeroes',
	'0/1 clog_set_committed xids=101',
	'0/2 clog_set_aborted xids=102',
	'0/3 clog_set_subcommitted xids=103'));
SELECT * FROM changes(:'ones', apply('slru pg_xact/0000 blk 0', :'ones',
	'0/1 clog_set_committed xids=101',
	'0/2 clog_set_aborted xids=106'));
-- from sub-committed to committed, but never back
SELECT * FROM changes(:'zeroes', apply('slru pg_xact/0000 blk 0', :'zeroes',
	'0/1 clog_set_subcommitted xids=100,101',
	'0/2 clog_set_committed xids=100',
	'0/3 clog_set_subcommitted xids=100'));

-- transactions that belong to another page
SELECT f.*
FROM (VALUES
	('slru pg_xact/0000 blk 0', '0/1 clog_set_committed xids=3,32768'),
	('slru pg_xact/0000 blk 1', '0/1 clog_set_aborted xids=32767,32768'),
	('slru pg_xact/0000 blk 1', '0/1 clog_set_subcommitted xids=65536'),
	('slru pg_xact/0001 blk 0', '0/1 clog_set_committed xids=3')) AS v(tag, rec),
	apply_failure(tag, :'zeroes', rec) AS f;

-- ===================================================================
-- Multixact offsets
-- ===================================================================

-- an offset has 32 bits, since PostgreSQL 19 64; the lower ones come first
SELECT CASE WHEN current_setting('server_version_num')::int < 190000
	THEN 4 ELSE 8 END AS width \gset
SELECT 8192 / :width AS per_page, 'slru pg_multixact/offsets/' ||
	CASE :width WHEN 4 THEN 'FFFF' ELSE '1FFFF' END || ' blk 31' AS last_page \gset
CREATE FUNCTION offset_create(mid int8, moff int8) RETURNS text
LANGUAGE sql AS $$
	SELECT format('0/1 multixact_offset_create mid=%s moff=%s', mid, moff)
$$;
SELECT byte_offset = :width AS is_second, byte_offset = 8192 - :width AS is_last,
	old, new
FROM changes(:'zeroes', apply('slru pg_multixact/offsets/0000 blk 0', :'zeroes',
	offset_create(1, 1), offset_create(:per_page - 1, 4294967295)));
SELECT byte_offset = 0 AS is_first, byte_offset = 8192 - :width AS is_last,
	substr(old, 1, 8) AS old, substr(new, 1, 8) AS new
FROM changes(:'ones', apply('slru pg_multixact/offsets/0000 blk 1', :'ones',
	offset_create(:per_page, 305419896),
	offset_create(2 * :per_page - 1, 0)));
SELECT byte_offset = 8192 - :width AS is_last, old, new
FROM changes(:'zeroes', apply(:'last_page', :'zeroes',
	offset_create(4294967295, 1)));

SELECT f.*
FROM (VALUES
	('slru pg_multixact/offsets/0000 blk 0', '0/1 multixact_offset_create mid=2048 moff=1'),
	('slru pg_multixact/offsets/0000 blk 1', '0/1 multixact_offset_create mid=1023 moff=1'),
	('slru pg_multixact/offsets/0000 blk 1', '0/1 multixact_offset_create mid=4096 moff=1')) AS v(tag, rec),
	apply_failure(tag, :'zeroes', rec) AS f;

-- ===================================================================
-- Multixact members
-- ===================================================================

-- groups of four; a record can begin and end within one
SELECT * FROM changes(:'zeroes', apply('slru pg_multixact/members/0000 blk 0', :'zeroes',
	'0/1 multixact_members_create moff=2 members=257:1,258:2,259:3,260:4,261:5'));
SELECT * FROM changes(:'ones', apply('slru pg_multixact/members/0000 blk 0', :'ones',
	'0/1 multixact_members_create moff=1 members=257:0'));
-- the first and the last member of a page; the twelve bytes after the last do
-- not change
SELECT * FROM changes(:'zeroes', apply('slru pg_multixact/members/0000 blk 1', :'zeroes',
	'0/1 multixact_members_create moff=1636 members=257:1',
	'0/2 multixact_members_create moff=3271 members=258:2'));
SELECT substr(p, 1, 8180) =
	decode(repeat('05050505' || repeat('01010000', 4), 409), 'hex') AS members,
	substr(p, 8181) AS rest
FROM apply('slru pg_multixact/members/0000 blk 0', :'ones',
	'0/1 multixact_members_create moff=0 members=' ||
		substr(repeat(',257:5', 1636), 2)) AS p;
-- the last member that there can be
SELECT * FROM changes(:'zeroes', apply('slru pg_multixact/members/14078 blk 5', :'zeroes',
	'0/1 multixact_members_create moff=4294967295 members=257:1'));

SELECT f.*
FROM (VALUES
	('slru pg_multixact/members/0000 blk 0', '0/1 multixact_members_create moff=1636 members=3:0'),
	('slru pg_multixact/members/0000 blk 0', '0/1 multixact_members_create moff=1635 members=3:0,4:0'),
	('slru pg_multixact/members/0000 blk 1', '0/1 multixact_members_create moff=1635 members=3:0,4:0')) AS v(tag, rec),
	apply_failure(tag, :'zeroes', rec) AS f;
-- with 32 bits the next one is member 0, which is on page 0; otherwise there is
-- another
SELECT state IS DISTINCT FROM CASE :width WHEN 4 THEN '22023' END AS wrong
FROM apply_failure('slru pg_multixact/members/14078 blk 5', :'zeroes',
	'0/1 multixact_members_create moff=4294967295 members=3:0,4:0');

-- ===================================================================
-- Commit timestamps
-- ===================================================================

SELECT * FROM changes(:'zeroes', apply('slru pg_commit_ts/0000 blk 0', :'zeroes',
	'0/1 commit_ts_set timestamp=72623859790382856 origin=258 xids=3,818'));
SELECT * FROM changes(:'ones', apply('slru pg_commit_ts/0000 blk 1', :'ones',
	'0/1 commit_ts_set timestamp=72623859790382856 origin=258 xids=819,1637'));
SELECT * FROM changes(:'zeroes', apply('slru pg_commit_ts/28028 blk 0', :'zeroes',
	'0/1 commit_ts_set timestamp=-2 origin=65535 xids=4294967295'));

SELECT f.*
FROM (VALUES
	('slru pg_commit_ts/0000 blk 0', '0/1 commit_ts_set timestamp=1 origin=0 xids=818,819'),
	('slru pg_commit_ts/0000 blk 1', '0/1 commit_ts_set timestamp=1 origin=0 xids=818'),
	('slru pg_commit_ts/0000 blk 1', '0/1 commit_ts_set timestamp=1 origin=0 xids=1638')) AS v(tag, rec),
	apply_failure(tag, :'zeroes', rec) AS f;

-- ===================================================================
-- Visibility map
-- ===================================================================

-- A page of all ones has no valid header, but nothing depends on it.
SELECT * FROM changes(:'ones', apply('rel 1663/5/16384 fork vm blk 0', :'ones',
	'0/1 clear_visibility_map_flags new_heap_blkno=0 flags=1'));
SELECT * FROM changes(:'ones', apply('rel 1663/5/16384 fork vm blk 0', :'ones',
	'0/1 clear_visibility_map_flags old_heap_blkno=3 flags=2'));
SELECT * FROM changes(:'ones', apply('rel 1663/5/16384 fork vm blk 0', :'ones',
	'0/1 clear_visibility_map_flags new_heap_blkno=5 old_heap_blkno=32671 flags=3'));
SELECT * FROM changes(:'ones', apply('rel 1663/5/16384 fork vm blk 0', :'ones',
	'0/1 clear_visibility_map_flags new_heap_blkno=5 old_heap_blkno=5 flags=3'));
-- two blocks on two pages of the map: each page has the bits of one
SELECT * FROM changes(:'ones', apply('rel 1663/5/16384 fork vm blk 0', :'ones',
	'0/1 clear_visibility_map_flags new_heap_blkno=32672 old_heap_blkno=32671 flags=3'));
SELECT * FROM changes(:'ones', apply('rel 1663/5/16384 fork vm blk 1', :'ones',
	'0/1 clear_visibility_map_flags new_heap_blkno=32672 old_heap_blkno=32671 flags=3'));
SELECT * FROM changes(:'ones', apply('rel 1663/5/16384 fork vm blk 131457', :'ones',
	'0/1 clear_visibility_map_flags new_heap_blkno=4294967294 flags=3'));

-- A new page gets a header, and its LSN stays zero.
SELECT lsn = '0/0' AS no_lsn, checksum, flags, lower, upper, special, pagesize, version, prune_xid
FROM page_header(apply('rel 1663/5/16384 fork vm blk 0', :'zeroes',
	'0/1 clear_visibility_map_flags new_heap_blkno=0 flags=1'));
SELECT lsn = '0/0' AS no_lsn, checksum, flags, lower, upper, special, pagesize, version, prune_xid
FROM page_header(apply('rel 1663/5/16384 fork vm blk 0', :'zeroes',
	'0/1 truncate_visibility_map trunc_byte=0 trunc_offs=0'));

-- truncation: within a byte, at its start, at both ends of the page
SELECT byte_offset, length(new) / 2 AS length, left(new, 4) AS first, right(new, 4) AS last
FROM (VALUES
	(1, '0/1 truncate_visibility_map trunc_byte=12 trunc_offs=0'),
	(2, '0/1 truncate_visibility_map trunc_byte=12 trunc_offs=2'),
	(3, '0/1 truncate_visibility_map trunc_byte=12 trunc_offs=4'),
	(4, '0/1 truncate_visibility_map trunc_byte=12 trunc_offs=6'),
	(5, '0/1 truncate_visibility_map trunc_byte=0 trunc_offs=0'),
	(6, '0/1 truncate_visibility_map trunc_byte=0 trunc_offs=2'),
	(7, '0/1 truncate_visibility_map trunc_byte=8167 trunc_offs=0'),
	(8, '0/1 truncate_visibility_map trunc_byte=8167 trunc_offs=6')) AS v(n, rec),
	changes(:'ones', apply('rel 1663/5/16384 fork vm blk 0', :'ones', rec))
ORDER BY n;

SELECT f.*
FROM (VALUES
	('rel 1663/5/16384 fork vm blk 1', '0/1 clear_visibility_map_flags new_heap_blkno=5 old_heap_blkno=7 flags=3'),
	('rel 1663/5/16384 fork vm blk 1', '0/1 clear_visibility_map_flags old_heap_blkno=32671 flags=3'),
	('rel 1663/5/16384 fork vm blk 0', '0/1 clear_visibility_map_flags new_heap_blkno=32672 flags=3')) AS v(tag, rec),
	apply_failure(tag, :'ones', rec) AS f;

-- ===================================================================
-- Whole pages and objects
-- ===================================================================

SELECT tag, apply(tag, NULL, '0/1 zero_page') = :'zeroes' AS without_base,
	apply(tag, :'ones', '0/1 zero_page') = :'zeroes' AS with_base
FROM (VALUES ('slru pg_xact/0000 blk 3'), ('slru pg_multixact/offsets/0000 blk 3'),
	('slru pg_multixact/members/0000 blk 3'), ('slru pg_commit_ts/0000 blk 3')) AS v(tag);
-- later records change the page of zeroes, and earlier ones have no effect
SELECT * FROM changes(:'zeroes', apply('slru pg_xact/0000 blk 0', NULL,
	'0/1 zero_page', '0/2 clog_set_committed xids=4'));
SELECT * FROM changes(:'zeroes', apply('slru pg_xact/0000 blk 0', :'ones',
	'0/1 clog_set_aborted xids=5', '0/2 zero_page', '0/3 clog_set_committed xids=4'));

-- an object has the length of its contents
SELECT apply('relmap 1663/5', NULL, '0/1 replace contents=\x0001feff'),
	apply('twophase 731', '\x99', '0/1 replace contents=\x0001feff', '0/2 replace contents=\x00');

-- ===================================================================
-- Validation
-- ===================================================================

-- which kinds of records belong to which kinds of pages
SELECT split_part(rec, ' ', 2) AS kind,
	array_agg(tag ORDER BY t) FILTER (WHERE message = 'no error') AS belongs_to,
	array_agg(DISTINCT state) FILTER (WHERE message <> 'no error') AS states
FROM (VALUES
	(1, 'rel 1663/5/16384 blk 0'),
	(2, 'rel 1663/5/16384 fork fsm blk 0'),
	(3, 'rel 1663/5/16384 fork vm blk 0'),
	(4, 'rel 1663/5/16384 fork init blk 0'),
	(5, 'slru pg_xact/0000 blk 0'),
	(6, 'slru pg_multixact/offsets/0000 blk 0'),
	(7, 'slru pg_multixact/members/0000 blk 0'),
	(8, 'slru pg_commit_ts/0000 blk 0'),
	(9, 'relmap 1663/5'),
	(10, 'twophase 731')) AS v(t, tag),
	(VALUES
	(1, '0/1 clear_visibility_map_flags new_heap_blkno=5 flags=3'),
	(2, '0/1 truncate_visibility_map trunc_byte=12 trunc_offs=4'),
	(3, '0/1 clog_set_committed xids=731'),
	(4, '0/1 clog_set_aborted xids=731'),
	(5, '0/1 clog_set_subcommitted xids=731'),
	(6, '0/1 multixact_offset_create mid=5 moff=77'),
	(7, '0/1 multixact_members_create moff=77 members=731:4'),
	(8, '0/1 commit_ts_set timestamp=1 origin=0 xids=731'),
	(9, '0/1 zero_page'),
	(10, '0/1 replace contents=\x00')) AS r(k, rec),
	apply_failure(tag, :'zeroes', rec)
GROUP BY k, rec ORDER BY k;
SELECT * FROM apply_failure('slru pg_xact/0000 blk 0', :'zeroes',
	'0/1 replace contents=\x00');

-- no base image, or one that is no page
SELECT state, count(*)
FROM (VALUES (NULL), (''::bytea), ('\x00'), (substr(:'zeroes'::bytea, 2)),
	(:'zeroes'::bytea || '\x00')) AS b(base),
	(VALUES
	('rel 1663/5/16384 fork vm blk 0', '0/1 clear_visibility_map_flags new_heap_blkno=5 flags=3'),
	('rel 1663/5/16384 fork vm blk 0', '0/1 truncate_visibility_map trunc_byte=12 trunc_offs=2'),
	('slru pg_xact/0000 blk 0', '0/1 clog_set_committed xids=731'),
	('slru pg_xact/0000 blk 0', '0/1 clog_set_aborted xids=731'),
	('slru pg_xact/0000 blk 0', '0/1 clog_set_subcommitted xids=731'),
	('slru pg_multixact/offsets/0000 blk 0', '0/1 multixact_offset_create mid=5 moff=77'),
	('slru pg_multixact/members/0000 blk 0', '0/1 multixact_members_create moff=77 members=731:4'),
	('slru pg_commit_ts/0000 blk 0', '0/1 commit_ts_set timestamp=1 origin=0 xids=731')) AS r(tag, rec),
	apply_failure(tag, base, rec)
GROUP BY state;
SELECT state FROM apply_failure('slru pg_xact/0000 blk 0', NULL,
	'0/1 clog_set_committed xids=731', '0/2 zero_page');
SELECT state FROM apply_failure('slru pg_xact/0000 blk 0',
	:'zeroes'::bytea || '\x00', '0/2 zero_page');

-- the caller's base image is not changed
CREATE TABLE native_base (base bytea);
INSERT INTO native_base VALUES (:'zeroes');
SELECT apply('slru pg_xact/0000 blk 0', base, '0/1 clog_set_committed xids=731') <> base AS applied
FROM native_base;
SELECT base = :'zeroes' AS unchanged FROM native_base;
DO $$
DECLARE
	base bytea := decode(repeat('00', 8192), 'hex');
	page bytea;
BEGIN
	page := walredo_apply('slru pg_xact/0000 blk 0', base, ARRAY['0/1 clog_set_committed xids=731']::walredo_record[]);
	RAISE NOTICE 'applied: %, unchanged: %', page <> base, base = decode(repeat('00', 8192), 'hex');
END
$$;

-- ===================================================================
-- Clean-up
-- ===================================================================

DROP TABLE native_base;
DROP FUNCTION offset_create(int8, int8);
DROP FUNCTION apply_failure(text, bytea, VARIADIC text[]);
DROP FUNCTION apply(text, bytea, VARIADIC text[]);
DROP FUNCTION failure(text);
DROP FUNCTION changes(bytea, bytea);
