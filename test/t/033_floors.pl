# The rooms of src/ stand on the floors that src/README.md names: each on one, no file
# includes a header of a floor above its own, and no rooms include each other in a
# circle. A room is X.c and X.h.

use strict;
use warnings;

use FindBin;
use List::Util qw(minstr);
use Test::More;

my $src = "$FindBin::Bin/../../src";

sub text_of
{
	my ($file) = @_;

	open my $in, '<', $file or die "$file: $!";
	local $/;
	return scalar <$in>;
}

# What is wrong with the rooms of files, a hash of texts by name.
sub faults
{
	my (%files) = @_;
	my (%floor, %beside, %seen, @faults);
	my ($table) = $files{'README.md'} =~ /^\| floor \| rooms \|\n\|-+\|-+\|\n((?:\|.*\n)+)/m or return 'no table of floors';
	my $n = 0;

	foreach my $row (split /\n/, $table)
	{
		$n++;
		foreach my $room ((split /\|/, $row)[2] =~ /`(\w+)`/g)
		{
			push @faults, "$room is on two floors" if $floor{$room};
			push @faults, "there is no room $room" if !grep { exists $files{"$room.$_"} } qw(c h);
			$floor{$room} = $n;
		}
	}
	foreach my $file (sort grep { !/\.md$/ } keys %files)
	{
		my ($room) = $file =~ /^(\w+)\.[ch]$/;

		if (!defined $room || !$floor{$room})
		{
			push @faults, "$file is on no floor";
			next;
		}
		foreach my $other ($files{$file} =~ /^\s*#\s*include\s*["<](\w+)\.h[">]/mg)
		{
			next if $other eq $room || !$floor{$other} || !exists $files{"$other.h"};
			push @faults, "$file includes $other.h of a floor above" if $floor{$other} < $floor{$room};
			$beside{$room}{$other} = 1 if $floor{$other} == $floor{$room};
		}
	}
	my $visit;
	$visit = sub {
		my ($room, @way) = @_;

		if (grep { $_ eq $room } @way)
		{
			shift @way while $way[0] ne $room;
			push @way, shift @way while $way[0] ne minstr(@way);
			push @faults, join(' includes ', @way, $way[0]);
		}
		elsif (!$seen{$room}++)
		{
			$visit->($_, @way, $room) foreach sort keys %{ $beside{$room} };
		}
	};
	$visit->($_) foreach sort keys %beside;
	return @faults;
}

my %files = map { s{.*/}{}r => text_of($_) } grep { !/\.(o|bc)$/ } glob "$src/*";
cmp_ok(scalar(grep { /\.c$/ } keys %files), '>', 20, 'there are rooms');
is(join("\n", faults(%files)), '', 'each room is on its floor');

# It would be seen if one was not.
my %wrong = (
	'an include upwards' => [ { 'number.c' => $files{'number.c'} . qq(#include "answer.h"\n) }, 'number.c includes answer.h of a floor above' ],
	'a header that includes upwards' => [ { 'record.h' => $files{'record.h'} . qq(#include "review.h"\n) },
'record.h includes review.h of a floor above' ],
	'a circle on one floor' => [ { 'hold.h' => $files{'hold.h'} . qq(# include "record.h"\n) }, 'hold includes record includes hold' ],
	'a circle by way of another room' => [ { 'text.h' => $files{'text.h'} . qq(#include "payment.h"\n), 'number.c' => $files{'number.c'} . qq(#include "text.h"\n) },
		'number includes text includes payment includes rows includes number' ],
	'a file of no room' => [ { 'odds.c' => '' }, 'odds.c is on no floor' ],
	'a room without a file' => [ { 'README.md' => $files{'README.md'} =~ s/`text`/`text` `odds`/r }, 'there is no room odds' ],
	'a room on two floors' => [ { 'README.md' => $files{'README.md'} =~ s/`errors`/`errors` `text`/r }, 'text is on two floors' ]);
foreach my $what (sort keys %wrong)
{
	my ($with, $expected) = @{ $wrong{$what} };

	is(join("\n", faults(%files, %$with)), $expected, $what);
}

done_testing();
