# 351_erased_files: what an erased person leaves in the files of the database (R59)
#
# A canary stands in the id, in properties, in traits and in a message that was sent nowhere, in many other people's midst, and the tables were
# analysed. After erase(), what eventmkt.scrub says is to be done (VACUUM, ANALYZE, REINDEX) and scrub_erased(), cancelled and crashed meanwhile
# and beside others who write, no file of the database has it, nor on a standby (nightly); and what is left is whole. The write-ahead
# log keeps what it has until it is recycled, and so do backups: they are not searched. In a second database the worker does it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $events = Emk::sized(3000, 100000);
my $nightly = Emk::sized(0, 1);
my $canary = 'CANARYqzx7';
my $node = new_node('erased', preload => 1, pause => 1, init_args => { allows_streaming => $nightly }, conf => "autovacuum = off\nfull_page_writes = on\nmax_wal_size = 4GB\n");
sub query { my ($q, $db) = @_; return $node->safe_psql($db // 'postgres', "SET client_min_messages = error; $q") }

# the files of a database that hold the canary
sub hits
{
	my ($db, $of) = @_;
	$of //= $node;
	$of->safe_psql('postgres', 'CHECKPOINT');
	my $dir = $of->data_dir . '/base/' . query("SELECT oid FROM pg_database WHERE datname = '$db'");
	my @found;
	for my $f (grep { /\/\d[\d_a-z.]*$/ } glob("$dir/*"))
	{
		push @found, $f =~ s/.*\///r if index(slurp_file($f), $canary) >= 0;
	}
	return @found;
}
sub names { my ($db, @files) = @_; return join ' ', map { my ($n) = /^(\d+)/; query("SELECT COALESCE(max(oid::regclass::text), '$_') FROM pg_class WHERE pg_relation_filenode(oid) = $n", $db) } @_[1 .. $#_] }
sub do_todo { my ($db) = @_; my @s = split /\n/, query('SELECT unnest(todo) FROM eventmkt_data.scrub', $db); $node->safe_psql($db, join ";\n", @s); return @s }

sub fill
{
	my ($db, $n) = @_;
	query(q{SELECT eventmkt.create_rule('later', on_event => 'E', per => 'k', after => '30 days', on_repeat => 'parallel', send_to => 'none');
		SELECT eventmkt.create_rule('now', on_event => 'E', send_to => 'none')}, $db);
	query("SELECT eventmkt.identify('$canary u', '{\"mail\": \"$canary\@example.com\"}', '$canary anon');
		SELECT count(eventmkt.track('$canary u', 'E', jsonb_build_object('text', '$canary' || i, 'k', i % 100), message_id => '$canary' || i)) FROM generate_series(1, $n) i;
		SELECT count(eventmkt.track(p || i % 1000, 'E', jsonb_build_object('text', 'else', 'k', i % 100), message_id => i::text)) FROM generate_series(1, $n / 3) i, unnest('{A,D,CA,CB}'::text[]) p;
		SELECT count(eventmkt.track('$canary u', 'Long', jsonb_build_object('text', '$canary', 'long', (SELECT string_agg(md5(i || ' ' || j), '') FROM generate_series(1, 200) j)))) FROM generate_series(1, 20) i;
		SELECT eventmkt.run_due(1000000);
		ANALYZE", $db);
}

query('CREATE DATABASE shop');
query('CREATE EXTENSION eventmkt; SELECT count(*) FROM eventmkt.init()', 'shop');
query('CREATE EXTENSION amcheck');
query('SELECT eventmkt.stop_worker()');
fill('shop', 300);
# the first table in the order of names ends with a page that cannot be read
query(q{CREATE TABLE eventmkt_data.aaa AS SELECT 1 AS i; DO $$ BEGIN EXECUTE format('ALTER TABLE eventmkt_data.aaa OWNER TO %s', (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'eventmkt_data')); END $$; CHECKPOINT}, 'shop');
append_to_file($node->data_dir . '/' . query("SELECT pg_relation_filepath('eventmkt_data.aaa')", 'shop'), 'x' x 8192);
query("SELECT eventmkt.erase('$canary u')", 'shop');
fill('postgres', $events);
my $standby;
if ($nightly)
{
	$node->backup('base');
	$standby = PostgreSQL::Test::Cluster->new('erased_standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
}
my @before = hits('postgres');
cmp_ok(scalar(@before), '>', 10, 'before, files have the canary');
my $toast = query("SELECT string_agg(pg_relation_filenode(reltoastrelid)::text, ',') FROM pg_class WHERE relname LIKE 'event%' AND reltoastrelid <> 0");
ok((grep { ",$toast," =~ /,$_,/ } @before), 'so have those of long values');
my $old = $node->background_psql('postgres', on_error_stop => 1);
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my $start = time;
query("SELECT eventmkt.erase('$canary u')");
my $took = time - $start;
in_time($took, 10, sprintf('a person with %d events is erased in %.2f s', $events, $took));
ok(wait_for_sql($node, 'SELECT eventmkt.finish_erasures()', 0, 30), 'and looked for once more');
my @tables = split /\n/, query(q{SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('eventmkt'::regnamespace, 'eventmkt_data'::regnamespace)});
is(query(join ' UNION ALL ', map { "(SELECT '$_' FROM $_ t WHERE t::text LIKE '%$canary%' LIMIT 1)" } @tables), '', 'no row has it');

is(query('SELECT eventmkt.scrub_erased()'), query(q{SELECT 1 + count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'eventmkt_data'::regnamespace}),
	'while there is a snapshot from before, nothing is said to be clean, and nothing is waited for');
$old->query_safe('ROLLBACK');
$old->quit;
cmp_ok(query('SELECT eventmkt.scrub_erased()'), '>', 5, 'those with dead rows wait for VACUUM');
like(query(q{SELECT state || hint FROM eventmkt.health() WHERE "check" = 'erased'}), qr/^warn.*unnest\(todo\)/, 'health() says so');
my @did = do_todo('postgres');
ok((grep { /^VACUUM \(INDEX_CLEANUP ON, ANALYZE\) eventmkt_data.event/ } @did), 'VACUUM is asked for');
note('after ' . join('; ', @did) . ' these have it: ' . names('postgres', hits('postgres')));

# others write, it is cancelled, the server crashes
my $writer = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c',
	"DO \$\$ BEGIN FOR i IN 1..100000 LOOP PERFORM eventmkt.track('w' || i % 100, 'E', '{\"k\": 1}'); COMMIT; END LOOP; END \$\$" ], '>', \my $wout, '2>', \my $werr);
# a cancel is looked for at every page; this one comes when the first tables were cleared
my ($rc, undef, $err) = $node->psql('postgres', "SET statement_timeout = '20ms'; SELECT eventmkt.scrub_erased()");
ok($rc == 0 || $err =~ /canceling statement due to statement timeout/, 'it can be cancelled') or diag $err;
my $number = pause_at($node, 'page_scrubbed', 'kill', 40);
($rc, undef, $err) = $node->psql('postgres', 'SELECT eventmkt.scrub_erased()', on_error_die => 0);
isnt($rc, 0, 'the server crashes meanwhile');
$writer->finish;
ok(paused($node, $number), 'there');
ok(wait_for_sql($node, 'SELECT 1', 1, 30), 'and is there again');
pause_at($node);
my $asked = 0;
ok(wait_for(sub { my $n = query('SELECT eventmkt.scrub_erased()'); $asked += do_todo('postgres') if $n; return $n == 0 }, 60), 'all is cleared')
	or diag query('SELECT * FROM eventmkt_data.scrub');
is(names('postgres', hits('postgres')), '', 'no file of the database has it');
is(query(q{SELECT count(*) FROM eventmkt.health() WHERE "check" = 'erased'}), 0, 'health() has nothing more to say of it');
is(query(q{SELECT count(*) FROM eventmkt_data.event WHERE profile_id ~ '^[ACD]'}), int($events / 3) * 4, 'the others are still there');
is(query(q{SELECT count(bt_index_check(i, true)) > 20 FROM (SELECT oid AS i FROM pg_class c WHERE c.relnamespace = 'eventmkt_data'::regnamespace AND c.relkind = 'i'
	AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree') OFFSET 0) x}), 't', 'indexes are whole');
is(query(q{SELECT count(*) FROM (SELECT oid FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'eventmkt_data'::regnamespace OR c.oid IN
	(SELECT reltoastrelid FROM pg_class WHERE relnamespace = 'eventmkt_data'::regnamespace AND relkind = 'r') OFFSET 0) x, verify_heapam(x.oid) v}), 0, 'so are tables');
if ($standby)
{
	$node->wait_for_catchup($standby);
	is(join(' ', hits('postgres', $standby)), '', 'nor has a file of the standby');
	is($standby->safe_psql('postgres', 'SELECT count(*) FROM eventmkt_data.event'), query('SELECT count(*) FROM eventmkt_data.event'), 'which has the same rows');
	$standby->stop;
}
query('VACUUM FULL; ANALYZE') if $nightly;

# ---- the worker by itself, in the other database; nightly to the end
ok(wait_for_sql($node, 'SELECT count(*) > 5 FROM eventmkt_data.scrub WHERE checked_at IS NOT NULL', 't', 60, 'shop'), 'the worker looks at the tables');
is(query(q{SELECT todo, checked_at IS NOT NULL FROM eventmkt_data.scrub WHERE relation = 'eventmkt_data.aaa'}, 'shop'),
	'{"VACUUM (DISABLE_PAGE_SKIPPING) eventmkt_data.aaa"}|t', 'past one that cannot be read, which is set aside');
if ($nightly)
{
	query('DROP TABLE eventmkt_data.aaa', 'shop');
	ok(wait_for(sub { do_todo('shop'); return query("SELECT count(*) = 0 FROM eventmkt_data.scrub", 'shop') eq 't' }, 240), 'the worker ends it');
	is(names('shop', hits('shop')), '', 'no file has it');
}
$node->stop;
done_testing();
