# 340_model: random histories against a plain model of the engine, written from the manual (R49)
#
# A history is a list of operations made from a seed: events in time, late, early, repeated, loaded; traits, merges; rules made, replaced,
# disabled, enabled, dropped; moves of the clock and passes. The server lives it, test/model/Model.pm says what it should have decided, and
# both say what was sent, recorded, suppressed and expired, for which start and due time. A history that differs is made smaller as long as
# there is time, and printed. EMK_SEED and EMK_OPS run one history again.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../model";
use Emk;
use History;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $operations = $ENV{EMK_OPS} // Emk::sized(300, 2000);
my @seeds = defined $ENV{EMK_SEED} ? ($ENV{EMK_SEED}) : (1 .. Emk::sized(6, 100));
my $SHRINK = Emk::sized(60, 600);		# seconds
my $node = PostgreSQL::Test::Cluster->new('model');
my $databases = 0;

$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;

# Lives a history in a database of its own; returns the differences and the number of decisions
sub tell_apart
{
	my (@ops) = @_;
	my ($model, $sql) = History::live(@ops);
	my $db = 'h' . ++$databases;
	my ($out, $err) = ('', '');

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	my $script = History::script($sql);
	IPC::Run::run([ $node->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', '-' ],
		'<', \$script, '>', \$out, '2>', \$err);
	$node->safe_psql('postgres', "DROP DATABASE $db");
	return (["the server says: $err"], 0) if $err ne '';
	my @got = split /\n/, $out;
	return ([ History::differences($model, @got) ], scalar @got);
}

# Leaves out whatever the difference does not need, halves first.
sub shrink
{
	my (@ops) = @_;
	my $end = time + $SHRINK;

	for (my $part = int(@ops / 2); $part >= 1; $part = int($part / 2))
	{
		for (my $at = 0; $at < @ops && time < $end;)
		{
			my @fewer = @ops;
			splice @fewer, $at, $part;
			if (@{ (tell_apart(@fewer))[0] }) { @ops = @fewer; }
			else { $at += $part; }
		}
	}
	return @ops;
}

for my $seed (@seeds)
{
	my @ops = History::random_history($seed, $operations);
	my ($differences, $decisions) = tell_apart(@ops);

	ok(!@$differences, "history $seed: $operations operations, $decisions decisions as the model says") or do {
		my @few = shrink(@ops);
		diag("EMK_SEED=$seed EMK_OPS=$operations differs:\n", map({ "  $_\n" } @$differences), 'of ', scalar @few, " operations are enough:\n",
			map({ '  ' . History::text($_) . "\n" } @few), "which differ by:\n", map { "  $_\n" } @{ (tell_apart(@few))[0] });
	};
}

# the comparison sees a wrong model: one that forgets every cancelling event
{
	no warnings 'redefine';
	local *Model::cancelled_to = sub { return undef };
	my ($differences) = tell_apart(History::random_history(1, 300));
	cmp_ok(scalar @$differences, '>', 0, 'a model that forgets to cancel is told apart');
}
$node->stop;
done_testing();
