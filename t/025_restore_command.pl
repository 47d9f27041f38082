
# walredo.restore_command: segments that are not in pg_wal come from a command.
# What it must not do: make a query wait that is to end, take a failure for the
# end of WAL, or leave a file or a process behind, whatever ends.
#
# The commands here are given as shell scripts, and the server's own files are
# what their results are compared with.  "Left behind" is what strange_files()
# and strange_processes() find.
#
# Seen to fail:
# - "no process is left", without the signal at the session's death, without the
#   leader's trap, when only the leader was killed, and when nothing was killed
#   after it had been killed itself;
# - "the query ends", when the session did not look for interrupts;
# - "no file", when a half-made file was not forgotten, when the directory was not
#   removed, and when processes in the background were not killed before;
# - "no more are there", when room was made for one file less;
# - "the one that was used last is kept", without the order of use;
# - "is asked for again", when a file that is gone was still taken for kept;
# - "another command is asked again", when it was not;
# - "a file that is not there", when what a command had made was kept;
# - "status of", when 126 and 127 meant that the file is not there, and when the
#   shell's status was not translated into a signal;
# - "no file", "a directory" and others, when the result was not looked at;
# - "descriptors, signals", when the session's descriptors stayed open, and when
#   its signal handlers were not reset;
# - "removes it, and nothing else", when a dead session's directory stayed;
# - "leaves the files of this one alone", when it removed a living session's;
# - "the same after the directory was indexed", when the session went on with what
#   it had been told for that.

use File::Copy qw(copy move);
use FindBin;
use lib $FindBin::RealBin;
use Time::HiRes qw(time usleep);
use WalredoProcesses;
use WalredoSessions;
use WalredoTest;

my $node = wal_server('main', conf => <<'CONF');
restart_after_crash = on
remove_temp_files_after_crash = off
CONF
my $data = $node->data_dir;
my $temp = PostgreSQL::Test::Utils::tempdir();
my $archive = "$temp/archive";
my $started = "$temp/started";
my $asked = "$temp/asked";

#
# A page whose WAL is elsewhere
#

$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE t (i int, t text);
INSERT INTO t SELECT g, repeat('a', 200) FROM generate_series(1, 12000) g;
CREATE TABLE lsns AS SELECT pg_current_wal_insert_lsn() AS lsn;
UPDATE t SET t = repeat('b', 200) WHERE i % 2 = 0;
SELECT pg_switch_wal();
CHECKPOINT;
SQL
my $tag = $node->safe_psql('postgres', "SELECT walredo_tag('t', 'main', 0)");
my $lsn = $node->safe_psql('postgres', 'SELECT lsn FROM lsns');

my $page_sql = "SELECT md5(walredo_page_at('$tag', '$lsn'))";
my $page = $node->safe_psql('postgres', $page_sql);

# From the middle of a segment on, and three more of them
my $middle = int_to_lsn((int(lsn_to_int($lsn) / $segment_size) - 2.5) * $segment_size);
my $start_lsn = $node->safe_psql('postgres', <<SQL);
SELECT min(start_lsn) FROM walredo_wal_records('0/0', '$lsn')
WHERE start_lsn >= '$middle'
SQL
my $records_sql = <<SQL;
SELECT count(*), sum(hashtext(rec::text)) FROM walredo_wal_records('$start_lsn', '$lsn');
SQL
my $records = $node->safe_psql('postgres', $records_sql);
like($page, qr/^[0-9a-f]{32}$/, 'there is a page');
cmp_ok((split /\|/, $records)[0], '>', 1000, 'there are records');

$node->stop;
my $redo_segment = segment_name(1, checkpoint_lsn($node));
mkdir $archive or die "could not make $archive: $!";
my @segments = grep { /^[0-9A-F]{24}$/ && $_ lt $redo_segment }
  sort { $a cmp $b } slurp_dir("$data/pg_wal");
foreach my $name (@segments)
{
	move("$data/pg_wal/$name", "$archive/$name") or die "could not move $name: $!";
	system_or_bail('sh', '-c', "gzip -c '$archive/$name' >'$archive/$name.gz'");
}
my $first = segment_name(1, $start_lsn);
my $last = segment_name(1, $lsn);
my @range = grep { $_ ge $first && $_ le $last } @segments;
is(scalar(@range), 4, 'segments that are read');
ok(-e "$archive/$last", 'WAL is elsewhere');

my $before = left_before($node);
$node->start;
my $log = $node->logfile;

# What is in the directory for temporary files, without the path.
sub temporary
{
	my $pattern = shift // '*';

	return join ' ', map { s{.*/pgsql_tmp/}{}r } glob "$data/base/pgsql_tmp/$pattern";
}

# SQL with a command, which is a text for the shell.
sub with
{
	my ($command, $sql) = @_;

	return "LOAD 'walredo';\nSET walredo.restore_command = \$command\$$command\$command\$;\n$sql";
}

sub value_with
{
	return value_or_error($node, 'postgres', with(@_));
}

# The same, and what is left then.
sub is_with
{
	my ($command, $sql, $expected, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $value = value_with($command, $sql);
	ref $expected ? like($value, $expected, $name) : is($value, $expected, $name);
	wait_for { !(my @processes = strange_processes($node)) };
	is(join("\n", strange_processes($node)), '', '... and no process is left');
	wait_for { temporary() eq '' };
	is(temporary(), '', '... and no file');
	return;
}

# The commands that most of the tests below are made of.
my $gunzip = "gzip -dc < $archive/%f.gz > %p";
my $gunzip_and_note = "echo %f >> $asked; $gunzip";

# The files that were asked for, since it was last called.
sub asked
{
	return '' unless -e $asked;
	my $names = slurp_file($asked);
	unlink $asked;
	return join ' ', split /\n/, $names;
}

my $missing = "WAL segment \"$first\" is missing";

is_with('', $records_sql, qr/^58P01: $missing$/m, 'no command');
is_with($gunzip, $records_sql, $records, 'gzip');
is_with($gunzip, $page_sql, $page, 'a page from gzip');
is_with("ln -s $archive/%f %p", $records_sql, $records, 'symbolic links');
is_with("cp $archive/%f %p; exit 0; %%", $records_sql, $records, 'a percent sign');
is_with("test \"\$(printf 'a%%s' b)\" = ab && cp '$archive/%f' \"\$PWD/%p\"",
	$records_sql, $records, 'a percent sign for the command');
ok(-e "$archive/$first", 'the targets of links stay');

# A directory that has a part of WAL, up to the end of what there is.  That it was
# indexed before, which asks for nothing, makes no difference to the session.
mkdir "$temp/part" or die;
copy("$archive/$first", "$temp/part/$first") or die;
my $open_sql =
  "SELECT count(*) FROM walredo_wal_records('$start_lsn', 'FFFFFFFF/FFFFFFFF', '$temp/part')";
my $alone = value_with('', $open_sql);
my $together = value_with($gunzip, $open_sql);
cmp_ok($together, '>', $alone, 'the command has more than the directory');
is_with($gunzip, "SELECT FROM walredo_index_wal('$temp/part');\n$open_sql",
	$together, 'the same after the directory was indexed');

#
# Exit status
#

is_with('exit 1', $records_sql, qr/^58P01: $missing$/m, 'it is not there');
is_with("cp $archive/%f %p; exit 125", $records_sql, qr/^58P01: $missing$/m,
	'a file of a command that says that it is not there');
foreach my $case (
	[ 'exit 126', 'command not executable' ],
	[ '/nonexistent', 'command not found' ],
	[ "$archive/%f", 'command not executable' ],
	[ 'exit 255', 'child process exited with exit code 255' ],
	[ 'kill -9 $$', 'child process was terminated by signal 9: Killed' ],
	[ 'sh -c \'kill $$\'', 'child process was terminated by signal 15: Terminated' ],
	[ "kill -9 \$PPID; sleep 100 | sleep 100",
		'child process was terminated by signal 9: Killed' ])
{
	my ($command, $message) = @$case;
	my $executed = $command =~ s/%f/$first/r;

	is_with("cp $archive/%f %p; $command", $records_sql,
		qr{^38000:\ could\ not\ restore\ file\ "$first"\ from\ archive:\ \Q$message\E
			\nDETAIL:\ \ The\ failed\ restore\ command\ was:
			\ cp\ \Q$archive/$first\E\ base/pgsql_tmp/pgsql_tmp_walredo\.\d+/$first;
			\ \Q$executed\E$}mx,
		"status of $command");
}

my $zero = qr/^38000: could not restore file "$first" from archive
DETAIL:  The restore command returned a zero exit status, but/m;
is_with('true', $records_sql, qr/$zero there is no file "base.*$first"/, 'no file');
is_with('mkdir %p; touch %p/x', $records_sql,
	qr/$zero "base.*$first" is not a regular file/, 'a directory');
is_with('mkfifo %p', $records_sql,
	qr/$zero "base.*$first" is not a regular file/, 'a fifo');
is_with('ln -s nothing %p', $records_sql,
	qr/$zero "base.*$first" is not a regular file/, 'a link to nothing');

#
# What comes may be anything
#

my ($other) = grep { $_ gt $last } @segments;
my $bad = qr/^(?:XX001|58P01): .*\Q$first\E/m;
is_with("head -c 500000 $archive/%f > %p", $records_sql, qr/$bad|no valid WAL record/,
	'half a segment');
is_with(': > %p', $records_sql, qr/$bad|no valid WAL record/, 'an empty file');
is_with("cp $archive/$other %p", $records_sql, qr/$bad|no valid WAL record/,
	'another segment');
is_with("head -c 1048576 /dev/urandom > %p", $records_sql, qr/$bad|no valid WAL record/,
	'random bytes');
is_with("cat $archive/%f $archive/%f > %p", $records_sql, qr/$bad|^\Q$records\E$/m,
	'two segments');

#
# The setting
#

foreach my $case ([ '%r', '%r' ], [ 'cp a%x b', '%x b' ], [ 'a%%%', undef ], [ '%', undef ])
{
	my ($command, $at) = @$case;
	my $detail =
	  defined $at
	  ? "String contains unexpected placeholder at \"$at\"."
	  : 'String ends unexpectedly after escape character "%".';

	is( value_with($command, 'SELECT 1'),
		"22023: invalid value for parameter \"walredo.restore_command\": \"$command\"\nDETAIL:  $detail\n",
		"command $command");
}

$node->safe_psql('postgres', <<SQL);
CREATE ROLE reader LOGIN;
GRANT pg_read_server_files TO reader;
CREATE ROLE nobody LOGIN;
SQL
foreach my $setting ("walredo.restore_command = ''", 'walredo.restore_segments = 9')
{
	my ($name) = split / /, $setting;

	like(
		value_or_error(
			$node, 'postgres', "LOAD 'walredo'; SET ROLE reader; SET $setting"),
		qr/^42501: permission denied to set parameter "$name"$/m,
		"$name is for superusers");
}
is_with($gunzip, "SET ROLE reader; $records_sql", $records, 'others use what is set');
like(value_with($gunzip, "SET ROLE nobody; $records_sql"),
	qr/^42501: /, '... if they may read WAL');

# In the configuration file, and with something wrong in it
$node->append_conf('postgresql.conf', "walredo.restore_command = '$gunzip'");
$node->reload;
is($node->safe_psql('postgres', $records_sql), $records, 'in the configuration file');
$node->append_conf('postgresql.conf', "walredo.restore_command = '%x'");
$node->reload;
my ($stdout, $stderr) = ask($node, 'postgres', "LOAD 'walredo'; SHOW walredo.restore_command; $records_sql");
like($stderr, qr/unexpected placeholder.*$missing/s, 'an invalid one is off');
$node->append_conf('postgresql.conf', "walredo.restore_command = ''");
$node->reload;

#
# What the command is
#

my $script = <<"SH" =~ s/\n/; /gr;
ls -l /proc/self/fd | grep -v ' /proc/' | grep -c ' -> '
perl -e "print \\\$SIG{PIPE} // q(default), qq(\\n)"
readlink /proc/self/fd/0
stat -c %%a base/pgsql_tmp/pgsql_tmp_walredo.*
wc -c
echo it says on stdout
echo it says on stderr >&2
exit 1
SH
my $offset = -s $log;
is_with($script, $records_sql, qr/^58P01: $missing$/m, 'what a command has');
like(
	slurp_file($log, $offset),
	qr{^3\ndefault\n/dev/null\n700\n0\nit says on stdout\nit says on stderr\n}m,
	'descriptors, signals, and output in the server log');

#
# How many are kept
#

# No more than some files are there at any time, also while another one comes.
my $count = "ls base/pgsql_tmp/pgsql_tmp_walredo.*/ | wc -l >> $temp/counts";
foreach my $kept (1, 2, 4)
{
	my $sql = "SET walredo.restore_segments = $kept;\n$records_sql$records_sql";

	unlink "$temp/counts";
	is_with("$count; $gunzip_and_note; $count", $sql, "$records\n$records",
		"$kept kept");
	my @counts = sort { $b <=> $a } split /\n/, slurp_file("$temp/counts");
	is($counts[0], $kept, 'no more are there');

	# Of the first query, and of the second one.
	is( asked(),
		join(' ', @range, $kept < 4 ? @range : ()),
		'... and are asked for again if they are not');
}

# As many as are needed, and the last used first
{
	my $session = session($node);
	my $read = sub {
		my $segment = shift;
		my $at = int_to_lsn($segment_size * hex substr $segment, -8);
		return run_query($session,
			"SELECT count(*) > 0 FROM walredo_wal_records('$at', pg_lsn('$at') + 300000)");
	};
	my ($a, $b, $c) = @range[0 .. 2];

	run_query($session, with($gunzip_and_note, 'SET walredo.restore_segments = 2'));
	$read->($_) foreach $a, $b, $a, $c, $a;
	is(asked(), "$a $b $c", 'the one that was used last is kept');
	$read->($b);
	is(asked(), $b, '... and the other is not');

	is(value_with($gunzip, $records_sql), $records, 'another session');
	$read->($b);
	is(asked(), '', '... leaves the files of this one alone');

	run_query($session, with("$gunzip_and_note; true", ''));
	$read->($b);
	is(asked(), $b, 'another command is asked again');

	my ($file) = glob "$data/base/pgsql_tmp/pgsql_tmp_walredo.*/$b";
	unlink $file or die "could not remove $file: $!";
	is(($read->($b))[0], 't', 'a file that somebody has removed');
	is(asked(), $b, '... is asked for again');

	# One that is not there is not kept, even if the command has made it.
	my $c_only = "cp $archive/%f %p; test %f = $c";
	run_query($session, with($c_only, ''));
	foreach (1, 2)
	{
		like(($read->($b))[1], qr/ERROR:  58P01: WAL segment "$b" is missing/,
			'a file that is not there');
	}
	is(($read->($c))[0], 't', '... and one that is');
	$session->quit;
}

#
# Processes that go on
#

# Those in the background may finish, but not longer than the session.
my $prefetch = 'd=$(dirname %p)/.prefetch; mkdir -p $d; (touch $d/begun;'
  . " sleep 0.3; touch $temp/ready; while touch \$d/\$\$; do mkdir -p \$d; sleep 0.01; done) &"
  . $gunzip;
my $wait_until_ready = <<SQL;
DO \$\$
BEGIN
	FOR i IN 1 .. 10 * $PostgreSQL::Test::Utils::timeout_default LOOP
		EXIT WHEN (pg_stat_file('$temp/ready', true)).size IS NOT NULL;
		PERFORM pg_sleep(0.1);
	END LOOP;
END
\$\$;
SQL
is_with($prefetch, $records_sql . $wait_until_ready,
	qr/^\Q$records\E$/m, 'prefetching');
ok(-e "$temp/ready", 'what it does in the background goes on');

# One with a session of its own is a daemon.
my $daemon_pid = "$temp/daemon_pid";
is(value_with("setsid sh -c 'cd /; echo \$\$ > $daemon_pid; exec sleep 100' & $gunzip",
		$records_sql), $records, 'a daemon');
my ($daemon) = split /\n/, slurp_file($daemon_pid);
is(kill(9, $daemon), 1, '... stays');

#
# Ends
#

# Descendants of a process.
sub descendants
{
	my @pids = @_;
	my %parent;

	slurp_proc("$_/stat") =~ /^(\d+) \(.*\) \S (\d+)/s and $parent{$1} = $2
	  foreach glob '/proc/[0-9]*';
	my @children = grep {
		my $pid = $_;
		grep { $parent{$pid} == $_ } @pids
	} keys %parent;
	return @children ? (@children, descendants(@children)) : ();
}

# A session whose query waits for a command of five processes or more, which has
# written some of a file.
sub waiting
{
	my ($node, $command, @settings) = @_;
	my $session = session($node);

	unlink $started;
	run_query($session, with("echo half > %p; $command", join '', map { "SET $_;" } @settings));
	begin_query($session, $records_sql);
	wait_for
	{
		my @processes = descendants($session->{backend});
		-e $started && @processes >= 5;
	}
	  or die 'the command was not started';
	return $session;
}

# Two processes in a pipeline, one of which ignores what it can, and one that
# is in the background.
my $sleep =
  "sleep 101 & touch $started; (trap '' TERM INT HUP PIPE; sleep 102; sleep 103) | cat > %p";

foreach my $case (
	[ 'statement_timeout', qr/ERROR:  57014: canceling statement due to statement timeout/ ],
	[ 'pg_cancel_backend', qr/ERROR:  57014: canceling statement due to user request/ ],
	[ 'pg_terminate_backend', qr/FATAL:  57P01: terminating connection/ ],
	[ 'leader', qr/ERROR:  38000: .* was terminated by signal 9/ ],
	[ 'command', qr/ERROR:  38000: .* was terminated by signal 9/ ])
{
	my ($how, $message) = @$case;
	my $session = waiting($node, $sleep, ($how eq 'statement_timeout') ? 'statement_timeout = 4000' : ());
	my $backend = $session->{backend};
	my @processes = descendants($backend);
	my $begin = time();

	if ($how =~ /^pg_/)
	{
		$node->safe_psql('postgres', "SELECT $how($backend)");
	}
	elsif ($how ne 'statement_timeout')
	{
		my ($leader) = grep { slurp_proc("/proc/$_/stat") =~ /^\d+ \(.*\) \S $backend /s } @processes;
		my ($command) = grep { slurp_proc("/proc/$_/stat") =~ /^\d+ \(.*\) \S $leader /s } @processes;

		kill 'KILL', $how eq 'leader' ? $leader : $command;
	}
	wait_for { $session->{run}->pump_nb; $session->{stderr} =~ $message };
	like($session->{stderr}, $message, "$how: the query ends");
	cmp_ok(time() - $begin, '<', 10, "$how: at once");
	$session->{stderr} = '';
	ok(wait_for { !grep { state_of($_) !~ /gone|Z/ } @processes },
		"$how: no process is left");
	wait_for { temporary('*/*') eq '' };
	is(temporary('*/*'), '', "$how: no file");
	if ($how ne 'pg_terminate_backend')
	{
		is(join(' ', descendants($backend)), '', "$how: no zombie");
		run_query($session, with($gunzip, ''));
		is((run_query($session, $records_sql))[0], $records, "$how: the session goes on");
	}
	eval { $session->quit };
	wait_for { temporary() eq '' };
	is(temporary(), '', "$how: no directory");
}

# Until the server is there again after a session was killed.
sub wait_for_restart
{
	my $session = shift;

	eval { $session->quit };
	wait_for
	{
		run_log([ 'psql', '-XAtc', 'SELECT 1', $node->connstr('postgres') ],
			'>', \my $out, '2>', \my $err)
	}
	or die 'the server has not restarted';
	return;
}

# What a killed session leaves, another one removes, if the server does not.
{
	my $session = waiting($node, $sleep);
	my @processes = descendants($session->{backend});

	kill 'KILL', $session->{backend};
	ok(wait_for { !grep { state_of($_) !~ /gone|Z/ } @processes },
		'session killed: no process is left');
	wait_for_restart($session);
	is( temporary(),
		"pgsql_tmp_walredo.$session->{backend}",
		'... but the directory');

	mkdir "$data/base/pgsql_tmp/$_"
	  foreach 'pgsql_tmp_walredo.x', 'pgsql_tmp_walredo.1x', 'pgsql_tmp_walredo.';
	is(value_with($gunzip, $records_sql), $records, '... and the next session');
	wait_for { temporary() !~ /\d{2}/ };
	is( temporary(),
		'pgsql_tmp_walredo. pgsql_tmp_walredo.1x pgsql_tmp_walredo.x',
		'... removes it, and nothing else');
	rmdir $_ foreach glob "$data/base/pgsql_tmp/*";
}

# The same, if the server does.
{
	$node->append_conf('postgresql.conf', 'remove_temp_files_after_crash = on');
	$node->reload;
	my $session = waiting($node, $sleep);

	kill 'KILL', $session->{backend};
	wait_for_restart($session);
	is(temporary(), '',
		'session killed: the server removes the directory');
}

foreach my $how ('postmaster', 'immediate', 'fast')
{
	my $session = waiting($node, $sleep);
	my @processes = ($session->{backend}, descendants($session->{backend}));

	if ($how eq 'postmaster')
	{
		my $postmaster = postmaster_pid($node);

		kill 'KILL', $postmaster;
		is_gone($postmaster, 'the server is killed');
		is_gone($session->{backend}, '... and the session ends');
		unlink "$data/postmaster.pid";
		$node->_update_pid(0);

		# The server cannot start before the last process of it is gone.
		wait_for { !(my @others = strange_processes($node)) }
		or die 'other processes stay';
	}
	else
	{
		$node->stop($how);
	}
	ok(wait_for { !grep { state_of($_) !~ /gone|Z/ } @processes },
		"$how: no process is left");
	eval { $session->quit };
	if ($how ne 'immediate')
	{
		is(temporary(), '', "$how: no file");
	}
	$node->start;
	is(temporary(), '', "$how: the server starts");
}

$node->stop;
nothing_is_left($before, 'all of that');

done_testing();
