
# Stored values and the extension's objects survive pg_dump and pg_upgrade, ALTER
# EXTENSION UPDATE and SET SCHEMA, and DROP EXTENSION works in a session that has
# used the extension.  In all of this, the extension's schema is not in the
# search_path.
#
# pg_upgrade starts from another server that has walredo installed, if there is
# one: that of OLD_PG_CONFIG, or the oldest one next to this server's directory
# (as on Debian).  Otherwise both servers are this one, which makes the same dump.
#
# Seen to fail: with "relocatable = false"; with a function that the script
# puts into the schema public; with an SQL function that calls another without
# its schema; with a script that lacked one of the functions; with a text form
# that lost the fork; with a function that kept a type's OID for good.

use strict;
use warnings;

use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub pg_config
{
	my ($program, $option) = @_;
	my $output = `'$program' --$option`;

	die "cannot run $program" if $? != 0;
	chomp $output;
	return $output;
}

# Of the server that a pg_config belongs to.
sub major_of
{
	my ($program) = @_;
	my ($major) = pg_config($program, 'version') =~ /^PostgreSQL (\d+)/;

	return $major;
}

# The directory of the programs of the server to upgrade from.
sub older_server
{
	my $bindir = pg_config('pg_config', 'bindir');
	my $major = major_of('pg_config');

	return dirname($ENV{OLD_PG_CONFIG}) if defined $ENV{OLD_PG_CONFIG};
	foreach my $candidate (
		sort { major_of($a) <=> major_of($b) }
		grep { -x } glob dirname(dirname($bindir)) . '/*/bin/pg_config')
	{
		return dirname($candidate)
		  if major_of($candidate) <= $major
		  && -x dirname($candidate) . '/postgres'
		  && -f pg_config($candidate, 'sharedir')
		  . '/extension/walredo.control'
		  && -f pg_config($candidate, 'pkglibdir') . '/walredo.so';
	}
	return $bindir;
}

#
# A database in which everything that can depend on the extension does
#

my $old_bindir = older_server();
my $old = PostgreSQL::Test::Cluster->new('old',
	install_path => dirname($old_bindir));
$old->init(extra => ['--data-checksums']);
$old->append_conf('postgresql.conf', 'autovacuum = off');
$old->start;
my $new = PostgreSQL::Test::Cluster->new('new');
note 'from ' . pg_config("$old_bindir/pg_config", 'version');

$old->safe_psql('postgres', <<'SQL');
CREATE SCHEMA ext;
CREATE EXTENSION walredo SCHEMA ext;
CREATE EXTENSION pageinspect SCHEMA ext;
CREATE TABLE t (id int PRIMARY KEY, word text);
CHECKPOINT;
SELECT pg_current_wal_insert_lsn() AS start \gset
INSERT INTO t SELECT i, 'word ' || i FROM generate_series(1, 100) i;
SELECT pg_current_wal_insert_lsn() AS stop \gset

-- the records of a page, and the server's own page
CREATE TABLE page (
	tag ext.walredo_tag PRIMARY KEY,
	lsn pg_lsn,
	records ext.walredo_record[],
	page bytea,
	CHECK (tag OPERATOR(ext.>=) 'rel 1/0/1 blk 0'::ext.walredo_tag)
);
INSERT INTO page
SELECT ext.walredo_tag(r, 'main', b), max(end_lsn),
	array_agg(record ORDER BY end_lsn), ext.get_raw_page(r::text, 'main', b)
FROM (VALUES ('t'::regclass, 0), ('t_pkey', 1)) AS p (r, b),
	ext.walredo_page_records(ext.walredo_tag(r, 'main', b), :'start', :'stop')
GROUP BY r, b;

-- a record of each kind, and one that is long enough to be compressed
CREATE TABLE stored (
	i int PRIMARY KEY,
	tag ext.walredo_tag DEFAULT 'twophase 3',
	record ext.walredo_record DEFAULT ext.walredo_zero_page('0/1'),
	member ext.walredo_multixact_member
) PARTITION BY RANGE (i);
CREATE TABLE stored_1 PARTITION OF stored FOR VALUES FROM (0) TO (1000);
INSERT INTO stored VALUES
	(1, 'rel 1663/5/16384 blk 4294967294', '0/1 clear_visibility_map_flags new_heap_blkno=5 flags=3', '(3,5)'),
	(2, 'rel 1663/5/16384 fork vm blk 0', '0/2 clear_visibility_map_flags old_heap_blkno=7 flags=1', '(4,)'),
	(3, 'slru pg_xact/0FFF blk 31', '0/3 truncate_visibility_map trunc_byte=12 trunc_offs=2', NULL),
	(4, 'slru pg_xact/0000 blk 3', '0/4 clog_set_committed xids=731,732', NULL),
	(5, 'slru pg_multixact/offsets/0000 blk 0', '0/5 clog_set_aborted xids=731', NULL),
	(6, 'slru pg_multixact/members/0000 blk 0', '0/6 clog_set_subcommitted xids=731', NULL),
	(7, 'slru pg_commit_ts/0000 blk 0', '0/7 multixact_offset_create mid=5 moff=77', NULL),
	(8, 'relmap 1663/5', '0/8 multixact_members_create moff=77 members=731:4,732:1', NULL),
	(9, 'twophase 4294967295', '0/9 commit_ts_set timestamp=-1 origin=7 xids=731', NULL),
	(10, NULL, ext.walredo_replace('FFFFFFFF/FFFFFFFF', decode(repeat('0123456789', 10000), 'hex')), NULL);
INSERT INTO stored (i) VALUES (11);
INSERT INTO stored (i, tag, record)
SELECT 100 + row_number() OVER (), p.tag, r FROM page p, unnest(p.records) r;
CREATE INDEX stored_tag ON stored USING hash (tag);
CREATE INDEX stored_lsn ON stored (split_part(record::text, ' ', 1));

-- objects that the extension's are part of
CREATE FUNCTION first_of(ext.walredo_tag) RETURNS ext.walredo_tag LANGUAGE sql
AS $$ SELECT tag FROM unnest(ARRAY[$1, 'relmap 1663/5']) tag ORDER BY tag LIMIT 1 $$;
CREATE VIEW rebuilt AS
SELECT tag, ext.walredo_apply(tag, NULL, records) AS page FROM page;
CREATE MATERIALIZED VIEW by_tag AS
SELECT DISTINCT s.tag, p.lsn FROM stored s JOIN page p ON s.tag OPERATOR(ext.=) p.tag;
CREATE DOMAIN heap_tag AS ext.walredo_tag
	CHECK (VALUE OPERATOR(ext.<) 'rel 4294967295/0/1 blk 0'::ext.walredo_tag);
CREATE TABLE hashed (tag ext.walredo_tag) PARTITION BY HASH (tag);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT DISTINCT tag FROM stored WHERE tag IS NOT NULL;
SQL

# Everything that must survive, as text that is the same in all versions.
my $state = <<'SQL';
SELECT i, tag, md5(ext._walredo_tag_send(tag)), left(record::text, 80),
	md5(ext._walredo_record_send(record)), member FROM stored ORDER BY i;
SELECT tag, lsn - '0/0', md5(records::text), md5(page) FROM page ORDER BY tag;
SELECT first_of(tag) FROM by_tag ORDER BY lsn;
SELECT tableoid::regclass, tag FROM hashed ORDER BY tag, 1;
SELECT 'rel 1/2/3 blk 4'::heap_tag;
SET enable_seqscan = off;
SELECT i FROM stored WHERE tag OPERATOR(ext.=) 'relmap 1663/5';
SELECT i FROM stored WHERE split_part(record::text, ' ', 1) = 'FFFFFFFF/FFFFFFFF';
SELECT tableoid::regclass FROM hashed WHERE tag OPERATOR(ext.=) 'relmap 1663/5';
SELECT get_byte(ext.walredo_apply('slru pg_xact/0000 blk 0', NULL,
	ARRAY[ext.walredo_zero_page('0/1'), record]), 182) FROM stored WHERE i = 4;
INSERT INTO stored (i) SELECT max(i) + 1 FROM stored RETURNING tag, record;
DELETE FROM stored WHERE i = (SELECT max(i) FROM stored) RETURNING record;
SQL

# What the stored records make of nothing, and the page that the server had.
# Whole records are for the major version that wrote them.
my $rebuilt = <<'SQL';
SELECT r.tag,
	ext.walredo_page_mask(CASE b WHEN 0 THEN 'Heap' ELSE 'Btree' END, r.page, b) =
	ext.walredo_page_mask(CASE b WHEN 0 THEN 'Heap' ELSE 'Btree' END, p.page, b)
FROM rebuilt r JOIN page p ON r.tag OPERATOR(ext.=) p.tag,
	CAST(substring(r.tag::text FROM '\d+$') AS int) b
ORDER BY r.tag;
SQL

sub state_is
{
	my ($node, $database, $expected, $what) = @_;

	is($node->safe_psql($database, $state), $expected, "$what: what is stored");
	return
	  if $node == $new && major_of('pg_config') != major_of("$old_bindir/pg_config");
	like($node->safe_psql($database, $rebuilt),
		qr{^rel \S+ blk 0\|t\nrel \S+ blk 1\|t$},
		"$what: stored records make the page that the server had");
	return;
}

my $before = $old->safe_psql('postgres', $state);
like($before, qr/^10\|\|\|FFFFFFFF/m, 'something is stored');
state_is($old, 'postgres', $before, 'before');

#
# pg_dump and pg_restore
#

my $dir = PostgreSQL::Test::Utils::tempdir;
$old->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
foreach my $command (
	[ 'pg_dump', '--no-sync', '-Fc', '-f', "$dir/dump", 'postgres' ],
	[ 'pg_restore', '--exit-on-error', '-d', 'restored', "$dir/dump" ])
{
	$old->command_ok($command, $command->[0]);
}
state_is($old, 'restored', $before, 'pg_restore');

#
# pg_upgrade
#

my $new_bindir = pg_config('pg_config', 'bindir');
$new->init(extra => ['--data-checksums']);
$new->append_conf('postgresql.conf',
	"autovacuum = off\nshared_preload_libraries = 'walredo'");
$old->safe_psql('postgres', 'DROP DATABASE restored');
$old->stop;
{
	# it leaves files in the current directory if it fails
	chdir $dir or die "could not change to $dir: $!";
	command_ok(
		[
			'pg_upgrade', '--no-sync',
			'--old-datadir', $old->data_dir,
			'--new-datadir', $new->data_dir,
			'--old-bindir', $old_bindir,
			'--new-bindir', $new_bindir,
			'--socketdir', $new->host,
			'--old-port', $old->port,
			'--new-port', $new->port
		],
		'pg_upgrade');
}
$new->start;
state_is($new, 'postgres', $before, 'pg_upgrade');
is( $new->safe_psql('postgres', <<'SQL'),
SELECT count(*) FROM page WHERE tag OPERATOR(ext.=)
	ANY (ARRAY[ext.walredo_tag('t', 'main', 0), ext.walredo_tag('t_pkey', 'main', 1)])
SQL
	2, 'the stored addresses are those of the same pages');
is( $new->safe_psql('postgres', <<'SQL'),
SELECT status FROM ext.walredo_verify('t');
CHECKPOINT;
UPDATE t SET word = 'new' WHERE id = 1;
SELECT status FROM ext.walredo_verify('t');
SQL
	"unverifiable\nok", 'WAL begins anew');

#
# Every function in a schema that is not in the search_path
#

# A call of each function.  An @ stands for the schema, and # for a range of WAL.
my $tag = "'slru pg_xact/0000 blk 0'::\@.walredo_tag";
my $record = "'0/2 clog_set_committed xids=700'::\@.walredo_record";
my %calls = (
	'_walredo_tag_in(cstring)' => "SELECT \@._walredo_tag_in('relmap 1663/5')",
	'_walredo_tag_out(walredo_tag)' => "SELECT \@._walredo_tag_out($tag)",
	'_walredo_tag_recv(internal)' => <<"SQL",
COPY (SELECT $tag) TO '$dir/tag' (FORMAT binary);
CREATE TEMP TABLE tags (tag \@.walredo_tag);
COPY tags FROM '$dir/tag' (FORMAT binary);
SELECT * FROM tags;
SQL
	'_walredo_tag_send(walredo_tag)' => "SELECT \@._walredo_tag_send($tag)",
	'walredo_tag(regclass,bigint)' => "SELECT \@.walredo_tag('public.u', 3)",
	'walredo_tag(regclass,text,bigint)' =>
	  "SELECT \@.walredo_tag('public.u', 'main', 3)",
	'_walredo_tag_hash(walredo_tag)' => "SELECT \@._walredo_tag_hash($tag)",
	'_walredo_tag_hash_extended(walredo_tag,bigint)' =>
	  "SELECT \@._walredo_tag_hash_extended($tag, 1)",
	'_walredo_tag_cmp(walredo_tag,walredo_tag)' =>
	  "SELECT \@._walredo_tag_cmp($tag, 'relmap 1663/5')",
	(
		map {
			("_walredo_tag_$_->[0](walredo_tag,walredo_tag)" =>
				  "SELECT $tag OPERATOR(\@.$_->[1]) 'relmap 1663/5'")
		} [ 'eq', '=' ], [ 'ne', '<>' ], [ 'lt', '<' ], [ 'le', '<=' ],
		[ 'gt', '>' ], [ 'ge', '>=' ]),
	'_walredo_record_in(cstring)' =>
	  "SELECT \@._walredo_record_in('0/1 zero_page')",
	'_walredo_record_out(walredo_record)' =>
	  "SELECT \@._walredo_record_out($record)",
	'_walredo_record_recv(internal)' => <<"SQL",
COPY (SELECT $record) TO '$dir/record' (FORMAT binary);
CREATE TEMP TABLE records (record \@.walredo_record);
COPY records FROM '$dir/record' (FORMAT binary);
SELECT * FROM records;
SQL
	'_walredo_record_send(walredo_record)' =>
	  "SELECT \@._walredo_record_send($record)",
	'walredo_postgres(pg_lsn,bytea,boolean)' =>
	  "SELECT \@.walredo_postgres(end_lsn, rec) FROM \@.walredo_wal_records(#) LIMIT 1",
	'walredo_clear_visibility_map_flags(pg_lsn,bigint,bigint,integer)' =>
	  "SELECT \@.walredo_clear_visibility_map_flags('0/1', 2, NULL, 3)",
	'walredo_truncate_visibility_map(pg_lsn,integer,integer)' =>
	  "SELECT \@.walredo_truncate_visibility_map('0/1', 2, 2)",
	(
		map {
			("walredo_clog_set_$_(pg_lsn,xid[])" =>
				  "SELECT \@.walredo_clog_set_$_('0/1', '{3}')")
		} 'committed', 'aborted', 'subcommitted'),
	'walredo_multixact_offset_create(pg_lsn,xid,bigint)' =>
	  "SELECT \@.walredo_multixact_offset_create('0/1', '2', 3)",
	'walredo_multixact_members_create(pg_lsn,bigint,walredo_multixact_member[])'
	  => "SELECT \@.walredo_multixact_members_create('0/1', 2, ARRAY[('3', 4)::\@.walredo_multixact_member])",
	'walredo_commit_ts_set(pg_lsn,xid[],timestamp with time zone,integer)' =>
	  "SELECT \@.walredo_commit_ts_set('0/1', '{3}', '2000-01-01 00:00:00+00')",
	'walredo_zero_page(pg_lsn)' => "SELECT \@.walredo_zero_page('0/1')",
	'walredo_replace(pg_lsn,bytea)' => "SELECT \@.walredo_replace('0/1', '\\x01')",
	'walredo_apply(walredo_tag,bytea,walredo_record[])' =>
	  "SELECT md5(\@.walredo_apply($tag, NULL, ARRAY[\@.walredo_zero_page('0/1'), $record]))",
	(
		map {
			$_ =>
			  "SELECT md5(\@.walredo_apply_agg($tag, NULL, r ORDER BY n)) FROM (VALUES (1, \@.walredo_zero_page('0/1')), (2, $record)) AS v (n, r)"
		  } 'walredo_apply_agg(walredo_tag,bytea,walredo_record)',
		'_walredo_apply_agg_transfn(internal,walredo_tag,bytea,walredo_record)',
		'_walredo_apply_agg_finalfn(internal)'
	),
	'walredo_page_mask(text,bytea,bigint)' =>
	  "SELECT md5(\@.walredo_page_mask('Heap', ext.get_raw_page('public.u', 0), 0))",
	'walredo_ping()' => "SELECT \@.walredo_ping() > 0",
	'_walredo_support(internal)' => "EXPLAIN SELECT \@.walredo_ping()",
	'_walredo_rows_support(internal)' =>
	  "EXPLAIN SELECT * FROM \@.walredo_rows_at(NULL::public.u, '0/0')",
	'walredo_replay_request(text)' =>
	  "SELECT \@.walredo_replay_request('absent')",
	'walredo_wal_records(pg_lsn,pg_lsn,text)' =>
	  "SELECT count(*), md5(string_agg(rec, '' ORDER BY start_lsn)) FROM \@.walredo_wal_records(#)",
	'_walredo_read_wal(pg_lsn,pg_lsn,text)' =>
	  "SELECT count(*) FROM (SELECT \@._walredo_read_wal(#, NULL)) r",
	(
		map {
			("_walredo_wal_$_(bytea)" =>
				  "SELECT \@._walredo_wal_$_(r) FROM \@._walredo_read_wal(#, NULL) r LIMIT 1")
		} 'start_lsn', 'end_lsn', 'prev_lsn', 'xid', 'resource_manager',
		'record_type', 'description'),
	'walredo_decode(pg_lsn,bytea)' =>
	  "SELECT d.* FROM \@.walredo_wal_records(#) r, \@.walredo_decode(r.end_lsn, r.rec) d ORDER BY md5(d::text)",
	'walredo_record_images(pg_lsn,bytea)' =>
	  "SELECT count(*), count(image) FROM \@.walredo_wal_records(#) r, \@.walredo_record_images(r.end_lsn, r.rec)",
	'walredo_page_records(walredo_tag,pg_lsn,pg_lsn,text)' =>
	  "SELECT * FROM \@.walredo_page_records(\@.walredo_tag('public.u', 'main', 0), #)",
	'_walredo_read_page_records(walredo_tag,pg_lsn,pg_lsn,text)' =>
	  "SELECT count(*) FROM (SELECT \@._walredo_read_page_records(\@.walredo_tag('public.u', 'main', 0), #, NULL)) r",
	'_walredo_page_record(bytea)' =>
	  "SELECT \@._walredo_page_record(r) FROM \@._walredo_read_page_records(\@.walredo_tag('public.u', 'main', 0), #, NULL) r",
	'walredo_page_at(walredo_tag,pg_lsn,bytea,text,pg_lsn)' =>
	  "SELECT md5(\@.walredo_page_at(\@.walredo_tag('public.u', 'main', 0), 'FFFFFFFF/FFFFFFFF'))",
	'walredo_page_at(regclass,bigint,pg_lsn,text)' =>
	  "SELECT md5(\@.walredo_page_at('public.u', 0, 'FFFFFFFF/FFFFFFFF'))",
	'walredo_page_at(text,text,text)' =>
	  "SELECT md5(\@.walredo_page_at('public.u', '0', 'FFFFFFFF/FFFFFFFF'))",
	'walredo_page_at(text,text,text,text)' =>
	  "SELECT md5(\@.walredo_page_at('public.u', 'main', '0', 'FFFFFFFF/FFFFFFFF'))",
	'walredo_page_at(text,text,text,text,text)' =>
	  "SELECT md5(\@.walredo_page_at('public.u', 'main', '0', 'FFFFFFFF/FFFFFFFF', NULL))",
	'walredo_page_at(regclass,text,text,text)' =>
	  "SELECT md5(\@.walredo_page_at('public.u'::regclass, 'main', '0', 'FFFFFFFF/FFFFFFFF'))",
	'walredo_page_at(regclass,text,bigint,pg_lsn,text)' =>
	  "SELECT md5(\@.walredo_page_at('public.u', 'main', 0, 'FFFFFFFF/FFFFFFFF'))",
	'_walredo_read_pages(regclass[],text,pg_lsn,text,integer,integer)' =>
	  "SELECT count(*) FROM \@._walredo_read_pages('{public.u}', 'main', 'FFFFFFFF/FFFFFFFF', NULL, NULL, NULL)",
	'walredo_pages_at(regclass,text,pg_lsn,text)' =>
	  "SELECT blkno, md5(page) FROM \@.walredo_pages_at('public.u'::regclass, 'main', 'FFFFFFFF/FFFFFFFF')",
	'_walredo_read_file_pages(walredo_tag,pg_lsn,text)' =>
	  "SELECT count(*) FROM \@._walredo_read_file_pages(\@.walredo_tag('public.u', 0), 'FFFFFFFF/FFFFFFFF', NULL)",
	'walredo_pages_at(walredo_tag,pg_lsn,text)' =>
	  "SELECT blkno, md5(page) FROM \@.walredo_pages_at(\@.walredo_tag('public.u', 0), 'FFFFFFFF/FFFFFFFF')",
	'_walredo_read_pages_literals(text,text,text)' =>
	  "SELECT count(*) FROM \@._walredo_read_pages_literals('public.u', 'main', 'FFFFFFFF/FFFFFFFF')",
	'walredo_pages_at(text,text,text)' =>
	  "SELECT blkno, md5(page) FROM \@.walredo_pages_at('public.u', 'main', 'FFFFFFFF/FFFFFFFF')",
	'walredo_pages_at_all(regclass[],pg_lsn,text,integer,integer)' =>
	  "SELECT relation, blkno, md5(page) FROM \@.walredo_pages_at_all('{public.u}'::regclass[], 'FFFFFFFF/FFFFFFFF')",
	'_walredo_read_pages_of_files(walredo_tag[],pg_lsn,text,integer,integer)' =>
	  "SELECT count(*) FROM \@._walredo_read_pages_of_files(ARRAY[\@.walredo_tag('public.u', 0)], 'FFFFFFFF/FFFFFFFF', NULL, 0, 1)",
	'walredo_pages_at_all(walredo_tag[],pg_lsn,text,integer,integer)' =>
	  "SELECT fork, blkno, md5(page) FROM \@.walredo_pages_at_all(ARRAY[\@.walredo_tag('public.u', 0)], 'FFFFFFFF/FFFFFFFF')",
	'_walredo_read_pages_of_literals(text,pg_lsn,text,integer,integer)' =>
	  "SELECT count(*) FROM \@._walredo_read_pages_of_literals('{public.u}', 'FFFFFFFF/FFFFFFFF', NULL, 0, 1)",
	'walredo_pages_at_all(text,pg_lsn,text,integer,integer)' =>
	  "SELECT relation, blkno, md5(page) FROM \@.walredo_pages_at_all('{public.u}', 'FFFFFFFF/FFFFFFFF')",
	'walredo_rows_at(anyelement,pg_lsn,walredo_tag,text,boolean)' =>
	  "SELECT * FROM \@.walredo_rows_at(NULL::public.u, 'FFFFFFFF/FFFFFFFF')",
	'walredo_row_versions(regclass,pg_lsn,pg_lsn,text)' =>
	  "SELECT * FROM \@.walredo_row_versions('public.u', #)",
	'walredo_files(pg_lsn,pg_lsn,text)' =>
	  "SELECT lsn, xid, event, tag FROM \@.walredo_files(#)",
	'walredo_wal_stats(pg_lsn,pg_lsn,text,text)' =>
	  "SELECT tag, count, combined_size FROM \@.walredo_wal_stats(#)",
	'walredo_verify_images(pg_lsn,pg_lsn,text)' =>
	  "SELECT * FROM \@.walredo_verify_images(#)",
	'walredo_wal_range(text)' =>
	  "SELECT count(*) > 0 FROM \@.walredo_wal_range()",
	'walredo_index_wal(text)' =>
	  "SELECT indexed <= segments FROM \@.walredo_index_wal()",
	'walredo_lsn_at(timestamp with time zone,text)' =>
	  "SELECT \@.walredo_lsn_at(clock_timestamp()) > '0/0'",
	'walredo_page_history(walredo_tag,pg_lsn,pg_lsn,text)' =>
	  "SELECT lsn, description, md5(page) FROM \@.walredo_page_history(\@.walredo_tag('public.u', 'main', 0), #)",
	'_walredo_read_history(walredo_tag,pg_lsn,pg_lsn,text)' =>
	  "SELECT count(*) FROM (SELECT \@._walredo_read_history(\@.walredo_tag('public.u', 'main', 0), #, NULL)) r",
	'_walredo_history_page(bytea)' =>
	  "SELECT md5(\@._walredo_history_page(r)) FROM \@._walredo_read_history(\@.walredo_tag('public.u', 'main', 0), #, NULL) r",
	'walredo_report(walredo_tag,pg_lsn,pg_lsn,text)' =>
	  "SELECT \@.walredo_report(\@.walredo_tag('public.u', 'main', 0), #) ~ 'Heap/INSERT'",
	'walredo_page_diff(bytea,bytea)' =>
	  "SELECT d.* FROM (SELECT decode(repeat('00', 8192), 'hex')) z (page), \@.walredo_page_diff(page, set_byte(page, 1, 3)) d",
	'walredo_verify(regclass,text,text)' =>
	  "SELECT * FROM \@.walredo_verify('public.u')",
	'walredo_verify(regclass,text,bigint,text)' =>
	  "SELECT * FROM \@.walredo_verify('public.u', 'main', 0)",
	'walredo_verify_all(regclass[],text)' =>
	  "SELECT * FROM \@.walredo_verify_all('{public.u}')",
	'walredo_relation_report(regclass,text,pg_lsn,pg_lsn,text)' =>
	  "SELECT substring(\@.walredo_relation_report('public.u') FROM '<h1>.*</h1>')",
	'walredo_check(regclass[],boolean,boolean,text)' =>
	  "CALL \@.walredo_check('{public.u}')",
	'walredo_verify_slru(text,text)' =>
	  "SELECT tag, status FROM \@.walredo_verify_slru('pg_xact')",
	'walredo_repair(regclass,text,bigint,boolean,text,pg_lsn,bytea,text)' =>
	  "SELECT * FROM \@.walredo_repair('public.u', 'main', 0)",
	'walredo_repair_slru(text,bigint,boolean,text)' =>
	  "SELECT tag, status FROM \@.walredo_repair_slru('pg_xact', 0)",
	'walredo_repair_undo(bigint)' =>
	  "DO \$\$BEGIN PERFORM \@.walredo_repair_undo(1); EXCEPTION WHEN undefined_object THEN NULL; END\$\$",
	'_walredo_get_repairs()' => "SELECT count(*) FROM \@.walredo_repairs",
	'_walredo_get_stat()' => "SELECT count(*) FROM \@.walredo_stat",
	'_walredo_get_children()' =>
	  "SELECT slot, state, database, role FROM \@.walredo_children",
	'walredo_stat_reset()' => "SELECT \@.walredo_stat_reset()",
	'_walredo_get_progress()' =>
	  "SELECT count(*) FROM \@.walredo_progress, \@.walredo_verify_progress");
my $range = $new->safe_psql('postgres', <<'SQL');
CHECKPOINT;
SELECT pg_current_wal_insert_lsn() AS start \gset
CREATE TABLE u (i int);
INSERT INTO u VALUES (1), (2);
SELECT quote_literal(:'start') || ', ' || quote_literal(pg_current_wal_flush_lsn());
SQL

sub schema_of_extension
{
	return $new->safe_psql('postgres',
		q{SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'walredo'}
	);
}

# Calls all of them, in one session.  Returns what psql prints.
sub call_all
{
	my ($search_path, $schema) = @_;
	my $script = "SET search_path = $search_path;\nSET walredo.timeout = '1min';\n";
	my ($stdout, $stderr);

	foreach my $function (sort keys %calls)
	{
		my $call = $calls{$function};

		$call =~ s/\@/$schema/g;
		$call =~ s/#/$range/g;
		$call =~ s/;?\n?\z/;\n/;
		$script .= "\\echo $function\n$call";
	}
	$new->psql('postgres', $script,
		stdout => \$stdout,
		stderr => \$stderr,
		on_error_stop => 0);
	like($stderr,
		qr/\Apsql:<stdin>:\d+: ERROR:  invalid name of a saved request: "absent"\z/,
		"search_path $search_path, schema $schema: all but one call succeed");
	return $stdout;
}

is( join("\n", sort keys %calls),
	$new->safe_psql('postgres', <<'SQL'), 'there is a call of every function');
SET search_path = ext;
SELECT f FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass
	AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'walredo',
	replace(p.oid::regprocedure::text, '"', '') f
ORDER BY f COLLATE "C";
SQL

my $in_path = call_all('pg_catalog, ext', 'ext');
is(call_all('pg_catalog', 'ext'), $in_path, 'not in the search_path: the same');

$new->safe_psql('postgres',
	'CREATE SCHEMA "else where"; ALTER EXTENSION walredo SET SCHEMA "else where"');
is(schema_of_extension(), '"else where"', 'SET SCHEMA');
is( $new->safe_psql('postgres', <<'SQL'), '', 'nothing stays where it was');
SELECT pg_describe_object(d.classid, d.objid, 0)
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'walredo',
	pg_identify_object(d.classid, d.objid, 0) o
WHERE d.deptype = 'e' AND o.schema <> '"else where"'
SQL
is(call_all('pg_catalog', '"else where"'), $in_path, 'after it: the same');

my $moved = $state =~ s/\bext\.(?=_?walredo|[=<>])/"else where"./gr;
is($new->safe_psql('postgres', $moved),
	$before, 'after it: what is stored, and what depends on it');
$new->safe_psql('postgres', 'ALTER EXTENSION walredo SET SCHEMA ext');

#
# The next version
#

my $directory = pg_config('pg_config', 'sharedir') . '/extension';
my $script = "$directory/walredo--1.0--1.1.sql";

# The server's directory must be as it was.
END
{
	unlink $script if defined $script;
}

SKIP:
{
	if (-e $script || !-w $directory)
	{
		undef $script;
		skip "a script cannot be put into $directory", 1;
	}
	append_to_file($script, <<'SQL');
\echo Use "ALTER EXTENSION walredo UPDATE TO '1.1'" to load this file. \quit
CREATE FUNCTION walredo_record_lsn(walredo_record)
RETURNS pg_lsn
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CAST(split_part($1::text, ' ', 1) AS pg_lsn);
CREATE FUNCTION walredo_ping_again()
RETURNS float8
AS 'MODULE_PATHNAME', 'walredo_ping'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
CREATE OR REPLACE VIEW walredo_stat AS
	SELECT *, requests + native_requests AS all_requests
	FROM _walredo_get_stat();
SQL
	is( $new->safe_psql('postgres', <<'SQL'), "1.1", 'UPDATE');
ALTER EXTENSION walredo UPDATE TO '1.1';
SELECT extversion FROM pg_extension WHERE extname = 'walredo';
SQL
	is( $new->safe_psql('postgres', <<'SQL'), "t|t|t", 'what is new');
SELECT ext.walredo_record_lsn(record) = '0/4', ext.walredo_ping_again() > 0, all_requests >= 0
FROM stored, ext.walredo_stat WHERE i = 4
SQL
	state_is($new, 'postgres', $before, 'UPDATE');
	is( $new->safe_psql('postgres', <<'SQL'), '', 'all of it belongs to the extension');
SELECT p.oid::regprocedure FROM pg_proc p
WHERE pronamespace = 'ext'::regnamespace AND proname LIKE 'walredo%'
	AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
SQL
	my ($ret, $stdout, $stderr) = $new->psql('postgres',
		q{ALTER EXTENSION walredo UPDATE TO '1.0'});
	like($stderr, qr/has no update path from version "1\.1" to version "1\.0"/,
		'there is no way back');
}

#
# DROP EXTENSION in a session that has used it
#

my ($ret, $stdout, $stderr) = $new->psql('postgres', <<'SQL', on_error_stop => 0);
SET client_min_messages = warning;
SET search_path = pg_catalog, ext;
CREATE FUNCTION public.uses(i int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	tag text := 'slru pg_xact/0000 blk 0';
	member text := '(700,4)';
BEGIN
	RETURN concat_ws(' ', get_byte(walredo_apply(tag::walredo_tag, NULL,
			ARRAY[walredo_zero_page('0/1'), walredo_clog_set_committed('0/2', '{700}')]), 175),
		walredo_multixact_members_create('0/1', 2, ARRAY[member::walredo_multixact_member]),
		(SELECT count(*) FROM walredo_page_records(walredo_tag('public.u', 'main', 0), '0/0', 'FFFFFFFF/FFFFFFFF')),
		length(walredo_page_at('public.u', 'main', 0, 'FFFFFFFF/FFFFFFFF')),
		(SELECT count(*) FROM walredo_children));
END $$;
PREPARE used AS SELECT 'relmap 1663/5'::walredo_tag < 'twophase 3', walredo_zero_page('0/1')::text;
SELECT public.uses(1);
EXECUTE used;
DROP EXTENSION walredo CASCADE;
SELECT public.uses(2);
EXECUTE used;
SELECT count(*) > 100 FROM public.stored;
CREATE EXTENSION walredo SCHEMA ext VERSION '1.0';
SELECT public.uses(3);
EXECUTE used;
BEGIN;
DROP EXTENSION walredo;
ROLLBACK;
SELECT public.uses(4);
DROP EXTENSION walredo;
CREATE SCHEMA third;
CREATE EXTENSION walredo SCHEMA third;
SET search_path = pg_catalog, third;
SELECT public.uses(5);
EXECUTE used;
SQL
my $uses = '1 0/1 multixact_members_create moff=2 members=700:4 2 8192 1';
is($stdout, join("\n", $uses, 't|0/1 zero_page', 't', $uses, 't|0/1 zero_page',
	$uses, $uses, 't|0/1 zero_page'), 'DROP, and CREATE again');
is(scalar(() = $stderr =~ /ERROR:/g), 2, 'errors while it is gone')
  or diag $stderr;

$new->stop;
done_testing();
