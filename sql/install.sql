
-- pay_install(), the plan that it carries out, and what both are made of. Our own
-- objects are named by their schema, home, and nothing else is looked up in it:
-- whoever may create functions or operators there gains nothing.
--
-- Payments go on meanwhile. A function is one transaction, so what it locks it
-- keeps to the end: it takes all strong locks at once, within a fraction of a second
-- or not at all, and does nothing slow under them. What is slow is done by a later
-- call, under a lock that stops nobody who pays, or left to CREATE INDEX CONCURRENTLY.

CREATE TYPE pay_step AS (
	object text,
	action text,
	lock text,
	turn text,
	statement text
);
COMMENT ON TYPE pay_step IS 'a step of pay_install()';
COMMENT ON COLUMN pay_step.object IS 'the table, view or index of pay_idem that it is about, with its schema';
COMMENT ON COLUMN pay_step.action IS 'what is done to it';
COMMENT ON COLUMN pay_step.lock IS 'the strongest lock on the object that it takes, to the end of the transaction; NULL for a new object';
COMMENT ON COLUMN pay_step.turn IS
	'now: this pay_install() does it. next: a later one does, in a transaction of its own. yours: pay_install() would hold up payments, so run the statement yourself, outside of a transaction block';
COMMENT ON COLUMN pay_step.statement IS 'the SQL that does it';

-- ---- what should be there ----

CREATE TYPE pay_part AS (
	place bigint,
	object text,
	relation regclass,
	is_big boolean,
	part text,
	name text,
	definition text,
	comment text,
	mark text,
	statement text
);
COMMENT ON TYPE pay_part IS 'a part of what pay_install() makes';
COMMENT ON COLUMN pay_part.place IS 'its place among all of them';
COMMENT ON COLUMN pay_part.object IS 'the table or view that it is a part of, with its schema';
COMMENT ON COLUMN pay_part.relation IS 'the same, if it is there';
COMMENT ON COLUMN pay_part.is_big IS 'to read all of it would hold up payments';
COMMENT ON COLUMN pay_part.part IS 'table, column, key, check, index, guard, replica identity, view or view column';
COMMENT ON COLUMN pay_part.name IS 'its name';
COMMENT ON COLUMN pay_part.definition IS 'what it is';
COMMENT ON COLUMN pay_part.comment IS 'its COMMENT';
COMMENT ON COLUMN pay_part.mark IS 'of a CHECK, its COMMENT, by which pay_install() knows what it made it of';
COMMENT ON COLUMN pay_part.statement IS 'the SQL that makes it';

CREATE FUNCTION pay_declared(home name) RETURNS SETOF pay_part
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	declarations text;
BEGIN
	SELECT string_agg(format('SELECT %s, %L, d.* FROM %I.pay_declared_%s() WITH ORDINALITY d', t.n, format('%I.pay_%s', home, t.name), home, t.name), ' UNION ALL ')
	INTO declarations
	FROM unnest('{channel,payment,attempt,event,review,refund,dispute,task,resource,hold,database,grantee,balance}'::text[])
		WITH ORDINALITY AS t (name, n);
	-- 4,096 pages are read and indexed in a fraction of a second
	RETURN QUERY EXECUTE format($query$
		WITH d (n, object, part, name, definition, comment, m) AS MATERIALIZED (%s),
		o AS MATERIALIZED (
			SELECT u.object, to_regclass(u.object) AS relation,
				coalesce(pg_relation_size(to_regclass(u.object)) > 4096 * current_setting('block_size')::integer, false) AS is_big
			FROM (SELECT DISTINCT d.object FROM d) AS u)
		SELECT row_number() OVER (ORDER BY d.n, d.m), d.object, o.relation, o.is_big, d.part, d.name, f.definition, d.comment, k.mark,
			CASE d.part
				WHEN 'column' THEN format('ALTER TABLE %%s ADD COLUMN %%I %%s;', d.object, d.name, f.definition)
				WHEN 'key' THEN format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s;', d.object, d.name, f.definition)
				WHEN 'check' THEN format('ALTER TABLE %%1$s ADD CONSTRAINT %%2$I CHECK (%%3$s) NOT VALID; COMMENT ON CONSTRAINT %%2$I ON %%1$s IS %%4$L;',
					d.object, d.name, f.definition, k.mark)
				WHEN 'index' THEN format('CREATE %%sINDEX %%I ON %%s %%s;', substring(f.definition FROM '^UNIQUE '), d.name, d.object, regexp_replace(f.definition, '^UNIQUE ', ''))
				WHEN 'guard' THEN format('CREATE TRIGGER %%I %%s EXECUTE FUNCTION %%I.pay_guard();', d.name, replace(f.definition, ' FOR EACH', format(' ON %%s FOR EACH', d.object)), $1)
				WHEN 'replica identity' THEN format('ALTER TABLE %%s REPLICA IDENTITY %%s;', d.object, d.name)
				ELSE '' END
			|| CASE WHEN d.comment IS NULL THEN ''
				WHEN d.part IN ('table', 'view') THEN format('COMMENT ON %%s %%s IS %%L;', upper(d.part), d.object, d.comment)
				ELSE format('COMMENT ON COLUMN %%s.%%I IS %%L;', d.object, d.name, d.comment) END
		FROM d JOIN o USING (object), LATERAL (SELECT format(d.definition, $1) AS definition) AS f,
			LATERAL (SELECT CASE d.part WHEN 'check' THEN 'pay_install() made it of ' || md5(f.definition) END AS mark) AS k
	$query$, declarations) USING home;
END
$$;
COMMENT ON FUNCTION pay_declared(name) IS
	'every part of the tables and the view that pay_install() makes in this schema';

-- ---- what is there ----

CREATE FUNCTION pay_install_refuse_creators(home name) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	others text;
BEGIN
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
END
$$;
COMMENT ON FUNCTION pay_install_refuse_creators(name) IS
	'raises PY409 if somebody who is not trusted may create in the schema: who may can overload our functions, and one that fits an argument better than ours wins, and runs as whoever pays';

CREATE FUNCTION pay_install_owner(home name, parts pay_part[]) RETURNS regrole
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	item record;
	owner regrole;
BEGIN
	FOR item IN EXECUTE format(
		'SELECT c.oid::regclass AS relation, c.relowner::regrole AS owner, f.fault, f.remedy,
			has_function_privilege(c.relowner, $2, ''EXECUTE'') AND NOT EXISTS (SELECT FROM pg_class p
				WHERE p.relnamespace = n.oid AND p.relname = ''pay_payment'' AND p.relowner <> c.relowner) AS ours
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, %1$I.pay_install_obstacle(c.oid::regclass) f
		WHERE n.nspname = $1 AND c.relname = ANY ($3)
		ORDER BY c.relname = ''pay_payment'', c.relname', home)
		USING home, to_regprocedure(format('%I.pay_install()', home)), ARRAY(SELECT p.name FROM unnest(parts) p WHERE p.part IN ('table', 'view'))
	LOOP
		IF NOT item.ours THEN
			RAISE EXCEPTION 'relation % is in the way', item.relation
				USING ERRCODE = 'PY409',
					DETAIL = format('It belongs to %s and is not a table that pay_install() made for somebody who may call it.', item.owner),
					HINT = 'Rename or drop it, then call pay_install() again.';
		END IF;
		IF item.owner <> owner THEN
			RAISE EXCEPTION 'relation % is in the way', item.relation
				USING ERRCODE = 'PY409',
					DETAIL = format('It belongs to %s, and others of pay_idem''s relations to %s; all have one owner.', item.owner, owner),
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
				USING ERRCODE = 'PY409', DETAIL = item.fault, HINT = item.remedy;
		END IF;
		owner := item.owner;
	END LOOP;
	RETURN owner;
END
$$;
COMMENT ON FUNCTION pay_install_owner(name, pay_part[]) IS
	'the owner of the tables that are there, or NULL. Raises PY409 if what is there is somebody else''s or cannot be repaired, 42501 if the caller may not';

CREATE FUNCTION pay_install_obstacle(relation regclass, OUT fault text, OUT remedy text) RETURNS record
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	home name;
	there record;
BEGIN
	SELECT n.nspname, c.relname, c.relkind, pg_relation_size(c.oid) = 0 AS is_empty INTO there
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
	home := there.nspname;
	IF there.relname = 'pay_balance' THEN
		IF there.relkind <> 'v' THEN
			fault := 'It is not a view.';
			remedy := 'Rename or drop it, then SELECT pay_install();';
		END IF;
		RETURN;
	END IF;
	EXECUTE format('SELECT format(''It %%s.'', f.fault), f.remedy FROM %I.pay_table_fault($1) f', home) INTO fault, remedy USING relation;
	-- a table of ours may lose a guard, but hardly all of them
	IF remedy IS NULL OR there.relkind <> 'r' OR EXISTS (SELECT FROM pg_trigger t
			WHERE t.tgrelid = relation AND t.tgfoid = to_regprocedure(format('%I.pay_guard()', home))) THEN
		RETURN;
	END IF;
	fault := fault || ' Nor has it any guard, so pay_install() will not have made it: perhaps a migration did, or the schema file of an ORM, which does not know the types, guards and CHECKs of these tables.';
	remedy := CASE WHEN there.is_empty
		THEN format('It is empty. DROP TABLE %s; then SELECT pay_install(); makes the real one.', relation)
		ELSE format('It has rows. If these are your payments, restore the table; else ALTER TABLE %s RENAME TO another_name; then SELECT pay_install();', relation)
	END;
END
$$;
COMMENT ON FUNCTION pay_install_obstacle(regclass) IS
	'what pay_install() cannot repair of a relation that has the name of one of ours, and what does; what something else than pay_install() made is said to be such';

CREATE FUNCTION pay_install_verify(home name, steps jsonb) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	item record;
	version text;
BEGIN
	IF EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
			AND d.objid = to_regclass(format('%I.pay_payment', home))) THEN
		RAISE EXCEPTION 'pay_install() cannot run inside an extension script'
			USING ERRCODE = 'PY409',
				DETAIL = 'The tables would become members of that extension and go with it.',
				HINT = 'Call pay_install() after CREATE EXTENSION.';
	END IF;
	-- what has the name of one of our keys or indexes, and is none; but not what is left to the DBA
	FOR item IN EXECUTE format('SELECT d.name, f.fault, f.remedy
		FROM %1$I.pay_declared($1) d, %1$I.pay_table_fault(d.relation) f
		WHERE d.part = ''table'' AND f.fault IS NOT NULL
			AND d.object NOT IN (SELECT s.object FROM jsonb_to_recordset($2) AS s (object text, turn text) WHERE s.turn = ''yours'')', home) USING home, steps
	LOOP
		SELECT a.default_version INTO version FROM pg_available_extensions() a JOIN pg_extension e ON e.extname = a.name
		WHERE e.extname = 'pay_idem' AND e.extversion <> a.default_version;
		RAISE EXCEPTION 'table % cannot be repaired', item.name
			USING ERRCODE = 'PY409', DETAIL = format('It %s.', item.fault),
				HINT = CASE WHEN version IS NOT NULL THEN format('The files are those of version %s: ALTER EXTENSION pay_idem UPDATE; then SELECT pay_install();', version)
					ELSE coalesce(item.remedy, 'Rename or drop what has the name of what is missing, then call pay_install() again.') END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pay_install_verify(name, jsonb) IS
	'raises PY409 if a table is not whole, and nothing that is left to the DBA would make it so';

-- ---- the steps, a function for each kind of part ----

CREATE FUNCTION pay_install_tables(parts pay_part[], owner regrole) RETURNS SETOF pay_step
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $steps$
BEGIN
	-- At once with its owner: the guards trust no tables of two owners. What came
	-- since we looked makes CREATE TABLE fail.
	RETURN QUERY
	SELECT p.object, 'create table', NULL::text, 'now',
		format('CREATE TABLE %s (%s) %s;', p.object,
			string_agg(format('%I %s', p.name, p.definition), ', ' ORDER BY p.place) FILTER (WHERE p.part = 'column'),
			string_agg(p.definition, '') FILTER (WHERE p.part = 'table'))
		|| coalesce(format('ALTER TABLE %s OWNER TO ', p.object) || owner::text || ';', '')
		|| string_agg(CASE p.part WHEN 'check' THEN replace(p.statement, ' NOT VALID;', ';') WHEN 'column' THEN substring(p.statement FROM 'COMMENT ON .*') ELSE p.statement END,
			'' ORDER BY p.place)
	FROM unnest(parts) p
	WHERE p.relation IS NULL AND p.part NOT LIKE 'view%'
	GROUP BY p.object ORDER BY min(p.place);

	RETURN QUERY
	SELECT p.object, s.action, s.lock, 'now', s.statement
	FROM unnest(parts) p JOIN pg_class c ON c.oid = p.relation, LATERAL (
		SELECT 'set logged', 'ACCESS EXCLUSIVE', format('ALTER TABLE %s SET LOGGED;', p.object) WHERE p.part = 'table' AND c.relpersistence = 'u'
		UNION ALL
		-- what a DBA chose stays
		SELECT 'set fillfactor', 'SHARE UPDATE EXCLUSIVE', format('ALTER TABLE %s SET %s;', p.object, substring(p.definition FROM '\(.*'))
		WHERE p.part = 'table' AND p.definition LIKE '%fillfactor%' AND (c.reloptions IS NULL OR c.reloptions::text !~ 'fillfactor=')
		UNION ALL
		SELECT 'set replica identity', 'ACCESS EXCLUSIVE', p.statement WHERE p.part = 'replica identity' AND c.relreplident = 'd') AS s (action, lock, statement)
	ORDER BY p.place;
END
$steps$;
COMMENT ON FUNCTION pay_install_tables(pay_part[], regrole) IS 'steps of pay_install(): tables that are missing, are not logged, or have no fillfactor';

CREATE FUNCTION pay_install_columns(parts pay_part[]) RETURNS SETOF pay_step
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $steps$
BEGIN
	RETURN QUERY
	SELECT p.object, s.action, 'ACCESS EXCLUSIVE', s.turn, s.statement
	FROM unnest(parts) p LEFT JOIN pg_attribute a ON a.attrelid = p.relation AND a.attname = p.name AND NOT a.attisdropped,
		LATERAL (
			SELECT p.definition LIKE '% NOT NULL%' AND NOT a.attnotnull AS is_nullable, a.attidentity = '' AND NOT a.atthasdef AS lacks_default,
				format('ALTER TABLE %s ALTER COLUMN %I', p.object, p.name) AS alter) AS c,
		LATERAL (
			SELECT 'add column', 'now', p.statement WHERE a.attnum IS NULL
			UNION ALL
			SELECT 'set not null', 'now', format('%s SET NOT NULL;', c.alter) WHERE c.is_nullable AND NOT p.is_big
			UNION ALL
			-- what a valid CHECK has proved needs no look at each row
			SELECT 'set not null', 'yours', format('ALTER TABLE %1$s ADD CONSTRAINT %2$I CHECK (%3$I IS NOT NULL) NOT VALID; ALTER TABLE %1$s VALIDATE CONSTRAINT %2$I; %4$s SET NOT NULL; ALTER TABLE %1$s DROP CONSTRAINT %2$I;',
				p.object, p.name || '_is_not_null', p.name, c.alter)
			WHERE c.is_nullable AND p.is_big
			UNION ALL
			SELECT 'add identity', 'now', format('%s ADD %s; SELECT setval(pg_get_serial_sequence(%L, %L), greatest(%s, max(%I) + 1), false) FROM %s;', c.alter,
				substring(p.definition FROM 'GENERATED .*'), p.object, p.name, coalesce(substring(p.definition FROM 'START (\d+)'), '1'), p.name, p.object)
			WHERE c.lacks_default AND p.definition LIKE '% GENERATED %'
			UNION ALL
			SELECT 'set default', 'now', format('%s SET %s;', c.alter, substring(p.definition FROM 'DEFAULT .*'))
			WHERE c.lacks_default AND p.definition LIKE '% DEFAULT %' AND p.definition NOT LIKE '% GENERATED %') AS s (action, turn, statement)
	WHERE p.part = 'column' AND p.relation IS NOT NULL
	ORDER BY p.place;
END
$steps$;
COMMENT ON FUNCTION pay_install_columns(pay_part[]) IS 'steps of pay_install(): columns that are missing, or have lost NOT NULL, default or identity';

CREATE FUNCTION pay_install_indexes(parts pay_part[]) RETURNS SETOF pay_step
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $steps$
BEGIN
	-- An index that somebody built beforehand, under the name of a key, becomes the key.
	RETURN QUERY
	WITH p AS MATERIALIZED (
		SELECT p.*, i.indisvalid AND i.indisready AS is_built,
			CASE WHEN p.is_big AND (i.indisvalid AND i.indisready) IS NOT TRUE THEN 'yours' ELSE 'now' END AS turn,
			format('DROP INDEX %s; ', i.indexrelid::regclass) AS remove
		FROM unnest(parts) p LEFT JOIN (pg_index i JOIN pg_class c ON c.oid = i.indexrelid) ON i.indrelid = p.relation AND c.relname = p.name
		WHERE p.part IN ('key', 'index') AND p.relation IS NOT NULL
			AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = p.relation AND k.conname = p.name))
	SELECT p.object, CASE p.part WHEN 'key' THEN 'add key' ELSE 'create index' END,
		CASE WHEN p.turn = 'yours' THEN 'SHARE UPDATE EXCLUSIVE' WHEN p.part = 'key' OR p.is_built IS NOT NULL THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE' END,
		p.turn,
		CASE WHEN p.is_built THEN format('ALTER TABLE %s ADD CONSTRAINT %I %s USING INDEX %2$I;', p.object, p.name, substring(p.definition FROM '^[A-Z]+(?: KEY)?'))
			WHEN p.turn = 'now' THEN CASE WHEN NOT p.is_built THEN p.remove ELSE '' END || p.statement
			ELSE CASE WHEN NOT p.is_built THEN replace(p.remove, 'DROP INDEX', 'DROP INDEX CONCURRENTLY') ELSE '' END
				|| CASE p.part WHEN 'index' THEN replace(p.statement, 'INDEX ', 'INDEX CONCURRENTLY ')
					ELSE format('CREATE UNIQUE INDEX CONCURRENTLY %I ON %s %s;', p.name, p.object, substring(p.definition FROM '\(.*\)')) END
		END
	FROM p
	WHERE p.part = 'key' OR p.is_built IS NOT TRUE
	ORDER BY p.place;
END
$steps$;
COMMENT ON FUNCTION pay_install_indexes(pay_part[]) IS 'steps of pay_install(): keys and indexes that are missing or were not built to the end';

CREATE FUNCTION pay_install_checks(parts pay_part[]) RETURNS SETOF pay_step
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $steps$
BEGIN
	-- One that has no mark of ours is somebody else's work: it stays as it is.
	RETURN QUERY
	SELECT p.object, s.action, s.lock, s.turn, s.statement
	FROM unnest(parts) p LEFT JOIN pg_constraint c ON c.conrelid = p.relation AND c.conname = p.name,
		LATERAL (SELECT obj_description(c.oid, 'pg_constraint') AS mark) AS m,
		LATERAL (SELECT c.oid IS NULL AS is_missing, starts_with(m.mark, left(p.mark, -32)) AND m.mark <> p.mark AS is_another) AS t,
		LATERAL (
			SELECT 'add constraint', 'ACCESS EXCLUSIVE', 'now', p.statement WHERE t.is_missing
			UNION ALL
			SELECT 'replace constraint', 'ACCESS EXCLUSIVE', 'now', format('ALTER TABLE %s DROP CONSTRAINT %I; ', p.object, p.name) || p.statement WHERE t.is_another
			UNION ALL
			SELECT 'validate constraint', 'SHARE UPDATE EXCLUSIVE', CASE WHEN p.is_big THEN 'next' ELSE 'now' END,
				format('ALTER TABLE %s VALIDATE CONSTRAINT %I;', p.object, p.name)
			WHERE t.is_missing OR t.is_another OR NOT c.convalidated) AS s (action, lock, turn, statement)
	WHERE p.part = 'check' AND p.relation IS NOT NULL
	ORDER BY p.place;
END
$steps$;
COMMENT ON FUNCTION pay_install_checks(pay_part[]) IS 'steps of pay_install(): CHECKs that are missing, were made of something else, or may not hold for all rows';

CREATE FUNCTION pay_install_guards(parts pay_part[]) RETURNS SETOF pay_step
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $steps$
BEGIN
	-- the bits of tgtype: for each row, BEFORE, INSERT, DELETE, UPDATE, TRUNCATE
	RETURN QUERY
	SELECT p.object, s.action, s.lock, 'now', s.statement
	FROM unnest(parts) p LEFT JOIN pg_trigger t ON t.tgrelid = p.relation AND t.tgname = p.name,
		LATERAL (
			SELECT t.tgqual IS NULL AND t.tgattr::text = '' AND NOT t.tgdeferrable AND t.tgtype = (p.definition LIKE '% FOR EACH ROW')::integer
				+ 2 * (p.definition LIKE 'BEFORE %')::integer + 4 * (p.definition LIKE '% INSERT %')::integer + 8 * (p.definition LIKE '% DELETE %')::integer
				+ 16 * (p.definition LIKE '% UPDATE %')::integer + 32 * (p.definition LIKE '% TRUNCATE %')::integer AS is_whole) AS g,
		LATERAL (
			SELECT 'create trigger', 'SHARE ROW EXCLUSIVE', p.statement WHERE t.oid IS NULL
			UNION ALL
			SELECT 'replace trigger', 'ACCESS EXCLUSIVE', format('DROP TRIGGER %I ON %s; ', p.name, p.object) || p.statement WHERE t.oid IS NOT NULL AND NOT g.is_whole
			UNION ALL
			SELECT 'enable trigger', 'SHARE ROW EXCLUSIVE', format('ALTER TABLE %s ENABLE TRIGGER %I;', p.object, p.name)
			WHERE g.is_whole AND t.tgenabled NOT IN ('O', 'A')) AS s (action, lock, statement)
	WHERE p.part = 'guard' AND p.relation IS NOT NULL
	ORDER BY p.place;
END
$steps$;
COMMENT ON FUNCTION pay_install_guards(pay_part[]) IS 'steps of pay_install(): guards that are missing, disabled or fire for too little';

CREATE FUNCTION pay_install_view_mark(view regclass, made_of text) RETURNS text
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'pay_install() made it of ' || md5(made_of || pg_get_viewdef(view) || (SELECT c.reloptions::text FROM pg_class c WHERE c.oid = view))
$$;
COMMENT ON FUNCTION pay_install_view_mark(regclass, text) IS
	'the COMMENT on the rule of pay_balance, by which pay_install() knows what it made it of, and that nobody changed it. NULL if it is not there or has no options';

CREATE FUNCTION pay_install_view(home name, parts pay_part[], owner regrole) RETURNS SETOF pay_step
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $steps$
DECLARE
	view record;
	mark text;
BEGIN
	SELECT p.* INTO STRICT view FROM unnest(parts) p WHERE p.part = 'view';
	EXECUTE format('SELECT %I.pay_install_view_mark($1, $2)', home) INTO mark USING view.relation, view.definition;
	IF EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = view.relation AND obj_description(r.oid, 'pg_rewrite') = mark) THEN
		RETURN;
	END IF;
	-- What came since we looked makes CREATE VIEW fail. A dump does not have the COMMENT
	-- on a view's rule: after a restore the view is made once more.
	RETURN QUERY
	SELECT view.object, CASE WHEN view.relation IS NULL THEN 'create view' ELSE 'replace view' END, CASE WHEN view.relation IS NOT NULL THEN 'ACCESS EXCLUSIVE' END, 'now',
		format('CREATE %sVIEW %s WITH (security_invoker = true) AS %s;', CASE WHEN view.relation IS NOT NULL THEN 'OR REPLACE ' END, view.object, view.definition)
		|| coalesce(format('ALTER VIEW %s OWNER TO ', view.object) || owner::text || ';', '')
		|| format('DO %L;', format('BEGIN EXECUTE format(''COMMENT ON RULE "_RETURN" ON %%s IS %%L'', %1$L, %2$I.pay_install_view_mark(%1$L, %3$L)); END', view.object, home, view.definition))
		|| CASE WHEN view.relation IS NULL THEN (SELECT string_agg(p.statement, '' ORDER BY p.place) FROM unnest(parts) p WHERE p.part LIKE 'view%') ELSE '' END;
END
$steps$;
COMMENT ON FUNCTION pay_install_view(name, pay_part[], regrole) IS 'steps of pay_install(): the view pay_balance, if it is missing or is not as it was made';

CREATE FUNCTION pay_install_comments(parts pay_part[]) RETURNS SETOF pay_step
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $steps$
BEGIN
	RETURN QUERY
	SELECT p.object, 'comment', 'SHARE UPDATE EXCLUSIVE', 'now', string_agg(substring(p.statement FROM 'COMMENT ON .*'), '' ORDER BY p.place)
	FROM unnest(parts) p LEFT JOIN pg_attribute a ON a.attrelid = p.relation AND a.attname = p.name AND p.part LIKE '%column' AND NOT a.attisdropped
	WHERE p.relation IS NOT NULL AND p.comment IS NOT NULL AND (a.attnum IS NOT NULL OR p.part IN ('table', 'view'))
		AND p.comment IS DISTINCT FROM CASE WHEN a.attnum IS NULL THEN obj_description(p.relation, 'pg_class') ELSE col_description(p.relation, a.attnum) END
	GROUP BY p.object ORDER BY min(p.place);
END
$steps$;
COMMENT ON FUNCTION pay_install_comments(pay_part[]) IS 'steps of pay_install(): COMMENTs that are missing or say something else';

CREATE FUNCTION pay_install_rows(home name) RETURNS SETOF pay_step
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $steps$
DECLARE
	channels CONSTANT text := format('%I.pay_channel', home);
	databases CONSTANT text := format('%I.pay_database', home);
	missing CONSTANT text := format('SELECT p.* FROM %1$I.pay_declared_channels() p', home);
	unless_there CONSTANT text := format(' WHERE NOT EXISTS (SELECT FROM %s c WHERE c.route = p.route OR (c.channel, c.method) = (p.channel, p.method))', channels);
	lacks boolean;
BEGIN
	-- What a DBA changed stays: only routes and names that are not there yet come in.
	lacks := true;
	IF to_regclass(channels) IS NOT NULL THEN
		EXECUTE format('SELECT EXISTS (%s%s)', missing, unless_there) INTO lacks;
	END IF;
	IF lacks THEN
		RETURN QUERY SELECT channels, 'add rows', 'ROW EXCLUSIVE', 'now',
			format('INSERT INTO %s (route, channel, method, timeout, can_resubmit, can_close, can_reverse) %s%s;', channels, missing, unless_there);
	END IF;
	-- Where the tables are made, workers may send what is due; a copy must be adopted.
	lacks := true;
	IF to_regclass(databases) IS NOT NULL THEN
		EXECUTE format('SELECT NOT EXISTS (SELECT FROM %s)', databases) INTO lacks;
	END IF;
	IF lacks THEN
		RETURN QUERY SELECT databases, 'add rows', 'ROW EXCLUSIVE', 'now',
			format('INSERT INTO %s (system_identifier, reason) SELECT system_identifier, ''pay_install() made the tables here'' FROM pg_control_system();', databases);
	END IF;
END
$steps$;
COMMENT ON FUNCTION pay_install_rows(name) IS 'steps of pay_install(): channels that are missing, and the cluster whose workers may send';

CREATE FUNCTION pay_install_grants(home name) RETURNS SETOF pay_step
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $steps$
BEGIN
	IF to_regclass(format('%I.pay_grantee', home)) IS NULL THEN
		RETURN;
	END IF;
	-- its lock, as pay_grant() takes it, keeps two from meeting in the catalogs
	RETURN QUERY EXECUTE format($query$
		SELECT %2$L, 'grant', 'SHARE ROW EXCLUSIVE', 'now', string_agg(DISTINCT s.statement, ' ')
		FROM %1$I.pay_grantee g JOIN pg_roles r ON r.rolname = g.role, %1$I.pay_missing_grants($1, g.role::text, g.kind, g.merchant) AS s (statement)
		GROUP BY g.role ORDER BY g.role
	$query$, home, format('%I.pay_grantee', home)) USING home;
END
$steps$;
COMMENT ON FUNCTION pay_install_grants(name) IS 'steps of pay_install(): rights that pay_grant() gave and that are gone';

-- ---- the plan, and who carries it out ----

CREATE FUNCTION pay_install_plan() RETURNS SETOF pay_step
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $plan$
DECLARE
	home name;
	declared record;
	owner regrole;
BEGIN
	SELECT n.nspname INTO STRICT home
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'pay_idem'
	LIMIT 1;	-- under an old snapshot a GRANT of ours leaves two versions of the schema's row
	EXECUTE format('SELECT %I.pay_install_refuse_creators($1)', home) USING home;
	EXECUTE format('SELECT array_agg(p) AS parts FROM %I.pay_declared($1) p', home) INTO declared USING home;
	EXECUTE format('SELECT %I.pay_install_owner($1, $2)', home) INTO owner USING home, declared.parts;

	-- Nothing slow in a transaction that stops payments already, or is going to. Rows
	-- only where all is whole: guards look at all tables.
	RETURN QUERY EXECUTE format($query$
		WITH steps AS MATERIALIZED (
			SELECT 1 AS phase, s.* FROM %1$I.pay_install_tables($3, $2) WITH ORDINALITY s
			UNION ALL SELECT 2, s.* FROM %1$I.pay_install_columns($3) WITH ORDINALITY s
			UNION ALL SELECT 3, s.* FROM %1$I.pay_install_indexes($3) WITH ORDINALITY s
			UNION ALL SELECT CASE s.action WHEN 'validate constraint' THEN 8 ELSE 4 END, s.* FROM %1$I.pay_install_checks($3) WITH ORDINALITY s
			UNION ALL SELECT 5, s.* FROM %1$I.pay_install_guards($3) WITH ORDINALITY s
			UNION ALL SELECT 6, s.* FROM %1$I.pay_install_view($1, $3, $2) WITH ORDINALITY s
			UNION ALL SELECT 7, s.* FROM %1$I.pay_install_comments($3) WITH ORDINALITY s
			UNION ALL SELECT 9, s.* FROM %1$I.pay_install_grants($1) WITH ORDINALITY s
			UNION ALL SELECT 10, s.* FROM %1$I.pay_install_rows($1) WITH ORDINALITY s),
		numbered AS (SELECT row_number() OVER (ORDER BY s.phase, s.ordinality) AS n, s.* FROM steps s)
		SELECT s.object, s.action, s.lock,
			CASE WHEN s.phase = 8 AND s.turn = 'next' AND NOT EXISTS (SELECT FROM steps o WHERE o.turn = 'now' AND o.phase < 8 AND o.phase <> 7)
					AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.mode IN ('AccessExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
						AND l.relation IN (SELECT p.relation FROM unnest($3) p)) THEN 'now'
				WHEN s.phase = 10 AND EXISTS (SELECT FROM steps o WHERE o.turn = 'yours' AND o.phase = 3) THEN 'next'
				ELSE s.turn END,
			s.statement
		FROM numbered s ORDER BY s.n
	$query$, home) USING home, owner, declared.parts;
END
$plan$;
COMMENT ON FUNCTION pay_install_plan() IS
	'what pay_install() would do now, in its order: the object, the action, the lock that it takes, whose turn it is, and the SQL. Empty: all is up to date. Reads only. Errors as of pay_install()';

CREATE FUNCTION pay_install_reserve(steps jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	object text;
BEGIN
	-- an autovacuum gives way when it has kept somebody waiting for deadlock_timeout
	PERFORM set_config('lock_timeout', (10 * s.setting::integer)::text, true) FROM pg_settings s WHERE s.name = 'deadlock_timeout';
	FOR object IN
		SELECT DISTINCT s.object
		FROM jsonb_to_recordset(steps) AS s (object text, lock text, turn text) JOIN pg_class c ON c.oid = to_regclass(s.object) AND c.relkind = 'r'
		WHERE s.turn = 'now' AND s.lock IS NOT NULL
		ORDER BY s.object
	LOOP
		EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', object);
	END LOOP;
END
$$;
COMMENT ON FUNCTION pay_install_reserve(jsonb) IS
	'locks the tables that steps change against VACUUM, other DDL and another pay_install(), and against nobody who pays';

CREATE FUNCTION pay_install_carry_out(home name, steps jsonb, patience interval) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	deadline CONSTANT timestamptz := clock_timestamp() + patience;
	strong CONSTANT text[] := '{ACCESS EXCLUSIVE,SHARE ROW EXCLUSIVE,SHARE}';
	step record;
	is_verified boolean := false;
BEGIN
	-- all of them before anything is done under one of them
	FOR step IN
		SELECT s.object, strong[min(array_position(strong, s.lock))] AS lock
		FROM jsonb_to_recordset(steps) AS s (object text, lock text, turn text) JOIN pg_class c ON c.oid = to_regclass(s.object) AND c.relkind = 'r'
		WHERE s.turn = 'now' AND s.lock = ANY (strong)
		GROUP BY s.object ORDER BY s.object
	LOOP
		PERFORM set_config('lock_timeout', greatest(1, floor(extract(epoch FROM deadline - clock_timestamp()) * 1000))::text, true);
		EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', step.object, step.lock);
	END LOOP;
	PERFORM set_config('lock_timeout', greatest(1, floor(extract(epoch FROM deadline - clock_timestamp()) * 1000))::text, true);

	FOR step IN SELECT s.* FROM jsonb_to_recordset(steps) AS s (object text, action text, turn text, statement text) WHERE s.turn = 'now'
	LOOP
		IF step.action = 'add rows' AND NOT is_verified THEN
			EXECUTE format('SELECT %I.pay_install_verify($1, $2)', home) USING home, steps;
			is_verified := true;
		END IF;
		BEGIN
			EXECUTE step.statement;
		EXCEPTION WHEN not_null_violation OR check_violation THEN
			IF step.action NOT IN ('set not null', 'validate constraint') THEN
				RAISE;
			END IF;
			RAISE NOTICE 'rows of % break what is required: %', step.object, SQLERRM
				USING DETAIL = CASE step.action WHEN 'set not null' THEN 'The column stays without NOT NULL.' ELSE 'The constraint holds for what comes.' END,
					HINT = 'Mend these rows, then call pay_install() again.';
		END;
	END LOOP;
	IF NOT is_verified THEN
		EXECUTE format('SELECT %I.pay_install_verify($1, $2)', home) USING home, steps;
	END IF;
END
$$;
COMMENT ON FUNCTION pay_install_carry_out(name, jsonb, interval) IS
	'does the steps whose turn is now. 55P03 if it has not all locks within patience; then nothing is done';

CREATE FUNCTION pay_install_give_up(steps jsonb, since timestamptz) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	tables text;
	holders text;
BEGIN
	SELECT coalesce(string_agg(DISTINCT s.object, ', '), 'its tables') INTO tables
	FROM jsonb_to_recordset(steps) AS s (object text, lock text, turn text) WHERE s.turn = 'now' AND s.lock IS NOT NULL;
	-- not those who came and went meanwhile
	SELECT string_agg(DISTINCT coalesce(format('process %s (%s)', l.pid, coalesce(a.state, '?')), 'a prepared transaction'), ', ') INTO holders
	FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
	WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND coalesce(a.xact_start < since, true)
		AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
		AND l.relation IN (SELECT to_regclass(s.object) FROM jsonb_to_recordset(steps) AS s (object text, lock text, turn text) WHERE s.turn = 'now' AND s.lock IS NOT NULL);
	RAISE EXCEPTION 'pay_install() cannot lock %', tables
		USING ERRCODE = 'lock_not_available',
			DETAIL = format('It tried for %s s, and let payments pass. Nothing was done; steps to do: %s. Locks are held by %s.', extract(epoch FROM clock_timestamp() - since)::integer,
				(SELECT count(*) FROM jsonb_to_recordset(steps) AS s (turn text) WHERE s.turn = 'now'), coalesce(holders, 'others, not all the time')),
			HINT = 'Call pay_install() again when these transactions have ended. SELECT * FROM pay_install_plan(); shows the steps.';
END
$$;
COMMENT ON FUNCTION pay_install_give_up(jsonb, timestamptz) IS
	'raises 55P03: which tables pay_install() did not get, who has them, and that nothing was done';

CREATE FUNCTION pay_install() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $install$
DECLARE
	home name;
	planned text;
	steps jsonb;
	step record;
	since CONSTANT timestamptz := clock_timestamp();
	lock_timeout CONSTANT text := current_setting('lock_timeout');
	-- below deadlock_timeout: a deadlock with a payment ends here, and never there
	patience interval;
	tries CONSTANT integer := 10;
BEGIN
	SELECT n.nspname INTO STRICT home
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'pay_idem'
	LIMIT 1;	-- under an old snapshot a GRANT of ours leaves two versions of the schema's row
	planned := format('SELECT coalesce(jsonb_agg(p), ''[]'') FROM %I.pay_install_plan() p', home);
	SELECT least(coalesce(nullif(min(s.setting::integer) FILTER (WHERE s.name = 'lock_timeout'), 0), 200),
		min(s.setting::integer) FILTER (WHERE s.name = 'deadlock_timeout') / 2) * interval '1 ms'
	INTO patience FROM pg_settings s WHERE s.name IN ('lock_timeout', 'deadlock_timeout');

	EXECUTE planned INTO steps;
	FOR i IN 0 .. tries
	LOOP
		BEGIN
			IF i = 0 AND steps <> '[]' THEN
				EXECUTE format('SELECT %I.pay_install_reserve($1)', home) USING steps;
				EXECUTE planned INTO steps;	-- now nobody changes them
				CONTINUE;
			END IF;
			EXECUTE format('SELECT %I.pay_install_carry_out($1, $2, $3)', home) USING home, steps, patience;
			EXIT;
		EXCEPTION WHEN lock_not_available THEN
			IF i IN (0, tries) THEN
				EXECUTE format('SELECT %I.pay_install_give_up($1, $2)', home) USING steps, since;
			END IF;
			-- who waited for us goes first, and some more
			PERFORM pg_sleep_for(5 * patience);
		END;
	END LOOP;
	PERFORM set_config('lock_timeout', lock_timeout, true);

	FOR step IN SELECT s.* FROM jsonb_to_recordset(steps) AS s (object text, action text, turn text, statement text) WHERE s.turn <> 'now'
	LOOP
		IF step.turn = 'yours' THEN
			RAISE NOTICE 'pay_install() leaves % to you: on %, which is big, it would hold up payments', step.action, step.object
				USING HINT = format('Run, outside of a transaction block: %s Then call pay_install() again.', step.statement);
		ELSE
			RAISE NOTICE 'pay_install() is to be called again: % of %', step.action, step.object
				USING HINT = 'In a transaction of its own, after this one.';
		END IF;
	END LOOP;
END
$install$;
COMMENT ON FUNCTION pay_install() IS
	'creates pay_idem''s tables as ordinary tables in its schema, or brings older ones up to date, as pay_install_plan() says; safe to repeat, and while payments go on: each of them waits for it at most lock_timeout (200 ms if that is 0; never more than half of deadlock_timeout). Where it gets no lock within that, after ten tries: 55P03, and nothing is done. What would take long on a big table it leaves to its next call or, in a NOTICE, to you. PY409 if a table of that name is not ours';
