# walredo_verify(): no false alarm after a workload with all resource managers
# or while others write, and damage is found where it was made.
#
# Seen to fail:
# - when a live page that was changed after WAL was read was compared with
#   the older rebuild;
# - when a page of the visibility map that differs was not looked at again
#   (bits are cleared without a new LSN);
# - when pages were compared without the mask;
# - when a page of zeroes made the mask, and with it the verification, fail;
# - when images that had been replayed early, for want of memory, were left out
#   of what walredo_pages_at() gives;
# - when relations were not locked while WAL was read;
# - when, after a table had got another file, verification went on at the block
#   that it had reached in the old one.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WalredoPages;
use WalredoWorkload;

my $lsn = qr{[0-9A-F]+/[0-9A-F]+};

#
# A whole database after the workload
#

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', WalredoWorkload::conf());
$node->start;
WalredoWorkload::run($node);
my $database = $WalredoWorkload::database;
$node->safe_psql($database, 'CREATE EXTENSION walredo');

# Verified one by one, which is kept for a comparison below, in the same session.
# The detail goes without what varies.  A page without an LSN has never been
# logged: the server makes relations longer without that.
my ($rows, $at_once) = split /^at once\n/m,
  $node->safe_psql($database, <<'SQL');
CREATE TEMP TABLE verified (relation regclass, is_shared bool,
	fork text, blkno bigint, page_lsn pg_lsn, status text, detail text);
CREATE TEMP TABLE relations (relation regclass);
CREATE TEMP TABLE pages (relation regclass, fork text, blkno bigint, page text);
INSERT INTO relations SELECT oid FROM pg_class
	WHERE relkind IN ('r', 'i', 'm', 't') AND oid >= 16384
		AND relpersistence = 'p';
INSERT INTO verified
	SELECT c.oid, c.relisshared, f.fork, v.blkno, v.page_lsn, v.status, v.detail
	FROM pg_class c, (VALUES ('main'), ('fsm'), ('vm'), ('init')) f(fork),
		LATERAL walredo_verify(c.oid, f.fork) v
	WHERE pg_relation_filenode(c.oid) IS NOT NULL
		AND c.relpersistence <> 't';
SELECT status, fork, is_shared, page_lsn IS NULL AS never_logged,
	regexp_replace(detail, '[0-9A-F]+/[0-9A-F]+', '...', 'g') AS detail,
	count(*), count(DISTINCT relation), min(format('%s %s', relation, blkno))
FROM verified
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5;
DELETE FROM verified WHERE fork = 'fsm';

-- All at once: the same, with little memory too, so that pages are rebuilt bit by
-- bit.
\echo at once
SELECT pg_current_wal_insert_lsn() AS lsn \gset
INSERT INTO pages
	SELECT relation, f.fork, p.blkno, md5(p.page)
	FROM relations r, (VALUES ('main'), ('vm'), ('init')) f(fork),
		LATERAL walredo_pages_at(relation, f.fork, :'lsn') p;
SELECT count(*) > 1000, count(DISTINCT fork) FROM verified;
SELECT count(*) > 500, count(DISTINCT fork) > 1 FROM pages;

PREPARE different AS
WITH alone AS (
	SELECT relation, fork, blkno, status FROM verified),
many AS (
	SELECT relation, fork, blkno, status FROM walredo_verify_all())
SELECT (SELECT count(*) FROM (TABLE alone EXCEPT ALL TABLE many) AS missing),
	(SELECT count(*) FROM (TABLE many EXCEPT ALL TABLE alone) AS extra);
PREPARE different_pages AS
WITH many AS (
	SELECT relation, fork, blkno, md5(page)
	FROM walredo_pages_at_all((SELECT array_agg(relation) FROM relations), :'lsn'))
SELECT (SELECT count(*) FROM (TABLE pages EXCEPT ALL TABLE many) AS missing),
	(SELECT count(*) FROM (TABLE many EXCEPT ALL TABLE pages) AS extra);
EXECUTE different;
EXECUTE different_pages;
SET maintenance_work_mem = '1MB';
EXECUTE different;
EXECUTE different_pages;
SQL

my %count;
my @wrong;
foreach my $row (split /\n/, $rows)
{
	my ($status, $fork, $shared, $never_logged, $detail, $blocks) =
	  split /\|/, $row;

	note $row;
	$count{$status} += $blocks;
	next if $status eq 'ok' || $status eq 'unlogged';

	# Nothing else may be unverifiable: creation of the database has put all
	# catalogs but the shared ones into WAL, though not the bits of their
	# visibility maps.
	next
	  if $status eq 'unverifiable'
	  && ( $shared eq 't'
		|| $never_logged eq 't'
		|| $fork eq 'vm' && $detail =~ /has no image of (?:the page|it)|lacks a part of its contents/
		|| $detail =~ /^A sequence is logged ahead of its use/);
	push @wrong, $row;
}
is("@wrong", '', 'no mismatch in the whole database');

is($at_once, "t|3\nt|t\n0|0\n0|0\n0|0\n0|0",
	'one pass for the whole database, and for the pages of many relations');
my ($ret, $stdout, $stderr) = $node->psql($database,
	"SELECT * FROM walredo_verify_all(ARRAY['pg_class', NULL]::regclass[])");
like($stderr, qr/argument "relations" must not contain nulls/,
	'no null among the relations');
is( $node->safe_psql($database,
		"SELECT count(*) - count(DISTINCT (fork, blkno)) FROM walredo_verify_all('{pg_class, pg_class}')"
	),
	0,
	'a relation that is given twice is verified once');
diag(join ', ', map { "$count{$_} blocks $_" } sort keys %count);
cmp_ok($count{ok}, '>', 4000, 'verified blocks');
cmp_ok($count{unlogged}, '>', 0, 'blocks that are not logged');
$node->stop;

#
# While others write
#

$node = PostgreSQL::Test::Cluster->new('busy');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
wal_level = replica
autovacuum_naptime = 1s
autovacuum_vacuum_cost_delay = 0
autovacuum_vacuum_threshold = 10
autovacuum_vacuum_insert_threshold = 10
autovacuum_vacuum_scale_factor = 0
autovacuum_vacuum_insert_scale_factor = 0
checkpoint_timeout = 30s
max_wal_size = 10GB
wal_keep_size = 10GB
shared_buffers = 2MB
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE queue (i serial PRIMARY KEY, t text);
SQL
$node->command_ok(
	[ 'pgbench', '-q', '-i', '-s', '2', 'postgres' ],
	'pgbench makes its tables');

# Besides what pgbench does: a table that grows and is cut again
my $script = PostgreSQL::Test::Utils::tempdir() . '/queue.sql';
append_to_file($script, <<'SQL');
INSERT INTO queue (t) SELECT repeat('q', 500) FROM generate_series(1, 20);
DELETE FROM queue WHERE i < (SELECT max(i) - 100 FROM queue);
SQL
my ($out, $err) = ('', '');
my $pgbench = IPC::Run::start(
	[
		'pgbench', '-n', '-c', '4', '-T', '15',
		'-b', 'tpcb-like@9', '-f', "$script\@1",
		'-h', $node->host, '-p', $node->port, 'postgres'
	],
	'<', \undef, '>', \$out, '2>', \$err);

my $rounds = 0;
my %status;
@wrong = ();
while (1)
{
	$pgbench->pump_nb;
	last unless $pgbench->pumpable;

	# All of them but the largest, which only every third time; one by one or
	# at once.
	$rows = $node->safe_psql('postgres', $rounds % 2 ? <<SQL : <<SQL);
SELECT relation, fork, blkno, page_lsn, status, detail,
	pg_current_wal_insert_lsn()
FROM walredo_verify_all((SELECT array_agg(oid::regclass) FROM pg_class
	WHERE relname ~ '^(pgbench|queue)_?' AND relkind IN ('r', 'i')
		AND (relname !~ 'accounts' OR $rounds % 3 = 0)))
SQL
SELECT c.oid::regclass, f.fork, v.blkno, v.page_lsn, v.status, v.detail,
	pg_current_wal_insert_lsn()
FROM pg_class c, (VALUES ('main'), ('vm')) f(fork),
	LATERAL walredo_verify(c.oid, f.fork) v
WHERE c.relname ~ '^(pgbench|queue)_?' AND c.relkind IN ('r', 'i')
	AND (c.relname !~ 'accounts' OR $rounds % 3 = 0)
SQL
	foreach my $row (split /\n/, $rows)
	{
		my ($rel, $fork, $blkno, $page_lsn, $status) = split /\|/, $row;

		$status{$status}++;
		next if $status eq 'ok';
		next
		  if $status eq 'unverifiable'
		  && ($page_lsn eq '' || $fork eq 'vm');
		push @wrong, $row;
	}
	$rounds++;
}
$pgbench->finish;
is($pgbench->result(0), 0, 'pgbench has run') or diag($err);
my ($transactions) = $out =~ /actually processed: (\d+)/;
is(join("\n", @wrong[0 .. ($#wrong > 4 ? 4 : $#wrong)]),
	'', 'no mismatch while pgbench writes');
diag("$rounds rounds and $transactions transactions: ",
	join ', ', map { "$status{$_} blocks $_" } sort keys %status);
cmp_ok($rounds, '>=', 3, 'verified more than once');
cmp_ok($transactions, '>', 100, 'pgbench was not kept from its work');

#
# Progress
#

my $verifying = $node->background_psql('postgres');
$verifying->query_until(qr/begun/, <<'SQL');
\echo begun
SELECT count(*) FROM generate_series(1, 1000) g,
	LATERAL walredo_verify(('pgbench_accounts' || left(g::text, 0))::regclass);
SQL
foreach my $phase ('reading WAL', 'comparing pages')
{
	ok( $node->poll_query_until('postgres', <<SQL),
SELECT count(*) = 1 FROM walredo_verify_progress
WHERE datname = 'postgres' AND relid = 'pgbench_accounts'::regclass
	AND fork = 'main' AND phase = '$phase'
	AND blocks_total > 1000
	AND blocks_done BETWEEN 0 AND blocks_total
	AND wal_position_lsn BETWEEN wal_start_lsn AND wal_end_lsn
	AND CASE phase WHEN 'reading WAL' THEN blocks_done = 0
		ELSE wal_position_lsn = wal_end_lsn END
SQL
		"progress shows: $phase");
}
$node->safe_psql('postgres', <<'SQL');
SELECT pg_cancel_backend(pid) FROM walredo_verify_progress;
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE query ~ 'generate_series\(1, 1000\)' AND pid <> pg_backend_pid();
SQL
ok( $node->poll_query_until('postgres',
		'SELECT count(*) = 0 FROM walredo_verify_progress'),
	'progress ends with a cancel');
$verifying->{run}->finish;
$node->stop;

#
# Damage
#

sub flip_bit
{
	my ($block, $byte, $bit) = @_;
	vec($block, $byte * 8 + $bit, 1) ^= 1;
	return $block;
}

# The place of the n-th tuple in a page, and where a line pointer is.
sub tuple_offset
{
	my ($block, $n) = @_;
	return unpack('L', substr($block, 20 + 4 * $n, 4)) & 0x7FFF;
}

foreach my $checksums (0, 1)
{
	my $name = $checksums ? 'with checksums' : 'without checksums';
	my $unreadable = qr/^The server cannot read it: invalid page in block/;

	$node = PostgreSQL::Test::Cluster->new("damaged$checksums");
	$node->init(
		extra => $checksums ? ['--data-checksums']
		: $node->pg_version->major >= 18 ? ['--no-data-checksums']
		: []);
	$node->append_conf('postgresql.conf', <<'CONF');
wal_level = replica
autovacuum = off
wal_keep_size = 10GB
CONF
	$node->start;
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE t (i int PRIMARY KEY, t text);
INSERT INTO t SELECT g, repeat(chr(97 + g % 26), 100) FROM generate_series(1, 2000) g;
VACUUM t;
CHECKPOINT;
SQL
	my %file = map {
		my ($rel, $suffix) = split /\//, $_;
		$_ => $node->data_dir . '/'
		  . $node->safe_psql('postgres', "SELECT pg_relation_filepath('$rel')")
		  . ($suffix eq 'main' ? '' : "_$suffix")
	} qw(t/main t/vm t_pkey/main);

	$node->stop;
	my $old_heap = read_block($file{'t/main'}, 7);
	my $old_map = read_block($file{'t/vm'}, 0);
	$node->start;
	$node->safe_psql('postgres', <<'SQL');
UPDATE t SET t = 'new' WHERE ctid >= '(7,1)' AND ctid < '(8,1)';
DELETE FROM t WHERE ctid = '(12,1)';
SQL
	$node->stop;

	# Each time: what, where, its new content, and what is to be said of it.
	# With checksums the server itself notices some of it.
	my $heap = read_block($file{'t/main'}, 4);
	my $leaf = read_block($file{'t_pkey/main'}, 2);
	my @damages = (
		[
			'bit in a row', 't/main', 4,
			flip_bit($heap, tuple_offset($heap, 3) + 40, 5),
			$checksums ? $unreadable
			: qr/^The page has LSN $lsn, and according to WAL it has $lsn\. Bytes that differ: @{[tuple_offset($heap, 3) + 40]}\.$/
		],
		[
			'bit in an index entry', 't_pkey/main', 2,
			flip_bit($leaf, tuple_offset($leaf, 5) + 9, 0),
			$checksums ? $unreadable
			: qr/^The page has LSN $lsn, and according to WAL it has $lsn\. Bytes that differ: @{[tuple_offset($leaf, 5) + 9]}\.$/
		],
		[
			'bit in a line pointer that leads out of the page then',
			't/main', 4, flip_bit($heap, 24 + 1, 6),
			$checksums ? $unreadable : qr/Bytes that differ: /
		],
		[
			'bit in the page header', 't/main', 4,
			flip_bit($heap, 13, 6),
			$checksums ? $unreadable
			: qr/^The server cannot read it|Bytes that differ: /
		],
		[
			'bit in the LSN, past the end of WAL', 't/main', 4,
			flip_bit($heap, 3, 6),
			$checksums ? $unreadable
			: qr/^The page has LSN $lsn, which is past the end of WAL at $lsn\.$/
		],
		[
			'lost write', 't/main', 7, $old_heap,
			qr/^A write was lost: the page has LSN $lsn, but WAL has changed it up to $lsn\. Bytes that differ: \d+.*, and \d+ more ranges\.$/
		],
		[
			'lost write of a map', 't/vm', 0, $old_map,
			qr/Bytes that differ: \d+/
		],
		[
			'lost page', 't/main', 4, "\0" x $page_size,
			qr{^The page is all zeroes, but according to WAL it has LSN $lsn\.}
		],
		[
			'lost page of an index', 't_pkey/main', 2, "\0" x $page_size,
			qr{^The page is all zeroes, but according to WAL it has LSN $lsn\.}
		],
		[
			'page of another place', 't/main', 4,
			read_block($file{'t/main'}, 5),
			$checksums ? $unreadable : qr/Bytes that differ: .* more ranges\.$/
		],
		[
			'page of another relation', 't_pkey/main', 2, $heap,
			$checksums ? $unreadable : qr/Bytes that differ: /
		]);

	foreach my $damage (@damages)
	{
		my ($what, $where, $blkno, $block, $detail) = @$damage;
		my ($rel, $fork) = split /\//, $where;
		my $sound = read_block($file{$where}, $blkno);

		isnt($block, $sound, "$name, $what: the block differs");
		write_block($file{$where}, $blkno, $block);
		$node->start;
		my $found = $node->safe_psql('postgres', <<'SQL');
SELECT c.relname, f.fork, v.blkno, v.status, v.detail
FROM pg_class c, (VALUES ('main'), ('vm')) f(fork),
	LATERAL walredo_verify(c.oid, f.fork) v
WHERE c.relname IN ('t', 't_pkey') AND v.status <> 'ok'
SQL
		my ($place) = $found =~ /^([^|]*\|[^|]*\|[^|]*\|[^|]*)\|[^\n]*$/;
		is($place // $found, "$rel|$fork|$blkno|mismatch",
			"$name, $what: found, and nothing else");
		like(($found =~ /^(?:[^|]*\|){4}([^\n]*)/)[0] // '',
			$detail, "$name, $what: detail");
		is( $node->safe_psql('postgres', <<'SQL'),
SELECT relation, fork, blkno, status, detail
FROM walredo_verify_all('{t, t_pkey}') WHERE status <> 'ok'
SQL
			$found, "$name, $what: found as well among others");
		$node->stop('immediate');
		write_block($file{$where}, $blkno, $sound);
	}

	# The end of the file is gone.
	my $blocks = (-s $file{'t/main'}) / $page_size;
	truncate($file{'t/main'}, ($blocks - 2) * $page_size);
	$node->start;
	is( $node->safe_psql('postgres', <<'SQL'),
SELECT blkno, status, detail FROM walredo_verify('t')
WHERE status <> 'ok' ORDER BY 1
SQL
		join("\n", map {
			"$_|mismatch|The block is missing: the fork has only "
			  . ($blocks - 2) . ' blocks.'
		} ($blocks - 2, $blocks - 1)),
		"$name, file too short: found, and nothing else");
	$node->stop('immediate');
}

#
# A table gets another file after some of its blocks have been compared
#

$node = PostgreSQL::Test::Cluster->new('replaced');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nmax_wal_size = 4GB");
$node->start;

# One row per page, so that the table has several windows of blocks, but few
# rows to copy.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE t (id int, pad text) WITH (fillfactor = 10);
INSERT INTO t SELECT i, repeat('x', 900) FROM generate_series(1, 30000) i;
SQL

# Rewrite the table as soon as some of its blocks, but not all, have been
# compared.  The results for its old file must be discarded then.
my $rewrite = IPC::Run::start(
	[
		'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1',
		'-d', $node->connstr('postgres'), '-c', <<'SQL'
DO $$
BEGIN
	WHILE clock_timestamp() < now() + interval '3 min' LOOP
		PERFORM pg_stat_clear_snapshot();
		IF EXISTS (SELECT FROM walredo_verify_progress
				   WHERE relid = 't'::regclass AND fork = 'main'
				   AND blocks_done > 0 AND blocks_done < blocks_total) THEN
			ALTER TABLE t ALTER id TYPE bigint;
			RETURN;
		END IF;
	END LOOP;
	RAISE 'walredo_verify() has not been seen';
END
$$;
SQL
	],
	'2>', \my $rewrite_error,
	IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
$node->poll_query_until('postgres', <<'SQL') or die 'nobody looks';
SELECT count(*) = 1 FROM pg_stat_activity
WHERE state = 'active' AND query ~ '^DO' AND query ~ 'ALTER TABLE'
SQL
my $reported = $node->safe_psql('postgres', <<'SQL');
SELECT min(blkno), max(blkno) + 1, count(*), count(DISTINCT blkno)
FROM walredo_verify('t')
SQL
$rewrite->finish;
is($rewrite_error // '', '', 'the table has been rewritten meanwhile');
my $blocks = $node->safe_psql('postgres', <<'SQL');
SELECT pg_relation_size('t') / current_setting('block_size')::int
SQL
is($reported, "0|$blocks|$blocks|$blocks",
	'each block of the new file is reported');
$node->stop;

done_testing();
