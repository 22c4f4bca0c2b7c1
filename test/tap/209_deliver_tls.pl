# Trust over time: a kept connection ends after ten minutes, a bundle of authorities that changes counts at once, and nobody but a
# superuser touches what is verified (R25); HTTP/2 that only says goodbye (A27)
use strict;
use warnings;
use Fcntl;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use File::Copy;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $dir = PostgreSQL::Test::Utils::tempdir();
my %certs = make_certs($dir);
my $sink = start_sink(sync => 0, tls => $certs{good});
my $goodbye = $sink->listen(verb => 'h2-goaway', tls => { cert => $certs{good}[0], key => $certs{good}[1] });
copy($certs{ca}, "$dir/bundle");

# a server whose monotonic time can be moved ahead
my $ahead = 0;
my $move = sub {
	$ahead += $_[0];
	sysopen(my $f, "$dir/ahead", O_WRONLY | O_CREAT) or die "$dir/ahead: $!";
	syswrite $f, pack 'q', $ahead;
	close $f;
};
$move->(0);
my $said = qx(cc -std=c99 -O2 -Wall -Wextra -Werror -shared -fPIC -o '$dir/shift.so' '$FindBin::Bin/../lab/shift.c' 2>&1);
is($said, '', 'a clock to move');
my $node;
{
	local @ENV{qw(LD_PRELOAD EMK_SHIFT)} = (join(' ', grep { defined } $ENV{LD_PRELOAD}, "$dir/shift.so"), "$dir/ahead");
	$node = new_node('tls', preload => 1, conf => "eventmkt.allowed_networks = '127.0.0.0/8, ::1/128'\neventmkt.ca_file = '$dir/bundle'\n");
}
my $sql = sub { $node->safe_psql('postgres', $_[0]) };
my $port = $sink->port;

# Tracks an event and waits for what becomes of the first try; returns `delivered` or the error
sub try
{
	my ($event) = @_;
	my $id = $sql->("SELECT eventmkt.track('u', '$event')");
	wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE event_id = $id", 1, 20);
	return $sql->("SELECT coalesce(a.error, d.status) FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id
		WHERE event_id = $id AND attempt = 1");
}

for my $e ([ 'good', $port ], [ 'goodbye', $goodbye ])
{
	create_endpoint($node, $e->[0], $sink, "/ok/$e->[0]", url => "https://localhost:$e->[1]/ok/$e->[0]", schedule => '{600}', timeout => '3 s');
	$sql->("SELECT eventmkt.create_rule('$e->[0]', on_event => '\u$e->[0]', send_to => '$e->[0]')");
}

# ---- one message every 50 seconds: never idle for long enough to be given up for that
is(try('Good'), 'delivered', 'a certificate that is good');
my (%age, %first);
for my $i (0 .. 24)
{
	my ($last) = ($sink->requests)[-1];
	$first{ $last->{conn} } //= $ahead;
	$age{ $last->{conn} } = $ahead - $first{ $last->{conn} };
	$move->(50);
	is(try('Good'), 'delivered', "after $ahead s") if $i < 24;
}
my @ages = sort { $a <=> $b } values %age;
note 'ages of connections: ', join ' ', @ages;
cmp_ok($ages[-1], '<=', 600, 'none is used after ten minutes');
cmp_ok($ages[-1], '>=', 500, 'and one is used for about so long');

# ---- an authority is taken out of the bundle, whose name stays
is(try('Good'), 'delivered', 'with its authority');
copy("$dir/other.crt", "$dir/bundle");
sleep 1.5;
like(try('Good'), qr/certificate/i, 'not without');
copy($certs{ca}, "$dir/bundle");
sleep 1.5;
is(try('Good'), 'delivered', 'and with it again');
unlink "$dir/bundle";
sleep 1.5;
like(try('Good'), qr/certificate|CA|file/i, 'a bundle that is not there trusts nobody');
copy($certs{ca}, "$dir/bundle");
sleep 1.5;
is(try('Good'), 'delivered', 'until it is');

# ---- HTTP/2 that shakes hands and says nothing but GOAWAY
my $pid = $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");
my $error = try('Goodbye');
isnt($error, 'delivered', "a storm of GOAWAY is no answer: $error");
in_time($sql->("SELECT max(latency_us) FROM eventmkt_data.attempt") / 1e6, 4, 'and ends in time');
is($sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'"), $pid, 'the worker lived through it');

# ---- HTTP/2: a connection with a request open takes another beside it, but not once it is judged differently
my ($in, $out) = ('', '');
my $h2 = IPC::Run::start([ 'node', "$FindBin::Bin/lib/h2.js", @{ $certs{good} } ], '<', \$in, '>', \$out);
my $told = sub { my ($what) = @_; return wait_for(sub { $h2->pump_nb; $out =~ $what }, 20) };
ok($told->(qr/^port (\d+)/m), 'a receiver of HTTP/2');
my ($h2_port) = ($out =~ /^port (\d+)/m);
for my $path (qw(slow beside later chain))
{
	create_endpoint($node, $path, undef, "/$path", url => "https://localhost:$h2_port/$path", schedule => '{600}', timeout => '60 s');
	$sql->("SELECT eventmkt.create_rule('$path', on_event => '\u$path', send_to => '$path')");
}
$move->(3);	# two seconds after a change what was made since then may be used again
# never idle, the next request before the last one's answer: after ten minutes it is not used any more
my @used;
for my $k (0 .. 13)
{
	$move->(50) if $k > 0;
	$sql->("SELECT eventmkt.track('u', 'Chain')");
	$told->(qr{^(?:/chain \d+\n(?:(?!/chain).*\n)*){@{[ $k + 1 ]}}}m);
	@used = $out =~ m{^/chain (\d+)$}mg;
	wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'chain' AND status = 'delivered'", $k, 20);
}
is(scalar @used, 14, 'fourteen requests of a chain');
is($used[$_], $used[0], 50 * $_ . ' s old: used') for 1, 9;
isnt($used[12], $used[0], '600 s old: not used any more');
is($used[13], $used[12], 'but the one after it');
is(try('Beside'), 'delivered', 'the chain ends');
$sql->("SELECT eventmkt.track('u', 'Slow')");
ok($told->(qr{^/slow $used[13]$}m), 'a request is open');
is(try('Beside'), 'delivered', 'another one');
ok($told->(qr{^/slow $used[13]\n/beside $used[13]$}m), 'on the same connection');
$sql->("ALTER SYSTEM SET eventmkt.allowed_networks = '10.0.0.0/8'");
$sql->('SELECT pg_reload_conf()');
is(try('Good'), 'address not allowed', 'its network is closed');
$move->(3);
is(try('Later'), 'address not allowed', 'nothing is put beside a request that is still open');
ok(wait_for_sql($node, "SELECT status FROM eventmkt_data.delivery WHERE rule = 'slow'", 'delivered', 20), 'which ends well');
$h2->pump_nb;
unlike($out, qr{^/later}m, 'the receiver saw nothing else');
$h2->finish;

# ---- who may change what is verified
is($sql->("SELECT string_agg(name || ' ' || context, ', ' ORDER BY name) FROM pg_settings
	WHERE name ~ '^eventmkt[.]' AND (name ~ 'ca_|tls|ssl|cert|verif|insecure|http|network')"),
	'eventmkt.allow_plain_http superuser, eventmkt.allowed_networks superuser, eventmkt.ca_file superuser', 'the settings about it are a superuser\'s');
$sql->('CREATE ROLE op LOGIN; SELECT eventmkt.grant_access(\'op\', \'operator\')');
for my $what ("SET eventmkt.ca_file = ''", "SET eventmkt.allow_plain_http = on", "SET eventmkt.allowed_networks = '0.0.0.0/0'", "ALTER SYSTEM SET eventmkt.ca_file = ''",
	"ALTER ROLE op SET eventmkt.ca_file = ''", "ALTER DATABASE postgres SET eventmkt.ca_file = ''")
{
	my ($rc, $out, $err) = $node->psql('postgres', $what, extra_params => [ '-U', 'op' ], on_error_die => 0);
	like($err, qr/permission denied|must be (?:owner|superuser)/, "an operator: $what");
}
is($sql->("SELECT count(*) FROM pg_proc p, unnest(p.proargnames) a WHERE proname ~ '_endpoint\$' AND a ~ 'verif|insecure|tls|ssl|cert'"), 0,
	'an endpoint has no word in it');
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle|was terminated by signal/, 'nothing bad in the log');
$node->stop('fast');
done_testing();
