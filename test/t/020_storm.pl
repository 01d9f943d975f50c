# The storm: 32 clients call everything at random, at every isolation level,
# with rollbacks and savepoints, upon 240 orders at a time, of which 40 come in
# the place of another. Afterwards every payment must be what the design says;
# and the checker that says so is shown to find what is wrong.
#
# What the storm must have reached is brought about on purpose, at each isolation
# level (test/storm/purpose.sql); chance adds to it, and nothing that is claimed
# here depends on it.
#
# STORM_ROUNDS is how many times it blows (3), each time upon new orders, as the ones
# before have ended.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 32;
my $rounds = $ENV{STORM_ROUNDS} // 3;
my $storm = "$FindBin::Bin/../storm";

my $node = pay_node('storm', conf => <<'CONF');
max_connections = 60
shared_buffers = 128MB
autovacuum = on
autovacuum_naptime = 5s
enable_seqscan = off
log_error_verbosity = verbose
log_min_error_statement = panic
CONF
$node->safe_psql('postgres', 'CREATE INDEX ON pay_review (pay_no); CREATE INDEX ON pay_dispute (pay_no)');
$node->safe_psql('postgres', slurp_file("$storm/$_")) foreach qw(../fire/identity.sql ../fire/replay.sql ../fire/ask.sql storm.sql check.sql purpose.sql);

local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
my ($transactions, $retried) = (0, 0);

# On purpose. Two who refund one order at the same instant: the later one is told to
# try again, and does.
my @levels = ('read committed', 'repeatable read', 'serializable');
$node->safe_psql('postgres', "BEGIN ISOLATION LEVEL $_; CALL storm.on_purpose('purpose $_'); COMMIT") foreach @levels;
my ($met, $met_says);
IPC::Run::run([ 'pgbench', '--no-vacuum', '--client=2', '--jobs=2', '--transactions=1', '--max-tries=100', "--file=$storm/../fire/meet.pgbench", 'postgres' ],
	'>', \$met, '2>', \$met_says) || diag($met_says);
like($met, qr/transactions retried: 1 /, 'two that meet: one is tried again');

foreach my $round (1 .. $rounds)
{
	my ($stdout, $stderr);

	# pgbench tries again after 40001 and 40P01, for ever, and gives up after any other error
	my $calm = IPC::Run::run(
		[ 'pgbench', '--no-vacuum', '--protocol=prepared', "--client=$clients", '--jobs=2', '--transactions=90',
			'--max-tries=1000000', "--define=round=$round", "--file=$storm/transaction.pgbench", 'postgres' ],
		'>', \$stdout, '2>', \$stderr);
	ok($calm, "round $round: no error that nobody expected") || diag($stderr);
	$transactions += $1 if $stdout =~ /transactions actually processed: (\d+)/;
	$retried += $1 if $stdout =~ /transactions retried: (\d+)/;
}
$node->safe_psql('postgres', 'CALL storm.when_it_is_over()');
note("$transactions transactions, of which $retried were tried again");

# The storm did blow: every decision there is in this version, every refusal.
my %answered = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
	'SELECT coalesce(decision, refused), count(*) FROM (SELECT decision, refused FROM storm.answer UNION ALL SELECT decision, refused FROM purpose.answer) a GROUP BY 1');
note(join ', ', map { "$_ $answered{$_}" } sort keys %answered);
cmp_ok($answered{$_} // 0, '>', 0, "somebody was answered $_")
  foreach qw(proceed replayed in_progress already_paid unknown confirm throttled unavailable closed applied unchanged claimed
  stale surplus mismatch unmatched updated whole PY400 PY404 PY409 PY422 ST000);
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT isolation, $$, $$ ORDER BY isolation) FROM purpose.answer'),
	join(', ', @levels), 'at every isolation level');
like($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT state::text, $$ $$ ORDER BY state::text) FROM pay_attempt'),
	qr/closed .*failed .*paid .*reversed/, 'attempts ended in every way');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT kind, $$ $$ ORDER BY kind) FROM pay_refund'),
	'chargeback extra refund surplus', 'money went back for every reason');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT state::text, $$ $$ ORDER BY state::text) FROM pay_refund'),
	'abnormal cancelled failed processing requested returned succeeded unknown', 'and came in every state');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT kind, $$ $$ ORDER BY kind) FROM pay_review'),
	'abnormal adopted conflict exhausted mismatch overdrawn returned twin unmatched', 'people were asked for every reason');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM pay_refund JOIN pay_payment USING (pay_no) WHERE replaced_by IS NOT NULL AND kind = $$surplus$$'),
	'>', 0, 'money came for orders that were replaced');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM pay_dispute WHERE verdict = $$refund$$'), '>', 0, 'and went back by disputes');
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT state, $$ $$ ORDER BY state) FROM pay_hold WHERE external'),
	'confirmed confirming held released releasing', 'orders held something in every way');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pay_event WHERE source = 'claim' AND attempt_after = 'unknown'"), '>', 0, 'attempts timed out');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pay_event WHERE source = 'claim' AND payment_after = 'closed'"), '>', 0, 'orders were past their time');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pay_review WHERE kind = 'exhausted'"), '>', 0, 'and schedules came to their end');

# Nobody deadlocked, and serialization failures are all that was left to retry.
is($node->safe_psql('postgres', "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'"),
	'0', 'no deadlock');
my $log = slurp_file($node->logfile);
my %error;
$error{$1}++ while $log =~ /ERROR:\s+(\w{5}):/g;
delete $error{'40001'};
is(join(', ', %error), '', 'no error in the log but 40001');
no_leaks($node);

# Every payment is what the design says.
$node->safe_psql('postgres', 'ANALYZE');
my $violations = $node->safe_psql('postgres', 'SELECT * FROM storm.check() ORDER BY 1, 2 LIMIT 50');
# What is on record of their payments.
diag($node->safe_psql('postgres', <<'SQL')) if $violations;
	SELECT to_json(e) #>> '{}' FROM pay_event e WHERE pay_no IN (SELECT DISTINCT ON ("check") pay_no FROM storm.check() ORDER BY "check") ORDER BY pay_no, seq
SQL
is($violations, '', 'no violation in '
	  . $node->safe_psql('postgres', "SELECT count(*) || ' payments, ' || sum(last_seq) || ' events' FROM pay_payment"));

# The checker sees what is wrong: in a copy, payments are broken in every way
# that it knows, and it reports each, and nothing else.
$node->safe_psql('postgres', 'CREATE DATABASE broken TEMPLATE postgres');
my ($before) = $node->safe_psql('broken', slurp_file("$storm/break.sql")) =~ /^violations before: (\d+)$/m;
is($before, '0', 'nothing is wrong with them before they are broken');
$node->safe_psql('broken', 'CREATE TABLE storm.found AS SELECT * FROM storm.check()');
foreach (split /\n/, $node->safe_psql('broken', <<'SQL'))
	SELECT b.way, b.expected, (SELECT string_agg(DISTINCT f."check", ', ' ORDER BY f."check") FROM storm.found f WHERE f.pay_no = b.pay_no)
	FROM storm.broken b ORDER BY b.way
SQL
{
	my ($way, $expected, $found) = split /\|/;
	is($found, $expected, "broken: $way");
}
is($node->safe_psql('broken', 'SELECT count(*) FROM storm.broken'), '53', 'all the ways were tried');
is($node->safe_psql('broken', 'SELECT DISTINCT "check" FROM storm.found f WHERE pay_no NOT IN (SELECT pay_no FROM storm.broken) ORDER BY 1'),
	'', 'what is not broken is not reported');
is($node->safe_psql('broken', <<'SQL'), '', 'every check found something');
	SELECT unnest('{one payment,numbering,first event,payment chain,attempt chain,legal step,decision,payment state,attempt state,winner,collected,message,review,money in review,routes,too many,number,answered,rule,handed out,beside an open attempt,replaced,captured twice,surplus,sums,refund chain,task,hold,taken}'::text[])
	EXCEPT SELECT "check" FROM storm.found
SQL

$node->stop;
done_testing();
