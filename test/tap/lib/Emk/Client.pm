package Emk::Client;

=encoding utf8

=head1 Emk::Client: an app that calls track() from a process of its own and keeps a journal of what it was told

  my $client = Emk::Client->start($node, prefix => 'a', events => { Bought => 1, Left => 2 });
  my @clients = Emk::Client->start_some(8, $node, prefix => 'a', …);      prefixes a-1 … a-8
  ...                                  the server may crash and come back meanwhile
  my @words = map { $_->stop } @clients;      rows for check_safety(client => …): { message_id, result => ok|failed|unknown, sends },
                                              of those that were acknowledged with event_id, and lsn, a place in the WAL at or after the commit

Each message is a transaction of its own, one in ten is rolled back (failed). A message whose answer was lost with the connection stays
unknown; what was not begun is said again. events: each event's name with the number of deliveries it leads to, said in turns.
  users => 20      different people          pause => 0.002   seconds after each message    batch => 10   messages a connection
  limit => N       stops by itself after so many; then ->wait(SECONDS) says whether it got there
  once => 1        stops by itself with its first connection
  words            what the journal says by now; acked: how many of it were acknowledged

=cut

use strict;
use warnings;
use Carp;
use File::Temp;
use JSON::PP ();
use List::Util qw(min);
use POSIX ();
use Time::HiRes qw(time sleep);

my $json = JSON::PP->new->utf8->canonical;
my @clients;

sub start_some
{
	my ($class, $n, $node, %opts) = @_;
	return map { $class->start($node, %opts, prefix => "$opts{prefix}-$_") } 1 .. $n;
}

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
		my $ok = eval { run($node, $self->{journal}, "$dir/stop", dir => $dir, users => 20, pause => 0.002, batch => 10, limit => 1e9, %opts); 1 };
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

	open my $out, '>>', $journal or die "$journal: $!";
	$out->autoflush(1);
	until (-e $stop || $n >= $opts{limit})
	{
		my @batch = map { { message_id => "$opts{prefix}-$_", n => $_, event => $names[$_ % @names], failed => $_ % 10 == 0 } }
			$n + 1 .. min($n + $opts{batch}, $opts{limit});
		my $write = sub {
			my ($m, $result, %more) = @_;
			$n = $m->{n};
			print $out $json->encode({ message_id => $m->{message_id}, result => $result, sends => $opts{events}{ $m->{event} }, %more }) . "\n";
		};
		my $begun = converse($node, \@batch, \%opts, $write, $stop);
		# what the connection was lost with, if there was one
		$write->($batch[0], $batch[0]{failed} ? 'failed' : 'unknown') if $begun && @batch;
		last if $opts{once};
		sleep 0.1 if !$begun;
	}
}

# Says the batch in one connection and takes off it what was answered. True once there was a connection
sub converse
{
	my ($node, $batch, $opts, $write, $stop) = @_;
	my $script = "$opts->{dir}/script";
	my ($begun, $waits);

	open my $to, '>', $script or die "$script: $!";
	print $to "\\set ON_ERROR_STOP 1\nSELECT 'begun';\n";
	for my $m (@$batch)
	{
		my $user = $opts->{prefix} . $m->{n} % $opts->{users};
		my $call = "eventmkt.track('$user', '$m->{event}', '{\"n\": $m->{n}}', message_id => '$m->{message_id}')";
		print $to $m->{failed} ? "BEGIN;\nSELECT FROM $call;\nROLLBACK;\nSELECT 'failed';\n"
			: "SELECT 'ok ' || $call;\nSELECT 'at ' || pg_current_wal_flush_lsn() FROM pg_sleep($opts->{pause});\n";
	}
	close $to;
	my $pid = open(my $from, '-|', $node->installed_command('psql'), '-XqAt', '-d', $node->connstr($opts->{dbname} // $node->{emk_db} // 'postgres'),
		'-f', $script) or die "psql: $!";
	while (my $line = <$from>)
	{
		$begun = 1 if $line =~ /^begun\n/;
		if ($line =~ /^ok (\d+)\n/) { $waits = $1 }
		elsif ($line =~ /^at (\S+)\n/) { $write->(shift @$batch, 'ok', event_id => $waits, lsn => $1); undef $waits }
		elsif ($line =~ /^failed\n/) { $write->(shift @$batch, 'failed') }
		kill 'TERM', $pid if -e $stop;
	}
	# acknowledged, but no place in the WAL was to be had any more
	$write->(shift @$batch, 'ok', event_id => $waits) if defined $waits;
	close $from;
	return $begun;
}

sub acked
{
	my ($self) = @_;
	return scalar grep { $_->{result} eq 'ok' } $self->words;
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
