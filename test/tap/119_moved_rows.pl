# What others do to the rows of deliveries while their requests are open: the table is rewritten and shrinks, a row is locked by a
# session that does not end, a deferred trigger refuses at commit, a trigger suppresses changes. Every answer is stored, none is sent
# twice, what cannot be stored is not sent, and no other waits.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $db = 'postgres';
my $node = new_node('moved', preload => 1);
my $sink = start_sink(sync => 0);
my $sql = sub { $node->safe_psql($db, @_) };
my $worker = sub { $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") };
my $delivered = sub { "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered' AND profile_id LIKE '$_[0]%'" };

ok(wait_for(sub { $worker->() }, 15), 'a worker runs');
create_endpoint($node, 'shop', $sink, '/ok/shop', max_in_flight => 64);
create_endpoint($node, 'slow', $sink, '/delay/3000', max_in_flight => 64, timeout => '30 s');
create_endpoint($node, 'slower', $sink, '/delay/8000', max_in_flight => 64, timeout => '30 s');
$sql->("SELECT eventmkt.create_rule('now', on_event => 'Now', send_to => 'shop'), eventmkt.create_rule('slower', on_event => 'Slower', send_to => 'slower'), eventmkt.create_rule('slow', on_event => 'Slow', send_to => 'slow')");
my $pid = $worker->();

# 1. what is known of where a row lies lies beyond the end of the table
$sql->("SELECT count(eventmkt.track('fill' || i, 'Now')) FROM generate_series(1, 600) i");
ok(wait_for_sql($node, $delivered->('fill'), 600, 20), 'the table has pages');
$sql->("SELECT count(eventmkt.track('slow' || i, 'Slow')) FROM generate_series(1, 20) i");
ok(wait_for(sub { ($sink->stats->{paths}{'/delay/3000'}{requests} // 0) >= 20 }, 10), 'requests are open');
$sql->("DELETE FROM eventmkt_data.delivery WHERE status = 'delivered'");
$sql->('VACUUM FULL eventmkt_data.delivery');
is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'in_flight'"), 20, 'the rows moved while requests were open');
$sql->("SELECT count(eventmkt.track('more' || i, 'Now')) FROM generate_series(1, 20) i");
ok(wait_for_sql($node, $delivered->('more'), 20, 15), 'others go on');
ok(wait_for_sql($node, $delivered->('slow'), 20, 15), 'the answers are stored')
	or diag $sql->('SELECT * FROM eventmkt.health()');

# 2. one row is locked by a session that does not end
my $holder = $node->background_psql($db);
$sql->("SELECT count(eventmkt.track('held' || i, 'Slower')) FROM generate_series(1, 20) i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'in_flight'", 20, 10), 'requests are open again');
$holder->query_safe("BEGIN; SELECT 1 FROM eventmkt_data.delivery WHERE profile_id = 'held7' FOR UPDATE");
ok(wait_for_sql($node, $delivered->('held'), 19, 30), 'the others are stored while one row is locked');
$sql->("SELECT count(eventmkt.track('free' || i, 'Now')) FROM generate_series(1, 20) i");
ok(wait_for_sql($node, $delivered->('free'), 20, 10), 'and new ones go out');
$holder->query_safe('COMMIT');
$holder->quit;
ok(wait_for_sql($node, $delivered->('held'), 20, 70), 'then that one too');

# 3. a trigger of somebody else raises when the transaction ends: it names a table that is gone
$sql->(q{CREATE FUNCTION public.fault() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	IF NEW.profile_id = 'late7' THEN INSERT INTO public.books_that_are_gone VALUES (1); END IF; RETURN NULL; END$$;
	CREATE CONSTRAINT TRIGGER fault AFTER UPDATE ON eventmkt_data.delivery DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW WHEN (NEW.status = 'delivered') EXECUTE FUNCTION public.fault()});
$sql->("SELECT count(eventmkt.track('late' || i, 'Now')) FROM generate_series(1, 20) i");
ok(wait_for_sql($node, $delivered->('late'), 19, 15), 'a deferred trigger stops only its row');
$sql->('DROP FUNCTION public.fault() CASCADE');
ok(wait_for_sql($node, $delivered->('late'), 20, 70), 'which is stored when it is gone');

# 4. a trigger of somebody else suppresses the claim of a row, and the birth of one
my $requests = sub { $sink->stats->{paths}{'/ok/shop'}{requests} // 0 };
my $before = $requests->();
$sql->(q{CREATE FUNCTION public.mute() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER claim BEFORE UPDATE ON eventmkt_data.delivery FOR EACH ROW WHEN (NEW.status = 'in_flight' AND NEW.profile_id = 'mute7')
	EXECUTE FUNCTION public.mute();
	CREATE TRIGGER birth BEFORE INSERT ON eventmkt_data.delivery FOR EACH ROW WHEN (NEW.profile_id = 'none7') EXECUTE FUNCTION public.mute();
	SELECT eventmkt.disable_endpoint('shop')});
$sql->("SELECT count(eventmkt.track('mute' || i, 'Now')) FROM generate_series(1, 20) i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'queued'", 20, 15), 'all wait');
$sql->("SELECT eventmkt.enable_endpoint('shop')");
ok(wait_for_sql($node, $delivered->('mute'), 19, 15), 'the others are delivered');
$sql->("SELECT count(eventmkt.track('none' || i, 'Now')) FROM generate_series(1, 20) i");
ok(wait_for_sql($node, $delivered->('none'), 19, 15), 'and those that are born in flight');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE profile_id = 'none7'", 1, 15), 'the one that could not be has a decision');
is($requests->() - $before, 38, 'what is not stored is not sent');
$sql->('DROP FUNCTION public.mute() CASCADE');
ok(wait_for_sql($node, $delivered->('mute'), 20, 70), 'what could not be claimed goes when it can');

# 5. … and the settling of one: it stays in its slot, and is stored when that can be
$before = $requests->();
$sql->(q{CREATE FUNCTION public.mute() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER settle BEFORE UPDATE ON eventmkt_data.delivery FOR EACH ROW WHEN (NEW.status = 'delivered' AND NEW.profile_id = 'stuck7')
	EXECUTE FUNCTION public.mute()});
$sql->("SELECT count(eventmkt.track('stuck' || i, 'Now')) FROM generate_series(1, 20) i");
ok(wait_for_sql($node, $delivered->('stuck'), 19, 15), 'the others are settled');
is($sql->("SELECT status FROM eventmkt_data.delivery WHERE profile_id = 'stuck7'"), 'in_flight', 'one cannot be');
is($sql->("SELECT count(*) FROM eventmkt_data.lease l JOIN eventmkt_data.delivery d ON d.id = ANY (l.ids) AND d.lease = l.lease WHERE d.profile_id = 'stuck7'"), 1,
	'it is known who has it');
$sql->('DROP FUNCTION public.mute() CASCADE');
ok(wait_for_sql($node, $delivered->('stuck'), 20, 70), 'it is settled when it can be');
is($requests->() - $before, 20, 'and was sent once');

is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE attempts <> 1"), 0, 'none was tried twice');
is($worker->(), $pid, 'by the same worker');
$node->stop;
done_testing();
