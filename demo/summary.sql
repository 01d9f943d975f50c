-- What the day came to, and whether it adds up. The auditor reads all tables and
-- can change none.

SET search_path = shop, public;

-- What is meant here by words of the summary.
CREATE TEMP VIEW under_review AS
	SELECT * FROM pay_review WHERE resolved_at IS NULL AND about_money AND kind <> 'surplus';
CREATE TEMP VIEW surplus AS
	SELECT a.*, p.order_no, p.currency
	FROM pay_attempt a JOIN pay_payment p USING (pay_no)
	WHERE a.state = 'paid' AND a.attempt IS DISTINCT FROM p.winner;
-- Where the books say that each piece of money is.
CREATE TEMP VIEW books AS
	SELECT replace(a.trade_no::text, '-', '') AS trade_no, a.channel_txn, a.amount_collected AS amount, p.currency
	FROM pay_attempt a JOIN pay_payment p USING (pay_no)
	WHERE a.state = 'paid'
	UNION ALL
	SELECT trade_no, channel_txn, amount, currency FROM under_review;
CREATE TEMP VIEW clicks AS
	SELECT * FROM answers WHERE function = 'pay_prepay';

CREATE FUNCTION pg_temp.money(amount numeric, currency text) RETURNS text
	LANGUAGE sql
AS $$
	SELECT CASE currency WHEN 'JPY' THEN to_char(amount, 'FM999,999,990')
		ELSE to_char(amount / 100, 'FM999,999,990.00') END
$$;

\echo
\echo 'What was played                                                                                     orders  end as'
SELECT format('  %-100s %4s  %s', s.what_happens, count(*), CASE WHEN bool_and(p.state = s.ends) THEN '' ELSE 'NOT ' END || s.ends)
FROM stories s
JOIN orders o USING (story)
JOIN pay_payment p USING (order_no)
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
	SELECT 2, 5, '  refused, the shop asked for another amount: PY422', count(*) FROM clicks WHERE decision = 'PY422'

	UNION ALL
	SELECT 3, 0, 'Messages from the channels', count(*) FROM inbox
	UNION ALL
	SELECT 3, d.n, '  ' || d.decision || d.meaning, count(i.message)
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
	SELECT 4, 0, 'Reviews', count(*) FROM pay_review
	UNION ALL
	SELECT 4, 1, format('  %s: %s', kind, coalesce(verdict || ' by ' || resolved_by, 'open')), count(*)
	FROM pay_review GROUP BY kind, verdict, resolved_by
) AS t (part, line, what, n);

SELECT format('%s%-72s %6s', CASE WHEN line = 0 THEN E'\n' ELSE '' END, what, n)
FROM counted
ORDER BY part, line, n DESC, what;

CREATE TEMP TABLE money AS
SELECT currency, sum(collected) AS collected, sum(kept) AS kept, sum(surplus) AS surplus, sum(under_review) AS under_review
FROM (
	SELECT currency, amount, 0, 0, 0 FROM statement
	UNION ALL
	SELECT currency, 0, amount_collected, 0, 0 FROM pay_payment
	UNION ALL
	SELECT currency, 0, 0, amount_collected, 0 FROM surplus
	UNION ALL
	SELECT currency, 0, 0, 0, amount FROM under_review
) AS t (currency, collected, kept, surplus, under_review)
GROUP BY currency;

\echo
\echo 'Money    the channels collected    kept for orders    surplus, to refund     under review    difference'
SELECT format('  %s %27s %18s %21s %16s %13s', currency, pg_temp.money(collected, currency), pg_temp.money(kept, currency),
	pg_temp.money(surplus, currency), pg_temp.money(under_review, currency),
	pg_temp.money(collected - kept - surplus - under_review, currency))
FROM money
ORDER BY currency;

CREATE TEMP TABLE checks AS
SELECT *
FROM (
	SELECT 1, 'every order of the file has one payment, of its amount and currency, and there is no other',
		NOT EXISTS (SELECT FROM orders o FULL JOIN pay_payment p USING (order_no)
			WHERE (o.amount, o.currency) IS DISTINCT FROM (p.amount, p.currency))
		AND (SELECT count(*) FROM pay_payment) = (SELECT count(*) FROM orders)
	UNION ALL
	SELECT 2, 'every order ended as its story should, with the surplus that its story should bring',
		NOT EXISTS (SELECT FROM orders JOIN stories s USING (story) LEFT JOIN pay_payment p USING (order_no)
			WHERE p.state IS DISTINCT FROM s.ends
				OR s.surplus <> (SELECT count(*) FROM surplus u WHERE u.order_no = orders.order_no))
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
	SELECT 5, 'the money adds up in every currency: collected = kept + surplus + under review',
		(SELECT count(*) = 4 AND bool_and(collected = kept + surplus + under_review) AND bool_and(collected > 0) FROM money)
	UNION ALL
	SELECT 6, 'and line by line: each line of the statements is one paid attempt or one open review, and the other way round',
		NOT EXISTS (
			(SELECT trade_no, channel_txn, amount, currency FROM statement
			EXCEPT ALL
			SELECT trade_no, channel_txn, amount, currency FROM books)
			UNION ALL
			(SELECT trade_no, channel_txn, amount, currency FROM books
			EXCEPT ALL
			SELECT trade_no, channel_txn, amount, currency FROM statement))
	UNION ALL
	SELECT 7, 'no order was charged more often than its story should bring about',
		NOT EXISTS (SELECT FROM orders o JOIN stories s USING (story) LEFT JOIN statement t USING (order_no)
			GROUP BY o.order_no, s.story, s.ends, s.surplus
			HAVING count(t.trade_no) <> (s.ends = 'paid')::integer + s.surplus
				+ (s.story IN ('charged_twice', 'wrong_currency'))::integer)
	UNION ALL
	SELECT 8, 'the channels know just the numbers of the attempts that were opened, and so do the clients',
		NOT EXISTS (
			SELECT FROM (SELECT replace(trade_no::text, '-', '') AS trade_no FROM pay_attempt) a
			FULL JOIN trades t USING (trade_no)
			FULL JOIN (SELECT DISTINCT trade_no FROM clicks WHERE decision IN ('proceed', 'same again') OR (decision = 'unknown' AND trade_no <> '')) c USING (trade_no)
			WHERE a IS NULL OR t IS NULL OR c IS NULL)
	UNION ALL
	SELECT 9, 'the history has every message once, with the decision that the channel''s message got',
		NOT EXISTS (
			SELECT FROM (SELECT decision, count(*) FROM inbox WHERE decision NOT IN ('replayed', 'unmatched') GROUP BY decision) i
			FULL JOIN (SELECT decision::text, count(*) FROM pay_event WHERE source LIKE 'callback:%' GROUP BY decision) e USING (decision)
			WHERE i.count IS DISTINCT FROM e.count)
	UNION ALL
	SELECT 10, 'every payment''s history has no gap, and each change begins where the last one ended',
		NOT EXISTS (
			SELECT FROM (SELECT e.*, row_number() OVER w AS n, lag(payment_after) OVER w AS before,
					count(*) OVER (PARTITION BY pay_no) AS events FROM pay_event e WINDOW w AS (PARTITION BY pay_no ORDER BY seq)) e
			FULL JOIN pay_payment p USING (pay_no)
			WHERE e.seq IS DISTINCT FROM e.n OR e.events IS DISTINCT FROM p.last_seq
				OR (e.n > 1 AND e.payment_before IS DISTINCT FROM e.before)
				OR (e.seq = p.last_seq AND e.payment_after IS DISTINCT FROM p.state))
	UNION ALL
	SELECT 11, 'every message reached the order that it names in its own words, and its text came through unharmed',
		NOT EXISTS (
			SELECT FROM pay_event e JOIN pay_payment p USING (pay_no) JOIN orders o USING (order_no),
				coalesce(e.payload -> 'resource', e.payload -> 'data' -> 'object', e.payload) AS m
			WHERE e.source LIKE 'callback:%'
				AND (o.order_no, o.product) IS DISTINCT FROM (
					coalesce(m ->> 'attach', m ->> 'body', m -> 'metadata' ->> 'order_no'),
					coalesce(m ->> 'subject', m ->> 'description', o.product)))
	UNION ALL
	SELECT 12, 'all of it was played: each order was clicked as often as its story says, and as many messages came',
		NOT EXISTS (SELECT FROM orders o JOIN stories s USING (story)
			WHERE s.clicks <> (SELECT count(*) FROM clicks c WHERE c.order_no = o.order_no))
		AND (SELECT sum(s.messages) FROM orders JOIN stories s USING (story)) = (SELECT count(*) FROM inbox)
	UNION ALL
	SELECT 13, 'what is under review is what the stories leave to a person',
		(SELECT count(*) FROM under_review) = (SELECT sum(s.review) FROM orders JOIN stories s USING (story))
) AS t (n, what, ok);

\echo
\echo 'Checks'
SELECT format('  %-7s %s', CASE WHEN ok THEN 'ok' ELSE 'FAILED' END, what) FROM checks ORDER BY n;

\echo
SELECT format('%s orders came in and %s were paid, each of them once, though customers clicked %s times and %s messages came; '
	'no parcel went out twice, and the money adds up to the cent in %s currencies.',
	(SELECT count(*) FROM orders), (SELECT count(*) FROM pay_payment WHERE state = 'paid'),
	(SELECT count(*) FROM clicks), (SELECT count(*) FROM inbox), (SELECT count(*) FROM money)) AS sentence,
	(SELECT coalesce(bool_and(ok), false) FROM checks) AS all_ok,
	(SELECT count(*) FROM checks WHERE ok IS NOT TRUE) AS bad
\gset
\if :all_ok
	\echo :sentence
\else
	\echo :bad 'of the checks failed.'
	DO $$ BEGIN RAISE 'the day does not add up'; END $$;
\endif
