# test/tally.pl NAME EXIT LOG MS: reads LOG.tap, prints "passed failed skipped" to standard output and the human line, with
# what failed, to standard error. A program that ends badly or breaks its plan has failed once more.
use strict;
use warnings;
use TAP::Parser;

my ($name, $exit, $log, $ms) = @ARGV;
my ($pass, $fail, $skip, @bad) = (0, 0, 0);
my ($depth0, $summary) = ('', {});

open my $fh, '<', "$log.tap" or die "$log.tap: $!";
my @lines = <$fh>;
close $fh;

# node's runner sums up nested tests in comments at the end
for (@lines) { $summary->{$1} = $2 if /^# (pass|fail|cancelled|skipped|todo) (\d+)$/; }
if (exists $summary->{pass} && exists $summary->{fail})
{
	$pass = $summary->{pass};
	$fail = $summary->{fail} + ($summary->{cancelled} // 0);
	$skip = $summary->{skipped} // 0;
	@bad = grep { /not ok|error:|expected|actual|message/ } @lines if $fail;
}
else
{
	my $p = TAP::Parser->new({ tap => join('', "\n", grep { !/^\s+/ } @lines) });
	while (my $r = $p->next)
	{
		if ($r->is_bailout) { $fail++; push @bad, $r->as_string; }
		elsif ($r->is_plan && $r->has_directive && $r->directive eq 'SKIP') { $skip++; push @bad, $r->explanation; }
		next unless $r->is_test;
		if ($r->has_skip) { $skip++ }
		elsif ($r->is_ok) { $pass++ }
		else { $fail++; push @bad, $r->as_string; }
	}
	my @errors = $p->parse_errors;
	if (@errors) { $fail++; push @bad, @errors; }
}
push @bad, 'ended: it took too long' if $exit == 124 || $exit == 137;
if ($exit != 0 && $fail == 0) { $fail++; push @bad, "exit code $exit"; }

my $word = $fail ? 'FAILED' : $pass ? 'ok' : 'skipped';
printf STDERR "%-7s %-40s %6d ms  %d passed%s%s\n", $word, $name, $ms, $pass,
	$fail ? ", $fail failed" : '', $skip ? ", $skip skipped" : '';
if ($fail || !$pass)
{
	chomp @bad;
	print STDERR "        $_\n" for splice @bad, 0, 40;
}
if ($fail)
{
	# what the test said on its own, and the ends of its servers' logs
	if (open my $e, '<', "$log.err") { my @e = <$e>; print STDERR map { "        $_" } @e > 60 ? @e[-60 .. -1] : @e; }
	for my $l (sort glob(($ENV{TESTDIR} // '/nonexistent') . '/tmp_check/log/*.log'))
	{
		next if $l =~ /regress_log_/;
		open my $e, '<', $l or next;
		my @e = grep { /ERROR|FATAL|PANIC|WARNING|TRAP|terminated by/ } <$e>;
		print STDERR "        -- $l\n", map { "        $_" } @e > 15 ? @e[-15 .. -1] : @e;
	}
}
print "$pass $fail $skip\n";
