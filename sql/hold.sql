
-- What an order reserves besides money.

CREATE TYPE pay_hold_result AS (
	decision text,
	pay_no text,
	resource text,
	state text,
	quantity bigint,
	detail text
);
COMMENT ON TYPE pay_hold_result IS 'answer of pay_hold_done(); read it with SELECT ... FROM pay_hold_done(...)';
COMMENT ON COLUMN pay_hold_result.decision IS 'applied, unchanged (known already), or closed: it was cancelled, the participant must give it back at once';
COMMENT ON COLUMN pay_hold_result.resource IS 'what is held, as named in holds';
COMMENT ON COLUMN pay_hold_result.state IS 'held, confirming, confirmed, releasing or released';
COMMENT ON COLUMN pay_hold_result.quantity IS 'how much of it';
COMMENT ON COLUMN pay_hold_result.detail IS 'for people: why it was decided so. Do not parse it';

CREATE FUNCTION pay_hold_done(trade_no text, resource text, done text) RETURNS pay_hold_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_hold_done(text, text, text) IS
	'an external participant has tried, confirmed or released what a payment holds: applied, unchanged, or closed (a try after the cancel: give it back). Repeats are safe. PY400, PY404, PY409 it was not asked to';
