package WalredoSessions;

# Sessions whose queries are begun, and waited for later.
#
# Offers:
#	session								opens one, which shows SQLSTATEs
#	begin_query, end_query, run_query	in that session
#	wait_for_waiting					until its query waits for a child

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(session begin_query wait_for_waiting end_query run_query);

# A session that shows errors with their codes.  There is a limit of time for each
# query, not for all of them together.
sub session
{
	my $node = shift;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->{node} = $node;
	$session->set_query_timer_restart;
	$session->query('\set VERBOSITY verbose');
	$session->{backend} = $session->query('SELECT pg_backend_pid()');
	return $session;
}

# Sends a query, does not wait for its end.
sub begin_query
{
	my ($session, $query) = @_;

	$session->{timeout}->start;
	$session->{stdin} .= "$query;\n";
	$session->{run}->pump_nb;
	return;
}

# Waits until a session waits for a child, or for its answer.
sub wait_for_waiting
{
	my $session = shift;

	$session->{node}->poll_query_until('postgres',
		"SELECT wait_event IN ('Extension', 'MessageQueueReceive',
				'WalredoChild', 'WalredoAnswer') FROM pg_stat_activity
			WHERE pid = $session->{backend}")
	  or die 'session does not wait';
	return;
}

# The output and the errors of all that was sent and not yet looked at.
sub end_query
{
	my $session = shift;
	my $output = $session->query('');
	my $errors = $session->{stderr};

	$session->{stderr} = '';
	return ($output, $errors);
}

sub run_query
{
	my ($session, $query) = @_;

	begin_query($session, $query);
	return end_query($session);
}

1;
