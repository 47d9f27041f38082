# The server's own summaries of WAL: segments without an index are not read for a
# page that no summary names, and nothing else changes.
#
# For every page that WAL of a mixed workload changes or ends, and every segment,
# a page that summaries rule out is one to which the records of the segment do
# nothing: test/summaries_test.c.  Pages, of relations that grow, are truncated or
# dropped, and of databases that are created, are compared with the server's own,
# and with those that are rebuilt without summaries.  A segment that is not read
# is shown to be not read by damaging it.  Summaries are damaged, out of date, and
# removed meanwhile.
#
# Seen to fail: without each of the conditions under which a summary is used:
# relation 0, the limit block, the first number, the checksum and what may follow
# it, the numbers and sizes of chunks, the times of the segment and of the summary
# that was looked at before, the kind of file (the test hangs), the fork, the
# tablespace, a gap, the end of the segment, the timeline and the directory; with
# bitmaps taken for arrays, and with the first chunk taken for the one that is
# wanted.

use File::Spec;
use FindBin;
use POSIX qw(mkfifo);
use WalredoTest;
use WalredoWorkload;

my $top = "$FindBin::RealBin/..";
my $dir = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir());
my $node = wal_server('main', conf => WalredoWorkload::conf());
my $has_summaries = $node->pg_version->major >= 17;
$node->append_conf('postgresql.conf', 'summarize_wal = on') if $has_summaries;
# The module that checks every page.
chomp(my $include = `pg_config --includedir-server`);
command_ok(
	[
		$ENV{CC} || 'cc', '-Wall', '-O2', '-fPIC', '-shared',
		'-D_GNU_SOURCE', "-I$include", "-I$top/src",
		'-o', "$dir/summaries_test.so", "$top/test/summaries_test.c",
		map({ "$top/src/index/$_.c" } qw(builder format store summaries)),
		glob("$top/src/wal/*.c"), glob("$top/src/source/*.c"),
		glob("$top/src/record/*.c"), glob("$top/src/progress/*.c"),
		'-Wl,-Bsymbolic', '-lz', '-llz4', '-lzstd'
	],
	'build summaries_test');

$node->start;
my $wal = $node->data_dir . '/pg_wal';
my $summaries = "$wal/summaries";

sub query
{
	return $node->safe_psql('postgres', shift);
}

# Makes so many whole segments of WAL, about a table of that name.
sub fill
{
	my ($table, $segments) = @_;

	query(<<SQL);
INSERT INTO $table SELECT g, repeat('x', 300)
	FROM generate_series(1, $segments * 3000) g;
SELECT pg_switch_wal();
SQL
	return;
}

# Makes a checkpoint, and waits until all WAL before it is summarized.
sub summarize
{
	query('CHECKPOINT');
	my $redo = query('SELECT redo_lsn FROM pg_control_checkpoint()');
	$node->poll_query_until('postgres',
		"SELECT max(end_lsn) >= '$redo' FROM pg_available_wal_summaries()")
	  or die 'WAL was not summarized';
	return $redo;
}

my $settings = <<'SQL';
SET walredo.index_size = 0;
SET client_min_messages = debug1;
SQL

# The names of the segments that some messages say were not read.
sub skipped
{
	return sort shift =~ /WAL file "(\w+)" is not read, because WAL summaries/g;
}

# Rebuilds a page, given by its tag, without indexes.  Returns its MD5, or the
# error, and the names of the segments that were not read.
sub page_at
{
	my ($tag, $lsn) = @_;
	my $sql =
	  "SELECT coalesce(md5(walredo_page_at('$tag'::walredo_tag, '$lsn')), 'none')";
	my ($out, $err) = ask($node, 'postgres', "$settings $sql");
	my @skipped = skipped($err);

	$out = $1 if $err =~ /ERROR:  (\w+: .*?)(?:HINT:|LOCATION:|\z)/s;
	return ($out, @skipped);
}

# The same without summaries.
sub page_without
{
	rename $summaries, "$summaries.away" or die "rename failed: $!";
	my ($page, @skipped) = page_at(@_);
	rename "$summaries.away", $summaries or die "rename failed: $!";
	is("@skipped", '', 'without summaries, all segments are read');
	return $page;
}

# Compares both.  Returns the segments that were not read.
sub check
{
	my ($tag, $lsn, $name) = @_;
	my ($page, @skipped) = page_at($tag, $lsn);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($page, page_without($tag, $lsn), $name);
	return @skipped;
}

sub tag
{
	my ($relation, $blkno) = @_;

	return query("SELECT walredo_tag('$relation', $blkno)");
}

# A page of pg_class in another database.
sub tag_in
{
	my $database = shift;

	return $node->safe_psql($database, <<'SQL');
SELECT format('rel 1663/%s/%s blk 0', oid, pg_relation_filenode('pg_class'))
FROM pg_database WHERE datname = current_database()
SQL
}

# The ranges of summaries, as numbers, by their names.
sub ranges
{
	my %ranges;

	foreach my $name (grep { /\.summary$/ } slurp_dir($summaries))
	{
		my @parts = map { hex } $name =~ /^.{8}(.{8})(.{8})(.{8})(.{8})/;

		$ranges{$name} =
		  [ $parts[0] * 2**32 + $parts[1], $parts[2] * 2**32 + $parts[3] ];
	}
	return %ranges;
}

# The names of the whole segments between two LSNs.
sub segments
{
	my ($from, $to) = map { lsn_to_int($_) } @_;
	my @names;

	for (my $at = (int($from / $segment_size) + 1) * $segment_size;
		$at + $segment_size <= $to; $at += $segment_size)
	{
		push @names, segment_name(1, int_to_lsn($at));
	}
	return @names;
}

# Those that are in one summary.
sub summarized
{
	my ($from, $to) = map { lsn_to_int($_) } @_;
	my %ranges = ranges();

	return sort map { segments(map { int_to_lsn($_ - 1) } @$_) }
	  map { [ $_->[0] < $from ? $from : $_->[0], $_->[1] < $to ? $_->[1] : $to ] }
	  values %ranges;
}

# A summary of some fork, with so many chunks and these bytes.
my $magic = pack 'L', 0x652B137B;

sub made_summary
{
	my ($spc, $db, $rel, $fork, $limit, $nchunks, $bytes) = @_;
	my $summary = $magic
	  . pack('L6', $spc, $db, $rel, $fork, $limit, $nchunks)
	  . $bytes . "\0" x 24;

	return $summary . pack 'L', crc32c($summary);
}

query(<<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE cold (i int, x text);
CREATE TABLE hot (i int, x text);
INSERT INTO cold SELECT g, repeat('c', 300) FROM generate_series(1, 1000) g;
SQL
my $cold = tag('cold', 3);

#
# Servers that have none
#

if (!$has_summaries)
{
	fill('hot', 3);
	my $lsn = query('SELECT pg_current_wal_flush_lsn()');
	mkdir $summaries or die "mkdir failed: $!";
	write_file("$summaries/" . '0000000100000000000000000000000010000000.summary',
		made_summary(1663, 1, 4711, 0, 0, 0, ''));
	my ($page, @skipped) = page_at($cold, $lsn);
	is("@skipped", '', 'what looks like a summary is not used');
	is( $page,
		query("SELECT md5(walredo_page_at('$cold'::walredo_tag, '$lsn'))"),
		'... and the page is as it should be');
	$node->stop;
	done_testing();
	exit;
}

#
# A page that changed long ago
#

my $before = summarize();
fill('hot', 3);
summarize();
fill('hot', 4);
summarize();
fill('hot', 3);
my $redo = summarize();
my $lsn = query('SELECT pg_current_wal_flush_lsn()');
my @expected = summarized($before, $redo);
cmp_ok(scalar @expected, '>=', 6, 'there are segments that lie in a summary');
my ($page, @skipped) = page_at($cold, $lsn);
is("@skipped", "@expected", '... they are not read, and no others');
is($page, page_without($cold, $lsn), '... and the page is the same');

# Apart from the checksum, which not all servers have.
is( query(sprintf <<'SQL', $cold, $lsn, page_sql(path_of($node, 'postgres', 'cold'), 3)),
SELECT overlay(walredo_page_at('%s'::walredo_tag, '%s') PLACING '\x0000' FROM 9)
	= overlay(%s PLACING '\x0000' FROM 9)
SQL
	't',
	'... as the server has written it');

# A page that is in all of them.
is(scalar check(tag('hot', 0), $before, 'a page that has no WAL'),
	0, '... nothing can be skipped before the first summary');
my $last_hot = query("SELECT pg_relation_size('hot') / 8192 - 1");
is( scalar check(tag('hot', $last_hot), $lsn, 'a page that was changed last'),
	0, '... it is in the last segments');

# With an index, that is used.
query('SELECT made FROM walredo_index_wal()');
my ($out, $err) = ask($node, 'postgres', <<SQL);
SET client_min_messages = debug1;
SELECT md5(walredo_page_at('$cold'::walredo_tag, '$lsn'));
SQL
is($out, $page, 'with indexes, the page is the same');
unlike($err, qr/WAL summaries/, '... and summaries are not asked');

#
# They are not read
#

# One that is used as far as that: a segment may end early, where WAL was switched.
my ($changed) =
  grep { substr(slurp_file("$wal/$_"), 390_000, 10_000) =~ /[^\0]/ } @expected[ 1 .. $#expected ];
my $victim = "$wal/$changed";
my $bytes = slurp_file($victim);
overwrite($victim, 300_000, "\xFF" x 100_000);
like((page_at($cold, $lsn))[0],
	qr/no valid WAL record/, 'a segment that has changed is read');

# As if summaries were newer: then those in which a range ends are covered, too.
my @all = segments($before, $redo);
utime undef, undef, glob "$summaries/*.summary";
is(join(' ', page_at($cold, $lsn)),
	"$page @all", 'a segment that is ruled out is not read');
overwrite($victim, 300_000, substr $bytes, 300_000, 100_000);
is( join(' ', page_at($cold, $lsn)),
	join(' ', $page, grep { $_ ne $changed } @all),
	'a segment that was written to later is read');
utime undef, undef, glob "$summaries/*.summary";

#
# Damaged summaries
#


# The summary of the victim, and the segments of which nothing is in it.
my %ranges = ranges();
my $at = hex(substr $changed, -8) * $segment_size;
my ($summary) =
  grep { $ranges{$_}[0] <= $at && $ranges{$_}[1] > $at } keys %ranges;
my @others = grep {
	my $start = hex(substr $_, -8) * $segment_size;

	$start >= $ranges{$summary}[1]
	  || $start + $segment_size <= $ranges{$summary}[0]
} @all;
my @inside = grep { my $segment = $_; !grep { $_ eq $segment } @others } @all;
cmp_ok(scalar @inside, '>=', 2, 'a summary has some segments');
cmp_ok(scalar @others, '>=', 2, '... and others have some');
my $sound = slurp_file("$summaries/$summary");

# The server's number, and chunks of a relation that does not exist.
$magic = substr $sound, 0, 4;
my @other = (1663, 1, 4711, 0, 0xFFFFFFFF);

my $other_magic = "\0\0\0\0" . substr $sound, 4, -4;
my %damaged = (
	'is empty' => '',
	'has no checksum' => substr($sound, 0, -4),
	'is half' => substr($sound, 0, length($sound) / 2),
	'goes on' => "$sound\0",
	'has another number at its head' => $other_magic . pack('L', crc32c($other_magic)),
	'has too many chunks' => made_summary(@other, 65537, "\0\0" x 65537),
	'has four billion chunks' => made_summary(@other, 0xFFFFFFFF, ''),
	'has too large a chunk' =>
	  made_summary(@other, 1, pack('S', 4097) . "\0\0" x 4097),
	'has the largest chunk' =>
	  made_summary(@other, 1, pack('S', 65535) . "\0\0" x 65535));

sub damage
{
	my ($bytes, $name) = @_;

	write_file("$summaries/$summary", $bytes);
	my ($got, @read) = page_at($cold, $lsn);
	is("$got @read", "$page @others", $name);
	return;
}

srand 1;
foreach (1 .. 60)
{
	my $at = int rand length $sound;
	my $bytes = $sound;

	substr($bytes, $at, 1) ^= chr(1 << int rand 8);
	damage($bytes, "a summary of which byte $at has changed is not used");
}
damage($damaged{$_}, "a summary that $_ is not used") foreach sort keys %damaged;

# Those that are whole, and say something else.
my ($spc, $db, $rel) = $cold =~ m{(\d+)/(\d+)/(\d+)};
my @fork = ($spc, $db, $rel, 0);
my $full = 0xFFFFFFFF;
my $all_but_3 = "\xF7" . "\xFF" x 8191;
my $only_3 = "\x08" . "\0" x 8191;
my %names = (
	'block 3' => [ @fork, $full, 1, pack('S*', 1, 3) ],
	'blocks 1 to 3' => [ @fork, $full, 1, pack('S*', 3, 1, 2, 3) ],
	'block 3 in a bitmap' => [ @fork, $full, 1, pack('S', 4096) . $only_3 ],
	'block 3 and one of another chunk' =>
	  [ @fork, $full, 2, pack('S*', 1, 1, 3, 4) ],
	'a truncation to no blocks' => [ @fork, 0, 0, '' ],
	'a truncation to 3 blocks' => [ @fork, 3, 0, '' ],
	'the database' => [ $spc, $db, 0, 0, 0, 0, '' ]);
my %lacks = (
	'block 2' => [ @fork, $full, 1, pack('S*', 1, 2) ],
	'block 65539' => [ @fork, $full, 2, pack('S*', 0, 1, 3) ],
	'all other blocks in a bitmap' =>
	  [ @fork, $full, 1, pack('S', 4096) . $all_but_3 ],
	'block 3 of the visibility map' =>
	  [ @fork[ 0 .. 2 ], 2, $full, 1, pack('S*', 1, 3) ],
	'a truncation to 4 blocks' => [ @fork, 4, 0, '' ],
	'another relation' => [ $spc, $db, $rel + 1, 0, 0, 1, pack('S*', 1, 3) ],
	'another database' => [ $spc, $db + 1, $rel, 0, 0, 1, pack('S*', 1, 3) ],
	'another tablespace' => [ $spc + 1, $db, $rel, 0, 0, 1, pack('S*', 1, 3) ],
	'files of another database' => [ $spc, $db + 1, 0, 0, 0, 0, '' ]);
damage(made_summary(@{ $names{$_} }), "a summary with $_ does not rule it out")
  foreach sort keys %names;
foreach my $what (sort keys %lacks)
{
	write_file("$summaries/$summary", made_summary(@{ $lacks{$what} }));
	is(join(' ', page_at($cold, $lsn)),
		"$page @all", "a summary with $what does");
}

# A block beyond the first chunk.
my $far = $cold =~ s/blk 3/blk 65539/r;
foreach my $chunks (
	[ 1, 2, pack('S*', 0, 1, 3) ],
	[ 1, 3, pack('S*', 1, 1, 1, 3, 3, 3) ],
	[ 0, 2, pack('S*', 1, 1, 3, 4) ],
	[ 0, 1, pack('S*', 1, 3) ],
	[ 0, 3, pack('S*', 1, 0, 1, 3, 3) ])
{
	my ($is_named, @chunks) = @$chunks;

	write_file("$summaries/$summary", made_summary(@fork, $full, @chunks));
	my (undef, @skipped) = page_at($far, $lsn);
	my %is_skipped = map { $_ => 1 } @skipped;
	is(scalar(grep { $is_skipped{$_} } @inside),
		$is_named ? 0 : @inside,
		"a block of another chunk: $chunks[0] chunks, named: $is_named");
}

# What is no file, or none that can be read.
unlink "$summaries/$summary";
mkdir "$summaries/$summary";
is(join(' ', page_at($cold, $lsn)),
	"$page @others", 'a summary that is a directory is not used');
rmdir "$summaries/$summary";
mkfifo("$summaries/$summary", 0600) or die "mkfifo failed: $!";
is(join(' ', page_at($cold, $lsn)),
	"$page @others", 'a summary that is a pipe is not opened');
unlink "$summaries/$summary";

# Of another timeline, or of no LSNs.
foreach my $name (
	$summary =~ s/^.{8}/00000000/r,
	$summary =~ s/^.{8}/00000002/r,
	$summary =~ s/^(.{8}).{32}/$1 . 'F' x 32/er,
	$summary =~ s/^.{8}/0000001/r,
	"$summary.old")
{
	write_file("$summaries/$name", $sound);
	is(join(' ', page_at($cold, $lsn)),
		"$page @others", "a file named $name is not used");
	unlink "$summaries/$name";
}

# One that changes, and then is removed, when the session has listed it.  The time
# of the directory does not tell.
write_file("$summaries/$summary", $sound);
write_file("$dir/sound", $sound);
write_file("$dir/other", $sound ^ ("\0" x 100 . "\1"));
my $sql =
  "SELECT md5(walredo_page_at('$cold'::walredo_tag, '$lsn'))";
($out, $err) = ask($node, 'postgres', <<SQL);
$settings
$sql;
\\! cat $dir/other >$summaries/$summary
$sql;
\\! cat $dir/sound >$summaries/$summary
\\! touch -r $summaries $dir/time
\\! rm $summaries/$summary
\\! touch -r $dir/time $summaries
$sql;
SQL
is($out, "$page\n$page\n$page", 'a summary changes meanwhile, and is removed');
is( join(' ', skipped($err)),
	join(' ', sort @all, @others, @others),
	'... and is then not used');
write_file("$summaries/$summary", $sound);

# The WAL is another server's, as far as anybody can tell.
my $archive = copy_segments($wal, "$dir/archive");
($out, $err) = ask($node, 'postgres', <<SQL);
$settings
SELECT md5(walredo_page_at('$cold'::walredo_tag, '$lsn',
	wal_directory => '$archive'));
SELECT md5(walredo_page_at('$cold'::walredo_tag, '$lsn',
	wal_directory => '$archive:\$pg_wal'));
SQL
is($out, "$page\n$page", 'of an archive, the page is the same');
unlike($err, qr/WAL summaries/, '... and summaries are not used');

#
# Files that come and go
#

mkdir "$dir/space" or die "mkdir failed: $!";
query("CREATE TABLESPACE space LOCATION '$dir/space'");
query('CREATE DATABASE removed STRATEGY wal_log');
query(<<'SQL');
CREATE TABLE grown (i int, x text);
CREATE TABLE truncated (i int, x text);
CREATE TABLE dropped (i int, x text);
CREATE TABLE rewritten (i int, x text);
CREATE TABLE elsewhere (i int, x text) TABLESPACE space;
SQL
my @tables = qw(grown truncated dropped rewritten elsewhere);
query("INSERT INTO $_ SELECT g, repeat('x', 300) FROM generate_series(1, 500) g")
  foreach @tables;
my %tags = map { ("$_ 2" => tag($_, 2), "$_ 15" => tag($_, 15)) } @tables;
$tags{'removed database'} = tag_in('removed');
$tags{"map of $_"} = $tags{"$_ 2"} =~ s/ blk .*/ fork vm blk 0/r
  foreach qw(grown truncated);
$tags{'pg_xact'} = 'slru pg_xact/0000 blk 0';
summarize();
my @lsns = ($lsn);
fill('hot', 2);
summarize();
push @lsns, query('SELECT pg_current_wal_flush_lsn()');
query(<<'SQL');
INSERT INTO grown SELECT g, repeat('x', 300) FROM generate_series(1, 300) g;
DELETE FROM truncated WHERE i > 100;
SQL
query('VACUUM truncated');
query('DROP TABLE dropped');
query('TRUNCATE rewritten');
query('DROP DATABASE removed');
query("CREATE DATABASE $_ STRATEGY $_") foreach qw(wal_log file_copy);
$tags{"$_ database"} = tag_in($_) foreach qw(wal_log file_copy);
$tags{'grown 25'} = tag('grown', 25);
$tags{'rewritten 0'} = tag('rewritten', 0) =~ s/blk.*/blk 0/r;
query('SELECT pg_switch_wal()');
push @lsns, query('SELECT pg_current_wal_flush_lsn()');
fill('hot', 3);
summarize();
fill('hot', 3);
summarize();
push @lsns, query('SELECT pg_current_wal_flush_lsn()');

my %skips;
foreach my $name (sort keys %tags)
{
	$skips{$name} += check($tags{$name}, $_, "$name at $_") foreach @lsns;
}
foreach my $name (sort keys %skips)
{
	if ($name =~ /^(elsewhere|map|pg_xact)/)
	{
		is($skips{$name}, 0, "$name: all WAL is read");
	}
	else
	{
		cmp_ok($skips{$name}, '>', 0, "$name: some WAL is not read");
	}
}

#
# Another timeline
#

$node->stop;
$node->append_conf('postgresql.conf', "primary_conninfo = ''\n");
$node->set_standby_mode;
$node->start;
$node->promote;
fill('hot', 3);
summarize();
fill('hot', 3);
$redo = summarize();
$lsn = query('SELECT pg_current_wal_flush_lsn()');
@skipped = check($cold, $lsn, 'a page on a new timeline');
cmp_ok(scalar(grep { /^00000002/ } @skipped),
	'>=', 3, '... for which segments of the new timeline are not read');
cmp_ok(scalar(grep { /^00000001/ } @skipped),
	'>=', 6, '... and none of the old one');

#
# Every page of a mixed workload
#

# The segment in which the database is created is to be in one summary.
fill('hot', 1);
WalredoWorkload::run($node);
summarize();
query("CREATE FUNCTION summaries_check(int) RETURNS text
	AS '$dir/summaries_test.so' LANGUAGE C");
my ($rc, $totals, $error) =
  $node->psql('postgres', 'SELECT summaries_check(7)');
is($error, '', 'summaries rule out no segment that changes a page');
note $totals;
my %n = split / /, $totals;
cmp_ok($n{pages}, '>', 1000, '... of many pages');
cmp_ok($n{changed}, '>', 1000, '... which have changed');
cmp_ok($n{ended}, '>', 100, '... or ended');
cmp_ok($n{ruled_out}, '>', 10000, '... and many are ruled out');

$node->stop;
done_testing();
