# The ratios of bench/RESULTS.md as bars, with their targets. bench/report calls it with
#	chart    a file: place, what, against, ratio, smallest, largest, target, met (1 or 0)
#	output   the picture
# More is better in all of them. The axis is logarithmic and begins at "as good as the other".

if (!exists("kind")) kind = 'svg'

set datafile separator "\t"
stats chart using 6 nooutput
n = STATS_records
top = STATS_max
stats chart using 5 nooutput
low = STATS_min < 0.6 ? STATS_min / 1.2 : 0.5

height = 120 + 34 * n
if (kind eq 'svg') set terminal svg size 1120, height font 'Helvetica, Arial, sans-serif,13' background rgb 'white' dynamic
if (kind eq 'png') set terminal pngcairo size 1120, height font 'Helvetica,10' background rgb 'white'
set output output

set label 1 "pay_idem beside the others: how many times as good" at screen 0.012, screen (1 - 24.0 / height) left noenhanced font ',17'
set label 2 "bar: median of the rounds · thin line: smallest to largest · black mark: target · green: met, red: missed" \
	at screen 0.012, screen (1 - 48.0 / height) left noenhanced font ',11' textcolor rgb '#666666'
set logscale x 2
set xrange [low : top * 1.7]
set yrange [n + 0.7 : 0.3]
set lmargin at screen 0.42
set rmargin at screen 0.98
set tmargin at screen (1 - 70.0 / height)
set bmargin at screen (36.0 / height)
set border 1
set xtics nomirror format "%g ×" (0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256)
set grid xtics lc rgb '#dddddd' lt 1
set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb '#444444' lw 1.5 front
set ytics scale 0 nomirror
unset key

right(high, goal) = high > goal ? (high > 1 ? high : 1) : (goal > 1 ? goal : 1)
colour(m) = m == 1 ? 0x2a7f62 : 0xc8553d

plot chart using 4 : 0 : (1) : 4 : ($0 + 1 - 0.28) : ($0 + 1 + 0.28) : (colour($8)) with boxxyerror fillstyle solid noborder lc rgb variable, \
	chart using 5 : ($0 + 1) : ($6 - $5) : (0) with vectors nohead lc rgb '#222222' lw 1.5, \
	chart using 7 : ($0 + 1 - 0.42) : (0) : (0.84) with vectors nohead lc rgb '#000000' lw 3, \
	chart using (right($6, $7)) : ($0 + 1) : (sprintf("  %.2f", $4)) with labels left font ',12', \
	chart using (low) : ($0 + 1) : (sprintf("%s  ", strcol(2))) with labels right noenhanced offset 0, 0.35 font ',12', \
	chart using (low) : ($0 + 1) : (sprintf("%s  ", strcol(3))) with labels right noenhanced offset 0, -0.5 font ',10' textcolor rgb '#666666', \
	chart using (1) : ($0 + 1) : ytic("") with points pointtype 0
