# A primary dies and its streaming standby takes over, with and without synchronous replication: nothing is sent from a standby while
# it is one, reading works there; promoted, it sends what is due within seconds and has lost nothing that it had replayed; the old
# primary sends nothing once it is fenced or demoted (R34). Each goes on as the standby of the other. Nightly: twenty failovers.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use Emk::Client;
use PostgreSQL::Test::Cluster;
use List::Util qw(sum);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $failovers = Emk::sized(2, 20);
my $sink = start_sink(sync => 0);
my $primary = new_node('ann', preload => 1, init_args => { allows_streaming => 1 }, conf => "wal_log_hints = on\nwal_keep_size = 256MB\nautovacuum = off");
my (@journal, %worst);

sub query { my ($node, $sql) = @_; return $node->safe_psql('postgres', $sql) }
sub state_of { my ($node, $check) = @_; return query($node, "SELECT state, detail FROM eventmkt.health() WHERE \"check\" = '$check'") }
sub requests { return $sink->stats->{requests} }

sub configure
{
	my ($node, $text) = @_;
	$node->append_conf('postgresql.conf', $text);
	$node->reload if defined $node->{_pid};
}

create_endpoint($primary, 'e', $sink, '/ok', schedule => '{1,1,1,1,1}');
query($primary, <<'SQL');
SELECT eventmkt.create_rule('now', on_event => 'Clicked', send_to => 'e');
SELECT eventmkt.create_rule('soon', on_event => 'Soon', after => '3 seconds', on_repeat => 'parallel', send_to => 'e');
SELECT eventmkt.create_segment('clickers', on_event => 'Clicked');
SELECT eventmkt.create_segment('keen', on_event => 'Clicked', at_least => 3, within => '1 day', track_membership => true);
SELECT eventmkt.change_setting('profile_burst', '1000000');
SELECT eventmkt.identify('u1', '{"tier": "gold"}');
SQL
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('bob');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# All that only reads works on a standby and says what the primary says
sub compare_reading
{
	my ($what) = @_;
	my @views = split /\n/, query($primary, q{SELECT quote_ident(viewname) FROM pg_views WHERE schemaname = 'eventmkt_bi' ORDER BY 1});
	my @ask = ((map { "SELECT count(*) FROM eventmkt_bi.$_" } @views),
		q{SELECT eventmkt.in_segment('u1', 'clickers'), eventmkt.in_segment('nobody', 'clickers'), eventmkt.in_segment('u1', 'keen')},
		q{SELECT count(*) FROM eventmkt_bi.segment_clickers},
		q{SELECT count(*) FROM eventmkt.segment_members_on('keen', eventmkt.clock())},
		q{SELECT step, outcome, reason FROM eventmkt.why_not('u1', 'now') WHERE step NOT IN ('answer', 'worker')},
		q{SELECT outcome, count(*) FROM eventmkt.backtest('now', '2020-01-01', '2100-01-01') GROUP BY 1 ORDER BY 1},
		q{SELECT count(*), sum(runs) FROM eventmkt.backtest_summary('now', '2020-01-01', '2100-01-01')},
		q{SELECT rule FROM eventmkt.estimate_rule('now')},
		q{SELECT eventmkt.traits_at('u1', eventmkt.clock())},
		q{SELECT (eventmkt.streak(occurred_at, 'Europe/Berlin', 1)).* FROM eventmkt_data.event},
		q{SELECT eventmkt.clock() > '2020-01-01', eventmkt.statement_clock() > '2020-01-01'},
		q{SELECT profile_id, summary ->> 'events' FROM eventmkt.yearly_summary('2026-01-01') ORDER BY 1});
	my ($asked, $differ) = (0, '');
	$primary->wait_for_catchup($standby);
	for my $sql (@ask)
	{
		my ($rc, $out, $err) = $standby->psql('postgres', $sql);
		my $expected = query($primary, $sql);
		$asked++;
		# what tells of the server itself differs
		next if $rc == 0 && ($out eq $expected || $sql =~ /eventmkt_bi\.(health|operations|worker)/);
		$differ .= "$sql: " . ($rc ? $err : "'$out' instead of '$expected'") . "\n";
	}
	is($differ, '', "$what: $asked questions are answered on the standby as on the primary");
	for my $sql (q{SELECT eventmkt.track('u1', 'Clicked')}, q{SELECT eventmkt.run_due()}, q{SELECT eventmkt.identify('u1', '{}')},
		q{SELECT eventmkt.export('u1')}, q{SELECT eventmkt.adopt('send')}, q{SELECT eventmkt.maintain()})
	{
		my ($rc, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\n$sql");
		like($err, qr/ERROR:  25006|ERROR:  55000/, "$what: refused: $sql") or diag $out;
	}
}

# The old primary once more, alone, as somebody might start it by mistake, but under a name of its own
sub start_fenced
{
	my ($node) = @_;
	my $conf = $node->data_dir . '/postgresql.conf';
	my $before = slurp_file($conf);
	my $n = requests();

	configure($node, "eventmkt.instance = 'fenced'\nsynchronous_standby_names = ''");
	$node->start;
	my $waiting = query($node, q{SELECT (SELECT count(*) FROM eventmkt_data.work) + (SELECT count(*) FROM eventmkt_data.pending_trigger WHERE rule_id =
		(SELECT rule_id FROM eventmkt_data.rule WHERE name = 'soon' AND current)) + (SELECT count(*) FROM eventmkt_data.delivery WHERE status <> 'delivered')});
	cmp_ok($waiting, '>', 0, 'the old primary has something that is due');
	sleep 4;
	like(state_of($node, 'paused'), qr/^error\|copy/, 'under another name it holds back');
	is(requests(), $n, 'and sends nothing');
	$node->stop('immediate');
	unlink $conf;
	append_to_file($conf, $before);
}

# The old primary becomes a standby of the new one
sub demote
{
	my ($old, $new) = @_;
	my $conf = $old->data_dir . '/postgresql.conf';
	my $before = slurp_file($conf);

	command_ok([ 'pg_rewind', '--no-sync', '--target-pgdata', $old->data_dir, '--source-server', $new->connstr('postgres') ], 'the old primary is rewound');
	unlink $conf;
	append_to_file($conf, $before);
	$old->enable_streaming($new);
	$old->set_standby_mode;
	$old->start;
}

for my $round (1 .. $failovers)
{
	my $sync = $round <= $failovers / 2;
	my $what = "failover $round, " . ($sync ? 'sync' : 'async');

	configure($primary, "synchronous_standby_names = '" . ($sync ? '*' : '') . "'");
	ok(wait_for_sql($primary, 'SELECT count(*) FROM pg_stat_replication WHERE sync_state = ' . ($sync ? "'sync'" : "'async'"), '1', 20), "$what: the standby streams");
	ok(wait_for_sql($primary, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 20), "$what: a worker runs");
	my @clients = Emk::Client->start_some(4, $primary, prefix => "f$round", events => { Clicked => 1, Looked => 0 }, batch => 5000, once => 1);
	wait_for(sub { sum(map { $_->acked } @clients) >= 200 }, 30);
	is(state_of($standby, 'paused'), 'ok|standby', "$what: the standby pauses");
	is(query($standby, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'eventmkt%'"), 0, "$what: nothing of ours runs there");
	query($primary, "SELECT count(eventmkt.track('s' || i, 'Soon', message_id => 's$round-' || i)) FROM generate_series(1, 20) i");
	$primary->wait_for_catchup($standby, 'flush');
	sleep rand 0.5;
	my $died = time;
	$primary->stop('immediate');
	my @told = map { $_->stop } @clients;
	push @journal, map { { message_id => "s$round-$_", result => 'ok', sends => 1 } } 1 .. 20;
	push @journal, @told;
	wait_for_sql($standby, "SELECT count(*) FROM pg_stat_wal_receiver", '0', 20);
	my $received = query($standby, 'SELECT pg_last_wal_receive_lsn()');
	configure($standby, "synchronous_standby_names = ''");
	my $before = requests();
	$standby->promote;
	my $promoted = query($standby, 'SELECT clock_timestamp()');
	my ($old, $new) = ($primary, $standby);

	# what is due goes: a message that is new, and those whose time came meanwhile
	my $start = time;
	query($new, "SELECT eventmkt.track('after', 'Clicked', '{\"n\": 99}', message_id => 'a$round')");
	push @journal, { message_id => "a$round", result => 'ok', sends => 1 };
	ok(wait_for_sql($new, "SELECT count(*) FROM eventmkt_data.delivery d JOIN eventmkt_data.event e USING (event_id)
		WHERE e.message_id = 'a$round' AND d.status = 'delivered'", '1', 20), "$what: promoted, it sends");
	my $took = time - $start;
	in_time($took, 5, "$what: within five seconds");
	ok(wait_for_sql($new, "SELECT count(*) FROM eventmkt_data.delivery d JOIN eventmkt_data.event e USING (event_id)
		WHERE e.message_id LIKE 's$round-%' AND d.status = 'delivered'", '20', 20), "$what: what came due meanwhile is sent");
	my $late = query($new, "SELECT round(max(extract(epoch FROM d.first_sent_at - greatest(d.due_at, '$promoted')))::numeric, 2)
		FROM eventmkt_data.delivery d JOIN eventmkt_data.event e USING (event_id) WHERE e.message_id LIKE 's$round-%'");
	in_time($late, 5, "$what: five seconds late at most");
	for my $l ($took, $late) { $worst{first} = $l if $l > ($worst{first} // 0) }
	my ($timeline) = state_of($new, 'instance');
	like($timeline, qr/^error\|timeline changed: \d+, was \d+/, "$what: health() says that the timeline changed");
	query($new, "SELECT eventmkt.adopt('send')");
	like(state_of($new, 'instance'), qr/^ok/, "$what: until adopt()");

	# nothing is lost up to the place in the WAL that had arrived; all of it under synchronous replication
	my %is = map { $_ => 1 } split /\n/, query($new, "SELECT message_id FROM eventmkt_data.event WHERE message_id LIKE 'f$round-%'");
	my @acked = grep { $_->{result} eq 'ok' } @told;
	my @missing = grep { !$is{ $_->{message_id} } } @acked;
	my @arrived = split /\n/, query($new, "SELECT lsn <= '$received'::pg_lsn FROM unnest('{" . join(',', map { $_->{lsn} // 'F/F' } @missing) . "}'::pg_lsn[]) lsn") if @missing;
	is(scalar(grep { $_ eq 't' } @arrived), 0, "$what: nothing is lost that had arrived");
	is(scalar(@missing), 0, "$what: nothing at all") if $sync;
	note scalar(@acked) . ' acknowledged, ' . @missing . ' lost with the old primary';
	$worst{acked} += @acked;
	$worst{lost} += @missing unless $sync;
	is(join(' ', grep { $_->{result} eq 'failed' && $is{ $_->{message_id} } } @told), '', "$what: nothing that was rolled back");
	my %lost = map { $_->{message_id} => 1 } @missing;
	@journal = grep { !$lost{ $_->{message_id} } } @journal;

	ok(wait_for_sql($new, "SELECT (SELECT count(*) FROM eventmkt_data.work) + (SELECT count(*) FROM eventmkt_data.pending_trigger)
		+ (SELECT count(*) FROM eventmkt_data.delivery WHERE status <> 'delivered')", '0', 30), "$what: all is delivered");
	is(violations($new), '', "$what: state machine");
	query($new, 'CHECKPOINT');	# pg_rewind goes by the timeline of the last one
	start_fenced($old) if $round == 1;
	my $n = requests();
	demote($old, $new);
	ok(wait_for_sql($new, 'SELECT count(*) FROM pg_stat_replication', '1', 20), "$what: and follows the new one");
	($primary, $standby) = ($new, $old);
	$primary->wait_for_catchup($standby);
	is(state_of($standby, 'paused'), 'ok|standby', "$what: demoted, the old primary pauses");
	compare_reading($what) if $round == 1;
	is(requests(), $n, "$what: and has sent nothing");

	# a message that was sent but whose delivery the new primary never heard of is sent under another id: not under synchronous replication
	next unless $round == int($failovers / 2);
	delete @$_{qw(event_id lsn)} for @journal;
	is(check_safety($primary, $sink, drained => 1, client => \@journal, max_duplicates => 64 * $round), '', 'safety rule under synchronous replication');
	$worst{duplicates} = $Emk::last_counts{duplicates};
}
note sprintf 'figure: R34: %d failovers: first due send at most %.2f s after promotion; %d acknowledged, %d lost by those without synchronous replication; %d duplicates with it',
	$failovers, @worst{qw(first acked lost duplicates)};

# under a name of its own a promoted server is at home at once
configure($primary, "eventmkt.instance = 'production'");
ok(wait_for(sub { state_of($primary, 'paused') =~ /copy/ }, 10), 'a name asks for adopt() once');
query($primary, "SELECT eventmkt.adopt('send')");
configure($standby, "eventmkt.instance = 'production'");
$primary->wait_for_catchup($standby);
$primary->stop('fast');
$standby->promote;
is(state_of($standby, 'instance'), 'ok|production', 'a promoted standby of the same name needs nothing');
is(state_of($standby, 'paused'), 'ok|no', 'and sends');
configure($primary, "eventmkt.instance = 'retired'");
$primary->start;
like(state_of($primary, 'paused'), qr/^error\|copy/, 'the old primary under another name does not');
unlike(slurp_file($_->logfile), qr/PANIC|TRAP/, 'nothing bad in the log') for $primary, $standby;
$primary->stop;
$standby->stop;
done_testing();
