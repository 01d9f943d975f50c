# Payments work through node-postgres, with named prepared statements and the
# values that JavaScript has. What the application does: test/node.

use strict;
use warnings;

use File::Copy;
use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use JSON::PP;
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_node_postgres();

my $node = pay_node('main');
my $dir = PostgreSQL::Test::Utils::tempdir();

# node_modules never goes into the source tree.
copy($_, $dir) || die "cannot copy $_: $!" for glob "$FindBin::Bin/../node/*.js*";
# npm brings the version of package-lock.json; where there is no npm, Debian's
# node-postgres does. One of them must be there.
my $log = '';
if (grep { -x "$_/npm" } split /:/, $ENV{PATH})
{
	local $ENV{HOME} = $dir;
	IPC::Run::run(
		[ 'npm', 'ci', '--no-audit', '--no-fund', '--ignore-scripts', '--cache', "$dir/cache" ],
		init => sub { chdir $dir or die $! },
		'>', \$log, '2>&1');
}
my ($version, $error) = ('', '');
eval {
	IPC::Run::run(
		[ 'node', '-p', 'require("pg/package.json").version' ],
		init => sub { chdir $dir or die $! },
		'>', \$version, '2>', \$error) or die "node\n";
};
like($version, qr/^\d/, 'node-postgres is there') or BAIL_OUT("no node-postgres: $log$error$@");
note "node-postgres $version";

my ($out, $err) = ('', '');
local @ENV{qw(PGHOST PGPORT PGDATABASE PGUSER)} =
  ($node->host, $node->port, 'postgres', $node->safe_psql('postgres', 'SELECT current_user'));
my $ok = IPC::Run::run([ 'node', "$dir/lifecycle.js" ], '>', \$out, '2>', \$err);
ok($ok, 'the application ends well') || diag($err);

my $done;
foreach (map { JSON::PP->new->decode($_) } grep { length } split /\n/, $out)
{
	if (exists $_->{done})
	{
		$done = $_->{done};
		next;
	}
	is($_->{got}, $_->{expected}, $_->{name});
}
is($done, Test::More->builder->current_test - 2, 'every check of the application was heard');
is(violations($node), '', 'all that must hold holds');

no_leaks($node);
done_testing();
