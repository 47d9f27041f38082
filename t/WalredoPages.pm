package WalredoPages;

# Pages in files, as the server wrote them, to compare with what walredo makes;
# and records that are broken on purpose.
#
# Seen to fail: is_page() with one byte changed, and with a page of zeroes for
# one that is missing.

use strict;
use warnings;

use Exporter qw(import);
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw($page_size $clog_per_page $commit_ts_per_page
  $members_per_page offsets_per_page checkpoint_lsn slurp_page page_sql
  is_page make_record sealed_record overwrite_record poison);

our $page_size = 8192;

# Entries on a page of an SLRU.
our $clog_per_page = 32768;
our $commit_ts_per_page = 819;
our $members_per_page = 1636;

sub offsets_per_page
{
	my $node = shift;

	return $page_size / ($node->pg_version->major >= 19 ? 8 : 4);
}

# Where the log ends; the server must be down.
sub checkpoint_lsn
{
	my $node = shift;
	my ($out) = run_command([ 'pg_controldata', $node->data_dir ]);

	$out =~ /^Latest checkpoint location:\s+(\S+)/m or die 'no checkpoint';
	return $1;
}

# A block of a file, or all of it if the block is undefined.  '' if there is no
# such block, or file.
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

# The same as an expression of SQL; NULL if there is no such block.
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

# CRC-32C, as the log has it.
sub _crc32c
{
	my $data = shift;
	my $crc = 0xFFFFFFFF;

	foreach my $byte (unpack 'C*', $data)
	{
		$crc ^= $byte;
		$crc = ($crc >> 1) ^ (($crc & 1) ? 0x82F63B78 : 0) for 1 .. 8;
	}
	return $crc ^ 0xFFFFFFFF;
}

# A record of any sort, as bytes, with a right checksum.  Blocks are hashes of
# spc, db, rel, blk, and if they are not as most are: id, fork, flags, data, and
# an image: its bytes, info (BKPIMAGE_*), hole_offset and hole_length.
sub make_record
{
	my ($rmid, $info, $blocks, $main) = @_;
	my ($headers, $data, $id) = ('', '', 0);

	foreach my $block (@$blocks)
	{
		my $image = $block->{image};
		my $block_data = $block->{data} // '';
		my $flags = ($block->{flags} // 0) | ($block->{fork} // 0);

		$flags |= 0x10 if $image;
		$flags |= 0x20 if $block_data ne '';
		$id = $block->{id} // $id;
		$headers .= pack 'CCS', $id++, $flags, length $block_data;
		if ($image)
		{
			$headers .= pack 'SSC', length $image->{bytes},
			  $image->{hole_offset} // 0, $image->{info};

			# Has a hole, and is compressed by any method.
			$headers .= pack 'S', $image->{hole_length}
			  if ($image->{info} & 0x01) && ($image->{info} & 0x1C);
			$data .= $image->{bytes};
		}
		$headers .= pack 'LLLL', @$block{qw(spc db rel blk)};
		$data .= $block_data;
	}
	$headers .= pack 'CC', 255, length $main if length($main // '');

	my $body = $headers . $data . ($main // '');
	my $header = pack 'LLQCCS', 24 + length $body, 0, 0, $info, $rmid, 0;
	return $header . pack('L', _crc32c($body . $header)) . $body;
}

# A record with the checksum that goes with its other bytes.
sub sealed_record
{
	my $record = shift;

	substr($record, 20, 4) =
	  pack('L', _crc32c(substr($record, 24) . substr($record, 0, 20)));
	return $record;
}

# Writes a record over the one at that LSN, in a directory of segments of 1 MB.
# It must be as long.
sub overwrite_record
{
	my ($dir, $lsn, $record) = @_;
	my ($high, $low) = map { hex } split m{/}, $lsn;
	my ($fh, $open) = (undef, '');

	while ($record ne '')
	{
		my $file = sprintf '%s/%08X%08X%08X', $dir, 1, $high, $low >> 20;
		my $at = $low & 0xFFFFF;

		# A page begins with a header.
		$at += $at == 0 ? 40 : $at % $page_size == 0 ? 24 : 0;
		my $part = substr $record, 0, $page_size - $at % $page_size, '';
		if ($file ne $open)
		{
			open $fh, '+<:raw', $file or die "could not open $file: $!";
			$open = $file;
		}
		seek $fh, $at, 0;
		print $fh $part or die "could not write $file: $!";
		$low = ($low & ~0xFFFFF) + $at + length $part;
	}
	close $fh or die "could not write $open: $!";
	return;
}

# The record of a heap insertion, in hexadecimal, with a line pointer that is
# far out of range, and with a right checksum.  Redo of such a record is a
# PANIC.
sub poison
{
	my $record = pack 'H*', shift;
	my $header = 24;

	substr($record, -3, 2) = pack 'S', 60000;
	substr($record, 20, 4) =
	  pack 'L', _crc32c(substr($record, $header) . substr($record, 0, 20));
	return unpack 'H*', $record;
}

1;
