# 350_attacks: what somebody with a login, or with a place in the search path, tries (A1 to A10, A36, A41, A44), and the safe result.
# Attacks that have a test of their own are in the table of test/RELIABILITY.md.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = new_node('attacks', extension => 0, preload => 1);
sub root { return $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") }

# the SQLSTATE that a role meets, or 'ok' and what it got
sub as
{
	my ($role, $sql, $db) = @_;
	my ($rc, $out, $err) = $node->psql($db // 'postgres', "SET client_min_messages = error; $sql", extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $role ], timeout => 60 * slow());
	return $err =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/ ? $1 : "ok $out";
}

# ---- A1, A2: objects of somebody else, earlier in the path and in pg_temp, before the install and before each call
my $hostile = q{
	CREATE TABLE IF NOT EXISTS public.caught (who text DEFAULT current_user, what text);
	GRANT ALL ON public.caught TO PUBLIC;
	CREATE FUNCTION SCHEMA.trap(what text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught (what) VALUES ($1); RETURN true; END $$;
	CREATE FUNCTION SCHEMA.texteq(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught (what) VALUES ('='); RETURN true; END $$;
	CREATE OPERATOR SCHEMA.= (LEFTARG = text, RIGHTARG = text, FUNCTION = SCHEMA.texteq);
	CREATE FUNCTION SCHEMA.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught (what) VALUES ('lower'); RETURN $1; END $$;
	CREATE FUNCTION SCHEMA.count(text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught (what) VALUES ('count'); RETURN 1; END $$;
	CREATE FUNCTION SCHEMA.jsonb_path_match(jsonb, jsonpath, jsonb DEFAULT '{}', boolean DEFAULT false) RETURNS bool LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.caught (what) VALUES ('jsonb_path_match'); RETURN true; END $$;
	CREATE DOMAIN SCHEMA.interval AS text;
	CREATE DOMAIN SCHEMA.timestamptz AS text;
	CREATE TABLE SCHEMA.event (profile_id text); CREATE TABLE SCHEMA.pg_class (oid int); CREATE TABLE SCHEMA.delivery (id int);
};
root('CREATE SCHEMA evil; ' . $hostile =~ s/SCHEMA/evil/gr);
my $path = 'SET search_path = evil, pg_temp, pg_catalog, public; ';
is(as('postgres', "$path CREATE TABLE pg_temp.event (x int); CREATE EXTENSION eventmkt"), 'ok ', 'A1: installed with a hostile search path');
like(as('postgres', "$path SELECT count(*) FROM eventmkt.init()", 'postgres'), qr/^ok/, 'A1: and initialised');
my $life = q{SELECT eventmkt.create_rule('r', on_event => 'E', where_event => '$.a >= 1', where_profile => '$.tier == "gold"', unless => ARRAY['X'], per => 'k', after => '1 hour', send_to => 'none');
	SELECT eventmkt.track('u', 'E', '{"a": 1, "k": "x"}', message_id => 'm');
	SELECT eventmkt.identify('u', '{"tier": "gold"}', 'anon');
	SELECT eventmkt.create_segment('s', on_event => 'E', within => '7 days');
	SELECT eventmkt.in_segment('u', 's');
	SELECT eventmkt.run_due(); SELECT eventmkt.advance_clock('2 hours'); SELECT eventmkt.run_due();
	SELECT eventmkt.why_not('u', 'r'); SELECT eventmkt.health(); SELECT eventmkt.backtest('r', "from" => pg_catalog.now() - '1 day'::pg_catalog.interval);
	SELECT eventmkt.export('u'); SELECT eventmkt.maintain(); SELECT eventmkt.drop_segment('s'); SELECT eventmkt.drop_rule('r'); SELECT eventmkt.erase('u');};
like(as('postgres', $path . ($hostile =~ s/SCHEMA/pg_temp/gr =~ s/CREATE TABLE IF NOT.*?;//r =~ s/GRANT.*?;//r) . $life), qr/^ok/, 'A1: every kind of call with the hostile path and pg_temp');
is(root('SELECT count(*) FROM public.caught'), 0, 'A1: nothing of it ran');
for my $squat ('CREATE SCHEMA eventmkt', 'CREATE SCHEMA eventmkt; CREATE FUNCTION eventmkt.clock() RETURNS int LANGUAGE sql AS $$SELECT 1$$')
{
	root('CREATE DATABASE squat');
	$node->safe_psql('squat', $squat);
	like(as('postgres', 'CREATE EXTENSION eventmkt', 'squat'), qr/^42P06$/, "A2: refused after $squat");
	root('DROP DATABASE squat');
}
root('CREATE DATABASE squat; CREATE ROLE squatter LOGIN');
$node->safe_psql('squat', 'CREATE EXTENSION eventmkt; CREATE SCHEMA eventmkt_data AUTHORIZATION squatter');
like(as('postgres', 'SELECT eventmkt.init()', 'squat'), qr/^(?!ok)/, 'A2: init() refuses a schema of data that is somebody else\'s');
root('DROP DATABASE squat');

# ---- A3: names that want to be SQL
my @names = ("'); DROP TABLE public.caught; --", '"; SELECT 1; --', "a\nb", "back\\slash", '/* */', 'U&\0041', 'x' x 64, '%s %n', '$1', '{{x}}');
my $stored = 0;
for my $n (@names)
{
	my $q = quote_literal($n);
	$stored += as('postgres', "SELECT eventmkt.track($q, $q, pg_catalog.jsonb_build_object($q, $q), message_id => $q)") =~ /^ok \d+$/ ? 1 : 0;
	for my $call ("create_rule($q, on_event => $q, per => $q, unless => ARRAY[$q], send_to => 'none')", "create_segment($q, on_event => $q)",
		"expose_property($q, $q, 'text')", "create_goal($q, $q)", "create_funnel($q, ARRAY[$q, $q])", "identify($q, pg_catalog.jsonb_build_object($q, $q))")
	{
		my $got = as('postgres', "SELECT eventmkt.$call");
		like($got, qr/^(?:ok|22|42|54)/, 'A3: ' . ($call =~ s/\(.*//sr) . ' of ' . ($n =~ s/[^ -~]/?/gr)) if $got !~ /^(?:ok|22023|42602|54000|22021|42701|22P02)/;
	}
}
is($stored, scalar @names, 'A3: stored as data');
is(root('SELECT count(*) FROM public.caught'), 0, 'A3: the table is there, and nothing ran');
$node->command_ok([ 'pg_dump', '-f', "$PostgreSQL::Test::Utils::tmp_check/names.sql", $node->connstr('postgres') ], 'A3: such names are dumped');
root('CREATE DATABASE again');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$PostgreSQL::Test::Utils::tmp_check/names.sql", $node->connstr('again') ], 'A3: and restored');
root('DROP DATABASE again WITH (FORCE)');
root('SELECT eventmkt.drop_rule(name) FROM eventmkt_data.rule WHERE current');

# ---- A4: a pattern that would take for ever ends with its time limit, and the app does not notice
root(q{SELECT eventmkt.create_rule('slow', on_event => 'Slow', where_event => '$.t like_regex "^(a|aa|aaa|a*b?)*(c|d)\1$"', send_to => 'none');
	SELECT eventmkt.create_rule('fine', on_event => 'Slow', send_to => 'none')});
my $start = time;
like(as('postgres', q{SELECT eventmkt.track('u4', 'Slow', pg_catalog.jsonb_build_object('t', pg_catalog.repeat('a', 50000)))}), qr/^ok/, 'A4: track() commits');
in_time(time - $start, 3, 'A4: and waits for no pattern');
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.decision WHERE profile_id = 'u4' AND rule = 'fine'}, 1, 30), 'A4: another rule of the event fires');
is(root(q{SELECT count(*) FROM eventmkt_data.decision WHERE profile_id = 'u4' AND rule = 'slow' AND outcome = 'recorded'}), 0, 'A4: the slow one does not');

# ---- A5, A6, A8, A9, A10, A40: a login with EXECUTE on track() alone
root(q{CREATE ROLE app LOGIN; CREATE ROLE bi LOGIN; GRANT CREATE ON SCHEMA public TO app; SELECT eventmkt.grant_access('app', 'tracker'); SELECT eventmkt.grant_access('bi', 'analyst')});
my $worker = root(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker' AND datname = 'postgres' LIMIT 1});
my %denied = (
	'A5: a trigger on events' => 'CREATE TRIGGER t BEFORE INSERT ON eventmkt_data.event FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'A5: an index on events' => 'CREATE INDEX ON eventmkt_data.event ((lower(name)))',
	'A5: a policy' => 'CREATE POLICY p ON eventmkt_data.delivery USING (true)',
	'A6: the role of the worker' => 'SET ROLE eventmkt',
	'A6: session_replication_role' => 'SET session_replication_role = replica',
	'A6: an event trigger' => 'CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.f()',
	'A6: a row of work by hand' => q{INSERT INTO eventmkt_data.work VALUES (0, 'e', 1, 'u', now(), '{1}')},
	'A6: a run by hand' => q{UPDATE eventmkt_data.pending_trigger SET due_at = now()},
	'A6: the settings' => q{SELECT eventmkt.change_setting('dedupe_window', '0')},
	'A8: cancel of the worker' => "SELECT pg_cancel_backend($worker)",
	'A8: end of the worker' => "SELECT pg_terminate_backend($worker)",
	'A9: a function on our symbol' => q{CREATE FUNCTION public.mine(bytea) RETURNS bytea LANGUAGE c AS 'eventmkt', 'emk_analytics_combine'},
	'A10: a lock on the table of work' => 'BEGIN; LOCK TABLE eventmkt_data.work IN ACCESS EXCLUSIVE MODE',
	'A40: the queue' => 'SELECT * FROM eventmkt_data.delivery',
	'A40: headers' => 'SELECT * FROM eventmkt_data.endpoint',
	'A40: secrets' => 'SELECT * FROM eventmkt.secret',
	'A40: sending' => 'SELECT eventmkt.run_due()',
);
is(as('app', $denied{$_}), '42501', $_) for sort keys %denied;
is(as('bi', q{SELECT count(*) FROM pg_stats WHERE schemaname = 'eventmkt_data'}), 'ok 0', 'A7: an analyst sees no statistics of our tables');
like(as('bi', 'EXPLAIN ANALYZE SELECT * FROM eventmkt_data.profile'), qr/^42501$/, 'A7: nor plans over them');
like(as('bi', q{CREATE FUNCTION pg_temp.leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$;
	SELECT count(*) FROM eventmkt_data.profile WHERE pg_temp.leak(profile_id)}), qr/^42501$/, 'A7: nor does a leaky function');

# ---- A8, A10: a flood of calls that wake, and locks of one's own, delay nobody for long
root(q{SELECT eventmkt.create_rule('quick', on_event => 'Quick', send_to => 'none')});
my $squat = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
$squat->query('SELECT count(pg_advisory_lock(i)) FROM generate_series(1, 2000) i');
$squat->query("SELECT count(pg_advisory_lock(a, b)) FROM generate_series(0, 40) a, generate_series(0, 40) b");
my $open = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
$open->query(q{BEGIN; SELECT eventmkt.track('open', 'Quick')});
as('app', q{DO $$ BEGIN FOR i IN 1 .. 1000 LOOP PERFORM eventmkt.track('flood' || i, 'Quick'); COMMIT; END LOOP; END $$});
as('app', q{SELECT eventmkt.track('after', 'Quick')});
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.decision WHERE rule = 'quick' AND profile_id <> 'open'}, 1001, 20),
	'A8, A10: a flood, advisory locks and an open transaction stop nothing');
$open->query('COMMIT');
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.decision WHERE rule = 'quick' AND profile_id = 'open'}, 1, 20), 'A10: what commits late is decided');
$_->quit for $squat, $open;
# a superuser's lock is waited for, and over with it
my $lock = $node->background_psql('postgres', on_error_stop => 0);
$lock->query('BEGIN; LOCK TABLE eventmkt_data.pending_trigger IN ACCESS EXCLUSIVE MODE');
as('app', q{SELECT eventmkt.track('locked', 'Quick')});
sleep 2;
$lock->query('COMMIT');
$lock->quit;
ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt_data.decision WHERE profile_id = 'locked'}, 1, 20), 'A10: after a LOCK TABLE the worker goes on');

# ---- A36: merges in a circle, ids that are none
root(q{SELECT eventmkt.alias('c1', 'c2'); SELECT eventmkt.alias('c2', 'c3'); SELECT eventmkt.alias('c3', 'c1')});
is(root(q{SELECT count(DISTINCT coalesce(a.profile_id, i)), bool_and(coalesce(a.profile_id, i) NOT IN (SELECT alias FROM eventmkt_data.alias))
	FROM unnest('{c1,c2,c3}'::text[]) i LEFT JOIN eventmkt_data.alias a ON a.alias = i}), '1|t', 'A36: a circle of merges is one person');
is(as('postgres', q{SELECT eventmkt.identify('', '{}')}), '22023', 'A36: no id');
is(as('postgres', q{SELECT eventmkt.identify(pg_catalog.repeat('x', 10000), '{}')}), '54000', 'A36: an id of 10 kB');
like(as('postgres', q{DO $$ BEGIN FOR i IN 1 .. 3000 LOOP PERFORM eventmkt.identify('many', '{}', 'anon' || i); END LOOP; END $$}), qr/^(?:54000|ok)/, 'A36: many anonymous ids of one user end at a limit');
cmp_ok(root(q{SELECT count(*) FROM eventmkt_data.alias WHERE profile_id = 'many'}), '<=', 3000, 'A36: bounded');

# ---- A41: roles of the server that read everything
root(q{CREATE ROLE writer LOGIN; GRANT pg_write_all_data, pg_read_all_data TO writer; CREATE ROLE reader LOGIN; GRANT pg_read_all_data, pg_monitor, pg_stat_scan_tables TO reader; CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher});
is(as('reader', q{SELECT eventmkt.track('u', 'E')}), '42501', 'A41: pg_read_all_data calls nothing of ours');
is(as('watcher', 'SELECT count(*) FROM eventmkt.secret'), '42501', 'A41: pg_monitor reads no secret');
root(q{SELECT eventmkt.create_endpoint('hidden', 'https://shop.example/hook'); ANALYZE eventmkt.secret});
cmp_ok(root('SELECT count(*) FROM eventmkt.secret'), '>=', 1, 'A41: there is a secret');
is(as('reader', 'SELECT count(*) FROM eventmkt.secret'), 'ok 0', 'A41: and pg_read_all_data sees none');
is(as('reader', q{SELECT count(*) FROM pg_stats WHERE tablename = 'secret'}), 'ok 0', 'A41: nor what statistics hold of them');
is(as('reader', q{SET row_security = off; SELECT count(*) FROM eventmkt.secret}), '42501', 'A41: nor by looking past the policy');
is(as('writer', $_), '55000', "A41: nor does pg_write_all_data reach them: $_") for 'DELETE FROM eventmkt.secret_known', 'UPDATE eventmkt.secret_known SET expires_at = NULL';
is(as('writer', 'WITH d AS (DELETE FROM eventmkt.secret RETURNING 1) SELECT count(*) FROM d'), 'ok 0', 'A41: nor past the policy');
# a session and a database where policies are errors
is(as('postgres', q{SET row_security = off; SELECT eventmkt.rotate_secret('hidden') LIKE 'whsec_%' AND pg_catalog.current_setting('row_security') = 'off'}), 'ok t',
	'A41: who looks past policies is served, and goes on to');
is(as($_, q{SET row_security = off; SELECT state FROM eventmkt_bi.endpoints WHERE endpoint = 'hidden'}), 'ok ok', "A41: $_ sees that there is a secret, with policies or without") for qw(postgres bi);
is(as('bi', 'SELECT * FROM eventmkt.secret_known'), '42501', 'A41: through the view for operations only');

# ---- A44: the library where nobody expects it
like(as('app', q{LOAD 'eventmkt'}), qr/^(?:42501|ok)/, 'A44: LOAD by a login');
like(as('postgres', q{LOAD 'eventmkt'; LOAD 'eventmkt'; SELECT eventmkt.clock() IS NOT NULL}), qr/^ok t$/, 'A44: twice, preloaded');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'nothing crashed');
$node->stop;
my ($out, $err) = ('', '');
my $in = "SELECT eventmkt.track('single', 'E')\nSELECT eventmkt.run_due()\nSELECT eventmkt.start_worker()\nSELECT eventmkt.clock()\n";
IPC::Run::run([ $node->installed_command('postgres'), '--single', '-D', $node->data_dir, 'postgres' ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(60 * slow()));
is($?, 0, 'A44: single-user mode with the library preloaded ends as it should');
like($out, qr/clock\s*=/, 'A44: and answers');
unlike("$out$err", qr/PANIC|TRAP/, 'A44: without a crash');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
like(as('postgres', q{LOAD 'eventmkt'; LOAD 'eventmkt'; SELECT eventmkt.track('late', 'E')}), qr/^ok \d+$/, 'A44: LOAD twice, not preloaded');
$node->stop;
done_testing();
