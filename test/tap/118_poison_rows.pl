# A trigger of somebody else that raises on single rows of attempt, decision or delivery: these rows wait, visibly, and the others go on
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $db = 'postgres';
my $node = new_node('poison', preload => 1);
my $sink = start_sink(sync => 0);
my $sql = sub { $node->safe_psql($db, @_) };
my $count = sub { "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered' AND profile_id LIKE '$_[0]%'" };
my $worker = sub { $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") };

ok(wait_for(sub { $worker->() }, 15), 'a worker runs');
create_endpoint($node, 'shop', $sink, '/ok/shop', max_in_flight => 8);
$sql->("SELECT eventmkt.create_rule('now', on_event => 'Now', send_to => 'shop')");
my $pid = $worker->();

# no trigger may stop the others: not while settling (delivery, attempt, decision), not while claiming
$sql->(q{CREATE FUNCTION public.fault() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE who text := CASE TG_TABLE_NAME WHEN 'attempt' THEN (SELECT profile_id FROM eventmkt_data.delivery WHERE id = (to_jsonb(NEW) ->> 'delivery_id')::uuid)
		ELSE to_jsonb(NEW) ->> 'profile_id' END;
	BEGIN
		IF who LIKE TG_ARGV[0] THEN RAISE EXCEPTION 'refused by the books'; END IF;
		RETURN NEW;
	END$$;
	CREATE TRIGGER fault BEFORE INSERT ON eventmkt_data.attempt FOR EACH ROW EXECUTE FUNCTION public.fault('attempt%');
	CREATE TRIGGER fault BEFORE INSERT ON eventmkt_data.decision FOR EACH ROW EXECUTE FUNCTION public.fault('decision%');
	CREATE TRIGGER settle BEFORE UPDATE ON eventmkt_data.delivery FOR EACH ROW WHEN (NEW.status = 'delivered') EXECUTE FUNCTION public.fault('delivery%');
	CREATE TRIGGER claim BEFORE UPDATE ON eventmkt_data.delivery FOR EACH ROW WHEN (NEW.status = 'in_flight') EXECUTE FUNCTION public.fault('claim%')});
my @bad = map { my $kind = $_; map { "$kind$_" } 1 .. 4 } qw(attempt decision delivery);

for my $part (1, 2)
{
	# the second part lies in the queue first, and has rows that cannot be claimed
	$sql->("SELECT eventmkt.disable_endpoint('shop')") if $part == 2;
	$sql->("SELECT eventmkt.track('good$part' || i, 'Now') FROM generate_series(1, 60) i");
	$sql->("SELECT eventmkt.track(u || '-$part', 'Now') FROM unnest('{" . join(',', @bad, $part == 2 ? ('claim1', 'claim2') : ()) . "}'::text[]) u");
	$sql->("SELECT eventmkt.track('late$part' || i, 'Now') FROM generate_series(1, 60) i");
	if ($part == 2)
	{
		ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'queued'", 134, 15), 'all are queued');
		$sql->("SELECT eventmkt.enable_endpoint('shop')");
	}
	ok(wait_for_sql($node, $count->("good$part"), 60, 20), "part $part: the others are delivered");
	ok(wait_for_sql($node, $count->("late$part"), 60, 20), "part $part: and those that came later");
}
is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered' AND profile_id !~ '^(good|late)'"), 0, 'what is refused is not stored by halves');
is($sql->("SELECT count(*) FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE d.profile_id !~ '^(good|late)'"), 0, 'nor are its tries');
ok(wait_for(sub { $sql->("SELECT state || ' ' || detail FROM eventmkt.health() WHERE \"check\" = 'settling'") =~ /^error deliveries that cannot be stored: \d+: refused by the books$/ }, 15), 'health() says so')
	or diag $sql->('SELECT * FROM eventmkt.health()');
is($worker->(), $pid, 'the worker is the same');

# the obstacle goes: all that waited is stored, and nothing was sent twice
$sql->('DROP FUNCTION public.fault() CASCADE');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status <> 'delivered' OR attempts <> 1", 0, 90), 'then all end, each with one try')
	or diag $sql->("SELECT profile_id, status, attempts, last_error FROM eventmkt_data.delivery WHERE status <> 'delivered' OR attempts <> 1");
is($sql->("SELECT count(*) || ' ' || count(DISTINCT delivery_id) FROM eventmkt_data.decision WHERE outcome = 'delivered'"), '266 266', 'and one decision');
is($sink->stats->{paths}{'/ok/shop'}{requests}, 266, 'each was sent once');
ok(wait_for(sub { $sql->("SELECT count(*) FROM eventmkt.health() WHERE \"check\" = 'settling'") eq '0' }, 150), 'health() is quiet again');

# what a worker changes is counted, or autovacuum would never come
ok(wait_for_sql($node, "SELECT n_tup_upd >= 266 FROM pg_stat_user_tables WHERE relid = 'eventmkt_data.delivery'::regclass", 't', 15), 'the statistics know of it');

# gates that raise an error hold a message, and the log says so without a word of whose it is
# (a new worker has said nothing yet)
$sql->("SELECT eventmkt.stop_worker()");
$sql->("SELECT eventmkt.start_worker()");
create_endpoint($node, 'again', $sink, '/fail-first/1', schedule => '{2,2}');
$sql->("SELECT eventmkt.create_rule('gate', on_event => 'Gate', where_profile => '!(\$.secret_trait == 1)', send_to => 'again')");
$sql->("SELECT eventmkt.identify('gated', '{\"secret_trait\": 2}'); SELECT eventmkt.track('gated', 'Gate')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE profile_id = 'gated' AND attempts = 1 AND status = 'retrying'", 1, 20), 'a message waits for its second try');
# (counted by a sequence, which no rollback sets back)
$sql->(<<'SQL');
CREATE SEQUENCE public.asked;
CREATE FUNCTION public.refuse() RETURNS bool LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN PERFORM nextval('public.asked'); RAISE 'no' USING ERRCODE = 'XY001'; END $$;
BEGIN;
ALTER TABLE eventmkt_data.profile RENAME TO profile_away;
CREATE VIEW eventmkt_data.profile AS SELECT * FROM eventmkt_data.profile_away WHERE public.refuse();
ALTER VIEW eventmkt_data.profile OWNER TO eventmkt;
COMMIT;
SQL
ok(wait_for_sql($node, "SELECT last_error FROM eventmkt_data.delivery WHERE profile_id = 'gated'", 'gate_error', 30), 'it is held: its gates raise an error');
is($sql->('SELECT last_value FROM public.asked'), 1, 'they were asked once');
$sql->('DROP VIEW eventmkt_data.profile; ALTER TABLE eventmkt_data.profile_away RENAME TO profile');
$sql->("UPDATE eventmkt_data.delivery SET next_attempt_at = eventmkt.clock() WHERE profile_id = 'gated'");	# else after five minutes
ok(wait_for_sql($node, $count->('gated'), 1, 60), 'and goes when they can be asked');
my $log = slurp_file($node->logfile);
like($log, qr/LOG:  eventmkt could not ask whether a message is still wanted \(SQLSTATE XY001\)/, 'the log says so');
unlike($log, qr/gated|secret_trait/, 'of nobody');

$node->stop;
done_testing();
