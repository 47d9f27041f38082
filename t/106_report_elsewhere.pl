# Reports that are cancelled, on a standby, of WAL of two timelines, and of pages
# that are not there any more.
#
# Seen to fail: when the block number was not compared with the number of blocks;
# when WAL of another timeline was taken for that of the server; when a cancel was
# taken for WAL that cannot be read.

use FindBin;
use lib $FindBin::RealBin;

use WalredoSessions;
use WalredoTest;

my $primary = wal_server(
	'primary',
	allows_streaming => 1,
	extra => ['--data-checksums'],
	conf => <<'CONF');
shared_preload_libraries = 'walredo'
walredo.index_wal = off
CONF
$primary->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE hot (id int, n int) WITH (fillfactor = 50);
INSERT INTO hot VALUES (1, 0);
DO $$ BEGIN FOR i IN 1 .. 3000 LOOP UPDATE hot SET n = i; COMMIT; END LOOP; END $$;
CREATE TABLE t (id int, n int);
INSERT INTO t SELECT i, 0 FROM generate_series(1, 20) i;
UPDATE t SET n = 1 WHERE id < 5;
SQL
my $hot = "walredo_tag('hot', 0)";
my $page = "walredo_tag('t', 0)";

sub value
{
	my ($node, $sql) = @_;

	return plain_lsns($node->safe_psql('postgres', $sql));
}

# A report as text, in one line; and the LSNs of its pictures, one a line.
sub report
{
	my ($node, $arguments, $settings) = @_;
	my $html = value($node, ($settings // '') . "SELECT walredo_report($arguments)");
	my @pictures = $html =~ m{<h3>Record \d+, ([^<]*)}g;
	my $text = $html =~ s/<style>.*?<\/style>//sr =~ s/<[^>]*>/ /gr;

	$text =~ s/\s+/ /g;
	return ($text, join("\n", @pictures));
}

sub history
{
	my ($node, $directory, $settings) = @_;

	return value($node, ($settings // '') . <<SQL);
SELECT lsn FROM walredo_page_history($page, '0/0', '$open_end', @{[
	defined $directory ? "'$directory'" : 'NULL' ]})
WHERE resource_manager <> 'Database' ORDER BY lsn
SQL
}

#
# Cancelled
#

# The history up to an LSN, which is the same again; the page of now gets a
# checksum when it is written.
sub pictures_of
{
	my $html = value(shift, "SELECT walredo_report($hot, NULL, '" . shift . "')");

	return [ split /\n/, ($html =~ m{<ol class="cards">(.*?)</ol>}s)[0] ];
}

my $until = value($primary, 'SELECT pg_current_wal_flush_lsn()');
my $before = pictures_of($primary, $until);
my $session = session($primary);
my ($n_cancelled, $n_done, $others) = (0, 0, '');
foreach my $ms (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 60_000)
{
	my ($output, $errors) = run_query($session,
		"SET statement_timeout = $ms; SELECT walredo_report($hot) !~ 'canceling statement'; RESET statement_timeout");

	$n_done++ if $output =~ /^t$/m;
	$n_cancelled++ if $output !~ /^[tf]$/m;
	$others .= "a document that says that it was cancelled\n" if $output =~ /^f$/m;

	# The time can also be over in RESET, if the machine is busy.
	$others .= $errors =~
	  s/^(psql:\S+ )?ERROR:  57014: canceling statement due to statement timeout\nLOCATION: .*\n?//gmr;
	$session->query('RESET statement_timeout');
}
cmp_ok($n_cancelled, '>=', 3, 'reports were cancelled');
cmp_ok($n_done, '>=', 1, '... and others made');
is($others, '', '... without a leak');

begin_query($session, <<SQL);
DO \$\$ BEGIN FOR i IN 1 .. 1000 LOOP PERFORM walredo_report($hot); END LOOP; END \$\$
SQL
$primary->poll_query_until('postgres',
	"SELECT count(*) > 0 FROM walredo_progress WHERE pid = $session->{backend} AND command = 'walredo_report'")
  or die 'no report is shown';
$primary->safe_psql('postgres', "SELECT pg_cancel_backend($session->{backend})");
my (undef, $errors) = end_query($session);
like($errors, qr/ERROR:  57014: canceling statement due to user request/, 'cancelled');
is($session->query("SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = relation WHERE pid = $session->{backend} AND relname IN ('hot', 't')"),
	0, 'no lock is left');
is(value($primary, "SELECT count(*) FROM walredo_progress"), 0, '... nor is anything shown');
is(value($primary, 'SELECT count(*) FROM pg_ls_tmpdir()'), 0, '... nor a file');
my $now = pictures_of($primary, $until);
is_deeply($now, $before, '... and a report is what it was');
$session->quit;

#
# Pages that are not there any more
#

$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE short (i int, t text);
INSERT INTO short SELECT i, repeat('x', 500) FROM generate_series(1, 100) i;
DELETE FROM short WHERE i > 10;
SQL
$primary->safe_psql('postgres', 'VACUUM short');
is(value($primary, "SELECT pg_relation_size('short') / 8192"), 1, 'a table was truncated');
my ($text) = report($primary, "walredo_tag('short', 3)");
like($text, qr/The page is not there now\. The number of blocks of the fork is 1 now, so that this one is not there\./,
	'a page that was truncated away');
like($text, qr/It was truncated away\./, '... in its history as well');
unlike($text, qr/Sound\.|Damaged\./, '... is neither sound nor damaged');
my $short = value($primary, "SELECT walredo_tag('short', 0)");
$primary->safe_psql('postgres', 'TRUNCATE short');
($text) = report($primary, "'$short'");
like($text, qr/No relation has the file \d+ now: it was dropped, or has another file/,
	'a page of a file that was replaced');
like($text, qr/Its file was removed\.|line pointer/, '... has its history');

#
# A standby
#

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', 'CHECKPOINT');
$primary->safe_psql('postgres', "UPDATE t SET n = $_ WHERE id = $_") foreach 6 .. 9;
$primary->wait_for_catchup($standby);
my $pictures;
($text, $pictures) = report($standby, $page);
like($text, qr/Block 0 of public\.t .*Sound\. The page that the server has now is the one/,
	'a page of a standby');
is($pictures, history($standby), '... and its history');
cmp_ok(scalar(split /\n/, $pictures), '>=', 4, '... of several records');
my ($title) = $text =~ m{The page now, with LSN (\S+)};
is($title, value($primary, "SELECT max(lsn) FROM walredo_page_history($page, '0/0', '$open_end')"),
	'... as of the last record');

# The file of the standby's page is damaged, not that of the primary.
my $file = path_of($standby, 'postgres', 't');
$primary->safe_psql('postgres', 'CHECKPOINT');
$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');
$standby->stop;
overwrite($file, $page_size - 12, "\xCA\xFE");
$standby->start;
$primary->wait_for_catchup($standby);
like((report($standby, $page))[0], qr/Damaged\. The server cannot read the page/,
	'a damaged page of a standby');
like((report($primary, $page))[0], qr/Sound\./, '... is sound elsewhere');
$standby->stop;
write_block($file, 0, read_block(path_of($primary, 'postgres', 't'), 0))
  if $primary->safe_psql('postgres', 'CHECKPOINT') eq '';
$standby->start;

#
# Two timelines
#

$primary->wait_for_catchup($standby);
my $fork = value($primary, 'SELECT pg_current_wal_insert_lsn()');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
$standby->safe_psql('postgres', "UPDATE t SET n = $_ WHERE id = $_") foreach 11 .. 13;
$primary->safe_psql('postgres', "UPDATE t SET n = -$_ WHERE id = $_") foreach 14 .. 15;
$_->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT') foreach $standby, $primary;

# What came before is only in the archive of the old server.
my $archive = $standby->basedir . '/archive';
copy_segments($_->data_dir . '/pg_wal', $archive) foreach $standby, $primary;
ok(-e "$archive/00000002.history", 'there is the history of a timeline');
($text, $pictures) = report($standby, "$page, NULL, NULL, '$archive'");
like($text, qr/Sound\./, 'the page of a promoted standby');
is($pictures, history($standby, $archive), '... has the history of both timelines');
my @lsns = map { lsn_to_int($_) } split /\n/, $pictures;
cmp_ok($lsns[0], '<', lsn_to_int($fork), '... before the fork');
cmp_ok($lsns[-1], '>', lsn_to_int($fork), '... and after it');
($text, my $of_old) = report($primary, "$page, NULL, NULL, '$archive'");
like($text, qr/Sound\./, 'the old primary is on its own timeline');
isnt($of_old, $pictures, '... and has another history');
($text, my $of_latest) = report($primary, "$page, NULL, NULL, '$archive'",
	"SET walredo.timeline = 'latest'; ");
is($of_latest, $pictures, '... but can be asked for that of the new one');
like($text, qr/Not compared with WAL\. The WAL that was read is not that of this server, on its timeline\./,
	'... with which its page is not compared');
like($text, qr/WAL of another server\. This is WAL of system \d+ on timeline 2/,
	'... and which is said to be of another');

$_->stop foreach $standby, $primary;
done_testing();
