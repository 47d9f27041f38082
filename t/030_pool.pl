# Faults of children, workers and callers, and what may be left of them.
#
# Everything runs twice: without preloading, where each session has a worker
# and a child of its own, and with it, where all sessions share them.  A child
# is found as what it is, a child process of a worker that is a child process
# of the postmaster.  It is stopped with SIGSTOP to make a request last for as
# long as a test needs it to.
#
# No answer is ever just "no error": a request is right if it gives the page
# that the server itself wrote.
#
# WALREDO_TEST_ONLY in the environment is a regular expression for the tests
# to run, as "private:kill" or ":waiting$".
#
# Seen to fail: "child" without the filter, with descriptors left open, with
# the child's directory left behind, and with a worker that does not end with
# its session; "kill" without retries, and with the end of a child that is
# being written to taken for an answer; "timeout" without one, without reaping
# (zombies), and with walredo.timeout as the limit for killing a child; "cancel"
# with the child kept for the next request (which got another's page), and
# without room to wait for a private pool; "look" with a single core taken for
# several, with no child told to look, with a request lost that a child finds while
# it looks, and with a cancel taken for an answer; "poison" with tgkill() forbidden
# (signal 31), and with standard error not logged; "hijacked" with stray bytes
# let pass, and with no limit to standard error; "database and role" with children that
# serve any role; "idle_timeout" with a worker that only looks at idle children
# when it is woken; "worker_end" without retries after it, with pipes of the
# pool before kept, and without the parent-death signal; "many_launches" with
# System V segments not removed, and with descriptors of the worker or the
# session not closed; "waiting" with a slot not handed over, with a pool that
# does not grow for those who wait, and with one that does not shrink;
# "server_end" with children that nobody kills.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use WalredoProcesses qw(:DEFAULT !workers);
use WalredoSessions;
use WalredoWal;

plan skip_all => 'needs /proc' unless -r '/proc/self/stat';

my ($node, $preload, $before);

#
# Processes
#

# The workers; only the one for a backend if that is given.
sub workers
{
	my $backend = shift;
	return WalredoProcesses::workers($node, $preload ? undef : $backend);
}

# The children of all workers, or of those given, zombies included.
sub children
{
	return children_of(@_ ? @_ : workers());
}

# The one child that must be there.
sub child
{
	return only_child_of(@_ ? @_ : workers());
}

# Changes a setting of the extension, for all processes.
sub set_config
{
	my ($name, $value) = @_;
	$node->adjust_conf('postgresql.conf', "walredo.$name", $value);
	$node->reload;
}

#
# Requests
#

sub request
{
	my $id = shift;
	return "SELECT walredo_apply(tag, NULL, recs) = page
		FROM request WHERE id = $id";
}

sub is_right
{
	my ($session, $id, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($output, $errors) = run_query($session, request($id));
	is("$output$errors", 't', $name);
}

sub ends_right
{
	my ($session, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($output, $errors) = end_query($session);
	is("$output$errors", 't', $name);
}

sub ends_wrong
{
	my ($session, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($output, $errors) = end_query($session);
	is($output, '', "$name: no page");
	like($errors, $pattern, "$name: error");
}

# A request that is under way on a child that does not get on with it.
sub begin_stuck
{
	my ($session, $id) = @_;
	my ($output, $errors) = run_query($session, 'SELECT walredo_ping() > 0');
	die $errors unless $output eq 't';
	my $child = child(workers($session->{backend}));
	stop_process($child);
	begin_query($session, request($id));
	wait_for_waiting($session);
	return $child;
}

#
# Set-up
#

sub set_up
{
	my $name = shift;

	$node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
checkpoint_timeout = 1h
restart_after_crash = on
walredo.pool_size = 1
walredo.idle_timeout = '60s'
CONF
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'walredo'")
	  if $preload;
	$node->start;

	# Two pages that differ, each with the records that make it.  The third
	# request is for the first page again, but far longer than pipes are: once
	# on the page, a record changes nothing any more.
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE EXTENSION pg_walinspect;
CREATE TABLE request (id int PRIMARY KEY, tag walredo_tag,
	recs walredo_record[], page bytea);
CREATE TABLE source1 (i int, t text);
CREATE TABLE source2 (i int, t text);
-- how pg_walinspect shows the first block of a table
CREATE FUNCTION pattern(relname text) RETURNS text LANGUAGE sql
	AS $$SELECT replace(walredo_tag(relname, 'main', 0)::text,
		' blk', '( fork main)? blk') || '(\D|$)'$$;
SELECT pg_current_wal_lsn() AS start_lsn \gset
INSERT INTO source1 SELECT i, repeat('x', i) FROM generate_series(1, 20) AS i;
INSERT INTO source2 SELECT i, repeat('y', i) FROM generate_series(1, 30) AS i;
UPDATE source1 SET t = t || 'z' WHERE i % 2 = 0;
DELETE FROM source2 WHERE i % 2 = 0;
SELECT pg_current_wal_lsn() AS end_lsn \gset
INSERT INTO request
	SELECT id, tag, recs, walredo_apply(tag, NULL, recs)
	FROM (
		SELECT id, walredo_tag('source' || id, 'main', 0) AS tag,
			array_agg(walredo_postgres(end_lsn, rec) ORDER BY end_lsn) AS recs
		FROM (VALUES (1), (2)) AS v (id),
			walredo_wal_records(:'start_lsn', :'end_lsn') AS w
			JOIN pg_get_wal_records_info(:'start_lsn', :'end_lsn') AS i
				USING (start_lsn, end_lsn)
		WHERE i.block_ref ~ pattern('source' || id)
		GROUP BY id
	) AS s;
INSERT INTO request
	SELECT 3, tag,
		recs || array_fill(recs[array_length(recs, 1)], ARRAY[5000]), page
	FROM request WHERE id = 1;
CREATE TABLE poison AS
	SELECT walredo_tag('source2', 'main', 0) AS tag, end_lsn, rec
	FROM walredo_wal_records(:'start_lsn', :'end_lsn') AS w
		JOIN pg_get_wal_records_info(:'start_lsn', :'end_lsn') AS i
			USING (start_lsn, end_lsn)
	WHERE w.record_type = 'INSERT+INIT'
		AND i.block_ref ~ pattern('source2');
CREATE ROLE regress_one;
CREATE ROLE regress_two;
CREATE ROLE regress_three;
GRANT SELECT ON request TO PUBLIC;
GRANT EXECUTE ON FUNCTION walredo_apply, walredo_ping TO PUBLIC;
SQL

	is( $node->safe_psql(
			'postgres', <<'SQL'),
SELECT id, cardinality(recs) > 20,
	walredo_page_mask('Heap', page, 0) = walredo_page_mask('Heap',
		get_raw_page('source' || (id - 1) % 2 + 1, 0), 0)
FROM request ORDER BY id
SQL
		"1|t|t\n2|t|t\n3|t|t",
		'requests give the pages that the server wrote');

	my $record = poison(
		$node->safe_psql('postgres', "SELECT encode(rec, 'hex') FROM poison"));
	$node->safe_psql('postgres', "UPDATE poison SET rec = '\\x$record'");

	$before = left_before($node);
}

#
# Tests of one session
#

my $timed_out = qr/ERROR:  58030: wal-redo child did not answer in time/;
my $cancelled = qr/ERROR:  57014: canceling statement/;

sub test_child
{
	my $session = session($node);
	is_right($session, 1, 'first request');
	my $worker = (workers($session->{backend}))[0];
	my $child = child($worker);

	foreach my $process ([ 'child', $child ],
		[ 'template', templates_of($worker) ])
	{
		my ($name, $pid, $too_many) = @$process;
		is($too_many, undef, "$name is the only one");

		my $status = slurp_proc("/proc/$pid/status");
		like($status, qr/^Seccomp:\s+2$/m, "$name has a system call filter");
		like($status, qr/^NoNewPrivs:\s+1$/m, "$name can get no privileges");
		is( join(' ', sort map { m{(\d+)$} } glob "/proc/$pid/fd/*"),
			$name eq 'child' ? '0 1 2 3' : '0 1 2',
			"$name has no other descriptors");
		unlike(slurp_proc("/proc/$pid/maps"),
			qr/^\S+ .w.s/m, "$name shares no memory that it can write to");
	}
	is( readlink("/proc/$child/fd/3"),
		readlink("/proc/$child/fd/0"),
		'the last descriptor of a child is its standard input once more');
	my $limits = slurp_proc("/proc/$child/limits");
	like($limits, qr/^Max core file size\s+0\s+0\s/m, 'child dumps no core');
	like($limits, qr/^Max open files\s+0\s+0\s/m, 'child can open no file');
	unlike(
		$limits,
		qr/^Max address space\s+unlimited/m,
		'memory of child is limited');
	unlike(
		slurp_proc("/proc/$child/environ"),
		qr/(^|\0)(?!WALREDO_CHILD_OF|LC_ALL|LD_LIBRARY_PATH|GNUTLS_NO_IMPLICIT_INIT|OPENSSL_CONF)\w/,
		'child has no environment of ours');
	is(strange_files($node), $before->{files}, 'child that runs has no files');

	is_right($session, $_, "request $_ of many") for 1, 2, 3, 1;
	is(child($worker), $child, 'one child serves a session for long');
	$session->quit;
	is_gone($child, 'child goes with the session') unless $preload;
	is_gone($worker, 'worker goes with the session') unless $preload;
	nothing_is_left($before, 'the end of a session');
}

sub test_kill
{
	my $session = session($node);
	my ($child, $new_child, $worker);

	is_right($session, 1, 'before kill');
	$worker = (workers($session->{backend}))[0];

	# While nobody uses it, but before anybody could notice, and after.
	foreach my $wait (0, 1)
	{
		$child = child($worker);
		kill 'KILL', $child;
		is_gone($child, 'killed child is reaped') if $wait;
		is_right($session, 2, "after kill of an idle child, waiting $wait");
		$new_child = child($worker);
		isnt($new_child, $child, 'another child');
		is_right($session, 1, 'after that');
		is(child($worker), $new_child, 'and no more than one other');
	}

	# During a request: while it waits for the answer, and while it cannot
	# even be sent.
	foreach my $id (1, 3)
	{
		$child = begin_stuck($session, $id);
		kill 'KILL', $child;
		ends_right($session, "request $id is tried again");
		is_gone($child, 'killed child is reaped');

		$session->query('SET walredo.max_retries = 0');
		$child = begin_stuck($session, $id);
		kill 'KILL', $child;
		ends_wrong(
			$session,
			qr/ERROR:  58030: wal-redo child failed\nDETAIL:  The request was to replay .* The child was terminated by signal 9/,
			"request $id without retries");
		is_right($session, 2, 'after that');
		$session->query('RESET walredo.max_retries');
	}
	$session->quit;
	nothing_is_left($before, 'kills of children');
}

sub test_timeout
{
	my $session = session($node);
	my $child;

	# The limit is set when the child is there, as it may take longer to start
	# one.
	is_right($session, 1, 'before time-out');
	foreach my $id (1, 3)
	{
		$child = child(workers($session->{backend}));
		stop_process($child);
		$session->query("SET walredo.timeout = '500ms'");
		begin_query($session, request($id));
		ends_wrong($session, $timed_out, "time-out of request $id");
		is_gone($child, 'child is killed after a time-out');
		$session->query('RESET walredo.timeout');
		is_right($session, 2, 'after time-out');
	}

	# Shorter than killing a child takes.
	is_right($session, 1, 'before shorter time-out');
	$child = child(workers($session->{backend}));
	stop_process($child);
	$session->query("SET walredo.timeout = '1ms'");
	begin_query($session, request(1));
	ends_wrong(
		$session,
		qr/$timed_out\nDETAIL:  The request was to replay .* The child was killed\.\n/,
		'shorter time-out');
	is_gone($child, 'child is killed after shorter time-out');
	$session->query('RESET walredo.timeout');
	is_right($session, 2, 'after shorter time-out');
	$session->quit;
	nothing_is_left($before, 'time-outs');
}

sub test_cancel
{
	my $session = session($node);
	my $child;

	foreach my $id (1, 3)
	{
		$child = begin_stuck($session, $id);

		# The next requests are there before the child can be gone.
		begin_query($session, request(2));
		begin_query($session, request(1));
		$node->safe_psql('postgres',
			"SELECT pg_cancel_backend($session->{backend})");
		my ($output, $errors) = end_query($session);
		like($errors, $cancelled, "cancel of request $id");
		is($output, "t\nt", 'next requests get their own pages');
		is_gone($child, 'child is killed after a cancel');

		$child = begin_stuck($session, $id);
		kill 'CONT', $child;
		ends_right($session, 'child that was stopped and goes on');

		run_query($session, "SET statement_timeout = '300ms'");
		stop_process($child);
		begin_query($session, request($id));
		begin_query($session, 'RESET statement_timeout');
		begin_query($session, request(2));
		($output, $errors) = end_query($session);
		like($errors, $cancelled, "statement_timeout of request $id");
		is($output, 't', 'next request gets its own page');
		is_gone($child, 'child is killed after statement_timeout');
	}

	# While the child starts, which it cannot before its template goes on.
	my $template = (templates_of(workers($session->{backend})))[0];
	$child = child(workers($session->{backend}));
	stop_process($template);
	kill 'KILL', $child;
	run_query($session, "SET statement_timeout = '100ms'");
	my (undef, $start_errors) = run_query($session, request(1));
	kill 'CONT', $template;
	like($start_errors, $cancelled, 'cancel while a child starts');
	wait_for { !(run_query($session, 'RESET statement_timeout'))[1] };
	is_right($session, 2, 'after cancel while a child starts');

	# The same at any moment of that, which may be over before the first.
	my $others = '';
	for my $i (1 .. 200)
	{
		my $timeout = $i % 20 + 1;
		kill 'KILL', child(workers($session->{backend}));
		run_query($session, "SET statement_timeout = '${timeout}ms'");
		my ($output, $errors) = run_query($session, request(1));
		$others .= "$output$errors\n"
		  if $errors !~ $cancelled && "$output$errors" ne 't';

		# This may take too long as well.
		wait_for { !(run_query($session, 'RESET statement_timeout'))[1] };
		($output, $errors) = run_query($session, request(2));
		$others .= "$output$errors\n" if "$output$errors" ne 't';
	}
	is($others, '', 'next requests get their own pages');

	$child = begin_stuck($session, 1);
	my $worker = (workers($session->{backend}))[0];
	$node->safe_psql('postgres',
		"SELECT pg_terminate_backend($session->{backend})");
	is_gone($child, 'child is killed after its session was');
	is_gone($worker, 'and so is the worker') unless $preload;
	$session->{run}->finish;
	nothing_is_left($before, 'cancelled requests');
}

# How many cores a process may run on, the first of them, and all of them as
# taskset(1) wants to have it.
sub cores
{
	my $pid = shift;
	my ($list) =
	  slurp_proc("/proc/$pid/status") =~ /^Cpus_allowed_list:\s+(\S+)/m;
	my @cores = map { /^(\d+)-(\d+)$/ ? ($1 .. $2) : $_ } split /,/, $list;

	return (scalar @cores, $cores[0], $list);
}

# Makes all processes run on some cores, and all that they start.  The worker of a
# session that has ended may end meanwhile.
sub run_on
{
	my $cores = shift;
	my $postmaster = postmaster_pid($node);
	my @workers = workers();

	foreach my $pid ($postmaster, @workers, templates_of(@workers),
		children_of(@workers))
	{
		system_log('taskset', '-c', '-p', $cores, $pid) == 0
		  or !-e "/proc/$pid"
		  or die "could not set the cores of process $pid";
	}
	return;
}

# Calls of read(2) and the like by a process.
sub reads
{
	return (slurp_proc('/proc/' . shift() . '/io') =~ /^syscr: (\d+)/m)[0];
}

my $all_right = qr/NOTICE:  00000: 0 wrong/;

# Makes requests 1 and 2 in turn, and says how many gave the wrong page.
sub many_requests
{
	my $number = shift;
	return "DO \$\$
DECLARE
	one request;
	two request;
	wrong int := 0;
BEGIN
	SELECT * INTO STRICT one FROM request WHERE id = 1;
	SELECT * INTO STRICT two FROM request WHERE id = 2;
	FOR i IN 1 .. $number LOOP
		IF walredo_apply(one.tag, NULL, one.recs) <> one.page THEN
			wrong := wrong + 1;
		END IF;
		IF walredo_apply(two.tag, NULL, two.recs) <> two.page THEN
			wrong := wrong + 1;
		END IF;
	END LOOP;
	RAISE NOTICE '% wrong', wrong;
END
\$\$";
}

# Who waits looks before it sleeps, as pool/look.c says.  Everything has to be
# right, be it that the answer, a cancel or the end of the child comes while the
# session looks, or while it sleeps.  A process that looks is known by its many
# reads.
sub look
{
	my $has_several = shift;
	my $session = session($node);
	my $sleep = 0;
	my ($child, $start, $output, $errors);

	is_right($session, 1, 'before looking');
	$child = child(workers($session->{backend}));

	# A session that waits in vain, beginning with its first requests, looks for
	# a while, and then sleeps.
	foreach my $try (1 .. 5)
	{
		$start = reads($session->{backend});
		begin_stuck($session, 1);
		$sleep = reads($session->{backend}) - $start;
		kill 'CONT', $child;
		ends_right($session, "request $try that the session sleeps for");
		last if $sleep > 20;
	}
	cmp_ok($sleep, '<', 20, 'nobody looks on a single core')
	  if !$has_several;

	# A child reads once for a request.  On several cores, it is told to look as
	# soon as two requests follow each other without a pause.
	my $looked = 0;
	my $wrong = '';
	foreach (1 .. ($has_several ? 200 : 1))
	{
		$start = reads($child);
		($output, $errors) = run_query($session, many_requests(500));
		$wrong .= "$output$errors" if $errors !~ $all_right;
		$looked = reads($child) - $start > 1000 + 10;
		last if $looked;
	}
	is(!!$looked, !!$has_several,
		'a child looks for the next request if there are several cores');
	is($wrong, '', 'requests right after each other get their own pages');
	is(child(workers($session->{backend})), $child, 'one child did it all');

	# Children that are killed at any moment.  It is an error if one is killed
	# before it is ready, or if the one of another try is killed, too.
	run_query($session, 'SET walredo.max_retries = 10');
	begin_query($session, many_requests(1000));
	foreach (1 .. 20)
	{
		my @children = children(workers($session->{backend}));
		kill 'KILL', @children if @children;
		usleep(rand(5_000));
	}
	($output, $errors) = end_query($session);
	like(
		$errors,
		qr/$all_right|ERROR:  58030: (?:could not start a wal-redo child|wal-redo child failed)/,
		'requests get their own pages while children are killed');

	# Cancels and time-outs at any moment; the request that comes next is there
	# before the child can be gone.  A time-out ends with its transaction, so that
	# it is not one for what comes next.
	my $others = '';
	foreach my $try (1 .. 20)
	{
		my $timeout = $try % 2 == 0 ? $try * 2 : 0;

		run_query($session, 'BEGIN');
		run_query($session, "SET LOCAL statement_timeout = '${timeout}ms'");
		begin_query($session, many_requests(1_000_000));
		begin_query($session, 'ROLLBACK');
		begin_query($session, request(2));
		if ($try % 2 == 1)
		{
			wait_for
			{
				$node->safe_psql('postgres',
					"SELECT pg_cancel_backend(pid) FROM pg_stat_activity
						WHERE pid = $session->{backend}
							AND query LIKE 'DO%' AND state = 'active'") eq 't';
			};
		}
		($output, $errors) = end_query($session);
		$others .= "$try: $output$errors\n"
		  if $output ne 't' || $errors !~ $cancelled;
	}
	is($others, '', 'requests after a cancel get their own pages');
	$session->quit;
	return;
}

sub test_look
{
	my $postmaster = postmaster_pid($node);
	my ($number, $first, $list) = cores($postmaster);

	plan skip_all => 'needs /proc/PID/io' unless defined reads($postmaster);
	look($number > 1);
	nothing_is_left($before, 'looking');

	# The same on one core, for all processes.
	run_on($first);
	look(0);
	nothing_is_left($before, 'looking on one core');
	run_on($list);
}

sub test_poison
{
	my $session = session($node);
	my $log_start = -s $node->logfile;
	my $query =
	  'SELECT walredo_apply(tag, NULL, ARRAY[walredo_postgres(end_lsn, rec)])
		FROM poison';

	is_right($session, 1, 'before PANIC');
	my $child = child(workers($session->{backend}));
	begin_query($session, $query);
	ends_wrong(
		$session,
		qr/ERROR:  58030: wal-redo child failed\nDETAIL:  The request was to replay the Heap record at .* The child was terminated by signal 6: Aborted. Its standard error ended with: PANIC:  invalid max offset number/,
		'PANIC of redo');
	is_gone($child, 'child is gone after PANIC');
	is_right($session, 2, 'after PANIC');

	my ($output, $errors) = run_query(
		$session, q{
DO $$
DECLARE
	good int := 0;
	bad int := 0;
	equal bool;
	state text;
BEGIN
	FOR i IN 1 .. 20 LOOP
		BEGIN
			IF i % 7 = 3 THEN
				PERFORM walredo_apply(tag, NULL,
					ARRAY[walredo_postgres(end_lsn, rec)]) FROM poison;
			ELSE
				SELECT walredo_apply(tag, NULL, recs) = page INTO STRICT equal
				FROM request WHERE id = i % 2 + 1;
				good := good + equal::int;
			END IF;
		EXCEPTION WHEN io_error THEN
			bad := bad + 1;
		END;
	END LOOP;
	RAISE NOTICE 'good %, bad %', good, bad;
END
$$});
	like($errors, qr/good 17, bad 3/, 'good requests among bad ones');

	my $log = slurp_file($node->logfile, $log_start);
	like(
		$log,
		qr/wal-redo child $child: PANIC:  invalid max offset number/,
		'standard error of a child is in the server log');
	unlike($log, qr/was terminated by signal .* Bad system call/,
		'the filter does not hide the reason');
	$session->quit;
	nothing_is_left($before, 'PANICs');
}

# What a child that an attacker took over might do.
sub test_hijacked
{
	my $session = session($node);
	my ($child, $log_start, $fd);

	# A byte more than asked for, before the request and in the answer.
	foreach my $when ('before', 'in')
	{
		if ($when eq 'before')
		{
			is_right($session, 1, 'before a stray byte');
			$child = child(workers($session->{backend}));
		}
		else
		{
			$child = begin_stuck($session, 1);
		}
		open($fd, '>', "/proc/$child/fd/1") or die "could not open: $!";
		syswrite($fd, 'x');
		close($fd);
		kill 'CONT', $child;
		begin_query($session, request(1)) if $when eq 'before';
		ends_wrong(
			$session,
			qr/ERROR:  58030: wal-redo child gave an invalid answer/,
			"a stray byte $when the request");
		is_gone($child, "child is killed after a stray byte $when a request");
		is_right($session, 2, 'after that');
	}

	# Standard error without end, and without a line's end.
	$log_start = -s $node->logfile;
	$child = child(workers($session->{backend}));
	open($fd, '>', "/proc/$child/fd/2") or die "could not open: $!";
	{
		local $SIG{PIPE} = 'IGNORE';
		my $written = 0;
		while (defined(my $n = syswrite($fd, "\xff" x 65536)))
		{
			$written += $n;
			last if $written > 100_000_000;
		}
		cmp_ok($written, '<', 10_000_000, 'child cannot write for ever');
	}
	close($fd);
	is_gone($child, 'child that wrote too much is killed');
	is_right($session, 1, 'after that');
	cmp_ok((-s $node->logfile) - $log_start,
		'<', 1_000_000, 'server log has not grown much');

	$session->quit;
	nothing_is_left($before, 'hijacked children');
}

sub test_database_and_role
{
	my $session = session($node);
	my %role_of;
	my $mixed = 0;

	foreach my $role (
		qw(regress_one regress_two regress_one regress_one
		regress_three regress_two))
	{
		run_query($session, "SET ROLE $role");
		is_right($session, length($role) % 2 + 1, "request of $role");
		my $child = child(workers($session->{backend}));
		$role_of{$child} = $role unless exists $role_of{$child};
		$mixed++ if $role_of{$child} ne $role;
	}
	is($mixed, 0, 'no child serves two roles');
	is(scalar keys %role_of, 5, 'a child stays with its role');

	# A failure of one role's child is not told to another role.
	my $child = child(workers($session->{backend}));
	run_query($session, 'SET ROLE regress_one');
	kill 'ABRT', $child;
	is_right($session, 1, 'request of a role after the end of another\'s child');
	$session->quit;
	nothing_is_left($before, 'requests of different roles');
}

sub test_idle_timeout
{
	my $session = session($node);

	set_config('idle_timeout', "'200ms'");
	is_right($session, 1, 'before idle_timeout');
	ok(wait_for { !children() }, 'idle child retires');
	my @workers = workers($session->{backend});
	is(scalar(@workers), 1, 'its worker does not');
	is_right($session, 2, 'after idle_timeout');
	set_config('idle_timeout', "'60s'");
	$session->quit;
	nothing_is_left($before, 'idle_timeout');
}

sub test_worker_end
{
	my $session = session($node);
	my ($child, $worker);

	# Between requests, and during one.
	is_right($session, 1, 'before the end of the worker');
	foreach my $id (0, 1, 3)
	{
		$worker = (workers($session->{backend}))[0];
		if ($id == 0)
		{
			$child = child($worker);
			kill 'TERM', $worker;
			is_right($session, 1, 'request when the worker has to end');
		}
		else
		{
			$child = begin_stuck($session, $id);
			kill 'TERM', $worker;
			ends_right($session, "request $id that goes on without its worker");
		}
		is_gone($worker, 'worker is gone');
		is_gone($child, 'child is gone');
		is_right($session, 2, 'after that');
	}
	$session->quit;
	nothing_is_left($before, 'terminated workers');

	# The server starts again after this.
	$session = session($node);
	is_right($session, 1, 'before kill of the worker');
	$worker = (workers($session->{backend}))[0];
	$child = child($worker);
	kill 'KILL', $worker;
	is_gone($child, 'child does not outlive its worker');
	is_gone($session->{backend}, 'server starts again');
	$session->{run}->finish;
	$node->poll_query_until('postgres', 'SELECT true');
	$session = session($node);
	is_right($session, 2, 'after restart');
	$session->quit;
	nothing_is_left($before, 'a killed worker');
}

sub test_many_launches
{
	my $session = session($node);

	is_right($session, 1, 'before many launches');
	my $worker = (workers($session->{backend}))[0];
	my $worker_fds = descriptors($worker);
	my $backend_fds = descriptors($session->{backend});
	my $right = 0;
	for (1 .. 100)
	{
		kill 'KILL', child($worker);
		my ($output, $errors) = run_query($session, request($_ % 2 + 1));
		$right++ if "$output$errors" eq 't';
	}
	is($right, 100, 'many launches');
	is(descriptors($worker), $worker_fds, 'descriptors of the worker');
	is(descriptors($session->{backend}),
		$backend_fds, 'descriptors of the session');
	$session->quit;
	nothing_is_left($before, 'many launches');
}

#
# Tests of sessions that share a pool
#

sub test_waiting
{
	my $first = session($node);
	my $second = session($node);
	my ($child, $output, $errors);

	is_right($first, 1, 'first session');
	is_right($second, 2, 'second session');
	$child = child();
	is_right($first, 1, 'first session again');
	is(child(), $child, 'sessions share a child');

	# The one who waits is cancelled, waits again, and gets what he waits for.
	begin_stuck($first, 1);
	begin_query($second, request(2));
	wait_for_waiting($second);
	$node->safe_psql('postgres',
		"SELECT pg_cancel_backend($second->{backend})");
	ends_wrong($second, $cancelled, 'cancel of a session that waits');
	begin_query($second, request(2));
	wait_for_waiting($second);
	kill 'CONT', $child;
	ends_right($first, 'first session goes on');
	ends_right($second, 'second session goes on');
	is(child(), $child, 'with the same child');

	# The one who has the child is cancelled.
	begin_stuck($first, 1);
	begin_query($second, request(2));
	wait_for_waiting($second);
	$node->safe_psql('postgres',
		"SELECT pg_cancel_backend($first->{backend})");
	ends_wrong($first, $cancelled, 'cancel of a session that others wait for');
	ends_right($second, 'session that waited');
	is_gone($child, 'child that was doomed is gone');

	# Both wait, and one is another role.
	run_query($second, 'SET ROLE regress_two');
	$child = begin_stuck($first, 1);
	begin_query($second, request(2));
	wait_for_waiting($second);
	kill 'KILL', $child;
	ends_right($first, 'session whose child was killed');
	ends_right($second, 'session of another role that waited');

	# A larger pool is there at once for those who wait.
	$child = begin_stuck($first, 1);
	begin_query($second, request(2));
	wait_for_waiting($second);
	set_config('pool_size', 3);
	ends_right($second, 'session that waited when the pool became larger');
	kill 'CONT', $child;
	ends_right($first, 'session that has the child');

	# A smaller one gives up what it does not need.
	foreach my $role (qw(regress_one regress_two regress_three))
	{
		run_query($first, "SET ROLE $role");
		is_right($first, 1, "request of $role");
	}
	my @children = children();
	is(scalar(@children), 3, 'pool is full');
	set_config('pool_size', 1);
	ok(wait_for { @children = children(); @children == 1 },
		'pool has become smaller');
	is_right($first, 1, 'first session in a smaller pool');
	is_right($second, 2, 'second session in a smaller pool');
	@children = children();
	is(scalar(@children), 1, 'pool stays small');

	$first->quit;
	$second->quit;
	nothing_is_left($before, 'shared use');
}

#
# Ends of the server
#

sub test_server_end
{
	foreach my $how ('fast', 'immediate', 'killed')
	{
		foreach my $stuck (0, 1)
		{
			my $session = session($node);
			is_right($session, 1, "before server is $how");
			my $child =
			    $stuck
			  ? begin_stuck($session, 1)
			  : child(workers($session->{backend}));
			my $worker = (workers($session->{backend}))[0];
			my $postmaster = postmaster_pid($node);

			if ($how eq 'killed')
			{
				kill 'KILL', $postmaster;
				is_gone($postmaster, 'server is killed');
				is_gone($session->{backend}, 'session goes');
			}
			else
			{
				$node->stop($how);
				is(state_of($child), 'gone',
					"child is gone once $how stop has returned");
			}
			is_gone($child, "$how: child goes");
			is_gone($worker, "$how: worker goes");
			$session->{run}->finish;
			if ($how eq 'killed')
			{
				unlink $node->data_dir . '/postmaster.pid';
				wait_for { !(my @processes = strange_processes($node)) };
				is(join("\n", strange_processes($node)),
					'', 'no process outlives a killed server');
				$node->_update_pid(0);
			}
			else
			{
				nothing_is_left($before, "$how stop");
			}
			$node->start;
			$session = session($node);
			is_right($session, 2, "after server is $how");
			$session->quit;
			nothing_is_left($before, "$how end and start");
		}
	}
}

foreach my $mode (0, 1)
{
	$preload = $mode;
	my $name = $preload ? 'preloaded' : 'private';
	my $only = $ENV{WALREDO_TEST_ONLY} || '.';
	my @tests = (
		[ 'child', \&test_child ],
		[ 'kill', \&test_kill ],
		[ 'timeout', \&test_timeout ],
		[ 'cancel', \&test_cancel ],
		[ 'look', \&test_look ],
		[ 'poison', \&test_poison ],
		[ 'hijacked', \&test_hijacked ],
		[ 'database and role', \&test_database_and_role ],
		[ 'idle_timeout', \&test_idle_timeout ],
		[ 'worker_end', \&test_worker_end ],
		[ 'many_launches', \&test_many_launches ]);
	push @tests, [ 'waiting', \&test_waiting ] if $preload;
	push @tests, [ 'server_end', \&test_server_end ];

	set_up($name);
	foreach my $test (@tests)
	{
		next unless "$name:$test->[0]" =~ /$only/;
		subtest "$name: $test->[0]" => $test->[1];
	}
	$node->stop;
	nothing_is_left($before, 'stop');
}

done_testing();
