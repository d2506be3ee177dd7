# SPDX-License-Identifier: Apache-2.0
"""Schedules of lost, late, doubled, cut and stale requests to Versity's S3 gateway and to Apache's
REST catalog at once, with SIGKILLs of two agents and of committers: each answered event is in the
table once. INTEROP_SCHEDULES=100 makes twice as many; INTEROP_SEED=0 is the first one's."""
import collections
import os
import threading
import unittest

from peer import IcebergRest, Versitygw
from faulty_wire import FATES, name_of, unmet
from random_wire import Decks
from rest_lake import SCHEDULES
from wire_schedules import Schedules

from lake import Lake

COUNT = 2 * SCHEDULES
FIRST = int(os.environ.get("INTEROP_SEED", "0"))
LANES = 5
STATUSES = {f"{when} {status}" for when in ("before", "after") for status in (500, 502, 503, 504)}
# What must have been met, of each kind of request.
LOST = {"cut_before", "cut_after", "late", "twice_first", "twice_second", "held"}
WANTED = {"put": STATUSES | LOST | {"cut_inside"}, "get": STATUSES | LOST,
          "head": {"stale", "cut_after"}, "list": {"stale", "cut_after"}, "part": {"cut_inside"},
          "complete": {"hollow"}, "create": set(), "delete": {"cut_after", "late"},
          "commit": {name_of(fate) for fate in FATES} - {"pass"}, "load": {"stale", "cut_after"}}


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        home = Lake()
        cls.addClassCleanup(home.__exit__)
        store = Versitygw(home.directory)
        cls.addClassCleanup(store.close)
        catalog = IcebergRest(home.directory, "s3://lake/wh", store=store)
        cls.addClassCleanup(catalog.close)
        cls.servers = store, catalog
        cls.decks = Decks(FIRST)

    def lane(self, name):
        lane = Schedules(self.servers, name, self.decks)
        self.addCleanup(lane.close)
        return lane


class Faults(Case):
    def run_lanes(self, lanes):
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
        self.assertEqual(failures, [], "\n".join(map(str, failures)))

    def test_schedules(self):
        lanes = [self.lane(n) for n in range(min(LANES, COUNT))]
        self.run_lanes(lanes)
        done = sum((lane.done for lane in lanes), collections.Counter())
        kinds = sum((wire.kinds for lane in lanes for wire in lane.wires), collections.Counter())
        outcomes = sum((lane.catalog.outcomes for lane in lanes), collections.Counter())
        met = collections.defaultdict(dict)
        for (kind, name), n in kinds.items():
            met[kind][name] = n
        print(dict(done), *(f"{kind}: {names}" for kind, names in met.items()), dict(outcomes),
              sep="\n")
        if COUNT < 200:
            return
        for kind, wanted in WANTED.items():
            self.assertGreaterEqual(set(met[kind]), wanted, f"{kind}: not all was met")
        self.assertEqual(unmet(outcomes), [], "in no schedule")
        for what in ("agents killed", "committers killed", "both wires faulty"):
            self.assertGreater(done[what], COUNT // 4, what)


class Control(Case):
    """What judges the schedules sees a doubled event, a lost one and a file that is gone."""

    def setUp(self):
        super().setUp()
        self.one = self.lane(self.id().rpartition(".")[2])
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
        os.remove(os.path.join(self.servers[0].folder, path.removeprefix("s3://")))
        self.is_seen()


if __name__ == "__main__":
    unittest.main()
