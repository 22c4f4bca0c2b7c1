# Copies of a database: dump and restore, disk-level clone, standby and promotion (R38, invariant: a copy is silent)
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

for my $kind (qw(plain custom folder))
{
	my $copy = new_node("copy_$kind", preload => 1, extension => 0);
	my ($out, $err);
	IPC::Run::run([ 'psql', '-Xq', '-d', $copy->connstr('postgres'), '-f', "$dir/roles.sql" ], '>', \$out, '2>', \$err);
	$copy->safe_psql('postgres', 'CREATE DATABASE shop');
	my @restore = $kind eq 'plain' ? ('psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $copy->connstr('shop'), '-f', "$dir/plain.sql")
		: ('pg_restore', '--exit-on-error', ($kind eq 'folder' ? '-j2' : ()), '-d', $copy->connstr('shop'), "$dir/$kind");
	$copy->command_ok([@restore], "$kind: restored without an error");
	is(contents($copy), $before, "$kind: every table as it was");
	is($copy->safe_psql('shop', 'SELECT count(*) FROM eventmkt.secret'), '0', "$kind: but no secret");
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
