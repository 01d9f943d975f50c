# What a call answers that waits for a table while somebody rewrites it, each table
# × each function × each way to rewrite × two isolation levels, as
# test/matrix/rewrites.md says it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

# ---- the file ----

my @tables = qw(channel payment attempt event review refund dispute task resource hold database);
my (%row, %rewrite, @calls, @rewrites);
open my $file, '<', "$FindBin::Bin/../matrix/rewrites.md" or die $!;
my $section = '';
while (<$file>)
{
	chomp;
	$section = $1 if /^## (.*)/;
	next unless s/^\| (.*) \|$/$1/;
	my @cells = split / \| /;
	next if $cells[0] eq 'call' || $cells[0] eq 'rewrite';
	if ($section eq 'Calls')
	{
		my $call = shift @cells;
		push @calls, $call;
		$row{$call} = { answer => shift @cells };
		@{ $row{$call} }{@tables} = @cells;
	}
	elsif ($section eq 'Rewrites')
	{
		push @rewrites, $cells[0];
		($rewrite{ $cells[0] }) = $cells[1] =~ /^`(.*)`$/;
	}
}
close $file;

# ---- what the calls are about ----

my $node = pay_node('main', conf => 'autovacuum = off');

sub sql { return $node->safe_psql('postgres', $_[0]) }

my %order = (method => "'test'");
my $old = <<'JSON';
[{"order_no": "old", "amount": 100, "currency": "CNY", "state": "failed", "created_at": "2026-01-01T00:00:00Z",
	"attempts": [{"channel": "test", "method": "test", "state": "failed", "opened_at": "2026-01-01T00:00:00Z", "request_id": "r1"}]}]
JSON
sql(<<"SQL");
	CREATE EXTENSION dblink;
	INSERT INTO pay_resource (resource, capacity) VALUES ('stock:S', 10);
	INSERT INTO pay_resource (resource, external) VALUES ('points', true);
	SELECT ${\ prepay('open', 'r1', %order)};
	SELECT ${\ prepay('paid', 'r1', %order)};
	SELECT ${\ callback(trade_of('paid'), 'n1', 'paid')};
	SELECT ${\ prepay('held', 'r1', %order, valid_for => "'1 hour'", holds => "'{points:P}'")};
	SELECT ${\ prepay('disputed', 'r1', %order)};
	SELECT ${\ callback(trade_of('disputed'), 'n1', 'paid')};
	SELECT ${\ refund(trade_of('disputed'), 'r1', 60)};
	SELECT ${\ prepay('reviewed', 'r1', %order)};
	SELECT ${\ callback(trade_of('reviewed'), 'n1', 'paid', amount => 99)};
	SELECT pay_dispute_open(${\ trade_of('disputed')}, ${\ trade_of('held')}, 'twice');
	SELECT pay_import('$old');
	-- One task is due.
	SET session_replication_role = replica;
	UPDATE pay_task SET due_at = 'infinity';
	UPDATE pay_attempt SET check_at = NULL;
	UPDATE pay_task SET due_at = now() - interval '1 hour' WHERE attempt = 1 AND refund_no IS NULL
		AND pay_no = (SELECT pay_no FROM pay_payment WHERE order_no = 'open');
SQL

# Looked up beforehand: the call itself locks only what it needs.
my %trade = map { $_ => "'" . sql('SELECT ' . trade_of($_)) . "'" } qw(open paid held disputed);
my $review_id = sql('SELECT review_id FROM pay_review');
my $dispute_id = sql('SELECT dispute_id FROM pay_dispute');

my %call = (
	'prepay, a new order' => prepay('new', 'r1', %order),
	'prepay, a duplicate' => prepay('open', 'r2', %order),
	'prepay, with holds' => prepay('holds', 'r1', %order, valid_for => "'1 hour'", holds => "'{stock:S#1}'"),
	'prepay, replaces' => prepay('newer', 'r1', %order, replaces => "'open'"),
	'create' => "pay_create('made', 100, 'CNY')",
	'query' => "pay_query('open')",
	'credential' => credential($trade{open}, 'code'),
	'callback, paid' => callback($trade{open}, 'n1', 'paid'),
	'callback, known' => callback($trade{paid}, 'n1', 'paid'),
	'callback, of nothing' => callback("'nothing'", 'n1', 'paid'),
	'callbacks' => "pay_callbacks(jsonb_build_array(jsonb_build_object('channel', 'test', 'callback_id', 'n1', 'trade_no', "
	  . "$trade{open}, 'reported', 'paid', 'amount', 100, 'currency', 'CNY')))",
	'transition' => transition($trade{open}, 'unknown'),
	'refund' => refund($trade{paid}, 'r2', 30),
	'refund, known' => refund($trade{disputed}, 'r1', 60),
	'refund_transition' => refund_transition('r1', 'processing'),
	'refund_callback' => refund_callback('r1', 'm1', 'processing', amount => 60, currency => "'CNY'"),
	'review_resolve' => "pay_review_resolve($review_id, 'dismiss', 'seen')",
	'dispute_open' => "pay_dispute_open($trade{open}, $trade{paid}, 'twice')",
	'dispute_resolve' => "pay_dispute_resolve($dispute_id, 'reject', 'seen')",
	'dispute_case' => "(SELECT count(*) FROM pay_dispute_case($dispute_id)) AS d (decision)",
	'hold_done' => "pay_hold_done($trade{held}, 'points:P', 'tried')",
	'import' => "(SELECT outcome FROM pay_import('$old')) AS d (decision)",
	'claim' => "(SELECT string_agg(action, ' ') FROM pay_claim('w', 10, '1 minute')) AS d (decision)",
	'history' => "(SELECT count(*) FROM pay_history($trade{paid})) AS d (decision)",
	'channel_of' => "(SELECT pay_channel_of($trade{open})) AS d (decision)");
is(join("\n", sort keys %call), join("\n", sort @calls), 'each call of the file is made');

# ---- three sessions ----

# a rewrites, b calls; c has a VACUUM FULL, which no transaction can hold, wait. What b is
# answered; whether it waited.
sql(<<'SQL');
	CREATE SCHEMA rewrites;
	DO $$
	DECLARE
		name text;
	BEGIN
		FOR name IN SELECT relname FROM pg_class WHERE relname LIKE 'pay\_%' AND relkind = 'r'
		LOOP
			EXECUTE format('CREATE TABLE rewrites.%1$I AS TABLE %1$I', name);
		END LOOP;
	END $$;

	CREATE FUNCTION rewrites.until_blocked(session text, pid integer) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		WHILE dblink_is_busy(session) = 1
		LOOP
			IF pg_blocking_pids(pid) <> '{}' THEN
				RETURN true;
			END IF;
			PERFORM pg_sleep(0.001);
		END LOOP;
		RETURN false;
	END $$;

	-- The decision, or the SQLSTATE.
	CREATE FUNCTION rewrites.answer(session text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		answer text;
	BEGIN
		BEGIN
			SELECT d INTO answer FROM dblink_get_result(session) AS r (d text);
		EXCEPTION WHEN OTHERS THEN
			answer := SQLSTATE;
		END;
		PERFORM d FROM dblink_get_result(session) AS r (d text);
		RETURN answer;
	END $$;

	CREATE FUNCTION rewrites.judge(call text, relation text, rewrite text, level text, ends text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		a integer := (SELECT pid FROM dblink('a', 'SELECT pg_backend_pid()') AS d (pid integer));
		b integer := (SELECT pid FROM dblink('b', 'SELECT pg_backend_pid()') AS d (pid integer));
		vacuums boolean := rewrite LIKE 'VACUUM%';
		waited boolean;
		answer text;
	BEGIN
		IF rewrite LIKE '%mine%' THEN
			PERFORM dblink_exec('a', format('ALTER TABLE %s ADD COLUMN mine integer', relation));
		END IF;
		-- b knows the tables and the channel
		PERFORM dblink_exec('b', 'BEGIN');
		PERFORM dblink_send_query('b', call), rewrites.answer('b');
		PERFORM dblink_exec('b', 'ROLLBACK');

		IF vacuums THEN
			PERFORM dblink_exec('c', 'BEGIN'), dblink_exec('c', format('LOCK TABLE %s IN ACCESS SHARE MODE', relation));
			PERFORM dblink_send_query('a', rewrite);
			ASSERT rewrites.until_blocked('a', a);
		ELSE
			PERFORM dblink_exec('a', 'BEGIN'), dblink_exec('a', rewrite);
		END IF;
		PERFORM dblink_exec('b', 'BEGIN ISOLATION LEVEL ' || level), dblink_send_query('b', call);
		waited := rewrites.until_blocked('b', b);
		IF vacuums THEN
			PERFORM dblink_exec('c', 'COMMIT'), rewrites.answer('a');
		ELSE
			PERFORM dblink_exec('a', ends);
		END IF;
		answer := rewrites.answer('b');
		PERFORM dblink_exec('b', 'ROLLBACK');

		PERFORM dblink_exec('a', format('ALTER TABLE %1$s DROP COLUMN IF EXISTS added, DROP COLUMN IF EXISTS mine', relation));
		RETURN CASE WHEN waited THEN 'waits: ' ELSE '' END || answer;
	END $$;
SQL

# Does this call need the table's lock?
sub needs_lock
{
	my ($call, $table, $level) = @_;

	return $row{$call}{$table} eq 'x' || ($row{$call}{$table} eq 'c' && $level eq 'REPEATABLE READ');
}

# What is to come of one cell.
sub expected
{
	my ($call, $table, $level, $ends) = @_;
	my $waits = needs_lock($call, $table, $level);

	return ($waits ? 'waits: ' : '') . ($waits && $level eq 'REPEATABLE READ' && $ends eq 'COMMIT' ? '40001' : $row{$call}{answer});
}

foreach my $call (@calls)
{
	my (@expected, @judged, @may_wait);
	my $decision = "SELECT decision FROM $call{$call}";

	foreach my $table (@tables)
	{
		my $key = sql("SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'pay_$table'::regclass AND indpred IS NULL ORDER BY 1 LIMIT 1");

		foreach my $how (@rewrites)
		{
			# what does not wait for one does not wait for another
			next if $row{$call}{$table} eq '-' && $how ne $rewrites[0];
			my $rewrite = $rewrite{$how};
			$rewrite =~ s/%1\$s/pay_$table/g;
			$rewrite =~ s/%2\$s/rewrites.pay_$table/g;
			$rewrite =~ s/%3\$s/$key/g;
			foreach my $level ('READ COMMITTED', 'REPEATABLE READ')
			{
				foreach my $ends ('COMMIT', 'ROLLBACK')
				{
					next if $ends eq 'ROLLBACK' && ($how ne $rewrites[0] || $row{$call}{$table} eq '-');
					push @may_wait, !needs_lock($call, $table, $level);
					push @expected, "$table, $how, $level, $ends: " . expected($call, $table, $level, $ends);
					push @judged,
					  "SELECT \$n\$$table, $how, $level, $ends: \$n\$ || rewrites.judge(\$c\$$decision\$c\$, 'pay_$table', \$r\$$rewrite\$r\$, '$level', '$ends');";
				}
			}
		}
	}
	my $connect = join '', map { "SELECT dblink_connect('$_', 'host=' || current_setting('unix_socket_directories') || ' port=' || current_setting('port') || ' dbname=postgres user=' || current_user);" } qw(a b c);
	my (undef, @answers) = grep { $_ ne 'OK' } split /\n/, "\n" . sql($connect . join("\n", @judged));
	$may_wait[$_] and $answers[$_] =~ s/waits: // for 0 .. $#expected;
	my @wrong = grep { $answers[$_] ne $expected[$_] } 0 .. $#expected;
	is(join("\n", map { $answers[$_] } @wrong), join("\n", map { $expected[$_] } @wrong), "$call: " . @judged . ' rewrites');
}
no_leaks($node);

done_testing();
