# A page ends with its file, also where the record that says so names no block:
# files that a transaction drops at its end, databases that are copied file by
# file, moved to another tablespace, or dropped.  And a relation that is asked for
# by name, at an LSN when it was in another file.
#
# Every page is compared with the server's, as it was read before its end.
#
# Seen to fail on code that looked at truncations only: all pages of dropped
# files were still returned at LSNs after their end, the page of a database that
# was moved to another tablespace and back was an old one, and for all that is
# asked for by name at an earlier LSN there was "no record of it", or no rows.

use WalredoTest;

my $lsn_re = qr{[0-9A-F]+/[0-9A-F]+};

my $node = wal_server(
	'main',
	extra => ['--data-checksums'],
	conf => <<'CONF');
max_prepared_transactions = 10
allow_in_place_tablespaces = on
shared_preload_libraries = 'walredo'
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLESPACE elsewhere LOCATION '';
CREATE TABLE seen (name text PRIMARY KEY, tag walredo_tag, before pg_lsn,
	page bytea, after pg_lsn);
CREATE FUNCTION masked(page bytea, tag walredo_tag) RETURNS bytea LANGUAGE sql
AS $$
	SELECT walredo_page_mask(CASE WHEN tag::text ~ 'fork vm' THEN 'Heap2'
		WHEN get_byte(page, 16) * 1 + get_byte(page, 17) * 256 < 8192
			THEN 'Btree' ELSE 'Heap' END,
		page, substring(tag::text, 'blk (\d+)')::int8)
$$;
SQL

# Commands of psql that note a block: its address, the LSN, and the page.
sub note_page
{
	my ($relation, $fork, $blkno) = @_;

	return <<SQL;
SELECT walredo_tag('$relation', '$fork', $blkno) AS tag,
	pg_current_wal_insert_lsn() AS before,
	get_raw_page('$relation', '$fork', $blkno) AS page \\gset
SQL
}

# Runs SQL, notes a page in the middle of it, and runs more, in one session.
sub note_around
{
	my ($name, $before, $relation, $fork, $after) = @_;

	$node->safe_psql('postgres',
		"$before\n" . note_page($relation, $fork, 0) . "$after\n" . <<SQL);
INSERT INTO seen VALUES (\$\$$name\$\$, :'tag', :'before', :'page',
	pg_current_wal_insert_lsn());
SQL
	return;
}

# The page that walredo_page_at() returns at an LSN is the one that was noted.
sub gives_page
{
	my ($name, $lsn, $what) = @_;
	my ($stdout, $stderr) = ask($node, 'postgres', <<SQL);
SELECT masked(walredo_page_at(tag, $lsn), tag) = masked(page, tag)
FROM seen WHERE name = \$\$$name\$\$
SQL

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($stdout . $stderr, 't', "$name: $what");
	return;
}

# It is an error that says that the file has ended, and not that WAL is missing.
sub says_gone
{
	my ($name, $lsn, $what) = @_;
	my $error = error_of($node, 'postgres',
		"SELECT length(walredo_page_at(tag, $lsn)) FROM seen WHERE name = \$\$$name\$\$"
	);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like(
		$error,
		qr/ERROR:.*(?:removed|dropped|deleted|truncated|does not exist|no longer)/s,
		"$name: $what");
	unlike($error, qr/is missing/, "$name: $what: no WAL is missing");
	return;
}

#
# Files that end
#

my $fill = 'SELECT g AS i, repeat(\'x\', 20) AS t FROM generate_series(1, 300) g';

# A name; SQL before the page is noted; the page's relation and fork; SQL after
# that.  In the first list the page ends then, in the second one it does not.
my @endings = (
	[
		'DROP TABLE', "CREATE TABLE e1 AS $fill;", 'e1', 'main',
		'DROP TABLE e1;'
	],
	[
		'DROP TABLE, its map',
		"CREATE TABLE e2 AS $fill; VACUUM (FREEZE) e2;",
		'e2', 'vm', 'DROP TABLE e2;'
	],
	[
		'DROP INDEX', "CREATE TABLE e3 AS $fill; CREATE INDEX e3_i ON e3 (i);",
		'e3_i', 'main', 'DROP INDEX e3_i;'
	],
	[
		'DROP SCHEMA CASCADE',
		"CREATE SCHEMA e4; CREATE TABLE e4.t AS $fill;",
		'e4.t', 'main', 'DROP SCHEMA e4 CASCADE;'
	],
	[
		'TRUNCATE', "CREATE TABLE e5 AS $fill;", 'e5', 'main',
		"TRUNCATE e5; INSERT INTO e5 $fill;"
	],
	[
		'TRUNCATE in the transaction that made the table',
		"BEGIN; CREATE TABLE e6 (i int, t text); INSERT INTO e6 $fill;",
		'e6', 'main', 'TRUNCATE e6; COMMIT;'
	],
	[
		'VACUUM FULL', "CREATE TABLE e7 AS $fill;", 'e7', 'main',
		'VACUUM FULL e7;'
	],
	[
		'CLUSTER', "CREATE TABLE e8 AS $fill; CREATE INDEX e8_i ON e8 (i);",
		'e8', 'main', 'CLUSTER e8 USING e8_i;'
	],
	[
		'REINDEX', "CREATE TABLE e9 AS $fill; CREATE INDEX e9_i ON e9 (i);",
		'e9_i', 'main', 'REINDEX INDEX e9_i;'
	],
	[
		'REINDEX CONCURRENTLY',
		"CREATE TABLE e10 AS $fill; CREATE INDEX e10_i ON e10 (i);",
		'e10_i', 'main', 'REINDEX INDEX CONCURRENTLY e10_i;'
	],
	[
		'SET TABLESPACE', "CREATE TABLE e11 AS $fill;", 'e11', 'main',
		'ALTER TABLE e11 SET TABLESPACE elsewhere;'
	],
	[
		'SET UNLOGGED', "CREATE TABLE e12 AS $fill;", 'e12', 'main',
		'ALTER TABLE e12 SET UNLOGGED;'
	],
	[
		'ALTER COLUMN TYPE', "CREATE TABLE e13 AS $fill;", 'e13', 'main',
		'ALTER TABLE e13 ALTER i TYPE bigint;'
	],
	[
		'REFRESH MATERIALIZED VIEW',
		"CREATE MATERIALIZED VIEW e14 AS $fill;", 'e14', 'main',
		'REFRESH MATERIALIZED VIEW e14;'
	],
	[
		'CREATE TABLE, ROLLBACK',
		"BEGIN; CREATE TABLE e15 (i int, t text); INSERT INTO e15 $fill;",
		'e15', 'main', 'ROLLBACK;'
	],
	[
		'CREATE TABLE, ROLLBACK TO SAVEPOINT',
		"BEGIN; SELECT txid_current() AS parent \\gset\nSAVEPOINT s; CREATE TABLE e16 (i int, t text); INSERT INTO e16 $fill;",
		'e16', 'main', 'ROLLBACK TO s; COMMIT;'
	],
	[
		'DROP TABLE, COMMIT PREPARED',
		"CREATE TABLE e17 AS $fill;", 'e17', 'main',
		"BEGIN; DROP TABLE e17; PREPARE TRANSACTION 'e17'; COMMIT PREPARED 'e17';"
	],
	[
		'CREATE TABLE, ROLLBACK PREPARED',
		"BEGIN; CREATE TABLE e18 (i int, t text); INSERT INTO e18 $fill;",
		'e18', 'main',
		"PREPARE TRANSACTION 'e18'; ROLLBACK PREPARED 'e18';"
	],
	[
		'DELETE and VACUUM', "CREATE TABLE e19 AS $fill;", 'e19', 'main',
		'DELETE FROM e19; VACUUM e19;'
	]);
my @survivals = (
	[
		'DROP TABLE, ROLLBACK', "CREATE TABLE s1 AS $fill;",
		's1', 'main', 'BEGIN; DROP TABLE s1; ROLLBACK;'
	],
	[
		'TRUNCATE, ROLLBACK', "CREATE TABLE s2 AS $fill;", 's2', 'main',
		'BEGIN; TRUNCATE s2; ROLLBACK;'
	],
	[
		'VACUUM FULL of another table',
		"CREATE TABLE s3 AS $fill; CREATE TABLE s4 AS $fill;",
		's3', 'main', 'VACUUM FULL s4;'
	],
	[
		'DROP TABLE, ROLLBACK PREPARED',
		"CREATE TABLE s5 AS $fill;", 's5', 'main',
		"BEGIN; DROP TABLE s5; PREPARE TRANSACTION 's5'; ROLLBACK PREPARED 's5';"
	],
	[
		'CREATE TABLE, COMMIT PREPARED',
		"BEGIN; CREATE TABLE s6 (i int, t text); INSERT INTO s6 $fill;",
		's6', 'main', "PREPARE TRANSACTION 's6'; COMMIT PREPARED 's6';"
	],
	[
		'DROP TABLE, not yet committed',
		"CREATE TABLE s7 AS $fill;", 's7', 'main',
		"BEGIN; DROP TABLE s7; PREPARE TRANSACTION 's7';"
	],
	[
		'RELEASE SAVEPOINT',
		"BEGIN; SAVEPOINT s; CREATE TABLE s8 (i int, t text); INSERT INTO s8 $fill;",
		's8', 'main', 'RELEASE s; COMMIT;'
	]);

note_around(@$_) foreach @endings, @survivals;
foreach my $name (map { $_->[0] } @endings)
{
	gives_page($name, 'before', 'the page before its end');
	says_gone($name, 'after', 'no page after it');
	says_gone($name, "'$open_end'", '... nor later');
}
foreach my $name (map { $_->[0] } @survivals)
{
	gives_page($name, 'after', 'the page is still there');
}
$node->safe_psql('postgres', "COMMIT PREPARED 's7'");
is( $node->safe_psql('postgres', <<'SQL'),
SELECT relation, fork, blkno, status, detail
FROM walredo_verify_all() WHERE status = 'mismatch'
SQL
	'',
	'no mismatch');

#
# Databases
#

# Makes a database with a table in it, and notes the first page of that.  The
# page of a copied database, below, is tested with verify.
sub make_database
{
	my ($name, $options) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name $options");
	$node->safe_psql($name, <<SQL) if $options !~ /\bTEMPLATE/;
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLE t AS SELECT g AS i FROM generate_series(1, 100) g;
CREATE INDEX t_i ON t (i);
SQL
	return;
}

sub note_database
{
	my ($name, $database) = @_;
	my ($tag, $lsn, $page) = split /\|/,
	  $node->safe_psql($database, <<SQL);
SELECT walredo_tag('t', 'main', 0), pg_current_wal_insert_lsn(),
	get_raw_page('t', 'main', 0)
SQL

	$node->safe_psql('postgres',
		"INSERT INTO seen VALUES (\$\$$name\$\$, '$tag', '$lsn', '$page')");
	return;
}

sub note_after
{
	my $name = shift;

	$node->safe_psql('postgres',
		"UPDATE seen SET after = pg_current_wal_insert_lsn() WHERE name = \$\$$name\$\$"
	);
	return;
}

# The page is the server's, or there is an error; and verify reports no mismatch.
sub is_right_in
{
	my ($database, $what) = @_;
	my ($stdout, $stderr) = ask($node, $database, <<SQL);
SELECT walredo_page_mask('Heap', walredo_page_at('t', 'main', 0, '$open_end'), 0)
	= walredo_page_mask('Heap', get_raw_page('t', 'main', 0), 0)
SQL

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($stdout eq 't' || $stderr =~ /ERROR:/,
		"$what: the page as it is, or an error")
	  or diag($stdout, $stderr);
	unlike($stderr, qr/ERROR:  (?:58030|XX)/, "$what: not by a failure");
	is( $node->safe_psql($database,
			"SELECT * FROM walredo_verify_all() WHERE status = 'mismatch'"),
		'',
		"$what: no mismatch");
	return;
}

make_database('dropped', '');
note_database('DROP DATABASE', 'dropped');
$node->safe_psql('postgres', 'DROP DATABASE dropped');
note_after('DROP DATABASE');
gives_page('DROP DATABASE', 'before', 'the page before its end');
says_gone('DROP DATABASE', 'after', 'no page after it');

# To another tablespace, and back: the server copies the files each time.
make_database('moved', '');
$node->safe_psql('postgres', 'SELECT pg_create_restore_point($$unmoved$$)');
note_database('SET TABLESPACE of a database', 'moved');
$node->safe_psql('postgres', 'ALTER DATABASE moved SET TABLESPACE elsewhere');
note_after('SET TABLESPACE of a database');
is_right_in('moved', 'a database that was moved');
$node->safe_psql('moved', 'INSERT INTO t SELECT 0 FROM generate_series(1, 11)');
is_right_in('moved', 'a database that was moved and written to');
note_database('a moved database', 'moved');
gives_page('SET TABLESPACE of a database', 'before', 'the page before its end');
says_gone('SET TABLESPACE of a database', 'after', 'no page after it');
$node->safe_psql('postgres', 'ALTER DATABASE moved SET TABLESPACE pg_default');
note_after('a moved database');
is_right_in('moved', 'a database that was moved and came back');
my ($count) = ask($node, 'moved',
	"SELECT count(*) FROM heap_page_items(walredo_page_at('t', 'main', 0, '$open_end'))"
);
like($count, qr/^(?:111)?$/, 'never the page from before the move');
says_gone('a moved database', 'after', 'no page after it');

# A template, and copies made with either strategy.
make_database('model', 'IS_TEMPLATE true');
foreach my $strategy ('wal_log', 'file_copy')
{
	make_database("by_$strategy", "TEMPLATE model STRATEGY $strategy");
	is_right_in("by_$strategy", "STRATEGY $strategy");
	$node->safe_psql("by_$strategy", 'CHECKPOINT; DELETE FROM t WHERE i = 7');
	is_right_in("by_$strategy", "STRATEGY $strategy, written to");
	is( $node->safe_psql("by_$strategy", <<SQL),
SELECT walredo_page_mask('Heap', walredo_page_at('t', 'main', 0, '$open_end'), 0)
	= walredo_page_mask('Heap', get_raw_page('t', 'main', 0), 0)
SQL
		't',
		"STRATEGY $strategy: a page can be rebuilt once WAL has a record of it");
}

# An OID that is used again for another database: records of the first one must
# not be applied to pages of the second.
foreach my $strategies ([ 'wal_log', 'file_copy' ], [ 'file_copy', 'wal_log' ])
{
	my ($first, $second) = @$strategies;
	my $name = "$first, then $second with the same number";

	make_database('reused', "OID 77777 TEMPLATE model STRATEGY $first");
	$node->safe_psql('reused',
		'INSERT INTO t SELECT 0 FROM generate_series(1, 11); CHECKPOINT; DELETE FROM t WHERE i = 3; CREATE TABLE more AS TABLE t');
	note_database($name, 'reused');
	$node->safe_psql('postgres', 'DROP DATABASE reused');
	note_after($name);
	says_gone($name, 'after', 'no page in between');
	make_database('reused', "OID 77777 TEMPLATE model STRATEGY $second");
	is_right_in('reused', $name);
	gives_page($name, 'before', 'the page of the first');
	$node->safe_psql('postgres', 'DROP DATABASE reused');
}

#
# Relations by name, at LSNs when they had other files
#

# A relation has another file now than at an LSN.  Either the result is right, or
# an error says which file the name stands for now, and at which LSN after that
# one the file was made.
sub right_or_younger
{
	my ($name, $database, $relation, $lsn, $sql, $right) = @_;
	my ($stdout, $stderr) = ask($node, $database, $sql);
	my ($filenode, $now) = split /\|/, $node->safe_psql($database,
		"SELECT pg_relation_filenode('$relation'), pg_current_wal_insert_lsn()");
	my $younger = 0;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	if ($stderr !~ /ERROR:/)
	{
		is($stdout, $right, "$name: right");
		return;
	}
	foreach my $other ($stderr =~ /($lsn_re)/g)
	{
		$younger = 1
		  if lsn_to_int($other) > lsn_to_int($lsn)
		  && lsn_to_int($other) <= lsn_to_int($now);
	}
	ok( $stderr =~ /\b$filenode\b/
		  && $younger
		  && $stderr !~ /is missing|older segment|base image/i,
		"$name: an error that names the file, and when it was made")
	  or diag($stderr);
	return;
}

# All three functions that take a relation's name.
sub by_name
{
	my ($name, $database, $relation, $manager, $lsn, $page, $blocks) = @_;
	my $call = "walredo_page_at('$relation', 'main', 0, '$lsn')";
	my $sql = !defined $page
	  ? "SELECT length($call)"
	  : "SELECT walredo_page_mask('$manager', $call, 0) = walredo_page_mask('$manager', '$page', 0)";

	right_or_younger("$name, page_at", $database, $relation, $lsn, $sql, 't');
	right_or_younger("$name, pages_at", $database, $relation, $lsn,
		"SELECT count(*) FROM walredo_pages_at('$relation', 'main', '$lsn')",
		$blocks);
	right_or_younger("$name, pages_at_all", $database, $relation, $lsn,
		"SELECT count(*) FROM walredo_pages_at_all('{$relation}', '$lsn') WHERE fork = 'main'",
		$blocks);
	return;
}

# Name, how it is made, its relation, its resource manager, how it gets another
# file.
my @names = (
	[
		'TRUNCATE', "CREATE TABLE n1 AS $fill", 'n1', 'Heap',
		"TRUNCATE n1; INSERT INTO n1 VALUES (1)"
	],
	[
		'TRUNCATE and nothing after it',
		"CREATE TABLE n2 AS $fill", 'n2', 'Heap', 'TRUNCATE n2'
	],
	[
		'VACUUM FULL', "CREATE TABLE n3 AS $fill", 'n3', 'Heap',
		'VACUUM FULL n3'
	],
	[
		'CLUSTER', "CREATE TABLE n4 AS $fill; CREATE INDEX n4_i ON n4 (i)",
		'n4', 'Heap', 'CLUSTER n4 USING n4_i'
	],
	[
		'REINDEX', "CREATE TABLE n5 AS $fill; CREATE INDEX n5_i ON n5 (i)",
		'n5_i', 'Btree', 'REINDEX INDEX n5_i'
	],
	[
		'SET TABLESPACE', "CREATE TABLE n6 AS $fill", 'n6', 'Heap',
		'ALTER TABLE n6 SET TABLESPACE elsewhere'
	],
	[
		'ALTER COLUMN TYPE', "CREATE TABLE n7 AS $fill", 'n7', 'Heap',
		'ALTER TABLE n7 ALTER i TYPE bigint'
	],
	[
		'REFRESH MATERIALIZED VIEW',
		"CREATE MATERIALIZED VIEW n8 AS $fill", 'n8', 'Heap',
		'REFRESH MATERIALIZED VIEW n8'
	],
	[
		'COMMIT PREPARED', "CREATE TABLE n9 AS $fill", 'n9', 'Heap',
		"BEGIN; TRUNCATE n9; PREPARE TRANSACTION 'n9'; COMMIT PREPARED 'n9'"
	],
	[
		'SET LOGGED',
		"CREATE TABLE n10 AS $fill",
		'n10',
		'Heap',
		'ALTER TABLE n10 SET UNLOGGED; ALTER TABLE n10 SET LOGGED'
	],
	[
		'a mapped catalog', 'CHECKPOINT; CREATE TABLE n11()', 'pg_class',
		undef, 'VACUUM FULL pg_class'
	]);
foreach my $entry (@names)
{
	my ($name, $make, $relation, $manager, $change) = @$entry;

	$node->safe_psql('postgres', $make);
	my ($lsn, $page, $blocks) = split /\|/,
	  $node->safe_psql('postgres', <<SQL);
SELECT pg_current_wal_insert_lsn(), get_raw_page('$relation', 0),
	pg_relation_size('$relation') / $page_size
SQL
	$node->safe_psql('postgres', $change);
	if (defined $manager)
	{
		by_name($name, 'postgres', $relation, $manager, $lsn, $page, $blocks);
		next;
	}
	# WAL need not have all pages of a catalog, but then there must be an error.
	my ($stdout, $stderr) = ask($node, 'postgres',
		"SELECT count(*) FROM walredo_pages_at('$relation', 'main', '$lsn')");
	ok($stderr =~ /ERROR:/ || $stdout > 0, "$name: rows, or an error");
}

# There was no such relation, and no such database.
my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', "CREATE TABLE later AS $fill");
make_database('later', 'STRATEGY wal_log');
make_database('later_copy', 'TEMPLATE model STRATEGY file_copy');
foreach my $place ([ 'postgres', 'later' ], [ 'later', 't' ], [ 'later_copy', 't' ])
{
	my ($database, $relation) = @$place;

	by_name("made later, $database", $database, $relation, 'Heap', $lsn, undef,
		'an error');
}

# In a database that has been moved since.
my $unmoved = $node->safe_psql('postgres',
	"SELECT before FROM seen WHERE name = 'SET TABLESPACE of a database'");
my $page = $node->safe_psql('postgres',
	"SELECT page FROM seen WHERE name = 'SET TABLESPACE of a database'");
$node->safe_psql('postgres', 'ALTER DATABASE moved SET TABLESPACE elsewhere');
by_name('a database that was moved', 'moved', 't', 'Heap', $unmoved, $page, 1);

# There was such a relation, and it was empty.
$node->safe_psql('postgres', 'CREATE TABLE empty (i int)');
$lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', 'INSERT INTO empty VALUES (1)');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM walredo_pages_at('empty', 'main', '$lsn')"),
	0,
	'no rows for a table that was empty');
like(
	error_of($node, 'postgres',
		"SELECT walredo_page_at('empty', 'main', 0, '$lsn')"),
	qr/ERROR:/,
	'... and no page');

$node->stop;
done_testing();
