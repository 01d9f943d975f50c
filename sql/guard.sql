
-- Triggers that stop whoever goes around the functions.

CREATE FUNCTION pay_guard() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_guard() IS
	'guards pay_idem''s own tables: refuses illegal steps and changes of what is immutable (PY409, PY423), logs a legal direct UPDATE as an event';

CREATE FUNCTION pay_state_guard() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_state_guard() IS
	'BEFORE UPDATE ... FOR EACH ROW EXECUTE FUNCTION pay_state_guard(''column''): refuses a step of this pay_state column that is not legal for a payment (PY409)';
