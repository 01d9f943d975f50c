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
	('abnormal', 'processing succeeded failed cancelled')
) AS t (from_state, to_states);

-- Each event about a refund that is there, with what it took of the attempt's
-- money and gave back to it. What was not opened yet takes nothing.
CREATE VIEW replay.step AS
	SELECT e.pay_no, e.seq, e.attempt, e.refund_no, e.source, e.decision::text AS decision, r.kind, r.amount,
		e.refund_before::text AS refund_before, e.refund_after::text AS refund_after,
		lag(e.refund_after::text) OVER (PARTITION BY e.pay_no, e.refund_no ORDER BY e.seq) AS was,
		r.amount * ((e.refund_after::text IN ('requested', 'processing', 'unknown', 'abnormal', 'succeeded'))::integer
			- coalesce((e.refund_before::text IN ('requested', 'processing', 'unknown', 'abnormal', 'succeeded'))::integer, 0)) AS takes
	FROM pay_event e JOIN pay_refund r ON r.pay_no = e.pay_no AND r.refund_no = e.refund_no
	WHERE e.refund_after IS NOT NULL;

-- What an attempt had collected after each event that says so.
CREATE VIEW replay.collected AS
	SELECT e.pay_no, e.seq, e.attempt, t.amount_collected AS amount
	FROM pay_event e JOIN pay_attempt t ON t.pay_no = e.pay_no AND t.attempt = e.attempt
	WHERE e.attempt_after::text = 'paid' AND e.attempt_before::text IS DISTINCT FROM 'paid';

-- The money of each attempt after each event that moved some: what was collected
-- by then, and what of it refunds took. Refunds of kind extra have money of
-- their own.
CREATE VIEW replay.money AS
	SELECT pay_no, attempt, seq, refund_no,
		sum(collects) OVER attempt_so_far AS collected,
		sum(takes) OVER attempt_so_far AS taken
	FROM (SELECT pay_no, attempt, seq, refund_no, 0 AS collects, takes FROM replay.step WHERE kind <> 'extra'
		UNION ALL
		SELECT pay_no, attempt, seq, NULL, amount, 0 FROM replay.collected) m
	WINDOW attempt_so_far AS (PARTITION BY pay_no, attempt ORDER BY seq);

CREATE VIEW replay.violation AS
	-- never, at any time, is more reserved and refunded than was collected
	SELECT 'running cap' AS "check", pay_no, format('after event %s (%s) attempt %s has collected %s, and %s is reserved or refunded',
		seq, refund_no, attempt, collected, taken) AS what
	FROM replay.money
	WHERE taken > collected
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
	SELECT 'refund state', r.pay_no, format('refund %s is of %s of attempt %s, event %s opened it with %s of attempt %s',
		r.refund_no, r.amount, r.attempt, e.seq, e.amount, e.attempt)
	FROM pay_refund r JOIN pay_event e ON e.pay_no = r.pay_no AND e.refund_no = r.refund_no
	WHERE e.refund_before IS NULL AND e.refund_after IS NOT NULL AND (e.amount, e.attempt) IS DISTINCT FROM (r.amount, r.attempt)
UNION ALL
	-- no refund is lost
	SELECT 'refund state', e.pay_no, format('event %s is of refund %s, which is not there', e.seq, e.refund_no)
	FROM pay_event e
	WHERE e.refund_after IS NOT NULL
		AND NOT EXISTS (SELECT FROM pay_refund r WHERE r.pay_no = e.pay_no AND r.refund_no = e.refund_no);
