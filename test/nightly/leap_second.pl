# R40: a leap second. The clock of the machine takes a second in, or lets one out, by going 10 % fast or slow for ten seconds (who smears
# takes a day for it: a ten-thousandth of that), and by a step. Meanwhile messages at once, after two seconds, in order with errors, and
# at a limit of rate: each arrives once and in its time, in order, no faster than allowed. lib/clock.c gives the server its time.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../tap/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $dir = PostgreSQL::Test::Utils::tempdir();
my $sink = start_sink(sync => 0);
my $node = new_node('leap', preload => 1, start => 0);
my $query = sub { $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") };

# The server's clock so many seconds ahead
sub set_ahead
{
	my ($seconds) = @_;
	open(my $f, '+<', "$dir/time") or die $!;
	syswrite($f, pack('q', $seconds * 1_000_000)) == 8 or die $!;
	close $f;
}

append_to_file("$dir/time", pack('q', 0));
my $said = qx(gcc -shared -fPIC -O1 -o '$dir/clock.so' '$FindBin::Bin/../tap/lib/clock.c' 2>&1);
$? == 0 or plan skip_all => "no library could be built: $said";
{
	local %ENV = (%ENV, LD_PRELOAD => "$dir/clock.so", EMK_CLOCK => "$dir/time");
	$node->start;
}
$query->('CREATE EXTENSION eventmkt; SELECT eventmkt.init()');
ok(wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 30), 'a worker runs') or die;
my $pid = $query->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");
my $tries = '{' . join(',', (1) x 30) . '}';
create_endpoint($node, 'free', $sink, '/ok/free');
create_endpoint($node, 'limited', $sink, '/ok/limited', rate_limit => 20);
create_endpoint($node, 'lane', $sink, '/flaky?p503=0.2', ordered => 't', schedule => $tries);
$query->(<<'SQL');
SELECT eventmkt.create_rule('now', on_event => 'Now', send_to => 'free');
SELECT eventmkt.create_rule('blink', on_event => 'Blink', after => '2 seconds', on_repeat => 'parallel', send_to => 'free');
SELECT eventmkt.create_rule('limited', on_event => 'Limited', send_to => 'limited');
SELECT eventmkt.create_rule('lane', on_event => 'Lane', send_to => 'lane');
SELECT eventmkt.change_setting('profile_burst', '1000000');
SQL
my $session = $node->background_psql('postgres');
my ($n, %committed, @phases) = (0);

# Ten seconds, an event of each kind every fifth of a second, while $clock is asked every 20 ms how far the clock is ahead
sub phase
{
	my ($what, $clock) = @_;
	my $start = time;
	my $next = 0;
	my $first = $n + 1;
	while ((my $at = time - $start) < 10)
	{
		set_ahead($clock->($at / 10));
		if ($at >= $next)
		{
			$n++;
			$session->query_safe("SELECT count(eventmkt.track('p' || $n % 5, name, '{\"k\": $n}', message_id => name || $n)) FROM unnest('{Now,Blink,Lane,Limited}'::text[]) name");
			$committed{$n} = time;
			$next += 0.2;
		}
		sleep 0.02;
	}
	set_ahead($clock->(1));
	push @phases, [ $what, $first, $n ];
}

phase('before', sub { 0 });
phase('a second in by a fast clock', sub { $_[0] });
phase('a second out by a slow clock', sub { 1 - $_[0] });
phase('a second forward at once', sub { $_[0] >= 0.5 ? 1 : 0 });
phase('a second back at once', sub { $_[0] >= 0.5 ? 0 : 1 });
phase('after', sub { 0 });
my $left = "SELECT (SELECT count(*) FROM eventmkt_data.work) + (SELECT count(*) FROM eventmkt_data.pending_trigger) + (SELECT count(*) FROM eventmkt_data.delivery WHERE status <> 'delivered')";
ok(wait_for_sql($node, $left, '0', 120), 'all is delivered');

my %d = map { $_->{id} => $_ } query_rows($node, "SELECT id, rule, profile_id AS who, (body::jsonb #>> '{data,event,properties,k}')::int AS k FROM eventmkt_data.delivery");
my (%late, %last, @disorder, %times);
for my $r (sort { $a->{t} <=> $b->{t} } grep { $_->{status} == 200 } $sink->requests)
{
	my $m = $d{ $r->{id} } or next;
	$times{ $r->{id} }++;
	push @{ $late{ $m->{rule} }[ $m->{k} ] }, $r->{t} / 1000 - $committed{ $m->{k} };
	next if $m->{rule} ne 'lane';
	push @disorder, "$m->{who}: $m->{k} after $last{$m->{who}}" if ($last{ $m->{who} } // 0) > $m->{k};
	$last{ $m->{who} } = $m->{k};
}
is(scalar(grep { ($times{$_} // 0) != 1 } keys %d), 0, 'each once');
is(scalar(keys %d), 4 * $n, "four messages for each of $n");
for my $p (@phases)
{
	my ($what, $first, $last) = @$p;
	my %most;
	for my $rule (qw(now blink)) { ($most{$rule}) = sort { $b <=> $a } map { @{ $late{$rule}[$_] // [] } } $first .. $last }
	my ($least) = sort { $a <=> $b } map { @{ $late{blink}[$_] // [] } } $first .. $last;
	cmp_ok($most{now}, '<=', 5, "$what: at once");
	cmp_ok($most{blink}, '<=', 2 + 1 + 5, "$what: after two seconds, and the one that is taken out");
	cmp_ok($least, '>=', 2 - 1 - 0.1, "$what: and not before");
	note sprintf 'figure: R40: %s: %d events, at once after %.2f s at most, what is due two seconds later after %.2f to %.2f s', $what, $last - $first + 1, $most{now}, $least, $most{blink};
}
is("@disorder[0 .. ($#disorder < 4 ? $#disorder : 4)]", '', 'in order where order is asked for');
is($query->("SELECT count(*) FROM (SELECT k, lag(k) OVER (PARTITION BY profile_id ORDER BY id) AS before FROM (SELECT id, profile_id, (body::jsonb #>> '{data,event,properties,k}')::int AS k
	FROM eventmkt_data.delivery WHERE rule = 'lane') l) x WHERE before > k"), 0, 'ids rise');
cmp_ok($sink->max_per_second('/ok/limited'), '<=', 20, 'no more in a second than the endpoint takes');
is($query->("SELECT count(*) FROM eventmkt_data.decision WHERE outcome NOT IN ('delivered', 'held')"), 0, 'nothing expired');
is($query->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'"), $pid, 'one worker throughout');
$session->quit;
is(check_safety($node, $sink, drained => 1, max_duplicates => 0), '', 'safety rule');
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle/, 'nothing bad in the log');
$node->stop;
done_testing();
