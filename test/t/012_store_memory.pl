# A call's memory is gone when it ends, and so is everything else that it held.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node('main');
my $size = 'SELECT sum(total_bytes) FROM pg_backend_memory_contexts';

# A shift: orders from $1 to $2, nine calls each that write or do not.
sub shift_of
{
	my ($from, $to) = @_;

	return join '', map { <<"SQL" } $from .. $to;
SELECT trade_no FROM @{[ prepay("m$_", 'r1', payer => "'customer $_'", metadata => "'{\"n\": $_}'") ]} \\gset
SELECT FROM @{[ prepay("m$_", 'r2') ]} WHERE false;
SELECT FROM @{[ credential(":'trade_no'", 'wx2014') ]} WHERE decision <> 'applied';
SELECT FROM @{[ callback(":'trade_no'", 'n1', 'paid', payload => "'{\"n\": $_}'") ]} WHERE decision <> 'applied';
SELECT FROM @{[ callback(":'trade_no'", 'n1', 'paid') ]} WHERE decision <> 'replayed';
SELECT FROM @{[ refund(":'trade_no'", "m$_", 60) ]} WHERE decision <> 'proceed';
SELECT FROM @{[ refund(":'trade_no'", "m$_", 60) ]} WHERE decision <> 'replayed';
SELECT FROM @{[ claim('w1', lease => "'1 ms'") ]} WHERE refund_no IS DISTINCT FROM 'm$_';
SELECT FROM @{[ refund_callback("m$_", 'm1', 'succeeded') ]} WHERE decision <> 'applied';
SQL
}

my ($before, $after) = split /\n/,
  $node->safe_psql('postgres', shift_of(1, 200) . "$size;\n" . shift_of(201, 4200) . "$size;\n");
note "$before bytes before, $after after";
cmp_ok($after - $before, '<', 64 * 1024, '36,000 calls leave nothing in the session');
is( $node->safe_psql(
		'postgres', "SELECT count(*), sum(last_seq) FROM pay_payment WHERE state = 'paid'"),
	'4200|21000',
	'they all did their work');
is($node->safe_psql('postgres', 'SELECT count(*) < 1000 FROM pay_task WHERE refund_no IS NOT NULL'),
	't', 'and the worker dropped what was done');

# Within one transaction, and within one statement.
$node->safe_psql('postgres', 'SELECT ' . prepay('holder', 'r1', valid_for => "'1 day'", holds => "'{coupon:C1}'"));
($before, $after) = split /\n/, $node->safe_psql('postgres', <<"SQL");
	CREATE FUNCTION many(n int) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		FOR i IN 1 .. n LOOP
			PERFORM FROM @{[ prepay('m1', 'r2') ]};
			PERFORM FROM pay_query(order_no => 'm2');
			PERFORM FROM @{[ callback("(SELECT trade_no FROM pay_query(order_no => 'm3'))", 'n1', 'paid') ]};
			PERFORM FROM @{[ refund("(SELECT trade_no FROM pay_query(order_no => 'm3'))", 'm3', 60) ]};
			PERFORM FROM pay_history(trade_no => (SELECT trade_no FROM pay_query(order_no => 'm3')));
			PERFORM FROM @{[ claim('w2') ]};
			PERFORM FROM @{[ prepay('', 'r1', order_no => "'late comer'", valid_for => "'1 day'", holds => "'{coupon:C1}'") ]};
		END LOOP;
	END \$\$;
	BEGIN;
	SELECT many(200) \\gset
	$size;
	SELECT many(2000) \\gset
	$size;
	COMMIT;
SQL
note "$before bytes before, $after after";
cmp_ok($after - $before, '<', 64 * 1024, 'duplicates leave nothing in a transaction');

($before, $after) = split /\|/, $node->safe_psql('postgres', <<"SQL");
	SELECT min(bytes) FILTER (WHERE n = 200), max(bytes) FILTER (WHERE n = 8000)
	FROM (SELECT n, (@{[ prepay('m1', 'r2') ]}).decision AS d, CASE WHEN n IN (200, 8000) THEN ($size) END AS bytes FROM generate_series(1, 8000) n) AS calls
SQL
note "$before bytes before, $after after";
cmp_ok(
	$after - $before,
	'<',
	1024 * 1024,
	'8,000 duplicates leave nothing in a statement but its rows');

# One call for many, and again: 10,000 messages that are news, then 10,000 that are not,
# and 10,000 payments that come in.
my $batch = "SELECT count(*) FROM pay_callbacks((SELECT jsonb_agg(jsonb_build_object('channel', 'test', 'callback_id', 'b' || o.n, 'trade_no', o.trade_no,"
  . " 'reported', CASE WHEN o.n % 2 = 0 THEN 'paid' ELSE 'failed' END, 'amount', 100, 'currency', 'CNY', 'payload', jsonb_build_object('n', o.n))) FROM many_orders o))";
my $import = "SELECT count(*) FROM pay_import((SELECT jsonb_agg(jsonb_build_object('order_no', 'old ' || n, 'amount', 100, 'currency', 'CNY',"
  . " 'attempts', jsonb_build_array(jsonb_build_object('channel', 'test', 'method', 'card', 'state', 'paid')))) FROM generate_series(1, 10000) n))";
my @sizes = split /\n/, $node->safe_psql('postgres', <<"SQL");
	CREATE TABLE many_orders AS SELECT n, p.trade_no FROM generate_series(1, 10000) n,
		LATERAL @{[ prepay('', 'r1', order_no => "'many ' || n") ]} p;
	SELECT count(*) FROM pay_callbacks('[{"channel": "test", "trade_no": "x", "reported": "failed"}]') \\gset
	SELECT count(*) FROM pay_import('[{"order_no": "first", "amount": 1, "currency": "CNY"}]') \\gset
	$size;
	$batch;
	$size;
	$batch;
	$size;
	$import;
	$import;
	$size;
SQL
note "@sizes";
is("@sizes[1, 3, 5, 6]", '10000 10000 10000 10000', 'batches of 10,000 were answered');
is( $node->safe_psql(
		'postgres',
		"SELECT state, count(*), sum(last_seq) FROM pay_payment WHERE order_no LIKE 'many %' OR order_no LIKE 'old %' GROUP BY 1 ORDER BY 1::text"),
	"failed|5000|10000\npaid|15000|50000",
	'and did their work, once');
cmp_ok($sizes[$_] - $sizes[0], '<', 64 * 1024, 'and left nothing in the session') foreach 2, 4, 7;

# Errors, caught.
($before, $after) = split /\n/, $node->safe_psql('postgres', <<"SQL");
	CREATE FUNCTION wrong(n int) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		FOR i IN 1 .. n LOOP
			BEGIN
				PERFORM FROM @{[ prepay('m1', 'r2', amount => 1) ]};
			EXCEPTION WHEN SQLSTATE 'PY422' THEN NULL;
			END;
			BEGIN
				PERFORM FROM @{[ refund("(SELECT trade_no FROM pay_query(order_no => 'm3'))", 'another', 60) ]};
			EXCEPTION WHEN SQLSTATE 'PY409' THEN NULL;
			END;
			BEGIN
				PERFORM FROM @{[ prepay('', 'r2', order_no => "'e' || i") ]};
				PERFORM FROM @{[ transition("'x'", 'failed') ]};
			EXCEPTION WHEN SQLSTATE 'PY404' THEN NULL;
			END;
		END LOOP;
	END \$\$;
	SELECT wrong(100) \\gset
	$size;
	SELECT wrong(2000) \\gset
	$size;
SQL
note "$before bytes before, $after after";
cmp_ok($after - $before, '<', 64 * 1024, 'nor do 6,000 errors');

no_leaks($node);
done_testing();
