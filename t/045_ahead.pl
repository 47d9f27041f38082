# Pages are replayed while WAL is still being read, and what a child has
# made of them then is right in the end: if more records come for a page, or an
# image of it, or it is cut off and made again.  A query that ends in the middle
# leaves the child at once.
#
# Seen to fail: "as they are" with images that were made ahead not given along
# with later records; "stopped" with answers used that an image or the end of
# the relation has made outdated; "killed" with records forgotten that were with
# the child; "rows that need a child" with a child still at other pages when the
# first row is returned; "cancelled" and "broken WAL" without the callback for
# the end of resource owners.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
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
walredo.pool_size = 1
walredo.idle_timeout = 0
CONF
$node->start;

# Filler is what nobody asks for, and more than the distance after which a page
# is taken to be quiet.
my $filler = 'INSERT INTO filler SELECT g FROM generate_series(1, 30000) g;';
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLE filler (id int);
CREATE TABLE position AS SELECT pg_current_wal_insert_lsn() AS start_lsn;

-- The first that a child is given: one that stays as it is, and one that is cut
-- off, and made again.
CREATE TABLE calm (id int, text text);
CREATE TABLE cut (id int, text text);
CREATE TABLE plain (id int PRIMARY KEY, text text);
CREATE TABLE hot (id int, value int);
INSERT INTO calm SELECT g, 'calm' FROM generate_series(1, 500) g;
INSERT INTO cut SELECT g, 'first' FROM generate_series(1, 500) g;
$filler
INSERT INTO plain SELECT g, repeat('x', g % 100) FROM generate_series(1, 10000) g;
INSERT INTO hot VALUES (1, 0);
$filler
DELETE FROM cut;
VACUUM cut;
INSERT INTO cut SELECT g, 'second' FROM generate_series(1, 50) g;

-- More records, few and many.
UPDATE plain SET text = text || 'y' WHERE id % 50 = 0;
DO 'BEGIN FOR i IN 1 .. 3000 LOOP UPDATE hot SET value = i; COMMIT; END LOOP; END';
$filler

-- And images.
CHECKPOINT;
UPDATE plain SET text = text || 'z' WHERE id % 200 = 0 AND id < 5000;
DELETE FROM plain WHERE id > 9000;
VACUUM plain;
$filler
ALTER TABLE position ADD end_lsn pg_lsn;
UPDATE position SET end_lsn = pg_current_wal_insert_lsn();
SQL

my $pages = q{walredo_pages_at_all('{calm, cut, plain, plain_pkey, hot}',
	(SELECT end_lsn FROM position))};
my $digest = qq{SELECT md5(string_agg(md5(page), ''
	ORDER BY relation::oid, fork, blkno)) FROM $pages};

#
# As they are
#

my ($requests, $count, $reference) = split /\|/, $node->safe_psql('postgres', <<SQL);
SELECT walredo_stat_reset() \\g /dev/null
CREATE TABLE rebuilt AS SELECT * FROM $pages;
SELECT requests, (SELECT count(*) FROM rebuilt), ($digest) FROM walredo_stat;
SQL
cmp_ok($count, '>', 100, 'there are pages');
cmp_ok($requests, '>', $count, 'some were replayed more than once');
is( $node->safe_psql(
		'postgres', q{
		SELECT relname, blkno
		FROM rebuilt p JOIN pg_class c ON c.oid = relation,
			LATERAL (SELECT CASE relkind WHEN 'i' THEN 'Btree'
				ELSE 'Heap' END AS name) m
		WHERE fork = 'main' AND walredo_page_mask(name, page, blkno)
			IS DISTINCT FROM walredo_page_mask(name,
				get_raw_page(relname, blkno), blkno)}),
	'',
	'pages are as they are');
is( $node->safe_psql(
		'postgres', q{
		SELECT relation, count(*) - pg_relation_size(relation) / 8192
		FROM rebuilt WHERE fork = 'main'
		GROUP BY relation HAVING count(*) <> pg_relation_size(relation) / 8192}),
	'',
	'and all of them');
foreach my $memory ('1MB', '4MB')
{
	is($node->safe_psql('postgres',
			"SET maintenance_work_mem = '$memory'; $digest"),
		$reference, "the same with $memory");
}

#
# A child that answers late
#

my $worker = (workers($node))[0];

# Begins a query with a child that is stopped.
sub begin_stopped
{
	my ($session, $query) = @_;
	my $child = only_child_of($worker);

	stop_process($child);
	begin_query($session, $query);
	return $child;
}

$node->safe_psql('postgres', 'SELECT walredo_ping()');
my $session = session($node);
my $child = begin_stopped($session, $digest);
wait_for_waiting($session);
kill 'CONT', $child;
is(join('', end_query($session)), $reference, 'stopped: the same pages');
is(only_child_of($worker), $child, 'stopped: it is the same child');

# One that dies meanwhile is replaced.
$child = begin_stopped($session, $digest);
wait_for_waiting($session);
kill 'KILL', $child;
is(join('', end_query($session)), $reference, 'killed: the same pages');
isnt(only_child_of($worker), $child, 'killed: it is another child');

#
# Rows one by one
#

# A row asks for a child of its own.  The position is a constant, as only then
# are rows passed on one by one.
my $end_lsn = $node->safe_psql('postgres', 'SELECT end_lsn FROM position');
my $constant = "walredo_pages_at_all('{hot, calm, cut, plain, plain_pkey}', '$end_lsn')";
$child = begin_stopped($session, "SELECT count(*) FROM $constant
	WHERE walredo_page_mask('Heap', page, blkno) IS NOT NULL");
wait_for_waiting($session);
kill 'CONT', $child;
is(join('', end_query($session)), $count, 'rows that need a child, too');

# A query that does not ask for all rows leaves the child to others meanwhile.
run_query($session, "BEGIN; DECLARE pages CURSOR FOR SELECT blkno FROM $constant");
is(join('', run_query($session, 'FETCH 1 FROM pages')), '0', 'the first row');
like($node->safe_psql('postgres', 'SELECT walredo_ping()', timeout => 60),
	qr/^[\d.]+$/, 'rows that are not asked for: the child is free');
is( join('', run_query($session, 'FETCH 2 FROM pages; CLOSE pages; COMMIT')),
	"1\n2", 'the next rows');
is(join('', run_query($session, "SELECT blkno FROM $constant LIMIT 1")),
	'0', 'one row only');
is($node->safe_psql('postgres', "SELECT count(*) FROM $constant"),
	$count, 'rows without columns');

#
# A query that ends in the middle
#

# Cancels the session's query, once it waits for the child.
sub cancel
{
	wait_for_waiting($session);
	$node->safe_psql('postgres',
		"SELECT pg_cancel_backend($session->{backend})");
	return;
}

# The only child must be killed, and another there, although the transaction has
# not been rolled back.
sub ends_in_the_middle
{
	my ($query, $end, $error, $name) = @_;

	run_query($session, 'BEGIN');
	$child = begin_stopped($session, $query);
	$end->();
	like((end_query($session))[1], $error, "$name: error");
	is_gone($child, "$name: the child is killed");
	like($node->safe_psql('postgres', 'SELECT walredo_ping()'),
		qr/^[\d.]+$/, "$name: another session has a child");
	run_query($session, 'ROLLBACK');
	return;
}

ends_in_the_middle($digest, \&cancel, qr/ERROR:  57014: /, 'cancelled');

# In the same session, too.
run_query($session, <<SQL);
CREATE FUNCTION try() RETURNS text LANGUAGE plpgsql AS \$\$
BEGIN
	PERFORM page FROM $pages;
	RETURN 'no error';
EXCEPTION WHEN query_canceled THEN
	RETURN SQLSTATE || ' ' || (walredo_ping() > 0);
END \$\$;
SQL
$child = begin_stopped($session, 'SELECT try()');
cancel();
is(join('', end_query($session)), '57014 true',
	'exception: the next request has a child');
is_gone($child, 'exception: the child is killed');

# A record near the end is broken, so the error comes while WAL is read.
my ($segment, $offset) = split /\|/, $node->safe_psql('postgres', q{
	SELECT pg_walfile_name(w.start_lsn), (w.start_lsn - '0/0') % (16 * 1024 * 1024)
	FROM position p, walredo_wal_records(p.start_lsn, p.end_lsn) w
	WHERE resource_manager = 'Heap'
	ORDER BY w.start_lsn DESC OFFSET 100 LIMIT 1});
my $file = $node->data_dir . "/pg_wal/$segment";
my $contents = slurp_file($file);
substr($contents, $offset + 16, 1) ^= "\x10";
open(my $fh, '>:raw', $file) or die "could not open $file: $!";
print $fh $contents;
close $fh;
ends_in_the_middle($digest, sub { },
	qr/no valid WAL record at/, 'broken WAL');

$session->quit;
$node->stop;
done_testing();
