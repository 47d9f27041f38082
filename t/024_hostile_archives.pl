# Archives that somebody has damaged, or made in order to do harm: compressed files
# that are cut, mixed up, or enormous when they are decompressed; files of other
# types; any number of files, and names of any form; headers that lie.
#
# Whatever is in a directory, each query ends in time with the right answer or with
# an error that is documented, the backend's memory stays bounded, and no descriptor
# is left open.
#
# HOSTILE_SECONDS is for how long directories are made at random, at least, 15 if it
# is not set.  HOSTILE_SEED is where their numbers begin; a failure is reported with the
# number of the directory, which is kept if HOSTILE_KEEP is set to the path of a
# directory that is not there yet.
#
# Seen to fail: with contents longer than a segment, compressed data that is cut off,
# or any window accepted; with no second member; with files that are not regular
# ones read; and before a link to itself had a code of its own.

use Cwd qw(getcwd);
use File::Copy qw(copy);
use File::Path qw(make_path rmtree);
use POSIX qw(mkfifo);
use Time::HiRes qw(time);
use WalredoArchives;
use WalredoTest;
no warnings 'portable';    # 64-bit integers

my $seconds = $ENV{HOSTILE_SECONDS} || 15;
my $least = 40;    # directories, however long they take
my $seed = $ENV{HOSTILE_SEED} || 1;
my $scratch = PostgreSQL::Test::Utils::tempdir();
$scratch = getcwd() . "/$scratch" if $scratch !~ m{^/};

# The largest window of zstd that is accepted takes 128 MB, and there are two
# decompressors in a query.  The rest is for the server itself.
my $memory_limit = 350 * 1024 * 1024;

#
# WAL, and what is in it
#

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--wal-segsize=1']);
my $plain = directory('plain');
$node->append_conf('postgresql.conf', <<CONF);
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 1GB
shared_buffers = 4MB
shared_preload_libraries = 'walredo'
wal_level = replica
archive_mode = on
archive_command = 'cp %p $plain/%f'
statement_timeout = 120s
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE t (i int PRIMARY KEY, t text);
CREATE TABLE filler (t text);
SQL
my $start = $node->safe_psql('postgres',
	'CHECKPOINT; SELECT pg_switch_wal(); SELECT pg_current_wal_insert_lsn()');
$start =~ s/.*\n//s;
$node->safe_psql('postgres', <<'SQL');
INSERT INTO t SELECT g, md5(g::text) || repeat('x', g % 200)
	FROM generate_series(1, 3000) g;
VACUUM t;
INSERT INTO filler SELECT repeat(md5(g::text), 30) FROM generate_series(1, 2500) g;
UPDATE t SET t = t || 'y' WHERE i % 30 = 0;
SELECT pg_logical_emit_message(false, 'long', repeat('l', 1500000));
INSERT INTO filler SELECT repeat(md5(g::text), 30) FROM generate_series(1, 700) g;
DELETE FROM t WHERE i % 50 = 0;
SQL
my ($end, $last) = split /\|/, $node->safe_psql('postgres', <<'SQL');
SELECT lsn, pg_walfile_name(lsn) FROM pg_current_wal_insert_lsn() AS lsn \gset
SELECT pg_switch_wal() AS switched \gset
SELECT :'lsn', :'pg_walfile_name';
SQL
wait_until_archived($node, $last);

# Older ones are not needed.
my @segments = grep { $_ ge segment_name(1, $start) } sort(slurp_dir($plain));
my $good = directory('good');
copy("$plain/$_", "$good/$_") foreach @segments;
cmp_ok(scalar(@segments), '>', 5, 'there are several segments');

# A function that queries a directory, and says what came of each query: "right",
# "WRONG", or the error.  What it compares with is read from the plain segments.
$node->safe_psql('postgres', <<SQL);
CREATE TABLE page AS
SELECT tag, manager, blkno, walredo_page_at(tag, '$end', NULL, '$good') AS page
FROM (VALUES (walredo_tag('t', 0), 'Heap', 0),
	(walredo_tag('t', 'vm', 0), NULL, 0),
	(walredo_tag('t_pkey', 3), 'Btree', 3),
	(walredo_tag('filler', 100), 'Heap', 100)) AS tags(tag, manager, blkno);
CREATE TABLE entry AS
SELECT row_number() OVER (ORDER BY start_lsn) AS n, w.*
FROM walredo_wal_records('$start', '$open_end', '$good') AS w;

CREATE FUNCTION compare_entries(directory text, up_to pg_lsn) RETURNS text
LANGUAGE sql AS \$\$
	SELECT CASE WHEN count(*) FILTER (WHERE
				e.n IS NULL OR e.end_lsn <> r.end_lsn OR e.rec <> r.rec) > 0
			OR count(*) < count(DISTINCT r.start_lsn)
			OR max(e.n) <> count(*)
			OR up_to = '$end' AND count(*) <>
				(SELECT count(*) FROM entry WHERE end_lsn <= up_to)
		THEN 'WRONG' ELSE 'right' END
	FROM walredo_wal_records('$start', up_to, directory) AS r
		LEFT JOIN entry AS e USING (start_lsn)
\$\$;

-- A page that comes from the server has hint bits, for example, and a map has no
-- LSN of its own.
CREATE FUNCTION compare_page(p page, got bytea) RETURNS text
LANGUAGE sql AS \$\$
	SELECT CASE WHEN CASE WHEN p.manager IS NULL
			THEN substr(p.page, 25) = substr(got, 25)
			ELSE walredo_page_mask(p.manager, p.page, p.blkno) =
				walredo_page_mask(p.manager, got, p.blkno) END
		THEN 'right' ELSE 'WRONG' END
\$\$;

CREATE FUNCTION probe(directory text, OUT query text, OUT answer text)
RETURNS SETOF record LANGUAGE plpgsql AS \$\$
DECLARE
	p page;
BEGIN
	FOR p IN SELECT * FROM page LOOP
		query := p.tag;
		BEGIN
			answer := compare_page(p,
				walredo_page_at(p.tag, '$end', NULL, directory));
		EXCEPTION WHEN OTHERS THEN
			answer := SQLSTATE || ': ' || SQLERRM;
		END;
		RETURN NEXT;
	END LOOP;
	query := 'records';
	BEGIN
		answer := compare_entries(directory, '$end');
	EXCEPTION WHEN OTHERS THEN
		answer := SQLSTATE || ': ' || SQLERRM;
	END;
	RETURN NEXT;
	query := 'records to the end';
	BEGIN
		answer := compare_entries(directory, '$open_end');
	EXCEPTION WHEN OTHERS THEN
		answer := SQLSTATE || ': ' || SQLERRM;
	END;
	RETURN NEXT;
	query := 'range';
	BEGIN
		PERFORM * FROM walredo_wal_range(directory);
		answer := 'right';
	EXCEPTION WHEN OTHERS THEN
		answer := SQLSTATE || ': ' || SQLERRM;
	END;
	RETURN NEXT;
END
\$\$;
VACUUM ANALYZE;
SQL

# The error codes that docs/reference.md lists for reading WAL.  A directory that
# the server's user cannot read has the code of the system's error.
my $documented = qr/^(?:22023|42809|42501|42622|54000|58P01|XX001): /;
my $log_from = -s $node->logfile;

#
# Helpers
#

sub directory
{
	my $dir = "$scratch/" . shift;

	make_path($dir);
	return $dir;
}

# A new directory with all segments, compressed in one way, or plain.
my %compressed;
sub archive
{
	my ($name, $compression) = @_;
	my $dir = directory($name);
	my $from = $good;
	my $suffix = '';

	if (defined $compression)
	{
		$compressed{$compression} //=
		  compressed_copy($compression, $good, directory("good_$compression"));
		$from = $compressed{$compression};
		$suffix = ".$compression";
	}
	foreach my $segment (@segments)
	{
		copy("$from/$segment$suffix", "$dir/$segment$suffix")
		  or die "could not copy $segment: $!";
	}
	return $dir;
}

# Queries some directories, in one session.  Returns what came of it, as a hash of
# hashes of answers by query, and the peak of the backend's memory, in bytes.
sub probe
{
	my @directories = @_;
	my $sql = "SET client_min_messages = error;\n";
	my %answers;

	foreach my $i (0 .. $#directories)
	{
		my $directory = $directories[$i] =~ s/'/''/gr;

		$sql .= "SELECT $i, query, translate(answer, E'\\n', ' '), "
		  . "extract(epoch FROM clock_timestamp() - statement_timestamp()) "
		  . "FROM probe('$directory');\n";
	}
	$sql .= "CREATE TEMP TABLE fd (target text);\n"
	  . "COPY fd FROM PROGRAM 'readlink /proc/\$PPID/fd/*; true';\n"
	  . "SELECT 'fd', target FROM fd WHERE target LIKE '$scratch/%';\n"
	  . "SELECT 'memory', substring(pg_read_file('/proc/self/status') "
	  . "FROM 'VmHWM:\\s+(\\d+)')::int8 * 1024;\n";
	my ($stdout, $stderr) = ask($node, 'postgres', $sql, on_error_stop => 0);
	diag($stderr) if $stderr ne '';
	my @fds = $stdout =~ /^fd\|(.*)$/mg;
	my ($memory) = $stdout =~ /^memory\|(\d+)$/m;
	while ($stdout =~ /^(\d+)\|(.*?)\|(.*)\|([\d.]+)$/mg)
	{
		$answers{ $directories[$1] }->{$2} = $3;
		$answers{ $directories[$1] }->{seconds} = $4;
	}
	foreach my $directory (@directories)
	{
		$answers{$directory}->{complaint} = $stderr if $stderr ne '';
	}
	if (@fds)
	{
		diag("left open: @fds");
		$memory = -1;
	}
	return (\%answers, $memory // -1);
}

# What is not as it should be in the answers for a directory: neither right nor a
# documented error, or not right although it should be, or the contrary.  The
# latter is for records only, since a page can come from the server itself if it
# has not changed since.
sub complaints
{
	my ($answers, $expected) = @_;
	my @complaints;

	push @complaints, "no answer: " . ($answers->{complaint} // '')
	  if keys %$answers < 8;
	foreach my $query (sort keys %$answers)
	{
		my $answer = $answers->{$query};
		my $is_records = $query =~ /^records/;

		next if $query =~ /^(?:seconds|complaint)$/;
		push @complaints, "$query: $answer"
		  if $answer ne 'right' && $answer !~ $documented
		  || $expected eq 'right' && $answer ne 'right'
		  || $expected eq 'error' && $is_records && $answer eq 'right'
		  || ref $expected && $is_records && $answer !~ $expected;
	}
	return join("\n", @complaints);
}

# Tests one directory, which is removed.  What is expected is "right", "error",
# "either", or what all answers about records look like.
sub hostile_ok
{
	my ($name, $expected, @directories) = @_;
	my ($answers, $memory) = probe(join ':', @directories);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($answer) = values %$answers;
	is(complaints($answer, $expected), '', $name);
	ok($memory > 0 && $memory < $memory_limit, '... with bounded memory')
	  or diag("$memory bytes");
	note(sprintf '%s: %.1f s, %d MB; %s',
		$name, $answer->{seconds} // -1, $memory / 1024 / 1024,
		$answer->{records} // 'none');
	rmtree($_) foreach grep { m{^/} && $_ !~ m{/good} } @directories;
	return;
}

# A file of so many equal parts.
sub repeated_file
{
	my ($file, $part, $count) = @_;

	open my $fh, '>:raw', $file or die "could not open $file: $!";
	print $fh $part foreach 1 .. $count;
	close $fh or die "could not write $file: $!";
	return;
}

hostile_ok('segments as they are', 'right', archive('plain_copy'));
foreach my $compression (@compressions)
{
	hostile_ok("segments compressed: $compression",
		'right', archive("copy_$compression", $compression));
}
my $middle = $segments[2];

#
# Decompression bombs
#

# 10 GB of zeroes in each format, most of them in several parts.
my %zeroes;
my $hundred_mb = "$scratch/zeroes";
write_file($hundred_mb, '');
truncate($hundred_mb, 100 * 1024 * 1024) or die "truncate: $!";
foreach my $compression (@compressions)
{
	compress_file($compression, $hundred_mb, "$scratch/zeroes.$compression");
	$zeroes{$compression} = slurp_file("$scratch/zeroes.$compression");
}
unlink $hundred_mb;
foreach my $compression (@compressions)
{
	my $dir = archive('bomb', $compression);

	repeated_file("$dir/$middle.$compression", $zeroes{$compression}, 100);
	hostile_ok("bomb instead of a segment: $compression",
		qr/^(?:XX001|58P01|22023): /, $dir);

	$dir = archive('bomb', $compression);
	repeated_file("$scratch/tail", $zeroes{$compression}, 100);
	write_file("$dir/$middle.$compression",
		slurp_file("$dir/$middle.$compression") . slurp_file("$scratch/tail"));
	unlink "$scratch/tail";
	hostile_ok("bomb after a segment: $compression",
		qr/^(?:XX001|58P01|22023): /, $dir);

	# All of them are bombs.
	$dir = directory('bomb');
	foreach my $segment (@segments)
	{
		repeated_file("$dir/$segment.$compression", $zeroes{$compression}, 100);
	}
	hostile_ok("nothing but bombs: $compression", 'error', $dir);

	# A history file, which is read as a whole.
	$dir = archive('bomb', $compression);
	repeated_file("$dir/00000001.history.$compression",
		$zeroes{$compression}, 100);
	repeated_file("$dir/00000002.history.$compression",
		$zeroes{$compression}, 100);
	hostile_ok("bomb as a history file: $compression", 'either', $dir);
}

# A segment of 1 GB, says its first page; and a file without an end.
{
	my $dir = directory('large');
	my $page = substr slurp_file("$good/$segments[0]"), 0, $page_size;

	substr($page, 32, 4) = pack 'L', 1024 * 1024 * 1024;
	substr($page, 8, 8) = pack 'Q', 1024 * 1024 * 1024;
	write_file("$scratch/first", $page);
	compress_file('zst', "$scratch/first", "$scratch/first.zst");
	write_file("$dir/000000010000000000000001.zst",
		slurp_file("$scratch/first.zst") . $zeroes{zst} x 10);
	hostile_ok('a segment of 1 GB', 'error', $dir);
}
{
	my $dir = archive('sparse');

	truncate("$dir/$middle", 2**42) or die "truncate: $!";
	hostile_ok('a file of 4 TB', 'either', $dir);
}

#
# Windows of zstd
#

# A frame of zstd with uncompressed blocks, which says how large a window is
# needed.
sub zstd_frame
{
	my ($window_log, $contents) = @_;
	my $frame = pack 'LCC', 0xFD2FB528, 0, ($window_log - 10) << 3;
	my $block_size = 100_000;

	for (my $at = 0; $at < length $contents; $at += $block_size)
	{
		my $block = substr $contents, $at, $block_size;
		my $is_last = $at + $block_size >= length $contents;

		$frame .=
		  substr(pack('L', ($is_last ? 1 : 0) | length($block) << 3), 0, 3)
		  . $block;
	}
	return $frame;
}

foreach my $window_log (20, 27, 28, 41)
{
	my $dir = directory('window');

	foreach my $segment (@segments)
	{
		write_file("$dir/$segment.zst",
			zstd_frame($window_log, slurp_file("$good/$segment")));
	}
	hostile_ok("a window of 2^$window_log bytes",
		$window_log <= 27 ? 'right' : 'error', $dir);
}

#
# Frames
#

foreach my $compression (@compressions)
{
	# Members one after the other, with an empty one before and after.
	my $dir = directory('members');

	write_file("$scratch/empty", '');
	compress_file($compression, "$scratch/empty", "$scratch/empty.c");
	my $empty = slurp_file("$scratch/empty.c");
	foreach my $segment (@segments)
	{
		my $contents = slurp_file("$good/$segment");
		my $compressed = $empty;

		foreach my $length (1, 39, 8193, 100_000, 900_000, length $contents)
		{
			write_file("$scratch/part", substr $contents, 0, $length, '');
			compress_file($compression, "$scratch/part", "$scratch/part.c");
			$compressed .= slurp_file("$scratch/part.c");
			last if $contents eq '';
		}
		write_file("$dir/$segment.$compression", $compressed . $empty);
	}
	hostile_ok("several members: $compression", 'right', $dir);

	# Something after the last one
	foreach my $tail ("\0" x 1000, 'garbage')
	{
		$dir = archive('tail', $compression);
		append_to_file("$dir/$middle.$compression", $tail);
		hostile_ok(
			sprintf('%d bytes after the end: %s', length $tail, $compression),
			'either', $dir);
	}

	# Cut at every kind of place
	foreach my $left (0, 4, 1000, -5000, -1)
	{
		$dir = archive('cut', $compression);
		my $size = $left >= 0 ? 0 : -s "$dir/$middle.$compression";

		truncate("$dir/$middle.$compression", $size + $left)
		  or die "truncate: $!";
		hostile_ok("cut at $left: $compression", 'error', $dir);
	}

	# Compressed twice, and under the name of another compression
	$dir = archive('twice', $compression);
	compress_file($compression, "$dir/$middle.$compression", "$scratch/twice.c");
	copy("$scratch/twice.c", "$dir/$middle.$compression") or die "copy: $!";
	hostile_ok("compressed twice: $compression", 'error', $dir);
	$dir = directory('names');
	copy("$compressed{$compression}/$_.$compression", "$dir/$_.gz")
	  or die "copy: $!"
	  foreach @segments;
	hostile_ok("another name: $compression", 'right', $dir);
}

#
# Files of other types
#

my %types = (
	'a FIFO' => sub { mkfifo(shift, 0700) or die "mkfifo: $!" },
	'a directory' => sub { mkdir shift or die "mkdir: $!" },
	'a dangling link' => sub { symlink('/nonexistent', shift) or die "symlink: $!" },
	'a link to itself' => sub { my $file = shift; symlink($file, $file) or die "symlink: $!" },
	'a link to a device' => sub { symlink('/dev/zero', shift) or die "symlink: $!" },
	'a link to a terminal' => sub { symlink('/dev/tty', shift) or die "symlink: $!" },
	'a link to another segment' =>
	  sub { symlink("$good/$segments[0]", shift) or die "symlink: $!" },
	'a file without permissions' => sub {
		my $file = shift;
		write_file($file, 'x');
		chmod 0, $file or die "chmod: $!";
	});
foreach my $type (sort keys %types)
{
	foreach my $suffix ('', '.zst')
	{
		my $dir = archive('type');

		unlink "$dir/$middle" or die "unlink: $!";
		$types{$type}->("$dir/$middle$suffix");
		$types{$type}->("$dir/00000003.history$suffix");
		$types{$type}->("$dir/0000000100000000");
		hostile_ok("$type: $suffix", 'error', $dir);
	}
	my $dir = archive('type');
	$types{$type}->("$dir/$middle.zst");
	$types{$type}->("$dir/$last.gz");
	hostile_ok("$type besides the segment", 'right', $dir);
}

#
# Names, and their number
#

{
	my $dir = archive('names');

	foreach my $name (
		"a\nb", "$middle\n", "$middle.gz\n", '%s%n%x', "'; DROP TABLE t; --",
		'x' x 250, $middle . 'x' x 220, "$middle." . 'g' x 225,
		"$middle-" . 'a' x 40 . '.gz', "$middle-" . 'a' x 39 . '.gz',
		"$middle.\x{e4}", "$middle.\x1b[2J", "\L$segments[-1]\E.zst", '0' x 24, 'F' x 24,
		'F' x 24 . '.zst', '0' x 8 . 'F' x 16, '00000001' . 'F' x 16 . '.bz2',
		'000000010000000000000FFF.partial', "$middle.00000028.backup",
		"$middle.00000028.backup.gz", "$middle.partial.partial",
		"$middle.gz.partial.gz", '00000000.history', 'FFFFFFFF.history',
		'FFFFFFFF.history.gz', '00000001.history', '0000000G.history',
		'00000001.historyx', '00000001.history.gz.zst')
	{
		write_file("$dir/$name", 'hostile');
	}
	make_path("$dir/" . 'F' x 16, "$dir/" . '0' x 16, "$dir/0000000100000000");
	write_file("$dir/0000000100000000/$segments[1]", 'hostile');
	write_file("$dir/0000000100000000/$segments[1].zst", '');
	hostile_ok('names of all sorts', 'right', $dir);
}
{
	my $dir = archive('many');

	foreach my $i (1 .. 100_000)
	{
		my $name = $i % 5 == 0 ? "nothing$i"
		  : $i % 5 == 1 ? sprintf('00000001%08X%08X', $i, $i % 4096)
		  : $i % 5 == 2 ? sprintf('%s.%d.tmp', $middle, $i)
		  : $i % 5 == 3 ? sprintf('%08X0000000000000002.zst', $i)
		  : sprintf('%08X.history', $i);

		open my $fh, '>', "$dir/$name" or die "could not open $name: $!";
		close $fh;
	}
	hostile_ok('100,000 files', 'right', $dir);
}
{
	# Thousands of files of one segment, before the one that is good
	my $dir = archive('candidates', 'zst');

	foreach my $i (1 .. 5_000)
	{
		write_file(sprintf("%s/%s-%040x.gz", $dir, $middle, $i),
			"\x1f\x8bnot gzip");
	}
	hostile_ok('5,000 files of a segment', 'right', $dir);
}
{
	my $dir = archive('folders');

	foreach my $i (1 .. 3_000)
	{
		mkdir sprintf('%s/%016X', $dir, $i) or die "mkdir: $!";
	}
	symlink('.', "$dir/0000000100000000") or die "symlink: $!";
	symlink('/', "$dir/0000000100000001") or die "symlink: $!";
	hostile_ok('folders', 'right', $dir);
}

# The list itself
my %lists = (
	'' => 'error',
	':' => 'error',
	"$good:" => 'error',
	":$good" => 'error',
	"$good\::$good" => 'error',
	'/nonexistent' => 'error',
	"$good:/nonexistent" => 'error',
	"/dev/null" => 'error',
	"$good/$middle" => 'error',
	"$scratch/" . 'x' x 2000 => 'error',
	join(':', ($good) x 1000) => 'right',
	join(':', ($good) x 70_000) => 'error',
	"$good/../good/./" => 'right',
	"$good:'" => 'error',
	'$pg_wal/x' => 'error');
foreach my $list (sort { length $a <=> length $b } keys %lists)
{
	hostile_ok('list of directories: ' . substr($list, 0, 100),
		$lists{$list}, $list);
}

#
# Headers
#

# Where the fields are, and what they could be.
my %fields = (
	magic => [ 0, 'S', 0, 0xD099, 0xD110, 0xFFFF ],
	info => [ 2, 'S', 0, 1, 0xFFFF ],
	timeline => [ 4, 'L', 0, 2, 0xFFFFFFFF ],
	address =>
	  [ 8, 'Q', 0, 1, 8192, 0xFFFFFFFF00000000, 0xFFFFFFFFFFF00000, ~0 ],
	rest => [ 16, 'L', 1, 0x7FFFFFFF, 0xFFFFFFFF ],
	system => [ 24, 'Q', 0, 1, ~0 ],
	segment_size => [ 32, 'L', 0, 1, 2**20 - 1, 2**21, 2**30, 2**31, 2**32 - 1 ],
	block_size => [ 36, 'L', 0, 1, 4096, 2**32 - 1 ]);
foreach my $field (sort keys %fields)
{
	my ($offset, $type, @values) = @{ $fields{$field} };

	foreach my $i (0 .. $#values)
	{
		my $dir = archive('header', 'lz4');
		my $which = $i % 2 ? $middle : $segments[0];
		my $contents = slurp_file("$good/$which");
		my $packed = pack $type, $values[$i];

		substr($contents, $offset, length $packed) = $packed;
		write_file("$scratch/changed", $contents);
		compress_file('lz4', "$scratch/changed", "$dir/$which.lz4");

		# A page does not need all of the segments.
		hostile_ok("$field is $values[$i] in $which", 'either', $dir);
	}
}

# The last segment that there can be.
{
	my $dir = directory('end');
	my $contents = slurp_file("$good/$segments[0]");

	for (my $at = 0; $at < length $contents; $at += $page_size)
	{
		substr($contents, $at + 8, 8) =
		  pack 'Q', 0xFFFFFFFFFFF00000 + $at;
	}
	write_file("$dir/00000001FFFFFFFF00000FFF", $contents);
	hostile_ok('the last segment', 'error', $dir);
}

#
# At random
#

sub random_bytes
{
	return join '', map { chr int rand 256 } 1 .. shift;
}

# Some file of a directory, and a place in it.
sub some_file
{
	my $dir = shift;
	my @files = grep { -f "$dir/$_" } sort(slurp_dir($dir));

	return undef if !@files;
	my $file = "$dir/$files[rand @files]";
	return ($file, int rand((-s $file) + 1));
}

# What can be done to a directory.  All of them take its name.
my @damages = (
	sub {    # a byte changed
		my ($file, $at) = some_file(shift);
		overwrite($file, $at, random_bytes(1)) if -s $file > $at;
	},
	sub {    # bytes changed, near the beginning
		my ($file) = some_file(shift);
		overwrite($file, int rand 64, random_bytes(1 + rand 8))
		  if -s $file > 100;
	},
	sub {    # cut
		my ($file, $at) = some_file(shift);
		truncate($file, $at);
	},
	sub {    # a part left out
		my ($file, $at) = some_file(shift);
		my $contents = slurp_file($file);
		substr($contents, $at, 1 + rand 10000) = '' if $at < length $contents;
		write_file($file, $contents);
	},
	sub {    # something put in, or appended
		my ($file, $at) = some_file(shift);
		my $contents = slurp_file($file);
		substr($contents, rand 2 > 1 ? $at : length $contents, 0) =
		  random_bytes(1 + rand 1000);
		write_file($file, $contents);
	},
	sub {    # two files swapped
		my $dir = shift;
		my ($a) = some_file($dir);
		my ($b) = some_file($dir);
		rename($a, "$dir/swap");
		rename($b, $a);
		rename("$dir/swap", $b);
	},
	sub {    # one file put in place of another, or behind it
		my $dir = shift;
		my ($a) = some_file($dir);
		my ($b) = some_file($dir);
		my $contents = slurp_file($a);
		write_file($b, (rand 2 > 1 ? slurp_file($b) : '') . $contents);
	},
	sub {    # one is gone
		my ($file) = some_file(shift);
		unlink $file;
	},
	sub {    # a second file of a segment, of whatever contents
		my $dir = shift;
		my ($file) = some_file($dir);
		my @suffixes = ('.gz', '.lz4', '.zst', '.bz2', '.partial',
			'.zst.partial', '-' . 'f' x 40 . '.gz', '');
		copy($file, "$dir/" . $segments[rand @segments] . $suffixes[rand @suffixes]);
	},
	sub {    # another timeline
		my $dir = shift;
		my ($file) = some_file($dir);
		my $tli = sprintf '%08X', 1 + rand 4;
		copy($file, $file =~ s{/00000001(?=[^/]*$)}{/$tli}r);
	},
	sub {    # a history file, of whatever contents
		my $dir = shift;
		my $tli = 1 + int rand 4;
		my $lsn = sprintf '0/%X', lsn_to_int($start) + rand 6e6;
		my @texts = (
			"1\t$lsn\tno reason\n", "1\t$lsn\n2\t$lsn\n3\t0/0\n",
			"# nothing\n", random_bytes(100),
			'1 ' . '9' x 5000, "4294967295\tFFFFFFFF/FFFFFFFF\n", '');
		write_file(sprintf('%s/%08X.history', $dir, $tli),
			$texts[rand @texts]);
	},
	sub {    # into a folder
		my $dir = shift;
		my ($file) = some_file($dir);
		my ($folder) = $file =~ m{/([0-9A-F]{16})[^/]*$} or return;
		make_path("$dir/$folder");
		rename($file, "$dir/$folder/" . $file =~ s{.*/}{}r);
	},
	sub {    # another type
		my $dir = shift;
		my ($file) = some_file($dir);
		my @types = sort keys %types;
		unlink $file or return;
		$types{ $types[rand @types] }->($file);
	});

# Makes a directory, or two, from a number.  Returns the list for wal_directory.
sub random_archive
{
	my $number = shift;
	my @dirs;

	srand($number);
	foreach my $i (0 .. (rand 4 < 1 ? 1 : 0))
	{
		my $dir = directory("random_${number}_$i");

		foreach my $segment (@segments)
		{
			my $compression = (undef, @compressions)[ rand 5 ];

			if (defined $compression)
			{
				copy("$compressed{$compression}/$segment.$compression",
					"$dir/$segment.$compression")
				  or die "copy: $!";
			}
			else
			{
				copy("$good/$segment", "$dir/$segment") or die "copy: $!";
			}
		}
		foreach (0 .. rand 4)
		{
			$damages[ rand @damages ]->($dir) if defined some_file($dir);
		}
		push @dirs, $dir;
	}
	return join ':', @dirs;
}

my $began = time();
my %outcomes;
my $number = $seed;
my $failures = 0;
my $most_memory = 0;
my $slowest = 0;
while ($failures < 5
	&& (time() - $began < $seconds || $number - $seed < $least))
{
	my @lists = map { random_archive($number++) } 1 .. 10;
	my ($answers, $memory) = probe(@lists);

	$failures++ if $memory < 0;
	$most_memory = $memory if $memory > $most_memory;
	foreach my $list (@lists)
	{
		my $complaints = complaints($answers->{$list}, 'either');

		$slowest = $answers->{$list}->{seconds}
		  if ($answers->{$list}->{seconds} // 0) > $slowest;
		if ($complaints ne '')
		{
			diag("directory $list:\n$complaints");
			$failures++;
		}
		$outcomes{ substr $_, 0, 5 }++
		  foreach grep { !/^[\d.]+$/ } values %{ $answers->{$list} };
		foreach my $dir (split /:/, $list)
		{
			if ($complaints ne '' && $ENV{HOSTILE_KEEP})
			{
				make_path($ENV{HOSTILE_KEEP});
				system("cp -a '$dir' '$ENV{HOSTILE_KEEP}/'") == 0
				  or diag('could not keep it');
			}
			rmtree($dir);
		}
	}
}
note(sprintf '%d directories, at most %d MB, at most %.1f s',
	$number - $seed, $most_memory / 1024 / 1024, $slowest);
note("$_: $outcomes{$_}") foreach sort keys %outcomes;
is($failures, 0, 'directories at random: right, or documented errors');
ok($most_memory < $memory_limit, '... with bounded memory')
  or diag("$most_memory bytes");
cmp_ok($outcomes{right} // 0, '>', 0, '... some right');
cmp_ok($outcomes{XX001} // 0, '>', 0, '... some corrupted');
cmp_ok($outcomes{'58P01'} // 0, '>', 0, '... some missing');

is($node->safe_psql('postgres', 'SELECT count(*) FROM page'),
	4, 'the server is alive');
unlike(substr(slurp_file($node->logfile), $log_from),
	qr/was terminated by|reinitializing|statement timeout/,
	'... and has lost no process');

$node->stop;
done_testing();
