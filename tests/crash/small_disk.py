#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A disk that is smaller than spool.bytes, and a store that is away until it is full, and comes back.

usage: small_disk.py [--only PART] [--verbose]

The spool is alone on a small tmpfs. Events that no compression makes smaller fill it; each part
(PARTS) is one life of the daemon:

  refuse        senders hear 503, by the doors and not by a write that fails
  drop_oldest   all go on being answered; what goes is counted and announced as lost
  killed        as refuse, and killed when it is full
  budget        spool.bytes is smaller than the disk: what is built ahead keeps within it, too

Then the store is back: by itself, with nothing removed from the disk, all that was answered comes into
the table, once, or is counted as lost. Needs root, to mount.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

from power_cut import enter_namespace
import lake as programs
from lake import Lake, end, until
from test_run import Agent

DISK_BYTES = 48 << 20
BATCH, PAD = 100, 5000
TABLES = {"clicks": "click_id", "impressions": "impression_id"}
BUDGET = 32 << 20
PATIENCE = 120  # seconds for what takes two when the machine is idle


class Small:
    def __init__(self, folder, draw):
        self.lake = Lake(os.path.join(folder, "lake"))
        self.draw = draw
        self.answered = {table: set() for table in TABLES}
        self.number = 0
        os.makedirs(self.lake.spool, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs",
                        self.lake.spool], check=True)
        self.lake.init()
        self.agent = None

    def start(self, *arguments):
        self.agent = Agent(self.lake, *arguments)

    def close(self):
        if self.agent:
            end(self.agent.process)
        subprocess.run(["umount", self.lake.spool], capture_output=True)

    def send(self, table, count=BATCH):
        """The status of one request; one that was answered is to be in the table."""
        names = [f"{table}-{self.number}-{n}" for n in range(count)]
        self.number += 1
        body = "".join(json.dumps({"id": name, "campaign_id": self.draw.randbytes(PAD // 2).hex(),
                                   "ts": 1780000000000}) + "\n" for name in names)
        status, answer = self.agent.post(table, body.encode())
        assert status in (200, 503), (status, answer)
        if status == 200:
            self.answered[table].update(names)
        return status

    def statuses(self, requests, count=BATCH):
        return [self.send(table, count) for _ in range(requests) for table in TABLES]

    def readyz(self):
        return self.agent.get("/readyz", self.agent.operations)[1].decode()

    def delivery(self):
        return json.loads(self.agent.get("/v1/status", self.agent.operations)[1])["delivery"]

    def fill(self):
        """Until nothing is taken, however small, also after the roller has had its turn."""
        def full():
            return all(set(self.statuses(4, count)) == {503} for count in (BATCH, 1)) and \
                "FAIL room" in self.readyz()
        until(full, "the spool is full", PATIENCE)
        until(lambda: self.delivery()["last_failure"], "the store is known to be away", PATIENCE)
        until(full, "the spool is full", PATIENCE)

    def lost(self):
        return int(self.agent.metric("bidlake_spool_events_dropped_total"))

    def delivered(self):
        """By itself; and senders are answered again."""
        until(lambda: self.delivery()["unannounced"] == 0, "all is delivered", PATIENCE)
        until(lambda: self.statuses(1) == [200, 200], "all goes on", PATIENCE)
        assert "spool was shut" not in self.agent.log()
        lost = self.lost()
        self.agent.stop()
        self.lake.once()
        missing = 0
        for table, column in TABLES.items():
            found = self.lake.ids(table, column)
            assert set(found.values()) == {1}, "an event is there twice"
            assert set(found) <= self.answered[table], "an event is there that was not answered"
            missing += len(self.answered[table] - set(found))
        assert missing == lost, f"{missing} events are missing, {lost} are counted"
        return lost

    # -- the parts --

    def part_refuse(self):
        self.start("--spool-bytes", "4GiB")
        self.lake.store_goes()
        self.fill()
        log = self.agent.log()
        assert log.count("the disk has less room than spool.bytes") == 1, log[-2000:]
        assert "No space left" not in log, log[-2000:]
        assert sum(map(len, self.answered.values())) * PAD > DISK_BYTES / 2
        self.lake.store_returns()
        assert self.delivered() == 0

    def part_drop_oldest(self):
        self.start("--spool-bytes", "4GiB", "--spool-when-full", "drop_oldest")
        self.lake.store_goes()
        until(lambda: self.statuses(4) and self.lost() > 0, "something is dropped", PATIENCE)
        taken = 0
        while taken < 3 * DISK_BYTES:
            # Refused at most as long as a build holds what it reads.
            until(lambda: self.send("clicks") == 200, "it is taken", PATIENCE)
            taken += BATCH * PAD
        self.lake.store_returns()
        assert self.delivered() > 0

    def part_killed(self):
        self.start("--spool-bytes", "4GiB")
        self.lake.store_goes()
        self.fill()
        end(self.agent.process)
        self.lake.store_returns()
        self.start("--spool-bytes", "4GiB")
        assert self.delivered() == 0

    def part_budget(self):
        self.start("--spool-bytes", f"{BUDGET >> 20}MiB", "--roll-bytes", "1MiB")
        self.lake.store_goes()
        self.fill()
        status = json.loads(self.agent.get("/v1/status", self.agent.operations)[1])["spool"]
        assert status["bytes"] <= BUDGET, status
        self.lake.store_returns()
        assert self.delivered() == 0


PARTS = ("refuse", "drop_oldest", "killed", "budget")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if os.getuid() != 0 and os.environ.get("POWER_CUT") == "skip":
        print("NOT TESTED: small disks, by POWER_CUT=skip")
        return 0
    if os.getuid() != 0:
        print("small disks need root, to mount some; POWER_CUT=skip leaves them out")
        return 1
    enter_namespace("--seed", str(options.seed))
    directory = os.environ.get("BIDLAKE_TEST_DIR") or "/dev/shm"
    folder = tempfile.mkdtemp(prefix="bidlake-small-", dir=directory)
    programs.keep_programs(folder)
    passed, failed = 0, 0
    for part in PARTS if options.only is None else [options.only]:
        small = Small(os.path.join(folder, part), random.Random(options.seed))
        try:
            getattr(small, f"part_{part}")()
            passed += 1
        except Exception as error:  # told, and the others still run
            failed += 1
            print(f"FAILED small disk, {part}, seed {options.seed}: {error!r}")
            print(small.agent.log()[-3000:] if small.agent else "it did not start")
        small.close()
    if not os.environ.get("BIDLAKE_TEST_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} small disks passed, {failed} failed; seed {options.seed}")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
