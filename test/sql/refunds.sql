-- Refunds: what the shop gives back, what the channel gives or takes back by
-- itself, and money that the order never needed. No cent twice, none kept.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA refunds_test;

CREATE FUNCTION refunds_test.pay_no(order_no text) RETURNS text LANGUAGE sql AS $$
	SELECT p.pay_no::text FROM pay_payment p WHERE p.merchant = 'refunds' AND p.order_no = pay_no.order_no
$$;
CREATE FUNCTION refunds_test.trade_no(order_no text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT a.trade_no::text FROM pay_payment p JOIN pay_attempt a USING (pay_no)
	WHERE p.merchant = 'refunds' AND p.order_no = trade_no.order_no AND a.attempt = trade_no.attempt
$$;
-- Opens an attempt of an order of 100 CNY.
CREATE FUNCTION refunds_test.open(order_no text, request_id text DEFAULT 'R1', multi boolean DEFAULT NULL, replaces text DEFAULT NULL) RETURNS text
LANGUAGE sql AS $$
	SELECT decision FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => 'refunds',
		channel => 'test', method => 'test', request_id => request_id, multi => multi, replaces => replaces)
$$;
-- The channel says that it collected 100 CNY.
CREATE FUNCTION refunds_test.paid(order_no text, callback_id text DEFAULT 'C1', channel_txn text DEFAULT 'T1', amount bigint DEFAULT 100,
	attempt integer DEFAULT 1) RETURNS text
LANGUAGE sql AS $$
	SELECT decision FROM pay_callback(channel => 'test', callback_id => callback_id, trade_no => refunds_test.trade_no(order_no, attempt),
		reported => 'paid', amount => amount, currency => 'CNY', channel_txn => channel_txn)
$$;
-- An order of 100 CNY that is paid.
CREATE FUNCTION refunds_test.pay(order_no text) RETURNS text LANGUAGE sql AS $$
	SELECT refunds_test.open(order_no);
	SELECT refunds_test.paid(order_no);
$$;
-- Refunds of the payment, or of one attempt of it.
-- Each for a reason of its own: two for the same one would be a look-alike (see money_leaves).
CREATE FUNCTION refunds_test.refund(order_no text, refund_no text, amount bigint, attempt integer DEFAULT NULL, reason text DEFAULT NULL,
	OUT decision text, OUT state text, OUT refundable bigint)
LANGUAGE sql AS $$
	SELECT decision, state, refundable
	FROM pay_refund(trade_no => CASE WHEN attempt IS NULL THEN refunds_test.pay_no(order_no) ELSE refunds_test.trade_no(order_no, attempt) END,
		refund_no => refund_no, amount => amount, reason => coalesce(reason, 'returned ' || refund_no))
$$;
CREATE FUNCTION refunds_test.step(refund_no text, to_state text, reason text DEFAULT NULL, channel_txn text DEFAULT NULL,
	OUT decision text, OUT state text, OUT refundable bigint)
LANGUAGE sql AS $$
	SELECT decision, state, refundable
	FROM pay_refund_transition(refund_no => refund_no, to_state => to_state, reason => reason, channel_txn => channel_txn, merchant => 'refunds')
$$;
-- What was handed out is on its way: it is called off when the channel does not have it.
CREATE FUNCTION refunds_test.call_off(refund_no text, OUT decision text, OUT state text, OUT refundable bigint) LANGUAGE sql AS $$
	SELECT refunds_test.step(refund_no, 'failed', 'the channel does not have it');
	SELECT * FROM refunds_test.step(refund_no, 'cancelled');
$$;
-- What the channel says of a refund.
CREATE FUNCTION refunds_test.report(refund_no text, reported text, callback_id text DEFAULT NULL, amount bigint DEFAULT NULL, currency text DEFAULT NULL,
	trade_no text DEFAULT NULL, channel_txn text DEFAULT NULL, kind text DEFAULT 'refund', channel text DEFAULT 'test',
	OUT decision text, OUT state text, OUT refundable bigint)
LANGUAGE sql AS $$
	SELECT decision, state, refundable
	FROM pay_refund_callback(channel => channel, callback_id => callback_id, refund_no => refund_no, reported => reported, amount => amount,
		currency => currency, trade_no => trade_no, channel_txn => channel_txn, kind => kind, merchant => 'refunds')
$$;
CREATE FUNCTION refunds_test.balance(order_no text, OUT state text, OUT needed bigint, OUT collected bigint, OUT surplus bigint, OUT reserved bigint,
	OUT refunded bigint, OUT refundable bigint, OUT to_close bigint)
LANGUAGE sql AS $$
	SELECT state::text, needed, collected, surplus, reserved, refunded, refundable, to_close
	FROM pay_balance b WHERE b.merchant = 'refunds' AND b.order_no = balance.order_no
$$;
-- What left beyond what was collected, by its attempts and by the books.
CREATE FUNCTION refunds_test.overdrawn(order_no text, OUT by_attempts bigint, OUT by_books bigint) LANGUAGE sql AS $$
	SELECT sum(a.amount_overdrawn)::bigint, min(b.overdrawn) FROM pay_attempt a JOIN pay_balance b USING (pay_no)
	WHERE b.merchant = 'refunds' AND b.order_no = overdrawn.order_no
$$;
-- The refunds of an order; of a number that is ours, only what follows it.
CREATE FUNCTION refunds_test.refunds(order_no text, OUT attempt integer, OUT refund_no text, OUT kind text, OUT adopted boolean, OUT state text,
	OUT amount bigint, OUT channel_txn text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT r.attempt, regexp_replace(r.refund_no, '^[0-9a-f]{32}([sxdb]).*', '<number>\1'), r.kind, r.adopted, r.state::text, r.amount, r.channel_txn
	FROM pay_refund r WHERE r.pay_no::text = refunds_test.pay_no(order_no) ORDER BY r.attempt, r.refund_no COLLATE "C"
$$;
CREATE FUNCTION refunds_test.history(order_no text, OUT seq integer, OUT source text, OUT message_id text, OUT attempt integer, OUT attempts text,
	OUT refund_no text, OUT reported text, OUT decision text, OUT step text, OUT amount bigint, OUT channel_txn text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT seq, source, message_id, attempt, concat_ws('>', attempt_before, attempt_after), regexp_replace(refund_no, '^[0-9a-f]{32}([sxdb]).*', '<number>\1'),
		reported, decision, concat_ws('>', refund_before, refund_after), amount, channel_txn
	FROM pay_history(refunds_test.pay_no(order_no))
$$;
CREATE FUNCTION refunds_test.reviews(order_no text, OUT kind text, OUT about_money boolean, OUT attempt integer, OUT refund_no text, OUT reported text,
	OUT amount bigint, OUT currency text, OUT verdict text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT kind, about_money, attempt, refund_no, coalesce(refund_reported::text, reported::text), amount, currency, verdict
	FROM pay_review WHERE pay_no::text = refunds_test.pay_no(order_no) ORDER BY review_id
$$;
CREATE FUNCTION refunds_test.resolve(order_no text, verdict text) RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(test.try(format('SELECT decision || %L || state FROM pay_review_resolve(%s, %L, %L)',
		', ', review_id, resolve.verdict, 'a test')), 'review \d+', 'review <id>')
	FROM pay_review WHERE pay_no::text = refunds_test.pay_no(order_no) ORDER BY review_id DESC LIMIT 1
$$;
-- A verdict on the latest review of a refund.
CREATE FUNCTION refunds_test.verdict(refund_no text, verdict text) RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(test.try(format('SELECT decision FROM pay_review_resolve(%s, %L, %L)', review_id, verdict.verdict, 'a test')), 'review \d+', 'review <id>')
	FROM pay_review r WHERE r.refund_no = verdict.refund_no ORDER BY review_id DESC LIMIT 1
$$;
-- One line that changes when any row of ours does, refunds too.
CREATE FUNCTION refunds_test.fingerprint() RETURNS text LANGUAGE sql STABLE AS $$
	SELECT md5(test.fingerprint() || coalesce((SELECT string_agg(r::text, E'\n' ORDER BY r::text) FROM pay_refund r), ''))
$$;
CREATE TEMP TABLE before (fingerprint text);

-- ---- one refund, from the shop's wish to the channel's word ----

SELECT refunds_test.pay('A1');
-- Nothing to give back before it was asked for; a paid order says what can be.
SELECT decision, state, refundable FROM pay_query('A1', 'refunds');
SELECT decision, refund_no, pay_number(pay_no)::text = refunds_test.pay_no('A1') AS of_payment,
	trade_no = replace(refunds_test.trade_no('A1'), '-', '') AS of_winner, state, amount, currency, refundable
FROM pay_refund(trade_no => refunds_test.pay_no('A1'), refund_no => 'a1', amount => 30, reason => 'one of three came back');
SELECT * FROM refunds_test.refunds('A1');
SELECT merchant, reason, requested_at <= now() AS asked FROM pay_refund WHERE refund_no = 'a1' AND merchant = 'refunds';
SELECT * FROM refunds_test.balance('A1');
SELECT decision, refundable FROM pay_query('A1', 'refunds');
-- The same again, by any number of the payment: the same answer, and nothing is written.
INSERT INTO before SELECT refunds_test.fingerprint();
SELECT * FROM refunds_test.refund('A1', 'a1', 30);
SELECT * FROM refunds_test.refund('A1', 'a1', 30, attempt => 1, reason => 'in other words');
SELECT decision FROM pay_refund(trade_no => upper(replace(refunds_test.trade_no('A1'), '-', '')), refund_no => 'a1', amount => 30, reason => 'again');
SELECT fingerprint = refunds_test.fingerprint() AS nothing_written FROM before;
-- The channel took it, and did it.
SELECT * FROM refunds_test.step('a1', 'processing', 'the channel took it', 'RT1');
SELECT * FROM refunds_test.report('a1', 'succeeded', 'RC1', 30, 'CNY', refunds_test.trade_no('A1'), 'RT1');
SELECT amount_collected, amount_refunded FROM pay_payment WHERE pay_no::text = refunds_test.pay_no('A1');
SELECT * FROM refunds_test.balance('A1');
SELECT * FROM refunds_test.refunds('A1');
-- Refund progress is no state of the payment: it is paid, and stays it.
SELECT test.states('refunds', 'A1');
-- Told again: known. By the same message: replayed, and nothing is written.
SELECT * FROM refunds_test.report('a1', 'succeeded', 'RC2', 30, 'CNY');
SELECT * FROM refunds_test.step('a1', 'succeeded');
TRUNCATE before;
INSERT INTO before SELECT refunds_test.fingerprint();
SELECT * FROM refunds_test.report('a1', 'succeeded', 'RC1', 30, 'CNY', refunds_test.trade_no('A1'), 'RT1');
SELECT * FROM refunds_test.refund('A1', 'a1', 30);
SELECT fingerprint = refunds_test.fingerprint() AS nothing_written FROM before;
-- The history tells all of it: refund events change no attempt and no payment.
SELECT * FROM refunds_test.history('A1');
SELECT seq, payment_before, payment_after, actor = current_user AS actor, session_actor = session_user AS session_actor, reason
FROM pay_history(refunds_test.pay_no('A1')) WHERE seq IN (3, 4);

-- ---- partial and several: never more than was collected ----

SELECT refunds_test.pay('B1');
SELECT * FROM refunds_test.refund('B1', 'b1', 40);
SELECT * FROM refunds_test.refund('B1', 'b2', 40);
TRUNCATE before;
INSERT INTO before SELECT refunds_test.fingerprint();
SELECT test.try($$SELECT refunds_test.refund('B1', 'b3', 21)$$);
SELECT test.sqlstate($$SELECT refunds_test.refund('B1', 'b3', 9007199254740991)$$);
SELECT fingerprint = refunds_test.fingerprint() AS nothing_written FROM before;
SELECT * FROM refunds_test.refund('B1', 'b3', 20);
SELECT test.sqlstate($$SELECT refunds_test.refund('B1', 'b4', 1)$$);
-- What is nobody's to give back again is replayed all the same.
SELECT * FROM refunds_test.refund('B1', 'b1', 40);
SELECT * FROM refunds_test.balance('B1');
-- failed and cancelled give their reserve back.
SELECT * FROM refunds_test.step('b1', 'failed', 'the account is closed');
SELECT test.try($$SELECT refunds_test.step('b2', 'cancelled', 'the customer keeps it')$$) ~ '^PY409 refund "b2" cannot be cancelled: it is on its way' AS on_its_way;
SELECT * FROM refunds_test.call_off('b2');
SELECT * FROM refunds_test.balance('B1');
-- The same refund_no after failed is a new try: it takes its reserve again.
SELECT * FROM refunds_test.refund('B1', 'b1', 40);
SELECT * FROM refunds_test.refund('B1', 'b1', 40);
-- After cancelled it is over.
SELECT * FROM refunds_test.refund('B1', 'b2', 40);
-- What others took in the meantime is not there for a new try.
SELECT * FROM refunds_test.step('b1', 'failed');
SELECT * FROM refunds_test.refund('B1', 'b5', 50);
TRUNCATE before;
INSERT INTO before SELECT refunds_test.fingerprint();
SELECT test.try($$SELECT refunds_test.refund('B1', 'b1', 40)$$);
SELECT test.try($$SELECT refunds_test.step('b1', 'requested')$$);
SELECT fingerprint = refunds_test.fingerprint() AS nothing_written FROM before;
-- But that the channel has it is news of money that leaves, and that is never refused: it overdraws the attempt, and a person is told.
SELECT * FROM refunds_test.step('b1', 'processing', 'it is on the bank statement');
SELECT * FROM refunds_test.overdrawn('B1');
SELECT * FROM refunds_test.reviews('B1');
-- Nothing goes out meanwhile; what is given back covers what was overdrawn first.
SELECT test.try($$SELECT refunds_test.refund('B1', 'b7', 1)$$);
SELECT * FROM refunds_test.call_off('b5');
SELECT * FROM refunds_test.overdrawn('B1');
SELECT * FROM refunds_test.balance('B1');
SELECT * FROM refunds_test.refunds('B1');
-- Success only to the cap: 40 and 20 and another 40 are 100.
SELECT * FROM refunds_test.step('b1', 'succeeded');
SELECT * FROM refunds_test.step('b3', 'succeeded');
SELECT * FROM refunds_test.refund('B1', 'b6', 40);
SELECT * FROM refunds_test.step('b6', 'succeeded');
SELECT state, amount_collected, amount_refunded FROM pay_payment WHERE pay_no::text = refunds_test.pay_no('B1');
SELECT decision, state, refundable FROM pay_query('B1', 'refunds');
SELECT * FROM refunds_test.balance('B1');
-- The cap is what was collected, not what the order costs.
SELECT refunds_test.open('B2');
SELECT decision FROM pay_transition(trade_no => refunds_test.trade_no('B2'), to_state => 'authorized');
SELECT decision FROM pay_transition(trade_no => refunds_test.trade_no('B2'), to_state => 'capturing', amount => 60);
SELECT refunds_test.paid('B2', amount => 60);
SELECT test.try($$SELECT refunds_test.refund('B2', 'b7', 61)$$);
SELECT * FROM refunds_test.refund('B2', 'b7', 60);

-- Also if that is more: a person has accepted it.
SELECT refunds_test.open('B3');
SELECT refunds_test.paid('B3', amount => 110);
SELECT refunds_test.resolve('B3', 'accept');
SELECT test.sqlstate($$SELECT refunds_test.refund('B3', 'b8', 111)$$);
SELECT * FROM refunds_test.refund('B3', 'b8', 110);
SELECT * FROM refunds_test.balance('B3');

-- ---- the same refund_no stands for the same content ----

SELECT refunds_test.pay('C1'), refunds_test.pay('C2');
SELECT * FROM refunds_test.refund('C1', 'c1', 50);
TRUNCATE before;
INSERT INTO before SELECT refunds_test.fingerprint();
SELECT test.try($$SELECT refunds_test.refund('C1', 'c1', 49)$$);
SELECT test.try($$SELECT refunds_test.refund('C2', 'c1', 50)$$);
SELECT test.try($$SELECT refunds_test.refund('C2', 'c1', 49)$$);
SELECT fingerprint = refunds_test.fingerprint() AS nothing_written FROM before;
-- Also when it has failed, or would not fit: what differs is said first.
SELECT * FROM refunds_test.step('c1', 'failed');
SELECT test.sqlstate($$SELECT refunds_test.refund('C1', 'c1', 101)$$) AS more, test.sqlstate($$SELECT refunds_test.refund('C2', 'c1', 50)$$) AS other_order;
-- Whatever its state, a refund is replayed, but for failed; nothing is written.
CREATE FUNCTION refunds_test.replay(state text, OUT answer text, OUT written boolean) LANGUAGE plpgsql AS $$
DECLARE
	before text;
BEGIN
	PERFORM refunds_test.pay('replay ' || state);
	PERFORM refunds_test.refund('replay ' || state, 'replay ' || state, 50);
	IF state = 'cancelled' THEN
		PERFORM refunds_test.step('replay ' || state, 'failed');
	ELSIF state = 'returned' THEN
		PERFORM refunds_test.step('replay ' || state, 'succeeded');
	END IF;
	IF state <> 'requested' THEN
		PERFORM refunds_test.step('replay ' || state, state);
	END IF;
	before := refunds_test.fingerprint();
	SELECT concat_ws(' ', r.decision, r.state, r.refundable) INTO answer FROM refunds_test.refund('replay ' || replay.state, 'replay ' || replay.state, 50) AS r;
	written := before <> refunds_test.fingerprint();
END
$$;
SELECT s AS state, answer, written
FROM unnest('{requested,processing,unknown,abnormal,succeeded,returned,cancelled,failed}'::text[]) AS s, refunds_test.replay(s);
-- A refund_no is the merchant's: another merchant's is another refund.
SELECT decision FROM pay_prepay(order_no => 'C1', amount => 100, currency => 'CNY', merchant => 'refunds 2', channel => 'test', method => 'test', request_id => 'R1');
SELECT decision FROM pay_transition(trade_no => (SELECT trade_no FROM pay_query('C1', 'refunds 2')), to_state => 'paid');
SELECT decision, state, amount FROM pay_refund(trade_no => (SELECT trade_no FROM pay_query('C1', 'refunds 2')), refund_no => 'c1', amount => 99, reason => 'a test');
SELECT decision, state, amount FROM pay_refund_transition(refund_no => 'c1', to_state => 'succeeded', merchant => 'refunds 2');
SELECT merchant, state, amount FROM pay_refund WHERE refund_no = 'c1' ORDER BY merchant;
SELECT test.sqlstate($$SELECT pay_refund_transition(refund_no => 'c1', to_state => 'succeeded')$$) AS without_merchant;

-- ---- what cannot be refunded ----

-- An order that is not paid, in every state that it can have.
SELECT count(test.put('refunds', 'D ' || s, s, CASE s WHEN 'created' THEN '{}' ELSE ARRAY[s] END)) AS put
FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,closed,reversed}'::text[]) AS s;
SELECT s AS state, test.sqlstate(format('SELECT refunds_test.refund(%L, %L, 1)', 'D ' || s, 'd' || s)) AS by_payment,
	CASE WHEN s <> 'created' THEN test.sqlstate(format('SELECT refunds_test.refund(%L, %L, 1, attempt => 1)', 'D ' || s, 'd' || s)) END AS by_attempt
FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,closed,reversed}'::text[]) AS s;
SELECT test.try($$SELECT refunds_test.refund('D paying', 'd1', 1)$$);
SELECT test.try($$SELECT refunds_test.refund('D paying', 'd1', 1, attempt => 1)$$);
-- Nothing, and less than nothing.
SELECT test.sqlstate($$SELECT refunds_test.refund('A1', 'd1', 0)$$) AS nothing, test.sqlstate($$SELECT refunds_test.refund('A1', 'd1', -1)$$) AS negative;
-- An attempt of a paid order that is not paid itself; one that collected for nobody has its refund already.
SELECT refunds_test.open('D2', 'R1', true), refunds_test.open('D2', 'R2', true), refunds_test.open('D2', 'R3', true);
SELECT refunds_test.paid('D2'), refunds_test.paid('D2', 'C2', 'T2', attempt => 2);
SELECT test.try($$SELECT refunds_test.refund('D2', 'd2', 1, attempt => 3)$$);
SELECT test.try($$SELECT refunds_test.refund('D2', 'd2', 1, attempt => 2)$$);
SELECT count(*) AS refunds FROM pay_refund WHERE merchant = 'refunds' AND refund_no LIKE 'd%';

-- ---- the caller's own step ----

-- An illegal one names the legal ones; a final refund does not change.
SELECT refunds_test.pay('E1');
SELECT * FROM refunds_test.refund('E1', 'e1', 60);
SELECT * FROM refunds_test.step('e1', 'processing');
SELECT test.try($$SELECT refunds_test.step('e1', 'cancelled')$$);
SELECT * FROM refunds_test.step('e1', 'unknown', 'no answer');
SELECT test.try($$SELECT refunds_test.step('e1', 'requested')$$);
SELECT * FROM refunds_test.step('e1', 'succeeded');
TRUNCATE before;
INSERT INTO before SELECT refunds_test.fingerprint();
SELECT test.try($$SELECT refunds_test.step('e1', 'failed')$$);
SELECT test.sqlstate(format('SELECT refunds_test.step(%L, %L)', 'e1', s)) AS sqlstate, string_agg(s, ' ' ORDER BY s) AS states
FROM unnest('{requested,processing,failed,abnormal,unknown,cancelled}'::text[]) AS s GROUP BY 1;
SELECT test.try($$SELECT refunds_test.step('nobody''s', 'succeeded')$$);
SELECT test.try($$SELECT refunds_test.step('e1', 'paid')$$);
SELECT fingerprint = refunds_test.fingerprint() AS nothing_written FROM before;
-- The channel's number is kept; NULL leaves it.
SELECT * FROM refunds_test.refund('E1', 'e2', 40);
SELECT * FROM refunds_test.step('e2', 'processing', channel_txn => 'RT2');
SELECT * FROM refunds_test.step('e2', 'unknown');
SELECT channel_txn FROM pay_refund WHERE refund_no = 'e2' AND merchant = 'refunds';
-- Success by another transaction of the channel: perhaps it went back twice.
SELECT * FROM refunds_test.step('e2', 'succeeded', channel_txn => 'RT2');
SELECT * FROM refunds_test.step('e2', 'succeeded', channel_txn => 'RT2');
SELECT * FROM refunds_test.step('e2', 'succeeded', channel_txn => 'RT3');
SELECT kind, refund_no, reported FROM refunds_test.reviews('E1');
SELECT source, refund_no, reported, decision, step, channel_txn FROM refunds_test.history('E1') WHERE decision = 'mismatch';
-- What we have called off was done after all: that is news, too.
SELECT refunds_test.pay('E2');
SELECT * FROM refunds_test.refund('E2', 'e3', 40);
SELECT * FROM refunds_test.call_off('e3');
SELECT test.sqlstate($$SELECT refunds_test.step('e3', 'requested')$$) AS again;
SELECT * FROM refunds_test.step('e3', 'succeeded');

-- ---- what the channel says ----

SELECT refunds_test.pay('F1');
SELECT * FROM refunds_test.refund('F1', 'f1', 60);
-- Step by step; what is older than that is stale, and requested is no news at all.
SELECT * FROM refunds_test.report('f1', 'requested', 'RC1');
SELECT * FROM refunds_test.report('f1', 'processing', 'RC2');
SELECT * FROM refunds_test.report('f1', 'requested', 'RC3');
SELECT * FROM refunds_test.report('f1', 'failed', 'RC4');
SELECT * FROM refunds_test.report('f1', 'requested', 'RC5');
SELECT * FROM refunds_test.report('f1', 'succeeded', 'RC6', 60, 'CNY', refunds_test.pay_no('F1'), 'RT1');
SELECT * FROM refunds_test.report('f1', 'processing', 'RC7');
-- A query's answer has no id and is decided each time.
SELECT * FROM refunds_test.report('f1', 'processing');
SELECT * FROM refunds_test.report('f1', 'succeeded', NULL, 60, 'CNY', refunds_test.trade_no('F1'), 'RT1');
SELECT * FROM refunds_test.report('f1', 'succeeded', NULL, 60, 'CNY', refunds_test.trade_no('F1'), 'RT1');
-- What does not fit: logged, put up for review, nothing changed.
SELECT * FROM refunds_test.report('f1', 'failed', 'RC8');
SELECT * FROM refunds_test.report('f1', 'cancelled', 'RC9');
SELECT * FROM refunds_test.report('f1', 'abnormal', 'RC10');
SELECT * FROM refunds_test.report('f1', 'succeeded', 'RC11', 60, 'CNY', channel_txn => 'RT2');
SELECT * FROM refunds_test.refund('F1', 'f2', 10);
SELECT * FROM refunds_test.report('f2', 'succeeded', 'RC12', 11, 'CNY');
SELECT * FROM refunds_test.report('f2', 'succeeded', 'RC13', 10, 'USD');
SELECT * FROM refunds_test.report('f2', 'succeeded', 'RC14', channel => 'alipay');
SELECT * FROM refunds_test.report('f2', 'succeeded', 'RC15', trade_no => refunds_test.trade_no('A1'));
SELECT * FROM refunds_test.report('f2', 'succeeded', 'RC16', trade_no => 'order 4711');
SELECT * FROM refunds_test.report('f2', 'succeeded', 'RC17', kind => 'chargeback');
SELECT * FROM refunds_test.history('F1') WHERE decision = 'mismatch';
SELECT * FROM refunds_test.reviews('F1');
-- Called off by us, done by the channel: it was done. That it was not after all is for somebody to look at.
SELECT * FROM refunds_test.call_off('f2');
SELECT * FROM refunds_test.report('f2', 'succeeded', 'RC18', 10, 'CNY');
SELECT * FROM refunds_test.report('f2', 'failed', 'RC19');
-- Success beyond the cap: it is booked, and overdraws.
SELECT * FROM refunds_test.refund('F1', 'f3', 30);
SELECT * FROM refunds_test.report('f3', 'failed', 'RC20');
SELECT * FROM refunds_test.refund('F1', 'f4', 20);
SELECT * FROM refunds_test.report('f3', 'succeeded', 'RC21', 30, 'CNY');
SELECT * FROM refunds_test.report('f3', 'processing', 'RC22', 30, 'CNY');
SELECT * FROM refunds_test.balance('F1');
SELECT * FROM refunds_test.overdrawn('F1');
SELECT kind, refund_no, reported FROM refunds_test.reviews('F1') WHERE kind = 'overdrawn';
-- Known, if it is told again; no more is overdrawn when the other one is off.
SELECT * FROM refunds_test.call_off('f4');
SELECT * FROM refunds_test.report('f3', 'succeeded', 'RC23', 30, 'CNY');
SELECT * FROM refunds_test.balance('F1');

-- Message ids: known id with other content is news without an id, and a review.
SELECT refunds_test.pay('G1');
SELECT * FROM refunds_test.refund('G1', 'g1', 50);
SELECT * FROM refunds_test.refund('G1', 'g2', 20);
SELECT * FROM refunds_test.report('g1', 'processing', 'RC1', 50, 'CNY');
SELECT * FROM refunds_test.report('g1', 'succeeded', 'RC1', 50, 'CNY');
SELECT * FROM refunds_test.report('g2', 'processing', 'RC1', 20, 'CNY');
SELECT * FROM refunds_test.report('g1', 'processing', 'RC1', 50, 'CNY');
SELECT seq, message_id, refund_no, decision, step FROM refunds_test.history('G1') WHERE source LIKE 'refund_callback%';
SELECT kind, about_money, refund_no, reported FROM refunds_test.reviews('G1');
-- Whatever differs makes it other content: the refund, the state, the amount, the currency.
SELECT refunds_test.pay('G3');
SELECT * FROM refunds_test.refund('G3', 'g5', 40);
SELECT * FROM refunds_test.refund('G3', 'g6', 40);
SELECT * FROM refunds_test.report('g5', 'processing', 'RC1', 40, 'CNY');
SELECT * FROM refunds_test.report('g5', 'processing', 'RC1', 39, 'CNY');
SELECT * FROM refunds_test.report('g5', 'processing', 'RC1', 40, 'USD');
SELECT * FROM refunds_test.report('g5', 'processing', 'RC1');
SELECT * FROM refunds_test.report('g6', 'processing', 'RC1', 40, 'CNY');
SELECT * FROM refunds_test.report('g5', 'processing', 'RC1', 40, 'CNY');
SELECT kind, refund_no, amount, currency FROM refunds_test.reviews('G3') WHERE kind = 'conflict';
-- Ids are unique per payment, channel and function: nobody burns another's.
SELECT refunds_test.pay('G2');
SELECT * FROM refunds_test.refund('G2', 'g3', 50);
SELECT * FROM refunds_test.report('g3', 'processing', 'C1');
SELECT * FROM refunds_test.report('g3', 'processing', 'RC1');
SELECT kind FROM refunds_test.reviews('G2');

-- ---- abnormal waits for a person ----

SELECT refunds_test.pay('H1');
SELECT * FROM refunds_test.refund('H1', 'h1', 60);
SELECT * FROM refunds_test.report('h1', 'abnormal', 'RC1', 60, 'CNY');
SELECT * FROM refunds_test.balance('H1');
SELECT * FROM refunds_test.reviews('H1');
SELECT * FROM refunds_test.report('h1', 'abnormal', 'RC2', 60, 'CNY');
SELECT count(*) AS reviews FROM refunds_test.reviews('H1');
-- A verdict is no refund and no money: it closes the review, and nothing else.
SELECT refunds_test.resolve('H1', 'accept');
SELECT refunds_test.resolve('H1', 'refund');
SELECT refunds_test.resolve('H1', 'dismiss');
SELECT * FROM refunds_test.refunds('H1');
-- The step that settles it.
SELECT * FROM refunds_test.step('h1', 'succeeded', 'given in cash');
SELECT * FROM refunds_test.balance('H1');
-- Each way out of abnormal; the reserve goes where the state says.
CREATE FUNCTION refunds_test.settle(to_state text) RETURNS text LANGUAGE sql AS $$
	SELECT refunds_test.pay('settle ' || to_state);
	SELECT refunds_test.refund('settle ' || to_state, 'settle ' || to_state, 60);
	SELECT refunds_test.step('settle ' || to_state, 'abnormal', 'the bank asks for the card');
	SELECT test.try(format('SELECT decision || %L || refundable FROM refunds_test.step(%L, %L)', ', ', 'settle ' || to_state, to_state));
$$;
SELECT s AS state, split_part(refunds_test.settle(s), ' | ', 1) AS settled
FROM unnest('{processing,succeeded,failed,cancelled}'::text[]) AS s;
SELECT DISTINCT kind, about_money, reported FROM unnest('{processing,succeeded,failed,cancelled}'::text[]) AS s, refunds_test.reviews('settle ' || s);

-- ---- what the channel began: adopted ----

-- In each state that says that money moves or may: it counts against the cap.
CREATE FUNCTION refunds_test.adopt(state text, kind text DEFAULT 'refund') RETURNS text LANGUAGE sql AS $$
	SELECT refunds_test.pay(concat_ws(' ', 'adopt', kind, state));
	SELECT concat_ws(', ', r.decision, r.state, r.refundable)
	FROM refunds_test.report(concat_ws(' ', 'adopt', kind, adopt.state), adopt.state, 'RC1', 60, 'CNY',
		refunds_test.trade_no(concat_ws(' ', 'adopt', kind, adopt.state)), 'RT1', kind) AS r;
$$;
SELECT s AS state, refunds_test.adopt(s) AS answer FROM unnest('{succeeded,processing,unknown,abnormal,requested,failed,cancelled}'::text[]) AS s;
SELECT s AS reported, r.kind, r.adopted, r.state, r.amount, r.channel_txn, b.reserved, b.refunded,
	(SELECT string_agg(v.kind || CASE WHEN about_money THEN ' about money' ELSE '' END, ', ' ORDER BY v.kind) FROM refunds_test.reviews('adopt refund ' || s) AS v) AS reviews
FROM unnest('{succeeded,processing,unknown,abnormal,requested,failed,cancelled}'::text[]) WITH ORDINALITY AS o (s, n)
	LEFT JOIN LATERAL refunds_test.refunds('adopt refund ' || s) AS r ON true, refunds_test.balance('adopt refund ' || s) AS b
ORDER BY n;
-- What is nobody's is kept for a person, without an event; sent again it is decided anew.
SELECT kind, pay_no, about_money, refund_no, refund_reported, amount, currency, source, message_id FROM pay_review WHERE kind = 'unmatched' AND refund_no LIKE 'adopt refund %' ORDER BY review_id;
SELECT source, decision FROM refunds_test.history('adopt refund failed');
-- An adopted refund is a refund: known by its number, and its history begins with it.
SELECT * FROM refunds_test.report('adopt refund processing', 'succeeded', 'RC2', 60, 'CNY', channel_txn => 'RT1');
SELECT * FROM refunds_test.report('adopt refund processing', 'processing', 'RC1', 60, 'CNY', channel_txn => 'RT1');
-- (only that it was not asked for here, so nobody can ask for it again)
SELECT test.try($$SELECT refunds_test.refund('adopt refund processing', 'adopt refund processing', 60)$$);
SELECT * FROM refunds_test.history('adopt refund processing') OFFSET 2;
SELECT amount_refunded FROM pay_payment WHERE pay_no::text = refunds_test.pay_no('adopt refund processing');
-- A person accepts it as ours, or has only seen it; neither moves money.
SELECT refunds_test.resolve('adopt refund succeeded', 'refund');
SELECT refunds_test.resolve('adopt refund succeeded', 'accept');
SELECT refunds_test.resolve('adopt refund succeeded', 'accept');
SELECT refunds_test.resolve('adopt refund succeeded', 'dismiss');
SELECT refunds_test.resolve('adopt refund unknown', 'dismiss');
SELECT s AS reported, r.state, b.reserved, b.refunded FROM unnest('{succeeded,unknown}'::text[]) AS s,
	refunds_test.refunds('adopt refund ' || s) AS r, refunds_test.balance('adopt refund ' || s) AS b;
-- A chargeback is the bank's: adopted under its own name, and it is no refund afterwards either.
SELECT refunds_test.adopt('succeeded', 'chargeback');
SELECT * FROM refunds_test.refunds('adopt chargeback succeeded');
SELECT amount_refunded FROM pay_payment WHERE pay_no::text = refunds_test.pay_no('adopt chargeback succeeded');
SELECT * FROM refunds_test.report('adopt chargeback succeeded', 'succeeded', 'RC2', 60, 'CNY', kind => 'refund');
SELECT * FROM refunds_test.report('adopt chargeback succeeded', 'succeeded', 'RC3', 60, 'CNY', kind => 'chargeback');
-- Refunded by the shop, then charged back by the bank: more than was there. It is booked, overdraws, and a person is told; what does not fit is for a person alone.
SELECT refunds_test.pay('I1');
SELECT * FROM refunds_test.refund('I1', 'i1', 60);
SELECT * FROM refunds_test.report('i2', 'succeeded', 'RC1', 60, 'CNY', refunds_test.trade_no('I1'), kind => 'chargeback');
SELECT * FROM refunds_test.report('i3', 'succeeded', 'RC2', 40, 'USD', refunds_test.trade_no('I1'));
SELECT * FROM refunds_test.report('i4', 'succeeded', 'RC3', 40, 'CNY', refunds_test.trade_no('I1'), channel => 'alipay');
SELECT refund_no FROM refunds_test.refunds('I1');
SELECT * FROM refunds_test.overdrawn('I1');
SELECT * FROM refunds_test.reviews('I1');
SELECT source, message_id, attempt, refund_no, reported, decision, step FROM refunds_test.history('I1') OFFSET 3;
-- What counts already is only seen; of what does not fit, no verdict books another currency. None of them opens a refund, or makes room for one.
SELECT refunds_test.verdict('i2', 'refund');
SELECT refunds_test.verdict('i2', 'accept');
SELECT refunds_test.verdict('i3', 'accept');
SELECT refunds_test.verdict('i3', 'dismiss');
SELECT * FROM refunds_test.step('i1', 'failed', 'the bank had taken it back already');
SELECT refunds_test.verdict('i2', 'accept');
SELECT refunds_test.verdict('i2', 'accept');
SELECT refunds_test.verdict('i2', 'dismiss');
SELECT * FROM refunds_test.refunds('I1');
SELECT * FROM refunds_test.balance('I1');
SELECT * FROM refunds_test.overdrawn('I1');
SELECT refunds_test.verdict('i4', 'dismiss');
-- What just fits is adopted; without a currency it is the payment's; the payment's number is its winner's.
SELECT * FROM refunds_test.report('i5', 'succeeded', 'RC4', 40, trade_no => refunds_test.pay_no('I1'));
SELECT refund_no, state FROM refunds_test.refunds('I1');
-- The same of a refund that we know: it is booked with or without room; of another amount, currency or channel a person decides.
SELECT refunds_test.pay('I3');
SELECT * FROM refunds_test.refund('I3', 'i11', 60);
SELECT * FROM refunds_test.report('i11', 'failed', 'RC1');
SELECT * FROM refunds_test.refund('I3', 'i12', 50);
SELECT * FROM refunds_test.report('i11', 'succeeded', 'RC2', 60, 'CNY', channel_txn => 'RT1');
SELECT refunds_test.verdict('i11', 'accept');
SELECT * FROM refunds_test.call_off('i12');
SELECT refund_no, state, channel_txn FROM refunds_test.refunds('I3');
SELECT * FROM refunds_test.report('i11', 'succeeded', 'RC3', 60, 'CNY', channel_txn => 'RT1');
SELECT * FROM refunds_test.refund('I3', 'i13', 10);
SELECT * FROM refunds_test.report('i13', 'succeeded', 'RC4', 11, 'CNY');
SELECT refunds_test.verdict('i13', 'accept');
SELECT * FROM refunds_test.report('i13', 'succeeded', 'RC5', 10, 'USD');
SELECT refunds_test.verdict('i13', 'accept');
-- accepted it counts as it was reported; that it went and did not go means that it came back
SELECT * FROM refunds_test.report('i13', 'succeeded', 'RC6', channel => 'alipay');
SELECT refunds_test.verdict('i13', 'accept');
SELECT * FROM refunds_test.report('i13', 'failed', 'RC7');
SELECT refunds_test.verdict('i13', 'accept');
SELECT refund_no, state, amount FROM refunds_test.refunds('I3');
SELECT * FROM refunds_test.balance('I3');
-- Of another merchant's payment, or with the merchant forgotten: nobody's. It burns no message, so the right one is booked.
SELECT decision, state FROM pay_refund_callback(channel => 'test', callback_id => 'RC5', refund_no => 'i9', reported => 'succeeded', amount => 1,
	trade_no => refunds_test.trade_no('C2'), merchant => 'refunds 2');
SELECT kind, pay_no, merchant FROM pay_review WHERE refund_no = 'i9';
SELECT * FROM refunds_test.report('i9', 'succeeded', 'RC5', 1, trade_no => refunds_test.trade_no('C2'));
-- Of a number that only we give: not ours to book.
SELECT * FROM refunds_test.report(replace(refunds_test.trade_no('A1'), '-', '') || 's', 'succeeded', 'RC6', 1, trade_no => refunds_test.trade_no('A1'));
SELECT count(*) AS refunds FROM pay_refund WHERE refund_no = replace(refunds_test.trade_no('A1'), '-', '') || 's';
-- One that is abnormal waits for a person, also when it was a person who let it count.
SELECT refunds_test.pay('I4');
SELECT * FROM refunds_test.refund('I4', 'i14', 60);
SELECT * FROM refunds_test.report('i15', 'abnormal', 'RC1', 50, 'CNY', refunds_test.trade_no('I4'), channel => 'alipay');
SELECT * FROM refunds_test.call_off('i14');
SELECT refunds_test.verdict('i15', 'accept');
SELECT kind, refund_no, reported, verdict FROM refunds_test.reviews('I4');
SELECT * FROM refunds_test.balance('I4');
-- Of an attempt that collected nothing, as far as we know, all of it is overdrawn until the channel says that it was paid.
SELECT refunds_test.open('I2');
SELECT decision, state FROM refunds_test.report('i6', 'succeeded', 'RC1', 40, 'CNY', refunds_test.trade_no('I2'));
SELECT * FROM refunds_test.reviews('I2');
SELECT * FROM refunds_test.overdrawn('I2');
-- And an order that can still be paid is not stopped by it.
SELECT decision FROM pay_transition(trade_no => refunds_test.trade_no('I2'), to_state => 'failed');
SELECT refunds_test.open('I2', 'R2');
-- Not enough said, or of nothing that we know: unmatched.
SELECT what, decision, state FROM (VALUES
	(1, 'no trade_no', NULL::text, 10::bigint), (2, 'of nobody', '019b76da80008001810123456789abcd', 10), (3, 'no number of ours', 'order 4711', 10),
	(4, 'no amount', refunds_test.trade_no('A1'), NULL),
	(5, 'no such attempt', overlay(refunds_test.trade_no('A1') PLACING '82' FROM 20), 10)) AS v (n, what, trade_no, amount),
	refunds_test.report('i7 ' || n, 'succeeded', 'RC9', amount, 'CNY', trade_no) ORDER BY n;
SELECT count(*) AS reviews, count(pay_no) AS of_a_payment, bool_or(about_money) AS about_money FROM pay_review WHERE kind = 'unmatched' AND refund_no LIKE 'i7 %';
SELECT count(*) AS refunds FROM pay_refund WHERE refund_no LIKE 'i7 %';
-- Sent again, and one review of it; when the shop's own record is there, it is booked.
SELECT * FROM refunds_test.report('i8', 'succeeded', 'RC10', 10, 'CNY');
SELECT * FROM refunds_test.report('i8', 'succeeded', 'RC10', 10, 'CNY');
SELECT count(*) AS reviews FROM pay_review WHERE refund_no = 'i8';
SELECT * FROM refunds_test.refund('A1', 'i8', 10);
SELECT * FROM refunds_test.report('i8', 'succeeded', 'RC10', 10, 'CNY');

-- Another merchant's report of the same number is another report.
SELECT m AS merchant, decision FROM unnest('{refunds,refunds 2}'::text[]) AS m,
	pay_refund_callback(channel => 'test', callback_id => 'RC1', refund_no => 'i10', reported => 'succeeded', amount => 10, merchant => m);
SELECT merchant, refund_no FROM pay_review WHERE refund_no = 'i10' ORDER BY merchant;

-- ---- surplus: money that the order does not need goes back by itself ----

-- Each way for an order to need no money, and each way to hear of it.
CREATE FUNCTION refunds_test.doubtful(order_no text, why text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM refunds_test.open(order_no, 'R1', true);
	CASE why
		WHEN 'second winner' THEN
			PERFORM refunds_test.open(order_no, 'R2', true);
			PERFORM refunds_test.paid(order_no, 'C9', 'T9', attempt => 2);
		WHEN 'closed', 'reversed' THEN
			PERFORM pay_transition(trade_no => refunds_test.pay_no(order_no), to_state => why);
		WHEN 'replaced' THEN
			PERFORM refunds_test.open(order_no || ' new', 'R1', true, replaces => order_no);
	END CASE;
	RETURN true;
END
$$;
CREATE FUNCTION refunds_test.money(order_no text, way text, OUT answer text, OUT names_refund boolean) LANGUAGE plpgsql AS $$
DECLARE
	number CONSTANT text := refunds_test.trade_no(order_no);
	refund_no text;
BEGIN
	CASE way
		WHEN 'callback' THEN
			SELECT c.decision, c.refund_no INTO answer, refund_no FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => number,
				reported => 'paid', amount => 100, currency => 'CNY', channel_txn => 'T1') AS c;
		WHEN 'query' THEN
			SELECT c.decision, c.refund_no INTO answer, refund_no FROM pay_callback(channel => 'test', callback_id => NULL, trade_no => number,
				reported => 'paid', amount => 100, currency => 'CNY', channel_txn => 'T1') AS c;
		WHEN 'transition' THEN
			SELECT t.decision, t.refund_no INTO answer, refund_no FROM pay_transition(trade_no => number, to_state => 'paid', request_id => 'Q1') AS t;
		WHEN 'update' THEN
			answer := test.try(format('UPDATE pay_attempt SET state = %L, amount_collected = 100 WHERE trade_no = %L', 'paid', number));
	END CASE;
	names_refund := refund_no = replace(number, '-', '') || 's';
END
$$;
CREATE TABLE refunds_test.surplus AS
SELECT why || ' by ' || way AS order_no, why, way, n, m
FROM unnest('{second winner,closed,reversed,replaced}'::text[]) WITH ORDINALITY AS w (why, n),
	unnest('{callback,query,transition,update}'::text[]) WITH ORDINALITY AS v (way, m);
SELECT count(refunds_test.doubtful(order_no, why)) AS orders FROM refunds_test.surplus;
SELECT why, way, answer, names_refund FROM refunds_test.surplus, refunds_test.money(order_no, way) ORDER BY n, m;
-- Told again, as often as you like: the message replayed with the refund's number, anything else unchanged.
SELECT why, way, answer, names_refund FROM refunds_test.surplus, refunds_test.money(order_no, way) WHERE way IN ('callback', 'transition') ORDER BY n, m;
SELECT answer, count(*) FROM refunds_test.surplus, refunds_test.money(order_no, 'query') GROUP BY 1;
-- In all of them: the attempt is paid, the order is what it was, one refund of all the money, no review.
SELECT why, string_agg(DISTINCT test.states('refunds', order_no), ' | ') AS states, count(DISTINCT order_no) AS orders, count(*) AS refunds,
	string_agg(DISTINCT concat_ws(' ', r.attempt, r.refund_no, r.kind, r.adopted, r.state, r.amount), ' | ') AS refund
FROM refunds_test.surplus s, refunds_test.refunds(order_no) AS r GROUP BY why, n ORDER BY n;
SELECT count(*) AS reviews FROM refunds_test.surplus, refunds_test.reviews(order_no);
SELECT why, count(*) AS orders, b.* FROM refunds_test.surplus s, refunds_test.balance(order_no) AS b
GROUP BY why, n, b.state, needed, collected, surplus, reserved, refunded, refundable, to_close ORDER BY n;
-- The order itself has lost nothing of it: what the winner collected is there to be refunded.
SELECT decision, refundable FROM pay_query('second winner by callback', 'refunds');
SELECT decision, refundable FROM pay_query('closed by callback', 'refunds');
-- The history says that it was opened with the news, whoever brought it.
SELECT source, message_id, attempt, attempts, decision, refund_no, step FROM refunds_test.history('closed by callback') OFFSET 3;
SELECT source, message_id, attempt, attempts, decision, refund_no, step FROM refunds_test.history('closed by update') OFFSET 3;
-- It goes its way as any refund does. The channel calls it a refund, no more.
SELECT decision, state, amount, refundable FROM refunds_test.trade_no('closed by callback') AS number,
	pay_refund_transition(refund_no => replace(number, '-', '') || 's', to_state => 'processing', merchant => 'refunds');
SELECT decision, state, amount, refundable FROM refunds_test.trade_no('closed by callback') AS number,
	pay_refund_callback(channel => 'test', callback_id => 'RC1', refund_no => replace(number, '-', '') || 's', reported => 'succeeded', amount => 100, currency => 'CNY',
	trade_no => number, merchant => 'refunds');
SELECT * FROM refunds_test.balance('closed by callback');
SELECT amount_collected, amount_refunded FROM pay_payment WHERE pay_no::text = refunds_test.pay_no('closed by callback');
-- Failed, the money is still there: the same refund again, or one of the shop's own.
SELECT decision, state, refundable FROM refunds_test.trade_no('second winner by callback') AS number,
	pay_refund_transition(refund_no => replace(number, '-', '') || 's', to_state => 'failed', merchant => 'refunds');
SELECT * FROM refunds_test.balance('second winner by callback');
SELECT decision, state, refundable FROM refunds_test.trade_no('second winner by callback') AS number,
	pay_refund(trade_no => number, refund_no => replace(number, '-', '') || 's', amount => 100, reason => 'once more');
SELECT kind, state FROM refunds_test.refunds('second winner by callback');
-- It is never cancelled: the money is nobody's to keep. If it went back in another way, that is a success.
SELECT test.try(format('SELECT decision FROM pay_refund_transition(refund_no => %L, to_state => %L, merchant => %L)',
	replace(refunds_test.trade_no('second winner by callback'), '-', '') || 's', 'cancelled', 'refunds'));
SELECT test.try(format('UPDATE pay_refund SET state = %L WHERE refund_no = %L', 'cancelled', replace(refunds_test.trade_no('second winner by callback'), '-', '') || 's'));
SELECT decision, state FROM refunds_test.trade_no('second winner by callback') AS number, pay_refund_callback(channel => 'test', callback_id => 'RC1', refund_no => replace(number, '-', '') || 's',
	reported => 'cancelled', merchant => 'refunds');
SELECT kind, refund_no LIKE '%s' AS surplus, reported FROM refunds_test.reviews('second winner by callback');
-- The channel has sent it back by itself, under a number of its own: that is the same money, so it does not fit.
SELECT * FROM refunds_test.report('own way', 'succeeded', 'RC2', 100, 'CNY', refunds_test.trade_no('second winner by callback'));
SELECT decision, state FROM refunds_test.trade_no('second winner by callback') AS number,
	pay_refund_transition(refund_no => replace(number, '-', '') || 's', to_state => 'succeeded', reason => 'the channel sent it back as "own way"', merchant => 'refunds');
SELECT * FROM refunds_test.balance('second winner by callback');
-- Known money that is told again opens none, whatever became of the refund.
SELECT answer FROM refunds_test.money('closed by callback', 'query');
SELECT count(*) AS refunds FROM refunds_test.refunds('closed by callback');
-- Nobody takes such a number for a refund of his own.
SELECT test.try(format('SELECT refunds_test.refund(%L, %L, 10)', 'A1', replace(refunds_test.trade_no('A1'), '-', '') || 's'));
-- Not yet collected, only authorized: no refund, but an attempt that must be closed.
SELECT refunds_test.doubtful('J1', 'closed');
SELECT decision, refund_no FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => refunds_test.trade_no('J1'), reported => 'authorized', amount => 100, currency => 'CNY');
SELECT * FROM refunds_test.balance('J1');
SELECT count(*) AS refunds, (SELECT count(*) FROM refunds_test.reviews('J1')) AS reviews FROM refunds_test.refunds('J1');
-- It is part of the caller's transaction: gone if that is gone, and there when the message comes again.
SELECT refunds_test.doubtful('J2', 'closed');
BEGIN;
SELECT answer, names_refund FROM refunds_test.money('J2', 'callback');
ROLLBACK;
SELECT count(*) AS refunds FROM refunds_test.refunds('J2');
SELECT answer, names_refund FROM refunds_test.money('J2', 'callback');
SELECT count(*) AS refunds FROM refunds_test.refunds('J2');

-- ---- surplus by a person's verdict ----

-- The channel collected less; the person sends it back, and the order waits to be paid.
SELECT refunds_test.open('K1');
SELECT refunds_test.paid('K1', amount => 90);
SELECT refunds_test.resolve('K1', 'refund');
SELECT test.states('refunds', 'K1');
SELECT * FROM refunds_test.refunds('K1');
SELECT * FROM refunds_test.balance('K1');
-- The same verdict again opens no second refund.
SELECT refunds_test.resolve('K1', 'refund');
SELECT count(*) AS refunds FROM refunds_test.refunds('K1');
SELECT refunds_test.open('K1', 'R2');
SELECT refunds_test.paid('K1', 'C2', 'T2', attempt => 2);
SELECT * FROM refunds_test.balance('K1');
-- Also when it is the order that is over.
SELECT refunds_test.doubtful('K2', 'closed');
SELECT refunds_test.paid('K2', amount => 101);
SELECT refunds_test.resolve('K2', 'refund');
SELECT * FROM refunds_test.balance('K2');
-- Paid again by another transaction of the channel: the attempt holds both, the order needs one. What is extra
-- goes back by refunds of its own, and leaves what can be refunded of the order as it is.
SELECT refunds_test.pay('K3');
SELECT refunds_test.paid('K3', 'C2', 'T2');
SELECT refunds_test.resolve('K3', 'refund');
SELECT refunds_test.paid('K3', 'C3', 'T3');
SELECT refunds_test.resolve('K3', 'refund');
SELECT amount_collected, amount_extra, amount_reserved, amount_refunded FROM pay_attempt WHERE trade_no::text = refunds_test.trade_no('K3');
SELECT refund_no, kind, state, amount FROM refunds_test.refunds('K3');
SELECT DISTINCT split_part(test.try(format('SELECT decision FROM pay_refund_transition(refund_no => %L, to_state => %L, merchant => %L)', refund_no, 'cancelled', 'refunds')), ' ', 1)
FROM pay_refund WHERE pay_no::text = refunds_test.pay_no('K3');
SELECT bool_and(refund_no ~ ('^' || replace(refunds_test.trade_no('K3'), '-', '') || 'x[0-9a-f]{16}$')) AS of_the_attempt, count(DISTINCT refund_no) AS different
FROM pay_refund WHERE pay_no::text = refunds_test.pay_no('K3');
-- What was counted once is known, by that transaction of the channel, however often it is told and with whatever amount.
SELECT refunds_test.paid('K3', 'C4', 'T2'), refunds_test.paid('K3', NULL, 'T3'), refunds_test.paid('K3', NULL, 'T3', amount => 99);
SELECT refunds_test.paid('K3', NULL, 'T1');
SELECT count(*) AS open_reviews FROM refunds_test.reviews('K3') WHERE verdict IS NULL;
SELECT * FROM refunds_test.balance('K3');
SELECT decision, refundable FROM pay_query('K3', 'refunds');
SELECT * FROM refunds_test.refund('K3', 'k3', 100);
SELECT test.sqlstate($$SELECT refunds_test.refund('K3', 'k4', 1)$$);
-- They go their way as any other; one that failed is tried again by its own number, all else is not its money.
SELECT state, (pay_refund_transition(refund_no => refund_no, to_state => CASE n WHEN 1 THEN 'failed' ELSE 'succeeded' END, merchant => 'refunds')).decision
FROM (SELECT *, row_number() OVER (ORDER BY requested_at) AS n FROM pay_refund WHERE pay_no::text = refunds_test.pay_no('K3') AND kind = 'extra') AS r ORDER BY n;
SELECT * FROM refunds_test.balance('K3');
SELECT test.sqlstate($$SELECT refunds_test.refund('K3', 'k4', 1)$$);
SELECT a.decision, a.state, a.amount FROM pay_refund r, pay_refund(trade_no => refunds_test.trade_no('K3'), refund_no => r.refund_no, amount => 100, reason => 'again') AS a
WHERE r.pay_no::text = refunds_test.pay_no('K3') AND r.state = 'failed';
SELECT * FROM refunds_test.balance('K3');
SELECT amount_collected, amount_refunded FROM pay_payment WHERE pay_no::text = refunds_test.pay_no('K3');
-- Only money of another transaction is more money: not what the same one is said to have been, nor what names none.
SELECT refunds_test.pay('K7');
SELECT refunds_test.paid('K7', 'C2', 'T1', amount => 99);
SELECT refunds_test.resolve('K7', 'refund');
SELECT refunds_test.resolve('K7', 'dismiss');
SELECT refunds_test.paid('K7', 'C3', NULL, amount => 98);
SELECT refunds_test.resolve('K7', 'refund');
SELECT refunds_test.resolve('K7', 'dismiss');
-- Told twice with two amounts before anybody looked: it is counted once.
SELECT refunds_test.paid('K7', 'C4', 'T2'), refunds_test.paid('K7', 'C5', 'T2', amount => 90);
SELECT refunds_test.resolve('K7', 'refund');
SELECT verdict, split_part(test.try(format('SELECT decision FROM pay_review_resolve(%s, %L, %L)', review_id, 'refund', 'a test')), ' ', 1) AS refund, amount
FROM pay_review WHERE pay_no::text = refunds_test.pay_no('K7') AND verdict IS NULL;
SELECT refund_no, kind, amount FROM refunds_test.refunds('K7');
SELECT * FROM refunds_test.balance('K7');
-- Nor is there room for such numbers: they are only given here.
SELECT f AS form, test.sqlstate(format('SELECT refunds_test.refund(%L, %L, 1)', 'K7', replace(refunds_test.pay_no('K7'), '-', '') || f)) AS asked_for,
	(SELECT decision FROM refunds_test.report(replace(refunds_test.pay_no('K7'), '-', '') || f, 'succeeded', NULL, 1, trade_no => refunds_test.trade_no('K7'))) AS reported
FROM unnest('{s,s1,x,x0123456789abcdef,d,d77,b}'::text[]) AS f;
-- Money of another currency is in no sum of ours: by hand.
SELECT refunds_test.open('K4');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => refunds_test.trade_no('K4'), reported => 'paid', amount => 100, currency => 'USD');
SELECT refunds_test.resolve('K4', 'refund');
SELECT refunds_test.resolve('K4', 'dismiss');
-- Too little authorized: the void. Only where that is a step.
SELECT refunds_test.open('K5');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => refunds_test.trade_no('K5'), reported => 'authorized', amount => 90, currency => 'CNY');
SELECT refunds_test.resolve('K5', 'refund');
SELECT test.states('refunds', 'K5');
SELECT count(*) AS refunds FROM refunds_test.refunds('K5');
SELECT refunds_test.open('K8');
SELECT decision FROM pay_transition(trade_no => refunds_test.trade_no('K8'), to_state => 'failed');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => refunds_test.trade_no('K8'), reported => 'authorized', amount => 90, currency => 'CNY');
SELECT refunds_test.resolve('K8', 'refund');
-- A refund of such money that is abnormal: its review is not about money of the order, so it does not stop a prepay.
SELECT refunds_test.open('K6');
SELECT refunds_test.paid('K6', amount => 90);
SELECT refunds_test.resolve('K6', 'refund');
SELECT r.decision, r.state FROM pay_refund f, pay_refund_transition(refund_no => f.refund_no, to_state => 'abnormal', merchant => 'refunds') AS r WHERE f.pay_no::text = refunds_test.pay_no('K6');
SELECT kind, about_money FROM refunds_test.reviews('K6') WHERE verdict IS NULL;
SELECT refunds_test.open('K6', 'R2');

-- ---- guards ----

-- Every column of pay_refund: who goes around the functions may step it, name the channel's transaction and say why.
SELECT refunds_test.pay('L1');
SELECT * FROM refunds_test.refund('L1', 'l1', 60);
CREATE FUNCTION refunds_test.change(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	affected bigint;
BEGIN
	EXECUTE statement;
	GET DIAGNOSTICS affected = ROW_COUNT;
	RAISE EXCEPTION 'allowed' USING ERRCODE = CASE affected WHEN 0 THEN 'NO000' ELSE 'OK000' END;
EXCEPTION WHEN OTHERS THEN
	RETURN replace(replace(SQLSTATE, 'OK000', 'allowed'), 'NO000', 'no row');
END
$$;
SELECT answer, string_agg(column_name, ' ' ORDER BY column_name COLLATE "C") AS columns
FROM (SELECT a.attname::text AS column_name, refunds_test.change(format('UPDATE pay_refund SET %I = %s WHERE refund_no = ''l1'' AND merchant = ''refunds''', a.attname,
		CASE a.atttypid::regtype::text
			WHEN 'uuid' THEN $$'019b76da80008000800123456789abcd'$$
			WHEN 'timestamp with time zone' THEN $$'2026-01-02 00:00 UTC'$$
			WHEN 'text' THEN $$'chargeback'$$
			WHEN 'boolean' THEN format('NOT %I', a.attname)
			WHEN 'pay_refund_state' THEN $$'succeeded'$$
			ELSE format('coalesce(%I, 0) + 1', a.attname) END)) AS answer
	FROM pg_attribute a WHERE a.attrelid = 'pay_refund'::regclass AND a.attnum > 0 AND NOT a.attisdropped) AS c
GROUP BY answer ORDER BY answer COLLATE "C";
-- And what of a refund is written elsewhere is nobody's to write.
SELECT relation, "column", refunds_test.change(format('UPDATE %I SET %I = %s WHERE pay_no = %L', relation, "column", value, refunds_test.pay_no('L1'))) AS answer
FROM (VALUES ('pay_payment', 'amount_refunded', '1'), ('pay_payment', 'replaced_by', 'pay_no'), ('pay_attempt', 'amount_reserved', '0'), ('pay_attempt', 'amount_refunded', '1'),
	('pay_attempt', 'amount_extra', '1'), ('pay_event', 'refund_no', $$'x'$$), ('pay_event', 'refund_after', $$'failed'$$)) AS v (relation, "column", value);
SELECT test.try($$UPDATE pay_refund SET amount = 1 WHERE refund_no = 'l1'$$);
-- Nor what was collected, nor by whom: what is needed and what can go back follow from it.
SELECT relation, set, refunds_test.change(format('UPDATE %I SET %s WHERE pay_no = %L', relation, set, refunds_test.pay_no('L1'))) AS answer
FROM (VALUES (1, 'pay_attempt', 'amount_collected = 59'), (2, 'pay_attempt', 'amount_collected = 150'), (3, 'pay_payment', 'amount_collected = 59'),
	(4, 'pay_payment', 'amount_collected = 150'), (5, 'pay_payment', 'winner = NULL')) AS v (n, relation, set) ORDER BY n;
-- And were it not for that: the row itself keeps the cap.
BEGIN;
SET LOCAL session_replication_role = replica;
SELECT test.sqlstate(format('UPDATE pay_attempt SET amount_collected = 59 WHERE trade_no = %L', refunds_test.trade_no('L1'))) AS less_than_reserved,
	test.sqlstate(format('UPDATE pay_attempt SET amount_reserved = 101 WHERE trade_no = %L', refunds_test.trade_no('L1'))) AS reserved_more,
	test.sqlstate(format('UPDATE pay_attempt SET amount_refunded = 41 WHERE trade_no = %L', refunds_test.trade_no('L1'))) AS refunded_more;
ROLLBACK;
-- Setting what is there changes nothing and is nothing.
TRUNCATE before;
INSERT INTO before SELECT refunds_test.fingerprint();
UPDATE pay_refund SET amount = amount, state = state, refund_no = refund_no WHERE merchant = 'refunds';
SELECT test.try('DELETE FROM pay_refund');
SELECT test.try('TRUNCATE pay_refund');
SELECT fingerprint = refunds_test.fingerprint() AS nothing_changed FROM before;
-- A legal step is logged by name, and the sums follow; an illegal one is refused. (All pairs: see refund_steps.)
UPDATE pay_refund SET state = 'processing', channel_txn = 'RT1' WHERE refund_no = 'l1' AND merchant = 'refunds';
UPDATE pay_refund SET state = 'failed', reason = 'the bank said no' WHERE refund_no = 'l1' AND merchant = 'refunds';
SELECT * FROM refunds_test.balance('L1');
SELECT test.try($$UPDATE pay_refund SET state = 'abnormal' WHERE refund_no = 'l1' AND merchant = 'refunds'$$);
SELECT source, attempt, attempts, refund_no, reported, decision, step FROM refunds_test.history('L1') OFFSET 3;
SELECT reason, channel_txn FROM pay_refund WHERE refund_no = 'l1' AND merchant = 'refunds';
-- The cap holds for him too, and the functions go on from there.
SELECT * FROM refunds_test.refund('L1', 'l2', 41);
SELECT test.try($$UPDATE pay_refund SET state = 'requested' WHERE refund_no = 'l1' AND merchant = 'refunds'$$);
SELECT regexp_replace(test.try($$UPDATE pay_refund SET state = 'cancelled' WHERE refund_no = 'l2' AND merchant = 'refunds'$$), 'at [-0-9:. +]+', 'at <time>') AS handed_out;
SELECT * FROM refunds_test.call_off('l2');
UPDATE pay_refund SET state = 'succeeded' WHERE refund_no = 'l1' AND merchant = 'refunds';
SELECT amount_refunded FROM pay_payment WHERE pay_no::text = refunds_test.pay_no('L1');
SELECT * FROM refunds_test.report('l1', 'succeeded', 'RC1', 60, 'CNY');
-- Several in one statement: each by its own attempt's cap, or none of them.
SELECT * FROM refunds_test.refund('L1', 'l3', 20);
SELECT * FROM refunds_test.refund('L1', 'l4', 20);
UPDATE pay_refund SET state = 'failed' WHERE refund_no IN ('l3', 'l4') AND merchant = 'refunds';
SELECT * FROM refunds_test.refund('L1', 'l5', 10);
SELECT test.sqlstate($$UPDATE pay_refund SET state = 'requested' WHERE refund_no IN ('l3', 'l4') AND merchant = 'refunds'$$);
SELECT refund_no, state FROM refunds_test.refunds('L1');
SELECT * FROM refunds_test.step('l5', 'succeeded');
UPDATE pay_refund SET state = 'requested' WHERE refund_no = 'l3' AND merchant = 'refunds';
SELECT * FROM refunds_test.balance('L1');
-- A trigger that spoils the row after our guard is caught.
CREATE FUNCTION refunds_test.spoil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_ARGV[0] = 'state' THEN
		NEW.state := TG_ARGV[1];
	ELSE
		NEW.amount := 1;
	END IF;
	RETURN NEW;
END
$$;
CREATE FUNCTION refunds_test.spoiled(spoils text, OUT by_update text, OUT by_function text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER zzz BEFORE UPDATE ON pay_refund FOR EACH ROW EXECUTE FUNCTION refunds_test.spoil(%s)', spoils);
	by_update := refunds_test.change($u$UPDATE pay_refund SET reason = 'other' WHERE refund_no = 'l3' AND merchant = 'refunds'$u$);
	by_function := refunds_test.change($f$SELECT pay_refund_transition(refund_no => 'l3', to_state => 'processing', merchant => 'refunds')$f$);
	DROP TRIGGER zzz ON pay_refund;
END
$$;
SELECT spoils, by_update, by_function FROM (VALUES (1, $$'amount'$$), (2, $$'state', 'failed'$$)) AS v (n, spoils), refunds_test.spoiled(spoils) ORDER BY n;
SELECT refund_no, state, amount FROM refunds_test.refunds('L1') WHERE refund_no = 'l3';

-- ---- the books ----

-- Of every order here: collected is needed or surplus, what goes back was collected,
SELECT count(*) > 40 AS orders, count(*) FILTER (WHERE collected <> needed + surplus) AS lost, count(*) FILTER (WHERE refunded + reserved > collected + overdrawn) AS too_much,
	count(*) FILTER (WHERE refundable <> collected + overdrawn - reserved - refunded) AS wrong_rest, count(*) FILTER (WHERE overdrawn > 0) AS overdrawn
FROM pay_balance WHERE merchant LIKE 'refunds%';
-- what the attempts say of their refunds is what the refunds say (extra money has its own, one to one),
SELECT count(*) AS attempts_wrong FROM pay_payment p JOIN pay_attempt a USING (pay_no),
	LATERAL (SELECT coalesce(sum(r.amount) FILTER (WHERE r.state IN ('requested', 'processing', 'unknown', 'abnormal')), 0) AS reserved,
		coalesce(sum(r.amount) FILTER (WHERE r.state = 'succeeded'), 0) AS refunded FROM pay_refund r WHERE r.pay_no = a.pay_no AND r.attempt = a.attempt AND r.kind <> 'extra') AS r
WHERE merchant LIKE 'refunds%' AND ((coalesce(a.amount_reserved, 0), coalesce(a.amount_refunded, 0)) <> (r.reserved, r.refunded)
	OR coalesce(a.amount_extra, 0) <> (SELECT coalesce(sum(amount), 0) FROM pay_refund e WHERE e.pay_no = a.pay_no AND e.attempt = a.attempt AND e.kind = 'extra'));
-- and a payment's, what the winner gave back.
SELECT count(*) AS payments_wrong FROM pay_payment p WHERE merchant LIKE 'refunds%'
	AND amount_refunded <> (SELECT least(coalesce(sum(r.amount), 0), p.amount_collected) FROM pay_refund r WHERE r.pay_no = p.pay_no AND r.attempt = p.winner AND r.state = 'succeeded' AND r.kind IN ('refund', 'chargeback'));
-- Every refund's history is unbroken, by legal steps, and ends in the state that the row has.
SELECT count(*) > 50 AS events, count(*) FILTER (WHERE refund_before IS DISTINCT FROM was) AS breaks,
	count(*) FILTER (WHERE refund_before <> refund_after AND NOT EXISTS (SELECT FROM pay_steps()
		WHERE machine = 'refund' AND from_state = refund_before::text AND to_state = refund_after::text)) AS illegal
FROM (SELECT *, lag(refund_after) OVER (PARTITION BY merchant, refund_no ORDER BY seq) AS was
	FROM pay_event JOIN pay_payment USING (pay_no) WHERE merchant LIKE 'refunds%' AND refund_no IS NOT NULL) AS e;
SELECT count(*) AS wrong FROM pay_refund r WHERE merchant LIKE 'refunds%' AND state IS DISTINCT FROM
	(SELECT refund_after FROM pay_event e WHERE e.pay_no = r.pay_no AND e.refund_no = r.refund_no ORDER BY seq DESC LIMIT 1);

DROP SCHEMA refunds_test CASCADE;
