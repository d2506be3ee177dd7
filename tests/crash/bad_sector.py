#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A disk that no longer gives one page of the spool: the block that has it is lost by name and
number, everything else arrives.

usage: bad_sector.py [--verbose]

The disk is power/disk_main.c under a loop device and ext4, and answers reads of that page with an
I/O error; under a memory map that is a SIGBUS. Three files of 100 events lie in the spool, three
blocks, cut off by a kill before they are sealed, or before their announcement. Of the second one
the first or a middle page does not read. LMDB itself looks at the first page when the block is
removed, so it is written anew before. The other 200 events must be in the table once, the ledger
must count 100 lost, `bidlake-agent spool --check`, which had said what is damaged, must find nothing.

A page of LMDB's own tree that does not read has the spool set aside, at the same start.
"""
import argparse
import collections
import json
import os
import re
import sys
import tempfile
import time

from power_cut import Disk, demands, enter_namespace, programs, run
from lake import Lake

STATES = {"open": "spool.append.committed:3", "sealed": "upload.before_announcement"}
PAGE, LEAF = 4096, b"\x02\x00"


def events(number):
    # Bytes that no compression of a log would make one page of.
    return [{"id": f"event-{number}-{i:05}", "ts": 1767225600000, "landing_page": "x" * 2000}
            for i in range(100)]


def pages_of_block(disk, number):
    """Offsets on the disk of the pages that hold a block's events."""
    with open(f"{disk.fuse}/disk", "rb") as file:
        data = file.read()
    found = sorted({match.start() // PAGE * PAGE
                    for match in re.finditer(b"event-%d-" % number, data)})
    assert len(found) > 20 and found[-1] - found[0] < 100 * PAGE, f"no such block: {found}"
    return found


def pages_of_tree(disk):
    """Those of LMDB's leaves that hold the stream's record: of the tree, and what it was before."""
    with open(f"{disk.fuse}/disk", "rb") as file:
        data = file.read()
    pages = {match.start() // PAGE * PAGE for match in re.finditer(b"/db\\.clicks", data)}
    found = [at for at in sorted(pages) if data[at + 10:at + 12] == LEAF]
    assert 0 < len(found) <= 64, f"the tree's pages: {found}"
    return found


def left_open(disk, folder, state):
    lake = Lake(os.path.join(disk.mount, "lake"), tables="openrtb/clicks")
    lake.init()
    files = [os.path.join(folder, f"{number}.ndjson") for number in range(3)]
    for number, path in enumerate(files):
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(event) + "\n" for event in events(number))
    run("sync", "-f", disk.mount)
    killed = lake.ingest("clicks", *files, code=None, fault=f"kill:{STATES[state]}")
    assert killed.code == -9, killed
    # Mounted anew: nothing of it is in memory.
    run("umount", disk.mount)
    return lake, files


def tree_case(folder, state):
    """The spool goes aside whole; nothing was announced, and the files are taken anew."""
    with Disk(folder, image_bytes=128 << 20) as disk:
        lake, files = left_open(disk, folder, state)
        for page in pages_of_tree(disk):
            disk.say(f"bad {page}")
        disk.remount()
        result = lake.ingest("clicks", *files, code=None)
        assert result.code == 0 and "ALARM" in result.err and "does not read" in result.err, result
        assert len(os.listdir(f"{lake.spool}/set-aside")) == 1, "set aside once"
        lake.once()
        found = lake.ids("clicks", "click_id")
        expected = collections.Counter(event["id"] for number in range(3)
                                       for event in events(number))
        assert found == expected, f"missing {len(expected - found)}, too many {len(found - expected)}"
        lake.agent("spool", "--check", code=0)
        lake.check("clicks")


def case(folder, state, page):
    with Disk(folder) as disk:
        lake, files = left_open(disk, folder, state)
        pages = pages_of_block(disk, 1)
        disk.say(f"bad {pages[page]}")
        disk.remount()
        check = lake.agent("spool", "--check")
        assert check.code == 1 and check.err, f"check: {check}"
        lake.ingest("clicks", *files, code=0)
        assert not os.path.exists(f"{lake.spool}/set-aside"), "the whole spool is set aside"
        lake.once()
        found = lake.ids("clicks", "click_id")
        expected = collections.Counter(event["id"] for number in (0, 2)
                                       for event in events(number))
        assert found == expected, f"missing {len(expected - found)}, too many {len(found - expected)}"
        lost = [(gap["events"], gap["reason"]) for stream in lake.table_json("ledger", "clicks")
                for gap in stream["lost"]]
        assert [count for count, _ in lost] == [100], f"lost: {lost}"
        assert os.listdir(f"{lake.spool}/quarantine"), "nothing is in quarantine"
        lake.ingest("clicks", "-", stdin=b"")
        lake.agent("spool", "--check", code=0)
        lake.check("clicks")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if os.environ.get("POWER_CUT") == "skip":
        print("NOT TESTED: bad sectors, by POWER_CUT=skip")
        return 0
    if lacking := demands():
        print(f"bad sectors need {', '.join(lacking)}; POWER_CUT=skip leaves them out")
        return 1
    enter_namespace()
    failures, passed = [], 0
    directory = os.environ.get("BIDLAKE_TEST_DIR") or "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="bidlake-sector-", dir=directory) as base:
        programs.keep_programs(base)
        for state in STATES:
            for name, run_case in (("a block's first page", lambda *at: case(*at, 0)),
                                   ("a block's middle page", lambda *at: case(*at, 25)),
                                   ("a page of the tree", tree_case)):
                start, outcome = time.monotonic(), "failed"
                try:
                    run_case(f"{base}/{state}-{len(failures) + passed}", state)
                    passed, outcome = passed + 1, "went on"
                except Exception as error:  # told, and the others still run
                    failures.append(f"{state}, {name}: {type(error).__name__} {error}")
                if options.verbose:
                    print(f"{state}, {name}: {outcome}, {time.monotonic() - start:.1f} s", flush=True)
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{passed} bad sectors passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
