# make installcheck passes on servers that nobody set up for it: another superuser
# than postgres, peer authentication, no prepared transactions, another encoding,
# language and time; each test alone and in any order, after a test that fails, after a
# run that was killed. Where it cannot run it says why.
#
# A handful of tests that between them use roles, reviews, texts and times stands for
# all; make test-alone runs each by itself, make test all of them in both orders.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @regress = qw(types refunds numbers lookalikes holds 00_install);		# not in the order of their names
my @isolation = qw(iso_savepoint iso_grant iso_claim_lease);
my ($node, $out);

# A copy of what installcheck reads, to fill with results and with tests that fail.
my $tree = PostgreSQL::Test::Utils::tempdir();
system_or_bail('cp', '-R', map({ "$FindBin::Bin/../../$_" } qw(Makefile pay_idem.control expected test)), $tree);
chdir $tree or die $!;

sub make_installcheck
{
	my (%o) = @_;
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGUSER} = $o{user} if $o{user};
	my $rc = IPC::Run::run(
		[ 'make', '-s', 'installcheck', 'REGRESS=' . join(' ', @{ $o{regress} || [] }), 'ISOLATION=' . join(' ', @{ $o{isolation} || [] }), @{ $o{more} || [] } ],
		'<', \undef, '>&', \$out);
	return $rc;
}

# What passed and what did not, in their order; "test NAME ... ok" up to PostgreSQL
# 15, "ok 1 - NAME" since 16.
sub outcome
{
	my @lines;

	foreach (split /\n/, $out)
	{
		push @lines, ($2 eq 'ok' ? '' : 'not ') . $1 if /^test (\w+) .*\.\.\. (ok|FAILED)/;
		push @lines, ($1 || '') . $2 if /^(not )?ok \d+ +- (\w+)/;
	}
	return join ' ', @lines;
}

sub passes
{
	my ($name, %o) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $rc = make_installcheck(%o);
	my $ok = is(($rc ? '' : 'fails: ') . outcome(), join(' ', @{ $o{regress} || [] }, @{ $o{isolation} || [] }), $name);

	return $ok if $ok;
	diag $out;
	foreach my $diffs (grep { -e } qw(regression.diffs output_iso/regression.diffs))
	{
		diag slurp_file($diffs);
	}
	return 0;
}

sub fill
{
	my ($file, $text) = @_;

	open my $f, '>', $file or die "$file: $!";
	print $f $text;
	close $f;
	return;
}

# ---- peer authentication, another superuser, nothing prepared ----

my $me = getpwuid($<);
$ENV{PGUSER} = 'dba';
$node = PostgreSQL::Test::Cluster->new('peer');
$node->init(extra => [qw(-U dba --encoding UTF8 --locale C.UTF-8)]);
fill($node->data_dir . '/pg_hba.conf', "local all all peer map=us\n");
fill($node->data_dir . '/pg_ident.conf', "us $me dba\nus $me clerk\nus $me $me\n");
$node->append_conf('postgresql.conf', "max_prepared_transactions = 0\n");
$node->start;
# What a role sets is not the tests'.
$node->safe_psql('postgres', <<'SQL');
	CREATE ROLE clerk LOGIN;
	ALTER ROLE dba SET default_transaction_isolation = 'serializable';
	ALTER ROLE dba SET search_path = 'pg_catalog';
	ALTER ROLE dba SET lock_timeout = '1ms';
SQL

passes('peer: in an order of their own', regress => \@regress, isolation => \@isolation);
passes('peer: once more, a test alone', regress => ['refunds']);
passes('peer: a spec alone', isolation => ['iso_savepoint']);

# ---- what it says where it cannot run ----

ok(!make_installcheck(user => $me), "no role $me: fails");
like($out, qr/^make installcheck: cannot connect to a server as $me:\n.*role "$me" does not exist\n.*PGUSER=/m, '... and names PGUSER');
ok(!make_installcheck(user => 'clerk'), 'no superuser: fails');
like($out, qr/^make installcheck: clerk is not a superuser of this server\. .*PGUSER=/m, '... and names PGUSER');

# ---- tests that fail ----

# One that fails; and one that breaks off before its end, so that what it made stays.
fill('test/sql/fails.sql', "\\i test/sql/include/begin.sql\nCREATE SCHEMA refunds_test;\nCREATE ROLE regress_lookalikes_user;\n");
fill('expected/fails.out', '');
fill('test/specs/iso_breaks.spec', <<'SPEC');
setup
{
	DROP SCHEMA IF EXISTS iso CASCADE;
	CREATE SCHEMA iso;
	CREATE EXTENSION IF NOT EXISTS pay_idem SCHEMA public;
	DO $$ BEGIN PERFORM pay_install(); END $$;
	CREATE TABLE iso_turn AS SELECT 1 AS other;
	CREATE ROLE regress_iso_a;
}
session a
setup { SELECT breaks_off; }
step a_nothing { SELECT 1; }
permutation a_nothing
SPEC
fill('expected/iso_breaks.out', '');
ok(!make_installcheck(regress => [qw(fails refunds lookalikes)], isolation => [qw(iso_breaks iso_savepoint iso_grant)]), 'tests that fail: fails');
is(outcome(), 'not fails refunds lookalikes not iso_breaks iso_savepoint iso_grant', '... and the others pass, the specs too') || diag $out;
ok(-s 'regression.diffs' && -s 'output_iso/regression.diffs', '... with the differences of both');

# ---- a run that is killed ----

# Killed while a session of a spec waits for another; and somebody stays in the
# other database, as the client of a killed run may.
fill('test/specs/iso_killed.spec', <<'SPEC');
setup { CREATE SCHEMA iso; CREATE ROLE regress_iso_a; CREATE TABLE iso_turn (n integer); }
session a
step a_lock { BEGIN; LOCK iso_turn; }
step a_sleep { SELECT 'killed' FROM pg_sleep(1000); }
session b
step b_insert { INSERT INTO iso_turn VALUES (1); }
permutation a_lock b_insert a_sleep
SPEC
{
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my $killed = IPC::Run::start([ qw(setsid make -s installcheck REGRESS=numbers ISOLATION=iso_killed) ], '<', \undef, '>', '/dev/null', '2>&1');
	$node->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = 'isolation_regression' AND state = 'active'")
	  or die 'iso_killed does not run';
	my $stays = IPC::Run::start([ qw(psql -X -q contrib_regression -c), 'BEGIN; TABLE public.pay_payment; SELECT pg_sleep(1000)' ], '<', \undef, '>', '/dev/null', '2>&1');
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'contrib_regression' AND state = 'active'")
	  or die 'nobody stays';

	# setsid made it a group of its own: make and all that it started
	kill 'KILL', -$killed->{KIDS}[0]{PID};
	$killed->finish;
	passes('after a run that was killed', regress => ['numbers'], isolation => ['iso_grant']);
	$stays->finish;
}
$node->stop;

# ---- SQL_ASCII, German, Nepal ----

$ENV{PGUSER} = 'dba';
my $locale = "$tree/locale";
mkdir $locale or die $!;
# German where the machine has what makes a language (package locales).
my $german = -e '/usr/share/i18n/locales/de_DE';
system_or_bail(qw(localedef -i de_DE -f UTF-8), "$locale/de_DE.UTF-8") if $german;
$ENV{LOCPATH} = $locale if $german;
$node = PostgreSQL::Test::Cluster->new('ascii');
$node->init(extra => [qw(-U dba --encoding SQL_ASCII --no-locale)]);
$node->append_conf('postgresql.conf', <<'CONF');
timezone = 'Asia/Kathmandu'
datestyle = 'German'
intervalstyle = 'iso_8601'
bytea_output = 'escape'
statement_timeout = '1ms'
CONF
$node->append_conf('postgresql.conf', "lc_messages = 'de_DE.UTF-8'\n") if $german;
$node->start;
SKIP:
{
	skip 'no /usr/share/i18n/locales/de_DE: the server speaks English', 1 unless $german;
	$node->psql('postgres', 'SELECT 1/0', stderr => \my $err);
	like($err, qr/\bFEHLER:/, 'the server speaks German');
}

passes('SQL_ASCII cluster', regress => [qw(refunds encodings)], isolation => ['iso_claim_lease']);
foreach my $encoding (qw(SQL_ASCII LATIN1))
{
	passes("$encoding database", regress => [qw(types numbers holds encodings)], more => ["ENCODING=$encoding"]);
}
$node->stop;

chdir '/';
done_testing();
