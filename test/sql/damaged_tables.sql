-- Silence is no answer: a table that has lost a guard, a CHECK, an index, or is more
-- or less than the ordinary table that pay_install() made, is named by the next call
-- (PY503). pay_install() repairs what it can, and names what it cannot, with the
-- statement that does. Each kind of damage to each table, each undone again.

\i test/sql/include/begin.sql
SET client_min_messages = error;
CREATE SCHEMA damage_test;

CREATE TABLE damage_test.ours AS SELECT relname::text AS name, c.oid
FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 'pay\_%';
SELECT count(*) FROM damage_test.ours;

-- All that a table is made of.
CREATE FUNCTION damage_test.shape() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT string_agg(x, E'\n' ORDER BY x) FROM (
		SELECT format('%s is %s', relname, relpersistence) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname LIKE 'pay\_%'
		UNION ALL SELECT format('%s %s %s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid))
			FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid IN (SELECT oid FROM damage_test.ours) AND attnum > 0 AND NOT attisdropped
		UNION ALL SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid IN (SELECT oid FROM damage_test.ours)
		UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN (SELECT oid FROM damage_test.ours)
		UNION ALL SELECT pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM damage_test.ours)) AS s (x)
$$;
SELECT damage_test.shape() AS whole \gset
CREATE FUNCTION damage_test.call(name text) RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT test.try('SELECT decision FROM pay_query(order_no => ''damaged'', merchant => ''damaged'')')
$$;
CREATE TABLE damage_test.damage (kind text, name text, what text, done text, call text, fault text, remedy text, install text, mended text, call_after text, whole boolean);
-- Does the damage, looks, lets pay_install() repair it, looks again, and takes all of it back.
CREATE FUNCTION damage_test.tell(kind text, name text, what text, done text, whole text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d damage_test.damage;
BEGIN
	d := ROW (kind, name, what, done);
	BEGIN
		EXECUTE done;
		d.call := damage_test.call(name);
		SELECT f.fault, f.remedy INTO d.fault, d.remedy FROM pay_table_fault(name::regclass) f;
		d.install := test.try('SELECT pay_install()');
		IF d.remedy ~ '^(ALTER|DROP) [^;]*;$' THEN
			d.mended := test.try(d.remedy) || ', ' || test.try('SELECT pay_install()');
		END IF;
		d.call_after := damage_test.call(name);
		d.whole := damage_test.shape() = whole;
		RAISE EXCEPTION USING ERRCODE = 'UNDO0';
	EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
		INSERT INTO damage_test.damage SELECT (d).*;
	END;
	RETURN d.call;
END
$$;

CREATE TABLE damage_test.plan (kind text, name text, what text, done text);
INSERT INTO damage_test.plan
SELECT k.kind, o.name, tgname, format(k.done, tgname, o.name, pg_get_triggerdef(t.oid))
FROM damage_test.ours o JOIN pg_trigger t ON tgrelid = o.oid AND NOT tgisinternal, (VALUES
	('guard lost', 'DROP TRIGGER %1$I ON %2$I'), ('guard disabled', 'ALTER TABLE %2$I DISABLE TRIGGER %1$I'),
	('guard for a replica', 'ALTER TABLE %2$I ENABLE REPLICA TRIGGER %1$I'), ('guard always', 'ALTER TABLE %2$I ENABLE ALWAYS TRIGGER %1$I'),
	('guard of less', 'DROP TRIGGER %1$I ON %2$I; CREATE TRIGGER %1$I BEFORE DELETE ON %2$I FOR EACH ROW EXECUTE FUNCTION pay_guard()'),
	('guard of nothing', 'DROP TRIGGER %1$I ON %2$I; CREATE TRIGGER %1$I BEFORE UPDATE ON %2$I FOR EACH ROW WHEN (false) EXECUTE FUNCTION pay_guard()'),
	('another''s guard', 'DROP TRIGGER %1$I ON %2$I; CREATE TRIGGER %1$I BEFORE UPDATE ON %2$I FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()')) AS k (kind, done)
UNION ALL SELECT 'all disabled', name, NULL, format('ALTER TABLE %I DISABLE TRIGGER ALL', name) FROM damage_test.ours
UNION ALL SELECT 'CHECK lost', name, conname, format('ALTER TABLE %I DROP CONSTRAINT %I', name, conname) FROM damage_test.ours o JOIN pg_constraint ON conrelid = o.oid AND contype = 'c'
UNION ALL SELECT 'key lost', name, conname, format('ALTER TABLE %I DROP CONSTRAINT %I', name, conname) FROM damage_test.ours o JOIN pg_constraint ON conrelid = o.oid AND contype IN ('p', 'u')
UNION ALL SELECT 'index lost', name, relname, format('DROP INDEX %I', relname) FROM damage_test.ours o JOIN pg_index ON indrelid = o.oid JOIN pg_class c ON c.oid = indexrelid
	WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
UNION ALL SELECT 'index in the way', name, relname, format('DROP INDEX %I; CREATE INDEX %I ON %I ((1)) WHERE false', relname, relname, name)
	FROM damage_test.ours o JOIN pg_index ON indrelid = o.oid JOIN pg_class c ON c.oid = indexrelid
	WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
UNION ALL SELECT 'NOT NULL lost', name, attname, format('ALTER TABLE %I ALTER COLUMN %I DROP NOT NULL', name, attname) FROM damage_test.ours o JOIN pg_attribute a ON attrelid = o.oid
	WHERE attnotnull AND attnum > 0 AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = o.oid AND contype = 'p' AND attnum = ANY (conkey)) AND attidentity = ''
UNION ALL SELECT 'default lost', name, attname, format('ALTER TABLE %I ALTER COLUMN %I DROP DEFAULT', name, attname) FROM damage_test.ours o JOIN pg_attribute ON attrelid = o.oid WHERE atthasdef
UNION ALL SELECT 'identity lost', name, attname, format('ALTER TABLE %I ALTER COLUMN %I DROP IDENTITY', name, attname) FROM damage_test.ours o JOIN pg_attribute ON attrelid = o.oid WHERE attidentity <> ''
UNION ALL SELECT 'column lost', name, attname, format('ALTER TABLE %I DROP COLUMN %I CASCADE', name, attname) FROM damage_test.ours o JOIN pg_attribute ON attrelid = o.oid WHERE attnum > 0
UNION ALL SELECT 'column of another type', name, attname, format('DROP VIEW pay_balance; ALTER TABLE %I ALTER COLUMN %I TYPE varchar', name, attname)
	FROM damage_test.ours o JOIN pg_attribute ON attrelid = o.oid WHERE attnum > 0 AND atttypid = 'text'::regtype
UNION ALL SELECT 'unlogged', name, NULL, format('ALTER TABLE %I SET UNLOGGED', name) FROM damage_test.ours
UNION ALL SELECT 'rule', name, NULL, format('CREATE RULE "a rule" AS ON INSERT TO %I DO INSTEAD NOTHING', name) FROM damage_test.ours
UNION ALL SELECT 'parent', name, NULL, format('CREATE TABLE damage_test."a parent" (LIKE %1$I); ALTER TABLE %1$I INHERIT damage_test."a parent"', name) FROM damage_test.ours
UNION ALL SELECT 'child', name, NULL, format('CREATE TABLE damage_test."a child" () INHERITS (%I)', name) FROM damage_test.ours
UNION ALL SELECT 'child that left', name, NULL, format('CREATE TABLE damage_test."a child" () INHERITS (%I); DROP TABLE damage_test."a child"', name) FROM damage_test.ours
-- From 17 on, PostgreSQL takes no partition with an identity column.
UNION ALL SELECT 'partition', name, NULL, format('CREATE TABLE damage_test.whole (LIKE %1$I) PARTITION BY RANGE (%2$I); %3$s ALTER TABLE damage_test.whole ATTACH PARTITION %1$I DEFAULT', name, attname,
		(SELECT string_agg(format('ALTER TABLE %I ALTER COLUMN %I DROP IDENTITY;', name, i.attname), ' ') FROM pg_attribute i WHERE i.attrelid = o.oid AND i.attidentity <> ''))
	FROM damage_test.ours o JOIN pg_attribute ON attrelid = o.oid AND attnum = 1;
SELECT damage_test.call(name), count(*) FROM damage_test.ours GROUP BY 1;
SELECT count(damage_test.tell(p.kind, p.name, p.what, p.done, :'whole')) FROM damage_test.plan p;

-- Each kind: what the call says, what pay_install() does, and how it is after that.
SELECT kind, count(*), left(call, 5) AS call, CASE WHEN install LIKE 'PY409%' THEN split_part(regexp_replace(regexp_replace(install, 'public\.pay_\w+|pay_\w+', '<table>'), '"\w+"', '<column>'), ' | ', 1) ELSE install END AS pay_install,
	mended, left(call_after, 7) AS after, whole
FROM damage_test.damage GROUP BY 1, 3, 4, 5, 6, 7 ORDER BY 1, 3, 4, 5, 6, 7;
-- The call says what the table's own look says, and it names what was lost.
SELECT kind, name, what, call, fault FROM damage_test.damage
WHERE (call LIKE 'PY503%') <> (fault IS NOT NULL) OR call LIKE 'PY503%' AND strpos(call, format('"%s" is not as pay_install() makes it | DETAIL: It %s.', name, fault)) = 0
	OR fault IS NOT NULL AND what IS NOT NULL AND kind NOT IN ('key lost', 'index lost', 'index in the way') AND strpos(fault, what) = 0;
-- How it reads, and the way out where pay_install() knows none.
SELECT DISTINCT ON (kind) kind, replace(call, current_user, '<me>') AS call, CASE WHEN install LIKE 'PY%' THEN install END AS pay_install
FROM damage_test.damage WHERE call LIKE 'PY503%' ORDER BY kind, name COLLATE "C", what COLLATE "C";
-- What is lost with nothing in it comes back; all else is in the way.
SELECT name, string_agg(what, ' ' ORDER BY what COLLATE "C") AS come_back
FROM damage_test.damage WHERE kind = 'column lost' AND install = '' GROUP BY name ORDER BY name COLLATE "C";
-- There is a CHECK and a guard in the library for each that pay_install() makes, and none that it does not make: then no call would work.
SELECT kind, count(*) FILTER (WHERE call NOT LIKE 'PY503%') AS unseen FROM damage_test.damage WHERE kind IN ('guard lost', 'CHECK lost') GROUP BY kind ORDER BY kind;

-- ---- rows that break what is missing ----

SET client_min_messages = notice;
BEGIN;
SELECT test.put('damaged', 'A1', 'paying', '{paying}') IS NOT NULL AS put;
ALTER TABLE pay_task DROP CONSTRAINT pay_task_attempt_check;
INSERT INTO pay_task (due_at, pay_no, attempt) VALUES ('infinity', test.number('damaged', 'A1'), -5);
ALTER TABLE pay_review ALTER COLUMN source DROP NOT NULL;
INSERT INTO pay_review (about_money, kind, trade_no) VALUES (false, 'damaged', 'x');
SELECT pay_install();
SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'pay_task'::regclass AND contype = 'c' ORDER BY conname;
SELECT decision FROM pay_query(order_no => 'A1', merchant => 'damaged');
SELECT test.sqlstate('UPDATE pay_task SET tries = 1 WHERE attempt = -5') AS step, test.sqlstate($$INSERT INTO pay_task (due_at, pay_no, attempt) VALUES ('infinity', test.number('damaged', 'A1'), 64)$$) AS new_row;
-- Two rows of one key: PostgreSQL's own words.
DROP INDEX pay_grantee_key;
SET LOCAL session_replication_role = replica;
INSERT INTO pay_grantee VALUES ('nobody', 'app'), ('nobody', 'app');
SET LOCAL session_replication_role = origin;
SELECT test.try('SELECT pay_install()');
ROLLBACK;
SET client_min_messages = warning;

-- ---- CHECKs that are new ----

BEGIN;
SELECT value, test.sqlstate(format('UPDATE pay_channel SET resubmit_after = %L WHERE route = 1', value)) AS resubmit_after, test.sqlstate(format('UPDATE pay_channel SET timeout = %L WHERE route = 1', value)) AS timeout
FROM unnest('{30 s,0,1000 years,1000 years 1 day,178000000 years,-1 s,5000000 years -1826250000 days,5000000 years -1799999999 days,-5000000 years 1800000001 days,-1 day 25 hours,2562047788 hours,2562047788 hours -1000 years,300000 years -2562047788 hours -7000000 days}'::text[]) AS v (value);
SELECT attempt, tries, test.sqlstate(format('INSERT INTO pay_task (due_at, pay_no, attempt, tries) VALUES (now(), gen_random_uuid(), %s, %s)', attempt, tries)) AS task
FROM (VALUES (0, 0), (63, 32767), (-5, 0), (64, 0), (1, -1)) AS v (attempt, tries);
SELECT kind, test.sqlstate(format('INSERT INTO pay_review (about_money, kind, source, trade_no, message_id) VALUES (false, %L, %1$L, %1$L, gen_random_uuid())', kind)) AS review
FROM unnest('{mismatch,unmatched,conflict,adopted,abnormal,exhausted,surplus,damaged,other,""}'::text[]) AS k (kind);
SELECT attempt, test.sqlstate(format('INSERT INTO pay_review (about_money, kind, source, trade_no, message_id, attempt) VALUES (false, %L, %1$L, %1$L, gen_random_uuid(), %s)', 'mismatch', attempt)) AS review
FROM unnest('{0,63,-1,64}'::integer[]) AS a (attempt);
SELECT position, test.sqlstate(format('INSERT INTO pay_hold (pay_no, quantity, position, state, resource) VALUES (gen_random_uuid(), 1, %s, %L, %2$L)', position, 'held')) AS hold
FROM unnest('{1,0,-1}'::integer[]) AS p (position);
ROLLBACK;

-- ---- the next call sees it, and sees that it is over ----

BEGIN;
SELECT damage_test.call('pay_payment');
ALTER TABLE pay_event DISABLE TRIGGER pay_guard_before;
SELECT split_part(damage_test.call('pay_payment'), ' | HINT', 1);
-- also a guard of another table, that of a table of no importance
SELECT split_part(test.try('UPDATE pay_payment SET payer = ''ada'' WHERE merchant = ''damaged'''), ' | HINT', 1), split_part(test.try('UPDATE pay_channel SET max_attempts = 3 WHERE route = 1'), ' | HINT', 1);
SELECT pay_trusts('pay_event') AS event, pay_trusts('pay_payment') AS payment, pay_trusts('pay_balance') AS balance, pay_trusts('pg_class') AS other, pay_trusts(0) AS none, pay_trusts(NULL) AS unknown;
SELECT * FROM pay_table_fault('pay_event') UNION ALL SELECT * FROM pay_table_fault('pay_payment') UNION ALL SELECT * FROM pay_table_fault('pg_class') UNION ALL SELECT * FROM pay_table_fault(0);
ALTER TABLE pay_event ENABLE TRIGGER pay_guard_before;
SELECT damage_test.call('pay_payment'), pay_trusts('pay_event');
ROLLBACK;

DROP SCHEMA damage_test CASCADE;
