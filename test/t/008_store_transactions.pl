# Every call is atomic inside the caller's own transaction, whatever kind of
# transaction that is.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node('main', conf => 'max_prepared_transactions = 4');

sub decision { return "SELECT decision FROM $_[0];\n" }

# ---- READ ONLY: writers refuse, whatever they would decide

$node->safe_psql('postgres',
		decision(prepay('RO', 'r1'))
	  . decision(credential(trade_of('RO'), 'c'))
	  . decision(callback(trade_of('RO'), 'n1', 'failed'))
	  . decision(prepay('RO paid', 'r1'))
	  . decision(callback(trade_of('RO paid'), 'n1', 'paid'))
	  . decision(refund(trade_of('RO paid'), 'RO', 60))
	  . decision(
		"pay_dispute_open(trade_no => @{[ trade_of('RO paid') ]}, duplicate_of => @{[ trade_of('RO') ]}, reason => 'x')"
	  ));
my $rows = digest($node);
foreach my $call (
	prepay('new', 'r1'),
	prepay('RO', 'r1'),
	"pay_create(order_no => 'RO', amount => 100, currency => 'CNY')",
	credential(trade_of('RO'), 'c'),
	callback(trade_of('RO'), 'n1', 'failed'),
	callback("'nobody'", 'n1', 'paid'),
	transition(trade_of('RO'), 'failed'),
	"pay_review_resolve(review_id => 1, verdict => 'dismiss', reason => 'x')",
	refund(trade_of('RO paid'), 'RO', 60),
	refund(trade_of('RO paid'), 'RO2', 40),
	refund_transition('RO', 'processing'),
	refund_callback('RO', 'm1', 'succeeded'),
	refund_callback('nobody', 'm1', 'succeeded'),
	"pay_dispute_open(trade_no => @{[ trade_of('RO') ]}, duplicate_of => @{[ trade_of('RO paid') ]}, reason => 'x')",
	"pay_dispute_resolve(dispute_id => 1, verdict => 'refund', reason => 'x')",
	claim('w1') =~ s/^/(SELECT 'claimed' AS decision FROM /r . ') c',
	hold_done(trade_of('RO'), 'coupon:C1', 'tried'))
{
	my ($name) = $call =~ /(pay_\w+)/;
	raises($node, 'BEGIN READ ONLY;' . decision($call), '25006',
		"$name in a READ ONLY transaction");
}
answers(
	$node,
	"BEGIN READ ONLY; SELECT decision FROM pay_query(order_no => 'RO'); SELECT count(*) FROM pay_history(trade_no => "
	  . trade_of('RO')
	  . '); SELECT count(*) FROM pay_dispute_case(dispute_id => 1); SELECT count(*) FROM pay_suspects(since => now()); SELECT reserved FROM pay_balance WHERE order_no = \'RO paid\'',
	"proceed\n4\n8\n0\n60",
	'readers work there');
is(digest($node), $rows, 'nothing was written');

# ---- a parallel worker, where a user's wrong label brought us

$node->safe_psql('postgres', <<"SQL");
	CREATE FUNCTION mislabelled(n text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS
		\$\$ BEGIN RETURN (SELECT decision FROM @{[ prepay('', 'r1', order_no => 'n') ]}); END \$\$;
	CREATE TABLE many AS SELECT n::text FROM generate_series(1, 20000) n;
	ALTER TABLE many SET (parallel_workers = 2);
	ANALYZE many;
SQL
my $parallel =
  'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off;';
like(
	$node->safe_psql('postgres', "$parallel EXPLAIN SELECT * FROM many WHERE mislabelled(n) = 'x'"),
	qr/Parallel Seq Scan/,
	'that plan is parallel');
raises(
	$node, "$parallel SELECT * FROM many WHERE mislabelled(n) = 'x'",
	'25000',
	'pay_prepay in a parallel worker',
	like => qr/parallel/);
is($node->safe_psql('postgres', "SELECT count(*) FROM pay_payment WHERE order_no = '1'"),
	0, 'nothing was written');
is($node->safe_psql('postgres', <<'SQL'), <<'LABELS' =~ s/\n$//r, 'labels');
	SELECT DISTINCT proname, provolatile, proparallel FROM pg_proc
	WHERE proname IN ('pay_create', 'pay_prepay', 'pay_credential', 'pay_transition', 'pay_callback', 'pay_review_resolve', 'pay_query', 'pay_history',
		'pay_refund', 'pay_refund_transition', 'pay_refund_callback', 'pay_dispute_open', 'pay_dispute_resolve', 'pay_dispute_case', 'pay_suspects',
		'pay_claim', 'pay_hold_done', 'pay_callbacks', 'pay_import')
	ORDER BY 1
SQL
pay_callback|v|u
pay_callbacks|v|u
pay_claim|v|u
pay_create|v|u
pay_credential|v|u
pay_dispute_case|s|r
pay_dispute_open|v|u
pay_dispute_resolve|v|u
pay_history|s|r
pay_hold_done|v|u
pay_import|v|u
pay_prepay|v|u
pay_query|s|r
pay_refund|v|u
pay_refund_callback|v|u
pay_refund_transition|v|u
pay_review_resolve|v|u
pay_suspects|s|r
pay_transition|v|u
LABELS

# ---- the isolation levels

foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	my $o = $level =~ s/ .*//r;

	answers(
		$node,
		"BEGIN ISOLATION LEVEL $level;"
		  . decision(prepay($o, 'r1'))
		  . decision(prepay($o, 'r2'))
		  . decision(credential(trade_of($o), 'c'))
		  . "SELECT credential FROM "
		  . prepay($o, 'r2') . ';'
		  . decision(callback(trade_of($o), 'n1', 'failed'))
		  . decision(callback(trade_of($o), 'n1', 'failed'))
		  . decision(prepay($o, 'r3'))
		  . decision(transition(trade_of($o), 'unknown'))
		  . decision(prepay($o, 'r4'))
		  . decision(callback(trade_of($o), 'n2', 'paid', amount => 1))
		  . decision(callback(trade_of($o), 'n3', 'paid'))
		  . decision("pay_query(order_no => '$o')")
		  . decision(refund(trade_of($o), "$o 1", 60))
		  . decision(refund(trade_of($o), "$o 1", 60))
		  . decision(refund_callback("$o 1", 'm1', 'failed'))
		  . decision(refund(trade_of($o), "$o 2", 100))
		  . "SELECT reserved, refundable FROM pay_balance WHERE order_no = '$o';"
		  . 'COMMIT;'
		  . decision(prepay($o, 'r5')),
		join("\n",
			qw(proceed in_progress applied c applied replayed proceed applied unknown mismatch applied already_paid proceed replayed applied proceed 100|0 already_paid)
		),
		"$level: a whole life in one transaction");

	# What another session did meanwhile.
	$node->safe_psql('postgres',
		decision(prepay("$o seen", 'r1')) . decision(prepay("$o told", 'r1')));
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM pay_payment");
	$node->safe_psql('postgres',
			decision(callback(trade_of("$o seen"), 'n1', 'paid'))
		  . decision(callback(trade_of("$o told"), 'n1', 'failed'))
		  . decision(prepay("$o new", 'r1')));
	my $old = $level eq 'READ COMMITTED' ? undef : '40001';
	foreach (
		[ prepay("$o seen", 'r2'), 'already_paid', 'in_progress', 'a duplicate, paid meanwhile' ],
		[
			"pay_query(order_no => '$o seen')", 'already_paid',
			'in_progress', 'pay_query, paid meanwhile'
		],
		[
			"pay_query(order_no => '$o new')", 'in_progress', 'proceed',
			'pay_query, made meanwhile'
		],
		[
			callback(trade_of("$o seen"), 'n2', 'failed'), 'stale',
			'40001', 'another report, paid meanwhile'
		],
		[
			callback(trade_of("$o seen"), 'n1', 'paid'), 'replayed',
			'40001', 'the same report, that came meanwhile'
		],
		[ prepay("$o told", 'r1'), 'proceed', '40001', 'to be handed out again, failed meanwhile' ],
		[ prepay("$o new", 'r2'), 'in_progress', '40001', 'made meanwhile' ])
	{
		my ($call, $now, $then, $name) = @$_;
		my $expected = $level eq 'READ COMMITTED' ? $now : $then;
		my $got =
		  $session->query("SAVEPOINT s;\n"
			  . decision($call)
			  . "\\if :ERROR\n\\echo :SQLSTATE\nROLLBACK TO s;\n\\endif");

		is($got, $expected, "$level: $name: $expected");
		$session->{stderr} = '';
	}
	$session->query('ROLLBACK');
	$session->quit;
}
is(violations($node), '', 'all that must hold holds');

# ---- the same statement's own writes

answers(
	$node,
	'SELECT (SELECT decision FROM '
	  . prepay('own1', 'r1')
	  . '), (SELECT decision FROM '
	  . prepay('own1', 'r2') . ')',
	'proceed|in_progress',
	'two calls in one statement');
answers($node, 'SELECT (' . prepay('own2', 'r1') . ').decision FROM generate_series(1, 3)',
	"proceed\nproceed\nproceed", 'one request, three times: handed out again each time');
answers(
	$node,
	'SELECT r.decision FROM generate_series(1, 3) n, '
	  . prepay('own3', '', request_id => "'r' || n") . ' r',
	"proceed\nin_progress\nin_progress",
	'three requests for one order');
answers(
	$node,
	'SELECT r.decision FROM generate_series(1, 3) n, '
	  . prepay('', 'r1', order_no => "'own4-' || n") . ' r',
	"proceed\nproceed\nproceed",
	'three orders');
answers(
	$node,
	'SELECT r.decision, p.state FROM '
	  . prepay('own5', 'r1')
	  . ' p, LATERAL '
	  . callback('p.trade_no', 'n1', 'paid') . ' r',
	'applied|paying',
	'an order paid in the statement that opened it');
answers(
	$node,
	'SELECT r.decision FROM generate_series(1, 3), '
	  . callback(trade_of('own3'), 'n1', 'paid') . ' r',
	"applied\napplied\napplied",
	'a function in FROM runs once for all rows');
answers(
	$node,
	'SELECT (' . callback(trade_of('own1'), 'n1', 'paid') . ').decision FROM generate_series(1, 3)',
	"applied\nreplayed\nreplayed",
	'in the list it runs for each row');

$node->safe_psql('postgres',
	'CREATE TABLE shop_order (order_no text PRIMARY KEY, pay_no uuid REFERENCES pay_payment, amount bigint NOT NULL DEFAULT 100)'
);
answers(
	$node,
	'WITH o AS (INSERT INTO shop_order VALUES (\'cte1\') RETURNING order_no) SELECT r.decision FROM o, '
	  . prepay('', 'r1', order_no => 'o.order_no') . ' r',
	'proceed',
	'beside a data-modifying CTE');
answers(
	$node,
	'WITH p AS (SELECT * FROM '
	  . prepay('cte2', 'r1')
	  . ') INSERT INTO shop_order SELECT order_no, pay_number(pay_no) FROM p RETURNING order_no',
	'cte2',
	'its result inserted, with a foreign key to it');
answers(
	$node,
	'UPDATE shop_order SET pay_no = (SELECT pay_number(pay_no) FROM '
	  . prepay('cte3', 'r1', order_no => 'shop_order.order_no')
	  . ') WHERE pay_no IS NULL RETURNING pay_no IS NOT NULL',
	't',
	'in an UPDATE');
raises(
	$node,
	'WITH p AS (SELECT * FROM '
	  . prepay('cte4', 'r1')
	  . ') INSERT INTO shop_order SELECT \'cte2\', pay_number(pay_no) FROM p',
	'23505',
	'a statement that fails');
answers($node, "SELECT pay_no FROM pay_query(order_no => 'cte4')", '', 'takes the payment with it');

# ---- subtransactions

answers($node, <<"SQL", "PY422\ncaught\nproceed", 'PL/pgSQL with exception blocks');
	CREATE TEMP TABLE said (n serial, what text);
	DO \$\$
	BEGIN
		BEGIN
			PERFORM @{[ prepay('sub1', 'r1') ]};
			PERFORM @{[ prepay('sub1', 'r1', amount => 5) ]};
		EXCEPTION WHEN SQLSTATE 'PY422' THEN
			INSERT INTO said (what) VALUES (SQLSTATE);
		END;
		BEGIN
			PERFORM @{[ prepay('sub1', 'r1', amount => 5) ]};
			RAISE division_by_zero;
		EXCEPTION WHEN OTHERS THEN
			INSERT INTO said (what) VALUES ('caught');
		END;
		INSERT INTO said (what) SELECT decision FROM @{[ prepay('sub1', 'r1') ]};
	END \$\$;
	SELECT what FROM said ORDER BY n;
SQL
is( $node->safe_psql(
		'postgres', "SELECT amount, state, last_seq FROM pay_payment WHERE order_no = 'sub1'"),
	'100|paying|1',
	'what was rolled back is gone');

answers(
	$node,
	'BEGIN;'
	  . decision(prepay('sub2', 'r1'))
	  . 'SAVEPOINT a;'
	  . decision(callback(trade_of('sub2'), 'n1', 'failed'))
	  . 'SAVEPOINT b;'
	  . decision(prepay('sub2', 'r2'))
	  . decision(callback(trade_of('sub2'), 'n1', 'paid'))
	  . 'ROLLBACK TO b;'
	  . decision("pay_query(order_no => 'sub2')")
	  . 'ROLLBACK TO a;'
	  . decision("pay_query(order_no => 'sub2')")
	  . 'SAVEPOINT c;'
	  . decision(credential(trade_of('sub2'), 'c'))
	  . 'RELEASE c;'
	  . decision(callback(trade_of('sub2'), 'n1', 'failed'))
	  . 'COMMIT;'
	  . decision(prepay('sub2', 'r2')),
	join("\n", qw(proceed applied proceed applied proceed in_progress applied applied proceed)),
	'rollback to savepoint, twice nested');
is( $node->safe_psql(
		'postgres',
		"SELECT e.seq, e.source, e.decision, e.payment_after FROM pay_payment p JOIN pay_event e USING (pay_no) WHERE order_no = 'sub2' ORDER BY seq"
	),
	"1|prepay|proceed|paying\n2|credential|applied|paying\n3|callback:test|applied|failed\n4|prepay|proceed|paying",
	'events are without a gap');

# A row locked in a subtransaction that was rolled back is free for others.
my $holder = $node->background_psql('postgres', on_error_stop => 1);
$holder->query_safe(
	'BEGIN; SAVEPOINT a;' . decision(callback(trade_of('sub2'), 'n2', 'paid')) . 'ROLLBACK TO a');
answers($node, "SET lock_timeout = '20s';" . decision(callback(trade_of('sub2'), 'n3', 'paid')),
	'applied', 'locked in a subtransaction that was rolled back');
is($holder->query_safe(decision(callback(trade_of('sub2'), 'n2', 'paid'))),
	'unchanged', 'the holder comes back to it');
$holder->query_safe('COMMIT');
$holder->quit;

# ---- two-phase commit

answers(
	$node,
	'BEGIN;'
	  . decision(prepay('2pc', 'r1'))
	  . decision(callback(trade_of('2pc'), 'n1', 'failed'))
	  . decision(prepay('2pc', 'r2'))
	  . "PREPARE TRANSACTION 'two';"
	  . "SELECT pay_no FROM pay_query(order_no => '2pc'); COMMIT PREPARED 'two';"
	  . decision(prepay('2pc', 'r3')),
	"proceed\napplied\nproceed\n\nin_progress",
	'PREPARE TRANSACTION');

# ---- cursors

answers(
	$node,
	'BEGIN; DECLARE c CURSOR FOR SELECT ('
	  . prepay('', 'r1', order_no => "'cursor' || n")
	  . ').decision FROM generate_series(1, 5) n;'
	  . 'FETCH 2 FROM c;'
	  . decision(prepay('cursor1', 'r9'))
	  . 'FETCH 1 FROM c;'
	  . decision(callback(trade_of('cursor2'), 'n1', 'paid'))
	  . 'FETCH 1 FROM c; CLOSE c; COMMIT;'
	  . "SELECT count(*) FROM pay_payment WHERE order_no LIKE 'cursor%'",
	"proceed\nproceed\nin_progress\nproceed\napplied\nproceed\n4",
	'a cursor over calls, others between its fetches');
answers(
	$node,
	'BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT ('
	  . prepay('', 'r1', order_no => "'hold' || n")
	  . ').decision FROM generate_series(1, 3) n; FETCH 1 FROM c; COMMIT; FETCH ALL FROM c',
	"proceed\nproceed\nproceed",
	'a cursor held over the commit');
answers(
	$node,
	"BEGIN; DECLARE c CURSOR FOR SELECT order_no, state FROM pay_payment WHERE order_no LIKE 'hold%' ORDER BY order_no; FETCH 1 FROM c;"
	  . decision(prepay('hold9', 'r1'))
	  . decision(callback(trade_of('hold2'), 'n1', 'paid'))
	  . 'FETCH ALL FROM c; COMMIT',
	"hold1|paying\nproceed\napplied\nhold2|paying\nhold3|paying",
	'a cursor that was open before sees what was before');
answers(
	$node,
	'BEGIN; DECLARE c CURSOR FOR SELECT seq, source FROM pay_history(trade_no => '
	  . trade_of('sub2')
	  . '); FETCH 1 FROM c; '
	  . decision(callback(trade_of('hold1'), 'n1', 'paid'))
	  . 'FETCH 1 FROM c; CLOSE c; COMMIT; SELECT seq FROM pay_history(trade_no => '
	  . trade_of('sub2')
	  . ') LIMIT 1',
	"1|prepay\napplied\n2|credential\n1",
	'a cursor over pay_history');

# ---- called from wherever SQL can be

answers(
	$node,
	<<"SQL", "proceed\nproceed\nproceed\nin_progress", 'from SQL functions, triggers, procedures with COMMIT');
	CREATE FUNCTION checkout(order_no text) RETURNS text LANGUAGE sql AS
		\$\$ SELECT decision FROM @{[ prepay('', 'r1', order_no => 'checkout.order_no') ]} \$\$;
	SELECT checkout('from-sql');
	CREATE FUNCTION pay_for_it() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		SELECT pay_number(pay_no) INTO new.pay_no FROM @{[ prepay('', 'r1', order_no => 'new.order_no') ]};
		RETURN new;
	END \$\$;
	CREATE TRIGGER pay_for_it BEFORE INSERT ON shop_order FOR EACH ROW EXECUTE FUNCTION pay_for_it();
	INSERT INTO shop_order (order_no) VALUES ('from-trigger');
	SELECT decision FROM shop_order JOIN pay_event USING (pay_no) WHERE order_no = 'from-trigger';
	CREATE PROCEDURE pay_many() LANGUAGE plpgsql AS \$\$
	BEGIN
		FOR n IN 1 .. 4 LOOP
			PERFORM @{[ prepay('', 'r1', order_no => "'from-proc' || n") ]};
			IF n % 2 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
		END LOOP;
	END \$\$;
	CALL pay_many();
	@{[ decision(prepay('from-proc2', 'r2')), decision(prepay('from-proc3', 'r2')) ]}
SQL

# ---- a waiting call can be cancelled

$holder = $node->background_psql('postgres', on_error_stop => 1);
$holder->query_safe('BEGIN;' . decision(callback(trade_of('from-proc3'), 'n1', 'paid')));
my $waiter = $node->background_psql('postgres', on_error_stop => 0);
$waiter->query_safe("SET application_name = 'the waiter'");
$waiter->query_until(qr/asked/,
		"\\echo asked\n"
	  . decision(callback(trade_of('from-proc3'), 'n2', 'failed'))
	  . "\\echo :SQLSTATE\n");
waits($node, 'the waiter');
$node->safe_psql('postgres',
	"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'the waiter'");
like($waiter->query_until(qr/^\w{5}$/m, ''), qr/^57014$/m, 'a waiting call is cancelled');
$waiter->{stderr} = '';
$holder->query_safe('COMMIT');
is($waiter->query_safe(decision(callback(trade_of('from-proc3'), 'n2', 'failed'))),
	'stale', 'and comes again');
$_->quit for $holder, $waiter;

# ---- tables change under a session's feet, between transactions and within one

my $session = $node->background_psql('postgres', on_error_stop => 0);
my $n = 0;
my @ddl = (
	'SELECT 1',
	'VACUUM FULL pay_payment',
	'VACUUM FULL pay_attempt',
	'CLUSTER pay_event USING pay_event_pkey',
	'REINDEX TABLE pay_payment',
	'REINDEX TABLE CONCURRENTLY pay_event',
	"ALTER TABLE pay_payment ADD COLUMN note text NOT NULL DEFAULT 'none'",
	'ALTER TABLE pay_payment ADD COLUMN lucky int DEFAULT (random() * 10)::int',
	'ALTER TABLE pay_payment ALTER COLUMN lucky TYPE text',
	'ALTER TABLE pay_payment DROP COLUMN lucky',
	'ALTER TABLE pay_attempt ADD COLUMN extra uuid DEFAULT gen_random_uuid()',
	'CREATE INDEX payer_idx ON pay_payment (payer)',
	'DROP INDEX payer_idx',
	'ALTER TABLE pay_payment ADD CONSTRAINT small CHECK (amount < 1000000), ADD CONSTRAINT little CHECK (amount < 1000000)',
	'ALTER TABLE pay_payment DROP CONSTRAINT small, DROP CONSTRAINT little',
	'ALTER TABLE pay_event SET (fillfactor = 80)',
	"UPDATE pay_channel SET max_attempts = 9 WHERE channel = 'test'",
	'ALTER TABLE pay_payment ALTER COLUMN metadata SET STORAGE EXTERNAL',
	'ANALYZE',
	'SELECT pay_install()');
$session->query_safe('PREPARE pay(text) AS ' . decision(prepay('', 'r1', order_no => '$1')));
$session->query_safe('PREPARE told(text) AS '
	  . decision(callback('(SELECT trade_no FROM pay_query(order_no => $1))', 'n1', 'paid')));
my $calls = sub {
	return
	  "EXECUTE pay('$_[0]'); EXECUTE pay('$_[0]'); EXECUTE told('$_[0]'); EXECUTE told('$_[0]')";
};
my $works = "proceed\nproceed\napplied\nreplayed";
foreach my $ddl (@ddl)
{
	$n++;
	is($session->query_safe($calls->("before$n")), $works, "before another session does: $ddl");
	$session->query_safe('BEGIN; SELECT 1') if $n % 2;
	$node->safe_psql('postgres', $ddl);
	is($session->query_safe($calls->("after$n")),
		$works, 'after it' . ($n % 2 ? ', within a transaction' : ''));
	$session->query_safe('COMMIT') if $n % 2;
}

# What another session forbids is forbidden at once, and no longer than that.
my $outcome = sub {
	my ($order, $begin) = @_;
	my $got =
	  $session->query(($begin || '')
		. decision(prepay($order, 'r1', payer => "'Ada'", confirm => 'true'))
		  . "\\if :ERROR\n\\echo :SQLSTATE\n\\endif\n");

	$session->query('COMMIT');
	$session->{stderr} = '';
	return $got;
};
$node->safe_psql('postgres',
	'CREATE FUNCTION may_pay(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS \'SELECT true\'');
foreach (
	[ 'ALTER TABLE pay_payment ADD CONSTRAINT no_ada CHECK (payer <> \'Ada\') NOT VALID', '23514' ],
	[ 'ALTER TABLE pay_payment DROP CONSTRAINT no_ada', 'proceed' ],
	[ 'ALTER TABLE pay_payment ADD CONSTRAINT asked CHECK (may_pay(payer)) NOT VALID', 'proceed' ],
	[
		'CREATE OR REPLACE FUNCTION may_pay(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS \'SELECT $1 <> \'\'Ada\'\'\'',
		'23514'
	],
	[
		'CREATE OR REPLACE FUNCTION may_pay(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS \'BEGIN RETURN true; END\'',
		'proceed'
	],
	[
		'CREATE OR REPLACE FUNCTION may_pay(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS \'BEGIN RETURN false; END\'',
		'23514'
	],
	[ 'ALTER TABLE pay_payment DROP CONSTRAINT asked', 'proceed' ],
	[ 'ALTER TABLE pay_payment ALTER COLUMN note DROP DEFAULT', '23502' ],
	[ 'ALTER TABLE pay_payment ALTER COLUMN note SET DEFAULT \'some\'', 'proceed' ],
	[
		'CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS \'BEGIN RAISE EXCEPTION \'\'stop\'\' USING ERRCODE = \'\'STOP1\'\'; END\'; CREATE TRIGGER stop AFTER INSERT ON pay_payment FOR EACH ROW EXECUTE FUNCTION stop()',
		'STOP1'
	],
	[ 'ALTER TABLE pay_payment DISABLE TRIGGER stop', 'proceed' ],
	[ 'ALTER TABLE pay_payment ENABLE TRIGGER stop', 'STOP1' ],
	[ 'DROP TRIGGER stop ON pay_payment', 'proceed' ])
{
	my ($ddl, $expected) = @$_;

	$n++;
	$node->safe_psql('postgres', $ddl);
	is($outcome->("between$n"), $expected, "$expected: $ddl");
}

# The same within a transaction that began before.
foreach (
	[ 'ALTER TABLE pay_payment ADD CONSTRAINT no_ada CHECK (payer <> \'Ada\') NOT VALID', '23514' ],
	[ 'ALTER TABLE pay_payment DROP CONSTRAINT no_ada', 'proceed' ],
	[ 'ALTER TABLE pay_payment ADD CONSTRAINT asked CHECK (may_pay(payer)) NOT VALID', '23514' ],
	[
		'CREATE OR REPLACE FUNCTION may_pay(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS \'SELECT true\'',
		'proceed'
	],
	[
		'CREATE TRIGGER stop AFTER INSERT ON pay_payment FOR EACH ROW EXECUTE FUNCTION stop()',
		'STOP1'
	],
	[ 'DROP TRIGGER stop ON pay_payment', 'proceed' ],
	[
		'ALTER TABLE pay_payment ADD COLUMN must text; ALTER TABLE pay_payment ADD CONSTRAINT must CHECK (must IS NOT NULL) NOT VALID',
		'23514'
	],
	[ 'ALTER TABLE pay_payment DROP COLUMN must', 'proceed' ],
	[ 'DROP TABLE shop_order; ALTER TABLE pay_payment RENAME TO hidden', 'PY503' ],
	[ 'ALTER TABLE hidden RENAME TO pay_payment', 'proceed' ])
{
	my ($ddl, $expected) = @$_;

	$n++;
	$session->query_safe('BEGIN; SELECT 1');
	$node->safe_psql('postgres', $ddl);
	is($outcome->("within$n"), $expected, "$expected, within a transaction: $ddl");
}
$session->quit;
answers(
	$node,
	'BEGIN;'
	  . decision(prepay('same', 'r1'))
	  . 'ALTER TABLE pay_payment ADD COLUMN late int DEFAULT 5;'
	  . decision(callback(trade_of('same'), 'n1', 'failed'))
	  . 'ALTER TABLE pay_payment DROP COLUMN late;'
	  . decision(prepay('same', 'r2'))
	  . 'REINDEX TABLE pay_attempt;'
	  . decision(callback(trade_of('same'), 'n1', 'paid'))
	  . 'COMMIT',
	"proceed\napplied\nproceed\napplied",
	'or the session itself, in one transaction');

is(violations($node), '', 'all that must hold holds');
no_leaks($node);
done_testing();
