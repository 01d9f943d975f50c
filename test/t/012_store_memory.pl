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
