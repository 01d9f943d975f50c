/*
 * A day of payments by counts, not by the clock: CALL day.live(first, last, hundreds)
 * lives steps first to last of a day with so many hundreds of orders.  In every step a
 * hundred orders come, and the earlier ones go on: credentials one step later, the
 * worker's question two, its answer three, the callback ten steps later (the first half
 * of the day's a hundred in a call of pay_callbacks, the others one by one), refunds of
 * every twentieth after that.  All of it in the order of time, each call with its commit.
 *
 * day.written has the updates of each kind of call, by table: what the session's own
 * counters say, so nothing depends on when statistics arrive.  It wants pay_idem's
 * tables, empty, in public, and the test channel to itself.
 */
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS day CASCADE;
CREATE SCHEMA day;

CREATE UNLOGGED TABLE day.payment (n integer PRIMARY KEY, trade_no text NOT NULL, state text NOT NULL DEFAULT 'open');
CREATE UNLOGGED TABLE day.written (kind text, relation text, calls bigint NOT NULL, updates bigint NOT NULL, hot bigint NOT NULL, PRIMARY KEY (kind, relation));
CREATE UNLOGGED TABLE day.counted (relation text PRIMARY KEY, updates bigint NOT NULL, hot bigint NOT NULL);

-- The first question is due at once, and the next one not on this day.
UPDATE pay_channel SET schedule = '{1us,1day,1day}' WHERE channel = 'test' AND method = 'card';
INSERT INTO pay_resource (resource) SELECT 'stock:' || n FROM generate_series(0, 99) n;

-- What was written since the last time was written by so many calls of this kind.
CREATE FUNCTION day.note(kind text, calls bigint) RETURNS void LANGUAGE sql AS $$
	WITH now AS (
		SELECT relname::text AS relation, pg_stat_get_xact_tuples_updated(oid) AS updates, pg_stat_get_xact_tuples_hot_updated(oid) AS hot
		FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 'pay\_%'),
	before AS (
		SELECT n.relation, n.updates - coalesce(c.updates, 0) AS updates, n.hot - coalesce(c.hot, 0) AS hot FROM now n LEFT JOIN day.counted c USING (relation)),
	counted AS (
		INSERT INTO day.counted SELECT * FROM now
		ON CONFLICT (relation) DO UPDATE SET updates = excluded.updates, hot = excluded.hot)
	INSERT INTO day.written AS w SELECT note.kind, b.relation, note.calls, b.updates, b.hot FROM before b WHERE b.updates > 0 AND note.kind IS NOT NULL
	ON CONFLICT ON CONSTRAINT written_pkey DO UPDATE SET calls = w.calls + excluded.calls, updates = w.updates + excluded.updates, hot = w.hot + excluded.hot
$$;

CREATE FUNCTION day.is(got text, expected text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF got IS DISTINCT FROM expected THEN
		RAISE EXCEPTION 'answered %, not %', got, expected;
	END IF;
END $$;

-- A prepay, as the application makes it; numbers are as long as those of real channels.
CREATE FUNCTION day.prepay(n integer, try integer) RETURNS pay_result LANGUAGE sql AS $$
	SELECT pay_prepay(order_no => (1000000000000000000 + n)::text, amount => 1000 + n % 1000, currency => 'CNY', channel => 'test', method => 'card',
		request_id => md5(try || ' ' || n), payer => 'customer ' || n,
		valid_for => CASE n % 4 WHEN 3 THEN interval '1 day' END, holds => CASE n % 4 WHEN 3 THEN ARRAY['stock:' || n % 100] END)
$$;

CREATE FUNCTION day.message(n integer, reported text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('channel', 'test', 'callback_id', 'evt_' || md5(reported || n), 'trade_no', p.trade_no, 'reported', reported,
		'amount', 1000 + n % 1000, 'currency', 'CNY', 'channel_txn', '4200' || left(translate(md5(n::text), 'abcdef', '012345'), 24), 'occurred_at', now(),
		'payload', '{"id": "evt_1MqqbKLt4dXK03v5qaIbiNCC", "type": "payment_intent.succeeded", "object": "event", "livemode": true}'::jsonb)
	FROM day.payment p WHERE p.n = message.n
$$;

CREATE FUNCTION day.callback(n integer, reported text) RETURNS text LANGUAGE sql AS $$
	SELECT (pay_callback(m ->> 'channel', m ->> 'callback_id', m ->> 'trade_no', m ->> 'reported', (m ->> 'amount')::bigint, m ->> 'currency', m ->> 'channel_txn',
		(m ->> 'occurred_at')::timestamptz, m -> 'payload')).decision
	FROM day.message(n, reported) m
$$;

CREATE PROCEDURE day.orders(hundred integer) LANGUAGE plpgsql AS $$
DECLARE
	answer pay_result;
	n integer;
BEGIN
	FOR n IN hundred * 100 .. hundred * 100 + 99 LOOP
		answer := day.prepay(n, 1);
		PERFORM day.is(answer.decision, 'proceed');
		INSERT INTO day.payment (n, trade_no) VALUES (n, answer.trade_no);
		COMMIT;
	END LOOP;
	PERFORM day.note('prepay', 100);
	COMMIT;
END $$;

-- Every tenth caller does not hear the answer, and asks again before there is a credential.
CREATE PROCEDURE day.credentials(hundred integer) LANGUAGE plpgsql AS $$
DECLARE
	p record;
BEGIN
	FOR p IN SELECT * FROM day.payment WHERE n / 100 = hundred AND n % 10 = 5 ORDER BY n LOOP
		PERFORM day.is((day.prepay(p.n, 1)).decision, 'proceed');
		COMMIT;
	END LOOP;
	PERFORM day.note('prepay, handed out again', 10);
	FOR p IN SELECT * FROM day.payment WHERE n / 100 = hundred ORDER BY n LOOP
		PERFORM day.is((pay_credential(p.trade_no, 'pi_' || md5(p.n::text) || '_secret_' || left(md5('s' || p.n), 25), '1 hour')).decision, 'applied');
		COMMIT;
	END LOOP;
	PERFORM day.note('credential', 100);
	COMMIT;
END $$;

-- All that was claimed is in the order of time, as the queue is.
CREATE PROCEDURE day.questions(hundred integer) LANGUAGE plpgsql AS $$
DECLARE
	got bigint;
BEGIN
	SELECT count(*) INTO got FROM pay_claim('worker-1', 100, '1 hour', '{query}') c JOIN day.payment p USING (trade_no) WHERE p.n / 100 = hundred;
	COMMIT;
	PERFORM day.is(got::text, '100');
	PERFORM day.note('claim', 100);
	COMMIT;
END $$;

CREATE PROCEDURE day.answers(hundred integer) LANGUAGE plpgsql AS $$
DECLARE
	p record;
BEGIN
	FOR p IN SELECT * FROM day.payment WHERE n / 100 = hundred ORDER BY n LOOP
		PERFORM day.is((pay_callback('test', NULL, p.trade_no, 'paying')).decision, 'unchanged');
		COMMIT;
	END LOOP;
	PERFORM day.note('answer to a question', 100);
	COMMIT;
END $$;

CREATE PROCEDURE day.callbacks(hundred integer, at_once boolean) LANGUAGE plpgsql AS $$
DECLARE
	messages jsonb;
	p record;
BEGIN
	-- every twentieth fails at first, and the customer tries again
	FOR p IN SELECT * FROM day.payment WHERE n / 100 = hundred AND n % 20 = 10 ORDER BY n LOOP
		PERFORM day.is(day.callback(p.n, 'failed'), 'applied');
		COMMIT;
	END LOOP;
	PERFORM day.note('callback', 5);
	FOR p IN SELECT * FROM day.payment WHERE n / 100 = hundred AND n % 20 = 10 ORDER BY n LOOP
		UPDATE day.payment SET trade_no = (day.prepay(p.n, 2)).trade_no WHERE n = p.n;
		COMMIT;
	END LOOP;
	PERFORM day.note('prepay, second attempt', 5);
	IF at_once THEN
		SELECT jsonb_agg(day.message(n, 'paid') ORDER BY n) INTO messages FROM day.payment WHERE n / 100 = hundred;
		PERFORM day.is((SELECT string_agg(DISTINCT decision, ', ') FROM pay_callbacks(messages)), 'applied');
		COMMIT;
		PERFORM day.note('callbacks, 100 in a call', 100);
	ELSE
		FOR p IN SELECT * FROM day.payment WHERE n / 100 = hundred ORDER BY n LOOP
			PERFORM day.is(day.callback(p.n, 'paid'), 'applied');
			COMMIT;
		END LOOP;
		PERFORM day.note('callback', 100);
	END IF;
	COMMIT;
END $$;

CREATE PROCEDURE day.refunds(hundred integer) LANGUAGE plpgsql AS $$
DECLARE
	p record;
	got bigint;
BEGIN
	FOR p IN SELECT * FROM day.payment WHERE n / 100 = hundred AND n % 20 = 0 ORDER BY n LOOP
		PERFORM day.is((pay_refund(p.trade_no, 'refund ' || p.n, 100, 'sent back')).decision, 'proceed');
		COMMIT;
	END LOOP;
	PERFORM day.note('refund', 5);
	FOR p IN SELECT * FROM day.payment WHERE n / 100 = hundred AND n % 20 = 0 ORDER BY n LOOP
		PERFORM day.is((pay_refund_callback('test', 'refund evt ' || p.n, 'refund ' || p.n, 'succeeded', 100, 'CNY', p.trade_no, '5030' || p.n)).decision, 'applied');
		COMMIT;
	END LOOP;
	PERFORM day.note('refund callback', 5);
	COMMIT;
END $$;

CREATE PROCEDURE day.live(first integer, last integer, hundreds integer) LANGUAGE plpgsql AS $$
DECLARE
	h integer;
BEGIN
	DELETE FROM day.counted;
	PERFORM day.note(NULL, 0);
	COMMIT;
	FOR h IN first .. last LOOP
		IF h < hundreds THEN CALL day.orders(h); END IF;
		IF h - 1 BETWEEN 0 AND hundreds - 1 THEN CALL day.credentials(h - 1); END IF;
		IF h - 2 BETWEEN 0 AND hundreds - 1 THEN CALL day.questions(h - 2); END IF;
		IF h - 3 BETWEEN 0 AND hundreds - 1 THEN CALL day.answers(h - 3); END IF;
		IF h - 10 BETWEEN 0 AND hundreds - 1 THEN CALL day.callbacks(h - 10, h - 10 < hundreds / 2); END IF;
		IF h - 12 BETWEEN 0 AND hundreds - 1 THEN CALL day.refunds(h - 12); END IF;
	END LOOP;
END $$;
