# bench/measure.pl MODE DATA BINDIR BENCH
#
# Takes the measurements, and writes them to standard output as tab-separated
# values; bench/README.md explains the columns.  To be called by bench/run, which
# has built the programs in BENCH and started a server on DATA, to which PGHOST
# and the like lead.  MODE is full, or brief, which takes each measurement once,
# from small samples.
#
# Nearly every measurement is compared with a floor that is taken in the same
# run: after each round of the one comes a round of the other.  The median of
# the rounds is printed.

use strict;
use warnings;

use IO::Handle;
use IPC::Open2;
use Time::HiRes qw(time);

my ($mode, $data, $bindir, $bench) = @ARGV;
die "usage: measure.pl full|brief DATA BINDIR BENCH\n"
  unless defined $bench && $mode =~ /^(full|brief)$/;
my $brief = $mode eq 'brief';

my $rounds = $brief ? 1 : 7;
my $failed = 0;

# ----------------------------------------------------------------
# Tools
# ----------------------------------------------------------------

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	die "nothing was measured\n" unless @sorted;
	return $sorted[$#sorted / 2] if @sorted % 2;
	return ($sorted[ @sorted / 2 - 1 ] + $sorted[ @sorted / 2 ]) / 2;
}

# Runs a command, and returns the lines of its output; dies if it fails.
sub run
{
	my @command = @_;
	open(my $pipe, '-|', @command) or die "could not run $command[0]: $!\n";
	chomp(my @lines = <$pipe>);
	close($pipe) or die "@command[0 .. ($#command > 6 ? 6 : $#command)]: failed\n";
	return @lines;
}

# Splits lines into their columns.
sub rows
{
	return map { [ split /\t/ ] } @_;
}

my $absolute = $bench =~ m{^/} ? $bench : "$ENV{PWD}/$bench";

sub driver_command
{
	return ("$absolute/driver", '--data', $data,
		'--postgres', "$bindir/postgres",
		'--floor', "$absolute/floor",
		'--workloads', "$absolute/workloads", @_);
}

sub driver
{
	return rows(run(driver_command(@_)));
}

my @psql = ("$bindir/psql", '-XAtq', '-F', "\t", '-v', 'ON_ERROR_STOP=1');

sub sql
{
	my ($text) = @_;
	my $file = "$data/../bench.sql";
	open(my $out, '>', $file) or die "could not write $file: $!\n";
	print $out $text;
	close($out);
	my @lines = run(@psql, '-f', $file);
	unlink($file);
	return wantarray ? rows(@lines) : $lines[0];
}

sub read_file
{
	my ($name) = @_;
	open(my $in, '<:raw', $name) or die "could not open $name: $!\n";
	local $/;
	return scalar <$in>;
}

# The cores that we may use, and the first of them.  Whatever is compared runs on
# that one, except in measurements that are about several cores.
my ($all_cores) = join(' ', run('taskset', '-cp', $$)) =~ /list: (\S+)/
  or die "could not find out the cores\n";
my ($core) = $all_cores =~ /^(\d+)/;

sub processes_with
{
	my ($pattern) = @_;
	my @found;
	foreach my $dir (glob('/proc/[0-9]*'))
	{
		open(my $in, '<', "$dir/status") or next;
		my $status = join('', <$in>);
		push @found, $dir =~ /(\d+)$/ if $status =~ $pattern;
	}
	return @found;
}

# Pins the server, and all processes that it has started or will start, to these
# cores, or to the first one if none are given.
sub pin_server
{
	my ($cores) = @_;
	my ($postmaster) = split /\n/, read_file("$data/postmaster.pid");
	my @parents = ($postmaster);

	while (defined(my $pid = shift @parents))
	{
		# The process may have ended just now.
		eval { run('taskset', '-acp', $cores // $core, $pid); 1 }
		  || !-d "/proc/$pid"
		  or die "could not set the cores of process $pid\n";
		push @parents, processes_with(qr/^PPid:\s+$pid$/m);
	}
	return $postmaster;
}

# Prints one row of the table.  The target is for the ratio, or for the value if
# there is no floor.
sub print_row
{
	my ($name, $unit, $value, $floor, $ratio, $target) = @_;
	my $compared = defined $floor ? $ratio : $value;
	my $result =
	  $brief || !defined $target ? '' : $compared <= $target ? 'met' : 'missed';

	print STDERR "   $name\n";
	print join(
		"\t", $name, $unit,
		map({ defined $_ ? sprintf('%.4g', $_) : '' }
			$value, $floor, $ratio, $target),
		$result), "\n";
}

# The same for pairs of value and floor, one pair from each round.
sub print_rounds
{
	my ($name, $unit, $target, @pairs) = @_;
	print_row(
		$name, $unit,
		median(map { $_->[0] } @pairs),
		median(map { $_->[1] } @pairs),
		median(map { $_->[0] / $_->[1] } @pairs), $target);
}

# ----------------------------------------------------------------
# What was measured, and where
# ----------------------------------------------------------------

$| = 1;
{
	my ($model) = read_file('/proc/cpuinfo') =~ /^model name\s*: (.*)$/m;
	my @date = gmtime;
	my $cores = () = read_file('/proc/cpuinfo') =~ /^processor\b/mg;
	my ($version) = run("$bindir/postgres", '--version');

	printf "# %04d-%02d-%02d, %s, %s\n", $date[5] + 1900, $date[4] + 1,
	  $date[3], $mode, $version;
	printf "# %s, %d cores\n", $model // 'unknown processor', $cores;
	print join("\t", qw(measurement unit value floor ratio target result)), "\n";
}

# ----------------------------------------------------------------
# The child alone
# ----------------------------------------------------------------

my %roundtrip_target = (short => 1.30, btree => 1.20, medium => 10);

# Check the pages first: how fast a wrong answer comes is of no interest.
driver('check');

{
	my %pairs;
	push @{ $pairs{ $_->[0] } }, [ $_->[3], $_->[2] ]
	  foreach driver('roundtrip', $rounds, $brief ? 200 : 3000);
	print_rounds("round trip, $_", 'us', $roundtrip_target{$_},
		@{ $pairs{$_} })
	  foreach qw(ping short btree medium);

	%pairs = ();
	push @{ $pairs{ $_->[0] } }, [ $_->[3], $_->[2] ]
	  foreach driver('inflight', $rounds, $brief ? 200 : 3000);
	print_rounds("8 in flight, $_", 'us', undef, @{ $pairs{$_} })
	  foreach grep { $pairs{$_} } qw(ping short btree medium);
}

# A child is forked from a template, which takes longer to start, but is started
# only once.  For comparison, one row has the time that the loader takes for the
# server's program alone.
{
	my @launches = driver('launch', $brief ? 2 : 31);
	my ($child, $template, $empty) =
	  map { my $column = $_; median(map { $_->[$column] / 1000 } @launches) }
	  1 .. 3;

	print_row('launch to first answer', 'ms', $child, undef, undef, 8);
	print_row('start of the template', 'ms', $template);
	print_row('  of which "postgres --version" takes', 'ms', $empty);
}

my ($memory) = driver('memory');
print_row('private memory of a child', 'MB', $memory->[0] / 1024,
	undef, undef, 2.5);
print_row('private memory of the template', 'MB', $memory->[1] / 1024);

# ----------------------------------------------------------------
# The same requests from SQL
# ----------------------------------------------------------------

# Returns the arguments of walredo_apply() for a workload.
sub workload_arguments
{
	my ($name) = @_;
	my $bytes = read_file("$bench/workloads/$name.bin");
	my ($spc, $db, $rel, $fork, $blk, $has_base) = unpack('L< L< L< C L< C', $bytes);
	my $at = 18;
	my $base = 'NULL';
	my @records;

	die "workload $name is not about a main fork\n" if $fork != 0;
	if ($has_base)
	{
		$base = sprintf("'\\x%s'::bytea", unpack('H*', substr($bytes, $at, 8192)));
		$at += 8192;
	}
	my $nrecords = unpack('L<', substr($bytes, $at, 4));
	$at += 4;
	for (1 .. $nrecords)
	{
		my ($lsn, $length) = unpack('Q< L<', substr($bytes, $at, 12));
		push @records,
		  sprintf("walredo_postgres('%X/%X', '\\x%s')",
			$lsn >> 32, $lsn & 0xffffffff,
			unpack('H*', substr($bytes, $at + 12, $length)));
		$at += 12 + $length;
	}
	return ("rel $spc/$db/$rel blk $blk", $base,
		'ARRAY[' . join(', ', @records) . ']');
}

# Defines a function that calls an expression in a PL/pgSQL loop, in batches, and
# returns the median time of a call in microseconds.
sub timing_function
{
	my ($name, $expression) = @_;
	return <<SQL;
CREATE FUNCTION $name(tag walredo_tag, base bytea, records walredo_record[],
	batches int, size int)
RETURNS float8 LANGUAGE plpgsql AS \$\$
DECLARE
	started timestamptz;
	times float8[];
	page bytea;
BEGIN
	FOR batch IN 1 .. batches LOOP
		started := clock_timestamp();
		FOR i IN 1 .. size LOOP
			page := $expression;
		END LOOP;
		times[batch] := extract(epoch FROM clock_timestamp() - started) * 1e6;
	END LOOP;
	RETURN (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY t)
			FROM unnest(times) t) / size;
END
\$\$;
SQL
}

sql("CREATE EXTENSION walredo;\n"
	  . "CREATE TABLE bench_requests (name text PRIMARY KEY, tag walredo_tag, base bytea, records walredo_record[]);\n"
	  . timing_function('bench_apply', 'walredo_apply(tag, base, records)')
	  . timing_function('bench_set_byte', 'set_byte(base, 0, 1)'));
foreach my $name (qw(short btree medium))
{
	my ($tag, $base, $records) = workload_arguments($name);
	sql("INSERT INTO bench_requests VALUES ('$name', '$tag', $base, $records);");
}
sql(<<'SQL');
INSERT INTO bench_requests
SELECT 'clog ' || n, 'slru pg_xact/0000 blk 0', decode(repeat('00', 8192), 'hex'),
	ARRAY[walredo_clog_set_committed('0/1000000',
		(SELECT array_agg((731 + 7 * i)::text::xid ORDER BY i) FROM generate_series(1, n) i))]
FROM unnest(ARRAY[1, 1000]) n;
SQL

my $postmaster = pin_server();

# base || '' has the base image read into memory before the clock starts.
sub time_sql
{
	my ($function, $name, $batches, $size) = @_;
	return scalar sql(
		"SELECT $function(tag, base || '', records, $batches, $size) FROM bench_requests WHERE name = '$name';");
}

{
	my %target = (short => 1.35, btree => 1.35, medium => 1.08);

	# Batches are as short as the resolution of the clock allows, so that an
	# interruption affects few of them.
	my %size = (short => 10, btree => 10, medium => 2);

	# Compares walredo_apply() with a column that a command of the driver prints.
	my $compare = sub {
		my ($name, $command, $column) = @_;
		my @pairs;
		for (1 .. $rounds)
		{
			my ($driver) = driver('--session', 'own', $command, 1,
				$brief ? 200 : 3000, $name);
			push @pairs,
			  [ time_sql('bench_apply', $name, $brief ? 20 : 400, $size{$name}),
				$driver->[$column] ];
		}
		return @pairs;
	};

	foreach my $name (qw(short btree medium))
	{
		print_rounds("walredo_apply, $name / driver", 'us',
			$target{$name}, $compare->($name, 'roundtrip', 3));
	}

	# The same on two cores, where the backend and the child look for each other's
	# messages before they sleep, which the floor does not.
	if ($all_cores ne $core)
	{
		pin_server($all_cores);
		foreach my $name (qw(short btree medium))
		{
			print_rounds("walredo_apply, $name / floor, on two cores", 'us',
				$name eq 'short' ? 0.3 : undef, $compare->($name, 'apart', 2));
		}
		pin_server();
	}
}

{
	my (@pairs, @xids);
	for (1 .. $rounds)
	{
		my $batches = $brief ? 10 : 300;
		my $one = time_sql('bench_apply', 'clog 1', $batches, 100);
		my $thousand = time_sql('bench_apply', 'clog 1000', $batches, 100);
		my ($loop) = driver('clogloop', $brief ? 100 : 20000);

		push @pairs,
		  [ $one, time_sql('bench_set_byte', 'clog 1', $batches, 100) ];
		push @xids, [ ($thousand - $one) / 999 * 1000, $loop->[0] * 1000 ];
	}
	print_rounds('one native record / set_byte', 'us', 1.5, @pairs);
	print_rounds('CLOG, one of 1,000 xids / C loop', 'ns', 2, @xids);
}

# ----------------------------------------------------------------
# Reading WAL
# ----------------------------------------------------------------

# Wall time of commands that run at the same time, in ms.
sub time_of
{
	my @commands = @_;
	my $start = time;
	my @pids;

	foreach my $command (@commands)
	{
		my $pid = fork() // die "could not fork: $!\n";
		if ($pid == 0)
		{
			open(STDOUT, '>', '/dev/null');
			exec(@$command);
			exit(127);
		}
		push @pids, $pid;
	}
	foreach my $pid (@pids)
	{
		waitpid($pid, 0);
		die "$commands[0][0]: failed\n" if $? != 0;
	}
	return (time - $start) * 1000;
}

# Time of a query as psql reports it, in ms, without the start of psql and the
# connection.
sub time_of_query
{
	my ($query) = @_;
	my ($time) =
	  map { /^Time: ([\d.]+) ms/ ? $1 : () }
	  run(@psql, '-c', '\timing on', '-c', $query);

	return $time // die "psql told no time\n";
}

# The same, while indexes of WAL are turned off.
sub time_without_index
{
	local $ENV{PGOPTIONS} = '-c walredo.index_size=0';
	return time_of_query($_[0]);
}

# Compresses the segments of a range with zstd.  Returns the directory that they
# are in, and a command that decompresses them and reads the range.
sub compressed_wal
{
	my ($start_lsn, $end_lsn) = @_;
	my $names = "pg_walfile_name('$start_lsn') AND pg_walfile_name('$end_lsn')";
	my @segments = map { $_->[0] } sql(
		"SELECT name, 'x' FROM pg_ls_waldir() WHERE name BETWEEN $names ORDER BY 1;");
	my ($archive, $plain) = ("$absolute/compressed", "$absolute/decompressed");

	mkdir $_ or die "could not make $_: $!\n" foreach $archive, $plain;
	run('zstd', '-q', "$data/pg_wal/$_", '-o', "$archive/$_.zst")
	  foreach @segments;
	my $loop = "for segment in @segments; do "
	  . "zstd -q -dc $archive/\$segment.zst >$plain/\$segment || exit; done";

	return ($archive,
		[ 'sh', '-c', "$loop; '$bindir/pg_waldump' --stats -p $plain -s $start_lsn -e $end_lsn" ]);
}

# Starts a session that waits for queries.
sub connected_session
{
	my $pid = open2(my $out, my $in, @psql, @_);

	return { in => $in, out => $out, pid => $pid };
}

# Wall time of a query that all given sessions run at the same time, in ms.
sub time_of_sessions
{
	my ($query, @sessions) = @_;
	my $start = time;

	foreach my $session (@sessions)
	{
		print { $session->{in} } "$query\n\\echo done\n";
		$session->{in}->flush;
	}
	foreach my $session (@sessions)
	{
		my $out = $session->{out};
		my $line;

		do { $line = <$out> // die "a session has failed\n" }
		  until $line eq "done\n";
	}
	return (time - $start) * 1000;
}

sub end_session
{
	my ($session) = @_;

	close $session->{in};
	waitpid $session->{pid}, 0;
	return;
}

sub pg_ctl
{
	my ($directory, @arguments) = @_;

	# The server that it starts must not inherit our pipes.
	system(join(' ', map { "'$_'" } "$bindir/pg_ctl", '-D', $directory, '-l',
			"$directory.log", '-w', @arguments) . ' >/dev/null') == 0
	  or die "pg_ctl @arguments: failed\n";
}

# Crashes the server, keeps a copy of what is left, and starts it again.
sub keep_crashed_server
{
	my ($copy) = @_;

	pg_ctl($data, '-m', 'immediate', 'stop');
	run('cp', '-a', $data, $copy);
	pg_ctl($data, 'start');
	$postmaster = pin_server();
}

# How long crash recovery of such a server takes, according to its server log, in
# ms.
sub time_of_crash_recovery
{
	my ($copy) = @_;
	my $directory = "$copy.run";

	run('cp', '-a', $copy, $directory);
	pg_ctl($directory, '-o', '-p 5433', 'start');
	pg_ctl($directory, '-m', 'immediate', 'stop');
	my ($elapsed) = read_file("$directory.log") =~ /redo done at .* elapsed: ([\d.]+) s/
	  or die "the server has not recovered\n";
	run('rm', '-rf', $directory, "$directory.log");

	# The server reports hundredths of a second.
	return ($elapsed > 0 ? $elapsed : 0.01) * 1000;
}

{
	my $rows = $brief ? 1000 : 100000;
	my @relations = qw(bench_table bench_table_pkey bench_table_other);
	my ($range) = sql(<<SQL);
CREATE TABLE bench_table (id int PRIMARY KEY, other int, text text);
CREATE INDEX bench_table_other ON bench_table (other);
CHECKPOINT;
SELECT pg_current_wal_insert_lsn() AS start_lsn \\gset
INSERT INTO bench_table SELECT i, i * 7919 % $rows, repeat('x', i % 100) FROM generate_series(1, $rows) i;
UPDATE bench_table SET other = other + 1 WHERE id % 2 = 0;
DELETE FROM bench_table WHERE id % 5 = 0;
VACUUM bench_table;
DO 'BEGIN FOR i IN 1 .. $rows / 2 LOOP UPDATE bench_table SET text = text || ''y'' WHERE id = i * 7 % $rows; COMMIT; END LOOP; END';
SET synchronous_commit = on;
CREATE TABLE bench_end ();
SELECT :'start_lsn', pg_current_wal_flush_lsn(), pg_current_wal_flush_lsn() - :'start_lsn';
SQL
	my ($start_lsn, $end_lsn, $bytes) = @$range;
	my $records = sql("SELECT count(*) FROM walredo_wal_records('$start_lsn', '$end_lsn');");
	my ($tag) = sql("SELECT walredo_tag('bench_table', 'main', 7), 'x';");
	my ($relation) = $tag->[0] =~ m{^rel (\S+) blk};
	my @waldump = ("$bindir/pg_waldump", '-p', "$data/pg_wal", '-s', $start_lsn,
		'-e', $end_lsn);
	my $wal = sprintf('%d records, %.0f MB', $records, $bytes / 1024 / 1024);
	my (@count, @compressed, @block, @two, @two_dumps, @two_copies);
	my ($archive, $decompress) = compressed_wal($start_lsn, $end_lsn);

	run('taskset', '-cp', $core, $$);
	for (1 .. $rounds)
	{
		push @count,
		  [ time_of_query("SELECT count(*) FROM walredo_wal_records('$start_lsn', '$end_lsn')"),
			time_of([ @waldump, '--stats' ]) ];
		push @compressed,
		  [ time_of_query("SELECT count(*) FROM walredo_wal_records('$start_lsn', '$end_lsn', '$archive')"),
			time_of($decompress) ];
		push @block,
		  [ time_of_query("SELECT count(*) FROM walredo_page_records('$tag->[0]', '$start_lsn', '$end_lsn')"),
			time_of([ @waldump, '--relation', $relation, '--block', 7 ]) ];
	}

	keep_crashed_server("$data.crashed");

	# All pages of three relations, one relation after the other, and all in one
	# pass, compared with crash recovery, which replays the same records.  That
	# may use any core.
	my %relations = (
		walredo_pages_at => sub {
			my ($relation) = @_;
			return "walredo_pages_at('$relation', 'main', '$end_lsn')";
		},
		walredo_verify => sub {
			my ($relation) = @_;
			return "walredo_verify('$relation')";
		});
	my $list = "'{" . join(',', @relations) . "}'";
	my %together = (
		walredo_pages_at => "walredo_pages_at_all($list, '$end_lsn')",
		walredo_verify => "walredo_verify_all($list)");
	my %recovery_times;

	for (1 .. ($brief ? 1 : 9))
	{
		my $recovery = time_of_crash_recovery("$data.crashed");

		foreach my $function (sort keys %relations)
		{
			my $together = "SELECT count(*) FROM $together{$function}";
			my $time = 0;

			$time +=
			  time_of_query("SELECT count(*) FROM " . $relations{$function}->($_))
			  foreach @relations;
			push @{ $recovery_times{"$function of one relation after the other"} },
			  [ $time, $recovery ];
			push @{ $recovery_times{"${function}_all of it on one core"} },
			  [ time_of_query($together), $recovery ];

			pin_server($all_cores);
			push @{ $recovery_times{"${function}_all of it"} },
			  [ time_of_query($together), $recovery ];
			pin_server();
		}
	}

	# Two sessions, each with a child of its own, on two cores, compared with one
	# session on one core.  For comparison, two rows show how well the machine
	# runs two processes that have nothing to do with each other.
	my $query = "SELECT count(*) FROM walredo_pages_at('bench_table', 'main', '$end_lsn');";
	my $dump = [ @waldump, '--stats' ];
	my $copy = [ driver_command('copyloop', $brief ? 1 : 8) ];

	# Sessions of one role would share a child, unless one of them waits for long,
	# so the second session has another role.
	sql('CREATE ROLE bench_other SUPERUSER LOGIN;');
	my @sessions = (connected_session(), connected_session('-U', 'bench_other'));

	time_of_sessions($query, @sessions);
	for (1 .. ($brief ? 1 : 2 * $rounds + 1))
	{
		my $one = time_of_sessions($query, $sessions[0]);
		my $one_dump = time_of($dump);
		my $one_copy = time_of($copy);

		pin_server($all_cores);
		run('taskset', '-cp', $all_cores, $$);
		push @two, [ time_of_sessions($query, @sessions), $one ];
		push @two_dumps, [ time_of($dump, $dump), $one_dump ];
		push @two_copies, [ time_of($copy, $copy), $one_copy ];
		run('taskset', '-cp', $core, $$);
		pin_server();
	}
	end_session($_) foreach @sessions;

	print_rounds("count(*) of $wal / pg_waldump --stats", 'ms', 1, @count);
	print_rounds('count(*) of it, compressed / zstd -dc, pg_waldump --stats',
		'ms', 1.2, @compressed);
	print_rounds("walredo_page_records of it / pg_waldump --block", 'ms', 0.5, @block);
	print_rounds("$_ / crash recovery", 'ms',
		/pages_at_all of it$/ ? 0.7 : / of it$/ ? 1 : undef,
		@{ $recovery_times{$_} })
	  foreach sort keys %recovery_times;

	# The target is 1.8 times the work in the same time.
	if ($all_cores ne $core)
	{
		print_rounds('two at once on two cores / one on one', 'ms',
			2 / 1.8, @two);
		print_rounds('  two pg_waldump at once / one', 'ms', undef,
			@two_dumps);
		print_rounds('  two plain copies of memory at once / one', 'ms',
			undef, @two_copies);
	}
}

# ----------------------------------------------------------------
# One page, with and without the index of WAL
# ----------------------------------------------------------------

# Pages that pgbench changes: its transactions follow a checkpoint, ten times.
{
	my @tenths;
	my $all = "$absolute/ten_tenths";
	my $last = "$absolute/last_tenth";

	run(@psql, '-c', 'SELECT pg_switch_wal()');
	run('sh', '-c', "'$bindir/pgbench' -i -q -s 3 2>/dev/null");
	for (1 .. 10)
	{
		my ($row) = sql('CHECKPOINT; SELECT pg_current_wal_insert_lsn(), pg_walfile_name(pg_switch_wal());');
		push @tenths, $row;
		run("$bindir/pgbench", '-n', '-t', $brief ? 500 : 24000);
	}
	my ($end) = sql('SELECT pg_current_wal_insert_lsn(), pg_walfile_name(pg_switch_wal());');
	my $end_lsn = $end->[0];

	# The segments of all tenths, and those of the last one.
	foreach ([ $all, $tenths[0] ], [ $last, $tenths[9] ])
	{
		my ($directory, $first) = @$_;
		mkdir $directory or die "could not make $directory: $!\n";
		foreach my $file (glob("$data/pg_wal/" . '?' x 24))
		{
			my ($name) = $file =~ m{([^/]+)$};
			link($file, "$directory/$name") or die "could not link $name: $!\n"
			  if $name ge $first->[1] && $name le $end->[1];
		}
	}

	# Requests for pages that were changed in the last tenth.  The records are
	# those from the last image of the page on.
	sql(<<SQL);
CREATE TABLE bench_pages (tag walredo_tag, records walredo_record[]);
DO \$\$
DECLARE
	wanted walredo_tag;
	r record;
	start pg_lsn;
BEGIN
	FOR wanted IN SELECT walredo_tag('pgbench_accounts', 'main', b)
		FROM generate_series(0, 4900, 100) b
	LOOP
		start := NULL;
		FOR r IN SELECT start_lsn, end_lsn
			FROM walredo_page_records(wanted, '$tenths[9][0]', '$end_lsn')
			ORDER BY end_lsn DESC
		LOOP
			start := r.start_lsn;
			EXIT WHEN EXISTS (
				SELECT FROM walredo_wal_records(r.start_lsn, r.end_lsn) w,
					walredo_record_images(w.end_lsn, w.rec) i
				WHERE i.tag = wanted AND i.apply);
		END LOOP;
		INSERT INTO bench_pages
		SELECT wanted, array_agg(record ORDER BY end_lsn)
		FROM walredo_page_records(wanted, start, '$end_lsn')
		HAVING count(*) > 0;
	END LOOP;
END \$\$;
SQL

	# Returns the median time of the pages, in microseconds.
	my $time_of_pages = sub {
		my ($expression, $repeat) = @_;
		return scalar sql(<<SQL);
DO \$\$
DECLARE
	request record;
	started timestamptz;
	page bytea;
BEGIN
	CREATE TEMPORARY TABLE times (time float8);
	FOR request IN SELECT tag, records FROM bench_pages LOOP
		page := $expression;
		started := clock_timestamp();
		FOR i IN 1 .. $repeat LOOP
			page := $expression;
		END LOOP;
		INSERT INTO times
		VALUES (extract(epoch FROM clock_timestamp() - started) * 1e6 / $repeat);
	END LOOP;
END \$\$;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY time) FROM times;
SQL
	};
	my $page_at = sub {
		my ($directory) = @_;
		return "walredo_page_at(request.tag, '$end_lsn', wal_directory => '$directory')";
	};
	my $repeat = $brief ? 2 : 20;
	my (@making, @images, @stats, @ten, @apply, @without, $index);

	for (1 .. $rounds)
	{
		run('rm', '-rf', "$data/pgsql_tmp_walredo_index");
		push @making,
		  [ time_of_query("SELECT * FROM walredo_index_wal('$all')"),
			time_of([ "$bindir/pg_waldump", '--stats', '-p', $all, '-s',
				$tenths[0][0], '-e', $end_lsn ]) ];
	}
	for (1 .. $rounds)
	{
		push @images,
		  [ time_of_query("SELECT count(*) FROM walredo_verify_images('$tenths[0][0]', '$end_lsn', '$all')"),
			time_of([ "$bindir/pg_waldump", '--stats', '-p', $all, '-s',
				$tenths[0][0], '-e', $end_lsn ]) ];
	}
	for (1 .. $rounds)
	{
		push @stats,
		  [ time_of_query("SELECT count(*) FROM walredo_wal_stats('$tenths[0][0]', '$end_lsn', '$all')"),
			time_of([ "$bindir/pg_waldump", '--stats', '-p', $all, '-s',
				$tenths[0][0], '-e', $end_lsn ]) ];
	}
	$index = sql("SELECT sum(bytes) FROM walredo_index_wal('$all');");
	my $wal = 0;
	$wal += -s $_ foreach glob("$all/*");
	sql("SELECT * FROM walredo_index_wal('$last');");

	for (1 .. $rounds)
	{
		my $indexed = $time_of_pages->($page_at->($all), $repeat);
		push @ten, [ $indexed, $time_of_pages->($page_at->($last), $repeat) ];
		push @apply,
		  [ $indexed,
			$time_of_pages->(
				'walredo_apply(request.tag, NULL, request.records)', $repeat) ];
	}

	# Without an index, a page takes what it takes to read back to its last image.
	my ($one) = sql('SELECT tag, 1 FROM bench_pages LIMIT 1 OFFSET (SELECT count(*) / 2 FROM bench_pages);');
	for (1 .. $rounds)
	{
		push @without,
		  [ time_without_index("SELECT walredo_page_at('$one->[0]', '$end_lsn', wal_directory => '$all')"),
			time_without_index("SELECT count(*) FROM walredo_page_records('$one->[0]', '0/0', '$end_lsn', '$all')") ];
	}

	my ($records) = sql('SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY cardinality(records)), count(*) FROM bench_pages;');
	my $megabytes = sprintf('%.0f MB', $wal / 1024 / 1024);

	print_rounds("walredo_index_wal of $megabytes / pg_waldump --stats", 'ms',
		1.2, @making);
	print_rounds("walredo_verify_images of it / pg_waldump --stats", 'ms', 1.2,
		@images);
	print_rounds("walredo_wal_stats of it / pg_waldump --stats", 'ms', 1.2,
		@stats);
	print_row('index / WAL of pgbench', 'MB', $index / 1024 / 1024,
		$wal / 1024 / 1024, $index / $wal, 0.01);
	print_rounds('walredo_page_at, indexed, of it / of its last tenth', 'us',
		1.1, @ten);
	print_rounds(
		"walredo_page_at, indexed / walredo_apply of the same records, $records->[0] in the median",
		'us', 3, @apply);
	print_rounds('walredo_page_at without index / reading all of it', 'ms',
		0.15, @without);
}

# ----------------------------------------------------------------
# Repairing a page of a large table
# ----------------------------------------------------------------

# All of the table but its end is a hole in its files.  The end has been changed
# by WAL before a lot of other WAL.
{
	my ($first_block, $segments) = (1310720, 10);

	sql('CREATE TABLE bench_large (i int, t text); INSERT INTO bench_large VALUES (0);');
	my $file = "$data/" . sql(q{SELECT pg_relation_filepath('bench_large');});
	pg_ctl($data, '-m', 'fast', 'stop');
	run('truncate', '-s', '1G', $file,
		map { "$file.$_" } 1 .. $segments - 1);
	pg_ctl($data, 'start');
	$postmaster = pin_server();
	my ($rows, $filling) = $brief ? (10_000, 10_000) : (10_000, 1_000_000);
	sql(<<SQL);
INSERT INTO bench_large SELECT g, repeat(md5(g::text), 8)
FROM generate_series(1, $rows) g;
CREATE TABLE bench_other AS SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, $filling) g;
SQL
	pg_ctl($data, '-m', 'fast', 'stop');
	open(my $out, '+<:raw', "$file.$segments") or die "could not open $file.$segments: $!\n";
	foreach my $block (0 .. $rounds)
	{
		seek($out, $block * 10 * 8192, 0);
		syswrite($out, 'damaged ' x 16) or die "could not write $file.$segments: $!\n";
	}
	close $out;
	pg_ctl($data, 'start');
	$postmaster = pin_server();
	sql('SELECT * FROM walredo_index_wal();');

	# The first repair launches a child.
	my @times = map { $_->[0] } sql(<<SQL);
DO \$\$
DECLARE
	started timestamptz;
	found text;
BEGIN
	CREATE TEMPORARY TABLE times (i int, time float8);
	FOR i IN 0 .. $rounds LOOP
		started := clock_timestamp();
		found := (SELECT status FROM walredo_repair('bench_large',
			blkno => $first_block + i * 10, dry_run => false));
		INSERT INTO times
		VALUES (i, extract(epoch FROM clock_timestamp() - started) * 1e3);
		IF found IS DISTINCT FROM 'repaired' THEN
			RAISE 'block % is %', $first_block + i * 10, found;
		END IF;
	END LOOP;
END \$\$;
SELECT time FROM times WHERE i > 0;
SQL
	print_row('walredo_repair of a page of a table of 10 GB, indexed', 'ms',
		median(@times), undef, undef, 1000);
	sql('DROP TABLE bench_large, bench_other;');
}

# ----------------------------------------------------------------
# Rows as of an LSN
# ----------------------------------------------------------------

# A table of 1 GB, whole, and after a tenth of its rows have been updated: all rows
# of then, compared with the pages of then and a sequential scan of what there is
# now.  And while WAL has not touched it, the first row.
{
	my $rows = $brief ? 20_000 : 1_200_000;
	my $sum = 'SELECT sum(length(t)) FROM';

	sql(<<SQL);
CREATE TABLE bench_rows WITH (autovacuum_enabled = off) AS
SELECT g AS i, repeat(md5(g::text), 25) AS t FROM generate_series(1, $rows) g;
VACUUM bench_rows;
CHECKPOINT;
SQL
	my $lsn = sql('SELECT pg_current_wal_insert_lsn();');
	my $rows_at = "walredo_rows_at(NULL::bench_rows, '$lsn')";
	my $pages_at = "walredo_pages_at('bench_rows', 'main', '$lsn')";

	sql("$sum bench_rows;");
	print_rounds('first row of walredo_rows_at, table of 1 GB', 'ms', undef,
		map { [
			time_of_query("SELECT i FROM $rows_at LIMIT 1"),
			time_of_query('SELECT i FROM bench_rows LIMIT 1') ] }
		  1 .. $rounds);
	foreach my $what ('unchanged', 'a tenth changed')
	{
		my @rounds = map {
			[
				time_of_query("$sum $rows_at"),
				time_of_query("SELECT count(*) FROM $pages_at") +
				  time_of_query("$sum bench_rows") ]
		} 1 .. $rounds;
		print_rounds("walredo_rows_at / walredo_pages_at and scan, $what",
			'ms', 1.5, @rounds);
		sql('UPDATE bench_rows SET i = -i WHERE i % 10 = 0;');
	}
	sql('DROP TABLE bench_rows;');
}

# ----------------------------------------------------------------
# The report of a page
# ----------------------------------------------------------------

# One row is changed again and again, among much other WAL, so that the report is
# of many records that are far apart, without an image of the page between them.
{
	my ($times, $changes, $filling) =
	  $brief ? (2, 500, 1000) : (50, 2000, 80_000);

	my ($range) = sql(<<SQL);
CREATE TABLE bench_hot (id int, value int);
CREATE TABLE bench_filling (i int, t text);
SELECT pg_current_wal_insert_lsn() AS start_lsn \\gset
INSERT INTO bench_hot VALUES (1, 0);
DO 'BEGIN FOR i IN 1 .. $times LOOP
	FOR j IN 1 .. $changes LOOP UPDATE bench_hot SET value = j; COMMIT; END LOOP;
	INSERT INTO bench_filling SELECT g, repeat(''x'', 200) FROM generate_series(1, $filling) g;
	COMMIT;
END LOOP; END';
SELECT pg_switch_wal() AS switched \\gset
CHECKPOINT;
SELECT :'start_lsn', pg_current_wal_flush_lsn(), walredo_tag('bench_hot', 0),
	round((pg_current_wal_flush_lsn() - :'start_lsn') / 1024 / 1024);
SQL
	my ($start_lsn, $end_lsn, $tag, $megabytes) = @$range;
	my $report = "SELECT length(walredo_report('$tag', '$start_lsn'))";
	my $records = $times * $changes;
	my (@plain, @indexed);

	for (1 .. $rounds)
	{
		push @plain,
		  [ time_without_index($report),
			time_without_index("SELECT count(*) FROM walredo_wal_records('$start_lsn', '$end_lsn')") ];
	}
	sql('SELECT * FROM walredo_index_wal();');
	push @indexed, time_of_query($report) for 1 .. $rounds;
	print_rounds("walredo_report of $records records in $megabytes MB / count(*)",
		'ms', 5, @plain);
	print_row('walredo_report of it, indexed', 'ms', median(@indexed), undef,
		undef, 1000);
	sql('DROP TABLE bench_hot, bench_filling;');
}

# ----------------------------------------------------------------
# Many records on one page
# ----------------------------------------------------------------

# Finds the wal-redo children of our server.
sub find_children
{
	my @found;

	foreach my $pid (processes_with(qr/^Name:\s+walredo child$/m))
	{
		my ($worker) = read_file("/proc/$pid/status") =~ /^PPid:\s+(\d+)$/m;
		push @found, $pid
		  if read_file("/proc/$worker/status") =~ /^PPid:\s+$postmaster$/m;
	}
	return @found;
}

# The private memory of the only child, in MB.
sub child_memory
{
	my ($child) = find_children();
	my $rollup = read_file("/proc/$child/smaps_rollup");
	my $total = 0;
	$total += $1 while $rollup =~ /^Private_\w+:\s+(\d+)/mg;
	return $total / 1024;
}

{
	my $most = $brief ? 1000 : 100000;
	my %time;

	# One row is changed again and again.  It never leaves its page, which is
	# pruned whenever it is full.
	my ($range) = sql(<<SQL);
CREATE TABLE bench_row (id int, value int);
SELECT pg_current_wal_insert_lsn() AS start_lsn \\gset
INSERT INTO bench_row VALUES (1, 0);
DO 'BEGIN FOR i IN 1 .. $most / 2 LOOP UPDATE bench_row SET value = i; COMMIT; END LOOP; END';
SELECT pg_current_wal_insert_lsn() AS middle_lsn \\gset
DO 'BEGIN FOR i IN 1 .. $most / 2 LOOP UPDATE bench_row SET value = i; COMMIT; END LOOP; END';
CHECKPOINT;
SELECT :'start_lsn', pg_current_wal_flush_lsn(), :'middle_lsn';
SQL
	for (my $n = 1; $n <= $most; $n *= 10)
	{
		sql(<<SQL);
INSERT INTO bench_requests
SELECT '$n on a page', walredo_tag('bench_row', 'main', 0), NULL, array_agg(record)
FROM (SELECT walredo_postgres(end_lsn, rec) AS record
	  FROM walredo_wal_records('$range->[0]', '$range->[1]')
	  WHERE resource_manager IN ('Heap', 'Heap2')
	  ORDER BY end_lsn LIMIT $n) r;
SQL
	}
	for (1 .. $rounds)
	{
		for (my $n = 1; $n <= $most; $n *= 10)
		{
			my $batches = 5 + int(10000 / $n);
			push @{ $time{$n} },
			  time_sql('bench_apply', "$n on a page", $batches, 1) / $n;
		}
	}

	# With ten times as many records, one of them must not take longer.
	for (my $n = 1; $n <= $most; $n *= 10)
	{
		if ($n < 10000)
		{
			print_row("one of $n records on a page", 'us', median(@{ $time{$n} }));
			next;
		}
		print_rounds(
			"one of $n records on a page / of 1000",
			'us', 1.1,
			map { [ $time{$n}[$_], $time{1000}[$_] ] } 0 .. $rounds - 1);
	}

	# The history of this page: the first row of it from the middle on, with the
	# page, which takes what the page takes then; and all rows without it.
	my ($hot) = sql("SELECT walredo_tag('bench_row', 'main', 0), 'x';");
	my ($first, $last, $middle) = @$range;
	my (@one, @all);

	for (1 .. $rounds)
	{
		push @one,
		  [ time_of_query("SELECT lsn, page FROM walredo_page_history('$hot->[0]', '$middle', '$last') LIMIT 1"),
			time_of_query("SELECT walredo_page_at('$hot->[0]', '$middle')") ];
		push @all,
		  [ time_of_query("SELECT count(*) FROM walredo_page_history('$hot->[0]', '$first', '$last')"),
			time_of_query("SELECT count(*) FROM walredo_page_records('$hot->[0]', '$first', '$last')") ];
	}
	print_rounds("first row of walredo_page_history of $most records / walredo_page_at", 'ms', 2, @one);
	print_rounds('all rows of it without page / walredo_page_records', 'ms', undef, @all);

	# The memory of a child all of whose buffers are in use, and that of the same
	# child after ten times as many records.
	my $least = $most / 10;
	kill('KILL', find_children());
	time_sql('bench_apply', "$least on a page", 1, 1);
	my $before = child_memory();
	time_sql('bench_apply', "$most on a page", 1, 1);
	my $after = child_memory();
	print_row("child after $most records / after $least", 'MB', $after, $before, $after / $before, 1.1);
}
