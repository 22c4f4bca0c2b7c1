# Live membership in the worker, and endpoints that are told of it: in time, in batches, in order, over retries, a dead message and a restart
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('members', preload => 1);
my $sink = start_sink();
my $db = 'postgres';
my $json = JSON::PP->new->utf8;
sub sql { return $node->safe_psql($db, $_[0]); }

# what the endpoint would hold after all that arrived, in the order in which it arrived
sub heard
{
	my ($path, $perhaps) = @_;
	my (%in, %seen);
	for my $r (grep { $_->{status} == 200 } $sink->requests($path))
	{
		next if $seen{ $r->{id} }++;
		my $data = $json->decode(sql("SELECT body FROM eventmkt_data.delivery WHERE id = '$r->{id}'"))->{data};
		for my $id (@{ $data->{added} }) { fail("$id was added twice") if $in{$id}++; }
		for my $id (@{ $data->{removed} }) { fail("$id was removed but not in") unless delete $in{$id} || $id eq ($perhaps // ''); }
	}
	return join ',', sort keys %in;
}
sub members { return sql("SELECT string_agg(profile_id, ',' ORDER BY profile_id COLLATE \"C\") FROM eventmkt_bi.members WHERE segment = '$_[0]'"); }

# ---- time alone, within a second ----
sql("SELECT eventmkt.create_segment('silent', on_event => 'Seen', unless => '{Seen}', unless_within => '3 seconds', track_membership => true)");
sql("SELECT eventmkt.create_rule('come back', on_event => 'Segment Entered', where_event => '\$.segment == \"silent\"', send_to => 'none')");
ok(wait_for_sql($node, "SELECT filling IS NULL FROM eventmkt_bi.segments WHERE name = 'silent'", 't', 20), 'an empty history is filled');
sql("SELECT eventmkt.track('ann', 'Seen')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE rule = 'come back' AND outcome = 'recorded'", 1, 20), 'three seconds of silence start the rule');
my $late = sql("SELECT extract(epoch FROM x.occurred_at - s.occurred_at) FROM eventmkt_data.event x, eventmkt_data.event s
	WHERE x.name = 'Segment Entered' AND s.name = 'Seen'");
ok($late >= 3 && $late < 4, 'within a second') or diag $late;

# ---- all members first, in batches, then changes ----
my $secret = create_endpoint($node, 'crm', $sink, '/ok/crm');
sql("SELECT count(eventmkt.track('u' || i, 'Buy')) FROM generate_series(1, 250) i");
sql("SELECT eventmkt.create_segment('buyers', on_event => 'Buy', unless => '{Refund}', track_membership => true)");
ok(wait_for_sql($node, "SELECT members FROM eventmkt_bi.segments WHERE name = 'buyers' AND filling IS NULL", 250, 20), 'filled by the worker');
is(sql("SELECT count(*) FROM eventmkt_data.event WHERE name = 'Segment Entered' AND properties ->> 'segment' = 'buyers'"), 0, 'and nobody is told');
sql("SELECT eventmkt.sync_segment('buyers', 'crm')");
ok(wait_for_sql($node, "SELECT told FROM eventmkt_bi.membership_syncs WHERE segment = 'buyers'", 250, 30), 'the endpoint knows all');
my @first = $sink->requests('/ok/crm');
is(scalar(@first), 3, 'in three messages');
is(scalar(grep { $_->{verified} } @first), 3, 'signed');
is(sql("SELECT string_agg(n::text, ',' ORDER BY id) FROM (SELECT id, jsonb_array_length(body::jsonb #> '{data,added}') AS n FROM eventmkt_data.delivery) d"),
	'100,100,50', 'of at most a hundred');
is(sql("SELECT DISTINCT (body::jsonb ->> 'type') || ' ' || (body::jsonb #>> '{data,segment}') FROM eventmkt_data.delivery"), 'segment.members buyers', 'that say what they are');
is(heard('/ok/crm'), members('buyers'), 'the endpoint holds the members');
sql("SELECT eventmkt.track('u1', 'Refund'), eventmkt.track('new', 'Buy')");
ok(wait_for_sql($node, "SELECT told FROM eventmkt_bi.membership_syncs WHERE segment = 'buyers'", 252, 20), 'a leaver and a newcomer');
is(heard('/ok/crm'), members('buyers'), 'the same again');

# ---- while a message is retried, what flutters nets out; the same id has the same body ----
create_endpoint($node, 'ads', $sink, '/ok/ads', schedule => '{2,2,2,2,2,2,2,2}');
sql("SELECT eventmkt.create_segment('gold', where_profile => '\$.tier == \"gold\"', track_membership => true)");
sql("SELECT eventmkt.sync_segment('gold', 'ads')");
$sink->mode('/ok/ads', 'status/503');
sql("SELECT eventmkt.identify('g1', '{\"tier\": \"gold\"}')");
ok($sink->wait_requests(1, 15, '/ok/ads'), 'a message that is refused');
sql("SELECT eventmkt.identify('g2', '{\"tier\": \"gold\"}'), eventmkt.identify('g1', '{\"tier\": \"blue\"}')");
ok(wait_for_sql($node, "SELECT string_agg(profile_id, ',') FROM eventmkt_bi.members WHERE segment = 'gold'", 'g2', 15), 'meanwhile people come and go');
sql("SELECT eventmkt.identify('g1', '{\"tier\": \"gold\"}'), eventmkt.identify('g3', '{\"tier\": \"gold\"}')");
ok(wait_for_sql($node, "SELECT members FROM eventmkt_bi.segments WHERE name = 'gold'", 3, 15), 'and come back');
sql("SELECT eventmkt.identify('g3', '{\"tier\": null}')");
ok(wait_for_sql($node, "SELECT members FROM eventmkt_bi.segments WHERE name = 'gold'", 2, 15), 'and go again');
$sink->mode('/ok/ads', 'ok');
ok(wait_for_sql($node, "SELECT told FROM eventmkt_bi.membership_syncs WHERE segment = 'gold'", 2, 30), 'what is left is told');
is(sql("SELECT string_agg((body::jsonb #>> '{data,added}') || (body::jsonb #>> '{data,removed}'), ' ' ORDER BY id) FROM eventmkt_data.delivery WHERE key = 'gold'"),
	'["g1"][] ["g2"][]', 'in two messages, the flutter in none');
is(heard('/ok/ads'), members('gold'), 'and it is so');

# ---- a message that dies holds its line, until it is asked to go on; the server ends in between ----
create_endpoint($node, 'mail', $sink, '/ok/mail', schedule => '{}');
$sink->mode('/ok/mail', 'status/400');
sql("SELECT eventmkt.sync_segment('buyers', 'mail')");
ok(wait_for_sql($node, "SELECT d.status FROM eventmkt_bi.membership_syncs s JOIN eventmkt_data.delivery d ON d.id = s.delivery_id WHERE s.endpoint = 'mail'",
	'dead', 20), 'refused for good');
$sink->mode('/ok/mail', 'ok');
is(sql("SELECT body LIKE '%\"u10\"%' FROM eventmkt_data.delivery WHERE key = 'buyers' AND status = 'dead'"), 't', 'a message that may have been taken all the same');
sql("SELECT eventmkt.track('late', 'Buy'), eventmkt.track('u10', 'Refund')");
$node->stop('immediate');
$node->start;
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_bi.members WHERE profile_id = 'late'", 1, 60), 'members are kept after a crash');
is(sql("SELECT told FROM eventmkt_bi.membership_syncs WHERE endpoint = 'mail'"), 0, 'the line is held');
sql("SELECT eventmkt.sync_segment('buyers', 'mail')");
ok(wait_for_sql($node, "SELECT told FROM eventmkt_bi.membership_syncs WHERE endpoint = 'mail'", 251, 40), 'and goes on when told to');
is(heard('/ok/mail', 'u10'), members('buyers'), 'with what is true now');
is(sql("SELECT count(*) FROM eventmkt_data.delivery d JOIN eventmkt_data.endpoint e USING (endpoint_id) WHERE e.name = 'mail' AND d.status = 'delivered'
	AND body::jsonb #> '{data,removed}' = '[\"u10\"]'"), 1, 'and of who left since the message that died, too');
ok(wait_for_sql($node, "SELECT told FROM eventmkt_bi.membership_syncs WHERE endpoint = 'crm'", 254, 20), 'the other line went on by itself');
is(heard('/ok/crm'), members('buyers'), 'and lost nothing');

# ---- an end ----
like(($node->psql($db, "SELECT eventmkt.untrack_segment('buyers')"))[2], qr/is synced to endpoint/, 'a segment that is synced stays');
sql("SELECT eventmkt.unsync_segment('buyers', 'crm'), eventmkt.unsync_segment('buyers', 'mail'), eventmkt.untrack_segment('buyers')");
is(sql("SELECT (SELECT count(*) FROM eventmkt_data.segment_told t JOIN eventmkt_data.segment_sync s USING (sync_id) JOIN eventmkt_data.segment USING (segment_id)
	WHERE name = 'buyers') || ' ' || (SELECT count(*) FROM eventmkt_bi.members WHERE segment = 'buyers')"), '0 0', 'nothing is left');
sql("SELECT eventmkt.drop_endpoint('ads')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.segment_sync", 0, 20), 'a line ends with its endpoint');
is(violations($node), '', 'no promise is broken');
done_testing();
