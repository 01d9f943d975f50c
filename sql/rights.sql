
-- Who may call what: EXECUTE is the gate.

CREATE FUNCTION pay_grant(role text, kind text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $grant$
DECLARE
	home name;
	functions_of_kind CONSTANT jsonb := '{
		"app": ["pay_create", "pay_prepay", "pay_credential", "pay_transition", "pay_callback", "pay_callbacks", "pay_query",
			"pay_refund", "pay_refund_callback", "pay_dispute_open", "pay_hold_done"],
		"worker": ["pay_credential", "pay_transition", "pay_callback", "pay_callbacks", "pay_query",
			"pay_refund_transition", "pay_refund_callback", "pay_claim", "pay_hold_done"],
		"ops": ["pay_transition", "pay_query", "pay_history", "pay_review_resolve", "pay_import",
			"pay_refund", "pay_refund_transition", "pay_dispute_open", "pay_dispute_resolve", "pay_dispute_case", "pay_suspects"],
		"auditor": ["pay_query", "pay_history", "pay_dispute_case", "pay_suspects"]}';
	readable_by_kind CONSTANT jsonb := '{
		"app": [],
		"worker": ["pay_channel"],
		"ops": ["pay_channel", "pay_payment", "pay_attempt", "pay_event", "pay_review", "pay_refund", "pay_dispute", "pay_balance",
			"pay_task", "pay_resource", "pay_hold"],
		"auditor": ["pay_channel", "pay_payment", "pay_attempt", "pay_event", "pay_review", "pay_refund", "pay_dispute", "pay_balance",
			"pay_task", "pay_resource", "pay_hold", "pay_grantee"]}';
	name text;
	installed boolean;
BEGIN
	IF role IS NULL OR kind IS NULL OR NOT functions_of_kind ? kind THEN
		RAISE EXCEPTION 'no such kind of role: %', coalesce(quote_literal(kind), 'NULL')
			USING ERRCODE = 'PY400',
				DETAIL = format('role is %s; the kinds are app, worker, ops, auditor.', coalesce(quote_literal(role), 'NULL'));
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = pay_grant.role) THEN
		RAISE EXCEPTION 'role % does not exist', quote_literal(role)
			USING ERRCODE = 'PY400',
				DETAIL = 'Rights to pay are given to roles by name, never to PUBLIC.';
	END IF;

	SELECT n.nspname INTO STRICT home
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'pay_idem';

	FOR name IN SELECT jsonb_array_elements_text(readable_by_kind -> 'auditor')
	LOOP
		CONTINUE WHEN name = 'pay_balance';
		EXECUTE format('SELECT %I.pay_trusts(to_regclass(%L))', home, format('%I.%I', home, name)) INTO installed;
		CONTINUE WHEN installed;
		RAISE EXCEPTION 'pay_idem is not installed in this database'
			USING ERRCODE = 'PY503',
				DETAIL = format('Table "%s" does not exist, or is not one that pay_install() made.', name),
				HINT = 'SELECT pay_install(); creates the tables, or brings them up to date.';
	END LOOP;
	EXECUTE format('INSERT INTO %1$I.pay_grantee (role, kind) SELECT $1::name, $2
		WHERE NOT EXISTS (SELECT FROM %1$I.pay_grantee WHERE role = $1::name AND kind = $2)', home)
		USING role, kind;

	EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', home, role);
	FOR name IN
		SELECT p.oid::regprocedure::text
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname = home
			AND p.proname IN (SELECT jsonb_array_elements_text(functions_of_kind -> kind))
			AND EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
				WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
					AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
					AND e.extname = 'pay_idem')
	LOOP
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', name, role);
	END LOOP;
	FOR name IN SELECT jsonb_array_elements_text(readable_by_kind -> kind)
	LOOP
		EXECUTE format('GRANT SELECT ON TABLE %I.%I TO %I', home, name, role);
	END LOOP;
	IF kind = 'ops' THEN
		EXECUTE format('GRANT INSERT, UPDATE ON TABLE %1$I.pay_channel, %1$I.pay_resource TO %2$I', home, role);
	END IF;
END
$grant$;
COMMENT ON FUNCTION pay_grant(text, text) IS
	'gives a role the rights of a kind: app (pays and refunds), worker (talks to channels), ops (resolves reviews and disputes, adds channels, imports), auditor (reads). Kept, so that pay_install() gives them again. PY400';

-- PUBLIC keeps what a restore needs (types, guards) and the pure readers of
-- numbers and states.
REVOKE ALL ON FUNCTION
	pay_install(),
	pay_grant(text, text),
	pay_create(text, bigint, text, text, text, boolean, interval, jsonb),
	pay_prepay(text, bigint, text, text, text, text, text, text, boolean, interval, text, boolean, text[], jsonb),
	pay_credential(text, text, interval),
	pay_query(text, text),
	pay_transition(text, text, text, bigint, text, text, text),
	pay_callback(text, text, text, text, bigint, text, text, timestamptz, jsonb),
	pay_callbacks(jsonb),
	pay_refund(text, text, bigint, text),
	pay_refund_transition(text, text, text, text, text),
	pay_refund_callback(text, text, text, text, bigint, text, text, text, timestamptz, jsonb, text, text),
	pay_claim(text, integer, interval, text[]),
	pay_import(jsonb),
	pay_hold_done(text, text, text),
	pay_dispute_open(text, text, text),
	pay_dispute_resolve(bigint, text, text),
	pay_dispute_case(bigint),
	pay_suspects(timestamptz),
	pay_review_resolve(bigint, text, text),
	pay_history(text)
FROM PUBLIC;
