-- Reports: one rule says what a callback or a transition does to an attempt and
-- its payment, whoever brings it.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA reports_test;

CREATE FUNCTION reports_test.pay_no(order_no text) RETURNS uuid LANGUAGE sql AS $$
	SELECT pay_no FROM pay_payment p WHERE p.merchant = 'reports' AND p.order_no = pay_no.order_no
$$;
CREATE FUNCTION reports_test.trade_no(order_no text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT a.trade_no::text FROM pay_attempt a WHERE a.pay_no = reports_test.pay_no(order_no) AND a.attempt = trade_no.attempt
$$;
-- Opens an attempt; gives nothing back, prepay has tests of its own.
CREATE FUNCTION reports_test.open(order_no text, request_id text DEFAULT 'R1', multi boolean DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => 'reports',
		channel => 'test', method => 'test', request_id => request_id, multi => multi)
$$;
-- A callback of the channel test, and what the database looks like afterwards.
CREATE FUNCTION reports_test.callback(order_no text, callback_id text, reported text, amount bigint DEFAULT NULL, currency text DEFAULT NULL,
	channel_txn text DEFAULT NULL, attempt integer DEFAULT 1, channel text DEFAULT 'test', occurred_at timestamptz DEFAULT NULL,
	OUT decision text, OUT state text, OUT attempt_state text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt_state
	FROM pay_callback(channel => channel, callback_id => callback_id, trade_no => reports_test.trade_no(order_no, attempt),
		reported => reported, amount => amount, currency => currency, channel_txn => channel_txn, occurred_at => occurred_at)
$$;
CREATE FUNCTION reports_test.transition(order_no text, to_state text, request_id text DEFAULT NULL, amount bigint DEFAULT NULL,
	currency text DEFAULT NULL, channel_txn text DEFAULT NULL, reason text DEFAULT NULL, attempt integer DEFAULT 1,
	OUT decision text, OUT state text, OUT attempt_state text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt_state
	FROM pay_transition(trade_no => reports_test.trade_no(order_no, attempt), to_state => to_state, request_id => request_id,
		amount => amount, currency => currency, channel_txn => channel_txn, reason => reason)
$$;
CREATE FUNCTION reports_test.history(order_no text, OUT seq integer, OUT source text, OUT message_id text, OUT attempt integer, OUT reported text,
	OUT decision text, OUT payment text, OUT attempt_step text, OUT amount bigint, OUT channel_txn text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT seq, source, message_id, attempt, reported, decision, concat_ws('>', payment_before, payment_after),
		concat_ws('>', attempt_before, attempt_after), amount, channel_txn
	FROM pay_history(reports_test.pay_no(order_no)::text)
$$;
CREATE FUNCTION reports_test.reviews(order_no text, OUT kind text, OUT about_money boolean, OUT attempt integer, OUT reported text, OUT amount bigint,
	OUT currency text, OUT channel_txn text, OUT source text, OUT verdict text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT kind, about_money, attempt, reported, amount, currency, channel_txn, source, verdict
	FROM pay_review WHERE pay_no = reports_test.pay_no(order_no) ORDER BY review_id
$$;

-- What goes back, and what refund that is.
CREATE FUNCTION reports_test.refunds(order_no text, OUT kind text, OUT attempt integer, OUT state text, OUT amount bigint, OUT refund_no text, OUT reason text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT kind, attempt, state::text, amount,
		regexp_replace(replace(refund_no, replace(reports_test.trade_no(order_no, attempt), '-', ''), '<trade_no>'), 'x[0-9a-f]{16}$', 'x<transaction>'),
		regexp_replace(reason, 'review \d+', 'review <id>')
	FROM pay_refund r WHERE pay_no = reports_test.pay_no(order_no) ORDER BY attempt, requested_at
$$;
-- The money of a payment, counted.
CREATE FUNCTION reports_test.balance(order_no text, OUT state text, OUT needed bigint, OUT collected bigint, OUT surplus bigint, OUT reserved bigint,
	OUT refunded bigint, OUT refundable bigint, OUT to_close integer)
LANGUAGE sql AS $$
	SELECT state::text, needed, collected, surplus, reserved, refunded, refundable, to_close
	FROM pay_balance WHERE pay_no = reports_test.pay_no(balance.order_no)
$$;

-- ---- applied, and then everything that comes twice or too late ----

SELECT reports_test.open('A1');
SELECT decision, state, attempt, attempt_state, channel, method, amount, currency, refundable,
	trade_no = replace(reports_test.trade_no('A1'), '-', '') AS its_number
FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => reports_test.trade_no('A1'), reported => 'paid',
	amount => 100, currency => 'CNY', channel_txn => 'T1', occurred_at => '2026-01-01 12:00 UTC', payload => '{"event": 1}');
SELECT state, winner, amount_collected, amount_refunded FROM pay_payment WHERE pay_no = reports_test.pay_no('A1');
SELECT state, amount_collected, channel_txn FROM pay_attempt WHERE pay_no = reports_test.pay_no('A1');
SELECT seq, source, message_id, reported, decision, amount, currency, channel_txn, occurred_at AT TIME ZONE 'UTC' AS occurred_at,
	actor = current_user AS actor, session_actor = session_user AS session_actor, payload
FROM pay_history(reports_test.trade_no('A1')) WHERE seq = 2;
-- replayed: this very message was handled; nothing is written, whatever else it brings.
CREATE TEMP TABLE before AS SELECT test.fingerprint();
SELECT * FROM reports_test.callback('A1', 'C1', 'paid', 100, 'CNY', 'T1');
SELECT decision, state, attempt_state FROM pay_callback(channel => 'test', callback_id => 'C1',
	trade_no => replace(upper(reports_test.trade_no('A1')), '-', ''), reported => 'paid', amount => 100, currency => 'CNY', payload => '{"event": 2}');
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before;
-- unchanged: known already, by another message, by a query's answer, by the caller's own step.
SELECT * FROM reports_test.callback('A1', 'C2', 'paid', 100, 'CNY', 'T1');
SELECT * FROM reports_test.callback('A1', NULL, 'paid', 100, 'CNY');
SELECT * FROM reports_test.callback('A1', NULL, 'paid', 100, 'CNY');
SELECT * FROM reports_test.transition('A1', 'paid');
-- stale: older than what is known.
SELECT * FROM reports_test.callback('A1', 'C3', 'failed');
SELECT * FROM reports_test.callback('A1', 'C4', 'closing');
SELECT * FROM reports_test.callback('A1', 'C5', 'unknown');
SELECT * FROM reports_test.callback('A1', 'C6', 'authorized', 100, 'CNY');
SELECT * FROM reports_test.transition('A1', 'authorized');
-- The caller's own step is not news: an illegal one is an error, naming the legal ones.
SELECT test.try($$SELECT reports_test.transition('A1', 'failed')$$);
SELECT test.try($$SELECT reports_test.transition('A1', 'paying')$$);
SELECT * FROM reports_test.history('A1');
SELECT * FROM reports_test.reviews('A1');

-- ---- message ids ----

-- Known id, other content: news without an id. Decided, and put up for review.
SELECT reports_test.open('B1');
SELECT * FROM reports_test.callback('B1', 'C1', 'unknown');
SELECT * FROM reports_test.callback('B1', 'C1', 'paid', 100, 'CNY');
SELECT * FROM reports_test.callback('B1', 'C1', 'unknown');
SELECT * FROM reports_test.callback('B1', 'C1', 'paid', 100, 'CNY');
SELECT * FROM reports_test.callback('B1', 'C1', 'failed');
SELECT * FROM reports_test.history('B1');
SELECT * FROM reports_test.reviews('B1');
-- replayed answers with the states of the first answer.
SELECT reports_test.open('B2');
SELECT * FROM reports_test.callback('B2', 'C1', 'unknown');
SELECT * FROM reports_test.callback('B2', 'C2', 'paid', 100, 'CNY');
SELECT * FROM reports_test.callback('B2', 'C1', 'unknown');
-- Ids are unique per payment, channel and function: nobody burns another's.
SELECT reports_test.open('B3');
SELECT * FROM reports_test.transition('B3', 'unknown', request_id => 'C1');
SELECT * FROM reports_test.callback('B3', 'C1', 'failed');
SELECT * FROM reports_test.transition('B3', 'unknown', request_id => 'C1');
SELECT * FROM reports_test.history('B3');
-- The same for a transition: same request replayed, other content conflicting.
SELECT reports_test.open('B4');
SELECT * FROM reports_test.transition('B4', 'failed', request_id => 'Q1', reason => 'no funds');
SELECT * FROM reports_test.transition('B4', 'failed', request_id => 'Q1');
SELECT * FROM reports_test.transition('B4', 'paid', request_id => 'Q1');
SELECT * FROM reports_test.history('B4');
SELECT kind, about_money, reported, message_id FROM pay_review WHERE pay_no = reports_test.pay_no('B4');
-- One attempt's id again for another attempt of the same payment is other content.
SELECT reports_test.open('B6', 'R1', true), reports_test.open('B6', 'R2', true);
SELECT * FROM reports_test.callback('B6', 'C1', 'failed');
SELECT * FROM reports_test.callback('B6', 'C1', 'failed', attempt => 2);
SELECT * FROM reports_test.history('B6');

-- ---- mismatch: logged, put up for review, no state changed ----

SELECT reports_test.open('D1');
SELECT * FROM reports_test.callback('D1', 'C1', 'paid', 99, 'CNY', 'T1');
SELECT * FROM reports_test.callback('D1', 'C2', 'paid', 101, 'CNY', 'T1');
SELECT * FROM reports_test.callback('D1', 'C3', 'paid', 100, 'USD', 'T1');
SELECT * FROM reports_test.callback('D1', 'C4', 'authorized', 99, 'CNY');
SELECT * FROM reports_test.callback('D1', 'C5', 'paid', 100, 'CNY', 'T1', channel => 'alipay');
SELECT * FROM reports_test.callback('D1', 'C6', 'failed', channel => 'alipay');
SELECT * FROM reports_test.transition('D1', 'paid', amount => 99);
SELECT * FROM reports_test.transition('D1', 'paid', currency => 'USD');
-- The same again: the message replayed, the news of it one more event, the review the same one.
SELECT * FROM reports_test.callback('D1', 'C1', 'paid', 99, 'CNY', 'T1');
SELECT * FROM reports_test.callback('D1', 'C7', 'paid', 99, 'CNY', 'T1');
SELECT * FROM reports_test.history('D1');
SELECT * FROM reports_test.reviews('D1');
SELECT test.states('reports', 'D1');
-- What fits is applied all the same.
SELECT * FROM reports_test.callback('D1', 'C8', 'paid', 100, 'CNY', 'T1');
-- paid again, but by another transaction of the channel: money twice.
SELECT * FROM reports_test.callback('D1', 'C9', 'paid', 100, 'CNY', 'T2');
SELECT * FROM reports_test.callback('D1', 'C10', 'paid', 99, 'CNY', 'T1');
SELECT kind, about_money, amount, channel_txn FROM reports_test.reviews('D1') OFFSET 8;
-- More captured than was authorized, or in another currency: the channel's word is a mismatch, one's own step an error.
SELECT reports_test.open('D3');
SELECT * FROM reports_test.transition('D3', 'authorized');
SELECT * FROM reports_test.callback('D3', 'C1', 'capturing', 101, 'CNY');
SELECT * FROM reports_test.callback('D3', 'C2', 'capturing', 100, 'USD');
SELECT test.try($$SELECT reports_test.transition('D3', 'capturing', amount => 101)$$);
SELECT test.try($$SELECT reports_test.transition('D3', 'capturing', currency => 'USD')$$);
SELECT test.states('reports', 'D3');
-- Less may be captured; then that much, and no more, is what must come.
SELECT * FROM reports_test.transition('D3', 'capturing', amount => 60);
SELECT * FROM reports_test.callback('D3', 'C3', 'paid', 100, 'CNY');
SELECT * FROM reports_test.callback('D3', 'C4', 'paid', 60, 'CNY');
SELECT state, amount, amount_collected FROM pay_payment WHERE pay_no = reports_test.pay_no('D3');
SELECT amount_to_capture, amount_collected FROM pay_attempt WHERE pay_no = reports_test.pay_no('D3');
-- Without an amount all of it is captured. What became of that nobody knows: it is not captured a second time.
SELECT reports_test.open('D4');
SELECT * FROM reports_test.transition('D4', 'authorized');
SELECT * FROM reports_test.transition('D4', 'capturing');
SELECT amount_to_capture FROM pay_attempt WHERE pay_no = reports_test.pay_no('D4');
SELECT * FROM reports_test.transition('D4', 'unknown');
SELECT test.try($$SELECT reports_test.transition('D4', 'capturing')$$);
-- Unless the channel is asked, and says that it was not; or that it is at it.
SELECT * FROM reports_test.callback('D4', 'C1', 'capturing');
SELECT * FROM reports_test.callback('D4', 'C2', 'unknown');
SELECT * FROM reports_test.callback('D4', 'C3', 'authorized', 100, 'CNY');
SELECT * FROM reports_test.callback('D4', NULL, 'authorized', 100, 'CNY', occurred_at => clock_timestamp());
SELECT * FROM reports_test.transition('D4', 'capturing', amount => 70);
SELECT * FROM reports_test.callback('D4', 'C4', 'paid', 70, 'CNY');
SELECT amount_to_capture, amount_collected FROM pay_attempt WHERE pay_no = reports_test.pay_no('D4');
-- A callback must say how much; a transition means the attempt's own amount.
SELECT reports_test.open('D2');
SELECT test.try($$SELECT reports_test.callback('D2', 'C1', 'paid', 100)$$);
SELECT test.try($$SELECT reports_test.callback('D2', 'C1', 'paid', NULL, 'CNY')$$);
SELECT test.try($$SELECT reports_test.callback('D2', 'C1', 'authorized')$$);
SELECT * FROM reports_test.transition('D2', 'authorized');
SELECT * FROM reports_test.transition('D2', 'paid', amount => 100);

-- ---- late and second money ----

-- Late success after failure: the order waits for it, so it wins.
SELECT reports_test.open('E1');
SELECT * FROM reports_test.callback('E1', 'C1', 'failed');
SELECT * FROM reports_test.callback('E1', 'C2', 'paid', 100, 'CNY', 'T1');
SELECT test.states('reports', 'E1');
SELECT * FROM reports_test.reviews('E1');
-- Also when another attempt is open by now; and what that one brings is surplus.
SELECT reports_test.open('E2');
SELECT * FROM reports_test.callback('E2', 'C1', 'failed');
SELECT reports_test.open('E2', 'R2');
SELECT decision, credential FROM pay_credential(trade_no => reports_test.trade_no('E2', 2), credential => 'prepay_id=2', valid_for => '1 hour');
SELECT * FROM reports_test.callback('E2', 'C2', 'paid', 100, 'CNY', 'T1');
SELECT test.states('reports', 'E2');
-- Nobody is to pay through it any more, though it is still paying: even a credential that was kept is stale.
SELECT decision, credential IS NULL AS nothing_to_hand_out FROM pay_credential(trade_no => reports_test.trade_no('E2', 2), credential => 'prepay_id=2', valid_for => '1 hour');
SELECT * FROM reports_test.callback('E2', 'C3', 'paid', 100, 'CNY', 'T2', attempt => 2);
SELECT test.states('reports', 'E2');
-- Told again it is known, and there is one refund, not two; no person need look at it.
SELECT * FROM reports_test.callback('E2', 'C4', 'paid', 100, 'CNY', 'T2', attempt => 2);
SELECT * FROM reports_test.callback('E2', 'C3', 'paid', 100, 'CNY', 'T2', attempt => 2);
SELECT * FROM reports_test.history('E2');
SELECT * FROM reports_test.refunds('E2');
SELECT * FROM reports_test.reviews('E2');
SELECT * FROM reports_test.balance('E2');
SELECT winner, amount_collected, amount_refunded FROM pay_payment WHERE pay_no = reports_test.pay_no('E2');
SELECT attempt, state, amount_collected, amount_reserved, amount_refunded FROM pay_attempt WHERE pay_no = reports_test.pay_no('E2') ORDER BY attempt;
-- The loser may also end without money.
SELECT reports_test.open('E3', 'R1', true), reports_test.open('E3', 'R2', true);
SELECT * FROM reports_test.callback('E3', 'C1', 'paid', 100, 'CNY', attempt => 2);
SELECT * FROM reports_test.callback('E3', 'C2', 'closed');
SELECT test.states('reports', 'E3');

-- Money after the payment was closed: recorded, surplus, and it stays closed. The answer names the refund, the first one and the repeated one.
SELECT reports_test.open('E4');
SELECT decision, state FROM pay_transition(trade_no => reports_test.pay_no('E4')::text, to_state => 'closed', reason => 'order cancelled');
SELECT decision, state, attempt_state, refundable, refund_no = replace(reports_test.trade_no('E4'), '-', '') || 's' AS its_refund, detail
FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => reports_test.trade_no('E4'), reported => 'paid', amount => 100, currency => 'CNY', channel_txn => 'T1');
SELECT decision, refund_no = replace(reports_test.trade_no('E4'), '-', '') || 's' AS its_refund
FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => reports_test.trade_no('E4'), reported => 'paid', amount => 100, currency => 'CNY', channel_txn => 'T1');
SELECT * FROM reports_test.callback('E4', 'C2', 'paid', 100, 'CNY', 'T1');
SELECT test.states('reports', 'E4');
SELECT * FROM reports_test.refunds('E4');
SELECT * FROM reports_test.reviews('E4');
SELECT * FROM reports_test.balance('E4');
SELECT state, winner, amount_collected, end_requested FROM pay_payment WHERE pay_no = reports_test.pay_no('E4');
-- Only authorized: surplus too. Nothing is refunded, it is to be voided; and must not be captured.
SELECT reports_test.open('E5');
SELECT decision, state FROM pay_transition(trade_no => reports_test.pay_no('E5')::text, to_state => 'reversed');
SELECT decision, state, attempt_state, refund_no, detail FROM pay_callback(channel => 'test', callback_id => 'C1',
	trade_no => reports_test.trade_no('E5'), reported => 'authorized', amount => 100, currency => 'CNY', channel_txn => 'T1');
SELECT * FROM reports_test.balance('E5');
SELECT test.try($$SELECT reports_test.transition('E5', 'capturing')$$);
BEGIN;
SELECT * FROM reports_test.transition('E5', 'closing');
SELECT * FROM reports_test.callback('E5', 'C3', 'reversed');
SELECT * FROM reports_test.balance('E5');
ROLLBACK;
-- The channel captured it all the same: that is money, and goes back.
SELECT * FROM reports_test.callback('E5', 'C2', 'paid', 100, 'CNY', 'T1');
SELECT test.states('reports', 'E5');
SELECT * FROM reports_test.refunds('E5');
SELECT * FROM reports_test.reviews('E5');
SELECT * FROM reports_test.balance('E5');
-- Asked to end but not over: the order still waits for the money on its way.
SELECT reports_test.open('E6');
SELECT decision, state FROM pay_transition(trade_no => reports_test.pay_no('E6')::text, to_state => 'closing');
SELECT * FROM reports_test.callback('E6', 'C1', 'paid', 100, 'CNY');
-- And if none comes it closes, not fails.
SELECT reports_test.open('E7');
SELECT decision, state FROM pay_transition(trade_no => reports_test.pay_no('E7')::text, to_state => 'closing');
SELECT * FROM reports_test.callback('E7', 'C1', 'failed');
SELECT * FROM reports_test.history('E7');

-- ---- a step of the whole payment ----

-- One event per attempt that changes, the payment rolled up after each.
SELECT reports_test.open('F1', 'R1', true), reports_test.open('F1', 'R2', true), reports_test.open('F1', 'R3', true);
SELECT * FROM reports_test.transition('F1', 'failed', attempt => 2);
SELECT decision, state FROM pay_transition(trade_no => reports_test.pay_no('F1')::text, to_state => 'closed', reason => 'order cancelled', request_id => 'Q1');
SELECT decision, state FROM pay_transition(trade_no => reports_test.pay_no('F1')::text, to_state => 'closed', reason => 'order cancelled', request_id => 'Q1');
SELECT decision, state FROM pay_transition(trade_no => reports_test.pay_no('F1')::text, to_state => 'closed');
SELECT * FROM reports_test.history('F1') OFFSET 3;
SELECT DISTINCT reason FROM pay_history(reports_test.pay_no('F1')::text) WHERE reported = 'closed' AND reason IS NOT NULL;
-- With several open, which one is paid must be said.
SELECT reports_test.open('F2', 'R1', true), reports_test.open('F2', 'R2', true);
SELECT test.try($$SELECT pay_transition(trade_no => reports_test.pay_no('F2')::text, to_state => 'paid')$$);
SELECT * FROM reports_test.transition('F2', 'failed');
SELECT decision, attempt, state FROM pay_transition(trade_no => reports_test.pay_no('F2')::text, to_state => 'paid');

-- ---- unmatched: no such attempt ----

-- For a person to look at, and decided anew when it is sent again.
TRUNCATE before;
SELECT decision, pay_no, state, attempt, attempt_state FROM pay_callback(channel => 'test', callback_id => 'reports 1', trade_no => 'order 4711',
	reported => 'paid', amount => 100, currency => 'CNY', payload => '{"event": 1}');
INSERT INTO before SELECT test.fingerprint();
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'reports 1', trade_no => 'order 4711',
	reported => 'paid', amount => 100, currency => 'CNY', payload => '{"event": 1}');
SELECT fingerprint = test.fingerprint() AS one_review FROM before;
SELECT decision FROM pay_callback(channel => 'alipay', callback_id => 'reports 1', trade_no => 'order 4711',
	reported => 'paid', amount => 100, currency => 'CNY');
SELECT kind, pay_no, about_money, source, message_id, trade_no, reported, amount, currency, payload, seq
FROM pay_review WHERE message_id = 'reports 1' ORDER BY review_id;
SELECT decision FROM pay_review_resolve((SELECT review_id FROM pay_review WHERE message_id = 'reports 1' AND source = 'callback:test'), 'dismiss', 'another shop''s');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'reports 1', trade_no => 'order 4711',
	reported => 'paid', amount => 100, currency => 'CNY');
SELECT verdict FROM pay_review WHERE message_id = 'reports 1' AND source = 'callback:test' ORDER BY review_id;
-- The right payment but no such attempt of it is unmatched too: its money is nobody's.
SELECT reports_test.open('U1');
SELECT decision, state FROM pay_callback(channel => 'test', callback_id => 'reports 2', reported => 'paid', amount => 100, currency => 'CNY',
	trade_no => overlay(reports_test.trade_no('U1') PLACING '82' FROM 20));
SELECT test.states('reports', 'U1');

-- ---- credentials ----

SELECT reports_test.open('G1');
SELECT decision, credential, credential_expires_at IS NOT NULL AS expires
FROM pay_credential(trade_no => reports_test.trade_no('G1'), credential => 'prepay_id=1', valid_for => '1 hour');
SELECT decision, credential FROM pay_credential(trade_no => reports_test.trade_no('G1'), credential => 'prepay_id=1', valid_for => '1 hour');
SELECT decision, credential FROM pay_credential(trade_no => reports_test.trade_no('G1'), credential => 'prepay_id=2', valid_for => '1 hour');
SELECT decision, credential FROM pay_query('G1', 'reports');
-- Too late: the attempt is over. Do not hand it out.
SELECT * FROM reports_test.callback('G1', 'C1', 'failed');
SELECT decision, credential FROM pay_credential(trade_no => reports_test.trade_no('G1'), credential => 'prepay_id=3', valid_for => '1 hour');
SELECT decision, credential FROM pay_query('G1', 'reports');
SELECT reports_test.open('G2');
SELECT * FROM reports_test.callback('G2', 'C1', 'paid', 100, 'CNY');
SELECT decision, credential FROM pay_credential(trade_no => reports_test.trade_no('G2'), credential => 'prepay_id=1', valid_for => '1 hour');
SELECT * FROM reports_test.history('G1');

-- ---- a person's verdict on a review ----

CREATE FUNCTION reports_test.resolve(order_no text, verdict text, reason text DEFAULT 'as the bank says') RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(test.try(format('SELECT decision || %L || state FROM pay_review_resolve(%s, %L, %L)',
		', ', review_id, resolve.verdict, resolve.reason)), 'review \d+', 'review <id>')
	FROM pay_review WHERE pay_no = reports_test.pay_no(order_no) ORDER BY review_id DESC LIMIT 1
$$;
-- accept: the money counts as reported.
SELECT reports_test.open('V1');
SELECT * FROM reports_test.callback('V1', 'C1', 'paid', 90, 'CNY', 'T1');
SELECT reports_test.resolve('V1', 'accept');
SELECT state, winner, amount, amount_collected FROM pay_payment WHERE pay_no = reports_test.pay_no('V1');
SELECT state, amount_collected FROM pay_attempt WHERE pay_no = reports_test.pay_no('V1');
SELECT verdict, reason, resolved_by = current_user AS by, resolved_session = session_user AS session, resolved_at IS NOT NULL AS at
FROM pay_review WHERE pay_no = reports_test.pay_no('V1');
SELECT * FROM reports_test.history('V1');
-- The channel tells of that money again: now it is known, and no new review.
SELECT * FROM reports_test.callback('V1', 'C2', 'paid', 90, 'CNY', 'T1');
SELECT count(*) AS open_reviews FROM pay_review WHERE pay_no = reports_test.pay_no('V1') AND resolved_at IS NULL;
-- Again the same way: unchanged. Another way: no.
SELECT reports_test.resolve('V1', 'accept');
SELECT reports_test.resolve('V1', 'dismiss');
-- refund: the money arrived and goes back, by a refund of the attempt; the order still waits to be paid.
SELECT reports_test.open('V2');
SELECT * FROM reports_test.callback('V2', 'C1', 'paid', 90, 'CNY', 'T1');
SELECT reports_test.resolve('V2', 'refund');
SELECT test.states('reports', 'V2');
SELECT amount_collected, amount_reserved FROM pay_attempt WHERE pay_no = reports_test.pay_no('V2');
SELECT * FROM reports_test.refunds('V2');
SELECT * FROM reports_test.balance('V2');
SELECT reports_test.open('V2', 'R2');
-- dismiss: nothing follows.
SELECT reports_test.open('V3');
SELECT * FROM reports_test.callback('V3', 'C1', 'paid', 90, 'CNY', 'T1');
SELECT reports_test.resolve('V3', 'dismiss');
SELECT test.states('reports', 'V3');
-- Won in the meantime: too late to accept.
SELECT reports_test.open('V4');
SELECT * FROM reports_test.callback('V4', 'C1', 'paid', 90, 'CNY', 'T1');
SELECT * FROM reports_test.callback('V4', 'C2', 'paid', 100, 'CNY', 'T1');
SELECT reports_test.resolve('V4', 'accept');
SELECT reports_test.resolve('V4', 'dismiss');
-- Ended in the meantime: the same; and what came all the same goes back.
SELECT reports_test.open('V5');
SELECT * FROM reports_test.callback('V5', 'C1', 'paid', 90, 'CNY', 'T1');
SELECT decision FROM pay_transition(trade_no => reports_test.pay_no('V5')::text, to_state => 'closed');
SELECT reports_test.resolve('V5', 'accept');
SELECT reports_test.resolve('V5', 'refund');
SELECT test.states('reports', 'V5');
SELECT * FROM reports_test.refunds('V5');
-- Paid again by another transaction: what came the second time is extra, and goes back by a refund of its own, once.
SELECT reports_test.open('V6');
SELECT * FROM reports_test.callback('V6', 'C1', 'paid', 100, 'CNY', 'T1');
SELECT * FROM reports_test.callback('V6', 'C2', 'paid', 100, 'CNY', 'T2');
SELECT answer.decision, state, attempt_state, refundable, answer.refund_no LIKE replace(reports_test.trade_no('V6'), '-', '') || 'x%' AS its_refund
FROM pay_review r, pay_review_resolve(review_id, 'refund', 'the bank booked it twice') AS answer WHERE r.pay_no = reports_test.pay_no('V6');
SELECT reports_test.resolve('V6', 'refund');
-- The channel tells of that transaction again: now it is known, and no new review.
SELECT * FROM reports_test.callback('V6', 'C3', 'paid', 100, 'CNY', 'T2');
SELECT count(*) AS reviews, count(resolved_at) AS resolved FROM pay_review WHERE pay_no = reports_test.pay_no('V6');
SELECT * FROM reports_test.refunds('V6');
SELECT amount_collected, amount_extra, amount_reserved FROM pay_attempt WHERE pay_no = reports_test.pay_no('V6');
SELECT * FROM reports_test.balance('V6');
-- Money of another currency has no refund here: it is given back by hand.
SELECT reports_test.open('V7');
SELECT * FROM reports_test.callback('V7', 'C1', 'paid', 100, 'USD', 'T1');
SELECT reports_test.resolve('V7', 'refund');
SELECT reports_test.resolve('V7', 'dismiss', 'sent back by hand');
-- What is only authorized is voided.
SELECT reports_test.open('V8');
SELECT * FROM reports_test.callback('V8', 'C1', 'authorized', 90, 'CNY', 'T1');
SELECT reports_test.resolve('V8', 'refund');
SELECT test.states('reports', 'V8');
SELECT count(*) AS refunds FROM reports_test.refunds('V8');
-- unmatched: there is nothing to apply it to.
SELECT regexp_replace(test.try(format('SELECT decision FROM pay_review_resolve(%s, %L, %L)', review_id, v.verdict, 'who knows')),
	'review \d+', 'review <id>') AS resolved
FROM pay_review, unnest('{accept,refund,dismiss}'::text[]) AS v (verdict) WHERE message_id = 'reports 1' AND source = 'callback:alipay';
-- conflict: likewise, what it said was decided already.
SELECT kind, regexp_replace(test.try(format('SELECT decision || %L || state FROM pay_review_resolve(%s, %L, %L)', ', ', review_id, v.verdict, 'as the bank says')), 'review \d+', 'review <id>') AS resolved
FROM (SELECT * FROM pay_review WHERE pay_no = reports_test.pay_no('B1') AND kind = 'conflict' ORDER BY review_id DESC LIMIT 1) AS r, unnest('{accept,dismiss}'::text[]) WITH ORDINALITY AS v (verdict, n) ORDER BY n;

-- ---- the payment's number in a callback ----

-- It means the payment's only attempt; the message is the same by either number.
SELECT reports_test.open('N1');
SELECT decision, state, attempt, attempt_state FROM pay_callback(channel => 'test', callback_id => 'n1',
	trade_no => reports_test.pay_no('N1')::text, reported => 'paid', amount => 100, currency => 'CNY');
SELECT decision, state, attempt, attempt_state FROM pay_callback(channel => 'test', callback_id => 'n1',
	trade_no => reports_test.trade_no('N1'), reported => 'paid', amount => 100, currency => 'CNY');
-- Where two attempts could be meant, or there is none, it is nobody's: nothing is booked by a guess.
SELECT reports_test.open('N2', 'R1', multi => true), reports_test.open('N2', 'R2', multi => true);
SELECT decision, state, attempt FROM pay_callback(channel => 'test', callback_id => 'n2',
	trade_no => reports_test.pay_no('N2')::text, reported => 'paid', amount => 100, currency => 'CNY');
SELECT decision FROM pay_create(order_no => 'N3', amount => 100, currency => 'CNY', merchant => 'reports');
SELECT decision, state, attempt FROM pay_callback(channel => 'test', callback_id => 'n3',
	trade_no => reports_test.pay_no('N3')::text, reported => 'failed');
SELECT order_no, state, last_seq FROM pay_payment WHERE merchant = 'reports' AND order_no IN ('N2', 'N3') ORDER BY 1;

-- ---- history ----

-- By any number of the payment, and what is nobody's is PY404.
SELECT (SELECT array_agg(h.*::text) FROM pay_history(reports_test.trade_no('E2', 2)) h)
	= (SELECT array_agg(h.*::text) FROM pay_history(reports_test.pay_no('E2')::text) h) AS the_same;
SELECT test.sqlstate($$SELECT * FROM pay_history('019b76da80008001810123456789abcd')$$);

-- Every chain in this file is unbroken: events 1, 2, 3 ..., each starting where the one before ended.
SELECT count(*) > 50 AS events, count(*) FILTER (WHERE seq <> n) AS gaps,
	count(*) FILTER (WHERE payment_before IS DISTINCT FROM payment_was) AS payment_breaks,
	count(*) FILTER (WHERE attempt > 0 AND attempt_before IS DISTINCT FROM attempt_was) AS attempt_breaks,
	count(*) FILTER (WHERE payment_before <> payment_after AND NOT pay_can(payment_before, payment_after)) AS illegal
FROM (SELECT *, row_number() OVER payment AS n,
		coalesce(lag(payment_after) OVER payment, CASE source WHEN 'prepay' THEN 'created'::pay_state END) AS payment_was,
		lag(attempt_after) OVER (PARTITION BY pay_no, attempt ORDER BY seq) AS attempt_was
	FROM pay_event JOIN pay_payment USING (pay_no) WHERE merchant = 'reports'
	WINDOW payment AS (PARTITION BY pay_no ORDER BY seq)) AS e;
SELECT count(*) AS messages_twice FROM (SELECT 1 FROM pay_event WHERE message_id IS NOT NULL GROUP BY pay_no, source, message_id HAVING count(*) > 1) AS m;

-- And every payment's money adds up.
SELECT count(*) > 20 AS payments, count(*) FILTER (WHERE collected <> needed + surplus) AS unaccounted,
	count(*) FILTER (WHERE reserved + refunded > collected) AS given_back_twice, sum(surplus) AS surplus, sum(refunded) AS refunded
FROM pay_balance WHERE merchant = 'reports';

DROP SCHEMA reports_test CASCADE;
