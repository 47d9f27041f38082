# walredo_repair() with pages of another server: a page that WAL has no image of,
# and of which there is no backup, is repaired from a standby.
#
# Seen to fail:
# - when WAL since the page of the standby was not replayed;
# - when the system identifier was not compared;
# - when it was not looked at how old the files of the standby are.

use WalredoTest;

my $primary = wal_server('primary', allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE cold AS SELECT i, repeat('x', 100) p FROM generate_series(1, 1000) i;
CREATE TABLE warm AS SELECT * FROM cold;
CREATE ROLE reader LOGIN;
GRANT pg_read_server_files TO reader;
SQL

# The standby's files have all pages, and WAL is from later on.
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');

my $stranger = wal_server('stranger', allows_streaming => 1);
$stranger->start;

# Makes WAL begin here, for the primary.  The standby has what is removed.
sub remove_old_wal
{
	foreach (1 .. 2)
	{
		$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
		$primary->wait_for_catchup($standby);
		$primary->safe_psql('postgres', 'CHECKPOINT');
	}
	return;
}

$primary->append_conf('postgresql.conf', 'wal_keep_size = 0');
$primary->reload;

# Hint bits are set now, so that the rows are not changed by who reads them.
$primary->safe_psql('postgres',
	'VACUUM cold, warm; SELECT count(*) FROM cold');
remove_old_wal();
$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');

# What WAL has of the second table's pages needs an image that it has not.
$primary->append_conf('postgresql.conf', 'full_page_writes = off');
$primary->reload;
$primary->poll_query_until('postgres',
	"SELECT setting = 'off' FROM pg_settings WHERE name = 'full_page_writes'")
  or die 'full_page_writes is still on';
$primary->safe_psql('postgres', <<'SQL');
CHECKPOINT;
UPDATE warm SET p = 'y' WHERE i = 5;
CHECKPOINT;
SQL
my $sums = 'SELECT md5(string_agg(t::text, $$ $$ ORDER BY i)) FROM %s t';
my %want = map {
	$_ => $primary->safe_psql('postgres', sprintf($sums, $_))
} qw(cold warm);
my %file = map { $_ => path_of($primary, 'postgres', $_) } qw(cold warm);
$primary->safe_psql('postgres', 'CHECKPOINT');
$primary->stop;
overwrite($file{$_}, 5000, 'x' x 3000) foreach sort keys %file;
overwrite($file{$_}, 12, "\xff\xff") foreach sort keys %file;
$primary->start;

sub repair
{
	my ($table, $options) = @_;

	return value_or_error($primary, 'postgres',
		"SELECT status, source FROM walredo_repair('$table', 'main', 0$options)");
}

my $conninfo = q{, conninfo => '} . ($standby->connstr('postgres') =~ s/'/''/gr) . q{'};
foreach my $table (sort keys %want)
{
	like(repair($table, ''), qr/^unverifiable\|/, "$table: WAL does not do");
	is(repair($table, $conninfo),
		'repairable|the other server and WAL',
		"$table: a standby does");
	is(repair($table, "$conninfo, dry_run => false"),
		'repaired|the other server and WAL',
		"$table: it is repaired");
	is($primary->safe_psql('postgres', sprintf($sums, $table)),
		$want{$table}, "$table: all rows are there");
}
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', sprintf($sums, $_)),
	$want{$_}, "$_: the standby has the page, too")
  foreach sort keys %want;

# Nobody knows what has become of pages that the standby has changed, but not
# written, before WAL begins.
$primary->safe_psql('postgres', <<'SQL');
UPDATE warm SET p = 'z' WHERE i = 6;
SELECT count(*) FROM warm;
CHECKPOINT;
SQL
remove_old_wal();
my $sum = $primary->safe_psql('postgres', sprintf($sums, 'warm'));
$primary->stop;
overwrite($file{warm}, 5000, 'x' x 3000);
$primary->start;
like(
	value_or_error($primary, 'postgres',
		"SELECT status, detail FROM walredo_repair('warm', 'main', 0$conninfo)"),
	qr/^unverifiable\|The files of the other server are as of \S+, but WAL begins at \S+, so that changes of the page may be missing\. CHECKPOINT on the other server/,
	'files of the standby that are too old');
$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');
like(repair('warm', "$conninfo, dry_run => false"),
	qr/^repaired\|/, '... until there is a restartpoint');
is($primary->safe_psql('postgres', sprintf($sums, 'warm')),
	$sum, '... all rows are there');

# A page that WAL has no record of can be compared.
like(repair('cold', $conninfo), qr/^ok\|/, 'a page is compared');

# A standby that is promoted does not have the same changes any more.
my $promoted = PostgreSQL::Test::Cluster->new('promoted');
$promoted->init_from_backup($primary, 'backup', has_streaming => 1);
$promoted->start;
$promoted->promote;
$promoted->safe_psql('postgres', 'CHECKPOINT');
my $fork = q{, conninfo => '} . ($promoted->connstr('postgres') =~ s/'/''/gr) . q{'};
like(repair('cold', $fork),
	qr/^55000: the other server is on another timeline
DETAIL: .* timeline 2, .* timeline 1\./,
	'another timeline');

# What is refused.
my $other = q{, conninfo => '} . ($stranger->connstr('postgres') =~ s/'/''/gr) . q{'};
like(repair('cold', $other),
	qr/^55000: the other server is of another database system\nDETAIL: .*\d{15}/,
	'another system');
like(
	repair('cold', ", conninfo => 'host=/nowhere dbname=postgres'"),
	qr/^08001: could not connect to the other server: .*nowhere/,
	'no server');
like(repair('cold', ", conninfo => '=', base => '\\x'"),
	qr/^22023: a base image and a connection string were specified/,
	'two sources');
is( value_or_error(
		$primary, 'postgres',
		"SET ROLE reader; SELECT * FROM walredo_repair('cold'$conninfo)"),
	"42501: permission denied to connect to another server\nDETAIL:  Only superusers may specify a connection string.\n",
	'for superusers only');
ok( $standby->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name ~ 'walredo'"),
	'no connection is left');

done_testing();
