# SPDX-License-Identifier: Apache-2.0
"""INTEROP_SCHEDULES=100 schedules of lost, late, doubled, cut and stale requests to Versity's S3
gateway, with SIGKILLs of two agents and of committers: each answered event is in the table once.
INTEROP_SEED=0 is the first one's."""
import collections
import os
import threading
import unittest

from peer import Versitygw
from s3_faults import Schedules
from s3_wire import KINDS

from lake import Lake

COUNT = int(os.environ.get("INTEROP_SCHEDULES", "100"))
FIRST = int(os.environ.get("INTEROP_SEED", "0"))
LANES = 4


class Case(unittest.TestCase):
    def setUp(self):
        home = Lake()
        self.addCleanup(home.__exit__)
        self.peer = Versitygw(home.directory)
        self.addCleanup(self.peer.close)

    def lane(self, name):
        lane = Schedules(self.peer, name)
        self.addCleanup(lane.close)
        return lane


class Faults(Case):
    def test_schedules(self):
        lanes = [self.lane(n) for n in range(min(LANES, COUNT))]
        failures = []

        def run(lane, seeds):
            try:
                lane.run(seeds)
            except AssertionError as failure:
                failures.append(failure)
        threads = [threading.Thread(target=run, args=(lane, range(FIRST + n, FIRST + COUNT,
                                                                  len(lanes))))
                   for n, lane in enumerate(lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = sum((lane.done for lane in lanes), collections.Counter())
        met = sum((lane.wire.met for lane in lanes), collections.Counter())
        kinds = sum((lane.wire.kinds for lane in lanes), collections.Counter())
        hit = collections.Counter()
        for (kind, _), n in kinds.items():
            hit[kind] += n
        print(dict(done), dict(met), dict(hit))
        self.assertEqual(failures, [], "\n".join(map(str, failures)))
        if COUNT >= 100:
            self.assertEqual(set(met) | {"hollow"}, KINDS)  # that one is rare
            for kind in ("part", "complete", "create", "list", "head", "put", "get", "delete"):
                self.assertGreater(hit[kind], 0, f"no fault for {kind}")
            self.assertGreater(done["agents killed"], COUNT // 4)
            self.assertGreater(done["committers killed"], COUNT // 4)


class Control(Case):
    """What judges the schedules sees a doubled event, a lost one and a file that is gone."""

    def setUp(self):
        super().setUp()
        self.one = self.lane("control")
        self.one.open(0)
        self.one.agents[0].post("first", [self.one.line("a", 0), self.one.line("b", 0)])
        self.one.expected.update(["a", "b"])
        self.one.take()
        self.one.judge()

    def is_seen(self):
        with self.assertRaises(AssertionError):
            self.one.judge()

    def test_doubled(self):
        self.one.agents[0].post("second", [self.one.line("a", 0)])
        self.one.expected.update(["a"])
        self.one.take()
        self.one.expected.subtract(["a"])
        self.is_seen()

    def test_lost(self):
        self.one.expected.update(["c"])
        self.is_seen()

    def test_file_gone(self):
        path = next(iter(self.one.lake.sums))
        os.remove(os.path.join(self.peer.folder, path.removeprefix("s3://")))
        self.is_seen()


if __name__ == "__main__":
    unittest.main()
