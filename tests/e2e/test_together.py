# SPDX-License-Identifier: Apache-2.0
"""Several at once: committers in each other's way, agents of one warehouse, ingests beside
turns. Each event is in its table exactly once, whoever was faster."""
import collections
import subprocess
import unittest

import reference
from lake import BUILD, DEADLINE, DONE, Lake, difference, end, generate, read_lines


class Together(unittest.TestCase):
    def setUp(self):
        self.lake = Lake()
        self.addCleanup(self.lake.__exit__)
        self.lake.init()

    def start(self, name, *arguments):
        process = subprocess.Popen([f"{BUILD}/{name}", *arguments], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        self.addCleanup(end, process)
        return process

    def ended(self, process):
        self.assertEqual(process.wait(timeout=DEADLINE), DONE,
                         process.stderr.read().decode("utf-8", "replace")[-2000:])

    def test_two_committers_while_two_agents_ingest(self):
        """Two Lambdas with the same notice, again and again."""
        tables = ["clicks", "impressions"]
        expected, rounds = collections.Counter(), 12
        for number in range(rounds):
            agents = []
            for agent in ("edge-1", "edge-2"):
                lines = []
                for i in range(200):
                    key = f"{agent}-{number}-{i}"
                    expected[key] += 1
                    lines.append(f'{{"id":"{key}","ts":{1767225600000 + i * 1000000}}}\n')
                path = self.lake.write(f"{agent}-{number}.ndjson", "".join(lines))
                flags = self.lake.agent_flags(self.lake.path(f"spool-{agent}"), agent)
                agents.append(self.start("bidlake-agent", "ingest", *flags, "--roll-rows", "50",
                                         tables[number % 2], path))
            running = True
            while running:
                running = any(agent.poll() is None for agent in agents)
                for process in [self.start("bidlake-commit", "once", *self.lake.commit_flags())
                                for _ in range(2)]:
                    self.ended(process)
            for agent in agents:
                self.ended(agent)
        self.assertEqual(self.lake.inbox(), [])
        found = self.lake.ids("clicks", "click_id") + \
            self.lake.ids("impressions", "impression_id")
        self.assertEqual(found, expected)
        self.lake.check(*tables)
        for table in tables:
            rows = self.lake.table_json("ledger", table)
            self.assertEqual(sum(row["next"] for row in rows), rounds * 200)
            self.assertEqual(len({row["stream"] for row in rows}), rounds)

    def test_four_tables_from_one_agent(self):
        """The funnel as production has it: a join over all of it must give what was generated."""
        files = generate(self.lake.path("events"), 3000, seed=11)
        for table, path in files.items():
            self.lake.ingest(table, path, "--roll-rows", "1000")
        self.lake.once()
        for table, path in files.items():
            expected = reference.map_lines(table, read_lines(path)).rows
            text = difference(expected, self.lake.rows(table), reference.columns(table))
            self.assertIsNone(text, text)
        clicks = self.lake.ids("clicks", "impression_id")
        self.assertLessEqual(set(clicks), set(self.lake.ids("impressions", "impression_id")))
        self.assertLessEqual(set(self.lake.ids("impressions", "request_id")),
                             set(self.lake.ids("bid_responses", "request_id")))
        self.assertLessEqual(set(self.lake.ids("bid_responses", "request_id")),
                             set(self.lake.ids("bid_requests", "request_id")))
        self.lake.check()

    def test_init_twice_and_at_once(self):
        """Two services that start on a new warehouse make one table each, not two."""
        lake = Lake()
        self.addCleanup(lake.__exit__)
        processes = [self.start("bidlake-commit", "init", *lake.commit_flags()) for _ in range(3)]
        codes = [process.wait(timeout=DEADLINE) for process in processes]
        self.assertIn(DONE, codes)
        lake.init()
        uuid = lake.load("clicks").metadata.table_uuid
        lake.init()
        self.assertEqual(lake.load("clicks").metadata.table_uuid, uuid)
        lake.ingest("clicks", "-", stdin=b'{"id":"x"}')
        self.assertEqual(lake.once()["taken"], 1)
        lake.check()

    def test_agent_before_init(self):
        """An agent that starts first writes with the preset's ids: nothing of it is lost."""
        lake = Lake()
        self.addCleanup(lake.__exit__)
        lake.ingest("clicks", "-", stdin=b'{"id":"early"}')
        lake.init()
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(lake.ids("clicks", "click_id"), {"early": 1})


if __name__ == "__main__":
    unittest.main()
