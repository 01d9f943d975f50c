# Updates stay HOT: a day of payments (bench/sql/day.sql) on pages that fill in the order
# of time, and the callbacks that come in this order, a hundred in a transaction or one
# by one. What is not HOT writes to every index of its table. And a claim writes one row
# for each task, that of the queue, whose only index is on what a lease changes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PayTest;
use Test::More;

my $hundreds = 20;
my $n = $hundreds * 100;
my $node = pay_node('hot', conf => "jit = off\nfsync = off\n");

$node->safe_psql('postgres', PostgreSQL::Test::Utils::slurp_file("$FindBin::Bin/../../bench/sql/day.sql"));
$node->safe_psql('postgres', "CALL day.live(0, $hundreds + 12, $hundreds)");
is($node->safe_psql('postgres', "SELECT count(*) FROM pay_payment WHERE state = 'paid'"), $n, 'all of them were paid');

my %written;
foreach (split /\n/, $node->safe_psql('postgres', 'SELECT kind, relation, calls, updates, hot FROM day.written'))
{
	my ($kind, $relation, $calls, $updates, $hot) = split /\|/;

	$written{$kind}{$relation} = { calls => $calls, updates => $updates, hot => $hot };
	note(sprintf('%-26s %-12s %5d updates, %5.1f %% HOT', $kind, $relation, $updates, 100 * $hot / $updates));
}

# What each kind of call updates, how often, and that nine of ten updates are HOT.
my @written = (
	[ 'prepay, handed out again' => { pay_payment => $n / 10, pay_attempt => $n / 10 } ],
	[ 'prepay, second attempt' => { pay_payment => $n / 20 } ],
	[ 'credential' => { pay_payment => $n, pay_attempt => $n } ],
	[ 'answer to a question' => { pay_payment => $n, pay_attempt => $n } ],
	[ 'callbacks, 100 in a call' => { pay_payment => $n / 2, pay_attempt => $n / 2, pay_hold => $n / 8 } ],
	[ 'callback' => { pay_payment => $n / 2 + $n / 20, pay_attempt => $n / 2 + $n / 20, pay_hold => $n / 8 } ],
	[ 'refund' => { pay_payment => $n / 20, pay_attempt => $n / 20 } ],
	[ 'refund callback' => { pay_payment => $n / 20, pay_attempt => $n / 20, pay_refund => $n / 20 } ]);
foreach (@written)
{
	my ($kind, $relations) = @$_;
	my $is = $written{$kind};

	is_deeply({ map { $_ => $is->{$_}{updates} } keys %$is }, $relations, "$kind: what it updates");
	cmp_ok($is->{$_}{hot}, '>=', 0.9 * $is->{$_}{updates}, "$kind: HOT in $_") foreach sort keys %$relations;
}
is_deeply($written{claim}, { pay_task => { calls => $n, updates => $n, hot => 0 } }, 'claim: one row for each task');

# A table without a fillfactor gets ours; what a DBA chose stays.
$node->safe_psql('postgres', 'ALTER TABLE pay_attempt RESET (fillfactor); ALTER TABLE pay_payment SET (fillfactor = 90); SELECT pay_install()');
is($node->safe_psql('postgres', "SELECT relname, reloptions FROM pg_class WHERE relname IN ('pay_attempt', 'pay_payment') ORDER BY 1"),
	"pay_attempt|{fillfactor=35}\npay_payment|{fillfactor=90}", 'pay_install() and the fillfactor');

no_leaks($node);
$node->stop;
done_testing();
