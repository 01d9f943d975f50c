-- Known accidents of other systems. Each is named, told in one sentence, and
-- cannot happen here.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA accidents_test;

CREATE FUNCTION accidents_test.pay_no(order_no text) RETURNS text LANGUAGE sql AS $$
	SELECT p.pay_no::text FROM pay_payment p WHERE p.merchant = 'accidents' AND p.order_no = pay_no.order_no
$$;
CREATE FUNCTION accidents_test.trade_no(order_no text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT a.trade_no::text FROM pay_payment p JOIN pay_attempt a USING (pay_no)
	WHERE p.merchant = 'accidents' AND p.order_no = trade_no.order_no AND a.attempt = trade_no.attempt
$$;
CREATE FUNCTION accidents_test.prepay(order_no text, request_id text DEFAULT 'R1', channel text DEFAULT 'test', method text DEFAULT 'test', multi boolean DEFAULT NULL,
	replaces text DEFAULT NULL, OUT decision text, OUT state text, OUT attempt integer)
LANGUAGE sql AS $$
	SELECT decision, state, attempt
	FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => 'accidents', multi => multi, replaces => replaces,
		channel => channel, method => method, request_id => request_id)
$$;
CREATE FUNCTION accidents_test.report(order_no text, reported text, callback_id text DEFAULT NULL, attempt integer DEFAULT 1, channel text DEFAULT 'test',
	channel_txn text DEFAULT NULL, OUT decision text, OUT state text, OUT attempt_state text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt_state
	FROM pay_callback(channel => channel, callback_id => callback_id, trade_no => accidents_test.trade_no(order_no, attempt), reported => reported,
		amount => CASE WHEN reported IN ('paid', 'authorized') THEN 100 END, currency => CASE WHEN reported IN ('paid', 'authorized') THEN 'CNY' END,
		channel_txn => channel_txn)
$$;
CREATE FUNCTION accidents_test.pay(order_no text) RETURNS text LANGUAGE sql AS $$
	SELECT accidents_test.prepay(order_no);
	SELECT decision FROM accidents_test.report(order_no, 'paid', 'C1', channel_txn => 'T1');
$$;
CREATE FUNCTION accidents_test.refund(order_no text, refund_no text, amount bigint, OUT decision text, OUT state text, OUT refundable bigint) LANGUAGE sql AS $$
	SELECT decision, state, refundable FROM pay_refund(trade_no => accidents_test.pay_no(order_no), refund_no => refund_no, amount => amount, reason => 'returned')
$$;
CREATE FUNCTION accidents_test.refund_report(refund_no text, reported text, callback_id text DEFAULT NULL, amount bigint DEFAULT NULL, channel_txn text DEFAULT NULL,
	trade_no text DEFAULT NULL, OUT decision text, OUT state text, OUT refundable bigint) LANGUAGE sql AS $$
	SELECT decision, state, refundable FROM pay_refund_callback(channel => 'test', callback_id => callback_id, refund_no => refund_no, reported => reported,
		amount => amount, currency => CASE WHEN amount IS NOT NULL THEN 'CNY' END, channel_txn => channel_txn, trade_no => trade_no, merchant => 'accidents')
$$;
CREATE FUNCTION accidents_test.balance(order_no text, OUT state text, OUT needed bigint, OUT collected bigint, OUT surplus bigint, OUT reserved bigint,
	OUT refunded bigint, OUT refundable bigint, OUT to_close bigint)
LANGUAGE sql AS $$
	SELECT state::text, needed, collected, surplus, reserved, refunded, refundable, to_close
	FROM pay_balance b WHERE b.merchant = 'accidents' AND b.order_no = balance.order_no
$$;

-- ---- two_60s_of_100 ----
-- Two clerks each refund 60 of an order of 100, each sees 100 to refund, and 120 go out.

SELECT accidents_test.pay('two 60s');
SELECT * FROM accidents_test.refund('two 60s', 'clerk 1', 60);
SELECT test.try($$SELECT accidents_test.refund('two 60s', 'clerk 2', 60)$$);
-- Nor when the first is on its way, of unknown outcome, or done.
SELECT s AS first_is, decision, test.sqlstate($$SELECT accidents_test.refund('two 60s', 'clerk 2', 60)$$) AS second
FROM unnest('{processing,unknown,abnormal,succeeded}'::text[]) AS s, pay_refund_transition(refund_no => 'clerk 1', to_state => s, merchant => 'accidents');
-- Nor by the back door.
SELECT test.sqlstate(format($$INSERT INTO pay_refund (pay_no, attempt, merchant, refund_no, amount, kind, state)
	VALUES (%L, 1, 'accidents', 'clerk 1', 60, 'refund', 'requested')$$, accidents_test.pay_no('two 60s'))) AS the_same_number_inserted,
	test.sqlstate(format('UPDATE pay_attempt SET amount_reserved = 60 WHERE trade_no = %L', accidents_test.trade_no('two 60s'))) AS sum_by_hand;
SELECT * FROM accidents_test.balance('two 60s');

-- ---- negative_refund ----
-- A refund of -60 passes the check "not more than 100", and makes 160 refundable.

SELECT accidents_test.pay('negative');
SELECT test.try($$SELECT accidents_test.refund('negative', 'n1', -60)$$);
SELECT test.sqlstate($$SELECT accidents_test.refund('negative', 'n1', 0)$$) AS zero,
	test.sqlstate($$SELECT accidents_test.refund('negative', 'n1', -9223372036854775808)$$) AS least,
	test.sqlstate($$SELECT accidents_test.refund_report('n1', 'succeeded', 'RC1', -60, trade_no => accidents_test.trade_no('negative'))$$) AS by_the_channel,
	test.sqlstate(format($$INSERT INTO pay_refund (pay_no, attempt, merchant, refund_no, amount, kind, state)
		VALUES (%L, 1, 'accidents', 'n1', -60, 'refund', 'requested')$$, accidents_test.pay_no('negative'))) AS by_hand;
SELECT * FROM accidents_test.balance('negative');

-- ---- slow_query_overwrites ----
-- A query is sent, the callback comes and says paid, then the query's old answer overwrites it with "not paid".

SELECT accidents_test.pay('slow query');
SELECT s AS slow_answer, r.* FROM unnest('{paying,unknown,authorized,capturing,closing,failed,closed,reversed}'::text[]) AS s, accidents_test.report('slow query', s) AS r;
SELECT test.states('accidents', 'slow query');
-- (only that it was taken back may be news: both words for that are put up for a person)
SELECT kind, about_money, reported FROM pay_review WHERE pay_no::text = accidents_test.pay_no('slow query');
-- The same of a refund: done stays done. What is older changes nothing; what says the opposite is for a person.
SELECT * FROM accidents_test.refund('slow query', 's1', 60);
SELECT * FROM accidents_test.refund_report('s1', 'succeeded', 'RC1', 60);
SELECT s AS slow_answer, r.* FROM unnest('{requested,processing,unknown,failed,abnormal,cancelled}'::text[]) AS s, accidents_test.refund_report('s1', s) AS r;
SELECT * FROM accidents_test.balance('slow query');

-- ---- retried_while_unknown ----
-- The first call timed out after the channel had taken it; the same key is retried as if nothing had been, and the customer pays twice.

SELECT * FROM accidents_test.prepay('retried', 'R1');
SELECT decision, state FROM pay_transition(trade_no => accidents_test.trade_no('retried'), to_state => 'unknown', reason => 'timeout');
SELECT * FROM accidents_test.prepay('retried', 'R1');
SELECT * FROM accidents_test.prepay('retried', 'R2');
SELECT * FROM accidents_test.prepay('retried', 'R3', 'wechat', 'native');
-- And when it is not even known that it timed out: the same number, so the channel sees one order.
SELECT * FROM accidents_test.prepay('retried 2', 'R1');
SELECT * FROM accidents_test.prepay('retried 2', 'R1');
SELECT order_no, count(*) AS attempts FROM pay_payment JOIN pay_attempt USING (pay_no) WHERE merchant = 'accidents' AND order_no LIKE 'retried%' GROUP BY 1 ORDER BY 1;

-- ---- both_paid_and_rolled_back ----
-- Two channels both collected; the second callback fails on a constraint ("paid already"), its transaction rolls back, and nobody ever knows of that money.

SELECT decision, attempt FROM accidents_test.prepay('both paid', 'R1', 'wechat', 'native', multi => true);
SELECT decision, attempt FROM accidents_test.prepay('both paid', 'R2', 'alipay', 'qr', multi => true);
CREATE TABLE accidents_test.shop_order (order_no text PRIMARY KEY);
BEGIN;
SELECT * FROM accidents_test.report('both paid', 'paid', 'W1', 1, 'wechat', 'WT1');
INSERT INTO accidents_test.shop_order VALUES ('both paid');
COMMIT;
-- No error, so nothing rolls back: the shop ships on applied only, and the decision tells the two apart.
BEGIN;
SELECT * FROM accidents_test.report('both paid', 'paid', 'A1', 2, 'alipay', 'AT1');
COMMIT;
SELECT * FROM accidents_test.balance('both paid');
SELECT attempt, kind, state, amount FROM pay_refund WHERE pay_no::text = accidents_test.pay_no('both paid');
-- A shop whose own code fails all the same loses the message, not the news: it is decided anew when it comes again.
SELECT decision FROM accidents_test.prepay('both paid 2', 'R1', 'wechat', 'native', multi => true);
SELECT decision FROM accidents_test.prepay('both paid 2', 'R2', 'alipay', 'qr', multi => true);
SELECT * FROM accidents_test.report('both paid 2', 'paid', 'W1', 1, 'wechat', 'WT2');
BEGIN;
SELECT * FROM accidents_test.report('both paid 2', 'paid', 'A1', 2, 'alipay', 'AT2');
SELECT 1 / 0 AS the_shop_s_own_mistake;
COMMIT;
SELECT * FROM accidents_test.report('both paid 2', 'paid', 'A1', 2, 'alipay', 'AT2');
SELECT attempt, kind, state, amount FROM pay_refund WHERE pay_no::text = accidents_test.pay_no('both paid 2');

-- ---- closed_then_paid ----
-- The timeout job closes the order in the database only; the customer pays a second later, "order closed" is answered, and the money is kept.

SELECT * FROM accidents_test.prepay('closed');
SELECT decision, state FROM pay_transition(trade_no => accidents_test.pay_no('closed'), to_state => 'closed', reason => 'not paid in time');
SELECT * FROM accidents_test.report('closed', 'paid', 'C1');
SELECT * FROM accidents_test.balance('closed');
-- Told again, the money is not counted again.
SELECT * FROM accidents_test.report('closed', 'paid', 'C1');
SELECT * FROM accidents_test.report('closed', 'paid', 'C2');
SELECT kind, state, amount FROM pay_refund WHERE pay_no::text = accidents_test.pay_no('closed');

-- ---- refund_sent_again ----
-- A refund is pending, the clerk presses again, a new refund number is made, and the channel refunds twice.

SELECT accidents_test.pay('sent again');
SELECT * FROM accidents_test.refund('sent again', 'r1', 50);
SELECT decision, state FROM pay_refund_transition(refund_no => 'r1', to_state => 'processing', merchant => 'accidents');
SELECT * FROM accidents_test.refund('sent again', 'r1', 50);
SELECT decision, state FROM pay_refund_transition(refund_no => 'r1', to_state => 'unknown', reason => 'timeout', merchant => 'accidents');
SELECT * FROM accidents_test.refund('sent again', 'r1', 50);
-- Its reserve is taken once; the number is what makes it the same refund.
SELECT * FROM accidents_test.balance('sent again');
SELECT test.sqlstate($$SELECT accidents_test.refund('sent again', 'r1', 49)$$) AS another_amount;
SELECT * FROM accidents_test.refund_report('r1', 'succeeded', 'RC1', 50);
SELECT * FROM accidents_test.refund('sent again', 'r1', 50);
SELECT count(*) AS refunds, sum(amount) FROM pay_refund WHERE pay_no::text = accidents_test.pay_no('sent again');

-- ---- parent_closed_before_child ----
-- The order is closed while one of its payments can still be paid: its QR code is on the customer's screen, and he pays for nothing.

SELECT decision FROM accidents_test.prepay('parent', 'R1', multi => true);
SELECT decision FROM accidents_test.prepay('parent', 'R2', multi => true);
SELECT decision FROM pay_credential(trade_no => accidents_test.trade_no('parent', 2), credential => 'qr=2', valid_for => '1 hour');
-- Closing the order closes its attempts; it is not closed before the channel says that each of them is.
SELECT decision, state FROM pay_transition(trade_no => accidents_test.pay_no('parent'), to_state => 'closing');
SELECT * FROM accidents_test.report('parent', 'closed', attempt => 1);
SELECT test.states('accidents', 'parent');
-- Nobody is shown what he could pay with.
SELECT decision, credential FROM pay_query('parent', 'accidents');
SELECT decision, credential FROM pay_credential(trade_no => accidents_test.trade_no('parent', 2), credential => 'qr=2', valid_for => '1 hour');
-- He pays nevertheless: then it was not closed, and is paid.
SELECT * FROM accidents_test.report('parent', 'paid', attempt => 2);
-- Nor does time alone close it, nor another order in its place.
SELECT decision FROM accidents_test.prepay('parent 2');
UPDATE pay_payment SET valid_until = now() - interval '1 second' WHERE pay_no::text = accidents_test.pay_no('parent 2');
SELECT * FROM accidents_test.prepay('parent 2', 'R2');
SELECT decision FROM accidents_test.prepay('parent 3', replaces => 'parent 2');
SELECT test.states('accidents', 'parent 2');
-- Where somebody did it by hand, the attempt is closed with it, and its money goes back.
SELECT decision FROM accidents_test.prepay('parent 4');
UPDATE pay_payment SET state = 'closed' WHERE pay_no::text = accidents_test.pay_no('parent 4');
SELECT to_close FROM accidents_test.balance('parent 4');
SELECT * FROM accidents_test.report('parent 4', 'paid');
SELECT * FROM accidents_test.balance('parent 4');

-- ---- two_answers_one_refund ----
-- The refund call's answer and its callback both say "done", and 60 are booked twice.

SELECT accidents_test.pay('two answers');
SELECT * FROM accidents_test.refund('two answers', 'ta1', 40);
SELECT decision, state, refundable FROM pay_refund_transition(refund_no => 'ta1', to_state => 'succeeded', channel_txn => 'RT1', merchant => 'accidents');
SELECT * FROM accidents_test.refund_report('ta1', 'succeeded', 'RC1', 40, 'RT1');
SELECT * FROM accidents_test.refund_report('ta1', 'succeeded', 'RC1', 40, 'RT1');
SELECT * FROM accidents_test.refund_report('ta1', 'succeeded', NULL, 40);
-- Done by another transaction of the channel: perhaps twice. That is nobody's to guess.
SELECT * FROM accidents_test.refund_report('ta1', 'succeeded', 'RC2', 40, 'RT2');
SELECT * FROM accidents_test.balance('two answers');
SELECT amount_refunded FROM pay_payment WHERE pay_no::text = accidents_test.pay_no('two answers');
-- The same of a refund that the channel began: its second answer is not adopted once more.
SELECT * FROM accidents_test.refund_report('ta2', 'succeeded', 'RC3', 30, 'RT3', accidents_test.trade_no('two answers'));
SELECT * FROM accidents_test.refund_report('ta2', 'succeeded', 'RC4', 30, 'RT3', accidents_test.trade_no('two answers'));
SELECT * FROM accidents_test.refund_report('ta2', 'succeeded', 'RC3', 30, 'RT3', accidents_test.trade_no('two answers'));
SELECT * FROM accidents_test.balance('two answers');

-- ---- deduplicated_but_rolled_back ----
-- The message's id is kept (in Redis, or in a transaction of its own), the work is rolled back, and the channel's second delivery is dropped as known.

SELECT decision FROM accidents_test.prepay('rolled back');
BEGIN;
SELECT * FROM accidents_test.report('rolled back', 'paid', 'C1');
ROLLBACK;
SELECT test.states('accidents', 'rolled back');
-- A message is handled if and only if its event is there.
BEGIN;
SELECT decision FROM pay_query('rolled back', 'accidents');
SAVEPOINT work;
SELECT * FROM accidents_test.report('rolled back', 'paid', 'C1');
ROLLBACK TO work;
COMMIT;
SELECT * FROM accidents_test.report('rolled back', 'paid', 'C1');
SELECT * FROM accidents_test.report('rolled back', 'paid', 'C1');
-- The same of a refund and of its answer.
BEGIN;
SELECT * FROM accidents_test.refund('rolled back', 'rb1', 60);
ROLLBACK;
SELECT * FROM accidents_test.refund('rolled back', 'rb1', 60);
BEGIN;
SELECT * FROM accidents_test.refund_report('rb1', 'succeeded', 'RC1', 60);
ROLLBACK;
SELECT * FROM accidents_test.balance('rolled back');
SELECT * FROM accidents_test.refund_report('rb1', 'succeeded', 'RC1', 60);
SELECT * FROM accidents_test.refund_report('rb1', 'succeeded', 'RC1', 60);
SELECT * FROM accidents_test.balance('rolled back');

-- ---- and after all of them the books are right ----

SELECT count(*) AS orders, count(*) FILTER (WHERE collected <> needed + surplus) AS lost, count(*) FILTER (WHERE refunded + reserved > collected) AS too_much
FROM pay_balance WHERE merchant = 'accidents';

DROP SCHEMA accidents_test CASCADE;
