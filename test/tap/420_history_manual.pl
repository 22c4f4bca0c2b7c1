# 420_history_manual: the examples of the chapters on history answer what the manual shows
#
# In README.md (its chapter "Ask about history") and doc/history.md each block ```sql is run in order, in a database of its own; a block
# without a language right after it is the answer, as psql prints it without footers. Answers that are cut short with an ellipsis are not compared.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::Bin/../..";
my $node = PostgreSQL::Test::Cluster->new('manual');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");
$node->start;

sub slurp { my ($f) = @_; open my $fh, '<', $f or die "$f: $!\n"; local $/; return scalar <$fh>; }

sub plain
{
	my ($t) = @_;
	$t =~ s/[ \t]+$//mg;
	$t =~ s/\n{2,}/\n/g;
	$t =~ s/^\n+|\n+$//g;
	return $t;
}

sub run_chapter
{
	my ($name, $db, $text) = @_;
	my $shown = 0;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'SET client_min_messages = warning; CREATE EXTENSION eventmkt; SELECT count(*) FROM eventmkt.init()');
	while ($text =~ /^```sql\n(.*?)^```\n(?:```\n(.*?)^```\n)?/msg)
	{
		my ($sql, $want) = ($1, $2);
		my ($out, $err);
		my ($first) = $sql =~ /^(.{1,60})/;
		my $ok = IPC::Run::run([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-P', 'footer=off', '-d', $node->connstr($db) ],
			'<', \$sql, '>', \$out, '2>', \$err);
		ok($ok, "$name: $first") or diag($err);
		next if !defined $want || $want =~ /…/;
		$shown++;
		is(plain($out), plain($want), "$name: the answer shown is the answer");
	}
	return $shown;
}

my $readme = slurp("$top/README.md");
my ($chapter) = $readme =~ /^## Ask about history\n(.*?)^## /ms;
cmp_ok(run_chapter('README.md', 'readme', $chapter // ''), '>=', 8, 'each task of the chapter shows an answer');
cmp_ok(run_chapter('doc/history.md', 'long', slurp("$top/doc/history.md")), '>=', 8, 'so does the long form');
# the queries of the chapter on operations name what there is
my ($monitor) = $readme =~ /^### Monitor\n(.*?)^### /ms;
like($monitor // '', qr/^```sql\n(?:.*\n){20}/m, 'there are queries for monitoring');
run_chapter('README.md, Monitor', 'monitor', $monitor // '');
$node->stop;
done_testing();
