# Writes that are lost on purpose, and that the server then makes the truth by
# logging an image of the old page: walredo_verify_images() finds each of them,
# and nothing else, with the LSNs that the pages had on disk.
#
# A page is copied out of its file, changed by the server and written, and the
# copy is put back when the page is in no buffer any more.  The next change logs
# an image of it.  Buffers are few, so reading a table is enough to have other
# pages leave them.  Pages of which nothing was lost are changed in the same way.
#
# To lose more writes, and others each time:
#	LOST_WRITES=200 LOST_SEED=1 scripts/test t/018_lost_writes.pl
#
# Seen to fail:
# - when an LSN after the expected one was taken for right;
# - when pages that another pass is for were looked at in each;
# - when records that stamp a page were not noted;
# - when a record that names a block twice was compared with itself;
# - when the length of what an image decompresses to was not looked at;
# - when the records that were lost were not counted;
# - when a record of an unknown resource manager was taken for one that is known;
# - without the rules for hint bits, for pages of hash indexes that are built once
#   more, and for generic WAL; and when these pages could be heap pages.

use WalredoTest;

my $rounds_of = 8;
my $wanted = $ENV{LOST_WRITES} // 16;
my $seed = $ENV{LOST_SEED} // 4711;
srand $seed;

my $node;
my $major = PostgreSQL::Test::Cluster->new('any')->pg_version->major;

sub query
{
	return $node->safe_psql('postgres', shift);
}

# Has all other pages leave the buffers.
sub evict
{
	query(<<'SQL');
CHECKPOINT;
SELECT count(*) FROM filler WHERE ctid = ANY (ARRAY(
	SELECT format('(%s,1)', g)::tid FROM generate_series(0, 999) g));
SQL
	return;
}

sub page_lsn
{
	my ($high, $low) = unpack 'LL', shift;

	return sprintf '%X/%X', $high, $low;
}

# What is changed: a block, and SQL that changes it.
my %index_of = (
	btree => [ 'int', 'g', 1 ],
	hash => [ 'int', 'g', 0 ],
	gin => [ 'int[]', 'ARRAY[g]', 1 ],
	gist => [ 'point', 'point(g, g)', 0 ],
	spgist => [ 'point', 'point(g, g)', 1 ],
	brin => [ 'int', 'g', 2 ]);

sub create_tables
{
	query(<<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE filler (p text) WITH (fillfactor = 10);
INSERT INTO filler SELECT repeat('x', 700) FROM generate_series(1, 9000);
CREATE TABLE heap (v int, p text) WITH (fillfactor = 40);
INSERT INTO heap SELECT 0, repeat('h', 300) FROM generate_series(1, 600) g;
CREATE TABLE mapped (v int) WITH (fillfactor = 40);
INSERT INTO mapped SELECT 0 FROM generate_series(1, 600) g;
VACUUM (FREEZE) filler;
VACUUM heap;
VACUUM mapped;
SQL
	foreach my $method (sort keys %index_of)
	{
		my ($type, $value) = @{ $index_of{$method} };
		my $options = $method eq 'gin' ? 'WITH (fastupdate = off)' : '';

		query(<<SQL);
CREATE TABLE t_$method (i $type);
INSERT INTO t_$method SELECT $value FROM generate_series(1, 5) g;
CREATE INDEX i_$method ON t_$method USING $method (i) $options;
SQL
	}
	return;
}

my $next = 100;

sub targets
{
	my @targets;
	my $blocks = query("SELECT pg_relation_size('heap') / 8192");
	my %seen;

	while (keys %seen < 4)
	{
		my $blkno = int rand $blocks;

		next if $seen{$blkno}++;
		push @targets,
		  {
			relation => 'heap',
			fork => 'main',
			blkno => $blkno,
			change => sub {
				return <<SQL;
UPDATE heap SET v = v + 1 WHERE ctid = (SELECT min(ctid) FROM heap
	WHERE ctid > '($blkno,0)' AND ctid < '(@{[$blkno + 1]},0)');
SQL
			}
		  };
	}
	foreach my $method (sort keys %index_of)
	{
		my (undef, $value, $blkno) = @{ $index_of{$method} };

		push @targets,
		  {
			relation => "i_$method",
			fork => 'main',
			blkno => $blkno,
			change => sub {
				return sprintf "INSERT INTO t_$method SELECT %s;",
				  $value =~ s/g/$next++/gre;
			}
		  };
	}
	push @targets,
	  {
		relation => 'mapped',
		fork => 'vm',
		blkno => 0,
		change => sub {
			return <<'SQL';
UPDATE mapped SET v = v + 1 WHERE ctid = (SELECT min(ctid) FROM mapped);
VACUUM mapped;
SQL
		}
	  };
	foreach my $target (@targets)
	{
		$target->{file} = path_of($node, 'postgres', $target->{relation},
			$target->{fork});
	}
	return @targets;
}

sub change
{
	my ($times, @targets) = @_;

	foreach my $target (@targets)
	{
		query($target->{change}->()) for 1 .. $times->();
	}
	return;
}

# The rows that there should be: tag, LSN of the page that came back, and of the
# one that was lost.
my @expected;

# Loses up to so many writes, and returns how many.
sub lose
{
	my $count = shift;
	my @targets = targets();
	my @order = sort { $a->[0] <=> $b->[0] } map { [ rand, $_ ] } @targets;
	my @lost;

	evict();
	$_->{old} = read_block($_->{file}, $_->{blkno}) foreach @targets;
	change(sub { return 1 + int rand 8 }, @targets);
	evict();
	foreach my $target (map { $_->[1] } @order)
	{
		my $new = read_block($target->{file}, $target->{blkno});

		page_lsn($new) ne page_lsn($target->{old})
		  or die "$target->{relation} was not changed";
		last if @lost == $count;
		write_block($target->{file}, $target->{blkno}, $target->{old});
		push @lost, join '|',
		  query("SELECT walredo_tag('$target->{relation}', "
			  . "'$target->{fork}', $target->{blkno})"),
		  page_lsn($target->{old}), page_lsn($new);
	}
	change(sub { return 1 }, @targets);
	push @expected, @lost;
	return scalar @lost;
}

sub found
{
	my ($range, $settings) = @_;

	return plain_lsns(query(($settings // '') . <<SQL));
SELECT tag, page_lsn, expected_lsn
FROM walredo_verify_images($range) ORDER BY lsn
SQL
}

my $all = "'0/0', '$open_end'";

foreach my $checksums (0, 1)
{
	my $name = $checksums ? 'with checksums' : 'without checksums';

	$node = wal_server(
		"lost$checksums",
		extra => [
			$checksums ? '--data-checksums'
			: $major >= 18 ? '--no-data-checksums'
			: ()
		],
		conf => <<CONF);
shared_buffers = 512kB
max_wal_size = 10GB
wal_keep_size = 10GB
wal_compression = @{[$checksums ? 'on' : 'off']}
max_parallel_workers_per_gather = 0
CONF
	$node->start;
	create_tables();
	@expected = ();

	my $left = int $wanted / 2;

	while ($left > 0)
	{
		$left -= lose($left < $rounds_of ? $left : $rounds_of);
	}
	is( join("\n", sort split /\n/, found($all)),
		join("\n", sort @expected),
		"$name: all writes that were lost are found, and nothing else, "
		  . "with seed $seed");

	#
	# The details list what walredo_page_records() finds between the LSNs
	#

	is( query(<<SQL),
SELECT count(*), min(v.tag::text), min(v.detail), min(r.detail)
FROM walredo_verify_images($all) v, LATERAL (
	SELECT format('Lost records: %s (%s%s).', count(*),
		array_to_string((array_agg(format('%s %s %s',
			regexp_replace(end_lsn::text, '/0+', '/'), resource_manager,
			record_type) ORDER BY end_lsn))[1:5], ', '),
		CASE WHEN count(*) > 5 THEN format(', and %s more', count(*) - 5) END)
	FROM walredo_page_records(v.tag, CASE WHEN v.page_lsn > '0/1'
		THEN v.page_lsn ELSE '0/0' END, v.expected_lsn)) r(detail)
WHERE NOT v.detail LIKE 'A write was lost: % ' || r.detail
SQL
		'0|||',
		"$name: the records that were lost are listed");

	#
	# More pages than there is memory for: WAL is read several times
	#

	my ($rows, $messages) = ask($node, 'postgres', <<SQL);
SET maintenance_work_mem = '1MB';
SET client_min_messages = debug1;
SELECT tag, page_lsn, expected_lsn FROM walredo_verify_images($all);
SQL
	like($messages, qr/ [2-9] passes/, "$name: several passes");
	is( join("\n", sort split /\n/, plain_lsns($rows)),
		join("\n", sort @expected),
		"$name: several passes find the same");
	$node->stop if $checksums == 0 && !damage_of_other_kinds();
}

#
# Damage of other kinds, where no checksum would show it
#

# Another page came back, and a page of the visibility map that is all zeroes.
sub damage_of_other_kinds
{
	my $start = query('SELECT pg_current_wal_insert_lsn()');
	my $heap = path_of($node, 'postgres', 'heap');
	my $map = path_of($node, 'postgres', 'mapped', 'vm');
	my ($vm_change) =
	  map { $_->{change}->() } grep { $_->{fork} eq 'vm' } targets();
	my $update = 'UPDATE heap SET v = v + 1 WHERE ctid IN (SELECT min(ctid) '
	  . 'FROM heap GROUP BY (ctid::text::point)[0] HAVING '
	  . '(ctid::text::point)[0] = %s)';

	$update = "UPDATE heap SET v = v + 1 WHERE ctid = (SELECT min(ctid) "
	  . "FROM heap WHERE ctid > '(%s,0)' AND ctid < '(%s,0)')";
	query(sprintf $update, 2, 3);
	query(sprintf $update, 1, 2);
	query($vm_change);
	evict();

	my @lsns = map { page_lsn(read_block($heap, $_)) } 1, 2;
	my $map_lsn = page_lsn(read_block($map, 0));

	write_block($heap, 1, read_block($heap, 2));
	write_block($heap, 2, read_block($heap, 3));
	write_block($map, 0, "\0" x $page_size);
	query(sprintf $update, 1, 2);
	query($vm_change);
	is( found("'$start', '$open_end'"),
		query("SELECT walredo_tag('heap', 1)") . "|$lsns[1]|$lsns[0]\n"
		  . query("SELECT walredo_tag('mapped', 'vm', 0)")
		  . "|0/0|$map_lsn",
		'a page of another block, and one of zeroes');
	return 0;
}

#
# Hostile records
#

# Changes a page, and then writes records over those of logical messages in a copy
# of WAL, which are made by a function that gets the LSN of the page.  Returns
# what is said of the images there.
sub verified_with
{
	my $make = shift;
	my $start = query('CHECKPOINT; SELECT pg_current_wal_insert_lsn()');

	query("UPDATE heap SET v = v + 1 WHERE ctid = (SELECT min(ctid) FROM heap WHERE ctid > '(5,0)' AND ctid < '(6,0)')"
	);
	my $lsn = query(<<SQL);
SELECT max(end_lsn)
FROM walredo_page_records(walredo_tag('heap', 5), '$start', pg_current_wal_flush_lsn())
SQL
	my @records = $make->($lsn);

	query("SELECT pg_logical_emit_message(true, '', repeat('m', "
		  . (length($_->('')) - $record_header_size) . '))')
	  foreach @records;

	my $end = query('SELECT pg_current_wal_flush_lsn()');
	my $dir = copy_segments($node->data_dir . '/pg_wal',
		PostgreSQL::Test::Utils::tempdir());

	foreach my $message (split /\n/, query(<<SQL))
SELECT start_lsn, record_length, prev_lsn - '0/0'
FROM walredo_wal_records('$start', '$end')
WHERE resource_manager = 'LogicalMessage'
SQL
	{
		my ($at, $length, $prev) = split /\|/, $message;
		my $make_one = shift @records;
		my $record =
		  $make_one->('x' x ($length - length($make_one->('')) - 2));

		substr($record, 8, 8) = pack 'Q', $prev;
		overwrite_record($dir, $at, sealed_record($record));
	}
	return value_or_error($node, 'postgres',
		"SELECT tag, page_lsn, detail FROM walredo_verify_images('$start', '$end', '$dir')"
	);
}

my ($spc, $db, $rel) = query("SELECT walredo_tag('heap', 5)") =~
  m{rel (\d+)/(\d+)/(\d+) blk 5};
my %block = (spc => $spc, db => $db, rel => $rel, blk => 5);
my $apply = 0x02;
my $fpi_for_hint = 0xA0;
my $fpi = 0xB0;
my $generic = 20;

# The same for one record with some blocks.
sub verified_one
{
	my ($rmid, $info, @blocks) = @_;

	return verified_with(
		sub {
			return sub { return make_record($rmid, $info, \@blocks, shift) }
		});
}

# A page with an LSN, that is not new, and whose special space begins somewhere.
sub image_of
{
	my ($lsn, $special) = @_;
	my ($high, $low) = split m{/}, $lsn;
	my $page = pack('LLSSSSSS',
		hex $high, hex $low, 0, 0, 24, $page_size, $special // $page_size,
		$page_size | 4);

	return {
		bytes => $page . "\0" x ($page_size - length $page),
		info => $apply
	};
}

my $raw = { bytes => 'A' x $page_size, info => $apply };
my %bad = (
	'pglz, short' => [ 0x04, "\0" . 'A' x 8 ],
	'pglz, empty' => [ 0x04, "\0" ],
	'pglz, no start to repeat' => [ 0x04, "\xFF" . "\x0F\x01\xFF" x 8 ],
	'lz4, short' => [ 0x08, "\xA0" . 'A' x 10 ],
	'lz4, broken' => [ 0x08, "\xFF" x 50 ],
	'zstd, short' => [ 0x10, pack('LCC', 0xFD2FB528, 0, 4 << 3) . "\x53\0\0A" ],
	'zstd, broken' => [ 0x10, 'A' x 50 ]);

foreach my $kind (sort keys %bad)
{
	my ($info, $bytes) = @{ $bad{$kind} };

	like(
		verified_one(
			0, $fpi,
			{
				%block, image => { bytes => $bytes, info => $apply | $info }
			}),
		qr/^XX001: invalid page image in the WAL record that ends at .*\nDETAIL:  The image of block 0 cannot be decompressed\./,
		"hostile image: $kind");
}
like(
	verified_one(0, $fpi, { %block, image => $raw }),
	qr{^rel $spc/$db/$rel blk 5\|0*41414141/41414141\|The image was taken of a page with LSN 41414141/41414141, which no record in WAL has given to it; the last one that it got is [0-9A-F/]+\.$},
	'an image with an LSN that the page never had');
like(
	verified_one(
		0, $fpi,
		{
			%block,
			image => {
				bytes => 'A',
				info => $apply | 0x01,
				hole_offset => 1
			}
		}),
	qr{^rel $spc/$db/$rel blk 5\|41/0+\|The image was taken of a page with LSN 41/0, },
	'an image with a hole where the LSN is');
is( verified_with(
		sub {
			my %twice = (%block, image => image_of(shift));

			return
			  sub { return make_record(0, $fpi, [ \%twice, \%twice ], shift) }
		}),
	'',
	'a block that is named twice');
is(verified_one(200, 0, { %block, image => $raw }),
	'', 'an image of an unknown resource manager');

#
# Records that servers write rarely, or when several sessions are at it
#

# A server can log hint bits without giving the page an LSN.  The next image has
# the LSN of that record, or the one of before.
is( verified_with(
		sub {
			my $lsn = shift;
			my $make = sub {
				return make_record(0, $fpi_for_hint,
					[ { %block, image => image_of($lsn) } ], shift);
			};

			return ($make, $make, $make);
		}),
	'',
	'hint bits that are logged, and do not stamp the page');

# A page that was built in memory
is(verified_one(0, $fpi, { %block, image => image_of('0/0', $page_size - 16) }),
	'', 'a page of a hash index that is built once more');
is(verified_one($generic, 0, { %block, image => image_of('0/0') }),
	'', 'a page that an extension has initialized');
like(
	verified_one(0, $fpi, { %block, image => image_of('0/0') }),
	qr{^rel $spc/$db/$rel blk 5\|0/0+\|A write was lost: },
	'a heap page that VACUUM finds empty');

#
# Arguments
#

foreach my $range ("NULL, '0/0'", "'0/0', NULL")
{
	is( value_or_error(
			$node, 'postgres', "SELECT * FROM walredo_verify_images($range)"),
		"22023: start and end LSN must not be null\n",
		"a range of $range");
}
$node->stop;

done_testing();
