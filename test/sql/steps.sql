-- Every step of payments and attempts, legal and illegal: as the functions show it,
-- as they take it, and as a superuser's own UPDATE is let through or refused. (Of
-- refunds: see refund_steps.)

\i test/sql/include/begin.sql
CREATE SCHEMA steps_test;
SET client_min_messages = warning;

-- The legal steps, copied by hand from the design. Whatever is not here is illegal.
CREATE TABLE steps_test.legal (machine text, from_state text, to_states text[]);
INSERT INTO steps_test.legal VALUES
	('payment', 'created', '{paying,closed}'),
	('payment', 'paying', '{authorized,paid,failed,unknown,closing,closed,reversed}'),
	('payment', 'authorized', '{capturing,paid,failed,unknown,closing,closed,reversed}'),
	('payment', 'capturing', '{paid,authorized,failed,unknown,reversed}'),
	('payment', 'unknown', '{paying,authorized,capturing,paid,failed,closing,closed,reversed}'),
	('payment', 'closing', '{paid,authorized,failed,unknown,closed,reversed}'),
	('payment', 'failed', '{paying,authorized,paid,closed}'),
	('payment', 'paid', '{}'),
	('payment', 'closed', '{}'),
	('payment', 'reversed', '{}'),
	('attempt', 'paying', '{authorized,paid,failed,unknown,closing,closed,reversed}'),
	('attempt', 'authorized', '{capturing,paid,failed,unknown,closing,closed,reversed}'),
	('attempt', 'capturing', '{paid,authorized,failed,unknown,reversed}'),
	('attempt', 'unknown', '{paying,authorized,capturing,paid,failed,closing,closed,reversed}'),
	('attempt', 'closing', '{paid,authorized,failed,unknown,closed,reversed}'),
	('attempt', 'failed', '{authorized,paid}'),
	('attempt', 'paid', '{}'),
	('attempt', 'closed', '{authorized,paid}'),
	('attempt', 'reversed', '{authorized,paid}');

CREATE TABLE steps_test.state (n integer, state text);
INSERT INTO steps_test.state
SELECT n, state FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,paid,closed,reversed}'::text[])
	WITH ORDINALITY AS s (state, n);

-- ---- as the functions show them ----

-- pay_steps(): three machines; of these two, these steps and no others.
SELECT machine, count(*) AS steps, count(DISTINCT (from_state, to_state)) AS different FROM pay_steps() GROUP BY machine ORDER BY machine;
(SELECT machine, from_state, to_state FROM pay_steps() WHERE machine <> 'refund'
	EXCEPT SELECT machine, from_state, unnest(to_states) FROM steps_test.legal)
UNION ALL (SELECT machine, from_state, unnest(to_states) FROM steps_test.legal
	EXCEPT SELECT machine, from_state, to_state FROM pay_steps());

-- pay_can(), pay_next() and pay_is_final() speak of payments.
SELECT count(*) AS pairs, count(*) FILTER (WHERE pay_can(f.state, t.state)) AS legal,
	count(*) FILTER (WHERE pay_can(f.state, t.state) <> (t.state = ANY (to_states))) AS wrong
FROM steps_test.state f JOIN steps_test.legal ON machine = 'payment' AND from_state = f.state, steps_test.state t;
SELECT from_state, pay_next(from_state) AS next,
	ARRAY(SELECT unnest(pay_next(from_state)) ORDER BY 1) = ARRAY(SELECT unnest(to_states) ORDER BY 1) AS as_designed,
	pay_is_final(from_state) AS final, pay_is_final(from_state) = (to_states = '{}') AS final_as_designed
FROM steps_test.legal JOIN steps_test.state ON state = from_state WHERE machine = 'payment' ORDER BY n;

-- ---- as they are taken ----

CREATE TABLE steps_test.result (way text, from_state text, to_state text, answer text,
	payment text, attempt text, end_requested boolean, event text);

-- Puts an order into the state and tries the step. Where one attempt alone has
-- ended, nobody asked the payment to end: it has failed and can be paid again.
-- Ways that name the payment start from a payment in that state.
CREATE FUNCTION steps_test.step(way text, from_state text, to_state text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
	merchant CONSTANT text := 'steps ' || way;
	order_no CONSTANT text := from_state || ' ' || to_state;
	of_payment CONSTANT boolean := way LIKE 'payment%';
	ended CONSTANT boolean := from_state IN ('closed', 'reversed');
	made CONSTANT uuid := test.put(merchant, order_no,
		CASE WHEN ended AND NOT of_payment THEN 'failed' ELSE from_state END,
		CASE WHEN from_state = 'created' THEN '{}' ELSE ARRAY[from_state] END,
		end_requested => of_payment AND from_state IN ('closing', 'closed', 'reversed'));
	trade_no CONSTANT uuid := test.number(merchant, order_no, 1, 1);
	money CONSTANT text := CASE WHEN to_state IN ('paid', 'authorized')
		THEN format(', amount => 100, currency => %L', 'CNY') ELSE '' END;
	answer text;
BEGIN
	answer := test.try(CASE way
		WHEN 'attempt by transition' THEN
			format('SELECT decision FROM pay_transition(trade_no => %L, to_state => %L, reason => %L)', trade_no, to_state, 'a test')
		WHEN 'attempt by callback' THEN
			format('SELECT decision FROM pay_callback(channel => %L, callback_id => %L, trade_no => %L, reported => %L' || money || ')',
				'test', 'C1', trade_no, to_state)
		WHEN 'payment by transition' THEN
			format('SELECT decision FROM pay_transition(trade_no => %L, to_state => %L)', made, to_state)
		WHEN 'attempt by UPDATE' THEN
			format('UPDATE pay_attempt SET state = %L, amount_collected = %L WHERE trade_no = %L',
				to_state, CASE WHEN to_state = 'paid' THEN 100 END, trade_no)
		WHEN 'payment by UPDATE' THEN
			format('UPDATE pay_payment SET state = %L, winner = %L, amount_collected = %L WHERE pay_no = %L',
				to_state, CASE WHEN to_state = 'paid' THEN 1 END, CASE WHEN to_state = 'paid' THEN 100 ELSE 0 END, made)
		END);
	INSERT INTO steps_test.result
	SELECT way, from_state, to_state, answer, p.state, a.state, p.end_requested,
		(SELECT string_agg(format('%s: %s>%s, %s: %s>%s by %s', e.decision, e.payment_before, e.payment_after,
				e.attempt, e.attempt_before, e.attempt_after, e.source), '; ' ORDER BY e.seq)
			|| CASE WHEN count(*) = p.last_seq AND max(e.seq) = p.last_seq THEN '' ELSE ', seq wrong' END
			FROM pay_event e WHERE e.pay_no = p.pay_no)
	FROM pay_payment p LEFT JOIN pay_attempt a USING (pay_no) WHERE p.pay_no = made;
	RETURN true;
END
$$;

SELECT count(steps_test.step(way, f.state, t.state)) AS steps
FROM (VALUES ('attempt by transition'), ('attempt by callback'), ('payment by transition'),
		('attempt by UPDATE'), ('payment by UPDATE')) AS w (way),
	steps_test.state f, steps_test.state t
WHERE way LIKE 'payment%' OR f.state <> 'created';	-- an attempt is never created

-- What must come of each, by the rules of the design.
CREATE VIEW steps_test.expected AS
WITH pair AS (
	SELECT r.*, to_state = ANY (to_states) AS is_legal, to_state IN ('paid', 'authorized') AS is_money,
		-- of a payment's one open attempt, so that the event is that attempt's
		to_state IN ('paid', 'authorized', 'capturing') AS is_of_one
	FROM (SELECT DISTINCT way, split_part(way, ' ', 1) AS machine, from_state, to_state FROM steps_test.result) AS r
		JOIN steps_test.legal USING (machine, from_state)
), decided AS (
	SELECT *, CASE
		-- a direct UPDATE: legal ones pass, but never to paying; staying is no step. One of
		-- a payment must write what follows: what was asked to end does not fail, it closes
		WHEN way LIKE '%UPDATE' THEN CASE
			WHEN (machine, from_state, to_state) = ('payment', 'closing', 'failed') THEN 'PY409'
			WHEN to_state = from_state THEN 'rows: 1'
			WHEN is_legal AND to_state <> 'paying' THEN 'rows: 1'
			ELSE 'PY409' END
		-- nothing is ever reported as created
		WHEN to_state = 'created' THEN 'PY400'
		-- a report: what is known is unchanged, what is no longer possible is stale
		WHEN way = 'attempt by callback' THEN CASE
			WHEN to_state = from_state THEN 'unchanged'
			WHEN is_legal THEN 'applied'
			ELSE 'stale' END
		-- the caller's own step: only pay_prepay leads to paying
		WHEN to_state = 'paying' THEN 'PY409'
		-- a payment without attempt has nothing that money could come through
		WHEN from_state = 'created' AND is_money THEN 'PY409'
		WHEN to_state = from_state THEN 'unchanged'
		-- news of money is never refused: for an order that has ended it is surplus
		WHEN is_money AND machine = 'payment' AND from_state IN ('closed', 'reversed') THEN 'surplus'
		WHEN is_legal THEN 'applied'
		WHEN is_money THEN 'stale'
		ELSE 'PY409' END AS answer
	FROM pair
), result AS (
	SELECT *, answer = 'applied' OR answer = 'rows: 1' AND to_state <> from_state AS steps,
		CASE WHEN machine = 'attempt' AND from_state IN ('closed', 'reversed') THEN 'failed' ELSE from_state END AS payment_before,
		CASE WHEN from_state <> 'created' THEN from_state END AS attempt_before
	FROM decided
), after AS (
	SELECT *, CASE WHEN NOT steps THEN payment_before
			-- an attempt that ends alone leaves a payment that can be paid again
			WHEN machine = 'attempt' AND to_state IN ('closed', 'reversed') THEN 'failed'
			-- one that was asked to end does not fail, it closes
			WHEN way = 'payment by transition' AND from_state = 'closing' AND to_state = 'failed' THEN 'closed'
			ELSE to_state END AS payment,
		CASE WHEN answer = 'surplus' THEN to_state
			WHEN steps AND from_state <> 'created'
				-- the payment closes, the attempt that failed has failed
				AND (from_state, to_state) <> ('failed', 'closed') THEN to_state
			ELSE attempt_before END AS attempt
	FROM result
)
SELECT way, from_state, to_state, answer, payment, attempt,
	-- asked to end: it was before, or by a step of the payment's number
	machine = 'payment' AND from_state IN ('closing', 'closed', 'reversed')
		OR machine = 'payment' AND steps AND to_state IN ('closing', 'closed', 'reversed') AS end_requested,
	-- every report and every change is an event, a refusal is none; a step of the whole
	-- payment, by call or by UPDATE, is one for each attempt that it changes and one for the payment; money
	-- that is surplus has one more, of the refund that it opens
	CASE WHEN answer LIKE 'PY%' OR NOT steps AND way LIKE '%UPDATE' THEN NULL
		ELSE concat_ws('; ',
			CASE WHEN machine = 'attempt' OR is_of_one OR attempt <> attempt_before
				THEN format('%s: %s>%s, 1: %s>%s by %s', replace(answer, 'rows: 1', 'applied'), payment_before, payment,
					attempt_before, attempt, replace(lower(substring(way from '\w+$')), 'callback', 'callback:test')) END,
			CASE WHEN machine = 'payment' AND (way = 'payment by UPDATE' OR NOT is_of_one)
				THEN format('%s: %s>%s, 0: > by %s', replace(answer, 'rows: 1', 'applied'),
					CASE WHEN attempt <> attempt_before THEN payment ELSE payment_before END, payment,
					lower(substring(way from '\w+$'))) END,
			CASE WHEN answer = 'surplus' AND to_state = 'paid'
				THEN format('proceed: %s>%s, 1: %s>%s by refund', payment, payment, attempt, attempt) END)
		END AS event
FROM after;

-- What differs: nothing.
SELECT r.way, r.from_state, r.to_state, r.answer, e.answer AS expected, r.payment, e.payment AS expected, r.attempt, e.attempt AS expected,
	r.end_requested, e.end_requested AS expected, r.event, e.event AS expected
FROM steps_test.result r JOIN steps_test.expected e USING (way, from_state, to_state)
WHERE (split_part(r.answer, ' ', 1), r.payment, r.attempt, r.end_requested, r.event)
	IS DISTINCT FROM (split_part(e.answer, ' ', 1), e.payment, e.attempt, e.end_requested, e.event)
ORDER BY r.way, r.from_state, r.to_state;

-- The answers, to be read: from each state (row) to each (column).
CREATE FUNCTION steps_test.matrix(way text) RETURNS TABLE ("from" text, "to" text) LANGUAGE sql AS $$
	SELECT '', string_agg(rpad(state, 11), '' ORDER BY n) FROM steps_test.state
	UNION ALL (
		SELECT f.state, string_agg(rpad(CASE split_part(answer, ' ', 1)
			WHEN 'rows:' THEN 'done' ELSE split_part(answer, ' ', 1) END, 11), '' ORDER BY t.n)
		FROM steps_test.result r JOIN steps_test.state f ON f.state = from_state JOIN steps_test.state t ON t.state = to_state
		WHERE r.way = matrix.way GROUP BY f.n, f.state ORDER BY f.n)
$$;
SELECT * FROM steps_test.matrix('attempt by transition');
SELECT * FROM steps_test.matrix('attempt by callback');
SELECT * FROM steps_test.matrix('payment by transition');
SELECT * FROM steps_test.matrix('attempt by UPDATE');
SELECT * FROM steps_test.matrix('payment by UPDATE');
SELECT way, count(*) AS steps, count(*) FILTER (WHERE answer LIKE 'PY%') AS refused,
	count(*) FILTER (WHERE answer LIKE 'PY%' AND answer NOT LIKE '% | DETAIL: %') AS refused_without_detail
FROM steps_test.result GROUP BY way ORDER BY way;

-- A refusal names the legal steps, and where there is one, the way to go.
SELECT way, from_state, to_state, answer FROM steps_test.result
WHERE (from_state, to_state) IN (('paid', 'failed'), ('capturing', 'closed'), ('unknown', 'paying'), ('created', 'paid'), ('closed', 'unknown'))
	AND answer LIKE 'PY%'
ORDER BY way, from_state;

DROP SCHEMA steps_test CASCADE;
