# Eight clients make requests whose answers are known, while ten times a second
# children and their template are killed or stopped, bytes are added to their
# pipes, and clients are cancelled or terminated.
#
# Every answer is the right one or an error that is documented.  No request is
# answered with another request's page; all pages differ, so it would be noticed.
# Then children are killed a thousand times as soon as they have been started.
# After either, nothing is left behind: no process, file, descriptor or shared
# memory.
#
# CHAOS_SECONDS is how long the first part takes, 20 if it is not set.
#
# Seen to fail: right answers with the child of a cancelled request, or of one
# that timed out, kept for the next request; with the worker giving a session the
# pipes of another session's child; with one byte changed in each twentieth page
# of a child; with the answer to a request that is tried again taken as the answer
# to the next one; with answers to many requests used before it is known that none
# of them had a byte too many.  (For the first two, the check for bytes that are
# left in a pipe had to be removed, too.)  Shared memory, after the kills, with a
# worker that does not remove the segment of a child that was killed at its start,
# when each child still had one.

use strict;
use warnings;

use Fcntl;
use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use WalredoProcesses qw(:DEFAULT !workers);

plan skip_all => 'needs /proc' unless -r '/proc/self/stat';

my $seconds = $ENV{CHAOS_SECONDS} || 20;
my $cycles = 1000;
my $clients = 8;
my $dir = PostgreSQL::Test::Utils::tempdir();

my $node = PostgreSQL::Test::Cluster->new('chaos');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
shared_preload_libraries = 'walredo'
walredo.pool_size = 3
log_min_error_statement = panic
checkpoint_timeout = 1d
CONF
$node->start;

#
# Requests with known answers
#

# Tables and indexes each of whose pages is made by many records, not by an image.
# So the rows are inserted in another transaction than the one that creates the
# table: with wal_level = minimal, changes to a new table are not WAL-logged, and
# its pages are logged as images in the end.
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION walredo;
	CREATE EXTENSION pageinspect;
	CREATE TABLE request (n int PRIMARY KEY, relname text, blkno int,
		tag walredo_tag, base bytea, records walredo_record[], page bytea);
	CREATE TABLE position AS SELECT pg_current_wal_insert_lsn() AS start_lsn;
	DO $$
	BEGIN
		FOR i IN 1 .. 6 LOOP
			EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, t text)', i);
		END LOOP;
	END $$;
	DO $$
	BEGIN
		FOR i IN 1 .. 6 LOOP
			EXECUTE format($i$INSERT INTO t%s SELECT g, md5((g * %s)::text)
				FROM generate_series(1, 200) g$i$, i, i);
			EXECUTE format($i$UPDATE t%s SET t = left(t, 16)
				WHERE id %% 3 = 0$i$, i);
			EXECUTE format($i$DELETE FROM t%s WHERE id %% 7 = 0$i$, i);
		END LOOP;
	END $$;
	ALTER TABLE position ADD end_lsn pg_lsn;
	UPDATE position SET end_lsn = pg_current_wal_insert_lsn();
});
$node->safe_psql(
	'postgres', q{
	CREATE TABLE record AS
		SELECT d.tag, w.end_lsn, d.record
		FROM position p, walredo_wal_records(p.start_lsn, p.end_lsn) w,
			walredo_decode(w.end_lsn, w.rec) d;
	INSERT INTO request
	SELECT row_number() OVER (), relname, b, tag, NULL,
		(SELECT array_agg(record ORDER BY end_lsn) FROM record
			WHERE record.tag = s.tag)
	FROM (SELECT c.relname, b, walredo_tag(c.oid, 'main', b) AS tag
		FROM pg_class c, LATERAL generate_series(0,
			pg_relation_size(c.oid) / 8192 - 1) b
		WHERE c.relname ~ '^t\d(_pkey)?$') s;
	UPDATE request SET page = walredo_apply(tag, base, records);

	-- Half of them begin in the middle, and a third are longer than pipes: on
	-- the page already, a record changes nothing any more.
	UPDATE request SET base =
			walredo_apply(tag, NULL, records[:cardinality(records) / 2]),
		records = records[cardinality(records) / 2 + 1:]
	WHERE n % 2 = 0 AND cardinality(records) > 1;
	UPDATE request SET records = records ||
		array_fill(records[cardinality(records)], ARRAY[2000])
	WHERE n % 3 = 0 AND cardinality(records) > 1;
});
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) > 20, count(DISTINCT page) = count(*),
			count(*) FILTER (WHERE cardinality(records) > 50) > 15,
			count(*) FILTER (WHERE base IS NOT NULL) > 8
		FROM request}),
	't|t|t|t',
	'there are requests, long and short ones, with different answers');
is( $node->safe_psql(
		'postgres', q{
		SELECT relname, blkno FROM request,
			LATERAL (SELECT CASE WHEN relname ~ 'pkey' THEN 'Btree'
				ELSE 'Heap' END AS name) m
		WHERE walredo_page_mask(m.name, page, blkno) IS DISTINCT FROM
			walredo_page_mask(m.name, get_raw_page(relname, blkno), blkno)}),
	'',
	'which are what the server has');

# Makes some requests, one after the other, and returns their outcomes.  If a
# request is cancelled, the next one follows at once.  Some ask for all pages of a
# relation; those requests are sent before the answers to earlier ones are read.
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION steps(OUT outcome text) RETURNS SETOF text
	LANGUAGE plpgsql AS $$
	DECLARE
		total int := (SELECT count(*) FROM request);
		pick int;
		r request;
		answer bytea;
		is_right bool;
	BEGIN
		FOR i IN 1 .. 10 LOOP
			pick := 1 + floor(random() * total);
			answer := NULL;
			SELECT * INTO STRICT r FROM request WHERE n = pick;
			BEGIN
				IF random() < 0.1 THEN
					SELECT bool_and(q.page = p.page) AND count(*) =
						(SELECT count(*) FROM request WHERE relname = r.relname)
					INTO is_right
					FROM position, request q, walredo_pages_at(r.relname, 'main',
						end_lsn) p
					WHERE q.relname = r.relname AND q.blkno = p.blkno;
				ELSE
					answer := walredo_apply(r.tag, r.base, r.records);
					is_right := answer = r.page;
				END IF;
				outcome := CASE WHEN is_right THEN 'right'
				WHEN answer IS NULL THEN 'wrong pages' ELSE 'wrong page' END;
			EXCEPTION WHEN query_canceled OR io_error THEN
				outcome := SQLSTATE;
			END;
			RETURN NEXT;
		END LOOP;
	END $$;
});

# Time-outs are between a fraction of the time that a request takes and several
# times of it, so that they occur at any point of a request.
append_to_file("$dir/calm.sql", "SELECT steps();\n" x 100_000);
append_to_file(
	"$dir/hasty.sql",
	join(
		'',
		map {
			$_ % 4
			  ? "SELECT steps();\n"
			  : 'SET statement_timeout = ' . int(rand 12) . ";\n"
		} 1 .. 200_000));

my @sessions;

# Starts a client, which makes requests until it is ended.
sub start_client
{
	my ($number, $script) = @_;
	my $connstr = $node->connstr('postgres') . ' application_name=client';
	my $session = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $connstr, '-f', "$dir/$script.sql" ],
		'<', File::Spec->devnull,
		'>>', "$dir/stdout.$number", '2>>', "$dir/stderr.$number");
	$sessions[$number] = $session;
	return;
}

# Ends all clients, and returns the outcomes of their requests: a hash of answers,
# and the text of errors.
sub end_clients
{
	my %answers;
	my $errors = '';

	# One that was started just now may not be connected yet.
	wait_for
	{
		$node->safe_psql('postgres', q{
			SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE application_name = 'client'});
		!grep { $_->pumpable } @sessions;
	}
	  or die 'clients do not end';
	foreach my $number (0 .. $#sessions)
	{
		$sessions[$number]->finish;
		$answers{$_}++ foreach split /\n/, slurp_file("$dir/stdout.$number");
		$errors .= slurp_file("$dir/stderr.$number");
		unlink "$dir/stdout.$number", "$dir/stderr.$number";
	}
	@sessions = ();
	return (\%answers, $errors);
}

# Errors of a client that is cancelled or terminated between requests.
sub expected_errors
{
	my $errors = shift;
	return join "\n", grep {
			 !/^psql:\S+: ERROR:  canceling statement due to (?:user request|statement timeout)$/
		  && !/^psql:.* FATAL:  terminating connection due to administrator command$/
		  && !/^CONTEXT: |^SQL |^PL\/pgSQL |^(LINE|QUERY)|^\s/
		  && !/^psql:\S+: (error|fatal): connection to server was lost$/
		  && !/^psql:\S+: no connection to the server$/
		  && !/^psql:\S+: server closed the connection unexpectedly$/
	} split /\n/, $errors;
}

sub worker
{
	return join ' ', WalredoProcesses::workers($node);
}

my $worker = wait_for { worker() } or die 'there is no worker';
my $before = left_before($node);

# The children there have been, and when each was started: in the end, other
# processes may have their PIDs.
my %seen;

sub children
{
	my @children = children_of($worker);
	$seen{$_} = start_of($_) foreach @children;
	return @children;
}

# Waits until all children have ended because they are idle, and returns what the
# worker has then: the number of descriptors, and anonymous memory in kB.  The
# worker may be about to close the last child's last descriptor, so this waits for
# some time until there are as few as expected.
sub quiet_worker
{
	my $expected = shift;
	my $have;

	$node->safe_psql('postgres',
		q{ALTER SYSTEM SET walredo.idle_timeout = 1});
	$node->reload;
	wait_for { !children_of($worker) && !templates_of($worker) }
	  or diag('the worker still has ' . join ', ',
		map { about($_) } children_of($worker), templates_of($worker));
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET walredo.idle_timeout');
	$node->reload;
	wait_for
	{
		$have = descriptors($worker);
		!defined $expected || $have <= $expected;
	};
	return ($have, memory_of($worker));
}

# Checks that nothing is left behind.
sub check_left_overs
{
	my ($when, $descriptors, $memory) = @_;
	my ($have, $memory_now) = quiet_worker($descriptors);

	is(worker(), $worker, "$when: the same worker");
	is( join(
			', ',
			map { about($_) }
			  grep { $seen{$_} ne '' && start_of($_) eq $seen{$_} }
			  sort keys %seen),
		'',
		"$when: no child is left, alive or not");
	is($have, $descriptors, "$when: no descriptor is left in the worker");
	cmp_ok($memory_now, '<', $memory + 1024,
		"$when: memory of the worker is flat");
	nothing_is_left($before, $when);
	return;
}

# Have a child started, so that the worker has allocated all that it ever needs.
is($node->safe_psql('postgres', 'SELECT DISTINCT steps()'),
	'right', 'calm requests');
children();
quiet_worker();
my ($descriptors, $memory) = quiet_worker();

#
# Chaos
#

# From here on, but not before, as a busy machine may take longer for a child.
$node->append_conf('postgresql.conf', 'walredo.timeout = 300ms');
$node->reload;
$node->poll_query_until('postgres',
	"SELECT current_setting('walredo.timeout') = '300ms'")
  or die 'no reload';
start_client($_, 'hasty') foreach 0 .. $clients - 1;
my $end = time() + $seconds;
my $ticks = 0;
my %stopped;
my %done;
while (time() < $end)
{
	my $next = time() + 0.1;
	my @children = children();
	my $child = $children[ rand @children ];
	my $dice = rand;

	$ticks++;
	foreach my $pid (keys %stopped)
	{
		next if time() < $stopped{$pid};
		kill 'CONT', $pid;
		delete $stopped{$pid};
	}

	my ($template) = $ticks % 10 == 0 ? templates_of($worker) : ();

	if (defined $template)
	{
		# If the template is stopped, the worker kills it and starts another.
		kill $dice < 0.5 ? 'KILL' : 'STOP', $template;
		$done{'template killed or stopped'}++;
	}
	elsif (!defined $child)
	{
		$done{'nothing to do'}++;
	}
	elsif ($dice < 0.4)
	{
		kill 'KILL', $child;
		$done{killed}++;
	}
	elsif ($dice < 0.6)
	{
		# Stop it for a shorter or longer time than the time-out.
		kill 'STOP', $child;
		$stopped{$child} = time() + rand(0.6);
		$done{stopped}++;
	}
	elsif ($dice < 0.7)
	{
		kill((qw(TERM SEGV ABRT))[ rand 3 ], $child);
		$done{'killed otherwise'}++;
	}
	else
	{
		# Add a few bytes to the pipe that it reads from, or writes to.
		my $fd = $dice < 0.85 ? 0 : 1;
		if (sysopen(my $pipe, "/proc/$child/fd/$fd", O_WRONLY | O_NONBLOCK))
		{
			syswrite $pipe, "\xff" x ($fd == 0 ? 16 : 1);
			close $pipe;
			$done{"meddled with $fd"}++;
		}
	}

	if ($ticks % 7 == 0)
	{
		my $function =
		  $ticks % 35 == 0 ? 'pg_terminate_backend' : 'pg_cancel_backend';
		$node->safe_psql('postgres', qq{
			SELECT $function(pid) FROM pg_stat_activity
			WHERE application_name = 'client' ORDER BY random() LIMIT 1});
		$done{$function}++;
	}
	foreach my $number (0 .. $clients - 1)
	{
		next if $sessions[$number]->pumpable;
		$sessions[$number]->finish;
		start_client($number, 'hasty');
	}
	usleep(1_000_000 * ($next - time())) if time() < $next;
}
kill 'CONT', $_ foreach keys %stopped;

my ($answers, $errors) = end_clients();
note("done: $_: $done{$_}") foreach sort keys %done;
note("answers: $_: $answers->{$_}") foreach sort keys %$answers;
note($node->safe_psql('postgres', 'SELECT * FROM walredo_stat',
		extra_params => ['-x']));
cmp_ok($ticks, '>', $seconds * 5, 'chaos: faults came often');
cmp_ok(scalar(keys %done), '>=', 7, 'chaos: of all sorts');
is( join(' ', grep { !/^(right|57014|58030)$/ } sort keys %$answers),
	'', 'chaos: right answers and documented errors only');
cmp_ok($answers->{right}, '>', $seconds * 20, 'chaos: most is well');
cmp_ok($answers->{58030} // 0, '>', 0, 'chaos: some is not');
cmp_ok($answers->{57014} // 0, '>', $seconds * 2, 'chaos: much is cancelled');
is(expected_errors($errors), '', 'chaos: clients see no other error');

# An idle child may still have such bytes in its pipes.
ok( $node->poll_query_until('postgres',
		"SELECT bool_and(outcome = 'right') FROM steps()"),
	'chaos: all is well soon afterwards');
check_left_overs('chaos', $descriptors, $memory);

#
# Launch and kill
#

my $launches_before = $node->safe_psql('postgres',
	'SELECT launches + launch_failures FROM walredo_stat');
my %killed;
start_client($_, 'calm') foreach 0 .. 2;
$end = time() + 10 * $PostgreSQL::Test::Utils::timeout_default;
while (keys(%killed) < $cycles && time() < $end && -e "/proc/$worker")
{
	foreach my $child (grep { !$killed{$_} } children())
	{
		# Some of them are still starting, some are in the middle of a request.
		usleep(rand 30_000);
		kill 'KILL', $child;
		$killed{$child} = 1;
	}
}
($answers, $errors) = end_clients();
note("answers: $_: $answers->{$_}") foreach sort keys %$answers;
cmp_ok(scalar(keys %killed), '>=', $cycles, "$cycles children killed");
cmp_ok(
	$node->safe_psql('postgres',
		'SELECT launches + launch_failures FROM walredo_stat')
	  - $launches_before,
	'>=', $cycles, 'and as many were launched');
is( join(' ', grep { !/^(right|58030)$/ } sort keys %$answers),
	'', 'kills: right answers and documented errors only');
is(expected_errors($errors), '', 'kills: clients see no other error');
check_left_overs('kills', $descriptors, $memory);

my $log = slurp_file($node->logfile);
unlike($log, qr/^.*\(PID \d+\) (?:was terminated|exited)|reinitializing|PANIC/m,
	'the server lost no process of its own');
$node->stop;
done_testing();
