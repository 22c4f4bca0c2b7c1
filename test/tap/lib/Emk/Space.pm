package Emk::Space;

=encoding utf8

=head1 Emk::Space: a test with small file systems of its own

  use Emk::Space;                  # before anything else: the test starts again in a mount namespace, or is skipped
  my $dir = small_disk(1);         # the folder of a file system of 64 MB, in memory; there are two, 1 and 2
  fill($dir);                      # takes all that is left of it
  make_room($dir);                 # and gives it back

They vanish with the test.

=cut

use strict;
use warnings;
use File::Temp;

use constant { DISKS => 2, MEGABYTES => 64 };

# Stage 2, root of the namespaces: mounts, then on as the user that we were
sub enter
{
	my ($uid, $gid, $dir, @command) = @_;
	my $fail = sub { print STDERR "$_[0]: $!\n"; exit 125 };

	for my $i (1 .. DISKS)
	{
		system('mount', '-t', 'tmpfs', '-o', 'size=' . MEGABYTES . 'm,mode=0700', 'tmpfs', "$dir/$i") == 0 or $fail->('mount');
	}
	exec 'unshare', '-U', "--map-user=$uid", "--map-group=$gid", @command or $fail->('unshare');
}

sub import
{
	my ($class) = @_;

	enter(splice @ARGV, 0) if ($ENV{EMK_SPACE} // '') eq 'enter' && delete $ENV{EMK_SPACE};
	if (!defined $ENV{EMK_SPACE_DIR})
	{
		my $dir = File::Temp::tempdir('emk_space_XXXX', TMPDIR => 1);
		(my $lib = __FILE__) =~ s{/Emk/Space\.pm$}{};
		mkdir "$dir/$_" or die "$dir/$_: $!" for 1 .. DISKS;
		my @enter = ('unshare', '-Urm', $^X, '-I', $lib, '-MEmk::Space', '-e', '1', $<, $( + 0, $dir);
		local $ENV{EMK_SPACE} = 'enter';
		local $ENV{EMK_SPACE_DIR} = $dir;
		my $said = qx(@{[ join ' ', map { quotemeta } @enter, 'true' ]} 2>&1);
		if ($? != 0)
		{
			remove($dir);
			$said =~ s/\s+/ /g;
			require Test::More;
			Test::More::plan(skip_all => "no namespaces of one's own here: $said");
		}
		exec @enter, $^X, $0, @ARGV or die "unshare: $!";
	}
	no strict 'refs';
	*{ caller() . "::$_" } = \&{$_} for qw(small_disk fill make_room);
}

sub remove
{
	my ($dir) = @_;
	rmdir "$dir/$_" for 1 .. DISKS;
	rmdir $dir;
}

sub small_disk { return "$ENV{EMK_SPACE_DIR}/$_[0]" }

sub fill
{
	my ($dir) = @_;
	open(my $f, '>>', "$dir/filler") or die "$dir/filler: $!";
	for my $size (1 << 20, 1 << 12)
	{
		my $block = 'x' x $size;
		1 while (syswrite($f, $block) // 0) == $size;
	}
	close $f;
}

sub make_room { unlink "$_[0]/filler" or die "$_[0]/filler: $!" }

1;
