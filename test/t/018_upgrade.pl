# pay_install() and payments at the same time: it takes no lock for nothing, waits for no
# reader with a queue of payments behind it, scans nothing under a strong lock. Then a whole
# upgrade to a made-up version 1.1, made here from the present one, while pgbench pays.

use strict;
use warnings;

use File::Copy qw(copy move);
use File::Path qw(mkpath);
use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::Bin/../..";

# An installation of its own, because the library in it is replaced while others use theirs.
my $made = PostgreSQL::Test::Utils::tempdir();
my %at;
foreach my $what (qw(bindir pkglibdir sharedir))
{
	chomp(my $from = `pg_config --$what`);
	($at{$what} = $from) =~ s{^\Q$ENV{PAY_PREFIX}\E/}{$made/} or die "$from is not in $ENV{PAY_PREFIX}";
	mkpath($at{$what});
	IPC::Run::run([ 'cp', '-a', "$from/.", $at{$what} ]) or die 'cp';
}

# A wait that is longer than pay_install() may make it is in the log.
my $node = pay_node('main', install_path => $at{bindir} =~ s{/bin$}{}r, conf => "log_lock_waits = on\ndeadlock_timeout = 2s\nmax_connections = 60\n");

sub sql { return $node->safe_psql('postgres', @_) }

# What psql says to it: rows, NOTICEs, errors.
sub said
{
	my ($sql) = @_;
	my ($out, $err);

	$node->psql('postgres', $sql, stdout => \$out, stderr => \$err, on_error_stop => 0);
	return $out . $err;
}

sub install { return said('SELECT pay_install()') }

my $plan = "SELECT replace(object, 'public.', ''), action, lock, turn FROM pay_install_plan()";
my $ours = "relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname LIKE 'pay\\_%')";
my $locked = "SELECT string_agg(DISTINCT relation::regclass || ' ' || mode, ', ' ORDER BY relation::regclass || ' ' || mode) FROM pg_locks"
  . " WHERE pid = pg_backend_pid() AND mode NOT IN ('AccessShareLock', 'RowExclusiveLock') AND $ours AND relation IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'v'))";

sub life
{
	my ($order, $name) = @_;

	sql("SET lock_timeout = '60s'; SELECT " . prepay($order, 'r1') . '; SELECT ' . callback("(SELECT trade_no FROM pay_query('$order'))", 'n1', 'paid') . '; SELECT ' . refund("(SELECT trade_no FROM pay_query('$order'))", "R$order", 10));
	return is(sql("SELECT decision FROM pay_query('$order')"), 'already_paid', $name);
}

# ---- nothing to do

is(sql($plan), '', 'installed: nothing is left to do');
is(sql("BEGIN; SELECT pay_install(); $locked"), "\n", 'with nothing to do, pay_install() locks nothing that a SELECT does not');
is(sql("BEGIN READ ONLY; SELECT count(*) FROM pay_install_plan()"), 0, 'the plan is read only');
is(sql("BEGIN READ ONLY; SELECT pay_install()"), '', 'and so is pay_install() with nothing to do');

# ---- a view that somebody changed

my $view = sql("SELECT pg_get_viewdef('pay_balance')");
foreach my $change ('ALTER VIEW pay_balance RESET (security_invoker)',
	'ALTER VIEW pay_balance SET (security_invoker = false)',
	'CREATE OR REPLACE VIEW pay_balance WITH (security_invoker = true) AS ' . $view =~ s/'succeeded'/'returned'/r)
{
	sql($change);
	is(sql($plan), 'pay_balance|replace view|ACCESS EXCLUSIVE|now', 'a view that lends rights, or counts otherwise, is seen');
	is(install(), '', 'and made anew');
	is(sql("SELECT pg_get_viewdef('pay_balance'), reloptions FROM pg_class WHERE oid = 'pay_balance'::regclass"), "$view|{security_invoker=true}", 'as it was');
	is(sql($plan), '', 'all is done');
}

# ---- something to do, behind a reader and behind somebody who is idle in a transaction

# While it waits for the strong lock, and while it lets others pass.
my %holder = (
	'a reader' => [ 'SELECT count(*) FROM pay_attempt;', '200ms', "NOT granted AND mode = 'AccessExclusiveLock'" ],
	'somebody idle in a transaction' => [ 'SELECT decision FROM ' . prepay('idle', 'r1') . ';', '50ms', "granted AND mode = 'ShareUpdateExclusiveLock'" ]);
foreach my $who (sort keys %holder)
{
	my ($holds, $lock_timeout, $lock) = @{ $holder{$who} };
	my $holder = $node->background_psql('postgres');
	sql('ALTER TABLE pay_attempt ALTER handed_out_at DROP DEFAULT; ALTER TABLE pay_payment ALTER created_at DROP DEFAULT');
	$holder->query_safe("BEGIN; $holds");
	my ($out, $err) = ('', '');
	my $installing = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', "SET application_name = 'installing'", '-c', "SET lock_timeout = '$lock_timeout'", '-c', 'SELECT pay_install()' ], '<', \undef, '>', \$out, '2>', \$err);
	ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = 'installing' AND $lock AND $ours"), "$who: pay_install() is at it");
	life("beside $who $_", "$who: payments go on") foreach 1 .. 3;
	$installing->finish;
	like($err, qr/ERROR:  55P03: pay_install\(\) cannot lock public\.pay_attempt, public\.pay_payment\n.*DETAIL: .*Nothing was done; steps to do: 2\. Locks are held by process \d+ \(idle in transaction\).*HINT:  Call pay_install\(\) again/s, "$who: it gives up and says who it was");
	is(sql($plan), "pay_payment|set default|ACCESS EXCLUSIVE|now\npay_attempt|set default|ACCESS EXCLUSIVE|now", "$who: it has done nothing");
	$holder->query_safe('COMMIT;');
	is(install(), '', "$who has gone: it does it");
	is(sql($plan), '', 'and all is done');
	$holder->quit;
}

# Two at the same instant: the second one finds nothing to do.
my $first = $node->background_psql('postgres');
sql('ALTER TABLE pay_attempt ALTER handed_out_at DROP DEFAULT');
$first->query_safe('BEGIN; SELECT pay_install();');
my ($out, $err) = ('', '');
my $second = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SET application_name = 'second'", '-c', 'SELECT pay_install()' ], '<', \undef, '>', \$out, '2>', \$err);
waits($node, 'second');
$first->query_safe('COMMIT;');
$second->finish;
is($err, '', 'two at the same instant do not meet');
$first->quit;

# ---- what takes long: big tables

my $filler = "ALTER TABLE pay_event DISABLE TRIGGER ALL; INSERT INTO pay_event (pay_no, seq, decision, payment_after, source, payload)"
  . " SELECT pay_no, last_seq + n, 'replayed', 'paid', 'fill', to_jsonb(repeat(md5(n::text), 30)) FROM pay_payment, generate_series(1, 48000) n WHERE order_no = 'beside a reader 1';"
  . "ALTER TABLE pay_event ENABLE TRIGGER ALL";
sql($filler);
cmp_ok(sql("SELECT pg_relation_size('pay_event') / current_setting('block_size')::integer"), '>', 4096, 'pay_event is big');

sql('ALTER TABLE pay_event DROP CONSTRAINT pay_event_seq_check');
is(sql($plan), "pay_event|add constraint|ACCESS EXCLUSIVE|now\npay_event|validate constraint|SHARE UPDATE EXCLUSIVE|next", 'a CHECK of a big table: two calls');
my $valid = "SELECT convalidated FROM pg_constraint WHERE conname = 'pay_event_seq_check'";
is(sql("SET client_min_messages = warning; BEGIN; SELECT pay_install(); $locked; $valid; SELECT pay_install(); $valid; COMMIT; $valid"),
	"\npay_event AccessExclusiveLock, pay_event ShareUpdateExclusiveLock\nf\n\nf\nf", 'nothing is scanned in the transaction that has the strong lock');
is(sql("BEGIN; SELECT pay_install(); $locked; $valid; COMMIT"), "\npay_event ShareUpdateExclusiveLock\nt", 'the next call validates, under a lock that stops nobody');
sql("ALTER TABLE pay_event DROP CONSTRAINT pay_event_seq_check; SET session_replication_role = replica; UPDATE pay_event SET seq = -1 WHERE source = 'fill' AND seq = (SELECT max(seq) FROM pay_event)");
like(install(), qr/NOTICE: .*called again: validate constraint of public\.pay_event.*HINT: .*transaction of its own/s, 'it says that it is to be called again');
like(install(), qr/NOTICE: .*rows of public\.pay_event break what is required: .*pay_event_seq_check/s, 'rows that break it are told');
sql("SET session_replication_role = replica; DELETE FROM pay_event WHERE seq = -1");
is(install(), '', 'until they are mended');
is(sql($plan), '', 'then all is done');

# Runs what the HINT of a NOTICE says, as a DBA would: statement by statement.
sub as_told
{
	my ($said) = @_;
	my ($statements) = $said =~ /HINT:  Run, outside of a transaction block: (.*;) Then call pay_install/s;

	$node->safe_psql('postgres', $_) foreach split /(?<=;)\s*/, $statements // 'SELECT 1/0;';
	return;
}
foreach (
	[ 'DROP INDEX pay_event_message_idx', 'an index', qr/CREATE UNIQUE INDEX CONCURRENTLY pay_event_message_idx ON public\.pay_event \(pay_no, source, message_id\)/, 'create index', '' ],
	[ 'ALTER TABLE pay_event DROP CONSTRAINT pay_event_pkey', 'a key', qr/CREATE UNIQUE INDEX CONCURRENTLY pay_event_pkey ON public\.pay_event \(pay_no, seq\)/, 'add key',
		'pay_event|add key|ACCESS EXCLUSIVE|now' ],
	[ "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pay_event_message_idx'::regclass", 'an index that was not built to the end',
		qr/DROP INDEX CONCURRENTLY public\.pay_event_message_idx;\s*CREATE UNIQUE INDEX CONCURRENTLY/, 'create index', '' ],
	[ 'ALTER TABLE pay_event ALTER decision DROP NOT NULL', 'NOT NULL', qr/VALIDATE CONSTRAINT.*SET NOT NULL.*DROP CONSTRAINT/, 'set not null', '' ])
{
	my ($damage, $what, $hint, $action, $then) = @$_;

	sql('SET allow_system_table_mods = on; SET search_path = pg_catalog, public; ' . $damage);
	like(sql($plan), qr/^pay_event\|\Q$action\E\|[A-Z ]+\|yours$/, "$what of a big table is left to the DBA");
	my $said = said("BEGIN; SELECT pay_install(); $locked; COMMIT");
	like($said, qr/NOTICE: .*leaves $action to you: on public\.pay_event.*HINT: .*$hint/s, "$what: and named");
	unlike($said, qr/ExclusiveLock/, "$what: nothing is locked for it");
	as_told($said);
	is(sql($plan), $then, "$what: done as told");
	is(install(), '', "$what: pay_install() knows it again");
	is(sql($plan), '', "$what: all is done");
}
sql('ALTER TABLE pay_event DROP CONSTRAINT pay_event_pkey');
raises($node, "pay_query('x')", 'PY503', 'without its key the table is not used');
like(install(), qr/leaves add key to you/, 'and pay_install() is no error');
as_told(install());
is(install(), '', 'it comes back');
life('after the key', 'and all works');

# ---- what something else made of the names: the schema file of an ORM

sql('CREATE DATABASE orm');
my $columns = sql(<<'SQL');
	SELECT string_agg(format('CREATE TABLE %I (%s)', relname, columns), ';') FROM (
		SELECT relname, string_agg(format('%I %s', attname, CASE WHEN atttypid = 'text'::regtype THEN 'character varying' ELSE format_type(atttypid, atttypmod) END), ', ') AS columns
		FROM pg_class c JOIN pg_attribute ON attrelid = c.oid JOIN pg_type t ON t.oid = atttypid
		WHERE c.relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname IN ('pay_payment', 'pay_resource', 'pay_database') AND attnum > 0 AND t.typnamespace = 'pg_catalog'::regnamespace
		GROUP BY relname) AS t
SQL
$node->safe_psql('orm', "CREATE EXTENSION pay_idem; $columns; INSERT INTO pay_resource (resource) VALUES ('mine')");
foreach ([ 'pay_database', 'It is empty\. DROP TABLE pay_database; then', 'DROP TABLE pay_database' ],
	[ 'pay_resource', 'It has rows\. .* ALTER TABLE pay_resource RENAME TO another_name; then', 'ALTER TABLE pay_resource RENAME TO another_name' ],
	[ 'pay_payment', 'It is empty\. DROP TABLE pay_payment; then', 'DROP TABLE pay_payment' ])
{
	my ($table, $hint, $remedy) = @$_;

	foreach my $function ('pay_install()', 'pay_install_plan()')
	{
		$hint =~ s/(TABLE )(?=pay_)/$1(?:public\\.)?/;
		raises($node, $function, 'PY409', "$function: $table of an ORM", db => 'orm',
			like => qr/relation (?:public\.)?$table is in the way.*DETAIL:  It has .*Nor has it any guard.*schema file of an ORM.*HINT: +$hint SELECT pay_install\(\);/s);
	}
	$node->safe_psql('orm', $remedy);
}
answers($node, 'SELECT pay_install(); SELECT count(*) FROM pay_install_plan()', "\n0", 'done as told, all is installed', db => 'orm');
# What looks the same but sorts in another way is none of ours, and is said to be so.
$node->safe_psql('orm', 'ALTER TABLE pay_resource ALTER resource TYPE text COLLATE "default"');
raises($node, "pay_query('x')", 'PY503', 'another collation', db => 'orm', like => qr/column "resource" of another collation, "default".*HINT: +ALTER TABLE public\.pay_resource ALTER COLUMN resource TYPE pg_catalog\.text COLLATE "C";/s);
$node->safe_psql('orm', 'ALTER TABLE public.pay_resource ALTER COLUMN resource TYPE pg_catalog.text COLLATE "C"');
answers($node, "SELECT decision FROM pay_query('x')", 'proceed', 'and mended as told', db => 'orm');

# ---- version 1.1, made of the present one

# Never written to: it is mapped into running servers.
sub replace_file
{
	my ($from, $to) = @_;

	copy($from, "$to.new") && chmod(0755, "$to.new") && move("$to.new", $to) or die "$to: $!";
	return;
}

mkpath("$made/1.1");
IPC::Run::run([ 'cp', '-pr', map({ "$root/$_" } qw(src sql Makefile pay_idem.control)), "$made/1.1" ]) or die 'cp';

# edit(FILE, [WHAT, IN ITS PLACE]...): each must be there once.
sub edit
{
	my ($file, @edits) = @_;
	my $text = slurp_file("$made/1.1/$file");

	foreach (@edits)
	{
		my ($what, $with) = @$_;
		my $n = ($text =~ s/$what/$with->()/ge);
		$n == 1 or die "$file has $what $n times";
	}
	open my $out, '>', "$made/1.1/$file" or die $!;
	print $out $text;
	close $out;
	return $text;
}

# A column that the library fills, a CHECK, an index, a CHECK that allows more, a function in C.
edit('src/rows.h', [ qr/(typedef struct PayPayment\s*\{)(\s*PayRowHead\s+head;)/, sub { "$1$2\n\ttext\t   *campaign;" } ]);
edit('src/tables.c',
	[ qr/(\{"payer", KIND_TEXT, NULLABLE, PAYMENT\(payer\)\},)/, sub { qq($1\n{"campaign", KIND_TEXT, NULLABLE | REMAKEABLE, PAYMENT(campaign)},) } ],
	[ qr/"pay_payment_replaced_check"/, sub { '"pay_payment_replaced_check", "pay_payment_campaign_check"' } ]);
edit('src/prepay.c',
	[ qr/(payment->metadata = request->metadata;)/, sub { "$1\n\tpayment->campaign = cstring_to_text(\"new\");" } ],
	[ qr/(#include "postgres.h")/, sub { "$1\n#include \"utils/builtins.h\"" } ]);
edit('src/pay_idem.c', [ qr/\z/, sub { qq(\n#include "utils/builtins.h"\nPG_FUNCTION_INFO_V1(pay_made_up);\nDatum\npay_made_up(PG_FUNCTION_ARGS)\n{\n\tPG_RETURN_TEXT_P(cstring_to_text("1.1"));\n}\n) } ]);
edit('pay_idem.control', [ qr/default_version = '1\.0'/, sub { "default_version = '1.1'" } ]);
my $declared = edit('sql/tables.sql',
	[ qr/(\('column', 'payer', )/, sub { qq[('column', 'campaign', 'text COLLATE "C"', 'what brought the customer'),\n$1] } ],
	[ qr/(\('check', 'pay_payment_replaced_check', )/, sub { "('check', 'pay_payment_campaign_check', 'octet_length(campaign) <= 63', NULL),\n$1" } ],
	[ qr/(\('check', 'pay_event_seq_check', )'[^']*'/, sub { "$1'seq >= 1'" } ],
	[ qr/(\('check', 'pay_review_kind_check', \$\$kind IN \()/, sub { "$1'made_up', " } ],
	[ qr/(\('index', 'pay_event_message_idx', )/, sub { "('index', 'pay_event_recorded_idx', '(recorded_at)', NULL),\n$1" } ]);
open my $script, '>', "$made/1.0--1.1.sql" or die $!;
print $script "CREATE FUNCTION pay_made_up() RETURNS text LANGUAGE C AS 'MODULE_PATHNAME';\n",
  map { $declared =~ /CREATE (FUNCTION pay_declared_$_\(.*?\n\$declared\$;\n)/s ? "CREATE OR REPLACE $1" : die } qw(payment event review);
close $script;
my $log = '';
IPC::Run::run([ 'make', '-s', '-j2', '-C', "$made/1.1", 'with_llvm=no', 'COPT=', 'pay_idem.so' ], '<', \undef, '>', \$log, '2>&1') or die $log;

# ---- the upgrade, under load

# Each order is paid for by three at once, reported, refunded, asked about and claimed; each
# answer is kept in the transaction that it came from.
sql(<<"SQL");
	UPDATE pay_channel SET resubmit_after = '1 year';
	CREATE SCHEMA load;
	CREATE SEQUENCE load.n;
	CREATE TABLE load.ledger (call text, about text, answer text);
SQL
my %load = (
	prepay => "decision FROM " . prepay(':o', 'r:client_id'),
	callback => "decision FROM " . callback("(SELECT trade_no FROM pay_query(':o'))", 'n1', 'paid'),
	query => "decision FROM pay_query(':o')",
	refund => "decision FROM " . refund("(SELECT trade_no FROM pay_query(':o'))", 'R:o', 10),
	refund_callback => "decision FROM " . refund_callback('R:o', 'm1', 'processing', amount => 10, currency => "'CNY'"));
append_to_file("$made/load.pgbench", "SELECT 'O' || nextval('load.n') / 3 AS o \\gset\n"
	  . join('', map { "INSERT INTO load.ledger SELECT '$_', ':o', $load{$_};\n" } qw(prepay callback query refund refund_callback))
	  . "INSERT INTO load.ledger SELECT 'claim', refund_no, action FROM " . claim('w:client_id', max_tasks => 2, actions => "'{query_refund,submit_refund}'") . ";\n");
my $old = $node->background_psql('postgres');
is($old->query_safe('SELECT decision FROM ' . prepay('old', 'r1')), 'proceed', 'a session that is open before');
my @beside = map { $node->background_psql('postgres') } 1 .. 2;
$_->query_safe("SELECT decision FROM pay_query('old')") foreach @beside;
my ($load_out, $load_err) = ('', '');
my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 3600, '-f', "$made/load.pgbench", $node->connstr('postgres') ], '<', \undef, '>', \$load_out, '2>', \$load_err);

# Until all of them have paid some more.
sub goes_on
{
	my ($name) = @_;
	my $now = sql("SELECT last_value + 20 FROM load.n");
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ok($node->poll_query_until('postgres', "SELECT last_value >= $now FROM load.n"), $name);
}

# As often as it takes under load: each time nothing was done.
sub install_at_last
{
	for (1 .. 50)
	{
		my $said = install();
		return $said unless $said =~ /ERROR:  pay_install\(\) cannot lock/;
	}
	return 'never';
}
goes_on('the load runs');

replace_file("$made/1.1/pay_idem.so", "$at{pkglibdir}/pay_idem.so");
replace_file("$made/1.0--1.1.sql", "$at{sharedir}/extension/pay_idem--1.0--1.1.sql");
replace_file("$made/1.1/pay_idem.control", "$at{sharedir}/extension/pay_idem.control");
goes_on('with the new files');
is($old->query_safe('SELECT decision FROM ' . prepay('old', 'r2')), 'in_progress', 'new files: who is connected has the older library');
raises($node, "pay_query('old')", 'PY503', 'who connects now has the new one, which needs newer tables', like => qr/no column "campaign".*HINT: +SELECT pay_install\(\)/s);
raises($node, 'pay_install()', 'PY409', 'and these need newer functions', like => qr/HINT: .*ALTER EXTENSION pay_idem UPDATE;/);
is(sql($plan), '', 'the older functions want nothing');

sql('ALTER EXTENSION pay_idem UPDATE');
goes_on('new functions, older tables');
is($old->query_safe('SELECT decision FROM ' . prepay('old', 'r2')), 'in_progress', 'the older library with newer functions');
is(sql($plan), <<'PLAN' =~ s/\n\z//r, 'the plan says what is new');
pay_payment|add column|ACCESS EXCLUSIVE|now
pay_event|create index|SHARE UPDATE EXCLUSIVE|yours
pay_payment|add constraint|ACCESS EXCLUSIVE|now
pay_event|replace constraint|ACCESS EXCLUSIVE|now
pay_review|replace constraint|ACCESS EXCLUSIVE|now
pay_payment|validate constraint|SHARE UPDATE EXCLUSIVE|now
pay_event|validate constraint|SHARE UPDATE EXCLUSIVE|next
pay_review|validate constraint|SHARE UPDATE EXCLUSIVE|now
PLAN

# An accountant reads, somebody forgot to commit.
$beside[0]->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pay_event;');
$beside[1]->query_safe('BEGIN; SELECT decision FROM ' . prepay('forgotten', 'r1') . ';');
like(said("SET lock_timeout = '50ms'; SELECT pay_install()"), qr/ERROR:  pay_install\(\) cannot lock.*process \d+ \(idle in transaction\), process \d+ \(idle in transaction\)/s, 'behind them pay_install() gives up');
goes_on('payments go on');
is($beside[0]->query_safe('SELECT count(*) FROM pay_event e WHERE e.seq < 0; COMMIT;'), 0, 'the accountant has read to the end');
$beside[1]->query_safe('ROLLBACK;');
$_->quit foreach @beside;

my $said = install_at_last();
like($said, qr/leaves create index to you.*called again: validate constraint of public\.pay_event/s, 'then the tables are new, but for what takes long');
goes_on('new tables, older library');
like(sql($plan), qr/^pay_event\|create index\|.*\|yours\npay_event\|validate constraint\|.*\|now$/, 'what is left');
as_told($said);
is(install_at_last(), '', 'and is done, under load');
is(sql($plan), '', 'all is done');
goes_on('the load runs to the end');

is($old->query_safe('SELECT decision FROM ' . callback("(SELECT trade_no FROM pay_query('old'))", 'n1', 'paid')), 'applied', 'the older library pays with newer tables');
is($old->query_safe('SELECT decision FROM ' . prepay('old two', 'r1')), 'proceed', 'and makes new payments');
is(sql('SELECT decision FROM ' . prepay('new', 'r1')), 'proceed', 'so does the new one');
is(sql("SELECT order_no, campaign FROM pay_payment WHERE order_no IN ('old two', 'new') ORDER BY 1"), "new|new\nold two|", 'which fills the new column');
is($old->query_safe("SELECT decision FROM pay_query('new')"), 'in_progress', 'of which the older one knows nothing');
is(sql('SELECT pay_made_up()'), '1.1', 'the new function');
is(sql("SELECT conname, convalidated, pg_get_constraintdef(oid) LIKE '%made_up%' FROM pg_constraint WHERE conname IN ('pay_payment_campaign_check', 'pay_event_seq_check', 'pay_review_kind_check') ORDER BY 1"),
	"pay_event_seq_check|t|f\npay_payment_campaign_check|t|f\npay_review_kind_check|t|t", 'the new CHECKs');
is(sql("SELECT col_description('pay_payment'::regclass, attnum) FROM pg_attribute WHERE attrelid = 'pay_payment'::regclass AND attname = 'campaign'"), 'what brought the customer', 'the new COMMENT');

# ---- what came of it

kill 'INT', $load->{KIDS}[0]{PID};
$load->finish;
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'"), 'the load has ended');
unlike($load_err, qr/aborted|ERROR/, 'no call of it failed') || diag($load_err);
cmp_ok(sql('SELECT count(DISTINCT about) FROM load.ledger'), '>', 40, 'it paid for many orders');
is(sql(<<'SQL'), '', 'of each order, one was handed out, one report applied, one refund opened: nothing is lost or doubled');
	SELECT call, about, count(*), string_agg(answer, ' ') FROM load.ledger WHERE call NOT IN ('query', 'claim') GROUP BY 1, 2
	HAVING count(*) FILTER (WHERE answer IN ('proceed', 'applied')) <> 1 OR count(*) FILTER (WHERE answer NOT IN ('proceed', 'applied', 'replayed', 'in_progress', 'already_paid')) > 0
	UNION ALL SELECT call, about, count(*), string_agg(answer, ' ') FROM load.ledger WHERE call = 'claim' GROUP BY 1, 2 HAVING count(*) > 1
SQL
is(sql(<<'SQL'), '', 'what was answered is what was recorded');
	SELECT * FROM (SELECT source, count(*) FROM pay_event JOIN pay_payment USING (pay_no) WHERE order_no LIKE 'O%' AND decision::text IN ('proceed', 'applied') AND source <> 'claim' GROUP BY 1) AS e (call, n)
	FULL JOIN (SELECT CASE call WHEN 'callback' THEN 'callback:test' WHEN 'refund_callback' THEN 'refund_callback:test' ELSE call END, count(*)
		FROM load.ledger WHERE call NOT IN ('query', 'claim') AND answer IN ('proceed', 'applied') GROUP BY 1) AS l (call, n) USING (call)
	WHERE e.n IS DISTINCT FROM l.n
SQL
sql("SET session_replication_role = replica; DELETE FROM pay_event WHERE source = 'fill'");
sql('VACUUM ANALYZE');
is(violations($node), '', 'all that must hold holds');
unlike(slurp_file($node->logfile), qr/still waiting for (?:AccessShare|RowShare|RowExclusive)Lock on relation/, 'no payment waited for long');
no_leaks($node);
$old->quit;
done_testing();
