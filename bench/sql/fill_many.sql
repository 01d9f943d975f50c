/*
 * Many paid payments, in a variant's table :table: payments, attempts or events, as
 * :what says, so that the three can be filled at once. A payment's number says when it
 * was made, as everybody's does; order, request, message and transaction numbers are
 * random (a hash of n, the same in all tables and for everybody). Tasks are gone,
 * as they are when a worker has found nothing to do.
 */
\set paid '''P'''
\set paying '''p'''
\set created '''c'''
\set proceed '''p'''
\set applied '''a'''
\set route '''000'''
\if :ours
	\set paid '''paid'''
	\set paying '''paying'''
	\set created '''created'''
	\set proceed '''proceed'''
	\set applied '''applied'''
	\set route '''002'''
\endif

-- 12 digits of the time, then a counter: in this order they sort
CREATE FUNCTION pg_temp.number(n bigint, route text, attempt integer) RETURNS uuid
	LANGUAGE sql IMMUTABLE
	RETURN (lpad(to_hex(1767225600000 + n), 12, '0') || '8' || route || to_hex(128 + attempt) || lpad(to_hex(n), 14, '0'))::uuid;
CREATE FUNCTION pg_temp.random_number(n bigint, kind bigint) RETURNS bigint
	LANGUAGE sql IMMUTABLE
	RETURN 1000000000000000000 + (hashint8extended(n, kind) & 9223372036854775807) % 8000000000000000000;

SELECT :'what' = 'payment' AS payment, :'what' = 'attempt' AS attempt, :'what' = 'event' AS event \gset
\if :payment
	INSERT INTO :table (pay_no, amount, amount_collected, last_seq, winner, state, currency, order_no, routes)
	SELECT pg_temp.number(n, '000', 0), 1000 + n, 1000 + n, 2, 1, :paid, 'CNY', pg_temp.random_number(n, 1), '{2}'
	FROM generate_series(1, :payments) n;
\elif :attempt
	INSERT INTO :table (trade_no, pay_no, amount, amount_collected, attempt, route, state, request_id, channel_txn)
	SELECT pg_temp.number(n, :route, 1), pg_temp.number(n, '000', 0), 1000 + n, 1000 + n, 1, 2, :paid,
		pg_temp.random_number(n, 2), pg_temp.random_number(n, 3)
	FROM generate_series(1, :payments) n;
\elif :event
	-- both events of a payment, one after the other, as they come
	INSERT INTO :table (pay_no, occurred_at, amount, seq, attempt, reported, decision, payment_before, payment_after,
		attempt_before, attempt_after, source, message_id, currency, channel_txn, payload)
	SELECT pg_temp.number(n, '000', 0), CASE WHEN seq = 2 THEN now() END, 1000 + n, seq, 1, CASE WHEN seq = 2 THEN :paid END,
		CASE WHEN seq = 1 THEN :proceed ELSE :applied END, CASE WHEN seq = 1 THEN :created ELSE :paying END,
		CASE WHEN seq = 1 THEN :paying ELSE :paid END, CASE WHEN seq = 2 THEN :paying END,
		CASE WHEN seq = 1 THEN :paying ELSE :paid END, CASE WHEN seq = 1 THEN 'prepay' ELSE 'callback:test' END,
		CASE WHEN seq = 2 THEN pg_temp.random_number(n, 4)::text END, 'CNY', CASE WHEN seq = 2 THEN pg_temp.random_number(n, 3)::text END,
		CASE WHEN seq = 2 THEN :'payload'::jsonb END
	FROM generate_series(1, :payments) n, generate_series(1, 2) seq;
\endif
