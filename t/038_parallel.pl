# Replay in parallel workers, where walredo is not preloaded: all processes of a
# session use one pool, with one background worker, whoever of them needs it
# first, and it ends with the last of them.
#
# Seen to fail: "one worker" and "few places" with a pool for each process, as it
# was; "no place to spare" without walredo_support(); "nothing is left" with a
# pool that is not forgotten when its worker ends, and both this and "only in
# workers" with one that nobody ends but who made it; "permission" without the
# look at it; "in time" and "a late worker" with processes that wait for a worker
# which only the one that registered it knows to be no more; "planned" with a
# segment that must be made.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WalredoProcesses;
use WalredoSessions;

my $node = PostgreSQL::Test::Cluster->new('parallel');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
log_min_messages = debug1
max_parallel_workers = 8
parallel_setup_cost = 0
parallel_tuple_cost = 0
min_parallel_table_scan_size = 0
CONF
$node->start;
my $before = left_before($node);
$node->safe_psql('postgres', q{
	CREATE EXTENSION walredo;
	CREATE TABLE t (i int) WITH (parallel_workers = 3);
	INSERT INTO t SELECT generate_series(1, 3000);
	ANALYZE t;
	CREATE ROLE other;
	GRANT SELECT ON t TO other;
	CREATE FUNCTION masked(i int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE
	AS $$ BEGIN
		RETURN length(walredo_page_mask('Heap', decode(repeat('00', 8192), 'hex'), i));
	END $$;
});
my $mask =
  q{SELECT sum(length(walredo_page_mask('Heap', decode(repeat('00', 8192), 'hex'), i))) FROM t};
my $serial = 'SET max_parallel_workers_per_gather = 0';
my $parallel = 'SET max_parallel_workers_per_gather = 3';
my $answer = 3000 * 8192;

# How many processes each Gather had, from EXPLAIN.
sub launched
{
	my ($session, $query) = @_;
	my ($out) = run_query($session,
		"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) $query");

	return $out =~ /Workers Launched: (\d+)/ ? $1 : 'none';
}

sub restart_with
{
	my $places = shift;

	$node->append_conf('postgresql.conf', "max_worker_processes = $places");
	$node->restart;
	return;
}

# Workers that were registered since the last call.
my $log_size = -s $node->logfile;

sub registered
{
	my $log = substr slurp_file($node->logfile), $log_size;

	$log_size += length $log;
	return scalar(() =
		  $log =~ /registering background worker "walredo worker for PID/g);
}

#
# There are places enough
#

my $session = session($node);
run_query($session, $parallel);
is(launched($session, $mask), 3, 'enough places: three parallel workers');
is((run_query($session, $mask))[0], $answer, 'enough places: the answer');
run_query($session, $serial);
is((run_query($session, $mask))[0], $answer, 'enough places: serial');
is(registered(), 1, 'one worker for all');
is(scalar(workers($node, $session->{backend})), 1, 'it is the session\'s own');

# Two sessions at once do not share anything.
my $second = session($node);
run_query($second, "$parallel; SET ROLE other");
like((run_query($second, $mask))[1],
	qr/permission denied for function walredo_page_mask/,
	'permission: an error');
is(scalar(workers($node, $second->{backend})),
	0, 'permission: no worker in vain');
$node->safe_psql('postgres',
	'GRANT EXECUTE ON FUNCTION walredo_page_mask(text, bytea, int8) TO other');
begin_query($second, $mask);
run_query($session, $parallel);
is((run_query($session, $mask))[0], $answer, 'two sessions: one');
is((end_query($second))[0], $answer, 'two sessions: the other');
is( join(', ', map { scalar(workers($node, $_->{backend})) } $session, $second),
	'1, 1',
	'two sessions: each has a worker');

# Somebody ends the worker, between queries and in the middle of one.
foreach my $when ('between', 'within')
{
	my ($worker) = workers($node, $session->{backend});

	begin_query($session, "$mask, generate_series(1, 5)") if $when eq 'within';
	wait_for { only_child_of($worker) } if $when eq 'within';
	kill 'TERM', $worker;
	is_gone($worker, "terminated: $when");
	my ($out, $errors) =
	  $when eq 'within' ? end_query($session) : run_query($session, $mask);
	is($out, $answer * ($when eq 'within' ? 5 : 1), "terminated: $when")
	  or diag $errors;
}
($session, $second) = map { $_->quit; undef } $session, $second;
ok(wait_for { !workers($node) }, 'nothing is left of two sessions');
nothing_is_left($before, 'enough places');

#
# The leader never replays
#

my $hidden = 'SELECT sum(masked(i)) FROM t';
$session = session($node);
run_query($session, "$parallel; SET parallel_leader_participation = off");
registered();
is(launched($session, $hidden), 3, 'only in workers: there are three');
# One that begins when another ends may need another pool.
cmp_ok(registered(), '<', 3, 'only in workers: they share one pool');
ok(wait_for { !workers($node) }, 'only in workers: it ends with them');
is((run_query($session, $hidden))[0], $answer, 'only in workers: the answer');

# Now it does as well, and goes on after the workers' end.
run_query($session, 'SET parallel_leader_participation = on');
foreach my $round (1 .. 3)
{
	my ($out, $errors) = run_query($session,
		"$hidden UNION ALL SELECT length(walredo_page_mask('Heap', decode(repeat('00', 8192), 'hex'), 0))"
	);
	is($out, "$answer\n8192", "leader and workers: round $round")
	  or diag $errors;
}
is(scalar(workers($node)), 1, 'leader and workers: its pool stays');

# Cancelled in the middle.
begin_query($session, "SELECT sum(masked(t.i)) FROM t, t AS u");
only_child_of(workers($node));
$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{backend})");
like((end_query($session))[1], qr/57014/, 'cancelled');
is((run_query($session, $mask))[0], $answer, 'cancelled: the next query');
$session->quit;
ok(wait_for { !workers($node) }, 'nothing is left of the session');
nothing_is_left($before, 'parallel queries');

#
# The worker cannot start: it does not find the library, which the session and
# its parallel workers do
#

$node->safe_psql('postgres',
	q{ALTER SYSTEM SET dynamic_library_path = '/nonexistent'});
$node->reload;
$node->poll_query_until('postgres',
	q{SELECT current_setting('dynamic_library_path') = '/nonexistent'});
$session = session($node);
run_query($session,
	"$parallel; SET parallel_leader_participation = off; SET walredo.timeout = '2s'; SET statement_timeout = '30s'; SET dynamic_library_path = '\$libdir'"
);

# The leader begins the pool, and makes no request itself.
my $start = time();
$log_size = -s $node->logfile;
like((run_query($session, $mask))[1],
	qr/could not start a (?:background worker for WAL redo|wal-redo child)/,
	'no worker: an error');
cmp_ok(time() - $start, '<', 12, 'no worker: in time');

# None of those who wait for the first is forgotten when there is another.  They
# ask for it after two seconds, so that all is prepared for it to start then.
$node->safe_psql('postgres', 'ALTER SYSTEM RESET dynamic_library_path');
$log_size = -s $node->logfile;
begin_query($session, $mask);
ok( wait_for
	{
		slurp_file($node->logfile, $log_size) =~
		  /could not access file "walredo"/;
	},
	'a late worker: the first has failed');
kill 'HUP', postmaster_pid($node);
my ($late, $late_errors) = end_query($session);
is($late, $answer, 'a late worker: the answer') or diag $late_errors;
$session->quit;
ok(wait_for { !workers($node) }, 'a late worker: nothing is left');
nothing_is_left($before, 'workers that did not start');

#
# There are few places: one is the launcher's of logical replication
#

foreach my $places (5, 4, 3, 2)
{
	restart_with($places);
	$session = session($node);
	run_query($session, $parallel);
	$log_size = -s $node->logfile;
	my $free = $places - 2 > 3 ? 3 : $places - 2;
	my $name = $places > 4 ? 'few places' : 'no place to spare';
	my ($out, $errors) = run_query($session, $mask);

	is($out, $answer, "$name: the answer with $places") or diag $errors;
	is(launched($session, $mask), $free, "$name: $free parallel workers");
	is(registered(), 1, "$name: one worker");
	$session->quit;
	ok(wait_for { !workers($node) }, "$name: nothing is left");
}

#
# There is no room for another segment of shared memory
#

# All that there can be are in use: one for each Gather, until the query ends.
$node->append_conf('postgresql.conf', <<'CONF');
max_connections = 4
superuser_reserved_connections = 0
max_wal_senders = 0
autovacuum_max_workers = 1
CONF
restart_with(2);
$node->safe_psql('postgres', q{
	CREATE FUNCTION result_of(query text) RETURNS text
	LANGUAGE plpgsql PARALLEL RESTRICTED AS $$
	DECLARE result text;
	BEGIN
		EXECUTE query INTO result;
		RETURN result;
	END $$;
});
my $gathers =
	join(' CROSS JOIN ',
		map { "(SELECT count(*) AS n FROM t) AS t$_" } 1 .. 250)
  . ' WHERE '
  . join(' + ', map { "t$_.n" } 1 .. 250)
  . ' > 0';
$session = session($node);
run_query($session,
	'SET max_parallel_workers_per_gather = 1; SET join_collapse_limit = 1');
my ($plan, $plan_errors) = run_query($session,
	"SELECT result_of(\$\$EXPLAIN $mask\$\$) FROM $gathers");
like($plan, qr/Aggregate/, 'no segment left: planned') or diag $plan_errors;
like(
	(run_query($session, "SELECT result_of(\$\$$mask\$\$) FROM $gathers"))[1],
	qr/too many dynamic shared memory segments/,
	'no segment left: an error');
is((run_query($session, $mask))[0],
	$answer, 'no segment left: afterwards there are');
$session->quit;
ok(wait_for { !workers($node) }, 'no segment left: nothing is left');

# None at all.
restart_with(1);
like(
	($node->psql('postgres', $mask))[2],
	qr/could not register a background worker for WAL redo.*HINT:  Increase max_worker_processes/s,
	'no place at all');

$node->stop;
nothing_is_left($before, 'the server\'s end');
done_testing();
