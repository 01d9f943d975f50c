-- pay_prepay, rule by rule, in the order in which the rules are asked.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA prepay_test;

-- The usual call: 100 CNY through test/test.
CREATE FUNCTION prepay_test.prepay(order_no text, request_id text, method text DEFAULT 'test', channel text DEFAULT 'test',
	OUT decision text, OUT state text, OUT attempt integer, OUT attempt_state text, OUT credential text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt, attempt_state, credential
	FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => 'prepay',
		channel => channel, method => method, request_id => request_id)
$$;
CREATE FUNCTION prepay_test.trade_no(order_no text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT a.trade_no::text FROM pay_payment p JOIN pay_attempt a USING (pay_no)
	WHERE p.merchant = 'prepay' AND p.order_no = trade_no.order_no AND a.attempt = trade_no.attempt
$$;
CREATE FUNCTION prepay_test.pay_no(order_no text) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT p.pay_no::text FROM pay_payment p WHERE p.merchant = 'prepay' AND p.order_no = pay_no.order_no
$$;
-- Time is moved, not waited for: an attempt as if it had been handed out, or its
-- credential had been given, that much earlier. No column of ours is immutable there.
CREATE FUNCTION prepay_test.earlier(order_no text, earlier interval, attempt integer DEFAULT 1) RETURNS void LANGUAGE sql AS $$
	UPDATE pay_attempt a SET handed_out_at = handed_out_at - earlier, credential_expires_at = credential_expires_at - earlier
	WHERE a.trade_no = prepay_test.trade_no(earlier.order_no, earlier.attempt)::uuid
$$;

-- ---- 1: arguments; no payment for this order: make it and open attempt 1 ----

SELECT test.try($$SELECT decision FROM prepay_test.prepay('E1', '')$$);
SELECT count(*) AS made FROM pay_payment WHERE merchant = 'prepay' AND order_no = 'E1';

SELECT decision, merchant, order_no, state, attempt, attempt_state, channel, method, amount, currency, credential,
	credential_expires_at, other_order_no, length(trade_no) AS digits, pay_no IS NOT NULL AS has_number
FROM pay_prepay(order_no => 'A1', amount => 100, currency => 'CNY', channel => 'test', method => 'qr', request_id => 'R1',
	merchant => 'prepay', payer => 'bob', valid_for => '1 day', metadata => '{"cart": 7}');
SELECT state, amount, amount_collected, currency, payer, multi, valid_until - created_at BETWEEN '1 day -1 s' AND '1 day 1 s' AS for_a_day,
	winner, end_requested, last_seq, cardinality(routes) AS attempts, metadata
FROM pay_payment WHERE merchant = 'prepay' AND order_no = 'A1';
SELECT a.attempt, a.state, a.amount, a.request_id, c.method, a.handed_out_at >= a.opened_at AS handed_out, a.credential, a.channel_txn
FROM pay_attempt a JOIN pay_payment p USING (pay_no) JOIN pay_channel c USING (route) WHERE p.merchant = 'prepay' AND p.order_no = 'A1';
SELECT seq, source, attempt, decision, payment_before, payment_after, attempt_before, attempt_after
FROM pay_history(prepay_test.pay_no('A1'));
-- The same order number of another merchant is another order.
SELECT decision, attempt FROM pay_prepay(order_no => 'A1', amount => 7, currency => 'USD', channel => 'test', method => 'test',
	request_id => 'R1', merchant => 'prepay 2');

-- pay_create makes the payment and opens nothing; it says whether it was there.
SELECT decision, state, attempt, attempt_state, trade_no, amount, currency
FROM pay_create(order_no => 'A2', amount => 100, currency => 'CNY', merchant => 'prepay', payer => 'bob');
SELECT decision, state FROM pay_create(order_no => 'A2', amount => 100, currency => 'CNY', merchant => 'prepay', payer => 'bob');
SELECT decision, state FROM pay_create(order_no => 'A2', amount => 100, currency => 'CNY', merchant => 'prepay');
SELECT test.try($$SELECT pay_create(order_no => 'A2', amount => 99, currency => 'CNY', merchant => 'prepay')$$);
SELECT * FROM prepay_test.prepay('A2', 'R1');
SELECT decision, state FROM pay_create(order_no => 'A2', amount => 100, currency => 'CNY', merchant => 'prepay');
SELECT seq, source, attempt, decision, payment_before, payment_after, attempt_before, attempt_after
FROM pay_history(prepay_test.pay_no('A2'));

-- ---- 2: other content than the payment was made with is PY422, naming all of it ----

CREATE FUNCTION prepay_test.other(content text) RETURNS text LANGUAGE sql AS $$
	SELECT test.try(format($call$SELECT decision FROM pay_prepay(order_no => 'A1', merchant => 'prepay', channel => 'test', method => 'qr',
		request_id => 'R1', %s)$call$, content))
$$;
SELECT prepay_test.other($$amount => 101, currency => 'CNY'$$);
SELECT prepay_test.other($$amount => 100, currency => 'USD'$$);
SELECT prepay_test.other($$amount => 100, currency => 'CNY', payer => 'alice'$$);
SELECT prepay_test.other($$amount => 100, currency => 'CNY', multi => true$$);
SELECT prepay_test.other($$amount => 101, currency => 'USD', payer => 'alice', multi => true$$);
-- As made, said or not said.
SELECT prepay_test.other($$amount => 100, currency => 'CNY', payer => 'bob', multi => false$$);
SELECT prepay_test.other($$amount => 100, currency => 'CNY'$$);
-- A payer that was not known (NULL) becomes known by the first call that brings it; from then on it is the payment's.
SELECT * FROM prepay_test.prepay('A3', 'R1');
SELECT test.sqlstate($$SELECT pay_prepay(order_no => 'A3', amount => 100, currency => 'CNY', merchant => 'prepay', payer => 'bob',
	channel => 'test', method => 'test', request_id => 'R1')$$);
SELECT payer FROM pay_payment WHERE pay_no = prepay_test.pay_no('A3')::uuid;
SELECT test.sqlstate($$SELECT pay_prepay(order_no => 'A3', amount => 100, currency => 'CNY', merchant => 'prepay', payer => 'eve',
	channel => 'test', method => 'test', request_id => 'R1')$$);
-- This comes before anything about the order's state.
SELECT decision FROM pay_transition(trade_no => prepay_test.trade_no('A1'), to_state => 'paid');
SELECT left(prepay_test.other($$amount => 101, currency => 'CNY'$$), 5);

-- ---- 3: a request id that opened an attempt stands for that channel and method ----

SELECT * FROM prepay_test.prepay('C1', 'R1');
SELECT test.try($$SELECT prepay_test.prepay('C1', 'R1', 'qr')$$);
SELECT test.sqlstate($$SELECT prepay_test.prepay('C1', 'R1', 'native', 'wechat')$$);
-- Its attempt is open: its own, handed out again.
SELECT * FROM prepay_test.prepay('C1', 'R1');
-- A request that was not handed an attempt has not used up its id.
SELECT * FROM prepay_test.prepay('C1', 'R2');
SELECT decision FROM pay_transition(trade_no => prepay_test.trade_no('C1'), to_state => 'failed');
SELECT * FROM prepay_test.prepay('C1', 'R2', 'qr');
-- Its attempt is over: it goes on as any other call, here to an open attempt of another method.
SELECT * FROM prepay_test.prepay('C1', 'R1');
SELECT decision FROM pay_transition(trade_no => prepay_test.trade_no('C1', 2), to_state => 'failed');
SELECT * FROM prepay_test.prepay('C1', 'R1');
-- And it is still not free for another method.
SELECT test.sqlstate($$SELECT prepay_test.prepay('C1', 'R1', 'qr')$$);
-- Another order knows nothing of this id.
SELECT * FROM prepay_test.prepay('C2', 'R1', 'qr');

-- ---- 4: paid, closed, reversed, past valid_for ----

SELECT test.put('prepay', 'D ' || s, s, ARRAY[s]) IS NOT NULL AS put FROM unnest('{paid,closed,reversed}'::text[]) AS s;
SELECT * FROM prepay_test.prepay('D paid', 'R9');
SELECT * FROM prepay_test.prepay('D closed', 'R9');
SELECT * FROM prepay_test.prepay('D reversed', 'R9');
-- The request that opened the attempt hears the same.
SELECT * FROM prepay_test.prepay('D paid', 'R1');
-- Past valid_for with nothing open: closed now, and that is an event.
SELECT * FROM prepay_test.prepay('D1', 'R1');
SELECT decision FROM pay_transition(trade_no => prepay_test.trade_no('D1'), to_state => 'failed');
UPDATE pay_payment SET valid_until = now() + interval '1 hour' WHERE pay_no = prepay_test.pay_no('D1')::uuid;
BEGIN;
SELECT * FROM prepay_test.prepay('D1', 'R2');
ROLLBACK;
UPDATE pay_payment SET valid_until = now() - interval '1 second' WHERE pay_no = prepay_test.pay_no('D1')::uuid;
SELECT decision, state FROM pay_query('D1', 'prepay');
SELECT * FROM prepay_test.prepay('D1', 'R2');
SELECT * FROM prepay_test.prepay('D1', 'R3');
SELECT seq, source, attempt, decision, payment_before, payment_after, attempt_after FROM pay_history(prepay_test.pay_no('D1')) OFFSET 2;
SELECT decision FROM pay_create(order_no => 'D2', amount => 100, currency => 'CNY', merchant => 'prepay', valid_for => '1 hour');
UPDATE pay_payment SET valid_until = now() - interval '1 second' WHERE pay_no = prepay_test.pay_no('D2')::uuid;
SELECT * FROM prepay_test.prepay('D2', 'R1');
-- infinity is no limit, -infinity is long past.
SELECT decision FROM pay_create(order_no => 'D4', amount => 100, currency => 'CNY', merchant => 'prepay');
UPDATE pay_payment SET valid_until = 'infinity' WHERE pay_no = prepay_test.pay_no('D4')::uuid;
SELECT decision FROM pay_query('D4', 'prepay');
UPDATE pay_payment SET valid_until = '-infinity' WHERE pay_no = prepay_test.pay_no('D4')::uuid;
SELECT decision FROM pay_query('D4', 'prepay');
-- While an attempt is open, that attempt is the answer: the customer may use the
-- credential that he has, but gets no new one; and what he pays still counts.
SELECT * FROM prepay_test.prepay('D3', 'R1');
SELECT decision FROM pay_credential(trade_no => prepay_test.trade_no('D3'), credential => 'prepay_id=1', valid_for => '1 hour');
UPDATE pay_payment SET valid_until = now() - interval '1 second' WHERE pay_no = prepay_test.pay_no('D3')::uuid;
SELECT * FROM prepay_test.prepay('D3', 'R2');
SELECT prepay_test.earlier('D3', '2 hours');
SELECT * FROM prepay_test.prepay('D3', 'R2');
SELECT * FROM prepay_test.prepay('D3', 'R1');
SELECT decision, credential FROM pay_credential(trade_no => prepay_test.trade_no('D3'), credential => 'prepay_id=2', valid_for => '1 hour');
SELECT decision, state FROM pay_transition(trade_no => prepay_test.trade_no('D3'), to_state => 'paid');

-- ---- 5: an open review about money ----

SELECT * FROM prepay_test.prepay('F1', 'R1');
SELECT decision, state FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => prepay_test.trade_no('F1'),
	reported => 'paid', amount => 99, currency => 'CNY');
SELECT * FROM prepay_test.prepay('F1', 'R1');
SELECT * FROM prepay_test.prepay('F1', 'R2', 'qr');
SELECT decision, state FROM pay_transition(trade_no => prepay_test.trade_no('F1'), to_state => 'failed');
SELECT * FROM prepay_test.prepay('F1', 'R3');
SELECT decision, state FROM pay_query('F1', 'prepay');
SELECT decision FROM pay_review_resolve((SELECT review_id FROM pay_review WHERE pay_no = prepay_test.pay_no('F1')::uuid), 'dismiss', 'a test transfer');
SELECT * FROM prepay_test.prepay('F1', 'R3');
-- A paid or closed order stays that, review or not.
SELECT * FROM prepay_test.prepay('F2', 'R1');
SELECT decision FROM pay_transition(trade_no => prepay_test.trade_no('F2'), to_state => 'paid', channel_txn => 'T1');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C2', trade_no => prepay_test.trade_no('F2'),
	reported => 'paid', amount => 100, currency => 'CNY', channel_txn => 'T2');
SELECT count(*) AS open_reviews FROM pay_review WHERE pay_no = prepay_test.pay_no('F2')::uuid AND about_money AND resolved_at IS NULL;
SELECT * FROM prepay_test.prepay('F2', 'R2');

-- ---- 6: an attempt is open ----

-- By its state; nothing is written.
SELECT test.put('prepay', 'G ' || s, s, ARRAY[s]) IS NOT NULL AS put
FROM unnest('{paying,authorized,capturing,unknown,closing}'::text[]) AS s;
CREATE TEMP TABLE before AS SELECT test.fingerprint();
SELECT s AS open_attempt, request_id, decision, state, attempt, attempt_state
FROM unnest('{paying,authorized,capturing,unknown,closing}'::text[]) WITH ORDINALITY AS o (s, n),
	(VALUES ('R2'), ('R1')) AS r (request_id), prepay_test.prepay('G ' || s, request_id)
WHERE (s, request_id) <> ('paying', 'R1')
ORDER BY n, request_id;
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before;

-- paying with a live credential: everybody is shown it, before and after resubmit_after.
SELECT * FROM prepay_test.prepay('G1', 'R1');
SELECT decision, credential, credential_expires_at - now() BETWEEN '59 min' AND '61 min' AS for_an_hour
FROM pay_credential(trade_no => prepay_test.trade_no('G1'), credential => 'prepay_id=1', valid_for => '1 hour');
SELECT * FROM prepay_test.prepay('G1', 'R1');
SELECT * FROM prepay_test.prepay('G1', 'R2');
SELECT prepay_test.earlier('G1', '50 minutes');
SELECT * FROM prepay_test.prepay('G1', 'R1');
SELECT * FROM prepay_test.prepay('G1', 'R2');
-- Dead: its own request gets the same attempt again at once.
SELECT prepay_test.earlier('G1', '20 minutes');
SELECT decision, state, attempt, trade_no = replace(prepay_test.trade_no('G1'), '-', '') AS same_number, credential
FROM pay_prepay(order_no => 'G1', amount => 100, currency => 'CNY', merchant => 'prepay', channel => 'test', method => 'test', request_id => 'R1');
-- Handed out just now, so another request waits.
SELECT * FROM prepay_test.prepay('G1', 'R2');
-- The channel answers the same number with the same credential: it lives again.
SELECT decision, credential FROM pay_credential(trade_no => prepay_test.trade_no('G1'), credential => 'prepay_id=1', valid_for => '1 hour');
SELECT decision, credential FROM pay_credential(trade_no => prepay_test.trade_no('G1'), credential => 'prepay_id=1', valid_for => '1 hour');
SELECT * FROM prepay_test.prepay('G1', 'R2');

-- No credential yet: its own request at once, others after resubmit_after: here half an hour.
UPDATE pay_channel SET resubmit_after = '30 minutes' WHERE channel = 'test' AND method = 'test';
SELECT * FROM prepay_test.prepay('G2', 'R1');
SELECT * FROM prepay_test.prepay('G2', 'R1');
SELECT * FROM prepay_test.prepay('G2', 'R2');
SELECT * FROM prepay_test.prepay('G2', 'R2', 'qr');
SELECT prepay_test.earlier('G2', '15 minutes');
SELECT * FROM prepay_test.prepay('G2', 'R2');
SELECT prepay_test.earlier('G2', '20 minutes');
-- Through another channel or method nobody can know: query or close first.
SELECT * FROM prepay_test.prepay('G2', 'R2', 'qr');
SELECT * FROM prepay_test.prepay('G2', 'R2', 'native', 'wechat');
SELECT decision, state FROM pay_query('G2', 'prepay');
SELECT decision, attempt, trade_no = replace(prepay_test.trade_no('G2'), '-', '') AS same_number
FROM pay_prepay(order_no => 'G2', amount => 100, currency => 'CNY', merchant => 'prepay', channel => 'test', method => 'test', request_id => 'R2');
-- It was recorded: only one caller gets it.
SELECT * FROM prepay_test.prepay('G2', 'R3');
SELECT decision, state FROM pay_query('G2', 'prepay');
SELECT count(*) AS attempts FROM pay_attempt WHERE pay_no = prepay_test.pay_no('G2')::uuid;

-- resubmit_after is the channel's: a row of pay_channel.
UPDATE pay_channel SET resubmit_after = '30 minutes' WHERE channel = 'test' AND method = 'test';
BEGIN;
UPDATE pay_channel SET resubmit_after = '0' WHERE channel = 'test' AND method = 'test';
SELECT * FROM prepay_test.prepay('G2', 'R3');
SELECT * FROM prepay_test.prepay('G2', 'R4');
UPDATE pay_channel SET resubmit_after = '1 hour' WHERE channel = 'test' AND method = 'test';
SELECT prepay_test.earlier('G2', '50 minutes');
SELECT * FROM prepay_test.prepay('G2', 'R5');
SELECT prepay_test.earlier('G2', '15 minutes');
SELECT * FROM prepay_test.prepay('G2', 'R5');
ROLLBACK;

-- A channel that does not take the same number again: unknown instead.
BEGIN;
UPDATE pay_channel SET can_resubmit = false WHERE channel = 'test' AND method = 'test';
SELECT * FROM prepay_test.prepay('G3', 'R1');
SELECT * FROM prepay_test.prepay('G3', 'R1');
SELECT * FROM prepay_test.prepay('G3', 'R2');
SELECT prepay_test.earlier('G3', '35 minutes');
SELECT * FROM prepay_test.prepay('G3', 'R2');
SELECT decision, state FROM pay_query('G3', 'prepay');
-- With a live credential nothing need be sent again.
SELECT decision FROM pay_credential(trade_no => prepay_test.trade_no('G3'), credential => 'prepay_id=3', valid_for => '1 hour');
SELECT * FROM prepay_test.prepay('G3', 'R1');
ROLLBACK;

-- multi: an attempt that is paying or unknown does not stop a new one.
CREATE FUNCTION prepay_test.multi(order_no text, request_id text, method text DEFAULT 'test',
	OUT decision text, OUT state text, OUT attempt integer, OUT attempt_state text, OUT credential text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt, attempt_state, credential
	FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => 'prepay', multi => true,
		channel => 'test', method => method, request_id => request_id)
$$;
SELECT * FROM prepay_test.multi('M1', 'R1');
SELECT * FROM prepay_test.multi('M1', 'R2');
SELECT * FROM prepay_test.multi('M1', 'R3', 'qr');
-- A request that has an open attempt gets its own.
SELECT * FROM prepay_test.multi('M1', 'R1');
SELECT decision FROM pay_credential(trade_no => prepay_test.trade_no('M1', 2), credential => 'prepay_id=2', valid_for => '1 hour');
SELECT * FROM prepay_test.multi('M1', 'R2');
SELECT decision, state FROM pay_transition(trade_no => prepay_test.trade_no('M1', 1), to_state => 'unknown');
SELECT * FROM prepay_test.multi('M1', 'R4');
-- As made: multi need not be said again.
SELECT * FROM prepay_test.prepay('M1', 'R5');
-- One that is closing or authorized does stop it, and its own request too.
SELECT decision, state FROM pay_transition(trade_no => prepay_test.trade_no('M1', 3), to_state => 'closing');
SELECT decision, state FROM prepay_test.multi('M1', 'R6');
SELECT decision, state FROM pay_transition(trade_no => prepay_test.trade_no('M1', 3), to_state => 'closed');
SELECT decision, state FROM pay_transition(trade_no => prepay_test.trade_no('M1', 2), to_state => 'authorized');
SELECT decision, state, attempt, attempt_state FROM prepay_test.multi('M1', 'R6');
SELECT decision, state, attempt, attempt_state FROM prepay_test.multi('M1', 'R4');
SELECT decision, state FROM pay_transition(trade_no => prepay_test.trade_no('M1', 2), to_state => 'paid');
SELECT decision, state, attempt, attempt_state FROM prepay_test.multi('M1', 'R6');
SELECT decision, state, attempt, attempt_state FROM prepay_test.multi('M1', 'R4');
SELECT test.states('prepay', 'M1');
-- Without multi too two can be open: one that failed, and late is authorized after all.
SELECT * FROM prepay_test.prepay('M2', 'R1');
SELECT decision, state FROM pay_transition(trade_no => prepay_test.trade_no('M2', 1), to_state => 'failed');
SELECT * FROM prepay_test.prepay('M2', 'R2');
SELECT decision, state FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => prepay_test.trade_no('M2', 1),
	reported => 'authorized', amount => 100, currency => 'CNY');
SELECT decision, state, attempt, attempt_state FROM prepay_test.prepay('M2', 'R2');

-- ---- 7: max_attempts of the channel, 63 in all ----

BEGIN;
UPDATE pay_channel SET max_attempts = 2 WHERE channel = 'test' AND method = 'qr';
CREATE FUNCTION prepay_test.fail(order_no text, times integer, method text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answers text;
BEGIN
	FOR i IN 1..times LOOP
		answers := concat_ws(' ', answers, (SELECT decision || '/' || coalesce(attempt, 0)
			FROM prepay_test.prepay(order_no, method || i, method)));
		PERFORM pay_transition(trade_no => (SELECT trade_no FROM pay_query(order_no, 'prepay')), to_state => 'failed');
	END LOOP;
	RETURN answers;
END
$$;
SELECT prepay_test.fail('T1', 2, 'qr');
SELECT decision, state FROM prepay_test.prepay('T1', 'R3', 'qr');
SELECT * FROM prepay_test.prepay('T1', 'R3', 'native', 'wechat');
-- 63 in all, whatever the channels say.
SELECT prepay_test.fail('T2', 63, 'test') LIKE 'proceed/1 % proceed/63' AS all_63;
SELECT decision, state FROM prepay_test.prepay('T2', 'R64', 'test');
SELECT decision, state FROM prepay_test.prepay('T2', 'R64', 'native', 'wechat');
SELECT decision, state FROM pay_query('T2', 'prepay');
SELECT pay_attempt_of(trade_no::text) FROM pay_attempt WHERE pay_no = prepay_test.pay_no('T2')::uuid ORDER BY attempt DESC LIMIT 1;
ROLLBACK;

-- ---- 8: replaces: the customer gives up an undecided order for this one ----

CREATE FUNCTION prepay_test.replace(order_no text, replaces text, request_id text DEFAULT 'R1',
	OUT decision text, OUT state text, OUT attempt integer, OUT other_order_no text, OUT detail text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt, other_order_no, detail
	FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => 'prepay',
		channel => 'test', method => 'test', request_id => request_id, replaces => replaces)
$$;
SELECT * FROM prepay_test.prepay('W1', 'R1');
SELECT decision FROM pay_credential(trade_no => prepay_test.trade_no('W1'), credential => 'prepay_id=1', valid_for => '1 hour');
-- Which order, and that it is of the same merchant, must be right; and nobody replaces himself.
SELECT test.try($$SELECT prepay_test.replace('W2', 'W0')$$);
SELECT test.try($$SELECT pay_prepay(order_no => 'W2', amount => 100, currency => 'CNY', merchant => 'prepay 2',
	channel => 'test', method => 'test', request_id => 'R1', replaces => 'W1')$$);
SELECT test.try($$SELECT prepay_test.replace('W1', 'W1')$$);
SELECT count(*) AS made FROM pay_payment WHERE merchant LIKE 'prepay%' AND order_no = 'W2';
-- The old order is marked, its attempt is to be closed; the new one is opened.
SELECT * FROM prepay_test.replace('W2', 'W1');
SELECT replaced_by = prepay_test.pay_no('W2')::uuid AS by_the_new_one, end_requested FROM pay_payment WHERE pay_no = prepay_test.pay_no('W1')::uuid;
SELECT test.states('prepay', 'W1') AS old, test.states('prepay', 'W2') AS new;
SELECT seq, source, attempt, decision, payment_before, payment_after, attempt_before, attempt_after, reason FROM pay_history(prepay_test.pay_no('W1'));
SELECT seq, source, attempt, decision, payment_before, payment_after, attempt_before, attempt_after, reason FROM pay_history(prepay_test.pay_no('W2'));
-- From then on the old one is closed and names the new one, whatever its attempt does.
SELECT decision, state, other_order_no, credential FROM pay_query('W1', 'prepay');
SELECT decision, state, other_order_no FROM pay_prepay(order_no => 'W1', amount => 100, currency => 'CNY', merchant => 'prepay',
	channel => 'test', method => 'test', request_id => 'R1');
SELECT decision, credential FROM pay_credential(trade_no => prepay_test.trade_no('W1'), credential => 'prepay_id=1', valid_for => '1 hour');
SELECT decision, state, attempt_state, refund_no = replace(prepay_test.trade_no('W1'), '-', '') || 's' AS refunded, other_order_no
FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => prepay_test.trade_no('W1'), reported => 'paid', amount => 100, currency => 'CNY');
SELECT test.states('prepay', 'W1') AS old, test.states('prepay', 'W2') AS new;
-- Said again, the new one is as any other order: rules 2 to 7 come first, and it has replaced the old one already.
SELECT * FROM prepay_test.replace('W2', 'W1');
SELECT * FROM prepay_test.replace('W2', 'W1', 'R2');
SELECT decision FROM pay_transition(trade_no => prepay_test.trade_no('W2'), to_state => 'failed');
SELECT * FROM prepay_test.replace('W2', 'W1', 'R2');

-- What answers and writes nothing: the old one is paid, or replaced by another before.
SELECT * FROM prepay_test.prepay('W3', 'R1');
SELECT decision FROM pay_transition(trade_no => prepay_test.trade_no('W3'), to_state => 'paid');
SELECT decision FROM pay_create(order_no => 'W4', amount => 100, currency => 'CNY', merchant => 'prepay');
TRUNCATE before;
INSERT INTO before SELECT test.fingerprint();
SELECT * FROM prepay_test.replace('W5', 'W3');
SELECT * FROM prepay_test.replace('W5', 'W1');
SELECT * FROM prepay_test.replace('W4', 'W3');
SELECT * FROM prepay_test.replace('W4', 'W1');
-- An order that is paid itself is not asked what it replaces.
SELECT * FROM prepay_test.replace('W3', 'W4');
-- One that is replaced itself cannot replace.
SELECT * FROM prepay_test.replace('W1', 'W4');
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before;
-- One that somebody tried to pay cannot replace either: which of the two would the money be for?
SELECT * FROM prepay_test.prepay('W6', 'R1');
SELECT decision FROM pay_transition(trade_no => prepay_test.trade_no('W6'), to_state => 'failed');
SELECT test.try($$SELECT prepay_test.replace('W6', 'W4', 'R2')$$);
SELECT test.states('prepay', 'W4');
-- One that was only made can: and the chain goes on.
SELECT * FROM prepay_test.replace('W4', 'W2');
SELECT decision, other_order_no FROM pay_query('W2', 'prepay');
SELECT decision, other_order_no FROM pay_query('W1', 'prepay');

-- The old one in every state: what is open is to be closed, where that is legal; with nothing open it is closed; what is over stays it.
SELECT test.put('prepay', 'O ' || s, s, CASE s WHEN 'created' THEN '{}' ELSE ARRAY[s] END, end_requested => s IN ('closed', 'reversed')) IS NOT NULL AS put
FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,closed,reversed}'::text[]) AS s;
SELECT s AS old_one, decision, state, detail FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,closed,reversed}'::text[]) WITH ORDINALITY AS o (s, n),
	prepay_test.replace('N ' || s, 'O ' || s) ORDER BY n;
SELECT s AS old_one, test.states('prepay', 'O ' || s), decision, other_order_no
FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,closed,reversed}'::text[]) WITH ORDINALITY AS o (s, n),
	pay_query('O ' || s, 'prepay') ORDER BY n;

-- ---- 9: payer given and not confirm: is another order open that the customer may mean? ----

CREATE FUNCTION prepay_test.by(payer text, order_no text, confirm boolean DEFAULT false, amount bigint DEFAULT 100, currency text DEFAULT 'CNY',
	merchant text DEFAULT 'prepay', replaces text DEFAULT NULL, request_id text DEFAULT 'R1',
	OUT decision text, OUT pay_no text, OUT state text, OUT other_order_no text, OUT detail text)
LANGUAGE sql AS $$
	SELECT decision, pay_no, state, other_order_no, detail
	FROM pay_prepay(order_no => order_no, amount => amount, currency => currency, merchant => merchant, payer => payer,
		channel => 'test', method => 'test', request_id => request_id, confirm => confirm, replaces => replaces)
$$;
SELECT decision, state FROM prepay_test.by('ann', 'P1');
TRUNCATE before;
INSERT INTO before SELECT test.fingerprint();
SELECT * FROM prepay_test.by('ann', 'P2');
SELECT * FROM prepay_test.by('ann', 'P2');
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before;
-- Who is not asked: another payer, amount, currency or merchant; nobody knows who; the order itself; one that replaces the other.
BEGIN;
SELECT n, decision, other_order_no FROM (VALUES
	(1, 'amy', 'P3', 100, 'CNY', 'prepay', NULL), (2, 'ann', 'P4', 101, 'CNY', 'prepay', NULL), (3, 'ann', 'P5', 100, 'USD', 'prepay', NULL),
	(4, 'ann', 'P6', 100, 'CNY', 'prepay 2', NULL), (5, NULL, 'P7', 100, 'CNY', 'prepay', NULL), (6, 'ann', 'P1', 100, 'CNY', 'prepay', NULL),
	(7, 'ann', 'P8', 100, 'CNY', 'prepay', 'P1')) AS v (n, payer, order_no, amount, currency, merchant, replaces),
	prepay_test.by(payer, order_no, amount => amount, currency => currency, merchant => merchant, replaces => replaces) ORDER BY n;
ROLLBACK;
-- Confirmed, it is paid, too; then there are two, and a third is asked about one of them.
SELECT decision, state, other_order_no FROM prepay_test.by('ann', 'P2', confirm => true);
SELECT decision, other_order_no IN ('P1', 'P2') AS names_one FROM prepay_test.by('ann', 'P9');
-- In doubt it asks, whatever is open, or was paid a moment ago; what is over in another way is no question.
SELECT decision FROM pay_transition(trade_no => prepay_test.trade_no('P1'), to_state => 'failed');
SELECT s AS other_one, b.decision, b.other_order_no
FROM unnest('{unknown,authorized,capturing,paid}'::text[]) WITH ORDINALITY AS o (s, n),
	LATERAL pay_transition(trade_no => prepay_test.trade_no('P2'), to_state => s) AS t,
	LATERAL prepay_test.by('ann', 'P10 ' || t.state) AS b ORDER BY n;
SELECT decision FROM prepay_test.by('ann', 'P10 paid', confirm => true);
-- The next attempt of an order that was there is asked about, too; its own open attempt, handed out again, is not.
SELECT decision, state, other_order_no FROM prepay_test.by('ann', 'P1', request_id => 'R2');
SELECT decision, other_order_no FROM prepay_test.by('ann', 'P10 paid', request_id => 'R1');
SELECT decision, other_order_no FROM prepay_test.by('ann', 'P1', request_id => 'R2', confirm => true);

-- pay_idem.lookalike_window: how young the other order is. This one was made in 2001.
INSERT INTO pay_payment (pay_no, merchant, order_no, amount, currency, payer, created_at)
VALUES (('00e3c0a1' || substr(test.number('prepay', 'P old')::text, 9))::uuid, 'prepay', 'P old', 100, 'CNY', 'abe', '2001-01-01 00:00 UTC');
SELECT decision, state, other_order_no FROM prepay_test.by('abe', 'P old');
SELECT decision, other_order_no FROM prepay_test.by('abe', 'P11');
SELECT decision, other_order_no FROM prepay_test.by('abe', 'P12');
SHOW pay_idem.lookalike_window;
SET pay_idem.lookalike_window = 0;
SELECT decision, other_order_no FROM prepay_test.by('abe', 'P13');
-- In seconds, up to a day. From 16 on, PostgreSQL names the unit of the bounds too.
SET pay_idem.lookalike_window = 90;
SHOW pay_idem.lookalike_window;
SET pay_idem.lookalike_window = '2 h';
SHOW pay_idem.lookalike_window;
SELECT decision FROM prepay_test.by('abe', 'P14');
SELECT setting AS value, regexp_replace(test.try(format('SET pay_idem.lookalike_window = %L', setting)),
	'\((\d+) s \.\. (\d+) s\)', '(\1 .. \2)') AS answer
FROM unnest('{-1,86400,86401,1d,25h,soon}'::text[]) AS s (setting);
SELECT name, setting, unit, boot_val, min_val, max_val, context FROM pg_settings WHERE name LIKE 'pay\_idem.%';
RESET pay_idem.lookalike_window;
-- A misspelt setting is refused, not silently kept.
SET pay_idem.look_alike_window = 0;

-- ---- 10: what is to be held must be to be had (more of it: see holds); else the next attempt ----

SELECT decision FROM pay_prepay(order_no => 'U0', amount => 100, currency => 'CNY', merchant => 'prepay', channel => 'test', method => 'test',
	request_id => 'R1', valid_for => '1 hour', holds => '{coupon:C1}');
CREATE TEMP TABLE before_holds AS SELECT test.fingerprint();
SELECT decision, state, pay_no, detail FROM pay_prepay(order_no => 'U1', amount => 100, currency => 'CNY', merchant => 'prepay', channel => 'test', method => 'test',
	request_id => 'R1', valid_for => '1 hour', holds => '{coupon:C1}');
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before_holds;
-- An earlier rule answers first: an order that is being paid is in_progress, whatever it asks to hold.
SELECT decision FROM pay_prepay(order_no => 'U0', amount => 100, currency => 'CNY', merchant => 'prepay', channel => 'test', method => 'test',
	request_id => 'R2', holds => '{coupon:C2,nothing:C3}');
SELECT decision, attempt FROM pay_prepay(order_no => 'U1', amount => 100, currency => 'CNY', merchant => 'prepay', channel => 'test', method => 'test',
	request_id => 'R1', payer => 'bob', confirm => true);
-- After a failure: the next attempt, through whatever channel. The history tells it all.
SELECT decision, state FROM pay_transition(trade_no => prepay_test.trade_no('U1'), to_state => 'failed', reason => 'no funds');
SELECT * FROM prepay_test.prepay('U1', 'R2', 'native', 'wechat');
SELECT decision, state FROM pay_callback(channel => 'wechat', callback_id => 'W1', trade_no => prepay_test.trade_no('U1', 2),
	reported => 'paid', amount => 100, currency => 'CNY');
SELECT seq, source, message_id, attempt, reported, decision, payment_before, payment_after, attempt_before, attempt_after, reason
FROM pay_history(prepay_test.trade_no('U1'));
SELECT test.states('prepay', 'U1');

-- ---- pay_query says what a prepay would answer ----

SELECT decision, pay_no, state FROM pay_query('nobody''s', 'prepay');
SELECT decision FROM pay_create(order_no => 'Q created', amount => 100, currency => 'CNY', merchant => 'prepay');
SELECT count(test.put('prepay', 'Q ' || s, s, ARRAY[s])) AS put
FROM unnest('{paying,authorized,capturing,unknown,closing,failed,paid,closed,reversed}'::text[]) AS s;
TRUNCATE before;
INSERT INTO before SELECT test.fingerprint();
CREATE TEMP TABLE asked AS SELECT p.order_no, q.decision
FROM pay_payment p, pay_query(p.order_no, p.merchant) AS q WHERE p.merchant = 'prepay' AND p.order_no LIKE 'Q %';
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before;
SELECT asked.order_no, asked.decision AS asked, done.decision AS done
FROM asked, prepay_test.prepay(order_no, 'R2') AS done ORDER BY asked.order_no;

-- ---- a duplicate that opens and hands out nothing writes nothing ----

SELECT * FROM prepay_test.prepay('Z1', 'R1');
SELECT decision FROM pay_credential(trade_no => prepay_test.trade_no('Z1'), credential => 'prepay_id=9', valid_for => '1 hour');
TRUNCATE before;
INSERT INTO before SELECT test.fingerprint();
SELECT decision, count(*) FROM generate_series(1, 1000) AS n, prepay_test.prepay('Z1', 'R' || n) GROUP BY decision;
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before;

DROP SCHEMA prepay_test CASCADE;
