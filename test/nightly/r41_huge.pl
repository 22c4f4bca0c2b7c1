# R41: every SQL-callable function with values of 64 MB, one argument at a time: an answer or an error of class 22, 23, 42, 53, 54, 55 or our own,
# no crash, and the session is as small afterwards as before. The functions, the harmless values and the way to call are those of
# sql/r41_hostile.sql, where 1 MB is the longest. The calls are in an order of chance; EMK_HUGE=SECONDS ends them early, and it says how many ran.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../tap/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

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
CREATE TABLE public.tried (name text, call text, began timestamptz, state text, took interval);
INSERT INTO public.tried SELECT DISTINCT f.name, CASE f.kind WHEN 'a' THEN format('SELECT eventmkt.%I(%s) FROM generate_series(1, 2)', f.name, c.args)
		WHEN 'w' THEN format('SELECT eventmkt.%I(%s) OVER () FROM generate_series(1, 2)', f.name, c.args)
		ELSE format('SELECT * FROM eventmkt.%I(%s)', f.name, c.args) END AS call
	FROM public.f, unnest('{huge,many}'::text[]) k, generate_series(1, cardinality(f.types)) one,
		LATERAL (SELECT coalesce(string_agg(CASE WHEN f.variadic AND a.n = cardinality(f.types) THEN 'VARIADIC ' ELSE '' END ||
			public.arg(a.t, CASE WHEN one = a.n THEN k ELSE 'plain' END), ', ' ORDER BY a.n), '') AS args FROM unnest(f.types) WITH ORDINALITY a (t, n)) c
	WHERE EXISTS (SELECT FROM public.sample s WHERE s.type = f.types[one - 1] AND s.kind = k);
\\set ECHO none
\\set VERBOSITY verbose
CREATE FUNCTION public.rss() RETURNS int LANGUAGE sql AS \$\$SELECT (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\\s+(\\d+)'))[1]::int\$\$;
SET statement_timeout = '120s';
-- the first ones warm caches
SELECT format('UPDATE public.tried SET state = public.try(call) WHERE call = %L', call) FROM public.tried ORDER BY md5(call) LIMIT 12 \\gexec
SELECT public.rss() AS before, now() + '$seconds s' AS until \\gset
SELECT format('UPDATE public.tried SET began = clock_timestamp(), state = NULL WHERE call = %L AND clock_timestamp() < %L', call, :'until'),
	format('UPDATE public.tried SET state = public.try(call), took = clock_timestamp() - began WHERE call = %L AND began IS NOT NULL', call) FROM public.tried ORDER BY md5(call) \\gexec
RESET statement_timeout;
\\pset format unaligned
\\pset tuples_only on
SELECT 'grew ' || public.rss() - :before;
SELECT 'tried ' || count(*) || ' of ' || (SELECT count(*) FROM public.tried) || ' calls, of ' || count(DISTINCT name) || ' functions, ' || count(*) FILTER (WHERE state = 'ok') || ' answered; the longest took ' || max(took) FROM public.tried WHERE began IS NOT NULL;
SELECT 'bad ' || name || ' ' || coalesce(state, 'did not end') || ' ' || left(call, 200) FROM public.tried WHERE began IS NOT NULL AND (state IS NULL OR state <> 'ok' AND state !~ '^(22|23|42|53|54|55|EM)'
	AND NOT (state = 'P0002' AND name IN ('redeliver', 'undo_merge')) AND NOT (state = '0A000' AND name ~ '^(create_rule|replace_rule|.*tail.*)\$'));
SELECT 'slow ' || took || ' ' || state || ' ' || left(call, 160) FROM public.tried WHERE took > '5 s' ORDER BY took DESC LIMIT 10;
SQL
my ($out, $err) = ('', '');
IPC::Run::run([ $node->installed_command('psql'), '-Xq', '-d', $node->connstr('shop'), '-f', $script ], '>', \$out, '2>', \$err);
diag $err if $err =~ /FATAL|server closed/;
my ($tried) = $out =~ /^tried (\d+.*)$/m;
ok($tried, 'figure: R41 of 64 MB: ' . ($tried // 'did not end'));
cmp_ok(($tried // 0) =~ /^(\d+)/ ? $1 : 0, '>', $ENV{EMK_HUGE} ? 20 : 600, 'many calls');
is(join("\n", $out =~ /^bad (.*)$/mg), '', 'each an answer, or an error of its class');
my ($grew) = $out =~ /^grew (-?\d+)$/m;
cmp_ok($grew // 1 << 30, '<=', 1024 * 8, 'figure: R41 of 64 MB: the session grew by ' . ($grew // '?') . ' kB');
note $_ for $out =~ /^slow (.*)$/mg;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'no crash');
done_testing();
