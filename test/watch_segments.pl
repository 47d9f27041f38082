# Tells which shared memory is other servers'.
#
#   perl test/watch_segments.pl DIRECTORY
#
# What a killed server leaves behind does not say whose it was: its processes
# are gone.  So this looks while they are there.  It prints a line for each
# System V segment whose creator, and each POSIX segment of which a user, does
# not live in the directory or below it: "segment" and a number, or "file" and a
# name; first "ready".  A server, and a wal-redo child's template, lives in its
# data directory before it makes a segment.  What nobody saw in use is not
# listed.
#
# It ends when its parent does.

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

# Whether a process lives elsewhere; undefined if there is no such process, or
# it cannot be asked.
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

# Processes are many, and only those elsewhere are of interest, so these are
# asked, not those that have used each file.
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
