# What doc/migrations.md says of Alembic and of Rails: without its recipes they see
# our tables and would drop or spoil them, with them they see the shop's alone, and
# what they then write makes a database in which an order can be paid.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../t";
use PayTest;
use Guide;
use PostgreSQL::Test::Utils;
use Test::More;

my $text = guide('migrations.md');
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $node = pay_node('main', install => 0);
my $tables = scalar @PayTest::TABLES;

local @ENV{qw(PGHOST PGPORT PGUSER)} = ($node->host, $node->port, $node->safe_psql('postgres', 'SELECT current_user'));

sub sql { return $node->safe_psql(@_) }

sub write_file
{
	my ($file, $content) = @_;

	unlink $file;
	append_to_file($file, $content);
}

# A database as the DBA leaves it, in three ways, with a table of the shop.
my $paths = '"$user", public';

sub database
{
	my ($name, $schema, $path) = @_;

	sql('postgres', "CREATE DATABASE $name; ALTER DATABASE $name SET search_path = $path");
	sql($name, ($schema eq 'public' ? '' : "CREATE SCHEMA $schema;") . "CREATE EXTENSION pay_idem SCHEMA $schema; SELECT $schema.pay_install()");
}

database('in_public', 'public', $paths);
database('seen', 'pay', "$paths, pay");
database('unseen', 'pay', $paths);

# ---- Alembic

# revision(database, recipe or not): the statements that autogenerate writes.
sub revision
{
	my ($database, $with) = @_;
	my $project = "$dir/$database" . ($with ? '_recipe' : '');
	my ($include_name, $argument) = map { s/\n\z//r } blocks($text, 'Alembic', 'python');

	mkdir $project or die "$project: $!";
	my ($ok, $out, $err) = run_in($project, qw(/usr/bin/python3 -m alembic init migrations));
	$ok or die "alembic init: $out$err";
	write_file("$project/models.py", <<'PYTHON');
import sqlalchemy
metadata = sqlalchemy.MetaData()
sqlalchemy.Table("orders", metadata, sqlalchemy.Column("order_no", sqlalchemy.Text, primary_key=True))
PYTHON
	my $env = slurp_file("$project/migrations/env.py");
	$env =~ s/^target_metadata = None$/import sys\nsys.path.insert(0, ".")\nfrom models import metadata as target_metadata\n/m or die 'env.py';
	if ($with)
	{
		$env =~ s/^(from models.*)$/$1\n\n$include_name\n/m;
		$env =~ s/target_metadata=target_metadata/$argument/g == 2 or die 'env.py has other calls of configure';
	}
	write_file("$project/migrations/env.py", $env);
	my $ini = slurp_file("$project/alembic.ini");
	$ini =~ s{^sqlalchemy.url = .*$}{sqlalchemy.url = postgresql+psycopg2:///$database}m or die 'alembic.ini';
	write_file("$project/alembic.ini", $ini);

	($ok, $out, $err) = run_in($project, qw(/usr/bin/python3 -m alembic revision --autogenerate -m first));
	ok($ok, "$database: alembic writes a revision") or diag($out . $err);
	my ($up) = join('', map { slurp_file($_) } glob "$project/migrations/versions/*.py") =~ /^def upgrade\(\).*?\n(.*?)^def /ms;
	return ($up, "$out$err", $project);
}

if (is_there('Alembic', 'python3-alembic', qw(/usr/bin/python3 -c), 'import alembic, psycopg2'))
{
	my ($version) = (run_in('/', qw(/usr/bin/python3 -c), 'import sqlalchemy; print(sqlalchemy.__version__)'))[1] =~ /^(\d+)/;
	my %seen = (in_public => 1, seen => $version >= 2, unseen => 0);
	my ($up, $said, $project);

	note "SQLAlchemy $version";
	foreach my $database (sort keys %seen)
	{
		($up, $said) = revision($database, 0);
		is(scalar(() = $up =~ /op\.drop_table\('pay_/g), $seen{$database} ? $tables : 0, "$database: as the guide says, how many it would drop");
		($up, $said, $project) = revision($database, 1);
		unlike($up . $said, qr/['"]pay_/, "$database: with the recipe nothing of ours is even looked at");
		is(scalar(() = $up =~ /op\./g), 1, "$database: and one step is left");
		like($up, qr/op\.create_table\('orders'/, "$database: the shop's table is made");
		my ($ok, undef, $err) = run_in($project, qw(/usr/bin/python3 -m alembic upgrade head));
		ok($ok && sql($database, "SELECT to_regclass('public.orders') IS NOT NULL") eq 't', "$database: the revision runs") or diag($err);
	}
}

# ---- Rails

my ($ignore, $flags) = blocks($text, 'Rails', 'ruby');
my $rails = <<'RUBY';
require 'active_record'
require 'active_record/schema_dumper'

settings = { adapter: 'postgresql', host: ENV['PGHOST'], port: ENV['PGPORT'], username: ENV['PGUSER'], database: ARGV[0] }
ActiveRecord::Base.establish_connection(settings)
RUBY

# ruby(database, program): what it prints.
sub ruby
{
	my ($database, $program) = @_;

	write_file("$dir/program.rb", $rails . $program);
	my ($ok, $out, $err) = run_in($dir, 'ruby', 'program.rb', $database);
	ok($ok, "$database: the program ends well") or diag($err);
	return $out;
}

my $dump = <<'RUBY';
# schemas are of a connection, and since Rails 7.2 of a pool
ActiveRecord::SchemaDumper.dump(ActiveRecord::VERSION::STRING < '7.2' ? ActiveRecord::Base.connection : ActiveRecord::Base.connection_pool)
RUBY

if (is_there('Active Record', 'ruby-activerecord', 'ruby', '-e', 'require "active_record"; require "pg"'))
{
	sql($_, 'CREATE TABLE IF NOT EXISTS orders (order_no text PRIMARY KEY)') foreach qw(in_public seen unseen);
	foreach ([ 'in_public', 1 ], [ 'seen', 1 ], [ 'unseen', 0 ])
	{
		my ($database, $seen) = @$_;
		my $out = ruby($database, $dump);

		is(!!($out =~ /Could not dump table "pay_payment"/), !!$seen, "$database: as the guide says, whether schema.rb breaks");
		$out = ruby($database, $ignore . $dump);
		unlike($out, qr/Could not|create_table "pay_/, "$database: with the recipe nothing of ours is in it");
		like($out, qr/create_table "orders"/, "$database: and the shop's table is");
	}

	# structure.sql: into a database that Rails makes from a template where the DBA was
	my ($test, $template) = map { /^test:\n  database: (\w+)\n  template: (\w+)$/ } blocks($text, 'Rails', 'yaml');

	database($template, 'pay', $paths);
	ruby('seen', <<"RUBY");
$flags
tasks = ActiveRecord::Tasks::DatabaseTasks
config = ActiveRecord::DatabaseConfigurations::HashConfig.new('development', 'primary', settings)
tasks.structure_dump(config, 'structure.sql')
config = ActiveRecord::DatabaseConfigurations::HashConfig.new('test', 'primary', settings.merge(database: '$test', template: '$template'))
tasks.create(config)
tasks.structure_load(config, 'structure.sql')
RUBY
	my $sql = slurp_file("$dir/structure.sql");
	unlike($sql, qr/ pay[_.](?!idem)|CREATE SCHEMA/, 'structure.sql has nothing of ours');
	like($sql, qr/CREATE TABLE public\.orders/, 'and has the shop\'s table');
	is(sql($test, "SELECT to_regclass('public.orders'), decision FROM pay." . prepay('A1', 'r1')), 'orders|proceed', 'it is loaded into a database where orders are paid');
}

no_leaks($node);
done_testing();
