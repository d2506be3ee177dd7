# SPDX-License-Identifier: Apache-2.0
"""A wall clock that jumps an hour or two forth and back while events come."""
import collections
import contextlib
import json
import os
import re
import struct
import threading
import time
import unittest

import lake
from lake import until
from test_run import Case

HOUR = 3600
MAPPING = """table: clicks
extends: openrtb/clicks
columns:
  at_position: {type: long, from: $position}
  of_stream: {type: string, from: $stream}
"""
TOOL = os.path.join(lake.ROOT, os.environ.get("CLOCK_TOOLS", "build/release/crash/clock"), "jump.so")


class Hour(Case):
    BATCH = 20

    def setUp(self):
        self.lake = lake.Lake()
        self.addCleanup(self.lake.__exit__)
        with open(os.path.join(lake.BUILD, "bidlake-agent"), "rb") as program:
            if re.search(b"__[at]san_init", program.read()):
                self.skipTest("a sanitizer wants to be loaded first")
        self.clock = self.lake.write("clock", struct.pack("q", 0))
        self.lake.tables = self.lake.write("clicks.yaml", MAPPING)
        self.lake.init()
        self.sent, self.refused = {}, []

    def leap(self, seconds):
        with open(self.clock, "r+b") as file:
            file.write(struct.pack("q", seconds * 10**9))

    def send(self, agent, stop):
        """The bidder's clock is right: so many ms are in its events."""
        with contextlib.closing(agent.connect()) as connection:
            while not stop.is_set():
                now_ms = int(time.time() * 1000)
                events = {f"e{len(self.sent) + n}": now_ms for n in range(self.BATCH)}
                body = "\n".join(json.dumps({"id": name, "ts": ts}) for name, ts in events.items())
                answer = agent.post("clicks", body, connection=connection)
                if answer != (200, {"accepted": self.BATCH, "refused": 0}):
                    self.refused.append(answer)
                self.sent.update(events)

    def test_forth_and_back(self):
        """Nothing is refused or moved to another day's partition for the agent's own clock's sake;
        received_at never goes back within a stream; each leap begins new streams."""
        agent = self.start(env={"LD_PRELOAD": TOOL, "BIDLAKE_CLOCK": self.clock})
        stop = threading.Event()
        sender = threading.Thread(target=self.send, args=(agent, stop))
        sender.start()
        self.addCleanup(stop.set)
        leaps = (HOUR, 0, -HOUR, 0, HOUR, -HOUR, 0)
        for seconds in leaps:
            before = len(self.sent)
            until(lambda: len(self.sent) > before + 10 * self.BATCH, "answers")
            self.leap(seconds)
        before = len(self.sent)
        until(lambda: len(self.sent) > before + 10 * self.BATCH, "answers")
        stop.set()
        sender.join()
        self.assertEqual(self.refused, [])
        agent.stop()
        self.leap(0)
        self.lake.once()
        rows = self.lake.load("clicks").scan().to_arrow().select(
            ["click_id", "event_timestamp", "received_at", "of_stream", "at_position"]).to_pylist()
        self.assertEqual({row["click_id"]: int(row["event_timestamp"].timestamp() * 1000 + 0.5)
                          for row in rows}, self.sent)
        self.assertEqual(len(rows), len(self.sent))
        streams = collections.defaultdict(list)
        for row in rows:
            streams[row["of_stream"]].append((row["at_position"], row["received_at"]))
        for name, seen in streams.items():
            times = [received for _, received in sorted(seen)]
            self.assertEqual(times, sorted(times), name)
        self.assertEqual(len(streams), len(leaps) + 1)

    def test_keys(self):
        """An Idempotency-Key holds for its time, wherever the clock is set to."""
        agent = self.start("--dedup-window", "1h",
                           env={"LD_PRELOAD": TOOL, "BIDLAKE_CLOCK": self.clock})
        key = {"Idempotency-Key": "k"}
        for seconds in (0, 2 * HOUR, -2 * HOUR, 0):
            self.leap(seconds)
            self.assertEqual(agent.post("clicks", b'{"id":"a"}', key),
                             (200, {"accepted": 1, "refused": 0}))
        agent.stop()
        agent = self.start("--dedup-window", "300ms",
                           env={"LD_PRELOAD": TOOL, "BIDLAKE_CLOCK": self.clock})
        for n in range(3):
            agent.post("clicks", b"no event", {"Idempotency-Key": f"b{n}"})
        self.leap(-HOUR)
        until(lambda: agent.post("clicks", b'{"id":"b"}', {"Idempotency-Key": "b0"})[0] == 200,
              "a key that is free again")
        agent.stop()
        self.leap(0)
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {"a": 1, "b": 1})


if __name__ == "__main__":
    unittest.main()
