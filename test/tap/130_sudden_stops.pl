# The server ends without a word while clients are busy: immediate stops, and the postmaster killed. No message without its event, no
# event that should have led to one without it, nothing missing that was acknowledged; a worker whose postmaster is gone is gone
# and silent within a second, also with hundreds of transfers open (R04). Nightly: twenty of each.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use Emk::Client;
use List::Util qw(sum);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

use constant TRANSFERS => 500;

my $rounds = Emk::sized(3, 20);
my $flight = 32;
my $node = new_node('sudden', preload => 1, conf => "eventmkt.max_in_flight = 1000\nmax_files_per_process = 2000\nmax_connections = 40");
my $sink = start_sink(sync => 0);
my (@journal, $slowest);

sub query { return $node->safe_psql('postgres', $_[0]) }

create_endpoint($node, 'good', $sink, '/ok', max_in_flight => $flight);
create_endpoint($node, 'slow', $sink, '/hang', timeout => '5 minutes', max_in_flight => 1000, schedule => '{1,1,1,1}');
query(q{SELECT eventmkt.create_rule('now', on_event => 'Clicked', send_to => 'good')});
query(q{SELECT eventmkt.create_rule('later', on_event => 'Looked', after => '1 second', on_repeat => 'parallel', send_to => 'none')});
query(q{SELECT eventmkt.create_rule('hang', on_event => 'Hang', send_to => 'slow')});
query(q{SELECT eventmkt.change_setting('profile_burst', '1000000')});

# A process that nobody has waited for yet has ended, too
sub lives
{
	my ($pid) = @_;
	open(my $f, '<', "/proc/$pid/stat") or return 0;
	return (readline($f) // '') =~ /\) ([A-Z])/ && $1 !~ /[ZX]/;
}

sub children
{
	my ($parent) = @_;
	my @found;
	for my $stat (glob '/proc/[0-9]*/stat')
	{
		open(my $f, '<', $stat) or next;
		push @found, $1 if (readline($f) // '') =~ /^(\d+) \(.*\) [A-Z] $parent /;
	}
	return @found;
}

sub worker { return query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") }

sub worker_runs { return wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 20) }

# Kills the postmaster; how long the worker lived on. The server is up again afterwards.
sub kill_postmaster
{
	my ($what) = @_;
	my $pid = worker();
	my @children = children($node->{_pid});

	my $postmaster = $node->{_pid};
	ok($pid ne '' && (grep { $_ == $pid } @children), "$what: a worker runs below the postmaster");
	$node->kill9;
	my $start = time;
	wait_for(sub { !lives($pid) }, 10);
	my $took = time - $start;
	in_time($took, 1, "$what: the worker has ended within a second");
	$slowest = $took if $took > ($slowest // 0);
	# what it had sent is still being read
	my $requests = -1;
	wait_for(sub { my $before = $requests; $requests = $sink->stats->{requests}; sleep 0.3; return $requests == $before }, 10);
	sleep 0.3;
	is($sink->stats->{requests}, $requests, "$what: and is silent");
	# those who serve a client end when they next look; a new server waits for them
	ok(wait_for(sub { !grep { lives($_) } @children }, 20), "$what: nobody else is left");
	# where nobody takes the status of orphans (a container), their pids stay and look alive to a new server
	unlink $node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock' if -e "/proc/$postmaster" && !lives($postmaster);
	$node->start;
	return $took;
}

for my $round (1 .. 2 * $rounds)
{
	my $what = "round $round";
	ok(worker_runs(), "$what: a worker runs");
	my @clients = Emk::Client->start_some(8, $node, prefix => "r$round", events => { Clicked => 1, Looked => 0 }, batch => 5000, once => 1);
	wait_for(sub { sum(map { $_->acked } @clients) >= 20 }, 20);
	sleep rand 1;
	if ($round % 2)
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		kill_postmaster($what);
	}
	my @told = map { $_->stop } @clients;
	cmp_ok(scalar(grep { $_->{result} eq 'ok' } @told), '>=', 20, "$what: clients were busy");
	push @journal, @told;
	my %is = map { $_ => 1 } split /\n/, query("SELECT message_id FROM eventmkt_data.event WHERE message_id LIKE 'r$round-%'");
	my %told = map { $_->{message_id} => $_->{result} } @told;
	is(join(' ', grep { $told{$_} eq 'ok' && !$is{$_} } sort keys %told), '', "$what: nothing acknowledged is missing");
	is(join(' ', grep { ($told{$_} // 'failed') eq 'failed' } sort keys %is), '', "$what: nothing is there that nobody committed");
	is(violations($node), '', "$what: state machine");
}

# ---- hundreds of open transfers
ok(worker_runs(), 'a worker runs');
query("SELECT count(eventmkt.track('h' || i, 'Hang')) FROM generate_series(1, " . TRANSFERS . ') i');
ok(wait_for(sub { ($sink->stats->{paths}{'/hang'}{requests} // 0) >= TRANSFERS }, 30), TRANSFERS . ' transfers are open');
kill_postmaster(TRANSFERS . ' transfers');
$sink->mode('/hang', 'ok');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'hang' AND status = 'delivered'", TRANSFERS, 60), 'all of them are sent again');

ok(wait_for_sql($node, "SELECT (SELECT count(*) FROM eventmkt_data.work) + (SELECT count(*) FROM eventmkt_data.pending_trigger)
	+ (SELECT count(*) FROM eventmkt_data.delivery WHERE status <> 'delivered')", '0', 60), 'all that was to be sent is delivered');
is(query(q{SELECT count(*) FROM eventmkt_data.event e WHERE name = 'Looked'
	AND 1 <> (SELECT count(*) FROM eventmkt_data.decision d WHERE d.event_id = e.event_id AND d.rule = 'later' AND d.outcome = 'recorded')}), 0,
	'each event of the other rule has its one decision');
is(query('SELECT count(*) FROM eventmkt_data.decision d WHERE NOT EXISTS (SELECT FROM eventmkt_data.event e WHERE e.event_id = d.event_id)'), 0,
	'no decision without its event');
delete $_->{event_id} for @journal;
is(check_safety($node, $sink, drained => 1, client => \@journal, max_duplicates => $flight * 2 * $rounds + TRANSFERS), '', 'safety rule');
my %n;
$n{ $_->{result} }++ for @journal;
note sprintf 'figure: R04: %d stops of each kind: %d acknowledged, %d rolled back, %d unknown; %d deliveries, %d duplicates; a worker without postmaster lived %.2f s at most',
	$rounds, @n{qw(ok failed unknown)}, @Emk::last_counts{qw(deliveries duplicates)}, $slowest;
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle/, 'nothing bad in the log');
$node->stop;
done_testing();
