# The extension comes and goes like any other; its tables are the user's, and
# what somebody else put in their place is refused.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node('main', install => 0);
my $drop = $PayTest::DROP;
my $install = "SELECT pay_install() \\gset\n";
my $db;

# A database of its own for each story.
sub story
{
	$db = shift;
	note "---- $db";
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	return;
}

# One session says all of it, errors included; what it prints is compared.
sub one_session
{
	my ($sql, $expected, $name) = @_;
	my ($stdout, $stderr);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$node->psql($db, $sql, stdout => \$stdout, stderr => \$stderr, on_error_stop => 0);
	return is($stdout, $expected, $name) || diag($stderr);
}

sub decide
{
	return 'SELECT decision FROM ' . prepay(@_) . ";\n\\if :ERROR\n\\echo :SQLSTATE\n\\endif\n";
}

# What must fail in a session prints its SQLSTATE.
sub state_of { return "$_[0];\n\\echo :SQLSTATE\n" }

# A whole life of an order, as a check that everything works.
sub life
{
	my ($order, $s, $name, %as) = @_;
	my @o = $s ? (schema => $s) : ();
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	answers($node, prepay($order, 'r1', @o, valid_for => "'1 hour'", holds => "'{coupon:$order}'"), 'proceed|paying|1|paying', "$name: prepay", db => $db, %as);
	answers(
		$node, callback(trade_of($order, @o), 'n1', 'failed', @o),
		'applied|failed|1|failed', "$name: failed",
		db => $db, %as);
	answers(
		$node, prepay($order, 'r2', @o),
		'proceed|paying|2|paying', "$name: once more",
		db => $db, %as);
	answers(
		$node, credential(trade_of($order, @o), 'c', @o),
		'applied|paying|2|paying', "$name: credential",
		db => $db, %as);
	answers(
		$node, callback(trade_of($order, @o), 'n1', 'paid', @o, amount => 99),
		'mismatch|paying|2|paying', "$name: too little",
		db => $db, %as);
	answers($node, callback(trade_of($order, @o), 'n2', 'paid', @o),
		'applied|paid|2|paid', "$name: paid", db => $db, %as);
	answers(
		$node, 'SELECT decision, state, refundable FROM ' . refund(trade_of($order, @o), "$order 1", 60, @o),
		'proceed|requested|40', "$name: refunded in part",
		db => $db, %as);
	answers(
		$node, 'SELECT action, refund_no FROM ' . claim('w1', @o, actions => "'{submit_refund}'"),
		"submit_refund|$order 1", "$name: which a worker is told to do",
		db => $db, %as);
	answers(
		$node, 'SELECT decision, state, refundable FROM ' . refund_callback("$order 1", 'm1', 'succeeded', @o),
		'applied|succeeded|40', "$name: which succeeded",
		db => $db, %as);
	is( $node->safe_psql($db, 'SELECT needed, collected, refunded, refundable FROM ' . ($s ? "$s." : '') . "pay_balance WHERE order_no = '$order'"),
		'100|100|60|40',
		"$name: its balance");
	is( $node->safe_psql($db, 'SELECT state, taken FROM ' . ($s ? "$s." : '') . 'pay_hold JOIN ' . ($s ? "$s." : '') . "pay_resource USING (resource) WHERE resource = 'coupon:$order'"),
		'confirmed|1',
		"$name: its coupon is spent");
	is(violations($node, db => $db, schema => $s), '', "$name: all that must hold holds");
	return;
}

story('rolled_back');
one_session(
	<<"SQL", "proceed\nproceed\nproceed\nin_progress\nproceed", 'CREATE EXTENSION rolled back, and created again in the same session');
	BEGIN;
	CREATE EXTENSION pay_idem;
	$install
	@{[ decide('A1', 'r1') ]}
	ROLLBACK;
	BEGIN;
	SAVEPOINT s;
	CREATE EXTENSION pay_idem;
	$install
	@{[ decide('A1', 'r1') ]}
	ROLLBACK TO s;
	CREATE EXTENSION pay_idem;
	COMMIT;
	$install
	@{[ decide('A1', 'r1') ]}
	@{[ decide('A1', 'r2') ]}
	@{[ decide('A2', 'r1') ]}
SQL
life('life', '', 'after that');

story('not_installed');
$node->safe_psql($db, 'CREATE EXTENSION pay_idem');
my $number = "'00000000-0000-8001-8100-000000000000'";
foreach my $call (
	prepay('A1', 'r1'),
	callback($number, 'n1', 'paid'),
	callback("'x'", 'n1', 'paid'),
	credential($number, 'c'),
	transition($number, 'failed'),
	"pay_query(order_no => 'A1')",
	"pay_history(trade_no => $number)",
	"pay_channel_of(trade_no => $number)",
	"pay_grant(role => current_user::text, kind => 'app')",
	"pay_create(order_no => 'A1', amount => 1, currency => 'CNY')",
	"pay_review_resolve(review_id => 1, verdict => 'dismiss', reason => 'x')",
	refund($number, 'F1', 1),
	refund_transition('F1', 'processing'),
	refund_callback('F1', 'm1', 'succeeded'),
	"pay_dispute_open(trade_no => $number, duplicate_of => '00000000-0000-8000-8000-000000000001', reason => 'x')",
	"pay_dispute_resolve(dispute_id => 1, verdict => 'reject', reason => 'x')",
	"pay_dispute_case(dispute_id => 1)",
	"pay_suspects(since => now())",
	claim('w1'),
	"pay_adopt_database(reason => 'x')",
	hold_done($number, 'coupon:C1', 'tried'))
{
	my ($name) = $call =~ /(\w+)/;
	raises(
		$node, $call, 'PY503', "$name before pay_install",
		db => $db,
		like => qr/HINT: .*pay_install/);
}
one_session(
	<<"SQL", "PY503\nproceed\nPY503\nproceed", 'not installed is not remembered, and neither is installed');
	@{[ decide('A1', 'r1') ]}
	BEGIN;
	$install
	@{[ decide('A1', 'r1') ]}
	ROLLBACK;
	@{[ decide('A1', 'r1') ]}
	$install
	@{[ decide('A1', 'r1') ]}
SQL
life('life', '', 'after that');

story('dropped');
one_session(
	<<"SQL", "proceed\n2BP01\nin_progress\n00000\n00000\nPY503\nproceed", 'DROP EXTENSION and CREATE in one session, calls before and after');
	CREATE EXTENSION pay_idem;
	$install
	@{[ decide('A1', 'r1') ]}
	@{[ state_of('DROP EXTENSION pay_idem') ]}
	@{[ decide('A1', 'r2') ]}
	$drop;
	@{[ state_of('DROP EXTENSION pay_idem') ]}
	@{[ state_of('CREATE EXTENSION pay_idem') ]}
	@{[ decide('A1', 'r1') ]}
	$install
	@{[ decide('A1', 'r1') ]}
SQL
life('life', '', 'after that');

# CASCADE takes the columns of our types with it; what is left is no table of ours.
one_session(
	<<"SQL", "in_progress\nPY503\nPY409\n00000\nproceed", 'DROP EXTENSION CASCADE, wrecks are neither used nor adopted');
	SET client_min_messages = error;
	@{[ decide('A1', 'r2') ]}
	DROP EXTENSION pay_idem CASCADE;
	CREATE EXTENSION pay_idem;
	@{[ decide('A1', 'r1') ]}
	@{[ state_of('SELECT pay_install()') ]}
	@{[ state_of('DROP TABLE ' . join ', ', @PayTest::TABLES) ]}
	$install
	@{[ decide('A1', 'r1') ]}
SQL
life('life', '', 'after CASCADE');

one_session(
	<<"SQL", "in_progress\nPY503\nproceed\nin_progress", 'our tables dropped and installed again in one session');
	@{[ decide('A1', 'r2') ]}
	$drop;
	@{[ decide('A1', 'r1') ]}
	$install
	@{[ decide('A1', 'r1') ]}
	@{[ decide('A1', 'r2') ]}
SQL
# The view reads tables, so it stands in the way of dropping those; it goes first, and comes back.
one_session(<<"SQL", "2BP01\n00000\npay_balance", 'pay_balance alone comes back by pay_install');
	@{[ state_of('DROP TABLE pay_refund') ]}
	@{[ state_of('DROP VIEW pay_balance') ]}
	$install
	SELECT 'pay_balance'::regclass;
SQL
foreach my $table (@PayTest::TABLES)
{
	one_session(<<"SQL", "00000\n$table\npay_balance", "$table alone comes back by pay_install");
	DROP VIEW pay_balance;
	@{[ state_of("DROP TABLE $table") ]}
	$install
	SELECT '$table'::regclass;
	SELECT 'pay_balance'::regclass;
SQL
}
life('life', '', 'after that');

# What other sessions do, a session hears of.
my $session = $node->background_psql($db, on_error_stop => 0);
my $ask = sub {
	my ($call) = @_;
	my $answer =
	  $session->query("SELECT decision FROM $call;\n\\if :ERROR\n\\echo :SQLSTATE\n\\endif");

	$session->{stderr} = '';
	return $answer;
};
is($ask->(prepay('heard', 'r1')), 'proceed', 'a session with everything in its caches');
$node->safe_psql($db, "$drop");
is($ask->(prepay('heard', 'r1')), 'PY503', 'another one dropped the tables');
$node->safe_psql($db, 'SELECT pay_install()');
is($ask->(prepay('heard', 'r1')), 'proceed', 'and installed new ones');
$node->safe_psql($db, "$drop; DROP EXTENSION pay_idem");
is($ask->(prepay('heard', 'r1')), '42883', 'dropped the extension');
$node->safe_psql($db, 'CREATE EXTENSION pay_idem');
is($ask->(prepay('heard', 'r1')), 'PY503', 'and created it');
$node->safe_psql($db, "BEGIN; SELECT pay_install(); ROLLBACK");
is($ask->(prepay('heard', 'r1')), 'PY503', 'installed, and rolled that back');
$node->safe_psql($db,
	"SELECT pay_install(); UPDATE pay_channel SET resubmit_after = '1 year'; CREATE SCHEMA pay; ALTER TABLE pay_event SET SCHEMA pay");
is($ask->(prepay('heard', 'r1')), 'PY503', 'moved a table away');
$node->safe_psql($db, 'ALTER TABLE pay.pay_event SET SCHEMA public');
is($ask->(prepay('heard', 'r1')), 'proceed', 'and back');
$node->safe_psql($db, 'ALTER TABLE pay_event RENAME TO other');
is($ask->(prepay('heard', 'r2')), 'PY503', 'renamed a table');
$node->safe_psql($db, 'ALTER TABLE other RENAME TO pay_event');
is($ask->(prepay('heard', 'r2')), 'in_progress', 'and back');
$node->safe_psql($db, 'ALTER TABLE pay_payment OWNER TO pg_monitor');
is($ask->(prepay('heard', 'r2')), 'PY503', 'gave a table to a role that may not install');
$node->safe_psql($db, 'GRANT EXECUTE ON FUNCTION pay_install() TO pg_monitor');
is($ask->(prepay('heard', 'r2')), 'PY503', 'which now may, but the others are not its');
$node->safe_psql($db, join ';', map { "ALTER TABLE $_ OWNER TO pg_monitor" } @PayTest::TABLES);
is($ask->(prepay('heard', 'r2')), '42501', 'now all are, and this session is a superuser\'s');
$node->safe_psql($db, join ';', map { "ALTER TABLE $_ OWNER TO CURRENT_USER" } @PayTest::TABLES);
is($ask->(prepay('heard', 'r2')), 'in_progress', 'and took it back');
foreach (
	[ 'ALTER TABLE pay_event DISABLE TRIGGER pay_guard_before', 'ALTER TABLE pay_event ENABLE TRIGGER pay_guard_before', 'disabled a guard' ],
	[ 'ALTER TABLE pay_hold DISABLE TRIGGER ALL', 'ALTER TABLE pay_hold ENABLE TRIGGER ALL', 'disabled all triggers' ],
	[ 'DROP TRIGGER pay_guard_truncate ON pay_refund', 'SELECT pay_install()', 'dropped a guard' ],
	[ 'ALTER TABLE pay_attempt DROP CONSTRAINT pay_attempt_cap_check', 'SELECT pay_install()', 'dropped a CHECK' ],
	[ 'ALTER TABLE pay_task SET UNLOGGED', 'SELECT pay_install()', 'made a table UNLOGGED' ],
	[ 'CREATE TABLE child () INHERITS (pay_attempt)', 'DROP TABLE child', 'made a child' ],
	[ 'CREATE RULE mine AS ON UPDATE TO pay_payment DO ALSO SELECT 1', 'DROP RULE mine ON pay_payment', 'made a rule' ],
	[ 'CREATE TABLE parent (LIKE pay_review); ALTER TABLE pay_review INHERIT parent', 'ALTER TABLE pay_review NO INHERIT parent; DROP TABLE parent', 'gave a table a parent' ],
	[ 'CREATE TABLE whole (LIKE pay_task) PARTITION BY RANGE (due_at); ALTER TABLE whole ATTACH PARTITION pay_task DEFAULT', 'ALTER TABLE whole DETACH PARTITION pay_task; DROP TABLE whole', 'made a table a partition' ])
{
	my ($damage, $repair, $what) = @$_;

	$node->safe_psql($db, $damage);
	is($ask->(prepay('heard', 'r2')), 'PY503', $what);
	$node->safe_psql($db, $repair);
	is($ask->(prepay('heard', 'r2')), 'in_progress', 'and undid it');
}
$session->quit;

story('odd_schema');
my $s = '"Pay Schema"';
$node->safe_psql($db,
	"CREATE SCHEMA $s; CREATE EXTENSION pay_idem SCHEMA $s; SELECT $s.pay_install()");
life('life', $s, 'in an odd schema, not on the search_path');
is( $node->safe_psql(
		$db,
		"SELECT count(*) FROM pg_class WHERE relname LIKE 'pay\\_%' AND relkind IN ('r', 'v') AND relnamespace <> '$s'::regnamespace"
	),
	0,
	'all tables and the view are in that schema');
raises($node, prepay('A1', 'r1'), '42883', 'its functions are nowhere else', db => $db);
$node->safe_psql($db,
	"CREATE ROLE odd_app LOGIN; SELECT $s.pay_grant(role => 'odd_app', kind => 'app'), $s.pay_install()"
);
answers(
	$node, prepay('granted', 'r1', schema => $s), 'proceed|paying|1|paying',
	'pay_grant works there',
	db => $db,
	user => 'odd_app');
$node->safe_psql($db,
		"CREATE TABLE mine (id int, state $s.pay_state); INSERT INTO mine VALUES (1, 'paid');"
	  . "CREATE TRIGGER guard BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION $s.pay_state_guard('state')"
);
raises($node, "UPDATE mine SET state = 'paying'", 'PY409', 'pay_state_guard works there',
	db => $db);
is($node->safe_psql($db, "SELECT count(*) FROM mine WHERE state = 'paid'"),
	1, 'a state compares whatever the search_path');
one_session(
	"SET search_path = pg_catalog; PREPARE p AS SELECT decision FROM "
	  . prepay('life', 'r3', schema => $s)
	  . "; EXECUTE p;\n"
	  . "SET search_path = ''; EXECUTE p;\nSET search_path = $s; EXECUTE p; SELECT decision FROM "
	  . prepay('life', 'r3') . ';',
	"already_paid\nalready_paid\nalready_paid\nalready_paid",
	'and so does a call');

# The schema gets another name.
$session = $node->background_psql($db, on_error_stop => 1);
is($session->query_safe('SELECT decision FROM ' . prepay('renamed', 'r1', schema => $s)),
	'proceed', 'before the schema is renamed');
$node->safe_psql($db, "ALTER SCHEMA $s RENAME TO \"Other's\"");
$s = '"Other\'s"';
is($session->query_safe('SELECT decision FROM ' . prepay('renamed', 'r2', schema => $s)),
	'in_progress', 'and after, in the same session');
$session->quit;
$node->safe_psql($db,
	"SELECT $s.pay_install(), $s.pay_grant(role => 'odd_app', kind => 'auditor')");
life('renamed too', $s, 'in a schema with another name');

# Another database of the same cluster, another schema: they know nothing of each other.
my $odd_rows = digest($node, db => $db, schema => $s);
my $odd = $db;
story('other_database');
$node->safe_psql($db,
	'CREATE SCHEMA pay; CREATE EXTENSION pay_idem SCHEMA pay; SELECT pay.pay_install()');
life('life', 'pay', 'in a second database');
raises(
	$node, transition("(SELECT '00000000-0000-8000-8000-000000000000')", 'failed', schema => 'pay'),
	'PY404', 'a number of nobody',
	db => $db);
my $foreign = $node->safe_psql($odd, "SELECT trade_no FROM $s.pay_query(order_no => 'granted')");
answers(
	$node, 'SELECT decision FROM ' . callback("'$foreign'", 'n1', 'paid', schema => 'pay'),
	'unmatched', 'a number of the other database',
	db => $db);
is(digest($node, db => $odd, schema => $s), $odd_rows, 'the first database is as it was');
$node->safe_psql('postgres', "DROP DATABASE $odd");
life('another', 'pay', 'after the other database has gone');

# A dumb wrapper: an extension whose script calls pay_install().
my $control = "$PayTest::sharedir/extension/pay_wrapper.control";
my $script = "$PayTest::sharedir/extension/pay_wrapper--1.sql";
append_to_file($control, "default_version = '1'\nrequires = 'pay_idem'\n");
append_to_file($script,
	"SELECT \@extschema:pay_idem\@.pay_install();\n" =~ s/\@extschema:pay_idem\@/public/r);

END
{
	unlink grep { defined } $control, $script;
}

story('inside_a_script');
$node->safe_psql($db, 'CREATE EXTENSION pay_idem');
raises(
	$node, 'CREATE EXTENSION pay_wrapper', 'PY409', 'pay_install inside an extension script',
	db => $db,
	like => qr/HINT: .*CREATE EXTENSION/);
is( $node->safe_psql(
		$db,
		"SELECT count(*) FROM pg_class WHERE relname = ANY ('{"
		  . join(',', @PayTest::TABLES, 'pay_balance') . "}')"),
	0,
	'left nothing behind');
raises($node, prepay('A1', 'r1'), 'PY503', 'and installed nothing', db => $db);
$node->safe_psql($db, 'SELECT pay_install()');
life('life', '', 'installed as it should be');

# Squatters. A role that may create tables in our schema puts one there first,
# with a trigger that would take the rights of whoever pays.
$node->safe_psql('postgres',
	'CREATE ROLE mallory LOGIN; CREATE ROLE shop_owner LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE reader LOGIN'
);
story('template_of_squatters');
$node->safe_psql($db, 'CREATE EXTENSION pay_idem; SELECT pay_install()');
my $ddl = '';
IPC::Run::run([ 'pg_dump', '--schema-only', '--no-owner', '--no-acl', '-d', $node->connstr($db) ],
	'>', \$ddl)
  or die 'pg_dump failed';
$ddl = join "\n", grep { !/^\\|EXTENSION|^--/ } split /\n/, $ddl;

story('squatters');

sub squat
{
	my ($name, $sql) = @_;

	$node->safe_psql($db,
		'SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC;'
		  . 'CREATE EXTENSION pay_idem; GRANT CREATE ON SCHEMA public TO mallory; CREATE TABLE loot (whose name); GRANT INSERT ON loot TO PUBLIC'
	);
	$node->safe_psql($db, $sql, extra_params => [ '-U', 'mallory' ]);
	$node->safe_psql($db, 'REVOKE CREATE ON SCHEMA public FROM mallory');
	raises($node, prepay('A1', 'r1'), 'PY503', "$name: not used before pay_install", db => $db);
	raises(
		$node, 'SELECT pay_install()', 'PY409', "$name: refused",
		db => $db,
		like => qr/mallory/);
	raises($node, prepay('A1', 'r1'), 'PY503', "$name: not used after that", db => $db);
	raises($node, "pay_query(order_no => 'A1')", 'PY503', "$name: not even read", db => $db);
	raises($node, 'pay_suspects(since => now())', 'PY503', "$name: not by pay_suspects either", db => $db);
	raises(
		$node, "SELECT pay_grant(role => 'reader', kind => 'app')",
		'PY503', "$name: not by pay_grant either",
		db => $db);
	is($node->safe_psql($db, 'SELECT count(*) FROM loot'),
		0, "$name: nothing of the squatter's ran");
	return;
}

my $evil = <<'SQL';
	CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO loot VALUES (current_user); RETURN new; END';
SQL
foreach my $table (@PayTest::TABLES)
{
	squat("squatted_$table",
			"$evil CREATE TABLE $table (pay_no uuid, state pay_state);"
		  . "CREATE TRIGGER pay_guard_before BEFORE UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION pay_guard();"
		  . "CREATE TRIGGER evil BEFORE INSERT ON $table FOR EACH ROW EXECUTE FUNCTION evil()");
}
squat(
	'squatted_all',
	"$evil $ddl; SET search_path = public;" . join ';',
	map { "CREATE TRIGGER evil BEFORE INSERT ON $_ FOR EACH ROW EXECUTE FUNCTION public.evil()" }
	  @PayTest::TABLES);
squat('squatted_view', 'CREATE VIEW pay_payment AS SELECT 1 AS pay_no');
# Of the view, whatever it is and looks like: who reads it would run what it says.
my $evil_balance = 'CREATE FUNCTION loot() RETURNS bigint LANGUAGE plpgsql AS \'BEGIN INSERT INTO loot VALUES (current_user); RETURN 0; END\';';
squat('squatted_balance', 'CREATE VIEW pay_balance AS SELECT 1 AS pay_no');
squat('squatted_balance_all', "$evil_balance " . <<'SQL');
	CREATE VIEW pay_balance AS SELECT gen_random_uuid() AS pay_no, ''::text COLLATE "C" AS merchant, ''::text COLLATE "C" AS order_no, 'CNY'::text COLLATE "C" AS currency,
		'paid'::pay_state AS state, 1::bigint AS amount, loot() AS needed, 1::bigint AS collected, 1::bigint AS surplus, 1::bigint AS reserved, 1::bigint AS refunded,
		1::bigint AS refundable, 1 AS to_close;
SQL
squat('squatted_balance_materialized', 'CREATE MATERIALIZED VIEW pay_balance AS SELECT 1 AS pay_no');
squat('squatted_balance_table', 'CREATE TABLE pay_balance (pay_no uuid)');
squat('squatted_partitioned', 'CREATE TABLE pay_payment (pay_no uuid) PARTITION BY HASH (pay_no)');
squat('squatted_sequence', 'CREATE SEQUENCE pay_payment');
squat('squatted_type', 'CREATE TYPE pay_event AS (pay_no uuid)');

# The way out that the hint names.
$node->safe_psql($db, 'DROP TYPE pay_event; SELECT pay_install()');
life('life', '', 'with the squatter gone');

# A table that somebody drops in beside ours: one of the set is not ours.
$node->safe_psql($db, 'DROP TABLE pay_review; GRANT CREATE ON SCHEMA public TO mallory');
$node->safe_psql(
	$db,
	"$evil CREATE TABLE pay_review (pay_no uuid);"
	  . 'CREATE TRIGGER evil BEFORE INSERT ON pay_review FOR EACH ROW EXECUTE FUNCTION evil()',
	extra_params => [ '-U', 'mallory' ]);
$node->safe_psql($db, 'REVOKE CREATE ON SCHEMA public FROM mallory');
raises(
	$node, callback(trade_of('life'), 'n9', 'paid', amount => 7),
	'PY503', 'a squatter\'s table in place of one of ours',
	db => $db);
raises($node, 'SELECT pay_install()', 'PY409', 'is refused by pay_install', db => $db);
is($node->safe_psql($db, 'SELECT count(*) FROM loot'), 0, 'nothing of the squatter\'s ran');

# Who may install
story('strangers');
$node->safe_psql($db, 'CREATE EXTENSION pay_idem');
raises(
	$node, 'SELECT pay_install()', '42501', 'a stranger without EXECUTE',
	db => $db,
	user => 'stranger');
$node->safe_psql($db, 'GRANT EXECUTE ON FUNCTION pay_install() TO stranger');
raises(
	$node, 'SELECT pay_install()', '42501', 'a stranger who may create nothing here',
	db => $db,
	user => 'stranger');
# An owner who is no superuser installs, grants and pays himself.
$node->safe_psql($db, 'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO shop_owner WITH GRANT OPTION; GRANT CREATE ON SCHEMA public TO shop_owner, stranger');
raises(
	$node, 'SELECT pay_install()', 'PY409', 'where a stranger may create, too',
	db => $db,
	user => 'shop_owner',
	like => qr/granted to stranger\..*REVOKE CREATE ON SCHEMA public FROM stranger;/s);
$node->safe_psql($db, 'REVOKE CREATE ON SCHEMA public FROM stranger');
$node->safe_psql($db, 'SELECT pay_install()', extra_params => [ '-U', 'shop_owner' ]);
is( $node->safe_psql(
		$db,
		"SELECT relowner::regrole, count(*) FROM pg_class WHERE relname = ANY ('{"
		  . join(',', @PayTest::TABLES, 'pay_balance') . "}') GROUP BY 1"),
	'shop_owner|13',
	'tables and view belong to who installed them');
$node->safe_psql($db, 'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO stranger');
raises(
	$node, 'SELECT pay_install()', '42501', 'a stranger with EXECUTE, over tables of another',
	db => $db,
	user => 'stranger',
	like => qr/shop_owner/);
life('life', '', 'with tables of a plain role', user => 'shop_owner');

# A table that came later gets the owner and the grants of the old ones.
$node->safe_psql($db, "SELECT pay_grant(role => 'reader', kind => 'auditor')", extra_params => [ '-U', 'shop_owner' ]);
$node->safe_psql($db, 'DROP TABLE pay_review; DROP VIEW pay_balance; DROP TABLE pay_dispute');
raises(
	$node, 'SELECT pay_install()', '42501', 'a stranger, one table missing',
	db => $db,
	user => 'stranger');
raises(
	$node, 'SELECT pay_install()', '42501', 'a superuser, who would run what the owner put there',
	db => $db,
	like => qr/shop_owner.*HINT: +Log in as a role that is no superuser/s);
$node->safe_psql($db, 'SELECT pay_install()', extra_params => [ '-U', 'shop_owner' ]);
is( $node->safe_psql(
		$db,
		"SELECT relname, relowner::regrole FROM pg_class WHERE relname IN ('pay_review', 'pay_dispute', 'pay_balance') ORDER BY 1"),
	"pay_balance|shop_owner\npay_dispute|shop_owner\npay_review|shop_owner",
	'new tables and the view get the owner of the old');
is( $node->safe_psql(
		$db, 'SELECT count(*) FROM pay_review; SELECT count(*) FROM pay_dispute; SELECT count(*) = (SELECT count(*) FROM pay_payment) FROM pay_balance',
		extra_params => [ '-U', 'reader' ]),
	"0\n0\nt",
	'and what pay_grant gave');
life('later', '', 'after that', user => 'shop_owner');

no_leaks($node);
done_testing();
