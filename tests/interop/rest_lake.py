# SPDX-License-Identifier: Apache-2.0
"""A lake whose tables are in a server, and what is done to it over a wire with faults."""
import collections
import glob
import os
import random
import subprocess

from peer import PATIENCE
from faulty_wire import FATES, name_of, unmet

from pyiceberg.catalog import load_catalog

from lake import BUILD, DONE, FAILED, Lake

SCHEDULES = int(os.environ.get("INTEROP_SCHEDULES", "100"))
PER_TABLE = 25  # schedules after which a new namespace begins: a read looks at all files


def line(key):
    return b'{"id":"%s","ts":1767225600000,"device_geo_country":"DE"}\n' % key.encode()


class RestLake(Lake):
    """`folder` is where the warehouse lies on this machine, also if it has another URL; a wire
    before the server gives another `url` than the server's own, `direct`."""

    def __init__(self, url, folder, namespace, warehouse=None, store=None, direct=None):
        super().__init__(tables="openrtb/clicks")
        self.url, self.folder, self.namespace, self.store = url, folder, namespace, store
        self.direct = direct or url
        self.warehouse = warehouse or f"file://{folder}"
        if store:
            self.environment = store.environment()

    def commit_flags(self):
        return ["--warehouse", self.warehouse, "--catalog", f"rest:{self.url}",
                "--namespace", self.namespace, "--catalog-timeout", "30s", "--tables", self.tables]

    def agent_flags(self, spool=None, agent_id="edge-1"):
        return ["--warehouse", self.warehouse, "--spool", spool or self.spool, "--agent-id",
                agent_id, "--tables", self.tables, "--namespace", self.namespace]

    def catalog(self):
        return load_catalog("rest", type="rest", uri=self.direct,
                            **(self.store.for_pyiceberg() if self.store else {}))

    def load(self, table="clicks"):
        return self.catalog().load_table(f"{self.namespace}.{table}")

    def ids(self, table="clicks", column="click_id"):
        found = self.load(table).scan(selected_fields=(column,)).to_arrow()
        return collections.Counter(found.column(column).to_pylist())

    def waiting(self):
        return glob.glob(f"{self.folder}/_bidlake/inbox/{self.namespace}.*/*/*.json")

    def commit_by_two(self):
        """Two committers at once: what each says is not judged, what is in the table is."""
        command = [os.path.join(BUILD, "bidlake-commit"), "once", *self.commit_flags(),
                   "--catalog-timeout", "2s"]
        both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                 env=dict(os.environ, **self.environment))
                for _ in range(2)]
        for process in both:
            _, err = process.communicate(timeout=60 * PATIENCE)
            if process.returncode not in (DONE, FAILED):
                raise AssertionError(f"exit {process.returncode}\n{err.decode()[-3000:]}")


def faults_plan(wire, rng):
    wire.commits.extend(wire.deck.deal() for _ in range(rng.randint(1, 4)))
    wire.loads.extend(rng.choice([("pass",), ("pass",), ("before", 503), ("cut_before",)])
                      for _ in range(rng.randint(0, 4)))


def schedule(case, lake, wire, seed, expected):
    """Some announcements, some faults, two committers until all is taken; then nothing is
    missing and nothing is there twice."""
    rng = random.Random(seed)
    for agent in rng.sample(["edge-1", "edge-2", "edge-3"], rng.randint(1, 3)):
        keys = [f"s{seed}-{agent}-{n}" for n in range(rng.randint(1, 3))]
        lake.ingest("clicks", "-", stdin=b"".join(map(line, keys)), agent_id=agent,
                    spool=lake.path(agent))
        expected.update(keys)
    faults_plan(wire, rng)
    for _ in range(12):
        lake.commit_by_two()
        if rng.random() < 0.5:
            wire.release()
        if not lake.waiting():
            break
    wire.commits.clear()
    wire.loads.clear()
    wire.settle()
    if rng.random() < 0.5:  # else it arrives after commits of schedules to come
        wire.release()
    lake.once()
    case.assertEqual(lake.waiting(), [], f"seed {seed}: not all was taken")
    case.assertEqual(lake.ids(), expected, f"seed {seed}")


def schedules(case, wire, make_lake, count):
    """`count` of them, over tables of lakes that `make_lake(namespace)` gives."""
    lake, expected = None, None
    for seed in range(count):
        if seed % PER_TABLE == 0:
            lake, expected = make_lake(f"s{seed}"), collections.Counter()
            lake.init()
        schedule(case, lake, wire, seed, expected)
        if seed % PER_TABLE == PER_TABLE - 1 or seed == count - 1:
            wire.release()
            case.assertEqual(lake.ids(), expected, f"after seed {seed}")
            lake.table("check", f"{lake.namespace}.clicks")
    print(f"{count} schedules: fates {dict(wire.met)}, outcomes {dict(wire.outcomes)}")
    case.assertGreaterEqual(sum(wire.met.values()), count, "commits that went past the wire")
    if count >= 50:
        case.assertEqual(set(wire.met), {name_of(fate) for fate in FATES})
    if count >= 100:
        case.assertEqual(unmet(wire.outcomes), [], "in no schedule")
