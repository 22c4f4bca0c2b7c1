# While 500 transfers wait on endpoints that do not answer, the worker holds no transaction and no snapshot (R13)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;

my ($endpoints, $each, $samples) = (10, 50, Emk::sized(800, 20_000));
my $node = new_node('calm', preload => 1, conf => "eventmkt.max_in_flight = 1000\nmax_files_per_process = 2000");
my $sink = start_sink(sync => 0, bodies => 0);
my $sql = sub { $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") };

spread_endpoints($node, 'Slow', [ map { $sink->url("/hang/$_") } 1 .. $endpoints ], max_in_flight => $each, timeout => '5 minutes');
$sql->("SELECT eventmkt.track('u' || i, 'Slow', jsonb_build_object('n', 1 + i % $endpoints)) FROM generate_series(1, " . $endpoints * $each . ") i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'in_flight'", $endpoints * $each, 30), '500 are on the wire');
my $script = PostgreSQL::Test::Utils::tempdir() . '/look';
append_to_file($script, "SELECT coalesce(xact_start::text, '-') || '|' || coalesce(backend_xmin::text, '-') || '|' || coalesce(backend_xid::text, '-')
	FROM pg_stat_activity WHERE backend_type = 'eventmkt worker';\nSELECT pg_sleep(0.02) \\g /dev/null\n" x $samples);
my @seen = split /\n/, scalar(run_log_output($script));
is(scalar(@seen), $samples, "$samples looks");
my @open = grep { $_ ne '-|-|-' } @seen;
cmp_ok(scalar(@open), '<=', $samples / 100, 'looks that saw a transaction, a snapshot or an id: ' . @open);
is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'in_flight'"), $endpoints * $each, 'all the while 500 were on the wire');

# so VACUUM takes what died meanwhile
$sql->('CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 1000); DELETE FROM public.t');
like(($node->psql('postgres', 'VACUUM (VERBOSE) public.t'))[2], qr/1000 removed, 0 remain/, 'VACUUM is not held back');
done_testing();

sub run_log_output
{
	my ($file) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $node->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ], '>', \$out, '2>', \$err)
		or die $err;
	return $out;
}
