-- Numbers: what the bits of a pay_no and a trade_no say, read here in plain SQL.

\i test/sql/include/begin.sql
CREATE SCHEMA numbers_test;
SET client_min_messages = warning;

-- A number taken apart by the layout: 48 ms, 4 version, 12 route, 2 variant,
-- 6 attempt, 12 shard, 44 random.
CREATE FUNCTION numbers_test.bits(number uuid) RETURNS bit(128) LANGUAGE sql AS $$
	SELECT ('x' || replace(number::text, '-', ''))::bit(128)
$$;
CREATE FUNCTION numbers_test.parts(number uuid, OUT ms bigint, OUT version integer, OUT route integer,
	OUT variant integer, OUT attempt integer, OUT shard integer, OUT random bigint)
LANGUAGE sql AS $$
	SELECT substring(b FROM 1 FOR 48)::bigint, substring(b FROM 49 FOR 4)::integer,
		substring(b FROM 53 FOR 12)::integer, substring(b FROM 65 FOR 2)::integer,
		substring(b FROM 67 FOR 6)::integer, substring(b FROM 73 FOR 12)::integer,
		substring(b FROM 85 FOR 44)::bigint
	FROM numbers_test.bits(number) AS b
$$;
-- The shard of an order by the manual's words: the first 12 bits of SHA-256.
CREATE FUNCTION numbers_test.shard(merchant text, order_no text) RETURNS integer LANGUAGE sql AS $$
	SELECT ('x' || left(encode(sha256(convert_to(merchant, 'UTF8') || '\x1f'
		|| convert_to(order_no, 'UTF8')), 'hex'), 3))::bit(12)::integer
$$;

-- One order, three attempts through three channels.
SELECT decision, attempt FROM pay_prepay(order_no => 'N1', amount => 100, currency => 'CNY', merchant => 'numbers',
	channel => 'wechat', method => 'jsapi', request_id => 'R1');
SELECT decision FROM pay_transition(trade_no => (SELECT trade_no FROM pay_query('N1', 'numbers')), to_state => 'failed');
SELECT decision, attempt FROM pay_prepay(order_no => 'N1', amount => 100, currency => 'CNY', merchant => 'numbers',
	channel => 'alipay', method => 'page', request_id => 'R2');
SELECT decision FROM pay_transition(trade_no => (SELECT trade_no FROM pay_query('N1', 'numbers')), to_state => 'failed');
SELECT decision, attempt, length(trade_no) AS digits, trade_no ~ '^[0-9a-f]{32}$' AS hex
FROM pay_prepay(order_no => 'N1', amount => 100, currency => 'CNY', merchant => 'numbers',
	channel => 'test', method => 'qr', request_id => 'R3');

-- The payment's own number has route 0 and attempt 0; its attempts say theirs.
SELECT version, variant, n.route, n.attempt, n.shard = numbers_test.shard('numbers', 'N1') AS shard_is_the_orders,
	abs(extract(epoch FROM p.created_at) * 1000 - ms) < 60000 AS made_then
FROM pay_payment p, numbers_test.parts(p.pay_no) AS n WHERE merchant = 'numbers' AND order_no = 'N1';
SELECT a.attempt, c.channel, c.method, version, variant, n.route = a.route AS route_is_the_channels, n.attempt
FROM pay_payment p JOIN pay_attempt a USING (pay_no) JOIN pay_channel c USING (route), numbers_test.parts(a.trade_no) AS n
WHERE p.merchant = 'numbers' AND p.order_no = 'N1' ORDER BY a.attempt;
-- All other bits they share: cut out route and attempt, and one number is left.
SELECT count(*) AS numbers, count(DISTINCT substring(bits FROM 1 FOR 52) || substring(bits FROM 65 FOR 2) || substring(bits FROM 73)) AS without_route_and_attempt
FROM (SELECT numbers_test.bits(pay_no) FROM pay_payment WHERE merchant = 'numbers' AND order_no = 'N1'
	UNION ALL SELECT numbers_test.bits(trade_no) FROM pay_attempt JOIN pay_payment USING (pay_no)
		WHERE merchant = 'numbers' AND order_no = 'N1') AS n (bits);

-- A payment's row alone gives the numbers of its attempts: by them they are found without an index on pay_no.
SELECT pay_trade_nos(pay_no, routes) = (SELECT array_agg(a.trade_no ORDER BY a.attempt) FROM pay_attempt a WHERE a.pay_no = p.pay_no) AS its_attempts
FROM pay_payment p WHERE p.merchant = 'numbers' AND p.order_no = 'N1';
SELECT cardinality(pay_trade_nos(test.number('numbers', 'N2'), array_fill(10::smallint, '{63}'))) AS at_most,
	(pay_trade_nos(test.number('numbers', 'N2'), array_fill(10::smallint, '{63}')))[63] = test.number('numbers', 'N2', 10, 63) AS the_last,
	pay_trade_nos(test.number('numbers', 'N2'), '{}') AS without_attempts, pay_trade_nos(NULL, '{10}') AS of_nobody;

-- ---- shards: of a number and of an order alike ----

SELECT left(order_no, 8) AS order_no, left(merchant, 8) AS merchant, pay_shard(order_no, merchant) AS shard,
	pay_shard(order_no, merchant) = numbers_test.shard(merchant, order_no) AS as_computed
FROM (VALUES ('A1', ''), ('A1', 'shop'), ('shopA1', ''), ('1', 'shopA'),
	(repeat('x', 255), repeat('y', 255))) AS v (order_no, merchant)
ORDER BY length(v.order_no), v.order_no COLLATE "C", v.merchant COLLATE "C";
SELECT pay_shard('A1') = pay_shard('A1', '') AS merchant_defaults_to_none,
	pay_shard(order_no => 'A1', merchant => 'shop') <> pay_shard(order_no => 'shopA1') AS names_do_not_run_together;
SELECT count(*) AS orders, count(*) FILTER (WHERE pay_shard(o, m) <> numbers_test.shard(m, o)) AS wrong,
	min(pay_shard(o, m)) >= 0 AND max(pay_shard(o, m)) <= 4095 AS in_range, count(DISTINCT pay_shard(o, m)) > 800 AS spread
FROM (SELECT 'order ' || n, 'm' || n % 7 FROM generate_series(1, 1000) AS n) AS v (o, m);

-- ---- the readers, with 32 digits, with dashes, in capitals ----

CREATE TEMP TABLE form AS
SELECT what, number
FROM (SELECT a.trade_no, p.pay_no FROM pay_payment p JOIN pay_attempt a USING (pay_no)
		WHERE p.merchant = 'numbers' AND p.order_no = 'N1' AND a.attempt = 2) AS n,
	LATERAL (VALUES
		('attempt, dashes', trade_no::text), ('attempt, digits', replace(trade_no::text, '-', '')),
		('attempt, capitals', upper(trade_no::text)), ('attempt, capital digits', upper(replace(trade_no::text, '-', ''))),
		('payment, dashes', pay_no::text), ('payment, digits', replace(pay_no::text, '-', '')),
		('payment, capitals', upper(pay_no::text))) AS f (what, number);
SELECT what, pay_channel_of(number) AS channel, pay_attempt_of(number) AS attempt,
	pay_shard_of(number) = pay_shard('N1', 'numbers') AS shard,
	pay_time(number) = to_timestamp(ms / 1000.0) AS time, abs(extract(epoch FROM pay_time(number) - now())) < 60 AS lately
FROM form, numbers_test.parts(number::uuid) ORDER BY what;
-- A made-up number of 2026-01-01, route 4095, attempt 63, shard 0xabc.
SELECT pay_time(n) AT TIME ZONE 'UTC' AS time, pay_attempt_of(n) AS attempt, to_hex(pay_shard_of(n)) AS shard,
	pay_channel_of(n) AS channel_of_no_route
FROM (VALUES ('019b76da-a800-8fff-bfab-cfffffffffff')) AS v (n);

-- NULL in, NULL out; what means nothing is PY400, what is no number of ours PY404.
SELECT pay_time(NULL), pay_shard_of(NULL), pay_channel_of(NULL), pay_attempt_of(NULL);
SELECT what, test.sqlstate(format('SELECT pay_time(%L)', number)) AS time,
	test.sqlstate(format('SELECT pay_shard_of(%L)', number)) AS shard,
	test.sqlstate(format('SELECT pay_channel_of(%L)', number)) AS channel,
	test.sqlstate(format('SELECT pay_attempt_of(%L)', number)) AS attempt
FROM (VALUES (1, 'a good one', '019b76da80008001810123456789abcd'), (2, 'empty', ''), (3, 'no hex', 'ABC123'),
	(4, '31 digits', '019b76da80008001810123456789abc'), (5, '33 digits', '019b76da80008001810123456789abcde'),
	(6, 'version 4', '019b76da80004001810123456789abcd'), (7, 'version 7', '019b76da80007001810123456789abcd'),
	(8, 'variant 11', '019b76da80008001c10123456789abcd'), (9, 'variant 00', '019b76da80008001010123456789abcd'),
	(10, 'route without attempt', '019b76da80008001800123456789abcd'),
	(11, 'attempt without route', '019b76da80008000810123456789abcd'),
	(12, 'space before', ' 019b76da80008001810123456789abcd'), (13, 'space after', '019b76da80008001810123456789abcd '),
	(14, 'braces', '{019b76da-8000-8001-8101-23456789abcd}'), (15, 'dashes elsewhere', '019b-76da-8000-8001-8101-2345-6789-abcd'),
	(16, 'dashes misplaced', '019b76d-a8000-8001-8101-23456789abcd'),
	(17, '300 characters', repeat('0', 300)), (18, 'a letter g', '019b76da80008001810123456789abcg')) AS v (n, what, number)
ORDER BY n;
SELECT test.try($$SELECT pay_time('ABC123')$$);

-- ---- numbers sort by time ----

-- Ten orders, a few milliseconds apart: sorted by number they are in the order of their making.
CREATE TEMP TABLE made (n integer, pay_no uuid);
DO $$
BEGIN
	FOR i IN 1..10 LOOP
		INSERT INTO made SELECT i, pay_number(pay_no) FROM pay_create(order_no => 'T' || i, amount => 1, currency => 'CNY', merchant => 'numbers');
		PERFORM pg_sleep(0.003);
	END LOOP;
END
$$;
SELECT array_agg(n ORDER BY pay_no) AS by_number, bool_and(version = 8 AND variant = 2 AND route = 0 AND attempt = 0) AS all_payments,
	count(DISTINCT random) AS different FROM made, numbers_test.parts(pay_no);

DROP SCHEMA numbers_test CASCADE;
