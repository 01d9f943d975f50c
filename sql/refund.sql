
-- Money that goes back.

CREATE TYPE pay_refund_result AS (
	decision text,
	refund_no text,
	pay_no text,
	trade_no text,
	state text,
	amount bigint,
	currency text,
	refundable bigint,
	detail text
);
COMMENT ON TYPE pay_refund_result IS 'answer of every refund function; read it with SELECT ... FROM pay_refund(...)';
COMMENT ON COLUMN pay_refund_result.decision IS 'what was decided, a pay_decision label; it says what the caller does next';
COMMENT ON COLUMN pay_refund_result.refund_no IS 'what the channel gets as merchant refund number';
COMMENT ON COLUMN pay_refund_result.trade_no IS 'the attempt whose money goes back, 32 hex digits';
COMMENT ON COLUMN pay_refund_result.state IS 'the refund''s state, a pay_refund_state label; NULL if there is no such refund';
COMMENT ON COLUMN pay_refund_result.amount IS 'the refund''s amount in minor units of the currency';
COMMENT ON COLUMN pay_refund_result.currency IS 'ISO 4217 code';
COMMENT ON COLUMN pay_refund_result.refundable IS 'what of this attempt''s money can still be refunded, in minor units';
COMMENT ON COLUMN pay_refund_result.detail IS 'for people: why it was decided so. Do not parse it';

CREATE FUNCTION pay_refund(trade_no text, refund_no text, amount bigint, reason text,
	currency text DEFAULT NULL, confirm boolean DEFAULT false) RETURNS pay_refund_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_refund(text, text, bigint, text, text, boolean) IS
	'reserves money of a paid attempt (the payment''s number means its winner) to go back: proceed (commit, then ask the channel), replayed (this refund is under way or done), or confirm (another number was given for the same amount and reason a moment ago; nothing was written). After failed the same refund_no tries again. Amount in minor units. PY400, PY404, PY409 not paid or more than is refundable, PY422 same refund_no with other content';

CREATE FUNCTION pay_refund_transition(refund_no text, to_state text, reason text DEFAULT NULL,
	channel_txn text DEFAULT NULL, merchant text DEFAULT '') RETURNS pay_refund_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_refund_transition(text, text, text, text, text) IS
	'the caller''s own step of a refund: applied, unchanged, or mismatch (it succeeded by another transaction, or its transaction is another refund''s). PY400, PY404 no such refund, PY409 illegal step, or money that is no longer refundable';

CREATE FUNCTION pay_refund_callback(channel text, callback_id text, refund_no text, reported text,
	amount bigint DEFAULT NULL, currency text DEFAULT NULL, trade_no text DEFAULT NULL,
	channel_txn text DEFAULT NULL, occurred_at timestamptz DEFAULT NULL, payload jsonb DEFAULT NULL,
	kind text DEFAULT 'refund', merchant text DEFAULT '') RETURNS pay_refund_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_refund_callback(text, text, text, text, bigint, text, text, text, timestamptz, jsonb, text, text) IS
	'a channel''s report about a refund or a chargeback (kind): applied, unchanged, replayed, stale, mismatch, or unmatched (answer the channel "not OK"). callback_id NULL is a query''s answer. One that is not known here, but whose trade_no is, is adopted. PY400 arguments that mean nothing';
