# What the benchmark compares is what is there: its rival has our columns and our rules
# (bench/sql/same_rules.sql), and everything else that bench/ says to the server it still
# understands. Nothing is measured.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use Test::More;

my $bench = "$FindBin::Bin/../../bench";
my @rivals = qw(bare plpgsql recipe redis);
my $node = pay_node('bench', conf => "jit = off\nfsync = off\n");
my @connection = ('-h', $node->host, '-p', $node->port);

# A program whose every word is an error.
sub silent
{
	my ($name, @command) = @_;
	my ($stdout, $stderr) = ('', '');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $ok = IPC::Run::run(\@command, '<', '/dev/null', '>', \$stdout, '2>', \$stderr);

	return is(($ok ? '' : "failed\n") . $stderr, '', $name);
}

sub script
{
	my ($name, $file, %variable) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return silent($name, 'psql', '-XqAt', @connection, '-v', 'ON_ERROR_STOP=1', (map { ('-v', "$_=$variable{$_}") } sort keys %variable),
		'-f', "$bench/sql/$file", 'postgres');
}

# A new rival, as bench/lib.sh makes it.
sub rival
{
	my ($rival) = @_;

	script("$rival: its tables", 'rival_tables.sql', schema => $rival, extension_schema => 'public');
	script("$rival: its functions", 'plpgsql.sql') if $rival eq 'plpgsql';
	return;
}

rival('plpgsql');
script('pay_idem and PL/pgSQL have the same rules', 'same_rules.sql');

# And of two who ask at once: the second one comes while the first one's transaction is open.
sub at_once
{
	my ($call) = @_;
	my $until = 'DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE %s)'
	  . ' LOOP PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$';
	my @sessions = (
		[ 'BEGIN', "SELECT decision FROM $call", "SET application_name = 'holds'",
			sprintf($until, "application_name = 'waits' AND wait_event_type = 'Lock'"), 'COMMIT' ],
		[ sprintf($until, "application_name = 'holds'"), "SET application_name = 'waits'", "SELECT decision FROM $call" ]);
	my @answers = ('', '');
	local $ENV{PGOPTIONS} = '-c statement_timeout=5min';	# one that failed does not hold up the other
	my @running = map {
		IPC::Run::start([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', @connection, (map { ('-c', $_) } @{ $sessions[$_] }), 'postgres' ], '>', \$answers[$_], '2>&1') } 0, 1;

	$_->finish foreach @running;
	chomp @answers;
	return "@answers";
}

foreach my $prepay (qw(pay_prepay plpgsql.prepay))
{
	my $call = "$prepay('at once', 100, 'CNY', 'test', 'card', 'r1')";

	is(at_once($call), 'proceed proceed', "$prepay: the same request, while the first one makes the payment");
	is(at_once($call), 'proceed in_progress', "$prepay: the same request, handed out again to one of two");
}

# Some orders for everybody, and each script of pgbench on them.
my %amount = (orders => 20, all_paid => 'false');
script('pay_idem: tables', 'tables_pay_idem.sql');
script('pay_idem: orders', 'seed_pay_idem.sql', %amount);
foreach my $rival (@rivals)
{
	rival($rival);
	script("$rival: orders", 'seed_rival.sql', %amount, schema => $rival);
}
foreach (sort glob "$bench/scripts/{lifecycle,duplicate,hot}_*.pgbench")
{
	my ($name) = m{([^/]+)\.pgbench$};
	my $log = '';

	IPC::Run::run([ 'pgbench', @connection, '-n', '-M', 'prepared', '-t', 2, '-D', 'orders=20', '-D', 'clock=' . time . '000000',
		'-D', 'payload={}', '-f', $_, 'postgres' ], '>', \$log, '2>&1');
	like($log, qr{^number of transactions actually processed: 2/2$}m, "$name: both times");
}

# Two lifecycles more with everybody, and nobody fills a column that others leave out.
sub filled
{
	my ($prefix) = @_;

	return $node->safe_psql('postgres', join ' UNION ALL ', map {
		"SELECT '$_', key FROM (SELECT DISTINCT key, n FROM ${prefix}payment p JOIN ${prefix}$_ t USING (pay_no), json_each_text(row_to_json(t)) WITH ORDINALITY j (key, value, n)"
		. " WHERE value IS NOT NULL AND p.order_no NOT LIKE '10000000000000000__' ORDER BY n) k" } qw(payment attempt event task));
}
my $ours = filled('pay_');

like($ours, qr/^attempt\|channel_txn$/m, 'pay_idem was paid');
is(filled("$_."), $ours, "$_ fills the same columns") foreach qw(bare plpgsql recipe);

# Many payments, in the tables as bench/lib.sh fills them.
script('pay_idem: tables for many', 'tables_pay_idem.sql');
rival('bare');
foreach my $what (qw(payment attempt event))
{
	my %many = (what => $what, payments => 20, payload => '{}');

	script("pay_idem: many, $what", 'fill_many.sql', %many, table => "pay_$what", ours => 'true');
	script("bare: many, $what", 'fill_many.sql', %many, table => "bare.$what", ours => 'false');
}

no_leaks($node);
$node->stop;
done_testing();
