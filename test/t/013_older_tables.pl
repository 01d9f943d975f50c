# Tables that an older pay_install() made: until pay_install() brings them up to
# date the library says so and touches nothing; then everything works, and every
# old row is as it was.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pay_node('main', install => 0);
my $dump = slurp_file("$FindBin::Bin/../older/before_refunds.sql");
my @older = qw(pay_channel pay_payment pay_attempt pay_event pay_review pay_grantee);
my ($db, $s, @o);

$node->safe_psql('postgres', join ';',
	map { "CREATE ROLE $_ LOGIN" } 'older_owner SUPERUSER', qw(older_app older_ops older_auditor mallory));

sub sql { return $node->safe_psql($db, @_) }

# One order's latest attempt, its payment's number.
sub trade { return trade_of($_[0], @o) }
sub pay_no { return "(SELECT pay_no::text FROM $s.pay_payment WHERE order_no = '$_[0]')" }

# A dump's lines, without what changes by itself.
sub dump_text
{
	my ($of, @options) = @_;
	my ($stdout, $stderr);

	IPC::Run::run([ 'pg_dump', @options, '-d', $node->connstr($of) ], '>', \$stdout, '2>', \$stderr)
	  or die "pg_dump of $of: $stderr";
	return [ grep { !/^\\(un)?restrict |^--/ } split /\n/, $stdout ];
}

foreach ([ 'shop', 'public' ], [ 'odd_shop', '"Pay Schema"' ])
{
	($db, $s) = @$_;
	@o = (schema => $s);
	note "---- $db";

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	sql(($s eq 'public' ? '' : "CREATE SCHEMA $s;") . $dump =~ s/\bpublic\b/$s/gr);

	# What is compared later: the old columns of every row.
	my %rows = map {
		my $columns = sql(
			"SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '$s.$_'::regclass AND attnum > 0"
		);

		$_ => "SELECT t.* FROM (SELECT $columns FROM $s.$_ WHERE %s) AS t ORDER BY t::text COLLATE \"C\""
	} @older;
	my $old_rows = sub {
		my ($table, $which) = @_;

		return sql(sprintf $rows{$table}, $which || 'true');
	};
	my %before = map { $_ => $old_rows->($_) } @older;
	my $reviews = $old_rows->('pay_review', 'review_id > 1');
	my $attempts = $old_rows->('pay_attempt', "channel_txn IS DISTINCT FROM 'T10'");

	# ---- before pay_install()

	my @calls = (
		prepay('open', 'r1', @o),
		credential(trade('open'), 'c', @o),
		transition(trade('open'), 'failed', @o),
		callback(trade('open'), 'n1', 'paid', @o),
		callback("'x'", 'n1', 'paid', @o),
		"$s.pay_query(order_no => 'open')",
		"$s.pay_history(trade_no => @{[ trade('open') ]})",
		"$s.pay_create(order_no => 'A1', amount => 1, currency => 'CNY')",
		"$s.pay_review_resolve(review_id => 1, verdict => 'dismiss', reason => 'x')",
		refund(trade('paid'), 'F1', 1, @o),
		refund_transition('F1', 'processing', @o),
		refund_callback('F1', 'm1', 'succeeded', @o),
		"$s.pay_dispute_open(trade_no => @{[ trade('paid') ]}, duplicate_of => @{[ trade('noted') ]}, reason => 'x')",
		"$s.pay_dispute_resolve(dispute_id => 1, verdict => 'reject', reason => 'x')",
		"$s.pay_dispute_case(dispute_id => 1)",
		"$s.pay_suspects(since => now())",
		claim('w1', @o),
		hold_done(trade('open'), 'coupon:C1', 'tried', @o),
		"$s.pay_grant(role => 'older_app', kind => 'app')");
	my $refuses = sub {
		my ($when) = @_;

		foreach my $call (@calls)
		{
			my ($name) = $call =~ /(pay_\w+)\(/;
			raises(
				$node, "SELECT * FROM $call", 'PY503', "$when: $name",
				db => $db,
				like => qr/HINT: .*pay_install/);
		}
		return;
	};
	$refuses->('older tables');
	is($old_rows->($_), $before{$_}, "older tables: $_ is as it was") foreach @older;

	# What is new is new to squatters, too.
	my $evil =
	  "CREATE FUNCTION $s.evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO $s.loot VALUES (current_user); RETURN new; END';"
	  . "CREATE FUNCTION $s.evil_amount() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN INSERT INTO $s.loot VALUES (current_user); RETURN 1; END';";
	sql("GRANT CREATE, USAGE ON SCHEMA $s TO mallory; CREATE TABLE $s.loot (whose name); GRANT INSERT ON $s.loot TO PUBLIC");
	sql($evil, extra_params => [ '-U', 'mallory' ]);
	foreach (
		[ 'a table pay_refund', "CREATE TABLE $s.pay_refund (merchant text, refund_no text, state $s.pay_refund_state)", 'TABLE pay_refund' ],
		[
			'a guarded table pay_dispute',
			"CREATE TABLE $s.pay_dispute (pay_no uuid, other_pay_no uuid);"
			  . "CREATE TRIGGER pay_guard_before BEFORE UPDATE ON $s.pay_dispute FOR EACH ROW EXECUTE FUNCTION $s.pay_guard();"
			  . "CREATE TRIGGER evil BEFORE INSERT ON $s.pay_dispute FOR EACH ROW EXECUTE FUNCTION $s.evil()",
			'TABLE pay_dispute'
		],
		[
			'a guarded table pay_task',
			"CREATE TABLE $s.pay_task (due_at timestamptz, pay_no uuid);"
			  . "CREATE TRIGGER pay_guard_before BEFORE UPDATE ON $s.pay_task FOR EACH ROW EXECUTE FUNCTION $s.pay_guard();"
			  . "CREATE TRIGGER evil BEFORE INSERT ON $s.pay_task FOR EACH ROW EXECUTE FUNCTION $s.evil()",
			'TABLE pay_task'
		],
		[ 'a view pay_dispute', "CREATE VIEW $s.pay_dispute AS SELECT gen_random_uuid() AS pay_no, gen_random_uuid() AS other_pay_no, $s.evil_amount()", 'VIEW pay_dispute' ],
		[ 'a view pay_balance', "CREATE VIEW $s.pay_balance AS SELECT gen_random_uuid() AS pay_no, $s.evil_amount() AS needed", 'VIEW pay_balance' ],
		[ 'a table pay_balance', "CREATE TABLE $s.pay_balance (pay_no uuid)", 'TABLE pay_balance' ])
	{
		my ($what, $ddl, $drop) = @$_;

		sql("GRANT CREATE ON SCHEMA $s TO mallory");
		sql($ddl, extra_params => [ '-U', 'mallory' ]);
		sql("REVOKE CREATE ON SCHEMA $s FROM mallory");
		raises(
			$node, "SELECT $s.pay_install()", 'PY409', "$what of a squatter's is refused",
			db => $db,
			like => qr/mallory/);
		raises(
			$node, "SELECT * FROM $s.pay_suspects(since => '2001-01-01')",
			'PY503', "$what: not read by pay_suspects",
			db => $db);
		raises(
			$node, 'SELECT * FROM ' . refund(trade('paid'), 'F1', 1, @o),
			'PY503', "$what: not used by pay_refund",
			db => $db);
		sql("DROP $drop" =~ s/ (?=pay_)/ $s./r);
	}
	is(sql("SELECT count(*) FROM $s.loot"), 0, 'nothing of the squatter\'s ran');
	sql("DROP TABLE $s.loot; DROP FUNCTION $s.evil(), $s.evil_amount(); REVOKE ALL ON SCHEMA $s FROM mallory");
	is($old_rows->($_), $before{$_}, "after that, $_ is as it was") foreach @older;

	# ---- pay_install()

	sql("SELECT $s.pay_install()");
	foreach my $table (qw(pay_payment pay_event pay_grantee))
	{
		is($old_rows->($table), $before{$table}, "installed: what was in $table is");
	}
	is($old_rows->('pay_channel', "route < 10 OR route >= 1000"),
		$before{pay_channel}, 'installed: what was in pay_channel is');
	is($old_rows->('pay_attempt', "channel_txn IS DISTINCT FROM 'T10'"),
		$attempts, 'installed: what was in pay_attempt is');
	is(sql("SELECT state, amount_to_capture FROM $s.pay_attempt WHERE channel_txn = 'T10'"),
		'unknown|100', 'installed: but one whose capture was asked for, which says now of how much');
	is($old_rows->('pay_review', 'review_id BETWEEN 2 AND 7'),
		$reviews, 'installed: what was in pay_review is');
	is( sql("SELECT kind, channel_txn, verdict, resolved_by = current_user FROM $s.pay_review WHERE review_id = 1"),
		'surplus|T4|refund|t',
		'installed: but the open review of surplus, whose refund is there now');

	# They are the tables that a new shop gets: columns, constraints, indexes,
	# triggers, comments and rights, to the letter.
	$node->safe_psql('postgres', "CREATE DATABASE new_$db");
	$node->safe_psql(
		"new_$db",
		($s eq 'public' ? '' : "CREATE SCHEMA $s;")
		  . "CREATE EXTENSION pay_idem SCHEMA $s; GRANT EXECUTE ON FUNCTION $s.pay_install() TO older_owner; GRANT USAGE, CREATE ON SCHEMA $s TO older_owner;"
		  . "SET ROLE older_owner; SELECT $s.pay_install(); RESET ROLE;"
		  . join ';', map { "SELECT $s.pay_grant(role => 'older_$_', kind => '$_')" } qw(app ops auditor));
	my @new = sort @{ dump_text("new_$db", '--schema-only') };
	my @now = sort @{ dump_text($db, '--schema-only') };
	is_deeply([ grep { !/ON SCHEMA/ } @now ],
		[ grep { !/ON SCHEMA/ } @new ], 'installed: the tables are those of a new shop, with their comments and rights');
	is( sql("SELECT relname, relowner::regrole FROM pg_class WHERE relname IN ('pay_refund', 'pay_dispute', 'pay_balance', 'pay_task', 'pay_resource', 'pay_hold') ORDER BY 1"),
		"pay_balance|older_owner\npay_dispute|older_owner\npay_hold|older_owner\npay_refund|older_owner\npay_resource|older_owner\npay_task|older_owner",
		'installed: what is new belongs to the owner of the old');

	# ---- the money of before

	is(sql(<<"SQL"), <<'ROWS' =~ s/\n$//r, 'every order\'s money adds up');
	SELECT order_no, needed, collected, surplus, reserved, refunded, refundable, to_close FROM $s.pay_balance
	WHERE collected > 0 OR to_close > 0 ORDER BY order_no
SQL
dismissed|0|100|100|100|0|0|0
noted|100|100|0|0|30|70|0
paid|100|100|0|0|0|100|0
sent back|0|100|100|0|100|0|0
short back|0|90|90|0|90|0|0
to void|0|0|0|0|0|0|1
twice|100|200|100|100|0|100|0
ROWS
	is(sql(<<"SQL"), <<'ROWS' =~ s/\n$//r, 'by these refunds');
	SELECT order_no, kind, f.attempt, f.state, f.amount, adopted, replace(replace(refund_no, replace(trade_no::text, '-', ''), '<trade_no>'), replace(p.pay_no::text, '-', ''), '<pay_no>')
	FROM $s.pay_refund f JOIN $s.pay_payment p USING (pay_no) JOIN $s.pay_attempt a USING (pay_no, attempt) ORDER BY order_no
SQL
dismissed|surplus|1|abnormal|100|f|<trade_no>s
noted|refund|1|succeeded|30|t|<pay_no>d0
sent back|surplus|1|succeeded|100|f|<trade_no>s
short back|surplus|1|succeeded|90|f|<trade_no>s
twice|surplus|2|requested|100|f|<trade_no>s
ROWS
	is(sql(<<"SQL"), <<'ROWS' =~ s/\n$//r, 'and these are the open reviews');
	SELECT order_no, r.kind, reported, about_money FROM $s.pay_review r LEFT JOIN $s.pay_payment p USING (pay_no) WHERE resolved_at IS NULL ORDER BY 1, 2
SQL
dismissed|abnormal||f
short|mismatch|paid|t
to void|surplus|authorized|t
|unmatched|paid|t
ROWS

	# ---- what was open of before is asked about

	is(sql(<<"SQL"), '0|0', 'each attempt that is open and each refund under way has one task, due at once, and nothing else has');
	SELECT (SELECT count(*) FROM $s.pay_attempt a WHERE (a.state::text IN ('paying', 'authorized', 'capturing', 'unknown', 'closing'))::integer
			<> (SELECT count(*) FROM $s.pay_task t WHERE (t.pay_no, t.attempt) = (a.pay_no, a.attempt) AND refund_no IS NULL AND due_at <= now())),
		(SELECT count(*) FROM $s.pay_refund f WHERE (f.state::text IN ('requested', 'processing', 'unknown'))::integer
			<> (SELECT count(*) FROM $s.pay_task t WHERE (t.pay_no, t.attempt, t.refund_no) = (f.pay_no, f.attempt, f.refund_no) AND due_at <= now()))
SQL
	is(sql("SELECT count(*) > 3, count(*) FILTER (WHERE refund_no IS NOT NULL) FROM $s.pay_task"), 't|1', 'there are such');
	is( sql("SELECT action, order_no, refund_no IS NOT NULL FROM " . claim('w1', @o, actions => "'{void,submit_refund}'") . ' ORDER BY 1'),
		"submit_refund|twice|t\nvoid|to void|f", 'and a worker is told what to do');

	# ---- and life goes on

	my %app = (db => $db, user => 'older_app');
	my %ops = (db => $db, user => 'older_ops');
	my $is = sub {
		my ($call, $expected, $name, %as) = @_;
		local $Test::Builder::Level = $Test::Builder::Level + 1;

		return answers($node, $call, $expected, $name, db => $db, %as);
	};
	my $refunds = sub { return 'SELECT decision, state, refundable FROM ' . $_[0] };
	my $number = sub { return "'" . sql('SELECT ' . trade($_[0])) . "'" };

	# numbers are read first: the app role reads no table
	my %t = map { $_ => $number->($_) } 'open', 'paid', 'noted', 'twice', 'to void', 'captured', 'lost', 'failed';
	$is->(prepay('open', 'r2', @o), 'in_progress|paying|1|paying', 'what was open is open', %app);
	$is->(callback($t{open}, 'n1', 'paid', @o), 'applied|paid|1|paid', 'and can be paid', %app);
	$is->(callback($t{paid}, 'n1', 'paid', @o), 'replayed|paid|1|paid', 'a callback from before is replayed', %app);
	$is->(prepay('failed', 'r2', @o), 'proceed|paying|2|paying', 'what failed is tried again', %app);
	$is->(prepay('instead', 'r1', @o, replaces => "'failed'"), 'proceed|paying|1|paying', 'or given up for another', %app);
	$is->("SELECT decision, other_order_no FROM $s.pay_query(order_no => 'failed')", 'closed|instead', 'which it names', %app);
	$is->("SELECT decision, other_order_no FROM " . prepay('A1', 'r1', @o, payer => "'ada'"),
		'proceed|', 'an order of before that nobody tries to pay is not asked about', %app);
	$is->($refunds->(refund($t{paid}, 'F1', 60, @o)), 'proceed|requested|40', 'what was paid is refunded', %app);
	$is->($refunds->(refund_callback('F1', 'm1', 'succeeded', @o)), 'applied|succeeded|40', 'and the channel says so', %app);
	raises(
		$node, 'SELECT * FROM ' . refund($t{noted}, 'F2', 71, @o), 'PY409',
		'what was noted to have gone back counts against the cap', %app,
		like => qr/more than is refundable: 70/);
	$is->($refunds->(refund($t{noted}, 'F2', 70, @o)), 'proceed|requested|0', 'the rest is there', %app);
	is(sql("SELECT amount_refunded FROM $s.pay_payment WHERE order_no = 'noted'"), 30, 'and still noted');
	$is->($refunds->(refund_callback('F2', 'm1', 'succeeded', @o)), 'applied|succeeded|0', 'until it went, too', %app);
	is(sql("SELECT amount_refunded FROM $s.pay_payment WHERE order_no = 'noted'"), 100, 'and all of it');

	my $surplus = $t{twice} =~ s/['-]//gr . 's';
	$is->("SELECT decision, refund_no FROM " . callback($t{twice}, 'n2', 'paid', @o),
		"replayed|$surplus", 'surplus of before, told again, names its refund', %app);
	$is->($refunds->(refund_callback($surplus, 'm1', 'succeeded', @o, amount => 100, currency => "'CNY'")),
		'applied|succeeded|0', 'which goes on', %app);
	my ($dismissed) = map { s/-//gr . 's' } sql('SELECT ' . trade('dismissed'));
	$is->($refunds->(refund_transition($dismissed, 'succeeded', @o)),
		'applied|succeeded|0', 'and what became of the dismissed one can be said', %ops);

	$is->(
		"SELECT decision, state FROM $s.pay_review_resolve(review_id => (SELECT review_id FROM $s.pay_review WHERE kind = 'mismatch' AND resolved_at IS NULL), verdict => 'accept', reason => 'x')",
		'applied|paid', 'a review of before is resolved', %ops);
	$is->(
		"SELECT decision FROM $s.pay_review_resolve(review_id => (SELECT review_id FROM $s.pay_review WHERE reported::text = 'authorized'), verdict => 'dismiss', reason => 'x')",
		'applied', 'also one of a kind that there is no more', %ops);
	$is->(transition($t{'to void'}, 'closing', @o), 'applied|closed|1|closing', 'what was authorized and not needed is voided', %app);
	$is->(callback($t{'to void'}, 'n2', 'reversed', @o), 'applied|closed|1|reversed', 'as the channel says', %app);
	raises(
		$node, 'SELECT * FROM ' . transition($t{captured}, 'capturing', @o), 'PY409',
		'what was captured, with an outcome that nobody knows, is not captured again', %app);
	$is->(callback($t{captured}, 'n2', 'paid', @o), 'applied|paid|1|paid', 'but paid, when the channel says so', %app);
	$is->(transition($t{lost}, 'capturing', @o), 'applied|capturing|1|capturing', 'one whose capture nobody asked for is', %app);

	$is->(
		"SELECT decision, dispute_id FROM $s.pay_dispute_open(trade_no => $t{noted}, duplicate_of => $t{paid}, reason => 'x')",
		'applied|1', 'a dispute about two of before', %app);
	$is->("SELECT count(*) FROM $s.pay_dispute_case(dispute_id => 1)", 11, 'with their record', db => $db, user => 'older_auditor');
	$is->("SELECT count(*) FROM $s.pay_balance", 15, 'the auditor reads the balance', db => $db, user => 'older_auditor');
	raises($node, "UPDATE $s.pay_attempt SET amount_reserved = 1 WHERE state = 'paid'", 'PY423', 'the guards stand', db => $db);
	raises($node, "DELETE FROM $s.pay_refund", 'PY423', 'also those of what is new', db => $db);
	is(sql("SELECT count(*), count(*) FILTER (WHERE collected <> needed + surplus OR reserved + refunded > collected) FROM $s.pay_balance"),
		'15|0', 'every order\'s money adds up');

	# refunds that pay_install() opened have no event of their making
	is(join("\n", grep { !/^refund / } split /\n/, violations($node, db => $db, @o)), '', 'all that must hold holds');

	# ---- repeated, it changes nothing

	my $rows = digest($node, db => $db, @o);
	sql("SELECT $s.pay_install()") for 1 .. 2;
	is(digest($node, db => $db, @o), $rows, 'pay_install() again: every row is as it was');
	is_deeply([ sort @{ dump_text($db, '--schema-only') } ], \@now, 'and so are the tables');
}

no_leaks($node);
done_testing();
