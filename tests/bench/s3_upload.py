#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench-s3`: a file of 1 GiB put in parts, beside `aws s3 cp`.

Both put the same file, which is in memory, into Versity's S3 gateway over a folder in memory, in
turns: over http, where each body is signed by its SHA-256, and over https. Each is a process of
its own with its defaults (ours 4 parts of 16 MiB at a time, Amazon's 10 of 8 MiB), start
included. What arrived is compared with what was sent, once a way.

usage: s3_upload.py [--build DIR] [--dir DIR] [--runs N] [--mib 1024] [--json FILE]
                    [--ways http,https] [--parts 16x4,16x8,64x4]
Prints a line a way: median MiB/s of both and their ratio, CPU seconds, the store's own, peak memory; and
for each of --parts (MiB x parts at a time) the memory that ours takes over http.
Exit: 0 done, 1 a put failed or other bytes arrived.
"""
import argparse
import filecmp
import json
import os
import shutil
import statistics
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "interop"), HERE]

from measure import Failed, run_watched  # noqa: E402
from peer import Versitygw, install  # noqa: E402

MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Way:
    """A store, and how each side is told of it."""

    def __init__(self, scheme, folder, build):
        self.folder = os.path.join(folder, scheme)
        os.makedirs(self.folder)
        self.scheme, self.build = scheme, build
        # It keeps no connection alive: where it does, it answers Amazon's command line by 400 at times.
        self.peer = Versitygw(self.folder, tls=scheme == "https")
        self.environment = self.peer.environment()
        if scheme == "https":
            self.environment["AWS_CA_BUNDLE"] = self.peer.ca_file
        self.checked = set()

    def put(self, who, source, *parts):
        """`who`: "ours" or "aws". Leaves the store empty."""
        if who == "ours":
            command = [os.path.join(self.build, "bench", "s3_upload"), source, "s3://lake", "object",
                       *map(str, parts)]
        else:
            command = [install("awscli.sh"), "run", "s3", "cp", "--only-show-errors", source,
                       "s3://lake/object", "--endpoint-url", self.peer.url]
        before = cpu_seconds(self.peer.process.pid)
        measured = run_watched(command, self.environment, os.path.join(self.folder, who))
        measured.pop("text")
        measured["store_cpu_seconds"] = cpu_seconds(self.peer.process.pid) - before
        arrived = os.path.join(self.peer.folder, "lake", "object")
        if who not in self.checked and not filecmp.cmp(source, arrived, shallow=False):
            raise Failed(f"{who}, {self.scheme}: other bytes arrived")
        self.checked.add(who)
        os.unlink(arrived)
        return measured


def medians(measured):
    return {key: statistics.median(one[key] for one in measured) for key in measured[0]}


def measure(options, folder):
    source = os.path.join(folder, "source")
    with open(source, "wb") as file:
        for _ in range(options.mib):
            file.write(os.urandom(MIB))
    ways = [Way(scheme, folder, options.build) for scheme in options.ways.split(",")]
    runs = {}
    try:
        for _ in range(options.runs):  # in turns: what else the machine does meets all alike
            for way in ways:
                for who in ("ours", "aws"):
                    runs.setdefault((way.scheme, who), []).append(way.put(who, source))
        memory = {}
        for parts in filter(None, options.parts.split(",")):
            mib, _, count = parts.partition("x")
            memory[parts] = ways[0].put("ours", source, int(mib) * MIB, count)
    finally:
        for way in ways:
            way.peer.close()
    result = []
    for way in ways:
        ours, aws = ((runs[way.scheme, who]) for who in ("ours", "aws"))
        result.append({"way": way.scheme, "mib": options.mib, "ours": medians(ours),
                       "aws": medians(aws), "rate_ratio": statistics.median(
                           b["seconds"] / a["seconds"] for a, b in zip(ours, aws))})
    return {"ways": result, "parts": memory, "runs": options.runs}


def main():
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--dir", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    parser.add_argument("--runs", type=int, default=int(os.environ.get("BENCH_RUNS", "5")))
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--ways", default="http,https")
    parser.add_argument("--parts", default="16x4,16x16,64x4")
    parser.add_argument("--json")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="bidlake-s3-", dir=options.dir)
    try:
        result = measure(options, folder)
    except Failed as failure:
        print(f"bench-s3: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{'':8}{'':6}{'MiB/s':>8}{'CPU s':>8}{'store':>8}{'RSS MB':>8}{'anon MB':>9}")
    lines = [(way["way"], who, way[who]) for way in result["ways"] for who in ("ours", "aws")]
    lines += [("http", parts, measured) for parts, measured in result["parts"].items()]
    for way, who, one in lines:
        print(f"{way:8}{who:6}{options.mib / one['seconds']:8.0f}{one['cpu_seconds']:8.2f}"
              f"{one['store_cpu_seconds']:8.2f}{one['peak_rss_bytes'] / 1e6:8.1f}"
              f"{one['peak_anonymous_bytes'] / 1e6:9.1f}")
    for way in result["ways"]:
        print(f"{way['way']}: {way['rate_ratio']:.2f} of the rate of aws s3 cp, median of "
              f"{options.runs} pairs")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
