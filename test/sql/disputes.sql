-- A customer says that two orders are one: a case with both payments' records, and
-- a person's verdict. And the likely duplicates that nobody has reported.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA disputes_test;

CREATE FUNCTION disputes_test.pay_no(order_no text, merchant text DEFAULT 'disputes') RETURNS text LANGUAGE sql AS $$
	SELECT p.pay_no::text FROM pay_payment p WHERE p.merchant = pay_no.merchant AND p.order_no = pay_no.order_no
$$;
CREATE FUNCTION disputes_test.trade_no(order_no text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT a.trade_no::text FROM pay_payment p JOIN pay_attempt a USING (pay_no)
	WHERE p.merchant = 'disputes' AND p.order_no = trade_no.order_no AND a.attempt = trade_no.attempt
$$;
CREATE FUNCTION disputes_test.open(order_no text, payer text DEFAULT 'ada', merchant text DEFAULT 'disputes') RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => merchant, payer => payer, confirm => true,
		channel => 'test', method => 'test', request_id => 'R1')
$$;
CREATE FUNCTION disputes_test.pay(order_no text, payer text DEFAULT 'ada', merchant text DEFAULT 'disputes') RETURNS text LANGUAGE sql AS $$
	SELECT disputes_test.open(order_no, payer, merchant);
	SELECT decision FROM pay_transition(trade_no => disputes_test.pay_no(order_no, merchant), to_state => 'paid', channel_txn => 'T1');
$$;
-- Disputes are named by the order they are about, numbers are new each time.
CREATE FUNCTION disputes_test.dispute(order_no text) RETURNS bigint LANGUAGE sql AS $$
	SELECT dispute_id FROM pay_dispute d WHERE d.pay_no::text = disputes_test.pay_no(order_no) ORDER BY dispute_id DESC LIMIT 1
$$;
CREATE FUNCTION disputes_test.resolve(order_no text, verdict text, reason text DEFAULT 'as the customer says') RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(test.try(format('SELECT concat_ws('', '', decision, verdict, refund_no) FROM pay_dispute_resolve(dispute_id => %s, verdict => %L, reason => %L)',
		disputes_test.dispute(order_no), resolve.verdict, resolve.reason)), 'dispute \d+|[0-9a-f]{32}d\d+', '<dispute>', 'g')
$$;
CREATE FUNCTION disputes_test.balance(order_no text, OUT collected bigint, OUT reserved bigint, OUT refunded bigint, OUT refundable bigint) LANGUAGE sql AS $$
	SELECT collected, reserved, refunded, refundable FROM pay_balance b WHERE b.merchant = 'disputes' AND b.order_no = balance.order_no
$$;
CREATE FUNCTION disputes_test.fingerprint() RETURNS text LANGUAGE sql STABLE AS $$
	SELECT md5(test.fingerprint() || coalesce((SELECT string_agg(r::text, E'\n' ORDER BY r::text) FROM pay_refund r), '')
		|| coalesce((SELECT string_agg(d::text, E'\n' ORDER BY d::text) FROM pay_dispute d), ''))
$$;
CREATE TEMP TABLE before (fingerprint text);

-- ---- a case is opened ----

SELECT disputes_test.pay('A1'), disputes_test.pay('A2');
SELECT decision, dispute_id = disputes_test.dispute('A2') AS numbered, pay_number(pay_no)::text = disputes_test.pay_no('A2') AS of_second, verdict, refund_no
FROM pay_dispute_open(trade_no => disputes_test.trade_no('A2'), duplicate_of => disputes_test.trade_no('A1'), reason => 'I ordered one pair of shoes');
SELECT dispute_id = disputes_test.dispute('A2') AS numbered, pay_no::text = disputes_test.pay_no('A2') AS of_second, other_pay_no::text = disputes_test.pay_no('A1') AS duplicate_of_first,
	opened_at <= now() AS opened, reason, opened_by = current_user AS opened_by, opened_session = session_user AS opened_session,
	verdict, verdict_reason, resolved_at, resolved_by, resolved_session, refund_no
FROM pay_dispute WHERE pay_no::text = disputes_test.pay_no('A2');
-- Opened again, by whatever numbers and from whichever side: the same case, and nothing is written.
INSERT INTO before SELECT disputes_test.fingerprint();
SELECT decision, dispute_id = disputes_test.dispute('A2') AS the_same
FROM pay_dispute_open(trade_no => disputes_test.pay_no('A2'), duplicate_of => disputes_test.pay_no('A1'), reason => 'again');
SELECT decision, dispute_id = disputes_test.dispute('A2') AS the_same
FROM pay_dispute_open(trade_no => disputes_test.pay_no('A1'), duplicate_of => disputes_test.trade_no('A2'), reason => 'the other way round');
SELECT fingerprint = disputes_test.fingerprint() AS nothing_written FROM before;
SELECT source, attempt, decision, regexp_replace(reason, '\d+', '<id>') AS reason FROM pay_history(disputes_test.pay_no('A1')) WHERE source = 'dispute';
-- It moves no money, and stops nothing.
SELECT decision, refundable FROM pay_query('A2', 'disputes');
SELECT count(*) AS refunds FROM pay_refund WHERE merchant = 'disputes';
-- It says so in both histories. The case: what happened to each of the two, in the order in which it happened.
SELECT order_no, seq, source, attempt, decision, payment_before, payment_after, attempt_before, attempt_after, amount, channel_txn
FROM pay_dispute_case(dispute_id => disputes_test.dispute('A2'));
SELECT bool_and(pay_number(pay_no)::text = disputes_test.pay_no(order_no)) AS whose, bool_and(recorded_at >= before) AS oldest_first
FROM (SELECT *, lag(recorded_at, 1, recorded_at) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before FROM pay_dispute_case(disputes_test.dispute('A2'))) AS c;
-- It has all that the history has.
SELECT count(*) AS rows, count(*) FILTER (WHERE to_jsonb(c) - 'order_no' - 'pay_no' = to_jsonb(h)) AS as_in_the_history
FROM pay_dispute_case(disputes_test.dispute('A2')) AS c, pay_history(c.pay_no) AS h WHERE h.seq = c.seq;

-- ---- the verdict: refund ----

SELECT disputes_test.resolve('A2', 'refund');
SELECT refund_no = replace(disputes_test.pay_no('A2'), '-', '') || 'd' || disputes_test.dispute('A2') AS named_after_it, kind, adopted, state, amount, attempt, pay_no::text = disputes_test.pay_no('A2') AS of_the_second
FROM pay_refund WHERE merchant = 'disputes';
SELECT * FROM disputes_test.balance('A2');
SELECT * FROM disputes_test.balance('A1');
SELECT verdict, verdict_reason, resolved_by = current_user AS resolved_by, resolved_session = session_user AS resolved_session, resolved_at >= opened_at AS resolved,
	refund_no = replace(pay_no::text, '-', '') || 'd' || dispute_id AS refund_no
FROM pay_dispute WHERE dispute_id = disputes_test.dispute('A2');
-- Resolved again the same way: the same refund, nothing written. Another way: no.
TRUNCATE before;
INSERT INTO before SELECT disputes_test.fingerprint();
SELECT disputes_test.resolve('A2', 'refund', 'once more');
SELECT disputes_test.resolve('A2', 'reject');
SELECT fingerprint = disputes_test.fingerprint() AS nothing_written FROM before;
-- The refund is one of the payment's: its events are in the history and in the case, and it goes its way.
SELECT regexp_replace(refund_no, '.*d.*', '<dispute>') AS refund_no, decision, refund_before, refund_after, amount FROM pay_history(disputes_test.pay_no('A2')) WHERE source = 'refund';
SELECT decision, state, refundable FROM pay_refund_transition(refund_no => replace(disputes_test.pay_no('A2'), '-', '') || 'd' || disputes_test.dispute('A2'), to_state => 'succeeded', merchant => 'disputes');
SELECT order_no, regexp_replace(refund_no, '.*d.*', '<dispute>') AS refund_no, refund_after FROM pay_dispute_case(disputes_test.dispute('A2')) WHERE source LIKE 'refund%';
SELECT * FROM disputes_test.balance('A2');
-- What was resolved may be asked again: a case of its own, and this time there is nothing left to refund.
SELECT decision FROM pay_dispute_open(trade_no => disputes_test.pay_no('A2'), duplicate_of => disputes_test.pay_no('A1'), reason => 'still two');
SELECT count(*) AS disputes, count(verdict) AS resolved FROM pay_dispute WHERE pay_no::text = disputes_test.pay_no('A2');
SELECT disputes_test.resolve('A2', 'refund');
SELECT disputes_test.resolve('A2', 'reject', 'it went back already');
-- What is left is what goes back: refunds of the shop's own count.
SELECT disputes_test.pay('B1'), disputes_test.pay('B2');
SELECT decision, refundable FROM pay_refund(trade_no => disputes_test.pay_no('B2'), refund_no => 'b1', amount => 30, reason => 'one was broken');
SELECT decision FROM pay_dispute_open(trade_no => disputes_test.pay_no('B2'), duplicate_of => disputes_test.pay_no('B1'), reason => 'a test');
SELECT disputes_test.resolve('B2', 'refund');
SELECT amount FROM pay_refund WHERE refund_no = replace(disputes_test.pay_no('B2'), '-', '') || 'd' || disputes_test.dispute('B2') AND merchant = 'disputes';
SELECT * FROM disputes_test.balance('B2');
-- An order that is not paid has nothing to give back; the case stays open until it has, or is rejected.
SELECT disputes_test.open('B3');
SELECT decision FROM pay_dispute_open(trade_no => disputes_test.pay_no('B3'), duplicate_of => disputes_test.pay_no('B1'), reason => 'a test');
SELECT disputes_test.resolve('B3', 'refund');
SELECT verdict, refund_no FROM pay_dispute WHERE dispute_id = disputes_test.dispute('B3');
SELECT decision FROM pay_transition(trade_no => disputes_test.trade_no('B3'), to_state => 'paid');
SELECT disputes_test.resolve('B3', 'refund');
SELECT * FROM disputes_test.balance('B3');

-- ---- the verdict: reject ----

SELECT disputes_test.pay('C1'), disputes_test.pay('C2');
SELECT decision FROM pay_dispute_open(trade_no => disputes_test.pay_no('C2'), duplicate_of => disputes_test.pay_no('C1'), reason => 'a test');
SELECT disputes_test.resolve('C2', 'reject', 'two parcels were delivered');
SELECT verdict, verdict_reason, resolved_at IS NOT NULL AS resolved, refund_no FROM pay_dispute WHERE dispute_id = disputes_test.dispute('C2');
SELECT disputes_test.resolve('C2', 'reject', 'once more');
SELECT disputes_test.resolve('C2', 'refund');
SELECT count(*) AS refunds FROM pay_refund WHERE pay_no::text IN (disputes_test.pay_no('C1'), disputes_test.pay_no('C2'));

-- ---- what is no case ----

TRUNCATE before;
INSERT INTO before SELECT disputes_test.fingerprint();
SELECT disputes_test.pay('A1', merchant => 'disputes 2');
TRUNCATE before;
INSERT INTO before SELECT disputes_test.fingerprint();
SELECT what, test.try(format('SELECT decision FROM pay_dispute_open(trade_no => %L, duplicate_of => %L, reason => %L)', a, b, 'a test')) AS answer
FROM (VALUES (1, 'the same', disputes_test.pay_no('A1'), disputes_test.pay_no('A1')), (2, 'the same, by its attempt', disputes_test.pay_no('A1'), disputes_test.trade_no('A1')),
	(3, 'another merchant''s', disputes_test.pay_no('A1'), disputes_test.pay_no('A1', 'disputes 2')),
	(4, 'nobody''s', '019b76da80008001810123456789abcd', disputes_test.pay_no('A1')), (5, 'of nobody', disputes_test.pay_no('A1'), '019b76da80008001810123456789abcd'),
	(6, 'no such attempt', overlay(disputes_test.trade_no('A1') PLACING '82' FROM 20), disputes_test.pay_no('A2'))) AS v (n, what, a, b) ORDER BY n;
SELECT test.try($$SELECT pay_dispute_resolve(dispute_id => 0, verdict => 'reject', reason => 'a test')$$) AS none;
SELECT fingerprint = disputes_test.fingerprint() AS nothing_written FROM before;

-- ---- who may ----

-- The case is opened by the application and resolved by ops: who and why are kept.
BEGIN;
CREATE ROLE regress_disputes_app;
CREATE ROLE regress_disputes_ops;
CREATE ROLE regress_disputes_auditor;
SELECT pay_grant('regress_disputes_app', 'app'), pay_grant('regress_disputes_ops', 'ops'), pay_grant('regress_disputes_auditor', 'auditor');
SELECT rolname, has_function_privilege(r.oid, 'pay_dispute_open(text, text, text)', 'EXECUTE') AS opens, has_function_privilege(r.oid, 'pay_dispute_resolve(bigint, text, text)', 'EXECUTE') AS resolves,
	has_function_privilege(r.oid, 'pay_dispute_case(bigint)', 'EXECUTE') AS reads_case, has_function_privilege(r.oid, 'pay_suspects(timestamptz)', 'EXECUTE') AS suspects,
	has_table_privilege(r.oid, 'pay_dispute', 'SELECT') AS reads, has_table_privilege(r.oid, 'pay_dispute', 'INSERT, UPDATE, DELETE') AS writes
FROM pg_roles r WHERE rolname LIKE 'regress\_disputes\_%' ORDER BY 1;
GRANT USAGE ON SCHEMA disputes_test TO PUBLIC;
CREATE TEMP TABLE ids ON COMMIT DROP AS SELECT disputes_test.pay_no('A1') AS a, disputes_test.pay_no('C1') AS b;
GRANT SELECT ON ids TO PUBLIC;
SET LOCAL ROLE regress_disputes_app;
SELECT decision FROM ids, pay_dispute_open(trade_no => b, duplicate_of => a, reason => 'the customer called');
RESET ROLE;
CREATE TEMP TABLE id ON COMMIT DROP AS SELECT disputes_test.dispute('C1') AS id;
GRANT SELECT ON id TO PUBLIC;
SET LOCAL ROLE regress_disputes_ops;
SELECT decision, verdict FROM id, pay_dispute_resolve(dispute_id => id, verdict => 'refund', reason => 'he is right');
SELECT order_no, source, actor FROM id, pay_dispute_case(id) WHERE actor LIKE 'regress%' ORDER BY order_no, seq;
SELECT opened_by, reason, resolved_by, verdict_reason FROM id JOIN pay_dispute ON dispute_id = id;
RESET ROLE;
ROLLBACK;

-- ---- the record of cases is guarded ----

SELECT statement, split_part(test.try(statement || CASE WHEN statement LIKE 'TRUNCATE%' THEN '' ELSE ' WHERE pay_no::text = ' || quote_literal(disputes_test.pay_no('C2')) END), ' | ', 1) AS answer
FROM unnest(ARRAY['UPDATE pay_dispute SET verdict = ''refund''', 'UPDATE pay_dispute SET reason = ''other''', 'UPDATE pay_dispute SET resolved_by = ''me''',
	'UPDATE pay_dispute SET refund_no = ''x''', 'UPDATE pay_dispute SET reason = reason', 'DELETE FROM pay_dispute', 'TRUNCATE pay_dispute']) AS s (statement);

-- ---- suspects: likely duplicates that nobody reported ----

-- Payments as they were made some time ago: the number and created_at say when.
CREATE FUNCTION disputes_test.put(order_no text, made_at timestamptz, payer text, merchant text DEFAULT 'suspects', amount bigint DEFAULT 100, currency text DEFAULT 'CNY',
	state text DEFAULT 'paid') RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	made CONSTANT uuid := overlay(test.number(merchant, order_no)::text
		PLACING regexp_replace(lpad(to_hex((extract(epoch FROM made_at) * 1000)::bigint), 12, '0'), '^(.{8})', '\1-') FROM 1 FOR 13)::uuid;
BEGIN
	INSERT INTO pay_payment (pay_no, merchant, order_no, payer, amount, currency, state, created_at, winner, amount_collected, routes)
	VALUES (made, put.merchant, put.order_no, put.payer, put.amount, put.currency, put.state, made_at,
		CASE put.state WHEN 'paid' THEN 1 END, CASE put.state WHEN 'paid' THEN put.amount ELSE 0 END, '{1}');
	INSERT INTO pay_attempt (trade_no, pay_no, attempt, route, amount, state, amount_collected, request_id)
	VALUES (overlay(overlay(made::text PLACING '001' FROM 16) PLACING '81' FROM 20)::uuid, made, 1, 1, put.amount, put.state,
		CASE put.state WHEN 'paid' THEN put.amount END, 'R1');
	RETURN made;
END
$$;
CREATE FUNCTION disputes_test.suspects(since timestamptz DEFAULT '2026-03-01 00:00 UTC', of_merchant text DEFAULT 'suspects', OUT payer text, OUT amount bigint,
	OUT currency text, OUT order_no text, OUT other_order_no text, OUT apart interval)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT payer, amount, currency, order_no, other_order_no, apart FROM pay_suspects(since => since) WHERE merchant = of_merchant
	ORDER BY payer, order_no, other_order_no
$$;
SELECT count(disputes_test.put(order_no, '2026-03-01 12:00 UTC'::timestamptz + apart, payer, merchant, amount, currency, state)) AS put FROM (VALUES
	-- two at once: they are what is sought
	('S1', '0 min'::interval, 'bob', 'suspects', 100::bigint, 'CNY', 'paid'), ('S2', '9 min 59 s', 'bob', 'suspects', 100, 'CNY', 'paid'),
	-- too far apart
	('S3', '0 min', 'carol', 'suspects', 100, 'CNY', 'paid'), ('S4', '10 min 1 s', 'carol', 'suspects', 100, 'CNY', 'paid'),
	-- three: each two of them
	('S5', '0 min', 'dave', 'suspects', 100, 'CNY', 'paid'), ('S6', '4 min', 'dave', 'suspects', 100, 'CNY', 'paid'), ('S7', '8 min', 'dave', 'suspects', 100, 'CNY', 'paid'),
	-- another amount, currency, payer, merchant, none at all, or not paid
	('S8', '0 min', 'erin', 'suspects', 100, 'CNY', 'paid'), ('S9', '1 min', 'erin', 'suspects', 101, 'CNY', 'paid'), ('S10', '1 min', 'erin', 'suspects', 100, 'USD', 'paid'),
	('S11', '1 min', 'frank', 'suspects', 100, 'CNY', 'paid'), ('S12', '1 min', 'erin', 'suspects 2', 100, 'CNY', 'paid'), ('S13', '1 min', 'erin', 'suspects', 100, 'CNY', 'failed'),
	('S14', '0 min', NULL, 'suspects', 100, 'CNY', 'paid'), ('S15', '1 min', NULL, 'suspects', 100, 'CNY', 'paid')) AS v (order_no, apart, payer, merchant, amount, currency, state);
SELECT * FROM disputes_test.suspects();
SELECT bool_and(pay_number(pay_no)::text = disputes_test.pay_no(order_no, merchant) AND pay_number(other_pay_no)::text = disputes_test.pay_no(other_order_no, merchant)) AS numbers
FROM pay_suspects('2026-03-01 UTC') WHERE merchant = 'suspects';
-- since: the later of the two was made then or after.
SELECT since, string_agg(payer || ' ' || order_no || ' ' || other_order_no, ', ' ORDER BY payer, order_no, other_order_no) AS pairs
FROM unnest('{12:07:59,12:08,12:08:01,12:09:59,12:10}'::text[]) AS since LEFT JOIN LATERAL disputes_test.suspects(('2026-03-01 ' || since || ' UTC')::timestamptz) ON true
GROUP BY since ORDER BY since;
-- Within the window that the question of pay_prepay has; 10 minutes if that is off.
SET pay_idem.lookalike_window = '5min';
SELECT payer, order_no, other_order_no, apart FROM disputes_test.suspects();
SET pay_idem.lookalike_window = '11min';
SELECT payer, count(*) FROM disputes_test.suspects() GROUP BY payer ORDER BY payer;
SET pay_idem.lookalike_window = 0;
SELECT payer, count(*) FROM disputes_test.suspects() GROUP BY payer ORDER BY payer;
RESET pay_idem.lookalike_window;
-- Reported, it is no news; resolved neither.
SELECT decision FROM pay_dispute_open(trade_no => disputes_test.pay_no('S1', 'suspects'), duplicate_of => disputes_test.pay_no('S2', 'suspects'), reason => 'a test');
SELECT decision FROM pay_dispute_open(trade_no => disputes_test.pay_no('S6', 'suspects'), duplicate_of => disputes_test.pay_no('S5', 'suspects'), reason => 'a test');
SELECT payer, count(*) FROM disputes_test.suspects() GROUP BY payer ORDER BY payer;
SELECT decision FROM pay_dispute d, pay_dispute_resolve(d.dispute_id, 'reject', 'a test') WHERE d.pay_no::text = disputes_test.pay_no('S6', 'suspects');
SELECT payer, count(*) FROM disputes_test.suspects() GROUP BY payer ORDER BY payer;
-- Nor is it, when the later one went back wholly; a part, or what is only asked for, is not wholly.
SELECT decision FROM pay_refund(trade_no => disputes_test.pay_no('S7', 'suspects'), refund_no => 's7-1', amount => 60, reason => 'a test');
SELECT decision FROM pay_refund_transition(refund_no => 's7-1', to_state => 'succeeded', merchant => 'suspects');
SELECT payer, count(*) FROM disputes_test.suspects() GROUP BY payer ORDER BY payer;
SELECT decision FROM pay_refund(trade_no => disputes_test.pay_no('S7', 'suspects'), refund_no => 's7-2', amount => 40, reason => 'a test');
SELECT decision FROM pay_refund_transition(refund_no => 's7-2', to_state => 'succeeded', merchant => 'suspects');
SELECT count(*) AS suspects FROM disputes_test.suspects();

DROP SCHEMA disputes_test CASCADE;
