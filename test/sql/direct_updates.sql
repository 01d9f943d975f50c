-- A direct UPDATE of a payment is a step of it: judged as pay_transition() judges the
-- caller's own step, with the payment's attempts taken along. Whatever passes, the
-- payment is what follows from its attempts, and its money adds up.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA direct_test;

-- ---- 70 of 100, and then the channel says failed ----

SELECT test.put('direct', 'A1', 'paying', '{paying}') IS NOT NULL AS put;
SELECT test.try($$UPDATE pay_payment SET state = 'paid', winner = 1, amount_collected = 70 WHERE pay_no = test.number('direct', 'A1')$$);
SELECT decision, state, attempt_state FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => test.number('direct', 'A1', 1, 1)::text, reported => 'failed');
SELECT test.states('direct', 'A1');
-- With the amount that is asked for, the attempt is paid with its payment, and the channel's failed comes too late.
SELECT test.put('direct', 'A2', 'paying', '{paying}') IS NOT NULL AS put;
SELECT test.try($$UPDATE pay_payment SET state = 'paid', winner = 1, amount_collected = 100 WHERE pay_no = test.number('direct', 'A2')$$);
SELECT decision, state, attempt_state FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => test.number('direct', 'A2', 1, 1)::text, reported => 'failed');
SELECT decision, state, attempt_state FROM pay_callback(channel => 'test', callback_id => 'C2', trade_no => test.number('direct', 'A2', 1, 1)::text, reported => 'paid', amount => 100, currency => 'CNY');
SELECT needed, collected, surplus, refundable, to_close FROM pay_balance WHERE merchant = 'direct' AND order_no = 'A2';
SELECT seq, source, attempt, decision, reported, amount, payment_before, payment_after, attempt_before, attempt_after, reason FROM pay_history(test.number('direct', 'A2')::text);

-- ---- to paid: winner and amount name what was collected ----

-- Tries an UPDATE, and shows what became of it.
CREATE FUNCTION direct_test.try(order_no text, set text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer CONSTANT text := split_part(test.try(format('UPDATE pay_payment SET %s WHERE pay_no = test.number(%L, %L)', set, 'direct', order_no)), ' | DETAIL: Failing row', 1);
BEGIN
	RETURN answer || ' -> ' || test.states('direct', order_no);
END
$$;
CREATE FUNCTION direct_test.pay(order_no text, state text, attempts text[], winner integer, amount bigint, to_capture bigint[] DEFAULT NULL)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	made CONSTANT uuid := test.put('direct', order_no, state, attempts, multi => true);
BEGIN
	UPDATE pay_attempt a SET amount_to_capture = to_capture[a.attempt] WHERE a.pay_no = made AND to_capture[a.attempt] IS NOT NULL;
	RETURN direct_test.try(order_no, format('state = %L, winner = %L, amount_collected = %s', 'paid', winner, amount));
END
$$;
SELECT n, direct_test.pay('B' || n, state, attempts, winner, amount, to_capture) FROM (VALUES
	(1, 'paying', '{failed,paying}'::text[], 2, 100, NULL::bigint[]),
	(2, 'paying', '{failed,paying}', 1, 100, NULL),		-- the other one, late: the open one is to be closed
	(3, 'paying', '{paying,paying}', 1, 101, NULL),
	(4, 'paying', '{paying}', 2, 100, NULL),			-- no such attempt
	(5, 'capturing', '{capturing}', 1, 60, '{60}'),		-- what was to be captured
	(6, 'capturing', '{capturing}', 1, 100, '{60}'),
	(7, 'capturing', '{capturing,authorized}', 2, 100, '{60}'),
	(8, 'capturing', '{capturing,paying}', 2, 100, '{60}'),		-- both may come
	(9, 'paying', '{unknown,paying}', 2, 100, '{60}'),
	(10, 'paying', '{unknown,paying}', 2, 100, NULL),	-- that nobody asked to capture is no such doubt
	(11, 'failed', '{closed}', 1, 100, NULL),
	(12, 'closed', '{closed}', 1, 100, NULL)) AS v (n, state, attempts, winner, amount, to_capture) ORDER BY n;
-- An order that was replaced wants no money; it is surplus by the attempt's own UPDATE.
SELECT test.put('direct', 'C1', 'paying', '{paying}') IS NOT NULL AS put;
SELECT decision FROM pay_prepay(order_no => 'C2', amount => 100, currency => 'CNY', merchant => 'direct', channel => 'test', method => 'test', request_id => 'R1', replaces => 'C1');
SELECT test.try($$UPDATE pay_payment SET state = 'paid', winner = 1, amount_collected = 100 WHERE pay_no = test.number('direct', 'C1')$$);
UPDATE pay_attempt SET state = 'paid', amount_collected = 100 WHERE pay_no = test.number('direct', 'C1');
SELECT needed, collected, surplus, reserved FROM pay_balance WHERE merchant = 'direct' AND order_no = 'C1';

-- ---- the rest of the row ----

SELECT test.put('direct', 'D' || n, state, attempts) IS NOT NULL AS put FROM (VALUES
	(1, 'paying', '{paying}'::text[]), (2, 'failed', '{failed}'), (3, 'created', '{}'), (4, 'paying', '{paying}'), (5, 'paying', '{paying}'), (6, 'failed', '{failed}'),
	(7, 'paying', '{paying}'), (8, 'unknown', '{authorized}')) AS v (n, state, attempts);
SELECT order_no, set, direct_test.try(order_no, set) AS answer
FROM (VALUES
	-- end_requested alone: where nothing is open it would be closed
	(1, 'D1', 'end_requested = true'), (2, 'D2', 'end_requested = true'), (3, 'D3', 'end_requested = true'), (4, 'D2', 'end_requested = true, state = ''closed'''),
	-- a step that ends it says so by itself, and is not told otherwise
	(5, 'D1', 'end_requested = false'), (6, 'D1', 'end_requested = true'), (7, 'D1', 'end_requested = false, state = ''closing'''), (8, 'D4', 'end_requested = false, state = ''closing'''),
	(9, 'D5', 'end_requested = true, state = ''failed'''),
	-- winner and amount follow state
	(10, 'D5', 'winner = 1'), (11, 'D5', 'amount_collected = 100'), (12, 'D5', 'winner = 1, amount_collected = 100'),
	-- time may be over: as long as nobody does anything it is what it was, and what is done then ends it
	(13, 'D6', 'valid_until = now() - interval ''1 s'''), (14, 'D7', 'valid_until = now() - interval ''1 s'', state = ''failed'''), (15, 'D7', 'valid_until = now() - interval ''1 s'', state = ''closed'''),
	-- what is not what follows is put right by the step to what follows
	(16, 'D8', 'state = ''authorized''')) AS v (n, order_no, set) ORDER BY n;
SELECT order_no, state, end_requested, last_seq, (SELECT count(*) FROM pay_event e WHERE e.pay_no = p.pay_no) AS events
FROM pay_payment p WHERE merchant = 'direct' AND order_no LIKE 'D%' ORDER BY order_no;

-- ---- several at once ----

-- Of several payments, each takes its attempts along, or none does.
SELECT test.put('direct', 'E' || n, 'paying', attempts, multi => true) IS NOT NULL AS put FROM (VALUES (1, '{paying}'::text[]), (2, '{failed,paying}'), (3, '{paying,capturing}')) AS v (n, attempts);
SELECT test.try($$UPDATE pay_payment SET state = 'unknown' WHERE merchant = 'direct' AND order_no IN ('E1', 'E2')$$);
SELECT test.try($$UPDATE pay_payment SET state = 'closing' WHERE merchant = 'direct' AND order_no IN ('E1', 'E2', 'E3')$$);
SELECT string_agg(test.states('direct', 'E' || n), ', ' ORDER BY n) FROM generate_series(1, 3) AS n;
-- A payment and its attempts by one statement, whichever comes first: together they must be what follows.
CREATE FUNCTION direct_test.both(order_no text, attempts text[], attempt_set text, payment_set text, attempts_first boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	made CONSTANT uuid := test.put('direct', order_no, 'paying', attempts, multi => true);
	of_attempt CONSTANT text := format('UPDATE pay_attempt SET %s WHERE pay_no = %L AND attempt = 1 RETURNING pay_no', attempt_set, made);
	of_payment CONSTANT text := format('UPDATE pay_payment SET %s WHERE pay_no = %L', payment_set, made);
	answer text;
BEGIN
	answer := test.try(CASE WHEN attempts_first THEN format('WITH a AS (%s) %s AND EXISTS (SELECT FROM a)', of_attempt, of_payment)
			ELSE format('WITH a AS (%s) %s', of_attempt, of_payment) END || ' RETURNING state');
	RETURN answer || ' -> ' || test.states('direct', order_no) || (SELECT format(', collected %s; events %s', p.amount_collected, (SELECT
			string_agg(format('%s %s>%s %s', attempt, payment_before, payment_after, attempt_before || '>' || attempt_after), '; ' ORDER BY seq)
			FROM pay_event e WHERE e.pay_no = made)) FROM pay_payment p WHERE p.pay_no = made);
END
$$;
SELECT n, first, direct_test.both(format('F%s %s', n, first), attempts, attempt_set, payment_set, first = 'attempt') FROM (VALUES
	(1, '{paying}'::text[], $$state = 'failed'$$, $$state = 'failed'$$),
	(2, '{paying}', $$state = 'failed'$$, $$state = 'unknown'$$),
	(3, '{paying}', $$state = 'paid', amount_collected = 100$$, $$state = 'paid', winner = 1, amount_collected = 100$$),
	-- by the attempt's own UPDATE any amount is what was collected, and the payment says the same
	(4, '{paying}', $$state = 'paid', amount_collected = 70$$, $$state = 'paid', winner = 1, amount_collected = 70$$),
	(5, '{paying}', $$state = 'paid', amount_collected = 70$$, $$state = 'paid', winner = 1, amount_collected = 100$$),
	(6, '{paying,paying}', $$state = 'paid', amount_collected = 100$$, $$state = 'paid', winner = 2, amount_collected = 100$$),
	(7, '{paying,paying}', $$state = 'failed'$$, $$state = 'failed'$$),
	(8, '{paying,paying}', $$state = 'failed'$$, $$payer = 'ada'$$)) AS v (n, attempts, attempt_set, payment_set), unnest('{attempt,payment}'::text[]) AS first
ORDER BY n, first;

-- ---- all steps of all payments with one or two attempts, beside pay_transition() ----

CREATE TABLE direct_test.step AS
SELECT row_number() OVER () AS n, attempts, ends, to_state, winner
FROM (SELECT ARRAY[a] AS attempts FROM unnest('{paying,authorized,capturing,unknown,closing,failed,closed,reversed}'::text[]) AS a
		UNION ALL SELECT ARRAY[a, b] FROM unnest('{paying,authorized,capturing,unknown,closing,failed,closed,reversed}'::text[]) AS a,
			unnest('{paying,authorized,capturing,unknown,closing,failed,closed,reversed}'::text[]) AS b) AS v,
	unnest('{false,true}'::boolean[]) AS ends,
	unnest('{authorized,capturing,unknown,closing,failed,paid,closed,reversed}'::text[]) AS to_state,
	generate_series(CASE to_state WHEN 'paid' THEN 1 ELSE 0 END, CASE to_state WHEN 'paid' THEN cardinality(attempts) ELSE 0 END) AS winner;
-- The rule, told once more: where nothing is open it has failed, or has ended if it was to.
CREATE FUNCTION direct_test.follows(attempts text[], ends boolean) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce((SELECT s FROM unnest('{capturing,authorized,paying,unknown,closing}'::text[]) WITH ORDINALITY AS o (s, n) WHERE s = ANY (attempts) ORDER BY n LIMIT 1),
		CASE WHEN NOT ends THEN 'failed' WHEN attempts[cardinality(attempts)] = 'reversed' THEN 'reversed' ELSE 'closed' END)
$$;
CREATE TABLE direct_test.taken (n bigint, by_update text, by_call text, update_states text, call_states text, amount bigint, written text);
CREATE FUNCTION direct_test.take(s direct_test.step) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	before CONSTANT text := direct_test.follows(s.attempts, s.ends);
	a CONSTANT uuid := test.put('direct update', s.n::text, before, s.attempts, s.ends, multi => true);
	b CONSTANT uuid := test.put('direct call', s.n::text, before, s.attempts, s.ends, multi => true);
	by_update text;
	by_call text;
BEGIN
	by_update := test.try(format('UPDATE pay_payment SET state = %L, winner = %L, amount_collected = %s WHERE pay_no = %L AND state::text <> %1$L',
		s.to_state, nullif(s.winner, 0), CASE s.winner WHEN 0 THEN 0 ELSE 100 END, a));
	by_call := test.try(format('SELECT decision FROM pay_transition(trade_no => %L, to_state => %L)',
		CASE s.winner WHEN 0 THEN b ELSE test.number('direct call', s.n::text, 1, s.winner) END, s.to_state));
	INSERT INTO direct_test.taken VALUES (s.n, by_update, by_call, test.states('direct update', s.n::text), test.states('direct call', s.n::text));
END
$$;
SELECT count(direct_test.take(s)) AS steps FROM direct_test.step s;
SELECT CASE WHEN by_update LIKE 'rows: _' THEN by_update ELSE left(by_update, 5) END AS by_update,
	CASE WHEN by_call LIKE 'PY%' THEN left(by_call, 5) ELSE by_call END AS by_call, update_states = call_states AS same, count(*)
FROM direct_test.taken GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
-- What passes is what the call does, to the state that was written; what the call refuses does not pass.
SELECT s.attempts, s.ends, s.to_state, t.* FROM direct_test.taken t JOIN direct_test.step s USING (n)
WHERE by_update = 'rows: 1' AND (update_states <> call_states OR by_call <> 'applied' AND by_call <> 'unchanged' OR split_part(update_states, ' ', 1) <> to_state);
-- What is refused though the call would do something: the call ends in another state, or finds that the money is not needed, or another attempt may be captured.
SELECT s.to_state, t.by_call, split_part(call_states, ' ', 1) AS becomes, left(by_update, 5) AS by_update, count(*)
FROM direct_test.taken t JOIN direct_test.step s USING (n) WHERE by_update NOT LIKE 'rows: %' AND by_call NOT LIKE 'PY%' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
-- Every refusal names what there is, and what to do or what is legal.
SELECT count(*) FROM direct_test.taken WHERE by_update LIKE 'PY%' AND by_update NOT LIKE '%DETAIL: %';

-- ---- after all of it ----

-- The payment is what follows from its attempts (D6 was over by time alone), its winner collected what it says.
SELECT p.merchant, p.order_no, p.state, p.winner, p.amount_collected, p.end_requested, b.attempts
FROM pay_payment p, LATERAL (SELECT array_agg(a.state::text ORDER BY a.attempt) AS attempts, max(a.amount_collected) FILTER (WHERE a.attempt = p.winner) AS won
	FROM pay_attempt a WHERE a.pay_no = p.pay_no) b
WHERE p.merchant IN ('direct', 'direct update') AND p.last_seq > 0 AND ((p.winner IS NOT NULL AND (p.state <> 'paid' OR b.won IS DISTINCT FROM p.amount_collected OR b.attempts[p.winner] <> 'paid'))
	OR (p.winner IS NULL AND p.state <> 'closed' AND p.replaced_by IS NULL AND p.state::text <> direct_test.follows(b.attempts, p.end_requested OR coalesce(p.valid_until < now(), false))));
SELECT count(*) > 1000 AS payments, count(*) FILTER (WHERE collected <> needed + surplus OR reserved + refunded > collected) AS wrong FROM pay_balance WHERE merchant LIKE 'direct%';
-- Each event begins where the one before ended, they are numbered without a gap, and the last says what is.
SELECT p.order_no, e.*
FROM pay_payment p JOIN (SELECT pay_no, seq, payment_before, payment_after, lag(payment_after) OVER w AS was, lead(seq) OVER w AS next FROM pay_event WINDOW w AS (PARTITION BY pay_no ORDER BY seq)) e USING (pay_no)
WHERE p.merchant IN ('direct', 'direct update') AND (payment_before <> was OR (next IS NULL) <> (seq = p.last_seq) OR next <> seq + 1 OR seq = p.last_seq AND payment_after <> p.state);
SELECT count(*) AS attempts_without_their_event FROM pay_attempt a JOIN pay_payment p USING (pay_no) JOIN direct_test.step s ON s.n::text = p.order_no
WHERE p.merchant = 'direct update' AND a.state::text <> s.attempts[a.attempt] AND NOT EXISTS (SELECT FROM pay_event e
	WHERE e.pay_no = a.pay_no AND e.attempt = a.attempt AND e.source = 'update' AND e.attempt_before::text = s.attempts[a.attempt] AND e.attempt_after = a.state);

DROP SCHEMA direct_test CASCADE;
