package Emk::Sink;

=encoding utf8

=head1 Emk::Sink: the receiver test/sink/sink.js as a child process

  $sink->url('/status/503')            address for an endpoint
  $sink->port, ->control_port, ->pid
  $sink->journal                       rows of kind request, decoded; journal('all'), journal('end'), … (see receiver.js)
  $sink->requests('/ok')               those of one path (without its query); requests(qr/…/)
  $sink->tries($id)                    those of one webhook-id
  $sink->wait_requests(N, SECS, PATH)  true when at least N requests came (of that path)
  $sink->wait_delivered(N, SECS)       true when at least N different ids got a whole 2xx answer
  $sink->mode('/ok', 'status/503')     from now on; mode('/ok', undef) ends it; path '*' is all of them
  $sink->secret('/ok', 'whsec_…')      secret('/ok', 'whsec_…', 1): the earlier ones stay valid
  $sink->stats                         hash, see GET /stats
  $sink->raw_port('silent')            a port whose every connection is treated so (started with listen => […])
  $sink->listen(verb => …, tls => { cert, key, minVersion, maxVersion }, host => …)   one more port → its number
  $sink->max_per_second(PATH)          most requests within any one second
  $sink->drop, ->reset, ->stop, ->kill, ->restart (same port, same journal, secrets and counts of tries kept)

=cut

use strict;
use warnings;
use Carp;
use Fcntl;
use File::Basename qw(dirname);
use File::Temp;
use HTTP::Tiny;
use IO::Select;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(time sleep);

my $sink_dir = dirname(dirname(dirname(dirname(__FILE__)))) . '/sink';
my $json = JSON::PP->new->utf8->canonical;
my @sinks;

sub node_program
{
	for my $name ('node', 'nodejs')
	{
		for my $dir (split /:/, $ENV{PATH})
		{
			return "$dir/$name" if -x "$dir/$name";
		}
	}
	croak 'node is not installed';
}

sub start
{
	my ($class, %opts) = @_;
	my $dir = $opts{dir} // File::Temp->newdir(TEMPLATE => 'emk_sink_XXXX', TMPDIR => 1);
	my $self = bless { dir => $dir, journal => $opts{journal} // "$dir/journal", opts => \%opts, secrets => {},
		owner => $$ }, $class;

	$self->{secrets} = { map { $_ => [ ref $opts{secrets}{$_} ? @{ $opts{secrets}{$_} } : $opts{secrets}{$_} ] }
		keys %{ $opts{secrets} // {} } };
	push @sinks, $self;
	$self->spawn($opts{port} // 0);
	return $self;
}

sub spawn
{
	my ($self, $port) = @_;
	my %opts = %{ $self->{opts} };
	my $secret_file = "$self->{dir}/secrets";
	sysopen(my $fh, $secret_file, O_WRONLY | O_CREAT | O_TRUNC, 0600) or croak "$secret_file: $!";
	print $fh $json->encode($self->{secrets});
	close $fh;

	my @command = (node_program(), "$sink_dir/sink.js", '--watch-stdin', '--port', $port, '--journal', $self->{journal},
		'--secret-file', $secret_file);
	push @command, '--headers' if $opts{headers};
	push @command, '--no-bodies' if exists $opts{bodies} && !$opts{bodies};
	push @command, '--no-sync' if exists $opts{sync} && !$opts{sync};
	push @command, '--host', $opts{host} if $opts{host};
	push @command, '--tls', @{ $opts{tls} } if $opts{tls};
	push @command, map { ('--listen', $_) } @{ $opts{listen} // [] };

	pipe(my $in_read, my $in_write) or croak "pipe: $!";
	pipe(my $out_read, my $out_write) or croak "pipe: $!";
	my $pid = fork // croak "fork: $!";
	if ($pid == 0)
	{
		$SIG{$_} = 'DEFAULT' for qw(TERM INT HUP);
		open STDIN, '<&', $in_read and open STDOUT, '>&', $out_write and exec @command;
		POSIX::_exit(127);
	}
	close $in_read;
	close $out_write;
	@$self{qw(pid stdin stdout)} = ($pid, $in_write, $out_read);
	my $ready = IO::Select->new($out_read)->can_read(30) ? readline $out_read : undef;
	croak 'the sink did not start' unless defined $ready;
	my $answer = $json->decode($ready);
	@$self{qw(port control_port raw)} = @$answer{qw(port control listen)};
}

sub port { return $_[0]{port} }
sub control_port { return $_[0]{control_port} }
sub pid { return $_[0]{pid} }

sub raw_port
{
	my ($self, $verb) = @_;
	return $self->{raw}{$verb} // croak "the sink was not started with listen => ['$verb']";
}

sub url
{
	my ($self, $path, $port) = @_;
	my $host = $self->{opts}{host} // '127.0.0.1';
	$host = '127.0.0.1' if $host eq '0.0.0.0';
	$host = "[$host]" if $host =~ /:/;
	return ($self->{opts}{tls} ? 'https' : 'http') . "://$host:" . ($port // $self->{port}) . ($path // '/ok');
}

# the control port

sub call
{
	my ($self, $method, $path, $body) = @_;
	my $answer = HTTP::Tiny->new(timeout => 30, no_proxy => '127.0.0.1')->request($method,
		"http://127.0.0.1:$self->{control_port}$path", { content => defined $body ? $json->encode($body) : '' });
	croak "sink: $method $path: $answer->{status} $answer->{content}" unless $answer->{success};
	return $json->decode($answer->{content});
}

sub stats { return $_[0]->call('GET', '/stats') }
sub mode { return $_[0]->call('POST', '/mode', { path => $_[1], verb => $_[2] }) }
sub drop { return $_[0]->call('POST', '/drop')->{dropped} }
sub reset { return $_[0]->call('POST', '/reset', { journal => JSON::PP::true }) }

sub listen
{
	my ($self, %spec) = @_;
	return $self->call('POST', '/listen', \%spec)->{port};
}

sub secret
{
	my ($self, $path, $secret, $add) = @_;
	my $known = $self->{secrets}{$path} //= [];
	@$known = () unless $add;
	push @$known, $secret;
	return $self->call('POST', '/secret', { path => $path, secret => $secret, $add ? (add => JSON::PP::true) : () });
}

# the journal

sub journal
{
	my ($self, $kind) = @_;
	$kind //= 'request';
	open my $fh, '<', $self->{journal} or return;
	my @rows;
	while (my $line = <$fh>)
	{
		next unless $line =~ /\n\z/;
		my $row = eval { $json->decode($line) } or next;
		push @rows, $row if $kind eq 'all' || $row->{kind} eq $kind;
	}
	return @rows;
}

sub path_of
{
	my ($path) = @_;
	$path =~ s/\?.*//s;
	return $path;
}

sub requests
{
	my ($self, $path) = @_;
	return grep { !defined $path || (ref $path ? $_->{path} =~ $path : path_of($_->{path}) eq $path) } $self->journal;
}

sub tries
{
	my ($self, $id) = @_;
	return grep { ($_->{id} // '') eq $id } $self->journal;
}

sub wait_requests
{
	my ($self, $n, $timeout, $path) = @_;
	return Emk::wait_for(sub {
		my $stats = $self->stats;
		return ($path ? ($stats->{paths}{$path}{requests} // 0) : $stats->{requests}) >= $n && $self->requests($path) >= $n;
	}, $timeout);
}

sub wait_delivered
{
	my ($self, $n, $timeout) = @_;
	return Emk::wait_for(sub {
		return 0 if $self->stats->{ids} < $n;
		my %ids = map { ($_->{id} => 1) }
			grep { defined $_->{id} && $_->{complete} && $_->{status} >= 200 && $_->{status} < 300 } $self->journal;
		return keys %ids >= $n;
	}, $timeout);
}

sub max_per_second
{
	my ($self, $path) = @_;
	my @t = sort { $a <=> $b } map { $_->{t} } $self->requests($path);
	my ($from, $most) = (0, 0);
	for my $to (0 .. $#t)
	{
		$from++ while $t[$to] - $t[$from] >= 1000;
		$most = $to - $from + 1 if $to - $from + 1 > $most;
	}
	return $most;
}

# life

sub finish
{
	my ($self, $signal) = @_;
	my $pid = delete $self->{pid} or return;
	return unless $self->{owner} == $$;
	my $rc = $?;
	CORE::kill $signal, $pid;
	close delete $self->{stdin} if $self->{stdin};
	my $end = time + 5;
	while (waitpid($pid, POSIX::WNOHANG()) == 0)
	{
		CORE::kill 'KILL', $pid if time > $end;
		sleep 0.01;
	}
	close delete $self->{stdout} if $self->{stdout};
	$? = $rc;
}

sub stop { $_[0]->finish('TERM') }
sub kill { $_[0]->finish('KILL') }

sub restart
{
	my ($self) = @_;
	$self->finish('TERM');
	$self->spawn($self->{port});
}

sub stop_every
{
	$_->finish('TERM') for @sinks;
	@sinks = ();
}

1;
