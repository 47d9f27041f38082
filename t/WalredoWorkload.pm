package WalredoWorkload;

# A workload whose WAL has records of every resource manager that changes
# pages, and of nearly every kind that these have, but is small: some ten
# seconds, and some ten thousand records.
#
# Offers, none of them exported:
#	$database, conf, run	the workload
#	subtransactions			SQL for a transaction with many subtransactions
#
# It is deterministic as far as a server can be: no other session should write at
# the same time, and autovacuum should be off.  Concurrency, where a record
# needs it, comes from prepared transactions, which hold their locks as
# sessions do.
#
# Usage:
#	$node->append_conf('postgresql.conf', WalredoWorkload::conf());
#	$node->start;
#	WalredoWorkload::run($node);		# makes a database, and works in it
#
# It comes in three parts with a checkpoint between them, so that many pages
# have both a record that initializes them and, later, a full-page image.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Time::HiRes;

# The database in which most of it happens.
our $database = 'work load';

# A block of PL/pgSQL that inserts the numbers from 1 to $count into the first
# column of a table, each in a subtransaction; one of every $fail_every fails, if
# that is given.
sub subtransactions
{
	my ($table, $count, $fail_every) = @_;
	my $fail =
	  defined $fail_every
	  ? "IF i % $fail_every = 0 THEN RAISE EXCEPTION 'no'; END IF;"
	  : '';

	return <<SQL;
DO \$\$
BEGIN
	FOR i IN 1 .. $count LOOP
		BEGIN
			INSERT INTO $table VALUES (i);
			$fail
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END LOOP;
END
\$\$;
SQL
}

# The lines of postgresql.conf that a server needs for it.
sub conf
{
	return <<'CONF';
wal_level = replica
max_prepared_transactions = 20
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 10GB
wal_keep_size = 10GB
allow_in_place_tablespaces = on
track_commit_timestamp = on
CONF
}

# Access methods, with a column to index and something to put into it as a
# function of g.
my %index_of = (
	btree => 'i',
	hash => 'i',
	gin => 'a',
	gist => 'p',
	spgist => 'p',
	brin => 'i');

sub _create
{
	my $sql = <<'SQL';
-- heap: updates in place, with and without room, and with an index in the way
CREATE TABLE hot (i int PRIMARY KEY, j int, t text) WITH (fillfactor = 60);
INSERT INTO hot SELECT g, g % 7, repeat('h', g % 90)
	FROM generate_series(1, 1500) g;
UPDATE hot SET t = t || 'x' WHERE i % 3 = 0;
UPDATE hot SET t = t || 'y' WHERE i % 6 = 0;
CREATE INDEX hot_j ON hot (j);
UPDATE hot SET j = j + 1 WHERE i % 4 = 0;

-- values out of line: compressed, not compressed, updated, and not updated
CREATE TABLE toasted (i int PRIMARY KEY, t text, u text);
ALTER TABLE toasted ALTER u SET STORAGE EXTERNAL;
INSERT INTO toasted
	SELECT g, (SELECT string_agg(md5((g * 1000 + h)::text), '')
			   FROM generate_series(1, 150) h), repeat('u', 3000 + g * 100)
	FROM generate_series(1, 60) g;
UPDATE toasted SET u = u || 'v' WHERE i % 3 = 0;
UPDATE toasted SET i = -i WHERE i % 5 = 0;
DELETE FROM toasted WHERE i % 7 = 0;

-- many rows a record
CREATE TABLE copied (i int, t text);
\copy copied FROM PROGRAM 'seq 1 3000 | sed "s/.*/&\t&&&&/"'
BEGIN;
CREATE TABLE copied_frozen (i int, t text);
\copy copied_frozen FROM PROGRAM 'seq 1 1000 | sed "s/.*/&\tfrozen &/"' (FREEZE)
COMMIT;

-- row locks and multixacts come in the second part
CREATE TABLE locked (i int PRIMARY KEY, t text);
INSERT INTO locked SELECT g, 'l' FROM generate_series(1, 400) g;
CREATE TABLE frozen (i int PRIMARY KEY, t text);
INSERT INTO frozen SELECT g, repeat('f', 50) FROM generate_series(1, 1000) g;
CREATE TABLE rewritten (i int PRIMARY KEY, t text);
INSERT INTO rewritten SELECT g * 7919 % 1000, repeat('r', g % 100)
	FROM generate_series(1, 999) g;
CREATE TABLE cut (i int PRIMARY KEY, t text);
INSERT INTO cut SELECT g, repeat('c', 500) FROM generate_series(1, 1000) g;
CREATE TABLE visible (i int, t text) WITH (fillfactor = 90);
INSERT INTO visible SELECT g, repeat('v', 300) FROM generate_series(1, 1000) g;

-- B-tree: three levels, splits at the right and in the middle, duplicates
CREATE TABLE bt (i int, t text, d int);
CREATE INDEX bt_i ON bt (i);
CREATE INDEX bt_t ON bt (t) WITH (deduplicate_items = off);
CREATE INDEX bt_d ON bt (d);
INSERT INTO bt SELECT g * 7919 % 3001, repeat(chr(97 + g * 31 % 26), 400)
		|| g * 7919 % 3001, g % 11
	FROM generate_series(1, 3000) g;
CREATE TABLE bt_pages (i int PRIMARY KEY);
INSERT INTO bt_pages SELECT generate_series(1, 6000);
CREATE TABLE bt_churn (i int PRIMARY KEY, a int, b int) WITH (fillfactor = 50);
CREATE INDEX bt_churn_a ON bt_churn (a);
CREATE INDEX bt_churn_b ON bt_churn (b);
INSERT INTO bt_churn SELECT g, g % 5, g FROM generate_series(1, 300) g;
CREATE TABLE bt_conflict (k int UNIQUE, n int);

-- hash: buckets split, a value with many overflow pages
CREATE TABLE ha (i int, d int);
CREATE INDEX ha_i ON ha USING hash (i);
CREATE INDEX ha_d ON ha USING hash (d);
INSERT INTO ha SELECT g, CASE WHEN g % 3 = 0 THEN 42 ELSE g END
	FROM generate_series(1, 5000) g;

-- GIN: pending list, and posting trees of more than one page
CREATE TABLE gi (i int, a int[]);
CREATE INDEX gi_fast ON gi USING gin (a) WITH (fastupdate = on);
INSERT INTO gi SELECT g, ARRAY[g % 10, 1000 + g % 300]
	FROM generate_series(1, 1200) g;
CREATE TABLE gi2 (i int, a int[]);
CREATE INDEX gi2_slow ON gi2 USING gin (a) WITH (fastupdate = off);
INSERT INTO gi2 SELECT g, ARRAY[1, 2000 + g % 400]
	FROM generate_series(1, 2000) g;
CREATE TABLE gi3 (i int, a int[]) WITH (fillfactor = 100);
INSERT INTO gi3 SELECT g, ARRAY[7, 8 + g % 3] FROM generate_series(1, 20000) g;
CREATE INDEX gi3_tree ON gi3 USING gin (a) WITH (fastupdate = off);
INSERT INTO gi3 SELECT g, ARRAY[7] FROM generate_series(1, 1500) g;

-- GiST
CREATE TABLE gs (i int, p point, b box);
CREATE INDEX gs_p ON gs USING gist (p);
CREATE INDEX gs_b ON gs USING gist (b);
INSERT INTO gs SELECT g, point(g * 7919 % 1009, g * 104729 % 997),
		box(point(g, g), point(g + g % 50, g + g % 30))
	FROM generate_series(1, 2000) g;
CREATE TABLE reserved (r int4range, EXCLUDE USING gist (r WITH &&));
INSERT INTO reserved SELECT int4range(g * 10, g * 10 + 5)
	FROM generate_series(1, 200) g;
INSERT INTO reserved VALUES ('[11,12)') ON CONFLICT DO NOTHING;

-- SP-GiST: a radix tree with prefixes that have to be split, two of points
CREATE TABLE sp (i int, t text, p point);
CREATE INDEX sp_t ON sp USING spgist (t);
CREATE INDEX sp_quad ON sp USING spgist (p);
CREATE INDEX sp_kd ON sp USING spgist (p kd_point_ops);
INSERT INTO sp SELECT g, repeat('prefix ', g % 4) || md5((g % 1200)::text)
		|| repeat(chr(97 + g % 20), g % 90),
		point(g * 7919 % 1009, g * 104729 % 997)
	FROM generate_series(1, 2000) g;
INSERT INTO sp SELECT g, 'same', point(1, 1) FROM generate_series(1, 500) g;
INSERT INTO sp SELECT g, repeat('prefix ', 40) || g, point(g, g)
	FROM generate_series(1, 100) g;

CREATE TABLE sp_prefix (t text);
CREATE INDEX sp_prefix_t ON sp_prefix USING spgist (t);
INSERT INTO sp_prefix SELECT 'a common prefix ' || md5(g::text)
	FROM generate_series(1, 400) g;
INSERT INTO sp_prefix SELECT 'a com' || g FROM generate_series(1, 5) g;
INSERT INTO sp_prefix VALUES ('quite another');
CREATE TABLE sp_small (t text);
CREATE INDEX sp_small_t ON sp_small USING spgist (t);
INSERT INTO sp_small SELECT g FROM generate_series(1, 50) g;

-- BRIN: a row a page, so that a second page of the map of ranges is needed,
-- for which a page with summaries has to be vacated
CREATE TABLE br (i int, t text) WITH (fillfactor = 10);
CREATE INDEX br_i ON br USING brin (i) WITH (pages_per_range = 1);
CREATE INDEX br_t ON br USING brin (t) WITH (pages_per_range = 2, autosummarize = off);
INSERT INTO br SELECT g, repeat(chr(97 + g % 3), 50) || repeat('z', 450)
	FROM generate_series(1, 1300) g;
SELECT brin_summarize_new_values('br_i'), brin_summarize_new_values('br_t');
INSERT INTO br SELECT g, repeat('y', 500) FROM generate_series(1301, 1500) g;
SELECT brin_summarize_new_values('br_i');

-- sequences
CREATE SEQUENCE seq;
SELECT count(nextval('seq')) FROM generate_series(1, 100);
CREATE TABLE serial (i serial, j int GENERATED ALWAYS AS IDENTITY);
INSERT INTO serial SELECT FROM generate_series(1, 100);

-- partitions
CREATE TABLE part (i int, t text) PARTITION BY RANGE (i);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (500);
CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (500) TO (1000);
CREATE TABLE part_rest PARTITION OF part DEFAULT;
CREATE INDEX part_i ON part (i);
INSERT INTO part SELECT g, repeat('p', 50) FROM generate_series(1, 1200) g;

CREATE MATERIALIZED VIEW mat AS SELECT i % 10 AS k, count(*) FROM hot GROUP BY 1;
CREATE UNIQUE INDEX mat_k ON mat (k);

CREATE TABLE doomed (i int PRIMARY KEY, t text);
INSERT INTO doomed SELECT g, repeat('d', 3000) FROM generate_series(1, 20) g;
SELECT lo_from_bytea(4711, decode(repeat('ab', 6000), 'hex'));
SQL

	# the init forks of all access methods
	$sql .= "CREATE UNLOGGED TABLE unlogged "
	  . "(i int, a int[], p point, t text, u serial);\n";
	foreach my $am (sort keys %index_of)
	{
		$sql .= "CREATE INDEX unlogged_$am ON unlogged "
		  . "USING $am ($index_of{$am});\n";
	}
	$sql .= "CREATE INDEX unlogged_spgist_t ON unlogged USING spgist (t);\n";
	$sql .= "INSERT INTO unlogged SELECT g, ARRAY[g], point(g, g), g "
	  . "FROM generate_series(1, 100) g;\n";
	return $sql;
}

sub _change
{
	return <<'SQL';
-- heap, now on all-visible and all-frozen pages
VACUUM hot, toasted, copied, visible;
VACUUM (FREEZE) frozen;
UPDATE hot SET t = 'z' WHERE i % 9 = 0;
UPDATE hot SET t = repeat('long', 200) WHERE i % 50 = 0;
DELETE FROM hot WHERE i % 11 = 0;
SELECT count(*) FROM hot;
UPDATE hot SET t = 'zz' WHERE i % 5 = 0;
VACUUM hot;
UPDATE frozen SET t = repeat('g', 300) WHERE i % 20 = 1;
DELETE FROM frozen WHERE i % 20 = 2;
SELECT count(*) FROM (SELECT FROM frozen WHERE i % 20 = 3 FOR UPDATE) s;
INSERT INTO frozen SELECT g, repeat('f', 20) FROM generate_series(1001, 1100) g;
UPDATE visible SET t = repeat('w', 290) WHERE i % 40 = 0;
DELETE FROM visible WHERE i % 41 = 0;
SELECT count(*) FROM (SELECT FROM visible WHERE i % 43 = 0 FOR SHARE) s;
\copy copied FROM PROGRAM 'seq 1 500 | sed "s/.*/&\tmore/"'
\copy copied_frozen FROM PROGRAM 'seq 1 100 | sed "s/.*/&\tmore/"'
UPDATE toasted SET t = reverse(t) WHERE i % 4 = 0;
DELETE FROM toasted WHERE i % 9 = 0;
VACUUM toasted;

-- a whole table, moved in order and in the order of an index
DELETE FROM rewritten WHERE i % 10 = 0;
UPDATE rewritten SET t = 'changed' WHERE i % 10 = 1;
VACUUM FULL rewritten;
UPDATE rewritten SET t = 'changed again' WHERE i % 10 = 2;
CLUSTER rewritten USING rewritten_pkey;
VACUUM FULL toasted;

-- the end of a table, and all of it
DELETE FROM cut WHERE i > 300;
VACUUM cut;
INSERT INTO cut SELECT g, repeat('c', 500) FROM generate_series(2000, 2200) g;
VACUUM cut;
DELETE FROM cut WHERE i > 2100;
VACUUM cut;
VACUUM (TRUNCATE) visible;
DELETE FROM visible WHERE ctid >= '(20,1)';
VACUUM (TRUNCATE) visible;
INSERT INTO visible SELECT g, repeat('v', 300) FROM generate_series(1, 200) g;

-- B-tree: duplicates enough to be merged, whole pages empty, then used again
INSERT INTO bt SELECT g % 5, 'dup', g % 3 FROM generate_series(1, 3000) g;
DELETE FROM bt WHERE i BETWEEN 500 AND 1500;
VACUUM bt;
DELETE FROM bt_pages WHERE i BETWEEN 1000 AND 4500;
VACUUM bt_pages;
INSERT INTO bt_pages SELECT generate_series(1000, 1100);
VACUUM bt_pages;
INSERT INTO bt_pages SELECT generate_series(10000, 13000);
INSERT INTO bt SELECT g * 7919 % 3001, repeat(chr(97 + g * 17 % 26), 380) || g, g % 11
	FROM generate_series(1, 800) g;
DO $$
BEGIN
	FOR n IN 1 .. 12 LOOP
		UPDATE bt_churn SET b = b + 1;
	END LOOP;
END
$$;
DELETE FROM bt_churn WHERE i % 2 = 0;
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT count(*) FROM bt_churn WHERE i > 0;
SELECT count(*) FROM bt_churn WHERE a >= 0;
SELECT count(*) FROM bt_churn WHERE b >= 0;
RESET enable_seqscan; RESET enable_bitmapscan;
INSERT INTO bt_churn SELECT g, g % 5, g FROM generate_series(1000, 1600) g;

INSERT INTO bt_conflict SELECT g % 50, 0 FROM generate_series(1, 100) g
	ON CONFLICT DO NOTHING;
INSERT INTO bt_conflict SELECT g, 0 FROM generate_series(25, 75) g
	ON CONFLICT (k) DO UPDATE SET n = bt_conflict.n + 1;

-- hash: dead rows that an insertion finds, overflow pages freed
DELETE FROM ha WHERE d = 42 AND i % 2 = 0;
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT count(*) FROM ha WHERE d = 42;
RESET enable_seqscan; RESET enable_bitmapscan;
INSERT INTO ha SELECT g, 42 FROM generate_series(6000, 6900) g;
DELETE FROM ha WHERE d = 42 AND i % 5 > 0;
VACUUM ha;
INSERT INTO ha SELECT g, 42 FROM generate_series(7000, 7300) g;
DELETE FROM ha WHERE d = 42;
DELETE FROM ha WHERE i % 3 = 1;
VACUUM ha;
INSERT INTO ha SELECT g, g FROM generate_series(8000, 9500) g;

-- GIN
SELECT gin_clean_pending_list('gi_fast');
INSERT INTO gi SELECT g, ARRAY[g % 10, 1000 + g % 300]
	FROM generate_series(1, 700) g;
VACUUM gi;
DELETE FROM gi WHERE i % 2 = 0;
VACUUM gi;
ALTER INDEX gi_fast SET (fastupdate = off);
INSERT INTO gi SELECT g, ARRAY[5000 + g] FROM generate_series(1, 1500) g;
ALTER INDEX gi_fast SET (fastupdate = on);
INSERT INTO gi VALUES (1, (SELECT array_agg(g) FROM generate_series(1, 5000) g));
DELETE FROM gi2 WHERE i % 2 = 0;
VACUUM gi2;
DELETE FROM gi3 WHERE i BETWEEN 2000 AND 19500;
VACUUM gi3;
INSERT INTO gi3 SELECT g, ARRAY[7, 9] FROM generate_series(1, 3000) g;

-- GiST: pages empty, with dead rows, and used again
DELETE FROM gs WHERE p <@ box '(0,0),(500,1000)';
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT count(*) FROM gs WHERE p <@ box '(0,0),(2000,2000)';
RESET enable_seqscan; RESET enable_bitmapscan;
VACUUM gs;
VACUUM gs;
INSERT INTO gs SELECT g, point(g * 7919 % 1009, g % 997), box(point(g, 1), point(g, 2))
	FROM generate_series(1, 800) g;
DELETE FROM gs WHERE i % 2 = 0;
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT count(*) FROM gs WHERE p <@ box '(0,0),(2000,2000)';
RESET enable_seqscan; RESET enable_bitmapscan;
INSERT INTO gs SELECT g, point(g * 7919 % 1009, g % 997), NULL
	FROM generate_series(1, 1500) g;
DELETE FROM reserved WHERE lower(r) < 500;
VACUUM reserved;

-- SP-GiST
DELETE FROM sp WHERE i % 3 > 0;
VACUUM sp;
INSERT INTO sp SELECT g, md5(g::text), point(g % 17, g % 19)
	FROM generate_series(1, 1000) g;
DELETE FROM sp;
DELETE FROM sp_small WHERE t LIKE '%7';
VACUUM sp, sp_small;
INSERT INTO sp SELECT g, md5(g::text), point(g % 17, g % 19)
	FROM generate_series(1, 500) g;

-- BRIN
UPDATE br SET i = i + 10000 WHERE i % 7 = 0;
INSERT INTO br SELECT g, repeat('x', g % 500) FROM generate_series(1, 100) g;
SELECT brin_summarize_range('br_t', 4), brin_desummarize_range('br_t', 0),
	brin_desummarize_range('br_i', 3), brin_summarize_range('br_i', 3);
UPDATE br SET t = repeat('~', 400) || t WHERE i % 31 = 0;
VACUUM br;

SELECT count(nextval('seq')) FROM generate_series(1, 50);
SELECT setval('seq', 5000);
ALTER SEQUENCE seq INCREMENT BY 3;

-- partitions: rows that go elsewhere
UPDATE part SET i = i + 500 WHERE i % 10 = 0;
ALTER TABLE part DETACH PARTITION part2;
UPDATE part2 SET t = 'detached' WHERE i % 3 = 0;
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES FROM (500) TO (1000);

-- subtransactions, few and more than a session has room for
BEGIN;
SAVEPOINT a; INSERT INTO locked VALUES (1001);
SAVEPOINT b; INSERT INTO locked VALUES (1002);
ROLLBACK TO b; INSERT INTO locked VALUES (1003);
RELEASE a;
COMMIT;
DO $$
BEGIN
	FOR n IN 1 .. 150 LOOP
		BEGIN
			INSERT INTO locked VALUES (2000 + n);
			IF n % 3 = 0 THEN
				RAISE EXCEPTION 'no';
			END IF;
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END LOOP;
END
$$;
BEGIN;
INSERT INTO locked SELECT g, 'no' FROM generate_series(5000, 5100) g;
CREATE TABLE never (i int PRIMARY KEY);
ROLLBACK;

-- two-phase
BEGIN;
INSERT INTO locked SELECT g, 'two' FROM generate_series(6000, 6050) g;
SAVEPOINT a; DELETE FROM locked WHERE i < 10;
DROP TABLE doomed;
PREPARE TRANSACTION 'commit';
BEGIN;
INSERT INTO locked SELECT g, 'two' FROM generate_series(7000, 7050) g;
CREATE TABLE made AS SELECT * FROM locked;
PREPARE TRANSACTION 'rollback';
COMMIT PREPARED 'commit';
ROLLBACK PREPARED 'rollback';

-- rows locked by several, and changed by others
BEGIN; SELECT count(*) FROM (SELECT FROM locked WHERE i BETWEEN 20 AND 60 FOR KEY SHARE) s;
PREPARE TRANSACTION 'l1';
BEGIN; SELECT count(*) FROM (SELECT FROM locked WHERE i BETWEEN 30 AND 70 FOR KEY SHARE) s;
PREPARE TRANSACTION 'l2';
BEGIN; SELECT count(*) FROM (SELECT FROM locked WHERE i BETWEEN 80 AND 90 FOR SHARE) s;
PREPARE TRANSACTION 'l3';
BEGIN; SELECT count(*) FROM (SELECT FROM locked WHERE i BETWEEN 85 AND 95 FOR SHARE) s;
PREPARE TRANSACTION 'l4';
UPDATE locked SET t = 'behind a lock' WHERE i BETWEEN 20 AND 70;
BEGIN; UPDATE locked SET t = 'in progress' WHERE i BETWEEN 100 AND 110;
PREPARE TRANSACTION 'u1';
-- these lock the versions to come, too
BEGIN; SELECT count(*) FROM (SELECT FROM locked WHERE i BETWEEN 100 AND 105 FOR KEY SHARE) s;
PREPARE TRANSACTION 'l5';
BEGIN;
SELECT count(*) FROM (SELECT FROM locked WHERE i BETWEEN 120 AND 130 FOR KEY SHARE) s;
SAVEPOINT a;
UPDATE locked SET t = 'own lock' WHERE i BETWEEN 120 AND 125;
DELETE FROM locked WHERE i BETWEEN 126 AND 128;
COMMIT;
COMMIT PREPARED 'l1';
ROLLBACK PREPARED 'l2';
COMMIT PREPARED 'l3';
COMMIT PREPARED 'l4';
COMMIT PREPARED 'u1';
COMMIT PREPARED 'l5';
VACUUM (FREEZE) locked;

-- indexes over what is there, in all ways
CREATE INDEX hot_t ON hot (t);
CREATE INDEX CONCURRENTLY hot_t2 ON hot (left(t, 3), i);
REINDEX TABLE rewritten;
REINDEX INDEX CONCURRENTLY hot_j;
CREATE INDEX copied_hash ON copied USING hash (i);
CREATE INDEX copied_gist ON copied USING gist (point(i, i));
CREATE INDEX copied_spgist ON copied USING spgist (t);
CREATE INDEX copied_brin ON copied USING brin (i, t) WITH (pages_per_range = 2);
CREATE INDEX copied_gin ON copied USING gin (to_tsvector('simple', t));
DROP INDEX hot_t;
REFRESH MATERIALIZED VIEW CONCURRENTLY mat;
REFRESH MATERIALIZED VIEW mat;

TRUNCATE rewritten;
INSERT INTO rewritten SELECT g, 'again' FROM generate_series(1, 300) g;
BEGIN;
TRUNCATE copied_frozen;
INSERT INTO copied_frozen SELECT g, 'again' FROM generate_series(1, 300) g;
COMMIT;

ALTER TABLE unlogged SET LOGGED;
ALTER TABLE part1 SET UNLOGGED;
ALTER TABLE serial SET TABLESPACE "elsewhere";
ALTER TABLE bt_conflict ADD COLUMN c text DEFAULT md5(random()::text);
ANALYZE;

-- catalogs whose place a map file keeps
VACUUM FULL pg_class;
VACUUM FULL pg_database;
REINDEX TABLE pg_shdepend;
DROP TABLE part_rest;
SQL
}

sub _change_more
{
	return <<'SQL';
UPDATE hot SET t = t || '!' WHERE i % 2 = 0;
DELETE FROM hot WHERE i < 300;
VACUUM hot;
INSERT INTO bt SELECT g, repeat('q', 200) || g, 5 FROM generate_series(1, 500) g;
INSERT INTO bt_pages SELECT generate_series(20000, 21000);
INSERT INTO ha SELECT g, g % 50 FROM generate_series(20000, 21500) g;
INSERT INTO gi SELECT g, ARRAY[g % 10, g] FROM generate_series(1, 500) g;
INSERT INTO gi3 SELECT g, ARRAY[7] FROM generate_series(1, 500) g;
INSERT INTO gs SELECT g, point(g % 100, g), box(point(g, 1), point(g, 2))
	FROM generate_series(1, 500) g;
INSERT INTO sp SELECT g, md5(g::text) || 's', point(g, g % 19)
	FROM generate_series(1, 500) g;
UPDATE br SET i = -i WHERE i % 40 = 0;
UPDATE unlogged SET i = i + 1, t = 'logged now';
INSERT INTO serial SELECT FROM generate_series(1, 50);
SELECT count(nextval('seq')) FROM generate_series(1, 5);
UPDATE frozen SET t = 'last' WHERE i % 30 = 0;
VACUUM (FREEZE) frozen;
UPDATE locked SET t = 'last' WHERE i % 3 = 0;
VACUUM locked, copied, visible, bt_churn;
INSERT INTO visible SELECT g, 'x' FROM generate_series(1, 20) g;
-- a row that goes from one all-visible page to another
DELETE FROM visible WHERE ctid >= '(5,0)' AND ctid < '(6,0)';
VACUUM (TRUNCATE off) visible;
UPDATE visible SET t = repeat('m', 1900)
	WHERE ctid = (SELECT min(ctid) FROM visible WHERE ctid >= '(2,0)');
UPDATE toasted SET t = t || 'x' WHERE i % 2 = 0;
SQL
}

sub _bloom
{
	my $part = shift;

	return <<'SQL' if $part == 1;
CREATE EXTENSION bloom;
CREATE TABLE blo (i int, j int);
CREATE INDEX blo_ij ON blo USING bloom (i, j);
INSERT INTO blo SELECT g, g % 10 FROM generate_series(1, 1500) g;
CREATE UNLOGGED TABLE unlogged_blo (i int);
CREATE INDEX unlogged_bloom ON unlogged_blo USING bloom (i);
SQL
	return <<'SQL';
DELETE FROM blo WHERE i % 3 = 0;
VACUUM blo;
INSERT INTO blo SELECT g, g % 10 FROM generate_series(1, 200) g;
SQL
}

# An insertion that finds, only once its row is there, that another session
# was faster, and takes the row back.
sub _super_delete
{
	my $node = shift;

	$node->safe_psql($database, <<'SQL');
CREATE FUNCTION second_call_waits(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
$$
DECLARE
	n int := current_setting('workload.calls', true);
BEGIN
	IF n > 0 THEN
		PERFORM set_config('workload.calls', (n + 1)::text, false);
		IF n = 2 THEN
			PERFORM pg_advisory_lock(4711);
			PERFORM pg_advisory_unlock(4711);
		END IF;
	END IF;
	RETURN i;
END
$$;
CREATE TABLE spec (i int, t text);
CREATE UNIQUE INDEX spec_i ON spec (second_call_waits(i));
ALTER TABLE spec ALTER t SET STORAGE EXTERNAL;
SQL
	my $row = "(1, repeat('t', 5000)) ON CONFLICT DO NOTHING";
	my $holder = $node->background_psql($database);
	$holder->query_safe('SELECT pg_advisory_lock(4711)');

	my $slow = $node->background_psql($database);
	$slow->query_safe("SET workload.calls = 1");
	$slow->query_until(qr/sent/, "\\echo sent\nINSERT INTO spec VALUES $row;\n");
	$node->poll_query_until($database,
		"SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
	  or die "the slow session does not wait";

	$node->safe_psql($database, "INSERT INTO spec VALUES $row");
	$holder->query_safe('SELECT pg_advisory_unlock(4711)');
	$holder->quit;
	$slow->quit;
	return;
}

sub _run_sql
{
	my ($node, $sql) = @_;
	$node->safe_psql($database, "SET client_min_messages = warning;\n$sql");
	return;
}

# Runs the whole workload.  Returns how many seconds it took.
sub run
{
	my $node = shift;
	my $start = Time::HiRes::time();
	my $has_bloom = $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_available_extensions WHERE name = 'bloom'");

	$node->safe_psql('postgres', qq{CREATE DATABASE "$database"});
	$node->safe_psql('postgres',
		qq{CREATE TABLESPACE "elsewhere" LOCATION ''});
	_run_sql($node, _create());
	_run_sql($node, _bloom(1)) if $has_bloom;
	$node->safe_psql($database, 'CHECKPOINT');
	_run_sql($node, _change());
	_run_sql($node, _bloom(2)) if $has_bloom;
	_super_delete($node);
	$node->safe_psql($database, 'CHECKPOINT');
	_run_sql($node, _change_more());
	return Time::HiRes::time() - $start;
}

1;
