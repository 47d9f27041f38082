# Rows as of an LSN, case by case: what walredo_rows_at() returns is what a
# session has read there, and what it cannot return, or may not, it says.
#
# Each case is tested with checkpoints at different places, so that pages as of
# the LSN are the server's own, are rebuilt, or are those of later images.
#
# For rows under a random workload, see 084_rows_workload.pl.
#
# Seen to fail
# - when a transaction that commits after the LSN had committed at it, and when
#   subtransactions had no end;
# - when any frozen row was visible, any row with a lock was deleted, and the
#   first member of a multixact had changed the row;
# - when the relation's present file was that of then if it was older than the
#   LSN, though the transaction that had made it committed later;
# - when blocks that were cut off since were not looked at;
# - when an image in a record of the visibility map did not count, and when
#   nothing was said about rows that were pruned before the first image;
# - when one partition was left out, no TOAST table was found, a catalog in the
#   relation map had no rows because its file is a new one, and anybody could
#   read any table;
# - when there was no limit for the memory that the ends of transactions take.

use WalredoSessions;
use WalredoTest;

# Hint bits are to be in WAL, and later not.
my $major = PostgreSQL::Test::Cluster->new('version')->pg_version->major;
my $node = wal_server(
	'main',
	allows_streaming => 1,
	extra => $major >= 18 ? ['--no-data-checksums'] : [],
	conf => <<'CONF');
shared_preload_libraries = 'walredo'
max_prepared_transactions = 50
wal_log_hints = on
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
	[
		'all rows are deleted and vacuumed', $table,
		'', 'DELETE FROM T; VACUUM T'
	],
	[
		'the end of the file is cut off',
		$wide, '', 'DELETE FROM T WHERE i > 6; VACUUM T'
	],
	[
		'pages are used again',
		$wide,
		'',
		"DELETE FROM T WHERE i > 6; VACUUM T; INSERT INTO T SELECT g, repeat('again', 300) FROM generate_series(1, 40) g"
	],
	[ 'rows are frozen', $table, '', "$change; VACUUM (FREEZE) T" ],
	[ 'rows were frozen before', "$table; VACUUM (FREEZE) T", '', $change ],
	[
		'rows of a transaction that commits later are frozen',
		$table,
		"BEGIN; INSERT INTO T SELECT g, 'later' FROM generate_series(50, 60) g; PREPARE TRANSACTION 'T'",
		"COMMIT PREPARED 'T'; VACUUM (FREEZE) T"
	],
	[
		'pages are marked as all-visible',
		"$table; SELECT count(*) FROM T",
		'VACUUM T',
		"$change; VACUUM T"
	],
	[
		'rows were frozen from the start',
		"BEGIN; CREATE TABLE T (i int, t text); COPY T FROM PROGRAM 'seq 20 | sed \"s/.*/&\\tcopied/\"' (FREEZE); COMMIT",
		'',
		$change
	],
	[
		'an aborted transaction',
		"$table; BEGIN; $change; ROLLBACK",
		'', 'VACUUM T'
	],
	[
		'a transaction that aborts later',
		$table,
		"BEGIN; $change; PREPARE TRANSACTION 'T'",
		"ROLLBACK PREPARED 'T'; SELECT count(*) FROM T; UPDATE T SET t = t WHERE i = 1"
	],
	[
		'a transaction that commits later',
		$table,
		"BEGIN; $change; PREPARE TRANSACTION 'T'",
		"COMMIT PREPARED 'T'; SELECT count(*) FROM T; INSERT INTO T VALUES (0, 'last')"
	],
	[
		'a prepared transaction that has committed',
		"$table; BEGIN; $change; PREPARE TRANSACTION 'T'; COMMIT PREPARED 'T'",
		'',
		"DELETE FROM T WHERE i % 2 = 0; VACUUM T"
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
	[
		'rows go to other pages',
		$wide, '', 'UPDATE T SET i = i + 100; VACUUM T'
	],
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
		'',
		'UPDATE T SET i = i + 1; VACUUM T'
	],
	[
		'no columns',
		'CREATE TABLE T (); INSERT INTO T DEFAULT VALUES; INSERT INTO T DEFAULT VALUES',
		'',
		'DELETE FROM T; VACUUM T',
		''
	],
	[
		'a column is added',
		$table, '',
		'ALTER TABLE T ADD COLUMN c int DEFAULT 7; UPDATE T SET c = i',
		'i, t'
	],
	[
		'a column is added by a transaction that commits later',
		$table,
		"BEGIN; ALTER TABLE T ADD COLUMN c int DEFAULT 7; INSERT INTO T VALUES (7, 'seven', 8); PREPARE TRANSACTION 'T'",
		"COMMIT PREPARED 'T'; UPDATE T SET c = i",
		'i, t'
	],
	[
		'a column had been added',
		"$table; ALTER TABLE T ADD COLUMN c int DEFAULT 7; UPDATE T SET c = 8 WHERE i < 3",
		'',
		$change
	],
	[
		'a column had been added, and the table was rewritten',
		"$table; ALTER TABLE T ADD COLUMN c text[] DEFAULT '{a,NULL}', ADD COLUMN d text DEFAULT repeat('long', 800); UPDATE T SET c = NULL WHERE i < 3",
		'',
		'VACUUM FULL T; DELETE FROM T'
	],
	[
		'a column is dropped',
		$table, '', "$change; ALTER TABLE T DROP COLUMN t; VACUUM FULL T",
		'i'
	],
	[
		'a column had been dropped',
		"CREATE TABLE T (a text, i int, b numeric, t text); INSERT INTO T SELECT repeat('a', g), g, g / 3.0, 't' FROM generate_series(1, 9) g; ALTER TABLE T DROP COLUMN a, DROP COLUMN b; INSERT INTO T VALUES (50, 'after')",
		'',
		'DELETE FROM T; VACUUM T'
	],
	[
		'a column gets another name',
		"CREATE TABLE T (i int, t text, o text); $fill",
		'',
		"ALTER TABLE T RENAME o TO n; DELETE FROM T WHERE i < 9; VACUUM FULL T",
		'i, t'
	],
	[
		'a column gets another type that needs no rewrite',
		"CREATE TABLE T (i int, t varchar(20)); $fill",
		'',
		'ALTER TABLE T ALTER t TYPE text; DELETE FROM T WHERE i < 9'
	],
	[ 'TRUNCATE', $table, '', 'TRUNCATE T; INSERT INTO T VALUES (1)' ],
	[ 'TRUNCATE, and the table stays empty', $table, '', 'TRUNCATE T' ],
	[ 'VACUUM FULL', $table, '', "$change; VACUUM FULL T" ],
	[
		'CLUSTER', "$table; CREATE INDEX T_i ON T (i)",
		'', "$change; CLUSTER T USING T_i"
	],
	[
		'SET TABLESPACE',
		$table, '', 'ALTER TABLE T SET TABLESPACE elsewhere; DELETE FROM T'
	],
	[
		'it has been elsewhere, too',
		"$table; ALTER TABLE T SET TABLESPACE elsewhere; DELETE FROM T WHERE i = 3",
		'',
		'ALTER TABLE T SET TABLESPACE pg_default; DELETE FROM T'
	],
	[
		'another file, twice',
		$table, '', "VACUUM FULL T; $change; TRUNCATE T; $fill"
	],
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
	(   map {
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
	[
		'TOAST, VACUUM FULL',
		$toasted =~ s/STORAGE_KIND/EXTENDED/r,
		'',
		"$retoast; VACUUM FULL T"
	],
	[
		'TOAST, TRUNCATE',
		$toasted =~ s/STORAGE_KIND/EXTERNAL/r,
		'',
		'TRUNCATE T'
	],
	[
		'a materialized view',
		"$table; CREATE MATERIALIZED VIEW T_v AS SELECT i, t FROM T WHERE i < 30; ALTER TABLE T RENAME TO T_t; ALTER MATERIALIZED VIEW T_v RENAME TO T",
		'',
		"DELETE FROM T_t; REFRESH MATERIALIZED VIEW T"
	],
	[
		'a materialized view, CONCURRENTLY',
		"CREATE TABLE T_t (i int, t text); INSERT INTO T_t SELECT g, 'v' FROM generate_series(1, 30) g; CREATE MATERIALIZED VIEW T AS TABLE T_t; CREATE UNIQUE INDEX ON T (i)",
		'',
		"DELETE FROM T_t WHERE i < 9; REFRESH MATERIALIZED VIEW CONCURRENTLY T; VACUUM T"
	],
	[
		'a table with children',
		"CREATE TABLE T (i int, t text); CREATE TABLE T_c (n int) INHERITS (T); INSERT INTO T_c VALUES (100, 'child', 3); $fill",
		'',
		$change
	],
	[
		'partitions',
		<<SQL,
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
		my $run =
		  sub { query(shift =~ s/\bT(?=\b|_|\d)/$relation/gr) if $_[0] ne '' };
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
		  or diag(
			"expected:\n", substr($expected, 0, 1500),
			"\ngot:\n", substr($rows, 0, 1500),
			"\n$messages");
	}
}

#
# Files that no relation has any more
#

# The rows of a call as one line, with all messages.
sub rows_in_line
{
	my ($columns, $from) = @_;
	my ($rows, $messages) = rows_of($columns, $from);

	return join ' ', split(/\n/, $rows), $messages;
}

sub is_rows
{
	my ($columns, $from, $expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(rows_in_line($columns, $from), $expected, $what);
	return;
}

sub fails
{
	my ($sql, $pattern, $what) = @_;
	my ($output, $messages) = run_query($session, $sql);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($messages || "no error, but: $output", $pattern, $what);
	return;
}

query(<<'SQL');
CREATE TABLE invoice (id int, customer text, items text[], gone int, scan text);
ALTER TABLE invoice ALTER scan SET STORAGE EXTERNAL, DROP COLUMN gone;
INSERT INTO invoice SELECT g, 'customer ' || g, ARRAY['a', 'b' || g], repeat('scan', 2000 + g)
	FROM generate_series(1, 3) g;
ALTER TABLE invoice ADD COLUMN paid boolean DEFAULT true;
INSERT INTO invoice VALUES (4, 'customer 4', NULL, NULL, false);
SQL
my $scans = 'id, customer, items, length(scan), md5(scan), paid';
my ($invoices) = rows_of($scans, 'invoice');
my $before_drop = current_lsn();
query('DROP TABLE invoice');
my $after_drop = current_lsn();
my $file = query(<<SQL);
SELECT tag FROM walredo_files('$before_drop', '$after_drop')
WHERE event = 'dropped' AND tag::text !~ 'fork' ORDER BY tag LIMIT 1
SQL
like($file, qr/^rel 1663/, 'walredo_files() has the file of a dropped table');
query(<<'SQL');
CREATE TABLE invoice_again (id int, customer text, items text[], scan text, paid boolean);
CREATE TYPE invoice_type AS (paid boolean, id int, items text[], customer text, scan text);
CREATE TYPE invoice_part AS (id int, customer varchar);
CREATE TYPE invoice_wrong AS (id int, customer int);
CREATE TYPE invoice_other AS (id int, buyer text);
SQL

foreach my $type ('invoice_again', 'invoice_type')
{
	my ($rows, $messages) = rows_of($scans,
		"walredo_rows_at(NULL::$type, '$before_drop', '$file')");

	is($rows . $messages, $invoices, "a dropped table, as rows of $type");
}
is_rows(
	't.*',
	"walredo_rows_at(NULL::invoice_part, '$before_drop', '$file')",
	'(1,"customer 1") (2,"customer 2") (3,"customer 3") (4,"customer 4") ',
	'some of its columns');
is_rows(
	't.*',
	"walredo_rows_at(NULL::invoice_part, '$before_drop', '$file' , \$\$\$pg_wal\$\$)",
	'(1,"customer 1") (2,"customer 2") (3,"customer 3") (4,"customer 4") ',
	'the same with a directory');
fails(
	"SELECT * FROM walredo_rows_at(NULL::invoice_wrong, '$before_drop', '$file')",
	qr/ERROR:  42804: .*column "customer".*type/s,
	'a column has another type');
fails(
	"SELECT * FROM walredo_rows_at(NULL::invoice_other, '$before_drop', '$file')",
	qr/ERROR:  42703: .*"buyer"/s,
	'there was no such column');

# The same name for another table
query("CREATE TABLE invoice (id int); INSERT INTO invoice VALUES (7)");
fails(
	"SELECT * FROM walredo_rows_at(NULL::invoice, '$before_drop')",
	qr/ERROR:  42P01: relation "invoice" did not exist at/,
	'another table has the name now');
is_rows(
	't.*',
	"walredo_rows_at(NULL::invoice, '$before_drop', '$file')",
	'(1) (2) (3) (4) ',
	'... but its type fits');
query('DROP TABLE invoice');

# A column that has another type now
query(<<'SQL');
CREATE TABLE retyped (i int, t text);
INSERT INTO retyped VALUES (1, 'one'), (2, 'two');
CREATE TYPE retyped_then AS (i int, t text);
SQL
my $before_type = current_lsn();
my $retyped_file = query(q{SELECT walredo_tag('retyped', 'main', 0)});
query('ALTER TABLE retyped ALTER i TYPE bigint');
fails(
	"SELECT * FROM walredo_rows_at(NULL::retyped, '$before_type')",
	qr/ERROR:  42804: column "i" of relation "retyped" had another type.*DETAIL: .*integer.*bigint/s,
	'a column has got another type by a rewrite');
is_rows(
	't.*',
	"walredo_rows_at(NULL::retyped_then, '$before_type', '$retyped_file')",
	'(1,one) (2,two) ',
	'... out of the file of then');

#
# Catalogs
#

is_rows(
	'attnum, attname, format_type(atttypid, atttypmod), attisdropped',
	"(SELECT * FROM walredo_rows_at(NULL::pg_attribute, '$before_drop') WHERE attrelid = (SELECT oid FROM walredo_rows_at(NULL::pg_class, '$before_drop') WHERE relname = 'invoice') AND attnum > 0)",
	'(1,id,integer,f) (2,customer,text,f) (3,items,text[],f) (4,........pg.dropped.4........,-,t) (5,scan,text,f) (6,paid,boolean,f) ',
	'the columns of a dropped table');
is_rows(
	'relname',
	"(SELECT * FROM walredo_rows_at(NULL::pg_class, '$after_drop') WHERE relname = 'invoice')",
	'',
	'pg_class after that');
query('ANALYZE invoice_again; CREATE ROLE regress_made');
my $with_role = current_lsn();
query('DROP ROLE regress_made');
is_rows(
	'rolname',
	"(SELECT * FROM walredo_rows_at(NULL::pg_authid, '$with_role') WHERE rolname ~ '^regress')",
	'(regress_made) ',
	'a shared catalog');
query('VACUUM FULL pg_authid');
fails(
	"SELECT count(*) FROM walredo_rows_at(NULL::pg_authid, '$with_role')",
	qr/ERROR:  0A000: relation "pg_authid" had another file at/,
	'a catalog in the relation map that has another file');
my $map_file = query(<<SQL);
SELECT tag FROM walredo_files('$with_role', pg_current_wal_insert_lsn())
WHERE event = 'dropped' AND tag::text ~ '^rel 1664/0/1260 blk' LIMIT 1
SQL
like(
	rows_in_line(
		'rolname',
		"(SELECT * FROM walredo_rows_at(NULL::pg_authid, '$with_role', '$map_file') WHERE rolname ~ '^regress')"
	),
	qr/^\(regress_made\) psql\S+ WARNING:  42703: could not find out which columns/,
	'... out of its file');

#
# Which rows: those of transactions whose commit record ends there
#

query('CREATE TABLE edge (i int)');
my $edge_start = current_lsn();
query('INSERT INTO edge VALUES (1)');
my ($commit) = query(<<SQL) =~ /(\S+)/;
SELECT end_lsn FROM walredo_wal_records('$edge_start', pg_current_wal_insert_lsn())
WHERE record_type = 'COMMIT' ORDER BY 1 DESC LIMIT 1
SQL
query('UPDATE edge SET i = 2');
is_rows('t.*', "walredo_rows_at(NULL::edge, '$commit')",
	'(1) ', 'at the end of the commit record');
is_rows(
	't.*', "walredo_rows_at(NULL::edge, '$commit'::pg_lsn - 1)",
	'', 'one byte before it');

# By time
my $lsn_of_then =
  query('SELECT pg_sleep(0.01), walredo_lsn_at(clock_timestamp())') =~
  s/.*\|//sr;
my $time = query('SELECT clock_timestamp()');
query('SELECT pg_sleep(0.01); DELETE FROM edge; DROP TABLE invoice_again');
is_rows('t.*', "walredo_rows_at(NULL::edge, walredo_lsn_at('$time'))",
	'(2) ', 'by time');

# What the session itself has under way, and which snapshot it has, does not
# matter.
query("INSERT INTO edge VALUES (5), (6)");
my $edge = current_lsn();
query('DELETE FROM edge WHERE i = 5');
query(
	'BEGIN ISOLATION LEVEL REPEATABLE READ; DELETE FROM edge; INSERT INTO edge VALUES (9)'
);
is_rows('t.*', "walredo_rows_at(NULL::edge, '$edge')",
	'(5) (6) ', 'the own transaction has changed the table');
is_rows('t.*', "walredo_rows_at(NULL::edge, pg_current_wal_insert_lsn())",
	'(6) ', '... and has not committed');
query('TRUNCATE edge; INSERT INTO edge VALUES (10)');
is_rows(
	't.*',
	"walredo_rows_at(NULL::edge, '$edge')",
	'(5) (6) ',
	'... and has given it another file');
is_rows('t.*', "walredo_rows_at(NULL::edge, pg_current_wal_insert_lsn())",
	'(6) ', '... which it has not at the LSN');
query('ROLLBACK');

#
# How it is called
#

query(
	'CREATE TABLE many AS SELECT g AS i, repeat($$x$$, 100) AS t FROM generate_series(1, 5000) g'
);
my $many = current_lsn();
query('DELETE FROM many WHERE i % 2 = 0; VACUUM many');
is( query(
		"SELECT count(*), sum(i) FROM walredo_rows_at(NULL::many, '$many')"),
	'5000|12502500',
	'rows in FROM');
is( query(
		"SELECT count(*), sum((r).i) FROM (SELECT walredo_rows_at(NULL::many, '$many') AS r) s"
	),
	'5000|12502500',
	'rows in the target list');
is( query(
		"SELECT count(*) FROM walredo_rows_at(NULL::many, '$many') a JOIN walredo_rows_at(NULL::many, pg_current_wal_insert_lsn()) b USING (i)"
	),
	2500,
	'a join of two times');
is( query(
		"SELECT l, (SELECT count(*) FROM walredo_rows_at(NULL::many, l) WHERE i < 11) FROM (VALUES (1, '$many'::pg_lsn), (2, pg_current_wal_insert_lsn())) v (n, l) ORDER BY n"
	) =~ s/^.*\|//mgr,
	"10\n5",
	'an LSN of each row');
is(query("SELECT count(*) FROM walredo_rows_at(NULL::many, NULL)"),
	0, 'no rows if the LSN is NULL');
is( query(
		"SELECT count(*) FROM walredo_rows_at((SELECT m FROM many m LIMIT 1), '$many')"
	),
	5000,
	'the value of the first argument does not matter');
is( query(
		"BEGIN; DECLARE c CURSOR FOR SELECT i FROM walredo_rows_at(NULL::many, '$many'); FETCH 2 FROM c; MOVE 1000 IN c; FETCH 1 FROM c; CLOSE c; COMMIT"
	),
	"1\n2\n1003",
	'rows of a cursor');
is(query("SELECT i FROM walredo_rows_at(NULL::many, '$many') LIMIT 1"),
	1, 'a query that ends early');
is( query(
		"PREPARE p (pg_lsn) AS SELECT count(*) FROM walredo_rows_at(NULL::many, \$1); "
		  . join('', map { "EXECUTE p('$many'); " } 1 .. 7)),
	join("\n", (5000) x 7),
	'a prepared statement');
is( query(
		"WITH back AS (INSERT INTO many SELECT * FROM walredo_rows_at(NULL::many, '$many') WHERE i = 2 RETURNING *) SELECT i FROM back"
	),
	2,
	'a row is brought back');
is(query("SELECT count(*) FROM many WHERE i = 2"), 1, '... and is there');

#
# What is refused
#

query(<<'SQL');
CREATE UNLOGGED TABLE unlogged (i int);
CREATE TEMP TABLE temporary (i int);
CREATE VIEW view AS SELECT 1 AS i;
CREATE TYPE pair AS (i int, j int);
CREATE DOMAIN whole AS many;
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE "foreign" (t text) SERVER files OPTIONS (filename '/dev/null');
SQL
my $end = current_lsn();
foreach my $refused (
	[
		"NULL::unlogged, '$end'",
		qr/0A000: relation "unlogged" is not logged/
	],
	[
		"NULL::temporary, '$end'",
		qr/0A000: relation "temporary" is not logged/
	],
	[
		"NULL::view, '$end'",
		qr/42809: "view" is not a table or materialized view/
	],
	[ "NULL::\"foreign\", '$end'", qr/42809: "foreign" is not a table/ ],
	[ "NULL::int, '$end'", qr/ERROR:  \w{5}: .*row type/s ],
	[ "NULL::text, '$end'", qr/ERROR:  \w{5}: .*row type/s ],
	[ "ROW(1, 2), '$end'", qr/ERROR:  \w{5}: / ],
	[
		"NULL::pair, '$end'",
		qr/ERROR:  22023: type pair is not the row type of a table/
	],
	[
		"NULL::many, '$end', walredo_tag('many', 'vm', 0)",
		qr/ERROR:  22023: there are no rows in the file/
	],
	[
		"NULL::many, '$end', 'slru pg_xact/0000 blk 0'",
		qr/ERROR:  22023: there are no rows in the file/
	],
	[
		"NULL::many, 'FFFFFFFF/0'",
		qr/ERROR:  22023: LSN FFFFFFFF\/0 is after the end of WAL/
	],
	[
		"NULL::many, '0/1'",
		qr/ERROR:  58P01: WAL does not reach back to 0\/1/
	],
	[
		"NULL::many, '0/0'",
		qr/ERROR:  58P01: WAL does not reach back to 0\/0/
	],
	[ "NULL::many, '$end', NULL, '/nowhere'", qr/ERROR:  58P01: / ])
{
	my ($arguments, $pattern) = @$refused;

	fails("SELECT * FROM walredo_rows_at($arguments)",
		$pattern, "refused: $arguments");
	fails("SELECT walredo_rows_at($arguments)",
		$pattern, '... also in the target list');
}
like(
	rows_in_line(
		't.*',
		"walredo_rows_at(NULL::pair, '$end', 'rel 1663/5/99999 blk 0')"),
	qr/WARNING:.*(?:99999).*DETAIL:.*No relation had this file/s,
	'a file that no relation had');

#
# Privileges
#

query(<<'SQL');
CREATE ROLE regress_reader;
CREATE ROLE regress_files IN ROLE pg_read_server_files;
CREATE TABLE secret (i int, t text);
INSERT INTO secret VALUES (1, 'a'), (2, 'b');
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON secret USING (i % 2 = 1);
CREATE TABLE parted (i int) PARTITION BY LIST (i);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
INSERT INTO parted VALUES (1);
SQL
my $secret = current_lsn();
my $secret_file = query(q{SELECT walredo_tag('secret', 'main', 0)});
foreach my $sql (
	"SELECT * FROM walredo_rows_at(NULL::secret, '$secret')",
	"SELECT walredo_rows_at(NULL::secret, '$secret')")
{
	query(
		'GRANT SELECT ON secret TO regress_reader; SET ROLE regress_reader');
	fails(
		$sql,
		qr/ERROR:  42501: permission denied for function walredo_rows_at/,
		"without pg_read_server_files: $sql");
	query(
		'RESET ROLE; REVOKE ALL ON secret FROM regress_files; SET ROLE regress_files'
	);
	fails(
		$sql,
		qr/ERROR:  42501: permission denied for table secret/,
		'without SELECT');
	query(
		'RESET ROLE; GRANT SELECT (i, t) ON secret TO regress_files; SET ROLE regress_files'
	);
	fails(
		$sql,
		qr/ERROR:  42501: permission denied for table secret/,
		'with SELECT of its columns only');
	query(
		'RESET ROLE; GRANT SELECT ON secret TO regress_files; SET ROLE regress_files'
	);
	is(scalar(split /\n/, query($sql)),
		2, 'with SELECT: policies do not count');
	is(query('SELECT count(*) FROM secret'), 1, '... as they do in a query');
	query('RESET ROLE');
}
query(
	'CREATE TYPE secret_type AS (i int, t text); REVOKE ALL ON secret FROM regress_files; SET ROLE regress_files'
);
fails(
	"SELECT * FROM walredo_rows_at(NULL::secret_type, '$secret', '$secret_file')",
	qr/ERROR:  42501: permission denied for table secret/,
	'by the file, without SELECT');
fails(
	"SELECT * FROM walredo_rows_at(NULL::parted, '$secret')",
	qr/ERROR:  42501: permission denied for table parted/,
	'a partitioned table');
query(
	'RESET ROLE; GRANT SELECT ON parted TO regress_files; SET ROLE regress_files'
);
is_rows('t.*', "walredo_rows_at(NULL::parted, '$secret')",
	'(1) ', 'SELECT on the partitioned table is enough');
fails(
	"SELECT * FROM walredo_rows_at(NULL::parted_1, '$secret')",
	qr/ERROR:  42501: permission denied for table parted_1/,
	'... but not for a partition by its own name');
query('RESET ROLE');

#
# What was deleted by a transaction older than the last checkpoint, and removed
# since before WAL had an image of the page
#

# Otherwise, VACUUM sets hint bits first, of which WAL has an image.
$session->quit;
$node->append_conf('postgresql.conf', 'wal_log_hints = off');
$node->restart;
$session = session($node);

query(<<'SQL');
CREATE TABLE pruned (i int, t text);
INSERT INTO pruned SELECT g, repeat('p', 1000) FROM generate_series(1, 21) g;
BEGIN; DELETE FROM pruned WHERE i < 4; PREPARE TRANSACTION 'old';
CHECKPOINT;
SQL
my $pruned = current_lsn();
query("COMMIT PREPARED 'old'; VACUUM (TRUNCATE off) pruned");
my ($rows, $messages) =
  rows_of('i', "walredo_rows_at(NULL::pruned, '$pruned')");
is(scalar(split /\n/, $rows),
	18, 'three rows were pruned before the first image');
like(
	$messages,
	qr/^psql\S+ WARNING:  XX001: rows of block 0 of "pruned" may be missing\nDETAIL: .*pruned.*running at the LSN/,
	'... and a warning says of which block');
unlike($messages, qr/WARNING.*WARNING/s, '... and of no other');

# Nobody has deleted anything here that could have been seen.
query(<<'SQL');
CREATE TABLE pruned_2 (i int, t text);
INSERT INTO pruned_2 SELECT g, repeat('p', 1000) FROM generate_series(1, 21) g;
DELETE FROM pruned_2 WHERE i < 4;
CHECKPOINT;
SQL
$pruned = current_lsn();
query('VACUUM (TRUNCATE off) pruned_2');
($rows, $messages) =
  rows_of('i', "walredo_rows_at(NULL::pruned_2, '$pruned')");
is(scalar(split(/\n/, $rows)) . $messages,
	18, 'rows that nobody could see were pruned');

# The first image has rows as frozen whose transaction has committed after the
# LSN.
query(<<'SQL');
CREATE TABLE frozen (i int);
INSERT INTO frozen VALUES (1);
BEGIN; INSERT INTO frozen VALUES (2); PREPARE TRANSACTION 'frozen';
CHECKPOINT;
SQL
my $frozen = current_lsn();
query("COMMIT PREPARED 'frozen'; VACUUM (FREEZE) frozen");
($rows) = rows_of('i', "walredo_rows_at(NULL::frozen, '$frozen')");
is($rows, '(1)', 'rows that were frozen before the first image');

#
# WAL in an archive, and transactions that ended before WAL begins
#

my $archive = PostgreSQL::Test::Utils::tempdir();
query(<<'SQL');
CREATE TABLE old (i int, t text);
INSERT INTO old SELECT g, 'old' FROM generate_series(1, 10) g;
BEGIN; UPDATE old SET t = 'never'; ROLLBACK;
CREATE TABLE old_dropped AS SELECT 1 AS i;
CREATE TYPE old_type AS (i int);
SQL
my $old = current_lsn();
my $old_file = query(q{SELECT walredo_tag('old_dropped', 'main', 0)});
query(
	'DROP TABLE old_dropped; UPDATE old SET t = $$newer$$ WHERE i > 5; SELECT pg_switch_wal()'
);
$session->quit;
$node->append_conf('postgresql.conf', 'wal_keep_size = 0');
$node->append_conf('postgresql.conf', "min_wal_size = 2MB");
$node->restart;
$session = session($node);

foreach (1 .. 3)
{
	query('SELECT pg_switch_wal()');
	copy_segments($node->data_dir . '/pg_wal', $archive);
	query('CHECKPOINT');
}
my $later = current_lsn();
query('DELETE FROM old WHERE i = 1');
fails(
	"SELECT * FROM walredo_rows_at(NULL::old, '$old')",
	qr/ERROR:  58P01: WAL does not reach back to.*HINT:/s,
	'WAL is gone');
my $expected = join ' ', (map { "($_,old)" } 1 .. 5),
  (map { "($_,newer)" } 6 .. 10);
is( rows_in_line(
		't.*',
		"(SELECT * FROM walredo_rows_at(NULL::old, '$later') ORDER BY i)"),
	join(' ', sort split / /, $expected) . ' ',
	'transactions that ended before WAL begins');
is( rows_in_line(
		't.*', "walredo_rows_at(NULL::old, '$old', NULL, '$archive')"),
	join(' ', sort map { "($_,old)" } 1 .. 10) . ' ',
	'WAL of an archive');
is_rows('t.*',
	"walredo_rows_at(NULL::old_type, '$old', '$old_file', '$archive')",
	'(1) ', 'a dropped table, with WAL of an archive');

#
# A commit record whose subtransactions are anywhere
#

# The record of a message is replaced by one of the same length, which has as many
# transactions as fit.
my $scattered_start = current_lsn();
query(q{SELECT pg_logical_emit_message(true, '', repeat('m', 39999))});
my ($message_start, $message) = split /\|/, query(<<SQL);
SELECT start_lsn, encode(rec, 'hex') FROM walredo_wal_records('$scattered_start', pg_current_wal_flush_lsn())
WHERE resource_manager = 'LogicalMessage'
SQL
my $scattered_end = query('SELECT pg_switch_wal()');
my $scattered = copy_segments($node->data_dir . '/pg_wal',
	PostgreSQL::Test::Utils::tempdir . '/scattered');
my $commit_record = sub {
	my ($nsubxacts) = @_;
	my $time_and_contents = pack 'qLL', 0, 2, $nsubxacts;
	my $record = make_record(1, 0x80, [],
		$time_and_contents . pack 'L*',
		map { 3 + $_ * 400_000 } 1 .. $nsubxacts);

	# The transaction, and the link to the previous record, are the message's.
	substr($record, 4, 12) = pack 'H*', substr $message, 8, 24;
	return sealed_record($record);
};
my $nsubxacts =
  100 + (length($message) / 2 - length $commit_record->(100)) / 4;
overwrite_record($scattered, $message_start, $commit_record->($nsubxacts));
my $of_scattered =
  "SELECT count(*) FROM walredo_rows_at(NULL::edge, '$scattered_end', NULL, '$scattered')";
like(
	error_of($node, 'postgres', "SET maintenance_work_mem = '1MB'; $of_scattered"),
	qr/54000: the ends of transactions up to .* take more memory than maintenance_work_mem\nHINT:/,
	'transactions with IDs that are far apart');
is(query($of_scattered), query('SELECT count(*) FROM edge'),
	'... with more memory');

#
# A standby
#

$node->append_conf('postgresql.conf', 'wal_keep_size = 1GB');
$node->reload;
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
query(
	'CREATE TABLE streamed (i int, t text); INSERT INTO streamed SELECT g, $$s$$ FROM generate_series(1, 20) g'
);
query(
	q{BEGIN; DELETE FROM streamed WHERE i > 10; PREPARE TRANSACTION 'streamed'}
);
my $streamed = current_lsn();
query(
	q{COMMIT PREPARED 'streamed'; UPDATE streamed SET t = 'u' WHERE i < 5; VACUUM streamed}
);
my $last = current_lsn();
$node->wait_for_catchup($standby);
my @standby_cases = (
	[
		"SELECT count(*), min(t) FROM walredo_rows_at(NULL::streamed, '$streamed')",
		'20|s'
	],
	[
		"SELECT count(*), max(t) FROM walredo_rows_at(NULL::streamed, '$last')",
		'10|u'
	]);

foreach my $case (@standby_cases)
{
	my ($sql, $result) = @$case;
	my ($output, $standby_messages) = ask($standby, 'postgres', $sql);

	is(query($sql), $result, "primary: $sql");
	is($output . $standby_messages, $result, '... standby');
}
query('TRUNCATE streamed');
$node->wait_for_catchup($standby);
is( $standby->safe_psql('postgres', $standby_cases[0][0]),
	$standby_cases[0][1],
	'... standby, truncated');

$session->quit;
$standby->stop;
$node->stop;
done_testing();
