package WalredoIndexes;

# The files of indexes of WAL, and what may be wrong with them.
#
# Offers:
#	index_server_wal		makes all indexes of a server's WAL
#	index_files				their paths
#	keep_indexes			keeps the server from removing or making any
#	read_indexes			what is in them
#	@index_damages, $unseen_damage, damage_indexes
#							what can be done to them, and does it
#
# None of @index_damages may lead to another page.  Each of them either is noticed,
# or adds records to those that the index has of a page, or makes an index that
# does not fit to the segments beside it, although its checksums are right.
#
# $unseen_damage changes an index at random, with right checksums, so that it may
# lack a record and have nothing else that is wrong.  Such an index cannot be
# told from a sound one; docs/wal-index.md says why there is none.
#
# The layout of an index is that of src/index/format_internal.h, of a
# little-endian machine.

use strict;
use warnings;

use Exporter qw(import);
use PostgreSQL::Test::Utils;
use WalredoPages qw(write_file);
use WalredoWal qw(crc32c);

our @EXPORT = qw(index_server_wal index_files keep_indexes read_indexes
  @index_damages $unseen_damage damage_indexes);

#
# The store
#

# Indexes the WAL of a server, all of whose segments are finished.
sub index_server_wal
{
	my ($node, $database) = @_;

	return $node->safe_psql($database // 'postgres',
		'SELECT segments - indexed FROM walredo_index_wal()');
}

sub index_files
{
	my $node = shift;

	return sort
	  grep { /[0-9A-F]{24}$/ }
	  glob($node->data_dir =~ s/ /\\ /gr . '/pgsql_tmp_walredo_index/*/*');
}

# Lets the server only read the indexes that there are, or write again.
sub keep_indexes
{
	my ($node, $keep) = @_;
	my %directories = map { s{/[^/]+$}{}r => 1 } index_files($node);

	foreach my $directory (keys %directories)
	{
		chmod $keep ? 0500 : 0700, $directory or die "chmod $directory: $!";
	}
	return;
}

# The bytes of the files of a server, by the names of their segments.
sub read_indexes
{
	my $node = shift;
	my %bytes = map { m{([^/]+)$}; $1 => slurp_file($_) } index_files($node);

	return \%bytes;
}

#
# The layout
#

my @header_fields = qw(magic version crc wal_magic block_size alignment
  num_blocks blocks_crc blocks_offset num_end_blocks tli segsize
  directory_length name_length system_identifier segno size mtime inode
  valid_end first_lsn first_prev last_lsn end_lsn);
my @lsn_fields = qw(first_lsn first_prev last_lsn end_lsn);
my @id_fields = qw(tli segsize system_identifier segno size mtime inode
  valid_end);
my $header_format = 'QL11S2Q2q2Q6';
my $header_size = 136;
my $crc_end = 16;
my $directory_entry_size = 32;

# Takes an index apart.
sub _parse
{
	my $bytes = shift;
	my %index;

	@index{@header_fields} = unpack $header_format, $bytes;
	my $at = $header_size;
	foreach my $string (qw(directory name))
	{
		$index{$string} = substr $bytes, $at, $index{"${string}_length"};
		$at += $index{"${string}_length"};
	}
	foreach my $i (0 .. $index{num_blocks} - 1)
	{
		my ($key, $length) = unpack 'a24L', substr $bytes,
		  $index{blocks_offset} + $i * $directory_entry_size;

		push @{ $index{blocks} }, [ $key, substr $bytes, $at, $length ];
		$at += $length;
	}
	return \%index;
}

# Puts it together again, with all checksums as they must be.
sub _build
{
	my $index = shift;
	my ($blocks, $directory) = ('', '');

	foreach my $block (@{ $index->{blocks} })
	{
		$blocks .= $block->[1];
		$directory .= pack 'a24LL', $block->[0], length $block->[1],
		  crc32c($block->[1]);
	}
	my $strings = $index->{directory} . $index->{name};
	$index->{directory_length} = length $index->{directory};
	$index->{name_length} = length $index->{name};
	$index->{blocks_offset} = $header_size + length($strings) + length $blocks;
	$index->{blocks_crc} = crc32c($directory);
	my $header = pack $header_format, @$index{@header_fields};
	substr($header, $crc_end - 4, 4) =
	  pack 'L', crc32c(substr($header, $crc_end) . $strings);
	return $header . $strings . $blocks . $directory;
}

# An integer from a string at a position, which is advanced.
sub _take_integer
{
	my ($bytes, $at) = @_;
	my ($value, $shift) = (0, 0);

	for (;;)
	{
		my $byte = vec $$bytes, $$at++, 8;

		$value |= ($byte & 0x7F) << $shift;
		return $value if $byte < 0x80;
		$shift += 7;
	}
	return;
}

sub _integer
{
	my $value = shift;
	my $bytes = '';

	for (; $value >= 0x80; $value >>= 7)
	{
		$bytes .= chr(0x80 | $value & 0x7F);
	}
	return $bytes . chr $value;
}

# Calls a function for the entries of an index, each with the references that
# it has: pairs of where the record begins, as an index has it, and whether it
# may start or end the page.  These are replaced by what the function returns.
# The entry is left out if it returns nothing.
sub _change_entries
{
	my ($index, $change) = @_;

	foreach my $block (@{ $index->{blocks} })
	{
		my ($key, $bytes) = @$block;
		my ($at, $new) = (0, '');

		while ($at < length $bytes)
		{
			my $from = $at;

			if (_take_integer(\$bytes, \$at) == 0)
			{
				$at += 2;
				_take_integer(\$bytes, \$at) foreach 1 .. 4;
			}
			my $key_bytes = substr $bytes, $from, $at - $from;
			my $end = _take_integer(\$bytes, \$at);
			$end += $at;
			my ($offset, @refs) = (0);
			while ($at < $end)
			{
				my $stops = 0;

				$offset += _take_integer(\$bytes, \$at);
				if ($at < $end && vec($bytes, $at, 8) == 0)
				{
					$stops = 1;
					$at++;
				}
				push @refs, [ $offset, $stops ];
			}
			my ($last, $refs) = (0, '');
			foreach my $ref ($change->(@refs))
			{
				$refs .= _integer($ref->[0] - $last) . ($ref->[1] ? "\0" : '');
				$last = $ref->[0];
			}
			$new .= $key_bytes . _integer(length $refs) . $refs;
		}
		$block->[1] = $new;
	}
	return;
}

# Adds places to references, in ascending order and each once.
sub _merge
{
	my ($refs, @offsets) = @_;
	my %stops = map { $_ => int rand 2 } @offsets;

	$stops{ $_->[0] } = $_->[1] foreach @$refs;
	return map { [ $_, $stops{$_} ] } sort { $a <=> $b } keys %stops;
}

# Adds places, chosen at random, to the references of each page.
sub _add_places
{
	my ($index, $name) = @_;
	my $start = $index->{segno} * $index->{segsize};
	my ($first, $last) =
	  map { ($index->{"${_}_lsn"} - $start) / $index->{alignment} + 1 }
	  qw(first last);
	my %begins;

	# Where records begin, as far as the index says so.
	_change_entries($index, sub { $begins{ $_->[0] } = 1 foreach @_; return @_ });
	my @begins = sort { $a <=> $b } keys %begins;
	_change_entries(
		$index,
		sub {
			return _merge(
				\@_,
				map {
					$name eq 'records'
					  ? $begins[ rand @begins ]
					  : $first + int rand($last - $first)
				} 1 .. 3);
		});
	return;
}

# Makes an index that was of another segment, or of another system, look as if it
# was of that of another index.
sub _make_fit
{
	my ($index, $of) = @_;
	my $distance = ($of->{segno} - $index->{segno}) * $of->{segsize};

	$index->{$_} = $of->{$_} foreach @id_fields, qw(directory name);
	$index->{$_} += $distance foreach @lsn_fields;
	return $index;
}

#
# Damage
#

# Each gets the bytes of an index, those of all indexes, and which one it is of
# them, and the same of another system's.  It returns bytes.
my %damages = (
	'a bit flipped' => sub {
		my $bytes = shift;

		vec($bytes, int rand(8 * length $bytes), 1) ^= 1;
		return $bytes;
	},

	# Those of blocks are not looked at before a page is looked up in them.
	'a bit flipped in each block' => sub {
		my $bytes = shift;
		my $at = $header_size;
		my $index = _parse($bytes);

		$at += length $index->{$_} foreach qw(directory name);
		foreach my $block (@{ $index->{blocks} })
		{
			vec($bytes, 8 * $at + int rand(8 * length $block->[1]), 1) ^= 1;
			$at += length $block->[1];
		}
		return $bytes;
	},
	'been cut' => sub {
		my $bytes = shift;

		return substr $bytes, 0, int rand length $bytes;
	},
	'been swapped' => sub {
		my ($bytes, $all, $i) = @_;

		return $all->[ $i ^ 1 ] // $all->[ $i - 1 ];
	},
	'been swapped, and say that they are of that segment' => sub {
		my ($bytes, $all, $i) = @_;

		return $bytes if $i % 4 > 1;
		return _build(
			_make_fit(
				_parse($all->[ $i ^ 1 ] // $all->[ $i - 1 ]),
				_parse($bytes)));
	},
	'come from another system' => sub {
		my ($bytes, $all, $i, $foreign) = @_;

		return $foreign->[ $i % @$foreign ];
	},
	'come from another system, and say that they are of this one' => sub {
		my ($bytes, $all, $i, $foreign) = @_;

		return $bytes if $i % 2 == 0;
		return _build(
			_make_fit(_parse($foreign->[ $i % @$foreign ]), _parse($bytes)));
	},
	'records that do not concern the page, and right checksums' => sub {
		my ($bytes, $all, $i) = @_;
		my $index = _parse($bytes);

		return $bytes if $i % 3 == 0;
		_add_places($index, 'records');
		return _build($index);
	},
	'places where no record begins, and right checksums' => sub {
		my ($bytes, $all, $i) = @_;
		my $index = _parse($bytes);

		return $bytes if $i % 3 == 1;
		_add_places($index, 'places');
		return _build($index);
	},
	'wrong bits of where a page may start, and right checksums' => sub {
		my $index = _parse(shift);

		_change_entries($index, sub { map { [ $_->[0], int rand 2 ] } @_ });
		return _build($index);
	},
	'bits flipped, and right checksums' => sub {
		my $index = _parse(shift);

		foreach my $block (@{ $index->{blocks} })
		{
			vec($block->[1], int rand(8 * length $block->[1]), 1) ^= 1
			  foreach 0 .. 3;
		}
		return _build($index);
	},
	'wrong ends, and right checksums' => sub {
		my ($bytes, $all, $i) = @_;
		my $index = _parse($bytes);

		$index->{ $lsn_fields[ $i % 4 ] } += $i % 8 < 4 ? -8 : 8;
		return _build($index);
	});

our $unseen_damage = 'bits flipped, and right checksums';
our @index_damages = grep { $_ ne $unseen_damage } sort keys %damages;

# Damages all indexes of a server, which are made as they were first: $sound is
# what read_indexes() has returned of that server, and $foreign of another one.
# Sessions should be new ones.
sub damage_indexes
{
	my ($node, $damage, $sound, $foreign) = @_;
	srand(1);
	my @sound = map { $sound->{$_} } sort keys %$sound;
	my @foreign = map { $foreign->{$_} } sort keys %$foreign;

	foreach my $file (index_files($node))
	{
		my $i = grep { $file =~ m{([^/]+)$} && $_ lt $1 } keys %$sound;

		write_file($file,
			$damages{$damage}->($sound[$i], \@sound, $i, \@foreign));
	}
	return;
}

1;
