# walredo_verify() of one block says what it says of this block among all of the
# fork, on a server with all sorts of pages, damage and backups; reads no more WAL
# than the page needs; and raises no false alarm while others write.
#
# Seen to fail:
# - when WAL was read backwards without the backups;
# - when the first block of the fork was taken for the one that is asked for;
# - when a block that does not exist gave no row, and no error;
# - when WAL was read from its beginning.

use IPC::Run;
use WalredoTest;

my $node = wal_server(
	'main',
	conf => <<'CONF',
shared_preload_libraries = 'walredo'
CONF
	allows_streaming => 1);
$node->start;

sub query
{
	return $node->safe_psql('postgres', shift);
}

# What is said of each block of some forks that is in the result for the whole
# fork, but not of the block alone, or the other way around.
sub is_the_same
{
	my ($relations, $name, $settings) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $result = query(<<SQL);
@{[$settings // '']}
CREATE TEMP TABLE whole AS
	SELECT relation, f.fork, v.*
	FROM unnest('{$relations}'::regclass[]) relation,
		(VALUES ('main'), ('vm'), ('fsm'), ('init')) f(fork),
		LATERAL walredo_verify(relation, f.fork) v;
CREATE TEMP TABLE one AS
	SELECT w.relation, w.fork, v.*
	FROM whole w, LATERAL walredo_verify(w.relation, w.fork, w.blkno) v
	WHERE w.blkno IS NOT NULL;
SELECT (SELECT count(*) > 0 FROM one), r.*
FROM (
	(SELECT 'whole', * FROM whole WHERE blkno IS NOT NULL
		EXCEPT ALL SELECT 'whole', * FROM one)
	UNION ALL
	(SELECT 'one', * FROM one EXCEPT ALL SELECT 'one', * FROM whole
		WHERE blkno IS NOT NULL)
	UNION ALL
	SELECT status, NULL, NULL, count(*), NULL, NULL, NULL FROM one GROUP BY 1) r;
SQL
	my @rows = split /\n/, $result;

	note $result;
	is(join("\n", grep { !/^t\|\w+\|\|\|\d+\|\|\|$/ } @rows), '', $name);
	return { map { /^t\|(\w+)\|\|\|(\d+)/ ? ($1 => $2) : () } @rows };
}

#
# All sorts of pages
#

query(<<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE old AS SELECT g AS i, repeat('x', 200) AS p
	FROM generate_series(1, 300) g;
CREATE TABLE t (i int PRIMARY KEY, p text);
INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 1000) g;
CREATE INDEX t_hash ON t USING hash (i);
CREATE INDEX t_gin ON t USING gin ((ARRAY[i, i % 7]));
CREATE TABLE cut AS TABLE t;
CREATE TABLE lost AS TABLE t;
CREATE UNLOGGED TABLE u AS TABLE t;
ALTER TABLE u ADD PRIMARY KEY (i);
CREATE SEQUENCE s;
SELECT nextval('s');
DELETE FROM cut WHERE i > 100;
VACUUM cut;
VACUUM (FREEZE) t;
CHECKPOINT;
SQL
$node->backup('base');
query(<<'SQL');
SELECT pg_switch_wal();
DELETE FROM t WHERE i % 9 = 0;
UPDATE t SET p = 'new' WHERE i % 50 = 1;
INSERT INTO t SELECT g, repeat('y', 200) FROM generate_series(1001, 1500) g;
CHECKPOINT;
SQL
my $relations = 't, t_pkey, t_hash, t_gin, old, cut, u, u_pkey, s, pg_amop';
my $count = is_the_same($relations, 'each block alone as among others');
cmp_ok($count->{ok}, '>', 90, 'there are blocks to be compared');
cmp_ok($count->{unlogged}, '>', 10, 'and blocks that are not logged');

my $base = $node->backup_dir . '/base';
is_the_same($relations, 'with a backup',
	"SET walredo.backup_directory = '$base';");

#
# Damage
#

my %file = map { $_ => path_of($node, 'postgres', $_) } qw(t t_pkey lost);
my $old_page = read_block($base . $1, 3)
  if $file{t} =~ m{(/base/\d+/\d+)$};
my $old_wal = query(<<'SQL');
SELECT pg_walfile_name(start_lsn + 1024 * 1024) FROM walredo_wal_range()
SQL
$node->stop;
overwrite($file{t}, 2 * $page_size + 8100, 'zzz');
write_block($file{t}, 3, $old_page);
write_block($file{t}, 4, "\0" x $page_size);
overwrite($file{t_pkey}, $page_size + 8150, 'xxx');
cut_file($file{lost}, 10);
$node->start;
$count = is_the_same("$relations, lost", 'damage of one block');
cmp_ok($count->{mismatch}, '>', 10, 'there is damage');
like(query("SELECT status, detail FROM walredo_verify('t', 'main', 3)"),
	qr/^mismatch\|A write was lost: /, 'a lost write');
like(
	query("SELECT status, detail FROM walredo_verify('lost', 'main', 12)"),
	qr/^mismatch\|The block is missing: the fork has only 10 blocks/,
	'a block that should be there');
is( query(<<'SQL'),
SELECT blkno, status FROM walredo_verify('t', 'main', 2, '$pg_wal')
SQL
	'2|mismatch',
	'a directory');
is( query(<<'SQL'),
SELECT count(*) FROM
	(SELECT walredo_verify(NULL, 'main', 2)
	UNION ALL SELECT walredo_verify('t', NULL, 2)
	UNION ALL SELECT walredo_verify('t', 'main', NULL::int8)) n
SQL
	0,
	'NULL');

#
# Blocks that are not there
#

foreach my $place (
	[ "'cut', 'main', 100", 100, 'cut' ],
	[ "'cut', 'main', 4294967294", 4294967294, 'cut' ],
	[ "'t', 'vm', 7", 7, 't' ],
	[ "'t', 'init', 0", 0, 't' ],
	[ "'u', 'fsm', 99", 99, 'u' ])
{
	my ($args, $blkno, $relation) = @$place;

	is( value_or_error($node, 'postgres', "SELECT walredo_verify($args)"),
		qq{22023: block number $blkno is out of range for relation "$relation"\n},
		"no such block: $args");
}
foreach my $blkno (-1, 4294967295)
{
	is( value_or_error(
			$node, 'postgres', "SELECT walredo_verify('t', 'main', $blkno)"),
		"22023: invalid block number\nDETAIL:  Block $blkno is not in the range of 0 to 4294967294.\n",
		"no block number: $blkno");
	is( value_or_error(
			$node, 'postgres', "SELECT walredo_page_mask('Heap', walredo_page_at('t', 'main', 0, 'FFFFFFFF/FFFFFFFF'), $blkno)"),
		"22023: invalid block number\nDETAIL:  Block $blkno is not in the range of 0 to 4294967294.\n",
		"no block number of a page to be masked: $blkno");
}

#
# WAL is read back no further than the page needs
#

$node->stop;
overwrite($node->data_dir . "/pg_wal/$old_wal", 1000, 'x' x 600_000);
$node->start;
like(
	error_of($node, 'postgres', "SELECT * FROM walredo_verify('old')"),
	qr/XX001/, 'the whole fork needs WAL that is damaged');
is(query("SELECT status FROM walredo_verify('t', 'main', 3)"),
	'mismatch', 'one block does not');

#
# While others write
#

query(<<'SQL');
CREATE TABLE busy (i int PRIMARY KEY, n int) WITH (fillfactor = 50);
INSERT INTO busy SELECT g, 0 FROM generate_series(1, 500) g;
VACUUM busy;
SQL
my $script = PostgreSQL::Test::Utils::tempdir() . '/busy.sql';
append_to_file($script, <<'SQL');
\set i random(1, 500)
UPDATE busy SET n = n + 1 WHERE i = :i;
VACUUM (TRUNCATE off) busy;
SQL
my ($out, $err) = ('', '');
my $pgbench = IPC::Run::start(
	[
		'pgbench', '-n', '-c', '2', '-T', '6', '-f', $script,
		'-h', $node->host, '-p', $node->port, 'postgres'
	],
	'<', \undef, '>', \$out, '2>', \$err);
my $rounds = 0;
my %wrong;
while (1)
{
	$pgbench->pump_nb;
	last unless $pgbench->pumpable;
	$rounds++;
	$wrong{$_}++ foreach split /\n/, query(<<'SQL');
SELECT r, f, v.* FROM
	(VALUES ('busy', 'main', 1), ('busy', 'main', 3), ('busy', 'vm', 0),
		('busy_pkey', 'main', 1)) b(r, f, n),
	LATERAL walredo_verify(r, f, n) v
WHERE v.status <> 'ok' AND NOT (f = 'vm' AND v.status = 'unverifiable')
SQL
}
$pgbench->finish;
is($pgbench->result(0), 0, 'pgbench has run') or diag $err;
is(join("\n", sort keys %wrong), '', 'no false alarm while others write');
cmp_ok($rounds, '>', 5, 'verified often');
$node->stop;

done_testing();
