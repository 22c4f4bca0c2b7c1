# A server that goes on from an earlier place in the WAL (recovery to a point in time) or comes back from a crash never gives an
# id of an event, a run or a message to other content (R35)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $json = JSON::PP->new->utf8;
my $sink = start_sink(sync => 0);
my $node = new_node('origin', preload => 1, init_args => { allows_streaming => 1, has_archiving => 1 });
my (%content, $clashes);

# Tracks N events in several sessions; remembers what id each was given. In two of three the ids are known to somebody outside.
sub track
{
	my ($server, $who, $n) = @_;
	for my $part (1 .. 4)
	{
		my @got = split /\n/, $server->safe_psql('postgres', "SELECT eventmkt.track('$who' || i, 'Seen', jsonb_build_object('who', '$who-$part-' || i)) || ' $who-$part-' || i
			FROM generate_series(1, $n / 4) i");
		for (@got)
		{
			my ($id, $what) = split / /;
			$clashes .= "event $id: $content{\"event $id\"} and $what\n" if exists $content{"event $id"};
			$content{"event $id"} = $what;
		}
	}
}

sub drained
{
	my ($server) = @_;
	return wait_for_sql($server, "SELECT (SELECT count(*) FROM eventmkt_data.work) + (SELECT count(*) FROM eventmkt_data.delivery WHERE status <> 'delivered')", '0', 30);
}

create_endpoint($node, 'e', $sink, '/ok');
$node->safe_psql('postgres', q{SELECT eventmkt.create_rule('seen', on_event => 'Seen', send_to => 'e')});
$clashes = '';
track($node, 'first', 200);
ok(drained($node), 'the first are sent');
$node->backup('base');
track($node, 'kept', 200);
ok(drained($node), 'those before the point in time are sent');
my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
track($node, 'lost', 400);
ok(drained($node), 'those after it, too');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
my $ids = $node->safe_psql('postgres', q{SELECT string_agg(event_id::text, ',') FROM eventmkt_data.event});

# ---- a crash: the sequence goes on where the WAL ends
track($node, 'before', 100);
$node->stop('immediate');
$node->start;
track($node, 'after', 100);
is($clashes, '', 'after a crash no event has the id of another');
ok(drained($node), 'after a crash all are sent');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->stop('fast');

# ---- back to the point in time, twice: each server of the family is another timeline
my ($from, $seen) = ($node, 0);
for my $copy ('again', 'oncemore')
{
	my $pitr = PostgreSQL::Test::Cluster->new($copy);
	$pitr->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	$pitr->append_conf('postgresql.conf', "recovery_target_lsn = '$lsn'\nrecovery_target_action = 'promote'\nrecovery_target_timeline = '1'\narchive_mode = on\nrestart_after_crash = on");
	# both write the history of their timeline into the archive, so they differ
	$pitr->start;
	ok(wait_for_sql($pitr, 'SELECT NOT pg_is_in_recovery()', 't', 30), "$copy: promoted");
	is($pitr->safe_psql('postgres', "SELECT count(*) FILTER (WHERE profile_id LIKE 'kept%') || ' ' || count(*) FILTER (WHERE profile_id LIKE 'lost%') FROM eventmkt_data.event"),
		'200 0', "$copy: it knows what was before the point in time and nothing later");
	ok(wait_for_sql($pitr, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 20), "$copy: a worker runs");
	track($pitr, $copy, 600);
	is($clashes, '', "$copy: no event has the id of another, not of one that it forgot either");
	ok(drained($pitr), "$copy: all are sent");
	is($pitr->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT event_id) FROM eventmkt_data.event'), '0', "$copy: ids in the table are unique");
	is($pitr->safe_psql('postgres', 'SELECT count(*) FROM eventmkt_data.event WHERE event_id < 0 OR event_id >= 9007199254740992'), '0', "$copy: and numbers that JavaScript can hold");
	is(violations($pitr), '', "$copy: state machine");
	$pitr->stop('fast');
	# the next one must take another timeline: it finds this one's history where it restores from
	for my $history (glob $pitr->data_dir . '/pg_wal/*.history')
	{
		(my $name = $history) =~ s{.*/}{};
		append_to_file($node->archive_dir . "/$name", slurp_file($history)) unless -e $node->archive_dir . "/$name";
	}
}

# ---- what went over the wire: ids of events, runs and messages
my %wire;
my $differ = '';
for my $r ($sink->requests('/ok'))
{
	my $data = $json->decode($r->{body})->{data};
	my $what = "$data->{user_id} $data->{event}{properties}{who}";
	for my $id ("message $r->{id}", "run $data->{run_id}", "event $data->{event}{id}")
	{
		$differ .= "$id: $wire{$id} and $what\n" if ($wire{$id} //= $what) ne $what;
	}
	$seen++;
}
cmp_ok($seen, '>=', 2200, 'all that was written was sent');
is($differ, '', 'no id of a message, a run or an event was ever given to other content');
note "$seen messages, " . keys(%wire) . ' ids on the wire';
done_testing();
