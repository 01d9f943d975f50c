
-- A customer says that two orders are one.

CREATE TYPE pay_dispute_result AS (
	decision text,
	dispute_id bigint,
	pay_no text,
	other_pay_no text,
	verdict text,
	refund_no text,
	detail text
);
COMMENT ON TYPE pay_dispute_result IS 'answer of the dispute functions; read it with SELECT ... FROM pay_dispute_open(...)';
COMMENT ON COLUMN pay_dispute_result.decision IS 'applied, or unchanged: it was known already';
COMMENT ON COLUMN pay_dispute_result.dispute_id IS 'the case, for pay_dispute_resolve() and pay_dispute_case()';
COMMENT ON COLUMN pay_dispute_result.pay_no IS 'the payment that is said to be one too many, 32 hex digits';
COMMENT ON COLUMN pay_dispute_result.other_pay_no IS 'the payment that it is said to repeat, 32 hex digits';
COMMENT ON COLUMN pay_dispute_result.verdict IS 'refund, reject, or NULL while it is open';
COMMENT ON COLUMN pay_dispute_result.refund_no IS 'the refund that the verdict opened';
COMMENT ON COLUMN pay_dispute_result.detail IS 'for people: why it was decided so. Do not parse it';

CREATE FUNCTION pay_dispute_open(trade_no text, duplicate_of text, reason text) RETURNS pay_dispute_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_dispute_open(text, text, text) IS
	'opens a case: the first payment is said to repeat the second, of the same merchant: applied, or unchanged if these two are in an open case already. PY400, PY404 no such payment, PY409 of two merchants';

CREATE FUNCTION pay_dispute_resolve(dispute_id bigint, verdict text, reason text) RETURNS pay_dispute_result
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_dispute_resolve(bigint, text, text) IS
	'a person''s verdict: refund (opens a refund of all that is refundable of the first payment) or reject (nothing moves): applied, or unchanged if resolved so before. PY400, PY404 no such dispute, PY409 resolved otherwise, or nothing to refund';

CREATE FUNCTION pay_dispute_case(dispute_id bigint,
	OUT order_no text, OUT pay_no text,
	OUT seq integer, OUT recorded_at timestamptz, OUT source text, OUT message_id text,
	OUT attempt integer, OUT reported text, OUT decision text,
	OUT payment_before text, OUT payment_after text, OUT attempt_before text, OUT attempt_after text,
	OUT amount bigint, OUT currency text, OUT channel_txn text, OUT occurred_at timestamptz,
	OUT actor text, OUT session_actor text, OUT reason text, OUT payload jsonb,
	OUT refund_no text, OUT refund_before text, OUT refund_after text)
	RETURNS SETOF record
	LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 20 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_dispute_case(bigint) IS
	'the operation record of both payments of a dispute, from the event log, in the order in which it happened. PY404 no such dispute';

-- Reads the tables as the caller; our own objects are named by their schema.
CREATE FUNCTION pay_suspects(since timestamptz,
	OUT merchant text, OUT payer text, OUT amount bigint, OUT currency text,
	OUT order_no text, OUT pay_no text, OUT other_order_no text, OUT other_pay_no text, OUT apart interval)
	RETURNS SETOF record
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10
	SET search_path = pg_catalog, pg_temp
AS $suspects$
DECLARE
	home name;
	missing text;
	-- NULL where the library, which knows the setting, was not loaded yet
	within CONSTANT interval := coalesce(nullif(nullif(current_setting('pay_idem.lookalike_window', true), '')::interval, '0'), '10 minutes');
	-- numbers begin with the time in ms, so the key leads to the payments since then
	oldest CONSTANT uuid := rpad(lpad(to_hex(greatest(0, least(281474976710655,
		floor(extract(epoch FROM greatest(since, 'epoch') - within) * 1000)))::bigint), 12, '0'), 32, '0')::uuid;
BEGIN
	IF since IS NULL THEN
		RAISE EXCEPTION 'since must not be NULL'
			USING ERRCODE = 'PY400', DETAIL = 'Nothing was read or written.';
	END IF;
	SELECT n.nspname INTO STRICT home
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'pay_idem'
	LIMIT 1;	-- under an old snapshot a GRANT of ours leaves two versions of the schema's row
	EXECUTE format('SELECT t FROM unnest(''{pay_payment, pay_dispute}''::text[]) t
		WHERE %1$I.pay_trusts(to_regclass(format(''%%I.%%I'', %1$L, t))) IS NOT TRUE LIMIT 1', home) INTO missing;
	IF missing IS NOT NULL THEN
		RAISE EXCEPTION 'pay_idem is not installed in this database'
			USING ERRCODE = 'PY503',
				DETAIL = format('Table "%s" does not exist, or is not one that pay_install() made.', missing),
				HINT = 'SELECT pay_install(); creates the tables, or brings them up to date.';
	END IF;
	EXECUTE format('SELECT %1$I.pay_refuse_superuser(to_regclass(%2$L))', home, format('%I.pay_payment', home));
	RETURN QUERY EXECUTE format($query$
		SELECT later.merchant, later.payer, later.amount, later.currency,
			later.order_no, replace(later.pay_no::text, '-', ''), earlier.order_no, replace(earlier.pay_no::text, '-', ''), later.created_at - earlier.created_at
		FROM %1$I.pay_payment later JOIN %1$I.pay_payment earlier
			ON (earlier.merchant, earlier.payer, earlier.amount, earlier.currency)
				= (later.merchant, later.payer, later.amount, later.currency)
				AND (earlier.created_at, earlier.pay_no) < (later.created_at, later.pay_no)
				AND later.created_at - earlier.created_at <= $2
		WHERE later.created_at >= $1 AND later.pay_no >= $3 AND earlier.pay_no >= $3
			AND later.state::text = 'paid' AND earlier.state::text = 'paid'
			AND later.amount_refunded < later.amount_collected
			AND earlier.amount_refunded < earlier.amount_collected
			AND NOT EXISTS (SELECT FROM %1$I.pay_dispute d
				WHERE (d.pay_no, d.other_pay_no) IN ((later.pay_no, earlier.pay_no), (earlier.pay_no, later.pay_no)))
		ORDER BY later.created_at, later.pay_no, earlier.pay_no
		$query$, home)
		USING since, within, oldest;
END
$suspects$;
COMMENT ON FUNCTION pay_suspects(timestamptz) IS
	'likely duplicates that nobody reported: pairs of paid payments of one payer and merchant with the same amount and currency, made within pay_idem.lookalike_window (10 min if that is 0) of each other, the later one since then; without those in a dispute, or of which one was refunded wholly. PY400';
