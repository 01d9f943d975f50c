# The channels: WeChat Pay, Alipay and Stripe as a shop sees them from outside.
#
# They know nothing of the shop's database. What they keep is the truth about
# money, in files of their own: one per number they were asked to collect or to
# refund for, and two statements, one line per time that money came or went.

package Channel;

use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use Fcntl qw(:DEFAULT :flock);
use POSIX qw(strftime);

my %DESCRIPTION = (
	NOTPAY => '订单未支付', USERPAYING => '需要用户输入支付密码', CLOSED => '订单已关闭', PAYERROR => '支付失败(其他原因)');
my %TRADE_TYPE = (
	jsapi => 'JSAPI', mini => 'JSAPI', app => 'APP', h5 => 'MWEB', native => 'NATIVE', micropay => 'MICROPAY');

sub new
{
	my ($class, $dir, $templates) = @_;
	return bless { dir => $dir, templates => $templates, counter => 0 }, $class;
}

# The call after "proceed": collect for this number. Returns what the customer
# pays with. The same number again gives the same again, as channels promise, and
# with other content is refused.
sub open_trade
{
	my ($self, $order, $trade) = @_;

	$self->take_number("trades/$trade->{trade_no}", $trade->{channel},
		join("\t", @$trade{qw(channel method amount currency)}, $order->{order_no}));
	return 'prepay_' . substr(md5_hex("credential $trade->{trade_no}"), 0, 24);
}

# A number that comes again must come with the same content.
sub take_number
{
	my ($self, $name, $channel, $content) = @_;
	my $file = "$self->{dir}/$name";

	if (sysopen my $out, "$file.new.$$", O_WRONLY | O_CREAT | O_EXCL)
	{
		print $out "$content\n";
		CORE::close $out;
	}
	if (!link "$file.new.$$", $file)
	{
		open my $in, '<', $file or die "$file: $!\n";
		die "$channel refuses: $name came with other content\n" if <$in> ne "$content\n";
	}
	unlink "$file.new.$$";
}

# The customer pays. A channel collects once per number; 'again' is the channel's
# own mistake. Returns the channel's transaction number, or nothing.
sub collect
{
	my ($self, $order, $trade, %how) = @_;
	my $again = $how{again} ? 1 : 0;
	my $txn = transaction($trade, $again);

	return $self->book('statement.csv', $again, $trade->{channel}, $trade->{trade_no}, $txn,
		$how{amount} // $trade->{amount}, $how{currency} // $trade->{currency}, $order->{order_no} // '') ? $txn : undef;
}

# The shop asks to close a number. Returns what became of it: paid, if the customer
# was faster.
sub close_trade
{
	my ($self, $trade) = @_;

	open my $statement, '<', "$self->{dir}/statement.csv" or die "statement.csv: $!\n";
	return (grep { index($_, "$trade->{channel},$trade->{trade_no},") == 0 } <$statement>) ? 'paid' : 'closed';
}

# The shop asks for a refund. Returns the channel's own number of it. The same refund
# number again is the same refund. That all refunds together are not too much is the
# shop's business: this channel does not look.
sub refund
{
	my ($self, $refund) = @_;

	$self->take_number("refunds/$refund->{channel}.$refund->{refund_no}", $refund->{channel},
		join("\t", @$refund{qw(trade_no amount currency)}));
	return refund_txn($refund);
}

# The money of a refund, or of a chargeback, goes back: once per refund number.
sub give_back
{
	my ($self, $refund) = @_;

	return $self->book('gone_back.csv', 0, @$refund{qw(channel trade_no refund_no)}, refund_txn($refund), @$refund{qw(amount currency)});
}

# A line of a statement; none if there is one of its key already (the first two or,
# of refunds, three fields), unless it is to be there again.
sub book
{
	my ($self, $file, $again, @fields) = @_;
	my $key = join ',', @fields[0 .. ($file eq 'gone_back.csv' ? 2 : 1)], '';

	open my $statement, '+>>', "$self->{dir}/$file" or die "$file: $!\n";
	flock $statement, LOCK_EX;
	seek $statement, 0, 0;
	my $booked = $again || !grep { index($_, $key) == 0 } <$statement>;
	print $statement join(',', @fields) . "\n" if $booked;
	CORE::close $statement or die "$file: $!\n";
	return $booked;
}

# The channel's own number of a refund.
sub refund_txn
{
	my ($refund) = @_;
	my $hex = md5_hex("$refund->{channel} refund $refund->{refund_no}");

	return $refund->{refund_no} if $refund->{kind} eq 'chargeback';
	return "re_3$hex" if $refund->{channel} eq 'stripe';
	return '503000' . join '', map { sprintf '%02d', hex($_) % 100 } unpack '(A3)10', $hex;
}

# The channel's own number of this trade.
sub transaction
{
	my ($trade, $again) = @_;
	my $hex = md5_hex("$trade->{channel} $trade->{trade_no} " . ($again // 0));
	my $digits = join '', map { sprintf '%02d', hex($_) % 100 } unpack '(A3)10', $hex;
	return "pi_3$hex" if $trade->{channel} eq 'stripe';
	return '42000025' . $digits if $trade->{channel} eq 'wechat';
	return '2026111122001' . substr $digits, 0, 15;
}

# A message about a trade, in the channel's own format: what is paid, failed,
# closed or waiting; query => 1 makes it the answer of a query.
sub message
{
	my ($self, $order, $trade, $what, %how) = @_;
	my $channel = $trade->{channel};
	my $amount = $how{amount} // $trade->{amount};
	my $currency = $how{currency} // $trade->{currency};
	my ($now, $cn, $serial) = $self->now($trade);
	my %field = (
		out_trade_no => $trade->{trade_no},
		transaction_id => transaction($trade, $how{again}),
		order_no => $order->{order_no} // '',
		product => $order->{product} // '',
		payer => 'o' . substr(md5_hex($order->{customer} // ''), 0, 27),
		amount => $amount, asked => $trade->{amount}, currency => $currency, epoch => $now);
	my $template;

	if ($channel eq 'wechat')
	{
		$template = !$how{query} ? 'wechat_notification.json'
			: $what eq 'paid' ? 'wechat_query_paid.json' : 'wechat_query_unpaid.json';
		# WeChat notifies of success; of anything else the shop learns by asking
		die "WeChat does not notify of $what\n" if !$how{query} && $what ne 'paid';
		$field{trade_state} = { waiting => 'NOTPAY', failed => 'PAYERROR', closed => 'CLOSED' }->{$what};
		$field{trade_state_desc} = $DESCRIPTION{$field{trade_state} // ''};
		$field{trade_type} = $TRADE_TYPE{$trade->{method}} // 'JSAPI';
		$field{message_id} = join '-', unpack 'A8 A4 A4 A4 A12', $serial;
		$field{time_cn} = "$cn+08:00";
	}
	elsif ($channel eq 'alipay')
	{
		die "no query of Alipay here\n" if $how{query};
		$template = $what eq 'paid' ? 'alipay_paid.txt' : 'alipay_unpaid.txt';
		$field{trade_status} = { waiting => 'WAIT_BUYER_PAY', closed => 'TRADE_CLOSED', failed => 'TRADE_CLOSED' }->{$what};
		$field{amount} = sprintf '%d.%02d', int($amount / 100), $amount % 100;
		$field{message_id} = strftime('%Y%m%d', gmtime $now) . "00222$serial";
		$field{sign} = "$serial/+$serial==";
		$field{time_cn} = $cn =~ tr/T/ /r;
		$_ = form_encode($_ // '') for values %field;
	}
	else
	{
		$template = $how{query} ? "stripe_query_$what.json"
			: { paid => 'stripe_succeeded.json', failed => 'stripe_payment_failed.json', closed => 'stripe_canceled.json',
				authorized => 'stripe_authorized.json' }->{$what};
		$field{currency} = lc $currency;
		$field{message_id} = 'evt_3' . substr $serial, 0, 24;
		$field{charge_id} = 'ch_3' . substr(md5_hex($field{transaction_id}), 0, 24);
	}
	return $self->filled($template, %field);
}

# A message about a refund or a chargeback: it has succeeded, failed, waits for a
# person (abnormal), or a customer's bank has just begun (processing).
sub refund_message
{
	my ($self, $refund, $what) = @_;
	my $channel = $refund->{channel};
	my ($now, $cn, $serial) = $self->now($refund);
	my %field = (
		out_trade_no => $refund->{trade_no},
		transaction_id => transaction($refund),
		refund_no => $refund->{refund_no},
		refund_id => refund_txn($refund),
		order_no => $refund->{order_no},
		amount => $refund->{amount}, asked => $refund->{asked}, currency => $refund->{currency}, epoch => $now);

	if ($channel eq 'wechat')
	{
		@field{qw(refund_status summary)} = @{
			{ succeeded => ['SUCCESS', '退款成功'], failed => ['CLOSED', '退款关闭'], abnormal => ['ABNORMAL', '退款异常'] }->{$what} };
		$field{event_type} = "REFUND.$field{refund_status}";
		$field{message_id} = join '-', unpack 'A8 A4 A4 A4 A12', $serial;
		$field{time_cn} = "$cn+08:00";
		return $self->filled('wechat_refund.json', %field);
	}
	if ($channel eq 'alipay')
	{
		# Alipay answers when it is asked
		die "Alipay does not tell that a refund $what\n" if $what ne 'succeeded';
		$_ = sprintf '%d.%02d', int($_ / 100), $_ % 100 for @field{qw(amount asked)};
		$field{sign} = "$serial/+$serial==";
		$field{time_cn} = $cn =~ tr/T/ /r;
		return $self->filled('alipay_refund_query.json', %field);
	}
	$field{currency} = lc $field{currency};
	$field{message_id} = 'evt_3' . substr $serial, 0, 24;
	$field{charge_id} = 'ch_3' . substr(md5_hex($field{transaction_id}), 0, 24);
	if ($refund->{kind} eq 'chargeback')
	{
		$field{refund_status} = { processing => 'needs_response', succeeded => 'lost', failed => 'won' }->{$what};
		$field{event_type} = $what eq 'processing' ? 'charge.dispute.created' : 'charge.dispute.closed';
		return $self->filled('stripe_dispute.json', %field);
	}
	$field{refund_status} = $what;
	return $self->filled('stripe_refund.json', %field);
}

# The time, also as China writes it, and what makes a message's id of its own.
sub now
{
	my ($self, $trade) = @_;
	my $now = time;

	return ($now, strftime('%Y-%m-%dT%H:%M:%S', gmtime $now + 8 * 3600),
		md5_hex(join ' ', $trade->{trade_no}, $$, ++$self->{counter}));
}

sub filled
{
	my ($self, $template, %field) = @_;

	return $self->template($template) =~ s/\{\{(\w+)\}\}/$field{$1} \/\/ die "$template: no $1\n"/ger;
}

# The same message sent again: Alipay puts a new time on it, the id stays.
sub resent
{
	my ($message) = @_;
	my $now = form_encode(strftime('%Y-%m-%d %H:%M:%S', gmtime time + 8 * 3600 + 240));
	return $message =~ s/\bnotify_time=[^&]*/notify_time=$now/r;
}

sub template
{
	my ($self, $name) = @_;
	return $self->{text}{$name} //= do
	{
		open my $in, '<', "$self->{templates}/$name" or die "$name: $!\n";
		local $/;
		<$in> =~ s/\n\z//r;
	};
}

sub form_encode
{
	my ($value) = @_;
	return $value =~ s/([^A-Za-z0-9 ._~*-])/sprintf '%%%02X', ord $1/ger =~ tr/ /+/r;
}

1;
