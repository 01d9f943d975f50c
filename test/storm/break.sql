-- Breaks payments on purpose, each in one way, behind the guards' back: what
-- storm.check() then says is in storm.broken, decided by hand.

CREATE TABLE storm.broken (
	way text PRIMARY KEY,
	pay_no uuid,
	expected text NOT NULL
);
COMMENT ON COLUMN storm.broken.expected IS 'the checks that report this payment, in alphabetical order';

CREATE FUNCTION storm.prepay(way text, request_id text DEFAULT 'r1', multi boolean DEFAULT NULL, channel text DEFAULT 'test') RETURNS text
	LANGUAGE sql VOLATILE AS $$
	SELECT trade_no FROM pay_prepay(order_no => way, amount => 1000, currency => 'CNY', channel => channel, method => 'qr', request_id => request_id, multi => multi)
$$;
CREATE FUNCTION storm.report(trade_no text, reported text, amount bigint DEFAULT 1000) RETURNS text
	LANGUAGE sql VOLATILE AS $$
	SELECT decision FROM pay_callback(channel => 'test', callback_id => reported, trade_no => trade_no, reported => reported, amount => amount, currency => 'CNY')
$$;
-- A chargeback that nobody here knew, and what the channel says of it then.
CREATE FUNCTION storm.chargeback(trade_no text, VARIADIC reported text[] DEFAULT '{}') RETURNS text
	LANGUAGE sql VOLATILE AS $$
	SELECT string_agg(r.decision, ' ') FROM unnest('{processing}' || reported) AS s (state),
		pay_refund_callback(channel => 'test', callback_id => s.state, refund_no => trade_no || ' chargeback', reported => s.state,
			amount => 600, currency => 'CNY', trade_no => trade_no, kind => 'chargeback') r
$$;
CREATE FUNCTION storm.replace(way text) RETURNS text
	LANGUAGE sql VOLATILE AS $$
	SELECT decision FROM pay_prepay(order_no => 'not ' || way, amount => 1000, currency => 'CNY', channel => 'test', method => 'qr', request_id => 'r1', replaces => way)
$$;
CREATE FUNCTION storm.will_break(way text, expected text) RETURNS void
	LANGUAGE sql VOLATILE AS $$
	INSERT INTO storm.broken SELECT way, pay_no, expected FROM pay_payment WHERE order_no = way
$$;
CREATE FUNCTION storm.number_of(way text) RETURNS uuid
	LANGUAGE sql STABLE AS 'SELECT pay_no FROM storm.broken b WHERE b.way = number_of.way';

-- First the orders as they ought to be.
SELECT storm.prepay('the payment steps without an event');
SELECT storm.prepay('the attempt steps without an event');
SELECT storm.report(trade, 'unknown'), storm.report(trade, 'failed') FROM storm.prepay('an event is lost') AS t (trade);
SELECT storm.report(trade, 'failed') FROM storm.prepay('the last event is lost') AS t (trade);
SELECT storm.report(trade, 'paid') FROM storm.prepay('a paid payment fails') AS t (trade);
SELECT storm.report(trade, 'paying') FROM storm.prepay('a message is processed twice') AS t (trade);
SELECT storm.report(one, 'paid'), storm.report(two, 'paid')
FROM (SELECT storm.prepay('another attempt wins', 'r1', true) AS one, storm.prepay('another attempt wins', 'r2') AS two OFFSET 0) t;
SELECT storm.report(one, 'paid'), storm.report(two, 'paid')
FROM (SELECT storm.prepay('two attempts win', 'r1', true) AS one, storm.prepay('two attempts win', 'r2') AS two OFFSET 0) t;
SELECT storm.report(trade, 'paid') FROM storm.prepay('a fen is lost on the way to the payment') AS t (trade);
SELECT storm.report(trade, 'paid') FROM storm.prepay('a fen is lost on the way from the channel') AS t (trade);
SELECT storm.report(trade, 'paid', 999) FROM storm.prepay('nobody is asked about a mismatch') AS t (trade);
SELECT storm.report(trade, 'paid', 999) FROM storm.prepay('handed out while money is in review') AS t (trade);
SELECT storm.report(trade, 'unknown') FROM storm.prepay('the payment does not follow its attempt') AS t (trade);
SELECT storm.report(trade, 'closed') FROM storm.prepay('the payment ends and nobody asked it to') AS t (trade);
SELECT storm.report(trade, 'failed') FROM storm.prepay('what is stale changes something') AS t (trade);
SELECT storm.prepay('the route is another');
SELECT storm.prepay('the attempt is lost');
SELECT storm.prepay('the attempt''s number says another route');
SELECT storm.prepay('the payment''s number says another shard');
SELECT storm.prepay('an attempt opens without a hand-out');
SELECT storm.prepay('two attempts at once', 'r1', true), storm.prepay('two attempts at once', 'r2');
INSERT INTO pay_channel (channel, method, max_attempts) VALUES ('two at most', 'qr', 2);
SELECT storm.prepay('too many attempts', 'r1', true, 'two at most'), storm.prepay('too many attempts', 'r2', true, 'two at most');
SELECT decision FROM pay_create(order_no => 'a payment comes from nowhere', amount => 1000, currency => 'CNY');
SELECT decision FROM pay_create(order_no => 'an order has two payments', amount => 1000, currency => 'CNY');
SELECT decision FROM pay_create(order_no => 'an order has two payments: the other', amount => 1000, currency => 'CNY');

SELECT storm.report(trade, 'paid'), storm.chargeback(trade) FROM storm.prepay('nobody is asked about a refund') AS t (trade);
SELECT storm.report(trade, 'paid'), storm.chargeback(trade) FROM storm.prepay('a review of a refund stops a prepay') AS t (trade);
SELECT storm.report(trade, 'paid'), storm.chargeback(trade, 'failed') FROM storm.prepay('a reserve is not given back') AS t (trade);
SELECT storm.report(trade, 'paid'), storm.chargeback(trade, 'unknown', 'failed') FROM storm.prepay('a refund''s event is lost') AS t (trade);
SELECT storm.report(trade, 'authorized'), storm.report(trade, 'capturing'), storm.report(trade, 'unknown'), storm.report(trade, 'capturing', NULL)
FROM storm.prepay('a capture is asked for twice') AS t (trade);
SELECT storm.report(one, 'authorized'), storm.report(two, 'authorized'), storm.report(one, 'capturing'), storm.report(two, 'capturing')
FROM (SELECT storm.prepay('two attempts are captured', 'r1', true) AS one, storm.prepay('two attempts are captured', 'r2') AS two OFFSET 0) t;
SELECT storm.report(trade, 'paid'), storm.report(trade, 'reversed') FROM storm.prepay('what was paid is reversed and nobody is asked') AS t (trade);
SELECT storm.report(trade, 'authorized'), storm.report(trade, 'capturing'), storm.report(trade, 'unknown'),
	(pay_callback(channel => 'test', callback_id => 'voided', trade_no => trade, reported => 'authorized', amount => 1000, currency => 'CNY', occurred_at => now() + '1 minute')).decision
FROM storm.prepay('a late authorization opens the way to another capture') AS t (trade);
SELECT storm.report(trade, 'paying') FROM storm.prepay('what the channel has is handed out again') AS t (trade);
SELECT storm.report(trade, 'paid'), storm.chargeback(trade),
	(pay_refund_callback(channel => 'test', callback_id => 'more', refund_no => trade || ' chargeback', reported => 'processing', amount => 1015, currency => 'CNY',
		trade_no => trade, kind => 'chargeback')).decision
FROM storm.prepay('more left than came and nobody is asked') AS t (trade);
SELECT storm.prepay('an order is replaced without an event');
SELECT storm.prepay(way), storm.replace(way) FROM unnest('{nobody knows the successor,the successor is another''s,an order that was replaced is not to end,an order that was replaced is handed out}'::text[]) AS w (way);
SELECT storm.report(trade, 'paid') FROM (SELECT trade, storm.replace('an order that was replaced wins') FROM storm.prepay('an order that was replaced wins') AS t (trade) OFFSET 0) t;

SELECT storm.prepay('a task is lost');
SELECT storm.prepay('a task does not count');
SELECT storm.report(trade, 'paid'), storm.chargeback(trade) FROM storm.prepay('a refund''s task is lost') AS t (trade);
CREATE FUNCTION storm.prepay_holding(way text) RETURNS text
	LANGUAGE sql VOLATILE AS $$
	SELECT trade_no FROM pay_prepay(order_no => way, amount => 1000, currency => 'CNY', channel => 'test', method => 'qr', request_id => 'r1',
		valid_for => '1 hour', holds => ARRAY['coupon:' || way, 'room:' || way || ' 1', 'room:' || way || ' 2'])
$$;
SELECT storm.prepay_holding(way) FROM unnest('{nobody ends it,a hold is lost,what is held is forgotten,a coupon is spent before it is paid}'::text[]) AS w (way);
SELECT storm.report(trade, 'paid') FROM storm.prepay_holding('a participant is not asked to confirm') AS t (trade);
SELECT storm.report(trade, 'paid') FROM storm.prepay_holding('what was paid is released') AS t (trade);
SELECT pay_transition(pay_no::text, 'closed') FROM storm.prepay_holding('a participant is not asked to release'), pay_payment WHERE order_no = 'a participant is not asked to release';

SELECT storm.will_break(way, expected) FROM (VALUES
	('a task is lost', 'task'),
	('a task does not count', 'task'),
	('a refund''s task is lost', 'task'),
	('nobody ends it', 'task'),
	('a hold is lost', 'hold'),
	('what is held is forgotten', 'taken'),
	('a coupon is spent before it is paid', 'hold'),
	('a participant is not asked to confirm', 'task'),
	('a participant is not asked to release', 'task'),
	('what was paid is released', 'hold'),
	('the payment steps without an event', 'payment state'),
	('the attempt steps without an event', 'attempt state'),
	('an event is lost', 'attempt chain, numbering, payment chain'),
	('the last event is lost', 'attempt state, numbering, payment state'),
	('a paid payment fails', 'collected, legal step, rule, surplus, winner'),
	('a message is processed twice', 'message'),
	('another attempt wins', 'surplus, winner'),
	('two attempts win', 'payment chain, winner'),
	('a fen is lost on the way to the payment', 'collected'),
	('a fen is lost on the way from the channel', 'collected'),
	('nobody is asked about a mismatch', 'review'),
	('handed out while money is in review', 'money in review'),
	('the payment does not follow its attempt', 'rule'),
	('the payment ends and nobody asked it to', 'rule'),
	('what is stale changes something', 'decision'),
	('the route is another', 'routes'),
	('the attempt is lost', 'routes'),
	('the attempt''s number says another route', 'number'),
	('the payment''s number says another shard', 'number'),
	('an attempt opens without a hand-out', 'handed out'),
	('two attempts at once', 'beside an open attempt'),
	('too many attempts', 'too many'),
	('a payment comes from nowhere', 'first event'),
	('an order has two payments', 'one payment'),
	('an order has two payments: the other', 'number, one payment'),
	('nobody is asked about a refund', 'review'),
	('a review of a refund stops a prepay', 'money in review'),
	('nobody knows the successor', 'replaced'),
	('the successor is another''s', 'replaced'),
	('not the successor is another''s', 'number'),
	('an order is replaced without an event', 'replaced'),
	('an order that was replaced is not to end', 'replaced'),
	('an order that was replaced is handed out', 'handed out, replaced'),
	('an order that was replaced wins', 'collected, replaced, rule, surplus, winner'),
	('a reserve is not given back', 'sums'),
	('a refund''s event is lost', 'numbering, refund chain'),
	('a capture is asked for twice', 'captured twice'),
	('two attempts are captured', 'captured twice'),
	('a late authorization opens the way to another capture', 'captured twice'),
	('what the channel has is handed out again', 'handed out'),
	('more left than came and nobody is asked', 'review'),
	('what was paid is reversed and nobody is asked', 'review')
) AS t (way, expected);
-- Only of orders of the storm is it written down what was answered.
INSERT INTO storm.answer (order_no, called, decision) SELECT 'storm an answer is forgotten', 'prepay', 'proceed' FROM storm.prepay('storm an answer is forgotten');
INSERT INTO storm.broken SELECT 'an answer is forgotten', pay_no, 'answered' FROM pay_payment WHERE order_no = 'storm an answer is forgotten';

-- So far nothing is wrong with them.
SELECT 'violations before: ' || count(*) FROM storm.check();

-- Then as they never may be.
SET session_replication_role = replica;
DROP INDEX pay_event_message_idx;
ALTER TABLE pay_payment DROP CONSTRAINT pay_payment_merchant_order_no_key;
ALTER TABLE pay_payment DROP CONSTRAINT pay_payment_replaced_check;
ALTER TABLE pay_attempt DROP CONSTRAINT pay_attempt_trade_no_check;

UPDATE pay_payment SET state = 'unknown' WHERE pay_no = storm.number_of('the payment steps without an event');
UPDATE pay_attempt SET state = 'unknown' WHERE pay_no = storm.number_of('the attempt steps without an event');
DELETE FROM pay_event WHERE pay_no = storm.number_of('an event is lost') AND seq = 2;
DELETE FROM pay_event WHERE pay_no = storm.number_of('the last event is lost') AND seq = 2;

INSERT INTO pay_event (pay_no, seq, attempt, decision, payment_before, payment_after, source)
VALUES (storm.number_of('a paid payment fails'), 3, 0, 'applied', 'paid', 'failed', 'update');
UPDATE pay_payment SET state = 'failed', winner = NULL, amount_collected = 0, last_seq = 3
WHERE pay_no = storm.number_of('a paid payment fails');

INSERT INTO pay_event (pay_no, seq, attempt, decision, payment_before, payment_after, attempt_before, attempt_after, source, message_id)
SELECT pay_no, 3, attempt, decision, payment_before, payment_after, attempt_before, attempt_after, source, message_id
FROM pay_event WHERE pay_no = storm.number_of('a message is processed twice') AND seq = 2;
UPDATE pay_payment SET last_seq = 3 WHERE pay_no = storm.number_of('a message is processed twice');

UPDATE pay_payment SET winner = 2 WHERE pay_no = storm.number_of('another attempt wins');
UPDATE pay_event SET payment_before = 'failed' WHERE pay_no = storm.number_of('two attempts win') AND seq = 4;

UPDATE pay_payment SET amount_collected = 999 WHERE pay_no = storm.number_of('a fen is lost on the way to the payment');
UPDATE pay_payment SET amount_collected = 999 WHERE pay_no = storm.number_of('a fen is lost on the way from the channel');
UPDATE pay_attempt SET amount_collected = 999 WHERE pay_no = storm.number_of('a fen is lost on the way from the channel');

DELETE FROM pay_review WHERE pay_no = storm.number_of('nobody is asked about a mismatch');
INSERT INTO pay_event (pay_no, seq, attempt, decision, payment_before, payment_after, attempt_before, attempt_after, source)
VALUES (storm.number_of('handed out while money is in review'), 3, 1, 'proceed', 'paying', 'paying', 'paying', 'paying', 'prepay');
UPDATE pay_payment SET last_seq = 3 WHERE pay_no = storm.number_of('handed out while money is in review');

UPDATE pay_event SET payment_after = 'closing' WHERE pay_no = storm.number_of('the payment does not follow its attempt') AND seq = 2;
UPDATE pay_payment SET state = 'closing' WHERE pay_no = storm.number_of('the payment does not follow its attempt');
UPDATE pay_event SET payment_after = 'closed' WHERE pay_no = storm.number_of('the payment ends and nobody asked it to') AND seq = 2;
UPDATE pay_payment SET state = 'closed' WHERE pay_no = storm.number_of('the payment ends and nobody asked it to');
UPDATE pay_event SET decision = 'stale' WHERE pay_no = storm.number_of('what is stale changes something') AND seq = 2;

UPDATE pay_event SET source = 'transition' WHERE attempt_after = 'capturing'
	AND pay_no IN (storm.number_of('a capture is asked for twice'), storm.number_of('two attempts are captured'));
UPDATE pay_event SET occurred_at = NULL WHERE pay_no = storm.number_of('a late authorization opens the way to another capture') AND message_id = 'voided';
INSERT INTO pay_event (pay_no, seq, attempt, decision, payment_before, payment_after, attempt_before, attempt_after, source)
VALUES (storm.number_of('what the channel has is handed out again'), 3, 1, 'proceed', 'paying', 'paying', 'paying', 'paying', 'prepay');
UPDATE pay_payment SET last_seq = 3 WHERE pay_no = storm.number_of('what the channel has is handed out again');
DELETE FROM pay_review WHERE kind = 'overdrawn' AND pay_no = storm.number_of('more left than came and nobody is asked');
DELETE FROM pay_review
WHERE pay_no IN (storm.number_of('what was paid is reversed and nobody is asked'), storm.number_of('nobody is asked about a refund'));
UPDATE pay_review SET about_money = true WHERE pay_no = storm.number_of('a review of a refund stops a prepay');
UPDATE pay_attempt SET amount_reserved = 600 WHERE pay_no = storm.number_of('a reserve is not given back');
DELETE FROM pay_event WHERE pay_no = storm.number_of('a refund''s event is lost') AND refund_after = 'unknown';

UPDATE pay_payment SET replaced_by = gen_random_uuid() WHERE pay_no = storm.number_of('nobody knows the successor');
UPDATE pay_payment SET merchant = 'another' WHERE order_no = 'not the successor is another''s';
UPDATE pay_payment SET replaced_by = storm.number_of('the attempt is lost'), end_requested = true WHERE pay_no = storm.number_of('an order is replaced without an event');
UPDATE pay_payment SET end_requested = false WHERE pay_no = storm.number_of('an order that was replaced is not to end');
INSERT INTO pay_event (pay_no, seq, attempt, decision, payment_before, payment_after, attempt_before, attempt_after, source)
VALUES (storm.number_of('an order that was replaced is handed out'), 4, 1, 'proceed', 'closing', 'closing', 'closing', 'closing', 'prepay');
UPDATE pay_payment SET last_seq = 4 WHERE pay_no = storm.number_of('an order that was replaced is handed out');
UPDATE pay_payment SET winner = 1, state = 'paid', amount_collected = 1000 WHERE pay_no = storm.number_of('an order that was replaced wins');
UPDATE pay_event SET payment_after = 'paid' WHERE pay_no = storm.number_of('an order that was replaced wins') AND seq >= 4;
UPDATE pay_event SET payment_before = 'paid' WHERE pay_no = storm.number_of('an order that was replaced wins') AND seq > 4;

DELETE FROM pay_task WHERE pay_no IN (storm.number_of('a task is lost'), storm.number_of('a participant is not asked to confirm'),
	storm.number_of('a participant is not asked to release'));
UPDATE pay_attempt SET check_at = now() + interval '1 day' WHERE pay_no = storm.number_of('a task does not count');
DELETE FROM pay_task WHERE pay_no = storm.number_of('a refund''s task is lost') AND refund_no IS NOT NULL;
DELETE FROM pay_task WHERE pay_no = storm.number_of('nobody ends it') AND attempt = 0;
DELETE FROM pay_hold WHERE pay_no = storm.number_of('a hold is lost') AND resource LIKE 'room:% 1';
UPDATE pay_resource SET taken = taken - 1 WHERE resource = 'room:a hold is lost 1';
UPDATE pay_resource SET taken = 0 WHERE resource = 'coupon:what is held is forgotten';
UPDATE pay_hold SET state = 'confirmed' WHERE pay_no = storm.number_of('a coupon is spent before it is paid') AND NOT external;
UPDATE pay_hold SET state = 'released' WHERE pay_no = storm.number_of('what was paid is released') AND NOT external;
UPDATE pay_resource SET taken = 0 WHERE resource = 'coupon:what was paid is released';

UPDATE pay_payment SET routes = '{2}' WHERE pay_no = storm.number_of('the route is another');
DELETE FROM pay_attempt WHERE pay_no = storm.number_of('the attempt is lost');
UPDATE pay_attempt SET trade_no = storm.trade_no(pay_no, 1, 2)::uuid WHERE pay_no = storm.number_of('the attempt''s number says another route');
UPDATE pay_payment SET order_no = order_no || ' of another order' WHERE pay_no = storm.number_of('the payment''s number says another shard');
UPDATE pay_event SET decision = 'applied' WHERE pay_no = storm.number_of('an attempt opens without a hand-out') AND seq = 1;
UPDATE pay_payment SET multi = false WHERE pay_no = storm.number_of('two attempts at once');
UPDATE pay_channel SET max_attempts = 1 WHERE channel = 'two at most';
UPDATE pay_event SET source = 'update' WHERE pay_no = storm.number_of('a payment comes from nowhere');
UPDATE pay_payment SET order_no = 'an order has two payments' WHERE pay_no = storm.number_of('an order has two payments: the other');
DELETE FROM storm.answer WHERE order_no = 'storm an answer is forgotten';
