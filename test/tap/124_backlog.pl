# A backlog of hundreds of thousands of runs and deliveries (R51; nightly 5 million), just loaded and without ANALYZE: the worker starts
# within five seconds, takes what is due by index and in milliseconds, and needs no more memory than without
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $n = Emk::sized(150_000, 2_500_000);	# of each: runs that wait, deliveries that wait
my ($due, $batch) = (2000, 100);
my $node = new_node('backlog', preload => 1, conf => "shared_preload_libraries = 'eventmkt, auto_explain'\nautovacuum = off\nwal_level = minimal\nmax_wal_senders = 0
max_wal_size = 4GB\nlog_line_prefix = '%m [%p] %b '\nshared_buffers = 512MB\neventmkt.max_in_flight = 1000\nmax_files_per_process = 2000");
my $sink = start_sink(sync => 0, bodies => 0);
my $sql = sub { $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") };
my $pid = sub { $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") };
my $own = sub { (slurp_file("/proc/$_[0]/status") =~ /RssAnon:\s+(\d+)/)[0] };

create_endpoint($node, 'in', $sink, '/ok', max_in_flight => $batch);
create_endpoint($node, 'lined', $sink, '/ok/lined', max_in_flight => $batch, ordered => 't');
$sql->("SELECT eventmkt.create_rule(e || k, on_event => e || k, after => '0', max_lateness => '100 days', send_to => e) FROM unnest('{in,lined}'::text[]) e, generate_series(1, 1) k");
$sql->("SELECT eventmkt.create_rule('later', on_event => 'Later', after => '10 seconds', max_lateness => '100 days', send_to => 'in')");

# what a worker that had the same messages to send has of its own, without a backlog
sub work_off
{
	my ($what) = @_;
	my $from = $sql->('SELECT count(*) FROM eventmkt_data.delivery WHERE settled_at IS NOT NULL');
	$sql->("SELECT eventmkt.track('n' || i, e || 1) FROM generate_series(1, 1000) i, unnest('{in,lined}'::text[]) e");
	ok(wait_for_sql($node, "SELECT count(*) >= $from + 2000 FROM eventmkt_data.delivery WHERE settled_at IS NOT NULL", 't', 120), "$what: two thousand messages are sent");
	return $own->($pid->());
}
# $due of each kind that are due now, and as many that wait as are said; times are those of the phase
sub load_rows
{
	my ($phase, $waiting) = @_;
	my $of = "SELECT rule_id, name, version, endpoint_id FROM eventmkt_data.rule r WHERE current";
	my $wait = "CASE WHEN i <= $due THEN now() - '1 minute'::interval ELSE now() + '1 day'::interval + i * '1 ms'::interval END";
	my $rows = $due + $waiting;
	$sql->("INSERT INTO eventmkt_data.pending_trigger (run_id, node, rule_id, rule_version, profile_id, key, slot, state, started_at, event_id, event_name, event_at,
		properties, last_at, due_at, wake_at, received_at, created_at, depth)
		SELECT -i - $phase * 10000000, 0, r.rule_id, r.version, 'u$phase-' || i, '', 0, 'waiting', now(), -i, 'Later', now(), '{\"a\": 1}', now(), w, w, now(), now(), 0
		FROM generate_series(1, $rows) i, LATERAL (SELECT $wait) q (w), ($of AND name = 'later') r");
	$sql->("INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status, next_attempt_at, schedule, body,
		event_id, started_at, received_at, run_created_at, due_at, created_at, depth, ordered)
		SELECT gen_random_uuid(), 0, -i - 100000000 - $phase * 10000000, r.rule_id, r.name, r.version, 'u' || i % 50000, '', r.endpoint_id, 'queued', w, '{1}', '{}', -i,
		now(), now(), now(), now(), now(), 0, r.name = 'lined1'
		FROM generate_series(1, $rows) i, LATERAL (SELECT $wait) q (w), LATERAL ($of AND name = CASE WHEN i % 4 = 3 AND i > $due THEN 'lined1' ELSE 'in1' END OFFSET 0) r");
}

# a new worker with that much to do: seconds until its first message has arrived, and what it has of its own when all is done
sub new_worker
{
	my ($what, $total) = @_;
	my $settled = $sql->('SELECT count(*) FROM eventmkt_data.delivery WHERE settled_at IS NOT NULL');
	my $t = time;
	$sql->("SELECT eventmkt.start_worker()");
	ok(wait_for_sql($node, "SELECT count(*) > $settled FROM eventmkt_data.delivery WHERE settled_at IS NOT NULL", 't', 30), "$what: the worker starts, and something is delivered");
	my $started = time - $t;
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'later' AND status = 'delivered'", $total, 60), "$what: all due runs are taken and sent");
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'in1' AND status <> 'delivered' AND next_attempt_at <= now()", 0, 60), "$what: and all that was ready");
	return ($started, work_off($what));
}

ok(wait_for(sub { $pid->() }, 15), 'a worker runs');
$sql->("SELECT eventmkt.stop_worker()");
$sql->("ALTER SYSTEM SET auto_explain.log_min_duration = 0");
$sql->("ALTER SYSTEM SET auto_explain.log_analyze = on; ALTER SYSTEM SET auto_explain.log_timing = off; SELECT pg_reload_conf()");
load_rows(1, 0);
my (undef, $without) = new_worker('without a backlog', $due);
$sql->("SELECT eventmkt.stop_worker()");
my $t = time;
load_rows(2, $n);
note(sprintf 'loaded %d runs and %d deliveries in %.0f s', $n, $n, time - $t);
is($sql->("SELECT bool_or(last_analyze IS NOT NULL OR last_autoanalyze IS NOT NULL) FROM pg_stat_user_tables WHERE relname IN ('delivery', 'pending_trigger')"), 'f', 'nobody analysed');

# every plan of the worker, from here on
my $log = -s $node->logfile;
my ($started, $with) = new_worker('beside a backlog', 2 * $due);
in_time($started, 5, 'soon');
SKIP:
{
	skip 'a sanitizer keeps freed memory', 1 if $ENV{ASAN_OPTIONS};
	cmp_ok($with - $without, '<', 3 * 1024, "own memory of the worker: $without kB without, $with kB with a backlog");
}
$sql->("ALTER SYSTEM RESET auto_explain.log_min_duration; SELECT pg_reload_conf()");

my (%cost, @seq);
for my $entry (split /^(?=\d{4}-\d\d-\d\d )/m, slurp_file($node->logfile, $log))
{
	my ($ms, $text, $plan) = $entry =~ /duration: ([\d.]+) ms  plan:\s+Query Text: (.*?)\n\t(\S.*)/s or next;
	next unless $text =~ /eventmkt_data/ && $entry =~ /eventmkt worker/;
	push @seq, $text if $plan =~ /Seq Scan on (?:delivery|pending_trigger)\b/;
	my ($kind) = $text =~ /^SELECT d\.id, d\.endpoint_id/ ? 'claim' : $text =~ /^DELETE FROM eventmkt_data\.pending_trigger/ && $text =~ /SKIP LOCKED/ ? 'take' :
		$text =~ /^UPDATE eventmkt_data\.delivery AS d SET ordered/ ? 'park' : next;
	my ($rows) = $plan =~ /actual rows=([\d.]+)/;
	push @{ $cost{$kind} }, [ $ms, $rows ];
}
is("@seq[0 .. ($#seq < 2 ? $#seq : 2)]", '', 'no plan of the worker reads a whole table');
for my $kind ('claim', 'take')
{
	my @big = sort { $a->[0] / $a->[1] <=> $b->[0] / $b->[1] } grep { $_->[1] >= 20 } @{ $cost{$kind} };
	ok(@big, "$kind: " . @{ $cost{$kind} // [] } . ' statements, ' . @big . ' of them with 20 rows or more') or next;
	my $middle = $big[ $#big / 2 ];
	my $hundred = $middle->[0] / $middle->[1] * 100;
	cmp_ok($hundred, '<', 20 * slow(), sprintf "$kind: %.1f ms for a hundred rows (half of the batches took less; this one: %.1f ms, %d rows)", $hundred, @$middle);
}
note('parks: ' . join ', ', map { "$_->[0] ms" } @{ $cost{park} // [] });
unlike(slurp_file($node->logfile), qr/could not settle|terminated by signal|TRAP|failed with SQLSTATE/, 'nothing bad in the log');
done_testing();
