
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
