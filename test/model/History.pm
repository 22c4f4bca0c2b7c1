package History;

# History.pm: random histories, and the same history as the SQL script that lives it. Whatever chance gives is kept in the list of
# operations, so any part of the list is a history too: an operation that makes no sense where it stands is left out on both sides.

use strict;
use warnings;
use Model;

my @users = map { "u$_" } 1 .. 5;
my @anonymous = map { "a$_" } 1 .. 4;

# who comes without a name, for some hours, and is not seen again
sub visitor { my ($hour) = @_; return 'a' . (1 + (int($hour / 8) + int rand 3) % 90); }

sub one_of { return $_[ int rand @_ ] }

sub random_rule
{
	my ($name, $old) = @_;
	my %r = (name => $name, on => one_of(qw(A B C)), n => 1, within => undef, per => rand() < 0.6, unless => one_of([], ['X'], ['X'], [ 'X', 'Y' ], ['*']),
		look_back => 0, after => one_of(0, 1, 2, 4, 7, 12), repeat => one_of(qw(debounce debounce ignore replace parallel)), reentry => undef,
		lateness => one_of(undef, undef, 3, 1000, 1000), endpoint => 0, lapse => 0, cold => rand() < 0.2);

	if ($old) { $r{$_} = $old->{$_} for qw(on n within per after repeat endpoint lapse reentry); $r{after} = one_of(1, 3, 6, 10) if $r{after}; }
	elsif (rand() < 0.15) { @r{qw(on unless after repeat lapse per)} = ('Z', ['Z'], one_of(1, 4, 9), 'debounce', 1, 0); }
	elsif (rand() < 0.25) { @r{qw(n within after)} = (one_of(2, 2, 3), one_of(undef, 3, 6, 10), 0); }
	elsif (rand() < 0.3) { @r{qw(endpoint reentry)} = (1, one_of(1.25, 5.25, 20.25)); }
	if ($r{lapse}) { $r{unless} = ['Z']; }
	else
	{
		$r{at_least_a} = one_of(undef, undef, 1, 2);
		$r{below_a} = one_of(undef, undef, 2) if @{ $r{unless} };
		$r{look_back} = one_of(0, 0, 1, 5) if @{ $r{unless} };
	}
	$r{tier} = one_of(undef, undef, 'gold');
	$r{lateness} = 1000 if defined $r{reentry};
	$r{lateness} //= $r{after} > 1 ? $r{after} : 1, $r{default_lateness} = 1 if !defined $r{lateness};
	return \%r;
}

sub random_event
{
	my ($hour, $close) = @_;
	my %e = (raw => $close ? one_of(@users, visitor($hour), visitor($hour)) : one_of(@users, @users, @anonymous),
		name => $close ? one_of(qw(A A A A A A A A B B B B B C C C X Z)) : one_of(qw(A A A B B C X Y Z)), a => int rand 4, n => int rand 1000,
		k => $close ? '1' : one_of(undef, '1', '1', '2'), fire => rand() > 0.04);
	my $shift = rand() < ($close ? 0.9 : 0.6) ? 0 : rand() < 0.1 ? 1 : -int rand 14;
	$shift = 0 if $e{name} eq 'Z';
	$e{at} = $hour + $shift;
	$e{mid} = 'm' . int rand 60 if rand() < 0.1;
	return \%e;
}

# operations: [ what, arguments ]
# Every second one is close: strangers who become somebody while their runs wait, few gaps, one key. Those have one version a rule: what a start at
# the very time of a cancelling event is that only its run's version knows is open.
sub random_history
{
	my ($seed, $n) = @_;
	srand $seed;
	my $close = $seed % 2 == 0;
	my $hour = 0;
	my ($rules, @events) = (0);
	my %rule;
	my @ops = map { my $r = random_rule("r$_"); $rule{"r$_"} = $r; $rules = $_; [ 'create', $r ] } 1 .. 7;

	while (@ops < $n)
	{
		my $what = rand;
		my $name = one_of(sort keys %rule);
		if ($what < 0.70)
		{
			my $e = @events && rand() < 0.04 ? { %{ one_of(@events) } } : random_event($hour, $close);
			$e->{a} = int rand 4 if rand() < 0.02;
			push @events, $e if defined $e->{mid};
			push @ops, [ 'track', $e ];
		}
		elsif ($what < 0.88)
		{
			$hour += $close ? one_of(0, 0, 1, 1, 2) : one_of(0, 1, 1, 2, 3, 6);
			push @ops, [ 'move', $hour ];
			push @ops, ['pass'] if rand() < 0.9;
		}
		elsif ($what < ($close ? 0.89 : 0.93)) { push @ops, [ 'tier', one_of(@users), one_of(qw(gold gold silver)) ]; }
		elsif ($what < ($close ? 0.963 : 0.945)) { push @ops, [ 'identify', $close ? visitor($hour) : one_of(@anonymous), one_of(@users) ]; }
		elsif ($what < ($close ? 0.965 : 0.948)) { push @ops, [ 'alias', one_of(@users), one_of(@users) ]; }
		elsif ($what < ($close ? 0.97 : 0.965)) { push @ops, [ 'disable', $name ]; }
		elsif ($what < 0.99) { push @ops, [ 'enable', $_ ] for sort keys %rule; }
		elsif ($what < ($close ? 0 : 0.996)) { $rule{$name} = random_rule($name, $rule{$name}); push @ops, [ 'replace', $rule{$name} ]; }
		else
		{
			delete $rule{$name};
			my $new = 'r' . ++$rules;
			push @ops, [ 'drop', $name ], [ 'create', $rule{$new} = random_rule($new) ];
		}
	}
	return @ops;
}

# an operation in a line, for people
sub text
{
	my ($what, @args) = @{ $_[0] };
	return join ' ', $what, map { my $a = $_; ref $a ? map { "$_=" . (ref $a->{$_} ? "{@{ $a->{$_} }}" : $a->{$_} // '-') } sort keys %$a : $a } @args;
}

sub quoted { my ($t) = @_; return 'NULL' if !defined $t; $t =~ s/'/''/g; return "'$t'"; }
sub hours { my ($h) = @_; return sprintf "'%d minutes'", $h * 60; }

# a rule as the call that makes it; a cold condition says the same as the hot one
sub rule_call
{
	my ($verb, $r) = @_;
	my $cold = $r->{cold} ? ' || $.name like_regex "^x"' : '';
	my %arg = (on_event => quoted($r->{on}), after => hours($r->{after}), on_repeat => quoted($r->{repeat}), send_to => $r->{endpoint} ? "'wire'" : "'none'");
	$arg{where_event} = quoted("\$.a >= $r->{at_least_a}$cold") if defined $r->{at_least_a};
	$arg{where_profile} = quoted("\$.tier == \"$r->{tier}\"") if defined $r->{tier};
	$arg{unless} = 'ARRAY[' . join(', ', map { quoted($_) } @{ $r->{unless} }) . ']' if @{ $r->{unless} };
	$arg{unless_where} = quoted("\$.a < $r->{below_a}$cold") if defined $r->{below_a};
	$arg{look_back} = hours($r->{look_back}) if $r->{look_back};
	$arg{per} = "'k'" if $r->{per};
	$arg{at_least} = $r->{n} if $r->{n} > 1;
	$arg{within} = hours($r->{within}) if defined $r->{within};
	$arg{reentry} = hours($r->{reentry}) if defined $r->{reentry};
	$arg{max_lateness} = hours($r->{lateness}) if !$r->{default_lateness};
	return "SELECT eventmkt.$verb('$r->{name}', " . join(', ', map { "$_ => $arg{$_}" } sort keys %arg) . ");\n";
}

sub track_call
{
	my ($e) = @_;
	my $properties = sprintf '{"a": %d, "n": %d%s}', @$e{qw(a n)}, defined $e->{k} ? qq(, "k": "$e->{k}") : '';
	my ($user, $anonymous) = $e->{raw} =~ /^a/ ? (undef, $e->{raw}) : ($e->{raw}, undef);
	my $call = sprintf "SELECT eventmkt.track(%s, '%s', '%s', :'t0'::timestamptz + interval '%d hours', %s, %s);\n", quoted($user), $e->{name}, $properties,
		$e->{at}, quoted($e->{mid}), quoted($anonymous);
	return $e->{fire} ? $call : "BEGIN; SET LOCAL eventmkt.fire = off; ${call}COMMIT;\n";
}

# Whoever receives says 200 before the next pass; what waited for that is asked again six seconds later.
my $pass = q{SELECT eventmkt.advance_clock('6 seconds');
SELECT eventmkt.run_due(100000);
UPDATE eventmkt_data.delivery SET status = 'delivered', settled_at = eventmkt.clock() WHERE status = 'queued';
};

# Lives a history: the model with all that was decided, and the script.
sub live
{
	my (@ops) = @_;
	my $m = Model->new;
	my $sql = '';
	my $do = sub {
		my ($what, @args) = @_;
		if ($what eq 'pass') { $m->run_pass; $sql .= $pass; }
		elsif ($what eq 'track')
		{
			return if $args[0]{at} > $m->{now} + 0.6;
			$m->track(@args);
			$sql .= track_call(@args);
		}
		elsif ($what eq 'move')
		{
			return if $args[0] + 0.5 <= $m->{now};
			$m->{now} = $args[0] + 0.5;
			$sql .= "SELECT eventmkt.advance_clock(:'t0'::timestamptz + interval '$args[0] hours 30 minutes' - eventmkt.clock());\n";
		}
		elsif ($what eq 'tier') { $m->set_tier(@args); $sql .= "SELECT eventmkt.identify('$args[0]', '{\"tier\": \"$args[1]\"}');\n"; }
		elsif ($what eq 'create') { return if $m->{rules}{ $args[0]{name} }; $m->create(@args); $sql .= rule_call('create_rule', @args); }
		elsif ($what eq 'replace') { return if !$m->{rules}{ $args[0]{name} }; $m->replace(@args); $sql .= rule_call('replace_rule', @args); }
		elsif ($what eq 'drop') { return if !$m->{rules}{ $args[0] }; $m->drop(@args); $sql .= "SELECT eventmkt.drop_rule('$args[0]');\n"; }
		elsif ($what =~ /^(enable|disable)$/)
		{
			return if !$m->{rules}{ $args[0] } || !$m->{rules}{ $args[0] }{enabled} == ($what eq 'disable');
			$m->enable($args[0], $what eq 'enable');
			$sql .= "SELECT eventmkt.${what}_rule('$args[0]');\n";
		}
		elsif ($what eq 'identify')
		{
			return if exists $m->{alias}{ $args[0] };
			$m->merge(@args);
			$sql .= "SELECT eventmkt.identify('$args[1]', '{}', '$args[0]');\n";
		}
		elsif ($what eq 'alias')
		{
			return if $args[0] eq $args[1] || exists $m->{alias}{ $args[0] } || $m->canonical($args[1]) eq $args[0];
			$m->merge(@args);
			$sql .= "SELECT eventmkt.alias('$args[0]', '$args[1]');\n";
		}
	};
	for my $op (@ops)
	{
		# rules and people change between passes: which of two moments counts for an event not yet taken is nobody's promise
		$do->('pass') if $op->[0] !~ /^(track|move|pass|tier)$/;
		$do->(@$op);
	}
	# to the end of all delays
	$do->('pass');
	$do->('enable', $_) for sort keys %{ $m->{rules} };
	for (0 .. 9) { $do->('pass'); $do->('move', int($m->{now}) + 13); }
	$do->('pass');
	return ($m, $sql);
}

# What the server decided, as the model says it; refusals have no due time, and what became of a delivery is not asked.
my $report = q{
\o
SELECT concat_ws('|', d.rule, COALESCE(a.profile_id, d.profile_id), d.key, (extract(epoch FROM d.started_at - :'t0'::timestamptz) / 3600)::float8,
	COALESCE((extract(epoch FROM d.due_at - :'t0'::timestamptz) / 3600)::float8::text, ''), d.outcome, COALESCE(d.reason, ''))
FROM (SELECT rule, profile_id, key, started_at, CASE WHEN run_id IS NOT NULL THEN due_at END AS due_at, outcome, reason, delivery_id FROM eventmkt_data.decision
	UNION ALL SELECT rule, profile_id, key, started_at, due_at, 'sent', NULL, NULL FROM eventmkt_data.delivery) d
	LEFT JOIN eventmkt_data.alias a ON a.alias = d.profile_id
WHERE d.outcome NOT IN ('held', 'late_cancel') AND d.delivery_id IS NULL ORDER BY 1;
SELECT 'left|' || count(*) FROM (SELECT 1 FROM eventmkt_data.pending_trigger UNION ALL SELECT 1 FROM eventmkt_data.work) x;
};

sub script
{
	my ($sql) = @_;
	return "\\set QUIET on\nSET client_min_messages = error;\nSET timezone = 'UTC';\n\\o /dev/null\n" .
		"SET eventmkt.allowed_networks = '127.0.0.0/8';\nSET eventmkt.allow_plain_http = on;\n" .
		"CREATE EXTENSION eventmkt;\nSELECT eventmkt.init();\nSELECT eventmkt.create_endpoint('wire', 'http://127.0.0.1:18080/');\n" .
		"SELECT date_trunc('hour', eventmkt.clock()) + interval '1 hour' AS t0 \\gset\n" .
		"SELECT eventmkt.advance_clock(:'t0'::timestamptz + interval '30 minutes' - eventmkt.clock());\n$sql$report";
}

# A cancelled run whose first cancelling event came before it may have gone on until it was due, and taken in a start or two that came
# meanwhile: its decision is one with a start nearby, or up to five delays later.
sub has_end
{
	my ($ends, $line) = @_;
	my ($rule, $who, $key, $start) = split /\|/, $line;
	return scalar grep { $_ >= $start - 12 && $_ <= $start + 60 } @{ $ends->{"$rule|$who|$key"} // [] };
}

# lines of differences between the model and what the server said
sub differences
{
	my ($m, @got) = @_;
	my (%n, %ends);

	for (@got)
	{
		my ($rule, $who, $key, $start) = split /\|/;
		push @{ $ends{"$rule|$who|$key"} }, $start if defined $start;
		$n{$_}++ if !/\|cancelled\|/;
	}
	$n{$_}-- for $m->lines, 'left|0';
	return ((map { ($n{$_} > 0 ? 'only the server: ' : 'only the model: ') . $_ } grep { $n{$_} } sort keys %n),
		map { "has no end: $_" } grep { !has_end(\%ends, $_) } $m->cancelled_lines);
}

1;
