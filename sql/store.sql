
-- The tables. They are the user's, so pg_dump, grants and added columns work
-- as for any table; that is why a function makes them and not this script.

CREATE FUNCTION pay_number_matches(number uuid, pay_no uuid, attempt integer, route integer) RETURNS boolean
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_number_matches(uuid, uuid, integer, integer) IS
	'is this the number of that attempt, by that route, of the payment pay_no? Attempt 0 and route 0: the payment''s own. For the CHECKs of our tables';

CREATE FUNCTION pay_trusts(relation regclass) RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relispartition
		AND EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid
			AND t.tgfoid = to_regprocedure(format('%I.pay_guard()', n.nspname)))
		AND has_function_privilege(c.relowner, to_regprocedure(format('%I.pay_install()', n.nspname)), 'EXECUTE')
		-- all tables are of one owner
		AND NOT EXISTS (SELECT FROM pg_class p
			WHERE p.relnamespace = n.oid AND p.relname = 'pay_payment' AND p.relowner <> c.relowner)
	FROM pg_class c, pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE c.oid = relation AND e.extname = 'pay_idem'
$$;
COMMENT ON FUNCTION pay_trusts(regclass) IS
	'is this a table that pay_install() made? A plain one, guarded, of the owner of pay_payment, who may call pay_install(); anybody else''s triggers would run with the rights of whoever pays';

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
	our_tables CONSTANT text[] := '{pay_channel, pay_payment, pay_attempt, pay_event, pay_review, pay_refund, pay_dispute, pay_task, pay_resource, pay_hold, pay_grantee}';
	old_owner regrole;
	item record;
	relation regclass;
	found regclass[] := '{}';
	others text;
	before_refunds boolean := false;
	before_tasks boolean := false;
BEGIN
	SELECT n.nspname INTO STRICT home
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'pay_idem';

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
			CASE WHEN c.relkind = ''v'' AND c.relname = ''pay_balance''
				THEN has_function_privilege(c.relowner, $2, ''EXECUTE'') AND NOT EXISTS (SELECT FROM pg_class p
					WHERE p.relnamespace = n.oid AND p.relname = ''pay_payment'' AND p.relowner <> c.relowner)
				ELSE %I.pay_trusts(c.oid::regclass) END AS ours
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
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
		old_owner := item.owner;
		found := found || item.relation;
	END LOOP;

	FOR item IN SELECT * FROM (VALUES
		('pay_channel', $ddl$(
			route smallint GENERATED BY DEFAULT AS IDENTITY (START 1000 MINVALUE 1 MAXVALUE 4095) PRIMARY KEY
				CHECK (route BETWEEN 1 AND 4095),
			channel text COLLATE "C" NOT NULL CHECK (octet_length(channel) BETWEEN 1 AND 63),
			method text COLLATE "C" NOT NULL CHECK (octet_length(method) BETWEEN 1 AND 63),
			resubmit_after interval NOT NULL DEFAULT '30 seconds' CHECK (resubmit_after >= '0'),
			timeout interval NOT NULL DEFAULT '2 hours' CHECK (timeout > '0'),
			schedule interval[] NOT NULL
				DEFAULT '{15s,15s,30s,3m,10m,20m,30m,30m,30m,60m,3h,3h,3h,6h,6h}'
				CHECK (cardinality(schedule) > 0 AND array_position(schedule, NULL) IS NULL),
			max_attempts smallint NOT NULL DEFAULT 63 CHECK (max_attempts BETWEEN 1 AND 63),
			can_resubmit boolean NOT NULL DEFAULT true,
			can_close boolean NOT NULL DEFAULT true,
			can_reverse boolean NOT NULL DEFAULT false,
			UNIQUE (channel, method)
		)$ddl$),
		('pay_payment', $ddl$(
			pay_no uuid PRIMARY KEY CHECK (%1$I.pay_number_matches(pay_no, pay_no, 0, 0)),
			amount bigint NOT NULL,
			amount_collected bigint NOT NULL DEFAULT 0,
			amount_refunded bigint NOT NULL DEFAULT 0,
			created_at timestamptz NOT NULL DEFAULT now(),
			valid_until timestamptz,
			last_seq integer NOT NULL DEFAULT 0,
			winner smallint,
			state %1$I.pay_state NOT NULL DEFAULT 'created',
			multi boolean NOT NULL DEFAULT false,
			end_requested boolean NOT NULL DEFAULT false,
			currency text COLLATE "C" NOT NULL,
			merchant text COLLATE "C" NOT NULL DEFAULT '',
			order_no text COLLATE "C" NOT NULL,
			payer text COLLATE "C",
			routes smallint[] NOT NULL DEFAULT '{}',
			metadata jsonb,
			UNIQUE (merchant, order_no),
			CONSTRAINT pay_payment_keys_check CHECK (octet_length(merchant) <= 255
				AND octet_length(order_no) BETWEEN 1 AND 255 AND octet_length(payer) <= 255),
			CONSTRAINT pay_payment_amount_check CHECK (amount > 0 AND octet_length(currency) = 3
				AND amount_refunded >= 0 AND amount_refunded <= amount_collected),
			CONSTRAINT pay_payment_attempts_check CHECK (CASE cardinality(routes)
				WHEN 0 THEN state OPERATOR(%1$I.=) 'created' OR state OPERATOR(%1$I.=) 'closed'
				ELSE state OPERATOR(%1$I.<>) 'created' END),
			CONSTRAINT pay_payment_winner_check CHECK (CASE
				WHEN winner IS NULL THEN state OPERATOR(%1$I.<>) 'paid' AND amount_collected = 0
				ELSE state OPERATOR(%1$I.=) 'paid' AND amount_collected > 0
					AND winner >= 1 AND winner <= cardinality(routes) END)
		) WITH (fillfactor = 90)$ddl$),
		('pay_attempt', $ddl$(
			trade_no uuid PRIMARY KEY,
			pay_no uuid NOT NULL,
			amount bigint NOT NULL,
			amount_to_capture bigint,
			amount_collected bigint,
			opened_at timestamptz NOT NULL DEFAULT now(),
			handed_out_at timestamptz NOT NULL DEFAULT now(),
			credential_expires_at timestamptz,
			attempt smallint NOT NULL CHECK (attempt >= 1 AND attempt <= 63),
			route smallint NOT NULL CHECK (route >= 1 AND route <= 4095),
			state %1$I.pay_state NOT NULL CHECK (state OPERATOR(%1$I.<>) 'created'),
			request_id text COLLATE "C" NOT NULL,
			channel_txn text COLLATE "C",
			credential text COLLATE "C",
			CONSTRAINT pay_attempt_trade_no_check CHECK (%1$I.pay_number_matches(trade_no, pay_no, attempt::integer, route::integer)),
			CONSTRAINT pay_attempt_amount_check CHECK (amount > 0
				AND amount_to_capture > 0 AND amount_to_capture <= amount),
			CONSTRAINT pay_attempt_collected_check CHECK (CASE
				WHEN state OPERATOR(%1$I.=) 'paid' THEN amount_collected IS NOT NULL AND amount_collected > 0
				ELSE amount_collected IS NULL END),
			CONSTRAINT pay_attempt_credential_check CHECK ((credential IS NULL) = (credential_expires_at IS NULL))
		) WITH (fillfactor = 90)$ddl$),
		('pay_event', $ddl$(
			pay_no uuid NOT NULL,
			recorded_at timestamptz NOT NULL DEFAULT now(),
			occurred_at timestamptz,
			amount bigint,
			seq integer NOT NULL CHECK (seq > 0),
			attempt smallint NOT NULL DEFAULT 0 CHECK (attempt >= 0 AND attempt <= 63),
			reported %1$I.pay_state,
			decision %1$I.pay_decision NOT NULL,
			payment_before %1$I.pay_state,
			payment_after %1$I.pay_state NOT NULL,
			attempt_before %1$I.pay_state,
			attempt_after %1$I.pay_state,
			source text COLLATE "C" NOT NULL,
			message_id text COLLATE "C",
			currency text COLLATE "C",
			channel_txn text COLLATE "C",
			actor text COLLATE "C" NOT NULL DEFAULT CURRENT_USER,
			session_actor text COLLATE "C" NOT NULL DEFAULT SESSION_USER,
			reason text COLLATE "C",
			payload jsonb,
			PRIMARY KEY (pay_no, seq)
		)$ddl$),
		('pay_review', $ddl$(
			review_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
			pay_no uuid,
			opened_at timestamptz NOT NULL DEFAULT now(),
			occurred_at timestamptz,
			resolved_at timestamptz,
			amount bigint,
			seq integer,
			attempt smallint NOT NULL DEFAULT 0,
			about_money boolean NOT NULL,
			reported %1$I.pay_state,
			kind text COLLATE "C" NOT NULL,
			source text COLLATE "C" NOT NULL,
			message_id text COLLATE "C",
			trade_no text COLLATE "C" NOT NULL,
			currency text COLLATE "C",
			channel_txn text COLLATE "C",
			detail text COLLATE "C",
			payload jsonb,
			verdict text COLLATE "C",
			reason text COLLATE "C",
			resolved_by text COLLATE "C",
			resolved_session text COLLATE "C",
			CONSTRAINT pay_review_resolved_check CHECK (CASE
				WHEN verdict IS NULL THEN resolved_at IS NULL
				ELSE verdict IN ('accept', 'refund', 'dismiss') AND resolved_at IS NOT NULL
					AND resolved_by IS NOT NULL AND reason IS NOT NULL END)
		)$ddl$),
		('pay_refund', $ddl$(
			pay_no uuid NOT NULL,
			amount bigint NOT NULL,
			requested_at timestamptz NOT NULL DEFAULT now(),
			attempt smallint NOT NULL,
			state %1$I.pay_refund_state NOT NULL DEFAULT 'requested',
			adopted boolean NOT NULL DEFAULT false,
			kind text COLLATE "C" NOT NULL DEFAULT 'refund',
			merchant text COLLATE "C" NOT NULL DEFAULT '',
			refund_no text COLLATE "C" NOT NULL,
			reason text COLLATE "C",
			channel_txn text COLLATE "C",
			PRIMARY KEY (merchant, refund_no),
			CONSTRAINT pay_refund_keys_check CHECK (octet_length(merchant) <= 255
				AND octet_length(refund_no) BETWEEN 1 AND 255),
			CONSTRAINT pay_refund_amount_check CHECK (amount > 0),
			CONSTRAINT pay_refund_attempt_check CHECK (attempt >= 1 AND attempt <= 63),
			CONSTRAINT pay_refund_kind_check CHECK (kind IN ('refund', 'chargeback', 'surplus', 'extra'))
		) WITH (fillfactor = 90)$ddl$),
		('pay_dispute', $ddl$(
			dispute_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
			pay_no uuid NOT NULL,
			other_pay_no uuid NOT NULL,
			opened_at timestamptz NOT NULL DEFAULT now(),
			resolved_at timestamptz,
			reason text COLLATE "C" NOT NULL,
			opened_by text COLLATE "C" NOT NULL DEFAULT CURRENT_USER,
			opened_session text COLLATE "C" NOT NULL DEFAULT SESSION_USER,
			verdict text COLLATE "C",
			verdict_reason text COLLATE "C",
			resolved_by text COLLATE "C",
			resolved_session text COLLATE "C",
			refund_no text COLLATE "C",
			CONSTRAINT pay_dispute_payments_check CHECK (pay_no <> other_pay_no),
			CONSTRAINT pay_dispute_resolved_check CHECK (CASE
				WHEN verdict IS NULL THEN resolved_at IS NULL AND refund_no IS NULL
				ELSE verdict IN ('refund', 'reject') AND (verdict = 'refund') = (refund_no IS NOT NULL)
					AND resolved_at IS NOT NULL AND resolved_by IS NOT NULL AND verdict_reason IS NOT NULL END)
		)$ddl$),
		('pay_task', $ddl$(
			due_at timestamptz NOT NULL,
			claimed_at timestamptz,
			pay_no uuid NOT NULL,
			attempt smallint NOT NULL DEFAULT 0,
			tries smallint NOT NULL DEFAULT 0,
			refund_no text COLLATE "C",
			resource text COLLATE "C"
		)$ddl$),
		('pay_resource', $ddl$(
			capacity bigint,
			taken bigint NOT NULL DEFAULT 0,
			external boolean NOT NULL DEFAULT false,
			merchant text COLLATE "C" NOT NULL DEFAULT '',
			resource text COLLATE "C" NOT NULL,
			PRIMARY KEY (merchant, resource),
			CONSTRAINT pay_resource_keys_check CHECK (octet_length(merchant) <= 255
				AND octet_length(resource) BETWEEN 1 AND 255),
			-- a resource is never taken beyond what there is of it
			CONSTRAINT pay_resource_taken_check CHECK (taken >= 0 AND capacity > 0 AND taken <= capacity)
		) WITH (fillfactor = 70)$ddl$),
		('pay_hold', $ddl$(
			pay_no uuid NOT NULL,
			quantity bigint NOT NULL CHECK (quantity > 0),
			taken_at timestamptz NOT NULL DEFAULT now(),
			check_at timestamptz,
			position smallint NOT NULL,
			external boolean NOT NULL DEFAULT false,
			tried boolean NOT NULL DEFAULT false,
			state text COLLATE "C" NOT NULL
				CHECK (state IN ('held', 'confirming', 'confirmed', 'releasing', 'released')),
			resource text COLLATE "C" NOT NULL,
			asked_by text COLLATE "C",
			PRIMARY KEY (pay_no, resource)
		) WITH (fillfactor = 90)$ddl$),
		('pay_grantee', $ddl$(
			role name NOT NULL,
			kind text COLLATE "C" NOT NULL
		)$ddl$)
	) AS t (name, ddl)
	LOOP
		-- what came since we looked makes CREATE TABLE fail
		CONTINUE WHEN to_regclass(format('%I.%I', home, item.name)) = ANY (found);
		EXECUTE format('CREATE TABLE %1$I.%2$I ' || item.ddl, home, item.name);
		before_tasks := before_tasks OR (item.name = 'pay_task' AND found <> '{}');
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

	-- What tables that an earlier pay_install() made do not have yet, or no more.
	IF to_regclass(format('%I.pay_review_unmatched_idx', home)) IS NOT NULL THEN
		EXECUTE format('DROP INDEX %I.pay_review_unmatched_idx', home);
	END IF;
	FOR item IN SELECT c.conname FROM pg_constraint c
		WHERE c.conrelid = to_regclass(format('%I.pay_grantee', home)) AND c.conname IN ('pay_grantee_pkey', 'pay_grantee_kind_check')
	LOOP
		EXECUTE format('ALTER TABLE %I.pay_grantee DROP CONSTRAINT %I', home, item.conname);
	END LOOP;
	FOR item IN SELECT * FROM (VALUES
		('pay_payment', 'replaced_by', 'uuid'),
		('pay_payment', 'holds', 'smallint'),
		('pay_attempt', 'amount_extra', 'bigint'),
		('pay_attempt', 'amount_reserved', 'bigint'),
		('pay_attempt', 'amount_refunded', 'bigint'),
		('pay_attempt', 'check_at', 'timestamptz'),
		('pay_attempt', 'asked_by', 'text COLLATE "C"'),
		('pay_refund', 'check_at', 'timestamptz'),
		('pay_refund', 'asked_by', 'text COLLATE "C"'),
		('pay_event', 'refund_reported', '%1$I.pay_refund_state'),
		('pay_event', 'refund_before', '%1$I.pay_refund_state'),
		('pay_event', 'refund_after', '%1$I.pay_refund_state'),
		('pay_event', 'refund_no', 'text COLLATE "C"'),
		('pay_review', 'refund_reported', '%1$I.pay_refund_state'),
		('pay_review', 'refund_no', 'text COLLATE "C"'),
		('pay_review', 'merchant', 'text COLLATE "C"'),
		('pay_grantee', 'merchant', 'text COLLATE "C"')
	) AS t (relation, name, definition)
	LOOP
		CONTINUE WHEN EXISTS (SELECT FROM pg_attribute
			WHERE attrelid = to_regclass(format('%I.%I', home, item.relation)) AND attname = item.name AND NOT attisdropped);
		EXECUTE format('ALTER TABLE %1$I.%2$I ADD COLUMN %3$I ' || item.definition, home, item.relation, item.name);
		before_refunds := before_refunds OR
			(item.name = 'amount_reserved' AND to_regclass(format('%I.pay_attempt', home)) = ANY (found));
	END LOOP;
	FOR item IN SELECT * FROM (VALUES
		('pay_channel', 'pay_channel_waits_check',
			$$(array_ndims(schedule) = 1 AND array_lower(schedule, 1) = 1 AND interval '0' < ALL (schedule)
				AND interval '1000 years' >= ALL (schedule) AND timeout <= interval '1000 years')$$),
		('pay_payment', 'pay_payment_replaced_check', '(replaced_by <> pay_no AND (replaced_by IS NULL OR end_requested))'),
		('pay_attempt', 'pay_attempt_refunds_check', '(amount_extra > 0 AND amount_reserved > 0 AND amount_refunded > 0)'),
		-- what goes back is never more than what came
		('pay_attempt', 'pay_attempt_cap_check', '((amount_reserved IS NULL AND amount_refunded IS NULL)
			OR coalesce(amount_reserved, 0) + coalesce(amount_refunded, 0) <= coalesce(amount_collected, 0))'),
		('pay_grantee', 'pay_grantee_given_check', $$(kind IN ('app', 'checkout', 'reports', 'worker', 'ops', 'auditor')
			AND octet_length(merchant) <= 255)$$)
	) AS t (relation, name, definition)
	LOOP
		CONTINUE WHEN EXISTS (SELECT FROM pg_constraint
			WHERE conrelid = to_regclass(format('%I.%I', home, item.relation)) AND conname = item.name);
		EXECUTE format('ALTER TABLE %I.%I ADD CONSTRAINT %I CHECK %s', home, item.relation, item.name, item.definition);
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
		CONTINUE WHEN EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
			WHERE i.indrelid = to_regclass(format('%I.%I', home, item.relation)) AND c.relname = item.name);
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
		('pay_grantee', 'pay_guard_before', 'BEFORE UPDATE', 'ROW'),
		('pay_grantee', 'pay_guard_change', 'BEFORE INSERT OR DELETE', 'ROW')
	) AS t (relation, name, event, level)
	LOOP
		CONTINUE WHEN EXISTS (SELECT FROM pg_trigger
			WHERE tgrelid = to_regclass(format('%I.%I', home, item.relation)) AND tgname = item.name);
		EXECUTE format('CREATE TRIGGER %I %s ON %I.%I FOR EACH %s EXECUTE FUNCTION %I.pay_guard()',
			item.name, item.event, home, item.relation, item.level, home);
	END LOOP;

	-- Tables from before there were refunds: surplus was put up for review, and
	-- what went back was noted at the payment by hand.
	IF before_refunds THEN
		EXECUTE format($older$
		ALTER TABLE %1$I.pay_attempt DISABLE TRIGGER pay_guard_before, DISABLE TRIGGER pay_guard_after;
		ALTER TABLE %1$I.pay_review DISABLE TRIGGER pay_guard_before, DISABLE TRIGGER pay_guard_after;
		INSERT INTO %1$I.pay_refund (pay_no, amount, attempt, state, kind, merchant, refund_no, reason)
		SELECT a.pay_no, a.amount_collected, a.attempt,
			-- who was told to refund did it by hand; who dismissed it must say what became of the money
			CASE WHEN v.refunded THEN 'succeeded' WHEN v.dismissed THEN 'abnormal' ELSE 'requested' END,
			'surplus', p.merchant, replace(a.trade_no::text, '-', '') || 's',
			'surplus from before pay_idem opened refunds for it'
		FROM %1$I.pay_attempt a JOIN %1$I.pay_payment p USING (pay_no)
		CROSS JOIN LATERAL (
			SELECT bool_or(r.verdict = 'refund') AS refunded, bool_or(r.verdict = 'dismiss') AS dismissed
			FROM %1$I.pay_review r
			WHERE (r.pay_no, r.attempt) = (a.pay_no, a.attempt) AND r.about_money
				-- money that a person sent back without the order having it has no review of kind surplus
				AND (r.kind = 'surplus' OR NOT EXISTS (SELECT FROM %1$I.pay_review o
					WHERE (o.pay_no, o.attempt) = (a.pay_no, a.attempt) AND o.kind = 'surplus'))) v
		WHERE a.state::text = 'paid' AND a.attempt IS DISTINCT FROM p.winner;
		INSERT INTO %1$I.pay_review (pay_no, attempt, about_money, kind, source, trade_no, refund_no, amount, detail)
		SELECT f.pay_no, f.attempt, false, 'abnormal', 'update', left(f.refund_no, 32), f.refund_no, f.amount,
			'the review of this surplus was dismissed: say whether the money went back, by stepping its refund'
		FROM %1$I.pay_refund f
		WHERE f.state::text = 'abnormal';
		INSERT INTO %1$I.pay_refund (pay_no, amount, attempt, state, adopted, merchant, refund_no, reason)
		SELECT p.pay_no, p.amount_refunded, p.winner, 'succeeded', true, p.merchant, replace(p.pay_no::text, '-', '') || 'd0',
			'noted at the payment before pay_idem kept refunds'
		FROM %1$I.pay_payment p
		WHERE p.amount_refunded > 0;
		UPDATE %1$I.pay_attempt a SET
			amount_reserved = CASE WHEN r.state::text <> 'succeeded' THEN r.amount END,
			amount_refunded = CASE WHEN r.state::text = 'succeeded' THEN r.amount END
		FROM %1$I.pay_refund r
		WHERE r.kind = 'surplus' AND (r.pay_no, r.attempt) = (a.pay_no, a.attempt);
		UPDATE %1$I.pay_attempt a SET amount_refunded = p.amount_refunded
		FROM %1$I.pay_payment p
		WHERE p.amount_refunded > 0 AND (p.pay_no, p.winner) = (a.pay_no, a.attempt);
		UPDATE %1$I.pay_attempt a SET amount_to_capture = a.amount
		WHERE a.amount_to_capture IS NULL AND a.state::text IN ('capturing', 'unknown')
			AND EXISTS (SELECT FROM %1$I.pay_event e
				WHERE (e.pay_no, e.attempt) = (a.pay_no, a.attempt) AND e.attempt_after::text = 'capturing');
		UPDATE %1$I.pay_review SET verdict = 'refund', reason = 'pay_install() opened the refund', resolved_at = now(),
			resolved_by = CURRENT_USER, resolved_session = SESSION_USER
		WHERE kind = 'surplus' AND resolved_at IS NULL AND reported::text = 'paid';
		ALTER TABLE %1$I.pay_attempt ENABLE TRIGGER pay_guard_before, ENABLE TRIGGER pay_guard_after;
		ALTER TABLE %1$I.pay_review ENABLE TRIGGER pay_guard_before, ENABLE TRIGGER pay_guard_after;
		$older$, home);
	END IF;

	IF before_tasks THEN
		EXECUTE format($queue$
		INSERT INTO %1$I.pay_task (due_at, pay_no, attempt)
		SELECT coalesce(a.check_at, now()), a.pay_no, a.attempt FROM %1$I.pay_attempt a
		WHERE a.state::text IN ('paying', 'authorized', 'capturing', 'unknown', 'closing');
		INSERT INTO %1$I.pay_task (due_at, pay_no, attempt, refund_no)
		SELECT coalesce(f.check_at, now()), f.pay_no, f.attempt, f.refund_no FROM %1$I.pay_refund f
		WHERE f.state::text IN ('requested', 'processing', 'unknown');
		$queue$, home);
	END IF;

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
		a.collected - r.reserved - r.refunded AS refundable, a.to_close
	FROM %1$I.pay_payment p
	CROSS JOIN LATERAL (
		SELECT coalesce(sum(coalesce(t.amount_collected, 0) + coalesce(t.amount_extra, 0)), 0)::bigint AS collected,
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
		('COLUMN', 'pay_event.source', 'what brought it: create, prepay, credential, transition, refund, refund_transition, review, dispute, claim, import (another system''s word), update (direct DML), or callback: or refund_callback: and the channel'),
		('COLUMN', 'pay_event.message_id', 'the message''s own id; unique per payment and source'),
		('COLUMN', 'pay_event.reported', 'what the report said'),
		('COLUMN', 'pay_event.refund_no', 'the refund that it is about'),
		('COLUMN', 'pay_event.refund_reported', 'what the report said of the refund'),
		('COLUMN', 'pay_event.occurred_at', 'when the sender says it happened; recorded, decides nothing'),
		('COLUMN', 'pay_event.actor', 'role that called'),
		('COLUMN', 'pay_event.session_actor', 'role that logged in'),
		('TABLE', 'pay_review', 'what a person must look at; open until resolved with pay_review_resolve()'),
		('COLUMN', 'pay_review.kind', 'mismatch, unmatched, conflict (a known message id with other content), adopted (a refund or chargeback that the channel started), abnormal (a refund that a person must settle), exhausted (the schedule of questions is over), or damaged (rows that contradict themselves or each other: the queue passes the payment by)'),
		('COLUMN', 'pay_review.refund_no', 'the refund that it is about'),
		('COLUMN', 'pay_review.merchant', 'whose refund an unmatched report is said to be about'),
		('COLUMN', 'pay_review.refund_reported', 'what the report said of the refund'),
		('COLUMN', 'pay_review.about_money', 'it says that money moved: while it is open, no new attempt'),
		('COLUMN', 'pay_review.trade_no', 'the number as it was reported'),
		('TABLE', 'pay_refund', 'one row per refund or chargeback: the current truth. Guarded'),
		('COLUMN', 'pay_refund.refund_no', 'unique per merchant: what the channel gets as merchant refund number'),
		('COLUMN', 'pay_refund.pay_no', 'the payment'),
		('COLUMN', 'pay_refund.attempt', 'the attempt of it whose money goes back'),
		('COLUMN', 'pay_refund.amount', 'in minor units of the payment''s currency'),
		('COLUMN', 'pay_refund.kind', 'refund, chargeback, surplus (an attempt''s money that the order did not need) or extra (what an attempt collected a second time)'),
		('COLUMN', 'pay_refund.adopted', 'the channel started it; it was not asked for here'),
		('COLUMN', 'pay_refund.channel_txn', 'the channel''s own number of the refund'),
		('COLUMN', 'pay_attempt.check_at', 'when its task is due: of several rows in pay_task the one that counts; NULL: any'),
		('COLUMN', 'pay_attempt.asked_by', 'worker that was handed its task and has not reported since'),
		('COLUMN', 'pay_refund.check_at', 'as for an attempt'),
		('COLUMN', 'pay_refund.asked_by', 'as for an attempt'),
		('COLUMN', 'pay_payment.holds', 'how many resources it asked for; NULL for none'),
		('TABLE', 'pay_task', 'the queue: when to look at an attempt, a refund, a hold or a payment; what is to be done follows from its state. Guarded; pay_claim() hands out'),
		('COLUMN', 'pay_task.due_at', 'when to look; of a task that is handed out, the end of the lease'),
		('COLUMN', 'pay_task.attempt', 'which attempt; 0 for a hold or the payment itself'),
		('COLUMN', 'pay_task.tries', 'place in the channel''s schedule: questions that were handed out'),
		('COLUMN', 'pay_task.claimed_at', 'when it was last handed out'),
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
		('VIEW', 'pay_balance', 'the money of each payment, counted from the rows: collected = needed + surplus, and reserved + refunded are never more than collected'),
		('COLUMN', 'pay_balance.needed', 'what the winner collected for the order, in minor units (as all amounts here)'),
		('COLUMN', 'pay_balance.collected', 'what the channels collected by all attempts'),
		('COLUMN', 'pay_balance.surplus', 'what of it the order did not need: refunds were opened for it'),
		('COLUMN', 'pay_balance.reserved', 'refunds under way'),
		('COLUMN', 'pay_balance.refunded', 'refunds that succeeded'),
		('COLUMN', 'pay_balance.refundable', 'what can still be refunded'),
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
