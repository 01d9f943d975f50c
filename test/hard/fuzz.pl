#!/usr/bin/perl
#
# test/hard/fuzz.pl: calls every function of the extension, in every place where a
# call can stand in SQL, with good and bad arguments, beside direct DML, DDL,
# cancelled and terminated backends; and in a second database where everything that
# the extension relies on is broken. Then says what ran, and what should not have
# happened. In the server that test/with-server made, called by test/hard/inside.
#
#   SEED            what is drawn; without it, another one each time
#   HARD_SECONDS    how long (600)
#   HARD_ONLY       these clients alone, as in caller2,ddl1
#   HARD_DIRECTORY  where the logs go
#
# The functions come from pg_proc, so new ones and new arguments are covered.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use DBI;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(time sleep);

use Hard::Client;
use Hard::Damage;
use Hard::Judge;

my $seed = $ENV{SEED} // int(rand(2**31));
my $seconds = $ENV{HARD_SECONDS} || 600;
my $directory = $ENV{HARD_DIRECTORY} or die "HARD_DIRECTORY is not set\n";
my @names = qw(caller1 caller2 caller3 dml1 ddl1 killer1 chaos1 chaos2);
my $source = $ENV{PAY_SOURCE};
my ($passed, $failed) = (0, 0);

@names = split /,/, $ENV{HARD_ONLY} if $ENV{HARD_ONLY};
$| = 1;

# The seed comes first and last, to do it again.
print "seed $seed, $seconds seconds, clients: @names\n";

# ---- databases ----

sub psql
{
	my ($database, @arguments) = @_;

	system('psql', '-XqAt', '--set=ON_ERROR_STOP=1', "--dbname=$database", @arguments) == 0 or die "psql in $database failed\n";
}

sub connect_to
{
	my ($database) = @_;

	foreach (1 .. 50)
	{
		my $dbh = eval { DBI->connect("dbi:Pg:dbname=$database;application_name=judge", undef, undef,
				{ PrintError => 0, RaiseError => 1, AutoCommit => 1, pg_placeholder_dollaronly => 1 }) };

		return $dbh if $dbh;
		sleep 0.2;
	}
	die "cannot connect to $database: $@\n";
}

# Kinds of roles, as the CHECK of pay_grantee has them and pay_grant() takes them; a role
# of each.
sub make_roles
{
	my ($dbh, $schema) = @_;
	my $quoted = $dbh->selectcol_arrayref(q{SELECT DISTINCT m[1] FROM pg_constraint, regexp_matches(pg_get_constraintdef(oid), '''(\w+)''', 'g') m
		WHERE contype = 'c' AND conrelid = ($1 || '.pay_grantee')::regclass ORDER BY 1}, undef, $schema);

	foreach my $kind (@$quoted, 'nobody')
	{
		$dbh->do("CREATE ROLE fuzz_$kind LOGIN") if !$dbh->selectrow_array('SELECT 1 FROM pg_roles WHERE rolname = $1', undef, "fuzz_$kind");
		eval { $dbh->do("SELECT $schema.pay_grant(role => 'fuzz_$kind', kind => '$kind')") };
	}
}

sub make_database
{
	my ($database, $schema) = @_;

	psql('postgres', '-c', "CREATE DATABASE $database");
	psql('postgres', '-c', "ALTER DATABASE $database SET $_")
	  foreach "client_min_messages = error", "statement_timeout = '20s'", "lock_timeout = '3s'", "idle_in_transaction_session_timeout = '60s'",
	  "search_path = $schema, public";
	psql($database, '-c', "CREATE SCHEMA IF NOT EXISTS $schema", '-c', "GRANT USAGE ON SCHEMA $schema TO PUBLIC", '-c', 'CREATE EXTENSION amcheck SCHEMA public',
		'-c', "CREATE EXTENSION pay_idem SCHEMA $schema", '-c', "SELECT $schema.pay_install()", '-f', "$FindBin::Bin/setup.sql");

	my $dbh = connect_to($database);
	make_roles($dbh, $schema);
	# tasks that are due soon, and a channel and resources to damage
	$dbh->do("UPDATE $schema.pay_channel SET schedule = '{100ms,200ms,400ms,1s,2s,4s}' WHERE channel = 'test'");
	$dbh->do("INSERT INTO $schema.pay_channel (channel, method, resubmit_after, can_resubmit, schedule, timeout)
		VALUES ('fuzz', 'once', '0', false, '{100ms}', '2 seconds'), ('fuzz', 'soon', '0', true, '{100ms,1s}', '1 hour'), ('fuzz dml', 'qr', '0', true, '{1s}', '1 hour')");
	$dbh->do("INSERT INTO $schema.pay_resource (resource, capacity, external, merchant) SELECT r, c, e, m FROM (VALUES ('stock', 5, false), ('room', NULL, true)) t (r, c, e), unnest('{\"\",m1,m2,dml}'::text[]) m");
	$dbh->disconnect;
}

# What there is to call, as pg_proc has it.
sub discover
{
	my ($database, $schema) = @_;
	my $dbh = connect_to($database);
	my $of_extension = "JOIN pg_depend d ON d.objid = o.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'pay_idem'";

	# so that every type is named with its schema
	$dbh->do("SET search_path = ''");
	my $functions = $dbh->selectall_arrayref(<<"SQL", { Slice => {} });
SELECT o.proname AS name, o.oid::regprocedure::text AS signature, '$schema.' || quote_ident(o.proname) AS qualified, o.provolatile AS volatile, (SELECT lanname FROM pg_language l WHERE l.oid = o.prolang) AS language, o.proretset AS set,
	o.prorettype::regtype::text AS returns, o.pronargs AS count, o.pronargs - o.pronargdefaults AS required, o.proargnames[1:o.pronargs] AS names,
	ARRAY(SELECT format_type(t, NULL) FROM unnest(o.proargtypes) WITH ORDINALITY u (t, n) ORDER BY n) AS types
FROM pg_proc o $of_extension AND d.classid = 'pg_proc'::regclass WHERE o.prokind = 'f'
	AND NOT 'internal'::regtype = ANY (o.proargtypes)	-- cannot be called from SQL; the types' binary form is
	AND o.proname !~ '^pay_(declared|missing_grants|install_(?!plan\$))'	-- nobody is given these; pay_install() calls them
ORDER BY 1, 2
SQL
	foreach my $f (@$functions)
	{
		$f->{weight} = $f->{volatile} eq 'i' || $f->{name} =~ /install|grant/ ? 1 : $f->{volatile} eq 's' ? 4 : $f->{name} =~ /prepay|callback/ ? 12 : 8;
		$f->{arguments} = [ map { [$f->{names} ? $f->{names}[$_] // '' : '', $f->{types}[$_], $_ >= $f->{required}] } 0 .. $f->{count} - 1 ];
	}
	my %found = (
		functions => $functions,
		tables => $dbh->selectcol_arrayref("SELECT relname FROM pg_class WHERE relnamespace = '$schema'::regnamespace AND relkind = 'r' AND relname LIKE 'pay\\_%' ORDER BY 1"),
		types => $dbh->selectcol_arrayref("SELECT typname FROM pg_type o $of_extension AND d.classid = 'pg_type'::regclass WHERE o.typtype = 'b' AND o.typelem = 0 ORDER BY 1"),
		results => $dbh->selectcol_arrayref("SELECT typname FROM pg_type o $of_extension AND d.classid = 'pg_type'::regclass WHERE o.typtype = 'c' AND o.typname ~ '_result\$' ORDER BY 1"),
		kinds => $dbh->selectcol_arrayref("SELECT kind FROM $schema.pay_grantee WHERE role = 'fuzz_' || kind ORDER BY 1"),
		force_parallel => $dbh->{pg_server_version} >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode',
	);
	$dbh->do("CREATE TABLE fuzz.typed_$_ (v $schema.$_)"), $dbh->do("CREATE INDEX ON fuzz.typed_$_ (v)") foreach @{ $found{types} };
	$dbh->disconnect;
	return \%found;
}

# ---- clients ----

sub run_client
{
	my ($name, $found, $began) = @_;
	my ($kind) = $name =~ /^([a-z]+)/;
	my $c = Hard::Client->new(%{ $found->{ $kind eq 'chaos' ? 'chaos' : 'fuzz' } }, name => $name, seed => $seed, directory => $directory, began => $began,
		hold => $kind eq 'chaos' ? 'SELECT pg_advisory_lock_shared(1)' : undef, deadline => $began + $seconds, damaged => $kind eq 'chaos', database => $kind eq 'chaos' ? 'chaos' : 'fuzz', schema => $kind eq 'chaos' ? 'shop' : 'public');
	my $step = $Hard::Damage::STEP{$kind} or die "no such client: $name\n";

	$c->note("seed $seed, client $name");
	$c->connect;
	until ($c->over)
	{
		$step->($c) or last;
		$c->save if $c->{step} % 50 == 0;
	}
	$c->save;
	$c->disconnect;
}

my %pids;
my $began;

sub run_clients
{
	my ($found) = @_;

	$began = time;
	foreach my $name (@names)
	{
		my $pid = fork // die "fork: $!\n";

		if (!$pid)
		{
			eval { run_client($name, $found, $began); 1 } or warn "$name: $@";
			POSIX::_exit($@ ? 1 : 0);
		}
		$pids{$pid} = $name;
	}
	# as long as statement_timeout and undoing may take
	my $until = $began + $seconds + 100;
	while (%pids && time < $until)
	{
		my $pid = waitpid(-1, POSIX::WNOHANG());

		if ($pid > 0)
		{
			my $name = delete $pids{$pid};

			count($? == 0, "client $name ended by itself", 'its own program failed') if $name;
			next;
		}
		sleep 0.2;
	}
	foreach my $pid (keys %pids)
	{
		kill KILL => $pid;
		waitpid($pid, 0);
		count(0, "client $pids{$pid} ended", "its last statement hangs: see $directory/$pids{$pid}.sql");
	}
}

# ---- what came of it ----

sub count
{
	my ($ok, $what, $why) = @_;

	$ok ? $passed++ : $failed++;
	print $ok ? "ok: $what\n" : "NOT OK: $what: $why\n";
	return $ok;
}

sub results
{
	my @results;

	foreach my $name (@names)
	{
		open(my $in, '<', "$directory/$name.json") or do { count(0, "results of $name", $!); next };
		local $/;
		push @results, JSON::PP::decode_json(<$in>);
	}
	return @results;
}

sub by_count { my ($of) = @_; return sort { $of->{$b} <=> $of->{$a} || $a cmp $b } keys %$of; }

# One line per function: how often it was called, and what came of it.
sub print_tally
{
	my ($found, @results) = @_;
	my (%tally, %contexts, $calls, $statements, $lost);

	foreach my $r (@results)
	{
		$calls += $r->{calls} || 0;
		$statements += $r->{statements};
		$lost += $r->{lost};
		$contexts{$_} += $r->{contexts}{$_} foreach keys %{ $r->{contexts} };
		foreach my $function (keys %{ $r->{tally} })
		{
			$tally{$function}{$_} += $r->{tally}{$function}{$_} foreach keys %{ $r->{tally}{$function} };
		}
	}
	printf "\n%-28s %8s  %s\n", 'function', 'calls', 'SQLSTATE and how often';
	foreach my $function (sort keys %tally)
	{
		my $of = $tally{$function};
		my $all = 0;

		$all += $_ foreach values %$of;
		printf "%-28s %8d  %s\n", $function, $all, join ' ', map { ($_ eq '00000' ? 'ok' : $_) . ":$of->{$_}" } by_count($of);
	}
	printf "\n%-28s %8s\n", 'context', 'calls';
	printf "%-28s %8d\n", $_, $contexts{$_} foreach by_count(\%contexts);
	printf "\n%d calls, %d statements, %d connections lost, %.1f minutes\n\n", $calls, $statements, $lost, (time - $began) / 60;

	return if $ENV{HARD_ONLY};
	my @silent = grep { !$tally{$_} } map { $_->{name} } @{ $found->{functions} };
	count(!@silent, 'every function was called', "@silent");
	my @unused = grep { !$contexts{$_} } Hard::Contexts::names();
	count(!@unused, 'in every context', join ', ', @unused);
	my @never_ok = grep { !$tally{$_}{'00000'} } grep { /^pay_(prepay|callback|transition|refund|query|claim)$/ } map { $_->{name} } @{ $found->{functions} };
	count(!@never_ok, 'what an application calls was answered', "@never_ok");
}

sub print_findings
{
	my (@results) = @_;
	my %by_what;

	foreach my $finding (map { @{ $_->{findings} } } @results)
	{
		my $known = $by_what{ $finding->{what} } ||= $finding;

		$known->{total} += $finding->{count};
		$known->{after} = $finding->{after} if $finding->{after} < $known->{after};
	}
	foreach my $f (sort { $a->{after} <=> $b->{after} } values %by_what)
	{
		print "\n$f->{why}, $f->{total} times, first after $f->{after} s: client $f->{client}, step $f->{step}, context $f->{context}\n  $f->{message}\n  $f->{sql}\n";
	}
	count(!%by_what, 'every error was one that is documented', keys(%by_what) . ' kinds that are not');
}

sub print_reports
{
	my ($title, $found) = @_;

	print "\n$title, $found->{$_}{count} times: $_\n$found->{$_}{text}\n" foreach sort keys %$found;
	return count(!%$found, "no $title", keys(%$found) . ' kinds');
}

# What a transaction left that its client could not end.
sub end_prepared
{
	my ($database) = @_;
	my $dbh = connect_to($database);

	$dbh->do("SET statement_timeout = 0");
	$dbh->do('ROLLBACK PREPARED ' . $dbh->quote($_)) foreach @{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts WHERE database = current_database()') };
	$dbh->disconnect;
}

sub check_tables
{
	my $dbh = connect_to('fuzz');
	my $installed = eval { $dbh->do('SET statement_timeout = 0'); $dbh->do('SET lock_timeout = 0'); $dbh->do('SELECT public.pay_install()'); 1 };

	count($installed, 'pay_install() after all that', $@ // '');
	psql('fuzz', '-c', 'SET statement_timeout = 0', '-c', 'CREATE SCHEMA storm; CREATE TABLE storm.answer (order_no text, called text, decision text)',
		'-f', "$source/test/fire/identity.sql", '-f', "$source/test/fire/replay.sql", '-f', "$source/test/storm/check.sql", '-f', "$FindBin::Bin/after.sql");
	my $violations = $dbh->selectall_arrayref(q{SELECT "check", count(*), min(pay_no::text), min(what) FROM hard.violation GROUP BY 1 ORDER BY 1});
	print "violated: $_->[0], $_->[1] times: payment $_->[2]: $_->[3]\n" foreach @$violations;
	# all rows of those payments, since the server goes away
	foreach my $pay_no (@$violations ? @{ $dbh->selectcol_arrayref('SELECT DISTINCT pay_no FROM hard.violation LIMIT 20') } : ())
	{
		system('psql', '-Xx', '--dbname=fuzz', '--log-file', "$directory/violations", '--output=/dev/null', map { ('-c', $_) } "SELECT * FROM hard.violation WHERE pay_no = '$pay_no'",
			map { "SELECT '$_' AS \"table\", * FROM $_ WHERE pay_no = '$pay_no'" } qw(pay_payment pay_attempt pay_event pay_refund pay_review));
	}
	count(!@$violations, 'the tables keep every promise', @$violations . ' do not hold');
	my ($payments, $dirty) = $dbh->selectrow_array('SELECT (SELECT count(*) FROM pay_payment), (SELECT count(*) FROM hard.dirty)');
	print "$payments payments, $dirty of them damaged on purpose\n";
	$dbh->disconnect;
}

# amcheck: rows are readable, indexes have every row.
sub check_files
{
	my $dbh = connect_to('fuzz');
	my @wrong;

	$dbh->do('SET statement_timeout = 0');
	my $tables = $dbh->selectcol_arrayref(q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 'pay\_%'});
	foreach my $table (@$tables)
	{
		my $rows = eval { $dbh->selectall_arrayref("SELECT blkno, offnum, attnum, msg FROM public.verify_heapam('$table')") };

		push @wrong, $@ || map { "$table: block $_->[0] row $_->[1]: $_->[3]" } @$rows if $@ || @$rows;
		foreach my $index (@{ $dbh->selectcol_arrayref("SELECT indexrelid::regclass FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = c.relam
			WHERE indrelid = '$table'::regclass AND amname = 'btree' AND indisvalid") })
		{
			eval { $dbh->do("SELECT public.bt_index_parent_check('$index', true, true)"); 1 } or push @wrong, "$index: $@";
		}
	}
	count(@$tables >= 10 && !@wrong, 'amcheck of ' . @$tables . ' tables and their indexes', "@wrong");
	$dbh->disconnect;
}

make_database('fuzz', 'public');
make_database('chaos', 'shop');
my %found = (fuzz => discover('fuzz', 'public'), chaos => discover('chaos', 'shop'));
run_clients(\%found);
end_prepared($_) foreach qw(fuzz chaos);
my @results = results();
print_tally($found{fuzz}, @results);
eval { check_tables(); 1 } or count(0, 'the tables can be checked', $@);
eval { check_files(); 1 } or count(0, 'the files can be checked', $@);
print_findings(@results);
print_reports('report of a sanitizer', Hard::Judge::reports($directory));
print_reports('crash or internal error in the server\'s log', Hard::Judge::crashes("$ENV{PGHOST}/log", $directory));
print "\nseed $seed\n";
printf "%d passed, %d failed\n", $passed, $failed;
exit($failed ? 1 : 0);
