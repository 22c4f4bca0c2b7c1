# R45: aggregates, timelines, rules and a worker that delivers, on a server under valgrind's memcheck: no report that has a frame of ours.
#
# The server is the plain one, so chunks of a memory context have no bounds here (test/asan has them); what this adds is every use of bytes that
# nobody wrote, also in libcurl and in what is handed to the kernel. What servers write of their own padding is known (test/nightly/valgrind.supp).
# It is thirty times slower than a server, so the database is made and filled without valgrind, and the questions are small. EMK_VALGRIND names
# the number of messages (50). Skipped where valgrind is not installed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../tap/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'valgrind is not installed' if !grep { -x "$_/valgrind" } split /:/, $ENV{PATH};
my $messages = $ENV{EMK_VALGRIND} // 50;
my $node = new_node('slow', preload => 1, conf => "autovacuum = off\nfsync = off\n");
my $sink = start_sink();
create_endpoint($node, 'shop', $sink, '/ok', timeout => '5 min');
create_endpoint($node, 'tired', $sink, '/fail-first/1', timeout => '5 min', schedule => '{1,1,1}');
$node->safe_psql('postgres', $_) for
	q{SELECT eventmkt.create_rule('bought', on_event => 'Bought', send_to => 'shop', where_event => '$.n > 0')},
	q{SELECT eventmkt.create_rule('tired', on_event => 'Tired', send_to => 'tired')},
	q{SELECT eventmkt.create_rule('pattern', on_event => 'Bought', send_to => 'shop', where_event => '$.text like_regex "^b"')};
$node->stop;

my $logs = PostgreSQL::Test::Utils::tempdir;
my $bin = (grep { -x "$_/postgres" } split /:/, $ENV{PATH})[0];
my ($out, $err) = ('', '');
my $server = IPC::Run::start([ 'valgrind', '-q', '--trace-children=yes', '--leak-check=no', '--error-limit=no', '--num-callers=40', '--gen-suppressions=all',
		"--suppressions=$FindBin::Bin/valgrind.supp", "--log-file=$logs/%p", "$bin/postgres", '-D', $node->data_dir ],
	'<', \undef, '>', \$out, '2>', \$err);
ok(wait_for(sub { system('pg_isready', '-q', '-h', $node->host, '-p', $node->port) == 0 }, 600), 'the server is up');

# one session, because each costs seconds; a statement that fails is a failure
my $script = q{
SET client_min_messages = warning;
CREATE TEMP TABLE v AS SELECT 'u' || i % 5 AS u, timestamptz '2026-01-01 00:00Z' + i * interval '7 hours' AS t, (ARRAY['a', 'b', 'c'])[1 + i % 3] AS e,
	CASE WHEN i % 4 > 0 THEN 'k' || i % 2 END AS k, i * 1.25 AS n, i::bigint AS id FROM generate_series(1, 60) i;
SELECT u, eventmkt.funnel('2 days', t, e = 'a', e = 'b', e = 'c'), eventmkt.funnel_times('2 days', t, 'strict_order', e = 'a', e = 'b'),
	eventmkt.sequence_match('(?1)(?t<=1d).*(?2)', t, e = 'a', e = 'b'), eventmkt.sequence_count('(?1).(?2)', t, e = 'a', e = 'b'), eventmkt.sequence_events('(?1)(?2)', t, e = 'a', e = 'b'),
	eventmkt.abandoned(t, e = 'a', e = 'b', '1 day'), eventmkt.abandoned(t, e = 'a', e = 'b', '1 day', k, true), eventmkt.abandoned_keys(t, e = 'a', e = 'b', '1 day', k),
	eventmkt.retention(e = 'a', e = 'b', e = 'x'), eventmkt.retained(t, NULL, '1 day', 5), eventmkt.sessions(t, '1 day'), eventmkt.max_in_window(t, '3 days'), eventmkt.cadence(t),
	eventmkt.streak(t, 'Europe/Berlin', 1), eventmkt.engaged_hours(t, 'UTC'), eventmkt.first_touch(t, k), eventmkt.last_touch(t, k), eventmkt.top_values(k, 2) FROM v GROUP BY u;
SELECT eventmkt.cohort_retention(r) FROM (SELECT eventmkt.retention(e = 'a', e = 'b') AS r FROM v GROUP BY u) q;
SELECT eventmkt.session_number(t, '5 hours') OVER (ORDER BY t) FROM v;
CREATE TEMP TABLE l AS SELECT u, eventmkt.timeline(t, e, k, n, id) AS tl FROM v GROUP BY u;
SELECT eventmkt.count(tl), eventmkt.sum(tl, 'a'), eventmkt.first_at(tl), eventmkt.last_at(tl, 'b', 'c'), eventmkt.funnel(tl, '2 days', 'a', 'b'), eventmkt.funnel_times(tl, '2 days', ARRAY['a', 'b'], 'strict_increase'),
	eventmkt.sequence_match(tl, '(?1).*(?2)', 'a', 'b'), eventmkt.sequence_count(tl, '(?1)(?2)', 'a', 'b'), eventmkt.sequence_events(tl, '(?1).*(?2)', 'a', 'b'),
	eventmkt.abandoned(tl, 'a', 'b', '1 day', true, true), eventmkt.abandoned_keys(tl, 'a', 'b', '1 day'), eventmkt.retention(tl, 'a', 'b'), eventmkt.retained(tl, 'a', 'b', '1 day', 4),
	eventmkt.max_in_window(tl, '3 days', 'a'), eventmkt.sessions(tl, '1 day'), eventmkt.cadence(tl, 'a', 'b'), eventmkt.streak(tl, 'UTC', 2), eventmkt.engaged_hours(tl, 'Europe/Berlin', 'a'),
	eventmkt.top_values(tl, 3), eventmkt.first_touch(tl), eventmkt.last_touch(tl, 'a'), eventmkt.slice(tl, '2026-01-03', '2026-01-09')::text, tl::text::eventmkt.timeline::text = tl::text FROM l;
SELECT eventmkt.count(eventmkt.merge(tl)) FROM l;
SELECT x.* FROM l, eventmkt.unnest(tl) x;
SELECT eventmkt.rollup_json(eventmkt.merge_rollups(r)) FROM (SELECT eventmkt.rollup(t, e, k, n) AS r FROM v GROUP BY u) q;
SELECT eventmkt.ingest('{"batch": [{"type": "identify", "userId": "u1", "anonymousId": "x", "traits": {"a": 1}}, {"type": "track", "userId": "u1", "event": "Bought",
	"properties": {"n": 0, "text": "boo"}, "timestamp": "2026-01-01T10:00:00.5+01:00", "sentAt": "2026-01-01T10:00:01Z"}, {"type": "page", "anonymousId": "x", "name": "p"}]}');
SELECT count(eventmkt.track('w' || i % 7, 'Bought', jsonb_build_object('n', i, 'text', 'c'), message_id => 'm' || i)) FROM generate_series(1, MESSAGES) i;
SELECT count(eventmkt.track('w' || i, 'Tired', '{"n": 1}', message_id => 'tired' || i)) FROM generate_series(1, 3) i;
SELECT count(*) FROM eventmkt.why_not('w1', 'bought');
SELECT count(*) FROM eventmkt.health();
};
$script =~ s/MESSAGES/$messages/;
my $rc = $node->psql('postgres', $script, stderr => \my $said, on_error_stop => 1, on_error_die => 0, timeout => 3000);
is($rc, 0, 'the questions are answered') or diag($said);
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", $messages + 3, 1200), 'the worker delivered') or
	diag($node->safe_psql('postgres', 'SELECT rule, status, count(*) FROM eventmkt_data.delivery GROUP BY 1, 2'));
$node->safe_psql('postgres', 'SELECT eventmkt.stop_worker()');
system('pg_ctl', '-D', $node->data_dir, '-w', '-t', '300', '-m', 'fast', '-s', 'stop');
$server->finish;

my ($processes, $others, @ours) = (0, 0);
for my $file (glob "$logs/*")
{
	$processes++;
	my $text = slurp_file($file);
	$text =~ s/^\{\n.*?^\}\n//msg;
	for my $report (split /^==\d+== \n/m, $text)
	{
		next if $report !~ /(?:at|by) 0x/;
		if ($report =~ /eventmkt\.so|\((?:\w+)\.c:\d+\)/) { push @ours, $report }
		else { $others++ }
	}
}
is(join("\n", @ours[ 0 .. ($#ours > 9 ? 9 : $#ours) ]), '', 'no report with a frame of ours');
cmp_ok($processes, '>', 5, 'processes were looked at');
note("figure: $processes processes, $messages messages: " . scalar(@ours) . " reports with a frame of ours, $others of the server alone");
done_testing();
