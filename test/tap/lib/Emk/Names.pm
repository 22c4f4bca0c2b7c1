package Emk::Names;

=encoding utf8

=head1 Emk::Names: a test with a name server of its own

  use Emk::Names;      # before anything else: the test starts again in namespaces of its own, or is skipped
  start_names();       # the name server; it ends with the test

Inside, the only network is a loopback device, resolv.conf names 127.0.0.1, and the server there answers by the name:

  *.good.test          127.0.0.1
  many.good.test       500 addresses, all in 127.0.0.0/8        ttl0.good.test    127.0.0.1, to be kept for 0 seconds
  *.silent.test        never: the packets vanish
  *.fading.test        127.0.0.1 within thirty seconds of the first question, then never
  *.servfail.test      SERVFAIL        *.loop.test    two names that are aliases of each other
  anything else        NXDOMAIN

=cut

use strict;
use warnings;
use IO::Socket::INET;
use Socket;

my ($pid, %asked);

sub import
{
	my ($class) = @_;
	require Emk::Inside;
	Emk::Inside::enter($class);
	no strict 'refs';
	*{ caller() . '::start_names' } = \&start_names;
}

sub ready
{
	my ($class, $dir) = @_;
	my %files = ('resolv.conf' => "nameserver 127.0.0.1\n", 'nsswitch.conf' => "passwd: files\ngroup: files\nhosts: files dns\n");

	for my $name (keys %files)
	{
		open(my $f, '>', "$dir/$name") or die "$dir/$name: $!\n";
		print {$f} $files{$name};
		close $f;
	}
}

# Port 53 free to take, resolv.conf and nsswitch.conf replaced
sub prepare
{
	my ($class, $dir) = @_;

	open(my $port, '>', '/proc/sys/net/ipv4/ip_unprivileged_port_start') or die "port 53: $!\n";
	print {$port} "53\n";
	close $port or die "port 53: $!\n";
	for my $file (qw(resolv.conf nsswitch.conf))
	{
		system('mount', '--bind', "$dir/$file", "/etc/$file") == 0 or die "mount $file failed\n";
	}
}

sub name_field
{
	return join('', map { pack 'C/a', $_ } split /\./, $_[0]) . "\0";
}

# The answer to a query; undef: silence
sub answer
{
	my ($query) = @_;
	my ($id, $flags, $n) = unpack 'n3', $query;
	my ($at, @labels) = (12);

	return undef if length $query < 17 || $n != 1;
	while ((my $len = ord substr $query, $at, 1) > 0)
	{
		push @labels, substr $query, $at + 1, $len;
		$at += $len + 1;
		return undef if $at >= length $query;
	}
	my $question = substr $query, 12, $at + 5 - 12;
	my $type = unpack 'n', substr $query, $at + 1, 2;
	my $name = lc join '.', @labels;
	my ($rcode, @records) = (0);
	my $a = sub { pack 'n n n N n a4', 0xc00c, 1, 1, $_[1] // 60, 4, inet_aton($_[0]) };

	return undef if $name =~ /\.silent\.test$/ || ($name =~ /\.fading\.test$/ && time > ($asked{$name} //= time) + 30);
	if ($name eq 'many.good.test')
	{
		@records = map { $a->('127.0.' . int($_ / 250) . '.' . (1 + $_ % 250)) } 0 .. 499 if $type == 1;
	}
	elsif ($name =~ /\.(?:good|fading)\.test$/)
	{
		@records = $a->('127.0.0.1', $name =~ /^ttl0/ ? 0 : 60) if $type == 1;
	}
	elsif ($name =~ /\.loop\.test$/)
	{
		my @ring = map { name_field($_) } $name, "other.$name";
		@records = map { pack('a* n n N n', $ring[$_], 5, 1, 60, length $ring[1 - $_]) . $ring[1 - $_] } 0, 1;
	}
	else
	{
		$rcode = $name =~ /\.servfail\.test$/ ? 2 : 3;
	}
	return pack('n6', $id, 0x8180 | $rcode, 1, scalar @records, 0, 0) . $question . join '', @records;
}

sub start_names
{
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 53, Proto => 'udp') or die "port 53: $!";
	my $parent = $$;

	$pid = fork // die "fork: $!";
	return if $pid;
	$SIG{$_} = 'DEFAULT' for qw(TERM INT HUP);
	while (getppid() == $parent)
	{
		my $ready = '';
		vec($ready, fileno $socket, 1) = 1;
		next if select($ready, undef, undef, 1) <= 0;
		my $from = recv($socket, my $query, 4096, 0) // next;
		my $answer = answer($query);
		send($socket, $answer, 0, $from) if defined $answer;
	}
	require POSIX;
	POSIX::_exit(0);
}

END
{
	my $rc = $?;
	kill 'TERM', $pid if $pid;
	$? = $rc;
}

1;
