-- A stored row is input: a row that no function of pay_idem would have written
-- (an owner's hand, a careless import) is an error that names table, key and
-- column, never a crash; and the queue passes such a payment by, noting it once.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA damage_test;

-- An order under way, one that is paid and has a refund to submit, one that holds
-- something, one in an open case; and one beside them that nobody touches.
SELECT o.n, p.decision FROM unnest('{D1,D2,sound}'::text[]) AS o (n), pay_prepay(order_no => o.n, amount => 100, currency => 'CNY',
	merchant => 'damage', channel => 'test', method => 'test', request_id => 'R1') AS p;
CREATE FUNCTION damage_test.trade_no(order_no text) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT p.trade_no FROM pay_query(trade_no.order_no, 'damage') AS p
$$;
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => damage_test.trade_no('D2'), reported => 'paid', amount => 100, currency => 'CNY');
SELECT decision FROM pay_refund(trade_no => damage_test.trade_no('D2'), refund_no => 'damage 1', amount => 60, reason => 'too late');
SELECT decision FROM pay_dispute_open(trade_no => damage_test.trade_no('D2'), duplicate_of => damage_test.trade_no('D1'), reason => 'twice');
INSERT INTO pay_resource (merchant, resource, external) VALUES ('damage', 'miles', true);
SELECT decision FROM pay_prepay(order_no => 'D3', amount => 100, currency => 'CNY', merchant => 'damage', channel => 'test', method => 'qr', request_id => 'R1',
	valid_for => '1 hour', holds => '{miles:P1}');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => damage_test.trade_no('D3'), reported => 'paid', amount => 100, currency => 'CNY');
-- A review of D1 that a person must resolve.
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C0', trade_no => damage_test.trade_no('D1'), reported => 'paid', amount => 99, currency => 'CNY');

-- Does what no function, CHECK or guard would let through, and leaves the table as
-- strict as it was for rows to come; or, weakened, with CHECKs of the same names that
-- an owner replaced.
CREATE FUNCTION damage_test.force(relation regclass, statement text, weakened boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	item record;
	undo text[] := '{}';
BEGIN
	FOR item IN SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE conrelid = relation AND contype = 'c'
	LOOP
		EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', relation, item.conname);
		undo := undo || format('ALTER TABLE %s ADD CONSTRAINT %I %s NOT VALID', relation, item.conname,
			CASE WHEN weakened THEN 'CHECK (true)' ELSE replace(item.definition, ' NOT VALID', '') END);
	END LOOP;
	FOR item IN SELECT attname FROM pg_attribute a WHERE attrelid = relation AND attnum > 0 AND attnotnull AND attidentity = ''
		AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = relation AND indisprimary AND a.attnum = ANY (indkey))
	LOOP
		EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', relation, item.attname);
	END LOOP;
	SET LOCAL session_replication_role = replica;
	EXECUTE statement;
	SET LOCAL session_replication_role = origin;
	FOR i IN 1 .. cardinality(undo)
	LOOP
		EXECUTE undo[i];
	END LOOP;
END
$$;

-- Reviews of damage; not those that another test's rows have.
CREATE VIEW damage_test.review AS
SELECT * FROM pay_review WHERE kind = 'damaged' AND trade_no <> '019b76da80008000800123456789abcd'
	AND (pay_no IS NULL OR pay_no IN (SELECT pay_no FROM pay_payment WHERE merchant = 'damage'));

-- What a call answers: the decision; of an error the SQLSTATE, and what it says is kept.
CREATE FUNCTION damage_test.ask(call text, INOUT said text, OUT answer text) LANGUAGE plpgsql AS $$
DECLARE
	message text;
	facts text;
BEGIN
	EXECUTE call INTO answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, facts = PG_EXCEPTION_DETAIL;
	answer := SQLSTATE;
	said := coalesce(said, message || ' | ' || facts);
END
$$;

CREATE TYPE damage_test.answers AS (prepay text, query text, callback text, credential text, refund text, refund_step text, history text, review text,
	dispute text, hold text, claimed text, noted bigint, said text);
CREATE FUNCTION damage_test.judge(relation regclass, statement text, weakened boolean) RETURNS damage_test.answers LANGUAGE plpgsql AS $$
DECLARE
	a damage_test.answers;
	d1 CONSTANT text := quote_literal(damage_test.trade_no('D1'));
	d2 CONSTANT text := quote_literal(damage_test.trade_no('D2'));
	d3 CONSTANT text := quote_literal(damage_test.trade_no('D3'));
	call text;
	item record;
BEGIN
	BEGIN
		-- All that is queued is due.
		SET LOCAL session_replication_role = replica;
		UPDATE pay_task SET due_at = now() - interval '1 hour'
		WHERE pay_no IN (SELECT pay_no FROM pay_payment WHERE merchant = 'damage');
		UPDATE pay_attempt SET check_at = NULL;
		UPDATE pay_refund SET check_at = NULL;
		UPDATE pay_hold SET check_at = NULL;
		SET LOCAL session_replication_role = origin;
		PERFORM damage_test.force(relation, replace(replace(replace(statement, '$1', d1), '$2', d2), '$3', d3), weakened);
		FOR item IN SELECT * FROM (VALUES
			('prepay', $c$SELECT decision FROM pay_prepay(order_no => 'D1', amount => 100, currency => 'CNY', merchant => 'damage', channel => 'test', method => 'test', request_id => 'R1')$c$),
			('query', $c$SELECT decision FROM pay_query('D1', 'damage')$c$),
			('callback', format($c$SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => %s, reported => 'failed')$c$, d1)),
			('credential', format($c$SELECT decision FROM pay_credential(%s, 'code', '1 hour')$c$, d1)),
			('refund', format($c$SELECT decision FROM pay_refund(trade_no => %s, refund_no => 'damage 2', amount => 1, reason => 'more')$c$, d2)),
			('refund_step', $c$SELECT decision FROM pay_refund_transition(refund_no => 'damage 1', to_state => 'processing', merchant => 'damage')$c$),
			('history', format($c$SELECT count(*)::text FROM pay_history(%s)$c$, d1)),
			('review', $c$SELECT decision FROM pay_review_resolve((SELECT max(review_id) FROM pay_review WHERE message_id = 'C0' AND seq > 1 AND kind = 'mismatch'
				AND pay_no = (SELECT pay_no FROM pay_payment WHERE (merchant, order_no) = ('damage', 'D1'))), 'dismiss', 'seen')$c$),
			('dispute', $c$SELECT decision FROM pay_dispute_resolve((SELECT max(dispute_id) FROM pay_dispute), 'reject', 'seen')$c$),
			('hold', format($c$SELECT decision FROM pay_hold_done(%s, 'miles:P1', 'tried')$c$, d3)),
			('claimed', $c$SELECT string_agg(c.order_no || ' ' || c.action, ', ' ORDER BY c.order_no) FROM pay_claim('w', 10000, '1 minute') AS c WHERE c.merchant = 'damage'$c$)
			) AS t (name, call)
		LOOP
			DECLARE
				asked record;
			BEGIN
				-- one call does not see what the other did
				BEGIN
					asked := damage_test.ask(item.call, a.said);
					IF item.name = 'claimed' THEN
						PERFORM count(*) FROM pay_claim('w', 10000, '1 minute');
						a.noted := (SELECT count(*) FROM damage_test.review);
						SELECT coalesce(a.said, r.detail) INTO a.said FROM damage_test.review r;
					END IF;
					a.said := coalesce(a.said, asked.said);
					RAISE EXCEPTION 'undone' USING ERRCODE = 'UNDO1';
				EXCEPTION WHEN SQLSTATE 'UNDO1' THEN NULL;
				END;
				CASE item.name
					WHEN 'prepay' THEN a.prepay := asked.answer;
					WHEN 'query' THEN a.query := asked.answer;
					WHEN 'callback' THEN a.callback := asked.answer;
					WHEN 'credential' THEN a.credential := asked.answer;
					WHEN 'refund' THEN a.refund := asked.answer;
					WHEN 'refund_step' THEN a.refund_step := asked.answer;
					WHEN 'history' THEN a.history := asked.answer;
					WHEN 'review' THEN a.review := asked.answer;
					WHEN 'dispute' THEN a.dispute := asked.answer;
					WHEN 'hold' THEN a.hold := asked.answer;
					WHEN 'claimed' THEN a.claimed := asked.answer;
				END CASE;
			END;
		END LOOP;
		RAISE EXCEPTION 'undone' USING ERRCODE = 'UNDO2';
	EXCEPTION WHEN SQLSTATE 'UNDO2' THEN NULL;
	END;
	a.said := regexp_replace(a.said, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}', 'N', 'g');
	a.said := regexp_replace(a.said, 'id=\d+|: \d+|due_at=.*? \w+(?=:)', 'X', 'g');
	RETURN a;
END
$$;

CREATE TABLE damage_test.damage (n integer GENERATED ALWAYS AS IDENTITY, name text, relation regclass, statement text);
INSERT INTO damage_test.damage (name, relation, statement) VALUES
	('nothing', 'pay_payment', 'SELECT'),
	('payment: no currency', 'pay_payment', $$UPDATE pay_payment SET currency = NULL WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('payment: no state', 'pay_payment', $$UPDATE pay_payment SET state = NULL WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('payment: no routes', 'pay_payment', $$UPDATE pay_payment SET routes = NULL WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('payment: routes in two dimensions', 'pay_payment', $$UPDATE pay_payment SET routes = '{{1}}' WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('payment: a route is NULL', 'pay_payment', $$UPDATE pay_payment SET routes = '{NULL}' WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('payment: 64 routes', 'pay_payment', $$UPDATE pay_payment SET routes = array_fill(1::smallint, '{64}') WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('payment: one route too many', 'pay_payment', $$UPDATE pay_payment SET routes = '{1,1}' WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('payment: a route that is none', 'pay_payment', $$UPDATE pay_payment SET routes = '{-1}' WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('payment: winner 9 of 1', 'pay_payment', $$UPDATE pay_payment SET winner = 9 WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('payment: winner -1', 'pay_payment', $$UPDATE pay_payment SET winner = -1 WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('payment: gone', 'pay_payment', $$DELETE FROM pay_payment WHERE (merchant, order_no) = ('damage', 'D1')$$),
	('attempt: gone', 'pay_attempt', $$DELETE FROM pay_attempt WHERE trade_no = $1::uuid$$),
	('attempt: number 7', 'pay_attempt', $$UPDATE pay_attempt SET attempt = 7 WHERE trade_no = $1::uuid$$),
	('attempt: number -7', 'pay_attempt', $$UPDATE pay_attempt SET attempt = -7 WHERE trade_no = $1::uuid$$),
	('attempt: of another payment', 'pay_attempt', $$UPDATE pay_attempt SET pay_no = $2::uuid WHERE trade_no = $1::uuid$$),
	('attempt: no state', 'pay_attempt', $$UPDATE pay_attempt SET state = NULL WHERE trade_no = $1::uuid$$),
	('attempt: no request', 'pay_attempt', $$UPDATE pay_attempt SET request_id = NULL WHERE trade_no = $1::uuid$$),
	('channel: no schedule', 'pay_channel', $$UPDATE pay_channel SET schedule = NULL WHERE route = 1$$),
	('channel: a wait is NULL', 'pay_channel', $$UPDATE pay_channel SET schedule = '{NULL}' WHERE route = 1$$),
	('channel: waits in two dimensions', 'pay_channel', $$UPDATE pay_channel SET schedule = '{{1s}}' WHERE route = 1$$),
	('channel: waits from 0', 'pay_channel', $$UPDATE pay_channel SET schedule = '[0:0]={1s}' WHERE route = 1$$),
	('channel: no waits', 'pay_channel', $$UPDATE pay_channel SET schedule = '{}' WHERE route = 1$$),
	('channel: for ever', 'pay_channel', $$UPDATE pay_channel SET resubmit_after = '178000000 years', timeout = '178000000 years', schedule = '{178000000 years}' WHERE route = 1$$),
	('channel: for ever less for ever', 'pay_channel', $$UPDATE pay_channel SET resubmit_after = '5000000 years -1826250000 days', timeout = '-178000000 years' WHERE route = 1$$),
	('channel: route gone', 'pay_channel', $$DELETE FROM pay_channel WHERE route = 1$$),
	('event: no source', 'pay_event', $$UPDATE pay_event SET source = NULL WHERE seq = 1 AND pay_no = (SELECT pay_no FROM pay_payment WHERE (merchant, order_no) = ('damage', 'D1'))$$),
	('event: one too many', 'pay_event', $$INSERT INTO pay_event (pay_no, seq, decision, payment_after, source) SELECT pay_no, last_seq + 1, 'applied', 'failed', 'by hand' FROM pay_payment WHERE merchant = 'damage'$$),
	('event: of attempt 99', 'pay_event', $$UPDATE pay_event SET attempt = 99 WHERE message_id = 'C0' AND pay_no = (SELECT pay_no FROM pay_payment WHERE (merchant, order_no) = ('damage', 'D1'))$$),
	('review: no kind', 'pay_review', $$UPDATE pay_review SET kind = NULL WHERE message_id = 'C0' AND pay_no = (SELECT pay_no FROM pay_payment WHERE (merchant, order_no) = ('damage', 'D1'))$$),
	('review: of attempt 99', 'pay_review', $$UPDATE pay_review SET attempt = 99 WHERE message_id = 'C0' AND pay_no = (SELECT pay_no FROM pay_payment WHERE (merchant, order_no) = ('damage', 'D1'))$$),
	('refund: of attempt 9', 'pay_refund', $$UPDATE pay_refund SET attempt = 9 WHERE refund_no = 'damage 1'$$),
	('refund: of attempt 0', 'pay_refund', $$UPDATE pay_refund SET attempt = 0 WHERE refund_no = 'damage 1'$$),
	('refund: no kind', 'pay_refund', $$UPDATE pay_refund SET kind = NULL WHERE refund_no = 'damage 1'$$),
	('refund: of no payment', 'pay_refund', $$UPDATE pay_refund SET pay_no = '019b76da-8000-8000-8001-dddddddddddd' WHERE refund_no = 'damage 1'$$),
	('dispute: no reason', 'pay_dispute', $$UPDATE pay_dispute SET reason = NULL$$),
	('dispute: of no payment', 'pay_dispute', $$UPDATE pay_dispute SET other_pay_no = '019b76da-8000-8000-8001-dddddddddddd'$$),
	('hold: no state', 'pay_hold', $$UPDATE pay_hold SET state = NULL WHERE resource = 'miles:P1'$$),
	('hold: in a state of its own', 'pay_hold', $$UPDATE pay_hold SET state = 'mislaid' WHERE resource = 'miles:P1'$$),
	('task: of attempt -5', 'pay_task', $$UPDATE pay_task SET attempt = -5 WHERE refund_no = 'damage 1'$$),
	('task: of attempt 9', 'pay_task', $$UPDATE pay_task SET attempt = 9 WHERE refund_no = 'damage 1'$$),
	('task: -32768 tries', 'pay_task', $$UPDATE pay_task SET tries = -32768, claimed_at = now() WHERE refund_no = 'damage 1'$$),
	('task: 32767 tries', 'pay_task', $$UPDATE pay_task SET tries = 32767, claimed_at = now() WHERE refund_no = 'damage 1'$$),
	('task: of nothing', 'pay_task', $$UPDATE pay_task SET pay_no = NULL WHERE refund_no = 'damage 1'$$),
	('task: of no payment', 'pay_task', $$UPDATE pay_task SET pay_no = '019b76da-8000-8000-8001-dddddddddddd' WHERE refund_no = 'damage 1'$$);

CREATE TABLE damage_test.answer AS
SELECT d.n, d.name, w.weakened, a.* FROM damage_test.damage d, unnest('{false,true}'::boolean[]) AS w (weakened), LATERAL damage_test.judge(d.relation, d.statement, w.weakened) AS a;

-- The calls about the payment, its refund, its review, its case and its hold.
SELECT name, prepay, query, callback, credential, refund, refund_step AS step, history, review, dispute, hold FROM damage_test.answer WHERE NOT weakened ORDER BY n;
-- What a worker is handed of these orders, how many reviews two claims opened, and what is said.
SELECT name, claimed, noted FROM damage_test.answer WHERE NOT weakened ORDER BY n;
SELECT name, said FROM damage_test.answer WHERE NOT weakened AND said IS NOT NULL ORDER BY n;

-- Where CHECKs of ours were replaced by weaker ones: what is answered then, if something else.
SELECT name, prepay, query, callback, credential, refund_step AS step, history, hold, claimed, noted, w.said
FROM damage_test.answer w WHERE weakened AND NOT EXISTS (
	SELECT FROM damage_test.answer a WHERE a.n = w.n AND NOT a.weakened AND (a.prepay, a.callback, a.refund_step, a.history, a.hold, a.claimed, a.noted)
		IS NOT DISTINCT FROM (w.prepay, w.callback, w.refund_step, w.history, w.hold, w.claimed, w.noted) AND (a.said = w.said OR a.said IS NULL))
ORDER BY n;

-- A byte that is no state, as a binary-coercible cast of a superuser lets it in.
BEGIN;
CREATE CAST ("char" AS pay_state) WITHOUT FUNCTION AS ASSIGNMENT;
SELECT damage_test.force('pay_payment', $$UPDATE pay_payment SET state = 'z'::"char" WHERE (merchant, order_no) = ('damage', 'D1')$$);
SELECT test.try($$SELECT decision FROM pay_query('D1', 'damage')$$) ~ '^PY503.*column "state" has a value without a label' AS named;
ROLLBACK;

-- What is repaired is handed out again, and noted no more.
BEGIN;
SELECT damage_test.force('pay_attempt', format($$UPDATE pay_attempt SET state = NULL WHERE trade_no = %L$$, damage_test.trade_no('D1')));
SELECT damage_test.force('pay_task', 'UPDATE pay_task SET due_at = now() - interval ''1 hour''');
SELECT count(*) AS claimed FROM pay_claim('w', 10000, '1 minute') WHERE order_no = 'D1' AND merchant = 'damage';
SELECT kind, about_money, resolved_at IS NULL AS open FROM damage_test.review;
SELECT damage_test.force('pay_attempt', $$UPDATE pay_attempt SET state = 'paying', check_at = NULL WHERE state IS NULL$$);
SELECT action FROM pay_claim('w', 10000, '1 minute') WHERE order_no = 'D1' AND merchant = 'damage';
SELECT decision FROM pay_review_resolve((SELECT review_id FROM damage_test.review), 'dismiss', 'repaired');
ROLLBACK;

-- A new row that is wrong is none yet: its constraints say so.
SELECT test.sqlstate($$INSERT INTO pay_channel (channel) VALUES ('damage')$$) AS no_method,
	test.sqlstate($$INSERT INTO pay_channel (route, channel, method, schedule) VALUES (999, 'damage', 'x', NULL)$$) AS no_schedule,
	test.sqlstate($$INSERT INTO pay_channel (channel, method, schedule) VALUES ('damage', 'x', '{{1s}}')$$) AS two_dimensions;

-- ---- altered result types ----

CREATE FUNCTION damage_test.alter(type regtype, change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	facts text;
BEGIN
	EXECUTE format('ALTER TYPE %s %s', type, change);
	answer := CASE type::text
		WHEN 'pay_result' THEN test.try($q$SELECT decision FROM pay_query('D1', 'damage')$q$)
		WHEN 'pay_refund_result' THEN test.try(format('SELECT decision FROM pay_refund(%L, ''damage 1'', 60, ''again'')', damage_test.trade_no('D2')))
		WHEN 'pay_hold_result' THEN test.try(format('SELECT decision FROM pay_hold_done(%L, ''miles:P1'', ''tried'')', damage_test.trade_no('D3')))
		WHEN 'pay_dispute_result' THEN test.try($q$SELECT decision FROM pay_dispute_resolve((SELECT max(dispute_id) FROM pay_dispute), 'reject', 'seen')$q$) END;
	RAISE EXCEPTION 'undone' USING ERRCODE = 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
	RETURN answer;
END
$$;
SELECT type::text, change, damage_test.alter(type, change) AS answer
FROM unnest('{pay_result,pay_refund_result,pay_hold_result,pay_dispute_result}'::regtype[]) AS t (type),
	unnest('{ADD ATTRIBUTE mine text,"ADD ATTRIBUTE mine text; ALTER TYPE % DROP ATTRIBUTE mine",DROP ATTRIBUTE detail,DROP ATTRIBUTE decision,ALTER ATTRIBUTE decision TYPE bigint,RENAME ATTRIBUTE detail TO explanation}'::text[]) AS c (pattern),
	LATERAL replace(pattern, '%', type::text) AS change
ORDER BY 1, 2;
SELECT damage_test.alter('pay_result', 'ALTER ATTRIBUTE attempt TYPE text');

-- Nothing of all this stays.
SELECT decision FROM pay_prepay(order_no => 'D1', amount => 100, currency => 'CNY', merchant => 'damage', channel => 'test', method => 'test', request_id => 'R1');
SELECT count(*) FROM damage_test.review;
DROP SCHEMA damage_test CASCADE;
