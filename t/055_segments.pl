# Segments as they occur: archives whose last segment is partial, truncated, empty
# or zeroed; timelines of a server that was restored and promoted, in an archive
# with those of other servers; two systems in one directory; segments of all sizes;
# and WAL that does not go back far enough.
#
# Seen to fail with code that read whole segments only, and took damage in the last
# one for the end of WAL without a warning; that followed the newest timeline that
# is there; and that expected timelines to branch off in rising order.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use File::Copy qw(copy move);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use WalredoPages;
use WalredoQueries;
use WalredoServers;
use WalredoWal;

my $lsn_re = qr{[0-9A-F]+/[0-9A-F]+};
my $conf = <<'CONF';
wal_level = replica
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 1GB
wal_keep_size = 1GB
CONF

sub make_server
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(
		has_archiving => 1,
		allows_streaming => 1,
		extra => [ '--wal-segsize=' . ($options{segsize} // 1) ]);
	$node->append_conf('postgresql.conf', $conf);
	$node->start;
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
SQL
	return $node;
}

# Ends a segment, waits until it is in the archive, and returns its name.
sub switch_segment
{
	my $node = shift;
	my $segment = $node->safe_psql('postgres', <<'SQL');
SELECT pg_walfile_name(pg_current_wal_insert_lsn()) AS name \gset
SELECT pg_switch_wal() AS lsn \gset
SELECT :'name';
SQL

	wait_until_archived($node, $segment);
	return $segment;
}

#
# The last segment
#

my $main = make_server('main');
$main->safe_psql('postgres', 'CREATE TABLE t (i int)');
my $tag = $main->safe_psql('postgres', "SELECT walredo_tag('t', 'main', 0)");
my $filler = 'SELECT pg_logical_emit_message(false, $$f$$, repeat($$x$$, 300000))';
my @segments;
foreach my $row (1 .. 3)
{
	$main->safe_psql('postgres', "$filler; INSERT INTO t VALUES ($row)");
	push @segments, switch_segment($main);
}
my $archive = $main->archive_dir;
my $last = $segments[-1];
my $directories = PostgreSQL::Test::Utils::tempdir();

# A copy of an archive.
sub copied_archive
{
	my ($name, $from) = @_;

	return copy_segments($from, "$directories/$name");
}

# How many rows the table has according to a directory of segments, and the
# messages.
sub rows_by
{
	my ($node, $directory) = @_;

	return ask($node, 'postgres', <<SQL);
SELECT max(lp) FROM heap_page_items(walredo_page_at(walredo_tag '$tag', '$open_end', NULL, '$directory'))
SQL
}

# For each: a name, how many rows there are, what is done to the last segment, and
# whether it is clean, so that there is no warning, or damaged, so that there is one.
my $half = 200_000;
my @ends = (
	[ 'a whole segment', 3, sub { }, 1 ],
	[ 'no segment', 2, sub { unlink shift or die "unlink: $!" }, 1 ],
	[
		'a partial segment', 3,
		sub { move($_[0], "$_[0].partial") or die "move: $!" }, undef
	],
	[
		'a whole and a partial segment', 3,
		sub {
			copy($_[0], "$_[0].partial") or die "copy: $!";
			truncate("$_[0].partial", $half) or die "truncate: $!";
		},
		undef
	],
	[
		'a segment that is cut', 2,
		sub { truncate($_[0], $half) or die "truncate: $!" }, 0
	],
	[
		'a segment that is cut within a page header', 2,
		sub { truncate($_[0], 8192 * 10 + 7) or die "truncate: $!" }, 0
	],
	[
		'a segment that is cut within its header', 2,
		sub { truncate($_[0], 10) or die "truncate: $!" }, 0
	],
	[
		'an empty segment', 2,
		sub { truncate($_[0], 0) or die "truncate: $!" }, 0
	],
	[
		'a segment of zeroes', 2,
		sub { overwrite($_[0], 0, "\0" x (-s $_[0])) }, 0
	],
	[
		'a segment that goes on with zeroes', 2,
		sub { overwrite($_[0], $half, "\0" x ((-s $_[0]) - $half)) }, 0
	],
	[
		'a segment that goes on with something else',
		2,
		sub { overwrite($_[0], $half, 'else' x 10000) },
		0
	],
	[
		'a partial segment that is cut', 2,
		sub {
			truncate($_[0], $half) or die "truncate: $!";
			move($_[0], "$_[0].partial") or die "move: $!";
		},
		0
	]);
my $number = 0;
foreach my $end (@ends)
{
	my ($name, $want, $change, $is_clean) = @$end;
	my $directory = copied_archive('end' . $number++, $archive);

	$change->("$directory/$last");
	my ($rows, $messages) = rows_by($main, $directory);
	is($rows, $want, "$name: rows") or diag($messages);
	next if !defined $is_clean;
	if ($is_clean)
	{
		is($messages, '', "$name: no message");
		next;
	}
	like($messages, qr/^psql\S*: (?:NOTICE|WARNING):/m, "$name: there is a message");
	like($messages, qr/$last/, "$name: it names the file");
	like($messages, $lsn_re, "$name: and the LSN");
}

# In the middle of WAL, such a segment is not taken for the end.  WAL after it does
# not make the page.
my $middle = copied_archive('middle', $archive);
truncate("$middle/$segments[1]", $half) or die "truncate: $!";
like((rows_by($main, $middle))[1],
	qr/(?:ERROR|WARNING):.*(?:$segments[1]|\Q$middle\E.* $lsn_re)/s,
	'a segment in the middle that is cut: a message says where');

# All functions that read WAL give the warning.
my $cut = copied_archive('cut', $archive);
truncate("$cut/$last", $half) or die "truncate: $!";
foreach my $call (
	"walredo_wal_records('0/0', '$open_end', '$cut')",
	"walredo_page_records('$tag', '0/0', '$open_end', '$cut')",
	"walredo_page_history('$tag', '0/0', '$open_end', '$cut')")
{
	my ($count, $messages) = ask($main, 'postgres',
		"SELECT count(*) > 1 FROM $call");

	is($count, 't', "$call: rows");
	like($messages, qr/(?:NOTICE|WARNING):.*$last/s, '... and a word');
}

#
# Another server's timeline in the archive
#

$main->safe_psql('postgres', <<'SQL');
CREATE TABLE old (id int, w text);
INSERT INTO old SELECT g, 'old' FROM generate_series(1, 50) g;
SQL
my $old = $main->safe_psql('postgres', "SELECT walredo_tag('old', 'main', 0)");
$main->backup('for_copy');
$main->safe_psql('postgres', "SELECT pg_create_restore_point('here')");
switch_segment($main);
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($main, 'for_copy', has_restoring => 1, standby => 0);
$copy->append_conf('postgresql.conf', <<'CONF');
recovery_target_name = 'here'
recovery_target_action = promote
CONF
$copy->start;
$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()')
  or die 'the copy is not promoted';
$main->safe_psql('postgres', "UPDATE old SET w = 'NEW' WHERE id <= 20");
switch_segment($main);
foreach my $n (1 .. 4)
{
	$copy->safe_psql('postgres', "CREATE TABLE junk$n AS SELECT 1 AS i");
	switch_segment($copy);
}
ok((grep { /^00000002.*[0-9A-F]$/ } slurp_dir($archive)) > 0,
	'the archive has segments of timeline 2');

sub new_rows
{
	my ($node, $lsn, $directory) = @_;

	return join '', ask($node, 'postgres', <<SQL);
SELECT count(*) FILTER (WHERE position('NEW'::bytea IN t_data) > 0)
FROM heap_page_items(walredo_page_at(walredo_tag '$old', $lsn, NULL, '$directory'))
SQL
}
my $which = qr/NOTICE:  00000: WAL is read along timeline 1\b.*also has WAL of timeline 2/s;
like(new_rows($main, 'pg_current_wal_flush_lsn()', $archive),
	qr/^20.*$which/s, 'by the archive, on the timeline of the server');
like(new_rows($main, "'$open_end'", $archive),
	qr/^20.*$which/s, '... as far as it goes');
is(new_rows($main, 'pg_current_wal_flush_lsn()', 'pg_wal'),
	20, '... as by the directory of the server');
is(new_rows($copy, 'pg_current_wal_flush_lsn()', $archive),
	0, 'on the server with the other timeline it is the other one');
is(new_rows($copy, "'$open_end'", $archive), 0, '... as far as it goes');
is( $copy->safe_psql('postgres', <<'SQL'),
SELECT DISTINCT status FROM walredo_verify_all('{old, t, junk1}')
WHERE status <> 'unverifiable'
SQL
	'ok',
	'the copy can be verified');
$copy->stop;

#
# A server that is restored to before its promotion, and promoted again
#

my $again = make_server('again');
$again->backup('before');
$again->safe_psql('postgres', 'CREATE TABLE t AS SELECT 1 AS i');
my $target = $again->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
$again->safe_psql('postgres', 'INSERT INTO t VALUES (2)');
switch_segment($again);
$again->stop;
$again->set_standby_mode;
$again->start;
$again->promote;
$again->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()')
  or die 'not promoted';
$again->safe_psql('postgres', 'CREATE TABLE lost AS SELECT 1 AS i');
$again->safe_psql('postgres', 'SELECT pg_switch_wal()');
ok( $again->poll_query_until('postgres',
		"SELECT last_archived_wal ~ '^00000002[0-9A-F]*\$' FROM pg_stat_archiver"),
	'timeline 2 is archived');
is($again->safe_psql('postgres', "SELECT DISTINCT status FROM walredo_verify('t')"),
	'ok', 'verified after a promotion');
$again->stop;

my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($again, 'before', has_restoring => 1,
	standby => 0);
$restored->append_conf('postgresql.conf', <<CONF);
recovery_target_lsn = '$target'
recovery_target_action = promote
CONF
$restored->start;
$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()')
  or die 'not promoted';
my $history = slurp_file($restored->data_dir . '/pg_wal/00000003.history');
my @branches = $history =~ /^\d+\s+($lsn_re)/mg;
cmp_ok(scalar @branches, '>=', 1, 'there is a history of timeline 3');
note($history);
if (@branches > 1)
{
	cmp_ok(
		lsn_to_int($branches[1]), '<=', lsn_to_int($branches[0]),
		'a timeline branches off before the one that it comes of');
}
is( join('', ask($restored, 'postgres',
			"SELECT DISTINCT status FROM walredo_verify('t')")),
	'ok',
	'verified after a restore to before a promotion');
is( join('', ask($restored, 'postgres',
			"SELECT count(*) FROM heap_page_items(walredo_page_at(walredo_tag('t', 'main', 0), pg_current_wal_flush_lsn(), NULL, '@{[$again->archive_dir]}:pg_wal'))"
		)) =~ /^1$|does not exist|ERROR/,
	1,
	'never a row of the other timeline');

# History files as servers and people write them, with blank lines, comments, and
# equal LSNs.  They are read by a server of another system, which has no history
# to compare them with.
my $files = copied_archive('histories', $again->archive_dir);
my $current = $restored->safe_psql('postgres',
	'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
foreach my $file (grep { /^0000000[123][0-9A-F]{16}$/ }
	slurp_dir($restored->data_dir . '/pg_wal'))
{
	# The other files are segments that the server keeps for later use.
	next if substr($file, 8) gt substr($current, 8);
	copy($restored->data_dir . "/pg_wal/$file", "$files/$file") or die "copy: $!";
}
my ($branch) = $branches[-1];
foreach my $text (
	"# a comment\n\n1\t$branch\tno recovery target specified\n",
	"1\t$branch\tbefore\n2\t$branch\tat the same place\n",
	"1\t$branch\n",
	"1\t$branch\tno end of line")
{
	open(my $fh, '>', "$files/00000003.history") or die "open: $!";
	print $fh $text;
	close $fh;
	my ($count, $messages) = ask($main, 'postgres',
		"SELECT count(*) > 100 FROM walredo_wal_records('0/0', '$open_end', '$files')"
	);
	is($count . ($messages =~ /ERROR/ ? $messages : ''),
		't', 'a history file: ' . ($text =~ s/\s+/ /gr));
}
foreach my $text ("nonsense\n", "2\t$branch\n1\t$branch\n", "1\n")
{
	open(my $fh, '>', "$files/00000003.history") or die "open: $!";
	print $fh $text;
	close $fh;
	like(
		error_of($main, 'postgres',
			"SELECT count(*) FROM walredo_wal_records('0/0', '$open_end', '$files')"),
		qr/ERROR:.*history/,
		'no history file: ' . ($text =~ s/\s+/ /gr));
}

#
# Two systems in one directory
#

my @systems = map {
	$_->safe_psql('postgres',
		'SELECT system_identifier FROM pg_control_system()')
} $main, $restored;
isnt($systems[0], $systems[1], 'there are two systems');
foreach (1 .. 25)
{
	$restored->safe_psql('postgres',
		'CREATE TEMP TABLE x (); SELECT pg_switch_wal()');
}
my $mixed = copied_archive('mixed', $archive);
my $foreign = 0;
foreach my $file (sort grep { /^[0-9A-F]{24}$/ }
	slurp_dir($restored->data_dir . '/pg_wal'))
{
	# The names are those of one timeline, so they do not tell the systems apart.
	my $name = '00000001' . substr($file, 8);

	next if -e "$mixed/$name" || $file !~ /^00000003/;
	copy($restored->data_dir . "/pg_wal/$file", "$mixed/$file") or die "copy: $!";
	$foreign++;
}
cmp_ok($foreign, '>', 3, 'there are segments of another system');
my ($rows, $messages) = rows_by($main, $mixed);
ok( $rows eq '3'
	  || $messages =~ /ERROR:/
	  && $messages =~ /$systems[0]/
	  && $messages =~ /$systems[1]/,
	'the segments of this system, or an error that names both')
  or diag($rows, $messages);
($rows, $messages) = rows_by($restored, $mixed);
ok( $rows eq '3'
	  || $messages =~ /ERROR:/
	  && ($messages =~ /$systems[0]/ && $messages =~ /$systems[1]/
		|| $messages =~ /\Q$tag\E|no valid|missing/),
	'... on the other one as well')
  or diag($rows, $messages);
$restored->stop;

#
# A page for which there is not enough WAL.  The server's own page is not taken for
# one of the visibility map.
#

$main->safe_psql('postgres', 'CREATE TABLE lost AS SELECT 1 AS i');
$main->safe_psql('postgres', 'VACUUM lost');
$main->append_conf('postgresql.conf', 'wal_keep_size = 0');
$main->append_conf('postgresql.conf', 'min_wal_size = 2MB');
$main->restart;
foreach my $n (1 .. 3)
{
	$main->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$main->safe_psql('postgres', "CREATE TABLE x$n ()");
	$main->safe_psql('postgres', 'CHECKPOINT');
}
my $boundary =
  $main->safe_psql('postgres', 'SELECT pg_switch_wal(); SELECT pg_current_wal_flush_lsn()');
$boundary =~ s/.*\n//s;
foreach my $lsn ("'$open_end'", 'pg_current_wal_flush_lsn()', "'$boundary'")
{
	my $error = error_of($main, 'postgres',
		"SELECT length(walredo_page_at('lost', 'vm', 0, $lsn))");

	like($error, qr/cannot rebuild/, "no page at $lsn");
	like($error, qr/"[0-9A-F]{24}" is the first that is missing/,
		'... and which segment is missing');
	unlike($error, qr/in the future/, '... not something else');
}
$main->stop;

#
# Sizes
#

foreach my $size (64, 1024)
{
	my $node = PostgreSQL::Test::Cluster->new("size$size");

	$node->init(extra => ["--wal-segsize=$size"]);
	# The server allows this limit with these segments only.
	$node->append_conf('postgresql.conf', <<'CONF');
wal_level = replica
autovacuum = off
max_wal_size = 4GB
wal_init_zero = off
CONF
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION walredo');
	is(join('', ask($node, 'postgres', 'SELECT walredo_ping() > 0')),
		't', "segments of $size MB: a child starts");
	$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT 1 AS i');
	is( join('', ask($node, 'postgres', "SELECT status FROM walredo_verify('t')")),
		'ok', "segments of $size MB: a page is verified");
	$node->stop;
	PostgreSQL::Test::Cluster::clean_node($node);
}

done_testing();
