# Damage of all kinds, in all kinds of relations, on a server that is at work:
# it is found, repaired, and afterwards everything is as it was.
#
# With checksums and without: pgbench runs, a standby follows, and a session has
# the files open.  Blocks are damaged in the files while the server has none of
# them in its buffers.  walredo_verify() and a dry run of walredo_repair() must
# report these blocks and no others, and after the repair every page must be what
# it was before the damage, on both servers, but for what replay need not
# reproduce.  amcheck, pg_checksums and the rows themselves tell whether the
# server agrees.
#
# REPAIR_LARGE=1 adds the loss of a relation's second segment, for which a
# relation of more than 1 GB is made.
#
# Seen to fail: when repaired pages got an LSN, but were not logged; and when files
# were compared before added blocks, which were in shared buffers, were written.

use IPC::Run;
use WalredoTest;

my $temp = PostgreSQL::Test::Utils::tempdir();
my $load;

sub end_load
{
	$load->kill_kill(grace => 2) if defined $load;
	undef $load;
	return;
}

# Also if this test is stopped; the servers' own end comes after that.
$SIG{INT} = $SIG{TERM} = sub { exit 1 };

END
{
	my $status = $?;

	end_load();
	$? = $status;
}

#
# What is damaged
#

# A relation, its fork if that is not the main one, how its pages are masked, and
# a condition on blocks, as SQL about the number "blk".
my @relations = (
	{ name => 'heap', relation => 'rows', mask => 'Heap' },
	{ name => 'btree', relation => 'rows_pkey', mask => 'Btree' },
	{ name => 'gin', relation => 'rows_gin', mask => 'Gin' },
	{ name => 'gist', relation => 'rows_gist', mask => 'Gist' },
	{ name => 'spgist', relation => 'rows_spgist', mask => 'SPGist' },
	{ name => 'brin', relation => 'rows_brin', mask => 'BRIN' },
	{ name => 'hash', relation => 'rows_hash', mask => 'Hash' },
	{ name => 'toast', relation => 'toast of long', mask => 'Heap' },
	{ name => 'toast index', relation => 'toast index of long', mask => 'Btree' },
	{ name => 'visibility map', relation => 'rows', fork => 'vm' },
	{
		name => 'mapped catalog',
		relation => 'pg_class',
		mask => 'Heap',
		is_in_use => 1,

		# without rows that anybody needs
		blocks => <<'SQL',
blk NOT IN (SELECT substring(ctid::text, '\d+')::int FROM pg_class
	WHERE relname !~ '^spare')
SQL
	},
	{ name => 'catalog', relation => 'pg_description', mask => 'Heap' },
	{
		name => 'index of a catalog',
		relation => 'pg_description_o_c_o_index',
		mask => 'Btree'
	},
	{ name => 'shared catalog', relation => 'pg_shdescription', mask => 'Heap' },
	{
		name => 'index of a shared catalog',
		relation => 'pg_shdescription_o_c_index',
		mask => 'Btree'
	});

# Each changes a file.  $block is the number of the block, $old what was in it
# before the last changes, and $other the number of another block.
my %damage_of = (
	'flipped bit' => sub {
		my ($file, $target) = @_;
		my $page = read_block($file, $target->{block});
		my ($lower, $upper, $special) = unpack 'x12 v3', $page;

		# Within what is in use, and not masked.
		my $offset =
		    ($target->{fork} // '') eq 'vm' ? 24
		  : $upper < $special ? $special - 9
		  : $lower - 9;
		substr($page, $offset, 1) ^= "\x10";
		write_block($file, $target->{block}, $page);
	},
	'zeroed block' => sub {
		my ($file, $target) = @_;

		write_block($file, $target->{block}, "\0" x $page_size);
	},
	'page of another block' => sub {
		my ($file, $target) = @_;

		write_block($file, $target->{block},
			read_block($file, $target->{other}));
	},
	'page of another relation' => sub {
		my ($file, $target) = @_;

		write_block($file, $target->{block},
			read_block($target->{stranger}, $target->{block}));
	},
	'half a page' => sub {
		my ($file, $target) = @_;
		my $half = $page_size / 2;

		overwrite($file, $target->{block} * $page_size,
			substr($target->{old}, 0, $half));
	},
	'the other half' => sub {
		my ($file, $target) = @_;
		my $half = $page_size / 2;

		overwrite($file, $target->{block} * $page_size + $half,
			substr($target->{old}, $half));
	},
	'lost write' => sub {
		my ($file, $target) = @_;

		write_block($file, $target->{block}, $target->{old});
	},
	'lost tail' => sub {
		my ($file, $target) = @_;

		cut_file($file, $target->{block});
	},
	'part of the last block' => sub {
		my ($file, $target) = @_;

		truncate($file, $target->{block} * $page_size + 1000)
		  or die "could not cut $file: $!";
	},
	'empty file' => sub {
		my ($file) = @_;

		truncate($file, 0) or die "could not cut $file: $!";
	},
	'lost file' => sub {
		my ($file) = @_;

		unlink $file or die "could not remove $file: $!";
	});

# What is damaged how.  Each row is a round; relations are in the order of
# @relations.
my @rounds = (
	[
		'flipped bit', 'zeroed block',
		'page of another block', 'lost write',
		'half a page', 'flipped bit',
		'lost write', 'lost tail',
		'lost file', 'zeroed block',
		'lost write', 'page of another block',
		'flipped bit', 'zeroed block',
		'page of another relation'
	],
	[
		'lost file', 'lost tail',
		'flipped bit', 'page of another relation',
		'lost file', 'lost write',
		'zeroed block', 'flipped bit',
		'half a page', 'lost file',
		'zeroed block', 'lost file',
		'lost tail', 'lost write',
		'lost file'
	],
	[
		'lost tail', 'the other half',
		'empty file', 'lost tail',
		'page of another block', 'lost tail',
		'lost file', 'the other half',
		'page of another relation', 'flipped bit',
		'page of another relation', 'the other half',
		'half a page', 'part of the last block',
		'lost write'
	]);

#
# Servers
#

sub setup
{
	my $primary = shift;

	$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE EXTENSION pg_buffercache;
CREATE EXTENSION pg_prewarm;
CREATE EXTENSION amcheck;
CREATE TABLE accounts (id int PRIMARY KEY, balance int);
INSERT INTO accounts SELECT g, 0 FROM generate_series(1, 200) g;
CREATE TABLE history (id int, delta int, at timestamptz);
CREATE TABLE filler AS SELECT repeat('f', 900) FROM generate_series(1, 1000) g;
CREATE TABLE strangers (i int PRIMARY KEY, t text);
INSERT INTO strangers SELECT g, repeat('stranger', 200) FROM generate_series(1, 400) g;
CREATE TABLE rows (id int PRIMARY KEY, v int, a int[], p point, t text)
	WITH (fillfactor = 80);
INSERT INTO rows SELECT g, g % 500, ARRAY[g % 100, g], point(g % 83, g % 91),
	repeat(chr(97 + g % 26), g % 200)
FROM generate_series(1, 2500) g;
CREATE INDEX rows_gin ON rows USING gin (a) WITH (fastupdate = off);
CREATE INDEX rows_gist ON rows USING gist (p);
CREATE INDEX rows_spgist ON rows USING spgist (p);
CREATE INDEX rows_brin ON rows USING brin (id, v) WITH (pages_per_range = 1);
CREATE INDEX rows_hash ON rows USING hash (v);
CREATE TABLE long (id int PRIMARY KEY, t text);
ALTER TABLE long ALTER t SET STORAGE EXTERNAL;
INSERT INTO long SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 100) g;
DO $$
BEGIN
	FOR i IN 1 .. 150 LOOP
		EXECUTE format('CREATE TABLE spare%s ()', i);
	END LOOP;
	FOR i IN 1 .. 250 LOOP
		EXECUTE format('CREATE ROLE role%s', i);
	END LOOP;
END
$$;
VACUUM rows, long;
-- WAL has all of these from here on
VACUUM FULL pg_class, pg_description, pg_shdescription;
SQL
	change($primary, 0);
	return;
}

# Changes something on pages of every relation.
sub change
{
	my ($primary, $round) = @_;

	$primary->safe_psql('postgres', <<SQL);
UPDATE rows SET v = v + 1, a = a || $round, p = point(id % 71, $round), t = t || $round
WHERE id % 3 = $round % 3;
INSERT INTO rows SELECT g, g % 700, ARRAY[g % 10, $round, g], point(g % 50, g % 10), 'new'
FROM generate_series(@{[10000 * ($round + 1)]}, @{[10000 * ($round + 1) + 300]}) g;
UPDATE long SET t = repeat(md5(id::text || $round), 210) WHERE id % 4 = $round;
DO \$\$
DECLARE
	fill int := 50 + $round;
BEGIN
	FOR i IN 1 .. 150 LOOP
		EXECUTE format('ALTER TABLE spare%s SET (fillfactor = %s)', i, fill);
		EXECUTE format('COMMENT ON TABLE spare%s IS %L', i, repeat('c', 100) || fill);
	END LOOP;
	FOR i IN 1 .. 250 LOOP
		EXECUTE format('COMMENT ON ROLE role%s IS %L', i, repeat('r', 100) || fill);
	END LOOP;
END
\$\$;
-- some bits of the map are set, and some are cleared again
VACUUM (INDEX_CLEANUP off) rows;
UPDATE rows SET t = t || 'x' WHERE id % 700 = $round;
SQL
	return;
}

# What queries return, with and without indexes.
sub rows_of
{
	my $node = shift;

	return $node->safe_psql('postgres', <<'SQL');
SELECT count(*), md5(string_agg(r::text, ' ' ORDER BY id)) FROM rows r;
SELECT count(*), md5(string_agg(l::text, ' ' ORDER BY id)) FROM long l;
SELECT count(*), md5(string_agg(d::text, ' ' ORDER BY d::text)) FROM pg_description d;
SELECT count(*), md5(string_agg(d::text, ' ' ORDER BY d::text)) FROM pg_shdescription d;
SELECT count(*), md5(string_agg(relname || reloptions::text, ' ' ORDER BY relname))
FROM pg_class WHERE relname ~ '^spare';
SET enable_seqscan = off;
SELECT count(*), sum(v) FROM rows WHERE id > 0;
SELECT count(*), sum(id) FROM rows WHERE a @> '{3}';
SELECT count(*), sum(id) FROM rows WHERE v = 7;
SELECT count(*), sum(id) FROM rows WHERE p <@ box '(0,0),(40,40)';
SET enable_bitmapscan = off;
SELECT count(*), sum(id) FROM (SELECT id FROM rows ORDER BY p <-> '(1,1)' LIMIT 700) r;
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SET enable_bitmapscan = on;
SELECT count(*), sum(v) FROM rows WHERE id BETWEEN 100 AND 900;
SELECT count(obj_description(oid, 'pg_class')) FROM pg_class;
SELECT count(shobj_description(oid, 'pg_authid')) FROM pg_authid;
SQL
}

#
# Pages
#

# Of each page in a list of [number, page], what of it replay must reproduce, by
# number; nothing for an empty page.
sub masked
{
	my ($node, $relation, @pages) = @_;
	my %masked;

	return {} unless @pages;
	my $mask = defined $relation->{mask}
	  ? "walredo_page_mask('$relation->{mask}', page, blk)"
	  : 'substring(page FROM 25)';
	my $values = join ",\n",
	  map { "($_->[0], decode('" . unpack('H*', $_->[1]) . "', 'hex'))" } @pages;
	foreach my $row (
		split /\n/,
		$node->safe_psql('postgres', <<SQL))
SELECT blk, md5($mask) FROM (VALUES $values) AS v (blk, page)
SQL
	{
		my ($block, $md5) = split /\|/, $row;

		$masked{$block} = $md5;
	}
	return \%masked;
}

# All pages of a file that are not empty, as masked() takes them.
sub pages_of
{
	my $file = shift;
	my $bytes = -e $file ? slurp_file($file) : '';

	return grep { $_->[1] =~ /[^\0]/ }
	  map { [ $_, substr $bytes, $_ * $page_size, $page_size ] }
	  0 .. length($bytes) / $page_size - 1;
}

sub lsn_of
{
	my $page = shift;
	my ($high, $low) = unpack 'V2', $page;

	return $high << 32 | $low;
}

# Lets none of the pages of these targets be in a server's buffers.
sub evict
{
	my ($node, @targets) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $pages = join ' OR ', map {
		my $fork = ($_->{fork} // '') eq 'vm' ? 2 : 0;
		my $block = $_->{is_in_use} ? " AND relblocknumber = $_->{block}" : '';

		"relfilenode = $_->{filenode} AND relforknumber = $fork$block"
	} @targets;

	while (
		$node->safe_psql('postgres', <<SQL) > 0)
SELECT pg_prewarm('filler') \\gset
SELECT count(*) FROM pg_buffercache
WHERE reldatabase IN (0, (SELECT oid FROM pg_database WHERE datname = 'postgres'))
	AND ($pages)
SQL
	{
		die 'pages stay in buffers' if time() > $end;
	}
	return;
}

# The blocks that walredo_repair() reports, if all have this status.
sub repair
{
	my ($node, $arguments, $status) = @_;
	my ($stdout, $stderr) = ask($node, 'postgres', <<SQL);
SET client_min_messages = error;
SELECT string_agg(CASE status WHEN '$status' THEN blkno::text
		ELSE format('%s %s: %s', blkno, status, detail) END, ' ' ORDER BY blkno)
FROM walredo_repair($arguments)
SQL
	return $stdout . $stderr;
}

# The blocks of some targets that walredo_verify_all() reports, a line for each.
# Not those that were empty before they were lost, as they need not be there.
sub verified
{
	my ($node, @targets) = @_;
	my $relations = join ', ', map { "'$_->{regclass}'" } @targets;
	my ($stdout, $stderr) = ask($node, 'postgres', <<SQL);
SET client_min_messages = error;
SELECT relation, fork, CASE status WHEN 'mismatch' THEN blkno::text
	ELSE format('%s %s: %s', blkno, status, detail) END
FROM walredo_verify_all(ARRAY[$relations]::regclass[])
WHERE status NOT IN ('ok', 'unlogged') ORDER BY blkno
SQL
	my %found;
	foreach my $row (split /\n/, $stdout)
	{
		my ($relation, $fork, $block) = split /\|/, $row, 3;

		push @{ $found{"$relation $fork"} }, $block;
	}
	my @lines;
	foreach my $target (@targets)
	{
		my $fork = $target->{fork} // 'main';
		my @blocks = grep { !$target->{empty}{$_} }
		  @{ $found{"$target->{regclass} $fork"} // [] };

		delete $found{"$target->{regclass} $fork"};
		push @lines, "$target->{name}: @blocks";
	}
	return join "\n", @lines, (map { "$_: @{ $found{$_} }" } sort keys %found),
	  $stderr || ();
}

#
# One round
#

# Chooses what is damaged how.
sub choose_target
{
	my ($primary, $relation, $kind, $old) = @_;
	my $target = { %$relation, kind => $kind };
	my $file = $relation->{path};
	my %new = map { @$_ } pages_of($file);
	my %old = map { @$_ } @$old;
	my @changed = grep { defined $old{$_} && lsn_of($old{$_}) < lsn_of($new{$_}) }
	  sort { $a <=> $b } keys %new;

	if (defined $relation->{blocks})
	{
		my %wanted = map { $_ => 1 } split /\n/,
		  $primary->safe_psql('postgres', <<SQL);
SELECT blk FROM generate_series(0, @{[(-s $file) / $page_size - 1]}) blk
WHERE $relation->{blocks}
SQL
		@changed = grep { $wanted{$_} } @changed;
	}
	if ($kind eq 'the other half')
	{
		# Without checksums it may have hints only, which nobody misses.
		my $half = $page_size / 2;
		my $want = masked($primary, $relation, map { [ $_, $new{$_} ] } @changed);
		my $got = masked($primary, $relation,
			map { [ $_, substr($new{$_}, 0, $half) . substr($old{$_}, $half) ] }
			  @changed);

		@changed = grep { $got->{$_} ne $want->{$_} } @changed;
	}
	@changed or die "no block of $relation->{name} was changed";
	$target->{block} = $changed[ @changed / 2 ];
	$target->{block} = $changed[-1] if $kind eq 'part of the last block';
	$target->{old} = $old{ $target->{block} };
	($target->{other}) =
	  grep { $_ != $target->{block} && $new{$_} ne $new{ $target->{block} } }
	  sort { $a <=> $b } keys %new;
	$target->{pages} = [ map { [ $_, $new{$_} ] } sort { $a <=> $b } keys %new ];
	$target->{empty} = {
		map { $_ => 1 } grep { !exists $new{$_} } 0 .. (-s $file) / $page_size - 1
	};
	$target->{damaged} = [ $target->{block} ];
	$target->{damaged} =
	  [ grep { $_ >= $target->{block} } map { $_->[0] } @{ $target->{pages} } ]
	  if $kind eq 'lost tail' || $kind eq 'part of the last block';
	$target->{damaged} = [ map { $_->[0] } @{ $target->{pages} } ]
	  if $kind eq 'lost file' || $kind eq 'empty file';
	return $target;
}

sub run_round
{
	my ($primary, $standby, $holder, $round) = @_;
	my @present;

	# Where files are may have changed only in setup().
	$primary->safe_psql('postgres', 'CHECKPOINT');
	my %old = map { $_->{name} => [ pages_of($_->{path}) ] } @relations;
	change($primary, $round + 1);
	my $rows = rows_of($primary);
	$primary->safe_psql('postgres', 'CHECKPOINT');
	my $held = $holder->query('SELECT sum(v) FROM rows');

	# Pages are pruned when they are read, and that is written, too.
	evict($primary, map { { %$_, block => 0, is_in_use => 0 } }
		  grep { !$_->{is_in_use} } @relations);
	$primary->safe_psql('postgres', 'CHECKPOINT');
	my @targets;
	foreach my $i (0 .. $#relations)
	{
		my $relation = $relations[$i];

		push @targets,
		  choose_target($primary, $relation, $rounds[$round][$i],
			$old{ $relation->{name} });
		$targets[-1]->{stranger} =
		  path_of($primary, 'postgres', 'strangers');
	}
	evict($primary, @targets);
	foreach my $target (@targets)
	{
		$target->{masked} = masked($primary, $target, @{ $target->{pages} });
		$damage_of{ $target->{kind} }->($target->{path}, $target);
	}

	is(verified($primary, @targets), join("\n", map { "$_->{name}: @{ $_->{damaged} }" } @targets),
		"round $round: walredo_verify_all() finds the damage, and nothing else");
	foreach my $target (@targets)
	{
		my $name = "$target->{name}, $target->{kind}";
		my $call = "'$target->{regclass}', '" . ($target->{fork} // 'main') . "'";

		is(repair($primary, $call, 'repairable'),
			"@{ $target->{damaged} }", "$name: a dry run");

		# One by one, or all at once.
		$call .= ", $target->{block}"
		  if @{ $target->{damaged} } == 1 && $target->{block} % 2 == 0;
		is( repair($primary, "$call, dry_run => false", 'repaired'),
			"@{ $target->{damaged} }", "$name: it is repaired");
	}
	$primary->safe_psql('postgres', 'CHECKPOINT');
	foreach my $target (@targets)
	{
		is_deeply(masked($primary, $target, pages_of($target->{path})),
			$target->{masked},
			"$target->{name}, $target->{kind}: the file is what it was");
	}
	is(verified($primary, @targets), join("\n", map { "$_->{name}: " } @targets),
		"round $round: walredo_verify_all() finds nothing any more");

	is(rows_of($primary), $rows, "round $round: rows are what they were");
	is($holder->query('SELECT sum(v) FROM rows'),
		$held, "round $round: so they are for a session that had the file open");
	is($holder->query('UPDATE rows SET v = v + 1 WHERE id = 17 RETURNING id'),
		17, "round $round: it can change them");
	is(repair($primary, "'rows'", ''), '', "round $round: ... in the new file");
	check_standby($primary, $standby, "round $round");
	return;
}

#
# What must hold of all
#

# Is every page on the standby that of the primary?
sub check_standby
{
	my ($primary, $standby, $name) = @_;
	my @different;

	$primary->safe_psql('postgres', 'CHECKPOINT');
	$primary->wait_for_catchup($standby);
	$standby->safe_psql('postgres', 'CHECKPOINT');
	foreach my $relation (@relations)
	{
		my $path = $relation->{path};
		my $other = $standby->data_dir . substr $path,
		  length $primary->data_dir;
		my @got = pages_of($other);
		my @want = pages_of($path);

		push @different, $relation->{name}
		  unless Test::More::eq_hash(
			masked($primary, $relation, @got),
			masked($primary, $relation, @want));
	}
	is(join(', ', @different), '', "$name: the standby has the same pages");
	return;
}

sub check_integrity
{
	my ($primary, $name) = @_;

	is( $primary->safe_psql('postgres', <<'SQL'), '', "$name: verify_heapam()");
SELECT c.oid::regclass, v.* FROM pg_class c, verify_heapam(c.oid) v
WHERE relkind IN ('r', 't', 'm') AND relpersistence = 'p' AND relname !~ '^spare'
SQL
	my ($count, $errors) = ask($primary, 'postgres', <<'SQL');
SELECT count(bt_index_check(c.oid, true)) > 100 FROM pg_class c
	JOIN pg_am a ON a.oid = c.relam JOIN pg_index i ON i.indexrelid = c.oid
WHERE amname = 'btree' AND relpersistence = 'p' AND indisready AND indisvalid
SQL
	is($count . $errors, 't', "$name: bt_index_check()");
	return;
}

sub run_server
{
	my ($name, @options) = @_;
	my $primary = wal_server(
		"${name}_primary",
		allows_streaming => 1,
		extra => [@options],
		conf => <<'CONF');
shared_preload_libraries = 'walredo'
shared_buffers = 1MB
max_connections = 20
log_statement = none
CONF
	$primary->start;
	$primary->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new("${name}_standby");
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->start;
	setup($primary);
	foreach my $relation (@relations)
	{
		$relation->{regclass} =
		  $relation->{relation} =~ /^toast (index )?of (\w+)$/
		  ? $primary->safe_psql('postgres',
			$1
			? "SELECT indexrelid::regclass FROM pg_index JOIN pg_class c ON indrelid = reltoastrelid WHERE c.oid = '$2'::regclass"
			: "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '$2'::regclass"
		  )
		  : $relation->{relation};
		$relation->{filenode} = $primary->safe_psql('postgres',
			"SELECT pg_relation_filenode('$relation->{regclass}')");
		$relation->{path} = path_of($primary, 'postgres',
			$relation->{regclass}, $relation->{fork});
	}

	$load = IPC::Run::start(
		[
			'pgbench', '-n', '-c', '2', '-T', '100000', '-R', '40',
			'-f', "$temp/load.sql",
			'-h', $primary->host, '-p', $primary->port, 'postgres'
		],
		'<', \undef,
		'>', "$temp/$name.out",
		'2>', "$temp/$name.err");
	my $holder = $primary->background_psql('postgres');
	$holder->set_query_timer_restart;
	foreach my $round (0 .. $#rounds)
	{
		run_round($primary, $standby, $holder, $round);
	}
	$load->pump_nb;
	ok($load->pumpable, "$name: pgbench is still running")
	  or diag(slurp_file("$temp/$name.err"));
	end_load();
	cmp_ok($primary->safe_psql('postgres', 'SELECT count(*) FROM history'),
		'>', 50, "$name: and has done something");
	is( $primary->safe_psql('postgres',
			'SELECT count(*) FROM walredo_repairs WHERE finished_at IS NULL'),
		0, "$name: all repairs were finished");
	check_integrity($primary, $name);
	$holder->quit;
	$standby->stop;
	$primary->stop;
	if (grep { $_ eq '--data-checksums' } @options)
	{
		command_ok([ 'pg_checksums', '--check', '-D', $primary->data_dir ],
			"$name: pg_checksums");
	}
	$primary->start;
	is( $primary->safe_psql('postgres', <<'SQL'), '', "$name: nothing in the database is damaged");
SELECT relation, fork, blkno, detail FROM walredo_verify_all() WHERE status = 'mismatch'
SQL
	$primary->stop;
	return;
}

# A relation whose second file is lost.
sub lose_second_segment
{
	my $node = wal_server(
		'large',
		extra => ['--data-checksums'],
		conf => <<'CONF');
shared_preload_libraries = 'walredo'
max_wal_size = 20GB
wal_keep_size = 20GB
CONF
	my $sum = 'SELECT count(*), sum(i), sum(hashtext(t)::int8) FROM large';

	$node->start;
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION walredo;
CREATE TABLE large (i int, t text);
ALTER TABLE large ALTER t SET STORAGE PLAIN;
INSERT INTO large SELECT g, repeat(g::text, 7000 / length(g::text))
FROM generate_series(1, 131072 + 2000) g;
SQL
	my $rows = $node->safe_psql('postgres', $sum);
	my $file = path_of($node, 'postgres', 'large');
	$node->stop;
	my $before = slurp_file("$file.1");
	unlink "$file.1" or die "could not remove $file.1: $!";
	$node->start;
	isnt($node->safe_psql('postgres', $sum), $rows, 'large: rows are gone');
	is($node->safe_psql('postgres', <<'SQL'), '2000|131072|133071', 'large: a dry run');
SELECT count(*), min(blkno), max(blkno) FROM walredo_repair('large')
WHERE status = 'repairable'
SQL
	is($node->safe_psql('postgres', <<'SQL'), '2000|131072|133071', 'large: it is repaired');
SELECT count(*), min(blkno), max(blkno) FROM walredo_repair('large', dry_run => false)
WHERE status = 'repaired'
SQL
	is($node->safe_psql('postgres', $sum), $rows, 'large: rows are back');
	$node->stop;
	is(-s "$file.1", length $before, 'large: the file is as long as it was');
	command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ],
		'large: pg_checksums');
	return;
}

append_to_file("$temp/load.sql", <<'SQL');
\set id random(1, 200)
\set delta random(-100, 100)
BEGIN;
UPDATE accounts SET balance = balance + :delta WHERE id = :id;
SELECT balance FROM accounts WHERE id = :id;
INSERT INTO history VALUES (:id, :delta, now());
END;
SQL
run_server('checksums', '--data-checksums');
run_server('plain');
lose_second_segment() if $ENV{REPAIR_LARGE};
done_testing();
