# What the tests of the guides share: the code that stands in a guide, and what apt
# has of it.
package Guide;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(guide blocks run_in is_there);

# The text of a guide.
sub guide { return slurp_file("$FindBin::Bin/../../doc/$_[0]") }

# The code of one language beneath one heading.
sub blocks
{
	my ($text, $heading, $language) = @_;
	my ($section) = $text =~ /^#+ \Q$heading\E\n(.*?)(?=^#+ |\z)/ms or die "no heading $heading\n";

	# what begins with # in code is no heading
	($section) = $text =~ /^#+ \Q$heading\E\n(.*?)(?=^##+ |\z)/ms;
	return $section =~ /^```\Q$language\E\n(.*?)^```$/msg;
}

# A program in a directory: whether it ended well, and what it said.
sub run_in
{
	my ($directory, @command) = @_;
	my ($out, $err) = ('', '');
	my $ok = eval {
		IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err,
			init => sub { chdir $directory or die "$directory: $!\n" }, IPC::Run::timeout(120));
	};

	return ($ok, $out, $err . $@);
}

# is_there(name, package, command): does it work? Where it does not, that is a failure,
# unless apt has no such package: then it is left out, and said.
sub is_there
{
	my ($name, $package, @command) = @_;
	my ($ok, $out, $err) = run_in('/', @command);

	return 1 if $ok;
	my ($candidate) = (run_in('/', 'apt-cache', 'policy', $package))[1] =~ /Candidate: (?!\(none\))(\S+)/;
	return fail("$name works: test/setup drivers installs $package") && diag($err) if defined $candidate;
	diag("left out: $name, apt has no $package here");
  SKIP: { skip("$name: apt has no $package here", 1) }
	return 0;
}

1;
