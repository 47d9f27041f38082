-- Generates WAL of all sorts, for inputs to start from.  For single-user mode with
-- -j: a command ends with a semicolon and two newlines.

CREATE TABLE h (id int, t text, p point, a int[]);

CREATE INDEX h_btree ON h (id);

CREATE INDEX h_hash ON h USING hash (id);

CREATE INDEX h_gist ON h USING gist (p);

CREATE INDEX h_spgist ON h USING spgist (t);

CREATE INDEX h_gin ON h USING gin (a);

CREATE INDEX h_brin ON h USING brin (id) WITH (pages_per_range = 1);

CREATE SEQUENCE s;

INSERT INTO h SELECT i, repeat(md5(i::text), i % 7), point(i, -i), ARRAY[i, i % 10]
	FROM generate_series(1, 1500) i;

SELECT nextval('s');

VACUUM (FREEZE) h;

UPDATE h SET t = 'x' WHERE id % 5 = 0;

DELETE FROM h WHERE id % 3 = 0;

BEGIN;

SELECT count(*) FROM (SELECT FROM h WHERE id < 50 FOR KEY SHARE) k;

SAVEPOINT one;

UPDATE h SET t = 'y' WHERE id < 50;

SAVEPOINT two;

CREATE TABLE dropped (i int);

ROLLBACK TO two;

COMMIT;

BEGIN;

INSERT INTO h VALUES (0);

PREPARE TRANSACTION 'one';

COMMIT PREPARED 'one';

BEGIN;

INSERT INTO h VALUES (0);

PREPARE TRANSACTION 'two';

ROLLBACK PREPARED 'two';

VACUUM h;

DELETE FROM h WHERE id > 300;

VACUUM h;

REINDEX TABLE pg_class;

VACUUM FULL pg_class;

CHECKPOINT;

UPDATE h SET id = id + 1;

SELECT pg_switch_wal();

SELECT pg_logical_emit_message(false, 'prefix', repeat('message', 7000));

INSERT INTO h SELECT i FROM generate_series(1, 1000) i;

SELECT pg_switch_wal();
