# R45: aggregates, timelines, rules and a worker that delivers, on a server under valgrind's memcheck: no report that has a frame of ours.
#
# The server is the plain one, so chunks of a memory context have no bounds here (test/asan has them); what this adds is every use of bytes that
# nobody wrote, also in libcurl and in what is handed to the kernel. What servers write of their own padding is known (test/nightly/valgrind.supp).
# It is thirty times slower than a server, so the database is made and filled without valgrind, and the questions are small. EMK_VALGRIND names
# the number of messages (50). Skipped where valgrind is not installed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../tap/lib";
use Emk;
use Emk::Slow;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'valgrind is not installed' if !grep { -x "$_/valgrind" } split /:/, $ENV{PATH};
my $messages = $ENV{EMK_VALGRIND} // 50;
my ($node, $sink) = slow_shop();
$node->stop;

my $logs = PostgreSQL::Test::Utils::tempdir;
my $bin = (grep { -x "$_/postgres" } split /:/, $ENV{PATH})[0];
my ($out, $err) = ('', '');
my $server = IPC::Run::start([ 'valgrind', '-q', '--trace-children=yes', '--leak-check=no', '--error-limit=no', '--num-callers=40', '--gen-suppressions=all',
		"--suppressions=$FindBin::Bin/valgrind.supp", "--log-file=$logs/%p", "$bin/postgres", '-D', $node->data_dir ],
	'<', \undef, '>', \$out, '2>', \$err);
ok(wait_for(sub { system('pg_isready', '-q', '-h', $node->host, '-p', $node->port) == 0 }, 600), 'the server is up');

# one session, because each costs seconds; a statement that fails is a failure
ask_questions($node, $messages);
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", $messages + 3, 1200), 'the worker delivered') or
	diag($node->safe_psql('postgres', 'SELECT rule, status, count(*) FROM eventmkt_data.delivery GROUP BY 1, 2'));
$node->safe_psql('postgres', 'SELECT eventmkt.stop_worker()');
system('pg_ctl', '-D', $node->data_dir, '-w', '-t', '300', '-m', 'fast', '-s', 'stop');
$server->finish;

my ($processes, $others, @ours) = (0, 0);
for my $file (glob "$logs/*")
{
	$processes++;
	my $text = slurp_file($file);
	$text =~ s/^\{\n.*?^\}\n//msg;
	for my $report (split /^==\d+== \n/m, $text)
	{
		next if $report !~ /(?:at|by) 0x/;
		if ($report =~ /eventmkt\.so|\((?:\w+)\.c:\d+\)/) { push @ours, $report }
		else { $others++ }
	}
}
is(join("\n", @ours[ 0 .. ($#ours > 9 ? 9 : $#ours) ]), '', 'no report with a frame of ours');
cmp_ok($processes, '>', 5, 'processes were looked at');
note("figure: $processes processes, $messages messages: " . scalar(@ours) . " reports with a frame of ours, $others of the server alone");
done_testing();
