-- Every step of a refund, legal and illegal, by the caller's own step, by the
-- channel's word and by a superuser's own UPDATE; where there is room for its
-- reserve, and where there is none.

\i test/sql/include/begin.sql
CREATE SCHEMA refund_steps_test;
SET client_min_messages = warning;

-- The legal steps, copied by hand from the design. Whatever is not here is illegal.
CREATE TABLE refund_steps_test.legal (from_state text, to_states text[]);
INSERT INTO refund_steps_test.legal VALUES
	('requested', '{processing,succeeded,failed,abnormal,unknown,cancelled}'),
	('processing', '{succeeded,failed,abnormal,unknown}'),
	('unknown', '{processing,succeeded,failed,abnormal}'),
	('failed', '{requested,processing,succeeded,cancelled}'),
	('abnormal', '{processing,succeeded,failed,cancelled}'),
	('succeeded', '{returned}'),
	('returned', '{succeeded}'),
	('cancelled', '{succeeded,processing}');
-- What each state does with the refund's amount: a refund reserves it in every
-- state but failed, cancelled and returned; while it has succeeded it is gone.
CREATE TABLE refund_steps_test.state (n integer, state text, amount_is text);
INSERT INTO refund_steps_test.state VALUES (1, 'requested', 'reserved'), (2, 'processing', 'reserved'), (3, 'unknown', 'reserved'),
	(4, 'abnormal', 'reserved'), (5, 'failed', 'free'), (6, 'succeeded', 'refunded'), (7, 'cancelled', 'free'), (8, 'returned', 'free');

-- ---- as the functions show them ----

-- pay_steps(): these and no others.
SELECT count(*) AS steps, count(DISTINCT (from_state, to_state)) AS different FROM pay_steps() WHERE machine = 'refund';
(SELECT from_state, to_state FROM pay_steps() WHERE machine = 'refund'
	EXCEPT SELECT from_state, unnest(to_states) FROM refund_steps_test.legal)
UNION ALL (SELECT from_state, unnest(to_states) FROM refund_steps_test.legal
	EXCEPT SELECT from_state, to_state FROM pay_steps() WHERE machine = 'refund');
-- The picture has them too.
SELECT count(*) AS drawn FROM refund_steps_test.legal, unnest(to_states) AS to_state
WHERE pay_diagram() LIKE format('%%refund_%s -> refund_%s;%%', from_state, to_state);
-- The type knows these words, and no payment's; their bytes are frozen, they are on disk.
SELECT state, state::pay_refund_state = state AS is_one FROM refund_steps_test.state ORDER BY state::pay_refund_state;
SELECT test.try($$SELECT 'paid'::pay_refund_state$$);

-- ---- as they are taken ----

CREATE TABLE refund_steps_test.result (way text, room boolean, from_state text, to_state text, answer text,
	state text, reserved bigint, refunded bigint, of_payment bigint, refundable bigint, overdrawn bigint, event text, review text);

-- A refund of 60 of 100 that were paid, in the state; beside it another of 40, or,
-- where this one reserves nothing and there shall be no room for it, of 41. An
-- INSERT is not a step, so it is not guarded. Then it tries the step.
CREATE FUNCTION refund_steps_test.step(way text, room boolean, from_state text, to_state text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
	merchant CONSTANT text := 'refund_steps ' || way;
	order_no CONSTANT text := concat_ws(' ', from_state, to_state, CASE WHEN room THEN 'room' ELSE 'no room' END);
	made CONSTANT uuid := test.number(merchant, order_no);
	amount_is CONSTANT text := (SELECT s.amount_is FROM refund_steps_test.state s WHERE s.state = from_state);
	others CONSTANT bigint := CASE WHEN room OR amount_is <> 'free' THEN 40 ELSE 41 END;
	reserved CONSTANT bigint := others + CASE amount_is WHEN 'reserved' THEN 60 ELSE 0 END;
	refunded CONSTANT bigint := CASE amount_is WHEN 'refunded' THEN 60 ELSE 0 END;
	answer text;
BEGIN
	INSERT INTO pay_payment (pay_no, merchant, order_no, amount, currency, state, winner, amount_collected, amount_refunded, routes)
	VALUES (made, merchant, order_no, 100, 'CNY', 'paid', 1, 100, refunded, '{1}');
	INSERT INTO pay_attempt (trade_no, pay_no, attempt, route, amount, state, amount_collected, amount_reserved, amount_refunded, request_id)
	VALUES (test.number(merchant, order_no, 1, 1), made, 1, 1, 100, 'paid', 100, reserved, nullif(refunded, 0), 'R1');
	INSERT INTO pay_refund (merchant, refund_no, pay_no, attempt, amount, state, kind)
	VALUES (merchant, order_no, made, 1, 60, from_state, 'refund'), (merchant, order_no || ' other', made, 1, others, 'processing', 'refund');
	answer := test.try(CASE way
		WHEN 'transition' THEN
			format('SELECT decision FROM pay_refund_transition(refund_no => %L, to_state => %L, merchant => %L)', order_no, to_state, merchant)
		WHEN 'callback' THEN
			format('SELECT decision FROM pay_refund_callback(channel => %L, callback_id => %L, refund_no => %L, reported => %L, merchant => %L)',
				'test', 'C1', order_no, to_state, merchant)
		WHEN 'UPDATE' THEN
			format('UPDATE pay_refund SET state = %L WHERE refund_no = %L AND merchant = %L', to_state, order_no, merchant)
		END);
	INSERT INTO refund_steps_test.result
	SELECT way, room, from_state, to_state, answer, r.state, coalesce(a.amount_reserved, 0) - others, coalesce(a.amount_refunded, 0), p.amount_refunded, b.refundable, b.overdrawn,
		(SELECT string_agg(format('%s %s: %s>%s, 1: %s>%s, %s>%s by %s', e.decision, e.refund_reported, e.refund_before, e.refund_after, e.attempt_before, e.attempt_after,
				e.payment_before, e.payment_after, e.source), '; ' ORDER BY e.seq)
			|| CASE WHEN count(*) = p.last_seq AND max(e.seq) = p.last_seq THEN '' ELSE ', seq wrong' END
			FROM pay_event e WHERE e.pay_no = p.pay_no),
		(SELECT string_agg(v.kind || CASE WHEN v.about_money THEN ' about money' ELSE '' END, '; ') FROM pay_review v WHERE v.pay_no = p.pay_no)
	FROM pay_payment p JOIN pay_attempt a USING (pay_no) JOIN pay_refund r USING (pay_no) JOIN pay_balance b USING (pay_no)
	WHERE p.pay_no = made AND r.refund_no = p.order_no;
	RETURN true;
END
$$;
SELECT count(refund_steps_test.step(way, room, f.state, t.state)) AS steps
FROM unnest('{transition,callback,UPDATE}'::text[]) AS w (way), unnest('{true,false}'::boolean[]) AS r (room),
	refund_steps_test.state f, refund_steps_test.state t;

-- What must come of each, by the rules of the design.
CREATE VIEW refund_steps_test.expected AS
WITH pair AS (
	SELECT way, r.room, from_state, to_state, to_state = ANY (to_states) AS is_legal,
		-- a step that takes more than there is: that it is sent again is refused, that it has gone is news
		NOT r.room AND f.amount_is = 'free' AND t.amount_is <> 'free' AS does_not_fit
	FROM (SELECT DISTINCT way, room, from_state, to_state FROM refund_steps_test.result) AS r JOIN refund_steps_test.legal USING (from_state)
		JOIN refund_steps_test.state f ON f.state = from_state JOIN refund_steps_test.state t ON t.state = to_state
), decided AS (
	SELECT *, CASE
		-- a direct UPDATE: staying is no step
		WHEN way = 'UPDATE' THEN CASE
			WHEN to_state = from_state THEN 'rows: 1'
			WHEN is_legal AND NOT (does_not_fit AND to_state = 'requested') THEN 'rows: 1'
			ELSE 'PY409' END
		-- the caller's own step
		WHEN to_state = from_state THEN 'unchanged'
		WHEN way = 'transition' THEN CASE
			WHEN is_legal AND NOT (does_not_fit AND to_state = 'requested') THEN 'applied'
			ELSE 'PY409' END
		-- what a channel says: that it was asked to is no news
		WHEN to_state = 'requested' THEN 'stale'
		-- that what is done never was, somebody must look at
		WHEN from_state = 'succeeded' AND to_state IN ('failed', 'cancelled', 'abnormal') THEN 'mismatch'
		WHEN is_legal THEN 'applied'
		ELSE 'stale' END AS answer
	FROM pair
), after AS (
	SELECT *, answer = 'applied' OR answer = 'rows: 1' AND to_state <> from_state AS steps,
		CASE WHEN answer IN ('applied', 'rows: 1') THEN to_state ELSE from_state END AS state
	FROM decided
)
SELECT way, room, from_state, to_state, answer, after.state,
	CASE amount_is WHEN 'reserved' THEN 60 ELSE 0 END AS reserved,
	CASE amount_is WHEN 'refunded' THEN 60 ELSE 0 END AS refunded,
	-- of 100: without the other refund's 40 (or 41) and its own 60; what is overdrawn leaves nothing
	greatest(CASE WHEN room OR (SELECT f.amount_is <> 'free' FROM refund_steps_test.state f WHERE f.state = from_state) THEN 60 ELSE 59 END
		- CASE amount_is WHEN 'free' THEN 0 ELSE 60 END, 0) AS refundable,
	CASE WHEN steps AND does_not_fit THEN 1 ELSE 0 END AS overdrawn,
	-- every report and every change is an event, a refusal is none
	CASE WHEN answer LIKE 'PY%' OR NOT steps AND way = 'UPDATE' THEN NULL
		ELSE format('%s %s: %s>%s, 1: paid>paid, paid>paid by %s', replace(answer, 'rows: 1', 'applied'), to_state, from_state, after.state,
			CASE way WHEN 'transition' THEN 'refund_transition' WHEN 'callback' THEN 'refund_callback:test' ELSE 'update' END) END AS event,
	-- a person must look at what is abnormal, at what came back, at what overdraws, and at what does not fit
	CASE WHEN steps AND to_state = 'abnormal' THEN 'abnormal' WHEN steps AND to_state = 'returned' THEN 'returned'
		WHEN steps AND does_not_fit THEN 'overdrawn' WHEN answer = 'mismatch' THEN 'mismatch' END AS review
FROM after JOIN refund_steps_test.state s ON s.state = after.state;

-- What differs: nothing.
SELECT r.way, r.room, r.from_state, r.to_state, r.answer, e.answer AS expected, r.state, e.state AS expected,
	r.reserved, e.reserved AS expected, r.refunded, r.of_payment, e.refunded AS expected, r.refundable, e.refundable AS expected,
	r.overdrawn, e.overdrawn AS expected, r.event, e.event AS expected, r.review, e.review AS expected
FROM refund_steps_test.result r JOIN refund_steps_test.expected e USING (way, room, from_state, to_state)
WHERE (split_part(r.answer, ' ', 1), r.state, r.reserved, r.refunded, r.of_payment, r.refundable, r.overdrawn, r.event, r.review)
	IS DISTINCT FROM (split_part(e.answer, ' ', 1), e.state, e.reserved, e.refunded, e.refunded, e.refundable, e.overdrawn, e.event, e.review)
ORDER BY r.way, r.room, r.from_state, r.to_state;

-- The answers, to be read: from each state (row) to each (column).
CREATE FUNCTION refund_steps_test.matrix(way text, room boolean) RETURNS TABLE ("from" text, "to" text) LANGUAGE sql AS $$
	SELECT '', string_agg(rpad(state, 11), '' ORDER BY n) FROM refund_steps_test.state
	UNION ALL (
		SELECT f.state, string_agg(rpad(CASE split_part(answer, ' ', 1)
			WHEN 'rows:' THEN 'done' ELSE split_part(answer, ' ', 1) END, 11), '' ORDER BY t.n)
		FROM refund_steps_test.result r JOIN refund_steps_test.state f ON f.state = from_state JOIN refund_steps_test.state t ON t.state = to_state
		WHERE r.way = matrix.way AND r.room = matrix.room GROUP BY f.n, f.state ORDER BY f.n)
$$;
SELECT * FROM refund_steps_test.matrix('transition', room => true);
SELECT * FROM refund_steps_test.matrix('callback', room => true);
SELECT * FROM refund_steps_test.matrix('UPDATE', room => true);
-- Where there is no room only one answer is other: what failed is not sent again.
SELECT way, m.* FROM unnest('{transition,callback,UPDATE}'::text[]) AS w (way), refund_steps_test.matrix(way, room => false) AS m WHERE "from" IN ('', 'failed');
SELECT count(*) AS others_differ FROM refund_steps_test.result a JOIN refund_steps_test.result b USING (way, from_state, to_state)
WHERE a.room AND NOT b.room AND (from_state, to_state) <> ('failed', 'requested') AND split_part(a.answer, ' ', 1) <> split_part(b.answer, ' ', 1);
SELECT way, room, count(*) AS steps, count(*) FILTER (WHERE answer LIKE 'PY%') AS refused,
	count(*) FILTER (WHERE answer LIKE 'PY%' AND answer NOT LIKE '% | DETAIL: %') AS refused_without_detail
FROM refund_steps_test.result GROUP BY way, room ORDER BY way COLLATE "C", room DESC;
-- What was reserved and refunded is what was collected, what is left of it, and what was taken beyond it.
SELECT count(*) AS orders, count(*) FILTER (WHERE reserved + refunded + refundable <> collected + overdrawn OR refundable > 0 AND overdrawn > 0) AS wrong,
	count(*) FILTER (WHERE overdrawn > 0) AS overdrawn
FROM pay_balance WHERE merchant LIKE 'refund_steps %';

-- A refusal names the legal steps, or what there is room for.
SELECT way, room, from_state, to_state, answer FROM refund_steps_test.result
WHERE (from_state, to_state) IN (('processing', 'cancelled'), ('succeeded', 'failed'), ('failed', 'unknown'), ('failed', 'requested'), ('cancelled', 'requested'), ('returned', 'failed'))
	AND answer LIKE 'PY%' AND (NOT room OR to_state <> 'requested')
ORDER BY way COLLATE "C", room DESC, from_state, to_state;

DROP SCHEMA refund_steps_test CASCADE;
