#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs agent and committer on a disk with room for 0, 1, 2, ... pages, up to enough: so that it
is full in each of their steps once. Nothing answered may be lost.

usage: full_disk.py [--all] [--only COMMAND:DISK:PAGES] [--verbose]

The disk is a small tmpfs, filled up but for so many pages; it holds the whole lake ("lake"), or
the spool, or the warehouse, or the catalog alone. Each command starts from the same lake
(syscall_faults.py; "start" is an ingest whose spool is new). It must end by itself with 0, or with 1 and an error that names what is full
and says to make room; after that there is room again, it runs again, and the law is held.

Without --all a sample, by a seed that is printed; `make faults` runs all. Needs root, to mount.
"""
import argparse
import collections
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

from power_cut import enter_namespace
from syscall_faults import Bench, Case, inputs_in, programs

PAGE = 4096
DISK_BYTES = 64 << 20
# Runs in a row that came to their end: then there is room for all.
ENOUGH = 4
# About how many pages each needs: where the sample looks, `--all` finds out by itself.
NEEDED = {"lake": {"init": 35, "start": 118, "ingest": 8, "once": 18},
          "spool": {"start": 108, "ingest": 4},
          "warehouse": {"init": 11, "start": 18, "ingest": 8, "once": 8},
          "catalog": {"init": 24, "once": 10}}
SAMPLE = 2  # of each
FULL = re.compile(r"No space left on device|disk is full|is full")
Full = collections.namedtuple("Full", "command disk pages")


def mount(directory):
    os.makedirs(directory, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", directory],
                   check=True)


class DiskBench(Bench):
    """The lake on a disk, or on three."""

    def __init__(self, folder, inputs, disk):
        self.full = os.path.join(folder, "lake", "" if disk in ("lake", "catalog") else disk)
        mount(os.path.join(folder, "lake"))
        if disk != "lake":
            mount(os.path.join(folder, "lake", "spool"))
            mount(os.path.join(folder, "lake", "warehouse"))
        super().__init__(folder, inputs)

    def reset(self, name):
        for directory in (self.path("lake"), self.lake.spool, self.lake.warehouse):
            for found in os.scandir(directory) if os.path.isdir(directory) else ():
                if os.path.ismount(found.path):
                    continue
                if found.is_dir():
                    shutil.rmtree(found.path)
                else:
                    os.remove(found.path)
        shutil.copytree(self.path(name), self.path("lake"), dirs_exist_ok=True)

    def run(self, case):
        """(exit code, None or what was wrong)"""
        result = None
        try:
            self.reset(case.command)
            filler = os.path.join(self.full, "filler")
            room = os.statvfs(self.full)
            with open(filler, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, (room.f_bavail - case.pages) * PAGE)
            result = self.command(case.command)
            os.remove(filler)
            assert result.code in (0, 1), f"exit {result.code}\n{result.err}"
            if result.code == 1:
                assert FULL.search(result.err), f"not said what is full: {result.err}"
                assert self.lake.directory in result.err, f"not said where: {result.err}"
            self.judge(Case(case.command, "", "", case.pages), result)
            return result.code, None
        except Exception as error:  # told, and the others still run
            said = f"\n{result.err}" if result else ""
            return result.code if result else 1, f"{':'.join(map(str, case))}: {error}{said}"


def follow(bench, command, disk, options):
    """Every number of pages, until there are enough."""
    failed, good, pages, wrong, said = 0, 0, 0, [], set()
    while good < ENOUGH:
        code, failure = bench.run(Full(command, disk, pages))
        good, pages, failed = (good + 1 if code == 0 else 0), pages + 1, failed + (code != 0)
        wrong += [failure] if failure else []
    if options.verbose:
        print(f"{command} {disk}: full with up to {pages - ENOUGH} pages, {failed} times, "
              f"{len(wrong)} failed", flush=True)
    return failed, wrong


def work(options, folder, inputs):
    hits, failures = 0, []
    draw = random.Random(options.seed)
    only = Full(*options.only.split(":")) if options.only else None
    for disk, needed in NEEDED.items():
        if only and only.disk != disk:
            continue
        bench = DiskBench(f"{folder}/{disk}", inputs, disk)
        if only:
            cases = [Full(only.command, only.disk, int(only.pages))]
        elif options.all:
            for command in needed:
                more, wrong = follow(bench, command, disk, options)
                hits, failures = hits + more, failures + wrong
            continue
        else:
            cases = [Full(command, disk, pages) for command in needed
                     for pages in draw.sample(range(needed[command]), SAMPLE)]
        for case in cases:
            code, failure = bench.run(case)
            hits, failures = hits + (code != 0), failures + ([failure] if failure else [])
    return hits, failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if os.getuid() != 0 and os.environ.get("POWER_CUT") == "skip":
        print("NOT TESTED: full disks, by POWER_CUT=skip")
        return 0
    if os.getuid() != 0:
        print("full disks need root, to mount some; POWER_CUT=skip leaves them out")
        return 1
    enter_namespace("--seed", str(options.seed))
    start = time.monotonic()
    directory = os.environ.get("BIDLAKE_TEST_DIR") or "/dev/shm"
    folder = tempfile.mkdtemp(prefix="bidlake-full-", dir=directory)
    try:
        programs.keep_programs(folder)
        hits, failures = work(options, folder, inputs_in(folder))
    finally:
        for disk in NEEDED:
            subprocess.run(["umount", "-R", f"{folder}/{disk}/lake"], capture_output=True)
        shutil.rmtree(folder)
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{hits} full disks survived, {time.monotonic() - start:.0f} s")
    print(f"{hits} full disks passed, {len(failures)} failed; seed {options.seed}")
    return 1 if failures or hits < (1 if options.only else 12) else 0


if __name__ == "__main__":
    sys.exit(main())
