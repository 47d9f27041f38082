# Where WAL begins and ends: in the middle of a record, in a file that is
# truncated, empty, partial or of another system, and while WAL is written and
# removed.
#
# Seen to fail:
# - when a record that ends within 16 bytes after a page's header was not read
#   if it was the last one;
# - when the flush position was given for the end of what was read;
# - when a segment that was removed meanwhile was an error;
# - when the newest timeline was followed in a directory of the server's system;
#   when a timeline could only be left after it began; when a timeline that was
#   left before it began was taken for one that holds WAL;
# - when another system's segment was taken for one that is there;
# - when files with the suffix .partial, or another one, were ignored, and when
#   no warning said where WAL ends;
# - when a directory of misnamed segments, or a start after the end, was taken for
#   an empty range; when WAL ended at a segment that was renamed meanwhile; when
#   another system's segment decided which timeline is followed; when a gap, or a
#   truncated segment, before the start was ignored or was an error; when
#   something that is not a file, after the last segment, was an error, also in a
#   search for an error message; when a message showed whatever bytes the name of
#   a file has.

use strict;
use warnings;

use File::Copy qw(copy move);
use File::Path qw(rmtree);
use File::Spec;
use IPC::Run;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use WalredoPages;
use WalredoServers;
use WalredoWal;

my $node = wal_server('main', conf => 'wal_buffers = 32kB');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION walredo');

sub insert_lsn
{
	return plain_lsns(
		$node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()'));
}

# The length of the record in a line "start_lsn|end_lsn"
sub record_length
{
	my ($start, $end) = map { lsn_to_int($_) } split /\|/, shift;
	return $end - $start;
}

sub ends_segment
{
	my ($start, $end) = split /\|/, shift;
	return lsn_to_int($end) % $segment_size == 0;
}

# Reads a range: returns its records, one line each, and where reading ended.
sub scan
{
	my ($start, $end) = @_;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', <<SQL);
SET client_min_messages = debug1;
SELECT start_lsn, end_lsn FROM walredo_wal_records('$start', '$end');
SQL
	die $stderr if $ret != 0;
	$stderr =~ m{read WAL in "pg_wal" from (\S+) to (\S+) of at most (\S+)}
	  or die "no message about the end: $stderr";
	return { lines => [ split /\n/, plain_lsns($stdout) ], from => $1, to => $2, last => $3 };
}

#
# The end of WAL
#

# Records whose last bytes are right after a page's header.  If another process
# has written WAL meanwhile, or a segment begins there, try again.
for my $rest (0, 8, 16, 24)
{
	my ($before, $after, @scans);

	for my $try (1 .. 20)
	{
		$node->safe_psql('postgres',
			"SELECT pg_logical_emit_message(false, 'p', '')");
		$before = lsn_to_int(insert_lsn());
		my $room = $page_size - $before % $page_size;
		$room += $page_size if $room < 200;

		# A long message's header and prefix take 55 bytes, a page header 24.
		my $length = $room + $rest - 55;
		$length -= 24 if $room > $page_size;
		$node->safe_psql('postgres',
			"SELECT pg_logical_emit_message(false, 'p', repeat('p', $length))");
		$after = lsn_to_int(insert_lsn());
		next if $after % $page_size != 24 + $rest;
		@scans = (
			scan(int_to_lsn($before), $open_end),
			scan(int_to_lsn($before), int_to_lsn($after)),
			scan(int_to_lsn($after), $open_end),
			scan(int_to_lsn($after), int_to_lsn($after - ($rest == 0 ? 24 : 0))));
		last if lsn_to_int(insert_lsn()) == $after;
	}
	is($after % $page_size, 24 + $rest,
		"WAL ends $rest bytes after a page's header");

	# If the page is full, the next page has no header yet.
	my $want = int_to_lsn($rest == 0 ? $after - 24 : $after);
	my $line = int_to_lsn($before) . "|$want";
	is_deeply([ map { $_->{lines} } @scans ], [ [$line], [$line], [], [] ],
		'... and the last record is read, and nothing after it');
	is_deeply([ map { $_->{to} } @scans ], [ ($want) x 4 ],
		'... up to its end');
}

# Ranges in which no record ends, or no record begins.
{
	my $before = insert_lsn();
	$node->safe_psql('postgres',
		"SELECT pg_logical_emit_message(true, 'm', repeat('m', 50000))");
	my $all = scan($before, $open_end);

	# Begin with the message.
	my @lines = @{ $all->{lines} };
	shift @lines while record_length($lines[0]) < 50000;
	my ($message, @others) = @lines;
	my ($start) = split /\|/, $message;
	my $from = scan($start, $start)->{to};
	for my $offset (1, 1000, 10000, 30000, record_length($message) - 1)
	{
		my $inside = int_to_lsn(lsn_to_int($start) + $offset);
		is(scan($start, $inside)->{to}, $from, "end at byte $offset of a record");

		# A range that begins there has everything but that record.
		my $empty = scan($inside, $inside);
		is($empty->{to}, $inside, '... an empty range ends there');
		my $part = scan($inside, int_to_lsn(lsn_to_int($inside) + 1));
		is_deeply($part->{lines}, [], '... no record begins and ends within it');
		is_deeply(scan($part->{to}, $all->{to})->{lines}, \@others,
			'... and reading on from its end gives the next one');
	}
}

# A switch record reaches to the end of its segment.
{
	my $start = insert_lsn();
	my $switch = plain_lsns($node->safe_psql('postgres', 'SELECT pg_switch_wal()'));
	my $scan = scan($start, $switch);
	ok(!(grep { ends_segment($_) } @{ $scan->{lines} }),
		'a switch record does not end where it is told to');
	my $next = scan($scan->{to}, $open_end);
	ok(ends_segment($next->{lines}[0]), '... and is the first of the next scan');
}

# Under load, two scans of which the second begins where the first one ended find
# the same as one scan.  WAL is often flushed up to the middle of a record, because
# some sessions insert records that are too long for the WAL buffers.
{
	my $script = $node->basedir . '/load.sql';
	append_to_file($script, <<'SQL');
\set long random(1, 4000000)
SELECT pg_logical_emit_message(false, 'load', repeat('l', :long));
SQL
	my ($inside, $wrong, $records) = (0, 0, 0);

	# The load may have ended before a scan has met the middle of a record.
	for (1 .. 10)
	{
		my ($out, $err) = ('', '');
		my $load = IPC::Run::start(
			[
				'pgbench', '-n', '-c', '6', '-t', '200', '-f', $script,
				'-h', $node->host, '-p', $node->port, 'postgres'
			],
			'>', \$out, '2>', \$err);
		my $start = insert_lsn();

		# A difference would soon be found.
		for (my $rounds = 0; $load->pumpable && ($rounds < 10 || $inside < 3); $rounds++)
		{
			my $first = scan($start, $open_end);
			my $second = scan($first->{to}, $open_end);
			my $both = scan($start, $second->{to});
			my @parts = (@{ $first->{lines} }, @{ $second->{lines} });
			$records += @parts;
			$inside++ if $first->{to} ne $first->{last};
			$wrong++ if "@parts" ne "@{ $both->{lines} }" || $both->{to} ne $second->{to};
			$start = $second->{to};
			$load->pump_nb;
		}
		$load->kill_kill;

		# The last messages may still be written, which is not wanted below.
		$node->poll_query_until('postgres', <<'SQL') or die 'the load does not end';
SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'
SQL
		last if $inside > 0;
	}
	cmp_ok($records, '>', 10, 'there is load');
	cmp_ok($inside, '>', 0, 'WAL ended in the middle of a record');
	is($wrong, 0, 'two scans that meet see what one sees');
}

#
# WAL that is removed while it is read
#

{
	my $filler = "SELECT count(pg_logical_emit_message(false, 'f', repeat('f', 30000))) "
	  . "FROM generate_series(1, 200)";
	my $first = insert_lsn();
	$node->safe_psql('postgres', $filler);
	my $long = insert_lsn();
	$node->safe_psql('postgres',
		"SELECT pg_logical_emit_message(false, 'm', repeat('m', 4000000)); $filler");

	my %session;
	my $whole = scan('0/0', $open_end);
	my $all = $whole->{lines};
	my @before = grep { lsn_to_int((split /\|/)[0]) < lsn_to_int($long) } @$all;
	push @before, $all->[@before] while record_length($all->[@before]) < 4000000;
	my @after = @$all[ @before + 1 .. $#$all ];
	cmp_ok(record_length($all->[@before]), '>', 4000000, 'the long record is there');

	# Scans that have begun when the WAL that they would read next is removed.
	# They begin at the start of WAL, or at a given LSN; the next record is the
	# long one, or not.  Of the range of one scan, nothing will be left.
	my %range = (
		open => [ '0/0', $whole->{to}, 10 ],
		long => [ '0/0', $whole->{to}, scalar @before ],
		given => [ $first, $whole->{to}, 10 ],
		gone => [ '0/0', $long, 10 ]);
	for my $name (sort keys %range)
	{
		my ($start, $end, $skip) = @{ $range{$name} };
		$session{$name} = $node->background_psql('postgres', on_error_stop => 0);
		$session{$name}->query_safe(
			"BEGIN; DECLARE c CURSOR FOR SELECT start_lsn, end_lsn "
			  . "FROM walredo_wal_records('$start', '$end')");
		$session{$name}->query_safe("MOVE $skip FROM c");
	}

	# The WAL that is kept begins in the middle of the long record.
	my $keep = int((lsn_to_int(insert_lsn()) - lsn_to_int($long)) / 2**20) - 2;
	$node->safe_psql('postgres', <<SQL);
ALTER SYSTEM SET wal_keep_size = '${keep}MB';
ALTER SYSTEM SET max_wal_size = '2MB';
ALTER SYSTEM SET min_wal_size = '2MB';
SELECT pg_reload_conf();
SQL
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $left = $node->safe_psql('postgres',
		q{SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'});
	my $left_lsn =
	  int_to_lsn(hex(substr($left, 8, 8)) * 2**32 + hex(substr($left, 16)) * $segment_size);
	cmp_ok(lsn_to_int($left_lsn), '>', lsn_to_int($long) + 2**20,
		'what is left begins in the long record');
	cmp_ok(lsn_to_int($left_lsn), '<', lsn_to_int((split /\|/, $after[0])[0]) - 2**20,
		'... and before its end');

	for my $name ('open', 'long')
	{
		my $out = $session{$name}->query('FETCH ALL FROM c');
		my @got = split /\n/, plain_lsns($out);

		# One chunk of records had been read already.
		my $more = @got - @after;
		is_deeply(\@got, [ @$all[ 10 .. 9 + $more ], @after ],
			"$name: what is left is read");
		like($session{$name}->{stderr},
			qr{WARNING:  WAL before \Q$left_lsn\E was removed while it was read},
			'... with a warning');
	}
	for my $name ('given', 'gone')
	{
		$session{$name}->query('FETCH ALL FROM c');
		like($session{$name}->{stderr}, qr/ERROR:  WAL segment "\w{24}" is missing/,
			"$name: a missing segment is an error");
	}
	$_->quit for values %session;

	# If the gap is there from the start, nothing is read before it.
	my $scan = scan('0/0', $open_end);
	cmp_ok(lsn_to_int($scan->{from}), '>=', lsn_to_int($left_lsn),
		'WAL begins later from now on');
	is_deeply([ @{ $scan->{lines} }[ 0 .. $#after ] ], \@after, '... with the same records');
}

#
# Directories
#

# Reads a range in a directory: returns the records, one line each, the end LSN of
# the last one, the warnings, and the error.
sub read_directory
{
	my ($reader, $dir, $start, $end) = @_;
	my ($ret, $stdout, $stderr) = $reader->psql('postgres', <<SQL);
\\set VERBOSITY verbose
SELECT start_lsn, end_lsn FROM walredo_wal_records('$start', '$end', '$dir');
SQL
	my @lines = split /\n/, plain_lsns($stdout);
	return {
		lines => \@lines,
		to => @lines ? (split /\|/, $lines[-1])[1] : undef,
		warnings => [ $stderr =~ /WARNING:  (.*)/g ],
		error => $ret == 0 ? '' : $stderr
	};
}

my $scratch = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir());

sub copy_of
{
	my ($dir, $name) = @_;
	my $to = "$scratch/$name";
	rmtree($to);
	return copy_segments($dir, $to);
}

# Makes segments on the server, each with records up to its end.
my $growing = "$scratch/growing";
mkdir $growing;
$node->append_conf('postgresql.conf', <<CONF);
archive_mode = on
archive_command = 'cp "%p" "$growing/%f"'
max_wal_senders = 5
CONF
$node->safe_psql('postgres',
	"ALTER SYSTEM SET wal_keep_size = '1GB'; ALTER SYSTEM RESET max_wal_size");
$node->restart;

my $fill = "SELECT count(pg_logical_emit_message(false, 'f', repeat('f', 3000))) "
  . "FROM generate_series(1, 200)";

sub fill_and_switch
{
	my $server = shift;
	my $lsn = $server->safe_psql('postgres', "$fill; SELECT pg_switch_wal()");
	$lsn =~ s/.*\n//s;
	my $tli = $server->safe_psql('postgres',
		'SELECT timeline_id FROM pg_control_checkpoint()');
	my $name = segment_name($tli, $lsn);
	wait_until_archived($server, $name);
	return segment_end($lsn);
}

$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
my $first_lsn = int_to_lsn(
	int(lsn_to_int(insert_lsn()) / $segment_size) * $segment_size);
my $last_lsn;
$last_lsn = fill_and_switch($node) foreach 1 .. 4;
my $archive = copy_of($growing, 'archive');
unlink grep { m{/([0-9A-F]{24})\b} && $1 lt segment_name(1, $first_lsn) }
  glob "$archive/*";
my ($first, $second, $third, $last) = sort grep { /^[0-9A-F]{24}$/ } slurp_dir($archive);
is($first, segment_name(1, $first_lsn), 'there are four segments');
my $all = read_directory($node, $archive, '0/0', $open_end);
is_deeply($all, { lines => $all->{lines}, to => $last_lsn, warnings => [], error => '' },
	'an archive of whole segments is read, with no warning');
is_deeply($all->{lines}, scan($first_lsn, $last_lsn)->{lines}, '... as pg_wal is');
my @in_last = grep { lsn_to_int((split /\|/)[0]) >= lsn_to_int($last_lsn) - $segment_size }
  @{ $all->{lines} };
my $before_last = int_to_lsn(lsn_to_int($last_lsn) - $segment_size);

# Damaged last files.  WAL before the damage is read, and a warning names the file
# and says how far.
sub last_file
{
	my ($name, $spoil, $file, $offset, $problem) = @_;
	my $dir = copy_of($archive, 'last');
	$spoil->("$dir/$last", $dir);
	my $got = read_directory($node, $dir, '0/0', $open_end);
	my $limit = lsn_to_int($before_last) + $offset;
	my @want = grep { lsn_to_int((split /\|/)[1]) <= $limit } @{ $all->{lines} };
	is($got->{error}, '', "last file $name: no error");
	is_deeply($got->{lines}, \@want, '... what is before that is read');
	my $to = (split /\|/, $want[-1])[1];
	my ($warning) = @{ $got->{warnings} };
	if (defined $problem)
	{
		is(@{ $got->{warnings} }, 1, '... and there is a warning');
		like($warning // '', qr{^(\w+: +)?WAL was read up to \Q$to\E, .*file "\Q$file\E"( after it cannot be used)?: $problem},
			'... that says where and why');
	}
	else
	{
		is_deeply($got->{warnings}, [], '... without a warning');
	}
	return;
}

my $record = $in_last[ @in_last / 2 ];
my $start_of_record = lsn_to_int((split /\|/, $record)[0]) % $segment_size;

last_file('whole', sub { }, $last, $segment_size);
last_file('partial', sub { move($_[0], "$_[0].partial") }, "$last.partial", $segment_size);
last_file('whole and partial',
	sub { append_to_file("$_[0].partial", 'nonsense') }, $last, $segment_size);
last_file('partial, with zeroes after a record',
	sub {
		move($_[0], "$_[0].partial");
		overwrite("$_[0].partial", $start_of_record, "\0" x ($segment_size - $start_of_record));
	},
	"$last.partial", $start_of_record, 'invalid record length 0');
last_file('empty', sub { truncate($_[0], 0) }, $last, 0, 'the file ends at');
last_file('cut in its first header', sub { truncate($_[0], 30) }, $last, 0,
	'.* only 30 bytes');
last_file('cut in a page', sub { truncate($_[0], 100_000) }, $last, 100_000,
	'.* only \d+ bytes');
last_file('cut between pages', sub { truncate($_[0], 13 * 8192) }, $last,
	13 * 8192, 'the file ends at');
last_file('cut in a record', sub { truncate($_[0], $start_of_record + 10) },
	$last, $start_of_record + 10, '.* only \d+ bytes');
last_file('of zeroes', sub { overwrite($_[0], 0, "\0" x $segment_size) }, $last,
	0, '.*invalid magic number 0000');
last_file('with the contents of an old one',
	sub { copy("$_[1]/$first", $_[0]) }, $last, 0, '.*unexpected pageaddr');
last_file('with a broken record',
	sub { overwrite($_[0], $start_of_record + 20, "\1\2\3\4") }, $last,
	$start_of_record, 'incorrect checksum');
foreach my $suffix ('.xz', '.tmp', '.gz.1', '-0123abcd.gz')
{
	last_file("with suffix $suffix", sub { move($_[0], "$_[0]$suffix") },
		"$last$suffix", 0, 'its name is not that of a segment');
}
last_file('whole and compressed', sub { copy($_[0], "$_[0].gz") }, $last, $segment_size);
last_file('with a backup history file',
	sub { append_to_file("$_[0].00000028.backup", 'x'); },
	$last, $segment_size);

# A gap after which there is no plain segment
last_file('compressed, after one that is not there',
	sub { move($_[0], sprintf('%s/%s.xz', $_[1], segment_name(1, int_to_lsn(lsn_to_int($last_lsn) + $segment_size)))); },
	segment_name(1, int_to_lsn(lsn_to_int($last_lsn) + $segment_size)) . '.xz', 0,
	'its name is not that of a segment');

# Damage in a file that is not the last one is an error, and so is a segment that
# is missing in a range.
{
	my $dir = copy_of($archive, 'middle');
	truncate("$dir/$third", 100_000);
	my $got = read_directory($node, $dir, $first_lsn, $open_end);
	like($got->{error}, qr/XX001: no valid WAL record at/, 'a damaged file in the middle');

	$dir = copy_of($archive, 'middle');
	move("$dir/$third", "$dir/$third.xz");
	foreach my $end ($open_end, $last_lsn)
	{
		$got = read_directory($node, $dir, $first_lsn, $end);
		like($got->{error},
			qr/58P01: WAL segment "$third" is missing.*HINT:  There is a file "$third.xz", but it cannot be used: its name is not that of a segment/s,
			'a compressed file in the middle');
	}

	# If the start is open, WAL begins after the damage.
	$got = read_directory($node, $dir, '0/0', $open_end);
	is_deeply($got->{lines}, \@in_last, 'older segments are compressed');
	like("@{ $got->{warnings} }",
		qr{WAL is read from \Q$before_last\E on, as file "$third.xz" before it cannot be used: its name is not that of a segment},
		'... which is said');
}

# pg_wal, given as a directory, has segments after the last one that can be read.
# There is no warning about those.
{
	my $got = read_directory($node, 'pg_wal', '0/0', $open_end);
	is($got->{error}, '', 'pg_wal as a directory');
	is_deeply($got->{warnings}, [], '... gives no warning');
}

#
# Two systems' segments in one directory
#

my $other = PostgreSQL::Test::Cluster->new('other');
$other->init(extra => ['--wal-segsize=1']);
$other->append_conf('postgresql.conf', "autovacuum = off\nwal_keep_size = 1GB");
$other->start;
$other->safe_psql('postgres', 'CREATE EXTENSION walredo');
$other->safe_psql('postgres', "$fill; SELECT pg_switch_wal(); $fill; SELECT pg_switch_wal()");
{
	my $other_wal = $other->data_dir . '/pg_wal';
	my ($foreign, $foreign2) = sort grep { /^[0-9A-F]{24}$/ } slurp_dir($other_wal);
	my $next = segment_name(1, $last_lsn);

	# Other segments before and after, and of another version
	my $dir = copy_of($archive, 'two');
	copy("$other_wal/$foreign", "$dir/" . segment_name(1, int_to_lsn(lsn_to_int($first_lsn) - $segment_size)));
	copy("$other_wal/$foreign", "$dir/$foreign");
	overwrite("$dir/$foreign", 0, "\x01");
	copy("$other_wal/$foreign2", "$dir/$foreign2");
	copy("$other_wal/$foreign2", "$dir/$next");
	my $got = read_directory($node, $dir, '0/0', $open_end);
	is_deeply($got->{lines}, $all->{lines}, "this server's segments are read");
	is($got->{error}, '', '... without an error');
	like("@{ $got->{warnings} }",
		qr/file "\w+" before it cannot be used: it belongs to the database system .*file "$next" after it cannot be used: it belongs to the database system/,
		'... and it is said where there are others');

	# In a gap
	copy("$other_wal/$foreign2", "$dir/$third");
	$got = read_directory($node, $dir, $first_lsn, $last_lsn);
	like($got->{error}, qr/58P01: WAL segment "$third" is missing.*HINT: .*to the database system with identifier/s,
		'a gap with a segment of another system is a gap');

	# Each server reads the WAL of its own system.
	copy("$other_wal/$foreign", "$dir/$foreign");
	$got = read_directory($other, $dir, '0/0', $open_end);
	is($got->{error}, '', "the other server sees its own");
	is_deeply(
		$got->{lines},
		[ grep { lsn_to_int((split /\|/)[1]) < lsn_to_int($got->{to}) + 1 }
			@{ read_directory($other, $other_wal, (split /\|/, $got->{lines}[0])[0], $open_end)->{lines} } ],
		'... as in its pg_wal');
}

#
# Directories in which not everything can be used, or little
#

sub segment_after
{
	my ($lsn, $count) = @_;
	return segment_name(1, int_to_lsn(lsn_to_int($lsn) + $count * $segment_size));
}

# The records that begin in a segment or after it
sub records_from
{
	my $name = shift;
	return [ grep { segment_name(1, (split /\|/)[0]) ge $name } @{ $all->{lines} } ];
}

# None of the segments is the one that its name says.
{
	my $dir = copy_of($archive, 'misnamed');
	unlink "$dir/$_" foreach $first, $second, $last;
	my $name = segment_after($last_lsn, 6);
	my $empty = segment_after($last_lsn, 7);
	move("$dir/$third", "$dir/$name");
	foreach my $try (1, 2)
	{
		append_to_file("$dir/$empty", '') if $try == 2;
		my $got = read_directory($node, $dir, '0/0', $open_end);
		like($got->{error},
			qr/58P01: no usable WAL segments of timeline 1 in directory "\Q$dir\E".*HINT:  There is a file "$name", but it cannot be used: it still contains the WAL that was at/s,
			'an old segment under a new name only');
		$got = read_directory($node, $dir, $first_lsn, $open_end);
		like($got->{error}, qr/58P01: WAL segment "$first" is missing/,
			'... from a given start on');
	}
}

# A start after the end of WAL
{
	foreach my $start ('1/3000001', int_to_lsn(lsn_to_int($last_lsn) + $segment_size))
	{
		my $got = read_directory($node, $archive, $start, $open_end);
		my $name = segment_name(1, $start);
		like($got->{error}, qr/58P01: WAL segment "$name" is missing/,
			"a start after the end of WAL: $start");
	}
	foreach my $start ($last_lsn, int_to_lsn(lsn_to_int($last_lsn) + 40))
	{
		is_deeply(read_directory($node, $archive, $start, $open_end),
			{ lines => [], to => undef, warnings => [], error => '' },
			"a start at the end of WAL: $start");
	}
}

# A partial segment that is renamed while the reader looks for it, as pg_receivewal
# does when the segment is full.  It is a matter of chance whether the reader looks
# for it at that moment, but it has a thousand chances.
{
	my $dir = copy_of($archive, 'renamed');
	my ($whole, $part) = ("$dir/$last", "$dir/$last.partial");
	rename $whole, $part;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		for (my $until = time + 60; time < $until && !-f "$dir/stop";)
		{
			rename $part, $whole;
			usleep(300);
			link $whole, $part;
			unlink $whole;
			usleep(300);
		}
		POSIX::_exit(0);
	}
	my ($ret, $ends, $stderr) = $node->psql('postgres', <<SQL);
SET client_min_messages = error;
SELECT DISTINCT (SELECT max(end_lsn)
	FROM walredo_wal_records('$before_last', '$open_end', CASE WHEN i > 0 THEN '$dir' END))
FROM generate_series(1, 2000) i
SQL
	append_to_file("$dir/stop", '');
	waitpid $pid, 0;
	is(plain_lsns($ends) . $stderr, $last_lsn, 'a segment that is renamed meanwhile is read');
}

# Segments and history files of another system, with timelines that this system
# does not have
{
	my ($foreign) = sort grep { /^[0-9A-F]{24}$/ } slurp_dir($other->data_dir . '/pg_wal');
	$foreign = $other->data_dir . "/pg_wal/$foreign";
	my $dir = copy_of($archive, 'timelines');
	move("$dir/$_", "$dir/00000002" . substr($_, 8)) foreach $first, $second, $third, $last;
	my $of_two = read_directory($node, $dir, '0/0', $open_end);
	is_deeply($of_two->{lines}, $all->{lines}, "a restored copy's timeline is read");
	foreach my $name (map { $_ . substr($foreign, -16) } '00000005', '00000001')
	{
		copy($foreign, "$dir/$name");
		append_to_file("$dir/00000007.history", "1\t0/3000000\n") if $name =~ /^00000005/;
		is_deeply(read_directory($node, $dir, '0/0', $open_end), $of_two,
			"... also with another system's $name");
		is_deeply(read_directory($node, $dir, $first_lsn, $last_lsn)->{lines}, $all->{lines},
			'... and with a given range');
	}
}

# Another system's directory, whose first segments are damaged
{
	my $other_wal = $other->data_dir . '/pg_wal';
	my ($one, $two) = sort grep { /^[0-9A-F]{24}$/ } slurp_dir($other_wal);
	my $dir = "$scratch/damaged";
	mkdir $dir;
	copy("$other_wal/$_", "$dir/$_") foreach $one, $two;
	my $whole = read_directory($node, $dir, '0/0', $open_end);
	is($whole->{error}, '', "another system's segments");
	truncate("$dir/$one", 0);
	my $got = read_directory($node, $dir, '0/0', $open_end);
	is($got->{error}, '', '... of which the first is empty');
	is($got->{to}, $whole->{to}, '... are read to the same end');
	like("@{ $got->{warnings} }", qr/as file "$one" before it cannot be used: it is empty/,
		'... and it is said that it is');
	truncate("$dir/$two", 10);
	$got = read_directory($node, $dir, '0/0', $open_end);
	like($got->{error}, qr/XX001: invalid WAL segment "$one"/, '... or none is whole');
}

# WAL begins after a gap, or after a truncated segment.
foreach my $end ($open_end, $last_lsn)
{
	my $dir = copy_of($archive, 'gap');
	unlink "$dir/$second";
	my $from = int_to_lsn(lsn_to_int($before_last) - $segment_size);
	my $got = read_directory($node, $dir, '0/0', $end);
	is($got->{error}, '', 'WAL from after a gap on');
	is_deeply($got->{lines}, records_from($third), '... is read');
	is(scalar(@{ $got->{warnings} }), 1, '... with one warning');
	like($got->{warnings}[0],
		qr{WAL is read from \Q$from\E on, as segment "$second" before it is missing},
		'... which names what is missing');

	foreach my $cut ($first, $second)
	{
		foreach my $length (0, 100_000)
		{
			$dir = copy_of($archive, 'cut');
			truncate("$dir/$cut", $length);
			$got = read_directory($node, $dir, '0/0', $end);
			my $after = $cut eq $first ? $second : $third;
			is($got->{error}, '', "WAL from after a segment of $length bytes on");
			is_deeply($got->{lines}, records_from($after), '... is read');
			is(scalar(@{ $got->{warnings} }), 1, '... with one warning');
			my $problem = $length ? 'it is shorter than a segment' : 'it is empty';
			like($got->{warnings}[0], qr/as file "$cut" before it cannot be used: $problem/,
				'... which names it');
		}
	}
}

# After the last segment, something that is not a file, or cannot be opened
foreach my $kind ('directory', 'FIFO', 'dangling link', 'link to itself')
{
	my $dir = copy_of($archive, 'nofile');
	my $name = segment_after($last_lsn, 0);
	if ($kind eq 'directory') { mkdir "$dir/$name" }
	elsif ($kind eq 'FIFO') { POSIX::mkfifo("$dir/$name", 0700) }
	else { symlink $kind eq 'dangling link' ? 'nowhere' : $name, "$dir/$name" }

	my $got = read_directory($node, $dir, '0/0', $open_end);
	is($got->{error}, '', "a $kind after the last segment");
	is_deeply($got->{lines}, $all->{lines}, '... all is read');
	like("@{ $got->{warnings} }", qr/as file "$name" after it cannot be used: it (?:is not a regular file|cannot be opened)/,
		'... and the file is named');

	# The search for an error message does not replace the error.
	my ($ret, $stdout, $stderr) = $node->psql('postgres',
		"SELECT walredo_page_at('rel 1663/5/99999 blk 0', '$before_last', NULL, '$dir')");
	like($stderr, qr/cannot rebuild rel /, '... which is nothing to an error message')
}

# Names that no segment has
{
	my $dir = copy_of($archive, 'names');
	my $name = segment_after($last_lsn, 0);
	copy("$dir/$last", "$dir/$name.$_") || die "copy: $!" foreach "x\xff", "x\nLOG:  x", 'a b';

	# This name's segment number is too large; the page has the address that
	# is left of it.
	copy("$dir/$last", "$dir/00000001FFFFFFFFFFFFFFFF");
	overwrite("$dir/00000001FFFFFFFFFFFFFFFF", 8, pack('L2', 0xFFF00000, 0x000FFFFE));
	is_deeply(read_directory($node, $dir, '0/0', $open_end), $all,
		'names that nobody gives a segment are passed over');
}

#
# Timelines of several servers of one system
#

$node->backup('b');
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($node, 'b', has_streaming => 1);
my $clone_archive = "$scratch/clone";
mkdir $clone_archive;
$clone->append_conf('postgresql.conf',
	qq{archive_command = 'cp "%p" "$clone_archive/%f"'});
$clone->start;
my $common = insert_lsn();
$node->safe_psql('postgres',
	"CREATE TABLE kept AS SELECT 1 AS i; $fill; CHECKPOINT");
my $target = insert_lsn();
$node->safe_psql('postgres', $fill);
$node->wait_for_catchup($clone);
$clone->promote;
my $clone_end;
$clone_end = fill_and_switch($clone) foreach 1 .. 2;
my $node_end;
$node_end = fill_and_switch($node) foreach 1 .. 4;
$clone->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_ls_archive_statusdir() WHERE name ~ 'ready'");

my ($switch) =
  plain_lsns(slurp_file("$clone_archive/00000002.history")) =~ /^1\t(\S+)/m;
my $partial = segment_name(1, $switch) . '.partial';
ok(-f "$clone_archive/$partial", 'a promotion has left a partial segment');

sub records_of
{
	my ($server, $start, $end) = @_;
	return [
		split /\n/,
		plain_lsns(
			$server->safe_psql('postgres',
				"SELECT start_lsn, end_lsn FROM walredo_wal_records('$start', '$end')"))
	];
}
my $of_node = records_of($node, $common, $node_end);
my $of_clone = records_of($clone, $common, $clone_end);
my @of_both = grep { lsn_to_int((split /\|/)[1]) <= lsn_to_int($switch) } @$of_node;
cmp_ok(scalar(@of_both), '>', 100, 'there are records before the switch');

# One archive for all: each server follows its own timeline.
{
	my $dir = copy_of($growing, 'one');
	copy("$clone_archive/$_", "$dir/$_") foreach slurp_dir($clone_archive);
	is_deeply(read_directory($node, $dir, $common, $node_end)->{lines},
		$of_node, 'the old timeline is followed by the server that is on it');
	my $got = read_directory($node, $dir, $common, $open_end);
	is_deeply($got->{lines}, $of_node, '... up to its end');
	is_deeply($got->{warnings}, [], '... which is clean');
	is_deeply(read_directory($clone, $dir, $common, $clone_end)->{lines},
		$of_clone, 'the new timeline is followed by the server that is on it');

	# Its history file may be in pg_wal only, but one in the archive must not be
	# another server's.
	unlink "$dir/00000002.history";
	is_deeply(read_directory($clone, $dir, $common, $clone_end)->{lines},
		$of_clone, '... also without its history file there');
	append_to_file("$dir/00000002.history", "1\t0/1234568\tanother promotion\n");
	$got = read_directory($clone, $dir, $common, $clone_end);
	like($got->{error}, qr/XX001: history of timeline 2 in directory ".*" is not this server's/,
		'... and not with the history of another timeline 2');
	is_deeply(read_directory($node, $dir, $common, $node_end)->{lines},
		$of_node, '... which is nothing to a server on timeline 1');
}

# Only segments of parent timelines, of which the last one may be partial
{
	my $dir = copy_of($growing, 'parents');
	my $got = read_directory($clone, $dir, $common, $open_end);
	is_deeply($got->{lines}, \@of_both, 'the old timeline is read up to the switch');
	my $missing = segment_name(2, $switch);
	like("@{ $got->{warnings} }",
		qr{WAL was read up to \Q$switch\E, as segment "$missing" is missing},
		'... where the new one is missing');

	unlink grep { m{/([0-9A-F]{24})} && $1 ge segment_name(1, $switch) } glob "$dir/*";
	copy("$clone_archive/$partial", "$dir/$partial");
	foreach my $server ($node, $clone)
	{
		$got = read_directory($server, $dir, $common, $open_end);
		is_deeply($got->{lines}, \@of_both, 'the partial one is read up to the switch');
		is(scalar(@{ $got->{warnings} }), 1, '... with a warning');
	}
}

# There is no segment of the server's timeline, so the newest one is followed
{
	my $dir = copy_of($clone_archive, 'newest');
	unlink "$dir/$partial";
	my $got = read_directory($node, $dir, int_to_lsn(lsn_to_int($clone_end) - $segment_size), $open_end);
	is($got->{error}, '', "only another timeline's segments are there");
	is($got->{to}, $clone_end, '... which are read');
}

# Histories in which LSNs do not rise.  A server that is restored to a point before
# its promotion, and promoted again, has left timeline 2 before that began, or at
# the same LSN.  And history files that are odd, but that the server accepts.
foreach my $text (
	"1\t" . int_to_lsn(lsn_to_int($switch) + 3 * $segment_size) . "\n2\t$switch\n",
	"1\t$switch\n2\t$switch\n",
	"0\t0/28\r\n\n# comment\n 1\t$switch of\0no interest\r\n\0\n 2 $switch")
{
	my $dir = copy_of($growing, 'back');
	unlink grep { m{/00000001(\w+)} && "00000001$1" gt segment_name(1, $switch) } glob "$dir/*";
	foreach my $name (grep { /^00000002[0-9A-F]{16}$/ } slurp_dir($clone_archive))
	{
		copy("$clone_archive/$name", "$dir/00000003" . substr($name, 8));
	}
	append_to_file("$dir/00000003.history", $text);

	# A server of another system follows the newest timeline.
	my $got = read_directory($other, $dir, $common, $clone_end);
	is_deeply($got->{lines}, $of_clone, 'a history that goes back')
	  or diag($got->{error});

	# If the timeline's first file is missing, the parent's file can be used up to
	# the switch, although the parent went on.  A timeline on which there is no
	# LSN still has a copy of the parent's WAL in its first file.
	my $name = segment_name(3, $switch);
	rename "$dir/$name", "$scratch/$name";
	foreach my $tli (1, 2)
	{
		if ($tli == 2)
		{
			next if $text =~ /^1.*\n2\t/ && $text !~ /^1\t$switch/;
			rename "$scratch/$name", "$dir/" . segment_name(2, $switch);
			unlink "$dir/" . segment_name(1, $switch);
		}
		$got = read_directory($other, $dir, $common, $switch);
		is_deeply($got->{lines}, \@of_both, "... of timeline $tli up to the switch")
		  or diag($got->{error});
		$got = read_directory($other, $dir, $common, $clone_end);
		like($got->{error}, qr/58P01: WAL segment "$name" is missing/,
			'... and no further');
	}
}

# A server that has such a history: it is restored from the same backup to a point
# before the promotion, follows the latest timeline, as recovery does, and is
# promoted.
{
	my $dir = copy_of($growing, 'restore');
	copy("$clone_archive/$_", "$dir/$_") foreach slurp_dir($clone_archive);
	my $again = PostgreSQL::Test::Cluster->new('again');
	$again->init_from_backup($node, 'b');
	$again->append_conf('postgresql.conf', <<CONF);
restore_command = 'cp "$dir/%f" "%p"'
archive_command = 'cp "%p" "$dir/%f"'
recovery_target_lsn = '$target'
recovery_target_action = promote
CONF
	$again->set_recovery_mode;
	$again->start;
	$again->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()')
	  or die 'not promoted';
	my ($left) = plain_lsns(slurp_file($again->data_dir . '/pg_wal/00000003.history')) =~ /^2\t(\S+)/m;
	cmp_ok(lsn_to_int($left), '<', lsn_to_int($switch), 'timeline 2 was left before it began');
	my $end = fill_and_switch($again);

	my $of_again = records_of($again, $common, $end);
	my @before = grep { lsn_to_int((split /\|/)[1]) <= lsn_to_int($left) } @$of_node;
	is_deeply([ @$of_again[ 0 .. $#before ] ], \@before, '... which its server reads');
	is(plain_lsns((split /\|/, $of_again->[-1])[1]), $end, '... to the end');
	is_deeply(read_directory($again, $dir, $common, $end)->{lines}, $of_again,
		'... also where all have archived to');
	is($again->safe_psql('postgres', "SELECT status FROM walredo_verify('kept')"),
		'ok', '... and verifies a table with');
	$again->stop;
}

$_->stop foreach $node, $other, $clone;
done_testing();
