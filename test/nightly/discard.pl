# R45: aggregates, timelines, rules and a worker that delivers, on a server that throws its caches away at every chance
# (debug_discard_caches): the same answers, and every message.
#
# Wants a server with assertions, where what is freed is overwritten, so that a pointer into a cache that is kept too long shows; test/cautious
# discard runs it on one. It is a thousandfold slow, so the database is made and filled at full speed, and the questions are small. EMK_DISCARDED
# names the number of messages (6).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../tap/lib";
use Emk;
use Emk::Slow;
use PostgreSQL::Test::Utils;
use Test::More;

my $messages = $ENV{EMK_DISCARDED} // 6;
my ($node, $sink) = slow_shop();
if ($node->psql('postgres', 'SET debug_discard_caches = 1') != 0)
{
	stop_all();
	die 'the server was built without assertions' if $ENV{EMK_ASSERTIONS};
	plan skip_all => 'the server was built without assertions';
}
my $answers = ask_questions($node, $messages, roll_back => 1);
$node->safe_psql('postgres', $_) for 'ALTER SYSTEM SET debug_discard_caches = 1', 'SELECT pg_reload_conf()';
ok(wait_for_sql($node, 'SHOW debug_discard_caches', 1, 600), 'caches are thrown away');
my $start = time;
# the last two, why_not() and health(), look at what a worker has done by then
is(join("\n", map { s/(?:\n.*){2}\z//r } ask_questions($node, $messages)), $answers =~ s/(?:\n.*){2}\z//r, 'the same answers');
my $asked = time - $start;
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", $messages + 3, 3000), 'the worker delivered') or
	diag($node->safe_psql('postgres', 'SELECT rule, status, count(*) FROM eventmkt_data.delivery GROUP BY 1, 2'));
is(join('', violations($node)), '', 'state machine');
note("figure: the questions in $asked s, $messages and 3 messages in " . (time - $start) . ' s');
$node->stop('immediate');
unlike(slurp_file($node->logfile), qr/TRAP|terminated by signal|XX000|could not/, 'nothing bad in the log');
done_testing();
