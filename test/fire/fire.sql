-- The cap under fire: one step of a careless world upon the refunds of one
-- payment, chosen at random; and the watch that looks at the cap meanwhile.
--
-- A handful of payments is under fire at a time, one of them most of the time.
-- Each has collected 100 through one of two attempts. As their money is used up
-- soon, a client goes on to new ones after some transactions; who comes first
-- makes them.
--
-- A step calls one function and writes down what it was answered, in the same
-- transaction: what is rolled back was never answered. Errors for a caller's
-- mistake are counted. Everything else goes through: 40001 and 40P01 to pgbench,
-- which tries the transaction again, and what nobody expected to the test,
-- which fails.

CREATE SCHEMA fire;

CREATE TABLE fire.answer (
	order_no text NOT NULL,
	called text NOT NULL,
	decision text,
	refused text,
	isolation text NOT NULL DEFAULT current_setting('transaction_isolation')
);
COMMENT ON COLUMN fire.answer.refused IS 'SQLSTATE of the error, where there was no decision';

CREATE FUNCTION fire.pick(VARIADIC choices text[]) RETURNS text
	LANGUAGE sql VOLATILE AS 'SELECT choices[1 + floor(random() * cardinality(choices))::integer]';

CREATE FUNCTION fire.chance(percent double precision) RETURNS boolean
	LANGUAGE sql VOLATILE AS 'SELECT random() * 100 < percent';

-- The order that is number n of those that are under fire at this stage.
CREATE FUNCTION fire.order_no(stage integer, n integer) RETURNS text
	LANGUAGE sql IMMUTABLE AS $$SELECT format('fire %s-%s', stage, n)$$;

-- An attempt's 100 arrive.
CREATE FUNCTION fire.paid(trade_no uuid) RETURNS text
	LANGUAGE sql VOLATILE AS $$
	SELECT decision FROM pay_callback(channel => 'test', callback_id => 'paid', trade_no => trade_no::text, reported => 'paid',
		amount => 100, currency => 'CNY', channel_txn => 't1')
$$;

-- What workers were told to do, and what had been taken of the attempt's money when
-- they were told: claims lock the payment, so it is what they were decided on.
CREATE TABLE fire.claimed (
	pay_no uuid NOT NULL,
	attempt integer NOT NULL,
	action text NOT NULL,
	refund_no text NOT NULL,
	kind text NOT NULL,
	collected bigint NOT NULL,
	taken bigint NOT NULL
);
CREATE FUNCTION fire.claim(worker text, tasks integer, actions text[]) RETURNS SETOF fire.claimed
	LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	told record;
BEGIN
	FOR told IN SELECT * FROM pay_claim(worker => claim.worker, max_tasks => tasks, lease => '1 second', actions => claim.actions) LOOP
		RETURN QUERY SELECT f.pay_no, f.attempt::integer, told.action, f.refund_no::text, f.kind::text, coalesce(t.amount_collected, 0),
			(SELECT coalesce(sum(o.amount), 0)::bigint FROM pay_refund o WHERE o.pay_no = f.pay_no AND o.attempt = f.attempt AND o.kind <> 'extra'
				AND o.state::text IN ('requested', 'processing', 'unknown', 'abnormal', 'succeeded'))
		FROM pay_refund f JOIN pay_attempt t ON t.pay_no = f.pay_no AND t.attempt = f.attempt
		WHERE f.pay_no = pay_number(told.pay_no) AND f.refund_no = told.refund_no;
	END LOOP;
END $$;

-- An order of two attempts, paid by the first one. Most orders never get the second
-- one's money, which is surplus.
CREATE FUNCTION fire.pay(order_no text) RETURNS text
	LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	PERFORM pay_prepay(order_no => pay.order_no, amount => 100, currency => 'CNY', channel => 'test', method => 'card', request_id => 'first', multi => true);
	PERFORM pay_prepay(order_no => pay.order_no, amount => 100, currency => 'CNY', channel => 'test', method => 'qr', request_id => 'second');
	RETURN fire.paid((pay_trade_nos(p.pay_no, p.routes))[1]) FROM pay_payment p WHERE p.merchant = '' AND p.order_no = pay.order_no;
END $$;

-- alone: this step is its whole transaction. Only such a step touches a second
-- payment, or something that is no payment's; who does so in a longer transaction
-- can deadlock with another that does it the other way round, as with any locks.
CREATE FUNCTION fire.one_step(stage integer, n integer, seed integer, alone boolean) RETURNS text
	LANGUAGE plpgsql VOLATILE AS $step$
DECLARE
	this_order CONSTANT text := fire.order_no(stage, n);
	dice double precision;
	pay record;
	trade text[];			-- the attempts' numbers
	refund record;			-- one that is there, at random
	called text;
	k integer;
	attempt integer;
	answered text;
	dispute bigint;
BEGIN
	PERFORM setseed(seed / 1000000000.0);
	dice := random() * 100;

	SELECT p.pay_no, p.routes, p.state::text AS state, p.winner INTO pay
	FROM pay_payment p WHERE p.merchant = '' AND p.order_no = this_order;
	IF pay.winner IS NULL THEN
		called := 'pay';
	ELSE
		trade := ARRAY(SELECT replace(t::text, '-', '') FROM unnest(pay_trade_nos(pay.pay_no, pay.routes)) AS t);
		SELECT r.refund_no, r.attempt, r.amount, r.state::text AS state, r.kind INTO refund
		FROM pay_refund r WHERE r.pay_no = pay.pay_no ORDER BY random() LIMIT 1;
		called := CASE
			WHEN dice < 32 THEN 'refund'
			WHEN dice < 46 THEN 'try again'
			WHEN dice < 62 THEN 'transition'
			WHEN dice < 80 THEN 'callback'
			WHEN dice < 84 THEN 'adopt'
			WHEN dice < 86 THEN 'twin'
			WHEN dice < 87.5 THEN 'claim'
			WHEN dice < 89 THEN 'money'
			WHEN dice < 94 THEN 'review'
			WHEN dice < 97 THEN 'update'
			WHEN dice < 98 THEN 'dispute'
			WHEN dice < 99 THEN 'nobody'
			ELSE 'mistake' END;
		IF refund IS NULL AND called IN ('try again', 'transition', 'callback', 'twin', 'update')
			OR NOT alone AND called IN ('dispute', 'nobody', 'claim') THEN
			called := 'refund';
		END IF;
	END IF;

	BEGIN
		CASE called
		WHEN 'pay' THEN
			answered := fire.pay(this_order);

		WHEN 'refund' THEN
			-- a refund_no means one amount, most times
			k := 1 + floor(random() * 80);
			attempt := CASE WHEN fire.chance(10) THEN 2 ELSE 1 END;
			SELECT r.decision INTO answered FROM pay_refund(
				trade_no => CASE WHEN attempt = 1 AND fire.chance(30) THEN pay.pay_no::text ELSE trade[attempt] END,
				refund_no => CASE WHEN fire.chance(1) THEN 'everybody''s' ELSE format('%s/%s-%s', this_order, attempt, k) END,
				amount => 1 + k * 37 % 60 + CASE WHEN fire.chance(2) THEN 1 ELSE 0 END,
				reason => 'under fire', currency => CASE WHEN fire.chance(1) THEN 'USD' WHEN fire.chance(30) THEN 'CNY' END,
				confirm => fire.chance(60)) r;

		WHEN 'try again' THEN
			SELECT r.refund_no, r.attempt, r.amount INTO refund
			FROM pay_refund r WHERE r.pay_no = pay.pay_no ORDER BY r.state <> 'failed', random() LIMIT 1;
			SELECT r.decision INTO answered FROM pay_refund(trade_no => trade[refund.attempt],
				refund_no => refund.refund_no, amount => refund.amount, reason => 'again') r;

		WHEN 'transition' THEN
			SELECT r.decision INTO answered FROM pay_refund_transition(refund_no => refund.refund_no,
				to_state => CASE WHEN fire.chance(4) THEN 'succeeded' WHEN fire.chance(10) THEN 'cancelled'
					ELSE fire.pick('processing', 'processing', 'failed', 'failed', 'failed', 'unknown', 'abnormal', 'requested', 'returned') END,
				reason => CASE WHEN fire.chance(20) THEN 'under fire' END,
				channel_txn => fire.pick(NULL, NULL, 'r1')) r;

		WHEN 'callback' THEN
			answered := CASE WHEN fire.chance(6) THEN 'succeeded' WHEN fire.chance(8) THEN 'cancelled'
				ELSE fire.pick('processing', 'failed', 'failed', 'failed', 'unknown', 'abnormal', 'requested', 'returned') END;
			SELECT r.decision INTO answered FROM pay_refund_callback(
				channel => CASE WHEN fire.chance(2) THEN 'wechat' ELSE 'test' END,
				-- a careful channel's id says what it is about; a careless one counts to twenty
				callback_id => CASE floor(random() * 4)
					WHEN 0 THEN NULL
					WHEN 1 THEN 'm' || 1 + floor(random() * 20)
					ELSE concat_ws('-', refund.refund_no, answered, floor(random() * 3)) END,
				refund_no => refund.refund_no, reported => answered,
				amount => CASE WHEN fire.chance(50) THEN refund.amount + CASE WHEN fire.chance(5) THEN 1 ELSE 0 END END,
				currency => CASE WHEN fire.chance(3) THEN 'USD' WHEN fire.chance(50) THEN 'CNY' END,
				trade_no => CASE WHEN fire.chance(3) THEN trade[1 + floor(random() * 2)] WHEN fire.chance(30) THEN trade[refund.attempt] END,
				channel_txn => fire.pick(NULL, NULL, 'r1', 'r1', 'r2'),
				kind => CASE WHEN fire.chance(3) THEN 'chargeback' ELSE 'refund' END) r;

		WHEN 'adopt' THEN
			-- a refund or chargeback that the channel knows and nobody here, at first
			k := 1 + floor(random() * 12);
			SELECT r.decision INTO answered FROM pay_refund_callback(channel => 'test',
				callback_id => CASE WHEN fire.chance(50) THEN format('adopt %s-%s', k, floor(random() * 2)) END,
				refund_no => format('%s/channel''s %s', this_order, k),
				reported => CASE WHEN fire.chance(10) THEN 'succeeded' ELSE fire.pick('processing', 'unknown', 'abnormal', 'failed', 'requested') END,
				-- now and then more than is left, or than there ever was
				amount => CASE WHEN fire.chance(10) THEN 60 + k * 5 ELSE 1 + k * 23 % 50 END, currency => 'CNY',
				trade_no => CASE WHEN fire.chance(80) THEN trade[1] WHEN fire.chance(50) THEN trade[2] ELSE pay.pay_no::text END,
				kind => CASE WHEN k % 2 = 0 THEN 'chargeback' ELSE 'refund' END) r;

		WHEN 'twin' THEN
			-- a refund of ours, under the channel's own number
			SELECT r.decision INTO answered FROM pay_refund_callback(channel => 'test', callback_id => NULL,
				refund_no => 're ' || refund.refund_no, reported => fire.pick('processing', 'processing', 'succeeded', 'failed'),
				amount => refund.amount, currency => 'CNY', trade_no => trade[refund.attempt],
				channel_txn => CASE WHEN fire.chance(50) THEN 're ' || refund.refund_no END) r;

		WHEN 'claim' THEN
			INSERT INTO fire.claimed SELECT * FROM fire.claim(fire.pick('w1', 'w2', 'w3'), 1 + floor(random() * 20)::integer,
				CASE WHEN fire.chance(50) THEN '{submit_refund}' ELSE '{submit_refund, query_refund}' END::text[]);
			answered := CASE WHEN FOUND THEN 'claimed' END;

		WHEN 'money' THEN
			-- of the second attempt, or of the first one again: by another transaction
			-- and now and then it bounces
			SELECT r.decision INTO answered FROM pay_callback(channel => 'test', callback_id => NULL,
				trade_no => trade[1 + floor(random() * 2)], reported => CASE WHEN fire.chance(5) THEN fire.pick('failed', 'reversed') ELSE 'paid' END,
				amount => fire.pick('100', '100', '99')::bigint, currency => 'CNY', channel_txn => fire.pick('t1', 't1', 't2', 't3')) r;

		WHEN 'review' THEN
			SELECT r.decision INTO answered FROM (SELECT v.review_id FROM pay_review v
				WHERE v.pay_no = pay.pay_no AND (v.resolved_at IS NULL OR fire.chance(5))
				ORDER BY v.about_money AND fire.chance(90) DESC, random() LIMIT 1) v,
				pay_review_resolve(review_id => v.review_id, verdict => fire.pick('accept', 'refund', 'refund', 'dismiss', 'alias', 'same'), reason => 'looked at it') r;

		WHEN 'update' THEN
			-- A DBA. His step locks the refund first and then its payment, the functions
			-- the other way round: so it can deadlock, and is tried again.
			UPDATE pay_refund r SET state = (CASE WHEN fire.chance(3) THEN 'succeeded'
					ELSE fire.pick('processing', 'failed', 'failed', 'unknown', 'abnormal', 'cancelled', 'returned') END)::pay_refund_state
			WHERE r.merchant = '' AND r.refund_no = refund.refund_no;
			answered := CASE WHEN FOUND THEN 'updated' ELSE 'nothing to update' END;

		WHEN 'dispute' THEN
			SELECT d.dispute_id INTO dispute FROM pay_dispute d
			WHERE d.pay_no = pay.pay_no AND (d.resolved_at IS NULL OR fire.chance(20)) ORDER BY random() LIMIT 1;
			IF FOUND AND fire.chance(30) THEN
				SELECT r.decision INTO answered FROM pay_dispute_resolve(dispute_id => dispute,
					verdict => fire.pick('refund', 'reject', 'reject'), reason => 'looked at it') r;
			ELSE
				SELECT r.decision INTO answered FROM pay_payment p,
					pay_dispute_open(trade_no => trade[1], duplicate_of => p.pay_no::text, reason => 'he paid twice') r
				WHERE p.merchant = '' AND p.order_no = fire.order_no(stage, 1 + n % 5);
			END IF;

		WHEN 'nobody' THEN
			SELECT r.decision INTO answered FROM pay_refund_callback(channel => 'test', callback_id => fire.pick(NULL, 'm1', 'm2'),
				refund_no => 'nobody''s ' || floor(random() * 20), reported => fire.pick('succeeded', 'failed'), amount => 1, currency => 'CNY') r;

		WHEN 'mistake' THEN
			CASE floor(random() * 7)
			WHEN 0 THEN PERFORM pay_refund(trade_no => trade[1], refund_no => this_order || '/0', amount => 0, reason => 'nothing');
			WHEN 1 THEN PERFORM pay_refund(trade_no => trade[1], refund_no => this_order || '/-1', amount => -1, reason => 'less than nothing');
			WHEN 2 THEN PERFORM pay_refund(trade_no => trade[1], refund_no => this_order || '/101', amount => 101, reason => 'more than there is');
			WHEN 3 THEN PERFORM pay_refund(trade_no => 'ABC123', refund_no => this_order || '/1', amount => 1, reason => 'nobody''s');
			WHEN 4 THEN PERFORM pay_refund_transition(refund_no => this_order || '/nobody''s', to_state => 'failed');
			WHEN 5 THEN PERFORM pay_refund_callback(channel => 'test', callback_id => NULL, refund_no => 'x', reported => 'paid');
			ELSE PERFORM pay_refund_callback(channel => 'nobody', callback_id => NULL, refund_no => 'x', reported => 'failed');
			END CASE;
			RAISE EXCEPTION 'a mistake was not refused';
		END CASE;

		IF fire.chance(3) THEN
			RAISE EXCEPTION 'the caller changed its mind' USING ERRCODE = 'ST000';
		END IF;
		INSERT INTO fire.answer (order_no, called, decision) VALUES (this_order, called, coalesce(answered, 'nothing to do'));
	EXCEPTION
		WHEN SQLSTATE 'PY400' OR SQLSTATE 'PY404' OR SQLSTATE 'PY409' OR SQLSTATE 'PY422' OR SQLSTATE 'ST000' THEN
			answered := SQLSTATE;
			INSERT INTO fire.answer (order_no, called, refused) VALUES (this_order, called, SQLSTATE);
	END;
	RETURN answered;
END
$step$;

-- All that must hold when the fire is out.
CREATE FUNCTION fire.check() RETURNS TABLE ("check" text, pay_no uuid, what text)
	LANGUAGE sql STABLE SET enable_seqscan = on SET jit = off AS $$
	SELECT * FROM identity.violation
	UNION ALL
	SELECT * FROM replay.violation
	UNION ALL
	-- no worker is told to send what would go beyond what came
	SELECT 'sent', pay_no, format('refund %s of attempt %s was handed out, when %s were reserved or refunded of %s', refund_no, attempt, taken, collected)
	FROM fire.claimed
	WHERE action = 'submit_refund' AND kind <> 'extra' AND taken > collected
$$;

-- ---- the watch ----

-- The cap as it is now, twice: once from the rows, once from the history alone.
-- One row per attempt that collected something, of the newest payments (their numbers
-- say which) and of those that are there on purpose; read in one statement, it is what
-- the commits up to now left.
CREATE VIEW fire.cap AS
	SELECT p.order_no, t.attempt, t.amount_collected AS collected, coalesce(t.amount_overdrawn, 0) AS overdrawn,
		coalesce(r.taken, 0) AS taken, coalesce(e.collected, 0) AS collected_in_history, coalesce(e.taken, 0) AS taken_in_history
	FROM pay_payment p JOIN pay_attempt t ON t.pay_no = p.pay_no
		LEFT JOIN LATERAL (SELECT sum(amount) AS taken FROM pay_refund r
			WHERE r.pay_no = t.pay_no AND r.attempt = t.attempt AND r.kind <> 'extra'
				AND r.state::text IN ('requested', 'processing', 'unknown', 'abnormal', 'succeeded')) r ON true
		LEFT JOIN LATERAL (SELECT max(amount) FILTER (WHERE refund_no IS NULL) AS collected,
				sum(said[1]) FILTER (WHERE refund_no IS NOT NULL AND is_last
					AND refund_after IN ('requested', 'processing', 'unknown', 'abnormal', 'succeeded')) AS taken
			FROM (SELECT refund_no, amount, refund_after::text AS refund_after,
					lead(seq) OVER (PARTITION BY refund_no ORDER BY seq) IS NULL AS is_last,
					-- what it is of is what was said last that counts
					array_agg(amount) FILTER (WHERE amount IS NOT NULL AND decision::text IN ('applied', 'proceed')
						AND NOT (source = 'review' AND reason LIKE 'review %, %: %'))
						OVER (PARTITION BY refund_no ORDER BY seq DESC ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS said
				FROM pay_event e
				WHERE e.pay_no = t.pay_no AND e.attempt = t.attempt
					AND (e.refund_after IS NOT NULL AND e.refund_no !~ '^[0-9a-f]{32}x[0-9a-f]{16}$'
						OR e.refund_no IS NULL AND e.attempt_after::text = 'paid' AND e.attempt_before::text <> 'paid')) e) e ON true
	WHERE (p.pay_no IN (SELECT pay_no FROM pay_payment ORDER BY pay_no DESC LIMIT 50) OR p.order_no LIKE 'purpose %') AND t.amount_collected IS NOT NULL;

CREATE TABLE fire.over_cap (LIKE fire.cap, seen_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE fire.watched (
	looks bigint NOT NULL DEFAULT 0,
	attempts bigint NOT NULL DEFAULT 0,
	some_taken bigint NOT NULL DEFAULT 0,
	all_taken bigint NOT NULL DEFAULT 0,
	overdrawn bigint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN fire.watched.attempts IS 'attempts seen, in all looks';
COMMENT ON COLUMN fire.watched.some_taken IS 'of them, those with money reserved or refunded';
COMMENT ON COLUMN fire.watched.all_taken IS 'of them, those with nothing left';
COMMENT ON COLUMN fire.watched.overdrawn IS 'and those of which the channel took more';
INSERT INTO fire.watched DEFAULT VALUES;
CREATE TABLE fire.ceased ();

-- Looks again and again, until somebody puts a row into fire.ceased.
CREATE PROCEDURE fire.watch() LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		WITH look AS MATERIALIZED (SELECT * FROM fire.cap),
			wrong AS (INSERT INTO fire.over_cap SELECT * FROM look
				WHERE overdrawn <> greatest(taken - collected, 0)
					OR (taken, collected) IS DISTINCT FROM (taken_in_history, collected_in_history))
		UPDATE fire.watched SET looks = looks + 1,
			attempts = attempts + (SELECT count(*) FROM look),
			some_taken = some_taken + (SELECT count(*) FROM look WHERE taken > 0),
			all_taken = all_taken + (SELECT count(*) FROM look WHERE taken = collected),
			overdrawn = overdrawn + (SELECT count(*) FROM look WHERE taken > collected);
		COMMIT;
		EXIT WHEN EXISTS (SELECT FROM fire.ceased);
	END LOOP;
END $$;
