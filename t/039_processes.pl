# What an administrator sees of walredo's processes, and what is in their memory.
#
# Seen to fail: "secret" with the control file copied as it is; "title" with
# what a process was started with; "barrier" with a worker that looks at no
# interrupts; "invalidation messages" with one that reads none; "cancel" with the
# server's own handler; "exit code" with a worker that ends in one way only, and
# "terminated" with the other one.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WalredoProcesses;
use WalredoSessions;

my $node = PostgreSQL::Test::Cluster->new('processes');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
walredo.pool_size = 1
CONF
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION walredo;
	CREATE ROLE "a role";
	GRANT EXECUTE ON FUNCTION walredo_ping() TO "a role";
});

# As ps shows it; with the name of the cluster, which these tests set.
sub title
{
	my $pid = shift;

	return slurp_proc("/proc/$pid/cmdline") =~ s/[\0 ]+\z//r;
}

# Whether a process has some bytes in its memory; undef if nobody may look.
sub in_memory
{
	my ($pid, $bytes) = @_;
	my $found = 0;

	open(my $memory, '<:raw', "/proc/$pid/mem") or return;
	foreach my $line (split /\n/, slurp_proc("/proc/$pid/maps"))
	{
		$line =~ /^(\w+)-(\w+) r/ && $line !~ /\[v/ or next;
		my ($start, $end) = (hex $1, hex $2);
		my $contents = '';

		sysseek $memory, $start, 0;
		1 while sysread $memory, $contents, $end - $start - length $contents,
		  length $contents;
		$found++ if index($contents, $bytes) >= 0;
	}
	return $found;
}

foreach my $preload ('', 'walredo')
{
	my $how = $preload ? 'preloaded' : 'private';

	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = '$preload'");
	$node->restart;

	my $session = session($node);
	run_query($session, 'SELECT walredo_ping()');
	my ($worker) = workers($node);
	my ($template) = templates_of($worker);
	my $child = only_child_of($worker);

	#
	# Titles
	#

	like(
		title($worker),
		$preload
		? qr/^postgres: processes: walredo worker$/
		: qr/^postgres: processes: walredo worker for PID $session->{backend}$/,
		"$how: title of the worker");
	is( title($template),
		'postgres: processes: walredo template',
		"$how: title of the template");
	my $user = $node->safe_psql('postgres', 'SELECT current_user');
	is( title($child),
		"postgres: processes: walredo child for postgres $user",
		"$how: title of a child");
	run_query($session, 'SET ROLE "a role"; SELECT walredo_ping()');
	is( title(only_child_of($worker)),
		'postgres: processes: walredo child for postgres a role',
		"$how: title of another role's child");

	# The longest names there are.
	my $name = 'x' x 63;
	$node->safe_psql('postgres', qq{
		CREATE DATABASE $name;
		CREATE ROLE $name;
		GRANT EXECUTE ON FUNCTION walredo_ping() TO $name;
	}) unless $preload;
	run_query($session, "SET ROLE $name; SELECT walredo_ping()");
	is( title(only_child_of($worker)),
		"postgres: processes: walredo child for postgres $name",
		"$how: title with a long name");

	# Another database, if sessions share a pool.
	if ($preload)
	{
		$node->safe_psql($name,
			"CREATE EXTENSION walredo; GRANT EXECUTE ON FUNCTION walredo_ping() TO $name; SET ROLE $name; SELECT walredo_ping()"
		);
		is( title(only_child_of($worker)),
			"postgres: processes: walredo child for $name $name",
			"$how: title with two long names");
	}

	#
	# What is in their memory
	#

	my $control = slurp_file($node->data_dir . '/global/pg_control');
	my $secret = substr $control, control_nonce_offset($control), 32;
	my $identifier = substr $control, 0, 8;
	foreach my $process ([ 'the template', $template ],
		[ 'a child', only_child_of($worker) ])
	{
		my ($what, $pid) = @$process;
	  SKIP:
		{
			my $found = in_memory($pid, $identifier);

			skip 'may not look into memory', 2 if !defined $found;
			cmp_ok($found, '>', 0, "$how: $what has the system identifier");
			is(in_memory($pid, $secret), 0, "$how: $what has no secret");
		}
	}

	#
	# The worker in the server
	#

	is( $node->safe_psql('postgres',
			"SELECT backend_type, datname IS NULL FROM pg_stat_activity WHERE pid = $worker"
		),
		'walredo worker|t',
		"$how: activity");
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($worker)");
	like((run_query($session, 'SELECT walredo_ping() > 0'))[0],
		qr/t/, "$how: cancel");
	is(join(' ', workers($node)), $worker, "$how: cancel, the worker lives");

	# The server waits here until all processes have closed its files.
	my ($out, $err) = ('', '');
	$node->safe_psql('postgres', 'CREATE DATABASE dropped');
	$node->psql(
		'postgres', 'DROP DATABASE dropped',
		timeout => $PostgreSQL::Test::Utils::timeout_default,
		timed_out => \my $timed_out);
	ok(!$timed_out, "$how: barrier");

	# Half of what the queue of invalidation messages holds, several times.
	$node->safe_psql('postgres', 'ALTER SYSTEM SET log_min_messages = debug4');
	$node->reload;
	my $log_begin = -s $node->logfile;
	my $are_read;
	foreach my $round (1 .. 30)
	{
		$node->safe_psql('postgres', q{DO $$ BEGIN
			FOR i IN 1 .. 100 LOOP
				EXECUTE 'CREATE TEMP TABLE t' || i || ' (i int, t text)';
			END LOOP;
		END $$});
		$are_read = slurp_file($node->logfile, $log_begin) =~
		  /\[$worker\] .*sinval catchup complete/;
		last if $are_read;
	}
	ok($are_read, "$how: invalidation messages are read");
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET log_min_messages');
	$node->reload;

	#
	# Its end
	#

	if ($preload)
	{
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
		is_gone($worker, "$how: terminated");
		my $again;
		ok( wait_for
			{
				($again) = workers($node);
				$again && $node->safe_psql('postgres',
					"SELECT count(*) FROM pg_stat_activity WHERE pid = $again");
			},
			"$how: terminated, and there is another one");
		like((run_query($session, 'SELECT walredo_ping() > 0'))[0],
			qr/t/, "$how: terminated, and the session goes on");
	}

	my $log_size = -s $node->logfile;
	$node->stop('fast');
	unlike(
		substr(slurp_file($node->logfile), $log_size),
		qr/"walredo worker.*exit code/,
		"$how: exit code");
	eval { $session->{run}->finish };
	$node->start;
}

# Where the nonce is: it is the last thing before the checksum, or something
# short that follows it; the rest of the file is zeroes.
sub control_nonce_offset
{
	my $control = shift;
	my $nonce = '';
	my ($out) = run_command([ 'pg_controldata', $node->data_dir ]);

	$out =~ /^Mock authentication nonce:\s+(\w+)$/m or die 'no nonce';
	$nonce = pack 'H*', $1;
	return index($control, $nonce);
}

$node->stop;
done_testing();
