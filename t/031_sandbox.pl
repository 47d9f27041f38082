# The sandbox of the wal-redo child without the child: a small program,
# test/sandbox_probe.c, enters it and tries one thing at a time.
#
# Seen to fail: "socket" with socket() allowed, "read_stdout" and
# "write_other" with read() and write() allowed for any descriptor, "mmap_exec"
# and "mmap_file" with mmap() allowed with any arguments, "tgkill_other" and
# "tgkill_signal" likewise, "prctl" with the second filter allowing what is
# allowed to load it, "abort" without tgkill() allowed, the memory tests without
# RLIMIT_AS, and all that is forbidden with a filter that fails calls with EPERM
# instead of killing the process.

use strict;
use warnings;

use Config;
use File::Basename qw(dirname);
use File::Spec;
use IPC::Run;
use PostgreSQL::Test::Utils;
use POSIX qw(SIGABRT SIGSYS);
use Test::More;

my $top = File::Spec->rel2abs(dirname(__FILE__) . '/..');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $probe = "$dir/sandbox_probe";
my $input = "$dir/input";

append_to_file($input, "yes\n");

command_ok(
	[
		$ENV{CC} || 'cc', '-Wall', "-I$top/src", '-o', $probe,
		"$top/test/sandbox_probe.c", "$top/src/child/sandbox.c",
		'-lseccomp'
	],
	'build the probe');

# Runs the probe; returns its exit code, its signal and its output.
sub probe
{
	my $what = shift;
	my ($stdout, $stderr) = ('', '');
	IPC::Run::run [ $probe, $what ], '<', $input, '>', \$stdout, '2>', \$stderr;
	return ($? >> 8, $? & 127, $stdout . $stderr);
}

foreach my $what (
	qw(exit read_stdin write_stdout write_stderr small_memory large_memory))
{
	my ($code, $signal, $output) = probe($what);
	is("$code $signal", '0 0', "$what is allowed");
	my $expected =
	    $what eq 'write_stdout' ? 'answer'
	  : $what eq 'write_stderr' ? 'text'
	  : '';
	is($output, $expected, "$what: output");
}

my ($code, $signal) = probe('abort');
is($signal, SIGABRT, 'abort ends as what it is');

foreach my $what (qw(too_much_small_memory too_much_large_memory))
{
	($code, $signal) = probe($what);
	is("$code $signal", '1 0', "$what is refused");
}

foreach my $what (
	qw(open openat socket connect execve kill tgkill_other
	tgkill_signal ptrace fork clone mmap_exec mmap_file mprotect prctl
	seccomp setrlimit dup read_stdout write_stdin write_other))
{
	($code, $signal) = probe($what);
  SKIP:
	{
		skip "$what does not exist on $Config{archname}", 1
		  if $code == 2 && $what =~ /^(open|fork)$/;
		is("$code $signal", '0 ' . SIGSYS, "$what is deadly");
	}
}

done_testing();
