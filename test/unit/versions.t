#!/usr/bin/env perl
# versions/update on two small scripts: what it leaves alone, replaces, drops, makes, refuses, and when it will not go on. Speaks TAP.
use strict;
use warnings;
use File::Temp;
use FindBin;
use Test::More;

my $dir = File::Temp->newdir;
my $update = "$FindBin::Bin/../../versions/update";
sub put { my ($name, $text) = @_; open my $fh, '>', "$dir/$name" or die $!; print $fh $text; close $fh; return "$dir/$name"; }
sub run { my $out = `perl $update @_ 2>&1`; return ($out, $? >> 8); }

sub function
{
	my ($name, $args, $result, $rest, $said) = @_;
	return "CREATE FUNCTION eventmkt.$name($args) RETURNS $result\n\tLANGUAGE c $rest AS 'MODULE_PATHNAME', 'emk_$name';\n" .
		"COMMENT ON FUNCTION eventmkt.$name() IS '$said; really';\n";
}

my $same = function('same', 'a int, b numeric(10, 2) DEFAULT 1', 'int', 'STRICT', 'as it was');
my $old = put('eventmkt--1.sql', "CREATE SCHEMA eventmkt;\n$same" .
	function('body', 'a int', 'int', 'STABLE', 'x') . function('default', 'a int', 'int', '', 'x') . function('undefault', 'a int DEFAULT 2', 'int', '', 'x') .
	function('result', 'a int', 'int', '', 'x') . function('args', 'a int', 'int', '', 'x') . function('strict', 'a int', 'int', 'STRICT', 'x') .
	function('said', 'a int', 'int', '', 'before') . function('gone', 'a int', 'int', '', 'x') . function('step', 'a bytea', 'bytea', '', 'x') .
	"CREATE AGGREGATE eventmkt.total(int) (SFUNC = eventmkt.step, STYPE = bytea);\nCOMMENT ON AGGREGATE eventmkt.total(int) IS 't';\n");
my $now = "CREATE SCHEMA eventmkt;\n-- another comment; with a semicolon\n$same" .
	function('body', 'a int', 'int', 'VOLATILE', 'x') . function('default', 'a int DEFAULT 3', 'int', '', 'x') . function('undefault', 'a int', 'int', '', 'x') .
	function('result', 'a int', 'bigint', '', 'x') . function('args', "a int, b text DEFAULT 'x, y'", 'int', '', 'x') . function('strict', 'a int', 'int', '', 'x') .
	function('said', 'a int', 'int', '', 'after') . function('made', 'a int', 'int', '', 'x') . function('step', 'a bytea, b int', 'bytea', '', 'x') .
	"CREATE AGGREGATE eventmkt.total(int) (SFUNC = eventmkt.step, STYPE = bytea);\nCOMMENT ON AGGREGATE eventmkt.total(int) IS 't';\n";
my $new = put('new.sql', $now);

my ($sql, $rc) = run('sql', $old, $new, 2);
is($rc, 0, 'the update is worked out');
my @s = map { s/^\s+|\s+$//gr } split /;\n/, $sql;
sub has { my ($re) = @_; return scalar grep { /$re/s } @s; }
like($s[0], qr/SELECT eventmkt\.check_library\('2'\)$/, 'the library is asked first');
is(has(qr/eventmkt\.same/), 0, 'what is the same is left alone');
is(has(qr/^CREATE OR REPLACE FUNCTION eventmkt\.$_\(/), 1, "$_: replaced") for qw(body default strict);
is(has(qr/^CREATE OR REPLACE FUNCTION eventmkt\.(?!body|default|strict)/), 0, 'and nothing else');
is(has(qr/^COMMENT ON .*'after; really'/) . has(qr/FUNCTION eventmkt\.said.* RETURNS/), '10', 'a new comment alone');
for ([ undefault => 'a int' ], [ result => 'a int' ], [ args => 'a int' ], [ step => 'a bytea' ])
{
	my ($f, $args) = @$_;
	is(has(qr/^DROP FUNCTION eventmkt\.$f\(\Q$args\E\)$/) . has(qr/^CREATE FUNCTION eventmkt\.$f\(/) . has(qr/^COMMENT ON FUNCTION eventmkt\.$f\(/) . has(qr/^REVOKE ALL ON FUNCTION eventmkt\.$f\(.*FROM PUBLIC$/),
		'1111', "$f: dropped and made anew, for nobody");
}
is(has(qr/^DROP FUNCTION eventmkt\.gone\(a int\)$/) . has(qr/^CREATE FUNCTION eventmkt\.gone/), '10', 'what is gone goes');
is(has(qr/^CREATE FUNCTION eventmkt\.made\(/) . has(qr/^REVOKE ALL ON FUNCTION eventmkt\.made\(a int\) FROM PUBLIC$/), '11', 'what is new comes');
like($sql, qr/DROP AGGREGATE eventmkt\.total\(int\);.*DROP FUNCTION eventmkt\.step.*CREATE AGGREGATE eventmkt\.total/s, 'an aggregate goes before its function and comes back');

(my $c, $rc) = run('c', $new, 2, $old);
is(join(' ', sort $c =~ /\{"emk_(\w+)", "1"\}/g), 'args gone result step strict', 'the library refuses what changed for C, and nothing else');
like($c, qr/emk_version_known\[\] = \{"1", NULL\}/, 'and knows the version');
like($c, qr/PG_FUNCTION_INFO_V1\(emk_gone\)/, 'what is gone keeps its symbol');

put('new.sql', "${now}CREATE TABLE eventmkt.kept (a int);\n");
($sql, $rc) = run('sql', $old, $new, 2);
like($sql, qr/1 → 2: write into .*hand-1\.sql.*\n  CREATE TABLE eventmkt\.kept \(a int\)/, 'a table must be brought about by hand');
isnt($rc, 0, 'and the build ends until it is');
put('hand-1.sql', "-- covers: CREATE TABLE eventmkt.kept\nCREATE TABLE eventmkt.kept (a int);\n");
($sql, $rc) = run('sql', $old, $new, 2);
is($rc . ($sql =~ s/CREATE TABLE eventmkt\.kept \(a int\);//gr eq $sql ? 'none' : ''), '0', 'then it is part of the update');
done_testing();
