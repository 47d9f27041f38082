package WalredoPages;

# Pages and the files that they are in, as a server wrote them.
#
# Offers:
#	$page_size, $clog_per_page, $commit_ts_per_page, $members_per_page,
#	offsets_per_page
#		the size of a page, and how many entries a page of an SLRU has
#	path_of, read_block, slurp_page, page_sql
#		what is in a file
#	is_page
#		a test: a page that walredo has made is the one that the server wrote
#	write_file, write_block, overwrite, cut_file, lengthen_file
#		changes to a file, made while the server is down, or where the server
#		has nothing of the file in its buffers
#
# Seen to fail: is_page() with one byte changed, and with a page of zeroes for
# one that is missing; overwrite() of a file that is too short.

use strict;
use warnings;

use Exporter qw(import);
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw($page_size $clog_per_page $commit_ts_per_page
  $members_per_page offsets_per_page path_of read_block slurp_page page_sql
  is_page write_file write_block overwrite cut_file lengthen_file);

#
# Constants
#

# BLCKSZ, and XLOG_BLCKSZ.
our $page_size = 8192;

our $clog_per_page = 32768;
our $commit_ts_per_page = 819;
our $members_per_page = 1636;

# An offset has 64 bits since PostgreSQL 19.
sub offsets_per_page
{
	my $node = shift;

	return $page_size / ($node->pg_version->major >= 19 ? 8 : 4);
}

#
# Reading
#

# The file of a relation's fork, the main one unless another is given.
sub path_of
{
	my ($node, $database, $relation, $fork) = @_;
	my $path = $node->safe_psql($database,
		"SELECT pg_relation_filepath('$relation')");

	$path ne '' or die "relation $relation has no file";
	$path .= "_$fork" if defined $fork && $fork ne 'main';
	return $node->data_dir . "/$path";
}

# A block of a file, or all of the file if the block is undefined.  '' if there
# is no such block, or no such file.
sub slurp_page
{
	my ($file, $blkno) = @_;

	return '' if !-e $file;
	return slurp_file($file) unless defined $blkno;
	open(my $fh, '<:raw', $file) or die "could not open $file: $!";
	seek $fh, $blkno * $page_size, 0;
	my $got = read($fh, my $page, $page_size);
	close $fh;
	return $got ? $page : '';
}

# A block of a file, which must be there in full.
sub read_block
{
	my ($file, $blkno) = @_;
	my $block = slurp_page($file, $blkno);

	length $block == $page_size or die "$file has no block $blkno";
	return $block;
}

# What slurp_page() reads, as an expression of SQL; NULL instead of ''.
sub page_sql
{
	my ($file, $blkno) = @_;
	my $range =
	  defined $blkno ? ', ' . $blkno * $page_size . ", $page_size" : '';

	return slurp_page($file, $blkno) eq ''
	  ? 'NULL::bytea'
	  : "pg_read_binary_file('$file'$range)";
}

# Compares the values of two expressions of SQL, byte for byte.
sub is_page
{
	my ($node, $got, $want, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( $node->safe_psql(
			'postgres', qq{
			SELECT CASE WHEN got = want THEN 'equal'
				WHEN length(got) <> length(want) THEN 'another length'
				ELSE 'differs at byte ' || (
					SELECT min(i) FROM generate_series(0, length(want) - 1) AS i
					WHERE get_byte(got, i) <> get_byte(want, i))
				END
			FROM (SELECT $got AS got, $want AS want) AS pages}),
		'equal',
		$name);
	return;
}

#
# Changing
#

# Makes a file of these bytes, in place of the one that may be there.
sub write_file
{
	my ($file, $bytes) = @_;

	open(my $fh, '>:raw', $file) or die "could not open $file: $!";
	print $fh $bytes;
	close $fh or die "could not write $file: $!";
	return;
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

# Leaves only so many blocks of a file.
sub cut_file
{
	my ($file, $blocks) = @_;

	-s $file > $blocks * $page_size or die "$file is too short";
	truncate($file, $blocks * $page_size) or die "could not cut $file: $!";
	return;
}

# Makes a file as long as so many blocks, with zeroes; it need not be there.
sub lengthen_file
{
	my ($file, $blocks) = @_;

	append_to_file($file, "\0" x ($blocks * $page_size - (-s $file // 0)));
	return;
}

1;
