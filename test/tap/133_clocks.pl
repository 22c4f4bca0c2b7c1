# The clock of the machine jumps: three days ahead, an hour back, ten days back (R40). What is due is sent once each and within its rate
# limit, what is new goes within seconds, retries keep their pace, also those not stored yet and those of a time without workers, ids
# keep their order, a kill in between changes nothing. lib/clock.c
# gives the server its time; the monotonic clock stays real.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $dir = PostgreSQL::Test::Utils::tempdir();
my $sink = start_sink(sync => 0);
my $node = new_node('clocks', preload => 1, start => 0);
my $ahead = 0;

# Sets the server's clock so many seconds further
sub jump
{
	my ($seconds) = @_;
	$ahead += $seconds;
	open(my $f, '+<', "$dir/time") or die $!;
	syswrite($f, pack('q', $ahead * 1_000_000)) == 8 or die $!;
	close $f;
}

sub query { return $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") }
append_to_file("$dir/time", pack('q', 0));
my $said = qx(gcc -shared -fPIC -O1 -o '$dir/clock.so' '$FindBin::Bin/lib/clock.c' 2>&1);
$? == 0 or plan skip_all => "no library could be built: $said";
{
	local %ENV = (%ENV, LD_PRELOAD => "$dir/clock.so", EMK_CLOCK => "$dir/time");
	$node->start;
}
query('CREATE EXTENSION eventmkt; SELECT eventmkt.init()');
my $now = query('SELECT extract(epoch FROM clock_timestamp())::bigint');
jump(3600);
my $moved = query('SELECT extract(epoch FROM clock_timestamp())::bigint') - $now;
$moved >= 3500 && $moved <= 3700 or die 'the clock does not move';
ok(wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 20), 'a worker runs') or die;
create_endpoint($node, 'limited', $sink, '/ok/limited', rate_limit => 20);
create_endpoint($node, 'free', $sink, '/ok/free');
query(<<'SQL');
SELECT eventmkt.create_rule('day', on_event => 'Cart', after => '1 day', max_lateness => '10 days', send_to => 'limited');
SELECT eventmkt.create_rule('half', on_event => 'Half', after => '30 minutes', max_lateness => '10 days', send_to => 'free');
SELECT eventmkt.create_rule('now', on_event => 'Now', send_to => 'free');
SELECT eventmkt.create_rule('blink', on_event => 'Blink', after => '2 seconds', send_to => 'free');
SQL
my $delivered = sub { "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = '$_[0]' AND status = 'delivered'" };
my $pid = query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");
my (%n, %worst);

# Something new: at once, and after two seconds
sub new_work
{
	my ($what) = @_;
	my $start = time;
	query("SELECT eventmkt.track('n' || i, 'Now') FROM generate_series(1, 5) i");
	ok(wait_for_sql($node, $delivered->('now'), $n{now} += 5, 20), "$what: what is new is sent");
	my $took = time - $start;
	in_time($took, 5, "$what: within five seconds");
	$worst{now} = $took if $took > ($worst{now} // 0);
	$start = time;
	query("SELECT eventmkt.track('b' || i, 'Blink') FROM generate_series(1, 5) i");
	ok(wait_for_sql($node, $delivered->('blink'), $n{blink} += 5, 20), "$what: what is due two seconds later is sent");
	$took = time - $start - 2;
	in_time($took, 5, "$what: within five seconds of that");
	cmp_ok($took, '>=', -0.2, "$what: and not before");
}

sub tries { return scalar(() = $sink->requests(qr{k=$_[0]$})) }

# One message to an endpoint of its own that fails every time, every two seconds or so: it has been tried once
sub fail_one
{
	my ($k) = @_;
	create_endpoint($node, "failing$k", $sink, "/status/503?k=$k", schedule => '{' . join(',', (2) x 50) . '}');
	query("SELECT eventmkt.create_rule('fails$k', on_event => 'Fail$k', send_to => 'failing$k')");
	query("SELECT eventmkt.track('f$k', 'Fail$k')");
	ok(wait_for(sub { tries($k) >= 1 }, 15), "failure $k: a message is being retried");
}

sub keeps_pace
{
	my ($what, $k) = @_;
	my $tries = tries($k);
	ok(wait_for(sub { tries($k) >= $tries + 2 }, 15), "$what: retries go on");
	cmp_ok(tries($k) - $tries, '<=', 8, "$what: and are no storm");
}

new_work('before');

# ---- an hour ahead while the worker sleeps until a time half an hour away
query("SELECT eventmkt.track('h1', 'Half')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id) WHERE r.name = 'half'", '1', 10), 'a run waits for half an hour');
sleep 1;
jump(3600);
my $start = time;
ok(wait_for_sql($node, $delivered->('half'), '1', 20), 'an hour ahead: it is sent');
$worst{jump} = time - $start;
in_time($worst{jump}, 7, 'an hour ahead: as soon as the worker looks, every five seconds');

# ---- three days ahead: all that is due, each once, within the limit of its endpoint
query("SELECT count(eventmkt.track('c' || i, 'Cart')) FROM generate_series(1, 100) i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.work", '0', 10), 'a hundred runs wait for a day');
fail_one(1);
jump(3 * 86400);
keeps_pace('three days ahead', 1);
ok(wait_for_sql($node, $delivered->('day'), '100', 30), 'three days ahead: all are sent');
is(scalar(() = $sink->requests('/ok/limited')), 100, 'three days ahead: once each');
cmp_ok($sink->max_per_second('/ok/limited'), '<=', 20, 'three days ahead: no more in a second than the endpoint takes');
new_work('three days ahead');

# ---- back by an hour, then by ten days
for my $back ([ 3600, 'an hour back', 2 ], [ 10 * 86400, 'ten days back', 3 ])
{
	my ($seconds, $what, $k) = @$back;
	fail_one($k);
	jump(-$seconds);
	keeps_pace($what, $k);
	new_work($what);
	is(query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'"), $pid, "$what: the worker is the same");
}

# ---- a retry that was planned by the old clock but is not stored yet
create_endpoint($node, 'late', $sink, '/hang/late', timeout => '1 s', schedule => '{2,2,2,2,2,2,2,2}');
query("SELECT eventmkt.create_rule('late', on_event => 'Late', send_to => 'late')");
{
	my $session = $node->background_psql('postgres');
	query("SELECT eventmkt.track('l1', 'Late')");
	my $held = q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'late' AND status = 'in_flight'};
	ok(wait_for_sql($node, $held, 1, 10), 'a request is under way');
	$session->query_safe("BEGIN; SELECT 'locked' FROM eventmkt_data.delivery WHERE rule = 'late' FOR UPDATE");
	sleep 3;	# its time is over, and its row cannot be written
	is(query($held), 1, 'its answer is not stored');
	jump(-5 * 86400);
	sleep 6;
	$session->query_safe('COMMIT');
	$sink->mode('/hang/late', 'ok');
	ok(wait_for_sql($node, $delivered->('late'), '1', 20), 'back by five days meanwhile: it is tried again all the same');
	$session->quit;
}

# ---- an answer that comes after the jump and before the worker has seen it says nothing of the times before
create_endpoint($node, 'cut', $sink, '/hang/cut', timeout => '3 s', schedule => '{1000,1000}');
query("SELECT eventmkt.create_rule('cut', on_event => 'Cut', send_to => 'cut')");
query("SELECT eventmkt.track('c1', 'Cut')");
ok(wait_for(sub { ($sink->stats->{paths}{'/hang/cut'}{requests} // 0) == 1 }, 15), 'a request that will not be answered');
sleep 2.6;
jump(-86400);
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'cut' AND status = 'retrying'", '1', 15), 'back by a day meanwhile');

# ---- back while no worker runs, and ids of a process that was idle meanwhile
fail_one(4);
create_endpoint($node, 'patient', $sink, '/status/503?k=5', schedule => '{600,600}');
query("SELECT eventmkt.create_rule('patient', on_event => 'Patient', send_to => 'patient')");
query("SELECT eventmkt.track('p1', 'Patient')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'patient' AND status = 'retrying'", '1', 15), 'a retry in ten minutes');
is(query('SELECT eventmkt.stop_worker()'), 'stopped', 'the workers are stopped');
create_endpoint($node, 'lane', $sink, '/ok/lane', ordered => 'true');
query("SELECT eventmkt.create_rule('lane', on_event => 'Lane', max_lateness => '30 days', send_to => 'lane')");
{
	my $session = $node->background_psql('postgres');
	my $put = sub { "SELECT eventmkt.track('p', 'Lane', '{\"n\": $_[0]}'); SELECT eventmkt.run_due()" };
	$session->query_safe($put->(1));
	jump(3600);
	query($put->(2));
	jump(-2 * 86400);
	$session->query_safe($put->(3));
	query($put->(4));
	is(query("SELECT string_agg(body::jsonb #>> '{data,event,properties,n}', ' ' ORDER BY id) FROM eventmkt_data.delivery WHERE rule = 'lane'"), '1 2 3 4',
		'back by two days: ids go on rising, in a process that was idle meanwhile too');
	$session->quit;
}
is(query('SELECT eventmkt.start_worker()'), 'running', 'a worker again');
keeps_pace('back by two days while no worker ran', 4);
ok(wait_for_sql($node, $delivered->('lane'), '4', 20), 'and what waited in its order is delivered');
is(query('SELECT eventmkt.stop_worker()'), 'stopped', 'the workers are stopped again');
is(query('SELECT eventmkt.start_worker()'), 'running', 'and come again');
new_work('two workers after it was set back');
is(tries(5), 1, 'a retry that is ten minutes away stays so, whoever begins');
is(query("SELECT next_attempt_at - eventmkt.clock() BETWEEN '7 minutes' AND '12 minutes' FROM eventmkt_data.delivery WHERE rule = 'patient'"), 't',
	'and no further away than ten minutes and the jitter');
is(query("SELECT next_attempt_at - eventmkt.clock() BETWEEN '10 minutes' AND '21 minutes' FROM eventmkt_data.delivery WHERE rule = 'cut'"), 't',
	'nor that of the answer between two jumps');
$pid = query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");

# ---- leases: what a killed worker had in flight before another jump is taken up by the next one
create_endpoint($node, 'slow', $sink, '/hang', timeout => '60 s', schedule => '{1,1,1}');
query("SELECT eventmkt.create_rule('slow', on_event => 'Slow', send_to => 'slow')");
query("SELECT count(eventmkt.track('s' || i, 'Slow')) FROM generate_series(1, 10) i");
ok(wait_for(sub { ($sink->stats->{paths}{'/hang'}{requests} // 0) >= 10 }, 20), 'ten are in flight');
jump(-3600);
sleep 6;	# a worker that lives when the clock is set back sees it within five seconds
$sink->mode('/hang', 'ok');
kill 'KILL', $pid;
ok(wait_for_sql($node, $delivered->('slow'), '10', 20), 'back again by an hour, and killed: they are sent again');
$sink->mode($_, 'ok') for qw(/status/503 /hang/cut);
query("UPDATE eventmkt_data.delivery SET next_attempt_at = eventmkt.clock() WHERE rule IN ('patient', 'cut')");
ok(wait_for_sql($node, $delivered->($_), '1', 20), "$_ is delivered, too") for qw(patient cut);
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule LIKE 'fails%' AND status = 'delivered'", '4', 60), 'what failed all the time is delivered as soon as it can be')
	or diag query("SELECT eventmkt.clock(), d.rule, d.status, d.attempts, d.created_at, d.next_attempt_at, d.last_error, to_jsonb(e) FROM eventmkt_data.delivery d LEFT JOIN eventmkt_data.endpoint_state e USING (endpoint_id) WHERE rule LIKE 'fails%'");

is(query("SELECT count(*) FROM eventmkt_data.pending_trigger"), 0, 'nothing waits');
my %seen;
my @twice = grep { $_->{status} == 200 && $_->{path} !~ /hang/ && $seen{ $_->{id} }++ } $sink->requests;
is(scalar(@twice), 0, 'nothing was delivered twice');
# receivers believe signatures of the last minutes only, and these were made days ahead
my $unsafe = join "\n", grep { !/^unverified/ } split /\n/, check_safety($node, $sink, drained => 1, require_verified => 0, max_duplicates => 10);
is($unsafe, '', 'safety rule');
is(violations($node), '', 'state machine');
note sprintf 'after a jump: new work sent within %.2f s; a run that a jump made due %.2f s after it', @worst{qw(now jump)};
# one row was locked by us
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle(?!.*55P03)/, 'nothing bad in the log');
$node->stop;
done_testing();
