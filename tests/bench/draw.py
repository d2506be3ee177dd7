# SPDX-License-Identifier: Apache-2.0
"""bench.json as two pictures, by gnuplot: stages.svg (CPU by stage beside the budget) and
curves.svg (speed and memory against the input's size)."""
import os
import subprocess

STAGES = """
set terminal svg size 900,420 font "sans-serif,13" background "white"
set output "{svg}"
set title "{title}"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.85 border -1
set boxwidth 0.9
set ylabel "percent of all CPU"
set yrange [0:*]
set grid ytics
set key top right
plot $data using 2:xtic(1) title "measured" linecolor "#2b6ca3", \\
     $data using 3 title "budget" linecolor "#c9c9c9"
"""

CURVES = """
set terminal svg size 900,420 font "sans-serif,13" background "white"
set output "{svg}"
set title "{title}"
set logscale x
set xlabel "input, MB"
set ylabel "MB a core second"
set y2label "anonymous memory, MB"
set yrange [0:*]
set y2range [0:*]
set ytics nomirror
set y2tics
set grid
set key bottom right
plot $data using 1:2 with linespoints linewidth 2 pointtype 7 linecolor "#2b6ca3" \\
         title "speed", \\
     $data using 1:3 axes x1y2 with linespoints linewidth 2 pointtype 5 linecolor "#b5542b" \\
         title "memory"
"""


def gnuplot(template, rows, path, title):
    data = "\n".join(" ".join(str(value) for value in row) for row in rows)
    script = f"$data << END\n{data}\nEND\n" + template.format(svg=path, title=title)
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def draw(result, folder):
    """Writes both pictures into the folder; their paths."""
    size = result["input"]["bytes"] / 1e6
    ratio = result["ways"]["duckdb"]["ratio"]
    speed = result["ways"]["bidlake"]["mb_per_core_second"]
    stages = os.path.join(folder, "stages.svg")
    gnuplot(STAGES, [(f'"{line["stage"]}"', f"{line['percent']:.2f}", line["budget_percent"] or 0)
                     for line in result["stages"]], stages,
            f"{size:.0f} MB of bid requests to a committed table: {speed:.0f} MB a core second,"
            f" {ratio:.2f}x DuckDB")
    if not result.get("curve"):
        return [stages]
    curves = os.path.join(folder, "curves.svg")
    gnuplot(CURVES, [(f"{line['bytes'] / 1e6:.1f}", f"{line['mb_per_core_second']:.1f}",
                      f"{line['peak_anonymous_bytes'] / 1e6:.1f}") for line in result["curve"]],
            curves, "ingest and commit against the size of the input")
    return [stages, curves]
