# pg_upgrade keeps everything and needs one adopt() (R39). By default both sides are this PostgreSQL, which runs the same dump, link and restore;
# EMK_OLD_PG names the installation (folder with bin and lib) of an older major version with the extension installed, and then it is that one's data.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sink = start_sink();
my $conf = "shared_preload_libraries = 'eventmkt'\neventmkt.allowed_networks = '127.0.0.0/8'\neventmkt.allow_plain_http = on\n";
my $old = PostgreSQL::Test::Cluster->new('old', $ENV{EMK_OLD_PG} ? (install_path => $ENV{EMK_OLD_PG}) : ());
my $new = PostgreSQL::Test::Cluster->new('new');
SKIP: {
	skip 'there is no older server, EMK_OLD_PG names none: both sides are PostgreSQL ' . $new->pg_version, 1 if !$ENV{EMK_OLD_PG};
	cmp_ok($old->pg_version->major, '<', $new->pg_version->major, 'from ' . $old->pg_version . ' to ' . $new->pg_version);
}
# data checksums are on by default since 18
$old->init(extra => [ '--locale', 'C', '--encoding', 'UTF8' ]);
$old->append_conf('postgresql.conf', $conf);
$old->start;
$old->safe_psql('postgres', 'CREATE DATABASE shop');
$old->safe_psql('shop', 'CREATE EXTENSION eventmkt');
$old->safe_psql('shop', 'SET client_min_messages = warning; SELECT eventmkt.init()');
create_endpoint($old, 'mail', $sink, '/ok', dbname => 'shop');
$old->safe_psql('shop', <<'SQL');
CREATE ROLE app;
SELECT eventmkt.grant_access('app', 'tracker');
SELECT eventmkt.create_rule('thanks', on_event => 'Order Completed');
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', per => 'cart_id', unless => '{Order Completed}', after => '24 hours');
SELECT eventmkt.create_segment('gold', where_profile => '$.tier == "gold"', track_membership => true);
SELECT eventmkt.expose_property('Product Added', 'amount', 'numeric');
SELECT eventmkt.create_funnel('shop', '{Product Added,Order Completed}', '7 days');
SELECT eventmkt.keep_timelines('cart_id', 'amount');
SELECT eventmkt.make_partitions('2025-01-06', '2025-01-19');
SELECT count(eventmkt.track('u' || i % 40, 'Product Viewed', '{}', '2025-01-05'::timestamptz + i * interval '3 hours', 'h' || i)) FROM generate_series(1, 150) i;
SELECT count(eventmkt.identify('u' || i, jsonb_build_object('tier', 'gold', 'n', i), 'anon' || i)) FROM generate_series(1, 10) i;
SELECT count(eventmkt.track('u' || i, 'Product Added', jsonb_build_object('cart_id', i, 'amount', i))) FROM generate_series(1, 30) i;
SELECT eventmkt.track('early', 'Order Completed');
ALTER TABLE eventmkt_data.profile ADD COLUMN crm_id text DEFAULT 'unknown';
SQL
ok(wait_for_sql($old, "SELECT count(*) FROM eventmkt_data.decision WHERE outcome = 'delivered'", '1', 30, 'shop'), 'the old server delivers');
ok(wait_for_sql($old, "SELECT (SELECT count(*) FROM eventmkt_data.pending_trigger) || ' ' || (SELECT count(*) FROM eventmkt_data.membership)", '30 10', 30, 'shop'),
	'runs wait, a segment has its members');
$old->safe_psql('shop', 'SELECT eventmkt.stop_worker()');

sub contents
{
	my ($node) = @_;
	return join "\n", map { "$_ " . $node->safe_psql('shop', qq{SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)), 0) FROM eventmkt_data."$_" t} .
		($_ eq 'setting' ? q{ WHERE key NOT LIKE 'worker_pid%'} : '')) }
		split /\n/, $node->safe_psql('shop', q{SELECT relname FROM pg_class WHERE relnamespace = 'eventmkt_data'::regnamespace AND relkind = 'r' ORDER BY relname COLLATE "C"});
}
my $before = contents($old);
my $rights = q{SELECT string_agg(oid::regprocedure::text, ' ' ORDER BY oid::regprocedure::text COLLATE "C") FROM pg_proc WHERE pronamespace = 'eventmkt'::regnamespace AND has_function_privilege('app', oid, 'EXECUTE')};
my $may = $old->safe_psql('shop', $rights);
my $secret = $old->safe_psql('shop', 'SELECT md5(string_agg(s::text, \' \')) FROM eventmkt.secret s');
$old->stop;

my @checksums = $new->pg_version >= 18 && $old->pg_version < 18 ? ('--no-data-checksums') : ();
$new->init(extra => [ '--locale', 'C', '--encoding', 'UTF8', @checksums ]);
$new->append_conf('postgresql.conf', $conf);
my ($out, $err) = ('', '');
chdir $new->basedir;
my $fine = IPC::Run::run([ 'pg_upgrade', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'), '-p', $old->port,
	'-P', $new->port, '-s', $new->host ], '>', \$out, '2>', \$err);
ok($fine, 'pg_upgrade') or diag($out, $err, map { slurp_file($_) } glob($new->data_dir . '/pg_upgrade_output.d/*/log/*.log'));
$new->start;
is(contents($new), $before, 'every row as it was');
is($new->safe_psql('shop', $rights), $may, 'rights too');
is($new->safe_psql('shop', 'SELECT md5(string_agg(s::text, \' \')) FROM eventmkt.secret s'), $secret, 'and the secrets, because this is no copy');
is($new->safe_psql('shop', q{SELECT count(*) FROM eventmkt_bi.segment_gold}), '10', 'views answer');
like($new->safe_psql('shop', q{SELECT detail FROM eventmkt.health() WHERE "check" = 'paused'}), qr/^copy/, 'it is silent');
$new->safe_psql('shop', q{SET ROLE app; SELECT eventmkt.track('late', 'Order Completed')});
$new->safe_psql('shop', "SELECT eventmkt.adopt('send')");
ok(wait_for_sql($new, q{SELECT detail FROM eventmkt.health() WHERE "check" = 'paused'}, 'no', 20, 'shop'), 'until one adopt()');
ok(wait_for_sql($new, "SELECT count(*) FROM eventmkt_data.decision WHERE outcome = 'delivered' AND profile_id = 'late'", '1', 90, 'shop'), 'the worker goes on');
$new->safe_psql('shop', "SELECT eventmkt.advance_clock('25 hours')");
ok(wait_for_sql($new, "SELECT count(*) FILTER (WHERE outcome = 'delivered') || ' ' || (SELECT count(*) FROM eventmkt_data.pending_trigger) FROM eventmkt_data.decision WHERE rule = 'cart'", '30 0', 60, 'shop'),
	'runs of then are decided and sent');
is($new->safe_psql('shop', 'SELECT count(DISTINCT profile_id) = (SELECT count(*) FROM eventmkt_bi.profile_timelines) FROM eventmkt_data.event'), 't', 'timelines are whole');
is(violations($new, dbname => 'shop'), '', 'state machine');
$new->stop;
done_testing();
