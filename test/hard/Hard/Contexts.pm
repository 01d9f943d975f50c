# Where a call can stand in SQL. Each context takes a client, draws its calls, and
# leaves the session as it found it: whatever fails in between, it ends with
# ROLLBACK and, where it changed settings, with RESET ALL.
package Hard::Contexts;

use strict;
use warnings;

use DBD::Pg ();

use Hard::Values qw(chance pick literal);

my $id = 0;		# of prepared transactions and statements

# ---- helpers ----

sub is_reader { return $_[0]{volatile} ne 'v'; }
sub is_scalar { return !$_[0]{set} && $_[0]{returns} !~ /^(void|record)$/; }

# BEGIN ... what the sub does ... ending; knows afterwards whether it is committed.
sub in_transaction
{
	my ($c, $begin, $ending, $does) = @_;

	return if !$c->frame($begin);
	my $ok = $does->();
	$ok = $c->frame($ok ? $ending : 'ROLLBACK') && $ok;
	$c->told($ok && $ending eq 'COMMIT');
	return $ok;
}

sub calls
{
	my ($c, $count, $which) = @_;

	foreach (1 .. $count)
	{
		return 0 if !$c->call($c->draw_call($which));
	}
	return 1;
}

sub isolated
{
	my ($level) = @_;

	return sub {
		my ($c) = @_;

		in_transaction($c, "BEGIN ISOLATION LEVEL $level", pick('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK'), sub { calls($c, pick(1 .. 4)) });
	};
}

# ---- the contexts ----

my %context;

$context{plain} = sub {
	my ($c) = @_;

	$c->call($c->draw_call);
	$c->told(1);
};

$context{'rolled back'} = sub {
	my ($c) = @_;

	in_transaction($c, 'BEGIN', 'ROLLBACK', sub { calls($c, pick(1, 2, 3)) });
};

$context{savepoint} = sub {
	my ($c) = @_;

	in_transaction($c, 'BEGIN', 'COMMIT', sub {
		$c->call($c->draw_call) if chance(50);
		foreach my $name ('a' .. pick('a', 'b', 'd'))
		{
			$c->frame("SAVEPOINT $name") or return 0;
			my $before = @{ $c->{told} || [] };
			my $kept = calls($c, pick(1, 2)) && chance(50);

			splice @{ $c->{told} || [] }, $before if !$kept;
			$c->frame($kept ? "RELEASE $name" : "ROLLBACK TO $name") or return 0;
		}
		calls($c, 1);
	});
};

$context{'read committed'} = isolated('READ COMMITTED');
$context{'repeatable read'} = isolated('REPEATABLE READ');
$context{serializable} = isolated('SERIALIZABLE');

$context{'read only'} = sub {
	my ($c) = @_;

	in_transaction($c, 'BEGIN ' . pick('READ ONLY', 'ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE', 'ISOLATION LEVEL REPEATABLE READ READ ONLY'),
		'COMMIT', sub { calls($c, pick(1, 2)) });
};

$context{'prepared transaction'} = sub {
	my ($c) = @_;
	my $name = "$c->{name}/" . ++$id;

	return if !$c->frame('BEGIN');
	my $ok = calls($c, pick(1, 2));
	$c->frame("PREPARE TRANSACTION '$name'");
	$c->frame('ROLLBACK');
	my $commit = chance(60);
	$ok = $c->frame(($commit ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$name'") && $ok;
	$c->told($ok && $commit);
};

$context{cursor} = sub {
	my ($c) = @_;
	my $call = $c->draw_call;
	my $hold = chance(40) ? ' WITH HOLD' : '';

	in_transaction($c, 'BEGIN', 'COMMIT', sub {
		$c->call($call, "DECLARE fuzz" . pick('', ' SCROLL', ' NO SCROLL') . " CURSOR$hold FOR SELECT * FROM $call->{sql}") or return 0;
		$c->call($call, pick('FETCH 1 FROM fuzz', 'FETCH ALL FROM fuzz', 'MOVE 1 IN fuzz')) or return 0;
		$c->frame(pick('FETCH BACKWARD 1 FROM fuzz', 'MOVE ABSOLUTE 0 IN fuzz')) if chance(20);
		return calls($c, 1) if chance(30);
		1;
	});
	$c->do_all('FETCH 2 FROM fuzz', 'CLOSE fuzz') if $hold;
};

# The function returns the SQLSTATE that its EXCEPTION block caught, and what it says.
$context{'exception block'} = sub {
	my ($c) = @_;
	my @calls = map { $c->draw_call } 1 .. pick(1, 2, 4);

	my $told = sub {
		foreach my $call (@calls)
		{
			my ($state, $rows) = $c->run('call', 'SELECT * FROM fuzz.try(' . Hard::Values::quote("SELECT FROM $call->{sql}") . ')', call => $call);

			$c->{calls}++;
			$c->{contexts}{ $c->{context} }++;
			return 0 if $state ne '00000';
			my $row = $rows->[0] or next;
			$c->{tally}{ $call->{function}{name} }{ $row->{state} }++;	# besides the statement's own
			$c->judge('call', $row->{state}, $row->{message}, $call->{sql}, $call, 'counted') if $row->{state} ne '00000';
		}
		1;
	};
	return $told->() if chance(40);
	in_transaction($c, 'BEGIN', 'COMMIT', $told);
};

$context{trigger} = sub {
	my ($c) = @_;
	my $call = $c->draw_call;
	my $table = pick('before_row', 'after_row', 'after_statement', 'deferred');

	$c->call($call, "INSERT INTO fuzz.$table (call) SELECT " . Hard::Values::quote("SELECT FROM $call->{sql}") . ' FROM generate_series(1, ' . pick(1, 1, 3) . ')', 'frame');
};

$context{'modifying CTE'} = sub {
	my ($c) = @_;
	my ($one, $two) = ($c->draw_call, $c->draw_call);

	$c->call($one, pick(
		"WITH i AS (INSERT INTO fuzz.sink (n) VALUES (1), (2) RETURNING n) SELECT f.* FROM i, $one->{sql} f",
		"WITH d AS (DELETE FROM fuzz.sink RETURNING n) INSERT INTO fuzz.sink (n) SELECT 3 FROM $one->{sql}, (SELECT count(*) FROM d) d",
		"WITH a AS MATERIALIZED (SELECT * FROM $one->{sql}), b AS (UPDATE fuzz.sink SET n = n + 1 RETURNING n) SELECT a.* FROM a, $two->{sql} c",
		"UPDATE fuzz.sink SET n = n + (SELECT count(*) FROM $one->{sql})",
		"DELETE FROM fuzz.sink WHERE EXISTS (SELECT FROM $one->{sql})",
		"INSERT INTO fuzz.sink (n) SELECT 1 FROM $one->{sql} ON CONFLICT (n) DO UPDATE SET n = (SELECT count(*) FROM $two->{sql})",
		"MERGE INTO fuzz.sink s USING (SELECT 1 AS n FROM $one->{sql}) f ON s.n = f.n WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (n) VALUES (f.n)"), 'frame');
};

$context{'table definition'} = sub {
	my ($c) = @_;
	my $call = $c->draw_call(\&is_scalar);
	my $table = 'definition_' . $c->{name};

	in_transaction($c, 'BEGIN', pick('COMMIT', 'ROLLBACK'), sub {
		$c->call($call, pick(
			"CREATE TEMP TABLE $table (a integer, b text DEFAULT ($call->{sql})::text) ON COMMIT DROP",
			"CREATE TEMP TABLE $table (a integer, CHECK (($call->{sql}) IS NOT NULL)) ON COMMIT DROP",
			"CREATE TEMP TABLE $table ON COMMIT DROP AS SELECT 1 AS a, $call->{sql} AS b",
			"CREATE TEMP TABLE $table (a integer, b text GENERATED ALWAYS AS (($call->{sql})::text) STORED) ON COMMIT DROP",
			"CREATE TEMP VIEW $table AS SELECT 1 AS a, f.* FROM $call->{sql} f"), 'frame') or return 0;
		$c->call($call, pick("INSERT INTO $table (a) VALUES (1), (2)", "SELECT * FROM $table", "CREATE INDEX ON $table (a, (($call->{sql})::text))",
			"CREATE INDEX ON $table (a) WHERE ($call->{sql}) IS NOT NULL", "ALTER TABLE $table ADD COLUMN c text DEFAULT ($call->{sql})::text",
			"CREATE MATERIALIZED VIEW pg_temp.m AS SELECT * FROM $call->{sql}", "ANALYZE $table"), 'frame') or return 0;
		1;
	});
	$c->frame("DROP VIEW IF EXISTS $table");
};

# Whether the planner does it in parallel is its own decision; what may not run there
# is evaluated by the leader, in parallel mode all the same.
$context{'parallel plan'} = sub {
	my ($c) = @_;
	my $fresh = chance(40);

	$c->reconnect or return if $fresh;
	my $call = $c->draw_call(chance(80) ? \&is_reader : undef);
	$c->do_all("SET $c->{force_parallel} = on", 'SET parallel_setup_cost = 0', 'SET parallel_tuple_cost = 0', 'SET min_parallel_table_scan_size = 0',
		'SET max_parallel_workers_per_gather = 2') or return;
	my $from = "FROM fuzz.big b WHERE b.n % 4000 = 0";

	foreach (1 .. pick(1, 2))
	{
		$c->call($call, $call->{function}{set} ? pick("SELECT f.* FROM (SELECT b.n $from) b, $call->{sql} f", "SELECT $call->{sql} $from")
			: pick("SELECT $call->{sql} $from", "SELECT count(*) FROM fuzz.big b WHERE b.n % 4000 = 0 AND ($call->{sql}) IS NOT NULL",
				"SELECT f.* FROM (SELECT b.n $from) b, LATERAL $call->{sql} f", "SELECT ($call->{sql})::text, count(*) $from GROUP BY 1", "SELECT * FROM $call->{sql}"));
	}
	$c->frame('RESET ALL');
};

$context{'lateral over rows'} = sub {
	my ($c) = @_;
	my $call = $c->draw_call(chance(50) ? undef : sub { grep { $_->[0] =~ /^(trade_no|order_no)$/ } @{ $_[0]{arguments} } });
	my $sql = $call->{sql};

	# its own order and number in each row
	$sql =~ s/("order_no" => )(?:'(?:[^']|'')*'|repeat\([^)]*\)|NULL)::text/$1p.order_no/;
	$sql =~ s/("trade_no" => )(?:'(?:[^']|'')*'|repeat\([^)]*\)|NULL)::text/$1p.pay_no::text/;
	$c->call({ %$call, sql => $sql }, pick(
		"SELECT count(f.*) FROM (SELECT * FROM $c->{schema}.pay_payment WHERE merchant <> '$Hard::Values::DIRTY' ORDER BY pay_no DESC LIMIT " . pick(5, 20) . ") p LEFT JOIN LATERAL $sql f ON true"));
};

$context{'prepared statement'} = sub {
	my ($c) = @_;
	my $call = $c->draw_call;
	my (@list, @values);

	foreach my $argument (@{ $call->{arguments} })
	{
		my ($name, $type, $value) = @$argument;
		my $text = $value->[0];

		if (!$value->[2])
		{
			push @values, $value->[1];
			$text = '$' . @values . "::$type";
		}
		push @list, ($name ? "\"$name\" => " : '') . $text;
	}
	my $sql = "SELECT * FROM $call->{function}{qualified}(" . join(', ', @list) . ')';
	return if !$c->{dbh};
	$c->frame('SET plan_cache_mode = ' . pick('auto', 'force_generic_plan', 'force_custom_plan')) or return;
	my $sth = $c->{dbh}->prepare($sql, { pg_server_prepare => 1, pg_placeholder_dollaronly => 1 });
	# of no type here: the server finds it
	$sth->bind_param($_, $values[ $_ - 1 ], { pg_type => DBD::Pg::PG_UNKNOWN }) foreach $sth ? 1 .. @values : ();
	foreach ($sth ? 1 .. pick(1, 2, 7) : ())
	{
		my ($state, $rows) = $c->run('call', "SELECT * FROM $call->{sql}", call => $call, prepared => $sth);

		$c->{calls}++;
		$c->{contexts}{ $c->{context} }++;
		last if $state ne '00000';
		push @{ $c->{told} }, @{ $rows || [] };
	}
	undef $sth;
	$c->told(1);
	$c->frame('RESET plan_cache_mode');
};

$context{copy} = sub {
	my ($c) = @_;
	my $call = $c->draw_call;

	# the file's content is of no interest: what it takes to make it is
	$c->call($call, "COPY (SELECT * FROM $call->{sql}) TO '/dev/null' WITH (FORMAT " . pick(qw(text csv binary)) . ')');
};

$context{'another role'} = sub {
	my ($c) = @_;
	my $role = 'fuzz_' . pick(@{ $c->{kinds} }, @{ $c->{kinds} }, 'nobody');

	$c->frame(pick("SET ROLE $role", "SET SESSION AUTHORIZATION $role")) or return;
	$c->{stranger} = 1;
	if (chance(30)) { in_transaction($c, 'BEGIN', pick('COMMIT', 'ROLLBACK'), sub { calls($c, pick(1, 3)) }); }
	else { $c->call($c->draw_call) foreach 1 .. pick(1, 3); }
	$c->{stranger} = 0;
	delete $c->{told};
	$c->do_all('RESET SESSION AUTHORIZATION', 'RESET ROLE');
};

$context{'strange search_path'} = sub {
	my ($c) = @_;

	$c->frame('SET search_path = ' . pick("''", 'decoy, public', 'pg_temp, decoy', '"$user"', "'no such schema'", 'decoy, pg_catalog, public', 'information_schema')) or return;
	$c->frame('CREATE TEMP TABLE IF NOT EXISTS pay_payment (pay_no text, state integer)') if chance(30);
	$c->call($c->draw_call) foreach 1 .. pick(1, 3);
	$c->told(1);
	$c->frame('RESET ALL');
	$c->frame('DISCARD TEMP');
};

$context{'after DISCARD'} = sub {
	my ($c) = @_;

	$c->frame(pick('DISCARD ALL', 'DISCARD PLANS', 'DISCARD TEMP'));
	$c->hold;
	$c->call($c->draw_call) foreach 1 .. pick(1, 2);
	$c->told(1);
};

$context{timeout} = sub {
	my ($c) = @_;

	$c->frame("SET statement_timeout = '" . pick('1ms', '2ms', '5ms', '20ms') . "'") or return;
	$c->frame("SET lock_timeout = '" . pick('1ms', '5ms') . "'");
	$c->call($c->draw_call) foreach 1 .. pick(1, 2, 4);
	$c->told(1);
	$c->do_all('ROLLBACK', 'RESET ALL');
};

$context{'procedure with COMMIT'} = sub {
	my ($c) = @_;
	my ($one, $two) = ($c->draw_call, $c->draw_call);

	$c->call($one, "DO \$fuzz\$ BEGIN PERFORM * FROM $one->{sql}; " . pick('COMMIT', 'ROLLBACK', 'COMMIT AND CHAIN') . "; PERFORM * FROM $two->{sql}; " . pick('COMMIT', 'ROLLBACK', 'NULL') . '; END $fuzz$', 'frame');
};

$context{'select list'} = sub {
	my ($c) = @_;
	my $call = $c->draw_call;
	my $sql = $call->{sql};

	$c->call($call, pick("SELECT $sql", "SELECT ($sql).*", "SELECT $sql, $sql", "SELECT $sql FROM generate_series(1, 3)", "SELECT CASE WHEN n > 1 THEN to_jsonb(f) END FROM generate_series(1, 2) n, $sql f",
		"SELECT * FROM $sql LIMIT 1", "SELECT DISTINCT f FROM $sql f", "SELECT row_to_json(f), f::text FROM $sql f ORDER BY f", "SELECT * FROM ROWS FROM ($sql, generate_series(1, 3)) WITH ORDINALITY",
		"SELECT * FROM $sql f, $sql g", "SELECT array_agg(f), count(DISTINCT f::text) FILTER (WHERE f IS NOT NULL) FROM $sql f", "VALUES (1, ($sql)::text)", "TABLE fuzz.sink UNION ALL SELECT count(*) FROM $sql",
		"SELECT * FROM fuzz.sink s WHERE s.n = ANY (SELECT count(*) FROM $sql)", "SELECT * FROM $sql FOR UPDATE"), 'frame');
	$c->told(0);
};

$context{explain} = sub {
	my ($c) = @_;
	my $call = $c->draw_call;

	$c->call($call, 'EXPLAIN (' . pick('ANALYZE', 'VERBOSE', 'ANALYZE, BUFFERS, VERBOSE', 'ANALYZE, WAL, FORMAT JSON') . ") SELECT * FROM $call->{sql}");
};

$context{'security definer'} = sub {
	my ($c) = @_;
	my $call = $c->draw_call;

	$c->frame('SET ROLE fuzz_nobody') or return;
	$c->call($call, 'SELECT fuzz.definer(' . Hard::Values::quote("SELECT FROM $call->{sql}") . ')', 'frame');
	$c->frame('RESET ROLE');
};

$context{'new session'} = sub {
	my ($c) = @_;

	$c->reconnect or return;
	$c->call($c->draw_call);
	$c->told(1);
};

# The types: input, comparison, indexes, binary form.
$context{types} = sub {
	my ($c) = @_;
	my $type = pick(@{ $c->{types} });
	my @edges = map { Hard::Values::edge($type)->[0] } 1 .. 3;
	my $q = "$c->{schema}.$type";
	my $list = join ', ', map { '(' . ($_ =~ s/::\S+$/::$q/r) . ')' } @edges;

	$c->run('frame', pick("SELECT v, v::text FROM (VALUES $list) t (v) ORDER BY v", "SELECT v, count(*) FROM (VALUES $list) t (v) GROUP BY v", "SELECT v < v, v = v, v >= 'paid' FROM (VALUES $list) t (v)",
		"SELECT hashtext(v::text), min(v), max(v) FROM (VALUES $list) t (v) GROUP BY 1", "SELECT * FROM (VALUES $list) s (v) JOIN (VALUES $list) t (v) USING (v)",
		"COPY (SELECT v FROM (VALUES $list) t (v)) TO '/dev/null' (FORMAT binary)", "SELECT row_to_json(t) FROM (VALUES $list) t (v)",
		("INSERT INTO fuzz.typed_$type (v) VALUES $list") x 2,
		"COPY fuzz.typed_$type TO '$c->{directory}/$c->{name}.$type' (FORMAT binary)",
		(-e "$c->{directory}/$c->{name}.$type" ? "COPY fuzz.typed_$type FROM '$c->{directory}/$c->{name}.$type' (FORMAT binary)" : ()),
		"SELECT v, count(*) OVER (ORDER BY v) FROM fuzz.typed_$type WHERE v = (SELECT v FROM fuzz.typed_$type LIMIT 1)", "DELETE FROM fuzz.typed_$type"));
	$c->{calls}++;
	$c->{contexts}{ $c->{context} }++;
};

# A table that looks like one of ours, by name or by shape, and a trigger function of
# ours on it: anybody may do that.
$context{'look-alike table'} = sub {
	my ($c) = @_;
	my @guards = grep { $_->{returns} eq 'trigger' } @{ $c->{functions} } or return;
	my $guard = pick(@guards);
	my $like = pick(@{ $c->{tables} });
	my $name = pick(@{ $c->{tables} }, 'mine');
	# its columns, and rows for them
	my ($shape, $filled) = @{ pick(
		(['(a bigint, b bigint, c boolean, d bigint, e bigint)', "VALUES (1, 2, true, 4, 5)"]) x 2, ['(a text, b text, c text, d text, e text, f text)', "VALUES ('1', '2', '3')"],
		(["(LIKE $c->{schema}.$like)", "SELECT * FROM $c->{schema}.$like LIMIT 3"]) x 2, ["(LIKE $c->{schema}.$like INCLUDING ALL, more text)", "SELECT * FROM $c->{schema}.$like LIMIT 3"],
		["(state $c->{schema}.pay_state, note text)", "VALUES ('paying', 'x'), (NULL, 'y')"], ['(id integer)', 'VALUES (1)'], ['()', 'DEFAULT VALUES']) };
	my $level = pick('ROW', 'ROW', 'ROW', 'STATEMENT');
	my $when = pick('BEFORE', 'BEFORE', 'AFTER');
	my $events = pick('DELETE', 'DELETE', 'UPDATE', 'INSERT OR UPDATE OR DELETE', $level eq 'STATEMENT' ? 'TRUNCATE' : 'INSERT');
	my $arguments = pick('', '', "'state'", "'a'", "'state', 'note'", "''");
	my $stranger = $shape !~ /LIKE/;		# he may not read our tables

	$c->frame('SET ROLE fuzz_nobody') or return if $stranger;
	in_transaction($c, 'BEGIN', 'ROLLBACK', sub {
		my $temporary = $stranger || chance(70);
		my $table = $temporary ? $name : "fuzz.$name";

		$c->frame('CREATE ' . ($temporary ? 'TEMP ' : '') . "TABLE $table $shape") or return 0;
		$filled = "INSERT INTO $table $filled";
		$c->frame('SAVEPOINT filled');
		($c->run('dml', $filled))[0] eq '00000' or $c->frame('ROLLBACK TO filled') or return 0;
		$c->frame("CREATE TRIGGER guard $when $events ON $table FOR EACH $level EXECUTE FUNCTION $guard->{qualified}($arguments)") or return 0;
		$c->frame("SET LOCAL session_replication_role = replica") if !$stranger && chance(5);
		my ($column) = $shape =~ /\((\w+) / ? $1 : 'pay_no';
		$column = pick('state', 'taken', 'pay_no') if $shape =~ /LIKE/;
		foreach (1 .. pick(1, 3))
		{
			$c->frame('SAVEPOINT before');
			$c->call({ function => $guard }, pick("DELETE FROM $table", "DELETE FROM $table", "UPDATE $table SET $column = $column", "UPDATE $table SET $column = NULL", $filled, "TRUNCATE $table"), 'dml')
			  or $c->frame('ROLLBACK TO before') or return 0;
		}
		1;
	});
	$c->frame('RESET ROLE') if $stranger;
};

sub names { return sort keys %context; }

# How often each comes, among the others: those that make payments come most.
my %weight = (plain => 6, 'read committed' => 3, 'look-alike table' => 4, 'read only' => 1, explain => 1, 'new session' => 1, types => 1);

sub one_step
{
	my ($c, $only) = @_;
	my @names = $only ? @$only : map { ($_) x ($weight{$_} || 2) } names();

	$c->begin_step;
	$c->{context} = pick(@names);
	$c->note("step $c->{step}: $c->{context}");
	$context{ $c->{context} }->($c);
	delete $c->{told};
	if (!$c->{dbh})
	{
		$c->{stranger} = 0;
		$c->connect or return 0;
		# what it had prepared when it was cut off
		my (undef, $left) = $c->run('frame', "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE '$c->{name}/%' AND database = current_database()");
		$c->frame("ROLLBACK PREPARED '$_->{gid}'") foreach @{ $left || [] };
	}
	elsif (chance(4))
	{
		$c->look_around;
	}
	return 1;
}

1;
