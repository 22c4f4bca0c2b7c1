# Segment's own client posts to the collector, which calls ingest(): what arrives, once, under whom, and what is refused
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use HTTP::Tiny;
use IO::Compress::Gzip qw(gzip);
use IPC::Run ();
use JSON::PP ();
use MIME::Base64;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::Bin/../..";
my $node_js = Emk::Sink::node_program();
plan skip_all => 'the npm packages are not installed'
	unless system($node_js, '-e', q(require('pg'); require('@segment/analytics-node'))) == 0;

my $json = JSON::PP->new->utf8->canonical;
my $node = new_node('shop');
$node->safe_psql('postgres', "CREATE ROLE collector LOGIN; SELECT eventmkt.grant_access('collector', 'tracker')");

my ($in, $out, $log) = ('', '', '');
my $collector;

sub start_collector
{
	my ($port) = @_;
	($in, $out, $log) = ('', '', '');
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGUSER => 'collector', PGDATABASE => 'postgres',
		WRITE_KEY => 'other,s3cret', MAX_BYTES => 1_000_000, TIMEOUT_MS => 5000);
	$collector = IPC::Run::start([ $node_js, "$top/contrib/collector/collector.js", '--watch-stdin', '--port', $port ], '<', \$in,
		'>', \$out, '2>', \$log, IPC::Run::timeout(180));
	$collector->pump until $out =~ /\n/;
	return $json->decode($out)->{port};
}

END { $collector->kill_kill if $collector; }

my $port = start_collector(0);
my $url = "http://127.0.0.1:$port";
my $http = HTTP::Tiny->new(timeout => 10);

# ---- the real client, whose first answer is lost ----
my ($client_out, $client_err) = ('', '');
IPC::Run::run([ $node_js, "$FindBin::Bin/lib/segment_client.js", $url, 's3cret' ], '<', \undef, '>', \$client_out, '2>', \$client_err,
	IPC::Run::timeout(60));
is($client_out . $client_err, '', 'the client is content');
is($node->safe_psql('postgres', "SELECT name, count(*), count(DISTINCT message_id) FROM eventmkt_data.event GROUP BY 1 ORDER BY 1"),
	"Counted|40|40\nOrder Completed|1|1\nPage Viewed|1|1\nProduct Viewed|1|1\nScreen Viewed|1|1\ntrait changed|4|0", 'each message once');
is($node->safe_psql('postgres', "SELECT count(*) FROM eventmkt_data.event WHERE conflict_of IS NOT NULL"), '0',
	'a second try is no other message');
is($node->safe_psql('postgres', q(SELECT string_agg(alias, ',' ORDER BY alias) FROM eventmkt_data.alias WHERE profile_id = 'ann')),
	'ann@example.com,visitor-1', 'the visitor and the address are Ann');
is($node->safe_psql('postgres', q(SELECT traits FROM eventmkt_data.profile)),
	'{"name": "Ann", "tier": "gold", "group": {"plan": "pro"}, "group_id": "acme"}', 'her traits');
is($node->safe_psql('postgres', q(SELECT properties FROM eventmkt_data.event WHERE name = 'Product Viewed')),
	'{"sku": "A1", "note": "Größe \"M\" 👕", "price": 59.9}', 'properties as they were sent');
is($node->safe_psql('postgres', q(SELECT properties FROM eventmkt_data.event WHERE name = 'Page Viewed')),
	'{"url": "/", "name": "Home", "category": "Shop"}', 'a page');
is($node->safe_psql('postgres', q(SELECT count(*) FROM eventmkt_data.event WHERE depth = 0 AND name <> 'Order Completed'
	AND occurred_at BETWEEN received_at - interval '1 minute' AND received_at)), '43', 'times are now');
is($node->safe_psql('postgres', q(SELECT abs(extract(epoch FROM occurred_at - '2024-02-03 04:05:06.789Z')) < 5 FROM eventmkt_data.event
	WHERE name = 'Order Completed')), 't', 'a time that was given holds');

# ---- single requests ----
sub post
{
	my ($path, $body, %headers) = @_;
	$headers{authorization} //= 'Basic ' . encode_base64('s3cret:', '');
	delete $headers{authorization} if $headers{authorization} eq '';
	my $answer = $http->post($url . $path, { content => ref $body ? $json->encode($body) : $body, headers => \%headers });
	return ($answer->{status}, $answer->{content});
}

sub status { return (post(@_))[0] }

my $track = { userId => 'bob', event => 'X', messageId => 'one' };
my ($code, $content) = post('/v1/track', $track);
is($code, 200, 'the path says the type');
is((post('/v1/track', $track))[1], $content, 'a repeat has the same id');
gzip(\$json->encode({ %$track, messageId => 'two' }), \my $packed);
is(status('/v1/track', $packed, 'content-encoding' => 'gzip'), 200, 'gzip');
is(status('/v1/batch', { batch => [ { %$track, type => 'track', messageId => 'three' } ], writeKey => 'other' }, authorization => ''), 200,
	'the key in the body');
is($node->safe_psql('postgres', "SELECT count(*) FROM eventmkt_data.event WHERE profile_id = 'bob'"), '3', 'all stored');

is(status('/v1/track', $track, authorization => ''), 401, 'no key');
is(status('/v1/track', $track, authorization => 'Basic ' . encode_base64('s3cre:t', '')), 401, 'a wrong key');
is(status('/v1/track', '{"userId": '), 400, 'no JSON');
is(status('/v1/track', '[]'), 400, 'no object');
is(status('/v1/track', { event => 'X' }), 400, 'nobody');
is(status('/v1/track', { userId => 'bob', event => "a\0b" }), 400, 'a zero byte');
($code, $content) = post('/v1/batch', { batch => [ { %$track, type => 'track', messageId => 'four' }, { type => 'track' } ] });
is($code, 400, 'a batch with a wrong message');
like($content, qr/message 1 of the batch/, 'says which');
is(status('/v1/track', { %$track, properties => { a => 'x' x 1_000_000 } }), 413, 'too large');
gzip(\('x' x 20_000_000), \my $bomb);
is(status('/v1/track', $bomb, 'content-encoding' => 'gzip'), 413, 'too large once unpacked');
is(status('/v1/track', 'nonsense', 'content-encoding' => 'gzip'), 400, 'not gzip');
is(status('/v1/track', $packed, 'content-encoding' => 'br'), 415, 'another encoding');
is(status('/v1/other', $track), 404, 'another path');
is($http->get("$url/v1/track")->{status}, 405, 'GET');
is($http->get("$url/health")->{status}, 200, 'health');
is($node->safe_psql('postgres', "SELECT count(*) FROM eventmkt_data.event WHERE profile_id = 'bob'"), '3', 'nothing more stored');

# ---- the database goes and comes back ----
$node->stop('immediate');
is(status('/v1/track', { %$track, messageId => 'five' }), 503, 'without a database: try again');
is($http->get("$url/health")->{status}, 503, 'health says so');
$node->start;
ok(wait_for(sub { status('/v1/track', { %$track, messageId => 'five' }) == 200 }, 30), 'and it works again');
is($node->safe_psql('postgres', "SELECT count(*) FROM eventmkt_data.event WHERE message_id = 'five'"), '1', 'once');

# the role may do no more than track
my ($rc, undef, $err) = $node->psql('postgres', 'SELECT * FROM eventmkt_data.event', connstr => $node->connstr('postgres') . ' user=collector');
like($err, qr/permission denied/, 'the collector reads nothing');

$collector->signal('TERM');
$collector->finish;
is($collector->result(0), 0, 'the collector ends by itself');
undef $collector;
unlike($log, qr/bob|ann|Product|s3cret/, 'its log names nobody');
done_testing();
