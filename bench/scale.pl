# bench/scale.pl MODE SCRATCH BINDIR
#
# Measures how two servers share the work of replay, and writes the measurements
# to standard output as tab-separated values; bench/README.md explains them.  To
# be called by bench/scale.  MODE is full, or brief, which takes each measurement
# once, from little WAL.
#
# There are three servers.  "main" makes WAL, and is the coordinator: it may use
# any core.  "one" and "two" replay; each, with its children, is bound to a core
# of its own.  What a measurement compares is taken in turns, and the median of
# the rounds is printed.

use strict;
use warnings;

use IO::Handle;
use IPC::Open2;
use List::Util qw(max);
use Time::HiRes qw(time);

my ($mode, $scratch, $bindir) = @ARGV;
die "usage: scale.pl full|brief SCRATCH BINDIR\n"
  unless defined $bindir && $mode =~ /^(full|brief)$/;
my $brief = $mode eq 'brief';
my $rounds = $brief ? 1 : 3;

# ----------------------------------------------------------------
# Tools
# ----------------------------------------------------------------

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[$#sorted / 2] if @sorted % 2;
	return ($sorted[ @sorted / 2 - 1 ] + $sorted[ @sorted / 2 ]) / 2;
}

sub run
{
	my @command = @_;
	open(my $pipe, '-|', @command) or die "could not run $command[0]: $!\n";
	chomp(my @lines = <$pipe>);
	close($pipe) or die "@command[0 .. ($#command > 6 ? 6 : $#command)]: failed\n";
	return @lines;
}

my ($list) = join(' ', run('taskset', '-cp', $$)) =~ /list: (\S+)/
  or die "could not find out the cores\n";
my @cores =
  map { /^(\d+)-(\d+)$/ ? $1 .. $2 : $_ } split /,/, $list;
die "this needs two cores\n" if @cores < 2;

my %port_of = (main => 5432, one => 5433, two => 5434);
my %core_of = (main => $list, one => $cores[0], two => $cores[1]);

sub start
{
	my ($name) = @_;
	my $data = "$scratch/$name";

	run("$bindir/initdb", '-D', $data, '-U', 'postgres', '-A', 'trust', '-N',
		'--no-locale', '-E', 'UTF8');
	open(my $conf, '>>', "$data/postgresql.conf") or die "$data: $!\n";
	print $conf <<"CONF";
listen_addresses = ''
unix_socket_directories = '$scratch'
port = $port_of{$name}
fsync = off
synchronous_commit = off
autovacuum = off
max_wal_size = 20GB
wal_keep_size = 20GB
checkpoint_timeout = 1d
jit = off
shared_buffers = 256MB
work_mem = 1GB
maintenance_work_mem = 1GB
shared_preload_libraries = 'walredo'
walredo.idle_timeout = 0
walredo.index_wal = off
max_parallel_workers_per_gather = 0
CONF
	close($conf);
	run('taskset', '-c', $core_of{$name}, "$bindir/pg_ctl", '-D', $data, '-l',
		"$scratch/$name.log", '-w', 'start');
	return;
}

# A session is a psql that is kept.
sub session
{
	my ($name) = @_;
	my $pid = open2(my $out, my $in, "$bindir/psql", '-XAtq', '-v',
		'ON_ERROR_STOP=1', '-h', $scratch, '-p', $port_of{$name}, '-U',
		'postgres', 'postgres');

	return { out => $out, in => $in, pid => $pid };
}

sub begin_query
{
	my ($session, $sql) = @_;

	print { $session->{in} } "$sql;\n\\echo -- end\n";
	$session->{in}->flush;
	return;
}

sub end_query
{
	my ($session) = @_;
	my @lines;

	while (my $line = readline($session->{out}))
	{
		chomp $line;
		return @lines if $line eq '-- end';
		push @lines, $line;
	}
	die "a query failed\n";
}

sub query
{
	my ($session, $sql) = @_;

	begin_query($session, $sql);
	return end_query($session);
}

# The seconds that queries take, each a pair of session and SQL, which are run at
# the same time.
sub time_of
{
	my @queries = @_;
	my $start = time;

	begin_query(@$_) foreach @queries;
	end_query($_->[0]) foreach @queries;
	return time - $start;
}

# The seconds of CPU that a backend has used.
sub cpu_time
{
	my ($session) = @_;
	my ($pid) = query($session, 'SELECT pg_backend_pid()');
	open(my $in, '<', "/proc/$pid/stat") or die "/proc/$pid/stat: $!\n";
	my @fields = split ' ', (readline($in) =~ s/^.*\) //r);
	return ($fields[11] + $fields[12]) / 100;
}

# The seconds of CPU that a server has used, with all processes that it has now.
sub server_time
{
	my ($name) = @_;
	my %children;

	open(my $file, '<', "$scratch/$name/postmaster.pid") or die "$name: $!\n";
	chomp(my $postmaster = readline($file));
	foreach my $stat (glob('/proc/[0-9]*/stat'))
	{
		open(my $in, '<', $stat) or next;
		push @{ $children{$2} }, $1
		  if (readline($in) // '') =~ /^(\d+) .*\) \S (\d+) /;
	}
	my @pids = ($postmaster);
	my $time = 0;
	while (defined(my $pid = shift @pids))
	{
		push @pids, @{ $children{$pid} // [] };
		open(my $in, '<', "/proc/$pid/schedstat") or next;
		$time += (split ' ', readline($in) // '0')[0] / 1e9;
	}
	return $time;
}

# Prints a row.  Values are more the better.
sub print_row
{
	my ($what, $unit, $value, $floor, $target) = @_;
	my $ratio = defined $floor ? $value / $floor : undef;
	my $format = sub { defined $_[0] ? sprintf('%.4g', $_[0]) : '' };

	print join("\t",
		$what, $unit, $format->($value), $format->($floor),
		$format->($ratio), $target // '',
		!defined $target || $brief ? ''
		: $ratio >= $target ? 'met'
		: 'missed'),
	  "\n";
	return;
}

# ----------------------------------------------------------------
# Servers
# ----------------------------------------------------------------

start($_) foreach qw(main one two);
my $main = session('main');
my %session = (one => session('one'), two => session('two'));

query($main, 'CREATE EXTENSION walredo');
query($main, 'CREATE EXTENSION postgres_fdw');
query($_, 'CREATE EXTENSION walredo') foreach values %session;
my ($has_plproxy) = query($main,
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'plproxy'");
query($main, <<"SQL") if $has_plproxy;
CREATE EXTENSION plproxy;
CREATE SERVER shards FOREIGN DATA WRAPPER plproxy OPTIONS (
	p0 'host=$scratch port=$port_of{one} dbname=postgres',
	p1 'host=$scratch port=$port_of{two} dbname=postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER shards OPTIONS (user 'postgres')
SQL
foreach my $name (qw(one two))
{
	query($main, <<"SQL");
CREATE SERVER $name FOREIGN DATA WRAPPER postgres_fdw
	OPTIONS (host '$scratch', port '$port_of{$name}', dbname 'postgres',
		extensions 'walredo', async_capable 'true', fetch_size '1000');
CREATE USER MAPPING FOR CURRENT_USER SERVER $name
SQL
}
# ----------------------------------------------------------------
# Measurements
# ----------------------------------------------------------------

print '# ', join(', ', run('date', '+%F'), $mode, run("$bindir/postgres", '--version')),
  "\n";
my ($model) = map { /^model name\s*:\s*(.*?)\s*$/ } run('cat', '/proc/cpuinfo');
print '# ', $model // 'unknown processor', ', ', scalar @cores, " cores\n";
print join("\t", qw(measurement unit value floor ratio target result)), "\n";

# Makes WAL with a function, and archives it.  Returns the directory, and the LSNs
# at which it begins and ends.
sub make_wal
{
	my ($name, $work) = @_;
	my $archive = "$scratch/$name.archive";

	query($main, 'SELECT pg_switch_wal()');
	query($main, 'CHECKPOINT');
	my ($start, $first) = split /\|/, (query($main,
		'SELECT l, pg_walfile_name(l) FROM pg_current_wal_insert_lsn() l'))[0];
	$work->();
	my ($end) = query($main, 'SELECT pg_current_wal_insert_lsn()');
	my ($last) = query($main,
		'SELECT pg_walfile_name(pg_switch_wal())');
	query($main, 'CHECKPOINT');
	mkdir $archive or die "$archive: $!\n";
	my @segments = grep { m{/[0-9A-F]{24}$} && m{/([^/]*)$} && $1 ge $first && $1 le $last }
	  glob("$scratch/main/pg_wal/*");
	run('cp', @segments, $archive);
	return ($archive, $start, $end);
}

# What servers do with a workload, in two ways, and what is asked of them.
#
# The table "records" of "one" and "two" has the records of their share of the
# pages, and "all_records" of "one" those of all pages, as a table PARTITION BY
# HASH would have them.  Views return the pages of their slices of the archive.
sub measure
{
	my ($name, $what, $work) = @_;
	my ($archive, $start, $end) = make_wal($name, $work);
	my $pages_at = "walredo_pages_at_all(NULL::walredo_tag[], '$end', '$archive'";
	my $made = "SELECT d.tag, w.end_lsn AS lsn, d.record
		FROM walredo_wal_records('$start', '$end', '$archive') w,
			LATERAL walredo_decode(w.end_lsn, w.rec) d
		WHERE d.tag::text LIKE 'rel %'
			AND d.tag::text NOT LIKE '% fork %'";

	foreach my $i (0, 1)
	{
		my $server = (qw(one two))[$i];
		my $session = $session{$server};

		query($session, <<"SQL");
CREATE TABLE ${name}_parted (tag walredo_tag, lsn pg_lsn, record walredo_record)
	PARTITION BY HASH (tag);
CREATE TABLE ${name}_all AS $made;
-- Pages that cannot be made, as they have no image in this WAL, are left out.
DELETE FROM ${name}_all a WHERE NOT EXISTS
	(SELECT FROM $pages_at) p WHERE p.tag = a.tag);
CREATE TABLE ${name}_records AS SELECT * FROM ${name}_all
	WHERE satisfies_hash_partition('${name}_parted'::regclass, 2, $i, tag);
CREATE VIEW ${name}_slice AS SELECT tag, page FROM $pages_at, $i, 2);
CREATE VIEW ${name}_slice_sizes AS
	SELECT tag, length(page) AS size FROM $pages_at, $i, 2);
ANALYZE ${name}_all, ${name}_records;
CHECKPOINT
SQL
	}
	query($main, <<"SQL");
CREATE TABLE ${name}_records (tag walredo_tag, lsn pg_lsn, record walredo_record)
	PARTITION BY HASH (tag);
CREATE TABLE ${name}_slice (tag walredo_tag, page bytea) PARTITION BY HASH (tag);
CREATE TABLE ${name}_slice_sizes (tag walredo_tag, size int)
	PARTITION BY HASH (tag)
SQL
	foreach my $table ('records', 'slice', 'slice_sizes')
	{
		foreach my $i (0, 1)
		{
			my $server = (qw(one two))[$i];

			query($main, <<"SQL");
CREATE FOREIGN TABLE ${name}_${table}_$i PARTITION OF ${name}_$table
	FOR VALUES WITH (MODULUS 2, REMAINDER $i)
	SERVER $server OPTIONS (table_name '${name}_$table')
SQL
		}
	}
	query($main, "ANALYZE ${name}_records");

	my $aggregate = 'walredo_apply_agg(tag, NULL, record ORDER BY lsn)';
	my $one_page = "SELECT tag, length($aggregate) AS size FROM %s GROUP BY tag";
	my $all_pages = "SELECT tag, $aggregate AS page FROM %s GROUP BY tag";
	my $sum = 'SELECT count(*), sum(size) FROM (%s) s';
	my $length = 'SELECT count(*), sum(length(page)) FROM (%s) s';

	# The queries of each way: of one server, of two from the coordinator, and of
	# two sessions; that return sizes, or pages.
	my %ways = (
		aggregate => {
			sizes => [
				map { sprintf $sum, sprintf $one_page, $_ } "${name}_all",
				"${name}_records", "${name}_records"
			],
			pages => [
				map { sprintf $length, sprintf $all_pages, $_ } "${name}_all",
				"${name}_records", "${name}_records"
			]
		},
		slices => {
			sizes => [
				sprintf($sum, "SELECT length(page) AS size FROM $pages_at)"),
				sprintf($sum, "TABLE ${name}_slice_sizes"),
				sprintf($sum, "TABLE ${name}_slice_sizes")
			],
			pages => [
				sprintf($length, "SELECT page FROM $pages_at)"),
				sprintf($length, "TABLE ${name}_slice"),
				sprintf($length, "TABLE ${name}_slice")
			]
		});

	# With partitionwise aggregation, the aggregate of records is computed by the
	# servers.  But a count of a slice would be, too, in part, by the coordinator:
	# one slice after the other, as this is not a scan.
	my $choose = sub {
		my ($way) = @_;

		query($main, 'SET enable_partitionwise_aggregate = '
			  . ($way eq 'aggregate' ? 'on' : 'off'));
	};

	# Is it the same work in all of them, and at the same time?
	my %found;
	foreach my $way (sort keys %ways)
	{
		my ($one, $two) = @{ $ways{$way}{sizes} };

		$choose->($way);
		$found{$_} = 1 foreach query($session{one}, $one), query($main, $two);
		foreach my $sql ($two, $ways{$way}{pages}[1])
		{
			my $plan = join "\n", query($main, "EXPLAIN (COSTS off) $sql");

			die "not two asynchronous scans:\n$plan\n"
			  if 2 != (() = $plan =~ /Async Foreign Scan/g);
		}
	}
	my ($pages, $bytes) = map { split /\|/ } keys %found;
	die "$name: not the same pages: " . join(' ', sort keys %found) . "\n"
	  if keys %found != 1;
	my ($records) = query($session{one}, "SELECT count(*) FROM ${name}_all");
	my ($megabytes) = query($main,
		"SELECT round(('$end'::pg_lsn - '$start'::pg_lsn) / 1048576)");

	print_row("$what: records", '', $records);
	print_row("$what: pages", '', $pages);
	print_row("$what: WAL", 'MB', $megabytes);
	my %one;
	foreach my $way (sort keys %ways)
	{
		my (%times, %cpu_of, $cpu);

		$choose->($way);
		for (1 .. $rounds)
		{
			my ($one, $two, $each) = @{ $ways{$way}{sizes} };

			my @used = map { server_time($_) } qw(one two);

			push @{ $times{one} }, time_of([ $session{one}, $one ]);
			push @{ $cpu_of{one} }, server_time('one') - $used[0];
			push @{ $times{two} }, time_of([ $main, $two ]);
			@used = map { server_time($_) } qw(one two);
			push @{ $times{each} },
			  time_of([ $session{one}, $each ], [ $session{two}, $each ]);
			my @now = map { server_time($_) } qw(one two);
			push @{ $cpu_of{each} },
			  max($now[0] - $used[0], $now[1] - $used[1]);

			my (undef, $all) = @{ $ways{$way}{pages} };
			my $before = cpu_time($main);

			push @{ $times{pages} }, time_of([ $main, $all ]);
			$cpu += cpu_time($main) - $before;
			push @{ $times{read} },
			  time_of([
				$session{one},
				"SELECT count(*) FROM $pages_at, 0, 2000000000)"
			  ]) if $way eq 'slices';
		}
		my %rate = map { $_ => $pages / median(@{ $times{$_} }) } keys %times;

		$one{$way} = $rate{one};
		print_row("$what: $way, one server, sizes", 'page/s', $rate{one});
		print_row("$what: $way, two through postgres_fdw, sizes / one",
			'page/s', $rate{two}, $rate{one}, 1.7);
		print_row("$what: $way, two sessions, sizes / one",
			'page/s', $rate{each}, $rate{one});
		print_row("$what: $way, the same by the CPU time of the busier server",
			'page/s', map { $pages / median(@{ $cpu_of{$_} }) } qw(each one));
		print_row("$what: $way, two through postgres_fdw, pages / one, sizes",
			'page/s', $rate{pages}, $rate{one});
		print_row("$what: $way, CPU of the coordinator, of a page",
			'us', $cpu / $rounds / $pages * 1e6);
		print_row("$what: of which reading the archive", 'ms',
			median(@{ $times{read} }) * 1000, median(@{ $times{one} }) * 1000)
		  if $way eq 'slices';
	}
	measure_plproxy($name, $what, $made, $pages, \%one) if $has_plproxy;
	return;
}

# The same with PL/Proxy: a function that is called on all servers, and one whose
# arrays of records are split by the hash of their tags.
sub measure_plproxy
{
	my ($name, $what, $made, $pages, $one) = @_;
	my $split = $name eq 'pgbench';
	my %functions = (
		sizes => [ '', 'size int', "TABLE ${name}_slice_sizes" ],
		pages => [ '', 'page bytea', "TABLE ${name}_slice" ],
		split => [
			'tags walredo_tag[], lsns pg_lsn[], records walredo_record[]',
			'size int',
			'SELECT tag, length(walredo_apply_agg(tag, NULL, record ORDER BY lsn))
				FROM unnest(tags, lsns, records) AS u (tag, lsn, record)
				GROUP BY tag'
		]);

	delete $functions{split} unless $split;
	foreach my $function (sort keys %functions)
	{
		my ($arguments, $column, $sql) = @{ $functions{$function} };
		my $head = "CREATE FUNCTION ${name}_$function($arguments)
			RETURNS TABLE (tag walredo_tag, $column)";
		my $run = $arguments eq '' ? 'RUN ON ALL' :
		  'SPLIT tags, lsns, records; RUN ON _walredo_tag_hash(tags)';

		query($_, "$head LANGUAGE sql AS \$\$$sql\$\$") foreach values %session;
		query($main, "$head LANGUAGE plproxy AS \$\$CLUSTER 'shards'; $run;\$\$");
	}
	query($main, "CREATE TABLE ${name}_made AS $made;
		DELETE FROM ${name}_made WHERE NOT EXISTS
			(SELECT FROM ${name}_sizes() s WHERE s.tag = ${name}_made.tag)")
	  if $split;

	my %query = (
		sizes => "SELECT count(*), sum(size) FROM ${name}_sizes()",
		pages => "SELECT count(*), sum(length(page)) FROM ${name}_pages()",
		split => "SELECT count(*), sum(size)
			FROM (SELECT array_agg(tag) AS tags, array_agg(lsn) AS lsns,
				array_agg(record) AS records FROM ${name}_made) a,
			LATERAL ${name}_split(tags, lsns, records)");
	foreach my $function (sort keys %functions)
	{
		my (@times, $cpu);

		my ($found) = query($main, $query{$function});
		die "$name: not the same pages: $found\n"
		  if $found !~ /^$pages\|/;
		for (1 .. $rounds)
		{
			my $before = cpu_time($main);

			push @times, time_of([ $main, $query{$function} ]);
			$cpu += cpu_time($main) - $before;
		}
		my $label = $function eq 'split' ? 'SPLIT of records, sizes / aggregate'
		  : "slices, RUN ON ALL, $function / slices";

		print_row("$what: PL/Proxy, $label, one server, sizes", 'page/s',
			$pages / median(@times),
			$one->{ $function eq 'split' ? 'aggregate' : 'slices' });
		print_row("$what: PL/Proxy, CPU of the coordinator, of a page",
			'us', $cpu / $rounds / $pages * 1e6);
	}
	return;
}

my $many = $brief ? 20_000 : 600_000;
measure(
	'many',
	'hundreds of records a page',
	sub {
		query($main, 'CREATE TABLE inserted (i int)');
		query($main, "INSERT INTO inserted SELECT generate_series(1, $many)");
	});

my $transactions = $brief ? 100 : 4_000;
run("$bindir/pgbench", '-q', '-i', '-s', '4', '-h', $scratch, '-p',
	$port_of{main}, '-U', 'postgres', 'postgres');
measure(
	'pgbench',
	'pgbench',
	sub {
		run("$bindir/pgbench", '-n', '-c', '4', '-t', $transactions, '-h',
			$scratch, '-p', $port_of{main}, '-U', 'postgres', 'postgres');
	});

foreach my $name (keys %port_of)
{
	run("$bindir/pg_ctl", '-D', "$scratch/$name", '-m', 'fast', '-w', 'stop');
}
