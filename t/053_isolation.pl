# A child that has replayed for one role in one database never serves another.
#
# Sessions of different roles and databases make requests in turn.  In a pool of
# one child, each request needs a new child.  In a pool of two, two sessions keep
# theirs.
#
# Seen to fail with a pool that compares the role only, or the database only.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('isolation');
$node->init(auth_extra => [ '--create-role' => 'regress_one,regress_two' ]);
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
shared_preload_libraries = 'walredo'
walredo.pool_size = 1
walredo.idle_timeout = 0
CONF
$node->start;
$node->safe_psql('postgres', q{
	CREATE ROLE regress_one LOGIN IN ROLE pg_monitor;
	CREATE ROLE regress_two LOGIN IN ROLE pg_monitor;
	CREATE DATABASE one;
	CREATE DATABASE two;
});
foreach my $database (qw(one two))
{
	$node->safe_psql(
		$database, q{
		CREATE EXTENSION walredo;
		GRANT EXECUTE ON FUNCTION
			walredo_apply(walredo_tag, bytea, walredo_record[])
			TO regress_one, regress_two;
		CREATE TABLE t (id int, t text);
		CREATE TABLE request AS
			SELECT walredo_tag('t', 'main', 0) AS tag,
				NULL::walredo_record[] AS records, NULL::bytea AS page,
				pg_current_wal_insert_lsn() AS lsn;
		INSERT INTO t SELECT i, current_database() || i
			FROM generate_series(1, 20) i;
		UPDATE request SET records = (SELECT array_agg(record ORDER BY end_lsn)
			FROM walredo_page_records(request.tag, lsn,
				pg_current_wal_insert_lsn()));
		UPDATE request SET page = walredo_apply(tag, NULL, records);
		GRANT SELECT ON request TO regress_one, regress_two;
	});
}
isnt( $node->safe_psql('one', 'SELECT page FROM request'),
	$node->safe_psql('two', 'SELECT page FROM request'),
	'the databases have different pages');

# A request, and a list of the children after it.  Process IDs are used again, so
# a child is identified by its process ID and the time when it was launched.
my $query = q{
	SELECT walredo_apply(tag, NULL, records) = page FROM request;
	SELECT concat_ws(' ', database, role,
		pid || '@' || extract(epoch FROM launched_at)) FROM walredo_children;
	\echo done
};
my %children;

sub start_session
{
	my ($role, $database) = @_;
	my %session = (serves => "$database $role", in => '', out => '', err => '');
	$session{psql} = IPC::Run::start(
		[
			'psql', '-XAtq', '-d',
			$node->connstr($database) . " user=$role", '-f', '-'
		],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err},
		IPC::Run::timeout(600));
	return \%session;
}

# Makes a request.  Returns '' if the answer is right, else what is wrong.
sub request
{
	my $session = shift;
	my $mine = 0;

	$session->{out} = '';
	$session->{in} .= $query;
	$session->{psql}->pump
	  until $session->{out} =~ /^done$/m || $session->{err} ne '';
	my @lines = split /\n/, $session->{out};
	return "error: $session->{err}" if $session->{err} ne '';
	return 'wrong page' if shift @lines ne 't';
	foreach my $line (grep { $_ ne 'done' } @lines)
	{
		my ($serves, $child) = $line =~ /^(\S+ \S+) (\S+)$/
		  or return "strange child: $line";
		$children{$child} //= $serves;
		return "child $child has served $children{$child} and $serves"
		  if $children{$child} ne $serves;
		$mine = 1 if $serves eq $session->{serves};
	}
	return $mine ? '' : "no child serves $session->{serves}: @lines";
}

# Has sessions make requests in turn, until something is wrong.  Returns what that
# is, and how many children were launched, and killed for another role.
sub take_turns
{
	my ($requests, @sessions) = @_;
	my $wrong = '';
	my $stat = 'SELECT launches, kills_role FROM walredo_stat';
	my ($launches, $kills) = split /\|/, $node->safe_psql('one', $stat);

	for my $i (1 .. $requests)
	{
		$wrong = request($sessions[ $i % @sessions ]);
		last if $wrong ne '';
	}
	my ($launches_now, $kills_now) =
	  split /\|/, $node->safe_psql('one', $stat);
	return ($wrong, $launches_now - $launches, $kills_now - $kills);
}

my @sessions = map { start_session(@$_) } (
	[ 'regress_one', 'one' ],
	[ 'regress_two', 'one' ],
	[ 'regress_two', 'two' ],
	[ 'regress_one', 'two' ]);

# The first child to be killed is that of the superuser who made the tables.
my ($wrong, $launches, $kills) = take_turns(400, @sessions);
is($wrong, '', 'pool of one: every answer is right, and of a child of one\'s own');
is($launches, 400, 'pool of one: a launch for each turn');
is($kills, 400, 'pool of one: and a kill');
is(scalar(keys %children), 400, 'pool of one: as many children were seen');

($wrong, $launches, $kills) = take_turns(100, $sessions[2]);
is($wrong, '', 'one role: every answer is right');
is($launches, 1, 'one role: one child');

$node->append_conf('postgresql.conf', 'walredo.pool_size = 2');
$node->reload;
$node->poll_query_until('postgres', q{SELECT setting = '2' FROM pg_settings
	WHERE name = 'walredo.pool_size'}) or die 'no reload';
%children = ();
($wrong, $launches, $kills) = take_turns(10_000, @sessions[ 0, 2 ]);
is($wrong, '', 'pool of two: every answer is right, and of a child of one\'s own');
is($launches, 1, 'pool of two: one more child');
is($kills, 0, 'pool of two: none is killed');
is(scalar(keys %children), 2, 'pool of two: two children');

# Three sessions, but only two children.
($wrong, $launches, $kills) = take_turns(90, @sessions[ 0 .. 2 ]);
is($wrong, '', 'three in a pool of two: every answer is right');
is($launches, $kills, 'three in a pool of two: a kill for each launch');
cmp_ok($launches, '>=', 88, 'three in a pool of two: of which there are many');

foreach my $session (@sessions)
{
	$session->{in} .= "\\q\n";
	$session->{psql}->finish;
}
$node->stop;
done_testing();
