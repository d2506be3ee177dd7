#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks that fill up and stores that go away under a daemon that is fed, and come back.

usage: full_load.py [--rounds N] [--only PART] [--seed N] [--verbose]

Spool and warehouse are a small tmpfs each; the feeders and their law are those of source_kills.py.
Each part (PARTS) runs N times in one life of the daemon:

  spool      the disk under the spool fills up: senders hear 503, and it is counted; room returns
  read_only  the warehouse is read-only (the store is away): all goes on being answered, until
             spool.bytes is spent by a feeder of large events; /readyz says what it is; then it is back
  warehouse  the disk under the warehouse fills up, with new events coming; room returns

After each the daemon must go on by itself, ready and with every feeder answered; in the end all that
was answered is in the table, once. The log stays short. Needs root, to mount.
"""
import argparse
import http.client
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import source_kills
from power_cut import enter_namespace
from source_kills import Batches, Kills, body_of
from lake import until
import lake as programs

DISK_BYTES = 96 << 20
BUDGET = "24MiB"
LINES_MAX = 300  # of the daemon's log, in a run of some seconds with some thousand refusals


class Large(Batches):
    """What fills a budget within seconds, when it is told to."""
    name = "http-large"
    wanted = False

    def feed(self):
        if not self.wanted and self.progress:
            return
        names = self.unit(self.names(40))
        lines = [dict(json.loads(line), landing_page="x" * 8000)
                 for line in body_of(names).splitlines()]
        body = "\n".join(map(json.dumps, lines)).encode()
        heard = self.ask("POST", "/v1/events/clicks", body)
        if heard is not None and heard[0] == 200:
            self.answer(names)


class Full(Kills):
    def __init__(self, options):
        super().__init__(options)
        self.agent.arguments += ["--spool-bytes", BUDGET]
        self.fillers = []
        for directory in (self.lake.spool, self.lake.warehouse):
            os.makedirs(directory, exist_ok=True)
            self.mount(directory, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs")
        self.large = next(feeder for feeder in self.feeders if isinstance(feeder, Large))

    @staticmethod
    def mount(directory, *how):
        subprocess.run(["mount", *how, directory], check=True)

    # -- what is seen --

    def get(self, path):
        port = re.search(r"kind=operations address=\S+:(\d+)", self.agent.log())[1]
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def metric(self, name, labels=""):
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics")[1].splitlines()
                   if re.match(rf"{name}[{{ ]", line) and labels in line)

    def answers(self, status):
        """Requests answered with 2xx, 5xx."""
        return self.metric("bidlake_source_requests_total", f'status="{status}xx"')

    def delivery(self):
        return json.loads(self.get("/v1/status")[1])["delivery"]

    def each_goes_on(self):
        before = {feeder: feeder.progress for feeder in self.feeders if feeder is not self.large}
        until(lambda: self.look() and all(feeder.progress > before[feeder] for feeder in before),
              "each goes on", 60)

    def is_well(self):
        until(lambda: self.look() and self.get("/readyz")[1].count("ok ") == 5, "all is well", 60)
        self.each_goes_on()
        until(lambda: self.look() and not self.delivery()["last_failure"] or
              self.delivery()["unannounced"] < 3, "it has caught up", 60)

    def fill(self, directory):
        """No page is left, and none that is given back meanwhile."""
        path = os.path.join(directory, f"filler-{len(self.fillers)}")
        self.fillers.append(path)
        free, end = os.statvfs(directory).f_bavail, 0
        with open(path, "wb") as file:
            while free > 0:
                try:
                    os.posix_fallocate(file.fileno(), end * 4096, free * 4096)
                    end += free
                except OSError:  # the agent was there first
                    free //= 2

    def make_room(self):
        for path in self.fillers:
            os.remove(path)
        self.fillers = []

    def refused_for_want_of_room(self, before):
        return self.metric("bidlake_capture_events_refused_total", 'reason="no_room"') > before

    # -- the parts --

    def part_spool(self):
        before = self.metric("bidlake_capture_events_refused_total", 'reason="no_room"')

        def full():
            self.fill(self.lake.spool)
            return self.look() and self.refused_for_want_of_room(before)

        self.large.wanted = True
        until(full, "something is refused", 60)
        until(lambda: self.look() and "FAIL room" in self.get("/readyz")[1], "it is said", 30)
        self.large.wanted = False
        self.make_room()
        self.done["times the spool's disk was full"] += 1

    def part_read_only(self):
        self.mount(self.lake.warehouse, "-o", "remount,ro")
        until(lambda: self.look() and "WARN store: events wait in the spool" in
              self.get("/readyz")[1], "the store is said to be away", 30)
        assert self.get("/readyz")[0] == 200, "a store that is away is no reason to refuse"
        waiting = self.delivery()["unannounced"]
        self.each_goes_on()
        until(lambda: self.look() and self.delivery()["unannounced"] > waiting, "segments wait", 30)
        self.each_goes_on()
        self.large.wanted = True
        until(lambda: self.look() and "FAIL room: the spool's budget" in self.get("/readyz")[1],
              "the budget is spent", 60)
        self.large.wanted = False
        self.mount(self.lake.warehouse, "-o", "remount,rw")
        # Nothing is committed here, so what is announced is let go.
        self.done["times the store was away"] += 1

    def part_warehouse(self):
        def full():
            self.fill(self.lake.warehouse)
            return self.look() and "WARN store" in self.get("/readyz")[1]

        until(full, "the store is full", 60)
        self.each_goes_on()
        self.make_room()
        self.done["times the warehouse's disk was full"] += 1

    def life(self):
        for part in PARTS:
            if self.options.part in (None, part):
                getattr(self, f"part_{part}")()
                self.is_well()
                self.law()

    def law(self):
        """received = kept + refused + waiting, while all goes on."""
        def holds():
            text = self.get("/metrics")[1]
            sums = {name: sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                              if line.startswith(f"bidlake_capture_events_{name}"))
                    for name in ("received_total", "kept_total", "refused_total", "waiting")}
            received = sums.pop("received_total")
            return received == sum(sums.values())
        until(holds, "the numbers add up", 20)

    def settle(self):
        self.done["answers 503"] = sum(getattr(feeder, "refusals", 0) for feeder in self.feeders)
        lines = self.agent.log().count("\n")
        self.done["lines of the log"] = lines
        super().settle()
        assert lines < LINES_MAX, f"the log has {lines} lines"

    def close(self):
        super().close()
        for directory in (self.lake.spool, self.lake.warehouse):
            subprocess.run(["umount", directory], capture_output=True)


PARTS = ("spool", "read_only", "warehouse")
FEEDERS = (*source_kills.FEEDERS, Large)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", dest="part", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    options.only, options.kills = None, options.rounds
    if os.getuid() != 0 and os.environ.get("POWER_CUT") == "skip":
        print("NOT TESTED: full disks, by POWER_CUT=skip")
        return 0
    if os.getuid() != 0:
        print("full disks need root, to mount some; POWER_CUT=skip leaves them out")
        return 1
    enter_namespace("--seed", str(options.seed))
    source_kills.FEEDERS = FEEDERS
    directory = os.environ.get("BIDLAKE_TEST_DIR") or "/dev/shm"
    folder = tempfile.mkdtemp(prefix="bidlake-full-", dir=directory)
    os.environ["BIDLAKE_TEST_DIR"] = folder
    programs.keep_programs(folder)
    full = Full(options)
    failure = None
    try:
        full.run()
    except Exception as error:
        failure = error.__context__ or error
    finally:
        full.close()
        if not os.environ.get("BIDLAKE_TEST_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    if options.verbose or failure:
        print(", ".join(f"{count} {what}" for what, count in sorted(full.done.items())))
    if failure:
        print(f"FAILED full under load, seed {options.seed}: {failure}\n{full.agent.log()[-3000:]}"
              if os.path.exists(full.agent.log_path) else f"FAILED full under load: {failure}")
    times = sum(count for what, count in full.done.items() if what.startswith("times"))
    print(f"{times} full disks and absent stores under load passed, {int(failure is not None)} "
          f"failed; seed {options.seed}")
    return 1 if failure or times < options.rounds else 0


if __name__ == "__main__":
    sys.exit(main())
