-- The evidence matrix: what every report does in every situation that a payment
-- can be in, as test/matrix/evidence.md says it. That file explains itself; here it
-- is read, each situation is built by the public functions, each report delivered,
-- and what came of it compared. A failing assertion names the situation and its line
-- in the file, and lists the cells: what was to come, and what came.

BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pay_idem;
SELECT pay_install();
-- Plans are made while the tables are empty, and then these grow.
SET LOCAL enable_seqscan = off;
SET LOCAL jit = off;
CREATE INDEX ON pay_review (pay_no);

CREATE SCHEMA evidence;

-- ---- the file ----

CREATE TABLE evidence.line (n integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text);
\copy evidence.line (text) FROM 'test/matrix/evidence.md' WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')

-- Its tables, each row with the heading that it is under.
CREATE TABLE evidence.written AS
SELECT n, heading, ARRAY(SELECT btrim(c) FROM unnest(string_to_array(btrim(text, '|'), '|')) WITH ORDINALITY AS u (c, i) ORDER BY i) AS cells
FROM evidence.line l, LATERAL (
	SELECT h.text FROM evidence.line h WHERE h.n < l.n AND h.text LIKE '#%' ORDER BY h.n DESC LIMIT 1) AS h (heading)
WHERE text LIKE '|%' AND text NOT LIKE '|-%';

-- What there is to see of a payment: in the words of the file the payment, its attempts
-- in their order, its reviews; the combinations that its attempts are in; the order
-- that replaced it; and what does not balance.
CREATE TYPE evidence.sight AS (payment text, attempts text[], states text[], reviews text[], seq integer, places text[], successor text,
	unbalanced text);

-- One row for each way in which a situation is built: which attempt is opened first.
CREATE TABLE evidence.situation (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line integer, payment text, to_end text,
	attempt text, other text, role text, a_is_first boolean, built_by text, cells text[],
	pay_no uuid, a integer, trade_no text, right_amount bigint, before evidence.sight, print text, failure text);
INSERT INTO evidence.situation (line, payment, to_end, attempt, other, role, a_is_first, built_by, cells)
SELECT n, substring(heading from '\w+'),
	CASE substring(heading from ', (.*)') WHEN 'asked to end' THEN 'asked' WHEN 'replaced' THEN 'replaced' ELSE 'no' END,
	cells[1], cells[2], b.role, a_is_first, cells[14], cells
FROM evidence.written JOIN (VALUES
	('current', 'current', false),
	('older', 'older', true),
	('both', 'current', false),
	('both', 'older', true),
	('winner', 'winner', false),
	('winner', 'winner', true)) AS b (written, role, a_is_first) ON cells[3] = written
WHERE heading LIKE '### %' AND (cells[2] <> '-' OR NOT a_is_first)
ORDER BY n, a_is_first;

CREATE TABLE evidence.impossible AS
SELECT string_to_array(cells[1], ', ') AS payments, string_to_array(cells[2], ', ') AS to_ends,
	string_to_array(cells[3], ', ') AS roles, string_to_array(cells[4], ', ') AS attempts
FROM evidence.written WHERE heading = '## What cannot be' AND cells[1] <> 'payment';

-- ---- the reports: which column, brought by whom, and what does not fit ----

CREATE TABLE evidence.report (n integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, col integer, way text, reported text, wrong text,
	source text, again_by text);
INSERT INTO evidence.report (col, way, reported)
SELECT n + 3, way, reported
FROM unnest('{paying,authorized,capturing,unknown,closing,failed,paid,closed,reversed}'::text[]) WITH ORDINALITY AS c (reported, n),
	unnest('{callback,transition}'::text[]) AS way
ORDER BY n, way;
INSERT INTO evidence.report (col, way, reported, wrong) VALUES
	(13, 'callback',   'authorized', 'amount'),
	(13, 'transition', 'authorized', 'amount'),
	(13, 'callback',   'paid',       'amount'),
	(13, 'transition', 'paid',       'amount'),
	(13, 'callback',   'authorized', 'currency'),
	(13, 'callback',   'paid',       'currency'),
	(13, 'transition', 'paid',       'currency'),
	(13, 'callback',   'paid',       'channel'),
	(13, 'callback',   'failed',     'channel'),
	(13, 'callback',   'capturing',  'amount'),
	(13, 'callback',   'paid',       'transaction'),
	(13, 'transition', 'paid',       'transaction'),
	(5,  'callback',   'authorized', 'time'),
	(5,  'callback',   'authorized', 'time (none)');
-- What a late authorization does otherwise than one that is told at once.
CREATE TABLE evidence.late AS
SELECT string_to_array(cells[1], ', ') AS attempts, btrim(cells[2], '`') AS cell FROM evidence.written
WHERE heading = '## Late news of an authorization' AND cells[1] <> 'attempt';
UPDATE evidence.report SET
	source = CASE WHEN way = 'transition' THEN way WHEN wrong = 'channel' THEN 'callback:alipay' ELSE 'callback:test' END,
	again_by = CASE WHEN wrong IS NOT NULL OR reported NOT IN ('paid', 'authorized') THEN way
		WHEN way = 'callback' THEN 'transition' ELSE 'callback' END;

-- Delivers one. A callback must say how much it is, the caller's own step means the
-- attempt's own amount. right_amount is what the attempt is to collect, or has collected.
-- Of an error the SQLSTATE is the decision.
CREATE FUNCTION evidence.tell(way text, trade_no text, reported text, right_amount bigint, wrong text DEFAULT NULL, message_id text DEFAULT NULL,
	OUT decision text, OUT state text, OUT attempt_state text, OUT refund_no text)
LANGUAGE plpgsql AS $$
DECLARE
	is_money CONSTANT boolean := reported IN ('paid', 'authorized');
	told_amount CONSTANT bigint := CASE
		WHEN reported = 'capturing' AND wrong = 'amount' THEN 101
		WHEN wrong = 'amount' THEN CASE WHEN reported = 'authorized' OR right_amount = 100 THEN 99 ELSE 100 END
		WHEN NOT is_money OR way = 'transition' THEN NULL
		WHEN reported = 'authorized' THEN 100
		ELSE right_amount END;
	told_currency CONSTANT text := CASE WHEN wrong = 'currency' THEN 'USD' WHEN is_money AND way = 'callback' THEN 'CNY' END;
	transaction CONSTANT text := CASE WHEN wrong = 'transaction' THEN 'T3' WHEN reported = 'paid' AND way = 'callback' THEN 'T1' END;
BEGIN
	IF way = 'callback' THEN
		SELECT r.decision, r.state, r.attempt_state, r.refund_no INTO decision, state, attempt_state, refund_no
		FROM pay_callback(channel => CASE wrong WHEN 'channel' THEN 'alipay' ELSE 'test' END, callback_id => message_id, trade_no => trade_no,
			reported => reported, amount => told_amount, currency => told_currency, channel_txn => transaction,
			occurred_at => CASE wrong WHEN 'time' THEN '2001-01-01 00:00 UTC' WHEN 'time (none)' THEN NULL ELSE clock_timestamp() END) AS r;
	ELSE
		SELECT r.decision, r.state, r.attempt_state, r.refund_no INTO decision, state, attempt_state, refund_no
		FROM pay_transition(trade_no => trade_no, to_state => reported, amount => told_amount, currency => told_currency,
			channel_txn => transaction, request_id => message_id) AS r;
	END IF;
EXCEPTION WHEN OTHERS THEN
	decision := SQLSTATE;
END
$$;

-- ---- what there is to see of a payment ----

-- A refund that is as it must be is +s or +x, any other is spelled out.
CREATE FUNCTION evidence.refund(r pay_refund, a pay_attempt) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT CASE
		WHEN r.state <> 'requested' OR r.adopted THEN format(' +%s', r)
		WHEN (r.kind, r.amount, r.refund_no) = ('surplus', a.amount_collected, replace(a.trade_no::text, '-', '') || 's') THEN ' +s'
		WHEN (r.kind, r.amount) = ('extra', a.amount_extra) AND r.refund_no ~ ('^' || replace(a.trade_no::text, '-', '') || 'x[0-9a-f]{16}$') THEN ' +x'
		ELSE format(' +%s', r) END
$$;

CREATE FUNCTION evidence.look(this uuid) RETURNS evidence.sight LANGUAGE plpgsql STABLE AS $$
DECLARE
	seen evidence.sight;
BEGIN
	WITH p AS (
		SELECT p.*, CASE WHEN replaced_by IS NOT NULL THEN 'replaced' WHEN end_requested THEN 'asked' ELSE 'no' END AS to_end
		FROM pay_payment p WHERE p.pay_no = this
	), a AS (
		SELECT a.*, a.state::text || CASE
				WHEN a.state = 'paid' THEN
					CASE WHEN a.amount_collected <> a.amount THEN ' ' || a.amount_collected ELSE '' END
					|| CASE WHEN a.attempt = p.winner THEN ' *' ELSE '' END
				WHEN a.state = 'capturing' AND a.amount_to_capture <> a.amount THEN ' ' || a.amount_to_capture
				WHEN a.state = 'unknown' AND a.amount_to_capture IS NOT NULL THEN ' after capture'
				ELSE '' END
			|| coalesce((SELECT string_agg(evidence.refund(r, a), '' ORDER BY r.kind DESC, r.refund_no) FROM pay_refund r
				WHERE r.pay_no = this AND r.attempt = a.attempt), '') AS words,
			CASE WHEN a.attempt = p.winner THEN 'winner' WHEN a.attempt = cardinality(p.routes) THEN 'current' ELSE 'older' END AS role
		FROM p, pay_attempt a WHERE a.trade_no = ANY (pay_trade_nos(p.pay_no, p.routes))
	)
	SELECT INTO seen
		p.state,
		(SELECT array_agg(words ORDER BY attempt) FROM a),
		(SELECT array_agg(state::text ORDER BY attempt) FROM a),
		ARRAY(SELECT CASE WHEN kind = 'mismatch' AND about_money = (reported IN ('paid', 'authorized')) AND verdict IS NULL
				THEN '+review' ELSE format('+%s review%s', kind, ' resolved by ' || verdict) END
			FROM pay_review v WHERE v.pay_no = this ORDER BY review_id),
		p.last_seq,
		(SELECT array_agg(concat_ws(' ', p.state, p.to_end, role, a.state) ORDER BY attempt) FROM a),
		(SELECT s::text FROM pay_payment s WHERE s.pay_no = p.replaced_by),
		-- the money identity, and what is still to be closed
		(SELECT CASE WHEN count(*) = 1 AND bool_and(b.collected = b.needed + b.surplus AND b.reserved + b.refunded <= b.collected
					AND b.refundable = b.collected - b.reserved - b.refunded
					AND b.to_close = CASE WHEN p.state IN ('paid', 'closed', 'reversed') OR p.to_end = 'replaced'
						THEN (SELECT count(*) FROM a WHERE state IN ('paying', 'authorized', 'capturing', 'unknown', 'closing')) ELSE 0 END)
				THEN NULL ELSE coalesce(string_agg(b::text, '; '), 'no row') END
			FROM pay_balance b WHERE b.pay_no = this)
	FROM p;
	RETURN seen;
END
$$;

-- Changes when anything of the payment does.
CREATE FUNCTION evidence.print(this uuid) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN md5(string_agg(row, E'\n')) FROM (
		SELECT p::text AS row FROM pay_payment p WHERE p.pay_no = this
		UNION ALL (SELECT a::text FROM pay_payment p, pay_attempt a WHERE p.pay_no = this AND a.trade_no = ANY (pay_trade_nos(p.pay_no, p.routes))
			ORDER BY a.trade_no)
		UNION ALL (SELECT r::text FROM pay_refund r WHERE r.pay_no = this ORDER BY r.refund_no)
		UNION ALL (SELECT v::text FROM pay_review v WHERE v.pay_no = this ORDER BY v.review_id)
		UNION ALL (SELECT e::text FROM pay_event e WHERE e.pay_no = this ORDER BY e.seq)) AS rows;
END
$$;

-- ---- building a situation ----

CREATE FUNCTION evidence.open(order_no text, n integer, replaces text DEFAULT NULL) RETURNS uuid LANGUAGE sql AS $$
	SELECT pay_number(pay_no) FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => 'evidence', channel => 'test',
		method => 'test', request_id => 'R' || n, multi => true, replaces => replaces)
$$;
CREATE FUNCTION evidence.trade_no(pay_no uuid, n integer) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT (pay_trade_nos(p.pay_no, p.routes))[n]::text FROM pay_payment p WHERE p.pay_no = trade_no.pay_no
$$;
-- What an attempt is to collect, or has collected.
CREATE FUNCTION evidence.right_amount(trade_no text) RETURNS bigint LANGUAGE sql STABLE AS $$
	SELECT coalesce(amount_collected, amount_to_capture, amount) FROM pay_attempt a WHERE a.trade_no = right_amount.trade_no::uuid
$$;

CREATE FUNCTION evidence.build(s evidence.situation) RETURNS evidence.situation LANGUAGE plpgsql AS $$
DECLARE
	order_no CONSTANT text := 'situation ' || s.id;
	step text[];
	trade_no text;
BEGIN
	s.a := CASE WHEN s.other = '-' OR s.a_is_first THEN 1 ELSE 2 END;
	s.pay_no := evidence.open(order_no, 1);
	IF s.other <> '-' THEN
		PERFORM evidence.open(order_no, 2);
	END IF;
	FOR step IN SELECT regexp_split_to_array(w, '[:=]') FROM regexp_split_to_table(s.built_by, ' ') WITH ORDINALITY AS u (w, i)
		WHERE w <> '-' ORDER BY i LOOP
		trade_no := CASE step[1] WHEN 'a' THEN evidence.trade_no(s.pay_no, s.a) WHEN 'b' THEN evidence.trade_no(s.pay_no, 3 - s.a) END;
		CASE
			WHEN step[1] = 'replaced' THEN
				PERFORM evidence.open(order_no || ' anew', 1, replaces => order_no);
			WHEN step[1] = 'all' THEN
				PERFORM pay_transition(trade_no => s.pay_no::text, to_state => step[2]);
			WHEN step[2] = 'capture' THEN
				PERFORM pay_transition(trade_no => trade_no, to_state => 'capturing', amount => step[3]::bigint);
			WHEN step[2] = 'sent-back' THEN
				IF step[3] = 'again' THEN
					PERFORM pay_callback(channel => 'test', callback_id => NULL, trade_no => trade_no,
						reported => 'paid', amount => 100, currency => 'CNY', channel_txn => 'T2');
				ELSE
					PERFORM evidence.tell('callback', trade_no, 'paid', 99);
				END IF;
				PERFORM pay_review_resolve(review_id, 'refund', 'not what was agreed')
				FROM pay_review v WHERE v.pay_no = s.pay_no AND verdict IS NULL;
			ELSE
				PERFORM evidence.tell('callback', trade_no, step[2], evidence.right_amount(trade_no));
		END CASE;
	END LOOP;
	s.trade_no := evidence.trade_no(s.pay_no, s.a);
	s.right_amount := evidence.right_amount(s.trade_no);
	s.before := evidence.look(s.pay_no);
	s.print := evidence.print(s.pay_no);
	RETURN s;
EXCEPTION WHEN OTHERS THEN
	s.failure := 'not built: ' || SQLERRM;
	RETURN s;
END
$$;

-- ---- a cell: one report in one situation ----

-- What was to come and what came, and in the other columns what else is wrong.
CREATE TABLE evidence.cell (situation integer, report integer, expected text, got text, places text[],
	event text, replayed text, retold text, unbalanced text, elsewhere text);

-- What came of a report, in the words of the file.
CREATE FUNCTION evidence.in_words(decision text, a integer, before evidence.sight, after evidence.sight) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN concat_ws(' ', nullif(decision, 'applied'),
		CASE WHEN decision IN ('applied', 'surplus') OR (after.payment, after.attempts[a]) IS DISTINCT FROM (before.payment, before.attempts[a])
			THEN after.states[a] || '/' || after.payment END,
		(SELECT string_agg('+' || refund, ' ' ORDER BY i)
			FROM unnest(string_to_array(after.attempts[a], ' +')) WITH ORDINALITY AS u (refund, i)
			WHERE i > 1 AND position(' +' || refund IN before.attempts[a]) = 0),
		nullif(array_to_string(after.reviews[cardinality(before.reviews) + 1:], ' '), ''));
END
$$;

CREATE FUNCTION evidence.deliver(s evidence.situation, r evidence.report) RETURNS evidence.cell LANGUAGE plpgsql AS $$
DECLARE
	cell CONSTANT text := coalesce((SELECT l.cell FROM evidence.late l WHERE r.wrong LIKE 'time%' AND s.attempt = ANY (l.attempts)), s.cells[r.col]);
	a CONSTANT integer := s.a;
	before CONSTANT evidence.sight := s.before;
	after evidence.sight;
	later evidence.sight;
	print text;
	answer record;
	again record;
	c evidence.cell;
BEGIN
	c.situation := s.id;
	c.report := r.n;
	c.expected := CASE WHEN cell NOT LIKE '% !' THEN cell WHEN r.way = 'transition' THEN 'PY409' ELSE rtrim(cell, ' !') END;
	IF s.failure IS NOT NULL THEN
		c.got := s.failure;
		RETURN c;
	END IF;
	BEGIN
		answer := evidence.tell(r.way, s.trade_no, r.reported, s.right_amount, r.wrong, 'M1');
		after := evidence.look(s.pay_no);
		IF answer.state IS NULL THEN
			c.got := answer.decision;
			c.event := CASE WHEN evidence.print(s.pay_no) <> s.print THEN format('refused, and now %s', after) END;
		ELSE
			c.got := evidence.in_words(answer.decision, a, before, after);

			-- The answer and the event say what the tables say: what was reported, by which
			-- message, and all four states.
			SELECT format('%s; events: %s', answer, string_agg(e::text, '; ' ORDER BY e.seq)) INTO c.event
			FROM pay_event e WHERE e.pay_no = s.pay_no AND e.seq > before.seq
			HAVING (answer.state, answer.attempt_state) IS DISTINCT FROM (after.payment, after.states[a])
				OR c.got LIKE '%+s' AND answer.refund_no IS DISTINCT FROM replace(s.trade_no, '-', '') || 's'
				OR count(*) FILTER (WHERE e.message_id = 'M1' AND e.source = r.source AND e.attempt = a
					AND (e.reported::text, e.decision::text) = (r.reported, answer.decision)
					AND (e.payment_before::text, e.payment_after::text) = (before.payment, after.payment)
					AND (e.attempt_before::text, e.attempt_after::text) = (before.states[a], after.states[a])) <> 1
				-- and a refund that is opened has an event of its own
				OR count(*) FILTER (WHERE e.message_id IS NULL AND e.source = 'refund' AND e.attempt = a AND e.refund_no = answer.refund_no
					AND (e.refund_before IS NULL, e.refund_after::text) = (true, 'requested')
					AND (e.payment_before, e.attempt_before) = (e.payment_after, e.attempt_after)) <> count(*) - 1
				OR count(*) <> CASE WHEN c.got LIKE '%+s' THEN 2 ELSE 1 END
				-- what it collected
				OR after.states[a] = 'paid' AND coalesce(substring(after.attempts[a] from '^paid (\d+)')::bigint, 100) <> s.right_amount;

			-- the same message again
			print := evidence.print(s.pay_no);
			again := evidence.tell(r.way, s.trade_no, r.reported, s.right_amount, r.wrong, 'M1');
			IF (again.decision, again.state, again.attempt_state, again.refund_no)
				IS DISTINCT FROM ('replayed', answer.state, answer.attempt_state, answer.refund_no)
				OR evidence.print(s.pay_no) <> print
			THEN
				c.replayed := format('%s, then %s; now %s', answer, again, evidence.look(s.pay_no));
			END IF;

			-- the same news again, by another message: by the other way, where that is news too
			again := evidence.tell(r.again_by, s.trade_no, r.reported, s.right_amount, r.wrong);
			later := evidence.look(s.pay_no);
			IF again.decision IS DISTINCT FROM (CASE WHEN answer.decision IN ('applied', 'surplus') THEN 'unchanged' ELSE answer.decision END)
				OR (later.payment, later.attempts, later.reviews) IS DISTINCT FROM (after.payment, after.attempts, after.reviews)
			THEN
				c.retold := format('%s, then %s; now %s', answer, again, later);
			END IF;
			c.unbalanced := later.unbalanced;
		END IF;
		c.places := after.places;
		IF (after.attempts[3 - a], after.successor) IS DISTINCT FROM (before.attempts[3 - a], before.successor) THEN
			c.elsewhere := format('now %s', after);
		END IF;
		RAISE EXCEPTION SQLSTATE 'UNDO0';		-- for the next report all is as it was
	EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
		RETURN c;
	END;
END
$$;

-- Only what is paid already can be paid by another transaction.
CREATE FUNCTION evidence.applies(s evidence.situation, r evidence.report) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
	SELECT r.wrong IS DISTINCT FROM 'transaction' OR s.attempt LIKE 'paid%'
$$;

DO $$
DECLARE
	s evidence.situation;
	r evidence.report;
BEGIN
	FOR s IN SELECT * FROM evidence.situation ORDER BY id LOOP
		s := evidence.build(s);
		UPDATE evidence.situation SET before = s.before, a = s.a, failure = s.failure WHERE id = s.id;
		FOR r IN SELECT * FROM evidence.report WHERE evidence.applies(s, report) ORDER BY n LOOP
			INSERT INTO evidence.cell SELECT * FROM evidence.deliver(s, r);
		END LOOP;
	END LOOP;
END
$$;

-- ---- what it says ----

SELECT plan(13 + count(*)::integer) FROM evidence.situation;

SELECT is_empty(
	$$SELECT n, cells FROM evidence.written WHERE heading LIKE '### %'
		AND cells <> '{attempt,other,role,paying,authorized,capturing,unknown,closing,failed,paid,closed,reversed,does not fit,built by}'
		AND (cardinality(cells) <> 14 OR cells[3] <> ALL ('{current,older,both,winner}'))$$,
	'every row of the file is understood');

SELECT is_empty($$SELECT attempts FROM evidence.late WHERE NOT EXISTS (SELECT FROM evidence.situation s WHERE s.attempt = ANY (attempts))
	UNION ALL SELECT '{none}' WHERE NOT EXISTS (SELECT FROM evidence.late)$$, 'every late authorization that the file names is of a situation here');
-- Every combination is a row, or is said to be impossible: one or the other.
CREATE VIEW evidence.combination AS
SELECT concat_ws(' ', p.state, e.to_end, o.role, a.state) AS place,
	EXISTS (SELECT FROM evidence.situation s WHERE (s.payment, s.to_end, s.role, split_part(s.attempt, ' ', 1))
		= (p.state, e.to_end, o.role, a.state)) AS is_row,
	EXISTS (SELECT FROM evidence.impossible i WHERE p.state = ANY (payments) AND ARRAY[e.to_end, 'any'] && to_ends
		AND ARRAY[o.role, 'any'] && roles AND ARRAY[a.state, 'any'] && attempts) AS is_impossible
FROM (SELECT from_state FROM pay_steps() WHERE machine = 'payment' UNION SELECT to_state FROM pay_steps() WHERE machine = 'payment') AS p (state),
	(VALUES ('no'), ('asked'), ('replaced')) AS e (to_end),
	(VALUES ('current'), ('older'), ('winner')) AS o (role),
	(SELECT DISTINCT to_state FROM pay_steps() WHERE machine = 'attempt') AS a (state);
SELECT is(count(*)::integer, 10 * 3 * 3 * 9, 'every state of a payment, to end or not, role, and state of an attempt') FROM evidence.combination;
SELECT is_empty('SELECT place FROM evidence.combination WHERE NOT is_row AND NOT is_impossible', 'none is left out');
SELECT is_empty('SELECT place FROM evidence.combination WHERE is_row AND is_impossible', 'and none that is impossible has a row');

SELECT is_empty(
	$$SELECT line, built_by, (before).places[a], (before).attempts, failure FROM evidence.situation
		WHERE (before).places[a] IS DISTINCT FROM concat_ws(' ', payment, to_end, role, split_part(attempt, ' ', 1))
			OR (before).attempts[a] IS DISTINCT FROM attempt
			OR coalesce((before).attempts[3 - a], '-') IS DISTINCT FROM other$$,
	'every situation was built as it is written');
SELECT is_empty(
	$$SELECT s.line, c.report, place FROM evidence.cell c JOIN evidence.situation s ON s.id = c.situation, unnest(c.places) AS place
		JOIN evidence.combination USING (place) WHERE is_impossible$$,
	'no report leads to a combination that is said to be impossible');

SELECT is_empty(
	$$SELECT s.id, r.n FROM evidence.situation s, evidence.report r WHERE evidence.applies(s, r) EXCEPT SELECT situation, report FROM evidence.cell$$,
	'every report was delivered in every situation');

-- The cells. Each situation is an assertion.
CREATE VIEW evidence.named AS
SELECT c.*, s.line, concat_ws(' ', r.reported, 'by ' || r.way, 'with another ' || r.wrong) AS told
FROM evidence.cell c JOIN evidence.situation s ON s.id = c.situation JOIN evidence.report r ON r.n = c.report;

SELECT is(
	(SELECT string_agg(format('%s: expected %s, got %s', told, expected, got), E'\n' ORDER BY report)
		FROM evidence.named c WHERE c.situation = s.id AND got IS DISTINCT FROM expected),
	NULL,
	format('%s%s: %s attempt is %s%s (line %s)', payment, CASE to_end WHEN 'asked' THEN ', asked to end' WHEN 'replaced' THEN ', replaced' END,
		role, attempt, ', the other ' || nullif(other, '-'), line))
FROM evidence.situation s ORDER BY id;

SELECT is_empty('SELECT line, situation, told, event FROM evidence.named WHERE event IS NOT NULL',
	'answer, event and tables say the same; what is refused changes nothing');
SELECT is_empty('SELECT line, situation, told, replayed FROM evidence.named WHERE replayed IS NOT NULL',
	'the same message again is replayed, with the first answer, and changes nothing');
SELECT is_empty('SELECT line, situation, told, retold FROM evidence.named WHERE retold IS NOT NULL',
	'the same news by another message changes nothing, opens no second refund and no second review');
SELECT is_empty('SELECT line, situation, told, unbalanced FROM evidence.named WHERE unbalanced IS NOT NULL',
	'collected = needed + surplus, reserved + refunded <= collected, and what is to be closed is counted');
SELECT is_empty('SELECT line, situation, told, elsewhere FROM evidence.named WHERE elsewhere IS NOT NULL',
	'the other attempt and the order that replaced this one are untouched');

SELECT * FROM finish();
ROLLBACK;
