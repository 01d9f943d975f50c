# What goes on beside the calls: direct DML, DDL, cancelled and terminated backends,
# and the database where everything may be broken.
package Hard::Damage;

use strict;
use warnings;

use Time::HiRes qw(time sleep);

use Hard::Contexts;
use Hard::Values qw(chance pick edge);

my $DIRTY = $Hard::Values::DIRTY;

# ---- direct DML ----

sub columns
{
	my ($c, $table) = @_;
	my (undef, $rows) = $c->run('frame', <<"SQL");
SELECT a.attname AS name, pg_catalog.format_type(a.atttypid, NULL) AS type,
	pg_catalog.format_type(a.atttypid, NULL) || coalesce(' COLLATE ' || quote_ident(c.collname), '') AS full_type
FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation AND c.collname <> 'default'
WHERE a.attrelid = to_regclass('$c->{schema}.$table') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
SQL
	return @{ $rows || [] };
}

# Which rows of a table direct DML may damage: those of one merchant, so that all
# others can be checked.
sub mine
{
	my ($c, @columns) = @_;
	my %has = map { ($_->{name} => 1) } @columns;

	return 'true' if $c->{damaged};
	return "merchant = '$DIRTY'" if $has{merchant} && $has{order_no};
	return "pay_no IN (SELECT pay_no FROM fuzz.dirty)" if $has{pay_no};
	return "merchant = '$DIRTY'" if $has{merchant};
	return "channel = 'fuzz dml'" if $has{channel};
	return "role = 'fuzz_nobody'" if $has{role};
	return 'false';
}

my %plausible = (
	state => [map { "'$_'" } qw(paying authorized capturing unknown closing failed paid closed reversed requested processing succeeded held confirming released)],
	winner => [1, 2, 3, 'NULL'], attempt => [0, 1, 2, 63, -5], pay_no => ["'00000000-0000-8000-8000-000000000000'"],
	last_seq => ['last_seq + 1', 'last_seq - 1'], seq => ['seq + 1'], amount_collected => [70, 100, 'amount'], amount_refunded => [1, 'amount'],
	due_at => ["'-infinity'", 'now()'], routes => ["'{}'", "'{1}'", "'{1,2,3}'", "'{4095}'", "'{NULL}'"], kind => ["'refund'", "'mismatch'", "'surplus'"],
);

sub new_value
{
	my ($column) = @_;

	return pick(@{ $plausible{ $column->{name} } }) if $plausible{ $column->{name} } && chance(60);
	return 'DEFAULT' if chance(5);
	return edge($column->{type})->[0];
}

# One statement upon one of our tables; also in one that never commits.
sub dml
{
	my ($c, $never) = @_;
	my $table = pick(@{ $c->{tables} });
	my @columns = columns($c, $table) or return;
	my $where = mine($c, @columns);
	my $t = "$c->{schema}.$table";
	# a case's own number is how others, whose rows are not to be damaged, are found
	my @changed = map { pick(grep { $_->{name} !~ /^(?:review|dispute)_id$/ } @columns) } 1 .. pick(1, 1, 1, 2, 3);
	my %set = map { ($_->{name} => new_value($_)) } @changed;
	my $set = join ', ', map { "\"$_\" = $set{$_}" } sort keys %set;
	my $one = "ctid = ANY (ARRAY(SELECT ctid FROM $t WHERE $where ORDER BY random() LIMIT " . pick(1, 1, 5) . '))';
	my $names = join ', ', map { "\"$_->{name}\"" } @columns;
	my $copy = join ', ', map { exists $set{ $_->{name} } && $set{ $_->{name} } ne 'DEFAULT' ? $set{ $_->{name} } : "\"$_->{name}\"" } @columns;
	my @statements = (
		("UPDATE $t SET $set WHERE $one") x 6,
		("INSERT INTO $t ($names) SELECT $copy FROM $t WHERE $one") x 3,
		"INSERT INTO $t ($names) SELECT $copy FROM $t WHERE $one ON CONFLICT DO NOTHING",
		"DELETE FROM $t WHERE $one",
		"MERGE INTO $t t USING (SELECT * FROM $t WHERE $one) s ON t.ctid = s.ctid WHEN MATCHED THEN UPDATE SET $set",
		"SELECT * FROM $t WHERE $one FOR UPDATE",
		"COPY $t TO '/dev/null' (FORMAT " . pick(qw(text csv binary)) . ')',
		"SELECT t::text, row_to_json(t) FROM $t t WHERE $one",
	);

	push @statements, "TRUNCATE $t CASCADE", "DELETE FROM $t", "UPDATE $t SET $set", "INSERT INTO $t DEFAULT VALUES" if $never;
	$c->run('dml', pick(@statements));
	$c->{calls}++;
	$c->{contexts}{ $c->{context} }++;
}

# All rows of a table by COPY, out of it and in again, on the client's side.
sub copy_in
{
	my ($c) = @_;
	my $table = pick(@{ $c->{tables} });
	my @columns = columns($c, $table) or return;
	my $t = "$c->{schema}.$table";
	my @lines;
	my $line = '';

	my ($state) = $c->run('dml', "COPY (SELECT * FROM $t WHERE " . mine($c, @columns) . ' LIMIT 3) TO STDOUT');
	return if $state ne '00000';
	push @lines, $line while $c->{dbh} && $c->{dbh}->pg_getcopydata($line) >= 0;
	foreach (@lines)
	{
		s/\t[^\t]*(?=\t)/"\t" . pick('\\N', '', '0', '-1', 'x', '{}')/e if chance(50);
	}
	($state) = $c->run('dml', "COPY $t FROM STDIN");
	return if $state ne '00000';
	$c->{dbh}->pg_putcopydata($_) foreach @lines, chance(20) ? "\\.\t\x01\n" : ();
	my $ended = $c->{dbh}->pg_putcopyend;
	$c->judge('dml', $c->{dbh}->state, $c->{dbh}->errstr, "COPY $t FROM STDIN") if $c->{dbh}->err && $c->{dbh}->state =~ /^\w{5}$/;
	$c->{calls}++;
	$c->{contexts}{ $c->{context} }++;
}

# Its step: either calls for the merchant whose rows it damages, or the damage.
sub dml_step
{
	my ($c) = @_;

	return Hard::Contexts::one_step($c) if chance(50);
	$c->begin_step;
	$c->{context} = 'direct DML';
	$c->note("step $c->{step}: direct DML");
	$c->frame("INSERT INTO fuzz.dirty SELECT pay_no FROM $c->{schema}.pay_payment WHERE merchant = '$DIRTY' ON CONFLICT DO NOTHING");
	my $never = chance(25);

	$c->frame('BEGIN');
	$c->frame('SET LOCAL session_replication_role = replica') if !$never && chance(15);
	if (chance(15)) { copy_in($c); }
	else { dml($c, $never) foreach 1 .. pick(1, 1, 2); }
	$c->call($c->draw_call) if chance(20);
	$c->frame($never ? 'ROLLBACK' : 'COMMIT');
	delete $c->{told};
	$c->connect if !$c->{dbh};
	return 1;
}

# ---- DDL that is undone ----

sub ddl_commands
{
	my ($c, $table) = @_;
	my $t = "$c->{schema}.$table";
	my @columns = columns($c, $table) or return ();
	my $column = pick(@columns);
	my $name = "\"$column->{name}\"";
	my $role = 'fuzz_' . pick(@{ $c->{kinds} });
	my $function = pick(grep { $_->{returns} ne 'trigger' } @{ $c->{functions} });
	my $result = pick(@{ $c->{results} });

	# [what to do, what undoes it]
	return (
		["ALTER TABLE $t ADD COLUMN fuzz_n integer", "ALTER TABLE $t DROP COLUMN fuzz_n"],
		["ALTER TABLE $t ADD COLUMN fuzz_t text NOT NULL DEFAULT 'x'", "ALTER TABLE $t DROP COLUMN fuzz_t"],
		(["ALTER TABLE $t ADD COLUMN fuzz_u uuid DEFAULT gen_random_uuid()", "ALTER TABLE $t DROP COLUMN fuzz_u"]) x 3,
		["ALTER TABLE $t ADD COLUMN fuzz_g text GENERATED ALWAYS AS ('x' || 'y') STORED", "ALTER TABLE $t DROP COLUMN fuzz_g"],
		["ALTER TABLE $t ALTER COLUMN $name SET STATISTICS 10", "ALTER TABLE $t ALTER COLUMN $name SET STATISTICS -1"],
		["ALTER TABLE $t ALTER COLUMN $name TYPE $column->{full_type} USING $name", 'SELECT 1'],
		["ALTER TABLE $t SET (fillfactor = 50)", "ALTER TABLE $t RESET (fillfactor)"],
		["ALTER TABLE $t SET UNLOGGED", "ALTER TABLE $t SET LOGGED"],
		["ALTER TABLE $t RENAME COLUMN $name TO fuzz_renamed", "ALTER TABLE $t RENAME COLUMN fuzz_renamed TO $name"],
		["ALTER TABLE $t RENAME TO fuzz_renamed", "ALTER TABLE $c->{schema}.fuzz_renamed RENAME TO $table"],
		["CREATE INDEX fuzz_index ON $t ($name)", "DROP INDEX $c->{schema}.fuzz_index"],
		["CREATE INDEX CONCURRENTLY fuzz_index ON $t ($name)", "DROP INDEX $c->{schema}.fuzz_index"],
		["CREATE INDEX fuzz_index ON $t (($name\::text)) WHERE $name IS NOT NULL", "DROP INDEX CONCURRENTLY $c->{schema}.fuzz_index"],
		["REINDEX TABLE $t", 'SELECT 1'],
		["REINDEX TABLE CONCURRENTLY $t", 'SELECT 1'],
		["VACUUM FULL $t", 'SELECT 1'],
		["VACUUM (ANALYZE, FREEZE) $t", 'SELECT 1'],
		["ANALYZE $t", 'SELECT 1'],
		["CLUSTER $t USING ${table}_pkey", "ALTER TABLE $t SET WITHOUT CLUSTER"],
		["ALTER TABLE $t DISABLE TRIGGER USER", "ALTER TABLE $t ENABLE TRIGGER USER"],
		["CREATE TRIGGER fuzz_trigger BEFORE INSERT OR UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION fuzz.does_nothing()", "DROP TRIGGER fuzz_trigger ON $t"],
		["CREATE TRIGGER fuzz_trigger AFTER INSERT OR UPDATE OR DELETE ON $t FOR EACH STATEMENT EXECUTE FUNCTION fuzz.does_nothing()", "DROP TRIGGER fuzz_trigger ON $t"],
		["CREATE RULE fuzz_rule AS ON UPDATE TO $t DO ALSO NOTHING", "DROP RULE fuzz_rule ON $t"],
		["ALTER TABLE $t ENABLE ROW LEVEL SECURITY", "ALTER TABLE $t DISABLE ROW LEVEL SECURITY"],
		["ALTER TABLE $t REPLICA IDENTITY FULL", "ALTER TABLE $t REPLICA IDENTITY " . ($table eq 'pay_task' ? 'FULL' : 'DEFAULT')],
		["REVOKE EXECUTE ON FUNCTION $function->{signature} FROM $role",
			# another client may have given it the kind for one merchant
			"SELECT $c->{schema}.pay_revoke('$role'), $c->{schema}.pay_grant('$role', substr('$role', 6))"],
		["GRANT ALL ON TABLE $t TO $role", "REVOKE ALL ON TABLE $t FROM $role"],
		["GRANT SELECT ON $c->{schema}.pay_payment TO PUBLIC", "REVOKE SELECT ON $c->{schema}.pay_payment FROM PUBLIC"],
		["CREATE STATISTICS fuzz.fuzz_statistics ON $name, ctid FROM $t", 'DROP STATISTICS IF EXISTS fuzz.fuzz_statistics'],
		["ALTER TABLE $t ADD CONSTRAINT fuzz_check CHECK ($name IS NULL OR $name IS NOT NULL) NOT VALID", "ALTER TABLE $t DROP CONSTRAINT fuzz_check"],
		["CREATE TABLE fuzz.child () INHERITS ($t)", 'DROP TABLE fuzz.child'],
		["ALTER FUNCTION $function->{signature} SET work_mem = '1MB'", "ALTER FUNCTION $function->{signature} RESET work_mem"],
		["ALTER FUNCTION $function->{signature} COST 1000", "ALTER FUNCTION $function->{signature} COST 1"],
		["COMMENT ON TYPE $c->{schema}.$result IS 'fuzz'", 'SELECT 1'],
		["SELECT $c->{schema}.pay_install()", 'SELECT 1'],
		["BEGIN; DROP EXTENSION pay_idem CASCADE; ROLLBACK", 'ROLLBACK'],
		["BEGIN; TRUNCATE $t CASCADE; ROLLBACK", 'ROLLBACK'],
		["BEGIN; ALTER TABLE $t DROP COLUMN $name CASCADE; ROLLBACK", 'ROLLBACK'],
		["BEGIN; DROP TABLE $t CASCADE; ROLLBACK", 'ROLLBACK'],
		["BEGIN; ALTER TYPE $c->{schema}.$result ADD ATTRIBUTE fuzz_attribute integer CASCADE; SELECT pg_sleep(0.01); ROLLBACK", 'ROLLBACK'],
	);
}

# What undoes damage is tried until it is done, whoever cancels it.
sub undo
{
	my ($c, $command) = @_;
	my $until = time + 60;

	while (time < $until)
	{
		my ($state) = $c->run('ddl', $command);

		return 1 if $state eq '00000' || $state =~ /^42(?!501)|^3F000$|^2BP01$|^55000$/;
		sleep 0.1;
		$c->connect_late if !$c->{dbh};
	}
	$c->find('what a DDL client did could not be undone', $command, $command);
	return 0;
}

sub ddl_step
{
	my ($c) = @_;

	$c->begin_step;
	$c->{context} = 'DDL';
	$c->note("step $c->{step}: DDL");
	my $table = pick(@{ $c->{tables} });
	my @commands = ddl_commands($c, $table);

	if (@commands)
	{
		my ($do, $undo) = @{ pick(@commands) };

		$c->run('ddl', $do);
		$c->{calls}++;
		$c->{contexts}{DDL}++;
		sleep(rand(0.1));
		$c->call($c->draw_call(sub { $_[0]{name} ne 'pay_install' })) if chance(20) && $c->{dbh};
		$c->run('frame', 'ROLLBACK') if $c->{dbh};
		$c->connect_late if !$c->{dbh};
		undo($c, $undo);
	}
	delete $c->{told};
	sleep(rand(0.1));
	return 1;
}

# ---- cancelled and terminated ----

sub killer_step
{
	my ($c) = @_;

	$c->begin_step;
	$c->{context} = 'cancel, terminate';
	sleep(0.05 + rand(0.3));
	my $function = chance(90) ? 'pg_cancel_backend' : 'pg_terminate_backend';
	$c->frame("SELECT $function(pid) FROM pg_stat_activity WHERE application_name ~ '^(caller|dml|ddl|chaos)' AND state <> 'idle' ORDER BY random() LIMIT 1");
	$c->{calls}++;
	$c->{contexts}{ $c->{context} }++;
	$c->connect if !$c->{dbh};
	return 1;
}

# ---- the database where everything may be broken ----

sub chaos_damage
{
	my ($c) = @_;
	my $table = pick(@{ $c->{tables} });
	my $t = "$c->{schema}.$table";
	my @columns = columns($c, $table) or return 'SELECT 1';
	my $column = pick(@columns);
	my $name = "\"$column->{name}\"";
	my $result = pick(@{ $c->{results} });
	my (undef, $attributes) = $c->run('frame', "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('$c->{schema}.$result') AND NOT attisdropped");
	my $attribute = '"' . ($attributes && @$attributes ? pick(@$attributes)->{attname} : 'decision') . '"';
	my (undef, $constraints) = $c->run('frame', "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass('$t')");
	my $constraint = '"' . ($constraints && @$constraints ? pick(@$constraints)->{conname} : 'x') . '"';
	my (undef, $indexes) = $c->run('frame', "SELECT indexrelid::regclass AS name FROM pg_index WHERE indrelid = to_regclass('$t')");
	my $index = $indexes && @$indexes ? pick(@$indexes)->{name} : 'x';

	return pick(
		("ALTER TABLE $t ALTER COLUMN $name DROP NOT NULL") x 4,
		"ALTER TABLE $t DROP CONSTRAINT $constraint CASCADE", "ALTER TABLE $t DROP CONSTRAINT $constraint CASCADE",
		"DROP INDEX $index CASCADE",
		"ALTER TABLE $t DROP COLUMN $name CASCADE",
		"ALTER TABLE $t ALTER COLUMN $name TYPE text USING $name\::text", "ALTER TABLE $t ALTER COLUMN $name TYPE integer USING 1",
		"ALTER TABLE $t ALTER COLUMN $name TYPE bytea USING '\\x00'",
		"ALTER TABLE $t RENAME COLUMN $name TO fuzz_renamed",
		"ALTER TABLE $t RENAME TO fuzz_renamed",
		"ALTER TABLE $t DISABLE TRIGGER ALL", "ALTER TABLE $t DISABLE TRIGGER ALL",
		"DROP TABLE $t CASCADE", "DROP TABLE $t CASCADE; CREATE TABLE $t (a integer, b text)", "DROP TABLE $t CASCADE; CREATE VIEW $t AS SELECT 1 AS a",
		"ALTER TABLE $t RENAME TO ${table}_old; CREATE TABLE $t (LIKE ${t}_old INCLUDING ALL) PARTITION BY LIST ($name)",
		"ALTER TABLE $t SET UNLOGGED", "TRUNCATE $t CASCADE",
		"CREATE TABLE fuzz.child () INHERITS ($t)",
		("ALTER TYPE $c->{schema}.$result ALTER ATTRIBUTE $attribute TYPE " . pick(qw(text bigint integer boolean uuid)) . ' CASCADE') x 3,
		"ALTER TYPE $c->{schema}.$result ADD ATTRIBUTE fuzz integer CASCADE", "ALTER TYPE $c->{schema}.$result DROP ATTRIBUTE $attribute CASCADE",
		"ALTER TYPE $c->{schema}.$result ADD ATTRIBUTE fuzz integer CASCADE; ALTER TYPE $c->{schema}.$result DROP ATTRIBUTE fuzz CASCADE",
		"ALTER TYPE $c->{schema}.$result RENAME ATTRIBUTE $attribute TO fuzz CASCADE",
		"CREATE OR REPLACE FUNCTION fuzz.takes_none() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER fuzz_none BEFORE INSERT OR UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION fuzz.takes_none()",
		"CREATE TRIGGER fuzz_calls AFTER INSERT OR UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION fuzz.calls()",
		"ALTER EXTENSION pay_idem DROP TYPE $c->{schema}.$result", "ALTER TABLE $t OWNER TO fuzz_nobody",
		"ALTER TABLE $t ALTER COLUMN $name SET DEFAULT NULL", "ALTER TABLE $t FORCE ROW LEVEL SECURITY, ENABLE ROW LEVEL SECURITY, OWNER TO fuzz_nobody");
}

# Damages of the whole, with calls in between, in one session; the other session
# calls meanwhile. Then both begin anew with an extension that is dropped and made
# again, which their backends live through.
sub chaos_step
{
	my ($c) = @_;

	if ($c->{name} eq 'chaos1' && $c->{step} % 60 == 0)
	{
		$c->{context} = 'DROP and CREATE EXTENSION';
		$c->note('from the beginning');
		reset_chaos($c);
	}
	$c->hold;
	$c->connect if !$c->{dbh};
	if ($c->{name} eq 'chaos1' && $c->{step} % 60 > 15 && chance(12))
	{
		$c->begin_step;
		$c->{context} = 'damage';
		$c->note("step $c->{step}: damage");
		$c->run('ddl', chaos_damage($c)) foreach 1 .. pick(1, 1, 2);
		$c->{calls}++;
		$c->{contexts}{damage}++;
		$c->connect if !$c->{dbh};
	}
	elsif ($c->{step} % 60 > 10 && chance(25))
	{
		$c->begin_step;
		$c->{context} = 'direct DML';
		$c->note("step $c->{step}: direct DML");
		$c->frame('BEGIN');
		$c->frame('SET LOCAL session_replication_role = replica') if chance(50);
		dml($c, 0);
		$c->frame(chance(85) ? 'COMMIT' : 'ROLLBACK');
		$c->connect if !$c->{dbh};
	}
	else
	{
		Hard::Contexts::one_step($c);
	}
	$c->frame('SELECT pg_advisory_unlock_all()') if $c->{dbh};
	return 1;
}

# Tried until it is done, whoever cancels it.
sub reset_chaos
{
	my ($c) = @_;
	my $again;

	$c->frame('SELECT pg_advisory_lock(1)') or return 0;
	$c->{contexts}{ $c->{context} }++;
	$c->{calls}++;
	$c->{known} = [];
	$c->{step} ||= 1;
	if (chance(30))
	{
		$c->run('ddl', 'BEGIN; DROP EXTENSION pay_idem CASCADE; ROLLBACK');
		$c->frame('ROLLBACK');
	}
	foreach (1 .. 10)
	{
		my (undef, $left) = $c->run('frame', "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'chaos%' AND database = current_database()");

		$c->frame("ROLLBACK PREPARED '$_->{gid}'") foreach @{ $left || [] };
		$c->frame($_) foreach 'DROP EXTENSION IF EXISTS pay_idem CASCADE', "DROP SCHEMA IF EXISTS $c->{schema} CASCADE", 'DROP TABLE IF EXISTS fuzz.child',
		  "CREATE SCHEMA $c->{schema}", "GRANT USAGE ON SCHEMA $c->{schema} TO PUBLIC";
		if (chance(30))
		{
			$c->run('ddl', "BEGIN; CREATE EXTENSION pay_idem SCHEMA $c->{schema}; SELECT $c->{schema}.pay_install(); ROLLBACK");
			$c->frame('ROLLBACK');
		}
		$again = $c->frame("CREATE EXTENSION pay_idem SCHEMA $c->{schema}") && $c->frame("SELECT $c->{schema}.pay_install()");
		last if $again || $c->over;
		$c->frame('ROLLBACK');
		$c->connect && $c->frame('SELECT pg_advisory_lock(1)') if !$c->{dbh};
	}
	if ($again)
	{
		$c->frame("SELECT $c->{schema}.pay_grant('fuzz_$_', '$_')") foreach @{ $c->{kinds} };
		$c->frame("UPDATE $c->{schema}.pay_channel SET schedule = '{100ms,200ms,1s}' WHERE channel = 'test'");
	}
	$c->frame('SELECT pg_advisory_unlock_all()');
	return $again;
}

our %STEP = (caller => \&Hard::Contexts::one_step, dml => \&dml_step, ddl => \&ddl_step, killer => \&killer_step, chaos => \&chaos_step);

1;
