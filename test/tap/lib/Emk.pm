package Emk;

=encoding utf8

=head1 Emk: servers with the extension, the faulty receiver, and the safety check, for TAP tests

  use FindBin;
  use lib "$FindBin::Bin/lib";
  use Emk;

  my $node = new_node('shop', preload => 1);
  my $sink = start_sink();
  create_endpoint($node, 'mail', $sink, '/fail-first/2');
  $node->safe_psql('postgres', "SELECT eventmkt.create_rule('hello', on_event => 'Signed Up')");
  $node->safe_psql('postgres', "SELECT eventmkt.track('u1', 'Signed Up', message_id => 'm1')");
  ok($sink->wait_requests(3), 'three tries');
  is(check_safety($node, $sink, client => [{ message_id => 'm1', result => 'ok' }], sends => 1), '', 'safety rule');
  is(violations($node), '', 'state machine');

Everything started here ends with the test, however it ends.

=cut

use strict;
use warnings;
use Carp;
use Exporter 'import';
use File::Basename qw(dirname);
use File::Temp;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time sleep);

use Emk::Sink;

our @EXPORT = qw(new_node start_sink create_endpoint wait_for wait_for_sql violations check_safety query_rows quote_literal
	spread_endpoints healthy_holds make_certs sized slow in_time lookup_threads stop_all
	pause_points pause_at paused);

my $test_dir = dirname(dirname(dirname(__FILE__)));
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my @nodes;

# a test that is told to stop still runs its END blocks
$SIG{TERM} = $SIG{INT} = $SIG{HUP} = sub { exit 130 };

=head2 new_node(NAME, OPTIONS) → PostgreSQL::Test::Cluster

A running cluster with the extension, after eventmkt.init(), that may send to 127.0.0.0/8 by plain http.

  preload => 1         shared_preload_libraries = eventmkt
  conf => TEXT         more lines for postgresql.conf
  dbname => NAME       database (made when missing; default postgres)
  extension => 0       only the cluster        init => 0   extension, no init()
  owner => NAME        for init()
  worker => 1          start_worker() at the end (without preload)
  start => 0           only initdb and settings
  pause => 1           the library with pause points (src/base/pause.h); see pause_at()

=cut

sub new_node
{
	my ($name, %opts) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, $opts{pause} ? (install_path => pause_install()) : ());
	my $db = $opts{dbname} // 'postgres';

	push @nodes, $node;
	$node->{emk_db} = $db;
	my %init = %{ $opts{init_args} // {} };
	# whatever the locale of who runs the tests: JSON needs UTF-8
	$node->init(%init, extra => [ '--encoding', 'UTF8', '--locale', 'C', @{ $init{extra} // [] } ]);
	$node->append_conf('postgresql.conf', <<"CONF");
restart_after_crash = on
log_statement = none
max_prepared_transactions = 10
max_worker_processes = 16
eventmkt.allowed_networks = '127.0.0.0/8'
eventmkt.allow_plain_http = on
CONF
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'eventmkt'") if $opts{preload};
	$node->append_conf('postgresql.conf', $opts{conf}) if defined $opts{conf};
	return $node if exists $opts{start} && !$opts{start};

	$node->start;
	$node->safe_psql('postgres', qq(CREATE DATABASE "$db")) if $db ne 'postgres';
	return $node if exists $opts{extension} && !$opts{extension};
	$node->safe_psql($db, 'CREATE EXTENSION eventmkt');
	return $node if exists $opts{init} && !$opts{init};
	my $owner = defined $opts{owner} ? quote_literal($opts{owner}) : '';
	$node->safe_psql($db, "SET client_min_messages = warning; SELECT * FROM eventmkt.init($owner)");
	$node->safe_psql($db, 'SELECT eventmkt.start_worker()') if $opts{worker};
	return $node;
}

sub pause_install
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ "$test_dir/pause" ], '<', \undef, '>', \$out, '2>', \$err) or croak "test/pause failed: $err";
	chomp $out;
	return $out;
}

=head2 pause_points() → the names of all of them, as the sources have them

=cut

sub pause_points
{
	my %names;
	for my $file (glob("$test_dir/../src/*/*.c"))
	{
		$names{$_} = 1 for PostgreSQL::Test::Utils::slurp_file($file) =~ /EMK_PAUSE_POINT\("(\w+)"\)/g;
	}
	return sort keys %names;
}

=head2 pause_at(NODE, NAME, ACTION, SKIP) → number

The next process of the server that comes to the pause point NAME (having passed it SKIP times) kills itself (ACTION kill) or stops
(stop); ACTION sleep: each one waits SKIP milliseconds there. Without a NAME nothing happens any more. paused(NODE, NUMBER) is then the id of the process it happened to, empty before.

=cut

sub pause_at
{
	my ($node, $name, $action, $skip) = @_;
	my $number = !defined $name ? 0 : $action eq 'sleep' ? $skip : ++$node->{emk_pauses};
	my $value = defined $name ? "$name $action $number" . ($action eq 'sleep' ? '' : ' ' . ($skip // 0)) : '';

	$node->safe_psql('postgres', "ALTER SYSTEM SET eventmkt.pause_point = '$value'");
	$node->reload;
	return $number;
}

sub paused
{
	my ($node, $number) = @_;
	my $mark = $node->data_dir . "/eventmkt_pause.$number";
	return -s $mark ? PostgreSQL::Test::Utils::slurp_file($mark) + 0 : '';
}

=head2 start_sink(OPTIONS) → Emk::Sink

  secrets => { PATH => SECRET }    PATH may end in *; a SECRET may be an array
  headers => 1, bodies => 0, sync => 0, host => '127.0.0.1', port => 0, journal => FILE
  tls => [CERT, KEY]               listen => ['silent', 'reset-before-read', …]   raw ports, see $sink->raw_port

=cut

sub start_sink
{
	return Emk::Sink->start(@_);
}

=head2 create_endpoint(NODE, NAME, SINK, PATH, OPTIONS) → secret

Makes the endpoint and tells the sink its secret. OPTIONS are arguments of eventmkt.create_endpoint (secret, headers,
method, timeout, max_in_flight, rate_limit, …) and url, dbname.

=cut

sub create_endpoint
{
	my ($node, $name, $sink, $path, %opts) = @_;
	my $db = delete $opts{dbname} // $node->{emk_db} // 'postgres';
	my $url = delete $opts{url} // $sink->url($path);
	my $more = join '', map { ", $_ => " . quote_literal($opts{$_}) } sort keys %opts;
	my $secret = $node->safe_psql($db,
		'SELECT eventmkt.create_endpoint(' . quote_literal($name) . ', ' . quote_literal($url) . "$more)");

	(my $plain = $path) =~ s/\?.*//s;
	$sink->secret($plain, $secret) if $sink;
	return $secret;
}

sub quote_literal
{
	my ($text) = @_;
	return 'NULL' unless defined $text;
	$text =~ s/'/''/g;
	return $text =~ s/\\/\\\\/g ? " E'$text'" : "'$text'";
}

=head2 spread_endpoints(NODE, KIND, URLS, OPTIONS)

An endpoint KIND1, KIND2, … for each of the URLS, with a rule: the event KIND whose property n is i goes to the i-th.
OPTIONS are those of create_endpoint, of all of them.

=cut

sub spread_endpoints
{
	my ($node, $kind, $urls, %opts) = @_;
	my $more = join '', map { ", $_ => " . quote_literal($opts{$_}) } sort keys %opts;
	my $list = join ', ', map { quote_literal($_) } @$urls;

	$node->safe_psql($node->{emk_db}, "SET client_min_messages = error;
		SELECT count(eventmkt.create_endpoint('$kind' || i, url$more)) FROM unnest(ARRAY[$list]) WITH ORDINALITY u (url, i);
		SELECT count(eventmkt.create_rule('$kind' || i, on_event => '$kind', where_event => ('\$.n == ' || i)::jsonpath, send_to => '$kind' || i))
		FROM generate_series(1, " . @$urls . ') i');
}

=head2 healthy_holds(NODE, KIND, N, WHAT, BASE, BEFORE) → p99 in ms

200 messages within two seconds to the N endpoints of a KIND that answer at once. Tests that the 99th percentile from outbox to
settled is at most twice BASE (or 250 ms, for a machine with much else to do), that from outbox to the first byte 100 ms, and the
biggest gap between two successes 250 ms; the best of three rounds must hold, because what stops a worker stops it in each. BEFORE, if given, is called before each round. Without a BASE nothing but the delivery is tested.

=cut

sub healthy_holds
{
	my ($node, $kind, $n, $what, $base, $before) = @_;
	my ($slow, $least) = (slow(), 250 * slow());
	my $limit = ($base // 0) < $least / 2 ? $least : 2 * $base;
	my ($p99, $gap, $sent);

	for my $round (1 .. 3)
	{
		$before->() if $before;
		my $from = $node->safe_psql($node->{emk_db}, 'SELECT clock_timestamp()');
		$node->safe_psql($node->{emk_db}, "DO \$\$ BEGIN FOR i IN 1 .. 200 LOOP
			PERFORM eventmkt.track('h' || i, '$kind', jsonb_build_object('n', 1 + i % $n)); COMMIT; PERFORM pg_sleep(0.008); END LOOP; END \$\$");
		Test::More::ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule LIKE '$kind%' AND created_at >= '$from'
			AND status = 'delivered'", 200, 20), "$what: all healthy ones are delivered");
		($p99, $gap, $sent) = split /\|/, $node->safe_psql($node->{emk_db}, "SELECT
			round(1000 * percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM settled_at - created_at))::numeric, 1),
			round(1000 * max(gap)),
			round(1000 * percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM first_sent_at - created_at))::numeric, 1) FROM (SELECT *, extract(epoch FROM settled_at - lag(settled_at) OVER (ORDER BY settled_at)) AS gap
			FROM eventmkt_data.delivery WHERE rule LIKE '$kind%' AND created_at >= '$from') d");
		return $p99 if !defined $base;
		Test::More::note("$what: p99 $p99 ms ($sent ms until sent), gap $gap ms; alone p99 $base ms");
		last if $p99 <= $limit && $sent <= 100 * $slow && $gap <= $least;
	}
	Test::More::cmp_ok($p99, '<=', $limit, "$what: p99 of the healthy ones");
	Test::More::cmp_ok($sent, '<=', 100 * $slow, "$what: p99 until they are sent");
	Test::More::cmp_ok($gap, '<=', $least, "$what: biggest gap between healthy successes");
	return $p99;
}

=head2 sized(C, NIGHTLY) → the size of an experiment: C in `make test`, NIGHTLY in `make test-nightly` and `make test-release`

=cut

sub sized { ($ENV{EMK_TIER} // 'c') =~ /nightly|release/ ? $_[1] : $_[0] }

=head2 slow() → how many times slower than usual the server is said to be: EMK_SLOW of the environment (test/asan), or 1

The limits of in_time(), healthy_holds() and wait_for() are that many times as long. What is not measured by them asks for it.

=cut

sub slow { $ENV{EMK_SLOW} || 1 }

=head2 pressure() → the share of the last ten seconds in which somebody here waited for a processor: 0 to 1, 0 where the kernel does not say

=cut

sub pressure
{
	open(my $f, '<', '/proc/pressure/cpu') or return 0;
	return (<$f> // '') =~ /some avg10=([\d.]+)/ ? $1 / 100 : 0;
}

=head2 in_time(SECONDS, LIMIT, NAME): a test that passes when something took no longer than LIMIT

The bar is one of a machine that has a processor for us. Where it has not, what we waited for one is taken off, but thrice the limit is never
passed. What was really taken is in the name of the test.

=cut

sub in_time
{
	my ($took, $limit, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$limit *= slow();
	my $waited = $took <= $limit ? 0 : pressure();

	return Test::More::ok($took <= 3 * $limit && $took * (1 - $waited) <= $limit, sprintf('%s (%.2f s of %g%s)', $name, $took, $limit,
		$waited ? sprintf(', %.0f %% of them waiting for a processor', 100 * $waited) : ''));
}

=head2 lookup_threads() → threads

A worker that looks up names has no more threads than this. libcurl 8.20 and later asks for A and AAAA in a thread each.

=cut

sub lookup_threads
{
	my $version = `curl-config --vernum`;
	return hex($version) < 0x081400 ? 64 : 129;
}

=head2 wait_for(CODE, SECONDS) → what CODE returned once it was true; false when the time is over

It waits up to four times as long while half of the time somebody waits for a processor: a limit tells what hangs from what is slow.

=cut

sub wait_for
{
	my ($code, $timeout) = @_;
	my $start = time;
	my $step = 0.02;

	$timeout //= $PostgreSQL::Test::Utils::timeout_default;
	$timeout *= slow();

	while (1)
	{
		my $got = $code->();
		return $got if $got;
		my $passed = time - $start;
		return '' if $passed >= $timeout && ($passed >= 4 * $timeout || $passed >= $timeout + 180 || pressure() < 0.5);
		sleep $step;
		$step = 0.25 if ($step *= 1.3) > 0.25;
	}
}

=head2 wait_for_sql(NODE, QUERY, EXPECTED = 't', SECONDS, DBNAME) → 1, or 0 with a diag of the last answer

A server that does not answer (it is starting, it crashed) is waited for, too.

=cut

sub wait_for_sql
{
	my ($node, $query, $expected, $timeout, $db) = @_;
	my ($rc, $out, $err);

	$expected //= 't';
	return 1 if wait_for(sub {
		# psql that is refused can end before it has its input
		eval { ($rc, $out, $err) = $node->psql($db // $node->{emk_db} // 'postgres', $query, timeout => 30, on_error_die => 0); 1 }
			or $@ =~ /Broken pipe/ ? return 0 : die $@;
		return defined $rc && $rc == 0 && $out eq $expected;
	}, $timeout);
	Test::More::diag("waited for '$expected' from: $query\nlast answer: '" . ($out // '') . "' " . ($err // ''));
	return 0;
}

=head2 query_rows(NODE, QUERY, DBNAME) → list of hashes, one a row

=cut

sub query_rows
{
	my ($node, $query, $db) = @_;
	my $out = $node->safe_psql($db // $node->{emk_db} // 'postgres', "SELECT pg_catalog.to_jsonb(q)::text FROM ($query) q");
	utf8::encode($out) if utf8::is_utf8($out);
	return map { $json->decode($_) } grep { length } split /\n/, $out;
}

sub run_psql
{
	my ($node, $db, @args) = @_;
	my ($out, $err) = ('', '');
	local $ENV{PGOPTIONS} = '-c client_min_messages=warning -c statement_timeout=0 -c timezone=UTC';
	IPC::Run::run([ $node->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), @args ],
		'<', \undef, '>', \$out, '2>', \$err) or croak "psql @args failed: $err";
	return $out;
}

=head2 violations(NODE, redeliver => 1, dbname => NAME) → text: what check.sql finds, empty when all is well

=cut

sub violations
{
	my ($node, %opts) = @_;
	my @more = $opts{redeliver} ? ('-v', 'redeliver=1') : ();
	return run_psql($node, $opts{dbname} // $node->{emk_db} // 'postgres', @more, '-f', "$test_dir/sink/check.sql");
}

=head2 check_safety(NODE, SINK or [SINKS], OPTIONS) → text: what check.js finds, empty when all is well

  client => [ { message_id | event_id, result => ok|failed|unknown, sends => N } ] or the name of a file
  sends => N, drained => 1, now => TIME, max_duplicates => N, no_overlap => 1, strict_tries => 1,
  require_verified => 0 (1 unless said), redeliver => 1, dbname => NAME

now is the clock's, so that moved clocks work. The counts are in %Emk::last_counts afterwards.

=cut

our %last_counts;

sub check_safety
{
	my ($node, $sinks, %opts) = @_;
	my $db = delete $opts{dbname} // $node->{emk_db} // 'postgres';
	my $dir = File::Temp->newdir;
	my %source = (event => 'event', delivery => 'delivery', attempt => 'attempt', decision => 'decision',
		pending => 'pending_trigger', work => 'work');
	my @args = ('--sink', map { $_->{journal} } ref $sinks eq 'ARRAY' ? @$sinks : $sinks);

	# one snapshot of all, so that it may be asked at any moment
	PostgreSQL::Test::Utils::append_to_file("$dir/dump", join '', "BEGIN ISOLATION LEVEL REPEATABLE READ;\n",
		(map { "\\o $dir/$_\nSELECT pg_catalog.to_jsonb(t)::text FROM eventmkt_data.$source{$_} t;\n" } sort keys %source), "COMMIT;\n");
	run_psql($node, $db, '-f', "$dir/dump");
	push @args, map { ("--$_", "$dir/$_") } sort keys %source;
	if (my $client = delete $opts{client})
	{
		my $file = ref $client ? "$dir/client" : $client;
		PostgreSQL::Test::Utils::append_to_file($file, join '', map { $json->encode($_) . "\n" } @$client) if ref $client;
		push @args, '--client', $file;
	}
	$opts{now} //= run_psql($node, $db, '-c', 'SELECT eventmkt.clock()');
	$opts{now} =~ s/\s+$//;
	$opts{require_verified} //= 1;
	for my $name (sort keys %opts)
	{
		(my $flag = "--$name") =~ tr/_/-/;
		if ($name =~ /^(drained|no_overlap|strict_tries|require_verified|redeliver)$/)
		{
			push @args, $flag if $opts{$name};
		}
		else
		{
			push @args, $flag, $opts{$name} if defined $opts{$name};
		}
	}
	my ($out, $err) = ('', '');
	# all of a run is in memory, with a million rows some gigabytes
	IPC::Run::run([ Emk::Sink::node_program(), '--max-old-space-size=8192', "$test_dir/sink/check.js", @args ], '<', \undef, '>', \$out, '2>', \$err);
	croak "check.js failed: $err" if $err ne '' || $out !~ s/(\{.*\})\n\z//;
	%last_counts = %{ $json->decode($1) };
	return $out;
}

=head2 make_certs(DIR) → hash of [CERT, KEY] and of ca

ca (a file), good, wrong_host, expired, self_signed, sha1, other_ca: all for localhost, 127.0.0.1, ::1 but wrong_host.

=cut

sub make_certs
{
	my ($dir) = @_;
	my %certs = (ca => "$dir/ca.crt");
	my $openssl = sub {
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'openssl', @_ ], '<', \undef, '>', \$out, '2>', \$err) or croak "openssl @_: $err";
	};
	my $names = 'DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1';
	my $key = sub { $openssl->('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', $_[0]) };

	for my $ca ('ca', 'other')
	{
		$key->("$dir/$ca.key");
		$openssl->('req', '-x509', '-new', '-key', "$dir/$ca.key", '-subj', "/CN=test $ca", '-days', '30', '-out',
			"$dir/$ca.crt");
	}
	my %kinds = (good => {}, wrong_host => { names => 'DNS:elsewhere.example' }, expired => { past => 1 },
		sha1 => { digest => '-sha1' }, other_ca => { ca => 'other' });
	for my $kind (sort keys %kinds)
	{
		my %k = %{ $kinds{$kind} };
		my $ca = $k{ca} // 'ca';
		$key->("$dir/$kind.key");
		append_to_file("$dir/$kind.ext", 'subjectAltName=' . ($k{names} // $names) . "\n");
		$openssl->('req', '-new', '-key', "$dir/$kind.key", '-subj', '/CN=localhost', '-out', "$dir/$kind.csr");
		my @signed = ('-in', "$dir/$kind.csr", '-extfile', "$dir/$kind.ext", '-out', "$dir/$kind.crt");
		if ($k{past})
		{
			# x509 -req makes no certificate of the past since OpenSSL 3.5
			append_to_file("$dir/index.txt", '');
			append_to_file("$dir/ca.conf", "[ca]\ndefault_ca=d\n[d]\ndatabase=$dir/index.txt\nnew_certs_dir=$dir\n" .
				"rand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n");
			$openssl->('ca', '-batch', '-notext', '-config', "$dir/ca.conf", '-cert', "$dir/$ca.crt", '-keyfile', "$dir/$ca.key",
				'-startdate', '20200101000000Z', '-enddate', '20200201000000Z', @signed);
		}
		else
		{
			$openssl->('x509', '-req', '-CA', "$dir/$ca.crt", '-CAkey', "$dir/$ca.key", '-CAcreateserial', '-days', 30,
				$k{digest} // '-sha256', @signed);
		}
		$certs{$kind} = [ "$dir/$kind.crt", "$dir/$kind.key" ];
	}
	$key->("$dir/self_signed.key");
	$openssl->('req', '-x509', '-new', '-key', "$dir/self_signed.key", '-subj', '/CN=localhost', '-days', '30',
		'-addext', "subjectAltName=$names", '-out', "$dir/self_signed.crt");
	$certs{self_signed} = [ "$dir/self_signed.crt", "$dir/self_signed.key" ];
	return %certs;
}

=head2 stop_all()

Stops every sink and cluster that this test started; runs by itself at the end.

=cut

sub stop_all
{
	Emk::Sink::stop_every();
	for my $node (@nodes)
	{
		$node->stop('immediate', fail_ok => 1) if defined $node->{_pid};
	}
	@nodes = ();
}

END
{
	my $rc = $?;
	Emk::Sink::stop_every();
	$? = $rc;
}

1;
