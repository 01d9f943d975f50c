# Batches collide: clients tell of the same orders at the same time, in batches
# of any order and by single calls, while others pay and close them. Orders that
# end give back stock that others hold too. Nobody deadlocks, and afterwards
# everything that must hold of payments holds.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 12;
my $transactions_each = 100;
my $node = pay_node('collide', conf => <<'CONF');
max_connections = 40
jit = off
deadlock_timeout = 20ms
log_error_verbosity = verbose
log_min_error_statement = panic
CONF

# Orders in a row: the clients walk along it, so that each is told of by many at once.
$node->safe_psql('postgres', <<'SQL');
	CREATE SCHEMA storm;
	CREATE TABLE storm.answer (order_no text, called text, decision text);
	CREATE SCHEMA collide;
	INSERT INTO pay_resource (resource, capacity) SELECT 'stock:' || n, 1000000 FROM generate_series(1, 5) n;
	CREATE TABLE collide.way AS
		SELECT n, p.pay_no::text AS pay_no, p.trade_no FROM generate_series(1, 3000) n,
			pay_prepay(order_no => 'way ' || n, amount => 100, currency => 'CNY', channel => 'test', method => 'qr', request_id => 'first', multi => true,
				valid_for => '1 day', holds => ARRAY['stock:' || 1 + n % 5, 'stock:' || 1 + (n % 5 + 1 + n % 4) % 5]) p;
	ALTER TABLE collide.way ADD PRIMARY KEY (n);
	-- most of them are to end
	SELECT FROM collide.way, pay_transition(trade_no => pay_no, to_state => 'closing', reason => 'the whole payment') WHERE n % 3 > 0;
	CREATE SEQUENCE collide.steps;

	-- a message about some order near the place where we are: five of them are a step
	CREATE FUNCTION collide.message() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
		SELECT jsonb_strip_nulls(jsonb_build_object('channel', 'test', 'callback_id', CASE WHEN random() < 0.8 THEN 'm' || floor(random() * 4) END,
			'trade_no', CASE WHEN random() < 0.02 THEN 'lost ' || floor(random() * 20) ELSE w.trade_no END,
			'reported', (ARRAY['closed', 'closed', 'closed', 'paid', 'failed', 'unknown', 'authorized'])[1 + floor(random() * 7)], 'amount', 100, 'currency', 'CNY'))
		FROM (SELECT 1 + least(nextval('collide.steps') / 5 + floor(random() * 60), 2999)::integer AS n) AS here
			JOIN collide.way w USING (n)
	$$;
	CREATE FUNCTION collide.batch(size integer) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
	DECLARE
		messages CONSTANT jsonb := (SELECT jsonb_agg(collide.message()) FROM generate_series(1, size));
	BEGIN
		RETURN count(*) FROM pay_callbacks(messages);
	END $$;
	CREATE FUNCTION collide.single(dice integer) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
	DECLARE
		m CONSTANT jsonb := collide.message();
		order_of CONSTANT collide.way := (SELECT w FROM collide.way w WHERE w.trade_no = m ->> 'trade_no');
	BEGIN
		IF dice <= 5 OR order_of IS NULL THEN
			RETURN decision FROM pay_callback(channel => m ->> 'channel', callback_id => m ->> 'callback_id', trade_no => m ->> 'trade_no',
				reported => m ->> 'reported', amount => 100, currency => 'CNY');
		ELSIF dice <= 8 THEN
			RETURN decision FROM pay_transition(trade_no => order_of.pay_no, to_state => CASE WHEN dice = 6 THEN 'closed' ELSE 'closing' END, reason => 'the whole payment');
		END IF;
		RETURN decision FROM pay_prepay(order_no => 'way ' || order_of.n, amount => 100, currency => 'CNY', channel => 'test', method => 'card', request_id => 'more',
			holds => ARRAY['stock:' || 1 + (order_of.n + 2) % 5]);
	EXCEPTION WHEN SQLSTATE 'PY409' THEN
		RETURN 'PY409';
	END $$;
SQL
my $script = $node->basedir . '/collide.pgbench';
append_to_file($script, <<'PGBENCH');
\set what random(1, 3)
\set size random(2, 30)
\set dice random(1, 10)
\if :what <= 2
SELECT collide.batch(:size);
\else
SELECT collide.single(:dice);
\endif
PGBENCH

my ($stdout, $stderr);
my $calm = IPC::Run::run(
	[ 'pgbench', '--no-vacuum', '--protocol=prepared', "--client=$clients", '--jobs=2', "--transactions=$transactions_each",
		'--host', $node->host, '--port', $node->port, "--file=$script", 'postgres' ],
	'>', \$stdout, '2>', \$stderr);
ok($calm, 'no error, no deadlock among them') || diag($stderr);
my ($transactions) = $stdout =~ /transactions actually processed: (\d+)/;
my $log = slurp_file($node->logfile);
my %error;
$error{$1}++ while $log =~ /ERROR:\s+(\w{5}):/g;
is(join(', ', map { "$_ $error{$_}" } sort keys %error), '', 'nor in the log');
no_leaks($node);

# They did collide.
my ($told, $ended, $released, $surplus) = split /\|/, $node->safe_psql('postgres', <<'SQL');
	SELECT (SELECT count(*) FROM pay_event WHERE source = 'callback:test'), (SELECT count(*) FROM pay_payment WHERE state IN ('closed', 'reversed')),
		(SELECT count(*) FROM pay_hold WHERE state = 'released'), (SELECT count(*) FROM pay_refund WHERE kind = 'surplus')
SQL
note("$transactions transactions: $told reports, $ended orders that ended, $released holds that came back, $surplus refunds of surplus");
cmp_ok($_, '>', 20, 'enough of them') foreach $told, $ended, $released, $surplus;

# And nothing is wrong.
$node->safe_psql('postgres', slurp_file("$FindBin::Bin/../$_")) foreach qw(fire/identity.sql fire/replay.sql storm/check.sql);
$node->safe_psql('postgres', 'ANALYZE');
is($node->safe_psql('postgres', 'SELECT * FROM storm.check() ORDER BY 1, 2 LIMIT 50'), '', 'no violation');

$node->stop;
done_testing();
