# CREATE EXTENSION and DROP EXTENSION in a fresh cluster, without and with the library preloaded
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

for my $preload (0, 1)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = PostgreSQL::Test::Cluster->new("install$preload");
	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'eventmkt'") if $preload;
	$node->start;

	$node->safe_psql('postgres', 'CREATE DATABASE shop');
	$node->safe_psql('shop', 'CREATE EXTENSION eventmkt');
	is($node->safe_psql('shop', "SELECT count(*) FROM pg_extension WHERE extname = 'eventmkt'"), '1', "$how: installed");
	cmp_ok($node->safe_psql('shop', "SELECT count(*) FROM pg_proc WHERE pronamespace = 'eventmkt'::regnamespace"),
		'>', 0, "$how: functions are there");
	is($node->safe_psql('shop', "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'eventmkt%'"), '0',
		"$how: the script makes no role");

	my ($rc, $out, $err) = $node->psql('shop', 'CREATE ROLE clerk; SET ROLE clerk; SELECT eventmkt.clock()');
	like($err, qr/permission denied/, "$how: a stranger may not call it");

	$node->safe_psql('shop', 'DROP EXTENSION eventmkt');
	is($node->safe_psql('shop', "SELECT count(*) FROM pg_namespace WHERE nspname = 'eventmkt'"), '0', "$how: dropped");
	$node->safe_psql('shop', 'CREATE EXTENSION eventmkt');
	pass("$how: installed again");

	$node->safe_psql('postgres', 'CREATE DATABASE squatted');
	$node->safe_psql('squatted', 'CREATE SCHEMA eventmkt');
	($rc, $out, $err) = $node->psql('squatted', 'CREATE EXTENSION eventmkt');
	like($err, qr/schema "eventmkt" already exists/, "$how: a squatted schema is refused");

	$node->restart;
	is($node->safe_psql('shop', "SELECT count(*) FROM pg_extension WHERE extname = 'eventmkt'"), '1', "$how: survives a restart");
	$node->stop('fast');
}
done_testing();
