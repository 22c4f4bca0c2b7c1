# Copies of a database: dump and restore (R37), disk-level clone, standby and promotion (R38, invariant: a copy is silent)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $paused = q{SELECT detail FROM eventmkt.health() WHERE "check" = 'paused'};
my $worker = q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'};
my $instance = q{SELECT state FROM eventmkt.health() WHERE "check" = 'instance'};

# Every table of eventmkt_data with its row count and a hash over its rows; what the server itself keeps is left out
sub contents
{
	my ($node) = @_;
	my @tables = split /\n/, $node->safe_psql('shop', q{SELECT relname FROM pg_class WHERE relnamespace = 'eventmkt_data'::regnamespace
		AND relkind = 'r' ORDER BY relname COLLATE "C"});
	return join "\n", map {
		my $where = $_ eq 'setting' ? q{WHERE key NOT LIKE 'worker_pid%'} : '';
		"$_ " . $node->safe_psql('shop', qq{SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)), 0)
			FROM eventmkt_data."$_" t $where});
	} @tables;
}

# A plain dump without the tokens that differ from run to run
sub dumped
{
	my ($node) = @_;
	my ($text, $err) = ('', '');
	IPC::Run::run([ 'pg_dump', $node->connstr('shop') ], '>', \$text, '2>', \$err) or die $err;
	return $text =~ s/^\\(?:un)?restrict .*\n//gmr;
}

sub diff
{
	my ($one, $two) = map { { map { $_ => 1 } split /\n/ } } @_;
	diag(join "\n", (map { "- $_" } grep { !$two->{$_} } sort keys %$one), (map { "+ $_" } grep { !$one->{$_} } sort keys %$two));
}

my $home = new_node('home', preload => 1, dbname => 'shop', init_args => { allows_streaming => 1 });
$home->safe_psql('shop', <<'SQL');
INSERT INTO eventmkt_data.endpoint (name, url, schedule, created_at) VALUES ('mail', 'http://127.0.0.1:1/', '{5}', '2026-01-01');
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', where_event => '$.amount >= 50', per => 'cart_id',
	unless => '{Order Completed}', after => '24 hours', send_to => 'mail');
SELECT eventmkt.track('u' || i, 'Product Added', jsonb_build_object('cart_id', i, 'amount', i)) FROM generate_series(1, 200) i;
SELECT eventmkt.identify('u1', '{"tier": "gold"}', 'anon1');
CREATE ROLE app;
CREATE ROLE boss;
SELECT eventmkt.grant_access('app', 'tracker');
SELECT eventmkt.grant_access('boss', 'operator');
SELECT eventmkt.create_segment('gold', where_profile => '$.tier == "gold"', track_membership => true);
SELECT eventmkt.create_segment('adders', on_event => 'Product Added', within => '30 days');
SELECT eventmkt.expose_property('Product Added', 'amount', 'numeric');
SELECT eventmkt.create_funnel('shop', '{Product Added,Order Completed}', '7 days');
SELECT eventmkt.keep_timelines('cart_id', 'amount');
-- partitions of run time, and what a DBA did: columns, an index, a comment, a constraint
SELECT eventmkt.make_partitions('2025-01-06', '2025-01-19');
SELECT eventmkt.track('u' || i % 40, 'Product Viewed', '{}', '2025-01-05'::timestamptz + i * interval '3 hours', 'h' || i) FROM generate_series(1, 150) i;
ALTER TABLE eventmkt_data.profile ADD COLUMN crm_id text DEFAULT 'unknown';
UPDATE eventmkt_data.profile SET crm_id = 'c1';
ALTER TABLE eventmkt_data.event ADD COLUMN shop_id int DEFAULT 7;
ALTER TABLE eventmkt_data.event ADD CONSTRAINT shop_known CHECK (shop_id > 0);
CREATE INDEX dba_event_shop ON eventmkt_data.event (shop_id, occurred_at);
CREATE INDEX dba_delivery ON eventmkt_data.delivery (endpoint_id, created_at) WHERE status = 'dead';
COMMENT ON COLUMN eventmkt_data.profile.crm_id IS 'from the CRM';
SELECT eventmkt.track('u3', 'Product Added', '{"cart_id": 1, "amount": 60}');
SELECT count(*) FROM eventmkt.run_due();
INSERT INTO eventmkt.secret VALUES ('mail', 'canary-canary', '2026-01-01');
SQL
$home->safe_psql('shop', 'SELECT eventmkt.stop_worker()');

# ---- dump and restore into an empty server
my $dir = PostgreSQL::Test::Utils::tempdir();
$home->command_ok([ 'pg_dumpall', '-g', '-f', "$dir/roles.sql", '-d', $home->connstr('postgres') ], 'roles are dumped');
$home->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", $home->connstr('shop') ], 'plain dump');
$home->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", $home->connstr('shop') ], 'custom dump');
$home->command_ok([ 'pg_dump', '-Fd', '-j2', '-f', "$dir/folder", $home->connstr('shop') ], 'folder dump');
unlike(slurp_file("$dir/plain.sql"), qr/canary-canary|\Q@{[unpack 'H*', 'canary-canary']}\E/, 'no dump holds a secret');
my $before = contents($home);
my $first = dumped($home);
cmp_ok($home->safe_psql('shop', 'SELECT count(*) FROM eventmkt_data.event WHERE shop_id = 7'), '>', 300, 'events beside a column of the DBA');
my $dba = q{SELECT string_agg(x, ' ' ORDER BY x) FROM (SELECT indexrelid::regclass || ' ' || indisvalid AS x FROM pg_index WHERE indexrelid::regclass::text ~ 'dba_|shop_id'
	UNION ALL SELECT attrelid::regclass || '.' || attname FROM pg_attribute WHERE attname IN ('crm_id', 'shop_id') AND attrelid::regclass::text ~ '^eventmkt_data\.(event|profile)'
	UNION ALL SELECT conrelid::regclass || ' ' || conname FROM pg_constraint WHERE conname = 'shop_known') d};

for my $kind (qw(plain custom folder))
{
	my $copy = new_node("copy_$kind", preload => 1, extension => 0);
	my ($out, $err);
	IPC::Run::run([ 'psql', '-Xq', '-d', $copy->connstr('postgres'), '-f', "$dir/roles.sql" ], '>', \$out, '2>', \$err);
	$copy->safe_psql('postgres', 'CREATE DATABASE shop');
	$copy->safe_psql('postgres', q{ALTER DATABASE shop SET search_path = ''}) if $kind eq 'plain';
	my @restore = $kind eq 'plain' ? ('psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $copy->connstr('shop'), '-f', "$dir/plain.sql")
		: ('pg_restore', '--exit-on-error', ($kind eq 'folder' ? '-j2' : ()), '-d', $copy->connstr('shop'), "$dir/$kind");
	$copy->command_ok([@restore], "$kind: restored without an error");
	is(contents($copy), $before, "$kind: every table as it was");
	my $second = dumped($copy) =~ s/^ALTER DATABASE shop SET search_path.*\n//mr;
	ok($second eq $first, "$kind: its dump is the first one, byte for byte") or diff($first, $second);
	is($copy->safe_psql('shop', $dba), $home->safe_psql('shop', $dba), "$kind: columns, constraint and indexes of the DBA are there");
	is($copy->safe_psql('shop', q{SELECT count(*) FROM eventmkt_bi.segment_gold}) . $copy->safe_psql('shop', q{SELECT count(*) FROM eventmkt_bi."event_Product Added"}),
		$home->safe_psql('shop', q{SELECT count(*) FROM eventmkt_bi.segment_gold}) . $home->safe_psql('shop', q{SELECT count(*) FROM eventmkt_bi."event_Product Added"}),
		"$kind: views of definitions answer the same");
	is($copy->safe_psql('shop', 'SELECT count(*) FROM eventmkt.secret'), '0', "$kind: but no secret");
	is($copy->safe_psql('shop', q{SET client_min_messages = error; SET ROLE boss; SELECT eventmkt.set_secret('mail') LIKE 'whsec_%'; RESET ROLE;
		CREATE ROLE reader; GRANT pg_read_all_data TO reader; SELECT count(*) FROM eventmkt.secret; SET ROLE reader; SELECT count(*) FROM eventmkt.secret}),
		"t\n1\n0", "$kind: pg_read_all_data does not see a new one, before init() too");
	is($copy->safe_psql('shop', q{SELECT state FROM eventmkt_bi.endpoints}), 'ok', "$kind: the view knows of it");
	is($copy->safe_psql('shop', 'SELECT eventmkt.start_worker()'), 'running', "$kind: a worker runs");
	like($copy->safe_psql('shop', $paused), qr/^copy/, "$kind: and is silent");
	ok(wait_for(sub { slurp_file($copy->logfile) =~ /WARNING:  this database is a copy/ }, 10), "$kind: it said so");
	sleep 1.5;
	is($copy->safe_psql('shop', 'SELECT count(*) FROM eventmkt_data.work'),
		$home->safe_psql('shop', 'SELECT count(*) FROM eventmkt_data.work'), "$kind: it touched nothing");
	is($copy->safe_psql('shop', 'SET ROLE boss; SELECT count(*) > 0 FROM eventmkt.health()'), 't', "$kind: rights came along");
	$copy->safe_psql('shop', q{SET ROLE app; SELECT eventmkt.track('u1', 'Product Added')});
	is($copy->safe_psql('shop', q{SELECT step || ' ' || state FROM eventmkt.init() WHERE step = 'instance'}), 'instance copy',
		"$kind: init() does not make it home");
	$copy->safe_psql('shop', q{SET ROLE boss; SELECT eventmkt.adopt('send')});
	ok(wait_for_sql($copy, $paused, 'no', 5, 'shop'), "$kind: adopted");
	$copy->stop;
}

# ---- a standby: nothing runs there; promoted, it goes on
$home->safe_psql('shop', 'SELECT eventmkt.start_worker()');
$home->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($home, 'base', has_streaming => 1);
$standby->start;
$home->wait_for_catchup($standby);
is($standby->safe_psql('shop', $paused), 'standby', 'a standby pauses');
is($standby->safe_psql('shop', $worker), 'ok', 'and that is right');
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'eventmkt%'"), '0', 'nothing of ours runs there');
my ($rc, $out, $err) = $standby->psql('shop', 'SELECT eventmkt.start_worker()');
like($err, qr/cannot start a worker on a standby/, 'and nothing can be started');
($rc, $out, $err) = $standby->psql('shop', 'SELECT eventmkt.init()');
like($err, qr/cannot execute eventmkt.init\(\) during recovery/, 'init() neither');
$home->stop('fast');
$standby->promote;
ok(wait_for_sql($standby, $worker, 'ok', 5, 'shop'), 'promoted: a worker runs within five seconds');
is($standby->safe_psql('shop', $paused), 'no', 'and is not paused');
is($standby->safe_psql('shop', $instance), 'error', 'health() says that the timeline changed');
$standby->safe_psql('shop', "SELECT eventmkt.adopt('send')");
is($standby->safe_psql('shop', $instance), 'ok', 'until adopt()');

# ---- a named instance: the clone of a disk under another name is silent
$standby->append_conf('postgresql.conf', "eventmkt.instance = 'production'");
$standby->reload;
ok(wait_for(sub { $standby->safe_psql('shop', $paused) =~ /^copy/ }, 5), 'naming an instance asks for adopt() once');
$standby->safe_psql('shop', "SELECT eventmkt.adopt('send')");
is($standby->safe_psql('shop', $paused), 'no', 'named');
$standby->stop('fast');
my $clone = PostgreSQL::Test::Cluster->new('clone');
PostgreSQL::Test::RecursiveCopy::copypath($standby->data_dir, $clone->data_dir);
chmod 0700, $clone->data_dir;
$clone->append_conf('postgresql.conf', 'port = ' . $clone->port . "\nunix_socket_directories = '" . $clone->host . "'\neventmkt.instance = 'staging'");
$clone->start;
like($clone->safe_psql('shop', $paused), qr/^copy/, 'a disk-level clone under another name is silent');
$clone->stop;
done_testing();
