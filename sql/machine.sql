
-- The machines: which states there are and which steps are legal.

COMMENT ON TYPE pay_state IS
	'state of a payment or of an attempt: created, paying, authorized, capturing, unknown, closing, failed, paid, closed, reversed';
COMMENT ON TYPE pay_decision IS
	'what a call answers: proceed, replayed, in_progress, already_paid, unknown, confirm, throttled, unavailable, closed, applied, unchanged, stale, surplus, mismatch, unmatched';
COMMENT ON TYPE pay_refund_state IS
	'state of a refund: requested, processing, succeeded, failed, abnormal, unknown, cancelled, returned';

CREATE FUNCTION pay_can(from_state text, to_state text) RETURNS boolean
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_can(text, text) IS
	'may a payment step from one state to the other? Staying is no step. An unknown state is PY400';

CREATE FUNCTION pay_next(state text) RETURNS text[]
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_next(text) IS 'the states that a payment may step to from this one; empty for a final state';

CREATE FUNCTION pay_is_final(state text) RETURNS boolean
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_is_final(text) IS 'true for a state that no payment ever leaves: paid, closed, reversed';

CREATE FUNCTION pay_steps(OUT machine text, OUT from_state text, OUT to_state text) RETURNS SETOF record
	LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 80 AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_steps() IS
	'every legal step, a row each; machine is payment, attempt or refund. Read from the tables that the code itself uses';

CREATE FUNCTION pay_diagram() RETURNS text
	LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION pay_diagram() IS 'the legal steps as a Graphviz DOT graph: psql -XAtc "SELECT pay_diagram()" | dot -Tsvg';
