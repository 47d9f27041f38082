
# The examples in README.md and in docs/, run as they are printed there.
#
# There is one server for each file.  Blocks of sql are run by psql, those between
# two blocks of bash in one session; blocks of bash are run by bash, with the
# server's environment (PGDATA, PGHOST, PGPORT), and with scripts/ at the end of
# PATH.  A block of text right after one of these is its output.  All other blocks
# are only read: so a command that must not be run here goes into a block of sh.
#
# No other file may have such blocks, and a block's language must be one of
# those, so that every example is run.  Links between the files must lead to a
# file, and to a heading of it.
#
# Seen to fail: with one number changed in an output of each file that has
# examples, with a column left out of an example, with an example of sql in
# bench/README.md or of "postgres" in README.md, and with a link to a heading
# that is not there.

use strict;
use warnings;

use Cwd qw(abs_path getcwd);
use File::Basename;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/..";
my @strange;				# places with blocks of an unknown form
my $separator = '-- end of example --';

# The examples in a file, in order: what runs them, their text, the number of
# the line where they begin, and the output if there is one.
sub read_examples
{
	my ($file) = @_;
	my @examples;
	my $language;
	my $has_example = 0;		# the block of text may be its output
	my $line_number = 0;

	foreach my $line (split /\n/, slurp_file("$top/$file"))
	{
		$line_number++;
		if (!defined $language)
		{
			if ($line =~ /^```(\w*)$/)
			{
				$language = $1;
				if ($language eq 'sql' || $language eq 'bash')
				{
					push @examples,
					  { by => $language, line => $line_number, text => '' };
				}
				elsif ($language eq 'text' && $has_example)
				{
					$examples[-1]->{output} = '';
				}
				else
				{
					push @strange, "$file:$line_number"
					  if $language !~ /^(?:sh|text)?$/;
					$language = 'other';
				}
			}
			elsif ($line =~ /^\s*(?:```|~~~)/)
			{
				push @strange, "$file:$line_number";
			}
			elsif ($line ne '')
			{
				$has_example = 0;
			}
		}
		elsif ($line eq '```')
		{
			$has_example = $language eq 'sql' || $language eq 'bash';
			undef $language;
		}
		elsif ($language eq 'text')
		{
			$examples[-1]->{output} .= "$line\n";
		}
		elsif ($language ne 'other')
		{
			$examples[-1]->{text} .= "$line\n";
		}
	}
	ok(!defined $language, "$file: every block ends");
	return @examples;
}

sub check_output
{
	my ($file, $example, $output) = @_;

	return unless defined $example->{output};

	# psql prints an empty line after each result.
	$output =~ s/\n+\z/\n/;
	is($output, $example->{output},
		"$file: output of the example in line $example->{line}");
	return;
}

# Examples for one psql session, as variables are used further on.
sub run_sql
{
	my ($file, $node, @examples) = @_;
	my $script =
	  join('', map { "$_->{text}\\echo '$separator'\n" } @examples);
	my ($stdout, $stderr);
	my $result = $node->psql(
		'postgres', $script,
		stdout => \$stdout,
		stderr => \$stderr,
		on_error_die => 0,
		on_error_stop => 1,
		extra_params =>
		  [ '--pset=format=aligned', '--pset=tuples_only=off' ]);
	my $lines = "from line $examples[0]->{line} on";

	is($result, 0, "$file: no example $lines fails");
	is($stderr, '', "$file: no example $lines prints an error or a warning");

	my @outputs = split /^\Q$separator\E\n?/m, $stdout . "\n", -1;
	foreach my $example (@examples)
	{
		check_output($file, $example, shift @outputs // '(no output)');
	}
	return;
}

sub run_bash
{
	my ($file, $node, $directory, $example) = @_;
	my ($stdout, $stderr);
	my $cwd = getcwd();

	local $ENV{PGDATA} = $node->data_dir;
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATABASE} = 'postgres';
	local $ENV{PATH} = "$ENV{PATH}:" . abs_path("$top/scripts");

	chdir $directory or die "could not change to $directory: $!";
	my $result = IPC::Run::run [ 'bash', '-euo', 'pipefail', '-c',
		$example->{text} ], '<', \undef, '>', \$stdout, '2>', \$stderr;
	chdir $cwd or die "could not change to $cwd: $!";

	ok($result, "$file: the example in line $example->{line} works")
	  or diag $stderr;
	check_output($file, $example, $stdout);
	return;
}

sub test_examples
{
	my ($file, @examples) = @_;
	my $name = basename($file, '.md');
	my $node = PostgreSQL::Test::Cluster->new("examples_$name");
	my $directory = PostgreSQL::Test::Utils::tempdir();

	$node->init(allows_streaming => 1, extra => ['--data-checksums']);
	$node->append_conf('postgresql.conf', 'autovacuum = off');
	$node->start;
	while (@examples)
	{
		my @session;

		if ($examples[0]->{by} eq 'bash')
		{
			run_bash($file, $node, $directory, shift @examples);
			next;
		}
		while (@examples && $examples[0]->{by} eq 'sql')
		{
			push @session, shift @examples;
		}
		run_sql($file, $node, @session);
	}
	$node->stop;
	return;
}

# Links lead to files that exist, and to headings in them.
sub test_links
{
	my ($file) = @_;
	my $text = slurp_file("$top/$file");
	my @broken;

	$text =~ s/^```.*?^```$//gms;
	while ($text =~ /\]\(([^)\s]+)\)/g)
	{
		my ($path, $anchor) = split /#/, $1, 2;

		next if $1 =~ /^https?:/;
		$path = $path eq '' ? $file : dirname($file) . "/$path";
		if (!-e "$top/$path")
		{
			push @broken, $path;
		}
		elsif (defined $anchor)
		{
			my %headings = map {
				my $heading = lc $_;
				$heading =~ s/[^\w\- ]//g;
				$heading =~ s/ /-/g;
				$heading => 1
			} slurp_file("$top/$path") =~ /^#+ +(.*)$/mg;

			push @broken, "$path#$anchor" if !$headings{$anchor};
		}
	}
	is("@broken", '', "$file: no link is broken");
	return;
}

my @files =
  map { substr($_, length("$top/")) }
  grep { -f } sort glob "$top/*.md $top/*/*.md";
cmp_ok(scalar(@files), '>', 5, 'there are files');
foreach my $file (@files)
{
	test_links($file);
}

my $with_output = 0;
foreach my $file (@files)
{
	my @examples = read_examples($file);

	if ($file !~ m{^(?:README|docs/)})
	{
		push @strange, map { "$file:$_->{line}" } @examples;
		next;
	}
	$with_output += grep { defined $_->{output} } @examples;
	test_examples($file, @examples) if @examples;
}
cmp_ok($with_output, '>', 10, 'there are examples with output');
is("@strange", '', 'all blocks have a known form, and are in files whose examples are run');

done_testing();
