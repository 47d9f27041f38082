# Rows as of an LSN in queries of all sorts: plans that outlive the table's
# definition, cursors, concurrent updates, and tables whose files are replaced
# meanwhile.  What walredo_rows_at() returns there is what a session has read at
# the LSN, or an error.
#
# Seen to fail:
# - when the row type of a cached plan was not compared with the present one, or
#   the planner was given the node though a column was gone;
# - when the planner was given the node though EvalPlanQual() has its rows, and the
#   node returned none there;
# - when a cast to json was run as the caller.

use WalredoPages;
use WalredoSessions;
use WalredoTest;

my $node = wal_server('main', conf => <<'CONF');
shared_preload_libraries = 'walredo'
allow_in_place_tablespaces = on
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION walredo;
CREATE TABLESPACE elsewhere LOCATION '';
SQL
my $session = session($node);
my $other = session($node);

# Runs SQL in a session, which must not fail.  Returns what it prints.
sub query
{
	my ($sql, $in) = @_;
	my ($output, $messages) = run_query($in // $session, $sql);

	die $messages if $messages =~ /ERROR:/;
	return $output;
}

sub current_lsn
{
	return query('SELECT pg_current_wal_insert_lsn()');
}

# The SQLSTATE and the message of the error that a query fails with.
sub query_error
{
	my (undef, $messages) = run_query($session, shift);

	return $messages =~ /ERROR:  (.*)/ ? $1 : "no error: $messages";
}

#
# Plans and cursors that outlive the definition of the table
#

query(<<'SQL');
CREATE TABLE t (a int, b text, c int);
INSERT INTO t SELECT g, 'row ' || g, -g FROM generate_series(1, 500) g;
SQL
my $lsn = current_lsn();
query(<<SQL);
SET plan_cache_mode = force_generic_plan;
PREPARE by_number(int) AS SELECT a, b, c FROM walredo_rows_at(NULL::t, '$lsn') WHERE a = \$1;
SQL
is(query('EXECUTE by_number(7)'), '7|row 7|-7', 'a prepared query');
query('ALTER TABLE t ADD d int DEFAULT 5, DROP c');
like(
	query_error('EXECUTE by_number(8)'),
	qr/^42703: attribute 3 of type record has been dropped/,
	'the query fails if it needs a column that is gone');
query('ALTER TABLE t ALTER b TYPE bytea USING NULL');
like(
	query_error("SELECT a FROM walredo_rows_at(NULL::t, '$lsn')"),
	qr/^42804: column "b" of relation "t" had another type/,
	'an error says that a column had another type');
is(query('SELECT count(*) FROM t'), 500, 'the server is still there');

# A cursor keeps the rows of then: nothing of the table is read again.
query('CREATE TABLE u (a int, b text); '
	  . q{INSERT INTO u SELECT g, 'row ' || g FROM generate_series(1, 500) g});
$lsn = current_lsn();
query('UPDATE u SET b = NULL');
query(<<SQL);
BEGIN;
DECLARE rows CURSOR FOR SELECT a, b FROM walredo_rows_at(NULL::u, '$lsn');
SQL
is(query('FETCH rows'), '1|row 1', 'a cursor');
my ($output, $messages) =
  run_query($session, 'ALTER TABLE u ADD e int, DROP b');
if ($messages =~ /ERROR/)
{
	# It is in use by the session's own query.
	like($messages, qr/ERROR:  55006/, 'the table is in use');
	query('ROLLBACK');
}
else
{
	is(query('FETCH rows'), '2|row 2', 'goes on as it began');
	query('COMMIT');
}

#
# Concurrent updates: EvalPlanQual() asks for the row again
#

query(<<'SQL');
CREATE TABLE balance (id int PRIMARY KEY, amount int);
INSERT INTO balance SELECT g, g FROM generate_series(1, 5) g;
SQL
$lsn = current_lsn();
my $old = "walredo_rows_at(NULL::balance, '$lsn') old";
foreach my $set ("old.amount FROM $old WHERE old.id = b.id",
	"(SELECT old.amount FROM $old WHERE old.id = b.id)")
{
	query('UPDATE balance SET amount = 0');
	query('BEGIN; UPDATE balance SET amount = -1 WHERE id IN (2, 4)', $other);
	begin_query($session, <<SQL);
UPDATE balance b SET amount = $set
SQL
	$node->poll_query_until('postgres', <<SQL) or die 'nobody waits for the row';
SELECT wait_event_type = 'Lock' FROM pg_stat_activity
WHERE pid = $session->{backend}
SQL
	query('COMMIT', $other);
	(undef, $messages) = end_query($session);
	is($messages, '', 'an update waits for another one');
	is( query('SELECT id, amount FROM balance ORDER BY id'),
		join("\n", map { "$_|$_" } 1 .. 5),
		'and rows that were updated meanwhile are not lost');
}

#
# Tables whose files are others since
#

query(<<'SQL');
CREATE DATABASE moves;
SQL
$node->safe_psql('moves', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE t (a int, b text);
INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 200) g;
SQL
$lsn = current_lsn();
$node->safe_psql('moves', 'UPDATE t SET b = NULL WHERE a % 2 = 0');
query('ALTER DATABASE moves SET TABLESPACE elsewhere');
my $moved = error_of($node, 'moves',
	"SELECT * FROM walredo_rows_at(NULL::t, '$lsn')");
like(
	$moved,
	qr/ERROR:  XX001: could not find the file that relation "t" had/,
	'ALTER DATABASE SET TABLESPACE: the catalogs of then are gone');

# Two partitions whose columns are in another order each, and one that has been
# given another place in the hierarchy since.
query(<<'SQL');
CREATE TABLE part (a int, b text, k int) PARTITION BY LIST (k);
CREATE TABLE part1 (k int, gone int, b text, a int);
ALTER TABLE part1 DROP gone;
CREATE TABLE part2 (b text, a int, k int);
ALTER TABLE part ATTACH PARTITION part1 FOR VALUES IN (1);
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (2);
INSERT INTO part SELECT g, 'row ' || g, 1 + g % 2 FROM generate_series(1, 100) g;
SQL
$lsn = current_lsn();
my $rows = query('SELECT * FROM part ORDER BY a');
query(<<'SQL');
UPDATE part SET b = NULL;
ALTER TABLE part DETACH PARTITION part2;
SQL
is( query(
		"SELECT * FROM walredo_rows_at(NULL::part, '$lsn') ORDER BY a"),
	$rows,
	'partitions whose columns are in another order');

#
# Pages that are others since
#

# A page that walredo_repair() has put back: the server's page has a later LSN
# then, and an image in WAL that is of the repair.
query(<<'SQL');
CREATE TABLE damaged (a int, b text) WITH (autovacuum_enabled = off);
INSERT INTO damaged SELECT g, repeat('x', 100) || g FROM generate_series(1, 500) g;
CHECKPOINT;
UPDATE damaged SET a = a WHERE a % 7 = 0;
SQL
$lsn = current_lsn();
$rows = query('SELECT * FROM damaged ORDER BY a');
query('UPDATE damaged SET b = a::text WHERE a % 3 = 0');
my $path = $node->data_dir . '/'
  . query(q{SELECT pg_relation_filepath('damaged')});
$node->stop;
{
	open my $file, '+<:raw', $path or die "$path: $!";
	seek $file, 2 * 8192 + 4000, 0 or die "$path: $!";
	print $file "\xff" x 200;
	close $file or die "$path: $!";
}
$node->start;
($session, $other) = (session($node), session($node));
is( query(
		q{SELECT blkno, status FROM walredo_repair('damaged', dry_run => false) WHERE status <> 'ok'}
	),
	'2|repaired',
	'a damaged page is repaired');
is( query(
		"SELECT * FROM walredo_rows_at(NULL::damaged, '$lsn') ORDER BY a"),
	$rows,
	'rows of before the repair');

# A table that was cut off, and grows again.
query(<<'SQL');
CREATE TABLE regrown (a int, b text) WITH (autovacuum_enabled = off);
INSERT INTO regrown SELECT g, repeat('x', 500) FROM generate_series(1, 500) g;
SQL
$lsn = current_lsn();
$rows = query('SELECT a FROM regrown ORDER BY a');
query(<<'SQL');
DELETE FROM regrown WHERE a > 20;
VACUUM regrown;
INSERT INTO regrown SELECT -g, repeat('y', 500) FROM generate_series(1, 500) g;
SQL
is( query(
		"SELECT a FROM walredo_rows_at(NULL::regrown, '$lsn') ORDER BY a"),
	$rows,
	'a table that VACUUM has cut off, and that grows again');

#
# A cast to json can be anybody's
#

query(<<'SQL');
CREATE ROLE owner;
GRANT ALL ON SCHEMA public TO owner;
SET ROLE owner;
CREATE TYPE kind AS ENUM ('x', 'y');
CREATE FUNCTION tell(kind) RETURNS json LANGUAGE sql
	AS 'SELECT to_json(current_user::text)';
CREATE CAST (kind AS json) WITH FUNCTION tell(kind);
CREATE TABLE trap (p kind);
RESET ROLE;
SQL
my $start = current_lsn();
query(q{INSERT INTO trap VALUES ('x')});
is(query(<<SQL), 'owner', 'the cast of a type is run as the owner');
SELECT "row"->>'p' FROM walredo_row_versions('trap', '$start', pg_current_wal_insert_lsn())
SQL

$_->quit for $session, $other;
$node->stop;

#
# WAL that has only what a crash takes
#

$node->append_conf('postgresql.conf', <<'CONF');
wal_level = minimal
max_wal_senders = 0
CONF
$node->start;
$session = session($node);
query(<<'SQL');
CREATE TABLE older (a int, b text);
INSERT INTO older SELECT g, 'row ' || g FROM generate_series(1, 200) g;
CHECKPOINT;
SQL
$lsn = current_lsn();
query(<<'SQL');
UPDATE older SET b = NULL WHERE a % 3 = 0;
BEGIN;
TRUNCATE older;
COPY older FROM PROGRAM 'echo 1,a; echo 2,b' (FORMAT csv);
ROLLBACK;
SQL
is( query(<<SQL), '200|200', 'wal_level = minimal');
SELECT count(*), count(*) FILTER (WHERE b = 'row ' || a) FROM walredo_rows_at(NULL::older, '$lsn')
SQL

# Rows that WAL does not have, as the file was made in the same transaction.
query(<<'SQL');
BEGIN;
CREATE TABLE skipped (a int, b text);
INSERT INTO skipped SELECT g, 'row ' || g FROM generate_series(1, 200) g;
COMMIT;
SQL
$lsn = current_lsn();
query('UPDATE skipped SET b = NULL WHERE a % 3 = 0; CHECKPOINT');
my ($count, $warnings) = run_query($session, <<SQL);
SELECT count(*) FROM walredo_rows_at(NULL::skipped, '$lsn') WHERE b = 'row ' || a
SQL
ok( $count eq '200' || $warnings =~ /WARNING|ERROR/,
	'rows that WAL does not have are returned, or missed');
note "$count rows; $warnings";

$session->quit;
$node->stop;

done_testing();
