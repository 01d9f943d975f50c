-- The shop: its own tables beside those of pay_idem, and the roles that work there.

-- pay_idem in a schema of its own, which is on everybody's search_path.
CREATE SCHEMA pay;
CREATE EXTENSION pay_idem SCHEMA pay;
SELECT pay.pay_install();
SELECT format('ALTER DATABASE %I SET search_path = "$user", public, pay', current_database()) \gexec
SET search_path = "$user", public, pay;

CREATE SCHEMA shop;

CREATE TABLE shop.orders (
	order_no text PRIMARY KEY,
	customer text NOT NULL,
	name text NOT NULL,
	product text NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	channel text NOT NULL,
	method text NOT NULL,
	story text NOT NULL,
	other text REFERENCES shop.orders,		-- the customer's earlier order that this one repeats or replaces
	paid_at timestamptz,
	confirmed_at timestamptz				-- the customer was asked, and wants this one besides the other
);

-- No unique key on purpose: if an order were paid twice, two parcels would go out,
-- and the evening would find them.
CREATE TABLE shop.parcels (
	parcel integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	order_no text NOT NULL REFERENCES shop.orders,
	packed_at timestamptz NOT NULL DEFAULT now()
);

-- A letter to the customer: "your money is on its way back". No unique key here
-- either: two for one refund would be found.
CREATE TABLE shop.credit_notes (
	credit_note integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	refund_no text NOT NULL,
	amount bigint NOT NULL
);

-- Every message as it came, and what was decided.
CREATE TABLE shop.inbox (
	message integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	received_at timestamptz NOT NULL DEFAULT now(),
	about text NOT NULL,					-- payment or refund
	channel text NOT NULL,
	body text NOT NULL,
	decision text NOT NULL,
	order_no text
);

-- What the shop does with a message: keep it, act on it and answer, in one
-- transaction. The parcel goes out when this message won the order: applied, and
-- its own attempt is paid now. (The payment's state alone would not do: it is paid
-- as well when another attempt of a paid order gets closed.)
CREATE FUNCTION shop.receive(channel text, body text, asked_at timestamptz DEFAULT NULL) RETURNS pay_result
	LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
	answer pay_result;
BEGIN
	answer := CASE channel
		WHEN 'wechat' THEN wechat_callback(body::jsonb)
		WHEN 'alipay' THEN alipay_callback(body)
		WHEN 'stripe' THEN stripe_callback(body::jsonb, asked_at) END;
	INSERT INTO shop.inbox (about, channel, body, decision, order_no)
	VALUES ('payment', channel, body, answer.decision, answer.order_no);
	IF answer.decision = 'applied' AND answer.attempt_state = 'paid' THEN
		UPDATE shop.orders SET paid_at = now() WHERE order_no = answer.order_no;
		INSERT INTO shop.parcels (order_no) VALUES (answer.order_no);
	END IF;
	RETURN answer;
END
$$;

-- When a refund has succeeded, the customer gets a letter. That a call is applied
-- and the refund has succeeded now comes once for a refund, whoever brings the news.
CREATE FUNCTION shop.write_credit_note(answer pay_refund_result) RETURNS void
	LANGUAGE sql VOLATILE
AS $$
	INSERT INTO shop.credit_notes (refund_no, amount)
	SELECT answer.refund_no, answer.amount
	WHERE answer.decision = 'applied' AND answer.state = 'succeeded'
$$;

-- What the shop does with a message about a refund.
CREATE FUNCTION shop.receive_refund(channel text, body text) RETURNS pay_refund_result
	LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
	answer pay_refund_result;
BEGIN
	answer := CASE channel
		WHEN 'wechat' THEN wechat_refund_callback(body::jsonb)
		WHEN 'alipay' THEN alipay_refund_callback(body::jsonb)
		WHEN 'stripe' THEN stripe_refund_callback(body::jsonb) END;
	INSERT INTO shop.inbox (about, channel, body, decision)
	VALUES ('refund', channel, body, answer.decision);
	PERFORM shop.write_credit_note(answer);
	RETURN answer;
END
$$;

-- What the worker, or a person, knows of a refund himself.
CREATE FUNCTION shop.step_refund(refund_no text, to_state text, reason text, channel_txn text) RETURNS pay_refund_result
	LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
	answer pay_refund_result;
BEGIN
	answer := pay_refund_transition(refund_no, to_state, reason, channel_txn);
	PERFORM shop.write_credit_note(answer);
	RETURN answer;
END
$$;

-- What the stories look a refund up in, during the day: all that are requested, and
-- those where the answer got lost. The same number goes out again. (A worker asks
-- pay_claim() what is due: see demo/worker.)
CREATE VIEW shop.refunds_to_send WITH (security_invoker = true) AS
SELECT r.refund_no, replace((pay_trade_nos(p.pay_no, p.routes))[r.attempt]::text, '-', '') AS trade_no,
	pay_channel_of((pay_trade_nos(p.pay_no, p.routes))[r.attempt]::text) AS channel, r.amount, p.currency, p.order_no, r.kind,
	p.amount AS asked, r.requested_at
FROM pay_refund r JOIN pay_payment p USING (pay_no)
WHERE r.state IN ('requested', 'unknown');

-- The application pays and refunds, and has no other right on payments; the worker
-- talks to the channels, and the stories let it look refunds up; one person looks at reviews
-- and disputes, another one looks at everything and may change nothing.
CREATE ROLE pay_demo_app LOGIN;
CREATE ROLE pay_demo_worker LOGIN;
CREATE ROLE pay_demo_ops LOGIN;
CREATE ROLE pay_demo_auditor LOGIN;
SELECT pay_grant('pay_demo_app', 'app');
SELECT pay_grant('pay_demo_worker', 'worker');
GRANT SELECT ON pay_refund, pay_payment TO pay_demo_worker;
SELECT pay_grant('pay_demo_ops', 'ops');
SELECT pay_grant('pay_demo_auditor', 'auditor');
GRANT USAGE ON SCHEMA shop TO pay_demo_app, pay_demo_worker, pay_demo_ops, pay_demo_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO pay_demo_app, pay_demo_worker, pay_demo_ops, pay_demo_auditor;
GRANT INSERT ON shop.parcels, shop.inbox TO pay_demo_app, pay_demo_ops;
GRANT INSERT ON shop.credit_notes TO pay_demo_app, pay_demo_worker, pay_demo_ops;
GRANT UPDATE (paid_at, confirmed_at) ON shop.orders TO pay_demo_app, pay_demo_ops;

-- Alipay's QR codes are handed out again to anybody after a second instead of
-- thirty: the demo does not want to wait.
UPDATE pay_channel SET resubmit_after = '1 second' WHERE channel = 'alipay' AND method = 'qr';

-- What orders can hold: a coupon is one order's only, without a row; there are three
-- pieces of each thing in stock; another company keeps the customers' points.
INSERT INTO pay_resource (resource, capacity, external) VALUES ('stock', 3, false), ('points', 5000, true);

-- For the evening: the channels' statements of what they collected and of what they
-- gave back, the points company's ledger, what the clients were answered (they wrote that down themselves, in
-- files), and what each story should come to.
CREATE TABLE shop.statement (
	channel text NOT NULL,
	trade_no text NOT NULL,
	channel_txn text NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	order_no text
);
CREATE TABLE shop.gone_back (
	channel text NOT NULL,
	trade_no text NOT NULL,
	refund_no text NOT NULL,
	refund_txn text NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL
);
CREATE TABLE shop.points_ledger (
	line integer GENERATED ALWAYS AS IDENTITY,
	pay_no uuid NOT NULL,
	resource text NOT NULL,
	quantity bigint NOT NULL,
	state text NOT NULL
);
CREATE TABLE shop.trades (trade_no text NOT NULL);
CREATE TABLE shop.answers (
	order_no text NOT NULL,
	function text NOT NULL,
	decision text NOT NULL,
	trade_no text NOT NULL
);
CREATE TABLE shop.stories (
	n integer GENERATED ALWAYS AS IDENTITY,
	story text PRIMARY KEY,
	ends pay_state,							-- NULL: no payment is made
	clicks integer NOT NULL,				-- on "pay"
	messages integer NOT NULL,				-- from channels
	surplus integer NOT NULL,				-- times that money came and was not needed
	refund_clicks integer NOT NULL,			-- times that the shop asked for a refund
	back integer NOT NULL,					-- refunds that succeeded
	waiting integer NOT NULL,				-- refunds under way in the evening
	review integer NOT NULL,				-- reviews about money that are open in the evening
	spent integer NOT NULL,					-- coupons and the like that are spent in the evening
	given_back integer NOT NULL,			-- and that are free again
	what_happens text NOT NULL
);
GRANT SELECT ON shop.statement, shop.gone_back, shop.points_ledger, shop.trades, shop.answers, shop.stories TO pay_demo_ops, pay_demo_auditor;
