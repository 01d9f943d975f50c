# What the TAP tests share: a server with pay_idem in it, the calls as SQL
# text, and the checks that every test wants.
#
# The tests use the PostgreSQL programs that come first in PATH; the extension
# must be installed there.
package PayTest;

use strict;
use warnings;

our ($pkglibdir, $sharedir);

BEGIN
{
	chomp($pkglibdir = `pg_config --pkglibdir`);
	chomp($sharedir = `pg_config --sharedir`);
	die "pg_config is not in PATH\n" if $pkglibdir eq '';

	unshift @INC, "$pkglibdir/pgxs/src/test/perl";
	$ENV{PG_REGRESS} = "$pkglibdir/pgxs/src/test/regress/pg_regress"
	  unless $ENV{PG_REGRESS};

	# Logs and data directories never go into the source tree.
	if (!$ENV{TESTDIR})
	{
		require File::Temp;
		$ENV{TESTDIR} = File::Temp::tempdir('pay_idem_XXXX', TMPDIR => 1, CLEANUP => 1);
	}
	# From 16 on, these say where; up to 15 they are there by TESTDIR alone.
	$ENV{TESTDATADIR} ||= "$ENV{TESTDIR}/tmp_check";
	$ENV{TESTLOGDIR} ||= "$ENV{TESTDATADIR}/log";
}

use Exporter 'import';
use File::Copy ();
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  pay_node prepay credential callback transition refund refund_transition refund_callback claim hold_done trade_of
  answers raises digest violations waits no_leaks program
  skip_without skip_without_node_postgres node_postgres);

# SQL text that is one call and nothing else.
my $a_call = qr/^\s*(?:"[^"]+"\.|\w+\.)?pay_\w+\(/;

# The tables, parents first; and how all of them go: the view that reads them first.
our @TABLES = qw(pay_channel pay_payment pay_attempt pay_event pay_review pay_refund pay_dispute pay_resource pay_hold pay_task pay_database pay_grantee);
our $DROP = 'DROP VIEW pay_balance; DROP TABLE ' . join ', ', @TABLES;

# Where a program is, undef where it is not.
sub program
{
	my ($name) = @_;

	return (grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin')[0];
}

# Skips this test, by name, where what it uses besides PostgreSQL is not there;
# test/setup installs what apt has.
sub skip_without
{
	my ($what, $is_there) = @_;

	plan(skip_all => "there is no $what here") unless $is_there;
}

# node-postgres is npm's, or Debian's.
sub skip_without_node_postgres
{
	skip_without('node', program('node'));
	skip_without('node-postgres',
		program('npm') || IPC::Run::run([ 'node', '-e', 'require("pg")' ], init => sub { chdir '/' }, '2>', '/dev/null'));
}

# pay_node(name, init => {...}, conf => '...', install => 0|1, install_path => '...'): a started
# server; with install (the default) database postgres has the extension and
# its tables in public. However long a test takes, no attempt there is due to be
# handed out to another client.
sub pay_node
{
	my ($name, %o) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, $o{install_path} ? (install_path => $o{install_path}) : ());

	$node->init(extra => [qw(--encoding UTF8 --locale C.UTF-8)], %{ $o{init} || {} });
	$node->append_conf('postgresql.conf',
		"autovacuum = off\nmax_connections = 40\nshared_buffers = 16MB\nlog_line_prefix = '%m [%p] %e %q%a '"
	);
	$node->append_conf('postgresql.conf', $o{conf}) if $o{conf};
	$node->start;
	$node->safe_psql('postgres', q(CREATE EXTENSION pay_idem; SELECT pay_install(); UPDATE pay_channel SET resubmit_after = '1 year'))
	  unless exists $o{install} && !$o{install};
	return $node;
}

# A call's SQL text from its defaults and what the test says; values are SQL.
sub call
{
	my ($function, $order, $defaults, $more) = @_;
	my $schema = $more->{schema} ? "$more->{schema}." : '';
	my %argument = (%$defaults, %$more);

	delete $argument{schema};
	my %place = map { $order->[$_] => $_ } 0 .. $#$order;
	return "$schema$function("
	  . join(
		', ', map { "$_ => $argument{$_}" }
		  sort    { $place{$a} <=> $place{$b} } keys %argument) . ')';
}

sub prepay
{
	my ($order_no, $request_id, %more) = @_;

	return call(
		'pay_prepay',
		[
			qw(order_no amount currency channel method request_id merchant payer multi valid_for replaces confirm holds metadata)
		],
		{
			order_no => "'$order_no'",
			amount => 100,
			currency => "'CNY'",
			channel => "'test'",
			method => "'card'",
			request_id => "'$request_id'"
		},
		\%more);
}

sub credential
{
	my ($trade_no, $credential, %more) = @_;

	return call(
		'pay_credential',
		[qw(trade_no credential valid_for)],
		{ trade_no => $trade_no, credential => "'$credential'", valid_for => "'2 hours'" }, \%more);
}

sub callback
{
	my ($trade_no, $callback_id, $reported, %more) = @_;

	return call(
		'pay_callback',
		[qw(channel callback_id trade_no reported amount currency channel_txn occurred_at payload merchant)],
		{
			channel => "'test'",
			callback_id => "'$callback_id'",
			trade_no => $trade_no,
			reported => "'$reported'",
			amount => 100,
			currency => "'CNY'"
		},
		\%more);
}

sub transition
{
	my ($trade_no, $to_state, %more) = @_;

	return call(
		'pay_transition',
		[qw(trade_no to_state reason amount currency channel_txn request_id)],
		{ trade_no => $trade_no, to_state => "'$to_state'" }, \%more);
}

sub refund
{
	my ($trade_no, $refund_no, $amount, %more) = @_;

	return call(
		'pay_refund',
		[qw(trade_no refund_no amount reason currency confirm)],
		{
			trade_no => $trade_no,
			refund_no => "'$refund_no'",
			amount => $amount,
			reason => "'too late'"
		},
		\%more);
}

sub refund_transition
{
	my ($refund_no, $to_state, %more) = @_;

	return call(
		'pay_refund_transition',
		[qw(refund_no to_state reason channel_txn merchant)],
		{ refund_no => "'$refund_no'", to_state => "'$to_state'" }, \%more);
}

sub refund_callback
{
	my ($refund_no, $callback_id, $reported, %more) = @_;

	return call(
		'pay_refund_callback',
		[
			qw(channel callback_id refund_no reported amount currency trade_no channel_txn occurred_at payload kind merchant)
		],
		{
			channel => "'test'",
			callback_id => "'$callback_id'",
			refund_no => "'$refund_no'",
			reported => "'$reported'"
		},
		\%more);
}

# A worker's claim; nobody else gets what it is handed for an hour.
sub claim
{
	my ($worker, %more) = @_;

	return call(
		'pay_claim',
		[qw(worker max_tasks lease actions)],
		{ worker => "'$worker'", max_tasks => 10, lease => "'1 hour'" }, \%more);
}

sub hold_done
{
	my ($trade_no, $resource, $done, %more) = @_;

	return call(
		'pay_hold_done',
		[qw(trade_no resource done)],
		{ trade_no => $trade_no, resource => "'$resource'", done => "'$done'" }, \%more);
}

# The number of an order's latest attempt, as an SQL expression.
sub trade_of
{
	my ($order_no, %o) = @_;
	my $s = $o{schema} ? "$o{schema}." : '';

	return "(SELECT a.trade_no::text FROM ${s}pay_attempt a JOIN ${s}pay_payment p USING (pay_no)"
	  . " WHERE p.order_no = '$order_no' ORDER BY a.attempt DESC LIMIT 1)";
}

# answers(node, calls, expected, name): run the SQL and compare all that it
# returns. A call without SELECT is asked for its decision and states.
sub answers
{
	my ($node, $sql, $expected, $name, %o) = @_;
	my $db = $o{db} || 'postgres';
	my ($stdout, $stderr);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$sql = "SELECT decision, state, attempt, attempt_state FROM $sql" if $sql =~ $a_call;
	my $rc = $node->psql(
		$db, $sql,
		stdout => \$stdout,
		stderr => \$stderr,
		on_error_stop => 1,
		extra_params => $o{user} ? [ '-U', $o{user} ] : []);
	$stdout .= "\n$stderr" if $rc != 0;
	return is($stdout, $expected, $name);
}

# raises(node, sql, sqlstate, name, like => qr/…/): the SQL fails with this
# SQLSTATE. An error of ours must say its facts in a DETAIL.
sub raises
{
	my ($node, $sql, $sqlstate, $name, %o) = @_;
	my $db = $o{db} || 'postgres';
	my ($stdout, $stderr);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$sql = "SELECT * FROM $sql" if $sql =~ $a_call;
	$node->psql(
		$db, "\\set VERBOSITY verbose\n$sql",
		stdout => \$stdout,
		stderr => \$stderr,
		on_error_stop => 1,
		extra_params => $o{user} ? [ '-U', $o{user} ] : []);
	my ($got) = $stderr =~ /(?:ERROR|FATAL):\s+(\w{5}):/;
	$got = 'no error' unless defined $got;
	$got .= ' without DETAIL' if $got =~ /^PY/ && $stderr !~ /^DETAIL: /m;
	my $ok = is($got, $sqlstate, $name) || diag($stderr . $stdout);
	$ok = like($stderr, $o{like}, "$name: says so") if $o{like};
	return $ok;
}

# Every row of every table, as one checksum per table.
sub digest
{
	my ($node, %o) = @_;
	my $s = $o{schema} ? "$o{schema}." : '';
	my $physical = $o{physical} ? "t.ctid, t.xmin, t.xmax, " : '';

	return $node->safe_psql(
		$o{db} || 'postgres',
		join ';',
		map {
				"SELECT '$_', count(*), md5(string_agg(r, E'\\n' ORDER BY r COLLATE \"C\"))"
			  . " FROM (SELECT row(${physical}t.*)::text AS r FROM $s$_ t) AS rows"
		} @{ $o{tables} || \@TABLES });
}

# What must hold of the tables after anything; returns the rows that break it.
sub violations
{
	my ($node, %o) = @_;
	my $s = $o{schema} ? "$o{schema}." : '';

	return $node->safe_psql($o{db} || 'postgres', <<"SQL");
		-- events of a payment are numbered without a gap, the last one is last_seq
		SELECT 'numbering', p.order_no
		FROM ${s}pay_payment p LEFT JOIN ${s}pay_event e USING (pay_no)
		GROUP BY p.pay_no, p.order_no, p.last_seq
		HAVING p.last_seq <> count(e.seq) OR p.last_seq <> coalesce(max(e.seq), 0)
		UNION ALL
		-- each begins where the one before it ended
		SELECT 'payment chain', e.pay_no::text
		FROM (SELECT *, lag(payment_after) OVER (PARTITION BY pay_no ORDER BY seq) AS was FROM ${s}pay_event) e
		WHERE e.payment_before::text IS DISTINCT FROM e.was::text
			AND NOT (e.seq = 1 AND e.payment_before::text = 'created')
		UNION ALL
		SELECT 'attempt chain', e.pay_no::text
		FROM (SELECT *, lag(attempt_after) OVER (PARTITION BY pay_no, attempt ORDER BY seq) AS was
			FROM ${s}pay_event WHERE attempt > 0) e
		WHERE e.attempt_before::text IS DISTINCT FROM e.was::text
		UNION ALL
		-- and the last one says what the rows say
		SELECT 'payment state', p.order_no
		FROM ${s}pay_payment p JOIN ${s}pay_event e ON e.pay_no = p.pay_no AND e.seq = p.last_seq
		WHERE e.payment_after::text <> p.state::text
		UNION ALL
		SELECT 'attempt state', a.trade_no::text
		FROM ${s}pay_attempt a LEFT JOIN LATERAL (SELECT attempt_after FROM ${s}pay_event e
			WHERE e.pay_no = a.pay_no AND e.attempt = a.attempt ORDER BY seq DESC LIMIT 1) e ON true
		WHERE e.attempt_after::text IS DISTINCT FROM a.state::text
		UNION ALL
		SELECT 'attempts', p.order_no
		FROM ${s}pay_payment p LEFT JOIN ${s}pay_attempt a USING (pay_no)
		GROUP BY p.pay_no, p.order_no, p.routes
		HAVING p.routes <> coalesce(array_agg(a.route ORDER BY a.attempt) FILTER (WHERE a.route IS NOT NULL), '{}')
		UNION ALL
		-- a paid payment has one winner, which collected what the payment says; what costs nothing needs none
		SELECT 'winner', p.order_no
		FROM ${s}pay_payment p LEFT JOIN ${s}pay_attempt a ON a.pay_no = p.pay_no AND a.attempt = p.winner
		WHERE (p.state::text = 'paid' AND p.amount > 0) <> (a.state::text IS NOT DISTINCT FROM 'paid')
			OR p.amount_collected <> coalesce(a.amount_collected, 0)
		UNION ALL
		-- every payment's money adds up, and what goes back is never more than what came, but for what is overdrawn
		SELECT 'money', b.order_no
		FROM ${s}pay_balance b
		WHERE b.collected <> b.needed + b.surplus OR b.reserved + b.refunded > b.collected + b.overdrawn
		UNION ALL
		-- an attempt's sums are those of its refunds, a payment's those of its winner
		SELECT 'sums', a.trade_no::text
		FROM ${s}pay_attempt a JOIN ${s}pay_payment p USING (pay_no) LEFT JOIN LATERAL (
			SELECT sum(r.amount) FILTER (WHERE r.kind <> 'extra' AND r.state::text IN ('requested', 'processing', 'unknown', 'abnormal')) AS reserved,
				sum(r.amount) FILTER (WHERE r.kind <> 'extra' AND r.state::text = 'succeeded') AS refunded,
				sum(r.amount) FILTER (WHERE r.kind = 'extra') AS extra
			FROM ${s}pay_refund r WHERE r.pay_no = a.pay_no AND r.attempt = a.attempt) r ON true
		WHERE (a.amount_reserved, a.amount_refunded, a.amount_extra) IS DISTINCT FROM (r.reserved, r.refunded, r.extra)
			OR coalesce(a.amount_overdrawn, 0) <> greatest(coalesce(r.reserved, 0) + coalesce(r.refunded, 0) - coalesce(a.amount_collected, 0), 0)
			OR a.attempt = p.winner AND p.amount_refunded <> least(coalesce(r.refunded, 0), p.amount_collected)
		UNION ALL
		-- each event of a refund begins where the one before it ended; the last one says what the row says
		SELECT 'refund chain', e.refund_no
		FROM (SELECT *, lag(refund_after) OVER (PARTITION BY pay_no, refund_no ORDER BY seq) AS was
			FROM ${s}pay_event WHERE refund_after IS NOT NULL) e
		WHERE e.refund_before::text IS DISTINCT FROM e.was::text
		UNION ALL
		SELECT 'refund state', r.refund_no
		FROM ${s}pay_refund r LEFT JOIN LATERAL (SELECT refund_after FROM ${s}pay_event e
			WHERE e.pay_no = r.pay_no AND e.refund_no = r.refund_no AND e.refund_after IS NOT NULL ORDER BY seq DESC LIMIT 1) e ON true
		WHERE e.refund_after::text IS DISTINCT FROM r.state::text
		UNION ALL
		-- what is open or under way has a task that counts, unless its schedule is over and a person was asked
		SELECT 'task of an attempt', a.trade_no::text
		FROM ${s}pay_attempt a
		WHERE a.state::text IN ('paying', 'authorized', 'capturing', 'unknown', 'closing')
			AND NOT EXISTS (SELECT FROM ${s}pay_task t WHERE t.pay_no = a.pay_no AND t.attempt = a.attempt AND t.refund_no IS NULL
				AND (a.check_at IS NULL OR t.queued_for = a.check_at))
			AND NOT (a.check_at IS NOT DISTINCT FROM '-infinity' AND EXISTS (SELECT FROM ${s}pay_review v WHERE v.pay_no = a.pay_no AND v.attempt = a.attempt AND v.refund_no IS NULL AND v.kind = 'exhausted'))
		UNION ALL
		SELECT 'task of a refund', r.refund_no
		FROM ${s}pay_refund r
		WHERE r.state::text IN ('requested', 'processing', 'unknown')
			AND NOT EXISTS (SELECT FROM ${s}pay_task t WHERE t.pay_no = r.pay_no AND t.refund_no = r.refund_no
				AND (r.check_at IS NULL OR t.queued_for = r.check_at))
			AND NOT (r.check_at IS NOT DISTINCT FROM '-infinity' AND EXISTS (SELECT FROM ${s}pay_review v WHERE v.pay_no = r.pay_no AND v.refund_no = r.refund_no AND v.kind = 'exhausted'))
		UNION ALL
		-- of external holds somebody is asked until he has done it; they release one after the other, the last one first
		SELECT 'task of a hold', h.resource
		FROM ${s}pay_hold h
		WHERE (h.state = 'confirming' OR h.state = 'releasing' AND NOT EXISTS (SELECT FROM ${s}pay_hold o
				WHERE o.pay_no = h.pay_no AND o.external AND o.state = 'releasing' AND o.position > h.position))
			AND NOT EXISTS (SELECT FROM ${s}pay_task t WHERE t.pay_no = h.pay_no AND t.resource = h.resource
				AND (h.check_at IS NULL OR t.queued_for = h.check_at))
		UNION ALL
		-- what is held waits for a payment that can still be paid; that of one that is over is confirmed or goes back
		SELECT 'hold', p.order_no
		FROM ${s}pay_payment p JOIN ${s}pay_hold h USING (pay_no)
		WHERE h.state <> ALL (CASE WHEN p.state::text = 'paid' THEN '{confirming,confirmed}'::text[]
			WHEN p.state::text IN ('closed', 'reversed') OR p.replaced_by IS NOT NULL THEN '{releasing,released}' ELSE '{held}' END)
		UNION ALL
		-- an order that holds something comes back to the queue when its time is over
		SELECT 'task of a payment', p.order_no
		FROM ${s}pay_payment p
		WHERE p.state::text NOT IN ('paid', 'closed', 'reversed') AND p.replaced_by IS NULL
			AND EXISTS (SELECT FROM ${s}pay_hold h WHERE h.pay_no = p.pay_no AND h.state = 'held')
			AND NOT EXISTS (SELECT FROM ${s}pay_task t WHERE t.pay_no = p.pay_no AND t.attempt = 0 AND t.refund_no IS NULL AND t.resource IS NULL)
		UNION ALL
		-- what is taken of a resource is what orders hold or have spent of it
		SELECT 'taken', r.resource
		FROM ${s}pay_resource r LEFT JOIN (${s}pay_hold h JOIN ${s}pay_payment p USING (pay_no))
			ON p.merchant = r.merchant AND h.resource = r.resource AND h.state <> 'released'
		GROUP BY r.merchant, r.resource, r.taken
		HAVING r.taken <> coalesce(sum(h.quantity), 0)
SQL
}

# waits(node, session's application_name): until that session waits for
# another's transaction.
sub waits
{
	my ($node, $application) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ok(
		$node->poll_query_until(
			'postgres',
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = '$application' AND wait_event_type = 'Lock'"
		),
		"$application waits");
}

# node_postgres(directory, packages): puts node-postgres there, so that a program in it
# finds it, and returns its version, and what went wrong. npm brings the version of
# package-lock.json in directory packages; where there is no npm, Debian's does.
sub node_postgres
{
	my ($dir, $packages) = @_;
	my ($log, $version, $error) = ('', '', '');

	# node_modules never goes into the source tree
	foreach (glob "$packages/package*.json")
	{
		File::Copy::copy($_, $dir) || die "cannot copy $_: $!";
	}
	if (grep { -x "$_/npm" } split /:/, $ENV{PATH})
	{
		local $ENV{HOME} = $dir;
		IPC::Run::run(
			[ 'npm', 'ci', '--no-audit', '--no-fund', '--ignore-scripts', '--cache', "$dir/cache" ],
			init => sub { chdir $dir or die $! },
			'>', \$log, '2>&1');
	}
	eval {
		IPC::Run::run(
			[ 'node', '-p', 'require("pg/package.json").version' ],
			init => sub { chdir $dir or die $! },
			'>', \$version, '2>', \$error) or die "node\n";
	};
	return ($version, "$log$error$@");
}

# no_leaks(node): the server never complained about what C code left behind,
# and no backend died.
sub no_leaks
{
	my ($node) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @complaints = grep {
			 / XX\d\d\d |PANIC:|TRAP: |was terminated by signal/
		  || /WARNING: .*(?:leak|still (?:active|open|referenced)|not closed|own a lock|lock .* already held)/
	} split /\n/, slurp_file($node->logfile);

	return is(join("\n", @complaints), '', 'nothing was leaked and nobody crashed');
}

1;
