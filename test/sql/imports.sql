-- Another system's payments come in: with states that they could have come to
-- here, a history that says so, their refunds and tasks; what does not fit is
-- refused, with the reason, and the others come in all the same.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA import_test;

-- An order of 100 CNY of the merchant import, with what is said otherwise.
CREATE FUNCTION import_test.order_(order_no text, other jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('merchant', 'import', 'order_no', order_no, 'amount', 100, 'currency', 'CNY') || other
$$;
CREATE FUNCTION import_test.history(order_no text, OUT seq integer, OUT recorded_at text, OUT source text, OUT message_id text, OUT attempt integer,
	OUT reported text, OUT decision text, OUT payment text, OUT attempt_step text, OUT refund_step text, OUT reason text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT h.seq, CASE WHEN h.source = 'import' AND h.decision = 'applied' THEN 'now' ELSE to_char(h.recorded_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS') END,
		h.source, h.message_id, h.attempt, h.reported, h.decision,
		concat_ws('>', h.payment_before, h.payment_after), concat_ws('>', h.attempt_before, h.attempt_after),
		concat_ws('>', h.refund_before, h.refund_after), h.reason
	FROM pay_payment p, pay_history(p.pay_no::text) h WHERE p.merchant = 'import' AND p.order_no = history.order_no
$$;

-- ---- what comes in ----

CREATE TABLE import_test.good (n integer GENERATED ALWAYS AS IDENTITY, order_no text, other jsonb);
INSERT INTO import_test.good (order_no, other) VALUES
	('new', '{}'),
	('cancelled', '{"state": "closed"}'),
	('paid', '{"state": "paid", "payer": "alice", "attempts": [{"channel": "wechat", "method": "jsapi", "state": "paid", "channel_txn": "42000001"}]}'),
	('second try', '{"attempts": [{"channel": "wechat", "method": "jsapi", "state": "failed"}, {"channel": "alipay", "method": "qr", "state": "paid"}]}'),
	('can be tried again', '{"attempts": [{"channel": "wechat", "method": "jsapi", "state": "closed"}]}'),
	('ended', '{"state": "closed", "attempts": [{"channel": "wechat", "method": "jsapi", "state": "closed"}, {"channel": "alipay", "method": "qr", "state": "failed"}]}'),
	('reversed', '{"state": "reversed", "attempts": [{"channel": "wechat", "method": "micropay", "state": "reversed"}]}'),
	('open', '{"attempts": [{"channel": "wechat", "method": "jsapi", "state": "paying", "request_id": "OLD-17", "opened_at": "2026-01-05T00:00:00Z"}]}'),
	('to be closed', '{"state": "closing", "attempts": [{"channel": "wechat", "method": "jsapi", "state": "closing"}]}'),
	('authorized', '{"state": "authorized", "attempts": [{"channel": "stripe", "method": "card", "state": "authorized"}]}'),
	('capturing', '{"attempts": [{"channel": "stripe", "method": "card", "state": "capturing", "amount_to_capture": 70}]}'),
	('captured?', '{"attempts": [{"channel": "stripe", "method": "card", "state": "unknown", "amount_to_capture": 70}]}'),
	('captured', '{"attempts": [{"channel": "stripe", "method": "card", "state": "paid", "amount_collected": 70}]}'),
	('paid twice', '{"multi": true, "winner": 2, "attempts": [{"channel": "wechat", "method": "jsapi", "state": "paid"}, {"channel": "alipay", "method": "qr", "state": "paid"}]}'),
	('paid twice, one went back', '{"multi": true, "attempts": [{"channel": "wechat", "method": "jsapi", "state": "paid"}, {"channel": "alipay", "method": "qr", "state": "paid"}],
		"refunds": [{"refund_no": "S1", "kind": "surplus", "attempt": 2, "amount": 100, "state": "succeeded", "reason": "by hand"}]}'),
	('paid after its end', '{"state": "closed", "attempts": [{"channel": "wechat", "method": "jsapi", "state": "paid"}]}'),
	('paid, one is open', '{"multi": true, "attempts": [{"channel": "wechat", "method": "jsapi", "state": "unknown"}, {"channel": "alipay", "method": "qr", "state": "paid"}]}'),
	('refunds', '{"attempts": [{"channel": "wechat", "method": "jsapi", "state": "paid"}], "refunds": [
		{"refund_no": "R1", "amount": 30, "state": "succeeded", "reason": "too late", "channel_txn": "5030001"},
		{"refund_no": "R2", "amount": 100, "state": "failed"}, {"refund_no": "R3", "amount": 20, "state": "processing"},
		{"refund_no": "R4", "amount": 10, "state": "requested"}, {"refund_no": "R5", "amount": 5, "state": "abnormal"},
		{"refund_no": "R6", "amount": 15, "state": "succeeded", "kind": "chargeback"}, {"refund_no": "R7", "amount": 100, "state": "cancelled"}]}'),
	('told', '{"created_at": "2026-01-05T10:00:00Z", "valid_until": "2026-01-06T00:00:00Z", "metadata": {"cart": 7},
		"attempts": [{"channel": "wechat", "method": "jsapi", "state": "closed"}, {"channel": "alipay", "method": "qr", "state": "paid", "channel_txn": "T2"}],
		"history": [{"state": "created", "actor": "shop"},
			{"attempt": 1, "state": "paying", "at": "2026-01-05T10:00:05Z", "actor": "shop", "reason": "first try"},
			{"attempt": 1, "state": "unknown", "at": "2026-01-05T10:30:00Z", "reason": "no news"},
			{"attempt": 1, "state": "closed", "at": "2026-01-05T10:31:00Z", "channel": "wechat", "callback_id": "w1"},
			{"state": "failed"},
			{"attempt": 2, "state": "paying", "at": "2026-01-05T11:00:00Z"},
			{"attempt": 2, "state": "paid", "at": "2026-01-05T11:00:30Z", "channel": "alipay", "callback_id": "a1", "channel_txn": "T2", "payload": {"trade_status": "TRADE_SUCCESS"}},
			{"attempt": 2, "state": "paid", "at": "2026-01-05T11:05:30Z", "channel": "alipay", "callback_id": "a2"},
			{"state": "paid", "reason": "told the warehouse"}]}'),
	('told in part', '{"created_at": "2026-01-05T10:00:00Z", "multi": true,
		"attempts": [{"channel": "wechat", "method": "jsapi", "state": "closed", "opened_at": "2026-01-05T10:00:01Z"},
			{"channel": "alipay", "method": "qr", "state": "paying", "opened_at": "2026-01-05T10:10:00Z"}, {"channel": "test", "method": "qr", "state": "paid"}],
		"history": [{"attempt": 3, "state": "paid", "at": "2026-01-05T10:20:00Z", "channel": "test", "callback_id": "t1", "amount": 100, "currency": "CNY"}]}'),
	('ended by the customer', '{"created_at": "2026-01-05T10:00:00Z", "state": "closed",
		"attempts": [{"channel": "wechat", "method": "jsapi", "state": "closed"}, {"channel": "alipay", "method": "qr", "state": "paid"}],
		"history": [{"attempt": 1, "state": "closed", "at": "2026-01-05T10:02:00Z"}, {"attempt": 2, "state": "paying", "at": "2026-01-05T10:03:00Z"},
			{"state": "closed", "at": "2026-01-05T10:04:00Z", "reason": "the whole payment", "actor": "alice"},
			{"attempt": 2, "state": "paid", "at": "2026-01-05T10:05:00Z", "channel": "alipay", "callback_id": "late", "channel_txn": "late"}]}'),
	('zz first in the array, last in the table', '{"attempts": [{"channel": "test", "method": "card", "state": "reversed"}]}');
-- the array's order is not that of the numbers
CREATE TABLE import_test.report AS SELECT i.*
FROM (SELECT jsonb_agg(import_test.order_(order_no, other) ORDER BY n DESC) AS payments FROM import_test.good) g, pay_import(payments) i;
SELECT i.n, i.merchant, i.order_no, i.outcome, cardinality(i.trade_nos) AS attempts,
	pay_shard_of(i.pay_no) = pay_shard(i.order_no, i.merchant) AS shard,
	i.trade_nos = ARRAY(SELECT replace(a.trade_no::text, '-', '') FROM pay_attempt a WHERE a.pay_no = pay_number(i.pay_no) ORDER BY a.attempt) AS numbers, i.reason
FROM import_test.report i;
SELECT order_no, test.states(merchant, order_no) FROM pay_payment WHERE merchant = 'import' ORDER BY order_no;

-- Its time is in its number, and when it is not said, the first thing that is known of it.
SELECT order_no, CASE WHEN created_at < '2026-02-01' THEN created_at AT TIME ZONE 'UTC' END AS created_at, pay_time(pay_no::text) = date_trunc('milliseconds', created_at) AS in_number,
	valid_until AT TIME ZONE 'UTC' AS valid_until, payer, multi, metadata, end_requested
FROM pay_payment WHERE merchant = 'import' AND order_no IN ('told', 'open', 'paid', 'ended', 'paid twice') ORDER BY order_no;
SELECT p.order_no, a.attempt, CASE WHEN a.opened_at < '2026-02-01' THEN a.opened_at AT TIME ZONE 'UTC' END AS opened_at, a.request_id, a.channel_txn, a.amount_to_capture, a.amount_collected, a.amount_reserved, a.amount_refunded
FROM pay_attempt a JOIN pay_payment p USING (pay_no) WHERE merchant = 'import' AND order_no IN ('told', 'open', 'paid', 'captured', 'captured?', 'refunds', 'paid twice', 'ended by the customer') ORDER BY 1, 2;

-- The history that was told, with the messages; and the one that was not.
SELECT * FROM import_test.history('told');
SELECT * FROM import_test.history('told in part');
SELECT * FROM import_test.history('ended by the customer');
SELECT seq, source, attempt, decision, payment, attempt_step, reason FROM import_test.history('captured?');
SELECT seq, replace(h.actor, current_user, '<me>') AS actor, h.session_actor = session_user AS session, h.occurred_at AT TIME ZONE 'UTC' AS occurred_at, h.amount, h.currency, h.channel_txn, h.payload
FROM pay_payment p, pay_history(p.pay_no::text) h WHERE p.merchant = 'import' AND p.order_no = 'told' AND seq IN (2, 3, 8);

-- Refunds: surplus that no refund gave back gets one; ours has our number, and remembers the old one.
SELECT p.order_no, r.attempt, r.kind, r.state, r.amount, r.adopted, regexp_replace(r.refund_no, '^[0-9a-f]{32}', '<trade_no>') AS refund_no, r.reason, r.channel_txn
FROM pay_refund r JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'import' ORDER BY 1, 2, r.refund_no;
SELECT refund_step, count(*) FROM import_test.history('refunds') WHERE refund_step <> '' GROUP BY 1 ORDER BY 1;
SELECT kind, refund_no, detail FROM pay_review JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'import';

-- What is to be done later is in the queue: at once what nobody wants any more.
SELECT p.order_no, t.attempt, regexp_replace(t.refund_no, '^[0-9a-f]{32}', '<trade_no>') AS refund_no, t.due_at <= now() AS at_once
FROM pay_task t JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'import' ORDER BY 1, 2, 3;

-- ---- the same again, and what does not fit ----

-- Again: it is here, and nothing is written.
SELECT test.fingerprint() AS before \gset
SELECT outcome, count(*), count(i.pay_no) AS numbers, count(reason) AS reasons
FROM (SELECT jsonb_agg(import_test.order_(order_no, other) ORDER BY n) AS payments FROM import_test.good) g, pay_import(payments) i GROUP BY 1;
-- Twice in one array: the second finds the first.
SELECT n, outcome, reason FROM pay_import(jsonb_build_array(import_test.order_('twice', '{"amount": 1}'), import_test.order_('twice', '{"amount": 1}'), import_test.order_('twice', '{"amount": 2}')));

-- Each of these is refused, and says why.
CREATE TABLE import_test.bad (n integer GENERATED ALWAYS AS IDENTITY, order_no text DEFAULT 'bad', other jsonb);
-- the values
INSERT INTO import_test.bad (other) VALUES
	('{"order_no": ""}'), ('{"order_no": null}'), ('{"order_no": 7}'), ('{"amount": null}'), ('{"amount": 0}'), ('{"amount": "100"}'), ('{"amount": 9007199254740992}'),
	('{"currency": "rmb"}'), ('{"currency": null}'), ('{"payer": ""}'), ('{"multi": "yes"}'), ('{"status": "paid"}'),
	('{"created_at": "2999-01-01"}'), ('{"created_at": "1969-12-31T23:59:59Z"}'), ('{"created_at": "infinity"}'), ('{"created_at": "yesterday noon-ish"}'),
	('{"created_at": "2026-02-30"}'), ('{"created_at": "2026-01-01T25:00"}'), ('{"created_at": "2026-01-01T00:00:00+99:99"}'), ('{"created_at": "01.02.2026"}'), ('{"created_at": "2026-01-01 Z-08"}'),
	('{"created_at": "2026-01-02T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z"}'), ('{"attempts": {}}'), ('{"attempts": [1]}'), ('{"winner": 1}'),
	(jsonb_build_object('order_no', repeat('x', 256))),
	('{"attempts": [{"channel": "nobody", "method": "qr", "state": "paid"}]}'), ('{"attempts": [{"channel": "wechat", "method": "qr", "state": "paid"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr"}]}'), ('{"attempts": [{"channel": "test", "method": "qr", "state": "created"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid", "status": 1}]}'),
	(jsonb_build_object('attempts', (SELECT jsonb_agg('{"channel": "test", "method": "qr", "state": "failed"}'::jsonb) FROM generate_series(1, 64)))),
	(jsonb_build_object('history', (SELECT jsonb_agg('{"state": "created"}'::jsonb) FROM generate_series(1, 1001))));
-- the states
INSERT INTO import_test.bad (other) VALUES
	('{"state": "paid"}'), ('{"state": "reversed"}'),
	('{"state": "failed", "attempts": [{"channel": "test", "method": "qr", "state": "paying"}]}'),
	('{"state": "paying", "attempts": [{"channel": "test", "method": "qr", "state": "failed"}]}'),
	('{"state": "closed", "attempts": [{"channel": "test", "method": "qr", "state": "unknown"}]}'),
	('{"state": "created", "attempts": [{"channel": "test", "method": "qr", "state": "failed"}]}'),
	('{"state": "failed", "attempts": [{"channel": "test", "method": "qr", "state": "paid"}]}'),
	('{"winner": 1, "attempts": [{"channel": "test", "method": "qr", "state": "failed"}]}'),
	('{"winner": 1, "state": "closed", "attempts": [{"channel": "test", "method": "qr", "state": "paid"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paying"}, {"channel": "test", "method": "qr", "state": "paid"}]}'),
	('{"multi": true, "attempts": [{"channel": "test", "method": "qr", "state": "paid", "opened_at": "2026-01-02"}, {"channel": "test", "method": "qr", "state": "failed", "opened_at": "2026-01-01"}]}'),
	('{"created_at": "2026-01-02", "attempts": [{"channel": "test", "method": "qr", "state": "failed", "opened_at": "2026-01-01"}]}'),
	('{"created_at": "2026-01-02", "valid_until": "2026-01-03", "attempts": [{"channel": "test", "method": "qr", "state": "failed", "opened_at": "2026-01-04"}]}');
-- the money
INSERT INTO import_test.bad (other) VALUES
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid", "amount_collected": 120}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid", "amount_to_capture": 70, "amount_collected": 60}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "failed", "amount_collected": 100}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "capturing", "amount_to_capture": 120}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paying", "amount_to_capture": 50}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid", "amount": 80}]}'),
	('{"refunds": [{"refund_no": "X1", "amount": 10, "state": "succeeded"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "failed"}], "refunds": [{"refund_no": "X1", "amount": 10, "state": "succeeded", "attempt": 1}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "amount": 10, "state": "succeeded", "attempt": 2}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "amount": 60, "state": "succeeded"}, {"refund_no": "X2", "amount": 41, "state": "abnormal"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "amount": 101, "state": "failed"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "amount": 10, "state": "succeeded"}, {"refund_no": "X1", "amount": 10, "state": "succeeded"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "R1", "amount": 10, "state": "succeeded"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "amount": 10, "state": "done"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "state": "succeeded"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "amount": 10, "state": "succeeded", "kind": "extra"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "019b76da80008001810123456789abcds", "amount": 10, "state": "succeeded"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "amount": 100, "state": "succeeded", "kind": "surplus"}]}'),
	('{"multi": true, "attempts": [{"channel": "test", "method": "qr", "state": "paid"}, {"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "attempt": 2, "amount": 40, "state": "succeeded", "kind": "surplus"}]}'),
	('{"multi": true, "attempts": [{"channel": "test", "method": "qr", "state": "paid"}, {"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "attempt": 2, "amount": 100, "state": "cancelled", "kind": "surplus"}]}'),
	('{"multi": true, "attempts": [{"channel": "test", "method": "qr", "state": "paid"}, {"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "attempt": 2, "amount": 100, "state": "failed", "kind": "surplus"}, {"refund_no": "X2", "attempt": 2, "amount": 100, "state": "succeeded", "kind": "surplus"}]}'),
	('{"multi": true, "attempts": [{"channel": "test", "method": "qr", "state": "paid"}, {"channel": "test", "method": "qr", "state": "paid"}], "refunds": [{"refund_no": "X1", "attempt": 2, "amount": 40, "state": "succeeded"}]}');
-- the history
INSERT INTO import_test.bad (other)
SELECT '{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}]}'::jsonb || jsonb_build_object('history', history) FROM unnest(ARRAY[
	'[{"attempt": 2, "state": "paid"}]', '[{"attempt": 1, "state": "created"}]', '[{"attempt": 1, "state": "paid", "by": "me"}]', '[{"attempt": 1, "state": "paid", "at": "2999-01-01"}]',
	'[{"attempt": 1, "state": "failed"}]', '[{"attempt": 1, "state": "paid"}, {"attempt": 1, "state": "failed"}]', '[{"attempt": 1, "state": "capturing"}]',
	'[{"attempt": 1, "state": "unknown", "at": "2026-01-02"}, {"attempt": 1, "state": "paid", "at": "2026-01-01"}]',
	'[{"attempt": 1, "state": "paid", "amount": 90}]', '[{"attempt": 1, "state": "paid"}, {"attempt": 1, "state": "paid", "amount": 90}]', '[{"attempt": 1, "state": "paid", "currency": "USD"}]',
	'[{"attempt": 1, "state": "paid", "channel": "wechat"}]', '[{"attempt": 1, "state": "paid", "callback_id": "c1"}]', '[{"state": "paid", "channel": "test"}]',
	'[{"attempt": 1, "state": "unknown", "channel": "test", "callback_id": "c1"}, {"attempt": 1, "state": "paid", "channel": "test", "callback_id": "c1"}]',
	'[{"state": "paid"}]', '[{"attempt": 1, "state": "paid"}, {"state": "closed"}]', '[{"state": "closed"}, {"attempt": 1, "state": "paid"}]']::jsonb[]) AS history;
INSERT INTO import_test.bad (other) VALUES
	('{"state": "reversed", "attempts": [{"channel": "test", "method": "qr", "state": "reversed"}], "history": [{"attempt": 1, "state": "reversed"}]}'),
	('{"multi": true, "winner": 2, "attempts": [{"channel": "test", "method": "qr", "state": "paid"}, {"channel": "test", "method": "card", "state": "paid"}], "history": [{"attempt": 1, "state": "paid"}]}'),
	('{"multi": true, "attempts": [{"channel": "test", "method": "qr", "state": "authorized"}, {"channel": "test", "method": "card", "state": "failed"}], "history": [{"attempt": 1, "state": "authorized"}, {"attempt": 2, "state": "failed"}]}'),
	('{"attempts": [{"channel": "test", "method": "qr", "state": "paid"}, {"channel": "test", "method": "card", "state": "failed"}], "history": [{"attempt": 1, "state": "paid"}]}');
-- orders that are here
INSERT INTO import_test.bad (order_no, other) VALUES
	('paid', '{"amount": 99, "payer": "alice"}'), ('paid', '{"currency": "USD", "payer": "alice"}'), ('paid', '{"payer": "bob"}'), ('paid', '{"payer": "alice", "multi": true}'),
	('paid', '{"payer": "alice"}'), ('paid', '{"payer": "alice", "attempts": [{"channel": "wechat", "method": "app", "state": "paid"}]}'),
	('paid', '{"payer": "alice", "attempts": [{"channel": "wechat", "method": "jsapi", "state": "failed"}]}');
SELECT i.n, left(b.other::text, 60) AS said, i.outcome, i.reason
FROM (SELECT jsonb_agg(import_test.order_(order_no, other) ORDER BY n) AS payments FROM import_test.bad) x, pay_import(payments) i JOIN import_test.bad b ON b.n = i.n;
-- What is no object at all.
SELECT * FROM pay_import('[7, null, [], "x", {}]');
SELECT count(*) FROM pay_import('[]');
-- None of it left anything; but one order came in, above, once.
SELECT count(*), min(amount) FROM pay_payment WHERE merchant = 'import' AND order_no NOT IN (SELECT order_no FROM import_test.good);

-- ---- an old system moves in ----

-- A shop's tables of ten years: yuan with decimals, numbers for states, a log of
-- notifications, refunds made by hand.
CREATE TABLE import_test.shop_order (id integer PRIMARY KEY, order_sn text, user_id integer, total_fee numeric(10,2), pay_status integer, created timestamp, expires timestamp);
CREATE TABLE import_test.shop_pay (id integer PRIMARY KEY, order_id integer, out_trade_no text, pay_type text, status integer, transaction_id text, created timestamp);
CREATE TABLE import_test.shop_notify (id integer PRIMARY KEY, out_trade_no text, notify_id text, event text, body jsonb, received timestamp);
CREATE TABLE import_test.shop_refund (id integer PRIMARY KEY, order_id integer, out_trade_no text, refund_sn text, fee numeric(10,2), status integer, operator text, created timestamp);
INSERT INTO import_test.shop_order VALUES
	(1, 'S1', 7, 19.90, 1, '2026-01-05 10:00', NULL),		-- paid, told by the channel twice
	(2, 'S2', 7, 5.00, 2, '2026-01-05 10:00', NULL),		-- cancelled
	(3, 'S3', 8, 8.00, 1, '2026-01-05 10:00', NULL),		-- paid by both attempts; nobody noticed
	(4, 'S4', 8, 8.00, 1, '2026-01-05 10:00', NULL),		-- paid by both; one was sent back, in part
	(5, 'S5', 9, 12.00, 1, '2026-01-05 10:00', NULL),		-- paid, and refunded in two parts
	(6, 'S6', 9, 3.00, 0, '2026-01-05 10:00', '2026-01-05 12:00'),		-- the customer is paying
	(7, 'S7', 9, 3.00, 0, '2026-01-05 10:00', NULL),		-- the first try failed
	(8, 'S8', 9, 1.00, 1, '2026-01-05 10:00', NULL),		-- by a channel that is not connected any more
	(9, 'S9', 9, 1.00, 1, '2026-01-05 10:00', NULL),		-- paid, they say; but no attempt is
	(10, 'S10', 9, 2.00, 1, '2026-01-05 10:00', NULL),		-- more was refunded than was paid
	(11, 'S11', 9, 0.00, 1, '2026-01-05 10:00', NULL),		-- nothing to pay
	(12, 'S12', 9, 6.00, 2, '2026-01-05 10:00', NULL),		-- cancelled, then paid: the money is still there
	(13, 'S13', 9, 6.00, 0, '2026-01-05 10:00', NULL);		-- the customer is paying
INSERT INTO import_test.shop_pay VALUES
	(101, 1, 'P101', 'wx', 1, '4200001', '2026-01-05 10:01'), (102, 2, 'P102', 'wx', 3, NULL, '2026-01-05 10:01'),
	(103, 3, 'P103', 'wx', 1, '4200003', '2026-01-05 10:01'), (104, 3, 'P104', 'ali', 1, '2026001', '2026-01-05 10:02'),
	(105, 4, 'P105', 'wx', 1, '4200005', '2026-01-05 10:01'), (106, 4, 'P106', 'ali', 1, '2026002', '2026-01-05 10:02'),
	(107, 5, 'P107', 'ali', 1, '2026003', '2026-01-05 10:01'), (108, 6, 'P108', 'wx', 0, NULL, '2026-01-05 10:01'),
	(109, 7, 'P109', 'ali', 2, NULL, '2026-01-05 10:01'), (110, 8, 'P110', 'qqpay', 1, 'Q1', '2026-01-05 10:01'),
	(111, 9, 'P111', 'wx', 2, NULL, '2026-01-05 10:01'), (112, 10, 'P112', 'wx', 1, '4200012', '2026-01-05 10:01'),
	(113, 12, 'P113', 'wx', 1, '4200013', '2026-01-05 10:01'), (114, 13, 'P114', 'wx', 0, NULL, '2026-01-05 10:01');
INSERT INTO import_test.shop_notify VALUES
	(1, 'P101', 'N1', 'SUCCESS', '{"total": 1990}', '2026-01-05 10:03'), (2, 'P101', 'N2', 'SUCCESS', '{"total": 1990}', '2026-01-05 10:08'),
	(3, 'P103', 'N3', 'SUCCESS', NULL, '2026-01-05 10:03'), (4, 'P104', 'N4', 'SUCCESS', NULL, '2026-01-05 10:04'),
	(5, 'P107', 'N5', 'SUCCESS', NULL, '2026-01-05 10:03'), (6, 'P109', 'N6', 'FAIL', '{"why": "no money"}', '2026-01-05 10:03');
INSERT INTO import_test.shop_refund VALUES
	(1, 4, 'P106', 'RF1', 5.00, 1, 'zhang', '2026-01-06'), (2, 5, 'P107', 'RF2', 4.00, 1, 'li', '2026-01-06'),
	(3, 5, 'P107', 'RF3', 8.00, 0, 'li', '2026-01-07'), (4, 10, 'P112', 'RF4', 3.00, 1, 'li', '2026-01-07');

-- What it means here, as one query.
SET timezone = 'Asia/Shanghai';
CREATE VIEW import_test.pay AS
	SELECT p.*, row_number() OVER (PARTITION BY order_id ORDER BY p.id) AS attempt,
		CASE pay_type WHEN 'wx' THEN 'wechat' WHEN 'ali' THEN 'alipay' ELSE pay_type END AS channel,
		CASE pay_type WHEN 'wx' THEN 'jsapi' WHEN 'ali' THEN 'qr' ELSE 'qr' END AS method,
		(ARRAY['unknown', 'paid', 'failed', 'closed'])[status + 1] AS state		-- 0: the customer has it, under the old number
	FROM import_test.shop_pay p;
CREATE VIEW import_test.converted AS
	SELECT o.id, jsonb_strip_nulls(jsonb_build_object(
		'merchant', 'old shop', 'order_no', o.order_sn, 'amount', (o.total_fee * 100)::bigint, 'currency', 'CNY', 'payer', 'user ' || o.user_id,
		'multi', CASE o.id WHEN 13 THEN false ELSE true END,		-- it let most customers pay again
		'created_at', o.created::timestamptz, 'valid_until', o.expires::timestamptz,
		'state', (ARRAY[NULL, 'paid', 'closed'])[o.pay_status + 1],
		'metadata', jsonb_build_object('shop_order', o.id),
		'attempts', (SELECT jsonb_agg(jsonb_build_object('channel', p.channel, 'method', p.method, 'state', p.state, 'request_id', p.out_trade_no,
				'opened_at', p.created::timestamptz, 'channel_txn', coalesce(p.transaction_id, p.out_trade_no)) ORDER BY p.attempt)
			FROM import_test.pay p WHERE p.order_id = o.id),
		'refunds', (SELECT jsonb_agg(jsonb_build_object('refund_no', r.refund_sn, 'amount', (r.fee * 100)::bigint, 'attempt', p.attempt,
				'state', CASE r.status WHEN 1 THEN 'succeeded' ELSE 'processing' END, 'reason', 'by ' || r.operator, 'requested_at', r.created::timestamptz) ORDER BY r.id)
			FROM import_test.shop_refund r JOIN import_test.pay p USING (out_trade_no) WHERE r.order_id = o.id),
		'history', (SELECT jsonb_agg(jsonb_build_object('attempt', p.attempt, 'state', CASE n.event WHEN 'SUCCESS' THEN 'paid' ELSE 'failed' END,
				'at', n.received::timestamptz, 'channel', p.channel, 'callback_id', n.notify_id, 'payload', n.body) ORDER BY n.id)
			FROM import_test.shop_notify n JOIN import_test.pay p USING (out_trade_no) WHERE p.order_id = o.id))) AS payment
	FROM import_test.shop_order o;
CREATE TABLE import_test.moved AS
	SELECT i.* FROM (SELECT jsonb_agg(payment ORDER BY id) AS payments FROM import_test.converted) c, pay_import(payments) i;
SELECT n, order_no, outcome, cardinality(trade_nos) AS attempts, reason FROM import_test.moved ORDER BY n;
SELECT order_no, test.states(merchant, order_no), amount_collected, amount_refunded FROM pay_payment WHERE merchant = 'old shop' ORDER BY order_no;
-- The old numbers and the new ones.
CREATE TABLE import_test.number AS
	SELECT p.out_trade_no, m.trade_nos[p.attempt] AS trade_no
	FROM import_test.pay p JOIN import_test.shop_order o ON o.id = p.order_id JOIN import_test.moved m ON m.order_no = o.order_sn WHERE m.outcome <> 'refused';
SELECT out_trade_no, trade_no IS NOT NULL AS has_number FROM import_test.number ORDER BY 1;
-- What was refused is put right there and comes again; the rest is here.
UPDATE import_test.shop_order SET total_fee = 0.01 WHERE id = 11;
UPDATE import_test.shop_refund SET fee = 8.00 WHERE id = 1;
UPDATE import_test.shop_refund SET fee = 2.00 WHERE id = 4;
UPDATE import_test.shop_order SET pay_status = 0 WHERE id = 9;
SELECT n, i.order_no, outcome, reason FROM (SELECT jsonb_agg(CASE WHEN id = 4 THEN jsonb_set(payment, '{refunds,0,kind}', '"surplus"')
		WHEN id = 11 THEN payment || '{"state": "created"}' ELSE payment END ORDER BY id) AS payments FROM import_test.converted) c, pay_import(payments) i;

-- ---- afterwards it is as if it had always been here ----

CREATE FUNCTION import_test.new(out_trade_no text) RETURNS text LANGUAGE sql AS $$ SELECT trade_no FROM import_test.number n WHERE n.out_trade_no = new.out_trade_no $$;
-- A notification that was handled there is handled; one that was not is news.
SELECT decision, state, attempt_state FROM pay_callback(channel => 'wechat', callback_id => 'N2', trade_no => import_test.new('P101'), reported => 'paid', amount => 1990, currency => 'CNY');
SELECT decision, state, attempt_state FROM pay_callback(channel => 'wechat', callback_id => 'N7', trade_no => import_test.new('P108'), reported => 'paid', amount => 300, currency => 'CNY', channel_txn => '4200008');
SELECT decision, state, refundable FROM pay_query(order_no => 'S1', merchant => 'old shop');
SELECT decision, state, refundable FROM pay_refund(trade_no => import_test.new('P101'), refund_no => 'RF9', amount => 990, reason => 'broken');
-- An attempt that is open under an old number is not handed out again under ours.
SELECT decision, attempt FROM pay_query(order_no => 'S13', merchant => 'old shop');
-- A refund that was under way there ends here; what was refunded there is not refunded again.
SELECT decision, state, refundable FROM pay_refund_callback(channel => 'alipay', callback_id => 'RN1', refund_no => 'RF3', reported => 'succeeded', amount => 800, currency => 'CNY', merchant => 'old shop');
SELECT split_part(test.try(format('SELECT decision FROM pay_refund(trade_no => %L, refund_no => %L, amount => 1, reason => %L)', import_test.new('P107'), 'RF8', 'more')), ' | ', 1) AS refused;
-- The order that failed is paid by another try; the cancelled one is not.
SELECT decision, state, attempt FROM pay_prepay(order_no => 'S7', amount => 300, currency => 'CNY', merchant => 'old shop', channel => 'wechat', method => 'jsapi', request_id => 'again');
SELECT decision, state, attempt FROM pay_prepay(order_no => 'S2', amount => 500, currency => 'CNY', merchant => 'old shop', channel => 'wechat', method => 'jsapi', request_id => 'again');
-- And a worker sends back what nobody noticed.
BEGIN;
SELECT action, order_no, right(refund_no, 1) AS letter, amount FROM pay_claim(worker => 'w1', max_tasks => 10000, lease => '1 hour', actions => '{submit_refund}') WHERE merchant = 'old shop' ORDER BY order_no;
ROLLBACK;
SELECT order_no, collected, needed, surplus, reserved, refunded, refundable, to_close FROM pay_balance WHERE merchant = 'old shop' ORDER BY order_no;
RESET timezone;

-- ---- nothing that must hold of payments is broken by these ----

\getenv inputdir PG_ABS_SRCDIR
\set identity :inputdir '/fire/identity.sql'
\set replay :inputdir '/fire/replay.sql'
\set check :inputdir '/storm/check.sql'
CREATE SCHEMA storm;
CREATE TABLE storm.answer (order_no text, called text, decision text);
\set ECHO none
\i :identity
\i :replay
\i :check
\set ECHO all
SELECT count(*) > 30 AS imported FROM pay_payment WHERE merchant IN ('import', 'old shop');
SELECT v.check, p.order_no, v.what FROM storm.check() v JOIN pay_payment p USING (pay_no) WHERE p.merchant IN ('import', 'old shop');

DROP SCHEMA import_test, storm, identity, replay CASCADE;
