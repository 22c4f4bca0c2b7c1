# 351_erased_files: what an erased person leaves in the files of the database (R59)
#
# A canary stands in the id, in properties, in traits and in a message that was sent nowhere. After erase() and VACUUM no row has it; the
# free space of pages still may, as it does in any table of PostgreSQL, so what must be clean are the files after VACUUM FULL. The write-ahead
# log keeps what it has until it is recycled, and so do backups: they are not searched.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $events = Emk::sized(5000, 100000);
my $canary = 'CANARYqzx7';
my $node = new_node('erased', conf => "autovacuum = off\n");
sub query { return $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") }

# the files of this database that hold the canary
sub hits
{
	query('CHECKPOINT');
	my $dir = $node->data_dir . '/base/' . query(q{SELECT oid FROM pg_database WHERE datname = 'postgres'});
	my @found;
	for my $f (grep { /\/\d[\d_a-z.]*$/ } glob("$dir/*"))
	{
		push @found, $f =~ s/.*\///r if index(slurp_file($f), $canary) >= 0;
	}
	return @found;
}

query(q{SELECT eventmkt.create_rule('later', on_event => 'E', per => 'k', after => '30 days', on_repeat => 'parallel', send_to => 'none');
	SELECT eventmkt.create_rule('now', on_event => 'E', send_to => 'none')});
query("SELECT eventmkt.identify('$canary u', '{\"mail\": \"$canary\@example.com\"}', '$canary anon');
	SELECT count(eventmkt.track('$canary u', 'E', jsonb_build_object('text', '$canary' || i, 'k', i % 100), message_id => '$canary' || i)) FROM generate_series(1, $events) i;
	SELECT eventmkt.track('somebody', 'E', '{\"text\": \"else\", \"k\": 1}');
	SELECT eventmkt.run_due(1000000)");
cmp_ok(scalar(hits()), '>', 3, 'before, files have the canary');
my $start = time;
query("SELECT eventmkt.erase('$canary u')");
my $took = time - $start;
cmp_ok($took, '<=', 10, sprintf('a person with %d events is erased in %.2f s', $events, $took));
ok(wait_for_sql($node, 'SELECT eventmkt.finish_erasures()', 0, 30), 'and looked for once more');
my @tables = split /\n/, query(q{SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('eventmkt'::regnamespace, 'eventmkt_data'::regnamespace)});
is(join(' ', grep { query("SELECT count(*) FROM $_ t WHERE t::text LIKE '%$canary%'") } @tables), '', 'no row has it');
query("VACUUM $_") for @tables;
note('after VACUUM: ' . scalar(hits()) . ' files have it in their free space');
# statistics of columns hold values, too: those of what is left take their place
query("VACUUM (FULL, ANALYZE) $_") for @tables, qw(pg_catalog.pg_statistic);
is(join(' ', hits()), '', 'after VACUUM FULL no file of the database has it');
is(query(q{SELECT count(*) FROM eventmkt_data.event WHERE profile_id = 'somebody'}), 1, 'somebody else is still there');
$node->stop;
done_testing();
