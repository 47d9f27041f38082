# The history of a page, the changes of a page, and records of WAL are read no
# further than a query needs them: not the segments before the range and after the
# last row.  A page that is not asked for is not made, and needs no memory, nor a
# temporary file.  Files that are created, where WAL says so of one that is there.
#
# Seen to fail: when records were kept without limit until a page was asked for;
# when each page was made; when a file that is created was never, or always, a
# change of its pages; when what came before the range did not count for that;
# when all WAL was read for a range, or before the first row was returned.

use WalredoTest;

my $node = wal_server(
	'main',
	conf => <<'CONF');
shared_preload_libraries = 'walredo'
log_temp_files = 0
CONF
my $archive = $node->basedir . '/copy';

$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
SQL

sub lsn
{
	return $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
}

sub value
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# A hot page, which is changed in many segments, without an image after the first
# change.
my $start = lsn();
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE hot (id int, t text);
ALTER TABLE hot ALTER t SET STORAGE PLAIN;
INSERT INTO hot VALUES (0, repeat('x', 2650));
SQL
my $tag = value("SELECT walredo_tag('hot', 0)");
my $changes = 4000;
$node->safe_psql('postgres', <<SQL);
DO \$\$
BEGIN
	FOR i IN 1 .. $changes LOOP
		UPDATE hot SET t = repeat(chr(65 + i % 26), 2650);
		COMMIT;
	END LOOP;
END
\$\$;
SQL
my $end = lsn();
my $history = "walredo_page_history('$tag', '$start', '$end')";
my $rows = value("SELECT count(*) FROM $history");
cmp_ok($rows, '>=', $changes, 'rows of the history');

#
# Pages that are not asked for
#

sub requests
{
	return value('SELECT requests FROM walredo_stat');
}

# Runs a query in one session, and returns its result, how many requests it made,
# and its temporary files.
sub costs
{
	my ($sql) = @_;
	my $log_size = -s $node->logfile;
	my $before = requests();
	my $result = value($sql);

	return ($result, requests() - $before,
		scalar(() = slurp_file($node->logfile, $log_size) =~ /temporary file/g));
}

is_deeply([ costs("SELECT count(*) FROM $history") ],
	[ $rows, 0, 0 ], 'no page is asked for');
is_deeply([ costs("SELECT count(*) FROM (SELECT lsn FROM $history ORDER BY lsn DESC) s") ],
	[ $rows, 0, 0 ], '... in order');
is_deeply(
	[
		costs("SELECT count(page) FROM (SELECT page FROM $history LIMIT 2) s")
	],
	[ 2, 2, 0 ],
	'the first two pages');

# The last page alone.  There are more records before it than are collected, so
# that they are replayed a few times, but by far not each.
my ($md5, $requests, $files) = costs(<<SQL);
SELECT md5(page) FROM $history WHERE lsn = (SELECT max(lsn) FROM $history)
SQL
is($md5, value("SELECT md5(walredo_page_at('$tag', '$end'))"), 'the last page');
cmp_ok($requests, '>', 3, '... for which records are replayed some times');
cmp_ok($requests, '<', 10, '... together');
is($files, 0, '... and need no temporary file');

is(value(<<SQL), "$rows|t", 'every 100th page');
SELECT max(n), bool_and(page = walredo_page_at('$tag', lsn))
FROM (SELECT lsn, page, row_number() OVER (ORDER BY lsn) AS n FROM $history) h
WHERE n % 100 = 0 OR n = $rows
SQL

#
# Segments that are not needed
#

my $middle = value("SELECT lsn FROM (SELECT lsn, row_number() OVER () AS n FROM $history) h WHERE n = $rows / 2");
my $first_segment = segment_name(1, $start);
my $middle_segment = segment_name(1, $middle);
my $last_segment = segment_name(1, $end);

# A copy of WAL in which the segments after the first are damaged, and one in
# which nobody can read those before the middle.
copy_segments($node->data_dir . '/pg_wal', $archive);
my $cut = copy_segments($archive, $node->basedir . '/cut');
my $late = copy_segments($archive, $node->basedir . '/late');
foreach my $name (grep { $_ gt segment_name(1, segment_end($start)) && $_ le $last_segment }
	slurp_dir($cut))
{
	open my $fh, '+<:raw', "$cut/$name" or die "could not open $name: $!";
	seek $fh, 4096, 0;
	print $fh 'x' x 100000;
	close $fh;
}
my @unreadable = grep { /^[0-9A-F]{24}$/ && $_ lt $middle_segment } slurp_dir($late);
cmp_ok(scalar(@unreadable), '>', 1, 'segments before the middle');
chmod 0, map { "$late/$_" } @unreadable;

foreach my $from (
	"walredo_page_history('$tag', '0/0', '$end', '$cut')",
	"walredo_page_records('$tag', '0/0', '$end', '$cut')",
	"walredo_wal_records('0/0', '$end', '$cut')")
{
	my ($function) = $from =~ /^(\w+)/;

	is(value("SELECT count(*) FROM (SELECT FROM $from LIMIT 10) s"),
		10, "$function: the first rows");
	is(value("SELECT count(*) FROM (SELECT * FROM $from LIMIT 3) s"),
		3, "$function: all columns of the first rows");
	like(
		error_of($node, 'postgres', "SELECT count(*) FROM $from"),
		qr/ERROR:  XX001: /,
		"$function: all rows");
}

foreach my $range ("'$middle', '$end'", "'$middle', '$open_end'")
{
	foreach my $from (
		"walredo_page_history('$tag', $range, '%s')",
		"walredo_page_records('$tag', $range, '%s')",
		"walredo_wal_records($range, '%s')")
	{
		my ($function) = $from =~ /^(\w+)/;
		my $column =
		  $function eq 'walredo_page_history' ? 'lsn' : 'end_lsn';
		my ($expected, $got) = map {
			value(sprintf "SELECT count(*), min($column), max($column), md5(string_agg(record_type, '')) FROM $from", $_)
		} $archive, $late;

		is($got, $expected, "$function from the middle on");
	}
}
chmod 0600, map { "$late/$_" } @unreadable;

#
# A file that is created
#

# In a copy of WAL, a message becomes a record that says that the file was created
# which has been there for long.  That is a change of the page if there was one.
my ($spc, $db, $rel) = $tag =~ m{^rel (\d+)/(\d+)/(\d+) };
my ($before, $created, $after) = (lsn());
$created = value("SELECT pg_logical_emit_message(false, 'p', repeat('m', 50))");
value("INSERT INTO hot VALUES (1, 'after')");
value('CHECKPOINT');
$after = lsn();
my ($at, $rec) = split /\|/, value(<<SQL);
SELECT start_lsn, encode(rec, 'hex') FROM walredo_wal_records('$before', '$after')
WHERE resource_manager = 'LogicalMessage'
SQL
$rec = pack 'H*', $rec;
my $length = length($rec) - $record_header_size - 2;
my $record = make_record(2, 0x10, [],
	pack('LLLl', $spc, $db, $rel, 0) . "\0" x ($length - 16));
substr($record, 8, 8) = substr($rec, 8, 8);
my $recreated = copy_segments($node->data_dir . '/pg_wal', $node->basedir . '/recreated');
overwrite_record($recreated, $at, sealed_record($record));

# from where there is no page yet, and where there is one, with and without pages
foreach my $from ('0/0', $start, $middle, $before)
{
	my $rows = "walredo_page_history('$tag', '$from', '$after', '$recreated') WHERE lsn >= '$before'";

	is(value("SELECT string_agg(record_type, ' ') FROM $rows"),
		'CREATE INSERT', "a file that is there is created, from $from");
	is( value(
			"SELECT string_agg(record_type || (page IS NULL)::text, ' ') FROM $rows"),
		'CREATEtrue INSERTtrue',
		"... with its page");
}

# Where no page is before it, there is no row: this file is created twice.
is( value(
		"SELECT string_agg(record_type, ' ') FROM walredo_page_history('rel $spc/$db/$rel blk 7', '$_', '$after', '$recreated')"
	),
	'',
	"a page that was not there, from $_")
  foreach $start, $before;

$node->stop;
done_testing();
