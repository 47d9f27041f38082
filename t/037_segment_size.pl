# Clusters with segments of other sizes than 1 and 16 MB, which the other tests
# have: children start, and records are read and replayed.
#
# Seen to fail: both when the template did not get settings of how much WAL to
# keep that allow for two segments of this size.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

foreach my $megabytes (64, 1024)
{
	my $node = PostgreSQL::Test::Cluster->new("segments_$megabytes");

	$node->init(extra => ["--wal-segsize=$megabytes"]);
	$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
min_wal_size = 2GB
max_wal_size = 4GB
wal_init_zero = off
CONF
	$node->start;
	$node->safe_psql('postgres', q{
		CREATE EXTENSION walredo;
		CREATE EXTENSION pageinspect;
		CREATE TABLE t (i int);
		INSERT INTO t VALUES (1);
		CHECKPOINT;
		INSERT INTO t VALUES (2), (3);
	});
	is( $node->safe_psql('postgres',
			q{SELECT walredo_page_at('t', 'main', 0, pg_current_wal_flush_lsn())
				= get_raw_page('t', 0)}),
		't',
		"segments of $megabytes MB");
	$node->stop;
}

done_testing();
