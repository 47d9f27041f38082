
# View walredo_progress: what a function that lasts is doing, as another session
# sees it.
#
# Each function is caught in the act by a restore command that waits, or, if it
# does not run one, by being called again and again.  What is seen is compared
# with what was called, and with the segment that the restore command was asked
# for.
#
# A function that reads WAL must be in %calls; a function that does not, in
# @short.  So a new one cannot be forgotten.
#
# Seen to fail:
# - "COPY shows its progress" and "CREATE INDEX keeps its progress", when the
#   display of a command of the server was taken;
# - "the end of one is not that of the other", when a function ended whatever was
#   shown;
# - "a cursor is shown between rows", when nothing was kept between rows;
# - "it is shown again after a subtransaction has failed", when a function that was
#   shown did not begin the display again;
# - "this does not end", when what was kept was not ended with its memory.

use File::Copy qw(move);
use FindBin;
use lib $FindBin::RealBin;
use Time::HiRes qw(usleep);
use WalredoSessions;
use WalredoTest;

# Functions that read no WAL, and do what they do in a moment, or for as long as
# a child takes for it, which walredo_children shows; by their names.
my @short = qw(
  walredo_tag walredo_postgres walredo_clear_visibility_map_flags
  walredo_truncate_visibility_map walredo_clog_set_committed
  walredo_clog_set_aborted walredo_clog_set_subcommitted
  walredo_multixact_offset_create walredo_multixact_members_create
  walredo_commit_ts_set walredo_zero_page walredo_replace walredo_apply
  walredo_apply_agg walredo_page_mask walredo_ping walredo_replay_request
  walredo_decode walredo_record_images walredo_page_diff walredo_repair_undo
  walredo_stat_reset);

my $node = wal_server('main', conf => <<'CONF');
autovacuum = off
walredo.index_wal = off
CONF
my $data = $node->data_dir;
my $temp = PostgreSQL::Test::Utils::tempdir();
my $archive = "$temp/archive";
my $hold = "$temp/hold";

$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE t (i int, t text) WITH (fillfactor = 50);
CREATE TABLE lsns (at text, lsn pg_lsn);
INSERT INTO lsns VALUES ('begin', pg_current_wal_insert_lsn());
INSERT INTO t SELECT g, repeat('a', 200) FROM generate_series(1, 10000) g;
CREATE TABLE times AS SELECT clock_timestamp() AS at;
INSERT INTO lsns VALUES ('middle', pg_current_wal_insert_lsn());
UPDATE t SET t = repeat('b', 200);
SELECT pg_switch_wal();
CHECKPOINT;
INSERT INTO lsns VALUES ('end', pg_current_wal_insert_lsn());
SQL
my $tag = $node->safe_psql('postgres', "SELECT walredo_tag('t', 'main', 0)");
my %lsn = map { split /\|/ } split /\n/, $node->safe_psql('postgres', 'TABLE lsns');
my $time = $node->safe_psql('postgres', 'TABLE times');

# The segments before the last checkpoint are elsewhere.
$node->stop;
my $redo_segment = segment_name(1, checkpoint_lsn($node));
mkdir $archive or die "could not make $archive: $!";
my @segments = grep { /^[0-9A-F]{24}$/ && $_ lt $redo_segment }
  sort { $a cmp $b } slurp_dir("$data/pg_wal");
foreach my $name (@segments)
{
	move("$data/pg_wal/$name", "$archive/$name") or die "could not move $name: $!";
}
cmp_ok(scalar(@segments), '>=', 5, 'segments are elsewhere');
my $held = segment_name(1, $lsn{middle});
my $hold_middle = "$hold.$held";
append_to_file("$temp/restore", <<SH);
#!/bin/sh
echo \$1 >>$temp/asked
while [ -e $hold ] || [ -e $hold.\$1 ]; do sleep 0.01; done
cp $archive/\$1 \$2 2>/dev/null
SH
chmod 0755, "$temp/restore";
$node->append_conf('postgresql.conf', <<CONF);
walredo.restore_command = '$temp/restore %f %p'
walredo.restore_segments = 2
CONF
$node->start;

my $work = session($node);
my $look = session($node);
my $pid = $work->{backend};

# Sets what the restore command waits for: each of these is a file.
sub hold
{
	my @files = @_;
	unlink $hold, $hold_middle, "$temp/asked";
	append_to_file($_, '') foreach @files;
	return;
}

# What the view shows of the session at work.
sub shown
{
	my $columns = shift // '*';
	return $look->query("SELECT $columns FROM walredo_progress WHERE pid = $pid");
}

# Waits until that is some text, or there is something.
sub wait_until_shown
{
	my ($columns, $expected) = @_;
	my $row = '';
	foreach (1 .. 2000)
	{
		$row = shown($columns);
		last if defined $expected ? $row eq $expected : $row ne '';
		usleep(5_000);
	}
	return $row;
}

# Follows a session until nothing is shown of it.  Returns the phases, each as
# often as it has begun, and how often the position has changed within them.  An
# error if what is shown cannot be.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION follow(pid int, backwards bool) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	p walredo_progress;
	last walredo_progress;
	phases text[];
	moves int := 0;
BEGIN
	LOOP
		PERFORM pg_stat_clear_snapshot();
		SELECT * INTO p FROM walredo_progress w WHERE w.pid = $1;
		EXIT WHEN NOT FOUND;
		IF clock_timestamp() > now() + interval '1 minute' THEN
			RAISE 'this does not end: %', p;
		END IF;
		IF p.command <> last.command OR p.blocks_done > p.blocks_total OR
			p.blocks_done < 0 OR p.datname <> current_database() OR
			num_nonnulls(p.wal_start_lsn, p.wal_position_lsn) = 1 OR
			p.wal_position_lsn < p.wal_start_lsn OR
			p.wal_position_lsn > p.wal_end_lsn OR
			p.wal_end_lsn > pg_current_wal_flush_lsn() THEN
			RAISE 'this cannot be: %', p;
		END IF;
		IF p.phase IS DISTINCT FROM last.phase THEN
			phases := phases || p.phase;
		END IF;
		IF (p.wal_start_lsn, p.wal_end_lsn, p.phase <> 'comparing pages') =
			(last.wal_start_lsn, last.wal_end_lsn, true) AND
			p.wal_position_lsn <> last.wal_position_lsn THEN
			moves := moves + 1;
			IF p.wal_position_lsn < last.wal_position_lsn AND NOT backwards THEN
				RAISE '% goes back to %', last, p;
			END IF;
		END IF;
		last := p;
		PERFORM pg_sleep(0.0005);
	END LOOP;
	RETURN concat_ws('|', moves, array_to_string(phases, ', '));
END
$$;

-- Waits for a command of any process for some seconds, and says what is shown.
CREATE FUNCTION catch(wanted text, seconds int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	p walredo_progress;
BEGIN
	WHILE clock_timestamp() < now() + seconds * interval '1 second' LOOP
		PERFORM pg_stat_clear_snapshot();
		SELECT * INTO p FROM walredo_progress w WHERE command = wanted;
		IF FOUND THEN
			IF p.wal_position_lsn BETWEEN p.wal_start_lsn AND
				coalesce(p.wal_end_lsn, p.wal_position_lsn) THEN
				RETURN concat_ws('|', p.datname, p.phase);
			END IF;
			RETURN p::text;
		END IF;
	END LOOP;
	RETURN 'nothing';
END
$$;
SQL

#
# Every function
#

# What the function is shown as, and a call of it, of which the restore command is
# asked for segments.
my %calls = (
	'walredo_wal_records(pg_lsn,pg_lsn,text)' =>
	  "SELECT count(*) FROM walredo_wal_records('$lsn{begin}', '$lsn{end}')",
	'walredo_page_records(walredo_tag,pg_lsn,pg_lsn,text)' =>
	  "SELECT count(*) FROM walredo_page_records('$tag', '$lsn{begin}', '$lsn{end}')",
	'walredo_page_history(walredo_tag,pg_lsn,pg_lsn,text)' =>
	  "SELECT count(page) FROM walredo_page_history('$tag', '$lsn{begin}', '$lsn{end}')",
	'walredo_page_at(walredo_tag,pg_lsn,bytea,text,pg_lsn)' =>
	  "SELECT length(walredo_page_at('$tag'::walredo_tag, '$lsn{middle}'::pg_lsn))",
	'walredo_page_at(regclass,text,bigint,pg_lsn,text)' =>
	  "SELECT length(walredo_page_at('t'::regclass, 'main', 0::int8, '$lsn{middle}'::pg_lsn))",
	'walredo_page_at(regclass,bigint,pg_lsn,text)' =>
	  "SELECT length(walredo_page_at('t'::regclass, 0::int8, '$lsn{middle}'::pg_lsn))",
	'walredo_page_at(text,text,text)' =>
	  "SELECT length(walredo_page_at('t', '0', '$lsn{middle}'))",
	'walredo_page_at(text,text,text,text)' =>
	  "SELECT length(walredo_page_at('t', 'main', '0', '$lsn{middle}'))",
	'walredo_page_at(text,text,text,text,text)' =>
	  "SELECT length(walredo_page_at('t', 'main', '0', '$lsn{middle}', NULL))",
	'walredo_page_at(regclass,text,text,text)' =>
	  "SELECT length(walredo_page_at('t'::regclass, 'main', '0', '$lsn{middle}'))",
	'walredo_pages_at(regclass,text,pg_lsn,text)' =>
	  "SELECT count(*) FROM walredo_pages_at('t', 'main', '$lsn{middle}'::pg_lsn)",
	'walredo_pages_at(walredo_tag,pg_lsn,text)' =>
	  "SELECT count(*) FROM walredo_pages_at('$tag'::walredo_tag, '$lsn{middle}'::pg_lsn)",
	'walredo_pages_at(text,text,text)' =>
	  "SELECT count(*) FROM walredo_pages_at('t', 'main', '$lsn{middle}')",
	'walredo_pages_at_all(regclass[],pg_lsn,text,integer,integer)' =>
	  "SELECT count(*) FROM walredo_pages_at_all(ARRAY['t']::regclass[], '$lsn{middle}')",
	'walredo_pages_at_all(walredo_tag[],pg_lsn,text,integer,integer)' =>
	  "SELECT count(*) FROM walredo_pages_at_all(NULL::walredo_tag[], '$lsn{middle}', NULL, 1, 2)",
	'walredo_pages_at_all(text,pg_lsn,text,integer,integer)' =>
	  "SELECT count(*) FROM walredo_pages_at_all('{t}', '$lsn{middle}')",
	'walredo_rows_at(anyelement,pg_lsn,walredo_tag,text,boolean)' =>
	  "SELECT count(*) FROM walredo_rows_at(NULL::t, '$lsn{middle}')",
	'walredo_row_versions(regclass,pg_lsn,pg_lsn,text)' =>
	  "SELECT count(*) FROM walredo_row_versions('t', '$lsn{begin}', '$lsn{end}')",
	'walredo_verify_images(pg_lsn,pg_lsn,text)' =>
	  "SELECT count(*) FROM walredo_verify_images('$lsn{begin}', '$lsn{end}')",
	'walredo_wal_stats(pg_lsn,pg_lsn,text,text)' =>
	  "SELECT count(*) FROM walredo_wal_stats('$lsn{begin}', '$lsn{end}')",
	'walredo_report(walredo_tag,pg_lsn,pg_lsn,text)' =>
	  "SELECT length(walredo_report('$tag', '$lsn{begin}'))",
	'walredo_relation_report(regclass,text,pg_lsn,pg_lsn,text)' =>
	  "SELECT length(walredo_relation_report('t'))",
	'walredo_files(pg_lsn,pg_lsn,text)' =>
	  "SELECT count(*) FROM walredo_files('$lsn{begin}', '$lsn{end}')",
	'walredo_lsn_at(timestamp with time zone,text)' => "SELECT walredo_lsn_at('$time')",
	'walredo_verify(regclass,text,text)' => "SELECT count(*) FROM walredo_verify('t')",
	'walredo_verify(regclass,text,bigint,text)' =>
	  "SELECT count(*) FROM walredo_verify('t', 'main', 0)",
	'walredo_verify_all(regclass[],text)' =>
	  "SELECT count(*) FROM walredo_verify_all(ARRAY['t']::regclass[])",
	'walredo_verify_slru(text,text)' => 'SELECT count(*) FROM walredo_verify_slru()',
	'walredo_check(regclass[],boolean,boolean,text)' =>
	  "CALL walredo_check(ARRAY['t']::regclass[], true)",
	'walredo_repair(regclass,text,bigint,boolean,text,pg_lsn,bytea,text)' =>
	  "SELECT count(*) FROM walredo_repair('t')",
	'walredo_repair_slru(text,bigint,boolean,text)' =>
	  "SELECT count(*) FROM walredo_repair_slru('pg_xact')");


my %sees;
foreach my $line (split /\n/, $look->query(<<'SQL'))
SELECT p.proname, p.oid::regprocedure FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'walredo')
	AND p.proname NOT LIKE '\_%'
SQL
{
	my ($name, $signature) = split /\|/, $line;
	push @{ $sees{ (grep { $_ eq $name } @short) ? 'short' : 'long' } }, $signature;
}
is_deeply(
	[ sort @{ $sees{long} } ],
	[ sort keys %calls, 'walredo_index_wal(text)', 'walredo_wal_range(text)' ],
	'every function that is not short is called here');

my %followed;
foreach my $function (sort keys %calls)
{
	my ($command) = $function =~ /^(\w+)/;
	my $backwards = $function =~ /walredo_(page_at|page_history|lsn_at|check|repair|report|relation_report|verify\(regclass,text,bigint|row)/;

	# It is seen, until it is canceled.
	hold($hold);
	begin_query($work, $calls{$function});
	is(wait_until_shown('datname, command, phase', "postgres|$command|restoring WAL"),
		"postgres|$command|restoring WAL", "$function is seen");
	$look->query("SELECT pg_cancel_backend($pid)");
	like((end_query($work))[1], qr/57014/, "$function is canceled");
	is(shown(), '', '... and not seen any more');

	# It is seen, until it ends.  Of functions of one name, one is enough for this,
	# but the block of a relation is verified in another way than the relation.
	next if $followed{$command}++ && $command ne 'walredo_verify';
	hold($hold);
	begin_query($work, $calls{$function});
	wait_until_shown('phase', 'restoring WAL');
	begin_query($look, "SELECT follow($pid, " . ($backwards ? 'true' : 'false') . ')');
	hold();
	my ($out, $err) = end_query($work);
	my ($followed, $problem) = end_query($look);
	is("$err$problem", '', "$function: what is seen can be");
	is(shown(), '', '... and it is not seen any more');
}

# These two run no command here.  The first is called again and again, and the
# second for directories of which it has not made the indexes.
my $full = copy_segments($archive, "$temp/full");
unlink "$full/$segments[-1]";
begin_query($work, "SELECT count(*) FROM generate_series(1, 1000000) g, LATERAL walredo_wal_range('$full' || left(g::text, 0))");
is($look->query("SELECT catch('walredo_wal_range', 20)"),
	'postgres|reading WAL', 'walredo_wal_range(text) is seen');
$look->query("SELECT pg_cancel_backend($pid)");
end_query($work);
my $caught = 'nothing';
foreach my $i (1 .. 10)
{
	my $directory = copy_segments($archive, "$temp/archive$i");
	begin_query($look, "SELECT catch('walredo_index_wal', 2)");
	$node->poll_query_until('postgres',
		"SELECT state = 'active' FROM pg_stat_activity WHERE pid = $look->{backend}")
	  or die 'nobody looks';
	run_query($work, "SELECT * FROM walredo_index_wal('$directory')");
	($caught) = end_query($look);
	last if $caught ne 'nothing';
}
is($caught, 'postgres|reading WAL', 'walredo_index_wal(text) is seen');
is(shown(), '', '... and not seen any more');

#
# What is seen
#

# Begins a call, and waits until the command is asked for the segment in the
# middle, which may be ahead of its need, and until something is shown.  Returns
# what is.
sub begin_held
{
	my ($query, $columns, $expected) = @_;
	hold($hold_middle);
	begin_query($work, $query);
	foreach (1 .. 2000)
	{
		last if -e "$temp/asked" && slurp_file("$temp/asked") =~ /^$held$/m;
		usleep(5_000);
	}
	return wait_until_shown($columns // 'phase', $expected // 'restoring WAL');
}

# The same, of which this is to be shown.
sub is_held
{
	my ($query, $columns, $expected, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(begin_held($query, $columns, $expected), $expected, $name);
	return;
}

# Ends it.
sub end_held
{
	hold();
	my ($out, $err) = end_query($work);
	return $out . $err;
}

run_query($work, 'SET walredo.index_size = 0');

# It is the position of the segment that the command has been asked for.
foreach my $function (
	'walredo_wal_records(pg_lsn,pg_lsn,text)',
	'walredo_files(pg_lsn,pg_lsn,text)',
	'walredo_verify_images(pg_lsn,pg_lsn,text)')
{
	is_held($calls{$function}, 'phase, pg_walfile_name(wal_position_lsn + 1), wal_end_lsn, relid, tag, blocks_total',
		"restoring WAL|$held|$lsn{end}|||0",
		"$function: the segment that is asked for is shown");
	end_held();
}

# What is asked for
is_held($calls{'walredo_page_history(walredo_tag,pg_lsn,pg_lsn,text)'}, 'relid, fork, tag',
	"||$tag", 'a page that is asked for is shown');
end_held();
is_held($calls{'walredo_page_at(regclass,bigint,pg_lsn,text)'}, 'relid::regclass, fork, tag',
	"t|main|$tag", 'a block that is asked for is shown');
end_held();
is_held($calls{'walredo_verify(regclass,text,text)'}, 'relid::regclass, fork, blocks_total',
	't|main|' . $look->query("SELECT pg_relation_size('t') / 8192"),
	'a relation that is verified is shown');
is( $look->query("SELECT relid::regclass, fork, phase FROM walredo_verify_progress WHERE pid = $pid"),
	't|main|reading WAL', '... in the view of verifications, too');
end_held();
begin_held($calls{'walredo_files(pg_lsn,pg_lsn,text)'});
is( $look->query("SELECT count(*) FROM walredo_verify_progress WHERE pid = $pid"),
	0, '... which has no other functions');
end_held();

# An error after WAL was read
begin_held("SELECT walredo_page_at('t', 100000, '$lsn{middle}'::pg_lsn)");
like(end_held(), qr/ERROR/, 'a page that is not there is an error');
is(shown(), '', 'an error ends it');

#
# Functions that return row by row
#

# The first row of a query that is not read to its end.
my $records = "FROM public.walredo_wal_records('$lsn{begin}', '$lsn{end}')";
my $changes = "FROM walredo_page_records('$tag', '$lsn{begin}', '$lsn{end}')";
hold();
is((run_query($work, "SELECT 1 $records LIMIT 1"))[0], 1, 'LIMIT: there is a row');
is(shown(), '', 'LIMIT ends it');
run_query($work, "BEGIN; DECLARE a CURSOR FOR SELECT 1 $records; DECLARE b CURSOR FOR SELECT 1 $changes; MOVE 5000 a");
is(shown('command'), 'walredo_wal_records', 'a cursor is shown between rows');
run_query($work, 'MOVE 20 b');
is(shown('command'), 'walredo_page_records', 'of two cursors, the last that has read WAL');
run_query($work, 'FETCH a; FETCH a');
is(shown('command'), 'walredo_page_records', '... even if the other returns rows');
run_query($work, 'MOVE 5000 a');
is(shown('command'), 'walredo_wal_records', '... until it reads WAL');
run_query($work, 'CLOSE b');
is(shown('command'), 'walredo_wal_records', 'the end of one is not that of the other');
run_query($work, 'SAVEPOINT s; SELECT 1/0');
run_query($work, 'ROLLBACK TO s; MOVE 5000 a');
is(shown('command'), 'walredo_wal_records', 'it is shown again after a subtransaction has failed');
run_query($work, 'CLOSE a');
is(shown(), '', 'the end of a cursor ends it');
run_query($work, 'COMMIT');
run_query($work, "BEGIN; DECLARE a CURSOR FOR SELECT 1 FROM walredo_rows_at(NULL::t, '$lsn{middle}'); MOVE 1000 a");
is(shown('command, phase, relid::regclass, blocks_done < blocks_total, blocks_total'),
	'walredo_rows_at|returning rows|t|t|' . $look->query("SELECT count(*) FROM walredo_pages_at('t', 'main', '$lsn{middle}'::pg_lsn)"),
	'a scan of rows is shown');
run_query($work, 'CLOSE a');
is(shown(), '', 'its end ends it');
run_query($work, "DECLARE a CURSOR FOR SELECT 1 FROM walredo_rows_at(NULL::t, '$lsn{middle}'); MOVE 1000 a");
is(shown('command'), 'walredo_rows_at', 'another one is shown');
run_query($work, 'ROLLBACK');
is(shown(), '', 'ROLLBACK ends it');

#
# Commands of the server, which show their own progress
#

begin_held("COPY (SELECT start_lsn $records) TO '/dev/null'",
	'phase, pg_walfile_name(wal_position_lsn + 1)', "restoring WAL|$held");
is( $look->query("SELECT command, tuples_processed > 0 FROM pg_stat_progress_copy WHERE pid = $pid"),
	'COPY TO|t', 'COPY shows its progress');
is(shown('command, phase'), 'walredo_wal_records|restoring WAL', '... and the function its own');
end_held();
is( $look->query('SELECT count(*) FROM pg_stat_progress_copy') . shown(),
	'0', 'both end');

run_query($work, "BEGIN; DECLARE a CURSOR FOR SELECT 1 $records; MOVE 5000 a");
is(shown('command'), 'walredo_wal_records', 'a cursor before COPY');
begin_held("COPY (SELECT start_lsn $changes) TO '/dev/null'");
is(shown('command'), 'walredo_page_records', 'COPY with another function');
end_held();
is(shown(), '', '... ends with it');
run_query($work, 'MOVE 5000 a');
is(shown('command'), 'walredo_wal_records', 'the cursor is shown again');
run_query($work, 'COMMIT');
is(shown(), '', '... and ends');

$node->safe_psql('postgres', <<"SQL");
CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE SQL AS
\$\$SELECT count(*)::int $records\$\$;
CREATE TABLE small AS SELECT 1 AS i;
SQL
begin_held('CREATE INDEX ON small (slow(i))', 'count(*)', 0);
is( $look->query("SELECT command FROM pg_stat_progress_create_index WHERE pid = $pid"),
	'CREATE INDEX', 'CREATE INDEX keeps its progress');
is(shown(), '', '... and the function has none');
end_held();
is( $look->query('SELECT count(*) FROM pg_stat_progress_create_index'), 0, 'it ends');

#
# Without
#

run_query($work, 'SET track_activities = off');
hold();
is((run_query($work, $calls{'walredo_files(pg_lsn,pg_lsn,text)'}))[1], '', 'without track_activities, functions work');
begin_held($calls{'walredo_files(pg_lsn,pg_lsn,text)'}, 'count(*)', 0);
is(shown(), '', '... and are not seen');
end_held();

$work->quit;
$look->quit;

#
# The worker that makes indexes, which there is if the library is preloaded
#

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'walredo'");
$node->restart;
$node->safe_psql('postgres', <<'SQL');
ALTER SYSTEM SET walredo.index_wal = on;
SELECT pg_reload_conf();
CREATE TABLE more (t text);
SQL
$look = session($node);
foreach (1 .. 10)
{
	begin_query($look, "SELECT catch('walredo index worker', 3)");
	$node->safe_psql('postgres', <<'SQL');
INSERT INTO more SELECT repeat('c', 200) FROM generate_series(1, 50000);
SELECT pg_switch_wal();
SQL
	($caught) = end_query($look);
	last if $caught ne 'nothing';
}
is($caught, 'reading WAL', 'the worker that makes indexes is seen');
ok( $node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM walredo_progress'),
	'... until it has made them');
$look->quit;
$node->stop;
done_testing();
