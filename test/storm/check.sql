-- What must hold of the tables, whatever happened: storm.check() returns a row
-- for each violation, with the check's name, the payment and the facts.
--
-- Written from the design and typed by hand: it uses none of the extension's
-- functions, and reads the tables only. What must hold of money and of refunds
-- is in test/fire: identity.sql and replay.sql come first.

-- Section 2 of the design: every legal step.
CREATE TABLE storm.legal_step (
	machine text,
	from_state text,
	to_state text,
	PRIMARY KEY (machine, from_state, to_state)
);
INSERT INTO storm.legal_step
SELECT machine, from_state, unnest(string_to_array(to_states, ' '))
FROM (VALUES
	('payment', 'created', 'paying closed'),
	('payment', 'paying', 'authorized paid failed unknown closing closed reversed'),
	('payment', 'authorized', 'capturing paid failed unknown closing closed reversed'),
	('payment', 'capturing', 'paid authorized failed unknown reversed'),
	('payment', 'unknown', 'paying authorized capturing paid failed closing closed reversed'),
	('payment', 'closing', 'paid authorized failed unknown closed reversed'),
	('payment', 'failed', 'paying authorized paid closed'),
	('attempt', 'paying', 'authorized paid failed unknown closing closed reversed'),
	('attempt', 'authorized', 'capturing paid failed unknown closing closed reversed'),
	('attempt', 'capturing', 'paid authorized failed unknown reversed'),
	('attempt', 'unknown', 'paying authorized capturing paid failed closing closed reversed'),
	('attempt', 'closing', 'paid authorized failed unknown closed reversed'),
	('attempt', 'failed', 'authorized paid'),
	('attempt', 'closed', 'authorized paid'),
	('attempt', 'reversed', 'authorized paid')
) AS t (machine, from_state, to_states);

CREATE FUNCTION storm.legal(machine text, from_state text, to_state text) RETURNS boolean
	LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM storm.legal_step s
		WHERE s.machine = $1 AND s.from_state = $2 AND s.to_state = $3)
$$;

/*
 * Follows each payment through its events, keeps the attempts' states, and
 * compares each change of the payment with the rule:
 *
 *   A payment is paid when an attempt wins. Else it shows its most open attempt
 *   (capturing, authorized, paying, unknown, closing; where that step is not
 *   legal, unknown). When none is open it is failed; but closed (or reversed,
 *   if that is how its last attempt ended) when it was asked to end, was replaced,
 *   or is past valid_for.
 *
 * Where the table has no such step, the next one in that sentence is taken:
 * closed for reversed, failed for closed (capturing has neither), and a payment
 * that cannot even become unknown (a DBA made it failed while an attempt is
 * open) stays.
 */
CREATE FUNCTION storm.follow() RETURNS TABLE ("check" text, pay_no uuid, what text)
	LANGUAGE plpgsql STABLE AS $follow$
DECLARE
	e record;
	current_pay uuid;
	attempts text[];			-- state of each attempt
	captures boolean[];			-- was it asked to capture, and never said that it did not?
	captured_at timestamptz[];	-- when it was asked last
	reported boolean[];			-- has the channel said of it that it has it?
	open_in_order CONSTANT text[] := '{capturing,authorized,paying,unknown,closing}';
	winner integer;
	asked_to_end boolean;
	replaced boolean;			-- by an order that the customer took instead
	open_reviews integer;
	most_open text;
	ended boolean;
	on_the_edge boolean;		-- valid_for ended just when this happened
	allowed text[];
BEGIN
	FOR e IN
		SELECT v.pay_no, v.seq, v.attempt, v.source, v.decision::text AS decision, v.reason, v.recorded_at,
			v.payment_before::text AS payment_before, v.payment_after::text AS payment_after,
			v.attempt_before::text AS attempt_before, v.attempt_after::text AS attempt_after,
			p.multi, p.valid_until, p.winner AS final_winner, p.amount = 0 AS is_free, v.occurred_at,
			lead(v.seq) OVER (PARTITION BY v.pay_no ORDER BY v.seq) IS NULL AS is_last
		FROM pay_event v JOIN pay_payment p USING (pay_no)
		ORDER BY v.pay_no, v.seq
	LOOP
		pay_no := e.pay_no;
		IF pay_no IS DISTINCT FROM current_pay THEN
			current_pay := pay_no;
			attempts := '{}';
			captures := '{}';
			captured_at := '{}';
			reported := '{}';
			winner := NULL;
			asked_to_end := false;
			replaced := false;
		END IF;

		-- what a prepay does to an order other than its own
		replaced := replaced OR (e.source = 'prepay' AND e.decision = 'applied');
		asked_to_end := asked_to_end OR replaced OR e.source = 'close' OR (e.source = 'transition' AND e.reason IS NOT DISTINCT FROM 'the whole payment')
			-- a DBA's step of the payment, which takes its attempts along; of an attempt he only says that it was paid
			OR (e.source = 'update' AND CASE e.attempt WHEN 0 THEN e.payment_after <> e.payment_before AND e.payment_after IN ('closing', 'closed', 'reversed')
				ELSE e.attempt_after <> e.attempt_before AND e.attempt_after IN ('closing', 'closed', 'reversed') END);
		ended := asked_to_end OR coalesce(e.recorded_at > e.valid_until, false);
		on_the_edge := NOT asked_to_end AND coalesce(abs(extract(epoch FROM e.recorded_at - e.valid_until)) < 1, false);

		IF e.source = 'prepay' AND e.decision = 'proceed' THEN
			-- a hand-out: to pay for something that can still be paid
			IF e.payment_after IN ('paid', 'closed', 'reversed') OR e.attempt_after IS DISTINCT FROM 'paying'
				OR (ended AND NOT on_the_edge) THEN
				"check" := 'handed out';
				what := format('event %s hands out attempt %s (%s) of a payment that is %s, to end: %s', e.seq, e.attempt, e.attempt_after, e.payment_after, ended);
				RETURN NEXT;
			END IF;
			-- not again what the channel has
			IF e.attempt_before IS NOT NULL AND reported[e.attempt] THEN
				"check" := 'handed out';
				what := format('event %s hands out attempt %s again, which the channel has', e.seq, e.attempt);
				RETURN NEXT;
			END IF;
			-- beside an open attempt only where the customer may (multi), and then not beside one
			-- that holds money already or is being closed
			IF e.attempt_before IS NULL
				AND attempts && (CASE WHEN e.multi THEN '{capturing,authorized,closing}' ELSE open_in_order END) THEN
				"check" := 'beside an open attempt';
				what := format('event %s opens attempt %s while the others are %s', e.seq, e.attempt, attempts);
				RETURN NEXT;
			END IF;
		ELSIF e.attempt > 0 AND e.attempt_before IS NULL AND e.attempt_after IS NOT NULL THEN
			"check" := 'handed out';
			what := format('event %s opens attempt %s by %s: %s', e.seq, e.attempt, e.source, e.decision);
			RETURN NEXT;
		END IF;

		-- nobody asks for money while it may be on its way, by this attempt or another
		IF e.source = 'transition' AND e.attempt_after = 'capturing' AND e.attempt_before <> 'capturing'
			AND EXISTS (SELECT FROM unnest(attempts, captures) AS a (state, captures)
				WHERE a.state = 'capturing' OR a.state = 'unknown' AND a.captures) THEN
			"check" := 'captured twice';
			what := format('event %s captures attempt %s while they are %s', e.seq, e.attempt, attempts);
			RETURN NEXT;
		END IF;

		-- nor does what the channel said before the capture open the way to another one
		IF e.source LIKE 'callback:%' AND e.attempt_before IN ('capturing', 'unknown', 'closing') AND e.attempt_after = 'authorized' AND captures[e.attempt]
			AND (e.occurred_at <= captured_at[e.attempt]) IS NOT FALSE THEN
			"check" := 'captured twice';
			what := format('event %s, which occurred at %s, authorizes attempt %s again, which is %s and was captured at %s', e.seq, e.occurred_at, e.attempt, e.attempt_before, captured_at[e.attempt]);
			RETURN NEXT;
		END IF;
		IF e.attempt_after = 'capturing' AND e.attempt_before <> 'capturing' THEN
			captured_at[e.attempt] := e.recorded_at;
		END IF;
		IF e.source LIKE 'callback:%' AND e.attempt_after = 'paying' AND e.decision <> 'mismatch' THEN
			reported[e.attempt] := true;
		END IF;

		IF e.attempt > 0 AND e.attempt_after IS NOT NULL THEN
			attempts[e.attempt] := e.attempt_after;
			captures[e.attempt] := e.attempt_after = 'capturing' OR e.attempt_after <> 'authorized' AND coalesce(captures[e.attempt], false);
		END IF;

		-- who wins: the first one paid that the order waits for. A person may have said
		-- that the money goes back.
		IF e.attempt_after = 'paid' AND e.attempt_before IS DISTINCT FROM 'paid' AND winner IS NULL
			AND e.payment_before NOT IN ('closed', 'reversed') AND NOT replaced
			AND NOT (e.source = 'review' AND e.payment_after <> 'paid') THEN
			winner := e.attempt;
		END IF;

		-- what costs nothing is paid as soon as it is made
		IF e.is_free AND e.payment_after <> 'paid' THEN
			"check" := 'rule';
			what := format('event %s: it costs nothing and is %s', e.seq, e.payment_after);
			RETURN NEXT;
		END IF;
		IF NOT e.is_free AND (e.payment_before IS DISTINCT FROM e.payment_after OR e.attempt_before IS DISTINCT FROM e.attempt_after
				OR (e.source IN ('transition', 'close') AND e.attempt = 0) OR (e.source = 'prepay' AND e.decision = 'applied'))
			AND e.payment_before IS NOT NULL THEN
			most_open := (SELECT s FROM unnest(open_in_order) WITH ORDINALITY AS o (s, place)
				WHERE s = ANY (attempts) ORDER BY place LIMIT 1);
			IF winner IS NOT NULL THEN
				allowed := '{paid}';
			ELSIF e.payment_before IN ('paid', 'closed', 'reversed') THEN
				allowed := ARRAY[e.payment_before];
			ELSIF most_open IS NOT NULL THEN
				allowed := ARRAY[CASE
					WHEN most_open = e.payment_before OR storm.legal('payment', e.payment_before, most_open) THEN most_open
					WHEN e.payment_before = 'unknown' OR storm.legal('payment', e.payment_before, 'unknown') THEN 'unknown'
					ELSE e.payment_before END];
			ELSE
				allowed := CASE WHEN NOT ended OR on_the_edge THEN '{failed}'::text[] END
					|| CASE WHEN ended OR on_the_edge THEN ARRAY[CASE
						WHEN attempts[cardinality(attempts)] = 'reversed'
							AND storm.legal('payment', e.payment_before, 'reversed') THEN 'reversed'
						WHEN storm.legal('payment', e.payment_before, 'closed') THEN 'closed'
						ELSE 'failed' END] END;
			END IF;
			IF e.payment_after <> ALL (allowed) THEN
				"check" := 'rule';
				what := format('event %s (%s): attempts %s, asked to end %s, was %s, is %s, should be %s',
					e.seq, e.source, attempts, ended, e.payment_before, e.payment_after, allowed);
				RETURN NEXT;
			END IF;
		END IF;

		IF e.is_last AND winner IS DISTINCT FROM e.final_winner THEN
			"check" := 'winner';
			what := format('attempt %s won by its events, attempt %s by the payment', winner, e.final_winner);
			RETURN NEXT;
		END IF;
	END LOOP;
END
$follow$;

-- The queue, with what each task is about.
CREATE VIEW storm.task AS
	SELECT CASE WHEN refund_no IS NOT NULL THEN 'refund' WHEN resource IS NOT NULL THEN 'hold' WHEN attempt > 0 THEN 'attempt' ELSE 'payment' END AS what, t.*
	FROM pay_task t;

CREATE VIEW storm.violation AS
	-- one payment per order
	SELECT 'one payment' AS "check", pay_no, format('order %s has %s payments', order_no, payments) AS what
	FROM (SELECT *, count(*) OVER (PARTITION BY merchant, order_no) AS payments FROM pay_payment) p
	WHERE payments > 1
UNION ALL
	-- events are numbered 1 to last_seq
	SELECT 'numbering', p.pay_no, format('%s events, the last is %s, last_seq is %s', count(e.seq), max(e.seq), p.last_seq)
	FROM pay_payment p LEFT JOIN pay_event e ON e.pay_no = p.pay_no
	GROUP BY p.pay_no, p.last_seq
	HAVING count(e.seq) <> p.last_seq OR min(e.seq) IS DISTINCT FROM 1 OR max(e.seq) <> p.last_seq
UNION ALL
	SELECT 'numbering', e.pay_no, format('event %s has no payment', e.seq)
	FROM pay_event e
	WHERE NOT EXISTS (SELECT FROM pay_payment p WHERE p.pay_no = e.pay_no)
UNION ALL
	-- a payment is made by pay_create, or by the prepay that opens its first attempt
	SELECT 'first event', pay_no, format('%s: %s to %s', source, coalesce(payment_before::text, 'nothing'), payment_after)
	FROM pay_event
	WHERE seq = 1 AND (source::text, coalesce(payment_before::text, 'nothing'), payment_after::text)
		NOT IN (('create', 'nothing', 'created'), ('prepay', 'created', 'paying'))
		-- but what costs nothing is paid at once
		AND NOT (payment_after::text = 'paid' AND pay_no IN (SELECT pay_no FROM pay_payment WHERE amount = 0))
UNION ALL
	-- each event begins where the one before it ended
	SELECT 'payment chain', pay_no, format('event %s begins with %s, the one before ended with %s', seq, payment_before, was)
	FROM (SELECT *, lag(payment_after) OVER (PARTITION BY pay_no ORDER BY seq) AS was FROM pay_event) e
	WHERE seq > 1 AND payment_before::text IS DISTINCT FROM was::text
UNION ALL
	SELECT 'attempt chain', pay_no, format('event %s of attempt %s begins with %s, the one before ended with %s', seq, attempt, attempt_before, was)
	FROM (SELECT *, lag(attempt_after) OVER (PARTITION BY pay_no, attempt ORDER BY seq) AS was
		FROM pay_event WHERE attempt > 0) e
	WHERE attempt_before::text IS DISTINCT FROM was::text OR attempt_after IS NULL
UNION ALL
	SELECT 'attempt chain', pay_no, format('event %s is about no attempt and has states of one', seq)
	FROM pay_event
	WHERE attempt = 0 AND (attempt_before IS NOT NULL OR attempt_after IS NOT NULL)
UNION ALL
	-- every step is legal
	SELECT 'legal step', pay_no, format('event %s: payment %s to %s', seq, payment_before, payment_after)
	FROM pay_event
	WHERE payment_before::text <> payment_after::text
		AND NOT storm.legal('payment', payment_before::text, payment_after::text)
UNION ALL
	SELECT 'legal step', pay_no, format('event %s: attempt %s %s to %s', seq, attempt, coalesce(attempt_before::text, 'nothing'), attempt_after)
	FROM pay_event
	WHERE attempt > 0 AND CASE WHEN attempt_before IS NULL THEN attempt_after::text <> 'paying'
		ELSE attempt_before::text <> attempt_after::text
			AND NOT storm.legal('attempt', attempt_before::text, attempt_after::text) END
UNION ALL
	-- what is decided so changes nothing
	SELECT 'decision', pay_no, format('event %s is %s and changes something', seq, decision)
	FROM pay_event
	WHERE decision::text IN ('unchanged', 'stale', 'mismatch')
		AND (payment_before::text <> payment_after::text OR attempt_before::text IS DISTINCT FROM attempt_after::text)
UNION ALL
	SELECT 'decision', pay_no, format('event %s is %s, which leaves no event', seq, decision)
	FROM pay_event
	WHERE decision::text IN ('replayed', 'unmatched', 'in_progress', 'already_paid', 'throttled', 'confirm', 'unavailable')
		AND reason IS DISTINCT FROM 'the payer became known'
UNION ALL
	-- the rows say what the last event says
	SELECT 'payment state', p.pay_no, format('is %s, its last event says %s', p.state, e.payment_after)
	FROM pay_payment p JOIN LATERAL (SELECT payment_after FROM pay_event e
		WHERE e.pay_no = p.pay_no ORDER BY seq DESC LIMIT 1) e ON true
	WHERE p.state::text <> e.payment_after::text
UNION ALL
	SELECT 'attempt state', a.pay_no, format('attempt %s is %s, its last event says %s', a.attempt, a.state, e.attempt_after)
	FROM pay_attempt a LEFT JOIN LATERAL (SELECT attempt_after FROM pay_event e
		WHERE e.pay_no = a.pay_no AND e.attempt = a.attempt ORDER BY seq DESC LIMIT 1) e ON true
	WHERE a.state::text IS DISTINCT FROM e.attempt_after::text
UNION ALL
	-- one attempt wins at most, and only a winner makes a payment paid
	SELECT 'winner', pay_no, format('%s events made it paid', count(*))
	FROM pay_event
	WHERE payment_after::text = 'paid' AND payment_before::text <> 'paid'
	GROUP BY pay_no
	HAVING count(*) > 1
UNION ALL
	SELECT 'winner', p.pay_no, format('is %s, winner is attempt %s, which is %s', p.state, p.winner, a.state)
	FROM pay_payment p LEFT JOIN pay_attempt a ON a.pay_no = p.pay_no AND a.attempt = p.winner
	WHERE (p.state::text = 'paid' AND p.amount > 0) <> (p.winner IS NOT NULL)
		OR (p.winner IS NOT NULL AND a.state::text IS DISTINCT FROM 'paid')
UNION ALL
	-- the payment collected what its winner collected, and that is what was asked for,
	-- unless a person accepted another amount
	SELECT 'collected', p.pay_no, format('payment collected %s, its winner %s', p.amount_collected, a.amount_collected)
	FROM pay_payment p LEFT JOIN pay_attempt a ON a.pay_no = p.pay_no AND a.attempt = p.winner
	WHERE p.amount_collected <> coalesce(a.amount_collected, 0)
UNION ALL
	SELECT 'collected', a.pay_no, format('attempt %s asked for %s and collected %s', a.attempt, coalesce(a.amount_to_capture, a.amount), a.amount_collected)
	FROM pay_attempt a
	WHERE a.state::text = 'paid' AND a.amount_collected <> coalesce(a.amount_to_capture, a.amount)
		AND NOT EXISTS (SELECT FROM pay_event e WHERE e.pay_no = a.pay_no AND e.attempt = a.attempt
			AND e.source = 'review' AND e.attempt_after::text = 'paid' AND e.attempt_before::text <> 'paid')
UNION ALL
	-- a message is processed once
	SELECT 'message', pay_no, format('%s of %s has %s events', message_id, source, count(*))
	FROM pay_event
	WHERE message_id IS NOT NULL
	GROUP BY pay_no, source, message_id
	HAVING count(*) > 1
UNION ALL
	-- what a person must look at is put up: by this event, or by an earlier one that said the same
	SELECT 'review', e.pay_no, format('event %s wants a review of kind %s', e.seq, w.kind)
	FROM pay_event e LEFT JOIN pay_refund f USING (pay_no, refund_no) CROSS JOIN LATERAL (VALUES
			('mismatch', e.decision::text = 'mismatch' AND e.source <> 'review'),
			-- what was paid is said by the channel to have failed, or to have been given back
			('mismatch', e.decision::text = 'stale' AND e.source LIKE 'callback:%' AND e.reported::text IN ('failed', 'reversed') AND e.attempt_after::text = 'paid'
				-- but for what is booked as one
				AND NOT EXISTS (SELECT FROM pay_refund b WHERE b.pay_no = e.pay_no AND b.attempt = e.attempt AND b.kind = 'chargeback' AND b.refund_no ~ '^[0-9a-f]{32}b$')),
			-- a refund came back, or took more than there is
			('returned', e.refund_before::text = 'succeeded' AND e.refund_after::text = 'returned' AND f.kind <> 'chargeback'),
			('adopted', e.source LIKE 'refund\_callback:%' AND e.refund_before IS NULL AND e.refund_after IS NOT NULL),
			('abnormal', e.refund_before::text IS DISTINCT FROM 'abnormal' AND e.refund_after::text = 'abnormal')
		) AS w (kind, wanted)
	WHERE w.wanted
		AND NOT EXISTS (SELECT FROM pay_review r
			WHERE r.pay_no = e.pay_no AND r.attempt = e.attempt AND r.refund_no IS NOT DISTINCT FROM e.refund_no
				AND (r.seq = e.seq AND (r.kind IN (w.kind, 'conflict') OR r.kind = 'twin' AND w.kind = 'mismatch')
					OR r.seq < e.seq AND (r.kind = w.kind OR r.kind = 'twin' AND w.kind = 'mismatch')
						AND (r.reported::text, r.refund_reported::text, r.amount, r.currency)
							IS NOT DISTINCT FROM (e.reported::text, e.refund_reported::text, e.amount, e.currency)))
UNION ALL
	SELECT 'review', r.pay_no, format('review %s is of kind %s', r.review_id, r.kind)
	FROM pay_review r
	WHERE r.kind NOT IN ('mismatch', 'unmatched', 'conflict', 'adopted', 'twin', 'abnormal', 'returned', 'overdrawn', 'exhausted')
UNION ALL
	-- what is overdrawn is up, or was looked at
	SELECT 'review', t.pay_no, format('attempt %s is overdrawn by %s, and nobody was told', t.attempt, t.amount_overdrawn)
	FROM pay_attempt t
	WHERE t.amount_overdrawn > 0 AND NOT EXISTS (SELECT FROM pay_review r WHERE r.pay_no = t.pay_no AND r.attempt = t.attempt AND r.kind = 'overdrawn')
UNION ALL
	-- two names of one refund are joined, or somebody is asked
	SELECT 'review', r.pay_no, format('review %s asks about %s, which a refund of ours has', r.review_id, r.channel_txn)
	FROM pay_review r JOIN pay_refund f ON f.pay_no = r.pay_no AND f.channel_txn = r.channel_txn
	WHERE r.kind = 'twin' AND r.resolved_at IS NULL
UNION ALL
	SELECT 'review', r.pay_no, format('review %s (%s) is about event %s, which is not there', r.review_id, r.kind, r.seq)
	FROM pay_review r
	WHERE r.pay_no IS NOT NULL
		AND NOT EXISTS (SELECT FROM pay_event e WHERE e.pay_no = r.pay_no AND e.seq = r.seq)
UNION ALL
	-- while money is in review, nothing is handed out
	SELECT 'money in review', r.pay_no, format('event %s hands out although review %s is open', e.seq, r.review_id)
	FROM pay_review r JOIN pay_event e ON e.pay_no = r.pay_no AND e.seq > r.seq
	WHERE r.about_money AND r.resolved_at IS NULL AND e.source = 'prepay' AND e.decision::text = 'proceed'
UNION ALL
	-- what is said of a refund is no news of money that an order waits for
	SELECT 'money in review', r.pay_no, format('review %s is about refund %s and stops a prepay', r.review_id, r.refund_no)
	FROM pay_review r
	WHERE r.about_money AND r.refund_no IS NOT NULL
UNION ALL
	-- an order that was replaced has one successor, of the same merchant, and an event that says so; it
	-- is to end, and nothing that comes later wins it or is handed out for it
	SELECT 'replaced', p.pay_no, format('replaced by %s (%s): %s events say so, is to end: %s', p.replaced_by, coalesce(n.order_no, 'not there'), e.count, p.end_requested)
	FROM pay_payment p
		LEFT JOIN pay_payment n ON n.pay_no = p.replaced_by AND n.pay_no <> p.pay_no AND n.merchant = p.merchant
		LEFT JOIN LATERAL (SELECT count(*) FILTER (WHERE attempt = 0) AS count, min(seq) AS seq FROM pay_event e
			WHERE e.pay_no = p.pay_no AND e.source = 'prepay' AND e.decision::text = 'applied' AND p.amount > 0) e ON true
	WHERE (p.replaced_by IS NOT NULL) <> (e.count = 1) OR e.count > 1
		OR p.replaced_by IS NOT NULL AND (n.pay_no IS NULL OR NOT p.end_requested OR p.winner IS NOT NULL
			OR n.replaced_by = p.pay_no OR cardinality(n.routes) = 0)
		OR EXISTS (SELECT FROM pay_event h WHERE h.pay_no = p.pay_no AND h.seq > e.seq AND h.source = 'prepay' AND h.decision::text = 'proceed')
UNION ALL
	-- routes are the attempts' routes
	SELECT 'routes', p.pay_no, format('routes are %s, the attempts'' are %s', p.routes, array_agg(a.route ORDER BY a.attempt))
	FROM pay_payment p LEFT JOIN pay_attempt a ON a.pay_no = p.pay_no
	GROUP BY p.pay_no, p.routes
	HAVING p.routes <> coalesce(array_agg(a.route ORDER BY a.attempt) FILTER (WHERE a.route IS NOT NULL), '{}')
		OR array_agg(a.attempt::integer ORDER BY a.attempt) FILTER (WHERE a.route IS NOT NULL)
			<> ARRAY(SELECT generate_series(1, cardinality(p.routes)))
UNION ALL
	SELECT 'routes', a.pay_no, format('attempt %s has no payment', a.attempt)
	FROM pay_attempt a
	WHERE NOT EXISTS (SELECT FROM pay_payment p WHERE p.pay_no = a.pay_no)
UNION ALL
	-- no more attempts through a channel than it allows
	SELECT 'too many', a.pay_no, format('%s attempts through %s/%s', count(*), c.channel, c.method)
	FROM pay_attempt a JOIN pay_channel c USING (route)
	GROUP BY a.pay_no, c.route
	HAVING count(*) > c.max_attempts
UNION ALL
	-- the bits of a payment's number: version 8, route 0, variant 2, attempt 0, the order's shard
	SELECT 'number', pay_no, 'bits of ' || pay_no
	FROM pay_payment
	WHERE substr(replace(pay_no::text, '-', ''), 13, 9) <> '8' || '000' || '80'
		|| substr(encode(sha256(convert_to(merchant, 'UTF8') || '\x1f'::bytea || convert_to(order_no, 'UTF8')), 'hex'), 1, 3)
		OR abs(extract(epoch FROM created_at) * 1000
			- ('x' || substr(replace(pay_no::text, '-', ''), 1, 12))::bit(48)::bigint) > 600000
UNION ALL
	-- an attempt's number is its payment's, with its route and its attempt
	SELECT 'number', pay_no, format('%s of attempt %s', trade_no, attempt)
	FROM pay_attempt
	WHERE replace(trade_no::text, '-', '') <> overlay(overlay(replace(pay_no::text, '-', '')
		PLACING lpad(to_hex(route::integer), 3, '0') FROM 14)
		PLACING lpad(to_hex(128 + attempt::integer), 2, '0') FROM 17)
UNION ALL
	-- every answer that means an event has its event, and no event was left by an answer that nobody got.
	-- (Of refunds, those that somebody asked for: the others come with what a callback or a person said.)
	SELECT 'answered', coalesce(e.pay_no, p.pay_no), format('%s was answered %s %s times and has %s events', coalesce(a.called, e.called), coalesce(a.decision, e.decision), a.count, e.count)
	FROM (SELECT order_no, split_part(called, ' that ', 1) AS called, decision, count(*) FROM storm.answer
			WHERE called IN ('create', 'prepay', 'prepay that replaces', 'callback', 'refund', 'refund_transition', 'refund_callback')
				AND decision IN ('proceed', 'applied', 'unchanged', 'stale', 'surplus', 'mismatch')
				AND (called, decision) <> ('create', 'unchanged')
			GROUP BY order_no, split_part(called, ' that ', 1), decision) a
		JOIN pay_payment p USING (order_no)
		FULL JOIN (SELECT pay_no, split_part(source, ':', 1) AS called, decision::text AS decision, count(*) FROM pay_event
			WHERE split_part(source, ':', 1) IN ('create', 'prepay', 'callback', 'refund', 'refund_transition', 'refund_callback')
				AND decision::text IN ('proceed', 'applied', 'unchanged', 'stale', 'surplus', 'mismatch')
				AND pay_no IN (SELECT pay_no FROM pay_payment WHERE order_no LIKE 'storm %')
				AND (source, decision::text) <> ('prepay', 'applied')
				AND NOT (source = 'refund' AND refund_no NOT LIKE 'storm %')
			GROUP BY pay_no, split_part(source, ':', 1), decision) e
		ON e.pay_no = p.pay_no AND e.called = a.called AND e.decision = a.decision
	WHERE a.count IS DISTINCT FROM e.count
UNION ALL
	-- somebody will look at every attempt that is open and every refund that is under way: a task that
	-- counts is in the queue, or its schedule is over (check_at says so) and a person was asked
	SELECT 'task', a.pay_no, format('attempt %s is %s, and no task for it counts', a.attempt, a.state)
	FROM pay_attempt a
	WHERE a.state::text IN ('paying', 'authorized', 'capturing', 'unknown', 'closing')
		AND NOT EXISTS (SELECT FROM storm.task t WHERE t.what = 'attempt' AND t.pay_no = a.pay_no AND t.attempt = a.attempt
			AND (a.check_at IS NULL OR t.queued_for = a.check_at))
		AND NOT (a.check_at IS NOT DISTINCT FROM '-infinity' AND EXISTS (SELECT FROM pay_review r
			WHERE r.pay_no = a.pay_no AND r.attempt = a.attempt AND r.refund_no IS NULL AND r.kind = 'exhausted'))
UNION ALL
	SELECT 'task', f.pay_no, format('refund %s is %s, and no task for it counts', f.refund_no, f.state)
	FROM pay_refund f
	WHERE f.state::text IN ('requested', 'processing', 'unknown')
		AND NOT EXISTS (SELECT FROM storm.task t WHERE t.what = 'refund' AND t.pay_no = f.pay_no AND t.refund_no = f.refund_no
			AND (f.check_at IS NULL OR t.queued_for = f.check_at))
		AND NOT (f.check_at IS NOT DISTINCT FROM '-infinity' AND EXISTS (SELECT FROM pay_review r
			WHERE r.pay_no = f.pay_no AND r.refund_no = f.refund_no AND r.kind = 'exhausted'))
UNION ALL
	-- a participant is asked until he has done it; they release one after the other, the last one first
	SELECT 'task', h.pay_no, format('%s is %s, and no task for it counts', h.resource, h.state)
	FROM pay_hold h
	WHERE (h.state = 'confirming' OR h.state = 'releasing' AND h.position = (SELECT max(o.position) FROM pay_hold o
			WHERE o.pay_no = h.pay_no AND o.state = 'releasing'))
		AND NOT EXISTS (SELECT FROM storm.task t WHERE t.what = 'hold' AND t.pay_no = h.pay_no AND t.resource = h.resource
			AND (h.check_at IS NULL OR t.queued_for = h.check_at))
UNION ALL
	-- and an order that nobody pays gives back what it holds when its time is over
	SELECT 'task', p.pay_no, 'it holds something, and no task is there to end it'
	FROM pay_payment p
	WHERE p.state::text NOT IN ('paid', 'closed', 'reversed') AND p.replaced_by IS NULL
		AND EXISTS (SELECT FROM pay_hold h WHERE h.pay_no = p.pay_no AND h.state = 'held')
		AND NOT EXISTS (SELECT FROM storm.task t WHERE t.what = 'payment' AND t.pay_no = p.pay_no)
UNION ALL
	-- what is held is held by an order that can be paid; paid confirms it, the end gives it back
	SELECT 'hold', p.pay_no, format('is %s (replaced: %s) and its %s is %s', p.state, p.replaced_by IS NOT NULL, h.resource, h.state)
	FROM pay_payment p JOIN pay_hold h USING (pay_no)
	WHERE h.state <> ALL (CASE WHEN p.state::text = 'paid' THEN '{confirming,confirmed}'::text[]
			WHEN p.state::text IN ('closed', 'reversed') OR p.replaced_by IS NOT NULL THEN '{releasing,released}' ELSE '{held}' END)
		OR h.state IN ('confirming', 'releasing') AND NOT h.external
UNION ALL
	SELECT 'hold', p.pay_no, format('says that it holds %s resources, and holds %s', p.holds, count(h.*))
	FROM pay_payment p LEFT JOIN pay_hold h USING (pay_no)
	GROUP BY p.pay_no
	HAVING coalesce(p.holds, 0) <> count(h.*)
UNION ALL
	-- what is taken of a resource is what orders hold and have spent, and never more than there is
	SELECT 'taken', (array_agg(h.pay_no))[1], format('%s: %s of %s are taken, orders have %s', r.resource, r.taken, r.capacity, coalesce(sum(h.quantity), 0))
	FROM pay_resource r LEFT JOIN pay_hold h ON h.resource = r.resource AND h.state <> 'released'
	GROUP BY r.merchant, r.resource
	HAVING r.taken <> coalesce(sum(h.quantity), 0) OR r.taken > r.capacity
UNION ALL
	-- money and refunds
	SELECT * FROM identity.violation
UNION ALL
	SELECT * FROM replay.violation
UNION ALL
	SELECT * FROM storm.follow();

CREATE FUNCTION storm.check() RETURNS SETOF storm.violation
	LANGUAGE sql STABLE SET enable_seqscan = on SET jit = off AS 'SELECT * FROM storm.violation';
