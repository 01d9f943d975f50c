# What README.md and the files of doc/ say is true: their SQL is run, and prints
# what stands there; their tables, signatures and rights are those of the database;
# every link in the tree leads somewhere.
#
# The ```sql blocks of a file run in their order, in a fresh database named shop. In
# README.md, doc/reference.md and doc/migrations.md each chapter (a heading of the
# second level) begins with a fresh one. A ```text block after SQL is all that it
# prints; SQL without one must not fail.

use strict;
use warnings;

use File::Find ();
use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use List::Util qw(pairs);
use PayTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::Bin/../..";
my %text = map { $_ => slurp_file("$root/$_") } 'README.md', map { s{^\Q$root/}{}r } glob "$root/doc/*.md";
my ($reference, $tutorial, $rights, $channels) = map { $text{"doc/$_.md"} } qw(reference tutorial rights channels);
my %has_chapters = map { $_ => 1 } 'README.md', 'doc/reference.md', 'doc/migrations.md';

my $node = pay_node('manual', install => 0);
local $ENV{PGCLIENTENCODING} = 'UTF8';

# Without spaces at the ends of lines and empty lines at the end.
sub trimmed { return $_[0] =~ s/[ \t]+$//gmr =~ s/\s+\z//r }

sub sql { return $node->safe_psql('postgres', @_) }

# set_up(database, schema): as the manual advises, or with everything in public.
sub set_up
{
	my ($db, $schema) = @_;

	$node->safe_psql($db, "CREATE SCHEMA IF NOT EXISTS $schema; CREATE EXTENSION pay_idem SCHEMA $schema; SELECT $schema.pay_install()");
	sql("ALTER DATABASE $db SET search_path = \"\$user\", public, pay") if $schema ne 'public';
}

set_up('postgres', 'pay');

# ---- the examples

# chapters(file): what runs in one database: its title and its blocks: [line, SQL, output].
sub chapters
{
	my ($file) = @_;
	my @chapters = ([ 'from its beginning', [] ]);
	my ($line, $language, $code, $sql_ends) = (0, undef, '', -1);

	foreach (split /\n/, $text{$file})
	{
		$line++;
		if (defined $language && $_ eq '```')
		{
			my $blocks = $chapters[-1][1];

			push @$blocks, [ $line, $code, undef ] if $language eq 'sql';
			$blocks->[-1][2] = $code if $language eq 'text' && $sql_ends == 0;
			$sql_ends = $language eq 'sql' ? 0 : -1;
			undef $language;
		}
		elsif (defined $language) { $code .= "$_\n" }
		elsif (/^```(\w*)$/) { ($language, $code) = ($1, '') }
		elsif ($has_chapters{$file} && /^## (.*)/) { push @chapters, [ $1, [] ]; $sql_ends = -1 }
		elsif (/\S/) { $sql_ends = -1 }
	}
	return grep { @{ $_->[1] } } @chapters;
}

# run_chapter(file, schema, title, blocks): returns how many outputs were compared.
sub run_chapter
{
	my ($file, $schema, $title, $blocks) = @_;
	my $where = "$file, $title" . ($schema eq 'public' ? ', in public' : '');
	my ($input, $out, $compared) = ('', '', 0);

	sql('DROP DATABASE IF EXISTS shop');
	sql('CREATE DATABASE shop');
	set_up('shop', $schema) unless grep { $_->[1] =~ /CREATE EXTENSION pay_idem/ } @$blocks;

	# one psql for the chapter, so that its variables last
	$input .= "$_->[1]\n\\echo -- end of block\n" foreach @$blocks;
	IPC::Run::run([ 'psql', '-X', '-d', $node->connstr('shop') ], '<', \$input, '>&', \$out);
	my @printed = split /^-- end of block\n/m, $out, -1;
	is(scalar(@printed), @$blocks + 1, "$where: psql went through");
	foreach my $n (0 .. $#$blocks)
	{
		my ($line, $sql, $expected) = @{ $blocks->[$n] };
		my $got = trimmed($printed[$n] // '');

		$compared++ if defined $expected;
		defined $expected
		  ? is($got, trimmed($expected), "$where: the example that ends in line $line")
		  : unlike($got, qr/^(?:ERROR|FATAL|\\|invalid)/m, "$where: the example that ends in line $line works");
	}
	return $compared;
}

my %compared;

foreach my $file (sort keys %text)
{
	foreach my $chapter (chapters($file))
	{
		$compared{$file} += run_chapter($file, 'pay', @$chapter);
	}
}
foreach my $file (sort keys %compared)
{
	cmp_ok($compared{$file}, '>', 1, "$file shows what examples print") if $file !~ /drivers|migrations/;
}

# Nor does it need a schema of its own: the tutorial with everything in public.
run_chapter('doc/tutorial.md', 'public', @$_) foreach chapters('doc/tutorial.md');

# ---- functions

# name(arguments) RETURNS result, as the catalog has it and as it is written.
my $signatures = sql(<<'SQL');
	SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ') RETURNS ' || pg_get_function_result(p.oid)
	FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
	WHERE e.extname = 'pay_idem' AND p.proname !~ '^pay_((refund_)?state|decision)_(in|out|recv|send|eq|ne|lt|le|gt|ge|cmp|hash|hash_extended)$'
		AND p.proname !~ '^pay_(declared|missing_grants|install_(?!plan$))'	-- what pay_install() is made of
SQL
$signatures =~ s/(DEFAULT (?:'[^']*'|\w+))::[^,)]+/$1/g;
$signatures =~ s/timestamp with time zone/timestamptz/g;
my @written;
while ($reference =~ /^```pgsql\n(.*?)^```/gms)
{
	my $block = $1;

	push @written, "$1($2) RETURNS $3" =~ s/\s+/ /gr while $block =~ /^(pay_\w+)\(([^)]*)\) RETURNS ([^\n]+)$/gm;
}
is(join("\n", sort @written), join("\n", sort split /\n/, $signatures), 'every function has its signature in the manual');

# ---- tables

# What has columns: the rest of the reference from the chapter on that describes it.
my ($functions, $tables) = map { substr($reference, index($reference, "\n## $_\n")) } 'Functions', 'Tables';
my %own;
push @{ $own{ $_->[0] } }, $_->[1] foreach pairs(split /[|\n]/, sql(<<'SQL'));
	SELECT relkind, relname FROM pg_class
	WHERE relnamespace = 'pay'::regnamespace AND relname LIKE 'pay\_%' AND relkind IN ('r', 'v', 'c') AND relname <> 'pay_part' ORDER BY relname
SQL
my @tables = @{ $own{r} };

foreach my $table (@tables, @{ $own{v} }, @{ $own{c} })
{
	my $columns = sql(<<"SQL");
		SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
		FROM pg_attribute a WHERE a.attrelid = '$table'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
SQL
	my ($section) = ($table =~ /_(?:result|step)$/ ? $functions : $tables) =~ /^### $table(?:, the table)?\n(.*?)(?=^##)/ms;
	my @rows = ($section // '') =~ /^\| `(\w+)` \| ([^|`]+) \| /gm;
	my $rows = '';

	$rows .= shift(@rows) . ' ' . shift(@rows) . "\n" while @rows;
	is(trimmed($rows), $columns =~ s/timestamp with time zone/timestamptz/gr, "the columns of $table");
}

# ---- what may be changed by a direct UPDATE

# A row in each table that may still be changed: one that is not paid yet.
sql(<<'SQL');
	SELECT * FROM pay_create(order_no => 'G0', amount => 5, currency => 'EUR');
	SELECT * FROM pay_prepay(order_no => 'G2', amount => 5, currency => 'EUR', channel => 'test', method => 'card', request_id => 'r1');
	SELECT * FROM pay_prepay(order_no => 'G1', amount => 5, currency => 'EUR', channel => 'test', method => 'card', request_id => 'r1');
	SELECT * FROM pay_callback(channel => 'test', callback_id => 'n1', trade_no => (SELECT trade_no FROM pay_query(order_no => 'G1')),
		reported => 'paid', amount => 4, currency => 'EUR');
	SELECT * FROM pay_callback(channel => 'test', callback_id => 'n2', trade_no => (SELECT trade_no FROM pay_query(order_no => 'G1')),
		reported => 'paid', amount => 5, currency => 'EUR');
	SELECT * FROM pay_refund(trade_no => (SELECT trade_no FROM pay_query(order_no => 'G1')), refund_no => 'GR', amount => 3, reason => 'none');
	SELECT * FROM pay_prepay(order_no => 'G3', amount => 5, currency => 'EUR', channel => 'test', method => 'card', request_id => 'r1',
		valid_for => '1 hour', holds => '{coupon:G}');
	SELECT * FROM pay_dispute_open(trade_no => (SELECT pay_no FROM pay_query(order_no => 'G0')),
		duplicate_of => (SELECT pay_no FROM pay_query(order_no => 'G1')), reason => 'none');
	CREATE ROLE manual_reader;
	SELECT pay_grant(role => 'manual_reader', kind => 'auditor');
SQL

# What makes another value of each type. States get a legal step, because the
# steps are guarded as well.
my %CHANGED = (
	bigint => 'coalesce(%1$s, 0) + 1', integer => 'coalesce(%1$s, 0) + 1', smallint => 'coalesce(%1$s, 0) + 1',
	boolean => 'NOT %1$s', text => "coalesce(%1\$s, '') || 'x'", name => "'x'", uuid => 'gen_random_uuid()', jsonb => q('{"x": 1}'),
	'timestamp with time zone' => "'2030-01-01'", interval => "'7 minutes'", 'interval[]' => "'{7min}'", 'smallint[]' => "'{7}'",
	pay_state => "'unknown'", pay_decision => "'stale'", pay_refund_state => "'processing'");

foreach my $table (@tables)
{
	my (@all, @may);

	isnt(sql("SELECT count(*) FROM $table"), '0', "$table has a row to try it on");
	foreach (split /\n/, sql(<<"SQL"))
		SELECT a.attname || '|' || format_type(a.atttypid, a.atttypmod)
		FROM pg_attribute a WHERE a.attrelid = '$table'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
SQL
	{
		my ($column, $type) = split /\|/;
		push @all, $column;
		my $changed = sprintf $CHANGED{$type}, $column;
		my $where = { pay_payment => "order_no = 'G0'", pay_attempt => "state = 'paying'" }->{$table} // 'true';
		my $stderr;

		$changed = "'closed'" if "$table.$column" eq 'pay_payment.state';
		$node->psql('postgres', "\\set VERBOSITY verbose\nBEGIN; UPDATE $table SET $column = $changed WHERE $where; ROLLBACK", stderr => \$stderr);
		push @may, $column unless $stderr =~ /^[^\n]*ERROR:  PY423: UPDATE of /;
	}
	my ($listed) = $reference =~ /^\| table \| columns \|\n(.*?)\n\n/ms;
	my ($said) = $listed =~ /^\| [^|]*`$table`[^|]* \| ([^|]*) \|$/m;
	my %named = map { $_ => 1 } $said =~ /`(\w+)`/g;
	my @said = $said =~ /^all but/ ? grep { !$named{$_} } @all : keys %named;

	is(join(' ', sort @said), join(' ', sort @may), "what may be changed in $table");
}

# ---- rights

my ($head, $may_call) = $rights =~ /^\| function \| (.*) \| another merchant's \|\n\|[-|]+\|\n((?:\| `.*\n)+)/m;
my @kinds = $head =~ /`(\w+)`/g;

foreach my $n (0 .. $#kinds)
{
	my $kind = $kinds[$n];
	my ($reads) = $rights =~ /^\| `$kind` \| [^|]* \| ([^|]*) \|$/m;
	my $calls = join '', map { my @cells = split /\s*\|\s*/; $cells[ $n + 2 ] eq 'yes' ? $cells[1] : '' } split /\n/, $may_call;
	my $role = "manual_$kind";

	sql("CREATE ROLE $role; SELECT pay_grant(role => '$role', kind => '$kind')");
	is(join("\n", sort $calls =~ /`(\w+)`/g), sql(<<"SQL"), "what $kind may call");
		SELECT p.proname FROM pg_proc p, aclexplode(p.proacl) AS acl
		WHERE acl.grantee = '$role'::regrole AND acl.privilege_type = 'EXECUTE' ORDER BY 1
SQL
	# what comes after a semicolon says what else it may do
	my %not = map { $_ => 1 } $reads =~ s/;.*//r =~ /`(\w+)`/g;
	my @readable = $reads =~ /^all/ ? grep { !$not{$_} } @tables, @{ $own{v} } : keys %not;
	is(join("\n", sort @readable), sql(<<"SQL"), "what $kind may read");
		SELECT c.relname FROM pg_class c, aclexplode(c.relacl) AS acl
		WHERE acl.grantee = '$role'::regrole AND acl.privilege_type = 'SELECT' ORDER BY 1
SQL
}

my $no_such_kind;
$node->psql('postgres', "SELECT pay_grant(role => 'manual_app', kind => 'none')", stderr => \$no_such_kind);
my ($all_kinds) = $no_such_kind =~ /the kinds are (.*)\./;
is(join(' ', sort @kinds), join(' ', sort split /, /, $all_kinds), 'the kinds of roles');

# ---- settings

my ($settings) = $reference =~ /^## Settings\n(.*?)(?=^## )/ms;
is(join("\n", map { join '|', @$_ } sort { $a->[0] cmp $b->[0] } pairs($settings =~ /^\| `([\w.]+)` \| `([^`]+)` \|/gm)),
	sql("LOAD 'pay_idem'; SELECT name, current_setting(name) FROM pg_settings WHERE name LIKE 'pay\_idem.%' ORDER BY 1"), 'the settings');

# ---- states, decisions, errors

foreach my $machine ('payment', 'attempt', 'refund')
{
	my ($section) = $reference =~ /^### Steps of an? $machine\n(.*?)(?=^###)/ms;
	my @steps;

	while ($section =~ /^\| (\w+) \| ([\w, ]*)\|$/gm)
	{
		my ($from, $to) = ($1, $2);

		push @steps, "$from $_" foreach $from eq 'from' ? () : split /, | $/, $to;
	}
	is(join("\n", sort @steps), sql("SELECT from_state || ' ' || to_state FROM pay_steps() WHERE machine = '$machine' ORDER BY 1"),
		"$machine: the steps");
}

my $picture = slurp_file("$root/doc/states.svg");
my $dot = sql('SELECT pay_diagram()');
foreach ([ 'states', qr/^\s*(\w+_\w+) \[/m, qr/class="node">\s*<title>([^<]+)/ ], [ 'steps', qr/^\s*(\w+ -> \w+);/m, qr/class="edge">\s*<title>([^<]+)/ ])
{
	my ($what, $in_dot, $in_svg) = @$_;

	is(join("\n", sort map { s/&#45;&gt;/ -> /r } $picture =~ /$in_svg/g), join("\n", sort $dot =~ /$in_dot/g), "the $what in doc/states.svg");
}

# What it draws thick is a step: a renamed state must not thin out in silence.
my %steps = map { $_ => 1 } split /\n/, sql(q(SELECT from_state || '>' || to_state FROM pay_steps()));
my @thick = slurp_file("$root/doc/states.gvpr") =~ /\b(\w+>\w+)\b/g;
is(join(' ', grep { !$steps{$_} } @thick), '', 'doc/states.gvpr styles steps that there are');
cmp_ok(scalar(@thick), '>', 10, 'and it styles some');

# The labels of a type are in the error for what is none.
foreach ([ 'pay_state', 'States', 'state' ], [ 'pay_refund_state', 'States', 'refund' ], [ 'pay_decision', 'Decisions', 'decision' ])
{
	my ($type, $chapter, $head) = @$_;
	my $stderr;

	$node->psql('postgres', "SELECT 'none'::$type", stderr => \$stderr);
	my ($labels) = $stderr =~ /The values are (.*)\./;
	my ($table) = $reference =~ /^## $chapter\n.*?^(\| $head \|.*?)\n\n/ms;
	is(join(', ', $table =~ /^\| `(\w+)` \|/gm), $labels, "the labels of $type, in their order");
}

is(join(' ', $reference =~ /^\| `(PY\d+)` \|/gm),
	join(' ', map { s/[', ]//gr } slurp_file("$root/src/errors.h") =~ /MAKE_SQLSTATE\(('P', 'Y', '\d', '\d', '\d')\)/g), 'the error codes');

# ---- what is copied from elsewhere, and what others should copy

my ($mapping) = $channels =~ /^```sql\n(CREATE FUNCTION wechat_callback.*?)^```/ms;
ok(index(slurp_file("$root/demo/channels.sql"), $mapping) >= 0, 'wechat_callback is that of demo/channels.sql');

SKIP:
{
	skip 'there is no node here', 1 unless program('node');
	my ($shard) = $reference =~ /^```js\n(.*?const shard.*?)^```/ms;
	my ($out, $err) = ('', '');
	my $vectors = sql("SELECT json_agg(json_build_array(o, m, pay_shard(o, m))) FROM unnest('{A1,2026-000001,订单1}'::text[]) o, unnest('{\"\",shop,商户}'::text[]) m");
	IPC::Run::run([ 'node', '-e', "$shard; for (const [o, m, s] of $vectors) console.log(shard(o, m) === s)" ], '>', \$out, '2>', \$err);
	is($out . $err, "true\n" x 9, 'the shard in JavaScript');
}

# The picture of the floors has the rooms of src/README.md, in its order.
my %room = map { m{(\w+)\.[ch]$} ? ($1 => 1) : () } glob "$root/src/*";
my @floors = map { [ (split /\|/)[2] =~ /`(\w+)`/g ] } slurp_file("$root/src/README.md") =~ /^(\| .*`.*)$/gm;
my ($drawn) = $text{'doc/internals.md'} =~ /^```\n( SQL functions.*?)^```/ms;
my @drawn = map { [ grep { $room{$_} } map { length > 30 ? substr($_, 30) =~ /(\w+)/g : () } split /\n/ ] } split /^ ─.*\n/m, $drawn;
is(join("\n", map { "@$_" } @drawn), join("\n", map { "@$_" } @floors), 'the picture of the floors in doc/internals.md');

# ---- links

# Every link of a text in the tree: of all texts, and of what code says of the manual.
my (%linked, @code);

File::Find::find({ no_chdir => 1, wanted => sub {
	$File::Find::prune = 1 if m{/(?:\.git|node_modules|tmp_check|output_iso|results)$};
	push @code, $_ if -f && m{\.(?:[ch]|sql|in|pl|pm|spec|js)$|/Makefile$};
	$text{ s{^\Q$root/}{}r } //= slurp_file($_) if -f && /\.md$/;
} }, $root);

# anchors(text): what a link can name there, as GitHub makes it: the second heading of a name has -1.
sub anchors
{
	my %times;
	my $text = $_[0] =~ s/^```.*?^```$//gmsr;

	return { map { my $n = $times{$_}++; ($n ? "$_-$n" : $_) => 1 } map { lc(s/[^\w\- ]//gr =~ s/ /-/gr) } $text =~ /^#+ (.*)$/gm };
}

foreach my $file (sort keys %text)
{
	my ($directory) = $file =~ m{^(.*/)?};
	my @broken;

	foreach my $link ($text{$file} =~ s/^```.*?^```$//gmsr =~ /\]\(([^)\s]+)\)/g)
	{
		my ($path, $anchor) = split /#/, $link, 2;
		my $target = $path eq '' ? $file : ($directory // '') . $path;

		next if $path =~ /^https?:/;
		1 while $target =~ s{[^/]+/\.\./}{};
		push @broken, $link unless -e "$root/$target" && (!defined $anchor || anchors($text{$target} // '')->{$anchor});
		$linked{$file}{$target} = 1;
	}
	is(join(' ', @broken), '', "$file: every link leads somewhere");
}

# The index names every file of the manual, and so does nobody else one that is none.
is(join(' ', grep { !$linked{'doc/README.md'}{$_} } sort grep { m{^doc/(?!README)} } keys %text), '', 'doc/README.md has a link to every file of doc/');
foreach my $file (sort @code)
{
	my @gone = grep { !-e "$root/$_" } slurp_file($file) =~ m{\b(doc/\w+\.(?:md|svg))\b}g;
	is(join(' ', @gone), '', ($file =~ s{^\Q$root/}{}r) . ': the files of the manual that it names are there') if @gone;
}
cmp_ok(scalar(@code), '>', 100, 'code was searched for names of the manual\'s files');

no_leaks($node);
done_testing();
