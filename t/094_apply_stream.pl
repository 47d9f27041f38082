# Groups of walredo_apply_agg() whose requests share a stream: more than one child
# replays them, where an Agg node uses one.  A child that is killed, or that fails at
# the records of a group, costs no page of another group; a query that ends early,
# or is cancelled, leaves nothing behind; and the memory that is taken is bounded.
# The pages are those that the server wrote.  sql/apply_agg.sql has what a session
# alone can see.
#
# Seen to fail: "killed" and "poison" with answers of a child that has failed;
# "LIMIT" with a first batch of 256 groups; "memory" with groups that are never
# replayed in parts.

use FindBin;
use lib $FindBin::RealBin;

use Time::HiRes qw(usleep);
use WalredoProcesses;
use WalredoSessions;
use WalredoTest;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
shared_preload_libraries = 'walredo'
max_wal_size = 10GB
wal_keep_size = 1GB
max_parallel_workers_per_gather = 0
walredo.idle_timeout = 0
walredo.pool_size = 2
walredo.timeout = '60s'
CONF
$node->start;

# Three rows a page, and a record for each.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
SELECT pg_current_wal_insert_lsn() AS start_lsn \gset
CREATE TABLE t (id int, t text) WITH (fillfactor = 10);
INSERT INTO t SELECT i, repeat('t', 180) FROM generate_series(1, 9000) AS i;
SELECT pg_current_wal_insert_lsn() AS end_lsn \gset
CREATE TABLE tags AS SELECT blkno, walredo_tag('t', 'main', blkno) AS tag
	FROM generate_series(0, 2999) AS blkno;
CREATE TABLE records AS
	SELECT blkno, d.tag, w.end_lsn AS lsn, d.record, w.rec
	FROM walredo_wal_records(:'start_lsn', :'end_lsn') AS w,
		LATERAL walredo_decode(w.end_lsn, w.rec) AS d JOIN tags USING (tag);
ANALYZE records;
SQL
my $apply = 'walredo_apply_agg(tag, NULL, record ORDER BY lsn)';
my $pages = "SELECT blkno, $apply AS page FROM records GROUP BY blkno, tag";
my $agg =
  "SELECT blkno, $apply AS page, count(*) AS n FROM records GROUP BY blkno, tag";
my $compare = q{count(*), bool_and(walredo_page_mask('Heap', page, blkno)
	= walredo_page_mask('Heap', get_raw_page('t', blkno::int), blkno))};
my $before = left_before($node);
my $worker = (workers($node))[0];
my $session = session($node);

like($node->safe_psql('postgres', "EXPLAIN $pages"),
	qr/walredo apply/, 'the plan');

#
# Children
#

# An Agg node never uses more than one.
for (1 .. 3)
{
	is($session->query("SELECT $compare FROM ($agg) AS s WHERE n > 0"),
		'3000|t', 'Agg: pages');
}
is(scalar(children_of($worker)), 1, 'Agg: one child');

# Runs queries until two children are there.
sub start_both
{
	return wait_for
	{
		$session->query("SELECT $compare FROM ($pages) AS s") eq '3000|t'
		  or die 'not the pages';
		children_of($worker) == 2;
	};
}
ok(start_both(), 'children: both');

# LIMIT has only some groups replayed, and the children live on.
my @children = sort { $a <=> $b } children_of($worker);
my $requests = 'SELECT sum(requests) FROM walredo_children';
my $answered = $node->safe_psql('postgres', $requests);
is( $session->query(
		"SELECT count(page) FROM ($pages ORDER BY blkno LIMIT 10) AS s"),
	'10', 'LIMIT: pages');
my $limited = $node->safe_psql('postgres', $requests) - $answered;
cmp_ok($limited, '>=', 10, 'LIMIT: what was needed');
cmp_ok($limited, '<=', 16, 'LIMIT: not much more');
is_deeply([ sort { $a <=> $b } children_of($worker) ],
	\@children, 'LIMIT: children');

#
# A child that is killed, cancel
#

# Begins a query with a child that is stopped, and waits until the query has to
# wait for it.
sub begin_stopped
{
	start_both() or die 'no children';
	my $child = (sort { $a <=> $b } children_of($worker))[1];

	stop_process($child);
	begin_query($session, "SELECT $compare FROM ($pages) AS s");
	$node->poll_query_until('postgres',
		"SELECT state = 'busy' FROM walredo_children WHERE pid = $child")
	  or die 'the child is not used';
	wait_for_waiting($session);
	return $child;
}

my $child = begin_stopped();
kill 'KILL', $child;
is(join('', end_query($session)), '3000|t', 'killed: pages');
is_gone($child, 'killed: the child');

$child = begin_stopped();
$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{backend})");
like((end_query($session))[1], qr/57014/, 'cancelled: an error');
is_gone($child, 'cancelled: the child');
is($session->query("SELECT $compare FROM ($pages) AS s"),
	'3000|t', 'cancelled: the next query');

#
# A group that a child fails at
#

my $poison = poison(
	$node->safe_psql('postgres',
		"SELECT encode(rec, 'hex') FROM records WHERE blkno = 14 ORDER BY lsn LIMIT 1"
	));
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE poisoned AS SELECT blkno, tag, lsn, record FROM records;
UPDATE poisoned SET record = walredo_postgres(lsn, '\\x$poison')
	WHERE lsn = (SELECT min(lsn) FROM poisoned WHERE blkno = 14);
SQL
my $poisoned = $pages =~ s/FROM records/FROM poisoned/r;
my $tag = $node->safe_psql('postgres', 'SELECT tag FROM tags WHERE blkno = 14');
my ($out, $errors) =
  run_query($session, "SELECT $compare FROM ($poisoned) AS s");
is($out, '', 'poison: no pages');
like(
	$errors,
	qr/58030: .*PANIC.*CONTEXT:  walredo_apply_agg of $tag\b/s,
	'poison: the error names the group');
is( join('',
		run_query($session,
			"SELECT $compare FROM ($poisoned ORDER BY blkno LIMIT 14) AS s")),
	'14|t',
	'poison: the groups before');
is(join('', run_query($session, "SELECT $compare FROM ($pages) AS s")),
	'3000|t', 'poison: the next query');

#
# Memory
#

# A group of 150,000 records among those of all pages, twice.  Redo skips all but
# the first of the records with the same LSN.
my $large = <<'SQL';
SELECT part, blkno, walredo_apply_agg(tag, NULL, record ORDER BY lsn) AS page
FROM (SELECT blkno / 500 AS part, blkno, tag, lsn, record FROM records
	UNION ALL SELECT i, blkno, tag, lsn, record
		FROM records, generate_series(1, 2) AS i, generate_series(1, 50000)
		WHERE blkno = 600) AS s
GROUP BY part, blkno, tag
SQL
$session->query("SET work_mem = '1MB'");
is( $session->query("EXPLAIN $large") =~ /walredo apply/, 1,
	'memory: the plan');
$session->query("SELECT $compare FROM ($pages) AS s");
my $memory = memory_of($session->{backend});
my $peak = 0;
begin_query($session, "SELECT $compare FROM ($large) AS s");
for (1 .. 36000)
{
	my $now = memory_of($session->{backend});

	$peak = $now if $now > $peak;
	usleep(5000);
	$session->{run}->pump_nb;
	last if $session->{stdout} =~ /^\d+\|[tf]$/m || $session->{stderr} ne '';
}
is(join('', end_query($session)), '3001|t', 'memory: pages');
cmp_ok(($peak - $memory) / 1024, '<=', 8, 'memory: what was taken, in MB');
note(($peak - $memory) / 1024, ' MB');

$session->quit;
$node->stop;
nothing_is_left($before, "the server's end");
done_testing();
