# Pages of a table are damaged and repaired in a loop while four clients of
# pgbench change and read its rows.  No client ever sees a row that is not the
# one that was last committed, no transaction takes a second, and nobody sees an
# empty page where there is to be one with rows.
#
# Each row is in another table, too, which is not damaged and is changed in the
# same transaction, so that every client knows what it has to find.
#
# A file must not be written to while the server may do that, too.  So a block is
# damaged while the table is locked in the mode that excludes all others, and
# only if it is in no buffer.  The clients' rows get damage that makes pages
# unreadable, and a client that comes across one does something else.  Damage
# that can be read, such as a lost write, is done to rows that no client uses,
# because they would be wrong until they are repaired.
#
# REPAIR_LOAD_SECONDS is how long that takes, 8 if it is not set.
#
# Seen to fail: "everything is repaired", as the watcher had ended, when the lock
# was released between the empty buffer and its page; "all rows are right" with
# pages rebuilt without the last 1.5 MB of WAL; "nobody has waited" with a second's
# sleep before the page is replaced.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use List::Util qw(max);
use Time::HiRes qw(time usleep);
use WalredoSessions;
use WalredoTest;

my $seconds = $ENV{REPAIR_LOAD_SECONDS} || 8;
my $dir = PostgreSQL::Test::Utils::tempdir();
my $clients = 4;

# How many rows there are, and how many of them, at the beginning of the table,
# no client uses.
my $rows = 20_000;
my $quiet = 400;

# WAL has to have all pages to the end, also those that no client changes.
my $keep = 2048 + 40 * $seconds;
my $node = wal_server(
	'repair_load',
	extra => ['--data-checksums'],
	conf => <<CONF);
shared_preload_libraries = 'walredo'
shared_buffers = 2MB
checkpoint_timeout = 30s
max_wal_size = 512MB
wal_keep_size = ${keep}MB
CONF
$node->start;

sub query
{
	return $node->safe_psql('postgres', shift);
}

query(<<SQL);
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE EXTENSION pg_buffercache;
CREATE TABLE account (id int PRIMARY KEY, n int, proof text)
	WITH (fillfactor = 80);
CREATE TABLE expected (id int PRIMARY KEY, n int) WITH (fillfactor = 80);
CREATE TABLE damaged (blkno int);
INSERT INTO account
	SELECT g, 0, repeat(md5(g || ':0'), 10) FROM generate_series(1, $rows) g;
INSERT INTO expected SELECT g, 0 FROM generate_series(1, $rows) g;
INSERT INTO damaged VALUES (0);
SQL
query('CHECKPOINT');
my $file = path_of($node, 'postgres', 'account');
my $quiet_blocks = query(
	"SELECT max((ctid::text::point)[0]) - 1 FROM account WHERE id <= $quiet");
my @before = map { read_block($file, $_) } 0 .. $quiet_blocks;
query(<<SQL);
UPDATE account SET n = 1, proof = repeat(md5(id || ':1'), 10) WHERE id <= $quiet;
UPDATE expected SET n = 1 WHERE id <= $quiet;

-- What the clients do; true if a page could not be read.
CREATE FUNCTION change(which int) RETURNS bool LANGUAGE plpgsql AS \$\$
DECLARE
	got int;
BEGIN
	UPDATE expected SET n = n + 1 WHERE id = which;
	UPDATE account SET n = n + 1, proof = repeat(md5(id || ':' || n + 1), 10)
		WHERE id = which RETURNING n INTO got;
	IF got IS DISTINCT FROM (SELECT n FROM expected WHERE id = which) THEN
		RAISE 'wrong row %: % after the update', which, got;
	END IF;
	RETURN false;
EXCEPTION WHEN data_corrupted THEN
	RETURN true;
END \$\$;
CREATE FUNCTION look(which int) RETURNS bool LANGUAGE plpgsql AS \$\$
DECLARE
	got record;
BEGIN
	SELECT e.n AS expected, a.n,
		a.proof = repeat(md5(a.id || ':' || a.n), 10) AS is_right
	INTO got FROM expected e LEFT JOIN account a USING (id) WHERE id = which;
	IF got.n IS DISTINCT FROM got.expected OR got.is_right IS NOT true THEN
		RAISE 'wrong row %: %', which, got;
	END IF;
	RETURN false;
EXCEPTION WHEN data_corrupted THEN
	RETURN true;
END \$\$;

-- Looks at the block that is being repaired.
CREATE FUNCTION watch(which int) RETURNS bool LANGUAGE plpgsql AS \$\$
BEGIN
	IF get_raw_page('account', which) = repeat('\\000', 8192)::bytea THEN
		RAISE 'block % is empty', which;
	END IF;
	RETURN false;
EXCEPTION WHEN data_corrupted THEN
	RETURN true;
END \$\$;
SQL

# A row of some sort that is wrong must be noticed.
like(
	error_of($node, 'postgres', <<'SQL'), qr/wrong row 9: /, 'a wrong row is noticed');
BEGIN;
UPDATE account SET n = 7 WHERE id = 9;
SELECT look(9);
SQL

#
# Load
#

my %script = (
	change => "\\set id random($quiet + 1, $rows)\nSELECT change(:id);\n",
	look => "\\set id random($quiet + 1, $rows)\nSELECT look(:id);\n",
	watch => "SELECT watch(blkno) FROM damaged;\n");
append_to_file("$dir/$_.sql", $script{$_}) foreach keys %script;

my @loads;

sub start_load
{
	my ($name, $clients, @scripts) = @_;

	push @loads,
	  {
		name => $name,
		run => IPC::Run::start(
			[
				'pgbench', '-n', '-M', 'prepared', '-c', $clients, '-T', '100000',
				'-l', "--log-prefix=$dir/$name",
				(map { ('-f', "$dir/$_.sql") } @scripts),
				'-h', $node->host, '-p', $node->port, 'postgres'
			],
			'<', \undef, '>', "$dir/$name.out", '2>', "$dir/$name.err")
	  };
	return;
}

sub end_loads
{
	my @errors;

	foreach my $load (@loads)
	{
		# If one client has met with an error, the others go on.
		push @errors, "$load->{name} has ended" if !$load->{run}->pumpable;
		eval { $load->{run}->kill_kill(grace => 2) };
		my $messages = slurp_file("$dir/$load->{name}.err");
		push @errors, "$load->{name}: $messages" if $messages =~ /error/i;
	}
	@loads = ();
	return join "\n", @errors;
}

END
{
	my $status = $?;

	end_loads();
	$? = $status;
}

# Latencies in microseconds, of all transactions of a load.
sub latencies
{
	my $name = shift;
	my @latencies;

	foreach my $log (glob "$dir/$name.*")
	{
		next if $log !~ /\.\d+(?:\.\d+)?$/;
		push @latencies, map { (split)[2] // () } split /\n/, slurp_file($log);
	}
	return @latencies;
}

#
# Damage and repair
#

# A session that locks the table.  It has a time-out for all that it does, so it
# is another one from time to time.
my $session;
my $opened = 0;
my %count;

# Damages one of these blocks, by a function of its number and its contents.
# Returns the number, or undef if all of them are in buffers.
sub damage
{
	my ($first, $last, $damage) = @_;
	my $blkno;

	if (time() > $opened + 30)
	{
		$session->quit if $session;
		$session = session($node);
		$opened = time();
	}
	my ($out, $err) = run_query($session, <<SQL);
BEGIN;
LOCK TABLE account IN ACCESS EXCLUSIVE MODE;
SELECT 'block', b FROM generate_series($first, $last) b
WHERE b NOT IN (SELECT relblocknumber FROM pg_buffercache
	WHERE relfilenode = pg_relation_filenode('account')
	AND reldatabase = (SELECT oid FROM pg_database
		WHERE datname = current_database())
	AND relforknumber = 0)
ORDER BY random() LIMIT 1
SQL
	die $err if $err =~ /ERROR/;
	if ($out =~ /^block\|(\d+)$/m)
	{
		$blkno = $1;
		write_block($file, $blkno, $damage->($blkno, read_block($file, $blkno)));
	}
	run_query($session, 'COMMIT');
	return $blkno;
}

my %damages = (
	'flipped bytes' => sub {
		my ($blkno, $page) = @_;

		substr($page, 1000 + int(rand 6000), 1) ^= chr(1 + int rand 255)
		  foreach 1 .. 5;
		return $page;
	},
	'other block' => sub {
		my ($blkno, $page) = @_;

		return read_block($file, $blkno == 0 ? 1 : $blkno - 1);
	},
	'torn page' => sub {
		my ($blkno, $page) = @_;

		return substr($page, 0, 4096) . 'torn' x 1024;
	});
my %quiet_damages = (
	'zeroes' => sub { return "\0" x $page_size; },
	'lost write' => sub { return $before[ $_[0] ]; });

start_load('clients', $clients, 'change', 'look');
start_load('watcher', 1, 'watch');

my @faults;
my $longest = 0;
my $end = time() + $seconds;

# Each kind at least once, however slow the machine is.
my @kinds = ('flipped bytes', 'lost write', 'other block', 'zeroes', 'torn page');
my $number = 0;

while ((time() < $end || (grep { !$count{$_} } @kinds)) && !@faults)
{
	my $kind = $kinds[ $number++ % @kinds ];
	my $is_quiet = defined $quiet_damages{$kind};
	my $set = $is_quiet ? \%quiet_damages : \%damages;
	my $blocks = (-s $file) / $page_size;
	my $blkno = damage($is_quiet ? (0, $quiet_blocks) :
		  ($quiet_blocks + 2, $blocks - 1), $set->{$kind});

	if (!defined $blkno)
	{
		$count{'all are in buffers'}++;
		next;
	}

	# Let clients come across it.
	query("UPDATE damaged SET blkno = $blkno") if !$is_quiet;
	usleep(rand 50_000);
	my $started = time();
	my ($out, $err) = ask($node, 'postgres',
		"SELECT status, detail FROM walredo_repair('account', blkno => $blkno, dry_run => false)"
	);
	$longest = max($longest, time() - $started);
	push @faults, "$kind in block $blkno: $out $err" if $out !~ /^repaired\|/;
	$count{$kind}++;
	if ($is_quiet)
	{
		my $wrong = query(<<SQL);
SELECT count(*) FROM expected e LEFT JOIN account a USING (id)
WHERE id <= $quiet AND (a.n IS DISTINCT FROM e.n OR
	a.proof IS DISTINCT FROM repeat(md5(e.id || ':' || e.n), 10))
SQL
		push @faults, "$kind in block $blkno: $wrong rows are wrong" if $wrong;
	}
	foreach my $load (@loads)
	{
		$load->{run}->pump_nb;
		push @faults, "$load->{name} has ended" if !$load->{run}->pumpable;
	}
}
is(join("\n", @faults), '', 'everything is repaired');
is(end_loads(), '', 'no client has seen anything wrong');

my @latencies = latencies('clients');
note("$_: $count{$_}") foreach sort keys %count;
note(sprintf '%d transactions, the longest took %.1f ms; the longest repair %.1f ms',
	scalar(@latencies), max(@latencies, 0) / 1000, $longest * 1000);
cmp_ok(scalar(@latencies), '>', 100 * $seconds, 'there was load');
cmp_ok(max(@latencies, 0), '<', 1_000_000, 'nobody has waited for a second');
foreach my $kind (sort keys %damages, keys %quiet_damages)
{
	cmp_ok($count{$kind} // 0, '>', 0, "$kind: repaired");
}
is( query(<<'SQL'),
SELECT count(*), count(*) FILTER (WHERE a.n IS DISTINCT FROM e.n
	OR a.proof IS DISTINCT FROM repeat(md5(e.id || ':' || e.n), 10))
FROM expected e FULL JOIN account a USING (id)
SQL
	"$rows|0",
	'all rows are right');
is( query(
		"SELECT count(*) FROM walredo_verify('account') WHERE status <> 'ok'"),
	'0',
	'verification finds nothing');
$session->quit;
$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
	'all checksums are right');
done_testing();
