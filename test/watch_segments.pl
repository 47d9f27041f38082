# Finds out which shared memory belongs to other servers.
#
#   perl test/watch_segments.pl DIRECTORY
#
# Whose segment it was that a killed server has left behind cannot be found out
# afterwards, since the server's processes are gone.  So this program watches
# segments while they are in use.  First it prints "ready".  Then it prints a line
# for each System V segment whose creator has a working directory that is not
# DIRECTORY or below it, and for each POSIX segment of which a user has:
# "segment" and a number, or "file" and a name.  A server, and the template of
# wal-redo children, is in its data directory before it makes a segment.
# Segments that were never seen in use are not listed.
#
# The program ends when its parent does.

use strict;
use warnings;

my ($directory) = @ARGV;
my $parent = getppid();
my (%known, $rounds);

sub contents
{
	my $path = shift;

	open(my $file, '<', $path) or return '';
	local $/;
	return <$file> // '';
}

# Whether a process has its working directory elsewhere; undefined if there is no
# such process, or if it is another user's.
sub is_elsewhere
{
	my $pid = shift;
	my $cwd = readlink("/proc/$pid/cwd");

	return defined($cwd) ? index("$cwd/", "$directory/") != 0 : undef;
}

sub look_at_segments
{
	foreach my $line (split /\n/, contents('/proc/sysvipc/shm'))
	{
		my (undef, $id, undef, undef, $creator) = split ' ', $line;

		next if $id !~ /^\d+$/ || $known{"segment $id"}++;
		print "segment $id\n" if is_elsewhere($creator);
	}
	return;
}

# Only processes elsewhere are of interest, so look for those among all processes
# first, and then at the files that they use.
sub look_at_files
{
	my %new = map { $_ => 1 }
	  grep { !$known{"file $_"} } glob '/dev/shm/PostgreSQL.*';

	return unless %new;
	foreach my $pid (map { m{(\d+)} } glob '/proc/[0-9]*')
	{
		next unless is_elsewhere($pid);
		my $maps = contents("/proc/$pid/maps");

		while ($maps =~ m{ (/dev/shm/PostgreSQL\.\d+)}g)
		{
			next unless delete $new{$1};
			$known{"file $1"} = 1;
			print "file $1\n";
		}
	}
	return;
}

die "usage: $0 DIRECTORY\n" unless defined $directory;
$| = 1;
look_at_segments();
look_at_files();
print "ready\n";
while (getppid() == $parent)
{
	look_at_segments();
	look_at_files() if ++$rounds % 5 == 0;
	select(undef, undef, undef, 0.01);
}
