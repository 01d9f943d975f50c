
-- Who may call what: EXECUTE is the gate. For whom: the rows of pay_grantee, which
-- the functions read.

CREATE FUNCTION pay_missing_grants(home name, role text, kind text, merchant text) RETURNS SETOF text
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	functions_of_kind CONSTANT jsonb := '{
		"checkout": ["pay_create", "pay_prepay", "pay_credential", "pay_query", "pay_close"],
		"reports": ["pay_callback", "pay_callbacks", "pay_transition", "pay_query",
			"pay_refund_transition", "pay_refund_callback", "pay_refund_callbacks", "pay_hold_done"],
		"app": ["pay_create", "pay_prepay", "pay_credential", "pay_query", "pay_close",
			"pay_callback", "pay_callbacks", "pay_transition",
			"pay_refund_transition", "pay_refund_callback", "pay_refund_callbacks", "pay_hold_done",
			"pay_refund", "pay_dispute_open"],
		"worker": ["pay_credential", "pay_transition", "pay_callback", "pay_callbacks", "pay_query",
			"pay_refund_transition", "pay_refund_callback", "pay_refund_callbacks", "pay_claim", "pay_hold_done"],
		"ops": ["pay_transition", "pay_query", "pay_history", "pay_review_resolve", "pay_import",
			"pay_refund", "pay_refund_transition", "pay_dispute_open", "pay_dispute_resolve", "pay_dispute_case", "pay_suspects", "pay_adopt_database"],
		"auditor": ["pay_query", "pay_history", "pay_dispute_case", "pay_suspects"]}';
	-- these answer about all merchants
	not_for_one_merchant CONSTANT text[] := '{pay_import, pay_suspects, pay_adopt_database}';
	readable_by_kind CONSTANT jsonb := '{
		"checkout": [],
		"reports": [],
		"app": [],
		"worker": ["pay_channel"],
		"ops": ["pay_channel", "pay_payment", "pay_attempt", "pay_event", "pay_review", "pay_refund", "pay_dispute", "pay_balance",
			"pay_task", "pay_resource", "pay_hold", "pay_database"],
		"auditor": ["pay_channel", "pay_payment", "pay_attempt", "pay_event", "pay_review", "pay_refund", "pay_dispute", "pay_balance",
			"pay_task", "pay_resource", "pay_hold", "pay_grantee", "pay_database"]}';
BEGIN
	-- who may not give it has no need to where the role has it
	RETURN QUERY
	SELECT format('GRANT USAGE ON SCHEMA %I TO %I;', home, role)
	FROM pg_namespace n JOIN pg_roles r ON r.rolname = pay_missing_grants.role
	WHERE n.nspname = home AND (has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION') OR NOT has_schema_privilege(r.oid, n.oid, 'USAGE'))
		AND NOT EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a WHERE a.grantee = r.oid AND a.privilege_type = 'USAGE')
	LIMIT 1;	-- of two versions of the schema's row

	RETURN QUERY
	SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I;', p.oid::regprocedure, role)
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.rolname = pay_missing_grants.role
	WHERE n.nspname = home
		AND p.proname IN (SELECT jsonb_array_elements_text(functions_of_kind -> kind))
		AND (merchant IS NULL OR p.proname <> ALL (not_for_one_merchant))
		AND EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
			WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
				AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
				AND e.extname = 'pay_idem')
		AND NOT EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = r.oid AND a.privilege_type = 'EXECUTE');

	-- a table has the rows of all merchants
	RETURN QUERY
	SELECT format('GRANT %s ON TABLE %s TO %I;', w.privilege, t.object, role)
	FROM (SELECT jsonb_array_elements_text(readable_by_kind -> kind) AS name, 'SELECT' AS privilege
			UNION ALL SELECT n, p FROM unnest('{pay_channel,pay_resource}'::text[]) n, unnest('{INSERT,UPDATE}'::text[]) p WHERE kind = 'ops') AS w,
		LATERAL (SELECT format('%I.%I', home, w.name) AS object) AS t
		JOIN pg_roles r ON r.rolname = pay_missing_grants.role
	WHERE merchant IS NULL AND NOT EXISTS (
		SELECT FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
		WHERE c.oid = to_regclass(t.object) AND a.grantee = r.oid AND a.privilege_type = w.privilege);
END
$$;
COMMENT ON FUNCTION pay_missing_grants(name, text, text, text) IS
	'the GRANTs that a role lacks to have the rights of a kind';

CREATE FUNCTION pay_grant(role text, kind text, merchant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $grant$
DECLARE
	home name;
	name text;
	other text;
	installed boolean;
BEGIN
	IF role IS NULL OR kind IS NULL OR kind <> ALL ('{app,checkout,reports,worker,ops,auditor}') THEN
		RAISE EXCEPTION 'no such kind of role: %', coalesce(quote_literal(kind), 'NULL')
			USING ERRCODE = 'PY400',
				DETAIL = format('role is %s; the kinds are app, checkout, reports, worker, ops, auditor.', coalesce(quote_literal(role), 'NULL'));
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = pay_grant.role) THEN
		RAISE EXCEPTION 'role % does not exist', quote_literal(role)
			USING ERRCODE = 'PY400',
				DETAIL = 'Rights to pay are given to roles by name, never to PUBLIC.';
	END IF;
	IF octet_length(merchant) > 255 THEN
		RAISE EXCEPTION 'merchant is too long: "%..."', left(merchant, 40)
			USING ERRCODE = 'PY400',
				DETAIL = format('It has %s bytes; at most 255 are allowed.', octet_length(merchant));
	END IF;

	SELECT n.nspname INTO STRICT home
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'pay_idem'
	LIMIT 1;	-- under an old snapshot a GRANT of ours leaves two versions of the schema's row

	FOR name IN EXECUTE format('SELECT d.name FROM %I.pay_declared($1) d WHERE d.part = ''table'' ORDER BY d.place', home) USING home
	LOOP
		EXECUTE format('SELECT %I.pay_trusts(to_regclass(%L))', home, format('%I.%I', home, name)) INTO installed;
		CONTINUE WHEN installed;
		RAISE EXCEPTION 'pay_idem is not installed in this database'
			USING ERRCODE = 'PY503',
				DETAIL = format('Table "%s" does not exist, or is not one that pay_install() made.', name),
				HINT = 'SELECT pay_install(); creates the tables, or brings them up to date.';
	END LOOP;
	EXECUTE format('SELECT %1$I.pay_refuse_superuser(to_regclass(%2$L))', home, format('%I.pay_grantee', home));
	-- two at the same instant would meet in the catalogs, where PostgreSQL says XX000
	EXECUTE format('LOCK TABLE %I.pay_grantee IN SHARE ROW EXCLUSIVE MODE', home);

	-- For one merchant and for all is for all: say so, rather than restrict nothing.
	EXECUTE format('SELECT g.kind FROM %I.pay_grantee g
		WHERE g.role = $1::name AND (g.merchant IS NULL) <> ($2 IS NULL) LIMIT 1', home) INTO other USING role, merchant;
	IF other IS NOT NULL THEN
		RAISE EXCEPTION 'role % cannot act both for one merchant and for all', quote_literal(role)
			USING ERRCODE = 'PY409',
				DETAIL = format('It has kind %s for %s.', other,
					CASE WHEN merchant IS NULL THEN 'some merchants only' ELSE 'all merchants' END),
				HINT = 'Take its rights back with pay_revoke() first, or give them to another role.';
	END IF;
	EXECUTE format('INSERT INTO %1$I.pay_grantee (role, kind, merchant) VALUES ($1::name, $2, $3) ON CONFLICT DO NOTHING', home)
		USING role, kind, merchant;

	FOR name IN EXECUTE format('SELECT g FROM %I.pay_missing_grants($1, $2, $3, $4) g', home) USING home, role, kind, merchant
	LOOP
		EXECUTE name;
	END LOOP;
END
$grant$;
COMMENT ON FUNCTION pay_grant(text, text, text) IS
	'gives a role the rights of a kind: checkout (pays), reports (says what the channels said), app (both, and refunds), worker (talks to channels), ops (resolves reviews and disputes, adds channels, imports), auditor (reads). With a merchant: for that merchant''s payments only, and no table. Kept, so that pay_install() gives them again. PY400, PY409 for one merchant and for all';

CREATE FUNCTION pay_revoke(role text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $revoke$
DECLARE
	home name;
	name text;
	installed boolean;
BEGIN
	IF role IS NULL THEN
		RAISE EXCEPTION 'role must not be NULL'
			USING ERRCODE = 'PY400', DETAIL = 'Nothing was read or written.';
	END IF;
	SELECT n.nspname INTO STRICT home
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'pay_idem'
	LIMIT 1;	-- under an old snapshot a GRANT of ours leaves two versions of the schema's row
	EXECUTE format('SELECT %I.pay_trusts(to_regclass(%L))', home, format('%I.pay_grantee', home)) INTO installed;
	IF installed IS NOT TRUE THEN
		RAISE EXCEPTION 'pay_idem is not installed in this database'
			USING ERRCODE = 'PY503',
				DETAIL = 'Table "pay_grantee" does not exist, or is not one that pay_install() made.',
				HINT = 'SELECT pay_install(); creates the tables, or brings them up to date.';
	END IF;
	EXECUTE format('SELECT %1$I.pay_refuse_superuser(to_regclass(%2$L))', home, format('%I.pay_grantee', home));
	-- two at the same instant would meet in the catalogs, where PostgreSQL says XX000
	EXECUTE format('LOCK TABLE %I.pay_grantee IN SHARE ROW EXCLUSIVE MODE', home);

	-- first what it may do, then for whom
	IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = pay_revoke.role) THEN
		FOR name IN
			SELECT p.oid::regprocedure::text
			FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
					AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
				JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pay_idem'
			WHERE EXISTS (SELECT FROM aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname = pay_revoke.role)
		LOOP
			EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %I', name, role);
		END LOOP;
		FOR name IN
			SELECT c.oid::regclass::text
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = home AND c.relname = ANY ('{pay_channel, pay_payment, pay_attempt, pay_event, pay_review, pay_refund,
					pay_dispute, pay_balance, pay_task, pay_resource, pay_hold, pay_database, pay_grantee}')
				AND EXISTS (SELECT FROM aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
					WHERE r.rolname = pay_revoke.role AND r.oid <> c.relowner)
		LOOP
			EXECUTE format('REVOKE SELECT, INSERT, UPDATE ON TABLE %s FROM %I', name, role);
		END LOOP;
	END IF;
	EXECUTE format('DELETE FROM %I.pay_grantee g WHERE g.role = $1::name', home) USING role;
END
$revoke$;
COMMENT ON FUNCTION pay_revoke(text) IS
	'takes back all that pay_grant() gave a role, but USAGE on the schema, and forgets it; also of a role that is no more. PY400';

-- PUBLIC keeps what a restore needs (types, guards) and the pure readers of
-- numbers and states.
REVOKE ALL ON FUNCTION
	pay_install(),
	pay_install_plan(),
	pay_grant(text, text, text),
	pay_revoke(text),
	pay_create(text, bigint, text, text, text, boolean, interval, jsonb),
	pay_prepay(text, bigint, text, text, text, text, text, text, boolean, interval, text, boolean, text[], jsonb),
	pay_credential(text, text, interval),
	pay_query(text, text, text),
	pay_close(text, text, text),
	pay_transition(text, text, text, bigint, text, text, text),
	pay_callback(text, text, text, text, bigint, text, text, timestamptz, jsonb, text),
	pay_callbacks(jsonb),
	pay_refund(text, text, bigint, text, text, boolean),
	pay_refund_transition(text, text, text, text, text),
	pay_refund_callback(text, text, text, text, bigint, text, text, text, timestamptz, jsonb, text, text),
	pay_refund_callbacks(jsonb),
	pay_claim(text, integer, interval, text[]),
	pay_adopt_database(text),
	pay_import(jsonb),
	pay_hold_done(text, text, text),
	pay_dispute_open(text, text, text),
	pay_dispute_resolve(bigint, text, text),
	pay_dispute_case(bigint),
	pay_suspects(timestamptz),
	pay_review_resolve(bigint, text, text),
	pay_history(text)
FROM PUBLIC;

-- What pay_install() and pay_grant() are made of is for who calls those.
REVOKE ALL ON FUNCTION
	pay_declared_channel(),
	pay_declared_payment(),
	pay_declared_attempt(),
	pay_declared_event(),
	pay_declared_review(),
	pay_declared_refund(),
	pay_declared_dispute(),
	pay_declared_task(),
	pay_declared_resource(),
	pay_declared_hold(),
	pay_declared_database(),
	pay_declared_grantee(),
	pay_declared_balance(),
	pay_declared_channels(),
	pay_declared(name),
	pay_install_refuse_creators(name),
	pay_install_owner(name, pay_part[]),
	pay_install_obstacle(regclass),
	pay_install_verify(name, jsonb),
	pay_install_tables(pay_part[], regrole),
	pay_install_columns(pay_part[]),
	pay_install_indexes(pay_part[]),
	pay_install_checks(pay_part[]),
	pay_install_guards(pay_part[]),
	pay_install_view_mark(regclass, text),
	pay_install_view(name, pay_part[], regrole),
	pay_install_comments(pay_part[]),
	pay_install_rows(name),
	pay_install_grants(name),
	pay_install_reserve(jsonb),
	pay_install_carry_out(name, jsonb, interval),
	pay_install_give_up(jsonb, timestamptz),
	pay_missing_grants(name, text, text, text)
FROM PUBLIC;
