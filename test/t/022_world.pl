# A world that goes wrong: shop clients, workers and a channel as processes of their
# own. The channel loses and repeats what it is asked and what it tells, clients and
# workers are killed, the server crashes. When the clients have stopped and the queue
# has drained, the channel's ledger and the database agree to the cent, no coupon is
# spent twice or lost, no task was lost and none handed out twice within a lease. The
# checker that says so is shown to find bugs that are put into the code.
#
# What the world must have seen is brought about on purpose before it goes wrong, step by
# step (test/world/purpose.js), and each bug is found by such a script of its own; chance
# adds the rest, and nothing that is claimed here depends on it.
#
# The worker is the one of examples/worker. What happens in the world: test/world.
#
# WORLD_ORDERS is how many orders are played beside the scripts (240), WORLD_CRASHES (3)
# how often the server crashes meanwhile; WORLD_SEED (1) decides what orders and channel
# will do. WORLD_BUGS=0 leaves out the bugs of test/world/bugs.

use strict;
use warnings;

use File::Copy;
use File::Path;
use FindBin;
use IPC::Run;
use JSON::PP;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_node_postgres();

my $orders = $ENV{WORLD_ORDERS} || 240;
my $seed = $ENV{WORLD_SEED} || 1;
my $bugs_at_a_time = 4;
my $root = "$FindBin::Bin/../..";
my $dir = PostgreSQL::Test::Utils::tempdir();

# ---- node-postgres

mkpath([ map { "$dir/$_" } qw(examples/worker test/world) ]);
copy($_, "$dir/examples/worker") || die "cannot copy $_: $!" for glob "$root/examples/worker/*.js*";
copy($_, "$dir/test/world") || die "cannot copy $_: $!" for glob "$root/test/world/*.js";
my ($version, $error) = node_postgres($dir, "$root/examples/worker");
$version or BAIL_OUT("no node-postgres: $error");

# ---- worlds

# A server can have several, each in a database of its own. A library of its own, too: so
# that a bug can be put into one.
sub make_world
{
	my ($node, $db, $library) = @_;

	if ($db ne 'postgres')
	{
		$node->safe_psql('postgres', "CREATE DATABASE $db");
		$node->safe_psql($db, 'CREATE EXTENSION pay_idem');
		$node->safe_psql($db, "UPDATE pg_proc SET probin = '$library' WHERE probin = '\$libdir/pay_idem'") if $library;
	}
	$node->safe_psql($db, slurp_file("$root/test/world/$_")) foreach qw(world.sql check.sql);
	return;
}

# Starts a world with so many callback addresses; ended() gives what its runner says in the end.
sub turn
{
	my ($node, $db, $shops, %environment) = @_;
	my $world = { name => $db, out => '', err => '', dir => PostgreSQL::Test::Utils::tempdir() };

	local @ENV{qw(PGHOST PGPORT PGUSER PGDATABASE)} =
	  ($node->host, $node->port, $node->safe_psql($db, 'SELECT current_user'), $db);
	local @ENV{qw(WORLD_DIR WORLD_PORTS)} =
	  ($world->{dir}, join ' ', map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 2 + $shops);
	delete local @ENV{qw(WORLD_ORDERS WORLD_CRASHES)};		# of the main one
	local @ENV{ keys %environment } = values %environment;
	$world->{run} = IPC::Run::start([ 'node', "$dir/test/world/run.js" ], '>', \$world->{out}, '2>', \$world->{err});
	return $world;
}

sub ended
{
	my ($world) = @_;
	my $well = $world->{run}->finish;
	my $said = eval { JSON::PP->new->decode($world->{out}) };

	return $said if $well && $said;
	diag("$world->{name}: $world->{err}$world->{out}");
	return { violations => [ { check => 'no end', examples => [] } ], complaints => [] };
}

# The names of the checks that found something.
sub found
{
	my ($said) = @_;
	return map { $_->{check} } @{ $said->{violations} };
}

# ---- the world

my $node = pay_node('world', conf => <<'CONF');
max_connections = 250
shared_buffers = 128MB
autovacuum = on
autovacuum_naptime = 5s
log_min_error_statement = panic
CONF
make_world($node, 'postgres');
my $crashes = $ENV{WORLD_CRASHES} || 3;
my $kills = 20;
my $said = ended(
	turn(
		$node, 'postgres', 2,
		WORLD_ORDERS => $orders,
		WORLD_SEED => $seed,
		WORLD_CRASHES => $crashes,
		WORLD_KILLS => $kills,
		WORLD_CLIENTS => 4,
		WORLD_LANES => 24,
		PGDATA => $node->data_dir,
		WORLD_SERVER_LOG => $node->logfile));

my $json = JSON::PP->new->canonical;
my %figures = %{ $said->{figures} || {} };
note("seed $seed, $orders orders and the scripts: $said->{kills} kills, $said->{crashes} crashes, $said->{looks} looks for lost tasks, $said->{rounds} rounds until all was done");
note(join ', ', map { "$figures{$_} $_" } grep { !ref $figures{$_} } sort keys %figures);
note("$_: " . $json->encode($figures{$_})) foreach qw(states actions decisions reviews);
note('answers: ' . $json->encode($said->{answers} || {}));

foreach my $violation (@{ $said->{violations} })
{
	diag("$violation->{check}, $violation->{times} times: $_") foreach @{ $violation->{examples} };
}
# What is on record of their payments, here and at the channel.
diag($node->safe_psql('postgres', <<'SQL')) if @{ $said->{violations} };
	SELECT DISTINCT to_json(e) #>> '{}' AS entry FROM world.violation v JOIN pay_event e USING (pay_no)
	UNION ALL
	SELECT DISTINCT l.entry #>> '{}' FROM world.violation v JOIN pay_attempt a USING (pay_no)
		JOIN world.ledger l ON replace(a.trade_no::text, '-', '') IN (l.entry ->> 'trade_no', l.entry #>> '{message,trade_no}')
	ORDER BY 1
SQL
is(join(', ', found($said)), '', 'the ledgers, the clients and the database agree');
is(join("\n", @{ $said->{complaints} }), '', 'nothing happened that nobody expected');
is(join("\n", @{ $said->{lost} }), '', 'at no moment was a task lost');

# It did go wrong, and everything that can be right or wrong was there.
cmp_ok($said->{crashes}, '>=', $crashes, "the server crashed $crashes times");
cmp_ok($said->{kills}, '>=', $kills, "clients and workers were killed $kills times");
cmp_ok($said->{looks}, '>=', $kills / 3, 'and lost tasks were looked for all the time');
cmp_ok($figures{$_}, '>', 0, "there were some $_")
  foreach qw(paid surplus refunds chargebacks won returned bounced overdrawn twins late_authorizations released replaced);
cmp_ok($figures{actions}{$_} // 0, '>', 0, "a worker was asked to $_")
  foreach qw(query close void submit_refund query_refund confirm_hold release_hold);
cmp_ok($said->{answers}{$_} // 0, '>', 0, "a client was answered $_")
  foreach qw(proceed in_progress already_paid unknown confirm unavailable closed);

my %error;
my $server_log = slurp_file($node->logfile);
$error{$1}++ while $server_log =~ /\] (\w{5}) .*ERROR:/g;
delete @error{qw(PY404 PY409 40001)};
is(join(', ', %error), '', 'no error in the log but a step that is too late, and none of locks');
no_leaks($node);

# ---- the checker finds what is wrong: it is made so, each time in one way

# Of each kind the first one that fits, for which it is certain what the checker says
# of it: what else is on record of it must not make another thing wrong, too. The last
# statement breaks it; that it found nothing to break is an error.
my $refund_of_winner = <<'SQL';
	SELECT r.refund_no FROM pay_refund r JOIN pay_payment p ON p.pay_no = r.pay_no AND p.winner = r.attempt
	WHERE r.kind = 'refund' AND r.state = 'succeeded' ORDER BY r.refund_no LIMIT 1
SQL
my $failed_attempt = "SELECT trade_no FROM pay_attempt WHERE state = 'failed' ORDER BY trade_no LIMIT 1";
my @broken = (
	[ 'a fen of an attempt is missing', 'attempt', <<'SQL' ],
		UPDATE pay_attempt SET amount_collected = amount_collected - 1 WHERE trade_no = (SELECT trade_no FROM pay_attempt
			WHERE state = 'paid' AND amount_reserved IS NULL AND amount_refunded IS NULL AND amount_extra IS NULL ORDER BY trade_no LIMIT 1)
SQL
	[ 'an attempt ended otherwise', 'attempt', "UPDATE pay_attempt SET state = 'closed' WHERE trade_no = ($failed_attempt)" ],
	[ 'an attempt is open, and nobody asks', 'attempt, lost task, not drained', "UPDATE pay_attempt SET state = 'unknown' WHERE trade_no = ($failed_attempt)" ],
	[ 'the channel has money that nobody knows of', 'attempt', <<'SQL' ],
		INSERT INTO world.ledger (keeper, entry) VALUES ('channel',
			'{"op": "trade", "trade_no": "01a1fed59ba4800080f8e78e246b7cd3", "state": "paid", "amount": 1, "currency": "CNY", "txn": "T1"}')
SQL
	# all of it went back, by that refund alone
	[ 'the channel keeps what did not win', 'paid, refund, surplus', <<'SQL' ],
		DELETE FROM world.ledger WHERE entry ->> 'op' = 'refund' AND entry ->> 'refund_no' = (SELECT min(r.refund_no)
			FROM pay_refund r JOIN pay_attempt t USING (pay_no, attempt)
			GROUP BY t.trade_no, t.amount_collected
			HAVING count(*) = 1 AND bool_and(r.kind = 'surplus' AND r.state = 'succeeded' AND NOT r.adopted) AND sum(r.amount) = t.amount_collected
			ORDER BY 1 LIMIT 1)
SQL
	[ 'the payment forgets what went back', 'paid, refund', <<'SQL' ],
		UPDATE pay_payment SET amount_refunded = 0 WHERE pay_no = (SELECT pay_no FROM pay_payment WHERE amount_refunded > 0 ORDER BY pay_no LIMIT 1)
SQL
	[ 'a refund is lost', 'refund', "DELETE FROM pay_refund WHERE refund_no = ($refund_of_winner)" ],
	[ 'a refund is under way, and nobody asks', 'lost task, not drained, refund', "UPDATE pay_refund SET state = 'processing' WHERE refund_no = ($refund_of_winner)" ],
	# one that has not come back since, which it would be said to have done then
	[ 'a refund is paid twice', 'refund', <<"SQL" ],
		INSERT INTO world.ledger (keeper, entry) SELECT keeper, entry FROM world.ledger
		WHERE entry ->> 'op' = 'refund' AND entry ->> 'state' = 'succeeded' AND entry ->> 'refund_no' = ($refund_of_winner)
SQL
	[ 'what is overdrawn is forgotten', 'overdrawn', <<'SQL' ],
		ALTER TABLE pay_attempt DROP CONSTRAINT pay_attempt_cap_check;
		UPDATE pay_attempt SET amount_overdrawn = NULL WHERE trade_no = (SELECT trade_no FROM pay_attempt WHERE amount_overdrawn > 0 ORDER BY trade_no LIMIT 1)
SQL
	[ 'a fee is forgotten', 'refund', <<'SQL' ],
		UPDATE pay_refund SET amount = amount - 15 WHERE refund_no = (SELECT refund_no FROM pay_refund
			WHERE refund_no LIKE 'cb-%' AND state = 'returned' ORDER BY refund_no LIMIT 1)
SQL
	[ 'what came back is not known', 'paid, refund', <<'SQL' ],
		UPDATE world.ledger SET entry = entry || '{"state": "succeeded"}' WHERE n = (SELECT max(n) FROM world.ledger
			WHERE entry ->> 'op' = 'refund' AND entry ->> 'state' = 'returned' AND entry ->> 'refund_no' = 'back--P-comes-back-0')
SQL
	[ 'an authorization is captured twice', 'capture', <<'SQL' ],
		INSERT INTO world.ledger (keeper, entry) SELECT keeper, entry FROM world.ledger WHERE entry ->> 'op' = 'capture' ORDER BY n LIMIT 1
SQL
	[ 'a coupon is lost', 'resource', <<'SQL' ],
		UPDATE pay_resource SET taken = 1 WHERE (merchant, resource) = (SELECT merchant, resource FROM pay_resource
			WHERE resource LIKE 'coupon:%' AND taken = 0 ORDER BY merchant, resource LIMIT 1)
SQL
	[ 'a coupon comes back that was spent', 'resource', <<'SQL' ],
		UPDATE pay_resource SET taken = 0 WHERE (merchant, resource) = (SELECT merchant, resource FROM pay_resource
			WHERE resource LIKE 'coupon:%' AND taken = 1 ORDER BY merchant, resource LIMIT 1)
SQL
	# by another order, which is paid and never asked for anything to be held
	[ 'a coupon is spent twice', 'coupon, hold, resource', <<'SQL' ],
		INSERT INTO world.proceeded (trade_no, merchant, order_no, holds)
		SELECT 'again', s.merchant, p.order_no, ARRAY[s.resource]
		FROM world.spent s JOIN pay_payment p ON p.merchant = s.merchant AND p.state = 'paid'
			AND NOT EXISTS (SELECT FROM world.taken t WHERE t.merchant = p.merchant AND t.order_no = p.order_no)
		WHERE s.resource LIKE 'coupon:%' ORDER BY s.merchant, s.resource, p.pay_no LIMIT 1
SQL
	[ 'what is over still holds something', 'hold, lost task, not drained', <<'SQL' ],
		UPDATE pay_hold SET state = 'held' WHERE (pay_no, resource) = (SELECT pay_no, resource FROM pay_hold
			WHERE state = 'released' AND resource LIKE 'stock:%' ORDER BY pay_no, resource LIMIT 1)
SQL
	[ 'a room stays reserved', 'participant', <<'SQL' ],
		INSERT INTO world.ledger (keeper, entry) SELECT 'participant', jsonb_build_object('pay_no', pay_no, 'resource', 'hotel:none', 'quantity', 1, 'what', 'try', 'state', 'tried')
		FROM pay_payment ORDER BY pay_no LIMIT 1
SQL
	[ 'a room is not confirmed', 'participant', <<'SQL' ],
		DELETE FROM world.ledger WHERE keeper = 'participant' AND ((entry ->> 'pay_no')::uuid, entry ->> 'resource') = (SELECT pay_no, resource
			FROM world.participant_hold WHERE state = 'confirmed' ORDER BY pay_no, resource LIMIT 1)
SQL
	[ 'a parcel too many', 'delivered', 'INSERT INTO world.delivered SELECT * FROM world.delivered ORDER BY merchant, order_no LIMIT 1' ],
	[ 'a parcel is missing', 'delivered', 'DELETE FROM world.delivered WHERE ctid = (SELECT ctid FROM world.delivered ORDER BY merchant, order_no LIMIT 1)' ],
	[ 'two workers have one task', 'lease', <<'SQL' ],
		INSERT INTO world.claimed (worker, lease, action, pay_no, trade_no, refund_no, resource, lease_until)
		SELECT 'another', lease, action, pay_no, trade_no, refund_no, resource, lease_until + '1 us' FROM world.claimed
		ORDER BY lease_until, pay_no, trade_no, refund_no, resource LIMIT 1
SQL
	[ 'what a client was told is gone', 'told', <<'SQL' ],
		INSERT INTO world.ledger (keeper, entry) VALUES ('client', '{"order_no": "W1", "trade_no": "01a1fed59ba4800080f8e78e246b7cd3"}')
SQL
);
foreach (@broken)
{
	my ($name, $expected, $sql) = @$_;
	$sql =~ s/;?\s*$//;
	answers($node, <<"SQL", $expected, "found: $name");
		BEGIN;
		SET LOCAL session_replication_role = replica;	-- behind the guards' back
		DO \$break\$
		DECLARE
			victims bigint;
		BEGIN
			$sql;
			GET DIAGNOSTICS victims = ROW_COUNT;
			IF victims = 0 THEN
				RAISE EXCEPTION 'in this world is nothing that can be broken so';
			END IF;
		END \$break\$;
		SELECT string_agg(DISTINCT "check", ', ' ORDER BY "check") FROM world.violation;
		ROLLBACK;
SQL
}
$node->stop;

# ---- the checker finds bugs

# A library with a bug in it, built from a copy of the source tree.
sub build
{
	my ($bug) = @_;
	my $copy = "$dir/$bug";
	my $out = '';

	mkpath($copy);
	# with the objects that are there, so that only what is changed is compiled
	foreach (
		[ 'cp', '-pr', map({ "$root/$_" } qw(src Makefile pay_idem.control)), $copy ],
		[ 'patch', '-s', '-p1', '-d', $copy, '-i', "$root/test/world/bugs/$bug.patch" ],
		[ 'make', '-s', '-j2', '-C', $copy, 'with_llvm=no', 'COPT=-O0', 'pay_idem.so' ])
	{
		IPC::Run::run($_, '<', \undef, '>', \$out, '2>&1') && next;
		fail("$bug can be built");
		diag($out);
		return;
	}
	return "$copy/pay_idem";
}

my @bugs = map { m{([^/]+)\.patch$} } glob "$root/test/world/bugs/*.patch";
@bugs = () if defined $ENV{WORLD_BUGS} && !$ENV{WORLD_BUGS};
if (@bugs)
{
	cmp_ok(scalar @bugs, '>=', 5, 'there are at least five bugs');
	$node = pay_node('bugs', install => 0, conf => "max_connections = 400\nshared_buffers = 128MB\n");
}

# Each by the scripts that its patch names. That they find nothing where there is no bug
# is known by now.
while (my @some = splice @bugs, 0, $bugs_at_a_time)
{
	my @worlds;
	foreach my $bug (@some)
	{
		my $patch = slurp_file("$root/test/world/bugs/$bug.patch");
		my ($scripts) = $patch =~ /^Shown by: (.+)$/m;
		my ($expected) = $patch =~ /^Found as: (.+)$/m;
		my $library = build($bug) || next;

		(my $db = "bug_$bug") =~ tr/-/_/;
		make_world($node, $db, $library);
		push @worlds, turn($node, $db, 1, WORLD_SCRIPTS => $scripts, WORLD_SEED => $seed, WORLD_ROUNDS => 60);
		@{ $worlds[-1] }{qw(bug expected)} = ($bug, $expected);
	}
	foreach my $world (@worlds)
	{
		my $said = ended($world);
		my %found = map { $_ => 1 } found($said);

		note("$world->{bug}: found as " . (join(', ', sort keys %found) || 'nothing') . ", after $said->{rounds} rounds");
		ok($found{$_}, "$world->{bug} is found: $_")
		  || diag($json->encode($said))
		  foreach split /, /, $world->{expected};
	}
}
$node->stop;

done_testing();
