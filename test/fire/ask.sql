-- What a test claims to have reached is brought about on purpose: calls that must
-- be answered so, with a record of them. Chance adds the rest, and nothing depends
-- on it.

CREATE SCHEMA purpose;

CREATE TABLE purpose.answer (
	order_no text NOT NULL,
	decision text,
	refused text,
	isolation text NOT NULL DEFAULT current_setting('transaction_isolation')
);
COMMENT ON COLUMN purpose.answer.refused IS 'SQLSTATE of the error, where there was no decision';

-- Calls something, which must be answered so: with a decision, or with an error.
CREATE FUNCTION purpose.ask(order_no text, call text, expected text) RETURNS void
	LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	answered text;
	refused text;
BEGIN
	BEGIN
		EXECUTE 'SELECT r.decision FROM ' || call || ' r' INTO STRICT answered;
	EXCEPTION
		WHEN SQLSTATE 'PY400' OR SQLSTATE 'PY404' OR SQLSTATE 'PY409' OR SQLSTATE 'PY422' THEN
			refused := SQLSTATE;
	END;
	IF coalesce(answered, refused) <> expected THEN
		RAISE EXCEPTION '% of order % was answered %, not %', call, order_no, coalesce(answered, refused), expected;
	END IF;
	INSERT INTO purpose.answer (order_no, decision, refused) VALUES (ask.order_no, answered, refused);
END $$;

-- The same of one order: %1$L is its number, %2$L and %3$L are its attempts', %4$s is its name.
CREATE FUNCTION purpose.ask_of(order_no text, VARIADIC calls text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	trade uuid[];
	number uuid;
	i integer;
BEGIN
	SELECT pay_trade_nos(p.pay_no, p.routes), p.pay_no INTO trade, number FROM pay_payment p WHERE p.merchant = '' AND p.order_no = ask_of.order_no;
	FOR i IN 1 .. cardinality(calls) BY 2 LOOP
		PERFORM purpose.ask(ask_of.order_no, format(calls[i], number, trade[1], trade[2], ask_of.order_no), calls[i + 1]);
	END LOOP;
END $$;

-- A verdict on the first open review of this kind.
CREATE FUNCTION purpose.verdict(order_no text, kind text, verdict text, expected text DEFAULT 'applied') RETURNS void
	LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	review bigint;
BEGIN
	SELECT min(v.review_id) INTO review FROM pay_review v JOIN pay_payment p USING (pay_no)
	WHERE p.merchant = '' AND p.order_no = verdict.order_no AND v.kind = verdict.kind AND v.resolved_at IS NULL;
	PERFORM purpose.ask(verdict.order_no, format('pay_review_resolve(review_id => %s, verdict => %L, reason => ''on purpose'')', review, verdict.verdict), expected);
END $$;

-- For meet.pgbench. What a sequence gives is seen by everybody at once, whatever his snapshot.
CREATE SEQUENCE purpose.arrived;
CREATE FUNCTION purpose.meet() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	PERFORM count(*), nextval('purpose.arrived') FROM pay_payment WHERE order_no = 'purpose meet';
	WHILE (SELECT last_value < 2 FROM purpose.arrived) LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
