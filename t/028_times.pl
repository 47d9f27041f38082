# From a time to an LSN: walredo_lsn_at() gives the end of the last record, in the
# order of WAL, that ends a transaction at or before that time.  The times are
# those that pg_waldump shows, which are also those that the server keeps as
# commit timestamps; and recovery to such a time ends at the same place.
#
# Seen to fail:
# - when the first transaction in a segment was taken instead of the last, or
#   reading ended at the first one that was later;
# - when a transaction at exactly the time was not counted, or the result was
#   where its record begins;
# - when only the newest segment was read, or all from the oldest on;
# - when a standby was believed to have all WAL of the past;
# - when a stretch of WAL went on after a segment that is cut, or ended with the
#   first end of a transaction in its last segment.

use File::Copy qw(copy);
use WalredoTest;

my $node = wal_server(
	'main', conf => <<'CONF');
max_prepared_transactions = 2
track_commit_timestamp = on
timezone = UTC
max_wal_senders = 2
CONF
my $data = $node->data_dir;
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION walredo');

sub query
{
	return $node->safe_psql('postgres', shift);
}

# All ends of transactions in a directory, as pg_waldump shows them: their times,
# and where their records begin.
sub ends_of_transactions
{
	my ($path, $start, $end) = @_;
	my ($dump) = run_command(
		[
			'pg_waldump', '--path', $path, '--rmgr', 'Transaction', '--start',
			$start, '--end', $end
		]);
	my @ends;

	foreach my $line (split /\n/, $dump)
	{
		push @ends, { lsn => $1, time => $2 }
		  if $line =~
		  /lsn: (\S+), .* desc: (?:COMMIT|ABORT)(?:_PREPARED)? (?:\d+: )?(\d{4}-\S+ \S+ \S+?)(?:;|$)/;
	}
	return @ends;
}

#
# Every transaction of a workload in many segments
#

# Sessions whose commits overlap, so that some times may be out of order; aborts,
# subtransactions, and prepared transactions.
query('CREATE TABLE t (i int, t text)');
my $start = query('SELECT pg_current_wal_insert_lsn()');
my $script = "$dir/script.sql";
write_file($script, <<'SQL');
\set r random(1, 4)
BEGIN;
INSERT INTO t VALUES (:r, repeat('x', 2000));
SAVEPOINT s;
INSERT INTO t VALUES (:r, 'y');
\if :r = 1
ROLLBACK TO s;
\endif
\if :r = 2
ROLLBACK;
\else
COMMIT;
\endif
SQL
$node->command_ok(
	[
		'pgbench', '-n', '-c', '8', '-t', '120', '-f', $script, 'postgres'
	],
	'a workload');
query(<<'SQL');
BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'a'; COMMIT PREPARED 'a';
BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'b'; ROLLBACK PREPARED 'b';
SELECT pg_switch_wal();
INSERT INTO t VALUES (1);
SQL
my $end = query('SELECT pg_current_wal_flush_lsn()');
my @ends = ends_of_transactions("$data/pg_wal", $start, $end);
my $segments = int(lsn_to_int($end) / $segment_size) -
  int(lsn_to_int($start) / $segment_size);

cmp_ok(scalar(@ends), '>', 900, 'there are transactions');
cmp_ok($segments, '>=', 3, '... in several segments');

# Where the records end; and the answers to the question for each of the times,
# which SQL computes from the list, and so in another way.
write_file(
	"$dir/ends",
	join '',
	map { "$_->{lsn}\t$_->{time}\n" } @ends);
query(<<SQL);
CREATE TABLE ends (start_lsn pg_lsn, at timestamptz, end_lsn pg_lsn);
COPY ends (start_lsn, at) FROM '$dir/ends';
UPDATE ends SET end_lsn = r.end_lsn
FROM walredo_wal_records('$start', '$end') r WHERE r.start_lsn = ends.start_lsn;
SQL
is( query(<<'SQL'),
SELECT count(*) FROM ends e
WHERE walredo_lsn_at(at) IS DISTINCT FROM
	(SELECT max(end_lsn) FROM ends WHERE ends.at <= e.at)
SQL
	0,
	'the LSN at the time of each transaction');
is( query(<<'SQL'),
SELECT count(*) FROM (SELECT at - interval '1 microsecond' AS at FROM ends
	WHERE at > (SELECT min(at) FROM ends)) e
WHERE walredo_lsn_at(at) IS DISTINCT FROM
	(SELECT max(end_lsn) FROM ends WHERE ends.at <= e.at)
SQL
	0,
	'... and a moment before');
is( query(<<'SQL'),
SELECT count(*) > 0, bool_and(walredo_lsn_at(pg_xact_commit_timestamp(xmin)) >= (SELECT min(end_lsn) FROM ends)
	AND pg_xact_commit_timestamp(xmin) IN (SELECT at FROM ends))
FROM t
SQL
	't|t',
	'the times are those that the server keeps');
is( query(q{SELECT walredo_lsn_at(now()) >= pg_lsn '} . $end . q{' - 200}),
	't', 'the LSN now');

#
# What WAL is there: stretches of segments, with a gap and without
#

sub begin_of_segment
{
	my $lsn = lsn_to_int(shift);
	return int_to_lsn($lsn - $lsn % $segment_size);
}

# What a stretch from one LSN to another, where segments begin and end, is
# expected to be.  The records at its ends are those of the server's own WAL.
sub stretch
{
	my ($from, $to, $path) = @_;
	my $records = query(<<SQL);
SELECT min(start_lsn), max(end_lsn)
FROM walredo_wal_records('$from', pg_current_wal_flush_lsn())
WHERE start_lsn >= '$from' AND end_lsn <= '$to'
SQL
	my ($first, $last) = split /\|/, $records;
	my @times = map { $_->{time} }
	  grep { lsn_to_int($_->{lsn}) < lsn_to_int($last) }
	  ends_of_transactions($path, $first, $last);
	my $segments = (lsn_to_int($to) - lsn_to_int($from)) / $segment_size;

	return join '|', 1, $first, $last,
	  map({ $_ =~ s/ UTC$/+00/r =~ s/0+\+/+/r } @times[ 0, -1 ]), $segments;
}

my $ranges = copy_segments("$data/pg_wal", "$dir/ranges");
my $begin = begin_of_segment($start);
my $gap = int_to_lsn(lsn_to_int($begin) + $segment_size);
foreach my $file (grep { /^[0-9A-F]{24}$/ } slurp_dir($ranges))
{
	unlink "$ranges/$file"
	  if $file lt segment_name(1, $begin) || $file ge segment_name(1, $end);
}
is(query("SELECT * FROM walredo_wal_range('$ranges')"),
	stretch($begin, begin_of_segment($end), $ranges),
	'an unbroken stretch of WAL');
unlink "$ranges/" . segment_name(1, $gap);
is( query("SELECT * FROM walredo_wal_range('$ranges')"),
	join("\n",
		stretch($begin, $gap, "$data/pg_wal"),
		stretch(segment_end($gap), begin_of_segment($end), $ranges)),
	'... and two, with a gap between');
copy("$data/pg_wal/" . segment_name(1, $gap), $ranges);
truncate("$ranges/" . segment_name(1, $begin), $segment_size / 2);
is( query("SELECT segments FROM walredo_wal_range('$ranges')"),
	"1\n" . (lsn_to_int(begin_of_segment($end)) - lsn_to_int($gap)) / $segment_size,
	'a segment that is cut ends a stretch');
is( query("SELECT count(*), max(end_lsn) >= '$end' FROM walredo_wal_range() WHERE timeline = 1"),
	'1|t', 'the WAL of the server');

#
# Times out of order
#

# A record is written over that of a commit in a copy of WAL: the clock was set
# back by an hour, for this transaction only.
query("SELECT pg_switch_wal(); INSERT INTO t VALUES (1)");
my $copy = copy_segments("$data/pg_wal", "$dir/copy");
my $victim = $ends[-20];
my ($record) = query(<<SQL);
SELECT encode(rec, 'hex') FROM walredo_wal_records('$victim->{lsn}', '$end') LIMIT 1
SQL
my $bytes = pack 'H*', $record;
my $main_at = $record_header_size + 2;
my $time = unpack 'q', substr($bytes, $main_at, 8);
substr($bytes, $main_at, 8) = pack 'q', $time - 3600 * 1000000;
overwrite_record($copy, $victim->{lsn}, sealed_record($bytes));

my $victim_end = query("SELECT end_lsn FROM ends WHERE start_lsn = '$victim->{lsn}'");
is( query("SELECT walredo_lsn_at(timestamptz '$victim->{time}' - interval '1 hour', '$copy')"),
	$victim_end,
	'a transaction whose time is an hour earlier than those around it');
is( query("SELECT walredo_lsn_at(timestamptz '$ends[10]{time}', '$copy')"),
	$victim_end,
	'... is the last at or before the times of earlier ones');
is( query("SELECT walredo_lsn_at(timestamptz '$ends[-1]{time}', '$copy')"),
	query("SELECT max(end_lsn) FROM ends"),
	'... but not of later ones') if $ends[-1]{lsn} ne $victim->{lsn};

#
# Errors
#

like(
	error_of($node, 'postgres', "SELECT walredo_lsn_at('2000-01-01 UTC')"),
	qr/ERROR:  58P01: WAL does not reach back to 2000-01-01 00:00:00\+00\nDETAIL:  WAL begins at \S+, and the first transaction in it ended at \d{4}-/,
	'before WAL');
like(
	error_of($node, 'postgres', "SELECT walredo_lsn_at('-infinity')"),
	qr/ERROR:  58P01: WAL does not reach back to -infinity/,
	'long before WAL');
like(
	error_of($node, 'postgres', "SELECT walredo_lsn_at(now() + interval '1 minute')"),
	qr/ERROR:  22023: time \S+ \S+ is in the future\nDETAIL:  It is \S+ \S+ now\./,
	'after now');
like(
	error_of($node, 'postgres', "SELECT walredo_lsn_at('infinity')"),
	qr/ERROR:  22023: time infinity is in the future/,
	'at the end of time');
my $last_in_copy = query(<<SQL);
SELECT walredo_lsn_at(pg_xact_commit_timestamp(xmin), '$copy') > '$end' FROM t
ORDER BY xmin::text::int8 DESC LIMIT 1
SQL
is($last_in_copy, 't', 'the last transaction of a directory');
like(
	error_of($node, 'postgres', "SELECT walredo_lsn_at(now(), '$copy')"),
	qr/ERROR:  22023: time \S+ \S+ is after the end of WAL\nDETAIL:  The last transaction in WAL ended at \d{4}-/,
	'after the end of a directory');
is(query('SELECT walredo_lsn_at(NULL) IS NULL'), 't', 'no time');

# Only the last segment of the copy, in which the first transaction is known.
my $short = "$dir/short";
mkdir $short;
my $name = segment_name(1, $end);
write_file("$short/$name", slurp_file("$copy/$name"));
like(
	error_of($node, 'postgres', "SELECT walredo_lsn_at('$ends[0]{time}', '$short')"),
	qr/ERROR:  58P01: WAL does not reach back to .*\nDETAIL:  WAL begins at \Q@{[int_to_lsn(int(lsn_to_int($end) \/ $segment_size) * $segment_size)]}\E,/,
	'before the only segment of a directory');

#
# A recent time costs little
#

# Of the segments that are read, only the last one is there in the end.
foreach my $file (grep { /^[0-9A-F]{24}$/ && $_ lt $name } slurp_dir($copy))
{
	overwrite("$copy/$file", 8192, "\xFF" x 1024) if $file gt segment_name(1, $start);
}
is( query("SELECT walredo_lsn_at('$ends[-1]{time}', '$copy')"),
	query("SELECT max(end_lsn) FROM ends WHERE at <= '$ends[-1]{time}'"),
	'older segments are not read for a recent time');
like(
	error_of($node, 'postgres', "SELECT walredo_lsn_at('$ends[0]{time}', '$copy')"),
	qr/ERROR:  XX001:/,
	'... but they are for an older one');

#
# A standby, and recovery to a time
#

$node->backup('backup');
my ($wanted, $at) = split /\|/, (split /\n/, query(<<'SQL'))[-1];
INSERT INTO t VALUES (100);
SELECT pg_sleep(0.05);
SELECT clock_timestamp() AS at \gset
SELECT pg_sleep(0.05);
INSERT INTO t VALUES (200);
SELECT walredo_lsn_at(:'at'), :'at';
SQL
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'backup');
query('SELECT pg_switch_wal()');
copy_segments("$data/pg_wal", "$dir/archive");
$restored->append_conf('postgresql.conf', <<CONF);
restore_command = 'cp "$dir/archive/%f" "%p"'
recovery_target_time = '$at'
recovery_target_action = pause
hot_standby = on
CONF
$restored->set_recovery_mode;
$restored->start;
$restored->poll_query_until('postgres',
	q{SELECT pg_get_wal_replay_pause_state() = 'paused'})
  or die 'recovery does not end';
is($restored->safe_psql('postgres', 'SELECT max(i) FROM t'),
	100, 'recovery to a time');

# It goes on up to the next end of a transaction.
my $replayed =
  $restored->safe_psql('postgres', 'SELECT pg_last_wal_replay_lsn()');
is( query(<<SQL),
SELECT string_agg(CASE WHEN resource_manager = 'Transaction' THEN 'end' ELSE 'other' END, ' '
	ORDER BY start_lsn) ~ '^(other )*end\$',
	max(start_lsn) = '$replayed'
FROM (SELECT * FROM walredo_wal_records('$wanted', '$open_end') WHERE start_lsn <= '$replayed') r
SQL
	't|t',
	'... ends at the next transaction after that LSN');

# More may come to a server in recovery.
like(
	error_of($restored, 'postgres', "SELECT walredo_lsn_at('$at')"),
	qr/ERROR:  22023: time \S+ \S+ is after the end of WAL/,
	'after what a standby has replayed');
is( $restored->safe_psql('postgres',
		"SELECT walredo_lsn_at(pg_last_xact_replay_timestamp())"),
	$wanted,
	'what a standby has replayed');
$restored->stop;
$node->stop;
done_testing();
