# What a call writes is replicated as any INSERT and UPDATE, and refused where
# core would refuse it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node('main', init => { allows_streaming => 'logical' });

sub decision { return "SELECT decision FROM $_[0];\n" }
sub sql      { return $node->safe_psql('postgres', @_) }

# ---- replica identity

sql(decision(prepay('identity', 'r1')));
my $tables = 'pay_payment, pay_attempt, pay_event, pay_review, pay_refund, pay_dispute, pay_task, pay_resource, pay_hold';
sql("CREATE PUBLICATION pub FOR TABLE $tables");
foreach my $table ('pay_payment', 'pay_attempt')
{
	my $rows = digest($node);

	sql("ALTER TABLE $table REPLICA IDENTITY NOTHING");
	raises(
		$node, callback(trade_of('identity'), 'n1', 'paid'),
		'55000',
		"$table is published without a replica identity",
		like => qr/cannot update table "$table".*replica identity/);
	is(digest($node), $rows, 'nothing was written');
	answers($node, decision(prepay('identity', 'r2')) . decision(prepay("identity $table", 'r1')),
		"in_progress\nproceed", 'reads and inserts go on');
	sql("ALTER TABLE $table REPLICA IDENTITY DEFAULT");
}
sql('ALTER PUBLICATION pub SET TABLE pay_payment WHERE (amount > 0)');
raises(
	$node, callback(trade_of('identity'), 'n1', 'paid'),
	'42P10',
	'a publication\'s row filter that the identity does not cover',
	like => qr/cannot update table "pay_payment"/);
sql('ALTER TABLE pay_payment REPLICA IDENTITY FULL');
answers($node, callback(trade_of('identity'), 'n1', 'paid'),
	'applied|paid|1|paid', 'with REPLICA IDENTITY FULL it does');
sql("ALTER PUBLICATION pub SET TABLE $tables");
sql(decision(refund(trade_of('identity'), 'F1', 60)));
sql('ALTER TABLE pay_refund REPLICA IDENTITY NOTHING');
raises(
	$node, refund_callback('F1', 'm1', 'succeeded'),
	'55000',
	'pay_refund is published without a replica identity',
	like => qr/cannot update table "pay_refund".*replica identity/);
sql('ALTER TABLE pay_refund REPLICA IDENTITY DEFAULT');
answers($node, decision(refund_callback('F1', 'm1', 'succeeded')), 'applied', 'with one it goes on');
# The queue has no key; pay_install() said what identifies its rows.
sql(decision(refund(trade_of('identity'), 'F0', 10)));
sql('ALTER TABLE pay_task REPLICA IDENTITY DEFAULT');
raises(
	$node, 'SELECT ' . claim('w1', actions => "'{submit_refund}'"),
	'55000',
	'pay_task is published without a replica identity',
	like => qr/cannot delete from table "pay_task".*replica identity/);
sql('SELECT pay_install()');
answers($node, 'SELECT action, refund_no FROM ' . claim('w1', actions => "'{submit_refund}'"), 'submit_refund|F0', 'pay_install() gives it one');

# ---- a logical slot sees it all

sql("SELECT pg_create_logical_replication_slot('seen', 'test_decoding')");
sql(    'BEGIN;'
	  . decision(prepay('decoded', 'r1', payer => "'Ada'"))
	  . 'SAVEPOINT s;'
	  . decision(callback(trade_of('decoded'), 'n0', 'failed'))
	  . 'ROLLBACK TO s; COMMIT');
sql(decision(prepay('decoded', 'r2')));
sql(decision(callback(trade_of('decoded'), 'n1', 'paid', payload => "'{\"a\": 1}'")));
my @changes = grep { !/^(BEGIN|COMMIT)/ } split /\n/,
  sql(
	"SELECT data FROM pg_logical_slot_get_changes('seen', NULL, NULL, 'include-xids', '0', 'skip-empty-xacts', '1')"
  );
my @brief = map { /^table public\.(\w+): (\w+):/ ? "$2 $1" : $_ } @changes;
is( join(', ', sort @brief[ 0 .. 3 ]),
	'INSERT pay_attempt, INSERT pay_event, INSERT pay_payment, INSERT pay_task',
	'decoded: a new payment, its attempt, its event, its task');
is( join(', ', sort @brief[ 4 .. $#brief ]),
	'INSERT pay_event, UPDATE pay_attempt, UPDATE pay_payment',
	'decoded: a report, which does not touch the queue, and nothing for the duplicate');
my ($update) = grep { /pay_payment: UPDATE/ } @changes;
like(
	$update,
	qr/old-key: .*state\[(?:public\.)?pay_state\]:'paying'.* new-tuple: .*amount_collected\[bigint\]:100 .*state\[(?:public\.)?pay_state\]:'paid'/,
	'decoded: the old row and the new one');
my ($attempt) = grep { /pay_attempt: UPDATE/ } @changes;
unlike($attempt, qr/old-key/, 'decoded: a key that did not change is not repeated');
like(
	(grep { /pay_event: INSERT/ } @changes)[-1],
	qr/message_id\[text\]:'n1'.*payload\[jsonb\]:'\{"a": 1\}'/,
	'decoded: the report');
sql("SELECT pg_drop_replication_slot('seen')");

# ---- a logical copy

my $copy = pay_node('copy', init => { allows_streaming => 'logical' });
my $connstr = $node->connstr . ' dbname=postgres';
$copy->safe_psql('postgres', "CREATE SUBSCRIPTION sub CONNECTION '$connstr' PUBLICATION pub");
$copy->wait_for_subscription_sync($node, 'sub');
sql(    decision(prepay('copied', 'r1'))
	  . decision(callback(trade_of('copied'), 'n1', 'paid', amount => 1)));
sql(decision(
		"pay_review_resolve(review_id => (SELECT max(review_id) FROM pay_review), verdict => 'dismiss', reason => 'test')"
	));
sql(    decision(callback(trade_of('copied'), 'n2', 'failed'))
	  . decision(prepay('copied', 'r2'))
	  . decision(callback(trade_of('copied'), 'n3', 'paid'))
	  . decision(refund(trade_of('copied'), 'F2', 60))
	  . decision(refund_callback('F2', 'm1', 'succeeded'))
	  . decision(refund(trade_of('copied'), 'F3', 30))
	  . decision(
		"pay_dispute_open(trade_no => @{[ trade_of('copied') ]}, duplicate_of => @{[ trade_of('identity') ]}, reason => 'x')"
	  ));
# The queue's rows come, change and go; what is held, too.
sql(    "INSERT INTO pay_resource (resource, external) VALUES ('room', true);"
	  . decision(prepay('copied holds', 'r1', valid_for => "'1 day'", holds => "'{coupon:C1,room:101,room:102}'"))
	  . decision(transition("(SELECT pay_no::text FROM pay_payment WHERE order_no = 'copied holds')", 'closed')));
answers($node, 'SELECT action, refund_no, resource FROM ' . claim('w1', actions => "'{submit_refund,release_hold}'") . ' ORDER BY 1',
	"release_hold||room:102\nsubmit_refund|F3|", 'a worker does what is due, and drops what is done');
sql(decision(hold_done(trade_of('copied holds'), 'room:102', 'released')));
is(sql("SELECT count(*) FROM pay_task WHERE refund_no = 'F2'"), 0, 'the task of a refund that succeeded has gone');
$node->wait_for_catchup('sub');
my @o = (tables => [ split /, /, $tables ]);
is( digest($copy, @o),
	digest($node, @o),
	'the copy has the same rows: guards do not stand in the way of a replica');
is(violations($copy), '', 'all that must hold holds there');
raises($copy, "UPDATE pay_payment SET state = 'paying' WHERE order_no = 'copied'",
	'PY409', 'where its guards stand as ever');
$copy->safe_psql('postgres', 'DROP SUBSCRIPTION sub');
answers($copy, callback(trade_of('copied'), 'n3', 'paid'),
	'replayed|paid|2|paid', 'cut off, it knows what it was told');
answers($copy, prepay('copied', 'r3'), 'already_paid|paid|2|paid', 'and goes on by itself');
answers($copy, decision(refund_callback('F2', 'm1', 'succeeded')) . decision(refund_callback('F3', 'm2', 'succeeded')),
	"replayed\napplied", 'with refunds, too');
is($copy->safe_psql('postgres', "SELECT collected, refunded, refundable FROM pay_balance WHERE order_no = 'copied'"),
	'100|90|10', 'and the balance adds up there');
answers($copy, prepay('own', 'r1'), 'proceed|paying|1|paying', 'with new orders');
answers($copy, 'SELECT action, resource FROM ' . claim('w1', actions => "'{release_hold,submit_refund}'"),
	'release_hold|room:101', 'and with the queue: what is leased, is leased there, too');
answers($copy, 'SELECT decision FROM ' . prepay('own too', 'r1', valid_for => "'1 day'", holds => "'{coupon:C1}'"), 'proceed', 'and what is free, free');

is(violations($node), '', 'all that must hold holds');
no_leaks($_) for $node, $copy;
done_testing();
