# SPDX-License-Identifier: Apache-2.0
"""The same way, ingest and commit, over events of other shapes (shapes.py): a figure far
below its neighbours is a cliff."""
import os
import shutil
import statistics

import shapes
from measure import run_bidlake, warm

MEGABYTES = 50
RUNS = 3


def measure(build, folder, megabytes=MEGABYTES):
    """One line a shape: bytes, CPU seconds (median), MB a core second, memory, output."""
    lines = []
    print("\n    shape            CPU s   MB/core s  shred MB/s   anonymous    output")
    for name in shapes.SHAPES:
        shapes.write(name, folder, megabytes * 1_000_000)
        source, mapping = (os.path.join(folder, name + end) for end in (".ndjson", ".yaml"))
        warm(source)
        size = os.path.getsize(source)
        runs = [run_bidlake(build, folder, source, name, mapping) for _ in range(RUNS)]
        cpu = statistics.median(run["cpu_seconds"] for run in runs)
        shred = statistics.median(run["stages"]["shred"] for run in runs)
        line = {"shape": name, "bytes": size, "cpu_seconds": cpu,
                "mb_per_core_second": size / 1e6 / cpu, "shred_mb_per_second": size / 1e6 / shred,
                "peak_anonymous_bytes": max(run["peak_anonymous_bytes"] for run in runs),
                "output_bytes": runs[-1]["output_bytes"]}
        lines.append(line)
        print(f"{name:>16} {cpu:9.3f} {line['mb_per_core_second']:11.1f}"
              f" {line['shred_mb_per_second']:11.1f}"
              f" {line['peak_anonymous_bytes'] / 1e6:8.0f} MB {line['output_bytes'] / 1e6:6.1f} MB",
              flush=True)
        shutil.rmtree(os.path.join(folder, "bidlake"))
        os.remove(source)
        os.remove(mapping)
    return lines
