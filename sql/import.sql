
-- Another system's payments.

CREATE FUNCTION pay_import(payments jsonb, OUT n integer, OUT merchant text, OUT order_no text, OUT outcome text,
	OUT pay_no text, OUT trade_nos text[], OUT reason text)
	RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_import(jsonb) IS
	'payments of another system, with their attempts, refunds and history: a JSON array of objects, 10,000 at most. A row for each, in their order: imported (with the numbers it has here), unchanged (it is here already, the same), or refused and why. Safe to repeat. PY400 no array, or too long';
