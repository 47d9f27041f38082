# Records that are read alone, by the LSNs that an index names: whatever a record
# spans, and whatever is wrong with the WAL that it is in.
#
# Pages that are made with indexes are compared with those that are made without,
# and at last with the server's own.  That records are really read alone, and what
# is read for them, shows in an archive of which all other WAL has been wiped out,
# behind the back of the index: the times of the files are set back.
#
# Seen to fail: with no look at checksums of such records; with a held file taken for
# that of another segment; and with more read than the pages of the record.

use Cwd qw(getcwd);
use List::Util qw(first);
use WalredoArchives;
use WalredoTest;

my $scratch = PostgreSQL::Test::Utils::tempdir();
$scratch = getcwd() . "/$scratch" if $scratch !~ m{^/};

my $node = wal_server('single');
$node->append_conf('postgresql.conf', 'wal_log_hints = on');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLE t (i int, x text);
CREATE TABLE u (i int);
INSERT INTO u VALUES (0);
SQL

sub query
{
	return $node->safe_psql('postgres', shift);
}

#
# Records of all sorts
#

my $start = query('SELECT pg_switch_wal() \gset
	SELECT pg_current_wal_insert_lsn()');
my (@records, $end);

# Which of the things does a record span, or begin, that are of interest here?
sub sorts_of
{
	my ($from, $to) = map { lsn_to_int($_) } @_;
	my $pages = int(($to - 1) / $page_size) - int($from / $page_size);
	my @sorts;

	push @sorts, 'two pages' if $pages == 1;
	push @sorts, 'more pages' if $pages > 1;
	push @sorts, 'two segments'
	  if int(($to - 1) / $segment_size) > int($from / $segment_size);
	push @sorts, 'first of a segment' if $from % $segment_size == 40;
	push @sorts, 'first of a page' if $from % $page_size == 24;
	push @sorts, 'last of a page' if $to % $page_size == 0;
	return @sorts ? @sorts : ('other');
}

# Makes some until there are some of each sort.  What is first in a segment, or
# where a page ends, is a matter of chance.  The first page that VACUUM marks as
# all-visible after a checkpoint is logged together with that of the visibility map,
# which takes more than two pages of WAL.
my %found;
foreach my $round (1 .. 20)
{
	my $from = query(<<SQL);
SELECT pg_switch_wal() \\gset
INSERT INTO t SELECT -$round, 'first';
SELECT pg_current_wal_insert_lsn();
SQL
	query(<<SQL);
INSERT INTO t SELECT g, repeat('x', 300 + g % 7) FROM generate_series(1, 500) g;
CHECKPOINT;
UPDATE t SET x = repeat('y', 1000 + i % 9) WHERE i % 50 = $round;
INSERT INTO t SELECT g, repeat('z', 900 + g % 64) FROM generate_series(1, 700) g;
CHECKPOINT;
VACUUM t;
SELECT pg_switch_wal();
INSERT INTO u VALUES ($round);
SQL
	$end = query('SELECT pg_current_wal_flush_lsn()');
	@records = map { [ split /\|/ ] } split /\n/, query(<<SQL);
SELECT start_lsn, r.end_lsn, tag
FROM walredo_wal_records('$start', '$end') r,
	LATERAL walredo_decode(r.end_lsn, r.rec) d
WHERE tag::text ~ (substring(walredo_tag('t', 0)::text, '.* blk') || ' \\d+\$')
ORDER BY 1
SQL
	%found = ();
	foreach my $record (@records)
	{
		push @{ $found{$_} }, $record
		  foreach sorts_of($record->[0], $record->[1]);
	}
	last
	  if $round >= 3 && keys(%found) == 7;
}
is(join(', ', sort keys %found),
	'first of a page, first of a segment, last of a page, more pages, other, two pages, two segments',
	'there are records of all sorts');

# Some of each sort: each of them is the last one of its page then.
my @chosen = map { @{ $found{$_} }[ 0 .. ($#{ $found{$_} } > 5 ? 5 : $#{ $found{$_} }) ] }
  sort keys %found;

my $archive = copy_segments($node->data_dir . '/pg_wal', "$scratch/archive");

# Those of whole segments since the table was made.
sub leave_out_others
{
	my ($from, $to) = map { segment_name(1, $_) } @_;

	unlink map { "$archive/$_" } grep { $_ lt $from || $_ ge $to }
	  grep { -f "$archive/$_" } slurp_dir($archive);
	return;
}
leave_out_others($start, $end);

# The pages after each of some records, in any order; with indexes, or without.
sub pages
{
	my ($directory, $indexed, @wanted) = @_;
	my $values = join ', ',
	  map { "($_, '$wanted[$_][1]'::pg_lsn, '$wanted[$_][2]'::walredo_tag)" }
	  0 .. $#wanted;

	return value_or_error($node, 'postgres',
		($indexed ? '' : 'SET walredo.index_size = 0;') . <<SQL);
SELECT md5(walredo_page_at(tag, lsn, wal_directory => '$directory'))
FROM (VALUES $values) v (i, lsn, tag) ORDER BY i
SQL
}

sub index_wal
{
	return query(
		"SELECT indexed = segments FROM walredo_index_wal('$_[0]')");
}

sub is_same_with_index
{
	my ($directory, $pattern, $name, @wanted) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $without = pages($directory, 0, @wanted);
	my $with = pages($directory, 1, @wanted);

	# What is wrong may be found at another place first.
	like($without, $pattern, "$name: without indexes");
	s/^(\w{5}): .*/$1/s foreach $without, $with;
	is($with, $without, "$name: with indexes");
	return $without;
}

my $are_pages = qr/^\w{32}(?:\n\w{32})*\n*\z/;

is(index_wal($archive), 't', 'all segments have an index');
my $plain = is_same_with_index($archive, $are_pages, 'each sort', @chosen);
is_same_with_index($archive, $are_pages, 'backwards', reverse @chosen);
is( query(<<SQL),
SELECT count(*) > 10, count(*) FILTER (WHERE
	walredo_page_mask('Heap', get_raw_page('t', blk), blk) <> walredo_page_mask('Heap',
		walredo_page_at('t', blk, '$end'), blk))
FROM generate_series(0, 20) blk
SQL
	't|0',
	'the server has these pages');

#
# Compressed
#

foreach my $compression (@compressions)
{
	my $compressed =
	  compressed_copy($compression, $archive, "$scratch/$compression",
		qr/^[0-9A-F]{24}$/);

	is(index_wal($compressed), 't', "$compression: all segments have an index");
	is(pages($compressed, 1, @chosen), $plain, "$compression: pages");
	is( join("\n", reverse split /\n/,
			pages($compressed, 1, reverse @chosen)),
		$plain =~ s/\s+\z//r,
		"$compression: pages, backwards");
}

#
# No other WAL is read
#

# Changes files of an indexed copy of the archive, of which the index must not know.
sub change
{
	my ($name, $change) = @_;
	my $copy = copy_segments($archive, "$scratch/$name");

	index_wal($copy) eq 't' or die 'no index';
	system_or_bail("cp -a '$copy' '$copy.before'");
	$change->($copy);
	system_or_bail(
		"cd '$copy' && for f in *; do touch -r '$copy.before'/\$f \$f; done");
	return $copy;
}

# The records of a page, up to one of them.
my %of_page;

sub records_of_page
{
	my $last = shift;

	if (!%of_page)
	{
		push @{ $of_page{ $_->[2] } }, $_ foreach @records;
	}
	return grep { lsn_to_int($_->[0]) <= lsn_to_int($last->[0]) }
	  @{ $of_page{ $last->[2] } };
}

# The pages of WAL that records are in, by their numbers.
sub wal_pages
{
	return map { $_ => 1 } map
	{
		my ($from, $to) = map { lsn_to_int($_) } @$_[ 0, 1 ];
		int($from / $page_size) .. int(($to - 1) / $page_size)
	} @_;
}

# Is there other WAL between the records of a page?
sub is_spread
{
	my %pages = wal_pages(records_of_page(shift));
	my @numbers = sort { $a <=> $b } keys %pages;

	return $numbers[-1] - $numbers[0] + 1 > @numbers;
}

# Keeps the pages that records are in, and the header of each file.
sub wipe_out_others
{
	my ($copy, @kept) = @_;
	my %is_kept = wal_pages(@kept);

	foreach my $file (grep { /^[0-9A-F]{24}$/ } slurp_dir($copy))
	{
		my $bytes = slurp_file("$copy/$file");
		my $per_segment = $segment_size / $page_size;
		my $page = hex(substr($file, 16)) * $per_segment;

		foreach my $i (0 .. $per_segment - 1)
		{
			next if $is_kept{ $page + $i };
			my $keep = $i == 0 ? 40 : 0;
			substr($bytes, $i * $page_size + $keep, $page_size - $keep) =
			  "\xff" x ($page_size - $keep);
		}
		overwrite("$copy/$file", 0, $bytes);
	}
	return;
}

foreach my $sort ('first of a segment', 'two pages', 'more pages', 'two segments')
{
	my $record = first { is_spread($_) } @{ $found{$sort} } or die "no $sort";
	my @of_page = records_of_page($record);
	my $name = $sort =~ s/ /_/gr;
	my $copy = change($name, sub { wipe_out_others(shift, @of_page) });

	is( pages($copy, 1, $record),
		pages($archive, 0, $record),
		"$sort: only the records of the page are read");
	like(pages($copy, 0, $record), qr/^(?:XX001|58P01|22023|55000): /,
		"$sort: ... and without an index, there is an error");
}

#
# WAL is not what the index says
#

# The records of the page that some record ends with, which spans two segments.
my ($long) = @{ $found{'two segments'} };
my $next = segment_name(1, $long->[1]);
my $at = lsn_to_int($long->[1]) % $segment_size;

my $error = qr/^(?:XX001|58P01): /;
is_same_with_index(
	change('missing', sub { unlink "$_[0]/$next" or die }),
	$error, 'the rest of a record is missing', $long);
is_same_with_index(
	change('wiped', sub { overwrite("$_[0]/$next", 40, "\0" x ($at - 40)) }),
	$error, 'the rest of a record is wiped out', $long);
is_same_with_index(
	change('length', sub { overwrite("$_[0]/$next", 16, pack 'L', 7) }),
	$error, 'the rest of a record is of another length', $long);
is_same_with_index(
	change('flags', sub { overwrite("$_[0]/$next", 2, pack 'S', 2) }),
	$error, 'a page does not begin with the rest of a record', $long);
is_same_with_index(
	change('foreign', sub { overwrite("$_[0]/$next", 24, pack 'Q', 1) }),
	$error, 'the rest of a record is of another system', $long);
is_same_with_index(
	change('total', sub {
			overwrite("$_[0]/" . segment_name(1, $long->[0]),
				lsn_to_int($long->[0]) % $segment_size, pack 'L', 0x3FFFFFFF);
		}),
	$error, 'a record claims to be of 1 GB', $long);
is_same_with_index(
	change('cut', sub { truncate "$_[0]/$next", $at - 8 or die }),
	$error, 'a file is cut off within a record', $long);

# Where a record began, there is now one that is longer, so that the LSN that the
# index names is within a record.  WAL is valid, without the change of the page.
my ($first, $second, $third);
query('INSERT INTO t VALUES (0, repeat(\'w\', 100))');
foreach my $i (0 .. 50)
{
	my $from = query('SELECT pg_current_wal_insert_lsn()');
	query("INSERT INTO u VALUES ($i); INSERT INTO t VALUES (0, 'lost')");
	my $to = query('SELECT pg_current_wal_insert_lsn()');
	my @all = map { [ split /\|/ ] } split /\n/, query(<<SQL);
SELECT start_lsn, r.end_lsn, tag, encode(rec, 'hex')
FROM walredo_wal_records('$from', '$to') r
	LEFT JOIN LATERAL walredo_decode(r.end_lsn, r.rec) d
	ON tag::text ~ '^rel [0-9/]+ blk'
ORDER BY 1
SQL
	my $place = 0;
	($place) = grep { $all[$_][2] ne '' } 1 .. $#all;
	next if !$place || $place + 1 > $#all;
	($first, $second, $third) = @all[ $place - 1 .. $place + 1 ];
	last
	  if int(lsn_to_int($first->[0]) / $page_size) ==
	  int((lsn_to_int($third->[1]) - 1) / $page_size);
	undef $first;
}
ok($first, 'there are three records in one page');
query('SELECT pg_switch_wal(); INSERT INTO u VALUES (0); SELECT pg_switch_wal(); INSERT INTO u VALUES (0)');
copy_segments($node->data_dir . '/pg_wal', $archive);
leave_out_others($start, query('SELECT pg_current_wal_flush_lsn()'));

my $swallowed = change(
	'swallowed',
	sub {
		my $length = lsn_to_int($second->[1]) - lsn_to_int($first->[0]);
		my $record = pack('H*', $first->[3]);

		# An XLOG_NOOP, of another resource manager, with data of any length.
		$record = substr($record, 0, 16) . pack('CCSL', 0x20, 0, 0, 0)
		  . pack('CL', 254, $length - 24 - 5) . 'x' x ($length - 24 - 5);
		overwrite_record($_[0], $first->[0], sealed_record($record));

		# The next record is linked to the one before.
		$record = pack('H*', $third->[3]);
		substr($record, 8, 8) = pack 'Q', lsn_to_int($first->[0]);
		overwrite_record($_[0], $third->[0], sealed_record($record));
	});
my @lost = ([ @$third[ 0, 1 ], $second->[2] ]);
my $lost = is_same_with_index($swallowed, $are_pages,
	'a record is within a longer one', @lost);
isnt($lost, pages($archive, 0, @lost), '... which makes a difference');

$node->stop;
done_testing();
