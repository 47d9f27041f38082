# What is in WAL besides relations: pages of transaction status, of multixacts
# and of commit timestamps, relation maps and the states of prepared
# transactions.  They are rebuilt by walredo_page_at() from a base copy and WAL,
# and compared with what the server has written.
#
# Seen to fail:
# - when the subtransactions of a commit were set on the page of its own
#   transaction only;
# - when only the first page of a multixact's members was written;
# - when the offset that follows a new multixact's members was not written;
# - when pages had 8 bytes too many.

use PostgreSQL::Test::RecursiveCopy;
use WalredoTest;
use WalredoWorkload;

my @parts = qw(pg_xact pg_multixact pg_commit_ts pg_twophase global base);

my $node = PostgreSQL::Test::Cluster->new('main');
my $data = $node->data_dir;
my $offsets_per_page = offsets_per_page($node);

$node->init;
$node->append_conf('postgresql.conf', WalredoWorkload::conf());

# Just below the ends of pages, so that the workload crosses them
command_ok(
	[
		'pg_resetwal',
		'-x', $clog_per_page * 3 - 150,
		'-m', ($offsets_per_page * 2 - 4) . ',1',
		'-O', $members_per_page * 3 - 7,
		$data
	],
	'start just below page edges');

# The SLRU files that the counters now point into
lengthen_file("$data/pg_xact/0000", 3);
lengthen_file("$data/pg_multixact/offsets/0000", 4);
lengthen_file(
	"$data/pg_multixact/members/"
	  . '0' x ($node->pg_version->major >= 19 ? 15 : 4),
	4);

$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION walredo');
$node->stop;
mkdir "$data/before" or die "mkdir: $!";
PostgreSQL::Test::RecursiveCopy::copypath("$data/$_", "$data/before/$_")
  foreach @parts;
$node->start;

WalredoWorkload::run($node);

# Trees of transactions on several pages
my $tree = WalredoWorkload::subtransactions('trees', 35000, 5);
$node->safe_psql($WalredoWorkload::database, <<SQL);
CREATE TABLE trees (i int);
BEGIN; $tree COMMIT;
BEGIN; $tree ROLLBACK;
BEGIN; $tree PREPARE TRANSACTION 'tree'; COMMIT PREPARED 'tree';
SQL

# Transactions that stay prepared, one from before a checkpoint
foreach my $name ('early', 'late')
{
	$node->safe_psql($WalredoWorkload::database, <<SQL);
BEGIN;
CREATE TABLE $name (i int PRIMARY KEY);
SAVEPOINT a;
INSERT INTO $name SELECT generate_series(1, 100);
PREPARE TRANSACTION '$name';
CHECKPOINT;
SQL
}
$node->stop;
mkdir "$data/after" or die "mkdir: $!";
PostgreSQL::Test::RecursiveCopy::copypath("$data/$_", "$data/after/$_")
  foreach @parts;
my $lsn = checkpoint_lsn($node);
$node->start;

# Rebuilds what a tag names, from the old content and without, and compares.
# Returns whether it has changed at all.
sub check_tag
{
	my ($tag, $file, $blkno) = @_;
	my $base = page_sql("$data/before/$file", $blkno);

	is_page(
		$node,
		"walredo_page_at('$tag'::walredo_tag, '$lsn', $base, NULL)",
		page_sql("$data/after/$file", $blkno),
		$tag);
	return slurp_page("$data/before/$file", $blkno) ne
	  slurp_page("$data/after/$file", $blkno);
}

my %changed;
foreach my $slru ('pg_xact', 'pg_multixact/offsets', 'pg_multixact/members',
	'pg_commit_ts')
{
	foreach my $segment (grep { /^[0-9A-F]+$/ } slurp_dir("$data/after/$slru"))
	{
		my $blocks = (-s "$data/after/$slru/$segment") / $page_size;

		foreach my $blkno (0 .. $blocks - 1)
		{
			$changed{$slru} +=
			  check_tag("slru $slru/$segment blk $blkno",
				"$slru/$segment", $blkno);
		}
	}
	cmp_ok($changed{$slru} // 0, '>=', 2, "$slru: two pages have changed");
}

# Relation maps: the shared one, and one of each database
$changed{relmap} += check_tag('relmap 1664/0', 'global/pg_filenode.map');
foreach my $oid (grep { /^\d+$/ } slurp_dir("$data/after/base"))
{
	# Those of template0 and the like are not in WAL.
	next
	  if slurp_page("$data/before/base/$oid/pg_filenode.map") eq
	  slurp_page("$data/after/base/$oid/pg_filenode.map");
	$changed{relmap} +=
	  check_tag("relmap 1663/$oid", "base/$oid/pg_filenode.map");
}
cmp_ok($changed{relmap}, '>=', 2, 'two relation maps have changed');

my @states = grep { /^[0-9A-F]+$/ } slurp_dir("$data/after/pg_twophase");
is(scalar @states, 2, 'two transactions are prepared');
check_tag('twophase ' . hex($_), "pg_twophase/$_") foreach @states;

# A page that WAL makes needs no base image.
my ($newest) = sort { $b cmp $a }
  grep { /^[0-9A-F]+$/ } slurp_dir("$data/after/pg_xact");
my $newest_blkno = (-s "$data/after/pg_xact/$newest") / $page_size - 1;
is( $node->safe_psql('postgres', <<SQL),
SELECT walredo_page_at('slru pg_xact/$newest blk $newest_blkno', '$lsn')
	= pg_read_binary_file('after/pg_xact/$newest',
		$newest_blkno * $page_size, $page_size)
SQL
	't',
	'a page that WAL makes needs no base image');

# One that WAL does not make needs one.
my $lsn_in_message = plain_lsns($lsn);
like(
	error_of($node, 'postgres',
		"SELECT walredo_page_at('slru pg_xact/0000 blk 2', '$lsn')"),
	qr{22023: cannot rebuild slru pg_xact/0000 blk 2 at \Q$lsn_in_message\E},
	'a page that WAL does not make needs a base image');

$node->stop;
done_testing();
