# What the shop's programs have in common: a call as SQL, its answer, and a line of
# the day's report.

package Shop;

use strict;
use warnings;
use Exporter 'import';
use JSON::PP ();
use Psql;
use Time::HiRes qw(time);

our @EXPORT = qw(call answer_of answer_to pretty report);

my $json = JSON::PP->new;

# call(function, name => value, ...): SQL that answers one row as JSON.
sub call
{
	my ($function, @arguments) = @_;
	my @named;
	while (my ($name, $value) = splice @arguments, 0, 2)
	{
		push @named, "$name => " . Psql::literal($value);
	}
	return "SELECT row_to_json(r) FROM $function(" . join(', ', @named) . ') AS r';
}

# The answer to what was asked. The decision is the answer; of an error it is the
# SQLSTATE.
sub answer_of
{
	my ($connection) = @_;
	my ($sqlstate, @lines) = $connection->answer;
	return { decision => $sqlstate, detail => join(' ', @lines) } if $sqlstate ne '00000';
	return $json->decode(join "\n", @lines);
}

sub answer_to
{
	my ($connection, @call) = @_;
	$connection->ask(call(@call));
	return answer_of($connection);
}

sub pretty
{
	my ($m) = @_;
	return "$m->{amount} JPY" if $m->{currency} eq 'JPY';
	return sprintf '%d.%02d %s', int($m->{amount} / 100), $m->{amount} % 100, $m->{currency};
}

sub report
{
	my ($who, $order_no, $asked, $decision, $note) = @_;
	my $line = sprintf "%7.3f  %-9s %-18s %-44s %-12s %s", time - $ENV{DEMO_START}, $who, $order_no, $asked, $decision, $note // '';
	syswrite STDOUT, $line =~ s/\s+$//r . "\n";
}

1;
