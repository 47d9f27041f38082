# Directories that change between two calls of one session: what the session knows
# about them from the call before must not be used any more.  After each change,
# the session must see what a new session sees, which must not be what was there
# before.
#
# Seen to fail: with no directory looked at again; with no folder looked at again;
# with the files that say whose WAL it is not looked at again; with held files that are
# not closed at the end of a transaction, or of a subtransaction; and with all sources
# kept.

use Cwd qw(getcwd);
use File::Copy qw(copy move);
use WalredoSessions;
use WalredoTest;

my $scratch = PostgreSQL::Test::Utils::tempdir();
$scratch = getcwd() . "/$scratch" if $scratch !~ m{^/};

# WAL of a system: a table with a row is created in each segment.
sub make_wal
{
	my ($name, $segments) = @_;
	my $node = wal_server($name);

	$node->start;
	my $start = $node->safe_psql('postgres',
		'SELECT pg_switch_wal() \gset
		SELECT pg_current_wal_insert_lsn()');
	$node->safe_psql('postgres',
		"CREATE TABLE $name$_ AS SELECT $_ AS i; SELECT pg_switch_wal()")
	  foreach 1 .. $segments;

	# A page that is made in the second of them.
	my $tag = $node->safe_psql('postgres',
		"SELECT 'rel 1663/' || d.oid || '/' || pg_relation_filenode('${name}2') || ' blk 0'
			FROM pg_database d WHERE datname = 'postgres'");
	$node->stop;
	return ($node, $start, $tag);
}

my ($node, $start, $tag) = make_wal('one', 5);
my ($other) = make_wal('two', 8);
my @names;
my $end = $start;
foreach (1 .. 4)
{
	push @names, segment_name(1, $end);
	$end = segment_end($end);
}
my $all = $node->data_dir . '/pg_wal';
my $other_all = $other->data_dir . '/pg_wal';

my $reader = PostgreSQL::Test::Cluster->new('reader');
$reader->init;
$reader->append_conf('postgresql.conf', 'autovacuum = off');
$reader->start;
$reader->safe_psql('postgres', 'CREATE EXTENSION walredo');

my $dir = "$scratch/wal";
mkdir $dir or die;
my $sql = "SELECT count(*), md5(string_agg(concat(lsn, event, at), ',' ORDER BY lsn)) FROM walredo_files('$start', '$end', '$dir')";
my $files = $sql;
my $session = session($reader);
my $before = '';

# What a session says, without what differs from one to the next.
sub said
{
	my ($out, $err) = @_;

	$err =~ s/^psql:<stdin>:\d+: //mg;
	$err =~ s/^LOCATION:.*\n//mg;
	$err =~ s/^WARNING.*\n(?:DETAIL.*\n)?//mg;
	$out =~ s/\s+\z//;
	return "$out|$err";
}

# Asks the session, which has asked before, and a new one.  The third parameter is
# what the answer is like.
sub changed
{
	my ($what, $pattern) = @_;
	my $kept = said(run_query($session, $sql));
	my $new = said(ask($reader, 'postgres', $sql));

	is($kept, $new, "$what: seen at once");
	like($new, $pattern, "$what: as it is");
	isnt($new, $before, "$what: makes a difference");
	$before = $new;
	return;
}

# Lets the session know the directory, in a state that has lasted for a while.
sub settle
{
	select(undef, undef, undef, 0.2);
	run_query($session, $sql) foreach 1 .. 2;
	return;
}

my $complete = qr/^[1-9]\d*\|\w{32}\|$/;
my $missing = qr/^\|ERROR:  58P01: WAL segment "\w+" is missing/;

copy("$all/$_", "$dir/$_") or die foreach @names;
changed('a directory with all segments', $complete);
my $whole = $before;

settle();
move("$dir/$names[3]", "$scratch/aside") or die;
changed('a segment removed', $missing);
settle();
move("$scratch/aside", "$dir/$names[3]") or die;
changed('a segment added', $complete);

settle();
unlink "$dir/$names[1]" or die;
changed('a segment in the middle removed', $missing);
copy("$all/$names[1]", "$dir/$names[1]") or die;
changed('a segment added right after', $complete);

# Changes without a pause: the time of the directory may stay as it is.
foreach (1 .. 10)
{
	unlink "$dir/$names[2]" or die;
	like(said(run_query($session, $sql)), $missing, "removed, time $_");
	copy("$all/$names[2]", "$dir/$names[2]") or die;
	is(said(run_query($session, $sql)), $whole, "added, time $_");
}

#
# Files that a transaction keeps open for single records
#

$sql = "SELECT md5(walredo_page_at('$tag', '$end', wal_directory => '$dir'))";
my $pid = $session->{backend};

# How many files of the directory the session has open.
sub held_files
{
	return scalar grep { (readlink($_) // '') =~ m{^\Q$dir\E/} }
	  glob("/proc/$pid/fd/*");
}

my $page = qr/^\w{32}\|$/;
$before = '';
changed('a page', $page);
is(held_files(), 0, 'no file is open without a transaction');
my $pages = $before;

# Each change is made while the file is held, in a subtransaction, which an error
# ends.
my $file = "$dir/$names[1]";
my $contents = slurp_file($file);
my $wiped = substr($contents, 0, 8192) . "\0" x (length($contents) - 8192);
my %change = (
	'overwritten' => sub { overwrite($file, 8192, substr($wiped, 8192)) },
	'replaced' => sub {
		append_to_file("$dir/new", $wiped);
		rename "$dir/new", $file or die;
	},
	'of another system' => sub {
		copy("$other_all/$names[1]", "$dir/new") or die;
		rename "$dir/new", $file or die;
	},
	'removed' => sub { unlink $file or die });
foreach my $kind (sort keys %change)
{
	settle();
	run_query($session, $_) foreach 'BEGIN', 'SAVEPOINT s';
	is(said(run_query($session, $sql)), $pages, "$kind: the page before");
	cmp_ok(held_files(), '>', 0, "$kind: a file is held");
	$change{$kind}->();
	$before = $pages;
	changed("a file that is held, $kind", qr/^\|ERROR/);
	run_query($session, 'ROLLBACK TO s');
	is(held_files(), 0, "$kind: no file is open after the subtransaction");
	append_to_file("$dir/new", $contents);
	rename "$dir/new", $file or die;
	is(said(run_query($session, $sql)), $pages, "$kind: the page again");
	is(said(run_query($session, 'COMMIT')), '|', "$kind: no leak");
	is(held_files(), 0, "$kind: no file is open after the transaction");
}

# A subtransaction that ends without an error closes what it has opened.
settle();
run_query($session, 'BEGIN');
foreach my $end ('ROLLBACK TO s', 'RELEASE s')
{
	run_query($session, 'SAVEPOINT s');
	is(said(run_query($session, $sql)), $pages, "before $end");
	run_query($session, $end);
	is(said(run_query($session, $sql)), $pages, "after $end");
}
is(said(run_query($session, 'COMMIT')), '|', 'no leak after subtransactions');

# Several directories: the session does not keep what it knows of all of them.
foreach my $n (1 .. 6)
{
	symlink $dir, "$scratch/link$n" or die;
	(my $query = $sql) =~ s/'\Q$dir\E'/'$scratch\/link$n'/;
	is(said(run_query($session, $query)), $pages, "directory $n");
}
like(
	said(run_query($session,
		"SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'walredo source'")),
	qr/^[1-4]\|$/,
	'at most four directories are kept');

# A folder, as Barman has them.  At last, only the time of the folder changes.
my $folder = "$dir/" . substr($names[0], 0, 16);
$sql = $files;
settle();
unlink "$dir/$names[3]" or die;
$before = '';
changed('a segment removed again', $missing);
settle();
mkdir $folder or die;
copy("$all/$names[3]", "$folder/$names[3]") or die;
changed('a segment in a new folder', $complete);
settle();
unlink "$folder/$names[3]" or die;
changed('a segment removed from the folder', $missing);
settle();
copy("$all/$names[3]", "$folder/$names[3]") or die;
changed('a segment added to the folder', $complete);

# The segments of another system, by new files and in the same ones.
settle();
foreach my $name (@names)
{
	copy("$other_all/$name", "$dir/new") or die;
	rename "$dir/new", ($name eq $names[3] ? "$folder/$name" : "$dir/$name")
	  or die;
}
changed('segments replaced by those of another system', $complete);
settle();
foreach my $name (@names)
{
	my $path = $name eq $names[3] ? "$folder/$name" : "$dir/$name";
	open my $file, '+<', $path or die;
	binmode $file;
	print $file slurp_file("$all/$name");
	close $file;
}
changed('segments overwritten with those of the first system', $complete);
is($before, $whole, 'what was there at first is there again');

# An error in the middle leaves nothing behind that is wrong.
settle();
my $broken = slurp_file("$dir/$names[2]");
overwrite("$dir/$names[2]", 8192 + 8, "\xff" x 8);
changed('a page damaged', qr/^\|ERROR:  XX001/);
overwrite("$dir/$names[2]", 8192 + 8, substr($broken, 8192 + 8, 8));
changed('the page restored', $complete);

# Another directory of the list, and the order of the two.
my $second = "$scratch/second";
mkdir $second or die;
$sql =~ s/'\Q$dir\E'/'$dir:$second'/;
$before = '';
changed('a second directory, which is empty', $complete);
settle();
rename $second, "$scratch/gone" or die;
changed('a directory that has gone', qr/could not open directory/);

$session->quit;
$reader->stop;
done_testing();
