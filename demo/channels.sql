-- From a channel's message to pay_callback() and pay_refund_callback(): copy what
-- you need.
--
-- Your application checks the signature first (and decrypts, for WeChat Pay);
-- then it hands the message over as it came. What each function does:
--   which attempt  trade_no  the number that you gave the channel
--   what happened  reported  the channel's word for it, in words of pay_state
--   how much       amount    in minor units of the currency, exact
--   once           callback_id  the message's own id; NULL for the answer of a query
-- A word that is not in a list below maps to NULL, which pay_idem refuses (PY400):
-- a new word of a channel is seen at once and not taken for another.

-- Decimal notation to minor units: 12.30 CNY is 1230 fen, 1230 JPY is 1230 yen.
-- numeric, never floating point; a fraction of the smallest unit gives NULL.
CREATE FUNCTION minor_units(value numeric, currency text) RETURNS bigint
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
	SELECT CASE WHEN units = trunc(units) THEN units::bigint END
	FROM (SELECT value * CASE
		WHEN currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF',
			'UGX', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 1
		WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 1000
		ELSE 100 END AS units) AS u
$$;
COMMENT ON FUNCTION minor_units(numeric, text) IS
	'amount in minor units of an ISO 4217 currency; NULL if it is no whole number of them';

-- One value of a form: + is a blank, %XX is a byte, and the bytes are in charset.
CREATE FUNCTION form_decode(value text, charset text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
	SELECT coalesce(convert_from(string_agg(
		CASE WHEN part[1] ~ '^%..$' THEN decode(substr(part[1], 2), 'hex') ELSE convert_to(part[1], charset) END,
		'' ORDER BY n), charset), '')
	FROM regexp_matches(replace(value, '+', ' '), '%[0-9A-Fa-f]{2}|[^%]+|%', 'g') WITH ORDINALITY AS p (part, n)
$$;
COMMENT ON FUNCTION form_decode(text, text) IS 'decodes one value of application/x-www-form-urlencoded';

CREATE FUNCTION form_fields(body text, charset text DEFAULT 'UTF8') RETURNS jsonb
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
	SELECT jsonb_object_agg(form_decode(split_part(field, '=', 1), charset),
		form_decode(substr(field, strpos(field, '=') + 1), charset))
	FROM string_to_table(body, '&') AS field
	WHERE strpos(field, '=') > 0
$$;
COMMENT ON FUNCTION form_fields(text, text) IS 'an application/x-www-form-urlencoded body as an object of strings';

-- WeChat Pay API v3: a payment notification whose "resource" was decrypted, or the
-- answer of a query by out_trade_no, which is the same object without the envelope.
-- amount.total is what the order costs (payer_total is less after a coupon).
CREATE FUNCTION wechat_callback(message jsonb) RETURNS pay_result
	LANGUAGE sql VOLATILE
AS $$
	SELECT r.*
	FROM (SELECT coalesce(message -> 'resource', message) AS t) AS m,
		pay_callback(
			channel => 'wechat',
			callback_id => CASE WHEN message ? 'resource' THEN message ->> 'id' END,
			trade_no => t ->> 'out_trade_no',
			reported => CASE t ->> 'trade_state'
				WHEN 'SUCCESS' THEN 'paid'
				WHEN 'REFUND' THEN 'paid'			-- was paid; the refund has a message of its own
				WHEN 'NOTPAY' THEN 'paying'
				WHEN 'USERPAYING' THEN 'paying'
				WHEN 'ACCEPT' THEN 'paying'
				WHEN 'PAYERROR' THEN 'failed'
				WHEN 'CLOSED' THEN 'closed'
				WHEN 'REVOKED' THEN 'reversed' END,
			amount => (t -> 'amount' ->> 'total')::bigint,
			currency => t -> 'amount' ->> 'currency',
			channel_txn => t ->> 'transaction_id',
			occurred_at => (t ->> 'success_time')::timestamptz,
			payload => message) AS r
$$;
COMMENT ON FUNCTION wechat_callback(jsonb) IS 'a WeChat Pay v3 payment notification (decrypted) or query answer, to pay_callback()';

-- Alipay: the body of an asynchronous notification as it was posted. Alipay's times
-- are China's, its amounts yuan with two decimals.
CREATE FUNCTION alipay_callback(body text) RETURNS pay_result
	LANGUAGE sql VOLATILE
AS $$
	SELECT r.*
	FROM form_fields(body, coalesce(substring(body FROM '(?:^|&)charset=([^&]+)'), 'UTF8')) AS f,
		pay_callback(
			channel => 'alipay',
			callback_id => f ->> 'notify_id',
			trade_no => f ->> 'out_trade_no',
			reported => CASE f ->> 'trade_status'
				WHEN 'WAIT_BUYER_PAY' THEN 'paying'
				WHEN 'TRADE_SUCCESS' THEN 'paid'
				WHEN 'TRADE_FINISHED' THEN 'paid'
				WHEN 'TRADE_CLOSED' THEN 'closed' END,	-- nobody paid; told again after a full refund: stale
			amount => minor_units((f ->> 'total_amount')::numeric, 'CNY'),
			currency => 'CNY',
			channel_txn => f ->> 'trade_no',
			occurred_at => (coalesce(f ->> 'gmt_payment', f ->> 'notify_time'))::timestamp AT TIME ZONE 'Asia/Shanghai',
			payload => f) AS r
$$;
COMMENT ON FUNCTION alipay_callback(text) IS 'an Alipay asynchronous notification (form body), to pay_callback()';

-- Stripe: a payment_intent event, or a PaymentIntent as a query returns it; of that
-- asked_at is when it was asked for, because an authorization from before a capture
-- says nothing of the capture. The attempt's number went in as metadata.trade_no.
-- Stripe's amounts are in the currency's smallest unit already: cents, and for JPY yen.
-- A declined card is not the end: the customer can pay the same PaymentIntent with
-- another one until it is canceled. So a shop that opens another attempt cancels the
-- PaymentIntent first, and Stripe tells that it did.
CREATE FUNCTION stripe_callback(message jsonb, asked_at timestamptz DEFAULT NULL) RETURNS pay_result
	LANGUAGE sql VOLATILE
AS $$
	SELECT r.*
	FROM (SELECT CASE message ->> 'object' WHEN 'event' THEN message -> 'data' -> 'object' ELSE message END AS p) AS m,
		pay_callback(
			channel => 'stripe',
			callback_id => CASE message ->> 'object' WHEN 'event' THEN message ->> 'id' END,
			trade_no => p -> 'metadata' ->> 'trade_no',
			reported => CASE p ->> 'status'
				WHEN 'succeeded' THEN 'paid'
				WHEN 'requires_capture' THEN 'authorized'
				WHEN 'canceled' THEN 'closed'
				WHEN 'requires_payment_method' THEN 'paying'	-- new, or a card was declined
				WHEN 'requires_confirmation' THEN 'paying'
				WHEN 'requires_action' THEN 'paying'
				WHEN 'processing' THEN 'paying' END,
			amount => CASE p ->> 'status'
				WHEN 'succeeded' THEN (p ->> 'amount_received')::bigint
				WHEN 'requires_capture' THEN (p ->> 'amount_capturable')::bigint
				ELSE (p ->> 'amount')::bigint END,
			currency => upper(p ->> 'currency'),
			channel_txn => p ->> 'id',
			occurred_at => CASE message ->> 'object' WHEN 'event' THEN to_timestamp((message ->> 'created')::bigint) ELSE asked_at END,
			payload => message) AS r
$$;
COMMENT ON FUNCTION stripe_callback(jsonb, timestamptz) IS 'a Stripe payment_intent event or PaymentIntent, to pay_callback()';

-- Refunds. refund_no is the number that you gave the channel, or the channel's own
-- where somebody refunded in its console; trade_no is told as well, so that such a
-- one finds its payment.

-- WeChat Pay API v3: a refund notification whose "resource" was decrypted, or the
-- answer of a query by out_refund_no. CLOSED: no money went back.
CREATE FUNCTION wechat_refund_callback(message jsonb) RETURNS pay_refund_result
	LANGUAGE sql VOLATILE
AS $$
	SELECT r.*
	FROM (SELECT coalesce(message -> 'resource', message) AS t) AS m,
		pay_refund_callback(
			channel => 'wechat',
			callback_id => CASE WHEN message ? 'resource' THEN message ->> 'id' END,
			refund_no => t ->> 'out_refund_no',
			reported => CASE coalesce(t ->> 'refund_status', t ->> 'status')
				WHEN 'SUCCESS' THEN 'succeeded'
				WHEN 'PROCESSING' THEN 'processing'
				WHEN 'ABNORMAL' THEN 'abnormal'
				WHEN 'CLOSED' THEN 'failed' END,
			amount => (t -> 'amount' ->> 'refund')::bigint,
			currency => t -> 'amount' ->> 'currency',		-- a notification has none: the refund's own
			trade_no => t ->> 'out_trade_no',
			channel_txn => t ->> 'refund_id',
			occurred_at => (t ->> 'success_time')::timestamptz,
			payload => message) AS r
$$;
COMMENT ON FUNCTION wechat_refund_callback(jsonb) IS
	'a WeChat Pay v3 refund notification (decrypted) or query answer, to pay_refund_callback()';

-- Alipay: its notifications are about the trade, so ask: this is the answer of
-- alipay.trade.fastpay.refund.query. Without a refund_status nothing is known yet.
CREATE FUNCTION alipay_refund_callback(message jsonb) RETURNS pay_refund_result
	LANGUAGE sql VOLATILE
AS $$
	SELECT r.*
	FROM (SELECT message -> 'alipay_trade_fastpay_refund_query_response' AS t) AS m,
		pay_refund_callback(
			channel => 'alipay',
			callback_id => NULL,
			refund_no => t ->> 'out_request_no',
			reported => CASE coalesce(t ->> 'refund_status', '')
				WHEN 'REFUND_SUCCESS' THEN 'succeeded'
				WHEN '' THEN 'unknown' END,
			amount => minor_units((t ->> 'refund_amount')::numeric, 'CNY'),
			currency => 'CNY',
			trade_no => t ->> 'out_trade_no',
			occurred_at => (t ->> 'gmt_refund_pay')::timestamp AT TIME ZONE 'Asia/Shanghai',
			payload => message) AS r
$$;
COMMENT ON FUNCTION alipay_refund_callback(jsonb) IS
	'the answer of Alipay''s refund query, to pay_refund_callback()';

-- Stripe: a refund or dispute event, or the object itself as a query returns it. Our
-- number went in as metadata.refund_no, the attempt's as metadata.trade_no. A dispute
-- (the customer's bank takes the money back) has neither: your application asks for it
-- with expand[]=payment_intent, whose metadata has the attempt's number. Inquiries
-- (status warning_...) move no money: do not hand them over.
CREATE FUNCTION stripe_refund_callback(message jsonb) RETURNS pay_refund_result
	LANGUAGE sql VOLATILE
AS $$
	SELECT r.*
	FROM (SELECT CASE message ->> 'object' WHEN 'event' THEN message -> 'data' -> 'object' ELSE message END AS p) AS m,
		pay_refund_callback(
			channel => 'stripe',
			callback_id => CASE message ->> 'object' WHEN 'event' THEN message ->> 'id' END,
			refund_no => coalesce(p -> 'metadata' ->> 'refund_no', p ->> 'id'),
			reported => CASE p ->> 'object'
				WHEN 'refund' THEN CASE p ->> 'status'
					WHEN 'pending' THEN 'processing'
					WHEN 'requires_action' THEN 'processing'
					WHEN 'succeeded' THEN 'succeeded'
					WHEN 'failed' THEN 'failed'
					WHEN 'canceled' THEN 'failed' END
				WHEN 'dispute' THEN CASE p ->> 'status'
					WHEN 'needs_response' THEN 'processing'
					WHEN 'under_review' THEN 'processing'
					WHEN 'lost' THEN 'succeeded'
					WHEN 'won' THEN 'failed' END END,
			amount => (p ->> 'amount')::bigint,
			currency => upper(p ->> 'currency'),
			trade_no => coalesce(p -> 'metadata' ->> 'trade_no', p -> 'payment_intent' -> 'metadata' ->> 'trade_no'),
			channel_txn => p ->> 'id',
			occurred_at => to_timestamp((message ->> 'created')::bigint),
			payload => message,
			kind => CASE p ->> 'object' WHEN 'dispute' THEN 'chargeback' ELSE 'refund' END) AS r
$$;
COMMENT ON FUNCTION stripe_refund_callback(jsonb) IS
	'a Stripe refund or dispute event, or the object, to pay_refund_callback()';
