# R41: every SQL-callable function with values of 64 MB, one argument at a time: an answer or an error of class 22, 23, 42, 53, 54, 55 or our own,
# no crash, and the session is as small afterwards as before. The functions, the harmless values and the way to call are those of
# sql/r41_hostile.sql, where 1 MB is the longest. The calls are in an order of chance. EMK_HUGE=SECONDS ends them early; what was
# tried is kept in EMK_KEEP/r41_huge.left, so that the next run goes on with the others, until all were tried and one begins anew.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../tap/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('huge', dbname => 'shop', conf => "autovacuum = off\n");
my ($head) = slurp_file("$FindBin::Bin/../../sql/r41_hostile.sql") =~ /^(.*?)^CREATE TABLE public\.tried/ms or die 'sql/r41_hostile.sql reads otherwise';
my $size = 64 << 20;
my $seconds = $ENV{EMK_HUGE} // 7200;
my %huge = (
	text => "repeat('x', $size)", cstring => "textout(repeat('[', $size))", bytea => "decode(repeat('01', $size), 'hex')",
	jsonb => "('{\"a\": \"' || repeat('x', $size) || '\"}')", jsonpath => "('\$.a == \"' || repeat('x', $size) || '\"')",
	'text[]' => "array_fill('x'::text, ARRAY[$size / 16])", 'int[]' => "array_fill(1, ARRAY[$size / 4])", 'bool[]' => "array_fill(true, ARRAY[$size])",
	'eventmkt.timeline' => "('[{\"at\": \"2026-01-01\", \"event\": \"' || repeat('x', $size) || '\"}]')");
my %many = (
	jsonb => "(SELECT jsonb_agg(i) FROM generate_series(1, $size / 16) i)", 'text[]' => "ARRAY[repeat('x', $size)]",
	text => "repeat('(?1)', $size / 4)", bytea => "decode(repeat('00', $size), 'hex')",
	'eventmkt.timeline' => "('[' || repeat('{\"at\": \"2026-01-01\", \"event\": \"e\"},', $size / 40) || '{\"at\": \"2026-01-01\", \"event\": \"e\"}]')");
my $samples = join ",\n", map { my ($k, $h) = @$_; map { "('$_'::regtype, '$k', " . quote_literal($h->{$_}) . ')' } sort keys %$h } ([ huge => \%huge ], [ many => \%many ]);
my $script = $node->basedir . '/huge.sql';
append_to_file($script, $head . <<"SQL");
INSERT INTO public.sample VALUES $samples;
CREATE TABLE public.tried (name text, call text, began bool, state text);
INSERT INTO public.tried SELECT DISTINCT f.name, CASE f.kind WHEN 'a' THEN format('SELECT eventmkt.%I(%s) FROM generate_series(1, 2)', f.name, c.args)
		WHEN 'w' THEN format('SELECT eventmkt.%I(%s) OVER () FROM generate_series(1, 2)', f.name, c.args)
		ELSE format('SELECT * FROM eventmkt.%I(%s)', f.name, c.args) END AS call
	FROM public.f, unnest('{huge,many}'::text[]) k, generate_series(1, cardinality(f.types)) one,
		LATERAL (SELECT coalesce(string_agg(CASE WHEN f.variadic AND a.n = cardinality(f.types) THEN 'VARIADIC ' ELSE '' END ||
			public.arg(a.t, CASE WHEN one = a.n THEN k ELSE 'plain' END), ', ' ORDER BY a.n), '') AS args FROM unnest(f.types) WITH ORDINALITY a (t, n)) c
	WHERE EXISTS (SELECT FROM public.sample s WHERE s.type = f.types[one - 1] AND s.kind = k);
\\set ECHO none
CREATE FUNCTION public.rss() RETURNS int LANGUAGE sql AS \$\$SELECT (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\\s+(\\d+)'))[1]::int\$\$;
CREATE FUNCTION public.used() RETURNS int LANGUAGE sql AS 'SELECT sum(total_bytes) / 1024 FROM pg_backend_memory_contexts';
CREATE TABLE public.warm AS SELECT DISTINCT format('SELECT eventmkt.%I(%s)', f.name, c.args) AS call FROM public.f,
	LATERAL (SELECT coalesce(string_agg(CASE WHEN f.variadic AND a.n = cardinality(f.types) THEN 'VARIADIC ' ELSE '' END || public.arg(a.t, 'plain'), ', ' ORDER BY a.n), '') AS args
		FROM unnest(f.types) WITH ORDINALITY a (t, n)) c WHERE f.kind = 'f';
SQL
# one session: what is left, until the time is over; what it says goes to $kept at once
my $round = $node->basedir . '/round.sql';
append_to_file($round, <<"SQL");
SET client_min_messages = error;
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SET statement_timeout = '120s';
\\pset format unaligned
\\pset tuples_only on
SELECT count(public.try(call)) FROM public.warm;
SELECT public.rss() AS before, public.used() AS used \\gset
SELECT format('UPDATE public.tried SET began = true WHERE md5(call) = %L AND clock_timestamp() < to_timestamp(%s) RETURNING %L', md5(call), :until, 'begins ' || md5(call)),
	format('UPDATE public.tried SET state = public.try(call) WHERE md5(call) = %L AND began RETURNING %L || state || %L || extract(epoch FROM clock_timestamp() - statement_timestamp())',
		md5(call), 'did ' || md5(call) || ' ' || name || ' ', ' ') FROM public.tried WHERE state IS NULL ORDER BY md5(call) \\gexec
SELECT 'grew ' || (public.used() - :used) || ' ' || public.rss() - :before;
SQL

my $kept = ($ENV{EMK_KEEP} // $node->basedir) . '/r41_huge.left';
my $until = time + $seconds;
my (%state, %took, %name, $grew, $held);

sub psql
{
	my ($file, @out) = @_;
	my $err = '';
	IPC::Run::run([ $node->installed_command('psql'), '-Xq', '-v', "until=$until", '-d', $node->connstr('shop'), '-f', $file ], @out, '2>', \$err);
	diag $err if $err =~ /FATAL|server closed/;
}

sub read_kept
{
	my $text = -e $kept ? slurp_file($kept) : '';
	$state{$1} //= 'did not end' while $text =~ /^begins (\w+)$/mg;
	($state{$1}, $name{$1}, $took{$1}) = ($3, $2, $4) while $text =~ /^did (\w+) (\S+) (\S+) ([\d.]+)$/mg;
	($grew, $held) = ($1, $2) while $text =~ /^grew (-?\d+) (-?\d+)$/mg;
}

my $out = '';
psql($script, '>', \$out);
my %call = map { split / /, $_, 2 } split /\n/, $node->safe_psql('shop', q{SELECT md5(call) || ' ' || left(call, 200) FROM public.tried});
read_kept();
delete @state{ grep { !$call{$_} } keys %state };
my $before = keys %state;
for my $session (1 .. 5)
{
	my $done = join ',', keys %state;
	$node->safe_psql('shop', "UPDATE public.tried SET state = 'before' WHERE state IS NULL AND md5(call) = ANY ('{$done}')");
	psql($round, '>>', $kept);
	read_kept();
	last if time >= $until || keys %state >= keys %call;
	# the server went down, or the session alone
	wait_for(sub { my ($rc) = $node->psql('shop', 'SELECT 1', on_error_die => 0); defined $rc && $rc == 0 }, 60);
}
my @tried = grep { $call{$_} } keys %state;
my ($longest) = sort { $took{$b} <=> $took{$a} } keys %took;
my %functions = map { $_ => 1 } grep { defined } @name{@tried};
pass(sprintf 'figure: R41 of 64 MB: %d of %d calls, %d of them before, of %d functions, %d answered; the longest took %.1f s', scalar(@tried), scalar(keys %call), $before,
	scalar(keys %functions), scalar(grep { $state{$_} eq 'ok' } @tried), $took{$longest});
cmp_ok(@tried - $before, '>', $ENV{EMK_HUGE} || $before ? 0 : 600, 'many calls');
is(join("\n", map { ($name{$_} // '') . " $state{$_} $call{$_}" } grep { my ($s, $n) = ($state{$_}, $name{$_} // '');
	$s ne 'ok' && $s !~ /^(22|23|42|53|54|55|EM)/ && !($s eq 'P0002' && $n =~ /^(redeliver|undo_merge)$/) && !($s eq '0A000' && $n =~ /^(create_rule|replace_rule|.*tail.*)$/) } @tried),
	'', 'each an answer, or an error of its class');
# what malloc() keeps of what was freed is no leak, but no value of 64 MB stays in it
cmp_ok($grew // 1 << 30, '<=', 1024 * 4, 'figure: R41 of 64 MB: its memory contexts grew by ' . ($grew // '?') . ' kB');
cmp_ok($held // 1 << 30, '<=', 1024 * 60, 'and the process by ' . ($held // '?') . ' kB');
note sprintf 'slow: %.1f s %s %s', $took{$_}, $state{$_}, substr $call{$_}, 0, 160 for grep { $took{$_} > 5 } (sort { $took{$b} <=> $took{$a} } keys %took)[0 .. 9];
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'no crash');
unlink $kept if @tried >= keys %call;
done_testing();
