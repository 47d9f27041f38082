# A session that rebuilds very many pages takes no more memory than
# maintenance_work_mem and some megabytes, however many pages there are.
#
# Seen to fail: "1MB: the memory that was taken" with entries that are never
# moved to the file, which is 19 MB instead of the 17 MB that are allowed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use WalredoProcesses;
use WalredoSessions;

my $pages = 80000;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
fsync = off
checkpoint_timeout = 1d
max_wal_size = 10GB
wal_keep_size = 10GB
shared_preload_libraries = 'walredo'
CONF
$node->start;

# Each row has a page of its own.
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION walredo;
CREATE TABLE many (id int, text text) WITH (fillfactor = 10);
INSERT INTO many SELECT g, repeat('x', 850) FROM generate_series(1, $pages) g;
CREATE TABLE position AS SELECT pg_current_wal_insert_lsn() AS end_lsn;
SQL
my $blocks = $node->safe_psql('postgres',
	q{SELECT pg_relation_size('many') / 8192});
cmp_ok($blocks, '>=', $pages, 'there are many pages');

my $query = q{SELECT count(*), sum(hashtextextended(encode(page, 'base64'), 0))
	FROM walredo_pages_at('many', 'main', (SELECT end_lsn FROM position))};
my $reference = $node->safe_psql('postgres',
	"SET maintenance_work_mem = '1GB'; $query");
like($reference, qr/^$blocks\|/, 'all of them are rebuilt');

foreach my $memory (1, 16)
{
	my $session = session($node);
	my ($peak, $state) = (0, '');

	$session->query("SET maintenance_work_mem = '${memory}MB'");
	my $before = memory_of($session->{backend});
	begin_query($session, $query);
	for (1 .. 36000)
	{
		my $now = memory_of($session->{backend});

		$peak = $now if $now > $peak;
		usleep(5000);
		$session->{run}->pump_nb;
		last if $session->{stdout} =~ /\|/;
	}
	my ($out, $err) = end_query($session);
	is("$out$err", $reference, "${memory}MB: the same pages");
	cmp_ok(($peak - $before) / 1024,
		'<=', $memory + 16, "${memory}MB: the memory that was taken");
	$session->quit;
}

$node->stop;
done_testing();
