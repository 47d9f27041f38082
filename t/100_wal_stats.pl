# What WAL consists of: walredo_wal_stats() counts what pg_waldump --stats and
# pg_walinspect count, by resource manager, type of record, relation, transaction
# and minute, over WAL of all kinds of records.  All groupings have the same sums.
# Archives, compressed ones, other timelines and damaged ends are no exception, and
# relations that are gone have their names.
#
# Seen to fail:
# - when the headers of records, the mask of the types of commit records, or the
#   second block of a record were not heeded;
# - when the subtransactions of a commit, the record that assigns them, or the ID
#   of the top-level transaction were passed over, or transactions were kept when
#   they had ended;
# - when a record counted for the time before it, or minutes were counted with
#   fewer bits than there are timestamps;
# - when the server's catalogs, or older WAL, were not asked for names, or names of
#   files whose creation was rolled back were not taken;
# - when a file number that was used again was taken for the same file;
# - when a broken record was counted.

use WalredoArchives;
use WalredoTest;
use WalredoWorkload;

$ENV{TZ} = 'UTC';

my $node = wal_server('main', allows_streaming => 1, conf => WalredoWorkload::conf());
my $data = $node->data_dir;
my $scratch = PostgreSQL::Test::Utils::tempdir;

$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION walredo; CREATE EXTENSION pg_walinspect');

sub query
{
	return $node->safe_psql('postgres', shift);
}

sub current_lsn
{
	return query('SELECT pg_current_wal_flush_lsn()');
}

# The rows of a grouping, from here or from a directory, as a query.
sub stats_of
{
	my ($by, $start, $end, $dir) = @_;

	$dir = defined $dir ? "'$dir'" : 'NULL';
	return "walredo_wal_stats('$start', '$end', $dir, '$by')";
}

my @groupings =
  qw(relation resource_manager record_type transaction minute);
my $sums = 'sum(count), sum(record_size), sum(fpi_size), sum(combined_size)';

# The totals that pg_waldump prints at the end of its statistics.
sub waldump_total
{
	my ($dir, @options) = @_;
	my ($stdout, $stderr);

	IPC::Run::run([ 'pg_waldump', '--stats', '-p', $dir, @options ],
		'>', \$stdout, '2>', \$stderr);
	return $stdout =~ /^Total\s+(\d+)\s+(\d+) \[.*?\]\s+(\d+) \[.*?\]\s+(\d+) \[/m
	  ? "$1|$2|$3|$4"
	  : "pg_waldump failed: $stderr";
}

# Compares the sums of all groupings with given ones.
sub same_sums
{
	my ($expected, $what, $start, $end, $dir) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( join(
			"\n",
			map { query("SELECT $sums FROM " . stats_of($_, $start, $end, $dir)) }
			  @groupings),
		join("\n", ($expected) x @groupings),
		$what);
	return;
}

# Compares two queries.
sub same_rows
{
	my ($got, $expected, $what) = @_;
	my ($got_rows, $expected_rows) = map { query($_) } $got, $expected;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($got_rows, $expected_rows, $what);
	return scalar(() = $expected_rows =~ /^./mg);
}

#
# All kinds of records
#

my $start = current_lsn();

WalredoWorkload::run($node);

my $end = current_lsn();

same_sums(waldump_total("$data/pg_wal", '-s', $start, '-e', $end),
	'the sums are those of pg_waldump', $start, $end);

my $numbers = join ', ', map { ($_, "round(${_}_percentage::numeric, 9)") }
  qw(count record_size fpi_size combined_size);
my $n = same_rows(
	"SELECT resource_manager, $numbers FROM "
	  . stats_of('resource_manager', $start, $end)
	  . ' ORDER BY resource_manager COLLATE "C"',
	"SELECT * FROM (SELECT \"resource_manager/record_type\" AS name, $numbers
		FROM pg_get_wal_stats('$start', '$end')) s
	WHERE count > 0 ORDER BY name COLLATE \"C\"",
	'resource managers are as in pg_walinspect');
cmp_ok($n, '>', 12, '... and nearly all have records');
$n = same_rows(
	"SELECT resource_manager || '/' || record_type, $numbers FROM "
	  . stats_of('record_type', $start, $end)
	  . ' ORDER BY (resource_manager || \'/\' || record_type) COLLATE "C"',
	"SELECT * FROM (SELECT \"resource_manager/record_type\" AS name, $numbers
		FROM pg_get_wal_stats('$start', '$end', true)) s
	WHERE count > 0 ORDER BY name COLLATE \"C\"",
	'types of records are as in pg_walinspect');
cmp_ok($n, '>', 70, '... and there are many of them');

# What pg_walinspect tells of the records of a range, by the first relation that
# each names.
sub relations_of
{
	my ($from, $to) = @_;

	return <<SQL;
SELECT 'rel ' || substring(block_ref FROM 'rel ([0-9/]+)') || ' blk 0' AS tag,
	count(*), sum(record_length - fpi_length) AS record_size, sum(fpi_length) AS fpi_size
FROM pg_get_wal_records_info('$from', '$to')
GROUP BY 1 ORDER BY ('rel ' || substring(min(block_ref) FROM 'rel ([0-9/]+)') || ' blk 0') COLLATE "C"
SQL
}

is( query(<<SQL),
SELECT count(*) FROM pg_get_wal_records_info('$start', '$end')
WHERE (SELECT count(DISTINCT m) FROM regexp_matches(block_ref, 'rel [0-9/]+', 'g') m) > 1
SQL
	0,
	'no record names two relations');
$n = same_rows(
	'SELECT tag, count, record_size, fpi_size FROM '
	  . stats_of('relation', $start, $end)
	  . ' ORDER BY tag::text COLLATE "C"',
	relations_of($start, $end),
	'relations are as in pg_walinspect');
cmp_ok($n, '>', 100, '... and there are many of them');

#
# Transactions
#

# A record of a commit lists the subtransactions; others, which are rolled back,
# count for the top-level transaction only if WAL has told of them before.
my $xacts = stats_of('transaction', $start, $end);
my $records = "pg_get_wal_records_info('$start', '$end')";
$n = same_rows(<<SQL,
SELECT xid, count, combined_size FROM $xacts WHERE committed
	AND xid::text NOT IN (SELECT substring(description FROM '[0-9]+') FROM $records
		WHERE record_type ~ 'ASSIGNMENT|COMMIT_PREPARED')
ORDER BY xid::text
SQL
	<<SQL,
WITH records AS (SELECT * FROM $records),
ends AS (
	SELECT xid AS top, substring(description FROM 'subxacts: ([0-9 ]+)') AS subxacts
	FROM records WHERE record_type = 'COMMIT' AND xid <> 0
),
members AS (
	SELECT top, top AS xid FROM ends
	UNION SELECT top, regexp_split_to_table(trim(subxacts), ' +')::xid FROM ends
)
SELECT top, count(*), sum(record_length) FROM members JOIN records USING (xid)
WHERE top::text NOT IN (SELECT substring(description FROM '[0-9]+') FROM records
	WHERE record_type ~ 'ASSIGNMENT')
GROUP BY top ORDER BY top::text
SQL
	'transactions that have committed are as in pg_walinspect');
cmp_ok($n, '>', 100, '... and there are many of them');
is( query(<<SQL),
SELECT count(*) FILTER (WHERE committed),
	count(*) FILTER (WHERE NOT committed AND pg_xact_status(xid::text::xid8) <> 'aborted'),
	count(*) FILTER (WHERE committed AND at IS DISTINCT FROM pg_xact_commit_timestamp(xid)),
	count(*) FILTER (WHERE NOT committed) > 0
FROM $xacts
SQL
	query("SELECT count(*), 0, 0, true FROM $records WHERE record_type ~ 'COMMIT' AND (xid <> 0 OR record_type <> 'COMMIT')"),
	'transactions have ended as the server says, and when it says');

# Runs some SQL, and returns where its WAL begins and ends.
sub wal_of
{
	my ($sql, $database) = @_;
	my $from = current_lsn();

	$node->safe_psql($database // 'postgres', $sql);
	query('CREATE TABLE flush (); DROP TABLE flush');
	return ($from, current_lsn());
}

# Compares the rows of the transactions that write to a table, which nobody else
# does, with what pg_walinspect has for their IDs.  Each row is to say $committed.
sub is_xact
{
	my ($from, $to, $committed, $xids, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( query(
			"SELECT coalesce(committed::text, 'running'), at IS NULL, count, combined_size FROM "
			  . stats_of('transaction', $from, $to)
			  . " WHERE xid::text IN (SELECT xmin::text FROM ($xids) x)"),
		query(<<SQL), $what);
SELECT '$committed', '$committed' = 'running', count(*), sum(record_length)
FROM pg_get_wal_records_info('$from', '$to') WHERE xid::text IN (SELECT xmin::text FROM ($xids) x)
SQL
	return;
}

query('CREATE TABLE numbers (i int)');
my $rows_xids = 'SELECT xmin FROM numbers';

# A transaction with 200 subtransactions, of which every other one is rolled back
# if that is asked for.
sub many_subtransactions
{
	my $fail_every = shift;

	return "TRUNCATE numbers;\nBEGIN;\nINSERT INTO numbers VALUES (0);\n"
	  . WalredoWorkload::subtransactions('numbers', 200, $fail_every)
	  . "COMMIT;\n";
}

my ($from, $to) = wal_of(many_subtransactions());
is_xact($from, $to, 'true', $rows_xids,
	'subtransactions count for their transaction');

($from, $to) = wal_of(<<SQL);
TRUNCATE numbers;
BEGIN;
INSERT INTO numbers VALUES (1);
SAVEPOINT s;
INSERT INTO numbers VALUES (2);
PREPARE TRANSACTION 'two';
SQL
my $prepared = query('SELECT transaction FROM pg_prepared_xacts');
my (undef, $to_end) = wal_of("COMMIT PREPARED 'two'");
is_xact($from, $to_end, 'true', $rows_xids, '... also for one that is prepared');
is( query(
		'SELECT committed IS NULL AND at IS NULL FROM '
		  . stats_of('transaction', $from, $to)
		  . " WHERE xid = '$prepared'"),
	't',
	'... which has not ended before it is committed');

# Half of the subtransactions are rolled back.  Each then is a row of its own, but
# for those that an assignment has told of while they were running.
($from, $to) = wal_of(many_subtransactions(2));
my $infos = "pg_get_wal_records_info('$from', '$to')";
my $assigned = "SELECT xid FROM $infos WHERE record_type = 'ASSIGNMENT'";
is_xact($from, $to, 'true', "$rows_xids UNION ALL $assigned",
	'... as far as they are not rolled back');
same_rows(
	'SELECT xid, committed, count, combined_size FROM '
	  . stats_of('transaction', $from, $to)
	  . ' WHERE NOT committed ORDER BY xid::text',
	<<SQL, '... and those are rows of their own');
SELECT xid, false, count(*), sum(record_length) FROM $infos
WHERE xid::text IN (SELECT xid::text FROM $infos WHERE record_type = 'ABORT')
	AND xid::text NOT IN (SELECT xid::text FROM ($assigned) a)
GROUP BY xid ORDER BY xid::text
SQL

# With wal_level = logical, WAL tells of all.
$node->append_conf('postgresql.conf', 'wal_level = logical');
$node->restart;
($from, $to) = wal_of(many_subtransactions(2));
$infos = "pg_get_wal_records_info('$from', '$to')";
is_xact($from, $to, 'true',
	"$rows_xids UNION ALL SELECT xid FROM $infos WHERE record_type = 'ABORT'",
	'... except with wal_level = logical');

#
# Names
#

my %number;

# Notes the file number that a relation has now.
sub note_file
{
	my ($relation, $database) = @_;

	return $number{$relation} = $node->safe_psql($database // 'postgres',
		"SELECT pg_relation_filenode('$relation')");
}

# The names of some files, according to the rows of a range.
sub names_of
{
	my ($from, $to, @numbers) = @_;

	return join ' ',
	  map {
		query('SELECT relation FROM '
			  . stats_of('relation', $from, $to)
			  . " WHERE tag::text ~ '/$_ blk 0'")
	  } @numbers;
}

query(<<'SQL');
CREATE TABLE old_table AS SELECT 1 AS i;
CREATE TABLE rewritten AS SELECT 1 AS i;
CREATE TABLE stays AS SELECT 1 AS i;
CREATE TABLE other_name AS SELECT 1 AS i;
CREATE TABLE long (t text);
ALTER TABLE long ALTER t SET STORAGE external;
CREATE DATABASE other;
SQL
$node->safe_psql('other', 'CREATE TABLE elsewhere AS SELECT 1 AS i');
query('CHECKPOINT');
note_file($_) foreach qw(old_table rewritten stays other_name);
note_file('elsewhere', 'other');
my $toast = query("SELECT relname FROM pg_class WHERE oid = (SELECT reltoastrelid FROM pg_class WHERE relname = 'long')");
note_file("pg_toast.$toast");

my $names = current_lsn();
query(<<'SQL');
INSERT INTO old_table VALUES (2);
INSERT INTO rewritten VALUES (2);
INSERT INTO stays VALUES (2);
INSERT INTO other_name VALUES (2);
INSERT INTO long VALUES (repeat('x', 10000));
DROP TABLE old_table;
VACUUM FULL rewritten;
CREATE TABLE new_table AS SELECT 1 AS i;
SQL
note_file('new_table');
query(<<'SQL');
DROP TABLE new_table;
INSERT INTO other_name VALUES (2);
BEGIN;
ALTER TABLE other_name RENAME TO wrong_name;
ROLLBACK;
SQL
$number{undone} = query(<<'SQL');
BEGIN;
CREATE TABLE undone AS SELECT 1 AS i;
SELECT pg_relation_filenode('undone');
ROLLBACK;
SQL
$node->safe_psql('other', 'INSERT INTO elsewhere VALUES (2)');
my $new_rewritten = query("SELECT pg_relation_filenode('rewritten')");
$to = query('CREATE TABLE flush (); SELECT pg_current_wal_flush_lsn()');

my @there = @number{qw(stays other_name undone new_table rewritten)};
is(names_of($names, $to, @there, $new_rewritten, $number{"pg_toast.$toast"}),
	"stays other_name undone new_table rewritten rewritten $toast",
	'relations have their names');
is(names_of($names, $to, @number{qw(old_table elsewhere)}),
	'old_table elsewhere',
	'... from older WAL if they are gone, or in another database');
query('DROP TABLE flush');
$from = current_lsn();
query('INSERT INTO stays VALUES (3)');
$to = current_lsn();
query('ALTER TABLE stays RENAME TO later_name');
is(names_of($from, $to, $number{stays}),
	'later_name',
	'... and otherwise the ones that they have now');
is(names_of($start, $to, $number{stays}),
	'stays', '... unless WAL tells another one');

#
# Archives
#

query('SELECT pg_switch_wal()');
$end = current_lsn();
my $archive = copy_segments("$data/pg_wal", "$scratch/archive");
my $compressed = "$scratch/compressed";
compressed_copy('lz4', $archive, $compressed, qr/^[0-9A-F]{24}$/);

foreach my $by (@groupings)
{
	my $columns =
	  'relation, tag, resource_manager, record_type, xid, committed, at, count, record_size, fpi_size';
	my @queries = map {
		"SELECT $columns FROM " . stats_of($by, $names, $end, $_)
	} undef, $archive, $compressed;

	same_rows($queries[1], $queries[0], "by $by: the same from an archive");
	same_rows($queries[2], $queries[0], '... and from a compressed one');
}

# A directory with copies of the last segments, for what follows.
sub last_segments
{
	my $dir = "$scratch/" . shift;

	mkdir $dir or die "could not make $dir: $!";
	foreach my $name (grep { /^[0-9A-F]{24}$/ } slurp_dir($archive))
	{
		write_file("$dir/$name", slurp_file("$archive/$name"))
		  if $name ge segment_name(1, $names);
	}
	return $dir;
}

# WAL is damaged somewhere.
my $damaged = last_segments('damaged');
my $broken = query(<<SQL);
SELECT start_lsn FROM walredo_wal_records('$names', '$end', '$archive')
WHERE record_length > 60 ORDER BY start_lsn DESC LIMIT 1 OFFSET 50
SQL
overwrite(
	"$damaged/" . segment_name(1, $broken),
	lsn_to_int($broken) % $segment_size + 30, 'damage');
unlink grep { /\/[0-9A-F]{24}$/ && $_ gt "$damaged/" . segment_name(1, $broken) }
  glob "$damaged/*";
my ($stdout, $stderr) = ask($node, 'postgres',
	"SELECT $sums FROM " . stats_of('relation', $names, $open_end, $damaged));
is($stdout, waldump_total($damaged, '-s', $names),
	'WAL counts up to where it is damaged');
like(
	$stderr,
	qr{WARNING:  .*WAL was read up to \Q${\ plain_lsns($broken)}\E},
	'... which a warning says');

#
# Records that no server has written
#

# Puts a changed copy of the record at an LSN into a directory.
sub change_record
{
	my ($dir, $lsn, $change) = @_;
	my $record = pack 'H*',
	  query("SELECT encode(rec, 'hex') FROM walredo_wal_records('$lsn', '$end', '$archive') LIMIT 1");

	overwrite_record($dir, $lsn, sealed_record($change->($record)));
	return;
}

# A record of two relations, in place of another one.
my $two = last_segments('two');
my ($lsn, $length, $tag) = split /\|/, query(<<SQL);
SELECT start_lsn, record_length, 'rel ' || substring(block_ref FROM 'rel ([0-9/]+)') || ' blk 0'
FROM pg_get_wal_records_info('$names', '$end')
WHERE resource_manager = 'Heap' AND record_type = 'INSERT' AND record_length BETWEEN 110 AND 300
	AND fpi_length = 0
ORDER BY start_lsn LIMIT 1
SQL
change_record(
	$two, $lsn,
	sub {
		my $record = shift;
		my @blocks = (
			{ spc => 1663, db => 5, rel => 900_001, blk => 7, data => 'x' x 5 },
			{ spc => 1663, db => 5, rel => 900_002, blk => 8, data => 'x' x 7 });
		my $new = make_record(20, 0, \@blocks, 'x');

		$new = make_record(20, 0, \@blocks, 'x' x ($length - length($new) + 1));
		substr($new, 4, 12) = substr $record, 4, 12;
		return $new;
	});
sub relation_rows
{
	my $dir = shift;

	return query('SELECT relation, count, record_size, fpi_size FROM '
		  . stats_of('relation', $names, $end, $dir)
		  . " WHERE tag::text IN ('$tag', 'rel 1663/5/900001 blk 0', 'rel 1663/5/900002 blk 0') ORDER BY record_size DESC");
}
my @before = split /\|/, relation_rows($archive);
is( relation_rows($two),
	join('|', $before[0], $before[1] - 1, $before[2] - $length, $before[3])
	  . "\n900001|1|"
	  . ($length - 7)
	  . "|0\n900002|0|7|0",
	'a record of two relations counts for the first, but for the data of the other');
same_sums(
	waldump_total($two, '-s', $names, '-e', $end),
	'... and the sums are those of pg_waldump',
	$names, $end, $two);

# A file gets the number of another one.
my $reused = last_segments('reused');
my $creation = query(<<SQL);
SELECT start_lsn FROM pg_get_wal_records_info('$names', '$end')
WHERE resource_manager = 'Storage' AND record_type = 'CREATE' AND description ~ '/$number{new_table}\$'
SQL
change_record(
	$reused,
	$creation,
	sub {
		my $record = shift;

		substr($record, $record_header_size + 2 + 8, 4) = pack 'L',
		  $number{other_name};
		return $record;
	});
my ($with, $without) = map { "FROM ${\ stats_of('relation', $names, $end, $_)} WHERE tag::text ~ '/$number{other_name} blk 0'" } $reused, $archive;
is( query("SELECT count(*), sum(count), sum(combined_size) $with"),
	query("SELECT 2, sum(count), sum(combined_size) $without"),
	'a file whose number is used again is another one');

# Records that are broken.
my $broken_dir = last_segments('broken');
change_record(
	$broken_dir,
	$lsn,
	sub {
		my $record = shift;

		substr($record, $record_header_size, 1) = chr 200;
		return $record;
	});
like(
	error_of($node, 'postgres',
		'SELECT count(*) FROM ' . stats_of($_, $names, $end, $broken_dir)),
	qr/ERROR:  XX001: invalid WAL record that ends at/,
	"a broken record, by $_") foreach @groupings;

# Transactions that have ended some hours ago, and one nearly at the end of time.
# The times are those that pg_waldump prints.
my $n_back = 0;
foreach my $lsn (split /\n/,
	query("SELECT start_lsn FROM walredo_wal_records('$start', '$end', '$archive')
		WHERE resource_manager = 'Transaction' AND record_type = 'COMMIT' AND record_length < 250"))
{
	next if $n_back++ % 40;
	change_record(
		$archive, $lsn,
		sub {
			my $record = shift;
			my $offset = $record_header_size + 2;
			my $time = unpack 'q', substr $record, $offset, 8;

			substr($record, $offset, 8) =
			  pack 'q',
			  $n_back == 1 ? 9_200_000_000_039_900_123 :
			  $time - 3_600_000_000 * ($n_back / 40 + 1);
			return $record;
		});
}
my %minutes;
my ($count, $size) = (0, 0);
($stdout, undef) = run_command([ 'pg_waldump', '-p', $archive, '-s', $start, '-e', $end ]);
foreach my $line (split /\n/, $stdout)
{
	$line =~ m{^rmgr: (\S+)\s+len \(rec/tot\):\s*\d+/\s*(\d+),.* desc: (.*)} or next;
	$count++;
	$size += $2;
	next
	  if $1 ne 'Transaction'
	  || $3 !~ /^(?:COMMIT|ABORT)(?:_PREPARED)? (?:\d+: )?(\d+-\d+-\d+ \d+:\d+):/;
	$minutes{$1}[0] += $count;
	$minutes{$1}[1] += $size;
	($count, $size) = (0, 0);
}
is( query(<<SQL),
SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), count, combined_size
FROM ${\ stats_of('minute', $start, $end, $archive)} ORDER BY at
SQL
	join("\n",
		(map { join '|', $_, @{ $minutes{$_} } } sort keys %minutes),
		$count > 0 ? "|$count|$size" : ()),
	'records are of the minute of the next end of a transaction');
cmp_ok(scalar keys %minutes, '>', 5, '... and there are several');

#
# Arguments, limits
#

like(
	error_of($node, 'postgres', 'SELECT * FROM ' . stats_of('table', $start, $end)),
	qr/ERROR:  22023: unrecognized grouping of WAL statistics: "table"\nHINT:  Valid groupings are "relation", "resource_manager", "record_type", "transaction" and "minute"\./,
	'groupings have names');
is(query("SELECT count(*) FROM walredo_wal_stats($_)"), 0, "no rows of $_")
  foreach "NULL, '0/1'", "'0/1', NULL", "'0/1', '0/2', by => NULL";
is( query("SELECT count(*) FROM ${\ stats_of($_, $end, $end, $archive)}"),
	0, "an empty range, by $_")
  foreach @groupings;

$from = current_lsn();
query("SELECT pg_create_restore_point('here')");
query(WalredoWorkload::subtransactions('numbers', 1));
query('DO $$ BEGIN FOR i IN 1 .. 20000 LOOP INSERT INTO numbers VALUES (i); COMMIT; END LOOP; END $$');
query("DO \$\$ BEGIN FOR i IN 1 .. 2000 LOOP EXECUTE format('CREATE TABLE many_%s ()', i); END LOOP; END \$\$");
$to = current_lsn();
is( query("SET maintenance_work_mem = '1MB'; SELECT count(*) > 20000 FROM "
		  . stats_of('transaction', $from, $to)),
	't',
	'memory does not limit the number of transactions');
like(
	error_of($node, 'postgres',
		"SET maintenance_work_mem = '1MB'; SELECT count(*) FROM "
		  . stats_of('relation', $from, $to)),
	qr/ERROR:  54000: statistics of WAL up to \S+ take more memory than maintenance_work_mem/,
	'... but that of relations');

#
# Another timeline
#

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$from = current_lsn();
query('CREATE TABLE before_switch AS SELECT generate_series(1, 1000) AS i');
$node->wait_for_catchup($standby);
$standby->promote;
$standby->safe_psql('postgres', 'CREATE TABLE after_switch AS SELECT generate_series(1, 1000) AS i');
$end = $standby->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
is( $standby->safe_psql(
		'postgres',
		'SELECT resource_manager, count, record_size, fpi_size FROM '
		  . stats_of('resource_manager', $from, $end)
		  . ' ORDER BY 1'),
	$standby->safe_psql(
		'postgres',
		"SELECT \"resource_manager/record_type\", count, record_size, fpi_size
		FROM pg_get_wal_stats('$from', '$end') WHERE count > 0 ORDER BY 1"),
	'across a switch of timelines');
is( $standby->safe_psql(
		'postgres',
		"SELECT string_agg(relation, ' ' ORDER BY relation) FROM "
		  . stats_of('relation', $from, $end)
		  . " WHERE relation ~ 'switch'"),
	'after_switch before_switch',
	'... which both have names');

$standby->stop;
$node->stop;
done_testing();
