# sqlsmith: random statements by a role that may track, define rules and read reports, on a schema with the extension (R43)
#
# 10 × 10,000 statements, each round with a seed of its own (EMK_SMITH="rounds statements first-seed" for others). No crash, and no internal error (XX000)
# whose place is in a file of ours. Skipped where sqlsmith is not installed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../tap/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'sqlsmith is not installed' if !grep { -x "$_/sqlsmith" } split /:/, $ENV{PATH};
my ($rounds, $statements, $first) = split ' ', $ENV{EMK_SMITH} // '10 10000 1';
$first //= 1;
my $node = new_node('smith', conf => "log_error_verbosity = verbose\nautovacuum = off\n");

$node->safe_psql('postgres', q{SET client_min_messages = error; CREATE ROLE smith LOGIN;
	SELECT eventmkt.grant_access('smith', kind) FROM unnest('{tracker,marketer,analyst}'::text[]) kind;
	SELECT count(eventmkt.track('u' || i % 20, 'E', jsonb_build_object('a', i, 'k', i % 3))) FROM generate_series(1, 500) i;
	SELECT eventmkt.create_rule('r', on_event => 'E', send_to => 'none'); SELECT eventmkt.run_due()});
for my $seed ($first .. $first + $rounds - 1)
{
	my ($out, $err) = ('', '');
	my $from = -s $node->logfile;
	IPC::Run::run([ 'sqlsmith', '--target=host=' . $node->host . ' port=' . $node->port .
			" dbname=postgres user=smith options='-c statement_timeout=2000 -c client_min_messages=error'", "--max-queries=$statements", "--seed=$seed" ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(7200));
	is($?, 0, "round $seed: sqlsmith came to its end") or diag(substr $err, -1000);
	my $log = substr slurp_file($node->logfile), $from;
	unlike($log, qr/terminated by signal|PANIC|TRAP:/, "round $seed: no crash");
	my @internal = grep { m{LOCATION:.*?,\s*(\w+\.c):} && glob("$FindBin::Bin/../../src/*/$1") } $log =~ /ERROR:  XX\w{3}: [^\n]*\n(?:[^\n]*\n){0,6}?[^\n]*LOCATION:[^\n]*/g;
	is(join("\n", @internal), '', "round $seed: no internal error of ours");
	cmp_ok(scalar(() = $log =~ /ERROR:/g), '>', 0, "round $seed: statements reached the server");
}
$node->stop;
done_testing();
