# A secret is nowhere but in its table (R56), and what we log names no person (R57), however much a server logs
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use MIME::Base64 qw(decode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

my $SENDS = 300;
my $node = new_node('canary', preload => 1, conf => <<'CONF');
log_min_messages = debug2
log_error_verbosity = verbose
log_statement = all
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
session_preload_libraries = 'auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_verbose = on
auto_explain.log_nested_statements = on
CONF
# since 16 auto_explain logs the parameters of nested statements, a new secret among them, unless told not to
$node->append_conf('postgresql.conf', 'auto_explain.log_parameter_max_length = 0') if $node->pg_version >= 16;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_stat_statements,eventmkt'\npg_stat_statements.track = all");
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');
my $sink = start_sink();

# ---- secrets: made by create, rotate and set, used for good, failing and dead messages
my @secrets = map { create_endpoint($node, $_->[0], $sink, $_->[1], schedule => '{}') } ([ 'good', '/ok/c' ], [ 'bad', '/status/500' ]);
for my $call ("rotate_secret('good')", "rotate_secret('bad', '1 hour')", "set_secret('bad')")
{
	push @secrets, $node->safe_psql('postgres', "SELECT eventmkt.$call");
}
is(scalar(grep { /^whsec_/ } @secrets), 5, 'five secrets');
$node->safe_psql('postgres', "SELECT eventmkt.create_rule('r_$_', on_event => 'Go', send_to => '$_')") for qw(good bad);
$node->safe_psql('postgres', "SELECT eventmkt.track('u1', 'Go')");
ok(wait_for_sql($node, "SELECT string_agg(status, ' ' ORDER BY status) FROM eventmkt_data.delivery", 'dead delivered', 20), 'one arrives, one dies');
# errors around them
for my $bad ("create_endpoint('good', 'http://127.0.0.1/')", "set_secret('none')", "rotate_secret('good', '-1 day')",
	"replace_endpoint('good', 'ftp://127.0.0.1/')")
{
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT eventmkt.$bad");
	isnt($rc, 0, "refused: $bad");
}
$node->psql('postgres', 'CREATE ROLE nobody LOGIN');
my ($rc, $out, $err) = $node->psql('postgres', "SET ROLE nobody; SELECT * FROM eventmkt.secret");
like($err, qr/permission denied/, 'the table is closed');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '--inserts', '-f', $dump, $node->connstr('postgres') ], 'a dump');

# every way a secret can be written: as it is shown, its bytes, their hexadecimal form
my $canary = join '|', map { my $k = s/^whsec_//r; (quotemeta $k, unpack('H*', decode_base64($k)), quotemeta decode_base64($k)) } @secrets;
sub hits { my ($text) = @_; my @lines = grep { /$canary/ } split /\n/, $text; s/$canary/(secret)/g for @lines; return join "\n", @lines; }
is(hits(slurp_file($dump)), '', 'no dump holds a secret');
for my $what ("SELECT string_agg(query, E'\\n') FROM pg_stat_statements", "SELECT string_agg(query, E'\\n') FROM pg_stat_activity",
	'SELECT string_agg(x::text, E\'\n\') FROM eventmkt_bi.dead_letters x', 'SELECT string_agg(x::text, E\'\n\') FROM eventmkt_bi.endpoints x',
	'SELECT string_agg(x::text, E\'\n\') FROM eventmkt.health() x',
	map { "SELECT string_agg(x::text, E'\\n') FROM eventmkt_data.$_ x" } qw(delivery attempt decision endpoint endpoint_state setting event))
{
	is(hits($node->safe_psql('postgres', $what)), '', "none in: $what");
}
my $log = slurp_file($node->logfile);
like($log, qr/Query Text: INSERT INTO eventmkt\.secret/, 'auto_explain saw our own statements');
is(hits($log), '', 'none in the log');

# ---- people: messages that fail, at debug1, without the statements of the app
$node->append_conf('postgresql.conf', "log_statement = none\nlog_min_messages = debug1\nlog_min_error_statement = panic\nsession_preload_libraries = ''");
$node->restart;
my $size = -s $node->logfile;
create_endpoint($node, 'refused', $sink, '/status/404', schedule => '{}');
$node->safe_psql('postgres', q{SELECT eventmkt.create_rule('r_refused', on_event => 'Fail', send_to => 'refused');
	SELECT eventmkt.create_endpoint('closed', 'http://127.0.0.1:20009/x', schedule => '{}');
	SELECT eventmkt.create_rule('r_closed', on_event => 'Fail', where_event => '$.n <= 5', send_to => 'closed');
	SELECT eventmkt.create_rule('r_cold', on_event => 'Cold', where_event => '$.email like_regex "x$"', send_to => 'closed')});
$node->safe_psql('postgres', qq{SELECT eventmkt.identify('pii-canary-' || i, '{"email": "pii-canary\@example.com"}', 'pii-canary-anon-' || i)
	FROM generate_series(1, 20) i;
	SELECT eventmkt.track('pii-canary-' || i, e, '{"email": "pii-canary\@example.com", "cart": "pii-canary-cart"}'::jsonb || jsonb_build_object('n', i))
	FROM generate_series(1, $SENDS) i, unnest('{Fail,Cold}'::text[]) e});
ok(wait_for_sql($node, "SELECT count(*) >= $SENDS FROM eventmkt_data.delivery WHERE status = 'dead' AND last_status = 404", 't', 60), 'messages failed');
$node->psql('postgres', $_) for "SELECT eventmkt.identify('pii-canary-1', '{}', 'pii-canary-anon-2')", "SELECT eventmkt.alias('pii-canary-1', 'null')",
	"SELECT eventmkt.track('pii-canary-1', '')", "SELECT eventmkt.erase('pii-canary-2')", "SELECT eventmkt.track('pii-canary-2', 'Fail')",
	"SELECT length(eventmkt.export('pii-canary-3')::text)";
my @lines = split /\n/, substr(slurp_file($node->logfile), $size);
ok(scalar(grep { /DEBUG/ } @lines), 'the log is at debug1');
is(join("\n", grep { /pii-canary/ } @lines), '', 'nobody is named in the log');
$node->stop;
done_testing();
