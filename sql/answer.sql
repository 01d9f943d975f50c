
-- What a call answers.

CREATE TYPE pay_result AS (
	decision text,
	pay_no text,
	trade_no text,
	merchant text,
	order_no text,
	state text,
	attempt integer,
	attempt_state text,
	channel text,
	method text,
	amount bigint,
	currency text,
	credential text,
	credential_expires_at timestamptz,
	refundable bigint,
	refund_no text,
	other_order_no text,
	detail text
);
COMMENT ON TYPE pay_result IS 'answer of every payment function; read it with SELECT ... FROM pay_prepay(...)';
COMMENT ON COLUMN pay_result.decision IS 'what was decided, a pay_decision label; it says what the caller does next';
COMMENT ON COLUMN pay_result.pay_no IS 'the payment''s number, 32 hex digits; NULL if there is no such payment';
COMMENT ON COLUMN pay_result.trade_no IS 'the attempt''s number, 32 hex digits: what the channel gets as merchant order number';
COMMENT ON COLUMN pay_result.state IS 'the payment''s state';
COMMENT ON COLUMN pay_result.attempt IS 'number of the attempt within its payment, from 1';
COMMENT ON COLUMN pay_result.attempt_state IS 'the attempt''s state';
COMMENT ON COLUMN pay_result.amount IS 'the payment''s amount in minor units of the currency';
COMMENT ON COLUMN pay_result.currency IS 'ISO 4217 code';
COMMENT ON COLUMN pay_result.credential IS 'the channel''s prepay credential while it is alive, else NULL';
COMMENT ON COLUMN pay_result.credential_expires_at IS 'until when the customer can pay with it';
COMMENT ON COLUMN pay_result.refund_no IS 'the refund that this call opened: surplus goes back';
COMMENT ON COLUMN pay_result.other_order_no IS 'another order that the decision names: the successor of a replaced one, the look-alike to confirm, the one that is paid already';
COMMENT ON COLUMN pay_result.refundable IS 'what of the winner''s money can still be refunded, in minor units';
COMMENT ON COLUMN pay_result.detail IS 'for people: why it was decided so. Do not parse it';
