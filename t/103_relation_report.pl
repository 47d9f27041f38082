# walredo_relation_report(): the cells of its maps, and its tables, are what
# walredo_verify(), pageinspect and pg_waldump say of the same blocks.
#
# A table is written to by records of several kinds, some of its blocks are
# damaged in the file, and WAL of others is moved away.  Then there is a relation
# of more blocks than a map has cells, and names that are markup.
#
# Seen to fail: without the sizes of images; with all images of a record counted
# for each of its blocks; with only the first block of a record; when records
# that end blocks counted; with the time of the first transaction for all; with
# the status of a cell's last block; with the steps of a scale in another order;
# when blocks that had not been compared were ok; with two rows of one id; with
# an archive without the server's own WAL; without a limit of memory; with a
# name that was not escaped; with a class that has no colour; and with a drawing
# that was too narrow.

use FindBin;
use lib $FindBin::RealBin;

use WalredoBrowser;
use WalredoTest;

my $major = PostgreSQL::Test::Cluster->new('any')->pg_version->major;
my $temp = PostgreSQL::Test::Utils::tempdir_short();
my $node = wal_server(
	'report',
	extra => $major >= 18 ? ['--no-data-checksums'] : [],
	conf => "track_commit_timestamp = on\ntimezone = 'UTC'");

# How statuses are shown: name, class, letter.
my %look_of = (
	ok => [ 'ok', 'k-alive', '' ],
	mismatch => [ 'damaged', 'k-damage', 'D' ],
	unverifiable => [ 'unverifiable', 'k-unknown', '?' ],
	unlogged => [ 'unlogged', 'k-open', 'U' ]);

# The classes of a scale, lowest first.
my @steps = qw(h0 h1 h3 h5 h6 h8);
my %step_of = map { $steps[$_] => $_ } 0 .. $#steps;

sub sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

sub report
{
	my ($arguments) = @_;

	return sql("SELECT walredo_relation_report($arguments)");
}

# What text in a document stands for.
sub unescape
{
	my ($text) = @_;
	my %named = (lt => '<', gt => '>', amp => '&', quot => '"');

	$text =~ s/&(?:#(\d+)|(\w+));/defined $1 ? chr $1 : $named{$2}/eg;
	return $text;
}

# The cells of one of the maps, each with its class, letter, title, and the row
# that it is a link to, if there are any.
sub cells
{
	my ($html, $id) = @_;
	my ($svg) = $html =~ m{<svg [^>]*id="\Q$id\E"[^>]*>(.*?)</svg>}s
	  or return ();
	my @cells;

	while (
		$svg =~ m{
			(?:<a\ href="\#([^"]*)">)?
			<rect\ class="([^"]*)"[^>]*><title>([^<]*)</title></rect>\s*
			(?:<text\ class="on\ mid"[^>]*>([^<]*)</text>)?}gx)
	{
		push @cells,
		  {
			link => $1 // '',
			class => $2,
			title => unescape($3),
			letter => $4 // ''
		  };
	}
	return @cells;
}

# The rows of the table with a caption, each a list of texts.
sub rows
{
	my ($html, $caption) = @_;
	my ($body) =
	  $html =~ m{<caption>\Q$caption\E[^<]*</caption>.*?<tbody>(.*?)</tbody>}s
	  or return ();

	return map {
		[ map { unescape($_) } $_ =~ m{<t[hd][^>]*>(.*?)</t[hd]>}gs ]
	} $body =~ m{<tr[^>]*>(.*?)</tr>}gs;
}

# Every document is XML, every link has a target, and every target is there once.
sub is_sound
{
	my ($html, $what) = @_;
	my (%id, @broken);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$id{$_}++ foreach $html =~ / id="([^"]*)"/g;
	push @broken, grep { ($id{$_} // 0) != 1 } $html =~ / href="#([^"]*)"/g;
	push @broken, grep { $id{$_} != 1 } sort keys %id;
	is("@broken", '', "$what: links have targets");
	unlike($html, qr/<script|\shref="[^#]|\ssrc=|url\([^#]|\@import/,
		"$what: nothing from outside");
	like($html, qr/\A[\t\n\x20-\x7E]*\z/, "$what: plain text");
	cmp_ok(length $html, '<', 2_000_000, "$what: size");

	# The server has the parser of libxml.
	is(sql("SELECT xml_is_well_formed_document(\$html\$$html\$html\$)"),
		't', "$what: XML");
	return;
}

# By block, the bytes of the records that name it, without images, and those of
# its own images, in a range of WAL, and the number of these records, says
# pg_waldump.  And for each of the records, the blocks that it names.
sub waldump
{
	my ($relation, $start_lsn, $end_lsn) = @_;
	my $file = sql(<<SQL);
SELECT format('%s/%s/%s',
	coalesce(nullif(reltablespace, 0), (SELECT dattablespace FROM pg_database
		WHERE datname = current_database())),
	(SELECT oid FROM pg_database WHERE datname = current_database()),
	pg_relation_filenode(oid))
FROM pg_class WHERE oid = '$relation'::regclass
SQL
	my ($out, $err) = run_command(
		[
			'pg_waldump', '--bkp-details',
			'--path' => $node->data_dir . '/pg_wal',
			'--start' => $start_lsn,
			'--end' => $end_lsn,
			'--relation' => $file,
			'--fork' => 'main'
		]);
	my ($own, %bytes, %records, @names);

	foreach my $line (split /\n/, $out)
	{
		if ($line =~ m{len \(rec/tot\):\s*(\d+)/})
		{
			$own = $1;
			push @names, [];
		}
		elsif ($line =~ m{blkref \#\d+: rel \Q$file\E (?:fork main )?blk (\d+)(.*)})
		{
			my ($blkno, $image) = ($1, $2);

			$bytes{$blkno} += $own;
			$records{$blkno}++;
			push @{ $names[-1] }, $blkno;
			next if $image !~ /FPW/;
			$image =~ /hole: offset: \d+, length: (\d+)(?:, compression saved: (\d+))?/
			  or die "cannot read $line";
			$bytes{$blkno} += $page_size - $1 - ($2 // 0);
		}
	}
	return (\%bytes, \%records, [ grep { @$_ > 0 } @names ]);
}

# The map of WAL in a range says what pg_waldump says.
sub is_wal
{
	my ($relation, $start_lsn, $end_lsn) = @_;
	my ($bytes, $records, $names) = waldump($relation, $start_lsn, $end_lsn);
	my $num_names = @$names;
	my $html =
	  report("'$relation', start_lsn => '$start_lsn', end_lsn => '$end_lsn'");
	my @cells = cells($html, 'map-wal');
	my (@got, @want);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok(scalar(keys %$bytes), '>', 10, "$relation: WAL names blocks");
	foreach my $blkno (0 .. $#cells)
	{
		my $num = $records->{$blkno} // 0;

		push @got, $cells[$blkno]->{title};
		push @want,
		  sprintf "block %d: %d bytes in %d record%s", $blkno,
		  $bytes->{$blkno} // 0, $num, $num == 1 ? '' : 's';
	}
	is_deeply(\@got, \@want, "$relation: bytes and records of each block");
	like($html, qr/ of WAL in $num_names records/, "$relation: records");
	is_scale(
		[ map { $_->{class} } @cells ],
		[ map { $bytes->{$_} // 0 } 0 .. $#cells ],
		1, "$relation: shades of WAL");

	# The blocks with the most WAL, the first one first.
	my @most = rows($html, 'Blocks with the most WAL');
	my @sorted = sort { $b <=> $a } values %$bytes;
	splice @sorted, 20;
	is_deeply([ map { $_->[4] } @most ], \@sorted, "$relation: the most WAL");
	is_deeply(
		[ map { [ @$_[ 4, 5 ] ] } @most ],
		[ map { [ $bytes->{ $_->[0] }, $records->{ $_->[0] } ] } @most ],
		"$relation: WAL of these blocks");
	return;
}

# The shades of last changes are those of the legend, from the newest to the
# oldest: the first one that begins at or before the LSN.
sub is_legend
{
	my ($html, $classes, $lsns, $what) = @_;
	my ($legend) = $html =~ m{<h2>Last change</h2>\s*<ul[^>]*>(.*?)</ul>}s;
	my @keys;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	push @keys, [ $1, lsn_to_int($2) ]
	  while $legend =~ m{<rect class="(h\d)".*?<span>since ([0-9A-F/]+)}gs;
	is_deeply(
		[ map { $_->[1] } @keys ],
		[ sort { $b <=> $a } map { $_->[1] } @keys ],
		"$what: legend is in order");
	cmp_ok(scalar(@keys), '==', 5, "$what: legend has steps");
	is_deeply(
		$classes,
		[
			map {
				my $lsn = $_;
				my ($key) = grep { $_->[1] <= $lsn } @keys;
				$key ? $key->[0] : 'h0'
			} @$lsns
		],
		"$what: shades are those of the legend");
	return;
}

# Classes are those of a scale: of two values, the greater one never has the
# lower class, and the lowest class is for those below the first step.  Several
# are in use.
sub is_scale
{
	my ($classes, $values, $first_step, $what) = @_;
	my @order = sort { $values->[$a] <=> $values->[$b] } 0 .. $#$values;
	my $highest = 0;
	my @wrong;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $i (@order)
	{
		my $step = $step_of{ $classes->[$i] } // -1;

		push @wrong, "$i: $classes->[$i]"
		  if $step < $highest || ($step == 0) != ($values->[$i] < $first_step);
		$highest = $step if $step > $highest;
	}
	is("@wrong", '', $what);
	my %used = map { $_ => 1 } @$classes;
	cmp_ok(scalar(keys %used), '>=', 3, "$what: several are in use");
	return;
}

# The map of statuses says what walredo_verify() says.  Returns the number of
# blocks of each status.
sub is_status
{
	my ($html, $arguments, $what) = @_;
	my (@got, @want, %count);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $cell (cells($html, 'map-status'))
	{
		push @got, join '|', @$cell{qw(title class letter)};
	}
	foreach my $row (split /\n/,
		sql("SELECT blkno, status FROM walredo_verify($arguments) ORDER BY 1"))
	{
		my ($blkno, $status) = split /\|/, $row;
		my ($name, $class, $letter) = @{ $look_of{$status} };

		push @want, "block $blkno: $name|$class|$letter";
		$count{$status}++;
	}
	is_deeply(\@got, \@want, "$what: status of each block");
	foreach my $status (sort keys %count)
	{
		my $blocks = $count{$status} == 1 ? 'block' : 'blocks';

		like($html, qr/>$look_of{$status}->[0]: $count{$status} $blocks</,
			"$what: number of blocks that are $look_of{$status}->[0]");
	}
	return \%count;
}

#
# A table with damage, and without a part of its WAL
#

$node->start;
sql(<<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id int PRIMARY KEY, v text, w int)
	WITH (fillfactor = 80);
INSERT INTO shop.orders SELECT i, repeat('x', 100), 0
	FROM generate_series(1, 8000) AS i;
SELECT pg_switch_wal();
CHECKPOINT;
SQL
my $first_segment =
  sql('SELECT pg_walfile_name(redo_lsn) FROM pg_control_checkpoint()');
my $start_lsn = sql('SELECT pg_current_wal_insert_lsn()');
sql(<<'SQL');
UPDATE shop.orders SET w = 1 WHERE id % 10 = 0 AND id BETWEEN 1000 AND 7000;
UPDATE shop.orders SET w = w + 1 WHERE id BETWEEN 2000 AND 2200;
UPDATE shop.orders SET w = w + 1 WHERE id BETWEEN 2000 AND 2100;
UPDATE shop.orders SET v = v || v WHERE id BETWEEN 3000 AND 3100;
SELECT count(*) FROM (SELECT FROM shop.orders WHERE id < 30 FOR UPDATE) AS locked;
DELETE FROM shop.orders WHERE id BETWEEN 4000 AND 4500;
SET wal_compression = on;
CHECKPOINT;
UPDATE shop.orders SET w = w + 1 WHERE id BETWEEN 5000 AND 5100;
SQL

# Rows that do not fit into pages that are as full as pages should be.
my $long = 'c' x 200;
sql(<<SQL);
COPY shop.orders FROM PROGRAM 'seq -f "%.0f,$long,0" 10001 10400' (DELIMITER ',');
VACUUM shop.orders;
SQL

# The last block with rows.  There may be others after it that are new.
my $last = sql('SELECT max((ctid::text::point)[0]) FROM shop.orders');

# Transactions whose times are known.  Nothing reads the rows later, as that
# could prune their pages.
my @times;
foreach my $id (6001, 6500)
{
	my ($block, $xid) = split /\|/, sql(<<SQL);
UPDATE shop.orders SET w = w + 1 WHERE id = $id
	RETURNING (ctid::text::point)[0], pg_current_xact_id()
SQL

	push @times,
	  [
		$block,
		sql("SELECT extract(epoch FROM pg_xact_commit_timestamp('$xid'))")
	  ];
	sql('SELECT pg_sleep(2.2)') if $id == 6001;
}
sql('CHECKPOINT');
my $end_lsn = sql('SELECT pg_current_wal_flush_lsn()');

is_wal('shop.orders', $start_lsn, $end_lsn);
is_wal('shop.orders_pkey', $start_lsn, $end_lsn);

SKIP:
{
	skip 'pg_get_wal_block_info() is new in PostgreSQL 16', 1 if $major < 16;

	sql('CREATE EXTENSION pg_walinspect');
	my $sums = sql(<<SQL);
SELECT relblocknumber, sum(record_length - images + coalesce(block_fpi_length, 0)),
	count(*)
FROM (SELECT *, sum(coalesce(block_fpi_length, 0)) OVER (PARTITION BY start_lsn) AS images
	FROM pg_get_wal_block_info('$start_lsn', '$end_lsn')) AS blocks
WHERE relfilenode = pg_relation_filenode('shop.orders') AND relforknumber = 0
GROUP BY 1 ORDER BY 1
SQL
	my ($bytes, $records) = waldump('shop.orders', $start_lsn, $end_lsn);
	is( $sums,
		join("\n",
			map { "$_|$bytes->{$_}|$records->{$_}" }
			sort { $a <=> $b } keys %$bytes),
		'pg_walinspect agrees with pg_waldump');
}

my $file = path_of($node, 'postgres', 'shop.orders');
$node->stop;
foreach my $blkno (3, 60)
{
	my $page = read_block($file, $blkno);

	substr($page, 8000, 1) ^= "\x10";
	write_block($file, $blkno, $page);
}
write_block($file, 100, "\0" x $page_size);
cut_file($file, $last);
mkdir "$temp/archive" or die "could not make directory: $!";
foreach my $path (glob $node->data_dir . '/pg_wal/' . '[0-9A-F]' x 24)
{
	my ($name) = $path =~ m{([^/]+)$};

	rename $path, "$temp/archive/$name" if $name lt $first_segment;
}
$node->start;

my $html = report("'shop.orders'");
my $damaged_html = $html;
is_sound($html, 'damaged table');
like($html, qr{<h1>Blocks of shop\.orders</h1>}, 'name');
my $count = is_status($html, "'shop.orders'", 'damaged table');
cmp_ok($count->{$_}, '>', 10, "there are blocks that are $_")
  foreach qw(ok unverifiable);
my @damaged =
  map { [ split /\|/ ] } split /\n/,
  sql("SELECT blkno, page_lsn, detail FROM walredo_verify('shop.orders')
		WHERE status = 'mismatch' ORDER BY 1");
is_deeply(
	[ map { $_->[0] } @damaged ],
	[ 60, 100, $last ],
	'damage is where it was made');
is_deeply(
	[ map { [ plain_lsns($_->[0]), plain_lsns($_->[2]), plain_lsns($_->[6]) ] }
		  rows($html, 'Damaged blocks') ],
	[ map { [ map { plain_lsns($_) } @$_ ] } @damaged ],
	'rows about damaged blocks');

# An unverifiable block is not an intact one, so its reason is given.
is_deeply(
	[ map { [ $_->[0], plain_lsns($_->[3]) ] }
		  rows($html, 'Why blocks are unverifiable') ],
	[ map { [ split /\|/, plain_lsns($_) ] } split /\n/,
		sql("SELECT count(*), detail FROM walredo_verify('shop.orders')
			WHERE status = 'unverifiable' GROUP BY 2 ORDER BY min(blkno)") ],
	'reasons why blocks are unverifiable');
my ($wal_start) = $html =~ m{in \d+ records?, from ([0-9A-F/]+)};
is(segment_name(1, $wal_start), $first_segment, 'where WAL begins');

# Last changes
my %lsn_of = map { split /\|/ } split /\n/, sql(<<SQL);
SELECT b, (page_header(get_raw_page('shop.orders', b))).lsn
FROM generate_series(0, $last - 1) AS b
SQL
my (@got, @want, @classes, @lsns, %time_of);
foreach my $cell (cells($html, 'map-change'))
{
	my ($blkno, $lsn, $time) =
	  $cell->{title} =~ m{^block (\d+): (no LSN|[0-9A-F/]+)(?:, (.*))?$};
	my $want = plain_lsns($lsn_of{$blkno} // '0/0');

	push @got, "$blkno: $lsn";
	push @want, "$blkno: " . ($want eq '0/0' ? 'no LSN' : $want);
	if ($want ne '0/0')
	{
		push @classes, $cell->{class};
		push @lsns, lsn_to_int($want);
	}
	$time_of{$blkno} = $time;
}
is_deeply(\@got, \@want, 'LSN of each page');
is_scale(\@classes, \@lsns, lsn_to_int($wal_start), 'shades of last changes');
is_legend($html, \@classes, \@lsns, 'last changes');
foreach my $known (@times)
{
	my ($blkno, $epoch) = @$known;
	my $shown = sql("SELECT extract(epoch FROM '$time_of{$blkno}'::timestamptz)");

	cmp_ok(abs($shown - $epoch), '<=', 1.001, "time of block $blkno");
}

# With the rest of WAL
$html = report("'shop.orders', wal_directory => '$temp/archive'");
is_sound($html, 'with archive');
$count = is_status($html, "'shop.orders', wal_directory => '$temp/archive'",
	'with archive');
is($count->{unverifiable}, undef, 'with archive: all blocks are compared');
is(join(' ', map { $_->[0] } rows($html, 'Damaged blocks')),
	"3 60 100 $last",
	'with archive: damage is where it was made');


#
# Ranges
#

like(
	report("'shop.orders', start_lsn => '0/100000'"),
	qr{<b>WAL cannot be read\.</b>\s+It was not read from 0/100000 to [0-9A-F]+/[0-9A-F]+: WAL segment &#34;\w+&#34; is missing},
	'WAL is missing');
like(error_of($node, 'postgres', <<SQL), qr/ERROR:  22023: /, 'a wrong range');
SELECT walredo_relation_report('shop.orders', 'main', '$end_lsn', '$start_lsn')
SQL
$html = report("'shop.orders', 'main', '$end_lsn', '$end_lsn'");
is_sound($html, 'empty range');
like($html, qr/0 bytes of WAL in 0 records/, 'empty range has no WAL');
is(scalar(grep { $_->{class} ne 'h0' } cells($html, 'map-wal')),
	0, 'empty range: no shades of WAL');

#
# Relations and forks of other sorts
#

sql(<<'SQL');
CREATE UNLOGGED TABLE passing AS SELECT FROM generate_series(1, 1000);
CREATE TABLE cut AS SELECT i, repeat('x', 1000) FROM generate_series(1, 100) AS i;
DELETE FROM cut WHERE i > 50;
VACUUM cut;
CREATE TABLE none (i int);
CREATE SEQUENCE numbers;
CREATE VIEW seen AS SELECT 1;
SQL
is_deeply(is_status(report("'passing'"), "'passing'", 'unlogged'),
	{ unlogged => 4 }, 'unlogged table');
is_deeply(is_status(report("'numbers'"), "'numbers'", 'sequence'),
	{ unverifiable => 1 }, 'sequence');
$html = report("'shop.orders', 'vm'");
is_sound($html, 'visibility map');
is_status($html, "'shop.orders', 'vm'", 'visibility map');
like((cells($html, 'map-wal'))[0]->{title},
	qr/^block 0: \d+ bytes in \d\d+ records$/,
	'visibility map: records that do not name the page');
$html = report("'none'");
is_sound($html, 'no blocks');
like($html, qr/The fork has no blocks\./, 'no blocks');
$html = report("'cut'");
is_sound($html, 'truncated table');
my $size = sql("SELECT pg_relation_size('cut') / $page_size");
is(scalar(cells($html, 'map-status')), $size, 'truncated table: its blocks');
my (undef, undef, $names) =
  waldump('cut', $end_lsn, sql('SELECT pg_current_wal_flush_lsn()'));
my $gone = grep { grep { $_ >= $size } @$_ } @$names;
cmp_ok($gone, '>', 10, 'truncated table: there are records of other blocks');
like($html,
	qr/<li>$gone records change blocks that the fork does not have any more\./,
	'truncated table: their number');

# Where blocks cannot be compared, the report does not say that they are ok.
sql(<<'SQL');
UPDATE pg_index SET indisready = false
	WHERE indexrelid = 'shop.orders_pkey'::regclass
SQL
$html = report("'shop.orders_pkey'");
is_sound($html, 'unfinished index');
like($html, qr/>The index is being built concurrently, or this has failed\.</,
	'unfinished index: says so');
is( scalar(grep { $_->{title} =~ /: not compared$/ } cells($html, 'map-status')),
	sql("SELECT pg_relation_size('shop.orders_pkey') / $page_size"),
	'unfinished index: no block is compared');
unlike($html, qr/All blocks are ok/, 'unfinished index: not all are ok');
sql(<<'SQL');
UPDATE pg_index SET indisready = true
	WHERE indexrelid = 'shop.orders_pkey'::regclass
SQL
like(report("'cut'"), qr/All blocks are ok\./, 'a table that is ok');
like(error_of($node, 'postgres', "SELECT walredo_relation_report('seen')"),
	qr/ERROR:  42809: cannot verify relation "seen"/, 'view');
like(error_of($node, 'postgres', "SELECT walredo_relation_report('none', 'mian')"),
	qr/ERROR:  22023: invalid fork name/, 'no such fork');
like(error_of($node, 'postgres', "SELECT walredo_relation_report(999999)"),
	qr/ERROR:  42P01: relation with OID 999999 does not exist/, 'no such relation');
is(sql("SELECT walredo_relation_report(NULL) IS NULL"), 't', 'null');

#
# Names that are markup
#

my $evil = q{<script>alert(1)</script>"&amp;'</title>]]>-->} . "\x01\t\xE2\x80\xAE";
(my $quoted = $evil) =~ s/"/""/g;
sql(qq{CREATE TABLE "$quoted" AS SELECT 1 AS i});
(my $literal = $evil) =~ s/'/''/g;
$html = sql(<<SQL);
SELECT walredo_relation_report(oid) FROM pg_class WHERE relname = '$literal'
SQL
is_sound($html, 'name with markup');
like($html, qr/&#60;script&#62;alert\(1\)&#60;&#47;script|&(?:lt|#60);script&(?:gt|#62);alert/,
	'name with markup: is text');
unlike($html, qr/[^\t\n\x20-\x7E]/, 'name with markup: no control characters');

#
# Who may
#

sql('CREATE ROLE regress_nobody; CREATE ROLE regress_reader IN ROLE pg_read_server_files');
like(error_of($node, 'postgres', <<SQL), qr/ERROR:  42501: /, 'who may not');
SET ROLE regress_nobody;
SELECT walredo_relation_report('none');
SQL
like(sql("SET ROLE regress_reader; SELECT walredo_relation_report('none')"),
	qr/The fork has no blocks/, 'who may');

#
# More blocks than cells
#

# They are zeroes, which the server takes for new pages; but for one row, a page
# of other bytes, and damage.
my $many = 100_001;
my $odd = 77_777;
sql('CREATE TABLE large AS SELECT 1 AS i, 2 AS j; CHECKPOINT');
$file = path_of($node, 'postgres', 'large');
$node->stop;
my $row = read_block($file, 0);
truncate($file, $many * $page_size) or die "could not lengthen $file: $!";
write_block($file, $odd, $row);
substr($row, 8188, 1) ^= "\x10";
write_block($file, 0, $row);
$node->start;

$html = report("'large'");
is_sound($html, 'large relation');
my $per_cell = 64;
is_deeply(
	[ map { $_->{title} } cells($html, 'map-status') ],
	[ split /\n/, sql(<<SQL) ],
SELECT format('blocks %s to %s: ', min(blkno), max(blkno)) ||
	concat_ws(', ',
		nullif(count(*) FILTER (WHERE status = 'ok'), 0) || ' ok',
		nullif(count(*) FILTER (WHERE status = 'mismatch'), 0) || ' damaged',
		nullif(count(*) FILTER (WHERE status = 'unverifiable'), 0) || ' unverifiable')
FROM walredo_verify('large') GROUP BY blkno / $per_cell ORDER BY blkno / $per_cell
SQL
	'large relation: each cell is a range of blocks');
my %letters;
$letters{ $_->{letter} }++ foreach cells($html, 'map-status');
is_deeply(
	\%letters,
	{ '' => int(($many - 1) / $per_cell) - 1, 'D' => 1, '?' => 1 },
	'large relation: the gravest status is shown');
like($html, qr/A cell is $per_cell blocks/, 'large relation: says so');
like($html, qr{<a href="#block-$odd"><rect class="k-unknown"},
	'large relation: a cell is a link to the block that matters');
like(error_of($node, 'postgres', <<SQL), qr/ERROR:  54000: /, 'too many blocks');
SET maintenance_work_mem = '1MB';
SELECT walredo_relation_report('large');
SQL

$node->stop;

#
# In a browser
#

SKIP:
{
	skip 'there is no browser', 1 if !has_browser();

	my $browser = WalredoBrowser->new("$temp/browser");
	my $problems = <<'JS';
(() => {
	const all = selector => [...document.querySelectorAll(selector)];
	const box = e => e.getBoundingClientRect();
	const is_seen = e => box(e).width > 2 && box(e).height > 2;
	const fill = e => getComputedStyle(e).fill;
	const wrong = [];

	for (const svg of all('svg.drawing')) {
		const outer = box(svg);
		for (const e of svg.querySelectorAll('rect, text')) {
			const b = box(e);
			if (b.left < outer.left - 1 || b.right > outer.right + 1 ||
				b.top < outer.top - 1 || b.bottom > outer.bottom + 1 || !is_seen(e))
				wrong.push('place of ' + e.outerHTML);
			if (fill(e) === 'rgb(0, 0, 0)' || fill(e) === 'none' || /^url/.test(fill(e)) &&
				!document.querySelector(fill(e).match(/#[\w-]+/)[0]))
				wrong.push('colour of ' + e.outerHTML);
		}
	}
	if (document.documentElement.scrollWidth > innerWidth)
		wrong.push('width ' + document.documentElement.scrollWidth);
	return wrong.slice(0, 3).join('\n');
})()
JS

	my %file_of = (damaged => "$temp/damaged.html", large => "$temp/large.html");
	write_file($file_of{damaged}, $damaged_html);
	write_file($file_of{large}, $html);
	foreach my $name (sort keys %file_of)
	{
		$browser->open_file($file_of{$name});
		foreach my $scheme (qw(light dark))
		{
			$browser->call(
				'Emulation.setEmulatedMedia',
				features =>
				  [ { name => 'prefers-color-scheme', value => $scheme } ]);
			is($browser->evaluate($problems), '', "$name, $scheme: drawn");
		}
		$browser->call(
			'Emulation.setDeviceMetricsOverride',
			width => 420,
			height => 900,
			deviceScaleFactor => 2,
			mobile => JSON::PP::false);
		is($browser->evaluate($problems), '', "$name: on a narrow screen");
		$browser->call('Emulation.clearDeviceMetricsOverride');
		is_deeply([ $browser->messages ], [], "$name: no complaints");
		is_deeply([ $browser->requests ], ["file://$file_of{$name}"],
			"$name: no requests");
	}

	# A link leads to a row, which is shown although it was folded up.
	$browser->open_file($file_of{damaged});
	my $is_open = q{document.querySelector('details').open ? 'yes' : 'no'};
	is($browser->evaluate($is_open), 'no', 'rows are folded up');
	$browser->evaluate(<<'JS');
location.hash = '#' + document.querySelector('details tr[id]').id
JS
	is($browser->evaluate($is_open), 'yes', 'a link shows them');
	$browser->stop;
}
done_testing();
