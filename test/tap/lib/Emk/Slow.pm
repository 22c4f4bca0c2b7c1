# Slow.pm: what test/nightly/valgrind.pl and discard.pl share: a shop with rules and a worker, and one session that asks everything once
# (test/nightly/questions.sql). Both servers are so slow that each session and each statement counts.
package Emk::Slow;
use strict;
use warnings;
use Exporter 'import';
use FindBin;
use Emk;
use Test::More;

our @EXPORT = qw(slow_shop ask_questions);

# → the node, made at its usual speed, and its sink
sub slow_shop
{
	my $node = new_node('slow', preload => 1, conf => "autovacuum = off\nfsync = off\n");
	my $sink = start_sink();
	create_endpoint($node, 'shop', $sink, '/ok', timeout => '5 min');
	create_endpoint($node, 'tired', $sink, '/fail-first/1', timeout => '5 min', schedule => '{1,1,1}');
	$node->safe_psql('postgres', $_) for
		q{SELECT eventmkt.create_rule('bought', on_event => 'Bought', send_to => 'shop', where_event => '$.n > 0')},
		q{SELECT eventmkt.create_rule('tired', on_event => 'Tired', send_to => 'tired')},
		q{SELECT eventmkt.create_rule('pattern', on_event => 'Bought', send_to => 'shop', where_event => '$.text like_regex "^b"')};
	return ($node, $sink);
}

# Asks all of it, with `messages` events that lead to one; a statement that fails fails the test. → what was answered, a row a line
sub ask_questions
{
	my ($node, $messages, %opts) = @_;
	my ($begin, $end) = $opts{roll_back} ? ('BEGIN;', 'ROLLBACK;') : ('', '');
	my $rc = $node->psql('postgres', "$begin\n\\i $FindBin::Bin/questions.sql\n$end", stdout => \my $answers, stderr => \my $said, on_error_stop => 1,
		on_error_die => 0, timeout => $opts{timeout} // 3000, extra_params => [ '-v', "messages=$messages" ]);
	is($rc, 0, 'the questions are answered') or diag($said);
	return $answers;
}

1;
