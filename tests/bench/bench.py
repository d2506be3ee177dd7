#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: how fast bid requests become a committed table, held against DuckDB.

bidlake-gen makes a file of at least 300 MB (seeded, kept under build/bench). Then, in turns
and BENCH_RUNS times (5): bidlake (ingest through the durable spool, then commit once, into
an embedded catalog and a file store), DuckDB's COPY as it is, and DuckDB's COPY sorted as
our files are. Counted are CPU seconds, user and system, of whole processes (of DuckDB only
the COPY), since wall time says nothing on a shared machine. All outputs must hold the same
rows, or the run fails.

usage: bench.py [--build DIR] [--runs N] [--count N] [--no-curve] [--keep]
Then other sizes (curve.py) and other shapes (shape_curve.py). Prints a report, writes bench.json and draws stages.svg and
curves.svg (draw.py) into DIR/... Exit: 0 done, 1 the outputs differ or a step failed.
"""
import argparse
import glob
import json
import os
import platform
import shutil
import statistics
import sys

import duckdb

import curve
import draw
import shape_curve
from measure import SEED, Failed, make_input, run_bidlake, run_measured, warm

HERE = os.path.dirname(os.path.abspath(__file__))
COUNT = 340_000  # requests of about 960 bytes
FILE_BYTES_MIN = 300_000_000
WAYS = ("bidlake", "duckdb", "duckdb_sorted")

# Percent of a run that a stage may take; None: has no share of its own, goes with the
# stage before it.
BUDGET = (("read", 5), ("shred", 40), ("spool", 6), ("index + sort", 4), ("encode", 15),
          ("zstd", 18), ("write", 8), ("upload", None), ("commit", 4))

# What both sides must agree on, besides device_geo_country, which DuckDB only upper-cases.
COLUMNS = ("request_id", "imp_id", "imp_banner_w", "imp_banner_h", "imp_bidfloor", "site_id",
           "site_domain", "site_cat", "publisher_id", "device_type", "device_os",
           "device_geo_region", "user_id", "auction_type", "tmax", "currency", "is_coppa",
           "is_gdpr", "event_timestamp", "received_at")


# -- one run of each ---------------------------------------------------------------------

def run_duckdb(folder, source, ordered):
    target = os.path.join(folder, "duckdb_sorted.parquet" if ordered else "duckdb.parquet")
    arguments = [sys.executable, os.path.join(HERE, "duckdb_copy.py"), source, target]
    if ordered:
        arguments.append("--sorted")
    measured = run_measured(arguments, os.path.join(folder, "duckdb"))
    copy = json.loads(measured["text"])
    return {"cpu_seconds": copy["cpu_seconds"], "seconds": copy["seconds"],
            "process_cpu_seconds": measured["cpu_seconds"],
            "peak_rss_bytes": measured["peak_rss_bytes"],
            "peak_anonymous_bytes": measured["peak_anonymous_bytes"],
            "output_bytes": os.path.getsize(target), "files": [target]}


# -- the same rows? ----------------------------------------------------------------------

def fingerprint(files):
    """Exact, so order doesn't matter: floors have four digits behind the point."""
    counts = ", ".join(f"count({column})" for column in COLUMNS)
    row = duckdb.connect().execute(
        f"""SELECT count(*), sum(imp_bidfloor::DECIMAL(18, 6)), sum(len(site_cat)),
                   sum(imp_banner_w::BIGINT * imp_banner_h), sum(tmax), sum(is_coppa::INT),
                   sum(is_gdpr::INT), sum(epoch_us(event_timestamp)::HUGEINT),
                   sum(hash(request_id, imp_id, site_domain, publisher_id, user_id)::HUGEINT),
                   {counts} FROM read_parquet(?, hive_partitioning = false)""", [files]).fetchone()
    names = ("rows", "floors", "categories", "areas", "tmax", "coppa", "gdpr", "times", "keys")
    return dict(zip(names + tuple("values of " + column for column in COLUMNS), map(int_of, row)))


def int_of(value):
    """Whole micros for the sum of floors; the rest are whole already."""
    return int(value * 1_000_000) if not isinstance(value, int) else value


def verify(results, made):
    expected = fingerprint(results["duckdb"]["files"])
    table = made["tables"]["bid_requests"]
    if expected["rows"] != table["rows"] or expected["floors"] != table["price_micros"]:
        raise Failed(f"generated {table}, DuckDB read {expected}")
    for way in WAYS:
        found = fingerprint(results[way]["files"])
        for name, value in expected.items():
            if found[name] != value:
                raise Failed(f"{way}: {name} is {found[name]}, DuckDB has {value}")
    return expected


# -- report ------------------------------------------------------------------------------

def median_of(runs, key):
    return statistics.median(run[key] for run in runs)


def summarize(runs, size):
    out = {}
    for way in WAYS:
        cpu = median_of(runs[way], "cpu_seconds")
        out[way] = {"cpu_seconds": cpu, "mb_per_core_second": size / 1e6 / cpu,
                    "cpu_seconds_runs": [run["cpu_seconds"] for run in runs[way]]}
        for key in ("peak_rss_bytes", "peak_anonymous_bytes", "output_bytes"):
            out[way][key] = median_of(runs[way], key)
    for way in WAYS[1:]:
        out[way]["ratio"] = out[way]["cpu_seconds"] / out["bidlake"]["cpu_seconds"]
    return out


def stage_table(runs):
    total = median_of(runs, "cpu_seconds")
    budget = dict(BUDGET)
    order = [name for name, _ in BUDGET[:-1]] + ["rest of ingest", "commit"]
    table = []
    for name in order:
        cpu = statistics.median(run["stages"][name] for run in runs)
        table.append({"stage": name, "cpu_seconds": cpu, "percent": 100 * cpu / total,
                      "budget_percent": budget.get(name)})
    return table


def print_report(result):
    size = result["input"]["bytes"]
    print(f"\n{result['input']['events']} bid requests, {result['input']['rows']} rows, "
          f"{size / 1e6:.0f} MB; median of {result['runs']}\n")
    print("                 CPU s   MB/core s   peak RSS   anonymous    output   bidlake is")
    for way in WAYS:
        line = result["ways"][way]
        ratio = f"{line['ratio']:.2f}x" if "ratio" in line else ""
        print(f"{way:14} {line['cpu_seconds']:7.3f} {line['mb_per_core_second']:11.1f}"
              f" {line['peak_rss_bytes'] / 1e6:7.0f} MB {line['peak_anonymous_bytes'] / 1e6:8.0f} MB"
              f" {line['output_bytes'] / 1e6:6.1f} MB   {ratio:>10}")
    print("\nstage             CPU s   percent   budget")
    for line in result["stages"]:
        budget = line["budget_percent"]
        print(f"{line['stage']:15} {line['cpu_seconds']:7.3f} {line['percent']:9.1f}"
              f" {budget if budget is not None else '':>8}")
    print()


def machine():
    name = ""
    with open("/proc/cpuinfo") as text:
        for line in text:
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return {"cpu": name, "cores": os.cpu_count(), "system": platform.platform(),
            "load_before": os.getloadavg()[0]}


def bench(options):
    folder = os.path.join(os.path.dirname(os.path.abspath(options.build)), "bench")
    os.makedirs(folder, exist_ok=True)
    source, made = make_input(options.build, folder, options.count)
    size = os.path.getsize(source)
    if options.count == COUNT and size < FILE_BYTES_MIN:
        raise Failed(f"{source} has only {size} bytes: raise COUNT in bench.py")
    warm(source)
    about = machine()
    runs = {way: [] for way in WAYS}
    for i in range(options.runs):
        results = {"bidlake": run_bidlake(options.build, folder, source),
                   "duckdb": run_duckdb(folder, source, False),
                   "duckdb_sorted": run_duckdb(folder, source, True)}
        if i == 0:
            checked = verify(results, made)
        for way in WAYS:
            runs[way].append(results[way])
        print(f"run {i + 1} of {options.runs}: " + ", ".join(
            f"{way} {results[way]['cpu_seconds']:.3f} s" for way in WAYS), flush=True)
    result = {"v": 1, "machine": about, "runs": options.runs, "duckdb": duckdb.__version__,
              "input": {"bytes": size, "seed": SEED,
                        "events": made["tables"]["bid_requests"]["events"],
                        "rows": checked["rows"], "floor_micros": checked["floors"]},
              "ways": summarize(runs, size), "stages": stage_table(runs["bidlake"]),
              "files": len(runs["bidlake"][-1]["files"])}
    print_report(result)
    if not options.keep:
        shutil.rmtree(os.path.join(folder, "bidlake"))
        for name in glob.glob(os.path.join(folder, "duckdb*.parquet")):
            os.remove(name)
    if options.curve:
        curve.print_header()
        result["curve"] = curve.measure(options.build, folder)
        result["shapes"] = shape_curve.measure(options.build, folder)
    return result, os.path.dirname(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build/release", help="where the programs are")
    parser.add_argument("--runs", type=int, default=int(os.environ.get("BENCH_RUNS", "5")))
    parser.add_argument("--count", type=int, default=COUNT, help="requests to generate")
    parser.add_argument("--no-curve", dest="curve", action="store_false",
                        help="without the other sizes and shapes")
    parser.add_argument("--keep", action="store_true", help="leave the outputs in build/bench")
    options = parser.parse_args()
    try:
        result, folder = bench(options)
    except Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    path = os.path.join(folder, "bench.json")
    with open(path, "w") as out:
        json.dump(result, out, indent=1)
        out.write("\n")
    print("\nwritten:", " ".join(os.path.relpath(name) for name in [path, *draw.draw(result, folder)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
