-- Guards: whoever goes around the functions, the superuser too, is stopped where
-- a payment's story would become false, and left alone where not. (Steps of state
-- by UPDATE, all pairs: see steps.)

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA guards_test;

SELECT test.put('guards', 'A1', 'paying', '{failed,paying}') IS NOT NULL AS put;
SELECT decision FROM pay_transition(trade_no => test.number('guards', 'A1', 1, 2)::text, to_state => 'unknown');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => test.number('guards', 'A1', 1, 2)::text,
	reported => 'paid', amount => 99, currency => 'CNY');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => 'guards', reported => 'failed');
-- A paid order with a refund, and the case that it is one too many.
SELECT test.put('guards', 'R1', 'paid', '{paid}') IS NOT NULL AS put;
SELECT decision FROM pay_refund(trade_no => test.number('guards', 'R1')::text, refund_no => 'guards 1', amount => 60, reason => 'too late');
SELECT decision FROM pay_dispute_open(trade_no => test.number('guards', 'R1')::text, duplicate_of => test.number('guards', 'A1')::text, reason => 'twice');
-- An order that holds what a DBA keeps, and so is in the queue.
INSERT INTO pay_resource (merchant, resource, capacity) VALUES ('guards', 'stock:S1', 5), ('guards', 'stock:S2', 5);
SELECT decision FROM pay_prepay(order_no => 'H1', amount => 100, currency => 'CNY', merchant => 'guards', channel => 'test', method => 'test', request_id => 'R1',
	valid_for => '1 hour', holds => '{stock:S1#3}');

-- ---- immutable columns: every column of every table, and who may be changed ----

-- A new value for each type; all of them differ from what is there.
CREATE TABLE guards_test.changed AS
SELECT c.relname::text AS relation, a.attname::text AS column, a.attnum AS n,
	CASE a.atttypid::regtype::text
		WHEN 'uuid' THEN $$'019b76da80008000800123456789abcd'$$
		WHEN 'timestamp with time zone' THEN $$'2026-01-02 00:00 UTC'$$
		WHEN 'text' THEN $$'changed'$$
		WHEN 'boolean' THEN format('NOT %I', a.attname)
		WHEN 'smallint[]' THEN $$'{1,2}'$$
		WHEN 'jsonb' THEN $$'{"changed": true}'$$
		WHEN 'pay_state' THEN $$'reversed'$$
		WHEN 'pay_decision' THEN $$'confirm'$$
		WHEN 'pay_refund_state' THEN $$'processing'$$
		ELSE format('coalesce(%I, 0) + 1', a.attname) END AS value
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relname IN ('pay_payment', 'pay_attempt', 'pay_event', 'pay_review', 'pay_refund', 'pay_dispute', 'pay_task', 'pay_resource', 'pay_hold', 'pay_database') AND c.relnamespace = 'public'::regnamespace
	AND a.attnum > 0 AND NOT a.attisdropped;
-- One transaction each, rolled back; a CHECK that the single column breaks says 23514.
CREATE FUNCTION guards_test.change(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	affected bigint;
BEGIN
	EXECUTE statement;
	GET DIAGNOSTICS affected = ROW_COUNT;
	RAISE EXCEPTION 'allowed' USING ERRCODE = CASE affected WHEN 0 THEN 'NO000' ELSE 'OK000' END;
EXCEPTION WHEN OTHERS THEN
	RETURN replace(replace(SQLSTATE, 'OK000', 'allowed'), 'NO000', 'no row');
END
$$;
CREATE TABLE guards_test.answer AS
SELECT relation, n, "column", guards_test.change(format('UPDATE %I SET %I = %s WHERE %s', relation, "column", value,
	CASE WHEN relation = 'pay_review' THEN 'message_id = ''C1'' AND trade_no = ''guards'''
		WHEN relation = 'pay_resource' THEN 'merchant = ''guards'' AND resource = ''stock:S1'''
		WHEN relation = 'pay_database' THEN 'true'
		WHEN relation IN ('pay_task', 'pay_hold') THEN 'pay_no = (SELECT p.pay_no FROM pay_payment p WHERE p.merchant = ''guards'' AND p.order_no = ''H1'')'
		ELSE format('pay_no = %L', test.number('guards', CASE WHEN relation IN ('pay_refund', 'pay_dispute') THEN 'R1' ELSE 'A1' END)) END
	|| CASE relation WHEN 'pay_attempt' THEN ' AND attempt = 2' WHEN 'pay_event' THEN ' AND seq = 1' ELSE '' END)) AS answer
FROM guards_test.changed;
SELECT relation, answer, string_agg("column", ' ' ORDER BY n) AS columns FROM guards_test.answer GROUP BY 1, 2 ORDER BY 1, 2;
-- The design's list of what is immutable, against that.
SELECT relation, "column", answer FROM guards_test.answer
WHERE (answer = 'PY423') <> CASE relation
	-- what went back follows from the refunds, and which order replaced it from pay_prepay()
	WHEN 'pay_payment' THEN "column" IN ('pay_no', 'merchant', 'order_no', 'amount', 'currency', 'created_at', 'last_seq', 'routes',
		'amount_refunded', 'replaced_by', 'holds')
	WHEN 'pay_attempt' THEN "column" IN ('trade_no', 'pay_no', 'attempt', 'route', 'amount', 'request_id', 'opened_at',
		'amount_extra', 'amount_reserved', 'amount_refunded', 'amount_overdrawn', 'reported_at', 'check_at', 'reports')
	WHEN 'pay_event' THEN true
	WHEN 'pay_review' THEN true		-- pay_review_resolve() is the way
	WHEN 'pay_refund' THEN "column" NOT IN ('state', 'reason', 'channel_txn')
	WHEN 'pay_dispute' THEN true	-- pay_dispute_resolve() is the way
	WHEN 'pay_task' THEN true		-- pay_claim() and the reports
	WHEN 'pay_hold' THEN true		-- the payment and pay_hold_done()
	WHEN 'pay_database' THEN true	-- pay_adopt_database()
	WHEN 'pay_resource' THEN "column" NOT IN ('capacity', 'external') END;	-- a DBA's; how much is taken is not
-- Setting what is there already changes nothing and is nothing.
UPDATE pay_payment SET amount = amount, state = state, order_no = order_no WHERE merchant = 'guards';
UPDATE pay_event SET reason = reason WHERE pay_no = test.number('guards', 'A1');
SELECT last_seq, count(*) AS events FROM pay_payment JOIN pay_event USING (pay_no) WHERE merchant = 'guards' AND order_no = 'A1' GROUP BY 1;

-- How a refusal reads.
SELECT test.try($$UPDATE pay_payment SET amount = 1, currency = 'USD' WHERE merchant = 'guards'$$);
SELECT test.try($$UPDATE pay_attempt SET amount = 1 WHERE pay_no = test.number('guards', 'A1')$$);
SELECT test.try($$UPDATE pay_event SET reason = 'it was otherwise' WHERE pay_no = test.number('guards', 'A1')$$);
SELECT test.try($$UPDATE pay_review SET amount = 1 WHERE trade_no = 'guards'$$);
SELECT test.try($$UPDATE pay_refund SET amount = 1 WHERE refund_no = 'guards 1'$$);
SELECT test.try($$UPDATE pay_dispute SET verdict = 'reject' WHERE reason = 'twice'$$);
SELECT test.try($$UPDATE pay_payment SET amount_refunded = 60 WHERE merchant = 'guards' AND order_no = 'R1'$$);
SELECT test.try($$UPDATE pay_task SET due_at = now()$$);
SELECT test.try($$UPDATE pay_hold SET state = 'released' WHERE resource = 'stock:S1'$$);
SELECT test.try($$UPDATE pay_resource SET taken = 0 WHERE merchant = 'guards'$$);
SELECT test.try($$UPDATE pay_database SET system_identifier = 1$$);

-- There is never less of a resource than what is taken of it; what nobody holds may go.
SELECT test.sqlstate($$UPDATE pay_resource SET capacity = 2 WHERE merchant = 'guards'$$) AS less_than_taken,
	test.sqlstate($$UPDATE pay_resource SET capacity = 0 WHERE merchant = 'guards'$$) AS nothing;
SELECT test.try($$UPDATE pay_resource SET capacity = 3 WHERE merchant = 'guards'$$), test.try($$UPDATE pay_resource SET capacity = NULL WHERE merchant = 'guards'$$);
SELECT test.try($$DELETE FROM pay_resource WHERE merchant = 'guards' AND resource = 'stock:S1'$$), test.try($$DELETE FROM pay_resource WHERE merchant = 'guards' AND resource = 'stock:S2'$$);
SELECT resource, capacity, taken FROM pay_resource WHERE merchant = 'guards';

-- Once it is paid, who paid how much is not changed by hand; nor that an order was replaced.
SELECT test.put('guards', 'R2', 'paying', '{paying}') IS NOT NULL AS put;
SELECT decision FROM pay_prepay(order_no => 'R3', amount => 100, currency => 'CNY', merchant => 'guards', channel => 'test', method => 'test', request_id => 'R1', replaces => 'R2');
SELECT relation, set, order_no, guards_test.change(format('UPDATE %I SET %s WHERE pay_no = test.number(''guards'', %L)', relation, set, order_no)) AS answer
FROM (VALUES ('pay_payment', 'winner = 2', 'R1'), ('pay_payment', 'winner = NULL', 'R1'), ('pay_payment', 'amount_collected = 150', 'R1'),
	('pay_attempt', 'amount_collected = 150', 'R1'), ('pay_attempt', 'amount_collected = 50', 'R1'), ('pay_payment', 'metadata = ''{}''', 'R1'),
	('pay_payment', 'end_requested = false', 'R2'), ('pay_payment', 'replaced_by = NULL', 'R2'), ('pay_payment', 'payer = ''bob''', 'R2')) AS u (relation, set, order_no);

-- ---- DELETE and TRUNCATE ----

CREATE TEMP TABLE before AS SELECT test.fingerprint();
SELECT relation, test.try(format('DELETE FROM %I', relation)) AS answer
FROM unnest('{pay_payment,pay_attempt,pay_event,pay_review,pay_refund,pay_dispute,pay_task,pay_resource,pay_hold,pay_channel,pay_database}'::text[]) AS r (relation);
SELECT relation, test.try(format('TRUNCATE %I', relation)) AS answer
FROM unnest('{pay_payment,pay_attempt,pay_event,pay_review,pay_refund,pay_dispute,pay_task,pay_resource,pay_hold,pay_channel,pay_database}'::text[]) AS r (relation);
SELECT test.sqlstate('TRUNCATE pay_grantee, pay_event CASCADE') AS together;
SELECT fingerprint = test.fingerprint() AS nothing_lost FROM before;

-- ---- a direct UPDATE of state: legal ones are logged, by name ----

SELECT test.put('guards', 'B' || n, 'paying', '{paying}') IS NOT NULL AS put FROM generate_series(1, 3) AS n;
UPDATE pay_payment SET state = 'unknown' WHERE merchant = 'guards' AND order_no = 'B1';
UPDATE pay_attempt SET state = 'failed' WHERE pay_no = test.number('guards', 'B1');
SELECT seq, source, message_id, attempt, decision, payment_before, payment_after, attempt_before, attempt_after,
	actor = current_user AS actor, session_actor = session_user AS session_actor
FROM pay_history(test.number('guards', 'B1')::text);
SELECT state, last_seq FROM pay_payment WHERE pay_no = test.number('guards', 'B1');
-- Many rows at once, one illegal: none of them.
SELECT test.sqlstate($$UPDATE pay_payment SET state = 'closing' WHERE merchant = 'guards' AND order_no LIKE 'B%'$$) AS one_has_failed;
SELECT string_agg(test.states('guards', 'B' || n), ', ') AS states FROM generate_series(1, 3) AS n;
UPDATE pay_payment SET state = 'closing' WHERE merchant = 'guards' AND order_no IN ('B2', 'B3');
SELECT string_agg(test.states('guards', 'B' || n), ', ') AS states FROM generate_series(1, 3) AS n;
SELECT count(*) AS events FROM pay_event WHERE pay_no IN (test.number('guards', 'B2'), test.number('guards', 'B3'));
-- A CHECK still holds: paid needs a winner and what it collected.
SELECT test.sqlstate($$UPDATE pay_payment SET state = 'paid' WHERE merchant = 'guards' AND order_no = 'B2'$$) AS paid_by_nobody;
SELECT test.sqlstate($$UPDATE pay_attempt SET state = 'paid' WHERE pay_no = test.number('guards', 'B2')$$) AS paid_nothing;
-- An attempt paid by hand wins its payment, and the functions go on from there.
UPDATE pay_attempt SET state = 'paid', amount_collected = 100 WHERE pay_no = test.number('guards', 'B2');
SELECT test.states('guards', 'B2');
SELECT decision FROM pay_prepay(order_no => 'B2', amount => 100, currency => 'CNY', merchant => 'guards', channel => 'test', method => 'test', request_id => 'R2');
-- Where the order needs no more money, money by hand is surplus too: recorded, and a refund is opened.
SELECT test.put('guards', 'B5', 'paying', '{paying,paying}', multi => true) IS NOT NULL AS put;
UPDATE pay_attempt SET state = 'paid', amount_collected = 100 WHERE pay_no = test.number('guards', 'B5') AND attempt = 1;
UPDATE pay_attempt SET state = 'paid', amount_collected = 100 WHERE pay_no = test.number('guards', 'B5') AND attempt = 2;
SELECT test.states('guards', 'B5');
SELECT seq, source, attempt, decision, refund_after FROM pay_history(test.number('guards', 'B5')::text);
SELECT kind, attempt, state, amount, adopted, refund_no = replace(test.number('guards', 'B5', 1, 2)::text, '-', '') || 's' AS its_number
FROM pay_refund WHERE pay_no = test.number('guards', 'B5');
SELECT amount_reserved, amount_refunded FROM pay_attempt WHERE pay_no = test.number('guards', 'B5') AND attempt = 2;
SELECT count(*) AS reviews FROM pay_review WHERE pay_no = test.number('guards', 'B5');
-- Nobody may say of that refund that it was cancelled: then the money would be kept.
SELECT test.try($$UPDATE pay_refund SET state = 'cancelled' WHERE pay_no = test.number('guards', 'B5')$$);
-- Several in one transaction, and a function's among them: each step is one event.
BEGIN;
UPDATE pay_attempt SET state = 'unknown' WHERE pay_no = test.number('guards', 'B3');
UPDATE pay_attempt SET state = 'authorized' WHERE pay_no = test.number('guards', 'B3');
SELECT decision, state FROM pay_transition(trade_no => test.number('guards', 'B3', 1, 1)::text, to_state => 'closed');
COMMIT;
SELECT seq, source, attempt, payment_before, payment_after, attempt_before, attempt_after FROM pay_history(test.number('guards', 'B3')::text);

-- Two attempts of one payment in one statement, and beside them the payment itself.
SELECT test.put('guards', 'B4', 'paying', '{paying,unknown}', multi => true) IS NOT NULL AS put;
WITH attempts AS (UPDATE pay_attempt SET state = 'failed' WHERE pay_no = test.number('guards', 'B4') RETURNING attempt)
UPDATE pay_payment SET metadata = '{"by": "hand"}' WHERE pay_no = test.number('guards', 'B4');
SELECT test.states('guards', 'B4');
SELECT count(*) AS events, max(seq) = (SELECT last_seq FROM pay_payment WHERE pay_no = test.number('guards', 'B4')) AS numbered,
	string_agg(attempt || ': ' || attempt_before || '>' || attempt_after, ', ' ORDER BY attempt) AS attempts
FROM pay_history(test.number('guards', 'B4')::text);

-- ---- a direct UPDATE of a refund: logged in its payment's history, and the sums follow ----

CREATE FUNCTION guards_test.sums(OUT state text, OUT reserved bigint, OUT refunded bigint, OUT of_payment bigint, OUT last_seq integer) LANGUAGE sql AS $$
	SELECT r.state::text, a.amount_reserved, a.amount_refunded, p.amount_refunded, p.last_seq
	FROM pay_refund r JOIN pay_payment p USING (pay_no) JOIN pay_attempt a USING (pay_no, attempt) WHERE r.refund_no = 'guards 1'
$$;
SELECT * FROM guards_test.sums();
UPDATE pay_refund SET state = 'processing', channel_txn = 'T1' WHERE refund_no = 'guards 1';
UPDATE pay_refund SET reason = 'much too late' WHERE refund_no = 'guards 1';
UPDATE pay_refund SET state = 'failed' WHERE refund_no = 'guards 1';
SELECT * FROM guards_test.sums();
-- Failed, it reserves nothing: another one takes the money, and then it fits no more, by hand neither.
SELECT decision, refundable FROM pay_refund(trade_no => test.number('guards', 'R1')::text, refund_no => 'guards 2', amount => 50, reason => 'other');
SELECT test.try($$UPDATE pay_refund SET state = 'requested' WHERE refund_no = 'guards 1'$$);
SELECT regexp_replace(test.try($$UPDATE pay_refund SET state = 'cancelled' WHERE refund_no = 'guards 2'$$), 'at [-0-9:. +]+', 'at <time>') AS handed_out;
SELECT refund_no, decision, refundable FROM unnest('{failed,cancelled}'::text[]) AS s (state), pay_refund_transition(refund_no => 'guards 2', to_state => s.state, merchant => 'guards');
UPDATE pay_refund SET state = 'succeeded' WHERE refund_no = 'guards 1';
SELECT * FROM guards_test.sums();
-- What went has gone: no superuser undoes that; it can come back.
SELECT test.try($$UPDATE pay_refund SET state = 'failed' WHERE refund_no = 'guards 1'$$);
-- Two refunds of one payment in one statement.
SELECT refund_no, decision, refundable FROM unnest('{guards 3,guards 4}'::text[]) AS n (refund_no),
	pay_refund(trade_no => test.number('guards', 'R1')::text, refund_no => n.refund_no, amount => 10, reason => 'both', confirm => true) AS f (decision, "no", a, b, c, d, e, refundable);
UPDATE pay_refund SET state = 'succeeded' WHERE refund_no IN ('guards 3', 'guards 4');
SELECT * FROM guards_test.sums();
SELECT seq, source, attempt, refund_no, decision, amount, refund_before, refund_after, payment_before, payment_after, attempt_before, attempt_after,
	regexp_replace(reason, 'dispute \d+', 'dispute <id>') AS reason
FROM pay_history(test.number('guards', 'R1')::text);

-- ---- INSERT is not a step ----

SELECT test.put('guards', 'C1', 'closed', '{closed,reversed}') IS NOT NULL AS put;
INSERT INTO pay_event (pay_no, seq, decision, payment_after, source, actor, session_actor)
VALUES (test.number('guards', 'C1'), 7, 'applied', 'closed', 'import', 'somebody', 'else');
SELECT seq, source, actor FROM pay_history(test.number('guards', 'C1')::text);
DO $$
DECLARE
	file CONSTANT text := current_setting('data_directory') || '/guards_test.copy';
BEGIN
	EXECUTE format('COPY (SELECT %L, 100, %L, %L, %L, %L, %L) TO %L',
		test.number('guards', 'C2'), 'failed', 'CNY', 'guards', 'C2', '{1}', file);
	EXECUTE format('COPY pay_payment (pay_no, amount, state, currency, merchant, order_no, routes) FROM %L', file);
	EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', format('cat >/dev/null; rm "%s"', file));
END
$$;
SELECT test.states('guards', 'C2');
SELECT test.sqlstate($$SELECT test.put('guards', 'C3', 'paid', '{failed}')$$) AS paid_without_winner,
	test.sqlstate($$SELECT test.put('guards', 'C3', 'created', '{paying}')$$) AS created_with_attempt,
	test.sqlstate($$SELECT test.put('guards', 'C3', 'failed', '{}')$$) AS failed_without_attempt,
	test.sqlstate($$SELECT test.put('guards', 'C3', 'paying', '{created}')$$) AS attempt_created;
-- Numbers must be what they say.
BEGIN;
SELECT test.sqlstate(format($$INSERT INTO pay_payment (pay_no, amount, currency, order_no) VALUES (%L, 1, 'CNY', 'C4')$$, pay_no)) AS payment
FROM (VALUES (gen_random_uuid()), (test.number('guards', 'C4', 1, 1)), (test.number('guards', 'C4'))) AS v (pay_no);
SELECT test.sqlstate(format($$INSERT INTO pay_attempt (trade_no, pay_no, attempt, route, amount, state, request_id)
	VALUES (%L, test.number('guards', 'C4'), 1, 1, 1, 'failed', 'R1')$$, trade_no)) AS attempt
FROM (VALUES (gen_random_uuid()), (test.number('guards', 'C4')), (test.number('guards', 'C4', 2, 1)), (test.number('guards', 'C4', 1, 2)),
	(test.number('guards', 'C5', 1, 1)), (test.number('guards', 'C4', 1, 1))) AS v (trade_no);
ROLLBACK;

-- ---- the user's own columns and triggers ----

BEGIN;
ALTER TABLE pay_payment ADD COLUMN note text, ADD COLUMN touched integer NOT NULL DEFAULT 0;
-- His own columns are his; what is ours and may be changed is logged.
UPDATE pay_payment SET note = 'vip' WHERE merchant = 'guards' AND order_no = 'B1';
SELECT note, last_seq FROM pay_payment WHERE merchant = 'guards' AND order_no = 'B1';
UPDATE pay_payment SET payer = 'bob', metadata = '{"cart": 1}', valid_until = now() + interval '1 day'
WHERE merchant = 'guards' AND order_no = 'B1';
SELECT payer, metadata, last_seq FROM pay_payment WHERE merchant = 'guards' AND order_no = 'B1';
-- A trigger of the user's may fill his own columns, whoever writes.
CREATE FUNCTION guards_test.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.touched := NEW.touched + 1;
	RETURN NEW;
END
$$;
CREATE TRIGGER zzz BEFORE UPDATE ON pay_payment FOR EACH ROW EXECUTE FUNCTION guards_test.touch();
UPDATE pay_payment SET payer = 'alice' WHERE merchant = 'guards' AND order_no = 'B1';
SELECT decision, state FROM pay_transition(trade_no => test.number('guards', 'A1', 1, 2)::text, to_state => 'failed');
SELECT order_no, state, touched FROM pay_payment WHERE merchant = 'guards' AND order_no IN ('A1', 'B1') ORDER BY 1;
ROLLBACK;

-- One that runs after our BEFORE guard and spoils the row is caught by our AFTER guard.
CREATE FUNCTION guards_test.spoil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_ARGV[0] = 'nothing' THEN
		RETURN NULL;
	ELSIF TG_ARGV[0] = 'state' THEN
		NEW.state := TG_ARGV[1];
	ELSIF TG_ARGV[0] = 'amount' THEN
		NEW.amount := 1;
	ELSIF TG_ARGV[0] = 'last_seq' THEN
		NEW.last_seq := 77;
	ELSIF TG_ARGV[0] = 'reason' THEN
		NEW.reason := 'it was otherwise';
	END IF;
	RETURN NEW;
END
$$;
-- Tries a statement and a call with the trigger in place, then takes it away.
CREATE FUNCTION guards_test.spoiled(relation text, spoils text, OUT by_update text, OUT by_function text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER zzz BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION guards_test.spoil(%s)', relation, spoils);
	by_update := guards_test.change(format('UPDATE %I SET %s WHERE %s', relation,
		CASE relation WHEN 'pay_payment' THEN 'payer = ''carol''' ELSE 'channel_txn = ''T9''' END,
		CASE relation WHEN 'pay_refund' THEN 'refund_no = ''guards 5''' ELSE 'pay_no = test.number(''guards'', ''A1'')' END));
	by_function := guards_test.change('SELECT ' || CASE relation
		WHEN 'pay_refund' THEN 'pay_refund_transition(refund_no => ''guards 5'', to_state => ''processing'', merchant => ''guards'')'
		ELSE 'pay_transition(trade_no => test.number(''guards'', ''A1'', 1, 2)::text, to_state => ''failed'')' END);
	EXECUTE format('DROP TRIGGER zzz ON %I', relation);
END
$$;
SELECT decision, state FROM pay_refund(trade_no => test.number('guards', 'R1')::text, refund_no => 'guards 5', amount => 10, reason => 'to be spoiled');
SELECT relation, spoils, by_update, by_function
FROM (VALUES
	(1, 'pay_payment', $$'harmless'$$), (2, 'pay_payment', $$'state', 'closed'$$), (3, 'pay_payment', $$'state', 'paying'$$),
	(4, 'pay_payment', $$'state', 'created'$$), (5, 'pay_payment', $$'amount'$$), (6, 'pay_payment', $$'last_seq'$$),
	(7, 'pay_payment', $$'nothing'$$),
	(8, 'pay_attempt', $$'harmless'$$), (9, 'pay_attempt', $$'state', 'closed'$$), (10, 'pay_attempt', $$'state', 'paying'$$),
	(11, 'pay_attempt', $$'state', 'created'$$), (12, 'pay_attempt', $$'amount'$$), (13, 'pay_attempt', $$'nothing'$$),
	(14, 'pay_refund', $$'harmless'$$), (15, 'pay_refund', $$'state', 'failed'$$), (16, 'pay_refund', $$'amount'$$), (17, 'pay_refund', $$'nothing'$$)) AS v (n, relation, spoils),
	guards_test.spoiled(relation, spoils)
ORDER BY n;
SELECT test.states('guards', 'A1');
SELECT state, amount FROM pay_refund WHERE refund_no = 'guards 5';

-- Where triggers are switched off nothing is guarded: that is PostgreSQL's own superuser switch.
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE pay_payment SET amount = 1 WHERE merchant = 'guards' AND order_no = 'B1';
SELECT amount FROM pay_payment WHERE merchant = 'guards' AND order_no = 'B1';
ROLLBACK;

-- ---- pay_state_guard: anybody's table with a pay_state column ----

CREATE TABLE guards_test.orders (id integer, note text, status pay_state);
CREATE TRIGGER guard BEFORE UPDATE ON guards_test.orders FOR EACH ROW EXECUTE FUNCTION pay_state_guard('status');
INSERT INTO guards_test.orders VALUES (1, 'new', 'created'), (2, 'paid', 'paid'), (3, 'none', NULL);
UPDATE guards_test.orders SET status = 'paying' WHERE id = 1 RETURNING *;
UPDATE guards_test.orders SET note = 'other', status = 'paying' WHERE id = 1 RETURNING *;
UPDATE guards_test.orders SET status = 'paid' WHERE id = 3 RETURNING *;
UPDATE guards_test.orders SET status = 'failed' WHERE id = 2;
UPDATE guards_test.orders SET status = 'created' WHERE id = 1;
UPDATE guards_test.orders SET status = NULL WHERE id = 1;
DELETE FROM guards_test.orders WHERE id = 2 RETURNING *;
-- All pairs, against pay_can().
CREATE TABLE guards_test.step AS SELECT f, t FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,paid,closed,reversed}'::text[]) AS f,
	unnest('{created,paying,authorized,capturing,unknown,closing,failed,paid,closed,reversed}'::text[]) AS t;
INSERT INTO guards_test.orders SELECT 100, f || ' ' || t, f FROM guards_test.step;
SELECT count(*) AS pairs, count(*) FILTER (WHERE answer = 'rows: 1') AS passed, count(*) FILTER (WHERE answer LIKE 'PY409 %') AS refused,
	count(*) FILTER (WHERE (answer = 'rows: 1') <> (f = t OR pay_can(f, t))) AS wrong
FROM guards_test.step, LATERAL (SELECT test.try(format('UPDATE guards_test.orders SET status = %L WHERE note = %L', t, f || ' ' || t))) AS a (answer);
-- A partition may have its columns in another order.
CREATE TABLE guards_test.parted (id integer, status pay_state) PARTITION BY LIST (id);
CREATE TABLE guards_test.part (status pay_state, gone integer, id integer);
ALTER TABLE guards_test.part DROP COLUMN gone;
ALTER TABLE guards_test.parted ATTACH PARTITION guards_test.part FOR VALUES IN (1);
CREATE TRIGGER guard BEFORE UPDATE ON guards_test.parted FOR EACH ROW EXECUTE FUNCTION pay_state_guard('status');
INSERT INTO guards_test.parted VALUES (1, 'closed');
SELECT test.try($$UPDATE guards_test.parted SET status = 'paid'$$);

-- Used wrongly it says so, instead of guarding nothing.
CREATE FUNCTION guards_test.misuse(definition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE 'CREATE TABLE guards_test.misused (id integer, status pay_state)';
	EXECUTE 'INSERT INTO guards_test.misused VALUES (1, ''created'')';
	EXECUTE 'CREATE TRIGGER guard ' || definition;
	answer := test.try('UPDATE guards_test.misused SET status = ''paying''');
	IF answer = 'rows: 1' THEN
		answer := test.try('INSERT INTO guards_test.misused VALUES (2, ''created'')');
	END IF;
	EXECUTE 'DROP TABLE guards_test.misused';
	RETURN answer;
END
$$;
SELECT what, guards_test.misuse(definition) AS answer FROM (VALUES
	(0, 'as it should be', 'BEFORE UPDATE ON guards_test.misused FOR EACH ROW EXECUTE FUNCTION pay_state_guard(status)'),
	(1, 'no argument', 'BEFORE UPDATE ON guards_test.misused FOR EACH ROW EXECUTE FUNCTION pay_state_guard()'),
	(2, 'two arguments', 'BEFORE UPDATE ON guards_test.misused FOR EACH ROW EXECUTE FUNCTION pay_state_guard(status, id)'),
	(3, 'no such column', 'BEFORE UPDATE ON guards_test.misused FOR EACH ROW EXECUTE FUNCTION pay_state_guard(state)'),
	(4, 'of another type', 'BEFORE UPDATE ON guards_test.misused FOR EACH ROW EXECUTE FUNCTION pay_state_guard(id)'),
	(5, 'a system column', 'BEFORE UPDATE ON guards_test.misused FOR EACH ROW EXECUTE FUNCTION pay_state_guard(ctid)'),
	(6, 'AFTER', 'AFTER UPDATE ON guards_test.misused FOR EACH ROW EXECUTE FUNCTION pay_state_guard(status)'),
	(7, 'STATEMENT', 'BEFORE UPDATE ON guards_test.misused FOR EACH STATEMENT EXECUTE FUNCTION pay_state_guard(status)'),
	(8, 'INSERT', 'BEFORE INSERT ON guards_test.misused FOR EACH ROW EXECUTE FUNCTION pay_state_guard(status)'),
	(9, 'our own guard', 'BEFORE UPDATE ON guards_test.misused FOR EACH ROW EXECUTE FUNCTION pay_guard()')) AS m (n, what, definition)
ORDER BY n;
SELECT test.sqlstate('SELECT pay_state_guard()') AS called, test.sqlstate('SELECT pay_guard()') AS called_ours;

-- ---- pay_channel: yours, but for the names and numbers that are on disk ----

BEGIN;
-- One INSERT adds a channel, with a route of its own above the install's.
INSERT INTO pay_channel (channel, method) VALUES ('guards_bank', 'transfer') RETURNING route >= 1000 AS own_route, resubmit_after, max_attempts, can_resubmit;
SELECT decision, channel, method, pay_channel_of(trade_no) FROM pay_prepay(order_no => 'K1', amount => 100, currency => 'CNY', merchant => 'guards',
	channel => 'guards_bank', method => 'transfer', request_id => 'R1');
UPDATE pay_channel SET resubmit_after = '1 min', timeout = '1 day', schedule = '{1m,1h}', max_attempts = 3,
	can_resubmit = false, can_close = false, can_reverse = true WHERE channel = 'guards_bank';
SELECT set, split_part(test.try('UPDATE pay_channel SET ' || set || ' WHERE channel = ''guards_bank'''), ' | ', 1) AS answer
FROM (VALUES ('route = 4000'), ('channel = ''other'''), ('method = ''other'''), ('route = route, channel = channel'), ('max_attempts = 64')) AS u (set);
SELECT test.try('DELETE FROM pay_channel WHERE channel = ''guards_bank''');
-- It is there already: one's own channels are not replaced by an INSERT.
SELECT test.sqlstate('INSERT INTO pay_channel SELECT * FROM pay_channel WHERE channel = ''guards_bank''') AS again;
INSERT INTO pay_channel (channel, method) VALUES ('guards_bank', 'transfer') ON CONFLICT DO NOTHING;
SELECT resubmit_after, max_attempts FROM pay_channel WHERE channel = 'guards_bank';
ROLLBACK;

-- A data-only restore brings a row that is there again: its settings replace the present ones.
BEGIN;
CREATE TABLE guards_test.dumped AS SELECT * FROM pay_channel WHERE channel = 'wechat';
UPDATE guards_test.dumped SET max_attempts = 7 WHERE method = 'jsapi';
SELECT count(*) FROM pay_channel WHERE route < 1000;
INSERT INTO pay_channel SELECT * FROM guards_test.dumped;
SELECT count(*), count(*) FILTER (WHERE max_attempts = 7) AS replaced FROM pay_channel WHERE route < 1000;
-- But a route is never given to another name, nor a name another route.
SELECT test.try($$INSERT INTO pay_channel (route, channel, method) VALUES (10, 'guards_bank', 'transfer')$$);
SELECT test.try($$INSERT INTO pay_channel (route, channel, method) VALUES (2000, 'wechat', 'jsapi')$$);
SELECT test.sqlstate($$INSERT INTO pay_channel (route, channel, method) VALUES (0, 'guards_bank', 'transfer')$$) AS route_0,
	test.sqlstate($$INSERT INTO pay_channel (route, channel, method) VALUES (4096, 'guards_bank', 'transfer')$$) AS route_4096;
SELECT route, channel, method, max_attempts FROM pay_channel WHERE (channel, method) = ('wechat', 'jsapi') OR route IN (10, 2000);
ROLLBACK;

DROP SCHEMA guards_test CASCADE;
