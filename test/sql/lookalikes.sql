-- PUBLIC may call the guards, so anybody may put them on a table of his own. A guard
-- knows its tables by what they are: of a table that has only the name of ours nothing
-- is read, whatever its columns, and every event is refused. All of it by a role that
-- has what PUBLIC has.

\i test/sql/include/begin.sql
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_lookalikes_user;
CREATE ROLE regress_lookalikes_user;
CREATE SCHEMA lookalikes_test AUTHORIZATION regress_lookalikes_user;
SET SESSION AUTHORIZATION regress_lookalikes_user;
SELECT has_table_privilege('public.pay_payment', 'SELECT') AS reads, has_function_privilege('public.pay_install()', 'EXECUTE') AS installs;

-- The column map of ours would read the fifth column as a pointer.
CREATE TEMP TABLE pay_resource (a bigint, b bigint, c boolean, d bigint, e bigint);
INSERT INTO pay_resource VALUES (1, 2, true, 4, 5);
CREATE TRIGGER t BEFORE DELETE ON pay_resource FOR EACH ROW EXECUTE FUNCTION public.pay_guard();
DELETE FROM pay_resource;
TABLE pay_resource;
DROP TABLE pay_resource;

-- ---- each name, each look, each trigger ----

CREATE FUNCTION lookalikes_test.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
-- Of each look a table: it has a row of it, with a mark that UPDATE changes.
CREATE FUNCTION lookalikes_test.make(name text, look text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	made CONSTANT text := CASE look WHEN 'temp' THEN 'pg_temp.' ELSE 'lookalikes_test.' END || quote_ident(name);
	wide CONSTANT text := (SELECT string_agg(format('c%s bigint DEFAULT %s', n, 1000 + n), ', ') FROM generate_series(1, 40) AS n);
BEGIN
	CASE look
		WHEN 'pointers', 'temp', 'partition', 'view' THEN
			EXECUTE format('CREATE TABLE %s (mark integer DEFAULT 1, %s)%s', CASE look WHEN 'partition' THEN 'lookalikes_test.whole' WHEN 'view' THEN 'lookalikes_test.below' ELSE made END,
				wide, CASE look WHEN 'partition' THEN ' PARTITION BY LIST (mark)' ELSE '' END);
		WHEN 'fewer columns' THEN
			EXECUTE format('CREATE TABLE %s (mark integer DEFAULT 1)', made);
		WHEN 'dropped columns' THEN
			EXECUTE format('CREATE TABLE %s (%s, mark integer DEFAULT 1)', made, wide);
			EXECUTE format('ALTER TABLE %s %s', made, (SELECT string_agg('DROP COLUMN c' || n, ', ') FROM generate_series(1, 40, 2) AS n));
		WHEN 'texts' THEN
			EXECUTE format('CREATE TABLE %s (mark integer DEFAULT 1, pay_no text DEFAULT repeat(''x'', 100), state text DEFAULT ''paid'', resource point DEFAULT ''(1,2)'',
				merchant "char" DEFAULT ''m'', taken numeric DEFAULT 9.9, route bytea DEFAULT ''\x00'', channel float8 DEFAULT 1e300, method inet DEFAULT ''::1'')', made);
	END CASE;
	IF look = 'partition' THEN
		EXECUTE format('CREATE TABLE %s PARTITION OF lookalikes_test.whole DEFAULT', made);
	ELSIF look = 'view' THEN
		EXECUTE format('CREATE VIEW %s AS TABLE lookalikes_test.below', made);
	END IF;
	EXECUTE format('INSERT INTO %s DEFAULT VALUES', made);
	RETURN made;
END
$$;
CREATE FUNCTION lookalikes_test.drop(made text, look text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE CASE look WHEN 'partition' THEN 'DROP TABLE lookalikes_test.whole' WHEN 'view' THEN 'DROP TABLE lookalikes_test.below CASCADE' ELSE 'DROP TABLE ' || made END;
END
$$;
CREATE TABLE lookalikes_test.tried (name text, look text, definition text, event text, answer text);
CREATE FUNCTION lookalikes_test.all_of(name text, look text, definitions text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	made CONSTANT text := lookalikes_test.make(name, look);
	definition text;
	event text;
	answer text;
	rows_before bigint;
	rows_after bigint;
BEGIN
	FOREACH definition IN ARRAY definitions
	LOOP
		FOREACH event IN ARRAY '{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]
		LOOP
			CONTINUE WHEN event = 'TRUNCATE' AND definition LIKE '%EACH ROW%' OR event = 'TRUNCATE' AND look = 'view';
			EXECUTE format('SELECT count(*) FROM %s', made) INTO rows_before;
			EXECUTE format('CREATE ' || definition, event, made);
			answer := lookalikes_test.try(CASE event WHEN 'INSERT' THEN format('INSERT INTO %s DEFAULT VALUES', made)
				WHEN 'UPDATE' THEN format('UPDATE %s SET mark = mark + 1', made)
				WHEN 'DELETE' THEN format('DELETE FROM %s', made) ELSE format('TRUNCATE %s', made) END || '; SET CONSTRAINTS ALL IMMEDIATE');
			EXECUTE format('DROP TRIGGER t ON %s', made);
			EXECUTE format('SELECT count(*) FROM %s', made) INTO rows_after;
			INSERT INTO lookalikes_test.tried VALUES (name, look, definition, event, answer || CASE WHEN rows_before <> rows_after THEN ', but it happened' ELSE '' END);
		END LOOP;
	END LOOP;
	PERFORM lookalikes_test.drop(made, look);
END
$$;
SELECT count(lookalikes_test.all_of(name, look, CASE look
	WHEN 'view' THEN '{TRIGGER t INSTEAD OF %s ON %s FOR EACH ROW EXECUTE FUNCTION public.pay_guard()}'::text[]
	ELSE ARRAY['TRIGGER t BEFORE %s ON %s FOR EACH ROW EXECUTE FUNCTION public.pay_guard()',
		'TRIGGER t AFTER %s ON %s FOR EACH ROW EXECUTE FUNCTION public.pay_guard(''pay_resource'', ''2'')',
		'TRIGGER t BEFORE %s ON %s FOR EACH STATEMENT EXECUTE FUNCTION public.pay_guard()',
		'TRIGGER t AFTER %s ON %s FOR EACH STATEMENT EXECUTE FUNCTION public.pay_guard()',
		'CONSTRAINT TRIGGER t AFTER %s ON %s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.pay_guard()'] END)) AS tables
FROM unnest('{pay_channel,pay_payment,pay_attempt,pay_event,pay_review,pay_refund,pay_dispute,pay_task,pay_resource,pay_hold,pay_grantee,pay_database,pay_balance}'::text[]) AS n (name),
	unnest('{pointers,temp,partition,view,"fewer columns","dropped columns",texts}'::text[]) AS l (look);
SELECT look, count(DISTINCT name) AS names, count(*) AS tried, count(*) FILTER (WHERE answer = format('PY423 pay_guard() does not guard "%s"', name)) AS refused
FROM lookalikes_test.tried GROUP BY look ORDER BY look;
SELECT * FROM lookalikes_test.tried WHERE answer <> format('PY423 pay_guard() does not guard "%s"', name);

-- A partitioned table's trigger is its partitions', too.
CREATE TABLE lookalikes_test.pay_resource (capacity bigint, taken bigint, external boolean, merchant bigint, resource bigint) PARTITION BY LIST (capacity);
CREATE TABLE lookalikes_test.pay_hold PARTITION OF lookalikes_test.pay_resource FOR VALUES IN (1);
CREATE TABLE lookalikes_test.pay_channel PARTITION OF lookalikes_test.pay_resource FOR VALUES IN (2);
INSERT INTO lookalikes_test.pay_resource VALUES (1, 1, true, 3, 4);
CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON lookalikes_test.pay_resource FOR EACH ROW EXECUTE FUNCTION public.pay_guard();
SELECT lookalikes_test.try('INSERT INTO lookalikes_test.pay_resource VALUES (2, 2, true, 3, 4)'), lookalikes_test.try('UPDATE lookalikes_test.pay_resource SET taken = 2'),
	lookalikes_test.try('UPDATE lookalikes_test.pay_resource SET capacity = 2'), lookalikes_test.try('DELETE FROM lookalikes_test.pay_resource');

-- In a transaction that may not write, where a temporary table can be written nevertheless.
CREATE TEMP TABLE pay_resource (a bigint, b bigint, c boolean, d bigint, e bigint);
INSERT INTO pay_resource VALUES (1, 2, true, 4, 5);
CREATE TRIGGER t BEFORE DELETE ON pay_resource FOR EACH ROW EXECUTE FUNCTION public.pay_guard();
BEGIN READ ONLY;
SELECT lookalikes_test.try('DELETE FROM pg_temp.pay_resource');
ROLLBACK;
DROP TABLE pay_resource;

-- ---- pay_state_guard() and odd columns ----

CREATE DOMAIN lookalikes_test.my_state AS public.pay_state;
CREATE FUNCTION lookalikes_test.guard(columns text, argument text, set text DEFAULT 'id = 2') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('CREATE TABLE lookalikes_test.orders (id integer, gone integer, %s)', columns);
	ALTER TABLE lookalikes_test.orders DROP COLUMN gone;
	INSERT INTO lookalikes_test.orders (id) VALUES (1);
	EXECUTE format('CREATE TRIGGER guard BEFORE UPDATE ON lookalikes_test.orders FOR EACH ROW EXECUTE FUNCTION public.pay_state_guard(%L)', argument);
	answer := lookalikes_test.try(format('UPDATE lookalikes_test.orders SET %s', set));
	DROP TABLE lookalikes_test.orders;
	RETURN answer;
END
$$;
SELECT n, what, lookalikes_test.guard(columns, argument, set) FROM (VALUES
	(1, 'as it should be', 's public.pay_state DEFAULT ''paid''', 's', 's = ''failed'''),
	(2, 'another column', 's public.pay_state DEFAULT ''paid''', 's', 'id = 2'),
	(3, 'a dropped column', 's public.pay_state', '........pg.dropped.2........', 'id = 2'),
	(4, 'generated', 'o text DEFAULT ''paid'', s public.pay_state GENERATED ALWAYS AS (CASE o WHEN ''paid'' THEN ''paid''::public.pay_state ELSE ''failed''::public.pay_state END) STORED', 's', 'o = ''failed'''),
	(5, 'a domain', 's lookalikes_test.my_state DEFAULT ''paid''', 's', 's = ''failed'''),
	(6, 'an array', 's public.pay_state[] DEFAULT ''{paid}''', 's', 's = ''{failed}'''),
	(7, 'a refund''s state', 's public.pay_refund_state DEFAULT ''succeeded''', 's', 's = ''failed'''),
	(8, 'a character', 's "char" DEFAULT ''x''', 's', 's = ''y'''),
	(9, 'a number', 's integer DEFAULT 1', 's', 's = 2'),
	(10, 'system columns', 's public.pay_state', 'tableoid', 'id = 2'),
	(11, 'quotes', '"s""; DROP" public.pay_state DEFAULT ''paid''', 's"; DROP', '"s""; DROP" = ''failed'''),
	(12, 'quoted twice', 's public.pay_state', '"s"', 'id = 2'),
	(13, 'no name', 's public.pay_state', '', 'id = 2'),
	(14, 'another case', 's public.pay_state', 'S', 'id = 2'),
	(15, 'cut off', repeat('s', 70) || ' public.pay_state DEFAULT ''paid''', repeat('s', 63), repeat('s', 70) || ' = ''failed'''),
	(16, 'too long', repeat('s', 70) || ' public.pay_state DEFAULT ''paid''', repeat('s', 70), repeat('s', 70) || ' = ''failed'''),
	(17, 'added later', 'x integer', 's', 'id = 2')) AS v (n, what, columns, argument, set) ORDER BY n;
-- A column that was added with a default is in no row.
CREATE TABLE lookalikes_test.orders (id integer);
INSERT INTO lookalikes_test.orders VALUES (1);
ALTER TABLE lookalikes_test.orders ADD COLUMN s public.pay_state NOT NULL DEFAULT 'paid';
CREATE TRIGGER guard BEFORE UPDATE ON lookalikes_test.orders FOR EACH ROW EXECUTE FUNCTION public.pay_state_guard('s');
SELECT lookalikes_test.try('UPDATE lookalikes_test.orders SET s = ''failed''');

-- ---- ours ----

RESET SESSION AUTHORIZATION;
-- pay_grantee is guarded too: rows come and go, and are not changed.
INSERT INTO pay_grantee (role, kind) VALUES ('nobody', 'app');
SELECT test.try($$UPDATE pay_grantee SET kind = 'ops' WHERE role = 'nobody'$$);
CREATE TRIGGER u BEFORE TRUNCATE ON pay_grantee FOR EACH STATEMENT EXECUTE FUNCTION pay_guard();
SELECT test.try('TRUNCATE pay_grantee');
DROP TRIGGER u ON pay_grantee;
DELETE FROM pay_grantee WHERE role = 'nobody';
-- A guard that somebody adds to one of ours, for whatever it may be: it refuses, or lets pass what is no step.
BEGIN;
CREATE FUNCTION lookalikes_test.ours(name text, definition text, event text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('CREATE ' || definition, event, name);
	answer := test.sqlstate(CASE event WHEN 'INSERT' THEN format('INSERT INTO %1$I SELECT * FROM %1$I LIMIT 1', name)
		WHEN 'UPDATE' THEN format('UPDATE %I SET %s', name, (SELECT format('%1$I = %1$I', attname) FROM pg_attribute WHERE attrelid = name::regclass AND attnum = 1))
		WHEN 'DELETE' THEN format('DELETE FROM %I', name) ELSE format('TRUNCATE %I', name) END);
	EXECUTE format('DROP TRIGGER t ON %I', name);
	RETURN answer;
END
$$;
SELECT name, count(answer) AS tried, string_agg(format('%s: %s', event, answer), '; ') FILTER (WHERE answer <> ALL ('{00000,23505,39P01,PY423}')) AS wrong
FROM unnest('{pay_channel,pay_payment,pay_attempt,pay_event,pay_review,pay_refund,pay_dispute,pay_task,pay_resource,pay_hold}'::text[]) AS n (name),
	unnest(ARRAY['TRIGGER t BEFORE %s ON %I FOR EACH ROW EXECUTE FUNCTION pay_guard()', 'TRIGGER t AFTER %s ON %I FOR EACH ROW EXECUTE FUNCTION pay_guard()',
		'TRIGGER t AFTER %s ON %I FOR EACH STATEMENT EXECUTE FUNCTION pay_guard(''x'')',
		'CONSTRAINT TRIGGER t AFTER %s ON %I DEFERRABLE FOR EACH ROW EXECUTE FUNCTION pay_guard()']) AS d (definition),
	unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) AS e (event),
	lookalikes_test.ours(name, definition, event) AS answer
WHERE NOT (event = 'TRUNCATE' AND definition LIKE '%EACH ROW%')
GROUP BY name ORDER BY name;
ROLLBACK;

SET client_min_messages = error;
DROP SCHEMA lookalikes_test CASCADE;
DROP ROLE regress_lookalikes_user;
