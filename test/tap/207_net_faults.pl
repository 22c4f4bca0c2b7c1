# Eight kinds of bad network, each on a link of its own: nothing is lost, few messages arrive twice and those under their id, the
# worker lives, and soon after a fault the rate is what it was (R21). All at once and short; nightly for ten minutes at 500 a second
# each, two or three at a time (EMK_NET="rate seconds-before seconds-of-fault" for other sizes, EMK_NET_GROUPS="a bc" for some of them).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk::Net links => 8;
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my ($rate, $before, $during) = split ' ', $ENV{EMK_NET} // sized('25 2 8', '500 60 600');
my $after = 10;
my %profile = (
	a => { what => '20 % of packets lost', fault => { loss => 0.2 } },
	b => { what => 'half of SYN lost', fault => { syn => 0.5 }, path => '/ok/b?header=Connection:close' },
	c => { what => 'RST on 2 % of requests', fault => { reset => 0.02 }, path => '/ok/c?header=Connection:close' },
	d => { what => '100 ± 50 ms, reordered, 2 % twice', fault => { delay => 100, jitter => 50, dup => 0.02 } },
	e => { what => '64 kbit/s', fault => { rate => 64000 }, timeout => '10 s' },
	f => { what => 'link down', fault => { down => 1 }, during => $during < 60 ? $during : 60 },
	g => { what => 'the host vanishes after accept', fault => { vanish => 1 }, during => $during < 60 ? $during : 60 },
	h => { what => 'RST after the request was read', mode => 'flaky?preset=0.1&seed=3&header=Connection:close', path => '/ok/h?header=Connection:close', double => 1 });
my @all = sort keys %profile;
my $node = new_node('net', preload => 1, extension => 0, conf => "eventmkt.allowed_networks = '10.77.0.0/16'\n");
my $db;
my $sql = sub { $node->safe_psql($db, $_[0]) };
my $worker = sub { $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker' AND datname = current_database()") };

# Some profiles in a database of their own, from clean to clean
sub run_profiles
{
	my @keys = @_;
	my $sink = start_sink(sync => 0, bodies => 0, host => '0.0.0.0');
	my $held = 0;

	$db = 'net_' . join '', @keys;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$sql->('SET client_min_messages = warning; CREATE EXTENSION eventmkt; SELECT FROM eventmkt.init()');
	for my $i (0 .. $#keys)
	{
		my $p = $profile{ $keys[$i] };
		$p->{link} = link_of(ord($keys[$i]) - ord 'a');
		$p->{path} //= "/ok/$keys[$i]";
		create_endpoint($node, $keys[$i], $sink, $p->{path}, dbname => $db, url => 'http://' . $p->{link}->far . ':' . $sink->port . $p->{path},
			timeout => $p->{timeout} // sized('2 s', '10 s'), schedule => '{' . join(',', (1) x 40) . '}');
		$sql->("SELECT eventmkt.create_rule('$keys[$i]', on_event => 'Net', send_to => '$keys[$i]')");
		$held = $p->{during} // $during if ($p->{during} // $during) > $held;
	}
	ok(wait_for(sub { $worker->() ne '' }, 20), 'a worker');
	my $pid = $worker->();
	my $seconds = $before + $held + $after;
	my $n = $rate * $seconds;
	# as many as are due at that time, every 20 ms
	my $load = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr($db), '-v', 'ON_ERROR_STOP=1', '-c',
		"DO \$\$ DECLARE start timestamptz := clock_timestamp(); i int := 0; BEGIN WHILE i < $n LOOP
			WHILE i < least($n, 1 + $rate * extract(epoch FROM clock_timestamp() - start)) LOOP
				i := i + 1; PERFORM eventmkt.track('u' || i, 'Net', message_id => 'm' || i);
			END LOOP; COMMIT; PERFORM pg_sleep(0.02); END LOOP; END \$\$" ]);
	sleep $before;
	for my $p (@profile{@keys})
	{
		$p->{link}->fault(%{ $p->{fault} }) if $p->{fault};
		$sink->mode($p->{path} =~ s/\?.*//r, $p->{mode}) if $p->{mode};
	}
	sleep $held;
	for my $p (@profile{@keys})
	{
		$p->{link}->mend;
		$sink->mode($p->{path} =~ s/\?.*//r, undef) if $p->{mode};
	}
	my $ended = $sql->('SELECT clock_timestamp()');
	ok($load->finish, 'the client was never refused');
	my $done = wait_for_sql($node, 'SELECT count(*) FROM eventmkt_data.delivery WHERE status = \'delivered\'', $n * @keys, sized(40, 600), $db);
	ok($done, 'all is delivered') or diag $sql->("SELECT rule, status, count(*), max(attempts), min(next_attempt_at), max(last_error) FROM eventmkt_data.delivery
		GROUP BY 1, 2 ORDER BY 1, 2");
	is($worker->(), $pid, 'by the same worker');

	my %good;
	open my $journal, '<', $sink->{journal} or die "$sink->{journal}: $!";
	while (<$journal>)
	{
		$good{$2}{$1}++ if /"kind":"request"/ && /"complete":true/ && /"status":200\b/ && /"id":"([^"]+)".*"path":"([^"?]+)/;
	}
	close $journal;
	my $twice = 0;
	for my $key (@keys)
	{
		my $p = $profile{$key};
		my $ids = $good{ $p->{path} =~ s/\?.*//r };
		my $double = 0;
		$double += $_ - 1 for values %$ids;
		$twice += $double;
		# within how many seconds a window of two begins that is at least nine tenths of the rate
		my $recovered = $sql->("SELECT min(k) FROM generate_series(0, 30, 0.25) k WHERE (SELECT count(*) FROM eventmkt_data.delivery WHERE rule = '$key'
			AND settled_at >= '$ended'::timestamptz + k * interval '1 s' AND settled_at < '$ended'::timestamptz + (k + 2) * interval '1 s') >= 1.8 * $rate");
		my $slowest = $sql->("SELECT round(max(extract(epoch FROM settled_at - created_at)), 1) FROM eventmkt_data.delivery WHERE rule = '$key'");
		my $tries = $sql->("SELECT count(*) FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule = '$key' AND a.error IS NOT NULL");
		my %wire = $p->{link}->counts;
		is(scalar keys %$ids, $n, "$key: $p->{what}: each id arrived");
		# beside other work more is under way when a link goes
		cmp_ok($double, '<=', $p->{double} ? $n : $n / 100 * slow() * (1 + 4 * Emk::pressure()), "$key: few arrived twice");
		in_time($recovered eq '' ? 99 : $recovered, 10, "$key: the rate is back");
		cmp_ok($wire{lost} + $wire{reset} + $wire{twice} + $tries, '>', 0, "$key: there was a fault");
		note "figure: $key: $p->{what}: $n messages, $double twice, $tries tries without an answer, back after $recovered s, slowest $slowest s; wire: ",
			join ' ', map { "$_ $wire{$_}" } sort keys %wire;
	}
	is(check_safety($node, $sink, dbname => $db, drained => 1, sends => scalar @keys, max_duplicates => $twice,
		client => [ map { { message_id => "m$_", result => 'ok' } } 1 .. $n ]), '', 'safety rule');
	is(violations($node, dbname => $db), '', 'state machine');
	$sink->stop;
	$node->safe_psql('postgres', "DROP DATABASE $db WITH (FORCE)");
}

run_profiles(split //) for split ' ', $ENV{EMK_NET_GROUPS} // sized(join('', @all), 'a bd ce fg h');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle|was terminated by signal/, 'nothing bad in the log');
done_testing();
