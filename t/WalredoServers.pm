package WalredoServers;

# Servers that keep their WAL, in many small segments, for it to be read.
#
# Offers:
#	wal_server				makes such a server
#	wait_until_archived		waits for a segment

use strict;
use warnings;

use Exporter qw(import);
use PostgreSQL::Test::Cluster;

our @EXPORT = qw(wal_server wait_until_archived);

# A server with segments of 1 MB that keeps all of them, and that nothing but its
# test writes to.  It is not started.  Parameters, all optional: "extra", a list
# of further options of initdb; "conf", further lines of postgresql.conf; others
# are init()'s.
sub wal_server
{
	my ($name, %params) = @_;
	my $extra = delete $params{extra} // [];
	my $conf = delete $params{conf} // '';
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--wal-segsize=1', @$extra ], %params);
	$node->append_conf('postgresql.conf', <<CONF);
wal_level = replica
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 2GB
wal_keep_size = 2GB
$conf
CONF
	return $node;
}

# Waits until a segment is in the archive, by its name.
sub wait_until_archived
{
	my ($node, $segment) = @_;

	$node->poll_query_until('postgres', <<SQL)
SELECT last_archived_wal >= '$segment' AND last_archived_wal !~ 'history'
FROM pg_stat_archiver
SQL
	  or die "$segment was not archived";
	return;
}

1;
