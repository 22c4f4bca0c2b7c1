# The real pg_cron in place of a worker: it calls run_due() every few seconds and maintain() every minute, as the manual shows, and
# runs really end. The library is not preloaded and no worker is started.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('cron', extension => 0, start => 0);
plan skip_all => 'pg_cron is not installed' unless -e $node->config_data('--pkglibdir') . '/pg_cron.so';
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_cron'\ncron.database_name = 'shop'\ncron.use_background_workers = on\n"
	. "cron.log_run = on\ncron.log_statement = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
sub sql { return $node->safe_psql('shop', "SET client_min_messages = error; $_[0]") }
sql('CREATE EXTENSION pg_cron; CREATE EXTENSION eventmkt; SELECT count(*) FROM eventmkt.init()');
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'eventmkt%'"), 0, 'no worker of ours runs');

sql(q{SELECT eventmkt.create_rule('welcome', on_event => 'Signed Up', send_to => 'none');
	SELECT eventmkt.create_rule('cart', on_event => 'Cart', unless => '{Order}', after => '1 day', send_to => 'none')});
# old things for maintain() to find: a partition, and one that is missing ahead
sql(q{SELECT eventmkt.make_partitions('2020-01-06', '2020-01-07'); SELECT eventmkt.change_setting('retention', '1 year')});
my $ahead = sql(q{SELECT relname FROM pg_class WHERE relname ~ '^event_w\d+$' ORDER BY 1 DESC LIMIT 1});
sql(qq{DROP TABLE eventmkt_data.$ahead});

# a pass that has read events and is about to decide, while maintain() has both to drop and to make: neither is a victim
for my $run (1 .. 2)
{
	sql(q{SELECT eventmkt.make_partitions('2020-01-13', '2020-01-14')});
	sql(qq{DROP TABLE eventmkt_data.$_}) for split /\n/, sql(q{SELECT max(relname) FROM pg_class WHERE relname ~ '^(event|decision)_w[0-9]+$' GROUP BY left(relname, 5)});
	my ($out, $err) = ('', '');
	my $pass = IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('shop'), '-c', q{BEGIN;
		SELECT count(*) FROM eventmkt_data.event; SELECT pg_sleep(1.5); SELECT count(*) FROM eventmkt_data.decision; SELECT pg_sleep(0.5);
		SELECT count(*) FROM eventmkt_data.event; COMMIT} ], '<', \undef, '>', \$out, '2>', \$err);
	wait_for_sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'}, 1, 10, 'shop');
	my ($rc, undef, $error) = $node->psql('shop', 'SELECT eventmkt.maintain()');
	is("$rc $error", '0 ', 'maintain() comes through beside a pass');
	$pass->finish;
	is($err, '', 'which does not fail');
}
is(sql("SELECT count(*) FROM pg_class WHERE relname ~ '^(event|decision)_w2020'"), 0, 'what is old is dropped');
is(sql("SELECT count(*) FROM pg_class WHERE relname = '$ahead'"), 1, 'what was missing is made');
# the same once more for the jobs
sql(qq{SELECT eventmkt.make_partitions('2020-01-06', '2020-01-07'); DROP TABLE eventmkt_data.$ahead});

# by an operator who is nobody else
sql(q{CREATE ROLE op LOGIN; SELECT eventmkt.grant_access('op', 'operator'); GRANT USAGE ON SCHEMA cron TO op});
sub as_op { return sql("SET ROLE op; $_[0]") }
my $steps = sql(q{SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'}) =~ /^1\.[0-4]/ ? '* * * * *' : '5 seconds';
my $start = time;
as_op(qq{SELECT cron.schedule('eventmkt-run-due', '$steps', 'SELECT eventmkt.run_due()')});
as_op(q{SELECT cron.schedule('eventmkt-maintain', '* * * * *', 'SELECT eventmkt.maintain()')});
sql(q{SELECT eventmkt.track('u' || i, e) FROM generate_series(1, 50) i, unnest('{Signed Up,Cart}'::text[]) e});
is(sql('SELECT count(*) FROM eventmkt_data.work'), 100, 'events wait');
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.decision WHERE rule = 'welcome' AND outcome = 'recorded'}, 50, 75, 'shop'),
	'the next pass decides what is due') or diag(sql('SELECT * FROM cron.job_run_details'));
is(sql('SELECT count(*) FROM eventmkt_data.pending_trigger'), 50, 'the others wait for their day');
ok(wait_for_sql($node, q{SELECT count(*) FROM pg_class WHERE relname = 'event_w20200106'}, 0, 75, 'shop'), 'maintain() drops what is old');
is(sql("SELECT count(*) FROM pg_class WHERE relname = '$ahead'"), 1, 'and makes what is missing');

# a day passes
sql(q{SELECT eventmkt.track('u' || i, 'Order') FROM generate_series(1, 20) i; SELECT eventmkt.advance_clock('1 day')});
ok(wait_for_sql($node, q{SELECT string_agg(outcome || ' ' || n, ', ' ORDER BY outcome) FROM (SELECT outcome, count(*) AS n
	FROM eventmkt_data.decision WHERE rule = 'cart' GROUP BY 1) d}, 'cancelled 20, recorded 30', 75, 'shop'), 'the pass after it decides the rest');
is(sql('SELECT (SELECT count(*) FROM eventmkt_data.work), (SELECT count(*) FROM eventmkt_data.pending_trigger)'), '0|0', 'nothing is left');
# maintain() takes partitions off and on while a pass reads and writes them: neither becomes the victim of a deadlock
is(sql(q{SELECT string_agg(DISTINCT status || CASE WHEN status = 'failed' THEN ': ' || return_message ELSE '' END, ',')
	FROM cron.job_run_details WHERE status NOT IN ('starting', 'running')}), 'succeeded', 'each job succeeded');
is(sql(q{SELECT string_agg(DISTINCT username, ',') FROM cron.job_run_details}), 'op', 'as the operator');
is(violations($node, dbname => 'shop'), '', 'state machine');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|was terminated by signal|deadlock detected/, 'no crash and no deadlock');
note(sprintf 'took %.0f s', time - $start);
$node->stop('fast');
done_testing();
