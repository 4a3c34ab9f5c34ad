"""The table in Markdown and the plot."""

import subprocess
from statistics import median

from .rows import ENGINE_MEMORY, ENGINE_MEMORY_GOAL_BYTES, RESYNC, RESYNC_GOAL

OURS = ("lockstep", "lockstep-solo")


def middle(cells, key):
    """Median of one number over the rounds, or None."""
    values = [cell[key] for cell in cells if cell.get(key) is not None]
    return median(values) if values else None


def rate(value, unit):
    """A rate for people."""
    if value is None:
        return "–"
    return f"{value / 1e6:,.0f} MB/s" if unit == "bytes_per_s" else f"{value:,.0f} IOPS"


def ratio_text(ratio, goal, at_most=False):
    """A ratio, its goal, and whether it is reached."""
    if ratio is None:
        return "not measured"
    reached = ratio <= goal if at_most else ratio >= goal
    sign = "≤" if at_most else "≥"
    return f"{ratio:.2f} × (goal {sign} {goal:g}: {'reached' if reached else 'missed'})"


def line_of(row, results):
    """One row: what each contestant reached, the ratio and the goal."""
    of = {name: cells for (work, name), cells in results.items() if work == row.name}
    rates = {name: middle(cells, row.unit) for name, cells in of.items()}
    ours = next((name for name in OURS if name in rates), None)
    against = rates.get(row.against)
    ratio = None
    if ours and against:
        ratio = rates[ours] / (against * row.share)
    cpu_ratio = None
    if row.goal_cpu is not None and ours and row.against in of:
        own, other = (middle(of[name], "cpu_s_per_1000") for name in (ours, row.against))
        cpu_ratio = own / other if own is not None and other else None
    return rates, ours, ratio, cpu_ratio, of


def table(rows, results):
    """The main table."""
    lines = [
        "| work | contestant | rate | mean | p99 | CPU per 1000 ops | peak memory | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rates, ours, ratio, cpu_ratio, of = line_of(row, results)
        for name in sorted(of, key=lambda name: (name not in OURS, name)):
            verdict = ""
            if name == ours:
                verdict = ratio_text(ratio, row.goal) + f" of {row.against}"
                if row.share != 1.0:
                    verdict += f" × {row.share:g}"
                if row.goal_cpu is not None:
                    verdict += "; CPU " + ratio_text(cpu_ratio, row.goal_cpu, at_most=True)
            cells = of[name]
            cpu, peak = middle(cells, "cpu_s_per_1000"), middle(cells, "peak_bytes")
            fields = [
                row.work if name == ours or ours is None else "",
                name,
                rate(rates[name], row.unit),
                f"{middle(cells, 'us'):,.0f} µs",
                f"{middle(cells, 'us_p99'):,.0f} µs",
                "–" if cpu is None else f"{cpu * 1000:,.1f} ms",
                "–" if peak is None else f"{peak / (1 << 20):,.0f} MiB",
                verdict,
            ]
            lines.append("| " + " | ".join(fields) + " |")
    return lines


def specials(extra):
    """Rows that fio alone does not measure."""
    lines = []
    if RESYNC in extra:
        found = extra[RESYNC]
        lower = min(found["disk"], found["link"])
        lines += [
            "",
            f"Resync of {found['bytes'] / 1e6:,.0f} MB of dirty data on disk: "
            f"{rate(found['rate'], 'bytes_per_s')}; the disk that holds both images reads one and "
            f"writes the other with {rate(found['disk'], 'bytes_per_s')}, "
            f"the link carries {rate(found['link'], 'bytes_per_s')}: "
            + ratio_text(found["rate"] / lower, RESYNC_GOAL)
            + " of the lower.",
        ]
    if ENGINE_MEMORY in extra:
        peak = extra[ENGINE_MEMORY]
        reached = "reached" if peak <= ENGINE_MEMORY_GOAL_BYTES else "missed"
        lines += [
            "",
            "Peak memory of one engine, volume of 1 TiB under full load: "
            f"{peak / (1 << 20):,.0f} MiB "
            f"(goal ≤ {ENGINE_MEMORY_GOAL_BYTES >> 20} MiB: {reached}).",
        ]
    return lines


def markdown(facts, rows, results, extra, equal):
    """The whole report."""
    lines = ["# Benchmark", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    for name, same in equal.items():
        lines.append(f"- images of {name} afterwards: {'identical' if same else 'DIFFERENT'}")
    lines += ["", *table(rows, results), *specials(extra), ""]
    return "\n".join(lines)


def plot(folder, rows, results):
    """Bars of each row's ratio to what it is measured against, with a mark at the goal."""
    points = []
    for row in rows:
        _, _, ratio, _, _ = line_of(row, results)
        if ratio is not None:
            points.append((row.name, ratio, row.goal))
    if not points:
        return None
    data = folder / "ratios.dat"
    data.write_text("".join(f'"{name}" {ratio:.3f} {goal:g}\n' for name, ratio, goal in points))
    picture = folder / "bench.png"
    script = f"""
set terminal pngcairo size 1100,560 font "sans,11"
set output "{picture}"
set title "Lockstep against its peer in each row (1 = the peer), medians"
set style fill solid 0.8
set boxwidth 0.6
set yrange [0:*]
set ylabel "ratio"
set grid ytics
set xtics rotate by -25
set key top left
plot "{data}" using 0:2:xtic(1) with boxes title "reached" lc rgb "#2a6f97", \\
     "{data}" using 0:3 with points pt 7 ps 1.6 lc rgb "#d1495b" title "goal", \\
     1 with lines dt 2 lc rgb "#666666" title "peer"
"""
    done = subprocess.run(
        ["gnuplot"], input=script, capture_output=True, text=True, check=False
    )
    return picture if done.returncode == 0 else f"no plot: {done.stderr.strip()}"
