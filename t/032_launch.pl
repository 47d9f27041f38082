
# Launches of children that fail, or that many sessions wait for at once.
#
# Seen to fail: "stampede" with a launch for each session that finds no idle
# child, and with launches that are not counted; "crowd" with a limit for the time
# that a single request waits, as before; "no room" and "descriptors" with
# a worker that raises an error instead of reporting it to the session; "control
# file" without a check of its checksum, so that the error is one of the
# template's; "together" without another try, and with a worker that kills all
# children when one has ended; "template" with a worker that waits for its reply
# for ever, with one that does not try again with another template, and with one
# that never ends the template; "template, killed when it has forked" with a worker
# that looks for unknown children only when it starts a template; "out of descriptors for a child" with a worker that
# waits without a limit after a launch that has failed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WalredoProcesses;
use WalredoQueries;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', qq{
shared_preload_libraries = 'walredo'
walredo.pool_size = 4
autovacuum = off
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION walredo');

sub statistic
{
	my $name = shift;

	return $node->safe_psql('postgres', "SELECT $name FROM walredo_stat");
}

# Kills all children.
sub end_children
{
	foreach my $pid (
		split /\n/,
		$node->safe_psql('postgres', 'SELECT pid FROM walredo_children'))
	{
		kill 'KILL', $pid;
	}
	$node->poll_query_until('postgres',
		'SELECT count(*) = 0 FROM walredo_children')
	  or die 'children do not end';
	return;
}

# The process ID of the template.
sub template
{
	my ($worker) = workers($node);
	my ($template) = templates_of($worker);

	return $template;
}

# Kills the template, and waits until it is reaped.
sub end_template
{
	my $template = template() or die 'there is no template';

	kill 'KILL', $template;
	wait_for { state_of($template) eq 'gone' } or die 'template does not end';
	return;
}

# Checks that a ping fails as its child cannot be launched, and that another one
# succeeds once the obstacle is removed.  Most of what a launch needs is needed by
# the template, which is started first.
sub cannot_launch
{
	my ($name, $reason, $hinder, $help) = @_;

	end_children();
	end_template() if template();
	$hinder->();
	my ($stdout, $stderr) = ask($node, 'postgres', 'SELECT walredo_ping()');
	$help->();
	is($stdout, '', "$name: no answer");
	like(
		$stderr,
		qr/ERROR:  58030: could not start a wal-redo child\n.*$reason/s,
		"$name: error");
	is($node->safe_psql('postgres', 'SELECT walredo_ping() > 0'),
		't', "$name: afterwards");
	is(join(' ', glob($node->data_dir . '/base/pgsql_tmp/*')),
		'', "$name: no files are left");
	return;
}

#
# Many sessions at once
#

# They wait for a lock first, so that all are connected when the first request is
# made.
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(1)');
my $script = PostgreSQL::Test::Utils::tempdir() . '/stampede.sql';
append_to_file($script,
	"SELECT pg_advisory_lock_shared(1);\nSELECT walredo_ping();\n");

# Another child is started when sessions have waited for too long, which may happen
# on a busy machine.
my ($launches, $most);
foreach my $try (1 .. 10)
{
	my ($out, $err) = ('', '');
	my $pgbench = IPC::Run::start(
		[
			'pgbench', '-n', '-c', '64', '-t', '1', '-f', $script,
			'-h', $node->host, '-p', $node->port, 'postgres'
		],
		'>' => \$out,
		'2>' => \$err);
	$node->poll_query_until('postgres',
		"SELECT count(*) = 64 FROM pg_locks
			WHERE locktype = 'advisory' AND NOT granted"
	) or die 'callers do not come';
	is(statistic('launches'), 0, 'stampede: no child before');
	my $begin = time;
	$lock->query_safe('SELECT pg_advisory_unlock(1)');
	$pgbench->finish;
	$most = 1 + int((time - $begin) / 0.025);
	is($pgbench->result(0), 0, 'stampede: all are served') or diag($err);
	is(statistic('pages'), 64, 'stampede: 64 answers');
	$launches = statistic('launches');
	is(statistic('(SELECT sum(n) FROM unnest(launch_time) n)'),
		$launches, 'stampede: times of launches are in the statistics');
	last if $launches == 1;

	end_children();
	$node->safe_psql('postgres', 'SELECT walredo_stat_reset()');
	$lock->query_safe('SELECT pg_advisory_lock(1)');
}
cmp_ok($launches, '<=', $most,
	'stampede: 64 callers, one launch, or a few if it takes long');
$lock->quit;

#
# Two sessions of one role that wait for each other again and again
#

# None of them waits for long, but one always waits.
end_children();
append_to_file($script . '.crowd',
	'SELECT count(walredo_ping()) FROM generate_series(1, 100);');
my $crowd = IPC::Run::start(
	[
		'pgbench', '-n', '-c', '2', '-T', '60', '-f', $script . '.crowd',
		'-h', $node->host, '-p', $node->port, 'postgres'
	],
	'>' => \my $crowd_out,
	'2>' => \my $crowd_err);
ok( $node->poll_query_until(
		'postgres', 'SELECT count(*) = 2 FROM walredo_children'),
	'crowd: each has a child');
$crowd->kill_kill;

#
# Two sessions whose children fail at the same time
#
my @sessions = map { $node->background_psql('postgres') } 1 .. 2;
$_->{backend} = $_->query_safe('SELECT pg_backend_pid()') foreach @sessions;
my ($worker) = workers($node);
ok($worker, 'there is a worker');
end_children();
for my $round (1 .. 10)
{
	my @stuck;

	# Each has a child that is stopped.  A third session, which has to wait for
	# a moment, gets another child, which is idle afterwards.
	foreach my $session (@sessions)
	{
		$node->safe_psql('postgres', 'SELECT walredo_ping()');
		foreach my $child (children_of($worker))
		{
			next if grep { $_ == $child } @stuck;
			stop_process($child);
			push @stuck, $child;
		}
		$session->{stdin} .= "SELECT walredo_ping() > 0;\n";
		$session->{run}->pump_nb;
		$node->poll_query_until('postgres',
			"SELECT wait_event IN ('MessageQueueReceive', 'WalredoAnswer')
				FROM pg_stat_activity WHERE pid = $session->{backend}")
		  or die 'session does not wait';
	}
	$launches = statistic('launches');
	kill 'KILL', @stuck;
	my @answers = map { $_->query_safe('') } @sessions;
	is("@answers", 't t', "together: round $round");
	is_gone($_, "together: a child that failed") foreach @stuck;

	# The children that were started for them stay.
	my @children = sort(children_of($worker));
	$launches = statistic('launches') - $launches;
	is($launches, scalar @children, "together: each was launched once");
	cmp_ok($launches, '<=', 2, "together: and not more than needed");
	$_->query_safe('SELECT walredo_ping()') foreach @sessions;
	is(join(' ', sort(children_of($worker))),
		"@children", "together: none was taken for another");
	end_children();
}
$_->quit foreach @sessions;

#
# The template is killed or stopped, with and without a child
#
foreach my $signal ('KILL', 'STOP')
{
	foreach my $with_child (0, 1)
	{
		my $name = "template, $signal" . ($with_child ? ', with a child' : '');
		my $before = statistic('launch_failures');

		$node->safe_psql('postgres', 'SELECT walredo_ping()');
		my $template = template();
		end_children() if !$with_child;
		kill $signal, $template;
		is($node->safe_psql('postgres', 'SELECT walredo_ping() > 0'),
			't', "$name: next request");
		end_children();
		is($node->safe_psql('postgres', 'SELECT walredo_ping() > 0'),
			't', "$name: next child");
		isnt(template(), $template, "$name: there is another");
		ok(!-e "/proc/$template", "$name: it is gone");
		is(statistic('launch_failures'), $before, "$name: no failure");
	}
}

# It is killed when it has forked a child, but has not told the worker yet, which
# takes some tries.  The child that nobody knows must be reaped all the same.
my $cut_off = 0;
my @left;
my $worker_pid = join ' ', workers($node);
my $children_file = "/proc/$worker_pid/task/$worker_pid/children";

SKIP:
{
	skip 'the kernel does not tell quickly which children there are', 1
	  unless -e $children_file;
	my $session = $node->background_psql('postgres');

	foreach my $try (1 .. 50)
	{
		end_children();
		$node->safe_psql('postgres', 'SELECT walredo_ping()')
		  unless template();
		end_children();
		my $template = wait_for { template() }
		  or die 'there is no template';
		my %is_old = map { $_ => 1 } split ' ', slurp_proc($children_file);
		my $log_size = -s $node->logfile;
		my $end = time() + $PostgreSQL::Test::Utils::timeout_default;

		# Look at once, and not with wait_for(), as it is a matter of
		# microseconds.
		$session->query_until(qr/^soon$/m, <<'SQL');
\echo soon
SELECT FROM pg_sleep(0.05);
SELECT walredo_ping();
SQL
		until (grep { !$is_old{$_} } split ' ', slurp_proc($children_file))
		{
			die 'no child is forked' if time() > $end;
		}
		kill 'KILL', $template;
		$session->query_safe('SELECT 1');
		next
		  unless slurp_file($node->logfile, $log_size) =~
		  /wal-redo template $template is gone/;
		last unless wait_for { !(@left = strange_processes($node)) };
		last if ++$cut_off == 5;
	}
	$session->quit;
	note("$cut_off children were unknown");
	is(join("\n", @left), '',
		'template, killed when it has forked: no process is left');
}

# It ends some time after the last child.
$node->safe_psql('postgres', 'ALTER SYSTEM SET walredo.idle_timeout = 100');
$node->reload;
ok(wait_for { !template() }, 'template retires');
is(statistic('kills_idle') > 0, 1, 'and so has the last child');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET walredo.idle_timeout');
$node->reload;
is($node->safe_psql('postgres', 'SELECT walredo_ping() > 0'),
	't', 'a template comes back');

#
# Launches without something that they need
#
my $temp_dir = $node->data_dir . '/base/pgsql_tmp';
cannot_launch(
	'no room for files',
	'could not create its data directory',
	sub { chmod 0500, $temp_dir or die "could not change $temp_dir: $!"; },
	sub { chmod 0700, $temp_dir or die "could not change $temp_dir: $!"; });

# The control file is as in the middle of being written.
my $control = $node->data_dir . '/global/pg_control';
my $contents = slurp_file($control);

sub write_control
{
	open(my $file, '+<', $control) or die "could not open $control: $!";
	binmode $file;
	syswrite($file, shift) == length($contents) or die "could not write: $!";
	close $file;
	return;
}
cannot_launch(
	'torn control file',
	'could not read the control file',
	sub {
		my $torn = $contents;
		substr($torn, 100, 1) = chr(ord(substr($torn, 100, 1)) ^ 1);
		write_control($torn);
	},
	sub { write_control($contents); });

# The worker may open no more descriptors than it has open.
my ($soft_limit) = slurp_file("/proc/$worker/limits") =~
  /^Max open files\s+(\d+)/m;
cannot_launch(
	'out of descriptors',
	'Too many open files',
	sub {
		system_or_bail('prlimit', '--pid', $worker, '--nofile=8:');
	},
	sub {
		system_or_bail('prlimit', '--pid', $worker, "--nofile=$soft_limit:");
	});

# The worker may open the descriptors of a template, but not those of a child as
# well.  Then the template has never had a child, and ends like one whose last
# child has ended, though no session asks for anything meanwhile.
end_children();
$node->safe_psql('postgres', 'ALTER SYSTEM SET walredo.idle_timeout = 100');
$node->reload;
wait_for { !template() } or die 'template does not end';
my %is_open = map { m{/(\d+)$} => 1 } glob("/proc/$worker/fd/*");
my ($limit, $unused) = (0, 0);
while ($unused < 6)
{
	$unused++ if !$is_open{ $limit++ };
}
system_or_bail('prlimit', '--pid', $worker, "--nofile=$limit:");
my ($stdout, $stderr) = ask($node, 'postgres', 'SELECT walredo_ping()');
like(
	$stderr,
	qr/ERROR:  58030: could not start a wal-redo child\n.*could not create pipes/s,
	'out of descriptors for a child: error');
ok(wait_for { !template() }, 'out of descriptors for a child: template retires');
system_or_bail('prlimit', '--pid', $worker, "--nofile=$soft_limit:");

$node->stop;
done_testing();
