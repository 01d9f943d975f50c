-- Breaks refunds on purpose, each in one way, behind the guards' back: what the
-- checks then say is in fire.broken, decided by hand.

CREATE TABLE fire.broken (
	way text PRIMARY KEY,
	pay_no uuid,
	expected text NOT NULL,
	seen boolean NOT NULL
);
COMMENT ON COLUMN fire.broken.expected IS 'the checks that report this payment, in alphabetical order';
COMMENT ON COLUMN fire.broken.seen IS 'the watch sees it too: the cap, or what rows and history say of it';

-- A refund of an order, with the steps that it took.
CREATE FUNCTION fire.refund(way text, name text, amount bigint, VARIADIC steps text[] DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	step text;
BEGIN
	PERFORM pay_refund(trade_no => p.pay_no::text, refund_no => way || name, amount => refund.amount, reason => 'to be broken')
	FROM pay_payment p WHERE p.order_no = way;
	FOREACH step IN ARRAY steps LOOP
		PERFORM pay_refund_transition(refund_no => way || name, to_state => step);
	END LOOP;
END $$;
CREATE FUNCTION fire.number_of(way text) RETURNS uuid
	LANGUAGE sql STABLE AS 'SELECT pay_no FROM pay_payment p WHERE p.merchant = '''' AND p.order_no = number_of.way';
-- Events added by hand go on where the payment's last one ended.
CREATE FUNCTION fire.event(way text, refund_no text, refund_before text, refund_after text, amount bigint DEFAULT 60, attempt integer DEFAULT 1) RETURNS void
	LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	UPDATE pay_payment p SET last_seq = last_seq + 1 WHERE p.pay_no = fire.number_of(way);
	INSERT INTO pay_event (pay_no, seq, attempt, decision, payment_before, payment_after, attempt_before, attempt_after,
		source, amount, refund_no, refund_before, refund_after)
	SELECT p.pay_no, p.last_seq, event.attempt, 'applied', p.state, p.state, t.state, t.state,
		'update', event.amount, event.refund_no, event.refund_before, event.refund_after
	FROM pay_payment p LEFT JOIN pay_attempt t ON t.pay_no = p.pay_no AND t.attempt = event.attempt
	WHERE p.pay_no = fire.number_of(way);
END $$;

INSERT INTO fire.broken (way, expected, seen) VALUES
	('more than there is', 'cap, overdrawn, running cap', true),
	('more than there is for a while', 'running cap', false),
	('what is overdrawn is not said', 'cap, overdrawn, running cap', true),
	('it is said to be overdrawn and is not', 'overdrawn, running cap', true),
	('a refund is asked for while it is overdrawn', 'running cap', false),
	('a worker sends what would overdraw', 'sent', false),
	('what was handed out is called off', 'called off', false),
	('an amount becomes another by itself', 'refund state', false),
	('a reserve is not given back', 'sums', false),
	('a fen of the reserve is lost', 'sums', false),
	('the payment forgets what went back', 'sums', false),
	('a refund steps without an event', 'refund state', false),
	('a refund fails without an event', 'refund state', true),
	('an event is lost', 'refund chain', false),
	('the first event is lost', 'refund chain', false),
	('the last event is lost', 'refund state', true),
	('a refund succeeds twice', 'refund chain', false),
	('what went back comes back', 'refund step', false),
	('a refund is never asked for', 'refund step', false),
	('what is stale changes a refund', 'refund decision', false),
	('a refund steps its attempt', 'refund decision', false),
	('the amount is another', 'refund state', true),
	('a refund is lost', 'refund state', true),
	('a refund of another merchant', 'refund', false),
	('a refund of what was not paid', 'cap, overdrawn, refund, running cap', false),
	('a refund of nothing', 'refund, running cap', false),
	('a surplus is kept', 'collected, surplus', false),
	('a fen of the surplus is kept', 'collected, surplus', false),
	('a surplus goes back twice', 'cap, collected, overdrawn, running cap, surplus', true),
	('a surplus goes back by another number', 'surplus', false),
	('what the order needed is called surplus', 'collected, surplus', false),
	('a fen comes from nowhere', 'collected', true),
	('a surplus refund is called off', 'surplus', false),
	('money came twice and is kept', 'collected, extra', false),
	('money that came twice goes back twice', 'extra', false),
	('money that came once goes back twice', 'extra', false),
	('money goes back that came twice, and nobody saw it come', 'extra', false),
	('the balance tells a lie', 'balance', false),
	('the balance forgets a payment', 'balance', false);

-- First the orders as they ought to be.
SELECT fire.pay(way) FROM fire.broken;
SELECT fire.refund('more than there is', '/1', 60);
SELECT fire.refund('more than there is for a while', '/1', 60, 'failed'), fire.refund('more than there is for a while', '/2', 60);
SELECT fire.refund(way, '/1', 60) FROM fire.broken WHERE way LIKE '%overdrawn%' OR way IN ('what was handed out is called off', 'an amount becomes another by itself');
SELECT r.decision FROM pay_attempt t JOIN pay_payment p USING (pay_no), pay_refund_callback(channel => 'test', callback_id => NULL, refund_no => p.order_no || '/dp',
	reported => 'processing', amount => 60, currency => 'CNY', trade_no => t.trade_no::text, kind => 'chargeback') r
WHERE t.attempt = 1 AND p.order_no IN ('what is overdrawn is not said', 'a refund is asked for while it is overdrawn');
SELECT fire.refund('a reserve is not given back', '/1', 60, 'failed');
SELECT fire.refund('a fen of the reserve is lost', '/1', 60);
SELECT fire.refund('the payment forgets what went back', '/1', 60, 'succeeded');
SELECT fire.refund('a refund steps without an event', '/1', 60);
SELECT fire.refund('a refund fails without an event', '/1', 60);
SELECT fire.refund('an event is lost', '/1', 60, 'processing', 'unknown');
SELECT fire.refund('the first event is lost', '/1', 60, 'processing');
SELECT fire.refund('the last event is lost', '/1', 60, 'failed');
SELECT fire.refund('a refund succeeds twice', '/1', 60, 'succeeded');
SELECT fire.refund('what went back comes back', '/1', 60, 'succeeded');
SELECT fire.refund('a refund is never asked for', '/1', 60);
SELECT fire.refund('what is stale changes a refund', '/1', 60, 'processing');
SELECT fire.refund('a refund steps its attempt', '/1', 60);
SELECT fire.refund('the amount is another', '/1', 60);
SELECT fire.refund('a refund is lost', '/1', 60);
SELECT fire.refund('a refund of another merchant', '/1', 60);
SELECT fire.paid(t.trade_no)
FROM pay_attempt t
WHERE t.attempt = 2 AND t.pay_no IN (SELECT fire.number_of(way) FROM fire.broken WHERE way LIKE '%surplus%' AND way NOT LIKE 'what%');
SELECT fire.refund('what the order needed is called surplus', '/1', 100);
SELECT r.decision
FROM (SELECT fire.number_of('money that came twice goes back twice') AS pay_no UNION ALL SELECT fire.number_of('money that came once goes back twice')) p,
	pay_callback(channel => 'test', callback_id => 'again', trade_no => p.pay_no::text, reported => 'paid', amount => 100, currency => 'CNY', channel_txn => 't2') r;
SELECT r.decision FROM pay_review v,
	pay_review_resolve(review_id => v.review_id, verdict => 'refund', reason => 'it came twice') r
WHERE v.kind = 'mismatch' AND v.pay_no IN (fire.number_of('money that came twice goes back twice'), fire.number_of('money that came once goes back twice'));
UPDATE fire.broken SET pay_no = fire.number_of(way);

-- So far nothing is wrong with them.
SELECT 'violations before: ' || count(*) FROM fire.check() WHERE pay_no IN (SELECT pay_no FROM fire.broken);

-- Then as they never may be.
SET session_replication_role = replica;
ALTER TABLE pay_attempt DROP CONSTRAINT pay_attempt_cap_check;
ALTER TABLE pay_payment DROP CONSTRAINT pay_payment_amount_check;

INSERT INTO pay_refund (pay_no, amount, attempt, refund_no) VALUES (fire.number_of('more than there is'), 60, 1, 'more than there is/2');
SELECT fire.event('more than there is', 'more than there is/2', NULL, 'requested');
UPDATE pay_attempt SET amount_reserved = 120 WHERE pay_no = fire.number_of('more than there is') AND attempt = 1;

UPDATE pay_attempt SET amount_overdrawn = NULL WHERE pay_no = fire.number_of('what is overdrawn is not said') AND attempt = 1;
UPDATE pay_attempt SET amount_overdrawn = 5 WHERE pay_no = fire.number_of('it is said to be overdrawn and is not') AND attempt = 1;
INSERT INTO pay_refund (pay_no, amount, attempt, refund_no) VALUES (fire.number_of('a refund is asked for while it is overdrawn'), 1, 1, 'a refund is asked for while it is overdrawn/2');
SELECT fire.event('a refund is asked for while it is overdrawn', 'a refund is asked for while it is overdrawn/2', NULL, 'requested', 1);
UPDATE pay_attempt SET amount_reserved = 121, amount_overdrawn = 21 WHERE pay_no = fire.number_of('a refund is asked for while it is overdrawn') AND attempt = 1;
INSERT INTO fire.claimed VALUES (fire.number_of('a worker sends what would overdraw'), 1, 'submit_refund', 'a worker sends what would overdraw/1', 'refund', 100, 120);
SELECT fire.event('what was handed out is called off', 'what was handed out is called off/1', 'requested', 'cancelled');
UPDATE pay_refund SET state = 'cancelled' WHERE pay_no = fire.number_of('what was handed out is called off');
UPDATE pay_attempt SET amount_reserved = NULL WHERE pay_no = fire.number_of('what was handed out is called off') AND attempt = 1;
SELECT fire.event('an amount becomes another by itself', 'an amount becomes another by itself/1', 'requested', 'requested', 50);
UPDATE pay_refund SET amount = 50 WHERE pay_no = fire.number_of('an amount becomes another by itself');
UPDATE pay_attempt SET amount_reserved = 50 WHERE pay_no = fire.number_of('an amount becomes another by itself') AND attempt = 1;

-- the failure of the first and the request of the second refund change places
UPDATE pay_event e SET seq = 2 * p.last_seq - 1 - e.seq + 1000 FROM pay_payment p
WHERE p.pay_no = e.pay_no AND e.pay_no = fire.number_of('more than there is for a while') AND e.seq >= p.last_seq - 1;
UPDATE pay_event SET seq = seq - 1000 WHERE pay_no = fire.number_of('more than there is for a while') AND seq > 1000;

UPDATE pay_attempt SET amount_reserved = 60 WHERE pay_no = fire.number_of('a reserve is not given back') AND attempt = 1;
UPDATE pay_attempt SET amount_reserved = 59 WHERE pay_no = fire.number_of('a fen of the reserve is lost') AND attempt = 1;
UPDATE pay_payment SET amount_refunded = 0 WHERE pay_no = fire.number_of('the payment forgets what went back');

UPDATE pay_refund SET state = 'processing' WHERE pay_no = fire.number_of('a refund steps without an event');
UPDATE pay_refund SET state = 'failed' WHERE pay_no = fire.number_of('a refund fails without an event');
UPDATE pay_attempt SET amount_reserved = NULL WHERE pay_no = fire.number_of('a refund fails without an event') AND attempt = 1;
DELETE FROM pay_event WHERE pay_no = fire.number_of('an event is lost') AND refund_after = 'processing';
DELETE FROM pay_event WHERE pay_no = fire.number_of('the first event is lost') AND refund_after = 'requested';
DELETE FROM pay_event WHERE pay_no = fire.number_of('the last event is lost') AND refund_after = 'failed';
SELECT fire.event('a refund succeeds twice', 'a refund succeeds twice/1', 'requested', 'succeeded');
SELECT fire.event('what went back comes back', 'what went back comes back/1', 'succeeded', 'failed');
UPDATE pay_refund SET state = 'failed' WHERE pay_no = fire.number_of('what went back comes back');
UPDATE pay_attempt SET amount_refunded = NULL WHERE pay_no = fire.number_of('what went back comes back') AND attempt = 1;
UPDATE pay_payment SET amount_refunded = 0 WHERE pay_no = fire.number_of('what went back comes back');
UPDATE pay_event SET refund_after = 'processing' WHERE pay_no = fire.number_of('a refund is never asked for') AND refund_no IS NOT NULL;
UPDATE pay_refund SET state = 'processing' WHERE pay_no = fire.number_of('a refund is never asked for');
UPDATE pay_event SET decision = 'stale' WHERE pay_no = fire.number_of('what is stale changes a refund') AND refund_after = 'processing';
UPDATE pay_event SET attempt_before = 'unknown' WHERE pay_no = fire.number_of('a refund steps its attempt') AND refund_no IS NOT NULL;

UPDATE pay_refund SET amount = 50 WHERE pay_no = fire.number_of('the amount is another');
UPDATE pay_attempt SET amount_reserved = 50 WHERE pay_no = fire.number_of('the amount is another') AND attempt = 1;
DELETE FROM pay_refund WHERE pay_no = fire.number_of('a refund is lost');
UPDATE pay_attempt SET amount_reserved = NULL WHERE pay_no = fire.number_of('a refund is lost') AND attempt = 1;
UPDATE pay_refund SET merchant = 'another' WHERE pay_no = fire.number_of('a refund of another merchant');

INSERT INTO pay_refund (pay_no, amount, attempt, refund_no) VALUES (fire.number_of('a refund of what was not paid'), 60, 2, 'a refund of what was not paid/1');
SELECT fire.event('a refund of what was not paid', 'a refund of what was not paid/1', NULL, 'requested', 60, 2);
UPDATE pay_attempt SET amount_reserved = 60 WHERE pay_no = fire.number_of('a refund of what was not paid') AND attempt = 2;
INSERT INTO pay_refund (pay_no, amount, attempt, refund_no) VALUES (fire.number_of('a refund of nothing'), 60, 3, 'a refund of nothing/1');
SELECT fire.event('a refund of nothing', 'a refund of nothing/1', NULL, 'requested', 60, 3);

DELETE FROM pay_refund WHERE pay_no = fire.number_of('a surplus is kept');
DELETE FROM pay_event WHERE pay_no = fire.number_of('a surplus is kept') AND refund_no IS NOT NULL;
UPDATE pay_attempt SET amount_reserved = NULL WHERE pay_no = fire.number_of('a surplus is kept') AND attempt = 2;
UPDATE pay_refund SET amount = 99 WHERE pay_no = fire.number_of('a fen of the surplus is kept');
UPDATE pay_event SET amount = 99 WHERE pay_no = fire.number_of('a fen of the surplus is kept') AND refund_no IS NOT NULL;
UPDATE pay_attempt SET amount_reserved = 99 WHERE pay_no = fire.number_of('a fen of the surplus is kept') AND attempt = 2;
INSERT INTO pay_refund (pay_no, amount, attempt, kind, refund_no) VALUES (fire.number_of('a surplus goes back twice'), 100, 2, 'surplus', 'a surplus goes back twice/1');
SELECT fire.event('a surplus goes back twice', 'a surplus goes back twice/1', NULL, 'requested', 100, 2);
UPDATE pay_attempt SET amount_reserved = 200 WHERE pay_no = fire.number_of('a surplus goes back twice') AND attempt = 2;
UPDATE pay_refund SET refund_no = 'x' WHERE pay_no = fire.number_of('a surplus goes back by another number');
UPDATE pay_event SET refund_no = 'x' WHERE pay_no = fire.number_of('a surplus goes back by another number') AND refund_no IS NOT NULL;
UPDATE pay_refund SET kind = 'surplus' WHERE pay_no = fire.number_of('what the order needed is called surplus');

UPDATE pay_attempt SET amount_collected = 101 WHERE pay_no = fire.number_of('a fen comes from nowhere') AND attempt = 1;
UPDATE pay_attempt SET amount_extra = 60 WHERE attempt = 1
	AND pay_no IN (fire.number_of('money came twice and is kept'), fire.number_of('money goes back that came twice, and nobody saw it come'));
INSERT INTO pay_refund (pay_no, amount, attempt, kind, refund_no)
SELECT pay_no, 60, 1, 'extra', replace(trade_no::text, '-', '') || 'x0123456789abcdef'
FROM pay_attempt WHERE attempt = 1 AND pay_no = fire.number_of('money goes back that came twice, and nobody saw it come');
SELECT fire.event('money goes back that came twice, and nobody saw it come', refund_no, NULL, 'requested') FROM pay_refund WHERE refund_no LIKE '%x0123456789abcdef' AND kind = 'extra';
-- a second refund of the same transaction, with a review of its own
UPDATE pay_attempt SET amount_extra = 200 WHERE attempt = 1 AND pay_no = fire.number_of('money that came twice goes back twice');
INSERT INTO pay_refund (pay_no, amount, attempt, kind, refund_no)
SELECT pay_no, amount, attempt, kind, left(refund_no, 33) || 'fedcba9876543210'
FROM pay_refund WHERE pay_no = fire.number_of('money that came twice goes back twice');
SELECT fire.event('money that came twice goes back twice', refund_no, NULL, 'requested', 100)
FROM pay_refund WHERE refund_no LIKE '%xfedcba9876543210';
INSERT INTO pay_review (pay_no, amount, seq, attempt, about_money, reported, kind, source, trade_no, currency, channel_txn, verdict, reason, resolved_at, resolved_by)
SELECT pay_no, amount, seq, attempt, about_money, reported, kind, source, trade_no, currency, channel_txn, verdict, reason, resolved_at, resolved_by
FROM pay_review WHERE pay_no = fire.number_of('money that came twice goes back twice');
-- the review was of the transaction that paid
UPDATE pay_review SET channel_txn = 't1' WHERE pay_no = fire.number_of('money that came once goes back twice');
SELECT fire.event('a surplus refund is called off', refund_no, 'requested', 'cancelled', 100, 2) FROM pay_refund WHERE pay_no = fire.number_of('a surplus refund is called off');
UPDATE pay_refund SET state = 'cancelled' WHERE pay_no = fire.number_of('a surplus refund is called off');
UPDATE pay_attempt SET amount_reserved = NULL WHERE attempt = 2 AND pay_no = fire.number_of('a surplus refund is called off');

-- pay_balance says the same as before of all but two payments
DO $$ BEGIN EXECUTE 'CREATE VIEW honest_balance AS ' || pg_get_viewdef('pay_balance'::regclass); END $$;
CREATE OR REPLACE VIEW pay_balance AS
	SELECT pay_no, merchant, order_no, currency, state, amount, needed, collected, surplus, reserved, refunded,
		refundable + (order_no = 'the balance tells a lie')::integer AS refundable, to_close, overdrawn
	FROM honest_balance
	WHERE order_no <> 'the balance forgets a payment';
