--
-- Privileges: PUBLIC has none
--
CREATE ROLE regress_walredo_user;
CREATE ROLE regress_walredo_monitor IN ROLE pg_monitor;
CREATE ROLE regress_walredo_reader IN ROLE pg_read_server_files;

-- functions of the extension that PUBLIC may execute
SELECT p.oid::regprocedure
FROM pg_depend AS d
	JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid,
	aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'walredo')
	AND a.grantee = 0
ORDER BY 1::text;

-- relations of the extension that PUBLIC may use in any way
SELECT c.oid::regclass
FROM pg_depend AS d
	JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid,
	aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS a
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'walredo')
	AND a.grantee = 0
ORDER BY 1::text;

-- the queries above see the extension's members
SELECT count(*) > 20 AS members
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'walredo')
	AND classid = 'pg_proc'::regclass;

-- no function runs with the rights of its owner
SELECT p.oid::regprocedure
FROM pg_depend AS d
	JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'walredo')
	AND p.prosecdef
ORDER BY 1::text;

-- A page that is made of one native record.  The record and the tag are values of
-- a table, since they cannot be read from text without executing a function.
-- a commit flushes WAL
SET synchronous_commit = on;
CREATE TABLE request AS
	SELECT 'slru pg_xact/0000 blk 0'::walredo_tag AS tag,
		ARRAY[walredo_zero_page('0/100')] AS records,
		pg_current_wal_lsn() AS lsn;
GRANT SELECT ON request TO PUBLIC;

--
-- A role without privileges
--
SET ROLE regress_walredo_user;
SELECT length(walredo_apply(tag, NULL, records)) FROM request;
SELECT length(walredo_page_mask('Heap', ''::bytea, 0));
SELECT walredo_ping() > 0;
SELECT count(*) FROM request, walredo_wal_records(lsn, lsn);
SELECT walredo_zero_page('0/100') IS NULL;
SELECT walredo_postgres('0/100', '') IS NULL;
SELECT walredo_clog_set_committed('0/100', '{3}') IS NULL;
SELECT walredo_tag('pg_class', 'main', 0) IS NULL;

--
-- A grant is all that is needed
--
RESET ROLE;
GRANT EXECUTE ON FUNCTION walredo_apply, walredo_ping, walredo_zero_page
	TO regress_walredo_user;
SET ROLE regress_walredo_user;
SELECT length(walredo_apply(tag, NULL, records)) FROM request;
SELECT walredo_zero_page('0/100') IS NOT NULL;
SELECT walredo_ping() > 0;
SELECT length(walredo_page_mask('Heap', ''::bytea, 0));
RESET ROLE;
REVOKE EXECUTE ON FUNCTION walredo_apply, walredo_ping, walredo_zero_page
	FROM regress_walredo_user;
SET ROLE regress_walredo_user;
SELECT walredo_ping() > 0;
SELECT length(walredo_apply(tag, NULL, records)) FROM request;
RESET ROLE;

-- but reading WAL takes more than the right to execute the function
GRANT EXECUTE ON FUNCTION walredo_wal_records TO regress_walredo_user;
SET ROLE regress_walredo_user;
SELECT count(*) FROM request, walredo_wal_records(lsn, lsn);
RESET ROLE;

--
-- pg_monitor: may see statistics, but not replay
--
SET ROLE regress_walredo_monitor;
SELECT walredo_ping() > 0;
SELECT length(walredo_apply(tag, NULL, records)) FROM request;
SELECT count(*) FROM request, walredo_wal_records(lsn, lsn);
RESET ROLE;

--
-- pg_read_server_files: may read WAL
--
SET ROLE regress_walredo_reader;
SELECT count(*) > 0
FROM request, walredo_wal_records(lsn, pg_current_wal_flush_lsn());
SELECT walredo_ping() > 0;
SELECT walredo_stat_reset();
SELECT walredo_replay_request('absent');
SELECT length(walredo_apply(tag, NULL, records)) FROM request;

-- and may call all functions that use it: a page is made out of records, masked,
-- and compared
RESET ROLE;
SELECT pg_current_wal_insert_lsn() AS lsn \gset
CREATE TABLE regress_privileges (id int);
INSERT INTO regress_privileges VALUES (1), (2);
SELECT pg_current_wal_flush_lsn() AS end_lsn \gset
SET ROLE regress_walredo_reader;
SELECT count(*) FROM regress_privileges;
SELECT count(*)
FROM walredo_row_versions('regress_privileges', :'lsn', :'end_lsn');
SELECT walredo_apply(walredo_tag('regress_privileges', 'main', 0), NULL,
	array_agg(record ORDER BY end_lsn)) AS page
FROM walredo_page_records(walredo_tag('regress_privileges', 0), :'lsn',
	:'end_lsn') \gset
SELECT length(:'page'::bytea);
SELECT walredo_page_at('regress_privileges', 0, :'end_lsn') = :'page' AS same,
	walredo_page_at('regress_privileges', 'main', 0, :'end_lsn') = :'page' AS same,
	walredo_page_at('regress_privileges', 'main', '0', :'end_lsn') = :'page' AS same,
	walredo_page_at(walredo_tag('regress_privileges', 0), :'end_lsn') = :'page' AS same;
SELECT byte_offset, a, b
FROM walredo_page_diff(walredo_page_mask('Heap', :'page', 0),
	set_byte(walredo_page_mask('Heap', :'page', 0), 8000, 255));
SELECT count(*) > 0 AS decoded, count(DISTINCT d.tag) > 0 AS compared,
	bool_and(d.tag::text::walredo_tag = d.tag) AS tags,
	bool_and(d.record::text::walredo_record::text = d.record::text) AS records
FROM walredo_wal_records(:'lsn', :'end_lsn') r,
	walredo_decode(r.end_lsn, r.rec) d;
SELECT count(i.image) >= 0 AS images
FROM walredo_wal_records(:'lsn', :'end_lsn') r,
	walredo_record_images(r.end_lsn, r.rec) i;
SELECT count(*) >= 0 AS files FROM walredo_files(:'lsn', :'end_lsn');
SELECT count(*) > 0 AS stats FROM walredo_wal_stats(:'lsn', :'end_lsn');
SELECT count(*) FROM walredo_verify_images(:'lsn', :'end_lsn');
SELECT indexed <= segments AS indexed FROM walredo_index_wal();
SELECT walredo_lsn_at(now()) > '0/0' AS lsn_at;
SELECT count(*) FROM walredo_pages_at('regress_privileges', 'main', :'end_lsn');
SELECT count(*) FROM walredo_pages_at(walredo_tag('regress_privileges', 0), :'end_lsn');
SELECT count(*) FROM walredo_verify('regress_privileges');
SELECT count(*) FROM walredo_verify('regress_privileges', 'main', 0);
SELECT count(*) > 0 AS verified FROM walredo_verify_slru('pg_xact');
SELECT get_byte(walredo_apply('slru pg_xact/0000 blk 0', NULL,
	ARRAY[walredo_zero_page('0/1000'),
		walredo_clog_set_committed('0/2000', '{700,701}')]), 175);

-- functions that it may not call are for superusers or pg_monitor
SELECT p.oid::regprocedure
FROM pg_depend AS d
	JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'walredo')
	AND NOT has_function_privilege(p.oid, 'EXECUTE')
ORDER BY p.oid::regprocedure::text COLLATE "C";
RESET ROLE;
DROP TABLE regress_privileges;

--
-- Settings
--
SET ROLE regress_walredo_user;
SET walredo.enabled = off;
SET walredo.pool_size = 1;
SET walredo.idle_timeout = 1;
SET walredo.timeout = '1min';
SET walredo.max_retries = 0;
RESET ROLE;
RESET walredo.timeout;
RESET walredo.max_retries;

--
-- Clean up
--
DROP TABLE request;
REVOKE EXECUTE ON FUNCTION walredo_wal_records FROM regress_walredo_user;
DROP ROLE regress_walredo_user, regress_walredo_monitor, regress_walredo_reader;
