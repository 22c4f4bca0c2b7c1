# An older version becomes this one (R39): ALTER EXTENSION UPDATE and init() lead to what a fresh install is, keep the data, and the worker goes on.
# test/upgrade/data-X.sql.gz is the dump of a database that version X, or the sources of data version N, made and test/upgrade/fill.sql filled.
# The server lives an hour after each dump was made (lib/clock.c): what waits in it is then not due, whatever day it is here.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::Bin/../..";
my ($version) = slurp_file("$top/eventmkt.control") =~ /^default_version = '(.*)'/m;
my @old = map { m{--([\w.]+)\.sql$} ? $1 : () } sort glob("$top/versions/eventmkt--*.sql");
my $dir = PostgreSQL::Test::Utils::tempdir();
my $said = qx(gcc -shared -fPIC -O1 -o '$dir/clock.so' '$FindBin::Bin/lib/clock.c' 2>&1);
$? == 0 or plan skip_all => "no library could be built: $said";
append_to_file("$dir/time", pack('q', 0));
my $node;
{
	local @ENV{qw(LD_PRELOAD EMK_CLOCK)} = (join(' ', grep { defined } $ENV{LD_PRELOAD}, "$dir/clock.so"), "$dir/time");
	$node = new_node('update', preload => 1, dbname => 'fresh', extension => 0);
}
my $sink = start_sink();

$node->safe_psql('fresh', "CREATE ROLE upgrade_app; CREATE ROLE upgrade_boss; CREATE ROLE upgrade_eyes; CREATE EXTENSION eventmkt");
$node->safe_psql('fresh', "SET client_min_messages = warning; SELECT eventmkt.init(); SELECT eventmkt.grant_access('upgrade_app', 'tracker'),
	eventmkt.grant_access('upgrade_boss', 'operator'), eventmkt.grant_access('upgrade_eyes', 'analyst')");

# Every object of the three schemas, a line each: what it is, who may use it, what is said about it. Partitions that a period made, and views that
# somebody's definitions made, are no part of a version.
my $catalog = <<'SQL';
WITH spaces AS (SELECT oid, nspname FROM pg_namespace WHERE nspname IN ('eventmkt', 'eventmkt_data', 'eventmkt_bi')),
rels AS (SELECT c.*, s.nspname, s.nspname || '.' || c.relname AS name FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
	WHERE (NOT c.relispartition OR c.relname ~ '_default(_|$)') AND c.relname !~ '^(segment_(gold|buyers|golden_buyers)|event_Order Completed|funnel_shop)$')
SELECT line FROM (
	SELECT 'schema ' || n.nspname || ' ' || n.nspowner::regrole || ' ' || coalesce((SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(n.nspacl) a), '-')
		|| ' ' || coalesce(obj_description(n.oid, 'pg_namespace'), '-') AS line FROM pg_namespace n JOIN spaces s ON s.oid = n.oid
	UNION ALL SELECT 'member ' || pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
		WHERE e.extname = 'eventmkt' AND d.deptype = 'e'
	UNION ALL SELECT 'function ' || p.oid::regprocedure || ' ' || pg_get_function_arguments(p.oid) || ' → ' || pg_get_function_result(p.oid) || ' '
		|| concat_ws(' ', p.prokind, p.provolatile, p.proisstrict, p.proparallel, p.prosecdef, p.proleakproof, p.prosrc, p.proconfig, p.procost, p.prorows, p.prosupport)
		|| ' ' || coalesce((SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(p.proacl) a), 'default') || ' ' || coalesce(obj_description(p.oid, 'pg_proc'), '-')
		|| ' initially ' || coalesce((SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM pg_init_privs i, unnest(i.initprivs) a WHERE i.objoid = p.oid AND i.classoid = 'pg_proc'::regclass), '-')
		FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
	UNION ALL SELECT 'aggregate ' || a.aggfnoid::regprocedure || ' ' || (to_jsonb(a) - 'aggfnoid')::text FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid JOIN spaces s ON s.oid = p.pronamespace
	UNION ALL SELECT 'type ' || t.oid::regtype || ' ' || concat_ws(' ', t.typtype, t.typlen, t.typalign, t.typstorage, t.typinput, t.typoutput, t.typreceive, t.typsend)
		|| ' ' || coalesce(obj_description(t.oid, 'pg_type'), '-') FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace WHERE s.nspname = 'eventmkt'
	UNION ALL SELECT 'relation ' || r.name || ' ' || concat_ws(' ', r.relkind, r.relpersistence, r.relreplident, r.relrowsecurity, r.relowner::regrole, r.reloptions)
		|| ' ' || coalesce((SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(r.relacl) a), 'default') || ' ' || coalesce(obj_description(r.oid, 'pg_class'), '-') FROM rels r
	UNION ALL SELECT 'column ' || r.name || '.' || a.attname || ' ' || concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation, a.attnotnull, a.attidentity, a.attgenerated,
		a.attstorage, a.attcompression, a.attacl, pg_get_expr(d.adbin, d.adrelid)) || ' ' || coalesce(col_description(a.attrelid, a.attnum), '-')
		FROM pg_attribute a JOIN rels r ON r.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attnum > 0 AND NOT a.attisdropped AND r.relkind <> 'i'
	-- NOT NULL is a constraint since 18, and a dump names that of a partition by the partition; the columns tell whether it is there
	UNION ALL SELECT 'constraint ' || r.name || ' ' || c.conname || ' ' || pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN rels r ON r.oid = c.conrelid WHERE c.contype <> 'n'
	UNION ALL SELECT 'index ' || pg_get_indexdef(i.indexrelid) || ' ' || concat_ws(' ', i.indisvalid, i.indisreplident) FROM pg_index i JOIN rels r ON r.oid = i.indrelid
	UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text FROM pg_trigger t JOIN rels r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
	UNION ALL SELECT 'policy ' || r.name || ' ' || concat_ws(' ', p.polname, p.polcmd, p.polpermissive, p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
		FROM pg_policy p JOIN rels r ON r.oid = p.polrelid
	UNION ALL SELECT 'view ' || r.name || ' ' || pg_get_viewdef(r.oid) FROM rels r WHERE r.relkind = 'v'
	UNION ALL SELECT 'sequence ' || r.name || ' ' || (to_jsonb(q) - 'seqrelid')::text FROM pg_sequence q JOIN rels r ON r.oid = q.seqrelid
	UNION ALL SELECT 'default rights ' || d.defaclrole::regrole || ' ' || d.defaclobjtype::text || ' ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") FROM unnest(d.defaclacl) a)
		FROM pg_default_acl d JOIN spaces s ON s.oid = d.defaclnamespace) l ORDER BY line COLLATE "C"
SQL

sub lines_of { my ($db) = @_; return split /\n(?=(?:schema|member|function|aggregate|type|relation|column|constraint|index|trigger|policy|view|sequence|default rights) )/, $node->safe_psql($db, $catalog); }

# what one catalog has and the other has not
sub differences
{
	my ($db) = @_;
	my %fresh = map { $_ => 1 } lines_of('fresh');
	my %here = map { $_ => 1 } lines_of($db);
	return join "\n", (map { "- $_" } grep { !$here{$_} } sort keys %fresh), (map { "+ $_" } grep { !$fresh{$_} } sort keys %here);
}

# Each table with the number of its rows and a hash over those columns it had at first; what is derived or identity is left out
sub contents
{
	my ($db, $columns) = @_;
	my %hash;
	for my $t (sort keys %$columns)
	{
		my $row = join ', ', map { "t.\"$_\"" } @{ $columns->{$t} };
		my $where = $t eq 'setting' ? q{WHERE key NOT IN ('data_version', 'timeline') AND key NOT LIKE 'worker_pid%'} : '';
		$hash{$t} = $node->safe_psql($db, qq{SELECT count(*) || ' ' || coalesce(sum(hashtextextended(ROW($row)::text, 0)), 0) FROM eventmkt_data."$t" t $where});
	}
	return \%hash;
}

sub columns_of
{
	my ($db) = @_;
	my %c;
	for (split /\n/, $node->safe_psql($db, q{SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = 'eventmkt_data'::regnamespace AND c.relkind = 'r' AND c.relname !~ '^(timeline|profile_timeline|rollup|timeline_state)$' ORDER BY 1, 2}))
	{
		my ($t, $a) = split /\|/;
		push @{ $c{$t} }, $a;
	}
	return \%c;
}

# Sets the server's clock to an hour after the dump was made
sub live_then
{
	my ($file) = @_;
	my ($made) = qx(gzip -dc '$file') =~ /^data_version\t.*\t(\S+ \S+)$/m or die "$file does not say when it was made";
	# the time of the machine, also where this test runs under a clock of its own
	my $ahead = $node->safe_psql('postgres', "SELECT extract(epoch FROM timestamptz '$made' + interval '1 hour')::bigint") - qx(env -u EMK_CLOCK date +%s);
	open(my $f, '+<', "$dir/time") or die $!;
	syswrite($f, pack('q', $ahead * 1_000_000)) == 8 or die $!;
	close $f;
	$node->safe_psql('postgres', "SELECT abs(extract(epoch FROM clock_timestamp() - timestamptz '$made') - 3600) < 300") eq 't' or die 'the clock does not move';
}

# a database as the old version left it, at about the time at which it did; VERSION of the extension's functions
sub load
{
	my ($db, $file, $of) = @_;
	live_then($file);
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION eventmkt VERSION '$of'");
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'gzip', '-dc', $file ], '|', [ 'psql', '-Xq', '-d', $node->connstr($db) ], '>', \$out, '2>', \$err);
	return $err;
}

# This database is home again, as an upgrade in place leaves it; then what waits is decided and sent
sub goes_on
{
	my ($db) = @_;
	my $port = $sink->url('/ok/' . $db);
	$node->safe_psql($db, "UPDATE eventmkt_data.endpoint SET url = '$port'");
	$node->safe_psql($db, "SELECT eventmkt.adopt('send'); SELECT eventmkt.set_secret('mail')");
	my $known = violations($node, dbname => $db);	# the dump's deliveries were settled by hand
	ok(wait_for_sql($node, q{SELECT detail FROM eventmkt.health() WHERE "check" = 'paused'}, 'no', 20, $db), "$db: adopted, the worker may run");
	$node->safe_psql($db, "SET ROLE upgrade_app; SELECT eventmkt.track('later', 'Order Completed', '{\"order_id\": 77}')");
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE profile_id = 'later' AND outcome = 'delivered'", '1', 30, $db), "$db: a new event is delivered");
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status IN ('queued', 'in_flight', 'retrying')", '0', 30, $db), "$db: what was queued is settled");
	my $runs = $node->safe_psql($db, 'SELECT count(*) FROM eventmkt_data.pending_trigger');
	cmp_ok($runs, '>=', 5, "$db: runs wait");
	$node->safe_psql($db, "SELECT eventmkt.advance_clock('25 hours')");
	ok(wait_for_sql($node, 'SELECT count(*) FROM eventmkt_data.pending_trigger', '0', 30, $db), "$db: they are decided when their time comes");
	is(violations($node, dbname => $db), $known, "$db: state machine");
}

for my $of (@old)
{
	my $db = 'from_' . ($of =~ tr/./_/r);
	next if !ok(-e "$top/test/upgrade/data-$of.sql.gz", "$of has its dump");
	is(load($db, "$top/test/upgrade/data-$of.sql.gz", $of), '', "$of: its tables are there");
	# a dump of the two schemas has no rights on functions
	$node->safe_psql($db, "SELECT eventmkt.grant_access('upgrade_app', 'tracker'), eventmkt.grant_access('upgrade_boss', 'operator'), eventmkt.grant_access('upgrade_eyes', 'analyst')");
	SKIP: {
		skip "$of is this version", 4 if $of eq $version;
		my $paused = $node->safe_psql($db, q{SELECT detail || ' / ' || hint FROM eventmkt.health() WHERE "check" = 'paused'});
		like($paused, qr{^extension version \Q$of\E, library version \Q$version\E / .*ALTER EXTENSION eventmkt UPDATE}, "$of: health() says what is to be done");
		is($node->safe_psql($db, "SET ROLE upgrade_app; SELECT eventmkt.track('between', 'Product Viewed', message_id => 'b1') > 0"), 't', "$of: the app goes on");
		my ($rc, $out, $err) = $node->psql($db, 'SELECT eventmkt.init()');
		like($err, qr/ERROR:  the library of eventmkt is of version \Q$version\E, its functions in this database are of version \Q$of\E\nHINT:  Run ALTER EXTENSION eventmkt UPDATE/,
			"$of: init() waits for the functions");
		# functions that this library does not serve any more: each says so
		my @refused = slurp_file("$top/build/versions.c") =~ /^\t\{"(\w+)", "\Q$of\E"\}/mg;
		my $wrong = join ' ', grep { !$node->psql($db, "SELECT pg_catalog.fmgr_c_validator(oid) FROM pg_proc WHERE prosrc = '$_'") } @refused;
		is($wrong, '', "$of: functions that changed refuse (" . @refused . ')');
	}
	my $columns = columns_of($db);
	my $before = contents($db, $columns);
	$node->safe_psql($db, "SET client_min_messages = warning; ALTER EXTENSION eventmkt UPDATE; SELECT eventmkt.init()");
	is($node->safe_psql($db, "SELECT extversion FROM pg_extension WHERE extname = 'eventmkt'"), $version, "$of: updated");
	is(differences($db), '', "$of: as a fresh install");
	is_deeply(contents($db, $columns), $before, "$of: every row as it was");
	is($node->safe_psql($db, q{SELECT count(*) FROM eventmkt_bi.segment_gold}), '23', "$of: segments answer");
	goes_on($db);
	$node->safe_psql('postgres', "DROP DATABASE $db");
}

# tables of older data versions, brought into a database of this version by a restore: init() makes of them what they must be now
for my $n (1, 2)
{
	my $err = load("data_$n", "$top/test/upgrade/data-$n.sql.gz", $version);
	is(join('', $err =~ /^(?!.*(?:function eventmkt\.|relation "eventmkt)).*ERROR:.*$/mg), '', "data version $n: restored but for what needs functions of then");
	is($node->safe_psql("data_$n", q{SELECT detail FROM eventmkt.health() WHERE "check" = 'paused'}), 'data version', "data version $n: the worker pauses");
	my $columns = columns_of("data_$n");
	my $before = contents("data_$n", $columns);
	$node->safe_psql("data_$n", 'SET client_min_messages = warning; SELECT eventmkt.init()');
	is(differences("data_$n"), '', "data version $n: as a fresh install");
	is_deeply(contents("data_$n", $columns), $before, "data version $n: every row as it was");
	$node->safe_psql("data_$n", 'SELECT eventmkt.pack_timelines()');
	is($node->safe_psql("data_$n", 'SELECT count(*) = (SELECT count(DISTINCT coalesce(a.profile_id, e.profile_id)) FROM eventmkt_data.event e LEFT JOIN eventmkt_data.alias a ON a.alias = e.profile_id) FROM eventmkt_bi.profile_timelines'), 't',
		"data version $n: timelines are packed anew");
	goes_on("data_$n");
	$node->safe_psql('postgres', "DROP DATABASE data_$n");
}

# functions of a version that the library does not know, as an older library sees newer ones
$node->safe_psql('postgres', 'CREATE DATABASE newer');
$node->safe_psql('newer', "CREATE EXTENSION eventmkt; SET client_min_messages = warning; SELECT eventmkt.init()");
my ($rc, $out, $err) = $node->psql('newer', "SELECT eventmkt.check_library('9.9.9')");
like($err, qr/ERROR:  the library of eventmkt is of version \Q$version\E, this script makes the functions of version 9\.9\.9\nHINT:  Install that version's library; then restart/,
	'a script of a newer version ends before it changed anything');
$node->safe_psql('newer', "UPDATE pg_catalog.pg_extension SET extversion = '9.9.9' WHERE extname = 'eventmkt'");
my @all = split /\n/, $node->safe_psql('newer', q{SELECT quote_ident(proname) || '(' || array_to_string(ARRAY(SELECT 'NULL::' || format_type(t, NULL) FROM unnest(proargtypes) t), ', ') || ')'
	FROM pg_proc WHERE pronamespace = 'eventmkt'::regnamespace AND prokind = 'f' AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') AND NOT proisstrict
	AND prorettype <> 'trigger'::regtype AND NOT 'internal'::regtype = ANY (proargtypes) ORDER BY 1});
my $script = join '', map { "SELECT eventmkt.$_;\n" } @all;
($rc, $out, $err) = $node->psql('newer', $script, on_error_stop => 0);
my $said = () = $err =~ /ERROR:  the library of eventmkt is of version \Q$version\E, its functions in this database are of version 9\.9\.9\n(?:LINE .*\n.*\n)?HINT:  Install that version's library/g;
cmp_ok(scalar @all, '>', 50, 'there are functions to call');
note($err) if $said != @all;
is($said, scalar @all, 'each function of a newer version says so, and none crashes');
$node->safe_psql('newer', "UPDATE pg_catalog.pg_extension SET extversion = '$version' WHERE extname = 'eventmkt'");
is($node->safe_psql('newer', q{SELECT eventmkt.track('u', 'E') > 0}), 't', 'and all is well again with the library of that version');
$node->stop;
done_testing();
