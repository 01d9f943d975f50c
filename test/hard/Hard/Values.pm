# Arguments, drawn by type and by name.
#
# A value is an array of two: the SQL that is it, and the text that a driver would
# send for it (undef for NULL). Long ones are written as repeat(...), so that a log
# of statements stays readable.
#
# How a call is drawn:
#   good   what an application would send, all of one order
#   edge   good but for one argument
#   mixed  each argument good or not
#   wild   no argument good
package Hard::Values;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP ();

our @EXPORT_OK = qw(chance pick literal edge arguments call_of order_named);

our @MERCHANTS = ('', 'm1', 'm2');
our $DIRTY = 'dml';			# the merchant whose rows direct DML may damage
my @routes = (['test', 'qr'], ['test', 'card'], ['wechat', 'jsapi'], ['stripe', 'card'], ['fuzz', 'once'], ['fuzz', 'soon']);
my @states = qw(created paying authorized capturing unknown closing failed paid closed reversed);
my @refund_states = qw(requested processing unknown failed abnormal succeeded returned cancelled);
my @decisions = qw(proceed replayed applied mismatch surplus);
my $json = JSON::PP->new->canonical->allow_nonref;

sub chance { return rand(100) < $_[0]; }
sub pick { return $_[ int rand @_ ]; }

sub quote
{
	my ($text) = @_;

	$text =~ s/'/''/g;
	return "'$text'";
}

sub literal
{
	my ($text, $type) = @_;

	return ['NULL::' . $type, undef] if !defined $text;
	foreach my $unit (length($text) > 200 ? 1 .. 4 : ())
	{
		my $times = length($text) / $unit;

		return ['repeat(' . quote(substr($text, 0, $unit)) . ", $times)::$type", $text] if $times == int($times) && $text eq substr($text, 0, $unit) x $times;
	}
	return [quote($text) . "::$type", $text];
}

# What every client knows of an order by its name alone, so that they agree.
sub order_named
{
	my ($order_no, $merchant) = @_;
	my $hash = unpack '%32C*', $order_no;

	return {
		order_no => $order_no,
		merchant => $merchant,
		amount => 100 * (1 + $hash % 5),
		currency => $hash % 7 ? 'CNY' : 'JPY',
		route => $routes[ $hash % @routes ],
		payer => $hash % 3 ? undef : 'payer' . $hash % 4,
	};
}

# ---- what means nothing, or is at the edge of meaning something ----

my @texts = ('', ' ', 'x' x 255, 'x' x 256, "\xc3\xa9" x 127, "\xc3\xa9" x 128, "\xe6\x94\xaf" x 85, "\xf0\x9f\x92\xb0" x 64, 'x' x 65536,
	"a'b\"c\\d", "line\nfeed\ttab", "\x01\x1f\x7f", '%s%n%d', 'NULL', '0', '-1', '{}', 'paid ', 'PAID', "\xe2\x80\xae\xef\xbb\xbf",
	'00000000000000000000000000000000', 'ffffffffffffffffffffffffffffffff', '01a22b70ec5180038134cdc9c3e99255',
	'01a22b70-ec51-8003-8134-cdc9c3e99255', '{01a22b70-ec51-8003-8134-cdc9c3e99255}', '01a22b70ec5180038134cdc9c3e9925',
	'01a22b70ec51400381ffcdc9c3e99255', '01a22b70ec518fffbfffcdc9c3e99255');
my @json = ('null', '{}', '[]', '""', '0', 'true', '[null]', '[[]]', '[{}]', '{"":null}', '{"a":{"b":[1,2,{"c":null}]}}', '[1e400]', '[1e131071]',
	'{"amount":-1}', '{"amount":1.5}', '{"amount":"100"}', '{"amount":9223372036854775808}', '{"trade_no":[]}', '"\u00e9\ud83d\ude00"',
	'[' x 500 . ']' x 500, '[' . join(',', (0) x 3000) . ']', '{"a":"' . 'x' x 70000 . '"}');
my %edges = (
	boolean => [qw(true false)],
	smallint => [qw(0 -1 1 63 64 4095 4096 32767 -32768)],
	integer => [qw(0 -1 1 63 64 255 4095 4096 100000 2147483647 -2147483648)],
	bigint => [qw(0 -1 1 99 4294967296 9007199254740992 9007199254740993 9223372036854775807 -9223372036854775808 4611686018427387904)],
	numeric => [qw(0 -1 0.5 1e300 -1e300 NaN Infinity -Infinity 9223372036854775808)],
	'double precision' => [qw(0 -1 0.5 1e308 NaN Infinity -Infinity)],
	uuid => ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '01a22b70-ec51-8003-8134-cdc9c3e99255'],
	interval => ['0', '-1 second', '1 microsecond', '-178000000 years', '178000000 years', '1 month -30 days', '-1 day 24 hours', '2 years', '60 days',
		'61 days', '1 day', '1 day 1 microsecond', '2147483647 days', '-2147483648 days', '2147483647 months', '2562047788 hours'],
	'timestamp with time zone' => ['infinity', '-infinity', '4713-01-01 00:00:00+00 BC', '294276-12-31 23:59:59.999999+00', '1970-01-01 00:00:00+00',
		'1969-12-31 23:59:59.999999+00', '10889-08-02 05:31:50.656+00', '2000-01-01 00:00:00+00'],
	regclass => ['pg_class', 'pay_payment', 'pg_toast.pg_toast_2618', 'pay_balance', 'pay_payment_pkey', 'nothing'],
	oid => [qw(0 1 4294967295 1259)],
	tstzrange => ['empty', '(,)', '[2026-01-01,2026-01-01]', '[infinity,)', '[2026-01-01,2027-01-01)'],
	jsonb => \@json,
	json => \@json,
	bytea => ['', '\x00', '\xff' . 'ff' x 5000],
	name => ['', 'x' x 63, 'x' x 64, 'pay_payment', 'pg_class'],
	'"char"' => ['', 'a', "\x7f"],
	cstring => \@texts,
	text => \@texts,
);

sub edge
{
	my ($type) = @_;

	return literal(undef, $type) if chance(15);
	if ($type =~ /^(.*)\[\]$/)
	{
		my $of = $1;
		my @elements = map { edge($of)->[0] } 1 .. pick(1, 1, 2, 3, 5);

		return literal(pick('{}', '{NULL}', '{NULL,NULL}', '[0:0]={1}', '[-5:-4]={1,2}', '{{1,2},{3,4}}', '{' . join(',', (1) x 2000) . '}'), $type)
		  if chance(50);
		return ['ARRAY[' . join(', ', @elements) . "]::$type", undef, 'as SQL only'];
	}
	return ['NULL', undef, 'as SQL only'] if $type =~ /^(internal|trigger|event_trigger|any\w*|record|void)$/;
	return ["to_regclass('" . pick(@{ $edges{$type} }) . "')", undef, 'as SQL only'] if $type eq 'regclass';
	return literal(pick(@{ $edges{$type} }), $type) if $edges{$type};
	return literal(pick(@states, @refund_states, @decisions, '', 'x' x 300), $type);
}

# ---- what an application would send ----

# A message of pay_callbacks or pay_refund_callbacks.
sub message
{
	my ($subject, $function) = @_;
	my %message = map { ($_ => good($_, 'text', $subject, $function)->[1]) } qw(channel callback_id trade_no reported currency);

	$message{amount} = $subject->{amount};
	$message{refund_no} = good('refund_no', 'text', $subject, $function)->[1] if $function =~ /refund/;
	$message{ pick(keys %message) } = pick(undef, '', 0, [], 'x' x 300) if chance(15);
	return \%message;
}

# A line of pay_import.
sub import_line
{
	my ($step) = @_;
	my $order = order_named(sprintf('i%d-%d', $step, int rand 1000), pick(@MERCHANTS));
	my @attempts = map { { channel => 'test', method => 'qr', state => pick(@states[ 1 .. $#states ]), channel_txn => 'i' . int rand 1e6 } } 1 .. int rand 4;
	my %line = (%$order, state => pick(@states), attempts => \@attempts);

	delete @line{qw(route)};
	delete $line{state} if chance(60);
	delete $line{attempts} if chance(30);
	$line{refunds} = [{ refund_no => 'ir' . int rand 1e6, amount => pick(1, 50, 100, 0), state => pick(@refund_states), attempt => 1 }] if chance(30);
	$line{history} = [{ attempt => pick(0, 1, 7), state => pick(@states), at => '2026-01-05T00:00:00Z' }] if chance(20);
	$line{ pick(keys %line) } = pick(undef, '', -1, [], {}, 'x' x 300, 9e15) if chance(25);
	return \%line;
}

sub interval_of
{
	my ($function) = @_;

	return pick('1 minute', '2 minutes', '1 second', '1 millisecond') if $function =~ /claim/;
	return pick('1 hour', '10 minutes', '2 days', '1 millisecond');
}

my %good = (
	order_no => sub { $_[0]{order_no} },
	merchant => sub { $_[0]{merchant} },
	amount => sub { $_[1] =~ /refund|dispute/ ? pick(1, 10, 50, $_[0]{amount}) : $_[0]{amount} },
	currency => sub { $_[0]{currency} },
	channel => sub { $_[0]{route}[0] },
	method => sub { $_[0]{route}[1] },
	payer => sub { $_[0]{payer} },
	request_id => sub { 'r' . pick(1 .. 4) },
	replaces => sub { my $other = $_[0]{others}[0]; chance(20) && $other ? $other->{order_no} : undef },
	holds => sub { pick(undef, undef, '{coupon:C' . pick(1 .. 9) . $_[0]{merchant} . '}', '{stock:SKU1#2,stock:SKU2}', '{room:' . pick(1 .. 5) . ',coupon:C1}') },
	trade_no => sub { pick($_[0]{trade_no} // $_[0]{pay_no}, $_[0]{pay_no} // $_[0]{trade_no}, $_[0]{trade_no} // $_[0]{pay_no}) },
	pay_no => sub { $_[0]{pay_no} },
	number => sub { $_[0]{trade_no} },
	trade_nos => sub { '{' . join(',', grep { defined } map { $_->{trade_no} } $_[0], @{ $_[0]{others} }) . '}' },
	duplicate_of => sub { ($_[0]{others}[0] || $_[0])->{pay_no} },
	credential => sub { 'prepay_' . pick(1 .. 3) },
	channel_txn => sub { chance(80) ? 'txn' . ($_[0]{trade_no} // $_[0]{order_no}) : pick(undef, 'txn' . int rand 20) },
	callback_id => sub { pick(undef, map { "cb$_" } 1 .. 6) },
	refund_no => sub { $_[0]{refund_no} && chance(70) ? $_[0]{refund_no} : 'R' . pick(1 .. 4) . $_[0]{order_no} },
	review_id => sub { $_[0]{review_id} // pick(1 .. 100) },
	dispute_id => sub { $_[0]{dispute_id} // pick(1 .. 20) },
	resource => sub { $_[0]{resource} // pick('coupon:C1', 'room:1') },
	reason => sub { pick(undef, 'because', 'the customer says so') },
	verdict => sub { pick($_[1] =~ /dispute/ ? qw(refund reject) : qw(accept refund dismiss alias same)) },
	worker => sub { 'worker' . pick(1 .. 3) },
	max_tasks => sub { pick(1, 5, 20) },
	actions => sub { pick(undef, undef, '{query,close}', '{submit_refund,query_refund,void,confirm_hold,release_hold}') },
	done => sub { pick(qw(held tried confirmed released)) },
	kind => sub { $_[1] =~ /grant/ ? pick(@{ $_[0]{kinds} }) : pick(qw(refund refund chargeback)) },
	role => sub { 'fuzz_' . pick(@{ $_[0]{kinds} }, 'nobody') },
	to_state => sub { $_[1] =~ /refund/ ? pick(@refund_states) : pick(@states) },
	from_state => sub { pick(@states) },
	state => sub { pick(@states) },
	reported => sub { $_[1] =~ /refund/ ? pick(@refund_states, 'succeeded') : pick(@states, 'paid', 'paid', 'authorized') },
	routes => sub { pick('{1}', '{1,2}', '{1,2,3,4095}') },
	attempt => sub { pick(0, 1, 2) },
	route => sub { pick(0, 1, 2) },
	messages => sub { my ($subject, $function) = @_; $json->encode([ map { message($_, $function) } $subject, @{ $subject->{others} } ]) },
	payments => sub { my ($subject) = @_; $json->encode([ map { import_line($subject->{step}) } 1 .. pick(1, 2, 5) ]) },
	since => sub { pick('2020-01-01', 'yesterday', 'now') },
	occurred_at => sub { pick('yesterday', 'now', '2026-01-05T00:00:00Z') },
);
my %good_of_type = (
	boolean => sub { pick(qw(true false)) },
	interval => sub { interval_of($_[1]) },
	'timestamp with time zone' => sub { pick('yesterday', 'now') },
	jsonb => sub { pick('{"a": 1}', '{}') },
	integer => sub { pick(1, 2, 10) },
	bigint => sub { pick(1, 2, 100) },
	smallint => sub { pick(1, 2) },
	uuid => sub { $_[0]{pay_no} },
);

sub good
{
	my ($name, $type, $subject, $function) = @_;
	my $sub = $good{$name} || $good_of_type{$type};

	return edge($type) if !$sub;
	return literal($sub->($subject, $function), $type);
}

# arguments(FUNCTION, SUBJECT): [name, type, value, was it good?]... Those that have a
# default are left out now and then; what is named is named in any order.
sub arguments
{
	my ($function, $subject) = @_;
	my @in = @{ $function->{arguments} };
	my $how = chance(55) ? 'good' : chance(55) ? 'edge' : chance(60) ? 'mixed' : 'wild';
	my $edge = int rand(@in || 1);
	my @drawn;

	for my $i (0 .. $#in)
	{
		my ($name, $type, $optional) = @{ $in[$i] };
		my $good = $how eq 'good' || $how eq 'edge' && $i != $edge || $how eq 'mixed' && chance(60);
		my $key = $name =~ /^(merchant|trade_no|pay_no|channel|currency|amount)$/;

		last if !$name && $optional && chance(50);
		next if $name && $optional && $good && chance($key ? 10 : 60) && !($name eq 'merchant' && $subject->{merchant} ne '');
		if (!$good && $name eq 'merchant' && chance(50))
		{
			push @drawn, [$name, $type, literal(pick(@MERCHANTS, $DIRTY, 'nobody'), $type), 0];
			next;
		}
		if (!$good && chance(40) && @{ $subject->{others} })
		{
			push @drawn, [$name, $type, good($name, $type, { %$subject, %{ pick(@{ $subject->{others} }) } }, $function->{name}), 0];
			next;
		}
		push @drawn, [$name, $type, $good ? good($name, $type, $subject, $function->{name}) : edge($type), $good];
	}
	@drawn = sort { $a->[0] cmp $b->[0] } @drawn if @drawn && $drawn[0][0] && chance(10);
	return ($how, \@drawn);
}

# call_of(FUNCTION, SUBJECT): what the contexts put into their statements.
sub call_of
{
	my ($function, $subject) = @_;
	my ($how, $drawn) = arguments($function, $subject);
	my $list = join ', ', map { ($_->[0] ? "\"$_->[0]\" => " : '') . $_->[2][0] } @$drawn;

	return {
		function => $function,
		subject => $subject,
		how => $how,
		arguments => $drawn,
		sql => "$function->{qualified}($list)",
	};
}

1;
