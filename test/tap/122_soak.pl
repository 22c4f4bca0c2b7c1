# A soak (R12, and R13's dead rows): 200 messages a second with 5 % errors; the worker's memory, descriptors and threads stay as they
# are, its memory contexts too, and autovacuum keeps up with the queues. EMK_SOAK=SECONDS says how long.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my ($rate, $seconds) = (200, $ENV{EMK_SOAK} // Emk::sized(30, 7200));
my $node = new_node('soak', preload => 1, conf => "autovacuum_naptime = 1s\nmax_wal_size = 512MB\nwal_level = minimal\nmax_wal_senders = 0");
my $sink = start_sink(sync => 0, bodies => 0, journal => '/dev/null');
my $sql = sub { $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") };

create_endpoint($node, 'soak', $sink, '/flaky?p503=0.03&p500=0.01&preset=0.01', schedule => '{1,2,4,8,16}');
$sql->("SELECT eventmkt.create_rule('at once', on_event => 'Soak', where_event => '\$.n % 2 == 0', send_to => 'soak')");
$sql->("SELECT eventmkt.create_rule('later', on_event => 'Soak', where_event => '\$.n % 2 == 1', unless => '{Stop}', after => '3 seconds', on_repeat => 'parallel', send_to => 'soak')");
my $worker;
ok(wait_for(sub { $worker = $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") }, 15), 'a worker runs');

# kB and counts of the worker; contexts by name, as the log has them
sub look
{
	my $status = slurp_file("/proc/$worker/status");
	my @fd = glob "/proc/$worker/fd/*";
	my %seen = (fd => scalar @fd);
	($seen{ lc $_ }) = $status =~ /^$_:\s+(\d+)/m for qw(RssAnon VmRSS Threads);
	return %seen;
}

sub contexts
{
	my $from = -s $node->logfile;
	$sql->("SELECT pg_log_backend_memory_contexts($worker)");
	my $text = '';
	wait_for(sub { ($text = slurp_file($node->logfile, $from)) =~ /Grand total:/ }, 10) or return;
	my %used;
	# used, not held: contexts grow by blocks that double, and a cache of 1 MB may be about to take its second
	# of many children of one context the log adds up those after the hundredth
	$used{ $1 =~ s/^\d+ more child contexts.*/the others/r } += $2 while $text =~ /level: \d+; ([^:\n]+):? [^\n]*?(\d+) used/g;
	($used{'all of it'}) = $text =~ /Grand total: [^\n]*?(\d+) used/;
	return %used;
}

my $script = PostgreSQL::Test::Utils::tempdir() . '/client';
append_to_file($script, "DO \$\$ DECLARE t timestamptz := clock_timestamp(); BEGIN FOR i IN 1 .. " . $rate * $seconds . " LOOP
	PERFORM eventmkt.track('s' || (i::bigint * 7919 % 20000), 'Soak', jsonb_build_object('n', i));
	IF i % 10 = 0 THEN COMMIT; PERFORM pg_sleep(greatest(0, i::float8 / $rate - extract(epoch FROM clock_timestamp() - t))); END IF;
	END LOOP; END \$\$;\n");
my $client = IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script ]);
my $begun = time;
my (%first, %first_contexts, @series);
for my $part (1 .. 20)
{
	sleep($begun + $part * $seconds / 20 - time) if $begun + $part * $seconds / 20 > time;
	my %now = look();
	push @series, sprintf '%d:%d/%d/%d', $part * $seconds / 20, @now{qw(rssanon fd threads)};
	next if $part != ($seconds < 3600 ? 8 : 10);
	%first = %now;
	%first_contexts = contexts();
	note(sprintf 'at %d s: %s', time - $begun, join ', ', map { "$_ $now{$_}" } sort keys %now);
}
ok($client->finish, 'the client did all it had to');
my %last = look();
my %last_contexts = contexts();
note(sprintf 'at %d s: %s', time - $begun, join ', ', map { "$_ $last{$_}" } sort keys %last);
note("seconds: kB of its own/descriptors/threads: @series");
cmp_ok($last{rssanon} - $first{rssanon}, '<', 5 * 1024, 'growth of its own memory, kB: ' . ($last{rssanon} - $first{rssanon}));
cmp_ok($last{fd}, '<=', $first{fd} + 8, 'descriptors');
cmp_ok($last{threads}, '<=', $first{threads}, 'threads');
ok($first_contexts{'all of it'}, 'the log has its memory contexts');
my @grown = map { "$_ " . ($first_contexts{$_} // 0) . " → $last_contexts{$_}" } grep { $last_contexts{$_} - ($first_contexts{$_} // 0) > 512 * 1024 } sort keys %last_contexts;
is("@grown", '', "no context grew by more than 512 kB; all of them: $first_contexts{'all of it'} → $last_contexts{'all of it'} bytes");

my $total = $rate * $seconds;
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", $total, 60), "all $total arrive");
is($sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'"), $worker, 'by one worker');
my $dead = "SELECT coalesce(string_agg(relname || ' ' || n_dead_tup || ' of ' || n_live_tup, ', '), '') FROM pg_stat_user_tables WHERE schemaname = 'eventmkt_data'
	AND relname IN ('delivery', 'pending_trigger', 'work') AND n_dead_tup >= 2 * n_live_tup + CASE relname WHEN 'work' THEN 20500 ELSE 500 END";
ok(wait_for_sql($node, $dead, '', 30), 'dead rows after autovacuum: below twice the live ones');
note($sql->("SELECT string_agg(relname || ': ' || n_live_tup || ' live, ' || n_dead_tup || ' dead, ' || pg_size_pretty(pg_total_relation_size(relid)) || ', vacuumed ' || autovacuum_count, '; ' ORDER BY relname)
	FROM pg_stat_user_tables WHERE schemaname = 'eventmkt_data' AND relname IN ('delivery', 'pending_trigger', 'work')"));
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/could not settle|terminated by signal|TRAP|ERROR|failed with SQLSTATE/, 'nothing bad in the log');
done_testing();
