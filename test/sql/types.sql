-- pay_state, pay_decision and pay_refund_state: closed sets of labels, one byte on disk, that
-- compare, index and cast as an application expects, whatever the search_path.

\i test/sql/include/begin.sql
CREATE SCHEMA types_test;
SET client_min_messages = warning;

-- ---- the labels and their frozen bytes ----

-- The byte is on disk: a label never gets another one. It is found by its hash,
-- which is core's hash of "char".
CREATE TABLE types_test.label (type text, byte integer, label text);
INSERT INTO types_test.label VALUES
	('pay_state', 1, 'created'), ('pay_state', 2, 'paying'), ('pay_state', 3, 'authorized'),
	('pay_state', 4, 'capturing'), ('pay_state', 5, 'unknown'), ('pay_state', 6, 'closing'),
	('pay_state', 7, 'failed'), ('pay_state', 8, 'paid'), ('pay_state', 9, 'closed'),
	('pay_state', 10, 'reversed'),
	('pay_decision', 1, 'proceed'), ('pay_decision', 2, 'replayed'), ('pay_decision', 3, 'in_progress'),
	('pay_decision', 4, 'already_paid'), ('pay_decision', 5, 'unknown'), ('pay_decision', 6, 'confirm'),
	('pay_decision', 7, 'throttled'), ('pay_decision', 8, 'unavailable'), ('pay_decision', 9, 'closed'),
	('pay_decision', 10, 'applied'), ('pay_decision', 11, 'unchanged'), ('pay_decision', 12, 'stale'),
	('pay_decision', 13, 'surplus'), ('pay_decision', 14, 'mismatch'), ('pay_decision', 15, 'unmatched'),
	('pay_refund_state', 1, 'requested'), ('pay_refund_state', 2, 'processing'), ('pay_refund_state', 3, 'succeeded'),
	('pay_refund_state', 4, 'failed'), ('pay_refund_state', 5, 'abnormal'), ('pay_refund_state', 6, 'unknown'),
	('pay_refund_state', 7, 'cancelled');

SELECT label, label::pay_state::text = label AS goes_round,
	pay_state_hash(label::pay_state) = hashchar(byte::"char") AS byte_is_frozen
FROM types_test.label WHERE type = 'pay_state' ORDER BY byte;
SELECT label, label::pay_decision::text = label AS goes_round,
	pay_decision_hash(label::pay_decision) = hashchar(byte::"char") AS byte_is_frozen
FROM types_test.label WHERE type = 'pay_decision' ORDER BY byte;
SELECT label, label::pay_refund_state::text = label AS goes_round,
	pay_refund_state_hash(label::pay_refund_state) = hashchar(byte::"char") AS byte_is_frozen
FROM types_test.label WHERE type = 'pay_refund_state' ORDER BY byte;

SELECT typname, typlen, typbyval, typalign FROM pg_type
WHERE typname IN ('pay_state', 'pay_decision', 'pay_refund_state') ORDER BY typname;

-- What is not in the set is refused.
SELECT test.try(format('SELECT %L::pay_state', label))
FROM (VALUES ('refunded'), ('PAID'), (''), (' paid'), ('paid '), ('pai'), ('paidx'), ('proceed')) AS bad (label);
SELECT test.try(format('SELECT %L::pay_decision', label))
FROM (VALUES ('paid'), ('PROCEED'), (''), ('proceed ')) AS bad (label);
SELECT test.try(format('SELECT %L::pay_refund_state', label))
FROM (VALUES ('paid'), ('FAILED'), (''), ('failed '), ('success')) AS bad (label);

-- ---- operators: all pairs, in the order of the bytes ----

SELECT a.type, count(*) AS pairs, count(*) FILTER (WHERE NOT (
		(a.label::pay_state < b.label::pay_state) = (a.byte < b.byte)
		AND (a.label::pay_state <= b.label::pay_state) = (a.byte <= b.byte)
		AND (a.label::pay_state = b.label::pay_state) = (a.byte = b.byte)
		AND (a.label::pay_state <> b.label::pay_state) = (a.byte <> b.byte)
		AND (a.label::pay_state >= b.label::pay_state) = (a.byte >= b.byte)
		AND (a.label::pay_state > b.label::pay_state) = (a.byte > b.byte)
		AND sign(pay_state_cmp(a.label::pay_state, b.label::pay_state)) = sign(a.byte - b.byte))) AS wrong
FROM types_test.label a JOIN types_test.label b USING (type) WHERE type = 'pay_state' GROUP BY 1;
SELECT a.type, count(*) AS pairs, count(*) FILTER (WHERE NOT (
		(a.label::pay_decision < b.label::pay_decision) = (a.byte < b.byte)
		AND (a.label::pay_decision <= b.label::pay_decision) = (a.byte <= b.byte)
		AND (a.label::pay_decision = b.label::pay_decision) = (a.byte = b.byte)
		AND (a.label::pay_decision <> b.label::pay_decision) = (a.byte <> b.byte)
		AND (a.label::pay_decision >= b.label::pay_decision) = (a.byte >= b.byte)
		AND (a.label::pay_decision > b.label::pay_decision) = (a.byte > b.byte)
		AND sign(pay_decision_cmp(a.label::pay_decision, b.label::pay_decision)) = sign(a.byte - b.byte))) AS wrong
FROM types_test.label a JOIN types_test.label b USING (type) WHERE type = 'pay_decision' GROUP BY 1;
SELECT a.type, count(*) AS pairs, count(*) FILTER (WHERE NOT (
		(a.label::pay_refund_state < b.label::pay_refund_state) = (a.byte < b.byte)
		AND (a.label::pay_refund_state <= b.label::pay_refund_state) = (a.byte <= b.byte)
		AND (a.label::pay_refund_state = b.label::pay_refund_state) = (a.byte = b.byte)
		AND (a.label::pay_refund_state <> b.label::pay_refund_state) = (a.byte <> b.byte)
		AND (a.label::pay_refund_state >= b.label::pay_refund_state) = (a.byte >= b.byte)
		AND (a.label::pay_refund_state > b.label::pay_refund_state) = (a.byte > b.byte)
		AND sign(pay_refund_state_cmp(a.label::pay_refund_state, b.label::pay_refund_state)) = sign(a.byte - b.byte))) AS wrong
FROM types_test.label a JOIN types_test.label b USING (type) WHERE type = 'pay_refund_state' GROUP BY 1;
SELECT count(DISTINCT pay_state_hash(label::pay_state)) AS hashes,
	count(DISTINCT pay_state_hash_extended(label::pay_state, 1)) AS extended
FROM types_test.label WHERE type = 'pay_state';

-- ---- a table of orders, as an application has one ----

CREATE TABLE types_test.orders (id integer PRIMARY KEY, state pay_state, decision pay_decision);
INSERT INTO types_test.orders
SELECT n, s.label::pay_state, d.label::pay_decision
FROM generate_series(1, 600) AS n
	JOIN types_test.label s ON s.type = 'pay_state' AND s.byte = 1 + n % 10
	JOIN types_test.label d ON d.type = 'pay_decision' AND d.byte = 1 + n % 15;
CREATE INDEX orders_state_idx ON types_test.orders (state);
CREATE INDEX orders_decision_idx ON types_test.orders USING hash (decision);
ANALYZE types_test.orders;

SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_indexonlyscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM types_test.orders WHERE state = 'paid';
EXPLAIN (COSTS OFF) SELECT * FROM types_test.orders WHERE state IN ('paid', 'failed');
EXPLAIN (COSTS OFF) SELECT * FROM types_test.orders WHERE state >= 'paid' ORDER BY state;
EXPLAIN (COSTS OFF) SELECT * FROM types_test.orders WHERE decision = 'proceed';
SELECT count(*) FROM types_test.orders WHERE state = 'paid';
SELECT count(*) FROM types_test.orders WHERE state IN ('paid', 'failed');
SELECT count(*) FROM types_test.orders WHERE state >= 'paid';
SELECT count(*) FROM types_test.orders WHERE decision = 'proceed';
-- Joins by merge and by hash, groups by hash and by sort.
SET enable_nestloop = off;
SET enable_hashjoin = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM types_test.orders a JOIN types_test.orders b USING (state);
SELECT count(*) FROM types_test.orders a JOIN types_test.orders b USING (state);
RESET enable_hashjoin;
RESET enable_sort;
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_indexonlyscan;
SET enable_mergejoin = off;
SELECT count(*) FROM types_test.orders a JOIN types_test.orders b USING (state);
RESET enable_mergejoin;
RESET enable_nestloop;
SET enable_hashagg = off;
SELECT state, count(*) FROM types_test.orders GROUP BY state ORDER BY state;
RESET enable_hashagg;
SET enable_sort = off;
SELECT count(*) FROM (SELECT DISTINCT decision FROM types_test.orders) AS d;
RESET enable_sort;

-- ---- how applications write it, with our schema on the search_path and without ----

-- Each is a way to ask for the paid orders, 60 of 600.
CREATE TABLE types_test.way (way text);
INSERT INTO types_test.way VALUES
	($$state = 'paid'$$),
	($$'paid' = state$$),
	($$state = 'paid'::text$$),
	($$state = 'paid'::varchar$$),
	($$state = 'paid'::varchar(10)$$),
	($$state::text = 'paid'$$),
	($$NOT state <> 'paid'$$),
	($$state IN ('paid')$$),
	($$state IN ('paid', 'nonsense'::text)$$),
	($$state IN (SELECT 'paid')$$),
	($$state IN (SELECT 'paid'::public.pay_state)$$),
	($$state = ANY ('{paid}')$$),
	($$state = ANY ('{paid,nonsense}'::text[])$$),
	($$state = ANY (ARRAY['paid'::varchar])$$),
	($$state IS NOT DISTINCT FROM 'paid'$$),
	($$state = (SELECT 'paid'::public.pay_state)$$),
	($$CASE state WHEN 'paid' THEN true ELSE false END$$),
	($$CASE WHEN state = 'paid' THEN state ELSE 'failed' END = 'paid'$$),
	($$nullif(state, 'paid') IS NULL$$),
	($$coalesce(state, 'failed') = 'paid'$$),
	($$state LIKE 'pai%'$$),
	($$state ~ '^paid$'$$),
	($$upper(state) = 'PAID'$$),
	($$length(state) = 4$$),
	($$substr(state, 1, 3) = 'pai'$$),
	($$'is ' || state = 'is paid'$$),
	($$state || '!' = 'paid!'$$),
	($$concat(state, '!') = 'paid!'$$),
	($$format('%s', state) = 'paid'$$),
	($$to_jsonb(state) = '"paid"'$$),
	($$jsonb_build_object('state', state) ->> 'state' = 'paid'$$),
	($$ARRAY[state] = ARRAY['paid'::public.pay_state]$$),
	($$ARRAY[state] = '{paid}'::public.pay_state[]$$),
	($$ARRAY[state] <@ '{paid}'::public.pay_state[]$$),
	($$public.pay_is_final(state) AND state NOT IN ('closed', 'reversed')$$),
	($$'paid' = ANY (ARRAY[state]::text[])$$);
SELECT count(*) AS ways FROM types_test.way;
CREATE FUNCTION types_test.wrong_ways() RETURNS TABLE (way text, answer text) LANGUAGE sql AS $$
	SELECT way, answer
	FROM (SELECT way, test.try('SELECT count(*) FROM types_test.orders WHERE ' || way) AS answer
		FROM types_test.way) AS tried
	WHERE answer <> '60'
$$;
SELECT * FROM types_test.wrong_ways();
SET search_path = pg_catalog;
SELECT * FROM types_test.wrong_ways();
SELECT test.try($$SELECT 'paid'::pay_state$$);
SELECT 'paid'::public.pay_state;

-- Parameters: of no type, text and varchar; a driver sends one of these.
PREPARE untyped AS SELECT count(*) FROM types_test.orders WHERE state = $1;
PREPARE as_text(text) AS SELECT count(*) FROM types_test.orders WHERE state = $1;
PREPARE as_varchar(varchar) AS SELECT count(*) FROM types_test.orders WHERE state IN ($1, 'failed');
PREPARE as_list(text[]) AS SELECT count(*) FROM types_test.orders WHERE state = ANY ($1);
EXECUTE untyped('paid');
EXECUTE as_text('paid');
EXECUTE as_varchar('paid');
EXECUTE as_list('{paid,failed}');
PREPARE stored(text, varchar) AS
	UPDATE types_test.orders SET state = $1, decision = $2 WHERE id = 1 RETURNING state, decision;
EXECUTE stored('closed', 'applied');
RESET search_path;
EXECUTE untyped('paid');
EXECUTE as_text('paid');
EXECUTE as_varchar('paid');
EXECUTE as_list('{paid,failed}');
EXECUTE stored('closing', 'stale');
DEALLOCATE ALL;

-- A refund's state in a table of refunds, all of the same: by index, IN, a parameter, and whatever the search_path.
CREATE TABLE types_test.refunds (id integer PRIMARY KEY, state pay_refund_state NOT NULL DEFAULT 'requested');
INSERT INTO types_test.refunds
SELECT n, s.label::pay_refund_state FROM generate_series(1, 700) AS n
	JOIN types_test.label s ON s.type = 'pay_refund_state' AND s.byte = 1 + n % 7;
CREATE INDEX refunds_state_idx ON types_test.refunds (state);
ANALYZE types_test.refunds;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM types_test.refunds WHERE state IN ('requested', 'unknown');
DROP INDEX types_test.refunds_state_idx;
CREATE INDEX refunds_state_idx ON types_test.refunds USING hash (state);
EXPLAIN (COSTS OFF) SELECT * FROM types_test.refunds WHERE state = 'unknown';
SET search_path = pg_catalog;
PREPARE of_refunds(text) AS SELECT count(*) FROM types_test.refunds WHERE state = $1;
EXECUTE of_refunds('succeeded');
SELECT count(*) FROM types_test.refunds WHERE state NOT IN ('failed', 'cancelled') AND state <> 'succeeded'::text;
UPDATE types_test.refunds SET state = lower('ABNORMAL') WHERE id = 1 RETURNING state;
SELECT array_agg(DISTINCT state ORDER BY state) FROM types_test.refunds;
RESET search_path;
RESET enable_seqscan;
RESET enable_bitmapscan;
DEALLOCATE ALL;
-- One type's label in another's column is as text is there: a label of that one, or refused.
SELECT test.try($$UPDATE types_test.refunds SET state = 'unknown'::pay_state WHERE id = 1$$) AS of_both,
	test.sqlstate($$UPDATE types_test.refunds SET state = 'paid'::pay_state WHERE id = 1$$) AS of_one;

-- Text goes into a column by assignment, not by accident into a function.
INSERT INTO types_test.orders (id, state) VALUES (601, lower('PAID')) RETURNING state;
INSERT INTO types_test.orders (id, state) VALUES (602, 'nonsense');
INSERT INTO types_test.orders (id, state) VALUES (602, lower('NONSENSE'));
SELECT test.sqlstate($$SELECT pay_state_eq('paid'::text, 'paid'::text)$$);

-- Arrays, rows and JSON.
SELECT array_agg(DISTINCT state ORDER BY state) FROM types_test.orders;
SELECT state FROM unnest('{paid,closed,NULL}'::pay_state[]) AS u (state);
SELECT array_position('{paid,closed}'::pay_state[], 'closed');
SELECT * FROM jsonb_populate_record(NULL::types_test.orders, '{"id": 1, "state": "paid", "decision": "surplus"}');
SELECT row_to_json(o) FROM types_test.orders o WHERE id = 601;

-- ---- binary: the label, as an enum sends it ----

SELECT pay_state_send('paid') = 'paid'::bytea AS state, pay_decision_send('in_progress') = 'in_progress'::bytea AS decision,
	pay_refund_state_send('abnormal') = 'abnormal'::bytea AS refund_state;
SELECT count(*) AS labels, count(*) FILTER (WHERE sent <> convert_to(label, 'UTF8')) AS wrong
FROM (SELECT label, CASE type WHEN 'pay_state' THEN pay_state_send(label::text::pay_state) END AS sent
	FROM types_test.label WHERE type = 'pay_state'
	UNION ALL SELECT label, pay_decision_send(label::text::pay_decision)
	FROM types_test.label WHERE type = 'pay_decision'
	UNION ALL SELECT label, pay_refund_state_send(label::text::pay_refund_state)
	FROM types_test.label WHERE type = 'pay_refund_state') AS s;

-- A whole table out and in again, NULLs too.
CREATE TABLE types_test.copied (LIKE types_test.orders);
DO $$
DECLARE
	file CONSTANT text := current_setting('data_directory') || '/types_test.copy';
BEGIN
	EXECUTE format('COPY types_test.orders TO %L (FORMAT binary)', file);
	EXECUTE format('COPY types_test.copied FROM %L (FORMAT binary)', file);
	EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', format('cat >/dev/null; rm "%s"', file));
END
$$;
SELECT count(*) AS copied, (SELECT count(*) FROM (
	(TABLE types_test.orders EXCEPT TABLE types_test.copied)
	UNION ALL (TABLE types_test.copied EXCEPT TABLE types_test.orders)) AS d) AS different
FROM types_test.copied;

-- Feeds bytes to a receive function: a binary COPY of one field, written by hand.
CREATE TABLE types_test.received (pay_state pay_state, pay_decision pay_decision, pay_refund_state pay_refund_state);
CREATE FUNCTION types_test.receive(type text, field bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	copy CONSTANT bytea := '\x5047434f50590aff0d0a00' || '\x0000000000000000'::bytea
		|| '\x0001' || int4send(length(field)) || field || '\xffff';
	answer text;
BEGIN
	TRUNCATE types_test.received;
	answer := test.try(format('COPY types_test.received (%I) FROM PROGRAM %L (FORMAT binary)', type,
		(SELECT 'printf ''' || string_agg('\'
				|| get_byte(copy, i) / 64 || get_byte(copy, i) / 8 % 8 || get_byte(copy, i) % 8, '' ORDER BY i) || ''''
			FROM generate_series(0, length(copy) - 1) AS i)));
	RETURN CASE WHEN answer = 'rows: 1'
		THEN (SELECT coalesce(r.pay_state::text, r.pay_decision::text, r.pay_refund_state::text) FROM types_test.received r)
		ELSE answer END;
END
$$;

SELECT count(*) AS labels, count(*) FILTER (WHERE types_test.receive(type, label::bytea) <> label) AS wrong
FROM types_test.label;

-- Empty, cut off, longer, another case, a raw byte, far too long. (What is no text in
-- the database's encoding: see encodings.)
SELECT type, what, left(replace(types_test.receive(type, field), getdatabaseencoding(), 'its own'), 90) AS answer
FROM (VALUES ('pay_state'), ('pay_decision'), ('pay_refund_state')) AS t (type), (VALUES
	(1, 'empty', ''::bytea),
	(2, 'cut off', 'pai'),
	(3, 'cut off', 'procee'),
	(4, 'longer', 'paidx'),
	(5, 'longer', 'proceeding'),
	(6, 'another case', 'Paid'),
	(7, 'the byte on disk', '\x08'),
	(8, 'a zero', '\x00'),
	(9, 'label and a zero', 'paid'::bytea || '\x00'),
	(10, '20000 bytes', convert_to(repeat('paid', 5000), 'UTF8'))) AS f (n, what, field)
ORDER BY type, n;
SELECT count(*) AS left_behind FROM types_test.received;

DROP SCHEMA types_test CASCADE;
