
# The examples in README.md, run as they are printed there.
#
# Blocks of sql are given to one psql, in order.  A block of text right after
# one is its output.  What README.md does not mention is not documented: every
# function and setting must be there.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @examples;
my $language;
my $after_sql = 0;
my $readme = slurp_file("$FindBin::RealBin/../README.md");
my $line_number = 0;

foreach my $line (split /\n/, $readme)
{
	$line_number++;
	if (!defined $language)
	{
		if ($line =~ /^```(\w*)$/)
		{
			$language = $1;
			if ($language eq 'sql')
			{
				push @examples, { line => $line_number, sql => '' };
			}
			elsif ($language eq 'text' && $after_sql)
			{
				$examples[-1]->{output} = '';
			}
			else
			{
				$language = 'other';
			}
		}
		elsif ($line ne '')
		{
			$after_sql = 0;
		}
	}
	elsif ($line eq '```')
	{
		$after_sql = $language eq 'sql';
		undef $language;
	}
	elsif ($language eq 'sql')
	{
		$examples[-1]->{sql} .= "$line\n";
	}
	elsif ($language eq 'text')
	{
		$examples[-1]->{output} .= "$line\n";
	}
}
ok(!defined $language, 'every block ends');
cmp_ok(scalar(grep { defined $_->{output} } @examples),
	'>', 1, 'there are examples with output');

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;

# One session, as variables and tables are used further on.
my $separator = '-- end of example --';
my $script = join('', map { "$_->{sql}\\echo '$separator'\n" } @examples);
my ($stdout, $stderr);
my $result = $node->psql(
	'postgres', $script,
	stdout => \$stdout,
	stderr => \$stderr,
	on_error_die => 0,
	on_error_stop => 1,
	extra_params =>
	  [ '--pset=format=aligned', '--pset=tuples_only=off' ]);
is($result, 0, 'no example fails');
is($stderr, '', 'no example complains');

my @outputs = split /^\Q$separator\E\n?/m, $stdout . "\n", -1;
foreach my $example (@examples)
{
	my $output = shift @outputs // '(no output)';

	next unless defined $example->{output};

	# psql prints an empty line after each result.
	$output =~ s/\n+\z/\n/;
	is($output, $example->{output},
		"output of the example in line $example->{line}");
}

# Functions with a place in SQL; the rest are parts of types and operators.
my @names = split /\n/, $node->safe_psql(
	'postgres', q{
	SELECT DISTINCT p.proname
	FROM pg_depend d JOIN pg_proc p ON d.objid = p.oid
		JOIN pg_extension e ON d.refobjid = e.oid
	WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		AND d.refclassid = 'pg_extension'::regclass
		AND e.extname = 'walredo'
		AND p.proname !~ '^walredo_(tag|record)_'
	ORDER BY 1});
push @names, split /\n/, $node->safe_psql(
	'postgres', q{
	LOAD 'walredo';
	SELECT name FROM pg_settings WHERE name LIKE 'walredo.%' ORDER BY 1});
cmp_ok(scalar(@names), '>', 0, 'the extension has functions');
foreach my $name (@names)
{
	like($readme, qr/`\Q$name\E[`(]/, "$name is documented");
}

$node->stop;
done_testing();
