# The aggregate walredo_apply_agg(): a group of very many records takes little
# memory, and can be cancelled; a parallel plan works where there is one place for
# a background worker; and as a window function, the aggregate is much faster than
# one walredo_apply() a row.
#
# Seen to fail: "the memory that was taken" with records that are never replayed
# before the group is complete, and with those that stay when they have been
# replayed; "no place to spare" when walredo_support() did not look at what the
# planner asks about the final function; "faster" with a state that does not keep
# the page.

use FindBin;
use lib $FindBin::RealBin;

use Time::HiRes qw(time usleep);
use WalredoProcesses;
use WalredoSessions;
use WalredoTest;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
max_wal_size = 10GB
wal_keep_size = 1GB
CONF
$node->start;
my $before = left_before($node);

$node->safe_psql('postgres', 'CREATE EXTENSION walredo');

#
# A group of a million records
#

# Every fourth transaction has aborted.  The page holds 32768 of them.
my $records = <<'SQL';
SELECT pg_lsn '0/1' + i AS lsn, CASE
	WHEN i = 0 THEN walredo_zero_page('0/1')
	WHEN i % 4 = 3 THEN walredo_clog_set_aborted(pg_lsn '0/1' + i,
		ARRAY[(3 + i % 32000)::text::xid])
	ELSE walredo_clog_set_committed(pg_lsn '0/1' + i,
		ARRAY[(3 + i % 32000)::text::xid]) END AS record
SQL
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE million AS $records FROM generate_series(0, 999999) AS i;
CREATE TABLE few AS $records FROM generate_series(0, 40000) AS i;
SQL
my $tag = "'slru pg_xact/0000 blk 0'::walredo_tag";
my $few = $node->safe_psql('postgres',
	"SELECT md5(walredo_apply($tag, NULL, array_agg(record ORDER BY lsn))) FROM few"
);
my $apply = "SELECT md5(walredo_apply_agg($tag, NULL, record ORDER BY lsn)) FROM";
is($node->safe_psql('postgres', "$apply few"), $few, 'many records');

my $session = session($node);
my ($peak, $out, $errors) = (0);
$session->query("SET work_mem = '1MB'; SET max_parallel_workers_per_gather = 0");
is($session->query("$apply few"), $few, 'many records, in parts');
my $memory = memory_of($session->{backend});
begin_query($session, "$apply million");
for (1 .. 36000)
{
	my $now = memory_of($session->{backend});

	$peak = $now if $now > $peak;
	usleep(5000);
	$session->{run}->pump_nb;
	last if $session->{stdout} =~ /^\w{32}$/m || $session->{stderr} ne '';
}
($out, $errors) = end_query($session);
is("$out$errors", $few, 'a million records');
cmp_ok(($peak - $memory) / 1024, '<=', 16, 'the memory that was taken, in MB');

# It is cancelled in a moment.
begin_query($session, "$apply million, generate_series(1, 20)");
$node->poll_query_until('postgres',
	"SELECT state = 'active' FROM pg_stat_activity WHERE pid = $session->{backend}")
  or die 'the query has not begun';
usleep(1_000_000);
my $start = time();
$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{backend})");
($out, $errors) = end_query($session);
like($errors, qr/57014/, 'cancelled: an error');
cmp_ok(time() - $start, '<', 10, 'cancelled: soon');
is($session->query("$apply few"), $few, 'cancelled: the next query');
$session->quit;
nothing_is_left($before, 'a million records');

#
# The pages of a table
#

$node->safe_psql('postgres', <<'SQL');
SELECT pg_current_wal_insert_lsn() AS start_lsn \gset
CREATE TABLE t (id int PRIMARY KEY, word text);
INSERT INTO t SELECT i, 'word ' || i FROM generate_series(1, 5000) AS i;
UPDATE t SET word = word || '.' WHERE id % 3 = 0;
SELECT pg_current_wal_insert_lsn() AS end_lsn \gset
CREATE TABLE records AS
	SELECT d.tag, w.end_lsn AS lsn, d.record
	FROM walredo_wal_records(:'start_lsn', :'end_lsn') AS w,
		LATERAL walredo_decode(w.end_lsn, w.rec) AS d,
		LATERAL (SELECT d.tag::text AS t) AS s
	WHERE t = 'rel 1663/' || (SELECT oid FROM pg_database
			WHERE datname = current_database()) || '/'
		|| pg_relation_filenode('t') || ' blk ' || substring(t from '\d+$');
CREATE TABLE wanted AS
	SELECT tag, walredo_apply(tag, NULL, array_agg(record ORDER BY lsn)) AS page
	FROM records GROUP BY tag;
CREATE TABLE parts (LIKE records) PARTITION BY HASH (tag);
CREATE TABLE parts_0 PARTITION OF parts
	FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts
	FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parts SELECT * FROM records;
ANALYZE parts, records;
SQL

# As a window function, against one walredo_apply() of the records so far a row.
my $block = 'SELECT tag, lsn, record FROM records WHERE tag = (SELECT tag
	FROM records GROUP BY tag HAVING count(*) > 150 ORDER BY tag LIMIT 1)';
my $native =
  "SELECT $tag AS tag, lsn, record FROM few WHERE lsn <= pg_lsn '0/1' + 4000";
my $window = 'walredo_apply_agg(tag, NULL, record) OVER (ORDER BY lsn)';
my $row_by_row =
  'walredo_apply(tag, NULL, array_agg(record) OVER (ORDER BY lsn))';
$session = session($node);
$session->query('SET max_parallel_workers_per_gather = 0');

# The result, and the processor's time, in ticks: a machine that is busy with
# something else takes longer.
sub pages_of
{
	my ($expression, $from) = @_;
	my $begin = cpu_time($session->{backend});
	my $result = $session->query("SELECT count(*), sum(hashtext(md5(page)))
		FROM (SELECT $expression AS page FROM ($from) AS r) AS s");

	return ($result, cpu_time($session->{backend}) - $begin);
}
is( (pages_of($window, $block))[0],
	(pages_of($row_by_row, $block))[0],
	'window: the same pages');
my ($window_result, $window_time) = pages_of($window, $native);
my ($result, $time) = pages_of($row_by_row, $native);
like($window_result, qr/^4001\|/, 'window: many records');
is($window_result, $result, 'window: many records, the same pages');
cmp_ok($window_time, '<', $time / 2, 'window: many records, faster');
note "window: $window_time ticks, row by row: $time ticks";
$session->quit;

#
# A parallel plan, where one of two places is the launcher's of logical
# replication, and the pool needs the other
#

$node->append_conf('postgresql.conf', <<'CONF');
max_worker_processes = 2
parallel_setup_cost = 0
parallel_tuple_cost = 0
min_parallel_table_scan_size = 0
enable_partitionwise_aggregate = on
CONF
$node->restart;
my $pages =
  'SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page FROM parts GROUP BY tag';
like(
	$node->safe_psql('postgres', "EXPLAIN $pages"),
	qr/Gather.*Append.*walredo apply.*walredo apply/s,
	'parallel: the plan');
foreach my $places (2, 8)
{
	$node->append_conf('postgresql.conf', "max_worker_processes = $places");
	$node->restart;
	($out, $errors) = ask($node, 'postgres',
		"SELECT count(*) > 20, bool_and(s.page = w.page) FROM ($pages) AS s JOIN wanted AS w USING (tag)"
	);
	is("$out$errors", 't|t',
		$places == 2 ? 'no place to spare: pages' : 'parallel: pages');
}
$node->stop;
nothing_is_left($before, 'the server\'s end');
done_testing();
