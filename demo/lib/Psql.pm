# One connection: a psql at the other end of a pipe. Plain psql, so that the demo
# needs no driver; several of them can be asked at the same instant.

package Psql;

use strict;
use warnings;
use IPC::Open3;
use IO::Select;

my $MARK = '---answered---';

sub connect
{
	my ($class, $role) = @_;
	my $pid = open3(my $in, my $out, undef, 'psql', '-XAtq', '-F', "\x1f", '-U', $role);
	return bless { pid => $pid, in => $in, out => $out, role => $role }, $class;
}

# Send a statement and do not wait for what comes.
sub ask
{
	my ($self, $sql) = @_;
	print {$self->{in}} "$sql;\n\\echo $MARK :SQLSTATE\n";
	$self->{in}->flush;
}

# Wait for the answer: (SQLSTATE, lines).
sub answer
{
	my ($self) = @_;
	my @lines;
	while (defined(my $line = readline $self->{out}))
	{
		chomp $line;
		return ($1, @lines) if $line =~ /^$MARK (\S+)$/;
		push @lines, $line;
	}
	die "psql is gone: @lines\n";
}

# The answer is there, but nobody reads it.
sub wait_for_answer
{
	my ($self) = @_;
	IO::Select->new($self->{out})->can_read;
}

# kill -9, as the out-of-memory killer does.
sub kill_hard
{
	my ($self) = @_;
	kill KILL => $self->{pid};
	waitpid $self->{pid}, 0;
}

sub close
{
	my ($self) = @_;
	close $self->{in};
	waitpid $self->{pid}, 0;
}

sub literal
{
	my ($value) = @_;
	return 'NULL' unless defined $value;
	return "'" . $value =~ s/'/''/gr . "'";
}

1;
