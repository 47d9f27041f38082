# Directories that change between two calls of one session: what the session knows
# about them from the call before must not be used any more.  After each change,
# the session must see what a new session sees, which must not be what was there
# before.
#
# Seen to fail: with no directory looked at again; with no folder looked at again; and
# with the files that say whose WAL it is not looked at again.

use Cwd qw(getcwd);
use File::Copy qw(copy move);
use WalredoSessions;
use WalredoTest;

my $scratch = PostgreSQL::Test::Utils::tempdir();
$scratch = getcwd() . "/$scratch" if $scratch !~ m{^/};

# WAL of a system: a table is created in each segment.
sub make_wal
{
	my ($name, $segments) = @_;
	my $node = wal_server($name);

	$node->start;
	my $start = $node->safe_psql('postgres',
		'SELECT pg_switch_wal() \gset
		SELECT pg_current_wal_insert_lsn()');
	$node->safe_psql('postgres',
		"CREATE TABLE $name$_ (); SELECT pg_switch_wal()")
	  foreach 1 .. $segments;
	$node->stop;
	return ($node, $start);
}

my ($node, $start) = make_wal('one', 5);
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

# A folder, as Barman has them.  At last, only the time of the folder changes.
my $folder = "$dir/" . substr($names[0], 0, 16);
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
