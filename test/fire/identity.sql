-- The money identities, on the bare tables: identity.violation has a row for
-- each one that does not hold, with the check's name, the payment and the facts.
-- Nothing is in it after anything that the extension lets happen.
--
-- Written from the design: it uses none of the extension's functions. Only the
-- check called balance reads a view of ours, pay_balance, to compare it with
-- what is counted here.

CREATE SCHEMA identity;

-- One row per attempt: what it collected, what goes or went back of it, and what
-- left beyond that; is_of_channel: the channel took some by itself.
CREATE VIEW identity.attempt AS
	SELECT t.pay_no, t.attempt, replace(t.trade_no::text, '-', '') COLLATE "C" AS trade_no, t.state::text AS state, t.channel_txn,
		coalesce(t.amount_collected, 0) AS collected, coalesce(t.amount_extra, 0) AS extra,
		coalesce(t.amount_reserved, 0) AS said_reserved, coalesce(t.amount_refunded, 0) AS said_refunded,
		coalesce(t.amount_overdrawn, 0) AS overdrawn,
		p.winner IS NOT DISTINCT FROM t.attempt AS won,
		coalesce(r.reserved, 0) AS reserved, coalesce(r.refunded, 0) AS refunded, coalesce(r.extra, 0) AS extra_refunds, coalesce(r.is_of_channel, false) AS is_of_channel
	FROM pay_attempt t
		LEFT JOIN pay_payment p ON p.pay_no = t.pay_no
		LEFT JOIN (SELECT pay_no, attempt,
				sum(amount) FILTER (WHERE kind <> 'extra' AND state::text IN ('requested', 'processing', 'unknown', 'abnormal')) AS reserved,
				sum(amount) FILTER (WHERE kind <> 'extra' AND state::text = 'succeeded') AS refunded,
				sum(amount) FILTER (WHERE kind = 'extra') AS extra,
				bool_or(adopted) AS is_of_channel
			FROM pay_refund GROUP BY pay_no, attempt) r ON r.pay_no = t.pay_no AND r.attempt = t.attempt;

-- One row per payment, in the currency that a payment has.
CREATE VIEW identity.payment AS
	SELECT p.pay_no, p.merchant, p.order_no, p.currency, p.state::text AS state, p.amount, p.replaced_by IS NOT NULL AS replaced,
		p.amount_collected AS needed, coalesce(t.collected, 0) AS collected, coalesce(r.surplus, 0) AS surplus,
		coalesce(r.reserved, 0) AS reserved, coalesce(r.refunded, 0) AS refunded, coalesce(t.open, 0) AS open,
		coalesce(a.overdrawn, 0) AS overdrawn,
		coalesce(t.collected, 0) + coalesce(a.overdrawn, 0) - coalesce(r.reserved, 0) - coalesce(r.refunded, 0) AS refundable, coalesce(a.not_given_back, 0) AS not_given_back
	FROM pay_payment p
		LEFT JOIN (SELECT pay_no, sum(coalesce(amount_collected, 0) + coalesce(amount_extra, 0)) AS collected,
				count(*) FILTER (WHERE state::text IN ('paying', 'authorized', 'capturing', 'unknown', 'closing')) AS open
			FROM pay_attempt GROUP BY pay_no) t ON t.pay_no = p.pay_no
		LEFT JOIN (SELECT pay_no,
				sum(amount) FILTER (WHERE kind IN ('surplus', 'extra')) AS surplus,
				sum(amount) FILTER (WHERE state::text IN ('requested', 'processing', 'unknown', 'abnormal')) AS reserved,
				sum(amount) FILTER (WHERE state::text = 'succeeded') AS refunded
			FROM pay_refund GROUP BY pay_no) r ON r.pay_no = p.pay_no
		LEFT JOIN (SELECT pay_no, sum(overdrawn) AS overdrawn,
				sum(collected) FILTER (WHERE is_of_channel AND NOT won) AS not_given_back
			FROM identity.attempt GROUP BY pay_no) a ON a.pay_no = p.pay_no;

-- A person believed that a refund of surplus was of another amount: then what is said
-- below of such money is his word.
CREATE VIEW identity.believed AS
	SELECT DISTINCT v.pay_no
	FROM pay_review v JOIN pay_refund r ON r.pay_no = v.pay_no AND r.refund_no = v.refund_no
	WHERE v.verdict = 'accept' AND v.kind = 'mismatch' AND r.kind IN ('surplus', 'extra');

CREATE VIEW identity.violation AS
	-- what came is what the order needed and what it did not; of that the channel may have taken some before
	SELECT 'collected' AS "check", pay_no,
		format('collected %s %s, needed %s, surplus %s', collected, currency, needed, surplus) AS what
	FROM identity.payment
	WHERE (collected < needed + surplus OR collected - needed - surplus > not_given_back)
		AND pay_no NOT IN (SELECT pay_no FROM identity.believed)
UNION ALL
	-- what goes and went back is never more than what came, and what is said to be overdrawn
	SELECT 'cap', pay_no, format('collected %s %s, reserved %s, refunded %s, overdrawn %s', collected, currency, reserved, refunded, overdrawn)
	FROM identity.payment
	WHERE reserved + refunded > collected + overdrawn
UNION ALL
	SELECT 'cap', pay_no, format('attempt %s collected %s, reserved %s, refunded %s, overdrawn %s', attempt, collected, reserved, refunded, overdrawn)
	FROM identity.attempt
	WHERE reserved + refunded > collected + overdrawn
UNION ALL
	-- overdrawn is what left beyond it, and nothing else; only the channel can take that
	SELECT 'overdrawn', pay_no, format('attempt %s is overdrawn by %s: collected %s, reserved %s, refunded %s', attempt, overdrawn, collected, reserved, refunded)
	FROM identity.attempt
	WHERE overdrawn <> greatest(reserved + refunded - collected, 0)
UNION ALL
	-- the attempt keeps the sums of its refunds
	SELECT 'sums', pay_no, format('attempt %s says reserved %s, refunded %s; its refunds are %s, %s',
		attempt, said_reserved, said_refunded, reserved, refunded)
	FROM identity.attempt
	WHERE said_reserved <> reserved OR said_refunded <> refunded
UNION ALL
	-- and the payment what went back of its winner's money: not more than there was
	SELECT 'sums', p.pay_no, format('payment says refunded %s, its winner''s refunds are %s', p.amount_refunded, coalesce(a.refunded, 0))
	FROM pay_payment p LEFT JOIN identity.attempt a ON a.pay_no = p.pay_no AND a.won
	WHERE p.amount_refunded <> least(coalesce(a.refunded, 0), p.amount_collected)
UNION ALL
	-- what an attempt collected a second time goes back by refunds of its own, whole
	SELECT 'extra', pay_no, format('attempt %s collected %s more, its refunds of that are %s', attempt, extra, extra_refunds)
	FROM identity.attempt
	WHERE extra <> extra_refunds AND pay_no NOT IN (SELECT pay_no FROM identity.believed)
UNION ALL
	-- by one refund for each transaction that a person found to have come besides the one that paid it
	SELECT 'extra', a.pay_no, format('attempt %s: reviews found %s by %s transactions, refunds give back %s', a.attempt,
		v.amounts, v.transactions, r.amounts)
	FROM identity.attempt a
		CROSS JOIN LATERAL (SELECT coalesce(array_agg(amount ORDER BY amount), '{}') AS amounts, count(DISTINCT channel_txn) AS transactions
			FROM pay_review
			WHERE pay_no = a.pay_no AND attempt = a.attempt AND kind = 'mismatch' AND reported::text = 'paid' AND verdict = 'refund'
				AND channel_txn <> a.channel_txn) v
		CROSS JOIN LATERAL (SELECT coalesce(array_agg(amount ORDER BY amount), '{}') AS amounts
			FROM pay_refund
			WHERE pay_no = a.pay_no AND attempt = a.attempt AND kind = 'extra'
				AND refund_no ~ ('^' || a.trade_no || 'x[0-9a-f]{16}$')) r
	WHERE a.pay_no NOT IN (SELECT pay_no FROM identity.believed) AND (v.amounts <> r.amounts OR v.transactions <> cardinality(v.amounts)
		OR cardinality(r.amounts) <> (SELECT count(*) FROM pay_refund
			WHERE pay_no = a.pay_no AND attempt = a.attempt AND kind = 'extra'))
UNION ALL
	-- such money, and money that the order did not need, does not stay: its refund is not called off
	SELECT kind, pay_no, format('refund %s is %s', refund_no, state)
	FROM pay_refund
	WHERE kind IN ('surplus', 'extra') AND state::text = 'cancelled'
UNION ALL
	-- an attempt's money that the order did not need goes back by one refund, whole, or what the channel left of it
	SELECT 'surplus', a.pay_no, format('attempt %s collected %s and did not win; refunds of that: %s', a.attempt, a.collected,
		coalesce((SELECT string_agg(format('%s of %s', r.refund_no, r.amount), ', ') FROM pay_refund r
			WHERE r.pay_no = a.pay_no AND r.attempt = a.attempt AND r.kind = 'surplus'), 'none'))
	FROM identity.attempt a
	WHERE a.state = 'paid' AND NOT a.won
		AND ARRAY[(a.trade_no || 's', a.collected)] IS DISTINCT FROM
			(SELECT array_agg((r.refund_no::text, r.amount)) FROM pay_refund r
				WHERE r.pay_no = a.pay_no AND r.attempt = a.attempt AND r.kind = 'surplus')
		AND a.pay_no NOT IN (SELECT pay_no FROM identity.believed)
		AND NOT (a.is_of_channel AND NOT EXISTS (SELECT FROM pay_refund r
			WHERE r.pay_no = a.pay_no AND r.attempt = a.attempt AND r.kind = 'surplus'
				AND (r.refund_no <> a.trade_no || 's' OR r.amount > a.collected)))
UNION ALL
	SELECT 'surplus', r.pay_no, format('refund %s is of attempt %s, which is no surplus', r.refund_no, r.attempt)
	FROM pay_refund r LEFT JOIN identity.attempt a ON a.pay_no = r.pay_no AND a.attempt = r.attempt
	WHERE r.kind = 'surplus' AND (a.state = 'paid' AND NOT a.won) IS NOT TRUE
UNION ALL
	-- a refund that we asked for is of a paid attempt; each is of its payment's merchant
	SELECT 'refund', r.pay_no, format('refund %s of merchant "%s" is of attempt %s (%s) of merchant "%s"', r.refund_no, r.merchant,
		r.attempt, coalesce(a.state, 'not there'), p.merchant)
	FROM pay_refund r
		LEFT JOIN identity.attempt a ON a.pay_no = r.pay_no AND a.attempt = r.attempt
		LEFT JOIN pay_payment p ON p.pay_no = r.pay_no
	WHERE a.state IS NULL OR a.state <> 'paid' AND NOT r.adopted OR p.merchant IS DISTINCT FROM r.merchant
UNION ALL
	-- pay_balance says all this
	SELECT 'balance', coalesce(p.pay_no, b.pay_no), format('counted %s, pay_balance says %s', to_jsonb(p) - 'pay_no', to_jsonb(b) - 'pay_no')
	FROM (SELECT pay_no, merchant::text, order_no::text, currency::text, state, amount, needed, collected, surplus, reserved, refunded,
				refundable, CASE WHEN state IN ('paid', 'closed', 'reversed') OR replaced THEN open ELSE 0 END AS to_close, overdrawn
			FROM identity.payment) p
		FULL JOIN (SELECT pay_no, merchant::text, order_no::text, currency::text, state::text, amount, needed, collected, surplus, reserved, refunded,
				refundable, to_close, overdrawn
			FROM pay_balance) b ON b.pay_no = p.pay_no
	WHERE to_jsonb(p) IS DISTINCT FROM to_jsonb(b);
