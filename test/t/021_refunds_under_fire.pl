# The cap under fire: 100 collected, and 32 clients that refund it in random
# parts, fail, try again, report, repeat and contradict themselves, cancel,
# charge back beyond what is left, send back, name one refund by two numbers,
# bounce, claim and update directly, at every isolation level, with rollbacks and
# savepoints. What is reserved and refunded is at no commit more than what was
# collected and what is said to be overdrawn, and nothing is sent by us beyond
# what was collected: a watch in a session of its own looks all the time, and
# afterwards the history is replayed event by event. The checks are shown to
# find what is wrong.
#
# What the fire must have reached is brought about on purpose, at each isolation
# level (test/fire/purpose.sql); the random part adds to it, and nothing that is
# claimed here depends on it.
#
# FIRE_TRANSACTIONS is how many each client has (240).

use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 32;
my $transactions_each = $ENV{FIRE_TRANSACTIONS} || 240;
my $fire = "$FindBin::Bin/../fire";

my $node = pay_node('fire', conf => <<'CONF');
max_connections = 60
shared_buffers = 128MB
autovacuum = on
autovacuum_naptime = 5s
enable_seqscan = off
jit = off
deadlock_timeout = 50ms
log_error_verbosity = verbose
log_min_error_statement = panic
CONF
$node->safe_psql('postgres', 'CREATE INDEX ON pay_review (pay_no); CREATE INDEX ON pay_dispute (pay_no)');
$node->safe_psql('postgres', slurp_file("$fire/$_")) foreach qw(identity.sql replay.sql fire.sql ask.sql purpose.sql);

local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
my ($watched, $watch_says) = ('', '');
my $watch = IPC::Run::start([ 'psql', '-X', '-q', '-c', 'CALL fire.watch()', 'postgres' ], '>', \$watched, '2>', \$watch_says);

# On purpose, while the watch looks.
my @levels = ('read committed', 'repeatable read', 'serializable');
$node->safe_psql('postgres', "BEGIN ISOLATION LEVEL $_; CALL fire.on_purpose('purpose $_'); COMMIT") foreach @levels;
my ($looks_before) = $node->safe_psql('postgres', 'SELECT looks FROM fire.watched');
$node->poll_query_until('postgres', "SELECT looks > $looks_before + 1 FROM fire.watched") || die 'the watch does not look';
# two who refund one order at the same instant: the later one is told to try again, and does
my ($met, $met_says);
IPC::Run::run([ 'pgbench', '--no-vacuum', '--client=2', '--jobs=2', '--transactions=1', '--max-tries=100', "--file=$fire/meet.pgbench", 'postgres' ],
	'>', \$met, '2>', \$met_says) || diag($met_says);
like($met, qr/transactions retried: 1 /, 'two that meet: one is tried again');

# pgbench tries again after 40001 and 40P01, for ever, and gives up after any other error
my ($stdout, $stderr);
my $calm = IPC::Run::run(
	[ 'pgbench', '--no-vacuum', '--protocol=prepared', "--client=$clients", '--jobs=2', "--transactions=$transactions_each",
		'--max-tries=1000000', '--define=done=0', "--file=$fire/transaction.pgbench", 'postgres' ],
	'>', \$stdout, '2>', \$stderr);
ok($calm, 'no error that nobody expected') || diag($stderr);
my ($transactions) = $stdout =~ /transactions actually processed: (\d+)/;
my ($retried) = $stdout =~ /transactions retried: (\d+)/;
$node->safe_psql('postgres', 'INSERT INTO fire.ceased DEFAULT VALUES');
ok($watch->finish, 'the watch looked to the end') || diag($watch_says);
note("$transactions transactions, of which $retried were tried again");

# It did burn: every decision of a refund, every refusal.
my %answered = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
	"SELECT coalesce(decision, refused), count(*) FROM (SELECT decision, refused FROM fire.answer WHERE called <> 'pay'
		UNION ALL SELECT decision, refused FROM purpose.answer) a GROUP BY 1");
note(join ', ', map { "$_ $answered{$_}" } sort keys %answered);
cmp_ok($answered{$_} // 0, '>', 0, "somebody was answered $_")
  foreach qw(proceed replayed confirm applied unchanged stale surplus mismatch unmatched updated PY400 PY404 PY409 PY422 ST000);
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT isolation, $$, $$ ORDER BY isolation) FROM purpose.answer'),
	join(', ', @levels), 'at every isolation level');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT state::text, $$ $$ ORDER BY state::text) FROM pay_refund'),
	'abnormal cancelled failed processing requested returned succeeded unknown', 'refunds of every state');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT kind, $$ $$ ORDER BY kind) FROM pay_refund'),
	'chargeback extra refund surplus', 'and of every kind');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM replay.step WHERE refund_before = $$failed$$ AND refund_after = $$requested$$'),
	'>', 0, 'refunds that failed were tried again');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT kind, $$ $$ ORDER BY kind) FROM pay_review'),
	'abnormal adopted conflict mismatch overdrawn returned twin unmatched', 'reviews of every kind that a refund can have');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT verdict, $$ $$ ORDER BY verdict) FROM pay_review'),
	'accept alias dismiss refund same', 'and every verdict');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT action, $$ $$ ORDER BY action) FROM fire.claimed'),
	'query_refund submit_refund', 'workers were told to send and to ask');

# At no commit was it more than there is.
my ($looks, $attempts, $some_taken, $all_taken, $overdrawn) = split /\|/, $node->safe_psql('postgres', 'SELECT * FROM fire.watched');
note("the watch looked $looks times at $attempts attempts: $some_taken had refunds, $all_taken had nothing left, $overdrawn were overdrawn");
cmp_ok($some_taken, '>', $all_taken, 'it saw attempts with something left');
cmp_ok($all_taken, '>', 0, 'and with nothing left');
cmp_ok($overdrawn, '>', 0, 'and with less than nothing');
is($node->safe_psql('postgres', 'SELECT * FROM fire.over_cap LIMIT 20'), '', 'and never saw more than there is, but for what is said to be overdrawn');

# Nothing else went wrong: what is left to retry is all that the log has.
my $log = slurp_file($node->logfile);
my %error;
$error{$1}++ while $log =~ /ERROR:\s+(\w{5}):/g;
delete @error{qw(40001 40P01)};
is(join(', ', %error), '', 'no error in the log but 40001 and 40P01');
no_leaks($node);

# Afterwards the sums agree, and the history never went beyond the cap.
$node->safe_psql('postgres', 'ANALYZE');
is($node->safe_psql('postgres', 'SELECT * FROM fire.check() ORDER BY 1, 2 LIMIT 50'), '',
	'no violation in ' . $node->safe_psql('postgres', <<'SQL'));
	SELECT format('%s payments, %s refunds, %s events of refunds; %s refunded and %s reserved of %s collected',
		count(*), (SELECT count(*) FROM pay_refund), (SELECT count(*) FROM replay.step), sum(refunded), sum(reserved), sum(collected))
	FROM pay_balance
SQL

# Each refund that is under way has a task that counts, so a worker will find it. Those
# who came here asked once each at most, so no schedule has ended.
my $under_way = "FROM pay_refund f WHERE f.state IN ('requested', 'processing', 'unknown')";
my $found_by_workers = 'EXISTS (SELECT FROM pay_task t WHERE (t.pay_no, t.refund_no) = (f.pay_no, f.refund_no) AND (f.check_at IS NULL OR t.queued_for = f.check_at))';
is($node->safe_psql('postgres', "SELECT refund_no, state $under_way AND NOT $found_by_workers LIMIT 20"), '', 'no refund under way is without a task');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) $under_way AND $found_by_workers"), '>', 0, 'and some have one');

# The checks see what is wrong: in a copy, refunds are broken in every way that
# they know, and they report each, and nothing else. So does the watch.
$node->safe_psql('postgres', 'CREATE DATABASE broken TEMPLATE postgres');
my ($before) = $node->safe_psql('broken', slurp_file("$fire/break.sql")) =~ /^violations before: (\d+)$/m;
is($before, '0', 'nothing is wrong with them before they are broken');
$node->safe_psql('broken', 'CREATE TABLE fire.found AS SELECT * FROM fire.check()');
foreach (split /\n/, $node->safe_psql('broken', <<'SQL'))
	SELECT b.way, b.expected, (SELECT string_agg(DISTINCT f."check", ', ' ORDER BY f."check") FROM fire.found f WHERE f.pay_no = b.pay_no)
	FROM fire.broken b ORDER BY b.way
SQL
{
	my ($way, $expected, $found) = split /\|/;
	is($found, $expected, "broken: $way");
}
is($node->safe_psql('broken', 'SELECT count(*) FROM fire.broken'), '39', 'all the ways were tried');
is($node->safe_psql('broken', 'SELECT DISTINCT "check" FROM fire.found WHERE pay_no NOT IN (SELECT pay_no FROM fire.broken) ORDER BY 1'),
	'', 'what is not broken is not reported');
is($node->safe_psql('broken', <<'SQL'), '', 'every check found something');
	SELECT unnest('{collected,cap,overdrawn,called off,sent,sums,extra,surplus,refund,balance,running cap,refund chain,refund step,refund decision,refund state}'::text[])
	EXCEPT SELECT "check" FROM fire.found
SQL
$node->safe_psql('broken', 'CALL fire.watch()');
is( $node->safe_psql('broken', 'SELECT DISTINCT order_no FROM fire.over_cap ORDER BY 1'),
	$node->safe_psql('broken', 'SELECT way FROM fire.broken WHERE seen ORDER BY 1'),
	'the watch sees what is its own');

$node->stop;
done_testing();
