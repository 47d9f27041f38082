/* walredo--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION walredo" to load this file. \quit

--
-- walredo_tag: the address of a page
--
-- Functions whose names begin with an underscore implement types, operators,
-- views and other functions of this extension.  Users have no reason to call
-- them, and psql's "\df walredo*" does not show them.
--

CREATE TYPE walredo_tag;

CREATE FUNCTION _walredo_tag_in(cstring)
RETURNS walredo_tag
AS 'MODULE_PATHNAME', 'walredo_tag_in'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_in(cstring) IS
	'text input of walredo_tag';
REVOKE ALL ON FUNCTION _walredo_tag_in(cstring) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_in(cstring) TO pg_read_server_files;

CREATE FUNCTION _walredo_tag_out(walredo_tag)
RETURNS cstring
AS 'MODULE_PATHNAME', 'walredo_tag_out'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_out(walredo_tag) IS
	'text output of walredo_tag';
REVOKE ALL ON FUNCTION _walredo_tag_out(walredo_tag) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_out(walredo_tag)
	TO pg_read_server_files;

CREATE FUNCTION _walredo_tag_recv(internal)
RETURNS walredo_tag
AS 'MODULE_PATHNAME', 'walredo_tag_recv'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_recv(internal) IS
	'binary input of walredo_tag';
REVOKE ALL ON FUNCTION _walredo_tag_recv(internal) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_recv(internal) TO pg_read_server_files;

CREATE FUNCTION _walredo_tag_send(walredo_tag)
RETURNS bytea
AS 'MODULE_PATHNAME', 'walredo_tag_send'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_send(walredo_tag) IS
	'binary output of walredo_tag';
REVOKE ALL ON FUNCTION _walredo_tag_send(walredo_tag) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_send(walredo_tag)
	TO pg_read_server_files;

CREATE TYPE walredo_tag (
	INPUT = _walredo_tag_in,
	OUTPUT = _walredo_tag_out,
	RECEIVE = _walredo_tag_recv,
	SEND = _walredo_tag_send,
	INTERNALLENGTH = 24,
	ALIGNMENT = double,
	STORAGE = plain
);
COMMENT ON TYPE walredo_tag IS
	'address of a page: a block of a relation fork, a page of an SLRU, a relation map, or a two-phase state';

CREATE FUNCTION walredo_tag(relname regclass, fork text, blkno int8)
RETURNS walredo_tag
AS 'MODULE_PATHNAME', 'walredo_tag_from_relation'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_tag(regclass, text, int8) IS
	'get the address of a block in the current file of a relation fork';
REVOKE ALL ON FUNCTION walredo_tag(regclass, text, int8) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_tag(regclass, text, int8)
	TO pg_read_server_files;

CREATE FUNCTION walredo_tag(relname regclass, blkno int8)
RETURNS walredo_tag
AS 'MODULE_PATHNAME', 'walredo_tag_from_relation'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_tag(regclass, int8) IS
	'get the address of a block in the current file of a relation''s main fork';
REVOKE ALL ON FUNCTION walredo_tag(regclass, int8) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_tag(regclass, int8) TO pg_read_server_files;

CREATE FUNCTION _walredo_tag_eq(walredo_tag, walredo_tag)
RETURNS bool
AS 'MODULE_PATHNAME', 'walredo_tag_eq'
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_eq(walredo_tag, walredo_tag) IS
	'implementation of = operator';
REVOKE ALL ON FUNCTION _walredo_tag_eq(walredo_tag, walredo_tag) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_eq(walredo_tag, walredo_tag)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_tag_ne(walredo_tag, walredo_tag)
RETURNS bool
AS 'MODULE_PATHNAME', 'walredo_tag_ne'
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_ne(walredo_tag, walredo_tag) IS
	'implementation of <> operator';
REVOKE ALL ON FUNCTION _walredo_tag_ne(walredo_tag, walredo_tag) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_ne(walredo_tag, walredo_tag)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_tag_lt(walredo_tag, walredo_tag)
RETURNS bool
AS 'MODULE_PATHNAME', 'walredo_tag_lt'
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_lt(walredo_tag, walredo_tag) IS
	'implementation of < operator';
REVOKE ALL ON FUNCTION _walredo_tag_lt(walredo_tag, walredo_tag) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_lt(walredo_tag, walredo_tag)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_tag_le(walredo_tag, walredo_tag)
RETURNS bool
AS 'MODULE_PATHNAME', 'walredo_tag_le'
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_le(walredo_tag, walredo_tag) IS
	'implementation of <= operator';
REVOKE ALL ON FUNCTION _walredo_tag_le(walredo_tag, walredo_tag) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_le(walredo_tag, walredo_tag)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_tag_gt(walredo_tag, walredo_tag)
RETURNS bool
AS 'MODULE_PATHNAME', 'walredo_tag_gt'
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_gt(walredo_tag, walredo_tag) IS
	'implementation of > operator';
REVOKE ALL ON FUNCTION _walredo_tag_gt(walredo_tag, walredo_tag) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_gt(walredo_tag, walredo_tag)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_tag_ge(walredo_tag, walredo_tag)
RETURNS bool
AS 'MODULE_PATHNAME', 'walredo_tag_ge'
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_ge(walredo_tag, walredo_tag) IS
	'implementation of >= operator';
REVOKE ALL ON FUNCTION _walredo_tag_ge(walredo_tag, walredo_tag) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_ge(walredo_tag, walredo_tag)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_tag_cmp(walredo_tag, walredo_tag)
RETURNS int4
AS 'MODULE_PATHNAME', 'walredo_tag_cmp'
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_cmp(walredo_tag, walredo_tag) IS
	'less-equal-greater';
REVOKE ALL ON FUNCTION _walredo_tag_cmp(walredo_tag, walredo_tag) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_cmp(walredo_tag, walredo_tag)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_tag_hash(walredo_tag)
RETURNS int4
AS 'MODULE_PATHNAME', 'walredo_tag_hash'
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_hash(walredo_tag) IS
	'hash';
REVOKE ALL ON FUNCTION _walredo_tag_hash(walredo_tag) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_hash(walredo_tag)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_tag_hash_extended(walredo_tag, int8)
RETURNS int8
AS 'MODULE_PATHNAME', 'walredo_tag_hash_extended'
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_tag_hash_extended(walredo_tag, int8) IS
	'64-bit hash';
REVOKE ALL ON FUNCTION _walredo_tag_hash_extended(walredo_tag, int8)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_tag_hash_extended(walredo_tag, int8)
	TO pg_read_server_files;

CREATE OPERATOR = (
	LEFTARG = walredo_tag, RIGHTARG = walredo_tag, FUNCTION = _walredo_tag_eq,
	COMMUTATOR = '=', NEGATOR = '<>',
	RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
COMMENT ON OPERATOR = (walredo_tag, walredo_tag) IS
	'equal';
CREATE OPERATOR <> (
	LEFTARG = walredo_tag, RIGHTARG = walredo_tag, FUNCTION = _walredo_tag_ne,
	COMMUTATOR = '<>', NEGATOR = '=',
	RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (walredo_tag, walredo_tag) IS
	'not equal';
CREATE OPERATOR < (
	LEFTARG = walredo_tag, RIGHTARG = walredo_tag, FUNCTION = _walredo_tag_lt,
	COMMUTATOR = '>', NEGATOR = '>=',
	RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR < (walredo_tag, walredo_tag) IS
	'less than';
CREATE OPERATOR <= (
	LEFTARG = walredo_tag, RIGHTARG = walredo_tag, FUNCTION = _walredo_tag_le,
	COMMUTATOR = '>=', NEGATOR = '>',
	RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR <= (walredo_tag, walredo_tag) IS
	'less than or equal';
CREATE OPERATOR > (
	LEFTARG = walredo_tag, RIGHTARG = walredo_tag, FUNCTION = _walredo_tag_gt,
	COMMUTATOR = '<', NEGATOR = '<=',
	RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR > (walredo_tag, walredo_tag) IS
	'greater than';
CREATE OPERATOR >= (
	LEFTARG = walredo_tag, RIGHTARG = walredo_tag, FUNCTION = _walredo_tag_ge,
	COMMUTATOR = '<=', NEGATOR = '<',
	RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR >= (walredo_tag, walredo_tag) IS
	'greater than or equal';

CREATE OPERATOR CLASS walredo_tag_ops
DEFAULT FOR TYPE walredo_tag USING btree AS
	OPERATOR 1 <,
	OPERATOR 2 <=,
	OPERATOR 3 =,
	OPERATOR 4 >=,
	OPERATOR 5 >,
	FUNCTION 1 _walredo_tag_cmp(walredo_tag, walredo_tag);
COMMENT ON OPERATOR CLASS walredo_tag_ops USING btree IS
	'order by kind, tablespace, database, relation, fork, and block or page number';
COMMENT ON OPERATOR FAMILY walredo_tag_ops USING btree IS
	'order by kind, tablespace, database, relation, fork, and block or page number';

CREATE OPERATOR CLASS walredo_tag_hash_ops
DEFAULT FOR TYPE walredo_tag USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 _walredo_tag_hash(walredo_tag),
	FUNCTION 2 _walredo_tag_hash_extended(walredo_tag, int8);
COMMENT ON OPERATOR CLASS walredo_tag_hash_ops USING hash IS
	'hash of page addresses';
COMMENT ON OPERATOR FAMILY walredo_tag_hash_ops USING hash IS
	'hash of page addresses';

--
-- walredo_record: a change to a page
--

CREATE TYPE walredo_record;

CREATE FUNCTION _walredo_record_in(cstring)
RETURNS walredo_record
AS 'MODULE_PATHNAME', 'walredo_record_in'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_record_in(cstring) IS
	'text input of walredo_record';
REVOKE ALL ON FUNCTION _walredo_record_in(cstring) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_record_in(cstring) TO pg_read_server_files;

CREATE FUNCTION _walredo_record_out(walredo_record)
RETURNS cstring
AS 'MODULE_PATHNAME', 'walredo_record_out'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_record_out(walredo_record) IS
	'text output of walredo_record';
REVOKE ALL ON FUNCTION _walredo_record_out(walredo_record) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_record_out(walredo_record)
	TO pg_read_server_files;

CREATE FUNCTION _walredo_record_recv(internal)
RETURNS walredo_record
AS 'MODULE_PATHNAME', 'walredo_record_recv'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_record_recv(internal) IS
	'binary input of walredo_record';
REVOKE ALL ON FUNCTION _walredo_record_recv(internal) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_record_recv(internal)
	TO pg_read_server_files;

CREATE FUNCTION _walredo_record_send(walredo_record)
RETURNS bytea
AS 'MODULE_PATHNAME', 'walredo_record_send'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_record_send(walredo_record) IS
	'binary output of walredo_record';
REVOKE ALL ON FUNCTION _walredo_record_send(walredo_record) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_record_send(walredo_record)
	TO pg_read_server_files;

CREATE TYPE walredo_record (
	INPUT = _walredo_record_in,
	OUTPUT = _walredo_record_out,
	RECEIVE = _walredo_record_recv,
	SEND = _walredo_record_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = double,
	STORAGE = extended
);
COMMENT ON TYPE walredo_record IS
	'change to a page: an end LSN, with either a whole WAL record or one of the small native records';

CREATE TYPE walredo_multixact_member AS (
	xid xid,
	status int4
);
COMMENT ON TYPE walredo_multixact_member IS
	'member of a multixact: a transaction and the lock that it holds';

-- There is one constructor for each kind of record.

CREATE FUNCTION walredo_postgres(lsn pg_lsn, rec bytea,
	will_init bool DEFAULT NULL)
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION walredo_postgres(pg_lsn, bytea, bool) IS
	'construct a record that holds a whole WAL record, to be replayed by its resource manager';
REVOKE ALL ON FUNCTION walredo_postgres(pg_lsn, bytea, bool) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_postgres(pg_lsn, bytea, bool)
	TO pg_read_server_files;

CREATE FUNCTION walredo_clear_visibility_map_flags(lsn pg_lsn,
	new_heap_blkno int8, old_heap_blkno int8, flags int4)
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION walredo_clear_visibility_map_flags(pg_lsn, int8, int8, int4) IS
	'construct a record that clears the visibility map bits of one or two heap blocks';
REVOKE ALL ON FUNCTION walredo_clear_visibility_map_flags(pg_lsn, int8, int8, int4)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_clear_visibility_map_flags(pg_lsn, int8, int8, int4)
	TO pg_read_server_files;

CREATE FUNCTION walredo_truncate_visibility_map(lsn pg_lsn,
	trunc_byte int4, trunc_offs int4)
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_truncate_visibility_map(pg_lsn, int4, int4) IS
	'construct a record that clears the tail of a visibility map page';
REVOKE ALL ON FUNCTION walredo_truncate_visibility_map(pg_lsn, int4, int4)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_truncate_visibility_map(pg_lsn, int4, int4)
	TO pg_read_server_files;

CREATE FUNCTION walredo_clog_set_committed(lsn pg_lsn, xids xid[])
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_clog_set_committed(pg_lsn, xid[]) IS
	'construct a record that marks transactions as committed in pg_xact';
REVOKE ALL ON FUNCTION walredo_clog_set_committed(pg_lsn, xid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_clog_set_committed(pg_lsn, xid[])
	TO pg_read_server_files;

CREATE FUNCTION walredo_clog_set_aborted(lsn pg_lsn, xids xid[])
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_clog_set_aborted(pg_lsn, xid[]) IS
	'construct a record that marks transactions as aborted in pg_xact';
REVOKE ALL ON FUNCTION walredo_clog_set_aborted(pg_lsn, xid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_clog_set_aborted(pg_lsn, xid[])
	TO pg_read_server_files;

CREATE FUNCTION walredo_clog_set_subcommitted(lsn pg_lsn, xids xid[])
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_clog_set_subcommitted(pg_lsn, xid[]) IS
	'construct a record that marks transactions as subcommitted in pg_xact';
REVOKE ALL ON FUNCTION walredo_clog_set_subcommitted(pg_lsn, xid[])
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_clog_set_subcommitted(pg_lsn, xid[])
	TO pg_read_server_files;

CREATE FUNCTION walredo_multixact_offset_create(lsn pg_lsn, mid xid, moff int8)
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_multixact_offset_create(pg_lsn, xid, int8) IS
	'construct a record that sets the offset of a multixact''s first member';
REVOKE ALL ON FUNCTION walredo_multixact_offset_create(pg_lsn, xid, int8)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_multixact_offset_create(pg_lsn, xid, int8)
	TO pg_read_server_files;

CREATE FUNCTION walredo_multixact_members_create(lsn pg_lsn, moff int8,
	members walredo_multixact_member[])
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_multixact_members_create(pg_lsn, int8, walredo_multixact_member[]) IS
	'construct a record that sets the members of a multixact';
REVOKE ALL ON FUNCTION walredo_multixact_members_create(pg_lsn, int8, walredo_multixact_member[])
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_multixact_members_create(pg_lsn, int8, walredo_multixact_member[])
	TO pg_read_server_files;

CREATE FUNCTION walredo_commit_ts_set(lsn pg_lsn, xids xid[],
	"timestamp" timestamptz, origin int4 DEFAULT 0)
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_commit_ts_set(pg_lsn, xid[], timestamptz, int4) IS
	'construct a record that sets the commit timestamp and replication origin of transactions';
REVOKE ALL ON FUNCTION walredo_commit_ts_set(pg_lsn, xid[], timestamptz, int4)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_commit_ts_set(pg_lsn, xid[], timestamptz, int4)
	TO pg_read_server_files;

CREATE FUNCTION walredo_zero_page(lsn pg_lsn)
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_zero_page(pg_lsn) IS
	'construct a record that fills an SLRU page with zeroes';
REVOKE ALL ON FUNCTION walredo_zero_page(pg_lsn) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_zero_page(pg_lsn) TO pg_read_server_files;

CREATE FUNCTION walredo_replace(lsn pg_lsn, contents bytea)
RETURNS walredo_record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_replace(pg_lsn, bytea) IS
	'construct a record that replaces the contents of a relation map or a two-phase state';
REVOKE ALL ON FUNCTION walredo_replace(pg_lsn, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_replace(pg_lsn, bytea)
	TO pg_read_server_files;

--
-- Replay
--

CREATE FUNCTION _walredo_support(internal)
RETURNS internal
AS 'MODULE_PATHNAME', 'walredo_support'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_support(internal) IS
	'planner support for functions that replay records';
REVOKE ALL ON FUNCTION _walredo_support(internal) FROM PUBLIC;

CREATE FUNCTION walredo_apply(tag walredo_tag, base bytea,
	records walredo_record[])
RETURNS bytea
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE PARALLEL SAFE SUPPORT _walredo_support;
COMMENT ON FUNCTION walredo_apply(walredo_tag, bytea, walredo_record[]) IS
	'apply records to a page image, in the order given';
REVOKE ALL ON FUNCTION walredo_apply(walredo_tag, bytea, walredo_record[])
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_apply(walredo_tag, bytea, walredo_record[])
	TO pg_read_server_files;

CREATE FUNCTION _walredo_apply_agg_transfn(internal, tag walredo_tag,
	base bytea, record walredo_record)
RETURNS internal
AS 'MODULE_PATHNAME', 'walredo_apply_agg_transfn'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_apply_agg_transfn(internal, walredo_tag, bytea, walredo_record) IS
	'transition function of walredo_apply_agg()';
REVOKE ALL ON FUNCTION _walredo_apply_agg_transfn(internal, walredo_tag, bytea, walredo_record)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_apply_agg_transfn(internal, walredo_tag, bytea, walredo_record)
	TO pg_read_server_files;

CREATE FUNCTION _walredo_apply_agg_finalfn(internal)
RETURNS bytea
AS 'MODULE_PATHNAME', 'walredo_apply_agg_finalfn'
LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1000 SUPPORT _walredo_support;
COMMENT ON FUNCTION _walredo_apply_agg_finalfn(internal) IS
	'final function of walredo_apply_agg()';
REVOKE ALL ON FUNCTION _walredo_apply_agg_finalfn(internal) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_apply_agg_finalfn(internal)
	TO pg_read_server_files;

CREATE AGGREGATE walredo_apply_agg(tag walredo_tag, base bytea,
	record walredo_record)
(
	SFUNC = _walredo_apply_agg_transfn,
	STYPE = internal,
	SSPACE = 8192,
	FINALFUNC = _walredo_apply_agg_finalfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE walredo_apply_agg(walredo_tag, bytea, walredo_record) IS
	'apply the records of a group to the image of a page, in the order given';
REVOKE ALL ON FUNCTION walredo_apply_agg(walredo_tag, bytea, walredo_record)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_apply_agg(walredo_tag, bytea, walredo_record)
	TO pg_read_server_files;

CREATE FUNCTION walredo_page_mask(resource_manager text, page bytea,
	blkno int8)
RETURNS bytea
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE SUPPORT _walredo_support;
COMMENT ON FUNCTION walredo_page_mask(text, bytea, int8) IS
	'mask the parts of a page that replay need not reproduce, as wal_consistency_checking does';
REVOKE ALL ON FUNCTION walredo_page_mask(text, bytea, int8) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_mask(text, bytea, int8)
	TO pg_read_server_files;

CREATE FUNCTION walredo_ping()
RETURNS float8
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE SUPPORT _walredo_support;
COMMENT ON FUNCTION walredo_ping() IS
	'measure the round trip to a wal-redo child, in milliseconds';
REVOKE ALL ON FUNCTION walredo_ping() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_ping() TO pg_monitor;

CREATE FUNCTION walredo_replay_request(name text)
RETURNS bytea
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_replay_request(text) IS
	'replay a request that was saved because a wal-redo child failed on it';
REVOKE ALL ON FUNCTION walredo_replay_request(text) FROM PUBLIC;

--
-- WAL
--

-- walredo_wal_records() is an SQL function that the planner can inline.  Then
-- rows are returned one at a time instead of being materialized, and only the
-- columns that the query uses are computed.  The planner inlines a set-returning
-- function only if it is neither VOLATILE nor STRICT, so this one must be neither,
-- although the function that it calls reads files.
--
-- _walredo_read_wal() returns each record as one bytea value: 16 bytes with the
-- record's start and end LSN, and then the record.  The functions below extract
-- one column each from that value.

CREATE FUNCTION _walredo_read_wal(start_lsn pg_lsn, end_lsn pg_lsn,
	wal_directory text)
RETURNS SETOF bytea
AS 'MODULE_PATHNAME', 'walredo_read_wal'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_read_wal(pg_lsn, pg_lsn, text) IS
	'implementation of walredo_wal_records(): read WAL records with their LSNs';
REVOKE ALL ON FUNCTION _walredo_read_wal(pg_lsn, pg_lsn, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_read_wal(pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION _walredo_wal_start_lsn(entry bytea)
RETURNS pg_lsn
AS 'MODULE_PATHNAME', 'walredo_wal_start_lsn'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_wal_start_lsn(bytea) IS
	'implementation of walredo_wal_records(): start LSN of the record';
REVOKE ALL ON FUNCTION _walredo_wal_start_lsn(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_wal_start_lsn(bytea)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_wal_end_lsn(entry bytea)
RETURNS pg_lsn
AS 'MODULE_PATHNAME', 'walredo_wal_end_lsn'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_wal_end_lsn(bytea) IS
	'implementation of walredo_wal_records(): end LSN of the record';
REVOKE ALL ON FUNCTION _walredo_wal_end_lsn(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_wal_end_lsn(bytea)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_wal_prev_lsn(entry bytea)
RETURNS pg_lsn
AS 'MODULE_PATHNAME', 'walredo_wal_prev_lsn'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_wal_prev_lsn(bytea) IS
	'implementation of walredo_wal_records(): start LSN of the previous record';
REVOKE ALL ON FUNCTION _walredo_wal_prev_lsn(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_wal_prev_lsn(bytea)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_wal_xid(entry bytea)
RETURNS xid
AS 'MODULE_PATHNAME', 'walredo_wal_xid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_wal_xid(bytea) IS
	'implementation of walredo_wal_records(): transaction ID of the record';
REVOKE ALL ON FUNCTION _walredo_wal_xid(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_wal_xid(bytea)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_wal_resource_manager(entry bytea)
RETURNS text
AS 'MODULE_PATHNAME', 'walredo_wal_resource_manager'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_wal_resource_manager(bytea) IS
	'implementation of walredo_wal_records(): resource manager of the record';
REVOKE ALL ON FUNCTION _walredo_wal_resource_manager(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_wal_resource_manager(bytea)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_wal_record_type(entry bytea)
RETURNS text
AS 'MODULE_PATHNAME', 'walredo_wal_record_type'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_wal_record_type(bytea) IS
	'implementation of walredo_wal_records(): type of the record';
REVOKE ALL ON FUNCTION _walredo_wal_record_type(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_wal_record_type(bytea)
	TO pg_read_server_files;
CREATE FUNCTION _walredo_wal_description(entry bytea)
RETURNS text
AS 'MODULE_PATHNAME', 'walredo_wal_description'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1000 SUPPORT _walredo_support;
COMMENT ON FUNCTION _walredo_wal_description(bytea) IS
	'implementation of walredo_wal_records(): description of the record';
REVOKE ALL ON FUNCTION _walredo_wal_description(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_wal_description(bytea)
	TO pg_read_server_files;

CREATE FUNCTION walredo_wal_records(start_lsn pg_lsn, end_lsn pg_lsn,
	wal_directory text DEFAULT NULL,
	OUT start_lsn pg_lsn,
	OUT end_lsn pg_lsn,
	OUT prev_lsn pg_lsn,
	OUT xid xid,
	OUT resource_manager text,
	OUT record_type text,
	OUT record_length int4,
	OUT rec bytea,
	OUT description text)
RETURNS SETOF record
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT _walredo_wal_start_lsn(r.entry),
		_walredo_wal_end_lsn(r.entry),
		_walredo_wal_prev_lsn(r.entry),
		_walredo_wal_xid(r.entry),
		_walredo_wal_resource_manager(r.entry),
		_walredo_wal_record_type(r.entry),
		pg_catalog.octet_length(r.entry) - 16,
		pg_catalog.substr(r.entry, 17),
		_walredo_wal_description(r.entry)
	FROM (SELECT _walredo_read_wal($1, $2, $3) AS entry) r;
END;
COMMENT ON FUNCTION walredo_wal_records(pg_lsn, pg_lsn, text) IS
	'read WAL records from pg_wal or from another directory of WAL segments';
REVOKE ALL ON FUNCTION walredo_wal_records(pg_lsn, pg_lsn, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_wal_records(pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_decode(lsn pg_lsn, rec bytea,
	OUT tag walredo_tag,
	OUT record walredo_record)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_decode(pg_lsn, bytea) IS
	'get the pages that a WAL record changes, each with the record to apply to it';
REVOKE ALL ON FUNCTION walredo_decode(pg_lsn, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_decode(pg_lsn, bytea)
	TO pg_read_server_files;

CREATE FUNCTION walredo_record_images(lsn pg_lsn, rec bytea,
	OUT block_id int4,
	OUT tag walredo_tag,
	OUT apply bool,
	OUT image bytea)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_record_images(pg_lsn, bytea) IS
	'get the full-page images of a WAL record';
REVOKE ALL ON FUNCTION walredo_record_images(pg_lsn, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_record_images(pg_lsn, bytea)
	TO pg_read_server_files;

--
-- Pages from WAL
--

-- Like walredo_wal_records(), walredo_page_records() and walredo_page_history() are
-- SQL functions that the planner can inline.  Their entries begin as those of
-- _walredo_read_wal(), so they share the functions that extract columns.

CREATE FUNCTION _walredo_read_page_records(tag walredo_tag, start_lsn pg_lsn,
	end_lsn pg_lsn, wal_directory text)
RETURNS SETOF bytea
AS 'MODULE_PATHNAME', 'walredo_read_page_records'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_read_page_records(walredo_tag, pg_lsn, pg_lsn, text) IS
	'implementation of walredo_page_records(): read changes of a page';
REVOKE ALL ON FUNCTION _walredo_read_page_records(walredo_tag, pg_lsn, pg_lsn, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_read_page_records(walredo_tag, pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION _walredo_page_record(entry bytea)
RETURNS walredo_record
AS 'MODULE_PATHNAME', 'walredo_page_record'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_page_record(bytea) IS
	'implementation of walredo_page_records(): the change to the page';
REVOKE ALL ON FUNCTION _walredo_page_record(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_page_record(bytea)
	TO pg_read_server_files;

CREATE FUNCTION walredo_page_records(tag walredo_tag, start_lsn pg_lsn,
	end_lsn pg_lsn, wal_directory text DEFAULT NULL,
	OUT start_lsn pg_lsn,
	OUT end_lsn pg_lsn,
	OUT resource_manager text,
	OUT record_type text,
	OUT record walredo_record)
RETURNS SETOF record
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT _walredo_wal_start_lsn(r.entry),
		_walredo_wal_end_lsn(r.entry),
		_walredo_wal_resource_manager(r.entry),
		_walredo_wal_record_type(r.entry),
		_walredo_page_record(r.entry)
	FROM (SELECT _walredo_read_page_records($1, $2, $3, $4) AS entry) r;
END;
COMMENT ON FUNCTION walredo_page_records(walredo_tag, pg_lsn, pg_lsn, text) IS
	'get the changes that WAL records make to a page';
REVOKE ALL ON FUNCTION walredo_page_records(walredo_tag, pg_lsn, pg_lsn, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_records(walredo_tag, pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_page_at(tag walredo_tag, lsn pg_lsn,
	base bytea DEFAULT NULL, wal_directory text DEFAULT NULL,
	base_lsn pg_lsn DEFAULT NULL)
RETURNS bytea
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_page_at(walredo_tag, pg_lsn, bytea, text, pg_lsn) IS
	'rebuild a page as of an LSN from WAL';
REVOKE ALL ON FUNCTION walredo_page_at(walredo_tag, pg_lsn, bytea, text, pg_lsn)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_at(walredo_tag, pg_lsn, bytea, text, pg_lsn)
	TO pg_read_server_files;

CREATE FUNCTION walredo_page_at(relname regclass, fork text, blkno int8,
	lsn pg_lsn, wal_directory text DEFAULT NULL)
RETURNS bytea
AS 'MODULE_PATHNAME', 'walredo_page_at_relation'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_page_at(regclass, text, int8, pg_lsn, text) IS
	'rebuild a block of a relation as of an LSN from WAL';
REVOKE ALL ON FUNCTION walredo_page_at(regclass, text, int8, pg_lsn, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_at(regclass, text, int8, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_page_at(relname regclass, blkno int8, lsn pg_lsn,
	wal_directory text DEFAULT NULL)
RETURNS bytea
AS 'MODULE_PATHNAME', 'walredo_page_at_main_fork'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_page_at(regclass, int8, pg_lsn, text) IS
	'rebuild a block of a relation''s main fork as of an LSN from WAL';
REVOKE ALL ON FUNCTION walredo_page_at(regclass, int8, pg_lsn, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_at(regclass, int8, pg_lsn, text)
	TO pg_read_server_files;

-- If arguments of a call are literals of unknown type, PostgreSQL prefers functions
-- that take strings to those that take other types.  Such a call would be ambiguous
-- without the following functions.  They find out from the text of the arguments
-- which of the functions above is meant, and do the same.  Their arguments have no
-- names, so that a call with named arguments never resolves to them.

CREATE FUNCTION walredo_page_at(text, text, text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'walredo_page_at_literals'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_page_at(text, text, text) IS
	'rebuild a page as of an LSN from WAL, for arguments of unknown type';
REVOKE ALL ON FUNCTION walredo_page_at(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_at(text, text, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_page_at(text, text, text, text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'walredo_page_at_literals'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_page_at(text, text, text, text) IS
	'rebuild a page as of an LSN from WAL, for arguments of unknown type';
REVOKE ALL ON FUNCTION walredo_page_at(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_at(text, text, text, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_page_at(text, text, text, text, text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'walredo_page_at_literals'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_page_at(text, text, text, text, text) IS
	'rebuild a page as of an LSN from WAL, for arguments of unknown type';
REVOKE ALL ON FUNCTION walredo_page_at(text, text, text, text, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_at(text, text, text, text, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_page_at(regclass, text, text, text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'walredo_page_at_relation_literals'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_page_at(regclass, text, text, text) IS
	'rebuild a block of a relation as of an LSN from WAL, for arguments of unknown type';
REVOKE ALL ON FUNCTION walredo_page_at(regclass, text, text, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_at(regclass, text, text, text)
	TO pg_read_server_files;

-- Like walredo_wal_records(), these are SQL functions that the planner can inline,
-- so that rows are returned one at a time.

CREATE FUNCTION _walredo_read_pages(relations regclass[], fork text, lsn pg_lsn,
	wal_directory text, slice int4, slices int4,
	OUT relation regclass,
	OUT fork text,
	OUT blkno int8,
	OUT page bytea,
	OUT tag walredo_tag)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'walredo_read_pages'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_read_pages(regclass[], text, pg_lsn, text, int4, int4) IS
	'implementation of walredo_pages_at() and walredo_pages_at_all()';
REVOKE ALL ON FUNCTION _walredo_read_pages(regclass[], text, pg_lsn, text, int4, int4)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_read_pages(regclass[], text, pg_lsn, text, int4, int4)
	TO pg_read_server_files;

CREATE FUNCTION walredo_pages_at(relname regclass, fork text, lsn pg_lsn,
	wal_directory text DEFAULT NULL,
	OUT blkno int8,
	OUT page bytea)
RETURNS SETOF record
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT (r.row).blkno, (r.row).page
	FROM (SELECT _walredo_read_pages(ARRAY[$1], $2, $3, $4, NULL, NULL) AS row
		WHERE $1 IS NOT NULL AND $2 IS NOT NULL) r;
END;
COMMENT ON FUNCTION walredo_pages_at(regclass, text, pg_lsn, text) IS
	'rebuild all blocks of a relation fork as of an LSN from WAL';
REVOKE ALL ON FUNCTION walredo_pages_at(regclass, text, pg_lsn, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_pages_at(regclass, text, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION _walredo_read_file_pages(tag walredo_tag, lsn pg_lsn,
	wal_directory text,
	OUT blkno int8,
	OUT page bytea)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'walredo_read_file_pages'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_read_file_pages(walredo_tag, pg_lsn, text) IS
	'implementation of walredo_pages_at()';
REVOKE ALL ON FUNCTION _walredo_read_file_pages(walredo_tag, pg_lsn, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_read_file_pages(walredo_tag, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_pages_at(tag walredo_tag, lsn pg_lsn,
	wal_directory text DEFAULT NULL,
	OUT blkno int8,
	OUT page bytea)
RETURNS SETOF record
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT (r.row).blkno, (r.row).page
	FROM (SELECT _walredo_read_file_pages($1, $2, $3) AS row) r;
END;
COMMENT ON FUNCTION walredo_pages_at(walredo_tag, pg_lsn, text) IS
	'rebuild all blocks of a file as of an LSN from WAL';
REVOKE ALL ON FUNCTION walredo_pages_at(walredo_tag, pg_lsn, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_pages_at(walredo_tag, pg_lsn, text)
	TO pg_read_server_files;

-- As with walredo_page_at(), for arguments of unknown type.  Here the arguments have
-- names, because pg_dump cannot dump a function that is written like this and
-- has unnamed arguments besides named columns.

CREATE FUNCTION _walredo_read_pages_literals(arg1 text, arg2 text, arg3 text,
	OUT blkno int8,
	OUT page bytea)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'walredo_read_pages_literals'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_read_pages_literals(text, text, text) IS
	'implementation of walredo_pages_at()';
REVOKE ALL ON FUNCTION _walredo_read_pages_literals(text, text, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_read_pages_literals(text, text, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_pages_at(arg1 text, arg2 text, arg3 text,
	OUT blkno int8,
	OUT page bytea)
RETURNS SETOF record
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT (r.row).blkno, (r.row).page
	FROM (SELECT _walredo_read_pages_literals($1, $2, $3) AS row) r;
END;
COMMENT ON FUNCTION walredo_pages_at(text, text, text) IS
	'rebuild all blocks of a file as of an LSN from WAL, for arguments of unknown type';
REVOKE ALL ON FUNCTION walredo_pages_at(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_pages_at(text, text, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_pages_at_all(relations regclass[], lsn pg_lsn,
	wal_directory text DEFAULT NULL,
	slice int4 DEFAULT NULL,
	slices int4 DEFAULT NULL,
	OUT relation regclass,
	OUT fork text,
	OUT blkno int8,
	OUT page bytea,
	OUT tag walredo_tag)
RETURNS SETOF record
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT (r.row).relation, (r.row).fork, (r.row).blkno, (r.row).page, (r.row).tag
	FROM (SELECT _walredo_read_pages($1, NULL, $2, $3, $4, $5) AS row) r;
END;
COMMENT ON FUNCTION walredo_pages_at_all(regclass[], pg_lsn, text, int4, int4) IS
	'rebuild all blocks of a set of relations as of an LSN from WAL';
REVOKE ALL ON FUNCTION walredo_pages_at_all(regclass[], pg_lsn, text, int4, int4)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_pages_at_all(regclass[], pg_lsn, text, int4, int4)
	TO pg_read_server_files;

CREATE FUNCTION _walredo_read_pages_of_files(tags walredo_tag[], lsn pg_lsn,
	wal_directory text, slice int4, slices int4,
	OUT relation regclass,
	OUT fork text,
	OUT blkno int8,
	OUT page bytea,
	OUT tag walredo_tag)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'walredo_read_pages_of_files'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_read_pages_of_files(walredo_tag[], pg_lsn, text, int4, int4) IS
	'implementation of walredo_pages_at_all()';
REVOKE ALL ON FUNCTION _walredo_read_pages_of_files(walredo_tag[], pg_lsn, text, int4, int4)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_read_pages_of_files(walredo_tag[], pg_lsn, text, int4, int4)
	TO pg_read_server_files;

CREATE FUNCTION walredo_pages_at_all(tags walredo_tag[], lsn pg_lsn,
	wal_directory text DEFAULT NULL,
	slice int4 DEFAULT NULL,
	slices int4 DEFAULT NULL,
	OUT relation regclass,
	OUT fork text,
	OUT blkno int8,
	OUT page bytea,
	OUT tag walredo_tag)
RETURNS SETOF record
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT (r.row).relation, (r.row).fork, (r.row).blkno, (r.row).page, (r.row).tag
	FROM (SELECT _walredo_read_pages_of_files($1, $2, $3, $4, $5) AS row) r;
END;
COMMENT ON FUNCTION walredo_pages_at_all(walredo_tag[], pg_lsn, text, int4, int4) IS
	'rebuild all blocks of a set of files as of an LSN from WAL';
REVOKE ALL ON FUNCTION walredo_pages_at_all(walredo_tag[], pg_lsn, text, int4, int4)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_pages_at_all(walredo_tag[], pg_lsn, text, int4, int4)
	TO pg_read_server_files;

-- As with walredo_pages_at(), for a first argument of unknown type.

CREATE FUNCTION _walredo_read_pages_of_literals(arg1 text, lsn pg_lsn,
	wal_directory text, slice int4, slices int4,
	OUT relation regclass,
	OUT fork text,
	OUT blkno int8,
	OUT page bytea,
	OUT tag walredo_tag)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'walredo_read_pages_of_literals'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_read_pages_of_literals(text, pg_lsn, text, int4, int4) IS
	'implementation of walredo_pages_at_all()';
REVOKE ALL ON FUNCTION _walredo_read_pages_of_literals(text, pg_lsn, text, int4, int4)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_read_pages_of_literals(text, pg_lsn, text, int4, int4)
	TO pg_read_server_files;

CREATE FUNCTION walredo_pages_at_all(arg1 text, lsn pg_lsn,
	wal_directory text DEFAULT NULL,
	slice int4 DEFAULT NULL,
	slices int4 DEFAULT NULL,
	OUT relation regclass,
	OUT fork text,
	OUT blkno int8,
	OUT page bytea,
	OUT tag walredo_tag)
RETURNS SETOF record
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT (r.row).relation, (r.row).fork, (r.row).blkno, (r.row).page, (r.row).tag
	FROM (SELECT _walredo_read_pages_of_literals($1, $2, $3, $4, $5) AS row) r;
END;
COMMENT ON FUNCTION walredo_pages_at_all(text, pg_lsn, text, int4, int4) IS
	'rebuild all blocks of a set of files as of an LSN from WAL, for an argument of unknown type';
REVOKE ALL ON FUNCTION walredo_pages_at_all(text, pg_lsn, text, int4, int4)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_pages_at_all(text, pg_lsn, text, int4, int4)
	TO pg_read_server_files;

-- Rows, not pages.  The type of the first argument tells what they are rows of; its
-- value is of no account.

CREATE FUNCTION _walredo_rows_support(internal)
RETURNS internal
AS 'MODULE_PATHNAME', 'walredo_rows_support'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_rows_support(internal) IS
	'planner support for walredo_rows_at()';
REVOKE ALL ON FUNCTION _walredo_rows_support(internal) FROM PUBLIC;

CREATE FUNCTION walredo_rows_at(base anyelement, lsn pg_lsn,
	file walredo_tag DEFAULT NULL,
	wal_directory text DEFAULT NULL,
	strict bool DEFAULT false)
RETURNS SETOF anyelement
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE SUPPORT _walredo_rows_support;
COMMENT ON FUNCTION walredo_rows_at(anyelement, pg_lsn, walredo_tag, text, bool) IS
	'rows of a table as a snapshot at an LSN saw them';
REVOKE ALL ON FUNCTION walredo_rows_at(anyelement, pg_lsn, walredo_tag, text, bool)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_rows_at(anyelement, pg_lsn, walredo_tag, text, bool)
	TO pg_read_server_files;

CREATE FUNCTION walredo_row_versions(relname regclass, start_lsn pg_lsn,
	end_lsn pg_lsn,
	wal_directory text DEFAULT NULL,
	OUT ctid tid,
	OUT xmin xid,
	OUT xmax xid,
	OUT inserted_at timestamptz,
	OUT deleted_at timestamptz,
	OUT insert_lsn pg_lsn,
	OUT delete_lsn pg_lsn,
	OUT "row" jsonb)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION walredo_row_versions(regclass, pg_lsn, pg_lsn, text) IS
	'get the row versions of a table that were made or ended in a range of WAL';
REVOKE ALL ON FUNCTION walredo_row_versions(regclass, pg_lsn, pg_lsn, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_row_versions(regclass, pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_verify_images(start_lsn pg_lsn, end_lsn pg_lsn,
	wal_directory text DEFAULT NULL,
	OUT lsn pg_lsn,
	OUT tag walredo_tag,
	OUT page_lsn pg_lsn,
	OUT expected_lsn pg_lsn,
	OUT resource_manager text,
	OUT record_type text,
	OUT detail text)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_verify_images(pg_lsn, pg_lsn, text) IS
	'find page images in WAL that were taken of pages that had lost writes';
REVOKE ALL ON FUNCTION walredo_verify_images(pg_lsn, pg_lsn, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_verify_images(pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_files(start_lsn pg_lsn, end_lsn pg_lsn,
	wal_directory text DEFAULT NULL,
	OUT lsn pg_lsn,
	OUT at timestamptz,
	OUT xid xid,
	OUT event text,
	OUT tag walredo_tag,
	OUT relation text)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_files(pg_lsn, pg_lsn, text) IS
	'get the files of relations that came and went, according to WAL';
REVOKE ALL ON FUNCTION walredo_files(pg_lsn, pg_lsn, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_files(pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_wal_stats(start_lsn pg_lsn, end_lsn pg_lsn,
	wal_directory text DEFAULT NULL,
	by text DEFAULT 'relation',
	OUT relation text,
	OUT tag walredo_tag,
	OUT resource_manager text,
	OUT record_type text,
	OUT xid xid,
	OUT committed bool,
	OUT at timestamptz,
	OUT count int8,
	OUT count_percentage float8,
	OUT record_size int8,
	OUT record_size_percentage float8,
	OUT fpi_size int8,
	OUT fpi_size_percentage float8,
	OUT combined_size int8,
	OUT combined_size_percentage float8)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_wal_stats(pg_lsn, pg_lsn, text, text) IS
	'count WAL records and their bytes by relation, or by something else';
REVOKE ALL ON FUNCTION walredo_wal_stats(pg_lsn, pg_lsn, text, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_wal_stats(pg_lsn, pg_lsn, text, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_wal_range(wal_directory text DEFAULT NULL,
	OUT timeline int4,
	OUT start_lsn pg_lsn,
	OUT end_lsn pg_lsn,
	OUT start_time timestamptz,
	OUT end_time timestamptz,
	OUT segments int8)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_wal_range(text) IS
	'get the unbroken stretches of WAL that are there';
REVOKE ALL ON FUNCTION walredo_wal_range(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_wal_range(text) TO pg_read_server_files;

CREATE FUNCTION walredo_index_wal(wal_directory text DEFAULT NULL,
	OUT segments int8,
	OUT indexed int8,
	OUT made int8,
	OUT bytes int8)
RETURNS record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_index_wal(text) IS
	'make the indexes that segments of WAL lack';
REVOKE ALL ON FUNCTION walredo_index_wal(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_index_wal(text) TO pg_read_server_files;

CREATE FUNCTION walredo_lsn_at(at timestamptz,
	wal_directory text DEFAULT NULL)
RETURNS pg_lsn
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_lsn_at(timestamptz, text) IS
	'get the LSN after the last transaction that ended at or before a time';
REVOKE ALL ON FUNCTION walredo_lsn_at(timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_lsn_at(timestamptz, text)
	TO pg_read_server_files;

-- The value of an entry of _walredo_read_history() is that of the scan's current
-- record.  _walredo_history_page() asks the scan for the page, which is made only
-- then; where entries are stored, they contain the page.

CREATE FUNCTION _walredo_read_history(tag walredo_tag, start_lsn pg_lsn,
	end_lsn pg_lsn, wal_directory text)
RETURNS SETOF bytea
AS 'MODULE_PATHNAME', 'walredo_read_history'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_read_history(walredo_tag, pg_lsn, pg_lsn, text) IS
	'implementation of walredo_page_history(): read the records that changed a page';
REVOKE ALL ON FUNCTION _walredo_read_history(walredo_tag, pg_lsn, pg_lsn, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_read_history(walredo_tag, pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION _walredo_history_page(entry bytea)
RETURNS bytea
AS 'MODULE_PATHNAME', 'walredo_history_page'
LANGUAGE C IMMUTABLE STRICT PARALLEL RESTRICTED COST 1000;
COMMENT ON FUNCTION _walredo_history_page(bytea) IS
	'implementation of walredo_page_history(): the page after the record';
REVOKE ALL ON FUNCTION _walredo_history_page(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_history_page(bytea)
	TO pg_read_server_files;

CREATE FUNCTION walredo_page_history(tag walredo_tag, start_lsn pg_lsn,
	end_lsn pg_lsn, wal_directory text DEFAULT NULL,
	OUT lsn pg_lsn,
	OUT start_lsn pg_lsn,
	OUT resource_manager text,
	OUT record_type text,
	OUT description text,
	OUT page bytea)
RETURNS SETOF record
LANGUAGE SQL STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT _walredo_wal_end_lsn(r.entry),
		_walredo_wal_start_lsn(r.entry),
		_walredo_wal_resource_manager(r.entry),
		_walredo_wal_record_type(r.entry),
		_walredo_wal_description(r.entry),
		_walredo_history_page(r.entry)
	FROM (SELECT _walredo_read_history($1, $2, $3, $4) AS entry) r;
END;
COMMENT ON FUNCTION walredo_page_history(walredo_tag, pg_lsn, pg_lsn, text) IS
	'get the records that changed a page, each with the page after the record';
REVOKE ALL ON FUNCTION walredo_page_history(walredo_tag, pg_lsn, pg_lsn, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_history(walredo_tag, pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_report(tag walredo_tag, start_lsn pg_lsn DEFAULT NULL,
	end_lsn pg_lsn DEFAULT NULL, wal_directory text DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION walredo_report(walredo_tag, pg_lsn, pg_lsn, text) IS
	'make an HTML document that shows a page and its history';
REVOKE ALL ON FUNCTION walredo_report(walredo_tag, pg_lsn, pg_lsn, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_report(walredo_tag, pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_page_diff(a bytea, b bytea,
	OUT byte_offset int4,
	OUT length int4,
	OUT a bytea,
	OUT b bytea)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walredo_page_diff(bytea, bytea) IS
	'get the ranges of bytes in which two page images differ';
REVOKE ALL ON FUNCTION walredo_page_diff(bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_page_diff(bytea, bytea)
	TO pg_read_server_files;

CREATE FUNCTION walredo_verify(relname regclass, fork text DEFAULT 'main',
	wal_directory text DEFAULT NULL,
	OUT blkno int8,
	OUT page_lsn pg_lsn,
	OUT status text,
	OUT detail text)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION walredo_verify(regclass, text, text) IS
	'compare every block of a relation fork with the block rebuilt from WAL';
REVOKE ALL ON FUNCTION walredo_verify(regclass, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_verify(regclass, text, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_verify(relname regclass, fork text, blkno int8,
	wal_directory text DEFAULT NULL,
	OUT blkno int8,
	OUT page_lsn pg_lsn,
	OUT status text,
	OUT detail text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'walredo_verify_block'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION walredo_verify(regclass, text, int8, text) IS
	'compare one block of a relation fork with the block rebuilt from WAL';
REVOKE ALL ON FUNCTION walredo_verify(regclass, text, int8, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_verify(regclass, text, int8, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_verify_all(relations regclass[] DEFAULT NULL,
	wal_directory text DEFAULT NULL,
	OUT relation regclass,
	OUT fork text,
	OUT blkno int8,
	OUT page_lsn pg_lsn,
	OUT status text,
	OUT detail text)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION walredo_verify_all(regclass[], text) IS
	'compare every block of a set of relations, or of the whole database, with the block rebuilt from WAL';
REVOKE ALL ON FUNCTION walredo_verify_all(regclass[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_verify_all(regclass[], text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_relation_report(relname regclass,
	fork text DEFAULT 'main',
	start_lsn pg_lsn DEFAULT NULL,
	end_lsn pg_lsn DEFAULT NULL,
	wal_directory text DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION walredo_relation_report(regclass, text, pg_lsn, pg_lsn, text) IS
	'an HTML page with maps of a relation fork''s blocks: status, last change, WAL';
REVOKE ALL ON FUNCTION walredo_relation_report(regclass, text, pg_lsn, pg_lsn, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_relation_report(regclass, text, pg_lsn, pg_lsn, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_verify_slru(slru text DEFAULT NULL,
	wal_directory text DEFAULT NULL,
	OUT tag walredo_tag,
	OUT status text,
	OUT detail text)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION walredo_verify_slru(text, text) IS
	'compare the pages of transaction status, multixacts and commit timestamps in the server''s files with those rebuilt from WAL';
REVOKE ALL ON FUNCTION walredo_verify_slru(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_verify_slru(text, text)
	TO pg_read_server_files;

--
-- Checks on a schedule
--

-- Neither table is dumped: in another cluster, the pages are others.

CREATE TABLE walredo_damage (
	database oid NOT NULL,
	relation regclass NOT NULL,
	fork text NOT NULL CHECK (fork IN ('main', 'vm', 'init', 'fsm')),
	blkno int8 CHECK (blkno BETWEEN 0 AND 4294967294),
	found_in text NOT NULL,
	kind text NOT NULL,
	lsn pg_lsn,
	page_lsn pg_lsn,
	detail text,
	first_seen timestamptz NOT NULL,
	last_seen timestamptz NOT NULL,
	seen_lsn pg_lsn NOT NULL,
	repaired_at timestamptz);
CREATE UNIQUE INDEX walredo_damage_key
	ON walredo_damage (relation, fork, blkno, found_in, lsn)
	NULLS NOT DISTINCT WHERE repaired_at IS NULL;
COMMENT ON TABLE walredo_damage IS
	'damaged blocks that walredo_check() has found';
REVOKE ALL ON walredo_damage FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON walredo_damage TO pg_read_server_files;
GRANT SELECT ON walredo_damage TO pg_monitor;

CREATE TABLE _walredo_checked (
	database oid NOT NULL,
	relation oid NOT NULL,
	since pg_lsn,
	full_at timestamptz,
	full_begun_at timestamptz,
	checked_at timestamptz,
	PRIMARY KEY (database, relation));
COMMENT ON TABLE _walredo_checked IS
	'what walredo_check() has verified so far: relation 0 is the whole database';
REVOKE ALL ON _walredo_checked FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON _walredo_checked TO pg_read_server_files;
GRANT SELECT ON _walredo_checked TO pg_monitor;

CREATE PROCEDURE walredo_check(relations regclass[] DEFAULT NULL,
	"full" bool DEFAULT false, from_disk bool DEFAULT false,
	wal_directory text DEFAULT NULL)
AS 'MODULE_PATHNAME'
LANGUAGE C;
COMMENT ON PROCEDURE walredo_check(regclass[], bool, bool, text) IS
	'verify what has changed since the last check, and keep what is found in walredo_damage';
REVOKE ALL ON PROCEDURE walredo_check(regclass[], bool, bool, text) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE walredo_check(regclass[], bool, bool, text)
	TO pg_read_server_files;

--
-- Repairing pages
--

CREATE FUNCTION walredo_repair(relname regclass,
	fork text DEFAULT 'main',
	blkno int8 DEFAULT NULL,
	dry_run bool DEFAULT true,
	wal_directory text DEFAULT NULL,
	lsn pg_lsn DEFAULT NULL,
	base bytea DEFAULT NULL,
	conninfo text DEFAULT NULL,
	OUT fork text,
	OUT blkno int8,
	OUT status text,
	OUT page_lsn pg_lsn,
	OUT rebuilt_lsn pg_lsn,
	OUT source text,
	OUT detail text)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION walredo_repair(regclass, text, int8, bool, text, pg_lsn, bytea, text) IS
	'replace damaged blocks of a fork by those rebuilt from WAL, or say what would be replaced';
REVOKE ALL ON FUNCTION walredo_repair(regclass, text, int8, bool, text, pg_lsn, bytea, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_repair(regclass, text, int8, bool, text, pg_lsn, bytea, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_repair_slru(slru text,
	pageno int8 DEFAULT NULL,
	dry_run bool DEFAULT true,
	wal_directory text DEFAULT NULL,
	OUT tag walredo_tag,
	OUT status text,
	OUT source text,
	OUT detail text)
RETURNS SETOF record
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION walredo_repair_slru(text, int8, bool, text) IS
	'make lost pages of SLRUs anew from WAL, or say what would be made';
REVOKE ALL ON FUNCTION walredo_repair_slru(text, int8, bool, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_repair_slru(text, int8, bool, text)
	TO pg_read_server_files;

CREATE FUNCTION walredo_repair_undo(id int8)
RETURNS int8
AS 'MODULE_PATHNAME', 'walredo_undo_repair'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION walredo_repair_undo(int8) IS
	'put back the page that a repair has replaced';
REVOKE ALL ON FUNCTION walredo_repair_undo(int8) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_repair_undo(int8) TO pg_read_server_files;

CREATE FUNCTION _walredo_get_repairs(
	OUT id int8,
	OUT started_at timestamptz,
	OUT finished_at timestamptz,
	OUT role text,
	OUT database text,
	OUT relation text,
	OUT tag walredo_tag,
	OUT source text,
	OUT page_lsn pg_lsn,
	OUT rebuilt_lsn pg_lsn,
	OUT image_lsn pg_lsn,
	OUT undo_of int8,
	OUT old_page bytea,
	OUT new_page bytea)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'walredo_get_repairs'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _walredo_get_repairs() IS
	'implementation of view walredo_repairs';
REVOKE ALL ON FUNCTION _walredo_get_repairs() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_get_repairs() TO pg_read_server_files;

CREATE VIEW walredo_repairs AS
	SELECT * FROM _walredo_get_repairs();
COMMENT ON VIEW walredo_repairs IS
	'repairs of pages, with what was replaced and what has taken its place';
REVOKE ALL ON walredo_repairs FROM PUBLIC;
GRANT SELECT ON walredo_repairs TO pg_read_server_files;

--
-- Statistics
--

CREATE FUNCTION _walredo_get_stat(
	OUT requests int8,
	OUT records int8,
	OUT bytes int8,
	OUT pages int8,
	OUT native_requests int8,
	OUT native_records int8,
	OUT native_bytes int8,
	OUT errors_launch int8,
	OUT errors_child int8,
	OUT errors_protocol int8,
	OUT errors_timeout int8,
	OUT errors_cancel int8,
	OUT retries int8,
	OUT launches int8,
	OUT launch_failures int8,
	OUT deaths int8,
	OUT kills_failure int8,
	OUT kills_role int8,
	OUT kills_idle int8,
	OUT kills_size int8,
	OUT kills_output int8,
	OUT checks int8,
	OUT damaged_blocks int8,
	OUT wait_time int8[],
	OUT redo_time int8[],
	OUT launch_time int8[],
	OUT request_records int8[],
	OUT request_bytes int8[],
	OUT native_time int8[],
	OUT native_request_records int8[],
	OUT native_request_bytes int8[],
	OUT stats_reset timestamptz,
	OUT last_check timestamptz)
RETURNS record
AS 'MODULE_PATHNAME', 'walredo_get_stat'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_get_stat() IS
	'implementation of view walredo_stat';
REVOKE ALL ON FUNCTION _walredo_get_stat() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_get_stat() TO pg_monitor;

CREATE VIEW walredo_stat AS
	SELECT * FROM _walredo_get_stat();
COMMENT ON VIEW walredo_stat IS
	'statistics: requests to wal-redo children, and starts and terminations of children; times are in microseconds, and element i of a histogram counts values from 2^(i-2) to below 2^(i-1)';
REVOKE ALL ON walredo_stat FROM PUBLIC;
GRANT SELECT ON walredo_stat TO pg_monitor;

CREATE FUNCTION _walredo_get_children(
	OUT slot int4,
	OUT pid int4,
	OUT state text,
	OUT datid oid,
	OUT roleid oid,
	OUT launched_at timestamptz,
	OUT last_redo_at timestamptz,
	OUT requests int8,
	OUT records int8)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'walredo_get_children'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_get_children() IS
	'implementation of view walredo_children';
REVOKE ALL ON FUNCTION _walredo_get_children() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_get_children() TO pg_monitor;

CREATE VIEW walredo_children AS
	SELECT c.slot, c.pid, c.state, d.datname AS database, r.rolname AS role,
		c.launched_at, c.last_redo_at, c.requests, c.records
	FROM _walredo_get_children() c
		LEFT JOIN pg_database d ON d.oid = c.datid
		LEFT JOIN pg_roles r ON r.oid = c.roleid;
COMMENT ON VIEW walredo_children IS
	'statistics: wal-redo children of the pool that this session uses';
REVOKE ALL ON walredo_children FROM PUBLIC;
GRANT SELECT ON walredo_children TO pg_monitor;

CREATE FUNCTION walredo_stat_reset()
RETURNS void
AS 'MODULE_PATHNAME'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION walredo_stat_reset() IS
	'statistics: reset the counters of walredo_stat';
REVOKE ALL ON FUNCTION walredo_stat_reset() FROM PUBLIC;

CREATE FUNCTION _walredo_get_progress(
	OUT pid int4,
	OUT datid oid,
	OUT command text,
	OUT relid oid,
	OUT fork text,
	OUT tag walredo_tag,
	OUT phase text,
	OUT blocks_total int8,
	OUT blocks_done int8,
	OUT wal_start_lsn pg_lsn,
	OUT wal_position_lsn pg_lsn,
	OUT wal_end_lsn pg_lsn)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'walredo_get_progress'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION _walredo_get_progress() IS
	'implementation of views walredo_progress and walredo_verify_progress';
REVOKE ALL ON FUNCTION _walredo_get_progress() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _walredo_get_progress() TO pg_monitor;

CREATE VIEW walredo_progress AS
	SELECT p.pid, p.datid, d.datname, p.command, p.relid, p.fork, p.tag, p.phase,
		p.blocks_total, p.blocks_done, p.wal_start_lsn, p.wal_position_lsn, p.wal_end_lsn
	FROM _walredo_get_progress() p
		LEFT JOIN pg_database d ON d.oid = p.datid;
COMMENT ON VIEW walredo_progress IS
	'statistics: progress of running functions that read WAL, verify or repair';
REVOKE ALL ON walredo_progress FROM PUBLIC;
GRANT SELECT ON walredo_progress TO pg_monitor;

-- Of these functions, the phases in which WAL is read for the pages that are to be
-- compared, and in which they are compared.
CREATE VIEW walredo_verify_progress AS
	SELECT p.pid, p.datid, p.datname, p.relid, p.fork,
		CASE p.phase WHEN 'restoring WAL' THEN 'reading WAL' ELSE p.phase END AS phase,
		p.blocks_total, p.blocks_done, p.wal_start_lsn, p.wal_position_lsn, p.wal_end_lsn
	FROM walredo_progress p
	WHERE p.phase IN ('reading WAL', 'restoring WAL', 'comparing pages')
		AND p.command IN ('walredo_verify', 'walredo_verify_all', 'walredo_verify_slru',
			'walredo_check', 'walredo_repair', 'walredo_repair_slru');
COMMENT ON VIEW walredo_verify_progress IS
	'statistics: progress of verification, a part of view walredo_progress';
REVOKE ALL ON walredo_verify_progress FROM PUBLIC;
GRANT SELECT ON walredo_verify_progress TO pg_monitor;
