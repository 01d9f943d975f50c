\set ECHO none
-- How each test begins: with nothing in the database but the helpers below, pay_idem
-- and its empty tables, whatever ran before. A test that makes these itself sets
-- the variable helpers_only.
SET client_min_messages = warning;
SET check_function_bodies = off;

DO $$
DECLARE
	schema_name name;
BEGIN
	FOR schema_name IN SELECT nspname FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%' LOOP
		EXECUTE format('DROP SCHEMA %I CASCADE', schema_name);
	END LOOP;
END
$$;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
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

\if :{?helpers_only}
\else
CREATE EXTENSION pay_idem;
DO $$ BEGIN PERFORM pay_install(); END $$;
-- However slow the machine: no attempt is due to be handed out to another client.
UPDATE pay_channel SET resubmit_after = '1 year';
\endif
RESET check_function_bodies;
RESET client_min_messages;
\set ECHO all
