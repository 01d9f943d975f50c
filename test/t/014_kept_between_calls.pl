# What a backend keeps between calls (channels, and what the executor would set up for
# tables to be written to) is never older than what is in the database, and is sound
# after an error.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node('main');
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $n = 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub decision { return "SELECT decision FROM $_[0];" }

# A call of the session; an error is answered by its SQLSTATE.
$session->query_safe(<<'SQL');
	CREATE FUNCTION pg_temp.try(call text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE said text;
	BEGIN
		EXECUTE call INTO said;
		RETURN said;
	EXCEPTION WHEN OTHERS THEN
		RETURN SQLSTATE;
	END $$;
SQL

sub says
{
	my ($call, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is($session->query_safe(decision($call)), $expected, $name);
}

# A call that fails, in a subtransaction.
sub fails
{
	my ($call, $sqlstate, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is($session->query_safe("SELECT pg_temp.try(\$try\$SELECT decision FROM $call\$try\$)"), $sqlstate, $name);
}

# An order of its own, paid: all hot tables are written to.
sub lifecycle
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$n++;
	return is(
		$session->query_safe(decision(prepay("life $n", 'r1')) . decision(callback(trade_of("life $n"), 'n1', 'paid'))),
		"proceed\napplied", $name);
}

# ---- channels ----

lifecycle('a session that has called');
fails(prepay('no method yet', 'r1', method => "'voucher'"), 'PY400', 'asks for a method that is not there');
sql("INSERT INTO pay_channel (channel, method) VALUES ('test', 'voucher')");
says(prepay('voucher', 'r1', method => "'voucher'"), 'proceed', 'has it as soon as it is committed');

says(prepay('again', 'r1'), 'proceed', 'an attempt');
says(prepay('again', 'r1'), 'proceed', 'that may be sent again');
my $dba = $node->background_psql('postgres', on_error_stop => 1);
$dba->query_safe("BEGIN; UPDATE pay_channel SET can_resubmit = false WHERE (channel, method) = ('test', 'card')");
says(prepay('again', 'r1'), 'proceed', 'while a change is not committed');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$dba->query_safe('COMMIT');
says(prepay('again', 'r1'), 'proceed', 'and in a transaction whose snapshot is older');
$session->query_safe('COMMIT');
says(prepay('again', 'r1'), 'unknown', 'may not once it is');

$session->query_safe("BEGIN; UPDATE pay_channel SET can_resubmit = true WHERE (channel, method) = ('test', 'card')");
says(prepay('again', 'r1'), 'proceed', 'a change of its own is seen at once');
$session->query_safe('ROLLBACK');
says(prepay('again', 'r1'), 'unknown', 'and not any more when it is rolled back');
$session->query_safe("BEGIN; SAVEPOINT s; UPDATE pay_channel SET can_resubmit = true WHERE (channel, method) = ('test', 'card')");
says(prepay('again', 'r1'), 'proceed', 'nor beyond its savepoint:');
$session->query_safe('ROLLBACK TO s');
says(prepay('again', 'r1'), 'unknown', 'there');
$session->query_safe('ROLLBACK');
sql("UPDATE pay_channel SET can_resubmit = true WHERE (channel, method) = ('test', 'card')");
says(prepay('again', 'r1'), 'proceed', 'and back');

# More of them than a backend remembers.
sql("INSERT INTO pay_channel (channel, method) SELECT 'many', 'm' || m FROM generate_series(1, 200) m");
is( $session->query_safe(
		q{SELECT count(*), count(DISTINCT method) FROM generate_series(1, 200) m, LATERAL pay_prepay(order_no => 'many ' || m, amount => 1,}
		  . q{ currency => 'CNY', channel => 'many', method => 'm' || m, request_id => 'r') WHERE method = 'm' || m AND channel = 'many'}),
	'200|200', 'two hundred channels');

# ---- an error in the middle ----

sql("ALTER TABLE pay_event ADD CONSTRAINT none_of_13 CHECK (amount <> 13)");
foreach (1 .. 3)
{
	fails(prepay('refused', 'r1', amount => 13), '23514', 'a call that fails after it wrote to three tables');
	lifecycle('the next one does not');
	is($session->query(decision(prepay('refused', 'r1', amount => 13))), '', 'one that fails in a transaction of its own');
	$session->{stderr} = '';
	lifecycle('and the next one');
}
is(sql("SELECT count(*) FROM pay_payment WHERE order_no = 'refused'"), '0', 'nothing of them is left');
sql('ALTER TABLE pay_event DROP CONSTRAINT none_of_13');

# ---- constraints that call functions ----

sql(<<'SQL');
	CREATE FUNCTION allowed(order_no text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
	ALTER TABLE pay_payment ADD CONSTRAINT allowed CHECK (allowed(order_no));
SQL
lifecycle('a constraint with a function');
sql(q{CREATE OR REPLACE FUNCTION allowed(order_no text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT order_no <> 'banned'$$});
fails(prepay('banned', 'r1'), '23514', 'which is replaced');
lifecycle('and lets the others pass');
# one that calls us while we are writing: what is kept is in use
sql(q{CREATE OR REPLACE FUNCTION allowed(order_no text) RETURNS boolean LANGUAGE sql IMMUTABLE AS
	$$SELECT CASE WHEN $1 LIKE 'shadow of %' THEN true ELSE (SELECT decision IN ('applied', 'unchanged')
		FROM pay_create(order_no => 'shadow of ' || $1, amount => 1, currency => 'CNY')) END$$});
lifecycle('a constraint that writes a payment while a payment is written');
is(sql("SELECT count(*) FROM pay_payment WHERE order_no = 'shadow of life $n'"), '1', 'both are there');
sql('ALTER TABLE pay_payment DROP CONSTRAINT allowed');

# ---- indexes ----

# Made while a transaction of the session has the table open, so that it goes through all phases.
lifecycle('before an index is made concurrently');
sql('CREATE INDEX CONCURRENTLY by_amount ON pay_payment (amount)');
sql('CREATE UNIQUE INDEX CONCURRENTLY by_request ON pay_attempt (pay_no, request_id)');
lifecycle('after it') for 1 .. 3;
is( sql(<<'SQL'), 't|t', 'the new indexes have an entry for every row');
	SET enable_seqscan = off; SET enable_bitmapscan = off;
	SELECT (SELECT count(*) FROM pay_payment WHERE amount >= 0) = (SELECT count(*) FROM pay_payment),
		(SELECT count(*) FROM pay_attempt WHERE pay_no >= '00000000-0000-0000-0000-000000000000') = (SELECT count(*) FROM pay_attempt)
SQL
sql('CREATE EXTENSION amcheck');
is( sql(<<'SQL'), 't', 'and all indexes agree with their tables');
	SELECT bool_and(bt_index_check(i.indexrelid, true) IS NOT NULL) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
	WHERE c.relname LIKE 'pay\_%' AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
SQL
sql('DROP INDEX CONCURRENTLY by_amount; ');
sql('DROP INDEX by_request');
lifecycle('without them again');

# ---- memory ----

# From 18 on, PostgreSQL names a context's parents by their places in its path, no longer by name.
my $size = $node->pg_version >= 18
  ? "WITH c AS MATERIALIZED (SELECT * FROM pg_backend_memory_contexts) SELECT sum(total_bytes) FROM c
	WHERE name LIKE 'pay\\_idem%' OR EXISTS (SELECT FROM c p WHERE p.path = c.path[:c.level - 1] AND (p.name LIKE 'pay\\_idem%' OR p.name = 'ExecutorState'))"
  : "SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name LIKE 'pay\\_idem%' OR parent LIKE 'pay\\_idem%' OR parent = 'ExecutorState'";
lifecycle('a session that goes on') for 1 .. 3;
my $before = $session->query_safe("$size;");
foreach (1 .. 20)
{
	sql('ALTER TABLE pay_payment ALTER COLUMN amount SET STATISTICS ' . (100 + $_));
	lifecycle("after change $_ of the table");
}
my $after = $session->query_safe("$size;");
note "$before bytes before, $after after";
cmp_ok($after - $before, '<', 16 * 1024, 'keeps nothing of what the tables were');

$_->quit for $session, $dba;
no_leaks($node);
done_testing();
