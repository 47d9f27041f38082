package WalredoDamage;

# Damage to a server's files, and what walredo says of a server.
#
# Files are changed while the server is down, or where it has nothing of them in
# its buffers.
#
# Seen to fail: overwrite() of a file that is shorter than that.

use strict;
use warnings;

use Exporter qw(import);
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(path_of read_block write_block overwrite cut_file
  ask error_of lsn_number);

my $page_size = 8192;

# The file of a relation's fork.
sub path_of
{
	my ($node, $database, $relation, $fork) = @_;
	my $path = $node->safe_psql($database,
		"SELECT pg_relation_filepath('$relation')");

	$path ne '' or die "relation $relation has no file";
	$path .= "_$fork" if defined $fork && $fork ne 'main';
	return $node->data_dir . "/$path";
}

# A block of a file, which must be there in full.
sub read_block
{
	my ($file, $blkno) = @_;

	open(my $fh, '<:raw', $file) or die "could not open $file: $!";
	seek $fh, $blkno * $page_size, 0;
	read($fh, my $block, $page_size) == $page_size
	  or die "$file has no block $blkno";
	close $fh;
	return $block;
}

# Puts bytes into a file, at an offset that must be within it.
sub overwrite
{
	my ($file, $offset, $bytes) = @_;

	-s $file >= $offset + length $bytes or die "$file is too short";
	open(my $fh, '+<:raw', $file) or die "could not open $file: $!";
	seek $fh, $offset, 0;
	syswrite($fh, $bytes) == length $bytes or die "could not write $file: $!";
	close $fh or die "could not write $file: $!";
	return;
}

sub write_block
{
	my ($file, $blkno, $block) = @_;

	length $block == $page_size or die 'no block';
	overwrite($file, $blkno * $page_size, $block);
	return;
}

# Leaves the first blocks of a file.
sub cut_file
{
	my ($file, $blocks) = @_;

	-s $file > $blocks * $page_size or die "$file is too short";
	truncate($file, $blocks * $page_size) or die "could not cut $file: $!";
	return;
}

# What psql prints for some SQL: its rows, and its messages with SQLSTATEs.  The
# SQL may fail.
sub ask
{
	my ($node, $database, $sql) = @_;
	my ($ret, $stdout, $stderr) =
	  $node->psql($database, "\\set VERBOSITY verbose\n$sql");

	return ($stdout, $stderr);
}

# The messages of SQL that must fail; what it returned if it did not.
sub error_of
{
	my ($node, $database, $sql) = @_;
	my ($stdout, $stderr) = ask($node, $database, $sql);

	return $stderr =~ /ERROR:/ ? $stderr : "no error, but: $stdout$stderr";
}

sub lsn_number
{
	my ($high, $low) = split m{/}, shift;

	return hex($high) * 2**32 + hex($low);
}

1;
