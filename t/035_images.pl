# Full-page images in records that no server wrote: compressed ones that fill
# less than a page, or more; and those of resource managers that walredo does
# not know.
#
# Seen to fail: "short" and "no byte of other memory" when
# walredo_image_is_short() was always false; "whole" when it was that for pglz,
# too; "foreign" when the child refused all resource managers that it does not
# know, and when the page was not given the LSN; "no image" when the session did
# not look for one.

use WalredoTest;

my $node = wal_server('images', conf => "shared_preload_libraries = 'walredo'");
$node->start;
$node->safe_psql('postgres',
	'CREATE EXTENSION walredo; CREATE EXTENSION pageinspect');

# Pages are long: a byte that comes more often than eight times in a row stands
# once, with how often it does.
sub brief
{
	my $text = shift;

	$text =~ s{([0-9a-f]{2})(\1{8,})}{"<$1*" . (1 + length($2) / 2) . '>'}ge;
	return $text;
}

sub query
{
	return brief(value_or_error($node, 'postgres', shift));
}

sub hex_literal
{
	return "'\\x" . unpack('H*', shift) . "'::bytea";
}

#
# Images that decompress to n bytes, each of them an A
#

sub pglz
{
	my $n = shift;
	my ($bytes, @items) = ('');

	while ($n > 0)
	{
		my $match = $n > 273 ? 273 : $n;

		if (!@items || $match < 3)
		{
			push @items, [ 0, 'A' ];
			$n--;
			next;
		}
		push @items,
		  [ 1,
			$match < 18
			? pack('CC', $match - 3, 1)
			: pack('CCC', 0x0F, 1, $match - 18) ];
		$n -= $match;
	}
	while (my @eight = splice @items, 0, 8)
	{
		my $control = 0;

		$control |= $eight[$_][0] << $_ foreach 0 .. $#eight;
		$bytes .= pack('C', $control) . join '', map { $_->[1] } @eight;
	}
	return $bytes;
}

sub lz4
{
	my $n = shift;
	my $length = sub {
		my $more = shift() - 15;

		return '' if $more < 0;
		return "\xFF" x ($more / 255) . pack('C', $more % 255);
	};
	my $nibble = sub { return $_[0] < 15 ? $_[0] : 15 };

	# One literal, the same again and again, and twelve literals.
	return pack('C', $nibble->($n) << 4) . $length->($n) . 'A' x $n
	  if $n < 20;
	my $match = $n - 13 - 4;
	return pack('C', 0x10 | $nibble->($match)) . "A\x01\x00"
	  . $length->($match) . "\xC0" . 'A' x 12;
}

sub zstd
{
	my $n = shift;

	# A frame with a window of 16 kB, and one block of n times the same.
	return pack('LCC', 0xFD2FB528, 0, 4 << 3)
	  . ($n > 0
		? substr(pack('L', $n << 3 | 1 << 1 | 1), 0, 3) . 'A'
		: "\x01\x00\x00");
}

my %methods = (
	pglz => [ 0x04, \&pglz ],
	lz4 => [ 0x08, \&lz4 ],
	zstd => [ 0x10, \&zstd ]);
my $known = $node->safe_psql('postgres',
	"SELECT enumvals FROM pg_settings WHERE name = 'wal_compression'");
my %block = (spc => 1663, db => 5, rel => 16384, blk => 7);
my $tag = "'rel 1663/5/16384 blk 7'";
my $apply_image = 0x02;

# The page that a whole image is.  One that seems to be new has no LSN.
sub page_of
{
	my ($lsn, $hole_offset, $hole_length) = @_;
	my $page = 'A' x $page_size;

	substr($page, $hole_offset, $hole_length) = "\0" x $hole_length;
	substr($page, 0, 8) = pack 'LL', 0, $lsn
	  if substr($page, 14, 2) ne "\0\0";
	return brief(unpack 'H*', $page);
}

sub images
{
	my $record = shift;

	return query("SELECT image FROM walredo_record_images('0/5000', "
		  . hex_literal($record)
		  . ')');
}

sub applied
{
	my ($base, @records) = @_;

	return query("SELECT walredo_apply($tag, $base, ARRAY["
		  . join(', ',
			map { "walredo_postgres('0/5000', " . hex_literal($_) . ')' }
			  @records)
		  . '])');
}

foreach my $method (sort keys %methods)
{
	next if index($known, $method) < 0;

	my ($info, $compress) = @{ $methods{$method} };

	foreach my $hole ([ 0, 0 ], [ 100, 1 ], [ 24, 8000 ], [ 1, 8191 ])
	{
		my ($hole_offset, $hole_length) = @$hole;
		my $whole = $page_size - $hole_length;
		my %lengths = (
			'nothing' => 0,
			'one' => 1,
			'short' => $whole - 1,
			'whole' => $whole,
			'long' => $whole + 1,
			'very long' => 9000);

		foreach my $what (sort keys %lengths)
		{
			my $n = $lengths{$what};

			# It cuts the last repetition off, and has a whole page then.
			next if $method eq 'pglz' && $what eq 'long';

			my $name = "$method, hole of $hole_length, $what";
			my $record = make_record(
				0, 0xB0,
				[
					{
						%block,
						image => {
							bytes => $compress->($n),
							info => $apply_image | $info |
							  ($hole_length ? 0x01 : 0),
							hole_offset => $hole_offset,
							hole_length => $hole_length
						}
					}
				]);

			if ($n == $whole)
			{
				my $page = page_of(0x5000, $hole_offset, $hole_length);

				is(images($record), "\\x$page", "$name: image");
				is(applied('NULL', $record), "\\x$page", "$name: replay")
				  if $hole_length < 8000;
			}
			else
			{
				# Some bytes cannot be compressed to no byte at all.
				like(
					images($record),
					qr/^XX001: invalid (page image in the )?WAL record that ends at/,
					"$name: image");
				next if $hole_length > 1 || $what eq 'very long';
				like(
					applied('NULL', $record),
					qr/^(58030: wal-redo child failed\n.*(decompresses to less than a page|could not decompress image|cannot be decoded)|XX001)/s,
					"$name: replay");
			}
		}
	}
}

# An image of another block than the one that is asked for.
my @two = (
	{
		%block,
		blk => 6,
		image => { bytes => lz4(8191), info => $apply_image | 0x08 }
	},
	{
		%block, image => { bytes => 'A' x $page_size, info => $apply_image }
	});
SKIP:
{
	skip 'this server has no lz4', 2 if index($known, 'lz4') < 0;
	like(
		applied('NULL', make_record(0, 0xB0, \@two)),
		qr/image of block 0 of the record decompresses to less than a page/,
		'short, of another block: replay');

	# What else the session and the child had in memory must not be shown.
	my $short = make_record(0, 0xB0,
		[ { %block, image => { bytes => lz4(1), info => $apply_image | 0x08 } } ]
	);
	unlike(
		images($short) . applied("'\\x" . '5A' x $page_size . "'", $short),
		qr/[0-9a-f]{2}[0-9a-f<>*]{50}/i,
		'no byte of other memory');
}

#
# Resource managers that walredo does not know
#

my $foreign = 200;
my $raw = { bytes => 'A' x $page_size, info => $apply_image };

is( applied('NULL', make_record($foreign, 0, [ { %block, image => $raw } ])),
	'\\x' . page_of(0x5000, 0, 0),
	'foreign: an image');
is( applied(
		"'\\x" . '5A' x $page_size . "'",
		make_record($foreign, 0x70, [ { %block, image => $raw } ], 'main')),
	'\\x' . page_of(0x5000, 0, 0),
	'foreign: an image, and a base image');
is( applied(
		'NULL',
		make_record(
			$foreign, 0,
			[
				{
					%block,
					image => {
						bytes => 'A' x ($page_size - 1000),
						info => $apply_image | 0x01,
						hole_offset => 200
					}
				}
			])),
	'\\x' . page_of(0x5000, 200, 1000),
	'foreign: an image with a hole');
is( applied(
		'NULL',
		make_record(
			$foreign, 0,
			[
				{ %block, blk => 6 },
				{ %block, image => $raw },
				{ %block, blk => 8, data => 'data' }
			])),
	'\\x' . page_of(0x5000, 0, 0),
	'foreign: an image, among blocks without');
is( applied(
		'NULL',
		make_record(
			$foreign, 0,
			[
				{
					%block,
					image => {
						bytes => "\0" x $page_size,
						info => $apply_image
					}
				}
			])),
	"\\x<00*$page_size>",
	'foreign: an image of a new page has no LSN');
is( query(
		"SELECT walredo_apply('rel 1663/5/16384 fork init blk 7', NULL, ARRAY[walredo_postgres('0/5000', "
		  . hex_literal(
			make_record($foreign, 0, [ { %block, fork => 3, image => $raw } ]))
		  . ')])'),
	'\\x' . page_of(0x5000, 0, 0),
	'foreign: an image of an init fork');
is( images(make_record($foreign, 0, [ { %block, image => $raw } ])),
	'\\x' . page_of(0x5000, 0, 0),
	'foreign: an image, taken out');
is( query(
		"SELECT tag FROM walredo_decode('0/5000', "
		  . hex_literal(
			make_record($foreign, 0,
				[ { %block, image => $raw }, { %block, blk => 8 } ]))
		  . ')'),
	"rel 1663/5/16384 blk 7\nrel 1663/5/16384 blk 8",
	'foreign: decoded');

my $base = "'\\x" . '5A' x $page_size . "'";
my $launches = query('SELECT launches FROM walredo_stat');
foreach my $blocks (
	[ {%block} ],
	[ { %block, flags => 0x40 } ],
	[ { %block, data => 'data' } ],
	[ { %block, blk => 6, image => $raw }, {%block} ],
	[ { %block, image => { %$raw, info => 0 } } ])
{
	like(
		applied($base, make_record($foreign, 0, $blocks)),
		qr/^0A000: cannot replay WAL record of an unknown resource manager\nDETAIL:  The record at 0\/5000 is of the resource manager with ID 200, and has no full-page image of rel 1663\/5\/16384 blk 7\./,
		'foreign: no image');
}
is(query('SELECT launches FROM walredo_stat'),
	$launches, 'foreign: no child was needed to find that out');

# An ID that no resource manager can have.
like(
	applied('NULL', make_record(100, 0, [ { %block, image => $raw } ])),
	qr/resource manager with ID 100, which is not loaded/,
	'an impossible resource manager');

#
# The same in WAL, between records that the server wrote
#

$node->safe_psql('postgres', q{
	CREATE TABLE t (i int);
	INSERT INTO t VALUES (1);
	CHECKPOINT;
	CREATE TABLE range AS SELECT pg_current_wal_insert_lsn() AS start_lsn,
		NULL::pg_lsn AS end_lsn;
	INSERT INTO t VALUES (2);
	INSERT INTO t VALUES (3);
	UPDATE range SET end_lsn = pg_current_wal_insert_lsn();
	SELECT pg_switch_wal();
});
my ($start, $bytes) = split /\|/,
  $node->safe_psql('postgres', q{
	SELECT w.start_lsn, encode(w.rec, 'hex')
	FROM range, walredo_wal_records(range.start_lsn, range.end_lsn) w,
		walredo_record_images(w.end_lsn, w.rec) i
	WHERE i.tag = walredo_tag('t', 'main', 0)
});

my $dir = copy_segments($node->data_dir . '/pg_wal',
	PostgreSQL::Test::Utils::tempdir());

# Makes the record with the image one of an unknown resource manager.
my $record = pack 'H*', $bytes;
substr($record, 17, 1) = pack 'C', $foreign;
overwrite_record($dir, $start, sealed_record($record));

my $range = q{(SELECT start_lsn FROM range), (SELECT end_lsn FROM range), '}
  . $dir . q{'};
is( query(
		"SELECT resource_manager FROM walredo_page_records(walredo_tag('t', 'main', 0), $range)"
	),
	"custom200\nHeap",
	'foreign: it is in WAL');
is( query(
		"SELECT walredo_page_at(walredo_tag('t', 'main', 0), (SELECT end_lsn FROM range), NULL, '$dir') = get_raw_page('t', 0)"
	),
	't',
	'foreign: a page that begins with it');
is( query(
		"SELECT resource_manager, coalesce(description, ''), length(page) FROM walredo_page_history(walredo_tag('t', 'main', 0), $range)"
	) =~ s/off.*\|/...|/r,
	"custom200||8192\nHeap|...|8192",
	'foreign: history');

$node->stop;
done_testing();
