-- The checker: does the database say what the channel and the participant have in their
-- ledgers, and what the clients were told?
--
-- Written from the design: it reads bare tables, the ledgers and the world's records, and
-- uses none of the extension's functions, views or columns that only help it to work.
--
--	world.lost_task		holds at every moment
--	world.violation		holds when the clients have stopped and the queue has drained

CREATE TABLE world.ledger (
	n bigint GENERATED ALWAYS AS IDENTITY,
	keeper text NOT NULL,
	entry jsonb NOT NULL
);

-- ---- what the ledgers say ----

CREATE VIEW world.trade AS
	SELECT DISTINCT ON (trade_no) trade_no, state,
		max(amount) OVER of_trade AS amount, max(currency) OVER of_trade AS currency,
		max(txn) OVER of_trade AS txn,
		count(*) FILTER (WHERE state = 'paid') OVER of_trade AS times_paid
	FROM (SELECT n, entry ->> 'trade_no' AS trade_no, entry ->> 'state' AS state, (entry ->> 'amount')::bigint AS amount,
			entry ->> 'currency' AS currency, entry ->> 'txn' AS txn
		FROM world.ledger WHERE keeper = 'channel' AND entry ->> 'op' = 'trade') e
	WINDOW of_trade AS (PARTITION BY trade_no)
	ORDER BY trade_no, n DESC;

CREATE VIEW world.channel_refund AS
	SELECT DISTINCT ON (refund_no) refund_no, state,
		max(trade_no) OVER of_refund AS trade_no, max(amount) OVER of_refund AS amount, max(kind) OVER of_refund AS kind,
		count(*) FILTER (WHERE state = 'succeeded') OVER of_refund AS times_paid
	FROM (SELECT n, entry ->> 'refund_no' AS refund_no, entry ->> 'trade_no' AS trade_no, entry ->> 'state' AS state,
			(entry ->> 'amount')::bigint AS amount, entry ->> 'kind' AS kind
		FROM world.ledger WHERE keeper = 'channel' AND entry ->> 'op' = 'refund') e
	WINDOW of_refund AS (PARTITION BY refund_no)
	ORDER BY refund_no, n DESC;

-- What the channel collected by each trade and has given back of it, beside the order's attempt.
CREATE VIEW world.money AS
	SELECT p.pay_no, p.merchant, p.order_no, t.trade_no, a.attempt, p.winner IS NOT DISTINCT FROM a.attempt AS won,
		CASE WHEN t.state = 'paid' THEN t.amount ELSE 0 END AS paid, coalesce(r.amount, 0) AS given_back
	FROM world.trade t
		LEFT JOIN (SELECT trade_no, sum(amount) AS amount FROM world.channel_refund WHERE state = 'succeeded' GROUP BY 1) r ON r.trade_no = t.trade_no
		LEFT JOIN pay_attempt a ON a.trade_no = t.trade_no::uuid
		LEFT JOIN pay_payment p ON p.pay_no = a.pay_no;

-- The participant's holds, with the last state; and each step of a hold.
CREATE VIEW world.participant_step AS
	SELECT n, (entry ->> 'pay_no')::uuid AS pay_no, entry ->> 'resource' AS resource, (entry ->> 'quantity')::bigint AS quantity,
		entry ->> 'what' AS what, entry ->> 'was' AS was, entry ->> 'state' AS state,
		coalesce((entry ->> 'giving_back')::boolean, false) AS giving_back
	FROM world.ledger WHERE keeper = 'participant';

CREATE VIEW world.participant_hold AS
	SELECT DISTINCT ON (pay_no, resource) pay_no, resource, quantity, state
	FROM world.participant_step ORDER BY pay_no, resource, n DESC;

-- What the clients asked to hold when they were told to proceed, in its order; and what
-- of it paid orders have.
CREATE VIEW world.taken AS
	SELECT DISTINCT d.merchant, d.order_no, h.place, split_part(h.hold, '#', 1) AS resource,
		coalesce(nullif(split_part(h.hold, '#', 2), ''), '1')::bigint AS quantity
	FROM world.proceeded d CROSS JOIN unnest(d.holds) WITH ORDINALITY AS h (hold, place);

CREATE VIEW world.spent AS
	SELECT p.pay_no, p.merchant, p.order_no, t.resource, t.quantity
	FROM world.taken t JOIN pay_payment p ON p.merchant = t.merchant AND p.order_no = t.order_no
	WHERE p.state::text = 'paid';

-- ---- no task is lost ----

CREATE VIEW world.lost_task AS
	-- what is open is asked about, or a person was told that nobody can say
	SELECT 'lost task' AS "check", a.pay_no, format('attempt %s is %s', a.attempt, a.state) AS what
	FROM pay_attempt a
	WHERE a.state::text IN ('paying', 'authorized', 'capturing', 'unknown', 'closing')
		AND NOT EXISTS (SELECT FROM pay_task t WHERE t.pay_no = a.pay_no AND t.attempt = a.attempt AND t.refund_no IS NULL)
		AND NOT EXISTS (SELECT FROM pay_review v WHERE v.pay_no = a.pay_no AND v.attempt = a.attempt AND v.refund_no IS NULL
			AND v.kind = 'exhausted' AND v.resolved_at IS NULL)
UNION ALL
	SELECT 'lost task', r.pay_no, format('refund %s is %s', r.refund_no, r.state)
	FROM pay_refund r
	WHERE r.state::text IN ('requested', 'processing', 'unknown')
		AND NOT EXISTS (SELECT FROM pay_task t WHERE t.pay_no = r.pay_no AND t.refund_no = r.refund_no)
		AND NOT EXISTS (SELECT FROM pay_review v WHERE v.pay_no = r.pay_no AND v.refund_no = r.refund_no
			AND v.kind = 'exhausted' AND v.resolved_at IS NULL)
UNION ALL
	-- each confirmation is asked for, and of what is to be released one after the other
	SELECT 'lost task', h.pay_no, format('%s is confirming', h.resource)
	FROM pay_hold h
	WHERE h.state = 'confirming'
		AND NOT EXISTS (SELECT FROM pay_task t WHERE t.pay_no = h.pay_no AND t.resource = h.resource)
UNION ALL
	SELECT 'lost task', h.pay_no, format('%s is releasing', string_agg(h.resource, ', '))
	FROM pay_hold h
	WHERE h.state = 'releasing'
	GROUP BY h.pay_no
	HAVING NOT EXISTS (SELECT FROM pay_task t JOIN pay_hold n ON n.pay_no = t.pay_no AND n.resource = t.resource
		WHERE t.pay_no = h.pay_no AND n.state = 'releasing')
UNION ALL
	-- what is held comes back some time, though nobody pays
	SELECT 'lost task', p.pay_no, format('payment is %s and holds %s', p.state, string_agg(h.resource, ', '))
	FROM pay_payment p JOIN pay_hold h ON h.pay_no = p.pay_no AND h.state = 'held'
	WHERE NOT EXISTS (SELECT FROM pay_task t WHERE t.pay_no = p.pay_no AND t.attempt = 0 AND t.resource IS NULL)
	GROUP BY p.pay_no, p.state;

-- ---- what is left to do ----

CREATE VIEW world.left AS
	SELECT (SELECT count(*) FROM pay_task) AS tasks,
		(SELECT count(*) FROM pay_attempt WHERE state::text IN ('paying', 'authorized', 'capturing', 'unknown', 'closing')) AS attempts,
		(SELECT count(*) FROM pay_refund WHERE state::text NOT IN ('succeeded', 'returned', 'failed', 'cancelled')) AS refunds,
		(SELECT count(*) FROM pay_hold WHERE state NOT IN ('confirmed', 'released')) AS holds,
		(SELECT count(*) FROM pay_review WHERE resolved_at IS NULL) AS reviews;

-- ---- what must hold then ----

CREATE VIEW world.violation AS
	SELECT "check", pay_no, what FROM world.lost_task
UNION ALL
	SELECT 'not drained', NULL, to_json(l)::text FROM world.left l
	WHERE tasks + attempts + refunds + holds + reviews > 0
UNION ALL
	-- every attempt is what the channel says of it, to the cent
	SELECT 'attempt', a.pay_no, format('attempt %s is %s, %s by %s; the channel has %s, %s %s by %s', a.trade_no, coalesce(a.state::text, 'missing'),
		a.amount_collected, a.channel_txn, coalesce(t.state, 'nothing'), t.amount, t.currency, t.txn)
	FROM pay_attempt a
		JOIN pay_payment p ON p.pay_no = a.pay_no
		FULL JOIN world.trade t ON t.trade_no::uuid = a.trade_no
	WHERE a.state::text IS DISTINCT FROM t.state
		OR t.state = 'paid' AND (a.amount_collected, p.currency, a.channel_txn) IS DISTINCT FROM (t.amount, t.currency, t.txn)
		OR t.state <> 'paid' AND a.amount_collected IS NOT NULL
UNION ALL
	-- an order is paid once or not at all
	SELECT 'paid', p.pay_no, format('order is %s by attempt %s, needs %s; the channel keeps %s by %s trades', p.state, p.winner, p.amount,
		m.kept, m.keeping)
	FROM pay_payment p
		JOIN (SELECT pay_no, sum(paid - given_back) AS kept, count(*) FILTER (WHERE paid > given_back) AS keeping,
				count(*) FILTER (WHERE paid > given_back AND NOT won) AS keeping_surplus,
				sum(paid) FILTER (WHERE won) AS won, greatest(sum(paid - given_back) FILTER (WHERE won), 0) AS of_winner
			FROM world.money GROUP BY pay_no) m ON m.pay_no = p.pay_no
	WHERE CASE WHEN p.state::text = 'paid' THEN m.won IS DISTINCT FROM p.amount OR p.amount_collected <> p.amount
			OR m.of_winner <> p.amount_collected - p.amount_refunded OR m.keeping_surplus > 0
			ELSE m.keeping > 0 END
UNION ALL
	-- what left beyond what came is what the channel gave back beyond what it collected, to the cent: chargebacks and their fees
	SELECT 'overdrawn', a.pay_no, format('attempt %s says overdrawn by %s; the channel collected %s and gave back %s', m.trade_no,
		coalesce(a.amount_overdrawn, 0), m.paid, m.given_back)
	FROM world.money m JOIN pay_attempt a ON a.pay_no = m.pay_no AND a.attempt = m.attempt
	WHERE coalesce(a.amount_overdrawn, 0) <> greatest(m.given_back - m.paid, 0)
UNION ALL
	-- nothing goes back beyond what came by our own doing: what is overdrawn is what banks took
	SELECT 'overdrawn', m.pay_no, format('attempt %s collected %s, and we gave back %s', m.trade_no, m.paid, o.amount)
	FROM world.money m JOIN (SELECT trade_no, sum(amount) AS amount FROM world.channel_refund WHERE state = 'succeeded' AND kind = 'refund' GROUP BY 1) o
		ON o.trade_no = m.trade_no
	WHERE o.amount > m.paid
UNION ALL
	-- one authorization is captured once
	SELECT 'capture', a.pay_no, format('attempt %s was captured %s times', c.trade_no, c.times)
	FROM (SELECT entry ->> 'trade_no' AS trade_no, count(*) AS times FROM world.ledger WHERE keeper = 'channel' AND entry ->> 'op' = 'capture' GROUP BY 1) c
		LEFT JOIN pay_attempt a ON a.trade_no = c.trade_no::uuid
	WHERE c.times > 1
UNION ALL
	-- two clicks are one refund, also where each gave a number
	SELECT 'click', r.pay_no, format('refunds %s and %s are of one click', r.refund_no, o.refund_no)
	FROM pay_refund r JOIN pay_refund o ON o.pay_no = r.pay_no AND o.refund_no = r.refund_no || '-again'
	WHERE r.state::text = 'succeeded' AND o.state::text = 'succeeded'
UNION ALL
	SELECT 'paid', p.pay_no, 'order is paid, and the channel knows nothing of it'
	FROM pay_payment p
	WHERE p.state::text = 'paid' AND NOT EXISTS (SELECT FROM world.money m WHERE m.pay_no = p.pay_no AND m.won AND m.paid > 0)
UNION ALL
	-- money that the order did not need has gone back, whole, by a refund or to the customer's bank
	SELECT 'surplus', m.pay_no, format('attempt %s brought %s, %s went back; refunds: %s', m.trade_no, m.paid, m.given_back,
		(SELECT string_agg(format('%s %s %s', r.kind, r.amount, r.state), ', ') FROM pay_refund r WHERE r.pay_no = m.pay_no AND r.attempt = m.attempt))
	FROM world.money m
	WHERE m.paid > 0 AND NOT m.won
		AND (m.given_back < m.paid
			OR (SELECT count(*) FROM pay_refund r WHERE r.pay_no = m.pay_no AND r.attempt = m.attempt AND r.kind = 'surplus')
				<> CASE WHEN EXISTS (SELECT FROM pay_refund r WHERE r.pay_no = m.pay_no AND r.attempt = m.attempt AND r.adopted) THEN
					least((SELECT count(*) FROM pay_refund r WHERE r.pay_no = m.pay_no AND r.attempt = m.attempt AND r.kind = 'surplus'), 1) ELSE 1 END)
UNION ALL
	-- refunds and chargebacks are what the channel says of them
	SELECT 'refund', r.pay_no, format('refund %s is %s, %s of %s; the channel has %s, %s of %s, paid %s times', coalesce(r.refund_no, c.refund_no),
		coalesce(r.state::text, 'missing'), r.amount, a.trade_no, coalesce(c.state, 'nothing'), c.amount, c.trade_no, c.times_paid)
	FROM pay_refund r
		JOIN pay_attempt a ON a.pay_no = r.pay_no AND a.attempt = r.attempt
		FULL JOIN world.channel_refund c ON c.refund_no = r.refund_no
	-- what the channel has nothing of was never sent
	WHERE r.state::text IS DISTINCT FROM c.state AND NOT (c.state IS NULL AND r.state::text IN ('failed', 'cancelled')) OR r.amount <> c.amount OR a.trade_no <> c.trade_no::uuid OR c.times_paid > 1
UNION ALL
	SELECT 'refund', p.pay_no, format('payment says %s went back, its winner''s refunds are %s', p.amount_refunded, r.amount)
	FROM pay_payment p
		JOIN (SELECT pay_no, attempt, sum(amount) FILTER (WHERE state::text = 'succeeded') AS amount FROM pay_refund WHERE kind <> 'extra' GROUP BY 1, 2) r
			ON r.pay_no = p.pay_no AND r.attempt = p.winner
	WHERE p.amount_refunded <> least(coalesce(r.amount, 0), p.amount_collected)
UNION ALL
	-- no coupon is spent twice
	SELECT 'coupon', min(s.pay_no::text)::uuid, format('%s of merchant "%s" is spent by %s', s.resource, s.merchant, string_agg(s.order_no, ', '))
	FROM world.spent s
	WHERE s.resource LIKE 'coupon:%'
	GROUP BY s.merchant, s.resource
	HAVING count(*) > 1
UNION ALL
	-- what is gone of a resource is what paid orders have of it: so no coupon is lost, and no stock
	SELECT 'resource', NULL, format('%s of merchant "%s": %s are taken, paid orders have %s', r.resource, r.merchant, r.taken, coalesce(s.quantity, 0))
	FROM pay_resource r
		LEFT JOIN (SELECT merchant, resource, sum(quantity) AS quantity FROM world.spent GROUP BY 1, 2) s
			ON s.merchant = r.merchant AND s.resource = r.resource
	WHERE r.resource LIKE '%:%' AND r.taken <> coalesce(s.quantity, 0)
UNION ALL
	SELECT 'resource', NULL, format('paid orders have %s of %s of merchant "%s"', s.quantity, s.resource, s.merchant)
	FROM (SELECT merchant, resource, sum(quantity) AS quantity FROM world.spent GROUP BY 1, 2) s
	WHERE NOT EXISTS (SELECT FROM pay_resource r WHERE r.merchant = s.merchant AND r.resource = s.resource)
		OR s.quantity > CASE split_part(s.resource, ':', 1) WHEN 'coupon' THEN 1 WHEN 'stock' THEN 10 WHEN 'hotel' THEN 2 ELSE s.quantity END
UNION ALL
	-- the rows of what is held say so, too
	SELECT 'hold', coalesce(h.pay_no, s.pay_no), format('%s: %s %s are held by a payment that is %s, %s were asked for', coalesce(h.resource, s.resource),
		h.quantity, h.state, p.state, s.quantity)
	FROM (SELECT * FROM pay_hold WHERE state <> 'released') h
		FULL JOIN world.spent s ON s.pay_no = h.pay_no AND s.resource = h.resource
		LEFT JOIN pay_payment p ON p.pay_no = coalesce(h.pay_no, s.pay_no)
	WHERE h.quantity IS DISTINCT FROM s.quantity OR h.state IS DISTINCT FROM 'confirmed'
UNION ALL
	-- the participant has confirmed what is paid, and nothing else
	SELECT 'participant', coalesce(c.pay_no, s.pay_no), format('%s: participant has confirmed %s, paid orders have %s', coalesce(c.resource, s.resource), c.quantity, s.quantity)
	FROM (SELECT * FROM world.participant_hold WHERE state = 'confirmed') c
		FULL JOIN (SELECT * FROM world.spent WHERE resource ~ '^(hotel|points):') s ON s.pay_no = c.pay_no AND s.resource = c.resource
	WHERE c.quantity IS DISTINCT FROM s.quantity
UNION ALL
	-- has nothing of a try that nobody will ever end
	SELECT 'participant', pay_no, format('%s is %s still', resource, state)
	FROM world.participant_hold
	WHERE state = 'tried'
UNION ALL
	-- was never told one thing and then the other
	SELECT 'participant', pay_no, format('%s was %s and is told to %s', resource, was, what)
	FROM world.participant_step
	WHERE (was, what) IN (('confirmed', 'release'), ('released', 'confirm'))
UNION ALL
	-- and was told to release what was taken last first (what was given back because its try came too late, aside)
	SELECT 'participant', a.pay_no, format('%s was released before %s, which was taken later', a.resource, b.resource)
	FROM world.participant_step a
		JOIN world.participant_step b ON b.pay_no = a.pay_no AND a.n < b.n
		JOIN pay_payment p ON p.pay_no = a.pay_no
		JOIN world.taken ta ON ta.merchant = p.merchant AND ta.order_no = p.order_no AND ta.resource = a.resource
		JOIN world.taken tb ON tb.merchant = p.merchant AND tb.order_no = p.order_no AND tb.resource = b.resource
	WHERE a.what = 'release' AND b.what = 'release' AND NOT a.giving_back AND NOT b.giving_back AND ta.place < tb.place
UNION ALL
	-- a parcel goes out once for each order that is paid
	SELECT 'delivered', p.pay_no, format('order is %s, %s parcels went out, by %s', p.state, count(d.by), string_agg(d.by, ', '))
	FROM pay_payment p LEFT JOIN world.delivered d ON d.merchant = p.merchant AND d.order_no = p.order_no
	GROUP BY p.pay_no, p.state
	HAVING count(d.by) <> CASE WHEN p.state::text = 'paid' THEN 1 ELSE 0 END
UNION ALL
	-- no task is handed out twice within a lease, unless something changed that made it another
	SELECT 'lease', c.pay_no, format('%s %s was handed out to %s at %s and, within the lease, to %s at %s', c.action,
		coalesce(c.refund_no, c.resource, c.trade_no), c.before_worker, c.before_at, c.worker, c.at)
	FROM (SELECT *, lease_until - lease AS at, lag(worker) OVER task AS before_worker, lag(lease_until) OVER task AS before_until,
			lag(lease_until - lease) OVER task AS before_at
		FROM world.claimed
		WINDOW task AS (PARTITION BY pay_no, coalesce('refund ' || refund_no, 'hold ' || resource, trade_no) ORDER BY lease_until - lease)) c
	WHERE c.at < c.before_until
		AND NOT EXISTS (SELECT FROM pay_event e WHERE e.pay_no = c.pay_no AND e.recorded_at BETWEEN c.before_at AND c.at AND e.source <> 'claim'
			AND (e.payment_before, e.attempt_before, e.refund_before) IS DISTINCT FROM (e.payment_after, e.attempt_after, e.refund_after))
UNION ALL
	-- what a client was told is there
	SELECT 'told', p.pay_no, format('client was told to pay order %s by %s', l.entry ->> 'order_no', l.entry ->> 'trade_no')
	FROM world.ledger l
		LEFT JOIN pay_attempt a ON a.trade_no = (l.entry ->> 'trade_no')::uuid
		LEFT JOIN pay_payment p ON p.pay_no = a.pay_no
	WHERE l.keeper = 'client' AND p.order_no IS DISTINCT FROM l.entry ->> 'order_no';
