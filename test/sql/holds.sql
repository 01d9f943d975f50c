-- Holds: what an order reserves besides money. Coupons, stock, points, and what
-- other systems keep for it (TCC, saga).

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA holds_test;

CREATE FUNCTION holds_test.pay_no(order_no text) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT p.pay_no::text FROM pay_payment p WHERE p.merchant = 'holds' AND p.order_no = pay_no.order_no
$$;
CREATE FUNCTION holds_test.trade_no(order_no text, attempt integer DEFAULT 1) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT (pay_trade_nos(p.pay_no, p.routes))[attempt]::text FROM pay_payment p WHERE p.merchant = 'holds' AND p.order_no = trade_no.order_no
$$;
CREATE FUNCTION holds_test.prepay(order_no text, holds text[], request_id text DEFAULT 'R1', valid_for interval DEFAULT '10 h', merchant text DEFAULT 'holds',
	replaces text DEFAULT NULL, multi boolean DEFAULT NULL, payer text DEFAULT NULL, OUT decision text, OUT state text, OUT attempt integer, OUT detail text)
LANGUAGE sql AS $$
	SELECT decision, state, attempt, detail FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => merchant, channel => 'test',
		method => 'test', request_id => request_id, valid_for => valid_for, holds => holds, replaces => replaces, multi => multi, payer => payer)
$$;
CREATE FUNCTION holds_test.report(order_no text, reported text, attempt integer DEFAULT 1, OUT decision text, OUT state text) LANGUAGE sql AS $$
	SELECT decision, state FROM pay_callback(channel => 'test', callback_id => NULL, trade_no => holds_test.trade_no(order_no, attempt), reported => reported,
		amount => CASE WHEN reported IN ('paid', 'authorized') THEN 100 END, currency => CASE WHEN reported IN ('paid', 'authorized') THEN 'CNY' END)
$$;
CREATE FUNCTION holds_test.finish(order_no text, to_state text, OUT decision text, OUT state text) LANGUAGE sql AS $$
	SELECT decision, state FROM pay_transition(trade_no => holds_test.pay_no(order_no), to_state => to_state)
$$;
CREATE FUNCTION holds_test.done(order_no text, resource text, done text, OUT decision text, OUT state text, OUT detail text) LANGUAGE sql AS $$
	SELECT decision, state, detail FROM pay_hold_done(trade_no => holds_test.pay_no(order_no), resource => resource, done => done)
$$;
CREATE FUNCTION holds_test.holds(order_no text, OUT n integer, OUT resource text, OUT quantity bigint, OUT state text, OUT external boolean, OUT tried boolean)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT row_number() OVER (ORDER BY position), resource, quantity, state, external, tried FROM pay_hold WHERE pay_no::text = holds_test.pay_no(order_no) ORDER BY position
$$;
CREATE FUNCTION holds_test.taken(resource text, merchant text DEFAULT 'holds') RETURNS text LANGUAGE sql AS $$
	SELECT taken || ' of ' || coalesce(capacity::text, 'any') FROM pay_resource r WHERE r.merchant = taken.merchant AND r.resource = taken.resource
$$;
-- One line that changes when any row of any table of ours does, is written anew, or comes or goes.
CREATE FUNCTION holds_test.fingerprint() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	relation regclass;
	rows text;
	all_rows text := '';
BEGIN
	FOR relation IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 'pay\_%' ORDER BY relname LOOP
		EXECUTE format('SELECT md5(string_agg(concat_ws(%L, t.ctid, t.xmin, t), %L ORDER BY t.ctid)) FROM %s t', ' ', E'\n', relation) INTO rows;
		all_rows := all_rows || relation || coalesce(rows, '');
	END LOOP;
	RETURN md5(all_rows);
END
$$;
CREATE TEMP TABLE before (fingerprint text);
CREATE FUNCTION holds_test.nothing_written() RETURNS boolean LANGUAGE sql AS $$
	SELECT fingerprint = holds_test.fingerprint() FROM before
$$;

-- The queue is one for all: what others left in it is put aside, by a hundred years,
-- and back at the end. Time passes by moving what was noted into the past.
CREATE FUNCTION holds_test.move(to_move interval, at_least timestamptz, below timestamptz) RETURNS void
LANGUAGE plpgsql SET session_replication_role = 'replica' AS $$
BEGIN
	UPDATE pay_task SET due_at = due_at + to_move, claimed_at = claimed_at + to_move WHERE due_at >= at_least AND due_at < below;
END
$$;
CREATE FUNCTION holds_test.put_aside() RETURNS void LANGUAGE sql AS
	$$SELECT holds_test.move('876000 h', '-infinity', now() + interval '438000 h')$$;
CREATE FUNCTION holds_test.put_back() RETURNS void LANGUAGE sql AS
	$$SELECT holds_test.move('-876000 h', now() + interval '438000 h', 'infinity')$$;
CREATE FUNCTION holds_test.pass(time_span interval) RETURNS void LANGUAGE plpgsql SET session_replication_role = 'replica' AS $$
BEGIN
	PERFORM holds_test.move(-time_span, '-infinity', now() + interval '438000 h');
	UPDATE pay_payment SET valid_until = valid_until - time_span WHERE merchant = 'holds';
END
$$;
-- What a worker for holds is handed; a claim for these actions only ends what is past its time besides.
CREATE FUNCTION holds_test.claim(worker text DEFAULT 'w1', OUT action text, OUT order_no text, OUT resource text, OUT quantity bigint, OUT state text, OUT tries integer)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT action, order_no, resource, quantity, state, tries
	FROM pay_claim(worker => worker, max_tasks => 100, lease => '1 h', actions => '{confirm_hold,release_hold}')
$$;
SELECT holds_test.put_aside();

-- What a DBA sets up: a stock of one thing, points of anybody, a class of any size, and systems of others.
INSERT INTO pay_resource (merchant, resource, capacity) VALUES ('holds', 'stock:SKU9', 10), ('', 'points', 100), ('holds', 'sample', NULL);
INSERT INTO pay_resource (resource, external) VALUES ('hotel', true), ('flight', true);

-- ---- a coupon: held, kept, given back, spent ----

-- It needs no row before: the first who names it has it.
SELECT * FROM holds_test.prepay('A1', '{coupon:C1}');
SELECT * FROM holds_test.holds('A1');
SELECT holds_test.taken('coupon:C1');
SELECT holds FROM pay_payment WHERE pay_no::text = holds_test.pay_no('A1');
SELECT decision FROM pay_query('A1', 'holds');
-- Asked for again by its own request it is handed out again, and takes nothing more.
SELECT * FROM holds_test.prepay('A1', '{coupon:C1}');
SELECT holds_test.taken('coupon:C1'), (SELECT count(*) FROM holds_test.holds('A1')) AS holds;
-- Taken: unavailable, and nothing is written. No payment, no attempt, no event, no task.
INSERT INTO before SELECT holds_test.fingerprint();
SELECT * FROM holds_test.prepay('A2', '{coupon:C1}');
SELECT decision, pay_no, trade_no, merchant, order_no, state, attempt, detail FROM pay_prepay(order_no => 'A2', amount => 100, currency => 'CNY', merchant => 'holds',
	channel => 'test', method => 'test', request_id => 'R1', valid_for => '1 h', holds => '{coupon:C2,coupon:C1,stock:SKU9#3}');
SELECT holds_test.nothing_written();
SELECT decision, pay_no FROM pay_query('A2', 'holds');
-- Another merchant's coupon of the same name is another coupon.
SELECT * FROM holds_test.prepay('A2', '{coupon:C1}', merchant => 'holds-2');
SELECT holds_test.taken('coupon:C1', 'holds-2');
-- The customer comes without it, and pays.
SELECT * FROM holds_test.prepay('A2', NULL);
SELECT holds FROM pay_payment WHERE pay_no::text = holds_test.pay_no('A2');
-- After failure it is still held, and for the retry it is not asked for again.
SELECT * FROM holds_test.report('A1', 'failed');
SELECT * FROM holds_test.holds('A1');
SELECT decision FROM holds_test.prepay('A3', '{coupon:C1}');
SELECT * FROM holds_test.prepay('A1', '{coupon:C1}', 'R2');
SELECT * FROM holds_test.holds('A1');
SELECT holds_test.taken('coupon:C1'), (SELECT holds FROM pay_payment WHERE pay_no::text = holds_test.pay_no('A1'));
-- Closed: it is free again, and the next order has it.
SELECT * FROM holds_test.finish('A1', 'closed');
SELECT * FROM holds_test.holds('A1');
SELECT holds_test.taken('coupon:C1');
SELECT * FROM holds_test.prepay('A3', '{coupon:C1}');
SELECT * FROM holds_test.prepay('A1', '{coupon:C1}', 'R3');
-- Paid: it is spent, by this order and for ever.
SELECT * FROM holds_test.report('A3', 'paid');
SELECT * FROM holds_test.holds('A3');
SELECT holds_test.taken('coupon:C1');
SELECT decision FROM holds_test.prepay('A4', '{coupon:C1}');
-- A refund does not bring it back; whoever says so gives a new one.
SELECT decision FROM pay_refund(trade_no => holds_test.pay_no('A3'), refund_no => 'holds-a3', amount => 100, reason => 'a test');
SELECT decision FROM pay_refund_transition('holds-a3', 'succeeded', merchant => 'holds');
SELECT holds_test.taken('coupon:C1');
-- Money that comes late, after failure, spends it too.
SELECT * FROM holds_test.prepay('A5', '{coupon:C5}');
SELECT * FROM holds_test.report('A5', 'failed');
SELECT * FROM holds_test.report('A5', 'paid');
SELECT * FROM holds_test.holds('A5');
-- Money that comes after the end does not: it is surplus, and the coupon is somebody else's perhaps.
SELECT * FROM holds_test.prepay('A6', '{coupon:C6}');
SELECT * FROM holds_test.finish('A6', 'closed');
SELECT * FROM holds_test.prepay('A7', '{coupon:C6}');
SELECT * FROM holds_test.report('A6', 'paid');
SELECT * FROM holds_test.holds('A6');
SELECT * FROM holds_test.holds('A7');
-- Reversed: free.
SELECT * FROM holds_test.prepay('A8', '{coupon:C8}');
SELECT * FROM holds_test.report('A8', 'authorized');
SELECT * FROM holds_test.finish('A8', 'closing');
SELECT holds_test.taken('coupon:C8');
SELECT * FROM holds_test.report('A8', 'reversed');
SELECT * FROM holds_test.holds('A8');
SELECT holds_test.taken('coupon:C8');
-- One coupon is one: two of it are not to be had.
SELECT * FROM holds_test.prepay('A9', '{coupon:C9#2}');
-- Unless a DBA says otherwise, of the class or of the one.
INSERT INTO pay_resource (merchant, resource, capacity) VALUES ('holds-3', 'coupon', 2), ('holds-3', 'coupon:VIP', 3);
SELECT decision FROM holds_test.prepay('A9', '{coupon:C9#2,coupon:VIP#3}', merchant => 'holds-3');
SELECT decision, detail FROM holds_test.prepay('A10', '{coupon:C9}', merchant => 'holds-3');
SELECT resource, capacity, taken FROM pay_resource WHERE merchant = 'holds-3' ORDER BY resource;

-- ---- quantities, limits, classes ----

SELECT * FROM holds_test.prepay('B1', '{stock:SKU9#7}');
SELECT * FROM holds_test.prepay('B2', '{stock:SKU9#4}');
SELECT * FROM holds_test.prepay('B2', '{stock:SKU9#3}');
SELECT holds_test.taken('stock:SKU9');
SELECT * FROM holds_test.prepay('B3', '{stock:SKU9}');
SELECT * FROM holds_test.finish('B2', 'closed');
SELECT holds_test.taken('stock:SKU9');
SELECT * FROM holds_test.prepay('B3', '{stock:SKU9}');
SELECT * FROM holds_test.report('B1', 'paid');
SELECT holds_test.taken('stock:SKU9');
-- The DBA's limit: more comes in, and never less than is taken.
UPDATE pay_resource SET capacity = 12 WHERE merchant = 'holds' AND resource = 'stock:SKU9';
SELECT test.sqlstate($$UPDATE pay_resource SET capacity = 7 WHERE merchant = 'holds' AND resource = 'stock:SKU9'$$) AS less_than_taken;
UPDATE pay_resource SET capacity = 8 WHERE merchant = 'holds' AND resource = 'stock:SKU9';
SELECT decision, detail FROM holds_test.prepay('B4', '{stock:SKU9}');
UPDATE pay_resource SET capacity = NULL WHERE merchant = 'holds' AND resource = 'stock:SKU9';
SELECT decision FROM holds_test.prepay('B4', '{stock:SKU9#1000000}');
SELECT holds_test.taken('stock:SKU9');
-- A class: each resource of it gets its own row, and its own limit, when it is first held;
-- for every merchant one of his own, unless the class is a merchant's.
SELECT decision FROM holds_test.prepay('B5', '{points:bob#60}');
SELECT decision, detail FROM holds_test.prepay('B6', '{points:bob#50}');
SELECT decision FROM holds_test.prepay('B6', '{points:bob#40,points:eve#100}');
SELECT decision FROM holds_test.prepay('B5', '{points:bob#100}', merchant => 'holds-2');
SELECT decision FROM holds_test.prepay('B7', '{sample:red#5}');
SELECT test.sqlstate($$SELECT decision FROM holds_test.prepay('B7', '{sample:red#5}', merchant => 'holds-2')$$) AS no_class_of_his;
SELECT merchant, resource, capacity, taken, external FROM pay_resource WHERE resource LIKE ANY ('{points:%,sample:%}') ORDER BY merchant, resource;
-- The class's own row counts nothing; what it says later is for what is named later.
SELECT merchant, resource, taken FROM pay_resource WHERE resource IN ('points', 'sample') ORDER BY resource;
UPDATE pay_resource SET capacity = 10 WHERE resource = 'points' AND merchant = '';
SELECT decision FROM holds_test.prepay('B8', '{points:kim#11}');
SELECT holds_test.taken('points:bob'), holds_test.taken('points:kim');
-- Names are whatever is after the first colon; the last # is the quantity's.
SELECT decision FROM holds_test.prepay('B9', ARRAY['coupon:a:b#c#1', 'coupon: ', 'coupon:{"e"}', 'coupon:' || repeat('x', 248)]);
SELECT n, left(resource, 20), octet_length(resource) AS bytes, quantity FROM holds_test.holds('B9');

-- ---- the next attempt: the same, less, more, other ----

SELECT * FROM holds_test.prepay('D1', '{coupon:D1,stock:SKU9#2}');
SELECT * FROM holds_test.report('D1', 'failed');
-- less, or none: it keeps what it has
SELECT * FROM holds_test.prepay('D1', '{stock:SKU9#2}', 'R2');
SELECT * FROM holds_test.report('D1', 'failed', 2);
SELECT * FROM holds_test.prepay('D1', NULL, 'R3');
SELECT * FROM holds_test.report('D1', 'failed', 3);
SELECT * FROM holds_test.holds('D1');
-- another quantity is other content
DELETE FROM before; INSERT INTO before SELECT holds_test.fingerprint();
SELECT test.try($$SELECT decision FROM holds_test.prepay('D1', '{stock:SKU9#3}', 'R4')$$);
SELECT holds_test.nothing_written();
-- more: what is not held yet is taken; if one of it is not to be had, none of it is
SELECT * FROM holds_test.prepay('D1', '{coupon:D1,coupon:D2,coupon:C1,points:d#1}', 'R4');
SELECT * FROM holds_test.holds('D1');
SELECT holds_test.taken('coupon:D2'), holds_test.taken('points:d');
SELECT * FROM holds_test.prepay('D1', '{coupon:D1,coupon:D2,points:d#1}', 'R4');
SELECT * FROM holds_test.holds('D1');
SELECT holds FROM pay_payment WHERE pay_no::text = holds_test.pay_no('D1');
SELECT * FROM holds_test.report('D1', 'paid', 4);
SELECT state, count(*) FROM holds_test.holds('D1') GROUP BY state;
-- While an attempt is open nothing is asked for: what would open nothing takes nothing.
SELECT * FROM holds_test.prepay('D2', '{coupon:D4}');
DELETE FROM before; INSERT INTO before SELECT holds_test.fingerprint();
SELECT decision FROM holds_test.prepay('D2', '{coupon:D4,coupon:D5}', 'R2');
SELECT decision FROM holds_test.prepay('D2', '{coupon:C1}', 'R2');
SELECT decision, state FROM pay_query('D2', 'holds');
SELECT holds_test.nothing_written();
-- The same attempt again is handed out with what is asked for, as a new one is: all of it held, or unavailable.
SELECT decision FROM holds_test.prepay('D6', NULL);
DELETE FROM before; INSERT INTO before SELECT holds_test.fingerprint();
SELECT decision, state, detail FROM holds_test.prepay('D6', '{coupon:D9,coupon:C1}');
SELECT holds_test.nothing_written();
SELECT decision, attempt FROM holds_test.prepay('D6', '{coupon:D9}');
SELECT * FROM holds_test.holds('D6');
SELECT test.sqlstate($$SELECT decision FROM holds_test.prepay('D6', '{coupon:D9#2}')$$) AS other_quantity;
SELECT * FROM holds_test.report('D6', 'paid');
SELECT * FROM holds_test.holds('D6');
-- multi: one payment, one coupon, however many attempts
SELECT decision, attempt FROM holds_test.prepay('D3', '{coupon:D6}', multi => true);
SELECT decision, attempt FROM holds_test.prepay('D3', '{coupon:D6}', 'R2');
SELECT * FROM holds_test.holds('D3');
SELECT * FROM holds_test.report('D3', 'paid', 2);
SELECT * FROM holds_test.report('D3', 'paid', 1);
SELECT * FROM holds_test.holds('D3');
-- An order that was made first takes its holds with the first attempt; its time must be limited when it is made.
SELECT decision FROM pay_create(order_no => 'D4', amount => 100, currency => 'CNY', merchant => 'holds', valid_for => '10 h');
SELECT * FROM holds_test.prepay('D4', '{coupon:D7}', valid_for => NULL);
SELECT * FROM holds_test.holds('D4');
SELECT decision FROM pay_create(order_no => 'D5', amount => 100, currency => 'CNY', merchant => 'holds');
SELECT test.try($$SELECT decision FROM holds_test.prepay('D5', '{coupon:D8}')$$);

-- ---- replaced: what the old order held goes back, and on ----

SELECT * FROM holds_test.prepay('E1', '{coupon:E1,stock:SKU9#5}');
SELECT holds_test.taken('stock:SKU9');
SELECT * FROM holds_test.prepay('E2', '{coupon:E2}', replaces => 'E1');
SELECT * FROM holds_test.holds('E1');
SELECT holds_test.taken('coupon:E1'), holds_test.taken('stock:SKU9');
SELECT * FROM holds_test.holds('E2');
-- The new order with the old one's coupon: it has gone back when it is asked for.
SELECT * FROM holds_test.prepay('E3', '{coupon:E2,stock:SKU9#1}', replaces => 'E2');
SELECT * FROM holds_test.holds('E2');
SELECT * FROM holds_test.holds('E3');
SELECT holds_test.taken('coupon:E2');
-- What another system keeps has gone back only when that system says so.
INSERT INTO pay_resource (merchant, resource, capacity, external) VALUES ('holds', 'room', 1, true);
SELECT decision FROM holds_test.prepay('E5', '{room:7}');
SELECT decision, detail FROM holds_test.prepay('E6', '{room:7}', replaces => 'E5');
SELECT decision FROM holds_test.prepay('E6', '{room:8}', replaces => 'E5');
SELECT * FROM holds_test.holds('E5');
SELECT decision FROM holds_test.prepay('E7', '{room:7}');
SELECT * FROM holds_test.done('E5', 'room:7', 'released');
SELECT decision FROM holds_test.prepay('E7', '{room:7}');
-- Not to be had: nothing is written, and the old order is not given up.
DELETE FROM before; INSERT INTO before SELECT holds_test.fingerprint();
SELECT * FROM holds_test.prepay('E4', '{coupon:C1,coupon:E2}', replaces => 'E3');
SELECT holds_test.nothing_written();
SELECT * FROM holds_test.holds('E3');
-- Late money for the replaced one is surplus; its coupon stays where it is.
SELECT * FROM holds_test.report('E2', 'paid');
SELECT * FROM holds_test.holds('E2');

-- ---- expiry: what nobody pays or closes comes back ----

SELECT order_no, decision, state FROM (VALUES ('F1', interval '10 h'), ('F2', '10 h'), ('F3', '20 h')) AS o (order_no, valid_for),
	LATERAL holds_test.prepay(order_no, ARRAY['coupon:' || order_no], valid_for => valid_for);
SELECT decision, state FROM holds_test.report('F1', 'failed');
SELECT decision, state FROM holds_test.report('F3', 'failed');
SELECT holds_test.pass('9 h');
SELECT * FROM holds_test.claim();
SELECT test.states('holds', 'F1'), holds_test.taken('coupon:F1');
-- Past its time: time alone changes nothing; a claim closes what has nothing open, and only that.
SELECT holds_test.pass('2 h');
SELECT test.states('holds', 'F1'), holds_test.taken('coupon:F1');
SELECT * FROM holds_test.claim();
SELECT test.states('holds', 'F1'), holds_test.taken('coupon:F1');
SELECT seq, source, attempt, decision, payment_before, payment_after, reason FROM pay_history(holds_test.pay_no('F1')) WHERE source = 'claim';
SELECT test.states('holds', 'F2'), holds_test.taken('coupon:F2'), test.states('holds', 'F3'), holds_test.taken('coupon:F3');
-- An attempt that is open, of whatever outcome, keeps them: money may be under way.
SELECT * FROM holds_test.report('F2', 'unknown');
SELECT holds_test.pass('1000 h');
SELECT * FROM holds_test.claim();
SELECT test.states('holds', 'F2'), holds_test.taken('coupon:F2');
SELECT test.states('holds', 'F3'), holds_test.taken('coupon:F3');
-- Its end ends the order, whoever reports it.
SELECT * FROM holds_test.report('F2', 'failed');
SELECT holds_test.taken('coupon:F2');
-- Its time was prolonged: it is looked at then.
SELECT * FROM holds_test.prepay('F4', '{coupon:F4}', valid_for => '10 h');
SELECT * FROM holds_test.report('F4', 'failed');
UPDATE pay_payment SET valid_until = valid_until + interval '10 h' WHERE pay_no::text = holds_test.pay_no('F4');
SELECT holds_test.pass('11 h');
SELECT * FROM holds_test.claim();
SELECT test.states('holds', 'F4'), holds_test.taken('coupon:F4');
SELECT holds_test.pass('10 h');
SELECT * FROM holds_test.claim();
SELECT test.states('holds', 'F4'), holds_test.taken('coupon:F4');
-- Somebody asks to pay before any claim comes: closed as well.
SELECT * FROM holds_test.prepay('F5', '{coupon:F5}', valid_for => '10 h');
SELECT * FROM holds_test.report('F5', 'failed');
SELECT holds_test.pass('11 h');
SELECT * FROM holds_test.prepay('F5', '{coupon:F5}', 'R2');
SELECT holds_test.taken('coupon:F5');

-- ---- external participants: TCC ----

-- Held here, tried there: the try is heard of once, however often it is told.
SELECT * FROM holds_test.prepay('H1', '{hotel:H1#2,coupon:H1}');
SELECT * FROM holds_test.holds('H1');
SELECT * FROM holds_test.claim();
SELECT decision, pay_number(pay_no)::text = holds_test.pay_no('H1') AS pay_no, resource, state, quantity, detail
FROM pay_hold_done(trade_no => holds_test.trade_no('H1'), resource => 'hotel:H1', done => 'tried');
SELECT * FROM holds_test.done('H1', 'hotel:H1', 'tried');
SELECT * FROM holds_test.holds('H1');
-- Nothing was decided yet: neither confirm nor cancel.
SELECT test.try($$SELECT decision FROM holds_test.done('H1', 'hotel:H1', 'confirmed')$$);
SELECT test.try($$SELECT decision FROM holds_test.done('H1', 'hotel:H1', 'released')$$);
-- Paid: the coupon is spent at once; the participant is asked to confirm until he has.
SELECT * FROM holds_test.report('H1', 'paid');
SELECT * FROM holds_test.holds('H1');
SELECT action, trade_no, refund_no, resource, pay_number(pay_no)::text = holds_test.pay_no('H1') AS pay_no, merchant, order_no, state, channel, method, amount, currency, quantity, channel_txn, tries
FROM pay_claim(worker => 'w1', max_tasks => 10, lease => '1 h', actions => '{confirm_hold}');
SELECT * FROM holds_test.claim('w2');
SELECT asked_by FROM pay_task WHERE pay_no::text = holds_test.pay_no('H1') AND resource = 'hotel:H1';
SELECT holds_test.pass('1 h');
SELECT * FROM holds_test.claim('w2');
SELECT * FROM holds_test.done('H1', 'hotel:H1', 'confirmed');
SELECT * FROM holds_test.done('H1', 'hotel:H1', 'confirmed');
-- The queue is not touched: his task goes when it is due.
SELECT asked_by FROM pay_task WHERE pay_no::text = holds_test.pay_no('H1') AND resource = 'hotel:H1';
SELECT * FROM holds_test.done('H1', 'hotel:H1', 'tried');
SELECT test.try($$SELECT decision FROM holds_test.done('H1', 'hotel:H1', 'released')$$);
SELECT holds_test.pass('1 h');
SELECT * FROM holds_test.claim();
SELECT holds_test.taken('hotel:H1');
-- Closed after the try: cancel, until it is acknowledged; what was taken here comes back then.
SELECT * FROM holds_test.prepay('H2', '{hotel:H2#2,coupon:H2}');
SELECT * FROM holds_test.done('H2', 'hotel:H2', 'tried');
SELECT * FROM holds_test.finish('H2', 'closed');
SELECT * FROM holds_test.holds('H2');
SELECT holds_test.taken('hotel:H2'), holds_test.taken('coupon:H2');
SELECT * FROM holds_test.claim('w1');
SELECT holds_test.pass('1 h');
SELECT * FROM holds_test.claim('w2');
SELECT * FROM holds_test.done('H2', 'hotel:H2', 'released');
SELECT * FROM holds_test.done('H2', 'hotel:H2', 'released');
SELECT holds_test.taken('hotel:H2');
SELECT test.try($$SELECT decision FROM holds_test.done('H2', 'hotel:H2', 'confirmed')$$);
-- Cancel before try (an empty rollback): it is asked for, and acknowledged, though nothing was ever tried.
SELECT * FROM holds_test.prepay('H3', '{hotel:H3}');
SELECT * FROM holds_test.finish('H3', 'closed');
SELECT * FROM holds_test.claim();
SELECT * FROM holds_test.done('H3', 'hotel:H3', 'released');
-- Try after cancel (no hanging): it must not stay, however late and however often it comes.
SELECT * FROM holds_test.done('H3', 'hotel:H3', 'tried');
SELECT * FROM holds_test.done('H3', 'hotel:H3', 'tried');
SELECT * FROM holds_test.holds('H3');
SELECT holds_test.taken('hotel:H3');
-- The try comes while the cancel is under way.
SELECT * FROM holds_test.prepay('H4', '{hotel:H4}');
SELECT * FROM holds_test.finish('H4', 'closed');
SELECT * FROM holds_test.done('H4', 'hotel:H4', 'tried');
SELECT * FROM holds_test.claim();
SELECT * FROM holds_test.done('H4', 'hotel:H4', 'released');
-- Confirm before the try was heard of: the participant was asked to confirm, and did.
SELECT * FROM holds_test.prepay('H5', '{hotel:H5}');
SELECT * FROM holds_test.report('H5', 'paid');
SELECT * FROM holds_test.done('H5', 'hotel:H5', 'confirmed');
SELECT * FROM holds_test.claim();
-- After failure he is not asked anything: the next attempt goes on with it.
SELECT * FROM holds_test.prepay('H6', '{hotel:H6}');
SELECT * FROM holds_test.report('H6', 'failed');
SELECT * FROM holds_test.claim();
SELECT * FROM holds_test.prepay('H6', '{hotel:H6}', 'R2');
SELECT * FROM holds_test.report('H6', 'paid', 2);
SELECT * FROM holds_test.claim();
-- Past its time with nothing open: the same claim may hand out the cancel, or the next one.
SELECT * FROM holds_test.prepay('H7', '{hotel:H7}', valid_for => '10 h');
SELECT * FROM holds_test.report('H7', 'failed');
SELECT holds_test.pass('11 h');
DO $$ BEGIN PERFORM holds_test.claim(); END $$;
SELECT test.states('holds', 'H7');
SELECT holds_test.pass('1 h');
SELECT action, order_no, resource, state FROM holds_test.claim() WHERE order_no = 'H7';

-- ---- external participants: a saga compensates in the reverse order of taking ----

-- The order of taking is the caller's: as he named them, and what he named later after that.
SELECT decision FROM holds_test.prepay('I1', '{hotel:2,flight:1,hotel:1}');
SELECT * FROM holds_test.report('I1', 'failed');
SELECT decision FROM holds_test.prepay('I1', '{coupon:I1,flight:0,hotel:1,hotel:2,flight:1}', 'R2');
SELECT * FROM holds_test.holds('I1');
SELECT * FROM holds_test.finish('I1', 'closed');
SELECT n, resource, state FROM holds_test.holds('I1');
-- One at a time; the next when the one before it has been acknowledged.
SELECT order_no, resource FROM holds_test.claim() WHERE order_no = 'I1';
SELECT holds_test.pass('1 h');
SELECT order_no, resource FROM holds_test.claim() WHERE order_no = 'I1';
SELECT * FROM holds_test.done('I1', 'flight:0', 'released');
SELECT order_no, resource FROM holds_test.claim() WHERE order_no = 'I1';
SELECT * FROM holds_test.done('I1', 'flight:0', 'released');
SELECT order_no, resource FROM holds_test.claim() WHERE order_no = 'I1';
SELECT * FROM holds_test.done('I1', 'hotel:1', 'released');
SELECT order_no, resource FROM holds_test.claim() WHERE order_no = 'I1';
SELECT * FROM holds_test.done('I1', 'flight:1', 'released');
SELECT order_no, resource FROM holds_test.claim() WHERE order_no = 'I1';
SELECT * FROM holds_test.done('I1', 'hotel:2', 'released');
SELECT order_no, resource FROM holds_test.claim() WHERE order_no = 'I1';
SELECT n, resource, state FROM holds_test.holds('I1');
-- Taken by three attempts, released in the reverse order of all of them.
SELECT decision FROM holds_test.prepay('I3', '{hotel:4}');
SELECT * FROM holds_test.report('I3', 'failed');
SELECT decision FROM holds_test.prepay('I3', '{hotel:4,hotel:5}', 'R2');
SELECT * FROM holds_test.report('I3', 'failed', 2);
SELECT decision FROM holds_test.prepay('I3', '{hotel:6}', 'R3');
SELECT count(DISTINCT position) AS places FROM pay_hold WHERE pay_no::text = holds_test.pay_no('I3');
SELECT * FROM holds_test.finish('I3', 'closed');
DO $$
DECLARE
	task record;
BEGIN
	LOOP
		SELECT * INTO task FROM holds_test.claim() WHERE order_no = 'I3';
		EXIT WHEN NOT FOUND;
		RAISE WARNING 'released: %', task.resource;
		PERFORM holds_test.done('I3', task.resource, 'released');
	END LOOP;
END
$$;
-- Confirming needs no order.
SELECT * FROM holds_test.prepay('I2', '{flight:3,hotel:3}');
SELECT * FROM holds_test.report('I2', 'paid');
SELECT action, resource FROM holds_test.claim() WHERE order_no = 'I2' ORDER BY resource;

-- ---- what a participant may not ----

SELECT call, test.try(format($$SELECT decision FROM pay_hold_done(%s)$$, call)) AS refused FROM unnest(ARRAY[
	$$NULL, 'hotel:H1', 'tried'$$, $$'', 'hotel:H1', 'tried'$$,
	$$holds_test.pay_no('H1'), NULL, 'tried'$$, $$holds_test.pay_no('H1'), '', 'tried'$$, $$holds_test.pay_no('H1'), repeat('x', 256), 'tried'$$,
	$$holds_test.pay_no('H1'), 'hotel:H1', NULL$$, $$holds_test.pay_no('H1'), 'hotel:H1', ''$$, $$holds_test.pay_no('H1'), 'hotel:H1', 'held'$$, $$holds_test.pay_no('H1'), 'hotel:H1', 'Tried'$$,
	$$'ABC', 'hotel:H1', 'tried'$$, $$'019b76da80008000800123456789abcd', 'hotel:H1', 'tried'$$,
	$$test.number('holds', 'H1')::text, 'hotel:H1', 'tried'$$,
	$$holds_test.pay_no('H1'), 'hotel:H2', 'tried'$$, $$holds_test.pay_no('H1'), 'hotel', 'tried'$$, $$holds_test.pay_no('A2'), 'coupon:C1', 'tried'$$,
	$$holds_test.pay_no('H1'), 'coupon:H1', 'confirmed'$$, $$holds_test.pay_no('H1'), 'coupon:H1', 'released'$$, $$holds_test.pay_no('H1'), 'coupon:H1', 'tried'$$]) AS c (call);

-- ---- bad holds ----

DELETE FROM before; INSERT INTO before SELECT holds_test.fingerprint();
SELECT holds, test.try(format($$SELECT decision FROM holds_test.prepay('Z1', %L)$$, holds)) AS refused FROM unnest(ARRAY[
	'{""}', '{NULL}', '{coupon:Z1,NULL}', '{coupon}', '{coupon:}', '{:Z1}', '{":"}', '{#1}', '{coupon#1}', '{coupon:#1}',
	'{coupon:Z1#}', '{coupon:Z1#0}', '{coupon:Z1#-1}', '{coupon:Z1#+1}', '{coupon:Z1#1.5}', '{coupon:Z1#1e3}', '{coupon:Z1# 1}', '{"coupon:Z1#1 "}', '{coupon:Z1#0x1}',
	'{coupon:Z1#9007199254740992}', '{coupon:Z1#99999999999999999999}',
	'{coupon:Z1,coupon:Z1}', '{coupon:Z1,coupon:Z1#1}', '{coupon:Z1#1,coupon:Z2,coupon:Z1#2}', '{tickets:Z1}', '{stock:SKU10}', '{COUPON:Z1}']) AS h (holds);
SELECT left(test.try(format($$SELECT decision FROM holds_test.prepay('Z1', %L)$$, ARRAY['coupon:' || repeat('x', 249)])), 60) AS too_long;
SELECT test.try($$SELECT decision FROM holds_test.prepay('Z1', (SELECT array_agg('coupon:Z' || n) FROM generate_series(1, 101) AS n))$$) AS too_many;
SELECT test.try($$SELECT decision FROM holds_test.prepay('Z1', '{coupon:Z1}', valid_for => NULL)$$) AS without_valid_for;
SELECT holds_test.nothing_written();
-- None is none; a hundred may be.
SELECT decision FROM holds_test.prepay('Z1', '{}', valid_for => NULL);
SELECT decision FROM holds_test.prepay('Z2', (SELECT array_agg('coupon:Z' || n) FROM generate_series(1, 100) AS n));
SELECT count(*), min(n), max(n), (SELECT holds FROM pay_payment WHERE pay_no::text = holds_test.pay_no('Z2')) FROM holds_test.holds('Z2');
-- What the rules before decide comes before: paid, other content, a look-alike.
SELECT decision FROM holds_test.prepay('A3', '{coupon:C1}', 'R2');
SELECT test.sqlstate($$SELECT decision FROM pay_prepay(order_no => 'A3', amount => 99, currency => 'CNY', merchant => 'holds', channel => 'test', method => 'test', request_id => 'R2', holds => '{coupon:C1}')$$) AS other_amount;
SELECT decision FROM holds_test.prepay('Z3', '{coupon:zoe}', payer => 'zoe');
SELECT decision FROM holds_test.prepay('Z4', '{coupon:zoe}', payer => 'zoe');

-- ---- guards ----

SELECT decision FROM holds_test.prepay('G1', '{coupon:G1,hotel:G1}');
DELETE FROM before; INSERT INTO before SELECT holds_test.fingerprint();
SELECT statement, test.try(statement) AS refused FROM unnest(ARRAY[
	$$UPDATE pay_hold SET state = 'released' WHERE resource = 'coupon:G1'$$,
	$$UPDATE pay_hold SET quantity = 2 WHERE resource = 'coupon:G1'$$,
	$$UPDATE pay_hold SET tried = true WHERE resource = 'hotel:G1'$$,
	$$UPDATE pay_hold SET external = true, position = 9 WHERE resource = 'coupon:G1'$$,
	$$UPDATE pay_hold SET check_at = now() WHERE resource = 'hotel:G1'$$,
	$$DELETE FROM pay_hold WHERE resource = 'coupon:G1'$$,
	$$TRUNCATE pay_hold$$,
	$$UPDATE pay_payment SET holds = NULL WHERE pay_no::text = holds_test.pay_no('G1')$$,
	$$UPDATE pay_resource SET taken = 0 WHERE resource = 'coupon:G1'$$,
	$$UPDATE pay_resource SET resource = 'coupon:G2' WHERE resource = 'coupon:G1'$$,
	$$UPDATE pay_resource SET merchant = 'm' WHERE resource = 'coupon:G1'$$]) AS s (statement);
SELECT holds_test.nothing_written();
-- What is taken cannot be made to disappear: the next order would get it a second time.
BEGIN;
SELECT test.sqlstate($$DELETE FROM pay_resource WHERE resource = 'coupon:G1'$$) AS what_is_held, test.sqlstate($$TRUNCATE pay_resource$$) AS all_of_it;
SELECT decision FROM holds_test.prepay('G2', '{coupon:G1}');
ROLLBACK;
-- CHECKs, where a function would not come to: never more than there is, never less than nothing.
SELECT statement, test.sqlstate(statement) AS refused FROM unnest(ARRAY[
	$$INSERT INTO pay_resource (merchant, resource, capacity, taken) VALUES ('holds', 'stock:bad', 1, 2)$$,
	$$INSERT INTO pay_resource (merchant, resource, capacity, taken) VALUES ('holds', 'stock:bad', 1, -1)$$,
	$$INSERT INTO pay_resource (merchant, resource, taken) VALUES ('holds', 'stock:bad', -1)$$,
	$$INSERT INTO pay_resource (merchant, resource, capacity) VALUES ('holds', 'stock:bad', -1)$$,
	$$INSERT INTO pay_resource (merchant, resource) VALUES ('holds', '')$$,
	$$INSERT INTO pay_resource (merchant, resource) VALUES ('holds', 'coupon:G1')$$,
	$$INSERT INTO pay_hold (pay_no, resource, quantity, position, state) SELECT pay_no, resource, 1, 9, 'held' FROM pay_hold WHERE resource = 'coupon:G1'$$,
	$$INSERT INTO pay_hold (pay_no, resource, quantity, position, state) SELECT pay_no, 'x:1', 0, 9, 'held' FROM pay_hold WHERE resource = 'coupon:G1'$$,
	$$INSERT INTO pay_hold (pay_no, resource, quantity, position, state) SELECT pay_no, 'x:1', 1, 9, 'tried' FROM pay_hold WHERE resource = 'coupon:G1'$$]) AS s (statement);
-- What becomes external is so for who takes it then; a hold stays what it was taken as.
UPDATE pay_resource SET external = true WHERE resource = 'coupon:G1' AND merchant = 'holds';
SELECT * FROM holds_test.finish('G1', 'closed');
SELECT resource, state FROM holds_test.holds('G1');
SELECT decision FROM holds_test.prepay('G2', '{coupon:G1}');
SELECT resource, state, external FROM holds_test.holds('G2');
-- A payment or an attempt stepped by hand: its holds follow, as by the functions.
SELECT order_no, decision FROM unnest('{G3,G4,G5,G6}'::text[]) AS o (order_no), LATERAL holds_test.prepay(order_no, ARRAY['coupon:' || order_no, 'hotel:' || order_no]);
SELECT decision, state FROM holds_test.report('G4', 'failed');
UPDATE pay_attempt SET state = 'paid', amount_collected = 100 WHERE pay_no::text = holds_test.pay_no('G3');
UPDATE pay_payment SET state = 'closed' WHERE pay_no::text = holds_test.pay_no('G4');
UPDATE pay_payment SET end_requested = true WHERE pay_no::text = holds_test.pay_no('G5');
UPDATE pay_attempt SET state = 'failed' WHERE pay_no::text IN (holds_test.pay_no('G5'), holds_test.pay_no('G6'));
SELECT order_no, test.states('holds', order_no), holds_test.taken('coupon:' || order_no), (SELECT string_agg(resource || ' ' || state, ', ' ORDER BY resource) FROM holds_test.holds(order_no)) AS holds
FROM unnest('{G3,G4,G5,G6}'::text[]) AS o (order_no);
SELECT action, order_no, resource FROM holds_test.claim() WHERE order_no LIKE 'G_' ORDER BY order_no;

-- ---- all of it ----

-- What is taken of each resource is what the holds of it say, to the piece.
SELECT r.merchant, r.resource, r.taken, h.held FROM pay_resource r FULL JOIN
	(SELECT p.merchant, h.resource, sum(h.quantity) FILTER (WHERE h.state <> 'released') AS held FROM pay_hold h JOIN pay_payment p USING (pay_no) GROUP BY 1, 2) h
	ON (h.merchant, h.resource) = (r.merchant, r.resource)
WHERE coalesce(r.taken, 0) <> coalesce(h.held, 0) OR h.resource IS NOT NULL AND r.resource IS NULL;
-- What holds anything is open, or waits to be paid; what is over holds nothing; what is paid has spent it.
SELECT p.merchant, p.order_no, p.state, h.resource, h.state FROM pay_hold h JOIN pay_payment p USING (pay_no)
WHERE h.state <> ALL (CASE WHEN p.state = 'paid' THEN '{confirming,confirmed}'::text[] WHEN p.state::text IN ('closed', 'reversed') OR p.replaced_by IS NOT NULL
	THEN '{releasing,released}' ELSE '{held}' END);
-- Each payment says how many it has asked for.
SELECT p.order_no, p.holds, count(h.*) FROM pay_payment p LEFT JOIN pay_hold h USING (pay_no) WHERE p.merchant LIKE 'holds%' GROUP BY p.pay_no HAVING coalesce(p.holds, 0) <> count(h.*);
SELECT holds_test.put_back();
