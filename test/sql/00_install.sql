-- CREATE EXTENSION brings the code, pay_install() the tables; until then every
-- function that needs them says so. This file comes first: it also makes the
-- helpers that the other tests use.

SET client_min_messages = warning;

CREATE SCHEMA test;

-- Runs a statement; says what it answered, or how it was refused. Numbers are
-- masked: they are new each time.
CREATE FUNCTION test.try(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	affected bigint;
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	IF statement ~* '^\s*(select|with)\M' THEN
		EXECUTE statement INTO answer;
		RETURN coalesce(answer, 'NULL');
	END IF;
	EXECUTE statement;
	GET DIAGNOSTICS affected = ROW_COUNT;
	RETURN 'rows: ' || affected;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN regexp_replace(
		concat_ws(' | ', state || ' ' || message, 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, '')),
		'[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}', '<number>', 'gi');
END
$$;

-- The same, and only the SQLSTATE of a refusal.
CREATE FUNCTION test.sqlstate(statement text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN '00000';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;

-- The call that each function would answer, if only there were tables.
CREATE TABLE test.needs_tables (call text);
INSERT INTO test.needs_tables VALUES
	($$pay_create(order_no => 'A1', amount => 100, currency => 'CNY')$$),
	($$pay_prepay(order_no => 'A1', amount => 100, currency => 'CNY', channel => 'test', method => 'test', request_id => 'R1')$$),
	($$pay_credential(trade_no => '019b76da80008001810123456789abcd', credential => 'prepay_id=1', valid_for => '1 hour')$$),
	($$pay_query(order_no => 'A1')$$),
	($$pay_query(trade_no => '019b76da80008001810123456789abcd')$$),
	($$pay_close(order_no => 'A1')$$),
	($$pay_transition(trade_no => '019b76da80008001810123456789abcd', to_state => 'closed')$$),
	($$pay_callback(channel => 'test', callback_id => 'C1', trade_no => '019b76da80008001810123456789abcd', reported => 'failed')$$),
	($$pay_callbacks(messages => '[{"channel": "test", "trade_no": "019b76da80008001810123456789abcd", "reported": "failed"}]')$$),
	($$pay_review_resolve(review_id => 0, verdict => 'dismiss', reason => 'a test')$$),
	($$pay_refund(trade_no => '019b76da80008001810123456789abcd', refund_no => 'F1', amount => 1, reason => 'a test')$$),
	($$pay_refund_transition(refund_no => 'F1', to_state => 'processing')$$),
	($$pay_refund_callback(channel => 'test', callback_id => 'C1', refund_no => 'F1', reported => 'succeeded')$$),
	($$pay_refund_callbacks(messages => '[{"channel": "test", "refund_no": "F1", "reported": "failed"}]')$$),
	($$pay_dispute_open(trade_no => '019b76da80008001810123456789abcd', duplicate_of => '019b76da80008001810123456789abce', reason => 'a test')$$),
	($$pay_dispute_resolve(dispute_id => 0, verdict => 'reject', reason => 'a test')$$),
	($$pay_dispute_case(dispute_id => 0)$$),
	($$pay_suspects(since => now())$$),
	($$pay_claim(worker => 'w1', max_tasks => 1, lease => '1 minute')$$),
	($$pay_adopt_database(reason => 'a test')$$),
	($$pay_import(payments => '[{"order_no": "A1", "amount": 100, "currency": "CNY"}]')$$),
	($$pay_hold_done(trade_no => '019b76da80008001810123456789abcd', resource => 'coupon:C1', done => 'tried')$$),
	($$pay_history(trade_no => '019b76da80008001810123456789abcd')$$),
	($$pay_channel_of(trade_no => '019b76da80008001810123456789abcd')$$),
	($$pay_grant(role => current_user::text, kind => 'auditor')$$),
	($$pay_revoke(role => current_user::text)$$);

-- A CREATE EXTENSION that is rolled back leaves nothing behind in the session.
BEGIN;
CREATE EXTENSION pay_idem;
SELECT pay_install();
SELECT decision, state FROM pay_prepay(order_no => 'A1', amount => 100, currency => 'CNY',
	channel => 'test', method => 'test', request_id => 'R1');
ROLLBACK;

CREATE EXTENSION pay_idem;

-- No tables yet: PY503, and what to do about it.
SELECT split_part(call, '(', 1) AS function, test.try('SELECT ' || call) AS refused
FROM test.needs_tables;

-- A table of that name that is not ours is refused, not adopted.
BEGIN;
CREATE TABLE pay_review (note text);
SELECT replace(test.try('SELECT pay_install()'), current_user, '<me>') AS refused;
ROLLBACK;

-- Nor is a view.
BEGIN;
CREATE VIEW pay_refund AS SELECT 1 AS amount;
SELECT replace(test.try('SELECT pay_install()'), current_user, '<me>') AS refused;
ROLLBACK;

SELECT pay_install();
SELECT relname, relkind FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND relname LIKE 'pay\_%'
ORDER BY relname;

-- They are ordinary tables, and an ordinary view: of the extension's members none is a table, a view, an index or a sequence.
SELECT count(*) > 0 AS has_members, count(*) FILTER (WHERE c.relkind <> 'c') AS tables_among_them
FROM pg_depend d LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pay_idem');

-- Called again it changes nothing: not what it made, not what the DBA set since.
BEGIN;
UPDATE pay_channel SET timeout = '1 hour' WHERE channel = 'test' AND method = 'qr';
CREATE VIEW test.made AS
	SELECT c.oid::bigint, c.relname::text, c.relkind::text, c.relfilenode::text FROM pg_class c
		WHERE c.relnamespace = 'public'::regnamespace AND c.relname LIKE 'pay\_%'
	UNION ALL SELECT oid::bigint, tgname::text, tgtype::text, tgenabled::text FROM pg_trigger
	UNION ALL SELECT oid::bigint, conname::text, contype::text, pg_get_constraintdef(oid) FROM pg_constraint
	UNION ALL SELECT ev_class::bigint, rulename::text, ev_type::text, pg_get_viewdef(ev_class) FROM pg_rewrite
		WHERE ev_class = to_regclass('pay_balance')
	UNION ALL SELECT route, channel, method, pay_channel::text FROM pay_channel;
CREATE TABLE test.made_before AS TABLE test.made;
SELECT pay_install();
SELECT count(*) AS changed FROM (
	(TABLE test.made EXCEPT TABLE test.made_before)
	UNION ALL (TABLE test.made_before EXCEPT TABLE test.made)) AS c;
SELECT timeout FROM pay_channel WHERE channel = 'test' AND method = 'qr';
-- What is missing it brings back.
DROP TRIGGER pay_guard_before ON pay_payment;
DROP VIEW pay_balance;
DROP TABLE pay_dispute, pay_task, pay_hold;
ALTER TABLE pay_attempt DROP CONSTRAINT pay_attempt_cap_check;
SELECT pay_install();
SELECT tgname FROM pg_trigger WHERE tgrelid = 'pay_payment'::regclass AND NOT tgisinternal ORDER BY tgname;
SELECT count(*) FROM pay_balance;
SELECT count(*) FROM pay_dispute;
SELECT (SELECT count(*) FROM pay_task) AS tasks, (SELECT count(*) FROM pay_hold) AS holds, relreplident AS replica_identity
FROM pg_class WHERE oid = 'pay_task'::regclass;
SELECT conname FROM pg_constraint WHERE conrelid = 'pay_attempt'::regclass AND contype = 'c' ORDER BY conname;
ROLLBACK;

-- Now they answer.
SELECT decision, state, attempt FROM pay_prepay(order_no => 'A1', amount => 100, currency => 'CNY',
	channel => 'test', method => 'test', request_id => 'R1', merchant => 'install');
BEGIN;
SELECT split_part(call, '(', 1) AS function, test.sqlstate('SELECT ' || call) AS sqlstate
FROM test.needs_tables;
ROLLBACK;

-- Payments are not lost by accident.
SELECT split_part(test.try('DROP EXTENSION pay_idem'), ' | ', 1) AS refused;
SELECT decision, state, attempt FROM pay_query(order_no => 'A1', merchant => 'install');

-- DROP and CREATE in one session: the new extension finds no tables, then its own.
BEGIN;
DROP VIEW pay_balance;
DROP TABLE pay_payment, pay_attempt, pay_event, pay_review, pay_refund, pay_dispute, pay_task, pay_resource, pay_hold, pay_channel, pay_grantee, pay_database;
DROP EXTENSION pay_idem;
CREATE EXTENSION pay_idem;
SELECT test.sqlstate('SELECT ' || call) AS sqlstate, count(*) FROM test.needs_tables GROUP BY 1;
SELECT pay_install();
SELECT decision, state, attempt FROM pay_prepay(order_no => 'A1', amount => 100, currency => 'CNY',
	channel => 'test', method => 'test', request_id => 'R1', merchant => 'install');
ROLLBACK;
SELECT decision, state, attempt FROM pay_query(order_no => 'A1', merchant => 'install');
DROP TABLE test.needs_tables;

-- A number, built bit by bit, for rows that a test inserts itself: 48 ms, version 8,
-- 12 route, variant 10, 6 attempt, 12 shard, 44 random (here: of the order's name).
CREATE FUNCTION test.number(merchant text, order_no text, route integer DEFAULT 0, attempt integer DEFAULT 0)
RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
	SELECT (lpad(to_hex(1767225600000), 12, '0') || '8' || lpad(to_hex(route), 3, '0') || to_hex(128 + attempt)
		|| left(encode(sha256(convert_to(merchant, 'UTF8') || '\x1f' || convert_to(order_no, 'UTF8')), 'hex'), 3)
		|| left(md5(merchant || '/' || order_no), 11))::uuid
$$;

-- Puts a payment of 100 CNY and its attempts (all through test/test) into any
-- states: an INSERT is not a step, so it is not guarded.
CREATE FUNCTION test.put(merchant text, order_no text, state text, attempts text[] DEFAULT '{}',
	end_requested boolean DEFAULT false, valid_until timestamptz DEFAULT NULL, multi boolean DEFAULT false)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	made CONSTANT uuid := test.number(merchant, order_no);
	won CONSTANT integer := CASE WHEN state = 'paid' THEN array_position(attempts, 'paid') END;
BEGIN
	INSERT INTO pay_payment AS p (pay_no, merchant, order_no, amount, currency, state, end_requested,
		valid_until, multi, winner, amount_collected, routes)
	VALUES (made, put.merchant, put.order_no, 100, 'CNY', put.state, put.end_requested,
		put.valid_until, put.multi, won, CASE WHEN won IS NULL THEN 0 ELSE 100 END,
		array_fill(1::smallint, ARRAY[cardinality(attempts)]));
	INSERT INTO pay_attempt (trade_no, pay_no, attempt, route, amount, state, amount_collected, request_id)
	SELECT test.number(put.merchant, put.order_no, 1, n::integer), made, n, 1, 100, s,
		CASE WHEN s = 'paid' THEN 100 END, 'R' || n
	FROM unnest(attempts) WITH ORDINALITY AS a (s, n);
	RETURN made;
END
$$;

-- One line that changes when any row of ours does.
CREATE FUNCTION test.fingerprint() RETURNS text LANGUAGE sql STABLE AS $$
	SELECT md5(string_agg(r, E'\n' ORDER BY r)) FROM (
		SELECT 'payment' || t::text FROM pay_payment t
		UNION ALL SELECT 'attempt' || t::text FROM pay_attempt t
		UNION ALL SELECT 'event' || t::text FROM pay_event t
		UNION ALL SELECT 'review' || t::text FROM pay_review t
		UNION ALL SELECT 'refund' || t::text FROM pay_refund t
		UNION ALL SELECT 'dispute' || t::text FROM pay_dispute t
		UNION ALL SELECT 'task' || t::text FROM pay_task t
		UNION ALL SELECT 'resource' || t::text FROM pay_resource t
		UNION ALL SELECT 'hold' || t::text FROM pay_hold t
		UNION ALL SELECT 'channel' || t::text FROM pay_channel t
		UNION ALL SELECT 'grantee' || t::text FROM pay_grantee t
		UNION ALL SELECT 'database' || t::text FROM pay_database t) AS rows (r)
$$;

-- A payment as one line: its state, and in brackets its attempts' states.
CREATE FUNCTION test.states(merchant text, order_no text) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT p.state::text || ' [' || coalesce(string_agg(a.state::text, ' ' ORDER BY a.attempt), '') || ']'
		|| CASE WHEN p.winner IS NULL THEN '' ELSE ' won by ' || p.winner END
	FROM pay_payment p LEFT JOIN pay_attempt a USING (pay_no)
	WHERE p.merchant = states.merchant AND p.order_no = states.order_no
	GROUP BY p.pay_no
$$;
