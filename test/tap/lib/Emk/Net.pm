package Emk::Net;

=encoding utf8

=head1 Emk::Net: a test with links that can be made bad

  use Emk::Net links => 8;     # before anything else: the test starts again in namespaces of its own, or is skipped
  my $link = link_of(3);
  $link->far                   10.77.3.2: who connects to it comes to
  $link->near                  10.77.3.1, ours, over the link; a receiver listens there (or on 0.0.0.0)
  $link->fault(loss => 0.2)    from now on; see test/lab/wire.c for all of them
  $link->mend
  $link->counts                hash: passed, lost, reset, twice

Each link is a veth pair with test/lab/wire.c behind it, which the kernel needs neither netem nor a TUN device for.

=cut

use strict;
use warnings;
use Fcntl;
use File::Basename qw(dirname);
use IO::Handle;
use Socket;

my @links;

sub import
{
	my ($class, %opts) = @_;
	require Emk::Inside;
	Emk::Inside::enter($class, $opts{links} // 1);
	for my $fd (split /,/, $ENV{EMK_NET_LINKS})
	{
		open my $wire, '+<&=', $fd or die "link $fd: $!";
		fcntl $wire, F_SETFD, FD_CLOEXEC;
		$wire->autoflush(1);
		push @links, bless { n => scalar @links, wire => $wire }, $class;
	}
	no strict 'refs';
	*{ caller() . '::link_of' } = sub { return $links[ $_[0] ] };
}

sub ready
{
	my ($class, $dir) = @_;
	my $source = dirname(dirname(dirname(dirname(__FILE__)))) . '/lab/wire.c';
	my $said = qx(cc -std=c99 -O2 -Wall -Wextra -Werror -o '$dir/wire' '$source' 2>&1);
	die "wire.c: $said\n" if $? != 0;
}

sub ip
{
	my ($program) = grep { -x } map { "$_/ip" } split(/:/, $ENV{PATH}), '/sbin', '/usr/sbin';
	die "ip (iproute2) is not installed\n" unless $program;
	my $said = qx($program @_ 2>&1);
	die "ip @_: $said\n" if $? != 0;
}

sub prepare
{
	my ($class, $dir, $n) = @_;

	# A host keeps the port of a connection it closed for a minute: with 28,000 of them and one receiver that ends each connection that
	# is 470 messages a second, unless it may take such a port again (the manual's Operations, Sizing).
	my $reuse = '/proc/sys/net/ipv4/tcp_tw_reuse';
	open my $sysctl, '>', $reuse or die "$reuse: $!\n";
	print $sysctl "1\n";
	close $sysctl or die "$reuse: $!\n";
	for my $i (0 .. $n - 1)
	{
		ip("link add emk$i type veth peer name emk${i}p");
		ip("link set emk$i arp off up");
		ip("link set emk${i}p arp off up");
		ip("addr add 10.77.$i.1/24 dev emk$i");
		socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "socketpair: $!\n";
		my $pid = fork // die "fork: $!\n";
		if ($pid == 0)
		{
			open STDIN, '<&', $theirs and open STDOUT, '>&', $theirs and exec "$dir/wire", "emk$i";
			require POSIX;
			POSIX::_exit(127);
		}
		die "no wire for emk$i\n" unless (readline($ours) // '') eq "ready\n";
		push @links, $ours;
	}
	# kept open over exec, but not by the wires
	fcntl $_, F_SETFD, 0 for @links;
	$ENV{EMK_NET_LINKS} = join ',', map { fileno $_ } @links;
}

sub near { return "10.77.$_[0]{n}.1" }
sub far { return "10.77.$_[0]{n}.2" }

sub fault
{
	my ($self, %faults) = @_;
	print { $self->{wire} } join(' ', map { "$_=$faults{$_}" } sort keys %faults), "\n";
}

sub mend { return $_[0]->fault }

sub counts
{
	my ($self) = @_;
	print { $self->{wire} } "?\n";
	return split ' ', readline($self->{wire}) // die 'the wire is gone';
}

1;
