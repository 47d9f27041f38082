# A child that a record has taken over, and that does the worst that it can.
#
# The child is test/bad_child.c: it is a real one except for what it does at
# certain LSNs.  First it is in its sandbox, and in a pool that all sessions
# share.  Then it has no sandbox, and is in the private pool of a session; there
# it can do what the sandbox would have killed it for.  Some requests are so long
# that the session is still writing to the pipe when the child misbehaves.
#
# Each time the session gets the right page or one error, in time; the server log
# says why; the worker and the session use little CPU time and memory; the next
# request gets the right page, from one new child; and in the end nothing is left
# behind.
#
# Seen to fail: "close_stderr" with a worker that ignores the end of standard
# error, and "close_stdin" with a session that does not check whether the child
# still reads, both of which loop without end then; "dribble" with EAGAIN as a
# failure; "flood_stderr" without a limit; "malloc" with a higher limit of memory;
# "flood_stdout" without a check for bytes after an answer; "spin" and "stop"
# without a time-out.

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

plan skip_all => 'needs /proc' unless -r '/proc/self/stat';

my $top = "$FindBin::RealBin/..";
my $dir = PostgreSQL::Test::Utils::tempdir();
chomp(my $include = `pg_config --includedir-server`);

# What a child can do: names by their numbers.
my $source = slurp_file("$top/test/bad_child.c");
$source =~ /typedef enum BadDeed\n\{\n(.*?)\}/s or die 'no list of deeds';
my @deeds = map { lc } $1 =~ /^\tBAD_(\w+)/mg;
my %number_of = map { $deeds[$_] => $_ } 0 .. $#deeds;

foreach my $variant ('held', 'free')
{
	mkdir "$dir/$variant" or die "mkdir: $!";
	command_ok(
		[
			$ENV{CC} || 'cc', '-Wall', '-O1', '-fPIC', '-shared',
			'-D_GNU_SOURCE', "-I$top/src", "-I$include",
			'-Wl,--wrap=walredo_redo_apply', '-Wl,--wrap=walredo_write',
			$variant eq 'free'
			? map { "-Wl,--wrap=$_" } qw(walredo_sandbox_limit_resources
			  walredo_sandbox_enter_template walredo_sandbox_enter)
			: (),
			'-o', "$dir/$variant/walredo.so", "$top/test/bad_child.c",
			glob("$top/src/child/*.c"), "$top/src/proto/proto.c",
			"$top/src/record/image.c", "$top/src/record/xlogrecord.c",
			'-lseccomp'
		],
		"build a child that is $variant");
}

# The outcome of each: the error's message, and how the child has ended.
my $gone = qr/58030: wal-redo child failed/;
my $invalid = qr/58030: wal-redo child gave an invalid answer/;
my $late = qr/58030: wal-redo child did not answer in time/;
my $killed = qr/The child was killed\./;
my $forbidden = qr/terminated by signal \d+: Bad system call\./;
my $exited = qr/The child exited with exit code 0\./;
my $crashed = qr/terminated by signal \d+: Segmentation fault\./;
my $flooded = qr/The child was killed\..* wrote too much to standard error/s;
my $out_of_memory =
  qr/exited with exit code 1\. Its standard error ended with: .*ERROR:  out of memory/s;

my %outcome = (
	held => {
		none => ['right'],
		close_stdin => [ $gone, $forbidden ],
		close_stdout => [ $gone, $forbidden ],
		close_stderr => [ $gone, $forbidden ],
		stop => [ $gone, $forbidden ],
		spin => [ $late, $killed ],
		palloc => [ $gone, $out_of_memory ],
		malloc => ['right'],
		recurse => [ $gone, $crashed ],
		flood_stderr => [ $gone, $flooded ],
		chatter => ['right'],
		flood_stdout => [ $invalid, $killed ],
		short => [ $gone, $exited ],
		short_spin => [ $late, $killed ],
		long => [ $invalid, $killed ],
		twice => [ $invalid, $killed ],
		dribble => ['right'],
		exit => [ $gone, $exited ],
		segv => [ $gone, $crashed ]
	},
	free => {
		close_stdin => [ $gone, $killed ],
		close_stdout => [ $gone, $killed ],
		close_stderr => [ $gone, $killed ],
		stop => [ $late, $killed ],
		flood_stderr => [ $gone, $flooded ]
	});

# If an answer comes while there is more to be sent, that is reported before it is
# found that the answer is invalid.
my %outcome_if_long = (
	short_spin => [ qr/$invalid|$late/, $killed ],
	short => [ qr/$gone|$invalid/, qr/$exited|$killed/ ]);

# Those that only a time-out ends.  All others may take longer than that on a busy
# machine, and so may the launch of a child.
my %needs_timeout = map { $_ => 1 } qw(free:stop held:spin held:short_spin);

my ($node, $session, $before);

sub deed
{
	my ($variant, $deed, $length) = @_;
	my $name = "$variant: $deed, $length request";
	my ($expected, $end) = @{
		  $length eq 'long' && $outcome_if_long{$deed}
		? $outcome_if_long{$deed}
		: $outcome{$variant}{$deed}
	};
	my $query = sprintf(
		"SELECT substr(walredo_apply(tag, NULL, walredo_postgres('BAD/%X', rec)
			|| array_fill(walredo_postgres(lsn, rec), ARRAY[%d])), 9)
			= substr(page, 9) FROM request",
		$number_of{$deed}, $length eq 'long' ? 5000 : 0);

	is((run_query($session, 'SELECT walredo_ping() > 0'))[0], 't', "$name: before");
	my ($worker) = workers($node);
	my $child = only_child_of($worker);
	my $launches = (run_query($session, 'SELECT launches FROM walredo_stat'))[0];
	my $log_start = -s $node->logfile;
	my $cpu = cpu_time($worker) + cpu_time($session->{backend});
	my $memory = memory_of($worker);
	my $start = time();

	run_query($session, "SET walredo.timeout = '2s'")
	  if $needs_timeout{"$variant:$deed"};
	my ($output, $errors) = run_query($session, $query);
	run_query($session, 'RESET walredo.timeout');
	cmp_ok(time() - $start, '<', 30, "$name: in time");
	cmp_ok(cpu_time($worker) + cpu_time($session->{backend}) - $cpu,
		'<', 50, "$name: neither process loops");
	cmp_ok(memory_of($worker) - $memory,
		'<', 1024, "$name: memory of the worker");
	cmp_ok((-s $node->logfile) - $log_start,
		'<', 1_000_000, "$name: length of the server log");

	if ($expected eq 'right')
	{
		is("$output$errors", 't', "$name: page");
		is(only_child_of($worker), $child, "$name: the child lives");
	}
	else
	{
		is($output, '', "$name: no page");
		like($errors, qr/ERROR:  $expected\nDETAIL:  The request was to replay .* $end/,
			"$name: error");
		is_gone($child, "$name: child is gone");
	}
	is((run_query($session, 'SELECT walredo_apply(tag, NULL,
			ARRAY[walredo_postgres(lsn, rec)]) = page FROM request'))[0],
		't', "$name: next request");
	is((run_query($session, 'SELECT launches FROM walredo_stat'))[0] - $launches,
		$expected eq 'right' ? 0 : 1, "$name: launches");
	return substr(slurp_file($node->logfile), $log_start);
}

foreach my $variant ('held', 'free')
{
	my %logs;

	$node = PostgreSQL::Test::Cluster->new($variant);
	$node->init;
	$node->append_conf(
		'postgresql.conf', qq{
autovacuum = off
log_min_error_statement = panic
dynamic_library_path = '$dir/$variant:\$libdir'
walredo.idle_timeout = 0
walredo.max_retries = 0
});
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = '\$libdir/walredo'")
	  if $variant eq 'held';
	$node->start;

	# Sessions have the real library; from PostgreSQL 18 on they would look for
	# it where the child's is.
	$node->safe_psql('postgres',
		q{ALTER DATABASE postgres SET dynamic_library_path = '$libdir'});
	$node->safe_psql(
		'postgres', q{
		CREATE EXTENSION walredo;
		CREATE EXTENSION pageinspect;
		CREATE TABLE bad (i int, t text);
		CREATE TABLE request AS SELECT pg_current_wal_insert_lsn() AS start_lsn;
		INSERT INTO bad VALUES (1, 'one');
		ALTER TABLE request ADD tag walredo_tag, ADD lsn pg_lsn, ADD rec bytea,
			ADD page bytea;
		UPDATE request SET tag = walredo_tag('bad', 'main', 0),
			page = get_raw_page('bad', 0);
		UPDATE request SET lsn = w.end_lsn, rec = w.rec
		FROM request r, walredo_wal_records(r.start_lsn,
			pg_current_wal_insert_lsn()) w
		WHERE record_type = 'INSERT+INIT' AND
			EXISTS (SELECT FROM walredo_decode(w.end_lsn, w.rec) d
				WHERE d.tag = request.tag)});
	$before = left_before($node);
	$session = session($node);

	foreach my $deed (sort keys %{ $outcome{$variant} })
	{
		foreach my $length ('short', 'long')
		{
			$logs{$deed} = deed($variant, $deed, $length);
		}
	}

	like(
		$logs{flood_stderr},
		qr/wal-redo child \d+: x{1000}/,
		"$variant: what a child writes without end is logged, up to a limit");
	if ($variant eq 'held')
	{
		my @lines =
		  $logs{chatter} =~ /wal-redo child \d+: this is line (\d+)$/mg;
		is("@lines", join(' ', 1 .. 100), 'lines of a child are logged');
		my ($megabytes) = $logs{malloc} =~ /there were (\d+) MB of memory/;
		cmp_ok($megabytes, '>', 50, 'a child has memory');
		cmp_ok($megabytes, '<=', 128, 'up to a limit');
		like(
			$logs{palloc},
			qr/wal-redo child \d+: ERROR:  out of memory/,
			'a child that wants more says so');
	}
	$session->quit;
	$node->safe_psql('postgres', 'SELECT walredo_ping()');
	nothing_is_left($before, $variant);
	$node->stop;
	nothing_is_left($before, "$variant: stop");
}

done_testing();
