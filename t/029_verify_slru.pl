# walredo_verify_slru(): pages of transaction status, of multixacts and of commit
# timestamps in the server's files, compared with WAL.
#
# A primary and a standby are verified while clients write, with checkpoints at
# any time, and after crashes.  No page may be a mismatch.  Then files are damaged,
# and each damage must be found.  Pages that are older than WAL come from a backup.
#
# Seen to fail:
# - under load, when entries that were set after the redo point had to be in the
#   file, when WAL was not read on after a file, and when a transaction that WAL
#   says was aborted could not be in progress in the file;
# - after a crash, when a transaction that WAL has no end of could not be aborted
#   in the file, and when a commit timestamp that WAL does not have was a mismatch;
# - when pages that WAL makes need not be in a file, and, on PostgreSQL 19, when
#   members were looked for in a backup under names of four digits;
# - when the ends of pages were left out.
#
# SLRU_SECONDS		for how long clients write (6)

use IPC::Run;
use Time::HiRes qw(sleep time);
use WalredoTest;
use WalredoWorkload;

my $seconds = $ENV{SLRU_SECONDS} // 6;
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
hot_standby_feedback = on
max_standby_streaming_delay = -1
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
CREATE UNLOGGED TABLE xids (i int);
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
write_file("$script/tree",
	join(' ', split /\n/, WalredoWorkload::subtransactions('xids', 3000, 7))
	  . "\n");

sub start_clients
{
	my $clients = { output => '' };

	$clients->{run} = IPC::Run::start(
		[
			'pgbench', '-n', '-c', '12', '-j', '1', '-T', '1000',
			'-f', "$script/commit\@20", '-f', "$script/async\@20",
			'-f', "$script/abort\@10", '-f', "$script/prepare\@10",
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

	# Others would wait for the rows that these have locked.
	my $sql = join '', map { "COMMIT PREPARED '$_';\n" } split /\n/,
	  $primary->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts');
	$primary->safe_psql('postgres', $sql) if $sql ne '';
}
cmp_ok($rounds, '>', 6, "pages are verified in many rounds");
note "$rounds rounds";
is(join("\n", @mismatches), '', 'no page is a mismatch under load');

# What a crash leaves of transactions whose records it loses.  A session begins
# a transaction, and others come after it, so that its page is not the last one,
# which the server would not write before a checkpoint.  When it has ended,
# pages are looked at until the server writes this one, to have room for them.
sub use_xids
{
	$primary->safe_psql('postgres', 'SET synchronous_commit = off; '
		  . WalredoWorkload::subtransactions('xids', shift));
	return;
}

# The status of a transaction in the file.
sub clog_status
{
	my $xid = shift;
	my $entry = $xid % $clog_per_page;
	my $page = read_block(
		sprintf('%s/pg_xact/%04X', $data, $xid / $clog_segment),
		int($xid % $clog_segment / $clog_per_page));

	return ord(substr($page, int($entry / 4), 1)) >> $entry % 4 * 2 & 3;
}

# Returns the lost transaction's ID.
sub crash_after
{
	my ($end, $look) = @_;
	my $session = $primary->background_psql('postgres');
	my $xid = $session->query_safe(<<'SQL');
BEGIN;
SELECT pg_current_xact_id();
SQL
	use_xids($clog_per_page + 10);
	$primary->safe_psql('postgres', 'CHECKPOINT');

	# The WAL writer must not flush the record.
	my $writer = $primary->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
	kill STOP => $writer or die "could not stop the WAL writer: $!";
	$session->query_safe("SET LOCAL synchronous_commit = off; $end;");
	$primary->safe_psql('postgres', $look);
	$primary->stop('immediate');
	eval { $session->quit };
	$primary->start;
	return $xid;
}

my $look_at_clog = join ' ',
  map { 'SELECT pg_xact_status(\'' . ($_ * $clog_per_page) . '\');' } 1 .. 31;
my ($lost, $in_wal);

# Some other process may have flushed the record nevertheless.
foreach my $attempt (1 .. 5)
{
	$lost = crash_after('ROLLBACK', $look_at_clog);
	$in_wal = $primary->safe_psql('postgres', <<SQL);
SELECT count(*) FROM walredo_wal_records('0/0', 'FFFFFFFF/FFFFFFFF')
WHERE resource_manager = 'Transaction' AND record_type = 'ABORT' AND xid = '$lost'
SQL
	last if $in_wal == 0;
}
is(clog_status($lost), 2, 'an abort is in pg_xact');
is($in_wal, 0, '... but not in WAL');
is($primary->safe_psql('postgres', $bad), '', '... which is no mismatch');

my $look_at_times =
  "SELECT count(pg_xact_commit_timestamp((x::text)::xid)) FROM generate_series($clog_segment + 3000, $clog_segment + 30000, 819) x;";
my $is_lost = '';

# The same may happen here.
foreach my $attempt (1 .. 5)
{
	$lost = crash_after('COMMIT', $look_at_times);
	$is_lost = $primary->safe_psql('postgres', <<SQL);
SELECT pg_xact_status('$lost') = 'aborted', pg_xact_commit_timestamp('$lost') IS NOT NULL
SQL
	last if $is_lost eq 't|t';
}
is($is_lost, 't|t', 'a transaction that was lost has a commit timestamp');

# The crashes under load may have left others, on other pages.
my $lost_page = int($lost / $commit_ts_per_page);
my $lost_tag = sprintf 'slru pg_commit_ts/%04X blk %d', $lost_page / 32,
  $lost_page % 32;
like(
	$primary->safe_psql('postgres', <<SQL),
SELECT status, detail FROM walredo_verify_slru('pg_commit_ts')
WHERE status <> 'ok' AND detail !~ 'no record that starts the page'
	AND (tag = '$lost_tag' OR detail !~ 'lost in a crash')
SQL
	qr/^unverifiable\|1 of 819 entries differs: transaction $lost has commit timestamp .*, but according to WAL it has no commit timestamp\. The record of its commit may have been lost in a crash of the server\.$/,
	'... of which WAL cannot tell whether it is right');

# Write enough so that what is damaged below is not on the last pages.  The rows
# are new ones, which have been through no crash.  How many multixacts there are
# in the end is what counts: if pgbench fails, this tells why, and runs it again.
sub next_multixact
{
	return $primary->safe_psql('postgres',
		'CHECKPOINT; SELECT next_multixact_id FROM pg_control_checkpoint()');
}

my $enough_multixacts = $offsets_per_page * 33 + 500;
$primary->safe_psql('postgres', <<'SQL');
TRUNCATE account;
INSERT INTO account SELECT g, 0 FROM generate_series(1, 1000) g;
SQL
foreach my $try (1 .. 5)
{
	my $output = '';
	my $result = IPC::Run::run(
		[
			'pgbench', '-n', '-c', '4', '-t', '700', '-f', "$script/async",
			'-h', $primary->host, '-p', $primary->port, 'postgres'
		],
		'<', \undef, '>', \$output, '2>&1');

	diag("pgbench failed:\n$output") unless $result;
	last if next_multixact() >= $enough_multixacts;
}
cmp_ok(next_multixact(), '>=', $enough_multixacts, 'more multixacts');
use_xids(60000);

my @slrus =
  ('pg_xact', 'pg_multixact/offsets', 'pg_multixact/members', 'pg_commit_ts');

# What is left after the load: a prepared transaction, and files that are up to
# date.
$primary->safe_psql('postgres', <<'SQL');
BEGIN;
SELECT pg_current_xact_id();
PREPARE TRANSACTION 'stays';
CHECKPOINT;
SQL
$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');
foreach my $node ($primary, $standby)
{
	foreach my $slru (@slrus)
	{
		# Pages that pg_resetwal has skipped have no records, and those of
		# before WAL have none that starts them.
		is( $node->safe_psql('postgres', <<SQL),
SELECT string_agg(DISTINCT status, ', '), count(*) > 1
FROM walredo_verify_slru('$slru')
WHERE status = 'ok' OR detail !~ 'starts the page|lost in a crash'
SQL
			'ok|t',
			$node->name . ": pages of $slru are verified");
	}
}
is( $primary->safe_psql('postgres', <<'SQL'),
SELECT count(*), count(*) FILTER (WHERE status = 'unverifiable')
FROM walredo_verify_slru('pg_xact') WHERE tag::text LIKE 'slru pg_xact/0000 %'
SQL
	'32|32',
	'pages that WAL does not make are unverifiable');

# A backup has the pages that are older than WAL.
my $with_backup =
  "SET walredo.backup_directory = '" . $primary->backup_dir . "/backup';";
foreach my $node ($primary, $standby)
{
	is( $node->safe_psql('postgres', <<SQL),
$with_backup
SELECT count(*) FILTER (WHERE tag::text ~ '/0000 '),
	string_agg(concat_ws(' ', tag, detail), ', ') FILTER (WHERE status <> 'ok')
FROM walredo_verify_slru()
WHERE status = 'ok' OR detail !~ 'lost in a crash';
SQL
		'96|',
		$node->name . ': with a backup, all pages are verified');
}

# Arguments
like(
	error_of($primary, 'postgres', "SELECT walredo_verify_slru('pg_subtrans')"),
	qr/ERROR:  22023: unrecognized SLRU: "pg_subtrans"
HINT:  Valid SLRUs are "pg_xact", "pg_multixact\/offsets", "pg_multixact\/members" and "pg_commit_ts"\./,
	'only SLRUs that are in WAL can be verified');
is( $primary->safe_psql('postgres', <<'SQL'),
SELECT count(DISTINCT split_part(tag::text, '/', 1)) FROM walredo_verify_slru(NULL)
SQL
	3, 'NULL stands for all SLRUs');

# Damage.  Entries of old pages are chosen, which the server does not write any
# more: $entry is the number of one on the first page of the second segment.
my %segment = (
	'pg_xact' => '0001',
	'pg_multixact/offsets' => '0001',
	'pg_multixact/members' => '0' x ($long_names ? 11 : 0) . '0001',
	'pg_commit_ts' => '0029');
my $offset_size = $page_size / $offsets_per_page;

# XORs bytes of a file.
sub flip
{
	my ($slru, $offset, $bits) = @_;
	my $file = "$data/$slru/$segment{$slru}";

	overwrite($file, $offset,
		substr(slurp_file($file), $offset, length $bits) ^ $bits);
	return;
}

# Runs a piece of code while the server is down, and returns what the server
# then finds in an SLRU that it did not before.  The file is put back afterwards.
sub damage
{
	my ($slru, $code, %params) = @_;
	my $query = ($params{settings} // '')
	  . "SELECT tag, status, detail FROM walredo_verify_slru('$slru') WHERE status = 'mismatch'";
	my $file = "$data/$slru/" . ($params{segment} // $segment{$slru});
	my $found;

	is($primary->safe_psql('postgres', $query), '', "$slru is in order");
	$primary->stop;
	my $old = slurp_file($file);
	$code->();
	$primary->start;
	$found = $primary->safe_psql('postgres', $query);
	$primary->stop;
	write_file($file, $old);
	$primary->start;
	return $found;
}

my ($committed) =
  grep { clog_status($clog_segment + $_) == 1 } 1000 .. 32000;
my ($aborted) = grep { clog_status($clog_segment + $_) == 2 } 1000 .. 32000;

is( damage(
		'pg_xact',
		sub {
			flip('pg_xact', int($committed / 4), chr(1 << $committed % 4 * 2));
		}),
	'slru pg_xact/0001 blk 0|mismatch|1 of 32768 entries differs: transaction '
	  . ($clog_segment + $committed)
	  . ' is in progress, but according to WAL it is committed.',
	'a bit flipped in pg_xact is found');
is( damage(
		'pg_xact',
		sub {
			flip('pg_xact', int($aborted / 4), chr(3 << $aborted % 4 * 2));
			flip('pg_xact', int($committed / 4), chr(3 << $committed % 4 * 2));
		}),
	'slru pg_xact/0001 blk 0|mismatch|2 of 32768 entries differ. The first of them: transaction '
	  . ( $committed < $aborted
		? $clog_segment + $committed
		  . ' is aborted, but according to WAL it is committed.'
		: $clog_segment + $aborted
		  . ' is committed, but according to WAL it is aborted.'),
	'changed statuses in pg_xact are found');
like(
	damage(
		'pg_multixact/offsets',
		sub { flip('pg_multixact/offsets', 10 * $offset_size, "\1") }),
	qr{^slru pg_multixact/offsets/0001 blk 0\|mismatch\|1 of \d+ entries differs: multixact @{[$offsets_per_page * 32 + 10]} begins at member \d+, but according to WAL it begins at member \d+\.$},
	'a bit flipped in an offset is found');
like(
	damage(
		'pg_multixact/members',
		sub { flip('pg_multixact/members', 3 * 20 + 4, "\4") }),
	qr{^slru pg_multixact/members/0001 blk 0\|mismatch\|1 of 1636 entries differs: member @{[$members_per_page * 32 + 12]} is transaction \d+ with status (\d), but according to WAL it is transaction \d+ with status \1\.$},
	'a bit flipped in a member is found');
like(
	damage(
		'pg_multixact/members',
		sub { flip('pg_multixact/members', 3 * 20 + 2, "\1") }),
	qr{^slru pg_multixact/members/0001 blk 0\|mismatch\|1 of 1636 entries differs: member @{[$members_per_page * 32 + 14]} is transaction (\d+) with status \d, but according to WAL it is transaction \1 with status \d\.$},
	'a bit flipped in the status of a member is found');
like(
	damage(
		'pg_multixact/offsets',
		sub { flip('pg_multixact/offsets', 0, slurp_page("$data/pg_multixact/offsets/0001", 0)) }),
	qr{^slru pg_multixact/offsets/0001 blk 0\|mismatch\|$offsets_per_page of $offsets_per_page entries differ\. The first of them: multixact @{[$offsets_per_page * 32]} begins at member 0, },
	'a page of zeroes is found');

# A transaction with a commit timestamp on the first page of a segment
my $xid = 819 * 32 * 0x29;
$xid++ while $primary->safe_psql('postgres',
	"SELECT pg_xact_commit_timestamp('$xid') IS NULL") eq 't';
foreach my $bits ("\1", "\0\0\0\0\0\0\1", "\0\0\0\0\0\0\0\0\1")
{
	like(
		damage(
			'pg_commit_ts',
			sub { flip('pg_commit_ts', ($xid - 819 * 32 * 0x29) * 10, $bits) }),
		qr{^slru pg_commit_ts/0029 blk 0\|mismatch\|1 of 819 entries differs: transaction $xid has commit timestamp },
		'a bit flipped in a commit timestamp is found');
}
my $missing = damage('pg_commit_ts',
	sub { unlink("$data/pg_commit_ts/0029") or die "unlink: $!" });
is( $missing,
	join("\n",
		map {
			"slru pg_commit_ts/0029 blk $_|mismatch|The page is missing: there is no file \"pg_commit_ts/0029\"."
		} 0 .. 31),
	'a lost segment is found');
is( damage(
		'pg_commit_ts',
		sub {
			truncate("$data/pg_commit_ts/0029", 30.5 * $page_size)
			  or die "truncate: $!";
		}),
	'slru pg_commit_ts/0029 blk 30|mismatch|The page is cut: file "pg_commit_ts/0029" ends in it.
slru pg_commit_ts/0029 blk 31|mismatch|The page is missing: file "pg_commit_ts/0029" ends before it.',
	'a cut segment is found');

# Pages that only a backup has
is( damage(
		'pg_xact',
		sub { overwrite("$data/pg_xact/0000", 5 * $page_size + 17, "\1"); },
		segment => '0000',
		settings => $with_backup),
	'slru pg_xact/0000 blk 5|mismatch|1 of 32768 entries differs: transaction '
	  . (5 * $clog_per_page + 17 * 4)
	  . ' is committed, but according to WAL it is in progress.',
	'damage to a page that WAL does not make is found with a backup');
is( damage(
		'pg_xact',
		sub {
			truncate("$data/pg_xact/0000", 31 * $page_size)
			  or die "truncate: $!";
		},
		segment => '0000',
		settings => $with_backup),
	'slru pg_xact/0000 blk 31|mismatch|The page is missing: file "pg_xact/0000" ends before it.',
	'... and so is a page that is missing');

# When all rows are frozen, the first segments are removed.
$primary->safe_psql('postgres', "COMMIT PREPARED 'stays'");
$primary->safe_psql('postgres',
	'ALTER DATABASE template0 ALLOW_CONNECTIONS true');
foreach my $database ('template0', 'template1', 'postgres')
{
	$primary->safe_psql($database, 'VACUUM (FREEZE)');
}
$primary->wait_for_catchup($standby);
foreach my $node ($primary, $standby)
{
	my $what = $node->name . ': after truncation,';

	$node->safe_psql('postgres', 'CHECKPOINT');
	ok(!-e $node->data_dir . '/pg_xact/0000', "$what a segment is gone");
	is($node->safe_psql('postgres', $bad), '', "$what no page is missing");
	is($node->safe_psql('postgres', $with_backup . $bad),
		'', "$what no page that a backup has is missing");
	foreach my $slru (@slrus)
	{
		is( $node->safe_psql('postgres', <<SQL),
SELECT count(*) FROM walredo_verify_slru('$slru')
WHERE tag::text ~ '^slru $slru/0000 ' OR status <> 'ok'
SQL
			0,
			"$what only newer pages of $slru are reported");
	}
}

# The timeline that a promoted server has left
$standby->promote;
$standby->safe_psql('postgres', 'SELECT pg_current_xact_id(); CHECKPOINT;');
is($standby->safe_psql('postgres', $bad),
	'', 'after a promotion, no page is a mismatch');
like(
	error_of(
		$standby, 'postgres',
		"SET walredo.timeline = '1'; SELECT walredo_verify_slru()"),
	qr/ERROR:  55000: cannot compare the server's pages with WAL of another timeline/,
	'WAL of another timeline is refused');
like(
	error_of(
		$standby, 'postgres',
		"SET walredo.timeline = '1'; SELECT walredo_verify('account')"),
	qr/ERROR:  55000: cannot compare the server's pages with WAL of another timeline/,
	'... for relations, too');
$standby->stop;

# Older WAL in another directory
my $count_ok =
  "SELECT count(*) FROM walredo_verify_slru('pg_xact'%s) WHERE status = 'ok'";
my $count = $primary->safe_psql('postgres', sprintf($count_ok, ''));
my $redo_segment = $primary->safe_psql('postgres',
	'CHECKPOINT; SELECT redo_wal_file FROM pg_control_checkpoint()');
my $older = $primary->basedir . '/older';

cmp_ok($count, '>', 0, 'pages can be verified');
$primary->stop;
mkdir $older or die "mkdir: $!";
foreach
  my $segment (grep { /^[0-9A-F]{24}$/ && $_ lt $redo_segment }
	slurp_dir("$data/pg_wal"))
{
	rename("$data/pg_wal/$segment", "$older/$segment") or die "rename: $!";
}
$primary->start;
is($primary->safe_psql('postgres', sprintf($count_ok, '')),
	0, 'without older WAL, they cannot');
is($primary->safe_psql('postgres', sprintf($count_ok, ", '$older'")),
	$count, '... but with it in another directory');

$primary->stop;
done_testing();
