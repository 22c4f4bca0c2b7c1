# A client beyond a bad network, which cannot know of some commits whether they happened and repeats them under the same message id:
# each event is there once, and leads to one message (R27)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk::Net links => 1;
use Emk;
use Emk::Sink;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $link = link_of(0);
my $n = sized(800, 20000);
# what a server should have whose clients may vanish: an open transaction of theirs keeps its message id to itself
my $node = new_node('commit', preload => 1, start => 0, conf => "listen_addresses = '" . $link->near . "'
idle_in_transaction_session_timeout = '2s'
tcp_user_timeout = '4s'
max_connections = 200
");
append_to_file($node->data_dir . '/pg_hba.conf', "host all all 10.77.0.0/16 trust\n");
$node->start;
my $sql = sub { $node->safe_psql('postgres', $_[0]) };
$sql->('SET client_min_messages = warning; CREATE EXTENSION eventmkt; SELECT FROM eventmkt.init()');
my $sink = start_sink(sync => 0, bodies => 0);
create_endpoint($node, 'net', $sink, '/ok');
$sql->("SELECT eventmkt.create_rule('net', on_event => 'Net', send_to => 'net')");

my $journal = PostgreSQL::Test::Utils::tempdir() . '/client';
my ($out, $err) = ('', '');
my $client = IPC::Run::start([ Emk::Sink::node_program(), "$FindBin::Bin/../lab/client.js", $link->far, $node->port, 'postgres',
	$sql->('SELECT current_user'), $n, 16, $journal ], '<', \undef, '>', \$out, '2>', \$err);
# bad and good by turns, until all was heard; good is a way of 2 ms, or a quick machine has told everything before the first fault
my @good = (delay => 2);
my @turns = ([ 0.3, @good ], [ 0.7, cut => 1 ], [ 0.4, @good ], [ 0.8, delay => 100, jitter => 80, reset => 0.05 ], [ 0.3, @good, reset => 0.3 ], [ 0.4, @good, loss => 0.3 ],
	[ 2, vanish => 1 ]);
my $cuts = 0;
my $end = time + sized(50, 1500);
while ($client->pumpable && time < $end)
{
	for my $turn (@turns)
	{
		my ($seconds, @fault) = @$turn;
		$link->fault(@fault);
		$cuts++ if "@fault" ne "@good";
		sleep $seconds;
		$client->pump_nb;
		last unless $client->pumpable;
	}
}
$link->mend;
ok($client->finish, 'the client was heard with everything') or diag $err;
my ($tries, $unknown) = split ' ', $out;
my %wire = $link->counts;
note "figure: $n messages in $tries tries over $cuts faults, $unknown answers never came; wire: ", join ' ', map { "$_ $wire{$_}" } sort keys %wire;
cmp_ok($unknown, '>', sized(20, 500), 'many commits were in doubt');
is($sql->("SELECT count(*) || ' ' || count(DISTINCT message_id) FROM eventmkt_data.event WHERE name = 'Net'"), "$n $n", 'each event is there, once');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", $n, sized(20, 600)), 'each led to a message');
is(check_safety($node, $sink, drained => 1, sends => 1, client => $journal), '', 'safety rule');
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle|was terminated by signal/, 'nothing bad in the log');
$node->stop('fast');
done_testing();
