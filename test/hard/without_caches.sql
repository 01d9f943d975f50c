-- A few calls while every cached catalog row is thrown away at each
-- chance (debug_discard_caches): what holds a pointer into a cache for too long
-- reads what is not there any more, and the sanitizer says so.

CREATE EXTENSION pay_idem;
SELECT pay_install();

-- A call takes a minute or more so, as each table is looked up and checked again at
-- each opening; hence so few.
SET debug_discard_caches = 1;
SELECT trade_no FROM pay_prepay(order_no => 'O1', amount => 100, currency => 'CNY', channel => 'test', method => 'qr', request_id => 'r1',
	payer => 'alice', valid_for => '1 hour', holds => '{coupon:C1}') \gset
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'm1', trade_no => :'trade_no', reported => 'paid', amount => 100, currency => 'CNY', channel_txn => 't1');
SELECT decision FROM pay_refund(trade_no => :'trade_no', refund_no => 'R1', amount => 30, reason => 'one of three');
RESET debug_discard_caches;
