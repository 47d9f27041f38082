# Native records, compared with what the server itself wrote: pages of CLOG,
# multixacts, commit timestamps and the visibility map are copied before and
# after a workload, the WAL in between is turned into native records, and these
# must lead from the first copy to the second, byte for byte.
#
# The WAL is read with pg_waldump, whose text is the server's own account of
# each record.  It gives the start of a record rather than its end, but none of
# these pages holds an LSN that a native record sets.  (The server itself stamps
# pages of the visibility map when it clears bits, since August 2026.)
#
# Seen to fail: with a truncation that cleared all of a map page, or a block too
# few.

use File::Copy qw(copy);
use File::Path qw(mkpath);
use WalredoTest;
use WalredoWorkload;

# pg_waldump prints timestamps in local time
$ENV{TZ} = 'UTC';
$ENV{PGTZ} = 'UTC';

my $pages_per_segment = 32;
my %slrus = map { $_ => 1 }
  qw(pg_xact pg_multixact/offsets pg_multixact/members pg_commit_ts);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
wal_level = replica
track_commit_timestamp = on
max_prepared_transactions = 50
autovacuum = off
checkpoint_timeout = 1h
CONF

my $offsets_per_page = offsets_per_page($node);

# Near the ends of the first page of CLOG and of both multixact SLRUs, so that
# a small workload crosses them all.
my $first_xid = $clog_per_page - 100;
my $first_multi = $offsets_per_page - 8;
my $first_member = $members_per_page - 16;
command_ok(
	[
		'pg_resetwal', '-x', $first_xid, '-m', "$first_multi,1",
		'-O', $first_member, $node->data_dir
	],
	'start just below page edges');

$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE log (i int, t text);
CREATE TABLE locked (i int PRIMARY KEY, t text);
INSERT INTO locked SELECT i, 'x' FROM generate_series(1, 100) AS i;
SELECT pg_replication_origin_create('elsewhere');
-- three pages with all bits set, then twenty that can be truncated away
CREATE TABLE mapped (i int, t text) WITH (fillfactor = 50);
ALTER TABLE mapped ALTER t SET STORAGE plain;
INSERT INTO mapped SELECT i, repeat('x', 500) FROM generate_series(1, 161) AS i;
DELETE FROM mapped WHERE ctid >= '(3,0)';
VACUUM (FREEZE, TRUNCATE off) mapped;
SQL
my $map_path = $node->safe_psql('postgres',
	"SELECT pg_relation_filepath('mapped') || '_vm'");

#
# Helpers
#

# Copies the files under examination, with the server down.
sub save_pages
{
	my $dir = shift;

	$node->stop;
	foreach my $slru (keys %slrus)
	{
		mkpath("$dir/$slru");
		foreach my $file (glob($node->data_dir . "/$slru/*"))
		{
			my ($name) = $file =~ m{/([^/]+)$};
			copy($file, "$dir/$slru/$name") or die "copy $file: $!";
		}
	}
	copy($node->data_dir . "/$map_path", "$dir/map") or die "copy map: $!";
	return;
}

# The records for each page, in order, as calls of their constructors.
my %records;

sub add_record
{
	my ($slru, $page, $call) = @_;
	my $tag = sprintf 'slru %s/%04X blk %d', $slru,
	  $page / $pages_per_segment, $page % $pages_per_segment;
	push @{ $records{$tag} }, $call;
	return;
}

# Sorts numbers by the page they are on.
sub by_page
{
	my ($per_page, @numbers) = @_;
	my %pages;
	push @{ $pages{ int($_ / $per_page) } }, $_ foreach @numbers;
	return %pages;
}

sub add_clog
{
	my ($lsn, $status, @xids) = @_;
	my %pages = by_page($clog_per_page, @xids);
	foreach my $page (keys %pages)
	{
		my $list = join ',', @{ $pages{$page} };
		add_record('pg_xact', $page,
			"walredo_clog_set_$status('$lsn', '{$list}')");
	}
	return;
}

# As the server does it: subtransactions on other pages than their parent's
# are sub-committed first.
sub add_commit
{
	my ($lsn, $time, $origin, $xid, @subxids) = @_;
	my $xid_page = int($xid / $clog_per_page);
	my @elsewhere =
	  grep { int($_ / $clog_per_page) != $xid_page } @subxids;

	add_clog($lsn, 'subcommitted', @elsewhere) if @elsewhere;
	add_clog($lsn, 'committed', $xid, @subxids);

	my %pages = by_page($commit_ts_per_page, $xid, @subxids);
	foreach my $page (keys %pages)
	{
		my $list = join ',', @{ $pages{$page} };
		add_record('pg_commit_ts', $page,
			"walredo_commit_ts_set('$lsn', '{$list}', '$time', $origin)");
	}
	return scalar @elsewhere;
}

my %member_status = (
	keysh => 0,
	sh => 1,
	fornokeyupd => 2,
	forupd => 3,
	nokeyupd => 4,
	upd => 5);

# A multixact's offset, the offset after its members, which is where the next
# one's begin, and the members, page by page.
sub add_multixact
{
	my ($lsn, $mid, $moff, @members) = @_;
	my $next = $moff + @members;
	my %pages;

	add_record('pg_multixact/offsets', int($mid / $offsets_per_page),
		"walredo_multixact_offset_create('$lsn', '$mid', $moff)");
	add_record(
		'pg_multixact/offsets',
		int(($mid + 1) / $offsets_per_page),
		"walredo_multixact_offset_create('$lsn', '" . ($mid + 1) . "', $next)");

	foreach my $i (0 .. $#members)
	{
		my $page = int(($moff + $i) / $members_per_page);
		$pages{$page} //= [ $moff + $i ];
		push @{ $pages{$page} },
		  "ROW('$members[$i][0]', $member_status{$members[$i][1]})";
	}
	foreach my $page (keys %pages)
	{
		my ($start, @rows) = @{ $pages{$page} };
		add_record('pg_multixact/members', $page,
			    "walredo_multixact_members_create('$lsn', $start, ARRAY["
			  . join(', ', @rows)
			  . ']::walredo_multixact_member[])');
	}
	return scalar keys %pages;
}

# Applies the calls' records to one page of the first file and compares the
# result with the same page of the second: all of a page of an SLRU, and of a
# page of the visibility map what comes after LSN and checksum.
sub compare_page
{
	my ($tag, $before, $after, $blkno, @calls) = @_;
	my $start = $tag =~ /^rel / ? 11 : 1;
	my $base = page_sql($before, $blkno);
	my $want = page_sql($after, $blkno);

	is_page(
		$node,
		"substr(walredo_apply('$tag', $base, ARRAY["
		  . join(', ', @calls)
		  . "]), $start)",
		"substr($want, $start)",
		"$tag: as the server wrote it, from " . @calls . ' records');
	return;
}

#
# SLRUs
#

my $copies = PostgreSQL::Test::Utils::tempdir;

save_pages("$copies/before");
my $start_lsn = checkpoint_lsn($node);
$node->start;

# single transactions, and subtransactions without and with failed ones
$node->safe_psql('postgres', "INSERT INTO log VALUES ($_)") foreach 1 .. 10;
$node->safe_psql('postgres', 'BEGIN; INSERT INTO log VALUES (11); ROLLBACK')
  foreach 1 .. 5;
# In one session, as the server writes other commit timestamps than redo does
# for a session's first transaction, if it has an origin but no time of its own.
$node->safe_psql('postgres',
	WalredoWorkload::subtransactions('log', 30, 3) . <<'SQL');
SELECT pg_replication_origin_session_setup('elsewhere');
INSERT INTO log VALUES (1);
SELECT pg_replication_origin_xact_setup('0/12345', '2001-02-03 04:05:06.789Z');
INSERT INTO log VALUES (2);
SQL
# one with its own nested subtransactions, all of which fail in the end
$node->psql('postgres', <<'SQL');
BEGIN;
SAVEPOINT a; INSERT INTO log VALUES (1);
SAVEPOINT b; INSERT INTO log VALUES (2);
RELEASE b;
SAVEPOINT c; INSERT INTO log VALUES (3);
ROLLBACK TO a;
INSERT INTO log VALUES (4);
ROLLBACK;
SQL
# two trees with more subtransactions than a session keeps in shared memory;
# with what comes between them they go across the end of the CLOG page
foreach my $outcome ('COMMIT', 'ROLLBACK', 'COMMIT')
{
	my $savepoints = join '',
	  map { "SAVEPOINT s$_; INSERT INTO log VALUES ($_);" } 1 .. 70;
	$node->safe_psql('postgres',
		"BEGIN; INSERT INTO log VALUES (0); $savepoints $outcome");
}
# prepared ones, with both ends and with none
foreach my $outcome ('COMMIT PREPARED', 'ROLLBACK PREPARED', undef)
{
	$node->safe_psql('postgres', <<'SQL');
BEGIN;
INSERT INTO log VALUES (1);
SAVEPOINT a; INSERT INTO log VALUES (2);
SAVEPOINT b; INSERT INTO log VALUES (3);
ROLLBACK TO b;
SAVEPOINT c; INSERT INTO log VALUES (4);
PREPARE TRANSACTION 'p';
SQL
	if (defined $outcome)
	{
		$node->safe_psql('postgres', "$outcome 'p'");
	}
}
# rows locked by ever more transactions, then changed by one more; prepared
# transactions hold their locks like sessions
my $nlockers = 0;
foreach my $row (1 .. 4)
{
	my @strengths =
	  $row % 2 ? ('KEY SHARE') x 6 : (('SHARE') x 3, ('KEY SHARE') x 2);
	foreach my $strength (@strengths)
	{
		$nlockers++;
		$node->safe_psql('postgres',
			"BEGIN; SELECT FROM locked WHERE i = $row FOR $strength; "
			  . "PREPARE TRANSACTION 'l$nlockers'");
	}
	# the others only lock the key, so this need not wait
	$node->safe_psql('postgres', "UPDATE locked SET t = 'y' WHERE i = $row")
	  if $row % 2;
}
# within one transaction: a lock, and a stronger one or a change in a
# subtransaction
$node->safe_psql('postgres', <<'SQL');
BEGIN;
SELECT FROM locked WHERE i = 20 FOR KEY SHARE;
SELECT FROM locked WHERE i = 21 FOR SHARE;
SELECT FROM locked WHERE i = 22 FOR SHARE;
SELECT FROM locked WHERE i = 23 FOR SHARE;
SAVEPOINT a;
SELECT FROM locked WHERE i = 20 FOR NO KEY UPDATE;
SELECT FROM locked WHERE i = 21 FOR UPDATE;
UPDATE locked SET t = 'z' WHERE i = 22;
DELETE FROM locked WHERE i = 23;
COMMIT;
SQL
$node->safe_psql('postgres', "COMMIT PREPARED 'l$_'") foreach 1 .. 5;
$node->safe_psql('postgres', "ROLLBACK PREPARED 'l$_'") foreach 6 .. 10;

save_pages("$copies/after");
my $end_lsn = checkpoint_lsn($node);

my ($waldump, $errors) = run_command(
	[
		'pg_waldump', '--path', $node->data_dir . '/pg_wal',
		'--start', $start_lsn, '--end', $end_lsn
	]);
is($errors, '', 'pg_waldump reads the WAL');

my %seen;
my $timestamp = qr/\d+-\d+-\d+ [\d:.]+ UTC/;
foreach my $line (split /\n/, $waldump)
{
	my ($rmgr, $xid, $lsn, $desc) = $line =~
	  /^rmgr: (\w+)\s.* tx:\s+(\d+), lsn: ([^,]+), .* desc: (.*)$/
	  or die "unexpected line of pg_waldump: $line";

	if ($rmgr eq 'Transaction')
	{
		# ASSIGNMENT, PREPARE and INVALIDATION change none of the pages
		my ($what, $prepared, $time) =
		  $desc =~ /^(COMMIT|ABORT)(?:_PREPARED (\d+):)? ($timestamp)/
		  or next;
		my @subxids =
		  $desc =~ /; subxacts:((?: \d+)+)/ ? split(' ', $1) : ();
		my $origin = 0;

		if ($desc =~ /; origin: node (\d+), .* at ($timestamp)/)
		{
			($origin, $time) = ($1, $2);
			$seen{origin}++;
		}
		$xid = $prepared if defined $prepared;
		$seen{ lc($what) . (defined $prepared ? '_prepared' : '') }++;
		$seen{subxacts}++ if @subxids;
		$seen{many_subxacts}++ if @subxids > 64;
		if ($what eq 'COMMIT')
		{
			add_commit($lsn, $time, $origin, $xid, @subxids)
			  and $seen{spanning_commit}++;
		}
		else
		{
			add_clog($lsn, 'aborted', $xid, @subxids);
		}
	}
	elsif ($desc =~ /^(ZEROPAGE|ZERO_OFF_PAGE|ZERO_MEM_PAGE) (?:page )?(\d+)/)
	{
		my $slru =
			$rmgr eq 'CLOG' ? 'pg_xact'
		  : $rmgr eq 'CommitTs' ? 'pg_commit_ts'
		  : $1 eq 'ZERO_OFF_PAGE' ? 'pg_multixact/offsets'
		  : 'pg_multixact/members';
		add_record($slru, $2, "walredo_zero_page('$lsn')");
		$seen{"zero $slru"}++;
	}
	elsif ($rmgr eq 'MultiXact' && $desc =~ /^CREATE_ID (\d+) offset (\d+) nmembers (\d+): (.*)/)
	{
		my ($mid, $moff, $nmembers, $list) = ($1, $2, $3, $4);
		my @members;

		push @members, [ $1, $2 ] while $list =~ /(\d+) \((\w+)\)/g;
		is(scalar @members, $nmembers, "multixact $mid: all members read");
		$seen{"status $_->[1]"}++ foreach @members;
		$seen{multixact}++;
		$seen{multixact_of_many}++ if $nmembers > 2;
		add_multixact($lsn, $mid, $moff, @members) > 1
		  and $seen{spanning_multixact}++;
	}
	elsif ($rmgr =~ /^(CLOG|CommitTs|MultiXact)$/)
	{
		die "unexpected record: $line";
	}
}

# The workload did what it is for.
ok($seen{$_}, "WAL has: $_")
  foreach (
	qw(commit abort commit_prepared abort_prepared subxacts many_subxacts
	spanning_commit origin multixact multixact_of_many spanning_multixact),
	map({ "status $_" } sort keys %member_status),
	map({ "zero $_" } sort keys %slrus));

$node->start;
foreach my $slru (sort keys %slrus)
{
	my $changed = 0;
	my @names = map { m{/([^/]+)$} } glob("$copies/after/$slru/*");

	foreach my $name (@names)
	{
		my $before = "$copies/before/$slru/$name";
		my $after = "$copies/after/$slru/$name";

		foreach my $blkno (0 .. (-s $after) / $page_size - 1)
		{
			# some files have names of 15 digits since PostgreSQL 17
			my $tag = sprintf("slru $slru/%04X blk $blkno", hex($name));
			my $calls = delete $records{$tag};

			if (defined $calls)
			{
				$changed++
				  if slurp_page($before, $blkno) ne
				  slurp_page($after, $blkno);
				compare_page($tag, $before, $after, $blkno, @$calls);
			}
			else
			{
				ok(slurp_page($before, $blkno) eq slurp_page($after, $blkno),
					"$tag: not in WAL and not changed");
			}
		}
	}
	cmp_ok($changed, '>=', 2, "$slru: at least two pages have changed");
}
is(join(', ', sort keys %records),
	'', 'no records for pages that the server has not written');

#
# Visibility map
#

# The prepared transactions that are left would keep VACUUM from its work.
$node->safe_psql('postgres', "ROLLBACK PREPARED '$_'")
  foreach split /\n/,
  $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts');

# The commands below only clear bits, so that they can be told natively.
my $map_tag = $node->safe_psql('postgres', "SELECT walredo_tag('mapped', 'vm', 0)");
is( $node->safe_psql(
		'postgres', "SELECT pg_relation_size('mapped') / $page_size > 20"),
	't',
	'there are pages to truncate');
save_pages("$copies/map_before");
$node->start;
my $moved = $node->safe_psql('postgres', <<'SQL');
DELETE FROM mapped WHERE ctid = '(0,1)';
BEGIN;
SELECT FROM mapped WHERE ctid = '(1,1)' FOR UPDATE;
COMMIT;
-- too long for its page, so it goes to another
UPDATE mapped SET t = repeat('y', 6000) WHERE ctid = '(2,1)'
RETURNING split_part(trim('(' FROM ctid::text), ',', 1);
SQL
($moved) = $moved =~ /(\d+)$/;
cmp_ok($moved, '>', 2, 'a row has moved to another page');
save_pages("$copies/map_after");
$node->start;
compare_page(
	$map_tag,
	"$copies/map_before/map",
	"$copies/map_after/map",
	0,
	"walredo_clear_visibility_map_flags('0/1', 0, NULL, 3)",
	"walredo_clear_visibility_map_flags('0/2', NULL, 1, 2)",
	"walredo_clear_visibility_map_flags('0/3', $moved, 2, 3)");
ok( slurp_page("$copies/map_before/map", 0) ne
	  slurp_page("$copies/map_after/map", 0),
	'the map has changed');

# Truncation.  A first VACUUM sets the bits again, of the empty pages too; the
# second one finds nothing to do but to truncate.
$node->safe_psql('postgres', <<'SQL');
DELETE FROM mapped WHERE ctid >= '(3,0)';
VACUUM (FREEZE, TRUNCATE off) mapped;
SQL
save_pages("$copies/cut_before");
$node->start;
$node->safe_psql('postgres', 'VACUUM (TRUNCATE on) mapped');
my $nblocks = $node->safe_psql('postgres',
	"SELECT pg_relation_size('mapped') / $page_size");
is($nblocks, 3, 'VACUUM has truncated the table');
save_pages("$copies/cut_after");
$node->start;
compare_page(
	$map_tag,
	"$copies/cut_before/map",
	"$copies/cut_after/map",
	0,
	sprintf("walredo_truncate_visibility_map('0/1', %d, %d)",
		$nblocks / 4, $nblocks % 4 * 2));
ok( slurp_page("$copies/cut_before/map", 0) ne
	  slurp_page("$copies/cut_after/map", 0),
	'the map has changed');

$node->stop;
done_testing();
