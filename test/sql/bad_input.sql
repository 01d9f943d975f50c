-- Bad input: whatever it is, the answer is the design's, and no row changes.

\i test/sql/include/begin.sql
CREATE SCHEMA bad_input;
SET client_min_messages = warning;

-- An order with an open attempt and an open review: something to spoil.
SELECT decision FROM pay_prepay(order_no => 'B1', amount => 100, currency => 'CNY', merchant => 'bad', payer => 'bob',
	channel => 'test', method => 'test', request_id => 'R1');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C1', reported => 'paid', amount => 99, currency => 'CNY',
	trade_no => (SELECT trade_no FROM pay_query('B1', 'bad')));

-- A paid order, with a refund under way and one that succeeded; the case that it and B1
-- are one order; another order, and one of another merchant.
SELECT decision FROM pay_prepay(order_no => 'B2', amount => 100, currency => 'CNY', merchant => 'bad', channel => 'test', method => 'test', request_id => 'R1');
SELECT decision FROM pay_transition(trade_no => (SELECT trade_no FROM pay_query('B2', 'bad')), to_state => 'paid');
SELECT decision, refundable FROM pay_refund(trade_no => (SELECT trade_no FROM pay_query('B2', 'bad')), refund_no => 'F0', amount => 10, reason => 'too cold');
SELECT decision FROM pay_refund_transition(refund_no => 'F0', to_state => 'succeeded', merchant => 'bad');
SELECT decision, refundable FROM pay_refund(trade_no => (SELECT trade_no FROM pay_query('B2', 'bad')), refund_no => 'F1', amount => 40, reason => 'too late');
SELECT decision FROM pay_dispute_open(trade_no => (SELECT trade_no FROM pay_query('B1', 'bad')),
	duplicate_of => (SELECT trade_no FROM pay_query('B2', 'bad')), reason => 'one meal, two orders');
SELECT decision FROM pay_create(order_no => 'B3', amount => 100, currency => 'CNY', merchant => 'worse');
SELECT decision FROM pay_create(order_no => 'B4', amount => 100, currency => 'CNY', merchant => 'bad');
-- One that can be paid at once, for an hour; and one that holds a room in somebody else's hotel.
SELECT decision FROM pay_create(order_no => 'B6', amount => 100, currency => 'CNY', merchant => 'bad', payer => 'eve', valid_for => '1 hour');
INSERT INTO pay_resource (merchant, resource, external) VALUES ('bad', 'room', true);
SELECT decision FROM pay_prepay(order_no => 'B5', amount => 100, currency => 'CNY', merchant => 'bad', channel => 'test', method => 'test', request_id => 'R1',
	valid_for => '1 hour', holds => '{room:B5,coupon:B5}');

-- A good call of each function. Every case below spoils one argument of it.
CREATE TABLE bad_input.good (function text PRIMARY KEY, arguments jsonb);
INSERT INTO bad_input.good VALUES
	('pay_create', $${"order_no": "'B1'", "amount": "100", "currency": "'CNY'", "merchant": "'bad'", "payer": "'bob'"}$$),
	('pay_prepay', $${"order_no": "'B6'", "amount": "100", "currency": "'CNY'", "merchant": "'bad'", "payer": "'eve'",
		"channel": "'test'", "method": "'test'", "request_id": "'R2'"}$$),
	('pay_credential', $${"trade_no": "bad_input.trade_no()", "credential": "'prepay_id=1'", "valid_for": "interval '1 hour'"}$$),
	('pay_query', $${"order_no": "'B1'", "merchant": "'bad'"}$$),
	('pay_close', $${"order_no": "'B1'", "merchant": "'bad'"}$$),
	('pay_transition', $${"trade_no": "bad_input.trade_no()", "to_state": "'unknown'"}$$),
	('pay_callback', $${"channel": "'test'", "callback_id": "'C2'", "trade_no": "bad_input.trade_no()",
		"reported": "'paid'", "amount": "100", "currency": "'CNY'"}$$),
	('pay_callbacks', $${"messages": "bad_input.message()"}$$),
	('pay_refund_callbacks', $${"messages": "bad_input.refund_message()"}$$),
	('pay_import', $${"payments": "'[{\"order_no\": \"B7\", \"amount\": 100, \"currency\": \"CNY\", \"merchant\": \"bad\"}]'"}$$),
	('pay_review_resolve', $${"review_id": "bad_input.review_id()", "verdict": "'dismiss'", "reason": "'a test'"}$$),
	('pay_refund', $${"trade_no": "bad_input.paid()", "refund_no": "'F2'", "amount": "50", "reason": "'a test'"}$$),
	('pay_refund_transition', $${"refund_no": "'F1'", "to_state": "'processing'", "merchant": "'bad'"}$$),
	('pay_refund_callback', $${"channel": "'test'", "callback_id": "'C1'", "refund_no": "'F1'", "reported": "'processing'",
		"amount": "40", "currency": "'CNY'", "trade_no": "bad_input.paid()", "merchant": "'bad'"}$$),
	('pay_dispute_open', $${"trade_no": "bad_input.paid()", "duplicate_of": "(SELECT pay_no FROM pay_query('B4', 'bad'))", "reason": "'a test'"}$$),
	('pay_dispute_resolve', $${"dispute_id": "bad_input.dispute_id()", "verdict": "'reject'", "reason": "'a test'"}$$),
	('pay_dispute_case', $${"dispute_id": "bad_input.dispute_id()"}$$),
	('pay_suspects', $${"since": "now()"}$$),
	('pay_claim', $${"worker": "'w1'", "max_tasks": "1", "lease": "interval '1 minute'"}$$),
	('pay_adopt_database', $${"reason": "'a test'"}$$),
	('pay_hold_done', $${"trade_no": "bad_input.holder()", "resource": "'room:B5'", "done": "'tried'"}$$),
	('pay_history', $${"trade_no": "bad_input.trade_no()"}$$),
	('pay_can', $${"from_state": "'paying'", "to_state": "'paid'"}$$),
	('pay_next', $${"state": "'paying'"}$$),
	('pay_is_final', $${"state": "'paying'"}$$),
	('pay_shard_of', $${"trade_no": "bad_input.trade_no()"}$$),
	('pay_time', $${"trade_no": "bad_input.trade_no()"}$$),
	('pay_channel_of', $${"trade_no": "bad_input.trade_no()"}$$),
	('pay_attempt_of', $${"trade_no": "bad_input.trade_no()"}$$),
	('pay_grant', $${"role": "current_user::text", "kind": "'auditor'"}$$);
CREATE FUNCTION bad_input.trade_no() RETURNS text LANGUAGE sql STABLE AS
	$$SELECT trade_no::text FROM pay_attempt JOIN pay_payment USING (pay_no) WHERE merchant = 'bad' AND order_no = 'B1'$$;
-- A batch of one: a good message, with what is said otherwise.
CREATE FUNCTION bad_input.message(other jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql STABLE AS
	$$SELECT jsonb_build_array(jsonb_build_object('channel', 'test', 'callback_id', 'C2', 'trade_no', bad_input.trade_no(),
		'reported', 'paid', 'amount', 100, 'currency', 'CNY') || other)$$;
CREATE FUNCTION bad_input.refund_message(other jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql STABLE AS
	$$SELECT jsonb_build_array(jsonb_build_object('channel', 'test', 'callback_id', 'C1', 'refund_no', 'F1', 'reported', 'processing', 'amount', 40, 'currency', 'CNY', 'merchant', 'bad') || other)$$;
CREATE FUNCTION bad_input.paid() RETURNS text LANGUAGE sql STABLE AS
	$$SELECT trade_no::text FROM pay_attempt JOIN pay_payment USING (pay_no) WHERE merchant = 'bad' AND order_no = 'B2'$$;
CREATE FUNCTION bad_input.holder() RETURNS text LANGUAGE sql STABLE AS
	$$SELECT trade_no::text FROM pay_attempt JOIN pay_payment USING (pay_no) WHERE merchant = 'bad' AND order_no = 'B5'$$;
CREATE FUNCTION bad_input.dispute_id() RETURNS bigint LANGUAGE sql STABLE AS
	$$SELECT dispute_id FROM pay_dispute JOIN pay_payment USING (pay_no) WHERE merchant = 'bad' AND order_no = 'B1'$$;
CREATE FUNCTION bad_input.review_id() RETURNS bigint LANGUAGE sql STABLE AS
	$$SELECT review_id FROM pay_review JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'bad' AND p.order_no = 'B1'$$;

-- What is bad in an argument of each kind, and the answer.
CREATE TABLE bad_input.bad (kind text, what text, value text, expected text);
INSERT INTO bad_input.bad VALUES
	-- a name that somebody gives: 1 to 255 bytes
	('key', 'NULL', 'NULL', 'PY400'),
	('key', 'empty', $$''$$, 'PY400'),
	('key', '256 bytes', $$repeat('x', 256)$$, 'PY400'),
	('key', '300 characters', $$repeat('x', 300)$$, 'PY400'),
	('key', '128 characters, 256 bytes', $$repeat('é', 128)$$, 'PY400'),
	('key', 'no UTF-8', $$convert_from('\xff41', 'UTF8')$$, '22021'),
	('key', 'a zero byte', $$convert_from('\x4100', 'UTF8')$$, '22021'),
	-- one that may be left out
	('optional key', 'empty', $$''$$, 'PY400'),
	('optional key', '300 characters', $$repeat('x', 300)$$, 'PY400'),
	-- a shop may have no name, but it is not NULL
	('merchant', 'NULL', 'NULL', 'PY400'),
	('merchant', '300 characters', $$repeat('x', 300)$$, 'PY400'),
	-- a JSON array of at most 10,000
	('array', 'NULL', 'NULL', 'PY400'),
	('array', 'JSON''s null', $$'null'$$, 'PY400'),
	('array', 'a number', $$'1'$$, 'PY400'),
	('array', 'an object', $$'{"channel": "test"}'$$, 'PY400'),
	('array', '10001 of them', $$(SELECT jsonb_agg('{}'::jsonb) FROM generate_series(1, 10001))$$, 'PY400'),
	-- 1 to 2^53 - 1 minor units, and 0 for an order that costs nothing
	('amount', 'NULL', 'NULL', 'PY400'),
	('amount', '-1', '-1', 'PY400'),
	('amount', '2^53', '9007199254740992', 'PY400'),
	('amount', '2^63 - 1', '9223372036854775807', 'PY400'),
	('amount', '-2^63', '(-9223372036854775808)', 'PY400'),
	('amount', '2^63', '9223372036854775808', '42883'),
	-- three capital letters
	('currency', 'NULL', 'NULL', 'PY400'),
	('currency', 'empty', $$''$$, 'PY400'),
	('currency', 'cn', $$'cn'$$, 'PY400'),
	('currency', 'XXXX', $$'XXXX'$$, 'PY400'),
	('currency', 'usd', $$'usd'$$, 'PY400'),
	('currency', 'U$D', $$'U$D'$$, 'PY400'),
	('currency', 'US1', $$'US1'$$, 'PY400'),
	('currency', 'space', $$'CN '$$, 'PY400'),
	('currency', 'no ASCII', $$'ÄÖÜ'$$, 'PY400'),
	('currency', '300 characters', $$repeat('X', 300)$$, 'PY400'),
	('channel', 'NULL', 'NULL', 'PY400'),
	('channel', 'empty', $$''$$, 'PY400'),
	('channel', 'unknown', $$'nobody'$$, 'PY400'),
	('channel', 'capitals', $$'TEST'$$, 'PY400'),
	('channel', 'space', $$'test '$$, 'PY400'),
	('channel', '300 characters', $$repeat('x', 300)$$, 'PY400'),
	('method', 'NULL', 'NULL', 'PY400'),
	('method', 'empty', $$''$$, 'PY400'),
	('method', 'unknown', $$'nobody'$$, 'PY400'),
	('method', 'of another channel', $$'jsapi'$$, 'PY400'),
	('method', '300 characters', $$repeat('x', 300)$$, 'PY400'),
	-- a duration that a caller asks for
	('duration', '0', $$interval '0'$$, 'PY400'),
	('duration', '-1 hour', $$interval '-1 hour'$$, 'PY400'),
	('duration', 'past the calendar', $$interval '300000 years'$$, 'PY400'),
	-- a state that may be reported or stepped to
	('state', 'NULL', 'NULL', 'PY400'),
	('state', 'empty', $$''$$, 'PY400'),
	('state', 'unknown label', $$'SUCCESS'$$, 'PY400'),
	('state', 'capitals', $$'PAID'$$, 'PY400'),
	('state', 'space', $$'paid '$$, 'PY400'),
	('state', 'created', $$'created'$$, 'PY400'),
	('state', '300 characters', $$repeat('x', 300)$$, 'PY400'),
	('label', 'empty', $$''$$, 'PY400'),
	('label', 'unknown', $$'SUCCESS'$$, 'PY400'),
	('label', 'capitals', $$'PAID'$$, 'PY400'),
	-- what is no number of ours
	('number', 'empty', $$''$$, 'PY400'),
	('number', 'ABC123', $$'ABC123'$$, 'PY404'),
	('number', 'random version 4', $$'f47ac10b-58cc-4372-a567-0e02b2c3d479'$$, 'PY404'),
	('number', 'version 7', $$overlay(bad_input.trade_no() PLACING '7' FROM 15)$$, 'PY404'),
	('number', 'route without attempt', $$overlay(bad_input.trade_no() PLACING '80' FROM 20)$$, 'PY404'),
	('number', 'cut off', $$left(bad_input.trade_no(), 35)$$, 'PY404'),
	('number', 'one digit more', $$bad_input.trade_no() || '0'$$, 'PY404'),
	('number', 'space before', $$' ' || bad_input.trade_no()$$, 'PY404'),
	('number', 'space after', $$bad_input.trade_no() || ' '$$, 'PY404'),
	('number', 'newline after', $$bad_input.trade_no() || E'\n'$$, 'PY404'),
	('number', 'braces', $$'{' || bad_input.trade_no() || '}'$$, 'PY404'),
	('number', 'dashes elsewhere', $$replace(bad_input.trade_no(), '-', '--')$$, 'PY404'),
	('number', 'no UTF-8', $$convert_from('\xff', 'UTF8')$$, '22021'),
	('number', '300 digits', $$repeat('0', 300)$$, 'PY400'),
	-- what is one, but nobody's: another random part, route, attempt, shard
	('number of nobody', 'well-formed', $$'019b76da80008001810123456789abcd'$$, 'PY404'),
	('number of nobody', 'another payment', $$left(bad_input.trade_no(), 35) || translate(right(bad_input.trade_no(), 1), '0123456789abcdef', '1032547698badcfe')$$, 'PY404'),
	('number of nobody', 'another route', $$overlay(bad_input.trade_no() PLACING '002' FROM 16)$$, 'PY404'),
	('number of nobody', 'another attempt', $$overlay(bad_input.trade_no() PLACING '82' FROM 20)$$, 'PY404'),
	('number of nobody', 'another shard', $$overlay(bad_input.trade_no() PLACING translate(substr(bad_input.trade_no(), 22, 1), '0123456789abcdef', '1032547698badcfe') FROM 22)$$, 'PY404'),
	('required', 'NULL', 'NULL', 'PY400'),
	('required', 'empty', $$''$$, 'PY400'),
	('verdict', 'NULL', 'NULL', 'PY400'),
	('verdict', 'empty', $$''$$, 'PY400'),
	('verdict', 'unknown', $$'maybe'$$, 'PY400'),
	('verdict', 'capitals', $$'DISMISS'$$, 'PY400'),
	('id', 'NULL', 'NULL', 'PY400'),
	('id', 'none of that id', '0', 'PY404'),
	('id', 'negative', '-1', 'PY404'),
	('id', '2^63 - 1', '9223372036854775807', 'PY404'),
	-- a refund's state, which is none of a payment's
	('refund state', 'NULL', 'NULL', 'PY400'),
	('refund state', 'empty', $$''$$, 'PY400'),
	('refund state', 'unknown label', $$'SUCCESS'$$, 'PY400'),
	('refund state', 'capitals', $$'SUCCEEDED'$$, 'PY400'),
	('refund state', 'space', $$'succeeded '$$, 'PY400'),
	('refund state', 'a payment''s', $$'paid'$$, 'PY400'),
	('refund state', '300 characters', $$repeat('x', 300)$$, 'PY400'),
	-- what a channel may have started
	('kind of refund', 'NULL', 'NULL', 'PY400'),
	('kind of refund', 'empty', $$''$$, 'PY400'),
	('kind of refund', 'unknown', $$'gift'$$, 'PY400'),
	('kind of refund', 'capitals', $$'REFUND'$$, 'PY400'),
	('kind of refund', 'ours alone', $$'surplus'$$, 'PY400'),
	('verdict of a dispute', 'NULL', 'NULL', 'PY400'),
	('verdict of a dispute', 'empty', $$''$$, 'PY400'),
	('verdict of a dispute', 'unknown', $$'maybe'$$, 'PY400'),
	('verdict of a dispute', 'a review''s', $$'dismiss'$$, 'PY400'),
	('verdict of a dispute', 'capitals', $$'REJECT'$$, 'PY400'),
	-- how many tasks a worker takes at once, which, and what a participant has done
	('number of tasks', 'NULL', 'NULL', 'PY400'),
	('number of tasks', '0', '0', 'PY400'),
	('number of tasks', '-1', '-1', 'PY400'),
	('number of tasks', '10001', '10001', 'PY400'),
	('number of tasks', '2^31 - 1', '2147483647', 'PY400'),
	('number of tasks', '2^31', '2147483648', '42883'),
	('actions', 'unknown', $$'{query,pay}'::text[]$$, 'PY400'),
	('actions', 'empty', $$'{""}'::text[]$$, 'PY400'),
	('actions', 'capitals', $$'{QUERY}'::text[]$$, 'PY400'),
	('actions', 'a NULL', $$'{query,NULL}'::text[]$$, 'PY400'),
	('done', 'NULL', 'NULL', 'PY400'),
	('done', 'empty', $$''$$, 'PY400'),
	('done', 'unknown', $$'done'$$, 'PY400'),
	('done', 'capitals', $$'TRIED'$$, 'PY400'),
	('done', 'a hold''s state', $$'held'$$, 'PY400'),
	-- what is to be held: class:name or class:name#quantity, each once (and for some time only: see bad_money)
	('holds', 'a NULL', $$'{coupon:C1,NULL}'::text[]$$, 'PY400'),
	('holds', 'empty', $$'{""}'::text[]$$, 'PY400'),
	('holds', 'no name', $$'{coupon:}'::text[]$$, 'PY400'),
	('holds', 'no class', $$'{:C1}'::text[]$$, 'PY400'),
	('holds', 'neither', $$'{C1}'::text[]$$, 'PY400'),
	('holds', 'no name, but a quantity', $$'{coupon:#1}'::text[]$$, 'PY400'),
	('holds', 'twice', $$'{coupon:C1,coupon:C2,coupon:C1#1}'::text[]$$, 'PY400'),
	('holds', 'quantity 0', $$'{coupon:C1#0}'::text[]$$, 'PY400'),
	('holds', 'quantity -1', $$'{coupon:C1#-1}'::text[]$$, 'PY400'),
	('holds', 'quantity +1', $$'{coupon:C1#+1}'::text[]$$, 'PY400'),
	('holds', 'quantity none', $$'{coupon:C1#}'::text[]$$, 'PY400'),
	('holds', 'quantity a word', $$'{coupon:C1#two}'::text[]$$, 'PY400'),
	('holds', 'quantity 1.5', $$'{coupon:C1#1.5}'::text[]$$, 'PY400'),
	('holds', 'quantity 2^53', $$'{coupon:C1#9007199254740992}'::text[]$$, 'PY400'),
	('holds', 'quantity 2^63', $$'{coupon:C1#9223372036854775808}'::text[]$$, 'PY400'),
	('holds', '256 bytes', $$ARRAY[repeat('c', 254) || ':1']$$, 'PY400'),
	('holds', '101 of them', $$ARRAY(SELECT 'coupon:' || n FROM generate_series(1, 101) AS n)$$, 'PY400'),
	('holds', 'what nobody knows', $$'{coupon:C1,nothing:1}'::text[]$$, 'PY400'),
	('role', 'NULL', 'NULL', 'PY400'),
	('role', 'unknown', $$'nobody at all'$$, 'PY400'),
	('role', 'public', $$'public'$$, 'PY400'),
	('kind of role', 'NULL', 'NULL', 'PY400'),
	('kind of role', 'unknown', $$'boss'$$, 'PY400');

-- Which argument is of which kind. What may be left out is not in the good call.
CREATE TABLE bad_input.kind (function text, argument text, kind text);
INSERT INTO bad_input.kind VALUES
	('pay_create', 'order_no', 'key'), ('pay_create', 'merchant', 'merchant'), ('pay_create', 'payer', 'optional key'),
	('pay_create', 'amount', 'amount'), ('pay_create', 'currency', 'currency'), ('pay_create', 'valid_for', 'duration'),
	('pay_prepay', 'order_no', 'key'), ('pay_prepay', 'merchant', 'merchant'), ('pay_prepay', 'payer', 'optional key'),
	('pay_prepay', 'amount', 'amount'), ('pay_prepay', 'currency', 'currency'), ('pay_prepay', 'valid_for', 'duration'),
	('pay_prepay', 'channel', 'channel'), ('pay_prepay', 'method', 'method'), ('pay_prepay', 'request_id', 'key'),
	('pay_prepay', 'replaces', 'optional key'),
	('pay_credential', 'trade_no', 'number'), ('pay_credential', 'trade_no', 'number of nobody'),
	('pay_credential', 'credential', 'required'), ('pay_credential', 'valid_for', 'duration'),
	('pay_query', 'order_no', 'key'), ('pay_query', 'merchant', 'merchant'), ('pay_query', 'trade_no', 'number'), ('pay_query', 'trade_no', 'number of nobody'),
	('pay_close', 'order_no', 'key'), ('pay_close', 'merchant', 'merchant'),
	('pay_transition', 'trade_no', 'number'), ('pay_transition', 'trade_no', 'number of nobody'),
	('pay_transition', 'to_state', 'state'), ('pay_transition', 'request_id', 'optional key'),
	('pay_transition', 'channel_txn', 'optional key'),
	('pay_callback', 'channel', 'channel'), ('pay_callback', 'callback_id', 'optional key'), ('pay_callback', 'reported', 'state'),
	('pay_callback', 'amount', 'amount'), ('pay_callback', 'currency', 'currency'), ('pay_callback', 'channel_txn', 'optional key'),
	('pay_adopt_database', 'reason', 'required'),
	('pay_callbacks', 'messages', 'array'), ('pay_refund_callbacks', 'messages', 'array'), ('pay_import', 'payments', 'array'),
	('pay_review_resolve', 'review_id', 'id'), ('pay_review_resolve', 'verdict', 'verdict'),
	('pay_review_resolve', 'reason', 'required'),
	('pay_refund', 'trade_no', 'number'), ('pay_refund', 'trade_no', 'number of nobody'), ('pay_refund', 'refund_no', 'key'),
	('pay_refund', 'amount', 'amount'), ('pay_refund', 'reason', 'required'),
	('pay_refund_transition', 'refund_no', 'key'), ('pay_refund_transition', 'to_state', 'refund state'),
	('pay_refund_transition', 'channel_txn', 'optional key'), ('pay_refund_transition', 'merchant', 'merchant'),
	('pay_refund_callback', 'channel', 'channel'), ('pay_refund_callback', 'callback_id', 'optional key'),
	('pay_refund_callback', 'refund_no', 'key'), ('pay_refund_callback', 'reported', 'refund state'),
	('pay_refund_callback', 'trade_no', 'optional key'), ('pay_refund_callback', 'channel_txn', 'optional key'),
	('pay_refund_callback', 'kind', 'kind of refund'), ('pay_refund_callback', 'merchant', 'merchant'),
	('pay_dispute_open', 'trade_no', 'number'), ('pay_dispute_open', 'trade_no', 'number of nobody'),
	('pay_dispute_open', 'duplicate_of', 'number'), ('pay_dispute_open', 'duplicate_of', 'number of nobody'),
	('pay_dispute_open', 'reason', 'required'),
	('pay_dispute_resolve', 'dispute_id', 'id'), ('pay_dispute_resolve', 'verdict', 'verdict of a dispute'),
	('pay_dispute_resolve', 'reason', 'required'),
	('pay_dispute_case', 'dispute_id', 'id'),
	('pay_claim', 'worker', 'key'), ('pay_claim', 'max_tasks', 'number of tasks'), ('pay_claim', 'lease', 'duration'),
	('pay_claim', 'actions', 'actions'),
	('pay_hold_done', 'trade_no', 'number'), ('pay_hold_done', 'trade_no', 'number of nobody'), ('pay_hold_done', 'resource', 'key'),
	('pay_hold_done', 'done', 'done'),
	('pay_prepay', 'holds', 'holds'),
	('pay_history', 'trade_no', 'number'), ('pay_history', 'trade_no', 'number of nobody'),
	('pay_can', 'from_state', 'label'), ('pay_can', 'to_state', 'label'), ('pay_next', 'state', 'label'), ('pay_is_final', 'state', 'label'),
	('pay_shard_of', 'trade_no', 'number'), ('pay_time', 'trade_no', 'number'),
	('pay_channel_of', 'trade_no', 'number'), ('pay_attempt_of', 'trade_no', 'number'),
	('pay_grant', 'role', 'role'), ('pay_grant', 'kind', 'kind of role');

-- And what is bad in a way of its own.
CREATE TABLE bad_input.own (function text, argument text, what text, value text, expected text);
INSERT INTO bad_input.own VALUES
	('pay_credential', 'trade_no', 'NULL', 'NULL', 'PY400'),
	('pay_credential', 'trade_no', 'the payment''s own number', $$overlay(overlay(bad_input.trade_no() PLACING '000' FROM 16) PLACING '80' FROM 20)$$, 'PY404'),
	('pay_credential', 'valid_for', 'NULL', 'NULL', 'PY400'),
	('pay_transition', 'trade_no', 'NULL', 'NULL', 'PY400'),
	('pay_transition', 'to_state', 'paying', $$'paying'$$, 'PY409'),
	('pay_transition', 'to_state', 'not legal', $$'capturing'$$, 'PY409'),
	('pay_transition', 'amount', '0', '0', 'PY400'),
	('pay_callback', 'amount', '0', '0', 'PY400'),
	('pay_callback', 'merchant', '256 bytes', $$repeat('m', 256)$$, 'PY400'),
	('pay_refund', 'amount', '0', '0', 'PY400'),
	('pay_transition', 'amount', '-1', '-1', 'PY400'),
	('pay_transition', 'amount', '2^63 - 1', '9223372036854775807', 'PY400'),
	('pay_transition', 'currency', 'cn', $$'cn'$$, 'PY400'),
	('pay_history', 'trade_no', 'NULL', 'NULL', 'PY400'),
	('pay_query', 'trade_no', 'of another order', $$bad_input.paid()$$, 'PY422'),
	('pay_close', 'order_no', 'unknown', $$'B99'$$, 'PY404'),
	('pay_close', 'reason', 'empty', $$''$$, 'PY400'),
	-- a callback raises only for what means nothing: an empty number does
	('pay_callback', 'trade_no', 'NULL', 'NULL', 'PY400'),
	('pay_callback', 'trade_no', 'empty', $$''$$, 'PY400'),
	('pay_callback', 'trade_no', '300 characters', $$repeat('0', 300)$$, 'PY400'),
	-- of many messages one that means nothing stops all
	('pay_callbacks', 'messages', 'no object', $$'[1]'$$, 'PY400'),
	('pay_callbacks', 'messages', 'an array', $$'[[]]'$$, 'PY400'),
	('pay_callbacks', 'messages', 'the second one empty', $$bad_input.message() || '[{}]'$$, 'PY400'),
	('pay_callbacks', 'messages', 'a key that there is not', $$bad_input.message('{"tradeno": "1"}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'channel a number', $$bad_input.message('{"channel": 1}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'channel unknown', $$bad_input.message('{"channel": "nobody"}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'callback_id of 256 bytes', $$bad_input.message(jsonb_build_object('callback_id', repeat('x', 256)))$$, 'PY400'),
	('pay_callbacks', 'messages', 'trade_no null', $$bad_input.message('{"trade_no": null}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'reported created', $$bad_input.message('{"reported": "created"}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'reported true', $$bad_input.message('{"reported": true}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'paid without amount', $$bad_input.message('{"amount": null}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'paid without currency', $$bad_input.message('{"currency": null}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'amount a string', $$bad_input.message('{"amount": "100"}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'amount 0', $$bad_input.message('{"amount": 0}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'amount 100.00', $$bad_input.message('{"amount": 100.00}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'amount 2^64', $$bad_input.message('{"amount": 18446744073709551616}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'amount an object', $$bad_input.message('{"amount": {"total": 100}}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'currency cn', $$bad_input.message('{"currency": "cn"}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'merchant a number', $$bad_input.message('{"merchant": 1}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'channel_txn empty', $$bad_input.message('{"channel_txn": ""}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'occurred_at a number', $$bad_input.message('{"occurred_at": 1764144000}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'occurred_at no time', $$bad_input.message('{"occurred_at": "just now"}')$$, 'PY400'),
	('pay_callbacks', 'messages', 'occurred_at no date', $$bad_input.message('{"occurred_at": "2026-02-30T00:00:00Z"}')$$, 'PY400'),
	('pay_refund_callbacks', 'messages', 'no object', $$'[1]'$$, 'PY400'),
	('pay_refund_callbacks', 'messages', 'the second one empty', $$bad_input.refund_message() || '[{}]'$$, 'PY400'),
	('pay_refund_callbacks', 'messages', 'a key that there is not', $$bad_input.refund_message('{"refundno": "1"}')$$, 'PY400'),
	('pay_refund_callbacks', 'messages', 'channel unknown', $$bad_input.refund_message('{"channel": "nobody"}')$$, 'PY400'),
	('pay_refund_callbacks', 'messages', 'refund_no null', $$bad_input.refund_message('{"refund_no": null}')$$, 'PY400'),
	('pay_refund_callbacks', 'messages', 'reported a payment''s state', $$bad_input.refund_message('{"reported": "paid"}')$$, 'PY400'),
	('pay_refund_callbacks', 'messages', 'amount 0', $$bad_input.refund_message('{"amount": 0}')$$, 'PY400'),
	('pay_refund_callbacks', 'messages', 'currency cn', $$bad_input.refund_message('{"currency": "cn"}')$$, 'PY400'),
	('pay_refund_callbacks', 'messages', 'kind unknown', $$bad_input.refund_message('{"kind": "gift"}')$$, 'PY400'),
	('pay_refund_callbacks', 'messages', 'merchant of 256 bytes', $$bad_input.refund_message(jsonb_build_object('merchant', repeat('m', 256)))$$, 'PY400'),
	-- an order does not replace itself (of which it may, see prepay_rules)
	('pay_prepay', 'replaces', 'the same order', $$'B6'$$, 'PY400'),
	-- refunds: of what was collected and is still there, and by their own numbers
	('pay_refund', 'trade_no', 'NULL', 'NULL', 'PY400'),
	('pay_refund', 'trade_no', 'not paid', $$bad_input.trade_no()$$, 'PY409'),
	('pay_refund', 'trade_no', 'payment not paid', $$overlay(overlay(bad_input.trade_no() PLACING '000' FROM 16) PLACING '80' FROM 20)$$, 'PY409'),
	('pay_refund', 'amount', 'above refundable', '51', 'PY409'),
	('pay_refund', 'currency', 'cn', $$'cn'$$, 'PY400'),
	('pay_refund', 'currency', 'another', $$'USD'$$, 'PY422'),
	('pay_refund', 'refund_no', 'with another amount', $$'F1'$$, 'PY422'),
	('pay_refund', 'refund_no', 'of the form that surplus has', $$replace(bad_input.paid(), '-', '') || 's'$$, 'PY400'),
	('pay_refund_transition', 'refund_no', 'unknown', $$'F3'$$, 'PY404'),
	('pay_refund_transition', 'refund_no', 'succeeded', $$'F0'$$, 'PY409'),
	('pay_refund_transition', 'merchant', 'another', $$'worse'$$, 'PY404'),
	('pay_refund_callback', 'amount', '0', '0', 'PY400'),
	('pay_refund_callback', 'amount', '-1', '-1', 'PY400'),
	('pay_refund_callback', 'amount', '2^63 - 1', '9223372036854775807', 'PY400'),
	('pay_refund_callback', 'currency', 'cn', $$'cn'$$, 'PY400'),
	('pay_refund_callback', 'currency', 'empty', $$''$$, 'PY400'),
	-- disputes: of two payments of one merchant, and with money to send back
	('pay_dispute_open', 'trade_no', 'NULL', 'NULL', 'PY400'),
	('pay_dispute_open', 'duplicate_of', 'NULL', 'NULL', 'PY400'),
	('pay_dispute_open', 'duplicate_of', 'the same payment', $$bad_input.paid()$$, 'PY400'),
	('pay_dispute_open', 'duplicate_of', 'of another merchant', $$(SELECT pay_no::text FROM pay_payment WHERE merchant = 'worse' AND order_no = 'B3')$$, 'PY409'),
	('pay_dispute_resolve', 'verdict', 'of what was not paid', $$'refund'$$, 'PY409'),
	('pay_suspects', 'since', 'NULL', 'NULL', 'PY400'),
	-- tasks and holds
	('pay_claim', 'lease', 'NULL', 'NULL', 'PY400'),
	('pay_hold_done', 'trade_no', 'NULL', 'NULL', 'PY400'),
	('pay_hold_done', 'trade_no', 'of an order that holds nothing', $$bad_input.paid()$$, 'PY404'),
	('pay_hold_done', 'resource', 'that it does not hold', $$'room:B6'$$, 'PY404'),
	('pay_hold_done', 'resource', 'that has no participant', $$'coupon:B5'$$, 'PY409'),
	('pay_hold_done', 'done', 'not asked to confirm', $$'confirmed'$$, 'PY409'),
	('pay_hold_done', 'done', 'not asked to release', $$'released'$$, 'PY409'),
	-- the same order, another content
	('pay_create', 'amount', 'another', '101', 'PY422'),
	('pay_create', 'currency', 'another', $$'USD'$$, 'PY422'),
	('pay_create', 'payer', 'another', $$'alice'$$, 'PY422'),
	('pay_create', 'multi', 'another', 'true', 'PY422'),
	('pay_prepay', 'amount', 'another', '101', 'PY422'),
	('pay_create', 'amount', 'nothing', '0', 'PY422'),
	('pay_prepay', 'amount', 'nothing', '0', 'PY422'),
	('pay_prepay', 'currency', 'another', $$'USD'$$, 'PY422'),
	('pay_prepay', 'payer', 'another', $$'alice'$$, 'PY422'),
	('pay_prepay', 'multi', 'another', 'true', 'PY422');

CREATE TABLE bad_input.result (n integer GENERATED ALWAYS AS IDENTITY, function text, argument text, what text,
	expected text, answer text, unchanged boolean);
DO $$
DECLARE
	t record;
	before text := test.fingerprint();
	after text;
	call text;
	answer text;
BEGIN
	FOR t IN
		SELECT function, argument, what, value, expected
		FROM bad_input.kind JOIN bad_input.bad USING (kind)
		UNION ALL SELECT function, argument, what, value, expected FROM bad_input.own
		ORDER BY function, argument, what
	LOOP
		SELECT format('SELECT %I(%s)', t.function, string_agg(format('%I => %s', key, value), ', '))
		INTO call FROM bad_input.good, jsonb_each_text(arguments || jsonb_build_object(t.argument, t.value))
		WHERE function = t.function GROUP BY function;
		answer := test.try(call);
		after := test.fingerprint();
		INSERT INTO bad_input.result (function, argument, what, expected, answer, unchanged)
		VALUES (t.function, t.argument, t.what, t.expected, answer, after = before);
		before := after;
	END LOOP;
END
$$;

-- Not as expected, changed a row, or a refusal of ours without DETAIL: none.
SELECT function, argument, what, expected, answer, unchanged FROM bad_input.result
WHERE split_part(answer, ' ', 1) <> expected OR NOT unchanged OR expected NOT IN ('22021', '42883') AND answer NOT LIKE '% | DETAIL: %'
ORDER BY n;
SELECT function, count(*) AS cases, count(*) FILTER (WHERE expected = 'PY400') AS "PY400",
	count(*) FILTER (WHERE expected = 'PY404') AS "PY404", count(*) FILTER (WHERE expected = 'PY409') AS "PY409",
	count(*) FILTER (WHERE expected = 'PY422') AS "PY422", count(*) FILTER (WHERE expected NOT LIKE 'PY%') AS others
FROM bad_input.result GROUP BY function ORDER BY function;

-- The good calls are good (each is rolled back), so it was the one argument that was refused.
CREATE FUNCTION bad_input.refused(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE call;
	RAISE EXCEPTION 'good' USING ERRCODE = 'OK000';
EXCEPTION WHEN OTHERS THEN
	RETURN nullif(SQLSTATE, 'OK000');
END
$$;
SELECT count(*) AS good_calls, count(refused) AS refused
FROM bad_input.good, LATERAL (SELECT string_agg(format('%I => %s', key, value), ', ') FROM jsonb_each_text(arguments)) AS a (list),
	bad_input.refused(format('SELECT %I(%s)', function, list));

-- And what is just allowed is allowed: 255 bytes, 2^53 - 1, no merchant.
BEGIN;
SELECT decision, amount FROM pay_prepay(order_no => repeat('é', 127) || 'x', amount => 9007199254740991, currency => 'XXX',
	merchant => repeat('m', 255), payer => repeat('p', 255), channel => 'test', method => 'test', request_id => repeat('r', 255));
SELECT decision, merchant FROM pay_create(order_no => ' ', amount => 1, currency => 'JPY', merchant => '');
SELECT decision, amount FROM pay_create(order_no => 'free', amount => 0, currency => 'JPY');
ROLLBACK;

-- How a refusal reads.
SELECT function, argument, what, regexp_replace(answer, 'dispute \d+ ', 'dispute <id> ') AS answer FROM bad_input.result
WHERE (function, argument, what) IN (
	('pay_prepay', 'order_no', 'NULL'), ('pay_prepay', 'order_no', 'empty'), ('pay_prepay', 'order_no', '256 bytes'),
	('pay_callback', 'amount', '0'), ('pay_prepay', 'amount', 'nothing'), ('pay_prepay', 'amount', '2^63 - 1'), ('pay_prepay', 'currency', 'cn'),
	('pay_prepay', 'channel', 'unknown'), ('pay_prepay', 'method', 'of another channel'), ('pay_prepay', 'amount', 'another'),
	('pay_prepay', 'replaces', 'the same order'), ('pay_prepay', 'valid_for', '-1 hour'),
	('pay_hold_done', 'resource', 'that has no participant'), ('pay_prepay', 'holds', 'twice'), ('pay_prepay', 'holds', 'neither'), ('pay_prepay', 'holds', 'a NULL'),
	('pay_prepay', 'holds', 'quantity 0'), ('pay_prepay', 'holds', '101 of them'), ('pay_prepay', 'holds', 'what nobody knows'),
	('pay_claim', 'max_tasks', '10001'), ('pay_claim', 'actions', 'unknown'), ('pay_hold_done', 'done', 'a hold''s state'),
	('pay_hold_done', 'done', 'not asked to confirm'), ('pay_hold_done', 'resource', 'that it does not hold'),
	('pay_callbacks', 'messages', '10001 of them'), ('pay_callbacks', 'messages', 'an object'), ('pay_callbacks', 'messages', 'no object'),
	('pay_callbacks', 'messages', 'a key that there is not'), ('pay_callbacks', 'messages', 'amount a string'),
	('pay_callbacks', 'messages', 'amount 0'), ('pay_callbacks', 'messages', 'occurred_at no date'), ('pay_callbacks', 'messages', 'paid without amount'),
	('pay_transition', 'trade_no', 'ABC123'), ('pay_transition', 'trade_no', 'another route'), ('pay_transition', 'to_state', 'capitals'),
	('pay_transition', 'to_state', 'paying'), ('pay_transition', 'to_state', 'not legal'), ('pay_callback', 'reported', 'created'),
	('pay_review_resolve', 'review_id', 'none of that id'), ('pay_review_resolve', 'verdict', 'unknown'),
	('pay_refund', 'trade_no', 'not paid'), ('pay_refund', 'trade_no', 'payment not paid'), ('pay_refund', 'amount', 'above refundable'),
	('pay_refund', 'currency', 'another'), ('pay_refund', 'refund_no', 'with another amount'), ('pay_refund', 'refund_no', 'of the form that surplus has'),
	('pay_refund_transition', 'refund_no', 'unknown'), ('pay_refund_transition', 'refund_no', 'succeeded'),
	('pay_refund_transition', 'to_state', 'a payment''s'), ('pay_refund_callback', 'kind', 'ours alone'),
	('pay_dispute_open', 'duplicate_of', 'the same payment'), ('pay_dispute_open', 'duplicate_of', 'of another merchant'),
	('pay_dispute_resolve', 'dispute_id', 'none of that id'), ('pay_dispute_resolve', 'verdict', 'of what was not paid'),
	('pay_suspects', 'since', 'NULL'), ('pay_grant', 'role', 'unknown'))
ORDER BY n;

-- A channel's report of what is no number of ours is not refused but unmatched:
-- for a person to look at, and nothing else changes.
BEGIN;
CREATE TEMP TABLE before ON COMMIT DROP AS
	SELECT (SELECT count(*) FROM pay_event) AS events, (SELECT md5(string_agg(p::text, '' ORDER BY p::text)) FROM pay_payment p) AS payments,
		(SELECT md5(string_agg(a::text, '' ORDER BY a::text)) FROM pay_attempt a) AS attempts,
		(SELECT md5(string_agg(r::text, '' ORDER BY r::text)) FROM pay_refund r) AS refunds;
SELECT kind, what, decision, pay_no IS NULL AS no_payment, state, trade_no IS NOT NULL AS says_which
FROM bad_input.bad, LATERAL (SELECT test.try('SELECT ' || value) AS number) AS n,
	pay_callback(channel => 'test', callback_id => 'bad', trade_no => number, reported => 'paid', amount => 100, currency => 'CNY')
WHERE kind IN ('number', 'number of nobody') AND what NOT IN ('empty', 'no UTF-8', '300 digits') ORDER BY kind, what COLLATE "C";
SELECT count(*) AS reviews, bool_and(about_money) AS about_money, bool_and(pay_no IS NULL) AS of_no_payment
FROM pay_review WHERE kind = 'unmatched' AND message_id = 'bad';
-- So is one of a refund that nobody asked for: whose money would it give back?
SELECT decision, state IS NULL AS no_state, count(*)
FROM bad_input.bad, LATERAL (SELECT test.try('SELECT ' || value) AS number) AS n,
	pay_refund_callback(channel => 'test', callback_id => 'bad ' || what, refund_no => 'F9', trade_no => number, reported => 'succeeded', amount => 100, currency => 'CNY')
WHERE kind IN ('number', 'number of nobody') AND what NOT IN ('empty', 'no UTF-8', '300 digits') GROUP BY 1, 2;
SELECT count(*) AS reviews, bool_or(about_money) AS about_money, bool_and(pay_no IS NULL) AS of_no_payment, min(refund_reported) AS refund_reported
FROM pay_review WHERE kind = 'unmatched' AND refund_no = 'F9';
SELECT events = (SELECT count(*) FROM pay_event) AS events, payments = (SELECT md5(string_agg(p::text, '' ORDER BY p::text)) FROM pay_payment p) AS payments,
	attempts = (SELECT md5(string_agg(a::text, '' ORDER BY a::text)) FROM pay_attempt a) AS attempts,
	refunds = (SELECT md5(string_agg(r::text, '' ORDER BY r::text)) FROM pay_refund r) AS refunds FROM before;
ROLLBACK;

DROP SCHEMA bad_input CASCADE;
