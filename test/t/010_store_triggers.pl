# A user's row triggers fire for what a call writes as for any INSERT and
# UPDATE. They may do what they like with the user's columns and with other
# tables; what was decided they cannot change.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node('main');

sub decision { return "SELECT decision FROM $_[0];\n" }
sub sql      { return $node->safe_psql('postgres', @_) }

sub refused
{
	my ($call, $sqlstate, $name, %o) = @_;
	my $rows = digest($node);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	raises($node, $call, $sqlstate, $name, %o);
	return is(digest($node), $rows, "$name: nothing was written");
}

# A trigger function's body; the trigger is taken away after the story.
my @made;

sub trigger
{
	my ($name, $when, $body, $declare) = @_;

	$declare ||= '';
	$when =~ / ON (\w+)/ or die $when;
	push @made, "DROP TRIGGER $name ON $1";
	sql("CREATE OR REPLACE FUNCTION $name() RETURNS trigger LANGUAGE plpgsql AS \$\$ $declare BEGIN $body END \$\$;"
		  . (
			($when =~ /^CONSTRAINT /)
			? 'CREATE CONSTRAINT TRIGGER ' . $name . ' ' . ($when =~ s/^CONSTRAINT //r)
			: "CREATE TRIGGER $name $when")
		  . " EXECUTE FUNCTION $name()");
	return;
}

sub no_triggers
{
	sql(join ';', splice @made);
	sql('TRUNCATE fired');
	return;
}

sql('CREATE TABLE fired (n serial, what text); ALTER TABLE pay_payment ADD COLUMN note text, ADD COLUMN steps int NOT NULL DEFAULT 0;'
	  . 'ALTER TABLE pay_attempt ADD COLUMN note text; ALTER TABLE pay_event ADD COLUMN note text; ALTER TABLE pay_review ADD COLUMN note text; ALTER TABLE pay_refund ADD COLUMN note text;'
	  . 'ALTER TABLE pay_task ADD COLUMN note text; ALTER TABLE pay_hold ADD COLUMN note text; ALTER TABLE pay_resource ADD COLUMN note text'
);
my $fired = 'SELECT what FROM fired ORDER BY n';

# ---- BEFORE, on the user's columns

trigger(
	"${_}_in",
	"BEFORE INSERT ON $_ FOR EACH ROW",
	"new.note := 'in by ' || tg_name; RETURN new;"
) for qw(pay_payment pay_attempt pay_event pay_review pay_refund pay_task pay_hold pay_resource);
trigger(
	'count_steps',
	'BEFORE UPDATE ON pay_payment FOR EACH ROW',
	'new.steps := old.steps + 1; RETURN new;');
answers(
	$node,
	decision(prepay('before', 'r1', valid_for => "'1 day'", holds => "'{coupon:C1}'"))
	  . decision(callback(trade_of('before'), 'n1', 'failed'))
	  . decision(prepay('before', 'r2'))
	  . decision(callback(trade_of('before'), 'n2', 'paid', amount => 1))
	  . decision(callback(trade_of('before'), 'n3', 'paid'))
	  . decision(refund(trade_of('before'), 'before', 60))
	  . decision(refund_callback('before', 'm1', 'succeeded')),
	"proceed\napplied\nproceed\nmismatch\napplied\nproceed\napplied",
	'BEFORE triggers on the user\'s columns');
is( sql("SELECT DISTINCT p.note, a.note, e.note, r.note, f.note FROM pay_payment p JOIN pay_attempt a USING (pay_no) JOIN pay_event e USING (pay_no) JOIN pay_review r USING (pay_no) JOIN pay_refund f USING (pay_no)"
	),
	'in by pay_payment_in|in by pay_attempt_in|in by pay_event_in|in by pay_review_in|in by pay_refund_in',
	'filled on INSERT');
is(sql('SELECT DISTINCT t.note, h.note, r.note FROM pay_hold h JOIN pay_task t USING (pay_no) JOIN pay_resource r ON h.resource = r.resource'),
	'in by pay_task_in|in by pay_hold_in|in by pay_resource_in',
	'also in the queue and of what is held');
is(sql("SELECT steps = last_seq - 1 FROM pay_payment"),
	't', 'counted on UPDATE: one for each event after the first');
no_triggers();

# ---- BEFORE, on ours: refused; where a CHECK of ours is broken too, that one
# speaks first

my $n = 0;
foreach (
	[ pay_payment => "new.amount := 1" ],
	[ pay_payment => "new.order_no := 'other'" ],
	[ pay_payment => "new.state := 'unknown'" ],
	[ pay_payment => "new.metadata := '{}'" ],
	[ pay_payment => "new.payer := 'Eve'" ],
	[ pay_payment => "new.routes := '{3}'" ],
	[ pay_payment => 'new.valid_until := now()' ],
	[ pay_attempt => "new.trade_no := gen_random_uuid()", '23514' ],
	[ pay_attempt => "new.request_id := 'x'" ],
	[ pay_attempt => "new.handed_out_at := '-infinity'" ],
	[ pay_event => 'new.seq := 7' ],
	[ pay_event => "new.actor := 'nobody'" ],
	[ pay_event => "new.message_id := 'x'" ],
	[ pay_event => "new.decision := 'applied'" ],
	[ pay_event => "new.reason := 'none'" ],
	[ pay_event => "new.payload := '{}'" ])
{
	my ($table, $change, $sqlstate) = @$_;

	trigger('meddle', "BEFORE INSERT ON $table FOR EACH ROW", "$change; RETURN new;");
	$n++;
	refused(
		prepay("meddled$n", 'r1'),
		$sqlstate || 'PY423',
		"BEFORE INSERT ON $table: $change",
		like => qr/meddle|$table/);
	no_triggers();
}
foreach (
	[ pay_payment => "new.state := 'failed'", '23514' ],
	[ pay_payment => 'new.winner := NULL', '23514' ],
	[ pay_attempt => "new.state := 'failed'", '23514' ],
	[ pay_payment => 'new.amount_collected := 99' ],
	[ pay_payment => 'new.last_seq := old.last_seq' ],
	[ pay_payment => 'new := old' ],
	[ pay_attempt => 'new.amount_collected := 99' ],
	[ pay_attempt => 'new.channel_txn := NULL' ],
	[ pay_event => "new.message_id := 'n2'" ])
{
	my ($table, $change, $sqlstate) = @$_;

	$n++;
	sql(decision(prepay("told$n", 'r1')));
	trigger(
		'meddle',
		($table eq 'pay_event' ? 'BEFORE INSERT' : 'BEFORE UPDATE') . " ON $table FOR EACH ROW",
		"$change; RETURN new;");
	refused(
		callback(trade_of("told$n"), 'n1', 'paid', channel_txn => "'42'"),
		$sqlstate || 'PY423',
		"BEFORE on $table: $change",
		like => qr/meddle|$table/);
	no_triggers();
}
foreach my $table (qw(pay_payment pay_attempt pay_event))
{
	trigger('swallow', "BEFORE INSERT ON $table FOR EACH ROW", 'RETURN NULL;');
	refused(
		prepay('swallowed', 'r1'),
		'PY423',
		"BEFORE INSERT ON $table that returns NULL",
		like => qr/$table/);
	no_triggers();
}
sql(decision(prepay('swallowed', 'r1')));
foreach my $table (qw(pay_payment pay_attempt))
{
	trigger('swallow', "BEFORE UPDATE ON $table FOR EACH ROW", 'RETURN NULL;');
	refused(
		callback(trade_of('swallowed'), 'n1', 'paid'),
		'PY423',
		"BEFORE UPDATE ON $table that returns NULL",
		like => qr/$table/);
	no_triggers();
}
trigger('swallow', 'BEFORE INSERT ON pay_review FOR EACH ROW', 'RETURN NULL;');
refused(callback("'nobody'", 'n1', 'paid'),
	'PY423', 'BEFORE INSERT ON pay_review that returns NULL');
no_triggers();

# Nor may it meddle with refunds, those that a report opens among them.
sql(    decision(callback(trade_of('swallowed'), 'n1', 'paid'))
	  . decision(refund(trade_of('swallowed'), 'F1', 60))
	  . decision(prepay('late', 'r1'))
	  . decision(transition("(SELECT pay_no::text FROM pay_payment WHERE order_no = 'late')", 'closed')));
foreach my $body ('RETURN NULL;', 'new.amount := 1; RETURN new;', "new.state := 'failed'; RETURN new;")
{
	trigger('meddle', 'BEFORE INSERT OR UPDATE ON pay_refund FOR EACH ROW', $body);
	refused(refund(trade_of('swallowed'), 'F2', 40), 'PY423', "BEFORE INSERT ON pay_refund: $body");
	refused(callback(trade_of('late'), 'n1', 'paid'),
		'PY423', "BEFORE INSERT ON pay_refund, of surplus: $body");
	refused(refund_callback('F1', 'm1', 'succeeded'), 'PY423', "BEFORE UPDATE ON pay_refund: $body");
	no_triggers();
}
answers($node, decision(callback(trade_of('late'), 'n1', 'paid')),
	'surplus', 'without it, what was refused comes again and counts');

# Nor with the queue and what is held.
sql("INSERT INTO pay_resource (resource, capacity) VALUES ('stock:S1', 5);"
	  . decision(prepay('holds', 'r1', valid_for => "'1 day'", holds => "'{stock:S1}'")));
foreach (
	[ pay_task => "new.due_at := '2001-01-01'" ],
	[ pay_task => 'new.attempt := 2' ],
	[ pay_hold => 'new.quantity := 7' ],
	[ pay_hold => "new.state := 'confirmed'" ],
	[ pay_resource => 'new.taken := 0' ])
{
	my ($table, $change) = @$_;

	trigger('meddle', "BEFORE INSERT OR UPDATE ON $table FOR EACH ROW", "$change; RETURN new;");
	refused(prepay('holds 2', 'r1', valid_for => "'1 day'", holds => "'{stock:S1#2}'"),
		'PY423', "BEFORE on $table: $change", like => qr/meddle|$table/);
	no_triggers();
}
foreach my $table (qw(pay_task pay_hold pay_resource))
{
	trigger('swallow', "BEFORE INSERT OR UPDATE ON $table FOR EACH ROW", 'RETURN NULL;');
	refused(prepay('holds 2', 'r1', valid_for => "'1 day'", holds => "'{stock:S1#2}'"),
		'PY423', "BEFORE on $table that returns NULL", like => qr/$table/);
	no_triggers();
}
trigger('swallow', 'BEFORE UPDATE ON pay_task FOR EACH ROW', 'RETURN NULL;');
refused('SELECT * FROM ' . claim('w1', actions => "'{submit_refund}'"), 'PY423', 'BEFORE UPDATE ON pay_task that returns NULL, in a claim');
no_triggers();
trigger('swallow', 'BEFORE UPDATE ON pay_resource FOR EACH ROW', 'RETURN NULL;');
refused(transition("(SELECT pay_no::text FROM pay_payment WHERE order_no = 'holds')", 'closed'), 'PY423', 'BEFORE UPDATE ON pay_resource that returns NULL, when it is given back');
no_triggers();

# The same value is no change, however it is written.
trigger(
	'same',
	'BEFORE INSERT OR UPDATE ON pay_payment FOR EACH ROW',
	"new.order_no := lower(upper(new.order_no)); new.metadata := (new.metadata::text || ' ')::jsonb; new.note := 'set'; RETURN new;"
);
answers(
	$node,
	decision(prepay('same', 'r1', metadata => "'{\"a\": 1}'"))
	  . decision(callback(trade_of('same'), 'n1', 'paid')),
	"proceed\napplied",
	'a trigger that sets what is there already');
no_triggers();

# Its own refusal is the caller's to see.
trigger(
	'refuse',
	'BEFORE INSERT ON pay_payment FOR EACH ROW WHEN (new.amount > 1000)',
	"RAISE EXCEPTION 'too much' USING ERRCODE = 'SHOP1';");
refused(prepay('rich', 'r1', amount => 1001), 'SHOP1', 'a trigger that refuses');
answers($node, prepay('rich', 'r1', amount => 1000),
	'proceed|paying|1|paying', 'and lets others pass by its WHEN');
no_triggers();

# ---- AFTER

trigger('after_payment', 'AFTER INSERT OR UPDATE ON pay_payment FOR EACH ROW', <<'SQL');
	INSERT INTO fired (what) VALUES (concat_ws(' ', tg_when, tg_op, CASE tg_op WHEN 'UPDATE' THEN old.state END, new.state,
		(SELECT state::text = new.state::text FROM pay_payment WHERE pay_no = new.pay_no)));
	RETURN NULL;
SQL
answers(
	$node,
	decision(prepay('after', 'r1')) . $fired,
	"proceed\nAFTER INSERT paying t",
	'AFTER INSERT, the row is there');
answers(
	$node,
	decision(prepay('after', 'r2')) . $fired,
	"in_progress\nAFTER INSERT paying t",
	'a duplicate fires nothing');
answers(
	$node,
	"TRUNCATE fired;"
	  . decision(callback(trade_of('after'), 'n1', 'failed'))
	  . decision(prepay('after', 'r3'))
	  . decision(callback(trade_of('after'), 'n2', 'paid'))
	  . $fired,
	"applied\nproceed\napplied\nAFTER UPDATE paying failed t\nAFTER UPDATE failed paying t\nAFTER UPDATE paying paid t",
	'AFTER UPDATE, the old row, the new row and the table');
no_triggers();

# UPDATE OF and WHEN
trigger(
	'of_state',
	'AFTER UPDATE OF state ON pay_payment FOR EACH ROW',
	"INSERT INTO fired (what) VALUES ('of state ' || new.state); RETURN NULL;");
trigger(
	'of_payer',
	'AFTER UPDATE OF payer, amount ON pay_payment FOR EACH ROW',
	"INSERT INTO fired (what) VALUES ('of payer'); RETURN NULL;");
trigger(
	'of_note',
	'BEFORE UPDATE OF note ON pay_payment FOR EACH ROW',
	"INSERT INTO fired (what) VALUES ('of note'); RETURN new;");
trigger(
	'when_paid',
	"AFTER UPDATE ON pay_payment FOR EACH ROW WHEN (old.state IS DISTINCT FROM new.state AND new.state = 'paid')",
	"INSERT INTO fired (what) VALUES ('when paid'); RETURN NULL;");
trigger(
	'when_never',
	"AFTER UPDATE ON pay_payment FOR EACH ROW WHEN (new.payer = 'Eve')",
	"INSERT INTO fired (what) VALUES ('never'); RETURN NULL;");
answers($node, decision(prepay('of', 'r1')) . decision(credential(trade_of('of'), 'c')) . $fired,
	"proceed\napplied", 'UPDATE OF state: not when only the event count moves');
answers(
	$node,
	decision(callback(trade_of('of'), 'n1', 'unknown')) . $fired,
	"applied\nof state unknown",
	'UPDATE OF state: when the state does');
answers(
	$node,
	'TRUNCATE fired;' . decision(callback(trade_of('of'), 'n2', 'paid')) . $fired,
	"applied\nof state paid\nwhen paid", 'WHEN');
no_triggers();

# In the order of their names, with their arguments.
sql("CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO fired (what) VALUES (concat_ws('' '', tg_name, tg_when, tg_level, tg_table_name, tg_nargs, tg_argv[0])); RETURN new; END'"
);
sql("CREATE TRIGGER b AFTER INSERT ON pay_payment FOR EACH ROW EXECUTE FUNCTION tell('x'); CREATE TRIGGER a AFTER INSERT ON pay_payment FOR EACH ROW EXECUTE FUNCTION tell();"
	  . "CREATE TRIGGER d BEFORE INSERT ON pay_payment FOR EACH ROW EXECUTE FUNCTION tell('y', 'z'); CREATE TRIGGER c BEFORE INSERT ON pay_payment FOR EACH ROW EXECUTE FUNCTION tell()"
);
answers(
	$node,
	decision(prepay('order', 'r1')) . $fired,
	"proceed\nc BEFORE ROW pay_payment 0\nd BEFORE ROW pay_payment 2 y\na AFTER ROW pay_payment 0\nb AFTER ROW pay_payment 1 x",
	'order, names and arguments');

# Disabled, replica, always.
sql('TRUNCATE fired; ALTER TABLE pay_payment DISABLE TRIGGER a, ENABLE REPLICA TRIGGER b, ENABLE ALWAYS TRIGGER d'
);
answers(
	$node,
	decision(prepay('enabled', 'r1')) . $fired,
	"proceed\nc BEFORE ROW pay_payment 0\nd BEFORE ROW pay_payment 2 y",
	'disabled and replica triggers do not fire');
answers(
	$node,
	'TRUNCATE fired; SET session_replication_role = replica;'
	  . decision(prepay('replica', 'r1'))
	  . $fired,
	"proceed\nd BEFORE ROW pay_payment 2 y\nb AFTER ROW pay_payment 1 x",
	'as a replica: those that are always or replica do');
sql('DROP TRIGGER a ON pay_payment; DROP TRIGGER b ON pay_payment; DROP TRIGGER c ON pay_payment; DROP TRIGGER d ON pay_payment; TRUNCATE fired'
);

# Transition tables are not collected: a row trigger that asks for them is
# refused rather than fired without.
sql(decision(prepay('tables', 'r1')));
trigger(
	'transition',
	'AFTER UPDATE ON pay_payment REFERENCING OLD TABLE AS was NEW TABLE AS is_now FOR EACH ROW',
	"INSERT INTO fired (what) SELECT was.state || ' ' || is_now.state FROM was, is_now; RETURN NULL;"
);
refused(
	callback(trade_of('tables'), 'n1', 'paid'),
	'0A000',
	'a row trigger with transition tables',
	like => qr/transition.*HINT/s);
answers($node, prepay('tables', 'r2'), 'in_progress|paying|1|paying', 'a duplicate, which writes nothing');
no_triggers();

# What is no row trigger: statement triggers do not fire, and a rule, which would rewrite what people do, is refused.
trigger(
	'statement',
	'AFTER INSERT OR UPDATE ON pay_payment FOR EACH STATEMENT',
	"INSERT INTO fired (what) VALUES ('statement'); RETURN NULL;");
answers(
	$node,
	decision(prepay('rules', 'r1'))
	  . "$fired; SELECT count(*) FROM pay_history(trade_no => "
	  . trade_of('rules') . ')',
	"proceed\n1",
	'statement triggers do not fire');
sql('CREATE RULE forget AS ON INSERT TO pay_event DO INSTEAD NOTHING');
raises($node, prepay('rules', 'r2'), 'PY503', 'a rule on the history', like => qr/forget.*HINT: .*DROP RULE forget ON public\.pay_event/s);
sql('DROP RULE forget ON pay_event');
no_triggers();

# A trigger's error, caught by the caller or by another trigger, leaves a call that works.
trigger(
	'fail',
	"AFTER INSERT ON pay_payment FOR EACH ROW WHEN (new.payer = 'Eve')",
	"PERFORM 1 / 0; RETURN NULL;");
trigger(
	'catch',
	"BEFORE INSERT ON pay_payment FOR EACH ROW WHEN (new.payer = 'Bob')",
	'BEGIN PERFORM '
	  . prepay('of Eve', 'r1', payer => "'Eve'")
	  . "; EXCEPTION WHEN division_by_zero THEN new.note := 'caught'; END; RETURN new;");
answers($node, <<"SQL", "proceed\nin_progress\nproceed\ncaught\n0", 'a trigger\'s error, caught');
	DO \$\$
	BEGIN
		FOR i IN 1 .. 3 LOOP
			BEGIN
				PERFORM @{[ prepay('of Eve', 'r1', payer => "'Eve'") ]};
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP;
		INSERT INTO fired (what) SELECT decision FROM @{[ prepay('of Ada', 'r1', payer => "'Ada'") ]};
		INSERT INTO fired (what) SELECT decision FROM @{[ prepay('of Ada', 'r2', payer => "'Ada'") ]};
		INSERT INTO fired (what) SELECT decision FROM @{[ prepay('of Bob', 'r1', payer => "'Bob'") ]};
	END \$\$;
	$fired;
	SELECT note FROM pay_payment WHERE order_no = 'of Bob';
	SELECT count(*) FROM pay_payment WHERE order_no = 'of Eve';
SQL
no_triggers();

# ---- deferred

trigger(
	'balance',
	'CONSTRAINT AFTER INSERT OR UPDATE ON pay_payment DEFERRABLE INITIALLY DEFERRED FOR EACH ROW',
	"INSERT INTO fired (what) VALUES ('deferred ' || new.state); IF new.payer = 'Eve' THEN RAISE 'not Eve' USING ERRCODE = 'SHOP2'; END IF; RETURN NULL;"
);
answers(
	$node,
	'BEGIN;' . decision(prepay('deferred', 'r1')) . "$fired; COMMIT; $fired",
	"proceed\ndeferred paying",
	'a deferred constraint trigger waits for the end');
answers(
	$node,
	'TRUNCATE fired; BEGIN;'
	  . decision(callback(trade_of('deferred'), 'n1', 'failed'))
	  . "$fired; SET CONSTRAINTS balance IMMEDIATE; $fired; COMMIT",
	"applied\ndeferred failed",
	'or for SET CONSTRAINTS');
answers(
	$node,
	'TRUNCATE fired; BEGIN; SET CONSTRAINTS ALL IMMEDIATE;'
	  . decision(prepay('deferred', 'r2'))
	  . "$fired; COMMIT",
	"proceed\ndeferred paying",
	'made immediate, it does not wait');
answers(
	$node,
	'TRUNCATE fired; BEGIN; SAVEPOINT s;'
	  . decision(callback(trade_of('deferred'), 'n2', 'paid'))
	  . "ROLLBACK TO s; COMMIT; $fired",
	'applied',
	'what is rolled back is forgotten');
refused(prepay('deferred2', 'r1', payer => "'Eve'"),
	'SHOP2', 'and can refuse the whole transaction');
no_triggers();

# ---- triggers that call us, and that write to our tables

# A failed attempt is followed by another at once.
trigger(
	'again',
	"AFTER UPDATE OF state ON pay_payment FOR EACH ROW WHEN (new.state = 'failed')",
	"INSERT INTO fired (what) SELECT decision || ' ' || attempt FROM "
	  . prepay(
		'', '',
		order_no => 'new.order_no',
		request_id => "'auto' || new.last_seq",
		method => "'qr'")
	  . '; RETURN NULL;');
sql(decision(prepay('nested', 'r1')));
answers(
	$node,
	decision(callback(trade_of('nested'), 'n1', 'failed')) . $fired,
	"applied\nproceed 2",
	'a trigger that pays again');
answers($node, "SELECT decision, state, attempt FROM pay_query(order_no => 'nested')",
	'in_progress|paying|2', 'is believed');
is( sql("SELECT count(DISTINCT e.seq), max(last_seq) FROM pay_payment JOIN pay_event e USING (pay_no) WHERE order_no = 'nested'"
	),
	'3|3',
	'each has its event');
no_triggers();

trigger(
	'sibling',
	'AFTER INSERT ON pay_event FOR EACH ROW WHEN (pg_trigger_depth() = 0)',
	"INSERT INTO fired (what) SELECT decision FROM pay_create(order_no => 'twin of ' || new.pay_no, amount => 1, currency => 'CNY'); RETURN NULL;"
);
answers(
	$node,
	decision(prepay('family', 'r1'))
	  . decision(callback(trade_of('family'), 'n1', 'paid'))
	  . $fired,
	"proceed\napplied\napplied\nunchanged",
	'a trigger that makes another order');
no_triggers();

trigger(
	'before_calls',
	"BEFORE INSERT ON pay_attempt FOR EACH ROW",
	"new.note := (SELECT decision FROM pay_query(order_no => 'family')); RETURN new;");
answers(
	$node,
	decision(prepay('asks', 'r1'))
	  . "SELECT note FROM pay_attempt WHERE trade_no = "
	  . trade_of('asks')
	  . '::uuid',
	"proceed\nalready_paid",
	'a BEFORE trigger that asks');
no_triggers();

# It changes the row that is about to be written: refused, as core refuses it
# (with 27000).
trigger(
	'under_foot',
	"BEFORE UPDATE ON pay_payment FOR EACH ROW WHEN (pg_trigger_depth() = 0)",
	"UPDATE pay_payment SET note = 'mine' WHERE pay_no = new.pay_no; RETURN new;");
refused(callback(trade_of('asks'), 'n1', 'paid'),
	'55000', 'a BEFORE trigger that updates the same row');
no_triggers();
trigger(
	'under_foot',
	"BEFORE UPDATE ON pay_attempt FOR EACH ROW WHEN (pg_trigger_depth() = 0)",
	"PERFORM pay_transition(trade_no => new.trade_no::text, to_state => 'unknown'); RETURN new;");
refused(callback(trade_of('asks'), 'n1', 'paid'),
	'55000', 'a BEFORE trigger that takes another step of the same attempt');
no_triggers();

# Afterwards it may, on its own columns.
trigger(
	'stamp',
	"AFTER UPDATE OF state ON pay_payment FOR EACH ROW",
	"UPDATE pay_payment SET note = 'now ' || new.state WHERE pay_no = new.pay_no; RETURN NULL;");
answers(
	$node,
	decision(callback(trade_of('asks'), 'n1', 'paid'))
	  . "SELECT note, state FROM pay_payment WHERE order_no = 'asks'",
	"applied\nnow paid|paid",
	'an AFTER trigger that updates the same row');
no_triggers();

# An AFTER trigger that takes what was just decided a step further.
trigger(
	'further',
	"AFTER INSERT ON pay_attempt FOR EACH ROW",
	"PERFORM pay_transition(trade_no => new.trade_no::text, to_state => 'unknown', reason => 'by trigger'); RETURN NULL;"
);
answers($node, decision(prepay('further', 'r1')) . decision("pay_query(order_no => 'further')"),
	"proceed\nunknown", 'an AFTER trigger that takes the next step');
no_triggers();

is(violations($node), '', 'all that must hold holds');
is(sql("SELECT count(*) FROM pay_event WHERE source = 'update'"),
	0, 'the user\'s own columns are no business of the history');
no_leaks($node);
done_testing();
