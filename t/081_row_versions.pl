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

$node->stop;
done_testing();
