# Where WAL begins and ends: in the middle of a record, in a file that is cut,
# empty, partial or another system's, and while it is written and removed.
#
# Seen to fail:
# - when a record that ends within 16 bytes after a page's header was not read
#   if it was the last one;
# - when the flush position was given for the end of what was read;
# - when a segment that was removed meanwhile was an error.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $page_size = 8192;
my $open_end = 'FFFFFFFF/FFFFFFFF';

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--wal-segsize=1']);
$node->append_conf('postgresql.conf', <<'CONF');
wal_level = replica
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 1GB
wal_keep_size = 1GB
wal_buffers = 32kB
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION walredo');

sub lsn_to_int
{
	my ($hi, $lo) = split m{/}, shift;
	return hex($hi) * 2**32 + hex($lo);
}

sub int_to_lsn
{
	my $lsn = shift;
	return sprintf('%X/%X', $lsn >> 32, $lsn & 0xFFFFFFFF);
}

sub insert_lsn
{
	return $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
}

# The records of a range, one line each, and how far it has been read.
sub scan
{
	my ($start, $end) = @_;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', <<SQL);
SET client_min_messages = debug1;
SELECT start_lsn, end_lsn FROM walredo_wal_records('$start', '$end');
SQL
	die $stderr if $ret != 0;
	$stderr =~ m{read WAL in "pg_wal" from (\S+) to (\S+) of at most (\S+)}
	  or die "no message about the end: $stderr";
	return { lines => [ split /\n/, $stdout ], from => $1, to => $2, last => $3 };
}

#
# The end of WAL
#

# Records whose last bytes are right after a page's header.  It is another try
# if somebody else has logged something meanwhile, or a segment begins there.
for my $rest (0, 8, 16, 24)
{
	my ($before, $after, @scans);

	for my $try (1 .. 20)
	{
		$node->safe_psql('postgres',
			"SELECT pg_logical_emit_message(false, 'p', '')");
		$before = lsn_to_int(insert_lsn());
		my $room = $page_size - $before % $page_size;
		$room += $page_size if $room < 200;

		# A long message's header and prefix take 55 bytes, a page's 24.
		my $length = $room + $rest - 55;
		$length -= 24 if $room > $page_size;
		$node->safe_psql('postgres',
			"SELECT pg_logical_emit_message(false, 'p', repeat('p', $length))");
		$after = lsn_to_int(insert_lsn());
		next if $after % $page_size != 24 + $rest;
		@scans = (
			scan(int_to_lsn($before), $open_end),
			scan(int_to_lsn($before), int_to_lsn($after)),
			scan(int_to_lsn($after), $open_end),
			scan(int_to_lsn($after), int_to_lsn($after - ($rest == 0 ? 24 : 0))));
		last if lsn_to_int(insert_lsn()) == $after;
	}
	is($after % $page_size, 24 + $rest,
		"WAL ends $rest bytes after a page's header");

	# Where a page is full the header is not there yet.
	my $want = int_to_lsn($rest == 0 ? $after - 24 : $after);
	my $line = int_to_lsn($before) . "|$want";
	is_deeply([ map { $_->{lines} } @scans ], [ [$line], [$line], [], [] ],
		'... and the last record is read, and nothing after it');
	is_deeply([ map { $_->{to} } @scans ], [ ($want) x 4 ],
		'... up to its end');
}

# No record ends in the range, or none begins.
{
	my $start = insert_lsn();
	$node->safe_psql('postgres',
		"SELECT pg_logical_emit_message(true, 'm', repeat('m', 50000))");
	my $all = scan($start, $open_end);
	my $length = lsn_to_int((split /\|/, $all->{lines}[0])[1]) - lsn_to_int($start);
	for my $offset (1, 1000, 10000, 30000, $length - 1)
	{
		my $inside = int_to_lsn(lsn_to_int($start) + $offset);
		is(scan($start, $inside)->{to}, $all->{from}, "end at byte $offset of a record");

		# From there on everything but that record is seen.
		my $empty = scan($inside, $inside);
		is($empty->{to}, $inside, '... an empty range ends there');
		my $part = scan($inside, int_to_lsn(lsn_to_int($inside) + 1));
		is_deeply($part->{lines}, [], '... no record begins and ends within it');
		is_deeply(
			[ map { @{ scan($_, $open_end)->{lines} } } $part->{to} ],
			[ @{ $all->{lines} }[ 1 .. $#{ $all->{lines} } ] ],
			'... and reading on from its end gives the next one');
	}
}

# A switch record reaches to the end of its segment.
{
	my $start = insert_lsn();
	my $switch = $node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	my $scan = scan($start, $switch);
	is_deeply($scan->{lines}, [], 'a switch record does not end where it is told to');
	my $next = scan($scan->{to}, $open_end);
	is_deeply([ (split /\|/, $next->{lines}[0])[0], lsn_to_int((split /\|/, $next->{lines}[0])[1]) % (1024 * 1024) ],
		[ $start, 0 ], '... and is the first of the next scan');
}

# Two scans that meet where the first one ended, under load: as one scan.
{
	my $script = $node->basedir . '/load.sql';
	append_to_file($script, <<'SQL');
\set long random(1, 60000)
SELECT pg_logical_emit_message(true, 'load', repeat('l', :long));
SQL
	my ($out, $err) = ('', '');
	my $load = IPC::Run::start(
		[
			'pgbench', '-n', '-c', '8', '-T', '120', '-f', $script,
			'-h', $node->host, '-p', $node->port, 'postgres'
		],
		'>', \$out, '2>', \$err);
	my $start = insert_lsn();
	my ($rounds, $inside, $wrong, $records) = (0, 0, 0, 0);

	# A few ends in the middle of a record are soon seen.
	while ($rounds < 100 && ($rounds < 10 || $inside < 5))
	{
		my $first = scan($start, $open_end);
		my $second = scan($first->{to}, $open_end);
		my $both = scan($start, $second->{to});
		my @parts = (@{ $first->{lines} }, @{ $second->{lines} });
		$rounds++;
		$records += @parts;
		$inside++ if $first->{to} ne $first->{last};
		$wrong++ if "@parts" ne "@{ $both->{lines} }" || $both->{to} ne $second->{to};
		$start = $second->{to};
	}
	$load->kill_kill;
	cmp_ok($records, '>', 100, "records in $rounds rounds");
	cmp_ok($inside, '>', 0, "WAL ended in the middle of a record $inside times");
	is($wrong, 0, 'two scans that meet see what one sees');
}

#
# WAL that is removed while it is read
#

{
	my $filler = "SELECT count(pg_logical_emit_message(false, 'f', repeat('f', 30000))) "
	  . "FROM generate_series(1, 200)";
	my $first = insert_lsn();
	$node->safe_psql('postgres', $filler);
	my $long = insert_lsn();
	$node->safe_psql('postgres',
		"SELECT pg_logical_emit_message(false, 'm', repeat('m', 4000000)); $filler");

	# Scans that are in the middle while what they want next is removed: from
	# the start of WAL or a given one, about to read the long record or not;
	# and one of whose range nothing will be left.
	my %range = (
		open => [ '0/0', $open_end, 10 ],
		long => [ '0/0', $open_end, -1 ],
		given => [ $first, $open_end, 10 ],
		gone => [ '0/0', $long, 10 ]);
	my %session;
	my $all = scan('0/0', $open_end)->{lines};
	my @before = grep { lsn_to_int((split /\|/)[0]) < lsn_to_int($long) } @$all;
	my @after = @$all[ @before + 1 .. $#$all ];
	is((split /\|/, $all->[@before])[0], $long, 'the long record is there');
	for my $name (sort keys %range)
	{
		my ($start, $end, $skip) = @{ $range{$name} };
		$skip = @before if $skip < 0;
		$session{$name} = $node->background_psql('postgres', on_error_stop => 0);
		$session{$name}->query_safe(
			"BEGIN; DECLARE c CURSOR FOR SELECT (r).start_lsn, (r).end_lsn "
			  . "FROM (SELECT walredo_wal_records('$start', '$end') AS r OFFSET 0) s");
		$session{$name}->query_safe("MOVE $skip FROM c");
	}

	# What is kept begins in the middle of the long record.
	my $keep = int((lsn_to_int(insert_lsn()) - lsn_to_int($long)) / 2**20) - 2;
	$node->safe_psql('postgres', <<SQL);
ALTER SYSTEM SET wal_keep_size = '${keep}MB';
ALTER SYSTEM SET max_wal_size = '2MB';
ALTER SYSTEM SET min_wal_size = '2MB';
SELECT pg_reload_conf();
SQL
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $left = $node->safe_psql('postgres',
		q{SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'});
	my $left_lsn = int_to_lsn(hex(substr($left, 16)) * 2**20);
	cmp_ok(lsn_to_int($left_lsn), '>', lsn_to_int($long) + 2**20,
		'what is left begins in the long record');
	cmp_ok(lsn_to_int($left_lsn), '<', lsn_to_int((split /\|/, $after[0])[0]) - 2**20,
		'... and before its end');

	for my $name ('open', 'long')
	{
		my $out = $session{$name}->query('FETCH ALL FROM c');
		my @got = split /\n/, $out;

		# One had some more records at hand already.
		my $more = @got - @after;
		is_deeply(\@got, [ @$all[ 10 .. 9 + $more ], @after ],
			"$name: what is left is read");
		like($session{$name}->{stderr},
			qr{WARNING:  WAL before \Q$left_lsn\E was removed while it was read},
			'... with a warning');
	}
	for my $name ('given', 'gone')
	{
		$session{$name}->query('FETCH ALL FROM c');
		like($session{$name}->{stderr}, qr/ERROR:  WAL segment "\w{24}" is missing/,
			"$name: a missing segment is an error");
	}
	$_->quit for values %session;

	# Nothing of what was read is before the gap if it is there from the start.
	my $scan = scan('0/0', $open_end);
	is($scan->{from}, $left_lsn, 'WAL begins later from now on');
	is_deeply([ @{ $scan->{lines} }[ 0 .. $#after ] ], \@after, '... with the same records');
}

$node->stop;
done_testing();
