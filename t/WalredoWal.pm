package WalredoWal;

# WAL as bytes: LSNs, segments, and records.
#
# Offers:
#	$open_end, lsn_to_int, int_to_lsn, plain_lsns, checkpoint_lsn
#		LSNs as text and as numbers
#	$segment_size, segment_name, segment_end, copy_segments
#		segments of 1 MB, which is what servers have that are made by
#		wal_server() of WalredoServers
#	$record_header_size, crc32c, sealed_record, make_record, poison
#		records that no server wrote; each has a correct CRC
#	overwrite_record
#		puts such a record into a segment file
#
# Records are strings of bytes in this machine's byte order, which has to be
# little-endian.

use strict;
use warnings;

use Exporter qw(import);
use File::Copy qw(copy);
use PostgreSQL::Test::Utils;
use WalredoPages qw($page_size);

our @EXPORT = qw($open_end lsn_to_int int_to_lsn plain_lsns checkpoint_lsn
  $segment_size segment_name segment_end copy_segments
  $record_header_size crc32c sealed_record make_record poison
  overwrite_record);

#
# LSNs
#

# The greatest LSN: a range up to it ends where WAL does.
our $open_end = 'FFFFFFFF/FFFFFFFF';

sub lsn_to_int
{
	my ($high, $low) = split m{/}, shift;

	return hex($high) * 2**32 + hex($low);
}

sub int_to_lsn
{
	my $lsn = shift;

	return sprintf '%X/%X', $lsn >> 32, $lsn & 0xFFFFFFFF;
}

# Some text with its LSNs as messages have them: without the leading zeroes that
# pg_lsn's output has since PostgreSQL 19.
sub plain_lsns
{
	return shift =~ s{/0+(?=[0-9A-F])}{/}gr;
}

# The LSN of the last checkpoint, which is where WAL ends if the server has been
# stopped cleanly.  The server must be down.
sub checkpoint_lsn
{
	my $node = shift;
	my ($out) = run_command([ 'pg_controldata', $node->data_dir ]);

	$out =~ /^Latest checkpoint location:\s+(\S+)/m or die 'no checkpoint';
	return $1;
}

#
# Segments
#

our $segment_size = 1024 * 1024;

# The file of a timeline in which the byte at an LSN is.
sub segment_name
{
	my ($tli, $lsn) = @_;
	my $segno = int(lsn_to_int($lsn) / $segment_size);
	my $per_id = 2**32 / $segment_size;

	return sprintf '%08X%08X%08X', $tli, $segno / $per_id, $segno % $per_id;
}

# The LSN of the first byte after the segment that an LSN is in.
sub segment_end
{
	my $segno = int(lsn_to_int(shift) / $segment_size);

	return int_to_lsn(($segno + 1) * $segment_size);
}

# Copies the files of a directory, such as pg_wal or an archive, into another
# one, which is made if it is not there.  Returns the latter.  A server may be
# making a segment meanwhile, under a name that is gone soon.
sub copy_segments
{
	my ($from, $to) = @_;

	-d $to or mkdir $to or die "could not make $to: $!";
	foreach my $file (grep { !/^xlogtemp/ && -f "$from/$_" } slurp_dir($from))
	{
		copy("$from/$file", "$to/$file")
		  or die "could not copy $from/$file: $!";
	}
	return $to;
}

#
# Records
#

# The size of XLogRecord, whose last field is the CRC.
our $record_header_size = 24;

my $crc_size = 4;
my @crc_table;
foreach my $byte (0 .. 255)
{
	my $crc = $byte;

	$crc = ($crc >> 1) ^ (($crc & 1) ? 0x82F63B78 : 0) for 1 .. 8;
	push @crc_table, $crc;
}

# CRC-32C, as WAL has it.
sub crc32c
{
	my $data = shift;
	my $crc = 0xFFFFFFFF;
	my $chunk = 65536;

	# In parts, since Perl's list of so many bytes takes far more room than they.
	for (my $at = 0; $at < length $data; $at += $chunk)
	{
		$crc = $crc_table[ ($crc ^ $_) & 0xFF ] ^ ($crc >> 8)
		  foreach unpack 'C*', substr $data, $at, $chunk;
	}
	return $crc ^ 0xFFFFFFFF;
}

# A record with the length and the CRC that go with its other bytes.
sub sealed_record
{
	my $record = shift;
	my $crc_offset = $record_header_size - $crc_size;

	substr($record, 0, 4) = pack 'L', length $record;
	substr($record, $crc_offset, $crc_size) = pack 'L',
	  crc32c(substr($record, $record_header_size)
		  . substr($record, 0, $crc_offset));
	return $record;
}

# A record of any resource manager.  Blocks are hashes of spc, db, rel, blk, and
# if they are not as most are: id, fork, flags, data, and an image: its bytes,
# info (BKPIMAGE_*), hole_offset and hole_length.
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

			# There is a length only if the image has a hole and is compressed,
			# by whichever method.
			$headers .= pack 'S', $image->{hole_length}
			  if ($image->{info} & 0x01) && ($image->{info} & 0x1C);
			$data .= $image->{bytes};
		}
		$headers .= pack 'LLLL', @$block{qw(spc db rel blk)};
		$data .= $block_data;
	}
	if (length($main // '') > 255)
	{
		$headers .= pack 'CL', 254, length $main;
	}
	elsif (length($main // ''))
	{
		$headers .= pack 'CC', 255, length $main;
	}

	return sealed_record(pack('LLQCCSL', 0, 0, 0, $info, $rmid, 0, 0)
		  . $headers
		  . $data
		  . ($main // ''));
}

# The record of a heap insertion, in hexadecimal, with a line pointer that is
# far out of range.  Redo of such a record is a PANIC.
sub poison
{
	my $record = pack 'H*', shift;

	substr($record, -3, 2) = pack 'S', 60000;
	return unpack 'H*', sealed_record($record);
}

# Writes a record over the one at an LSN, in a directory of segments of timeline
# 1.  It must be as long.
sub overwrite_record
{
	my ($dir, $lsn, $record) = @_;
	my $position = lsn_to_int($lsn);
	my ($fh, $open) = (undef, '');

	while ($record ne '')
	{
		my $file = "$dir/" . segment_name(1, int_to_lsn($position));
		my $at = $position % $segment_size;

		# A page begins with a header, and the first of a segment with a longer
		# one.
		my $header = $at == 0 ? 40 : $at % $page_size == 0 ? 24 : 0;

		$at += $header;
		my $part = substr $record, 0, $page_size - $at % $page_size, '';
		if ($file ne $open)
		{
			open $fh, '+<:raw', $file or die "could not open $file: $!";
			$open = $file;
		}
		seek $fh, $at, 0;
		print $fh $part or die "could not write $file: $!";
		$position += $header + length $part;
	}
	close $fh or die "could not write $open: $!";
	return;
}

1;
