/*
 * pay_prepay and pay_callback in PL/pgSQL, as its best friend would write them:
 * the same rules (bench/sql/same_rules.sql compares the answers), on the tables
 * of rival_tables.sql. A call looks without a lock first and answers if nothing
 * is to be written; else it locks the payment and decides again. Nothing is
 * read twice without need, nothing is looped over, plans are cached.
 *
 * Left out, in its favour: guards, CHECKs, holds, the shard and the route in the
 * numbers (a number is 48 bits of milliseconds, the attempt in its ninth byte,
 * random bits), the setting of rule 9's window, and whatever only follows what
 * other functions do: a second transaction that a person called an alias or gave
 * back, a bounce that a person booked, a schedule of questions that is over.
 */
SET search_path = plpgsql;

-- The label of a state, where it is not known from the rule itself.
CREATE FUNCTION label(state "char") RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE state WHEN 'p' THEN 'paying' WHEN 'P' THEN 'paid' WHEN 'f' THEN 'failed' WHEN 'C' THEN 'closed'
		WHEN 'u' THEN 'unknown' WHEN 'c' THEN 'created' WHEN 'a' THEN 'authorized' WHEN 'x' THEN 'capturing'
		WHEN 'g' THEN 'closing' WHEN 'r' THEN 'reversed' END;

-- The numbers of a payment's attempts.
CREATE FUNCTION trade_nos(pay_no uuid, attempts integer) RETURNS uuid[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN ARRAY(SELECT encode(set_byte(uuid_send(pay_no), 8, 128 + i), 'hex')::uuid FROM generate_series(1, attempts) i);

-- What a payment shows in the state current, whose most open attempt is in the state open.
CREATE FUNCTION shows(current "char", open "char") RETURNS "char"
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE WHEN (current, open) IN (('p', 'x'), ('a', 'p'), ('x', 'p'), ('x', 'g'), ('g', 'p'), ('g', 'x'))
		THEN 'u'::"char" ELSE open END;

-- Rule 8: may this order replace that one? What it says, or which payment is to be given up.
CREATE FUNCTION may_replace(p_merchant text, p_replaces text, p_pay_no uuid, p_attempts integer, p_lock boolean,
	OUT given_up uuid, OUT decision text, OUT other_order_no text)
	LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	v_old record;
BEGIN
	IF p_lock THEN
		SELECT pay_no, state, replaced_by INTO v_old
			FROM plpgsql.payment WHERE merchant = p_merchant AND order_no = p_replaces FOR NO KEY UPDATE;
	ELSE
		SELECT pay_no, state, replaced_by INTO v_old
			FROM plpgsql.payment WHERE merchant = p_merchant AND order_no = p_replaces;
	END IF;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no order "%" to replace', p_replaces USING ERRCODE = 'PY404';
	ELSIF v_old.state = 'P' THEN
		decision := 'already_paid';
		other_order_no := p_replaces;
	ELSIF v_old.replaced_by <> p_pay_no OR (v_old.replaced_by IS NOT NULL AND p_pay_no IS NULL) THEN
		decision := 'closed';
		other_order_no := (SELECT order_no FROM plpgsql.payment WHERE pay_no = v_old.replaced_by);
	ELSIF v_old.replaced_by IS NULL AND p_attempts > 0 THEN
		RAISE EXCEPTION 'an order that was tried to pay cannot replace "%"', p_replaces USING ERRCODE = 'PY409';
	ELSIF v_old.replaced_by IS NULL THEN
		given_up := v_old.pay_no;
	END IF;
END
$$;

-- The order needs no more money: its attempts in these states, but for one, are to be closed at once.
CREATE FUNCTION end_soon(p_pay_no uuid, p_attempts integer, p_states "char"[], p_but_for uuid) RETURNS void
	LANGUAGE sql VOLATILE AS $$
	WITH due AS (
		UPDATE plpgsql.attempt SET check_at = clock_timestamp()
		WHERE trade_no = ANY (plpgsql.trade_nos(p_pay_no, p_attempts)) AND state = ANY (p_states)
			AND trade_no IS DISTINCT FROM p_but_for
		RETURNING check_at, pay_no, attempt
	)
	INSERT INTO plpgsql.task (due_at, queued_for, pay_no, attempt) SELECT check_at, check_at, pay_no, attempt FROM due
$$;

-- The customer gives up this order for another: its attempts are to be closed.
CREATE FUNCTION give_up(p_pay_no uuid, p_successor uuid, p_reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	v_pay record;
	v_try record;
	v_seq integer;
	v_before "char";
	v_after "char";
BEGIN
	SELECT state, routes, last_seq INTO v_pay FROM plpgsql.payment WHERE pay_no = p_pay_no FOR NO KEY UPDATE;
	v_seq := v_pay.last_seq;
	v_after := v_pay.state;
	FOR v_try IN SELECT trade_no, attempt, state FROM plpgsql.attempt
		WHERE trade_no = ANY (plpgsql.trade_nos(p_pay_no, cardinality(v_pay.routes))) AND state IN ('p', 'a', 'u') ORDER BY attempt
	LOOP
		UPDATE plpgsql.attempt SET state = 'g', check_at = clock_timestamp() WHERE trade_no = v_try.trade_no;
		v_before := v_after;
		v_after := plpgsql.shows(v_before, (SELECT state FROM plpgsql.attempt
			WHERE trade_no = ANY (plpgsql.trade_nos(p_pay_no, cardinality(v_pay.routes))) AND state IN ('x', 'a', 'p', 'u', 'g')
			ORDER BY array_position('{x,a,p,u,g}'::"char"[], state) LIMIT 1));
		v_seq := v_seq + 1;
		INSERT INTO plpgsql.event (pay_no, seq, attempt, decision, payment_before, payment_after, attempt_before,
				attempt_after, source, reason)
			VALUES (p_pay_no, v_seq, v_try.attempt, 'a', v_before, v_after, v_try.state, 'g', 'prepay', p_reason);
		INSERT INTO plpgsql.task (due_at, queued_for, pay_no, attempt)
			SELECT check_at, check_at, pay_no, attempt FROM plpgsql.attempt WHERE trade_no = v_try.trade_no;
	END LOOP;
	v_before := v_after;
	v_after := CASE WHEN v_before IN ('c', 'f') THEN 'C'::"char" ELSE v_before END;
	v_seq := v_seq + 1;
	INSERT INTO plpgsql.event (pay_no, seq, attempt, decision, payment_before, payment_after, source, reason)
		VALUES (p_pay_no, v_seq, 0, 'a', v_before, v_after, 'prepay', p_reason);
	UPDATE plpgsql.payment SET state = v_after, replaced_by = p_successor, end_requested = true, last_seq = v_seq
		WHERE pay_no = p_pay_no;
	PERFORM plpgsql.end_soon(p_pay_no, cardinality(v_pay.routes), '{x}', NULL);
END
$$;

-- Rule 9: another order of the same payer that the customer may mean: open, or paid a moment ago.
CREATE FUNCTION look_alike(p_merchant text, p_payer text, p_amount bigint, p_currency text, p_order_no text, p_replaces text) RETURNS text
	LANGUAGE sql STABLE AS $$
	SELECT order_no
	FROM (SELECT * FROM plpgsql.payment WHERE merchant = p_merchant AND payer = p_payer ORDER BY pay_no DESC LIMIT 100) p,
		LATERAL (SELECT clock_timestamp() - interval '10 minutes') t (since)
	WHERE amount = p_amount AND currency = p_currency AND order_no <> p_order_no AND order_no IS DISTINCT FROM p_replaces
		AND CASE
			WHEN state IN ('p', 'a', 'x', 'u', 'g') THEN replaced_by IS NULL AND created_at > since
			WHEN state = 'P' THEN EXISTS (SELECT FROM plpgsql.event e
				WHERE e.pay_no = p.pay_no AND payment_after = 'P' AND payment_before IS DISTINCT FROM 'P' AND recorded_at > since)
			END
	ORDER BY pay_no DESC LIMIT 1
$$;

-- The attempt that the payment's number means: the winner, the only open one, or the only one there is.
CREATE FUNCTION meant(p_pay_no uuid) RETURNS integer
	LANGUAGE sql STABLE AS $$
	SELECT coalesce(p.winner, CASE count(a.attempt)
		WHEN 0 THEN CASE WHEN cardinality(p.routes) = 1 THEN 1 END
		WHEN 1 THEN min(a.attempt) END)
	FROM plpgsql.payment p
		LEFT JOIN plpgsql.attempt a ON a.trade_no = ANY (plpgsql.trade_nos(p.pay_no, cardinality(p.routes))) AND a.state IN ('x', 'a', 'p', 'u', 'g')
	WHERE p.pay_no = p_pay_no
	GROUP BY p.pay_no
$$;

CREATE FUNCTION prepay(p_order_no text, p_amount bigint, p_currency text, p_channel text, p_method text,
	p_request_id text, p_merchant text DEFAULT '', p_payer text DEFAULT NULL, p_multi boolean DEFAULT NULL,
	p_valid_for interval DEFAULT NULL, p_replaces text DEFAULT NULL, p_confirm boolean DEFAULT false,
	p_metadata jsonb DEFAULT NULL,
	OUT decision text, OUT pay_no uuid, OUT trade_no text, OUT state text, OUT attempt integer,
	OUT attempt_state text, OUT credential text, OUT credential_expires_at timestamptz, OUT other_order_no text, OUT detail text)
	LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
	v_route smallint;
	v_resubmit_after interval;
	v_resubmit_within interval;
	v_max_attempts smallint;
	v_can_resubmit boolean;
	v_first_look interval;
	v_bytes bytea;
	v_trade_no uuid;
	v_pay record;
	v_try record;
	v_other record;
	v_attempts integer;
	v_locked boolean := false;
	v_looked boolean := false;
	v_mine boolean;
	v_changed text;
	v_given_up uuid;
	v_seen uuid;
	v_seen_at timestamptz;
	v_due_at timestamptz;
BEGIN
	IF p_order_no IS NULL OR p_order_no = '' OR octet_length(p_order_no) > 255
			OR p_merchant IS NULL OR octet_length(p_merchant) > 255
			OR p_request_id IS NULL OR p_request_id = '' OR octet_length(p_request_id) > 255
			OR p_payer = '' OR octet_length(p_payer) > 255
			OR p_replaces = '' OR octet_length(p_replaces) > 255 OR p_replaces = p_order_no
			OR p_amount IS NULL OR p_amount NOT BETWEEN 0 AND 9007199254740991
			OR p_currency IS NULL OR p_currency !~ '^[A-Z]{3}$' OR p_valid_for <= '0' OR p_valid_for > '731 days' THEN
		RAISE EXCEPTION 'bad argument' USING ERRCODE = 'PY400';
	END IF;
	SELECT route, resubmit_after, resubmit_within, max_attempts, can_resubmit, schedule[1]
		INTO v_route, v_resubmit_after, v_resubmit_within, v_max_attempts, v_can_resubmit, v_first_look
		FROM plpgsql.channel WHERE channel = p_channel AND method = p_method;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no channel "%" with method "%"', p_channel, p_method USING ERRCODE = 'PY400';
	END IF;

	LOOP
		IF v_locked THEN
			IF p_replaces IS NOT NULL THEN
				PERFORM FROM plpgsql.payment WHERE merchant = p_merchant AND order_no IN (p_order_no, p_replaces)
					ORDER BY pay_no FOR NO KEY UPDATE;
			END IF;
			SELECT pay_no, amount, currency, payer, multi, state, end_requested, valid_until, winner, routes, last_seq, replaced_by INTO v_pay
				FROM plpgsql.payment WHERE merchant = p_merchant AND order_no = p_order_no FOR NO KEY UPDATE;
		ELSE
			SELECT pay_no, amount, currency, payer, multi, state, end_requested, valid_until, winner, routes, last_seq, replaced_by INTO v_pay
				FROM plpgsql.payment WHERE merchant = p_merchant AND order_no = p_order_no;
		END IF;

		-- Rule 1: a new order; 8 and 9 are asked of it, too. One that costs nothing is paid.
		IF NOT FOUND THEN
			IF p_replaces IS NOT NULL THEN
				SELECT * INTO v_given_up, decision, other_order_no
					FROM plpgsql.may_replace(p_merchant, p_replaces, NULL, 0, true);
				IF decision IS NOT NULL THEN
					RETURN;
				END IF;
			END IF;
			IF p_payer IS NOT NULL AND NOT p_confirm THEN
				other_order_no := plpgsql.look_alike(p_merchant, p_payer, p_amount, p_currency, p_order_no, p_replaces);
				IF other_order_no IS NOT NULL THEN
					decision := 'confirm';
					RETURN;
				END IF;
			END IF;
			v_looked := true;
			v_bytes := overlay(uuid_send(gen_random_uuid())
				PLACING substring(int8send((date_part('epoch', clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6);
			pay_no := encode(set_byte(v_bytes, 8, 128), 'hex')::uuid;
			IF p_amount = 0 THEN
				INSERT INTO plpgsql.payment (pay_no, amount, valid_until, last_seq, state, multi, currency, merchant, order_no,
						payer, metadata)
					VALUES (pay_no, 0, now() + p_valid_for, 1, 'P', coalesce(p_multi, false), p_currency, p_merchant,
						p_order_no, p_payer, p_metadata)
					ON CONFLICT (merchant, order_no) DO NOTHING;
				CONTINUE WHEN NOT FOUND;
				INSERT INTO plpgsql.event (pay_no, seq, decision, payment_after, source, currency, reason)
					VALUES (pay_no, 1, 'a', 'P', 'prepay', p_currency, 'nothing is to be paid for this order');
				decision := 'already_paid';
				state := 'paid';
				detail := 'nothing is to be paid for this order';
			ELSE
				trade_no := encode(set_byte(v_bytes, 8, 129), 'hex');
				INSERT INTO plpgsql.payment (pay_no, amount, valid_until, last_seq, state, multi, currency, merchant, order_no,
						payer, routes, metadata)
					VALUES (pay_no, p_amount, now() + p_valid_for, 1, 'p', coalesce(p_multi, false), p_currency, p_merchant,
						p_order_no, p_payer, ARRAY[v_route], p_metadata)
					ON CONFLICT (merchant, order_no) DO NOTHING;
				CONTINUE WHEN NOT FOUND;
				INSERT INTO plpgsql.attempt (trade_no, pay_no, amount, check_at, attempt, route, state, request_id)
					VALUES (trade_no::uuid, pay_no, p_amount, clock_timestamp() + v_first_look * (1 + random() / 5), 1, v_route, 'p',
						p_request_id)
					RETURNING check_at INTO v_due_at;
				INSERT INTO plpgsql.task (due_at, queued_for, pay_no, attempt) VALUES (v_due_at, v_due_at, pay_no, 1);
				INSERT INTO plpgsql.event (pay_no, amount, seq, attempt, decision, payment_before, payment_after,
						attempt_after, source, currency)
					VALUES (pay_no, p_amount, 1, 1, 'p', 'c', 'p', 'p', 'prepay', p_currency);
				decision := 'proceed';
				state := 'paying';
				attempt := 1;
				attempt_state := 'paying';
			END IF;
			IF v_given_up IS NOT NULL THEN
				PERFORM plpgsql.give_up(v_given_up, pay_no, 'replaced by ' || p_order_no);
			END IF;
			RETURN;
		END IF;

		-- Rule 2: the same order with other content; a payer that was not known is none.
		IF v_pay.amount <> p_amount OR v_pay.currency <> p_currency OR v_pay.payer <> p_payer OR v_pay.multi <> p_multi THEN
			v_changed := concat_ws(', ',
				CASE WHEN v_pay.amount <> p_amount THEN format('amount %s, was %s', p_amount, v_pay.amount) END,
				CASE WHEN v_pay.currency <> p_currency THEN format('currency %s, was %s', p_currency, v_pay.currency) END,
				CASE WHEN v_pay.payer <> p_payer THEN format('payer %s, was %s', p_payer, v_pay.payer) END,
				CASE WHEN v_pay.multi <> p_multi THEN format('multi %s, was %s', p_multi, v_pay.multi) END);
			RAISE EXCEPTION 'order "%" exists with other content', p_order_no USING ERRCODE = 'PY422', DETAIL = v_changed;
		END IF;

		-- The attempt that matters: the winner, one that holds money, the request's own, the most open one, the last.
		v_attempts := cardinality(v_pay.routes);
		IF v_attempts <= 1 THEN
			SELECT trade_no, attempt, route, state, opened_at, handed_out_at, reported_at, request_id, credential,
					credential_expires_at INTO v_try
				FROM plpgsql.attempt
				WHERE trade_no = encode(set_byte(uuid_send(v_pay.pay_no), 8, 129), 'hex')::uuid;
			v_mine := v_try.request_id = p_request_id;
			v_changed := CASE WHEN v_mine AND v_try.route <> v_route THEN v_try.trade_no::text END;
		ELSE
			SELECT trade_no, attempt, route, state, opened_at, handed_out_at, reported_at, request_id, credential,
					credential_expires_at INTO v_try
				FROM plpgsql.attempt
				WHERE trade_no = ANY (plpgsql.trade_nos(v_pay.pay_no, v_attempts))
				ORDER BY attempt = v_pay.winner DESC, array_position('{x,a}'::"char"[], state),
					request_id = p_request_id AND state IN ('p', 'u', 'g') DESC,
					array_position('{p,u,g}'::"char"[], state), attempt DESC LIMIT 1;
			v_mine := v_try.request_id = p_request_id;
			v_changed := (SELECT trade_no FROM plpgsql.attempt
				WHERE trade_no = ANY (plpgsql.trade_nos(v_pay.pay_no, v_attempts))
					AND request_id = p_request_id AND route <> v_route LIMIT 1);
		END IF;

		-- Rule 3: the same request with another channel or method.
		IF v_changed IS NOT NULL THEN
			RAISE EXCEPTION 'request "%" opened another attempt', p_request_id USING ERRCODE = 'PY422', DETAIL = v_changed;
		END IF;

		-- Of those who wait for each other here, one gets the attempt.
		IF NOT v_looked THEN
			v_seen := v_try.trade_no;
			v_seen_at := v_try.handed_out_at;
			v_looked := true;
		END IF;

		pay_no := v_pay.pay_no;
		state := plpgsql.label(v_pay.state);
		trade_no := encode(uuid_send(v_try.trade_no), 'hex');
		attempt := v_try.attempt;
		attempt_state := plpgsql.label(v_try.state);
		<<rules>>
		BEGIN
			-- Rule 4: over. The money of what is paid may have left again.
			IF v_pay.state = 'P' THEN
				decision := 'already_paid';
				detail := (SELECT format('its money may have left again: see review %s before goods go out', review_id)
					FROM plpgsql.review WHERE pay_no = v_pay.pay_no AND resolved_at IS NULL
						AND (kind = 'overdrawn' OR refund_kind = 'chargeback' OR (refund_no IS NULL AND reported IN ('f', 'r'))) LIMIT 1);
				EXIT rules;
			ELSIF v_pay.state IN ('C', 'r') OR v_pay.replaced_by IS NOT NULL THEN
				decision := 'closed';
				other_order_no := (SELECT order_no FROM plpgsql.payment WHERE pay_no = v_pay.replaced_by);
				EXIT rules;
			ELSIF v_pay.state IN ('c', 'f') AND (v_pay.end_requested OR v_pay.valid_until <= now()) THEN
				IF NOT v_locked THEN
					v_locked := true;
					CONTINUE;
				END IF;
				UPDATE plpgsql.payment SET state = 'C', payer = coalesce(payer, p_payer), last_seq = last_seq + 1
					WHERE pay_no = v_pay.pay_no;
				INSERT INTO plpgsql.event (pay_no, amount, seq, attempt, decision, payment_before, payment_after, source, currency)
					VALUES (v_pay.pay_no, p_amount, v_pay.last_seq + 1, 0, 'c', v_pay.state, 'C', 'prepay', p_currency);
				decision := 'closed';
				state := 'closed';
				detail := 'past its time';
				RETURN;
			END IF;

			IF v_try.state = 'p' AND v_try.credential_expires_at > now() THEN
				credential := v_try.credential;
				credential_expires_at := v_try.credential_expires_at;
			END IF;

			-- Rule 5: a review about money is open.
			IF EXISTS (SELECT FROM plpgsql.review WHERE pay_no = v_pay.pay_no AND resolved_at IS NULL AND about_money) THEN
				decision := 'unknown';
				detail := 'a review about money is open';
				EXIT rules;
			END IF;

			-- Rule 6: an attempt is open.
			IF v_try.state IN ('a', 'x') THEN
				decision := 'in_progress';
				EXIT rules;
			ELSIF v_try.state IN ('p', 'u', 'g') AND v_pay.multi AND NOT v_mine THEN
				-- paying and unknown do not stop another attempt
				SELECT trade_no, attempt INTO v_other FROM plpgsql.attempt
					WHERE trade_no = ANY (plpgsql.trade_nos(v_pay.pay_no, v_attempts)) AND state = 'g' ORDER BY attempt LIMIT 1;
				IF FOUND THEN
					decision := 'unknown';
					trade_no := encode(uuid_send(v_other.trade_no), 'hex');
					attempt := v_other.attempt;
					attempt_state := 'closing';
					credential := NULL;
					credential_expires_at := NULL;
					EXIT rules;
				ELSIF v_pay.end_requested OR v_pay.valid_until <= now() THEN
					decision := 'unknown';
					EXIT rules;
				END IF;
			ELSIF v_try.state IN ('u', 'g') THEN
				decision := 'unknown';
				EXIT rules;
			ELSIF v_try.state = 'p' THEN
				IF credential IS NOT NULL THEN
					decision := 'in_progress';
					EXIT rules;
				ELSIF v_pay.end_requested OR v_pay.valid_until <= now() THEN
					decision := 'unknown';
					EXIT rules;
				ELSIF NOT v_mine AND v_try.handed_out_at + (CASE WHEN v_try.route = v_route THEN v_resubmit_after
						ELSE (SELECT resubmit_after FROM plpgsql.channel WHERE route = v_try.route) END) > now() THEN
					decision := 'in_progress';
					EXIT rules;
				ELSIF (v_seen IS DISTINCT FROM v_try.trade_no AND (NOT v_mine OR v_try.handed_out_at <> v_try.opened_at))
						OR (v_seen = v_try.trade_no AND v_seen_at <> v_try.handed_out_at) THEN
					decision := 'in_progress';
					EXIT rules;
				ELSIF v_try.route <> v_route OR NOT v_can_resubmit OR v_try.reported_at >= v_try.handed_out_at
						OR v_try.opened_at + v_resubmit_within <= now() THEN
					decision := 'unknown';
					EXIT rules;
				END IF;
				IF NOT v_locked THEN
					v_locked := true;
					CONTINUE;
				END IF;
				UPDATE plpgsql.attempt SET handed_out_at = greatest(clock_timestamp(), handed_out_at + interval '1 microsecond')
					WHERE trade_no = v_try.trade_no;
				UPDATE plpgsql.payment SET payer = coalesce(payer, p_payer), last_seq = last_seq + 1 WHERE pay_no = v_pay.pay_no;
				INSERT INTO plpgsql.event (pay_no, amount, seq, attempt, decision, payment_before, payment_after,
						attempt_before, attempt_after, source, currency)
					VALUES (v_pay.pay_no, p_amount, v_pay.last_seq + 1, v_try.attempt, 'p', v_pay.state, v_pay.state,
						'p', 'p', 'prepay', p_currency);
				decision := 'proceed';
				RETURN;
			END IF;

			-- Rule 7: too many.
			IF v_attempts >= 63 OR (v_attempts >= v_max_attempts
					AND cardinality(array_positions(v_pay.routes, v_route)) >= v_max_attempts) THEN
				decision := 'throttled';
				EXIT rules;
			END IF;

			-- Rules 8 and 9, which look at other orders; what these decide is about no attempt.
			IF p_replaces IS NOT NULL THEN
				SELECT * INTO v_given_up, decision, other_order_no
					FROM plpgsql.may_replace(p_merchant, p_replaces, v_pay.pay_no, v_attempts, v_locked);
			END IF;
			IF decision IS NULL AND p_payer IS NOT NULL AND NOT p_confirm THEN
				other_order_no := plpgsql.look_alike(p_merchant, p_payer, p_amount, p_currency, p_order_no, p_replaces);
				decision := CASE WHEN other_order_no IS NOT NULL THEN 'confirm' END;
			END IF;
			IF decision IS NOT NULL THEN
				trade_no := NULL;
				attempt := NULL;
				attempt_state := NULL;
				credential := NULL;
				credential_expires_at := NULL;
				EXIT rules;
			END IF;

			-- Rule 10: the next attempt.
			IF NOT v_locked THEN
				v_locked := true;
				CONTINUE;
			END IF;
			IF v_given_up IS NOT NULL THEN
				PERFORM plpgsql.give_up(v_given_up, v_pay.pay_no, 'replaced by ' || p_order_no);
			END IF;
			v_attempts := v_attempts + 1;
			v_trade_no := encode(set_byte(uuid_send(v_pay.pay_no), 8, 128 + v_attempts), 'hex')::uuid;
			INSERT INTO plpgsql.attempt (trade_no, pay_no, amount, check_at, attempt, route, state, request_id)
				VALUES (v_trade_no, v_pay.pay_no, p_amount, clock_timestamp() + v_first_look * (1 + random() / 5), v_attempts, v_route,
					'p', p_request_id)
				RETURNING check_at INTO v_due_at;
			INSERT INTO plpgsql.task (due_at, queued_for, pay_no, attempt) VALUES (v_due_at, v_due_at, v_pay.pay_no, v_attempts);
			UPDATE plpgsql.payment SET state = 'p', payer = coalesce(payer, p_payer), routes = routes || v_route,
					last_seq = last_seq + 1
				WHERE pay_no = v_pay.pay_no;
			INSERT INTO plpgsql.event (pay_no, amount, seq, attempt, decision, payment_before, payment_after,
					attempt_after, source, currency)
				VALUES (v_pay.pay_no, p_amount, v_pay.last_seq + 1, v_attempts, 'p', v_pay.state, 'p', 'p', 'prepay', p_currency);
			decision := 'proceed';
			trade_no := encode(uuid_send(v_trade_no), 'hex');
			state := 'paying';
			credential := NULL;
			credential_expires_at := NULL;
			attempt := v_attempts;
			attempt_state := 'paying';
			RETURN;
		END;

		-- The first call that brings a payer makes it known, whatever it answers but a question.
		EXIT WHEN p_payer IS NULL OR v_pay.payer IS NOT NULL OR decision = 'confirm';
		IF v_locked THEN
			UPDATE plpgsql.payment SET payer = p_payer, last_seq = last_seq + 1 WHERE pay_no = v_pay.pay_no;
			INSERT INTO plpgsql.event (pay_no, amount, seq, decision, payment_before, payment_after, source, currency, reason)
				VALUES (v_pay.pay_no, nullif(p_amount, 0), v_pay.last_seq + 1, CASE decision WHEN 'already_paid' THEN 'A' WHEN 'in_progress' THEN 'i'
					WHEN 'unknown' THEN 'u' WHEN 'throttled' THEN 't' ELSE 'c' END, v_pay.state, v_pay.state, 'prepay', p_currency,
					'the payer became known');
			RETURN;
		END IF;
		v_locked := true;
		decision := NULL;
		detail := NULL;
		other_order_no := NULL;
		credential := NULL;
		credential_expires_at := NULL;
	END LOOP;
END
$$;

CREATE FUNCTION callback(p_channel text, p_callback_id text, p_trade_no text, p_reported text,
	p_amount bigint DEFAULT NULL, p_currency text DEFAULT NULL, p_channel_txn text DEFAULT NULL,
	p_occurred_at timestamptz DEFAULT NULL, p_payload jsonb DEFAULT NULL, p_merchant text DEFAULT NULL,
	OUT decision text, OUT pay_no uuid, OUT trade_no text, OUT state text, OUT attempt integer,
	OUT attempt_state text, OUT refund_no text, OUT detail text)
	LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
	v_reported "char" := CASE p_reported WHEN 'paid' THEN 'P' WHEN 'failed' THEN 'f' WHEN 'closed' THEN 'C'
		WHEN 'unknown' THEN 'u' WHEN 'authorized' THEN 'a' WHEN 'capturing' THEN 'x' WHEN 'closing' THEN 'g'
		WHEN 'reversed' THEN 'r' WHEN 'paying' THEN 'p' END;
	v_source text := 'callback:' || p_channel;
	v_message_id text := p_callback_id;
	v_trade_no uuid;
	v_bytes bytea;
	v_pay record;
	v_try record;
	v_known record;
	v_kind text;
	v_decision "char";
	v_state "char";
	v_payment_state "char";
	v_open "char";
	v_last "char";
	v_waits boolean;
	v_over boolean;
	v_due_at timestamptz;
	v_conflict boolean := false;
	v_of_payment boolean := false;
BEGIN
	IF v_reported IS NULL OR p_channel IS NULL OR p_callback_id = '' OR octet_length(p_callback_id) > 255
			OR p_trade_no IS NULL OR p_trade_no = '' OR octet_length(p_trade_no) > 255
			OR p_channel_txn = '' OR octet_length(p_channel_txn) > 255 OR octet_length(p_merchant) > 255
			OR p_amount NOT BETWEEN 1 AND 9007199254740991 OR p_currency !~ '^[A-Z]{3}$'
			OR (v_reported IN ('P', 'a') AND (p_amount IS NULL OR p_currency IS NULL)) THEN
		RAISE EXCEPTION 'bad argument' USING ERRCODE = 'PY400';
	END IF;

	-- An attempt's number leads to its payment, with dashes or without. What is no number of ours is found nowhere.
	IF p_trade_no ~ '^[0-9A-Fa-f]{32}$' OR p_trade_no ~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$' THEN
		v_bytes := uuid_send(p_trade_no::uuid);
		attempt := get_byte(v_bytes, 8) - 128;
		IF attempt BETWEEN 0 AND 63 THEN
			v_trade_no := p_trade_no::uuid;
			pay_no := encode(set_byte(v_bytes, 8, 128), 'hex')::uuid;
			v_of_payment := attempt = 0;
		END IF;
	END IF;
	-- Another merchant's number is none of the caller's; the payment's own means one attempt.
	IF p_merchant IS NOT NULL AND NOT EXISTS (SELECT FROM plpgsql.payment WHERE pay_no = callback.pay_no AND merchant = p_merchant) THEN
		pay_no := NULL;
	ELSIF v_of_payment AND plpgsql.meant(pay_no) IS NULL THEN
		pay_no := NULL;
	END IF;

	LOOP
		-- A known message: the first answer, without a lock.
		IF v_message_id IS NOT NULL AND NOT v_conflict THEN
			SELECT attempt, reported, amount, currency, decision, payment_after, attempt_after INTO v_known
				FROM plpgsql.event e WHERE e.pay_no = callback.pay_no AND e.source = v_source AND e.message_id = v_message_id;
			IF FOUND THEN
				IF v_known.reported <> v_reported AND v_message_id = p_callback_id
						AND (SELECT message_ids = 'state' FROM plpgsql.attempt a JOIN plpgsql.channel c USING (route)
							WHERE a.trade_no = encode(set_byte(v_bytes, 8, 128 + (CASE WHEN v_of_payment THEN plpgsql.meant(pay_no) ELSE attempt END)), 'hex')::uuid) THEN
					-- the channel gives all messages about a payment one id: a message is that and what it says
					v_message_id := concat(p_callback_id, ':', p_reported);
					CONTINUE;
				END IF;
				IF (v_of_payment OR v_known.attempt = attempt) AND v_known.reported = v_reported
						AND v_known.amount IS NOT DISTINCT FROM p_amount
						AND v_known.currency IS NOT DISTINCT FROM p_currency THEN
					decision := 'replayed';
					attempt := v_known.attempt;
					trade_no := encode(set_byte(v_bytes, 8, 128 + attempt), 'hex');
					state := plpgsql.label(v_known.payment_after);
					attempt_state := plpgsql.label(v_known.attempt_after);
					IF v_known.decision = '$' AND v_reported = 'P' THEN
						refund_no := trade_no || 's';
					END IF;
					RETURN;
				END IF;
				v_conflict := true;
			END IF;
		END IF;

		SELECT state, currency, merchant, winner, routes, end_requested, valid_until, last_seq, replaced_by INTO v_pay
			FROM plpgsql.payment p WHERE p.pay_no = callback.pay_no FOR NO KEY UPDATE;
		IF FOUND THEN
			IF v_of_payment THEN
				attempt := plpgsql.meant(pay_no);
				v_trade_no := encode(set_byte(v_bytes, 8, 128 + attempt), 'hex')::uuid;
			END IF;
			SELECT a.state, a.amount, a.amount_to_capture, a.amount_collected, a.channel_txn, c.channel,
					c.schedule[1] AS first_look INTO v_try
				FROM plpgsql.attempt a JOIN plpgsql.channel c USING (route) WHERE a.trade_no = v_trade_no;
		END IF;
		IF NOT FOUND THEN
			IF NOT EXISTS (SELECT FROM plpgsql.channel WHERE channel = p_channel) THEN
				RAISE EXCEPTION 'no channel "%"', p_channel USING ERRCODE = 'PY400';
			END IF;
			INSERT INTO plpgsql.review (about_money, reported, kind, source, message_id, trade_no, amount, currency,
					channel_txn, occurred_at, payload, merchant, attempt_no)
				VALUES (v_reported IN ('P', 'a'), v_reported, 'unmatched', v_source, p_callback_id, p_trade_no, p_amount,
					p_currency, p_channel_txn, p_occurred_at, p_payload, p_merchant, v_trade_no)
				ON CONFLICT DO NOTHING;
			pay_no := NULL;
			attempt := NULL;
			decision := 'unmatched';
			RETURN;
		END IF;
		trade_no := encode(uuid_send(v_trade_no), 'hex');
		v_state := v_try.state;
		v_payment_state := v_pay.state;
		IF v_try.channel <> p_channel AND NOT EXISTS (SELECT FROM plpgsql.channel WHERE channel = p_channel) THEN
			RAISE EXCEPTION 'no channel "%"', p_channel USING ERRCODE = 'PY400';
		END IF;

		-- What the report does.
		IF v_try.channel <> p_channel
				OR (v_reported = 'P' AND p_amount <> coalesce(v_try.amount_collected, v_try.amount_to_capture, v_try.amount))
				OR (v_reported = 'a' AND p_amount <> v_try.amount)
				OR (v_reported = 'x' AND (p_amount > v_try.amount
					OR (v_state IN ('x', 'u') AND p_amount <> v_try.amount_to_capture)))
				OR (v_reported IN ('P', 'a', 'x') AND p_currency <> v_pay.currency)
				OR (v_reported = 'P' AND v_state = 'P' AND p_channel_txn <> v_try.channel_txn) THEN
			v_decision := 'm';
			v_kind := 'mismatch';
		ELSIF v_reported = v_state THEN
			v_decision := '=';
		ELSIF v_reported = 'a' AND v_state IN ('x', 'u', 'g') AND v_try.amount_to_capture IS NOT NULL
				AND coalesce(p_occurred_at, '-infinity') <= coalesce((SELECT recorded_at FROM plpgsql.event e
					WHERE e.pay_no = callback.pay_no AND e.attempt = callback.attempt AND attempt_after = 'x' AND attempt_before <> 'x'
					ORDER BY seq DESC LIMIT 1), '-infinity') THEN
			-- the authorization of before the capture: it must not lead to a second one
			v_decision := '=';
		ELSIF v_state = 'P' OR (v_reported IN ('f', 'C', 'r', 'g', 'u', 'p') AND v_state IN ('f', 'C', 'r'))
				OR (v_state = 'x' AND v_reported IN ('p', 'C', 'g')) OR (v_state = 'g' AND v_reported = 'p')
				OR (v_state = 'a' AND v_reported = 'p') OR (v_reported = 'x' AND v_state NOT IN ('a', 'u')) THEN
			v_decision := 's';
			-- the channel took back what it collected
			v_kind := CASE WHEN v_state = 'P' AND v_reported IN ('f', 'r') THEN 'mismatch' END;
		ELSE
			v_state := v_reported;
			v_waits := v_pay.state NOT IN ('P', 'C', 'r') AND v_pay.replaced_by IS NULL;
			v_decision := CASE WHEN v_waits OR v_reported NOT IN ('P', 'a') THEN 'a' ELSE '$' END;
			IF v_waits AND v_reported = 'P' THEN
				v_payment_state := 'P';
			ELSIF v_pay.state NOT IN ('P', 'C', 'r') THEN
				-- The roll-up: the most open attempt, else failed or closed.
				v_last := v_state;
				IF cardinality(v_pay.routes) = 1 THEN
					v_open := CASE WHEN v_state NOT IN ('f', 'C', 'r', 'P') THEN v_state END;
				ELSE
					v_open := (SELECT s FROM (SELECT CASE WHEN trade_no = v_trade_no THEN v_state ELSE state END AS s
						FROM plpgsql.attempt
						WHERE trade_no = ANY (plpgsql.trade_nos(callback.pay_no, cardinality(v_pay.routes)))) t
						WHERE s IN ('x', 'a', 'p', 'u', 'g')
						ORDER BY array_position('{x,a,p,u,g}'::"char"[], s) LIMIT 1);
					IF v_open IS NULL AND attempt < cardinality(v_pay.routes) THEN
						v_last := (SELECT state FROM plpgsql.attempt
							WHERE trade_no = (plpgsql.trade_nos(callback.pay_no, cardinality(v_pay.routes)))[cardinality(v_pay.routes)]);
					END IF;
				END IF;
				v_payment_state := CASE
					WHEN v_open IS NOT NULL THEN plpgsql.shows(v_pay.state, v_open)
					WHEN v_pay.end_requested OR v_pay.valid_until <= now()
						THEN CASE WHEN v_last = 'r' AND v_pay.state <> 'f' THEN 'r'::"char" WHEN v_pay.state = 'x' THEN 'f' ELSE 'C' END
					ELSE 'f' END;
			END IF;
		END IF;

		-- The event first: its unique index stops the same message that came at the same instant.
		INSERT INTO plpgsql.event (pay_no, occurred_at, amount, seq, attempt, reported, decision, payment_before,
				payment_after, attempt_before, attempt_after, source, message_id, currency, channel_txn, reason, payload)
			VALUES (callback.pay_no, p_occurred_at, p_amount, v_pay.last_seq + 1, callback.attempt, v_reported, v_decision,
				v_pay.state, v_payment_state, v_try.state, v_state, v_source, CASE WHEN NOT v_conflict THEN v_message_id END, p_currency,
				p_channel_txn, CASE WHEN v_conflict THEN format('message id "%s" is known with other content', v_message_id) END, p_payload)
			ON CONFLICT (pay_no, source, message_id) WHERE message_id IS NOT NULL DO NOTHING;
		EXIT WHEN FOUND;
	END LOOP;

	-- Money that the order does not need goes back: the refund, its event, its reserve.
	IF v_decision = '$' AND v_state = 'P' THEN
		refund_no := trade_no || 's';
		INSERT INTO plpgsql.refund (pay_no, amount, check_at, attempt, kind, merchant, refund_no, reason, of_txn)
			VALUES (callback.pay_no, p_amount, clock_timestamp(), callback.attempt, 'surplus', v_pay.merchant, callback.refund_no,
				'the order needs no more money', coalesce(p_channel_txn, v_try.channel_txn))
			RETURNING check_at INTO v_due_at;
		INSERT INTO plpgsql.event (pay_no, amount, seq, attempt, decision, payment_before, payment_after, attempt_before,
				attempt_after, source, currency, reason, refund_no, refund_after)
			VALUES (callback.pay_no, p_amount, v_pay.last_seq + 2, callback.attempt, 'p', v_payment_state, v_payment_state,
				'P', 'P', 'refund', v_pay.currency, 'the order needs no more money', callback.refund_no, 'r');
		INSERT INTO plpgsql.task (due_at, queued_for, pay_no, attempt, refund_no)
			VALUES (v_due_at, v_due_at, callback.pay_no, callback.attempt, callback.refund_no);
	END IF;
	IF v_state <> v_try.state THEN
		UPDATE plpgsql.attempt SET state = v_state, amount_collected = CASE WHEN v_state = 'P' THEN p_amount END,
				amount_to_capture = CASE WHEN v_state = 'x' THEN coalesce(p_amount, amount_to_capture, amount) ELSE amount_to_capture END,
				amount_reserved = CASE WHEN refund_no IS NOT NULL THEN p_amount END,
				channel_txn = coalesce(p_channel_txn, channel_txn),
				reported_at = CASE WHEN v_state = 'p' THEN clock_timestamp() ELSE reported_at END,
				reports = reports + CASE WHEN v_try.state IN ('f', 'C', 'r') AND v_state = 'P' THEN 0 ELSE 1 END,
				credential = CASE WHEN v_state NOT IN ('P', 'f', 'C', 'r') THEN credential END,
				credential_expires_at = CASE WHEN v_state NOT IN ('P', 'f', 'C', 'r') THEN credential_expires_at END
			WHERE trade_no = v_trade_no;
		-- What is open again, or captured, is to be asked about; what is to end now is to be closed at once.
		v_over := v_payment_state IN ('P', 'C', 'r') OR v_pay.replaced_by IS NOT NULL;
		IF v_state NOT IN ('P', 'f', 'C', 'r') AND (v_state = 'x' OR v_try.state IN ('f', 'C', 'r')
				OR ((v_over OR v_state = 'g') AND v_waits AND v_try.state <> 'g')) THEN
			v_due_at := clock_timestamp() + CASE WHEN v_over OR v_state = 'g' THEN interval '0' ELSE v_try.first_look * (1 + random() / 5) END;
			INSERT INTO plpgsql.task (due_at, queued_for, pay_no, attempt)
				VALUES (v_due_at, v_due_at, callback.pay_no, callback.attempt);
			UPDATE plpgsql.attempt SET check_at = v_due_at WHERE trade_no = v_trade_no;
		END IF;
		IF v_over AND v_waits AND cardinality(v_pay.routes) > 1 THEN
			PERFORM plpgsql.end_soon(callback.pay_no, cardinality(v_pay.routes), '{p,a,x,u}', v_trade_no);
		END IF;
	ELSIF v_state NOT IN ('P', 'f', 'C', 'r') OR (v_decision = '=' AND v_try.channel_txn IS NULL AND p_channel_txn IS NOT NULL) THEN
		UPDATE plpgsql.attempt SET reports = reports + CASE WHEN v_state IN ('P', 'f', 'C', 'r') THEN 0 ELSE 1 END,
				reported_at = CASE WHEN v_state = 'p' THEN clock_timestamp() ELSE reported_at END,
				channel_txn = CASE WHEN v_decision = '=' THEN coalesce(channel_txn, p_channel_txn) ELSE channel_txn END
			WHERE trade_no = v_trade_no;
	END IF;
	IF v_payment_state = 'P' AND v_pay.state <> 'P' THEN
		UPDATE plpgsql.payment SET state = 'P', winner = callback.attempt, amount_collected = p_amount,
				last_seq = last_seq + 1
			WHERE payment.pay_no = callback.pay_no;
	ELSIF refund_no IS NOT NULL THEN
		UPDATE plpgsql.payment SET state = v_payment_state, last_seq = last_seq + 2 WHERE payment.pay_no = callback.pay_no;
	ELSE
		UPDATE plpgsql.payment SET state = v_payment_state, last_seq = last_seq + 1 WHERE payment.pay_no = callback.pay_no;
	END IF;
	IF v_conflict OR v_kind IS NOT NULL THEN
		INSERT INTO plpgsql.review (pay_no, seq, attempt, about_money, reported, kind, source, message_id, trade_no,
				amount, currency, channel_txn, occurred_at, payload, attempt_no)
			SELECT callback.pay_no, v_pay.last_seq + 1, callback.attempt, v_reported IN ('P', 'a'), v_reported, k, v_source,
				v_message_id, p_trade_no, p_amount, p_currency, p_channel_txn, p_occurred_at, p_payload, v_trade_no
			FROM unnest(ARRAY[CASE WHEN v_conflict THEN 'conflict' END, v_kind]) k
			-- nobody is asked about the same thing twice
			WHERE k IS NOT NULL AND NOT EXISTS (SELECT FROM plpgsql.review r
				WHERE r.pay_no = callback.pay_no AND resolved_at IS NULL AND r.kind = k AND r.attempt = callback.attempt AND reported = v_reported
					AND source = v_source AND refund_no IS NULL
					AND (amount, currency, channel_txn) IS NOT DISTINCT FROM (p_amount, p_currency, p_channel_txn));
	END IF;
	-- It came before its attempt was there.
	UPDATE plpgsql.review SET resolved_at = clock_timestamp(), verdict = 'accept', reason = 'the message came again and was taken in',
			resolved_by = CURRENT_USER, resolved_session = SESSION_USER
		WHERE pay_no IS NULL AND resolved_at IS NULL AND source = v_source AND trade_no = p_trade_no
			AND message_id IS NOT DISTINCT FROM v_message_id AND merchant IS NOT DISTINCT FROM p_merchant;
	decision := CASE v_decision WHEN 'a' THEN 'applied' WHEN '=' THEN 'unchanged' WHEN 's' THEN 'stale'
		WHEN '$' THEN 'surplus' WHEN 'm' THEN 'mismatch' END;
	state := plpgsql.label(v_payment_state);
	attempt_state := plpgsql.label(v_state);
END
$$;
