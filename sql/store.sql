
-- The tables. They are the user's, so pg_dump, grants and added columns work
-- as for any table; that is why a function makes them and not this script.

CREATE FUNCTION pay_number_matches(number uuid, pay_no uuid, attempt integer, route integer) RETURNS boolean
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_number_matches(uuid, uuid, integer, integer) IS
	'is this the number of that attempt, by that route, of the payment pay_no? Attempt 0 and route 0: the payment''s own. For the CHECKs of our tables';

CREATE FUNCTION pay_trusts(relation regclass) RETURNS boolean
	LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_trusts(regclass) IS
	'is this a table that pay_install() made, whole and guarded, of an owner who may call pay_install()? Anybody else''s triggers would run with the rights of whoever pays';

CREATE FUNCTION pay_table_fault(relation regclass, OUT fault text, OUT remedy text)
	LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_table_fault(regclass) IS
	'what a table of pay_idem is not as it must be: columns, guards, CHECKs, indexes, kind. NULL: nothing. remedy is NULL where pay_install() repairs it';

CREATE FUNCTION pay_refuse_superuser(relation regclass) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	owner regrole;
BEGIN
	SELECT c.relowner INTO owner FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
	WHERE c.oid = relation AND NOT r.rolsuper;
	-- the owner's code could undo a superuser's SET ROLE
	IF FOUND AND EXISTS (SELECT FROM pg_roles WHERE rolname IN (current_user, session_user) AND rolsuper) THEN
		RAISE EXCEPTION 'a superuser does not use table %, which belongs to %', relation, owner
			USING ERRCODE = 'insufficient_privilege',
				DETAIL = 'Triggers, constraints and indexes of its owner, who is no superuser, would run code with a superuser''s rights; SET ROLE does not keep them from it.',
				HINT = 'Log in as a role that is no superuser and may do it.';
	END IF;
END
$$;
COMMENT ON FUNCTION pay_refuse_superuser(regclass) IS
	'raises 42501 if a superuser, also one after SET ROLE, is about to run code of this table''s owner, who is none. For the functions that read or write tables with SQL';

-- Our own objects are named by their schema here, and nothing else is looked
-- up in it: whoever may create functions or operators there gains nothing.
CREATE FUNCTION pay_install() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $install$
DECLARE
	home name;
	our_tables CONSTANT text[] := '{pay_channel, pay_payment, pay_attempt, pay_event, pay_review, pay_refund, pay_dispute, pay_task, pay_resource, pay_hold, pay_grantee, pay_database}';
	old_owner regrole;
	item record;
	relation regclass;
	found regclass[] := '{}';
	others text;
	lines text[];
	line text;
	statement text;
	stored record;
BEGIN
	SELECT n.nspname INTO STRICT home
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'pay_idem'
	LIMIT 1;	-- under an old snapshot a GRANT of ours leaves two versions of the schema's row

	-- Whoever may create here can overload our functions: one that fits an
	-- argument better than ours wins, and runs as whoever pays.
	SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ') INTO others
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace, aclexplode(n.nspacl) a
	WHERE e.extname = 'pay_idem' AND a.privilege_type = 'CREATE'
		AND a.grantee NOT IN (n.nspowner, e.extowner, (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user))
		AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.grantee AND r.rolsuper)
		AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'pay_payment' AND c.relowner = a.grantee);
	IF others IS NOT NULL THEN
		RAISE EXCEPTION 'others may create objects in schema %', quote_ident(home)
			USING ERRCODE = 'PY409',
				DETAIL = format('CREATE is granted to %s. A function of theirs that is named like ours, with other argument types, could be called in its place, with the rights of whoever pays.', others),
				HINT = format('REVOKE CREATE ON SCHEMA %I FROM %s; drop what they made there, then call pay_install() again.', home, others);
	END IF;

	-- Relations of these names that another role put here are refused, not adopted.
	FOR item IN EXECUTE format(
		'SELECT c.oid::regclass AS relation, c.relowner::regrole AS owner,
			has_function_privilege(c.relowner, $2, ''EXECUTE'') AND NOT EXISTS (SELECT FROM pg_class p
				WHERE p.relnamespace = n.oid AND p.relname = ''pay_payment'' AND p.relowner <> c.relowner) AS ours,
			CASE WHEN c.relname <> ''pay_balance'' THEN f.fault WHEN c.relkind <> ''v'' THEN ''is not a view'' END AS fault,
			CASE WHEN c.relname <> ''pay_balance'' THEN f.remedy WHEN c.relkind <> ''v'' THEN ''Rename or drop it, then SELECT pay_install();'' END AS remedy
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, %I.pay_table_fault(c.oid::regclass) f
		WHERE n.nspname = $3 AND c.relname = ANY ($1 || ''pay_balance''::text)
		ORDER BY c.relname = ''pay_payment'', c.relname', home)
		USING our_tables, to_regprocedure(format('%I.pay_install()', home)), home
	LOOP
		IF NOT item.ours THEN
			RAISE EXCEPTION 'relation % is in the way', item.relation
				USING ERRCODE = 'PY409',
					DETAIL = format('It belongs to %s and is not a table that pay_install() made for somebody who may call it.', item.owner),
					HINT = 'Rename or drop it, then call pay_install() again.';
		END IF;
		IF item.owner <> old_owner THEN
			RAISE EXCEPTION 'relation % is in the way', item.relation
				USING ERRCODE = 'PY409',
					DETAIL = format('It belongs to %s, and others of pay_idem''s relations to %s; all have one owner.', item.owner, old_owner),
					HINT = 'Rename or drop those that are not pay_idem''s own, then call pay_install() again.';
		END IF;
		EXECUTE format('SELECT %I.pay_refuse_superuser($1)', home) USING item.relation;
		IF NOT pg_has_role(item.owner, 'USAGE') THEN
			RAISE EXCEPTION 'must be owner of table %', item.relation
				USING ERRCODE = 'insufficient_privilege',
					DETAIL = format('It belongs to %s.', item.owner);
		END IF;
		IF item.remedy IS NOT NULL THEN
			RAISE EXCEPTION 'relation % is in the way', item.relation
				USING ERRCODE = 'PY409', DETAIL = format('It %s.', item.fault), HINT = item.remedy;
		END IF;
		old_owner := item.owner;
		found := found || item.relation;
	END LOOP;

	-- A table of ours as it must be: its columns here, a line each, and its keys,
	-- CHECKs, indexes and guards below. What a table lacks, it gets.
	-- What changes is HOT as long as its page has room for another version of each of
	-- its rows that change in one transaction: a batch in the order of time takes all
	-- rows of a page, and nothing that it replaced can be pruned before it commits. A
	-- payment keeps its size, an attempt's credential comes and goes. Measured: bench/parts/day.
	FOR item IN SELECT * FROM (VALUES
		('pay_channel', '', $columns$
			route smallint NOT NULL GENERATED BY DEFAULT AS IDENTITY (START 1000 MINVALUE 1 MAXVALUE 4095)
			channel text COLLATE "C" NOT NULL
			method text COLLATE "C" NOT NULL
			resubmit_after interval NOT NULL DEFAULT '30 seconds'
			resubmit_within interval NOT NULL DEFAULT '24 hours'
			timeout interval NOT NULL DEFAULT '2 hours'
			schedule interval[] NOT NULL DEFAULT '{15s,15s,30s,3m,10m,20m,30m,30m,30m,60m,3h,3h,3h,6h,6h}'
			schedule_held interval[] NOT NULL DEFAULT '{1h,3h,6h,12h,24h}'
			held_for interval NOT NULL DEFAULT '30 days'
			message_ids text COLLATE "C" NOT NULL DEFAULT 'message'
			max_attempts smallint NOT NULL DEFAULT 63
			can_resubmit boolean NOT NULL DEFAULT true
			can_close boolean NOT NULL DEFAULT true
			can_reverse boolean NOT NULL DEFAULT false
		$columns$),
		('pay_payment', 'WITH (fillfactor = 50)', $columns$
			pay_no uuid NOT NULL
			amount bigint NOT NULL
			amount_collected bigint NOT NULL DEFAULT 0
			amount_refunded bigint NOT NULL DEFAULT 0
			created_at timestamptz NOT NULL DEFAULT now()
			valid_until timestamptz
			last_seq integer NOT NULL DEFAULT 0
			winner smallint
			state %1$I.pay_state NOT NULL DEFAULT 'created'
			multi boolean NOT NULL DEFAULT false
			end_requested boolean NOT NULL DEFAULT false
			currency text COLLATE "C" NOT NULL
			merchant text COLLATE "C" NOT NULL DEFAULT ''
			order_no text COLLATE "C" NOT NULL
			payer text COLLATE "C"
			routes smallint[] NOT NULL DEFAULT '{}'
			metadata jsonb
			replaced_by uuid
			holds smallint
		$columns$),
		('pay_attempt', 'WITH (fillfactor = 35)', $columns$
			trade_no uuid NOT NULL
			pay_no uuid NOT NULL
			amount bigint NOT NULL
			amount_to_capture bigint
			amount_collected bigint
			opened_at timestamptz NOT NULL DEFAULT now()
			handed_out_at timestamptz NOT NULL DEFAULT now()
			credential_expires_at timestamptz
			amount_extra bigint
			amount_reserved bigint
			amount_refunded bigint
			amount_overdrawn bigint
			reported_at timestamptz
			check_at timestamptz
			reports integer NOT NULL DEFAULT 0
			attempt smallint NOT NULL
			route smallint NOT NULL
			state %1$I.pay_state NOT NULL
			request_id text COLLATE "C" NOT NULL
			channel_txn text COLLATE "C"
			credential text COLLATE "C"
		$columns$),
		('pay_event', '', $columns$
			pay_no uuid NOT NULL
			recorded_at timestamptz NOT NULL DEFAULT now()
			occurred_at timestamptz
			amount bigint
			seq integer NOT NULL
			attempt smallint NOT NULL DEFAULT 0
			reported %1$I.pay_state
			decision %1$I.pay_decision NOT NULL
			payment_before %1$I.pay_state
			payment_after %1$I.pay_state NOT NULL
			attempt_before %1$I.pay_state
			attempt_after %1$I.pay_state
			source text COLLATE "C" NOT NULL
			message_id text COLLATE "C"
			currency text COLLATE "C"
			channel_txn text COLLATE "C"
			actor text COLLATE "C" NOT NULL DEFAULT CURRENT_USER
			session_actor text COLLATE "C" NOT NULL DEFAULT SESSION_USER
			reason text COLLATE "C"
			payload jsonb
			refund_reported %1$I.pay_refund_state
			refund_before %1$I.pay_refund_state
			refund_after %1$I.pay_refund_state
			refund_no text COLLATE "C"
		$columns$),
		('pay_review', '', $columns$
			review_id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY
			pay_no uuid
			opened_at timestamptz NOT NULL DEFAULT now()
			occurred_at timestamptz
			resolved_at timestamptz
			amount bigint
			seq integer
			attempt smallint NOT NULL DEFAULT 0
			about_money boolean NOT NULL
			reported %1$I.pay_state
			kind text COLLATE "C" NOT NULL
			source text COLLATE "C" NOT NULL
			message_id text COLLATE "C"
			trade_no text COLLATE "C" NOT NULL
			currency text COLLATE "C"
			channel_txn text COLLATE "C"
			detail text COLLATE "C"
			payload jsonb
			verdict text COLLATE "C"
			reason text COLLATE "C"
			resolved_by text COLLATE "C"
			resolved_session text COLLATE "C"
			refund_reported %1$I.pay_refund_state
			refund_no text COLLATE "C"
			merchant text COLLATE "C"
			refund_kind text COLLATE "C"
			attempt_no uuid
		$columns$),
		('pay_refund', 'WITH (fillfactor = 50)', $columns$
			pay_no uuid NOT NULL
			amount bigint NOT NULL
			requested_at timestamptz NOT NULL DEFAULT now()
			handed_out_at timestamptz
			check_at timestamptz
			reports integer NOT NULL DEFAULT 0
			attempt smallint NOT NULL
			state %1$I.pay_refund_state NOT NULL DEFAULT 'requested'
			adopted boolean NOT NULL DEFAULT false
			kind text COLLATE "C" NOT NULL DEFAULT 'refund'
			merchant text COLLATE "C" NOT NULL DEFAULT ''
			refund_no text COLLATE "C" NOT NULL
			reason text COLLATE "C"
			channel_txn text COLLATE "C"
			of_txn text COLLATE "C"
		$columns$),
		('pay_dispute', '', $columns$
			dispute_id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY
			pay_no uuid NOT NULL
			other_pay_no uuid NOT NULL
			opened_at timestamptz NOT NULL DEFAULT now()
			resolved_at timestamptz
			reason text COLLATE "C" NOT NULL
			opened_by text COLLATE "C" NOT NULL DEFAULT CURRENT_USER
			opened_session text COLLATE "C" NOT NULL DEFAULT SESSION_USER
			verdict text COLLATE "C"
			verdict_reason text COLLATE "C"
			resolved_by text COLLATE "C"
			resolved_session text COLLATE "C"
			refund_no text COLLATE "C"
		$columns$),
		('pay_task', '', $columns$
			due_at timestamptz NOT NULL
			queued_for timestamptz NOT NULL DEFAULT clock_timestamp()
			claimed_at timestamptz
			pay_no uuid NOT NULL
			reports integer NOT NULL DEFAULT 0
			attempt smallint NOT NULL DEFAULT 0
			tries smallint NOT NULL DEFAULT 0
			refund_no text COLLATE "C"
			resource text COLLATE "C"
			asked_by text COLLATE "C"
		$columns$),
		('pay_resource', 'WITH (fillfactor = 70)', $columns$
			capacity bigint
			taken bigint NOT NULL DEFAULT 0
			taken_by uuid
			external boolean NOT NULL DEFAULT false
			merchant text COLLATE "C" NOT NULL DEFAULT ''
			resource text COLLATE "C" NOT NULL
		$columns$),
		('pay_hold', 'WITH (fillfactor = 50)', $columns$
			pay_no uuid NOT NULL
			quantity bigint NOT NULL
			taken_at timestamptz NOT NULL DEFAULT now()
			check_at timestamptz
			position smallint NOT NULL
			external boolean NOT NULL DEFAULT false
			tried boolean NOT NULL DEFAULT false
			state text COLLATE "C" NOT NULL
			resource text COLLATE "C" NOT NULL
		$columns$),
		('pay_database', '', $columns$
			system_identifier bigint NOT NULL
			adopted_at timestamptz NOT NULL DEFAULT now()
			adopted_by text COLLATE "C" NOT NULL DEFAULT CURRENT_USER
			reason text COLLATE "C"
		$columns$),
		('pay_grantee', '', $columns$
			role name NOT NULL
			kind text COLLATE "C" NOT NULL
			merchant text COLLATE "C"
		$columns$)
	) AS t (name, storage, columns)
	LOOP
		lines := regexp_split_to_array(btrim(format(item.columns, home), E' \t\n'), '\s*\n\s*');
		relation := to_regclass(format('%I.%I', home, item.name));
		IF relation = ANY (found) THEN
			IF (SELECT relpersistence FROM pg_class WHERE oid = relation) = 'u' THEN
				EXECUTE format('ALTER TABLE %s SET LOGGED', relation);
			END IF;
			IF item.storage <> '' AND (SELECT reloptions IS NULL OR reloptions::text !~ 'fillfactor=' FROM pg_class WHERE oid = relation) THEN
				EXECUTE format('ALTER TABLE %s SET %s', relation, substring(item.storage FROM '\(.*'));
			END IF;
			FOREACH line IN ARRAY lines
			LOOP
				SELECT a.attnotnull, a.atthasdef, a.attidentity <> '' AS is_identity INTO stored
				FROM pg_attribute a
				WHERE a.attrelid = relation AND a.attname = split_part(line, ' ', 1) AND NOT a.attisdropped;
				IF stored.attnotnull IS NULL THEN
					EXECUTE format('ALTER TABLE %s ADD COLUMN %s', relation, line);
					CONTINUE;
				END IF;
				IF NOT stored.attnotnull AND line LIKE '% NOT NULL%' THEN
					BEGIN
						EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', relation, split_part(line, ' ', 1));
					EXCEPTION WHEN not_null_violation THEN
						RAISE NOTICE 'column "%" of % has NULLs: it stays without NOT NULL', split_part(line, ' ', 1), relation
							USING HINT = 'Mend these rows, then call pay_install() again.';
					END;
				END IF;
				IF line LIKE '% GENERATED %' AND NOT stored.is_identity AND NOT stored.atthasdef THEN
					EXECUTE format('ALTER TABLE %s ALTER COLUMN %I ADD %s', relation, split_part(line, ' ', 1), substring(line FROM 'GENERATED .*'));
					EXECUTE format('SELECT setval(pg_get_serial_sequence(%1$L, %2$L), greatest(%3$s, max(%4$I) + 1), false) FROM %1$s',
						relation, split_part(line, ' ', 1), coalesce(substring(line FROM 'START (\d+)'), '1'), split_part(line, ' ', 1));
				ELSIF line LIKE '% DEFAULT %' AND NOT stored.is_identity AND NOT stored.atthasdef THEN
					EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET %s', relation, split_part(line, ' ', 1), substring(line FROM 'DEFAULT .*'));
				END IF;
			END LOOP;
			CONTINUE;
		END IF;
		-- what came since we looked makes CREATE TABLE fail
		EXECUTE format('CREATE TABLE %I.%I (%s) %s', home, item.name, array_to_string(lines, ', '), item.storage);
		relation := format('%I.%I', home, item.name);
		IF EXISTS (SELECT FROM pg_depend
				WHERE classid = 'pg_class'::regclass AND objid = relation AND deptype = 'e') THEN
			RAISE EXCEPTION 'pay_install() cannot run inside an extension script'
				USING ERRCODE = 'PY409',
					DETAIL = 'The tables would become members of that extension and go with it.',
					HINT = 'Call pay_install() after CREATE EXTENSION.';
		END IF;
		-- at once: the guards, which fire below, trust no tables of two owners
		IF old_owner IS NOT NULL THEN
			EXECUTE format('ALTER TABLE %s OWNER TO %s', relation, old_owner);
		END IF;
	END LOOP;
	FOR item IN SELECT * FROM (VALUES
		('pay_channel', 'pay_channel_pkey', 'PRIMARY KEY (route)'),
		('pay_channel', 'pay_channel_channel_method_key', 'UNIQUE (channel, method)'),
		('pay_payment', 'pay_payment_pkey', 'PRIMARY KEY (pay_no)'),
		('pay_payment', 'pay_payment_merchant_order_no_key', 'UNIQUE (merchant, order_no)'),
		('pay_attempt', 'pay_attempt_pkey', 'PRIMARY KEY (trade_no)'),
		('pay_event', 'pay_event_pkey', 'PRIMARY KEY (pay_no, seq)'),
		('pay_review', 'pay_review_pkey', 'PRIMARY KEY (review_id)'),
		('pay_refund', 'pay_refund_pkey', 'PRIMARY KEY (merchant, refund_no)'),
		('pay_dispute', 'pay_dispute_pkey', 'PRIMARY KEY (dispute_id)'),
		('pay_resource', 'pay_resource_pkey', 'PRIMARY KEY (merchant, resource)'),
		('pay_hold', 'pay_hold_pkey', 'PRIMARY KEY (pay_no, resource)'),
		('pay_database', 'pay_database_pkey', 'PRIMARY KEY (system_identifier)')
	) AS t (relation, name, definition)
	LOOP
		CONTINUE WHEN EXISTS (SELECT FROM pg_constraint
			WHERE conrelid = to_regclass(format('%I.%I', home, item.relation)) AND conname = item.name);
		EXECUTE format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', home, item.relation, item.name, item.definition);
	END LOOP;

	-- The library asks for these by their names. Rows from before may break one: then it is for what comes.
	FOR item IN SELECT * FROM (VALUES
		('pay_channel', 'pay_channel_route_check', 'route BETWEEN 1 AND 4095'),
		('pay_channel', 'pay_channel_channel_check', 'octet_length(channel) BETWEEN 1 AND 63'),
		('pay_channel', 'pay_channel_method_check', 'octet_length(method) BETWEEN 1 AND 63'),
		('pay_channel', 'pay_channel_resubmit_after_check', $$resubmit_after >= '0'$$),
		('pay_channel', 'pay_channel_timeout_check', $$timeout > '0'$$),
		('pay_channel', 'pay_channel_schedule_check', 'CASE WHEN array_ndims(schedule) = 1 THEN array_position(schedule, NULL) IS NULL ELSE false END'),
		('pay_channel', 'pay_channel_max_attempts_check', 'max_attempts BETWEEN 1 AND 63'),
		('pay_channel', 'pay_channel_waits_check',
			$$array_ndims(schedule) = 1 AND array_lower(schedule, 1) = 1 AND interval '0' < ALL (schedule)
				AND interval '1000 years' >= ALL (schedule) AND timeout <= interval '1000 years'
				AND array_ndims(schedule_held) = 1 AND array_lower(schedule_held, 1) = 1 AND interval '0' < ALL (schedule_held)
				AND interval '1000 years' >= ALL (schedule_held) AND array_position(schedule_held, NULL) IS NULL
				AND held_for > interval '0' AND held_for <= interval '1000 years'$$),
		('pay_channel', 'pay_channel_message_ids_check', $$message_ids IN ('message', 'state')$$),
		-- a wait that is added to a time must stay one: years and days that cancel each other are added one after the other
		('pay_channel', 'pay_channel_bounds_check',
			$$resubmit_after <= interval '1000 years' AND resubmit_within >= interval '0' AND resubmit_within <= interval '1000 years'
				AND extract(year FROM resubmit_after) BETWEEN -1000 AND 1000 AND extract(day FROM resubmit_after) BETWEEN -366000 AND 366000
				AND extract(year FROM timeout) BETWEEN -1000 AND 1000 AND extract(day FROM timeout) BETWEEN -366000 AND 366000$$),
		('pay_payment', 'pay_payment_pay_no_check', '%1$I.pay_number_matches(pay_no, pay_no, 0, 0)'),
		('pay_payment', 'pay_payment_keys_check', 'octet_length(merchant) <= 255
			AND octet_length(order_no) BETWEEN 1 AND 255 AND octet_length(payer) <= 255'),
		('pay_payment', 'pay_payment_amount_check', 'amount >= 0 AND octet_length(currency) = 3
			AND amount_refunded >= 0 AND amount_refunded <= amount_collected'),
		-- an order of amount 0 is paid without an attempt
		('pay_payment', 'pay_payment_attempts_check', $$CASE cardinality(routes)
			WHEN 0 THEN CASE WHEN amount = 0 THEN state OPERATOR(%1$I.=) 'paid'
				ELSE state OPERATOR(%1$I.=) 'created' OR state OPERATOR(%1$I.=) 'closed' END
			ELSE state OPERATOR(%1$I.<>) 'created' AND amount > 0 END$$),
		('pay_payment', 'pay_payment_winner_check', $$CASE
			WHEN winner IS NULL THEN amount_collected = 0 AND (state OPERATOR(%1$I.<>) 'paid' OR amount = 0)
			ELSE state OPERATOR(%1$I.=) 'paid' AND amount_collected > 0
				AND winner >= 1 AND winner <= cardinality(routes) END$$),
		('pay_payment', 'pay_payment_replaced_check', 'replaced_by <> pay_no AND (replaced_by IS NULL OR end_requested)'),
		('pay_attempt', 'pay_attempt_attempt_check', 'attempt >= 1 AND attempt <= 63'),
		('pay_attempt', 'pay_attempt_route_check', 'route >= 1 AND route <= 4095'),
		('pay_attempt', 'pay_attempt_state_check', $$state OPERATOR(%1$I.<>) 'created'$$),
		('pay_attempt', 'pay_attempt_trade_no_check', '%1$I.pay_number_matches(trade_no, pay_no, attempt::integer, route::integer)'),
		('pay_attempt', 'pay_attempt_amount_check', 'amount > 0 AND amount_to_capture > 0 AND amount_to_capture <= amount'),
		('pay_attempt', 'pay_attempt_collected_check', $$CASE
			WHEN state OPERATOR(%1$I.=) 'paid' THEN amount_collected IS NOT NULL AND amount_collected > 0
			ELSE amount_collected IS NULL END$$),
		('pay_attempt', 'pay_attempt_credential_check', '(credential IS NULL) = (credential_expires_at IS NULL)'),
		('pay_attempt', 'pay_attempt_refunds_check', 'amount_extra > 0 AND amount_reserved > 0 AND amount_refunded > 0 AND amount_overdrawn > 0'),
		-- what goes back is never more than what came, but for what the channel took
		('pay_attempt', 'pay_attempt_cap_check', '(amount_reserved IS NULL AND amount_refunded IS NULL AND amount_overdrawn IS NULL)
			OR CASE WHEN amount_overdrawn IS NULL THEN coalesce(amount_reserved, 0) + coalesce(amount_refunded, 0) <= coalesce(amount_collected, 0)
				ELSE coalesce(amount_reserved, 0) + coalesce(amount_refunded, 0) = coalesce(amount_collected, 0) + amount_overdrawn END'),
		('pay_event', 'pay_event_seq_check', 'seq > 0'),
		('pay_event', 'pay_event_attempt_check', 'attempt >= 0 AND attempt <= 63'),
		('pay_review', 'pay_review_attempt_check', 'attempt >= 0 AND attempt <= 63'),
		('pay_review', 'pay_review_kind_check',
			$$kind IN ('mismatch', 'unmatched', 'conflict', 'adopted', 'twin', 'abnormal', 'returned', 'overdrawn', 'exhausted', 'damaged')$$),
		('pay_review', 'pay_review_resolved_check', $$CASE
			WHEN verdict IS NULL THEN resolved_at IS NULL
			ELSE verdict IN ('accept', 'refund', 'dismiss', 'alias', 'same') AND resolved_at IS NOT NULL
				AND resolved_by IS NOT NULL AND reason IS NOT NULL END$$),
		('pay_refund', 'pay_refund_keys_check', 'octet_length(merchant) <= 255 AND octet_length(refund_no) BETWEEN 1 AND 255'),
		('pay_refund', 'pay_refund_amount_check', 'amount > 0'),
		('pay_refund', 'pay_refund_attempt_check', 'attempt >= 1 AND attempt <= 63'),
		('pay_refund', 'pay_refund_kind_check', $$kind IN ('refund', 'chargeback', 'surplus', 'extra')$$),
		('pay_dispute', 'pay_dispute_payments_check', 'pay_no <> other_pay_no'),
		('pay_dispute', 'pay_dispute_resolved_check', $$CASE
			WHEN verdict IS NULL THEN resolved_at IS NULL AND refund_no IS NULL
			ELSE verdict IN ('refund', 'reject') AND (verdict = 'refund') = (refund_no IS NOT NULL)
				AND resolved_at IS NOT NULL AND resolved_by IS NOT NULL AND verdict_reason IS NOT NULL END$$),
		('pay_task', 'pay_task_attempt_check', 'attempt >= 0 AND attempt <= 63'),
		('pay_task', 'pay_task_tries_check', 'tries >= 0'),
		('pay_resource', 'pay_resource_keys_check', 'octet_length(merchant) <= 255 AND octet_length(resource) BETWEEN 1 AND 255'),
		-- a resource is never taken beyond what there is of it
		('pay_resource', 'pay_resource_taken_check', 'taken >= 0 AND capacity > 0 AND taken <= capacity'),
		('pay_hold', 'pay_hold_quantity_check', 'quantity > 0'),
		('pay_hold', 'pay_hold_position_check', '"position" > 0'),
		('pay_hold', 'pay_hold_state_check', $$state IN ('held', 'confirming', 'confirmed', 'releasing', 'released')$$),
		('pay_grantee', 'pay_grantee_given_check', $$kind IN ('app', 'checkout', 'reports', 'worker', 'ops', 'auditor')
			AND octet_length(merchant) <= 255$$)
	) AS t (relation, name, definition)
	LOOP
		CONTINUE WHEN EXISTS (SELECT FROM pg_constraint
			WHERE conrelid = to_regclass(format('%I.%I', home, item.relation)) AND conname = item.name);
		statement := format('ALTER TABLE %I.%I ADD CONSTRAINT %I CHECK (%s)', home, item.relation, item.name, format(item.definition, home));
		BEGIN
			EXECUTE statement;
		EXCEPTION WHEN check_violation THEN
			EXECUTE statement || ' NOT VALID';
			RAISE NOTICE 'rows of % break constraint "%": it is made for what comes', item.relation, item.name
				USING HINT = format('Mend these rows, then ALTER TABLE %I.%I VALIDATE CONSTRAINT %I;', home, item.relation, item.name);
		END;
	END LOOP;

	FOR item IN SELECT * FROM (VALUES
		('pay_payment', 'pay_payment_payer_idx', '', '(merchant, payer, pay_no) WHERE payer IS NOT NULL'),
		('pay_refund', 'pay_refund_payment_idx', '', '(pay_no)'),
		('pay_task', 'pay_task_due_idx', '', '(due_at)'),
		('pay_dispute', 'pay_dispute_open_idx', 'UNIQUE', '(pay_no, other_pay_no) WHERE resolved_at IS NULL'),
		('pay_event', 'pay_event_message_idx', 'UNIQUE', '(pay_no, source, message_id) WHERE message_id IS NOT NULL'),
		('pay_review', 'pay_review_open_idx', '', '(pay_no) WHERE resolved_at IS NULL'),
		('pay_review', 'pay_review_unmatched_key', 'UNIQUE',
			'(source, trade_no, message_id, merchant) NULLS NOT DISTINCT WHERE pay_no IS NULL AND resolved_at IS NULL'),
		('pay_grantee', 'pay_grantee_key', 'UNIQUE', '(role, kind, merchant) NULLS NOT DISTINCT')
	) AS t (relation, name, uniqueness, definition)
	LOOP
		SELECT i.indisvalid INTO stored FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
			WHERE i.indrelid = to_regclass(format('%I.%I', home, item.relation)) AND c.relname = item.name;
		CONTINUE WHEN stored.indisvalid;
		IF stored IS NOT NULL THEN
			EXECUTE format('DROP INDEX %I.%I', home, item.name);
		END IF;
		EXECUTE format('CREATE %s INDEX %I ON %I.%I %s', item.uniqueness, item.name, home, item.relation, item.definition);
	END LOOP;

	FOR item IN SELECT * FROM (VALUES
		('pay_channel', 'pay_guard_before', 'BEFORE INSERT OR UPDATE OR DELETE', 'ROW'),
		('pay_channel', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_payment', 'pay_guard_before', 'BEFORE UPDATE OR DELETE', 'ROW'),
		('pay_payment', 'pay_guard_after', 'AFTER UPDATE', 'ROW'),
		('pay_payment', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_attempt', 'pay_guard_before', 'BEFORE UPDATE OR DELETE', 'ROW'),
		('pay_attempt', 'pay_guard_after', 'AFTER UPDATE', 'ROW'),
		('pay_attempt', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_event', 'pay_guard_before', 'BEFORE UPDATE OR DELETE', 'ROW'),
		('pay_event', 'pay_guard_after', 'AFTER UPDATE', 'ROW'),
		('pay_event', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_review', 'pay_guard_before', 'BEFORE UPDATE OR DELETE', 'ROW'),
		('pay_review', 'pay_guard_after', 'AFTER UPDATE', 'ROW'),
		('pay_review', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_refund', 'pay_guard_before', 'BEFORE UPDATE OR DELETE', 'ROW'),
		('pay_refund', 'pay_guard_after', 'AFTER UPDATE', 'ROW'),
		('pay_refund', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_dispute', 'pay_guard_before', 'BEFORE UPDATE OR DELETE', 'ROW'),
		('pay_dispute', 'pay_guard_after', 'AFTER UPDATE', 'ROW'),
		('pay_dispute', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_task', 'pay_guard_before', 'BEFORE UPDATE OR DELETE', 'ROW'),
		('pay_task', 'pay_guard_after', 'AFTER UPDATE', 'ROW'),
		('pay_task', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_resource', 'pay_guard_before', 'BEFORE UPDATE OR DELETE', 'ROW'),
		('pay_resource', 'pay_guard_after', 'AFTER UPDATE', 'ROW'),
		('pay_resource', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_hold', 'pay_guard_before', 'BEFORE UPDATE OR DELETE', 'ROW'),
		('pay_hold', 'pay_guard_after', 'AFTER UPDATE', 'ROW'),
		('pay_hold', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_database', 'pay_guard_before', 'BEFORE INSERT OR UPDATE OR DELETE', 'ROW'),
		('pay_database', 'pay_guard_truncate', 'BEFORE TRUNCATE', 'STATEMENT'),
		('pay_grantee', 'pay_guard_before', 'BEFORE INSERT OR UPDATE OR DELETE', 'ROW')
	) AS t (relation, name, event, level)
	LOOP
		relation := format('%I.%I', home, item.relation);
		SELECT t.tgenabled, t.tgtype, t.tgqual IS NULL AND t.tgattr::text = '' AND NOT t.tgdeferrable AS always INTO stored
		FROM pg_trigger t WHERE t.tgrelid = relation AND t.tgname = item.name;
		-- the bits of tgtype: for each row, BEFORE, INSERT, DELETE, UPDATE, TRUNCATE
		IF stored IS NOT NULL AND NOT (stored.always AND stored.tgtype = (item.level = 'ROW')::integer + 2 * (item.event LIKE 'BEFORE%')::integer
				+ 4 * (item.event LIKE '%INSERT%')::integer + 8 * (item.event LIKE '%DELETE%')::integer
				+ 16 * (item.event LIKE '%UPDATE%')::integer + 32 * (item.event LIKE '%TRUNCATE%')::integer) THEN
			EXECUTE format('DROP TRIGGER %I ON %s', item.name, relation);
			stored := NULL;
		END IF;
		IF stored IS NULL THEN
			EXECUTE format('CREATE TRIGGER %I %s ON %s FOR EACH %s EXECUTE FUNCTION %I.pay_guard()',
				item.name, item.event, relation, item.level, home);
		ELSIF stored.tgenabled NOT IN ('O', 'A') THEN
			EXECUTE format('ALTER TABLE %s ENABLE TRIGGER %I', relation, item.name);
		END IF;
	END LOOP;

	-- What nobody could repair: it has the name of one of our keys or indexes, and is none.
	FOR item IN EXECUTE format('SELECT t AS name, f.* FROM unnest($1) t, %1$I.pay_table_fault(to_regclass(format(''%%I.%%I'', %1$L, t))) f
		WHERE f.fault IS NOT NULL', home) USING our_tables
	LOOP
		RAISE EXCEPTION 'table % cannot be repaired', item.name
			USING ERRCODE = 'PY409', DETAIL = format('It %s.', item.fault),
				HINT = coalesce(item.remedy, 'Rename or drop what has the name of what is missing, then call pay_install() again.');
	END LOOP;

	-- Where the tables are made, workers may send what is due; a copy must be adopted.
	EXECUTE format('INSERT INTO %1$I.pay_database (system_identifier, reason) SELECT system_identifier, $1 FROM pg_control_system()
		WHERE NOT EXISTS (SELECT FROM %1$I.pay_database)', home)
	USING 'pay_install() made the tables here'::text;

	-- The queue has no key: a subscriber of it finds its rows by all columns.
	IF (SELECT relreplident FROM pg_class WHERE oid = to_regclass(format('%I.pay_task', home))) = 'd' THEN
		EXECUTE format('ALTER TABLE %I.pay_task REPLICA IDENTITY FULL', home);
	END IF;

	-- Whoever reads the view needs the rights to read the tables. What came since
	-- we looked makes CREATE VIEW fail.
	EXECUTE format($view$
	CREATE %2$s VIEW %1$I.pay_balance WITH (security_invoker = true) AS
	SELECT p.pay_no, p.merchant, p.order_no, p.currency, p.state, p.amount,
		p.amount_collected AS needed, a.collected, r.surplus, r.reserved, r.refunded,
		a.collected + a.overdrawn - r.reserved - r.refunded AS refundable, a.to_close, a.overdrawn
	FROM %1$I.pay_payment p
	CROSS JOIN LATERAL (
		SELECT coalesce(sum(coalesce(t.amount_collected, 0) + coalesce(t.amount_extra, 0)), 0)::bigint AS collected,
			coalesce(sum(t.amount_overdrawn), 0)::bigint AS overdrawn,
			(count(*) FILTER (WHERE t.state::text IN ('paying', 'authorized', 'capturing', 'unknown', 'closing')
				AND (p.state::text IN ('paid', 'closed', 'reversed') OR p.replaced_by IS NOT NULL)))::integer AS to_close
		FROM %1$I.pay_attempt t
		WHERE t.trade_no = ANY (%1$I.pay_trade_nos(p.pay_no, p.routes))) a
	CROSS JOIN LATERAL (
		SELECT coalesce(sum(f.amount) FILTER (WHERE f.kind IN ('surplus', 'extra')), 0)::bigint AS surplus,
			coalesce(sum(f.amount) FILTER (WHERE f.state::text IN ('requested', 'processing', 'unknown', 'abnormal')), 0)::bigint AS reserved,
			coalesce(sum(f.amount) FILTER (WHERE f.state::text = 'succeeded'), 0)::bigint AS refunded
		FROM %1$I.pay_refund f
		WHERE f.pay_no = p.pay_no) r
	$view$, home, CASE WHEN to_regclass(format('%I.pay_balance', home)) = ANY (found) THEN 'OR REPLACE' END);

	-- What a DBA changed stays: only routes and names that are not there yet
	-- come in. Routes are on disk, in numbers: never reuse or renumber one.
	EXECUTE format($presets$
	INSERT INTO %1$I.pay_channel (route, channel, method, timeout, can_resubmit, can_close, can_reverse)
	SELECT p.* FROM (VALUES
		-- WeChat Pay API v3: out_trade_no may be sent again unchanged, prepay_id lives
		-- two hours, an order can be closed; a payment code (micropay) is asked about and
		-- then reversed instead
		(1::smallint, 'test', 'test', '2 hours'::interval, true, true, true),
		(2, 'test', 'card', '2 hours', true, true, true),
		(3, 'test', 'qr', '2 hours', true, true, true),
		(10, 'wechat', 'jsapi', '2 hours', true, true, false),
		(11, 'wechat', 'app', '2 hours', true, true, false),
		(12, 'wechat', 'h5', '2 hours', true, true, false),
		(13, 'wechat', 'native', '2 hours', true, true, false),
		(14, 'wechat', 'mini', '2 hours', true, true, false),
		(15, 'wechat', 'micropay', '5 minutes', false, false, true),
		-- Alipay: alipay.trade.close ends a trade nobody paid, alipay.trade.cancel reverses one
		-- of a bar code; a precreated QR code lives two hours
		(20, 'alipay', 'page', '2 hours', true, true, false),
		(21, 'alipay', 'wap', '2 hours', true, true, false),
		(22, 'alipay', 'app', '2 hours', true, true, false),
		(23, 'alipay', 'qr', '2 hours', true, true, true),
		(24, 'alipay', 'mini', '2 hours', true, true, false),
		(25, 'alipay', 'barcode', '5 minutes', false, false, true),
		-- UnionPay online gateway: an orderId must not be sent twice
		(30, 'unionpay', 'web', '1 hour', false, false, true),
		(31, 'unionpay', 'app', '1 hour', false, false, true),
		(32, 'unionpay', 'qr', '1 hour', false, false, true),
		(33, 'unionpay', 'card', '1 hour', false, false, true),
		-- Stripe: idempotency keys live 24 hours, a PaymentIntent can be cancelled until it succeeded
		(40, 'stripe', 'card', '24 hours', true, true, false),
		(41, 'stripe', 'checkout', '24 hours', true, true, false),
		(42, 'stripe', 'wallet', '24 hours', true, true, false),
		(43, 'stripe', 'bank', '24 hours', true, true, false),
		-- PayPal Orders v2: PayPal-Request-Id repeats safely; an order cannot be closed, it lapses
		(50, 'paypal', 'checkout', '3 hours', true, false, false),
		(51, 'paypal', 'card', '3 hours', true, false, false),
		-- Adyen Checkout: idempotency keys live at least 7 days; cancel and reversal by reference
		(60, 'adyen', 'card', '24 hours', true, true, true),
		(61, 'adyen', 'wallet', '24 hours', true, true, true),
		(62, 'adyen', 'redirect', '24 hours', true, true, true),
		(63, 'adyen', 'qr', '24 hours', true, true, true)
	) AS p (route, channel, method, timeout, can_resubmit, can_close, can_reverse)
	WHERE NOT EXISTS (SELECT FROM %1$I.pay_channel c
		WHERE c.route = p.route OR (c.channel, c.method) = (p.channel, p.method))
	$presets$, home);

	FOR item IN SELECT * FROM (VALUES
		('TABLE', 'pay_channel', 'ways to collect money: a route is a channel and a method. Add your own with one INSERT; never reuse a route'),
		('COLUMN', 'pay_channel.route', 'number of the route in trade numbers, 1 to 4095; the install uses those below 1000'),
		('COLUMN', 'pay_channel.channel', 'who moves the money'),
		('COLUMN', 'pay_channel.method', 'how the customer pays'),
		('COLUMN', 'pay_channel.resubmit_after', 'after this long without a credential, the same attempt is handed out again to anybody'),
		('COLUMN', 'pay_channel.resubmit_within', 'how long the channel knows a number or key: after that it would collect again, so the attempt is not handed out again'),
		('COLUMN', 'pay_channel.schedule_held', 'the waits while the money is authorized or a refund is processing; the last one repeats'),
		('COLUMN', 'pay_channel.held_for', 'for how long such an attempt or refund is asked about'),
		('COLUMN', 'pay_channel.message_ids', 'message: each has an id of its own; state: the channel gives all messages about one payment the same id'),
		('COLUMN', 'pay_channel.timeout', 'how long the channel itself keeps an attempt open'),
		('COLUMN', 'pay_channel.schedule', 'when to ask the channel about an open attempt: the waits between queries'),
		('COLUMN', 'pay_channel.max_attempts', 'attempts of one payment through this channel, at most'),
		('COLUMN', 'pay_channel.can_resubmit', 'the channel takes the same merchant order number again without harm'),
		('COLUMN', 'pay_channel.can_close', 'an unpaid attempt can be closed at the channel'),
		('COLUMN', 'pay_channel.can_reverse', 'an attempt can be reversed (revoked) at the channel whatever its state'),
		('TABLE', 'pay_payment', 'one row per order: the current truth. Guarded: change it through the pay_ functions'),
		('COLUMN', 'pay_payment.pay_no', 'the payment''s number (UUID version 8)'),
		('COLUMN', 'pay_payment.amount', 'what is to be collected, in minor units of the currency'),
		('COLUMN', 'pay_payment.amount_collected', 'what the winning attempt collected, in minor units; 0 while there is none'),
		('COLUMN', 'pay_payment.amount_refunded', 'what of it went back, in minor units: the winner''s refunds that succeeded'),
		('COLUMN', 'pay_payment.replaced_by', 'pay_no of the order that the customer pays instead: what still arrives for this one is surplus'),
		('COLUMN', 'pay_payment.valid_until', 'after this, no new attempt; NULL for no limit'),
		('COLUMN', 'pay_payment.last_seq', 'number of the payment''s latest event'),
		('COLUMN', 'pay_payment.winner', 'the attempt that paid it'),
		('COLUMN', 'pay_payment.multi', 'the customer may start a second attempt beside an open one'),
		('COLUMN', 'pay_payment.end_requested', 'it was asked to end: when no attempt is open, it is closed and not failed'),
		('COLUMN', 'pay_payment.currency', 'ISO 4217 code'),
		('COLUMN', 'pay_payment.routes', 'the route of each attempt, in their order: with pay_no they give the attempts'' numbers'),
		('TABLE', 'pay_attempt', 'one row per attempt to collect: the channel''s truth. Guarded'),
		('COLUMN', 'pay_attempt.trade_no', 'the attempt''s number: what the channel gets as merchant order number'),
		('COLUMN', 'pay_attempt.amount_to_capture', 'what was asked for when capturing, in minor units; the rest is released'),
		('COLUMN', 'pay_attempt.amount_collected', 'what the channel collected, in minor units; NULL unless paid'),
		('COLUMN', 'pay_attempt.amount_extra', 'what it collected beyond that, by another transaction; a review found it, and refunds of kind extra give it back'),
		('COLUMN', 'pay_attempt.amount_reserved', 'refunds of amount_collected that are under way, in minor units; NULL for none'),
		('COLUMN', 'pay_attempt.amount_refunded', 'refunds of amount_collected that succeeded, in minor units; NULL for none'),
		('COLUMN', 'pay_attempt.handed_out_at', 'when a caller was last told to call the channel'),
		('COLUMN', 'pay_attempt.channel_txn', 'the channel''s own transaction number'),
		('COLUMN', 'pay_attempt.credential', 'what the customer pays with: prepay_id, client secret, URL'),
		('TABLE', 'pay_event', 'append-only history: every report and every change, who, when and why'),
		('COLUMN', 'pay_event.seq', 'number of the event within its payment, from 1 without a gap'),
		('COLUMN', 'pay_event.attempt', 'which attempt it is about; 0 for the payment as a whole'),
		('COLUMN', 'pay_event.source', 'what brought it: create, prepay, credential, close, transition, refund, refund_transition, review, dispute, claim, import (another system''s word), update (direct DML), or callback: or refund_callback: and the channel'),
		('COLUMN', 'pay_event.message_id', 'the message''s own id; unique per payment and source'),
		('COLUMN', 'pay_event.reported', 'what the report said'),
		('COLUMN', 'pay_event.refund_no', 'the refund that it is about'),
		('COLUMN', 'pay_event.refund_reported', 'what the report said of the refund'),
		('COLUMN', 'pay_event.occurred_at', 'when the sender says it happened; recorded, decides nothing'),
		('COLUMN', 'pay_event.actor', 'role that called'),
		('COLUMN', 'pay_event.session_actor', 'role that logged in'),
		('TABLE', 'pay_review', 'what a person must look at; open until resolved with pay_review_resolve()'),
		('COLUMN', 'pay_review.kind', 'mismatch, unmatched, conflict (a known message id with other content), adopted (a refund or chargeback that the channel started), twin (a refund that may be one of ours under the channel''s number), abnormal (a refund that a person must settle), returned (a refund whose money came back), overdrawn (more left than was collected), exhausted (the schedule of questions is over), or damaged (rows that contradict themselves or each other: the queue passes the payment by)'),
		('COLUMN', 'pay_review.refund_no', 'the refund that it is about'),
		('COLUMN', 'pay_review.merchant', 'whose refund an unmatched report is said to be about'),
		('COLUMN', 'pay_review.refund_reported', 'what the report said of the refund'),
		('COLUMN', 'pay_review.about_money', 'it says that money moved: while it is open, no new attempt'),
		('COLUMN', 'pay_review.trade_no', 'the number as it was reported'),
		('COLUMN', 'pay_review.attempt_no', 'the attempt that it is about, as pay_attempt.trade_no has it; where there is none, the reported number; NULL if that is no number of ours'),
		('TABLE', 'pay_refund', 'one row per refund or chargeback: the current truth. Guarded'),
		('COLUMN', 'pay_refund.refund_no', 'unique per merchant: what the channel gets as merchant refund number'),
		('COLUMN', 'pay_refund.pay_no', 'the payment'),
		('COLUMN', 'pay_refund.attempt', 'the attempt of it whose money goes back'),
		('COLUMN', 'pay_refund.amount', 'in minor units of the payment''s currency'),
		('COLUMN', 'pay_refund.kind', 'refund, chargeback, surplus (an attempt''s money that the order did not need) or extra (what an attempt collected a second time)'),
		('COLUMN', 'pay_refund.adopted', 'the channel started it; it was not asked for here'),
		('COLUMN', 'pay_refund.channel_txn', 'the channel''s own number of the refund'),
		('COLUMN', 'pay_attempt.amount_overdrawn', 'what refunds and chargebacks took beyond what it collected, in minor units; NULL for nothing'),
		('COLUMN', 'pay_attempt.reported_at', 'when the channel last spoke of it while it was paying: since then it is not handed out again'),
		('COLUMN', 'pay_refund.of_txn', 'the channel''s transaction that it gives back'),
		('COLUMN', 'pay_refund.handed_out_at', 'when somebody was told to send it to the channel; NULL: nobody was'),
		('COLUMN', 'pay_review.refund_kind', 'refund or chargeback, as the report says'),
		('COLUMN', 'pay_resource.taken_by', 'of what one alone can have: the payment that took it last'),
		('TABLE', 'pay_database', 'the clusters whose workers may send what is due, by their system identifier; pay_adopt_database() adds this one'),
		('COLUMN', 'pay_database.system_identifier', 'as pg_control_system() shows it'),
		('COLUMN', 'pay_balance.overdrawn', 'what the channels took beyond what they collected: it is lost, or owed by the customer'),
		('COLUMN', 'pay_attempt.check_at', 'when its task was queued for: of several rows in pay_task the one that counts; NULL: any, -infinity: none'),
		('COLUMN', 'pay_attempt.reports', 'how many reports about it came while it was open'),
		('COLUMN', 'pay_refund.check_at', 'as for an attempt'),
		('COLUMN', 'pay_refund.reports', 'how many reports about it came'),
		('COLUMN', 'pay_payment.holds', 'how many resources it asked for; NULL for none'),
		('TABLE', 'pay_task', 'the queue: when to look at an attempt, a refund, a hold or a payment; what is to be done follows from its state. Guarded; pay_claim() hands out'),
		('COLUMN', 'pay_task.due_at', 'when to look; of a task that is handed out, the end of the lease'),
		('COLUMN', 'pay_task.attempt', 'which attempt; 0 for a hold or the payment itself'),
		('COLUMN', 'pay_task.tries', 'place in the channel''s schedule: questions that were handed out'),
		('COLUMN', 'pay_task.claimed_at', 'when it was last handed out'),
		('COLUMN', 'pay_task.queued_for', 'due_at as it was queued: what the attempt, refund or hold has as check_at'),
		('COLUMN', 'pay_task.reports', 'reports of the attempt or refund when it was handed out: more by now is an answer'),
		('COLUMN', 'pay_task.asked_by', 'worker that it is handed out to'),
		('TABLE', 'pay_resource', 'what orders can hold: a row per resource (stock:SKU9) or class of them (coupon). Yours to fill; taken is kept by the pay_ functions'),
		('COLUMN', 'pay_resource.capacity', 'how much there is of it, or of each resource of the class; NULL for no limit'),
		('COLUMN', 'pay_resource.taken', 'how much is held or spent'),
		('COLUMN', 'pay_resource.external', 'another system keeps it: a worker confirms and releases there'),
		('TABLE', 'pay_hold', 'what each payment holds. Guarded'),
		('COLUMN', 'pay_hold.position', 'order of taking; external ones are released in the reverse order'),
		('COLUMN', 'pay_hold.tried', 'the participant''s own try was heard of'),
		('TABLE', 'pay_dispute', 'customers'' cases: one payment is said to repeat another; open until resolved with pay_dispute_resolve()'),
		('COLUMN', 'pay_dispute.pay_no', 'the payment that is said to be one too many'),
		('COLUMN', 'pay_dispute.other_pay_no', 'the payment that it is said to repeat'),
		('COLUMN', 'pay_dispute.refund_no', 'the refund that the verdict opened'),
		('VIEW', 'pay_balance', 'the money of each payment, counted from the rows: collected = needed + surplus, and reserved + refunded are never more than collected + overdrawn'),
		('COLUMN', 'pay_balance.needed', 'what the winner collected for the order, in minor units (as all amounts here)'),
		('COLUMN', 'pay_balance.collected', 'what the channels collected by all attempts'),
		('COLUMN', 'pay_balance.surplus', 'what of it the order did not need: refunds were opened for it'),
		('COLUMN', 'pay_balance.reserved', 'refunds under way'),
		('COLUMN', 'pay_balance.refunded', 'refunds that succeeded'),
		('COLUMN', 'pay_balance.refundable', 'what was collected and is neither reserved nor gone'),
		('COLUMN', 'pay_balance.to_close', 'attempts that are open though the order needs no money: close them, or void what they authorized'),
		('TABLE', 'pay_grantee', 'which roles pay_grant() gave which rights: for whose merchants they act, and so that pay_install() can give them again'),
		('COLUMN', 'pay_grantee.merchant', 'the merchant that the role acts for; NULL: all')
	) AS t (class, name, comment)
	LOOP
		EXECUTE format('COMMENT ON %s %I.%s IS %L', item.class, home, item.name, item.comment);
	END LOOP;

	IF old_owner IS NOT NULL THEN
		EXECUTE format('ALTER VIEW %I.pay_balance OWNER TO %s', home, old_owner);
	END IF;

	FOR item IN EXECUTE format(
		'SELECT g.role, g.kind, g.merchant FROM %I.pay_grantee g JOIN pg_roles r ON r.rolname = g.role ORDER BY 1, 2, 3', home)
	LOOP
		EXECUTE format('SELECT %I.pay_grant($1, $2, $3)', home) USING item.role::text, item.kind, item.merchant;
	END LOOP;
END
$install$;
COMMENT ON FUNCTION pay_install() IS
	'creates pay_idem''s tables as ordinary tables in its schema, or brings older ones up to date; safe to repeat. PY409 if a table of that name is not ours';
