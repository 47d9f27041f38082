package WalredoBrowser;

# A real browser, without a window, that opens documents and says what it has
# made of them.
#
# Offers:
#	has_browser		whether there is one
#	new				starts one, with all that it writes below a directory
#	open_file		opens a file, and forgets what was opened before
#	evaluate		the value of an expression of JavaScript in the document
#	call			a method of the DevTools protocol, with its parameters
#	requests		URLs that the document has asked for
#	messages		what is in the console
#	stop			ends it
#
# This is Debian's Chromium, told what to do through two pipes.  Scripts run in
# the document from outside, although it allows none itself.  Names are not
# looked up, and there is a proxy that nobody is, so nothing leaves the machine,
# but requests are still counted.
#
# Seen to fail: requests() and messages(), with an image from another host in a
# document that allowed it.

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP;
use POSIX qw(:sys_wait_h dup2);
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(has_browser);

my $program = $ENV{CHROMIUM} // 'chromium';
my $timeout = $PostgreSQL::Test::Utils::timeout_default;

sub has_browser
{
	return grep { -x "$_/$program" } split /:/, $ENV{PATH};
}

sub new
{
	my ($class, $directory) = @_;
	my $self = bless {
		buffer => '',
		next_id => 1,
		requests => [],
		messages => []
	}, $class;

	pipe my $its_input, $self->{to} or die "could not make a pipe: $!";
	pipe $self->{from}, my $its_output or die "could not make a pipe: $!";
	mkdir $directory;
	$self->{pid} = fork // die "could not fork: $!";
	if ($self->{pid} == 0)
	{
		setpgrp;
		$ENV{HOME} = $directory;
		delete $ENV{DBUS_SESSION_BUS_ADDRESS};

		# It reads from 3 and writes to 4, which may be in use yet.
		dup2(fileno $its_input, 30);
		dup2(fileno $its_output, 31);
		dup2(30, 3);
		dup2(31, 4);
		POSIX::close($_) for 30, 31;
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$directory/browser.log";
		open STDERR, '>&', \*STDOUT;
		exec $program, '--headless', '--no-sandbox', '--disable-gpu',
		  '--disable-dev-shm-usage', '--disable-extensions',
		  '--disable-background-networking', '--no-first-run',
		  '--disable-breakpad', '--hide-scrollbars',
		  '--host-resolver-rules=MAP * ~NOTFOUND',
		  '--proxy-server=127.0.0.1:9', "--user-data-dir=$directory/profile",
		  '--window-size=1100,1400', '--remote-debugging-pipe', 'about:blank'
		  or POSIX::_exit(127);
	}
	close $its_input;
	close $its_output;
	$self->{to}->autoflush(1);
	my $target = $self->call('Target.createTarget', url => 'about:blank');
	my $session = $self->call(
		'Target.attachToTarget',
		targetId => $target->{targetId},
		flatten => JSON::PP::true);
	$self->{session} = $session->{sessionId};
	$self->call("$_.enable") for qw(Page Runtime Log Network);
	$self->call('Page.setLifecycleEventsEnabled', enabled => JSON::PP::true);
	return $self;
}

# Reads the next message.
sub _read
{
	my $self = shift;
	my $end = time + $timeout;

	while ((my $at = index $self->{buffer}, "\0") < 0)
	{
		my $bits = '';

		vec($bits, fileno $self->{from}, 1) = 1;
		select($bits, undef, undef, $end - time) > 0
		  or die 'the browser does not answer';
		sysread($self->{from}, $self->{buffer}, 65536, length $self->{buffer})
		  or die 'the browser has ended';
	}
	$self->{buffer} =~ s/^([^\0]*)\0//;
	my $message = decode_json($1);
	my ($method, $params) = @$message{qw(method params)};

	return $message if !defined $method;
	push @{ $self->{requests} }, $params->{request}{url}
	  if $method eq 'Network.requestWillBeSent';
	push @{ $self->{messages} }, $params->{entry}{text}
	  if $method eq 'Log.entryAdded';
	push @{ $self->{messages} },
	  map { $_->{value} // $_->{description} // '' } @{ $params->{args} }
	  if $method eq 'Runtime.consoleAPICalled';
	push @{ $self->{messages} }, $params->{exceptionDetails}{text}
	  if $method eq 'Runtime.exceptionThrown';
	$self->{loaded}{ $params->{loaderId} } = 1
	  if $method eq 'Page.lifecycleEvent' && $params->{name} eq 'load';
	return $message;
}

sub call
{
	my ($self, $method, %params) = @_;
	my $id = $self->{next_id}++;
	my $message;

	print { $self->{to} } encode_json({
			id => $id,
			method => $method,
			params => \%params,
			defined $self->{session} ? (sessionId => $self->{session}) : ()
	  }),
	  "\0";
	do { $message = $self->_read } until ($message->{id} // 0) == $id;
	die "$method: $message->{error}{message}" if defined $message->{error};
	return $message->{result};
}

sub open_file
{
	my ($self, $file) = @_;

	$self->{requests} = [];
	$self->{messages} = [];

	# Another document, such as the first, empty one, may be loaded only now.
	my $result = $self->call('Page.navigate', url => "file://$file");
	die "$file: $result->{errorText}" if defined $result->{errorText};
	$self->_read until $self->{loaded}{ $result->{loaderId} };
	return;
}

sub evaluate
{
	my ($self, $expression) = @_;
	my $result = $self->call(
		'Runtime.evaluate',
		expression => $expression,
		returnByValue => JSON::PP::true);

	die $result->{exceptionDetails}{exception}{description}
	  if defined $result->{exceptionDetails};
	return $result->{result}{value};
}

sub requests
{
	return @{ shift->{requests} };
}

sub messages
{
	return @{ shift->{messages} };
}

sub stop
{
	my $self = shift;
	my $pid = delete $self->{pid} or return;

	delete $self->{session};
	eval { $self->call('Browser.close') };
	for (1 .. 100)
	{
		return if waitpid($pid, WNOHANG) != 0;
		sleep 0.1;
	}
	kill KILL => -$pid;
	waitpid $pid, 0;
	return;
}

sub DESTROY
{
	shift->stop;
	return;
}

1;
