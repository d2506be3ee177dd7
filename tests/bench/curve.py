# SPDX-License-Identifier: Apache-2.0
"""The cost of a byte and the memory against the size of the input, 10 MB to 3 GB: flat, or
something on the way grows with what was taken before."""
import os
import shutil
import statistics

from measure import make_input, run_bidlake, warm

MEGABYTES = (10, 30, 100, 300, 1000, 3000)
REQUEST_BYTES = 960
SMALL_RUNS = 3  # of what is over in a moment


def measure(build, folder, megabytes=MEGABYTES):
    """One line a size: bytes, CPU seconds (median), MB a core second, peak anonymous memory."""
    lines = []
    for size in megabytes:
        source, _ = make_input(build, folder, size * 1_000_000 // REQUEST_BYTES)
        warm(source)
        size_bytes = os.path.getsize(source)
        runs = [run_bidlake(build, folder, source)
                for _ in range(SMALL_RUNS if size <= 300 else 1)]
        cpu = statistics.median(run["cpu_seconds"] for run in runs)
        lines.append({"bytes": size_bytes, "cpu_seconds": cpu,
                      "mb_per_core_second": size_bytes / 1e6 / cpu,
                      "peak_anonymous_bytes": max(run["peak_anonymous_bytes"] for run in runs),
                      "files": len(runs[-1]["files"])})
        print_line(lines[-1])
        shutil.rmtree(os.path.join(folder, "bidlake"))
        os.remove(source)
        os.remove(source + ".json")
    return lines


def print_header():
    print("\n    input      CPU s   MB/core s   anonymous   files")


def print_line(line):
    print(f"{line['bytes'] / 1e6:6.0f} MB {line['cpu_seconds']:10.3f}"
          f" {line['mb_per_core_second']:11.1f} {line['peak_anonymous_bytes'] / 1e6:8.0f} MB"
          f" {line['files']:7}", flush=True)
