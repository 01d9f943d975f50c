-- What the fuzz needs in a database besides the extension: places for calls to
-- stand in, decoys for strange search_paths, and the list of what direct DML may have
-- damaged. The extension is in :schema.

CREATE SCHEMA fuzz;
GRANT USAGE ON SCHEMA fuzz TO PUBLIC;

CREATE TABLE fuzz.dirty (pay_no uuid PRIMARY KEY);
COMMENT ON TABLE fuzz.dirty IS 'payments whose rows direct DML may have damaged';
-- those that no payment has, which it writes into rows all the same
INSERT INTO fuzz.dirty VALUES ('00000000-0000-0000-0000-000000000000'), ('00000000-0000-8000-8000-000000000000'), ('ffffffff-ffff-ffff-ffff-ffffffffffff'),
	('01a22b70-ec51-8003-8134-cdc9c3e99255');

CREATE TABLE fuzz.sink (n bigint PRIMARY KEY);
CREATE TABLE fuzz.big AS SELECT n, repeat('x', 50) AS filler FROM generate_series(1, 20000) n;
ANALYZE fuzz.big;

-- Tries a statement in an EXCEPTION block and says what came of it.
CREATE FUNCTION fuzz.try(statement text, OUT state text, OUT message text)
	LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	state := '00000';
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	state := SQLSTATE;
	message := SQLERRM;
END
$$;

CREATE FUNCTION fuzz.definer(statement text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS 'BEGIN EXECUTE statement; END';

-- Triggers that call: before and after a row, after a statement, at the commit.
CREATE FUNCTION fuzz.calls() RETURNS trigger
	LANGUAGE plpgsql AS $$
BEGIN
	IF TG_TABLE_SCHEMA <> 'fuzz' THEN	-- on a table of the extension, in the database where that may be
		PERFORM * FROM pay_steps();
	ELSIF TG_LEVEL = 'STATEMENT' THEN
		EXECUTE (SELECT call FROM new_rows LIMIT 1);
	ELSE
		EXECUTE NEW.call;
	END IF;
	RETURN NEW;
END
$$;
CREATE FUNCTION fuzz.does_nothing() RETURNS trigger
	LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';

CREATE TABLE fuzz.before_row (call text);
CREATE TRIGGER calls BEFORE INSERT ON fuzz.before_row FOR EACH ROW EXECUTE FUNCTION fuzz.calls();
CREATE TABLE fuzz.after_row (call text);
CREATE TRIGGER calls AFTER INSERT ON fuzz.after_row FOR EACH ROW EXECUTE FUNCTION fuzz.calls();
CREATE TABLE fuzz.after_statement (call text);
CREATE TRIGGER calls AFTER INSERT ON fuzz.after_statement REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION fuzz.calls();
CREATE TABLE fuzz.deferred (call text);
CREATE CONSTRAINT TRIGGER calls AFTER INSERT ON fuzz.deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fuzz.calls();

-- What a careless search_path finds first: tables of our names, and = and < on text.
CREATE SCHEMA decoy;
GRANT USAGE ON SCHEMA decoy TO PUBLIC;
CREATE TABLE decoy.pay_payment (pay_no text, state integer, merchant bytea);
CREATE TABLE decoy.pay_channel (route text);
CREATE FUNCTION decoy.trap(text, text) RETURNS boolean
	LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a decoy was called'; END $$;
CREATE OPERATOR decoy.= (LEFTARG = text, RIGHTARG = text, FUNCTION = decoy.trap);
CREATE OPERATOR decoy.< (LEFTARG = text, RIGHTARG = text, FUNCTION = decoy.trap);
CREATE FUNCTION decoy.now() RETURNS timestamptz
	LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a decoy was called'; END $$;
