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
use Emk::Inside;

use constant { DISKS => 2, MEGABYTES => 64 };

sub ready
{
	my ($class, $dir) = @_;
	mkdir "$dir/disk$_" or die "$dir/disk$_: $!\n" for 1 .. DISKS;
}

sub prepare
{
	my ($class, $dir) = @_;
	for my $i (1 .. DISKS)
	{
		system('mount', '-t', 'tmpfs', '-o', 'size=' . MEGABYTES . 'm,mode=0700', 'tmpfs', "$dir/disk$i") == 0 or die "mount: $?\n";
	}
}

my $dir;

sub import
{
	my ($class) = @_;

	$dir = Emk::Inside::enter($class);
	no strict 'refs';
	*{ caller() . "::$_" } = \&{$_} for qw(small_disk fill make_room);
}

sub small_disk { return "$dir/disk$_[0]" }

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
