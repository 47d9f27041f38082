# Requests that a child died of, saved and done again.
#
# Seen to fail: "off", "on" and "limit" with walredo.save_failed_requests and
# WALREDO_SAVED_REQUESTS_MAX_FILES not looked at, "modes" with those that the umask
# gives, "replay" with replayed requests saved again and with the last record
# left out of a file, "size" with no limit to it, "lock" without one, "names"
# without the check of a name, "files" with a child that is used again, and with a
# file read to its end for a child that is gone.

use strict;
use warnings;

use Fcntl qw(:flock :mode);
use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use WalredoProcesses;
use WalredoQueries;
use WalredoWal;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(
	extra => ['--allow-group-access'],
	auth_extra => [ '--create-role' => 'regress_user' ]);
$node->append_conf('postgresql.conf', <<'CONF');
autovacuum = off
shared_preload_libraries = 'walredo'
walredo.timeout = 5s
walredo.max_retries = 0
CONF
$node->start;
my $dir = $node->data_dir . '/walredo_failed_requests';

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION walredo;
	CREATE EXTENSION pageinspect;
	CREATE ROLE regress_user LOGIN;
	CREATE TABLE source (i int, t text);
	CREATE TABLE request AS SELECT pg_current_wal_insert_lsn() AS start_lsn,
		walredo_tag('source', 'main', 0) AS tag;
	INSERT INTO source VALUES (1, 'one');
	ALTER TABLE request ADD lsn pg_lsn, ADD rec bytea, ADD poison bytea,
		ADD page bytea;
	UPDATE request SET page = get_raw_page('source', 0);
	UPDATE request SET lsn = w.end_lsn, rec = w.rec
	FROM request r, walredo_wal_records(r.start_lsn,
			pg_current_wal_insert_lsn()) w
	WHERE w.record_type = 'INSERT+INIT' AND
		EXISTS (SELECT FROM walredo_decode(w.end_lsn, w.rec) d
			WHERE d.tag = r.tag);
	GRANT SELECT ON request TO regress_user;
	GRANT EXECUTE ON FUNCTION walredo_apply TO regress_user;
});
my $poison =
  poison($node->safe_psql('postgres', "SELECT encode(rec, 'hex') FROM request"));
$node->safe_psql('postgres', "UPDATE request SET poison = '\\x$poison'");

# Good records before the bad one, so that the request is some 100 kB long.
my $bad = 'SELECT walredo_apply(tag, NULL,
	array_fill(walredo_postgres(lsn, rec), ARRAY[1000]) ||
	walredo_postgres(lsn, poison)) FROM request';
my $good = 'SELECT walredo_apply(tag, NULL,
	ARRAY[walredo_postgres(lsn, rec)]) = page FROM request';
my $panic = qr/The child was terminated by signal 6: Aborted\. Its standard error ended with: (PANIC:  invalid max offset number)/;

sub run_query
{
	my ($query, %params) = @_;

	return ask($node, 'postgres', $query, on_error_stop => 0, %params);
}

# A query that fails.
sub fails_with
{
	my ($query, $pattern, $name, %params) = @_;
	my $start = time();
	my ($output, $errors) = run_query($query, %params);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($output, '', "$name: no answer");
	like($errors, $pattern, "$name: error");
	my @errors = $errors =~ /ERROR:  \w{5}:/g;
	is(scalar @errors, 1, "$name: one error");
	cmp_ok(time() - $start, '<', 60, "$name: in time");
	is((run_query($good))[0], 't', "$name: afterwards");
	return;
}

sub saved
{
	return -d $dir ? grep { !/^\./ } slurp_dir($dir) : ();
}

sub write_file
{
	my ($name, $contents) = @_;

	open(my $file, '>:raw', "$dir/$name") or die "could not make $name: $!";
	print $file $contents;
	close $file;
	return;
}

#
# Off, and on
#
fails_with($bad, qr/ERROR:  58030:.*$panic/s, 'off');
ok(!-e $dir, 'off: nothing is saved');

my $log_start = -s $node->logfile;
my $on = 'SET walredo.save_failed_requests = on;';
fails_with("$on $bad", qr/ERROR:  58030:.*$panic/s, 'on');
my ($name) = saved();
is(join(' ', saved()), $name, 'on: one file');
like(
	slurp_file($node->logfile, $log_start),
	qr{LOG:  saved failed request as "walredo_failed_requests/\Q$name\E"},
	'on: and a line in the server log');
run_query("$on $good; SELECT walredo_apply(tag, NULL, NULL) FROM request");
is(join(' ', saved()),
	$name, 'on: requests that no child dies of are not saved');

#
# Modes, which the cluster's group has no part in
#
is(sprintf('%o', S_IMODE((stat $dir)[2])), '700', 'modes: directory');
is(sprintf('%o', S_IMODE((stat "$dir/$name")[2])), '600', 'modes: file');

#
# Replay: the same again
#
$log_start = -s $node->logfile;
fails_with("$on SELECT walredo_replay_request('$name')",
	qr/ERROR:  58030: wal-redo child failed\nDETAIL:  The request was the saved request "\Q$name\E"\. $panic/,
	'replay');
is(join(' ', saved()), $name, 'replay: the request is not saved again');
my @panics = slurp_file($node->logfile, $log_start) =~
  /wal-redo child \d+: (PANIC:  .*)/g;
is(scalar @panics, 1, 'replay: one PANIC');

#
# Limit
#
for my $i (2 .. 40)
{
	run_query("$on $bad");
}
is(scalar(saved()), 32, 'limit: so many are kept');
like(
	slurp_file($node->logfile),
	qr/LOG:  failed request is not saved\n.*DETAIL:  Directory "walredo_failed_requests" has 32 files already\./,
	'limit: and the server log says so');
unlink map { "$dir/$_" } grep { $_ ne $name } saved();

# Somebody else is counting them.
open(my $lock, '<', $dir) or die "could not open $dir: $!";
flock($lock, LOCK_EX) or die "could not lock $dir: $!";
$log_start = -s $node->logfile;
run_query("$on $bad");
like(
	slurp_file($node->logfile, $log_start),
	qr/LOG:  failed request is not saved\n.*DETAIL:  Another request is still being saved\./,
	'lock: the server log says so');
is(join(' ', saved()), $name, 'lock: nothing is saved meanwhile');
close $lock;

# One of 45 MB, or almost; a second one does not fit, but a short one does, and
# none does that has more than there may be in all.
my $large = sub {
	return "SELECT walredo_apply(tag, NULL,
		array_fill(walredo_postgres(lsn, rec), ARRAY[$_[0]]) ||
		walredo_postgres(lsn, poison)) FROM request";
};
my $record_length = $node->safe_psql('postgres',
	'SELECT octet_length(rec) + 13 FROM request');
my $many = int(45_000_000 / $record_length);
my $long = "SET walredo.timeout = '60s';" . $on;
$log_start = -s $node->logfile;
run_query("$long " . $large->($many));
is(scalar(saved()), 2, 'size: one is saved');
run_query("$long " . $large->($many));
is(scalar(saved()), 2, 'size: another one is not');
like(
	slurp_file($node->logfile, $log_start),
	qr/LOG:  failed request is not saved\n.*DETAIL:  The request has 4\d{7} bytes, and those in directory "walredo_failed_requests" have 4\d{7}\. The limit for all is 67108864\./,
	'size: and the server log says so');
run_query("$on $bad");
is(scalar(saved()), 3, 'size: a short one is saved');
unlink map { "$dir/$_" } grep { $_ ne $name } saved();
run_query("$long " . $large->(2 * $many));
is(scalar(saved()), 1, 'size: one that is too large is not');

#
# Privileges
#
foreach my $query (
	"SELECT walredo_replay_request('$name')",
	'SET walredo.save_failed_requests = on')
{
	fails_with($query, qr/ERROR:  42501: permission denied/,
		"privileges: $query", extra_params => [ '-U', 'regress_user' ]);
}

#
# Names
#
my $contents = slurp_file("$dir/$name");
my $elsewhere = $node->data_dir . '/1';
open(my $file, '>:raw', $elsewhere) or die "could not make $elsewhere: $!";
print $file $contents;
close $file;
foreach my $path (
	'', '.', '..', '../1', "/$name", "./$name", "../PG_VERSION",
	$elsewhere, "$name/", "$name ", "$name\t", 'x')
{
	fails_with("SELECT walredo_replay_request('$path')",
		qr/ERROR:  22023: invalid name of a saved request: "\Q$path\E"\n/,
		"names: '$path'");
}
unlink $elsewhere;
fails_with("SELECT walredo_replay_request('1-1')",
	qr/ERROR:  58P01: could not open file/, 'names: of no file');
fails_with("SELECT walredo_replay_request(repeat('1', 5000))",
	qr/ERROR:  \w+: could not open file/, 'names: far too long');
is((run_query('SELECT walredo_replay_request(NULL) IS NULL'))[0],
	't', 'names: NULL');

#
# Files that are no requests
#

# Messages: a type, and a length that counts itself.
my $ping = 'H' . pack('N', 4);
my $tag = "\0" . pack('NNNN', 1663, 5, 1, 0);
my $begin = 'B' . pack('N', 4 + length $tag) . $tag;
my $get = 'G' . pack('N', 4 + length $tag) . $tag;
my $failed = qr/ERROR:  58030: wal-redo child failed\nDETAIL:  The request was the saved request "2-2"\. The child exited with exit code 1\. Its standard error ended with: ERROR:  /;
my $late = qr/ERROR:  58030: wal-redo child did not answer in time/;
my $invalid = qr/ERROR:  58030: wal-redo child gave an invalid answer/;
my @files = (
	[ 'an empty file', '', $late ],
	[ 'no message', 'x' x 100, qr/${failed}unknown message type/ ],
	[ 'many zeroes', "\0" x 1_000_000, qr/${failed}unknown message type/ ],
	[ 'half a message', substr($contents, 0, 100), $late ],
	[ 'a request without its end', substr($contents, 0, 50_000), $late ],
	[ 'no question', $begin, $late ],
	[ 'a question about another page', $get, qr/${failed}requested page does not match/ ],
	[ 'no image', "$begin$get", $failed ],
	[ 'a length that is too short', 'H' . pack('N', 3), qr/${failed}message of type "H"/ ],
	[ 'a length without end', 'A' . pack('N', 0xFFFFFFFF), $failed ],
	[ 'many questions', $ping x 100_000, $invalid ]);

foreach my $case (@files)
{
	my ($what, $bytes, $error) = @$case;

	write_file('2-2', $bytes);
	fails_with("SELECT walredo_replay_request('2-2')",
		$error, "files: $what");
}

# What comes after the question must not be taken for a part of the next
# request.
write_file('2-2', $ping . 'D' . pack('N', 1000));
my $replay = "SELECT walredo_replay_request('2-2') IS NOT NULL";
is( (run_query("$replay;\n$good;\n$good"))[0],
	"t\nt\nt",
	'files: a question, and half a message');

# The child has ended long before the file does.
write_file('2-2', '');
truncate("$dir/2-2", 1 << 40) or die "could not make a long file: $!";
fails_with("SELECT walredo_replay_request('2-2')",
	qr/${failed}unknown message type/, 'files: 1 TB of zeroes');

unlink "$dir/2-2";
mkdir "$dir/2-2" or die "mkdir: $!";
fails_with("SELECT walredo_replay_request('2-2')",
	qr/ERROR:  \w+: could not (open|read) file/, 'files: a directory');
rmdir "$dir/2-2";

# Saving needs the directory.
rename $dir, "$dir.old";
open($file, '>', $dir) or die "could not make $dir: $!";
close $file;
$log_start = -s $node->logfile;
fails_with("$on $bad", qr/ERROR:  58030:.*$panic/s, 'a file for a directory');
like(
	slurp_file($node->logfile, $log_start),
	qr/LOG:  could not open directory "walredo_failed_requests": Not a directory|LOG:  failed request is not saved/,
	'a file for a directory: the server log says so');
unlink $dir;
rename "$dir.old", $dir;

my $log = slurp_file($node->logfile);
unlike($log, qr/^.*\(PID \d+\) (?:was terminated|exited)|reinitializing/m,
	'the server lost no process of its own');
$node->stop;
done_testing();
