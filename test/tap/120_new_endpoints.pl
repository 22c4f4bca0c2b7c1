# Hundreds of endpoints come into being while the worker cannot settle: its next look at them stays within its memory
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = new_node('endpoints', preload => 1);
my $sink = start_sink(sync => 0);
my $sql = sub { $node->safe_psql($db, @_) };
my $worker = sub { $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") };

ok(wait_for(sub { $worker->() }, 15), 'a worker runs');
create_endpoint($node, 'shop', $sink, '/ok/shop');
$sql->("SELECT eventmkt.create_rule('now', on_event => 'Now', send_to => 'shop')");
my $pid = $worker->();
$sql->(q{CREATE FUNCTION public.fault() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END$$;
	CREATE TRIGGER fault BEFORE INSERT ON eventmkt_data.attempt FOR EACH ROW EXECUTE FUNCTION public.fault()});
$sql->("SELECT eventmkt.track('u', 'Now')");
ok(wait_for(sub { ($sink->stats->{paths}{'/ok/shop'}{requests} // 0) > 0 }, 10), 'an answer cannot be stored');
$sql->("SET eventmkt.allow_plain_http = on; SET eventmkt.allowed_networks = '127.0.0.0/8';
	SELECT count(eventmkt.create_endpoint('new' || i, 'http://127.0.0.1:9999/' || i)) FROM generate_series(1, 500) i");
sleep 5;						# longer than it waits after an error by then
is($worker->(), $pid, 'the worker lives');
$sql->('DROP FUNCTION public.fault() CASCADE');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", 1, 30), 'and stores it when it can');
is($worker->(), $pid, 'the same one');
$node->stop;
done_testing();
