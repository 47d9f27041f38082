package WalredoArchives;

# Archives of WAL, as the programs make them that people use.
#
# Offers:
#	@compressions, compress_file, compressed_copy
#		files, compressed by the programs of gzip, lz4, zstd and bzip2
#	pgbackrest_archive
#		an archive of pgBackRest
#	barman_archive
#		an archive of Barman
#
# For the latter two, the server may be down, but its data directory must be
# there.

use strict;
use warnings;

use Cwd qw(getcwd);
use Exporter qw(import);
use File::Path qw(make_path);
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(@compressions compress_file compressed_copy
  pgbackrest_archive barman_archive);

#
# Files
#

# The suffixes, which are also what pgBackRest calls these.
our @compressions = qw(gz lz4 zst bz2);

my %program = (
	gz => 'gzip -c',
	lz4 => 'lz4 -q -c',
	zst => 'zstd -q -c',
	bz2 => 'bzip2 -c');

# Compresses a file into another one, which gets a name of any form.
sub compress_file
{
	my ($compression, $from, $to) = @_;

	system("$program{$compression} <'$from' >'$to'") == 0
	  or die "could not compress $from";
	return;
}

# Compresses those files of a directory whose names match, into another one, which
# is made if it is not there, under their names with the suffix.  Returns the
# latter.
sub compressed_copy
{
	my ($compression, $from, $to, $pattern) = @_;

	make_path($to);
	foreach my $file (grep { -f "$from/$_" } slurp_dir($from))
	{
		compress_file($compression, "$from/$file", "$to/$file.$compression")
		  if $file =~ ($pattern // qr/./);
	}
	return $to;
}

#
# pgBackRest
#

# Makes a repository for a server, which must not be there yet.  Returns the
# command for archive_command, one for restore_command, and the directory that
# WAL will be in.
sub pgbackrest_archive
{
	my ($node, $compression, $dir) = @_;
	my $config = "$dir/pgbackrest.conf";
	my $data = $node->data_dir;

	# These may be relative to where the test runs, and not the server.
	$data = getcwd() . "/$data" if $data !~ m{^/};
	make_path("$dir/tmp", "$dir/repository");
	append_to_file($config, <<CONF);
[global]
repo1-path=$dir/repository
compress-type=$compression
log-path=$dir/tmp
lock-path=$dir/tmp
spool-path=$dir/tmp
log-level-console=warn
log-level-file=off

[main]
pg1-path=$data
CONF
	my $command = "pgbackrest --config=$config --stanza=main";
	system("$command --no-online stanza-create") == 0
	  or die 'pgbackrest could not create a stanza';
	return (
		"$command archive-push %p",
		"$command archive-get %f %p",
		"$dir/repository/archive/main/" . $node->pg_version->major . '-1');
}

#
# Barman
#

# Lets Barman archive those files of a directory whose names match, which belong to
# a server that runs.  Returns the directory that they are in then: compressed,
# under their own names.
sub barman_archive
{
	my ($node, $from, $pattern, $dir) = @_;
	my $config = "$dir/barman.conf";
	my $user = getpwuid($<);
	my ($host, $port) = ($node->host, $node->port);

	make_path("$dir/main/incoming", "$dir/none");
	append_to_file($config, <<CONF);
[barman]
barman_home = $dir
barman_user = $user
log_file = $dir/barman.log
configuration_files_directory = $dir/none

[main]
description = main
conninfo = host=$host port=$port user=$user dbname=postgres
backup_method = postgres
archiver = on
compression = gzip
CONF
	foreach my $file (grep { $_ =~ $pattern } slurp_dir($from))
	{
		system("cp '$from/$file' '$dir/main/incoming/$file'") == 0
		  or die "could not copy $file";
	}
	my ($stdout, $stderr) =
	  run_command([ 'barman', '-c', $config, 'archive-wal', 'main' ]);
	note($stdout, $stderr);
	return "$dir/main/wals";
}

1;
