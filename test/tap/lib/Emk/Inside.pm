package Emk::Inside;

=encoding utf8

=head1 Emk::Inside: a test in namespaces of its own (users, mounts, network), without privileges

What Emk::Names, Emk::Net and Emk::Space share. enter(MODULE, ARGUMENTS…) starts the test again inside, or skips it and says why; inside it returns
the test's folder. MODULE has

  ready(DIR, …)     outside, as ourselves: files that are needed inside
  prepare(DIR, …)   as root of the new namespaces, where the only network is a loopback device that is up; dies when it cannot

After it the test runs as the user that we were, with no rights over the namespaces any more.

=cut

use strict;
use warnings;
use File::Path ();
use File::Temp ();
use Socket;

my $owner;

sub library
{
	(my $dir = __FILE__) =~ s{/Emk/Inside\.pm$}{};
	return $dir;
}

sub skip
{
	my ($why) = @_;
	$why =~ s/\s+/ /g;
	require Test::More;
	Test::More::plan(skip_all => "no namespaces of one's own here: $why");
}

sub enter
{
	my ($module, @args) = @_;
	my $lib = library();

	if (defined $ENV{EMK_INSIDE})
	{
		$owner //= $$;
		return $ENV{EMK_INSIDE};
	}
	my $dir = File::Temp::tempdir('emk_inside_XXXX', TMPDIR => 1);
	my @enter = ('unshare', '-Urmn', $^X, '-I', $lib, '-mEmk::Inside', "-m$module", '-e', 'Emk::Inside::inside(@ARGV)', $module, $<, $( + 0,
		$dir, join ',', @args);
	local $ENV{EMK_INSIDE} = $dir;
	my $said = eval { $module->ready($dir, @args); 1 } ? qx(@{[ join ' ', map { quotemeta } @enter, 'true' ]} 2>&1) : $@;
	if ($@ || $? != 0)
	{
		File::Path::remove_tree($dir);
		skip($said);
	}
	exec @enter, $^X, $0, @ARGV or die "unshare: $!";
}

sub inside
{
	my ($module, $uid, $gid, $dir, $args, @command) = @_;

	if (!eval { loopback_up(); $module->prepare($dir, split /,/, $args); 1 })
	{
		print STDERR $@;
		exit 125;
	}
	exec 'unshare', '-U', "--map-user=$uid", "--map-group=$gid", @command or print STDERR "unshare: $!\n";
	exit 125;
}

sub loopback_up
{
	socket(my $s, PF_INET, SOCK_DGRAM, 0) or die "socket: $!\n";
	my $request = pack('a16 s x14', 'lo', 0);
	ioctl($s, 0x8913, $request) or die "SIOCGIFFLAGS: $!\n";
	my ($name, $flags) = unpack('a16 s', $request);
	$request = pack('a16 s x14', 'lo', $flags | 1);
	ioctl($s, 0x8914, $request) or die "SIOCSIFFLAGS: $!\n";
}

END
{
	my $rc = $?;
	# where something is mounted stays, empty
	File::Path::remove_tree($ENV{EMK_INSIDE}, { error => \my $busy }) if defined $owner && $owner == $$;
	$? = $rc;
}

1;
