# Records that are spread over two servers by postgres_fdw: both replay at the
# same time, and return pages only.  One of them is killed while it replays.
#
# Seen to fail: "the table's pages", and "killed: the retry", when the last record
# of each page was left out; the second plan, when our node was offered where a
# foreign server can compute the groups.

use FindBin;
use lib $FindBin::RealBin;

use WalredoProcesses;
use WalredoSessions;
use WalredoTest;

sub start_server
{
	my $name = shift;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
max_wal_size = 1GB
wal_keep_size = 1GB
shared_preload_libraries = 'walredo'
walredo.timeout = '60s'
walredo.pool_size = 1
CONF
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION walredo');
	return $node;
}

my $main = start_server('main');
my @shards = map { start_server("shard_$_") } 0, 1;
plan skip_all => 'postgres_fdw is not installed'
  if $main->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'")
  eq '0';
my @before = map { left_before($_) } $main, @shards;

#
# The records of a pgbench run
#

$main->safe_psql('postgres',
	'CREATE EXTENSION postgres_fdw; CREATE EXTENSION pageinspect');
$main->command_ok([ 'pgbench', '-i', '-q', '-s', '2', 'postgres' ],
	'pgbench is initialized');

# From here on, the first change to a page has a full-page image.
my $start = $main->safe_psql('postgres',
	'CHECKPOINT; SELECT pg_current_wal_insert_lsn()');
$main->command_ok(
	[ 'pgbench', '-n', '-c', '4', '-t', '500', 'postgres' ],
	'pgbench is run');
$main->safe_psql('postgres', <<'SQL');
CREATE TABLE pages AS
	SELECT tag, CASE relkind WHEN 'i' THEN 'Btree' ELSE 'Heap' END AS rmgr,
		b AS blkno, get_raw_page(oid::regclass::text, 'main', b) AS page
	FROM pg_class, generate_series(0, pg_relation_size(oid)
			/ current_setting('block_size')::int - 1) AS b,
		walredo_tag(oid, 'main', b) AS t (tag)
	WHERE relname ~ '^pgbench_' AND relkind IN ('r', 'i');
CREATE TABLE records (tag walredo_tag, lsn pg_lsn, record walredo_record)
	PARTITION BY HASH (tag);
SQL

foreach my $i (0, 1)
{
	my $shard = $shards[$i];
	my ($host, $port) = ($shard->host, $shard->port);

	$shard->safe_psql('postgres',
		'CREATE TABLE records (tag walredo_tag, lsn pg_lsn, record walredo_record)'
	);
	$main->safe_psql('postgres', <<"SQL");
CREATE SERVER shard_$i FOREIGN DATA WRAPPER postgres_fdw
	OPTIONS (host '$host', port '$port', dbname 'postgres',
		extensions 'walredo', async_capable 'true', batch_size '500');
CREATE USER MAPPING FOR CURRENT_USER SERVER shard_$i;
CREATE FOREIGN TABLE records_$i PARTITION OF records
	FOR VALUES WITH (MODULUS 2, REMAINDER $i)
	SERVER shard_$i OPTIONS (table_name 'records');
SQL
}
$main->safe_psql('postgres', <<"SQL");
INSERT INTO records
	SELECT d.tag, w.end_lsn, d.record
	FROM walredo_wal_records('$start', pg_current_wal_flush_lsn()) AS w,
		LATERAL walredo_decode(w.end_lsn, w.rec) AS d
	WHERE d.tag IN (SELECT tag FROM pages);
ANALYZE records, records_0, records_1;
SQL
foreach my $shard (@shards)
{
	cmp_ok($shard->safe_psql('postgres', 'SELECT count(DISTINCT tag) FROM records'),
		'>', 100, 'many pages on ' . $shard->name);
}

#
# Both servers replay
#

my $pages =
  'SELECT tag, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page FROM records GROUP BY tag';
my $compare = <<"SQL";
SELECT count(*) > 500, count(*) = (SELECT count(DISTINCT tag) FROM records),
	count(*) FILTER (WHERE walredo_page_mask(rmgr, s.page, blkno)
		<> walredo_page_mask(rmgr, p.page, blkno))
FROM ($pages) AS s JOIN pages AS p USING (tag)
SQL
my $session = session($main);
$session->query('SET enable_partitionwise_aggregate = on');

# Also if it looks cheaper to fetch all records, and to replay them here: a sort in
# memory costs less.
foreach my $work_mem ('4MB', '1GB')
{
	$session->query("SET work_mem = '$work_mem'");
	my $plan = $session->query("EXPLAIN (VERBOSE, COSTS OFF) $pages");
	is(scalar(() = $plan =~ /Async Foreign Scan/g),
		2, "the plan with work_mem of $work_mem: asynchronous");
	is(scalar(
			() = $plan =~
			  /Remote SQL: SELECT tag, \w+\.walredo_apply_agg\(tag, NULL::bytea, record ORDER BY lsn[^)]*\) FROM \w+\.records GROUP BY 1/g
		),
		2,
		'... and the servers compute the aggregate') or diag $plan;
}
$session->query('RESET work_mem');
is(join('', run_query($session, $compare)),
	't|t|0', 'the table\'s pages are the server\'s');
foreach my $shard (@shards)
{
	cmp_ok($shard->safe_psql('postgres', 'SELECT sum(records) FROM walredo_children'),
		'>', 100, $shard->name . ' has replayed records');
}

# An error of one group on one server names its page.
$shards[1]->safe_psql('postgres', <<'SQL');
CREATE TABLE first AS SELECT * FROM records
	ORDER BY tag, lsn LIMIT 1;
DELETE FROM records WHERE (tag, lsn) IN (SELECT tag, lsn FROM first);
SQL
my $tag = $shards[1]->safe_psql('postgres', 'SELECT tag FROM first');
my ($out, $errors) = run_query($session, $compare);
like($errors, qr/22023: .*CONTEXT:  walredo_apply_agg of $tag\b/s,
	'an error of a group names its page');
$shards[1]->safe_psql('postgres', 'INSERT INTO records SELECT * FROM first');
is(join('', run_query($session, $compare)), 't|t|0', 'then, all is well again');

#
# One server is killed while it replays
#

my ($worker) = workers($shards[1]);
my $child = only_child_of($worker);
stop_process($child);
begin_query($session, $compare);
ok( $shards[1]->poll_query_until('postgres',
		"SELECT count(*) > 0 FROM pg_stat_activity
			WHERE application_name = 'postgres_fdw' AND wait_event IN
				('Extension', 'MessageQueueReceive', 'WalredoAnswer')"),
	'one server waits for its child');
$shards[1]->kill9;
($out, $errors) = end_query($session);
is($out, '', 'killed: no pages');
like($errors, qr/ERROR:  08\w{3}: /, 'killed: an error');
is_gone($child, 'killed: its child is gone');
is_gone($worker, 'killed: its worker is gone');
like((run_query($session, $compare))[1],
	qr/ERROR:  08001: could not connect to server "shard_1"/,
	'killed: it is not there');
is( join('',
		run_query($session,
			"SELECT count(*) > 0 FROM (SELECT walredo_apply_agg(tag, NULL, record ORDER BY lsn) FROM records_0 GROUP BY tag) AS s"
		)),
	't',
	'killed: the other one answers');
ok($shards[0]->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity
			WHERE application_name = 'postgres_fdw' AND state = 'active'"),
	'killed: nothing runs on the other one');

# Any process that is left keeps a server from starting.
wait_for { !strange_processes($shards[1]) } or die 'processes are left';
$shards[1]->start;
is(join('', run_query($session, $compare)), 't|t|0', 'killed: the retry');

$session->quit;
$_->stop foreach $main, @shards;
nothing_is_left($_, 'the end of ' . $_->{node}->name) foreach @before;
done_testing();
