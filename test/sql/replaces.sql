-- A new order instead of a doubtful one (replaces), and the question to a customer
-- who seems to pay twice (payer, confirm): rules 8 and 9 of pay_prepay.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA replaces_test;

CREATE FUNCTION replaces_test.pay_no(order_no text) RETURNS text LANGUAGE sql AS $$
	SELECT p.pay_no::text FROM pay_payment p WHERE p.merchant = 'replaces' AND p.order_no = pay_no.order_no
$$;
CREATE FUNCTION replaces_test.trade_no(order_no text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT a.trade_no::text FROM pay_payment p JOIN pay_attempt a USING (pay_no)
	WHERE p.merchant = 'replaces' AND p.order_no = trade_no.order_no AND a.attempt = trade_no.attempt
$$;
CREATE FUNCTION replaces_test.prepay(order_no text, request_id text DEFAULT 'R1', replaces text DEFAULT NULL, payer text DEFAULT NULL,
	confirm boolean DEFAULT false, amount bigint DEFAULT 100, currency text DEFAULT 'CNY', merchant text DEFAULT 'replaces', multi boolean DEFAULT NULL,
	method text DEFAULT 'test',
	OUT decision text, OUT state text, OUT attempt integer, OUT attempt_state text, OUT other_order_no text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt, attempt_state, other_order_no
	FROM pay_prepay(order_no => order_no, amount => amount, currency => currency, merchant => merchant, payer => payer, multi => multi,
		channel => 'test', method => method, request_id => request_id, replaces => replaces, confirm => confirm)
$$;
CREATE FUNCTION replaces_test.step(order_no text, to_state text, attempt integer DEFAULT 1, OUT decision text, OUT state text, OUT attempt_state text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt_state FROM pay_transition(trade_no => replaces_test.trade_no(order_no, attempt), to_state => to_state)
$$;
-- Whether it ends, and what it was replaced by.
CREATE FUNCTION replaces_test.is(order_no text, OUT states text, OUT end_requested boolean, OUT replaced_by text) LANGUAGE sql AS $$
	SELECT test.states('replaces', p.order_no), p.end_requested, n.order_no
	FROM pay_payment p LEFT JOIN pay_payment n ON n.pay_no = p.replaced_by
	WHERE p.merchant = 'replaces' AND p.order_no = "is".order_no
$$;
CREATE FUNCTION replaces_test.history(order_no text, OUT seq integer, OUT source text, OUT attempt integer, OUT decision text, OUT payment text, OUT attempt_step text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT seq, source, attempt, decision, concat_ws('>', payment_before, payment_after), concat_ws('>', attempt_before, attempt_after)
	FROM pay_history(replaces_test.pay_no(order_no))
$$;
CREATE FUNCTION replaces_test.fingerprint() RETURNS text LANGUAGE sql STABLE AS $$
	SELECT md5(test.fingerprint() || coalesce((SELECT string_agg(r::text, E'\n' ORDER BY r::text) FROM pay_refund r), ''))
$$;
CREATE TEMP TABLE before (fingerprint text);

-- ---- 8: the customer gives up an undecided order for this one ----

SELECT * FROM replaces_test.prepay('A1');
SELECT decision FROM pay_credential(trade_no => replaces_test.trade_no('A1'), credential => 'prepay_id=1', valid_for => '1 hour');
SELECT * FROM replaces_test.prepay('A2', replaces => 'A1');
-- The old one is asked to end, and its attempt to close; the new one is an order like any other.
SELECT * FROM replaces_test.is('A1');
SELECT * FROM replaces_test.is('A2');
SELECT * FROM replaces_test.history('A1');
SELECT count(*) AS names_the_new_one FROM pay_history(replaces_test.pay_no('A1')) WHERE attempt = 0 AND reason LIKE '%A2%';
SELECT * FROM replaces_test.history('A2');
-- Whoever comes for the old one is sent to its successor; what he could pay with is not handed out any more.
SELECT * FROM replaces_test.prepay('A1');
SELECT * FROM replaces_test.prepay('A1', 'R2');
SELECT decision, state, credential, other_order_no FROM pay_query('A1', 'replaces');
SELECT decision, credential FROM pay_credential(trade_no => replaces_test.trade_no('A1'), credential => 'prepay_id=1', valid_for => '1 hour');
SELECT decision, credential FROM pay_credential(trade_no => replaces_test.trade_no('A1'), credential => 'prepay_id=2', valid_for => '1 hour');
-- One that opens nothing writes nothing.
INSERT INTO before SELECT replaces_test.fingerprint();
SELECT * FROM replaces_test.prepay('A1', 'R3');
SELECT * FROM replaces_test.prepay('A2', 'R2', replaces => 'A1');
SELECT fingerprint = replaces_test.fingerprint() AS nothing_written FROM before;
-- The same press again: its own attempt, handed out again; the old order is not touched twice.
SELECT * FROM replaces_test.prepay('A2', replaces => 'A1');
SELECT count(*) AS events FROM replaces_test.history('A1') WHERE source = 'prepay';
-- It is to be closed until the channel says that it is over.
SELECT state, to_close FROM pay_balance WHERE merchant = 'replaces' AND order_no = 'A1';
SELECT decision, state FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => replaces_test.trade_no('A1'), reported => 'closed');
SELECT state, to_close FROM pay_balance WHERE merchant = 'replaces' AND order_no = 'A1';
SELECT * FROM replaces_test.prepay('A1', 'R4');
-- Its try has failed: the next one, again instead of the same old order, or without a word of it.
SELECT * FROM replaces_test.step('A2', 'failed');
SELECT * FROM replaces_test.prepay('A2', 'R2', replaces => 'A1');
SELECT * FROM replaces_test.step('A2', 'failed', 2);
SELECT * FROM replaces_test.prepay('A2', 'R3');
SELECT count(*) AS events FROM replaces_test.history('A1') WHERE source = 'prepay';

-- Another amount, currency, payer: the customer has changed the order, that is what it is for.
SELECT * FROM replaces_test.prepay('A3', payer => 'ada');
SELECT * FROM replaces_test.prepay('A4', replaces => 'A3', payer => 'bob', amount => 250, currency => 'USD');
SELECT amount, currency, payer, replaced_by FROM pay_payment WHERE merchant = 'replaces' AND order_no = 'A4';
-- A payment that pay_create() made may replace: it has no attempt yet.
SELECT * FROM replaces_test.prepay('A5');
SELECT decision FROM pay_create(order_no => 'A6', amount => 100, currency => 'CNY', merchant => 'replaces');
SELECT * FROM replaces_test.prepay('A6', replaces => 'A5');
SELECT * FROM replaces_test.is('A5');
SELECT * FROM replaces_test.history('A6');
-- Several attempts of the old one (multi): each that is open is to close.
SELECT * FROM replaces_test.prepay('A7', 'R1', multi => true);
SELECT * FROM replaces_test.prepay('A7', 'R2', multi => true);
SELECT * FROM replaces_test.prepay('A7', 'R3', multi => true);
SELECT * FROM replaces_test.step('A7', 'failed', 2);
SELECT * FROM replaces_test.prepay('A8', replaces => 'A7');
SELECT * FROM replaces_test.is('A7');

-- ---- the old order in every state ----

SELECT count(test.put('replaces', 'old ' || s, s, CASE s WHEN 'created' THEN '{}' ELSE ARRAY[s] END)) AS put
FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,paid,closed,reversed}'::text[]) AS s;
CREATE TEMP TABLE answer AS
SELECT n, s AS old, new.* FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,paid,closed,reversed}'::text[]) WITH ORDINALITY AS o (s, n),
	replaces_test.prepay('new ' || s, replaces => 'old ' || s) AS new;
SELECT old, decision, answer.state, attempt, other_order_no, "is".* FROM answer, replaces_test.is('old ' || old) ORDER BY n;
-- Paid is paid: the new order was not even made.
SELECT count(*) AS made FROM pay_payment WHERE merchant = 'replaces' AND order_no = 'new paid';
-- Afterwards each of them says where to go.
SELECT old, q.decision, q.other_order_no, p.decision, p.other_order_no
FROM answer, pay_query('old ' || old, 'replaces') AS q, replaces_test.prepay('old ' || old, 'R9') AS p ORDER BY n;
-- How the attempts end: without money closed, or reversed if that is how (from capturing no step leads to closed:
-- that one has failed, and is replaced all the same).
SELECT old, t.decision, t.state FROM answer, replaces_test.step('old ' || old, 'failed') AS t WHERE old IN ('paying', 'capturing') ORDER BY n;
SELECT old, t.decision, t.state FROM answer, replaces_test.step('old ' || old, 'reversed') AS t WHERE old = 'authorized';
-- Money is surplus, in every one of them.
SELECT old, c.decision, c.state, c.attempt_state FROM answer, pay_callback(channel => 'test', callback_id => 'C1', trade_no => replaces_test.trade_no('old ' || old),
	reported => 'paid', amount => 100, currency => 'CNY') AS c WHERE old NOT IN ('created', 'paid') ORDER BY n;
SELECT old, b.collected, b.needed, b.surplus, b.reserved, b.to_close, r.kind, r.state FROM answer, pay_balance b, pay_refund r
WHERE b.merchant = 'replaces' AND b.order_no = 'old ' || old AND r.pay_no = b.pay_no ORDER BY n;
-- The new orders wait for their own money.
SELECT DISTINCT test.states('replaces', 'new ' || old) FROM answer WHERE old <> 'paid';
-- Money that comes while the old attempt is closing, and money only held there.
SELECT * FROM replaces_test.prepay('B1');
SELECT * FROM replaces_test.prepay('B2', replaces => 'B1');
SELECT decision, state, attempt_state, refund_no FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => replaces_test.trade_no('B1'),
	reported => 'authorized', amount => 100, currency => 'CNY');
SELECT to_close, surplus FROM pay_balance WHERE merchant = 'replaces' AND order_no = 'B1';
SELECT test.try($$SELECT replaces_test.step('B1', 'capturing')$$);
SELECT decision, state, refund_no = replace(replaces_test.trade_no('B1'), '-', '') || 's' AS names_refund
FROM pay_callback(channel => 'test', callback_id => 'C2', trade_no => replaces_test.trade_no('B1'), reported => 'paid', amount => 100, currency => 'CNY');
-- A review about money of the old order: it is given up all the same, and the money goes back.
SELECT * FROM replaces_test.prepay('B3');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'C1', trade_no => replaces_test.trade_no('B3'), reported => 'paid', amount => 99, currency => 'CNY');
SELECT * FROM replaces_test.prepay('B4', replaces => 'B3');
SELECT v AS verdict, split_part(regexp_replace(test.try(format('SELECT decision || %L || state FROM pay_review_resolve(%s, %L, %L)', ', ', review_id, v, 'a test')),
	'review \d+', 'review <id>'), ' | ', 1) AS answer
FROM pay_review, unnest('{accept,refund}'::text[]) AS v WHERE pay_no::text = replaces_test.pay_no('B3');
SELECT collected, needed, surplus, reserved FROM pay_balance WHERE merchant = 'replaces' AND order_no = 'B3';

-- ---- what cannot replace, or be replaced ----

TRUNCATE before;
INSERT INTO before SELECT replaces_test.fingerprint();
SELECT test.try($$SELECT replaces_test.prepay('C1', replaces => 'C1')$$) AS itself;
SELECT test.try($$SELECT replaces_test.prepay('C1', replaces => 'C0')$$) AS nobody;
-- Another merchant's order is nobody's either.
SELECT test.sqlstate($$SELECT replaces_test.prepay('C1', replaces => 'A1', merchant => 'replaces 2')$$) AS of_another_merchant;
SELECT count(*) AS made FROM pay_payment WHERE order_no = 'C1' AND merchant LIKE 'replaces%';
-- Who is replaced already has a successor: that one it is, and nothing is written.
SELECT * FROM replaces_test.prepay('C2', replaces => 'A1');
SELECT count(*) AS made FROM pay_payment WHERE order_no = 'C2' AND merchant = 'replaces';
SELECT fingerprint = replaces_test.fingerprint() AS nothing_written FROM before;
-- It has attempts of its own: too late to come instead of another.
SELECT * FROM replaces_test.prepay('C3');
SELECT * FROM replaces_test.prepay('C4');
-- (while one is open, that one is the answer, whatever is to be replaced)
SELECT * FROM replaces_test.prepay('C4', 'R2', replaces => 'C3');
SELECT * FROM replaces_test.step('C4', 'failed');
TRUNCATE before;
INSERT INTO before SELECT replaces_test.fingerprint();
SELECT test.try($$SELECT replaces_test.prepay('C4', 'R2', replaces => 'C3')$$);
-- Nor can one that has replaced another replace a second one.
SELECT * FROM replaces_test.step('A2', 'failed', 3);
TRUNCATE before;
INSERT INTO before SELECT replaces_test.fingerprint();
SELECT test.sqlstate($$SELECT replaces_test.prepay('A2', 'R9', replaces => 'C3')$$);
SELECT fingerprint = replaces_test.fingerprint() AS nothing_written FROM before;
SELECT * FROM replaces_test.is('C3');
-- An order that is over replaces nothing: its own answer comes first.
SELECT * FROM replaces_test.prepay('C5');
SELECT * FROM replaces_test.step('C5', 'paid');
SELECT * FROM replaces_test.prepay('C5', 'R2', replaces => 'C3');
SELECT * FROM replaces_test.prepay('C5', 'R2', replaces => 'C0');
SELECT decision FROM pay_transition(trade_no => replaces_test.pay_no('C4'), to_state => 'closed');
SELECT * FROM replaces_test.prepay('C4', 'R3', replaces => 'C3');
-- Other content of the new order is said before anything of the old.
SELECT test.sqlstate($$SELECT replaces_test.prepay('C5', replaces => 'C0', amount => 7)$$);
SELECT * FROM replaces_test.is('C3');
-- Too many attempts (rule 7) comes before too.
BEGIN;
UPDATE pay_channel SET max_attempts = 1 WHERE channel = 'test' AND method = 'qr';
SELECT decision FROM replaces_test.prepay('C6', method => 'qr');
SELECT decision FROM replaces_test.step('C6', 'failed');
SELECT decision FROM replaces_test.prepay('C6', 'R2', replaces => 'C3', method => 'qr');
ROLLBACK;

-- ---- chains ----

SELECT decision FROM replaces_test.prepay('D1');
SELECT decision FROM replaces_test.prepay('D2', replaces => 'D1');
SELECT decision FROM replaces_test.prepay('D3', replaces => 'D2');
SELECT o AS order_no, "is".*, q.decision, q.other_order_no FROM unnest('{D1,D2,D3}'::text[]) AS o, replaces_test.is(o), pay_query(o, 'replaces') AS q;
-- Whoever wants to replace the first one is sent along the chain.
SELECT * FROM replaces_test.prepay('D4', replaces => 'D1');
SELECT * FROM replaces_test.prepay('D4', replaces => 'D2');
-- No circle: what was replaced opens nothing.
SELECT * FROM replaces_test.prepay('D1', 'R2', replaces => 'D3');
SELECT * FROM replaces_test.is('D3');
-- Money for each of the old ones is surplus, and only the last one is paid.
SELECT o AS order_no, c.decision, c.state FROM unnest('{D1,D2,D3}'::text[]) AS o, pay_callback(channel => 'test', callback_id => 'C1',
	trade_no => replaces_test.trade_no(o), reported => 'paid', amount => 100, currency => 'CNY') AS c;
-- A late answer does not take the new order's money: the old one replaced, paid late, and the new one paid, too.
SELECT order_no, collected, needed, surplus FROM pay_balance WHERE merchant = 'replaces' AND order_no LIKE 'D_' ORDER BY order_no;
-- Who is paid cannot be replaced any more.
SELECT * FROM replaces_test.prepay('D5', replaces => 'D3');
-- In one transaction, rolled back: the old order is as it was.
SELECT decision FROM replaces_test.prepay('D6');
BEGIN;
SELECT decision FROM replaces_test.prepay('D7', replaces => 'D6');
ROLLBACK;
SELECT * FROM replaces_test.is('D6');
SELECT decision, other_order_no FROM pay_query('D6', 'replaces');

-- ---- 9: is this a second order by mistake? ----

SHOW pay_idem.lookalike_window;
SELECT * FROM replaces_test.prepay('L1', payer => 'carol');
TRUNCATE before;
INSERT INTO before SELECT replaces_test.fingerprint();
SELECT * FROM replaces_test.prepay('L2', payer => 'carol');
-- A question: nothing was written, not even the payment.
SELECT fingerprint = replaces_test.fingerprint() AS nothing_written FROM before;
SELECT count(*) AS made FROM pay_payment WHERE merchant = 'replaces' AND order_no = 'L2';
-- Whoever is not the same, or not the same amount, currency or merchant, is not asked; nor who is not named.
SELECT what, r.decision FROM (VALUES
	(1, 'another payer', 'dave', 100::bigint, 'CNY', 'replaces'), (2, 'another amount', 'carol', 101, 'CNY', 'replaces'),
	(3, 'another currency', 'carol', 100, 'USD', 'replaces'), (4, 'another merchant', 'carol', 100, 'CNY', 'replaces 2'),
	(5, 'no payer', NULL, 100, 'CNY', 'replaces')) AS v (n, what, payer, amount, currency, merchant),
	replaces_test.prepay('L other ' || n, payer => v.payer, amount => v.amount, currency => v.currency, merchant => v.merchant) AS r ORDER BY n;
-- The customer says: yes, a second one.
SELECT * FROM replaces_test.prepay('L2', payer => 'carol', confirm => true);
-- An attempt that is open is the answer, and no question.
SELECT * FROM replaces_test.prepay('L2', payer => 'carol');
SELECT * FROM replaces_test.prepay('L2', 'R2', payer => 'carol');
-- Its try has failed: the next one is asked again, and the order stays as it is.
SELECT * FROM replaces_test.step('L2', 'failed');
SELECT decision, state, other_order_no FROM replaces_test.prepay('L2', 'R2', payer => 'carol');
SELECT test.states('replaces', 'L2');
-- Payments as they were made some time ago: the number and created_at say when. An
-- INSERT is not a step, so it is not guarded.
CREATE FUNCTION replaces_test.put(order_no text, payer text, ago interval DEFAULT '0', state text DEFAULT 'paying') RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	made_at CONSTANT timestamptz := clock_timestamp() - ago;
	made CONSTANT uuid := overlay(test.number('replaces', order_no)::text
		PLACING regexp_replace(lpad(to_hex((extract(epoch FROM made_at) * 1000)::bigint), 12, '0'), '^(.{8})', '\1-') FROM 1 FOR 13)::uuid;
BEGIN
	INSERT INTO pay_payment (pay_no, merchant, order_no, payer, amount, currency, state, created_at, winner, amount_collected, routes)
	VALUES (made, 'replaces', put.order_no, put.payer, 100, 'CNY', put.state, made_at, CASE put.state WHEN 'paid' THEN 1 END, CASE put.state WHEN 'paid' THEN 100 ELSE 0 END,
		CASE put.state WHEN 'created' THEN '{}' ELSE '{1}' END::smallint[]);
	INSERT INTO pay_attempt (trade_no, pay_no, attempt, route, amount, state, amount_collected, request_id)
	SELECT overlay(overlay(made::text PLACING '001' FROM 16) PLACING '81' FROM 20)::uuid, made, 1, 1, 100, put.state, CASE put.state WHEN 'paid' THEN 100 END, 'R1'
	WHERE put.state <> 'created';
	RETURN true;
END
$$;
-- It is about the other order while that may still be paid, in whatever state it is; what is over is no question.
SELECT count(replaces_test.put('look ' || s, 'payer of ' || s, '1 minute', s)) AS put
FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,paid,closed,reversed}'::text[]) AS s;
SELECT s AS the_other_is, decision, other_order_no
FROM unnest('{created,paying,authorized,capturing,unknown,closing,failed,paid,closed,reversed}'::text[]) WITH ORDINALITY AS o (s, n),
	replaces_test.prepay('alike ' || s, payer => 'payer of ' || s) ORDER BY n;
-- The window: 10 minutes, or as the setting says; 0 asks nobody.
SELECT count(replaces_test.put('young ' || n, 'payer ' || n, '9 minutes')) AS put, count(replaces_test.put('old ' || n, 'payer of old ' || n, '11 minutes')) AS put
FROM generate_series(1, 4) AS n;
SELECT a.decision, a.other_order_no, b.decision FROM replaces_test.prepay('W1', payer => 'payer 1') AS a, replaces_test.prepay('V1', payer => 'payer of old 1') AS b;
SET pay_idem.lookalike_window = '8min';
SELECT a.decision, b.decision FROM replaces_test.prepay('W2', payer => 'payer 2') AS a, replaces_test.prepay('V2', payer => 'payer of old 2') AS b;
SET pay_idem.lookalike_window = '12min';
SELECT a.decision, b.decision, b.other_order_no FROM replaces_test.prepay('W3', payer => 'payer 3') AS a, replaces_test.prepay('V3', payer => 'payer of old 3') AS b;
SET pay_idem.lookalike_window = 0;
SELECT a.decision, b.decision FROM replaces_test.prepay('W3', payer => 'payer 3') AS a, replaces_test.prepay('V3', payer => 'payer of old 3') AS b;
SELECT replaces_test.put('this very moment', 'erin', '0');
SELECT decision FROM replaces_test.prepay('W4', payer => 'erin');
RESET pay_idem.lookalike_window;
-- An order that is there already is asked too, before its first attempt.
SELECT decision FROM pay_create(order_no => 'M1', amount => 100, currency => 'CNY', merchant => 'replaces', payer => 'frank');
SELECT replaces_test.put('M2', 'frank', '1 minute');
SELECT decision, state, other_order_no FROM replaces_test.prepay('M1', payer => 'frank');
SELECT test.states('replaces', 'M1');
SELECT decision FROM replaces_test.prepay('M1', payer => 'frank', confirm => true);
-- Its own attempts are no second order (multi).
SELECT decision FROM replaces_test.prepay('M3', payer => 'grace', multi => true);
SELECT decision, attempt FROM replaces_test.prepay('M3', 'R2', payer => 'grace', multi => true);
-- Nor is the order that this one replaces: the customer said so; also when the first try has failed, and without a word of it.
SELECT decision FROM replaces_test.prepay('M4', payer => 'heidi');
SELECT decision, other_order_no FROM replaces_test.prepay('M5', payer => 'heidi', replaces => 'M4');
SELECT * FROM replaces_test.step('M5', 'failed');
SELECT decision, other_order_no FROM replaces_test.prepay('M5', 'R2', payer => 'heidi', replaces => 'M4');
SELECT * FROM replaces_test.step('M5', 'failed', 2);
SELECT decision, other_order_no FROM replaces_test.prepay('M5', 'R3', payer => 'heidi');
-- But a third one is; then nothing is replaced either.
SELECT decision FROM replaces_test.prepay('N1', payer => 'ivan');
SELECT decision FROM replaces_test.prepay('N2', payer => 'ivan', confirm => true);
TRUNCATE before;
INSERT INTO before SELECT replaces_test.fingerprint();
SELECT * FROM replaces_test.prepay('N3', payer => 'ivan', replaces => 'N1');
SELECT fingerprint = replaces_test.fingerprint() AS nothing_written FROM before;
SELECT * FROM replaces_test.is('N1');
SELECT decision FROM replaces_test.prepay('N3', payer => 'ivan', replaces => 'N1', confirm => true);
SELECT * FROM replaces_test.is('N1');
-- What rule 8 says comes first.
SELECT decision, other_order_no FROM replaces_test.prepay('N4', payer => 'ivan', replaces => 'N1');
SELECT test.sqlstate($$SELECT replaces_test.prepay('N4', payer => 'ivan', replaces => 'nobody''s')$$) AS no_such_order;
-- It asks the customer, not the order: confirm without a look-alike changes nothing.
SELECT decision FROM replaces_test.prepay('N5', payer => 'judy', confirm => true);

-- ---- the books ----

SELECT count(*) > 50 AS orders, count(*) FILTER (WHERE collected <> needed + surplus OR refunded + reserved > collected) AS wrong
FROM pay_balance WHERE merchant LIKE 'replaces%' AND order_no NOT LIKE 'look %';
-- Each that is replaced is asked to end, has a successor of the same merchant, and is not paid.
SELECT count(*) > 10 AS replaced, count(*) FILTER (WHERE NOT p.end_requested OR p.state = 'paid' OR n.merchant IS DISTINCT FROM p.merchant OR n.pay_no = p.pay_no) AS wrong
FROM pay_payment p LEFT JOIN pay_payment n ON n.pay_no = p.replaced_by WHERE p.merchant LIKE 'replaces%' AND p.replaced_by IS NOT NULL;

DROP SCHEMA replaces_test CASCADE;
