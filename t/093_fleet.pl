# scripts/fleet: many servers as one table, in which one that does not answer,
# is no fit server, or dies while it is read, is a row that says so, and in which
# one that was never checked does not look sound.
#
# With FLEET_SERVERS=500 in the environment, so many databases of one server stand
# for servers, besides, and the time is shown that they take, all up, with ten of
# them down, and with ten that never answer.
#
# Seen to fail:
# - when an error that is not a time-out was not caught, and when nothing was caught
#   that comes after it, while a server was connected to at three addresses;
# - when a server that was never checked was in the state of others;
# - when the search_path of the role was kept on the servers;
# - when foreign scans were not asynchronous;
# - when the report had damage that was repaired;
# - when servers were kept that the list does not have any more;
# - when psql got the password as an argument;
# - when damage did not count for the exit status.

use FindBin;
use lib $FindBin::RealBin;

use IO::Socket::INET;
use Time::HiRes qw(time);
use WalredoProcesses;
use WalredoSessions;
use WalredoTest;

my $fleet = "$FindBin::RealBin/../scripts/fleet";
my $directory = PostgreSQL::Test::Utils::tempdir();
my $list_path = "$directory/list";

sub start_server
{
	my ($name) = @_;
	my $node = wal_server($name, allows_streaming => 1);

	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'walredo'");
	$node->start;
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
SET password_encryption = 'scram-sha-256';
CREATE ROLE regress_watcher LOGIN PASSWORD 'it''s \a secret' IN ROLE pg_monitor;
SQL
	return $node;
}

my $monitor = PostgreSQL::Test::Cluster->new('monitor');
$monitor->init;
$monitor->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
CONF
$monitor->start;
plan skip_all => 'postgres_fdw or dblink is not installed'
  if $monitor->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name IN ('postgres_fdw', 'dblink')")
  ne '2';
$monitor->safe_psql('postgres',
	'CREATE ROLE regress_reader IN ROLE pg_monitor; CREATE ROLE regress_other');

# Writes a list, makes a fleet of it, and returns what psql says to it.
sub write_list
{
	my ($list) = @_;

	open my $file, '>', $list_path or die "could not open $list_path: $!";
	print $file $list;
	close $file;
	return;
}

sub make_fleet
{
	my ($list, @options) = @_;
	my ($sql, $errors) = ('', '');

	write_list($list);
	IPC::Run::run [ $^X, $fleet, 'sql', @options, $list_path ], '>', \$sql, '2>',
	  \$errors
	  or die "fleet failed: $errors";
	my ($out, $err) = ask($monitor, 'postgres', $sql);
	return $out . $err;
}

# The exit status of scripts/fleet, and what it prints.
sub run_fleet
{
	my ($list, @arguments) = @_;
	my ($out, $err) = ('', '');

	write_list($list);
	IPC::Run::run [ $^X, $fleet, @arguments, $list_path ], '>', \$out, '2>', \$err;
	return ($? >> 8) . "\n$out$err";
}

sub watch
{
	return $monitor->safe_psql('postgres', shift);
}

sub connection
{
	my ($node, %more) = @_;
	my %options = (
		host => $node->host,
		port => $node->port,
		dbname => 'postgres',
		user => 'regress_watcher',
		%more);

	return join ' ', map { "$_='" . ($options{$_} =~ s/(['\\])/\\$1/gr) . "'" }
	  sort keys %options;
}

#
# Servers
#

my $damaged = start_server('damaged');
my $sound = start_server('sound');
my $new = start_server('new');

# A lost write.
$damaged->safe_psql('postgres', <<'SQL');
CREATE TABLE "T 1" WITH (fillfactor = 80) AS
	SELECT g AS i, repeat('x', 200) AS p FROM generate_series(1, 1000) g;
CHECKPOINT;
SQL
my $file = path_of($damaged, 'postgres', '"T 1"');
my $old_page = read_block($file, 3);
$damaged->safe_psql('postgres',
	q{UPDATE "T 1" SET p = 'new' WHERE ctid = '(3,5)'});
$damaged->stop;
write_block($file, 3, $old_page);
$damaged->start;
ask($damaged, 'postgres', 'CALL walredo_check()');
is($damaged->safe_psql('postgres', 'SELECT count(*) FROM walredo_damage'),
	1, 'there is damage');
$damaged->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($damaged, 'standby', has_streaming => 1);
$standby->start;

# Databases that differ from what they should be.
$sound->safe_psql('postgres', $_)
  foreach 'CALL walredo_check()', 'CREATE DATABASE elsewhere',
  'CREATE DATABASE other_version', 'CREATE DATABASE bare';
$sound->safe_psql('elsewhere',
	'CREATE SCHEMA "Ext; x"; CREATE EXTENSION walredo SCHEMA "Ext; x"; GRANT USAGE ON SCHEMA "Ext; x" TO pg_monitor');
$sound->safe_psql('elsewhere', 'CALL "Ext; x".walredo_check()');

# Somebody there wants to be asked in place of the server.
$sound->safe_psql('elsewhere', <<'SQL');
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.pg_is_in_recovery() RETURNS bool LANGUAGE sql RETURN true;
ALTER ROLE regress_watcher IN DATABASE elsewhere SET search_path = evil, pg_catalog;
SQL
$sound->safe_psql('other_version',
	'CREATE EXTENSION walredo; ALTER TABLE _walredo_checked DROP COLUMN checked_at');

# The files of a copy were not checked.
$sound->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE elsewhere');

# The role has no more than pg_monitor, and needs a password.
my $hba = slurp_file($sound->data_dir . '/pg_hba.conf');
unlink $sound->data_dir . '/pg_hba.conf';
append_to_file($sound->data_dir . '/pg_hba.conf',
	"local all regress_watcher scram-sha-256\nhost all regress_watcher all scram-sha-256\n$hba");
$sound->reload;

# The kernel accepts connections to it, and nobody reads what they send.
my $hanging = IO::Socket::INET->new(
	LocalAddr => '127.0.0.1',
	Listen => 100) or die "could not listen: $!";
my $free_port = PostgreSQL::Test::Cluster::get_free_port();
my $hostile = q{x'; DROP "T" $$ \ %s :'x' } . "\xc3\xbc";
my %password = (password => q{it's \a secret});
my $list = join '', map { "$_\n" } '# the fleet',
  '',
  'damaged ' . connection($damaged),
  'standby ' . connection($standby),
  'sound ' . connection($sound, %password),
  q{'} . ($hostile =~ s/(['\\])/\\$1/gr) . q{' } . connection($sound, %password),
  'new   ' . connection($new),
  'elsewhere ' . connection($sound, dbname => 'elsewhere', %password),
  'copy ' . connection($sound, dbname => 'copy', %password),
  'other_version ' . connection($sound, dbname => 'other_version', %password),
  'bare ' . connection($sound, dbname => 'bare', %password),
  'wrong_password ' . connection($sound, password => 'x'),
  'wrong_role ' . connection($new, user => 'regress_nobody'),
  'wrong_database ' . connection($new, dbname => q{x 'y" \\}),
  "down host=127.0.0.1 port = $free_port user=regress_watcher";
my $silent = $hanging->sockport;
my $with_hanging = $list . <<"LIST";
hanging host=127.0.0.1 port=$silent user=regress_watcher dbname=postgres
LIST
my $hanging_thrice =
  "hanging_thrice host=127.0.0.1,127.0.0.1,127.0.0.1 port=$silent,$silent,$silent\n";

#
# What is wrong with a list
#

my $long = 'x' x 50;
is(run_fleet('', 'sql'), "2\nfleet: \"$list_path\" has no servers\n", 'an empty list');
foreach my $case (
	[ 'a', 'there is no connection string' ],
	[ 'a postgresql://u:secret@h/', 'a connection string is of the form keyword=value ...' ],
	[ "a host=x password='secret", 'the value of password ends nowhere' ],
	[ "a password='secret'x", 'the value of password ends nowhere' ],
	[ "'a host=x", 'the name ends nowhere' ],
	[ "'' host=x", 'the name is empty' ],
	[ "$long host=x", 'the name is longer than 49 bytes' ],
	[ "b host=x\na host=x", 'the name is that of line 1, too', 'b host=x' ],
	[ "a host=\xff", 'is not UTF-8' ])
{
	my ($line, $message, $before) = @$case;
	my $n = $line =~ /\n/ ? 3 : 2;

	$line .= "\na host=y" if $n == 3;
	$message =~ s/line 1/line 3/ if $n == 3;
	$n = 4 if $n == 3;
	is(run_fleet("# secret\n$line\n", 'sql'),
		"2\nfleet: \"$list_path\", line $n: $message\n", $message);
}
like(make_fleet("a hsot=x\n"), qr/ERROR:  HV00.: invalid option "hsot"/,
	'an unknown keyword');
is(watch("SELECT count(*) FROM pg_namespace WHERE nspname = 'walredo_fleet'"),
	0, 'and nothing is left');

#
# What is known of each server
#

is(make_fleet($with_hanging . $hanging_thrice, '--timeout=2'),
	'', 'the fleet is made');
my $started = time;
watch('CREATE TABLE seen AS TABLE walredo_fleet.status');
cmp_ok(time - $started, '<', 20, 'those that never answer keep nobody waiting');
is(watch(<<'SQL') . "\n", <<"EXPECTED", 'the state of all servers');
SELECT server, state, coalesce(version = '1.0', false), datname, in_recovery, damaged_blocks, same_as
FROM seen ORDER BY server COLLATE "C"
SQL
bare|unknown|f||||
copy|never checked|t|copy|f|0|
damaged|damaged|t|postgres|f|1|
down|unknown|f||||
elsewhere|no damage found|t|elsewhere|f|0|
hanging|unknown|f||||
hanging_thrice|unknown|f||||
new|never checked|t|postgres|f|0|
other_version|unknown|f||||
sound|no damage found|t|postgres|f|0|
standby|damaged|t|postgres|t|1|
wrong_database|unknown|f||||
wrong_password|unknown|f||||
wrong_role|unknown|f||||
$hostile|no damage found|t|postgres|f|0|sound
EXPECTED
my %error = map { split /\|/, $_, 2 } split /\n/,
  watch('SELECT server, error FROM seen WHERE error IS NOT NULL');
is($error{bare}, 'walredo is not installed in database "bare"',
	'a server without the extension');
is($error{other_version}, 'column "checked_at" does not exist',
	'one of another version');
like($error{down},
	qr/^could not establish connection: .*$free_port failed: Connection refused/,
	'one that is down');
like(
	$error{hanging},
	qr/timeout expired|^the server has not answered within 2s$/,
	'one that does not answer');
like(
	$error{hanging_thrice},
	qr/timeout expired|^the server has not answered within 2s$/,
	'... at three addresses');
like($error{wrong_database}, qr/database "x 'y" \\" does not exist/,
	'a wrong database');
like($error{wrong_password}, qr/password authentication failed/,
	'a wrong password');
like($error{wrong_role}, qr/role "regress_nobody" does not exist/, 'a wrong role');
is(scalar(keys %error), 8, 'and no other');

# Times and blocks are what the servers have.
my $checked = 'SELECT checked_at, full_at FROM "Ext; x"._walredo_checked';
is( watch(q{SELECT last_check, last_full_check FROM seen WHERE server = 'elsewhere'}),
	$sound->safe_psql('elsewhere', $checked),
	'when it was checked');
my $columns = 'relation, fork, blkno, found_in, kind, lsn, page_lsn, detail, '
  . 'first_seen, last_seen, seen_lsn, repaired_at';
foreach my $name (qw(damaged standby))
{
	is( watch("SELECT $columns FROM walredo_fleet.damage WHERE server = '$name' AND relation IS NOT NULL"),
		$damaged->safe_psql('postgres',
			"SET search_path = pg_catalog; SELECT $columns FROM public.walredo_damage"),
		"the damage of $name");
}
is(make_fleet($with_hanging, '--timeout=2'), '', 'the fleet is made again');
is(watch(<<'SQL'), <<"EXPECTED" . "$hostile|no damage found|||", 'the report');
SELECT server, state, relation, blkno, kind FROM walredo_fleet.report
WHERE error IS NULL ORDER BY server COLLATE "C"
SQL
copy|never checked|||
damaged|damaged|public."T 1"|3|lost write
elsewhere|no damage found|||
new|never checked|||
sound|no damage found|||
standby|damaged|public."T 1"|3|lost write
EXPECTED

# Damage that was repaired is history, and nothing in the report.
$damaged->safe_psql('postgres', 'UPDATE walredo_damage SET repaired_at = now()');
is( watch(q{SELECT state, relation FROM walredo_fleet.report WHERE server = 'damaged'}),
	'no damage found|',
	'damage that was repaired is not reported');
is( watch(q{SELECT count(*), count(repaired_at), count(relation) FROM walredo_fleet.damage WHERE server = 'damaged'}),
	'2|1|1',
	'... and is there');
$damaged->safe_psql('postgres', 'UPDATE walredo_damage SET repaired_at = NULL');

#
# How the servers are asked
#

my $plan = watch('EXPLAIN (COSTS OFF) SELECT * FROM walredo_fleet.report ORDER BY server');
my $nservers = 14;
is(scalar(() = $plan =~ /->  Async Foreign Scan on/g),
	$nservers, 'all at the same time')
  or diag $plan;
$plan = watch('EXPLAIN (COSTS OFF) SELECT * FROM walredo_fleet.status');
is(scalar(() = $plan =~ /->  Async Foreign Scan on/g),
	$nservers, 'for their states, too');
is( watch(q{EXPLAIN (COSTS OFF) SELECT blkno FROM walredo_fleet.report WHERE server = 'sound' AND blkno = 1})
	  =~ /^Foreign Scan on damage_sound/,
	1,
	'only one if no other is asked for');

# Nobody but the role that has made the fleet can have servers asked.
is( watch(q{SET ROLE regress_reader; SELECT state FROM walredo_fleet.report WHERE server = 'sound'}),
	'no damage found', 'pg_monitor can read the views');
foreach my $case (
	[ regress_reader => 'TABLE walredo_fleet.damage' ],
	[ regress_reader => 'TABLE walredo_fleet.ask_new' ],
	[ regress_reader => q{SELECT * FROM walredo_fleet._ask('new')} ],
	[ regress_reader => q{SELECT walredo_fleet._set_servers('[]', 1, 1)} ],
	[ regress_other => 'TABLE walredo_fleet.status' ])
{
	my ($role, $query) = @$case;

	like(
		error_of($monitor, 'postgres', "SET ROLE $role; $query"),
		qr/ERROR:  42501: permission denied/,
		"$role: $query");
}

# A query that is cancelled leaves no worker behind.
like(
	error_of($monitor, 'postgres',
		"SET statement_timeout = '500ms'; TABLE walredo_fleet.status"),
	qr/57014: canceling statement due to statement timeout/,
	'a query can be cancelled');
$monitor->poll_query_until('postgres', <<'SQL') or die 'a worker is left';
SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend'
SQL

# A server that is slow.
my $session = session($new);
$session->query('BEGIN; LOCK TABLE walredo_damage');
is( watch(q{SELECT state, error FROM walredo_fleet.report WHERE server = 'new'}),
	'unknown|the server has not answered within 2s',
	'a slow server');
$session->query('COMMIT');
$new->poll_query_until('postgres', <<'SQL') or die 'a query is left';
SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'regress_watcher'
SQL

#
# Another list
#

# One server is gone, another one is new, a third one has changed; a user mapping
# has got a password, and a view of the user reads all.
watch(<<'SQL');
CREATE VIEW mine AS SELECT server, state FROM walredo_fleet.status;
ALTER USER MAPPING FOR CURRENT_USER SERVER walredo_fleet_wrong_password
	OPTIONS (SET password 'it''s \a secret');
SQL
$list =~ s/^wrong_password (.*) password='x'/wrong_password $1/m or die;
$list =~ s/^wrong_database .*/wrong_database @{[connection($new)]}/m or die;
$list =~ s/^bare .*\n//m or die;

# It would replay the lock of its primary, further down.
$list =~ s/^standby .*\n//m or die;
$list .= 'added ' . connection($new) . "\n";
is(make_fleet($list, '--timeout=60', '--workers=3'), '', 'the list has changed');
is(watch('SELECT count(*) FROM mine'), 12, 'two servers have gone, and one has come');
is( watch(q{SELECT string_agg(server || ' ' || state, ',' ORDER BY server) FROM mine WHERE server IN ('added', 'bare', 'hanging', 'wrong_database', 'wrong_password')}),
	'added never checked,wrong_database never checked,wrong_password no damage found',
	'a user mapping is kept, and options are not');
is( watch(q{SELECT count(*) FROM pg_foreign_server WHERE srvname ~ 'bare|hanging|worker'}),
	3,
	'and nothing is left of the old one');

#
# A server is killed while it is read
#

my $holder = session($damaged);
$holder->query('BEGIN; LOCK TABLE walredo_damage');
my $reader = session($monitor);
begin_query($reader, <<'SQL');
SELECT server, state, error FROM walredo_fleet.report ORDER BY server COLLATE "C"
SQL
$damaged->poll_query_until('postgres', <<'SQL') or die 'it is not read';
SELECT count(*) = 1 FROM pg_stat_activity
WHERE usename = 'regress_watcher' AND wait_event_type = 'Lock' AND query ~ 'walredo_damage'
SQL
$damaged->stop('immediate');
my ($rows, $errors) = end_query($reader);
is($errors, '', 'no error');
like(
	$rows,
	qr/^damaged\|unknown\|(?:terminating connection|server closed the connection|could not receive data)/m,
	'it is a row');
is( join(' ', sort map { (split /\|/)[0] } grep { !/\|unknown\|/ } split /\n/, $rows),
	join(' ', sort qw(added copy elsewhere new sound wrong_database wrong_password), $hostile),
	'and all others are there');
$reader->quit;
eval { $holder->quit };
$damaged->start;

#
# Checks
#

my $before = $new->safe_psql('postgres', 'SELECT checks FROM walredo_stat');
my $superuser = $new->safe_psql('postgres', 'SELECT current_user');
my %by_superuser = (user => $superuser);
my $checks = run_fleet(
	'new ' . connection($new, %by_superuser) . "\n"
	  . 'elsewhere ' . connection($sound, %by_superuser, dbname => 'elsewhere') . "\n",
	'check');
like($checks, qr/^0\n/, 'checks of sound servers');
is( join("\n", sort split /\n/, $checks),
	"0\nelsewhere: checked, damaged blocks: 0\nnew: checked, damaged blocks: 0",
	'what is said of them');
is($new->safe_psql('postgres', 'SELECT checks FROM walredo_stat'),
	$before + 1, 'there was one');
is(watch(q{SELECT state FROM walredo_fleet.report WHERE server = 'new'}),
	'no damage found', 'it is in the table');
$checks = run_fleet(
	'damaged ' . connection($damaged, %by_superuser) . "\n"
	  . 'standby ' . connection($standby, %by_superuser) . "\n"
	  . 'weak ' . connection($new) . "\n"
	  . 'bare ' . connection($sound, %by_superuser, dbname => 'bare') . "\n"
	  . 'full ' . connection($sound, %by_superuser) . "\n"
	  . "down host=127.0.0.1 port=$free_port\n"
	  . 'hanging host=127.0.0.1 port=' . "$silent\n",
	'check', '--full', '--timeout=2', '--workers=4');
like($checks, qr/^1\n/, 'checks of others');
like($checks, qr/^damaged: WARNING:  block 3 of fork "main" of relation "T 1" is damaged$/m,
	'the blocks');
foreach my $line (
	'damaged: checked, damaged blocks: 1',
	'standby: ERROR:  cannot run walredo_check() during recovery',
	'standby: not checked',
	'weak: ERROR:  permission denied for procedure walredo_check',
	'weak: not checked',
	'bare: ERROR:  walredo is not installed in database "bare"',
	'bare: not checked',
	'full: checked, damaged blocks: 0',
	'down: not checked',
	'hanging: not checked')
{
	like($checks, qr/^\Q$line\E$/m, $line);
}
like(run_fleet('damaged ' . connection($damaged, %by_superuser) . "\n", 'check'),
	qr/^1\n.*checked, damaged blocks: 1\n\z/s,
	'damage is told by the exit status, too');

# Other users see the arguments of processes.
my $programs = "$directory/programs";
mkdir $programs or die "could not make $programs: $!";
append_to_file("$programs/psql",
	"#!/bin/sh\nprintf '%s\\n' \"\$@\"\nprintf '%s\\n' \"\$PGPASSWORD\"\necho 0\n");
chmod 0755, "$programs/psql";
{
	local $ENV{PATH} = "$programs:$ENV{PATH}";
	my $seen = run_fleet("a user=u password='it\\'s a secret' host=h\n", 'check');

	like($seen, qr/^a: connect_timeout='10' host='h' user='u'$/m,
		'how psql is called');
	is(scalar(() = $seen =~ /secret/g), 1, 'no password in arguments');
	like($seen, qr/^a: it's a secret$/m, 'it is in the environment');
}

#
# Many
#

if (my $n = $ENV{FLEET_SERVERS})
{
	my $many = PostgreSQL::Test::Cluster->new('many');
	my @names = map { sprintf 'db%04d', $_ } 1 .. $n;
	my $workers = $ENV{FLEET_WORKERS} // 16;

	$many->init;
	$many->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\nmax_worker_processes = 40");
	$many->start;
	$many->safe_psql('postgres', 'CREATE DATABASE checked');
	ask($many, 'checked', 'CREATE EXTENSION walredo; CALL walredo_check()');
	$many->safe_psql('postgres', join ';',
		map { "CREATE DATABASE $_ TEMPLATE checked STRATEGY file_copy" } @names);

	# In a copy, nothing was checked.
	my %line = map {
		$_ => "$_ " . connection($many, dbname => $_, user => $superuser) . "\n"
	} @names;
	my $look = sub {
		my ($what, $expected) = @_;
		my $begun = time;

		is(make_fleet(join('', map { $line{$_} } @names), "--workers=$workers"),
			'', "$what: the fleet");
		my $made = time;
		is( watch('SELECT state, count(*) FROM walredo_fleet.status GROUP BY 1 ORDER BY 1'),
			$expected, "$what: the states");
		diag sprintf('%d servers, %s: made in %.1f s, read in %.1f s',
			$n, $what, $made - $begun, time - $made);
		return;
	};

	$look->('all up', "never checked|$n");
	$line{$_} = "$_ host=127.0.0.1 port=$free_port\n" foreach @names[ 0 .. 9 ];
	$look->('10 down', 'never checked|' . ($n - 10) . "\nunknown|10");
	$line{$_} = "$_ host=127.0.0.1 port=$silent\n" foreach @names[ 0 .. 9 ];
	$look->('10 silent', 'never checked|' . ($n - 10) . "\nunknown|10");
	my $begun = time;
	like(run_fleet(join('', map { $line{$_} } @names[ 10 .. $n - 1 ]),
			'check', "--workers=$workers"),
		qr/^0\n/, 'all are checked');
	diag sprintf('%d servers checked in %.1f s', $n - 10, time - $begun);
	is(watch('SELECT state, count(*) FROM walredo_fleet.status GROUP BY 1 ORDER BY 1'),
		'no damage found|' . ($n - 10) . "\nunknown|10", 'and found sound');
}

done_testing();
