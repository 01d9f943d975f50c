
-- Many callbacks at once.

CREATE FUNCTION pay_callbacks(messages jsonb, OUT n integer,
	OUT decision text, OUT pay_no text, OUT trade_no text, OUT merchant text, OUT order_no text, OUT state text,
	OUT attempt integer, OUT attempt_state text, OUT channel text, OUT method text, OUT amount bigint, OUT currency text,
	OUT credential text, OUT credential_expires_at timestamptz, OUT refundable bigint,
	OUT refund_no text, OUT other_order_no text, OUT detail text)
	RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_callbacks(jsonb) IS
	'many channel reports in one call: a JSON array of objects with the arguments of pay_callback(), 10,000 at most. A row for each, in their order: its number n and what pay_callback() would answer. All or nothing; two batches never deadlock. PY400, naming the message, for one that means nothing';

CREATE FUNCTION pay_refund_callbacks(messages jsonb, OUT n integer,
	OUT decision text, OUT refund_no text, OUT pay_no text, OUT trade_no text, OUT state text,
	OUT amount bigint, OUT currency text, OUT refundable bigint, OUT detail text)
	RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_refund_callbacks(jsonb) IS
	'many channel reports about refunds in one call: a JSON array of objects with the arguments of pay_refund_callback(), 10,000 at most. A row for each, in their order: its number n and what pay_refund_callback() would answer. All or nothing; two batches never deadlock. PY400, naming the message, for one that means nothing';
