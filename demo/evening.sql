-- The evening: a person goes through the reviews with the channels' statements in
-- hand. Money that no statement knows has not moved. Of real money, a little less
-- than the price is accepted; much less, and what was charged a second time, goes
-- back; what else there is needs a decision that this demo leaves open.

WITH verdict AS MATERIALIZED (
	SELECT r.review_id, r.kind, r.source, o.order_no,
		CASE
			WHEN r.kind = 'abnormal' THEN CASE WHEN f.state = 'succeeded' THEN 'dismiss' END
			WHEN r.kind = 'adopted' THEN CASE WHEN b.refund_txn IS NOT NULL OR f.state = 'failed' THEN 'accept' END
			WHEN s.channel_txn IS NULL THEN 'dismiss'
			WHEN r.kind = 'mismatch' AND r.currency = p.currency AND a.channel_txn <> r.channel_txn THEN 'refund'
			WHEN r.kind = 'mismatch' AND r.currency = p.currency AND r.amount < p.amount THEN
				CASE WHEN p.amount - r.amount < 100 THEN 'accept' ELSE 'refund' END
		END AS verdict,
		CASE
			WHEN r.kind = 'abnormal' THEN 'settled'
			WHEN r.kind = 'adopted' THEN CASE WHEN f.state = 'failed' THEN 'decided for us' ELSE 'on the statement' END
			WHEN s.channel_txn IS NULL THEN 'not on the statement'
			WHEN a.channel_txn <> r.channel_txn THEN 'charged twice'
			WHEN p.amount - r.amount < 100 THEN 'a little less'
			ELSE 'much less' END AS reason
	FROM pay_review r
	LEFT JOIN pay_payment p ON p.pay_no = r.pay_no
	LEFT JOIN shop.orders o ON o.order_no = p.order_no
	LEFT JOIN pay_attempt a ON replace(a.trade_no::text, '-', '') = r.trade_no AND a.state = 'paid'
	LEFT JOIN pay_refund f ON (f.pay_no, f.refund_no) = (r.pay_no, r.refund_no)
	LEFT JOIN shop.statement s
		ON ('callback:' || s.channel, s.trade_no, s.channel_txn, s.amount, s.currency)
			= (r.source, r.trade_no, r.channel_txn, r.amount, r.currency)
	LEFT JOIN shop.gone_back b
		ON (b.refund_no, b.trade_no, b.amount, b.currency) = (f.refund_no, r.trade_no, f.amount, p.currency)
	WHERE r.resolved_at IS NULL
	ORDER BY r.review_id
), resolved AS MATERIALIZED (
	SELECT v.*, a.decision, a.state, a.attempt_state
	FROM verdict v, pay_review_resolve(v.review_id, v.verdict, v.reason) AS a
	WHERE v.verdict IS NOT NULL
), posted AS (
	INSERT INTO shop.parcels (order_no)
	SELECT order_no FROM resolved WHERE verdict = 'accept' AND kind = 'mismatch' AND decision = 'applied' AND attempt_state = 'paid'
	RETURNING order_no
), marked AS (
	UPDATE shop.orders o SET paid_at = now() FROM posted WHERE o.order_no = posted.order_no
)
SELECT format('evening  person    %s %s %s %s', rpad(coalesce(order_no, ''), 18),
	rpad(kind || ', ' || reason || ': ' || verdict, 44), rpad(decision, 12), coalesce('order is ' || state, ''))
FROM resolved
ORDER BY review_id;

-- Nobody complained of these: two paid orders of one customer and one amount, within
-- some minutes. Where he was asked and wanted both, the shop knows it. The others
-- are one too many.
WITH suspect AS MATERIALIZED (
	SELECT s.*
	FROM pay_suspects(now() - interval '1 day') AS s JOIN shop.orders o USING (order_no)
	WHERE o.confirmed_at IS NULL
	ORDER BY s.order_no
), opened AS MATERIALIZED (
	SELECT s.order_no, d.dispute_id
	FROM suspect s, pay_dispute_open(s.pay_no, s.other_pay_no, 'nobody complained; found in the evening') AS d
), resolved AS MATERIALIZED (
	SELECT o.order_no, r.*
	FROM opened o, pay_dispute_resolve(o.dispute_id, 'refund', 'the same basket; the customer was not asked') AS r
)
SELECT format('evening  person    %s %s %s', rpad(order_no, 18), rpad('looks like the order before it: ' || verdict, 44), decision)
FROM resolved
ORDER BY order_no;
