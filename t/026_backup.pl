# Base images out of base backups: with walredo.backup_directory, pages of which
# WAL has no image are rebuilt, and verified, from a backup and WAL since; and
# where WAL has not changed a page since the LSN asked for, from the server's own
# page.  Each is compared with what the server had in its files at that LSN.
#
# Seen to fail:
# - when the checksums of a backup's pages were not checked;
# - when a page was used whose LSN was after the one asked for;
# - when it was not asked whether the backup had ended by the LSN;
# - when a link to the server's own tablespace was followed;
# - when blocks of the backup were returned that had been truncated since;
# - when a backup that had not ended by the LSN was preferred to an older one;
# - when neither WAL nor its LSN was asked whether the server's page has changed;
# - when only the start of a backup had to be in the history of the timeline.

use File::Copy qw(move);
use PostgreSQL::Test::RecursiveCopy;
use WalredoSessions;
use WalredoTest;

# Other cluster, for a backup of another system
my $other = wal_server('other', allows_streaming => 1);
$other->start;
$other->backup('b');

# A backup as a directory that the test may damage
sub copy_of
{
	my ($node, $from) = @_;
	my $to = $node->backup_dir . "/copy";

	rmdir_all($to);
	PostgreSQL::Test::RecursiveCopy::copypath($node->backup_dir . "/$from",
		$to, filterfn => sub { $_[0] !~ m{^pg_tblspc/.} && $_[0] ne 'pg_wal' });
	return $to;
}

sub rmdir_all
{
	my $directory = shift;

	system('rm', '-rf', $directory) == 0 or die "rm $directory: $?";
	return;
}

sub slurp_fork
{
	my ($node, $relation, $fork) = @_;

	$node->safe_psql('postgres', 'CHECKPOINT');
	return slurp_file(path_of($node, 'postgres', $relation, $fork));
}

sub current_lsn
{
	return shift->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
}

# Pages are compared without their checksums, which are computed when they are
# written, or, if they were changed, under the heap's mask.
my %compared = (
	exact => 'substr(page, 1, 8) || substr(page, 11)',
	masked => "substr(page, 1, 8) || walredo_page_mask('Heap', page, blkno)");

# How many pages a query gives, and a hash of what is compared of them
sub pages_of
{
	my ($node, $setting, $query, $how) = @_;
	my $compared = $compared{ $how // 'exact' };

	return $node->safe_psql('postgres', <<SQL);
SET walredo.backup_directory = '$setting';
SELECT count(*), md5(string_agg($compared, '' ORDER BY blkno)) FROM $query
SQL
}

# The same for the bytes of a file
sub pages_in
{
	my ($node, $bytes, $how) = @_;
	my $file = $node->basedir . '/pages_in';
	my $compared = $compared{ $how // 'exact' };

	write_file($file, $bytes);
	return $node->safe_psql('postgres', <<SQL);
SELECT count(*), md5(string_agg($compared, '' ORDER BY blkno))
FROM generate_series(0, pg_size_bytes('${\ length $bytes}') / $page_size - 1)
	AS blkno,
	LATERAL pg_read_binary_file('$file', blkno * $page_size, $page_size)
	AS page
SQL
}

# Status and number of blocks of a relation, and the details
sub verify
{
	my ($node, $setting, $relation, $fork) = @_;

	$fork //= 'main';
	return $node->safe_psql('postgres', <<SQL);
SET walredo.backup_directory = '$setting';
SELECT status, count(*), string_agg(DISTINCT
	regexp_replace(detail, ' [0-9A-F]+/[0-9A-F]+', ' ...', 'g'), '; ')
FROM walredo_verify('$relation', '$fork') GROUP BY 1 ORDER BY 1
SQL
}

# A value, or an error with its detail, with a setting
sub with_setting
{
	my ($node, $setting, $query) = @_;
	my ($rc, $stdout, $stderr) = $node->psql('postgres',
		"SET walredo.backup_directory = '$setting'; $query");

	return $rc == 0 ? $stdout : $stderr;
}

# Has the server remove old WAL, and reads where the rest begins.
sub recycle_wal
{
	my $node = shift;

	$node->safe_psql('postgres', <<'SQL') foreach 1 .. 2;
SELECT pg_logical_emit_message(false, '', repeat('x', 10000));
SELECT pg_switch_wal();
CHECKPOINT
SQL
	return;
}

sub test_cluster
{
	my ($name, $checksums) = @_;
	my $node = wal_server(
		$name,
		allows_streaming => 1,
		extra => $checksums ? ['--data-checksums']
		: $other->pg_version->major >= 18 ? ['--no-data-checksums']
		: [],
		conf => <<'CONF');
wal_keep_size = 0
min_wal_size = 2MB
max_prepared_transactions = 5
track_commit_timestamp = on
CONF
	my $data = $node->data_dir;
	my $backups = $node->backup_dir;
	my $space = $node->basedir . '/space';
	my %lsn;
	my %file;

	mkdir $space or die "mkdir: $!";
	$node->start;

	#
	# What is older than WAL
	#

	$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLESPACE space LOCATION '$space';
CREATE TABLE cold (i int PRIMARY KEY, t text);
INSERT INTO cold SELECT g, repeat('a', 300) FROM generate_series(1, 2000) g;
CREATE TABLE elsewhere (i int PRIMARY KEY, t text) TABLESPACE space;
INSERT INTO elsewhere SELECT g, repeat('a', 300) FROM generate_series(1, 500) g;
CREATE TABLE dropped AS SELECT g, repeat('b', 300)
	FROM generate_series(1, 500) g;
CREATE TABLE cut AS SELECT g, repeat('b', 300) FROM generate_series(1, 500) g;
CREATE TABLE emptied AS SELECT * FROM cut;
CREATE UNLOGGED TABLE unlogged AS SELECT * FROM cut;
CREATE TABLE own AS SELECT * FROM cut;
VACUUM (FREEZE);
SQL
	$node->safe_psql('postgres', <<'SQL');
BEGIN;
INSERT INTO cold VALUES (10000, 'prepared');
PREPARE TRANSACTION 'early';
SQL
	recycle_wal($node);
	my $blocks = $node->safe_psql('postgres',
		"SELECT pg_relation_size('cold') / $page_size");

	# Without a backup
	like(verify($node, '', 'cold'),
		qr/^unverifiable\|$blocks\|WAL, which begins at .*no record/,
		"$name: nothing is known of the table");

	$node->backup('b1',
		backup_options => [ '-T', "$space=" . $node->basedir . '/space1' ]);
	my $b1 = "$backups/b1";

	$node->append_conf('postgresql.conf', 'wal_keep_size = 1GB');
	$node->reload;
	$lsn{backup} = current_lsn($node);
	foreach my $relation (qw(cold cold_pkey elsewhere dropped cut emptied))
	{
		$file{$relation} = slurp_fork($node, $relation);
	}
	$file{vm} = slurp_fork($node, 'cold', 'vm');
	my $oid = $node->safe_psql('postgres',
		"SELECT oid FROM pg_database WHERE datname = 'postgres'");
	my %object = (
		"relmap 1663/$oid" => "base/$oid/pg_filenode.map",
		'relmap 1664/0' => 'global/pg_filenode.map');
	my ($state) = grep { /^[0-9A-F]+$/ } slurp_dir("$data/pg_twophase");
	$object{'twophase ' . hex(substr $state, -8)} = "pg_twophase/$state";
	my %content = map { $_ => slurp_file("$data/$object{$_}") } keys %object;

	#
	# Everything is as it was at the backup
	#

	is(verify($node, $b1, 'cold'), "ok|$blocks|", "$name: all pages are right");
	is(verify($node, $b1, 'cold', 'vm'), 'ok|1|', '... of the map');
	is(verify($node, $b1, $_) =~ /^ok\|\d+\|$/, 1, "... of $_")
	  foreach qw(cold_pkey elsewhere elsewhere_pkey pg_class pg_attribute);
	foreach my $relation (qw(cold cold_pkey elsewhere dropped cut emptied))
	{
		is( pages_of($node, $b1,
				"walredo_pages_at('$relation', 'main', '$lsn{backup}')"),
			pages_in($node, $file{$relation}),
			"$name: $relation as of the backup");
	}
	foreach my $tag (sort keys %object)
	{
		my $file = $node->basedir . '/object';

		write_file($file, $content{$tag});
		is( with_setting($node, $b1, <<SQL), 't',
SELECT walredo_page_at('$tag', '$lsn{backup}') = pg_read_binary_file('$file')
SQL
			"$name: $tag as of the backup");
	}

	#
	# Changes since
	#

	my $dropped_tag = $node->safe_psql('postgres',
		"SELECT walredo_tag('dropped', 'main', 0)");
	$node->safe_psql('postgres', <<'SQL');
UPDATE cold SET t = repeat('z', 290) WHERE i % 100 = 0;
DELETE FROM cold WHERE i BETWEEN 1000 AND 1050;
DELETE FROM cut WHERE g > 100;
UPDATE elsewhere SET t = 'e' WHERE i = 7;
TRUNCATE emptied;
INSERT INTO emptied VALUES (1, 'e');
SQL
	$lsn{changed} = current_lsn($node);
	$file{changed} = slurp_fork($node, 'cold');
	$node->safe_psql('postgres', <<'SQL');
COMMIT PREPARED 'early';
VACUUM cut;
INSERT INTO cut SELECT g, repeat('c', 300) FROM generate_series(1, 100) g;
VACUUM cold;
DROP TABLE dropped;
BEGIN; INSERT INTO cold VALUES (20000); PREPARE TRANSACTION 'late';
BEGIN; SELECT count(*) FROM (SELECT * FROM cold LIMIT 100 FOR SHARE) s;
SAVEPOINT a; UPDATE cold SET t = 'm' WHERE i < 10; COMMIT;
VACUUM FULL pg_class;
SQL
	recycle_wal($node);
	$node->safe_psql('postgres', 'DELETE FROM cold WHERE i = 1500; CHECKPOINT');
	$lsn{last} = current_lsn($node);
	cmp_ok(-s path_of($node, 'postgres', 'cut'),
		'<', length $file{cut}, "$name: a table was truncated");

	# Sequences are logged ahead, and the tables of temporary objects are gone.
	is( with_setting($node, $b1, <<'SQL'), '',
SELECT v.relation, v.fork, v.blkno, v.status, v.detail FROM walredo_verify_all() v
JOIN pg_class c ON c.oid = v.relation
WHERE v.status <> 'ok' AND c.relkind <> 'S'
	AND (c.relpersistence <> 'u' OR v.status <> 'unlogged')
SQL
		"$name: every page of the database is right");
	unlike(verify($node, '', 'cold'), qr/^ok\|\d+\|$/,
		'... which WAL alone does not say');
	is( pages_of($node, $b1,
			"walredo_pages_at('cold', 'main', '$lsn{changed}')", 'masked'),
		pages_in($node, $file{changed}, 'masked'),
		"$name: a table after changes");
	is( pages_of($node, $b1,
			"walredo_pages_at('cold', 'main', '$lsn{backup}')"),
		pages_in($node, $file{cold}),
		'... and before');
	is( pages_of($node, $b1,
			"walredo_pages_at('cold', 'vm', '$lsn{backup}')"),
		pages_in($node, $file{vm}),
		'... and its map');
	is( pages_of($node, $b1,
			"walredo_pages_at('$dropped_tag'::walredo_tag, '$lsn{changed}')"),
		pages_in($node, $file{dropped}),
		"$name: a table that was dropped");
	is( pages_of($node, $b1,
			"walredo_pages_at('cut', 'main', '$lsn{backup}')"),
		pages_in($node, $file{cut}),
		"$name: a table before it was truncated and extended");
	like(
		with_setting($node, $b1,
			"SELECT walredo_page_at('$dropped_tag', '$lsn{last}')"),
		qr/does not exist at .*\nDETAIL: .*removed/,
		"$name: a file that is gone is not taken from the backup");

	# The history of a page that WAL has no image of before it begins
	is( with_setting($node, $b1, <<SQL), 't|t',
SELECT count(*) > 0, bool_and(page IS NOT NULL)
FROM walredo_page_history(walredo_tag('cold', 'vm', 0), '$lsn{backup}', '$lsn{last}')
SQL
		"$name: a history that begins with the backup's page");

	# SLRUs
	foreach my $slru ('pg_xact', 'pg_multixact/offsets',
		'pg_multixact/members', 'pg_commit_ts')
	{
		foreach my $segment (grep { /^[0-9A-F]+$/ } slurp_dir("$data/$slru"))
		{
			foreach my $blkno (0 .. (-s "$data/$slru/$segment") / $page_size - 1)
			{
				my $page = page_sql("$data/$slru/$segment", $blkno);

				is( with_setting($node, $b1,
						"SELECT walredo_page_at('slru $slru/$segment blk $blkno', '$lsn{last}') = $page"),
					't',
					"$name: block $blkno of $slru/$segment");
			}
		}
	}

	#
	# A backup that was copied late: files are newer than an LSN in the middle
	#

	my $late = "$backups/late";
	my $session = session($node);
	$session->query("SELECT pg_backup_start('late', true)");
	$node->safe_psql('postgres', <<'SQL');
ROLLBACK PREPARED 'late';
UPDATE cold SET t = 'before' WHERE i BETWEEN 200 AND 240;
DELETE FROM cut WHERE g BETWEEN 50 AND 60;
SQL
	$lsn{middle} = current_lsn($node);
	$file{middle} = slurp_fork($node, 'cold');
	$file{cut_middle} = slurp_fork($node, 'cut');
	$node->safe_psql('postgres', <<'SQL');
UPDATE cold SET t = 'after' WHERE i BETWEEN 230 AND 300;
DELETE FROM cold WHERE i = 1700;
DELETE FROM cut;
VACUUM cut;
INSERT INTO cut SELECT g, repeat('d', 300) FROM generate_series(1, 30) g;
VACUUM cold;
CHECKPOINT;
SQL
	PostgreSQL::Test::RecursiveCopy::copypath($data, $late,
		filterfn => sub {
			$_[0] !~ m{^(pg_wal|pg_tblspc/.*|postmaster.pid|log)$};
		});
	my ($end, $late_label) = split /\|/,
	  $session->query('SELECT lsn, labelfile FROM pg_backup_stop()');
	$session->quit;
	my ($start) = $late_label =~ /^START WAL LOCATION: (\S+)/ or die;
	write_file("$late/backup_label", "$late_label\n" =~ s/\n\n+\z/\n/r);
	write_file("$late/backup_manifest", <<JSON);
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "$start", "End-LSN": "$end" }
],
JSON
	like(verify($node, $late, $_), qr/^ok\|\d+\|$/,
		"$name: $_, from a backup that was copied late")
	  foreach qw(cold cut cold_pkey pg_class);
	like(verify($node, $late, 'cold', 'vm'), qr/^ok\|1\|$/, '... its map');

	# Either a page is as it was in the middle, or it is not returned.
	foreach my $relation (qw(cold cut))
	{
		my $middle = $node->basedir . '/middle';

		write_file($middle, $file{ $relation eq 'cut' ? 'cut_middle' : 'middle' });
		my ($all, $equal) = split /\|/, $node->safe_psql('postgres', <<SQL);
SET walredo.backup_directory = '$late';
SELECT count(*), count(*) FILTER (WHERE $compared{masked} =
	substr(middle, 1, 8) || walredo_page_mask('Heap', middle, blkno))
FROM walredo_pages_at('$relation', 'main', '$lsn{middle}'),
	LATERAL pg_read_binary_file('$middle', blkno * $page_size, $page_size)
	AS middle
SQL
		is($equal, $all, "$name: all pages of $relation in the middle are right");
		cmp_ok($all, '>=', 1, '... of which there are some');
		cmp_ok($all, '<', (-s $middle) / $page_size, '... but not all');
		is( pages_of($node, "$late:$b1",
				"walredo_pages_at('$relation', 'main', '$lsn{middle}')",
				'masked'),
			pages_in($node, slurp_file($middle), 'masked'),
			'... which an older backup gives');
	}
	like(
		with_setting($node, $late,
			"SELECT walredo_page_at('slru pg_xact/0000 blk 0', '$lsn{middle}')"),
		qr/cannot rebuild .*\nDETAIL: .*ended at .*, so that what it has may be newer/,
		'... and no page without an LSN');

	#
	# Damage
	#

	# A bit of a page of the server
	my $path = path_of($node, 'postgres', 'cold');
	my $block = 30;
	my $good = read_block($path, $block);
	my $bad = $good;
	vec($bad, 8 * 8000, 1) ^= 1;
	$node->stop;
	write_block($path, $block, $bad);
	$node->start;
	my $all = (-s $path) / $page_size;
	like(
		verify($node, $b1, 'cold'),
		$checksums ? qr/^mismatch\|1\|The server cannot read it: .*\nok\|${\($all - 1)}\|$/ :
		  qr/^mismatch\|1\|.*Bytes that differ: 8000\.\nok\|${\($all - 1)}\|$/,
		"$name: a bit of a cold page was changed");
	is( with_setting($node, $b1, <<SQL), $block,
SELECT blkno FROM walredo_verify('cold') WHERE status = 'mismatch'
SQL
		'... and is found where it is');
	$node->stop;
	write_block($path, $block, $good);
	$node->start;

	# A bit of a page of the backup.  Without checksums, only the header tells.
	my $copy = copy_of($node, 'b1');
	my $in_copy = $copy . substr($path, length $data);
	my $damage = read_block($in_copy, $block);
	vec($damage, 8 * ($checksums ? 8000 : 11), 1) ^= 1;
	vec($damage, 8 * ($checksums ? 8001 : 13) + 7, 1) ^= 1;
	write_block($in_copy, $block, $damage);
	my $reason = $checksums ? 'a wrong checksum' : 'an invalid page header';
	like(
		verify($node, $copy, 'cold'),
		qr/^ok\|${\($all - 1)}\|\nunverifiable\|1\|WAL.*no record of the page. Block $block in file "\Q$in_copy\E" of the backup has $reason/,
		"$name: damage to the backup is said");
	like(
		with_setting($node, $copy, "SELECT walredo_page_at('cold', $block, '$lsn{changed}') = pg_read_binary_file('$path', $block * $page_size, $page_size)"),
		qr/^t$|Block $block in file .* has $reason/,
		'... or another base is found');

	# Of two backups, the other one is used
	$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
	$node->backup('b2',
		backup_options => [ '-T', "$space=" . $node->basedir . '/space2' ]);
	my $b2 = "$backups/b2";
	my $lsn_b2 = current_lsn($node);
	is(verify($node, "$b1:$b2", 'cold'), "ok|$all|", "$name: two backups");
	is(verify($node, "$b2:$b1", 'cold'), "ok|$all|", '... in any order');
	is( pages_of($node, "$b2:$b1",
			"walredo_pages_at('cold', 'main', '$lsn{changed}')", 'masked'),
		pages_in($node, $file{changed}, 'masked'),
		'... of which the older one gives pages of before the newer');
	like(
		with_setting($node, $b2, <<SQL),
SET client_min_messages = error;
SELECT walredo_page_at('slru pg_xact/0000 blk 0', '$lsn{backup}')
SQL
		qr/cannot rebuild .*\nDETAIL: .*Backup "\Q$b2\E" starts at .*, which is after the LSN asked for/,
		'... and the newer one alone does not');

	my $in_b2 = $b2 . substr($path, length $data);
	$good = read_block($in_b2, $block);
	write_block($in_b2, $block, $damage);
	is_with_setting($node, "$b1:$b2", "walredo_page_at('cold', $block, '$lsn_b2')",
		"pg_read_binary_file('$path', $block * $page_size, $page_size)",
		"$name: of two backups, one is damaged");
	write_block($in_b2, $block, $good);

	#
	# Backups that cannot be used
	#

	# Without a manifest, it is not known when a page without LSN was copied.
	$copy = copy_of($node, 'b1');
	unlink "$copy/backup_manifest" or die "unlink: $!";
	like(verify($node, $copy, 'cold'),
		$checksums ? qr/^ok\|$all\|$/ : qr/unverifiable.*has no manifest that says where it ended/,
		"$name: without a manifest");
	like(
		with_setting($node, $copy,
			"SELECT walredo_page_at('slru pg_xact/0000 blk 0', '$lsn{last}')"),
		qr/cannot rebuild .*\nDETAIL: .*has no manifest/,
		'... of an SLRU');

	# The files are older than the LSN at which the backup ended.
	$copy = copy_of($node, 'b1');
	my $manifest = slurp_file("$copy/backup_manifest");
	$manifest =~ s{"End-LSN": "[^"]*"}{"End-LSN": "FFFF/0"} or die;
	write_file("$copy/backup_manifest", $manifest);
	like(
		with_setting($node, $copy,
			"SELECT walredo_page_at('slru pg_xact/0000 blk 0', '$lsn{last}')"),
		qr/cannot rebuild .*\nDETAIL: .*ended at FFFF\/0, so that what it has may be newer/,
		"$name: before the end of the backup");

	# A tablespace of the backup that is the server's
	$copy = copy_of($node, 'b1');
	my ($space_oid) = grep { /^\d+$/ } slurp_dir("$data/pg_tblspc");
	symlink($space, "$copy/pg_tblspc/$space_oid") or die "symlink: $!";
	like(verify($node, $copy, 'elsewhere'),
		qr/unverifiable\|\d+\|.*Tablespace $space_oid of backup "\Q$copy\E" is that of the running server/,
		"$name: a link to the server's own tablespace");
	unlink "$copy/pg_tblspc/$space_oid";
	symlink("$space/nowhere", "$copy/pg_tblspc/$space_oid") or die "symlink: $!";
	like(verify($node, $copy, 'elsewhere'),
		qr/unverifiable\|\d+\|.*link to tablespace $space_oid, but/,
		'... and one to nowhere');

	# Another system
	like(
		with_setting($node, $other->backup_dir . '/b', <<SQL),
SELECT walredo_page_at('slru pg_xact/0000 blk 0', '$lsn{last}')
SQL
		qr/cannot rebuild .*\nDETAIL: .*is of the database system with identifier \d+, but WAL is of \d+/,
		"$name: a backup of another system");
	return ($node, \%lsn);
}

sub is_with_setting
{
	my ($node, $setting, $got, $want, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( with_setting($node, $setting, <<SQL), 't', $name);
SELECT substr(got, 11) = substr(want, 11)
FROM (SELECT $got AS got, $want AS want) AS pages
SQL
	return;
}

my ($node, $lsn) = test_cluster('on', 1);
my ($plain) = test_cluster('off', 0);
$plain->stop;

#
# Directories that are no backups
#

my $backups = $node->backup_dir;
my $copy = copy_of($node, 'b1');
my $label = slurp_file("$copy/backup_label");
my $control = slurp_file("$copy/global/pg_control");
my $query = "SELECT walredo_page_at('slru pg_xact/0000 blk 0', '$lsn->{last}')";

like(with_setting($node, "$backups/b1:$backups/nowhere", $query),
	qr{"\Q$backups\E/nowhere" is not a base backup\nDETAIL:  There is no file "PG_VERSION" in it},
	'no directory');
write_file("$copy/PG_VERSION", "9.6\n");
like(with_setting($node, $copy, $query),
	qr/cannot rebuild .*\nDETAIL: .*Backup "\Q$copy\E" is not of PostgreSQL/,
	'another version');
write_file("$copy/PG_VERSION", $node->pg_version->major . "\n");
unlink "$copy/backup_label";
like(with_setting($node, $copy, $query),
	qr/is not a base backup\nDETAIL:  There is no file "backup_label" in it/, 'no label');
write_file("$copy/backup_label.old", $label);
like(with_setting($node, $copy, $query),
	qr/is not a base backup\nDETAIL:  A server was started on it/,
	'a server was started');
foreach my $bad ('', 'START', $label =~ s/ \(file/ file/r, "\0" x 100,
	$label =~ s/TIMELINE: 1/TIMELINE: 2/r, 'x' x 100000)
{
	write_file("$copy/backup_label", $bad);
	like(with_setting($node, $copy, $query),
		qr/file "backup_label" of backup "\Q$copy\E" is not valid/,
		'invalid label: ' . substr($bad, 0, 30) =~ s/[^ -~]//gr);
}
write_file("$copy/backup_label", $label . "INCREMENTAL FROM LSN: 0/2000028\n");
like(with_setting($node, $copy, $query),
	qr/is an incremental backup\nDETAIL:.*\nHINT: .*pg_combinebackup/,
	'an incremental backup');
write_file("$copy/backup_label", $label);
write_file("$copy/global/pg_control", "\1" . substr($control, 1));
like(with_setting($node, $copy, $query),
	qr/pg_control" of backup .* is not valid\nDETAIL:  The checksum of the file is wrong/,
	'damaged pg_control');
write_file("$copy/global/pg_control", substr($control, 0, 100));
like(with_setting($node, $copy, $query),
	qr/pg_control" of backup .* is not valid\nDETAIL:  The file is too short/,
	'a part of pg_control');
write_file("$copy/global/pg_control", $control);
unlink "$copy/pg_xact/0000";
system('mkfifo', "$copy/pg_xact/0000") == 0 or die;
like(with_setting($node, $copy, $query), qr/cannot rebuild .*\nDETAIL: .*pg_xact\/0000" of the backup is not a regular file/,
	'a FIFO');
like(with_setting($node, 'x' x 2000, $query), qr/entry of walredo.backup_directory is too long/,
	'a long name');

#
# The caller's base image, and what it is as of
#

my $clog = 'slru pg_xact/0000 blk 0';
my $zeroes = "decode(repeat('00', $page_size), 'hex')";
my $before = current_lsn($node);
my $xid = $node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
my $after = current_lsn($node);
my $byte = int($xid / 4);
foreach my $case ([ $before, 1 ], [ $after, 0 ])
{
	my ($base_lsn, $is_applied) = @$case;

	is( $node->safe_psql('postgres', <<SQL), $is_applied ? 't' : 'f',
SELECT get_byte(walredo_page_at('$clog', '$after', $zeroes, NULL, '$base_lsn'),
	$byte) & (3 << ($xid % 4 * 2)) > 0
SQL
		'a record ' . ($is_applied ? 'after' : 'before') . ' base_lsn');
}
is( $node->safe_psql('postgres', <<SQL), 't',
SELECT walredo_page_at('$clog', '$after', '\\x${\ unpack('H*', "\0" x $page_size)}', NULL, '$after')
	= walredo_page_at('$clog'::walredo_tag, '$after'::pg_lsn, $zeroes, NULL::text, '$after'::pg_lsn)
SQL
	'literals without types');
my $page = "walredo_page_at('cold', 0, '$lsn->{changed}')";
my $tag = "walredo_tag('cold', 'main', 0)";
is( with_setting($node, "$backups/b1", <<SQL), 't',
SELECT walredo_page_at($tag, '$lsn->{last}', $page, NULL, '$lsn->{changed}')
	= walredo_page_at($tag, '$lsn->{last}')
SQL
	'base_lsn of a page');
foreach my $case (
	[ "NULL, NULL, '$before'", qr/base_lsn was specified, but there is no base image/ ],
	[ "$zeroes, NULL, 'FFFF/0'", qr/base image is newer than the LSN asked for/ ],
	[ "set_byte($zeroes, 5, 1), NULL, '0/1'", qr/base image is newer than base_lsn/ ])
{
	like(
		error_of($node, 'postgres',
			"SELECT walredo_page_at($tag, '$lsn->{last}', $case->[0])"),
		$case->[1],
		"an error: $case->[1]");
}
like(
	error_of($node, 'postgres',
		"SELECT walredo_page_at('$clog'::walredo_tag, '$after', $zeroes, NULL, '0/200000')"),
	qr/WAL segment ".*" is missing/,
	'WAL does not reach back to base_lsn');

#
# The server's own page
#

# WAL has no images of this table, and none of its pages change.
my $own = path_of($node, 'postgres', 'own');
my $blocks = (-s $own) / $page_size;
my $lsn_own = current_lsn($node);
my $want = pages_in($node, slurp_file($own));
is(pages_of($node, '', "walredo_pages_at('own', 'main', '$lsn_own')"),
	$want, 'the pages of a table that is not in WAL');
is_with_setting($node, '', "walredo_page_at('own', 3, '$lsn_own')",
	"pg_read_binary_file('$own', 3 * $page_size, $page_size)",
	'... and one of them');
is_with_setting($node, '', "walredo_page_at(walredo_tag('own', 'main', 3), '$lsn_own')",
	"pg_read_binary_file('$own', 3 * $page_size, $page_size)",
	'... by its address');

# One changes.
$node->safe_psql('postgres', "CHECKPOINT; DELETE FROM own WHERE ctid = '(3,1)'");
like(
	error_of($node, 'postgres',
		"SELECT walredo_page_at('own', 3, '$lsn_own')"),
	qr/cannot rebuild/, 'a page that was changed since');
is( $node->safe_psql('postgres', <<SQL), ($blocks - 1) . '|f',
SELECT count(*), bool_or(blkno = 3) FROM walredo_pages_at('own', 'main', '$lsn_own')
SQL
	'... and the others');
is( $node->safe_psql('postgres', <<SQL), $blocks,
SELECT count(*) FROM walredo_pages_at_all('{own}',
	pg_current_wal_insert_lsn()) WHERE fork = 'main'
SQL
	'... and all of them as of now');

# A page that the server cannot read
$node->stop;
my $bad_page = read_block($own, 5);
vec($bad_page, 8 * 8000, 1) ^= 1;
write_block($own, 5, $bad_page);
$node->start;
$lsn_own = current_lsn($node);
like(
	error_of($node, 'postgres',
		"SELECT walredo_page_at('own', 5, '$lsn_own')"),
	qr/cannot rebuild/, 'a page that the server cannot read');
is( $node->safe_psql('postgres', <<SQL), ($blocks - 1) . '|f',
SET zero_damaged_pages = on;
SELECT count(*), bool_or(blkno = 5) FROM walredo_pages_at('own', 'main', '$lsn_own')
SQL
	'... whatever the settings are');

# A table is truncated, a file is replaced
$lsn_own = current_lsn($node);
$node->safe_psql('postgres', 'TRUNCATE own');
like(
	error_of($node, 'postgres',
		"SELECT walredo_page_at('own', 4, '$lsn_own')"),
	qr/had another file/, 'a page of a table that was truncated');

#
# A backup that was being made when the timeline that is followed was left: its
# files have changes that the new timeline has not.
#

my $left = wal_server(
	'left',
	allows_streaming => 1,
	conf => <<'CONF');
archive_mode = on
CONF
my $archive = $left->archive_dir;
my $late = $left->backup_dir . '/late';
mkdir $archive or -d $archive or die "mkdir: $!";
$left->append_conf('postgresql.conf', "archive_command = 'cp %p $archive/%f'");
$left->start;
$left->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE forked AS SELECT 1 AS i;
CHECKPOINT;
SQL
$left->backup('early');
my $left_data = $left->data_dir;
$left->safe_psql('postgres', <<SQL);
SELECT pg_backup_start('late', true);
SELECT pg_create_restore_point('fork');
UPDATE forked SET i = 2;
CHECKPOINT;
\\! cp -a '$left_data' '$late' && rm -rf '$late'/pg_wal/* '$late'/postmaster.*
\\pset format unaligned
\\pset tuples_only on
SELECT labelfile FROM pg_backup_stop() \\g $late/backup_label
SQL
$left->stop;

my $forked = PostgreSQL::Test::Cluster->new('forked');
$forked->init_from_backup($left, 'early');
$forked->append_conf('postgresql.conf', <<CONF);
archive_command = 'true'
restore_command = 'cp "$archive/%f" "%p"'
recovery_target_name = 'fork'
recovery_target_action = promote
CONF
$forked->set_recovery_mode;
$forked->start;
$forked->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()')
  or die 'not promoted';
foreach my $case ([ 'late', 'ok' ], [ 'late:%/early', 'ok' ])
{
	my ($list, $status) = @$case;
	my $all_backups = $left->backup_dir;

	$list =~ s/%/$all_backups/;
	is( $forked->safe_psql('postgres', <<SQL),
SET client_min_messages = error;
SET walredo.backup_directory = '$all_backups/$list';
SELECT status FROM walredo_verify('forked', 'main', '$archive:\$pg_wal') WHERE blkno = 0
SQL
		$status, "a backup of a timeline that was left: $list" =~ s/ \S*\// /r);
}
$forked->stop;

done_testing();
