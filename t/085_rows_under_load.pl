# Rows as of LSNs while other sessions change them: money that is transferred from
# row to row is neither lost nor made, at any LSN, as each transaction has either
# committed or not.
#
# Several clients transfer amounts between rows, in both ways that a row can go on,
# and take some of it back, while the table is vacuumed, frozen and rewritten, and
# checkpoints come and go.  At the same time, the rows as of LSNs that no
# transaction has chosen are added up: of just now, of a moment ago, and of the
# start.
#
# Rows may be missing only with a warning that says so.  A few of the transactions
# last longer than a checkpoint, so there are some.
#
# LOAD_SECONDS is how long it takes, 8 if it is not set; LOAD_SEED chooses the LSNs.
#
# Seen to fail when a transaction had committed at the LSN if its commit record
# began before it, and when WAL that was added while a page was read was not read.

use IPC::Run;
use Time::HiRes qw(time);
use WalredoSessions;
use WalredoTest;

my $seconds = $ENV{LOAD_SECONDS} || 8;
my $seed = $ENV{LOAD_SEED} || 1;
my $temp = PostgreSQL::Test::Utils::tempdir();

srand $seed;
my $node = wal_server('main', conf => <<'CONF');
shared_preload_libraries = 'walredo'
autovacuum = on
autovacuum_naptime = 1s
autovacuum_vacuum_threshold = 10
autovacuum_vacuum_cost_delay = 0
max_connections = 40
log_statement = none
log_min_messages = warning
log_min_error_statement = panic
CONF
$node->start;
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION walredo;
CREATE TABLE account (id int, amount int, pad text) WITH (fillfactor = 70);
ALTER TABLE account ALTER pad SET STORAGE EXTERNAL;
CREATE INDEX account_id ON account (id);
INSERT INTO account SELECT g, 100, repeat('p', g % 300) FROM generate_series(1, 400) g;
INSERT INTO account SELECT g, 100, repeat('long', 1000) FROM generate_series(401, 420) g;
CREATE FUNCTION transfer(a int, b int, money int) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
	-- A row that another session has replaced meanwhile is not found.
	UPDATE account SET amount = amount - money, pad = repeat('q', money % 500) WHERE id = a;
	IF NOT FOUND THEN
		RAISE serialization_failure;
	END IF;
	BEGIN
		UPDATE account SET amount = 0 WHERE id = b;
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN NULL;
	END;
	IF money % 3 = 0 THEN
		WITH gone AS (DELETE FROM account WHERE id = b RETURNING *)
		INSERT INTO account SELECT gone.id, gone.amount + money, gone.pad FROM gone;
	ELSE
		UPDATE account SET amount = amount + money WHERE id = b;
	END IF;
	IF NOT FOUND THEN
		RAISE serialization_failure;
	END IF;
END
\$\$;
SQL
my $expected =
  $node->safe_psql('postgres', 'SELECT count(*), sum(amount) FROM account');
my $first_lsn =
  $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');

my %scripts = (
	transfer => <<'SQL',
\set a random(301, 400)
\set b random(401, 420)
\set c random(1, 200)
\set d random(201, 300)
\set amount random(1, 50)
BEGIN;
SELECT transfer(:c, :d, :amount);
SELECT transfer(:a, :b, :amount);
\if :amount < 5
ROLLBACK;
\else
COMMIT;
\endif
SQL
	maintain => <<'SQL',
\set n random(1, 5)
\if :n = 1
CHECKPOINT;
\endif
\if :n = 2
VACUUM (FREEZE) account;
\endif
\if :n = 3
VACUUM account;
\endif
\if :n = 4
SELECT count(*) FROM (SELECT FROM account WHERE id < 50 FOR KEY SHARE) s;
\endif
\sleep 100 ms
SQL
	rewrite => <<'SQL');
VACUUM FULL account;
\sleep 2000 ms
SQL
my (@clients, @output);
foreach my $script (sort keys %scripts)
{
	my $clients = $script eq 'transfer' ? 4 : 1;

	push @output, '';
	PostgreSQL::Test::Utils::append_to_file("$temp/$script.sql",
		$scripts{$script});
	push @clients,
	  IPC::Run::start(
		[
			'pgbench', '--no-vacuum',
			'--client', $clients,
			'--time', $seconds,
			'--max-tries', 10,
			'--file', "$temp/$script.sql",
			$node->connstr('postgres')
		],
		'>',
		\$output[-1],
		'2>&1');
}

my $session = session($node);
my (@wrong, %count);
my $end = time() + $seconds;
while (time() < $end)
{
	my $choice = rand();
	my $lsn =
		$choice < 0.4 ? 'pg_current_wal_insert_lsn()'
	  : $choice < 0.5 ? "'$first_lsn'"
	  : "greatest('$first_lsn', pg_current_wal_insert_lsn() - "
	  . int(10**(2 + rand 4)) . ')';
	my ($as_of) = run_query($session, "SELECT $lsn");
	my ($sum, $messages) = run_query($session,
		"SELECT count(*), sum(amount) FROM walredo_rows_at(NULL::account, '$as_of')"
	);

	$count{calls}++;
	$count{warned}++ if $messages =~ /WARNING/;
	next if $sum eq $expected;

	next if $messages =~ /WARNING:.*(?:may be missing|left out)/;
	push @wrong, "$as_of: $sum instead of $expected\n$messages";
}
$_->finish foreach @clients;
is(join('', @wrong), '', 'the sum is the same at all LSNs');
cmp_ok($count{calls}, '>=', 5, 'it was added up often');
cmp_ok(
	$count{warned} // 0,
	'<',
	$count{calls} / 2,
	'it was exact most of the time');
note(join ', ', map { "$_: $count{$_}" } sort keys %count);
is( $node->safe_psql('postgres', 'SELECT count(*), sum(amount) FROM account'),
	$expected,
	'the server has not lost anything either');
foreach my $output (@output)
{
	like(
		$output,
		qr/number of transactions actually processed: [1-9]/,
		'a client has done something');
}
$session->quit;
$node->stop;
done_testing();
