# R45: with wal_consistency_checking = all every page that the standby replays is compared with the image that the primary wrote beside it: a page that
# was changed without its WAL record, or otherwise than it says, stops the standby.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../tap/lib";
use Emk;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('primary', preload => 1, dbname => 'shop', init_args => { allows_streaming => 1 }, conf => "wal_consistency_checking = 'all'\n");
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my $sink = start_sink();

$node->safe_psql('shop', 'SELECT eventmkt.stop_worker()');
$node->command_ok([ 'psql', '-Xq', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-v', 'segments=1', '-v', 'live=1', '-v', 'goals=1', '-d', $node->connstr('shop'), '-f', "$FindBin::Bin/../upgrade/fill.sql" ],
	'a shop is filled');
my $url = $sink->url('/ok');
$node->safe_psql('shop', "UPDATE eventmkt_data.endpoint SET url = '$url'; SELECT eventmkt.set_secret('mail'); SELECT eventmkt.keep_rollups('product_id', 'amount')");
$node->safe_psql('shop', 'SELECT eventmkt.start_worker()');
my @many = map { "SELECT eventmkt.track('w' || i % 200, 'Order Completed', jsonb_build_object('order_id', i, 'n', $_), message_id => 'w$_-' || i) FROM generate_series(1, 300) i" } 1 .. 10;
$node->safe_psql('shop', $_) for @many;
my ($out, $err) = ('', '');
my $rows = join '', map { "i$_\tProduct Added\t{\"amount\": 70, \"cart_id\": $_}\n" } 1 .. 3000;
IPC::Run::run([ 'psql', '-Xq', '-d', $node->connstr('shop'), '-c', 'COPY eventmkt_data.inbox (user_id, event, properties) FROM STDIN' ], '<', \$rows, '>', \$out, '2>', \$err);
is($err, '', 'the inbox took 3,000');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE outcome = 'delivered' AND rule = 'thanks'", '3022', 300, 'shop'), '3,022 are delivered')
	or diag($node->safe_psql('shop', 'SELECT rule, outcome, count(*) FROM eventmkt_data.decision GROUP BY 1, 2'));
$node->safe_psql('shop', $_) for "SELECT eventmkt.advance_clock('25 hours')", "SELECT eventmkt.erase('u5')", 'VACUUM', "SELECT eventmkt.change_setting('retention', '30 days')", 'SELECT eventmkt.maintain()';
ok(wait_for_sql($node, 'SELECT count(*) FROM eventmkt_data.pending_trigger', '0', 300, 'shop'), 'carts too');
$node->wait_for_catchup($standby);
is($standby->safe_psql('shop', 'SELECT count(*) FROM eventmkt_data.delivery'), $node->safe_psql('shop', 'SELECT count(*) FROM eventmkt_data.delivery'), 'the standby has it all');
unlike(slurp_file($standby->logfile), qr/inconsistent page|FATAL|PANIC/, 'and found no page that differs');
cmp_ok($node->safe_psql('shop', "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') / 1048576"), '>', 20, 'with images of all pages');
note('figure: ' . $node->safe_psql('shop', "SELECT round(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') / 1048576)") . ' MB of WAL compared');
$standby->stop;
$node->stop;
done_testing();
