-- At the boundary all that names something is text: what one call answers the next one
-- takes, and pay_number() leads from there to the tables. With it: asking by number,
-- giving an order up by its own number, many refund callbacks at once, intervals that
-- have a sensible length, and one transaction under two names.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
CREATE SCHEMA boundary_test;

CREATE FUNCTION boundary_test.open(order_no text, request_id text DEFAULT 'r1', channel text DEFAULT 'test', method text DEFAULT 'test', merchant text DEFAULT 'boundary',
	multi boolean DEFAULT NULL, replaces text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT trade_no FROM pay_prepay(order_no => open.order_no, amount => 100, currency => 'CNY', merchant => open.merchant, channel => open.channel, method => open.method,
		request_id => open.request_id, multi => open.multi, replaces => open.replaces)
$$;
CREATE FUNCTION boundary_test.pay(order_no text, channel_txn text DEFAULT NULL, merchant text DEFAULT 'boundary') RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM pay_callback(channel => 'test', callback_id => NULL, trade_no => (SELECT q.trade_no FROM pay_query(pay.order_no, pay.merchant) q),
		reported => 'paid', amount => 100, currency => 'CNY', channel_txn => pay.channel_txn)
$$;
-- What a call answers, or its error, with our numbers as <number>.
CREATE FUNCTION boundary_test.try(statement text) RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(regexp_replace(test.try(statement), '0[0-9a-f]{11}8[0-9a-f]{3}[89ab][0-9a-f]{15}(x[0-9a-f]{16})?', '<number>', 'g'), 'review \d+', 'review <id>')
$$;
CREATE TEMP TABLE before (fingerprint text);

-- ---- numbers are text, in whatever is answered ----

SELECT p.proname, coalesce(a.name, t.attname) AS column, format_type(coalesce(a.type, t.atttypid), NULL) AS type
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pay_idem'
	LEFT JOIN LATERAL (SELECT u.name, u.type FROM unnest(p.proargnames, p.proallargtypes, p.proargmodes) AS u (name, type, mode) WHERE u.mode IN ('o', 't')) a ON true
	LEFT JOIN pg_type r ON r.oid = p.prorettype AND r.typtype = 'c'
	LEFT JOIN pg_attribute t ON t.attrelid = r.typrelid AND t.attnum > 0
WHERE coalesce(a.type, t.atttypid) IN ('uuid'::regtype, 'uuid[]'::regtype) OR coalesce(a.name, t.attname::text) IN ('pay_no', 'other_pay_no', 'trade_no', 'trade_nos')
ORDER BY (coalesce(a.type, t.atttypid) NOT IN ('uuid'::regtype, 'uuid[]'::regtype)), 1, 2;

SELECT boundary_test.open('N1') IS NOT NULL AS opened;
SELECT pay_no ~ '^[0-9a-f]{32}$' AS pay_no, trade_no ~ '^[0-9a-f]{32}$' AS trade_no FROM pay_query('N1', 'boundary');
-- The payment's number goes back in as it came out, by a parameter of any kind.
SELECT decision, state FROM pay_transition(trade_no => (SELECT pay_no FROM pay_query('N1', 'boundary')), to_state => 'unknown');
PREPARE step (varchar, text) AS SELECT decision, state FROM pay_transition(trade_no => $1, to_state => $2);
SELECT pay_no FROM pay_query('N1', 'boundary') \gset
EXECUTE step (:'pay_no', 'unknown');
DEALLOCATE step;

-- ---- pay_number: from there to the tables ----

SELECT p.order_no, a.attempt FROM pay_query('N1', 'boundary') q JOIN pay_payment p ON p.pay_no = pay_number(q.pay_no) JOIN pay_attempt a ON a.trade_no = pay_number(q.trade_no);
SELECT what, pay_number(number) FROM (VALUES (1, 'digits', '019b76da80008001810123456789abcd'), (2, 'dashes', '019b76da-8000-8001-8101-23456789abcd'),
	(3, 'capitals', '019B76DA-8000-8001-8101-23456789ABCD'), (4, 'braces', '{019b76da-8000-8001-8101-23456789abcd}'), (5, 'braces alone', '{019b76da80008001810123456789abcd}'),
	(6, 'a dash after any four', '019b-76da-8000-8001-8101-2345-6789-abcd'), (7, 'a payment', '019b76da80008000800123456789abcd')) AS v (n, what, number) ORDER BY n;
-- All of these uuid takes, and reads so, too; what is no number of ours is NULL, whether uuid takes it or not.
SELECT bool_and(pay_number(number) = number::uuid) AS as_uuid FROM unnest('{019b76da80008001810123456789abcd,"{019B76DA-8000-8001-8101-23456789abcd}",019b-76da-8000-8001-8101-2345-6789-abcd}'::text[]) AS number;
SELECT what, pay_number(number) IS NULL AS none FROM (VALUES (1, 'version 4', '019b76da80004001810123456789abcd'), (2, 'variant 11', '019b76da80008001c10123456789abcd'),
	(3, 'route without attempt', '019b76da80008001800123456789abcd'), (4, 'empty', ''), (5, 'braces', '{}'), (6, 'one brace', '{019b76da80008001810123456789abcd'),
	(7, 'two dashes', '019b76da--8000-8001-8101-23456789abcd'), (8, 'dash last', '019b76da-8000-8001-8101-23456789abcd-'), (9, 'dash first', '-019b76da80008001810123456789abcd'),
	(10, '31 digits', '019b76da80008001810123456789abc'), (11, '33 digits', '019b76da80008001810123456789abcde'), (12, 'a letter', '019b76da80008001810123456789abcg'),
	(13, 'space', '019b76da80008001810123456789abcd '), (14, 'order number', 'N1'), (15, 'long', repeat('0', 10000)), (16, 'NULL', NULL)) AS v (n, what, number) ORDER BY n;
-- An index is used for it, as for any constant.
BEGIN;
SET LOCAL enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT FROM pay_attempt WHERE trade_no = pay_number('019b76da80008001810123456789abcd');
ROLLBACK;

-- ---- pay_query: by the order, or by a number ----

SELECT boundary_test.open('Q1') AS trade_no \gset
SELECT boundary_test.open('Q1', merchant => 'boundary 2') AS trade_no_2 \gset
SELECT pay_no FROM pay_query('Q1', 'boundary') \gset
SELECT q.decision, q.merchant, q.order_no, q.attempt, q.state, q.pay_no = :'pay_no' AS its_pay_no
FROM (VALUES (1, NULL, '', :'trade_no'), (2, NULL, '', :'pay_no'), (3, NULL, '', pay_number(:'pay_no')::text), (4, 'Q1', 'boundary', NULL),
	(5, 'Q1', 'boundary', :'trade_no'), (6, NULL, 'boundary', :'pay_no')) AS v (n, order_no, merchant, trade_no), pay_query(v.order_no, v.merchant, v.trade_no) AS q ORDER BY n;
-- All the same answer: where the order stands, not where the attempt does.
SELECT decision FROM pay_transition(:'trade_no', 'failed');
SELECT boundary_test.open('Q1', 'r2', method => 'card') IS NOT NULL AS second;
SELECT decision, trade_no <> :'trade_no' AS the_latest, attempt, method FROM pay_query(trade_no => :'trade_no');
SELECT n, boundary_test.try(format('SELECT decision FROM pay_query(%L, %L, %L)', order_no, merchant, trade_no)) AS answer
FROM (VALUES (1, NULL, '', NULL), (2, '', '', NULL), (3, NULL, '', ''), (4, NULL, NULL, :'trade_no'),
	(5, 'Q2', 'boundary', :'trade_no'), (6, 'Q1', '', :'trade_no'), (7, 'Q1', 'boundary 2', :'trade_no'), (8, NULL, 'boundary 2', :'trade_no'),
	(9, NULL, '', 'Q1'), (10, NULL, '', '019b76da80008001810123456789abcd'), (11, NULL, '', overlay(:'trade_no' PLACING 'fff' FROM 14 FOR 3)),
	(12, 'nobody knows', 'boundary', NULL)) AS v (n, order_no, merchant, trade_no) ORDER BY n;

-- ---- pay_close ----

TRUNCATE before;
SELECT boundary_test.open('C open'), boundary_test.open('C failed'), boundary_test.open('C paid'), boundary_test.open('C held'), boundary_test.open('C captured'), boundary_test.open('C unknown'),
	boundary_test.open('C two', multi => true), boundary_test.open('C two', 'r2', method => 'card', multi => true), boundary_test.open('C old'), boundary_test.open('C half') \gset ignored_
SELECT decision FROM pay_create('C new', 100, 'CNY', 'boundary') UNION ALL SELECT decision FROM pay_create('C free', 0, 'CNY', 'boundary');
SELECT decision, state FROM (VALUES (1, 'C failed', 'failed'), (2, 'C paid', 'paid'), (3, 'C held', 'authorized'), (4, 'C captured', 'authorized'), (5, 'C captured', 'capturing'), (6, 'C unknown', 'unknown'), (7, 'C half', 'closing')) AS v (n, order_no, to_state),
	LATERAL pay_transition((SELECT q.trade_no FROM pay_query(v.order_no, 'boundary') q), v.to_state) AS t ORDER BY n;
SELECT boundary_test.open('C successor', replaces => 'C old') IS NOT NULL AS replaced;
SELECT v.order_no, c.decision, c.state, c.other_order_no, c.detail
FROM (VALUES (1, 'C new'), (2, 'C failed'), (3, 'C open'), (4, 'C unknown'), (5, 'C held'), (6, 'C two'), (7, 'C captured'), (8, 'C paid'), (9, 'C free'), (10, 'C old'), (11, 'C half')) AS v (n, order_no),
	LATERAL pay_close(v.order_no, 'boundary', 'the customer gave up') AS c ORDER BY n;
SELECT order_no, test.states(merchant, order_no), end_requested FROM pay_payment WHERE merchant = 'boundary' AND order_no LIKE 'C %' ORDER BY 1;
-- Said again, nothing is written.
INSERT INTO before SELECT test.fingerprint();
SELECT v.order_no, c.decision, c.state FROM (VALUES (1, 'C new'), (2, 'C failed'), (3, 'C open'), (4, 'C unknown'), (5, 'C held'), (6, 'C two'), (7, 'C captured'), (8, 'C paid'), (9, 'C free'), (10, 'C old'), (11, 'C half')) AS v (n, order_no),
	LATERAL pay_close(order_no => v.order_no, merchant => 'boundary') AS c ORDER BY n;
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before;
-- Nor is a lock taken (it would need a transaction id).
BEGIN;
SELECT decision FROM pay_close('C two', 'boundary');
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_lock;
ROLLBACK;
-- The history says who gave it up and why, and the worker gets what there is to close.
SELECT source, attempt, reported, decision, payment_before, payment_after, attempt_after, reason FROM pay_history((SELECT pay_no FROM pay_query('C two', 'boundary'))) WHERE source = 'close';
SELECT p.order_no, t.attempt, t.due_at <= now() AS due FROM pay_task t JOIN pay_payment p USING (pay_no)
WHERE p.merchant = 'boundary' AND p.order_no IN ('C open', 'C held', 'C two', 'C new') AND t.due_at <= now() ORDER BY 1, 2;
-- It ends as the channel says; then it is closed, or paid after all.
SELECT decision, state FROM pay_callback(channel => 'test', callback_id => 'c', trade_no => (SELECT trade_no FROM pay_query('C open', 'boundary')), reported => 'closed');
SELECT decision, state FROM pay_close('C open', 'boundary');
SELECT boundary_test.pay('C unknown');
SELECT decision, state FROM pay_close('C unknown', 'boundary');
-- What its capture comes to, the shop has to wait for.
SELECT decision, state FROM pay_callback(channel => 'test', callback_id => 'c', trade_no => (SELECT trade_no FROM pay_query('C captured', 'boundary')), reported => 'failed');
SELECT decision, state FROM pay_close('C captured', 'boundary');
SELECT n, boundary_test.try('SELECT decision FROM pay_close(' || call || ')') AS answer FROM unnest(ARRAY[$$NULL$$, $$''$$, $$'C new', NULL$$, $$repeat('x', 256)$$, $$'C new', reason => ''$$, $$'C new'$$, $$'nobody knows', 'boundary'$$]) WITH ORDINALITY AS c (call, n);
-- What it holds goes back at once where it is closed, else when it is.
INSERT INTO pay_resource (merchant, resource, capacity) VALUES ('boundary', 'stock:boundary', 10);
SELECT decision FROM pay_prepay('C stock', 100, 'CNY', 'test', 'test', 'r1', 'boundary', holds => '{stock:boundary#3}', valid_for => '1 day');
SELECT decision, state FROM pay_close('C stock', 'boundary');
SELECT taken FROM pay_resource WHERE merchant = 'boundary' AND resource = 'stock:boundary';
SELECT decision, state FROM pay_callback(channel => 'test', callback_id => 'c', trade_no => (SELECT trade_no FROM pay_query('C stock', 'boundary')), reported => 'closed');
SELECT taken FROM pay_resource WHERE merchant = 'boundary' AND resource = 'stock:boundary';

-- ---- pay_refund_callbacks: what pay_refund_callback() would answer, in their order ----

SELECT boundary_test.open('R1'), boundary_test.pay('R1'), boundary_test.open('R2'), boundary_test.pay('R2') \gset ignored_
SELECT r.decision FROM pay_query('R1', 'boundary') q, pay_refund(q.trade_no, 'b-r1', 30, 'a test') r
UNION ALL SELECT r.decision FROM pay_query('R1', 'boundary') q, pay_refund(q.trade_no, 'b-r2', 20, 'another') r UNION ALL SELECT r.decision FROM pay_query('R2', 'boundary') q, pay_refund(q.pay_no, 'b-r3', 10, 'a test') r;
CREATE FUNCTION boundary_test.message(refund_no text, reported text, callback_id text DEFAULT NULL, amount bigint DEFAULT NULL, channel_txn text DEFAULT NULL, order_no text DEFAULT NULL, kind text DEFAULT NULL, merchant text DEFAULT 'boundary')
RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('channel', 'test', 'callback_id', callback_id, 'refund_no', refund_no, 'reported', reported, 'amount', amount, 'channel_txn', channel_txn,
		'trade_no', (SELECT q.trade_no FROM pay_query(message.order_no, 'boundary') q WHERE message.order_no IS NOT NULL), 'kind', kind, 'merchant', merchant))
$$;
-- The names are the arguments; what is left out is as there (kind refund, merchant '').
SELECT jsonb_build_array(
	boundary_test.message('b-r3', 'succeeded', 'm1', 10, 'B3'),
	boundary_test.message('b-r1', 'processing', 'm2'),
	boundary_test.message('nobody knows', 'succeeded', 'm3'),
	boundary_test.message('b-dp', 'processing', 'm4', 25, order_no => 'R2', kind => 'chargeback'),	-- the channel started it: adopted
	boundary_test.message('b-r1', 'succeeded', 'm5', 29),			-- another amount
	boundary_test.message('b-r3', 'succeeded', 'm1', 10, 'B3'),		-- the same message again
	boundary_test.message('b-r3', 'failed', 'm1', 10, 'B3'),		-- a known id with other content
	boundary_test.message('b-r1', 'succeeded', NULL, 30, 'B1'),
	boundary_test.message('b-r1', 'processing', 'm6'),				-- too late
	boundary_test.message('b-dp', 'succeeded', 'm7', 25, kind => 'chargeback'),	-- of what a message before it adopted
	boundary_test.message('b-r2', 'succeeded', 'm8', merchant => NULL)) AS messages \gset
SELECT n, decision, refund_no, state, amount, currency, refundable, pay_no ~ '^[0-9a-f]{32}$' AS pay_no, trade_no ~ '^[0-9a-f]{32}$' AS trade_no, detail
FROM pay_refund_callbacks(:'messages');
SELECT p.order_no, e.source, e.message_id, e.refund_no, e.refund_reported, e.decision, e.refund_before, e.refund_after
FROM pay_event e JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'boundary' AND e.source LIKE 'refund\_callback%' ORDER BY 1, e.seq;
SELECT kind, v.refund_no, v.message_id, v.detail FROM pay_review v LEFT JOIN pay_payment p USING (pay_no) WHERE v.source LIKE 'refund\_callback%' AND (p.merchant = 'boundary' OR v.merchant = 'boundary' OR v.message_id = 'm8') ORDER BY v.review_id;
-- Delivered again, those with an id write nothing, and lock nothing.
BEGIN;
SELECT n, decision, state FROM pay_refund_callbacks(jsonb_path_query_array(:'messages', '$[*] ? (@.callback_id == "m1" && @.reported == "succeeded" || @.callback_id == "m2" || @.callback_id == "m4" || @.callback_id == "m6" || @.callback_id == "m7")'));
SELECT pg_current_xact_id_if_assigned() IS NULL AS wrote_nothing;
ROLLBACK;
SELECT count(*) FROM pay_refund_callbacks('[]');
-- Those of refunds that are not known come after the others, by their numbers: here after the one
-- that gives ours its transaction, which so is no twin of theirs.
SELECT n, decision, refund_no, detail FROM pay_refund_callbacks(jsonb_build_array(
	boundary_test.message('b-z', 'succeeded', 'm9', 20, 'BZ', order_no => 'R1'), boundary_test.message('b-a', 'succeeded', 'm10', 5, 'BA', order_no => 'R1'), boundary_test.message('b-r2', 'succeeded', 'm11', 20, 'B2')));
SELECT refund_no, kind, r.state, r.amount, channel_txn FROM pay_refund r JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'boundary' AND p.order_no = 'R1' ORDER BY 1;
-- One that means nothing stops all of them, and says which one it is.
TRUNCATE before;
INSERT INTO before SELECT test.fingerprint();
CREATE FUNCTION boundary_test.context(messages jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	context text;
BEGIN
	PERFORM FROM pay_refund_callbacks(messages);
	RETURN 'good';
EXCEPTION WHEN SQLSTATE 'PY400' THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RETURN SQLERRM || ' | ' || split_part(context, E'\n', 1);
END
$$;
SELECT n, boundary_test.context(jsonb_build_array(boundary_test.message('b-r2', 'failed', 'm12')) || bad) FROM unnest(ARRAY[
	boundary_test.message('b-r2', 'paid'), boundary_test.message('b-r2', 'failed', amount => 0), boundary_test.message('b-r2', 'failed', kind => 'gift'), boundary_test.message('', 'failed'), boundary_test.message('b-r2', 'failed') - 'channel',
	boundary_test.message('b-r2', 'failed') || '{"channel": "carrier pigeon"}', boundary_test.message('b-r2', 'failed') || '{"refund": "b-r2"}', boundary_test.message('b-r2', 'failed') || '{"amount": "20"}', '17']) WITH ORDINALITY AS b (bad, n);
SELECT boundary_test.try($$SELECT count(*) FROM pay_refund_callbacks(NULL)$$), boundary_test.try($$SELECT count(*) FROM pay_refund_callbacks('{}')$$);
SELECT fingerprint = test.fingerprint() AS nothing_written FROM before;

-- ---- intervals: a number in the wrong unit is PY400 ----

SELECT boundary_test.open('I1') AS trade_no \gset
SELECT value, boundary_test.try(format('SELECT decision FROM pay_credential(%L, %L, %L)', :'trade_no', 'prepay_id=1', value)) AS credential
FROM unnest('{1 us,7200,60 days,2 months,1440 hours,60 days 1 us,61 days,7200000,7200000000000,30000000000,0,-1 s,-7200000,1 month -30 days,1000 years}'::text[]) WITH ORDINALITY AS v (value, n) ORDER BY n;
SELECT value, boundary_test.try(format('SELECT count(*) FROM pay_claim(%L, 1, %L, %L)', 'w', value, '{release_hold}')) AS lease
FROM unnest('{30 s,1 day,24 hours,25 hours,1 day 1 us,300000,60000000,60000000000,0,-30 s}'::text[]) WITH ORDINALITY AS v (value, n) ORDER BY n;
SELECT value, boundary_test.try(format('SELECT decision FROM pay_create(%L, 1, %L, %L, valid_for => %L)', 'I ' || value, 'CNY', 'boundary', value)) AS order
FROM unnest('{1 s,2 years,731 days,732 days,25 months,86400000,864000000,7200000000000,0,-1 day}'::text[]) WITH ORDINALITY AS v (value, n) ORDER BY n;
SELECT boundary_test.try($$SELECT decision FROM pay_prepay('I2', 1, 'CNY', 'test', 'test', 'r1', 'boundary', valid_for => '864000000')$$);
-- For ever and never, which later versions have.
SELECT bool_and(answer ~ '^(PY400|22007) ') AS refused FROM unnest('{infinity,-infinity}'::text[]) AS value, unnest(ARRAY[
	test.try(format('SELECT decision FROM pay_credential(%L, %L, %L)', :'trade_no', 'prepay_id=1', value)), test.try(format('SELECT count(*) FROM pay_claim(%L, 1, %L)', 'w', value)),
	test.try(format('SELECT decision FROM pay_create(%L, 1, %L, %L, valid_for => %L)', 'I3', 'CNY', 'boundary', value))]) AS answer;

-- ---- one transaction under two names ----

SELECT boundary_test.open('T1'), boundary_test.pay('T1', 'pi_1'), boundary_test.open('T2'), boundary_test.pay('T2', 'pi_2'), boundary_test.open('T3'), boundary_test.pay('T3', 'pi_3') \gset ignored_
SELECT boundary_test.pay('T1', 'ch_1'), boundary_test.pay('T2', 'ch_2'), boundary_test.pay('T3', 'ch_3');
CREATE FUNCTION boundary_test.resolve(order_no text, verdict text) RETURNS text LANGUAGE sql AS $$
	SELECT boundary_test.try(format('SELECT decision || coalesce('' '' || refund_no, '''') FROM pay_review_resolve(%s, %L, %L)',
		(SELECT review_id FROM pay_review v JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'boundary' AND p.order_no = resolve.order_no ORDER BY review_id DESC LIMIT 1), resolve.verdict, 'a test'))
$$;
SELECT p.order_no, v.kind, v.detail FROM pay_review v JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'boundary' AND p.order_no LIKE 'T_' ORDER BY 1;
-- accept and alias say that it is one: the other name is known from then on, and no money counts twice.
SELECT boundary_test.resolve('T1', 'accept'), boundary_test.resolve('T2', 'alias'), boundary_test.resolve('T3', 'refund');
SELECT boundary_test.pay('T1', 'ch_1'), boundary_test.pay('T2', 'ch_2'), boundary_test.pay('T3', 'ch_3'), boundary_test.pay('T1', 'ch_other');
SELECT p.order_no, a.channel_txn, a.amount_collected, a.amount_extra FROM pay_attempt a JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'boundary' AND p.order_no LIKE 'T_' ORDER BY 1;
SELECT p.order_no, e.message_id, e.channel_txn, e.decision FROM pay_event e JOIN pay_payment p USING (pay_no) WHERE p.merchant = 'boundary' AND p.order_no LIKE 'T_' AND e.source = 'review' ORDER BY 1;
-- What was counted as a second payment is not a name of the first; nor is another amount.
SELECT decision FROM pay_callback(channel => 'test', callback_id => NULL, trade_no => (SELECT trade_no FROM pay_query('T2', 'boundary')), reported => 'paid', amount => 101, currency => 'CNY', channel_txn => 'ch_4');
SELECT boundary_test.resolve('T2', 'accept');

-- What a review is about can be joined, however it was reported.
SELECT c.decision FROM pay_query('T1', 'boundary') q, pay_callback(channel => 'test', callback_id => 'dashes', trade_no => pay_number(q.trade_no)::text, reported => 'paid', amount => 99, currency => 'CNY') c
UNION ALL SELECT c.decision FROM pay_query('T1', 'boundary') q, pay_callback(channel => 'test', callback_id => 'payment', trade_no => q.pay_no, reported => 'paid', amount => 98, currency => 'CNY') c
UNION ALL SELECT decision FROM pay_callback(channel => 'test', callback_id => 'boundary', trade_no => '019B76DA80008001810123456789ABCD', reported => 'failed')
UNION ALL SELECT decision FROM pay_callback(channel => 'test', callback_id => 'boundary', trade_no => 'no number of ours', reported => 'failed');
SELECT v.kind, v.message_id, length(v.trade_no) AS reported, p.order_no, a.attempt
FROM pay_review v JOIN pay_attempt a ON a.trade_no = v.attempt_no JOIN pay_payment p ON p.pay_no = a.pay_no WHERE p.merchant = 'boundary' AND v.message_id IN ('dashes', 'payment') ORDER BY 2;
SELECT trade_no, attempt_no FROM pay_review WHERE message_id = 'boundary' ORDER BY 1;

-- A review is of a kind that there is, and so is its verdict.
SELECT test.sqlstate(format('INSERT INTO pay_review (kind, source, trade_no, about_money, verdict, resolved_at, resolved_by, reason) VALUES (%L, %L, %L, false, %L, now(), %L, %L)', kind, 'boundary', kind, verdict, 'me', 'a test')) AS answer, kind, verdict
FROM (VALUES ('mismatch', 'dismiss'), ('Mismatch', 'dismiss'), ('', 'dismiss'), ('mismatch', 'undo')) AS v (kind, verdict);

-- ---- an import is refused what a call is refused: two captures of one order ----

-- Live: the first is being voided, after its capture was asked for.
SELECT boundary_test.open('K1', multi => true) AS first, boundary_test.open('K1', 'r2', method => 'card', multi => true) AS second \gset
SELECT t.decision, t.attempt_state FROM (VALUES (1, :'first', 'authorized'), (2, :'second', 'authorized'), (3, :'first', 'capturing'), (4, :'first', 'unknown'), (5, :'first', 'closing')) AS v (n, trade_no, to_state), LATERAL pay_transition(v.trade_no, v.to_state) AS t ORDER BY n;
SELECT boundary_test.try(format('SELECT decision FROM pay_transition(%L, %L)', :'second', 'capturing'));
CREATE FUNCTION boundary_test.import(order_no text, state text, states text[], history text) RETURNS text LANGUAGE sql AS $$
	SELECT outcome || coalesce(': ' || reason, '') FROM pay_import(jsonb_build_array(jsonb_build_object('merchant', 'boundary', 'order_no', order_no, 'amount', 100, 'currency', 'CNY', 'state', state, 'multi', true, 'created_at', '2026-01-01 00:00Z',
		'attempts', (SELECT jsonb_agg(jsonb_build_object('channel', 'test', 'method', 'test', 'state', s) ORDER BY n) FROM unnest(states) WITH ORDINALITY AS a (s, n)),
		'history', (SELECT jsonb_agg(jsonb_build_object('attempt', split_part(h, ' ', 1)::integer, 'state', split_part(h, ' ', 2)) ORDER BY n) FROM unnest(string_to_array(history, ', ')) WITH ORDINALITY AS t (h, n)))))
$$;
SELECT boundary_test.import('K2', 'capturing', '{closing,capturing}', '1 paying, 2 paying, 1 authorized, 2 authorized, 1 capturing, 1 unknown, 1 closing, 2 capturing');
SELECT boundary_test.import('K3', 'capturing', '{unknown,capturing}', '1 paying, 2 paying, 1 authorized, 2 authorized, 1 capturing, 1 unknown, 2 capturing');
SELECT boundary_test.import('K4', 'paid', '{paid,capturing}', '1 paying, 2 paying, 1 authorized, 2 authorized, 1 capturing, 1 paid, 2 capturing');
-- One that was never captured may be voided while the other one is.
SELECT boundary_test.import('K5', 'capturing', '{closing,capturing}', '1 paying, 2 paying, 1 authorized, 2 authorized, 1 closing, 2 capturing');

DROP SCHEMA boundary_test CASCADE;
