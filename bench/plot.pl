# bench/plot.pl [--text] FILE
#
# Draws the table that bench/run has written, as SVG or, with --text, as text.
#
# The drawing has one bar for each measurement that has a target.  It shows, on a
# logarithmic scale, how far the measurement is from its target.  If the bar ends
# left of the line, the target was met.

use strict;
use warnings;

my $text = @ARGV && $ARGV[0] eq '--text' ? shift : undef;
my ($file) = @ARGV;
die "usage: plot.pl [--text] FILE\n" unless defined $file;

my (@notes, @rows);
open(my $in, '<', $file) or die "could not open $file: $!\n";
while (<$in>)
{
	chomp;
	if (/^# (.*)/) { push @notes, $1; next; }
	my %row;
	@row{qw(measurement unit value floor ratio target result)} = split /\t/, $_, -1;
	push @rows, \%row unless $row{measurement} eq 'measurement';
}
close($in);

if ($text)
{
	my $format = "%-54s %9s %-2s %9s %7s %7s  %s\n";

	print "$_\n" foreach @notes;
	printf $format, 'measurement', 'value', '', 'floor', 'ratio', 'target', '';
	printf $format, @$_{qw(measurement value unit floor ratio target result)}
	  foreach @rows;
	exit;
}

my @drawn = grep { $_->{target} ne '' } @rows;
die "$file has no measurement with a target\n" unless @drawn;

my ($label_width, $bar_width, $value_width) = (400, 320, 180);
my ($row_height, $top) = (22, 58);
my $width = $label_width + $bar_width + $value_width;
my $height = $top + $row_height * @drawn + 16;

# The scale goes from a tenth of the target to ten times it.
sub x_of
{
	my ($share) = @_;
	my $decades = log($share) / log(10);
	$decades = -1 if $decades < -1;
	$decades = 1 if $decades > 1;
	return $label_width + $bar_width * ($decades + 1) / 2;
}

sub escape
{
	my ($string) = @_;
	$string =~ s/&/&amp;/g;
	$string =~ s/</&lt;/g;
	return $string;
}

sub write_text
{
	my ($x, $y, $anchor, $string) = @_;
	printf qq(<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>\n),
	  $x, $y, $anchor, escape($string);
}

print <<SVG;
<svg xmlns="http://www.w3.org/2000/svg" width="$width" height="$height" viewBox="0 0 $width $height" font-family="sans-serif" font-size="12">
<rect width="$width" height="$height" fill="white"/>
SVG
write_text(8, 18, 'start', join('; ', @notes));
write_text(x_of($_), $top - 8, 'middle', $_ == 1 ? 'target' : "$_ x")
  foreach (0.1, 0.3, 1, 3, 10);
foreach my $i (0 .. $#drawn)
{
	my $row = $drawn[$i];
	my $y = $top + $row_height * $i;
	my $compared = $row->{ratio} ne '' ? $row->{ratio} : $row->{value};
	my $end = x_of($compared / $row->{target});
	my $value = $row->{ratio} ne '' ? "ratio $row->{ratio}" : "$row->{value} $row->{unit}";

	write_text($label_width - 8, $y + 15, 'end', $row->{measurement});
	printf qq(<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s"/>\n),
	  $label_width, $y + 3, $end - $label_width, $row_height - 6,
	  $compared <= $row->{target} ? '#4a8f5c' : '#c2542e';
	write_text($label_width + $bar_width + 8, $y + 15, 'start',
		"$value, target $row->{target}");
}
printf qq(<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="black"/>\n),
  x_of(1), $top - 4, x_of(1), $top + $row_height * @drawn;
print "</svg>\n";
