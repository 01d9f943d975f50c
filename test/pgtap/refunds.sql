-- The refund matrix: what every report about money that leaves does, as
-- test/matrix/refunds.md says it, and what each verdict does with every review that
-- comes of one. That file explains itself; here it is read. Each cell has an order of
-- its own, which the public functions alone bring into its situation. A failing
-- assertion names the line in the file, what was to come, and what came.

BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pay_idem;
SELECT pay_install();
-- Plans are made while the tables are empty, and then these grow.
SET LOCAL enable_seqscan = off;
SET LOCAL jit = off;
CREATE INDEX ON pay_review (pay_no);
CREATE INDEX ON pay_review (message_id) WHERE pay_no IS NULL;

CREATE SCHEMA refunds;

-- ---- the file ----

CREATE TABLE refunds.line (n integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text);
\copy refunds.line (text) FROM 'test/matrix/refunds.md' WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')

-- Its tables, each row with the heading that it is under.
CREATE TABLE refunds.written AS
SELECT n, heading, ARRAY(SELECT btrim(c) FROM unnest(string_to_array(btrim(text, '|'), '|')) WITH ORDINALITY AS u (c, i) ORDER BY i) AS cells
FROM refunds.line l, LATERAL (
	SELECT h.text FROM refunds.line h WHERE h.n < l.n AND h.text LIKE '#%' ORDER BY h.n DESC LIMIT 1) AS h (heading)
WHERE text LIKE '|%' AND text NOT LIKE '|-%';

CREATE TABLE refunds.state (i integer, state text);
INSERT INTO refunds.state SELECT i, s FROM unnest('{requested,processing,unknown,abnormal,succeeded,failed,returned,cancelled}'::text[]) WITH ORDINALITY AS u (s, i);
CREATE FUNCTION refunds.takes(state text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
	SELECT state IN ('requested', 'processing', 'unknown', 'abnormal', 'succeeded')
$$;

-- A row for each attempt that it is about.
CREATE TABLE refunds.situation AS
SELECT row_number() OVER (ORDER BY n, i)::integer AS id, n AS line, substring(heading from '### ([\w-]+)') AS kind, cells,
	split_part(cells[1], ',', 1) AS state, cells[1] AS refund, attempt, i = 1 AS is_first, cells[3] AS sums, cells[4] AS reported,
	substring(cells[4] from '\d+')::bigint AS told, cells[14] AS built_by,
	CASE WHEN heading ~ '### (dispute|surplus)' THEN 100 ELSE coalesce(substring(cells[14] from '=(\d+)')::bigint, 60) END AS amount
FROM refunds.written, regexp_split_to_table(cells[2], ', ') WITH ORDINALITY AS a (attempt, i)
WHERE heading LIKE '### %' AND cells[1] <> 'refund';

-- What each verdict does with which review.
CREATE FUNCTION refunds.words(cell text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
	SELECT regexp_split_to_array(cell, ', | or ')
$$;
CREATE TABLE refunds.verdict AS
SELECT n AS line, CASE WHEN cells[1] LIKE '% of %' THEN ARRAY(SELECT split_part(cells[1], ' of ', 1) || ' of ' || w FROM unnest(refunds.words(split_part(cells[1], ' of ', 2))) AS w)
		ELSE ARRAY[cells[1]] END AS reviews,
	refunds.words(cells[2]) AS kinds, refunds.words(cells[3]) AS states, refunds.words(cells[4]) AS reported,
	cells[5] AS accept, cells[6] AS alias, cells[7] AS same, cells
FROM refunds.written WHERE heading = '## Verdicts' AND cardinality(cells) = 7 AND cells[1] <> 'review';

CREATE TABLE refunds.impossible AS
SELECT refunds.words(cells[1]) AS kinds, refunds.words(replace(cells[2], 'requested, ', 'requested ')) AS states, refunds.words(cells[3]) AS attempts
FROM refunds.written WHERE heading = '## What cannot be' AND cells[2] <> 'state';

-- ---- the cells: one report, delivered in one way ----

-- What there is to see: the refund, what the attempt's row sums up, all refunds, the
-- open reviews by kind, and what does not balance.
CREATE TYPE refunds.sight AS (state text, amount bigint, channel_txn text, sums text, overdrawn bigint, refunds text[], reviews text[],
	seq integer, unbalanced text);

CREATE TABLE refunds.cell (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, situation integer, way text, named boolean, reported text,
	amount bigint, wrong text, expected text,
	merchant text, pay_no uuid, trade_no text, refund_no text, before refunds.sight, after refunds.sight, decision text, got text, failure text,
	event text, replayed text, spendable text);

-- Ways: by the refund's own number; by the channel's transaction given as its number,
-- or beside a number that nobody knows; by our own step. What nobody knows: without a
-- transaction and with one.
INSERT INTO refunds.cell (situation, way, named, reported, amount, expected)
SELECT s.id, w.way, w.named, t.state, s.told,
	CASE WHEN cell NOT LIKE '%!' AND cell NOT LIKE '%~%' THEN cell
		WHEN w.way <> 'own' THEN btrim(split_part(rtrim(cell, ' !'), '~', 1))
		WHEN cell LIKE '%!' THEN 'PY409'
		ELSE btrim(split_part(cell, '~', 2)) END
FROM refunds.situation s
	JOIN (VALUES ('number', false), ('own', false), ('number', true), ('txn as number', true), ('txn', true), ('own', true),
		('nobody', false), ('nobody', true)) AS w (way, named) ON (s.kind = 'none') = (w.way = 'nobody')
	CROSS JOIN refunds.state t, LATERAL (SELECT s.cells[4 + t.i]) AS c (cell)
WHERE (s.is_first OR NOT w.named)
	-- our own step brings no amount
	AND (w.way <> 'own' OR s.told = s.amount);
-- What does not fit, in the first way, once for each line. What the channel started
-- may have another amount: those are lines of their own.
INSERT INTO refunds.cell (situation, way, named, reported, amount, wrong, expected)
SELECT s.id, CASE s.kind WHEN 'none' THEN 'nobody' ELSE 'number' END, false, t.state,
	CASE w.wrong WHEN 'amount' THEN w.told ELSE s.told END, w.wrong, s.cells[13]
FROM refunds.situation s, (VALUES ('amount', '{requested,processing,unknown,abnormal,succeeded,failed,returned,cancelled}'::text[], 30::bigint),
		('amount', '{requested,processing,unknown,abnormal,succeeded,failed,returned,cancelled}', 110),
		('currency', '{processing,succeeded}', NULL), ('channel', '{succeeded}', NULL), ('kind', '{succeeded,failed}', NULL),
		('attempt', '{succeeded}', NULL), ('number', '{succeeded}', NULL)) AS w (wrong, states, told)
	JOIN refunds.state t ON t.state = ANY (w.states)
WHERE s.is_first AND s.cells[13] <> '-' AND CASE w.wrong
	WHEN 'amount' THEN s.kind IN ('refund', 'dispute', 'surplus', 'extra')
	WHEN 'number' THEN s.kind = 'none'
	WHEN 'kind' THEN s.kind <> 'none'
	WHEN 'attempt' THEN s.kind <> 'none'
	ELSE true END;
-- Another transaction of what succeeded by one.
INSERT INTO refunds.cell (situation, way, named, reported, amount, wrong, expected)
SELECT s.id, w.way, true, 'succeeded', s.told, 'transaction', s.cells[13]
FROM refunds.situation s, (VALUES ('number'), ('own')) AS w (way)
WHERE s.is_first AND s.kind <> 'none' AND s.state = 'succeeded' AND s.told = s.amount;

-- ---- what there is to see ----

-- Each attempt's row says what its refunds say, and the view and the payment say the same.
CREATE FUNCTION refunds.unbalanced(this uuid) RETURNS text LANGUAGE sql STABLE AS $$
	WITH a AS (
		SELECT t.attempt, coalesce(t.amount_collected, 0) AS collected, coalesce(t.amount_extra, 0) AS extra, coalesce(t.amount_reserved, 0) AS reserved,
			coalesce(t.amount_refunded, 0) AS refunded, coalesce(t.amount_overdrawn, 0) AS overdrawn,
			coalesce(sum(r.amount) FILTER (WHERE r.state IN ('requested', 'processing', 'unknown', 'abnormal')), 0) AS of_reserved,
			coalesce(sum(r.amount) FILTER (WHERE r.state = 'succeeded'), 0) AS of_refunded
		FROM pay_payment p JOIN pay_attempt t ON t.trade_no = ANY (pay_trade_nos(p.pay_no, p.routes))
			LEFT JOIN pay_refund r ON (r.pay_no, r.attempt) = (t.pay_no, t.attempt) AND r.kind <> 'extra'
		WHERE p.pay_no = this GROUP BY t.trade_no
	), whole AS (
		SELECT bool_and((reserved, refunded, overdrawn) = (of_reserved, of_refunded, greatest(of_reserved + of_refunded - collected, 0))) AS by_attempt,
			sum(collected + extra) AS collected, sum(overdrawn) AS overdrawn
		FROM a
	)
	SELECT format('%s; %s', b, (SELECT string_agg(a::text, ', ') FROM a))
	FROM pay_payment p JOIN pay_balance b USING (pay_no), whole
	WHERE p.pay_no = this AND (whole.by_attempt AND (b.collected, b.overdrawn) = (whole.collected, whole.overdrawn)
		AND b.refundable >= 0 AND b.refundable + b.reserved + b.refunded = b.collected + b.overdrawn
		AND p.amount_refunded = coalesce((SELECT least(refunded, collected) FROM a WHERE a.attempt = p.winner), 0)) IS NOT TRUE
$$;

CREATE FUNCTION refunds.look(c refunds.cell) RETURNS refunds.sight LANGUAGE plpgsql STABLE AS $$
DECLARE
	seen refunds.sight;
BEGIN
	SELECT r.state, r.amount, r.channel_txn INTO seen.state, seen.amount, seen.channel_txn
	FROM pay_refund r WHERE r.merchant = c.merchant AND r.refund_no = c.refund_no;
	SELECT format('%s/%s', coalesce(a.amount_reserved, 0), coalesce(a.amount_refunded, 0)) || coalesce('/' || nullif(a.amount_overdrawn, 0), ''),
		coalesce(a.amount_overdrawn, 0)
	INTO seen.sums, seen.overdrawn FROM pay_attempt a WHERE a.trade_no = c.trade_no::uuid;
	seen.refunds := ARRAY(SELECT concat_ws(' ', r.refund_no, r.kind, r.state, r.amount) FROM pay_refund r WHERE r.pay_no = c.pay_no ORDER BY r.refund_no);
	seen.reviews := ARRAY(SELECT v.kind FROM pay_review v WHERE v.pay_no = c.pay_no AND v.verdict IS NULL
		UNION ALL SELECT v.kind FROM pay_review v WHERE v.pay_no IS NULL AND v.message_id = 'M' || c.id AND v.verdict IS NULL ORDER BY kind);
	seen.seq := (SELECT p.last_seq FROM pay_payment p WHERE p.pay_no = c.pay_no);
	seen.unbalanced := refunds.unbalanced(c.pay_no);
	RETURN seen;
END
$$;

-- ---- building a situation ----

CREATE FUNCTION refunds.pay(c refunds.cell, trade_no text, txn text, amount bigint DEFAULT 100) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pay_callback(channel => 'test', callback_id => NULL, trade_no => trade_no, reported => 'paid', amount => amount, currency => 'CNY', channel_txn => txn);
END
$$;
CREATE FUNCTION refunds.open(merchant text, order_no text, request_id text) RETURNS text LANGUAGE sql AS $$
	SELECT trade_no FROM pay_prepay(order_no => order_no, amount => 100, currency => 'CNY', merchant => merchant, channel => 'test',
		method => 'test', request_id => request_id, multi => true)
$$;

-- The attempt, without any refund that counts: what it collected too much failed to go back.
CREATE FUNCTION refunds.begin(c refunds.cell, kind text, attempt text) RETURNS refunds.cell LANGUAGE plpgsql AS $$
DECLARE
	other text;
BEGIN
	c.merchant := 'refunds ' || c.id;
	c.trade_no := refunds.open(c.merchant, 'order', 'R1');
	c.pay_no := (SELECT a.pay_no FROM pay_attempt a WHERE a.trade_no = c.trade_no::uuid);
	CASE attempt
		WHEN 'winner' THEN
			PERFORM refunds.pay(c, c.trade_no, 'pi_1');
		WHEN 'surplus' THEN
			other := refunds.open(c.merchant, 'order', 'R2');
			PERFORM refunds.pay(c, other, 'pi_0'), refunds.pay(c, c.trade_no, 'pi_1');
			IF kind <> 'surplus' THEN
				PERFORM pay_refund_transition(refund_no => c.trade_no || 's', to_state => 'failed', merchant => c.merchant);
			END IF;
		WHEN 'authorized' THEN
			PERFORM pay_callback(channel => 'test', callback_id => NULL, trade_no => c.trade_no, reported => 'authorized', amount => 100, currency => 'CNY');
		WHEN 'paying' THEN
	END CASE;
	RETURN c;
END
$$;

-- One word of how the situation is built; refund_no is the refund's number from then on.
CREATE FUNCTION refunds.build(c refunds.cell, word text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	second text;
	txn CONSTANT text := CASE WHEN c.named THEN 're_1' END;
BEGIN
	CASE
		WHEN word IN ('-', 'claim') THEN
		WHEN word = 'refund' THEN
			PERFORM pay_refund(trade_no => c.trade_no, refund_no => 'R1', amount => 60, reason => 'wrong size');
			RETURN 'R1';
		WHEN word = 'other' THEN
			PERFORM pay_refund(trade_no => c.trade_no, refund_no => 'R2', amount => 60, reason => 'another one');
		WHEN word = 'surplus' THEN
			RETURN c.trade_no || 's';
		WHEN word = 'extra' THEN
			PERFORM refunds.pay(c, c.trade_no, 'pi_2', 60);
			RETURN (SELECT (SELECT refund_no FROM pay_review_resolve(review_id, 'refund', 'paid twice')) FROM pay_review v
				WHERE v.pay_no = c.pay_no AND verdict IS NULL);
		WHEN word = 'dispute' THEN
			second := refunds.open(c.merchant, 'the same', 'R1');
			PERFORM refunds.pay(c, second, 'pi_9');
			RETURN (SELECT refund_no FROM pay_dispute_resolve((SELECT dispute_id FROM pay_dispute_open(c.trade_no, second, 'ordered once')), 'refund', 'it is'));
		WHEN word ~ '^(chargeback|by-channel)' THEN
			RETURN word;
		WHEN c.refund_no ~ '^(chargeback|by-channel)' THEN
			-- that is all there is to know of it yet: now it comes
			PERFORM pay_refund_callback(channel => 'test', callback_id => NULL, refund_no => 'theirs', reported => word,
				amount => coalesce(substring(c.refund_no from '=(\d+)')::bigint, 60), currency => 'CNY', trade_no => c.trade_no,
				channel_txn => txn, merchant => c.merchant, kind => CASE WHEN c.refund_no LIKE 'chargeback%' THEN 'chargeback' ELSE 'refund' END);
			RETURN 'theirs';
		WHEN word = 'named' THEN
			PERFORM pay_refund_transition(refund_no => c.refund_no, to_state => (SELECT state::text FROM pay_refund r
				WHERE r.merchant = c.merchant AND r.refund_no = c.refund_no), channel_txn => 're_1', merchant => c.merchant);
		WHEN word LIKE 'own:%' THEN
			PERFORM pay_refund_transition(refund_no => c.refund_no, to_state => substr(word, 5), merchant => c.merchant);
		ELSE
			PERFORM pay_refund_callback(channel => 'test', callback_id => NULL, refund_no => c.refund_no, reported => word, merchant => c.merchant,
				kind => CASE WHEN EXISTS (SELECT FROM pay_refund r WHERE r.merchant = c.merchant AND r.refund_no = c.refund_no AND r.kind = 'chargeback')
					THEN 'chargeback' ELSE 'refund' END);
	END CASE;
	RETURN c.refund_no;
END
$$;

DO $$
DECLARE
	c refunds.cell;
	s refunds.situation;
	word text;
	claiming boolean;
BEGIN
	-- A claim hands out whatever is due: so those first that it is about, then the others.
	FOR claiming IN SELECT unnest('{true,false}'::boolean[]) LOOP
		FOR s IN SELECT * FROM refunds.situation WHERE (built_by LIKE '%claim%') = claiming ORDER BY id LOOP
			FOR c IN SELECT * FROM refunds.cell WHERE situation = s.id ORDER BY id LOOP
				BEGIN
					c := refunds.begin(c, substring(s.built_by from '^[a-z-]+'), s.attempt);
					FOREACH word IN ARRAY string_to_array(s.built_by || CASE WHEN c.named AND s.kind IN ('refund', 'dispute', 'surplus', 'extra')
							THEN ' named' ELSE '' END, ' ') LOOP
						c.refund_no := refunds.build(c, word);
					END LOOP;
				EXCEPTION WHEN OTHERS THEN
					c.failure := 'not built: ' || SQLERRM;
				END;
				UPDATE refunds.cell SET merchant = c.merchant, pay_no = c.pay_no, trade_no = c.trade_no, failure = c.failure,
					refund_no = CASE s.kind WHEN 'none' THEN 're_9' ELSE c.refund_no END
				WHERE id = c.id;
			END LOOP;
		END LOOP;
		IF claiming THEN
			PERFORM pay_claim('refunds', 10000, '1 hour', '{submit_refund}');
		END IF;
	END LOOP;
END
$$;

-- ---- a cell ----

-- Delivers one report. Of an error the SQLSTATE is the decision.
CREATE FUNCTION refunds.tell(c refunds.cell, kind text, reported_as text, OUT decision text, OUT state text, OUT detail text) LANGUAGE plpgsql AS $$
DECLARE
	txn CONSTANT text := CASE WHEN c.wrong = 'transaction' THEN 're_2' WHEN c.way = 'nobody' AND c.named THEN 'tx_9' WHEN c.way = 'txn' THEN 're_1' END;
BEGIN
	IF c.way = 'own' THEN
		SELECT r.decision, r.state, r.detail INTO decision, state, detail
		FROM pay_refund_transition(refund_no => c.refund_no, to_state => c.reported, channel_txn => txn, merchant => c.merchant) AS r;
	ELSE
		SELECT r.decision, r.state, r.detail INTO decision, state, detail
		FROM pay_refund_callback(channel => CASE c.wrong WHEN 'channel' THEN 'alipay' ELSE 'test' END, callback_id => 'M' || c.id,
			refund_no => CASE WHEN c.wrong = 'number' THEN c.trade_no || 'd1' WHEN c.way = 'txn as number' THEN 're_1' WHEN c.way = 'txn' THEN 're_8' ELSE c.refund_no END,
			reported => c.reported, amount => c.amount, currency => CASE c.wrong WHEN 'currency' THEN 'USD' ELSE 'CNY' END,
			trade_no => CASE
				WHEN reported_as LIKE '% without trade_no' THEN NULL
				WHEN reported_as LIKE '% by the payment''s number' THEN c.pay_no::text
				WHEN c.wrong = 'attempt' THEN refunds.open(c.merchant, 'another', 'R1')
				ELSE c.trade_no END,
			channel_txn => txn, payload => NULL,
			kind => CASE WHEN (kind = 'chargeback' OR reported_as LIKE 'chargeback%') <> (c.wrong IS NOT DISTINCT FROM 'kind') THEN 'chargeback' ELSE 'refund' END,
			merchant => c.merchant || CASE WHEN reported_as LIKE '% of another merchant' THEN ' of another' ELSE '' END) AS r;
	END IF;
EXCEPTION WHEN OTHERS THEN
	decision := SQLSTATE;
END
$$;

-- What came of it, in the words of the file.
CREATE FUNCTION refunds.in_words(decision text, before refunds.sight, after refunds.sight) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT concat_ws(' ', nullif(decision, 'applied'),
		CASE WHEN decision = 'applied' THEN after.state || ' ' || after.sums
			WHEN (after.state, after.sums, after.refunds) IS DISTINCT FROM (before.state, before.sums, before.refunds) THEN format('and now %s', after.refunds) END,
		(SELECT string_agg('+' || kind, ' ' ORDER BY kind) FROM (
			SELECT kind, count(*) AS n FROM unnest(after.reviews) AS kind GROUP BY kind) AS a
			WHERE n > (SELECT count(*) FROM unnest(before.reviews) AS b (kind) WHERE b.kind = a.kind)))
$$;

CREATE FUNCTION refunds.deliver(c refunds.cell, s refunds.situation) RETURNS refunds.cell LANGUAGE plpgsql AS $$
DECLARE
	answer record;
	again record;
	later refunds.sight;
BEGIN
	c.before := refunds.look(c);
	answer := refunds.tell(c, s.kind, s.reported);
	c.decision := answer.decision;
	c.after := refunds.look(c);
	c.got := refunds.in_words(answer.decision, c.before, c.after);

	-- The answer and the event say what the row says.
	SELECT format('%s; events: %s', answer, string_agg(e::text, '; ' ORDER BY e.seq)) INTO c.event
	FROM pay_event e WHERE e.pay_no = c.pay_no AND e.seq > (c.before).seq
	HAVING count(*) <> CASE WHEN answer.decision IN ('PY409', 'unmatched') THEN 0 ELSE 1 END
		OR answer.state IS DISTINCT FROM CASE WHEN answer.decision IN ('PY409', 'unmatched') THEN NULL ELSE (c.after).state END
		OR count(*) FILTER (WHERE (e.refund_before::text, e.refund_after::text, e.refund_reported::text, e.decision::text)
				IS NOT DISTINCT FROM ((c.before).state, (c.after).state, c.reported, answer.decision)
			AND (e.refund_no = c.refund_no OR c.wrong = 'number')
			AND e.message_id IS NOT DISTINCT FROM CASE WHEN c.way <> 'own' THEN 'M' || c.id END) <> count(*)
		OR answer.decision = 'applied' AND (c.after).overdrawn > 0 AND coalesce(answer.detail, '') NOT LIKE '%' || (c.after).overdrawn || ' more left than%';

	-- The same again.
	again := refunds.tell(c, s.kind, s.reported);
	later := refunds.look(c);
	IF again.decision IS DISTINCT FROM (CASE WHEN answer.decision IN ('PY409', 'unmatched') THEN answer.decision
			WHEN c.way <> 'own' THEN 'replayed' WHEN answer.decision = 'applied' THEN 'unchanged' ELSE answer.decision END)
		OR again.decision = 'replayed' AND again.state IS DISTINCT FROM answer.state
		OR (later.state, later.amount, later.sums, later.refunds, later.reviews)
			IS DISTINCT FROM ((c.after).state, (c.after).amount, (c.after).sums, (c.after).refunds, (c.after).reviews)
		OR later.seq <> (c.after).seq AND c.way <> 'own'
	THEN
		c.replayed := format('%s, then %s; now %s', answer, again, later);
	END IF;

	-- Nothing more goes out where too much went.
	IF (c.after).overdrawn > 0 THEN
		BEGIN
			c.spendable := (SELECT 'refunded more: ' || r FROM pay_refund(trade_no => c.trade_no, refund_no => 'one', amount => 1, reason => 'more') AS r);
		EXCEPTION WHEN SQLSTATE 'PY409' THEN
		END;
	END IF;
	RETURN c;
END
$$;

DO $$
DECLARE
	c refunds.cell;
	s refunds.situation;
BEGIN
	FOR s IN SELECT * FROM refunds.situation ORDER BY id LOOP
		FOR c IN SELECT * FROM refunds.cell WHERE situation = s.id AND failure IS NULL ORDER BY id LOOP
			c := refunds.deliver(c, s);
			UPDATE refunds.cell SET before = c.before, after = c.after, decision = c.decision, got = c.got, event = c.event,
				replayed = c.replayed, spendable = c.spendable
			WHERE id = c.id;
		END LOOP;
	END LOOP;
END
$$;

-- ---- the reviews that came of it: each verdict ----

CREATE TABLE refunds.judged (cell integer, review bigint, is_of text, state text, reported text, line integer, lines integer, verdict text, wrong text);

-- What a verdict did, against the word of the file; NULL if it is that.
CREATE FUNCTION refunds.wrong(word text, v pay_review, subject text, was refunds.sight, now refunds.sight, c refunds.cell) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
	r pay_refund;
	as_it_was CONSTANT boolean := (was.refunds, was.sums) = (now.refunds, now.sums);
	told CONSTANT bigint := nullif(v.amount, 0);
BEGIN
	SELECT * INTO r FROM pay_refund p WHERE p.merchant = c.merchant AND p.refund_no = subject;
	IF (CASE word
		WHEN 'nothing' THEN as_it_was
		WHEN 'named' THEN as_it_was AND r.channel_txn = coalesce(v.channel_txn, v.refund_no)
		WHEN 'as reported' THEN r.state = v.refund_reported
			AND (NOT refunds.takes(r.state::text) OR r.amount = coalesce(told, r.amount)) AND cardinality(now.refunds) = cardinality(was.refunds)
			AND (v.kind <> 'twin' OR r.channel_txn = coalesce(v.channel_txn, v.refund_no))
		WHEN 'came back' THEN CASE WHEN told < was.amount THEN r.state = 'succeeded' AND r.amount = was.amount - told ELSE r.state = 'returned' AND r.amount = was.amount END
		WHEN 'a new one' THEN cardinality(now.refunds) = cardinality(was.refunds) + 1 AND EXISTS (
			SELECT FROM pay_refund p WHERE p.merchant = c.merchant AND p.adopted AND p.state = v.refund_reported
				AND p.refund_no = CASE WHEN c.wrong = 'transaction' THEN v.channel_txn ELSE v.refund_no END
				AND p.amount = coalesce(told, was.amount) AND p.kind = coalesce(v.refund_kind, 'refund'))
		ELSE false END)
	THEN
		RETURN NULL;
	END IF;
	RETURN format('expected %s, was %s, now %s', word, was, now);
END
$$;

CREATE FUNCTION refunds.judge(c refunds.cell, s refunds.situation, v pay_review, verdict text, word text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	was CONSTANT refunds.sight := refunds.look(c);
	now refunds.sight;
	subject CONSTANT text := CASE WHEN v.kind = 'twin' AND verdict = 'same' THEN (SELECT refund_no FROM pay_refund r
		WHERE r.pay_no = c.pay_no AND r.attempt = v.attempt AND r.amount = v.amount AND NOT r.adopted AND r.channel_txn IS NULL AND refunds.takes(r.state::text))
		ELSE c.refund_no END;
	answer text;
	wrong text;
BEGIN
	BEGIN
		answer := (SELECT decision FROM pay_review_resolve(v.review_id, verdict, 'as it is'));
		now := refunds.look(c);
		wrong := concat_ws('; ', CASE WHEN answer <> 'applied' THEN 'answered ' || answer END,
			refunds.wrong(word, v, subject, was, now, c),
			CASE WHEN (SELECT p.verdict FROM pay_review p WHERE p.review_id = v.review_id) IS DISTINCT FROM verdict THEN 'it is still open' END,
			now.unbalanced,
			CASE WHEN now.overdrawn > was.overdrawn AND 'overdrawn' <> ALL (now.reviews) THEN 'nobody is told that it is overdrawn' END,
			-- the row's latest event says what the row says
			(SELECT format('row %s, event %s', r.state, e.refund_after) FROM pay_refund r, LATERAL (SELECT e.refund_after FROM pay_event e
				WHERE e.pay_no = r.pay_no AND e.refund_no = r.refund_no AND e.refund_after IS NOT NULL ORDER BY e.seq DESC LIMIT 1) AS e
				WHERE r.pay_no = c.pay_no AND r.state <> e.refund_after LIMIT 1));
		answer := (SELECT decision FROM pay_review_resolve(v.review_id, verdict, 'as it is'));
		IF answer <> 'unchanged' OR refunds.look(c) <> now THEN
			wrong := concat_ws('; ', wrong, 'resolved again: ' || answer);
		END IF;
		IF c.way <> 'own' AND v.kind <> 'unmatched' THEN
			answer := (SELECT decision FROM refunds.tell(c, s.kind, s.reported));
			IF answer <> 'replayed' OR refunds.look(c) <> now THEN
				wrong := concat_ws('; ', wrong, format('the message again: %s, %s', answer, refunds.look(c)));
			END IF;
			-- what a person has settled is known: the same news by another message
			IF (v.kind = 'twin' AND word IN ('a new one', 'as reported') OR c.wrong = 'transaction' AND verdict <> 'dismiss') THEN
				c.id := -c.id;
				answer := (SELECT decision FROM refunds.tell(c, s.kind, s.reported));
				c.id := -c.id;
				IF answer <> 'unchanged' OR (refunds.look(c)).reviews <> now.reviews THEN
					wrong := concat_ws('; ', wrong, format('the news again: %s, %s', answer, refunds.look(c)));
				END IF;
			END IF;
		END IF;
		RAISE EXCEPTION SQLSTATE 'UNDO0';		-- for the next verdict all is as it was
	EXCEPTION
		WHEN SQLSTATE 'UNDO0' THEN
			RETURN CASE WHEN word = 'refused' THEN 'was not refused' ELSE nullif(wrong, '') END;
		WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS answer = PG_EXCEPTION_DETAIL;
			RETURN CASE WHEN word <> 'refused' OR SQLSTATE <> 'PY409' OR answer = '' THEN format('%s: %s', SQLERRM, answer) END;
	END;
END
$$;

DO $$
DECLARE
	c refunds.cell;
	s refunds.situation;
	v pay_review;
	j refunds.judged;
	row refunds.verdict;
	verdict text;
BEGIN
	FOR c IN SELECT * FROM refunds.cell
		WHERE (way IN ('number', 'nobody') OR way = 'own' AND NOT named OR wrong = 'transaction') AND failure IS NULL AND got LIKE '%+%' ORDER BY id LOOP
		SELECT * INTO s FROM refunds.situation WHERE id = c.situation;
		CONTINUE WHEN NOT s.is_first;
		FOR v IN SELECT * FROM pay_review p WHERE p.pay_no = c.pay_no AND p.verdict IS NULL AND p.seq > (c.before).seq
			UNION ALL SELECT * FROM pay_review p WHERE p.pay_no IS NULL AND p.message_id = 'M' || c.id LOOP
			j := (c.id, v.review_id, CASE WHEN v.kind <> 'mismatch' THEN v.kind WHEN v.attempt = 0 THEN 'mismatch without attempt'
					ELSE 'mismatch of ' || coalesce(c.wrong, CASE WHEN c.amount <> s.amount THEN 'amount' ELSE 'state' END) END,
				CASE WHEN s.kind <> 'none' THEN (c.after).state WHEN v.kind = 'twin' THEN (regexp_split_to_array(s.refund, ', '))[2] ELSE 'none' END,
				v.refund_reported, NULL, 0);
			FOR row IN SELECT * FROM refunds.verdict t WHERE j.is_of = ANY (reviews) AND ARRAY[s.kind, 'any'] && kinds
				AND ARRAY[j.state, 'any'] && states AND ARRAY[j.reported, 'any'] && t.reported LOOP
				j.line := row.line;
				j.lines := j.lines + 1;
			END LOOP;
			IF j.lines <> 1 THEN
				INSERT INTO refunds.judged SELECT j.*;
				CONTINUE;
			END IF;
			FOREACH verdict IN ARRAY '{accept,refund,dismiss,alias,same}'::text[] LOOP
				j.verdict := verdict;
				j.wrong := refunds.judge(c, s, v, verdict, CASE verdict WHEN 'accept' THEN row.accept WHEN 'refund' THEN 'refused' WHEN 'dismiss' THEN 'nothing'
					WHEN 'alias' THEN row.alias ELSE row.same END);
				INSERT INTO refunds.judged SELECT j.*;
			END LOOP;
		END LOOP;
	END LOOP;
END
$$;

-- ---- what it says ----

SELECT plan(12 + (SELECT count(DISTINCT line) FROM refunds.situation)::integer + (SELECT count(*) FROM refunds.verdict)::integer);

SELECT is_empty(
	$$SELECT n, cells FROM refunds.written WHERE heading LIKE '### %'
		AND cells <> '{refund,attempt,sums,reported,requested,processing,unknown,abnormal,succeeded,failed,returned,cancelled,does not fit,built by}'
		AND cardinality(cells) <> 14$$,
	'every row of the file is understood');
SELECT is_empty(
	$$SELECT DISTINCT line, kind, refund, attempt, s.sums, (before).state, (before).sums, failure, (before).unbalanced
		FROM refunds.cell c JOIN refunds.situation s ON s.id = c.situation
		WHERE failure IS NOT NULL OR (before).sums IS DISTINCT FROM s.sums OR (before).unbalanced IS NOT NULL
			OR (before).state IS DISTINCT FROM CASE WHEN s.kind <> 'none' THEN split_part(s.state, ' ', 1) END$$,
	'every situation was built as it is written');

-- Every combination is a row, or is said to be impossible: one or the other.
CREATE VIEW refunds.combination AS
SELECT k.kind, t.state, a.attempt,
	EXISTS (SELECT FROM refunds.situation s WHERE s.kind = k.kind AND s.attempt = a.attempt AND replace(replace(s.refund, 'requested, ', 'requested '), 'again, ', '') = t.state) AS is_row,
	EXISTS (SELECT FROM refunds.impossible i WHERE ARRAY[k.kind, 'any'] && i.kinds AND ARRAY[t.state, 'any'] && i.states AND ARRAY[a.attempt, 'any'] && i.attempts) AS is_impossible
FROM unnest('{refund,dispute,surplus,extra,chargeback,by-channel,none}'::text[]) AS k (kind),
	unnest('{requested not handed out,requested handed out,processing,unknown,abnormal,succeeded,failed,returned,cancelled,none}'::text[]) AS t (state),
	unnest('{winner,surplus,authorized,paying}'::text[]) AS a (attempt)
WHERE (k.kind = 'none') = (t.state = 'none');
SELECT is_empty('SELECT kind, state, attempt FROM refunds.combination WHERE NOT is_row AND NOT is_impossible', 'no combination is left out');
SELECT is_empty('SELECT kind, state, attempt FROM refunds.combination WHERE is_row AND is_impossible', 'and none that is impossible has a row');
SELECT is_empty(
	$$SELECT DISTINCT s.line, (c.after).state FROM refunds.cell c JOIN refunds.situation s ON s.id = c.situation, refunds.combination k
		WHERE (k.kind, k.attempt) = (s.kind, s.attempt) AND k.state = (c.after).state AND k.is_impossible$$,
	'no report leads to one that is said to be impossible');

CREATE VIEW refunds.named AS
SELECT c.*, s.line, s.kind, s.attempt, concat_ws(' ', c.reported, c.amount, 'by ' || c.way, CASE WHEN c.named THEN 'named' END, 'with another ' || c.wrong) AS told
FROM refunds.cell c JOIN refunds.situation s ON s.id = c.situation;

SELECT is(
	(SELECT string_agg(format('%s, %s: expected %s, got %s', attempt, told, expected, got), E'\n' ORDER BY id)
		FROM refunds.named c WHERE c.line = s.line AND got IS DISTINCT FROM expected),
	NULL,
	format('%s is %s, of %s, reported %s (line %s)', kind, refund, string_agg(attempt, ', '), reported, line))
FROM refunds.situation s GROUP BY line, kind, refund, reported ORDER BY line;

SELECT is_empty('SELECT line, attempt, told, event FROM refunds.named WHERE event IS NOT NULL',
	'answer, event and row say the same, and what is overdrawn is said');
SELECT is_empty('SELECT line, attempt, told, replayed FROM refunds.named WHERE replayed IS NOT NULL',
	'the same message again is replayed, with the first answer, and changes nothing');
SELECT is_empty('SELECT line, attempt, told, after FROM refunds.named WHERE (after).unbalanced IS NOT NULL',
	'rows, attempts, payment and balance agree');
SELECT is_empty('SELECT line, attempt, told, spendable FROM refunds.named WHERE spendable IS NOT NULL',
	'nothing can be refunded while too much has left');

SELECT is(
	(SELECT string_agg(DISTINCT format('%s of %s, %s: %s', j.verdict, j.is_of, n.told || ' (line ' || n.line || ')', j.wrong), E'\n')
		FROM refunds.judged j JOIN refunds.named n ON n.id = j.cell WHERE j.line = t.line AND j.wrong IS NOT NULL),
	NULL,
	format('verdicts on %s, refund is %s, reported %s (line %s)', array_to_string(reviews, '/'), array_to_string(states, '/'), array_to_string(reported, '/'), line))
FROM refunds.verdict t ORDER BY line;

SELECT is_empty(
	$$SELECT j.is_of, n.kind, j.state, j.reported, j.lines, min(n.line) FROM refunds.judged j JOIN refunds.named n ON n.id = j.cell
		WHERE j.lines <> 1 GROUP BY 1, 2, 3, 4, 5$$,
	'the file says of every review what each verdict does, once');
SELECT is_empty('SELECT line, cells FROM refunds.verdict t WHERE NOT EXISTS (SELECT FROM refunds.judged j WHERE j.line = t.line)',
	'and says it of no review that never comes');
SELECT is_empty(
	$$SELECT cell, review FROM refunds.judged j GROUP BY cell, review HAVING count(*) FILTER (WHERE wrong IS NULL AND verdict = 'dismiss') <> 1$$,
	'there is no review that no verdict can settle');

SELECT * FROM finish();
ROLLBACK;
