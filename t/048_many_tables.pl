# Very many tables, with the default settings: a verification of them all leaves
# the shared lock table to others, and keeps nobody from a table for long.
#
# TABLES is how many there are, 4000 if it is not set.
#
# Seen to fail on code that locked all relations before it read WAL: it ran out
# of shared memory, or others did, and ALTER TABLE waited until all was done.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WalredoSessions;

my $tables = $ENV{TABLES} || 4000;
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

# Some transactions, as one could not hold so many locks.
$node->safe_psql('postgres', <<SQL);
DO \$\$
BEGIN
	FOR i IN 1 .. $tables LOOP
		EXECUTE format('CREATE TABLE t%s AS SELECT %s AS i', i, i);
		IF i % 500 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END \$\$;
CHECKPOINT;
SQL

#
# Meanwhile
#

# Verifies all again and again until it is told to end, so that there is always
# a verification meanwhile.
my $verifier = session($node);
my $other = session($node);
my $ddl = session($node);
begin_query($verifier, <<SQL);
CREATE TABLE result AS SELECT * FROM walredo_verify_all()
SQL
ok( $node->poll_query_until('postgres',
		'SELECT count(*) = 1 FROM walredo_verify_progress'),
	'a verification of all has begun');

# In each of its phases.
foreach my $phase (qw(reading comparing))
{
	my $phase_sql = <<SQL;
SELECT count(*) > 0 FROM walredo_verify_progress WHERE phase ~ '^$phase'
	OR '$phase' = 'reading'
SQL
	$node->poll_query_until('postgres',
		"SELECT ($phase_sql) OR EXISTS (SELECT FROM pg_stat_activity WHERE pid = $verifier->{backend} AND state = 'idle')"
	) or die 'nothing begins';
	my $held = $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_locks WHERE pid = $verifier->{backend} AND locktype = 'relation'"
	);
	cmp_ok($held, '<', 300, "$phase: the verification holds few locks");

	# Another session opens many tables in one transaction.
	my $statement = join ' ', map { "LOCK TABLE t$_ IN ACCESS SHARE MODE;" }
	  1 .. $opened;
	run_query($other, 'BEGIN');
	my ($out, $err) = run_query($other, $statement);
	is($err, '', "$phase: another session opens $opened tables");
	run_query($other, 'COMMIT');

	# And waits for none.
	my $longest = 0;
	foreach my $table (1, int($tables / 2), $tables)
	{
		my $started = time();

		($out, $err) = run_query($ddl,
			"ALTER TABLE t$table ADD COLUMN added_$phase int");
		is($err, '', "$phase: ALTER TABLE");
		my $took = time() - $started;
		$longest = $took if $took > $longest;
	}
	note("$phase: ALTER TABLE took at most $longest s");
	cmp_ok($longest, '<', 1, "$phase: ALTER TABLE waits less than a second");
	my $still = $node->safe_psql('postgres',
		"SELECT state FROM pg_stat_activity WHERE pid = $verifier->{backend}");
	note("$phase: the verification is $still");
	is($still, 'active', "$phase: it was meanwhile") if $phase eq 'reading';
}
my ($out, $err) = end_query($verifier);
is($err, '', 'all is verified');

#
# And rightly
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

# Also in one transaction with others' locks, and again.
is( $node->safe_psql('postgres', <<'SQL'),
SELECT count(*) FROM walredo_verify_all() WHERE status = 'mismatch'
SQL
	0,
	'no mismatch afterwards');
$node->stop;
done_testing();
