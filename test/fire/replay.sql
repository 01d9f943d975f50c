-- The history of refunds, replayed from pay_event in order: replay.violation has
-- a row for each step that must not have been.
--
-- Who changes anything of a payment holds its row until he commits, and numbers
-- his events under that lock. So each state that a commit left is the state
-- after some event, and what holds after every event held at every commit.
--
-- Written from the design: it uses none of the extension's functions.

CREATE SCHEMA replay;

-- Section 2 of the design: every legal step of a refund.
CREATE TABLE replay.legal_step (
	from_state text,
	to_state text,
	PRIMARY KEY (from_state, to_state)
);
INSERT INTO replay.legal_step
SELECT from_state, unnest(string_to_array(to_states, ' '))
FROM (VALUES
	('requested', 'processing succeeded failed abnormal unknown cancelled'),
	('processing', 'succeeded failed abnormal unknown'),
	('unknown', 'processing succeeded failed abnormal'),
	('failed', 'requested processing succeeded cancelled'),
	('abnormal', 'processing succeeded failed cancelled'),
	('succeeded', 'returned'),
	('returned', 'succeeded'),
	('cancelled', 'succeeded processing')
) AS t (from_state, to_states);

-- Each event about a refund that is there, with the refund's amount as it is then:
-- what the channel started is as large as the channel says, and a person may
-- accept another amount. What is dismissed, known or wrong says nothing.
CREATE VIEW replay.about AS
	SELECT *, amounts[cardinality(amounts)] AS amount, amounts[cardinality(amounts) - (says IS NOT NULL)::integer] AS amount_before
	FROM (SELECT *, array_agg(says) FILTER (WHERE says IS NOT NULL) OVER (PARTITION BY pay_no, refund_no ORDER BY seq) AS amounts
		FROM (SELECT e.pay_no, e.seq, e.attempt, e.refund_no, e.source, e.decision::text AS decision, r.kind, r.adopted,
				e.refund_before::text AS refund_before, e.refund_after::text AS refund_after,
				lag(e.refund_after::text) OVER (PARTITION BY e.pay_no, e.refund_no ORDER BY e.seq) AS was,
				CASE WHEN e.decision::text IN ('applied', 'proceed') AND NOT (e.source = 'review' AND e.reason LIKE 'review %, %: %') THEN e.amount END AS says
			FROM pay_event e JOIN pay_refund r ON r.pay_no = e.pay_no AND r.refund_no = e.refund_no
			WHERE e.refund_after IS NOT NULL) e) a;

-- The same, with what it took of the attempt's money and gave back to it. What was
-- not opened yet takes nothing.
CREATE VIEW replay.step AS
	SELECT *, CASE WHEN refund_after IN ('requested', 'processing', 'unknown', 'abnormal', 'succeeded') THEN coalesce(amount, 0) ELSE 0 END
		- CASE WHEN refund_before IN ('requested', 'processing', 'unknown', 'abnormal', 'succeeded') THEN coalesce(amount_before, amount, 0) ELSE 0 END AS takes
	FROM replay.about;

-- What an attempt had collected after each event that says so.
CREATE VIEW replay.collected AS
	SELECT e.pay_no, e.seq, e.attempt, t.amount_collected AS amount
	FROM pay_event e JOIN pay_attempt t ON t.pay_no = e.pay_no AND t.attempt = e.attempt
	WHERE e.attempt_after::text = 'paid' AND e.attempt_before::text IS DISTINCT FROM 'paid';

-- The money of each attempt after each event that moved some: what was collected
-- by then, and what of it refunds took. Refunds of kind extra have money of
-- their own.
CREATE VIEW replay.money AS
	SELECT pay_no, attempt, seq, refund_no, is_sent, takes,
		sum(collects) OVER attempt_so_far AS collected,
		sum(takes) OVER attempt_so_far AS taken
	FROM (SELECT pay_no, attempt, seq, refund_no, 0 AS collects, takes,
			refund_after = 'requested' AND refund_before IS DISTINCT FROM 'requested' AS is_sent
		FROM replay.step WHERE kind <> 'extra'
		UNION ALL
		SELECT pay_no, attempt, seq, NULL, amount, 0, false FROM replay.collected) m
	WINDOW attempt_so_far AS (PARTITION BY pay_no, attempt ORDER BY seq);

CREATE VIEW replay.violation AS
	-- never, at any time, do we ask for a refund beyond what was collected: so nothing while it is overdrawn
	SELECT 'running cap' AS "check", pay_no, format('event %s (%s) asks for a refund of attempt %s, which has collected %s, and %s is reserved or refunded then',
		seq, refund_no, attempt, collected, taken) AS what
	FROM replay.money
	WHERE is_sent AND taken > collected
UNION ALL
	-- and what is overdrawn in the end is what the history says
	SELECT 'running cap', m.pay_no, format('after its last event attempt %s has collected %s, and %s is reserved or refunded; it is said to be overdrawn by %s',
		m.attempt, m.collected, m.taken, coalesce(t.amount_overdrawn, 0))
	FROM (SELECT DISTINCT ON (pay_no, attempt) * FROM replay.money ORDER BY pay_no, attempt, seq DESC) m
		JOIN pay_attempt t USING (pay_no, attempt)
	WHERE coalesce(t.amount_overdrawn, 0) <> greatest(m.taken - m.collected, 0)
UNION ALL
	-- what was handed out, to be sent, is never called off by us: only what failed can be
	SELECT 'called off', s.pay_no, format('event %s calls off refund %s, which was handed out at %s', s.seq, s.refund_no, r.handed_out_at)
	FROM replay.step s JOIN pay_refund r USING (pay_no, refund_no) JOIN pay_event e USING (pay_no, seq)
	WHERE s.refund_before = 'requested' AND s.refund_after = 'cancelled' AND s.source NOT LIKE 'refund\_callback:%' AND s.source <> 'review'
		AND r.handed_out_at <= e.recorded_at
UNION ALL
	-- each event of a refund begins where the one before it ended
	SELECT 'refund chain', pay_no, format('event %s of refund %s begins with %s, the one before ended with %s', seq, refund_no,
		coalesce(refund_before, 'nothing'), coalesce(was, 'nothing'))
	FROM replay.step
	WHERE refund_before IS DISTINCT FROM was
UNION ALL
	-- every step is legal; one that we open is requested, one that the channel opened (or a person
	-- who believes it) is not
	SELECT 'refund step', pay_no, format('event %s of refund %s: %s to %s', seq, refund_no, coalesce(refund_before, 'nothing'), refund_after)
	FROM replay.step s
	WHERE CASE WHEN refund_before IS NULL
		THEN refund_after <> 'requested' AND NOT ((source = 'review' OR source LIKE 'refund\_callback:%') AND refund_after IN ('processing', 'succeeded', 'unknown', 'abnormal'))
		ELSE refund_before <> refund_after AND NOT EXISTS (SELECT FROM replay.legal_step l
			WHERE l.from_state = s.refund_before AND l.to_state = s.refund_after) END
UNION ALL
	-- what is decided so changes nothing
	SELECT 'refund decision', pay_no, format('event %s of refund %s is %s and changes something', seq, refund_no, decision)
	FROM replay.step
	WHERE decision IN ('unchanged', 'stale', 'mismatch') AND refund_before IS DISTINCT FROM refund_after
UNION ALL
	-- an event of a refund steps neither its attempt nor its payment
	SELECT 'refund decision', pay_no, format('event %s of refund %s steps something else', seq, refund_no)
	FROM pay_event
	WHERE refund_no IS NOT NULL
		AND (attempt_before::text IS DISTINCT FROM attempt_after::text OR payment_before::text IS DISTINCT FROM payment_after::text)
UNION ALL
	-- the row says what the last event says, and its amount is what was asked for
	SELECT 'refund state', r.pay_no, format('refund %s is %s, its last event says %s', r.refund_no, r.state, coalesce(e.refund_after::text, 'nothing'))
	FROM pay_refund r LEFT JOIN LATERAL (SELECT refund_after FROM pay_event e
		WHERE e.pay_no = r.pay_no AND e.refund_no = r.refund_no AND e.refund_after IS NOT NULL ORDER BY seq DESC LIMIT 1) e ON true
	WHERE r.state::text IS DISTINCT FROM e.refund_after::text
UNION ALL
	SELECT 'refund state', r.pay_no, format('refund %s is of %s of attempt %s, its events up to %s say %s of attempt %s',
		r.refund_no, r.amount, r.attempt, e.seq, e.amount, e.attempt)
	FROM pay_refund r JOIN (SELECT DISTINCT ON (pay_no, refund_no) * FROM replay.about ORDER BY pay_no, refund_no, seq DESC) e USING (pay_no, refund_no)
	WHERE (e.amount, e.attempt) IS DISTINCT FROM (r.amount, r.attempt)
UNION ALL
	-- what we asked for is of one amount for ever, but for what a person accepts
	SELECT 'refund state', pay_no, format('event %s makes refund %s, which was asked for here, one of %s', seq, refund_no, says)
	FROM replay.about
	WHERE NOT adopted AND source <> 'review' AND amount_before <> says
UNION ALL
	-- no refund is lost
	SELECT 'refund state', e.pay_no, format('event %s is of refund %s, which is not there', e.seq, e.refund_no)
	FROM pay_event e
	WHERE e.refund_after IS NOT NULL
		AND NOT EXISTS (SELECT FROM pay_refund r WHERE r.pay_no = e.pay_no AND r.refund_no = e.refund_no);
