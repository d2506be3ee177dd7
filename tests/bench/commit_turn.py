#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench-commit`: what a turn of the commit service costs.

Announcements of as many streams, with ten small Parquet files each, lie in the inbox of a
table that has 0, 100 or 1,000 snapshots behind it; `bidlake-commit once` takes them, with the
embedded catalog and a file store in memory, on a disk whose syncs cost nothing and on one
where each takes 10 ms (slow_sync.c). The files are real: our agent wrote ten, the others are
hard links to them under the names that their streams give them.

usage: commit_turn.py [--build DIR] [--dir DIR] [--runs N] [--json FILE] [--announcements 10,100,1000]
                      [--behind 0,100,1000] [--sync-ms 0,10] [--keep] [--cloud 100,1000] [--parallel 1,0]
                      [--delay-ms 0]
Prints a line a case: median seconds and CPU seconds of the turn, its peak memory, its syncs.

--cloud: after it the same over so many announcements with Apache's REST server and Versity's S3
gateway, for each store.parallel of --parallel (0: the default); --delay-ms: on the way to the store
stands a proxy in Python that holds each request so long, which is for few announcements.
Exit: 0 done, 1 a turn didn't take all that was announced.
"""
import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from measure import Failed
from pile import COUNTRIES, ROWS, Pile, write_events

SHORT_NOTE = ("announcements", "files", "behind", "sync ms", "seconds", "CPU s", "peak MB", "syncs")


class Bench:
    def __init__(self, build, directory):
        self.build, self.directory = build, directory
        self.live = os.path.join(directory, "live")
        self.warehouse = os.path.join(self.live, "warehouse")
        self.pile = Pile(self.warehouse, os.path.join(directory, "files"))

    def flags(self):
        return ["--warehouse", f"file://{self.warehouse}", "--tables", "openrtb/bid_requests"]

    def run(self, program, *arguments, env=None):
        """Seconds, CPU seconds, peak memory and output of a program that must succeed."""
        begin = time.monotonic()
        process = subprocess.Popen(
            [os.path.join(self.build, program), *arguments], stdout=subprocess.PIPE,
            stderr=open(os.path.join(self.directory, "stderr"), "wb"),
            env=dict(os.environ, **(env or {})))
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        if process.returncode != 0:
            with open(os.path.join(self.directory, "stderr"), encoding="utf-8") as file:
                raise Failed(f"{program} {' '.join(arguments)}: exit {process.returncode}\n"
                             f"{file.read()[-2000:]}")
        return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_bytes": usage.ru_maxrss * 1024, "out": out.decode()}

    def commit(self, command, env=None):
        return self.run("bidlake-commit", command, *self.flags(), "--json", "--catalog",
                        f"sqlite:{self.live}/catalog.db", env=env)

    # -- what lies in the store ------------------------------------------------------------

    def make_template(self):
        """An announcement of ten files and the files, by our own agent."""
        path = os.path.join(self.directory, "events.ndjson")
        write_events(path, COUNTRIES)
        os.makedirs(self.warehouse)
        self.commit("init")
        self.run("bidlake-agent", "ingest", *self.flags(), "--spool",
                 os.path.join(self.directory, "spool"), "--agent-id", "edge",
                 "--roll-partition-bytes", "0", "--quiet", "bid_requests", path)
        self.pile.take_template(len(COUNTRIES))
        shutil.rmtree(self.live)

    # -- cases -----------------------------------------------------------------------------

    def make_base(self, behind):
        """A table with so many snapshots behind it, of a hundred streams in turn."""
        shutil.rmtree(self.live, ignore_errors=True)
        os.makedirs(self.warehouse)
        self.commit("init")
        for number in range(behind):
            self.pile.announce(number % 100, number // 100)
            self.commit("once")
        base = os.path.join(self.directory, f"base-{behind}")
        os.rename(self.live, base)
        return base

    def restore(self, base):
        """The table as it was: what it consists of is never changed in place, but the catalog."""
        shutil.rmtree(self.live, ignore_errors=True)
        shutil.copytree(base, self.live, copy_function=os.link)
        os.unlink(f"{self.live}/catalog.db")
        shutil.copy(f"{base}/catalog.db", f"{self.live}/catalog.db")

    def case(self, base, announcements, sync_ms):
        self.restore(base)
        for number in range(announcements):
            self.pile.announce(1000 + number, 0)
        count = os.path.join(self.directory, "syncs")
        measured = self.commit("once", env={
            "LD_PRELOAD": os.path.abspath(os.path.join(self.build, "bench", "slow_sync.so")),
            "SYNC_DELAY_US": str(int(sync_ms * 1000)), "SYNC_COUNT": count})
        report = json.loads(measured.pop("out"))
        if report["taken"] != announcements or report["snapshots"] != 1:
            raise Failed(f"taken {report['taken']} of {announcements}, {report['snapshots']} "
                         f"snapshots: {report['notes'][:3]}")
        with open(count, encoding="utf-8") as file:
            measured["syncs"] = int(file.read())
        return measured


def numbers(text):
    return [int(part) for part in text.split(",") if part]


def measure(bench, options):
    bases = {behind: None for behind in options.behind}
    bench.make_template()
    for behind in bases:
        bases[behind] = bench.make_base(behind)
    runs = {}
    for _ in range(options.runs):  # in turns: what else the machine does meets all alike
        for behind, base in bases.items():
            for announcements in options.announcements:
                for sync_ms in options.sync_ms:
                    case = (announcements, behind, sync_ms)
                    runs.setdefault(case, []).append(bench.case(base, announcements, sync_ms))
    for (announcements, behind, sync_ms), measured in sorted(runs.items()):
        yield {"announcements": announcements, "files": announcements * len(COUNTRIES),
               "behind": behind, "sync_ms": sync_ms,
               **{key: statistics.median(one[key] for one in measured)
                  for key in ("seconds", "cpu_seconds", "peak_bytes", "syncs")}}


def measure_cloud(options, directory):
    from cloud_turn import Cloud, CountingWire  # wants readers and peers, which the cases above don't
    cloud = Cloud(options.build, directory)
    runs = {}
    try:
        for _ in range(options.runs):
            for announcements in options.cloud:
                for parallel in options.parallel:
                    table = cloud.new_table(len(COUNTRIES))
                    for number in range(announcements):
                        table.pile.announce(number, 0)
                    wire = contextlib.nullcontext()
                    if options.delay_ms > 0:
                        wire = cloud.behind(CountingWire(cloud.store.port, options.delay_ms / 1e3))
                    with wire:
                        measured = table.turn("--store-parallel", str(parallel))
                    table.remove()
                    report = measured.pop("report")
                    if report["taken"] != announcements or report["snapshots"] != 1:
                        raise Failed(f"taken {report['taken']} of {announcements}, "
                                     f"{report['snapshots']} snapshots: {report['notes'][:3]}")
                    runs.setdefault((announcements, parallel), []).append(measured)
    finally:
        cloud.close()
    for (announcements, parallel), measured in sorted(runs.items()):
        yield {"announcements": announcements, "files": announcements * len(COUNTRIES),
               "parallel": parallel,
               **{key: statistics.median(one[key] for one in measured) for key in measured[0]}}


def print_cloud(cases):
    names = ("announcements", "files", "parallel", "seconds", "CPU s", "peak MB")
    print("".join(f"{name:>14}" for name in names))
    for case in cases:
        print(f"{case['announcements']:14}{case['files']:14}{case['parallel'] or 'default':>14}"
              f"{case['seconds']:14.3f}{case['cpu_seconds']:14.3f}"
              f"{case['peak_rss_bytes'] / 1e6:14.1f}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--dir", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    parser.add_argument("--runs", type=int, default=int(os.environ.get("BENCH_RUNS", "3")))
    parser.add_argument("--json")
    parser.add_argument("--announcements", type=numbers, default=[10, 100, 1000])
    parser.add_argument("--behind", type=numbers, default=[0, 100, 1000])
    parser.add_argument("--sync-ms", type=numbers, default=[0, 10])
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--cloud", type=numbers, default=[])
    parser.add_argument("--parallel", type=numbers, default=[1, 0])
    parser.add_argument("--delay-ms", type=float, default=0)
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="bidlake-turn-", dir=options.dir)
    try:
        cases = list(measure(Bench(options.build, directory), options)) \
            if options.announcements else []
        cloud = list(measure_cloud(options, directory)) if options.cloud else []
    except Failed as failure:
        print(f"bench-commit: {failure}", file=sys.stderr)
        return 1
    finally:
        if options.keep:
            print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    if cases:
        print("".join(f"{name:>14}" for name in SHORT_NOTE))
    for case in cases:
        print(f"{case['announcements']:14}{case['files']:14}{case['behind']:14}"
              f"{case['sync_ms']:14}{case['seconds']:14.3f}{case['cpu_seconds']:14.3f}"
              f"{case['peak_bytes'] / 1e6:14.1f}{case['syncs']:14.0f}")
    if cloud:
        print_cloud(cloud)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"cases": cases, "cloud": cloud, "runs": options.runs,
                       "rows_per_file": ROWS}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
