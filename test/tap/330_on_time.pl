# What a worker does by itself and in time: a run is decided within a second of falling due though nothing polled for it; a free
# endpoint gets its message at birth; what commits during retries stops the message (S1); a poison event or run stops no other
# (A34); a circle ends (S17); several workers share runs; a driver binds text.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = new_node('on_time', preload => 1);
my $sink = start_sink(sync => 0);
sub sql { return $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") }
my $worker = q{pg_stat_activity WHERE backend_type = 'eventmkt worker'};
ok(wait_for_sql($node, "SELECT count(*) FROM $worker", 1, 20), 'a worker runs');
create_endpoint($node, 'hook', $sink, '/ok/hook');

# ---- due → request, with no statement in between: the worker sleeps to the due time
sql(q{SELECT eventmkt.create_rule('soon', on_event => 'Begun', unless => '{Ended}', after => '3 seconds', send_to => 'hook')});
my $slept = 0;
for my $i (1 .. 5)
{
	sql("SELECT eventmkt.track('s$i', 'Begun'), eventmkt.track('e$i', 'Begun'), eventmkt.track('e$i', 'Ended')");
	wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.pending_trigger WHERE profile_id = 's$i'", 1, 3);
	sleep 0.5;
	my $before = sql("SELECT state || ' ' || state_change FROM $worker");
	sleep 1.2;
	my $after = sql("SELECT state || ' ' || state_change FROM $worker");
	$slept++ if $before eq $after && $before =~ /^idle /;
	wait_for_sql($node, "SELECT status FROM eventmkt_data.delivery WHERE profile_id = 's$i'", 'delivered', 10);
}
cmp_ok($slept, '>=', 4, "nothing was asked while the runs waited ($slept of 5)");
is(sql(q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'soon' AND due_at = started_at + interval '3 seconds'}), 5, 'due to the microsecond');
my $late = sql(q{SELECT round(1000 * max(extract(epoch FROM a.started_at - d.due_at))) FROM eventmkt_data.delivery d
	JOIN eventmkt_data.attempt a ON a.delivery_id = d.id WHERE d.rule = 'soon'});
in_time($late / 1000, 1, 'due to request');
is(sql(q{SELECT count(*) FROM eventmkt_data.decision WHERE rule = 'soon' AND outcome = 'cancelled'}), 5, 'those that ended are not sent');

# ---- at birth: a free endpoint's message is claimed in the transaction that decides it
sql(q{SELECT eventmkt.create_rule('now', on_event => 'Now', send_to => 'hook')});
for my $i (1 .. 20) { sql("SELECT eventmkt.track('n$i', 'Now')"); sleep 0.05; }
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'now' AND status = 'delivered'}, 20, 10), 'immediate messages');
cmp_ok(sql(q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'now' AND first_sent_at = created_at}), '>=', 18, 'are born in flight');
is(sql(q{SELECT count(*) FROM eventmkt_data.delivery WHERE attempts <> 1}), 0, 'and tried once');

# ---- a poison event, and a poison run: what cannot be stored is set aside with its error, and the others go on
sql(q{CREATE FUNCTION public.poison() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
		IF NEW.profile_id = TG_ARGV[0] THEN RAISE EXCEPTION 'poison of %', TG_TABLE_NAME USING ERRCODE = 'XX001'; END IF; RETURN NEW; END$$;
	CREATE TRIGGER poison BEFORE INSERT ON eventmkt_data.pending_trigger FOR EACH ROW EXECUTE FUNCTION public.poison('p10');
	CREATE TRIGGER poison BEFORE INSERT ON eventmkt_data.delivery FOR EACH ROW EXECUTE FUNCTION public.poison('p20');
	SELECT eventmkt.create_rule('later', on_event => 'Poisoned', after => '2 seconds', send_to => 'hook')});
sql(q{SELECT eventmkt.track('p' || i, 'Poisoned') FROM generate_series(1, 40) i});
my $start = time;
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.pending_trigger WHERE rule_id = (SELECT max(rule_id) FROM eventmkt_data.rule)}, 39, 5),
	'a poison event stops no other');
in_time(time - $start, 2.5, 'nor for long');
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'later' AND status = 'delivered'}, 38, 15), 'nor does a poison run');
in_time(sql(q{SELECT max(extract(epoch FROM settled_at - due_at)) FROM eventmkt_data.delivery WHERE rule = 'later'}), 3, 'nor for long');
is(sql(q{SELECT profile_id || ' ' || outcome || ' ' || reason || ' ' || (facts ->> 'error') FROM eventmkt_data.decision WHERE rule = 'later' AND profile_id = 'p10'}),
	'p10 suppressed error poison of pending_trigger', 'the event has a decision that says why');
is(sql(q{SELECT outcome || ' ' || reason FROM eventmkt_data.decision WHERE rule = 'later' AND profile_id = 'p20'}), 'held error', 'the run is held');
sql(q{SELECT eventmkt.advance_clock('11 minutes')});
ok(wait_for_sql($node, q{SELECT string_agg(outcome || ' ' || reason, ', ' ORDER BY decided_at) FROM eventmkt_data.decision WHERE rule = 'later'
	AND profile_id = 'p20'}, 'held error, suppressed error', 15), 'and ends when it fails again');
is(sql('SELECT (SELECT count(*) FROM eventmkt_data.work), (SELECT count(*) FROM eventmkt_data.pending_trigger)'), '0|0', 'nothing is stuck');
sql('DROP TRIGGER poison ON eventmkt_data.pending_trigger; DROP TRIGGER poison ON eventmkt_data.delivery');

# ---- S1: what commits while a 503 is being retried still stops the message: a purchase, one loaded as history, an audience left
create_endpoint($node, 'down', $sink, '/status/503', schedule => '{2,2,2}');
sql(q{SELECT eventmkt.create_rule('gates', on_event => 'Cart', where_profile => '$.tier == "gold"', unless => '{Order}', send_to => 'down');
	SELECT eventmkt.identify(u, '{"tier": "gold"}'), eventmkt.track(u, 'Cart') FROM unnest('{buys,bought,leaves,stays}'::text[]) u});
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'gates' AND status = 'retrying' AND attempts = 1}, 4, 10), 'four are being retried');
sql(q{SELECT eventmkt.track('buys', 'Order'); BEGIN; SET LOCAL eventmkt.fire = off; SELECT eventmkt.track('bought', 'Order'); COMMIT;
	SELECT eventmkt.identify('leaves', '{"tier": "silver"}')});
ok(wait_for_sql($node, q{SELECT string_agg(profile_id || ' ' || outcome || ' ' || reason, ', ' ORDER BY profile_id) FROM eventmkt_data.decision WHERE rule = 'gates'},
	'bought cancelled cancelled_by, buys cancelled cancelled_by, leaves suppressed audience, stays dead tries_used_up', 20), 'three are stopped');
is(sql(q{SELECT string_agg(attempts::text, ' ' ORDER BY profile_id) FROM eventmkt_data.delivery WHERE rule = 'gates'}), '1 1 1 4', 'nothing more is sent to them');
is(scalar(() = $sink->requests('/status/503')), 7, 'as the receiver says');
# an audience that is a segment and nothing else
create_endpoint($node, 'down2', $sink, '/status/502', schedule => '{2,2}');
sql(q{SELECT eventmkt.create_segment('golden', where_profile => '$.tier == "gold"');
	SELECT eventmkt.create_rule('club', on_event => 'Club', where_segment => 'golden', send_to => 'down2');
	SELECT eventmkt.track(u, 'Club') FROM unnest('{buys,stays}'::text[]) u});
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'club' AND status = 'retrying' AND attempts = 1}, 2, 10), 'two members are told');
sql(q{SELECT eventmkt.identify('buys', '{"tier": "silver"}')});
ok(wait_for_sql($node, q{SELECT string_agg(profile_id || ' ' || outcome || ' ' || reason, ', ' ORDER BY profile_id) FROM eventmkt_data.decision WHERE rule = 'club'},
	'buys suppressed audience, stays dead tries_used_up', 20), 'the one who left the segment is told no more');
is(scalar(() = $sink->requests('/status/502')), 4, 'as the receiver says, too');

# ---- a circle: a message whose delivery starts the next one ends at the stated depth, with a decision (S17)
create_endpoint($node, 'circle', $sink, '/ok/circle');
sql(q{SELECT eventmkt.create_rule('kick', on_event => 'Kick', send_to => 'circle');
	SELECT eventmkt.create_rule('circle', on_event => 'Message Delivered', where_event => '$.endpoint == "circle"', send_to => 'circle')});
sql(q{SELECT eventmkt.track('dizzy', 'Kick')});
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.decision WHERE rule = 'circle' AND outcome = 'suppressed' AND reason = 'depth'}, 1, 20), 'a circle stops');
is(sql(q{SELECT count(*), max(depth) FROM eventmkt_data.event WHERE profile_id = 'dizzy' AND name = 'Message Delivered'}), '9|9', 'after eight links');
is(scalar(() = $sink->requests('/ok/circle')), 9, 'one message a link, and the first');
sql(q{SELECT eventmkt.drop_rule('circle')});

# ---- a storm of one person: 20,000 events in seconds beside normal traffic. He gets what the limit allows, and nobody else waits (S17)
create_endpoint($node, 'calm', $sink, '/ok/calm');
sql(q{SELECT eventmkt.create_rule('calm', on_event => 'Calm', send_to => 'calm');
	SELECT eventmkt.create_rule('wild', on_event => 'Wild', send_to => 'hook')});
# the traffic: an event each 20 ms, committed by itself, before, during and after the storm
my $traffic = $node->background_psql('postgres');
$traffic->query_safe('SET client_min_messages = error');
$traffic->query_until(qr/going/, q{\echo going
DO $$ BEGIN FOR i IN 1 .. 300 LOOP PERFORM eventmkt.track('calm' || i, 'Calm'); COMMIT; PERFORM pg_sleep(0.02); END LOOP; END $$;
\echo gone
});
sql(q{SELECT count(eventmkt.track('wild', 'Wild', '{}', date_trunc('minute', eventmkt.clock()) - interval '1 minute' + i * interval '2 ms'))
	FROM generate_series(1, 10000) i}) for 1 .. 2;
$traffic->query_until(qr/gone/, "\n");
$traffic->quit;
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'calm' AND status = 'delivered'}, 300, 20), 'all others get their message');
my $calm = sql(q{SELECT round(1000 * max(extract(epoch FROM a.started_at + c.ahead - e.received_at))) FROM eventmkt_data.delivery d
	JOIN eventmkt_data.attempt a ON a.delivery_id = d.id JOIN eventmkt_data.event e ON e.event_id = d.event_id,
	(SELECT eventmkt.clock() - clock_timestamp() AS ahead) c WHERE d.rule = 'calm'});
in_time(abs($calm) / 1000, 1, "beside a storm too: event to request in $calm ms at most");
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.work}, 0, 30), 'the storm passes');
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'wild' AND status <> 'delivered'}, 0, 30), 'and so do its messages');
# two calls may have fallen in two minutes
my ($wild, $surplus) = split /\|/, sql(q{SELECT (SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'wild'),
	(SELECT sum((facts ->> 'count')::int) FROM eventmkt_data.decision WHERE rule = 'wild' AND outcome = 'suppressed' AND reason = 'storm')});
ok($wild >= 1000 && $wild <= 3000, "$wild messages of 20,000 events");
is($wild + $surplus, 20000, 'the decisions tell of the others');
like(slurp_file($node->logfile), qr/LOG:  eventmkt: a storm: [0-9]+ starts beyond the limit of 1000 events/, 'so does the log');
unlike(slurp_file($node->logfile), qr/a storm.*wild/, 'which does not say whose');

# ---- several workers: runs of many people, each decided and sent once
$node->append_conf('postgresql.conf', 'eventmkt.workers = 4');
$node->reload;
ok(wait_for_sql($node, "SELECT count(*) FROM $worker", 4, 20), 'four workers');
create_endpoint($node, "shared$_", $sink, "/ok/shared$_") for 1 .. 3;
sql(qq{SELECT eventmkt.create_rule('shared$_', on_event => 'Shared', after => '1 second', send_to => 'shared$_')}) for 1 .. 3;
sql(q{SELECT eventmkt.track('m' || i % 300, 'Shared') FROM generate_series(1, 900) i});
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule LIKE 'shared_' AND status = 'delivered'}, 900, 40), 'deliver all');
is(sql(q{SELECT count(*), count(DISTINCT (rule, profile_id)) FROM eventmkt_data.decision WHERE rule LIKE 'shared_' AND outcome = 'delivered'}), '900|900',
	'each run once');
is(scalar(() = $sink->requests(qr{^/ok/shared})), 900, 'each message once');
is(violations($node), '', 'state machine');

# ---- a driver binds text
my $js = Emk::Sink::node_program();
SKIP:
{
	skip 'the npm package pg is not installed', 1 if system($js, '-e', q(require('pg'))) != 0;
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres');
	my $client = q{const c = new (require('pg').Client)(); (async () => { await c.connect();
		await c.query('SELECT eventmkt.track($1, $2, $3::jsonb)', ['driver', 'Product Viewed', JSON.stringify({ sku: 'mug', n: [1, 'ü'] })]);
		await c.query('SELECT eventmkt.track($1, $2, $3::jsonb, $4, $5)', ['driver', 'Product Viewed', { sku: 'cup' }, new Date(), 'm1']);
		await c.end(); })().catch((e) => { console.error(e); process.exit(1); });};
	my ($out, $err) = ('', '');
	IPC::Run::run([ $js, '-e', $client ], '<', \undef, '>', \$out, '2>', \$err);
	is(sql(q{SELECT string_agg(properties ->> 'sku', ',' ORDER BY event_id) FROM eventmkt_data.event WHERE profile_id = 'driver'}), 'mug,cup', 'a driver binds text')
		or diag($err);
}
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|was terminated by signal/, 'no crash');
$node->stop;
done_testing();
