# No session state: payments work through pgbouncer in transaction mode, where
# each transaction may run in another session.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use PayTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pgbouncer = program('pgbouncer');
skip_without('pgbouncer', $pgbouncer);
my ($version) = `$pgbouncer --version` =~ /PgBouncer (\d+\.\d+)/;
my $prepares = $version =~ /^1\.(\d+)/ && $1 >= 21;

my $node = pay_node('main');
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $user = $node->safe_psql('postgres', 'SELECT current_user');

append_to_file("$dir/users", "\"$user\" \"\"\n\"shop_app\" \"\"\n");
append_to_file("$dir/ini", <<"INI");
[databases]
one = host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=postgres pool_size=1
shop = host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=postgres pool_size=3
[pgbouncer]
pool_mode = transaction
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users
admin_users = $user
query_wait_timeout = 0
query_wait_timeout = 0
logfile = $dir/log
pidfile = $dir/pid
@{[ $prepares ? 'max_prepared_statements = 100' : '' ]}
INI

my $bouncer =
  IPC::Run::start([ $pgbouncer, "$dir/ini" ], '<', \undef, '>', '/dev/null', '2>', '/dev/null');
END { $bouncer->kill_kill if $bouncer }

my $shop = "host=$dir port=$port dbname=shop user=$user";
my $one = "host=$dir port=$port dbname=one user=$user";

sub ask
{
	my ($connstr, $sql) = @_;
	my ($out, $err);

	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $connstr ],
		'<', \$sql, '>', \$out, '2>', \$err);
	chomp $out;
	return $out . $err;
}

# Until it listens.
for (1 .. 1800)
{
	last if IPC::Run::run([ 'pg_isready', '-q', '-d', $shop ]);
	select undef, undef, undef, 0.1;
}
is(ask($shop, 'SELECT 1'), '1', "pgbouncer $version is there");

# ---- two clients take turns in one and the same session

my $pid = ask($one, 'SELECT pg_backend_pid()');
my @client =
  map { $node->background_psql('postgres', on_error_stop => 1, extra_params => [ '-d', $one ]) }
  1 .. 2;
is($_->query_safe('SELECT pg_backend_pid()'), $pid, 'both clients share one server session')
  for @client;
sub decision { return "SELECT decision FROM $_[0]" }
is($client[0]->query_safe(decision(prepay('A1', 'r1'))), 'proceed', 'the first client pays');
is($client[1]->query_safe(decision(prepay('A1', 'r2'))), 'in_progress', 'the second may not');
is($client[1]->query_safe(decision(prepay('A2', 'r1'))), 'proceed', 'but another order');
is($client[0]->query_safe(decision(credential(trade_of('A1'), 'wx2014'))),
	'applied', 'the first has its credential');
is($client[1]->query_safe("SELECT credential FROM " . prepay('A1', 'r3')),
	'wx2014', 'which the second shows');
$client[0]->query_safe('BEGIN');
is($client[0]->query_safe(decision(callback(trade_of('A1'), 'n1', 'paid'))),
	'applied', 'paid, in a transaction');
$client[0]->query_safe('ROLLBACK');
is($client[1]->query_safe(decision(prepay('A1', 'r4'))), 'in_progress', 'that is rolled back');
is($client[1]->query_safe(decision(callback(trade_of('A1'), 'n1', 'paid'))),
	'applied', 'and comes again');
is($client[0]->query_safe(decision(prepay('A1', 'r4'))),
	'already_paid', 'the first client hears of it');
is( ask($one,
		<<'SQL'), "$pid\n0\n0\n0\n0", 'nothing is left in the session: no lock, statement, channel or setting');
	SELECT pg_backend_pid();
	SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype NOT IN ('relation', 'virtualxid');
	SELECT count(*) FROM pg_prepared_statements;
	SELECT count(*) FROM pg_listening_channels();
	SELECT count(*) FROM pg_settings WHERE source = 'session' AND name NOT IN ('client_encoding', 'application_name', 'DateStyle', 'TimeZone', 'standard_conforming_strings');
SQL
$_->quit for @client;

# ---- many clients, few sessions: pgbench, each protocol that this pgbouncer can

# One client's share of an order's life: all of them play the same orders, so
# everything comes several times, and in any order.
append_to_file("$dir/life.sql", <<'SQL');
\set n random(1, :orders)
\set r random(1, 1000000)
SELECT decision FROM pay_prepay(order_no => :'tag' || :n, amount => 100 + :n, currency => 'CNY',
	channel => 'test', method => 'card', request_id => 'r' || :client_id);
BEGIN;
SELECT decision FROM pay_query(order_no => :'tag' || :n);
SELECT decision FROM pay_credential(trade_no => (SELECT trade_no FROM pay_query(order_no => :'tag' || :n)),
	credential => 'wx' || :n, valid_for => '2 hours');
COMMIT;
SELECT decision FROM pay_callback(channel => 'test', callback_id => 'n' || :n, reported => 'paid',
	trade_no => (SELECT trade_no FROM pay_query(order_no => :'tag' || :n)), amount => 100 + :n, currency => 'CNY',
	payload => '{"event": "TRANSACTION.SUCCESS"}');
SQL
my $orders = 60;
# A thread for each client: pgbench waits for an answer to what it prepares, and the other
# clients of that thread with it, one of which may be in the transaction that has the session.
foreach my $protocol ('simple', 'extended', $prepares ? 'prepared' : ())
{
	my ($out, $err);
	my $script = slurp_file("$dir/life.sql") =~ s/:'tag'/'$protocol-'/gr;

	append_to_file("$dir/$protocol.sql", $script);
	my $ok = IPC::Run::run(
		[
			'pgbench', '-n', '-M', $protocol, '-c', 12, '-j', 12, '-t', 100, '-D', "orders=$orders",
			'-f', "$dir/$protocol.sql", $shop
		],
		'>',
		\$out,
		'2>',
		\$err);
	ok($ok && $out =~ /processed: 1200\/1200/, "$protocol: 12 clients, 1200 lives")
	  || diag($out, $err);
	is($err =~ s/^pgbench \(.*\n//mr, '', "$protocol: no error");
	is( $node->safe_psql('postgres',
			<<"SQL"), "$orders|$orders|$orders|$orders|$orders", "$protocol: each order has one attempt, is paid once and by one callback");
		SELECT count(*), count(*) FILTER (WHERE state = 'paid'), sum(cardinality(routes)),
			(SELECT count(*) FROM pay_event WHERE source = 'callback:test' AND decision = 'applied'
				AND pay_no IN (SELECT pay_no FROM pay_payment WHERE order_no LIKE '$protocol-%')),
			(SELECT count(*) FROM pay_event WHERE source = 'callback:test'
				AND pay_no IN (SELECT pay_no FROM pay_payment WHERE order_no LIKE '$protocol-%'))
		FROM pay_payment WHERE order_no LIKE '$protocol-%'
SQL
}
note "this pgbouncer knows no prepared statements in transaction mode" unless $prepares;

my @sessions = split /\n/,
  $node->safe_psql('postgres',
	"SELECT DISTINCT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
  );
cmp_ok(scalar(@sessions), '<=', 4, 'four sessions served them all');

# ---- a role of its own, with errors that reach the client

$node->safe_psql('postgres',
	"CREATE ROLE shop_app LOGIN; SELECT pay_grant(role => 'shop_app', kind => 'app')");
my $app = $shop =~ s/user=.*/user=shop_app/r;
is(ask($app, decision(prepay('B1', 'r1'))), 'proceed', 'the app role pays');
like(ask($app, "\\set VERBOSITY verbose\n" . decision(prepay('B1', 'r1', amount => 1))),
	qr/PY422.*\n.*DETAIL/, 'an error keeps its SQLSTATE and DETAIL');
is(ask($app, decision(prepay('B1', 'r2'))), 'in_progress', 'and hurts nobody after it');
is(violations($node), '', 'all that must hold holds');

$bouncer->kill_kill;
undef $bouncer;
no_leaks($node);
done_testing();
