package WalredoQueries;

# Queries that may fail, and what they return or fail with.
#
# Offers:
#	ask				rows and messages, separately
#	error_of		the messages of a query that must fail
#	value_or_error	what a query returns, or its SQLSTATE, message and DETAIL
#
# All of them show errors with their SQLSTATEs.  The PostgreSQL::Test::Cluster
# functions safe_psql and psql do for the rest.  For queries that are begun, and
# waited for later, see WalredoSessions.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(ask error_of value_or_error);

# What psql prints for some SQL: its rows, and its messages.  Further parameters
# are psql's.
sub ask
{
	my ($node, $database, $sql, %params) = @_;
	my ($stdout, $stderr) = ('', '');

	$node->psql(
		$database, "\\set VERBOSITY verbose\n$sql",
		stdout => \$stdout,
		stderr => \$stderr,
		%params);
	return ($stdout, $stderr);
}

# The messages of SQL that must fail.  If it did not, a text that no error looks
# like, with what it returned.
sub error_of
{
	my ($node, $database, $sql) = @_;
	my ($stdout, $stderr) = ask($node, $database, $sql);

	return $stderr =~ /ERROR:/ ? $stderr : "no error, but: $stdout$stderr";
}

# What a query returns, or its first error, as "SQLSTATE: message", with the
# DETAIL in a line of its own if there is one.
sub value_or_error
{
	my ($node, $database, $sql) = @_;
	my ($stdout, $stderr) = ask($node, $database, $sql);

	return $1 if $stderr =~ /ERROR:  (\w+: .*?)(?:HINT:|LOCATION:|\z)/s;
	return $stdout;
}

1;
