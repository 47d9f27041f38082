# walredo_repair_slru(): segments of pg_xact, of multixacts and of commit timestamps
# that are lost, or cut, while the server runs.
#
# The first segments are older than WAL, so that they are made from a backup and
# WAL.  The second one of pg_xact is in use when it is lost.
#
# Seen to fail: with a dry run that writes, and with a standby that does; when all
# may repair; when pages that are not known are written as zeroes; when what should
# be in the file is kept as what was in it; when a file that is there by now is
# replaced, and when the length of a file that was cut is not looked at again; and
# when WAL is not read on after pages have been written.

use Digest::MD5;
use Fcntl qw(:DEFAULT :flock);
use IPC::Run;
use WalredoProcesses qw(wait_for);
use WalredoSessions;
use WalredoTest;
use WalredoWorkload;

my $clog_segment = $clog_per_page * 32;
my $primary = wal_server(
	'primary',
	allows_streaming => 1,
	conf => <<CONF);
track_commit_timestamp = on
hot_standby_feedback = on
CONF
my $data = $primary->data_dir;
my $offsets_per_page = offsets_per_page($primary);
my $long_names = $primary->pg_version->major >= 19;
my $members = 'pg_multixact/members/' . '0' x ($long_names ? 11 : 0);

# The clients of pgbench, which are ended before the servers, however this ends.
my $clients;

$SIG{INT} = $SIG{TERM} = sub { exit 1 };

END
{
	my $status = $?;

	$clients->kill_kill(grace => 2) if defined $clients;
	$? = $status;
}

# Just below the ends of segments.
command_ok(
	[
		'pg_resetwal',
		'-x', $clog_segment - 500,
		'-m', ($offsets_per_page * 32 - 4) . ',1',
		'-O', $members_per_page * 32 - 7,
		$data
	],
	'start just below the ends of segments');
lengthen_file("$data/pg_xact/0000", 32);
lengthen_file("$data/pg_multixact/offsets/0000", 32);
lengthen_file("$data/${members}0000", 32);
$primary->start;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

# Rows whose inserting transactions, and multixacts that lock them, are in the
# first segments, without hint bits.  All that is needed to ask for them has hint
# bits, or is frozen.
my $file = $primary->basedir . '/sql';
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE witness (id int, n int);
CREATE TABLE locked (id int PRIMARY KEY, n int);
INSERT INTO locked VALUES (1, 0);
CREATE UNLOGGED TABLE xids (i int);
CREATE ROLE reader IN ROLE pg_read_server_files;
VACUUM (FREEZE);
SQL
my $lock = <<'SQL';
BEGIN;
SELECT FROM locked WHERE id = 1 FOR KEY SHARE;
SAVEPOINT a;
UPDATE locked SET n = n + 1 WHERE id = 1;
SQL
write_file($file,
	join('',
		map { "INSERT INTO witness VALUES ($_, $_);\n" . ($_ % 3 == 0 ? "BEGIN; INSERT INTO witness VALUES ($_, 0); ROLLBACK;\n" : '') } 1 .. 50)
	  . "$lock COMMIT;\n" x 1500);
command_ok(
	[
		'psql', '-XAtqf', $file, '-h', $primary->host, '-p', $primary->port,
		'postgres'
	],
	'rows and multixacts');
$primary->safe_psql('postgres',
	WalredoWorkload::subtransactions('xids', 100_000));
$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE account (id int PRIMARY KEY, n int) WITH (fillfactor = 50);
INSERT INTO account SELECT g, 0 FROM generate_series(1, 1000) g;
VACUUM pg_class;
SQL
my $multixact = $offsets_per_page * 32 - 3;
my $members_of = <<SQL;
SELECT string_agg(concat_ws(' ', xid, mode), ', ')
FROM pg_get_multixact_members('$multixact')
SQL
my $sum = 'SELECT count(*), sum(n) FROM witness';
my $expected_members = $primary->safe_psql('postgres', $members_of);
like($expected_members, qr/^\d+ keysh, \d+ nokeyupd$/, 'a multixact');

# The settings that make a backup known.
my $backup =
  "SET walredo.backup_directory = '" . $primary->backup_dir . "/backup';";

# The outcome of a repair: how many pages have which status.
sub repair
{
	my ($arguments, %params) = @_;

	return ($params{node} // $primary)->safe_psql('postgres',
		($params{settings} // $backup) . <<SQL);
SELECT status, count(*), min(source), min(detail)
FROM walredo_repair_slru($arguments) GROUP BY status ORDER BY status
SQL
}

# The status of a transaction in the file.
sub xact_status
{
	my $xid = shift;
	my $in_page = $xid % $clog_per_page;
	my $block = read_block(
		sprintf('%s/pg_xact/%04X', $data, $xid / $clog_segment),
		int($xid % $clog_segment / $clog_per_page));

	return ord(substr($block, int($in_page / 4), 1)) >> $in_page % 4 * 2 & 3;
}

sub mismatches
{
	return $primary->safe_psql('postgres', $backup . <<'SQL');
SELECT tag, detail FROM walredo_verify_slru() WHERE status = 'mismatch'
SQL
}

# The server forgets what it has in memory.
sub restart
{
	$primary->restart;
	return;
}

# Removes a file of the running server, or cuts it, and returns what it had.
sub damage
{
	my ($path, $size) = @_;
	my $contents = slurp_file("$data/$path");

	if (defined $size)
	{
		truncate("$data/$path", $size) or die "truncate: $!";
	}
	else
	{
		unlink("$data/$path") or die "unlink: $!";
	}
	return $contents;
}

# What the server says, before and since PostgreSQL 19.
my $cannot_read =
  qr/ERROR: .*could not (?:access status of transaction|open file|read)/;

my $source = 'backup "' . $primary->backup_dir . '/backup" and WAL';
my $dry = ', dry_run => true';
my $wet = ', dry_run => false';

is(repair('NULL'), '', 'nothing is damaged');
is(repair("'pg_xact', 0"), 'ok|1||', 'a page that was asked for is ok');
is(repair("'pg_xact', 4000"),
	'ok|1||There is no such page, and according to WAL there need not be.',
	'... and so is one that need not be there');

#
# A lost segment of pg_xact, while others are in use
#
$primary->safe_psql('postgres', 'CHECKPOINT');
restart();
write_file("$file.bench", <<'SQL');
\set id random(1, 1000)
UPDATE account SET n = n + 1 WHERE id = :id;
SQL
my $output = '';
$clients = IPC::Run::start(
	[
		'pgbench', '-n', '-c', '2', '-T', '100000', '-R', '500',
		'-f', "$file.bench",
		'-h', $primary->host, '-p', $primary->port, 'postgres'
	],
	'<', \undef, '>', \$output, '2>&1');

my $lost = damage('pg_xact/0000');
like(
	error_of($primary, 'postgres', $sum),
	$cannot_read,
	'rows cannot be read');
is( repair("'pg_xact'"),
	"repairable|32|$source|The page is missing: there is no file \"pg_xact/0000\". A file of 32 pages would be made as \"pg_xact/0000\".",
	'all pages could be repaired');
is( repair("'pg_xact', 7"),
	"repairable|32|$source|The page is missing: there is no file \"pg_xact/0000\". A file of 32 pages would be made as \"pg_xact/0000\".",
	'... and one only with the others');
ok(!-e "$data/pg_xact/0000", 'a dry run makes no file');
like(
	repair("'pg_xact'$wet", settings => ''),
	qr{^refused\|1\|\|The page is missing: there is no file "pg_xact/0000"\. The pages that are missing in file "pg_xact/0000" can only be made together, but what is in slru pg_xact/0000 blk 0 is not known\. WAL, which begins at [0-9A-F/]+, has no record that starts the page\. A backup that has it can be given as walredo\.backup_directory, and older WAL as wal_directory\.$},
	'without a backup, it is refused');
ok(!-e "$data/pg_xact/0000", '... and makes no file');
is( repair("'pg_xact'$wet"),
	"repaired|32|$source|The page is missing: there is no file \"pg_xact/0000\". A file of 32 pages was made as \"pg_xact/0000\".",
	'all pages are repaired');
ok(slurp_file("$data/pg_xact/0000") eq $lost, '... and are as before');
is((stat "$data/pg_xact/0000")[2], (stat "$data/pg_xact/0001")[2],
	'... in a file with the same mode');
is($primary->safe_psql('postgres', $sum), '50|1275', '... and rows are right');
is( $primary->safe_psql(
		'postgres', q{
		SELECT tag, source, old_page IS NULL, length(new_page), undo_of IS NULL,
			finished_at IS NOT NULL, image_lsn IS NULL, relation IS NULL
		FROM walredo_repairs}),
	"slru pg_xact/0000 blk 0|$source|t|" . 32 * $page_size . '|t|t|t|t',
	'... and the repair is kept');
is(repair('NULL'), '', 'nothing is damaged any more');

#
# The segment that is in use
#
my $in_use = damage('pg_xact/0001');
like(
	repair("'pg_xact', 33$wet", settings => ''),
	qr/^repaired\|[34]\|WAL\|The page is missing: there is no file "pg_xact\/0001"\. A file of [45] pages was made as "pg_xact\/0001"\.$/,
	'a segment that is in use is repaired, from WAL alone');
my $rows = 'SELECT sum(n) FROM account';
my $rows_then = $primary->safe_psql('postgres', $rows);
ok( $primary->poll_query_until('postgres', "SELECT sum(n) > $rows_then + 500 FROM account"),
	'... while clients write');
$clients->pump_nb;
ok($clients->pumpable, 'clients go on');
unlike($output, qr/error|abort/i, '... and have noticed nothing');
$clients->kill_kill(grace => 2);
undef $clients;
$primary->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'")
  or die 'clients do not end';
is(mismatches(), '', 'it is as WAL says');
$rows_then = $primary->safe_psql('postgres', $rows);
$primary->stop('immediate');
$primary->start;
is($primary->safe_psql('postgres', $rows),
	$rows_then, 'rows are right after a crash');
is(mismatches(), '', '... and so is pg_xact');

#
# Segments of multixacts and commit timestamps
#
$primary->safe_psql('postgres', 'CHECKPOINT');
restart();
my %lost = map { $_ => damage($_) }
  ('pg_multixact/offsets/0000', "${members}0000");
like(
	error_of($primary, 'postgres', $members_of),
	$cannot_read,
	'a multixact cannot be read');
is( repair("'pg_multixact/offsets'$wet"),
	"repaired|32|$source|The page is missing: there is no file \"pg_multixact/offsets/0000\". A file of 32 pages was made as \"pg_multixact/offsets/0000\".",
	'a segment of offsets is repaired');
is( repair("'pg_multixact/members'$wet"),
	"repaired|32|$source|The page is missing: there is no file \"${members}0000\". A file of 32 pages was made as \"${members}0000\".",
	'... and one of members');
ok(slurp_file("$data/$_") eq $lost{$_}, "$_ is as before")
  foreach sort keys %lost;
is($primary->safe_psql('postgres', $members_of),
	$expected_members, 'the multixact is as before');

# A segment of commit timestamps that WAL makes
my $times = 'pg_commit_ts/0029';
my $xid = 819 * 32 * 0x29 + 100;
my $time = "SELECT pg_xact_commit_timestamp('$xid')";
my $expected_time = $primary->safe_psql('postgres', $time);
restart();
my $lost_times = damage($times);
like(
	error_of($primary, 'postgres', $time),
	$cannot_read,
	'a commit timestamp cannot be read');
like(
	repair("'pg_commit_ts'$wet"),
	qr/^repaired\|32\|\Q$source\E\|The page is missing: there is no file "$times"\. A file of 32 pages was made as "$times"\.$/,
	'a segment of commit timestamps is repaired');
ok(slurp_file("$data/$times") eq $lost_times, '... and is as before');
is($primary->safe_psql('postgres', $time),
	$expected_time, '... and so is the time');

#
# A file that was cut
#
restart();
$lost = damage('pg_xact/0000', 20.5 * $page_size);
overwrite("$data/pg_xact/0000", 20 * $page_size + 10, "\xff");
my $cut = slurp_file("$data/pg_xact/0000");
like(
	error_of($primary, 'postgres',
		"SELECT pg_xact_status('" . ($clog_segment - 400) . "')"),
	$cannot_read,
	'the end of a file cannot be read');
is( repair("'pg_xact'"),
	"repairable|12|$source|The page is cut: file \"pg_xact/0000\" ends in it. 12 pages would be added to file \"pg_xact/0000\".",
	'pages can be added');
is((stat "$data/pg_xact/0000")[7],
	20.5 * $page_size, '... which a dry run does not do');
is( repair("'pg_xact', 25$wet"),
	"repaired|12|$source|The page is cut: file \"pg_xact/0000\" ends in it. 12 pages were added to file \"pg_xact/0000\".",
	'pages are added');
ok(slurp_file("$data/pg_xact/0000") eq $lost, '... and are as before');
is( $primary->safe_psql(
		'postgres', q{
		SELECT tag, md5(old_page), md5(new_page) FROM walredo_repairs
		ORDER BY id DESC LIMIT 1}),
	join('|',
		'slru pg_xact/0000 blk 0',
		Digest::MD5::md5_hex($cut), Digest::MD5::md5_hex($lost)),
	'... and what was there is kept');

#
# Others write meanwhile
#

# Begins a repair, and has it wait before it writes anything.  Runs a piece of
# code then, and returns what the repair returns.
sub meanwhile
{
	my ($arguments, $code) = @_;
	my $session = session($primary);
	my $fds = "/proc/$session->{backend}/fd";

	sysopen(my $directory, "$data/walredo_repairs", O_RDONLY)
	  or die "could not open directory: $!";
	flock($directory, LOCK_EX) or die "could not lock directory: $!";
	begin_query($session,
		"$backup SELECT DISTINCT status, detail FROM walredo_repair_slru($arguments$wet)"
	);
	wait_for
	{
		grep { (readlink($_) // '') =~ m{/walredo_repairs$} } glob "$fds/*";
	}
	  or die 'the repair does not wait';
	$code->();
	close $directory;
	my ($result, $errors) = end_query($session);
	$session->quit;
	return $result . $errors;
}

my $repairs = 'SELECT count(*) FROM walredo_repairs';
my $num_repairs = $primary->safe_psql('postgres', $repairs);
my $page = chr(0) x $page_size;

damage('pg_xact/0000');
like(
	meanwhile(
		"'pg_xact'",
		sub { write_file("$data/pg_xact/0000", $page); }),
	qr/^refused\|.* The server has written to the file meanwhile\. Look at the page again\.$/,
	'a file that is there by now is not replaced');
ok(slurp_file("$data/pg_xact/0000") eq $page, '... and stays as it is');
write_file("$data/pg_xact/0000", substr($lost, 0, 20 * $page_size));
like(
	meanwhile(
		"'pg_xact'",
		sub { lengthen_file("$data/pg_xact/0000", 21); }),
	qr/^refused\|.* The server has written to the file meanwhile\. Look at the page again\.$/,
	'a page that is in a file by now is not replaced');
ok( slurp_file("$data/pg_xact/0000") eq substr($lost, 0, 20 * $page_size) . $page,
	'... and stays as it is');
is($primary->safe_psql('postgres', $repairs),
	$num_repairs, '... and no repair is kept');
write_file("$data/pg_xact/0000", $lost);

# A page is in a buffer, and is changed before what WAL made of it is in the file.
$primary->safe_psql('postgres', 'CREATE TABLE later (i int)');
damage('pg_xact/0001');
my $later;
like(
	meanwhile(
		"'pg_xact', 32",
		sub {
			$later = $primary->safe_psql('postgres',
				'INSERT INTO later VALUES (1) RETURNING xmin');
		}),
	qr/^repaired\|/,
	'a file is made while the page changes');
is(xact_status($later), 1, '... with the change');
is(mismatches(), '', '... and is as WAL says');

#
# What is refused
#
my $flipped = $lost;
substr($flipped, 31 * $page_size + 8190, 1) ^= "\3";
overwrite("$data/pg_xact/0000", 0, $flipped);
like(
	repair("'pg_xact'$wet"),
	qr/^refused\|1\|\|1 of 32768 entries differs: .* The server may have the page in memory, so that it cannot be replaced while the server runs\. Stop the server, and write the page to its file: see the documentation of walredo_repair_slru\(\)\.$/,
	'a page that can be read is not replaced');
ok(slurp_file("$data/pg_xact/0000") eq $flipped, '... and stays as it is');

# As the documentation says
my $hex = $primary->safe_psql('postgres', $backup . <<'SQL');
SELECT encode(walredo_page_at('slru pg_xact/0000 blk 31',
	'FFFFFFFF/FFFFFFFF'), 'hex')
SQL
$primary->stop;
overwrite("$data/pg_xact/0000", 31 * $page_size, pack('H*', $hex));
$primary->start;
ok(slurp_file("$data/pg_xact/0000") eq $lost,
	'it is as before when it has been written to the file');
is(mismatches(), '', '... so that nothing is damaged');

damage('pg_xact/0000');
my $as_reader = "$backup SET ROLE reader;";
like(
	repair("'pg_xact'", settings => $as_reader),
	qr/^repairable\|32\|/, 'who may read files may look');
like(
	error_of($primary, 'postgres',
		"$as_reader SELECT walredo_repair_slru('pg_xact'$wet)"),
	qr/ERROR:  42501: permission denied to repair SLRUs
DETAIL:  Only superusers may repair them\.
HINT:  With dry_run => true, the function tells what could be repaired\./,
	'... but only superusers may repair');
like(
	error_of($primary, 'postgres',
		"BEGIN READ ONLY; SELECT walredo_repair_slru('pg_xact'$wet)"),
	qr/ERROR:  25006: cannot execute walredo_repair_slru\(\) in a read-only transaction/,
	'... and not in a read-only transaction');
ok(!-e "$data/pg_xact/0000", '... and none makes a file');
like(repair("'pg_xact'$wet"), qr/^repaired\|32\|/, 'a superuser may');

$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');
unlink($standby->data_dir . '/pg_xact/0000') or die "unlink: $!";
is( repair("'pg_xact'", node => $standby),
	'refused|32||The page is missing: there is no file "pg_xact/0000". Recovery is in progress. Stop this server and copy the file from the primary, or make this standby anew.',
	'a standby does not repair');
ok(!-e $standby->data_dir . '/pg_xact/0000', '... and makes no file');
write_file($standby->data_dir . '/pg_xact/0000', $lost);

foreach my $case (
	[
		"'pg_subtrans'", '22023: unrecognized SLRU: "pg_subtrans"'
	],
	[ "NULL, 5", '22023: a page number was specified, but no SLRU' ],
	[ "'pg_xact', -1", '22023: invalid page number -1' ],
	[ "'pg_xact', 131072", '22023: invalid page number 131072' ])
{
	my ($arguments, $error) = @$case;

	like(
		error_of($primary, 'postgres',
			"SELECT walredo_repair_slru($arguments)"),
		qr/ERROR:  \Q$error\E/,
		"error: $error");
}
is(repair('NULL, dry_run => NULL'), '', 'NULL for dry_run does nothing');
is(join(' ', grep { !/^[0-9A-F]+$/ } slurp_dir("$data/pg_xact")),
	'. ..', 'no other file is left');
$standby->stop;
$primary->stop;
done_testing();
