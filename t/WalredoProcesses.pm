package WalredoProcesses;

# Processes of a server that has walredo, and what they may leave behind.
#
# Offers:
#	wait_for
#		polls until a condition holds
#	slurp_proc, state_of, start_of, about, stop_process, is_gone, descriptors,
#	cpu_time, memory_of
#		one process, by its PID
#	postmaster_pid, workers, children_of, templates_of, only_child_of
#		the processes of a server
#	strange_files, strange_processes, left_before, left_over, nothing_is_left
#		files, processes and shared memory that should be gone
#
# A worker is recognized as a child process of the postmaster, and a wal-redo
# child, or its template, as a child process of a worker.  The list of processes
# is no snapshot, so that one look at it may miss a process; functions that wait
# look again.
#
# Seen to fail: nothing_is_left() with children that were neither killed nor
# waited for, and with directories and segments of children that were not removed;
# and, when no process watched whose segments there are, beside a server that was
# started and killed again and again.

use strict;
use warnings;

use Exporter qw(import);
use File::Find;
use FindBin;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(wait_for slurp_proc state_of start_of about stop_process is_gone
  descriptors cpu_time memory_of postmaster_pid workers children_of
  templates_of only_child_of strange_files strange_processes left_before left_over
  nothing_is_left);

# Polls until a condition holds; its last value is the result.
sub wait_for (&)
{
	my $condition = shift;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $value;

	until ($value = $condition->())
	{
		last if time() > $end;
		usleep(10_000);
	}
	return $value;
}

#
# One process, by its PID
#

# A file below /proc, or '' if it is not there any more.
sub slurp_proc
{
	my $path = shift;

	open(my $file, '<', $path) or return '';
	local $/;
	my $contents = <$file>;
	return defined($contents) ? $contents : '';
}

# A letter as in ps(1), or "gone".
sub state_of
{
	my $pid = shift;

	return slurp_proc("/proc/$pid/stat") =~ /^\d+ \(.*\) (\S)/s ? $1 : 'gone';
}

# When the process was started, in ticks, or '' if it is gone.  Another process
# with the same PID has another.
sub start_of
{
	my $pid = shift;

	return slurp_proc("/proc/$pid/stat") =~ /^\d+ \(.*\) (?:\S+ ){19}(\d+)/s
	  ? $1
	  : '';
}

# What a process is, for messages.
sub about
{
	my $pid = shift;

	return
	  slurp_proc("/proc/$pid/stat") =~ /^\d+ \((.*)\) (\S) (\d+)/s
	  ? "$pid ($1, state $2, child of $3)"
	  : "$pid (gone)";
}

sub stop_process
{
	my $pid = shift;

	kill 'STOP', $pid;
	wait_for { state_of($pid) eq 'T' } or die "could not stop process $pid";
	return;
}

sub is_gone
{
	my ($pid, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(wait_for { state_of($pid) eq 'gone' }, $name);
	return;
}

# How many descriptors are open: the fewest of some looks, since a process that
# reads its settings again has a file more for a moment.
sub descriptors
{
	my $pid = shift;
	my $fewest;

	foreach (1 .. 20)
	{
		my @fds = glob "/proc/$pid/fd/*";

		$fewest = @fds if !defined $fewest || @fds < $fewest;
		usleep(5_000);
	}
	return $fewest;
}

# Clock ticks, commonly 100 a second.
sub cpu_time
{
	my $pid = shift;

	slurp_proc("/proc/$pid/stat") =~ /^\d+ \(.*\) \S (.*)/s or return 0;
	my @fields = split ' ', $1;
	return $fields[10] + $fields[11];
}

# kB of memory that belong to no file and are not shared.
sub memory_of
{
	my $pid = shift;

	return slurp_proc("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m ? $1 : 0;
}

#
# Processes of a server
#

# All processes there are: a hash of pid => {name, state, parent, command}.
sub _processes
{
	my %processes;

	foreach my $dir (glob '/proc/[0-9]*')
	{
		slurp_proc("$dir/stat") =~ /^(\d+) \((.*)\) (\S) (\d+)/s or next;
		$processes{$1} = {
			name => $2,
			state => $3,
			parent => $4,
			command => slurp_proc("$dir/cmdline")
		};
	}
	return %processes;
}

# 0 if the server does not run.
sub postmaster_pid
{
	my $node = shift;
	my $file = $node->data_dir . '/postmaster.pid';

	return 0 unless -e $file;
	return (split /\n/, slurp_file($file))[0];
}

# All workers; only that of a session if its backend is given.  Sessions have
# their own if walredo is not preloaded.
sub workers
{
	my ($node, $backend) = @_;
	my %processes = _processes();
	my $postmaster = postmaster_pid($node);
	my $pattern =
	  defined($backend)
	  ? qr/walredo worker for PID $backend\b/
	  : qr/walredo worker/;

	return grep {
			 $processes{$_}{parent} == $postmaster
		  && $processes{$_}{command} =~ /^postgres: .*$pattern/
	} keys %processes;
}

# The processes with a name that those given are the parents of, zombies
# included.  The kernel keeps 15 bytes of a name.
sub _named_children_of
{
	my ($name, @parents) = @_;
	my %is_parent = map { $_ => 1 } @parents;
	my %processes = _processes();

	return grep {
			 $is_parent{ $processes{$_}{parent} }
		  && $processes{$_}{name} eq substr($name, 0, 15)
	} keys %processes;
}

# The wal-redo children of workers, and the templates that they are forked from.
sub children_of
{
	return _named_children_of('walredo child', @_);
}

sub templates_of
{
	return _named_children_of('walredo template', @_);
}

# The one child that these must have.
sub only_child_of
{
	my @parents = @_;
	my @children;

	wait_for { @children = children_of(@parents); @children == 1 }
	  or die 'there should be one child, but there are ' . scalar(@children);
	return $children[0];
}

#
# What may be left behind
#

# Files in the data directory other than those that a server keeps there.
sub strange_files
{
	my $node = shift;
	my $top = $node->data_dir;
	my @found;

	find(
		sub {
			my $path = substr($File::Find::name, length $top);
			if ($path =~ m{^/(pg_wal|pg_stat|pg_stat_tmp|pg_xact|pg_subtrans|
					pg_multixact|pg_logical|pg_notify|pg_replslot)(/|$)}x
				|| $path =~ m{/(\d+(_\w+)?(\.\d+)?|pg_internal\.init)$}
				|| $path =~ m{^/pgsql_tmp_walredo_index(/[0-9A-F]{16}(/[0-9A-F]{24})?)?$}
				|| $path eq '/base/pgsql_tmp'
				|| $path =~ m{^/postmaster\.(pid|opts)$})
			{
				return;
			}
			push @found, $path;
		},
		$top);
	return join "\n", sort @found;
}

# Other servers on this machine may be killed while tests run, and leave shared
# memory behind.  A process for each data directory watches whose the segments
# are: a hash of directory => {pid, output}.
my %watchers;

sub _watch_segments
{
	my $directory = shift;

	return if $watchers{$directory};
	my $output = PostgreSQL::Test::Utils::tempdir() . '/segments';
	my $pid = fork();
	die "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		# If this fails, the END blocks of the test must not be run.
		open(STDOUT, '>', $output)
		  && exec($^X, "$FindBin::RealBin/../test/watch_segments.pl",
			$directory);
		POSIX::_exit(1);
	}
	$watchers{$directory} = { pid => $pid, output => $output };
	wait_for { slurp_proc($output) =~ /^ready$/m }
	  or die 'segments are not watched';
	return;
}

END
{
	local $?;

	kill 'TERM', map { $_->{pid} } values %watchers;
	waitpid($_->{pid}, 0) foreach values %watchers;
}

# The segments that are other servers', as keys of a hash.
sub _foreign_segments
{
	my $directory = shift;

	return map { $_ => 1 } split /\n/,
	  slurp_proc($watchers{$directory}{output});
}

# System V segments that no process is attached to, and files of POSIX segments
# that no process has mapped, except those of other servers, as keys of a hash.
sub _unused_segments
{
	my $directory = shift;
	my %unused;

	foreach my $line (split /\n/, slurp_proc('/proc/sysvipc/shm'))
	{
		my @field = split ' ', $line;
		$unused{"segment $field[1]"} = 1
		  if $field[1] =~ /^\d+$/ && $field[6] == 0 && $field[7] == $>;
	}
	my %files = map { $_ => 1 } grep { -o $_ } glob '/dev/shm/PostgreSQL.*';
	if (%files)
	{
		foreach my $maps (glob '/proc/[0-9]*/maps')
		{
			my $contents = slurp_proc($maps);
			delete $files{$1} while $contents =~ m{(/dev/shm/\S+)}g;
		}
	}
	$unused{"file $_"} = 1 foreach keys %files;
	my %foreign = _foreign_segments($directory);
	delete @unused{ keys %foreign };
	return %unused;
}

# Processes that live in the data directory, or below it, and are no
# descendants of a running server's postmaster, or are zombies of a worker.
sub strange_processes
{
	my $node = shift;
	my $postmaster = postmaster_pid($node);
	my %is_worker = map { $_ => 1 } $postmaster ? workers($node) : ();
	my %processes = _processes();
	my @found;

	foreach my $pid (sort keys %processes)
	{
		my $parent = $processes{$pid}{parent};
		if ($processes{$pid}{state} eq 'Z')
		{
			push @found, "zombie $pid of worker $parent"
			  if $is_worker{$parent};
			next;
		}
		my $cwd = readlink("/proc/$pid/cwd");
		next if !defined($cwd) || index($cwd, $node->data_dir) != 0;
		push @found, "process $pid: $processes{$pid}{command}"
		  unless $postmaster
		  && ( $pid == $postmaster
			|| $parent == $postmaster
			|| $is_worker{$parent});
	}
	return @found;
}

# What there is before a test, for left_over() to compare with.
sub left_before
{
	my $node = shift;

	_watch_segments($node->data_dir);
	return {
		node => $node,
		files => strange_files($node),
		segments => { _unused_segments($node->data_dir) }
	};
}

# What there is that was not there before, a line each; '' if there is nothing.
# A process that ends may take a moment for it.
sub left_over
{
	my $before = shift;
	my $node = $before->{node};
	my $left;

	wait_for
	{
		my %unused = _unused_segments($node->data_dir);
		my @left = strange_processes($node);
		delete @unused{ keys %{ $before->{segments} } };
		push @left, sort keys %unused;
		my $files = strange_files($node);
		push @left, "files are now:\n$files" if $files ne $before->{files};
		$left = join "\n", @left;
		$left eq '';
	};
	return $left;
}

sub nothing_is_left
{
	my ($before, $after) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(left_over($before), '', "nothing is left after $after");
	return;
}

1;
