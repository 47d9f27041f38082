# A repair is broken off at any step of it: its backend, a wal-redo child, the
# worker or the postmaster is killed, or the server is stopped at once.  Whatever
# dies when, each page is the old one or the new one afterwards, bit for bit but
# for LSN and checksum, and never a third one; what was overwritten is kept; and
# the next repair finishes the work and leaves nothing behind.
#
# A step is what is between two system calls, as that is all that others, and
# files, can notice.  First a repair of each kind of damage is traced.  Then each
# of its system calls is one at which the backend is killed, or stopped while
# another process is killed.  This is done by strace.  Where there is none, or it
# is not allowed to trace, the moment is a random one.
#
# REPAIR_KILLS is how many kills there are, 40 if it is not set.  The steps are
# taken in a random order, of which RANDOM_SEED is the seed; with 1000 kills,
# each step comes at least once.
#
# Seen to fail: "all pages are old or new" with missing blocks that were added as
# empty pages first, for a lost file and a lost tail; and with temporary files
# that the next repair does not remove, in whose way it then is.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use List::Util qw(shuffle);
use Time::HiRes qw(time usleep);
use WalredoProcesses;
use WalredoSessions;
use WalredoTest;

my $kills = $ENV{REPAIR_KILLS} || 40;
my $seed = $ENV{RANDOM_SEED} || int(rand 1_000_000);
my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $dir = PostgreSQL::Test::Utils::tempdir();

note("RANDOM_SEED=$seed");
srand $seed;

my $node = wal_server(
	'repair_kills',
	extra => ['--data-checksums'],
	conf => <<'CONF');
shared_preload_libraries = 'walredo'
restart_after_crash = on
CONF
$node->start;

sub query
{
	return $node->safe_psql('postgres', shift);
}

#
# What there is to be repaired
#

# Each page of them has another version, which was in its file before.  Of "file"
# and "tail", nothing else is used.
my @relations = qw(page file tail);

query(<<'SQL');
CREATE EXTENSION walredo;
CREATE EXTENSION pageinspect;
CREATE TABLE page (i int, t text) WITH (fillfactor = 60);
CREATE TABLE file (i int, t text) WITH (fillfactor = 60);
CREATE TABLE tail (i int, t text) WITH (fillfactor = 60);
INSERT INTO page SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 150) g;
INSERT INTO file SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 20) g;
INSERT INTO tail SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 35) g;
VACUUM page, file, tail;
CREATE VIEW rows AS
	SELECT 'page' AS relation, i, t FROM page
	UNION ALL SELECT 'file', i, t FROM file
	UNION ALL SELECT 'tail', i, t FROM tail;
SQL
my %path = map { $_ => path_of($node, 'postgres', $_) } @relations;
my $directory = $node->data_dir . '/walredo_repairs';

# All blocks of a relation that are in its file.
sub blocks_of
{
	my $relation = shift;
	my $bytes = slurp_page($path{$relation});

	return unpack "(a$page_size)*", $bytes;
}

# A page without its LSN and its checksum, both of which a repair changes.
sub masked
{
	my $page = shift;

	substr($page, 0, 10, "\0" x 10);
	return $page;
}

$node->stop;
my %before = map { $_ => [ blocks_of($_) ] } @relations;
$node->start;
query(<<'SQL');
UPDATE page SET t = t || 'new' WHERE i % 3 = 0;
UPDATE file SET t = t || 'new' WHERE i % 3 = 0;
UPDATE tail SET t = t || 'new' WHERE i % 3 = 0;

-- Then no hint bits are left to be set, which are not always logged.
VACUUM (FREEZE) page, file, tail;
SQL
$node->stop;
my %after = map { $_ => [ blocks_of($_) ] } @relations;
$node->start;

# What a repair must make of them, and whether that is what the server wrote.
my %new;
foreach my $relation (@relations)
{
	my @rows = split /\n/, query(<<SQL);
SELECT encode(page, 'hex') FROM walredo_pages_at('$relation', 'main',
	pg_current_wal_flush_lsn()) ORDER BY blkno
SQL
	$new{$relation} = [ map { pack 'H*', $_ } @rows ];
	is(scalar(@rows), scalar(@{ $after{$relation} }),
		"$relation: all blocks are known");
}
is( query(<<'SQL'),
SELECT count(*) FROM unnest('{page, file, tail}'::regclass[]) r,
	walredo_pages_at(r, 'main', pg_current_wal_flush_lsn()) p
WHERE walredo_page_mask('Heap', page, blkno) IS DISTINCT FROM
	walredo_page_mask('Heap', get_raw_page(r::text, blkno::int), blkno)
SQL
	'0',
	'which are those that the server has');
my $digest_sql =
  "SELECT count(*), md5(string_agg(relation || i || t, ',' ORDER BY relation, i)) FROM rows";
my $digest = query($digest_sql);

#
# Damage, which is done while the server is down
#

my %damages = (
	'flipped bytes' => sub {
		my $blkno = shift;
		my $page = $after{page}[$blkno];

		substr($page, 5000 + $_ * 400, 1) ^= "\x10" foreach 0 .. 4;
		return $page;
	},
	'lost write' => sub { return $before{page}[ $_[0] ]; },
	'zeroes' => sub { return "\0" x $page_size; },
	'torn page' => sub {
		my $blkno = shift;

		return substr($before{page}[$blkno], 0, 4096)
		  . substr($after{page}[$blkno], 4096);
	});

# Those that a lost write would be noticed of.
my @changed = grep {
		 $_ < @{ $before{page} }
	  && masked($before{page}[$_]) ne masked($after{page}[$_])
	  && substr($before{page}[$_], 4096) ne substr($after{page}[$_], 4096)
} 0 .. $#{ $after{page} };
cmp_ok(scalar(@changed), '>=', 8, 'there are blocks to be damaged');

# What is damaged now: "relation" and a block => {kind, old}; no block means all.
my @damaged;

sub damage_all
{
	my @kinds = sort keys %damages;
	my $number = 0;

	@damaged = ();
	$node->stop if postmaster_pid($node);
	foreach my $blkno (@changed)
	{
		my $kind = $kinds[ $number++ % @kinds ];
		my $old = $damages{$kind}->($blkno);

		write_block($path{page}, $blkno, $old);
		push @damaged,
		  { relation => 'page', blkno => $blkno, kind => $kind, old => $old };
	}
	unlink $path{file} or die "could not remove $path{file}: $!";
	push @damaged, { relation => 'file', kind => 'lost file' };
	cut_file($path{tail}, 2);
	push @damaged, { relation => 'tail', kind => 'lost tail' };
	$node->start;
	return;
}

sub repair_sql
{
	my $damage = shift;
	my $block = defined $damage->{blkno} ? "blkno => $damage->{blkno}, " : '';

	return
	  "SELECT * FROM walredo_repair('$damage->{relation}', ${block}dry_run => false)";
}

# A session that has used what a repair uses, so that few system calls are for
# other things.
sub warm_session
{
	my $session = session($node);

	run_query($session,
		"SELECT walredo_ping(); SELECT * FROM walredo_repair('page', blkno => @{[$#{$after{page}}]})"
	);
	return $session;
}

sub end_session
{
	my $session = shift;

	eval { $session->{run}->kill_kill(grace => 1) };
	return;
}

#
# Tracing
#

# Starts to trace a process, which goes on.
sub trace
{
	my ($pid, $output, @options) = @_;

	foreach my $try (1 .. 3)
	{
		my $run = IPC::Run::start([ 'strace', '-qq', '-o', $output, @options, '-p', $pid ],
			'<', \undef, '>', '/dev/null', '2>', "$dir/strace.err");
		my $is_traced;

		wait_for
		{
			$is_traced = slurp_proc("/proc/$pid/status") =~ /^TracerPid:\s+[1-9]/m;
			$is_traced || state_of($pid) eq 'gone';
		};
		return $run if $is_traced;
		$run->kill_kill(grace => 1);
	}
	die 'not traced, ' . state_of($pid) . ': ' . slurp_file("$dir/strace.err");
}

sub may_trace
{
	my $pid;
	my $result;

	return 0 if !grep { -x "$_/strace" } split /:/, $ENV{PATH};
	$pid = fork() // die "could not fork: $!";
	exec('sleep', '60') if $pid == 0;
	$result = system("strace -qq -o /dev/null -p $pid 2>$dir/strace.err & S=\$!; "
		  . "for i in 1 2 3 4 5 6 7 8 9 10; do grep -q 'TracerPid:.[1-9]' /proc/$pid/status && break; sleep 0.1; done; "
		  . "grep -q 'TracerPid:.[1-9]' /proc/$pid/status; R=\$?; kill \$S 2>/dev/null; exit \$R");
	kill 'KILL', $pid;
	waitpid($pid, 0);
	return $result == 0;
}

my $tracing = may_trace();
note($tracing ? 'with strace' : 'without strace, at random moments');

# The steps of each kind of damage: [system call, how many of them before].  And
# how long repairs of a page took that were not traced, in seconds.
my %steps;
my @durations;

damage_all();
my $session = warm_session();
my %seen_kind;
foreach my $damage (@damaged)
{
	my $output = "$dir/trace.$damage->{relation}";
	my $tracer = $tracing
	  && !$seen_kind{ $damage->{kind} }++ ? trace($session->{backend}, $output) : undef;
	my $started = time();

	my ($out, $err) = run_query($session, repair_sql($damage));
	my $took = time() - $started;
	like($out, qr/\|repaired\|/, "$damage->{kind}: repaired");
	if ($tracer)
	{
		my %count;

		$tracer->kill_kill(grace => 1);
		foreach my $line (split /\n/, slurp_file($output))
		{
			$line =~ /^(\w+)\(/ or next;
			push @{ $steps{ $damage->{kind} } }, [ $1, ++$count{$1} ]
			  if $1 !~ /^(?:exit_group|restart_syscall)$/;
		}
	}
	else
	{
		push @durations, $took if $damage->{relation} eq 'page';
	}
}
end_session($session);
is(query($digest_sql), $digest, 'the rows are right');
is( query(q{SELECT count(*) FROM walredo_repairs WHERE finished_at IS NULL}),
	'0', 'all repairs are noted');
if ($tracing)
{
	note("$_: " . scalar(@{ $steps{$_} }) . ' steps') foreach sort keys %steps;
	ok((!grep { @{ $steps{ $_->{kind} } } < 40 } @damaged), 'they have steps');
}

# The longest one may have had to wait for a processor.  Most moments would come
# after a repair then.
my $duration = (sort { $a <=> $b } @durations)[ @durations / 2 ];

#
# Killing
#

my @victims = ('backend', 'backend', 'postmaster', 'immediate', 'child', 'worker');
my %plans;                      # what is left of the steps of a kind
my %count;                      # how often what has happened

# The next step for a kind of damage.
sub next_step
{
	my $kind = shift;

	$plans{$kind} = [ shuffle @{ $steps{$kind} } ]
	  if !$plans{$kind} || !@{ $plans{$kind} };
	return shift @{ $plans{$kind} };
}

# Kills the process that is to die.
sub kill_victim
{
	my ($victim, $backend) = @_;

	if ($victim eq 'backend')
	{
		kill 'KILL', $backend;
	}
	elsif ($victim eq 'child')
	{
		kill 'KILL', children_of(workers($node));
	}
	elsif ($victim eq 'worker')
	{
		kill 'KILL', workers($node);
	}
	else
	{
		kill $victim eq 'postmaster' ? 'KILL' : 'QUIT', postmaster_pid($node);
	}
	return;
}

# Begins a repair, and kills the victim at a step of it.  Returns a description.
sub break_off
{
	my ($damage, $victim) = @_;
	my $broken = warm_session();
	my $backend = $broken->{backend};
	my $postmaster = postmaster_pid($node);
	my $checkpointer = query(
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
	my $tracer;
	my $step = 'random moment';

	if ($tracing)
	{
		my ($call, $ordinal) = @{ next_step($damage->{kind}) };
		my $output = "$dir/trace.kill";
		my $signal = $victim eq 'backend' ? 'KILL' : 'STOP';

		unlink $output;
		$step = "$call $ordinal";
		$tracer = trace($backend, $output, '-e', "trace=$call", '-e',
			"inject=$call:signal=SIG$signal:when=$ordinal");
		begin_query($broken, repair_sql($damage));
		my $reached = wait_for
		{
			my $text = slurp_proc($output);

			$broken->{run}->pump_nb;
			     $text =~ /stopped by SIGSTOP|killed by SIGKILL/
			  || state_of($backend) =~ /^(?:gone|Z|X)$/
			  || $broken->{stdout} =~ /\|repaired\|/
			  || $broken->{stderr} =~ /ERROR/;
		};
		die "step $step is not reached" if !$reached;
		die "repair failed: $broken->{stderr}" if $broken->{stderr} =~ /ERROR/;
		$count{'step not reached'}++ if $broken->{stdout} =~ /\|repaired\|/;
		kill_victim($victim, $backend)
		  unless $victim eq 'backend' && state_of($backend) eq 'gone';
		kill 'CONT', $backend if $victim ne 'backend';
	}
	else
	{
		begin_query($broken, repair_sql($damage));
		usleep(rand($duration * 1.2) * 1_000_000);
		kill_victim($victim, $backend);
	}

	# Wait for what follows: the end of the repair, or that of the server.
	if ($victim eq 'child')
	{
		wait_for
		{
			kill 'CONT', $backend;
			$broken->{run}->pump_nb;
			$broken->{stdout} =~ /\|repaired\|/ || $broken->{stderr} =~ /ERROR/;
		}
		  or die "no end of the repair: $broken->{stdout} $broken->{stderr}";
		$count{'child killed, repaired'}++ if $broken->{stdout} =~ /\|repaired\|/;
	}
	else
	{
		# It may have been stopped only now, at a step after the repair.
		wait_for
		{
			kill 'CONT', $backend;
			state_of($backend) =~ /^(?:gone|Z|X)$/;
		}
		  or die "$victim: the backend lives";
	}
	eval { $tracer->kill_kill(grace => 1) } if $tracer;
	end_session($broken);
	if ($victim eq 'postmaster' || $victim eq 'immediate')
	{
		wait_for { state_of($postmaster) eq 'gone' } or die 'postmaster lives';
		wait_for { !grep { /postgres/ } all_processes() }
		  or die 'processes are left: ' . join(', ', all_processes());
		$node->{_pid} = undef;
		$node->start;
	}
	elsif ($victim ne 'child')
	{
		# All processes end, and then the server begins anew.
		wait_for { state_of($checkpointer) eq 'gone' }
		  or die 'the server does not end';
		wait_for { system("pg_isready -q -h @{[$node->host]} -p @{[$node->port]}") == 0 }
		  or die 'the server does not come back';
	}
	return "$damage->{kind}, $victim at $step";
}

# Processes of the server, while it has no postmaster.
sub all_processes
{
	return strange_processes($node);
}

#
# Looking
#

# Is this the page that it should be: a new one, or one that was never damaged?
sub is_right
{
	my ($relation, $blkno, $page) = @_;

	return 1 if $relation eq 'tail' && $page eq $after{$relation}[$blkno];
	return length $page == $page_size
	  && masked($page) eq masked($new{$relation}[$blkno]);
}

# What is wrong with what is there after a kill; '' if nothing is.
sub wrong_after
{
	my ($damage, $last_id) = @_;
	my $relation = $damage->{relation};
	my @wrong;

	# All that recovery has done is in files, and what else was done is now.
	query('CHECKPOINT');
	my @blocks = blocks_of($relation);
	if (defined $damage->{blkno})
	{
		my $page = $blocks[ $damage->{blkno} ];
		my $is_new =
		  masked($page) eq masked($new{$relation}[ $damage->{blkno} ]);
		my ($kept, $finished, $old) = split /\|/, query(<<SQL);
SELECT count(*), count(finished_at), max(encode(old_page, 'hex'))
FROM walredo_repairs
WHERE id > $last_id AND tag = walredo_tag('$relation', 'main', $damage->{blkno})
SQL

		push @wrong, 'a third page'
		  if !$is_new && $page ne $damage->{old};
		push @wrong, 'the old page is not kept' if $is_new && !$kept;
		push @wrong, 'finished, but the page is old' if !$is_new && $finished;
		push @wrong, 'another page is kept'
		  if $kept && pack('H*', $old) ne $damage->{old};
		$count{ $is_new ? 'new' : 'old' }++;
		$count{'kept without a note'}++ if $kept && !$finished;
	}
	else
	{
		my $want = @{ $new{$relation} };

		$count{ @blocks < $want ? 'file is short' : 'file is complete' }++;
		push @wrong, 'the file is too long' if @blocks > $want;
		foreach my $blkno (0 .. $#blocks)
		{
			push @wrong, "block $blkno is a third page"
			  if !is_right($relation, $blkno, $blocks[$blkno]);
		}
	}
	return join ', ', @wrong;
}

# What is wrong after the repair that follows.
sub wrong_after_repair
{
	my $damage = shift;
	my $relation = $damage->{relation};
	my @wrong;
	my ($out, $err) = ask($node, 'postgres', repair_sql($damage));
	my $files = join ' ', grep { !/^(?:\d{10}|last_id)$/ }
	  map { s{.*/}{}r } glob "$directory/* $directory/.??*";

	push @wrong, "not repaired: $out $err"
	  if defined $damage->{blkno} ? $out !~ /^main\|\d+\|(?:ok|repaired)\|/
	  : $out !~ /^(?:main\|\d+\|repaired\|.*\n?)*$/;
	push @wrong, "there is $files" if $files ne '';
	query('CHECKPOINT');
	my @blocks = blocks_of($relation);
	foreach my $blkno (defined $damage->{blkno} ? $damage->{blkno} :
		0 .. $#{ $new{$relation} })
	{
		push @wrong, "block $blkno is not the new page"
		  if !is_right($relation, $blkno, $blocks[$blkno] // '');
	}
	return join ', ', @wrong;
}

my $left = left_before($node);
my $done = 0;
my $started = time();
my @faults;

while ($done < $kills && !@faults)
{
	damage_all();
	foreach my $damage (shuffle @damaged)
	{
		my $victim = $victims[ rand @victims ];
		my $last_id = query('SELECT coalesce(max(id), 0) FROM walredo_repairs');

		last if $done++ >= $kills;
		my $what = eval { break_off($damage, $victim) };
		if (!defined $what && $@ =~ /^not traced, gone/)
		{
			# Its first system call was the one, which it was in already.
			wait_for { system("pg_isready -q -h @{[$node->host]} -p @{[$node->port]}") == 0 };
			$count{'session lost'}++;
			next;
		}
		if (!defined $what)
		{
			push @faults, "$damage->{kind}, $victim: $@";
			last;
		}
		my $wrong = wrong_after($damage, $last_id);
		push @faults, "$what: $wrong" if $wrong ne '';
		$wrong = wrong_after_repair($damage);
		push @faults, "$what, repaired: $wrong" if $wrong ne '';
		last if @faults;
		$damage->{is_done} = 1;
		$count{"$victim killed"}++;
	}
	last if @faults;
	foreach my $damage (grep { !$_->{is_done} } @damaged)
	{
		query(repair_sql($damage));
	}
	my $got = query($digest_sql);
	push @faults, "rows are $got" if $got ne $digest;
}
is(join("\n", @faults), '', 'all pages are old or new');
note("$_: $count{$_}") foreach sort keys %count;
note(sprintf '%.2f s for each kill', (time() - $started) / $kills);
cmp_ok($count{old} // 0, '>', $kills / 20, 'there were kills before the page was replaced');
cmp_ok($count{new} // 0, '>', $kills / 20, 'and after that');
is( query(
		"SELECT count(*) FROM walredo_verify_all('{page, file, tail}') WHERE status <> 'ok'"
	),
	'0',
	'verification finds nothing');
nothing_is_left($left, 'all of it') if !@faults;
$node->stop;
done_testing();
