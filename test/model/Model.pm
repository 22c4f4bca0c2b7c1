package Model;

# Model.pm: what the engine is to decide, in the plainest form that could be found. Written from the manual and the hard cases alone; it
# shares neither code nor data structures with the engine, and it is slow: every pass looks at all of history.
#
# Words
#   time       whole hours since the history began; the clock stands at half past, so no clock ever meets an event or a due time
#   event      { raw id, name, a, n, k (may be missing), at, mid, seq (arrival), conflict, fire }
#   start      an event that a rule accepted: it matched, had the key and its profile was in the audience; it waits in live{rule}{profile}{key}
#   run        one or more starts that go together: a function of the starts, asked anew in every pass (runs_of)
#   pass       merges, then events in event order, then what was cancelled, then what is due
#
# The trick: nothing is kept of a run but its starts. So the order of arrival cannot matter to what waits; what was decided already is
# the only memory, and what it says about late events is written in one place (belongs_to_decided).

use strict;
use warnings;
use List::Util qw(max min);

sub new
{
	return bless { now => 0.5, events => [], pending => [], merges => [], alias => {}, traits => {}, rules => {}, live => {}, decided => [],
		sent => [], refusals => [], seen => {}, considered => {}, seq => 0, pass => 0, cancelled => [] }, shift;
}

# ---- who is who

sub canonical
{
	my ($m, $id) = @_;
	$id = $m->{alias}{$id} while exists $m->{alias}{$id};
	return $id;
}

# identify() with an anonymous id, alias(): true when two people became one
sub merge
{
	my ($m, $from, $into) = @_;
	($from, $into) = ($m->canonical($from), $m->canonical($into));
	return 0 if $from eq $into;
	$m->{alias}{$from} = $into;
	$m->{traits}{$into} //= $m->{traits}{$from};
	push @{ $m->{merges} }, [ $from, $into ];
	return 1;
}

sub set_tier { my ($m, $id, $tier) = @_; $m->{traits}{ $m->canonical($id) } = $tier; }

# ---- rules: { name, on, at_least_a, tier, n, within, per, unless, below_a, look_back, after, repeat, reentry, lateness, endpoint, lapse }

sub create { my ($m, $rule) = @_; $m->{rules}{ $rule->{name} } = { versions => [$rule], enabled => 1 }; }
sub replace { my ($m, $rule) = @_; push @{ $m->{rules}{ $rule->{name} }{versions} }, $rule; }
sub enable { my ($m, $name, $on) = @_; $m->{rules}{$name}{enabled} = $on; }

sub drop
{
	my ($m, $name) = @_;
	my $live = delete $m->{live}{$name};
	for my $who (keys %$live)
	{
		for my $key (keys %{ $live->{$who} })
		{
			push @{ $m->{cancelled} }, [ $name, $who, $key, $_->{start} ] for $m->runs_of($name, $live->{$who}{$key});
		}
	}
	delete $m->{rules}{$name};
}

sub names { my ($list, $event) = @_; return scalar grep { $_ eq $event->{name} || $_ eq '*' } @$list; }
sub starts { my ($rule, $e) = @_; return names([ $rule->{on} ], $e) && $e->{a} >= ($rule->{at_least_a} // -1); }

# the event that starts never cancels
sub cancels
{
	my ($rule, $e) = @_;
	return names($rule->{unless}, $e) && !starts($rule, $e) && $e->{a} < ($rule->{below_a} // 1e9);
}

sub key_of { my ($rule, $e) = @_; return $rule->{per} ? $e->{k} : ''; }
sub in_audience { my ($m, $rule, $who) = @_; return !defined $rule->{tier} || ($m->{traits}{$who} // '') eq $rule->{tier}; }

# ---- events

sub event_order
{
	my ($x, $y) = @_;
	return $x->{at} <=> $y->{at} || ($x->{mid} // '') cmp ($y->{mid} // '') || defined $x->{k} <=> defined $y->{k} || $x->{a} <=> $y->{a} ||
		($x->{k} // '') cmp ($y->{k} // '') || $x->{n} <=> $y->{n} || $x->{seq} <=> $y->{seq};
}

sub track
{
	my ($m, $e) = @_;
	$e = { %$e, seq => ++$m->{seq} };
	if (defined $e->{mid})
	{
		my $content = join ' ', map { $_ // '-' } @$e{qw(name a n k at)};
		my $first = $m->{seen}{"$e->{raw} $e->{mid}"} //= $content;
		return if $m->{seen}{"$e->{raw} $e->{mid} stored"}++ && $first eq $content;
		$e->{conflict} = $first ne $content;
	}
	push @{ $m->{events} }, $e if !$e->{conflict};
	push @{ $m->{pending} }, $e if !$e->{conflict} && $e->{fire};
}

sub history { my ($m, $who) = @_; return grep { $m->canonical($_->{raw}) eq $who } @{ $m->{events} }; }

sub matching
{
	my ($m, $rule, $who, $key) = @_;
	return sort { event_order($a, $b) } grep { starts($rule, $_) && (key_of($rule, $_) // "\0") eq $key } $m->history($who);
}

# the events at which the count is reached: n - 1 lie before it in the window
sub edges
{
	my ($m, $rule, $who, $key) = @_;
	my @all = $m->matching($rule, $who, $key);
	my @edges;
	for my $i (0 .. $#all)
	{
		my $before = grep { !defined $rule->{within} || $all[$_]{at} >= $all[$i]{at} - $rule->{within} } 0 .. $i - 1;
		push @edges, $all[$i] if $before == $rule->{n} - 1;
	}
	return @edges;
}

# ---- what was decided

sub decided_of
{
	my ($m, $name, $who, $key) = @_;
	return grep { $_->{rule} eq $name && $_->{key} eq $key && $m->canonical($_->{who}) eq $who } @{ $m->{decided} };
}

# Does a start that arrives now belong to something that was decided before?
sub belongs_to_decided
{
	my ($m, $rule, $e, $who, $key) = @_;
	my @d = $m->decided_of($rule->{name}, $who, $key);

	return 0 if $rule->{n} == 1 && !$rule->{lapse} && (!$rule->{after} || $rule->{repeat} eq 'parallel');
	# of a lapse that is over nothing is told again
	return scalar grep { $_->{start} >= $e->{at} } @d if $rule->{lapse};
	return 1 if grep { $_->{start} == $e->{at} } @d;
	my @follow = $rule->{n} > 1 ? $m->edges($rule, $who, $key) : $m->matching($rule, $who, $key);
	if ($rule->{n} > 1)
	{
		# a count is reached once, however its edge moves: what was decided, or waits, at or after it was the same if nothing lies between
		my ($next) = grep { $_->{at} > $e->{at} } @follow;
		my @live = map { $_->{e} } @{ $m->{live}{ $rule->{name} }{$who}{$key} // [] };
		my @taken = map { $_->{at} // $_->{start} } @d, grep { $_->{at} > $e->{at} + $rule->{after} || (!$rule->{after} && event_order($_, $e) > 0) } @live;
		return 1 if grep { $_ >= $e->{at} && (!$next || $_ < $next->{at}) } @taken;
		return 0 if !$rule->{after} || $rule->{repeat} eq 'parallel';
	}
	if ($rule->{repeat} eq 'debounce')
	{
		# what another start follows within the delay is nobody's; whose series was over before has a run of its own
		return 0 if !grep { $_->{start} > $e->{at} } @d;
		return scalar grep { event_order($_, $e) > 0 && $_->{at} <= $e->{at} + $rule->{after} } @follow;
	}
	# ignore, replace: it would have been within the series that was decided, or have begun it
	return scalar grep { $_->{start} <= $e->{at} ? $e->{at} <= $_->{due} : $_->{start} <= $e->{at} + $rule->{after} } grep { $_->{outcome} ne 'cancelled' } @d;
}

# ---- runs

# The runs that a set of starts makes, the oldest first. A run keeps the version that it began with.
sub runs_of
{
	my ($m, $name, $starts) = @_;
	my $versions = $m->{rules}{$name}{versions};
	my @runs;

	for my $s (sort { event_order($a->{e}, $b->{e}) } @$starts)
	{
		my ($e, $run) = ($s->{e}, $runs[-1]);
		my $rule = $versions->[ min($s->{version}, $run ? $run->{version} : 1e9) ];
		my $together = $run && ($rule->{lapse} || ($rule->{after} && $rule->{repeat} ne 'parallel' && $e->{at} <= $run->{from} + $rule->{after}));
		if ($together)
		{
			$run->{version} = min($run->{version}, $s->{version});
			push @{ $run->{starts} }, $s;
			$run->{from} = $run->{start} = $e->{at} if $rule->{repeat} eq 'debounce';
		}
		else
		{
			push @runs, { version => $s->{version}, start => $e->{at}, from => $e->{at}, starts => [$s] };
		}
	}
	for my $run (@runs)
	{
		$run->{rule} = $versions->[ $run->{version} ];
		$run->{due} = $run->{from} + $run->{rule}{after};
		$run->{fresh} = !grep { $_->{pass} != $m->{pass} } @{ $run->{starts} };
	}
	return @runs;
}

# the last moment up to which starts are cancelled; undef: the run is not
sub cancelled_to
{
	my ($m, $run, $who, $key) = @_;
	my $rule = $run->{rule};
	return undef if $rule->{lapse};
	my @at = map { $_->{at} } grep { $_->{at} >= $run->{start} - $rule->{look_back} && cancels($rule, $_) && (key_of($rule, $_) // $key) eq $key }
		$m->history($who);
	return @at ? max(@at) + $rule->{look_back} : undef;
}

# ---- a pass

sub accept_start
{
	my ($m, $name, $e, $who, $key) = @_;
	my $versions = $m->{rules}{$name}{versions};
	my $live = $m->{live}{$name}{$who}{$key} //= [];

	return if grep { $_->{e} == $e } @$live;
	return if $m->belongs_to_decided($versions->[-1], $e, $who, $key);
	push @$live, { e => $e, version => $#$versions, pass => $m->{pass} };
}

sub refuse { my ($m, $rule, $e, $who, $key, $reason) = @_; push @{ $m->{refusals} }, [ $rule->{name}, $who, $key, $e->{at}, $reason ]; }

sub consider
{
	my ($m, $name, $e) = @_;
	my $rule = $m->{rules}{$name}{versions}[-1];
	my $who = $m->canonical($e->{raw});
	return if !$m->{rules}{$name}{enabled} || !starts($rule, $e);
	my $key = key_of($rule, $e);
	return $m->refuse($rule, $e, $who, '', 'no_key') if !defined $key;
	my @at = ($e);
	if ($rule->{n} > 1)
	{
		# an event has a say from its own place on; what the history had reached before it stays silent
		@at = grep { event_order($_, $e) >= 0 && (!defined $rule->{within} || $_->{at} <= $e->{at} + $rule->{within}) } $m->edges($rule, $who, $key);
		@at = grep { !$m->{considered}{$name}{ $_->{seq} }++ } @at;
	}
	for my $s (@at)
	{
		if ($rule->{lapse} || $m->in_audience($rule, $who)) { $m->accept_start($name, $s, $who, $key); }
		else { $m->refuse($rule, $s, $who, $key, 'audience'); }
	}
}

# Two people are one: so are their starts, and those that are one person's go together as if they always had been.
sub follow
{
	my ($m, $from, $into) = @_;
	for my $name (keys %{ $m->{live} })
	{
		my $theirs = delete $m->{live}{$name}{$from} or next;
		push @{ $m->{live}{$name}{$into}{$_} }, @{ $theirs->{$_} } for keys %$theirs;
	}
}

sub each_live
{
	my ($m, $do) = @_;
	for my $name (sort keys %{ $m->{live} })
	{
		for my $who (sort keys %{ $m->{live}{$name} })
		{
			$do->($name, $who, $_) for sort keys %{ $m->{live}{$name}{$who} };
		}
	}
}

sub cancel
{
	my ($m, $name, $who, $key) = @_;
	my $live = $m->{live}{$name}{$who}{$key};

	AGAIN: for my $run ($m->runs_of($name, $live))
	{
		my $to = $m->cancelled_to($run, $who, $key) // next;
		my %mine = map { $_ => 1 } @{ $run->{starts} };
		push @{ $m->{cancelled} }, [ $name, $who, $key, $run->{start} ];
		push @{ $m->{decided} }, { rule => $name, who => $who, key => $key, start => $run->{start}, due => $run->{due}, outcome => 'cancelled' };
		@$live = grep { !$mine{$_} || $_->{e}{at} > $to } @$live;
		goto AGAIN;
	}
}

# Inactivity: the wait goes on from the newest event, whichever it was; while the rule is disabled nobody looks.
sub wind_up
{
	my ($m, $name, $who, $key) = @_;
	my $live = $m->{live}{$name}{$who}{$key};
	my ($run) = $m->runs_of($name, $live);
	return if !$run || !$run->{rule}{lapse} || !$m->{rules}{$name}{enabled};
	my ($last) = reverse $m->matching($run->{rule}, $who, $key);
	@$live = { e => $last, version => $run->{version}, pass => $run->{fresh} ? $m->{pass} : 0 };
}

sub decide
{
	my ($m, $who, $key, $run) = @_;
	my $rule = $run->{rule};
	my @earlier = grep { $_->{rule} eq $rule->{name} && $_->{key} eq $key && $m->canonical($_->{who}) eq $who } @{ $m->{sent} };
	my ($outcome, $reason);

	if (!$m->in_audience($rule, $who)) { ($outcome, $reason) = ('suppressed', 'audience'); }
	elsif (defined $rule->{reentry} && grep { $_->{pass} < $m->{pass} && $_->{at} + $rule->{reentry} > $m->{now} } @earlier)
	{
		($outcome, $reason) = ('suppressed', 'reentry');
	}
	elsif ($run->{due} + $rule->{lateness} < $m->{now}) { ($outcome, $reason) = ('expired', 'late'); }
	# one that is on its way just now settles first
	elsif (defined $rule->{reentry} && grep { $_->{pass} == $m->{pass} } @earlier) { return 0; }
	else { ($outcome, $reason) = ($rule->{endpoint} ? 'sent' : 'recorded', ''); }
	push @{ $m->{sent} }, { rule => $rule->{name}, who => $who, key => $key, at => $m->{now}, pass => $m->{pass} } if $outcome eq 'sent';
	push @{ $m->{decided} }, { rule => $rule->{name}, who => $who, key => $key, start => $run->{start}, due => $run->{due}, outcome => $outcome,
		reason => $reason };
	return 1;
}

sub run_pass
{
	my ($m) = @_;
	my @due;

	$m->{pass}++;
	$m->follow(@$_) for splice @{ $m->{merges} };
	for my $e (sort { event_order($a, $b) } splice @{ $m->{pending} })
	{
		$m->consider($_, $e) for sort keys %{ $m->{rules} };
	}
	$m->each_live(sub { $m->wind_up(@_); $m->cancel(@_); });
	$m->each_live(sub {
		my ($name, $who, $key) = @_;
		return if !$m->{rules}{$name}{enabled};
		push @due, map { [ $name, $who, $key, $_ ] } grep { $_->{due} <= $m->{now} } $m->runs_of($name, $m->{live}{$name}{$who}{$key});
	});
	for (sort { $b->[3]{fresh} <=> $a->[3]{fresh} || $a->[3]{due} <=> $b->[3]{due} || event_order($a->[3]{starts}[-1]{e}, $b->[3]{starts}[-1]{e}) } @due)
	{
		my ($name, $who, $key, $run) = @$_;
		$m->decide($who, $key, $run) or next;
		my %mine = map { $_ => 1 } @{ $run->{starts} };
		my $live = $m->{live}{$name}{$who}{$key};
		@$live = grep { !$mine{$_} } @$live;
	}
}

# ---- what is compared: lines "rule profile key start due outcome reason", profiles by their last id

sub lines
{
	my ($m) = @_;
	my @lines = map { join '|', $_->{rule}, $m->canonical($_->{who}), $_->{key}, $_->{start}, $_->{due}, $_->{outcome}, $_->{reason} }
		grep { $_->{outcome} ne 'cancelled' } @{ $m->{decided} };
	push @lines, map { join '|', $_->[0], $m->canonical($_->[1]), $_->[2], $_->[3], '', 'suppressed', $_->[4] } @{ $m->{refusals} };
	return sort @lines;
}

# Which starts of a series were begun before a cancelling event came depends on the passes; that each run that was cancelled ends so does not.
sub cancelled_lines
{
	my ($m) = @_;
	return map { join '|', $_->[0], $m->canonical($_->[1]), $_->[2], $_->[3] } @{ $m->{cancelled} };
}

1;
