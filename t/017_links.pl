use WalredoTest;
use WalredoWorkload;

my $i = 0;
foreach my $conf (
	[ [], '' ],
	[ [], "wal_consistency_checking = all\nwal_compression = lz4" ],
	[ ['--data-checksums'], "wal_level = logical\nwal_compression = pglz" ])
{
	my $node = PostgreSQL::Test::Cluster->new('main' . $i++);
	$node->init(extra => $conf->[0]);
	$node->append_conf('postgresql.conf', WalredoWorkload::conf() . $conf->[1]);
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION walredo');
	WalredoWorkload::run($node);
	my $t = time;
	my ($out, $err) = ask($node, 'postgres', "SET client_min_messages = debug1; \\timing on\n SELECT * FROM walredo_verify_images('0/0', 'FFFFFFFF/FFFFFFFF')");
	diag(substr($out, 0, 6000)); diag(substr($err,0,2000));
	my ($n) = $node->safe_psql('postgres', "SELECT resource_manager, record_type, substring(tag::text, 'fork .*? '), count(*), min(page_lsn), max(page_lsn) FROM walredo_verify_images('0/0', 'FFFFFFFF/FFFFFFFF') GROUP BY 1,2,3 ORDER BY 4 DESC");
	diag($n);
	is($n, '', 'none');
	$node->stop;
}
done_testing();
