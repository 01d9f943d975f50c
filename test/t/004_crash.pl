# A crash loses nothing that was committed and keeps nothing that was not, and
# the order can always be paid on. The same on a standby that takes over.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use PayTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node(
	'main',
	init => { allows_streaming => 1 },
	conf => "max_prepared_transactions = 8\nrestart_after_crash = on\nsynchronous_commit = on");

# Kill a client's backend with SIGKILL: the server throws all sessions out and
# recovers from its WAL.
sub kill_backend
{
	my ($client) = @_;
	my $pid = $client->query_safe('SELECT pg_backend_pid()');
	my $offset = -s $node->logfile;

	is(kill(9, $pid), 1, 'a backend dies by SIGKILL');
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
	eval { $client->quit };
	$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	return;
}

# ---- a client that dies between prepay's commit and the channel call

my $client = $node->background_psql('postgres', on_error_stop => 1);
is($client->query_safe('SELECT decision FROM ' . prepay('A1', 'r1')),
	'proceed', 'A1: proceed, committed');
my $trade_no = $client->query_safe('SELECT ' . trade_of('A1'));
kill_backend($client);
answers($node, "SELECT decision, state, attempt FROM pay_query(order_no => 'A1')",
	'in_progress|paying|1', 'A1 is there');
answers($node, prepay('A1', 'r2'), 'in_progress|paying|1|paying', 'A1: another client waits');
answers($node, 'SELECT decision, trade_no::uuid FROM ' . prepay('A1', 'r1'),
	"proceed|$trade_no", 'A1: the same request gets the same number again');
answers($node, callback("'$trade_no'", 'n1', 'paid'), 'applied|paid|1|paid', 'A1: and it is paid');

# ---- in the middle of an open transaction

$client = $node->background_psql('postgres', on_error_stop => 1);
$node->safe_psql('postgres', 'SELECT ' . prepay('A2', 'r1') . '; SELECT ' . prepay('B0', 'r1'));
$node->safe_psql('postgres',
		"INSERT INTO pay_resource (resource, external) VALUES ('room', true);"
	  . 'SELECT ' . prepay('H1', 'r1', valid_for => "'1 day'", holds => "'{coupon:C1,room:101}'")
	  . '; SELECT ' . prepay('B9', 'r1') . '; SELECT ' . transition(trade_of('B9'), 'closing'));
$client->query_safe('BEGIN');
is($client->query_safe('SELECT decision FROM ' . prepay('B1', 'r1')),
	'proceed', 'B1: proceed, not committed');
is($client->query_safe('SELECT decision FROM ' . callback(trade_of('A2'), 'n1', 'paid')),
	'applied', 'A2: paid, not committed');
is($client->query_safe('SELECT decision FROM ' . prepay('H2', 'r1', valid_for => "'1 day'", holds => "'{coupon:C2}'")),
	'proceed', 'H2: holds a coupon, not committed');
is($client->query_safe('SELECT decision FROM ' . callback(trade_of('H1'), 'n1', 'paid')),
	'applied', 'H1: paid, so its room is to be confirmed, not committed');
is($client->query_safe('SELECT action, order_no FROM ' . claim('w1', actions => "'{close}'")),
	'close|B9', 'B9: a worker is told to close it, not committed');
is($client->query_safe('SELECT decision FROM ' . callback("'nobody'", 'n1', 'paid')),
	'unmatched', 'nobody: unmatched, not committed');
is( $client->query_safe('SELECT decision FROM ' . refund("'$trade_no'", 'F1', 60)),
	'proceed', 'A1: a refund, not committed');
is($client->query_safe('SELECT decision FROM ' . prepay('B2', 'r1', replaces => "'B0'")),
	'proceed', 'B2 in place of B0, not committed');
is($client->query_safe("SELECT decision FROM pay_dispute_open(trade_no => '$trade_no', duplicate_of => (SELECT trade_no FROM pay_query(order_no => 'A2')), reason => 'x')"),
	'applied', 'a dispute, not committed');
$node->safe_psql('postgres', 'CHECKPOINT');    # what is not committed is on disk too
kill_backend($client);
answers($node, "SELECT decision, pay_no FROM pay_query(order_no => 'B1')",
	'proceed|', 'B1 was never there');
is( $node->safe_psql(
		'postgres', 'SELECT (SELECT count(*) FROM pay_review), (SELECT count(*) FROM pay_refund), (SELECT count(*) FROM pay_dispute)'),
	'0|0|0',
	'nor was the review, the refund, the dispute');
answers($node, "SELECT decision, state, other_order_no FROM pay_query(order_no => 'B0')",
	'in_progress|paying|', 'B0 is not replaced');
answers(
	$node, 'SELECT decision, refundable FROM ' . refund("'$trade_no'", 'F1', 100),
	'proceed|0', 'A1: all of it is there to be refunded');
answers($node, prepay('B1', 'r2'), 'proceed|paying|1|paying', 'B1: the next client gets it');
answers($node, prepay('H3', 'r1', valid_for => "'1 day'", holds => "'{coupon:C2}'"),
	'proceed|paying|1|paying', 'H3: the coupon that H2 asked for is there');
answers($node, 'SELECT h.state, t.asked_by FROM pay_hold h LEFT JOIN pay_task t USING (pay_no, resource) WHERE h.external', 'held|', 'H1 only holds its room');
answers($node, 'SELECT action, order_no, tries FROM ' . claim('w2', actions => "'{close,confirm_hold,release_hold}'"),
	'close|B9|1', 'B9: another worker is told to close it');
answers($node, "SELECT decision, state FROM pay_query(order_no => 'A2')",
	'in_progress|paying', 'A2 is not paid');
answers(
	$node, callback(trade_of('A2'), 'n1', 'paid'),
	'applied|paid|1|paid', 'A2: the callback comes again and counts');
answers($node, callback(trade_of('A2'), 'n1', 'paid'), 'replayed|paid|1|paid', 'A2: once');
is(violations($node), '', 'all that must hold holds');

# ---- a prepared transaction outlives the crash, with its locks

$node->safe_psql('postgres', 'SELECT ' . prepay('D1', 'r1') . '; SELECT ' . prepay('D2', 'r1'));
$node->safe_psql('postgres',
		'BEGIN; SELECT '
	  . prepay('C1', 'r1')
	  . '; SELECT '
	  . callback(trade_of('D1'), 'n1', 'paid')
	  . '; SELECT '
	  . refund(trade_of('D1'), 'D1', 60)
	  . '; SELECT '
	  . prepay('H4', 'r1', valid_for => "'1 day'", holds => "'{coupon:C4}'")
	  . "; PREPARE TRANSACTION 'kept';"
	  . 'BEGIN; SELECT '
	  . prepay('C2', 'r1')
	  . '; SELECT '
	  . callback(trade_of('D2'), 'n1', 'paid')
	  . "; PREPARE TRANSACTION 'dropped'");
$node->stop('immediate');
$node->start;
is( $node->safe_psql(
		'postgres', 'SELECT string_agg(gid, \' \' ORDER BY gid) FROM pg_prepared_xacts'),
	'dropped kept',
	'both are still prepared');
answers($node, "SELECT decision, pay_no FROM pay_query(order_no => 'C1')",
	'proceed|', 'C1 is not committed');
answers($node, "SET lock_timeout = '20s'; SELECT decision FROM " . prepay('D1', 'r2'),
	'in_progress', 'D1: a duplicate does not wait');

my %waiting;
foreach (
	[ C1 => prepay('C1', 'r2') ],
	[ C2 => prepay('C2', 'r2') ],
	[ D1 => callback(trade_of('D1'), 'n1', 'paid') ],
	[ D2 => callback(trade_of('D2'), 'n1', 'paid') ],
	[ H5 => prepay('H5', 'r1', valid_for => "'1 day'", holds => "'{coupon:C4}'") ])
{
	my ($order, $call) = @$_;
	my $session = $node->background_psql('postgres', on_error_stop => 1);

	$session->query_safe("SET application_name = 'client of $order'");
	$session->query_until(qr/asked/,
		"\\echo asked\nSELECT decision FROM $call;\n\\echo answered\n");
	$waiting{$order} = $session;
	waits($node, "client of $order");
}
$node->safe_psql('postgres', "COMMIT PREPARED 'kept'");
$node->safe_psql('postgres', "ROLLBACK PREPARED 'dropped'");
foreach ([ C1 => 'in_progress' ], [ C2 => 'proceed' ], [ D1 => 'replayed' ], [ D2 => 'applied' ], [ H5 => 'unavailable' ])
{
	my ($order, $decision) = @$_;

	like($waiting{$order}->query_until(qr/answered/, ''),
		qr/^$decision$/m, "$order: $decision when the prepared transaction has ended");
	$waiting{$order}->quit;
}
answers($node, "SELECT decision FROM pay_query(order_no => 'D1')", 'already_paid', 'D1 is paid');
answers(
	$node, 'SELECT decision, state, refundable FROM ' . refund(trade_of('D1'), 'D1', 60),
	'replayed|requested|40', 'and its refund is there');
answers($node, 'SELECT action, refund_no FROM ' . claim('w1', actions => "'{submit_refund}'") . ' ORDER BY refund_no',
	"submit_refund|D1\nsubmit_refund|F1", 'for a worker to do');
is(violations($node), '', 'all that must hold holds');

# ---- under load: what clients were told, is there

my $lives = join "\n", map {
	my $n = $_;
	"SELECT 'told', :'client', $n, trade_no, decision FROM "
	  . prepay('', 'r1', order_no => ":'client' || '-' || $n") . ";\n"
	  . "SELECT 'paid', :'client', $n, trade_no, decision FROM "
	  . callback("(SELECT trade_no FROM pay_query(order_no => :'client' || '-' || $n))", 'n1',
		'paid')
	  . ";\nSELECT 'back', :'client', $n, trade_no, decision FROM "
	  . refund("(SELECT trade_no FROM pay_query(order_no => :'client' || '-' || $n))",
		'', 60, refund_no => ":'client' || '-' || $n")
	  . ';'
} 1 .. 3000;
my $script = PostgreSQL::Test::Utils::tempdir() . '/lives.sql';
my %load;
append_to_file($script, $lives);
foreach my $client ('a' .. 'c')
{
	my ($out, $err) = ('', '');

	$load{$client} = {
		out => \$out,
		run => IPC::Run::start(
			[
				'psql', '-XAtq', '-v', "client=$client",
				'-d', $node->connstr('postgres'), '-f', $script
			],
			'<',
			\undef,
			'>',
			\$out,
			'2>',
			\$err)
	};
}
my $told = sub { my $n = 0; $n += () = ${ $_->{out} } =~ /^paid/mg for values %load; return $n };
while ($told->() < 300)
{
	$_->{run}->pump for grep { $_->{run}->pumpable } values %load;
}
$node->stop('immediate');
$_->{run}->finish for values %load;
my $count = $told->();
cmp_ok($count, '<', 3 * 3000, 'the server went down in the middle of it');
$node->start;
my @lines = map { split /\n/, ${ $_->{out} } } values %load;
my @wrong = grep { !/^((told|back)\|.*\|proceed|paid\|.*\|applied)$/ } @lines;
is("@wrong", '', 'until then each order proceeded once, was paid once and refunded once');
my $values = join ',',
  map { /^(\w+)\|(\w)\|(\d+)\|(\w+)\|/ ? "('$1', '$2-$3', '$4'::uuid)" : () } @lines;
is($node->safe_psql('postgres', <<"SQL"), '', 'everything that a client was told is there');
	SELECT told.* FROM (VALUES $values) AS told (what, order_no, trade_no)
		LEFT JOIN pay_payment p USING (order_no) LEFT JOIN pay_attempt a USING (trade_no)
	WHERE p.pay_no IS NULL OR a.pay_no IS DISTINCT FROM p.pay_no OR told.what = 'paid' AND p.state <> 'paid'
		OR told.what = 'back' AND NOT EXISTS (SELECT FROM pay_refund r WHERE r.refund_no = told.order_no AND r.pay_no = p.pay_no)
SQL
is(violations($node), '', 'all that must hold holds: also, each open attempt and each refund under way has its task');
is( $node->safe_psql(
		'postgres',
		"SELECT DISTINCT decision FROM pay_payment p JOIN pay_attempt a USING (pay_no),"
		  . ' pay_callback(channel => \'test\', callback_id => \'n1\', trade_no => a.trade_no::text, reported => \'paid\', amount => 100, currency => \'CNY\') r'
		  . " WHERE p.order_no ~ '^[abc]-' AND p.state = 'paid'"),
	'replayed',
	'every callback that counted is known');

# ---- a standby

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres',
		'SELECT '
	  . prepay('S1', 'r1')
	  . ';SELECT '
	  . credential(trade_of('S1'), 'wx2014')
	  . ';SELECT '
	  . prepay('S2', 'r1'));
$node->safe_psql('postgres', 'SELECT '
	  . callback(trade_of('S2'), 'n1', 'paid')
	  . ';SELECT '
	  . refund(trade_of('S2'), 'S2', 60)
	  . ';SELECT '
	  . prepay('S4', 'r1', valid_for => "'1 day'", holds => "'{coupon:S4,room:104}'")
	  . ";SELECT pay_dispute_open(trade_no => @{[ trade_of('S2') ]}, duplicate_of => @{[ trade_of('S1') ]}, reason => 'x')");
my $case = "(SELECT dispute_id FROM pay_dispute WHERE reason = 'x')";
$node->wait_for_catchup($standby);

foreach my $read (
	(map { "SELECT * FROM pay_query(order_no => '$_')" } qw(S1 S2 A1 nobody)),
	'SELECT * FROM pay_history(trade_no => ' . trade_of('S2') . ')',
	'SELECT * FROM pay_history(trade_no => ' . trade_of('S1') . ')',
	"SELECT * FROM pay_dispute_case(dispute_id => $case)",
	"SELECT * FROM pay_balance WHERE order_no = 'S2'",
	"SELECT count(*) FROM pay_suspects(since => now() - interval '1 day')")
{
	my $here = $node->safe_psql('postgres', $read);

	isnt($here, '', 'the primary answers');
	is($standby->safe_psql('postgres', $read), $here, "the standby reads the same: $read");
}
foreach my $call (
	prepay('S9', 'r1'),
	prepay('S1', 'r1'),
	prepay('S2', 'r1'),
	credential(trade_of('S1'), 'wx2014'),
	callback(trade_of('S2'), 'n1', 'paid'),
	callback("'nobody'", 'n1', 'paid'),
	transition(trade_of('S1'), 'failed'),
	"pay_create(order_no => 'S1', amount => 100, currency => 'CNY')",
	"pay_review_resolve(review_id => 1, verdict => 'dismiss', reason => 'x')",
	refund(trade_of('S2'), 'S2', 60),
	refund(trade_of('S2'), 'S3', 40),
	refund_transition('S2', 'processing'),
	refund_callback('S2', 'm1', 'succeeded'),
	"pay_dispute_open(trade_no => @{[ trade_of('S2') ]}, duplicate_of => @{[ trade_of('S1') ]}, reason => 'x')",
	"pay_dispute_resolve(dispute_id => $case, verdict => 'reject', reason => 'x')",
	claim('w1'),
	hold_done(trade_of('S4'), 'room:104', 'tried'))
{
	my ($name) = $call =~ /(pay_\w+)/;
	raises($standby, $call, '25006', "$name is refused on a standby");
}

$node->stop('immediate');
$standby->promote;
answers($standby, prepay('S2', 'r2'), 'already_paid|paid|1|paid', 'promoted: what is paid is paid');
answers($standby, prepay('S1', 'r2'),
	'in_progress|paying|1|paying', 'promoted: what is open is open');
answers($standby, callback(trade_of('S2'), 'n1', 'paid'),
	'replayed|paid|1|paid', 'promoted: a callback is known');
answers($standby, callback(trade_of('S1'), 'n1', 'paid'),
	'applied|paid|1|paid', 'promoted: payments go on');
answers($standby, prepay('S3', 'r1'), 'proceed|paying|1|paying', 'promoted: and so do new ones');
answers(
	$standby,
	'SELECT decision, state, refundable FROM '
	  . refund(trade_of('S2'), 'S2', 60)
	  . '; SELECT decision, state, refundable FROM '
	  . refund_callback('S2', 'm1', 'succeeded'),
	"replayed|requested|40\napplied|succeeded|40",
	'promoted: a refund is known and goes on');
answers($standby, 'SELECT decision FROM ' . prepay('S5', 'r1', valid_for => "'1 day'", holds => "'{coupon:S4}'"), 'unavailable', 'promoted: what is held is held');
answers(
	$standby,
	'SELECT decision FROM ' . callback(trade_of('S4'), 'n1', 'paid') . '; SELECT action, resource FROM ' . claim('w1', actions => "'{confirm_hold}'"),
	"applied\nconfirm_hold|room:104",
	'promoted: and workers go on');
answers($standby, "SELECT decision, verdict FROM pay_dispute_resolve(dispute_id => $case, verdict => 'reject', reason => 'x')",
	'applied|reject', 'promoted: a dispute, too');
is(violations($standby), '', 'all that must hold holds');

no_leaks($standby);
done_testing();
