
-- The shop gives an order up.

CREATE FUNCTION pay_close(order_no text, merchant text DEFAULT '', reason text DEFAULT NULL) RETURNS pay_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_close(text, text, text) IS
	'the shop gives the order up: applied (closed; or closing, where an attempt is open, which a worker closes at the channel), unchanged (it is closing already), closed (it is over), already_paid (refund it instead) or in_progress (its money is being captured: wait for the outcome). PY400, PY404 no such order';
