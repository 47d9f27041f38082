# All rows of all tables, as they were at many moments of a random workload, are
# those that a snapshot saw then.
#
# Several sessions change some thirty tables, with values of all types, in
# transactions that are open for long, prepared, taken back in part, or aborted,
# while tables are vacuumed, rewritten, dropped, made again, and get other columns
# and partitions; see WalredoRows.  At some moments, the rows of all relations,
# and of catalogs, are noted.  Later, walredo_rows_at() has to return the same,
# whatever has happened since:
#
# - rows of a table that still has its columns, under its present name, also if
#   it has another file, or has been moved, by now;
# - rows of a table that was dropped, or has columns of other types now, out of
#   its file, with the row type of a twin of the table;
# - rows of a partitioned table out of the partitions that it had.
#
# Rows can be missing only where a warning says so, and only with a reason: the
# file is gone, or a transaction was open that was older than the last checkpoint.
#
# ROWS_MOMENTS is how many moments there are, 6 if it is not set, and ROWS_STEPS
# how many steps the sessions take between two of them, 100 if it is not set.
# Half of the moments are on a server without checksums, half on one with, or all
# of them on one of the two if ROWS_CHECKSUMS is 0 or 1.  ROWS_SEED chooses the
# steps.  A long run, which takes an hour or so:
#
#	ROWS_MOMENTS=300 ROWS_STEPS=120 ROWS_SEED=7 scripts/test t/084_rows_workload.pl
#
# Seen to fail, with some seeds, on code that took a file that a transaction in
# progress had made for the relation's, that did not use the image in a record of
# the visibility map, and that warned of rows of catalogs that were changed in
# place.

use Digest::MD5 qw(md5_hex);
use File::Copy  qw(move);
use JSON::PP;
use Time::HiRes qw(time);
use WalredoRows;
use WalredoTest;

my $moments = $ENV{ROWS_MOMENTS} || 6;
my $steps = $ENV{ROWS_STEPS} || 100;
my $seed = $ENV{ROWS_SEED} || 1;
my @kinds = defined $ENV{ROWS_CHECKSUMS} ? ($ENV{ROWS_CHECKSUMS}) : (0, 1);

note("ROWS_MOMENTS=$moments ROWS_STEPS=$steps ROWS_SEED=$seed");

# Catalogs whose rows are compared, the column that says which of them are of
# objects that were made here, and the columns that are changed in place.
my %catalogs = (
	pg_class => [
		'oid',
		qw(relpages reltuples relallvisible relallfrozen relhasindex
		  relhasrules relhastriggers relfrozenxid relminmxid)
	],
	pg_attribute => ['attrelid'],
	pg_attrdef => ['adrelid'],
	pg_constraint => ['conrelid'],
	pg_index => ['indexrelid'],
	pg_inherits => ['inhrelid'],
	pg_proc => ['oid'],
	pg_statistic => ['starelid'],
	pg_type => ['oid']);

my $json = JSON::PP->new;
my $temp = PostgreSQL::Test::Utils::tempdir();

# Since version 18, initdb makes servers with checksums unless it is told not to.
my $major = PostgreSQL::Test::Cluster->new('version')->pg_version->major;
my @no_checksums = $major >= 18 ? '--no-data-checksums' : ();

# Of the server that is tested now.
my ($node, $observer, $workload, $directory);

# What the results were, by kinds.
my %count;

# Runs SQL in the session that observes.  Returns what it printed, and its messages.
sub observe
{
	my $sql = shift;
	my $output = $observer->query($sql);
	my $messages = $observer->{stderr};

	$observer->{stderr} = '';
	return ($output, $messages);
}

#
# Notes
#

# All relations with rows, as they are now, by OID.  For each: its name, kind, the
# file's tag, and the columns that it has or had, in order.
sub relations
{
	my ($output, $messages) = observe(<<'SQL');
SELECT json_object_agg(c.oid, json_build_object(
	'relname', relname,
	'name', format('%I.%I', nspname, relname),
	'short', CASE nspname WHEN 'public' THEN '' ELSE quote_ident(nspname) || '.' END
		|| quote_ident(relname),
	'kind', relkind,
	'tag', format('rel %s/%s/%s blk 0', CASE reltablespace WHEN 0 THEN dattablespace
		ELSE reltablespace END, d.oid, pg_relation_filenode(c.oid)),
	'columns', (SELECT coalesce(json_agg(json_build_object('name', quote_ident(attname),
		'type', format_type(atttypid, atttypmod), 'dropped', attisdropped,
		'length', attlen, 'align', attalign,
		'missing', (attmissingval::text::text[])[1]) ORDER BY attnum), '[]')
		FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0)))
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
	JOIN pg_database d ON datname = current_database()
WHERE relkind IN ('r', 'm', 'p') AND (nspname = 'public' OR nspname = 'Other Schema')
	AND relpersistence = 'p'
SQL
	die $messages if $messages ne '';
	return $json->decode($output);
}

# Moves a file to where files are kept by their contents.  Returns its name there.
sub keep
{
	my $file = shift;
	my $content = PostgreSQL::Test::Utils::slurp_file($file);
	my $kept = "$directory/kept/" . md5_hex($content);

	unlink $file if -e $kept;
	move($file, $kept) or die "$file: $!" if !-e $kept;
	return $kept;
}

# Notes the rows of a relation, as the session that observes sees them, with all
# its columns.  Returns the file, or undef if the relation is locked.
sub note_rows
{
	my $relation = shift;
	my $file = "$directory/rows";
	my $only = $relation->{kind} eq 'p' ? '' : 'ONLY';
	my $columns = join ', ', 'tableoid', 'ctid',
	  map { $_->{name} } grep { !$_->{dropped} } @{ $relation->{columns} };

	my (undef, $messages) =
	  observe(
		"COPY (SELECT $columns FROM $only $relation->{name}) TO '$file'");
	return keep($file) if $messages eq '';
	die $messages if $messages !~ /55P03/;
	return;
}

# For the workload: notes a relation before it is locked.
sub before_lock
{
	my $name = shift;
	my ($relation) = grep { $_->{short} eq $name } values %{ relations() };

	return $relation ? note_rows($relation) : 'none';
}

# A query of rows of a catalog, or of what there was of it.
sub catalog_query
{
	my ($catalog, $from) = @_;
	my ($key, @in_place) = @{ $catalogs{$catalog} };
	my %in_place = map { $_ => 1 } @in_place;
	my ($columns) = observe(<<SQL);
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = '$catalog'::regclass AND attnum > 0 AND NOT attisdropped
SQL
	my $list = join ', ', grep { !$in_place{$_} } split / /, $columns;

	return "SELECT $list FROM $from WHERE $key >= 16384";
}

# Notes all there is.
sub note_moment
{
	my $number = shift;

	observe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my ($lsn) = observe('SELECT pg_current_wal_insert_lsn()');
	my $relations = relations();
	my %catalog_rows;

	observe('COMMIT');
	foreach my $relation (values %$relations)
	{
		$relation->{rows} = note_rows($relation)
		  // $workload->locked($relation->{short})
		  // die "$relation->{name} is locked";
	}
	foreach my $catalog (keys %catalogs)
	{
		my $query = catalog_query($catalog, $catalog);
		my (undef, $messages) = observe("COPY ($query) TO '$directory/rows'");

		die $messages if $messages ne '';
		$catalog_rows{$catalog} = keep("$directory/rows");
	}
	return {
		number => $number,
		lsn => $lsn,
		relations => $relations,
		catalog_rows => \%catalog_rows,
		has_old => $workload->has_old,
		left => [ sort keys %$relations ]
	};
}

#
# Checks
#

# Lines of a file that COPY has written, as lists of fields.
sub fields_of
{
	my $file = shift;

	my @lines = split /\n/, PostgreSQL::Test::Utils::slurp_file($file), -1;

	pop @lines;
	return map { [ split /\t/, $_, -1 ] } @lines;
}

# Text as COPY writes it.
sub copied
{
	my $text = shift;

	return '\\N' if !defined $text;
	my %escape = ("\t" => '\\t', "\n" => '\\n', '\\' => '\\\\');
	return $text =~ s/([\t\n\\])/$escape{$1}/gr;
}

# Compares rows with those that were there.  $expected is a list of triples: the
# OID of the table a row was in, its ctid, and the row; $got a list of rows;
# $may_lack says, by a table's OID and a ctid, whether a row may be missing.
# Returns a text that says what is different, or ''.
sub compare
{
	my ($expected, $got, $may_lack) = @_;
	my %left;
	my @missing;

	$left{$_}++ foreach @$got;

	# Of equal rows, those that have to be there are looked for first.
	my @sure = grep { !$may_lack->(@$_) } @$expected;
	foreach my $triple (@sure, grep { $may_lack->(@$_) } @$expected)
	{
		my ($oid, $ctid, $row) = @$triple;

		if ($left{$row})
		{
			$left{$row}--;
			next;
		}
		$count{'missing rows'}++;
		push @missing, "$oid $ctid: $row" if !$may_lack->($oid, $ctid);
	}
	my @extra = grep { $left{$_} } sort keys %left;
	return '' if !@missing && !@extra;
	my $show = sub {
		return join '',
		  map { substr($_, 0, 400) . "\n" } @_[ 0 .. ($#_ < 4 ? $#_ : 4) ];
	};
	return
		scalar(@$expected)
	  . ' rows expected, '
	  . scalar(@$got)
	  . " returned\n"
	  . scalar(@missing)
	  . " missing:\n"
	  . $show->(@missing)
	  . scalar(@extra)
	  . " too many:\n"
	  . $show->(@extra);
}

# Makes a table with the columns that a relation had, dropped ones included, and
# with the same missing values.
sub make_twin
{
	my $relation = shift;
	my $number = 0;
	my $sql = "CREATE SCHEMA twins; CREATE TABLE twins.twin ();\n";

	foreach my $column (@{ $relation->{columns} })
	{
		my ($name, $type) = @$column{qw(name type)};
		my $default = '';

		if ($column->{dropped})
		{
			$name = 'dropped_' . ++$number;
			($type) = observe(<<SQL);
SELECT format_type(oid, NULL) FROM pg_type
WHERE typlen = $column->{length} AND typalign = '$column->{align}' AND typtype = 'b'
ORDER BY oid LIMIT 1
SQL
		}
		$default = 'DEFAULT $twin$' . $column->{missing} . '$twin$'
		  if defined $column->{missing};
		$sql .= "ALTER TABLE twins.twin ADD COLUMN $name $type $default;\n";
		$sql .= "ALTER TABLE twins.twin DROP COLUMN $name;\n"
		  if $column->{dropped};
	}
	my (undef, $messages) = observe(
		"SET client_min_messages = error;\n$sql;\nRESET client_min_messages");
	die "$sql\n$messages" if $messages ne '';
	return { %$relation, name => 'twins.twin' };
}

# Checks the rows of a relation out of what is now $now, which has columns of the
# same types.
sub check_rows
{
	my ($moment, $relation, $now, $arguments, $is_gone) = @_;
	my (@then, @now, @added);
	my $i = 1;

	# Which columns there are in both, or now only.
	foreach my $n (0 .. $#{ $now->{columns} })
	{
		my $old = $relation->{columns}[$n];
		my $new = $now->{columns}[$n];

		if ($old && !$old->{dropped})
		{
			$i++;
			next if $new->{dropped};
			push @then, $i;
			push @now, $new->{name};
		}
		elsif (!$old && !$new->{dropped})
		{
			push @added, $new;
		}
	}
	my $list = join ', ', @now, map { $_->{name} } @added;
	my (undef, $messages) =
	  observe(
		"COPY (SELECT $list FROM walredo_rows_at(NULL::$now->{name}, '$moment->{lsn}'$arguments)) TO '$directory/rows'"
	  );

	# Rows of catalogs may be missing, too.
	if (   $moment->{has_old}
		&& $messages =~
		/ERROR:  XX001: could not find the (?:file|columns) that/)
	{
		$count{'rows of catalogs missing'}++;
		return '';
	}
	return $messages if $messages =~ /ERROR:/;
	my @expected = map {
		my @fields = @$_;
		[ @fields[ 0, 1 ], join "\t", @fields[@then] ]
	} fields_of($relation->{rows});
	my $problem = '';
	my @got;

	foreach my $fields (fields_of("$directory/rows"))
	{
		my @fields = @$fields;

		foreach my $n (0 .. $#added)
		{
			my $value = $fields[ @now + $n ];
			$problem = "$added[$n]{name} is $value\n"
			  if $value ne '\\N' && $value ne copied($added[$n]{missing});
		}
		push @got, join "\t", @fields[ 0 .. $#now ];
	}

	$problem .= compare(\@expected, \@got, may_lack($moment, $messages));
	$problem .= $messages
	  if $messages ne ''
	  && ($problem ne '' || !$is_gone && !$moment->{has_old});
	$count{warnings}++ if $messages ne '';
	$count{rows} += @got;
	return $problem;
}

# A function that says whether a row may be missing according to the warnings of a
# call, which name tables, blocks and rows.
sub may_lack
{
	my ($moment, $messages) = @_;
	my (%blocks, %from, %ctids);

	$ctids{$2}{$1} = 1
	  while $messages =~ /row (\(\d+,\d+\)) of "(.*)" is left out$/mg;
	$blocks{$2}{$1} = 1
	  while $messages =~ /rows of block (\d+) of "(.*)" may be missing$/mg;
	$from{$1} = $2
	  while $messages =~
	  /rows of "(.*)" may be missing from block (\d+) on$/mg;
	my $is_cut = $messages =~
	  /more rows or blocks are left out$|rows of partitions of .* may be missing$/m;
	my %oids = map { $_ => 1 }
	  $messages =~ /partition with OID (\d+) of .* is left out$/mg;
	return sub {
		my ($oid, $ctid) = @_;
		my $relation = $moment->{relations}{$oid};
		my ($block) = $ctid =~ /^\((\d+),/;

		return 1 if $is_cut || $oids{$oid};
		foreach my $name ($relation->{relname},
			$relation->{tag} =~ m{^rel 1663/(\S+)} ? "base/$1" : 'no file')
		{
			return 1
			  if $ctids{$name}{$ctid}
			  || $blocks{$name}{$block}
			  || defined $from{$name} && $block >= $from{$name};
		}
		return 0;
	};
}

# Checks one relation as of a moment.  Returns what is wrong, or ''.  That is an
# error 55P03 if the relation is locked.
sub check_relation
{
	my ($moment, $oid, $now) = @_;
	my $relation = $moment->{relations}{$oid};
	my $is_retyped = 0;

	if ($now)
	{
		foreach my $n (0 .. $#{ $relation->{columns} })
		{
			my ($old, $new) =
			  ($relation->{columns}[$n], $now->{columns}[$n]);

			$is_retyped = 1
			  if !$old->{dropped}
			  && !$new->{dropped}
			  && $old->{type} ne $new->{type};
		}
	}
	if ($now && !$is_retyped)
	{
		my $is_gone =
		  $relation->{kind} eq 'p' || $relation->{tag} ne $now->{tag};
		my $kind =
			$relation->{kind} eq 'p' ? 'partitioned'
		  : $is_gone                 ? 'rewritten'
		  :                            'same file';
		$count{$kind}++;
		return check_rows($moment, $relation, $now, '', $is_gone);
	}
	return '' if $relation->{kind} eq 'p';

	my $problem = '';
	if ($now)
	{
		# Without a rewrite, the values are still good.
		my $result = check_rows($moment, $relation, $now, '', 1);

		$count{'other types'}++;
		$problem = "no error for another type: $result"
		  if $result !~ /ERROR:.*\btype\b/s && $result ne '';
		return $problem if $result eq '';
	}
	$count{'by file'}++;
	$problem .=
	  check_rows($moment, $relation, make_twin($relation),
		", '$relation->{tag}'", 1);
	observe(
		'SET client_min_messages = error; DROP SCHEMA twins CASCADE; RESET client_min_messages'
	);
	return $problem;
}

sub check_catalog
{
	my ($moment, $catalog) = @_;
	my $query = catalog_query($catalog,
		"walredo_rows_at(NULL::$catalog, '$moment->{lsn}')");
	my (undef, $messages) = observe("COPY ($query) TO '$directory/rows'");

	return $messages if $messages =~ /ERROR:/;
	my @expected = map { [ 'catalog', '', join "\t", @$_ ] }
	  fields_of($moment->{catalog_rows}{$catalog});
	my @got = map { join "\t", @$_ } fields_of("$directory/rows");
	my $problem = compare(\@expected, \@got,
		sub { return $messages ne '' && $moment->{has_old} });

	$problem .= $messages
	  if $messages ne '' && ($problem ne '' || !$moment->{has_old});
	$count{catalogs}++;
	return $problem;
}

# Checks what is left to be checked of a moment.  Returns how many relations are
# locked, and so are still left.
sub check_moment
{
	my ($moment, $when) = @_;
	my $started = time();
	my $now = relations();
	my $relations = $moment->{relations};
	my (@wrong, @locked);

	foreach my $oid (@{ $moment->{left} })
	{
		my $problem = check_relation($moment, $oid, $now->{$oid});

		if ($problem =~ /ERROR:  55P03/)
		{
			push @locked, $oid;
			next;
		}
		push @wrong, "$relations->{$oid}{name} ($oid): $problem"
		  if $problem ne '';
	}
	foreach my $catalog (sort keys %catalogs)
	{
		my $problem = check_catalog($moment, $catalog);

		push @wrong, "$catalog: $problem" if $problem ne '';
	}
	ok(!@wrong, "moment $moment->{number}, $when: all rows of all relations")
	  or diag(
		"LSN $moment->{lsn}"
		  . ($moment->{has_old} ? ', with old transactions' : ''),
		"\n", @wrong);
	note(sprintf '%.1f s', time() - $started);
	$moment->{left} = \@locked;
	return scalar @locked;
}

#
# Servers
#

sub run_server
{
	my ($name, $checksums, @numbers) = @_;
	my @waiting;

	srand($seed + $checksums * 1000);
	$node = wal_server(
		$name,
		extra => $checksums ? ['--data-checksums'] : \@no_checksums,
		conf => <<'CONF');
max_prepared_transactions = 10
allow_in_place_tablespaces = on
shared_preload_libraries = 'walredo'
wal_keep_size = 20GB
max_wal_size = 20GB
max_connections = 30
log_statement = none
log_min_messages = warning
log_min_error_statement = panic
CONF
	$node->start;
	$directory = "$temp/$name";
	mkdir $directory        or die $!;
	mkdir "$directory/kept" or die $!;
	is(join(' ', WalredoRows::untyped($node)),
		'', 'there are values of all types');
	WalredoRows::create($node);
	$node->safe_psql('postgres', 'CREATE EXTENSION walredo');

	$observer = $node->background_psql('postgres', on_error_stop => 0);
	$observer->set_query_timer_restart;
	$observer->query('\set VERBOSITY verbose');
	$observer->query("SET lock_timeout = '5ms'");
	$workload = WalredoRows->new(
		$node,
		directory => $directory,
		before_lock => \&before_lock);

	foreach my $number (@numbers)
	{
		$workload->step foreach 1 .. $steps;
		push @waiting, note_moment($number);

		# Of many, some wait for the end.
		$waiting[-1]{due} = $number + int(rand() < 0.95 ? rand 6 : $moments);
		while (my ($moment) = grep { $_->{due} <= $number } @waiting)
		{
			@waiting = grep { $_ != $moment } @waiting;
			push @waiting, { %$moment, due => $moments + 1 }
			  if check_moment($moment, 'on the way');
		}
	}
	$workload->finish;
	check_moment($_, 'at the end') foreach @waiting;
	note(
		"$workload->{statements} statements; errors: ",
		join ', ',
		map { "$_ $workload->{errors}{$_}" }
		  sort keys %{ $workload->{errors} });
	$observer->quit;
	$node->stop;
	return;
}

my @numbers = (1 .. $moments);
foreach my $checksums (@kinds)
{
	my @some = splice @numbers, 0, int(@numbers / @kinds + 0.5);

	@some = (@some, splice @numbers) if $checksums == $kinds[-1];
	run_server($checksums ? 'checksums' : 'plain', $checksums, @some);
}
note(join ', ', map { "$_: $count{$_}" } sort keys %count);
cmp_ok($count{rows}, '>', 500 * $moments, 'there were many rows');
cmp_ok($count{rewritten}, '>', 0, 'there were relations with another file');
done_testing();
