#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench-outage`: the catalog was away for a day, the commit service catches up.

70 agents went on sealing a segment a minute: 100,800 announcements lie in the inbox, of one file
each, those of the first hour older than a day, so that they have to be copied first. Apache's
REST server over Versity's S3 gateway, all in memory, one turn.

usage: outage.py [--build DIR] [--dir DIR] [--streams 70] [--segments 1440] [--files 1] [--json FILE]
Exit: 0 done, 1 the turn didn't take all that was announced.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile
import time

from cloud_turn import Cloud
from measure import Failed


def pile_up(table, streams, segments):
    """A day of theirs; those of its first hour are old."""
    for number in range(streams):
        for turn in range(segments):
            table.pile.announce(number, turn, old=turn < segments // 24)


def measure(options, folder):
    cloud = Cloud(options.build, folder)
    try:
        table = cloud.new_table(options.files)
        begin = time.monotonic()
        pile_up(table, options.streams, options.segments)
        print(f"{options.streams * options.segments} announcements made in "
              f"{time.monotonic() - begin:.0f} s", flush=True)
        return table.turn()
    finally:
        cloud.close()


def main():
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--dir", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    parser.add_argument("--streams", type=int, default=70)
    parser.add_argument("--segments", type=int, default=1440)
    parser.add_argument("--files", type=int, default=1)
    parser.add_argument("--json")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="bidlake-outage-", dir=options.dir)
    try:
        measured = measure(options, folder)
    except Failed as failure:
        print(f"bench-outage: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report = measured["report"]
    print(f"taken {report['taken']} ({report['files']} files, {report['copied']} copied) in "
          f"{report['snapshots']} snapshots, {report['attempts']} attempts: "
          f"{measured['seconds']:.0f} s, {measured['cpu_seconds']:.1f} CPU s, peak "
          f"{measured['peak_rss_bytes'] / 1e6:.0f} MB")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(measured, file, indent=1)
    return 0 if report["taken"] == options.streams * options.segments else 1


if __name__ == "__main__":
    sys.exit(main())
