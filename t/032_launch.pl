
# Launches of children that meet with difficulties, and many callers for one.
#
# Seen to fail: "stampede" with a launch for each caller that finds no idle
# child, and with launches that are not counted; "no room" and "descriptors" with
# a worker that raises an error instead of telling the caller; "control file"
# without a look at its checksum, so that the template fails in its own words;
# "together" without another try, and with a worker that kills all children when
# one is gone; "template" with a worker that waits for its answer for ever, one
# that does not try again with another template, and one that never lets it go.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WalredoProcesses;

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

# Ends all children, by their process IDs; others take their places.
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

# The process that children are forked from.
sub template
{
	my ($worker) = workers($node);
	my ($template) = templates_of($worker);

	return $template;
}

# Ends it, and sees that it is reaped.
sub end_template
{
	my $template = template() or die 'there is no template';

	kill 'KILL', $template;
	wait_for { state_of($template) eq 'gone' } or die 'template does not end';
	return;
}

# A ping that fails to get a child, and one after what stood in its way is gone.
# What a launch needs is mostly needed by the template that it begins with.
sub cannot_launch
{
	my ($name, $reason, $hinder, $help) = @_;
	my ($status, $stdout, $stderr);

	end_children();
	end_template() if template();
	$hinder->();
	($status, $stdout, $stderr) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT walredo_ping()");
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
# Many callers at once
#

# They wait at a lock, so that all are connected when the first one calls.
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(1)');
my $script = PostgreSQL::Test::Utils::tempdir() . '/stampede.sql';
append_to_file($script,
	"SELECT pg_advisory_lock_shared(1);\nSELECT walredo_ping();\n");

# Whoever waits for too long has another child started, which on a machine that
# is busy with something else may happen to some.
my $launches;
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
	$lock->query_safe('SELECT pg_advisory_unlock(1)');
	$pgbench->finish;
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
is($launches, 1, 'stampede: 64 callers, one launch');
$lock->quit;

#
# Two callers whose children fail at the same time
#
my @sessions = map { $node->background_psql('postgres') } 1 .. 2;
$_->{backend} = $_->query_safe('SELECT pg_backend_pid()') foreach @sessions;
my ($worker) = workers($node);
ok($worker, 'there is a worker');
end_children();
for my $round (1 .. 10)
{
	my @stuck;

	# Each has a child that does not get on.  With the others at work, somebody
	# who waits a little gets one more, which is idle then.
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

	# Those that came for them stay.
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
# The template goes, or is stopped, with and without a child.
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

# It retires with the last child.
$node->safe_psql('postgres', 'ALTER SYSTEM SET walredo.idle_timeout = 100');
$node->reload;
ok(wait_for { !template() }, 'template retires');
is(statistic('kills_idle') > 0, 1, 'and so has the last child');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET walredo.idle_timeout');
$node->reload;
is($node->safe_psql('postgres', 'SELECT walredo_ping() > 0'),
	't', 'a template comes back');

#
# What a launch needs and does not get
#
my $temp_dir = $node->data_dir . '/base/pgsql_tmp';
cannot_launch(
	'no room for files',
	'could not create its data directory',
	sub { chmod 0500, $temp_dir or die "could not change $temp_dir: $!"; },
	sub { chmod 0700, $temp_dir or die "could not change $temp_dir: $!"; });

# As it is in the middle of being written.
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

# The worker has some descriptors open, and may open no more.
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

$node->stop;
done_testing();
