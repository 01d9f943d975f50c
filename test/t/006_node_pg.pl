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

copy("$FindBin::Bin/../node/lifecycle.js", $dir) || die "cannot copy: $!";
my ($version, $error) = node_postgres($dir, "$FindBin::Bin/../node");
like($version, qr/^\d/, 'node-postgres is there') or BAIL_OUT("no node-postgres: $error");
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
