-- Many callbacks in one call: pay_callbacks() answers what pay_callback() would
-- answer to each, in their order; all of it or nothing.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA batches_test;

CREATE FUNCTION batches_test.trade_no(order_no text, attempt integer DEFAULT 1, merchant text DEFAULT 'batches') RETURNS text LANGUAGE sql STABLE AS $$
	SELECT CASE trade_no.attempt WHEN 0 THEN p.pay_no::text
		ELSE (SELECT a.trade_no::text FROM pay_attempt a WHERE a.pay_no = p.pay_no AND a.attempt = trade_no.attempt) END
	FROM pay_payment p WHERE p.merchant = trade_no.merchant AND p.order_no = trade_no.order_no
$$;
-- A message of the channel test; what is NULL here is left out there.
CREATE FUNCTION batches_test.message(order_no text, callback_id text, reported text, amount bigint DEFAULT NULL, currency text DEFAULT NULL,
	attempt integer DEFAULT 1, channel_txn text DEFAULT NULL, merchant text DEFAULT 'batches', channel text DEFAULT 'test')
RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('channel', channel, 'callback_id', callback_id, 'reported', reported,
		'trade_no', coalesce(batches_test.trade_no(order_no, attempt, merchant), order_no),
		'amount', amount, 'currency', currency, 'channel_txn', channel_txn))
$$;
CREATE FUNCTION batches_test.open(order_no text, request_id text DEFAULT 'R1', multi boolean DEFAULT NULL, holds text[] DEFAULT NULL, merchant text DEFAULT 'batches')
RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => merchant, channel => 'test', method => 'test',
		request_id => request_id, multi => multi, holds => holds, valid_for => CASE WHEN holds IS NOT NULL THEN interval '1 day' END)
$$;

SELECT batches_test.open('A'), batches_test.open('B'), batches_test.open('C', multi => true), batches_test.open('C', 'R2', multi => true), batches_test.open('D');

-- Whatever a single callback may be told, in one call; not in the order of the numbers.
SELECT n, decision, order_no, state, attempt, attempt_state, channel, amount, refundable, right(refund_no, 1) AS refund, detail
FROM pay_callbacks(jsonb_build_array(
	batches_test.message('C', 'c1', 'paid', 100, 'CNY', 2),
	batches_test.message('A', 'a1', 'paid', 100, 'CNY', channel_txn => 'T1'),
	batches_test.message('nobody knows', 'x1', 'paid', 100, 'CNY'),
	batches_test.message('B', 'b1', 'failed'),
	batches_test.message('C', 'c2', 'paid', 100, 'CNY', 1),			-- the order is paid: surplus
	batches_test.message('A', 'a2', 'failed'),						-- too late
	batches_test.message('D', 'd1', 'paid', 99, 'CNY'),				-- another amount
	batches_test.message('A', 'a1', 'paid', 100, 'CNY', channel_txn => 'T1'),	-- the same message again
	batches_test.message('A', 'a3', 'paid', 100, 'CNY', channel_txn => 'T1'),	-- the same news
	batches_test.message('B', 'b1', 'unknown'),						-- a known id with other news
	batches_test.message('D', NULL, 'authorized', 100, 'CNY')));
SELECT p.order_no, e.seq, e.source, e.message_id, e.attempt, e.reported, e.decision, concat_ws('>', e.payment_before, e.payment_after) AS payment
FROM pay_event e JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'batches' AND e.source <> 'prepay' ORDER BY 1, 2;
SELECT kind, p.order_no, v.reported, v.amount, v.source, v.message_id, v.detail FROM pay_review v LEFT JOIN pay_payment p USING (pay_no)
WHERE p.merchant = 'batches' OR v.trade_no = 'nobody knows' ORDER BY p.order_no, v.kind;

-- Delivered again it writes nothing and locks nothing (a lock would need a transaction id).
BEGIN;
SELECT n, decision, state, attempt_state, right(refund_no, 1) AS refund, detail
FROM pay_callbacks(jsonb_build_array(
	batches_test.message('C', 'c1', 'paid', 100, 'CNY', 2),
	batches_test.message('C', 'c2', 'paid', 100, 'CNY', 1),
	batches_test.message('A', 'a1', 'paid', 100, 'CNY', channel_txn => 'T1'),
	batches_test.message('nobody knows', 'x1', 'paid', 100, 'CNY'),
	batches_test.message('B', 'b1', 'failed')));
SELECT pg_current_xact_id_if_assigned() IS NULL AS wrote_nothing;
ROLLBACK;
-- An empty one is a good one.
SELECT count(*) FROM pay_callbacks('[]');

-- All that can be said of a message.
SELECT n, decision FROM pay_callbacks(jsonb_build_array(batches_test.message('D', 'd2', 'unknown')
	|| '{"occurred_at": "2026-11-11 16:30:00+08", "payload": {"result_code": "SYSTEMERROR", "deep": [1, 2, {"three": null}]}, "channel_txn": null}'));
SELECT occurred_at AT TIME ZONE 'UTC' AS occurred_at, payload, channel_txn FROM pay_history(batches_test.trade_no('D')) WHERE message_id = 'd2';

-- One that means nothing stops all of them, and says which one it is.
SELECT test.fingerprint() AS before \gset
CREATE FUNCTION batches_test.context(messages jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	context text;
BEGIN
	PERFORM FROM pay_callbacks(messages);
	RETURN 'good';
EXCEPTION WHEN SQLSTATE 'PY400' THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RETURN SQLERRM || ' | ' || split_part(context, E'\n', 1);
END
$$;
SELECT batches_test.context(jsonb_build_array(batches_test.message('B', 'b3', 'paid', 100, 'CNY'), batches_test.message('B', 'b4', 'paid', 0, 'CNY')));
SELECT batches_test.context(jsonb_build_array(batches_test.message('B', 'b3', 'paid', 100, 'CNY'), batches_test.message('B', 'b4', 'unpaid'), '17'));
-- so does what is found out later: that a channel is none
SELECT batches_test.context(jsonb_build_array(batches_test.message('B', 'b3', 'paid', 100, 'CNY'), batches_test.message('A', 'a4', 'failed', channel => 'nobody')));
SELECT batches_test.context(jsonb_build_array(batches_test.message('B', 'b3', 'paid', 100, 'CNY'), batches_test.message('who?', 'a4', 'failed', channel => 'nobody'),
	batches_test.message('who?', 'a5', 'failed')));
SELECT test.fingerprint() = :'before' AS nothing_changed;

-- The payment's number means its only open attempt, as it is at that place in the batch.
SELECT batches_test.open('E', multi => true), batches_test.open('E', 'R2', multi => true);
SELECT n, decision, state, attempt, attempt_state FROM pay_callbacks(jsonb_build_array(
	batches_test.message('E', 'e1', 'paid', 100, 'CNY', 0),			-- which of the two?
	batches_test.message('E', 'e2', 'failed'),
	batches_test.message('E', 'e3', 'paid', 100, 'CNY', 0)));
SELECT kind, message_id FROM pay_review WHERE replace(trade_no, '-', '') = replace(batches_test.trade_no('E', 0), '-', '');

-- Orders that end give back what they hold, in the same call; paid ones keep it.
INSERT INTO pay_resource (merchant, resource, capacity) VALUES ('batches', 'stock:a', 10), ('batches', 'stock:b', 10);
SELECT batches_test.open('F', holds => '{stock:b#2,coupon:F,stock:a#3}'), batches_test.open('G', holds => '{stock:a,stock:b#4}'), batches_test.open('H', holds => '{stock:b}');
SELECT decision FROM pay_transition(trade_no => batches_test.trade_no('F', 0), to_state => 'closing');
SELECT decision FROM pay_transition(trade_no => batches_test.trade_no('G', 0), to_state => 'closing');
SELECT n, decision, order_no, state FROM pay_callbacks(jsonb_build_array(
	batches_test.message('H', 'h1', 'failed'),						-- may be paid again: keeps it
	batches_test.message('G', 'g1', 'closed'),
	batches_test.message('F', 'f1', 'closed'),
	batches_test.message('F', 'f2', 'paid', 100, 'CNY'),			-- closed already: surplus
	batches_test.message('H', 'h2', 'paid', 100, 'CNY')));
SELECT p.order_no, h.resource, h.state FROM pay_hold h JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'batches' ORDER BY 1, 2;
SELECT resource, taken FROM pay_resource WHERE merchant = 'batches' ORDER BY 1;

-- ---- the same as single calls, for any messages ----

-- Two shops with the same orders, in all kinds of states; one is told by single
-- calls, the other by batches.
SELECT count(test.put(shop, concat_ws(' ', s, array_to_string(a, ' '), copy), s, a, multi => true))
FROM unnest('{one,many}'::text[]) AS shop, generate_series(1, 8) AS copy, (VALUES
	('created', '{}'::text[]), ('closed', '{}'), ('paying', '{paying}'), ('paying', '{paying,paying}'), ('unknown', '{closed,unknown}'),
	('authorized', '{authorized,paying}'), ('capturing', '{capturing}'), ('failed', '{failed,closed}'), ('closing', '{failed,closing}'),
	('closed', '{closed,failed}'), ('reversed', '{reversed}'), ('paid', '{paid,closing}'), ('paid', '{closed,paid}')) AS o (s, a);
SELECT count(*) FROM unnest('{one,many}'::text[]) AS shop, batches_test.open('held', holds => ARRAY['coupon:' || shop], merchant => shop);
INSERT INTO pay_event (pay_no, seq, source, decision, payment_after)
SELECT pay_no, 1, 'a test', 'applied', state FROM pay_payment WHERE merchant IN ('one', 'many') AND last_seq = 0;
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pay_payment SET last_seq = 1 WHERE merchant IN ('one', 'many');
COMMIT;

-- 1,500 messages by dice: few ids, so that some come again, with the same or other content.
SELECT setseed(0.42);
CREATE TABLE batches_test.told AS
SELECT n, orders[1 + floor(random() * cardinality(orders))::integer] AS order_no, floor(random() * 3)::integer AS attempt,
	CASE WHEN random() < 0.85 THEN 'm' || floor(random() * 6) END AS callback_id,
	(ARRAY['paying', 'authorized', 'capturing', 'unknown', 'closing', 'failed', 'paid', 'paid', 'closed', 'reversed'])[1 + floor(random() * 10)] AS reported,
	CASE WHEN random() < 0.9 THEN 100 ELSE 90 END AS amount, CASE WHEN random() < 0.95 THEN 'CNY' ELSE 'USD' END AS currency,
	CASE WHEN random() < 0.5 THEN 'T' || floor(random() * 3) END AS channel_txn,
	CASE WHEN random() < 0.95 THEN 'test' ELSE 'wechat' END AS channel
FROM generate_series(1, 1500) AS n,
	(SELECT array_agg(DISTINCT order_no) AS orders FROM pay_payment WHERE merchant = 'one') AS o;
CREATE TABLE batches_test.answer (shop text, n integer, row_ jsonb);
DO $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT n, batches_test.message(order_no, callback_id, reported, amount, currency, attempt, channel_txn, 'one', channel) AS m
		FROM batches_test.told ORDER BY n
	LOOP
		INSERT INTO batches_test.answer SELECT 'one', t.n, to_jsonb(c)
		FROM pay_callback(channel => t.m ->> 'channel', callback_id => t.m ->> 'callback_id', trade_no => t.m ->> 'trade_no',
			reported => t.m ->> 'reported', amount => (t.m ->> 'amount')::bigint, currency => t.m ->> 'currency', channel_txn => t.m ->> 'channel_txn') c;
	END LOOP;
	FOR t IN SELECT array_agg(n ORDER BY n) AS places,
			jsonb_agg(batches_test.message(order_no, callback_id, reported, amount, currency, attempt, channel_txn, 'many', channel) ORDER BY n) AS m
		FROM batches_test.told GROUP BY n / 40 ORDER BY n / 40
	LOOP
		INSERT INTO batches_test.answer SELECT 'many', t.places[c.n], to_jsonb(c) - 'n' FROM pay_callbacks(t.m) c;
	END LOOP;
END
$$;

-- What is a number of its own is masked.
CREATE FUNCTION batches_test.masked(r jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT regexp_replace((r - '{pay_no,merchant,recorded_at,opened_at,review_id,requested_at}'::text[])::text,
		'[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}', '<number>', 'g')
$$;
SELECT row_ ->> 'decision' AS decision, count(*) FILTER (WHERE shop = 'one') = count(*) FILTER (WHERE shop = 'many') AS equal,
	count(*) > 20 AS enough
FROM batches_test.answer GROUP BY 1 ORDER BY 1;
SELECT o.n, batches_test.masked(o.row_) AS one, batches_test.masked(m.row_) AS many
FROM batches_test.answer o FULL JOIN batches_test.answer m ON m.n = o.n AND m.shop = 'many'
WHERE o.shop = 'one' AND batches_test.masked(o.row_) IS DISTINCT FROM batches_test.masked(m.row_);
-- How many tasks there are about an attempt or a refund, and how many of them count.
CREATE FUNCTION batches_test.tasks(pay_no uuid, attempt smallint, refund_no text, check_at timestamptz) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('tasks', count(*), 'count', count(*) FILTER (WHERE t.queued_for = tasks.check_at)) FROM pay_task t
	WHERE (t.pay_no, t.attempt) = (tasks.pay_no, tasks.attempt) AND t.refund_no IS NOT DISTINCT FROM tasks.refund_no
$$;
CREATE VIEW batches_test.left_behind AS
	SELECT p.merchant AS shop, p.order_no, 'payment' AS what, batches_test.masked(to_jsonb(p) - '{created_at,valid_until}'::text[]) AS row_ FROM pay_payment p
	UNION ALL SELECT p.merchant, p.order_no, 'attempt', batches_test.masked(to_jsonb(a) - '{handed_out_at,reported_at,check_at}'::text[]
		|| batches_test.tasks(a.pay_no, a.attempt, NULL, a.check_at)) FROM pay_attempt a JOIN pay_payment p USING (pay_no)
	UNION ALL SELECT p.merchant, p.order_no, 'event', batches_test.masked(to_jsonb(e)) FROM pay_event e JOIN pay_payment p USING (pay_no)
	UNION ALL SELECT p.merchant, p.order_no, 'review', batches_test.masked(to_jsonb(v)) FROM pay_review v JOIN pay_payment p USING (pay_no)
	UNION ALL SELECT p.merchant, p.order_no, 'refund', batches_test.masked(to_jsonb(r) - 'check_at'
		|| batches_test.tasks(r.pay_no, r.attempt, r.refund_no, r.check_at)) FROM pay_refund r JOIN pay_payment p USING (pay_no)
	UNION ALL SELECT p.merchant, p.order_no, 'hold', h.state FROM pay_hold h JOIN pay_payment p USING (pay_no);
SELECT what, count(*) FILTER (WHERE shop = 'one') = count(*) FILTER (WHERE shop = 'many') AS equal, count(*) > 20 AS enough
FROM batches_test.left_behind WHERE shop IN ('one', 'many') GROUP BY what ORDER BY what;
SELECT * FROM (
	(SELECT order_no, what, row_ FROM batches_test.left_behind WHERE shop = 'one'
		EXCEPT ALL SELECT order_no, what, row_ FROM batches_test.left_behind WHERE shop = 'many')
	UNION ALL (SELECT order_no, what, row_ FROM batches_test.left_behind WHERE shop = 'many'
		EXCEPT ALL SELECT order_no, what, row_ FROM batches_test.left_behind WHERE shop = 'one')) AS differences;
-- What fits nothing is put up by both of them alike, and is open once in each.
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE NOT alike) AS not_by_both, count(*) FILTER (WHERE open > 2) AS open_again
FROM (SELECT count(*) FILTER (WHERE p.merchant = 'one') = count(*) FILTER (WHERE p.merchant = 'many') AS alike,
		count(*) FILTER (WHERE v.resolved_at IS NULL) AS open
	FROM pay_review v JOIN pay_payment p ON replace(v.trade_no, '-', '') = replace(p.pay_no::text, '-', '')
	WHERE p.merchant IN ('one', 'many') AND v.pay_no IS NULL
	GROUP BY p.order_no, v.source, v.message_id) AS unmatched;

DROP SCHEMA batches_test CASCADE;
