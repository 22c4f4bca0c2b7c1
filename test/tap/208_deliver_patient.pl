# A receiver that answers late, but in time, is called once for each try: no second call while the first is open (R07)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;

my $sends = sized(60, 1000);
my ($answer, $timeout) = (sized(6, 25), sized(9, 30));
my $node = new_node('patient', preload => 1, conf => "eventmkt.max_in_flight = 1000\neventmkt.workers = 2\n");
my $sink = start_sink(sync => 0);

# longer than the safety poll of 5 s, which looks for what was lost; the half goes to an endpoint that fails first
create_endpoint($node, 'late', $sink, "/delay/${answer}000", timeout => "$timeout s", max_in_flight => 500);
create_endpoint($node, 'worse', $sink, "/delay/${answer}000/x?status=503", timeout => "$timeout s", max_in_flight => 500, schedule => '{1}');
$node->safe_psql('postgres', "SELECT eventmkt.create_rule('late', on_event => 'E', send_to => 'late');
	SELECT eventmkt.create_rule('worse', on_event => 'F', send_to => 'worse')");
$node->safe_psql('postgres', "SELECT eventmkt.track('u' || i, 'E', message_id => 'm' || i) FROM generate_series(1, $sends) i;
	SELECT eventmkt.track('v' || i, 'F', message_id => 'f' || i) FROM generate_series(1, 8) i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", $sends, 60 + $sends / 500 * $answer * 2), 'all are delivered');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'dead'", 8, 120), 'those that are refused end after two tries');
is(scalar(() = $sink->requests(qr{^/delay/${answer}000$})), $sends, 'one call each');
is(check_safety($node, $sink, drained => 1, sends => 1, no_overlap => 1, strict_tries => 1, max_duplicates => 0,
	client => [ map { { message_id => $_, result => 'ok' } } (map { "m$_" } 1 .. $sends), (map { "f$_" } 1 .. 8) ]), '', 'safety rule, none while another was open');
is(violations($node), '', 'state machine');
note("figure: R07: $sends sends answered after $answer s of $timeout s: $Emk::last_counts{requests} calls, $Emk::last_counts{duplicates} duplicates");
done_testing();
