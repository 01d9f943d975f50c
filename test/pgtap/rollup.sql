-- The roll-up rule: a payment's state follows from its attempts, for every
-- combination of up to three of them, asked to end or not, past valid_for or not.
-- What must come out is derived from the small tables below, which say what the
-- design says; how it comes about is always the last step of one attempt.

BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pay_idem;
SELECT pay_install();

SELECT plan(13);

CREATE SCHEMA rollup;

-- A payment that nobody has paid shows its most open attempt:
CREATE TABLE rollup.open (rank integer, state text);
INSERT INTO rollup.open VALUES
	(1, 'capturing'),
	(2, 'authorized'),
	(3, 'paying'),
	(4, 'unknown'),
	(5, 'closing');

-- When none is open, what counts is whether it ends (it was asked to, or is past
-- valid_for), and how its last attempt ended:
CREATE TABLE rollup.over (ends boolean, last_attempt text, payment text);
INSERT INTO rollup.over VALUES
	(false, 'failed',   'failed'),
	(false, 'closed',   'failed'),
	(false, 'reversed', 'failed'),
	(true,  'failed',   'closed'),
	(true,  'closed',   'closed'),
	(true,  'reversed', 'reversed');

CREATE FUNCTION rollup.expected(attempts text[], ends boolean) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(
		(SELECT 'paid' WHERE 'paid' = ANY (attempts)),
		(SELECT state FROM rollup.open WHERE state = ANY (attempts) ORDER BY rank LIMIT 1),
		(SELECT payment FROM rollup.over o
			WHERE o.ends = expected.ends AND last_attempt = attempts[cardinality(attempts)]))
$$;

-- The combinations, and which attempt takes the last step: each, by a transition;
-- the last one also by a callback and by a direct UPDATE.
CREATE TABLE rollup.run (
	id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	attempts text[], asked_to_end boolean, past_valid_for boolean, mover integer, way text,
	decision text, payment text, collected bigint, winner integer, attempts_after text[]);
INSERT INTO rollup.run (attempts, asked_to_end, past_valid_for, mover, way)
WITH state (s) AS (
	SELECT state FROM rollup.open UNION ALL VALUES ('failed'), ('paid'), ('closed'), ('reversed')
), combination (attempts) AS (
	SELECT ARRAY[a.s] FROM state a
	UNION ALL SELECT ARRAY[a.s, b.s] FROM state a, state b
	UNION ALL SELECT ARRAY[a.s, b.s, c.s] FROM state a, state b, state c
)
SELECT attempts, asked, past, mover, way
FROM combination, (VALUES (false), (true)) AS e (asked), (VALUES (false), (true)) AS v (past),
	generate_series(1, cardinality(attempts)) AS mover,
	(VALUES ('transition'), ('callback'), ('UPDATE')) AS w (way)
WHERE (way = 'transition' OR mover = cardinality(attempts))
	-- to paying only a report leads, and only a channel's word says that money is being
	-- captured which a paid order does not need, or beside another attempt's
	AND (way = 'callback' OR attempts[mover] <> 'paying')
	AND (way <> 'transition' OR attempts[mover] <> 'capturing'
		OR NOT attempts[:mover - 1] || attempts[mover + 1:] && '{paid,capturing}')
ORDER BY cardinality(attempts), attempts, asked, past, mover, way;

-- Puts a payment with these attempts (an INSERT is not a step), the mover still
-- unknown (or still paying, if unknown is where it goes), and lets it go.
CREATE FUNCTION rollup.number(id integer, route integer DEFAULT 0, attempt integer DEFAULT 0)
RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
	SELECT ('019b76da80008' || lpad(to_hex(route), 3, '0') || to_hex(128 + attempt) || '0010' || lpad(id::text, 10, '0'))::uuid
$$;
CREATE FUNCTION rollup.put(id integer, payment text, attempts text[], asked_to_end boolean, past_valid_for boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	won CONSTANT integer := CASE WHEN payment = 'paid' THEN array_position(attempts, 'paid') END;
BEGIN
	INSERT INTO pay_payment AS p (pay_no, merchant, order_no, amount, currency, state, multi, end_requested,
		valid_until, winner, amount_collected, routes)
	VALUES (rollup.number(id), 'rollup', id, 100, 'CNY', payment, true, asked_to_end,
		now() + CASE WHEN past_valid_for THEN '-1 hour' ELSE '1 hour' END::interval,
		won, CASE WHEN won IS NULL THEN 0 ELSE 100 END, array_fill(1::smallint, ARRAY[cardinality(attempts)]));
	INSERT INTO pay_attempt (trade_no, pay_no, attempt, route, amount, state, amount_collected, request_id)
	SELECT rollup.number(id, 1, n::integer), rollup.number(id), n, 1, 100, s, CASE WHEN s = 'paid' THEN 100 END, 'R' || n
	FROM unnest(attempts) WITH ORDINALITY AS a (s, n);
END
$$;
CREATE FUNCTION rollup.step(id integer, attempt integer, to_state text, way text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	number CONSTANT text := rollup.number(id, 1, attempt);
	answer text := 'applied';
BEGIN
	IF way = 'transition' THEN
		SELECT decision INTO answer FROM pay_transition(trade_no => number, to_state => to_state);
	ELSIF way = 'callback' THEN
		SELECT decision INTO answer FROM pay_callback(channel => 'test', callback_id => 'C' || attempt, trade_no => number,
			reported => to_state, amount => 100, currency => 'CNY');
	ELSE
		UPDATE pay_attempt SET state = to_state, amount_collected = CASE WHEN to_state = 'paid' THEN 100 END
		WHERE trade_no = number::uuid;
	END IF;
	RETURN answer;
END
$$;

DO $$
DECLARE
	r rollup.run;
	others text[];
BEGIN
	FOR r IN SELECT * FROM rollup.run ORDER BY id LOOP
		others := r.attempts;
		others[r.mover] := CASE r.attempts[r.mover] WHEN 'unknown' THEN 'paying' ELSE 'unknown' END;
		PERFORM rollup.put(r.id, CASE WHEN 'paid' = ANY (others) THEN 'paid' ELSE 'unknown' END,
			others, r.asked_to_end, r.past_valid_for);
		r.decision := rollup.step(r.id, r.mover, r.attempts[r.mover], r.way);
		UPDATE rollup.run SET (decision, payment, collected, winner, attempts_after) = (
			SELECT r.decision, p.state, p.amount_collected, p.winner,
				ARRAY(SELECT a.state::text FROM generate_series(1, cardinality(r.attempts)) AS n
					JOIN pay_attempt a ON a.trade_no = rollup.number(r.id, 1, n) ORDER BY n)
			FROM pay_payment p WHERE p.pay_no = rollup.number(r.id))
		WHERE id = r.id;
	END LOOP;
END
$$;

SELECT is(count(DISTINCT (attempts, asked_to_end, past_valid_for))::integer, (9 + 9 * 9 + 9 * 9 * 9) * 2 * 2,
	'every combination of up to three attempts, asked to end or not, past valid_for or not')
FROM rollup.run;

SELECT is_empty(
	$$SELECT attempts, mover, way, attempts_after FROM rollup.run WHERE attempts_after IS DISTINCT FROM attempts$$,
	'each reached the combination that it was to show');

-- One assertion per situation; what is wrong is listed.
SELECT is_empty(
	format($$SELECT attempts, mover, way, decision, payment, rollup.expected(attempts, %1$L) AS expected
		FROM rollup.run WHERE asked_to_end = %2$L AND past_valid_for = %3$L
			AND payment IS DISTINCT FROM rollup.expected(attempts, %1$L)$$, asked OR past, asked, past),
	format('%s, %s: the state that the rule says', CASE WHEN asked THEN 'asked to end' ELSE 'not asked to end' END,
		CASE WHEN past THEN 'past valid_for' ELSE 'still valid' END))
FROM (VALUES (false, false), (false, true), (true, false), (true, true)) AS v (asked, past);

SELECT is_empty(
	$$SELECT attempts, mover, way, payment, winner, collected FROM rollup.run
	WHERE (payment = 'paid') IS DISTINCT FROM (winner IS NOT NULL AND collected = 100 AND attempts[winner] = 'paid')
		OR payment <> 'paid' AND (winner IS NOT NULL OR collected <> 0)$$,
	'a payment is paid exactly where an attempt won it');

SELECT is_empty(
	$$SELECT attempts, mover, decision FROM rollup.run
	WHERE attempts[mover] = 'paid' AND way <> 'UPDATE'
		AND decision <> CASE WHEN 'paid' = ANY (attempts[:mover - 1] || attempts[mover + 1:]) THEN 'surplus' ELSE 'applied' END$$,
	'the first money wins, the second is surplus');

-- ---- where the step to the most open attempt's state is not legal, it is unknown ----

-- What a payment shows, its attempts, which of them steps where, and what it shows
-- then. The legal neighbours of these cases are here too, to tell them apart.
CREATE TABLE rollup.edge (id integer GENERATED ALWAYS AS IDENTITY (START 900001), payment text, attempts text[],
	mover integer, to_state text, ends boolean, expected text, because text);
INSERT INTO rollup.edge (payment, attempts, mover, to_state, ends, expected, because) VALUES
	('paying',     '{paying,unknown}',     2, 'capturing',  false, 'unknown',    'paying to capturing is no step'),
	('paying',     '{paying,unknown}',     2, 'authorized', false, 'authorized', 'paying to authorized is one'),
	('authorized', '{authorized,paying}',  1, 'failed',     false, 'unknown',    'authorized to paying is no step'),
	('authorized', '{authorized,paying}',  1, 'closed',     false, 'unknown',    'authorized to paying is no step'),
	('authorized', '{authorized,paying}',  1, 'reversed',   true,  'unknown',    'authorized to paying is no step'),
	('authorized', '{authorized,closing}', 1, 'failed',     false, 'closing',    'authorized to closing is one'),
	('authorized', '{authorized,unknown}', 1, 'failed',     false, 'unknown',    'the most open attempt is unknown'),
	('authorized', '{authorized,paying}',  1, 'capturing',  false, 'capturing',  'authorized to capturing is a step'),
	('capturing',  '{capturing,paying}',   1, 'failed',     false, 'unknown',    'capturing to paying is no step'),
	('capturing',  '{capturing,closing}',  1, 'failed',     false, 'unknown',    'capturing to closing is no step'),
	('capturing',  '{capturing,closing}',  1, 'reversed',   true,  'unknown',    'capturing to closing is no step'),
	('capturing',  '{authorized,capturing}', 2, 'failed',   false, 'authorized', 'capturing to authorized is one'),
	('closing',    '{closing,unknown}',    2, 'paying',     false, 'unknown',    'closing to paying is no step'),
	('closing',    '{closing,unknown}',    2, 'paying',     true,  'unknown',    'closing to paying is no step'),
	('closing',    '{closing,unknown}',    2, 'capturing',  true,  'unknown',    'closing to capturing is no step'),
	('closing',    '{closing,unknown}',    2, 'authorized', true,  'authorized', 'closing to authorized is one'),
	('unknown',    '{authorized,unknown,paying}', 1, 'failed', false, 'paying',  'unknown to paying is one'),
	-- a direct UPDATE made it failed while an attempt is open: neither this nor unknown is a step
	('failed',     '{paying}',             1, 'unknown',    false, 'failed',     'failed to unknown is no step'),
	('failed',     '{paying}',             1, 'closing',    false, 'failed',     'failed to closing is no step'),
	('failed',     '{authorized}',         1, 'capturing',  false, 'failed',     'failed to capturing is no step'),
	('failed',     '{paying}',             1, 'authorized', false, 'authorized', 'failed to authorized is one'),
	('capturing',  '{capturing,failed}',   1, 'reversed',   false, 'failed',     'nothing is open, nobody asked it to end'),
	-- nothing is open and it ends, but capturing to closed is no step: it fails, and ends with the next call
	('capturing',  '{capturing}',          1, 'failed',     true,  'failed',     'capturing to closed is no step');

SELECT is_empty(
	$$SELECT payment, expected, because FROM rollup.edge
	WHERE because LIKE '% is no step' AND pay_can(payment, coalesce((
			SELECT o.state FROM rollup.open o, unnest(attempts) WITH ORDINALITY AS a (state, n)
			WHERE o.state = CASE n WHEN mover THEN to_state ELSE a.state END ORDER BY rank LIMIT 1), 'closed'))
		OR NOT pay_can(payment, expected) AND payment <> expected$$,
	'the cases are what they say: the step is not legal, what comes instead is');

DO $$
BEGIN
	PERFORM rollup.put(id, payment, attempts, ends, false) FROM rollup.edge;
	PERFORM rollup.step(id, mover, to_state, CASE to_state WHEN 'paying' THEN 'callback' ELSE 'transition' END) FROM rollup.edge;
END
$$;
SELECT is_empty(
	$$SELECT e.payment, e.attempts, mover, to_state, ends, p.state AS is, expected, because
	FROM rollup.edge e JOIN pay_payment p ON pay_no = rollup.number(e.id) WHERE p.state IS DISTINCT FROM expected$$,
	'where the step to the most open attempt''s state is not legal, the payment is unknown');

SELECT is(
	(SELECT decision || ', ' || state FROM pay_prepay(order_no => (SELECT id::text FROM rollup.edge WHERE attempts = '{capturing}'),
		amount => 100, currency => 'CNY', merchant => 'rollup', channel => 'test', method => 'test', request_id => 'late')),
	'closed, closed', 'a payment that was asked to end and could only fail is not paid again');

-- ---- the history says the same ----

SELECT is_empty(
	$$SELECT DISTINCT e.payment_before, e.payment_after FROM pay_event e JOIN pay_payment USING (pay_no)
	WHERE merchant = 'rollup' AND payment_before <> payment_after AND NOT pay_can(payment_before, payment_after)$$,
	'no payment took a step that is not legal');
SELECT is_empty(
	$$SELECT p.order_no, e.payment_after, p.state FROM pay_payment p JOIN pay_event e ON e.pay_no = p.pay_no AND e.seq = p.last_seq
	WHERE merchant = 'rollup' AND e.payment_after <> p.state$$,
	'the last event of each says the state that it is in');

SELECT * FROM finish();
ROLLBACK;
