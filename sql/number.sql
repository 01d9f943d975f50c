
-- The numbers: what can be read off a pay_no, a trade_no or an order.

CREATE FUNCTION pay_shard(order_no text, merchant text DEFAULT '') RETURNS integer
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_shard(text, text) IS
	'shard of an order, 0 to 4095: the first 12 bits of SHA-256(merchant, 0x1F, order_no) in UTF-8';

CREATE FUNCTION pay_shard_of(trade_no text) RETURNS integer
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_shard_of(text) IS 'shard, 0 to 4095, of the order that this number belongs to; PY404 if it is no number of ours';

CREATE FUNCTION pay_time(trade_no text) RETURNS timestamptz
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_time(text) IS 'when the payment of this number was made, to the millisecond; PY404 if it is no number of ours';

CREATE FUNCTION pay_attempt_of(trade_no text) RETURNS integer
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_attempt_of(text) IS
	'which attempt of its payment this number is, 1 to 63; 0 for a payment''s own number; PY404 if it is no number of ours';

CREATE FUNCTION pay_channel_of(trade_no text) RETURNS text
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_channel_of(text) IS
	'channel that an attempt''s number was made for, by its route in pay_channel; NULL for a payment''s own number or an unknown route; PY404 if it is no number of ours';

CREATE FUNCTION pay_number(trade_no text) RETURNS uuid
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_number(text) IS
	'a trade_no or pay_no as the tables keep it, for joins: WHERE a.trade_no = pay_number($1). Any spelling that uuid takes; NULL if it is no number of ours';

CREATE FUNCTION pay_trade_nos(pay_no uuid, routes smallint[]) RETURNS uuid[]
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_trade_nos(uuid, smallint[]) IS
	'the numbers of a payment''s attempts, in their order, from its own number and pay_payment.routes: for joins, WHERE trade_no = ANY (pay_trade_nos(pay_no, routes))';
