-- Money that leaves, and news that takes its time. Each scenario is an accident that
-- happened to somebody: what the channel did, what was told to whom in which order,
-- and what must come of it. PAID is an order of 100.00 EUR through stripe/card, paid
-- by pi_1. Time passes by moving what the database noted into the past.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA money;

INSERT INTO pay_channel (channel, method, schedule, schedule_held, held_for, timeout, message_ids, resubmit_within) VALUES
	('money', 'held', '{10 h,20 h}', '{24 h,48 h}', '240 h', '1000 h', 'message', '24 hours'),
	('money', 'state', '{10 h}', '{24 h}', '240 h', '1000 h', 'state', '24 hours'),
	('money', 'keeps', '{10 h}', '{24 h}', '240 h', '1000 h', 'message', '100 hours');

CREATE FUNCTION money.pay_no(order_no text) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT p.pay_no::text FROM pay_payment p WHERE p.merchant = 'money' AND p.order_no = pay_no.order_no
$$;
CREATE FUNCTION money.trade_no(order_no text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT (pay_trade_nos(p.pay_no, p.routes))[attempt]::text FROM pay_payment p WHERE p.merchant = 'money' AND p.order_no = trade_no.order_no
$$;
CREATE FUNCTION money.prepay(order_no text, request_id text DEFAULT 'R1', payer text DEFAULT NULL, amount bigint DEFAULT 10000, channel text DEFAULT 'stripe',
	method text DEFAULT 'card', confirm boolean DEFAULT false, holds text[] DEFAULT NULL, replaces text DEFAULT NULL,
	OUT decision text, OUT state text, OUT attempt integer, OUT credential text, OUT other_order_no text, OUT detail text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt, credential, other_order_no, detail
	FROM pay_prepay(order_no => order_no, amount => amount, currency => 'EUR', merchant => 'money', channel => channel, method => method, request_id => request_id,
		payer => payer, confirm => confirm, holds => holds, replaces => replaces, valid_for => CASE WHEN holds IS NOT NULL AND amount > 0 THEN interval '1 day' END)
$$;
-- What a channel says of a payment.
CREATE FUNCTION money.report(order_no text, reported text, channel_txn text DEFAULT NULL, callback_id text DEFAULT NULL, amount bigint DEFAULT 10000,
	occurred_at timestamptz DEFAULT NULL, channel text DEFAULT 'stripe', merchant text DEFAULT NULL, attempt integer DEFAULT 1,
	OUT decision text, OUT state text, OUT attempt_state text, OUT detail text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt_state, detail FROM pay_callback(channel => channel, callback_id => callback_id, trade_no => money.trade_no(order_no, attempt),
		reported => reported, amount => CASE WHEN reported IN ('paid', 'authorized') THEN amount END,
		currency => CASE WHEN reported IN ('paid', 'authorized') THEN 'EUR' END, channel_txn => channel_txn, occurred_at => occurred_at, merchant => merchant)
$$;
CREATE FUNCTION money.step(order_no text, to_state text, amount bigint DEFAULT NULL, OUT decision text, OUT state text, OUT attempt_state text) LANGUAGE sql AS $$
	SELECT decision, state, attempt_state FROM pay_transition(trade_no => money.trade_no(order_no), to_state => to_state, amount => amount)
$$;
CREATE FUNCTION money.paid(order_no text, channel_txn text DEFAULT 'pi_1') RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM money.prepay(order_no);
	SELECT decision FROM money.report(order_no, 'paid', channel_txn);
$$;
CREATE FUNCTION money.refund(order_no text, refund_no text, amount bigint, reason text DEFAULT NULL, confirm boolean DEFAULT false, currency text DEFAULT NULL,
	OUT decision text, OUT state text, OUT refundable bigint, OUT detail text)
LANGUAGE sql AS $$
	SELECT decision, state, refundable, detail FROM pay_refund(trade_no => money.pay_no(order_no), refund_no => refund_no, amount => amount,
		reason => coalesce(reason, 'returned ' || refund_no), confirm => confirm, currency => currency)
$$;
CREATE FUNCTION money.step_refund(refund_no text, to_state text, channel_txn text DEFAULT NULL, OUT decision text, OUT state text, OUT refundable bigint)
LANGUAGE sql AS $$
	SELECT decision, state, refundable FROM pay_refund_transition(refund_no => refund_no, to_state => to_state, channel_txn => channel_txn, merchant => 'money')
$$;
-- What a channel says of a refund; which one it was taken for.
CREATE FUNCTION money.report_refund(order_no text, refund_no text, reported text, amount bigint DEFAULT NULL, channel_txn text DEFAULT NULL, kind text DEFAULT 'refund',
	callback_id text DEFAULT NULL, channel text DEFAULT 'stripe', OUT decision text, OUT refund text, OUT state text, OUT refundable bigint)
LANGUAGE sql AS $$
	SELECT decision, refund_no, state, refundable FROM pay_refund_callback(channel => channel, callback_id => callback_id, refund_no => refund_no, reported => reported,
		amount => amount, currency => CASE WHEN amount IS NOT NULL THEN 'EUR' END, trade_no => money.trade_no(order_no), channel_txn => channel_txn, kind => kind,
		merchant => 'money')
$$;
-- The books of an order, and what its rows say; of a number that is ours, only what follows it.
CREATE FUNCTION money.books(order_no text, OUT collected bigint, OUT reserved bigint, OUT refunded bigint, OUT refundable bigint, OUT overdrawn bigint, OUT of_payment bigint)
LANGUAGE sql AS $$
	SELECT b.collected, b.reserved, b.refunded, b.refundable, b.overdrawn, p.amount_refunded FROM pay_balance b JOIN pay_payment p USING (pay_no)
	WHERE b.merchant = 'money' AND b.order_no = books.order_no
$$;
CREATE FUNCTION money.refunds(order_no text, OUT refund_no text, OUT kind text, OUT adopted boolean, OUT state text, OUT amount bigint, OUT channel_txn text, OUT of_txn text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT regexp_replace(r.refund_no, '^[0-9a-f]{32}([sxdb]).*', '<number>\1'), r.kind, r.adopted, r.state::text, r.amount, r.channel_txn, r.of_txn
	FROM pay_refund r WHERE r.pay_no::text = money.pay_no(order_no) ORDER BY r.refund_no COLLATE "C"
$$;
CREATE FUNCTION money.reviews(order_no text, OUT kind text, OUT refund_no text, OUT reported text, OUT refund_kind text, OUT amount bigint, OUT verdict text,
	OUT reason text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT kind, refund_no, coalesce(refund_reported::text, reported::text), refund_kind, amount, verdict, reason
	FROM pay_review WHERE pay_no::text = money.pay_no(order_no) ORDER BY review_id
$$;
-- A verdict on the order's first open review of that kind.
CREATE FUNCTION money.verdict(order_no text, kind text, verdict text) RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(test.try(format('SELECT decision FROM pay_review_resolve(%s, %L, %L)', review_id, verdict.verdict, 'a person has looked')), 'review \d+', 'review <id>')
	FROM pay_review r WHERE r.pay_no::text = money.pay_no(order_no) AND r.kind = verdict.kind AND r.verdict IS NULL ORDER BY review_id LIMIT 1
$$;
-- What is to be sent back, and which transaction it gives back.
CREATE FUNCTION money.to_send(OUT order_no text, OUT refund_no text, OUT amount bigint, OUT gives_back text) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT order_no, regexp_replace(refund_no, '^[0-9a-f]{32}([sxdb]).*', '<number>\1'), amount, channel_txn
	FROM pay_claim(worker => 'sender', max_tasks => 1000, lease => '1 h', actions => '{submit_refund}') ORDER BY refund_no COLLATE "C"
$$;

-- The queue is one for all: what is not of this test is put aside by a hundred years, and back at the end.
CREATE FUNCTION money.move(to_move interval, at_least timestamptz, below timestamptz) RETURNS void
LANGUAGE plpgsql SET session_replication_role = 'replica' AS $$
BEGIN
	UPDATE pay_task SET due_at = due_at + to_move, claimed_at = claimed_at + to_move WHERE due_at >= at_least AND due_at < below;
END
$$;
-- Time passes for one order.
CREATE FUNCTION money.pass(order_no text, time_span interval) RETURNS void
LANGUAGE plpgsql SET session_replication_role = 'replica' AS $$
DECLARE
	this CONSTANT uuid := money.pay_no(order_no);
BEGIN
	UPDATE pay_task SET due_at = due_at - time_span, claimed_at = claimed_at - time_span WHERE pay_no = this;
	UPDATE pay_attempt SET opened_at = opened_at - time_span, handed_out_at = handed_out_at - time_span,
		reported_at = reported_at - time_span, credential_expires_at = credential_expires_at - time_span WHERE pay_no = this;
	UPDATE pay_refund SET requested_at = requested_at - time_span, handed_out_at = handed_out_at - time_span WHERE pay_no = this;
	UPDATE pay_event SET recorded_at = recorded_at - time_span WHERE pay_no = this;
	UPDATE pay_payment SET created_at = created_at - time_span WHERE pay_no = this;
END
$$;
DO $$ BEGIN PERFORM money.move('876000 h', '-infinity', now() + interval '438000 h'); END $$;
CREATE TEMP TABLE before (fingerprint text);

-- ==== wrong money ====

-- ---- 1: a refund that is called off while a worker sends it ----

SELECT money.paid('1');
SELECT decision, state, refundable FROM money.refund('1', 'R1', 10000);
SELECT * FROM money.to_send();
SELECT regexp_replace(test.try($$SELECT money.step_refund('R1', 'cancelled')$$), 'at [-0-9:. +]+', 'at <time>') AS called_off;
SELECT test.sqlstate($$SELECT money.refund('1', 'R2', 10000)$$) AS another;
SELECT * FROM money.report_refund('1', 'R1', 'succeeded', 10000);
SELECT * FROM money.books('1');
-- Whoever was answered proceed was told to send it, worker or not.
SELECT money.paid('1b');
SELECT decision FROM money.refund('1b', 'R3', 10000);
SELECT test.sqlstate($$SELECT money.step_refund('R3', 'cancelled')$$) AS called_off;
-- The channel says that it does not have it: failed first, then it is off, and another one may go.
SELECT * FROM money.step_refund('R3', 'failed');
SELECT * FROM money.step_refund('R3', 'cancelled');
SELECT decision, refundable FROM money.refund('1b', 'R4', 10000);
-- It had it after all: booked, overdrawn, and a person is told. Not this news is refused, but the next refund.
SELECT * FROM money.report_refund('1b', 'R3', 'processing', 10000);
SELECT * FROM money.report_refund('1b', 'R3', 'succeeded', 10000);
SELECT * FROM money.books('1b');
SELECT kind, refund_no, reported, amount, verdict FROM money.reviews('1b');
SELECT test.sqlstate($$SELECT money.refund('1b', 'R5', 1)$$) AS another;
SELECT * FROM money.step_refund('R4', 'failed');
SELECT * FROM money.books('1b');
-- One that nobody was told to send yet is called off at once: the refund of a dispute's verdict, before a worker has it.
SELECT money.paid('1c'), money.paid('1d'), money.paid('1e', 'pi_2');
CREATE FUNCTION money.settle(order_no text) RETURNS text LANGUAGE sql AS $$
	SELECT (pay_dispute_resolve(dispute_id => (pay_dispute_open(trade_no => money.pay_no(order_no), duplicate_of => money.pay_no('1e'), reason => 'ordered twice')).dispute_id,
		verdict => 'refund', reason => 'the customer is right')).refund_no
$$;
SELECT decision, state FROM pay_refund_transition(refund_no => money.settle('1c'), to_state => 'cancelled', merchant => 'money');
CREATE TEMP TABLE settled AS SELECT money.settle('1d') AS refund_no;
SELECT * FROM money.to_send();
SELECT test.sqlstate(format('SELECT pay_refund_transition(refund_no => %L, to_state => %L, merchant => %L)', refund_no, 'cancelled', 'money')) AS called_off FROM settled;

-- ---- 2: a chargeback above what is left ----

SELECT money.paid('2');
SELECT decision FROM money.refund('2', 'R20', 3000);
SELECT * FROM money.step_refund('R20', 'succeeded');
SELECT * FROM money.report_refund('2', 'dp_2', 'processing', 10000, kind => 'chargeback');
SELECT * FROM money.books('2');
SELECT test.try($$SELECT money.refund('2', 'R21', 7000)$$);
-- Nothing is asked of a person that he cannot do.
SELECT kind, refund_no, reported, refund_kind, amount FROM money.reviews('2');
SELECT k AS kind, v AS verdict, money.verdict('2', k, v) FROM unnest('{overdrawn,adopted}'::text[]) WITH ORDINALITY AS r (k, n),
	unnest('{refund,alias,same,accept}'::text[]) WITH ORDINALITY AS w (v, m) ORDER BY n, m;
-- The bank adds its fee; that, too, has left.
SELECT * FROM money.report_refund('2', 'dp_2', 'succeeded', 10234, kind => 'chargeback');
SELECT * FROM money.books('2');
SELECT kind, refund_no, reported, amount FROM money.reviews('2') WHERE verdict IS NULL;
-- In the same state, too: a second fee.
SELECT * FROM money.report_refund('2', 'dp_2', 'succeeded', 10300, kind => 'chargeback');
SELECT * FROM money.report_refund('2', 'dp_2', 'succeeded', 10300, kind => 'chargeback');
SELECT * FROM money.books('2');
SELECT kind, refund_no, reported, amount FROM money.reviews('2') WHERE verdict IS NULL AND amount = 10300;
-- Won: the money is with the shop again, and what was overdrawn with it. Lost again, and won again.
SELECT * FROM money.report_refund('2', 'dp_2', 'returned', 10300, kind => 'chargeback');
SELECT * FROM money.books('2');
SELECT * FROM money.report_refund('2', 'dp_2', 'succeeded', 10300, kind => 'chargeback');
SELECT * FROM money.books('2');
SELECT * FROM money.report_refund('2', 'dp_2', 'returned', kind => 'chargeback');
SELECT decision, refundable FROM money.refund('2', 'R21', 7000);
SELECT * FROM money.refunds('2');
-- 102.34 charged back of 100.00: of the payment no more goes back than it had.
SELECT money.paid('2b');
SELECT * FROM money.report_refund('2b', 'dp_3', 'succeeded', 10234, kind => 'chargeback');
SELECT * FROM money.books('2b');
SELECT decision, state, refundable FROM pay_query('2b', 'money');
-- Charged back before we knew that it was paid: what comes in pays for that first.
SELECT decision FROM money.prepay('2c');
SELECT * FROM money.report_refund('2c', 'dp_4', 'succeeded', 10000, kind => 'chargeback');
SELECT * FROM money.books('2c');
SELECT decision, state FROM money.report('2c', 'paid', 'pi_1');
SELECT * FROM money.books('2c');

-- ---- 3: a late authorized must not open the way to a second capture ----

SELECT decision FROM money.prepay('3');
SELECT decision, state FROM money.report('3', 'authorized');
CREATE TEMP TABLE asked_before AS SELECT clock_timestamp() AS at;
SELECT * FROM money.step('3', 'capturing', 4000);
-- its own AUTHORISATION message, with a time and without; the answer to a question that was asked before
SELECT * FROM money.report('3', 'authorized', callback_id => 'AUTHORISATION', occurred_at => '2026-01-01 12:00 UTC');
SELECT * FROM money.report('3', 'authorized', callback_id => 'AUTHORISATION 2');
SELECT r.* FROM asked_before, money.report('3', 'authorized', occurred_at => at) AS r;
SELECT test.sqlstate($$SELECT money.step('3', 'capturing', 6000)$$) AS second_capture;
-- The capture's outcome is not known: the same.
SELECT * FROM money.step('3', 'unknown');
SELECT r.* FROM asked_before, money.report('3', 'authorized', occurred_at => at) AS r;
SELECT test.try($$SELECT money.step('3', 'capturing', 6000)$$);
-- That it was not captured is said of a time after it was asked for, or by the caller himself.
SELECT decision, state FROM money.report('3', 'authorized', occurred_at => clock_timestamp());
SELECT * FROM money.step('3', 'capturing', 6000);
SELECT * FROM money.step('3', 'authorized');
SELECT * FROM money.step('3', 'capturing', 5000);
-- A later capture is later than an answer that was about the first.
SELECT e.decision, r.* FROM (SELECT max(recorded_at) AS at, count(*) AS decision FROM pay_event WHERE pay_no::text = money.pay_no('3') AND attempt_after = 'authorized') AS e,
	money.report('3', 'authorized', occurred_at => at) AS r;
SELECT decision, state FROM money.report('3', 'paid', 'pi_1', amount => 5000);

-- ---- 4: handed out again though the channel has it ----

UPDATE pay_channel SET resubmit_after = '30 minutes';
SELECT * FROM money.prepay('4');
SELECT * FROM money.prepay('4');
SELECT decision, state FROM money.report('4', 'paying', 'pi_1');
SELECT * FROM money.prepay('4');
SELECT * FROM money.prepay('4', 'R2');
SELECT money.pass('4', '1 hour');
SELECT * FROM money.prepay('4', 'R2');
-- Its credential dies: still the channel has it, so that one is asked.
SELECT decision FROM pay_credential(trade_no => money.trade_no('4'), credential => 'secret_1', valid_for => '1 hour');
SELECT * FROM money.prepay('4');
SELECT money.pass('4', '2 hours');
SELECT * FROM money.prepay('4');
-- Two days later: the channel has forgotten the key, and would collect a second time.
SELECT decision FROM money.prepay('4b');
SELECT money.pass('4b', '50 hours');
SELECT * FROM money.prepay('4b');
SELECT * FROM money.prepay('4b', 'R2');
SELECT decision, detail FROM pay_query('4b', 'money');
-- How long it knows one is the channel's row; within that time nobody knows better than to ask again by the same number.
SELECT decision FROM money.prepay('4c', channel => 'money', method => 'keeps');
SELECT money.pass('4c', '50 hours');
SELECT decision, attempt, detail FROM money.prepay('4c', channel => 'money', method => 'keeps');
-- The credential that comes of it lives; when it is dead, it is handed out to his own request, and to anybody.
SELECT decision FROM pay_credential(trade_no => money.trade_no('4c'), credential => 'secret_2', valid_for => '1 hour');
SELECT decision, credential FROM money.prepay('4c', 'R2', channel => 'money', method => 'keeps');
SELECT money.pass('4c', '2 hours');
SELECT decision, attempt, credential FROM money.prepay('4c', 'R2', channel => 'money', method => 'keeps');
SELECT money.pass('4c', '50 hours');
SELECT decision, attempt FROM money.prepay('4c', 'R2', channel => 'money', method => 'keeps');

-- ---- 5: an extra refund gives back its own transaction ----

SELECT money.paid('5');
SELECT decision, detail FROM money.report('5', 'paid', 'pi_2');
SELECT money.verdict('5', 'mismatch', 'refund');
SELECT decision FROM money.refund('5', 'R50', 1000);
SELECT * FROM money.to_send();
SELECT * FROM money.refunds('5');
-- So does surplus, which comes for an order that needs none.
SELECT decision FROM money.prepay('5b');
SELECT decision FROM pay_transition(trade_no => money.pay_no('5b'), to_state => 'closed');
SELECT decision FROM money.report('5b', 'paid', 'pi_3');
SELECT * FROM money.to_send();

-- ---- 6: two names of one refund ----

-- Our own step first: it says by which number the channel knows it.
SELECT money.paid('6a');
SELECT decision FROM money.refund('6a', 'R60', 4200);
SELECT * FROM money.step_refund('R60', 'processing', 're_60');
SELECT * FROM money.report_refund('6a', 're_60', 'succeeded', 4200, callback_id => 'evt_1');
SELECT * FROM money.report_refund('6a', 're_60', 'succeeded', 4200, callback_id => 'evt_1');
SELECT * FROM money.report_refund('6a', 'a name of its own', 'succeeded', 4200, 're_60');
SELECT * FROM money.books('6a');
SELECT * FROM money.refunds('6a');
SELECT count(*) AS reviews FROM money.reviews('6a');
-- The message first: nothing is booked, and the review names ours. Our own step then says that it is the same, and the review closes itself.
SELECT money.paid('6b');
SELECT decision FROM money.refund('6b', 'R61', 4200);
SELECT * FROM money.report_refund('6b', 're_61', 'succeeded', 4200, callback_id => 'evt_1');
SELECT * FROM money.report_refund('6b', 're_61', 'succeeded', 4200, callback_id => 'evt_2');
SELECT * FROM money.books('6b');
SELECT kind, refund_no, reported, amount, verdict FROM money.reviews('6b');
SELECT detail FROM pay_review WHERE pay_no::text = money.pay_no('6b');
SELECT v AS verdict, money.verdict('6b', 'twin', v) FROM unnest('{refund,alias}'::text[]) AS v;
SELECT * FROM money.step_refund('R61', 'succeeded', 're_61');
SELECT kind, refund_no, verdict, reason FROM money.reviews('6b');
SELECT * FROM money.report_refund('6b', 're_61', 'succeeded', 4200, callback_id => 'evt_1');
SELECT * FROM money.report_refund('6b', 're_61', 'succeeded', 4200, callback_id => 'evt_3');
SELECT * FROM money.books('6b');
-- The message first, and a person joins the two.
SELECT money.paid('6c');
SELECT decision FROM money.refund('6c', 'R62', 4200);
SELECT * FROM money.report_refund('6c', 're_62', 'succeeded', 4200);
SELECT money.verdict('6c', 'twin', 'same');
SELECT * FROM money.refunds('6c');
SELECT * FROM money.step_refund('R62', 'succeeded', 're_62');
SELECT * FROM money.books('6c');
-- The message first, then ours turns out to be another one: told again it is taken in, and nobody is asked any more.
SELECT money.paid('6z');
SELECT decision FROM money.refund('6z', 'RZ1', 4200);
SELECT * FROM money.report_refund('6z', 're_z1', 'succeeded', 4200);
SELECT * FROM money.step_refund('RZ1', 'succeeded', 're_z2');
SELECT * FROM money.report_refund('6z', 're_z1', 'succeeded', 4200);
SELECT * FROM money.refunds('6z');
SELECT kind, refund_no, verdict, reason FROM money.reviews('6z');
-- Or says that it is another one: then two have left.
SELECT money.paid('6d');
SELECT decision FROM money.refund('6d', 'R63', 4200);
SELECT * FROM money.report_refund('6d', 'elsewhere', 'succeeded', 4200, 're_64');
SELECT money.verdict('6d', 'twin', 'accept');
SELECT * FROM money.refunds('6d');
SELECT * FROM money.books('6d');
SELECT * FROM money.report_refund('6d', 'elsewhere', 'succeeded', 4200, 're_64');
-- Or that it is nothing; our own goes its way.
SELECT money.paid('6e');
SELECT decision FROM money.refund('6e', 'R65', 4200);
SELECT * FROM money.report_refund('6e', 're_65', 'processing', 4200);
SELECT money.verdict('6e', 'twin', 'dismiss');
SELECT * FROM money.step_refund('R65', 'succeeded', 're_65');
SELECT * FROM money.books('6e');
SELECT * FROM money.report_refund('6e', 're_65', 'succeeded', 4200);
-- Nothing of ours is under way that it could be: of another amount, with a transaction of its own, or over. Then the channel started it.
SELECT money.paid('6f');
SELECT a.decision, b.decision FROM money.refund('6f', 'R66', 1000) AS a, money.refund('6f', 'R67', 2000) AS b;
SELECT * FROM money.step_refund('R66', 'processing', 're_66');
SELECT * FROM money.report_refund('6f', 're_67', 'succeeded', 1000);
SELECT * FROM money.report_refund('6f', 're_68', 'succeeded', 3000);
SELECT kind, refund_no, reported FROM money.reviews('6f');
SELECT * FROM money.books('6f');
-- Surplus: ours is under way, and the channel sends the money back by itself. It is the same money.
SELECT decision FROM money.prepay('6g');
SELECT decision FROM pay_transition(trade_no => money.pay_no('6g'), to_state => 'closed');
SELECT decision FROM money.report('6g', 'paid', 'pi_1');
SELECT * FROM money.report_refund('6g', 're_69', 'succeeded', 10000, callback_id => 'evt_1');
SELECT * FROM money.report_refund('6g', 're_69', 'processing', 10000, callback_id => 'evt_2');
SELECT money.verdict('6g', 'twin', 'same');
SELECT * FROM money.refunds('6g');
SELECT kind, reported, verdict, reason FROM money.reviews('6g');
SELECT * FROM money.books('6g');

-- ---- 7: succeeded is not for ever ----

-- The bank sends the refund back: the money is with the shop, and the customer has none.
SELECT money.paid('7');
SELECT decision FROM money.refund('7', 'R70', 3000);
SELECT * FROM money.step_refund('R70', 'succeeded', 're_70');
SELECT * FROM money.report_refund('7', 'R70', 'returned', 3000);
SELECT * FROM money.books('7');
SELECT kind, refund_no, reported, amount FROM money.reviews('7');
SELECT v AS verdict, money.verdict('7', 'returned', v) FROM unnest('{refund,alias,same,accept}'::text[]) WITH ORDINALITY AS r (v, n) ORDER BY n;
-- Asked for again by its number it is what it was; by another one it goes again.
SELECT decision, state, refundable FROM money.refund('7', 'R70', 3000);
SELECT decision, state, refundable FROM money.refund('7', 'R71', 3000);
-- The channel's last word on the first one: it went, after all.
SELECT * FROM money.report_refund('7', 'R70', 'succeeded', 3000);
SELECT * FROM money.books('7');
-- That what had succeeded has failed is the same in other words; a person says so.
SELECT money.paid('7b');
SELECT decision FROM money.refund('7b', 'R72', 3000);
SELECT * FROM money.step_refund('R72', 'succeeded');
SELECT * FROM money.report_refund('7b', 'R72', 'failed', 3000);
SELECT money.verdict('7b', 'mismatch', 'accept');
SELECT * FROM money.refunds('7b');
SELECT * FROM money.books('7b');
-- It came back on the shop's own statement: the caller's own step.
SELECT money.paid('7c');
SELECT decision FROM money.refund('7c', 'R73', 3000);
SELECT * FROM money.step_refund('R73', 'succeeded');
SELECT * FROM money.step_refund('R73', 'returned');
SELECT * FROM money.books('7c');

-- ---- 8: a debit that bounces after the payout ----

SELECT money.paid('8');
SELECT decision, state FROM money.report('8', 'failed', 'pi_1', 'evt_1');
SELECT decision, state FROM money.report('8', 'failed', 'pi_1', 'evt_2');
SELECT kind, refund_no, reported, amount, verdict FROM money.reviews('8');
-- Who is about to send the goods is told so, whichever way he asks.
SELECT decision, regexp_replace(detail, 'review \d+', 'review <id>') AS detail FROM money.prepay('8', 'R2');
SELECT decision, regexp_replace(detail, 'review \d+', 'review <id>') AS detail FROM pay_query('8', 'money');
SELECT v AS verdict, money.verdict('8', 'mismatch', v) FROM unnest('{refund,alias,same,accept}'::text[]) WITH ORDINALITY AS r (v, n) ORDER BY n;
SELECT * FROM money.refunds('8');
SELECT * FROM money.books('8');
SELECT test.sqlstate($$SELECT money.refund('8', 'R80', 1)$$) AS refund;
-- Told once more it is known: nobody has to look again.
SELECT decision FROM money.report('8', 'failed', 'pi_1', 'evt_3');
SELECT count(*) FILTER (WHERE verdict IS NULL) AS open_reviews FROM money.reviews('8');
SELECT decision, detail FROM money.prepay('8', 'R2');
-- Collected again after all, and bounced again.
SELECT r.decision, r.state FROM pay_refund f, pay_refund_transition(refund_no => f.refund_no, to_state => 'returned', merchant => 'money') AS r WHERE f.pay_no::text = money.pay_no('8');
SELECT decision FROM money.report('8', 'failed', 'pi_1', 'evt_4');
SELECT money.verdict('8', 'mismatch', 'accept');
SELECT * FROM money.books('8');
-- Refunded in part before: what the bank took and what the shop sent are more than there was.
SELECT money.paid('8b');
SELECT decision FROM money.refund('8b', 'R81', 3000);
SELECT * FROM money.step_refund('R81', 'succeeded');
SELECT decision FROM money.report('8b', 'reversed', 'pi_1');
SELECT money.verdict('8b', 'mismatch', 'accept');
SELECT * FROM money.books('8b');
SELECT kind, reported, amount FROM money.reviews('8b') WHERE verdict IS NULL;
-- The bank thinks better of it.
SELECT r.decision, r.state FROM pay_refund f, pay_refund_transition(refund_no => f.refund_no, to_state => 'returned', merchant => 'money') AS r
WHERE f.pay_no::text = money.pay_no('8b') AND f.kind = 'chargeback';
SELECT * FROM money.books('8b');
-- The caller's own step is no news of a bank.
SELECT test.sqlstate($$SELECT money.step('8b', 'failed')$$) AS own_step;

-- ---- 9: a message that was verified with another merchant's keys ----

SELECT decision FROM money.prepay('9');
SELECT * FROM money.report('9', 'paid', 'pi_1', 'evt_1', merchant => 'money 2');
SELECT test.states('money', '9');
SELECT m.decision, m.state FROM pay_callbacks(messages => jsonb_build_array(jsonb_build_object('channel', 'stripe', 'callback_id', 'evt_1', 'trade_no', money.trade_no('9'),
	'reported', 'paid', 'amount', 10000, 'currency', 'EUR', 'merchant', 'money 2'))) AS m;
SELECT test.states('money', '9');
SELECT kind, merchant, pay_no FROM pay_review WHERE trade_no = money.trade_no('9');
-- It burns no message of the right one's.
SELECT m.decision, m.state FROM pay_callbacks(messages => jsonb_build_array(jsonb_build_object('channel', 'stripe', 'callback_id', 'evt_1', 'trade_no', money.trade_no('9'),
	'reported', 'paid', 'amount', 10000, 'currency', 'EUR', 'merchant', 'money'))) AS m;
SELECT decision FROM money.prepay('9b');
SELECT decision, state FROM money.report('9b', 'paid', 'pi_1', merchant => 'money');

-- ---- 10: a payer who becomes known during checkout ----

SELECT decision FROM money.prepay('10');
SELECT * FROM money.prepay('10', 'R2', 'ann');
SELECT payer FROM pay_payment WHERE pay_no::text = money.pay_no('10');
SELECT source, decision, reason FROM pay_history(money.pay_no('10')) OFFSET 1;
INSERT INTO before SELECT test.fingerprint();
SELECT decision FROM money.prepay('10', 'R2', 'ann');
SELECT decision FROM money.prepay('10', 'R2');
SELECT test.try($$SELECT money.prepay('10', 'R2', 'bob')$$);
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before;
-- By pay_create as well.
SELECT decision FROM pay_create(order_no => '10b', amount => 10000, currency => 'EUR', merchant => 'money');
SELECT decision FROM pay_create(order_no => '10b', amount => 10000, currency => 'EUR', merchant => 'money', payer => 'eve');
SELECT decision FROM pay_create(order_no => '10b', amount => 10000, currency => 'EUR', merchant => 'money', payer => 'eve');
SELECT test.sqlstate($$SELECT pay_create(order_no => '10b', amount => 10000, currency => 'EUR', merchant => 'money', payer => 'bob')$$) AS another_payer;
SELECT payer, last_seq FROM pay_payment WHERE pay_no::text = money.pay_no('10b');
-- A question to the customer writes nothing: neither he nor the order is bound yet.
SELECT decision FROM pay_create(order_no => '10c', amount => 10000, currency => 'EUR', merchant => 'money');
SELECT decision, other_order_no FROM money.prepay('10c', payer => 'ann');
SELECT payer FROM pay_payment WHERE pay_no::text = money.pay_no('10c');
SELECT decision FROM money.prepay('10c', payer => 'ann', confirm => true);
SELECT payer FROM pay_payment WHERE pay_no::text = money.pay_no('10c');
-- He signs in after he has paid.
SELECT decision FROM money.report('10', 'paid', 'pi_1');
SELECT money.paid('10d');
SELECT decision FROM money.prepay('10d', 'R2', 'zoe');
SELECT payer FROM pay_payment WHERE pay_no::text = money.pay_no('10d');

-- ---- 11: a chargeback stays one, and a second name is no second payment ----

SELECT money.paid('11');
SELECT * FROM money.report_refund('11', 'dp_11', 'processing', 4000, kind => 'chargeback', channel => 'alipay');
SELECT kind, refund_no, refund_kind FROM money.reviews('11');
SELECT regexp_replace(detail, 'review \d+', 'review <id>') AS detail FROM pay_query('11', 'money');
SELECT money.verdict('11', 'mismatch', 'accept');
SELECT * FROM money.refunds('11');
SELECT * FROM money.report_refund('11', 'dp_11', 'succeeded', 4000, kind => 'chargeback');
SELECT count(*) AS open_reviews FROM money.reviews('11') WHERE verdict IS NULL;
-- One transaction under two names: a charge of a PaymentIntent, a capture of an order.
SELECT money.paid('11b');
SELECT decision, detail FROM money.report('11b', 'paid', 'ch_1', 'evt_1');
SELECT v AS verdict, money.verdict('11b', 'mismatch', v) FROM unnest('{same,alias}'::text[]) WITH ORDINALITY AS r (v, n) ORDER BY n;
SELECT decision, detail FROM money.report('11b', 'paid', 'ch_1', 'evt_2');
SELECT decision, detail FROM money.report('11b', 'paid', 'pi_1', 'evt_3');
SELECT * FROM money.books('11b');
SELECT decision FROM money.report('11b', 'paid', 'ch_2', 'evt_4');
SELECT kind, verdict FROM money.reviews('11b');
-- The same of a refund.
SELECT decision FROM money.refund('11b', 'R110', 1000);
SELECT * FROM money.step_refund('R110', 'succeeded', 're_110');
SELECT * FROM money.report_refund('11b', 'R110', 'succeeded', 1000, 'pyr_110');
SELECT money.verdict('11b', 'mismatch', 'dismiss');
SELECT money.verdict('11b', 'mismatch', 'alias');
SELECT * FROM money.report_refund('11b', 'R110', 'succeeded', 1000, 'pyr_110');
SELECT count(*) AS open_reviews FROM money.reviews('11b') WHERE verdict IS NULL;
SELECT * FROM money.books('11b');
-- Nothing of that kind is one that says nothing of another transaction.
SELECT decision FROM money.prepay('11c');
SELECT decision FROM money.report('11c', 'paid', 'pi_1', amount => 9900);
SELECT money.verdict('11c', 'mismatch', 'alias');

-- ==== awkward ====

-- ---- what is held is asked about in its own time, and what a person is told is true ----

-- Two days between them, for as long as the channel's row says: 240 hours here.
SELECT decision FROM money.prepay('20', channel => 'money', method => 'held');
SELECT decision FROM money.report('20', 'authorized', channel => 'money');
-- Time passes; is it asked about? Answered, and its lease over: in how many hours is the next question due, at least?
CREATE FUNCTION money.ask(order_no text, waits interval, refund_no text DEFAULT NULL, OUT asked text, OUT next_in integer) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM money.pass(order_no, waits);
	SELECT string_agg(format('%s %s', action, tries), ', ') INTO asked FROM pay_claim(worker => 'asker', max_tasks => 10, lease => '1 h') c WHERE c.order_no = ask.order_no;
	IF asked IS NULL THEN
		RETURN;
	ELSIF refund_no IS NULL THEN
		PERFORM money.report(order_no, 'authorized', channel => 'money');
	ELSE
		PERFORM money.report_refund(order_no, refund_no, 'processing', channel => 'money');
	END IF;
	PERFORM money.pass(order_no, '1 h');
	PERFORM pay_claim(worker => 'asker', max_tasks => 10, lease => '1 h');
	-- up to a fifth is added to each wait, and the hour of the lease is gone
	SELECT max(w) INTO next_in FROM pay_task t, unnest('{10,20,24,48}'::integer[]) AS w
	WHERE t.pay_no::text = money.pay_no(order_no) AND t.refund_no IS NOT DISTINCT FROM ask.refund_no AND t.due_at > now() + make_interval(hours => w - 2);
END
$$;
SELECT n, a.* FROM unnest('{12 h,20 h,10 h,60 h,60 h,60 h,60 h}'::interval[]) WITH ORDINALITY AS w (waits, n), money.ask('20', waits) AS a ORDER BY n;
SELECT kind, verdict FROM money.reviews('20');
SELECT detail FROM pay_review WHERE pay_no::text = money.pay_no('20');
-- The shop captures: the review has nothing left to say.
SELECT * FROM money.step('20', 'capturing');
SELECT kind, verdict, reason FROM money.reviews('20');
-- A refund that is processing at a slow bank, likewise.
SELECT decision FROM money.prepay('21', channel => 'money', method => 'held');
SELECT decision FROM money.report('21', 'paid', 'pi_1', channel => 'money');
SELECT decision FROM money.refund('21', 'R210', 1000);
SELECT * FROM money.step_refund('R210', 'processing');
SELECT n, a.* FROM unnest('{12 h,20 h,10 h,60 h,60 h,60 h,60 h}'::interval[]) WITH ORDINALITY AS w (waits, n), money.ask('21', waits, 'R210') AS a ORDER BY n;
SELECT kind, refund_no, verdict FROM money.reviews('21');
SELECT detail FROM pay_review WHERE pay_no::text = money.pay_no('21');
SELECT * FROM money.report_refund('21', 'R210', 'succeeded', 1000, channel => 'money');
SELECT kind, refund_no, verdict, reason FROM money.reviews('21');

-- ---- unavailable names who holds it, or how much is free ----

INSERT INTO pay_resource (merchant, resource, capacity) VALUES ('money', 'stock:S1', 50);
SELECT decision FROM money.prepay('22', holds => '{coupon:C1,stock:S1#30}');
SELECT decision, state FROM money.report('22', 'failed');
SELECT decision, other_order_no, detail FROM money.prepay('22b', holds => '{coupon:C1}');
SELECT decision, other_order_no, detail FROM money.prepay('22b', holds => '{stock:S1#30}');
SELECT decision, other_order_no, detail FROM money.prepay('22b', holds => '{stock:S1#20}');

-- ---- an unmatched review closes itself when its message is taken in ----

-- The message overtakes the database's own copy of the order (a restore, a slow import).
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'evt_1', trade_no => test.number('money', '23', 1, 1)::text, reported => 'paid', amount => 100, currency => 'CNY');
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'evt_1', trade_no => test.number('money', '23', 1, 1)::text, reported => 'paid', amount => 100, currency => 'CNY');
SELECT test.put('money', '23', 'paying', '{paying}') IS NOT NULL AS put;
SELECT decision, state FROM pay_callback(channel => 'test', callback_id => 'evt_1', trade_no => test.number('money', '23', 1, 1)::text, reported => 'paid', amount => 100, currency => 'CNY');
SELECT kind, verdict, reason FROM pay_review WHERE trade_no = test.number('money', '23', 1, 1)::text;
-- A refund's message overtakes the shop's own record of it.
SELECT money.paid('23b');
SELECT decision FROM pay_refund_callback(channel => 'stripe', callback_id => 'evt_1', refund_no => 'R230', reported => 'succeeded', amount => 1000, currency => 'EUR', merchant => 'money');
SELECT decision FROM money.refund('23b', 'R230', 1000);
SELECT decision, state FROM pay_refund_callback(channel => 'stripe', callback_id => 'evt_1', refund_no => 'R230', reported => 'succeeded', amount => 1000, currency => 'EUR', merchant => 'money');
SELECT kind, verdict, reason FROM pay_review WHERE refund_no = 'R230';

-- ---- one message id for all that happens to a payment ----

-- The channel's row says so: then a message is its id and what it says.
SELECT decision FROM money.prepay('24', channel => 'money', method => 'state');
SELECT decision, state FROM money.report('24', 'paying', 'tr_1', 'tr_1', channel => 'money');
SELECT decision, state FROM money.report('24', 'authorized', 'tr_1', 'tr_1', channel => 'money');
SELECT decision, state FROM money.report('24', 'paid', 'tr_1', 'tr_1', channel => 'money');
SELECT s AS again, r.decision, r.state, r.attempt_state FROM unnest('{paying,authorized,paid}'::text[]) AS s, money.report('24', s, 'tr_1', 'tr_1', channel => 'money') AS r;
SELECT count(*) AS reviews FROM money.reviews('24');
SELECT message_id, reported, decision FROM pay_history(money.pay_no('24')) WHERE source = 'callback:money';
-- The same state with another amount is still no repetition.
SELECT decision FROM money.report('24', 'paid', 'tr_1', 'tr_1', amount => 9900, channel => 'money');
SELECT kind, reported, amount FROM money.reviews('24');
-- Where it does not, an id is one message.
SELECT decision FROM money.prepay('24b');
SELECT decision FROM money.report('24b', 'paying', 'pi_1', 'pi_1');
SELECT decision FROM money.report('24b', 'paid', 'pi_1', 'pi_1');
SELECT kind, reported FROM money.reviews('24b');
-- Each of them closes its own unmatched review.
SELECT s AS early, r.decision FROM unnest('{authorized,paid}'::text[]) WITH ORDINALITY AS o (s, n), pay_callback(channel => 'money', callback_id => 'tr_2',
	trade_no => test.number('money', '24c', (SELECT route FROM pay_channel WHERE channel = 'money' AND method = 'state'), 1)::text, reported => s, amount => 10000, currency => 'EUR') AS r ORDER BY n;
INSERT INTO pay_payment (pay_no, merchant, order_no, amount, currency, state, routes)
SELECT test.number('money', '24c'), 'money', '24c', 10000, 'EUR', 'paying', ARRAY[route] FROM pay_channel WHERE channel = 'money' AND method = 'state';
INSERT INTO pay_attempt (trade_no, pay_no, attempt, route, amount, state, request_id)
SELECT test.number('money', '24c', route, 1), test.number('money', '24c'), 1, route, 10000, 'paying', 'R1' FROM pay_channel WHERE channel = 'money' AND method = 'state';
SELECT s AS again, r.decision, r.state FROM unnest('{authorized,paid}'::text[]) WITH ORDINALITY AS o (s, n), money.report('24c', s, NULL, 'tr_2', channel => 'money') AS r ORDER BY n;
SELECT kind, reported, verdict FROM pay_review WHERE trade_no = money.trade_no('24c') ORDER BY review_id;

-- ---- what a person does not find in the error ----

SELECT test.try($$SELECT money.step('1', 'capturing', 100)$$);

-- ==== new, small ====

-- ---- confirm: the order was paid a moment ago, and the page showed an error ----

SELECT decision FROM money.prepay('30', payer => 'kim', amount => 777);
SELECT decision FROM money.report('30', 'paid', 'pi_1', amount => 777);
SELECT decision, state, other_order_no, detail FROM money.prepay('30b', payer => 'kim', amount => 777);
SELECT count(*) AS made FROM pay_payment WHERE merchant = 'money' AND order_no = '30b';
-- another amount, another customer, or he says that he means it
SELECT decision FROM money.prepay('30c', payer => 'kim', amount => 778);
SELECT decision FROM money.prepay('30d', payer => 'joe', amount => 777);
SELECT decision FROM money.prepay('30e', payer => 'kim', amount => 777, confirm => true);
SELECT decision FROM money.report('30e', 'failed');
-- It counts from when it was paid, not from when it was ordered.
SELECT decision FROM money.prepay('30f', payer => 'pat', amount => 779);
SELECT money.pass('30f', '1 hour');
SELECT decision FROM money.report('30f', 'paid', 'pi_1', amount => 779);
SELECT decision, other_order_no FROM money.prepay('30g', payer => 'pat', amount => 779);
-- After the window it is no question.
SELECT money.pass('30', '9 minutes');
SELECT decision, other_order_no FROM money.prepay('30b', payer => 'kim', amount => 777);
SELECT money.pass('30', '2 minutes');
SELECT decision, other_order_no FROM money.prepay('30b', payer => 'kim', amount => 777);

-- ---- a refund's look-alike: one click, two numbers ----

SELECT money.paid('31');
SELECT decision, refundable FROM money.refund('31', 'R310', 1000, 'damaged');
TRUNCATE before;
INSERT INTO before SELECT test.fingerprint();
SELECT * FROM money.refund('31', 'R311', 1000, 'damaged');
SELECT decision, state FROM money.refund('31', 'R310', 1000, 'damaged');
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before;
-- another amount, another reason, or it is meant
SELECT decision FROM money.refund('31', 'R312', 999, 'damaged');
SELECT decision FROM money.refund('31', 'R313', 1000, 'late');
SELECT decision, refundable FROM money.refund('31', 'R311', 1000, 'damaged', confirm => true);
-- What gives nothing back is none, nor is what was asked for long ago; nor where nobody wants to be asked.
SELECT count(*) AS failed FROM unnest('{R310,R311}'::text[]) AS n, money.step_refund(n, 'failed');
SELECT decision FROM money.refund('31', 'R314', 1000, 'damaged');
SELECT decision FROM money.refund('31', 'R315', 1000, 'damaged');
SELECT money.pass('31', '11 minutes');
SELECT decision FROM money.refund('31', 'R315', 1000, 'damaged');
SET pay_idem.lookalike_window = 0;
SELECT decision FROM money.refund('31', 'R316', 1000, 'damaged');
RESET pay_idem.lookalike_window;

-- ---- the currency of a refund ----

SELECT test.try($$SELECT money.refund('31', 'R317', 100, currency => 'USD')$$);
SELECT decision FROM money.refund('31', 'R317', 100, currency => 'EUR');
SELECT test.sqlstate($$SELECT money.refund('31', 'R317', 100, currency => 'USD')$$) AS of_a_known_one;

-- ---- an order that costs nothing ----

INSERT INTO pay_resource (merchant, resource, capacity) VALUES ('money', 'stock:S2', 5);
SELECT decision, state, attempt, detail FROM money.prepay('32', amount => 0, holds => '{coupon:ALL,stock:S2#2}');
SELECT decision, state, attempt FROM money.prepay('32', 'R2', amount => 0);
SELECT state, winner, amount_collected, cardinality(routes) AS attempts FROM pay_payment WHERE pay_no::text = money.pay_no('32');
SELECT resource, quantity, state FROM pay_hold WHERE pay_no::text = money.pay_no('32') ORDER BY resource;
SELECT decision, other_order_no FROM money.prepay('32b', holds => '{coupon:ALL}');
SELECT source, attempt, decision, payment_before, payment_after, reason FROM pay_history(money.pay_no('32'));
SELECT decision, state, amount, refundable FROM pay_query('32', 'money');
SELECT * FROM money.books('32');
SELECT count(*) AS tasks FROM pay_task WHERE pay_no::text = money.pay_no('32');
-- By pay_create; and nothing else makes it cost something.
SELECT decision, state FROM pay_create(order_no => '32c', amount => 0, currency => 'EUR', merchant => 'money');
SELECT decision, state FROM pay_create(order_no => '32c', amount => 0, currency => 'EUR', merchant => 'money');
SELECT decision FROM money.prepay('32c', amount => 0);
SELECT test.sqlstate($$SELECT money.prepay('32c', amount => 1)$$) AS more, test.sqlstate($$SELECT money.prepay('32d', amount => -1)$$) AS less,
	test.sqlstate($$SELECT money.prepay('30', amount => 0)$$) AS of_one_that_costs;
-- There is nothing to give back, no attempt that a message could be about, and no step.
SELECT test.try($$SELECT money.refund('32', 'R320', 1)$$);
SELECT decision FROM pay_callback(channel => 'stripe', callback_id => 'evt_1', trade_no => money.pay_no('32'), reported => 'paid', amount => 1, currency => 'EUR');
SELECT decision FROM pay_refund_callback(channel => 'stripe', callback_id => 'evt_1', refund_no => 're_320', reported => 'succeeded', amount => 1, currency => 'EUR',
	trade_no => money.pay_no('32'), merchant => 'money');
SELECT s AS step, test.sqlstate(format('SELECT pay_transition(trade_no => %L, to_state => %L)', money.pay_no('32'), s)) FROM unnest('{closed,failed,paid,capturing}'::text[]) AS s;
-- The customer gives an order up for one that costs nothing.
SELECT decision FROM money.prepay('32e');
SELECT decision, state FROM money.prepay('32f', amount => 0, replaces => '32e');
SELECT test.states('money', '32e'), test.states('money', '32f');
-- What is not to be had is not to be had for nothing.
SELECT decision, detail FROM money.prepay('32g', amount => 0, holds => '{stock:S2#4}');
SELECT count(*) AS made FROM pay_payment WHERE merchant = 'money' AND order_no = '32g';
-- It is no look-alike of what costs something, and asks nobody twice.
SELECT decision FROM money.prepay('32h', payer => 'kim', amount => 0), LATERAL (SELECT decision FROM money.prepay('32i', payer => 'kim', amount => 10000, confirm => true)) AS o (other);

-- ---- a copy of the database sends no refunds ----

SELECT money.paid('33');
SELECT decision FROM money.refund('33', 'R330', 1000);
SELECT reason, system_identifier = (SELECT system_identifier FROM pg_control_system()) AS this_cluster FROM pay_database;
BEGIN;
-- (a dump of it, restored in another cluster)
SET LOCAL session_replication_role = replica;
UPDATE pay_database SET system_identifier = 4711;
SET LOCAL session_replication_role = origin;
SELECT regexp_replace(test.try('SELECT money.to_send()'), 'cluster, \d+', 'cluster, <identifier>') AS sends;
-- It takes orders and messages as ever, and installing it once more changes nothing.
SELECT decision FROM money.prepay('33b');
SELECT decision FROM money.report('33b', 'paid', 'pi_1');
SELECT pay_install();
SELECT test.sqlstate('SELECT money.to_send()') AS sends;
-- It takes the place of the original: somebody says so, and why.
SELECT pay_adopt_database(reason => 'the old server burned down') AS adopted;
SELECT pay_adopt_database(reason => 'once more') AS adopted;
SELECT system_identifier = 4711 AS original, reason, adopted_by = current_user AS by_me FROM pay_database ORDER BY adopted_at;
SELECT count(*) > 0 AS sends FROM money.to_send();
ROLLBACK;
SELECT count(*) > 0 AS sends FROM money.to_send();

-- ==== the books ====

SELECT count(*) > 40 AS orders, count(*) FILTER (WHERE collected <> needed + surplus) AS lost,
	count(*) FILTER (WHERE reserved + refunded + refundable <> collected + overdrawn OR refundable > 0 AND overdrawn > 0) AS wrong
FROM pay_balance WHERE merchant = 'money';
SELECT count(*) AS wrong FROM pay_attempt a JOIN pay_payment p USING (pay_no), LATERAL (
	SELECT coalesce(sum(r.amount) FILTER (WHERE r.state::text IN ('requested', 'processing', 'unknown', 'abnormal')), 0) AS reserved,
		coalesce(sum(r.amount) FILTER (WHERE r.state::text = 'succeeded'), 0) AS refunded
	FROM pay_refund r WHERE r.pay_no = a.pay_no AND r.attempt = a.attempt AND r.kind <> 'extra') AS r
WHERE p.merchant = 'money' AND (coalesce(a.amount_reserved, 0), coalesce(a.amount_refunded, 0), coalesce(a.amount_overdrawn, 0))
	<> (r.reserved, r.refunded, greatest(r.reserved + r.refunded - coalesce(a.amount_collected, 0), 0));
-- Whatever is left for a person can be settled: each review that is still open is dismissed.
SELECT count(*) FILTER (WHERE test.sqlstate(format('SELECT pay_review_resolve(%s, %L, %L)', review_id, 'dismiss', 'the end of the test')) <> '00000') AS stuck
FROM pay_review v JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'money' AND verdict IS NULL;

DO $$ BEGIN PERFORM money.move('-876000 h', now() + interval '438000 h', 'infinity'); END $$;
DROP SCHEMA money CASCADE;
