# Scheduling by tools that people have: a job of pg_cron, and a plain loop in SQL,
# drive the queue. Both call the same step, which does what the database can do by
# itself (a channel and a participant that live in it; time limits; orders that
# are past their time) and leaves the rest, for a worker that speaks HTTP, in a table,
# with a NOTIFY.
#
# pg_cron runs jobs at full minutes (in version 1.5 and later, every second too), so
# this test may take two of them; it waits for what must happen and measures no time.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without('pg_cron', -e "$PayTest::pkglibdir/pg_cron.so");

my $node = pay_node('cron', conf => <<'CONF');
shared_preload_libraries = 'pg_cron'
cron.database_name = 'postgres'
cron.use_background_workers = on
max_worker_processes = 20
timezone = 'UTC'
CONF

sub sql { return $node->safe_psql('postgres', $_[0]) }

# ---- what a shop has: a wallet of its own, as a channel, and a table of seats

sql(<<'SQL');
	CREATE EXTENSION pg_cron;
	INSERT INTO pay_channel (channel, method, schedule, timeout)
	VALUES ('wallet', 'balance', '{1 ms, 1 s, 1 s, 1 s, 1 h}', '1 second'), ('bank', 'transfer', '{1 ms, 1 h}', '1 hour');
	INSERT INTO pay_resource (resource, external) VALUES ('seat', true);

	CREATE SCHEMA shop;
	-- what the wallet did, and how often it was asked to
	CREATE TABLE shop.wallet (trade_no text PRIMARY KEY, state text NOT NULL, amount bigint NOT NULL);
	CREATE TABLE shop.wallet_refund (refund_no text PRIMARY KEY, amount bigint NOT NULL);
	CREATE TABLE shop.seat (resource text PRIMARY KEY, state text NOT NULL);
	CREATE TABLE shop.done (action text, what text, tries integer, worker text, at timestamptz DEFAULT clock_timestamp(), lease_until timestamptz);
	-- what a worker outside has to do
	CREATE TABLE shop.outbox (id bigserial PRIMARY KEY, lease_until timestamptz, task jsonb);
	CREATE TABLE shop.stop (now boolean);
SQL

# ---- the step: the documented one, with a log for this test

my $step = <<'SQL';
	-- One task of the wallet or of a seat, done and reported.
	CREATE FUNCTION shop.do_here(task record) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		known shop.wallet;
	BEGIN
		CASE task.action
		WHEN 'query' THEN
			SELECT * INTO known FROM shop.wallet w WHERE w.trade_no = task.trade_no;
			-- not known there is no failure: the order to pay may still be on its way
			PERFORM pay_callback(channel => task.channel, callback_id => NULL, trade_no => task.trade_no,
				reported => coalesce(known.state, 'unknown'), amount => known.amount, currency => CASE WHEN known.amount IS NOT NULL THEN task.currency END);
		WHEN 'close', 'void' THEN
			INSERT INTO shop.wallet VALUES (task.trade_no, 'closed', task.amount)
			ON CONFLICT (trade_no) DO UPDATE SET state = 'closed' WHERE wallet.state <> 'paid';
			SELECT * INTO known FROM shop.wallet w WHERE w.trade_no = task.trade_no;
			PERFORM pay_callback(channel => task.channel, callback_id => NULL, trade_no => task.trade_no,
				reported => known.state, amount => known.amount, currency => task.currency);
		WHEN 'submit_refund', 'query_refund' THEN
			INSERT INTO shop.wallet_refund VALUES (task.refund_no, task.amount) ON CONFLICT DO NOTHING;
			PERFORM pay_refund_transition(refund_no => task.refund_no, to_state => 'succeeded', merchant => task.merchant);
		WHEN 'confirm_hold', 'release_hold' THEN
			UPDATE shop.seat s SET state = CASE task.action WHEN 'confirm_hold' THEN 'sold' ELSE 'free' END WHERE s.resource = task.resource;
			PERFORM pay_hold_done(trade_no => task.pay_no::text, resource => task.resource,
				done => CASE task.action WHEN 'confirm_hold' THEN 'confirmed' ELSE 'released' END);
		END CASE;
	END
	$$;

	-- What is due now: done, or left for the worker outside. How many tasks it was.
	CREATE FUNCTION shop.work(worker text, max_tasks integer DEFAULT 100, lease interval DEFAULT '2 seconds') RETURNS integer LANGUAGE plpgsql AS $$
	DECLARE
		task record;
		tasks integer := 0;
		left_for_others integer := 0;
	BEGIN
		FOR task IN SELECT * FROM pay_claim(worker => worker, max_tasks => max_tasks, lease => lease) LOOP
			tasks := tasks + 1;
			INSERT INTO shop.done (action, what, tries, worker, lease_until)
			VALUES (task.action, coalesce(task.refund_no, task.trade_no, task.pay_no || task.resource), task.tries, worker, task.lease_until);
			IF task.channel = 'wallet' OR task.resource IS NOT NULL THEN
				BEGIN
					PERFORM shop.do_here(task);
				EXCEPTION WHEN OTHERS THEN
					-- the others go on; this one comes again when its lease is over
					RAISE WARNING 'task % of order %: %', task.action, task.order_no, SQLERRM;
				END;
			ELSE
				INSERT INTO shop.outbox (lease_until, task) VALUES (task.lease_until, to_jsonb(task));
				left_for_others := left_for_others + 1;
			END IF;
		END LOOP;
		IF left_for_others > 0 THEN
			PERFORM pg_notify('pay_work', left_for_others::text);
		END IF;
		RETURN tasks;
	END
	$$;

	-- Until nothing is due: the job of pg_cron. For ever: the plain loop, for who has no
	-- pg_cron, as psql -c "CALL shop.work_on('loop', forever => true)". Each round is a
	-- transaction of its own.
	CREATE PROCEDURE shop.work_on(worker text, forever boolean DEFAULT false) LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			IF shop.work(worker, max_tasks => 3) = 0 THEN
				EXIT WHEN NOT forever OR EXISTS (SELECT FROM shop.stop);
				PERFORM pg_sleep(0.05);
			END IF;
			COMMIT;
		END LOOP;
	END
	$$;
SQL
sql($step);

# ---- a role that may do this and nothing else

sql(<<'SQL');
	CREATE ROLE pay_cron LOGIN;
	SELECT pay_grant(role => 'pay_cron', kind => 'worker');
	GRANT USAGE ON SCHEMA shop, cron TO pay_cron;
	GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA shop TO pay_cron;
	GRANT USAGE ON ALL SEQUENCES IN SCHEMA shop TO pay_cron;
SQL

# ---- orders of every kind

# Opens an order's attempt through the wallet; what the wallet knows of it.
sub wallet
{
	my ($order_no, $state, %more) = @_;
	my $request_id = delete $more{request_id} || 'r';

	sql('DO $do$ BEGIN PERFORM decision FROM '
		  . prepay($order_no, $request_id, channel => "'wallet'", method => "'balance'", %more) . '; END $do$');
	sql("INSERT INTO shop.wallet VALUES (replace(@{[ trade_of($order_no) ]}, '-', ''), '$state', 100)") if $state;
	return;
}

# Makes the orders; what each is to become is below.
sub orders
{
	my ($tag) = @_;

	wallet("$tag-paid", 'paid');    # nobody called back
	wallet("$tag-silent", undef);    # the wallet knows nothing
	wallet("$tag-twice", 'paying', multi => 'true');
	wallet("$tag-twice", 'paid', request_id => 'other');
	sql('DO $$ BEGIN PERFORM ' . callback(trade_of("$tag-twice"), 'c', 'paid', channel => "'wallet'") . '; END $$');
	wallet("$tag-refund", 'paid');
	sql('DO $$ BEGIN PERFORM '
		  . callback(trade_of("$tag-refund"), 'c', 'paid', channel => "'wallet'")
		  . "; PERFORM pay_refund(trade_no => @{[ trade_of(qq($tag-refund)) ]}, refund_no => '$tag-refund', amount => 30, reason => 'a test'); END \$\$");
	sql("INSERT INTO shop.seat VALUES ('seat:$tag-sold', 'tried'), ('seat:$tag-free', 'tried')");
	wallet("$tag-sold", 'paid', valid_for => "'1 hour'", holds => "'{seat:$tag-sold,coupon:$tag-sold}'");
	wallet("$tag-free", undef, valid_for => "'1 hour'", holds => "'{seat:$tag-free}'");
	sql('DO $$ BEGIN PERFORM pay_transition(trade_no => (SELECT pay_no::text FROM pay_payment WHERE order_no = '
		  . "'$tag-free'), to_state => 'closed'); END \$\$");
	# failed, and nobody comes back for it
	wallet("$tag-late", undef, valid_for => "'2 seconds'", holds => "'{coupon:$tag-late}'");
	sql('DO $$ BEGIN PERFORM ' . transition(trade_of("$tag-late"), 'failed') . '; END $$');
	sql('DO $do$ BEGIN PERFORM decision FROM ' . prepay("$tag-bank", 'r', channel => "'bank'", method => "'transfer'") . '; END $do$');
	return;
}

# As one line per order: states, refunds, holds.
my $outcome = <<'SQL';
	SELECT p.order_no, p.state || ' [' || (SELECT string_agg(a.state::text, ' ' ORDER BY a.attempt) FROM pay_attempt a WHERE a.pay_no = p.pay_no) || ']',
		(SELECT string_agg(r.state::text, ' ') FROM pay_refund r WHERE r.pay_no = p.pay_no),
		(SELECT string_agg(h.state, ' ' ORDER BY h.resource) FROM pay_hold h WHERE h.pay_no = p.pay_no)
	FROM pay_payment p WHERE p.order_no LIKE '%s-%%' ORDER BY p.order_no
SQL

sub expected
{
	my ($tag, $bank) = @_;

	return join "\n", map { "$tag-$_" } (
		"bank|$bank|" . '|',
		'free|closed [closed]||released',
		'late|closed [failed]||released',
		'paid|paid [paid]||',
		'refund|paid [paid]|succeeded|',
		'silent|unknown [unknown]||',
		'sold|paid [paid]||confirmed confirmed',
		'twice|paid [closed paid]||');
}

# Nothing was done twice, and nobody was given what another had a lease of.
sub nothing_twice
{
	my ($tag) = @_;

	is(sql("SELECT count(*) FROM shop.wallet_refund WHERE refund_no LIKE '$tag-%'"), '1', "$tag: the wallet refunded once");
	is(sql(<<"SQL"), '', "$tag: no task was with two workers at a time");
		SELECT a.action, a.what, a.worker, b.worker FROM shop.done a JOIN shop.done b USING (action, what)
		WHERE a.ctid <> b.ctid AND b.at >= a.at AND b.at < a.lease_until
SQL
	return;
}

# ---- pg_cron

orders('cron');
my $version = sql("SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'");
note("pg_cron $version");
my ($major, $minor) = $version =~ /^(\d+)\.(\d+)/;
my $every = $major > 1 || $minor >= 5 ? '1 seconds' : '* * * * *';

# somebody outside listens for what the database cannot do
my $listener = $node->background_psql('postgres', on_error_stop => 1);
$listener->query_safe('LISTEN pay_work');

# The job belongs to the role, which pg_cron runs it as.
$node->safe_psql('postgres', "SELECT cron.schedule('pay_work', '$every', \$\$CALL shop.work_on('cron')\$\$)",
	extra_params => [ '-U', 'pay_cron' ]);
is(sql('SELECT jobname, username, active FROM cron.job'), 'pay_work|pay_cron|t', 'the job is scheduled');
is(sql("SELECT count(*) FROM shop.done"), '0', 'nothing was done yet');

ok($node->poll_query_until('postgres', "SELECT count(*) >= 1 FROM cron.job_run_details WHERE status = 'succeeded'"),
	'pg_cron runs it')
  || diag(sql('SELECT status, return_message FROM cron.job_run_details'));
is(sql("SELECT string_agg(DISTINCT username, ',') FROM cron.job_run_details"), 'pay_cron', 'as that role');

# One run does all that is due; a second one may end what came past its time since.
my $orders_done = sub {
	my ($tag) = @_;
	return sprintf("SELECT string_agg(concat_ws('|', order_no, s, coalesce(r, ''), coalesce(h, '')), E'\\n' ORDER BY order_no) FROM (%s) t (order_no, s, r, h) WHERE order_no NOT LIKE '%%-refused'",
		sprintf($outcome, $tag));
};
ok($node->poll_query_until('postgres', $orders_done->('cron'), expected('cron', 'paying [paying]')), 'pg_cron: every order is what it must be')
  || diag(sql($orders_done->('cron')), sql('SELECT status, return_message FROM cron.job_run_details'));
is(sql("SELECT resource, taken FROM pay_resource WHERE resource LIKE 'coupon:cron%' ORDER BY 1"),
	"coupon:cron-late|0\ncoupon:cron-sold|1", 'a coupon came back, another is spent');
is(sql("SELECT resource, state FROM shop.seat ORDER BY 1"), "seat:cron-free|free\nseat:cron-sold|sold", 'the seats know it');
is(sql("SELECT string_agg(w.state, ' ' ORDER BY w.state) FROM shop.wallet w JOIN pay_attempt a ON replace(a.trade_no::text, '-', '') = w.trade_no JOIN pay_payment p USING (pay_no) WHERE order_no = 'cron-twice'"),
	'closed paid', 'the wallet was told to close what the order does not need');
nothing_twice('cron');

# The worker outside hears of what is left, takes it, and reports.
my $heard = '';
for (1 .. 1800)
{
	$heard .= $listener->query_safe('SELECT 1');
	last if $heard =~ /notification "pay_work"/;
	select undef, undef, undef, 0.1;
}
like($heard, qr/notification "pay_work" with payload "\d+"/, 'who listens is told');
is(sql("SELECT DISTINCT task->>'action', task->>'order_no', task->>'channel', task->>'trade_no' = replace(@{[ trade_of('cron-bank') ]}, '-', '') FROM shop.outbox"),
	'query|cron-bank|bank|t', 'and finds the task in the table');
is( sql(<<'SQL'), 'applied|paid', 'he asks the bank, and reports');
	SELECT c.decision, c.state FROM (SELECT task FROM shop.outbox ORDER BY id LIMIT 1) o,
		LATERAL pay_callback(channel => o.task->>'channel', callback_id => NULL, trade_no => o.task->>'trade_no', reported => 'paid',
			amount => (o.task->>'amount')::bigint, currency => o.task->>'currency')
	c
SQL
$listener->quit;

$node->safe_psql('postgres', "SELECT cron.unschedule('pay_work')", extra_params => [ '-U', 'pay_cron' ]);
is(sql('SELECT count(*) FROM cron.job'), '0', 'the job is taken off');

# ---- the plain loop: two of them, at the same time

sql('TRUNCATE shop.done, shop.outbox');
my @loop = map { $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'pay_cron' ]) } 1 .. 3;

# A worker who dies: he has claimed, and is gone with all that he was handed.
orders('loop');
my $dead = $loop[2];
like($dead->query_safe(<<'SQL'), qr/^5$/, 'a worker is handed five tasks');
	WITH handed_out AS (INSERT INTO shop.done (action, what, tries, worker, lease_until)
		SELECT action, coalesce(refund_no, trade_no, pay_no || resource), tries, 'dead', lease_until
		FROM pay_claim(worker => 'dead', max_tasks => 5, lease => '1 second') RETURNING 1)
	SELECT count(*) FROM handed_out
SQL
my $pid = $dead->query_safe('SELECT pg_backend_pid()');
sql("SELECT pg_terminate_backend($pid, 10000)");
eval { $dead->quit };

# What one task fails on must not stop the others: the wallet refuses this refund until the rule goes.
sql("ALTER TABLE shop.wallet_refund ADD CONSTRAINT not_this_one CHECK (refund_no <> 'loop-refused')");
wallet('loop-refused', 'paid');
sql('DO $$ BEGIN PERFORM ' . callback(trade_of('loop-refused'), 'c', 'paid', channel => "'wallet'")
	  . "; PERFORM pay_refund(trade_no => @{[ trade_of('loop-refused') ]}, refund_no => 'loop-refused', amount => 30, reason => 'a test'); END \$\$");

$loop[$_]->{stdin} .= "CALL shop.work_on('loop $_', forever => true);\n\\echo over\n" for 0 .. 1;
$loop[$_]->{run}->pump_nb for 0 .. 1;
my $running = "FROM pg_stat_activity WHERE state = 'active' AND usename = 'pay_cron' AND query LIKE 'CALL shop.work_on(%'";
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 $running"), 'two loops run');

ok($node->poll_query_until('postgres', $orders_done->('loop'), expected('loop', 'paying [paying]')), 'the loops do it all, what the dead one was handed too')
  || diag(sql($orders_done->('loop')));
nothing_twice('loop');
cmp_ok(sql("SELECT count(*) FROM shop.outbox WHERE task->>'order_no' = 'loop-bank'"), '>=', 1, 'what is for others is in the table');

# The refused one comes again, lease by lease, until it can be done.
ok($node->poll_query_until('postgres', "SELECT count(*) >= 2 FROM shop.done WHERE what = 'loop-refused'"), 'what failed comes again');
is(sql("SELECT r.state, t.asked_by IS NOT NULL FROM pay_refund r JOIN pay_task t USING (pay_no, refund_no, reports) WHERE refund_no = 'loop-refused'"), 'requested|t', 'and is nobody\'s loss');
sql('ALTER TABLE shop.wallet_refund DROP CONSTRAINT not_this_one');
ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM pay_refund WHERE refund_no = 'loop-refused'"), 'until it can be done');

# More work, while they run; then they are told to stop, and do.
wallet("more-$_", 'paid') for 1 .. 30;
ok($node->poll_query_until('postgres', "SELECT count(*) = 30 FROM pay_payment WHERE order_no LIKE 'more-%' AND state = 'paid'"), 'thirty more');
sql('INSERT INTO shop.stop VALUES (true)');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 $running"), 'they stop when they are told');
$loop[$_]->quit for 0 .. 1;

is(violations($node), '', 'all that must hold holds');
is(sql("SELECT kind FROM pay_review"), '', 'no review was opened');
no_leaks($node);
$node->stop;
done_testing();
