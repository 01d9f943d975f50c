/*
 * The same orders for pay_idem, by its own functions and in empty tables.
 */
SET client_min_messages = warning;
DROP VIEW IF EXISTS pay_balance;
DROP TABLE IF EXISTS pay_event, pay_attempt, pay_payment, pay_review, pay_refund, pay_dispute, pay_task, pay_resource, pay_hold,
	pay_channel, pay_grantee;
SELECT pay_install();

SELECT format('SELECT count(*) AS seeded FROM generate_series(%s, %s) n,
		LATERAL pay_prepay(order_no => (1000000000000000000 + n)::text, amount => 1000 + n, currency => ''CNY'',
			channel => ''test'', method => ''card'', request_id => ''request '' || n) p,
		LATERAL pay_callback(channel => ''test'', callback_id => ''message '' || n, trade_no => p.trade_no,
			reported => ''paid'', amount => p.amount, currency => p.currency, channel_txn => ''txn '' || n,
			occurred_at => now(), payload => ''{}'') c
	WHERE (%L OR n %% 2 = 0) AND c.decision = ''applied''',
	first, least(first + 9999, :orders), :'all_paid')
FROM generate_series(1, :orders, 10000) first \gexec

SELECT format('SELECT count(*) AS seeded FROM generate_series(%s, %s) n,
		LATERAL pay_prepay(order_no => (1000000000000000000 + n)::text, amount => 1000 + n, currency => ''CNY'',
			channel => ''test'', method => ''card'', request_id => ''request '' || n) p,
		LATERAL pay_credential(trade_no => p.trade_no, credential => ''credential '' || n, valid_for => ''1 day'') c
	WHERE n %% 2 = 1 AND c.decision = ''applied''',
	first, least(first + 9999, :orders))
FROM generate_series(1, :orders, 10000) first WHERE NOT :'all_paid' \gexec

-- full, so that everybody starts with pages as full as the fillfactor says
VACUUM (FULL, ANALYZE) pay_payment, pay_attempt, pay_event, pay_channel, pay_review, pay_refund, pay_task;
