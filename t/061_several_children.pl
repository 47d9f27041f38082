# Pages of many relations are rebuilt, and compared, by several children at once,
# and are the same as with one.  Only children that are free are used besides the
# first, and none of another role.  One that is killed, or does not answer, costs
# no page, and a query that ends in the middle leaves all of them at once.
#
# Seen to fail: "2 children: used" with a stream that never begins a second
# exchange; "1 child: used" with one that does not look at the setting; "killed:
# pages" and "stopped: pages" with the answers of an exchange that has failed;
# "bob's child lives" if an idle child of another role has to make room.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WalredoProcesses;
use WalredoSessions;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
checkpoint_timeout = 1d
max_wal_size = 10GB
wal_keep_size = 10GB
shared_preload_libraries = 'walredo'
walredo.idle_timeout = 0
CONF
$node->start;

# Many pages, each with many records that wait to the end of WAL, as they come
# in the order of other.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE ROLE bob SUPERUSER;
CREATE TABLE many (id int, other int, text text);
CREATE INDEX many_other ON many (other);
CREATE INDEX many_gin ON many USING gin (string_to_array(text, ' '));
INSERT INTO many SELECT g, g * 7919 % 30000, 'word' || g % 100
	FROM generate_series(1, 30000) g;
UPDATE many SET text = text || ' word' || id % 30 WHERE id % 3 = 0;
DELETE FROM many WHERE id % 7 = 0;
VACUUM many;
CREATE TABLE position AS SELECT pg_current_wal_insert_lsn() AS end_lsn;
SQL

my $relations = q{'{many, many_other, many_gin}'};
my $end_lsn = $node->safe_psql('postgres', 'SELECT end_lsn FROM position');
my $pages = "walredo_pages_at_all($relations, '$end_lsn')";
my $digest = qq{SELECT md5(string_agg(md5(page), ''
	ORDER BY relation::oid, fork, blkno)) FROM $pages};

# What a session uses of children that have answered before, and the result.
sub rebuild_with
{
	my ($children, $query) = @_;

	return $node->safe_psql('postgres',
		"SET walredo.max_parallel_children = $children; $query");
}

# The children of a role that have answered something.
sub used
{
	my $role = shift // 'current_user';

	return split /\n/,
	  $node->safe_psql('postgres', "SELECT pid FROM walredo_children
		WHERE role = $role AND requests > 0 ORDER BY slot");
}

sub set_pool_size
{
	my $size = shift;

	$node->safe_psql('postgres', "ALTER SYSTEM SET walredo.pool_size = $size");
	$node->reload;
	$node->poll_query_until('postgres',
		"SELECT setting = '$size' FROM pg_settings WHERE name = 'walredo.pool_size'")
	  or die 'no reload';
	return;
}

#
# With 1, 2 and 4 of them
#

my $reference = rebuild_with(1, $digest);
is(scalar(used()), 1, '1 child: used');
is( $node->safe_psql(
		'postgres', qq{
		SET walredo.max_parallel_children = 1;
		CREATE TABLE rebuilt AS SELECT * FROM $pages;
		SELECT relname, blkno
		FROM rebuilt p JOIN pg_class c ON c.oid = relation
			JOIN pg_am a ON a.oid = relam,
			LATERAL (SELECT CASE amname WHEN 'heap' THEN 'Heap'
				WHEN 'gin' THEN 'Gin' ELSE 'Btree' END AS name) m
		WHERE fork = 'main' AND walredo_page_mask(name, page, blkno)
			IS DISTINCT FROM walredo_page_mask(name,
				get_raw_page(relname, blkno), blkno)}),
	'',
	'1 child: pages are as they are');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM rebuilt'),
	'>', 500, 'there are many pages');

# Another one is started while there is work for it, and used from then on.
foreach my $children (2, 4)
{
	my $same = 1;

	ok( wait_for
		{
			$same &&= rebuild_with($children, $digest) eq $reference;
			used() == $children;
		},
		"$children children: used");
	ok($same, "$children children: pages");
	is( rebuild_with($children, "SELECT status, count(*) > 0 FROM walredo_verify_all($relations)
			WHERE status <> 'ok' GROUP BY 1"),
		'',
		"$children children: verified");
	is(rebuild_with($children, "SET maintenance_work_mem = '1MB'; $digest"),
		$reference, "$children children: pages with little memory");
	is(scalar(used()), $children, "$children children: and no more");
}

#
# One that fails
#

set_pool_size(2);
my $before = left_before($node);
my $worker = (workers($node))[0];
wait_for { both() == 2 };
my $session = session($node);

# The children, in an order that stays the same.
sub both
{
	my @found = sort { $a <=> $b } children_of($worker);
	return @found;
}

# Begins a query with a child that is stopped, and waits until it is in use.
sub begin_stopped
{
	my $query = shift;
	my $child = (both())[1];

	stop_process($child);
	begin_query($session, $query);
	$node->poll_query_until('postgres',
		"SELECT state = 'busy' FROM walredo_children WHERE pid = $child")
	  or die 'the child is not used';
	wait_for_waiting($session);
	return $child;
}

# Runs queries until two children are there again.
sub start_both
{
	return wait_for
	{
		rebuild_with(2, $digest);
		both() == 2;
	};
}

my $child = begin_stopped($digest);
kill 'CONT', $child;
is(join('', end_query($session)), $reference, 'continued: pages');

$child = begin_stopped($digest);
kill 'KILL', $child;
is(join('', end_query($session)), $reference, 'killed: pages');
is_gone($child, 'killed: it is gone');

# Nobody looks whether it is in use before its time is over: if it were not, it
# would not be gone.
ok(start_both(), 'killed: another one is started');
run_query($session, 'SET walredo.timeout = 1000');
$child = (both())[1];
stop_process($child);
is(join('', run_query($session, $digest)), $reference, 'stopped: pages');
is_gone($child, 'stopped: it is gone');
run_query($session, 'RESET walredo.timeout');

ok(start_both(), 'stopped: another one is started');
my @both = both();
stop_process($_) foreach @both;
begin_query($session, $digest);
wait_for_waiting($session);
kill 'KILL', @both;
is(join('', end_query($session)), $reference, 'both killed: pages');

ok(start_both(), 'both killed: others are started');
$child = begin_stopped($digest);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{backend})");
like((end_query($session))[1], qr/ERROR:  57014/, 'cancelled');
is_gone($child, 'cancelled: the child is gone');

# At several moments, in some of which both children are in use.
my $cancelled = 0;
my $milliseconds;
start_both();
for (1 .. 3)
{
	my $began = time();

	run_query($session, $digest);
	my $took = 1000 * (time() - $began);
	$milliseconds = $took
	  if !defined $milliseconds || $took < $milliseconds;
}
for my $i (1 .. 14)
{
	start_both();
	run_query($session,
		'SET statement_timeout = ' . int(1 + $milliseconds * $i / 15));
	$cancelled++ if (run_query($session, $digest))[1] =~ /ERROR:  57014/;
}
cmp_ok($cancelled, '>', 2, 'cancelled: at several moments');
run_query($session, 'RESET statement_timeout');
ok( $node->poll_query_until(
		'postgres', q{SELECT count(*) = 0 FROM walredo_children
			WHERE state <> 'idle'}),
	'cancelled: no child is held');
is((run_query($session, $digest))[0], $reference, 'cancelled: next query');

#
# Not free
#

# A second child would have to take the place of bob's.
$session->quit;
set_pool_size(1);
wait_for { both() == 1 };
set_pool_size(2);
$node->safe_psql('postgres', 'SET ROLE bob; SELECT walredo_ping()');
my @bobs = used(q{'bob'});
is(scalar(@bobs), 1, "there is a child of bob's");
is(rebuild_with(4, $digest), $reference, "with bob's child: pages");
is(join(' ', used(q{'bob'})), $bobs[0], "bob's child lives");
is(scalar(used()), 1, "and is not used by others");

set_pool_size(1);
wait_for { both() == 1 };
is(rebuild_with(4, $digest), $reference, 'pool of one child: pages');
is(scalar(both()), 1, 'pool of one child: no other');

# Without preloading, a session has one child.
$node->safe_psql('postgres', 'SELECT walredo_ping()');
nothing_is_left($before, 'all of it');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is( rebuild_with(4, "LOAD 'walredo'; $digest"),
	$reference, 'not preloaded: pages');

$node->stop;
done_testing();
