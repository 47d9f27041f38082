package WalredoTest;

# What most tests use, in one line at their heads: strict and warnings,
# PostgreSQL's own modules for tests, and of walredo's those whose subject is
# queries, servers, WAL and pages.  Each offers what its head says.
#
# Tests with more special subjects add WalredoProcesses, WalredoSessions or
# WalredoWorkload.

use strict;
use warnings;

my @modules = qw(PostgreSQL::Test::Cluster PostgreSQL::Test::Utils Test::More
  WalredoPages WalredoQueries WalredoServers WalredoWal);

sub import
{
	my $caller = caller;

	strict->import;
	warnings->import;
	foreach my $module (@modules)
	{
		eval "package $caller; use $module; 1" or die $@;
	}
	return;
}

1;
