# walredo_verify_slru(): pages of transaction status, of multixacts and of commit
# timestamps in the server's files, compared with WAL.
#
# A primary and a standby are verified while clients write, with checkpoints at
# any time, and after crashes.  No page may be a mismatch.  Then files are damaged,
# and each damage must be found.
#
# SLRU_SECONDS		for how long clients write (10)

use IPC::Run;
use Time::HiRes qw(sleep time);
use WalredoTest;

my $seconds = $ENV{SLRU_SECONDS} // 10;
my $clog_segment = $clog_per_page * 32;
my $primary = wal_server(
	'primary',
	allows_streaming => 1,
	conf => <<CONF);
track_commit_timestamp = on
max_prepared_transactions = 50
max_connections = 60
wal_writer_delay = 1s
shared_buffers = 2MB
CONF
my $data = $primary->data_dir;
my $offsets_per_page = offsets_per_page($primary);
my $long_names = $primary->pg_version->major >= 19;

# Just below the ends of segments, so that WAL makes the next pages.
command_ok(
	[
		'pg_resetwal',
		'-x', $clog_segment - 150,
		'-m', ($offsets_per_page * 32 - 4) . ',1',
		'-O', $members_per_page * 32 - 7,
		$data
	],
	'start just below the ends of segments');
my $members = 'pg_multixact/members/' . '0' x ($long_names ? 11 : 0);
lengthen_file("$data/pg_xact/0000", 32);
lengthen_file("$data/pg_multixact/offsets/0000", 32);
lengthen_file("$data/${members}0000", 32);

$primary->start;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE account (id int PRIMARY KEY, n int) WITH (fillfactor = 50);
INSERT INTO account SELECT g, 0 FROM generate_series(1, 1000) g;
SQL

# Transactions with multixacts, each of which has two subtransactions as members:
# some commit, in one of two ways, some abort, and some are prepared first.
my $work = <<'SQL';
\set id random(1, 1000)
BEGIN;
SELECT FROM account WHERE id = :id FOR KEY SHARE;
SAVEPOINT a;
UPDATE account SET n = n + 1 WHERE id = :id;
SAVEPOINT b;
SELECT pg_current_xact_id();
SQL
my $script = $primary->basedir;
write_file("$script/commit", "$work COMMIT;");
write_file("$script/async", "SET synchronous_commit = off;\n$work COMMIT;");
write_file("$script/abort", "$work ROLLBACK;");
write_file("$script/prepare",
	"\\set n random(1, 1000000000)\n$work PREPARE TRANSACTION 'p:n';\nCOMMIT PREPARED 'p:n';\n");
write_file("$script/tree", <<'SQL');
DO $$
BEGIN
	FOR i IN 1 .. 3000 LOOP
		BEGIN
			PERFORM pg_current_xact_id();
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END LOOP;
END
$$;
SQL

sub start_clients
{
	my $clients = { output => '' };

	$clients->{run} = IPC::Run::start(
		[
			'pgbench', '-n', '-c', '12', '-j', '1', '-T', '1000',
			'-f', "$script/commit\@6", '-f', "$script/async\@6",
			'-f', "$script/abort\@3", '-f', "$script/prepare\@3",
			'-f', "$script/tree\@1",
			'-h', $primary->host, '-p', $primary->port, 'postgres'
		],
		'<', \undef, '>', \$clients->{output}, '2>&1');
	return $clients;
}

sub stop_clients
{
	my $clients = shift;

	$clients->{run}->signal('INT');
	$clients->{run}->finish;
	return;
}

my $per_status = <<'SQL';
SELECT status, count(*) FROM walredo_verify_slru() GROUP BY 1 ORDER BY 1
SQL
my $bad = <<'SQL';
SELECT tag, status, detail FROM walredo_verify_slru() WHERE status = 'mismatch'
SQL
my $rounds = 0;
my @mismatches;

# Verifies a server, and keeps what is wrong.
sub verify
{
	my ($node, $what) = @_;
	my $result = value_or_error($node, 'postgres', $bad);

	push @mismatches, "$what: $result" if $result ne '';
	$rounds++;
	return;
}

# Clients write, and are ended by a crash now and then.
for (my $crash = 0; $crash < 3; $crash++)
{
	my $clients = start_clients();
	my $end = time() + $seconds / 3;

	while (time() < $end)
	{
		verify($primary, 'primary');
		$primary->safe_psql('postgres', 'CHECKPOINT') if rand() < 0.5;
		verify($standby, 'standby');
		$standby->safe_psql('postgres', 'CHECKPOINT') if rand() < 0.3;
	}
	$primary->stop('immediate');
	stop_clients($clients);
	$standby->stop('immediate') if $crash == 1;
	$primary->start;
	verify($primary, 'primary after a crash');
	$standby->start if $crash == 1;
}
cmp_ok($rounds, '>', 6, "pages are verified in many rounds");
note "$rounds rounds";
is(join("\n", @mismatches), '', 'no page is a mismatch under load');

# Prepared transactions of a client that was stopped
$primary->safe_psql('postgres', <<"SQL");
DO \$\$ BEGIN PERFORM 1; END \$\$;
BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'stays';
CHECKPOINT;
SQL
$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');
note $primary->safe_psql('postgres', "SELECT * FROM walredo_verify_slru() WHERE status <> 'ok'");
note $primary->safe_psql('postgres', $per_status);
note $standby->safe_psql('postgres', $per_status);
foreach my $node ($primary, $standby)
{
	foreach my $slru ('pg_xact', 'pg_multixact/offsets',
		'pg_multixact/members', 'pg_commit_ts')
	{
		cmp_ok(
			$node->safe_psql('postgres', <<SQL), '>=', 1,
SELECT count(*) FROM walredo_verify_slru('$slru')
WHERE status = 'ok' AND tag::text LIKE 'slru $slru/%'
SQL
			$node->name . ": pages of $slru are verified");
	}
}
done_testing();
