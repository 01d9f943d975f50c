# PostgreSQL gets newer, the payments stay: a shop's day (demo/run) that was played in an
# older version comes to this one by dump and restore and by pg_upgrade, row by row, and
# business goes on. For each older version that is installed beside this one, with its
# headers: the extension is built for it.

use strict;
use warnings;

use File::Basename;
use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use PayTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::Bin/../..";
my ($here) = output("pg_config --version") =~ /(\d+)/;

sub output
{
	my ($command) = @_;

	chomp(my $out = `$command 2>/dev/null`);
	return $out;
}

# Those that Debian's packages installed, the oldest one first.
my @older = sort { $a->[0] <=> $b->[0] }
  grep { $_->[0] < $here && -e output("$_->[1] --pgxs") && -x output("$_->[1] --bindir") . '/postgres' }
  map { [ m{/(\d+)/bin}, $_ ] } glob '/usr/lib/postgresql/*/bin/pg_config';

skip_without("PostgreSQL older than $here (with its headers)", @older > 0);

# A private installation of that version with the extension in it (test/with-server), which
# lasts as long as the program that runs beside it.
sub installation
{
	my ($pg_config) = @_;
	my ($in, $out, $err) = ('', '', '');
	my $harness = do
	{
		local %ENV = (%ENV, PG_CONFIG => $pg_config);
		delete $ENV{PAY_PREFIX};
		IPC::Run::start([ "$root/test/with-server", 'sh', '-c', 'echo "$PG_CONFIG"; cat' ],
			'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timer(300));
	};

	$harness->pump until $out =~ /\n/ || !$harness->pumpable;
	my ($config) = $out =~ /(.*)\n/ or die "no installation of $pg_config: $err";
	return ($harness, dirname(dirname($config)));
}

sub new_node
{
	my ($name) = @_;

	# As the older one was made: it has no checksums.
	return pay_node($name, install => 0, $here >= 18 ? (init => { extra => [qw(--encoding UTF8 --locale C.UTF-8 --no-data-checksums)] }) : ());
}

# All that there is to compare: every table and view of the extension and of the shop, where
# the sequences are, each payment's history as its function tells it, and the sums of the day.
sub contents
{
	my ($node) = @_;
	my @db = (db => 'pay_demo');
	my @tables = split /\n/, $node->safe_psql('pay_demo', <<'SQL');
		SELECT oid::regclass FROM pg_class
		WHERE relkind IN ('r', 'v', 'm') AND relnamespace::regnamespace IN ('pay', 'public', 'shop')
		ORDER BY oid::regclass::text COLLATE "C"
SQL
	my ($summary, $stderr);

	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-U', 'pay_demo_auditor', '-d', $node->connstr('pay_demo'), '-f', "$root/demo/summary.sql" ],
		'>', \$summary, '2>', \$stderr) or die "summary: $stderr";
	return {
		rows => digest($node, @db, tables => \@tables),
		sequences => $node->safe_psql('pay_demo', 'SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2'),
		histories => $node->safe_psql('pay_demo', <<'SQL'),
			SELECT count(*), md5(string_agg(h::text, E'\n' ORDER BY p.order_no, h.seq))
			FROM pay_payment p, pay_history(trade_no => p.pay_no::text) h
SQL
		grants => $node->safe_psql('pay_demo', <<'SQL'),
			SELECT o::text, a.grantee::regrole::text, a.privilege_type
			FROM (SELECT oid::regprocedure, proowner, proacl FROM pg_proc WHERE proname LIKE 'pay\_%') AS f (o, owner, acl), aclexplode(acl) a
			WHERE a.grantee <> owner
			UNION ALL SELECT o::text, a.grantee::regrole::text, a.privilege_type
			FROM (SELECT oid::regclass, relowner, relacl FROM pg_class WHERE relname LIKE 'pay\_%') AS t (o, owner, acl), aclexplode(acl) a
			WHERE a.grantee <> owner
			ORDER BY 1, 2, 3
SQL
		summary => $summary };
}

# Business goes on: what was decided stands, and what is new is decided.
sub goes_on
{
	my ($node, $what) = @_;
	my @db = (db => 'pay_demo');
	my $paid = $node->safe_psql('pay_demo', <<'SQL');
		SELECT format('order_no => %L, merchant => %L, amount => %s, currency => %L, channel => %L, method => %L',
			order_no, merchant, p.amount, p.currency, c.channel, c.method)
		FROM pay_payment p JOIN pay_attempt a ON a.pay_no = p.pay_no AND a.attempt = p.winner JOIN pay_channel c ON c.route = a.route
		WHERE p.state = 'paid' AND p.amount_refunded = 0 ORDER BY order_no LIMIT 1
SQL

	answers($node, "SELECT decision FROM pay_prepay($paid, request_id => 'again')", 'already_paid', "$what: what is paid stays paid", @db);
	raises($node, "UPDATE pay_payment SET state = 'failed' WHERE state = 'paid'", 'PY409', "$what: the guards stand", @db);
	answers($node, prepay('upgraded', 'r1', valid_for => "'1 day'"), 'proceed|paying|1|paying', "$what: a new order", @db);
	answers($node, callback(trade_of('upgraded'), 'n1', 'paid'), 'applied|paid|1|paid', "$what: is paid", @db);
	answers($node, callback(trade_of('upgraded'), 'n1', 'paid'), 'replayed|paid|1|paid', "$what: once", @db);
	answers($node, 'SELECT decision FROM ' . refund(trade_of('upgraded'), 'upgraded-1', 40), 'proceed', "$what: a part goes back", @db);
	raises($node, claim('w'), 'PY409', "$what: another cluster hands out nothing", @db, like => qr/pay_adopt_database/);
	answers($node, "SELECT pay_adopt_database(reason => 'moved to PostgreSQL $here')", 't', "$what: until it is adopted", @db);
	answers($node, 'SELECT refund_no FROM ' . claim('w', max_tasks => 1000) . " WHERE refund_no LIKE 'upgraded%'", 'upgraded-1', "$what: then the refund is sent", @db);
	is($node->safe_psql('pay_demo', 'SELECT pay_install()'), '', "$what: pay_install() agrees");
	is(violations($node, @db), '', "$what: all that must hold holds");
	no_leaks($node);
	return;
}

foreach (@older)
{
	my ($major, $pg_config) = @$_;
	my ($harness, $home) = installation($pg_config);
	my $old = PostgreSQL::Test::Cluster->new("old$major", install_path => $home);
	my $way = "$major to $here";

	$old->init(extra => [qw(--encoding UTF8 --locale C.UTF-8)]);
	$old->append_conf('postgresql.conf', "max_connections = 200\nautovacuum = off");
	$old->start;
	like($old->safe_psql('postgres', 'SHOW server_version'), qr/^$major\b/, "$way: PostgreSQL $major runs");
	{
		local %ENV = (%ENV, PGHOST => $old->host, PGPORT => $old->port, PGDATABASE => 'postgres', PGUSER => $old->safe_psql('postgres', 'SELECT current_user'));
		command_ok([ "$root/demo/run", '--keep' ], "$way: a shop's day");
	}
	my $was = contents($old);
	cmp_ok(scalar(() = $was->{rows} =~ /\|[1-9]\d*\|/g), '>=', 15, "$way: there is something to compare");

	# by dump and restore
	my $dump = PostgreSQL::Test::Utils::tempdir();
	my $restored = new_node("restored$major");
	command_ok([ 'pg_dumpall', '--roles-only', '--no-role-passwords', '-f', "$dump/roles", '-d', $old->connstr('postgres') ], "$way: pg_dumpall, roles");
	command_ok([ 'pg_dump', '-Fc', '-f', "$dump/pay_demo", '-d', $old->connstr('pay_demo') ], "$way: pg_dump");
	command_ok([ 'psql', '-Xq', '-d', $restored->connstr('postgres'), '-f', "$dump/roles" ], "$way: the roles are restored");
	command_ok([ 'pg_restore', '--exit-on-error', '--create', '-d', $restored->connstr('postgres'), "$dump/pay_demo" ], "$way: pg_restore");
	is_deeply(contents($restored), $was, "$way, restored: all is as it was");
	goes_on($restored, "$way, restored");
	$restored->stop;

	# by pg_upgrade
	my $upgraded = new_node("upgraded$major");
	$old->stop;
	$upgraded->stop;
	command_ok(
		[
			'pg_upgrade', '--no-sync', '--old-datadir', $old->data_dir, '--new-datadir', $upgraded->data_dir,
			'--old-bindir', $old->config_data('--bindir'), '--new-bindir', $upgraded->config_data('--bindir'),
			'--socketdir', $upgraded->host, '--old-port', $old->port, '--new-port', $upgraded->port
		],
		"$way: pg_upgrade");
	$upgraded->start;
	is_deeply(contents($upgraded), $was, "$way, upgraded: all is as it was");
	goes_on($upgraded, "$way, upgraded");
	$upgraded->stop;

	$harness->finish;
}

done_testing();
