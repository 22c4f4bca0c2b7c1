package Emk::Clients;

=encoding utf8

=head1 Emk::Clients: clients that call track() and remember what they were told

  my $clients = Emk::Clients->start($node, 'r1', clients => 8, pause => 0.004);
  …                                the server goes down somewhere in the middle
  my @journal = $clients->finish;  { message_id, event_id, lsn, result => ok|failed|unknown, sends => 0|1 } a message

Each message has an id of its own (prefix-client-number) and the properties {"n": 0 … 99}; those with n of 50 and more are
expected to be sent. Every tenth one is rolled back: failed. One that was acknowledged is ok, and lsn is a place in the WAL
at or after its commit. The one a client had sent last is unknown.

  clients => 8     pause => SECONDS    between two messages of a client
  event => NAME    messages => 5000    of each client, at most
  dbname => NAME

=cut

use strict;
use warnings;
use Carp;
use IPC::Run ();
use PostgreSQL::Test::Utils;

sub start
{
	my ($class, $node, $prefix, %opts) = @_;
	my $self = bless { prefix => $prefix, event => $opts{event} // 'Clicked', pause => $opts{pause} // 0.004,
		n => $opts{messages} // 5000, dir => PostgreSQL::Test::Utils::tempdir(), runs => [] }, $class;
	my $db = $opts{dbname} // $node->{emk_db} // 'postgres';

	for my $who (1 .. $opts{clients} // 8)
	{
		append_to_file("$self->{dir}/$who.sql", $self->script($who));
		push @{ $self->{runs} }, IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-d', $node->connstr($db), '-f',
				"$self->{dir}/$who.sql" ], '<', \undef, '>', "$self->{dir}/$who.out", '2>', "$self->{dir}/$who.err");
	}
	return $self;
}

sub is_rolled_back { return $_[0] % 10 == 0 }

sub script
{
	my ($self, $who) = @_;
	my $text = "\\set ON_ERROR_STOP 1\n";

	for my $i (1 .. $self->{n})
	{
		my $call = "eventmkt.track('u' || " . ($who * 31 + $i) % 200 . ", '$self->{event}', '{\"n\": " . $i % 100 .
			"}', message_id => '$self->{prefix}-$who-$i')";
		$text .= is_rolled_back($i) ? "BEGIN;\nSELECT FROM $call;\nROLLBACK;\n"
			: "SELECT 'ack $i ' || $call;\nSELECT 'lsn ' || pg_current_wal_flush_lsn() FROM pg_sleep($self->{pause});\n";
	}
	return $text;
}

sub acked
{
	my ($self) = @_;
	my $n = 0;
	for my $who (1 .. @{ $self->{runs} })
	{
		$n += () = slurp_file("$self->{dir}/$who.out") =~ /^ack /mg;
	}
	return $n;
}

sub finish
{
	my ($self) = @_;
	my @journal;

	$_->finish for @{ $self->{runs} };
	for my $who (1 .. @{ $self->{runs} })
	{
		my $out = slurp_file("$self->{dir}/$who.out");
		my ($last, %lsn, %id) = (0);
		for my $line (split /^/, $out)
		{
			($last, $id{$1}) = ($1, $2) if $line =~ /^ack (\d+) (\d+)\n/;
			$lsn{$last} = $1 if $line =~ m{^lsn (\S+)\n};
		}
		my $unknown = $last + 1;
		$unknown++ if is_rolled_back($unknown);
		for my $i (1 .. $unknown)
		{
			my $result = is_rolled_back($i) ? 'failed' : $i == $unknown ? 'unknown' : 'ok';
			push @journal, { message_id => "$self->{prefix}-$who-$i", result => $result, event_id => $id{$i}, lsn => $lsn{$i},
				sends => $result ne 'failed' && $i % 100 >= 50 ? 1 : 0 };
		}
	}
	return @journal;
}

1;
