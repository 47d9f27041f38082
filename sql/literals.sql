-- Calls of functions that have several forms, with arguments of all sorts: each
-- resolves to one of them, with a directory of WAL and without.
CREATE TABLE regress_literals AS SELECT i FROM generate_series(1, 500) i;
SELECT walredo_tag('regress_literals', 1) AS tag,
	'regress_literals'::regclass::oid AS relid,
	pg_current_wal_insert_lsn() AS lsn \gset
SELECT walredo_page_at(:'tag'::walredo_tag, :'lsn'::pg_lsn) AS page \gset
SELECT length(:'page'::bytea);

-- ===================================================================
-- walredo_page_at()
-- ===================================================================

-- a tag
SELECT bool_and(page = :'page') AS same, count(*) FROM (VALUES
	(walredo_page_at(:'tag', :'lsn')),
	(walredo_page_at(:'tag', :'lsn', NULL)),
	(walredo_page_at(:'tag', :'lsn', NULL, NULL)),
	(walredo_page_at(:'tag', :'lsn', NULL, 'pg_wal')),
	(walredo_page_at(:'tag', :'lsn', :'page')),
	(walredo_page_at(:'tag', :'lsn', :'page', NULL)),
	(walredo_page_at(:'tag', :'lsn', :'page', 'pg_wal')),
	(walredo_page_at(:'tag', :'lsn', NULL, 'pg_wal'::text)),
	(walredo_page_at(:'tag', :'lsn', NULL::bytea, 'pg_wal')),
	(walredo_page_at(:'tag', :'lsn'::pg_lsn)),
	(walredo_page_at(:'tag', :'lsn'::pg_lsn, NULL, 'pg_wal')),
	(walredo_page_at(:'tag'::walredo_tag, :'lsn')),
	(walredo_page_at(:'tag'::walredo_tag, :'lsn', NULL, 'pg_wal')),
	(walredo_page_at(:'tag', :'lsn', wal_directory => 'pg_wal'))) c (page);

-- a relation
SELECT bool_and(page = :'page') AS same, count(*) FROM (VALUES
	(walredo_page_at('regress_literals', 1, :'lsn')),
	(walredo_page_at('regress_literals', '1', :'lsn')),
	(walredo_page_at('regress_literals', ' 1', :'lsn')),
	(walredo_page_at('regress_literals', 1, :'lsn'::pg_lsn)),
	(walredo_page_at('regress_literals', '1', :'lsn'::pg_lsn)),
	(walredo_page_at('regress_literals'::text, '1', :'lsn')),
	(walredo_page_at('regress_literals'::text, 1, :'lsn')),
	(walredo_page_at('regress_literals'::regclass, '1', :'lsn')),
	(walredo_page_at('regress_literals'::regclass, 1, :'lsn')),
	(walredo_page_at(:relid::oid, '1', :'lsn')),
	(walredo_page_at(:relid, '1', :'lsn'))) c (page);
-- with a directory
SELECT bool_and(page = :'page') AS same, count(*) FROM (VALUES
	(walredo_page_at('regress_literals', 1, :'lsn', NULL)),
	(walredo_page_at('regress_literals', '1', :'lsn', NULL)),
	(walredo_page_at('regress_literals', ' 1', :'lsn', NULL)),
	(walredo_page_at('regress_literals', '+1', :'lsn', NULL)),
	(walredo_page_at('regress_literals', '1', :'lsn', NULL::text)),
	(walredo_page_at('regress_literals', 1, :'lsn'::pg_lsn, NULL)),
	(walredo_page_at('regress_literals', '1', :'lsn'::pg_lsn, NULL)),
	(walredo_page_at('regress_literals'::text, '1', :'lsn', NULL)),
	(walredo_page_at('regress_literals'::regclass, '1', :'lsn', NULL)),
	(walredo_page_at('regress_literals'::regclass, '1', :'lsn', NULL::text)),
	(walredo_page_at('regress_literals'::regclass, 1, :'lsn', NULL)),
	(walredo_page_at('regress_literals', 1, :'lsn', wal_directory => NULL)),
	(walredo_page_at(:relid::oid, '1', :'lsn', NULL)),
	(walredo_page_at(:relid, '1', :'lsn', NULL))) c (page);

-- a relation and a fork
SELECT bool_and(page = :'page') AS same, count(*) FROM (VALUES
	(walredo_page_at('regress_literals', 'main', 1, :'lsn')),
	(walredo_page_at('regress_literals', 'main', '1', :'lsn')),
	(walredo_page_at('regress_literals', 'main', 1, :'lsn'::pg_lsn)),
	(walredo_page_at('regress_literals', 'main', '1', :'lsn'::pg_lsn)),
	(walredo_page_at('regress_literals', 'main'::text, '1', :'lsn')),
	(walredo_page_at('regress_literals'::text, 'main', '1', :'lsn')),
	(walredo_page_at('regress_literals'::regclass, 'main', '1', :'lsn')),
	(walredo_page_at('regress_literals'::regclass, 'main'::text, '1', :'lsn')),
	(walredo_page_at('regress_literals'::regclass, 'main', 1, :'lsn')),
	(walredo_page_at(:relid::oid, 'main', '1', :'lsn')),
	(walredo_page_at(:relid, 'main', '1', :'lsn'))) c (page);
-- with a directory
SELECT bool_and(page = :'page') AS same, count(*) FROM (VALUES
	(walredo_page_at('regress_literals', 'main', 1, :'lsn', NULL)),
	(walredo_page_at('regress_literals', 'main', '1', :'lsn', NULL)),
	(walredo_page_at('regress_literals', 'main', '1', :'lsn', NULL::text)),
	(walredo_page_at('regress_literals', 'main', 1, :'lsn'::pg_lsn, NULL)),
	(walredo_page_at('regress_literals', 'main'::text, '1', :'lsn', NULL)),
	(walredo_page_at('regress_literals'::text, 'main', '1', :'lsn', NULL)),
	(walredo_page_at('regress_literals'::regclass, 'main', '1', :'lsn', NULL)),
	(walredo_page_at('regress_literals'::regclass, 'main', 1, :'lsn', NULL)),
	(walredo_page_at(:relid::oid, 'main', '1', :'lsn', NULL)),
	(walredo_page_at(:relid, 'main', '1', :'lsn', NULL)),
	(walredo_page_at('regress_literals', 'main', 1, :'lsn',
		wal_directory => NULL))) c (page);

-- parameters without types
PREPARE page_at AS SELECT walredo_page_at($1, $2, $3, $4) = :'page' AS same;
EXECUTE page_at('regress_literals', 'main', '1', :'lsn');
EXECUTE page_at('regress_literals', '1', :'lsn', NULL);
EXECUTE page_at(:'tag', :'lsn', NULL, NULL);
DEALLOCATE page_at;

-- a null gives a null, whatever is null but a directory and a base image
SELECT walredo_page_at(NULL, 1, :'lsn') IS NULL
		AND walredo_page_at(NULL, '1', :'lsn') IS NULL
		AND walredo_page_at('regress_literals', NULL, :'lsn', NULL) IS NULL
		AND walredo_page_at('regress_literals', '1', NULL, NULL) IS NULL
		AND walredo_page_at('regress_literals', NULL::int8, :'lsn') IS NULL
		AND walredo_page_at('regress_literals', 1, NULL::pg_lsn) IS NULL
		AND walredo_page_at('regress_literals', 'main', NULL, :'lsn') IS NULL
		AND walredo_page_at('regress_literals', 'main', 1, NULL) IS NULL
		AND walredo_page_at('regress_literals', NULL, 1, :'lsn') IS NULL
		AND walredo_page_at(NULL::regclass, 'main', '1', :'lsn') IS NULL
		AND walredo_page_at('regress_literals'::regclass, NULL, '1', :'lsn')
			IS NULL
		AND walredo_page_at('regress_literals', 'main', '1', NULL, NULL) IS NULL
	AS null_for_null;

-- what makes no sense is an error
SELECT walredo_page_at('regress_literals', 'heap', '1', :'lsn');
SELECT walredo_page_at('regress_literals', '1x', :'lsn', NULL);
SELECT walredo_page_at('regress_literals', 'main', :'lsn');
SELECT walredo_page_at('regress_absent', 'main', '1', :'lsn');

-- ===================================================================
-- walredo_pages_at()
-- ===================================================================

SELECT bool_and((pages).page = :'page') AS same, count(*) FROM (
	SELECT walredo_pages_at(:'tag', :'lsn') UNION ALL
	SELECT walredo_pages_at(:'tag', :'lsn', NULL) UNION ALL
	SELECT walredo_pages_at(:'tag', :'lsn', 'pg_wal') UNION ALL
	SELECT walredo_pages_at(:'tag', :'lsn', 'pg_wal'::text) UNION ALL
	SELECT walredo_pages_at(:'tag', :'lsn'::pg_lsn) UNION ALL
	SELECT walredo_pages_at(:'tag', :'lsn'::pg_lsn, 'pg_wal') UNION ALL
	SELECT walredo_pages_at(:'tag'::walredo_tag, :'lsn') UNION ALL
	SELECT walredo_pages_at(:'tag'::walredo_tag, :'lsn', 'pg_wal') UNION ALL
	SELECT walredo_pages_at(:'tag', :'lsn', wal_directory => 'pg_wal')
) c (pages) WHERE (pages).blkno = 1;
SELECT bool_and((pages).page = :'page') AS same, count(*) FROM (
	SELECT walredo_pages_at('regress_literals', 'main', :'lsn') UNION ALL
	SELECT walredo_pages_at('regress_literals', 'main', :'lsn', NULL) UNION ALL
	SELECT walredo_pages_at('regress_literals', 'main', :'lsn', NULL::text)
	UNION ALL
	SELECT walredo_pages_at('regress_literals', 'main', :'lsn'::pg_lsn)
	UNION ALL
	SELECT walredo_pages_at('regress_literals', 'main', :'lsn'::pg_lsn, NULL)
	UNION ALL
	SELECT walredo_pages_at('regress_literals', 'main'::text, :'lsn') UNION ALL
	SELECT walredo_pages_at('regress_literals'::text, 'main', :'lsn') UNION ALL
	SELECT walredo_pages_at('regress_literals'::text, 'main'::text, :'lsn')
	UNION ALL
	SELECT walredo_pages_at('regress_literals'::regclass, 'main', :'lsn')
	UNION ALL
	SELECT walredo_pages_at(:relid::oid, 'main', :'lsn') UNION ALL
	SELECT walredo_pages_at(:relid, 'main', :'lsn') UNION ALL
	SELECT walredo_pages_at('regress_literals', 'main', :'lsn',
		wal_directory => NULL)
) c (pages) WHERE (pages).blkno = 1;
SELECT count(*) FROM walredo_pages_at(NULL, 'main', :'lsn');
SELECT count(*) FROM walredo_pages_at('regress_literals', NULL, :'lsn');
SELECT count(*) FROM walredo_pages_at('regress_literals', 'main', NULL);
SELECT count(*) FROM walredo_pages_at(NULL, :'lsn');
SELECT count(*) FROM walredo_pages_at(:'tag', NULL);

-- files of relations only
SELECT count(*) FROM walredo_pages_at('slru pg_xact/0000 blk 0', :'lsn');
SELECT count(*) FROM walredo_pages_at('rel 1663/5/16384 fork fsm blk 0', :'lsn');

-- ===================================================================
-- walredo_pages_at_all()
-- ===================================================================

SELECT bool_and(page = :'page' AND tag = :'tag') AS same, count(*),
	count(relation)
FROM (
	SELECT * FROM walredo_pages_at_all('{regress_literals}', :'lsn') UNION ALL
	SELECT * FROM walredo_pages_at_all('{regress_literals}', :'lsn', NULL)
	UNION ALL
	SELECT * FROM walredo_pages_at_all('{ public . regress_literals }', :'lsn',
		'pg_wal', 0, 1) UNION ALL
	SELECT * FROM walredo_pages_at_all('{regress_literals}'::regclass[], :'lsn')
	UNION ALL
	SELECT * FROM walredo_pages_at_all(ARRAY['regress_literals'], :'lsn')
	UNION ALL
	SELECT * FROM walredo_pages_at_all(ARRAY[:relid]::oid[], :'lsn') UNION ALL
	SELECT * FROM walredo_pages_at_all(relations => '{regress_literals}',
		lsn => :'lsn') UNION ALL
	SELECT * FROM walredo_pages_at_all(ARRAY[:'tag'::walredo_tag], :'lsn')
	UNION ALL
	SELECT * FROM walredo_pages_at_all(ARRAY[:'tag'::walredo_tag]::text, :'lsn')
	UNION ALL
	SELECT * FROM walredo_pages_at_all(tags => ARRAY[:'tag'::walredo_tag],
		lsn => :'lsn', slices => 1, slice => 0) UNION ALL
	SELECT * FROM walredo_pages_at_all(NULL, :'lsn') UNION ALL
	SELECT * FROM walredo_pages_at_all(NULL::walredo_tag[], :'lsn')
) c WHERE blkno = 1 AND tag = :'tag';
PREPARE regress_pages AS
	SELECT count(*) FROM walredo_pages_at_all($1, $2, $3, $4, $5)
	WHERE tag = :'tag';
EXECUTE regress_pages('{regress_literals}', :'lsn', NULL, NULL, NULL);
DEALLOCATE regress_pages;
SELECT count(*) FROM walredo_pages_at_all(NULL::regclass[], :'lsn');
SELECT count(*) FROM walredo_pages_at_all('{}', :'lsn');
SELECT count(*) FROM walredo_pages_at_all('{}'::walredo_tag[], :'lsn');
SELECT count(*) FROM walredo_pages_at_all(NULL, NULL);

-- one page is in one of the slices
SELECT count(*) FROM generate_series(0, 4) AS slice,
	walredo_pages_at_all('{regress_literals}', :'lsn', NULL, slice, 5)
WHERE tag = :'tag';

-- what makes no sense is an error
SELECT count(*) FROM walredo_pages_at_all('{regress_absent}', :'lsn');
SELECT count(*) FROM walredo_pages_at_all('{rel , t}', :'lsn');
SELECT count(*) FROM walredo_pages_at_all('{rel 1/2}', :'lsn');
SELECT count(*) FROM walredo_pages_at_all('regress_literals', :'lsn');
SELECT count(*) FROM walredo_pages_at_all('{regress_literals,NULL}', :'lsn');
SELECT count(*) FROM walredo_pages_at_all('{NULL}'::walredo_tag[], :'lsn');
SELECT count(*) FROM walredo_pages_at_all('{slru pg_xact/0000 blk 0}', :'lsn');
SELECT count(*)
FROM walredo_pages_at_all('{rel 1663/5/16384 fork fsm blk 0}', :'lsn');
SELECT count(*) FROM walredo_pages_at_all('{regress_literals}', :'lsn', NULL, 0);
SELECT count(*)
FROM walredo_pages_at_all('{regress_literals}', :'lsn', slices => 2);
SELECT count(*)
FROM walredo_pages_at_all('{regress_literals}', :'lsn', NULL, 0, 0);
SELECT count(*)
FROM walredo_pages_at_all('{regress_literals}', :'lsn', NULL, 2, 2);
SELECT count(*)
FROM walredo_pages_at_all(NULL, :'lsn', NULL, -1, 2);

-- ===================================================================
-- walredo_verify()
-- ===================================================================

SELECT status, count(*) FROM (
	SELECT walredo_verify('regress_literals') UNION ALL
	SELECT walredo_verify('regress_literals', 'main') UNION ALL
	SELECT walredo_verify('regress_literals', 'main', NULL) UNION ALL
	SELECT walredo_verify('regress_literals', wal_directory => NULL)
) c (result), LATERAL (SELECT (result).*) r WHERE blkno = 1 GROUP BY 1;
SELECT count(*) FROM walredo_verify(NULL);
SELECT count(*) FROM walredo_verify('regress_literals', NULL);
SELECT count(*) FROM walredo_verify('regress_literals', NULL, NULL);
SELECT blkno, status, count(*) FROM (
	SELECT walredo_verify('regress_literals', 'main', 0) UNION ALL
	SELECT walredo_verify('regress_literals', 'main', 0, NULL) UNION ALL
	SELECT walredo_verify('regress_literals', 'main', '0', NULL) UNION ALL
	SELECT walredo_verify('regress_literals', 'main', 0::int2, '$pg_wal') UNION ALL
	SELECT walredo_verify('regress_literals', 'main', blkno => 0) UNION ALL
	SELECT walredo_verify('regress_literals', 'main')
) c (result), LATERAL (SELECT (result).*) r WHERE blkno = 0 GROUP BY 1, 2;
SELECT walredo_verify('regress_literals', 'main', '0');
SELECT count(*) FROM walredo_verify('regress_literals', 'main', NULL::int8);
SELECT status, count(*) FROM (
	SELECT walredo_verify_all('{regress_literals}') UNION ALL
	SELECT walredo_verify_all('{regress_literals}', NULL)
) c (result), LATERAL (SELECT (result).*) r
WHERE blkno = 1 AND fork = 'main' GROUP BY 1;

-- ===================================================================
-- Clean-up
-- ===================================================================

DROP TABLE regress_literals;
