# Files that came and went: walredo_files() shows what pg_waldump shows of them,
# with the names that their relations had, and with the transactions that did
# it.  Tables that were dropped, truncated, or never committed come back out of
# WAL, page by page as they were in their files, in two statements.
#
# Seen to fail:
# - when rows of pg_class of transactions that had aborted were believed, those of
#   committed subtransactions were not, or rows of an image were taken in the
#   wrong order;
# - when updates that share bytes with the old row, changes of the relation map,
#   older WAL, or the server's catalog were not looked at;
# - when a rewrite's transient table lent its name to the files;
# - when what was known of a file was forgotten as CREATE DATABASE made it, or no
#   name that came after the creation was taken;
# - when the end of a prepared transaction was taken for one of transaction 0;
# - when pages of a file were returned as of an LSN at which it was gone.

use WalredoTest;

my $node = wal_server(
	'main', conf => <<'CONF');
max_prepared_transactions = 2
track_commit_timestamp = on
CONF
my $data = $node->data_dir;
my $kept = PostgreSQL::Test::Utils::tempdir;

$node->start;
query(<<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
SQL

sub query
{
	return $node->safe_psql('postgres', shift);
}

sub current_lsn
{
	return query('SELECT pg_current_wal_insert_lsn()');
}

# The names that files in this database have had, by their numbers: the last
# ones, which only this test's queries can change.
my %names;

sub look_at_names
{
	foreach my $row (split /\n/,
		query('SELECT relfilenode, relname FROM pg_class WHERE relfilenode <> 0'))
	{
		my ($number, $name) = split /\|/, $row;

		$names{$number} = $name;
	}
	return;
}

# Where the events begin that is_file() looks at.
my $start;

# The number of blocks of a file that was kept.
sub kept_blocks
{
	return (-s "$kept/$_[0]") / $page_size;
}

# Copies a file, but for the pages at its end that the server has not used yet.
sub copy_file
{
	my ($name, $path) = @_;
	my $pages = slurp_file($path);

	$pages = substr $pages, 0, -$page_size
	  while substr($pages, -$page_size) eq "\0" x $page_size;
	write_file("$kept/$name", $pages);
	return;
}

# Keeps the file of a relation as it is now.
sub keep_file
{
	my ($relation, $database) = @_;

	$node->safe_psql($database // 'postgres', 'CHECKPOINT');
	copy_file($relation, path_of($node, $database // 'postgres', $relation));
	return;
}

# Runs SQL, one statement at a time, and keeps the names from before each.
sub run_sql
{
	foreach my $statement (@_)
	{
		look_at_names();
		query($statement);
	}
	return;
}

# Compares all pages of a file at an LSN with those of a file that was kept.
sub is_file
{
	my ($relation, $where, $rmgr, $what) = @_;
	my ($tag, $lsn) =
	  split /\|/, query("SELECT tag, lsn - 1 FROM walredo_files('$start', '$open_end') WHERE $where");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( $lsn && query(<<SQL),
SELECT count(*), count(*) FILTER (WHERE NOT walredo_page_mask('$rmgr', page, blkno) =
	walredo_page_mask('$rmgr', pg_read_binary_file('$kept/$relation', blkno * 8192, 8192), blkno))
FROM walredo_pages_at('$tag', '$lsn')
SQL
		kept_blocks($relation) . '|0',
		$what);
	return ($tag, $lsn);
}

# What comes before the range: rows of pg_class in WAL, and an image of them.
query(<<'SQL');
CREATE TABLE dropped (i int PRIMARY KEY, t text);
ALTER TABLE dropped ALTER t SET STORAGE external;
INSERT INTO dropped SELECT i, repeat(i::text, 30) FROM generate_series(1, 2000) i;
INSERT INTO dropped SELECT i, repeat(i::text, 3000) FROM generate_series(2001, 2005) i;
CREATE TABLE emptied AS SELECT i, repeat('x', 50) t FROM generate_series(1, 2000) i;
CREATE TABLE shrunk AS SELECT i, repeat('x', 50) t FROM generate_series(1, 2000) i;
CREATE TABLE rewritten AS SELECT i FROM generate_series(1, 500) i;
CREATE TABLE first_name AS SELECT 1 AS i;
CREATE TABLE steady AS SELECT 1 AS i;
CREATE TABLE swapped_a AS SELECT 1 AS i;
CREATE TABLE swapped_b AS SELECT 1 AS i;
CHECKPOINT;
SQL
$start = current_lsn();
my $first = $start;

#
# Tables that go
#

my $toast = query(q{SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'dropped'});
my ($toast_name) = $toast =~ /\.(.*)/;
query("SELECT count(t) FROM dropped; SELECT count(*) FROM emptied; SELECT count(*) FROM shrunk");
keep_file($_) foreach qw(dropped dropped_pkey emptied);
query('CHECKPOINT');
copy_file('toast', path_of($node, 'postgres', $toast));
run_sql('DROP TABLE dropped', 'TRUNCATE emptied', 'INSERT INTO emptied VALUES (1)');

is_file('dropped', q{event = 'dropped' AND relation = 'dropped'}, 'Heap',
	'a dropped table');
is_file('dropped_pkey', q{event = 'dropped' AND relation = 'dropped_pkey'},
	'Btree', '... its index');
my ($toast_tag) =
  is_file('toast', qq{event = 'dropped' AND relation = '$toast_name'},
	'Heap', '... its TOAST table');
my ($gone_tag, $gone_lsn) =
  is_file('emptied', q{event = 'dropped' AND relation = 'emptied'}, 'Heap',
	'a truncated table');

# The rows, without the table.
is( query(<<SQL),
SELECT count(*), sum(i) FROM walredo_pages_at('$gone_tag', '$gone_lsn') p,
	heap_page_items(p.page) h,
	LATERAL (SELECT get_byte(t_data, 0) + get_byte(t_data, 1) * 256) r (i)
WHERE lp_flags = 1
SQL
	'2000|' . 2000 * 2001 / 2,
	'... and its rows');

# When the file is gone, it is not there.
like(
	error_of($node, 'postgres', "SELECT count(*) FROM walredo_pages_at('$gone_tag', '$open_end')"),
	qr/ERROR:  22023: file "base\S+" does not exist at.*DETAIL:  The file was removed at/s,
	'no pages of a file that is gone');
is(query("SELECT count(*) FROM walredo_pages_at('$gone_tag', '$gone_lsn'::pg_lsn + 1 - 1)"),
	kept_blocks('emptied'), '... until it is');

#
# A table that VACUUM cuts
#

keep_file('shrunk');
my $blocks = kept_blocks('shrunk');
my $before_vacuum = current_lsn();
run_sql('DELETE FROM shrunk WHERE i > 10', 'VACUUM shrunk');
my ($event, $tag, $lsn) = split /\|/, query(<<SQL);
SELECT event, tag, lsn - 1 FROM walredo_files('$start', '$open_end')
WHERE event = 'truncated' AND relation = 'shrunk' AND tag::text !~ 'fork'
SQL
my $left = query(q{SELECT pg_relation_size('shrunk') / 8192});
like($tag, qr/ blk $left$/, 'a table that VACUUM has cut, and where');
is(query("SELECT count(*) FROM walredo_pages_at('$tag', '$lsn')"),
	$blocks, '... before that, it has all blocks');
is(query("SELECT count(*) FROM walredo_pages_at('$tag', '$lsn'::pg_lsn + 1)"),
	$left, '... and after that, those that are left');
is( query(<<SQL),
SELECT count(*) FROM walredo_pages_at('$tag', '$before_vacuum')
WHERE walredo_page_mask('Heap', page, blkno) =
	walredo_page_mask('Heap', pg_read_binary_file('$kept/shrunk', blkno * 8192, 8192), blkno)
SQL
	$blocks,
	'... and its rows come back');

#
# A table that was never committed
#

my $aborted = query(<<SQL);
CREATE TABLE images (image bytea);
BEGIN;
CREATE TABLE aborted AS SELECT i FROM generate_series(1, 1000) i;
SELECT pg_relation_filenode('aborted') AS node, pg_relation_filepath('aborted') AS path \\gset
CHECKPOINT;
SELECT encode(pg_read_binary_file(:'path'), 'hex') AS image \\gset
ROLLBACK;
INSERT INTO images VALUES (decode(:'image', 'hex'));
SELECT :node;
SQL
$names{$aborted} = 'aborted';
query("COPY (SELECT encode(image, 'hex') FROM images) TO '$kept/hex'");
write_file("$kept/whole", pack 'H*', slurp_file("$kept/hex") =~ s/\n//r);
copy_file('aborted', "$kept/whole");
($tag, $lsn) = split /\|/, query(<<SQL);
SELECT tag, lsn - 1 FROM walredo_files('$start', '$open_end')
WHERE event = 'dropped' AND relation = 'aborted'
SQL
is( query(<<SQL),
SELECT count(*), bool_and(walredo_page_mask('Heap', p.page, blkno) =
	walredo_page_mask('Heap', substr(image, 1 + 8192 * blkno::int, 8192), blkno))
FROM walredo_pages_at('$tag', '$lsn') p, images
SQL
	kept_blocks('aborted') . '|t',
	'a table that was never committed');

#
# Names
#

# A rename that is not committed does not count; one that is does.
run_sql('ALTER TABLE first_name RENAME TO second_name');
query('BEGIN; ALTER TABLE second_name RENAME TO never; ROLLBACK');
query('BEGIN; SAVEPOINT s; ALTER TABLE second_name RENAME TO nor_this; ROLLBACK TO s; COMMIT');
query('BEGIN; SAVEPOINT s; ALTER TABLE steady RENAME TO third_name; RELEASE s; COMMIT');
my $number = query("SELECT pg_relation_filenode('second_name')");
run_sql('DROP TABLE second_name', 'DROP TABLE third_name',
	'CREATE TABLE steady AS SELECT 1 AS i');
is($names{$number}, 'second_name', 'the name to be expected');

# Two tables change their names, and a third is renamed by who drops it.
run_sql('ALTER TABLE swapped_a RENAME TO swapped_c',
	'ALTER TABLE swapped_b RENAME TO swapped_a',
	'ALTER TABLE swapped_c RENAME TO swapped_b',
	'DROP TABLE swapped_a', 'DROP TABLE swapped_b');
run_sql('CREATE TABLE at_last AS SELECT 1 AS i');
$number = query("SELECT pg_relation_filenode('at_last')");
query('BEGIN; ALTER TABLE at_last RENAME TO at_the_very_last; DROP TABLE at_the_very_last; COMMIT');
$names{$number} = 'at_the_very_last';

# Subtransactions, prepared transactions, and tables that are not logged.
$number = query(<<'SQL');
BEGIN;
SAVEPOINT s;
CREATE TABLE in_sub (i int);
SELECT pg_relation_filenode('in_sub') AS node \gset
ROLLBACK TO s;
COMMIT;
SELECT :node;
SQL
$names{$number} = 'in_sub';
$number = query(<<'SQL');
BEGIN;
CREATE TABLE prepared (i int);
SELECT pg_relation_filenode('prepared') AS node \gset
PREPARE TRANSACTION 'p';
ROLLBACK PREPARED 'p';
SELECT :node;
SQL
$names{$number} = 'prepared';
run_sql('CREATE UNLOGGED TABLE unlogged (i int PRIMARY KEY)',
	'DROP TABLE unlogged');

# A sequence, and another tablespace.
query(<<SQL);
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE elsewhere LOCATION '';
SQL
run_sql('CREATE TABLE moved (i serial PRIMARY KEY)',
	'ALTER TABLE moved SET TABLESPACE elsewhere',
	'REINDEX TABLE moved', 'DROP TABLE moved');
my $tablespace = query("SELECT oid FROM pg_tablespace WHERE spcname = 'elsewhere'");
query('DROP TABLESPACE elsewhere');

# All names of files that went so far, but for those of catalogs.
my $events = "walredo_files('$start', '$open_end')";
my @gone = split /\n/, query(<<SQL);
SELECT split_part(split_part(tag::text, '/', 3), ' ', 1), relation FROM $events
WHERE event = 'dropped' AND tag IS NOT NULL
SQL
my @wrong = grep { !/^(\d+)\|(.*)$/ || $2 ne ($names{$1} // '') } @gone;
is("@wrong", '', 'files that went had these names');
cmp_ok(scalar(@gone), '>=', 21, '... all of them');
is( query("SELECT count(*) FROM $events WHERE relation ~ '^[0-9]+\$'"),
	0, 'there is no event without a name');
is( query("SELECT relation FROM $events WHERE tag IS NULL"),
	"tablespace $tablespace",
	'a tablespace that was dropped');

# A prepared transaction ends with a record that has another ID in its header.
is( query(<<SQL),
SELECT string_agg(event, ' ' ORDER BY lsn), count(xid), count(DISTINCT xid::text), count(at)
FROM $events WHERE relation = 'prepared'
SQL
	'created dropped|2|1|2',
	'what a prepared transaction did');

# New files have the names that were committed with them.
is( query(<<SQL),
SELECT string_agg(relation, ' ' ORDER BY lsn) FROM $events
WHERE event = 'created' AND relation ~ '^(emptied|aborted|in_sub|prepared|unlogged|moved)'
SQL
	'emptied aborted in_sub prepared unlogged unlogged_pkey moved_i_seq moved moved_pkey moved moved_pkey',
	'files that were created have names');

#
# Rewrites
#

keep_file('rewritten');
my $rewrite = current_lsn();
$number = query("SELECT pg_relation_filenode('rewritten')");
query('VACUUM FULL rewritten');
is( query(<<SQL),
SELECT event, relation FROM walredo_files('$rewrite', '$open_end')
WHERE relation !~ '^pg_toast' ORDER BY lsn
SQL
	"created|rewritten\ndropped|rewritten",
	'VACUUM FULL makes a new file, and drops the old one');
$start = $rewrite;
is_file('rewritten', q{event = 'dropped' AND relation = 'rewritten'},
	'Heap', '... whose pages come back');

# The catalog with the names is rewritten, too, and then another table is dropped.
my $before_map = current_lsn();
query('VACUUM FULL pg_class');
run_sql('CREATE TABLE later AS SELECT 1 AS i', 'DROP TABLE later');
my $after_map = current_lsn();
query('VACUUM FULL pg_class');
is( query(<<SQL),
SELECT event, relation FROM walredo_files('$before_map', '$after_map') ORDER BY lsn, tag
SQL
	join("\n", 'created|pg_class',
		(map { "created|pg_class_${_}_index" }
			  qw(oid relname_nsp tblspc_relfilenode)),
		'dropped|pg_class',
		(map { "dropped|pg_class_${_}_index" }
			  qw(oid relname_nsp tblspc_relfilenode)),
		'created|later', 'dropped|later'),
	'pg_class gets another file');

# A range that has no row of the table: WAL before it is searched.
run_sql('CREATE TABLE long_ago AS SELECT 1 AS i');
my $late = current_lsn();
run_sql('DROP TABLE long_ago');
is(query("SELECT relation FROM walredo_files('$late', '$open_end')"),
	'long_ago', 'the name is in WAL before the range');

#
# Databases
#

my $databases = current_lsn();
query('CREATE DATABASE by_wal STRATEGY wal_log');
query('CREATE DATABASE by_copy STRATEGY file_copy');
my %oid = map { split /\|/ }
  split /\n/, query(q{SELECT datname, oid FROM pg_database WHERE datname ~ '^by_'});
$node->safe_psql('by_wal', 'CREATE TABLE inside AS SELECT i FROM generate_series(1, 300) i');
keep_file('inside', 'by_wal');
query('DROP DATABASE by_wal');
query('DROP DATABASE by_copy');
$events = "walredo_files('$databases', '$open_end')";
is( query("SELECT event, relation FROM $events WHERE tag IS NULL ORDER BY lsn"),
	join("\n",
		"created|database $oid{by_wal} in tablespace 1663",
		"copied|database $oid{by_copy} in tablespace 1663",
		"dropped|database $oid{by_wal} in tablespace 1663",
		"dropped|database $oid{by_copy} in tablespace 1663"),
	'databases come and go');
is( query(<<SQL),
SELECT count(*) > 200, count(*) FILTER (WHERE relation ~ '^[0-9]+\$')
FROM $events WHERE tag::text ~ '1663/$oid{by_wal}/'
SQL
	't|0',
	'... with files that have names');
my ($inside) = split /\|/, query("SELECT tag FROM $events WHERE relation = 'inside'");
my $drop = query("SELECT max(lsn) - 1 FROM $events WHERE relation ~ '$oid{by_wal}'");
is( query(<<SQL),
SELECT count(*), count(*) FILTER (WHERE NOT walredo_page_mask('Heap', page, blkno) =
	walredo_page_mask('Heap', pg_read_binary_file('$kept/inside', blkno * 8192, 8192), blkno))
FROM walredo_pages_at('$inside', '$drop')
SQL
	kept_blocks('inside') . '|0',
	'a table of a database that was dropped');
like(
	error_of($node, 'postgres', "SELECT count(*) FROM walredo_pages_at('$inside', '$open_end')"),
	qr/ERROR:  22023: file "base\S+" does not exist/,
	'... after that, it is not there');

#
# All events, as pg_waldump has them, with the transactions that it shows
#

my $end = query('SELECT pg_switch_wal(); SELECT pg_current_wal_flush_lsn()');
$end =~ s/.*\n//;
my ($dump) = run_command(
	[
		'pg_waldump', '--path', "$data/pg_wal", '--start', $rewrite, '--end', $end
	]);
my (@dumped, %ended);
foreach my $line (split /\n/, $dump)
{
	my ($xid) = $line =~ /tx:\s+(\d+)/ or next;

	push @dumped, "created $1" if $line =~ /rmgr: Storage .*desc: CREATE (\S+)$/;
	push @dumped, "truncated $1"
	  if $line =~ /rmgr: Storage .*desc: TRUNCATE (\S+) to/;
	push @dumped, map { "dropped $_" } split / /, $1
	  if $line =~ /rmgr: Transaction.*; rels: ([^;]+)/;
}
is( query(<<SQL),
SELECT string_agg(event || ' ' || CASE split_part(split_part(tag::text, '/', 1), ' ', 2)
		WHEN '1663' THEN 'base' ELSE 'other' END || '/' ||
	split_part(tag::text, '/', 2) || '/' || split_part(split_part(tag::text, '/', 3), ' ', 1) ||
	CASE WHEN tag::text ~ 'fork' THEN '_' || split_part(tag::text, ' ', 4) ELSE '' END, E'\\n')
FROM walredo_files('$rewrite', '$end') WHERE tag IS NOT NULL AND (event <> 'truncated' OR tag::text !~ 'fork')
SQL
	join("\n", @dumped),
	'pg_waldump shows the same');
cmp_ok(scalar(@dumped), '>', 200, '... many files');

is( query(<<SQL),
SELECT lsn, event, relation, xid, at, pg_xact_commit_timestamp(xid)
FROM walredo_files('$first', '$end')
WHERE at IS DISTINCT FROM pg_xact_commit_timestamp(xid)
	AND pg_xact_status(xid::text::xid8) = 'committed'
SQL
	'',
	'... and transactions end when the server says they did');

#
# Archives, limits
#

# Of the last segment only, which has no row of pg_class.
query('SELECT pg_switch_wal()');
query('CHECKPOINT');
my $last = current_lsn();
query('SELECT pg_switch_wal()') if lsn_to_int($last) % $segment_size > 900_000;
$number = query("SELECT pg_relation_filenode('steady')");
run_sql('DELETE FROM steady', 'VACUUM steady');
my $archive = "$kept/archive";
mkdir $archive;
query('SELECT pg_switch_wal()');
my $name = segment_name(1, $last);
write_file("$archive/$name", slurp_file("$data/pg_wal/$name"));
my $cut = query("SELECT lsn FROM walredo_files('0/0', '$open_end', '$archive') WHERE tag::text ~ '/$number blk'");
is( query("SELECT relation FROM walredo_files('0/0', '$cut', '$archive') WHERE tag::text ~ '/$number blk'"),
	'steady',
	'the server knows the name of a file that is there');

query(<<'SQL');
DO $$
BEGIN
	FOR i IN 1..2000 LOOP
		EXECUTE format('CREATE TABLE many_%s (i int)', i);
	END LOOP;
END
$$;
SQL
like(
	error_of($node, 'postgres', "SET maintenance_work_mem = '1MB'; SELECT count(*) FROM walredo_files('$last', '$open_end')"),
	qr/ERROR:  54000: files that have come and gone up to \S+ take more memory/,
	'memory is limited');
is( query("SELECT count(*) FROM walredo_files('$last', '$open_end') WHERE relation ~ '^many_'"),
	2000,
	'... to what the setting says');

$node->stop;
done_testing();
