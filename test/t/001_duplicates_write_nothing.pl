# A duplicate call that opens and hands out nothing takes no row lock and
# writes nothing: a thousand impatient clicks cost a thousand index lookups.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Nothing but the calls may write WAL: no checkpoint, no snapshot of running
# transactions (wal_level minimal has none), no autovacuum.
my $node = pay_node('main', conf => "checkpoint_timeout = 1h\nmax_wal_size = 1GB");

# Orders in every situation in which a call has nothing to write.
$node->safe_psql('postgres', <<"SQL");
	INSERT INTO pay_channel (channel, method, max_attempts) VALUES ('test', 'once', 1);
	SELECT @{[ prepay('fresh', 'r1') ]};
	SELECT @{[ prepay('open', 'r1') ]};
	SELECT @{[ credential(trade_of('open'), 'wx201410272009395522657a690389285100') ]};
	SELECT @{[ prepay('paid', 'r1') ]};
	SELECT @{[ callback(trade_of('paid'), 'n1', 'paid') ]};
	SELECT @{[ callback(trade_of('paid'), 'n2', 'failed') ]};
	SELECT @{[ prepay('late', 'r1') ]};
	SELECT @{[ transition("(SELECT pay_no::text FROM pay_payment WHERE order_no = 'late')", 'closed', request_id => "'t1'") ]};
	SELECT @{[ callback(trade_of('late'), 'n1', 'paid') ]};
	SELECT @{[ prepay('short', 'r1') ]};
	SELECT @{[ callback(trade_of('short'), 'n1', 'paid', amount => 99) ]};
	SELECT @{[ prepay('lost', 'r1') ]};
	SELECT @{[ transition(trade_of('lost'), 'unknown', request_id => "'t1'") ]};
	SELECT @{[ prepay('once', 'r1', method => "'once'") ]};
	SELECT @{[ callback(trade_of('once'), 'n1', 'failed') ]};
	SELECT pay_create(order_no => 'made', amount => 100, currency => 'CNY', payer => 'p1', metadata => '{"cart": 7}');
	SELECT pay_callback(channel => 'test', callback_id => 'n1', trade_no => '0', reported => 'paid', amount => 5, currency => 'CNY');
	SELECT @{[ prepay('mine', 'r1', payer => "'p2'") ]};
	SELECT @{[ prepay('old', 'r1') ]};
	SELECT @{[ prepay('instead', 'r1', replaces => "'old'") ]};
	SELECT @{[ credential(trade_of('instead'), 'wx3') ]};
	SELECT @{[ prepay('back', 'r1') ]};
	SELECT @{[ callback(trade_of('back'), 'n1', 'paid') ]};
	SELECT @{[ refund(trade_of('back'), 'F1', 30) ]};
	SELECT @{[ refund(trade_of('back'), 'F2', 20) ]};
	SELECT @{[ refund_callback('F2', 'm1', 'succeeded', amount => 20, currency => "'CNY'") ]};
	SELECT @{[ refund_callback('F2', 'm2', 'processing') ]};
	SELECT @{[ refund_callback('F2', 'm3', 'failed') ]};
	SELECT @{[ refund_callback('F3', 'm4', 'succeeded', amount => 10, currency => "'CNY'", trade_no => trade_of('back'), kind => "'chargeback'") ]};
	SELECT @{[ refund(trade_of('back'), 'F6', 5) ]};
	SELECT @{[ refund_callback('re_6', 'm8', 'processing', amount => 5, currency => "'CNY'", trade_no => trade_of('back')) ]};
	SELECT @{[ refund_transition('F6', 'failed') ]};
	SELECT @{[ refund_callback('F4', 'm5', 'succeeded', amount => 99, currency => "'CNY'", trade_no => trade_of('back')) ]};
	SELECT @{[ refund_callback('F5', 'm6', 'succeeded') ]};
	SELECT @{[ prepay('alike back', 'r1') ]};
	SELECT @{[ callback(trade_of('alike back'), 'n1', 'paid') ]};
	SELECT @{[ refund(trade_of('alike back'), 'F7', 7) ]};
	SELECT @{[ prepay('just paid', 'r1', payer => "'p3'") ]};
	SELECT @{[ callback(trade_of('just paid'), 'n1', 'paid') ]};
	SELECT @{[ callback(trade_of('just paid'), 'n2', 'reversed') ]};
	SELECT @{[ callback(trade_of('just paid'), 'n3', 'paid', merchant => "'another'") ]};
	SELECT @{[ prepay('free', 'r1', amount => 0) ]};
	INSERT INTO pay_resource (resource, capacity) VALUES ('stock:S1', 5);
	SELECT @{[ prepay('holds', 'r1', valid_for => "'1 day'", holds => "'{coupon:C1,stock:S1#3}'") ]};
	SELECT @{[ credential(trade_of('holds'), 'wx4') ]};
	SELECT @{[ prepay('spent', 'r1', valid_for => "'1 day'", holds => "'{coupon:C2}'") ]};
	SELECT @{[ callback(trade_of('spent'), 'n1', 'paid') ]};
SQL

# Two payments by their own numbers.
my ($late, $back) = map { "'$_'" } split /\n/,
  $node->safe_psql('postgres',
	"SELECT pay_no FROM pay_payment WHERE order_no IN ('late', 'back') ORDER BY order_no = 'back'");

# Numbers, so that the calls below read our tables by nothing but themselves.
my %trade = map { split /\|/ } split /\n/,
  $node->safe_psql('postgres',
	"SELECT order_no, replace(trade_no::text, '-', '') FROM pay_payment JOIN pay_attempt USING (pay_no)"
  );
$_ = "'$_'" for values %trade;

# What is called, and what it decides.
my @duplicate = (
	[ 'impatient click before the credential', prepay('fresh', 'r2'), 'in_progress' ],
	[ 'its own request again, credential alive', prepay('open', 'r1'), 'in_progress' ],
	[ 'another request, credential alive', prepay('open', 'r2'), 'in_progress' ],
	[ 'another method while one is open', prepay('open', 'r3', method => "'qr'"), 'in_progress' ],
	[ 'prepay of a paid order', prepay('paid', 'r1'), 'already_paid' ],
	[ 'prepay of a closed order', prepay('late', 'r2'), 'closed' ],
	[ 'prepay while money is in review', prepay('short', 'r2'), 'unknown' ],
	[ 'prepay of an unknown outcome', prepay('lost', 'r2'), 'unknown' ],
	[ 'prepay after too many attempts', prepay('once', 'r2', method => "'once'"), 'throttled' ],
	[
		'the same pay_create',
		"pay_create(order_no => 'made', amount => 100, currency => 'CNY', payer => 'p1')",
		'unchanged'
	],
	[
		'the same credential',
		credential($trade{open}, 'wx201410272009395522657a690389285100'), 'replayed'
	],
	[ 'repeated callback: paid', callback($trade{paid}, 'n1', 'paid'), 'replayed' ],
	[ 'repeated callback: stale', callback($trade{paid}, 'n2', 'failed'), 'replayed' ],
	[ 'repeated callback: surplus', callback($trade{late}, 'n1', 'paid'), 'replayed' ],
	[
		'repeated callback: mismatch',
		callback($trade{short}, 'n1', 'paid', amount => 99),
		'replayed'
	],
	[ 'repeated callback: it bounced', callback($trade{'just paid'}, 'n2', 'reversed'), 'replayed' ],
	[ "repeated callback: another merchant's", callback($trade{'just paid'}, 'n3', 'paid', merchant => "'another'"), 'unmatched' ],
	[ 'repeated callback: failed', callback($trade{once}, 'n1', 'failed'), 'replayed' ],
	[
		'repeated callback: unmatched',
		"pay_callback(channel => 'test', callback_id => 'n1', trade_no => '0', reported => 'paid', amount => 5, currency => 'CNY')",
		'unmatched'
	],
	[ 'repeated step', transition($trade{lost}, 'unknown', request_id => "'t1'"), 'replayed' ],
	[
		'repeated step of a whole payment',
		transition($late, 'closed', request_id => "'t1'"),
		'replayed'
	],
	[ 'pay_query', "pay_query(order_no => 'open')", 'in_progress' ],
	[ 'another order of the same payer and amount', prepay('alike', 'r1', payer => "'p2'"), 'confirm' ],
	[ 'another order of what this payer just paid', prepay('paid again', 'r1', payer => "'p3'"), 'confirm' ],
	[ 'an order that costs nothing', prepay('free', 'r1', amount => 0), 'already_paid' ],
	[ 'prepay of a replaced order', prepay('old', 'r1'), 'closed' ],
	[ 'prepay of the order that replaced it', prepay('instead', 'r2', replaces => "'old'"), 'in_progress' ],
	[ 'a replaced order replaced once more', prepay('third', 'r1', replaces => "'old'"), 'closed' ],
	[ 'a paid order replaced', prepay('third', 'r1', replaces => "'paid'"), 'already_paid' ],
	[ 'what it holds asked for again', prepay('holds', 'r2', holds => "'{coupon:C1,stock:S1#3}'"), 'in_progress' ],
	[ 'a coupon that is held', prepay('late comer', 'r1', valid_for => "'1 day'", holds => "'{coupon:C1}'"), 'unavailable' ],
	[ 'a coupon that is spent', prepay('late comer', 'r1', valid_for => "'1 day'", holds => "'{coupon:C2}'"), 'unavailable' ],
	[
		'one coupon that is there, one that is not',
		prepay('late comer', 'r1', valid_for => "'1 day'", holds => "'{coupon:A1,coupon:C2,coupon:Z1}'"),
		'unavailable'
	],
	[ 'more than there is', prepay('late comer', 'r1', valid_for => "'1 day'", holds => "'{stock:S1#3}'"), 'unavailable' ],
	[ 'repeated refund', refund($trade{back}, 'F1', 30), 'replayed' ],
	[ 'the same refund by another number', refund($trade{'alike back'}, 'F8', 7), 'confirm' ],
	[ 'repeated refund, by the payment', refund($back, 'F1', 30), 'replayed' ],
	[ 'repeated refund that succeeded', refund($trade{back}, 'F2', 20), 'replayed' ],
	[ 'repeated refund of surplus', refund($trade{late}, $trade{late} =~ s/'//gr . 's', 100), 'replayed' ],
	[
		'repeated refund callback: succeeded',
		refund_callback('F2', 'm1', 'succeeded', amount => 20, currency => "'CNY'"),
		'replayed'
	],
	[ 'repeated refund callback: stale', refund_callback('F2', 'm2', 'processing'), 'replayed' ],
	[ 'repeated refund callback: mismatch', refund_callback('F2', 'm3', 'failed'), 'replayed' ],
	[
		'repeated refund callback: adopted',
		refund_callback(
			'F3', 'm4', 'succeeded',
			amount => 10,
			currency => "'CNY'",
			trade_no => $trade{back},
			kind => "'chargeback'"),
		'replayed'
	],
	[
		'repeated refund callback: adopted, and overdrawn',
		refund_callback(
			'F4', 'm5', 'succeeded',
			amount => 99,
			currency => "'CNY'",
			trade_no => $trade{back}),
		'replayed'
	],
	[
		'repeated refund callback: the channel\'s own number',
		refund_callback(
			're_6', 'm8', 'processing',
			amount => 5,
			currency => "'CNY'",
			trade_no => $trade{back}),
		'replayed'
	],
	[
		'repeated unmatched refund callback',
		refund_callback('F5', 'm6', 'succeeded'),
		'unmatched'
	]);

# The call, and what its transaction holds and is afterwards.
sub in_transaction
{
	my ($call) = @_;

	return
		"BEGIN; SELECT decision FROM $call;"
	  . "SELECT coalesce(pg_current_xact_id_if_assigned()::text, 'no xid');"
	  . "SELECT coalesce(string_agg(DISTINCT concat_ws(' ', locktype, mode), ', '), 'no lock') FROM pg_locks"
	  . " WHERE pid = pg_backend_pid() AND (locktype IN ('tuple', 'transactionid', 'page', 'advisory', 'object')"
	  . "  OR relation IN (SELECT c.oid FROM pg_class c WHERE c.relname ~ '^pay_') AND mode <> 'AccessShareLock');"
	  . 'COMMIT';
}

sub lsn { return $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()') }

# Warm up: hint bits, pruning and catalog caches come to rest.
$node->safe_psql('postgres', 'VACUUM');
my $all = join ';', map { "SELECT $_->[1]" } @duplicate;
$node->safe_psql('postgres', $all) for 1 .. 2;

foreach (@duplicate)
{
	my ($name, $call, $decision) = @$_;
	my $rows = digest($node, physical => 1);
	my $before = lsn();

	$node->safe_psql('postgres', "SELECT $call;" x 20);
	answers(
		$node, in_transaction($call),
		"$decision\nno xid\nno lock",
		"$name: $decision, without an xid or a row's lock");
	is(lsn(), $before, "$name: no WAL");
	is(digest($node, physical => 1), $rows, "$name: every row as it was, xmin, xmax and ctid too");
}

# The yardstick itself: a call that writes is seen to.
my $before = lsn();
like(
	$node->safe_psql('postgres', in_transaction(prepay('new', 'r1'))),
	qr/^proceed\n\d+\n.*relation RowExclusiveLock/,
	'a new order has an xid and locks');
isnt(lsn(), $before, 'a new order writes WAL');

# An error writes nothing either.
$before = lsn();
raises($node, prepay('open', 'r1', amount => 101), 'PY422', 'another amount');
raises($node, prepay('open', 'r1', currency => "'cn'"), 'PY400', 'bad currency');
raises($node, callback($trade{open}, 'n9', 'paid', amount => 'NULL'),
	'PY400', 'callback without its amount');
raises($node, refund($trade{back}, 'F1', 31), 'PY422', 'a known refund of another amount');
raises($node, prepay('third', 'r1', replaces => "'nobody'"), 'PY404', 'no order to replace');
raises($node, prepay('late comer', 'r1', valid_for => "'1 day'", holds => "'{coupon:C9,nothing:1}'"), 'PY400', 'a resource that nobody knows');
is(lsn(), $before, 'a refused call: no WAL');

# Nor does a worker who finds nothing to do.
$before = lsn();
answers($node, 'SELECT count(*) FROM ' . claim('w1', actions => "'{confirm_hold,release_hold}'"), 0, 'no hold to confirm or release');
is(lsn(), $before, 'a claim that hands out nothing: no WAL');

# Not even another session's lock on the rows makes a duplicate wait: a
# lock_timeout would end these calls with 55P03.
foreach my $held (
	[
		'rows locked FOR UPDATE',
		join '; ', map { "SELECT FROM $_ FOR UPDATE" } qw(pay_payment pay_attempt pay_review pay_refund pay_task pay_resource pay_hold)
	],
	[ 'a step not committed yet', 'SELECT ' . transition($trade{open}, 'unknown') ],
	[ 'a payment not committed yet', 'SELECT ' . callback($trade{fresh}, 'n7', 'paid') ],
	[ 'a refund not committed yet', 'SELECT ' . refund($trade{'alike back'}, 'F9', 1) . '; SELECT ' . refund_transition('F1', 'processing') ])
{
	my $other = $node->background_psql('postgres', on_error_stop => 1);

	$other->query_safe("BEGIN; $held->[1]");
	foreach (@duplicate)
	{
		my ($name, $call, $decision) = @$_;
		answers(
			$node,
			"SET lock_timeout = '20s';" . in_transaction($call),
			"$decision\nno xid\nno lock",
			"$name: does not wait for $held->[0]");
	}
	$other->query_safe('ROLLBACK');
	$other->quit;
}

no_leaks($node);
done_testing();
