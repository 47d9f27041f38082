# Rounds on a primary and a standby under load: nothing on healthy servers is
# called a mismatch, no call fails, and damage that is made on the way is found,
# and nothing else.
#
# Clients write to tables with all sorts of indexes, make, drop, truncate, move
# and rewrite tables and databases, prepare transactions, and vacuum, with WAL
# buffers so small that the end of WAL is often within a record, buffers so few
# that pages come and go, little memory for rebuilt pages, and many checkpoints,
# which remove WAL that is being read.
#
# VERIFY_ROUNDS is how many rounds there are, 6 if it is not set.  VERIFY_SEED
# chooses the damage and what is looked at; that of the clients cannot be repeated.
# After a failure WAL and the files of both servers are copied to VERIFY_KEEP,
# if that is set to the name of a directory.
#
# Seen to fail on code that took the flush position for the end of WAL, and that
# did not look at records which name no block; and with damage that was not
# made, or not mended.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use WalredoPages;
use WalredoQueries;

my $rounds = $ENV{VERIFY_ROUNDS} || 6;
my $seed = $ENV{VERIFY_SEED} || 1;
my $temp = PostgreSQL::Test::Utils::tempdir();

# The segment in which the WAL of a damaged page begins, and how often damage was
# found.
my $damaged_after;
my $found = 0;

srand $seed;
diag("$rounds rounds, VERIFY_SEED=$seed");

#
# Two servers
#

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(
	allows_streaming => 1,
	extra => [ '--wal-segsize=1', '--data-checksums' ]);
$primary->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'walredo'
wal_buffers = 32kB
shared_buffers = 4MB
maintenance_work_mem = 1MB
checkpoint_timeout = 30s
max_wal_size = 64MB
min_wal_size = 2MB
wal_keep_size = 128MB
max_prepared_transactions = 20
max_connections = 50
allow_in_place_tablespaces = on
hot_standby_feedback = on
max_standby_streaming_delay = -1
max_standby_archive_delay = -1
autovacuum_naptime = 1s
autovacuum_vacuum_cost_delay = 0
log_statement = none
log_min_messages = warning
CONF
$primary->start;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

sub query
{
	return $primary->safe_psql('postgres', shift);
}

query(<<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pg_buffercache;
CREATE TABLESPACE elsewhere LOCATION '';
CREATE TABLE many (id int PRIMARY KEY, v int, a int[], p point, pad text)
	WITH (fillfactor = 80);
INSERT INTO many SELECT g, g % 50, ARRAY[g % 10, g % 100], point(g % 83, g % 91),
	repeat('p', g % 200) FROM generate_series(1, 3000) g;
CREATE INDEX many_v ON many (v);
CREATE INDEX many_hash ON many USING hash (v);
CREATE INDEX many_gin ON many USING gin (a);
CREATE INDEX many_gist ON many USING gist (p);
CREATE INDEX many_spgist ON many USING spgist (p);
CREATE INDEX many_brin ON many USING brin (id) WITH (pages_per_range = 4);
CREATE TABLE queue (id bigserial PRIMARY KEY, pad text);
CREATE TABLE toasted (id int PRIMARY KEY, t text);
ALTER TABLE toasted ALTER t SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 20) g;
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, t text);
INSERT INTO unlogged SELECT g, 'u' FROM generate_series(1, 200) g;
CREATE TABLE emptied (id int, t text);
CREATE INDEX emptied_id ON emptied (id);
CREATE SEQUENCE counter;
CREATE MATERIALIZED VIEW summary AS SELECT v, count(*) FROM many GROUP BY 1;
CREATE TABLE quiet (id int PRIMARY KEY, n int, pad text)
	WITH (autovacuum_enabled = off, fillfactor = 50);
INSERT INTO quiet SELECT g, 0, repeat('q', 300) FROM generate_series(1, 300) g;
CREATE DATABASE model;
SQL
$primary->safe_psql('model', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE t (i int PRIMARY KEY, t text);
INSERT INTO t SELECT g, repeat('m', g % 100) FROM generate_series(1, 500) g;
CREATE INDEX t_brin ON t USING brin (i);
CREATE INDEX t_hash ON t USING hash (i);
VACUUM (FREEZE) t;
CREATE UNLOGGED TABLE u (i int PRIMARY KEY);
SQL
$primary->wait_for_catchup($standby);

#
# Load
#

# Writers all write to the same tables.
my %writes = (
	update => <<'SQL',
\set id random(1, 3000)
\set n random(1, 1000)
BEGIN;
UPDATE many SET v = :n % 50, a = ARRAY[:n % 10, :n], p = point(:n, :id), pad = repeat('x', :n % 300) WHERE id = :id;
SELECT nextval('counter');
END;
SQL
	replace => <<'SQL',
\set id random(1, 3000)
DELETE FROM many WHERE id = :id;
INSERT INTO many VALUES (:id, :id % 50, ARRAY[:id], point(:id, 1), 'new') ON CONFLICT DO NOTHING;
SQL
	queue => <<'SQL',
INSERT INTO queue (pad) SELECT repeat('q', 400) FROM generate_series(1, 20);
DELETE FROM queue WHERE id < (SELECT max(id) - 200 FROM queue);
SQL
	toasted => <<'SQL',
\set id random(1, 20)
\set n random(1, 300)
UPDATE toasted SET t = repeat(md5(:n::text), :n) WHERE id = :id;
SQL
	unlogged => <<'SQL',
\set id random(1, 200)
UPDATE unlogged SET t = t || 'x' WHERE id = :id AND length(t) < 500;
SQL
	locks => <<'SQL',
\set id random(1, 50)
BEGIN;
SELECT FROM many WHERE id = :id FOR SHARE;
SAVEPOINT s;
SELECT FROM many WHERE id = :id + 50 FOR KEY SHARE;
UPDATE many SET pad = 'locked' WHERE id = :id + 100;
ROLLBACK TO s;
END;
SQL
	rolled_back => <<'SQL',
\set id random(4000, 5000)
BEGIN;
INSERT INTO many VALUES (:id, 1, ARRAY[1], point(1, 1), repeat('r', 500)) ON CONFLICT DO NOTHING;
INSERT INTO queue (pad) SELECT repeat('r', 100) FROM generate_series(1, 50);
ROLLBACK;
SQL
	message => <<'SQL');
\set n random(1, 10000)
SELECT pg_logical_emit_message(false, 'load', repeat('m', :n));
SQL

# Each of these has tables of its own.
my %changes = (
	make => <<'SQL',
DROP TABLE IF EXISTS made_:client_id;
CREATE TABLE made_:client_id (i int PRIMARY KEY, t text);
INSERT INTO made_:client_id SELECT g, repeat('m', 100) FROM generate_series(1, 300) g;
CREATE INDEX ON made_:client_id USING gin (string_to_array(t, 'x'));
SQL
	make_and_forget => <<'SQL',
BEGIN;
CREATE TABLE forgotten_:client_id AS SELECT g, repeat('f', 200) FROM generate_series(1, 200) g;
SAVEPOINT s;
CREATE TABLE more_:client_id AS SELECT g FROM generate_series(1, 200) g;
ROLLBACK TO s;
TRUNCATE own_:client_id;
ROLLBACK;
SQL
	truncate => <<'SQL',
TRUNCATE own_:client_id;
INSERT INTO own_:client_id SELECT g, repeat('t', 100) FROM generate_series(1, 500) g;
SQL
	empty => <<'SQL',
DELETE FROM own_:client_id;
VACUUM own_:client_id;
INSERT INTO own_:client_id SELECT g, repeat('e', 50) FROM generate_series(1, 500) g;
VACUUM (FREEZE) own_:client_id;
SQL
	move => <<'SQL',
ALTER TABLE own_:client_id SET TABLESPACE elsewhere;
UPDATE own_:client_id SET t = 'moved' WHERE i % 7 = 0;
ALTER INDEX pkey_own_:client_id SET TABLESPACE elsewhere;
ALTER TABLE own_:client_id SET TABLESPACE pg_default;
ALTER INDEX pkey_own_:client_id SET TABLESPACE pg_default;
SQL
	rewrite => <<'SQL',
VACUUM FULL own_:client_id;
CLUSTER own_:client_id USING pkey_own_:client_id;
SQL
	reindex => <<'SQL',
REINDEX INDEX CONCURRENTLY pkey_own_:client_id;
REINDEX TABLE own_:client_id;
SQL
	unlog => <<'SQL',
ALTER TABLE own_:client_id SET UNLOGGED;
UPDATE own_:client_id SET t = 'unlogged' WHERE i % 5 = 0;
ALTER TABLE own_:client_id SET LOGGED;
SQL
	prepare => <<'SQL',
\set commit random(0, 1)
BEGIN;
CREATE TABLE prepared_:client_id AS SELECT g FROM generate_series(1, 300) g;
TRUNCATE own_:client_id;
INSERT INTO own_:client_id SELECT g, 'prepared' FROM generate_series(1, 300) g;
PREPARE TRANSACTION 'load_:client_id';
\if :commit
COMMIT PREPARED 'load_:client_id';
BEGIN;
DROP TABLE prepared_:client_id;
PREPARE TRANSACTION 'load_:client_id';
COMMIT PREPARED 'load_:client_id';
\else
ROLLBACK PREPARED 'load_:client_id';
\endif
SQL
	checkpoint => "CHECKPOINT;\n");

# What only one may do at a time.
my %heavy = (
	database => <<'SQL',
DROP DATABASE IF EXISTS load;
CREATE DATABASE load TEMPLATE model STRATEGY wal_log;
ALTER DATABASE load SET TABLESPACE elsewhere;
SQL
	other_database => <<'SQL',
DROP DATABASE IF EXISTS load;
CREATE DATABASE load TEMPLATE model STRATEGY file_copy TABLESPACE elsewhere;
ALTER DATABASE load SET TABLESPACE pg_default;
SQL
	indexes => <<'SQL',
REINDEX INDEX CONCURRENTLY many_gin;
REINDEX INDEX CONCURRENTLY many_hash;
REINDEX INDEX CONCURRENTLY many_spgist;
DROP INDEX many_gist;
CREATE INDEX many_gist ON many USING gist (p);
SQL
	vacuum => <<'SQL',
VACUUM many;
VACUUM queue;
VACUUM (FREEZE) toasted;
SQL
	emptied => <<'SQL',
BEGIN;
TRUNCATE emptied;
INSERT INTO emptied SELECT g, 'e' FROM generate_series(1, 300) g;
END;
VACUUM FULL emptied;
REFRESH MATERIALIZED VIEW summary;
SELECT setval('counter', 1);
SQL
	bulk => <<'SQL');
INSERT INTO emptied SELECT g, repeat('b', 200) FROM generate_series(1, 2000) g;
DELETE FROM emptied WHERE id > 300;
VACUUM emptied;
SQL

# A number of clients that run some scripts at random.
my @loads;

sub start_load
{
	my $load = shift;
	my ($name, $clients, $scripts, @options) = @{ $load->{arguments} };
	my @files;

	foreach my $script (sort keys %$scripts)
	{
		my $file = "$temp/$name.$script.sql";

		append_to_file($file, $scripts->{$script}) unless -e $file;
		push @files, '-f', $file;
	}
	$load->{starts}++;
	$load->{run} = IPC::Run::start(
		[
			'pgbench', '-n', '-c', $clients, '-j', '1', '-T', '100000',
			'--max-tries=20', "--random-seed=@{[$seed + $load->{starts}]}",
			@options, @files,
			'-h', $primary->host, '-p', $primary->port, 'postgres'
		],
		'<', \undef,
		'>>', "$temp/$name.out",
		'2>>', "$temp/$name.err");
	return;
}

sub end_loads
{
	foreach my $load (grep { $_->{run} } @loads)
	{
		$load->{run}->kill_kill(grace => 2);
		delete $load->{run};
	}
	return;
}

# Also if this test is stopped; the servers' own end comes after that.
$SIG{INT} = $SIG{TERM} = sub { exit 1 };

END
{
	my $status = $?;

	end_loads();
	$? = $status;
}

foreach my $client (0 .. 2)
{
	query(<<SQL);
CREATE TABLE own_$client (i int CONSTRAINT pkey_own_$client PRIMARY KEY, t text);
INSERT INTO own_$client SELECT g, 'own' FROM generate_series(1, 500) g;
SQL
}
push @loads, map { { arguments => $_, starts => 0 } } (
	[ 'writes', 7, \%writes, '-R', '250' ],
	[ 'changes', 3, \%changes, '-R', '8' ],
	[ 'heavy', 1, \%heavy, '-R', '1' ]);
start_load($_) foreach @loads;

# A client that met with an error ended, which is no fault of what is tested
# here; but there must be load.
my $restarts = 0;

sub look_after_loads
{
	foreach my $load (@loads)
	{
		$load->{run}->pump_nb;
		next if $load->{run}->pumpable;
		$load->{run}->finish;
		$restarts++;
		my $errors = slurp_file("$temp/$load->{arguments}[0].err");
		note(join "\n", (split /\n/, $errors)[ -8 .. -1 ]) if $errors =~ /\n/;
		query(<<'SQL');
SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts
WHERE gid ~ '^load' \gexec
SQL
		foreach my $client (0 .. 2)
		{
			query("DROP TABLE IF EXISTS prepared_$client");
		}
		query(
			'CREATE INDEX IF NOT EXISTS many_gist ON many USING gist (p)');
		start_load($load);
	}
	return;
}

#
# What is looked at
#

my %statuses;
my @faults;

# All rows of some verification that are not as they must be but for those
# expected; what failed, too.
sub verify
{
	my ($node, $database, $from, $expected, $what) = @_;
	my ($stdout, $stderr) = ask($node, $database, <<SQL);
SELECT status, count(*),
	string_agg(format('%s %s %s %s %s: %s', relation, fork, blkno, page_lsn,
			status, detail), E'\\n') FILTER (WHERE status = 'mismatch')
FROM (SELECT * FROM $from) v GROUP BY 1 ORDER BY 1
SQL
	my $name = $node->name . ", $database, $what";

	# A name may have become that of another index while the call began.
	push @faults, "$name: $stderr"
	  if $stderr =~ /(?:ERROR|FATAL|PANIC):/
	  && $stderr !~ /ERROR:  42P01: relation with OID \d+ does not exist/;
	if ($stderr =~ /WARNING:/)
	{
		push @faults, "$name: $stderr" unless defined $expected;
	}
	my @rows = split /\n/, $stdout;
	my @wrong;
	foreach my $row (@rows)
	{
		if ($row =~ /^(\w+)\|(\d+)\|(.*)$/)
		{
			$statuses{$1} += $2;
			next if $1 ne 'mismatch';
			$row = $3;
		}
		push @wrong, $row;
	}
	if (!defined $expected)
	{
		push @faults, map { "$name: $_" } @wrong;
	}
	elsif (!@wrong && oldest_segment($node) gt $damaged_after)
	{
		note("$name: WAL of the damaged page has been removed");
	}
	elsif (@wrong == 1 && $wrong[0] =~ $expected)
	{
		$found++;
	}
	else
	{
		push @faults,
		  "$name: expected $expected, got " . (join("\n", @wrong) || 'nothing');
	}
	return;
}

# The first segment of WAL that a server still has.
sub oldest_segment
{
	my $node = shift;

	return $node->safe_psql('postgres',
		"SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}\$'");
}

# Whether a relation's pages are out of a server's buffers.
sub wait_until_evicted
{
	my ($node, $relation) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (
		$node->safe_psql('postgres', <<SQL) > 0)
SELECT count(*) FROM pg_buffercache
WHERE relfilenode = pg_relation_filenode('$relation')
	AND reldatabase = (SELECT oid FROM pg_database WHERE datname = 'postgres')
	AND relforknumber = 0
SQL
	{
		die "$relation stays in buffers" if time() > $end;
		$node->safe_psql('postgres', <<'SQL');
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT sum(length(pad)) FROM many WHERE id > 0;
SELECT count(*) FROM pg_attribute a JOIN pg_proc p ON p.oid = a.atttypid;
SQL
	}
	return;
}

# Makes damage of some sort on a server; returns what must be found, and how it
# is mended.
my @sorts =
  ('lost write', 'bytes', 'lost end', 'page of zeroes', 'other block');
my $damages = $seed;

sub make_damage
{
	my $node = shift;
	my $sort = $sorts[ $damages++ % @sorts ];
	my $file = path_of($node, 'postgres', 'quiet');
	my $settle = sub {
		query('CHECKPOINT');
		$primary->wait_for_catchup($standby);
		$standby->safe_psql('postgres', 'CHECKPOINT');
		wait_until_evicted($node, 'quiet');
	};

	$settle->();
	my $blocks = (-s $file) / $page_size;
	my @old = map { read_block($file, $_) } 0 .. $blocks - 1;
	$damaged_after = query('SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
	query('UPDATE quiet SET n = n + 1; UPDATE quiet SET n = n + 1');
	query('VACUUM quiet');
	$settle->();
	$blocks = (-s $file) / $page_size;

	# Of those that WAL has made since, as nothing is known of others.
	my @changed =
	  grep { $_ > $#old || $old[$_] ne read_block($file, $_) } 0 .. $blocks - 1;
	my @inner = grep { $_ <= $#old && $_ < $blocks - 1 } @changed;
	@inner or die 'no block was written';
	my $block = $inner[ rand @inner ];
	if ($sort eq 'lost end')
	{
		$sort = 'bytes' if $changed[-1] != $blocks - 1;
		$block = $blocks - 1 if $sort eq 'lost end';
	}
	my $new = read_block($file, $block);
	my $mend = sub {
		wait_until_evicted($node, 'quiet');
		append_to_file($file, $new) if -s $file == $block * $page_size;
		write_block($file, $block, $new);
		wait_until_evicted($node, 'quiet');
	};

	if ($sort eq 'bytes')
	{
		overwrite($file, $block * $page_size + 4000, 'damage' x 20);
	}
	elsif ($sort eq 'lost write')
	{
		write_block($file, $block, $old[$block]);
	}
	elsif ($sort eq 'page of zeroes')
	{
		write_block($file, $block, "\0" x $page_size);
	}
	elsif ($sort eq 'other block')
	{
		write_block($file, $block, read_block($file, $block + 1));
	}
	else
	{
		cut_file($file, $block);
	}
	note("damage on @{[$node->name]}: $sort, block $block of $blocks");
	return (qr/^quiet main $block [^\n]* mismatch: /, $mend);
}

# All relations that stay, one by one, of which others may be at work in each.
my @relations = qw(many many_pkey many_v many_hash many_gin many_gist many_spgist
  many_brin queue queue_pkey toasted emptied emptied_id own_0 pkey_own_1 summary);

sub run_round
{
	my $round = shift;
	my ($expected, $mend);
	my $damaged =
	  $round % 3 != 0 ? undef : $round % 2 == 0 ? $primary : $standby;

	($expected, $mend) = make_damage($damaged) if defined $damaged;

	# All of both.
	foreach my $node ($primary, $standby)
	{
		verify($node, 'postgres', 'walredo_verify_all()',
			defined $damaged && $node == $damaged ? $expected : undef,
			"round $round, all");
	}
	if (defined $damaged)
	{
		$mend->();
		verify($damaged, 'postgres', "walredo_verify_all('{quiet, quiet_pkey}')",
			undef, "round $round, mended");
	}

	# Some alone.  An index may be dropped meanwhile, and its name unknown then.
	foreach (1 .. 3)
	{
		my $relation = $relations[ rand @relations ];
		my $fork = $relation =~ /^(?:many|queue|toasted)$/ && rand() < 0.4 ? 'vm' : 'main';

		next if $relation eq 'many_gist';
		foreach my $node ($primary, $standby)
		{
			verify($node, 'postgres',
				"(SELECT '$relation' AS relation, '$fork' AS fork, v.* FROM walredo_verify('$relation', '$fork') v) v",
				undef, "round $round, $relation, $fork");
		}
	}

	# A database of its own.
	my $strategy = $round % 2 ? 'wal_log' : 'file_copy';
	my $database = "round_$round";
	query("CREATE DATABASE $database TEMPLATE model STRATEGY $strategy");
	$primary->wait_for_catchup($standby);
	foreach my $node ($primary, $standby)
	{
		verify($node, $database, 'walredo_verify_all()', undef,
			"round $round, $strategy");
	}
	$primary->safe_psql($database, 'UPDATE t SET t = t || 1 WHERE i % 3 = 0');
	query("ALTER DATABASE $database SET TABLESPACE elsewhere");
	$primary->safe_psql($database, 'INSERT INTO t SELECT generate_series(1000, 1100); VACUUM t');
	$primary->wait_for_catchup($standby);
	foreach my $node ($primary, $standby)
	{
		verify($node, $database, 'walredo_verify_all()', undef,
			"round $round, $strategy and moved");
	}
	query("DROP DATABASE $database");

	look_after_loads();
	return;
}

# WAL and files of both, for whoever looks for the cause.
sub keep_servers
{
	my $round = shift;
	my $place = $ENV{VERIFY_KEEP} or return;

	end_loads();
	$_->stop('immediate') foreach $standby, $primary;
	mkdir $place;
	foreach my $node ($primary, $standby)
	{
		system('cp', '-a', $node->data_dir,
			"$place/round$round." . $node->name);
	}
	diag("both servers are in $place");
	return;
}

my $started = time();
my $done = 0;
foreach my $round (1 .. $rounds)
{
	eval { run_round($round); 1 } or push @faults, "round $round died: $@";
	is(join("\n", @faults), '', "round $round");
	if (@faults)
	{
		keep_servers($round);
		last;
	}
	$done++;
}
is($done, $rounds, 'all rounds were run');
note(sprintf '%d s; %s; %d restarts of clients',
	time() - $started,
	join(', ', map { "$statuses{$_} blocks $_" } sort keys %statuses), $restarts);
cmp_ok($statuses{ok} // 0, '>', 1000, 'blocks were verified');
cmp_ok($restarts, '<=', $rounds, 'there was load');
cmp_ok($found, '>=', $rounds / 6, "damage was found $found times");
end_loads();
if ($done == $rounds)
{
	my ($transactions) = query(
		"SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'");
	note("$transactions transactions");
	cmp_ok($transactions, '>', 100 * $rounds, 'and much of it');
	$standby->stop;
	$primary->stop;
}
done_testing();
