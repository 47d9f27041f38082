# Page images in WAL continue the pages that the records before have made:
# walredo_verify_images() has nothing to say about WAL of servers that lost
# nothing, whatever they did.  That every lost write is found is tested by
# t/018_lost_writes.pl.
#
# With wal_consistency_checking = all, every record has images of its blocks, so
# that nearly every change of a page is checked, and with it what the function
# takes for granted about which record stamps which block.
#
# Seen to fail, each time in one of the tests below:
# - when one of these rules in block_rules was missing: of the heap page of a
#   record that sets bits of the visibility map; of the first page of a hash
#   bucket, each of the three; of overflow pages that are freed; and of splits in
#   GIN indexes;
# - when the page of a GiST index could not have the LSN with which it was built;
# - when the files of a database that is dropped were not forgotten, and when
#   pages that are cut off were not;
# - when settings that are changed while the server is down, after a crash, were
#   not looked at.

use WalredoTest;
use WalredoWorkload;

my $everything = "'0/0', '$open_end'";
my $node;

sub query
{
	my ($sql, $database) = @_;

	return $node->safe_psql($database // 'postgres', $sql);
}

# There is no row, and many images were looked at that continue a page.
sub is_sound
{
	my ($name, $min_links) = @_;
	my ($rows, $messages) = ask($node, 'postgres', <<SQL);
SET client_min_messages = debug1;
SELECT * FROM walredo_verify_images($everything) LIMIT 20;
SQL
	my ($links) = $messages =~ /(\d+) links, \d+ broken/;

	is($rows, '', "$name: no image is broken");
	cmp_ok($links // -1, '>', $min_links, "$name: many images were checked");
	return;
}

sub start_server
{
	my ($name, $conf, %params) = @_;

	$node = wal_server($name,
		conf => WalredoWorkload::conf() . $conf, %params);
	$node->start;
	query('CREATE EXTENSION walredo');
	return;
}

# The server is killed, and started with other settings.
sub crash
{
	$node->stop('immediate');
	$node->append_conf('postgresql.conf', shift);
	$node->start;
	return;
}

sub script
{
	my $file = PostgreSQL::Test::Utils::tempdir() . '/script.sql';

	write_file($file, shift);
	return $file;
}

sub create_load
{
	query(<<'SQL');
CREATE TABLE load (i int, v int, a int[]) WITH (fillfactor = 60);
INSERT INTO load SELECT g, 0, ARRAY[g] FROM generate_series(1, 6000) g;
CREATE INDEX ON load (i);
CREATE INDEX ON load USING hash (i);
CREATE INDEX ON load USING gin (a) WITH (fastupdate = off);
CREATE INDEX ON load USING brin (i);
SQL
	return;
}

# Several sessions write, with checkpoints and VACUUM now and then.  Pages get
# hint bits, from several sessions at once.
sub run_load
{
	my $transactions = shift;
	my $load = script(<<'SQL');
\set i random(1, 3000)
UPDATE load SET v = v + 1 WHERE i = :i;
SELECT count(v) FROM load WHERE i BETWEEN :i AND :i + 100;
DELETE FROM load WHERE i = :i + 3000;
INSERT INTO load VALUES (:i + 3000, 1, ARRAY[:i]);
SQL
	my $maintain = script("VACUUM load;\nCHECKPOINT;\n");

	$node->command_ok(
		[
			'pgbench', '-n', '-c', 4, '-t', $transactions, '-f', "$load\@100",
			'-f', "$maintain\@1", 'postgres'
		],
		'several sessions write');
	return;
}

#
# Without checksums: settings that are switched, crashes, and databases that have
# the number of one that is gone
#

start_server(
	'plain',
	'shared_buffers = 4MB',
	extra => [
		PostgreSQL::Test::Cluster->new('any')->pg_version->major >= 18
		? '--no-data-checksums'
		: ()
	]);
WalredoWorkload::run($node);
create_load();
run_load(300);

# A file that is cut and filled again.  Pages of the index are built in memory.
query(<<'SQL');
BEGIN;
CREATE TABLE cut (p point);
CREATE INDEX ON cut USING gist (p);
INSERT INTO cut SELECT point(g, g) FROM generate_series(1, 2000) g;
TRUNCATE cut;
INSERT INTO cut SELECT point(g, g) FROM generate_series(1, 2000) g;
COMMIT;
SQL

# Both times, pages of the copy have LSNs of the template.
foreach my $strategy (qw(file_copy file_copy wal_log))
{
	query("CREATE DATABASE again OID 100000 STRATEGY $strategy; CHECKPOINT");
	query('CREATE TABLE t (i int); INSERT INTO t VALUES (1)', 'again');
	query('ANALYZE', 'again');
	query('CHECKPOINT; DROP DATABASE again');
}

# Records that set bits of the visibility map stamp the heap page with
# wal_log_hints, but not when they are replayed without.
crash('wal_log_hints = on');
query(<<'SQL');
CREATE TABLE marked AS SELECT 1 AS i;
CHECKPOINT;
SELECT * FROM marked;
UPDATE marked SET i = 2;
VACUUM marked;
SQL
crash('wal_log_hints = off');
query('CHECKPOINT; UPDATE marked SET i = 3');
run_load(300);
crash('wal_log_hints = on');
run_load(300);
crash('full_page_writes = off');
run_load(300);
query('ALTER SYSTEM SET full_page_writes = on');
$node->reload;
run_load(300);
is_sound('without checksums', 3000);

# Files that are made without WAL
crash("wal_level = minimal\nmax_wal_senders = 0");
query(<<'SQL');
BEGIN;
TRUNCATE load;
INSERT INTO load SELECT g, 0, ARRAY[g] FROM generate_series(1, 6000) g;
CREATE TABLE unlogged_yet (p point);
INSERT INTO unlogged_yet SELECT point(g, g) FROM generate_series(1, 5000) g;
CREATE INDEX ON unlogged_yet USING gist (p);
CREATE INDEX ON unlogged_yet USING spgist (p);
COMMIT;
SQL
crash("wal_level = replica");
query('INSERT INTO unlogged_yet SELECT point(g, g) FROM generate_series(1, 500) g'
);
run_load(300);
query('CHECKPOINT; DELETE FROM unlogged_yet WHERE p[0] < 300; VACUUM');
is_sound('with minimal WAL', 3000);
$node->stop;

#
# Images of all records
#

start_server('all', 'wal_consistency_checking = all');
if (query("SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'wal_compression'"
	) eq 't')
{
	query("ALTER SYSTEM SET wal_compression = 'lz4'");
	$node->reload;
}
WalredoWorkload::run($node);
create_load();

# A long chain of pages in a hash index, from which VACUUM removes pages in the
# middle
query(<<'SQL');
CREATE TABLE chained AS SELECT 1 AS i FROM generate_series(1, 6000);
CREATE INDEX ON chained USING hash (i);
DELETE FROM chained WHERE ctid::text LIKE '%0)' OR ctid::text LIKE '%5)'
	OR ctid < '(15,0)';
VACUUM chained;
SQL
run_load(100);
is_sound('with images in all records', 250000);
$node->stop;

#
# With checksums, compressed images, data of logical decoding, and a standby that
# is promoted
#

start_server(
	'primary',
	"wal_level = logical\nwal_compression = on",
	extra => ['--data-checksums'],
	allows_streaming => 1);
create_load();
run_load(200);
$node->backup('backup');

my $primary = $node;
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
WalredoWorkload::run($primary);
run_load(200);
is_sound('with checksums', 2000);
$primary->wait_for_catchup($standby);
$primary->stop('immediate');
$standby->promote;
$node = $standby;
run_load(300);
is_sound('on a standby that was promoted', 1000);

# Without checksums, records that set bits of the visibility map do not stamp the
# heap page any more.
query('CREATE TABLE hinted AS SELECT 1 AS i; CHECKPOINT');
query('SELECT * FROM hinted');
$node->stop;
$node->command_ok([ 'pg_checksums', '--disable', '-D', $node->data_dir ],
	'checksums are disabled');
$node->start;
query(<<'SQL');
CREATE TABLE marked AS SELECT 1 AS i;
CHECKPOINT;
UPDATE marked SET i = 2;
VACUUM marked;
CHECKPOINT;
UPDATE marked SET i = 3;
SQL
is_sound('after checksums were disabled', 1000);
$node->stop;

done_testing();
