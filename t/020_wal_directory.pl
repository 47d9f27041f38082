# Reading WAL from directories: an archive, another server's pg_wal, and what can
# be wrong with them.
#
# Seen to fail: with a missing segment taken for the end of WAL.

use strict;
use warnings;

use File::Copy qw(copy);
use File::Path qw(rmtree);
use File::Spec;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX qw(mkfifo);
use Test::More;
use WalredoPages;
use WalredoServers;
use WalredoWal;


# The test framework may return paths that are relative to the test's working
# directory, which is not the servers'.
sub archive_of
{
	my $node = shift;
	my $dir = File::Spec->rel2abs($node->archive_dir);
	mkdir $dir;
	$node->append_conf('postgresql.conf', qq{
archive_mode = on
archive_command = 'cp "%p" "$dir/%f"'
});
	return $dir;
}

# The writer has small segments, so that there are many of them.  The reader's
# segments have another size.
my $writer = PostgreSQL::Test::Cluster->new('writer');
$writer->init(
	allows_streaming => 1,
	extra => ['--wal-segsize=1']);
$writer->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
min_wal_size = 10MB
max_wal_size = 1GB
checkpoint_timeout = 1h
CONF
my $growing_archive = archive_of($writer);
$writer->start;
$writer->safe_psql('postgres',
	'CREATE EXTENSION walredo; CREATE EXTENSION pg_walinspect');

my $reader = PostgreSQL::Test::Cluster->new('reader');
$reader->init;
$reader->append_conf('postgresql.conf', 'autovacuum = off');
$reader->start;
$reader->safe_psql('postgres', 'CREATE EXTENSION walredo');

my $scratch = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir());

#
# Helpers
#

my $rows_sql =
  q{SELECT start_lsn, end_lsn, prev_lsn, xid, resource_manager, record_type,
		   record_length };

# The records of a range, as the reader finds them, one line each.
sub records
{
	my ($dir, $start, $end, $node) = @_;
	my $arg = defined $dir ? "'$dir'" : 'NULL';
	return ($node // $reader)->safe_psql('postgres',
		"$rows_sql FROM walredo_wal_records('$start', '$end', $arg)");
}

sub record_count
{
	my @lines = split /\n/, shift;
	return scalar @lines;
}

# Compares two lists of lines, and shows only the first difference.
sub same_lines
{
	my ($got, $want, $name) = @_;
	my @got = split /\n/, $got;
	my @want = split /\n/, $want;
	my $i = 0;
	$i++ while $i < @got && $i < @want && $got[$i] eq $want[$i];
	ok($got eq $want, $name)
	  or diag("lines: ", scalar(@got), " instead of ", scalar(@want),
		"\ndifference in line $i: ", $got[$i] // 'none',
		"\ninstead of: ", $want[$i] // 'none');
}

# Returns the error of a scan that must fail.
sub scan_error
{
	my ($dir, $start, $end) = @_;
	my ($ret, $stdout, $stderr) = $reader->psql('postgres',
		"\\set VERBOSITY verbose\n"
		  . "SELECT count(*) FROM walredo_wal_records('$start', '$end', '$dir')");
	isnt($ret, 0, 'scan fails');
	return $stderr;
}

# The records as pg_waldump shows them: resource manager, length, LSNs and record
# type; and the same columns of the reader's lines.
sub waldump
{
	my ($dir, $start, $end) = @_;
	my @cmd = ('pg_waldump', '-p', $dir, '-s', $start);
	push @cmd, '-e', $end if $end ne $open_end;
	my ($stdout, $stderr);
	IPC::Run::run(\@cmd, '>', \$stdout, '2>', \$stderr);
	my @out;
	for my $line (split /\n/, $stdout)
	{
		$line =~ m{^rmgr:\ (\S+)\s+len\ \(rec/tot\):\s*\d+/\s*(\d+),\ tx:\s*(\d+),
				   \ lsn:\ (\S+),\ prev\ (\S+),\ desc:\ (\S+)}x
		  or die "cannot parse: $line";
		push @out, join('|', $1, $2, $3, lsn_to_int($4), lsn_to_int($5), $6);
	}
	return join("\n", @out);
}

sub like_waldump
{
	my @out;
	for my $line (split /\n/, shift)
	{
		my ($start, $end, $prev, $xid, $rmgr, $type, $len) = split /\|/, $line;
		push @out,
		  join('|', $rmgr, $len, $xid, lsn_to_int($start), lsn_to_int($prev),
			$type);
	}
	return join("\n", @out);
}

# Makes a copy of a directory of segments, to damage it.
sub copy_of
{
	my ($dir, $name) = @_;
	my $to = "$scratch/$name";
	rmtree($to);
	return copy_segments($dir, $to);
}

sub flip_byte
{
	my ($file, $offset) = @_;
	open my $fh, '<:raw', $file or die "$file: $!";
	seek $fh, $offset, 0;
	read $fh, my $byte, 1;
	close $fh;
	overwrite($file, $offset, chr(ord($byte) ^ 0x40));
}

# Ends a segment and waits until it is archived.  Returns the LSN where it
# ends, and its name.
sub switch_segment
{
	my ($node, $tli) = @_;
	my $lsn = $node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	my $segment = segment_name($tli, $lsn);
	wait_until_archived($node, $segment);
	return (segment_end($lsn), $segment);
}

#
# WAL with records of all lengths
#

my $start =
  $writer->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$writer->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT g, repeat('x', g % 700) FROM generate_series(1, 9000) g;
UPDATE t SET v = v || 'y' WHERE id % 3 = 0;
DELETE FROM t WHERE id % 5 = 0;
VACUUM t;
CREATE INDEX ON t USING gin (to_tsvector('simple', v));
SELECT length(pg_logical_emit_message(false, 'm', repeat('l', 3500000))::text);
SQL

# Records that end, or whose header lies, at every place near a page boundary
$writer->advance_wal_to_record_splitting_zone(8192);
for my $size (map { 8100 + 8 * $_ } 0 .. 30)
{
	$writer->safe_psql('postgres',
		"SELECT pg_logical_emit_message(true, 's', repeat('s', $size))");
}
$writer->safe_psql('postgres', 'SELECT pg_switch_wal()');
$writer->safe_psql('postgres', 'CREATE TABLE u AS SELECT * FROM t');
my ($end, $last_segment) = switch_segment($writer, 1);
my $archive = copy_of($growing_archive, 'archive');

my $all = records($archive, $start, $end);
cmp_ok(record_count($all), '>', 20000, 'many records');
same_lines(like_waldump($all), waldump($archive, $start, $end),
	'an archive reads as pg_waldump reads it');
same_lines( $all,
	$writer->safe_psql(
		'postgres', "$rows_sql FROM pg_get_wal_records_info('$start', '$end')"),
	'... and as pg_walinspect reads the original');
same_lines(records(undef, $start, $end, $writer),
	$all, "the server's WAL reads the same");

my @lines = split /\n/, $all;
my @starts = map { (split /\|/)[0] } @lines;

# LSNs in messages have no leading zeroes, as a pg_lsn has since PostgreSQL 19.
my @printed = map { s{/0+(?=.)}{/}r } @starts;
my @lengths = map { (split /\|/)[6] } @lines;
cmp_ok((grep { lsn_to_int($starts[$_]) % 8192 > 8192 - 24 } 0 .. $#lines),
	'>', 0, 'a header crosses pages');
cmp_ok((grep { $_ > 3 * $segment_size } @lengths),
	'>', 0, 'a record crosses several segments');

# Ranges with any start and any end
for my $i (0, 1, 100, int(@lines / 2), $#lines)
{
	my $want = join("\n", @lines[ $i .. $#lines ]);
	same_lines(records($archive, $starts[$i], $end), $want, "start at record $i");
	my ($hi, $lo) = split m{/}, $starts[$i];
	my $inside = sprintf('%s/%X', $hi, hex($lo) + 1);
	$want = join("\n", @lines[ $i + 1 .. $#lines ]);
	same_lines(records($archive, $inside, $end), $want, "start within record $i");
	$want = $i ? join("\n", @lines[ 0 .. $i - 1 ]) : '';
	same_lines(records($archive, $start, $starts[$i]), $want, "end at record $i");
	same_lines(records($archive, $start, $inside), $want, "end within record $i");
}

# The end of the range can be left open.
my $whole = records($archive, $start, $open_end);
same_lines(like_waldump($whole), waldump($archive, $start, $open_end),
	'an archive to its end');
same_lines($whole, $all, '... which is the end of the last segment');

# The pg_wal of a running server has files for segments to come, with old content.
$writer->safe_psql('postgres', 'CHECKPOINT');
my $live_start =
  $writer->safe_psql('postgres', 'SELECT redo_lsn FROM pg_control_checkpoint()');
$writer->safe_psql('postgres', 'CREATE TABLE v AS SELECT * FROM t');
my $pg_wal = File::Spec->rel2abs($writer->data_dir . '/pg_wal');

# The server may write between the two, about its running transactions.
my ($live, $dumped, $before);
foreach my $try (1 .. 10)
{
	$before = waldump($pg_wal, $live_start, $open_end);
	$live = records($pg_wal, $live_start, $open_end);
	$dumped = waldump($pg_wal, $live_start, $open_end);
	last if $dumped eq $before;
}
same_lines(like_waldump($live), $dumped, "another server's pg_wal to its end");
cmp_ok(
	segment_name(1, (split /\|/, (split /\n/, $live)[-1])[1]),
	'lt',
	(sort grep { /^[0-9A-F]{24}$/ } slurp_dir($pg_wal))[-1],
	'... with segments after it');

#
# What can be wrong
#

my $stderr;

# A range that goes beyond the end of WAL
$stderr = scan_error($archive, $start, 'FFFFFF/0');
like($stderr, qr/58P01: WAL segment "00000001\w{16}" is missing/,
	'end after the archive');
my $after = $1 if $stderr =~ /"(\w{24})" is missing/;
cmp_ok($after, 'gt', $last_segment, 'the segment after the last is named');

# A missing segment
my $middle = $starts[ int(@starts / 2) ];
my $middle_segment = segment_name(1, $middle);
my $dir = copy_of($archive, 'missing');
unlink "$dir/$middle_segment";
for my $to ($end, $open_end)
{
	$stderr = scan_error($dir, $start, $to);
	like(
		$stderr,
		qr/58P01: WAL segment "$middle_segment" is missing.*\Q$dir\E.*needed from/s,
		'missing segment is named');
}
same_lines(records($dir, $start, $starts[10]),
	join("\n", @lines[ 0 .. 9 ]), 'what is before it can be read');

# A truncated segment
$dir = copy_of($archive, 'truncated');
truncate("$dir/$middle_segment", $segment_size / 2 + 100);
for my $to ($end, $open_end)
{
	$stderr = scan_error($dir, $start, $to);
	like(
		$stderr,
		qr{XX001: no valid WAL record at [0-9A-F]+/[0-9A-F]+.*only 100 bytes}s,
		'truncated segment');
}
truncate("$dir/$middle_segment", 0);
$stderr = scan_error($dir, $start, $end);
like($stderr, qr/XX001: .*the file ends at/s, 'empty segment');
$dir = copy_of($archive, 'truncated last');
truncate("$dir/$last_segment", 100);
$stderr = scan_error($dir, $start, $end);
like($stderr, qr/XX001: .*HINT:  Use FFFFFFFF/s, 'truncated last segment');
cmp_ok(record_count(records($dir, $start, $open_end)),
	'<', @lines, 'an open end is where the truncated WAL ends');

# A flipped bit in a record
my $i = int(@starts / 2);
$dir = copy_of($archive, 'flipped');
flip_byte("$dir/" . segment_name(1, $starts[$i]),
	lsn_to_int($starts[$i]) % $segment_size + 16);
for my $to ($end, $open_end)
{
	$stderr = scan_error($dir, $start, $to);
	like($stderr, qr{XX001: no valid WAL record at \Q$printed[$i]\E\n},
		'broken record is named');
}
same_lines( records($dir, $start, $starts[$i]),
	join("\n", @lines[ 0 .. $i - 1 ]),
	'what is before it can be read');

# ... in its length, its link, its data, its resource manager, and each byte
# of a page's header
for my $offset (0, 1, 2, 3, 8, 17, 20)
{
	$dir = copy_of($archive, 'flipped');
	flip_byte("$dir/" . segment_name(1, $starts[$i]),
		lsn_to_int($starts[$i]) % $segment_size + $offset);
	$stderr = scan_error($dir, $start, $end);
	like($stderr, qr{XX001: no valid WAL record at \Q$printed[$i]\E\n},
		"byte $offset of a record is broken");
}
for my $offset (0 .. 3, 7, 8 .. 15, 24 .. 39)
{
	$dir = copy_of($archive, 'flipped');
	flip_byte("$dir/$middle_segment", $offset);
	$stderr = scan_error($dir, $start, $end);
	like(
		$stderr,
		$offset >= 24 && $offset < 32
		? qr{XX001: WAL segments of different database systems in}
		: qr{XX001: no valid WAL record at},
		"byte $offset of a segment is broken");
}

# A segment of another size than the first file's
like($stderr, qr/DETAIL/, 'details are given');
$dir = copy_of($archive, 'size');
overwrite("$dir/$middle_segment", 32, pack('L', 16 * 1024 * 1024));
$stderr = scan_error($dir, $start, $end);
like($stderr, qr/XX001: .*incorrect segment size/s, 'segment of another size');
my $first_segment = (sort grep { /^[0-9A-F]{24}$/ } slurp_dir($dir))[0];
for my $size (0, 1, 12345678, 512 * 1024, 2**31, 2**32 - 1)
{
	overwrite("$dir/$first_segment", 32, pack('L', $size));
	$stderr = scan_error($dir, $start, $end);
	like($stderr, qr/XX001: .*incorrect segment size/s,
		"impossible segment size $size");
}

# Names that are not those of a segment
$dir = copy_of($archive, 'names');
for my $name (
	'00000001000000000000000G', '000000010000000000000001.partial',
	'0000000100000000000000', '000000010000000000000001000000',
	'000000000000000000000001', '0000000100000000FFFFFFFF',
	"'; DROP TABLE x; --", "a\nb", '%s%n%x', 'fffffffe.history',
	'00000000.history', '0000000100000000000000ff')
{
	append_to_file("$dir/$name", 'hostile');
}
mkdir "$dir/FFFFFFFE0000000000000001";
mkdir "$dir/000000010000000000000000";
mkdir "$dir/FFFFFFFF.history";
mkfifo("$dir/FFFFFFF00000000000000001", 0700);
mkfifo("$dir/FFFFFFF1.history", 0700);
same_lines(records($dir, $start, $end), $all, 'other names are not looked at');
same_lines(records($dir, $start, $open_end), $whole, '... nor at the end');

# A file that is not a regular one is an error, without waiting.
unlink "$dir/$middle_segment";
mkfifo("$dir/$middle_segment", 0700);
$stderr = scan_error($dir, $start, $end);
like($stderr, qr/42809: .*$middle_segment" is not a regular file/,
	'FIFO instead of a segment');
unlink "$dir/$middle_segment";
mkdir "$dir/$middle_segment";
$stderr = scan_error($dir, $start, $end);
like($stderr, qr/42809: /, 'directory instead of a segment');

# Random bytes instead of pages, at many places, are an error, or the end of WAL.
srand(20);
for my $round (1 .. 40)
{
	$dir = copy_of($archive, 'noise') if $round == 1;
	copy("$archive/$middle_segment", "$dir/$middle_segment");
	my $length = 1 + int(rand(20000));
	overwrite("$dir/$middle_segment", int(rand($segment_size - $length)),
		join('', map { chr(int(rand(256))) } 1 .. $length));
	$reader->psql('postgres',
		"SELECT count(*) FROM walredo_wal_records('$start', '$end', '$dir')");
}
is($reader->safe_psql('postgres', 'SELECT 1'), 1, 'the server is alive');
ok(!$reader->log_contains('terminated by signal'), 'no process crashed');

# A record that is longer than any can be, with page headers that agree
$dir = copy_of($archive, 'long');
my ($long) =
  grep { $lengths[$_] > 3 * $segment_size } 0 .. $#lines;
my $page = int(lsn_to_int($starts[$long]) / 8192) * 8192;
my $used = 8192 - lsn_to_int($starts[$long]) % 8192;
overwrite(
	"$dir/" . segment_name(1, $starts[$long]),
	lsn_to_int($starts[$long]) % $segment_size,
	pack('L', 2**32 - 1));
overwrite(
	"$dir/" . segment_name(1, sprintf('0/%X', $page + 8192)),
	($page + 8192) % $segment_size + 16,
	pack('L', 2**32 - 1 - $used));
$stderr = scan_error($dir, $start, $end);
like($stderr, qr/XX001: no valid WAL record at \Q$printed[$long]\E\n/,
	'record of 4 GB');

#
# Timelines
#

my $backup = 'b';
$writer->backup($backup);
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($writer, $backup, has_streaming => 1);
my $archive2 = archive_of($standby);
$standby->append_conf('postgresql.conf', 'wal_keep_size = 500MB');
$standby->start;

my $tl_start =
  $writer->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$writer->safe_psql('postgres', 'CREATE TABLE before_switch AS SELECT * FROM t');
$writer->wait_for_catchup($standby);

# On a standby, WAL can be read as far as it is replayed.
my $replayed = $standby->safe_psql('postgres', 'SELECT pg_last_wal_replay_lsn()');
same_lines( records(undef, $tl_start, $replayed, $standby),
	$writer->safe_psql(
		'postgres',
		"$rows_sql FROM pg_get_wal_records_info('$tl_start', '$replayed')"),
	"a standby's WAL");
my ($ret, $stdout);
($ret, $stdout, $stderr) = $standby->psql('postgres',
	"\\set VERBOSITY verbose\n"
	  . "SELECT count(*) FROM walredo_wal_records('$tl_start', 'FF/0')");
like($stderr, qr/22023: .*future/, '... has no future');

# A cursor that is open while the standby is promoted goes on.
my $session = $standby->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe("DECLARE c CURSOR FOR "
	  . "SELECT walredo_wal_records('$tl_start', '$replayed')");
my $moved = $session->query_safe('MOVE 10 FROM c');

$standby->promote;
$standby->safe_psql('postgres', 'CREATE TABLE after_switch AS SELECT * FROM t');
my ($tl_end) = switch_segment($standby, 2);
$standby->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_ls_archive_statusdir() WHERE name ~ 'ready'");

my $n = record_count(records(undef, $tl_start, $replayed, $standby));
$session->query_safe('MOVE ' . ($n - 11) . ' FROM c');
my $last = $session->query_safe('FETCH ALL FROM c');
is(scalar(grep { /^\(/ } split /\n/, $last), 1,
	'a scan goes on after a promotion');
$session->query_safe('COMMIT');
$session->quit;

# The old primary goes on, too.
$writer->safe_psql('postgres', 'CREATE TABLE astray AS SELECT * FROM t');
switch_segment($writer, 1);

my $across = $standby->safe_psql('postgres',
	"$rows_sql FROM pg_get_wal_records_info('$tl_start', '$tl_end')");
same_lines(records(undef, $tl_start, $tl_end, $standby),
	$across, "a promoted server's WAL");

# Everything in one archive: segments of both timelines with the same number
$dir = copy_of($growing_archive, 'timelines');
copy("$archive2/$_", "$dir/$_") for slurp_dir($archive2);
my ($history) = grep { /^0+2\.history$/ } slurp_dir($dir);
ok($history, 'there is a history file');
my $switch = (split /\s+/, slurp_file("$dir/$history"))[1];
ok(-f "$dir/" . segment_name(1, $switch), 'the old timeline goes on');
ok(-f "$dir/" . segment_name(2, $switch), '... and the new one begins');
same_lines(records($dir, $tl_start, $tl_end),
	$across, 'the newest timeline is followed');

# If the new timeline's first segment is missing, the old timeline's can be used up
# to the switch, and not a byte further.
unlink "$dir/" . segment_name(2, $switch);
my $until = join("\n",
	grep { lsn_to_int((split /\|/)[1]) <= lsn_to_int($switch) }
	  split /\n/, $across);
same_lines(records($dir, $tl_start, $switch),
	$until, 'the old timeline is read up to the switch');
$stderr = scan_error($dir, $tl_start, $tl_end);
my $missing = segment_name(2, $switch);
like($stderr, qr/58P01: WAL segment "$missing" is missing/,
	'... and the new timeline is missed after it');

# Without a history file, the new timeline has no beginning.
copy("$archive2/$missing", "$dir/$missing");
unlink "$dir/$history";
$stderr = scan_error($dir, $tl_start, $tl_end);
$missing = segment_name(2, $tl_start);
like($stderr, qr/58P01: WAL segment "$missing" is missing/,
	'missing history');

# Hostile history files
for my $text (
	"nonsense\n", "1\n", "1\t0/\n", "2\t0/3000000\tself\n",
	"3\t0/3000000\tchild\n", "1\t0/3000000\n1\t0/4000000\n",
	'x' x (2 * 1024 * 1024), "# a comment\n\n   \n1 not an lsn\n",
	"1\t0/3000000\t" . 'x' x 2000 . "\n")
{
	unlink "$dir/$history";
	append_to_file("$dir/$history", $text);
	$stderr = scan_error($dir, $tl_start, $tl_end);
	like($stderr, qr/XX001: invalid timeline history file/,
		'hostile history');
}
unlink "$dir/$history";
append_to_file("$dir/$history", "# comment\n\n  1\t$switch\tno newline");
same_lines(records($dir, $tl_start, $tl_end), $across, 'history without newline');
unlink "$dir/$history";
mkfifo("$dir/$history", 0700);
$stderr = scan_error($dir, $tl_start, $tl_end);
like($stderr, qr/42809: /, 'FIFO instead of a history');

ok(!$_->log_contains('terminated by signal'), 'no process crashed')
  for ($reader, $writer, $standby);

done_testing();
