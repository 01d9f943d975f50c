
-- Due work for workers.

CREATE FUNCTION pay_claim(worker text, max_tasks integer, lease interval, actions text[] DEFAULT NULL,
	OUT action text, OUT trade_no text, OUT refund_no text, OUT resource text,
	OUT pay_no text, OUT merchant text, OUT order_no text, OUT state text,
	OUT channel text, OUT method text, OUT amount bigint, OUT currency text, OUT quantity bigint,
	OUT channel_txn text, OUT tries integer, OUT lease_until timestamptz, OUT kind text)
	RETURNS SETOF record
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_claim(text, integer, interval, text[]) IS
	'hands out due tasks, the longest due first, to one worker for the time of the lease: query, close, void, submit_refund, query_refund, confirm_hold, release_hold. The worker does them at the channel and reports; what is not reported when the lease is over is handed out again. Never waits for a lock. PY400';

CREATE FUNCTION pay_adopt_database(reason text) RETURNS boolean
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_adopt_database(text) IS
	'lets pay_claim() hand out tasks in this cluster, after a dump from another one was restored here: true, or false if it did already. Only where the original is stopped: two that send refund twice. PY400';
