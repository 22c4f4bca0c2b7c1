# BI tools connect by ODBC and JDBC, over TCP and with a password, as an analyst: what the drivers' metadata calls say of the
# views, their columns, types and comments, and what values look like. A dump carries all of it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use File::Temp;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $jar = '/usr/share/java/postgresql.jar';
my ($java) = grep { -x } map { "$_/java" } split /:/, $ENV{PATH};
# a real javac, or Eclipse's compiler: by its library where there is one, as the command of Debian 13 does not find it
my ($ecj) = grep { -e } '/usr/share/java/eclipse-jdt-core-compiler-batch.jar';
my ($ecj_command) = grep { -x } map { "$_/ecj" } split /:/, $ENV{PATH};
my @javac = $ecj && $java ? ($java, '-cp', $ecj, 'org.eclipse.jdt.internal.compiler.batch.Main', '-17')
	: $ecj_command ? ($ecj_command, '-17')
	: (grep { -x } map { "$_/javac" } split /:/, $ENV{PATH})[0] // ();
my ($odbc) = grep { -e } glob('/usr/lib/*/odbc/psqlodbcw.so /usr/lib/odbc/psqlodbcw.so');
my $dir = File::Temp->newdir;

my $node = new_node('bi', start => 0, conf => "listen_addresses = '127.0.0.1'\npassword_encryption = 'scram-sha-256'");
my $hba = slurp_file($node->data_dir . '/pg_hba.conf');
open my $fh, '>', $node->data_dir . '/pg_hba.conf' or die $!;
print $fh "host all bi 127.0.0.1/32 scram-sha-256\n", $hba;
close $fh;
$node->start;
$node->safe_psql('postgres', <<'SQL');
SET client_min_messages = error;
CREATE DATABASE shop ENCODING 'UTF8' TEMPLATE template0;
\c shop
SET client_min_messages = error;
CREATE EXTENSION eventmkt;
SELECT FROM eventmkt.init();
CREATE ROLE bi LOGIN PASSWORD 's3cret';
SELECT eventmkt.grant_access('bi', 'analyst');
SELECT eventmkt.expose_property('Order Completed', p, t, comment => c) FROM (VALUES ('amount', 'numeric', 'gross, in euros'),
	('weight', 'double precision', NULL), ('items', 'bigint', NULL), ('rank', 'integer', NULL), ('gift', 'boolean', NULL), ('note', 'text', 'Größe 👕'),
	('ordered at', 'timestamptz', NULL), ('day', 'date', NULL), ('lines', 'jsonb', NULL)) v (p, t, c);
SELECT eventmkt.track('ann', 'Order Completed', '{"amount": 1234567890.12, "weight": 0.5, "items": 9007199254740993, "rank": 7, "gift": true,
	"note": "Größe \"M\" 👕", "ordered at": "2024-02-29T23:30:15.25+01:00", "day": "2024-02-29", "lines": [{"sku": "mug"}]}', '2024-03-01 12:00:00.123456Z');
SELECT eventmkt.track('bob', 'Order Completed', '{"amount": "free"}', '2024-03-02 12:00Z');
SELECT eventmkt.create_rule('follow up', on_event => 'Order Completed', send_to => 'none');
SELECT eventmkt.track('cid', 'Order Completed', '{"amount": 5}');
SELECT eventmkt.run_due();
SELECT eventmkt.create_funnel('returns', ARRAY['Order Completed', 'Order Returned'], comment => 'who sends it back');
SELECT eventmkt.create_segment('gold', where_profile => '$.tier == "gold"', comment => 'the best');
SQL

# what a driver should say: from the catalogs
my %remark = map { split /\|/, $_, 2 } split /\n/, $node->safe_psql('shop', q{SELECT relname || '|' || obj_description(oid, 'pg_class')
	FROM pg_class WHERE relnamespace = 'eventmkt_bi'::regnamespace AND relkind = 'v'});
cmp_ok(scalar keys %remark, '>', 15, 'there are views');
my $view = 'event_Order Completed';
my @columns = map { [ split /\|/, $_, 3 ] } split /\n/, $node->safe_psql('shop', qq{SELECT attname, format_type(atttypid, -1),
	col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'eventmkt_bi."$view"'::regclass AND attnum > 0 ORDER BY attnum});
my %short = ('timestamp with time zone' => 'timestamptz', 'double precision' => 'float8', bigint => 'int8', integer => 'int4', boolean => 'bool');
my $rows = qq{SELECT profile_id, occurred_at, amount, weight, items, rank, gift, note, "ordered at", day, lines
	FROM eventmkt_bi."$view" WHERE occurred_at < '2024-04-01' ORDER BY occurred_at};
my $decisions = 'SELECT rule, outcome, decisions FROM eventmkt_bi.decisions_by_rule';

sub run_driver
{
	my ($out, $err) = ('', '');
	local %ENV = (%ENV, LC_ALL => 'C.UTF-8', TZ => 'UTC', BI_USER => 'bi', BI_PASSWORD => 's3cret');
	IPC::Run::run([ @_ ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
	return ($out, $err);
}

sub lines { return [ map { [ split /\t/, $_, -1 ] } split /\n/, $_[0] ] }

SKIP: {
	skip 'odbc-postgresql or unixodbc-dev is not installed', 1 if !$odbc || !-e '/usr/include/sqlext.h';
	my $program = "$dir/odbc";
	my (undef, $err) = run_driver('gcc', '-Wall', '-Wextra', '-Werror', '-o', $program, "$FindBin::Bin/lib/odbc.c", '-lodbc');
	is($err, '', 'ODBC: the program is built');
	my $connect = "Driver=$odbc;Servername=127.0.0.1;Port=" . $node->port . ';Database=shop;Username=bi;Password=s3cret;ConnSettings=SET TimeZone = \'UTC\'';
	my $ask = sub {
		my ($out, $err) = run_driver($program, $connect, @_);
		is($err, '', "ODBC: $_[0]");
		return lines($out);
	};
	my $tables = $ask->('tables', 'eventmkt_bi');
	is_deeply([ map { "@$_[0 .. 2]" } @$tables ], [ map { "eventmkt_bi $_ VIEW" } sort keys %remark ], 'ODBC: the views, and nothing else');
	my $got = $ask->('columns', 'eventmkt_bi', $view);
	is_deeply([ map { [ @$_[ 0, 2 ] ] } @$got ], [ map { [ $_->[0], $short{ $_->[1] } // $_->[1] ] } @columns ], 'ODBC: columns and their types');
	# SQL types: BIGINT -5, TIMESTAMP 93, NUMERIC 2, FLOAT 6, INTEGER 4, DATE 91; text and jsonb are strings of some kind
	is_deeply({ map { $_->[0] => $_->[1] } grep { $_->[0] =~ /^(event_id|occurred_at|amount|weight|rank|day)$/ } @$got },
		{ event_id => -5, occurred_at => 93, amount => 2, weight => 6, rank => 4, day => 91 }, 'ODBC: as numbers of SQL types');
	my $remarks = $ask->('query', q{SELECT c.relname, d.description FROM pg_class c JOIN pg_description d ON d.objoid = c.oid AND d.objsubid = 0
		WHERE c.relnamespace = 'eventmkt_bi'::regnamespace});
	shift @$remarks;
	is_deeply({ map { @$_ } @$remarks }, \%remark, 'ODBC: the comments, by the query that tools use for it');
	my $values = $ask->('query', $rows);
	shift @$values;
	is_deeply($values, [
		[ 'ann', '2024-03-01 12:00:00.123456', '1234567890.12', '0.5', '9007199254740993', '7', '1', 'Größe "M" 👕', '2024-02-29 22:30:15.25',
			'2024-02-29', '[{"sku": "mug"}]' ],
		[ 'bob', '2024-03-02 12:00:00', ('\N') x 9 ] ], 'ODBC: values');
	is_deeply($ask->('query', $decisions)->[1], [ 'follow up', 'recorded', '1' ], 'ODBC: decisions');
	(undef, $err) = run_driver($program, $connect, 'query', 'SELECT * FROM eventmkt_data.event');
	like($err, qr/^42501 .*permission denied/, 'ODBC: and no table is read');
	(undef, $err) = run_driver($program, $connect =~ s/s3cret/wrong/r, 'query', 'SELECT 1');
	like($err, qr/password authentication failed/, 'ODBC: nor anything with a wrong password');
}

SKIP: {
	skip 'libpostgresql-jdbc-java, Java or a compiler for it is not installed', 1 if !$java || !@javac || !-e $jar;
	my ($out, $err) = run_driver(@javac, '-proc:none', '-d', "$dir", '-cp', $jar, "$FindBin::Bin/lib/Jdbc.java");
	is($err, '', 'JDBC: the program is built');
	($out, $err) = run_driver($java, '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto', '-cp', "$dir:$jar", 'Jdbc',
		'jdbc:postgresql://127.0.0.1:' . $node->port . '/shop',
		'tables' => 'eventmkt_bi', '--', 'columns' => 'eventmkt_bi', $view, '--', 'query' => $rows, '--',
		'query' => $decisions, '--', 'query' => 'SELECT * FROM eventmkt_bi.funnel_returns', '--', 'query' => 'SELECT * FROM eventmkt_data.event');
	is($err, '', 'JDBC: no complaint');
	my ($tables, $columns, $values, $decided, $funnel, $refused) = map { lines($_) } split /^--\n/m, $out, -1;
	is_deeply($tables, [ map { [ 'eventmkt_bi', $_, 'VIEW', $remark{$_} ] } sort keys %remark ], 'JDBC: the views with their comments');
	is_deeply([ map { [ @$_[ 0, 2, 3 ] ] } @$columns ], [ map { [ $_->[0], $short{ $_->[1] } // $_->[1], $_->[2] ] } @columns ],
		'JDBC: columns with types and comments');
	# java.sql.Types: as above, but DOUBLE 8; BIT -7
	is_deeply({ map { $_->[0] => $_->[1] } grep { $_->[0] =~ /^(event_id|occurred_at|amount|weight|rank|gift|day)$/ } @$columns },
		{ event_id => -5, occurred_at => 93, amount => 2, weight => 8, rank => 4, gift => -7, day => 91 }, 'JDBC: as java.sql.Types');
	# json: a String with the driver 42.7.7, a PGobject of the same text with 42.7.14
	my @classes = map { (split /:/)[2] =~ s/^org\.postgresql\.util\.PGobject$/java.lang.String/r } @{ $values->[0] };
	is_deeply(\@classes, [ 'java.lang.String', 'java.sql.Timestamp', 'java.math.BigDecimal',
		'java.lang.Double', 'java.lang.Long', 'java.lang.Integer', 'java.lang.Boolean', 'java.lang.String', 'java.sql.Timestamp', 'java.sql.Date',
		'java.lang.String' ], 'JDBC: classes of the values');
	is_deeply([ @$values[ 1, 2 ] ], [
		[ 'ann', '2024-03-01T12:00:00.123456Z', '1234567890.12', '0.5', '9007199254740993', '7', 'true', 'Größe "M" 👕', '2024-02-29T22:30:15.250Z',
			'2024-02-29', '[{"sku": "mug"}]' ],
		[ 'bob', '2024-03-02T12:00Z', ('\N') x 9 ] ], 'JDBC: values');
	is_deeply($decided->[1], [ 'follow up', 'recorded', '1' ], 'JDBC: decisions');
	is_deeply([ map { [ @$_[ 0 .. 2 ] ] } @$funnel[ 1, 2 ] ], [ [ 1, 'Order Completed', 3 ], [ 2, 'Order Returned', 0 ] ], 'JDBC: a funnel');
	is("@{ $refused->[0] }", 'error 42501 ERROR: permission denied for schema eventmkt_data', 'JDBC: and no table is read');
}

# ---- a dump carries the views, their comments and who may read them
my $file = "$dir/shop.sql";
$node->command_ok([ 'pg_dump', '-Fp', '-f', $file, '-d', $node->connstr('shop') ], 'dump');
$node->safe_psql('postgres', "CREATE DATABASE again ENCODING 'UTF8' TEMPLATE template0");
$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr('again') ], 'restore');
my $facts = qq{SELECT string_agg(a.attname || ' ' || format_type(atttypid, -1) || ' ' || col_description(attrelid, attnum), ', ' ORDER BY attnum) ||
	(SELECT string_agg(f.step || f.event || f.profiles, ',') FROM eventmkt_bi.funnel_returns f) || (SELECT sum(amount) FROM eventmkt_bi."$view")
	|| has_table_privilege('bi', 'eventmkt_bi."$view"', 'SELECT') FROM pg_attribute a WHERE attrelid = 'eventmkt_bi."$view"'::regclass AND attnum > 0};
is($node->safe_psql('again', $facts), $node->safe_psql('shop', $facts), 'the same views in the copy');
$node->safe_psql('again', 'SET client_min_messages = error; DROP EXTENSION eventmkt CASCADE; CREATE EXTENSION eventmkt; SELECT FROM eventmkt.init()');
is($node->safe_psql('again', $facts), $node->safe_psql('shop', $facts), 'and again after the extension was made anew');
$node->stop;
done_testing();
