# Archives as people keep them: compressed by the usual programs, made by pgBackRest,
# Barman and pg_receivewal, with WAL-G's names, spread over directories, reached
# through symbolic links, with segments of other systems and timelines, of several
# sizes, and through walredo.restore_command.
#
# From all of them, records and pages must be those that come from plain segments,
# and those in turn the ones that the server wrote.
#
# Seen to fail: with folders, or partial files, left out; with each file taken for
# good whatever its first page says; with files of other systems taken.

use Cwd qw(getcwd);
use File::Copy qw(copy);
use File::Path qw(make_path);
use WalredoArchives;
use WalredoTest;
use WalredoWorkload;

my $segment_re = qr/^[0-9A-F]{24}$/;
my $scratch = PostgreSQL::Test::Utils::tempdir();
$scratch = getcwd() . "/$scratch" if $scratch !~ m{^/};

# A new directory.
sub directory
{
	my $dir = "$scratch/" . shift;

	make_path($dir);
	return $dir;
}

# The segments in a directory, sorted.
sub segments_in
{
	my @segments = sort grep { $_ =~ $segment_re } slurp_dir(shift);

	return @segments;
}

# A new directory with copies of some files.
sub copied
{
	my ($name, $from, @files) = @_;
	my $dir = directory($name);

	foreach my $file (@files)
	{
		copy("$from/$file", "$dir/$file") or die "could not copy $file: $!";
	}
	return $dir;
}

# A server with an archive of plain segments, and with what is needed to compare
# pages.  $command, with %p in it, is run for each segment, too.
sub archiving_server
{
	my ($name, $segsize, $command) = @_;
	my $archive = directory("$name/plain");
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(
		allows_streaming => 1,
		extra => ["--wal-segsize=$segsize"]);
	my $commands = $command ? $command->($node) : [];
	my $archive_command = join ' && ', @$commands, "cp %p $archive/%f";
	$node->append_conf('postgresql.conf', <<CONF);
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 2GB
wal_init_zero = off
archive_mode = on
archive_command = '$archive_command'
CONF
	$node->start;
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
SQL
	return ($node, $archive);
}

# Ends a segment, waits until it is in the archive, and returns the LSN where its
# last record ends.
sub switch_segment
{
	my $node = shift;
	my ($end, $segment) = split /\|/, $node->safe_psql('postgres', <<'SQL');
SELECT lsn, pg_walfile_name(lsn) FROM pg_current_wal_insert_lsn() AS lsn \gset
SELECT pg_switch_wal() AS switched \gset
SELECT :'lsn', :'pg_walfile_name';
SQL

	wait_until_archived($node, $segment);
	return $end;
}

# What is read from an archive up to an LSN, one line for each thing: the pages of
# the table "tag", and how many records there are from the LSN "start".
sub contents_of
{
	my ($node, $directory, $start, $end, $settings) = @_;
	my $wal_directory = defined $directory ? "'$directory'" : 'NULL';

	return value_or_error($node, 'postgres', ($settings // '') . <<SQL);
SELECT tag, md5(walredo_page_at(tag, '$end', NULL, $wal_directory))
FROM tag ORDER BY tag;
SELECT count(*), md5(string_agg(w::text, '' ORDER BY start_lsn))
FROM walredo_wal_records('$start', '$end', $wal_directory) AS w;
SQL
}

# The same, from several sources, which must all be equal to what is given.
sub same_contents
{
	my ($node, $expected, $start, $end, @sources) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	while (my ($name, $directory) = splice @sources, 0, 2)
	{
		is(contents_of($node, $directory, $start, $end), $expected, $name);
	}
	return;
}

#
# WAL, archived in all ways at once
#

my %backrest;
my %restore_command;
my ($node, $plain) = archiving_server(
	'main', 1,
	sub {
		my $main = shift;
		my @push;

		foreach my $compression (@compressions)
		{
			my ($push, $get, $dir) = pgbackrest_archive($main, $compression,
				directory("pgbackrest_$compression"));
			push @push, $push;
			$restore_command{"pgBackRest, $compression"} = $get;
			$backrest{"pgBackRest, $compression"} = $dir;
		}
		return \@push;
	});

# What pg_receivewal is told to write, and the names of its last file.
my %receivers = (
	plain => { options => [], suffix => '.partial' },
	gz => { options => ['--compress=gzip'], suffix => '.gz.partial' });
foreach my $name (sort keys %receivers)
{
	$node->safe_psql('postgres',
		"SELECT pg_create_physical_replication_slot('$name', true)");
}

my $start =
  $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (i int PRIMARY KEY, t text);
INSERT INTO t SELECT g, md5(g::text) || repeat('x', g % 50)
	FROM generate_series(1, 20000) g;
VACUUM t;
SQL
$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
$node->safe_psql('postgres', <<'SQL');
UPDATE t SET t = t || 'y' WHERE i % 100 = 0;
DELETE FROM t WHERE i BETWEEN 1000 AND 1500;
CREATE TABLE s (i int);
SQL

# These take the transaction IDs of more than a page of pg_xact.
$node->safe_psql('postgres',
	WalredoWorkload::subtransactions('s', $clog_per_page + 1000, 7));
$node->safe_psql('postgres', <<'SQL');
VACUUM (TRUNCATE off) t;
CREATE TABLE tag AS
SELECT walredo_tag(f.rel, f.fork, f.blkno) AS tag, f.*
FROM (VALUES ('t'::regclass, 'main', 0, 'Heap'), ('t', 'main', 14, 'Heap'),
		('t', 'main', 200, 'Heap'), ('t', 'vm', 0, NULL),
		('t_pkey', 'main', 0, 'Btree'), ('t_pkey', 'main', 3, 'Btree'),
		('s', 'main', 1, 'Heap'))
	AS f(rel, fork, blkno, manager)
UNION ALL
VALUES ('slru pg_xact/0000 blk 1'::walredo_tag, NULL::regclass, NULL, 1, NULL);
SQL
my $end = switch_segment($node);

my $expected = contents_of($node, $plain, $start, $end);
my ($records) = $expected =~ /^(\d+)\|/m;
cmp_ok($records // 0, '>', 30000, 'there are many records')
  or diag($expected);
is(scalar(() = $expected =~ /blk \d+\|\w{32}$/mg), 8, '... and all pages');
cmp_ok(scalar(segments_in($plain)), '>', 6, '... in several segments');

# What is on disk has hint bits, and a map's LSN and checksum are older ones.
$node->safe_psql('postgres', 'CHECKPOINT');
is( $node->safe_psql('postgres', <<SQL),
SELECT tag, made = disk AND made IS NOT NULL
FROM (SELECT tag, CASE WHEN manager IS NOT NULL
			THEN walredo_page_mask(manager, made, blkno)
			ELSE substr(made, 11) END AS made,
		CASE WHEN manager IS NOT NULL
			THEN walredo_page_mask(manager, disk, blkno)
			ELSE substr(disk, 11) END AS disk
	FROM (SELECT *, walredo_page_at(tag, '$end', NULL, '$plain') AS made,
			CASE WHEN rel IS NULL
				THEN pg_read_binary_file('pg_xact/0000', blkno * $page_size, $page_size)
				ELSE get_raw_page(rel::text, fork, blkno) END AS disk
		FROM tag) AS read) AS pages
WHERE made IS DISTINCT FROM disk
SQL
	'',
	"plain segments give the server's own pages");

#
# Compressed
#

my %compressed =
  map { $_ => compressed_copy($_, $plain, directory($_)) } @compressions;
foreach my $compression (@compressions)
{
	same_contents($node, $expected, $start, $end,
		"compressed: $compression" => $compressed{$compression});
}

#
# As programs for archives make them
#

foreach my $name (sort keys %backrest)
{
	my @files = glob "$backrest{$name}/*/*";

	cmp_ok(scalar(@files), '>', 6, "$name has the segments");
	same_contents($node, $expected, $start, $end, $name => $backrest{$name});
}

my $barman = barman_archive($node, $plain, $segment_re, directory('barman'));
my ($in_barman) = glob "$barman/*/*";
is(substr(slurp_file($in_barman), 0, 2),
	"\x1f\x8b", 'Barman has compressed segments under their own names');
same_contents($node, $expected, $start, $end, Barman => $barman);

foreach my $name (sort keys %receivers)
{
	my $receiver = $receivers{$name};
	my $dir = directory("receivewal_$name");

	$node->command_ok(
		[
			'pg_receivewal', '--slot', $name, '--directory', $dir,
			'--endpos', $end, '--no-loop', @{ $receiver->{options} }
		],
		"pg_receivewal: $name");
	$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('$name')");
	is(scalar(grep { /^[0-9A-F]{24}\Q$receiver->{suffix}\E$/ } slurp_dir($dir)),
		1, '... leaves a partial file');
	same_contents($node, $expected, $start, $end,
		"pg_receivewal: $name" => $dir);
	$receiver->{dir} = $dir;
}

# When pg_receivewal is killed, the end of a compressed file is not there yet.
# It can be read as far as it goes.
my $killed = $receivers{gz}->{dir};
my ($partial) = glob "$killed/*.partial";
truncate($partial, (-s $partial) - 8) or die "could not truncate: $!";
same_contents($node, $expected, $start, $end,
	'a partial file without its end' => $killed);

#
# Several directories
#

my @segments = segments_in($plain);
my $half = int(@segments / 2);
my $first_half = copied('first_half', $plain, @segments[ 0 .. $half - 1 ]);
my $second_half = copied('second_half', $plain, @segments[ $half .. $#segments ]);
my $second_zst = compressed_copy('zst', $second_half, directory('second_zst'));
my $alternating = directory('alternating');
foreach my $i (0 .. $#segments)
{
	my $compression = ('plain', @compressions)[ $i % 5 ];

	if ($compression eq 'plain')
	{
		copy("$plain/$segments[$i]", "$alternating/$segments[$i]")
		  or die "could not copy: $!";
	}
	else
	{
		compress_file($compression, "$plain/$segments[$i]",
			"$alternating/$segments[$i].$compression");
	}
}
my $all_but_first = copied('all_but_first', $plain, @segments[ 1 .. $#segments ]);
same_contents(
	$node, $expected, $start, $end,
	'two halves' => "$first_half:$second_half",
	'two halves, the newer one first' => "$second_half:$first_half",
	'one half compressed' => "$first_half:$second_zst",
	'directories that overlap' =>
	  "$first_half:$compressed{lz4}:$all_but_first:$plain",
	'the same directory twice' => "$plain:$plain",
	'one directory with all compressions' => $alternating);

# A file that can be seen to be bad gives way to a good one in another
# directory.
my $bad = copied('bad', $plain, @segments[ 0 .. $#segments ]);
write_file("$bad/$segments[0]", '');
truncate("$bad/$segments[1]", 300_000) or die "could not truncate: $!";
overwrite("$bad/$segments[2]", 0, "\0" x 8192);
copy("$plain/$segments[0]", "$bad/$segments[3]") or die "could not copy: $!";
write_file("$bad/$segments[4].gz", 'not gzip');
unlink "$bad/$segments[4]" or die "unlink: $!";
same_contents(
	$node, $expected, $start, $end,
	'bad files in the first directory' => "$bad:$compressed{zst}",
	'... and in the second' => "$compressed{zst}:$bad");

#
# Symbolic links
#

my $links = directory('links');
foreach my $i (0 .. $#segments)
{
	if ($i % 2)
	{
		symlink("$plain/$segments[$i]", "$links/$segments[$i]")
		  or die "symlink: $!";
	}
	else
	{
		symlink("../zst/$segments[$i].zst", "$links/$segments[$i].zst")
		  or die "symlink: $!";
	}
}
symlink($links, "$scratch/link") or die "symlink: $!";
same_contents(
	$node, $expected, $start, $end,
	'symbolic links to segments' => $links,
	'a symbolic link to the directory' => "$scratch/link");

#
# The server's own WAL, where the archive ends
#

$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
$node->safe_psql('postgres',
	"UPDATE t SET t = t || 'z' WHERE i % 1000 = 0; INSERT INTO t VALUES (0)");
my $now =
  $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
my $not_archived =
  $node->safe_psql('postgres', "SELECT pg_walfile_name('$now')");
my $in_pg_wal = $node->data_dir . '/pg_wal';
ok(!-e "$in_pg_wal/$segments[1]", 'old segments are gone from pg_wal');
ok(!-e "$plain/$not_archived", '... and the newest one is not archived');
my $error_re = qr/^58P01: |^22023: cannot rebuild/m;
like(contents_of($node, undef, $start, $now),
	$error_re, 'pg_wal does not reach back');
like(contents_of($node, $plain, $start, $now),
	$error_re, 'the archive does not reach to the end');

# The newest segment is only in pg_wal, until it is archived.
my @with_pg_wal = (
	'$pg_wal after a plain archive' => "$plain:\$pg_wal",
	'$pg_wal before a plain archive' => "\$pg_wal:$plain",
	'$pg_wal after zst' => "$compressed{zst}:$plain:\$pg_wal",
	'$pg_wal and pgBackRest' => "$backrest{'pgBackRest, zst'}:\$pg_wal");
my %from_both;
for (my $i = 0; $i < @with_pg_wal; $i += 2)
{
	$from_both{ $with_pg_wal[$i] } =
	  contents_of($node, $with_pg_wal[ $i + 1 ], $start, $now);
}

#
# walredo.restore_command
#

# Nothing of it is in pg_wal, or in the directory that is given, if any.
my $nothing = directory('nothing');
copy("$plain/$segments[-1]", "$nothing/$segments[-1]") or die "copy: $!";
$restore_command{gzip} = "gzip -dc <$compressed{gz}/%f.gz >%p";
foreach my $name ('gzip', grep { /gz|zst/ } sort keys %backrest)
{
	my $setting = "SET walredo.restore_command = '$restore_command{$name}';\n";

	is(contents_of($node, undef, $start, $end, $setting),
		$expected, "restore_command for pg_wal: $name");
	is(contents_of($node, $nothing, $start, $end, $setting),
		$expected, "restore_command for a directory: $name");
}

# Now the newest segment is archived, too.
switch_segment($node);
my $expected_now = contents_of($node, $plain, $start, $now);
isnt($expected_now, $expected, 'pages have changed');
foreach my $name (sort keys %from_both)
{
	is($from_both{$name}, $expected_now, $name);
}

#
# Another system, with larger segments
#

my ($other, $other_plain) = archiving_server(
	'other', 64,
	sub {
		my ($push, $get, $dir) = pgbackrest_archive(shift, 'zst',
			directory('other/pgbackrest'));

		$backrest{other} = $dir;
		return [$push];
	});
my $other_start =
  $other->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$other->safe_psql('postgres', <<'SQL');
CREATE TABLE t (i int PRIMARY KEY, t text);
INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 2000) g;
SELECT pg_switch_wal();
UPDATE t SET t = t || 'y' WHERE i % 10 = 0;
CREATE TABLE tag AS
SELECT walredo_tag(f.rel, f.fork, f.blkno) AS tag
FROM (VALUES ('t'::regclass, 'main', 0), ('t', 'main', 7),
	('t_pkey', 'main', 3)) AS f(rel, fork, blkno);
SQL
my $other_end = switch_segment($other);
my $other_expected =
  contents_of($other, $other_plain, $other_start, $other_end);
like($other_expected, qr/^rel .*\|\w{32}\n(?s:.*)^\d+\|\w{32}$/m,
	'pages from segments of 64 MB');
my %other_compressed = map
{
	$_ => compressed_copy($_, $other_plain, directory("other/$_"))
} @compressions;
same_contents($other, $other_expected, $other_start, $other_end,
	'pgBackRest, 64 MB' => $backrest{other},
	map { ("64 MB: $_" => $other_compressed{$_}) } @compressions);
my $other_nothing =
  copied('other/nothing', $other_plain, (segments_in($other_plain))[-1]);
is( contents_of(
		$other, $other_nothing, $other_start, $other_end,
		"SET walredo.restore_command = 'gzip -dc <$other_compressed{gz}/%f.gz >%p';\n"
	),
	$other_expected,
	'restore_command, 64 MB');

# Each server finds its own segments among those of both, which have the same
# names in part.
same_contents($node, $expected, $start, $end,
	'own segments among those of another system' =>
	  "$other_compressed{zst}:$plain",
	'... in the other order' => "$plain:$other_plain",
	'... with the same compression' => "$other_compressed{gz}:$compressed{gz}");
same_contents($other, $other_expected, $other_start, $other_end,
	'the other system' => "$compressed{zst}:$other_plain",
	'... in the other order' => "$other_plain:$plain");

# These are segments of the same names, sizes and addresses, but of a system that
# nobody knows.
my $foreign = copied('foreign', $plain, @segments);
overwrite("$foreign/$_", 24, pack 'Q', 4711) foreach @segments;
same_contents($node, $expected, $start, $end,
	'segments of the same names of another system' => "$foreign:$plain",
	'... compressed' =>
	  compressed_copy('zst', $foreign, directory('foreign_zst'))
	  . ":$compressed{zst}");

# A server reads an archive of another system alone.
$other->safe_psql('postgres',
	'ALTER TABLE tag RENAME TO own_tag; CREATE TABLE tag (tag walredo_tag)');
foreach my $tag (split /\n/, $node->safe_psql('postgres', 'SELECT tag FROM tag'))
{
	$other->safe_psql('postgres', "INSERT INTO tag VALUES ('$tag')");
}
same_contents($other, $expected, $start, $end,
	'the archive of another server' => $compressed{bz2},
	'its repository of pgBackRest' => $backrest{'pgBackRest, lz4'});
$other->stop;

#
# Timelines
#

my $promoted = PostgreSQL::Test::Cluster->new('promoted');
$node->backup('b', backup_options => ['--checkpoint=fast']);
$promoted->init_from_backup($node, 'b', has_streaming => 1);
my $promoted_plain = directory('promoted/plain');
$promoted->append_conf('postgresql.conf',
	"archive_command = 'cp %p $promoted_plain/%f'");
$promoted->start;
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE counted (i int);
INSERT INTO counted VALUES (1);
SQL
my $counted = $node->safe_psql('postgres', "SELECT walredo_tag('counted', 0)");
$node->wait_for_catchup($promoted);
$promoted->promote;
$promoted->safe_psql('postgres', 'INSERT INTO counted VALUES (2), (3)');
switch_segment($promoted);
$node->safe_psql('postgres',
	'INSERT INTO counted VALUES (2), (3), (4), (5)');
switch_segment($node);

# WAL-G's names, for both timelines and the history file; there are backup
# history files, too.
my $walg = directory('walg');
compressed_copy('lz4', $plain, $walg);
compressed_copy('lz4', $promoted_plain, $walg, qr/^00000002/);
ok(-e "$walg/00000002.history.lz4", 'there is a compressed history file');
ok(scalar(glob "$walg/*.backup.lz4"), '... and one of a backup');

# How many rows there are in the end, along a timeline.
sub rows_along
{
	my ($server, $timeline, $directory) = @_;

	return value_or_error($server, 'postgres', <<SQL);
SET client_min_messages = warning;
SET walredo.timeline = '$timeline';
SELECT count(*) FROM heap_page_items(walredo_page_at(walredo_tag '$counted', '$open_end', NULL, '$directory'))
SQL
}

foreach my $directory ($walg, "$plain:$promoted_plain",
	"$compressed{zst}:$promoted_plain:$plain")
{
	my $what = $directory =~ s/\Q$scratch\E//gr;

	is(rows_along($node, 'current', $directory), 5, "$what: the server's timeline");
	is(rows_along($node, 'latest', $directory), 3, '... the latest one');
	is(rows_along($node, 2, $directory), 3, '... by its number');
	is(rows_along($node, 1, $directory), 5, '... the other one by its number');
	is(rows_along($promoted, 'current', $directory),
		3, '... that of the promoted server');
	is(rows_along($promoted, 1, $directory), 5, '... the other one, there');
	like(rows_along($node, 7, $directory),
		qr/^58P01: /, '... one that is not there');
}

$promoted->stop;
$node->stop;
done_testing();
