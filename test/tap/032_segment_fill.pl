# Live membership with three workers: a filling that is interrupted by a crash goes on where it was, turns of other sessions and of the worker
# come in any order, and what the worker remembers of people is never older than the tables
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('filling', preload => 1, conf => "eventmkt.workers = 3\neventmkt.enabled = off");
my $db = 'postgres';
sub sql { return $node->safe_psql($db, $_[0]); }
sub switch { sql("ALTER SYSTEM SET eventmkt.enabled = $_[0]"); sql('SELECT pg_reload_conf()'); return; }
sub crash { $node->stop('immediate'); $node->start; return; }
sub settled { return wait_for_sql($node, "SELECT NOT EXISTS (SELECT FROM eventmkt_data.segment_work) AND NOT EXISTS (SELECT FROM eventmkt_bi.segments WHERE filling IS NOT NULL)
	AND NOT EXISTS (SELECT FROM eventmkt_data.segment_timer WHERE wake_at <= eventmkt.clock())", 't', 60); }

# members and views, either way round
sub difference
{
	my @names = split /\n/, sql("SELECT name FROM eventmkt_bi.segments WHERE tracked ORDER BY 1");
	return sql(join ' UNION ALL ', map {
		qq(SELECT '$_', profile_id, m IS NULL, v IS NULL FROM (SELECT profile_id, 1 AS m FROM eventmkt_bi.members WHERE segment = '$_') a
			FULL JOIN (SELECT profile_id, 1 AS v FROM eventmkt_bi."segment_$_") b USING (profile_id) WHERE m IS NULL OR v IS NULL)
	} @names);
}

sql("INSERT INTO eventmkt_data.profile (profile_id, traits, created_at, updated_at) SELECT 'p' || i, '{}', eventmkt.clock(), eventmkt.clock() FROM generate_series(1, 1200) i");
sql("SET eventmkt.fire = off; SELECT count(eventmkt.track('p' || 1 + i % 1500, 'E' || i % 3, jsonb_build_object('n', i % 7), eventmkt.clock() - i % 40 * interval '7 hours'))
	FROM generate_series(1, 4500) i");
sql("SELECT eventmkt.create_segment('one', on_event => 'E1', within => '5 days', track_membership => true)");
sql("SELECT eventmkt.create_segment('three', on_event => 'E1', where_event => '\$.n > 2', at_least => 3, within => '10 days', track_membership => true)");
sql("SELECT eventmkt.create_segment('left', on_event => 'E2', at_least => 2, unless => '{E0}', unless_within => '2 days', track_membership => true)");
sql("SELECT eventmkt.create_segment('way', steps => '{E0,E1,E2}', within => '9 days', track_membership => true)");
sql("SELECT eventmkt.create_segment('both', all_of => '{one}', none_of => '{left}', track_membership => true)");

# ---- a crash in the middle of a filling, with work that waits on both sides of where it stands ----
sql('SELECT eventmkt.run_due(1)') for 1 .. 2;
my $stands = sql("SELECT min(filled) || ' ' || max(filled) || ' ' || min(filling) FROM eventmkt_bi.segments");
like($stands, qr/^(?!0 )\d+ \d+ profiles$/, 'a part is filled') or diag $stands;
my $track = "SELECT count(eventmkt.track('p' || 1 + (i * 37 + %d) %% 1500, 'E' || (i + %d) %% 3, jsonb_build_object('n', i %% 7), eventmkt.clock() - i %% 3 * interval '20 hours'))
	FROM generate_series(1, 400) i";
sql(sprintf $track, 1, 1);
crash();
is(sql("SELECT min(filled) || ' ' || max(filled) || ' ' || min(filling) FROM eventmkt_bi.segments"), $stands, 'what was walked stays walked');
switch('on');
ok(wait_for_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'", 3, 60), 'three workers go on');
ok(settled(), 'to the end');
is(difference(), '', 'the members are those of the views');
my $sizes = sql("SELECT string_agg(name || ' ' || members, ', ') FROM eventmkt_bi.segments");
cmp_ok(sql("SELECT count(*) FILTER (WHERE members > 0) FROM eventmkt_bi.segments"), '>=', 4, 'and there are some') or diag $sizes;
is(sql("SELECT bool_and(filled BETWEEN 1200 AND 1600) FROM eventmkt_bi.segments"), 't', 'nobody was walked twice');
is(sql("SELECT count(*) FROM eventmkt_data.event WHERE name LIKE 'Segment %'"), 0, 'and nobody was told');

# ---- turns of the worker and of sessions in turn, a merge, an erasure, a crash ----
for my $round (2 .. 5)
{
	sql(sprintf $track, $round * 11, $round) for 1 .. 2;
	sql('SELECT eventmkt.run_due(150)') if $round % 2 == 0;
	sql("SELECT eventmkt.identify('p$round', '{}', 'p" . (1300 + $round) . "')");
	sql("SELECT count(*) FROM eventmkt.erase('p7$round')");
	sql("SELECT eventmkt.unerase('p7$round')");
	crash() if $round == 4;
	ok(settled(), "round $round is weighed");
	is(difference(), '', 'the members are those of the views');
}
ok(sql("SELECT count(*) FROM eventmkt_data.event WHERE name = 'Segment Entered'") > 0, 'people came in');
ok(sql("SELECT count(*) FROM eventmkt_data.event WHERE name = 'Segment Exited'") > 0, 'and left');
is(sql("SELECT bool_and(s.members = (SELECT count(*) FROM eventmkt_bi.members m WHERE m.segment = s.name)) FROM eventmkt_bi.segments s"), 't', 'the sizes are right');

# ---- a definition that is changed while a report reads the view: the worker does not wait behind it ----
sql("SELECT eventmkt.create_rule('ask', on_event => 'Ask', where_segment => 'one', send_to => 'none')");
my $report = $node->background_psql($db);
$report->query_safe('BEGIN; SELECT count(*) FROM eventmkt_bi.segment_one');
my $change = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr($db), '-c',
	"SELECT eventmkt.replace_segment('one', on_event => 'E1', within => '6 days')" ], '>', \my $changed, '2>', \my $trouble, IPC::Run::timeout(60));
ok(wait_for_sql($node, "SELECT count(*) FROM pg_locks WHERE relation = 'eventmkt_data.segment'::regclass AND mode = 'ShareRowExclusiveLock' AND granted", 1, 20),
	'a change waits for a report');
sql("SELECT eventmkt.track('p1', 'Ask')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE rule = 'ask'", 1, 5), 'and nobody waits for it');
is(sql("SELECT count(*) FROM pg_locks WHERE relation = 'eventmkt_bi.segment_one'::regclass AND NOT granted"), 0, 'as it takes no place in the queue');
$report->query_safe('COMMIT');
$report->quit;
$change->finish;
like($changed . $trouble, qr/^\d+$/, 'it is made when the report is done');
ok(settled(), 'and weighed');
is(difference(), '', 'the members are those of the views');
is(violations($node), '', 'no promise is broken');
done_testing();
