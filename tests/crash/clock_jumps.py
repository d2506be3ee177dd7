#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts the clocks of agent and committers forth and back while they work.

usage: clock_jumps.py [--jumps N] [--seed N]

A daemon, two `bidlake-commit serve`; each has a wall clock of its own (clock/jump.c) that leaps by
anything between a second and two days. After each leap more events must be answered, and each
batch must be in the table within half a minute, whatever the clocks say; now and then a program
is killed and begins under its new clock. In the end: each answered event is in the table once;
received_at never goes back within a stream; epochs sort in the order of starts; snapshot times
rise; PyIceberg reads it all. Waits that hang on a wall clock end the test, since after a leap
back they would take hours.
"""
import argparse
import collections
import http.client
import json
import os
import random
import re
import shutil
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import lake as programs  # noqa: E402
from kill_soak import Program  # noqa: E402
from lake import Lake, end, until  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

MAPPING = """table: clicks
extends: openrtb/clicks
columns:
  at_position: {type: long, from: $position}
  of_stream: {type: string, from: $stream}
"""
LEAPS = (1, 31, 600, 3600, 6 * 3600, 86400, 2 * 86400)
BATCH, SECONDS = 20, 30


class Clocked(Program):
    """A program with a clock of its own."""

    def __init__(self, lake, name, arguments, ready):
        self.clock = lake.path(f"{name}.clock")
        self.seconds = 0
        self.leap(0)
        super().__init__(lake, name, ["env", f"LD_PRELOAD={jump()}", f"BIDLAKE_CLOCK={self.clock}",
                                      *arguments], ready)

    def leap(self, seconds):
        self.seconds += seconds
        with open(self.clock, "r+b" if os.path.exists(self.clock) else "wb") as file:
            file.write(struct.pack("q", self.seconds * 10**9))


def jump():
    return os.path.join(programs.ROOT, os.environ["CLOCK_TOOLS"], "jump.so")


class Test:
    def __init__(self, seed):
        self.draw = random.Random(seed)
        folder = tempfile.mkdtemp(prefix="bidlake-clock-", dir=os.environ["BIDLAKE_TEST_DIR"])
        mapping = os.path.join(folder, "clicks.yaml")
        with open(mapping, "w", encoding="utf-8") as file:
            file.write(MAPPING)
        self.lake = Lake(folder, tables=mapping)
        build = programs.BUILD
        self.agent = Clocked(self.lake, "agent", [
            f"{build}/bidlake-agent", "run", *self.lake.agent_flags(), "--listen",
            "http:127.0.0.1:0", "--operations", "127.0.0.1:0", "--roll-age", "300ms",
            "--spool-bytes", "64MiB"], 'msg="ready"')
        self.committers = [Clocked(self.lake, f"serve-{i}", [
            f"{build}/bidlake-commit", "serve", *self.lake.commit_flags(), "--interval", "1s"],
            'msg="turn"') for i in range(2)]
        self.answered = set()
        self.lives = 0

    def start(self, program):
        program.start()
        program.wait_ready()
        if program is self.agent:
            self.lives += 1
            self.port = int(re.search(r"kind=http address=\S+:(\d+)", program.log())[1])

    def post(self, number):
        ids = [f"{number}-{i}" for i in range(BATCH)]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request("POST", "/v1/events/clicks", "\n".join(json.dumps({"id": i}) for i in ids))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status == 200, f"HTTP {answer.status}: {text[:300]}"
        self.answered.update(ids)

    def taken(self):
        return sum(stream["next"] for stream in self.lake.table_json("ledger", "clicks"))

    def run(self, jumps):
        self.lake.init()
        for program in (self.agent, *self.committers):
            self.start(program)
        for number in range(jumps):
            program = self.draw.choice([self.agent, self.agent, *self.committers])
            leap = self.draw.choice(LEAPS) * self.draw.choice([-1, 1])
            self.post(f"{number}-before")
            program.leap(leap)
            if self.draw.random() < 0.3:
                end(program.process)
                self.start(program)
            self.post(f"{number}-after")
            # By a position count: an event that is lost would wait here for ever.
            until(lambda: self.taken() == len(self.answered),
                  f"all is taken after {program.name} leapt by {leap} s", SECONDS)
        for program in (self.agent, *self.committers):
            program.stop()
        self.hold()

    def rows(self):
        for path in self.lake.live_files("clicks"):
            data = pq.ParquetFile(path).read(
                columns=["click_id", "of_stream", "at_position", "received_at"])
            received = data.column("received_at").cast(pa.int64()).to_pylist()
            yield from zip(data.column("click_id").to_pylist(), data.column("of_stream").to_pylist(),
                           data.column("at_position").to_pylist(), received)

    def hold(self):
        streams, found = collections.defaultdict(list), collections.Counter()
        for event, stream, position, received in self.rows():
            found[event] += 1
            streams[stream].append((position, received, event))
        assert found == collections.Counter(self.answered), (
            f"{len(self.answered - found.keys())} are missing, {found.total()} rows of "
            f"{len(self.answered)} answered")
        for stream, rows in streams.items():
            rows.sort()
            back = [(a, b) for a, b in zip(rows, rows[1:]) if b[1] < a[1]]
            assert not back, f"{stream}: received_at goes back: {back[0]}"
        assert len(streams) > 1 or self.lives == 1, streams.keys()
        # Ids are numbered in the order of sending, epochs must sort the same way.
        order = sorted(streams, key=lambda stream: min(
            (int(event.split("-")[0]), event.split("-")[1] != "before")
            for _, _, event in streams[stream]))
        assert order == sorted(streams), f"epochs out of order: {order}"
        metadata = self.lake.load("clicks").metadata
        times = [snapshot.timestamp_ms for snapshot in
                 sorted(metadata.snapshots, key=lambda snapshot: snapshot.sequence_number)]
        assert all(a < b for a, b in zip(times, times[1:])), f"snapshot times: {times}"
        assert len(times) > 2, times
        log = [entry.timestamp_ms for entry in metadata.snapshot_log]
        assert log == sorted(log), f"snapshot log: {log}"
        assert metadata.last_updated_ms >= times[-1], "last_updated_ms is behind"
        self.lake.check("clicks")
        self.lake.agent("spool", "--check", code=0)

    def close(self):
        for program in (self.agent, *self.committers):
            if program.process:
                end(program.process)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jumps", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    start = time.monotonic()
    folder = tempfile.mkdtemp(prefix="bidlake-clocks-",
                              dir=os.environ.get("BIDLAKE_TEST_DIR") or "/dev/shm")
    os.environ["BIDLAKE_TEST_DIR"] = folder
    programs.keep_programs(folder)
    test, failure = Test(options.seed), None
    try:
        test.run(options.jumps)
    except Exception as error:
        failure = error
    finally:
        test.close()
        if not os.environ.get("BIDLAKE_TEST_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    if failure:
        print(f"FAILED clocks, seed {options.seed}: {failure}")
    print(f"{options.jumps} leaps, {test.lives} lives of the agent, {len(test.answered)} events, "
          f"{time.monotonic() - start:.0f} s")
    print(f"{options.jumps} clock jumps passed, {int(failure is not None)} failed; "
          f"seed {options.seed}")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
