-- What the day came to, and whether it adds up. The auditor reads all tables and
-- can change none.

SET search_path = shop, public, pay;

-- What is meant here by words of the summary.
CREATE TEMP VIEW under_review AS
	SELECT * FROM pay_review WHERE resolved_at IS NULL AND about_money;
CREATE TEMP VIEW refund AS
	SELECT r.*, (pay_trade_nos(p.pay_no, p.routes))[r.attempt] AS trade_no, p.order_no, p.currency,
		r.kind IN ('surplus', 'extra') AS of_surplus,
		r.state IN ('requested', 'processing', 'unknown', 'abnormal') AS is_waiting
	FROM pay_refund r JOIN pay_payment p USING (pay_no);
-- Where the books say that each piece of money is: an attempt collected it, or
-- collected it besides (a person said so), or somebody still has to decide.
CREATE TEMP VIEW books AS
	SELECT replace(a.trade_no::text, '-', '') AS trade_no, a.channel_txn, a.amount_collected AS amount, p.currency
	FROM pay_attempt a JOIN pay_payment p USING (pay_no)
	WHERE a.state = 'paid'
	UNION ALL
	SELECT r.trade_no, r.channel_txn, r.amount, r.currency
	FROM pay_review r JOIN pay_attempt a USING (pay_no, attempt)
	WHERE r.verdict = 'refund' AND r.reported = 'paid' AND a.channel_txn <> r.channel_txn
	UNION ALL
	SELECT trade_no, channel_txn, amount, currency FROM under_review;
CREATE TEMP VIEW clicks AS
	SELECT * FROM answers WHERE function = 'pay_prepay';
CREATE TEMP VIEW refund_clicks AS
	SELECT * FROM answers WHERE function = 'pay_refund';

CREATE FUNCTION pg_temp.money(amount numeric, currency text) RETURNS text
	LANGUAGE sql
AS $$
	SELECT CASE currency WHEN 'JPY' THEN to_char(amount, 'FM999,999,990')
		ELSE to_char(amount / 100, 'FM999,999,990.00') END
$$;

\echo
\echo 'What was played                                                                                     orders  end as'
SELECT format('  %-100s %4s  %s', s.what_happens, count(*),
	CASE WHEN bool_and(p.state IS NOT DISTINCT FROM s.ends) THEN '' ELSE 'NOT ' END || coalesce(s.ends::text, 'never made'))
FROM stories s
JOIN orders o USING (story)
LEFT JOIN pay_payment p USING (order_no)
GROUP BY s.story, s.what_happens, s.ends, s.n
ORDER BY s.n;

CREATE TEMP TABLE counted AS
SELECT *
FROM (
	SELECT 1, 0, 'Orders', count(*) FROM orders
	UNION ALL
	SELECT 1, 1, '  paid, once', count(*) FROM pay_payment WHERE state = 'paid'
	UNION ALL
	SELECT 1, 2, '  still open', count(*) FROM pay_payment
	WHERE state IN ('created', 'paying', 'authorized', 'capturing', 'unknown', 'closing')
	UNION ALL
	SELECT 1, 3, '  failed, can be paid again', count(*) FROM pay_payment WHERE state = 'failed'
	UNION ALL
	SELECT 1, 4, '  closed', count(*) FROM pay_payment WHERE state IN ('closed', 'reversed')
	UNION ALL
	SELECT 1, 5, '  never made: the customer meant another order', count(*)
	FROM orders o WHERE NOT EXISTS (SELECT FROM pay_payment p WHERE p.order_no = o.order_no)

	UNION ALL
	SELECT 2, 0, 'Clicks on "pay"', count(*) FROM clicks
	UNION ALL
	SELECT 2, 1, '  opened an attempt', count(*) FROM pay_attempt
	UNION ALL
	SELECT 2, 2, '  got the same attempt again: nobody knew whether the channel was called', count(*)
	FROM clicks WHERE decision = 'same again'
	UNION ALL
	SELECT 2, 3, '  rolled back with the client that died', count(*) FROM clicks WHERE decision = 'rolled back'
	UNION ALL
	SELECT 2, 4, '  duplicate stopped: ' || decision, count(*)
	FROM clicks WHERE decision IN ('in_progress', 'already_paid', 'unknown', 'closed') GROUP BY decision
	UNION ALL
	SELECT 2, 5, '  the customer was asked whether he wants both: confirm', count(*) FROM clicks WHERE decision = 'confirm'
	UNION ALL
	SELECT 2, 6, '  a coupon or a piece was taken: unavailable', count(*) FROM clicks WHERE decision = 'unavailable'
	UNION ALL
	SELECT 2, 7, '  refused, the shop asked for another amount: PY422', count(*) FROM clicks WHERE decision = 'PY422'

	UNION ALL
	SELECT 3, 0, 'Clicks on "refund"', count(*) FROM refund_clicks
	UNION ALL
	SELECT 3, 1, '  opened a refund', count(*) FROM refund_clicks WHERE decision = 'proceed'
	UNION ALL
	SELECT 3, 2, '  tried one again that had failed', count(*) FROM refund_clicks WHERE decision = 'tried again'
	UNION ALL
	SELECT 3, 3, '  duplicate stopped: replayed', count(*) FROM refund_clicks WHERE decision = 'replayed'
	UNION ALL
	SELECT 3, 4, '  refused, more than is left: PY409', count(*) FROM refund_clicks WHERE decision = 'PY409'

	UNION ALL
	SELECT 4, 0, 'Messages from the channels', count(*) FROM inbox
	UNION ALL
	SELECT 4, d.n, '  ' || d.decision || d.meaning, count(i.message)
	FROM (VALUES
		(1, 'applied', ': changed the state'),
		(2, 'unchanged', ': known already'),
		(3, 'replayed', ': this very message was handled before'),
		(4, 'stale', ': older than what is known'),
		(5, 'surplus', ': money that the order does not need'),
		(6, 'mismatch', ': amount, currency, channel or transaction do not fit'),
		(7, 'unmatched', ': no such number')) AS d (n, decision, meaning)
	LEFT JOIN inbox i USING (decision)
	GROUP BY d.n, d.decision, d.meaning

	UNION ALL
	SELECT 5, 0, 'Refunds', count(*) FROM refund
	UNION ALL
	SELECT 5, d.n, '  ' || d.meaning || CASE WHEN r.state = 'succeeded' THEN ': gone back' ELSE ': ' || r.state::text END, count(*)
	FROM refund r JOIN (VALUES
		(1, 'surplus', false, 'surplus, opened by itself'),
		(2, 'extra', false, 'a second charge, found by a person'),
		(3, 'refund', false, 'the shop asked for it'),
		(4, 'refund', true, 'somebody refunded in a channel''s console'),
		(5, 'chargeback', true, 'a customer''s bank asked for it')) AS d (n, kind, adopted, meaning) USING (kind, adopted)
	GROUP BY d.n, d.meaning, r.state

	UNION ALL
	SELECT 6, 0, 'Orders that look like another one', count(*) FROM pay_dispute
	UNION ALL
	SELECT 6, 1, format('  %s: %s', CASE opened_by WHEN 'pay_demo_app' THEN 'a customer complained' ELSE 'nobody complained' END,
		coalesce(verdict || ' by ' || resolved_by, 'open')), count(*)
	FROM pay_dispute GROUP BY opened_by, verdict, resolved_by

	UNION ALL
	SELECT 7, 0, 'Reviews', count(*) FROM pay_review
	UNION ALL
	SELECT 7, 1, format('  %s: %s', kind, coalesce(verdict || ' by ' || resolved_by, 'open')), count(*)
	FROM pay_review GROUP BY kind, verdict, resolved_by

	UNION ALL
	SELECT 8, 0, 'Coupons, pieces and points that orders took', count(*) FROM pay_hold
	UNION ALL
	SELECT 8, 1, format('  %s: %s', split_part(resource, ':', 1), CASE state WHEN 'confirmed' THEN 'spent' WHEN 'released' THEN 'given back' ELSE state END), count(*)
	FROM pay_hold GROUP BY 3
) AS t (part, line, what, n);

SELECT format('%s%-72s %6s', CASE WHEN line = 0 THEN E'\n' ELSE '' END, what, n)
FROM counted
ORDER BY part, line, n DESC, what;

-- What came in and what went out: the channels' own statements beside the books.
CREATE TEMP TABLE money AS
SELECT currency, sum(collected) AS collected, sum(needed) AS needed, sum(surplus) AS surplus, sum(under_review) AS under_review,
	sum(gave_back) AS gave_back, sum(refunds) AS refunds, sum(chargebacks) AS chargebacks, sum(surplus_back) AS surplus_back, sum(waiting) AS waiting
FROM (
	SELECT currency, amount, 0, 0, 0, 0, 0, 0, 0, 0 FROM statement
	UNION ALL
	SELECT currency, 0, needed, surplus, 0, 0, 0, 0, 0, reserved FROM pay_balance
	UNION ALL
	SELECT currency, 0, 0, 0, amount, 0, 0, 0, 0, 0 FROM under_review
	UNION ALL
	SELECT currency, 0, 0, 0, 0, amount, 0, 0, 0, 0 FROM gone_back
	UNION ALL
	SELECT currency, 0, 0, 0, 0, 0, CASE WHEN kind = 'refund' THEN amount ELSE 0 END, CASE WHEN kind = 'chargeback' THEN amount ELSE 0 END,
		CASE WHEN of_surplus THEN amount ELSE 0 END, 0
	FROM refund WHERE state = 'succeeded'
) AS t (currency, collected, needed, surplus, under_review, gave_back, refunds, chargebacks, surplus_back, waiting)
GROUP BY currency;

\echo
\echo 'Money in     the channels collected     for the orders            surplus       under review    difference'
SELECT format('  %s %29s %18s %18s %18s %13s', currency, pg_temp.money(collected, currency), pg_temp.money(needed, currency),
	pg_temp.money(surplus, currency), pg_temp.money(under_review, currency),
	pg_temp.money(collected - needed - surplus - under_review, currency))
FROM money
ORDER BY currency;
\echo
\echo 'Money out    the channels gave back     of the orders         by chargeback         of surplus    difference    still to go back'
SELECT format('  %s %29s %17s %21s %18s %13s %19s', currency, pg_temp.money(gave_back, currency), pg_temp.money(refunds, currency),
	pg_temp.money(chargebacks, currency), pg_temp.money(surplus_back, currency),
	pg_temp.money(gave_back - refunds - chargebacks - surplus_back, currency), pg_temp.money(waiting, currency))
FROM money
ORDER BY currency;

CREATE TEMP TABLE checks AS
SELECT *
FROM (
	SELECT 1, 'every order of the file has one payment, of its amount and currency, but those that the customer did not mean; and there is no other',
		NOT EXISTS (SELECT FROM orders o LEFT JOIN stories s USING (story) FULL JOIN pay_payment p USING (order_no)
			WHERE (o.amount, o.currency) IS DISTINCT FROM (p.amount, p.currency) AND NOT (s.ends IS NULL AND p IS NULL)
				OR (s.ends IS NULL) <> (p IS NULL))
	UNION ALL
	SELECT 2, 'every order ended as its story should, with the surplus and the refunds that its story should bring',
		NOT EXISTS (SELECT FROM orders o JOIN stories s USING (story) LEFT JOIN pay_balance b USING (order_no)
			WHERE b.state IS DISTINCT FROM s.ends OR (s.surplus::bigint, s.back::bigint, s.waiting::bigint) IS DISTINCT FROM (
					SELECT (count(*) FILTER (WHERE r.of_surplus), count(*) FILTER (WHERE r.state = 'succeeded'), count(*) FILTER (WHERE r.is_waiting))
					FROM refund r WHERE r.order_no = o.order_no))
	UNION ALL
	SELECT 3, 'every paid order was won by one attempt, and one parcel goes out for it; for the others none',
		NOT EXISTS (SELECT FROM pay_payment p JOIN orders o USING (order_no)
			WHERE (SELECT count(*) FROM pay_attempt a
					WHERE a.pay_no = p.pay_no AND a.attempt = p.winner AND a.state = 'paid') <> (p.state = 'paid')::integer
				OR (SELECT count(*) FROM parcels q WHERE q.order_no = p.order_no) <> (p.state = 'paid')::integer
				OR (o.paid_at IS NOT NULL) <> (p.state = 'paid'))
	UNION ALL
	SELECT 4, 'the parts of each count above add up to its whole',
		NOT EXISTS (SELECT FROM counted GROUP BY part
			HAVING sum(n) FILTER (WHERE line = 0) IS DISTINCT FROM sum(n) FILTER (WHERE line > 0))
	UNION ALL
	SELECT 5, 'the money that came adds up in every currency: collected = for the orders + surplus + under review',
		(SELECT count(*) = 4 AND bool_and(collected = needed + surplus + under_review) AND bool_and(collected > 0) FROM money)
	UNION ALL
	SELECT 6, 'and line by line: each line of the statements is what one attempt collected or one open review, and the other way round',
		NOT EXISTS (
			(SELECT trade_no, channel_txn, amount, currency FROM statement
			EXCEPT ALL
			SELECT trade_no, channel_txn, amount, currency FROM books)
			UNION ALL
			(SELECT trade_no, channel_txn, amount, currency FROM books
			EXCEPT ALL
			SELECT trade_no, channel_txn, amount, currency FROM statement))
	UNION ALL
	SELECT 7, 'the money that went adds up in every currency: given back = of the orders + by chargeback + of surplus',
		(SELECT count(*) = 4 AND bool_and(gave_back = refunds + chargebacks + surplus_back) AND bool_and(gave_back > 0) FROM money)
	UNION ALL
	SELECT 8, 'and line by line: each line of the channels'' refund statements is one refund that succeeded, and the other way round',
		NOT EXISTS (
			(SELECT trade_no, refund_no, amount, currency FROM gone_back
			EXCEPT ALL
			SELECT replace(trade_no::text, '-', ''), refund_no, amount, currency FROM refund WHERE state = 'succeeded')
			UNION ALL
			(SELECT replace(trade_no::text, '-', ''), refund_no, amount, currency FROM refund WHERE state = 'succeeded'
			EXCEPT ALL
			SELECT trade_no, refund_no, amount, currency FROM gone_back))
	UNION ALL
	SELECT 9, 'by the channels'' statements alone: under no number more was given back than was collected, and no refund twice',
		NOT EXISTS (SELECT FROM (SELECT trade_no, sum(amount) AS back, count(*) - count(DISTINCT refund_no) AS twice FROM gone_back GROUP BY trade_no) b
			LEFT JOIN (SELECT trade_no, sum(amount) AS collected FROM statement GROUP BY trade_no) c USING (trade_no)
			WHERE b.back > coalesce(c.collected, 0) OR b.twice > 0)
	UNION ALL
	SELECT 10, 'for each payment collected = needed + surplus, and reserved + refunded are not more than collected',
		NOT EXISTS (SELECT FROM pay_balance
			WHERE collected <> needed + surplus OR reserved + refunded > collected OR refundable <> collected - reserved - refunded)
	UNION ALL
	SELECT 11, 'that is so in the bare tables, too, and for each attempt',
		NOT EXISTS (SELECT FROM pay_balance b JOIN pay_payment p USING (pay_no)
			CROSS JOIN LATERAL (SELECT coalesce(sum(coalesce(amount_collected, 0) + coalesce(amount_extra, 0)), 0) AS collected,
					coalesce(sum(amount_collected) FILTER (WHERE a.attempt = p.winner), 0) AS needed,
					coalesce(sum(amount_refunded) FILTER (WHERE a.attempt = p.winner), 0) AS of_winner
				FROM pay_attempt a WHERE a.pay_no = p.pay_no) a
			WHERE (b.collected, b.needed, b.needed, p.amount_refunded) IS DISTINCT FROM (a.collected, a.needed, p.amount_collected, a.of_winner))
		AND NOT EXISTS (SELECT FROM pay_attempt a
			CROSS JOIN LATERAL (SELECT coalesce(sum(amount) FILTER (WHERE is_waiting AND kind <> 'extra'), 0) AS reserved,
					coalesce(sum(amount) FILTER (WHERE state = 'succeeded' AND kind <> 'extra'), 0) AS refunded,
					coalesce(sum(amount) FILTER (WHERE kind = 'extra'), 0) AS extra
				FROM refund r WHERE r.trade_no = a.trade_no) r
			WHERE (coalesce(a.amount_reserved, 0), coalesce(a.amount_refunded, 0), coalesce(a.amount_extra, 0)) <> (r.reserved, r.refunded, r.extra)
				OR r.reserved + r.refunded > coalesce(a.amount_collected, 0))
	UNION ALL
	SELECT 12, 'all surplus went back or is on its way: each paid attempt that did not win has one refund, of all of it',
		NOT EXISTS (SELECT FROM pay_attempt a JOIN pay_payment p USING (pay_no)
			LEFT JOIN refund r ON r.trade_no = a.trade_no AND r.kind = 'surplus' AND (r.state = 'succeeded' OR r.is_waiting)
			GROUP BY a.trade_no, a.attempt, p.winner
			HAVING count(r.refund_no) <> (a.state = 'paid' AND a.attempt IS DISTINCT FROM p.winner)::integer
				OR sum(r.amount) <> a.amount_collected)
	UNION ALL
	SELECT 13, 'for each refund that succeeded one letter went to the customer, of its amount; for the others none',
		NOT EXISTS (
			(SELECT refund_no, amount FROM credit_notes EXCEPT ALL SELECT refund_no, amount FROM refund WHERE state = 'succeeded')
			UNION ALL
			(SELECT refund_no, amount FROM refund WHERE state = 'succeeded' EXCEPT ALL SELECT refund_no, amount FROM credit_notes))
	UNION ALL
	SELECT 14, 'no order was charged more often than its story should bring about',
		NOT EXISTS (SELECT FROM orders o JOIN stories s USING (story) LEFT JOIN statement t USING (order_no)
			GROUP BY o.order_no, s.story, s.ends, s.surplus
			HAVING count(t.trade_no) <> (s.ends IS NOT NULL AND s.ends = 'paid')::integer + s.surplus
				+ (s.story = 'wrong_currency')::integer)
	UNION ALL
	SELECT 15, 'the channels know just the numbers of the attempts that were opened, and so do the clients',
		NOT EXISTS (
			SELECT FROM (SELECT replace(trade_no::text, '-', '') AS trade_no FROM pay_attempt) a
			FULL JOIN trades t USING (trade_no)
			FULL JOIN (SELECT DISTINCT trade_no FROM clicks WHERE decision IN ('proceed', 'same again') OR (decision = 'unknown' AND trade_no <> '')) c USING (trade_no)
			WHERE a IS NULL OR t IS NULL OR c IS NULL)
	UNION ALL
	SELECT 16, 'the history has every message once, with the decision that the channel''s message got',
		NOT EXISTS (
			SELECT FROM (SELECT about, decision, count(*) FROM inbox WHERE decision NOT IN ('replayed', 'unmatched') GROUP BY about, decision) i
			FULL JOIN (SELECT CASE WHEN source LIKE 'refund%' THEN 'refund' ELSE 'payment' END AS about, decision::text, count(*)
				FROM pay_event WHERE source LIKE '%callback:%' GROUP BY 1, 2) e USING (about, decision)
			WHERE i.count IS DISTINCT FROM e.count)
	UNION ALL
	SELECT 17, 'every payment''s history has no gap, and each change begins where the last one ended; so does each refund''s',
		NOT EXISTS (
			SELECT FROM (SELECT e.*, row_number() OVER w AS n, lag(payment_after) OVER w AS before,
					count(*) OVER (PARTITION BY pay_no) AS events FROM pay_event e WINDOW w AS (PARTITION BY pay_no ORDER BY seq)) e
			FULL JOIN pay_payment p USING (pay_no)
			WHERE e.seq IS DISTINCT FROM e.n OR e.events IS DISTINCT FROM p.last_seq
				OR (e.n > 1 AND e.payment_before IS DISTINCT FROM e.before)
				OR (e.seq = p.last_seq AND e.payment_after IS DISTINCT FROM p.state))
		AND NOT EXISTS (
			SELECT FROM (SELECT e.*, lag(refund_after) OVER w AS before, lead(seq) OVER w IS NULL AS is_last
				FROM pay_event e WHERE refund_no IS NOT NULL WINDOW w AS (PARTITION BY pay_no, refund_no ORDER BY seq)) e
			FULL JOIN pay_refund r USING (pay_no, refund_no)
			WHERE e.seq IS NULL OR r.state IS NULL OR e.refund_before IS DISTINCT FROM e.before OR (e.is_last AND e.refund_after IS DISTINCT FROM r.state))
	UNION ALL
	SELECT 18, 'every message reached the order or the refund that it names in its own words, and its text came through unharmed',
		NOT EXISTS (
			SELECT FROM pay_event e JOIN pay_payment p USING (pay_no) JOIN orders o USING (order_no),
				coalesce(e.payload -> 'resource', e.payload -> 'data' -> 'object', e.payload) AS m
			WHERE e.source LIKE 'callback:%'
				AND (o.order_no, o.product) IS DISTINCT FROM (
					coalesce(m ->> 'attach', m ->> 'body', m -> 'metadata' ->> 'order_no'),
					coalesce(m ->> 'subject', m ->> 'description', o.product)))
		AND NOT EXISTS (
			SELECT FROM pay_event e JOIN pay_payment p USING (pay_no),
				coalesce(e.payload -> 'resource', e.payload -> 'data' -> 'object', e.payload -> 'alipay_trade_fastpay_refund_query_response') AS m
			WHERE e.source LIKE 'refund_callback:%'
				AND (e.refund_no, replace((pay_trade_nos(p.pay_no, p.routes))[e.attempt]::text, '-', '')) IS DISTINCT FROM (
					coalesce(m ->> 'out_refund_no', m ->> 'out_request_no', m -> 'metadata' ->> 'refund_no', m ->> 'id'),
					coalesce(m ->> 'out_trade_no', m -> 'metadata' ->> 'trade_no', m -> 'payment_intent' -> 'metadata' ->> 'trade_no')))
	UNION ALL
	SELECT 19, 'all of it was played: each order was clicked as often as its story says, and as many messages came',
		NOT EXISTS (SELECT FROM orders o JOIN stories s USING (story)
			WHERE s.clicks <> (SELECT count(*) FROM clicks c WHERE c.order_no = o.order_no)
				OR s.refund_clicks <> (SELECT count(*) FROM refund_clicks c WHERE c.order_no = o.order_no))
		AND (SELECT sum(s.messages) FROM orders JOIN stories s USING (story)) = (SELECT count(*) FROM inbox)
	UNION ALL
	SELECT 20, 'what is under review is what the stories leave to a person',
		(SELECT count(*) FROM under_review) = (SELECT sum(s.review) FROM orders JOIN stories s USING (story))
		AND (SELECT count(*) FROM pay_review WHERE resolved_at IS NULL) = (SELECT count(*) FROM under_review)
	UNION ALL
	SELECT 21, 'each pair of orders that look alike was found: the customer was asked, or he complained, or the evening found it',
		NOT EXISTS (
			SELECT FROM orders o JOIN stories s USING (story)
			JOIN pay_payment p USING (order_no) JOIN pay_payment q ON q.order_no = o.other
			LEFT JOIN pay_dispute d ON (d.pay_no, d.other_pay_no) = (p.pay_no, q.pay_no)
			WHERE q.state = 'paid' AND p.payer = q.payer AND num_nonnulls(o.confirmed_at, d.dispute_id) <> 1)
		AND (SELECT array_agg(order_no ORDER BY order_no) FROM pay_suspects(now() - interval '1 day'))
			IS NOT DISTINCT FROM (SELECT array_agg(order_no ORDER BY order_no) FROM orders WHERE confirmed_at IS NOT NULL)
	UNION ALL
	SELECT 22, 'what a paid order held is spent, what a closed one held is free, and each order or pair has spent and given back what its story says',
		NOT EXISTS (SELECT FROM pay_hold h JOIN pay_payment p USING (pay_no)
			WHERE h.state IS DISTINCT FROM CASE p.state::text WHEN 'paid' THEN 'confirmed' WHEN 'closed' THEN 'released' END)
		AND NOT EXISTS (SELECT FROM (SELECT coalesce(o.other, o.order_no) AS pair, sum(s.spent) AS spent, sum(s.given_back) AS given_back
				FROM orders o JOIN stories s USING (story) GROUP BY 1) s
			LEFT JOIN (SELECT coalesce(o.other, o.order_no) AS pair, count(*) FILTER (WHERE h.state = 'confirmed') AS spent,
					count(*) FILTER (WHERE h.state = 'released') AS given_back
				FROM pay_hold h JOIN pay_payment p USING (pay_no) JOIN orders o USING (order_no) GROUP BY 1) h USING (pair)
			WHERE (s.spent, s.given_back) IS DISTINCT FROM (coalesce(h.spent, 0), coalesce(h.given_back, 0)))
	UNION ALL
	SELECT 23, 'no coupon was spent twice, no more pieces than there were; and what is taken of each is what was spent of it',
		NOT EXISTS (SELECT FROM pay_hold WHERE state = 'confirmed' GROUP BY resource
			HAVING sum(quantity) > CASE split_part(resource, ':', 1) WHEN 'coupon' THEN 1 WHEN 'stock' THEN 3 WHEN 'points' THEN 5000 END)
		AND NOT EXISTS (SELECT FROM pay_resource r
			FULL JOIN (SELECT resource, coalesce(sum(quantity) FILTER (WHERE state = 'confirmed'), 0) AS spent FROM pay_hold GROUP BY resource) h USING (resource)
			WHERE r IS NULL OR r.taken <> coalesce(h.spent, 0))
	UNION ALL
	SELECT 24, 'the points company''s own ledger ends as the orders do, reservation by reservation: confirmed or cancelled',
		NOT EXISTS (SELECT FROM (SELECT pay_no, resource, quantity, (array_agg(state ORDER BY line DESC))[1] AS state,
					count(*) FILTER (WHERE state <> 'tried') AS ends FROM points_ledger GROUP BY 1, 2, 3) l
			FULL JOIN (SELECT pay_no, resource, quantity, state FROM pay_hold WHERE external) h USING (pay_no, resource, quantity)
			WHERE l.ends IS DISTINCT FROM 1
				OR h.state IS DISTINCT FROM CASE l.state WHEN 'confirmed' THEN 'confirmed' WHEN 'cancelled' THEN 'released' END)
		AND (SELECT count(DISTINCT state) = 3 FROM points_ledger)
	UNION ALL
	SELECT 25, 'the workers have done what was due: nothing is to be sent, closed, confirmed or released; and what is still open is in the queue, so that it will be asked about',
		(SELECT sum(to_close) FROM pay_balance) = 0
		AND NOT EXISTS (SELECT FROM refund WHERE state = 'requested')
		AND NOT EXISTS (SELECT FROM pay_hold WHERE state IN ('confirming', 'releasing'))
		AND NOT EXISTS (SELECT FROM pay_attempt a WHERE a.state IN ('paying', 'authorized', 'capturing', 'unknown', 'closing')
			AND NOT EXISTS (SELECT FROM pay_task t WHERE (t.pay_no, t.attempt) = (a.pay_no, a.attempt) AND t.refund_no IS NULL
				AND t.queued_for = coalesce(a.check_at, t.queued_for)))
		AND NOT EXISTS (SELECT FROM refund r WHERE r.state IN ('processing', 'unknown')
			AND NOT EXISTS (SELECT FROM pay_task t WHERE (t.pay_no, t.refund_no) = (r.pay_no, r.refund_no) AND t.queued_for = coalesce(r.check_at, t.queued_for)))
) AS t (n, what, ok);

\echo
\echo 'Checks'
SELECT format('  %-7s %s', CASE WHEN ok THEN 'ok' ELSE 'FAILED' END, what) FROM checks ORDER BY n;

\echo
SELECT format('%s orders came in and %s were paid, each of them once, though customers clicked %s times and %s messages came; '
	'%s refunds went back, none twice; no parcel went out twice, and the money adds up to the cent in %s currencies.',
	(SELECT count(*) FROM orders), (SELECT count(*) FROM pay_payment WHERE state = 'paid'),
	(SELECT count(*) FROM clicks), (SELECT count(*) FROM inbox), (SELECT count(*) FROM gone_back), (SELECT count(*) FROM money)) AS sentence,
	(SELECT coalesce(bool_and(ok), false) FROM checks) AS all_ok,
	(SELECT count(*) FROM checks WHERE ok IS NOT TRUE) AS bad
\gset
\if :all_ok
	\echo :sentence
\else
	\echo :bad 'of the checks failed.'
	DO $$ BEGIN RAISE 'the day does not add up'; END $$;
\endif
