# Every function that is not PARALLEL UNSAFE, in a parallel plan that is the first
# thing its session does: it answers what it answers without one. Every function
# that is unsafe never meets such a plan.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node('main', conf => "max_worker_processes = 8\nmax_parallel_workers = 8\nautovacuum = off");

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Enough rows that a scan of them is shared.
sql(<<"SQL");
	SELECT count(*) FROM generate_series(1, 20) AS n, pay_prepay('A' || n, 100, 'CNY', 'test', 'card', 'r1');
	SELECT count(*) FROM generate_series(1, 5) AS n, pay_callback('test', 'n' || n,
		(SELECT trade_no FROM pay_query('A' || n)), 'paid', 100, 'CNY');
	SELECT pay_dispute_open((SELECT trade_no FROM pay_query('A1')), (SELECT trade_no FROM pay_query('A2')), 'twice');
	CREATE TABLE orders AS
	SELECT n, p.pay_no, p.order_no, p.state, p.routes, q.trade_no,
		n % 2 + (SELECT dispute_id FROM pay_dispute) AS dispute_id
	FROM generate_series(1, 20000) AS n JOIN pay_payment p ON p.order_no = 'A' || n % 20 + 1
	JOIN LATERAL (SELECT trade_no FROM pay_query(p.order_no)) AS q ON n <= 20 OR true;
	ANALYZE orders;
SQL

# Each function's call over them; what is asked seldom is asked about some rows only.
my %call = (
	pay_channel_of => 'pay_channel_of(trade_no)',
	pay_query => '(SELECT decision FROM pay_query(order_no))',
	pay_history => '(SELECT count(*) FROM pay_history(trade_no))',
	pay_dispute_case => 'CASE WHEN n <= 20 AND state = $$paid$$ THEN (SELECT count(*) FROM pay_dispute_case(dispute_id - n % 2)) END',
	pay_suspects => 'CASE WHEN n <= 20 THEN (SELECT count(*) FROM pay_suspects(now() - $$1 hour$$::interval)) END',
	pay_can => 'pay_can(state::text, $$paid$$)',
	pay_next => 'pay_next(state::text)',
	pay_is_final => 'pay_is_final(state::text)',
	pay_steps => '(SELECT count(*) FROM pay_steps())',
	pay_diagram => 'length(pay_diagram())',
	pay_shard => 'pay_shard(order_no)',
	pay_shard_of => 'pay_shard_of(trade_no)',
	pay_time => 'pay_time(trade_no)',
	pay_attempt_of => 'pay_attempt_of(trade_no)',
	pay_number => 'pay_number(trade_no)',
	pay_trade_nos => 'pay_trade_nos(pay_no, routes)',
	pay_number_matches => 'pay_number_matches(pay_no, pay_no, 0, 0)',
	pay_table_fault => 'CASE WHEN n <= 20 THEN (SELECT count(*) FROM pay_table_fault($$pay_payment$$)) END',
	pay_trusts => '(n > 20 OR pay_trusts($$pay_payment$$))',
	pay_table_fault => 'CASE WHEN n <= 20 THEN (SELECT fault FROM pay_table_fault($$pay_payment$$)) END',
	pay_refuse_superuser => 'CASE WHEN n <= 20 THEN pay_refuse_superuser($$pay_payment$$)::text END');

my $functions = sql(<<'SQL');
	SELECT string_agg(format('%s:%s', proname, proparallel), ' ' ORDER BY proname)
	FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	WHERE NOT EXISTS (SELECT FROM pg_type WHERE oid = ANY (proargtypes) AND typname IN ('pay_state', 'pay_refund_state', 'pay_decision'))
		AND prorettype NOT IN ('pay_state'::regtype, 'pay_refund_state'::regtype, 'pay_decision'::regtype, 'trigger'::regtype)
SQL
my %label = map { split /:/ } split / /, $functions;
is(join(' ', grep { $label{$_} ne 'u' && !$call{$_} } sort keys %label), '', 'every function that a parallel plan may call is called');
is(join(' ', grep { !$label{$_} || $label{$_} eq 'u' } sort keys %call), '', 'and nothing else');

my $parallel = <<'SQL';
	SET parallel_setup_cost = 0;
	SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0;
	SET max_parallel_workers_per_gather = 2;
SQL
my $serial = 'SET max_parallel_workers_per_gather = 0;';

# A fresh session: what the backend keeps between calls is not there yet.
sub says
{
	my ($settings, $select) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "$settings $select");

	return $code == 0 ? $out : $err;
}

sub in_parallel
{
	my ($name, $expression) = @_;
	my $select = "SELECT count(*), sum(hashtext(coalesce(($expression)::text, ''))) FROM orders WHERE n % 7 <> 3";

	like(says($parallel, "EXPLAIN $select"), qr/Gather/, "$name: the plan is parallel");
	unlike(says($serial, $select), qr{ERROR}, "$name: answers");
	is(says($parallel, $select), says($serial, $select), "$name: the same answers");
	return;
}

in_parallel($_, $call{$_}) foreach sort keys %call;

# The types: every operator, the hash and the order, in the workers.
foreach my $type ('pay_state', 'pay_refund_state', 'pay_decision')
{
	my $label = "(ARRAY['unknown', '" . ($type eq 'pay_decision' ? 'proceed' : 'failed') . "'])[1 + n % 2]::$type";

	in_parallel($type, "($label = 'unknown')::text || ($label < 'unknown'::$type) || ($label >= 'unknown'::$type) || ($label <> 'unknown') || $label");
	is(
		says($parallel, "SELECT $label, count(*) FROM orders GROUP BY 1 ORDER BY 1"),
		says($serial, "SELECT $label, count(*) FROM orders GROUP BY 1 ORDER BY 1"),
		"$type: grouped and sorted");
}

# What writes does so in a plan of its own, whatever the settings.
my $forced = "$parallel SET " . ($node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode') . ' = on;';
like(says($forced, 'EXPLAIN SELECT 1'), qr/Gather/, 'what does not write is forced into a parallel plan');
foreach my $call ("pay_prepay('B' || n, 100, 'CNY', 'test', 'card', 'r1')", "pay_callback('test', 'm' || n, trade_no, 'unknown')")
{
	my $select = "SELECT count(($call).decision) FROM orders WHERE n <= 30";

	unlike(says($forced, "EXPLAIN $select"), qr/Gather/, "$call: the plan is not parallel");
	is(says($forced, $select), 30, "$call: it writes");
}
no_leaks($node);

done_testing();
