# The queries of the manual's chapter on monitoring (R52): each is silent while all is well, and has rows once the failure it is for was
# planted. They are run as an operator who may read the server's statistics. Thresholds that are hours are set to nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('alerts', preload => 1, conf => "autovacuum = off\nautovacuum_naptime = 1h");
my $sink = start_sink(sync => 0);
my $sql = sub { $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") };
my @sessions;

my ($chapter) = slurp_file("$FindBin::Bin/../../README.md") =~ /^### Monitor\n.*?```sql\n(.*?)```/ms;
my (%query, $what);
for my $statement (split /;\n/, $chapter)
{
	$what = $1 if $statement =~ s/\A--\s*([^\n]*)\n//;
	push @{ $query{$what} }, $statement =~ s/interval '(?:1 hour|10 minutes|1 minute)'/interval '0'/gr =~ s/age > '1 minute'/age > '0'/r =~
		s/n > 10000/n > 10/r =~ s/p99_ms > 10000/p99_ms > 0/r =~ s/\+ 20000/+ 200/r;
}
cmp_ok(scalar(keys %query), '>=', 18, 'the chapter was read');

sub rows_of
{
	my ($i, $text) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SET ROLE ops; SELECT count(*) FROM ($query{$text}[$i]) q");
	return $rc == 0 ? $out : "failed: $err";
}

# a session of somebody else, which does this and then sleeps
sub session
{
	my ($in, $out, $err) = ('', '', '');
	my $h = IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err);
	$in .= "$_[0]; SELECT 'there'; SELECT pg_sleep(300);\n";
	$h->pump until $out =~ /there/ || $err;
	push @sessions, $h;
}

sub end_sessions
{
	$sql->("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND pid <> pg_backend_pid()");
	$_->finish for splice @sessions;
}

sub switch
{
	$sql->("ALTER SYSTEM SET eventmkt.enabled = $_[0]");
	$sql->('SELECT pg_reload_conf()');
	wait_for_sql($node, "SELECT count(*) = 0 FROM eventmkt.health() WHERE \"check\" = 'paused' AND detail <> 'no'", $_[0] eq 'on' ? 't' : 'f', 10);
}

my %tried;
# plants a failure and waits until its query has rows; then puts things right, where that is said
sub fires
{
	my ($re, $plant, $undo) = @_;
	my @match = grep { /$re/ } sort keys %query;
	is(scalar(@match), 1, "one query is about: $re") or return;
	$tried{ $match[0] } = 1;
	$plant->();
	for my $i (0 .. $#{ $query{ $match[0] } })
	{
		my $seen;
		ok(wait_for(sub { ($seen = rows_of($i, $match[0])) =~ /^[1-9]/ }, 30), "it fires: $match[0]") or diag $seen;
	}
	$undo->() if $undo;
}

$sql->("CREATE ROLE ops; GRANT pg_monitor TO ops; SELECT eventmkt.grant_access('ops', 'operator')");
create_endpoint($node, 'good', $sink, '/ok/good');
$sql->("SELECT eventmkt.create_rule('good', on_event => 'Good', send_to => 'good')");
$sql->("SELECT eventmkt.track('u' || i, 'Good') FROM generate_series(1, 30) i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", 30, 30), 'all is well');
for my $text (sort keys %query)
{
	next if $text =~ /leave late/;	# every message took some time
	is(rows_of($_, $text), 0, "silent: $text") for 0 .. $#{ $query{$text} };
}

fires(qr/nothing is sent/, sub { switch('off') });
fires(qr/events pile up/, sub { $sql->("SELECT eventmkt.track('p' || i, 'Good') FROM generate_series(1, 20) i") }, sub { $sql->('SELECT eventmkt.run_due()') });
fires(qr/a queue is late/, sub { });
fires(qr/people whose messages wait behind/, sub {
	create_endpoint($node, 'lined', $sink, '/status/503', ordered => 't', schedule => '{3600}');
	$sql->("SELECT eventmkt.create_rule('lined', on_event => 'Lined', send_to => 'lined')");
	switch('on');
	$sql->("SELECT eventmkt.track('ann', 'Lined') FROM generate_series(1, 3)");
});
fires(qr/an endpoint fails/, sub { });
fires(qr/leave late/, sub { });	# those that waited while nothing was sent
fires(qr/anything at all/, sub { $sql->("SELECT eventmkt.disable_endpoint('lined')") });
fires(qr/messages that died/, sub {
	create_endpoint($node, 'refuses', $sink, '/status/400');
	$sql->("SELECT eventmkt.create_rule('refuses', on_event => 'Refused', send_to => 'refuses'); SELECT eventmkt.track('ann', 'Refused')");
});
fires(qr/too late to send/, sub {
	$sql->("SELECT eventmkt.create_rule('fresh', on_event => 'Fresh', max_lateness => '1 minute', send_to => 'good');
		SELECT eventmkt.track('ann', 'Fresh', occurred_at => now() - interval '1 hour')");
});
fires(qr/rules that do not run/, sub { $sql->("SELECT eventmkt.disable_rule('fresh')") });
fires(qr/events outside all partitions/, sub { $sql->("SELECT eventmkt.track('ann', 'Old', occurred_at => now() - interval '3 years')") });
fires(qr/waits for a lock/, sub { session('BEGIN; LOCK TABLE eventmkt_data.delivery, eventmkt_data.work IN ACCESS EXCLUSIVE MODE'); $sql->('SELECT pg_sleep(0.1)') }, \&end_sessions);
fires(qr/answers that cannot be stored/, sub {
	$sql->("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.status = ''delivered'' THEN RAISE EXCEPTION ''no''; END IF; RETURN NEW; END';
		CREATE TRIGGER refuse BEFORE UPDATE ON eventmkt_data.delivery FOR EACH ROW EXECUTE FUNCTION public.refuse(); SELECT eventmkt.track('bob', 'Good')");
}, sub { $sql->('DROP FUNCTION public.refuse() CASCADE') });
fires(qr/whose worker is gone/, sub {
	create_endpoint($node, 'hangs', $sink, '/hang', timeout => '5 minutes');
	$sql->("SELECT eventmkt.create_rule('hangs', on_event => 'Hang', send_to => 'hangs'); SELECT eventmkt.track('ann', 'Hang')");
	wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'hangs' AND status = 'in_flight'", 1, 20);
	switch('off');
}, sub { switch('on') });
fires(qr/segments that are being filled/, sub {
	$sql->("SELECT eventmkt.create_segment('good', on_event => 'Good', track_membership => true)");
	wait_for_sql($node, "SELECT filling IS NULL FROM eventmkt_bi.segments WHERE name = 'good'", 't', 30);
	switch('off');
	$sql->("SELECT eventmkt.sync_segment('good', 'good'); SELECT eventmkt.create_segment('old', on_event => 'Old', track_membership => true)");
}, sub { switch('on') });
fires(qr/keeps VACUUM from/, sub { session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1') }, \&end_sessions);
fires(qr/an erasure whose second look/, sub { session('BEGIN; SELECT pg_current_xact_id()'); $sql->("SELECT count(*) FROM eventmkt.erase('bob')") }, \&end_sessions);
fires(qr/queues that VACUUM/, sub {
	$sql->("INSERT INTO eventmkt_data.attempt SELECT gen_random_uuid(), 1, now(), 1 FROM generate_series(1, 3000)");
	$sql->("DELETE FROM eventmkt_data.attempt WHERE latency_us = 1");
});
fires(qr/the clock was moved/, sub { $sql->("SELECT eventmkt.advance_clock('1 minute')") });
fires(qr/no worker/, sub { $sql->('SELECT eventmkt.stop_worker()') });
fires(qr/files that may hold bytes/, sub {	# a worker would be done with it
	$sql->("INSERT INTO eventmkt_data.scrub (relation, horizon, begun_at) VALUES ('eventmkt_data.profile', 1, now() - interval '2 days')
		ON CONFLICT (relation) DO UPDATE SET begun_at = EXCLUDED.begun_at");
});
is(join(', ', grep { !$tried{$_} } sort keys %query), '', 'each query was tried');
done_testing();
