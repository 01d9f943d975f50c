# The company that keeps the customers' points: a participant, as TCC has it. It
# knows nothing of the shop's database. Payment and resource name a reservation; each
# of try, confirm and cancel may come more than once, and a cancel before its try.

package Points;

use strict;
use warnings;
use Fcntl qw(:flock);

# state before => { what is asked => state after }; what is not here is refused
my %STEPS = (
	''        => { try => 'tried', cancel => 'cancelled' },
	tried     => { try => 'tried', confirm => 'confirmed', cancel => 'cancelled' },
	confirmed => { try => 'confirmed', confirm => 'confirmed' },
	cancelled => { cancel => 'cancelled' },
);

sub new
{
	my ($class, $dir) = @_;
	return bless { ledger => "$dir/points.csv" }, $class;
}

# try, confirm or cancel a reservation: true if it is so now. Its ledger has a line
# for each change: payment, resource, quantity, state.
sub act
{
	my ($self, $what, $pay_no, $resource, $quantity) = @_;
	my $key = join ',', $pay_no, $resource, $quantity;
	my $state = '';

	open my $ledger, '+>>', $self->{ledger} or die "$self->{ledger}: $!\n";
	flock $ledger, LOCK_EX;
	seek $ledger, 0, 0;
	while (my $line = <$ledger>)
	{
		$state = $1 if $line =~ /^\Q$key\E,(\w+)$/;
	}
	my $after = $STEPS{$state}{$what};
	print $ledger "$key,$after\n" if defined $after && $after ne $state;
	close $ledger or die "$self->{ledger}: $!\n";
	return defined $after;
}

1;
