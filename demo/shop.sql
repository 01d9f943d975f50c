-- The shop: its own tables beside those of pay_idem, and the roles that work there.

CREATE EXTENSION pay_idem;
SELECT pay_install();

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
	paid_at timestamptz
);

-- No unique key on purpose: if an order were paid twice, two parcels would go out,
-- and the evening would find them.
CREATE TABLE shop.parcels (
	parcel integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	order_no text NOT NULL REFERENCES shop.orders,
	packed_at timestamptz NOT NULL DEFAULT now()
);

-- Every message as it came, and what was decided.
CREATE TABLE shop.inbox (
	message integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	received_at timestamptz NOT NULL DEFAULT now(),
	channel text NOT NULL,
	body text NOT NULL,
	decision text NOT NULL,
	order_no text
);

-- What the shop does with a message: keep it, act on it and answer, in one
-- transaction. The parcel goes out when this message won the order: applied, and
-- its own attempt is paid now. (The payment's state alone would not do: it is paid
-- as well when another attempt of a paid order gets closed.)
CREATE FUNCTION shop.receive(channel text, body text) RETURNS pay_result
	LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
	answer pay_result;
BEGIN
	answer := CASE channel
		WHEN 'wechat' THEN wechat_callback(body::jsonb)
		WHEN 'alipay' THEN alipay_callback(body)
		WHEN 'stripe' THEN stripe_callback(body::jsonb) END;
	INSERT INTO shop.inbox (channel, body, decision, order_no)
	VALUES (channel, body, answer.decision, answer.order_no);
	IF answer.decision = 'applied' AND answer.attempt_state = 'paid' THEN
		UPDATE shop.orders SET paid_at = now() WHERE order_no = answer.order_no;
		INSERT INTO shop.parcels (order_no) VALUES (answer.order_no);
	END IF;
	RETURN answer;
END
$$;

-- The application pays, and has no other right on payments; one person looks at
-- reviews, another one looks at everything and may change nothing.
CREATE ROLE pay_demo_app LOGIN;
CREATE ROLE pay_demo_ops LOGIN;
CREATE ROLE pay_demo_auditor LOGIN;
SELECT pay_grant('pay_demo_app', 'app');
SELECT pay_grant('pay_demo_ops', 'ops');
SELECT pay_grant('pay_demo_auditor', 'auditor');
GRANT USAGE ON SCHEMA shop TO pay_demo_app, pay_demo_ops, pay_demo_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO pay_demo_app, pay_demo_ops, pay_demo_auditor;
GRANT INSERT ON shop.parcels, shop.inbox TO pay_demo_app, pay_demo_ops;
GRANT UPDATE (paid_at) ON shop.orders TO pay_demo_app, pay_demo_ops;

-- Alipay's QR codes are handed out again to anybody after a second instead of
-- thirty: the demo does not want to wait.
UPDATE pay_channel SET resubmit_after = '1 second' WHERE channel = 'alipay' AND method = 'qr';

-- For the evening: the channels' statements, what the clients were answered (they
-- wrote that down themselves, in files), and what each story should come to.
CREATE TABLE shop.statement (
	channel text NOT NULL,
	trade_no text NOT NULL,
	channel_txn text NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	order_no text
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
	ends pay_state NOT NULL,
	clicks integer NOT NULL,
	messages integer NOT NULL,
	surplus integer NOT NULL,
	review integer NOT NULL,
	what_happens text NOT NULL
);
GRANT SELECT ON shop.statement, shop.trades, shop.answers, shop.stories TO pay_demo_ops, pay_demo_auditor;
