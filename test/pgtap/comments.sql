-- What the extension brings explains itself, says how it may be used, and is for
-- those alone who were given it.

BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pay_idem;
SELECT pay_install();

SELECT plan(21);

CREATE SCHEMA comments;
-- From 18 on, PostgreSQL counts the array type that comes with a type, too.
CREATE VIEW comments.member AS
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'pay_idem'
		AND NOT EXISTS (SELECT FROM pg_type WHERE d.classid = 'pg_type'::regclass AND typarray = d.objid);
CREATE VIEW comments.function AS
	SELECT p.* FROM pg_proc p JOIN comments.member ON classid = 'pg_proc'::regclass AND objid = p.oid;

-- ---- comments ----

SELECT isnt_empty('SELECT FROM comments.function', 'the extension has functions');
SELECT is_empty($$SELECT oid::regprocedure FROM comments.function WHERE coalesce(obj_description(oid, 'pg_proc'), '') = ''$$,
	'every function has a COMMENT');
SELECT is_empty($$SELECT objid::regtype FROM comments.member WHERE classid = 'pg_type'::regclass
		AND coalesce(obj_description(objid, 'pg_type'), '') = ''$$,
	'every type has a COMMENT');
SELECT is_empty($$SELECT objid::regoperator FROM comments.member WHERE classid = 'pg_operator'::regclass
		AND coalesce(obj_description(objid, 'pg_operator'), '') = ''$$,
	'every operator has a COMMENT');
-- The columns of the answers' types, which are composite types of ours.
SELECT set_eq($$SELECT objid::regtype::text FROM comments.member JOIN pg_type t ON t.oid = objid WHERE classid = 'pg_type'::regclass AND typtype = 'c'$$,
	ARRAY['pay_result', 'pay_refund_result', 'pay_dispute_result', 'pay_hold_result', 'pay_step', 'pay_part'], 'these types are rows');
SELECT is_empty($$SELECT t.typname, a.attname FROM comments.member JOIN pg_type t ON t.oid = objid JOIN pg_attribute a ON a.attrelid = t.typrelid
		WHERE classid = 'pg_type'::regclass AND typtype = 'c'
			AND a.attname NOT IN ('pay_no', 'merchant', 'order_no', 'channel', 'method')	-- the manual's words, as they are everywhere
			AND col_description(t.typrelid, a.attnum) IS NULL$$,
	'every column of an answer has a COMMENT');
CREATE VIEW comments.relation AS
	SELECT c.* FROM pg_class c JOIN pg_extension e ON e.extnamespace = c.relnamespace
	WHERE e.extname = 'pay_idem' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname LIKE 'pay\_%';
SELECT set_eq($$SELECT relname::text, relkind::text FROM comments.relation$$,
	$$VALUES ('pay_payment', 'r'), ('pay_attempt', 'r'), ('pay_event', 'r'), ('pay_review', 'r'), ('pay_refund', 'r'), ('pay_dispute', 'r'),
		('pay_task', 'r'), ('pay_resource', 'r'), ('pay_hold', 'r'), ('pay_channel', 'r'), ('pay_grantee', 'r'), ('pay_database', 'r'), ('pay_balance', 'v')$$,
	'pay_install() makes these tables, this view and no others');
SELECT is_empty($$SELECT relname FROM comments.relation WHERE coalesce(obj_description(oid, 'pg_class'), '') = ''$$,
	'every table and view of pay_install() has a COMMENT');
SELECT is_empty($$SELECT attname FROM comments.relation r JOIN pg_attribute a ON a.attrelid = r.oid
		WHERE relname = 'pay_balance' AND attname NOT IN ('pay_no', 'merchant', 'order_no', 'currency', 'state', 'amount')	-- the payment's own
			AND col_description(r.oid, attnum) IS NULL$$,
	'every sum in pay_balance has a COMMENT');
SELECT isnt_empty($$SELECT FROM pg_description JOIN pg_extension e ON objoid = e.oid WHERE classoid = 'pg_extension'::regclass AND extname = 'pay_idem'$$,
	'the extension has a COMMENT');

-- ---- labels: volatility, parallel safety, strictness ----

-- Each function that a user calls, as designed: i(mmutable), s(table), v(olatile); s(afe), r(estricted), u(nsafe).
CREATE TABLE comments.designed (proname name, provolatile "char", proparallel "char", proisstrict boolean, public boolean);
INSERT INTO comments.designed VALUES
	-- what writes is volatile and never in a parallel worker
	('pay_install', 'v', 'u', false, false),
	('pay_grant', 'v', 'u', false, false),
	('pay_revoke', 'v', 'u', false, false),
	('pay_create', 'v', 'u', false, false),
	('pay_prepay', 'v', 'u', false, false),
	('pay_credential', 'v', 'u', false, false),
	('pay_transition', 'v', 'u', false, false),
	('pay_callback', 'v', 'u', false, false),
	('pay_callbacks', 'v', 'u', false, false),
	('pay_close', 'v', 'u', false, false),
	('pay_import', 'v', 'u', false, false),
	('pay_review_resolve', 'v', 'u', false, false),
	('pay_refund', 'v', 'u', false, false),
	('pay_refund_transition', 'v', 'u', false, false),
	('pay_refund_callback', 'v', 'u', false, false),
	('pay_refund_callbacks', 'v', 'u', false, false),
	('pay_dispute_open', 'v', 'u', false, false),
	('pay_dispute_resolve', 'v', 'u', false, false),
	('pay_claim', 'v', 'u', false, false),
	('pay_adopt_database', 'v', 'u', false, false),
	('pay_hold_done', 'v', 'u', false, false),
	('pay_guard', 'v', 'u', false, true),
	('pay_install_reserve', 'v', 'u', false, false),
	('pay_install_carry_out', 'v', 'u', false, false),
	('pay_install_give_up', 'v', 'u', false, false),
	-- what reads the catalogs, before a superuser's call trusts a table
	('pay_trusts', 's', 's', true, true),
	('pay_table_fault', 's', 's', true, true),
	('pay_refuse_superuser', 's', 's', false, true),
	-- what reads payments
	('pay_query', 's', 'r', false, false),
	('pay_history', 's', 'r', false, false),
	('pay_dispute_case', 's', 'r', false, false),
	('pay_suspects', 's', 'r', false, false),
	-- what reads the channels
	('pay_channel_of', 's', 'r', true, true),
	-- what reads its arguments alone
	('pay_can', 'i', 's', true, true),
	('pay_next', 'i', 's', true, true),
	('pay_is_final', 'i', 's', true, true),
	('pay_steps', 'i', 's', false, true),
	('pay_diagram', 'i', 's', false, true),
	('pay_shard', 'i', 's', true, true),
	('pay_shard_of', 'i', 's', true, true),
	('pay_time', 'i', 's', true, true),
	('pay_attempt_of', 'i', 's', true, true),
	('pay_number', 'i', 's', true, true),
	('pay_trade_nos', 'i', 's', true, true),
	('pay_number_matches', 'i', 's', true, true),
	('pay_state_guard', 'v', 's', false, true);
-- What pay_install() and pay_grant() are made of, and what should be there: no part of a plan.
INSERT INTO comments.designed
SELECT name, 's', 'u', false, false
FROM unnest('{pay_install_plan,pay_install_view,pay_install_view_mark,pay_declared,pay_missing_grants,pay_install_refuse_creators,pay_install_owner,pay_install_obstacle,pay_install_verify,
	pay_install_tables,pay_install_columns,pay_install_indexes,pay_install_checks,pay_install_guards,
	pay_install_comments,pay_install_rows,pay_install_grants,
	pay_declared_channel,pay_declared_payment,pay_declared_attempt,pay_declared_event,pay_declared_review,pay_declared_refund,pay_declared_dispute,
	pay_declared_task,pay_declared_resource,pay_declared_hold,pay_declared_database,pay_declared_grantee,pay_declared_balance,pay_declared_channels}'::name[]) AS f (name);
-- And what a type is made of.
INSERT INTO comments.designed
SELECT type || suffix, 'i', 's', true, true
FROM unnest('{pay_state,pay_decision,pay_refund_state}'::text[]) AS type,
	unnest('{_in,_out,_recv,_send,_eq,_ne,_lt,_le,_gt,_ge,_cmp,_hash,_hash_extended}'::text[]) AS suffix;

SELECT set_eq('SELECT proname FROM comments.function', 'SELECT proname FROM comments.designed',
	'these functions and no others');
SELECT is_empty('SELECT proname FROM comments.function GROUP BY proname HAVING count(*) > 1', 'never two overloads of one name');
SELECT set_eq('SELECT proname, provolatile, proparallel FROM comments.function',
	'SELECT proname, provolatile, proparallel FROM comments.designed',
	'volatility and parallel label of every function are as designed');
SELECT set_eq('SELECT proname, proisstrict FROM comments.function', 'SELECT proname, proisstrict FROM comments.designed',
	'strictness of every function is as designed');
SELECT is_empty('SELECT proname FROM comments.function WHERE prosecdef', 'nobody gains an owner''s rights: no function is SECURITY DEFINER');
SELECT is_empty($$SELECT proname FROM comments.function p JOIN pg_language l ON l.oid = p.prolang
		WHERE l.lanname NOT IN ('c', 'internal') AND NOT coalesce(p.proconfig::text LIKE '%search_path=pg_catalog%', false)$$,
	'a function that is not C has a search_path of its own');

-- ---- PUBLIC ----

SELECT set_eq($$SELECT proname FROM comments.function WHERE has_function_privilege('public', oid, 'EXECUTE')$$,
	'SELECT proname FROM comments.designed WHERE public',
	'PUBLIC may execute what reads its arguments or the channels'' names, and nothing that reads or writes payments');
SELECT is_empty($$SELECT c.relname FROM pg_class c
		WHERE (c.oid IN (SELECT oid FROM comments.relation) OR c.relkind = 'S' AND c.relname LIKE 'pay\_%\_seq')
			AND has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$,
	'PUBLIC has no right on any table, view or sequence');
SELECT is(count(*)::integer, 1, 'pay_balance reads with the rights of who asks')
FROM comments.relation WHERE relkind = 'v' AND reloptions @> '{security_invoker=true}';

-- Asked by somebody who was given nothing.
CREATE ROLE comments_nobody;
GRANT USAGE ON SCHEMA comments TO comments_nobody;
CREATE TABLE comments.call AS SELECT proname, format('SELECT %I(%s)', proname,
	(SELECT string_agg('NULL::' || format_type(t, NULL), ', ' ORDER BY n) FROM unnest(proargtypes) WITH ORDINALITY AS a (t, n))) AS call
FROM comments.function WHERE proname IN (SELECT proname FROM comments.designed WHERE NOT public);
GRANT SELECT ON comments.call TO comments_nobody;
SELECT set_config('search_path', (SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'pay_idem')
	|| ', ' || current_setting('search_path'), true);
SET LOCAL ROLE comments_nobody;
CREATE FUNCTION pg_temp.refused(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE call;
	RETURN 'answered';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
SELECT is_empty($$SELECT proname, pg_temp.refused(call) FROM comments.call WHERE pg_temp.refused(call) <> '42501'$$,
	'called by a role that was given nothing, each of them is refused');
RESET ROLE;
SELECT is(count(*), (SELECT count(*) FROM comments.designed WHERE NOT public), 'that was every function that PUBLIC was not given') FROM comments.call;

SELECT * FROM finish();
ROLLBACK;
