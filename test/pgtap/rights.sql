-- The rights matrix: which role may call which function, about whose payments, as
-- test/matrix/rights.md says it. That file explains itself; here it is read, the
-- roles are made, and each function is called as each of them. Every call is rolled
-- back, so that all find the same payments.

BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pay_idem;
SELECT pay_install();

CREATE SCHEMA rights;

-- ---- the file ----

CREATE TABLE rights.line (n integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text);
\copy rights.line (text) FROM 'test/matrix/rights.md' WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')

CREATE TABLE rights.written AS
SELECT n, heading, ARRAY(SELECT btrim(c) FROM unnest(string_to_array(btrim(text, '|'), '|')) WITH ORDINALITY AS u (c, i) ORDER BY i) AS cells
FROM rights.line l, LATERAL (
	SELECT h.text FROM rights.line h WHERE h.n < l.n AND h.text LIKE '#%' ORDER BY h.n DESC LIMIT 1) AS h (heading)
WHERE text LIKE '|%' AND text NOT LIKE '|-%';

CREATE TABLE rights.cell AS
SELECT n AS line, btrim(cells[1], '`') AS function, cells[2] AS about, btrim(cells[3], '`') AS kind, column_, cells[i] AS expected
FROM rights.written, (VALUES (4, 'own'), (5, 'another'), (6, 'all')) AS c (i, column_)
WHERE heading = '## The matrix' AND cells[1] <> 'function';

-- ---- two merchants with the same orders ----

CREATE TABLE rights.fixture (merchant text PRIMARY KEY, paid text, other text, short text, open text, dispute_id bigint, review_id bigint,
	unmatched_id bigint);
CREATE FUNCTION rights.prepay(m text, o text) RETURNS text LANGUAGE sql AS $$
	SELECT trade_no FROM public.pay_prepay(order_no => o, amount => 100, currency => 'CNY', channel => 'test', method => 'card', request_id => 'r1', merchant => m,
		valid_for => '1 day', holds => CASE o WHEN 'open' THEN '{room:1}'::text[] END)
$$;
CREATE FUNCTION rights.report(t text, amount bigint) RETURNS text LANGUAGE sql AS $$
	SELECT decision FROM public.pay_callback(channel => 'test', callback_id => 'n1', trade_no => t, reported => 'paid', amount => amount, currency => 'CNY')
$$;
CREATE FUNCTION rights.build(m text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	f rights.fixture;
BEGIN
	f.merchant := m;
	INSERT INTO pay_resource (merchant, resource, external) VALUES (m, 'room', true);
	f.paid := rights.prepay(m, 'paid');
	f.other := rights.prepay(m, 'other');
	f.short := rights.prepay(m, 'short');
	f.open := rights.prepay(m, 'open');
	PERFORM rights.prepay(m, 'old ' || m), rights.report(f.paid, 100), rights.report(f.other, 100), rights.report(f.short, 99), rights.report('nobody ' || m, 100);
	PERFORM pay_refund(trade_no => f.paid, refund_no => 'F', amount => 10, reason => 'a test');
	f.dispute_id := (pay_dispute_open(trade_no => f.paid, duplicate_of => f.other, reason => 'a test')).dispute_id;
	SELECT r.review_id INTO STRICT f.review_id FROM pay_review r WHERE r.kind = 'mismatch' AND r.trade_no = f.short;
	SELECT r.review_id INTO STRICT f.unmatched_id FROM pay_review r WHERE r.kind = 'unmatched' AND r.trade_no = 'nobody ' || m;
	INSERT INTO rights.fixture SELECT f.*;
END
$$;
SELECT rights.build('m1'), rights.build('m2');

-- ---- the roles ----

CREATE TABLE rights.role AS
SELECT kind, scope, format('rights_%s_%s', kind, scope) AS name
FROM unnest('{none,checkout,reports,app,worker,ops,auditor}'::text[]) AS kind, unnest('{one,all}'::text[]) AS scope;
SELECT format('CREATE ROLE %I', name), format('CREATE ROLE %I LOGIN IN ROLE %I', name || '_member', name) FROM rights.role \gexec
SELECT count(pay_grant(role => name, kind => kind, merchant => CASE scope WHEN 'one' THEN 'm1' END)) FROM rights.role WHERE kind <> 'none';

-- ---- the calls: $f is whose payment it is about, $c the caller's own ----

CREATE FUNCTION rights.call(function text, about text, f rights.fixture, c rights.fixture) RETURNS text LANGUAGE sql AS $$
SELECT CASE function || ' ' || about
	WHEN 'pay_create merchant' THEN
		format($c$SELECT decision FROM pay_create(order_no => 'new', amount => 1, currency => 'CNY', merchant => %L)$c$, f.merchant)
	WHEN 'pay_prepay merchant' THEN
		format($c$SELECT decision FROM pay_prepay(order_no => 'new', amount => 1, currency => 'CNY', channel => 'test', method => 'card', request_id => 'r', merchant => %L)$c$, f.merchant)
	WHEN 'pay_prepay replaces' THEN
		format($c$SELECT decision FROM pay_prepay(order_no => 'new', amount => 1, currency => 'CNY', channel => 'test', method => 'card', request_id => 'r', merchant => %L, replaces => %L)$c$,
			c.merchant, 'old ' || f.merchant)
	WHEN 'pay_credential number' THEN format($c$SELECT decision FROM pay_credential(trade_no => %L, credential => 'c', valid_for => '1 hour')$c$, f.open)
	WHEN 'pay_query merchant' THEN format($c$SELECT decision FROM pay_query(order_no => 'open', merchant => %L)$c$, f.merchant)
	WHEN 'pay_query number' THEN format($c$SELECT decision FROM pay_query(trade_no => %L)$c$, f.open)
	WHEN 'pay_close merchant' THEN format($c$SELECT decision FROM pay_close(order_no => 'open', merchant => %L)$c$, f.merchant)
	WHEN 'pay_callback number' THEN
		format($c$SELECT decision FROM pay_callback(channel => 'test', callback_id => 'n2', trade_no => %L, reported => 'failed')$c$, f.open)
	WHEN 'pay_callback merchant' THEN
		format($c$SELECT decision FROM pay_callback(channel => 'test', callback_id => 'n2', trade_no => %L, reported => 'failed', merchant => %L)$c$, f.open, f.merchant)
	WHEN 'pay_callbacks number' THEN
		format($c$SELECT decision FROM pay_callbacks(messages => '[{"channel": "test", "trade_no": "%s", "reported": "failed"}]')$c$, f.open)
	WHEN 'pay_transition number' THEN format($c$SELECT decision FROM pay_transition(trade_no => %L, to_state => 'unknown')$c$, f.open)
	WHEN 'pay_refund number' THEN format($c$SELECT decision FROM pay_refund(trade_no => %L, refund_no => 'G', amount => 1, reason => 'a test')$c$, f.paid)
	WHEN 'pay_refund_transition merchant' THEN
		format($c$SELECT decision FROM pay_refund_transition(refund_no => 'F', to_state => 'processing', merchant => %L)$c$, f.merchant)
	WHEN 'pay_refund_callback merchant' THEN
		format($c$SELECT decision FROM pay_refund_callback(channel => 'test', callback_id => 'n2', refund_no => 'F', reported => 'succeeded', merchant => %L)$c$, f.merchant)
	WHEN 'pay_refund_callback number' THEN
		format($c$SELECT decision FROM pay_refund_callback(channel => 'test', callback_id => 'n2', refund_no => 'G', reported => 'succeeded', amount => 1, trade_no => %L, merchant => %L)$c$,
			f.paid, c.merchant)
	WHEN 'pay_refund_callbacks merchant' THEN
		format($c$SELECT decision FROM pay_refund_callbacks(messages => '[{"channel": "test", "callback_id": "n2", "refund_no": "F", "reported": "succeeded", "merchant": "%s"}]')$c$, f.merchant)
	WHEN 'pay_refund_callbacks number' THEN
		format($c$SELECT decision FROM pay_refund_callbacks(messages => '[{"channel": "test", "callback_id": "n2", "refund_no": "G", "reported": "succeeded", "amount": 1, "trade_no": "%s", "merchant": "%s"}]')$c$,
			f.paid, c.merchant)
	WHEN 'pay_hold_done number' THEN format($c$SELECT decision FROM pay_hold_done(trade_no => %L, resource => 'room:1', done => 'tried')$c$, f.open)
	WHEN 'pay_dispute_open number' THEN format($c$SELECT decision FROM pay_dispute_open(trade_no => %L, duplicate_of => %L, reason => 'a test')$c$, f.open, f.short)
	WHEN 'pay_dispute_open second number' THEN
		format($c$SELECT decision FROM pay_dispute_open(trade_no => %L, duplicate_of => %L, reason => 'a test')$c$, c.open, f.short)
	WHEN 'pay_dispute_resolve id' THEN format($c$SELECT decision FROM pay_dispute_resolve(dispute_id => %s, verdict => 'reject', reason => 'a test')$c$, f.dispute_id)
	WHEN 'pay_dispute_case id' THEN format($c$SELECT max(seq)::text FROM pay_dispute_case(dispute_id => %s)$c$, f.dispute_id)
	WHEN 'pay_history number' THEN format($c$SELECT max(seq)::text FROM pay_history(trade_no => %L)$c$, f.open)
	WHEN 'pay_review_resolve id' THEN format($c$SELECT decision FROM pay_review_resolve(review_id => %s, verdict => 'dismiss', reason => 'a test')$c$, f.review_id)
	WHEN 'pay_review_resolve unmatched' THEN
		format($c$SELECT decision FROM pay_review_resolve(review_id => %s, verdict => 'dismiss', reason => 'a test')$c$, f.unmatched_id)
	WHEN 'pay_claim queue' THEN
		format($c$SELECT CASE WHEN bool_or(merchant = %L) THEN 'handed out' ELSE 'passed by' END FROM pay_claim(worker => 'w', max_tasks => 100, lease => '1 hour')$c$, f.merchant)
	WHEN 'pay_adopt_database all' THEN $c$SELECT pay_adopt_database(reason => 'a test')::text$c$
	WHEN 'pay_import all' THEN $c$SELECT outcome FROM pay_import(payments => '[{"order_no": "new", "amount": 1, "currency": "CNY"}]')$c$
	WHEN 'pay_suspects all' THEN $c$SELECT count(*)::text FROM pay_suspects(since => now())$c$
	WHEN 'pay_install all' THEN 'SELECT pay_install()::text'
	WHEN 'pay_install_plan all' THEN 'SELECT count(*)::text FROM pay_install_plan()'
	WHEN 'pay_grant all' THEN $c$SELECT pay_grant(role => current_user::text, kind => 'ops')::text$c$
	WHEN 'pay_revoke all' THEN $c$SELECT pay_revoke(role => current_user::text)::text$c$
END
$$;

-- A call as that role, in the words of the file.
CREATE FUNCTION rights.try(role name, call text, merchant text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	tasks CONSTANT text := format('SELECT string_agg(t::text, E''\n'' ORDER BY t::text) FROM public.pay_task t JOIN public.pay_payment p USING (pay_no) WHERE p.merchant = %L', merchant);
	before text;
	after text;
BEGIN
	EXECUTE tasks INTO before;
	PERFORM set_config('role', role, true);
	EXECUTE call INTO answer;
	PERFORM set_config('role', 'none', true);
	EXECUTE tasks INTO after;
	IF answer = 'passed by' AND before IS DISTINCT FROM after THEN
		answer := 'passed by, and changed';
	END IF;
	RAISE EXCEPTION '%', CASE WHEN answer IN ('unmatched', 'passed by', 'passed by, and changed') THEN answer
		WHEN answer IS NULL THEN 'no answer' ELSE 'runs' END USING ERRCODE = 'OK000';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE WHEN SQLSTATE = 'OK000' THEN SQLERRM
		WHEN SQLSTATE = 'PY404' THEN SQLSTATE
		WHEN SQLSTATE = '42501' AND SQLERRM LIKE 'permission denied for function %' THEN '42501 EXECUTE'
		WHEN SQLSTATE = '42501' AND SQLERRM LIKE 'role % does not act for merchant %' THEN '42501 merchant'
		ELSE SQLSTATE || ' ' || SQLERRM END;
END
$$;

CREATE TABLE rights.tried AS
SELECT cell.*, as_member, rights.try(r.name || as_member, rights.call(cell.function, about, f, c), f.merchant) AS got
FROM rights.cell
	JOIN rights.role r ON r.kind = cell.kind AND r.scope = CASE column_ WHEN 'all' THEN 'all' ELSE 'one' END
	JOIN rights.fixture f ON f.merchant = CASE column_ WHEN 'own' THEN 'm1' ELSE 'm2' END
	JOIN rights.fixture c ON c.merchant = CASE column_ WHEN 'all' THEN 'm2' ELSE 'm1' END,
	unnest('{"",_member}'::text[]) AS as_member
ORDER BY line, column_;

-- ---- what is compared ----

SELECT * FROM no_plan();

CREATE TABLE rights.not_in_table AS
SELECT btrim(name, '`') AS name FROM rights.written, unnest(string_to_array(cells[1], ' ')) AS name
WHERE heading = '## Not in the table' AND cells[1] <> 'function';

SELECT set_eq($$SELECT p.proname::text FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'pay_idem'
	WHERE p.proname !~ '^pay_((refund_)?state|decision)_(in|out|recv|send|eq|ne|lt|le|gt|ge|cmp|hash|hash_extended)$'
		AND p.proname !~ '^pay_(declared|missing_grants|install_(?!plan$))'$$,
	'SELECT function FROM rights.cell UNION SELECT name FROM rights.not_in_table',
	'every function of the extension is in the matrix or among those that are for PUBLIC');
SELECT set_eq($$SELECT p.proname::text FROM pg_proc p JOIN rights.not_in_table ON name = p.proname WHERE has_function_privilege('rights_none_one', p.oid, 'EXECUTE')$$,
	'SELECT name FROM rights.not_in_table', 'and these anybody may call');
SELECT is_empty($$SELECT p.proname, r.name FROM pg_proc p, rights.role r WHERE p.proname ~ '^pay_(declared|missing_grants|install_(?!plan$))' AND has_function_privilege(r.name, p.oid, 'EXECUTE')$$,
	'nobody is given what pay_install() is made of');
SELECT set_eq('SELECT DISTINCT function, about, kind FROM rights.cell',
	'SELECT DISTINCT c.function, c.about, r.kind FROM rights.cell c, rights.role r', 'each call has a row for each kind of role, and for none');
SELECT is_empty('SELECT function, about, kind FROM rights.cell GROUP BY 1, 2, 3 HAVING count(*) <> 3', 'and only one');
SELECT is_empty($$SELECT line, expected FROM rights.cell WHERE expected NOT IN ('runs', 'unmatched', 'passed by', 'PY404', '42501 EXECUTE', '42501 merchant')$$,
	'every cell is one of those that the file explains');

SELECT is(string_agg(got, ' | ' ORDER BY array_position('{own,another,all}', column_)),
	string_agg(expected, ' | ' ORDER BY array_position('{own,another,all}', column_)),
	format('%s, by %s%s%s (line %s)', function, about, kind, replace(as_member, '_', ', a '), line))
FROM (SELECT function, about || ': ' AS about, kind, as_member, line, column_, got, expected FROM rights.tried) AS t
GROUP BY function, about, kind, as_member, line ORDER BY line, as_member;

SELECT is_empty($$SELECT c.relname, r.name FROM pg_class c, rights.role r
		WHERE r.scope = 'one' AND c.relnamespace = 'public'::regnamespace AND c.relname LIKE 'pay\_%' AND c.relkind IN ('r', 'v')
			AND has_table_privilege(r.name, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$,
	'a role that acts for one merchant reads and writes no table');

SELECT * FROM finish();
ROLLBACK;
