# EXECUTE is the gate. Callers need no right on the tables, a user's triggers
# run as the caller, and nobody gains an owner's rights.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node('main');
my @roles = qw(app checkout reports worker ops auditor nobody);

$node->safe_psql('postgres', join ';', map { "CREATE ROLE $_ LOGIN" } @roles, 'mallory');
$node->safe_psql('postgres', join ';',
	map { "SELECT pay_grant(role => '$_', kind => '$_')" } qw(app checkout reports worker ops auditor));

# ---- who has which right: all functions, all tables

my @payment_functions =
  qw(pay_callback pay_callbacks pay_close pay_create pay_credential pay_dispute_case pay_dispute_open pay_dispute_resolve pay_grant pay_history pay_import pay_install pay_install_plan pay_prepay pay_query pay_revoke
  pay_refund pay_refund_callback pay_refund_callbacks pay_refund_transition pay_review_resolve pay_suspects pay_transition pay_claim pay_hold_done pay_adopt_database);
my %calls = (
	app =>
	  'pay_callback pay_callbacks pay_close pay_create pay_credential pay_dispute_open pay_hold_done pay_prepay pay_query pay_refund pay_refund_callback pay_refund_callbacks pay_refund_transition pay_transition',
	checkout => 'pay_close pay_create pay_credential pay_prepay pay_query',
	reports => 'pay_callback pay_callbacks pay_hold_done pay_query pay_refund_callback pay_refund_callbacks pay_refund_transition pay_transition',
	worker =>
	  'pay_callback pay_callbacks pay_claim pay_credential pay_hold_done pay_query pay_refund_callback pay_refund_callbacks pay_refund_transition pay_transition',
	ops =>
	  'pay_adopt_database pay_dispute_case pay_dispute_open pay_dispute_resolve pay_history pay_import pay_query pay_refund pay_refund_transition pay_review_resolve pay_suspects pay_transition',
	auditor => 'pay_dispute_case pay_history pay_query pay_suspects',
	nobody => '');
my %reads = (
	app => '',
	checkout => '',
	reports => '',
	worker => 'pay_channel SELECT',
	ops =>
	  'pay_attempt SELECT, pay_balance SELECT, pay_channel INSERT, pay_channel SELECT, pay_channel UPDATE, pay_database SELECT, pay_dispute SELECT, pay_event SELECT, pay_hold SELECT, pay_payment SELECT, pay_refund SELECT, pay_resource INSERT, pay_resource SELECT, pay_resource UPDATE, pay_review SELECT, pay_task SELECT',
	auditor =>
	  'pay_attempt SELECT, pay_balance SELECT, pay_channel SELECT, pay_database SELECT, pay_dispute SELECT, pay_event SELECT, pay_grantee SELECT, pay_hold SELECT, pay_payment SELECT, pay_refund SELECT, pay_resource SELECT, pay_review SELECT, pay_task SELECT',
	nobody => '');

foreach my $role (@roles)
{
	is( $node->safe_psql('postgres',
			<<"SQL"), $calls{$role}, "$role: may call these of the functions that read or write payments");
		SELECT string_agg(DISTINCT proname, ' ' ORDER BY proname)
		FROM pg_proc WHERE proname = ANY ('{@{[ join ',', @payment_functions ]}}') AND has_function_privilege('$role', oid, 'EXECUTE')
SQL
	is($node->safe_psql('postgres', <<"SQL"), $reads{$role}, "$role: rights on tables");
		SELECT string_agg(concat_ws(' ', relname, right_), ', ' ORDER BY relname, right_)
		FROM pg_class, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) right_
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') AND has_table_privilege('$role', oid, right_)
SQL
	is( $node->safe_psql('postgres',
			<<"SQL"), '', "$role: no right on any column beyond that, on any sequence, or to create");
		SELECT 'column', relname, right_
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) right_
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped
			AND has_column_privilege('$role', attrelid, attnum, right_) AND NOT has_table_privilege('$role', attrelid, right_)
		UNION ALL
		SELECT 'sequence', relname, NULL FROM pg_class
		WHERE CASE relkind WHEN 'S' THEN has_sequence_privilege('$role', oid, 'USAGE, SELECT, UPDATE') END
		UNION ALL
		SELECT 'schema', 'public', 'CREATE' WHERE has_schema_privilege('$role', 'public', 'CREATE')
SQL
}

# What anybody may call: types, guards, what the CHECKs of our tables need, and
# the readers of numbers and states.
is( $node->safe_psql('postgres',
		<<'SQL'), 'pay_attempt_of pay_can pay_channel_of pay_diagram pay_guard pay_is_final pay_next pay_number pay_number_matches pay_refuse_superuser pay_shard pay_shard_of pay_state_guard pay_steps pay_table_fault pay_time pay_trade_nos pay_trusts', 'PUBLIC may call these');
	SELECT string_agg(p.proname, ' ' ORDER BY p.proname)
	FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'pay_idem'
	WHERE has_function_privilege('nobody', p.oid, 'EXECUTE')
		AND p.proname !~ '^pay_(state|refund_state|decision)_(in|out|recv|send|eq|ne|lt|le|gt|ge|cmp|hash|hash_extended)$'
SQL
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' WHERE p.prosecdef AND p.proname ~ '^pay_'"
	),
	0,
	'no function runs as anybody but its caller');

# ---- and so it is when they try

answers($node, prepay('A1', 'r1'), 'proceed|paying|1|paying', 'app: pays', user => 'app');
my $trade_no = "'" . $node->safe_psql('postgres', 'SELECT ' . trade_of('A1')) . "'";
answers(
	$node, credential($trade_no, 'wx2014'),
	'applied|paying|1|paying',
	'app: keeps a credential',
	user => 'app');
answers($node, "SELECT decision, credential FROM pay_query(order_no => 'A1')",
	'in_progress|wx2014', 'app: asks', user => 'app');
answers(
	$node, callback($trade_no, 'n1', 'failed'),
	'applied|failed|1|failed',
	'app: hears that it failed',
	user => 'app');
answers($node, prepay('A1', 'r2'), 'proceed|paying|2|paying', 'app: tries again', user => 'app');
answers(
	$node, callback("'nobody'", 'n1', 'paid'),
	'unmatched|||',
	'app: gets a report for nobody',
	user => 'app');
$trade_no = "'" . $node->safe_psql('postgres', 'SELECT ' . trade_of('A1')) . "'";
answers(
	$node, callback($trade_no, 'n2', 'paid', amount => 99),
	'mismatch|paying|2|paying',
	'worker: brings a wrong amount',
	user => 'worker');
answers(
	$node,
	'SELECT decision, state FROM pay_review_resolve(review_id => (SELECT review_id FROM pay_review WHERE kind = \'mismatch\'), verdict => \'accept\', reason => \'discount\')',
	'applied|paid',
	'ops: accepts it',
	user => 'ops');
answers(
	$node,
	"SELECT decision, actor FROM pay_history(trade_no => $trade_no)",
	"proceed|app\napplied|app\napplied|app\nproceed|app\nmismatch|worker\napplied|ops",
	'auditor: reads who did it',
	user => 'auditor');
answers(
	$node, "SELECT order_no, state FROM pay_payment",
	'A1|paid',
	'auditor: reads the tables',
	user => 'auditor');
answers(
	$node, 'SELECT decision, state, refundable FROM ' . refund($trade_no, 'F1', 40),
	'proceed|requested|59',
	'app: refunds',
	user => 'app');
answers(
	$node, 'SELECT action, refund_no, amount FROM ' . claim('w1', actions => "'{submit_refund}'"),
	'submit_refund|F1|40',
	'worker: is told to do it',
	user => 'worker');
answers(
	$node, 'SELECT decision, state FROM ' . refund_transition('F1', 'processing'),
	'applied|processing',
	'worker: asked the channel for it',
	user => 'worker');
foreach my $role ('worker', 'app')
{
	answers(
		$node,
		'SELECT decision, state FROM ' . refund_callback('F1', 'm1', 'succeeded'),
		$role eq 'worker' ? 'applied|succeeded' : 'replayed|succeeded',
		"$role: hears that it succeeded",
		user => $role);
}
answers(
	$node, 'SELECT decision, state, refundable FROM ' . refund($trade_no, 'F2', 9),
	'proceed|requested|50',
	'ops: refunds, too',
	user => 'ops');
answers(
	$node, "SELECT decision, state FROM $_", 'applied|' . ($_ =~ /failed/ ? 'failed' : 'cancelled'),
	'ops: and cancels it, as it was never sent',
	user => 'ops')
  foreach refund_transition('F2', 'failed'), refund_transition('F2', 'cancelled');
answers($node, 'SELECT decision FROM ' . prepay('A0', 'r1', amount => 50),
	'proceed', 'app: a second order', user => 'app');
answers(
	$node,
	"SELECT decision, dispute_id FROM pay_dispute_open(trade_no => $trade_no,"
	  . " duplicate_of => (SELECT trade_no FROM pay_query(order_no => 'A0')), reason => 'twice')",
	'applied|1',
	'app: opens a case',
	user => 'app');
foreach my $role ('ops', 'auditor')
{
	answers(
		$node,
		"SELECT DISTINCT order_no, decision FROM pay_dispute_case(dispute_id => 1) WHERE source = 'dispute' ORDER BY 1",
		"A0|applied\nA1|applied",
		"$role: reads the case",
		user => $role);
	answers(
		$node,
		"SELECT count(*) FROM pay_suspects(since => now() - interval '1 day')",
		0,
		"$role: looks for others",
		user => $role);
	answers(
		$node,
		"SELECT collected, refunded, refundable FROM pay_balance WHERE order_no = 'A1'",
		'99|40|59',
		"$role: reads the balance",
		user => $role);
}
answers(
	$node,
	"SELECT decision, verdict FROM pay_dispute_resolve(dispute_id => 1, verdict => 'reject', reason => 'two pairs')",
	'applied|reject',
	'ops: settles it',
	user => 'ops');
answers(
	$node,
	"SELECT verdict, resolved_by, resolved_session, opened_by FROM pay_dispute",
	'reject|ops|ops|app',
	'auditor: reads who did it',
	user => 'auditor');
# The view does not lend anybody its owner's rights.
$node->safe_psql('postgres', 'GRANT SELECT ON pay_balance TO nobody');
raises($node, 'SELECT FROM pay_balance', '42501', 'the view alone reads nothing', user => 'nobody');
$node->safe_psql('postgres', 'REVOKE SELECT ON pay_balance FROM nobody');
answers(
	$node, "INSERT INTO pay_channel (channel, method) VALUES ('house', 'points') RETURNING route",
	'1000',
	'ops: adds a channel',
	user => 'ops');
answers($node,
	"UPDATE pay_channel SET resubmit_after = '1 minute' WHERE channel = 'house' RETURNING route",
	'1000', 'ops: sets it', user => 'ops');
answers(
	$node, "INSERT INTO pay_resource (resource, capacity, external) VALUES ('room', 5, true) RETURNING taken",
	'0',
	'ops: adds a resource',
	user => 'ops');
answers($node, "UPDATE pay_resource SET capacity = 1 WHERE resource = 'room' RETURNING resource",
	'room', 'ops: says how much there is', user => 'ops');
answers($node, 'SELECT decision FROM ' . prepay('R101', 'r1', amount => 60, valid_for => "'1 day'", holds => "'{room:101}'"),
	'proceed', 'app: holds it', user => 'app');
my $holder = "'" . $node->safe_psql('postgres', 'SELECT ' . trade_of('R101')) . "'";
foreach my $role ('app', 'worker')
{
	answers($node, 'SELECT decision, state FROM ' . hold_done($holder, 'room:101', 'tried'),
		$role eq 'app' ? 'applied|held' : 'unchanged|held', "$role: says that it was tried", user => $role);
}
raises($node, "UPDATE pay_resource SET taken = 0 WHERE resource = 'room:101'", 'PY423', 'ops: not how much is taken', user => 'ops');
answers($node, 'SELECT resource, state FROM pay_hold', 'room:101|held', 'auditor: reads who holds what', user => 'auditor');
raises($node, 'UPDATE pay_task SET due_at = now()', '42501', 'ops: moves no task', user => 'ops');

my %statement = (
	read => 'SELECT FROM %s',
	write => 'INSERT INTO %s DEFAULT VALUES',
	change => 'UPDATE %s SET pay_no = pay_no',
	lock => 'SELECT FROM %s FOR UPDATE',
	delete => 'DELETE FROM %s',
	truncate => 'TRUNCATE %s',
	copy => 'COPY %s TO STDOUT',
	trigger => 'CREATE TRIGGER t BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION pay_guard()',
	drop => 'DROP TABLE %s',
	index => 'CREATE INDEX ON %s ((1))',
	rule => 'CREATE RULE r AS ON UPDATE TO %s DO NOTHING');

foreach my $role ('app', 'nobody')
{
	foreach my $table (@PayTest::TABLES)
	{
		foreach my $what (sort keys %statement)
		{
			my $sql = sprintf $statement{$what}, $table;
			$sql =~ s/pay_no = pay_no/route = route/ if $table eq 'pay_channel';
			$sql =~ s/pay_no = pay_no/kind = kind/   if $table eq 'pay_grantee';
			$sql =~ s/pay_no = pay_no/taken = taken/ if $table eq 'pay_resource';
			$sql =~ s/pay_no = pay_no/reason = reason/ if $table eq 'pay_database';
			raises($node, $sql, '42501', "$role: may not $what $table", user => $role);
		}
	}
}
my %call = (
	pay_prepay => prepay('A2', 'r1'),
	pay_create => "pay_create(order_no => 'A2', amount => 1, currency => 'CNY')",
	pay_credential => credential($trade_no, 'c'),
	pay_transition => transition($trade_no, 'failed'),
	pay_callback => callback($trade_no, 'n9', 'failed'),
	pay_query => "pay_query(order_no => 'A1')",
	pay_close => "pay_close(order_no => 'A1')",
	pay_history => "pay_history(trade_no => $trade_no)",
	pay_review_resolve => "pay_review_resolve(review_id => 1, verdict => 'dismiss', reason => 'x')",
	pay_refund => refund($trade_no, 'F3', 1),
	pay_refund_transition => refund_transition('F1', 'failed'),
	pay_refund_callback => refund_callback('F1', 'm2', 'failed'),
	pay_dispute_open => "pay_dispute_open(trade_no => $trade_no, duplicate_of => $trade_no, reason => 'x')",
	pay_dispute_resolve => "pay_dispute_resolve(dispute_id => 1, verdict => 'refund', reason => 'x')",
	pay_dispute_case => 'pay_dispute_case(dispute_id => 1)',
	pay_suspects => 'pay_suspects(since => now())',
	pay_claim => claim('w1'),
	pay_adopt_database => "pay_adopt_database(reason => 'x')",
	pay_callbacks => "pay_callbacks(messages => '[]')",
	pay_refund_callbacks => "pay_refund_callbacks(messages => '[]')",
	pay_import => "pay_import(payments => '[]')",
	pay_hold_done => hold_done($trade_no, 'room:101', 'tried'),
	pay_grant => "pay_grant(role => 'nobody', kind => 'ops')",
	pay_revoke => "pay_revoke(role => 'nobody')",
	pay_install => 'pay_install()',
	pay_install_plan => 'pay_install_plan()');
my $rows = digest($node);
foreach my $role (@roles)
{
	foreach my $function (@payment_functions)
	{
		next if grep { $_ eq $function } split / /, $calls{$role};
		raises($node, $call{$function}, '42501', "$role: may not call $function", user => $role);
	}
}
raises(
	$node, 'UPDATE pay_payment SET end_requested = true',
	'42501',
	'ops: changes no payment',
	user => 'ops');
raises($node, 'DELETE FROM pay_review', '42501', 'ops: loses no review', user => 'ops');
raises(
	$node, "UPDATE pay_refund SET state = 'failed'",
	'42501',
	'ops: steps no refund by hand',
	user => 'ops');
raises(
	$node, "UPDATE pay_dispute SET verdict = 'refund'",
	'42501',
	'ops: nor a dispute',
	user => 'ops');
foreach my $role ('app', 'worker', 'nobody')
{
	raises(
		$node, 'SELECT FROM pay_balance', '42501', "$role: may not read pay_balance",
		user => $role);
}
is(digest($node), $rows, 'nobody changed anything');

# Types and pure readers are for all.
$node->safe_psql('postgres', 'GRANT CREATE ON SCHEMA public TO nobody');
answers(
	$node,
	<<'SQL', "t\nPY409\npaid\nt|1|test", 'nobody: has a guarded state of his own', user => 'nobody');
	CREATE TABLE mine (id int, state pay_state NOT NULL DEFAULT 'created');
	CREATE INDEX ON mine (state);
	CREATE TRIGGER guard BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION pay_state_guard('state');
	INSERT INTO mine VALUES (1), (2);
	UPDATE mine SET state = 'paying';
	SELECT pay_can('created', 'paying');
	DO $$ BEGIN
		UPDATE mine SET state = 'created';
	EXCEPTION WHEN SQLSTATE 'PY409' THEN
		CREATE TEMP TABLE caught AS SELECT SQLSTATE;
	END $$;
	SELECT * FROM caught;
	UPDATE mine SET state = 'paid' WHERE state < 'paid' AND id = 1 RETURNING state;
	SELECT pay_is_final('paid'), pay_attempt_of('00000000-0000-8001-8100-000000000000'), pay_channel_of('00000000-0000-8001-8100-000000000000');
SQL
$node->safe_psql('postgres', 'DROP TABLE mine; REVOKE CREATE ON SCHEMA public FROM nobody');

# pay_grant gives to roles, and what it gives it keeps.
raises($node, "SELECT pay_grant(role => 'public', kind => 'app')", 'PY400', 'no rights for PUBLIC');
raises(
	$node, "SELECT pay_grant(role => 'gone', kind => 'app')",
	'PY400', 'no rights for a role that is not there');
raises($node, "SELECT pay_grant(role => 'app', kind => 'root')", 'PY400', 'no such kind');
raises($node, "SELECT pay_grant(role => NULL, kind => 'app')", 'PY400', 'no role');
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION pay_grant(text, text, text), pay_revoke(text) TO mallory');
raises(
	$node, "SELECT pay_grant(role => 'mallory', kind => 'ops')",
	'42501',
	'EXECUTE on pay_grant alone gives nothing',
	user => 'mallory');
$node->safe_psql('postgres',
	'REVOKE ALL ON pay_payment, pay_refund FROM auditor; DROP VIEW pay_balance; REVOKE ALL ON FUNCTION pay_query(text, text, text) FROM app; SELECT pay_install()'
);
answers(
	$node, "SELECT count(*) FROM pay_payment JOIN pay_balance USING (pay_no) JOIN pay_refund USING (pay_no)",
	2,
	'pay_install gives again what pay_grant gave',
	user => 'auditor');
answers(
	$node, "SELECT decision FROM pay_query(order_no => 'A1')",
	'already_paid',
	'functions too',
	user => 'app');

# ---- who acted

answers($node, 'SET ROLE app; SELECT decision FROM ' . prepay('A3', 'r1'),
	'proceed', 'SET ROLE app');
is( $node->safe_psql(
		'postgres',
		"SELECT actor, session_actor = (SELECT rolname FROM pg_roles WHERE oid = 10) FROM pay_event JOIN pay_payment USING (pay_no) WHERE order_no = 'A3'"
	),
	'app|t',
	'the event tells who called, and who logged in');

# ---- a user's trigger runs as the caller

$node->safe_psql('postgres', <<'SQL');
	CREATE TABLE ran (relation name, operation text, caller name);
	GRANT INSERT ON ran TO app, ops;
	CREATE TABLE secret (word text);
	CREATE FUNCTION record_caller() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO ran VALUES (tg_relid::regclass::name, tg_when || ' ' || tg_op, current_user);
		RETURN new;
	END $$;
	ALTER TABLE pay_payment ADD COLUMN made_by name NOT NULL DEFAULT current_user;
SQL
foreach my $table (qw(pay_payment pay_attempt pay_event pay_refund))
{
	$node->safe_psql('postgres',
		"CREATE TRIGGER user_before BEFORE INSERT OR UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION record_caller();"
		  . "CREATE TRIGGER user_after AFTER INSERT OR UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION record_caller()"
	);
}
answers(
	$node, prepay('T1', 'r1'),
	'proceed|paying|1|paying',
	'app: pays where a user has triggers',
	user => 'app');
$trade_no = "'" . $node->safe_psql('postgres', 'SELECT ' . trade_of('T1')) . "'";
answers($node, callback($trade_no, 'n1', 'paid'),
	'applied|paid|1|paid', 'app: is told', user => 'app');
answers($node, 'SELECT decision FROM ' . refund($trade_no, 'F5', 1),
	'proceed', 'app: refunds', user => 'app');
answers($node, 'SELECT decision FROM ' . refund_callback('F5', 'm1', 'failed'),
	'applied', 'app: is told of that', user => 'app');
is( $node->safe_psql('postgres', 'SELECT * FROM ran GROUP BY 1, 2, 3 ORDER BY 1, 2'),
	<<'ROWS' =~ s/\n$//r, 'all of them ran as the caller');
pay_attempt|AFTER INSERT|app
pay_attempt|AFTER UPDATE|app
pay_attempt|BEFORE INSERT|app
pay_attempt|BEFORE UPDATE|app
pay_event|AFTER INSERT|app
pay_event|BEFORE INSERT|app
pay_payment|AFTER INSERT|app
pay_payment|AFTER UPDATE|app
pay_payment|BEFORE INSERT|app
pay_payment|BEFORE UPDATE|app
pay_refund|AFTER INSERT|app
pay_refund|AFTER UPDATE|app
pay_refund|BEFORE INSERT|app
pay_refund|BEFORE UPDATE|app
ROWS
is($node->safe_psql('postgres', "SELECT made_by FROM pay_payment WHERE order_no = 'T1'"),
	'app', 'and so did the default of a user\'s column');

foreach my $when ('BEFORE', 'AFTER')
{
	$node->safe_psql('postgres',
		"CREATE OR REPLACE FUNCTION peek() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM FROM secret; RETURN new; END';"
		  . "CREATE TRIGGER user_peek $when UPDATE ON pay_attempt FOR EACH ROW EXECUTE FUNCTION peek()"
	);
	answers(
		$node, prepay("P$when", 'r1'),
		'proceed|paying|1|paying',
		"$when: a trigger that does not fire yet",
		user => 'app');
	my $number = "'" . $node->safe_psql('postgres', 'SELECT ' . trade_of("P$when")) . "'";
	raises(
		$node, callback($number, 'n1', 'paid'), '42501',
		"$when: a trigger cannot do what the caller may not",
		user => 'app',
		like => qr/secret/);
	answers(
		$node, "SELECT decision FROM pay_query(order_no => 'P$when')",
		'in_progress',
		"$when: nothing happened",
		user => 'app');
	answers($node, callback($number, 'n1', 'paid'), 'applied|paid|1|paid', "$when: the owner may");
	$node->safe_psql('postgres', 'DROP TRIGGER user_peek ON pay_attempt');
}

# Row-level security does not bind the store.
$node->safe_psql('postgres',
	'ALTER TABLE pay_payment ENABLE ROW LEVEL SECURITY; ALTER TABLE pay_payment FORCE ROW LEVEL SECURITY;'
	  . 'ALTER TABLE pay_attempt ENABLE ROW LEVEL SECURITY; ALTER TABLE pay_event ENABLE ROW LEVEL SECURITY'
);
answers(
	$node, prepay('R1', 'r1'),
	'proceed|paying|1|paying',
	'row-level security does not bind the store',
	user => 'app');
answers(
	$node, "SELECT decision FROM pay_query(order_no => 'T1')",
	'already_paid',
	'nor what it reads',
	user => 'app');

# ---- search_path

# What mallory puts first on everybody's path, or where he may, in a schema
# behind it: whatever of it runs, says so with TRAP1.
$node->safe_psql('postgres', 'CREATE SCHEMA evil AUTHORIZATION mallory');

# Functions and operators that call themselves like core's and fit better than
# core's where an argument would be cast.
sub trap
{
	my ($schema, $name, $result, @types) = @_;
	my $arguments = join ', ', @types;
	my $sql = "CREATE FUNCTION $schema.$name($arguments) RETURNS $result LANGUAGE plpgsql AS"
	  . " \$\$ BEGIN RAISE 'mallory runs as %: $name($arguments)', current_user USING ERRCODE = 'TRAP1'; END \$\$;";

	return $sql;
}

sub trap_operator
{
	my ($schema, $left, $right, $n) = @_;

	return
		trap($schema, "eq$n", 'boolean', $left, $right)
	  . "CREATE OPERATOR $schema.= (LEFTARG = $left, RIGHTARG = $right, FUNCTION = $schema.eq$n);"
	  . trap($schema, "ne$n", 'boolean', $left, $right)
	  . "CREATE OPERATOR $schema.<> (LEFTARG = $left, RIGHTARG = $right, FUNCTION = $schema.ne$n);";
}

sub traps
{
	my ($schema) = @_;
	my $n = 0;

	return join '',
	  ( map    { trap_operator($schema, @$_, $n++) }
		  grep { $schema ne 'public' || "@$_" !~ /^(\S+_state) \1$/ }
		  [qw(text text)],
		[qw(name text)],
		[qw(text name)],
		[qw(name name)],
		[qw(uuid uuid)],
		[qw(integer integer)],
		[qw(smallint smallint)],
		[qw(bigint bigint)],
		[qw(public.pay_state public.pay_state)],
		[qw(public.pay_state text)],
		[qw(public.pay_refund_state public.pay_refund_state)],
		[qw(public.pay_refund_state text)],
		[qw(interval interval)],
		[qw(oid regclass)],
		[qw(oid regproc)],
		[qw(oid regprocedure)],
		[qw(oid regnamespace)],
		[qw(oid oid)],
		[qw("char" text)],
		[qw("char" "char")],
		[qw(regclass regclass)],
		[qw(oid regrole)],
		[qw(boolean boolean)],
		[qw(timestamptz timestamptz)]),
	  trap($schema, 'now', 'timestamptz'), trap($schema, 'clock_timestamp', 'timestamptz'),
	  trap($schema, 'lower', 'text', 'text'),
	  trap($schema, 'octet_length', 'integer', 'text'),
	  trap($schema, 'cardinality', 'integer', 'smallint[]'),
	  trap($schema, 'format', 'text', 'text', 'name', 'text'),
	  trap($schema, 'format', 'text', 'text', 'name', 'name'),
	  trap($schema, 'format', 'text', 'text', 'text', 'text'),
	  trap($schema, 'format', 'text', 'text', 'regrole'),
	  trap($schema, 'format', 'text', 'text', 'text'),
	  trap($schema, 'format', 'text', 'text', 'name'),
	  trap($schema, 'format', 'text', 'text', 'regclass', 'regrole'),
	  trap($schema, 'format', 'text', 'text', 'text', 'name', 'text', 'text'),
	  trap($schema, 'pg_has_role', 'boolean', 'regrole', 'text'),
	  trap($schema, 'quote_literal', 'text', 'name'),
	  trap($schema, 'has_function_privilege', 'boolean', 'oid', 'text', 'text'),
	  trap($schema, 'to_regclass', 'regclass', 'text'),
	  trap($schema, 'jsonb_array_elements_text', 'text', 'jsonb'),
	  trap($schema, 'current_setting', 'text', 'text', 'boolean'),
	  trap($schema, 'int8', 'bigint', 'numeric');
}

$node->safe_psql('postgres', traps('evil') . <<'SQL', extra_params => [ '-U', 'mallory' ]);
	CREATE TABLE evil.pay_payment (pay_no uuid, merchant text, order_no text, state text);
	CREATE TABLE evil.pay_channel (route int, channel text, method text);
	INSERT INTO evil.pay_channel VALUES (1, 'test', 'free');
	CREATE TYPE evil.pay_state AS ENUM ('paid');
	CREATE TYPE evil.pay_decision AS ENUM ('proceed');
	CREATE FUNCTION evil.pay_guard() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN RAISE ''mallory guards'' USING ERRCODE = ''TRAP1''; END';
	CREATE DOMAIN evil.uuid AS text;
	CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
	GRANT USAGE ON SCHEMA evil TO PUBLIC;
	GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA evil TO PUBLIC;
SQL
my $path =
  "SET search_path = evil, public, pg_catalog; CREATE TEMP TABLE pay_payment (pay_no uuid, order_no text);"
  . 'CREATE TEMP TABLE pay_event (pay_no uuid); CREATE TYPE pg_temp.pay_result AS (decision text); SET search_path = evil, pg_temp, public, pg_catalog;';
raises($node, "$path SELECT 'x'::pg_catalog.text = 'x'::pg_catalog.text",
	'TRAP1', 'the trap works for who steps into it');
foreach my $user ('app', $node->safe_psql('postgres', 'SELECT current_user'))
{
	my @o = (schema => 'public', merchant => "'by $user'");
	my $mine =
	  $user eq 'app'
	  ? "$path "
	  : "$path SELECT public.pay_install() \\gset\nSELECT public.pay_grant(role => 'app', kind => 'app') \\gset\n";
	my ($out, $err) = ('', '');
	my $rc = $node->psql('postgres', $mine
		  . <<"SQL", stdout => \$out, stderr => \$err, on_error_stop => 1, extra_params => [ '-U', $user ]);
	SELECT decision FROM @{[ prepay('V1', 'r1', @o) ]};
	SELECT decision FROM @{[ prepay('V1', 'r2', @o) ]};
	SELECT trade_no FROM public.pay_query(order_no => 'V1', merchant => 'by $user') \\gset
	SELECT decision FROM @{[ credential(":'trade_no'", 'wx2014', schema => 'public') ]};
	SELECT decision FROM @{[ callback(":'trade_no'", 'n1', 'failed', schema => 'public') ]};
	SELECT decision FROM @{[ prepay('V1', 'r3', @o) ]};
	SELECT trade_no FROM public.pay_query(order_no => 'V1', merchant => 'by $user') \\gset
	SELECT decision FROM @{[ transition(":'trade_no'", 'unknown', schema => 'public') ]};
	SELECT decision FROM @{[ callback(":'trade_no'", 'n2', 'paid', schema => 'public') ]};
	SELECT decision FROM @{[ refund(":'trade_no'", "F by $user", 60, schema => 'public') ]};
	SELECT decision FROM @{[ refund_callback("F by $user", 'm1', 'succeeded', schema => 'public', merchant => "'by $user'") ]};
	SELECT decision FROM @{[ refund(":'trade_no'", "F by $user", 60, schema => 'public') ]};
	SELECT decision FROM @{[ prepay('V2', 'r1', @o) ]};
	SELECT decision FROM public.pay_dispute_open(trade_no => :'trade_no', duplicate_of => (SELECT trade_no FROM public.pay_query(order_no => 'V2', merchant => 'by $user')), reason => 'x');
	SELECT public.pay_channel_of(:'trade_no'), (SELECT pg_catalog.count(*) FROM pg_temp.pay_payment), (SELECT pg_catalog.count(*) FROM evil.pay_payment);
SQL
	is( $out . $err,
		"proceed\nin_progress\napplied\napplied\nproceed\napplied\napplied\nproceed\napplied\nreplayed\nproceed\napplied\ntest|0|0",
		"$user: pays whatever is first on his search_path");
}
foreach my $user ('ops', $node->safe_psql('postgres', 'SELECT current_user'))
{
	answers(
		$node,
		"$path SELECT pg_catalog.count(*) FROM public.pay_suspects(since => '2001-01-01');"
		  . 'SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 5 FROM public.pay_dispute_case(dispute_id => 2);'
		  . "SELECT decision FROM public.pay_dispute_resolve(dispute_id => 2, verdict => 'refund', reason => 'x');"
		  . "SELECT collected, reserved, refunded FROM public.pay_balance WHERE merchant OPERATOR(pg_catalog.=) 'by app' AND order_no OPERATOR(pg_catalog.=) 'V1'",
		# row-level security, which is on by now, hides from ops what he reads with SQL, by the view as well
		$user eq 'ops' ? "0\nt\napplied" : "0\nt\nunchanged\n100|40|60",
		"$user: settles, looks and sums up there, too",
		user => $user);
}
is( $node->safe_psql(
		'postgres', "SELECT count(*) FROM pay_payment WHERE order_no = 'V1' AND state = 'paid'"),
	2,
	'what they wrote is in our tables');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pay_channel WHERE method = \'free\''),
	0, 'nor was anything of his read');

# The guards, in anybody's UPDATE and with the attacker's operators on the path.
answers(
	$node,
	"$path UPDATE public.pay_payment SET state = 'unknown' WHERE order_no OPERATOR(pg_catalog.=) 'A3' RETURNING state",
	'unknown',
	'a direct UPDATE is logged');

is(violations($node), '', 'all that must hold holds');

# One who may create in our own schema, before pay_install() and after: he
# cannot place himself between us and what we mean, neither with what is named
# like core's objects nor with what is named like ours.
sub overloads
{
	my ($schema) = @_;

	return join '', map { trap($schema, @$_) }[qw(pay_trusts boolean oid)],
	  [qw(pay_trusts boolean text)], [qw(pay_trusts boolean name)],
	  [qw(pay_number_matches boolean uuid uuid smallint smallint)],
	  [qw(pay_number_matches boolean uuid uuid integer smallint)],
	  [qw(pay_grant void name text)], [qw(pay_grant void regrole text)],
	  [qw(pay_grant void name name)],
	  [qw(has_schema_privilege boolean name text)], [qw(pay_refuse_superuser void oid)], [qw(pay_refuse_superuser void text)],
	  [qw(pay_grant void text name text)],
	  [qw(pay_can boolean public.pay_state public.pay_state)], [qw(pay_install void text)],
	  [qw(pay_guard boolean text)];
}

$node->safe_psql('postgres', 'CREATE DATABASE trapped');
$node->safe_psql('trapped', 'CREATE EXTENSION pay_idem; GRANT CREATE ON SCHEMA public TO mallory');
$node->safe_psql(
	'trapped',
	traps('public') . overloads('public'),
	extra_params => [ '-U', 'mallory' ]);
raises($node, 'SELECT pay_install()', 'PY409', 'while he may create there, pay_install refuses', db => 'trapped',
	like => qr/CREATE is granted to mallory.*REVOKE CREATE ON SCHEMA public FROM mallory/s);
$node->safe_psql('trapped', 'REVOKE CREATE ON SCHEMA public FROM mallory');
raises(
	$node, "SELECT 10::oid = 'pg_class'::regclass",
	'TRAP1',
	'a trap in our schema works for who steps into it',
	db => 'trapped');
raises(
	$node, "SELECT pay_trusts(10::oid)",
	'TRAP1',
	'one that is named like a function of ours too',
	db => 'trapped');
answers(
	$node, 'SELECT pay_install()',
	'',
	'traps in our schema: pay_install does not step into them',
	db => 'trapped');
answers(
	$node, "SELECT pay_grant(role => 'app', kind => 'app')",
	'',
	'nor does pay_grant',
	db => 'trapped');
answers(
	$node, 'DROP TABLE pay_review; DROP VIEW pay_balance; SELECT pay_install()',
	'',
	'nor pay_install with tables that are there',
	db => 'trapped');

foreach my $user ('app', undef)
{
	my %as = (db => 'trapped', user => $user);
	my $order = $user || 'root';
	my $who = $user ? 'the app role' : 'the superuser';

	answers($node, prepay($order, 'r1'), 'proceed|paying|1|paying', "nor pay_prepay by $who", %as);
	my $number = "'"
	  . $node->safe_psql('trapped',
		"SELECT a.trade_no FROM pay_payment p, pay_attempt a WHERE p.order_no::bytea OPERATOR(pg_catalog.=) '$order'::bytea AND a.pay_no OPERATOR(pg_catalog.=) p.pay_no"
	  ) . "'";
	answers($node, callback($number, 'n1', 'paid', amount => 99),
		'mismatch|paying|1|paying', "nor pay_callback by $who", %as);
	answers($node, callback($number, 'n2', 'paid'),
		'applied|paid|1|paid', "nor another by $who", %as);
	answers($node, 'SELECT decision, state, refundable FROM ' . refund($number, "F $order", 60),
		'proceed|requested|40', "nor pay_refund by $who", %as);
	answers(
		$node, 'SELECT decision, state, refundable FROM ' . refund_callback("F $order", 'm1', 'succeeded'),
		'applied|succeeded|40', "nor pay_refund_callback by $who", %as);
}
answers(
	$node, 'SELECT collected, refunded FROM pay_balance',
	"100|60\n100|60",
	'nor the view',
	db => 'trapped');
answers(
	$node, "SELECT pg_catalog.count(*) FROM pay_suspects(since => '2001-01-01')",
	0,
	'nor pay_suspects',
	db => 'trapped');
raises(
	$node, "UPDATE pay_payment SET state = 'closed'",
	'PY409',
	'nor a direct UPDATE',
	db => 'trapped');

no_leaks($node);
done_testing();
