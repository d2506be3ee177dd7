# SPDX-License-Identifier: Apache-2.0
"""The demo as a person runs it: the report is there, and its law can fail."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import lake

TESTS = os.path.join(lake.ROOT, "tests")
REQUESTS = 2000


class Demo(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(dir=os.environ.get("BIDLAKE_TEST_DIR"))
        cls.addClassCleanup(cls.folder.cleanup)
        environment = dict(os.environ, DEMO_EVENTS=str(REQUESTS), DEMO_DIR=cls.folder.name,
                           BIN=lake.BUILD)
        cls.ran = subprocess.run(["sh", os.path.join(TESTS, "demo.sh")], env=environment, text=True,
                                 stdin=subprocess.DEVNULL, capture_output=True, timeout=120)

    def test_report_says_what_became_of_the_events(self):
        # The first thing that a newcomer sees: were it wrong or half, nobody would look further.
        self.assertEqual(self.ran.returncode, 0, self.ran.stdout + self.ran.stderr)
        for words in ("generated = answered = in table", "freshness, from received to queryable: p50",
                      "fill rate", "win rate", "CTR", "CPM", "by country"):
            self.assertIn(words, self.ran.stdout)

    def test_missing_event_is_not_passed_over(self):
        # A report that says "equal" whatever the tables hold would be worse than none.
        path = os.path.join(self.folder.name, "logs", "gen.json")
        with open(path) as text:
            made = json.load(text)
        made["tables"]["bid_requests"]["events"] += 1
        with open(path, "w") as text:
            json.dump(made, text)
        ran = subprocess.run([sys.executable, "-B", os.path.join(TESTS, "demo_report.py"),
                              self.folder.name], text=True, capture_output=True, timeout=120)
        self.assertEqual(ran.returncode, 1, ran.stdout + ran.stderr)
        self.assertIn("is not", ran.stdout)


if __name__ == "__main__":
    unittest.main()
