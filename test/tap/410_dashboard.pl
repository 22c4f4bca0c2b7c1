# contrib/dashboard is built by an analyst, without a network, of a database with known rows and of an empty one; a headless
# browser opens every page: the figures on it are those of the views, and nothing complains or asks another server
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use File::Temp;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $top = "$FindBin::Bin/../..";
my $site = "$top/contrib/dashboard";
my $node_js = Emk::Sink::node_program();
my ($browser) = grep { -x } map { ("$_/chromium-headless-shell", "$_/chromium") } split /:/, $ENV{PATH};
plan skip_all => 'no chromium-headless-shell and no chromium is installed' unless $browser;
plan skip_all => 'the npm packages are not installed' unless -d "$site/node_modules" && system($node_js, '-e', q(require('playwright-core'))) == 0;

# where a user may have a network of his own, the build has one without any other machine
my @alone = system('unshare -rn true 2>/dev/null') == 0 ? ('unshare', '-rn') : ();
my $node = new_node('shop', dbname => 'shop');
$node->safe_psql('shop', "CREATE ROLE bi LOGIN; SELECT eventmkt.grant_access('bi', 'analyst'); ALTER ROLE bi SET TimeZone = 'Europe/Berlin'");

sub run_node
{
	my ($db, @command) = @_;
	my ($out, $err) = ('', '');
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGUSER => 'bi', PGDATABASE => $db);
	IPC::Run::run([ @command ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(180));
	return ($? >> 8, $out, $err);
}

# opens every page; what the browser found
sub look
{
	my ($what) = @_;
	my $start = time;
	my ($rc, $out, $err) = run_node('shop', $node_js, "$FindBin::Bin/lib/dashboard.js", "$site/dist", $browser);
	is($rc, 0, "$what: the browser opens it") or BAIL_OUT($out . $err);
	note(sprintf '%s: looked at in %.1f s', $what, time - $start);
	my $pages = JSON::PP->new->utf8->decode($out);
	for my $p (sort keys %$pages)
	{
		is_deeply($pages->{$p}{wrong}, [], "$what, $p: no error, no request to another server");
		ok(!$pages->{$p}{wide}, "$what, $p: nothing sticks out at the side");
	}
	return $pages;
}

# figures as the page writes them: 1234.5 → 1,234.50, 0.2071 → 20.7 %
sub commas { my ($n) = @_; return "\x{2013}" if $n eq 'none'; 1 while $n =~ s/^(\d+)(\d{3})/$1,$2/; return $n; }
sub figures_of { my ($query) = @_; return map { [ split /\|/, $_, -1 ] } split /\n/, $node->safe_psql('shop', "SET TimeZone = 'Europe/Berlin'; $query"); }

# ---- two months of a shop ----
$node->safe_psql('shop', slurp_file("$FindBin::Bin/lib/dashboard.sql"));
my $start = time;
my ($rc, $out, $err) = run_node('shop', @alone, $node_js, "$site/build.js");
is($rc, 0, 'it is built') or BAIL_OUT(substr($out . $err, -3000));
note(sprintf 'built in %.1f s', time - $start);
my $pages = look('shop');
my %charts = (index => 5, rules => 2, people => 4, delivery => 1);
cmp_ok($pages->{$_}{charts}, '>=', $charts{$_}, "$_: its charts are drawn") for sort keys %charts;

my $lately = q(day > eventmkt.clock()::date - 90);
my %want = (
	index => {
		map({ $_->[0] => commas($_->[1]) }
			figures_of("SELECT 'events', sum(events) FROM eventmkt_bi.events_by_day WHERE $lately"),
			figures_of("SELECT 'delivered', sum(decisions) FROM eventmkt_bi.decisions_by_rule WHERE outcome = 'delivered' AND $lately"),
			figures_of("SELECT 'spared', sum(decisions) FROM eventmkt_bi.decisions_by_rule WHERE outcome IN ('cancelled', 'suppressed', 'expired') AND $lately"),
			figures_of("SELECT 'revenue', round(sum(revenue), 2) FROM eventmkt_bi.conversions")) },
	rules => {
		map({ $_->[0] => commas($_->[1]) }
			figures_of("SELECT 'rules', count(*) FROM eventmkt_bi.rules WHERE enabled"),
			figures_of("SELECT 'runs', sum(decisions) FROM eventmkt_bi.decisions_by_rule WHERE $lately AND outcome NOT IN ('held', 'late_cancel')"),
			figures_of("SELECT kind, sum(runs) FROM eventmkt_bi.triggered_and_scheduled WHERE $lately GROUP BY 1"),
			figures_of("SELECT 'reason:' || outcome || ':' || reason, sum(decisions) FROM eventmkt_bi.decisions_by_rule WHERE $lately AND reason IS NOT NULL GROUP BY 1"),
			figures_of("SELECT 'delivered:' || rule, delivered FROM eventmkt_bi.rules"),
			figures_of("SELECT 'conversions:' || goal || ':' || rule, conversions FROM eventmkt_bi.conversions"),
			figures_of("SELECT 'revenue:' || goal || ':' || rule, coalesce(round(revenue, 2)::text, 'none') FROM eventmkt_bi.conversions")),
		map({ $_->[0] => sprintf('%.1f %%', $_->[1]) }
			figures_of("SELECT 'rate:' || goal || ':' || rule, round(conversion_rate * 100, 1) FROM eventmkt_bi.conversions")) },
	people => {
		map({ $_->[0] => commas($_->[1]) }
			map({ my $f = $_->[0]; figures_of(qq(SELECT 'funnel:$f:' || step, profiles FROM eventmkt_bi."funnel_$f")) } figures_of('SELECT name FROM eventmkt_bi.funnels')),
			map({ my $s = $_->[0]; figures_of(qq(SELECT 'segment:$s', count(*) FROM eventmkt_bi."segment_$s")) } figures_of('SELECT name FROM eventmkt_bi.segments'))) },
	delivery => {
		map({ $_->[0] => commas($_->[1]) }
			figures_of("SELECT 'dead', n FROM eventmkt_bi.queue WHERE what = 'dead letters'"),
			figures_of("SELECT 'open', sum(n) FROM eventmkt_bi.queue WHERE what ~ '^deliveries'"),
			figures_of("SELECT 'waiting', sum(n) FROM eventmkt_bi.queue WHERE what IN ('runs waiting', 'runs held')"),
			figures_of("SELECT 'queue:' || what, n FROM eventmkt_bi.queue"),
			figures_of("SELECT 'latency:' || rule, n FROM eventmkt_bi.latency WHERE period = 'all' AND measure = 'due to sent'"),
			figures_of("SELECT 'delivered_last_day', sum(delivered_last_day) FROM eventmkt_bi.endpoints")) },
);
# what the overview shows of segments is on the page of people too
$want{index}{$_} = $want{people}{$_} for grep { /^segment:/ } keys %{ $want{people} };
for my $p (sort keys %want)
{
	cmp_ok(scalar keys %{ $want{$p} }, '>', 5, "$p: there are figures");
	is_deeply($pages->{$p}{figures}, $want{$p}, "$p: the figures are those of the views");
}
is($pages->{people}{heading}, 'People', 'a heading');
cmp_ok($pages->{index}{figures}{events} =~ tr/,//dr, '>', 5000, 'the shop has thousands of events');

# ---- an empty database: the same pages, with what the loader says of it ----
$node->safe_psql('postgres', "CREATE DATABASE empty");
$node->safe_psql('empty', "SET client_min_messages = warning; CREATE EXTENSION eventmkt; SELECT FROM eventmkt.init(); SELECT eventmkt.grant_access('bi', 'analyst')");
my ($data) = glob("$site/dist/_file/data/report.*.json");
($rc, $out, $err) = run_node('empty', $node_js, "$site/src/data/report.json.js");
is("$rc$err", '0', 'the loader reads an empty database');
open my $fh, '>', $data or die "$data: $!";
print $fh $out;
close $fh;
$pages = look('empty');
is($pages->{index}{figures}{$_}, '0', "empty: $_") for qw(events delivered spared);
is($pages->{rules}{figures}{rules}, '0', 'empty: no rules');
# who is no analyst builds nothing
$node->safe_psql('empty', "SELECT eventmkt.revoke_access('bi', 'analyst')");
($rc, $out, $err) = run_node('empty', $node_js, "$site/src/data/report.json.js");
cmp_ok($rc, '>', 0, 'without access the loader fails');
like($err, qr/permission denied/, 'and says why');
$node->stop;
done_testing();
