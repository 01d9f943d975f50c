-- The queue: what has to be looked at later, when, and what a worker is told to
-- do about it. Time passes here by moving what the database noted into the past, so
-- nothing depends on the clock; waits are hours, so no slow machine is taken for one.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA claims_test;

INSERT INTO pay_channel (channel, method, schedule, timeout, can_close, can_reverse) VALUES
	('claim', 'card', '{10 h,20 h,40 h}', '1000 h', true, true),
	('claim', 'brief', '{10 h,20 h,40 h}', '5 h', true, true),
	('claim', 'long', '{10 h,20 h,40 h}', '11 h', true, true),
	('claim', 'revoke', '{10 h,20 h,40 h}', '1000 h', false, true),
	('claim', 'neither', '{10 h,20 h,40 h}', '1000 h', false, false);

CREATE FUNCTION claims_test.pay_no(order_no text) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT p.pay_no::text FROM pay_payment p WHERE p.merchant = 'claim' AND p.order_no = pay_no.order_no
$$;
CREATE FUNCTION claims_test.trade_no(order_no text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT (pay_trade_nos(p.pay_no, p.routes))[attempt]::text FROM pay_payment p WHERE p.merchant = 'claim' AND p.order_no = trade_no.order_no
$$;
CREATE FUNCTION claims_test.open(order_no text, method text DEFAULT 'card', request_id text DEFAULT 'R1', multi boolean DEFAULT NULL,
	replaces text DEFAULT NULL, valid_for interval DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => 'claim',
		channel => 'claim', method => method, request_id => request_id, multi => multi, replaces => replaces, valid_for => valid_for)
$$;
-- A worker's answer, or anybody's news of an attempt: NULL is no message id.
CREATE FUNCTION claims_test.report(order_no text, reported text, attempt integer DEFAULT 1, channel_txn text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM pay_callback(channel => 'claim', callback_id => NULL, trade_no => claims_test.trade_no(order_no, attempt), reported => reported,
		amount => CASE WHEN reported IN ('paid', 'authorized') THEN 100 END, currency => CASE WHEN reported IN ('paid', 'authorized') THEN 'CNY' END,
		channel_txn => channel_txn)
$$;
CREATE FUNCTION claims_test.step(order_no text, to_state text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM pay_transition(trade_no => claims_test.trade_no(order_no, attempt), to_state => to_state)
$$;
CREATE FUNCTION claims_test.refund(order_no text, refund_no text, amount bigint DEFAULT 10) RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM pay_refund(trade_no => claims_test.pay_no(order_no), refund_no => refund_no, amount => amount, reason => 'a test of ' || refund_no)
$$;
CREATE FUNCTION claims_test.step_refund(refund_no text, to_state text) RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM pay_refund_transition(refund_no => refund_no, to_state => to_state, merchant => 'claim')
$$;
-- A claim, as this test reads it; of a number of ours, only what follows it.
CREATE FUNCTION claims_test.claim(worker text DEFAULT 'w1', max_tasks integer DEFAULT 100, actions text[] DEFAULT NULL, lease interval DEFAULT '1 h',
	OUT action text, OUT order_no text, OUT attempt integer, OUT refund_no text, OUT state text, OUT tries integer)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT c.action, c.order_no, pay_attempt_of(c.trade_no), regexp_replace(c.refund_no, '^[0-9a-f]{32}', '<number>'), c.state, c.tries
	FROM pay_claim(worker => claim.worker, max_tasks => claim.max_tasks, lease => claim.lease, actions => claim.actions) c
$$;

-- What the queue has of an order: what to look at, and when.
CREATE FUNCTION claims_test.queue(order_no text, OUT attempt integer, OUT refund_no text, OUT due text, OUT tries integer, OUT claimed boolean)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT t.attempt, regexp_replace(t.refund_no, '^[0-9a-f]{32}', '<number>'),
		CASE WHEN t.due_at <= clock_timestamp() THEN 'now' ELSE 'later' END, t.tries, t.claimed_at IS NOT NULL
	FROM pay_task t WHERE t.pay_no::text = claims_test.pay_no(order_no) ORDER BY 1, 2, t.due_at
$$;
-- In how many hours is an order's one task due? Between so many, to some minutes.
CREATE FUNCTION claims_test.due_in(order_no text, at_least numeric, at_most numeric) RETURNS boolean LANGUAGE sql AS $$
	SELECT extract(epoch FROM t.due_at - clock_timestamp()) / 3600 BETWEEN at_least - 0.1 AND at_most
	FROM pay_task t WHERE t.pay_no::text = claims_test.pay_no(order_no)
$$;

-- Who was handed an order's task, or a refund's, and has not reported since?
CREATE FUNCTION claims_test.asked(order_no text, refund_no text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT t.asked_by FROM pay_task t JOIN pay_attempt a USING (pay_no, attempt) LEFT JOIN pay_refund r USING (pay_no, refund_no)
	WHERE t.pay_no::text = claims_test.pay_no(order_no) AND t.refund_no IS NOT DISTINCT FROM asked.refund_no AND t.reports = coalesce(r.reports, a.reports)
$$;

-- The queue is one for all. What is not looked at here is put aside, by a hundred
-- years, and back at the end.
CREATE FUNCTION claims_test.move(to_move interval, at_least timestamptz, below timestamptz) RETURNS void
LANGUAGE plpgsql SET session_replication_role = 'replica' AS $$
BEGIN
	UPDATE pay_task SET due_at = due_at + to_move, claimed_at = claimed_at + to_move WHERE due_at >= at_least AND due_at < below;
END
$$;
CREATE FUNCTION claims_test.put_aside() RETURNS void LANGUAGE sql AS
	$$SELECT claims_test.move('876000 h', '-infinity', now() + interval '438000 h')$$;
CREATE FUNCTION claims_test.put_back() RETURNS void LANGUAGE sql AS
	$$SELECT claims_test.move('-876000 h', now() + interval '438000 h', 'infinity')$$;
-- Time passes for the orders of this test.
CREATE FUNCTION claims_test.pass(time_span interval) RETURNS void
LANGUAGE plpgsql SET session_replication_role = 'replica' AS $$
BEGIN
	PERFORM claims_test.move(-time_span, '-infinity', now() + interval '438000 h');
	UPDATE pay_attempt a SET opened_at = a.opened_at - time_span, handed_out_at = a.handed_out_at - time_span,
		credential_expires_at = a.credential_expires_at - time_span
	FROM pay_payment p WHERE p.pay_no = a.pay_no AND p.merchant = 'claim';
	UPDATE pay_refund SET requested_at = requested_at - time_span WHERE merchant = 'claim';
	UPDATE pay_payment SET valid_until = valid_until - time_span WHERE merchant = 'claim';
END
$$;
SELECT claims_test.put_aside();
SELECT * FROM claims_test.claim();

-- ---- query: an attempt that is open, by the channel's schedule ----

-- A prepay queues the first question; so does the next attempt, and nothing else.
SELECT claims_test.open('A1');
SELECT * FROM claims_test.queue('A1');
SELECT due_at - opened_at BETWEEN '10 h' AND '12 h' AS waits FROM pay_task t JOIN pay_attempt a USING (pay_no) WHERE pay_no::text = claims_test.pay_no('A1');
SELECT check_at = queued_for AS counts, asked_by FROM pay_attempt JOIN pay_task USING (pay_no) WHERE pay_no::text = claims_test.pay_no('A1');
CREATE TEMP TABLE seen AS SELECT t.ctid AS place, t.xmin::text AS writer, t::text AS task FROM pay_task t WHERE pay_no::text = claims_test.pay_no('A1');
SELECT claims_test.open('A1'), claims_test.open('A1', request_id => 'R2');
SELECT decision FROM pay_credential(trade_no => claims_test.trade_no('A1'), credential => 'prepay_id=1', valid_for => '1000 h');
SELECT claims_test.report('A1', 'unknown');
-- Reports never touch the queue: the row is the same, to the byte.
SELECT count(*) AS same FROM pay_task t JOIN seen s ON (s.place, s.writer, s.task) = (t.ctid, t.xmin::text, t::text) WHERE t.pay_no::text = claims_test.pay_no('A1');
-- Not yet due: nothing to do.
SELECT claims_test.pass('9 h');
SELECT * FROM claims_test.claim();
-- Due.
SELECT claims_test.pass('3 h');
CREATE TEMP TABLE before_claim AS SELECT ctid AS place, a::text AS attempt FROM pay_attempt a WHERE pay_no::text = claims_test.pay_no('A1');
CREATE TEMP TABLE handed_out AS
SELECT clock_timestamp() AS from_time, clock_timestamp() AS to_time, c.* FROM pay_claim(worker => 'w1', max_tasks => 1, lease => '1 h') c;
UPDATE handed_out SET to_time = clock_timestamp();
SELECT action, trade_no = replace(claims_test.trade_no('A1'), '-', '') AS trade_no, refund_no, resource, pay_number(pay_no)::text = claims_test.pay_no('A1') AS pay_no,
	merchant, order_no, state, channel, method, amount, currency, quantity, channel_txn, tries,
	lease_until BETWEEN from_time AND to_time + interval '1 h' AND lease_until > from_time + interval '59 min' AS lease_until
FROM handed_out;
-- A lease: the row says until when, and who. Nobody else gets it, nor does he again.
SELECT t.due_at = h.lease_until AS due_at, a.check_at = t.queued_for AS counts, t.asked_by, t.tries
FROM pay_task t JOIN pay_attempt a USING (pay_no) JOIN handed_out h ON a.pay_no = pay_number(h.pay_no);
-- It is nowhere else: what others read is the same, to the byte.
SELECT count(*) AS same FROM pay_attempt a JOIN before_claim b ON (b.place, b.attempt) = (a.ctid, a::text);
SELECT * FROM claims_test.claim('w2');
SELECT * FROM claims_test.claim('w1');
DROP TABLE handed_out, seen, before_claim;

-- unanswered: he died. When the lease is over it is the next one's, as the same question.
SELECT claims_test.pass('1 h');
SELECT * FROM claims_test.claim('w2');
SELECT claims_test.asked('A1') AS asked_by;
-- answered: any report is counted, and the queue is not touched. When the
-- lease is over it is not anybody's: it waits for the next question, counted from
-- the hand-out, up to a fifth later.
SELECT claims_test.report('A1', 'unknown');
SELECT claims_test.asked('A1') AS asked_by;
SELECT * FROM claims_test.claim('w1');
SELECT claims_test.due_in('A1', 1, 1);
SELECT claims_test.pass('1 h');
SELECT * FROM claims_test.claim('w1');
SELECT claims_test.due_in('A1', 19, 23);
SELECT claims_test.pass('23 h');
SELECT * FROM claims_test.claim('w1');
-- Now the caller's own step is the answer.
SELECT decision, state FROM pay_transition(trade_no => claims_test.trade_no('A1'), to_state => 'unknown');
SELECT claims_test.asked('A1') AS asked_by;
SELECT claims_test.pass('1 h');
SELECT * FROM claims_test.claim('w1');
SELECT claims_test.due_in('A1', 39, 47);
SELECT claims_test.pass('47 h');
SELECT * FROM claims_test.claim('w1');
-- Past the schedule's end: a review, and the state does not change, however long nobody asks.
SELECT claims_test.report('A1', 'unknown');
SELECT claims_test.pass('1 h');
SELECT * FROM claims_test.claim('w1');
SELECT kind, about_money, attempt, source, detail FROM pay_review WHERE pay_no::text = claims_test.pay_no('A1');
SELECT * FROM claims_test.queue('A1');
SELECT claims_test.pass('100000 h');
SELECT * FROM claims_test.claim('w1');
SELECT test.states('claim', 'A1');
-- What moves on after that is asked about anew, from the schedule's beginning.
SELECT claims_test.report('A1', 'paying');
SELECT * FROM claims_test.queue('A1');
SELECT claims_test.due_in('A1', 10, 12);
SELECT claims_test.pass('12 h');
SELECT * FROM claims_test.claim('w1');
-- The channel's word counts. Nobody has to look any more: the review closed itself when there was news.
SELECT claims_test.report('A1', 'paid', channel_txn => 'T1');
SELECT kind, verdict, reason FROM pay_review WHERE pay_no::text = claims_test.pay_no('A1');

-- Whatever a report is decided to be, it is an answer: he did ask.
SELECT claims_test.open('A2');
SELECT claims_test.pass('12 h');
SELECT action FROM claims_test.claim('w1');
SELECT decision FROM pay_callback('claim', NULL, claims_test.trade_no('A2'), 'paid', 99, 'CNY');
SELECT claims_test.asked('A2') AS asked_by;
-- unanswered: all workers are down for longer than the whole schedule. A dead worker loses nothing.
SELECT claims_test.open('A3');
SELECT claims_test.pass('12 h');
SELECT * FROM claims_test.claim('w1') WHERE order_no = 'A3';
SELECT claims_test.pass('1000 h');
SELECT * FROM claims_test.claim('w2') WHERE order_no = 'A3';
SELECT count(*) AS reviews FROM pay_review WHERE pay_no::text = claims_test.pay_no('A3');
SELECT claims_test.put_aside();

-- ---- jitter: what was opened in one second does not come back in one second ----

SELECT count(*) AS opened FROM generate_series(1, 200) AS n, LATERAL claims_test.open('J' || n);
SELECT count(*) AS tasks, min(wait) >= '10 h' AS not_before, max(wait) <= '12 h' AS not_later_than_a_fifth,
	count(DISTINCT wait) > 190 AS each_its_own, min(wait) < '10 h 30 min' AND max(wait) > '11 h 30 min' AS all_over
FROM (SELECT t.due_at - a.opened_at AS wait FROM pay_task t JOIN pay_attempt a USING (pay_no) JOIN pay_payment p USING (pay_no)
	WHERE p.merchant = 'claim' AND p.order_no LIKE 'J%') AS waits;
-- The same of the next question, which they get by a claim, an hour after the hand-out.
SELECT claims_test.pass('12 h');
SELECT count(*) AS handed_out FROM claims_test.claim(max_tasks => 200);
SELECT count(*) AS answered FROM generate_series(1, 200) AS n, LATERAL claims_test.report('J' || n, 'unknown');
SELECT claims_test.pass('1 h');
SELECT count(*) AS handed_out FROM claims_test.claim(max_tasks => 200);
SELECT count(*) AS tasks, min(wait) >= '18 h 50 min' AS not_before, max(wait) <= '23 h' AS not_later_than_a_fifth,
	count(DISTINCT wait) > 190 AS each_its_own, min(wait) < '20 h' AND max(wait) > '22 h' AS all_over
FROM (SELECT t.due_at - clock_timestamp() AS wait FROM pay_task t JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'claim' AND p.order_no LIKE 'J%') AS waits;
SELECT claims_test.put_aside();

-- ---- timeout: paying becomes unknown, and unknown stays it ----

SELECT claims_test.open('T1', 'brief');
SELECT claims_test.pass('6 h');
-- Time alone changes nothing.
SELECT test.states('claim', 'T1');
SELECT * FROM claims_test.claim();
SELECT claims_test.pass('6 h');
SELECT * FROM claims_test.claim();
SELECT test.states('claim', 'T1');
SELECT seq, source, attempt, decision, payment_before, payment_after, attempt_before, attempt_after, reason FROM pay_history(claims_test.pay_no('T1'));
-- Nobody opens another attempt; only the channel says how it ended.
SELECT claims_test.open('T1', request_id => 'R2');
SELECT claims_test.report('T1', 'paid', channel_txn => 'T1');
SELECT test.states('claim', 'T1');
-- Not yet: the channel keeps it open for longer. It counts from when a caller was last told to call.
SELECT claims_test.open('T2', 'card'), claims_test.open('T3', 'long');
SELECT claims_test.pass('9 h');
SELECT claims_test.open('T3', 'long');
SELECT claims_test.pass('3 h');
SELECT * FROM claims_test.claim() ORDER BY order_no;
SELECT test.states('claim', 'T2'), test.states('claim', 'T3');
-- Only paying times out. Authorized money, a capture, a close stay what they are.
SELECT claims_test.open('T4', 'brief'), claims_test.open('T5', 'brief'), claims_test.open('T6', 'brief');
SELECT claims_test.report('T4', 'authorized'), claims_test.report('T5', 'authorized'), claims_test.step('T5', 'capturing'), claims_test.step('T6', 'closing');
SELECT claims_test.pass('12 h');
SELECT action, order_no, state FROM claims_test.claim() WHERE order_no LIKE 'T_' AND order_no > 'T3' ORDER BY order_no;
-- Past the order's own time too: nothing becomes failed or closed by time alone.
SELECT claims_test.open('T7', 'brief', valid_for => '1 h'), claims_test.open('T8', 'card', valid_for => '1 h');
SELECT claims_test.pass('12 h');
SELECT action, order_no, state FROM claims_test.claim() WHERE order_no IN ('T7', 'T8') ORDER BY order_no;
SELECT claims_test.pass('10000 h');
DO $$ BEGIN PERFORM claims_test.claim(); END $$;
SELECT claims_test.pass('10000 h');
DO $$ BEGIN PERFORM claims_test.claim(); END $$;
SELECT order_no, test.states('claim', order_no) FROM pay_payment WHERE merchant = 'claim' AND order_no BETWEEN 'T2' AND 'T8' ORDER BY order_no;
SELECT claims_test.put_aside();

-- ---- close and void: at once, what nobody wants any more ----

-- The customer gave up: the channel is told at once, and again by the schedule until it says that it did.
SELECT claims_test.open('C1');
SELECT claims_test.step('C1', 'closing');
SELECT * FROM claims_test.queue('C1');
SELECT * FROM claims_test.claim('w1');
SELECT * FROM claims_test.claim('w2');
SELECT claims_test.report('C1', 'closing');
SELECT claims_test.pass('1 h');
SELECT * FROM claims_test.claim('w1');
SELECT claims_test.pass('23 h');
SELECT * FROM claims_test.claim('w1');
SELECT claims_test.report('C1', 'closed');
SELECT claims_test.pass('100 h');
SELECT * FROM claims_test.claim('w1');
SELECT * FROM claims_test.queue('C1');
-- With the payment's number: each attempt that may be closed.
SELECT claims_test.open('C2', multi => true), claims_test.open('C2', request_id => 'R2'), claims_test.open('C2', request_id => 'R3');
SELECT claims_test.report('C2', 'failed', attempt => 2);
SELECT decision, state FROM pay_transition(trade_no => claims_test.pay_no('C2'), to_state => 'closing');
SELECT * FROM claims_test.claim() ORDER BY attempt;
-- The order is won by another attempt.
SELECT claims_test.open('C3', multi => true), claims_test.open('C3', request_id => 'R2'), claims_test.open('C3', request_id => 'R3');
SELECT claims_test.report('C3', 'unknown', attempt => 3);
SELECT claims_test.report('C3', 'paid', attempt => 2);
SELECT * FROM claims_test.claim() ORDER BY attempt;
-- It is replaced by another order.
SELECT claims_test.open('C4'), claims_test.open('C4b', replaces => 'C4');
SELECT * FROM claims_test.claim();
-- Money was authorized: it is given free, not closed; at any time since.
SELECT claims_test.open('C5'), claims_test.report('C5', 'authorized'), claims_test.step('C5', 'closing');
SELECT claims_test.open('C6'), claims_test.report('C6', 'authorized'), claims_test.report('C6', 'unknown'), claims_test.step('C6', 'closing');
SELECT * FROM claims_test.claim() ORDER BY order_no;
-- Surplus: authorized for an order that needs no money, paid or closed.
SELECT claims_test.open('C7', multi => true), claims_test.open('C7', request_id => 'R2'), claims_test.report('C7', 'paid');
SELECT claims_test.open('C8'), claims_test.report('C8', 'closed');
SELECT decision, state FROM pay_transition(trade_no => claims_test.pay_no('C8'), to_state => 'closed');
SELECT claims_test.report('C7', 'authorized', attempt => 2), claims_test.report('C8', 'authorized');
SELECT * FROM claims_test.claim() ORDER BY order_no;
-- What the channel can: reverse where it cannot close; only ask where it can neither.
SELECT claims_test.open('C9', 'revoke'), claims_test.step('C9', 'closing');
SELECT claims_test.open('C10', 'neither'), claims_test.step('C10', 'closing');
SELECT claims_test.open('C11', 'neither'), claims_test.report('C11', 'authorized'), claims_test.step('C11', 'closing');
SELECT * FROM claims_test.claim() ORDER BY order_no;
-- A capture is under way: nothing to close, ask how it ended.
SELECT claims_test.open('C12', multi => true), claims_test.open('C12', request_id => 'R2');
SELECT claims_test.report('C12', 'authorized', attempt => 2), claims_test.step('C12', 'capturing', attempt => 2), claims_test.report('C12', 'paid');
SELECT * FROM claims_test.claim();
SELECT claims_test.put_aside();
-- He was asked how it stands, and meanwhile it is to be closed: that is another question, and due at once.
SELECT claims_test.open('C13');
SELECT claims_test.pass('12 h');
SELECT * FROM claims_test.claim('w1');
SELECT claims_test.step('C13', 'closing');
SELECT * FROM claims_test.claim('w2');
SELECT claims_test.pass('1 h');
-- of the two rows only the later one counts, and when both are due it is handed out once
SELECT * FROM claims_test.claim('w3');
SELECT * FROM claims_test.queue('C13');
-- Exhausted as a question, it is still to be closed when the order is won.
SELECT claims_test.open('C14', multi => true), claims_test.open('C14', request_id => 'R2');
DO $$ BEGIN
	FOR n IN 1 .. 4 LOOP
		PERFORM claims_test.pass('48 h');
		PERFORM claims_test.claim(max_tasks => 1000);
		PERFORM claims_test.report('C14', 'paying', attempt => 1), claims_test.report('C14', 'paying', attempt => 2);
	END LOOP;
END $$;
SELECT claims_test.pass('1 h');
SELECT count(*) FILTER (WHERE order_no = 'C14') AS handed_out FROM claims_test.claim(max_tasks => 1000);
SELECT kind, attempt FROM pay_review WHERE pay_no::text = claims_test.pay_no('C14') ORDER BY attempt;
SELECT test.states('claim', 'C14');
SELECT claims_test.report('C14', 'paid');
SELECT * FROM claims_test.claim() WHERE order_no = 'C14';
SELECT claims_test.put_aside();

-- ---- what is over, and what opens again ----

-- Whatever ended leaves a row that nobody is handed, and that goes when it is due.
SELECT claims_test.open('O1'), claims_test.open('O2'), claims_test.open('O3'), claims_test.open('O4');
SELECT claims_test.report('O1', 'paid'), claims_test.report('O2', 'failed'), claims_test.report('O3', 'closed'), claims_test.report('O4', 'reversed');
SELECT count(*) AS rows FROM pay_task JOIN pay_payment USING (pay_no) WHERE merchant = 'claim' AND order_no LIKE 'O%';
SELECT claims_test.pass('12 h');
SELECT * FROM claims_test.claim();
SELECT count(*) AS rows FROM pay_task JOIN pay_payment USING (pay_no) WHERE merchant = 'claim' AND order_no LIKE 'O%';
-- News of money opens it again: by the schedule where the order waits, at once where it does not.
SELECT claims_test.report('O2', 'authorized');
SELECT * FROM claims_test.queue('O2');
SELECT claims_test.due_in('O2', 10, 12);
-- The customer tries again: the new attempt has a question of its own.
SELECT claims_test.open('O5'), claims_test.report('O5', 'failed'), claims_test.open('O5', request_id => 'R2');
SELECT * FROM claims_test.queue('O5');
SELECT claims_test.pass('12 h');
SELECT * FROM claims_test.claim() ORDER BY order_no, attempt;
SELECT * FROM claims_test.queue('O5');
-- Rows that nothing stands behind, as a careless import may leave them, are dropped; of
-- two rows about one attempt only one is handed out. A payment that is missing may still
-- come (a restore under way): its task stays, and a person is told once.
SELECT claims_test.open('O6');
SET session_replication_role = replica;
UPDATE pay_attempt SET check_at = NULL WHERE pay_no::text = claims_test.pay_no('O6');
RESET session_replication_role;
INSERT INTO pay_task (due_at, pay_no, attempt, refund_no, resource) VALUES
	(now(), '019b76da-8000-8000-8001-23456789abcd', 1, NULL, NULL),
	(now(), claims_test.pay_no('O6')::uuid, 2, NULL, NULL),
	(now(), claims_test.pay_no('O6')::uuid, 1, 'no such refund', NULL),
	(now(), claims_test.pay_no('O6')::uuid, 0, NULL, 'no:such'),
	(now(), claims_test.pay_no('O6')::uuid, 1, NULL, NULL),
	(now(), claims_test.pay_no('O6')::uuid, 1, NULL, NULL);
SELECT * FROM claims_test.claim();
SELECT * FROM claims_test.queue('O6');
SELECT claims_test.pass('12 h');
SELECT * FROM claims_test.claim() WHERE order_no = 'O6';
SELECT * FROM claims_test.queue('O6');
SELECT count(*) AS rows FROM pay_task WHERE pay_no = '019b76da-8000-8000-8001-23456789abcd';
SELECT kind, source, detail ~ 'payment 019b76da800080008001-?23456789abcd is missing' AS named, count(*) FROM pay_review
WHERE trade_no = '019b76da80008000800123456789abcd' GROUP BY 1, 2, 3;
SELECT claims_test.put_aside();

-- ---- refunds ----

SELECT claims_test.open('R1'), claims_test.report('R1', 'paid', channel_txn => 'T1');
SELECT claims_test.refund('R1', 'r1', 30);
SELECT attempt, refund_no, due, tries FROM claims_test.queue('R1') WHERE refund_no IS NOT NULL;
-- To be submitted, at once.
SELECT action, trade_no = replace(claims_test.trade_no('R1'), '-', '') AS trade_no, refund_no, resource, merchant, order_no, state, channel, method,
	amount, currency, quantity, channel_txn, tries
FROM pay_claim(worker => 'w1', max_tasks => 10, lease => '1 h');
SELECT state, claims_test.asked('R1', 'r1') AS asked_by FROM pay_refund WHERE merchant = 'claim' AND refund_no = 'r1';
SELECT * FROM claims_test.claim('w2');
-- unanswered: the next one submits it again, by the same number
SELECT claims_test.pass('1 h');
SELECT * FROM claims_test.claim('w2');
-- The channel took it: asked about by the schedule.
SELECT claims_test.step_refund('r1', 'processing');
SELECT state, claims_test.asked('R1', 'r1') AS asked_by FROM pay_refund WHERE merchant = 'claim' AND refund_no = 'r1';
SELECT claims_test.pass('1 h');
SELECT * FROM claims_test.claim('w1');
SELECT due FROM claims_test.queue('R1') WHERE refund_no = 'r1';
SELECT claims_test.pass('23 h');
SELECT * FROM claims_test.claim('w1');
-- Nobody knows: asked about still; any report is an answer.
SELECT decision, state FROM pay_refund_callback(channel => 'claim', callback_id => NULL, refund_no => 'r1', reported => 'unknown', merchant => 'claim');
SELECT claims_test.asked('R1', 'r1') AS asked_by;
SELECT claims_test.pass('48 h');
SELECT * FROM claims_test.claim('w1');
SELECT decision FROM pay_refund_callback(channel => 'claim', callback_id => NULL, refund_no => 'r1', reported => 'succeeded', amount => 29, currency => 'CNY', merchant => 'claim');
SELECT claims_test.asked('R1', 'r1') AS asked_by;
-- Past the schedule's end: a review that names it, and it stays unknown and reserved.
SELECT claims_test.pass('100 h');
SELECT * FROM claims_test.claim('w1');
SELECT kind, about_money, attempt, refund_no, source FROM pay_review WHERE pay_no::text = claims_test.pay_no('R1') AND kind = 'exhausted';
SELECT state FROM pay_refund WHERE merchant = 'claim' AND refund_no = 'r1';
SELECT count(*) AS rows FROM pay_task WHERE pay_no::text = claims_test.pay_no('R1');
SELECT claims_test.step_refund('r1', 'succeeded');
-- failed: nothing, until somebody tries it again: then at once, by whichever way
SELECT claims_test.refund('R1', 'r2'), claims_test.refund('R1', 'r3');
SELECT * FROM claims_test.claim() ORDER BY refund_no;
SELECT claims_test.step_refund('r2', 'failed'), claims_test.step_refund('r3', 'failed');
SELECT claims_test.pass('1 h');
SELECT * FROM claims_test.claim();
SELECT claims_test.refund('R1', 'r2'), claims_test.step_refund('r3', 'requested');
SELECT * FROM claims_test.claim() ORDER BY refund_no;
-- failed and tried again while the first row is in the queue still: one of the two counts
SELECT claims_test.step_refund('r2', 'failed'), claims_test.refund('R1', 'r2');
SELECT * FROM claims_test.claim();
SELECT claims_test.pass('1 h');
SELECT * FROM claims_test.claim() ORDER BY refund_no;
-- abnormal: a person's. When he let it go on, the channel is asked again.
SELECT claims_test.step_refund('r2', 'abnormal'), claims_test.step_refund('r3', 'succeeded');
SELECT claims_test.pass('100 h');
SELECT * FROM claims_test.claim();
SELECT count(*) AS rows FROM pay_task WHERE pay_no::text = claims_test.pay_no('R1');
SELECT claims_test.step_refund('r2', 'processing');
SELECT claims_test.due_in('R1', 10, 12);
SELECT claims_test.pass('12 h');
SELECT * FROM claims_test.claim();
SELECT claims_test.step_refund('r2', 'succeeded');
-- cancelled before anybody submitted it
SELECT claims_test.refund('R1', 'r4'), claims_test.step_refund('r4', 'failed'), claims_test.step_refund('r4', 'cancelled');
SELECT * FROM claims_test.claim();
-- Money that the order does not need: its refund is to be submitted at once.
SELECT claims_test.open('R2', multi => true), claims_test.open('R2', request_id => 'R2'), claims_test.report('R2', 'paid'), claims_test.report('R2', 'paid', attempt => 2);
SELECT * FROM claims_test.claim();
-- What the channel started is asked about if it is under way, and else left alone.
SELECT claims_test.open('R3'), claims_test.report('R3', 'paid');
SELECT n, decision, state FROM unnest('{processing,unknown,succeeded,abnormal}'::text[]) WITH ORDINALITY AS s (reported, n),
	LATERAL pay_refund_callback(channel => 'claim', callback_id => NULL, refund_no => 'a' || n, reported => reported, amount => 10,
		trade_no => claims_test.trade_no('R3'), merchant => 'claim');
SELECT refund_no, due FROM claims_test.queue('R3') WHERE refund_no IS NOT NULL;
SELECT claims_test.pass('12 h');
SELECT * FROM claims_test.claim() WHERE order_no = 'R3' ORDER BY refund_no;
-- The same number at another merchant is another refund.
SELECT r.decision FROM pay_prepay(order_no => 'R1', amount => 100, currency => 'CNY', merchant => 'claim-2', channel => 'claim', method => 'card', request_id => 'R1') p,
	LATERAL pay_callback('claim', NULL, p.trade_no, 'paid', 100, 'CNY') c, LATERAL pay_refund(trade_no => p.trade_no, refund_no => 'r1', amount => 7, reason => 'a test') r;
SELECT action, merchant, order_no, refund_no, amount, state FROM pay_claim(worker => 'w1', max_tasks => 10, lease => '1 h');
SELECT claims_test.put_aside();

-- ---- actions, max_tasks, and the order ----

SELECT claims_test.open('M1'), claims_test.open('M2'), claims_test.step('M2', 'closing');
SELECT claims_test.open('M3'), claims_test.report('M3', 'authorized'), claims_test.step('M3', 'closing');
SELECT claims_test.open('M4'), claims_test.report('M4', 'paid'), claims_test.refund('M4', 'm4');
SELECT claims_test.open('M5'), claims_test.report('M5', 'paid'), claims_test.refund('M5', 'm5'), claims_test.step_refund('m5', 'failed'), claims_test.step_refund('m5', 'processing');
SELECT claims_test.pass('12 h');
-- A worker takes what he can do. What he leaves is everybody else's still.
SELECT * FROM claims_test.claim(actions => '{confirm_hold,release_hold}');
SELECT * FROM claims_test.claim(actions => '{}');
SELECT * FROM claims_test.claim(actions => '{close}');
SELECT * FROM claims_test.claim(actions => '{void,query_refund}') ORDER BY action;
SELECT * FROM claims_test.claim(actions => '{query,query,query}');
SELECT * FROM claims_test.claim();
SELECT * FROM claims_test.claim();
-- The longest due first, of whatever kind, and not more than so many.
SELECT claims_test.put_aside();
SELECT claims_test.open('N1'), claims_test.step('N1', 'closing');
SELECT claims_test.pass('1 h');
SELECT claims_test.open('N2'), claims_test.report('N2', 'paid'), claims_test.refund('N2', 'n2');
SELECT claims_test.pass('1 h');
SELECT claims_test.open('N3'), claims_test.report('N3', 'authorized'), claims_test.step('N3', 'closing');
SELECT * FROM claims_test.claim(max_tasks => 2);
SELECT * FROM claims_test.claim(max_tasks => 2);
SELECT * FROM claims_test.claim(max_tasks => 2);
-- A claim that is rolled back handed out nothing; two in one statement do not share.
SELECT claims_test.put_aside();
SELECT claims_test.open('N' || n) FROM generate_series(4, 6) AS n;
SELECT claims_test.step('N' || n, 'closing') FROM generate_series(4, 6) AS n;
BEGIN;
SELECT * FROM claims_test.claim();
SELECT * FROM claims_test.claim();
ROLLBACK;
SELECT * FROM (SELECT 1 AS call, c.* FROM claims_test.claim('w1', 2) c UNION ALL SELECT 2, c.* FROM claims_test.claim('w2', 2) c) AS both_claims;
-- A claim sees what its own transaction has made.
BEGIN;
SELECT claims_test.open('N7'), claims_test.step('N7', 'closing');
SELECT * FROM claims_test.claim();
COMMIT;
SELECT claims_test.put_aside();
-- a queue full of what others do: their worker is down, and ours still gets what is due
SELECT count(*) AS due FROM generate_series(1, 1100) AS n, LATERAL claims_test.open('Q' || n) o, LATERAL claims_test.report('Q' || n, 'paid') r, LATERAL claims_test.refund('Q' || n, 'q' || n) f;
SELECT claims_test.pass('1 h');
SELECT claims_test.open('Q'), claims_test.step('Q', 'closing');
SELECT * FROM claims_test.claim(actions => '{query,close}');
SELECT count(*) AS submitted FROM claims_test.claim(max_tasks => 10000);
SELECT claims_test.put_aside();

-- ---- bad arguments, and who may not ----

SELECT call, test.try(format($$SELECT count(*) FROM pay_claim(%s)$$, call)) AS refused FROM unnest(ARRAY[
	$$worker => NULL, max_tasks => 1, lease => '1 h'$$,
	$$worker => '', max_tasks => 1, lease => '1 h'$$,
	$$worker => repeat('w', 256), max_tasks => 1, lease => '1 h'$$,
	$$worker => 'w', max_tasks => NULL, lease => '1 h'$$,
	$$worker => 'w', max_tasks => 0, lease => '1 h'$$,
	$$worker => 'w', max_tasks => -1, lease => '1 h'$$,
	$$worker => 'w', max_tasks => 10001, lease => '1 h'$$,
	$$worker => 'w', max_tasks => 1, lease => NULL$$,
	$$worker => 'w', max_tasks => 1, lease => '0'$$,
	$$worker => 'w', max_tasks => 1, lease => '-1 s'$$,
	$$worker => 'w', max_tasks => 1, lease => '1001 years'$$,
	$$worker => 'w', max_tasks => 1, lease => '1 h', actions => '{dance}'$$,
	$$worker => 'w', max_tasks => 1, lease => '1 h', actions => '{query,Query}'$$,
	$$worker => 'w', max_tasks => 1, lease => '1 h', actions => '{query,NULL}'$$,
	$$worker => 'w', max_tasks => 1, lease => '1 h', actions => '{""}'$$]) AS c (call);
SELECT test.try($$SELECT count(*) FROM pay_claim(worker => repeat('w', 255), max_tasks => 10000, lease => '1 day', actions => '{{query,close,void},{submit_refund,query_refund,release_hold}}')$$);
BEGIN READ ONLY;
SELECT test.sqlstate($$SELECT count(*) FROM pay_claim('w', 1, '1 h')$$) AS read_only;
ROLLBACK;

-- ---- guards ----

SELECT claims_test.open('G1'), claims_test.step('G1', 'closing');
SELECT action FROM claims_test.claim('w1');
CREATE TEMP TABLE before AS SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) AS md5 FROM pay_task t;
SELECT statement, test.try(statement) AS refused FROM unnest(ARRAY[
	$$UPDATE pay_task SET due_at = due_at + interval '1 h' WHERE pay_no::text = claims_test.pay_no('G1')$$,
	$$UPDATE pay_task SET claimed_at = NULL, tries = 0, asked_by = 'w9', queued_for = now(), reports = 9 WHERE pay_no::text = claims_test.pay_no('G1')$$,
	$$UPDATE pay_task SET attempt = 2, refund_no = 'r', resource = 'a:b' WHERE pay_no::text = claims_test.pay_no('G1')$$,
	$$DELETE FROM pay_task WHERE pay_no::text = claims_test.pay_no('G1')$$,
	$$TRUNCATE pay_task$$,
	$$UPDATE pay_attempt SET check_at = NULL WHERE pay_no::text = claims_test.pay_no('G1')$$,
	$$UPDATE pay_attempt SET reports = reports + 1 WHERE pay_no::text = claims_test.pay_no('G1')$$,
	$$UPDATE pay_refund SET check_at = now() WHERE merchant = 'claim' AND refund_no = 'r1'$$,
	$$UPDATE pay_refund SET reports = 9 WHERE merchant = 'claim' AND refund_no = 'r1'$$]) AS s (statement);
UPDATE pay_task SET due_at = due_at WHERE pay_no::text = claims_test.pay_no('G1');
SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) = before.md5 AS nothing_changed FROM pay_task t, before GROUP BY before.md5;
DROP TABLE before;
-- direct UPDATE: what changes nothing that the queue is about leaves it alone. Nobody else gets it within the lease.
UPDATE pay_attempt SET channel_txn = 'by hand' WHERE pay_no::text = claims_test.pay_no('G1');
SELECT * FROM claims_test.claim('w2');
SELECT claims_test.asked('G1') AS asked_by;
-- What it makes necessary is queued, as by the functions: close, void, ask, submit.
SELECT claims_test.open('G2'), claims_test.open('G3'), claims_test.open('G4');
SELECT claims_test.report('G3', 'failed'), claims_test.report('G4', 'failed');
SELECT decision, state FROM pay_transition(trade_no => claims_test.pay_no('G4'), to_state => 'closed');
UPDATE pay_attempt SET state = 'closing' WHERE pay_no::text = claims_test.pay_no('G2');
UPDATE pay_attempt SET state = 'authorized' WHERE pay_no::text IN (claims_test.pay_no('G3'), claims_test.pay_no('G4'));
SELECT * FROM claims_test.claim() ORDER BY order_no;
SELECT claims_test.pass('12 h');
SELECT * FROM claims_test.claim() WHERE order_no = 'G3';
-- An attempt paid by hand: the other one is to be closed.
SELECT claims_test.open('G5', multi => true), claims_test.open('G5', request_id => 'R2');
UPDATE pay_attempt SET state = 'paid', amount_collected = 100 WHERE pay_no::text = claims_test.pay_no('G5') AND attempt = 2;
SELECT * FROM claims_test.claim() WHERE order_no = 'G5';
-- A payment that is to be closed by hand: its attempt is, and goes along.
SELECT claims_test.open('G6');
UPDATE pay_payment SET state = 'closing' WHERE pay_no::text = claims_test.pay_no('G6');
SELECT test.states('claim', 'G6');
SELECT * FROM claims_test.claim() WHERE order_no = 'G6';
-- Refunds.
SELECT claims_test.refund('G5', 'g1'), claims_test.refund('G5', 'g2'), claims_test.refund('G5', 'g3');
SELECT claims_test.step_refund('g1', 'failed'), claims_test.step_refund('g2', 'abnormal');
SELECT * FROM claims_test.claim() WHERE order_no = 'G5';
UPDATE pay_refund SET state = 'requested' WHERE merchant = 'claim' AND refund_no = 'g1';
UPDATE pay_refund SET state = 'processing' WHERE merchant = 'claim' AND refund_no = 'g2';
UPDATE pay_refund SET reason = 'by hand' WHERE merchant = 'claim' AND refund_no = 'g3';
SELECT * FROM claims_test.claim() WHERE order_no = 'G5';
SELECT claims_test.pass('12 h');
SELECT * FROM claims_test.claim() WHERE order_no = 'G5' AND action = 'query_refund';
SELECT claims_test.put_aside();

-- ---- all of it ----

-- No task is lost: of every attempt and refund of this test that a worker has to look
-- at there is one row that counts, or a review says that its schedule is over.
SELECT 'attempt' AS of, order_no, a.attempt, a.state::text FROM pay_attempt a JOIN pay_payment p USING (pay_no)
WHERE p.merchant IN ('claim', 'claim-2') AND a.state::text IN ('paying', 'authorized', 'capturing', 'unknown', 'closing')
	AND (SELECT count(*) FROM pay_task t WHERE t.pay_no = a.pay_no AND t.attempt = a.attempt AND t.refund_no IS NULL AND coalesce(a.check_at = t.queued_for, true))
		+ (SELECT count(*) FROM pay_review v WHERE v.pay_no = a.pay_no AND v.attempt = a.attempt AND v.kind = 'exhausted' AND v.refund_no IS NULL) <> 1
	AND NOT (order_no = 'C14' AND a.attempt = 2)	-- exhausted, and then to be closed
UNION ALL
SELECT 'refund', refund_no, attempt, state::text FROM pay_refund r
WHERE merchant IN ('claim', 'claim-2') AND state::text IN ('requested', 'processing', 'unknown')
	AND (SELECT count(*) FROM pay_task t WHERE t.pay_no = r.pay_no AND t.refund_no = r.refund_no AND coalesce(r.check_at = t.queued_for, true))
		+ (SELECT count(*) FROM pay_review v WHERE v.pay_no = r.pay_no AND v.refund_no = r.refund_no AND v.kind = 'exhausted') <> 1;
-- And in the end each of them is handed out once, and nothing else.
SELECT claims_test.put_back();
SELECT claims_test.pass('48 h');
CREATE TEMP TABLE rest AS SELECT merchant, action, trade_no, refund_no FROM pay_claim(worker => 'last', max_tasks => 10000, lease => '1 h');
SELECT count(*) > 100 AS handed_out, count(*) - count(DISTINCT (trade_no, coalesce(refund_no, ''))) AS twice FROM rest;
SELECT * FROM pay_claim(worker => 'last', max_tasks => 10000, lease => '1 h');
DROP TABLE rest;

-- An order that is to end is ended, also when an answer to an older question says that the attempt is authorized.
SELECT claims_test.open('END');
SELECT claims_test.report('END', 'authorized');
SELECT decision, state FROM pay_close('END', 'claim', 'the customer gave up');
SELECT claims_test.report('END', 'authorized');
SELECT * FROM claims_test.claim();
SELECT claims_test.report('END', 'reversed');
SELECT test.states('claim', 'END');

-- A direct UPDATE that asks for the end queues it at once, too.
SELECT claims_test.open('UPDATED');
UPDATE pay_payment SET state = 'closing', end_requested = true WHERE merchant = 'claim' AND order_no = 'UPDATED';
SELECT * FROM claims_test.queue('UPDATED');
