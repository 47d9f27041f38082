# Row versions: what walredo_row_versions() returns is what triggers have written
# into an audit table: each row that a committed transaction has inserted, updated
# or deleted, with the transaction and when it committed; and nothing else.
#
# The first part does that under a random workload: savepoints, prepared
# transactions, aborts, row locks, HOT and other updates, values that are stored
# out of line, COPY, vacuum and checkpoints.  The others are about what random
# work does not come by.
#
# Seen to fail:
# - when transactions that had been rolled back, or had not ended, counted as
#   committed; when a prepared transaction was looked for by the ID in its record;
#   and when a subtransaction was named instead of its top-level transaction;
# - when a version that was ended twice had been ended by the first;
# - when pages were not read before a record that removes tuples, when a version at
#   a place that was used again was not read, when WAL was not read from before the
#   range on, and when versions of before it were returned;
# - when line pointers of a multi-insert, or the old block of an update, were not
#   looked at; when a speculative insertion that was taken back was a row; and when
#   TRUNCATE did not end versions;
# - when chunks of the range, or those of before it, were not found;
# - when a file's earlier life was not forgotten, when a table that was rewritten
#   caused neither a warning nor an error, and when anybody could read any table;
# - when the server's page, or its commit timestamps, were not asked; when a value
#   that could not be converted ended the query; when there was no limit for
#   transactions; and when pages were forgotten, for lack of memory, unread.

use WalredoTest;

my $rounds = $ENV{VERSIONS_ROUNDS} // 12;
my $seed = $ENV{VERSIONS_SEED} // 4711;
my $node = wal_server(
	'main', conf => <<'CONF');
max_prepared_transactions = 4
track_commit_timestamp = on
CONF

$node->start;

sub query
{
	return $node->safe_psql('postgres', shift);
}

# Where WAL is now, after what has happened so far.  The commit flushes it.
sub current_lsn
{
	query(q(SELECT pg_logical_emit_message(true, '', '')));
	return query('SELECT pg_current_wal_flush_lsn()');
}

# The warnings of a query.
sub warnings_of
{
	my ($sql) = @_;
	my ($stdout, $stderr) = ask($node, 'postgres', $sql);

	die $stderr if $stderr =~ /ERROR:/;
	return plain_lsns($stderr);
}

query(<<'SQL');
CREATE EXTENSION walredo;
CREATE SEQUENCE version;
CREATE TABLE item (id int PRIMARY KEY,
	version int NOT NULL DEFAULT nextval('version'),
	n int, name text, plain text, packed text)
	WITH (fillfactor = 80);
ALTER TABLE item ALTER plain SET STORAGE EXTERNAL;
CREATE INDEX ON item (name);

-- Who has done what, and what is not in the row as a whole: values are long.
CREATE TABLE audit (n serial, xid xid, before int, after int);
CREATE TABLE content (version int, "row" jsonb);
CREATE FUNCTION set_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.version = nextval('version');
	RETURN NEW;
END $$;
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO audit (xid, before, after)
	VALUES (pg_current_xact_id()::xid,
		CASE WHEN TG_OP <> 'INSERT' THEN OLD.version END,
		CASE WHEN TG_OP <> 'DELETE' THEN NEW.version END);
	IF TG_OP <> 'DELETE' THEN
		INSERT INTO content VALUES (NEW.version, to_jsonb(NEW));
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER set_version BEFORE UPDATE ON item
	FOR EACH ROW EXECUTE FUNCTION set_version();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON item
	FOR EACH ROW EXECUTE FUNCTION audit();

CREATE FUNCTION long_text(n int) RETURNS text LANGUAGE sql VOLATILE AS
	$$ SELECT string_agg(md5(random()::text), '') FROM generate_series(1, n) $$;
CREATE TABLE moment (n int, lsn pg_lsn, audited int[]);
SQL

#
# A random workload
#

srand $seed;
note "seed $seed, $rounds rounds";
my $next_id = 1;

sub any_id
{
	return 1 + int rand $next_id;
}

sub random_statement
{
	my $kind = int rand 11;
	my $id = any_id();

	if ($kind < 3)
	{
		my $n = 1 + int rand 8;
		my $first = $next_id;

		$next_id += $n;
		return sprintf
		  "INSERT INTO item (id, n, name, plain, packed) SELECT g, 0, 'item ' || g, %s, %s FROM generate_series(%d, %d) g;",
		  rand() < 0.3 ? 'long_text(90)' : "'short'",
		  rand() < 0.3 ? "repeat(md5(g::text), 4000)" : 'NULL',
		  $first, $next_id - 1;
	}
	return "DELETE FROM item WHERE id = $id;" if $kind == 3;
	return "DELETE FROM item WHERE id % 17 = $id % 17;" if $kind == 4;
	return "UPDATE item SET name = 'name ' || random() WHERE id = $id;"
	  if $kind == 5;
	return "UPDATE item SET plain = long_text(100) WHERE id = $id;"
	  if $kind == 6;
	return "UPDATE item SET n = n + 1 WHERE id % 5 = $id % 5;" if $kind == 7;
	return "SELECT FROM item WHERE id % 3 = $id % 3 FOR KEY SHARE;"
	  if $kind == 8;
	return
	  "INSERT INTO item (id, n, name) VALUES ($id, 0, 'again') ON CONFLICT (id) DO UPDATE SET n = item.n + 1;"
	  if $kind == 9;
	return "UPDATE item SET n = n + 1 WHERE id = $id;";
}

sub random_statements
{
	return join "\n", map { random_statement() } 0 .. int rand 4;
}

# A transaction, with subtransactions, some of which are rolled back.
sub random_transaction
{
	my $sql = 'BEGIN;';

	foreach my $i (0 .. int rand 3)
	{
		$sql .= "\n" . random_statements();
		next if rand() < 0.4;
		$sql .= "\nSAVEPOINT a;\n" . random_statements();
		$sql .= "\nSAVEPOINT b;\n" . random_statements() . "\nROLLBACK TO b;"
		  if rand() < 0.3;
		$sql .= rand() < 0.5 ? "\nROLLBACK TO a;" : "\nRELEASE a;";
	}
	return $sql;
}

# Takes note of where WAL is, and of what has been committed up to there.
my $moments = 0;

sub take_moment
{
	my $lsn = current_lsn();

	query(<<SQL);
INSERT INTO moment SELECT $moments, '$lsn', coalesce(array_agg(n), '{}')
FROM audit
SQL
	return $moments++;
}

my @quiet = (take_moment());
my $prepared;
foreach my $round (1 .. $rounds)
{
	foreach my $i (1 .. 6)
	{
		my $sql = random_transaction();
		my $end = rand();

		# A prepared transaction locks rows, which others do not wait for.
		$sql = "SET lock_timeout = 1;\n$sql" if $prepared;
		if ($end < 0.2)
		{
			$node->psql('postgres', "$sql\nROLLBACK;");
		}
		elsif ($end < 0.4 && !$prepared)
		{
			$prepared = $node->psql('postgres', "$sql\nPREPARE TRANSACTION 'p';",
				on_error_stop => 1) == 0;
		}
		else
		{
			$node->psql('postgres', "$sql\nCOMMIT;", on_error_stop => 1);
		}
	}
	$node->psql('postgres', <<SQL, on_error_stop => 1);
COPY item (id, n, name) FROM stdin;
$next_id\t0\tcopied
@{[ $next_id + 1 ]}\t0\tcopied
@{[ $next_id + 2 ]}\t0\tcopied
\\.
SQL
	$next_id += 3;
	take_moment() if rand() < 0.5;
	if ($prepared && rand() < 0.6)
	{
		query((rand() < 0.7 ? 'COMMIT' : 'ROLLBACK') . " PREPARED 'p'");
		$prepared = 0;
	}
	push @quiet, take_moment() if !$prepared;
	query('VACUUM item') if rand() < 0.4;
	query('VACUUM (FREEZE) item') if rand() < 0.1;
	query('CHECKPOINT') if rand() < 0.4;
}
query("COMMIT PREPARED 'p'") if $prepared;
push @quiet, take_moment();
cmp_ok(query('SELECT count(*) FROM audit'), '>', 200, 'much was done');
cmp_ok(query('SELECT count(*) FROM item WHERE pg_column_size(plain) > 2000'),
	'>', 5, 'values are stored out of line');

# What walredo_row_versions() says of a range, and what the audit says, as two
# queries.  The range must begin where no transaction is running.
sub versions_and_audit
{
	my ($from, $to, %params) = @_;
	my $directory = $params{directory} // 'NULL';

	return (<<SQL, <<SQL);
SELECT (v."row"->>'version')::int AS version, v."row",
	CASE WHEN insert_lsn IS NOT NULL THEN xmin::text END AS made_by, xmax::text AS ended_by,
	CASE WHEN insert_lsn IS NOT NULL THEN inserted_at END AS made_at, deleted_at AS ended_at
FROM walredo_row_versions('item', (SELECT lsn FROM moment WHERE n = $from),
	(SELECT lsn FROM moment WHERE n = $to), $directory) v
SQL
WITH audited AS (
	SELECT * FROM audit
	WHERE n = ANY ((SELECT audited FROM moment WHERE n = $to)::int[])
	AND n <> ALL ((SELECT audited FROM moment WHERE n = $from)::int[])),
ends AS (
	SELECT coalesce(made.after, ended.before) AS version,
		made.xid AS made_by, ended.xid AS ended_by
	FROM (SELECT * FROM audited WHERE after IS NOT NULL) made
	FULL JOIN (SELECT * FROM audited WHERE before IS NOT NULL) ended
	ON made.after = ended.before)
SELECT version, "row", made_by::text, ended_by::text,
	CASE WHEN made_by IS NOT NULL THEN pg_xact_commit_timestamp(made_by) END AS made_at,
	CASE WHEN ended_by IS NOT NULL THEN pg_xact_commit_timestamp(ended_by) END AS ended_at
FROM ends LEFT JOIN content USING (version)
SQL
}

# The audit tells of changes of the range, not of what else is in the result.
sub is_audited
{
	my ($from, $to, $what, %params) = @_;
	my ($versions, $audit) = versions_and_audit($from, $to, %params);
	my $settings = $params{settings} // '';
	my ($differences, $messages) = ask($node, 'postgres', <<SQL);
$settings
CREATE TEMPORARY TABLE versions AS $versions;
CREATE TEMPORARY TABLE audited AS $audit;
(SELECT 'not audited', left(to_jsonb(v)::text, 200) FROM (TABLE versions EXCEPT ALL TABLE audited) v LIMIT 5)
UNION ALL
(SELECT 'not returned', left(to_jsonb(v)::text, 200) FROM (TABLE audited EXCEPT ALL TABLE versions) v LIMIT 5);
SQL

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($differences, '', $what);
	is($messages, '', "$what: nothing is missing");
	return;
}

foreach my $to (1 .. $moments - 1)
{
	is_audited(0, $to, "versions up to moment $to");
}
foreach my $i (1 .. $#quiet - 1)
{
	is_audited($quiet[$i], $quiet[ $i + 1 ], "versions of range $i")
	  if $quiet[$i] != $quiet[ $i + 1 ];
}
is_audited($quiet[ $#quiet / 2 ],
	$moments - 1, 'versions of the second half');
is_audited(0, $moments - 1,
	'with little memory', settings => "SET maintenance_work_mem = '1MB';");

my $everything =
  "walredo_row_versions('item', (SELECT lsn FROM moment WHERE n = 0), (SELECT max(lsn) FROM moment))";
is( query(<<SQL),
SELECT count(*) FROM $everything, (SELECT min(lsn), max(lsn) FROM moment) range
WHERE insert_lsn <= min OR insert_lsn > max OR delete_lsn <= min OR delete_lsn > max
OR insert_lsn > delete_lsn OR inserted_at > deleted_at
OR (insert_lsn IS NULL AND delete_lsn IS NULL) OR (xmax IS NULL) <> (delete_lsn IS NULL)
SQL
	0, 'LSNs are in the range, and in order');
is( query(<<SQL),
SELECT count(*) FROM item i LEFT JOIN $everything v
ON i.ctid = v.ctid AND v.xmax IS NULL AND v."row" = to_jsonb(i)
WHERE v.ctid IS NULL
SQL
	0, 'what has not ended is in the table, at its place');
is( query(<<SQL),
SELECT count(*) FROM $everything v JOIN walredo_wal_records((SELECT lsn FROM moment WHERE n = 0),
	(SELECT max(lsn) FROM moment)) r ON v.delete_lsn = r.end_lsn
WHERE r.record_type !~ '^(DELETE|UPDATE|HOT_UPDATE)'
SQL
	0, 'a version ends with a record that ends it');

# Versions that were made before the range: by whom, and when, their tuples say.
my ($from, $to) = ($quiet[ $#quiet / 2 ], $moments - 1);
is( query(<<SQL),
SELECT count(inserted_at) > 10, count(*) FILTER (WHERE inserted_at <> pg_xact_commit_timestamp(xmin))
FROM walredo_row_versions('item', (SELECT lsn FROM moment WHERE n = $from), (SELECT lsn FROM moment WHERE n = $to))
WHERE insert_lsn IS NULL
SQL
	't|0', 'the server knows when older transactions have committed');

# WAL of a directory.
query('SELECT pg_switch_wal()');
my $archive = copy_segments($node->data_dir . '/pg_wal',
	PostgreSQL::Test::Utils::tempdir . '/archive');
is_audited(0, $moments - 1, 'versions in an archive',
	directory => "'$archive'");

#
# Who has deleted order 4711, and what else?
#

my $start = current_lsn();
query(<<'SQL');
CREATE TABLE orders (id int PRIMARY KEY, customer text);
INSERT INTO orders VALUES (4710, 'Ada'), (4711, 'Bob'), (4712, 'Eve');
SQL
my $before = current_lsn();
query(<<'SQL');
BEGIN;
UPDATE orders SET customer = 'Adam' WHERE id = 4710;
SAVEPOINT s;
DELETE FROM orders WHERE id = 4711;
RELEASE s;
SAVEPOINT s;
DELETE FROM orders WHERE id = 4712;
ROLLBACK TO s;
COMMIT;
VACUUM orders;
SQL
my $after = current_lsn();
is( query(<<SQL),
WITH versions AS (SELECT * FROM walredo_row_versions('orders', '$before', '$after'))
SELECT v."row"->>'id', v."row"->>'customer', v.xmax IS NOT DISTINCT FROM d.xmax,
	v.xmin IS NOT DISTINCT FROM d.xmax
FROM versions d JOIN versions v ON d.xmax IN (v.xmin, v.xmax)
WHERE d."row"->>'id' = '4711' AND d.xmax IS NOT NULL
ORDER BY v.ctid
SQL
	"4710|Ada|t|f\n4711|Bob|t|f\n4710|Adam|f|t",
	'a savepoint does not hide whose work it was');

#
# What a record does not say at once
#

# A row that others have locked: xmax is a multixact then.
query(<<'SQL');
INSERT INTO orders VALUES (1, 'locked');
BEGIN;
SELECT FROM orders WHERE id = 1 FOR KEY SHARE;
PREPARE TRANSACTION 'locker';
UPDATE orders SET customer = 'updated' WHERE id = 1;
COMMIT PREPARED 'locker';
SQL
my $end = current_lsn();
is( query(<<SQL),
SELECT v."row"->>'customer', v.xmax = n.xmin
FROM walredo_row_versions('orders', '$after', '$end') v
LEFT JOIN orders n ON n.id = 1
ORDER BY insert_lsn
SQL
	"locked|t\nupdated|", 'a row that was locked as well');
my ($orders_start, $orders_end) = ($after, $end);

# Values that were stored out of line before the range, and are gone since.  pglz
# gives up if the first bytes of a value cannot be compressed.
query(<<'SQL');
CREATE TABLE notes (id int, n int, plain text, packed text);
ALTER TABLE notes ALTER plain SET STORAGE EXTERNAL;
INSERT INTO notes VALUES (1, 0, long_text(100), repeat(repeat('x', 100) || long_text(100), 40));
CREATE TABLE kept AS SELECT * FROM notes;
CHECKPOINT;
SQL
$start = current_lsn();
query(<<'SQL');
UPDATE notes SET n = 1;
DELETE FROM notes;
VACUUM notes;
SQL
$end = current_lsn();
is( query(<<SQL),
SELECT v."row"->>'n', v."row"->>'plain' = plain, v."row"->>'packed' = packed, pg_column_size(packed) BETWEEN 2000 AND 10000,
	v.inserted_at = pg_xact_commit_timestamp(v.xmin), v.insert_lsn IS NULL
FROM kept, walredo_row_versions('notes', '$start', '$end') v
SQL
	"0|t|t|t|t|t\n1|t|t|t|t|f", 'values of before, stored out of line');

# An insertion that ON CONFLICT takes back, as another session has inserted the
# same key after this one has looked for it: the second time that the expression
# of the index is evaluated.
my $port = $node->port;
my $host = $node->host;
$start = current_lsn();
query(<<SQL);
CREATE EXTENSION dblink;
CREATE TABLE speculative (id int, who text);
CREATE FUNCTION interfere(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \$\$
DECLARE
	calls int = coalesce(nullif(current_setting('test.calls', true), ''), '-10')::int + 1;
BEGIN
	IF calls > -10 + 1 THEN
		PERFORM set_config('test.calls', calls::text, false);
		IF calls = 2 THEN
			PERFORM dblink_exec('host=$host port=$port dbname=postgres user=' || current_user,
				format('INSERT INTO speculative VALUES (%s, ''other'')', id));
		END IF;
	END IF;
	RETURN id;
END \$\$;
CREATE UNIQUE INDEX ON speculative (interfere(id));
SELECT set_config('test.calls', '0', false);
INSERT INTO speculative VALUES (1, 'this') ON CONFLICT (interfere(id)) DO UPDATE SET who = 'both';
SQL
$end = current_lsn();
is( query(<<SQL),
SELECT count(*) FROM walredo_wal_records('$start', '$end')
WHERE record_type = 'DELETE' AND resource_manager = 'Heap'
SQL
	1, 'a speculative insertion was taken back');
is( query(<<SQL),
SELECT v."row"->>'who', xmax IS NULL FROM walredo_row_versions('speculative', '$start', '$end') v
ORDER BY insert_lsn
SQL
	"other|f\nboth|t", '... and has never been a row');

# TRUNCATE of a table that the same transaction has made keeps the file.
$start = current_lsn();
query(<<'SQL');
BEGIN;
CREATE TABLE emptied (id int);
INSERT INTO emptied VALUES (1), (2);
TRUNCATE emptied;
INSERT INTO emptied VALUES (3);
COMMIT;
SQL
$end = current_lsn();
is_deeply([ ask($node, 'postgres', <<SQL) ],
SELECT v.ctid, v."row"->>'id', v.xmin = v.xmax FROM walredo_row_versions('emptied', '$start', '$end') v
SQL
	[ "(0,1)|1|t\n(0,1)|3|\n(0,2)|2|t", '' ],
	'TRUNCATE ends versions');

# Columns that are gone, or were not there yet.
query(<<'SQL');
CREATE TABLE columns (id int, gone text, kept text);
INSERT INTO columns VALUES (1, 'a', 'b');
SQL
$start = current_lsn();
query(<<'SQL');
DELETE FROM columns;
ALTER TABLE columns DROP gone, ADD added int DEFAULT 5;
SQL
$end = current_lsn();
is( query("SELECT \"row\" FROM walredo_row_versions('columns', '$start', '$end')"),
	'{"id": 1, "kept": "b", "added": 5}',
	'rows have the columns of now');

#
# Partitions
#

query(<<'SQL');
CREATE TABLE parted (id int, t text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 (t text, id int);
ALTER TABLE parted_2 ALTER t SET STORAGE EXTERNAL;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (10) TO (20);
INSERT INTO parted VALUES (1, 'one'), (2, 'two');
CREATE ROLE nobody IN ROLE pg_read_server_files;
CREATE ROLE somebody IN ROLE pg_read_server_files;
GRANT SELECT ON parted TO somebody;
ALTER TABLE parted ENABLE ROW LEVEL SECURITY;
SQL
$start = current_lsn();
query(<<'SQL');
UPDATE parted SET id = 11, t = repeat('long', 1000) WHERE id = 1;
DELETE FROM parted WHERE id = 2;
SQL
$end = current_lsn();
my $parted = <<SQL;
SELECT ctid, v."row"->>'id', md5(v."row"->>'t') = md5(repeat('long', 1000)), xmin IS NULL, xmax IS NULL
FROM walredo_row_versions('parted', '$start', '$end') v ORDER BY v."row"->>'id'
SQL
is(query($parted), "(0,1)|1|f|f|f\n(0,1)|11|t|f|t\n(0,2)|2|f|f|f",
	'a row that an update moves to another partition');
like(
	error_of($node, 'postgres', "SET ROLE nobody; $parted"),
	qr/42501: permission denied for table parted/,
	'SELECT is needed');
is(query("SET ROLE somebody; $parted"),
	"(0,1)|1|f|f|f\n(0,1)|11|t|f|t\n(0,2)|2|f|f|f",
	'... and is enough: row security does not apply');

#
# Files
#

query(<<'SQL');
CREATE TABLE rewritten (id int);
INSERT INTO rewritten VALUES (1), (2), (3);
SQL
$start = current_lsn();
query('DELETE FROM rewritten WHERE id = 1');
$before = current_lsn();
query(<<'SQL');
VACUUM FULL rewritten;
DELETE FROM rewritten WHERE id = 2;
SQL
$end = current_lsn();
my $rewritten = 'SELECT v."row"->>\'id\' FROM walredo_row_versions(\'rewritten\'';
is(query("$rewritten, '$start', '$end') v"),
	2, 'of a table that was rewritten, versions in its new file');
like(
	warnings_of("$rewritten, '$start', '$end') v"),
	qr/WARNING:  01000: relation "rewritten" had another file before [\dA-F\/]+\nDETAIL:  Row versions in an earlier file are not returned\./,
	'... with a warning');
like(
	error_of($node, 'postgres', "$rewritten, '$start', '$before') v"),
	qr/22023: relation "rewritten" had another file, or did not exist, at .*DETAIL:  The file "base\/\d+\/\d+" of the relation was created at .*HINT:  .*walredo_rows_at/s,
	'if all of the range is before that, an error');

# A file that has the name of an earlier one, of another database.
$start = current_lsn();
query('CREATE DATABASE pattern');
$node->safe_psql('pattern',
	'CREATE EXTENSION walredo; CREATE TABLE x (id int); INSERT INTO x VALUES (0)');
foreach my $i (1 .. 2)
{
	query('CREATE DATABASE twice TEMPLATE pattern OID = 60000');
	$node->safe_psql('twice',
		"INSERT INTO x VALUES ($i); DELETE FROM x WHERE id = 0");
	query('DROP DATABASE twice') if $i == 1;
}
$end = current_lsn();
is( $node->safe_psql('twice', <<SQL),
SELECT v."row", insert_lsn IS NULL, delete_lsn IS NULL FROM walredo_row_versions('x', '$start', '$end') v
SQL
	qq({"id": 0}|t|f\n{"id": 2}|f|t),
	'what was in another file of this name does not count');

# What cannot be read.
query(<<'SQL');
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE moods (id int, mood mood);
CREATE UNLOGGED TABLE unlogged (id int);
CREATE VIEW view AS SELECT 1 AS id;
SQL
$start = current_lsn();
query("INSERT INTO moods VALUES (1, 'sad'), (2, 'happy')");
$end = current_lsn();
query(q(DELETE FROM pg_enum WHERE enumlabel = 'sad'));
my $moods = "SELECT \"row\" FROM walredo_row_versions('moods', '$start', '$end')";
is(query($moods), "\n{\"id\": 2, \"mood\": \"happy\"}",
	'a row with a value that means nothing any more');
like(
	warnings_of($moods),
	qr/WARNING:  XX001: the rows of some row versions cannot be read\nDETAIL:  Their number is 1\. The first reason is: .*\d/,
	'... with a warning');
query(<<'SQL');
CREATE TYPE level AS ENUM ('low', 'high');
CREATE FUNCTION level_json(l level) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	IF l = 'low' THEN
		RAISE 'there is no JSON for low';
	END IF;
	RETURN '"HIGH"';
END $$;
CREATE CAST (level AS json) WITH FUNCTION level_json(level);
CREATE TABLE levels (id int, level level);
SQL
$start = current_lsn();
query("INSERT INTO levels VALUES (1, 'low'), (2, 'high')");
$end = current_lsn();
my ($levels, $messages) =
  ask($node, 'postgres', "SELECT \"row\" FROM walredo_row_versions('levels', '$start', '$end')");
is($levels, "\n{\"id\": 2, \"level\": \"HIGH\"}",
	'a row with a value whose conversion fails');
like(
	$messages,
	qr/WARNING:  XX001: the rows of some row versions cannot be read\nDETAIL:  Their number is 1\. The first reason is: there is no JSON for low/,
	'... with a warning');
foreach my $case (
	[ 'unlogged', qr/0A000: relation "unlogged" is not logged/ ],
	[ 'view', qr/42809: "view" is not a table or materialized view/ ],
	[ 'item_pkey', qr/42809: "item_pkey" is not a table or materialized view/ ],
	[ 'version', qr/42809: "version" is not a table or materialized view/ ])
{
	my ($relation, $error) = @$case;

	like(
		error_of($node, 'postgres', "SELECT * FROM walredo_row_versions('$relation', '$start', '$end')"),
		$error,
		"rows of $relation are not in WAL");
}
like(
	error_of($node, 'postgres', "SELECT * FROM walredo_row_versions(1::regclass, '$start', '$end')"),
	qr/42P01: relation with OID 1 does not exist/,
	'a relation that does not exist');
like(
	error_of($node, 'postgres', "SELECT * FROM walredo_row_versions('item', '$end', '$start')"),
	qr/22023: WAL start LSN must not be greater than end LSN/,
	'a range that makes no sense');
is( query("SELECT count(*) FROM walredo_row_versions('item', NULL, '$end')"),
	0, 'no range, no versions');

# More transactions than memory.
query(<<'SQL');
CREATE TABLE many (id int);
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		INSERT INTO many VALUES (i);
		COMMIT;
	END LOOP;
END $$;
SQL
$start = current_lsn();
query('SET synchronous_commit = off; CALL fill()');
$end = current_lsn();
my $many = "SELECT count(DISTINCT xmin::text), count(DISTINCT v.\"row\") FROM walredo_row_versions('many', '$start', '$end') v";
is(query($many), '20000|20000', 'many transactions');
like(
	error_of($node, 'postgres', "SET maintenance_work_mem = '1MB'; $many"),
	qr/54000: transactions up to .* take more memory than half of maintenance_work_mem/,
	'... take memory');

# More pages than memory: one row on each.
query(<<'SQL');
CREATE TABLE wide (id int, t text);
ALTER TABLE wide ALTER t SET STORAGE PLAIN;
SQL
$start = current_lsn();
query(<<'SQL');
INSERT INTO wide SELECT g, repeat('x', 5000) FROM generate_series(1, 6000) g;
DELETE FROM wide WHERE id % 2 = 0;
VACUUM wide;
SQL
$end = current_lsn();
is( query(<<SQL),
SET maintenance_work_mem = '1MB';
SELECT count(*), count(xmax), count(DISTINCT v."row"), sum((v."row"->>'id')::int) FILTER (WHERE xmax IS NULL)
FROM walredo_row_versions('wide', '$start', '$end') v
SQL
	'6000|3000|6000|9000000', 'many pages');

# A record with a line pointer that no page has.
query('SELECT pg_switch_wal()');
my $hostile = copy_segments($node->data_dir . '/pg_wal',
	PostgreSQL::Test::Utils::tempdir . '/hostile');
my ($lsn, $record) = split /\|/, query(<<SQL);
SELECT start_lsn, encode(rec, 'hex') FROM walredo_wal_records('$orders_start', '$orders_end')
WHERE resource_manager = 'Heap' AND record_type = 'INSERT' ORDER BY 1 LIMIT 1
SQL
overwrite_record($hostile, $lsn, pack('H*', poison($record)));
like(
	error_of($node, 'postgres', "SELECT * FROM walredo_row_versions('orders', '$orders_start', '$orders_end', '$hostile')"),
	qr/XX001: invalid WAL record that ends at .*DETAIL:  The record has a tuple at a line pointer that no page has\./s,
	'a record that contradicts itself');

#
# WAL without the pages
#

query(<<'SQL');
CREATE TABLE torn (id int, n int);
INSERT INTO torn VALUES (1, 0), (2, 0), (3, 0);
ALTER SYSTEM SET full_page_writes = off;
SELECT pg_reload_conf();
SQL
$node->poll_query_until('postgres', "SELECT current_setting('full_page_writes') = 'off'");
query('SELECT pg_switch_wal()');
query('CHECKPOINT');
my $first_segment = query('SELECT pg_walfile_name(pg_current_wal_lsn())');
query('SELECT pg_switch_wal()');
query('CHECKPOINT');
$start = current_lsn();
query(<<'SQL');
UPDATE torn SET n = 1 WHERE id = 1;
DELETE FROM torn WHERE id = 2;
SQL
$end = current_lsn();
my $torn = "SELECT v.\"row\", xmax IS NULL FROM walredo_row_versions('torn', '$start', '$end', %s) v ORDER BY ctid";

# Segments that begin where the images are not.
query('SELECT pg_switch_wal()');
my $later = copy_segments($node->data_dir . '/pg_wal',
	PostgreSQL::Test::Utils::tempdir . '/later');
unlink map { "$later/$_" } grep { $_ lt $first_segment } slurp_dir($later);

my $rows = <<'OUT' =~ s/\n\z//r;
{"n": 0, "id": 1}|f
{"n": 0, "id": 2}|f
{"n": 1, "id": 1}|t
OUT
is(query(sprintf $torn, 'NULL'), $rows, 'older WAL has the pages');
is_deeply([ ask($node, 'postgres', sprintf $torn, "'$later'") ],
	[ $rows, '' ], 'or the server has, if nothing has changed since');
query('VACUUM torn');
is(query(sprintf $torn, "'$later'"), "|f\n|f\n|t",
	'versions of which only this is known');
like(
	warnings_of(sprintf $torn, "'$later'"),
	qr/WARNING:  XX001: the rows of some row versions are not known\nDETAIL:  Their number is 3\. The first reason is: rel \d+\/\d+\/\d+ blk 0: WAL from .* on changes the page, but does not initialize it or have an image of it before\./,
	'... with a warning');

$node->stop;
done_testing();
