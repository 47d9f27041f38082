# Very many tables, with the default settings: while all of them are verified,
# other sessions have room in the shared lock table, and none waits long for a
# table.
#
# VERIFY_TABLES is how many there are, 4000 if it is not set.
#
# Seen to fail on code that locked all relations before it read WAL, and ran out
# of shared memory.

use Time::HiRes qw(time);
use WalredoSessions;
use WalredoTest;

my $tables = $ENV{VERIFY_TABLES} || 4000;
my $opened = int($tables * 3 / 8);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
wal_level = replica
max_wal_size = 4GB
wal_keep_size = 4GB
max_connections = 100
max_locks_per_transaction = 64
shared_buffers = 128MB
autovacuum = off
log_statement = none
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION walredo');

# With their TOAST tables and the indexes of those it is three times as many
# relations.  Some transactions, as one could not hold so many locks.
$node->safe_psql('postgres', <<SQL);
DO \$\$
BEGIN
	FOR i IN 1 .. $tables LOOP
		EXECUTE format('CREATE TABLE t%s AS SELECT %s AS i, NULL::text AS t', i, i);
		IF i % 200 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END \$\$;
CHECKPOINT;
SQL

#
# Other sessions, while all tables are verified
#

my $verifier = session($node);
my $other = session($node);
my $ddl = session($node);
my $state_sql =
  "SELECT state FROM pg_stat_activity WHERE pid = $verifier->{backend}";
run_query($verifier,
	'CREATE TABLE result AS SELECT * FROM walredo_verify_all() WITH NO DATA'
);

# In each phase of the verification, which is repeated until the others are done.
$node->safe_psql('postgres', 'CREATE TABLE stop (phase text)');
foreach my $phase ('reading', 'comparing')
{
	begin_query($verifier, <<SQL);
DO \$\$
BEGIN
	FOR i IN 1 .. 1000 LOOP
		DELETE FROM result;
		INSERT INTO result SELECT * FROM walredo_verify_all();
		EXIT WHEN EXISTS (SELECT FROM stop WHERE phase = '$phase');
	END LOOP;
END \$\$
SQL
	# It ends early if it fails, which is seen below.
	ok( $node->poll_query_until('postgres', <<SQL),
SELECT EXISTS (SELECT FROM walredo_verify_progress WHERE phase ~ '^$phase')
	OR ($state_sql) = 'idle'
SQL
		"$phase: the verification is in this phase");

	# Other sessions need not wait for a table.  The server measures how long they
	# do, as a machine that is busy with something else takes longer for the rest.
	my ($longest, $most) = (0, 0);
	run_query($ddl, "SET lock_timeout = '1s'");
	foreach my $table (map { int($tables * $_ / 10) } 1 .. 10)
	{
		my $started = time();
		my ($out, $err) = run_query($ddl,
			"ALTER TABLE t$table ADD COLUMN added_$phase int");
		my $took = time() - $started;

		is($err, '', "$phase: ALTER TABLE t$table waits less than a second");
		$longest = $took if $took > $longest;
		my $held = $node->safe_psql('postgres',
			"SELECT count(*) FROM pg_locks WHERE pid = $verifier->{backend} AND locktype = 'relation'"
		);
		$most = $held if $held > $most;
	}
	cmp_ok($most, '<', 100, "$phase: the verification holds few locks");

	# Another session opens many tables in one transaction.
	run_query($other, 'BEGIN');
	my ($out, $err) = run_query($other, <<SQL);
DO \$\$
BEGIN
	FOR i IN 1 .. $opened LOOP
		EXECUTE format('SELECT FROM t%s', i);
	END LOOP;
END \$\$
SQL
	is($err, '', "$phase: another session opens $opened tables");
	is($node->safe_psql('postgres', $state_sql),
		'active', "$phase: the verification was at work meanwhile");
	$node->safe_psql('postgres', "INSERT INTO stop VALUES ('$phase')");
	($out, $err) = end_query($verifier);
	is($err, '', "$phase: all is verified");
	run_query($other, 'COMMIT');
	note("$phase: ALTER TABLE took at most $longest s, $most locks");
}

#
# The result
#

is( $node->safe_psql('postgres', <<SQL),
SELECT count(DISTINCT relation) FROM result
WHERE relation::text ~ '^t\\d+\$' AND fork = 'main' AND status = 'ok'
SQL
	$tables,
	'each table has its row');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM result WHERE status = 'mismatch'"),
	0,
	'no mismatch');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_locks WHERE pid = $verifier->{backend}"),
	0,
	'no lock is left');
$_->quit foreach $verifier, $other, $ddl;

$node->stop;
done_testing();
