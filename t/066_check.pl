# walredo_check(): what it finds is in the table, in the server log and in the
# statistics; it looks only at what WAL has changed, or at everything; goes on
# where it was interrupted; and knows what has become of damage.
#
# Seen to fail:
# - when all blocks were verified, whether WAL names them or not;
# - when damage that is in WAL, too, was taken to be repaired;
# - when a relation was not verified again by a later full check;
# - when nothing slowed it down;
# - when what is wrong with a block was forgotten before it was recorded;
# - when what walredo_repairs has was not looked at, before the images in WAL were
#   checked or while they were;
# - when a page in a file that cannot be read was taken to be one that the server
#   cannot read;
# - when a full check, too, looked at 100 damaged blocks only;
# - when there was no word about blocks that lack images;
# - when a full check that had to be made because WAL was gone began anew each
#   time;
# - when it kept snapshots, and when it slept only after all images in WAL;
# - when a copy of a database took over what had been checked there;
# - when a relation that could not be opened, or looked up, was an error.

use Time::HiRes qw(usleep);
use WalredoSessions;
use WalredoTest;

# Damage is to get past the server, into WAL.
my $major = PostgreSQL::Test::Cluster->new('version')->pg_version->major;
my $node = wal_server(
	'main',
	extra => $major >= 18 ? ['--no-data-checksums'] : [],
	conf => <<'CONF');
shared_preload_libraries = 'walredo'
min_wal_size = 2MB
CONF
$node->start;

sub query
{
	return $node->safe_psql('postgres', shift);
}

# Runs a check, and returns its messages, each with its DETAIL.
sub check
{
	my ($args, $settings, $database) = @_;
	my ($stdout, $stderr) =
	  ask($node, $database // 'postgres', ($settings // '') . "CALL walredo_check($args);");

	return join '', map { s/^psql:<stdin>:\d+: //r }
	  grep { !/^(?:psql:<stdin>:\d+: )?(?:LOCATION|HINT):/ }
	  split /^/, $stdout . $stderr;
}

# What is in the table, in order.
sub damage
{
	return $node->safe_psql(shift // 'postgres', <<'SQL');
SELECT relation, fork, blkno, found_in, kind, repaired_at IS NOT NULL
FROM walredo_damage ORDER BY relation::text, fork, blkno, first_seen
SQL
}

# Two checkpoints, so that a later check does not look at what is before them.
sub leave_behind
{
	query('CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT');
	return check('');
}

query(<<'SQL');
CREATE EXTENSION walredo;
CREATE FUNCTION fill(name text, n int DEFAULT 1000) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE %I (i int, p text) WITH (fillfactor = 80)', name);
	EXECUTE format('INSERT INTO %I SELECT g, repeat(''x'', 200) FROM generate_series(1, %s) g', name, n);
END $$;
SELECT fill('t'), fill('old'), fill('gone');
SQL
is(check(''), '', 'nothing is found where nothing is');
is(damage(), '', 'and the table is empty');
my $relations = query("SELECT count(*) FROM _walredo_checked");
is($relations, 1, 'one row tells that all has been checked');

my %file = map { $_ => path_of($node, 'postgres', $_) } qw(t old gone);

# Changes blocks of files while the server is down.
sub damage_blocks
{
	my @blocks = @_;

	$node->stop;
	foreach my $block (@blocks)
	{
		my ($file, $blkno, $bytes) = @$block;

		if (length $bytes == $page_size)
		{
			write_block($file, $blkno, $bytes);
		}
		else
		{
			overwrite($file, $blkno * $page_size + 8150, $bytes);
		}
	}
	$node->start;
	return;
}

#
# A lost write, and what is said of it
#

query('CHECKPOINT');
my $old_page = read_block($file{t}, 3);
query("UPDATE t SET p = 'new' WHERE ctid = '(3,5)'");
my $log = -s $node->logfile;
my $counted = query('SELECT damaged_blocks FROM walredo_stat');
damage_blocks([ $file{t}, 3, $old_page ]);
like(
	check(''),
	qr/^WARNING:  XX001: block 3 of fork "main" of relation "t" is damaged
DETAIL:  A write was lost: the page has LSN .*
\z/, 'a lost write is reported');
is(damage(), 't|main|3|server|lost write|f', 'it is in the table');
like(
	slurp_file($node->logfile, $log),
	qr/WARNING:  block 3 of fork "main" of relation "t" is damaged/,
	'it is in the server log');
is(query('SELECT damaged_blocks, checks, last_check > now() - interval \'1 minute\' FROM walredo_stat'),
	'1|1|t', 'it is counted');
is( query(<<'SQL'),
SELECT detail ~ '^A write was lost', page_lsn < seen_lsn, first_seen = last_seen, lsn IS NULL
FROM walredo_damage
SQL
	't|t|t|t',
	'what the table has of it');

like(check(''), qr/^WARNING:.*\nDETAIL:  A write was lost.*\n\z/,
	'it is found again');
is( query(<<'SQL'),
SELECT count(*), bool_and(last_seen > first_seen) FROM walredo_damage
SQL
	'1|t',
	'it was seen again');

#
# Repair
#

$node->stop;
write_block($file{t}, 3, read_block($file{t}, 3));
$node->start;
query(<<'SQL');
CREATE EXTENSION pageinspect;
SQL
my $page = query("SELECT encode(walredo_page_at('t', 'main', 3, 'FFFFFFFF/FFFFFFFF'), 'hex')");
damage_blocks([ $file{t}, 3, pack('H*', $page) ]);
is(check(''), '', 'nothing is wrong any more');
is(damage(), 't|main|3|server|lost write|t', 'the table says that it was repaired');

#
# Only what WAL has changed
#

leave_behind();
my $sound = read_block($file{old}, 6);
damage_blocks([ $file{old}, 6, "\xFF" x $page_size ]);
is(check(''), '', 'a block that WAL does not name is not looked at');
damage_blocks([ $file{old}, 6, $sound ]);
query("UPDATE old SET p = 'new' WHERE ctid = '(4,1)'");
is(check(''), '', 'nor is its neighbour looked at');
query("SELECT fill('later')");
$file{later} = path_of($node, 'postgres', 'later');
leave_behind();
damage_blocks([ $file{later}, 5, 'zzz' ]);
is(check(''), '', 'a block that WAL does not name any more');
like(check("'{later}', true"),
	qr/^WARNING:  XX001: block 5 of fork "main" of relation "later" is damaged\nDETAIL:  The page.*\n\z/,
	'a full check of the relation finds it');
is(damage(), "later|main|5|server|contents|f\nt|main|3|server|lost write|t",
	'it is in the table, too');

#
# Damage that gets into WAL
#

query(<<'SQL');
CHECKPOINT;
UPDATE later SET p = 'n' WHERE ctid = '(5,1)';
SQL
is(check(''), '', 'the page agrees with WAL');
is(damage(), "later|main|5|server|logged|f\nt|main|3|server|lost write|t",
	'but is not taken to be repaired');
query('VACUUM FULL later');
is(check(''), '', 'the table was written anew');
is( query("SELECT repaired_at IS NOT NULL FROM walredo_damage WHERE relation = 'later'::regclass"),
	't', 'so that the block is sound');
query('DELETE FROM walredo_damage');

#
# A lost write that WAL has an image of
#

query("SELECT fill('washed')");
$file{washed} = path_of($node, 'postgres', 'washed');
leave_behind();
$page = read_block($file{washed}, 4);
query("UPDATE washed SET p = 'lost' WHERE ctid = '(4,1)'");
query('CHECKPOINT');
damage_blocks([ $file{washed}, 4, $page ]);
query("CHECKPOINT; UPDATE washed SET p = 'new' WHERE ctid = '(4,2)'");
is(query("SELECT status FROM walredo_verify('washed', 'main', 4)"),
	'ok', 'the page agrees with WAL');
like(check(''),
	qr/^WARNING:  XX001: block 4 of fork "main" of relation "washed" is damaged\n/,
	'WAL tells what was lost');
is(damage(), 'washed|main|4|WAL|lost write|f', 'it is in the table');
is(query('SELECT lsn > page_lsn FROM walredo_damage'), 't', 'with its LSN');
query('UPDATE walredo_damage SET repaired_at = now()');
is(check("'{washed}', true"), '', 'it is not reported again');

#
# What walredo_repair() has repaired
#

# Repairs a block, to what it was at an LSN if one is given.
sub repair
{
	my ($relname, $blkno, $lsn) = @_;

	is( query("SELECT status FROM walredo_repair('$relname', 'main', $blkno, dry_run => false, lsn => " . ($lsn ? "'$lsn')" : 'NULL)')),
		'repaired',
		"block $blkno of $relname is repaired");
	return;
}

query('UPDATE walredo_damage SET repaired_at = NULL');
like(check(''), qr/^(?:WARNING.*\nDETAIL.*\n)?\z/, 'it is damaged');
repair('washed', 4, query("SELECT expected_lsn FROM walredo_verify_images('0/0', 'FFFFFFFF/FFFFFFFF') WHERE tag = walredo_tag('washed', 4)"));
is(check("'{washed}', true"), '', 'damage in WAL is over when the block has been repaired');
is(damage(), 'washed|main|4|WAL|lost write|t', 'the table says so');
is( query('SELECT d.repaired_at = r.finished_at FROM walredo_damage d, walredo_repairs r ORDER BY r.id DESC LIMIT 1'),
	't', '... and when');
query('DELETE FROM walredo_damage');
is(check("'{washed}', true"), '', 'it was repaired before it is found');
is(damage(), '', 'it is not put into the table');

query("SELECT fill('mended')");
$file{mended} = path_of($node, 'postgres', 'mended');
check('');
damage_blocks([ $file{mended}, 5, 'zzz' ]);
like(check("'{mended}', true"), qr/block 5 .* is damaged/, 'a block is damaged');
repair('mended', 5);
query("CHECKPOINT; UPDATE mended SET p = 'n' WHERE ctid = '(5,1)'");
is(check(''), '', 'it was repaired, and logged anew since');
is(damage(), 'mended|main|5|server|contents|t', 'damage that was repaired is not taken to be in WAL');
query('DELETE FROM walredo_damage');

#
# Files, and relations that go
#

leave_behind();
$node->stop;
unlink $file{gone} or die "could not remove $file{gone}: $!";
$node->start;
like(check("'{gone}'"),
	qr/fork "main" of relation "gone" is damaged\nDETAIL:  .*missing/,
	'a file that is missing is noticed without reading all of WAL');
is(damage(), 'gone|main||server|missing|f', 'it has no block number');
query('DROP TABLE gone');
is(check(''), '', 'it is gone');
is(query('SELECT repaired_at IS NOT NULL FROM walredo_damage'),
	't', 'what was found of it is over');
query('DELETE FROM walredo_damage');

#
# On disk
#

query("SELECT fill('disk')");
$file{disk} = path_of($node, 'postgres', 'disk');
leave_behind();
$page = read_block($file{disk}, 2);
overwrite($file{disk}, 2 * $page_size + 8150, 'zzz');
is(check("'{disk}', true"), '', 'damage that shared buffers hide');
like(check("'{disk}', true, true"),
	qr/^WARNING:  XX001: block 2 of fork "main" of relation "disk" is damaged
DETAIL:  The page in the file has LSN .* is not dirty\.
\z/, 'is found on disk');
is(damage(), 'disk|main|2|disk|contents|f', 'it is in the table');
like(check("'{disk}'"), qr/\nDETAIL:  The page in the file has/, 'it is looked at again, on disk');
write_block($file{disk}, 2, $page);
is(check("'{disk}'"), '', 'it has been put back');
is(damage(), 'disk|main|2|disk|contents|t', 'the table says so');
query('UPDATE disk SET p = \'hint\' WHERE i % 3 = 0');
query('SELECT count(*) FROM disk');
is(check("'{disk}', true, true"), '', 'pages that are dirty are left out');
query('DELETE FROM walredo_damage');

SKIP:
{
	skip 'strace is not installed', 2
	  if !grep { -x "$_/strace" } split /:/, $ENV{PATH};
	query('CHECKPOINT');
	my $reader = session($node, 'postgres');
	my $output = "$PostgreSQL::Test::Utils::tmp_check/strace.out";
	my $strace = IPC::Run::start(
		[ 'strace', '-qq', '-o', $output, '-p', $reader->{backend},
			'-P', $file{disk}, '-e', 'inject=pread64,preadv,preadv2:error=EIO' ],
		'<', \undef, '>', '/dev/null', '2>', "$output.err");
	my $is_traced = 0;
	foreach (1 .. 100)
	{
		$is_traced = slurp_file("/proc/$reader->{backend}/status") =~ /^TracerPid:\s+[1-9]/m;
		last if $is_traced || !$strace->pumpable;
		usleep(50_000);
	}
	if ($is_traced)
	{
		run_query($reader, "CALL walredo_check('{disk}', true, true)");
		is( query(<<'SQL'),
SELECT DISTINCT found_in, kind, regexp_replace(detail, 'block \d+ in file ".*"', 'BLOCK') FROM walredo_damage
SQL
			'disk|contents|The page in the file cannot be read: could not read BLOCK: Input/output error. The one in shared buffers is not dirty.',
			'a page in a file that cannot be read');
	}
	$strace->signal('TERM');
	$strace->finish;
	skip 'processes cannot be traced', 2 if !$is_traced;
	is(check("'{disk}'"), '', 'it can be read again');
	query('DELETE FROM walredo_damage');
}

#
# Many damaged blocks
#

query("SELECT fill('many', 4000)");
query(<<'SQL');
INSERT INTO walredo_damage (database, relation, fork, blkno, found_in, kind, first_seen, last_seen, seen_lsn)
SELECT d.oid, 'many'::regclass, 'main', b, 'server', 'contents', now(), now(), pg_current_wal_lsn()
FROM pg_database d, generate_series(0, 109) b WHERE datname = current_database()
SQL
my $repaired = 'SELECT count(*) FROM walredo_damage WHERE repaired_at IS NOT NULL';
check("'{many}'");
is(query($repaired), 100, 'some blocks that were damaged are looked at again');
query('UPDATE walredo_damage SET repaired_at = NULL');
check("'{many}', true");
is(query($repaired), 110, 'a full check looks at all of them');
query('DELETE FROM walredo_damage');

#
# Without images
#

$node->append_conf('postgresql.conf', 'full_page_writes = off');
$node->reload;
leave_behind();
is(check("'{many}'"), '', 'there are no images, but nothing was changed');
query("UPDATE many SET p = 'new' WHERE ctid = '(7,1)'");
like(
	check("'{many}'"),
	qr/^WARNING:  01000: full_page_writes is off, .*\nDETAIL:  Of [1-9]\d* blocks .*, [1-9]\d* could not be verified/,
	'blocks that cannot be verified without images');
$node->append_conf('postgresql.conf', 'full_page_writes = on');
$node->reload;
leave_behind();
query("UPDATE many SET p = 'new' WHERE ctid = '(8,1)'");
is(check("'{many}'"), '', 'images are logged again');

#
# WAL since the last check is gone
#

sub lose_wal
{
	query('SELECT pg_switch_wal(); CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT') foreach 1 .. 2;
	return;
}

$node->append_conf('postgresql.conf', 'wal_keep_size = 0');
$node->reload;
query("SELECT fill('t' || g, 8000) FROM generate_series(1, 8) g");
lose_wal();
like(check(''),
	qr/^NOTICE:  00000: WAL since the last check is not available\nDETAIL:  All blocks are verified/,
	'WAL that has changed blocks is gone');

#
# A check that is interrupted
#

%file = map { $_ => path_of($node, 'postgres', $_) } map { "t$_" } 1 .. 8;
check('');
my $done;
foreach my $how ('because WAL is gone', 'full => true')
{
	query("UPDATE t$_ SET p = 'new' WHERE ctid = '(1,1)'") foreach 1 .. 8;
	query('CHECKPOINT');
	lose_wal() if $how !~ /full =>/;
	query("UPDATE t$_ SET p = 'newer' WHERE ctid = '(1,2)'; UPDATE t$_ SET p = 'newer' WHERE ctid = '(2,1)'") foreach 1 .. 8;
	query('CHECKPOINT');
	my $session = session($node, 'postgres');
	my $pid = (run_query($session, 'SELECT pg_backend_pid()'))[0];
	run_query($session, "SET vacuum_cost_delay = '30ms'");
	run_query($session, 'SET vacuum_cost_limit = 50');
	run_query($session, "SET vacuum_cost_page_$_ = 5") foreach qw(hit miss);
	begin_query($session, 'CALL walredo_check(' . ($how =~ /full =>/ ? $how : '') . ')');
	ok( $node->poll_query_until('postgres', <<"SQL"),
SELECT a.backend_xmin IS NULL FROM pg_stat_activity a, walredo_verify_progress p
WHERE a.pid = $pid AND p.pid = $pid AND a.wait_event = 'VacuumDelay'
SQL
		"$how: it has no snapshot while it verifies");
	ok( $node->poll_query_until('postgres', <<'SQL'),
SELECT count(*) > 0 FROM _walredo_checked
WHERE relation IN (SELECT oid FROM pg_class WHERE relname ~ '^t[1-8]$')
SQL
		"$how: relations have been checked");
	like(
		error_of($node, 'postgres', 'CALL walredo_check()'),
		qr/55P03: walredo_check\(\) is running in this database already/,
		"$how: two do not run at once");
	is( query("SELECT count(*) FROM walredo_verify_progress WHERE pid = $pid"),
		1, "$how: it is in the progress view");
	query("SELECT pg_cancel_backend($pid)");
	end_query($session);
	is( query('SELECT full_begun_at IS NOT NULL FROM _walredo_checked WHERE relation = 0'),
		't', "$how: a full check is to be finished");
	($done, my $left) = map { query(<<SQL) } '', 'NOT';
SELECT c.oid::regclass FROM pg_class c
WHERE c.relname ~ '^t[1-8]\$' AND c.oid $_ IN (SELECT relation FROM _walredo_checked)
ORDER BY c.oid DESC LIMIT 1
SQL
	isnt($done, '', "$how: one of the tables was checked");
	isnt($left, '', "$how: and another one was not");

	# Block 2 was changed, so that WAL has it, but not since the last checkpoint.
	my @sound = map { [ $file{$_}, 2, read_block($file{$_}, 2) ] } $done, $left;
	damage_blocks([ $file{$done}, 2, 'zzz' ], [ $file{$left}, 2, 'zzz' ]);
	like(check(''),
		qr/^WARNING:  XX001: block 2 of fork "main" of relation "$left" is damaged\n.*\n\z/,
		"$how: it goes on where it was interrupted");
	is( query('SELECT full_begun_at, relation FROM _walredo_checked'),
		'|0', "$how: and is finished");
	damage_blocks(@sound) if $how !~ /full =>/;
}
like(check('full => true'),
	qr/relation "$done" is damaged/, 'another one begins anew');

#
# A database that is copied
#

query('CREATE DATABASE source');
$node->safe_psql('source', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE sound AS SELECT g AS i, repeat('x', 200) AS p FROM generate_series(1, 1000) g;
CREATE TABLE unsound AS TABLE sound;
SQL
damage_blocks([ path_of($node, 'source', 'unsound'), 3, 'zzz' ]);
like(check('', '', 'source'), qr/block 3 of fork "main" of relation "unsound" is damaged/,
	'a database with damage');
query('CREATE DATABASE copied TEMPLATE source STRATEGY file_copy');
overwrite(path_of($node, 'copied', 'sound'), 2 * $page_size, "\xFF" x 24);
like(
	check('', '', 'copied'),
	qr/^WARNING:  XX001: block 2 of fork "main" of relation "sound" is damaged\nDETAIL:  The server cannot read it.*\n\z/,
	'that the database it was copied from was checked says nothing of a copy');
is(damage('copied'), "sound|main|2|server|unreadable|f\nunsound|main|3|WAL|contents|f",
	'what was damaged there is kept');
is( $node->safe_psql('copied', <<'SQL'), 't', '... with a word about it');
SELECT detail ~ '^The block was damaged in the database that this one was copied from\. The page' FROM walredo_damage WHERE blkno = 3
SQL
is( $node->safe_psql('copied', <<'SQL'), 1, 'the table is about this database only');
SELECT count(*) FROM _walredo_checked c LEFT JOIN pg_database d ON d.oid = c.database AND datname = 'copied'
SQL
like(check('', '', 'source'), qr/^(?:WARNING.*"unsound" is damaged\n.*\n)?\z/, 'and the other one goes on as before');

#
# Damaged catalogs
#

query('CREATE DATABASE wide');
$node->safe_psql('wide', 'CREATE EXTENSION walredo; CREATE TABLE narrow AS SELECT 1 AS i; CREATE TABLE wide ('
	  . join(', ', map { "c$_ int" } 1 .. 1500) . ')');
my $block = $node->safe_psql('wide', <<'SQL');
SELECT substring(ctid::text, '\d+')::int FROM pg_attribute
GROUP BY 1 HAVING bool_and(attrelid = 'wide'::regclass) ORDER BY 1 LIMIT 1
SQL
my %catalog = map { $_ => path_of($node, 'wide', $_) } qw(pg_attribute pg_class_tblspc_relfilenode_index narrow);
damage_blocks([ $catalog{pg_attribute}, $block, "\xFF" x $page_size ]);
like(
	check("'{wide, narrow}'", '', 'wide'),
	qr/^WARNING:  XX001: fork "main" of relation "wide" is damaged\nDETAIL:  The server cannot read it: .*\n\z/,
	'a relation that cannot be opened is no error');
is(damage('wide'), 'wide|main||server|unreadable|f', 'it is in the table');
is( $node->safe_psql('wide', <<'SQL'), 1, 'the other one has been checked');
SELECT count(*) FROM _walredo_checked WHERE relation = 'narrow'::regclass
SQL

my $old_narrow = read_block($catalog{narrow}, 0);
$node->safe_psql('wide', "CHECKPOINT; UPDATE narrow SET i = 2; CHECKPOINT");
damage_blocks([ $catalog{narrow}, 0, $old_narrow ]);
$node->safe_psql('wide', "CHECKPOINT; UPDATE narrow SET i = 3");
damage_blocks([ $catalog{pg_class_tblspc_relfilenode_index}, 0, "\xFF" x $page_size ],
	[ $catalog{pg_class_tblspc_relfilenode_index}, 1, "\xFF" x $page_size ]);
like(
	check("'{narrow}', true", '', 'wide'),
	qr/^WARNING:  XX001: page "rel \S+ blk 0" is damaged\nDETAIL:  Its relation cannot be looked up: invalid page .*\. A write was lost/,
	'a relation that cannot be looked up is no error');

#
# It takes its time
#

# The images in WAL are checked first, which the progress view does not show.
query("SELECT fill('big', 40000)");
my $slow = session($node, 'postgres');
run_query($slow, "SET vacuum_cost_delay = '100ms'");
begin_query($slow, 'CALL walredo_check(full => true)');
my ($bytes_before, $bytes);
ok( $node->poll_query_until('postgres', <<"SQL"), 'it sleeps');
SELECT wait_event = 'VacuumDelay' FROM pg_stat_activity WHERE pid = $slow->{backend}
SQL
foreach (1 .. 1000)
{
	($bytes) = slurp_file("/proc/$slow->{backend}/io") =~ /^rchar: (\d+)/;
	$bytes_before //= $bytes;
	last if $bytes > $bytes_before + 2_000_000;
	usleep(10_000);
}
is( query("SELECT count(*) FROM walredo_verify_progress WHERE pid = $slow->{backend}"),
	0, 'it sleeps while it reads WAL for the images in it, not only afterwards');
query("SELECT pg_cancel_backend($slow->{backend})");
end_query($slow);

my $begin = time;
check('full => true', "SET vacuum_cost_delay = '20ms'; SET vacuum_cost_page_hit = 20; SET vacuum_cost_page_miss = 20; SET vacuum_cost_limit = 200;");
cmp_ok(time - $begin, '>=', 2, 'vacuum_cost_delay slows it down');

#
# Who may, and where
#

query(<<'SQL');
CREATE ROLE reader LOGIN IN ROLE pg_read_server_files;
CREATE ROLE other LOGIN;
CREATE SCHEMA "Ext; x";
GRANT USAGE ON SCHEMA "Ext; x" TO reader, other;
ALTER EXTENSION walredo SET SCHEMA "Ext; x";
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz
	RETURN '2000-01-01'::timestamptz;
DELETE FROM "Ext; x".walredo_damage;
CHECKPOINT;
UPDATE t1 SET p = 'x' WHERE ctid = '(3,1)';
SQL
damage_blocks([ $file{t1}, 3, 'zzz' ]);
my ($stdout, $stderr) = ask($node, 'postgres', <<'SQL');
SET search_path = public, pg_catalog;
SET ROLE reader;
CALL "Ext; x".walredo_check('{t1, t2, t3, t4, t5, t6, t7, t8}', true);
SELECT count(*) > 0, min(first_seen) > '2001-01-01' FROM "Ext; x".walredo_damage;
SQL
is($stdout, 't|t', 'a role that may read files, in another schema');
foreach my $sql (
	'CALL "Ext; x".walredo_check()',
	'TABLE "Ext; x".walredo_damage',
	'TABLE "Ext; x"._walredo_checked')
{
	like(error_of($node, 'postgres', "SET ROLE other; $sql"),
		qr/42501: permission denied for/, "others may not: $sql");
}
query('ALTER EXTENSION walredo SET SCHEMA public');
like(
	error_of($node, 'postgres', 'BEGIN; CALL walredo_check();'),
	qr/25001: walredo_check\(\) cannot run inside a transaction block/,
	'not in a transaction block');
like(error_of($node, 'postgres', "CALL walredo_check('{no_such_table}')"),
	qr/42P01/, 'a relation that does not exist');
is( query(<<'SQL'),
DO $$ BEGIN CALL walredo_check('{pg_class}'); CALL walredo_check('{pg_class}'); END $$;
SELECT count(*) FROM pg_locks WHERE classid = 'pg_proc'::regclass AND mode ~ 'ShareUpdate';
SQL
	0,
	'from a procedure; no lock is left');
$node->stop;

$node->append_conf('postgresql.conf', 'hot_standby = on');
$node->set_standby_mode;
$node->start;
like(
	error_of($node, 'postgres', 'CALL walredo_check()'),
	qr/25006: cannot run walredo_check\(\) during recovery.*HINT:  Use walredo_verify_all\(\)/s,
	'not on a standby');
$node->stop;

done_testing();
