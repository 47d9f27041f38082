# Indexes of WAL: when they are made, where they are kept, how many, and that none
# of them changes what is returned, whatever is wrong with it.
#
# They are made by every sort of scan, by walredo_index_wal(), and by the worker,
# on a standby, too; of an archive that cannot be written to; of segments of
# another size.  They are removed with their segments, and when they take too
# much space, and a base backup has none.  Pages are compared with those that
# are rebuilt while indexes are turned off.
#
# Seen to fail: when the time of the last change of a segment alone said which
# index is the oldest, and when it did not count; when an index stayed whose
# segment was another file since; when the worker did not look at the indexes of
# segments that have gone.

use Cwd qw(getcwd);
use File::Copy qw(copy);
use File::Path qw(remove_tree);
use WalredoProcesses;
use WalredoSessions;
use WalredoTest;

my $scratch = PostgreSQL::Test::Utils::tempdir();
$scratch = getcwd() . "/$scratch" if $scratch !~ m{^/};

my $store = 'pgsql_tmp_walredo_index';

my $node = wal_server(
	'main',
	allows_streaming => 1,
	conf => <<'CONF');
shared_preload_libraries = 'walredo'
walredo.index_wal = off
wal_keep_size = 0
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE t (i int PRIMARY KEY, x text);
CREATE TABLE u (i int);
SQL

# Fills some segments.
sub fill
{
	my ($server, $segments, $from) = @_;

	foreach my $i (1 .. $segments)
	{
		$server->safe_psql('postgres', <<SQL);
INSERT INTO t SELECT g, repeat('x', 300)
	FROM generate_series($from + $i * 1000, $from + $i * 1000 + 999) g;
UPDATE t SET x = 'y' WHERE i % 7 = 0;
INSERT INTO u VALUES ($i);
SELECT pg_switch_wal();
SQL
	}

	# Something is in the next segment.
	$server->safe_psql('postgres', 'INSERT INTO u VALUES (0)');
	return;
}

# The names of the segments that are finished, of a server.
sub finished
{
	my $server = shift;
	my $current = $server->safe_psql('postgres', <<'SQL');
SELECT CASE WHEN pg_is_in_recovery() THEN 'F'
	ELSE pg_walfile_name(pg_current_wal_flush_lsn()) END
SQL
	return grep { /^[0-9A-F]{24}$/ && $_ lt $current }
	  sort(slurp_dir($server->data_dir . '/pg_wal'));
}

# The indexes of a server's store, as paths from the store on.
sub index_paths
{
	my $server = shift // $node;
	my $dir = $server->data_dir . "/$store";

	return map { s{^\Q$dir\E/}{}r } sort grep { -f } glob "$dir/*/*";
}

# ... and their names only, without what is being written.
sub indexes
{
	return
	  sort grep { /^[0-9A-F]{24}$/ } map { s{.*/}{}r } index_paths(@_);
}

# The directories in the store.
sub directories
{
	my %directories = map { m{^(\w+)/} => 1 } index_paths();

	return sort keys %directories;
}

sub remove_indexes
{
	my $server = shift // $node;

	remove_tree($server->data_dir . "/$store");
	return;
}

sub query
{
	my ($sql, $server) = @_;

	return ($server // $node)->safe_psql('postgres', $sql);
}

#
# Scans make them
#

fill($node, 6, 0);
my @segments = finished($node);
my $start = query('SELECT start_lsn FROM walredo_wal_range()');
my $end = query('SELECT pg_current_wal_flush_lsn()');

is(join(' ', indexes()), '', 'there are none without a scan');

my %scans = (
	walredo_wal_records => 'count(*) FROM walredo_wal_records(#)',
	walredo_page_records => "count(*) FROM walredo_page_records('rel 1/2/3 blk 0', #)",
	walredo_verify => "count(*) FROM walredo_verify('t')",
	walredo_verify_all => "count(*) FROM walredo_verify_all('{t,u}')",
	walredo_verify_slru => "count(*) FROM walredo_verify_slru('pg_xact')",
	walredo_index_wal => 'made FROM walredo_index_wal()');
foreach my $name (sort keys %scans)
{
	my $sql = $scans{$name} =~ s/#/'$start', '$end'/r;

	remove_indexes();
	query("SELECT $sql");
	is(join(' ', indexes()), join(' ', @segments), "$name makes them");
}

remove_indexes();
query("SET walredo.index_size = 0;
	SELECT count(*) FROM walredo_wal_records('$start', '$end')");
is(join(' ', indexes()), '', 'none is made if indexes are turned off');
like(
	error_of(
		$node, 'postgres',
		'SET walredo.index_size = 0; SELECT walredo_index_wal()'),
	qr/55000: indexes of WAL are turned off/,
	'... and on purpose neither');

# An index has all records that begin in its segment, so it is not made by a scan
# that begins after the first, or ends before the last.
my $middle =
  int_to_lsn(lsn_to_int(segment_end($start)) + $segment_size + 40_000);
query("SELECT count(*) FROM walredo_wal_records('$start', '$middle')");
is( join(' ', indexes()),
	join(' ', @segments[ 0 .. 1 ]),
	'none of a segment in whose middle a scan ends');
remove_indexes();
query("SELECT count(*) FROM walredo_wal_records('$middle', '$end')");
is( join(' ', indexes()),
	join(' ', @segments[ 3 .. $#segments ]),
	'none of a segment in whose middle a scan begins');

#
# walredo_index_wal
#

my $archive = copy_segments($node->data_dir . '/pg_wal', "$scratch/archive");
foreach my $file (slurp_dir($archive))
{
	unlink "$archive/$file" if $file gt $segments[-1];
}

sub index_wal
{
	my ($directory, $settings) = @_;

	return query(($settings // '')
		. "SELECT segments, indexed, made, bytes > 0 FROM walredo_index_wal("
		  . (defined $directory ? "'$directory'" : 'NULL') . ')');
}

my $n = @segments;
remove_indexes();
is(index_wal($archive), "$n|$n|$n|t", 'an archive is indexed');
is(index_wal($archive), "$n|$n|0|t", '... once');
my ($hash) = directories();
my $indexes = $node->data_dir . "/$store/$hash";

# Those that cannot be used are made anew.
overwrite("$indexes/$segments[0]", 20, 'xxxx');
truncate "$indexes/$segments[1]", 100 or die "truncate: $!";
copy("$indexes/$segments[3]", "$indexes/$segments[2]") or die "copy: $!";
is(index_wal($archive), "$n|$n|3|t",
	'what is damaged, cut or of another segment is made anew');

# So are those of files that have changed.
utime 1, 1, "$archive/$segments[0]" or die "utime: $!";
is(index_wal($archive), "$n|$n|1|t", 'so is one whose file has changed');

# Damage in WAL is no error, and the segments after it have indexes.
my $damaged = copy_segments($archive, "$scratch/damaged");
overwrite("$damaged/$segments[2]", 30_000, "\0" x 100_000);
$n = @segments - 1;
is(index_wal($damaged), @segments . "|$n|$n|t",
	'a damaged segment has none');
unlink "$damaged/$segments[3]" or die "unlink: $!";
remove_indexes();
$n = @segments - 2;
is( index_wal($damaged),
	(@segments - 1) . "|$n|$n|t",
	'neither has a missing one');

# A cancelled call leaves what it has made, and can be called again.
remove_indexes();
ok( $node->psql(
		'postgres',
		"SET statement_timeout = 1; SELECT walredo_index_wal('$archive')
			FROM generate_series(1, 1000)") != 0,
	'a call can be cancelled');
$n = @segments;
like(index_wal($archive), qr/^$n\|$n\|\d+\|t$/, '... and called again');

# Nothing is written into an archive.
my $readonly = copy_segments($archive, "$scratch/readonly");
chmod 0444, glob "$readonly/*";
chmod 0555, $readonly;
remove_indexes();
is(index_wal($readonly), "$n|$n|$n|t", 'an archive that is read-only');
is( join(' ', sort grep { !/^\./ } slurp_dir($readonly)),
	join(' ', sort grep { !/^\./ } slurp_dir($archive)),
	'... and has no further files');
chmod 0755, $readonly;

#
# The space that they take
#

sub store_bytes
{
	my $bytes = 0;

	$bytes += (stat $node->data_dir . "/$store/$_")[12] * 512 foreach index_paths();
	return $bytes;
}

remove_indexes();
index_wal($archive);
my $all_bytes = store_bytes();
my $limit = int($all_bytes * 0.7 / 1024);
my @before = indexes();
remove_indexes();
query("SET walredo.index_size = '${limit}kB';
	SELECT walredo_index_wal('$archive')");
cmp_ok(store_bytes(), '<=', $limit * 1024, 'no more space is taken');
my @after = indexes();
cmp_ok(scalar(@after), '>', 1, '... some are kept');
is( join(' ', @after),
	join(' ', @before[ -@after .. -1 ]),
	'... which are those of the newest WAL');

# Those of older WAL are not made again and again.
is( query("SET walredo.index_size = '${limit}kB';
		SELECT walredo_index_wal('$archive');
		SELECT made FROM walredo_index_wal('$archive')") =~ s/.*\n//sr,
	'0',
	'... and stay');

# Between directories, the time of the last change of the segments decides, and not
# when they were indexed, nor what the directories are called.
my @copies = map { copy_segments($archive, "$scratch/copy$_") } 0, 1;
$limit = int($all_bytes * 1.2 / 1024);
foreach my $old (0, 1)
{
	foreach my $copy (0, 1)
	{
		my $time = $copy == $old ? 1_000_000_000 : 1_500_000_000;

		utime $time, $time, glob "$copies[$copy]/*" or die "utime: $!";
	}
	foreach my $first (0, 1)
	{
		remove_indexes();
		query("SET walredo.index_size = '${limit}kB';
			SELECT walredo_index_wal('$copies[$_]')") foreach $first, 1 - $first;
		is( query(
				"SELECT indexed - made FROM walredo_index_wal('$copies[1 - $old]')"
			),
			scalar(@segments),
			"copy $first is indexed first, and copy $old is older");
		cmp_ok(scalar(indexes()), '<', 2 * @segments, '... and makes room');
	}
}

#
# Removed with what they index
#

remove_indexes();
my $doomed = copy_segments($archive, "$scratch/doomed");
index_wal($doomed);
my ($doomed_hash) = directories();
my $changed = copy_segments($archive, "$scratch/changed");
index_wal($changed);
my ($changed_hash) = grep { $_ ne $doomed_hash } directories();
remove_tree($doomed);
utime 1, 1, glob "$changed/*" or die "utime: $!";
my $dead_pid = open(my $dead, '-|', 'true') or die "could not run true: $!";
close $dead;
my $left = $node->data_dir . "/$store/$doomed_hash/$segments[0].tmp.$dead_pid";
my $owned = $node->data_dir . "/$store/$doomed_hash/$segments[0].tmp.$$";
write_file($left, 'x');
write_file($owned, 'x');

# Each session that writes an index looks at a few others.
my $rounds = 0;
my $gone = qr{^(?:$doomed_hash|$changed_hash)/};
while ($rounds++ < 50 && grep { m{${gone}[0-9A-F]{24}$} } index_paths())
{
	unlink map { $node->data_dir . "/$store/$_" }
	  grep { !m{$gone} } index_paths();
	index_wal($archive);
}
cmp_ok($rounds, '<=', 50,
	'those of segments that have gone, or have changed, are removed');
ok(!-e $left, 'what a process that has ended has begun is removed');
ok(-e $owned, '... but not what another one writes');
unlink $owned;

#
# The worker
#

remove_indexes();
query('ALTER SYSTEM SET walredo.index_wal = on; SELECT pg_reload_conf()');

# Has a server's worker made all?
sub wait_for_indexes
{
	my ($server, $name) = @_;
	my @want;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for
	{
		@want = finished($server);
		join(' ', indexes($server)) eq join(' ', @want);
	};
	is(join(' ', indexes($server)), join(' ', @want), $name);
	return;
}

wait_for_indexes($node, 'the worker indexes what is there');
my $worker = query(
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'walredo index worker'");
is((split ' ', slurp_proc("/proc/$worker/stat") =~ s/.*\) //sr)[16],
	19, '... with the lowest priority');
fill($node, 2, 20_000);
wait_for_indexes($node, '... and what is finished later');
my ($oldest) = indexes();
query('CHECKPOINT');
fill($node, 1, 30_000);
wait_for_indexes($node, '... and removes those of segments that have gone');
isnt((indexes())[0], $oldest, '... of which there are some');

query('ALTER SYSTEM SET walredo.index_wal = off; SELECT pg_reload_conf()');
remove_indexes();
fill($node, 2, 40_000);
sleep 3;
is(join(' ', indexes()), '', 'the worker can be turned off');

#
# Backups and standbys
#

index_wal(undef);
query('ALTER SYSTEM SET walredo.index_wal = on');
$node->backup('backup');
ok(!-e $node->backup_dir . "/backup/$store", 'a base backup has none');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
fill($node, 2, 50_000);
$node->wait_for_catchup($standby);
my @of_standby;
ok( wait_for
	{
		my $replayed = query(
			"SELECT pg_walfile_name(pg_current_wal_flush_lsn())");

		@of_standby = indexes($standby);
		my @wanted = grep { $_ lt $replayed } finished($standby);
		@wanted > 1 && join(' ', @of_standby) eq join(' ', @wanted);
	},
	'the worker of a standby indexes what it has replayed');
$standby->stop;

#
# Nothing that is wrong with an index changes what is returned
#

remove_indexes();
my $end_of_archive =
  query("SELECT max(end_lsn) FROM walredo_wal_range('$archive')");
my $pages_sql = <<SQL;
SELECT i, md5(walredo_page_at(tag, lsn, wal_directory => '$archive',
	base => CASE WHEN tag = 'slru pg_xact/0000 blk 0'
		THEN decode(repeat('00', 8192), 'hex') END))
FROM (VALUES (walredo_tag('t', 0)), (walredo_tag('t', 7)), (walredo_tag('u', 0)),
	(walredo_tag('t_pkey', 0)), (walredo_tag('t_pkey', 3)),
	('slru pg_xact/0000 blk 0')) pages (tag),
	(SELECT i, max(end_lsn) AS lsn
		FROM (SELECT ntile(4) OVER (ORDER BY end_lsn DESC) AS i, end_lsn
			FROM walredo_wal_records('$start', '$end_of_archive', '$archive'))
			r WHERE i < 4 GROUP BY i) lsns (i, lsn)
ORDER BY i, tag::text
SQL

sub pages
{
	my $settings = shift // '';

	return value_or_error($node, 'postgres', "$settings; $pages_sql");
}

my $pages = pages('SET walredo.index_size = 0');
unlike($pages, qr/^\w{5}: /, 'there are pages');
index_wal($archive);
is(pages(), $pages, 'pages with indexes');

# What the server says about indexes that it does not use.
sub distrusted
{
	my (undef, $messages) =
	  ask($node, 'postgres', "SET client_min_messages = debug1; $pages_sql");

	return join ' ', $messages =~ /(damaged or wrong|is damaged|contradict)/g;
}
is(distrusted(), '', '... and none is taken for wrong');

my ($archive_hash) = directories();
$indexes = $node->data_dir . "/$store/$archive_hash";
index_wal($archive);
my $foreign = copy_segments($archive, "$scratch/foreign");
index_wal($foreign);
my ($foreign_hash) = grep { $_ ne $archive_hash } directories();

my %damages = (
	'a bit of the header' => sub { flip(shift, 30) },
	'a bit in the middle' => sub { my $f = shift; flip($f, int((-s $f) / 2)) },
	'a bit at the end' => sub { my $f = shift; flip($f, (-s $f) - 20) },
	'a bit in each 200 bytes' => sub
	{
		my $f = shift;
		my $size = -s $f;

		for (my $at = 400; $at < $size; $at += 200) { flip($f, $at) }
	},
	'its end cut off' => sub { my $f = shift; truncate $f, int((-s $f) * 0.6) },
	'nothing in it' => sub { truncate shift, 0 },
	'more bytes' => sub { append_to_file(shift, 'x' x 5000) },
	'only bytes of no meaning' => sub { write_file(shift, 'x' x 30_000) },
	'the index of the segment before' => sub
	{
		my $f = shift;
		my ($name) = $f =~ m{([^/]+)$};
		my ($i) = grep { $segments[$_] eq $name } 0 .. $#segments;

		copy("$scratch/saved/$segments[$i - 1]", $f) or die "copy: $!";
	},
	'the index of another directory' => sub
	{
		my $f = shift;
		my ($name) = $f =~ m{([^/]+)$};

		copy($node->data_dir . "/$store/$foreign_hash/$name", $f)
		  or die "copy: $!";
	},
	'been removed' => sub { unlink shift });

sub flip
{
	my ($file, $at) = @_;
	my $bytes = slurp_file($file);

	substr($bytes, $at, 1) = chr(ord(substr($bytes, $at, 1)) ^ 4);
	write_file($file, $bytes);
	return;
}

copy_segments($indexes, "$scratch/saved");
my $session = session($node);
foreach my $damage (sort keys %damages)
{
	copy_segments("$scratch/saved", $indexes);

	# This session may have read them before they are damaged.
	my ($rows) = run_query($session, $pages_sql);
	is($rows, $pages, "pages before indexes have $damage");
	$damages{$damage}->($_) foreach glob "$indexes/*";
	($rows) = run_query($session, $pages_sql);
	is($rows, $pages, "pages if indexes have $damage, in the same session");

	copy_segments("$scratch/saved", $indexes);
	$damages{$damage}->($_) foreach glob "$indexes/*";
	is(pages(), $pages, '... and in another one');
}
copy_segments("$scratch/saved", $indexes);
flip($_, 30) foreach glob "$indexes/*";
like(distrusted(), qr/is damaged/, 'what is damaged is not used');

# The directory of the store is not one.
remove_indexes();
write_file($node->data_dir . "/$store", 'x');
is(pages(), $pages, 'pages if the store is a file');
is(index_wal($archive) =~ s/\|[^|]*$//r,
	"$n|0|0", '... and no index can be written');
unlink $node->data_dir . "/$store";

#
# Descriptors
#

index_wal($archive);
run_query($session, $pages_sql);
my $descriptors = descriptors($session->{backend});
foreach my $i (1 .. 20)
{
	remove_indexes() if $i % 3 == 0;
	truncate $_, 1000 foreach $i % 3 == 1 ? glob "$indexes/*" : ();
	run_query($session, $pages_sql);
	run_query($session, "SELECT made FROM walredo_index_wal('$archive')");
	run_query($session,
		"SELECT count(*) FROM walredo_wal_records('$start', '$open_end', '$archive')"
	);
}
cmp_ok(descriptors($session->{backend}),
	'<=', $descriptors, 'no descriptor is left open');
$session->quit;
$node->stop('fast');
unlike(slurp_file($node->logfile),
	qr/walredo index worker.*exit code/, 'the worker ends quietly');

#
# Segments of another size
#

my $large = PostgreSQL::Test::Cluster->new('large');
$large->init(extra => ['--wal-segsize=64']);
$large->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
min_wal_size = 256MB
max_wal_size = 1GB
wal_init_zero = off
CONF
$large->start;
query(
	q{CREATE EXTENSION walredo;
	CREATE TABLE t (i int, x text);
	INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(1, 120000) g;
	SELECT pg_switch_wal();
	INSERT INTO t VALUES (0, '')}, $large);
my $count = finished($large);
cmp_ok($count, '>', 1, 'there are segments of 64 MB');
is( query('SELECT segments, indexed, made FROM walredo_index_wal()', $large),
	"$count|$count|$count",
	'... which are indexed');
my $page_sql =
  "SELECT md5(walredo_page_at('t', 5, lsn)) FROM pg_current_wal_flush_lsn() lsn";
is( query($page_sql, $large),
	query("SET walredo.index_size = 0; $page_sql", $large),
	'... and a page is the same');
$large->stop;

done_testing();
