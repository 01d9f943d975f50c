/*
 * That rival (b) has the same rules: each line below is asked of pay_idem and
 * of bench/sql/plpgsql.sql, and both must answer what stands first in it
 * (decision, the payment's state, attempt and its state, another order that it
 * names, a credential, whether it warns of money that left, whether a refund
 * was opened; or the SQLSTATE).  In the end both must have logged the same, put
 * the same up for review, give back the same, and have the same to do later.
 *
 * Rivals (a), (c) and (d) have no rules but what their statements say, in their
 * favour.  Not in (b)'s scope, and so not asked here: holds, the setting
 * pay_idem.lookalike_window, all functions but pay_prepay and pay_callback, and
 * the rules about what only these others leave behind (see plpgsql.sql).  What
 * two callers at once are told is in test/t/034_bench.pl.
 */
SET client_min_messages = warning;

-- on tables with the same columns in the same order
DO $$
DECLARE
	differs text;
BEGIN
	SELECT string_agg(format('%s: pay_idem has %s, PL/pgSQL %s', t, ours, theirs), E'\n') INTO differs
	FROM unnest('{channel, payment, attempt, event, review, refund, task}'::text[]) t,
		LATERAL (SELECT string_agg(attname, ' ' ORDER BY attnum) AS ours FROM pg_attribute WHERE attrelid = ('pay_' || t)::regclass AND attnum > 0 AND NOT attisdropped) o,
		LATERAL (SELECT string_agg(attname, ' ' ORDER BY attnum) AS theirs FROM pg_attribute WHERE attrelid = ('plpgsql.' || t)::regclass AND attnum > 0 AND NOT attisdropped) r
	WHERE ours IS DISTINCT FROM theirs;
	IF differs IS NOT NULL THEN
		RAISE EXCEPTION 'pay_idem and PL/pgSQL have other columns' USING DETAIL = differs;
	END IF;
END
$$;

INSERT INTO pay_channel (route, channel, method, resubmit_after, resubmit_within, max_attempts, can_resubmit, message_ids) VALUES
	(4001, 'bench', 'again', '0', '1 day', 3, true, 'message'), (4002, 'bench', 'never', '0', '1 day', 3, false, 'message'),
	(4003, 'bench', 'forgets', '0', '0', 3, true, 'message'), (4004, 'bench', 'states', '1 day', '1 day', 3, true, 'state');
-- nobody is handed an attempt, and nothing is due, because this takes long
UPDATE pay_channel SET resubmit_after = '1 day' WHERE channel = 'test';
UPDATE pay_channel SET schedule = '{1 day}';
DELETE FROM plpgsql.channel;
INSERT INTO plpgsql.channel
SELECT route, channel, method, resubmit_after, resubmit_within, timeout, schedule, schedule_held, held_for, message_ids,
	max_attempts, can_resubmit, can_close, can_reverse
FROM pay_channel;

CREATE TEMP TABLE numbers (order_no text, attempt integer, ours text, theirs text, PRIMARY KEY (order_no, attempt));

CREATE FUNCTION pg_temp.compare(expected text, ours text, theirs text, what text) RETURNS void
	LANGUAGE plpgsql AS $$
BEGIN
	IF ours IS DISTINCT FROM expected OR theirs IS DISTINCT FROM expected THEN
		RAISE EXCEPTION 'expected "%", pay_idem says "%", PL/pgSQL "%": %', expected, ours, theirs, what;
	END IF;
END
$$;

CREATE FUNCTION pg_temp.prepay(expected text, order_no text, method text, request_id text, amount bigint DEFAULT 1000,
	currency text DEFAULT 'CNY', channel text DEFAULT 'test', payer text DEFAULT NULL, multi boolean DEFAULT NULL,
	valid_for interval DEFAULT NULL, replaces text DEFAULT NULL, confirm boolean DEFAULT false) RETURNS void
	LANGUAGE plpgsql AS $$
DECLARE
	a record;
	b record;
	ours text;
	theirs text;
BEGIN
	BEGIN
		SELECT * INTO a FROM pay_prepay(order_no => order_no, amount => amount, currency => currency, channel => channel,
			method => method, request_id => request_id, payer => payer, multi => multi, valid_for => valid_for,
			replaces => replaces, confirm => confirm);
		ours := concat_ws(' ', a.decision, a.state, a.attempt, a.attempt_state, a.other_order_no, a.credential, substring(a.detail FROM '^its money may have left'));
	EXCEPTION WHEN OTHERS THEN
		ours := SQLSTATE;
	END;
	BEGIN
		SELECT * INTO b FROM plpgsql.prepay(order_no, amount, currency, channel, method, request_id, p_payer => payer,
			p_multi => multi, p_valid_for => valid_for, p_replaces => replaces, p_confirm => confirm);
		theirs := concat_ws(' ', b.decision, b.state, b.attempt, b.attempt_state, b.other_order_no, b.credential, substring(b.detail FROM '^its money may have left'));
	EXCEPTION WHEN OTHERS THEN
		theirs := SQLSTATE;
	END;
	PERFORM pg_temp.compare(expected, ours, theirs, format('prepay %s by %s', order_no, request_id));
	IF expected LIKE 'proceed%' THEN
		INSERT INTO numbers VALUES (order_no, a.attempt, a.trade_no, b.trade_no) ON CONFLICT DO NOTHING;
		IF NOT EXISTS (SELECT FROM numbers n
				WHERE (n.order_no, n.attempt, n.ours, n.theirs) = (prepay.order_no, a.attempt, a.trade_no, b.trade_no)) THEN
			RAISE EXCEPTION 'prepay % by %: not the number that the attempt had before', order_no, request_id;
		END IF;
	END IF;
END
$$;

-- What the channel gave to pay with. The rival has no function for it, so it is not compared how it comes there.
CREATE FUNCTION pg_temp.credential(order_no text, attempt integer, credential text, valid_for interval) RETURNS void
	LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
	UPDATE pay_attempt a SET credential = $3, credential_expires_at = now() + valid_for
	FROM numbers n WHERE (n.order_no, n.attempt) = ($1, $2) AND a.trade_no = n.ours::uuid;
	UPDATE plpgsql.attempt a SET credential = $3, credential_expires_at = now() + valid_for
	FROM numbers n WHERE (n.order_no, n.attempt) = ($1, $2) AND a.trade_no = n.theirs::uuid;
END
$$;

-- Time passes: an order was made, was paid or is valid so much earlier.
CREATE FUNCTION pg_temp.earlier(order_no text, made interval DEFAULT '0', paid interval DEFAULT '0', valid interval DEFAULT '0') RETURNS void
	LANGUAGE plpgsql SET session_replication_role = replica AS $$
BEGIN
	UPDATE pay_payment p SET created_at = created_at - made, valid_until = valid_until - valid WHERE p.order_no = $1;
	UPDATE plpgsql.payment p SET created_at = created_at - made, valid_until = valid_until - valid WHERE p.order_no = $1;
	UPDATE pay_event e SET recorded_at = recorded_at - paid FROM pay_payment p WHERE p.pay_no = e.pay_no AND p.order_no = $1;
	UPDATE plpgsql.event e SET recorded_at = recorded_at - paid FROM plpgsql.payment p WHERE p.pay_no = e.pay_no AND p.order_no = $1;
END
$$;

-- The number of the next attempt, before it is there: that of the first one but for the ninth byte.
CREATE FUNCTION pg_temp.foresee(order_no text, attempt integer) RETURNS void LANGUAGE sql AS $$
	INSERT INTO numbers
	SELECT n.order_no, $2, encode(set_byte(decode(n.ours, 'hex'), 8, 128 + $2), 'hex'), encode(set_byte(decode(n.theirs, 'hex'), 8, 128 + $2), 'hex')
	FROM numbers n WHERE (n.order_no, n.attempt) = ($1, 1)
$$;

-- The payment's number stands as attempt 0.
CREATE FUNCTION pg_temp.payment_number(order_no text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO numbers
	SELECT $1, 0, replace((SELECT pay_no::text FROM pay_payment p WHERE p.order_no = $1), '-', ''), replace((SELECT pay_no::text FROM plpgsql.payment p WHERE p.order_no = $1), '-', '')
$$;

CREATE FUNCTION pg_temp.callback(expected text, order_no text, attempt integer, callback_id text, reported text,
	amount bigint DEFAULT 1000, currency text DEFAULT 'CNY', channel text DEFAULT 'test', txn text DEFAULT 'T1',
	occurred_at timestamptz DEFAULT now(), merchant text DEFAULT NULL, dashes boolean DEFAULT false) RETURNS void
	LANGUAGE plpgsql AS $$
DECLARE
	a record;
	b record;
	n record;
	ours text;
	theirs text;
BEGIN
	SELECT * INTO n FROM numbers m WHERE (m.order_no, m.attempt) = (callback.order_no, callback.attempt);
	IF dashes THEN
		n.ours := upper(n.ours::uuid::text);
		n.theirs := upper(n.theirs::uuid::text);
	END IF;
	BEGIN
		SELECT * INTO a FROM pay_callback(channel, callback_id, coalesce(n.ours, order_no), reported, amount, currency, txn, occurred_at, NULL, merchant);
		ours := concat_ws(' ', a.decision, a.state, a.attempt, a.attempt_state, CASE WHEN a.refund_no = a.trade_no || 's' THEN '+refund' END);
	EXCEPTION WHEN OTHERS THEN
		ours := SQLSTATE;
	END;
	BEGIN
		SELECT * INTO b FROM plpgsql.callback(channel, callback_id, coalesce(n.theirs, order_no), reported, amount, currency, txn, occurred_at, NULL, merchant);
		theirs := concat_ws(' ', b.decision, b.state, b.attempt, b.attempt_state, CASE WHEN b.refund_no = b.trade_no || 's' THEN '+refund' END);
	EXCEPTION WHEN OTHERS THEN
		theirs := SQLSTATE;
	END;
	PERFORM pg_temp.compare(expected, ours, theirs, format('callback %s for %s', callback_id, order_no));
END
$$;

-- An order is paid once.
SELECT pg_temp.prepay('proceed paying 1 paying', 'A', 'card', 'r1');
SELECT pg_temp.prepay('in_progress paying 1 paying', 'A', 'card', 'r2');
SELECT pg_temp.prepay('in_progress paying 1 paying', 'A', 'qr', 'r3');
SELECT pg_temp.prepay('PY422', 'A', 'qr', 'r1');
SELECT pg_temp.prepay('PY422', 'A', 'card', 'r1', amount => 999);
SELECT pg_temp.prepay('PY422', 'A', 'card', 'r1', currency => 'USD');
SELECT pg_temp.prepay('PY422', 'A', 'card', 'r1', multi => true);
SELECT pg_temp.prepay('proceed paying 1 paying', 'A', 'card', 'r1');
SELECT pg_temp.callback('mismatch paying 1 paying', 'A', 1, 'c1', 'paid', amount => 999);
SELECT pg_temp.callback('replayed paying 1 paying', 'A', 1, 'c1', 'paid', amount => 999);
SELECT pg_temp.prepay('unknown paying 1 paying', 'A', 'card', 'r4');

SELECT pg_temp.prepay('proceed paying 1 paying', 'B', 'card', 'r1');
SELECT pg_temp.callback('applied paid 1 paid', 'B', 1, 'c1', 'paid');
SELECT pg_temp.callback('replayed paid 1 paid', 'B', 1, 'c1', 'paid');
SELECT pg_temp.callback('unchanged paid 1 paid', 'B', 1, 'c2', 'paid');
SELECT pg_temp.callback('stale paid 1 paid', 'B', 1, 'c3', 'failed');
SELECT pg_temp.callback('mismatch paid 1 paid', 'B', 1, 'c4', 'paid', txn => 'T2');
SELECT pg_temp.callback('mismatch paid 1 paid', 'B', 1, 'c5', 'paid', channel => 'bench');
SELECT pg_temp.callback('mismatch paid 1 paid', 'B', 1, 'c6', 'paid', txn => 'T2');
SELECT pg_temp.callback('stale paid 1 paid', 'B', 1, 'c7', 'reversed', amount => NULL, currency => NULL);
SELECT pg_temp.callback('mismatch paid 1 paid', 'B', 1, 'c1', 'paid', txn => 'T1', currency => 'USD');
SELECT pg_temp.callback('stale paid 1 paid', 'B', 1, 'c1', 'failed');
SELECT pg_temp.callback('stale paid 1 paid', 'B', 1, NULL, 'failed');
SELECT pg_temp.prepay('already_paid paid 1 paid its money may have left', 'B', 'card', 'r2');

-- Failed, paid again; late money is surplus, and goes back.
SELECT pg_temp.prepay('proceed paying 1 paying', 'C', 'card', 'r1');
SELECT pg_temp.callback('applied failed 1 failed', 'C', 1, 'c1', 'failed', amount => NULL, currency => NULL);
SELECT pg_temp.callback('stale failed 1 failed', 'C', 1, 'c2', 'closed', amount => NULL, currency => NULL);
SELECT pg_temp.prepay('proceed paying 2 paying', 'C', 'qr', 'r2');
SELECT pg_temp.callback('applied unknown 2 unknown', 'C', 2, 'c3', 'unknown', amount => NULL, currency => NULL);
SELECT pg_temp.prepay('unknown unknown 2 unknown', 'C', 'qr', 'r3');
SELECT pg_temp.callback('applied paid 2 paid', 'C', 2, 'c4', 'paid');
SELECT pg_temp.callback('surplus paid 1 paid +refund', 'C', 1, 'c5', 'paid');
SELECT pg_temp.callback('replayed paid 1 paid +refund', 'C', 1, 'c5', 'paid');
SELECT pg_temp.callback('unchanged paid 1 paid', 'C', 1, 'c6', 'paid');
SELECT pg_temp.prepay('already_paid paid 2 paid', 'C', 'card', 'r4');

-- Handed out again; not where the channel does not allow it; too many.
SELECT pg_temp.prepay('proceed paying 1 paying', 'D', 'again', 'r1', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 1 paying', 'D', 'again', 'r2', channel => 'bench');
SELECT pg_temp.prepay('unknown paying 1 paying', 'D', 'never', 'r3', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 1 paying', 'E', 'never', 'r1', channel => 'bench');
SELECT pg_temp.prepay('unknown paying 1 paying', 'E', 'never', 'r1', channel => 'bench');
SELECT pg_temp.callback('applied failed 1 failed', 'E', 1, 'c1', 'failed', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 2 paying', 'E', 'never', 'r2', channel => 'bench');
SELECT pg_temp.callback('applied failed 2 failed', 'E', 2, 'c2', 'failed', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 3 paying', 'E', 'never', 'r3', channel => 'bench');
SELECT pg_temp.callback('applied failed 3 failed', 'E', 3, 'c3', 'failed', channel => 'bench');
SELECT pg_temp.prepay('throttled failed 3 failed', 'E', 'never', 'r4', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 4 paying', 'E', 'card', 'r5');
SELECT pg_temp.callback('applied paid 1 paid', 'E', 1, 'c4', 'paid', channel => 'bench');
SELECT pg_temp.prepay('already_paid paid 1 paid', 'E', 'card', 'r5');
-- its own request is handed out again at once, another one's not before its channel's time; nor where the channel spoke of it, or may have forgotten it
SELECT pg_temp.prepay('proceed paying 1 paying', 'D2', 'states', 'r1', channel => 'bench');
SELECT pg_temp.prepay('in_progress paying 1 paying', 'D2', 'again', 'r2', channel => 'bench');
SELECT pg_temp.prepay('PY422', 'D2', 'again', 'r1', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 1 paying', 'D2', 'states', 'r1', channel => 'bench');
SELECT pg_temp.callback('unchanged paying 1 paying', 'D2', 1, NULL, 'paying', channel => 'bench', amount => NULL, currency => NULL, txn => NULL);
SELECT pg_temp.prepay('unknown paying 1 paying', 'D2', 'states', 'r1', channel => 'bench');
SELECT pg_temp.prepay('in_progress paying 1 paying', 'D2', 'states', 'r2', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 1 paying', 'D3', 'forgets', 'r1', channel => 'bench');
SELECT pg_temp.prepay('unknown paying 1 paying', 'D3', 'forgets', 'r1', channel => 'bench');
-- a credential is shown while it lives; it goes when the attempt is over
SELECT pg_temp.prepay('proceed paying 1 paying', 'D4', 'card', 'r1');
SELECT pg_temp.credential('D4', 1, 'wx1', '1 hour');
SELECT pg_temp.prepay('in_progress paying 1 paying wx1', 'D4', 'card', 'r1');
SELECT pg_temp.prepay('in_progress paying 1 paying wx1', 'D4', 'qr', 'r2');
SELECT pg_temp.credential('D4', 1, 'wx1', '-1 second');
SELECT pg_temp.prepay('in_progress paying 1 paying', 'D4', 'card', 'r2');
SELECT pg_temp.prepay('proceed paying 1 paying', 'D4', 'card', 'r1');
SELECT pg_temp.credential('D4', 1, 'wx2', '1 hour');
SELECT pg_temp.callback('mismatch paying 1 paying', 'D4', 1, 'c1', 'paid', amount => 1);
SELECT pg_temp.prepay('unknown paying 1 paying wx2', 'D4', 'card', 'r1');
SELECT pg_temp.callback('applied failed 1 failed', 'D4', 1, 'c2', 'failed');
-- so many attempts by a channel's method, not by the channel
SELECT pg_temp.prepay('proceed paying 1 paying', 'D5', 'never', 'r1', channel => 'bench');
SELECT pg_temp.callback('applied failed 1 failed', 'D5', 1, 'c1', 'failed', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 2 paying', 'D5', 'never', 'r1', channel => 'bench');
SELECT pg_temp.callback('applied failed 2 failed', 'D5', 2, 'c2', 'failed', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 3 paying', 'D5', 'never', 'r1', channel => 'bench');
SELECT pg_temp.callback('applied failed 3 failed', 'D5', 3, 'c3', 'failed', channel => 'bench');
SELECT pg_temp.prepay('throttled failed 3 failed', 'D5', 'never', 'r1', channel => 'bench');
SELECT pg_temp.prepay('PY422', 'D5', 'again', 'r1', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 4 paying', 'D5', 'again', 'r2', channel => 'bench');

-- What costs nothing is paid; what nobody paid in time is closed.
SELECT pg_temp.prepay('already_paid paid', 'S1', 'card', 'r1', amount => 0);
SELECT pg_temp.prepay('already_paid paid', 'S1', 'card', 'r2', amount => 0);
SELECT pg_temp.prepay('PY422', 'S1', 'card', 'r1');
SELECT pg_temp.prepay('proceed paying 1 paying', 'S2', 'card', 'r1');
SELECT pg_temp.prepay('already_paid paid', 'S3', 'card', 'r1', amount => 0, replaces => 'S2');
SELECT pg_temp.prepay('closed closing 1 closing S3', 'S2', 'card', 'r1');
SELECT pg_temp.prepay('proceed paying 1 paying', 'S4', 'card', 'r1', valid_for => '1 microsecond');
SELECT pg_temp.prepay('unknown paying 1 paying', 'S4', 'card', 'r1');
SELECT pg_temp.prepay('unknown paying 1 paying', 'S4', 'qr', 'r2');
SELECT pg_temp.callback('applied closed 1 failed', 'S4', 1, 'c1', 'failed');
SELECT pg_temp.prepay('closed closed 1 failed', 'S4', 'card', 'r1');
SELECT pg_temp.callback('surplus closed 1 paid +refund', 'S4', 1, 'c2', 'paid');
SELECT pg_temp.prepay('proceed paying 1 paying', 'S5', 'card', 'r1', valid_for => '1 microsecond', multi => true);
SELECT pg_temp.prepay('unknown paying 1 paying', 'S5', 'qr', 'r2');
SELECT pg_temp.callback('applied reversed 1 reversed', 'S5', 1, 'c1', 'reversed');
SELECT pg_temp.prepay('closed reversed 1 reversed', 'S5', 'qr', 'r2');
-- its time passes while nothing is open
SELECT pg_temp.prepay('proceed paying 1 paying', 'S6', 'card', 'r1', valid_for => '1 day');
SELECT pg_temp.callback('applied failed 1 failed', 'S6', 1, 'c1', 'failed');
SELECT pg_temp.earlier('S6', valid => '1 day');
SELECT pg_temp.prepay('closed closed 1 failed', 'S6', 'card', 'r2', payer => 'zoe');
SELECT pg_temp.prepay('PY422', 'S6', 'card', 'r2', payer => 'eva');

-- A payer that nobody named becomes known, whatever the answer; not by a question.
SELECT pg_temp.prepay('proceed paying 1 paying', 'T1', 'card', 'r1', amount => 77);
SELECT pg_temp.prepay('in_progress paying 1 paying', 'T1', 'card', 'r2', amount => 77, payer => 'tom');
SELECT pg_temp.prepay('PY422', 'T1', 'card', 'r1', amount => 77, payer => 'tim');
SELECT pg_temp.prepay('proceed paying 1 paying', 'T2', 'card', 'r1', amount => 77);
SELECT pg_temp.callback('applied failed 1 failed', 'T2', 1, 'c1', 'failed', amount => 77);
SELECT pg_temp.prepay('confirm failed T1', 'T2', 'card', 'r2', amount => 77, payer => 'tom');
SELECT pg_temp.prepay('proceed paying 2 paying', 'T2', 'card', 'r2', amount => 77, payer => 'tim');
SELECT pg_temp.prepay('PY422', 'T2', 'card', 'r2', amount => 77, payer => 'tom');
SELECT pg_temp.prepay('proceed paying 1 paying', 'T3', 'card', 'r1', amount => 78);
SELECT pg_temp.prepay('proceed paying 1 paying', 'T3', 'card', 'r1', amount => 78, payer => 'tom');
SELECT pg_temp.callback('applied unknown 1 unknown', 'T3', 1, 'c1', 'unknown', amount => NULL, currency => NULL);
SELECT pg_temp.prepay('proceed paying 1 paying', 'T4', 'card', 'r1', amount => 79);
SELECT pg_temp.callback('applied paid 1 paid', 'T4', 1, 'c1', 'paid', amount => 79);
SELECT pg_temp.prepay('already_paid paid 1 paid', 'T4', 'card', 'r1', amount => 79, payer => 'tom');
SELECT pg_temp.prepay('already_paid paid', 'S1', 'card', 'r1', amount => 0, payer => 'tom');
SELECT pg_temp.prepay('proceed paying 1 paying', 'T5', 'card', 'r1', amount => 81);
SELECT pg_temp.callback('mismatch paying 1 paying', 'T5', 1, 'c1', 'paid', amount => 1);
SELECT pg_temp.prepay('unknown paying 1 paying', 'T5', 'card', 'r2', amount => 81, payer => 'tom');
SELECT pg_temp.prepay('proceed paying 1 paying', 'T6', 'card', 'r1', amount => 82, multi => true);
SELECT pg_temp.prepay('proceed paying 2 paying', 'T6', 'never', 'r2', amount => 82, channel => 'bench');
SELECT pg_temp.prepay('proceed paying 3 paying', 'T6', 'never', 'r3', amount => 82, channel => 'bench');
SELECT pg_temp.prepay('proceed paying 4 paying', 'T6', 'never', 'r4', amount => 82, channel => 'bench');
SELECT pg_temp.prepay('throttled paying 4 paying', 'T6', 'never', 'r5', amount => 82, channel => 'bench', payer => 'tom');
SELECT pg_temp.prepay('proceed paying 1 paying', 'T7', 'card', 'r1', amount => 83);
SELECT pg_temp.prepay('proceed paying 1 paying', 'T8', 'card', 'r1', amount => 83, replaces => 'T7');
SELECT pg_temp.prepay('closed closing 1 closing T8', 'T7', 'card', 'r1', amount => 83, payer => 'tom');

-- A cashier that lets a customer pay again.
SELECT pg_temp.prepay('proceed paying 1 paying', 'F', 'card', 'r1', multi => true);
SELECT pg_temp.prepay('proceed paying 2 paying', 'F', 'qr', 'r2');
SELECT pg_temp.callback('applied paying 1 failed', 'F', 1, 'c1', 'failed');
SELECT pg_temp.callback('applied failed 2 failed', 'F', 2, 'c2', 'failed');
-- whose attempt is it about? The request's own before a more open one, one that holds money before all
SELECT pg_temp.prepay('proceed paying 1 paying', 'F2', 'card', 'r1', multi => true);
SELECT pg_temp.credential('F2', 1, 'wx1', '1 hour');
SELECT pg_temp.prepay('proceed paying 2 paying', 'F2', 'qr', 'r2');
SELECT pg_temp.callback('applied paying 1 unknown', 'F2', 1, 'c1', 'unknown', amount => NULL, currency => NULL);
SELECT pg_temp.prepay('unknown paying 1 unknown', 'F2', 'card', 'r1');
SELECT pg_temp.prepay('proceed paying 2 paying', 'F2', 'qr', 'r2');
SELECT pg_temp.prepay('proceed paying 3 paying', 'F2', 'card', 'r3');
SELECT pg_temp.callback('applied paying 2 closing', 'F2', 2, 'c2', 'closing', amount => NULL, currency => NULL);
SELECT pg_temp.prepay('unknown paying 2 closing', 'F2', 'card', 'r4');
SELECT pg_temp.callback('applied paying 2 failed', 'F2', 2, 'c3', 'failed');
SELECT pg_temp.callback('applied authorized 1 authorized', 'F2', 1, 'c4', 'authorized');
SELECT pg_temp.prepay('in_progress authorized 1 authorized', 'F2', 'card', 'r3');
SELECT pg_temp.prepay('in_progress authorized 1 authorized', 'F2', 'card', 'r4');
SELECT pg_temp.callback('applied paid 3 paid', 'F2', 3, 'c5', 'paid');
SELECT pg_temp.prepay('already_paid paid 3 paid', 'F2', 'card', 'r1');
SELECT pg_temp.callback('surplus paid 1 paid +refund', 'F2', 1, 'c6', 'paid', txn => 'T9');
SELECT pg_temp.prepay('already_paid paid 3 paid', 'F2', 'card', 'r1');
-- the last one where all are over
SELECT pg_temp.prepay('proceed paying 1 paying', 'F3', 'never', 'r1', channel => 'bench', multi => true);
SELECT pg_temp.prepay('proceed paying 2 paying', 'F3', 'never', 'r2', channel => 'bench');
SELECT pg_temp.prepay('proceed paying 3 paying', 'F3', 'never', 'r3', channel => 'bench');
SELECT pg_temp.callback('applied paying 1 failed', 'F3', 1, 'c1', 'failed', channel => 'bench');
SELECT pg_temp.callback('applied paying 3 closed', 'F3', 3, 'c3', 'closed', channel => 'bench');
SELECT pg_temp.callback('applied failed 2 reversed', 'F3', 2, 'c2', 'reversed', channel => 'bench');
SELECT pg_temp.prepay('throttled failed 3 closed', 'F3', 'never', 'r1', channel => 'bench');

-- A new order instead of an undecided one; what still arrives for that is surplus.
SELECT pg_temp.prepay('proceed paying 1 paying', 'H', 'card', 'r1');
SELECT pg_temp.prepay('proceed paying 1 paying', 'I', 'card', 'r1', replaces => 'H');
SELECT pg_temp.prepay('closed closing 1 closing I', 'H', 'card', 'r1');
SELECT pg_temp.prepay('proceed paying 1 paying', 'I', 'card', 'r1', replaces => 'H');
SELECT pg_temp.prepay('closed I', 'J', 'card', 'r1', replaces => 'H');
SELECT pg_temp.prepay('already_paid B', 'J', 'card', 'r1', replaces => 'B');
SELECT pg_temp.prepay('PY404', 'J', 'card', 'r1', replaces => 'nobody');
SELECT pg_temp.prepay('PY400', 'J', 'card', 'r1', replaces => 'J');
SELECT pg_temp.prepay('PY409', 'F', 'card', 'r3', replaces => 'A');
SELECT pg_temp.callback('surplus closed 1 paid +refund', 'H', 1, 'c1', 'paid');
SELECT pg_temp.callback('applied failed 1 failed', 'I', 1, 'c1', 'failed');
SELECT pg_temp.prepay('proceed paying 2 paying', 'I', 'card', 'r2', replaces => 'H');
-- One with two attempts, one of them authorized; and one with nothing open.
SELECT pg_temp.prepay('proceed paying 1 paying', 'K', 'card', 'r1', multi => true);
SELECT pg_temp.prepay('proceed paying 2 paying', 'K', 'qr', 'r2');
SELECT pg_temp.callback('applied authorized 1 authorized', 'K', 1, 'c1', 'authorized');
SELECT pg_temp.prepay('proceed paying 1 paying', 'L', 'card', 'r1', replaces => 'K');
SELECT pg_temp.callback('applied closing 2 closed', 'K', 2, 'c2', 'closed');
SELECT pg_temp.callback('surplus authorized 1 authorized', 'K', 1, 'c3', 'authorized');
SELECT pg_temp.callback('applied closed 1 reversed', 'K', 1, 'c4', 'reversed');
SELECT pg_temp.prepay('proceed paying 1 paying', 'M', 'card', 'r1', replaces => 'F');
SELECT pg_temp.prepay('closed closed 2 failed M', 'F', 'card', 'r4');

-- The same customer, the same amount: one order or two?
SELECT pg_temp.prepay('proceed paying 1 paying', 'N', 'card', 'r1', payer => 'ann');
SELECT pg_temp.prepay('confirm N', 'O', 'card', 'r1', payer => 'ann');
-- numbers sort by their milliseconds
SELECT pg_sleep(0.002);
SELECT pg_temp.prepay('proceed paying 1 paying', 'O', 'card', 'r1', payer => 'ann', confirm => true);
SELECT pg_temp.prepay('in_progress paying 1 paying', 'O', 'card', 'r2', payer => 'ann');
SELECT pg_temp.prepay('proceed paying 1 paying', 'P', 'card', 'r1', payer => 'ann', amount => 999);
SELECT pg_temp.prepay('proceed paying 1 paying', 'Q', 'card', 'r1', payer => 'bob');
SELECT pg_temp.callback('applied failed 1 failed', 'N', 1, 'c1', 'failed');
SELECT pg_temp.prepay('confirm failed O', 'N', 'card', 'r2', payer => 'ann');
SELECT pg_temp.prepay('proceed paying 2 paying', 'N', 'card', 'r2', payer => 'ann', replaces => NULL, confirm => true);
-- the latest of them; also one that was just paid, but no longer one that is over
SELECT pg_temp.prepay('confirm O', 'N2', 'card', 'r1', payer => 'ann');
SELECT pg_temp.callback('applied paid 1 paid', 'O', 1, 'c1', 'paid');
SELECT pg_temp.prepay('confirm O', 'N2', 'card', 'r1', payer => 'ann');
SELECT pg_temp.earlier('O', made => '1 hour');
SELECT pg_temp.prepay('confirm O', 'N2', 'card', 'r1', payer => 'ann');
SELECT pg_temp.earlier('O', paid => '1 hour');
SELECT pg_temp.prepay('confirm N', 'N2', 'card', 'r1', payer => 'ann');
SELECT pg_temp.earlier('N', made => '1 hour');
SELECT pg_temp.prepay('proceed paying 1 paying', 'N2', 'card', 'r1', payer => 'ann');
-- nor one that was given up
SELECT pg_temp.prepay('proceed paying 1 paying', 'N3', 'card', 'r1', payer => 'cat');
SELECT pg_temp.prepay('proceed paying 1 paying', 'N4', 'card', 'r1', payer => 'cat', replaces => 'N3', amount => 999);
SELECT pg_temp.prepay('proceed paying 1 paying', 'N5', 'card', 'r1', payer => 'cat');

-- Authorized, then captured: all of it, or less.
SELECT pg_temp.prepay('proceed paying 1 paying', 'R', 'card', 'r1');
SELECT pg_temp.callback('stale paying 1 paying', 'R', 1, 'c0', 'capturing');
SELECT pg_temp.callback('applied authorized 1 authorized', 'R', 1, 'c1', 'authorized');
SELECT pg_temp.callback('mismatch authorized 1 authorized', 'R', 1, 'c2', 'capturing', amount => 1001);
SELECT pg_temp.callback('applied capturing 1 capturing', 'R', 1, 'c3', 'capturing', amount => 600);
SELECT pg_temp.callback('applied unknown 1 unknown', 'R', 1, 'c4', 'unknown', amount => NULL, currency => NULL);
SELECT pg_temp.callback('mismatch unknown 1 unknown', 'R', 1, 'c5', 'capturing', amount => 700);
SELECT pg_temp.callback('applied capturing 1 capturing', 'R', 1, 'c6', 'capturing', amount => NULL, currency => NULL);
SELECT pg_temp.callback('mismatch capturing 1 capturing', 'R', 1, 'c7', 'paid');
SELECT pg_temp.callback('applied paid 1 paid', 'R', 1, 'c8', 'paid', amount => 600);
-- a late word of the authorization does not open the way to a second capture
SELECT pg_temp.prepay('proceed paying 1 paying', 'R2', 'card', 'r1');
SELECT pg_temp.callback('applied authorized 1 authorized', 'R2', 1, 'c1', 'authorized', txn => NULL);
SELECT pg_temp.callback('applied capturing 1 capturing', 'R2', 1, 'c2', 'capturing', txn => NULL);
SELECT pg_temp.callback('unchanged capturing 1 capturing', 'R2', 1, 'c3', 'authorized', occurred_at => now() - interval '1 minute');
SELECT pg_temp.callback('unchanged capturing 1 capturing', 'R2', 1, 'c4', 'authorized', occurred_at => NULL);
SELECT pg_temp.callback('stale capturing 1 capturing', 'R2', 1, 'c5', 'closed');
SELECT pg_temp.callback('applied authorized 1 authorized', 'R2', 1, 'c6', 'authorized');
SELECT pg_temp.callback('applied closing 1 closing', 'R2', 1, 'c7', 'closing');
SELECT pg_temp.callback('unchanged closing 1 closing', 'R2', 1, 'c8', 'authorized', occurred_at => now() - interval '1 minute');
SELECT pg_temp.callback('applied paid 1 paid', 'R2', 1, 'c9', 'paid');
-- the first one who says the transaction
SELECT pg_temp.prepay('proceed paying 1 paying', 'R3', 'card', 'r1');
SELECT pg_temp.callback('applied paid 1 paid', 'R3', 1, 'c1', 'paid', txn => NULL);
SELECT pg_temp.callback('unchanged paid 1 paid', 'R3', 1, 'c2', 'paid', txn => 'T3');
SELECT pg_temp.callback('mismatch paid 1 paid', 'R3', 1, 'c3', 'paid', txn => 'T4');

-- A message is its id and what it says; where the channel has one id for all of a payment, news in another state is another message.
SELECT pg_temp.prepay('proceed paying 1 paying', 'V1', 'states', 'r1', channel => 'bench');
SELECT pg_temp.callback('applied authorized 1 authorized', 'V1', 1, 'one', 'authorized', channel => 'bench');
SELECT pg_temp.callback('applied paid 1 paid', 'V1', 1, 'one', 'paid', channel => 'bench');
SELECT pg_temp.callback('replayed paid 1 paid', 'V1', 1, 'one', 'paid', channel => 'bench');
SELECT pg_temp.callback('replayed authorized 1 authorized', 'V1', 1, 'one', 'authorized', channel => 'bench');
SELECT pg_temp.callback('mismatch paid 1 paid', 'V1', 1, 'one', 'paid', channel => 'bench', amount => 999);
SELECT pg_temp.prepay('proceed paying 1 paying', 'V2', 'card', 'r1');
SELECT pg_temp.callback('applied unknown 1 unknown', 'V2', 1, 'one', 'unknown', amount => NULL, currency => NULL);
SELECT pg_temp.callback('applied paying 1 paying', 'V2', 1, 'one', 'paying', amount => NULL, currency => NULL);
SELECT pg_temp.prepay('unknown paying 1 paying', 'V2', 'card', 'r1');
SELECT pg_temp.callback('applied paid 1 paid', 'V2', 1, 'one', 'paid');

-- Whose number is it? With dashes or without, an attempt's or the payment's, this merchant's; one that is not there yet comes again.
SELECT pg_temp.prepay('proceed paying 1 paying', 'W1', 'card', 'r1');
SELECT pg_temp.callback('applied failed 1 failed', 'W1', 1, 'c1', 'failed', dashes => true);
SELECT pg_temp.callback('unmatched', 'W1', 1, 'c2', 'paid', merchant => 'another');
SELECT pg_temp.callback('unmatched', 'W1', 1, 'c1', 'failed', merchant => 'another');
SELECT pg_temp.callback('replayed failed 1 failed', 'W1', 1, 'c1', 'failed', merchant => '');
SELECT pg_temp.foresee('W1', 2);
SELECT pg_temp.callback('unmatched', 'W1', 2, 'c3', 'paid');
SELECT pg_temp.callback('unmatched', 'W1', 2, 'c3', 'paid');
DELETE FROM numbers WHERE order_no = 'W1' AND attempt = 2;
SELECT pg_temp.payment_number('W1');
SELECT pg_temp.callback('unchanged failed 1 failed', 'W1', 0, 'c4', 'failed');
SELECT pg_temp.callback('replayed failed 1 failed', 'W1', 0, 'c4', 'failed');
SELECT pg_temp.prepay('proceed paying 2 paying', 'W1', 'card', 'r2');
SELECT pg_temp.callback('applied unknown 2 unknown', 'W1', 0, 'c5', 'unknown', amount => NULL, currency => NULL);
SELECT pg_temp.callback('applied paid 2 paid', 'W1', 2, 'c3', 'paid');
SELECT pg_temp.callback('unchanged paid 2 paid', 'W1', 0, 'c6', 'paid');
SELECT pg_temp.prepay('proceed paying 1 paying', 'W2', 'card', 'r1', multi => true);
SELECT pg_temp.prepay('proceed paying 2 paying', 'W2', 'qr', 'r2');
SELECT pg_temp.payment_number('W2');
SELECT pg_temp.callback('unmatched', 'W2', 0, 'c1', 'paid');

-- Unknown numbers and bad arguments.
SELECT pg_temp.callback('unmatched', '00000000000000000000000000000000', 1, 'c1', 'paid');
SELECT pg_temp.callback('unmatched', 'ABC123', 1, 'c1', 'paid');
SELECT pg_temp.callback('PY400', 'B', 1, 'c6', 'nonsense');
SELECT pg_temp.callback('PY400', 'B', 1, 'c6', 'paid', amount => NULL);
SELECT pg_temp.callback('PY400', 'B', 1, '', 'paid');
SELECT pg_temp.callback('PY400', 'B', 1, 'c8', 'created');
SELECT pg_temp.callback('PY400', 'B', 1, 'c8', 'paid', channel => 'nobody');
SELECT pg_temp.callback('PY400', 'ABC124', 1, 'c8', 'paid', channel => 'nobody');
SELECT pg_temp.prepay('PY400', '', 'card', 'r1');
SELECT pg_temp.prepay('PY400', 'G', 'card', '');
SELECT pg_temp.prepay('PY400', 'G', 'card', 'r1', amount => -1);
SELECT pg_temp.prepay('PY400', 'G', 'card', 'r1', valid_for => '0');
SELECT pg_temp.prepay('PY400', 'G', 'card', 'r1', valid_for => '3 years');
SELECT pg_temp.prepay('PY400', 'G', 'card', 'r1', currency => 'cny');
SELECT pg_temp.prepay('PY400', 'G', 'nothing', 'r1');

DO $$
DECLARE
	differs text;
BEGIN
	WITH ours AS (
		SELECT order_no, seq, attempt, reported::text, decision::text, payment_before::text, payment_after::text,
			attempt_before::text, attempt_after::text, source, message_id, e.amount, e.currency, channel_txn, occurred_at,
			refund_no IS NOT NULL, refund_before::text, refund_after::text
		FROM pay_event e JOIN pay_payment USING (pay_no)
	), theirs AS (
		SELECT order_no, seq, attempt, plpgsql.label(reported), CASE decision WHEN 'p' THEN 'proceed' WHEN 'a' THEN 'applied'
				WHEN '=' THEN 'unchanged' WHEN 's' THEN 'stale' WHEN '$' THEN 'surplus' WHEN 'm' THEN 'mismatch' WHEN 'c' THEN 'closed'
				WHEN 'A' THEN 'already_paid' WHEN 'i' THEN 'in_progress' WHEN 'u' THEN 'unknown' WHEN 't' THEN 'throttled' END,
			plpgsql.label(payment_before), plpgsql.label(payment_after), plpgsql.label(attempt_before),
			plpgsql.label(attempt_after), source, message_id, e.amount, e.currency, channel_txn, occurred_at,
			refund_no IS NOT NULL, refund_before::text, CASE refund_after WHEN 'r' THEN 'requested' END
		FROM plpgsql.event e JOIN plpgsql.payment USING (pay_no)
	)
	SELECT string_agg(t::text, E'\n' ORDER BY t::text) INTO differs FROM (
		(SELECT 'ours' AS who, * FROM (TABLE ours EXCEPT ALL TABLE theirs) o)
		UNION ALL (SELECT 'theirs', * FROM (TABLE theirs EXCEPT ALL TABLE ours) o)) t;
	IF differs IS NOT NULL THEN
		RAISE EXCEPTION 'pay_idem and PL/pgSQL logged differently' USING DETAIL = differs;
	END IF;
	-- of a number that is nowhere there is no order; it is the same for both, if it was not made here
	WITH ours AS (
		SELECT p.order_no, r.kind, r.source, r.message_id, r.seq, r.attempt, r.reported::text, r.about_money, r.amount, r.currency, r.channel_txn,
			r.occurred_at, r.merchant, coalesce(n.order_no || ' ' || n.attempt, r.trade_no) AS number, encode(uuid_send(r.attempt_no), 'hex') = replace(lower(r.trade_no), '-', '') AS is_attempt,
			r.verdict, r.resolved_at IS NOT NULL AS resolved
		FROM pay_review r LEFT JOIN pay_payment p USING (pay_no) LEFT JOIN numbers n ON n.ours = replace(lower(r.trade_no), '-', '')
	), theirs AS (
		SELECT p.order_no, r.kind, r.source, r.message_id, r.seq, r.attempt, plpgsql.label(r.reported), r.about_money, r.amount, r.currency, r.channel_txn,
			r.occurred_at, r.merchant, coalesce(n.order_no || ' ' || n.attempt, r.trade_no), encode(uuid_send(r.attempt_no), 'hex') = replace(lower(r.trade_no), '-', ''),
			r.verdict, r.resolved_at IS NOT NULL
		FROM plpgsql.review r LEFT JOIN plpgsql.payment p USING (pay_no) LEFT JOIN numbers n ON n.theirs = replace(lower(r.trade_no), '-', '')
	)
	SELECT string_agg(t::text, E'\n' ORDER BY t::text) INTO differs FROM (
		(SELECT 'ours' AS who, * FROM (TABLE ours EXCEPT ALL TABLE theirs) o)
		UNION ALL (SELECT 'theirs', * FROM (TABLE theirs EXCEPT ALL TABLE ours) o)) t;
	IF differs IS NOT NULL THEN
		RAISE EXCEPTION 'pay_idem and PL/pgSQL put different things up for review' USING DETAIL = differs;
	END IF;
	WITH ours AS (
		SELECT p.order_no, p.state::text, p.last_seq, p.winner, p.amount_collected, p.end_requested, p.payer, p.multi, p.routes,
			(SELECT s.order_no FROM pay_payment s WHERE s.pay_no = p.replaced_by) AS replaced_by,
			a.attempt, a.state::text AS attempt_state, a.amount_collected AS collected, a.amount_to_capture, a.amount_reserved, a.amount_refunded,
			a.request_id, a.channel_txn, a.credential, a.reports, a.reported_at IS NOT NULL AS reported, a.handed_out_at > a.opened_at AS again,
			f.kind, f.amount AS refund, f.state::text AS refund_state, f.adopted, f.of_txn, f.refund_no = replace(a.trade_no::text, '-', '') || 's' AS its_number
		FROM pay_payment p LEFT JOIN pay_attempt a USING (pay_no) LEFT JOIN pay_refund f USING (pay_no, attempt)
	), theirs AS (
		SELECT p.order_no, plpgsql.label(p.state), p.last_seq, p.winner, p.amount_collected, p.end_requested, p.payer, p.multi, p.routes,
			(SELECT s.order_no FROM plpgsql.payment s WHERE s.pay_no = p.replaced_by),
			a.attempt, plpgsql.label(a.state), a.amount_collected, a.amount_to_capture, a.amount_reserved, a.amount_refunded,
			a.request_id, a.channel_txn, a.credential, a.reports, a.reported_at IS NOT NULL, a.handed_out_at > a.opened_at,
			f.kind, f.amount, CASE f.state WHEN 'r' THEN 'requested' END, f.adopted, f.of_txn, f.refund_no = replace(a.trade_no::text, '-', '') || 's'
		FROM plpgsql.payment p LEFT JOIN plpgsql.attempt a USING (pay_no) LEFT JOIN plpgsql.refund f USING (pay_no, attempt)
	)
	SELECT string_agg(t::text, E'\n' ORDER BY t::text) INTO differs FROM (
		(SELECT 'ours' AS who, * FROM (TABLE ours EXCEPT ALL TABLE theirs) o)
		UNION ALL (SELECT 'theirs', * FROM (TABLE theirs EXCEPT ALL TABLE ours) o)) t;
	IF differs IS NOT NULL THEN
		RAISE EXCEPTION 'pay_idem and PL/pgSQL have different rows' USING DETAIL = differs;
	END IF;
	-- of an attempt's tasks the one counts that was queued for its time
	WITH ours AS (
		SELECT p.order_no, t.attempt, t.refund_no IS NOT NULL AS refund, count(*),
			count(*) FILTER (WHERE t.queued_for = coalesce(f.check_at, a.check_at)) AS counting, count(*) FILTER (WHERE t.due_at <= now()) AS due
		FROM pay_task t JOIN pay_payment p USING (pay_no) JOIN pay_attempt a USING (pay_no, attempt) LEFT JOIN pay_refund f ON f.refund_no = t.refund_no GROUP BY 1, 2, 3
	), theirs AS (
		SELECT p.order_no, t.attempt, t.refund_no IS NOT NULL, count(*),
			count(*) FILTER (WHERE t.queued_for = coalesce(f.check_at, a.check_at)), count(*) FILTER (WHERE t.due_at <= now())
		FROM plpgsql.task t JOIN plpgsql.payment p USING (pay_no) JOIN plpgsql.attempt a USING (pay_no, attempt) LEFT JOIN plpgsql.refund f ON f.refund_no = t.refund_no GROUP BY 1, 2, 3
	)
	SELECT string_agg(t::text, E'\n' ORDER BY t::text) INTO differs FROM (
		(SELECT 'ours' AS who, * FROM (TABLE ours EXCEPT ALL TABLE theirs) o)
		UNION ALL (SELECT 'theirs', * FROM (TABLE theirs EXCEPT ALL TABLE ours) o)) t;
	IF differs IS NOT NULL OR NOT EXISTS (SELECT FROM pay_task WHERE refund_no IS NOT NULL) THEN
		RAISE EXCEPTION 'pay_idem and PL/pgSQL queued differently' USING DETAIL = differs;
	END IF;
END
$$;
