# What walredo_repair() refuses, what a dry run leaves alone, what is kept of a
# repair, and how it is undone.
#
# Seen to fail: without each of the refusals; when a dry run did repair; when a
# repair was tried on a standby; when the CRCs of kept files were not compared;
# when undo did not compare the page's LSN, put half a page back only, or kept no
# new page; with LSNs that were kept the wrong way round; when a repair that was
# not finished could be undone; when undo took a page of zeroes to have the LSN of
# its image, or gave that LSN to the page that takes its place; when the ID of a
# file that had been removed was used again;
# when a broken file was an error of the view; when bits of the visibility map stayed
# set that a page of an earlier time has not; when its pages were repaired without
# the table's lock; when checksums in files were not compared; when base images
# were taken although they were older than WAL, or newer; and when files were not
# read, while shared buffers had the page.

use Digest::MD5 qw(md5_hex);
use WalredoSessions;
use WalredoTest;

my $node = wal_server(
	'main',
	allows_streaming => 1,
	has_archiving => 1,
	extra => ['--data-checksums'],
	conf => <<'CONF');
shared_preload_libraries = 'walredo'
max_prepared_transactions = 5
shared_buffers = 16MB
CONF
$node->start;
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;

sub query
{
	return $node->safe_psql('postgres', shift);
}

# What walredo_repair() reports.
sub repair
{
	my ($arguments, $server) = @_;
	my ($stdout, $stderr) = ask($server // $node, 'postgres', <<SQL);
SET client_min_messages = error;
SELECT blkno, status, page_lsn IS NOT NULL, rebuilt_lsn IS NOT NULL, source, detail
FROM walredo_repair($arguments) ORDER BY blkno
SQL
	return $stdout . $stderr;
}

# Changes a file while the server is down.
sub change_files
{
	my $change = shift;

	$node->stop;
	$change->();
	$node->start;
	return;
}

query(<<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLE t (i int PRIMARY KEY, t text);
INSERT INTO t SELECT g, repeat('t', 100) FROM generate_series(1, 500) g;
CREATE TABLE sound AS TABLE t;
CREATE INDEX sound_i ON sound (i);
CREATE UNLOGGED TABLE unlogged (i int PRIMARY KEY);
INSERT INTO unlogged VALUES (1);
CREATE SEQUENCE s;
SELECT nextval('s');
CREATE VIEW v AS TABLE t;
CREATE TABLE parted (i int) PARTITION BY RANGE (i);
CREATE INDEX parted_i ON parted (i);
CREATE TYPE composite AS (i int);
CREATE ROLE owner LOGIN;
CREATE ROLE other LOGIN IN ROLE pg_read_server_files;
CREATE ROLE nobody LOGIN;
GRANT ALL ON SCHEMA public TO owner, other;
SET ROLE owner;
CREATE TABLE owned (i int);
INSERT INTO owned SELECT generate_series(1, 100);
RESET ROLE;
VACUUM t, sound;
SQL

#
# What is refused, and why
#

my %refusals = (
	"'sound', 'fsm', 0" =>
	  'The free space map is not logged. The server does without what is broken in it, and VACUUM makes it anew.',
	"'unlogged', 'main', 0" =>
	  'Unlogged relations are not logged. TRUNCATE makes the relation anew, and so does a crash of the server; REINDEX makes an index anew.',
	"'unlogged_pkey', 'main', 0" =>
	  'Unlogged relations are not logged. TRUNCATE makes the relation anew, and so does a crash of the server; REINDEX makes an index anew.',
	"'s', 'main', 0" =>
	  'A sequence is logged ahead of its use, so that what WAL has is not what it was. Use setval() on it, or create it anew.');
foreach my $arguments (sort keys %refusals)
{
	foreach my $dry_run ('true', 'false')
	{
		is( repair("$arguments, $dry_run"),
			"0|refused|f|f||$refusals{$arguments}",
			"$arguments, $dry_run");
		is( repair($arguments =~ s/, 0$/, NULL, $dry_run/r),
			"|refused|f|f||$refusals{$arguments}",
			"$arguments, $dry_run: all blocks");
	}
}
is( query(<<'SQL'), '0|refused|Temporary tables are not logged. They are gone when their session ends.', 'a temporary table');
CREATE TEMP TABLE passing AS SELECT 1 AS i;
SELECT blkno, status, detail FROM walredo_repair('passing', 'main', 0, false);
SQL
is( query(<<'SQL'), '0|ok', 'the init fork of an unlogged relation is logged');
SELECT blkno, status FROM walredo_repair('unlogged_pkey', 'init', 0, false)
SQL

# An index that is not ready: its build waits for another transaction.
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; UPDATE t SET i = i WHERE i = 1");
my $builder = session($node);
begin_query($builder, 'CREATE INDEX CONCURRENTLY unready ON t (i)');
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_index WHERE indexrelid::regclass::text = 'unready' AND NOT indisready"
) or die 'there is no such index';
is( repair("'unready', 'main', 0, false"),
	'0|refused|f|f||The index is being built concurrently, or this has failed. DROP INDEX or REINDEX is what helps.',
	'an index that is not ready');
query("SELECT pg_cancel_backend($builder->{backend})");
end_query($builder);
$holder->query_safe('ROLLBACK');
is( repair("'unready', 'main', 0, false"),
	'0|refused|f|f||The index is being built concurrently, or this has failed. DROP INDEX or REINDEX is what helps.',
	'... and never will be');
query('DROP INDEX unready');


# Blocks and relations that there are not.
foreach my $case (
	[ "'t', 'main', 100000", qr/ERROR:  22023: block number 100000 is out of range/ ],
	[ "'t', 'main', 100000, false", qr/ERROR:  22023: block number 100000 is out of range/ ],
	[ "'t', 'vm', 7", qr/ERROR:  22023: block number 7 is out of range/ ],
	[ "'t', 'main', -1", qr/ERROR:  22023: invalid block number.*DETAIL:  Block -1 is not in the range/s ],
	[ "'t', 'main', 4294967295", qr/ERROR:  22023: invalid block number.*DETAIL:  Block 4294967295 is not/s ],
	[ "'t', 'side'", qr/ERROR:  22023: invalid fork name.*HINT:  Valid fork names are/s ],
	[ "'v'", qr/ERROR:  42809: cannot repair relation "v".*DETAIL:  This operation is not supported for views/s ],
	[ "'parted'", qr/ERROR:  42809: cannot repair relation "parted".*partitioned tables/s ],
	[ "'parted_i'", qr/ERROR:  42809: cannot repair relation "parted_i".*partitioned indexes/s ],
	[ "'composite'", qr/ERROR:  42809: cannot repair relation "composite".*composite types/s ],
	[ '999999', qr/ERROR:  42P01: relation with OID 999999 does not exist/ ],
	[ "'t', lsn => '0/1'", qr/ERROR:  22023: an LSN or a base image was specified, but no block.*HINT:  Specify one block/s ],
	[ "'t', base => '\\x00'", qr/ERROR:  22023: an LSN or a base image was specified, but no block.*HINT:  Specify one block/s ],
	[ "'t', 'main', 0, base => '\\x00'", qr/unverifiable.*8192|ERROR:  22023: / ])
{
	like(repair($case->[0]), $case->[1], "walredo_repair($case->[0])");
}
is(repair($_), '', "$_: no rows")
  foreach 'NULL', "'t', NULL", "'t', 'main', 0, NULL";

# Who may.
my $allowed = qr/^0\|ok\|t\|t\|[^|]*\|$/;
foreach my $case (
	[ 'nobody', "'owned', 'main', 0", qr/42501: permission denied for function walredo_repair/ ],
	[ 'owner', "'owned', 'main', 0", qr/42501: permission denied for function walredo_repair/ ],
	[ 'other', "'owned', 'main', 0", $allowed ],
	[ 'other', "'owned', 'main', 0, false",
		qr/42501: permission denied to repair relation "owned".*DETAIL:  Only superusers and the owner of the relation may repair it/s ])
{
	my ($role, $arguments, $expected) = @$case;
	my ($stdout, $stderr) = ask($node, 'postgres', <<SQL);
SET ROLE $role;
SELECT blkno, status, page_lsn IS NOT NULL, rebuilt_lsn IS NOT NULL, source, detail
FROM walredo_repair($arguments);
SQL
	like($stdout . $stderr, $expected, "$role: $arguments");
}
query('GRANT pg_read_server_files TO owner');
my ($stdout, $stderr) = ask($node, 'postgres', <<'SQL');
SET ROLE owner;
SELECT status FROM walredo_repair('owned', 'main', 0, false);
SQL
is($stdout . $stderr, 'ok', 'an owner who may read WAL');
like(
	error_of($node, 'postgres', 'SET ROLE nobody; SELECT * FROM walredo_repairs'),
	qr/42501: permission denied for view walredo_repairs/,
	'who may see repairs');
like(
	error_of($node, 'postgres', 'SET ROLE nobody; SELECT walredo_repair_undo(1)'),
	qr/42501: permission denied for function walredo_repair_undo/,
	'who may undo repairs');

# Transactions that may not write.
foreach my $call ("walredo_repair('t', dry_run => false)", 'walredo_repair_undo(1)')
{
	my ($name) = $call =~ /^(\w+)/;

	like(
		error_of($node, 'postgres', "BEGIN READ ONLY; SELECT $call"),
		qr/25006: cannot execute $name\(\) in a read-only transaction/,
		"$call: a read-only transaction");
}
is(query("BEGIN READ ONLY; SELECT count(*) FROM walredo_repair('t')"),
	0, 'a dry run in a read-only transaction');

#
# Pages that are sound
#

foreach my $fork ('main', 'vm')
{
	like(repair("'sound', '$fork', 0, false"), $allowed, "$fork: a sound page");
	is(repair("'sound', '$fork', dry_run => false"), '', "$fork: all are sound");
}
is(query('SELECT count(*) FROM walredo_repairs'), 0, 'nothing is kept of them');
ok(!-e $node->data_dir . '/walredo_repairs', '... nor is there a place for it');

#
# Damage, and a dry run
#

my $file = path_of($node, 'postgres', 't');
my $tree = path_of($node, 'postgres', 't_pkey');
query('CHECKPOINT');
my $lost = read_block($file, 3);
query("UPDATE t SET t = 'new' WHERE ctid >= '(1,0)' AND ctid < '(4,0)'");
query('UPDATE t SET i = i WHERE ctid >= \'(6,0)\'');
my $sum = query('SELECT count(*), sum(i), md5(string_agg(t, \' \' ORDER BY i)) FROM t');
query('VACUUM (FREEZE, TRUNCATE off) t; CHECKPOINT');
my %right;

# Lets the server forget all pages, so that it reads them from the file.
change_files(
	sub {
		%right = map { $_ => read_block($file, $_) } 1 .. 3;

		# one that the server cannot read, and others that it can
		overwrite($file, 1 * $page_size + 5000, "\x55" x 10);
		write_block($file, 2, "\0" x $page_size);
		write_block($file, 3, $lost);
	});
my %damaged = map { $_ => read_block($file, $_) } 1 .. 3;

my $before = slurp_file($file);
my $lsn = query('SELECT pg_current_wal_insert_lsn()');
my @dry = split /\n/, repair("'t'");
is(scalar @dry, 3, 'a dry run: three blocks');
like($dry[0], qr/^1\|repairable\|t\|t\|WAL[^|]*\|The server cannot read it: invalid page in block 1 .*\. \d+ bytes of the page would change\.$/,
	'a page that the server cannot read');
like($dry[1], qr/^2\|repairable\|f\|t\|WAL[^|]*\|.* \d+ bytes of the page would change\.$/,
	'a page of zeroes');
like($dry[2], qr/^3\|repairable\|t\|t\|WAL[^|]*\|.* \d+ bytes of the page would change\.$/,
	'a lost write');
is(repair("'t', 'main', $_"), $dry[ $_ - 1 ], "block $_ alone: the same")
  foreach 1 .. 3;
query('CHECKPOINT');
ok(slurp_file($file) eq $before, 'a dry run: the file is as it was');
is(query('SELECT count(*) FROM walredo_repairs'), 0, 'a dry run: no repair');
ok(!-e $node->data_dir . '/walredo_repairs', 'a dry run: no directory');
is(query(<<SQL), '', 'a dry run: nothing is logged of the table');
SELECT record_type FROM walredo_page_records(walredo_tag('t', 1), '$lsn', '$open_end')
SQL

#
# On a standby
#

$node->wait_for_catchup($standby);
my $copy = path_of($standby, 'postgres', 't');
$standby->stop;
overwrite($copy, 1 * $page_size + 5000, "\x55" x 10);
$standby->start;
foreach my $dry_run ('true', 'false')
{
	like(
		repair("'t', 'main', 1, $dry_run", $standby),
		$dry_run eq 'true'
		? qr/^1\|refused\|t\|t\|WAL[^|]*\|The server cannot read it: .* Recovery is in progress\. Repair the page on the primary, which logs it, or make this standby anew\.$/
		: qr/25006: cannot execute walredo_repair\(\) in a read-only transaction|^1\|refused.*Recovery is in progress/,
		"on a standby, dry_run => $dry_run");
}
like(repair("'t', 'main', 0", $standby), $allowed, 'on a standby: a sound page');
like(
	error_of($standby, 'postgres', 'SELECT walredo_repair_undo(1)'),
	qr/25006: cannot execute walredo_repair_undo\(\) (?:in a read-only transaction|during recovery)/,
	'on a standby: nothing can be undone');

#
# What is kept
#

# A page without its LSN and its checksum, which are new.
sub body
{
	my $page = shift;

	substr($page, 0, 10) = '';
	return $page;
}

sub lsn_of
{
	my $page = shift;

	return sprintf '%X/%X', unpack 'V2', $page;
}

# A repair that is kept, as a list of its columns; contents are bytes.
sub kept
{
	my $id = shift;
	my @columns = split /\|/, query(<<SQL), -1;
SELECT started_at <= finished_at AND finished_at <= now() AND started_at > now() - interval '1 hour',
	role, database, relation, tag, source, page_lsn, rebuilt_lsn, image_lsn,
	undo_of, encode(old_page, 'hex'), encode(new_page, 'hex')
FROM walredo_repairs WHERE id = $id
SQL
	$columns[$_] = pack 'H*', $columns[$_] foreach 10, 11;
	return @columns;
}

my $superuser = query('SELECT current_user');
is(repair("'t', 'main', 1, false"),
	$dry[0] =~ s/repairable/repaired/r =~ s/would change/were changed/r,
	'one block is repaired');
is( repair("'t', 'main', NULL, false"),
	join("\n", @dry[ 1, 2 ]) =~ s/repairable/repaired/gr =~
	  s/would change/were changed/gr,
	'the others are repaired');
is(query('SELECT count(*), sum(i), md5(string_agg(t, \' \' ORDER BY i)) FROM t'),
	$sum, 'rows are what they were');
is(query("SELECT string_agg(id || ' ' || tag::text, ', ' ORDER BY id) = format('1 %s, 2 %s, 3 %s', walredo_tag('t', 1), walredo_tag('t', 2), walredo_tag('t', 3)) FROM walredo_repairs"),
	't', 'three repairs are kept');
foreach my $block (1 .. 3)
{
	my $new = read_block($file, $block);
	my ($times, $role, $database, $relation, $tag, $source, $page_lsn,
		$rebuilt_lsn, $image_lsn, $undo_of, $old_page, $new_page) = kept($block);

	is("$times $role $database $relation '$undo_of'",
		"t $superuser postgres public.t ''", "repair $block: who, and what");
	like($source, qr/^WAL/, "repair $block: from what");
	is($page_lsn, $block == 2 ? '' : lsn_of($damaged{$block}),
		"repair $block: LSN of the page that was there");
	is($rebuilt_lsn, lsn_of($right{$block}),
		"repair $block: LSN of what took its place");
	is($image_lsn, lsn_of($new), "repair $block: LSN of the image");
	ok($old_page eq $damaged{$block}, "repair $block: the old page");
	ok(body($new_page) eq body($new), "repair $block: the new page");
	is_page(
		$node,
		"walredo_page_mask('Heap', pg_read_binary_file('$file', $block * $page_size, $page_size), $block)",
		"walredo_page_mask('Heap', decode('" . unpack('H*', $right{$block}) . "', 'hex'), $block)",
		"repair $block: it is the right one");
}
is(query(<<SQL), 'FPI', 'images are logged');
SELECT DISTINCT record_type FROM walredo_repairs k,
	walredo_page_records(k.tag, k.rebuilt_lsn, k.image_lsn) r WHERE k.image_lsn = r.end_lsn
SQL

#
# Undo
#

# The message of a query, without where it comes from.
sub undo
{
	my ($id, $role, $database) = @_;

	return value_or_error($node, $database // 'postgres',
		"SET ROLE \"@{[$role // $superuser]}\"; SELECT walredo_repair_undo($id)")
	  =~ s/\s+\z//r;
}

my $changed = "\nDETAIL:  The page has been changed since.";
is(undo($_), "42704: repair $_ does not exist", "repair $_ does not exist")
  foreach 0, -1, 4, '9223372036854775807';
is(undo('NULL'), '', 'NULL');
is(undo(1, 'other'),
	"42501: permission denied to repair relation \"t\"\nDETAIL:  Only superusers and the owner of the relation may repair it.",
	'only the owner may undo it');
query('CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', 'CREATE EXTENSION walredo');
is(undo(1, $superuser, 'elsewhere'),
	"55000: cannot undo repair 1\nDETAIL:  The file of the page does not belong to a relation of this database.",
	'undo in another database');

my $reader = session($node);
run_query($reader, 'BEGIN; LOCK TABLE t IN ACCESS SHARE MODE');
is(undo(1), '55P03: canceling statement due to lock timeout',
	'undo of a page that the server could not read does not wait for long for a session that uses the table');
is(query('SELECT count(*) FROM t WHERE i = 1'), 1, '... and leaves it as it is');
end_query($reader);
run_query($reader, 'COMMIT');
is(undo(1), 4, 'undo of a page that the server could not read');
ok(read_block($file, 1) eq $damaged{1}, '... the file has the same bytes again');
like(error_of($node, 'postgres', 'SELECT sum(i) FROM t'),
	qr/XX001: invalid page in block 1/, '... which the server cannot read');
is(join(' ', (kept(4))[ 0, 3, 5, 8, 9 ]), 't public.t repair 1  1', '... and this is kept, too');
is(undo(1), "55000: cannot undo repair 1$changed", '... but not twice');
is(undo(4),
	"55000: cannot undo repair 4\nDETAIL:  It has put back a page that the server cannot read. Repair the page again.",
	'... nor is undo undone');
like(repair("'t', dry_run => false"), qr/^1\|repaired\|/, '... it can be repaired again');
is(query('SELECT count(*), sum(i), md5(string_agg(t, \' \' ORDER BY i)) FROM t'),
	$sum, '... and rows are what they were');

is(undo(3), 6, 'undo of a page that the server could read');
query('CHECKPOINT');
ok(body(read_block($file, 3)) eq body($lost), '... the file has its bytes again');
isnt(query('SELECT count(*), sum(i), md5(string_agg(t, \' \' ORDER BY i)) FROM t'),
	$sum, '... and so has the server');
my @undone = kept(6);
is(join(' ', @undone[ 0, 3, 5, 9 ]), 't public.t repair 3 3', '... and this is kept, too');
is($undone[8], lsn_of(read_block($file, 3)), '... with the LSN of the image');
ok($undone[11] eq $damaged{3}, '... and the page that was put back');
is(undo(3), "55000: cannot undo repair 3$changed", '... but not twice');
is(undo(6), 7, '... undo can be undone');
is(query('SELECT count(*), sum(i), md5(string_agg(t, \' \' ORDER BY i)) FROM t'),
	$sum, '... and rows are what they were');

is(undo(2), 8, 'undo of a page of zeroes');
query('CHECKPOINT');
ok(read_block($file, 2) eq "\0" x $page_size, '... the file has it again');
is(undo(2), "55000: cannot undo repair 2$changed", '... but not twice');

query("UPDATE t SET t = 'newer' WHERE ctid = (SELECT min(ctid) FROM t WHERE ctid >= '(3,0)')");
is(undo(7), "55000: cannot undo repair 7$changed",
	'a page that has been changed since');
query(<<'SQL');
CREATE TABLE gone AS TABLE sound;
CHECKPOINT;
SQL
my $gone = path_of($node, 'postgres', 'gone');
change_files(sub { write_block($gone, 1, "\0" x $page_size) });
like(repair("'gone', dry_run => false"), qr/^1\|repaired\|/, 'another table');
query('DROP TABLE gone');
is(undo(9),
	"55000: cannot undo repair 9\nDETAIL:  The file of the page does not belong to a relation of this database.",
	'undo of a page of a table that has been dropped');
is((kept(9))[3], 'public.gone', '... whose name is still known');

# Files that are not what they were.
my $directory = $node->data_dir . '/walredo_repairs';
my %content = map { $_ => slurp_file(sprintf '%s/%010d', $directory, $_) } 1 .. 9;

write_file("$directory/0000000009", substr $content{9}, 0, -1);
is(query('SELECT id, finished_at, image_lsn FROM walredo_repairs ORDER BY id DESC LIMIT 1'),
	'9||', 'a note that was not written in full');
is(undo(9), "55000: cannot undo repair 9\nDETAIL:  It was not finished.",
	'... a repair that was not finished');
foreach my $broken (
	'', substr($content{9}, 0, 20),
	substr($content{9}, 0, 5000), $content{8},
	$content{9} =~ s/public/PUBLIC/r, "\xff" x length $content{9})
{
	write_file("$directory/0000000009", $broken);
	my ($stdout, $stderr) = ask($node, 'postgres', 'SELECT id, role, tag, new_page IS NULL FROM walredo_repairs WHERE id >= 8');
	like($stdout, qr/^8\|\w+\|rel [^|]*\|f\n9\|\|\|t$/, 'a file that is broken has a row with its ID');
	like(
		$stderr,
		qr{^[^\n]*WARNING:  XX001: file "walredo_repairs/0000000009" of a repair is broken.*DETAIL:  Its length.*HINT:  Move the file}s,
		'... and a warning');
	like(undo(9), qr{^XX001: file "walredo_repairs/0000000009" of a repair is broken}, '... and is not undone');
}
unlink "$directory/0000000009";
write_file("$directory/$_", 'x') foreach 'README', '12', '0000000010.tmp', '0000000011.old';
is(query('SELECT max(id) FROM walredo_repairs'), 8, 'files with other names');
is(slurp_file("$directory/last_id"), "000000000000000009\n", 'the last ID is known');

#
# An LSN
#

query('CREATE TABLE past (i int, t text); INSERT INTO past SELECT g, 1 FROM generate_series(1, 100) g');
my $past = query('SELECT pg_current_wal_insert_lsn()');
query('UPDATE past SET t = 2 WHERE i <= 50');
my $now = query("SELECT sum(t::int) FROM past");
like(repair("'past', 'main', 0, false"), $allowed, 'a page that is sound');
like(repair("'past', 'main', 0, lsn => '$past'"),
	qr/^0\|repairable\|t\|t\|WAL[^|]*\|.*\d+ bytes of the page would change/,
	'... is not what it was');
my $page = query("SELECT md5(walredo_page_mask('Heap', walredo_page_at('past', 'main', 0, '$past'), 0))");
like(repair("'past', 'main', 0, false, lsn => '$past'"),
	qr/^0\|repaired\|/, '... and becomes that');
is(query("SELECT md5(walredo_page_mask('Heap', get_raw_page('past', 0), 0))"),
	$page, '... the page of that time');
is(query('SELECT max(id) FROM walredo_repairs'), 10, '... and the ID is none that another repair had');
is(query('SELECT sum(t::int) FROM past'), 100, '... with the rows of that time');
like(repair("'past', 'main', 0"), $allowed, '... and is sound');
write_file("$directory/last_id", 'nine');
is(undo(10), 11, '... undo, with a last ID that is broken');
is(query('SELECT sum(t::int) FROM past'), $now, '... puts the newer one back');

# Undo of an undo that has put back a page of zeroes, which has no LSN.
my $links = "SELECT count(*) FROM walredo_verify_images('0/0', '$open_end') WHERE tag = walredo_tag('t', 2)";
my $num_links = query($links);
is(undo(8), 12, 'undo of a repair that made a page of zeroes');
query('CHECKPOINT');
ok(body(read_block($file, 2)) eq body((kept(2))[11]), '... the file has the page that was there');
is((kept(12))[6], '', '... what it has replaced had no LSN');
is(query($links), $num_links, '... and its image continues what WAL has');
is(query("SELECT status FROM walredo_verify('t', 'main', 2)"), 'ok', '... and the page agrees with WAL');
is(undo(12), 13, '... the page of zeroes once more');
is(undo(13), 14, '... and the other page once more');
is(undo(13), "55000: cannot undo repair 13$changed", '... but not twice');
is(undo(12), "55000: cannot undo repair 12$changed", '... nor by another ID');

# A page of a time when not all of its rows were known to be visible.
query(<<'SQL');
CREATE EXTENSION pg_visibility;
CREATE TABLE visible AS SELECT g AS i FROM generate_series(1, 100) g;
SQL
$past = query('SELECT pg_current_wal_insert_lsn()');
query('UPDATE visible SET i = 0 WHERE i = 1');
query('VACUUM visible');
my $bits = "SELECT all_visible, pd_all_visible FROM pg_visibility('visible', 0)";
is(query($bits), 't|t', 'all rows of a page are visible');
like(repair("'visible', 'main', 0, false, lsn => '$past'"), qr/^0\|repaired\|/, '... and it becomes an older one');
is(query($bits), 'f|f', '... so its bits in the visibility map are cleared');
is(query("SELECT count(*) FROM pg_check_visible('visible')"), 0, '... and it does not say too much');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $bits), 'f|f', '... nor does that of a standby');

# A page of the visibility map, while another session changes the table.
query('CREATE TABLE mapped AS TABLE visible; VACUUM mapped');
my $map = path_of($node, 'postgres', 'mapped', 'vm');
change_files(sub { overwrite($map, 24, "\x0f") });
my $writer = session($node);
run_query($writer, 'BEGIN; UPDATE mapped SET i = 0 WHERE i = 1');
like(repair("'mapped', 'vm', 0"), qr/^0\|repairable\|/, 'a dry run does not wait for a session that changes the table');
like(repair("'mapped', 'vm', 0, false"), qr/ERROR:  55P03: canceling statement due to lock timeout/,
	'a page of the visibility map is not repaired meanwhile');
run_query($writer, 'COMMIT');
like(repair("'mapped', 'vm', 0, false"), qr/^0\|repaired\|/, '... but afterwards');
is(query("SELECT count(*) FROM pg_check_visible('mapped')"), 0, '... and has no bit that it should not have');

like(repair("'past', 'main', 0, lsn => '0/1'"), qr/unverifiable|out of range|refused/,
	'a time before there was WAL');

#
# A base, and WAL with a gap
#

query('CREATE TABLE old AS SELECT g AS i, 1 AS j FROM generate_series(1, 100) g; CHECKPOINT');
my $old = path_of($node, 'postgres', 'old');

# The first of three segments has an image of the page, the others have changes.
query('UPDATE old SET j = 2 WHERE i < 10');
query('SELECT pg_switch_wal(); UPDATE old SET j = 3 WHERE i < 5');
my $base = query("SELECT get_raw_page('old', 0)");
query('SELECT pg_switch_wal(); UPDATE old SET j = 4 WHERE i < 3');
my $sum_old = query('SELECT sum(i * j) FROM old');
query('CHECKPOINT; SELECT pg_switch_wal()');
my @used = split /\n/, query(<<'SQL');
SELECT DISTINCT pg_walfile_name(start_lsn)
FROM walredo_page_records(walredo_tag('old', 0), '0/0', 'FFFFFFFF/FFFFFFFF') ORDER BY 1
SQL
@used = @used[ -3 .. -1 ];
$standby->stop;
my $archive = $node->archive_dir;
$node->append_conf('postgresql.conf', <<'CONF');
wal_keep_size = 0
min_wal_size = 2MB
max_wal_size = 2MB
CONF
change_files(sub { overwrite($old, 5000, "\x55" x 10) });
query('SELECT pg_switch_wal()');
wait_until_archived($node, $used[-1]);
query('CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT');
is(query("SELECT count(*) FROM pg_ls_waldir() WHERE name <= '$used[-1]' AND name ~ '^[0-9A-F]{24}\$'"),
	0, 'the server does not have WAL of the page any more');

my $unknown = qr/^0\|unverifiable\|t\|f\|WAL\|The server cannot read it: [^|]*\. WAL, which begins at [^|]*, has no record of the page\.$/;
like(repair("'old', 'main', 0, $_"), $unknown, "dry_run => $_: not known what it should be")
  foreach 'true', 'false';
like(repair("'old', dry_run => false"),
	qr/$unknown/,
	'... nor if all are looked at');
my $with_archive = "'old', 'main', 0, wal_directory => '$archive'";
like(repair($with_archive), qr/^0\|repairable\|t\|t\|WAL from /, 'an archive has it');
foreach my $segment (@used)
{
	my $name = $segment eq $used[0] ? 'the image' : 'a change';

	rename "$archive/$segment", "$archive/lost" or die;
	like(repair("$with_archive, dry_run => false"),
		qr/^0\|unverifiable\|/, "$name is lost: unverifiable");
	like(
		repair("$with_archive, base => '$base'"),
		$segment eq $used[0]
		? qr/^0\|repairable\|t\|t\|base image and WAL\|/
		: qr/^0\|unverifiable\|/,
		"$name is lost, but there is a base");
	rename "$archive/lost", "$archive/$segment" or die;
}
like(repair("'old', 'main', 0, base => '$base'"),
	qr/^0\|unverifiable\|t\|t\|base image and WAL\|The base image is as of \S+, but WAL begins at \S+, so that changes of the page may be missing\.$/,
	'a base that is too old');
ok(read_block($old, 0) =~ /U{10}/, 'the file is still damaged');

# Bases that cannot be.
my $future = $base =~ s/^\\x.{16}/\\xffffff7fffffff7f/r;
foreach my $case (
	[ '\\x00', qr/The page cannot be rebuilt: base image has the wrong length\. A page has 8192 bytes, but the base image has 1\.$/ ],
	[ $future, qr/The page cannot be rebuilt: base image is newer than the LSN asked for\. The base image has LSN 7FFFFFFF\/7FFFFFFF, but WAL ends at / ])
{
	like(repair("$with_archive, dry_run => false, base => '$case->[0]'"),
		qr/^0\|unverifiable\|t\|f\|\|$case->[1]/, 'base ' . substr $case->[0], 0, 20);
}
like(repair("'old', 'main', 0, wal_directory => '/nonexistent'"),
	qr/^0\|unverifiable\|t\|f\|\|The page cannot be rebuilt: could not open directory "\/nonexistent": No such file or directory\.$/,
	'a directory that is not there');

rename "$archive/$used[0]", "$archive/lost" or die;
like(repair("$with_archive, dry_run => false, base => '$base'"),
	qr/^0\|repaired\|t\|t\|base image and WAL\|/, 'repaired from a base and WAL');
is(query('SELECT sum(i * j) FROM old'), $sum_old, '... rows are what they were');

# A page that is damaged in its file, while it is right in shared buffers.
query('SELECT count(*) FROM sound');
query('CHECKPOINT');
my $sound = path_of($node, 'postgres', 'sound');
overwrite($sound, 4000, 'garbage');
my $garbage = read_block($sound, 0);
my $in_file = 'The page in the file has a wrong checksum\. The one in shared buffers is not dirty\.';
like(repair("'sound'$_"), qr/^0\|repairable\|t\|t\|shared buffers\|$in_file$/m, "found in the file: $_")
  foreach '', ", 'main', 0";
ok(read_block($sound, 0) eq $garbage, 'a dry run does not write');
like(repair("'sound', dry_run => false"), qr/^0\|repaired\|t\|t\|shared buffers\|$in_file$/m, 'repaired in the file');
ok(read_block($sound, 0) !~ /garbage/, '... which has the page');
is( query(
		q{SELECT md5(old_page) FROM walredo_repairs ORDER BY id DESC LIMIT 1}),
	md5_hex($garbage),
	'... and what was in it is kept');
like(repair("'sound', 'main', 0"), qr/^0\|ok\|/, 'it is sound');

# A checksum that is wrong in the file only, where nothing else differs.
query('CHECKPOINT');
my $pinner = session($node);
run_query($pinner, "BEGIN; DECLARE c CURSOR FOR SELECT * FROM sound WHERE ctid = '(1,1)'; FETCH c");
my ($checksum) = unpack 'x8 v', read_block($sound, 1);
overwrite($sound, $page_size + 8, pack 'v', $checksum ^ 1);
foreach my $from_disk ('false', 'true')
{
	my ($out, $err) = ask($node, 'postgres', "CALL walredo_check('{sound}', true, $from_disk)");

	if ($from_disk eq 'true')
	{
		like($err, qr/WARNING:  XX001: block 1 of fork "main" of relation "sound" is damaged\nDETAIL:  $in_file/,
			'walredo_check() of the file finds a wrong checksum');
	}
	else
	{
		is($err, '', 'shared buffers have no wrong checksum');
	}
}
is(query('SELECT relation, blkno, found_in, kind FROM walredo_damage'), 'sound|1|disk|contents', '... and has it in the table');
run_query($pinner, 'COMMIT');

# A file that the transaction has made.
$node->append_conf('postgresql.conf', "wal_level = minimal\nmax_wal_senders = 0\narchive_mode = off");
$standby->stop;
$node->restart;
is( query(<<'SQL'), '0|refused|The relation has a new file, which is not logged before the transaction is committed.', 'a file that is not logged yet');
BEGIN;
TRUNCATE owned;
INSERT INTO owned SELECT generate_series(1, 100);
SELECT blkno, status, detail FROM walredo_repair('owned', 'main', 0, false);
ROLLBACK;
SQL
$node->stop;
done_testing();
