# The index of a segment: what is in it, and what happens if it is damaged.
#
# For every page that WAL of a mixed workload changes or ends, the index of each
# segment has the records that walredo_changes_of() finds with a filter of that
# page, in segments of 1 MB as well as of 16 MB; and others only where format.h
# says so.  Every single byte of an index is changed, with and without a look at
# checksums, and lookups neither crash, nor find other records unless checksums
# are not looked at.
#
# test/index_test.c does that.
#
# Seen to fail: the pages' records, each time another way, without the status of
# transactions, the visibility map, ends of relations, ends of databases, the
# second page of pg_xact for a page of pg_commit_ts, with another transaction's
# page, without or with too many of the bits that say where a page may start or
# end, with a search that takes the block before, and without sorting; the changes
# of bytes without checksums of blocks.

use strict;
use warnings;

use File::Spec;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WalredoWorkload;

my $top = "$FindBin::RealBin/..";
my $dir = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir());
chomp(my $include = `pg_config --includedir-server`);

# Builds the module that tests the index.
sub build
{
	my ($name, @options) = @_;
	command_ok(
		[
			$ENV{CC} || 'cc', '-Wall', '-O2', '-fPIC', '-shared',
			'-D_GNU_SOURCE', "-I$include", "-I$top/src", @options,
			'-o', "$dir/$name.so", "$top/test/index_test.c",
			"$top/src/index/builder.c", "$top/src/index/format.c",
			glob("$top/src/wal/*.c"), glob("$top/src/source/*.c"),
			glob("$top/src/record/*.c"), glob("$top/src/progress/*.c"),
			'-Wl,-Bsymbolic', '-lz', '-llz4', '-lzstd'
		],
		"build $name");
}
build('index_test');
build('trusting', '-include', "$top/fuzz/trust_checksums.h");

my ($index, $pages);
foreach my $segsize (1, 16)
{
	# It would take longer with many records and all pages.
	my $every = $segsize == 1 ? 1 : 5;
	my $node = PostgreSQL::Test::Cluster->new("index$segsize");
	$node->init(extra => [ '--wal-segsize', $segsize ]);
	$node->append_conf('postgresql.conf', WalredoWorkload::conf());

	# Transactions of two pages of pg_xact, and of the page of pg_commit_ts that
	# has some of both.
	command_ok([ 'pg_resetwal', '-x', 32500, '-D', $node->data_dir ],
		'set the next transaction ID');
	$node->start;
	WalredoWorkload::run($node);
	$node->safe_psql('postgres', qq{
		CREATE FUNCTION index_check(text, text, int) RETURNS text
			AS '$dir/index_test.so' LANGUAGE C;
		CREATE FUNCTION index_damage(text, bool) RETURNS text
			AS '$dir/index_test.so' LANGUAGE C;
		CREATE FUNCTION index_damage_trusted(text, bool) RETURNS text
			AS '$dir/trusting.so', 'index_damage' LANGUAGE C;
	});

	#
	# What is in it
	#

	my ($rc, $totals, $error) = $node->psql('postgres',
		"SELECT index_check(NULL, '$dir/index$segsize.', $every)");
	is($error, '', "segments of $segsize MB: every page has its records");
	note $totals;
	my %n = split / /, $totals;
	cmp_ok($n{segments}, '>', 1, '... of more than one segment');
	cmp_ok($n{$_}, '>', 1000, "... and of many $_")
	  foreach qw(records pages stops ends);
	cmp_ok($n{refs} - $n{others}, '>', 10000, '... and of many references');
	cmp_ok($n{bytes}, '<', 2 * $n{records} + 1500 * $n{segments},
		'an index is small');

	#
	# What a damaged one leads to
	#

	if ($segsize == 1)
	{
		my ($path) =
		  grep { -s $_ > 5000 && -s $_ < 15000 } sort glob("$dir/index1.*");
		my $before = slurp_file($path);

		(undef, my $outcome, $error) = $node->psql('postgres',
			"SELECT index_damage('$path', true)");
		is($error, '', 'each change of a byte is noticed');
		note $outcome;
		%n = split / /, $outcome;
		cmp_ok($n{bytes}, '>', 2000, '... in an index of some size');
		cmp_ok($n{pages}, '>', 50, '... with many pages');
		is($n{noticed}, $n{bytes}, '... everywhere');
		cmp_ok($n{opened}, '<', $n{bytes} - 100, '... in the header');
		cmp_ok($n{opened}, '>', $n{bytes} / 2, '... and elsewhere');

		(undef, $outcome, $error) = $node->psql('postgres',
			"SELECT index_damage_trusted('$path', false)");
		is($error, '', 'without checksums, nothing bad happens');
		note $outcome;
		%n = split / /, $outcome;
		cmp_ok($n{opened}, '>', $n{bytes} / 2, '... if it can be opened');
		is(slurp_file($path), $before, 'the index is what it was');
	}
	$node->stop;
}

done_testing();
