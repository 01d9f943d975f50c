-- What must hold of the tables afterwards: hard.violation has a row for each thing
-- that does not. The checks are those of the refunds under fire and of the storm;
-- identity.sql, replay.sql and check.sql come first.
--
-- Payments whose rows direct DML may have damaged go first; of what the storm checks of
-- the history, another system's payments are left out, and so are the checks that know
-- how the storm calls.

CREATE SCHEMA hard;

CREATE TABLE hard.dirty AS
	SELECT pay_no FROM fuzz.dirty
	UNION SELECT pay_no FROM pay_payment WHERE merchant NOT IN ('', 'm1', 'm2');
CREATE TABLE hard.imported AS
	SELECT DISTINCT pay_no FROM pay_event WHERE source = 'import';
CREATE INDEX ON hard.imported (pay_no);
ANALYZE hard.dirty, hard.imported;

SET session_replication_role = replica;
DO $$
DECLARE
	relation text;
BEGIN
	FOR relation IN
		SELECT c.oid::regclass FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'pay\_%' AND a.attname = 'pay_no'
	LOOP
		EXECUTE format('DELETE FROM %s WHERE pay_no IN (SELECT pay_no FROM hard.dirty)', relation);
	END LOOP;
END
$$;
RESET session_replication_role;

CREATE VIEW hard.violation AS
	SELECT v."check", v.pay_no, v.what FROM identity.violation v
UNION ALL
	SELECT v."check", v.pay_no, v.what FROM replay.violation v
	WHERE v."check" IN ('running cap', 'refund chain', 'refund state', 'refund decision')
		AND NOT EXISTS (SELECT FROM hard.imported i WHERE i.pay_no = v.pay_no)
UNION ALL
	SELECT v."check", v.pay_no, v.what FROM storm.violation v
	WHERE v."check" IN ('numbering', 'payment chain', 'attempt chain', 'legal step', 'payment state', 'attempt state', 'winner', 'message', 'routes',
			'number', 'one payment')
		AND NOT EXISTS (SELECT FROM hard.imported i WHERE i.pay_no = v.pay_no);
