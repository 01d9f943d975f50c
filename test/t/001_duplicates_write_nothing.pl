# A duplicate call that opens and hands out nothing takes no row lock and
# writes nothing: a thousand impatient clicks cost a thousand index lookups.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Nothing but the calls may write WAL: no checkpoint, no snapshot of running
# transactions (wal_level minimal has none), no autovacuum.
my $node = pay_node('main', conf => "checkpoint_timeout = 1h\nmax_wal_size = 1GB");

# Orders in every situation in which a call has nothing to write.
$node->safe_psql('postgres', <<"SQL");
	INSERT INTO pay_channel (channel, method, max_attempts) VALUES ('test', 'once', 1);
	SELECT @{[ prepay('fresh', 'r1') ]};
	SELECT @{[ prepay('open', 'r1') ]};
	SELECT @{[ credential(trade_of('open'), 'wx201410272009395522657a690389285100') ]};
	SELECT @{[ prepay('paid', 'r1') ]};
	SELECT @{[ callback(trade_of('paid'), 'n1', 'paid') ]};
	SELECT @{[ callback(trade_of('paid'), 'n2', 'failed') ]};
	SELECT @{[ prepay('late', 'r1') ]};
	SELECT @{[ transition("(SELECT pay_no::text FROM pay_payment WHERE order_no = 'late')", 'closed', request_id => "'t1'") ]};
	SELECT @{[ callback(trade_of('late'), 'n1', 'paid') ]};
	SELECT @{[ prepay('short', 'r1') ]};
	SELECT @{[ callback(trade_of('short'), 'n1', 'paid', amount => 99) ]};
	SELECT @{[ prepay('lost', 'r1') ]};
	SELECT @{[ transition(trade_of('lost'), 'unknown', request_id => "'t1'") ]};
	SELECT @{[ prepay('once', 'r1', method => "'once'") ]};
	SELECT @{[ callback(trade_of('once'), 'n1', 'failed') ]};
	SELECT pay_create(order_no => 'made', amount => 100, currency => 'CNY', payer => 'p1', metadata => '{"cart": 7}');
	SELECT pay_callback(channel => 'test', callback_id => 'n1', trade_no => '0', reported => 'paid', amount => 5, currency => 'CNY');
SQL

# The payment of the closed order, by its own number.
my $late = "'"
  . $node->safe_psql('postgres', "SELECT pay_no FROM pay_payment WHERE order_no = 'late'") . "'";

# Numbers, so that the calls below read our tables by nothing but themselves.
my %trade = map { split /\|/ } split /\n/,
  $node->safe_psql('postgres',
	"SELECT order_no, replace(trade_no::text, '-', '') FROM pay_payment JOIN pay_attempt USING (pay_no)"
  );
$_ = "'$_'" for values %trade;

# What is called, what it decides; and the locks beyond AccessShareLock on our
# tables, none unless said: a report for nobody looks whether it must be kept,
# which locks a table but no row.
my @duplicate = (
	[ 'impatient click before the credential', prepay('fresh', 'r2'), 'in_progress' ],
	[ 'its own request again, credential alive', prepay('open', 'r1'), 'in_progress' ],
	[ 'another request, credential alive', prepay('open', 'r2'), 'in_progress' ],
	[ 'another method while one is open', prepay('open', 'r3', method => "'qr'"), 'in_progress' ],
	[ 'prepay of a paid order', prepay('paid', 'r1'), 'already_paid' ],
	[ 'prepay of a closed order', prepay('late', 'r2'), 'closed' ],
	[ 'prepay while money is in review', prepay('short', 'r2'), 'unknown' ],
	[ 'prepay of an unknown outcome', prepay('lost', 'r2'), 'unknown' ],
	[ 'prepay after too many attempts', prepay('once', 'r2', method => "'once'"), 'throttled' ],
	[
		'the same pay_create',
		"pay_create(order_no => 'made', amount => 100, currency => 'CNY', payer => 'p1')",
		'unchanged'
	],
	[
		'the same credential',
		credential($trade{open}, 'wx201410272009395522657a690389285100'), 'replayed'
	],
	[ 'repeated callback: paid', callback($trade{paid}, 'n1', 'paid'), 'replayed' ],
	[ 'repeated callback: stale', callback($trade{paid}, 'n2', 'failed'), 'replayed' ],
	[ 'repeated callback: surplus', callback($trade{late}, 'n1', 'paid'), 'replayed' ],
	[
		'repeated callback: mismatch',
		callback($trade{short}, 'n1', 'paid', amount => 99),
		'replayed'
	],
	[ 'repeated callback: failed', callback($trade{once}, 'n1', 'failed'), 'replayed' ],
	[
		'repeated callback: unmatched',
		"pay_callback(channel => 'test', callback_id => 'n1', trade_no => '0', reported => 'paid', amount => 5, currency => 'CNY')",
		'unmatched',
		'relation RowExclusiveLock'
	],
	[ 'repeated step', transition($trade{lost}, 'unknown', request_id => "'t1'"), 'replayed' ],
	[
		'repeated step of a whole payment',
		transition($late, 'closed', request_id => "'t1'"),
		'replayed'
	],
	[ 'pay_query', "pay_query(order_no => 'open')", 'in_progress' ]);

# The call, and what its transaction holds and is afterwards.
sub in_transaction
{
	my ($call) = @_;

	return
		"BEGIN; SELECT decision FROM $call;"
	  . "SELECT coalesce(pg_current_xact_id_if_assigned()::text, 'no xid');"
	  . "SELECT coalesce(string_agg(DISTINCT concat_ws(' ', locktype, mode), ', '), 'no lock') FROM pg_locks"
	  . " WHERE pid = pg_backend_pid() AND (locktype IN ('tuple', 'transactionid', 'page', 'advisory', 'object')"
	  . "  OR relation IN (SELECT c.oid FROM pg_class c WHERE c.relname ~ '^pay_') AND mode <> 'AccessShareLock');"
	  . 'COMMIT';
}

sub lsn { return $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()') }

# Warm up: hint bits, pruning and catalog caches come to rest.
$node->safe_psql('postgres', 'VACUUM');
my $all = join ';', map { "SELECT $_->[1]" } @duplicate;
$node->safe_psql('postgres', $all) for 1 .. 2;

foreach (@duplicate)
{
	my ($name, $call, $decision, $lock) = @$_;
	my $rows = digest($node, physical => 1);
	my $before = lsn();

	$lock ||= 'no lock';
	$node->safe_psql('postgres', "SELECT $call;" x 20);
	answers(
		$node, in_transaction($call),
		"$decision\nno xid\n$lock",
		"$name: $decision, without an xid or a row's lock");
	is(lsn(), $before, "$name: no WAL");
	is(digest($node, physical => 1), $rows, "$name: every row as it was, xmin, xmax and ctid too");
}

# The yardstick itself: a call that writes is seen to.
my $before = lsn();
like(
	$node->safe_psql('postgres', in_transaction(prepay('new', 'r1'))),
	qr/^proceed\n\d+\n.*relation RowExclusiveLock/,
	'a new order has an xid and locks');
isnt(lsn(), $before, 'a new order writes WAL');

# An error writes nothing either.
$before = lsn();
raises($node, prepay('open', 'r1', amount => 101), 'PY422', 'another amount');
raises($node, prepay('open', 'r1', currency => "'cn'"), 'PY400', 'bad currency');
raises($node, callback($trade{open}, 'n9', 'paid', amount => 'NULL'),
	'PY400', 'callback without its amount');
is(lsn(), $before, 'a refused call: no WAL');

# Not even another session's lock on the rows makes a duplicate wait: a
# lock_timeout would end these calls with 55P03.
foreach my $held (
	[
		'rows locked FOR UPDATE',
		'SELECT FROM pay_payment FOR UPDATE; SELECT FROM pay_attempt FOR UPDATE; SELECT FROM pay_review FOR UPDATE'
	],
	[ 'a step not committed yet', 'SELECT ' . transition($trade{open}, 'unknown') ],
	[ 'a payment not committed yet', 'SELECT ' . callback($trade{fresh}, 'n7', 'paid') ])
{
	my $other = $node->background_psql('postgres', on_error_stop => 1);

	$other->query_safe("BEGIN; $held->[1]");
	foreach (@duplicate)
	{
		my ($name, $call, $decision, $lock) = @$_;
		$lock ||= 'no lock';
		answers(
			$node,
			"SET lock_timeout = '20s';" . in_transaction($call),
			"$decision\nno xid\n$lock",
			"$name: does not wait for $held->[0]");
	}
	$other->query_safe('ROLLBACK');
	$other->quit;
}

no_leaks($node);
done_testing();
