-- The evening: a person goes through the reviews with the channels' statements in
-- hand. Money that no statement knows has not moved. Of real money, a little less
-- than the price is accepted, much less goes back; what else there is needs a
-- decision that this demo leaves open. Surplus waits for its refund.

WITH verdict AS MATERIALIZED (
	SELECT r.review_id, r.kind, r.source, o.order_no,
		CASE
			WHEN s.channel_txn IS NULL THEN 'dismiss'
			WHEN r.kind = 'mismatch' AND r.currency = p.currency AND r.amount < p.amount THEN
				CASE WHEN p.amount - r.amount < 100 THEN 'accept' ELSE 'refund' END
		END AS verdict,
		CASE
			WHEN s.channel_txn IS NULL THEN 'not on the statement'
			WHEN p.amount - r.amount < 100 THEN 'a little less'
			ELSE 'much less' END AS reason
	FROM pay_review r
	LEFT JOIN pay_payment p ON p.pay_no = r.pay_no
	LEFT JOIN shop.orders o ON o.order_no = p.order_no
	LEFT JOIN shop.statement s
		ON ('callback:' || s.channel, s.trade_no, s.channel_txn, s.amount, s.currency)
			= (r.source, r.trade_no, r.channel_txn, r.amount, r.currency)
	WHERE r.resolved_at IS NULL AND r.kind <> 'surplus'
	ORDER BY r.review_id
), resolved AS MATERIALIZED (
	SELECT v.*, a.decision, a.state, a.attempt_state
	FROM verdict v, pay_review_resolve(v.review_id, v.verdict, v.reason) AS a
	WHERE v.verdict IS NOT NULL
), posted AS (
	INSERT INTO shop.parcels (order_no)
	SELECT order_no FROM resolved WHERE verdict = 'accept' AND decision = 'applied' AND attempt_state = 'paid'
	RETURNING order_no
), marked AS (
	UPDATE shop.orders o SET paid_at = now() FROM posted WHERE o.order_no = posted.order_no
)
SELECT format('evening  person    %s %s %s %s', rpad(coalesce(order_no, ''), 18),
	rpad(kind || ', ' || reason || ': ' || verdict, 44), rpad(decision, 12), coalesce('order is ' || state, ''))
FROM resolved
ORDER BY review_id;
