-- Bad input for the functions that give money back, replace orders and settle
-- disputes: whatever it is, the answer is the design's, and no row changes.

\i test/sql/include/begin.sql
CREATE SCHEMA bad_money;
SET client_min_messages = warning;

CREATE FUNCTION bad_money.pay_no(order_no text DEFAULT 'B1', merchant text DEFAULT 'bad_money') RETURNS text LANGUAGE sql STABLE AS
	$$SELECT p.pay_no::text FROM pay_payment p WHERE p.merchant = pay_no.merchant AND p.order_no = pay_no.order_no$$;
CREATE FUNCTION bad_money.trade_no(order_no text DEFAULT 'B1', merchant text DEFAULT 'bad_money') RETURNS text LANGUAGE sql STABLE AS
	$$SELECT a.trade_no::text FROM pay_payment p JOIN pay_attempt a USING (pay_no)
	WHERE p.merchant = trade_no.merchant AND p.order_no = trade_no.order_no AND a.attempt = 1$$;
CREATE FUNCTION bad_money.open(order_no text, merchant text DEFAULT 'bad_money') RETURNS text LANGUAGE sql AS
	$$SELECT decision FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => merchant, payer => 'bob', confirm => true,
		channel => 'test', method => 'test', request_id => 'R1')$$;
CREATE FUNCTION bad_money.pay(order_no text, merchant text DEFAULT 'bad_money') RETURNS text LANGUAGE sql AS $$
	SELECT bad_money.open(order_no, merchant);
	SELECT decision FROM pay_transition(trade_no => bad_money.pay_no(order_no, merchant), to_state => 'paid')
$$;
-- Something to spoil: B1 and B2 are paid, a refund of B1 is under way, B3 can still be paid, B4 is another merchant's;
-- the first two are in dispute, and two reviews are open.
SELECT bad_money.pay('B1'), bad_money.pay('B2'), bad_money.open('B3'), bad_money.pay('B4', 'bad_money 2');
SELECT decision FROM pay_refund(trade_no => bad_money.trade_no(), refund_no => 'b1', amount => 60, reason => 'a test');
SELECT decision FROM pay_refund_transition(refund_no => 'b1', to_state => 'abnormal', merchant => 'bad_money');
SELECT decision FROM pay_refund_callback(channel => 'test', callback_id => 'RC1', refund_no => 'b2', reported => 'succeeded', amount => 10, trade_no => bad_money.trade_no(), merchant => 'bad_money');
SELECT decision FROM pay_dispute_open(trade_no => bad_money.pay_no('B2'), duplicate_of => bad_money.pay_no(), reason => 'a test');
CREATE FUNCTION bad_money.dispute_id() RETURNS bigint LANGUAGE sql STABLE AS
	$$SELECT dispute_id FROM pay_dispute WHERE pay_no::text = bad_money.pay_no('B2')$$;
CREATE FUNCTION bad_money.review_id(kind text) RETURNS bigint LANGUAGE sql STABLE AS
	$$SELECT review_id FROM pay_review r WHERE pay_no::text = bad_money.pay_no() AND r.kind = review_id.kind$$;

-- A good call of each function. Every case below spoils one argument of it.
CREATE TABLE bad_money.good (function text PRIMARY KEY, arguments jsonb);
INSERT INTO bad_money.good VALUES
	('pay_refund', $${"trade_no": "bad_money.trade_no()", "refund_no": "'b3'", "amount": "30", "reason": "'a test'"}$$),
	('pay_refund_transition', $${"refund_no": "'b1'", "to_state": "'succeeded'", "merchant": "'bad_money'"}$$),
	('pay_refund_callback', $${"channel": "'test'", "callback_id": "'RC2'", "refund_no": "'b1'", "reported": "'succeeded'", "amount": "60", "currency": "'CNY'",
		"trade_no": "bad_money.trade_no()", "merchant": "'bad_money'"}$$),
	('pay_dispute_open', $${"trade_no": "bad_money.pay_no('B3')", "duplicate_of": "bad_money.pay_no('B2')", "reason": "'a test'"}$$),
	('pay_dispute_resolve', $${"dispute_id": "bad_money.dispute_id()", "verdict": "'refund'", "reason": "'a test'"}$$),
	('pay_dispute_case', $${"dispute_id": "bad_money.dispute_id()"}$$),
	('pay_suspects', $${"since": "now()"}$$),
	('pay_prepay', $${"order_no": "'B5'", "amount": "100", "currency": "'CNY'", "merchant": "'bad_money'", "payer": "'bob'", "channel": "'test'", "method": "'test'",
		"request_id": "'R1'", "replaces": "'B3'", "confirm": "true"}$$),
	('pay_review_resolve', $${"review_id": "bad_money.review_id('adopted')", "verdict": "'accept'", "reason": "'a test'"}$$);

-- What is bad in an argument of each kind, and the answer.
CREATE TABLE bad_money.bad (kind text, what text, value text, expected text);
INSERT INTO bad_money.bad VALUES
	-- a name that somebody gives: 1 to 255 bytes
	('key', 'NULL', 'NULL', 'PY400'),
	('key', 'empty', $$''$$, 'PY400'),
	('key', '256 bytes', $$repeat('x', 256)$$, 'PY400'),
	('key', '128 characters, 256 bytes', $$repeat('é', 128)$$, 'PY400'),
	('key', 'no UTF-8', $$convert_from('\xff41', 'UTF8')$$, '22021'),
	('optional key', 'empty', $$''$$, 'PY400'),
	('optional key', '256 bytes', $$repeat('x', 256)$$, 'PY400'),
	('merchant', 'NULL', 'NULL', 'PY400'),
	('merchant', '256 bytes', $$repeat('x', 256)$$, 'PY400'),
	-- 1 to 2^53 - 1 minor units
	('required amount', 'NULL', 'NULL', 'PY400'),
	('amount', '0', '0', 'PY400'),
	('amount', '-1', '-1', 'PY400'),
	('amount', '2^53', '9007199254740992', 'PY400'),
	('amount', '2^63 - 1', '9223372036854775807', 'PY400'),
	('amount', '-2^63', '(-9223372036854775808)', 'PY400'),
	('amount', '2^63', '9223372036854775808', '42883'),
	('currency', 'empty', $$''$$, 'PY400'),
	('currency', 'cn', $$'cn'$$, 'PY400'),
	('currency', 'usd', $$'usd'$$, 'PY400'),
	('currency', 'US1', $$'US1'$$, 'PY400'),
	('channel', 'NULL', 'NULL', 'PY400'),
	('channel', 'empty', $$''$$, 'PY400'),
	('channel', 'unknown', $$'nobody'$$, 'PY400'),
	('channel', 'capitals', $$'TEST'$$, 'PY400'),
	('channel', '300 characters', $$repeat('x', 300)$$, 'PY400'),
	-- a state of a refund; a payment's is none
	('refund state', 'NULL', 'NULL', 'PY400'),
	('refund state', 'empty', $$''$$, 'PY400'),
	('refund state', 'unknown label', $$'SUCCESS'$$, 'PY400'),
	('refund state', 'capitals', $$'SUCCEEDED'$$, 'PY400'),
	('refund state', 'of a payment', $$'paid'$$, 'PY400'),
	('refund state', 'space', $$'failed '$$, 'PY400'),
	('refund state', '300 characters', $$repeat('x', 300)$$, 'PY400'),
	-- what is no number of ours
	('number', 'NULL', 'NULL', 'PY400'),
	('number', 'empty', $$''$$, 'PY400'),
	('number', '300 digits', $$repeat('0', 300)$$, 'PY400'),
	('number', 'ABC123', $$'ABC123'$$, 'PY404'),
	('number', 'random version 4', $$'f47ac10b-58cc-4372-a567-0e02b2c3d479'$$, 'PY404'),
	('number', 'route without attempt', $$overlay(bad_money.trade_no() PLACING '80' FROM 20)$$, 'PY404'),
	('number', 'space after', $$bad_money.trade_no() || ' '$$, 'PY404'),
	('number', 'of a refund', $$replace(bad_money.trade_no(), '-', '') || 's'$$, 'PY404'),
	-- what is one, but nobody's
	('number', 'well-formed', $$'019b76da80008001810123456789abcd'$$, 'PY404'),
	('number', 'another route', $$overlay(bad_money.trade_no() PLACING '002' FROM 16)$$, 'PY404'),
	('number', 'another attempt', $$overlay(bad_money.trade_no() PLACING '82' FROM 20)$$, 'PY404'),
	('required', 'NULL', 'NULL', 'PY400'),
	('required', 'empty', $$''$$, 'PY400'),
	('required', '65537 bytes', $$repeat('x', 65537)$$, 'PY400'),
	('optional text', 'empty', $$''$$, 'PY400'),
	('optional text', '65537 bytes', $$repeat('x', 65537)$$, 'PY400'),
	('verdict', 'NULL', 'NULL', 'PY400'),
	('verdict', 'empty', $$''$$, 'PY400'),
	('verdict', 'unknown', $$'maybe'$$, 'PY400'),
	('verdict', 'capitals', $$'REFUND'$$, 'PY400'),
	('id', 'NULL', 'NULL', 'PY400'),
	('id', '0', '0', 'PY404'),
	('id', '-1', '-1', 'PY404'),
	('id', '2^63 - 1', '9223372036854775807', 'PY404');

-- Which argument is of which kind.
CREATE TABLE bad_money.kind (function text, argument text, kind text);
INSERT INTO bad_money.kind VALUES
	('pay_refund', 'trade_no', 'number'), ('pay_refund', 'refund_no', 'key'), ('pay_refund', 'amount', 'required amount'), ('pay_refund', 'amount', 'amount'),
	('pay_refund', 'reason', 'required'),
	('pay_refund_transition', 'refund_no', 'key'), ('pay_refund_transition', 'to_state', 'refund state'), ('pay_refund_transition', 'reason', 'optional text'),
	('pay_refund_transition', 'channel_txn', 'optional key'), ('pay_refund_transition', 'merchant', 'merchant'),
	('pay_refund_callback', 'channel', 'channel'), ('pay_refund_callback', 'callback_id', 'optional key'), ('pay_refund_callback', 'refund_no', 'key'),
	('pay_refund_callback', 'reported', 'refund state'), ('pay_refund_callback', 'amount', 'amount'), ('pay_refund_callback', 'currency', 'currency'),
	('pay_refund_callback', 'trade_no', 'optional key'), ('pay_refund_callback', 'channel_txn', 'optional key'), ('pay_refund_callback', 'merchant', 'merchant'),
	('pay_dispute_open', 'trade_no', 'number'), ('pay_dispute_open', 'duplicate_of', 'number'), ('pay_dispute_open', 'reason', 'required'),
	('pay_dispute_resolve', 'dispute_id', 'id'), ('pay_dispute_resolve', 'verdict', 'verdict'), ('pay_dispute_resolve', 'reason', 'required'),
	('pay_dispute_case', 'dispute_id', 'id'),
	('pay_prepay', 'replaces', 'optional key'), ('pay_prepay', 'payer', 'optional key');

-- And what is bad in a way of its own.
CREATE TABLE bad_money.own (function text, argument text, what text, value text, expected text);
INSERT INTO bad_money.own VALUES
	('pay_refund', 'trade_no', 'not paid', $$bad_money.trade_no('B3')$$, 'PY409'),
	('pay_refund', 'trade_no', 'payment that is not paid', $$bad_money.pay_no('B3')$$, 'PY409'),
	('pay_refund', 'amount', 'one more than refundable', '31', 'PY409'),
	('pay_refund', 'amount', '2^53 - 1', '9007199254740991', 'PY409'),
	('pay_refund', 'refund_no', 'of a surplus', $$replace(bad_money.trade_no(), '-', '') || 's'$$, 'PY400'),
	('pay_refund', 'refund_no', 'of a surplus, of nobody', $$'019b76da80008001810123456789abcds'$$, 'PY400'),
	('pay_refund', 'refund_no', 'of extra money', $$replace(bad_money.trade_no(), '-', '') || 'x1'$$, 'PY400'),
	('pay_refund', 'refund_no', 'of a dispute', $$replace(bad_money.pay_no(), '-', '') || 'd1'$$, 'PY400'),
	('pay_refund', 'refund_no', 'of an adopted refund', $$'b2'$$, 'PY422'),
	('pay_refund', 'refund_no', 'known, other amount', $$'b1'$$, 'PY422'),
	('pay_refund_transition', 'refund_no', 'nobody''s', $$'b0'$$, 'PY404'),
	('pay_refund_transition', 'refund_no', 'capitals', $$'B1'$$, 'PY404'),
	('pay_refund_transition', 'merchant', 'another', $$'bad_money 2'$$, 'PY404'),
	('pay_refund_transition', 'merchant', 'none', $$''$$, 'PY404'),
	('pay_refund_transition', 'to_state', 'not legal', $$'unknown'$$, 'PY409'),
	('pay_refund_callback', 'kind', 'NULL', 'NULL', 'PY400'),
	('pay_refund_callback', 'kind', 'empty', $$''$$, 'PY400'),
	('pay_refund_callback', 'kind', 'surplus', $$'surplus'$$, 'PY400'),
	('pay_refund_callback', 'kind', 'capitals', $$'REFUND'$$, 'PY400'),
	('pay_dispute_open', 'trade_no', 'the same payment', $$bad_money.trade_no('B2')$$, 'PY400'),
	('pay_dispute_open', 'trade_no', 'of another merchant', $$bad_money.trade_no('B4', 'bad_money 2')$$, 'PY409'),
	('pay_dispute_open', 'duplicate_of', 'of another merchant', $$bad_money.trade_no('B4', 'bad_money 2')$$, 'PY409'),
	('pay_dispute_resolve', 'verdict', 'of a review', $$'dismiss'$$, 'PY400'),
	('pay_suspects', 'since', 'NULL', 'NULL', 'PY400'),
	('pay_prepay', 'replaces', 'itself', $$'B5'$$, 'PY400'),
	('pay_prepay', 'replaces', 'nobody', $$'B0'$$, 'PY404'),
	('pay_prepay', 'replaces', 'of another merchant', $$'B4'$$, 'PY404'),
	('pay_prepay', 'holds', 'for ever', $$'{coupon:C1}'::text[]$$, 'PY400'),
	('pay_review_resolve', 'verdict', 'refund an adopted refund', $$'refund'$$, 'PY409'),
	('pay_review_resolve', 'review_id', 'accept an abnormal refund', $$bad_money.review_id('abnormal')$$, 'PY409');

-- One line that changes when any row of ours does.
CREATE FUNCTION bad_money.fingerprint() RETURNS text LANGUAGE sql STABLE AS $$
	SELECT md5(test.fingerprint() || coalesce((SELECT string_agg(r::text, E'\n' ORDER BY r::text) FROM pay_refund r), '')
		|| coalesce((SELECT string_agg(d::text, E'\n' ORDER BY d::text) FROM pay_dispute d), ''))
$$;
CREATE TABLE bad_money.result (n integer GENERATED ALWAYS AS IDENTITY, function text, argument text, what text,
	expected text, answer text, unchanged boolean);
DO $$
DECLARE
	t record;
	before text := bad_money.fingerprint();
	after text;
	call text;
	answer text;
BEGIN
	FOR t IN
		SELECT * FROM (
			SELECT function, argument, what, value, expected FROM bad_money.kind JOIN bad_money.bad USING (kind)
			UNION ALL SELECT function, argument, what, value, expected FROM bad_money.own) AS cases
		ORDER BY function COLLATE "C", argument COLLATE "C", what COLLATE "C"
	LOOP
		SELECT format('SELECT * FROM %I(%s)', t.function, string_agg(format('%I => %s', key, value), ', '))
		INTO call FROM bad_money.good, jsonb_each_text(arguments || jsonb_build_object(t.argument, t.value))
		WHERE function = t.function GROUP BY function;
		answer := test.try(call);
		after := bad_money.fingerprint();
		INSERT INTO bad_money.result (function, argument, what, expected, answer, unchanged)
		VALUES (t.function, t.argument, t.what, t.expected, answer, after = before);
		before := after;
	END LOOP;
END
$$;

-- Not as expected, changed a row, or a refusal of ours without DETAIL: none.
SELECT function, argument, what, expected, answer, unchanged FROM bad_money.result
WHERE split_part(answer, ' ', 1) <> expected OR NOT unchanged OR expected NOT IN ('22021', '42883') AND answer NOT LIKE '% | DETAIL: %'
ORDER BY n;
SELECT function, count(*) AS cases, count(*) FILTER (WHERE expected = 'PY400') AS "PY400",
	count(*) FILTER (WHERE expected = 'PY404') AS "PY404", count(*) FILTER (WHERE expected = 'PY409') AS "PY409",
	count(*) FILTER (WHERE expected = 'PY422') AS "PY422", count(*) FILTER (WHERE expected NOT LIKE 'PY%') AS others
FROM bad_money.result GROUP BY function ORDER BY function;

-- The good calls are good (each is rolled back), so it was the one argument that was refused.
CREATE FUNCTION bad_money.refused(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE call;
	RAISE EXCEPTION 'good' USING ERRCODE = 'OK000';
EXCEPTION WHEN OTHERS THEN
	RETURN nullif(SQLSTATE, 'OK000');
END
$$;
SELECT count(*) AS good_calls, count(refused) AS refused
FROM bad_money.good, LATERAL (SELECT string_agg(format('%I => %s', key, value), ', ') FROM jsonb_each_text(arguments)) AS a (list),
	bad_money.refused(format('SELECT * FROM %I(%s)', function, list));
-- And what is just allowed is allowed.
BEGIN;
SELECT decision, state, amount, refundable, length(refund_no) AS bytes FROM pay_refund(trade_no => bad_money.trade_no(), refund_no => repeat('r', 255), amount => 30, reason => repeat('x', 65536));
SELECT decision, state FROM pay_refund_transition(refund_no => repeat('r', 255), to_state => 'succeeded', reason => repeat('x', 65536), channel_txn => repeat('t', 255), merchant => 'bad_money');
SELECT decision FROM pay_prepay(order_no => repeat('o', 255), amount => 9007199254740991, currency => 'XXX', merchant => 'bad_money', payer => repeat('p', 255), channel => 'test',
	method => 'test', request_id => 'R1', replaces => 'B3');
SELECT decision FROM pay_transition(trade_no => bad_money.pay_no(repeat('o', 255)), to_state => 'paid');
SELECT decision, refundable FROM pay_refund(trade_no => bad_money.pay_no(repeat('o', 255)), refund_no => 'b4', amount => 9007199254740990, reason => 'a test');
SELECT test.sqlstate($$SELECT pay_refund(trade_no => bad_money.pay_no(repeat('o', 255)), refund_no => 'b5', amount => 2, reason => 'a test')$$) AS one_too_much;
SELECT decision, refundable FROM pay_refund(trade_no => bad_money.pay_no(repeat('o', 255)), refund_no => 'b5', amount => 1, reason => 'a test');
ROLLBACK;

-- The setting takes a time, not less than none.
SELECT test.sqlstate('SET pay_idem.lookalike_window = -1') AS negative, test.sqlstate('SET pay_idem.lookalike_window = ''soon''') AS no_time,
	test.sqlstate('SET pay_idem.lookalike_window = ''1h''') AS an_hour;
RESET pay_idem.lookalike_window;

-- How each refusal of ours reads.
\pset format unaligned
SELECT function, argument, what, regexp_replace(answer, 'review \d+', 'review <id>') AS answer FROM bad_money.result WHERE expected NOT IN ('22021', '42883') ORDER BY n;
\pset format aligned

-- A channel's report of what is nobody's is not refused: for a person to look at, and nothing else changes.
BEGIN;
CREATE TEMP TABLE before ON COMMIT DROP AS
	SELECT (SELECT count(*) FROM pay_event) AS events, (SELECT md5(string_agg(p::text, '' ORDER BY p::text)) FROM pay_payment p) AS payments,
		(SELECT md5(string_agg(a::text, '' ORDER BY a::text)) FROM pay_attempt a) AS attempts, (SELECT md5(string_agg(r::text, '' ORDER BY r::text)) FROM pay_refund r) AS refunds;
SELECT what, decision, pay_no IS NULL AS no_payment, state, refund_no = 'bad ' || what AS says_which
FROM (SELECT what, test.try('SELECT ' || value) AS number FROM bad_money.bad WHERE kind = 'number' AND expected = 'PY404' ORDER BY what COLLATE "C") AS n,
	pay_refund_callback(channel => 'test', callback_id => 'bad', refund_no => 'bad ' || what, reported => 'succeeded', amount => 1, currency => 'CNY', trade_no => number, merchant => 'bad_money');
SELECT events = (SELECT count(*) FROM pay_event) AS events, payments = (SELECT md5(string_agg(p::text, '' ORDER BY p::text)) FROM pay_payment p) AS payments,
	attempts = (SELECT md5(string_agg(a::text, '' ORDER BY a::text)) FROM pay_attempt a) AS attempts,
	refunds = (SELECT md5(string_agg(r::text, '' ORDER BY r::text)) FROM pay_refund r) AS refunds FROM before;
SELECT count(*) AS reviews, bool_or(about_money) AS about_money, bool_and(pay_no IS NULL) AS of_no_payment FROM pay_review WHERE kind = 'unmatched' AND message_id = 'bad';
ROLLBACK;

DROP SCHEMA bad_money CASCADE;
