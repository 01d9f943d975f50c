
-- May this order be paid now?

CREATE FUNCTION pay_create(order_no text, amount bigint, currency text, merchant text DEFAULT '',
	payer text DEFAULT NULL, multi boolean DEFAULT NULL, valid_for interval DEFAULT NULL,
	metadata jsonb DEFAULT NULL)
	RETURNS pay_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_create(text, bigint, text, text, text, boolean, interval, jsonb) IS
	'makes the payment of an order without opening an attempt: applied, or unchanged if it is there with the same content. Amount in minor units. PY400 bad argument, PY422 other content';

CREATE FUNCTION pay_prepay(order_no text, amount bigint, currency text, channel text, method text,
	request_id text, merchant text DEFAULT '', payer text DEFAULT NULL, multi boolean DEFAULT NULL,
	valid_for interval DEFAULT NULL, replaces text DEFAULT NULL, confirm boolean DEFAULT false,
	holds text[] DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS pay_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_prepay(text, bigint, text, text, text, text, text, text, boolean, interval, text, boolean, text[], jsonb) IS
	'may this order be paid now, through this channel? proceed: commit, then call the channel with trade_no; else in_progress, already_paid, unknown, confirm, throttled, unavailable, closed. holds: what to reserve with it, coupon:C1 or stock:SKU9#2. replaces: an undecided order that the customer gives up for this one. PY400 bad argument, PY404 no order to replace, PY409 too late to replace one, PY422 same order or request with other content';

CREATE FUNCTION pay_credential(trade_no text, credential text, valid_for interval) RETURNS pay_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_credential(text, text, interval) IS
	'keeps what the channel gave to pay with (prepay_id, client secret, URL) for duplicates to show: applied, replayed, or stale (do not hand it out: the attempt is over). PY400, PY404';

CREATE FUNCTION pay_query(order_no text DEFAULT NULL, merchant text DEFAULT '', trade_no text DEFAULT NULL) RETURNS pay_result
	LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_query(text, text, text) IS
	'where does this order stand? By its number, or by that of the payment or of an attempt. Read only; the decision is what a prepay would now answer (unknown order: proceed with pay_no NULL). PY400, PY404 no such payment, PY422 order and number of two payments';
