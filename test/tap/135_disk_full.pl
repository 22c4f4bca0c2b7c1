# A disk that is full (R09): first that of the tables, then that of the WAL. track() says so or the server goes down as it does;
# the worker waits and writes little about it; with room again nothing is lost and messages flow within seconds.
# Nightly: full for a minute, several times.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk::Space;
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $sink = start_sink(sync => 0, bodies => 0);
my $rounds = Emk::sized(1, 4);
my $full_for = Emk::sized(12, 60);
my $held = 400;	# messages that wait when the disk becomes full
my $n = 0;
my (@journal, %seen);

# Messages of a few kilobytes until one is refused; the error
sub track_until_refused
{
	my ($node, $db) = @_;
	for (1 .. 40000)
	{
		$n++;
		my ($rc, $out, $err) = $node->psql($db, '\set VERBOSITY verbose' . "\nSELECT eventmkt.track('u' || i % 50, 'E', jsonb_build_object('t', (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 90) j)),
			message_id => 'm$n-' || i) FROM generate_series(1, 100) i", on_error_die => 0, timeout => 60);
		my $result = !defined $rc || $rc == 2 ? 'unknown' : $rc == 0 ? 'ok' : 'failed';
		push @journal, map { { message_id => "m$n-$_", result => $result } } 1 .. 100;
		# a new session may find no room for its own cache, which says nothing of ours
		return $err if $result ne 'ok' && $err !~ /init file/;
	}
	return 'never refused';
}

sub drained
{
	my ($node, $db, $what) = @_;
	ok(wait_for_sql($node, "SELECT (SELECT count(*) FROM eventmkt_data.work) + (SELECT count(*) FROM eventmkt_data.delivery WHERE status <> 'delivered')", '0', 60, $db), "$what: all is delivered");
	delete $_->{event_id} for @journal;
	is(check_safety($node, $sink, dbname => $db, drained => 1, sends => 1, client => [@journal], max_duplicates => 200, require_verified => 0), '', "$what: safety rule");
	is(violations($node, dbname => $db), '', "$what: state machine");
}

sub our_lines { return scalar(() = slurp_file($_[0]->logfile) =~ /^.*(?:LOG|WARNING|ERROR|FATAL): .*eventmkt.*$/mg) }

# ---- the tables
{
	my $node = new_node('tables', preload => 1, conf => "autovacuum = off\n");
	my $disk = small_disk(1);
	mkdir "$disk/space" or die $!;
	$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$disk/space'");
	$node->safe_psql('postgres', 'CREATE DATABASE shop TABLESPACE small');
	$node->safe_psql('shop', 'SET client_min_messages = error; CREATE EXTENSION eventmkt; SELECT eventmkt.init()');
	create_endpoint($node, 'e', $sink, '/ok/tables', dbname => 'shop', schedule => '{1,1,1,1,1,1,1}');
	$node->safe_psql('shop', q{SELECT eventmkt.create_rule('r', on_event => 'E', on_repeat => 'parallel', send_to => 'e'); SELECT eventmkt.change_setting('profile_burst', '1000000')});
	ok(wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 20, 'shop'), 'a worker runs');
	for my $round (1 .. $rounds)
	{
		my $what = "tables, round $round";
		# messages that wait: the receiver refuses them until the disk is full
		$sink->mode('/ok/tables', 'status/503');
		my $tried = $sink->stats->{requests};
		$node->safe_psql('shop', "SELECT eventmkt.track('h' || i, 'E', '{\"t\": 1}', message_id => 'h$round-' || i) FROM generate_series(1, $held) i");
		push @journal, map { { message_id => "h$round-$_", result => 'ok' } } 1 .. $held;
		ok(wait_for(sub { $sink->stats->{requests} >= $tried + 20 }, 60), "$what: messages were refused");
		fill($disk);
		my $error = track_until_refused($node, 'shop');
		like($error, qr/ERROR:  53100: could not extend file/, "$what: track() says that the disk is full");
		$sink->mode('/ok/tables', undef);
		my $lines = our_lines($node);
		my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");
		sleep $full_for;
		$lines = our_lines($node) - $lines;
		cmp_ok($lines, '<=', $full_for / 10 + 2, "$what: a line each ten seconds at most");
		is($node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'"), $pid, "$what: the worker lives on");
		my ($waiting, $flying, $done) = split /\|/, $node->safe_psql('shop', "SELECT (SELECT count(*) FROM eventmkt_data.work) + count(*) FILTER (WHERE status <> 'delivered'),
			count(*) FILTER (WHERE status = 'in_flight'), count(*) FILTER (WHERE status = 'delivered') FROM eventmkt_data.delivery");
		cmp_ok($waiting, '>', $held / 2, "$what: messages wait");
		make_room($disk);
		my $start = time;
		my $flows = "SELECT count(*) > $done FROM eventmkt_data.delivery WHERE status = 'delivered'";
		ok(wait_for(sub { $node->safe_psql('shop', $flows) eq 't' }, 20), "$what: messages are settled again");
		in_time(time - $start, 10, "$what: within ten seconds");
		note sprintf 'figure: R09: %s: %d messages waited, %d of them in flight, %d log lines in %d s, the first was settled %.2f s after there was room',
			$what, $waiting, $flying, $lines, $full_for, time - $start;
		drained($node, 'shop', $what);
		$node->safe_psql('shop', 'VACUUM FULL eventmkt_data.delivery') if $round < $rounds;
	}
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP/, 'tables: no crash');
	$node->stop;
}

# ---- the WAL
{
	my $disk = small_disk(2);
	my $node = new_node('wal', preload => 1, init_args => { extra => [ '--waldir', "$disk/wal" ] }, conf => "min_wal_size = 32MB\nmax_wal_size = 32MB\nwal_recycle = off");
	@journal = ();
	$sink->reset;
	create_endpoint($node, 'e', $sink, '/ok/wal', schedule => '{1,1,1,1,1,1,1}');
	$node->safe_psql('postgres', q{SELECT eventmkt.create_rule('r', on_event => 'E', on_repeat => 'parallel', send_to => 'e'); SELECT eventmkt.change_setting('profile_burst', '1000000')});
	ok(wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 20), 'WAL: a worker runs');
	fill($disk);
	my $error = track_until_refused($node, 'postgres');
	like(slurp_file($node->logfile), qr/PANIC:  could not write to file "pg_wal.*No space left/, 'WAL: the server says why it goes down');
	sleep 3;
	make_room($disk);
	# it may have given up, or still be trying to start again
	$node->_update_pid(-1);
	# a psql that dies before it has read all breaks our pipe
	my $up = sub { my ($rc) = eval { $node->psql('postgres', 'SELECT 1', on_error_die => 0, timeout => 10) }; defined $rc && $rc == 0 };
	if (!wait_for($up, 3))
	{
		$node->stop('immediate', fail_ok => 1) if defined $node->{_pid};
		$node->start;
	}
	my $start = time;
	ok(wait_for($up, 30), 'WAL: with room it starts');
	ok(wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 20), 'WAL: a worker runs again');
	in_time(time - $start, 10, 'WAL: within ten seconds');
	drained($node, 'postgres', 'WAL');
	$node->stop;
}
done_testing();
