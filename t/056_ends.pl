# Pages that end otherwise than with the file of a relation: segments of SLRUs,
# relation maps, states of prepared transactions.  Further, a change by a resource
# manager that is not loaded; an index that is being built; how long it takes when
# very many pages end; and progress after a page that cannot be read.
#
# Seen to fail:
# - when truncations of SLRUs, or ends of prepared transactions, ended nothing;
# - when a segment of an SLRU ended with the one after it;
# - when a relation map stayed when its database was dropped;
# - when commit timestamps stayed after they had been switched off;
# - when an index was verified while it was being built;
# - when the record of an unknown resource manager was left out;
# - when each truncation looked at all pages;
# - when progress was not shown again after an error.

use POSIX qw(sysconf _SC_CLK_TCK);
use WalredoProcesses qw(cpu_time);
use WalredoSessions;
use WalredoTest;

my $node = wal_server('main', conf => <<'CONF');
max_prepared_transactions = 2
max_wal_size = 10GB
track_commit_timestamp = on
CONF

# Transactions begin in the third segment of pg_xact, and the ninetieth of
# pg_commit_ts, so that vacuuming removes the others.
my $xids_per_segment = 32 * $clog_per_page;
my $xid = 2 * $xids_per_segment + 10;
my $data = $node->data_dir;
system_or_bail('pg_resetwal', '-x', $xid, '-D', $data);
lengthen_file("$data/$_", 32)
  foreach ('pg_xact/0001', 'pg_xact/0002', 'pg_commit_ts/0000');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
SQL

sub lsn
{
	return $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
}

# With a base image, a page can be rebuilt at an LSN before its end, and not at
# the end of WAL.
sub ends
{
	my ($tag, $base, $before, $message, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( $node->safe_psql('postgres',
			"SELECT walredo_page_at('$tag'::walredo_tag, '$before', $base) IS NOT NULL"),
		't',
		"$name: before");
	like(
		error_of($node, 'postgres',
			"SELECT length(walredo_page_at('$tag'::walredo_tag, '$open_end', $base))"),
		$message,
		"$name: after");
	return;
}

#
# Segments of SLRUs
#

my $zeroes = "decode(repeat('00', $page_size), 'hex')";
my $before = lsn();
$node->safe_psql('postgres', <<'SQL');
UPDATE pg_database SET datallowconn = true;
CHECKPOINT;
SQL
$node->command_ok([ 'vacuumdb', '--all', '--freeze', '-p', $node->port,
		'-h', $node->host ],
	'all is vacuumed');
$node->safe_psql('postgres', 'CHECKPOINT');
ok(!-e "$data/pg_xact/0001", 'segments of pg_xact are gone');
ok(-e "$data/pg_xact/0002", '... but the last');
foreach my $page ('0000 blk 0', '0001 blk 31')
{
	ends("slru pg_xact/$page", $zeroes, $before,
		qr/does not exist at .*truncated at/s,
		"pg_xact/$page");
}
is( $node->safe_psql('postgres',
		"SELECT length(walredo_page_at('slru pg_xact/0002 blk 0'::walredo_tag, '$open_end', $zeroes))"
	),
	$page_size,
	'the segment that is left has its pages');
ends('slru pg_commit_ts/0000 blk 0', $zeroes, $before,
	qr/does not exist at .*truncated at/s, 'pg_commit_ts');

#
# States of prepared transactions
#

foreach my $end ('COMMIT PREPARED', 'ROLLBACK PREPARED')
{
	my $id = $node->safe_psql('postgres', <<'SQL');
BEGIN;
CREATE TABLE prepared ();
SELECT txid_current();
PREPARE TRANSACTION 'p';
SQL
	my $prepared = lsn();

	$node->safe_psql('postgres', "$end 'p'");
	ends("twophase $id", 'NULL', $prepared,
		qr/does not exist at .*was removed at/s, $end);
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS prepared');
}

#
# Relation maps
#

$node->safe_psql('postgres', <<'SQL');
CREATE DATABASE mapped;
SQL
$node->safe_psql('mapped', 'VACUUM FULL pg_class');
my $map = $node->safe_psql('postgres', <<'SQL');
SELECT 'relmap 1663/' || oid FROM pg_database WHERE datname = 'mapped'
SQL
my $mapped = lsn();
$node->safe_psql('postgres', 'DROP DATABASE mapped');
ends($map, 'NULL', $mapped, qr/does not exist at .*was removed at/s,
	'the map of a database that is dropped');

#
# Commit timestamps, which all go when they are switched off
#

$node->safe_psql('postgres', 'CREATE TABLE committed ()');
my $kept = lsn();
my $commit_ts = 'slru '
  . $node->safe_psql('postgres',
	"SELECT format('pg_commit_ts/%s blk %s', lpad(upper(to_hex(p / 32)), 4, '0'), p % 32) FROM (SELECT txid_current() / $commit_ts_per_page AS p) t"
  );
foreach my $setting ('off', 'on')
{
	$node->append_conf('postgresql.conf', "track_commit_timestamp = $setting");
	$node->restart;
}
ends($commit_ts, $zeroes, $kept, qr/does not exist at .*was removed at/s,
	'commit timestamps that are switched off');

#
# A resource manager that is not known
#

# The third insertion is made one of resource manager 200, in pg_wal itself.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE changed AS SELECT g AS i FROM generate_series(1, 3) g;
INSERT INTO changed VALUES (4);
SQL
my $made = lsn();
$node->safe_psql('postgres', 'INSERT INTO changed VALUES (5)');
my $foreign = lsn();
my ($start, $rec) = split /\|/, $node->safe_psql('postgres', <<SQL);
SELECT r.start_lsn, encode(r.rec, 'hex')
FROM walredo_wal_records('$made', '$foreign') r
WHERE r.resource_manager = 'Heap'
SQL
$rec = pack 'H*', $rec;
substr($rec, 17, 1) = chr 200;
overwrite_record("$data/pg_wal", $start, sealed_record($rec));

like($node->safe_psql('postgres', "SELECT status, detail FROM walredo_verify('changed')"),
	qr/^unverifiable\|The record at .* has changed the page, and the resource manager of the record is not known\.$/,
	'an unknown change: unverifiable');
like(
	error_of($node, 'postgres', <<SQL),
SELECT walredo_page_at(walredo_tag('changed', 'main', 0), '$foreign',
	walredo_page_at('changed', 0, '$made'))
SQL
	qr/cannot rebuild .*resource manager of the record is not known/s,
	'... and cannot be rebuilt');
is( $node->safe_psql('postgres', <<SQL),
SELECT count(*) FROM heap_page_items(walredo_page_at('changed', 0, '$made'))
SQL
	4, '... but before it');
is( $node->safe_psql('postgres', <<SQL),
SELECT record_type, page IS NULL FROM walredo_page_history(
	walredo_tag('changed', 'main', 0), '$made', '$open_end')
SQL
	'UNKNOWN (0)|t', '... and has a place in the history');
$node->safe_psql('postgres', <<'SQL');
CHECKPOINT;
INSERT INTO changed VALUES (6);
SQL
is( $node->safe_psql('postgres', "SELECT status FROM walredo_verify('changed')"),
	'ok', '... until the next image');

#
# An index that is being built
#

# The build writes past shared buffers, so that a page which is read there now
# stays as it is now.
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN; INSERT INTO changed VALUES (7)');
my $builder = $node->background_psql('postgres');
$builder->query_until(qr/begun/, <<'SQL');
\echo begun
CREATE INDEX CONCURRENTLY changed_i ON changed (i);
SQL
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_index WHERE indexrelid = to_regclass('changed_i')"),
	'an index is being built');
like($node->safe_psql('postgres', "SELECT blkno IS NULL, status, detail FROM walredo_verify('changed_i')"),
	qr/^t\|unverifiable\|The index is being built/, '... and is not verified');
$writer->query_safe('COMMIT');
$writer->quit;
ok( $node->poll_query_until('postgres',
		"SELECT indisvalid FROM pg_index WHERE indexrelid = 'changed_i'::regclass"),
	'... until it is there');
is( $node->safe_psql('postgres', "SELECT DISTINCT status FROM walredo_verify('changed_i')"),
	'ok', '... and then it is');
$builder->quit;

#
# Progress after a page that cannot be read
#

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE long WITH (fillfactor = 10) AS
	SELECT g AS i, repeat('x', 700) AS t FROM generate_series(1, 5000) g;
SQL
my $file = path_of($node, 'postgres', 'long');
$node->stop;
overwrite($file, 10, 'damaged');	# flags, and where things begin
$node->start;
like($node->safe_psql('postgres', "SELECT detail FROM walredo_verify('long') WHERE blkno = 0"),
	qr/cannot read it/, 'a page cannot be read');
my $session = $node->background_psql('postgres');
$session->query_until(qr/begun/, <<'SQL');
\echo begun
SELECT count(*) FROM generate_series(1, 1000) g,
	LATERAL walredo_verify(('long' || left(g::text, 0))::regclass);
SQL
ok( $node->poll_query_until('postgres', <<'SQL'),
SELECT count(*) = 1 FROM walredo_verify_progress
WHERE phase = 'comparing pages' AND blocks_done > 0 AND blocks_total > 1000
	AND relid = 'long'::regclass
SQL
	'progress is shown after a page that cannot be read');
$node->safe_psql('postgres', <<'SQL');
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE query ~ 'generate_series\(1, 1000\)' AND pid <> pg_backend_pid();
SQL
$session->{run}->finish;

#
# Very many ends
#

# One table is truncated ten thousand times; another has very many pages in WAL.
# It is the processor's time of the session, as a machine that is busy with
# something else takes longer.
sub seconds_to_verify
{
	my $verifier = session($node);
	my $begin = cpu_time($verifier->{backend});

	is( $verifier->query(<<'SQL'),
SELECT count(*) FILTER (WHERE status = 'mismatch')
FROM walredo_verify_all('{cut, wide}')
SQL
		0, 'no mismatch');
	my $seconds =
	  (cpu_time($verifier->{backend}) - $begin) / sysconf(_SC_CLK_TCK);
	$verifier->quit;
	return $seconds;
}

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE cut (i int);
CREATE TABLE wide WITH (fillfactor = 10) AS
	SELECT g AS i, repeat('x', 700) AS t FROM generate_series(1, 20000) g;
SQL
my $once = seconds_to_verify();
$node->safe_psql('postgres', <<'SQL');
BEGIN;
DROP TABLE cut;
CREATE TABLE cut (i int);
DO $$ BEGIN
	FOR n IN 1 .. 10000 LOOP
		INSERT INTO cut VALUES (n);
		TRUNCATE cut;
	END LOOP;
END $$;
COMMIT;
SQL
is( $node->safe_psql('postgres', <<SQL),
SELECT count(*) > 9000 FROM walredo_wal_records('0/0', '$open_end')
WHERE resource_manager = 'Storage' AND record_type = 'TRUNCATE'
SQL
	't', 'truncated very often');

# The machine may be busy with something else for a moment.
my $often;
foreach (1 .. 3)
{
	$often = seconds_to_verify();
	last if $often < 1.4 * $once + 0.1;
}
diag("20,000 pages: $once seconds, $often with 10,000 truncations");
cmp_ok($often, '<', 1.4 * $once + 0.1, 'a truncation does not look at all pages');

done_testing();
