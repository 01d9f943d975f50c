/*
 * Orders that are there before a run, in a rival's schema: order n has the
 * number 10^18 + n and the amount 1000 + n. With :all_paid every one is paid,
 * else every second; the others are open and have a credential. The payments'
 * numbers are lower than all that come later, as time has it.
 */
SET search_path = :schema;

INSERT INTO payment (pay_no, amount, amount_collected, last_seq, winner, state, currency, order_no, routes)
SELECT ('0000000000008000' || 8000000000000000 + n)::uuid, 1000 + n, CASE WHEN paid THEN 1000 + n ELSE 0 END, 2,
	CASE WHEN paid THEN 1 END, CASE WHEN paid THEN 'P' ELSE 'p' END, 'CNY', (1000000000000000000 + n)::text, '{2}'
FROM generate_series(1, :orders) n, LATERAL (SELECT :all_paid OR n % 2 = 0) t (paid);

-- attempt 1 of the number: byte 8 is 128 in the payment's, 129 in the attempt's
INSERT INTO attempt (trade_no, pay_no, amount, amount_collected, attempt, route, state, request_id, channel_txn,
	credential, credential_expires_at)
SELECT ('0000000000008000' || 8100000000000000 + n)::uuid, ('0000000000008000' || 8000000000000000 + n)::uuid, 1000 + n,
	CASE WHEN paid THEN 1000 + n END, 1, 2, CASE WHEN paid THEN 'P' ELSE 'p' END, 'request ' || n,
	CASE WHEN paid THEN 'txn ' || n END, CASE WHEN NOT paid THEN 'credential ' || n END,
	CASE WHEN NOT paid THEN now() + interval '1 day' END
FROM generate_series(1, :orders) n, LATERAL (SELECT :all_paid OR n % 2 = 0) t (paid);

INSERT INTO event (pay_no, amount, seq, attempt, decision, payment_before, payment_after, attempt_after, source, currency)
SELECT pay_no, amount, 1, 1, 'p', 'c', 'p', 'p', 'prepay', currency
FROM payment;

INSERT INTO event (pay_no, occurred_at, amount, seq, attempt, reported, decision, payment_before, payment_after,
	attempt_before, attempt_after, source, message_id, currency, channel_txn, payload)
SELECT pay_no, now(), amount, 2, 1, 'P', 'a', 'p', 'P', 'p', 'P', 'callback:test', 'message ' || order_no, currency,
	'txn ' || order_no, '{}'
FROM payment WHERE state = 'P';

-- what is over is in the queue as well, until a worker finds nothing to do
INSERT INTO task (due_at, pay_no, attempt)
SELECT opened_at + interval '15 seconds' * (1 + random() / 5), pay_no, attempt
FROM attempt;

-- full, so that everybody starts with pages as full as the fillfactor says
VACUUM (FULL, ANALYZE) payment, attempt, event, channel, review, refund, task;
