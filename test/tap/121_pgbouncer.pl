# The app behind pgbouncer in transaction mode: each transaction may meet another server connection, and nothing of a call may stay in one.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($program) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin', '/sbin', '/usr/local/sbin';
plan skip_all => 'pgbouncer is not installed' if !$program;

my $node = new_node('shop', preload => 1, dbname => 'shop');
my $sink = start_sink();
create_endpoint($node, 'mail', $sink, '/ok', dbname => 'shop');
$node->safe_psql('shop', <<'SQL');
CREATE ROLE app LOGIN;
SELECT eventmkt.grant_access('app', 'tracker');
SELECT eventmkt.create_rule('thanks', on_event => 'Order Completed');
SQL

# two server connections for four clients: transactions of one client wander between them
my $dir = PostgreSQL::Test::Utils::tempdir();
my $port = PostgreSQL::Test::Cluster::get_free_port();
append_to_file("$dir/users", qq("app" ""\n));
append_to_file("$dir/ini", join "\n", '[databases]', 'shop = host=' . $node->host . ' port=' . $node->port . ' dbname=shop', '[pgbouncer]', 'listen_addr = 127.0.0.1',
	"listen_port = $port", "unix_socket_dir = $dir", 'auth_type = trust', "auth_file = $dir/users", 'pool_mode = transaction', 'default_pool_size = 2',
	'ignore_startup_parameters = extra_float_digits,options', "logfile = $dir/log", "pidfile = $dir/pid", '');
my $bouncer = IPC::Run::start([ $program, "$dir/ini" ], '<', \undef, '>', "$dir/out", '2>', "$dir/err");
END { my $rc = $?; eval { $bouncer->kill_kill } if $bouncer; $? = $rc; }	# it outlives no test that dies: it holds the lock of the run
my $through = "host=127.0.0.1 port=$port dbname=shop user=app";

sub ask
{
	my ($sql, @more) = @_;
	my ($out, $err) = ('', '');
	local $ENV{PGOPTIONS};
	IPC::Run::run([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $through, @more ], '<', \$sql, '>', \$out, '2>', \$err);
	chomp $out;
	return $err ne '' ? $err : $out;
}

# first that it listens: psql that is refused can end before it has its input
ok(wait_for(sub { defined IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) && ask('SELECT 1') eq '1' }, 20), 'pgbouncer answers') or diag(slurp_file("$dir/log"));
like(ask(q{SELECT eventmkt.track('u1', 'Order Completed', '{"order_id": 1}')}), qr/^\d+$/, 'track()');
is(ask(q{SELECT eventmkt.track_many('[{"user_id": "u2", "event": "Order Completed"}, {"user_id": "u3", "event": "Order Completed"}]')}), '2', 'track_many()');
is(ask(q{SELECT eventmkt.identify('u4', '{"tier": "gold"}')}), 'u4', 'identify()');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE outcome = 'delivered'", '3', 30), 'three are delivered: a commit through the pool wakes the worker');

# SET LOCAL ends with its transaction, whoever has the server connection next
ask(q{BEGIN; SET LOCAL eventmkt.fire = off; SELECT eventmkt.track('quiet', 'Order Completed'); COMMIT; SELECT eventmkt.track('loud' || i, 'Order Completed') FROM generate_series(1, 4) i;});
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE profile_id LIKE 'loud%' AND outcome = 'delivered'", '4', 30), 'after SET LOCAL eventmkt.fire = off the next transactions fire');
is($node->safe_psql('shop', "SELECT count(*) FROM eventmkt_data.event e LEFT JOIN eventmkt_data.decision d ON d.profile_id = e.profile_id WHERE e.profile_id = 'quiet' AND d IS NULL"), '1',
	'and that one was history');
# a transaction that is rolled back leaves nothing, also not in the connection
ask(q{BEGIN; SELECT eventmkt.track('never', 'Order Completed'); ROLLBACK; SELECT eventmkt.track('then', 'Order Completed');});

# four clients at once, each with statements, prepared ones (in their transaction), COPY and rollbacks
my @clients;
for my $c (1 .. 4)
{
	my $sql = join '', map {
		"SELECT eventmkt.track('c$c-$_', 'Order Completed', '{\"n\": $_}', message_id => 'c$c-$_');\n" .
		"BEGIN; SELECT eventmkt.track('c$c-gone', 'Order Completed'); ROLLBACK;\n" .
		"BEGIN; PREPARE t(text) AS SELECT eventmkt.track(\$1, 'Order Completed'); EXECUTE t('p$c-$_'); DEALLOCATE t; COMMIT;\n" .
		"COPY eventmkt_data.inbox (user_id, event, properties) FROM STDIN;\n" . join('', map { "i$c-$_\tOrder Completed\t{}\n" } $_ * 10 .. $_ * 10 + 9) . "\\.\n" } 1 .. 20;
	my ($out, $err) = ('', '');
	push @clients, [ IPC::Run::start([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $through ], '<', \$sql, '>', \$out, '2>', \$err), \$err ];
}
for (@clients) { ok($_->[0]->finish, 'a client of four ended well') or diag(${ $_->[1] }); }
is($node->safe_psql('shop', "SELECT count(*) FILTER (WHERE profile_id LIKE 'c%') || ' ' || count(*) FILTER (WHERE profile_id LIKE 'p%') || ' ' || count(*) FILTER (WHERE profile_id LIKE 'i%-%')
	|| ' ' || count(*) FILTER (WHERE profile_id LIKE '%gone' OR profile_id = 'never') FROM eventmkt_data.event"), '80 80 800 0', 'each event of theirs once, none that was rolled back');
cmp_ok($node->safe_psql('shop', "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'"), '<=', 2, 'over two server connections');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE outcome = 'delivered'", 3 + 4 + 1 + 960, 60), 'each is delivered once');
# a change of rules and of secrets reaches connections of the pool
$node->safe_psql('shop', "SELECT eventmkt.disable_rule('thanks'); SELECT eventmkt.create_rule('again', on_event => 'Order Completed')");
ask("BEGIN; SELECT eventmkt.track('newer$_', 'Order Completed'); COMMIT;") for 1 .. 4;
ok(wait_for_sql($node, "SELECT string_agg(DISTINCT rule, ' ') || ' ' || count(*) FROM eventmkt_data.decision WHERE profile_id LIKE 'newer%' AND outcome = 'delivered'", 'again 4', 30),
	'a new rule counts at once in every connection of the pool');
is(violations($node), '', 'state machine');
$bouncer->kill_kill(grace => 2);
$node->stop;
done_testing();
