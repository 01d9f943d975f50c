# Where something is missing that setting up needs, one sentence says what, and which
# command helps: no headers, no compiler, no rights, no apt-get, no sudo, a PG_CONFIG
# that is none.

use strict;
use warnings;

use File::Path;
use FindBin;
use IPC::Run;
use lib $FindBin::Bin;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::Bin/../..";
my $dir = PostgreSQL::Test::Utils::tempdir();

# A bare machine's programs, and those that are added.
my @bare = qw(awk bash cat cut dirname env grep head id make mkdir mktemp rm sed sh sort tail tar touch tr uname);

sub machine
{
	my ($name, %with) = @_;
	my $bin = "$dir/$name";

	mkpath($bin);
	foreach (@bare)
	{
		my $there = program($_) or die "no $_ here";

		symlink($there, "$bin/$_") or die "$bin/$_: $!";
	}
	foreach (keys %with)
	{
		append_to_file("$bin/$_", "#!/bin/sh\n$with{$_}\n");
		chmod 0755, "$bin/$_";
	}
	return $bin;
}

# says(machine, command, what it says, name): it fails, says so, and does not go on
sub says
{
	my ($bin, $command, $sentence, $name) = @_;
	my ($out, $err) = ('', '');
	my %clean = map { $_ => $ENV{$_} } grep { !/^(?:PG|MAKE|MFLAGS|PAY_)/ } keys %ENV;
	local %ENV = (%clean, PATH => $bin);
	my $ok = IPC::Run::run($command, init => sub { chdir $root }, '<', \undef, '>', \$out, '2>', \$err);

	ok(!$ok, "$name: fails");
	like($err, $sentence, "$name: says what helps");
	unlike($out . $err, qr/^(?:gcc|cc|cp|\/usr\/bin\/install|server started)|not found$/m, "$name: and does not go on");
	return;
}

cmp_ok($>, '!=', 0, 'not as root, who may do everything');

# ---- make and make install, as for any extension

my $bare = machine('bare');
my $headers = qr/^Makefile:\d+: \*\*\* PG_CONFIG=\S+ leads to no .*headers.* sudo apt-get install postgresql-server-dev-all;.*$/m;
foreach ([], ['install'], ['installcheck'], ['clean'])
{
	says($bare, [ 'make', @$_ ], $headers, "make @$_ without pg_config");
	says($ENV{PATH}, [ 'make', @$_, 'PG_CONFIG=/nowhere/pg_config' ], $headers, "make @$_ with a wrong PG_CONFIG");
}
my $client_only = machine('client_only', pg_config => 'echo "You need to install postgresql-server-dev-NN" >&2; exit 1');
says($client_only, ['make'], $headers, 'make with the headers of the client alone');

my $pg_config = $ENV{PG_CONFIG} || program('pg_config');
foreach ([], ['install'])
{
	says($bare, [ 'make', @$_, "PG_CONFIG=$pg_config" ], qr/^Makefile:\d+: \*\*\* \S+ does not compile C\. .*sudo apt-get install gcc libc6-dev/m, "make @$_ without a compiler");
}

# What is built already is not built again: this is about where it goes.
my $system = "$dir/system";
mkpath("$system$PayTest::pkglibdir");
chmod 0555, "$system$PayTest::pkglibdir";
says($ENV{PATH}, [ 'make', '-s', 'with_llvm=no', 'install', "DESTDIR=$system", "PG_CONFIG=$pg_config" ],
	qr/^make install: \S+ may not write to \Q$system$PayTest::pkglibdir\E: sudo make install; without sudo: su -c 'make install'$/m, 'make install without rights');
chmod 0755, "$system$PayTest::pkglibdir";

# ---- make test, make demo and make bench, which install what is missing

my $foreign = machine('foreign');
my %debian = (
	'apt-get' => 'exit 1',
	'apt-cache' => '[ "$1" != pkgnames ] || echo postgresql-17',
	'dpkg-query' => 'echo not-installed');
my $debian = machine('debian', %debian);
foreach my $goal (qw(test lint demo bench test-fuzz test-hard test-versions))
{
	my $needs = $goal eq 'test-versions' ? 'debootstrap' : 'postgresql-17 postgresql-server-dev-17';

	says($foreign, [ 'make', '-s', $goal ], qr/^test\/setup: there is no apt-get; install what corresponds to these packages of Debian: .*(?:postgresql|debootstrap)/m, "make $goal where there is no apt");
	says($debian, [ 'make', '-s', $goal ], qr/^test\/setup: neither root nor sudo; as root: apt-get install .*\b$needs/m, "make $goal with neither root nor sudo");
	next if $goal eq 'test-versions';
	says($debian, [ 'make', '-s', $goal, 'PG_CONFIG=/nowhere/pg_config' ], qr/^test\/setup: PG_CONFIG=\/nowhere\/pg_config is no pg_config; leave PG_CONFIG out/m, "make $goal with a wrong PG_CONFIG");
	says($debian, [ 'make', '-s', $goal, 'PG_CONFIG=/usr/lib/postgresql/16/bin/pg_config' ], qr/as root: apt-get install .*\bpostgresql-16 postgresql-server-dev-16/m, "make $goal with another version");
}

# With sudo, it is sudo that installs, of the version that was asked for.
my $sudo = machine('sudo', %debian, sudo => 'echo "sudo $*" >&2; exit 1');
says($sudo, [ 'make', '-s', 'test', 'PG_CONFIG=/usr/lib/postgresql/16/bin/pg_config' ], qr/^sudo -- env PG_CONFIG=\/usr\/lib\/postgresql\/16\/bin\/pg_config \S+\/test\/setup$/m, 'make test with sudo');

# ---- what they call

says($ENV{PATH}, [ 'env', "PG_CONFIG=$debian/dpkg-query", 'test/with-server', 'true' ],
	qr/^PG_CONFIG=\S+ is not the pg_config of a PostgreSQL with its server and its headers\.\nLeave PG_CONFIG out .*sudo apt-get install postgresql postgresql-server-dev-all$/m, 'test/with-server with a wrong PG_CONFIG');
says($debian, ['test/versions'], qr/^test\/versions: chroots need root, and there is no sudo: su -c 'make test-versions'$/m, 'test/versions without sudo');
says($ENV{PATH}, [ 'test/versions', 'buster' ], qr/^test\/versions: usage: /m, 'test/versions of a suite that it does not know');
says($ENV{PATH}, [ 'env', '-u', 'PGHOST', 'demo/run' ], qr/needs a server.*call it by "make demo"/, 'demo/run without a server');

done_testing();
