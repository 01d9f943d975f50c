-- Authorize, capture, void; closing and reversing, of an attempt and of a payment;
-- several attempts at once. What the channel does last is what happened.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA capture_test;

CREATE FUNCTION capture_test.pay_no(order_no text) RETURNS text LANGUAGE sql AS $$
	SELECT p.pay_no::text FROM pay_payment p WHERE p.merchant = 'capture' AND p.order_no = pay_no.order_no
$$;
CREATE FUNCTION capture_test.trade_no(order_no text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT a.trade_no::text FROM pay_payment p JOIN pay_attempt a USING (pay_no)
	WHERE p.merchant = 'capture' AND p.order_no = trade_no.order_no AND a.attempt = trade_no.attempt
$$;
CREATE FUNCTION capture_test.open(order_no text, request_id text DEFAULT 'R1', multi boolean DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => 'capture',
		channel => 'test', method => 'card', request_id => request_id, multi => multi)
$$;
-- The caller's own step, of an attempt; attempt 0: of the payment.
CREATE FUNCTION capture_test.step(order_no text, to_state text, amount bigint DEFAULT NULL, attempt integer DEFAULT 1, currency text DEFAULT NULL,
	OUT decision text, OUT state text, OUT attempt_state text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt_state
	FROM pay_transition(trade_no => CASE attempt WHEN 0 THEN capture_test.pay_no(order_no) ELSE capture_test.trade_no(order_no, attempt) END,
		to_state => to_state, amount => amount, currency => currency)
$$;
-- The channel's word; money is 100 CNY if nothing else is said.
CREATE FUNCTION capture_test.report(order_no text, reported text, amount bigint DEFAULT NULL, attempt integer DEFAULT 1, occurred_at timestamptz DEFAULT NULL,
	OUT decision text, OUT state text, OUT attempt_state text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt_state
	FROM pay_callback(channel => 'test', callback_id => NULL, trade_no => capture_test.trade_no(order_no, attempt), reported => reported,
		amount => CASE WHEN reported IN ('paid', 'authorized') THEN coalesce(amount, 100) ELSE amount END,
		currency => CASE WHEN reported IN ('paid', 'authorized') THEN 'CNY' END, occurred_at => occurred_at)
$$;
-- An order whose 100 CNY are authorized.
CREATE FUNCTION capture_test.authorize(order_no text) RETURNS text LANGUAGE sql AS $$
	SELECT capture_test.open(order_no);
	SELECT decision FROM capture_test.report(order_no, 'authorized');
$$;
CREATE FUNCTION capture_test.balance(order_no text, OUT state text, OUT needed bigint, OUT collected bigint, OUT surplus bigint, OUT reserved bigint,
	OUT refundable bigint, OUT to_close bigint)
LANGUAGE sql AS $$
	SELECT state::text, needed, collected, surplus, reserved, refundable, to_close
	FROM pay_balance b WHERE b.merchant = 'capture' AND b.order_no = balance.order_no
$$;
CREATE FUNCTION capture_test.attempts(order_no text, OUT attempt integer, OUT state text, OUT amount bigint, OUT amount_to_capture bigint, OUT amount_collected bigint)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT a.attempt, a.state::text, a.amount, a.amount_to_capture, a.amount_collected FROM pay_attempt a
	WHERE a.pay_no::text = capture_test.pay_no(order_no) ORDER BY a.attempt
$$;

-- ---- authorize and capture ----

-- All of it.
SELECT capture_test.authorize('A1');
SELECT test.states('capture', 'A1');
-- The money is held, not collected: the customer need not pay, nothing can be refunded.
SELECT decision, refundable FROM pay_query('A1', 'capture');
SELECT capture_test.open('A1', 'R2');
SELECT * FROM capture_test.balance('A1');
SELECT * FROM capture_test.step('A1', 'capturing');
SELECT * FROM capture_test.attempts('A1');
SELECT * FROM capture_test.report('A1', 'paid');
SELECT * FROM capture_test.attempts('A1');
SELECT * FROM capture_test.balance('A1');
-- Less: the rest is released. That much, and no more, is what must come, and what can go back.
SELECT capture_test.authorize('A2');
SELECT * FROM capture_test.step('A2', 'capturing', 60, currency => 'CNY');
SELECT * FROM capture_test.report('A2', 'paid', 100);
SELECT * FROM capture_test.report('A2', 'paid', 59);
SELECT * FROM capture_test.report('A2', 'paid', 60);
SELECT * FROM capture_test.attempts('A2');
SELECT amount, amount_collected, state FROM pay_payment WHERE merchant = 'capture' AND order_no = 'A2';
SELECT * FROM capture_test.balance('A2');
SELECT decision, refundable FROM pay_query('A2', 'capture');
SELECT test.sqlstate($$SELECT pay_refund(trade_no => capture_test.pay_no('A2'), refund_no => 'capture a2', amount => 61, reason => 'a test')$$) AS more_than_captured;
-- By the payment's number: its only open attempt. The transition may leave the amount out and means what was to be captured.
SELECT capture_test.authorize('A3');
SELECT * FROM capture_test.step('A3', 'capturing', 70, attempt => 0);
SELECT * FROM capture_test.step('A3', 'paid', attempt => 0);
SELECT * FROM capture_test.attempts('A3');
-- More than was authorized, or another currency: no.
SELECT capture_test.authorize('A4');
SELECT test.try($$SELECT capture_test.step('A4', 'capturing', 101)$$);
SELECT test.try($$SELECT capture_test.step('A4', 'capturing', 50, currency => 'USD')$$);
SELECT * FROM capture_test.attempts('A4');
-- One capture is asked for once: the step again is known; another amount is not, neither ours nor the channel's.
SELECT * FROM capture_test.step('A4', 'capturing', 60);
SELECT * FROM capture_test.step('A4', 'capturing', 60);
SELECT * FROM capture_test.step('A4', 'capturing');
SELECT test.try($$SELECT capture_test.step('A4', 'capturing', 61)$$);
SELECT * FROM capture_test.report('A4', 'capturing', 59);
SELECT * FROM capture_test.report('A4', 'capturing', 60);
SELECT * FROM capture_test.report('A4', 'capturing');
SELECT * FROM capture_test.attempts('A4');
-- What is being captured cannot be closed, voided by us; only its outcome can come.
SELECT test.sqlstate($$SELECT capture_test.step('A4', 'closing')$$) AS closing, test.sqlstate($$SELECT capture_test.step('A4', 'closed')$$) AS closed,
	test.sqlstate($$SELECT capture_test.step('A4', 'closing', attempt => 0)$$) AS payment_closing;
-- The channel did not: it is authorized as before, and may be captured again, for another amount.
-- (It says so of a time after the capture was asked for; what it said before that is known already.)
SELECT * FROM capture_test.report('A4', 'authorized');
SELECT * FROM capture_test.report('A4', 'authorized', occurred_at => clock_timestamp());
SELECT * FROM capture_test.step('A4', 'capturing', 80);
SELECT * FROM capture_test.report('A4', 'paid', 80);
SELECT * FROM capture_test.attempts('A4');
-- Refused by the channel: failed, and the order can be paid again.
SELECT capture_test.authorize('A5');
SELECT * FROM capture_test.step('A5', 'capturing');
SELECT * FROM capture_test.report('A5', 'failed');
SELECT capture_test.open('A5', 'R2');
-- Captured by the channel itself, without a word from us.
SELECT capture_test.authorize('A6');
SELECT * FROM capture_test.report('A6', 'paid');

-- ---- a capture whose outcome is lost is unknown, never captured twice ----

SELECT capture_test.authorize('B1');
SELECT * FROM capture_test.step('B1', 'capturing', 60);
SELECT * FROM capture_test.step('B1', 'unknown');
SELECT test.try($$SELECT capture_test.step('B1', 'capturing', 60)$$);
SELECT test.sqlstate($$SELECT capture_test.step('B1', 'capturing')$$) AS whole, test.sqlstate($$SELECT capture_test.step('B1', 'capturing', 40)$$) AS less,
	test.sqlstate($$SELECT capture_test.step('B1', 'capturing', 60, attempt => 0)$$) AS by_payment;
-- Nobody opens another attempt meanwhile.
SELECT capture_test.open('B1', 'R2');
-- The channel is still at it: it may say so. That is no leave to ask it again.
SELECT * FROM capture_test.report('B1', 'capturing');
SELECT * FROM capture_test.step('B1', 'unknown');
SELECT test.sqlstate($$SELECT capture_test.step('B1', 'capturing')$$);
SELECT * FROM capture_test.report('B1', 'capturing', 100);
SELECT * FROM capture_test.report('B1', 'paid', 100);
SELECT * FROM capture_test.report('B1', 'paid', 60);
SELECT * FROM capture_test.attempts('B1');
-- Or it says: authorized. Then it was not captured, and may be: for another amount, or for all of it.
SELECT capture_test.authorize('B2');
SELECT * FROM capture_test.step('B2', 'capturing');
SELECT * FROM capture_test.step('B2', 'unknown');
SELECT * FROM capture_test.report('B2', 'authorized', occurred_at => clock_timestamp());
SELECT * FROM capture_test.step('B2', 'capturing', 50);
SELECT * FROM capture_test.step('B2', 'unknown');
SELECT * FROM capture_test.report('B2', 'authorized', occurred_at => clock_timestamp());
SELECT * FROM capture_test.step('B2', 'capturing');
SELECT * FROM capture_test.attempts('B2');
SELECT * FROM capture_test.report('B2', 'paid');
-- One that became unknown before anybody asked for a capture may be captured.
SELECT capture_test.authorize('B3');
SELECT * FROM capture_test.step('B3', 'unknown');
SELECT * FROM capture_test.step('B3', 'capturing');

-- ---- void, and an authorization that lapses ----

-- Of the attempt: closing, then what the channel says; the order can be paid again.
SELECT capture_test.authorize('C1');
SELECT * FROM capture_test.step('C1', 'closing');
SELECT capture_test.open('C1', 'R2');
SELECT * FROM capture_test.report('C1', 'reversed');
SELECT capture_test.open('C1', 'R2');
SELECT test.states('capture', 'C1');
-- Of the payment: it ends, as its last attempt did.
SELECT capture_test.authorize('C2');
SELECT * FROM capture_test.step('C2', 'closing', attempt => 0);
SELECT * FROM capture_test.report('C2', 'reversed');
SELECT capture_test.open('C2', 'R2');
-- The void came too late: it was captured, and money that arrives while closing wins.
SELECT capture_test.authorize('C3');
SELECT * FROM capture_test.step('C3', 'closing');
SELECT test.sqlstate($$SELECT capture_test.step('C3', 'capturing')$$) AS capture_while_closing;
SELECT * FROM capture_test.report('C3', 'paid');
-- The void was refused: authorized as before.
SELECT capture_test.authorize('C4');
SELECT * FROM capture_test.step('C4', 'closing');
SELECT * FROM capture_test.report('C4', 'authorized');
SELECT * FROM capture_test.step('C4', 'capturing');
-- It lapses: the channel closes it, or calls it reversed or failed; nothing was collected, the order can be paid again.
SELECT s AS channel_says, capture_test.authorize('C lapse ' || s) AS authorized FROM unnest('{closed,reversed,failed}'::text[]) AS s;
SELECT s AS channel_says, r.*, capture_test.open('C lapse ' || s, 'R2') AS next FROM unnest('{closed,reversed,failed}'::text[]) AS s, capture_test.report('C lapse ' || s, s) AS r;
SELECT DISTINCT collected, surplus, to_close FROM pay_balance WHERE merchant = 'capture' AND order_no LIKE 'C lapse %';
-- After that, a capture is refused; and if the channel has captured all the same, the order that waits is paid.
SELECT test.sqlstate($$SELECT capture_test.step('C lapse closed', 'capturing')$$);
SELECT * FROM capture_test.report('C lapse closed', 'paid');
SELECT to_close FROM capture_test.balance('C lapse closed');

-- ---- closing and reversing ----

-- An attempt: the order stays payable. With the caller's word, or step by step with the channel's.
SELECT capture_test.open('D1');
SELECT * FROM capture_test.step('D1', 'closing');
SELECT * FROM capture_test.report('D1', 'paying');
SELECT * FROM capture_test.report('D1', 'closed');
SELECT capture_test.open('D1', 'R2');
SELECT * FROM capture_test.step('D1', 'reversed', attempt => 2);
SELECT capture_test.open('D1', 'R3');
SELECT test.states('capture', 'D1');
-- A payment: it ends when the channel's last word has come, not before.
SELECT capture_test.open('D2', 'R1', true), capture_test.open('D2', 'R2', true);
SELECT * FROM capture_test.step('D2', 'closing', attempt => 0);
SELECT test.states('capture', 'D2');
SELECT * FROM capture_test.report('D2', 'closed');
SELECT capture_test.open('D2', 'R3');
SELECT * FROM capture_test.report('D2', 'closed', attempt => 2);
SELECT capture_test.open('D2', 'R3');
-- Nobody was sure (unknown), it was closed nevertheless: the same.
SELECT capture_test.open('D3');
SELECT * FROM capture_test.step('D3', 'unknown');
SELECT * FROM capture_test.step('D3', 'closing', attempt => 0);
SELECT * FROM capture_test.step('D3', 'closed', attempt => 0);
SELECT test.states('capture', 'D3');
-- The closing itself has no known outcome: unknown, still to end, and asked about.
SELECT capture_test.open('D4');
SELECT * FROM capture_test.step('D4', 'closing', attempt => 0);
SELECT * FROM capture_test.step('D4', 'unknown');
SELECT capture_test.open('D4', 'R2');
SELECT * FROM capture_test.report('D4', 'closed');
-- Money while closing wins: of an attempt, of a payment, of one of several.
SELECT capture_test.open('D5');
SELECT * FROM capture_test.step('D5', 'closing');
SELECT * FROM capture_test.report('D5', 'paid');
SELECT capture_test.open('D6');
SELECT * FROM capture_test.step('D6', 'closing', attempt => 0);
SELECT * FROM capture_test.report('D6', 'paid');
SELECT * FROM capture_test.balance('D6');
SELECT capture_test.open('D7', 'R1', true), capture_test.open('D7', 'R2', true);
SELECT * FROM capture_test.step('D7', 'closing', attempt => 0);
SELECT * FROM capture_test.report('D7', 'paid', attempt => 2);
SELECT * FROM capture_test.balance('D7');
SELECT * FROM capture_test.report('D7', 'closed');
SELECT to_close FROM capture_test.balance('D7');
-- Money after closed: of an attempt, the order waits for it, also beside a new attempt; of a payment it is surplus.
SELECT capture_test.open('D8');
SELECT * FROM capture_test.step('D8', 'closed');
SELECT capture_test.open('D8', 'R2');
SELECT * FROM capture_test.report('D8', 'paid');
SELECT test.states('capture', 'D8');
SELECT * FROM capture_test.balance('D8');
SELECT s AS ended, capture_test.open('D9 ' || s) AS open FROM unnest('{closed,reversed}'::text[]) AS s;
SELECT s AS ended, e.* FROM unnest('{closed,reversed}'::text[]) AS s, capture_test.step('D9 ' || s, s, attempt => 0) AS e;
SELECT s AS ended, r.* FROM unnest('{closed,reversed}'::text[]) AS s, capture_test.report('D9 ' || s, 'paid') AS r;
SELECT order_no, b.* FROM unnest('{D9 closed,D9 reversed}'::text[]) AS order_no, capture_test.balance(order_no) AS b;
-- A channel that closes by itself: the timeout's notification, and what is revoked at the till.
SELECT capture_test.open('E1');
SELECT * FROM capture_test.report('E1', 'closed');
SELECT capture_test.open('E1', 'R2');
SELECT * FROM capture_test.report('E1', 'reversed', attempt => 2);
SELECT * FROM capture_test.report('E1', 'reversed', attempt => 2);
SELECT * FROM capture_test.report('E1', 'closed', attempt => 2);
-- The order was asked to end, or is past its time: the channel's closing ends it.
SELECT capture_test.open('E2');
UPDATE pay_payment SET valid_until = now() - interval '1 second' WHERE merchant = 'capture' AND order_no = 'E2';
SELECT * FROM capture_test.report('E2', 'closed');
SELECT capture_test.open('E3');
SELECT * FROM capture_test.step('E3', 'closing', attempt => 0);
SELECT * FROM capture_test.report('E3', 'reversed');
-- It closed because it was paid and given back at the till: first the money, then that is over for good.
SELECT capture_test.open('E4');
SELECT * FROM capture_test.report('E4', 'paid');
SELECT * FROM capture_test.report('E4', 'reversed');
-- But the money may have been given back: somebody must look. (Our own step there is none.)
SELECT kind, about_money, attempt, reported FROM pay_review WHERE pay_no::text = capture_test.pay_no('E4');
SELECT test.sqlstate($$SELECT capture_test.step('E4', 'reversed')$$);
SELECT decision, refundable FROM pay_query('E4', 'capture');
SELECT test.states('capture', 'E4');

-- ---- a surplus authorization: void it ----

SELECT capture_test.open('F1', 'R1', true), capture_test.open('F1', 'R2', true);
SELECT * FROM capture_test.report('F1', 'paid', attempt => 2);
SELECT to_close FROM capture_test.balance('F1');
SELECT * FROM capture_test.report('F1', 'authorized');
-- Nothing was collected: no refund; what is open must be closed, and is not forgotten.
SELECT count(*) AS refunds FROM pay_refund WHERE pay_no::text = capture_test.pay_no('F1');
SELECT * FROM capture_test.balance('F1');
SELECT test.try($$SELECT capture_test.step('F1', 'capturing')$$);
SELECT * FROM capture_test.step('F1', 'closing');
SELECT to_close FROM capture_test.balance('F1');
SELECT * FROM capture_test.report('F1', 'reversed');
SELECT to_close FROM capture_test.balance('F1');
-- It was captured all the same: surplus once more, and now there is money to give back.
SELECT capture_test.open('F2', 'R1', true), capture_test.open('F2', 'R2', true);
SELECT * FROM capture_test.report('F2', 'paid', attempt => 2);
SELECT * FROM capture_test.report('F2', 'authorized');
SELECT * FROM capture_test.step('F2', 'closing');
SELECT * FROM capture_test.report('F2', 'paid');
SELECT * FROM capture_test.balance('F2');
SELECT attempt, kind, state, amount FROM pay_refund WHERE pay_no::text = capture_test.pay_no('F2');
-- One that was being captured when another won: its money is surplus, its amount what it captured.
SELECT capture_test.open('F3', 'R1', true), capture_test.open('F3', 'R2', true);
SELECT * FROM capture_test.report('F3', 'authorized');
SELECT * FROM capture_test.step('F3', 'capturing', 60);
SELECT * FROM capture_test.report('F3', 'paid', attempt => 2);
SELECT * FROM capture_test.report('F3', 'paid', 60);
SELECT * FROM capture_test.balance('F3');

-- A superuser's own UPDATE is no other way: what is authorized for nobody is to be closed.
SELECT capture_test.open('F4');
SELECT * FROM capture_test.step('F4', 'closed', attempt => 0);
UPDATE pay_attempt SET state = 'authorized' WHERE trade_no::text = capture_test.trade_no('F4');
SELECT decision, attempt_before, attempt_after, payment_after FROM pay_history(capture_test.pay_no('F4')) WHERE source = 'update';
SELECT * FROM capture_test.balance('F4');

-- The payment paid by hand takes its winner along: what the channel then says is known.
SELECT capture_test.open('F5');
UPDATE pay_payment SET state = 'paid', winner = 1, amount_collected = 100 WHERE pay_no::text = capture_test.pay_no('F5');
SELECT * FROM capture_test.balance('F5');
SELECT * FROM capture_test.report('F5', 'paid');
SELECT * FROM capture_test.balance('F5');

-- Both by hand, the payment first: the attempt is paid already.
SELECT capture_test.open('F6');
UPDATE pay_payment SET state = 'paid', winner = 1, amount_collected = 100 WHERE pay_no::text = capture_test.pay_no('F6');
UPDATE pay_attempt SET state = 'paid', amount_collected = 100 WHERE trade_no::text = capture_test.trade_no('F6');
SELECT source, attempt, decision, payment_before, payment_after, attempt_before, attempt_after FROM pay_history(capture_test.pay_no('F6')) WHERE source = 'update';
SELECT * FROM capture_test.balance('F6');

-- The channel says another amount than was written by hand: a person must look. What was collected is a fact, and its only money is no surplus.
SELECT capture_test.open('F7');
UPDATE pay_payment SET state = 'paid', winner = 1, amount_collected = 100 WHERE pay_no::text = capture_test.pay_no('F7');
SELECT * FROM capture_test.report('F7', 'paid', 90);
SELECT v AS verdict, split_part(test.try(format('SELECT decision || %L || attempt_state FROM pay_review_resolve(%s, %L, %L)', ', ', review_id, v, 'a test')), ' | ', 1) LIKE a AS as_designed
FROM pay_review, (VALUES (1, 'refund', 'PY409 %'), (2, 'accept', 'PY409 %'), (3, 'dismiss', 'applied, paid')) AS v (n, v, a) WHERE pay_no::text = capture_test.pay_no('F7') ORDER BY n;
SELECT * FROM capture_test.balance('F7');

-- ---- several at once (multi) ----

SELECT capture_test.open('G1', 'R' || n, true) FROM generate_series(1, 4) AS n;
-- Failures of some do not fail the payment.
SELECT * FROM capture_test.report('G1', 'failed');
SELECT * FROM capture_test.report('G1', 'unknown', attempt => 2);
SELECT test.states('capture', 'G1');
SELECT to_close FROM capture_test.balance('G1');
-- The first success wins; the others are to be closed, and nobody pays through them any more.
SELECT decision, credential FROM pay_credential(trade_no => capture_test.trade_no('G1', 4), credential => 'prepay_id=4', valid_for => '1 hour');
SELECT * FROM capture_test.report('G1', 'paid', attempt => 3);
SELECT to_close FROM capture_test.balance('G1');
SELECT decision, attempt, credential FROM pay_query('G1', 'capture');
SELECT decision, credential FROM pay_credential(trade_no => capture_test.trade_no('G1', 4), credential => 'prepay_id=4', valid_for => '1 hour');
SELECT capture_test.open('G1', 'R4');
-- They are not forgotten until the channel says that they are over.
SELECT * FROM capture_test.step('G1', 'closing', attempt => 2);
SELECT * FROM capture_test.step('G1', 'unknown', attempt => 4);
SELECT to_close FROM capture_test.balance('G1');
SELECT * FROM capture_test.report('G1', 'closed', attempt => 2);
SELECT to_close FROM capture_test.balance('G1');
-- Each further success is surplus, of those that had failed too.
SELECT * FROM capture_test.report('G1', 'paid', attempt => 4);
SELECT * FROM capture_test.report('G1', 'paid');
SELECT * FROM capture_test.report('G1', 'paid', attempt => 2);
SELECT test.states('capture', 'G1');
SELECT * FROM capture_test.balance('G1');
SELECT attempt, kind, state, amount FROM pay_refund WHERE pay_no::text = capture_test.pay_no('G1') ORDER BY attempt;
-- Two are authorized: one is captured, and the other waits for its outcome, also while that is unknown.
SELECT capture_test.open('G3', 'R1', true), capture_test.open('G3', 'R2', true);
SELECT n AS attempt, r.* FROM generate_series(1, 2) AS n, capture_test.report('G3', 'authorized', attempt => n) AS r;
SELECT * FROM capture_test.step('G3', 'capturing');
SELECT test.try($$SELECT capture_test.step('G3', 'capturing', attempt => 2)$$);
SELECT * FROM capture_test.step('G3', 'unknown');
SELECT test.sqlstate($$SELECT capture_test.step('G3', 'capturing', attempt => 2)$$);
SELECT * FROM capture_test.report('G3', 'failed');
SELECT * FROM capture_test.step('G3', 'capturing', attempt => 2);
SELECT * FROM capture_test.report('G3', 'paid', attempt => 2);
-- What the channel does by itself is what happened: the first money wins, the other goes back.
SELECT capture_test.open('G4', 'R1', true), capture_test.open('G4', 'R2', true);
SELECT n AS attempt, r.* FROM generate_series(1, 2) AS n, capture_test.report('G4', 'authorized', attempt => n) AS r;
SELECT * FROM capture_test.step('G4', 'capturing');
SELECT * FROM capture_test.report('G4', 'capturing', attempt => 2);
SELECT * FROM capture_test.report('G4', 'paid', attempt => 2);
SELECT * FROM capture_test.report('G4', 'paid');
SELECT * FROM capture_test.balance('G4');
-- All fail: the payment has failed, and can be paid again.
SELECT capture_test.open('G2', 'R' || n, true) FROM generate_series(1, 2) AS n;
SELECT r.* FROM generate_series(1, 2) AS n, capture_test.report('G2', 'failed', attempt => n) AS r;
SELECT capture_test.open('G2', 'R3');

-- ---- the books ----

SELECT count(*) AS orders, count(*) FILTER (WHERE collected <> needed + surplus OR refunded + reserved > collected) AS wrong,
	count(*) FILTER (WHERE to_close > 0 AND state NOT IN ('paid', 'closed', 'reversed')) AS closes_what_it_needs
FROM pay_balance WHERE merchant = 'capture';
-- A payment's numbers, as the view finds its attempts: all of them, in their order.
SELECT count(*) AS payments, count(*) FILTER (WHERE pay_trade_nos(pay_no, routes) IS DISTINCT FROM numbers) AS wrong
FROM pay_payment JOIN (SELECT pay_no, array_agg(trade_no ORDER BY attempt) AS numbers FROM pay_attempt GROUP BY pay_no) AS a USING (pay_no) WHERE merchant = 'capture';

DROP SCHEMA capture_test CASCADE;
