-- The storm: one step of a careless world upon one order, chosen at random.
--
-- A step of the storm calls one function, with good arguments, bad ones, late
-- ones and repeated ones, and writes down what it was answered in the same
-- transaction: what is rolled back was never answered. Errors for a caller's
-- mistake (PY400, PY404, PY409, PY422) are counted. Everything else goes
-- through: 40001 and 40P01 to pgbench, which tries the transaction again, and
-- what nobody expected to the test, which fails.

CREATE SCHEMA storm;

CREATE TABLE storm.answer (
	order_no text NOT NULL,
	called text NOT NULL,
	decision text,
	refused text,
	isolation text NOT NULL DEFAULT current_setting('transaction_isolation')
);
COMMENT ON COLUMN storm.answer.refused IS 'SQLSTATE of the error, where there was no decision';

-- Routes with what the presets do not have: handed out again at once to
-- anybody, never to be handed out again, one attempt at most.
INSERT INTO pay_channel (channel, method, resubmit_after) VALUES ('storm', 'again', '0');
INSERT INTO pay_channel (channel, method, resubmit_after, can_resubmit) VALUES ('storm', 'once', '0', false);
INSERT INTO pay_channel (channel, method, max_attempts) VALUES ('tight', 'tight', 1);

-- Nothing but these is handed out again to others, however long this takes.
UPDATE pay_channel SET resubmit_after = '1 year' WHERE channel IN ('test', 'tight');

-- Workers ask soon, some schedules end, and some attempts time out.
UPDATE pay_channel SET schedule = '{100ms,200ms,400ms,1s,2s,4s,8s}' WHERE channel IN ('test', 'storm', 'tight');
UPDATE pay_channel SET schedule_held = '{200ms,1s}', held_for = '5 seconds' WHERE channel IN ('test', 'storm', 'tight');
UPDATE pay_channel SET schedule = '{100ms}', timeout = '2 seconds' WHERE channel = 'storm';

-- What orders hold: five of each stock; rooms are in somebody else's hotel.
INSERT INTO pay_resource (resource, capacity, external) VALUES ('stock', 5, false), ('room', NULL, true);

CREATE FUNCTION storm.pick(VARIADIC choices text[]) RETURNS text
	LANGUAGE sql VOLATILE AS 'SELECT choices[1 + floor(random() * cardinality(choices))::integer]';

CREATE FUNCTION storm.chance(percent double precision) RETURNS boolean
	LANGUAGE sql VOLATILE AS 'SELECT random() * 100 < percent';

-- An attempt's number from its payment's, by the bits of the design.
CREATE FUNCTION storm.trade_no(pay_no uuid, attempt integer, route integer) RETURNS text
	LANGUAGE sql IMMUTABLE AS $$
	SELECT overlay(overlay(replace(pay_no::text, '-', '')
		PLACING lpad(to_hex(route), 3, '0') FROM 14)
		PLACING to_hex(128 + attempt) FROM 17)
$$;

-- alone: this step is its whole transaction. Reports about nobody's number
-- lock a review and no payment, and an order that replaces another locks two
-- payments; a transaction that did more besides could deadlock with another
-- that does it the other way round, as with any two locks.
CREATE FUNCTION storm.one_step(round integer, n integer, seed integer, alone boolean) RETURNS text
	LANGUAGE plpgsql VOLATILE AS $step$
DECLARE
	this_order CONSTANT text := format('storm %s-%s', round, n);
	-- orders 101 to 120 look like 1 to 20: the same payer, the same amount
	price CONSTANT bigint := 1000 + CASE WHEN n BETWEEN 101 AND 120 THEN n - 100 ELSE n END;
	-- orders above 200 come into being in the place of an older one, most times: two
	-- for each of these
	replaced_order CONSTANT text := CASE WHEN n > 200 THEN format('storm %s-%s', round, 21 + n % 20) END;
	dice double precision;
	pay record;
	attempt integer;
	trade text;			-- an attempt's number, most times
	own_channel text := 'test';
	called text;
	k integer;
	route_of_request text;
	answered text;
	ask record;
	review bigint;
	refund record;		-- one of this payment, if there is any
	dispute bigint;
	hold text;
	wanted text[];		-- what the order is to hold; most orders hold nothing
BEGIN
	PERFORM setseed(seed / 1000000000.0);

	SELECT p.pay_no, p.routes INTO pay
	FROM pay_payment p WHERE p.merchant = '' AND p.order_no = this_order;
	IF pay.routes <> '{}' THEN
		attempt := 1 + floor(random() * cardinality(pay.routes));
		trade := storm.trade_no(pay.pay_no, attempt, pay.routes[attempt]);
		SELECT c.channel INTO own_channel FROM pay_channel c WHERE c.route = pay.routes[attempt];
	END IF;

	SELECT r.refund_no, r.attempt, r.amount INTO refund
	FROM pay_refund r WHERE r.pay_no = pay.pay_no ORDER BY random() LIMIT 1;
	SELECT h.resource INTO hold
	FROM pay_hold h WHERE h.pay_no = pay.pay_no AND h.external ORDER BY random() LIMIT 1;

	dice := random() * 100;
	called := CASE
		WHEN dice < 3 THEN 'create'
		WHEN dice < 29 THEN 'prepay'
		WHEN dice < 35 THEN 'credential'
		WHEN dice < 63 THEN 'callback'
		WHEN dice < 71 THEN 'transition'
		WHEN dice < 73 THEN 'transition of the payment'
		WHEN dice < 75 THEN 'query'
		WHEN dice < 77 THEN 'history'
		WHEN dice < 82 THEN 'review'
		WHEN dice < 84 THEN 'update'
		WHEN dice < 89 THEN 'refund'
		WHEN dice < 92 THEN 'refund_transition'
		WHEN dice < 96 THEN 'refund_callback'
		WHEN dice < 97.5 THEN 'dispute'
		WHEN dice < 97.8 THEN 'mistake'
		WHEN dice < 99.3 THEN 'claim'
		ELSE 'callback for nobody' END;
	IF called IN ('callback for nobody', 'dispute', 'claim') AND NOT alone THEN
		called := 'query';
	END IF;
	-- a participant's word locks a resource, and so does an order that wants some
	IF alone AND hold IS NOT NULL AND storm.chance(15) THEN
		called := 'hold_done';
	END IF;
	IF alone AND n BETWEEN 121 AND 160 THEN
		wanted := ARRAY(SELECT w FROM unnest(ARRAY[
			format('coupon:%s-%s', round, 1 + floor(random() * 12)),
			format('stock:%s-%s#%s', round, 1 + n % 4, 1 + n % 3),
			format('room:%s-%s-1', round, n), format('room:%s-%s-2', round, n)]) AS w WHERE storm.chance(60));
	END IF;
	IF trade IS NULL AND called IN ('credential', 'callback', 'transition', 'transition of the payment', 'history', 'review', 'update',
			'refund', 'refund_callback', 'dispute')
		OR refund IS NULL AND called = 'refund_transition' THEN
		called := 'prepay';
	END IF;
	IF called = 'prepay' AND replaced_order IS NOT NULL THEN
		called := CASE WHEN alone AND storm.chance(80) THEN 'prepay that replaces' WHEN trade IS NULL AND NOT storm.chance(10) THEN 'query' ELSE called END;
	END IF;

	BEGIN
		CASE called
		WHEN 'create' THEN
			SELECT r.decision INTO answered FROM pay_create(order_no => this_order,
				amount => price, currency => 'CNY', payer => 'payer ' || n % 50, multi => n % 3 = 0,
				valid_for => CASE WHEN n % 10 = 7 OR n BETWEEN 121 AND 140 THEN interval '2 seconds' WHEN n BETWEEN 141 AND 160 THEN interval '1 hour' END) r;

		WHEN 'prepay', 'prepay that replaces' THEN
			-- most times a request id comes with the route that it came with before
			k := 1 + floor(random() * 12);
			route_of_request := (ARRAY['test/test', 'test/card', 'test/qr', 'storm/again', 'storm/once', 'tight/tight'])[
				CASE WHEN storm.chance(5) THEN 1 + floor(random() * 6) ELSE 1 + k % 6 END];
			SELECT r.decision INTO answered FROM pay_prepay(order_no => this_order,
				amount => price + CASE WHEN storm.chance(1) THEN 1 ELSE 0 END,
				currency => CASE WHEN storm.chance(1) THEN 'USD' ELSE 'CNY' END,
				channel => split_part(route_of_request, '/', 1),
				method => split_part(route_of_request, '/', 2),
				request_id => 'r' || k,
				payer => 'payer ' || n % 50,
				multi => n % 3 = 0,
				valid_for => CASE WHEN n % 10 = 7 OR n BETWEEN 121 AND 140 THEN interval '2 seconds' WHEN n BETWEEN 141 AND 160 THEN interval '1 hour' END,
				holds => wanted,
				replaces => CASE WHEN called = 'prepay that replaces' THEN replaced_order END,
				confirm => storm.chance(30)) r;

		WHEN 'credential' THEN
			SELECT r.decision INTO answered FROM pay_credential(trade_no => trade,
				credential => storm.pick('wx1', 'wx2'),
				valid_for => storm.pick('2 hours', '100 milliseconds', '1 second')::interval) r;

		WHEN 'callback' THEN
			ask := (SELECT q FROM (SELECT
				storm.pick('failed', 'failed', 'failed', 'failed', 'unknown', 'unknown', 'paying', 'authorized',
					'authorized', 'capturing', 'closing', 'closed', 'reversed', 'paid', 'paid') AS reported,
				CASE WHEN storm.chance(5) THEN 'wechat' ELSE own_channel END AS channel,
				price + storm.pick('0', '0', '0', '0', '0', '0', '0', '0', '-1', '7')::bigint AS amount,
				CASE WHEN storm.chance(3) THEN 'USD' ELSE 'CNY' END AS currency) q);
			SELECT r.decision INTO answered FROM pay_callback(channel => ask.channel,
				-- a careful channel's id says what it is about; a careless one counts to twelve
				callback_id => CASE floor(random() * 4)
					WHEN 0 THEN NULL
					WHEN 1 THEN 'm' || 1 + floor(random() * 12)
					ELSE concat_ws('-', attempt, ask.reported, ask.amount, ask.currency, floor(random() * 2)) END,
				trade_no => CASE WHEN storm.chance(50) THEN trade ELSE trade::uuid::text END,
				reported => ask.reported, amount => ask.amount, currency => ask.currency,
				channel_txn => storm.pick(NULL, NULL, NULL, 't1', 't1', 't2'),
				-- most reports are of before, some of after whatever was asked for
				occurred_at => CASE WHEN storm.chance(25) THEN now() + interval '1 minute' WHEN storm.chance(80) THEN now() - random() * interval '1 hour' END,
				merchant => CASE WHEN storm.chance(30) THEN '' WHEN alone AND storm.chance(3) THEN 'another' END,
				payload => CASE WHEN storm.chance(20) THEN '{"storm": true}'::jsonb END) r;

		WHEN 'transition' THEN
			SELECT r.decision INTO answered FROM pay_transition(trade_no => trade,
				to_state => storm.pick('authorized', 'capturing', 'capturing', 'unknown', 'failed', 'closing', 'closed', 'reversed', 'paid'),
				amount => CASE WHEN storm.chance(20) THEN price - storm.pick('0', '1')::bigint END,
				request_id => CASE WHEN storm.chance(50) THEN 's' || 1 + floor(random() * 20) END) r;

		WHEN 'transition of the payment' THEN
			-- the reason tells the checker that the payment was asked to end
			IF storm.chance(40) THEN
				SELECT r.decision INTO answered FROM pay_close(order_no => this_order, reason => 'given up') r;
			ELSE
				SELECT r.decision INTO answered FROM pay_transition(trade_no => pay.pay_no::text,
					to_state => storm.pick('closing', 'closing', 'closed', 'reversed'),
					reason => 'the whole payment') r;
			END IF;

		WHEN 'query' THEN
			SELECT r.decision INTO answered FROM pay_query(order_no => this_order) r;

		WHEN 'history' THEN
			SELECT CASE WHEN count(*) = max(h.seq) THEN 'whole' END INTO STRICT answered FROM pay_history(trade_no => trade) h;
			IF answered IS NULL THEN
				RAISE EXCEPTION 'pay_history() of % has a gap', this_order;
			END IF;

		WHEN 'review' THEN
			SELECT v.review_id INTO review FROM pay_review v
			WHERE v.pay_no = pay.pay_no AND (v.resolved_at IS NULL OR storm.chance(20))
			ORDER BY random() LIMIT 1;
			IF FOUND THEN
				SELECT r.decision INTO answered FROM pay_review_resolve(review_id => review,
					verdict => storm.pick('accept', 'accept', 'refund', 'refund', 'dismiss', 'alias', 'same'), reason => 'looked at it') r;
			ELSE
				called := 'query';
				SELECT r.decision INTO answered FROM pay_query(order_no => this_order) r;
			END IF;

		WHEN 'update' THEN
			-- A DBA. His steps of payments and attempts, legal ones, are for every
			-- fifth order only, so that the others show what the functions do.
			IF n % 5 = 4 AND storm.chance(30) THEN
				UPDATE pay_payment p SET state = 'unknown' WHERE p.pay_no = pay.pay_no
					AND p.state IN ('paying', 'authorized', 'capturing', 'closing');
			ELSIF n % 5 = 4 AND storm.chance(30) THEN
				UPDATE pay_payment p SET state = 'closing' WHERE p.pay_no = pay.pay_no
					AND p.state IN ('paying', 'authorized', 'unknown');
			ELSIF n % 5 = 4 AND storm.chance(20) THEN
				UPDATE pay_payment p SET state = 'failed' WHERE p.pay_no = pay.pay_no
					AND p.state IN ('paying', 'authorized', 'unknown') AND NOT p.end_requested;
			ELSIF n % 5 = 4 AND storm.chance(10) THEN
				UPDATE pay_payment p SET state = 'closed' WHERE p.pay_no = pay.pay_no
					AND p.state IN ('paying', 'authorized', 'unknown', 'closing', 'failed');
			ELSIF n % 5 = 4 AND storm.chance(20) THEN
				-- the payment first, as the functions do: so it cannot deadlock
				PERFORM FROM pay_payment p WHERE p.pay_no = pay.pay_no FOR NO KEY UPDATE;
				UPDATE pay_attempt t SET state = 'paid', amount_collected = coalesce(t.amount_to_capture, t.amount)
				WHERE t.trade_no = trade::uuid AND t.state IN ('paying', 'unknown', 'closing', 'failed', 'closed', 'reversed')
					-- of which the channel took something already: only a report can say that it came
					AND t.amount_reserved IS NULL AND t.amount_refunded IS NULL;
			ELSIF refund IS NOT NULL AND storm.chance(50) THEN
				PERFORM FROM pay_payment p WHERE p.pay_no = pay.pay_no FOR NO KEY UPDATE;
				UPDATE pay_refund r SET state = 'processing' WHERE r.merchant = '' AND r.refund_no = refund.refund_no
					AND r.state IN ('requested', 'unknown', 'abnormal');
			ELSE
				UPDATE pay_payment p SET metadata = jsonb_build_object('touched', random()) WHERE p.pay_no = pay.pay_no;
			END IF;
			answered := CASE WHEN FOUND THEN 'updated' ELSE 'nothing to update' END;

		WHEN 'refund' THEN
			-- a refund_no means one amount, most times
			k := 1 + floor(random() * 8);
			SELECT r.decision INTO answered FROM pay_refund(
				trade_no => CASE WHEN k % 3 = 0 THEN pay.pay_no::text ELSE trade END,
				refund_no => format('%s/%s', this_order, k),
				amount => 1 + k * 137 % 700 + CASE WHEN storm.chance(3) THEN 1 ELSE 0 END, reason => 'storm',
				currency => storm.pick(NULL, 'CNY'), confirm => storm.chance(50)) r;

		WHEN 'refund_transition' THEN
			SELECT r.decision INTO answered FROM pay_refund_transition(refund_no => refund.refund_no,
				to_state => storm.pick('processing', 'processing', 'succeeded', 'failed', 'failed', 'unknown', 'abnormal', 'cancelled', 'requested', 'returned'),
				channel_txn => storm.pick(NULL, 'f1')) r;

		WHEN 'refund_callback' THEN
			-- of a refund that is there, or of one that only the channel knows, at first
			k := 1 + floor(random() * 12);
			-- (and then, unless alone, not of one that nobody can adopt: that locks no payment)
			ask := (SELECT q FROM (SELECT
				CASE WHEN alone OR refund IS NOT NULL AND k >= 3
					THEN storm.pick('failed', 'failed', 'processing', 'succeeded', 'succeeded', 'unknown', 'abnormal', 'cancelled', 'requested', 'returned')
					ELSE storm.pick('processing', 'succeeded', 'unknown', 'abnormal') END AS reported,
				CASE WHEN storm.chance(5) THEN 'wechat' ELSE own_channel END AS channel,
				CASE WHEN refund IS NULL OR k < 3 THEN format('%s/%s', this_order, k) ELSE refund.refund_no END AS refund_no,
				-- now and then beyond what there is, now and then ours under the channel's own number
				CASE WHEN storm.chance(10) THEN price + k WHEN k < 3 AND refund IS NOT NULL AND storm.chance(50) THEN refund.amount
					WHEN refund IS NULL OR k < 3 THEN 1 + k * 137 % 700 WHEN storm.chance(50) THEN refund.amount END AS amount) q);
			SELECT r.decision INTO answered FROM pay_refund_callback(channel => ask.channel,
				callback_id => CASE floor(random() * 3)
					WHEN 0 THEN NULL
					WHEN 1 THEN 'm' || 1 + floor(random() * 6)
					ELSE concat_ws('-', ask.refund_no, ask.reported, ask.amount) END,
				refund_no => ask.refund_no, reported => ask.reported, amount => ask.amount,
				currency => CASE WHEN ask.amount IS NOT NULL THEN 'CNY' END,
				trade_no => CASE WHEN storm.chance(90) OR NOT alone THEN trade END,
				channel_txn => storm.pick(NULL, 'f1', 'f2'),
				kind => CASE WHEN ask.refund_no LIKE '%/1' THEN 'chargeback' ELSE 'refund' END) r;

		WHEN 'claim' THEN
			-- some worker's; what he was told to do is reported, or not, by whatever comes
			SELECT CASE WHEN count(*) > 0 THEN 'claimed' END INTO STRICT answered
			FROM pay_claim(worker => storm.pick('w1', 'w2', 'w3'), max_tasks => 1 + floor(random() * 40)::integer,
				lease => storm.pick('100 milliseconds', '1 second')::interval,
				actions => CASE WHEN storm.chance(30) THEN ARRAY[storm.pick('query', 'close', 'void', 'submit_refund', 'query_refund', 'confirm_hold', 'release_hold')] END);

		WHEN 'hold_done' THEN
			SELECT r.decision INTO answered FROM pay_hold_done(trade_no => pay.pay_no::text, resource => hold,
				done => storm.pick('tried', 'confirmed', 'released', 'released')) r;

		WHEN 'dispute' THEN
			SELECT d.dispute_id INTO dispute FROM pay_dispute d WHERE d.pay_no = pay.pay_no ORDER BY random() LIMIT 1;
			IF FOUND THEN
				SELECT r.decision INTO answered FROM pay_dispute_resolve(dispute_id => dispute,
					verdict => storm.pick('refund', 'refund', 'reject'), reason => 'looked at it') r;
			ELSE
				SELECT r.decision INTO answered FROM pay_payment p,
					pay_dispute_open(trade_no => trade, duplicate_of => p.pay_no::text, reason => 'he says that it is one') r
				WHERE p.merchant = '' AND p.order_no = format('storm %s-%s', round, n % 20 + 1);
			END IF;

		WHEN 'mistake' THEN
			CASE floor(random() * 10)
			WHEN 0 THEN PERFORM pay_create(order_no => this_order, amount => -1, currency => 'CNY');
			WHEN 1 THEN PERFORM pay_prepay(order_no => this_order, amount => price, currency => 'cn', channel => 'test', method => 'qr', request_id => 'r1');
			WHEN 2 THEN PERFORM pay_prepay(order_no => this_order, amount => price, currency => 'CNY', channel => 'nobody', method => 'qr', request_id => 'r1');
			WHEN 3 THEN PERFORM pay_callback(channel => 'test', callback_id => 'm1', trade_no => coalesce(trade, '0'), reported => 'paid');
			WHEN 4 THEN PERFORM pay_credential(trade_no => gen_random_uuid()::text, credential => 'wx1', valid_for => '1 hour');
			WHEN 5 THEN PERFORM pay_transition(trade_no => 'ABC123', to_state => 'failed');
			WHEN 6 THEN PERFORM pay_transition(trade_no => coalesce(trade, gen_random_uuid()::text), to_state => 'paying');
			WHEN 7 THEN PERFORM pay_refund(trade_no => coalesce(trade, gen_random_uuid()::text), refund_no => this_order || '/0', amount => -1, reason => 'less than nothing');
			WHEN 8 THEN PERFORM pay_prepay(order_no => this_order, amount => price, currency => 'CNY', channel => 'test', method => 'qr', request_id => 'r1', replaces => this_order);
			ELSE PERFORM pay_review_resolve(review_id => -1, verdict => 'dismiss', reason => 'looked at it');
			END CASE;
			RAISE EXCEPTION 'a mistake was not refused';

		WHEN 'callback for nobody' THEN
			SELECT r.decision INTO answered FROM pay_callback(channel => 'test', callback_id => storm.pick(NULL, 'm1', 'm2'),
				trade_no => 'nobody ' || floor(random() * 20), reported => storm.pick('paid', 'failed'), amount => price, currency => 'CNY') r;
		END CASE;

		IF storm.chance(3) THEN
			RAISE EXCEPTION 'the caller changed its mind' USING ERRCODE = 'ST000';
		END IF;
		INSERT INTO storm.answer (order_no, called, decision) VALUES (this_order, called, coalesce(answered, 'nothing to do'));
	EXCEPTION
		WHEN SQLSTATE 'PY400' OR SQLSTATE 'PY404' OR SQLSTATE 'PY409' OR SQLSTATE 'PY422' OR SQLSTATE 'ST000' THEN
			answered := SQLSTATE;
			INSERT INTO storm.answer (order_no, called, refused) VALUES (this_order, called, SQLSTATE);
	END;
	RETURN answered;
END
$step$;
