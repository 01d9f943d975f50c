-- What must have happened under fire, on purpose: one order for each thing, in a
-- fixed order, at the isolation level of whoever calls.

-- The orders, whose names begin with this.
CREATE PROCEDURE fire.on_purpose(INOUT name text) LANGUAGE plpgsql AS $on_purpose$
DECLARE
	-- a refund that is asked for here, of an amount, by a number of the order's own
	refund CONSTANT text := 'pay_refund(%%1$L, ''%%4$s/%s'', %s, ''on purpose'', confirm => true)';
	step CONSTANT text := 'pay_refund_transition(''%%4$s/%s'', %L)';
	-- what the channel says: of a number, a state, an amount; with more arguments
	says CONSTANT text := 'pay_refund_callback(''test'', NULL, ''%%4$s/%s'', %L, %s, ''CNY'', %%2$L, %s)';
	o text;
	dispute bigint;
	held_back integer;
BEGIN
	o := name || ' answers';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o,
		format(refund, 1, 10), 'proceed',
		format(refund, 1, 10), 'replayed',
		format(refund, 1, 11), 'PY422',
		format(refund, 2, 91), 'PY409',
		format(refund, 2, 0), 'PY400',
		'pay_refund(%1$L, ''%4$s/2'', 1, ''on purpose'', currency => ''USD'')', 'PY422',
		-- one click, two numbers
		'pay_refund(%1$L, ''%4$s/2'', 10, ''on purpose'')', 'confirm',
		format(step, 'nobody''''s', 'failed'), 'PY404',
		-- it was handed out: nobody can call it off before it failed
		format(step, 1, 'cancelled'), 'PY409',
		format(step, 1, 'processing'), 'applied',
		format(step, 1, 'processing'), 'unchanged',
		format(says, 1, 'succeeded', 10, '''r1'''), 'applied',
		format(says, 1, 'processing', 10, 'NULL'), 'stale',
		format(says, 1, 'succeeded', 11, 'NULL'), 'mismatch',
		'pay_refund_callback(''test'', ''m1'', ''%4$s/1'', ''succeeded'', 10, ''CNY'')', 'unchanged',
		'pay_refund_callback(''test'', ''m1'', ''%4$s/1'', ''succeeded'', 10, ''CNY'')', 'replayed',
		'pay_refund_callback(''test'', ''m1'', ''%4$s/1'', ''processing'', 10, ''CNY'')', 'stale',
		'pay_refund_callback(''test'', NULL, ''nobody''''s'', ''succeeded'', 10, ''CNY'')', 'unmatched');
	PERFORM purpose.verdict(o, 'mismatch', 'dismiss');
	BEGIN
		PERFORM purpose.ask_of(o, format(refund, 3, 5), 'proceed');
		RAISE EXCEPTION 'the caller changed its mind' USING ERRCODE = 'ST000';
	EXCEPTION WHEN SQLSTATE 'ST000' THEN
		INSERT INTO purpose.answer (order_no, refused) VALUES (o, SQLSTATE);
	END;

	o := name || ' failed, and again';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, format(refund, 1, 60), 'proceed', format(step, 1, 'failed'), 'applied', format(refund, 1, 60), 'proceed');
	o := name || ' nothing left';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, format(refund, 1, 60), 'proceed', format(refund, 2, 40), 'proceed');
	UPDATE pay_refund r SET state = 'unknown' WHERE r.merchant = '' AND r.refund_no = o || '/2';
	INSERT INTO purpose.answer (order_no, decision) VALUES (o, 'updated');

	o := name || ' refused';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, format(refund, 1, 60), 'proceed', format(step, 1, 'failed'), 'applied');
	-- a person must settle one, one is called off after it failed, one comes back
	o := name || ' by hand';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, format(refund, 1, 10), 'proceed', format(says, 1, 'abnormal', 10, 'NULL'), 'applied',
		format(refund, 2, 20), 'proceed', format(step, 2, 'failed'), 'applied', format(step, 2, 'cancelled'), 'applied',
		format(refund, 3, 30), 'proceed', format(says, 3, 'succeeded', 30, '''r3'''), 'applied', format(says, 3, 'returned', 30, '''r3'''), 'applied',
		format(refund, 4, 90), 'proceed', format(refund, 5, 1), 'PY409');
	PERFORM purpose.verdict(o, 'returned', 'accept');
	o := name || ' failed after it succeeded';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, format(refund, 1, 100), 'proceed', format(step, 1, 'succeeded'), 'applied', format(says, 1, 'failed', 100, 'NULL'), 'mismatch');
	PERFORM purpose.verdict(o, 'mismatch', 'accept');
	PERFORM purpose.ask_of(o, format(refund, 2, 100), 'proceed');
	-- called off, and it had been sent after all
	o := name || ' called off too late';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, format(refund, 1, 100), 'proceed', format(step, 1, 'failed'), 'applied', format(step, 1, 'cancelled'), 'applied',
		format(refund, 2, 100), 'proceed', format(says, 1, 'succeeded', 100, '''r1'''), 'applied');
	-- what nobody was told to send is called off at once
	o := name || ' called off in time';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, 'pay_dispute_open(%2$L, (SELECT pay_no::text FROM pay_payment WHERE order_no = replace(%4$L, ''in time'', ''too late'')), ''one order'')', 'applied');
	SELECT d.dispute_id INTO STRICT dispute FROM pay_dispute d JOIN pay_payment p USING (pay_no) WHERE p.order_no = o;
	PERFORM purpose.ask_of(o, format('pay_dispute_resolve(%s, ''refund'', ''one order'')', dispute), 'applied',
		format('pay_refund_transition(replace(%%1$L, ''-'', '''') || ''d%s'', ''cancelled'')', dispute), 'applied');

	o := name || ' surplus';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, 'pay_callback(''test'', ''paid'', %3$L, ''paid'', 100, ''CNY'', ''t1'')', 'surplus');
	-- of what did not win the channel took some before it came: the rest goes back
	o := name || ' surplus that is gone';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, 'pay_refund_callback(''test'', NULL, ''%4$s/dp'', ''succeeded'', 30, ''CNY'', %3$L, ''dp'', kind => ''chargeback'')', 'applied',
		'pay_callback(''test'', ''paid'', %3$L, ''paid'', 100, ''CNY'', ''t1'')', 'surplus');
	o := name || ' paid twice';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, 'pay_callback(''test'', NULL, %2$L, ''paid'', 100, ''CNY'', ''t2'')', 'mismatch');
	PERFORM purpose.verdict(o, 'mismatch', 'refund');
	o := name || ' one name more';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, 'pay_callback(''test'', NULL, %2$L, ''paid'', 100, ''CNY'', ''t2'')', 'mismatch');
	PERFORM purpose.verdict(o, 'mismatch', 'alias');
	PERFORM purpose.ask_of(o, 'pay_callback(''test'', NULL, %2$L, ''paid'', 100, ''CNY'', ''t2'')', 'unchanged');
	o := name || ' a debit bounces';
	PERFORM fire.pay(o);
	PERFORM purpose.ask_of(o, format(refund, 1, 30), 'proceed', 'pay_callback(''test'', NULL, %2$L, ''failed'')', 'stale');
	PERFORM purpose.verdict(o, 'mismatch', 'accept');

	-- a chargeback beyond what is left: nothing is sent meanwhile; it is won in the end
	FOREACH o IN ARRAY ARRAY[name || ' overdrawn', name || ' overdrawn for a while'] LOOP
		PERFORM fire.pay(o);
		PERFORM purpose.ask_of(o, format(refund, 1, 60), 'proceed', format(says, 'dp', 'processing', 60, '''dp'', kind => ''chargeback'''), 'applied',
			format(says, 'dp', 'processing', 75, '''dp'', kind => ''chargeback'''), 'applied',
			format(refund, 2, 1), 'PY409');
	END LOOP;
	PERFORM purpose.verdict(o, 'overdrawn', 'accept');
	PERFORM purpose.ask_of(o, format(says, 'dp', 'succeeded', 75, '''dp'', kind => ''chargeback'''), 'applied',
		format(says, 'dp', 'returned', 75, '''dp'', kind => ''chargeback'''), 'applied', format(refund, 2, 40), 'proceed');

	-- the channel's own number for a refund of ours; and for one that is none
	FOREACH o IN ARRAY ARRAY[name || ' the same', name || ' another'] LOOP
		PERFORM fire.pay(o);
		PERFORM purpose.ask_of(o, format(refund, 1, 42), 'proceed', format(says, 're_1', 'processing', 42, '''re_1'''), 'mismatch');
	END LOOP;
	PERFORM purpose.verdict(o, 'twin', 'accept');
	o := name || ' the same';
	PERFORM purpose.verdict(o, 'twin', 'same');
	PERFORM purpose.ask_of(o, format(says, 're_1', 'succeeded', 42, '''re_1'''), 'applied', format(refund, 2, 58), 'proceed');

	-- workers: of each refund that is under way, but for what is held back
	INSERT INTO fire.claimed SELECT * FROM fire.claim(name, 10000, '{submit_refund, query_refund}');
	SELECT count(*) INTO held_back FROM pay_refund f JOIN pay_attempt t USING (pay_no, attempt)
	WHERE f.refund_no LIKE name || ' %' AND f.state::text = 'requested' AND t.amount_overdrawn > 0;
	IF held_back = 0 THEN
		RAISE EXCEPTION 'no refund is held back';
	END IF;
END
$on_purpose$;

SELECT fire.pay('purpose meet');
