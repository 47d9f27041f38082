# Reports where WAL cannot be read: a record is broken, a segment is missing, or
# WAL ends before the range does.  What can be read is shown, and the rest is
# said.
#
# A page is changed in several segments, of which copies are made.  What a report
# about a broken copy shows is compared with what walredo_page_history() says of
# the whole one.
#
# Seen to fail: when the report did not go on after a break; when the page was
# replayed across one; when changes were marked against a picture before one; when
# a break was not said; when the time of a change was looked for across one.

use FindBin;
use lib $FindBin::RealBin;

use WalredoTest;

my $node = wal_server('main', conf => <<'CONF');
autovacuum = off
shared_preload_libraries = 'walredo'
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION walredo');

sub value
{
	return plain_lsns($node->safe_psql('postgres', shift));
}

# The page is changed a few times in each of these segments.  The first change in
# those with a checkpoint has an image.
my $start = value('SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int, n int) WITH (fillfactor = 50);
INSERT INTO t SELECT i, 0 FROM generate_series(1, 20) i;
CREATE TABLE u (i int);
CREATE TABLE v (i int);
INSERT INTO v VALUES (1);
SQL
my (@first, @last);
foreach my $segment (0 .. 5)
{
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$node->safe_psql('postgres', 'CHECKPOINT') if $segment == 1 || $segment == 4;
	push @first, value('SELECT pg_current_wal_insert_lsn()');
	$node->safe_psql('postgres', "UPDATE t SET n = n + 1 WHERE id = $_")
	  foreach 1 .. 3;
	$node->safe_psql('postgres', 'INSERT INTO u VALUES (1)') if $segment == 4;
	push @last, value('SELECT pg_current_wal_insert_lsn()');
}
$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
my $page = "walredo_tag('t', 0)";
my $whole = copy_segments($node->data_dir . '/pg_wal', $node->basedir . '/whole');
my $open = value('SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
unlink map { "$whole/$_" } grep { /^[0-9A-F]{24}$/ && $_ ge $open } slurp_dir($whole);

# Records of the page: start and end LSN, and whether the page is known.
my @history = map { [ split /\|/ ] } split /\n/, value(<<SQL);
SELECT start_lsn, lsn FROM walredo_page_history($page, '$start', 'FFFFFFFF/FFFFFFFF', '$whole')
ORDER BY lsn
SQL

# The end LSNs of those that begin in some ranges, one a line.
sub records
{
	my @ranges = @_;

	return join "\n", map { $_->[1] } grep {
		my $lsn = lsn_to_int($_->[0]);
		grep { $lsn >= lsn_to_int($_->[0]) && $lsn < lsn_to_int($_->[1]) } @ranges;
	} @history;
}

# The LSN of the n-th record from 0 on of the page in a segment.
sub record_in
{
	my ($segment, $n) = @_;
	my @in = grep { lsn_to_int($_->[0]) >= lsn_to_int($first[$segment]) } @history;

	return $in[$n][0];
}

# A copy of the whole archive, with the checksum of the records at some LSNs made
# wrong.
my $n_copies = 0;
sub broken_copy
{
	my @lsns = @_;
	my $copy = copy_segments($whole, $node->basedir . '/copy' . ++$n_copies);

	overwrite("$copy/" . segment_name(1, $_),
		lsn_to_int($_) % $segment_size + $record_header_size - 4, "\x12\x34\x56\x78")
	  foreach @lsns;
	return $copy;
}

# A report as text, in one line; and the LSNs of its pictures, one a line, with
# what it says of breaks among them.
sub report
{
	my $arguments = shift;
	my $html = value("SELECT walredo_report($arguments)");
	my ($cards) = $html =~ m{<ol class="cards">(.*)</ol>}s;
	my @pictures = map {
		m{<h3>(?:Record \d+, ([^<]*)|(WAL cannot be read)<)} ? $1 // 'break'
		  : die 'what is this?'
	} ($cards // '') =~ m{<li class="card[^>]*>(.*?)</li>}gs;
	my $text = $html =~ s/<style>.*?<\/style>//sr =~ s/<title>.*?<\/title>//gsr;

	value("SELECT xmlparse(DOCUMENT \$html\$$html\$html\$) IS NULL");
	$text =~ s/<[^>]*>/ /g;
	$text =~ s/&#34;/"/g;
	$text =~ s/\s+/ /g;
	return ($text, join("\n", @pictures), $html);
}

#
# A broken record
#

my $broken = record_in(3, 1);
my $copy = broken_copy($broken);
my $next = int_to_lsn(int(lsn_to_int($broken) / $segment_size + 1) * $segment_size);
my ($text, $pictures, $html) = report("$page, '$start', NULL, '$copy'");
is($pictures,
	join("\n",
		records([ $start, $broken ]), 'break', records([ $next, $open_end ])),
	'what comes before and after a broken record');
like($text,
	qr{WAL cannot be read\. It was not read from \Q$broken\E to \Q$next\E: no valid WAL record at \Q$broken\E\. WAL in directory "[^"]*" is corrupted or ends there: incorrect checksum},
	'... which is said');
like($html, qr{<p class="note damage"><b>WAL cannot be read}, '... in red');
like($text, qr{Sound\. The page that the server has now is the one},
	'the page is compared, as there is an image since');
my ($after) = $html =~
  m{<h3>WAL cannot be read</h3>.*?(<li class="card">.*?</li>)}s;
like($after, qr{<svg}, 'the image makes a picture');
like($after, qr{What has changed is not known, as the page before is not},
	'... of which nobody knows what has changed');

# The same without bounds, and with the whole archive
($text, $pictures) = report("$page, NULL, NULL, '$copy'");
like($pictures, qr{\nbreak\n}, 'the same from the begin of WAL');
($text, $pictures) = report("$page, '$start', NULL, '$whole'");
is($pictures, records([ $start, $open_end ]), 'nothing is broken');
unlike($text, qr{cannot be read}, '... which nobody says then');

# Without an image since.  What comes last is not what WAL says.
my $late = record_in(4, 1);
$copy = broken_copy($late);
$next = int_to_lsn(int(lsn_to_int($late) / $segment_size + 1) * $segment_size);
($text, $pictures, $html) = report("$page, '$start', NULL, '$copy:\$pg_wal'");
is($pictures,
	join("\n", records([ $start, $late ]), 'break', records([ $next, $open_end ])),
	'a broken record after the last image');
like($text,
	qr{Not proven\. Whether the page is what WAL says is not known\. The comparison has failed: no valid WAL record at \Q$late\E},
	'whether the page is sound is not known');
unlike($text, qr{Sound\.|Damaged\.}, '... and nothing else is said of it');
($after) = $html =~ m{<h3>WAL cannot be read</h3>.*?(<li class="card">.*?</li>)}s;
like($after, qr{WAL has no image of it from which it could be made},
	'there is no picture, as it is not known what is missing');

# What WAL makes of a page before a break is not what the page has to be now.
($text, $pictures) =
  report("walredo_tag('v', 0), '$start', NULL, '$copy:\$pg_wal'");
like($text, qr{Not proven\. .* no valid WAL record at \Q$late\E},
	'a page that was changed only before a broken record');
like($pictures, qr{\S\nbreak$}, '... may have been changed since');

# Two of them, and one in the last segment.
my $last = record_in(5, 2);
($text, $pictures) =
  report("$page, '$start', NULL, '" . broken_copy($broken, $last) . "'");
is(scalar(() = $pictures =~ /break/g), 1, 'the end of an archive is no break');
$copy = broken_copy($broken, $late);
($text, $pictures) = report("$page, '$start', NULL, '$copy'");
is(scalar(() = $pictures =~ /break/g), 2, 'two broken records');
is(scalar(() = $text =~ /It was not read from/g), 4, '... are said twice each');

#
# A range that begins after a broken record, or ends before it
#

($text, $pictures) = report("$page, '$first[2]', '$broken', '$copy'");
is($pictures, records([ $first[2], $broken ]), 'a range that ends before it');
unlike($text, qr{WAL cannot be read}, '... is whole');
($text, $pictures) = report("$page, '$next', NULL, '$copy'");
is($pictures, records([ $next, $open_end ]), 'a range that begins after it');
like($text,
	qr{Before the first record: WAL from which it could be made cannot be read\. no valid WAL record at \Q$late\E},
	'... without a page');

#
# A missing segment, and one whose header is broken
#

foreach my $way ('missing', 'broken')
{
	$copy = broken_copy();
	my $file = "$copy/" . segment_name(1, $broken);
	my $from = int_to_lsn(int(lsn_to_int($broken) / $segment_size) * $segment_size);
	my $to = segment_end($broken);

	$way eq 'missing' ? unlink $file : overwrite($file, 0, "\0" x 40);
	($text, $pictures) = report("$page, '$start', NULL, '$copy'");
	is($pictures,
		join("\n", records([ $start, $from ]), 'break', records([ $to, $open_end ])),
		"a segment that is $way");
	like($text, qr{It was not read from \Q$from\E to \Q$to\E: }, '... is said');
}

# The range goes on after WAL.
$copy = broken_copy();
unlink map { "$copy/" . segment_name(1, $first[$_]) } 4, 5;
my $from = segment_end($first[3]);
($text, $pictures) = report("$page, '$start', '$last[5]', '$copy'");
is($pictures, records([ $start, $from ]) . "\nbreak", 'WAL that ends');
like($text, qr{It was not read from \Q$from\E on: WAL segment "\w+" is missing},
	'... is said');

#
# Errors that remain
#

my $nothing = $node->basedir . '/nothing';
mkdir $nothing;
like(error_of($node, 'postgres', "SELECT walredo_report($page, NULL, NULL, '$nothing')"),
	qr/ERROR:  58P01: /, 'no WAL');
copy_segments($whole, $nothing);
overwrite("$nothing/$_", 0, "\0" x 40)
  foreach grep { /^[0-9A-F]{24}$/ } slurp_dir($nothing);
like(error_of($node, 'postgres', "SELECT walredo_report($page, '$first[1]', '$last[5]', '$nothing')"),
	qr/ERROR:  XX001: /, '... that can be read');
like(
	error_of($node, 'postgres',
		"SELECT walredo_report($page, '$last[1]', '$first[1]', '$copy')"),
	qr/ERROR:  22023: /, 'a range that ends before it begins');

#
# Relations
#

$copy = broken_copy($late);
$html = value("SELECT walredo_relation_report('t', 'main', '$start', NULL, '$copy:\$pg_wal')");
value("SELECT xmlparse(DOCUMENT \$html\$$html\$html\$) IS NULL");
like($html,
	qr{<p class="note damage"><b>WAL cannot be read\.</b>\s+It was not read from \Q$late\E to \Q$next\E: no valid WAL record},
	'the map of a relation says it, too');
like($html,
	qr{<b>Not verified\.</b>\s+Whether blocks are damaged is not known\. The comparison has failed: no valid WAL record at \Q$late\E},
	'... and that nothing was verified');
like($html, qr{Not compared: 1 block}, '... and of how many blocks');
unlike($html, qr{All blocks are ok}, '... of which none is ok');
my $count = () = (records([ $start, $late ]) . "\n" . records([ $next, $open_end ])) =~ /\S+/g;
like($html, qr{in $count records}, 'records that could be read are counted');
$html = value("SELECT walredo_relation_report('t', 'main', '$start', '$last[5]', '$copy:\$pg_wal')");
like($html, qr{<b>WAL cannot be read}, '... with an end, too');

# When a block was changed whose change is in a segment that is missing; the next
# transaction whose end is known is later.
$node->stop;
unlink map { $node->data_dir . "/pg_wal/$_" }
  grep { /^[0-9A-F]{24}$/ && $_ lt $open } slurp_dir($node->data_dir . '/pg_wal');
$node->start;
$copy = broken_copy();
unlink "$copy/" . segment_name(1, $first[4]);
my @titles;
foreach my $directory ($copy, $whole)
{
	$html = value("SELECT walredo_relation_report('u', 'main', '$start', NULL, '$directory')");
	push @titles, $html =~ m{id="map-change".*?<title>([^<]*)</title></rect>}s;
}
like($titles[1], qr{\d\d:\d\d:\d\d}, 'when a block was changed');
like($titles[0], qr{unknown}, '... which is not known without that segment');

$node->stop;
done_testing();
