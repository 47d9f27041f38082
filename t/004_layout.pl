
# What can be checked without running the code: which room includes which, and
# which symbols of other rooms it uses (docs/tour.md has the table), names,
# words, layout, typedefs.list, META.json, debian/, and lists of versions.
#
# Seen to fail: with an include of pool/shared.h in child/, with a header that
# its room does not offer, with a call of a function of pool in page, with a
# function without a prefix, with two files of one name, with a line too long, a
# name left out of typedefs.list, another version in walredo.control or
# debian/changelog, a dependency added to debian/control.in only, a word more in
# LICENSE, with a bug tracker that is no object, without a version in scripts/lib.sh,
# and with a tuple descriptor that is not finalized.

use strict;
use warnings;

use FindBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

chdir "$FindBin::RealBin/.." or die "could not change directory: $!";

sub none
{
	my ($found, $what) = @_;

	is(join("\n", @$found), '', $what);
	return;
}

my @sources = sort glob 'src/*.[ch] src/*/*.[ch]';
my %text = map { $_ => slurp_file($_) } @sources;
cmp_ok(scalar(@sources), '>', 20, 'there is source');

#
# Rooms
#

my (%offers, %may_include);
foreach my $line (split /\n/, slurp_file('docs/tour.md'))
{
	my ($room, $offers, $includes) =
	  $line =~ /^\| `(\w+)` \| [^|]*\| ?([^|]*) ?\| ?([^|]*) ?\|$/
	  or next;

	$offers{$room} = { map { $_ => 1 } $offers =~ /`([\w.]+)`/g };
	$may_include{$room} = { map { $_ => 1 } $includes =~ /`(\w+)`/g };
}
is_deeply(
	[ sort keys %offers ],
	[ sort('walredo', map { m{^src/(\w+)/$} } glob('src/*/')) ],
	'the tour shows all rooms');

my (@wrong_rooms, @private_headers, %does_include, %is_used);
foreach my $file (@sources)
{
	my ($room) = $file =~ m{^src/(\w+)[/.]};

	next if $room eq 'compat';
	while ($text{$file} =~ /^#include "(\w+)\/(\w+\.h)"/mg)
	{
		my ($other, $header) = ($1, $2);

		# The server has directories, too.
		next if !-e "src/$other/$header" || $other eq $room;
		push @wrong_rooms, "$file includes $other/$header"
		  if !$may_include{$room}->{$other};
		push @private_headers, "$file includes $other/$header"
		  if !$offers{$other}->{$header};
		$does_include{$room}->{$other} = 1;
		$is_used{"$other/$header"} = 1;
	}
}
none(\@wrong_rooms, 'rooms include those that the tour allows');
none(\@private_headers, 'rooms use the headers that others offer');

my (@unused, @unused_headers);
foreach my $room (sort keys %may_include)
{
	push @unused, map { "$room $_" }
	  grep { !$does_include{$room}->{$_} } sort keys %{ $may_include{$room} };
	push @unused_headers,
	  grep { !$is_used{$_} } map { "$room/$_" } sort keys %{ $offers{$room} };
}
none(\@unused, 'no more is allowed than is needed');
none(\@unused_headers, 'no more is offered than is used');
ok( !$may_include{child}->{pool} && !$may_include{pool}->{child},
	'child and pool do not know each other');

# In circles there is no first room to read.
my (%state, @circles);

sub visit
{
	my ($room, @path) = @_;

	if (($state{$room} // '') eq 'open')
	{
		push @circles, join ' ', @path, $room;
		return;
	}
	return if $state{$room};
	$state{$room} = 'open';
	visit($_, @path, $room) foreach sort keys %{ $may_include{$room} };
	$state{$room} = 'done';
	return;
}
visit('walredo');
visit('api');
none(\@circles, 'there are no circles');
none([ grep { !$state{$_} } keys %may_include ], 'every room is reached');

none(
	[ grep { $_ ne 'src/compat.h' && $text{$_} =~ /PG_VERSION_NUM/ } @sources ],
	'only compat.h asks for the version');
none([ grep { $text{$_} !~ /^ \*\s+\Q$_\E$/m } @sources ],
	'every file says where it is');

# A message's LOCATION shows only the last part of a file's path.
my %named;
push @{ $named{ (m{([^/]+)$})[0] } }, $_ foreach @sources;
none([ map { join ' and ', @$_ } grep { @$_ > 1 } map { $named{$_} } sort keys %named ],
	'no two files have the same name');

my ($objects) = slurp_file('Makefile') =~ /^OBJS = \\\n((?:.*\\\n)*.*)$/m;
my @objects = $objects =~ /(src\S+)\.o/g;
is_deeply(
	[ sort @objects ],
	[ sort map { /^(.*)\.c$/ } @sources ],
	'the Makefile has all files');

#
# Symbols
#

# A room can use what another one has not offered, through a header of a third
# one, or with a declaration of its own.  The objects show it.
SKIP:
{
	my (%room_of, %uses, @no_prefix, @foreign);
	my $missing = grep { !-f "$_.o" } @objects;

	skip "$missing of the objects are not there: run make first", 3
	  if $missing > 0;

	foreach my $object (@objects)
	{
		my ($room) = $object =~ m{^src/(\w+)};

		foreach my $line (`nm -g -P $object.o`)
		{
			my ($symbol, $type) = split / /, $line;

			# A weak one need not be there.
			if ($type =~ /^[Uvw]$/)
			{
				$uses{$symbol}->{$room} = $object;
				next;
			}
			$room_of{$symbol} = $room;
			push @no_prefix, "$object $symbol"
			  if $symbol !~
			  /^(?:walredo_|Walredo|_walredo_|pg_finfo_|_PG_init$|Pg_magic_func$)/;
		}
	}
	foreach my $symbol (sort keys %room_of)
	{
		my $owner = $room_of{$symbol};

		push @foreign,
		  map { "$uses{$symbol}->{$_} uses $symbol of $owner" }
		  grep { $_ ne $owner && !$may_include{$_}->{$owner} }
		  sort keys %{ $uses{$symbol} };
	}
	cmp_ok(scalar(keys %room_of), '>', 100, 'there are symbols');
	none(\@no_prefix, 'all external symbols have a prefix');
	none(\@foreign, 'rooms use symbols of rooms that the tour allows');
}

# Before version 19, nothing is wrong if this is forgotten.
my @unfinished;
foreach my $file (@sources)
{
	my $created = () = $text{$file} =~ /\bCreateTemplateTupleDesc\(/g;
	my $finalized = () = $text{$file} =~ /\bTupleDescFinalize\(\w/g;

	push @unfinished, "$file: $created, $finalized"
	  if $created != $finalized && $file ne 'src/compat.h';
}
none(\@unfinished, 'tuple descriptors that are created are finalized');

#
# Words
#

# These stood for terms that PostgreSQL has: WAL, reap, exit status, standard
# error's tail, database and role, result, saved request, page changes.  "The
# log" alone is neither WAL nor the server log.
my $words = qr/\b(?:bury|buried|buries|graves?|last\swords|tenants?|verdicts?|
	at_hand|\w*lowering|bundles?|the\slog)\b/xi;
my @private;
foreach my $file (@sources, glob 'README.md docs/*.md walredo--*.sql')
{
	# A comment goes on in the next line.
	my $text = ($text{$file} // slurp_file($file)) =~ s/\n[\s*]*/ /gr;

	push @private, "$file: $1" while $text =~ /(.{0,20}$words)/g;
}
none(\@private, 'no words that only we understand');

#
# Layout
#

# Tabs are four columns wide.
sub width
{
	my ($line) = @_;

	1 while $line =~ s/^([^\t]*)\t/$1 . ' ' x (4 - length($1) % 4)/e;
	return length $line;
}

my (@long, @blanks, @spaces, @comments);
foreach my $file (@sources)
{
	my $n = 0;

	foreach my $line (split /\n/, $text{$file}, -1)
	{
		my $at = "$file:" . ++$n;

		# A string stays whole, so that it can be searched for.
		push @long, $at if width($line) > 80 && $line !~ /"/;
		push @spaces, $at if $line =~ /^\t* {4}/ || $line =~ / \t/;
		push @comments, $at if $line =~ m{(?:^|\s)//};
	}
}
none(\@long, 'no line of the source is longer than 80 columns');
none(\@spaces, 'indentation is by tabs');
none(\@comments, 'comments are in /* */');

foreach my $file (
	@sources,
	grep { -f } glob 'Makefile META.json walredo.control walredo--*.sql'
	. ' typedefs.list sql/* t/* scripts/* .ci/* test/* bench/* fuzz/*'
	. ' debian/* debian/*/* .github/workflows/*')
{
	my $text = $text{$file} // slurp_file($file);
	my $n = 0;

	foreach my $line (split /\n/, $text, -1)
	{
		$n++;
		push @blanks, "$file:$n" if $line =~ /[ \t]$/;
	}
	push @blanks, "$file: end" if $text !~ /[^\n]\n\z/;
}
none(\@blanks, 'no blanks at the end of a line or file');

#
# typedefs.list, for pgindent
#

my %typedefs;
foreach my $file (@sources, sort glob 'test/*.c bench/*.c fuzz/*.[ch]')
{
	my $text = $text{$file} // slurp_file($file);

	$text =~ s{/\*.*?\*/}{}gs;
	1 while $text =~ s/\{[^{}]*\}//;
	while ($text =~ /^typedef\b([^;]*);/mg)
	{
		my $declaration = $1;

		$typedefs{$1} = 1
		  if $declaration =~ /\(\s*\*\s*(\w+)\)\s*\(/
		  || $declaration =~ /(\w+)(?:\[[^\]]*\])?\s*$/;
	}
	while ($text =~ /^#define SH_PREFIX\s+(\w+)/mg)
	{
		$typedefs{"$1_$_"} = 1 foreach qw(hash iterator);
	}
}
my $list = join "\n", sort keys %typedefs, '';
$list =~ s/^\n//;
is(slurp_file('typedefs.list'), "$list\n", 'typedefs.list has all names')
  or diag "It must be:\n$list";

#
# META.json, by the PGXN Meta Spec 1.0.0
#

my $meta = eval { decode_json(slurp_file('META.json')) };
is($@, '', 'META.json is JSON');

my $version = qr/^(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[A-Za-z][\w-]*)?$/;
my %known = map { $_ => 1 } qw(name version abstract maintainer license
  provides meta-spec description generated_by no_index prereqs
  release_status resources tags);
none([ grep { !$known{$_} && !/^x_/i } sort keys %$meta ],
	'META.json has known fields');
none([ grep { !defined $meta->{$_} }
		qw(name version abstract maintainer license provides meta-spec) ],
	'META.json has all fields that must be');
like($meta->{name}, qr{^[^\s/\\[:cntrl:]]{2,}$}, 'name');
like($meta->{version}, $version, 'version');
like($meta->{abstract}, qr/^\S.*\S$/, 'abstract');
none([ grep { ref || !length }
		ref $meta->{maintainer} ? @{ $meta->{maintainer} } : $meta->{maintainer} ],
	'maintainer');
like($meta->{license}, qr/^postgresql$/, 'license');
like($meta->{release_status}, qr/^(?:stable|testing|unstable)$/,
	'release status');
like($meta->{'meta-spec'}->{version}, $version, 'version of the specification');
like($meta->{'meta-spec'}->{url}, qr{^https?://}, 'URL of the specification');
none([ grep { ref || !length || length > 256 } @{ $meta->{tags} } ], 'tags');

my $resources = $meta->{resources};
my $uri = qr{^(?:https?|git|ssh)://[^\s/]+(?:/\S*)?$};
none(
	[ grep { !/^(?:homepage|bugtracker|repository)$/ } sort keys %$resources ],
	'resources');
like($resources->{homepage} // 'https://none', $uri, 'home page');
SKIP:
{
	my $bugtracker = $resources->{bugtracker} or skip 'no bug tracker', 1;

	ok( ref $bugtracker eq 'HASH'
		  && ($bugtracker->{web} // $bugtracker->{mailto})
		  && ($bugtracker->{web} // 'https://none') =~ $uri
		  && ($bugtracker->{mailto} // 'a@b') =~ /^[^\s@]+@[^\s@]+$/
		  && !grep({ !/^(?:web|mailto)$/ } keys %$bugtracker),
		'bug tracker');
}
SKIP:
{
	my $repository = $resources->{repository} or skip 'no repository', 1;

	ok( ref $repository eq 'HASH'
		  && ($repository->{url} // $repository->{web})
		  && ($repository->{url} // 'https://none') =~ $uri
		  && ($repository->{web} // 'https://none') =~ $uri
		  && ($repository->{type} // '') =~ /^[a-z]+$/
		  && !grep({ !/^(?:url|web|type)$/ } keys %$repository),
		'repository');
}

is_deeply([ keys %{ $meta->{provides} } ], ['walredo'], 'provides');
my $provided = $meta->{provides}->{walredo};
like($provided->{version}, $version, 'version of the extension');
ok(-f $provided->{file}, 'file of the extension');
ok(-f $provided->{docfile}, 'its documentation');

my @prereqs;
foreach my $phase (keys %{ $meta->{prereqs} })
{
	push @prereqs, $phase
	  if $phase !~ /^(?:configure|build|test|runtime|develop)$/;
	foreach my $relation (keys %{ $meta->{prereqs}->{$phase} })
	{
		push @prereqs, $relation
		  if $relation !~ /^(?:requires|recommends|suggests|conflicts)$/;
		push @prereqs, grep { !/$version/ && $_ ne '0' }
		  values %{ $meta->{prereqs}->{$phase}->{$relation} };
	}
}
none(\@prereqs, 'prerequisites');

my ($default_version) = slurp_file('walredo.control') =~
  /^default_version\s*=\s*'(.*)'/m;
is($meta->{version}, "$default_version.0",
	'version is that of walredo.control');
is($provided->{version}, $meta->{version}, 'and of what is provided');
ok(-f "walredo--$default_version.sql", 'its script is there');
like(slurp_file('CHANGELOG.md'), qr/^## \Q$default_version\E\b/m,
	'its changes are listed');

#
# debian/
#

like(slurp_file('debian/changelog'),
	qr/^postgresql-walredo \(\Q$meta->{version}\E-\d+\) /,
	'the version of the package is that of META.json');

# It has a package for each server of the Debian where it was made.
my $control = slurp_file('debian/control');
my %versions = map { $_ => 1 } $control =~ /^Package: postgresql-(\d+)-walredo$/mg;
my ($source, $package) =
  split /(?<=\n)(?=\nPackage: )/, slurp_file('debian/control.in');
is( $control,
	join('',
		$source,
		map { $package =~ s/PGVERSION/$_/gr }
		sort { $a <=> $b } keys %versions),
	'debian/control is made of debian/control.in');
cmp_ok(scalar(keys %versions), '>', 0, 'it has packages');

my ($license) = slurp_file('LICENSE') =~ /^(Permission .*)/ms;
my ($copyright) =
  slurp_file('debian/copyright') =~ /^License: PostgreSQL\n (Permission .*)/ms;
$copyright =~ s/^ //mg;
$copyright =~ s/^\.$//mg;
is($copyright, $license, 'debian/copyright has the licence');

#
# Versions
#

# scripts/lib.sh has the list: version, release of Debian, how it is tested.
my ($versions) = slurp_file('scripts/lib.sh') =~ /^versions='\n(.*?)^'$/ms;
my @versions = map { [ split ' ' ] } split /\n/, $versions;
my @numbers = map { $_->[0] } @versions;
my $oldest = $numbers[0];
cmp_ok(scalar(@versions), '>', 2, 'there are versions');
is_deeply(\@numbers, [ sort { $a <=> $b } @numbers ], 'the oldest is first');
none([ map { "@$_" } grep { "@$_" !~ /^\d+ (?:[a-z]+ (?:full|regress)|- -)$/ } @versions ],
	'how each is tested');

my ($table) = slurp_file('README.md') =~ /^## Versions$(.*?)^## /ms;
my @shown = map { [ /^\| (\d+)[^|]*\| ([^|]*)/ ] } grep { /^\| \d/ } split /\n/,
  $table;
is_deeply(
	[
		map {
			[ $_->[0], $_->[1] =~ /^not tested/ ? '-' : $_->[1] =~
				  /regression tests only/ ? 'regress' : 'full' ]
		} @shown
	],
	[ map { [ $_->[0], $_->[2] ] } @versions ],
	'README.md shows the same');
like(slurp_file('.ci/run'), qr{/scripts/test-versions" all }, '.ci/run tests all');

my ($matrix) = slurp_file('.github/workflows/ci.yml') =~ /^\s+pg: \[(.*)\]$/m;
is($matrix, join(', ', @numbers), 'so does the workflow');

is($meta->{prereqs}->{runtime}->{requires}->{PostgreSQL},
	"$oldest.0.0", 'META.json asks for the oldest, or a newer one');
is(slurp_file('debian/pgversions'), "$oldest+\n", 'so does debian/pgversions');
like($text{'src/compat.h'},
	qr/^#if PG_VERSION_NUM < ${oldest}0000\n#error /m, 'and compat.h');

done_testing();
