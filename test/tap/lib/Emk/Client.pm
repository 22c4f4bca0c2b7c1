package Emk::Client;

=encoding utf8

=head1 Emk::Client: an app that calls track() from a process of its own and keeps a journal of what it was told

  my $client = Emk::Client->start($node, prefix => 'a', events => { Bought => 1, Left => 2 });
  ...                                  the server may crash and come back meanwhile
  my @words = $client->stop;           rows for check_safety(client => …): { message_id, result => ok|failed|unknown, sends }

Each message is a transaction of its own, one in ten is rolled back (failed). A message whose answer was lost with the connection stays
unknown; what was not begun is said again. events: each event's name with the number of deliveries it leads to.
  users => 20      different people          pause => 0.02   seconds between batches          batch => 10   messages a connection
  limit => N       stops by itself after so many; then ->wait(SECONDS) says whether it got there

=cut

use strict;
use warnings;
use Carp;
use File::Temp;
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(time sleep);

my $json = JSON::PP->new->utf8->canonical;
my @clients;

sub start
{
	my ($class, $node, %opts) = @_;
	my $dir = File::Temp->newdir(TEMPLATE => 'emk_client_XXXX', TMPDIR => 1);
	my $self = bless { dir => $dir, journal => "$dir/journal", owner => $$ }, $class;
	my $pid = fork // croak "fork: $!";

	if ($pid == 0)
	{
		$SIG{$_} = 'DEFAULT' for qw(TERM INT HUP);
		# leaves without the END blocks and destructors, which are the test's
		my $ok = eval { run($node, $self->{journal}, "$dir/stop", users => 20, pause => 0.02, batch => 10, limit => 1e9, %opts); 1 };
		print STDERR "client: $@" unless $ok;
		POSIX::_exit($ok ? 0 : 1);
	}
	$self->{pid} = $pid;
	push @clients, $self;
	return $self;
}

sub run
{
	my ($node, $journal, $stop, %opts) = @_;
	my @names = sort keys %{ $opts{events} };
	my $n = 0;
	my $db = $node->connstr($node->{emk_db});

	open my $out, '>>', $journal or die "$journal: $!";
	$out->autoflush(1);
	until (-e $stop || $n >= $opts{limit})
	{
		my @batch = map { { id => "$opts{prefix}-$_", n => $_, event => $names[$_ % @names], failed => $_ % 10 == 9 } } $n + 1 .. $n + $opts{batch};
		my %said = map { $_ => 1 } say_all($node, $db, \@batch, \%opts);
		for my $m (@batch)
		{
			last unless %said;
			my $result = $said{ $m->{id} } ? ($m->{failed} ? 'failed' : 'ok') : $m->{failed} ? 'failed' : 'unknown';
			print $out $json->encode({ message_id => $m->{id}, result => $result, sends => $opts{events}{ $m->{event} } }) . "\n";
			$n++;
			last if !$said{ $m->{id} };
		}
		sleep($said{begun} ? $opts{pause} : 0.1);
	}
}

# The ids of those whose end we heard of, and `begun` once there was a connection
sub say_all
{
	my ($node, $db, $batch, $opts) = @_;
	my ($out, $err) = ('', '');
	my $sql = "\\set ON_ERROR_STOP 1\n\\echo begun\n";

	for my $m (@$batch)
	{
		my $user = $opts->{prefix} . $m->{n} % $opts->{users};
		my $call = "SELECT eventmkt.track('$user', '$m->{event}', '{\"n\": $m->{n}}', message_id => '$m->{id}') \\g /dev/null\n";
		$sql .= ($m->{failed} ? "BEGIN;\n${call}ROLLBACK;\n" : $call) . "\\echo $m->{id}\n";
	}
	IPC::Run::run([ $node->installed_command('psql'), '-XqAt', '-d', $db, '-f', '-' ], '<', \$sql, '>', \$out, '2>', \$err);
	return split /\n/, $out;
}

sub wait
{
	my ($self, $timeout) = @_;
	my $end = time + $timeout;

	while (time < $end)
	{
		if (waitpid($self->{pid}, POSIX::WNOHANG()) != 0)
		{
			$self->{done} = 1;
			return 1;
		}
		sleep 0.05;
	}
	return 0;
}

sub stop
{
	my ($self) = @_;
	$self->end;
	return $self->words;
}

sub words
{
	my ($self) = @_;
	open my $fh, '<', $self->{journal} or return;
	return map { $json->decode($_) } grep { /\n\z/ } <$fh>;
}

sub end
{
	my ($self) = @_;
	return if $self->{done} || $self->{owner} != $$;
	open my $fh, '>', "$self->{dir}/stop";
	close $fh if $fh;
	return if $self->wait(30);
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	$self->{done} = 1;
}

END
{
	my $rc = $?;
	$_->end for @clients;
	$? = $rc;
}

1;
