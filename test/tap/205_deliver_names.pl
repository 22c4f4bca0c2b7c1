# A name server that is silent, for some names or for all: those that wait for it end in time, are few at once, and keep
# neither the others nor the end of the worker waiting (R24; of R28 and R32 what says "with DNS dead")
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk::Names;
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

start_names();
my $sink = start_sink(sync => 0, host => '0.0.0.0');
my $node = new_node('names', preload => 1, dbname => 'shop', conf => "eventmkt.max_in_flight = 500\n");
my $sql = sub { $node->safe_psql('shop', $_[0]) };
my $url = sub { 'http://' . shift() . ':' . $sink->port . (shift // '/ok') };
my $worker = sub { $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") };
my $threads = sub { my ($t) = (slurp_file("/proc/$_[0]/status") =~ /Threads:\s+(\d+)/); $t };

# $n endpoints of a kind, in a zone
sub endpoints
{
	my ($kind, $n, $zone) = @_;
	spread_endpoints($node, $kind, [ map { $url->("$kind$_.$zone") } 1 .. $n ], timeout => '1500 ms', schedule => '{1,1,1,1,1,1,1,1,1,1}');
}

# How long a message to an endpoint nobody has talked to takes, in seconds
sub cold
{
	my ($name) = @_;
	endpoints($name, 1, 'good.test');
	my $start = time;
	$sql->("SELECT eventmkt.track('c', '$name', '{\"n\": 1}')");
	return 99 unless wait_for_sql($node, "SELECT status FROM eventmkt_data.delivery WHERE rule = '${name}1'", 'delivered', 60, 'shop');
	return time - $start;
}

sub tries
{
	my ($kind) = @_;
	return split /\|/, $sql->("SELECT count(*), coalesce(max(latency_us), 0), count(*) FILTER (WHERE error IS NULL), max(error)
		FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule LIKE '$kind%'");
}

# ---- the name server answers, well or oddly
endpoints('fine', 5, 'good.test');
my %odd = (many => 'many.good.test', ttl0 => 'ttl0.good.test', servfail => 'a.servfail.test', nothing => 'a.nowhere.test', loop => 'a.loop.test');
for my $name (sort keys %odd)
{
	create_endpoint($node, $name, $sink, '/ok', url => $url->($odd{$name}), timeout => '3 s', schedule => '{600}');
	$sql->("SELECT eventmkt.create_rule('$name', on_event => 'Odd', send_to => '$name')");
}
my $pid = $worker->();
$sql->("SELECT eventmkt.track('o', 'Odd')");
ok(wait_for_sql($node, "SELECT count(DISTINCT delivery_id) FROM eventmkt_data.attempt", 5, 20, 'shop'), 'each odd answer led to something');
is($sql->("SELECT string_agg(rule || ' ' || status, ', ' ORDER BY rule) FROM eventmkt_data.delivery"),
	'loop retrying, many delivered, nothing retrying, servfail retrying, ttl0 delivered', 'what came of it');
healthy_holds($node, 'fine', 5, 'first');
my $base = healthy_holds($node, 'fine', 5, 'alone');

# ---- a request on a connection that was kept asks for no name: that nobody answers it says nothing of names
for my $path ('/ok', '/hang')
{
	(my $name = "kept$path") =~ tr{/}{_};
	create_endpoint($node, $name, $sink, $path, url => $url->('kept.good.test', $path), timeout => '1 s', schedule => '{600}');
	$sql->("SELECT eventmkt.create_rule('$name', on_event => '$name', send_to => '$name')");
	$sql->("SELECT eventmkt.track('k', '$name')");
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id
		WHERE rule = '$name'", 1, 20), "$name was tried");
}
is($sql->("SELECT error FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule = 'kept_hang'"),
	'no answer in time', 'a kept connection that hangs is no name that is not found');

# ---- but one on a kept connection that turns out to be closed looks the name up again, when libcurl's minute is over
if (Emk::sized(0, 1))
{
	create_endpoint($node, 'fading', $sink, '/ok/fading', url => $url->('a.fading.test', '/ok/fading'), timeout => '2 s', schedule => '{600}');
	$sql->("SELECT eventmkt.create_rule('fading', on_event => 'Fading', send_to => 'fading')");
	my $tries = q{SELECT count(*) FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule = 'fading'};
	for my $n (1 .. 14)
	{
		$sql->("SELECT eventmkt.track('f', 'Fading')");
		ok(wait_for_sql($node, $tries, $n, 20), "kept for ${n} times five seconds");
		sleep 5;
	}
	$sink->mode('/ok/fading', 'reset-before-read');
	$sql->("SELECT eventmkt.track('f', 'Fading')");
	ok(wait_for_sql($node, $tries, 15, 20), 'tried on a connection that is none');
	is($sql->("SELECT string_agg(DISTINCT error, ', ') FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule = 'fading'"),
		'host name not resolved in time', 'and the name is what was not found');
}

# ---- forty names that are never answered, first tries and later ones; a cold healthy one beside them
endpoints('dead', 40, 'silent.test');
$sql->("SELECT count(eventmkt.track('d', 'dead', jsonb_build_object('n', i))) FROM generate_series(1, 40) i");
sleep 0.3;
in_time(cold('early'), 1.5, 'a cold healthy name goes beside forty first tries of dead ones');
healthy_holds($node, 'fine', 5, 'forty dead names', $base);
ok(wait_for(sub { (tries('dead'))[0] >= 40 }, 20), 'each dead name was tried');
in_time(cold('later'), 1.5, 'a cold healthy name goes beside forty dead ones that are tried again');
my ($n, $slowest, $good, $error) = tries('dead');
in_time($slowest / 1e6, 2.5, 'each try ended within timeout + 1 s');
is($good, 0, 'none found anybody');
like($error, qr/resolve/i, 'the reason names the look-up');

# ---- a thousand of them
endpoints('gone', 1000, 'silent.test');
$sql->("SELECT count(eventmkt.track('g', 'gone', jsonb_build_object('n', i))) FROM generate_series(1, 1000) i");
my $most = 0;
my $end = time + 3;
while (time < $end)
{
	my $t = $threads->($pid);
	$most = $t if $t > $most;
	sleep 0.02;
}
healthy_holds($node, 'fine', 5, 'a thousand dead names', $base);
my $t = $threads->($pid);
$most = $t if $t > $most;
note "threads: $most";
cmp_ok($most, '>', 16, 'names were looked up');
cmp_ok($most, '<=', lookup_threads(), 'in few threads');
ok(wait_for(sub { (tries('gone'))[0] >= 60 }, 30), 'dead names are tried one after the other');
in_time((tries('gone'))[1] / 1e6, 2.5, 'each try ended within timeout + 1 s');
is($worker->(), $pid, 'the worker lived through it');
is(violations($node, dbname => 'shop'), '', 'state machine');

# ---- the end of the worker, with look-ups under way
for my $what ('pg_terminate_backend()', 'stop_worker()', 'DROP DATABASE', 'fast shutdown')
{
	ok(wait_for(sub { my $p = $worker->(); $p ne '' && $threads->($p) > 5 }, 20), "$what: look-ups are open");
	$pid = $worker->();
	$node->safe_psql('postgres', 'CHECKPOINT');	# the server's own part of a DROP and of a shutdown
	my $start = time;
	$sql->("SELECT pg_terminate_backend($pid, 5000)") if $what eq 'pg_terminate_backend()';
	$sql->('SELECT eventmkt.stop_worker()') if $what eq 'stop_worker()';
	$node->safe_psql('postgres', 'DROP DATABASE shop WITH (FORCE)') if $what eq 'DROP DATABASE';
	$node->stop('fast') if $what eq 'fast shutdown';
	# a DROP removes some thousand files, which a busy disk may take a second or two for
	in_time(time - $start, $what eq 'DROP DATABASE' ? 4 : 2, "$what: in time");
	ok(wait_for(sub { !-e "/proc/$pid" }, 1), "$what: the worker has ended");
	$sql->('SELECT eventmkt.start_worker()') if $what eq 'stop_worker()';
	if ($what eq 'DROP DATABASE')
	{
		$node->safe_psql('postgres', 'CREATE DATABASE shop');
		$sql->('SET client_min_messages = error; CREATE EXTENSION eventmkt; SELECT eventmkt.init()');
		endpoints('dead', 40, 'silent.test');
		$sql->("SELECT count(eventmkt.track('d', 'dead', jsonb_build_object('n', i))) FROM generate_series(1, 40) i");
	}
}
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle|was terminated by signal/, 'nothing bad in the log');
done_testing();
