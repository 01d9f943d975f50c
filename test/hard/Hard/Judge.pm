# Which errors are in order, and where.
package Hard::Judge;

use strict;
use warnings;

# What our functions say, and what PostgreSQL says for them.
my %CALL = (
	(map { ("PY$_" => 'our own, src/errors.h') } 400, 404, 409, 421, 422, 423, 503),
	22 => 'the argument is none of its type, or too big',
	40001 => 'isolation', '40P01' => 'deadlock', '55P03' => 'lock_timeout', 57014 => 'cancelled, statement_timeout',
	'57P01' => 'terminated', '57P02' => 'another backend crashed; the crash is found in the log', '57P03' => 'restarting',
	42501 => 'no right', 25006 => 'read only', '25P02' => 'the transaction failed before',
	'0A000' => 'a trigger function without a trigger; a plan whose result type changed',
	'39P01' => 'a guard without its trigger',
	54000 => 'too big for an index',
	53400 => 'a limit of the configuration',
);

# What our own statements around the calls meet besides.
my %FRAME = (
	%CALL,
	'25' => 'a transaction statement out of place',
	'26000' => 'no such prepared statement', 34000 => 'no such cursor', 24000 => 'cursor state', '3B001' => 'no such savepoint',
	42 => 'what the context tries is no legal place for a call, or is not there now',
	'2BP01' => 'something depends on it', 23 => 'our tables\' own constraints', 55000 => 'not in this state', 55006 => 'in use',
	53200 => 'no slot for a prepared transaction', '0A' => 'not supported', 39 => 'trigger protocol', '2D000' => 'COMMIT in a function',
	'2F' => 'a function that may not', '3F000' => 'no schema', 'P0' => 'PL/pgSQL', 21000 => 'MERGE meets a row twice',
);

# Direct DML meets the constraints, and guards that say what is wrong with a row.
my %DML = (%FRAME, XX001 => 'a value or a row that no function of ours writes');

# DDL meets everything that is in its way.
my %DDL = (%FRAME, '3D000' => 'no such database', 54 => 'too many columns', 58 => 'files');

my %expected = (call => \%CALL, frame => \%FRAME, dml => \%DML, ddl => \%DDL);

# PostgreSQL's own, not ours: with the reason.
my @NOT_OURS = (
	[qr/tuple concurrently (?:updated|deleted)/, 'two DDL statements on one catalog row; PostgreSQL has no lock for it'],
	[qr/relation "\w+\.pay_payment" does not exist/, 'the statement around a call reads the table itself, and somebody renamed or dropped it'],
);

# pay_install() looks, and then makes what is missing; what came or went in between is
# an error of the command that makes it.
my %OF_FUNCTION = (
	pay_install_plan => qr/^(?:42P01|42703)$/,
	pay_install => qr/^(?:42P07|42710|42P01|42703|42704|42809|23502|23505|55000|P0004)$/,
);

# PL/pgSQL has tables by name: one that is renamed in between is not there.
my $RENAMED = qr/^(?:42P01|42703)$/;

# An internal error, whatever its SQLSTATE says.
my $INTERNAL = qr/cache lookup failed|could not open relation with OID|unrecognized node type|unexpected chunk|attribute number \d+ exceeds|invalid memory alloc/;

# wrong(KIND, STATE, MESSAGE, DAMAGED, CALL, TIMEOUT): why it is, or undef. In a database that was
# damaged on purpose every error is in order but an internal one; TIMEOUT: one is set.
sub wrong
{
	my ($kind, $state, $message, $damaged, $call, $timeout) = @_;
	my $function = $call ? $call->{function}{name} : '';

	return undef if $state eq '00000' || $state eq 'lost';
	foreach my $not (@NOT_OURS)
	{
		return undef if ($message // '') =~ $not->[0];
	}
	return "internal error $state" if $state =~ /^XX000|^XX002/ || ($message // '') =~ $INTERNAL;
	return 'a call takes more than 20 s' if $kind eq 'call' && $state eq '57014' && ($message // '') =~ /statement timeout/ && !$timeout;
	return undef if $damaged;
	return undef if $OF_FUNCTION{$function} && $state =~ $OF_FUNCTION{$function};
	return undef if $call && ($call->{function}{language} // '') eq 'plpgsql' && $state =~ $RENAMED;
	# what direct DML damaged may be said to be damaged, to whom it concerns
	return undef if $state eq 'XX001' && $call && $call->{subject} && grep { ($_->{merchant} // '') eq 'dml' } $call->{subject}, @{ $call->{subject}{others} || [] };
	# a raw violation of our own constraints is ours to foresee
	return "SQLSTATE $state of our own constraint" if $kind eq 'frame' && $state =~ /^23/ && ($message // '') =~ /"pay_\w+"/;
	return undef if $expected{$kind}{$state} || $expected{$kind}{ substr($state, 0, 2) };
	return "SQLSTATE $state of a $kind";
}

# One finding is like another if their messages are, numbers and names aside.
sub kind_of
{
	my ($why, $message) = @_;

	$message = '' if !defined $message;
	$message =~ s/\n.*//s;
	$message =~ s/[0-9a-f]{8}-?[0-9a-f-]{20,}/N/g;
	$message =~ s/"[^"]*"/"..."/g;
	$message =~ s/\d+/N/g;
	return $why . ': ' . substr($message, 0, 150);
}

# ---- what the server and the sanitizers wrote ----

my $CRASH = qr/PANIC:|TRAP:|was terminated by signal|was terminated by exception|ERROR: AddressSanitizer|runtime error:|stack smashing|corrupted size vs/;

# Which client a server process was of.
sub client_of
{
	my ($directory, $pid) = @_;

	foreach my $file (glob "$directory/*.sql")
	{
		open(my $in, '<', $file) or next;
		while (<$in>)
		{
			return "from step $1 on in $file" if /^-- step (\d+): connected, process \Q$pid\E$/;
		}
	}
	return 'no client of the fuzz';
}

# Reports of the sanitizers: {what it is => {count, text}}, one for all that have the
# same innermost functions.
sub reports
{
	my ($directory) = @_;
	my %seen;

	foreach my $file (glob "$directory/sanitizer.*")
	{
		open(my $in, '<', $file) or next;
		local $/;
		my $text = <$in> // '';

		# a process can report undefined behaviour more than once
		foreach my $part (split /(?=^[^\n]*runtime error:)|(?=^=+\n==\d+==ERROR)/m, $text)
		{
			my ($where) = $part =~ /(runtime error:[^\n]*|ERROR: AddressSanitizer: [\w-]+)/ or next;
			my @frames = grep { !/^__|^raise|^abort/ } $part =~ /^\s+#\d+ 0x[0-9a-f]+ in (\w+)/mg;
			my $key = join ' < ', ($where =~ s/0x[0-9a-f]+|-?\d+/N/gr), @frames[ 0 .. ($#frames < 5 ? $#frames : 5) ];
			my ($pid) = $file =~ /(\d+)$/;

			$seen{$key} ||= { count => 0, text => substr($part, 0, 4000) . "process $pid: " . client_of($directory, $pid) . "\n" };
			$seen{$key}{count}++;
		}
	}
	return \%seen;
}

# Lines of the server's log that must not be there, in the same form, with the
# statement where the log says it.
sub crashes
{
	my ($log, $directory) = @_;
	my %seen;

	open(my $in, '<', $log) or die "$log: $!\n";
	my @lines = <$in>;
	foreach my $i (0 .. $#lines)
	{
		my $line = $lines[$i];
		my $internal = $line =~ m{\] XX00[02] .*(?:ERROR|FATAL|PANIC): };

		next if !$internal && $line !~ $CRASH;
		next if $internal && grep { $line =~ $_->[0] } @NOT_OURS;
		my $statement = ($lines[ $i + 1 ] // '') =~ /DETAIL:  Failed process was running: (.*)/ ? $1 : '';
		my ($function) = $statement =~ /\b(pay_\w+)/;
		my ($pid) = $line =~ /PID (\d+)/ ? $1 : $line =~ /(?:\[|==)(\d+)/ ? $1 : undef;
		my $key = $line =~ s/^.*? \[\d+\] //r;

		$key =~ s/^(?:\w{5} )?\S* ?(?=ERROR|FATAL|LOG|PANIC)//;
		$key =~ s/PID \d+|[0-9a-f]{8}-[0-9a-f-]{27}|\d{4,}/N/g;
		chomp $key;
		$key .= " ($function)" if $function;

		$seen{$key} ||= { count => 0, text => $line . ($statement ? 'statement: ' . substr($statement, 0, 3000) . "\n" : '') . (defined $pid ? "process $pid: " . client_of($directory, $pid) . "\n" : '') };
		$seen{$key}{count}++;
	}
	return \%seen;
}

1;
