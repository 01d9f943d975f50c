
-- What happened at the channel, and what it means here.

CREATE FUNCTION pay_transition(trade_no text, to_state text, reason text DEFAULT NULL,
	amount bigint DEFAULT NULL, currency text DEFAULT NULL, channel_txn text DEFAULT NULL,
	request_id text DEFAULT NULL)
	RETURNS pay_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_transition(text, text, text, bigint, text, text, text) IS
	'the caller''s own step of an attempt, or of a payment and all its attempts: applied, unchanged, replayed; for news of money (paid, authorized) also stale, surplus, mismatch. PY400, PY404, PY409 illegal step';

CREATE FUNCTION pay_callback(channel text, callback_id text, trade_no text, reported text,
	amount bigint DEFAULT NULL, currency text DEFAULT NULL, channel_txn text DEFAULT NULL,
	occurred_at timestamptz DEFAULT NULL, payload jsonb DEFAULT NULL, merchant text DEFAULT NULL)
	RETURNS pay_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_callback(text, text, text, text, bigint, text, text, timestamptz, jsonb, text) IS
	'a channel''s report: applied, unchanged, replayed, stale, surplus, mismatch, or unmatched (answer the channel "not OK"). callback_id NULL is a query''s answer. paid and authorized need amount and currency. merchant: whose keys verified the message; another merchant''s number is unmatched. PY400 arguments that mean nothing';

CREATE FUNCTION pay_review_resolve(review_id bigint, verdict text, reason text) RETURNS pay_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_review_resolve(bigint, text, text) IS
	'a person''s verdict on a review: accept (the money counts as reported), refund (the money arrived and goes back), alias (the transaction is another name of one that is counted), same (the refund is ours, under the channel''s number) or dismiss (nothing follows): applied, or unchanged if resolved so before. PY400, PY404 no such review, PY409 resolved otherwise or not possible';

CREATE FUNCTION pay_history(trade_no text,
	OUT seq integer, OUT recorded_at timestamptz, OUT source text, OUT message_id text,
	OUT attempt integer, OUT reported text, OUT decision text,
	OUT payment_before text, OUT payment_after text, OUT attempt_before text, OUT attempt_after text,
	OUT amount bigint, OUT currency text, OUT channel_txn text, OUT occurred_at timestamptz,
	OUT actor text, OUT session_actor text, OUT reason text, OUT payload jsonb,
	OUT refund_no text, OUT refund_before text, OUT refund_after text)
	RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_history(text) IS
	'everything that happened to one payment, oldest first; takes an attempt''s or the payment''s number. PY404 no such payment';
