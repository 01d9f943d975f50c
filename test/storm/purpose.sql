-- What must have happened in the storm, on purpose: one order for each thing, in a
-- fixed order, at the isolation level of whoever calls; and what takes a while,
-- when the wind has gone.

-- The orders, whose names begin with this.
CREATE PROCEDURE storm.on_purpose(INOUT name text) LANGUAGE plpgsql AS $on_purpose$
DECLARE
	-- a prepay of this order through a channel's method, by a request; with more arguments
	prepay CONSTANT text := 'pay_prepay(''%%4$s'', 1000, ''CNY'', ''%s'', ''%s'', ''%s''%s)';
	first CONSTANT text := format(prepay, 'test', 'card', 'r1', '');
	-- the channel's word of the first attempt (2) or the second (3): a message, a state, an amount, a transaction
	says CONSTANT text := 'pay_callback(''test'', %L, %%%s$L, %L, %s, ''CNY'', %L)';
	paid CONSTANT text := format(says, 'n1', 2, 'paid', 1000, 't1');
	step CONSTANT text := 'pay_transition(%%2$L, ''%s'')';
	refund CONSTANT text := 'pay_refund(%%2$L, ''%%4$s/%s'', %s, ''on purpose'', confirm => true)';
	refund_step CONSTANT text := 'pay_refund_transition(''%%4$s/%s'', ''%s'')';
	refund_says CONSTANT text := 'pay_refund_callback(''test'', NULL, ''%%4$s/%s'', %L, %s, ''CNY'', %%2$L, %L, kind => ''%s'')';
	holds CONSTANT text := ', valid_for => ''1 day'', holds => ''{coupon:%4$s,room:%4$s}''';
	payer CONSTANT text := format(', payer => ''%s''', name);
	o text;
	dispute bigint;
BEGIN
	o := name || ' asked';
	PERFORM purpose.ask_of(o,
		'pay_create(''%4$s'', 1000, ''CNY'')', 'applied',
		'pay_create(''%4$s'', 1000, ''CNY'')', 'unchanged',
		'pay_create(''%4$s'', 1001, ''CNY'')', 'PY422',
		'pay_create(''%4$s'', -1, ''CNY'')', 'PY400',
		first, 'proceed',
		format(prepay, 'test', 'card', 'r2', ''), 'in_progress');
	PERFORM purpose.ask_of(o,
		'pay_credential(%2$L, ''wx1'', ''1 hour'')', 'applied',
		'pay_credential(%2$L, ''wx1'', ''1 hour'')', 'replayed',
		format(says, 'n1', 2, 'failed', 'NULL', NULL), 'applied',
		format(says, 'n1', 2, 'failed', 'NULL', NULL), 'replayed',
		format(says, 'n1', 2, 'closed', 'NULL', NULL), 'stale',
		format(says, NULL, 2, 'failed', 'NULL', NULL), 'unchanged',
		format(says, NULL, 2, 'closing', 'NULL', NULL), 'stale',
		format(step, 'capturing'), 'PY409',
		'pay_transition(gen_random_uuid()::text, ''failed'')', 'PY404',
		format(prepay, 'test', 'qr', 'r3', ''), 'proceed');
	PERFORM purpose.ask_of(o,
		format(says, NULL, 3, 'paid', 1000, 't2'), 'applied',
		format(prepay, 'test', 'qr', 'r4', ''), 'already_paid',
		format(says, 'n2', 2, 'paid', 1000, 't1'), 'surplus',
		'(SELECT CASE WHEN count(*) = max(seq) THEN ''whole'' END AS decision FROM pay_history(%2$L))', 'whole');
	UPDATE pay_payment p SET metadata = '{}' WHERE p.merchant = '' AND p.order_no = o;
	INSERT INTO purpose.answer (order_no, decision) VALUES (o, 'updated');
	BEGIN
		PERFORM purpose.ask_of(o, format(says, NULL, 2, 'unknown', 'NULL', NULL), 'stale');
		RAISE EXCEPTION 'the caller changed its mind' USING ERRCODE = 'ST000';
	EXCEPTION WHEN SQLSTATE 'ST000' THEN
		INSERT INTO purpose.answer (order_no, refused) VALUES (o, SQLSTATE);
	END;

	o := name || ' nobody knows';
	PERFORM purpose.ask_of(o, first, 'proceed');
	PERFORM purpose.ask_of(o, format(step, 'unknown'), 'applied', format(prepay, 'test', 'card', 'r2', ''), 'unknown');
	o := name || ' the channel has it';
	PERFORM purpose.ask_of(o, format(prepay, 'test', 'card', 'r1', ''), 'proceed', format(prepay, 'test', 'card', 'r1', ''), 'proceed');
	PERFORM purpose.ask_of(o, format(says, NULL, 2, 'paying', 'NULL', 't1'), 'unchanged', format(prepay, 'test', 'card', 'r1', ''), 'unknown');
	-- the customer signs in; his other order is asked about
	o := name || ' signs in';
	PERFORM purpose.ask_of(o, first, 'proceed', format(prepay, 'test', 'card', 'r2', payer), 'in_progress');
	PERFORM purpose.ask_of(name || ' looks alike', format(prepay, 'test', 'card', 'r1', payer), 'confirm');
	o := name || ' too many';
	PERFORM purpose.ask_of(o, format(prepay, 'tight', 'tight', 'r1', ''), 'proceed');
	PERFORM purpose.ask_of(o, format(step, 'failed'), 'applied', format(prepay, 'tight', 'tight', 'r2', ''), 'throttled');
	o := name || ' costs nothing';
	PERFORM purpose.ask_of(o, 'pay_prepay(''%4$s'', 0, ''CNY'', ''test'', ''card'', ''r1'')', 'already_paid');

	-- every end
	FOREACH o IN ARRAY '{closed,reversed}'::text[] LOOP
		PERFORM purpose.ask_of(name || ' ' || o, first, 'proceed');
		PERFORM purpose.ask_of(name || ' ' || o, format('pay_transition(%%1$L, ''%s'', ''the whole payment'')', o), 'applied',
			format(prepay, 'test', 'card', 'r2', ''), 'closed', paid, 'surplus');
	END LOOP;
	o := name || ' voided';
	PERFORM purpose.ask_of(o, first, 'proceed');
	PERFORM purpose.ask_of(o, format(says, NULL, 2, 'authorized', 1000, 't1'), 'applied', format(step, 'reversed'), 'applied');
	o := name || ' too little';
	PERFORM purpose.ask_of(o, first, 'proceed');
	PERFORM purpose.ask_of(o, format(says, NULL, 2, 'paid', 999, 't1'), 'mismatch', format(prepay, 'test', 'card', 'r2', ''), 'unknown');
	PERFORM purpose.verdict(o, 'mismatch', 'accept');
	-- news of nobody, and of another merchant's: sent again, it is taken in
	o := name || ' of another';
	PERFORM purpose.ask_of(o, first, 'proceed', 'pay_callback(''test'', ''n1'', ''nobody'', ''paid'', 1000, ''CNY'')', 'unmatched');
	PERFORM purpose.ask_of(o, replace(paid, '''t1'')', '''t1'', merchant => ''another'')'), 'unmatched', paid, 'applied');
	-- another in its place
	o := name || ' replaced';
	PERFORM purpose.ask_of(o, first, 'proceed');
	PERFORM purpose.ask_of(name || ' in its place', format(prepay, 'test', 'card', 'r1', format(', replaces => ''%s''', o)), 'proceed');
	PERFORM purpose.ask_of(o, paid, 'surplus');
	-- a capture, and the authorization's message that was late; then one that says that it did not come off
	o := name || ' captured';
	PERFORM purpose.ask_of(o, first, 'proceed');
	PERFORM purpose.ask_of(o,
		format(says, NULL, 2, 'authorized', 1000, 't1'), 'applied',
		'pay_transition(%2$L, ''capturing'', amount => 400)', 'applied',
		format(says, 'n1', 2, 'authorized', 1000, 't1'), 'unchanged',
		'pay_transition(%2$L, ''capturing'', amount => 600)', 'PY409',
		format(step, 'unknown'), 'applied',
		'pay_callback(''test'', ''n2'', %2$L, ''authorized'', 1000, ''CNY'', ''t1'', now() + interval ''1 second'')', 'applied',
		'pay_transition(%2$L, ''capturing'', amount => 600)', 'applied',
		format(says, 'n3', 2, 'paid', 600, 't1'), 'applied');

	-- what is held, in every way
	FOREACH o IN ARRAY '{held,confirming,confirmed,releasing,released}'::text[] LOOP
		o := name || ' ' || o;
		PERFORM purpose.ask_of(o, format(prepay, 'test', 'card', 'r1', holds), 'proceed');
		IF o LIKE '%confirm%' THEN
			PERFORM purpose.ask_of(o, paid, 'applied');
		ELSIF o LIKE '%releas%' THEN
			PERFORM purpose.ask_of(o, 'pay_transition(%1$L, ''closed'', ''the whole payment'')', 'applied');
		END IF;
		IF o LIKE '%ed' THEN
			PERFORM purpose.ask_of(o, format('pay_hold_done(%%1$L, ''room:%%4$s'', ''%s'')', CASE WHEN o LIKE '%held' THEN 'tried' ELSE substr(o, length(name) + 2) END), 'applied');
		END IF;
	END LOOP;
	PERFORM purpose.ask_of(name || ' wants it, too', format(prepay, 'test', 'card', 'r1', format(', valid_for => ''1 day'', holds => ''{coupon:%s held}''', name)), 'unavailable');

	-- money goes back, in every state and for every reason
	o := name || ' refunded';
	PERFORM purpose.ask_of(o, first, 'proceed');
	PERFORM purpose.ask_of(o, paid, 'applied',
		format(refund, 1, 10), 'proceed',
		format(refund, 2, 10), 'proceed', format(refund_step, 2, 'processing'), 'applied',
		format(refund, 3, 10), 'proceed', format(refund_says, 3, 'succeeded', 10, 'f3', 'refund'), 'applied',
		format(refund, 4, 10), 'proceed', format(refund_step, 4, 'failed'), 'applied',
		format(refund, 5, 10), 'proceed', format(refund_says, 5, 'abnormal', 10, 'f5', 'refund'), 'applied',
		format(refund, 6, 10), 'proceed', format(refund_step, 6, 'unknown'), 'applied',
		format(refund, 7, 10), 'proceed', format(refund_step, 7, 'cancelled'), 'PY409', format(refund_step, 7, 'failed'), 'applied', format(refund_step, 7, 'cancelled'), 'applied',
		format(refund, 8, 10), 'proceed', format(refund_says, 8, 'succeeded', 10, 'f8', 'refund'), 'applied', format(refund_says, 8, 'returned', 10, 'f8', 'refund'), 'applied',
		'pay_refund(%2$L, ''%4$s/9'', 10, ''on purpose'')', 'confirm',
		format(refund_says, 'dp', 'processing', 1100, 'dp', 'chargeback'), 'applied',
		format(refund, 9, 10), 'PY409',
		format(refund_says, 'dp', 'succeeded', 1115, 'dp', 'chargeback'), 'applied',
		format(prepay, 'test', 'card', 'r2', ''), 'already_paid');
	PERFORM purpose.verdict(o, 'overdrawn', 'accept');
	o := name || ' two names';
	PERFORM purpose.ask_of(o, first, 'proceed');
	PERFORM purpose.ask_of(o, paid, 'applied', format(refund, 1, 420), 'proceed', format(refund_says, 're_1', 'processing', 420, 're_1', 'refund'), 'mismatch');
	PERFORM purpose.verdict(o, 'twin', 'same');
	o := name || ' paid twice';
	PERFORM purpose.ask_of(o, first, 'proceed');
	PERFORM purpose.ask_of(o, paid, 'applied', format(says, NULL, 2, 'paid', 1000, 't2'), 'mismatch');
	PERFORM purpose.verdict(o, 'mismatch', 'refund');
	PERFORM purpose.ask_of(o, format(says, NULL, 2, 'paid', 1000, 't3'), 'mismatch');
	PERFORM purpose.verdict(o, 'mismatch', 'alias');
	PERFORM purpose.ask_of(o, format(says, NULL, 2, 'paid', 1000, 't3'), 'unchanged');
	o := name || ' bounced';
	PERFORM purpose.ask_of(o, first, 'proceed');
	PERFORM purpose.ask_of(o, paid, 'applied', format(says, 'n2', 2, 'failed', 'NULL', NULL), 'stale');
	PERFORM purpose.verdict(o, 'mismatch', 'accept');
	o := name || ' twice the same';
	PERFORM purpose.ask_of(o, first, 'proceed');
	PERFORM purpose.ask_of(o, paid, 'applied', format('pay_dispute_open(%%2$L, (SELECT pay_no::text FROM pay_payment WHERE order_no = ''%s asked''), ''one order'')', name), 'applied');
	SELECT d.dispute_id INTO STRICT dispute FROM pay_dispute d JOIN pay_payment p USING (pay_no) WHERE p.order_no = o;
	PERFORM purpose.ask_of(o, format('pay_dispute_resolve(%s, ''refund'', ''one order'')', dispute), 'applied');

	PERFORM purpose.ask_of(name, '(SELECT CASE WHEN count(*) > 0 THEN ''claimed'' END AS decision FROM pay_claim(''purpose'', 10, ''100 milliseconds''))', 'claimed');

	-- for storm.when_it_is_over()
	PERFORM purpose.ask_of(name || ' times out', format(prepay, 'storm', 'again', 'r1', ''), 'proceed');
	PERFORM purpose.ask_of(name || ' is asked for ever', format(prepay, 'storm', 'again', 'r1', ''), 'proceed');
	PERFORM purpose.ask_of(name || ' expires', format(prepay, 'test', 'card', 'r1', holds), 'proceed');
	PERFORM purpose.ask_of(name || ' expires', format(step, 'failed'), 'applied');
END
$on_purpose$;

-- What takes a while: time passes, workers ask, and hear nothing new.
CREATE PROCEDURE storm.when_it_is_over() LANGUAGE plpgsql AS $$
DECLARE
	until CONSTANT timestamptz := clock_timestamp() + interval '3 minutes';
BEGIN
	-- a day has passed for those that expire
	SET LOCAL session_replication_role = replica;
	UPDATE pay_task t SET due_at = t.due_at - interval '2 days' FROM pay_payment p WHERE p.pay_no = t.pay_no AND p.order_no LIKE 'purpose % expires';
	UPDATE pay_event e SET recorded_at = e.recorded_at - interval '2 days' FROM pay_payment p WHERE p.pay_no = e.pay_no AND p.order_no LIKE 'purpose % expires';
	UPDATE pay_payment SET valid_until = valid_until - interval '2 days' WHERE order_no LIKE 'purpose % expires';
	COMMIT;
	LOOP
		PERFORM FROM pay_claim('purpose', 10000, '100 milliseconds');
		PERFORM pay_callback('storm', NULL, t.trade_no::text, t.state::text)
		FROM pay_attempt t JOIN pay_payment p USING (pay_no) JOIN pay_task k USING (pay_no, attempt, reports)
		WHERE p.order_no LIKE 'purpose % is asked for ever' AND k.asked_by IS NOT NULL;
		COMMIT;
		EXIT WHEN 3 = (SELECT count(*) FROM pay_event e JOIN pay_payment p USING (pay_no)
				WHERE p.order_no LIKE 'purpose % times out' AND e.source = 'claim' AND e.attempt_after = 'unknown' AND e.attempt_before = 'paying')
			AND 3 = (SELECT count(*) FROM pay_review v JOIN pay_payment p USING (pay_no) WHERE p.order_no LIKE 'purpose % is asked for ever' AND v.kind = 'exhausted')
			AND 3 = (SELECT count(*) FROM pay_event e JOIN pay_payment p USING (pay_no)
				WHERE p.order_no LIKE 'purpose % expires' AND e.source = 'claim' AND e.payment_after = 'closed');
		IF clock_timestamp() > until THEN
			RAISE EXCEPTION 'it never ends';
		END IF;
		PERFORM pg_sleep(0.1);
	END LOOP;
END $$;

-- For fire/meet.pgbench.
DO $$ BEGIN
	PERFORM purpose.ask_of('purpose meet', 'pay_prepay(''purpose meet'', 100, ''CNY'', ''test'', ''card'', ''r1'')', 'proceed');
	PERFORM purpose.ask_of('purpose meet', 'pay_callback(''test'', ''n1'', %2$L, ''paid'', 100, ''CNY'', ''t1'')', 'applied');
END $$;
