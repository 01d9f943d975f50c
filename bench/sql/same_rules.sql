/*
 * That rival (b) has the same rules: each line below is asked of pay_idem and
 * of bench/sql/plpgsql.sql, and both must answer what stands first in it
 * (decision, the payment's state, attempt and its state, another order that it
 * names, whether a refund was opened; or the SQLSTATE). In the end both must
 * have logged the same, give back the same, and have the same to do later.
 */
SET client_min_messages = warning;

INSERT INTO pay_channel (route, channel, method, resubmit_after, max_attempts, can_resubmit) VALUES
	(4001, 'bench', 'again', '0', 3, true), (4002, 'bench', 'never', '0', 3, false);
INSERT INTO plpgsql.channel
SELECT route, channel, method, resubmit_after, timeout, schedule, max_attempts, can_resubmit, can_close, can_reverse
FROM pay_channel WHERE channel = 'bench';

CREATE TEMP TABLE numbers (order_no text, attempt integer, ours text, theirs text);

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
		ours := concat_ws(' ', a.decision, a.state, a.attempt, a.attempt_state, a.other_order_no);
	EXCEPTION WHEN OTHERS THEN
		ours := SQLSTATE;
	END;
	BEGIN
		SELECT * INTO b FROM plpgsql.prepay(order_no, amount, currency, channel, method, request_id, p_payer => payer,
			p_multi => multi, p_valid_for => valid_for, p_replaces => replaces, p_confirm => confirm);
		theirs := concat_ws(' ', b.decision, b.state, b.attempt, b.attempt_state, b.other_order_no);
	EXCEPTION WHEN OTHERS THEN
		theirs := SQLSTATE;
	END;
	PERFORM pg_temp.compare(expected, ours, theirs, format('prepay %s by %s', order_no, request_id));
	IF expected LIKE 'proceed%' THEN
		INSERT INTO numbers VALUES (order_no, a.attempt, a.trade_no, b.trade_no);
	END IF;
END
$$;

CREATE FUNCTION pg_temp.callback(expected text, order_no text, attempt integer, callback_id text, reported text,
	amount bigint DEFAULT 1000, currency text DEFAULT 'CNY', channel text DEFAULT 'test', txn text DEFAULT 'T1') RETURNS void
	LANGUAGE plpgsql AS $$
DECLARE
	a record;
	b record;
	n record;
	ours text;
	theirs text;
BEGIN
	SELECT * INTO n FROM numbers m WHERE (m.order_no, m.attempt) = (callback.order_no, callback.attempt);
	BEGIN
		SELECT * INTO a FROM pay_callback(channel, callback_id, coalesce(n.ours, order_no), reported, amount, currency, txn, now());
		ours := concat_ws(' ', a.decision, a.state, a.attempt, a.attempt_state, CASE WHEN a.refund_no = a.trade_no || 's' THEN '+refund' END);
	EXCEPTION WHEN OTHERS THEN
		ours := SQLSTATE;
	END;
	BEGIN
		SELECT * INTO b FROM plpgsql.callback(channel, callback_id, coalesce(n.theirs, order_no), reported, amount, currency, txn, now());
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
SELECT pg_temp.prepay('PY422', 'A', 'card', 'r1', payer => 'somebody');
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
SELECT pg_temp.callback('stale paid 1 paid', 'B', 1, 'c6', 'reversed', amount => NULL, currency => NULL);
SELECT pg_temp.prepay('already_paid paid 1 paid', 'B', 'card', 'r2');

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

-- A cashier that lets a customer pay again.
SELECT pg_temp.prepay('proceed paying 1 paying', 'F', 'card', 'r1', multi => true);
SELECT pg_temp.prepay('proceed paying 2 paying', 'F', 'qr', 'r2');
SELECT pg_temp.callback('applied paying 1 failed', 'F', 1, 'c1', 'failed');
SELECT pg_temp.callback('applied failed 2 failed', 'F', 2, 'c2', 'failed');

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
SELECT pg_temp.prepay('proceed paying 1 paying', 'O', 'card', 'r1', payer => 'ann', confirm => true);
SELECT pg_temp.prepay('in_progress paying 1 paying', 'O', 'card', 'r2', payer => 'ann');
SELECT pg_temp.prepay('proceed paying 1 paying', 'P', 'card', 'r1', payer => 'ann', amount => 999);
SELECT pg_temp.prepay('proceed paying 1 paying', 'Q', 'card', 'r1', payer => 'bob');
SELECT pg_temp.callback('applied failed 1 failed', 'N', 1, 'c1', 'failed');
SELECT pg_temp.prepay('confirm failed O', 'N', 'card', 'r2', payer => 'ann');
SELECT pg_temp.prepay('proceed paying 2 paying', 'N', 'card', 'r2', payer => 'ann', replaces => NULL, confirm => true);

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

-- Unknown numbers and bad arguments.
SELECT pg_temp.callback('unmatched', '00000000000000000000000000000000', 1, 'c1', 'paid');
SELECT pg_temp.callback('unmatched', 'ABC123', 1, 'c1', 'paid');
SELECT pg_temp.callback('PY400', 'B', 1, 'c6', 'nonsense');
SELECT pg_temp.callback('PY400', 'B', 1, 'c6', 'paid', amount => NULL);
SELECT pg_temp.callback('PY400', 'B', 1, '', 'paid');
SELECT pg_temp.prepay('PY400', '', 'card', 'r1');
SELECT pg_temp.prepay('PY400', 'G', 'card', '');
SELECT pg_temp.prepay('PY400', 'G', 'card', 'r1', amount => 0);
SELECT pg_temp.prepay('PY400', 'G', 'card', 'r1', currency => 'cny');
SELECT pg_temp.prepay('PY400', 'G', 'nothing', 'r1');

DO $$
DECLARE
	differs text;
BEGIN
	WITH ours AS (
		SELECT order_no, seq, attempt, reported::text, decision::text, payment_before::text, payment_after::text,
			attempt_before::text, attempt_after::text, source, message_id, e.amount, e.currency, channel_txn,
			refund_no IS NOT NULL, refund_before::text, refund_after::text
		FROM pay_event e JOIN pay_payment USING (pay_no)
	), theirs AS (
		SELECT order_no, seq, attempt, plpgsql.label(reported), CASE decision WHEN 'p' THEN 'proceed' WHEN 'a' THEN 'applied'
				WHEN '=' THEN 'unchanged' WHEN 's' THEN 'stale' WHEN '$' THEN 'surplus' WHEN 'm' THEN 'mismatch' END,
			plpgsql.label(payment_before), plpgsql.label(payment_after), plpgsql.label(attempt_before),
			plpgsql.label(attempt_after), source, message_id, e.amount, e.currency, channel_txn,
			refund_no IS NOT NULL, refund_before::text, CASE refund_after WHEN 'r' THEN 'requested' END
		FROM plpgsql.event e JOIN plpgsql.payment USING (pay_no)
	)
	SELECT string_agg(t::text, E'\n' ORDER BY t::text) INTO differs FROM (
		(SELECT 'ours' AS who, * FROM (TABLE ours EXCEPT TABLE theirs) o)
		UNION ALL (SELECT 'theirs', * FROM (TABLE theirs EXCEPT TABLE ours) o)) t;
	IF differs IS NOT NULL THEN
		RAISE EXCEPTION 'pay_idem and PL/pgSQL logged differently' USING DETAIL = differs;
	END IF;
	SELECT string_agg(t::text, E'\n' ORDER BY t::text) INTO differs FROM (
		SELECT order_no, p.kind AS ours, q.kind AS theirs
		FROM (SELECT order_no, r.* FROM pay_review r LEFT JOIN pay_payment USING (pay_no)) p
			FULL JOIN (SELECT order_no, r.* FROM plpgsql.review r LEFT JOIN plpgsql.payment USING (pay_no)) q
			USING (order_no, kind, message_id)
		WHERE order_no IS NOT NULL AND (p.kind IS NULL OR q.kind IS NULL)) t;
	IF differs IS NOT NULL THEN
		RAISE EXCEPTION 'pay_idem and PL/pgSQL put different things up for review' USING DETAIL = differs;
	END IF;
	WITH ours AS (
		SELECT p.order_no, p.state::text, p.last_seq, p.winner, p.amount_collected, p.end_requested,
			(SELECT s.order_no FROM pay_payment s WHERE s.pay_no = p.replaced_by) AS replaced_by,
			a.attempt, a.state::text AS attempt_state, a.amount_collected AS collected, a.amount_to_capture, a.amount_reserved, a.amount_refunded,
			f.kind, f.amount AS refund, f.state::text AS refund_state, f.adopted, f.refund_no = replace(a.trade_no::text, '-', '') || 's' AS its_number
		FROM pay_payment p LEFT JOIN pay_attempt a USING (pay_no) LEFT JOIN pay_refund f USING (pay_no, attempt)
	), theirs AS (
		SELECT p.order_no, plpgsql.label(p.state), p.last_seq, p.winner, p.amount_collected, p.end_requested,
			(SELECT s.order_no FROM plpgsql.payment s WHERE s.pay_no = p.replaced_by),
			a.attempt, plpgsql.label(a.state), a.amount_collected, a.amount_to_capture, a.amount_reserved, a.amount_refunded,
			f.kind, f.amount, CASE f.state WHEN 'r' THEN 'requested' END, f.adopted, f.refund_no = replace(a.trade_no::text, '-', '') || 's'
		FROM plpgsql.payment p LEFT JOIN plpgsql.attempt a USING (pay_no) LEFT JOIN plpgsql.refund f USING (pay_no, attempt)
	)
	SELECT string_agg(t::text, E'\n' ORDER BY t::text) INTO differs FROM (
		(SELECT 'ours' AS who, * FROM (TABLE ours EXCEPT TABLE theirs) o)
		UNION ALL (SELECT 'theirs', * FROM (TABLE theirs EXCEPT TABLE ours) o)) t;
	IF differs IS NOT NULL THEN
		RAISE EXCEPTION 'pay_idem and PL/pgSQL have different rows' USING DETAIL = differs;
	END IF;
	-- the first question's time is not the attempt's; that of what came later is
	WITH ours AS (
		SELECT p.order_no, t.attempt, t.refund_no IS NOT NULL AS refund, count(*), count(*) FILTER (WHERE coalesce(t.queued_for = a.check_at, true)) AS counting
		FROM pay_task t JOIN pay_payment p USING (pay_no) JOIN pay_attempt a USING (pay_no, attempt) GROUP BY 1, 2, 3
	), theirs AS (
		SELECT p.order_no, t.attempt, t.refund_no IS NOT NULL, count(*), count(*) FILTER (WHERE coalesce(t.due_at = a.check_at, true))
		FROM plpgsql.task t JOIN plpgsql.payment p USING (pay_no) JOIN plpgsql.attempt a USING (pay_no, attempt) GROUP BY 1, 2, 3
	)
	SELECT string_agg(t::text, E'\n' ORDER BY t::text) INTO differs FROM (
		(SELECT 'ours' AS who, * FROM (TABLE ours EXCEPT TABLE theirs) o)
		UNION ALL (SELECT 'theirs', * FROM (TABLE theirs EXCEPT TABLE ours) o)) t;
	IF differs IS NOT NULL OR NOT EXISTS (SELECT FROM pay_task WHERE refund_no IS NOT NULL) THEN
		RAISE EXCEPTION 'pay_idem and PL/pgSQL queued differently' USING DETAIL = differs;
	END IF;
END
$$;
