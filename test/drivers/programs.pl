# The programs of doc/drivers.md do what the guide says: as a role with the rights of
# an application, against the server, and through pgbouncer in transaction mode, where
# two runs share one connection to the server, so that what a driver keeps there would
# meet its like.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../t";
use PayTest;
use Guide;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $text = guide('drivers.md');
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $node = pay_node('main', install => 0, conf => "listen_addresses = '127.0.0.1'");

# ---- the shop's database, as README and guide make it

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', 'CREATE SCHEMA pay; CREATE EXTENSION pay_idem SCHEMA pay; SELECT pay.pay_install();
	ALTER DATABASE shop SET search_path = "$user", public, pay');
$node->safe_psql('shop', $_) foreach blocks($text, 'Programs', 'sql');
# How long credentials are to live: an attempt that is over has none any more.
$node->safe_psql('shop', <<'SQL');
	CREATE TABLE lives (trade_no uuid, how_long interval);
	GRANT INSERT ON lives TO shop_web;
	CREATE FUNCTION note_credential() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO lives VALUES (NEW.trade_no, NEW.credential_expires_at - clock_timestamp()); RETURN NULL; END $$;
	CREATE TRIGGER note_credential AFTER UPDATE ON pay.pay_attempt FOR EACH ROW
		WHEN (OLD.credential IS NULL AND NEW.credential IS NOT NULL) EXECUTE FUNCTION note_credential();
SQL
my ($expected) = blocks($text, 'Programs', 'text');

# ---- pgbouncer, with the settings that the guide names and one connection to the server

my $port = PostgreSQL::Test::Cluster::get_free_port();
my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
ok($pgbouncer, 'pgbouncer is installed') or BAIL_OUT('no pgbouncer');
append_to_file("$dir/users", "\"shop_web\" \"\"\n");
append_to_file("$dir/ini", <<"INI");
[databases]
shop = host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=shop pool_size=1
[pgbouncer]
pool_mode = transaction
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = trust
auth_file = $dir/users
ignore_startup_parameters = extra_float_digits
logfile = $dir/log
pidfile = $dir/pid
INI
# a pooler that knows prepared statements would hide what the guide's last column is for
append_to_file("$dir/ini", "max_prepared_statements = 0\n") if `$pgbouncer --version` =~ /PgBouncer 1\.(\d+)/ && $1 >= 21;
my $bouncer = IPC::Run::start([ $pgbouncer, "$dir/ini" ], '<', \undef, '>', '/dev/null', '2>', '/dev/null');
END { local $?; $bouncer->kill_kill if $bouncer }
for (1 .. 100)
{
	last if (run_in('/', 'psql', '-Xc', 'SELECT 1', "host=127.0.0.1 port=$port dbname=shop user=shop_web"))[0];
	select undef, undef, undef, 0.1;
}

# ---- the drivers: where the guide has the program, how it is told to run

my $jar = '/usr/share/java/postgresql.jar';
my $pgx = grep({ -d "/usr/share/gocode/src/github.com/jackc/pgx/$_" } 'v5') ? 5 : 4;
my ($node_version) = node_postgres($dir, "$FindBin::Bin/../node");
my @go = ('go', 'build', '-o');

local $ENV{GOPATH} = '/usr/share/gocode';
local $ENV{GO111MODULE} = 'off';
local $ENV{GOCACHE} = "$dir/go";
local $ENV{PGSSLMODE} = 'disable';

my @drivers = (
	{ name => 'node-postgres', language => 'js', file => 'shop.js', package => 'node-pg', probe => [ 'test', '-n', $node_version ], run => [qw(node shop.js)] },
	{ name => 'psycopg 3', language => 'python', file => 'shop.py', package => 'python3-psycopg',
		probe => [qw(/usr/bin/python3 -c), 'import psycopg'], run => [qw(/usr/bin/python3 shop.py)] },
	{ name => 'JDBC', language => 'java', file => 'Shop.java', package => 'libpostgresql-jdbc-java',
		probe => [ 'bash', '-c', "test -r $jar && java -version" ], build => [ 'javac', '-cp', $jar, 'Shop.java' ], run => [ 'java', '-cp', "$jar:.", 'Shop' ] },
	{ name => 'pgx', language => 'go', file => 'pgx.go', package => "golang-github-jackc-pgx-v$pgx-dev",
		probe => [ 'go', 'list', "github.com/jackc/pgx/v$pgx" ], build => [ @go, 'pgx', 'pgx.go' ], run => ["$dir/pgx"] },
	{ name => 'lib/pq', language => 'go', file => 'pq.go', package => 'golang-github-lib-pq-dev',
		probe => [ 'go', 'list', 'github.com/lib/pq' ], build => [ @go, 'pq', 'pq.go' ], run => ["$dir/pq"] },
	{ name => 'PDO', language => 'php', file => 'shop.php', package => 'php-pgsql',
		probe => [ 'php', '-r', 'exit((int) !in_array("pgsql", PDO::getAvailableDrivers()));' ], run => [qw(php shop.php)] },
	{ name => 'ruby-pg', language => 'ruby', file => 'shop.rb', package => 'ruby-pg', probe => [ 'ruby', '-e', 'require "pg"' ], run => [qw(ruby shop.rb)] });
is(join(', ', map { $_->{name} } @drivers), join(', ', $text =~ /^### (.*)$/mg), 'every program of the guide is run');

# make_ready(driver, sub): the guide's program, changed by the sub, made ready to run.
sub make_ready
{
	my ($driver, $change) = @_;
	my ($code) = blocks($text, $driver->{name}, $driver->{language});

	# What the guide says of pgx 4.
	$code =~ s{jackc/pgx/v5/pgconn}{jackc/pgconn}, $code =~ s{pgx/v5}{pgx/v4}, $code =~ s{default_query_exec_mode=cache_describe}{statement_cache_mode=describe}
	  if $driver->{name} eq 'pgx' && $pgx == 4;
	if ($change)
	{
		local $_ = $code;
		$change->();
		isnt($_, $code, "$driver->{name}: the program is changed");
		$code = $_;
	}
	unlink "$dir/$driver->{file}";
	append_to_file("$dir/$driver->{file}", $code);
	return 1 unless $driver->{build};
	my ($ok, undef, $err) = run_in($dir, @{ $driver->{build} });
	return ok($ok, "$driver->{name}: the program compiles") || diag($err);
}

# play(driver, order, port)
sub play
{
	my ($driver, $order, $port) = @_;

	local @ENV{qw(PGHOST PGPORT PGDATABASE PGUSER)} = ('127.0.0.1', $port, 'shop', 'shop_web');
	local $ENV{JDBC_URL} = "jdbc:postgresql://127.0.0.1:$port/shop?user=shop_web&prepareThreshold=0";
	return run_in($dir, @{ $driver->{run} }, $order);
}

# What is in the database after a program, whatever it says itself.
my $found = <<'SQL';
	SELECT p.state::text, p.amount, p.payer, p.metadata, date_trunc('minute', p.valid_until - p.created_at + '30 s'),
		date_trunc('minute', l.how_long + '30 s'),
		r.amount, r.state, r.reason, h.resource, h.state, (SELECT count(*) FROM parcel WHERE order_no = p.order_no)
	FROM pay_payment p JOIN pay_attempt a USING (pay_no) JOIN lives l USING (trade_no)
		JOIN pay_refund r ON r.pay_no = p.pay_no JOIN pay_hold h ON h.pay_no = p.pay_no
	WHERE p.order_no = '%1$s'
	UNION ALL SELECT 'nothing', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	WHERE NOT EXISTS (SELECT FROM pay_payment WHERE order_no = '%1$s-other')
SQL

foreach my $driver (@drivers)
{
	my $name = $driver->{name};

	next unless is_there($name, $driver->{package}, @{ $driver->{probe} });
	make_ready($driver) or next;
	foreach ([ 'directly', $node->port ], [ 'through pgbouncer', $port ], [ 'through pgbouncer, again', $port ])
	{
		my ($way, $port) = @$_;
		my $order = "$driver->{file}:$way";
		my ($ok, $out, $err) = play($driver, $order, $port);

		is($out, $expected, "$name, $way: prints what the guide says");
		is($err, '', "$name, $way: and nothing else");
		is($node->safe_psql('shop', sprintf $found, $order), <<"ROWS" =~ s/\n\z//r, "$name, $way: it came as it was meant");
paid|8800||{"cart": [7, 9], "note": "a \\"gift\\""}|00:30:00|02:00:00|800|requested|scratched|coupon:$order "10 %, once"|confirmed|1
nothing|||||||||||
ROWS
	}
}

# ---- numbers in a wrong unit are refused, and not taken for years

foreach ([ 'node-postgres', sub { s/`\$\{n\} minutes`/String(n * 60 * 1000)/ } ], [ 'lib/pq', sub { s/\((\d+) \* (time\.\w+)\)\.String\(\)/$1*$2/g } ])
{
	my ($name, $change) = @$_;
	my ($driver) = grep { $_->{name} eq $name } @drivers;

	next unless is_there($name, $driver->{package}, @{ $driver->{probe} });
	make_ready($driver, $change) or next;
	my $logged = -s $node->logfile;
	my ($ok) = play($driver, "$name, wrong unit", $node->port);
	ok(!$ok, "$name: milliseconds or nanoseconds as a number end the program");
	like(substr(slurp_file($node->logfile), $logged), qr/ PY400 .*valid_for/, "$name: by PY400");
}

no_leaks($node);
done_testing();
