-- CREATE EXTENSION brings the code, pay_install() the tables; until then every
-- function that needs them says so.

\set helpers_only true
\i test/sql/include/begin.sql
SET client_min_messages = warning;

-- The call that each function would answer, if only there were tables.
CREATE TABLE test.needs_tables (call text);
INSERT INTO test.needs_tables VALUES
	($$pay_create(order_no => 'A1', amount => 100, currency => 'CNY')$$),
	($$pay_prepay(order_no => 'A1', amount => 100, currency => 'CNY', channel => 'test', method => 'test', request_id => 'R1')$$),
	($$pay_credential(trade_no => '019b76da80008001810123456789abcd', credential => 'prepay_id=1', valid_for => '1 hour')$$),
	($$pay_query(order_no => 'A1')$$),
	($$pay_query(trade_no => '019b76da80008001810123456789abcd')$$),
	($$pay_close(order_no => 'A1')$$),
	($$pay_transition(trade_no => '019b76da80008001810123456789abcd', to_state => 'closed')$$),
	($$pay_callback(channel => 'test', callback_id => 'C1', trade_no => '019b76da80008001810123456789abcd', reported => 'failed')$$),
	($$pay_callbacks(messages => '[{"channel": "test", "trade_no": "019b76da80008001810123456789abcd", "reported": "failed"}]')$$),
	($$pay_review_resolve(review_id => 0, verdict => 'dismiss', reason => 'a test')$$),
	($$pay_refund(trade_no => '019b76da80008001810123456789abcd', refund_no => 'F1', amount => 1, reason => 'a test')$$),
	($$pay_refund_transition(refund_no => 'F1', to_state => 'processing')$$),
	($$pay_refund_callback(channel => 'test', callback_id => 'C1', refund_no => 'F1', reported => 'succeeded')$$),
	($$pay_refund_callbacks(messages => '[{"channel": "test", "refund_no": "F1", "reported": "failed"}]')$$),
	($$pay_dispute_open(trade_no => '019b76da80008001810123456789abcd', duplicate_of => '019b76da80008001810123456789abce', reason => 'a test')$$),
	($$pay_dispute_resolve(dispute_id => 0, verdict => 'reject', reason => 'a test')$$),
	($$pay_dispute_case(dispute_id => 0)$$),
	($$pay_suspects(since => now())$$),
	($$pay_claim(worker => 'w1', max_tasks => 1, lease => '1 minute')$$),
	($$pay_adopt_database(reason => 'a test')$$),
	($$pay_import(payments => '[{"order_no": "A1", "amount": 100, "currency": "CNY"}]')$$),
	($$pay_hold_done(trade_no => '019b76da80008001810123456789abcd', resource => 'coupon:C1', done => 'tried')$$),
	($$pay_history(trade_no => '019b76da80008001810123456789abcd')$$),
	($$pay_channel_of(trade_no => '019b76da80008001810123456789abcd')$$),
	($$pay_grant(role => current_user::text, kind => 'auditor')$$),
	($$pay_revoke(role => current_user::text)$$);

-- A CREATE EXTENSION that is rolled back leaves nothing behind in the session.
BEGIN;
CREATE EXTENSION pay_idem;
SELECT pay_install();
SELECT decision, state FROM pay_prepay(order_no => 'A1', amount => 100, currency => 'CNY',
	channel => 'test', method => 'test', request_id => 'R1');
ROLLBACK;

CREATE EXTENSION pay_idem;

-- No tables yet: PY503, and what to do about it.
SELECT split_part(call, '(', 1) AS function, test.try('SELECT ' || call) AS refused
FROM test.needs_tables;

-- A table of that name that is not ours is refused, not adopted.
BEGIN;
CREATE TABLE pay_review (note text);
SELECT replace(test.try('SELECT pay_install()'), current_user, '<me>') AS refused;
ROLLBACK;

-- Nor is a view.
BEGIN;
CREATE VIEW pay_refund AS SELECT 1 AS amount;
SELECT replace(test.try('SELECT pay_install()'), current_user, '<me>') AS refused;
ROLLBACK;

SELECT pay_install();
SELECT relname, relkind FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND relname LIKE 'pay\_%'
ORDER BY relname;

-- They are ordinary tables, and an ordinary view: of the extension's members none is a table, a view, an index or a sequence.
SELECT count(*) > 0 AS has_members, count(*) FILTER (WHERE c.relkind <> 'c') AS tables_among_them
FROM pg_depend d LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pay_idem');

-- Called again it changes nothing: not what it made, not what the DBA set since.
BEGIN;
UPDATE pay_channel SET timeout = '1 hour' WHERE channel = 'test' AND method = 'qr';
CREATE VIEW test.made AS
	SELECT c.oid::bigint, c.relname::text, c.relkind::text, c.relfilenode::text FROM pg_class c
		WHERE c.relnamespace = 'public'::regnamespace AND c.relname LIKE 'pay\_%'
	UNION ALL SELECT oid::bigint, tgname::text, tgtype::text, tgenabled::text FROM pg_trigger
	UNION ALL SELECT oid::bigint, conname::text, contype::text, pg_get_constraintdef(oid) FROM pg_constraint
	UNION ALL SELECT ev_class::bigint, rulename::text, ev_type::text, pg_get_viewdef(ev_class) FROM pg_rewrite
		WHERE ev_class = to_regclass('pay_balance')
	UNION ALL SELECT route, channel, method, pay_channel::text FROM pay_channel;
CREATE TABLE test.made_before AS TABLE test.made;
SELECT pay_install();
SELECT count(*) AS changed FROM (
	(TABLE test.made EXCEPT TABLE test.made_before)
	UNION ALL (TABLE test.made_before EXCEPT TABLE test.made)) AS c;
SELECT timeout FROM pay_channel WHERE channel = 'test' AND method = 'qr';
-- What is missing it brings back.
SELECT pay_grant(role => 'pg_monitor', kind => 'auditor');
REVOKE ALL ON FUNCTION pay_history(text) FROM pg_monitor;
DROP TRIGGER pay_guard_before ON pay_payment;
DROP VIEW pay_balance;
DROP TABLE pay_dispute, pay_task, pay_hold;
ALTER TABLE pay_attempt DROP CONSTRAINT pay_attempt_cap_check;
COMMENT ON COLUMN pay_review.kind IS 'mine';
-- The plan says beforehand what it will do, and then is empty.
SELECT object, action, lock, turn FROM pay_install_plan();
SELECT pay_install();
SELECT count(*) AS left FROM pay_install_plan();
SELECT tgname FROM pg_trigger WHERE tgrelid = 'pay_payment'::regclass AND NOT tgisinternal ORDER BY tgname;
SELECT count(*) FROM pay_balance;
SELECT count(*) FROM pay_dispute;
SELECT (SELECT count(*) FROM pay_task) AS tasks, (SELECT count(*) FROM pay_hold) AS holds, relreplident AS replica_identity
FROM pg_class WHERE oid = 'pay_task'::regclass;
SELECT conname FROM pg_constraint WHERE conrelid = 'pay_attempt'::regclass AND contype = 'c' ORDER BY conname;
ROLLBACK;

-- Now they answer.
SELECT decision, state, attempt FROM pay_prepay(order_no => 'A1', amount => 100, currency => 'CNY',
	channel => 'test', method => 'test', request_id => 'R1', merchant => 'install');
BEGIN;
SELECT split_part(call, '(', 1) AS function, test.sqlstate('SELECT ' || call) AS sqlstate
FROM test.needs_tables;
ROLLBACK;

-- Payments are not lost by accident.
SELECT split_part(test.try('DROP EXTENSION pay_idem'), ' | ', 1) AS refused;
SELECT decision, state, attempt FROM pay_query(order_no => 'A1', merchant => 'install');

-- DROP and CREATE in one session: the new extension finds no tables, then its own.
BEGIN;
DROP VIEW pay_balance;
DROP TABLE pay_payment, pay_attempt, pay_event, pay_review, pay_refund, pay_dispute, pay_task, pay_resource, pay_hold, pay_channel, pay_grantee, pay_database;
DROP EXTENSION pay_idem;
CREATE EXTENSION pay_idem;
SELECT test.sqlstate('SELECT ' || call) AS sqlstate, count(*) FROM test.needs_tables GROUP BY 1;
SELECT pay_install();
SELECT decision, state, attempt FROM pay_prepay(order_no => 'A1', amount => 100, currency => 'CNY',
	channel => 'test', method => 'test', request_id => 'R1', merchant => 'install');
ROLLBACK;
SELECT decision, state, attempt FROM pay_query(order_no => 'A1', merchant => 'install');
DROP TABLE test.needs_tables;
