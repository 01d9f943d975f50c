# A superuser's call runs nobody's code: not the triggers of tables whose owner is
# no superuser, not the functions in their constraints and indexes. And who acts for
# one merchant does so from the moment when it is said, in every session.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node('main', install => 0);
my $me = $node->safe_psql('postgres', 'SELECT current_user');

sub sql { return $node->safe_psql('postgres', @_) }

sub as { return extra_params => [ '-U', $_[0] ] }

# ---- the owner of the tables is no superuser

sql(<<'SQL');
	CREATE EXTENSION pay_idem;
	CREATE ROLE owner LOGIN;
	CREATE ROLE shop LOGIN;
	CREATE ROLE reader LOGIN;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO owner WITH GRANT OPTION;
	GRANT CREATE ON SCHEMA public TO owner;
	CREATE TABLE ran (what text, caller name);
	GRANT INSERT ON ran TO PUBLIC;
SQL
sql("SELECT pay_install(); UPDATE pay_channel SET resubmit_after = '1 year'", as('owner'));
sql("SELECT pay_grant(role => 'shop', kind => 'app')", as('owner'));
answers($node, prepay('A1', 'r1'), 'proceed|paying|1|paying', 'a role that is no superuser pays', user => 'shop');

# What the owner leaves for a superuser: triggers, one of which undoes SET ROLE, a
# constraint, and the condition of an index that has the columns of one of ours.
sql('CREATE SCHEMA trap AUTHORIZATION owner; GRANT USAGE ON SCHEMA trap TO PUBLIC');
sql(<<'SQL', as('owner'));
	CREATE SEQUENCE trap.superuser;
	CREATE FUNCTION trap.fire() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RESET ROLE;
		INSERT INTO public.ran VALUES (tg_table_name, current_user);
		RETURN new;
	END $$;
	CREATE FUNCTION trap.check(what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
			PERFORM nextval('trap.superuser');	-- all that an immutable function may do
		END IF;
		RETURN true;
	END $$;
	CREATE INDEX aaa ON pay_payment (merchant, payer, pay_no) WHERE payer IS NOT NULL AND trap.check('index');
	DROP INDEX pay_payment_payer_idx;	-- so that ours is the later one
	CREATE INDEX pay_payment_payer_idx ON pay_payment (merchant, payer, pay_no) WHERE payer IS NOT NULL;
	ALTER TABLE pay_review ADD CHECK (trap.check('constraint'));
SQL
sql("CREATE TRIGGER aaa BEFORE INSERT OR UPDATE ON $_ FOR EACH ROW EXECUTE FUNCTION trap.fire()", as('owner'))
  foreach qw(pay_grantee pay_payment pay_attempt pay_event pay_review pay_channel);

my $number = "'" . sql('SELECT trade_no FROM pay_attempt') . "'";
my $rows = digest($node);
# a SELECT by a superuser is PostgreSQL's own affair: its planner calls what is in the conditions of indexes
is(sql('SELECT is_called FROM trap.superuser'), 't', 'the trap works for who steps into it');
sql("DELETE FROM ran; SELECT setval('trap.superuser', 1, false)");
my %call = (
	pay_grant => "SELECT pay_grant(role => 'reader', kind => 'auditor')",
	pay_revoke => "SELECT pay_revoke(role => 'shop')",
	pay_install => 'SELECT pay_install()',
	pay_install_plan => 'SELECT count(*) FROM pay_install_plan()',
	pay_suspects => "SELECT FROM pay_suspects(since => '2001-01-01')",
	pay_prepay => prepay('A2', 'r1'),
	pay_create => "pay_create(order_no => 'A2', amount => 1, currency => 'CNY')",
	pay_credential => credential($number, 'c'),
	pay_callback => callback($number, 'n1', 'paid'),
	pay_callbacks => q{pay_callbacks(messages => '[{"channel": "test", "trade_no": "x", "reported": "failed"}]')},
	pay_transition => transition($number, 'failed'),
	pay_close => "pay_close(order_no => 'A1')",
	pay_refund => refund($number, 'F1', 1),
	pay_refund_transition => refund_transition('F1', 'failed'),
	pay_refund_callback => refund_callback('F1', 'm1', 'failed'),
	pay_refund_callbacks => q{pay_refund_callbacks(messages => '[{"channel": "test", "refund_no": "F1", "reported": "failed"}]')},
	pay_review_resolve => "pay_review_resolve(review_id => 1, verdict => 'dismiss', reason => 'x')",
	pay_dispute_open => "pay_dispute_open(trade_no => $number, duplicate_of => '00000000-0000-8000-8000-000000000001', reason => 'x')",
	pay_dispute_resolve => "pay_dispute_resolve(dispute_id => 1, verdict => 'refund', reason => 'x')",
	pay_claim => claim('w1'),
	pay_hold_done => hold_done($number, 'room:1', 'tried'),
	pay_import => q{pay_import(payments => '[{"order_no": "A2", "amount": 1, "currency": "CNY"}]')});
foreach my $function (sort keys %call)
{
	raises($node, $call{$function}, '42501', "a superuser: $function", like => qr/superuser.*owner.*DETAIL: .*HINT: +Log in as a role that is no superuser/s);
	raises($node, 'SET ROLE owner; ' . ($call{$function} =~ /^SELECT/ ? '' : 'SELECT * FROM ') . $call{$function},
		'42501', "after SET ROLE: $function", like => qr/superuser/);
}
answers($node, "SELECT decision FROM pay_query(order_no => 'A1')", 'in_progress', 'a superuser asks');
answers($node, "SELECT count(*) FROM pay_history(trade_no => $number)", 1, 'and reads the history');
answers($node, "SELECT pay_channel_of($number)", 'test', 'and a number');
is(sql('SELECT * FROM ran; SELECT is_called FROM trap.superuser'), 'f', 'nothing of the owner\'s ran');
is(digest($node), $rows, 'nothing was written');

# One who is no superuser is not kept from it: what runs, runs with his rights.
answers($node, prepay('A3', 'r1'), 'proceed|paying|1|paying', 'the triggers run for others', user => 'shop');
is(sql("SELECT DISTINCT caller FROM ran WHERE what LIKE 'pay\\_%'"), 'shop', 'with their rights');

# A superuser's own UPDATE runs triggers, as on any table; the guard beside them works.
sql('DROP TRIGGER aaa ON ' . $_, as('owner')) foreach qw(pay_grantee pay_payment pay_attempt pay_event pay_review pay_channel);
answers($node, "UPDATE pay_payment SET state = 'unknown' WHERE order_no = 'A3' RETURNING state", 'unknown', 'the guard lets a superuser\'s legal step through');
is(sql('SELECT source, payment_after FROM pay_event e JOIN pay_payment USING (pay_no) WHERE order_no = \'A3\' AND seq = 2'), 'update|unknown', 'and logs it');
raises($node, 'DELETE FROM pay_event', 'PY423', 'the guard stops a superuser');

# ---- one owner

foreach my $table (grep { $_ ne 'pay_payment' } @PayTest::TABLES)
{
	sql("ALTER TABLE $table OWNER TO $me");
	raises($node, "pay_query(order_no => 'A1')", 'PY503', "$table of another owner, though a superuser, is not trusted", user => 'shop',
		like => qr/DETAIL: .*"$me".*"owner".*HINT: +Rename or drop it/s);
	raises($node, 'SELECT pay_install()', 'PY409', "$table: not by pay_install", user => 'owner', like => qr/$table is in the way.*HINT: +Rename or drop/s);
	raises($node, "SELECT pay_grant(role => 'reader', kind => 'auditor')", 'PY503', "$table: not by pay_grant", user => 'owner');
	sql("ALTER TABLE $table OWNER TO owner");
}
sql("ALTER VIEW pay_balance OWNER TO $me");
raises($node, 'SELECT pay_install()', 'PY409', 'pay_balance of another owner', user => 'owner', like => qr/pay_balance is in the way/);
sql('ALTER VIEW pay_balance OWNER TO owner');
answers($node, "SELECT decision FROM pay_query(order_no => 'A1')", 'in_progress', 'all of one owner again', user => 'shop');

# ---- the superuser is one no more, or the owner becomes one: heard at once

my $session = $node->background_psql('postgres', on_error_stop => 0);
my $ask = sub {
	my ($call) = @_;
	my $answer = $session->query("SELECT decision FROM $call;\n\\if :ERROR\n\\echo :SQLSTATE\n\\endif");

	$session->{stderr} = '';
	return $answer;
};
is($ask->(prepay('A1', 'r2')), '42501', 'a superuser\'s session');
sql('DROP INDEX aaa; ALTER TABLE pay_review DROP CONSTRAINT pay_review_check', as('owner'));
sql('ALTER ROLE owner SUPERUSER');
is($ask->(prepay('A1', 'r2')), 'in_progress', 'works when the owner is a superuser, too');
sql('ALTER ROLE owner NOSUPERUSER');
is($ask->(prepay('A1', 'r2')), '42501', 'and not any more when he is not');
$session->quit;

# ---- for which merchants: heard at once, by every session

sql('ALTER ROLE owner SUPERUSER');
sql('CREATE ROLE m1_shop; CREATE ROLE clerk LOGIN IN ROLE m1_shop');
sql("SELECT pay_grant(role => 'm1_shop', kind => 'checkout', merchant => 'm1')");
sql('SELECT ' . prepay('B1', 'r1', merchant => "'m$_'")) foreach 1, 2;
$session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'clerk' ]);
my @of = map { "pay_query(order_no => 'B1', merchant => 'm$_')" } 0 .. 3;
is($ask->($of[1]), 'in_progress', 'a login role that is a member: its merchant\'s order');
is($ask->($of[2]), '42501', 'not another\'s');
raises($node, $of[2], '42501', 'it is told for whom it acts', user => 'clerk',
	like => qr/role "clerk" does not act for merchant "m2"\nDETAIL: +It acts for "m1"\./);
sql("SELECT pay_grant(role => 'm1_shop', kind => 'checkout', merchant => 'm2')");
is($ask->($of[2]), 'in_progress', 'a second merchant is given');
sql("DELETE FROM pay_grantee WHERE merchant = 'm2'");
is($ask->($of[2]), '42501', 'and taken back');
$session->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;');
is($ask->($of[1]), 'in_progress', 'in a transaction with one snapshot');
sql("SELECT pay_grant(role => 'm1_shop', kind => 'checkout', merchant => 'm2')");
$session->query('SELECT FROM pg_language LIMIT 0;');	# a lock that it does not have yet: when it hears of others' changes
is($ask->($of[2]), 'in_progress', 'rights count as they are now, whatever the snapshot, as a GRANT does');
$session->query('ROLLBACK;');
sql("INSERT INTO pay_grantee (role, kind, merchant) VALUES ('m1_shop', 'checkout', 'm3')");
is($ask->($of[3]), 'proceed', 'by a row that a restore writes, too');
sql('CREATE ROLE everybodys; GRANT everybodys TO clerk');
sql("SELECT pay_grant(role => 'everybodys', kind => 'checkout')");
is($ask->($of[0]), 'proceed', 'a member of a role that acts for all acts for all');
sql('REVOKE everybodys FROM clerk');
is($ask->($of[0]), '42501', 'and not any more when it is no member');
sql('REVOKE m1_shop FROM clerk; GRANT everybodys TO clerk');
is($ask->($of[0]), 'proceed', 'a member of another role');
sql('REVOKE everybodys FROM clerk; ALTER ROLE clerk NOINHERIT; GRANT m1_shop TO clerk');
is($ask->($of[1]), '42501', 'without INHERIT it may call nothing');
$session->query('SET ROLE m1_shop;');
is($ask->($of[1]), 'in_progress', 'before SET ROLE');
is($ask->($of[0]), '42501', 'which limits it as the role is');
$session->quit;

# Mixed: restricting what is not restricted would restrict nothing.
raises($node, "SELECT pay_grant(role => 'm1_shop', kind => 'auditor')", 'PY409', 'for one merchant, then for all', like => qr/HINT: .*pay_revoke/);
raises($node, "SELECT pay_grant(role => 'everybodys', kind => 'app', merchant => 'm1')", 'PY409', 'for all, then for one', like => qr/HINT: .*pay_revoke/);
raises($node, "SELECT pay_grant(role => 'everybodys', kind => 'app', merchant => repeat('x', 256))", 'PY400', 'a merchant that cannot be one');
answers($node, "SELECT pay_grant(role => 'm1_shop', kind => 'checkout', merchant => 'm1'); SELECT count(*) FROM pay_grantee WHERE role = 'm1_shop' AND merchant = 'm1'",
	"\n1", 'again, it is there once');

# pay_install() gives the grants again, each for its merchant.
sql('REVOKE ALL ON FUNCTION pay_query(text, text, text) FROM m1_shop; DROP TABLE pay_task; SELECT pay_install()');
sql('ALTER ROLE m1_shop LOGIN');
answers($node, "SELECT decision FROM $of[1]", 'in_progress', 'pay_install gives them again', user => 'm1_shop');
raises($node, $of[0], '42501', 'for these merchants', user => 'm1_shop');

# pay_revoke takes all of it back.
sql("SELECT pay_grant(role => 'reader', kind => 'auditor'), pay_grant(role => 'reader', kind => 'ops')");
sql("SELECT pay_revoke(role => r) FROM unnest('{reader,m1_shop,everybodys,gone}'::text[]) r");
is(sql(<<'SQL'), '0|0|0', 'pay_revoke leaves no right to a function or a table, and no row');
	SELECT (SELECT count(*) FROM pay_grantee WHERE role <> 'shop'),
		(SELECT count(*) FROM pg_proc, aclexplode(proacl) a WHERE a.grantee IN ('reader'::regrole, 'm1_shop'::regrole, 'everybodys'::regrole)),
		(SELECT count(*) FROM pg_class, aclexplode(relacl) a WHERE a.grantee IN ('reader'::regrole, 'm1_shop'::regrole, 'everybodys'::regrole))
SQL
raises($node, 'SELECT pay_revoke(role => NULL)', 'PY400', 'of nobody');

# ---- who may create in the schema

sql('GRANT CREATE ON SCHEMA public TO PUBLIC, reader');
raises($node, 'SELECT pay_install()', 'PY409', 'where everybody may create, nothing is installed',
	like => qr/CREATE is granted to PUBLIC, reader\..*REVOKE CREATE ON SCHEMA public FROM PUBLIC, reader;/s);
sql('REVOKE CREATE ON SCHEMA public FROM PUBLIC, reader; SELECT pay_install()');
pass('the owner of the tables, the schema and the extension may');

no_leaks($node);
done_testing();
