# report.sh: RESULTS.md and the two plots, from what runs left in $FIGURES: facts, times ("question side ms") and memory of the last
# comparison, growth ("events question ms") of the last curve; what is not there is left out. notes.md is put behind the figures.
of() { grep "^$1 $2 " "$FIGURES/times" | cut -d' ' -f3 | median; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }
grown() { grep "^$1 $2 " "$FIGURES/growth" | cut -d' ' -f3 | median; }
mb() { awk -v b="$1" 'BEGIN {printf "%.0f MB", b / 1048576}'; }
rate() { awk -v n="$1" -v ms="$2" 'BEGIN {printf "%.2f", n / ms / 1000}'; }

compared() {
	local EVENTS PROFILES HEAP TOTAL TL_SIZE ALL_PACK_MS ROUNDS LOAD CORES SERVER q t c d l a e p
	. "$FIGURES/facts"
	echo "$EVENTS events of $PROFILES people; PostgreSQL $SERVER, ClickHouse 18.16, DuckDB 1.5, two threads each on $CORES cores,"
	echo "the load of the machine at the end was $LOAD. Medians of $ROUNDS rounds, milliseconds. All sides gave the same answers."
	echo
	echo "| question | timelines | ClickHouse | ratio | DuckDB | ratio | two days in the event table | to packed rows in turns | to ClickHouse | aggregates over events | plain SQL | ratio |"
	echo "|---|---|---|---|---|---|---|---|---|---|---|---|"
	for q in funnel abandoned views; do
		t=$(of $q timeline) c=$(of $q ch) d=$(of $q duck) l=$(of $q tail) a=$(of $q packed) e=$(of $q events) p=$(of $q plain)
		printf '| %s | %.0f | %.0f | %s | %.0f | %s | %.0f | %s | %s | %.0f | %.0f | %s |\n' $q "$t" "$c" "$(ratio "$t" "$c")" "$d" "$(ratio "$t" "$d")" \
			"$l" "$(ratio "$l" "$a")" "$(ratio "$l" "$c")" "$e" "$p" "$(ratio "$e" "$p")"
	done
	echo
	echo "| what | value |"
	echo "|---|---|"
	echo "| events: heap, with indexes | $(mb "$HEAP"), $(mb "$TOTAL") |"
	echo "| timelines with key and value | $(mb "$TL_SIZE"), $(ratio "$TL_SIZE" "$HEAP") of the heap |"
	echo "| packing, one process | $(rate "$EVENTS" "$ALL_PACK_MS") million events/s |"
	echo
	echo "| memory of a question: peak of all its processes above the idle server, work_mem 16 MB | MB |"
	echo "|---|---|"
	sed 's/^\(.*\) \(-\{0,1\}[0-9]*\)$/| \1 | \2 |/' "$FIGURES/memory"
}

sizes() { cut -d' ' -f1 "$FIGURES/growth" | sort -nu; }
curve() {
	local n
	echo
	echo "Growth: timelines packed from the same generator's events, milliseconds a question, medians of five."
	echo
	echo "| events | funnel | abandoned | views | packing, million events/s |"
	echo "|---|---|---|---|---|"
	for n in $(sizes); do
		printf '| %s | %.0f | %.0f | %.0f | %s |\n' "$n" "$(grown "$n" funnel)" "$(grown "$n" abandoned)" "$(grown "$n" views)" "$(rate "$n" "$(grown "$n" pack)")"
	done
}

{
	echo "# Questions over history"
	echo
	[ ! -s "$FIGURES/facts" ] || compared
	[ ! -s "$FIGURES/growth" ] || curve
	if [ -s "$HERE/notes.md" ]; then
		echo
		cat "$HERE/notes.md"
	fi
} > "$WORK/RESULTS.md"
cat "$WORK/RESULTS.md"

svg_open() { echo "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"$1\" font-family=\"sans-serif\" font-size=\"12\"><rect width=\"720\" height=\"$1\" fill=\"#fff\"/><text x=\"20\" y=\"24\" font-size=\"15\">$2</text>"; }
rm -f "$WORK"/*.svg
if [ -s "$FIGURES/facts" ]; then
for q in funnel abandoned views; do for s in timeline ch duck; do echo "$q $s $(of $q $s)"; done; done | awk '
	{q[NR] = $1; s[NR] = $2; v[NR] = $3; if ($3 > max) max = $3}
	END {
		name["timeline"] = "timelines"; name["ch"] = "ClickHouse"; name["duck"] = "DuckDB"
		fill["timeline"] = "#1b7f4b"; fill["ch"] = "#c9a227"; fill["duck"] = "#7a7a7a"
		y = 50
		for (i = 1; i <= NR; i++) {
			if (i % 3 == 1) {printf "<text x=\"20\" y=\"%d\" font-weight=\"bold\">%s</text>\n", y + 12, q[i]; y += 18}
			w = v[i] / max * 480; if (w < 2) w = 2
			printf "<text x=\"30\" y=\"%d\">%s</text><rect x=\"120\" y=\"%d\" width=\"%.1f\" height=\"14\" fill=\"%s\"/><text x=\"%.1f\" y=\"%d\">%.0f ms</text>\n", y + 12, name[s[i]], y, w, fill[s[i]], 126 + w, y + 12, v[i]
			y += 20; if (i % 3 == 0) y += 10
		}
	}' > "$WORK/bars"
{ svg_open 310 "The same questions over $(sed -n 's/.*EVENTS=\([0-9]*\).*/\1/p' "$FIGURES/facts") events"; cat "$WORK/bars"; echo "</svg>"; } > "$WORK/compare.svg"
fi
if [ -s "$FIGURES/growth" ]; then
	for n in $(sizes); do for q in funnel abandoned views; do echo "$n $q $(grown "$n" $q)"; done; done | awk '
		{n[NR] = $1; q[NR] = $2; v[NR] = $3; if ($1 > mx) mx = $1; if ($3 > my) my = $3}
		END {
			c["funnel"] = "#1b7f4b"; c["abandoned"] = "#2563a8"; c["views"] = "#b0452c"
			print "<line x1=\"70\" y1=\"330\" x2=\"620\" y2=\"330\" stroke=\"#444\"/><line x1=\"70\" y1=\"330\" x2=\"70\" y2=\"50\" stroke=\"#444\"/>"
			printf "<text x=\"20\" y=\"60\">%.0f ms</text><text x=\"30\" y=\"334\">0</text><text x=\"560\" y=\"350\">%d million events</text>\n", my, mx / 1e6
			k = 0
			for (s in c) {
				pts = "70,330"
				for (i = 1; i <= NR; i++) if (q[i] == s) {
					x = 70 + n[i] / mx * 550; y = 330 - v[i] / my * 280
					pts = pts sprintf(" %.1f,%.1f", x, y)
					printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x, y, c[s]
				}
				printf "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/><text x=\"90\" y=\"%d\" fill=\"%s\">%s</text>\n", pts, c[s], 70 + 18 * k++, c[s], s
			}
		}' > "$WORK/curve"
	{ svg_open 370 "Time of a question over timelines as events grow"; cat "$WORK/curve"; echo "</svg>"; } > "$WORK/growth.svg"
fi
if [ -z "${BENCH_NO_WRITE-}" ]; then cp "$WORK"/RESULTS.md "$WORK"/*.svg "$HERE/"; fi
