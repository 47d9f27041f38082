# Rows as of an LSN, case by case: what walredo_rows_at() returns is what a session
# has read there, and what it cannot return, or may not, it says.
#
# Each case is tested with checkpoints at different places, so that pages as of
# the LSN are the server's own, are rebuilt, or are those of later images.
#
# For rows under a random workload, see 084_rows_workload.pl.

use WalredoSessions;
use WalredoTest;

my $node = wal_server(
	'main',
	allows_streaming => 1,
	conf => <<'CONF');
shared_preload_libraries = 'walredo'
max_prepared_transactions = 50
allow_in_place_tablespaces = on
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION walredo;
CREATE TABLESPACE elsewhere LOCATION '';
SQL

# One session runs nearly all statements, as it takes longer to start psql.
my $session = session($node);

# Runs SQL, which must not fail.  Returns what it prints.
sub query
{
	my ($output, $messages) = run_query($session, shift);

	die $messages if $messages =~ /ERROR:/;
	return $output;
}

sub current_lsn
{
	return query('SELECT pg_current_wal_insert_lsn()');
}

#
# Rows, whatever has happened to them since
#

my $fill =
  q{INSERT INTO T SELECT g, 'row ' || g FROM generate_series(1, 40) g};
my $table = "CREATE TABLE T (i int, t text); $fill";
my $wide = <<'SQL';
CREATE TABLE T (i int, t text); ALTER TABLE T ALTER t SET STORAGE PLAIN;
INSERT INTO T SELECT g, repeat(chr(64 + g), 1500) FROM generate_series(1, 30) g
SQL
my $change =
  q{UPDATE T SET t = t || '!' WHERE i % 3 = 0; DELETE FROM T WHERE i % 5 = 0; INSERT INTO T SELECT g, 'new' FROM generate_series(100, 120) g};

# Values that are out of line, compressed or not.
my $noise =
  q{(SELECT string_agg(md5((g * i)::text), '') FROM generate_series(1, 100) i)};
my $toasted = <<SQL;
CREATE TABLE T (i int, t text);
ALTER TABLE T ALTER t SET STORAGE STORAGE_KIND;
INSERT INTO T SELECT g, $noise || repeat('z', 3000) FROM generate_series(1, 12) g;
INSERT INTO T SELECT g, repeat('compressed', 300) FROM generate_series(20, 25) g
SQL
my $retoast = <<SQL;
UPDATE T SET t = 'short' WHERE i % 3 = 0; UPDATE T SET t = t || 'x' WHERE i % 3 = 1;
DELETE FROM T WHERE i % 3 = 2
SQL

# For each: its name; SQL before the rows are read, after that but before the
# LSN, and after the LSN; and, if not all columns, which ones.
my @cases = (
	[ 'rows are changed and deleted', $table, '', $change ],
	[ 'they are vacuumed, too', $table, '', "$change; VACUUM T" ],
	[ 'all rows are deleted and vacuumed', $table, '', 'DELETE FROM T; VACUUM T' ],
	[ 'the end of the file is cut off', $wide, '', 'DELETE FROM T WHERE i > 6; VACUUM T' ],
	[
		'pages are used again', $wide, '',
		"DELETE FROM T WHERE i > 6; VACUUM T; INSERT INTO T SELECT g, repeat('again', 300) FROM generate_series(1, 40) g"
	],
	[ 'rows are frozen', $table, '', "$change; VACUUM (FREEZE) T" ],
	[ 'rows were frozen before', "$table; VACUUM (FREEZE) T", '', $change ],
	[
		'rows were frozen from the start',
		"BEGIN; CREATE TABLE T (i int, t text); COPY T FROM PROGRAM 'seq 20 | sed \"s/.*/&\\tcopied/\"' (FREEZE); COMMIT",
		'', $change
	],
	[
		'an aborted transaction',
		"$table; BEGIN; $change; ROLLBACK",
		'', 'VACUUM T'
	],
	[
		'a transaction that aborts later',
		$table, "BEGIN; $change; PREPARE TRANSACTION 'T'",
		"ROLLBACK PREPARED 'T'; SELECT count(*) FROM T; UPDATE T SET t = t WHERE i = 1"
	],
	[
		'a transaction that commits later',
		$table, "BEGIN; $change; PREPARE TRANSACTION 'T'",
		"COMMIT PREPARED 'T'; SELECT count(*) FROM T; INSERT INTO T VALUES (0, 'last')"
	],
	[
		'a prepared transaction that has committed',
		"$table; BEGIN; $change; PREPARE TRANSACTION 'T'; COMMIT PREPARED 'T'",
		'', "DELETE FROM T WHERE i % 2 = 0; VACUUM T"
	],
	[
		'subtransactions', <<SQL,
$table; BEGIN; SAVEPOINT a; UPDATE T SET t = 'a' WHERE i < 10;
SAVEPOINT b; DELETE FROM T WHERE i < 5; ROLLBACK TO b; SAVEPOINT c;
INSERT INTO T VALUES (50, 'c'); RELEASE a; COMMIT
SQL
		'', "$change; VACUUM T"
	],
	[
		'a subtransaction of a transaction that commits later',
		$table,
		"BEGIN; SAVEPOINT a; $change; RELEASE a; SAVEPOINT b; DELETE FROM T; ROLLBACK TO b; PREPARE TRANSACTION 'T'",
		"COMMIT PREPARED 'T'; SELECT count(*) FROM T"
	],
	[
		'very many subtransactions', <<SQL,
$table; DO \$do\$ BEGIN FOR n IN 1 .. 200 LOOP BEGIN
	UPDATE T SET t = 'sub ' || n WHERE i = n % 40;
	IF n % 3 = 0 THEN RAISE division_by_zero; END IF;
EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END \$do\$
SQL
		'', "$change; VACUUM T"
	],
	[
		'chains of HOT updates, which are pruned', <<SQL,
CREATE TABLE T (i int, t text) WITH (fillfactor = 40); $fill;
UPDATE T SET t = t || 'a'; UPDATE T SET t = t || 'b' WHERE i % 2 = 0
SQL
		'',
		"UPDATE T SET t = t || 'c'; SELECT count(*) FROM T; UPDATE T SET t = t || 'd'; SELECT count(*) FROM T; UPDATE T SET t = 'e'; VACUUM T"
	],
	[ 'rows go to other pages', $wide, '', 'UPDATE T SET i = i + 100; VACUUM T' ],
	[
		'rows are locked',
		"$table; BEGIN; SELECT FROM T WHERE i < 9 FOR UPDATE; COMMIT",
		"BEGIN; SELECT FROM T WHERE i > 20 FOR SHARE; PREPARE TRANSACTION 'T'",
		"COMMIT PREPARED 'T'; DELETE FROM T WHERE i < 5"
	],
	[
		'rows are locked by several, and were updated', <<SQL,
$table; ALTER TABLE T ADD PRIMARY KEY (i);
BEGIN; SELECT FROM T WHERE i < 20 FOR KEY SHARE; PREPARE TRANSACTION 'T1';
BEGIN; SELECT FROM T WHERE i < 10 FOR KEY SHARE; PREPARE TRANSACTION 'T2';
UPDATE T SET t = 'updated' WHERE i < 15
SQL
		'',
		"COMMIT PREPARED 'T1'; ROLLBACK PREPARED 'T2'; VACUUM (FREEZE) T"
	],
	[
		'rows are locked by several, and are updated later', <<SQL,
$table; ALTER TABLE T ADD PRIMARY KEY (i);
BEGIN; SELECT FROM T WHERE i < 20 FOR KEY SHARE; PREPARE TRANSACTION 'T1';
SQL
		"BEGIN; UPDATE T SET t = 'updated' WHERE i < 15; PREPARE TRANSACTION 'T2'",
		"COMMIT PREPARED 'T2'; COMMIT PREPARED 'T1'; UPDATE T SET t = 'more' WHERE i = 30"
	],
	[
		'rows are locked by several, and an update is aborted', <<SQL,
$table; ALTER TABLE T ADD PRIMARY KEY (i);
BEGIN; SELECT FROM T WHERE i < 20 FOR KEY SHARE; PREPARE TRANSACTION 'T1';
BEGIN; UPDATE T SET t = 'updated' WHERE i < 15; ROLLBACK
SQL
		'', "COMMIT PREPARED 'T1'; VACUUM (FREEZE) T"
	],
	[
		'a key is locked in the transaction that updates', <<SQL,
$table; ALTER TABLE T ADD PRIMARY KEY (i);
BEGIN; SELECT FROM T WHERE i < 20 FOR KEY SHARE; SAVEPOINT a;
UPDATE T SET t = 'updated' WHERE i < 15; DELETE FROM T WHERE i = 16; COMMIT
SQL
		'', "$change; VACUUM T"
	],
	[
		'generated columns',
		'CREATE TABLE T (i int, g int GENERATED ALWAYS AS (i * 2) STORED); INSERT INTO T SELECT generate_series(1, 9)',
		'', 'UPDATE T SET i = i + 1; VACUUM T'
	],
	[
		'no columns', 'CREATE TABLE T (); INSERT INTO T DEFAULT VALUES; INSERT INTO T DEFAULT VALUES',
		'', 'DELETE FROM T; VACUUM T', ''
	],
	[
		'a column is added', $table, '',
		'ALTER TABLE T ADD COLUMN c int DEFAULT 7; UPDATE T SET c = i', 'i, t'
	],
	[
		'a column is added by a transaction that commits later',
		$table,
		"BEGIN; ALTER TABLE T ADD COLUMN c int DEFAULT 7; INSERT INTO T VALUES (7, 'seven', 8); PREPARE TRANSACTION 'T'",
		"COMMIT PREPARED 'T'; UPDATE T SET c = i", 'i, t'
	],
	[
		'a column had been added',
		"$table; ALTER TABLE T ADD COLUMN c int DEFAULT 7; UPDATE T SET c = 8 WHERE i < 3",
		'', $change
	],
	[
		'a column had been added, and the table was rewritten',
		"$table; ALTER TABLE T ADD COLUMN c text[] DEFAULT '{a,NULL}', ADD COLUMN d text DEFAULT repeat('long', 800); UPDATE T SET c = NULL WHERE i < 3",
		'', 'VACUUM FULL T; DELETE FROM T'
	],
	[ 'a column is dropped', $table, '', "$change; ALTER TABLE T DROP COLUMN t; VACUUM FULL T", 'i' ],
	[
		'a column had been dropped',
		"CREATE TABLE T (a text, i int, b numeric, t text); INSERT INTO T SELECT repeat('a', g), g, g / 3.0, 't' FROM generate_series(1, 9) g; ALTER TABLE T DROP COLUMN a, DROP COLUMN b; INSERT INTO T VALUES (50, 'after')",
		'', 'DELETE FROM T; VACUUM T'
	],
	[
		'a column gets another name',
		"CREATE TABLE T (i int, t text, o text); $fill",
		'', "ALTER TABLE T RENAME o TO n; DELETE FROM T WHERE i < 9; VACUUM FULL T", 'i, t'
	],
	[
		'a column gets another type that needs no rewrite',
		"CREATE TABLE T (i int, t varchar(20)); $fill", '',
		'ALTER TABLE T ALTER t TYPE text; DELETE FROM T WHERE i < 9'
	],
	[ 'TRUNCATE', $table, '', 'TRUNCATE T; INSERT INTO T VALUES (1)' ],
	[ 'TRUNCATE, and the table stays empty', $table, '', 'TRUNCATE T' ],
	[ 'VACUUM FULL', $table, '', "$change; VACUUM FULL T" ],
	[ 'CLUSTER', "$table; CREATE INDEX T_i ON T (i)", '', "$change; CLUSTER T USING T_i" ],
	[ 'SET TABLESPACE', $table, '', 'ALTER TABLE T SET TABLESPACE elsewhere; DELETE FROM T' ],
	[ 'it has been elsewhere, too', "$table; ALTER TABLE T SET TABLESPACE elsewhere; DELETE FROM T WHERE i = 3", '', 'ALTER TABLE T SET TABLESPACE pg_default; DELETE FROM T' ],
	[ 'another file, twice', $table, '', "VACUUM FULL T; $change; TRUNCATE T; $fill" ],
	[
		'another file by a transaction that commits later',
		$table,
		"BEGIN; TRUNCATE T; INSERT INTO T VALUES (1, 'another'); PREPARE TRANSACTION 'T'",
		"COMMIT PREPARED 'T'; INSERT INTO T VALUES (2, 'another')"
	],
	[
		'another file by a transaction that aborts later',
		$table,
		"BEGIN; TRUNCATE T; INSERT INTO T VALUES (1, 'another'); PREPARE TRANSACTION 'T'",
		"ROLLBACK PREPARED 'T'; DELETE FROM T WHERE i = 2"
	],
	(
		map {
			my $kind = $_;
			my $make = $toasted =~ s/STORAGE_KIND/$kind/r;

			[ "TOAST, $kind", $make, '', $retoast ],
			  [ "TOAST, $kind, vacuumed", $make, '', "$retoast; VACUUM T" ],
			  [
				"TOAST, $kind, changed by a transaction that commits later",
				$make,
				"BEGIN; $retoast; PREPARE TRANSACTION 'T'",
				"COMMIT PREPARED 'T'; SELECT count(*) FROM T; INSERT INTO T VALUES (0)"
			  ]
		} qw(EXTENDED EXTERNAL MAIN)),
	[ 'TOAST, VACUUM FULL', $toasted =~ s/STORAGE_KIND/EXTENDED/r, '', "$retoast; VACUUM FULL T" ],
	[ 'TOAST, TRUNCATE', $toasted =~ s/STORAGE_KIND/EXTERNAL/r, '', 'TRUNCATE T' ],
	[
		'a materialized view',
		"$table; CREATE MATERIALIZED VIEW T_v AS SELECT i, t FROM T WHERE i < 30; ALTER TABLE T RENAME TO T_t; ALTER MATERIALIZED VIEW T_v RENAME TO T",
		'', "DELETE FROM T_t; REFRESH MATERIALIZED VIEW T"
	],
	[
		'a materialized view, CONCURRENTLY',
		"CREATE TABLE T_t (i int, t text); INSERT INTO T_t SELECT g, 'v' FROM generate_series(1, 30) g; CREATE MATERIALIZED VIEW T AS TABLE T_t; CREATE UNIQUE INDEX ON T (i)",
		'', "DELETE FROM T_t WHERE i < 9; REFRESH MATERIALIZED VIEW CONCURRENTLY T; VACUUM T"
	],
	[
		'a table with children',
		"CREATE TABLE T (i int, t text); CREATE TABLE T_c (n int) INHERITS (T); INSERT INTO T_c VALUES (100, 'child', 3); $fill",
		'', $change
	],
	[
		'partitions', <<SQL,
CREATE TABLE T (i int, t text) PARTITION BY RANGE (i);
CREATE TABLE T_1 PARTITION OF T FOR VALUES FROM (0) TO (20);
CREATE TABLE T_2 (t text, x int, i int); ALTER TABLE T_2 DROP COLUMN x;
ALTER TABLE T ATTACH PARTITION T_2 FOR VALUES FROM (20) TO (1000); $fill
SQL
		'', "$change; UPDATE T SET i = i + 15"
	],
	[
		'partitions come and go', <<SQL,
CREATE TABLE T (i int, t text) PARTITION BY RANGE (i);
CREATE TABLE T_1 PARTITION OF T FOR VALUES FROM (0) TO (20);
CREATE TABLE T_2 PARTITION OF T FOR VALUES FROM (20) TO (40) PARTITION BY HASH (i);
CREATE TABLE T_2a PARTITION OF T_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE T_2b PARTITION OF T_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE T_3 PARTITION OF T DEFAULT; $fill;
SQL
		'', <<SQL
ALTER TABLE T DETACH PARTITION T_1; DELETE FROM T_1 WHERE i < 5;
DROP TABLE T_2a; TRUNCATE T_2b; VACUUM FULL T_3;
CREATE TABLE T_4 PARTITION OF T FOR VALUES FROM (0) TO (20);
INSERT INTO T SELECT g, 'new' FROM generate_series(1, 15) g
SQL
	]);

# Reads rows by SQL, as a sorted list, and messages.
sub rows_of
{
	my ($columns, $from) = @_;

	return run_query($session,
		"SELECT ROW($columns)::text FROM $from t ORDER BY 1");
}

my $number = 0;
foreach my $case (@cases)
{
	my ($name, $before, $between, $after, $columns) = @$case;

	# Where there is a checkpoint.
	foreach my $place ('none', 'before', 'first', 'last')
	{
		my $relation = 't' . ++$number;
		my $run = sub { query(shift =~ s/\bT(?=\b|_|\d)/$relation/gr) if $_[0] ne '' };
		my $list = $columns // 't.*';
		my $only = $name =~ /^partitions/ ? '' : 'ONLY';

		query('CHECKPOINT') if $place eq 'before';
		$run->($before);
		query('CHECKPOINT') if $place eq 'first';
		my ($expected) = rows_of($list, "$only $relation");
		$run->($between);
		query('CHECKPOINT') if $place eq 'last';
		my $lsn = current_lsn();
		$run->($after);

		my ($rows, $messages) =
		  rows_of($list, "walredo_rows_at(NULL::$relation, '$lsn')");
		ok($expected ne '' && $rows eq $expected && $messages eq '',
			"$name; checkpoint: $place")
		  or diag("expected:\n", substr($expected, 0, 1500), "\ngot:\n", substr($rows, 0, 1500), "\n$messages");
	}
}
$node->stop;
done_testing();
