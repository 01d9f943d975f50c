# One client: a session, the log of its statements, what it was answered, and the
# numbers that it knows.
#
# What a client does in its step N depends on the seed, its name and N alone, so far
# as it does not depend on what the server answered.
package Hard::Client;

use strict;
use warnings;

use DBI;
use JSON::PP ();
use Time::HiRes qw(time sleep);

use Hard::Judge;
use Hard::Values qw(chance pick order_named);

my $json = JSON::PP->new->canonical;

sub new
{
	my ($class, %o) = @_;
	my $self = bless { lost => 0, step => 0, statements => 0, known => [], tally => {}, contexts => {}, findings => [], %o }, $class;

	open($self->{log}, '>>', "$self->{directory}/$self->{name}.sql") or die "$self->{directory}/$self->{name}.sql: $!\n";
	$self->{log}->autoflush(1);
	return $self;
}

sub note
{
	my ($self, $line) = @_;

	print { $self->{log} } "-- $line\n";
}

# The same numbers in the same step, whatever came before.
sub begin_step
{
	my ($self) = @_;
	my $mixed = $self->{seed};

	$self->{step}++;
	$mixed = ($mixed * 1103515245 + ord) & 0x7fffffff foreach split //, "$self->{name}/$self->{step}";
	srand($mixed);
}

sub connect
{
	my ($self) = @_;

	until ($self->over)
	{
		$self->{dbh} = DBI->connect("dbi:Pg:dbname=$self->{database};application_name=$self->{name}", undef, undef,
			{ PrintError => 0, PrintWarn => 0, RaiseError => 0, AutoCommit => 1, pg_enable_utf8 => 0, pg_server_prepare => 0 });
		last if $self->{dbh};
		sleep 0.2;		# it restarts after a crash
	}
	return 0 if !$self->{dbh};
	$self->note("step $self->{step}: connected, process $self->{dbh}{pg_pid}");
	$self->hold;
	return 1;
}

# The lock that keeps the extension from being dropped while its functions are looked
# up, where that may happen: such an error would be PostgreSQL's own. Tried until it is
# had, whoever cancels it.
sub hold
{
	my ($self) = @_;

	return if !$self->{hold};
	until ($self->over)
	{
		last if !$self->{dbh} || $self->frame($self->{hold});
	}
}

sub over { return time >= $_[0]{deadline}; }

# To undo what it did, a client may come back after the end.
sub connect_late
{
	my ($self) = @_;

	local $self->{deadline} = time + 30;
	return $self->connect;
}

sub disconnect
{
	my ($self) = @_;

	$self->{dbh}->disconnect if $self->{dbh};
	delete $self->{dbh};
}

sub reconnect
{
	my ($self) = @_;

	$self->disconnect;
	return $self->connect;
}

# run(KIND, SQL, more...): (state, rows). state is '00000', a SQLSTATE, or 'lost' when
# the connection is. KIND says which errors are in order: call, frame, dml, ddl.
sub run
{
	my ($self, $kind, $sql, %more) = @_;
	my $log = $self->{log};
	my ($state, $rows, $message, $sth);

	return ('lost', undef) if !$self->{dbh};
	print $log "$sql;\n";
	$self->{statements}++;
	if ($more{prepared})
	{
		$sth = $more{prepared};
		$sth->execute;
	}
	else
	{
		# straight to the server: no placeholders
		$sth = $self->{dbh}->prepare($sql, { pg_direct => 1, pg_server_prepare => 0 });
		$sth->execute if $sth;
	}
	if ($self->{dbh}->err)
	{
		$state = $self->{dbh}->state;
		$message = $self->{dbh}->errstr;
	}
	elsif ($sth && $sth->{NUM_OF_FIELDS})
	{
		$rows = $sth->fetchall_arrayref({}, 200);
		$sth->finish;
	}
	if ($self->{dbh}->err && (!$self->{dbh}->pg_ping || $self->{dbh}->pg_ping < 1))
	{
		$self->note('the connection is lost: ' . one_line($message));
		$self->disconnect;
		$self->{lost}++;
		return ('lost', undef);
	}
	$state = $state ? $state : '00000';
	$self->note("$state " . one_line($message)) if $state ne '00000';
	$self->judge($kind, $state, $message, $sql, $more{call});
	return ($state, $rows);
}

sub one_line
{
	my ($text) = @_;

	$text = defined $text ? substr($text, 0, 400) : '';
	$text =~ s/\s*\n\s*/ | /g;
	return $text;
}

sub judge
{
	my ($self, $kind, $state, $message, $sql, $call, $counted) = @_;
	my $why = Hard::Judge::wrong($kind, $state, $message, $self->{damaged}, $call, ($self->{context} // '') eq 'timeout');

	$self->{tally}{ $call->{function}{name} }{$state}++ if $call && !$counted;
	$self->find($why, $message, $sql) if $why;
}

# What nobody expected: counted by its kind, the first of each with its statement.
sub find
{
	my ($self, $why, $message, $sql) = @_;
	my $what = Hard::Judge::kind_of($why, $message);

	$self->note("FOUND: $why");
	foreach my $known (@{ $self->{findings} })
	{
		next if $known->{what} ne $what;
		$known->{count}++;
		return;
	}
	push @{ $self->{findings} },
	  { what => $what, why => $why, message => one_line($message), sql => substr($sql, 0, 3000), client => $self->{name}, step => $self->{step},
		context => $self->{context}, after => int(time - $self->{began}), count => 1 };
}

# ---- what contexts are made of ----

sub frame
{
	my ($self, $sql) = @_;
	my ($state) = $self->run('frame', $sql);

	return $state eq '00000';
}

# Goes on after an error; false when the connection is lost.
sub do_all
{
	my ($self, @sql) = @_;

	$self->run('frame', $_) foreach @sql;
	return defined $self->{dbh};
}

# A call as a statement of its own, or in SQL that has it.
sub call
{
	my ($self, $call, $sql, $kind) = @_;
	my ($state, $rows) = $self->run($kind || 'call', $sql // "SELECT * FROM $call->{sql}", call => $call);

	$self->{calls}++;
	$self->{contexts}{ $self->{context} }++;
	if ($state eq '00000')
	{
		push @{ $self->{told} }, grep { ref eq 'HASH' } @{ $rows || [] };
	}
	$self->not_forgotten($call, $state, $rows) if !$sql;
	return $state eq '00000';
}

# An answer that says that an order which this session knows to be committed is not
# there is a wrong answer. Only where all that names it was good.
sub not_forgotten
{
	my ($self, $call, $state, $rows) = @_;
	my $name = $call->{function}{name};
	my $subject = $call->{subject};
	my $decision = $rows && @$rows ? $rows->[0]{decision} // '' : '';

	return if !$subject->{committed} || $self->{damaged} || $self->{stranger};
	return if grep { !$_->[3] } @{ $call->{arguments} };
	return if grep { $_->[0] eq 'merchant' && ($_->[2][1] // '') ne $subject->{merchant} } @{ $call->{arguments} };
	my %given = map { ($_->[0] => $_->[2][1]) } @{ $call->{arguments} };
	my $of_attempt = defined $given{trade_no} && defined $subject->{trade_no} && $given{trade_no} eq $subject->{trade_no}
	  && $given{trade_no} =~ s/-//gr ne $subject->{pay_no} =~ s/-//gr;

	$self->find("$name forgot a payment that is committed", "$subject->{order_no} $subject->{pay_no}", $call->{sql})
	  if $name eq 'pay_credential' && $of_attempt && $state eq 'PY404'
	  || $name =~ /^pay_(transition|history)$/ && $given{trade_no} && $state eq 'PY404'
	  || $name eq 'pay_callback' && $of_attempt && $decision eq 'unmatched'
	  || $name eq 'pay_query' && $given{order_no} && ($given{merchant} || $subject->{merchant} eq '') && $state eq '00000' && !defined $rows->[0]{pay_no}
	  || $name eq 'pay_history' && $given{trade_no} && $state eq '00000' && !@$rows;
}

# ---- what it knows ----

# What it was told counts as known when it is committed, and as a number of nobody
# when it is not.
sub told
{
	my ($self, $committed) = @_;

	foreach my $row (@{ delete $self->{told} || [] })
	{
		next if grep { !defined $row->{$_} } qw(pay_no order_no merchant);
		push @{ $self->{known} },
		  { %{ order_named($row->{order_no}, $row->{merchant}) }, (map { ($_ => $row->{$_}) } grep { defined $row->{$_} } qw(pay_no trade_no refund_no)),
			committed => $committed };
	}
	splice @{ $self->{known} }, 0, 100 if @{ $self->{known} } > 300;
}

# Orders of these seconds, as the tables have them.
sub look_around
{
	my ($self) = @_;
	my (undef, $rows) = $self->run('frame', <<"SQL");
SELECT p.order_no, p.merchant, p.pay_no, a.trade_no, r.refund_no, v.review_id, d.dispute_id, h.resource, x.pay_no IS NULL AS clean
FROM (SELECT * FROM $self->{schema}.pay_payment ORDER BY pay_no DESC LIMIT 30) p
	LEFT JOIN $self->{schema}.pay_attempt a USING (pay_no) LEFT JOIN $self->{schema}.pay_refund r USING (pay_no)
	LEFT JOIN $self->{schema}.pay_review v ON v.pay_no = p.pay_no AND v.resolved_at IS NULL LEFT JOIN $self->{schema}.pay_dispute d ON d.pay_no = p.pay_no
	LEFT JOIN $self->{schema}.pay_hold h ON h.pay_no = p.pay_no
	LEFT JOIN fuzz.dirty x ON x.pay_no = p.pay_no
LIMIT 60
SQL
	foreach my $row (@{ $rows || [] })
	{
		next if !defined $row->{order_no} || !defined $row->{merchant};
		push @{ $self->{known} },
		  { %{ order_named($row->{order_no}, $row->{merchant}) }, (map { ($_ => $row->{$_}) } grep { defined $row->{$_} } keys %$row),
			committed => $row->{clean} && $row->{merchant} ne $Hard::Values::DIRTY };
	}
	splice @{ $self->{known} }, 0, 100 if @{ $self->{known} } > 300;
}

# Whom the next call is about: often an order that is known, else one of the few that
# all clients talk about now.
sub subject
{
	my ($self, $function) = @_;
	# one that has what the function asks for, if any has
	my ($needed) = grep { my $argument = $_->[0]; grep { $argument eq $_ } qw(review_id dispute_id resource refund_no trade_no) } @{ $function->{arguments} };
	my @known = @{ $self->{known} };
	my @fit = $needed ? grep { defined $_->{ $needed->[0] } } @known : @known;
	my $order_no = sprintf 'o%d-%d', int($self->{step} / 150), int rand 30;
	my $merchant = chance(10) ? $Hard::Values::DIRTY : pick(@Hard::Values::MERCHANTS);
	my $one = @fit && chance($needed ? 95 : 75) ? pick(@fit[ ($#fit < 60 ? 0 : $#fit - 60) .. $#fit ]) : order_named($order_no, $merchant);

	return { %$one, step => $self->{step}, kinds => $self->{kinds}, others => [ map { pick(@known) } @known ? (1, 2) : () ] };
}

sub draw_call
{
	my ($self, $which) = @_;
	my @functions = map { ($_) x $_->{weight} } grep { $_->{returns} ne 'trigger' && (!$which || $which->($_)) } @{ $self->{functions} };

	my $function = pick(@functions);

	return Hard::Values::call_of($function, $self->subject($function));
}

sub result
{
	my ($self) = @_;

	return { map { ($_ => $self->{$_}) } qw(name step statements calls lost tally contexts findings) };
}

sub save
{
	my ($self) = @_;

	open(my $file, '>', "$self->{directory}/$self->{name}.json") or die "$self->{name}.json: $!\n";
	print $file $json->encode($self->result);
	close $file;
}

1;
