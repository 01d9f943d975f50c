/*
 * The same orders for pay_idem, as seed_rival.sql has them, numbers and all, so that
 * a client knows the primary key of order n. In empty tables. INSERT is no step, so
 * guards let it pass; CHECKs look at every row.
 */
SET client_min_messages = warning;

INSERT INTO pay_payment (pay_no, amount, amount_collected, last_seq, winner, state, currency, order_no, routes)
SELECT ('0000000000008000' || 8000000000000000 + n)::uuid, 1000 + n, CASE WHEN paid THEN 1000 + n ELSE 0 END, 2,
	CASE WHEN paid THEN 1 END, CASE WHEN paid THEN 'paid' ELSE 'paying' END, 'CNY', (1000000000000000000 + n)::text, '{2}'
FROM generate_series(1, :orders) n, LATERAL (SELECT :all_paid OR n % 2 = 0) t (paid);

-- attempt 1 of the number, by route 2
INSERT INTO pay_attempt (trade_no, pay_no, amount, amount_collected, attempt, route, state, request_id, channel_txn,
	credential, credential_expires_at)
SELECT ('0000000000008002' || 8100000000000000 + n)::uuid, ('0000000000008000' || 8000000000000000 + n)::uuid, 1000 + n,
	CASE WHEN paid THEN 1000 + n END, 1, 2, CASE WHEN paid THEN 'paid' ELSE 'paying' END, 'request ' || n,
	CASE WHEN paid THEN 'txn ' || n END, CASE WHEN NOT paid THEN 'credential ' || n END,
	CASE WHEN NOT paid THEN now() + interval '1 day' END
FROM generate_series(1, :orders) n, LATERAL (SELECT :all_paid OR n % 2 = 0) t (paid);

INSERT INTO pay_event (pay_no, amount, seq, attempt, decision, payment_before, payment_after, attempt_after, source, currency)
SELECT pay_no, amount, 1, 1, 'proceed', 'created', 'paying', 'paying', 'prepay', currency
FROM pay_payment;

INSERT INTO pay_event (pay_no, occurred_at, amount, seq, attempt, reported, decision, payment_before, payment_after,
	attempt_before, attempt_after, source, message_id, currency, channel_txn, payload)
SELECT pay_no, now(), amount, 2, 1, 'paid', 'applied', 'paying', 'paid', 'paying', 'paid', 'callback:test',
	'message ' || order_no, currency, 'txn ' || order_no, '{}'
FROM pay_payment WHERE state = 'paid';

-- what is over is in the queue as well, until a worker finds nothing to do
INSERT INTO pay_task (due_at, pay_no, attempt)
SELECT opened_at + interval '15 seconds' * (1 + random() / 5), pay_no, attempt
FROM pay_attempt;

-- full, so that everybody starts with pages as full as the fillfactor says
VACUUM (FULL, ANALYZE) pay_payment, pay_attempt, pay_event, pay_channel, pay_review, pay_refund, pay_task;
