#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prometheus' own tool over what agent and commit service tell, and over the alerts that come along."""
import glob
import os
import re
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

from lake import DONE, ROOT, until  # noqa: E402
from test_port import PortCase  # noqa: E402
from test_run import Case  # noqa: E402

RULES = glob.glob(os.path.join(ROOT, "packaging", "prometheus", "*.rules.yaml"))


def promtool(*arguments, text=None):
    program = shutil.which("promtool")
    if not program:
        raise AssertionError("no promtool: packaging/install-dependencies.sh page")
    ran = subprocess.run([program, *arguments], input=text, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=60, check=False)
    return ran.returncode, ran.stdout.decode("utf-8", "replace")


class Service(PortCase):
    def test_metrics_are_clean(self):
        self.ingest("a")
        self.serve()
        until(lambda: self.metric('bidlake_turn_events_total{table="db.clicks"}') == 1, "a commit")
        self.assertEqual(promtool("check", "metrics", text=self.ask("/metrics")[1].encode()), (0, ""))


class Prometheus(Case):
    def test_metrics_are_clean(self):
        agent = self.start()
        texts = [agent.get("/metrics", agent.operations)[1]]
        agent.post("clicks", b'{"id":"a"}\nnonsense')
        self.lake.agent("flush", "--operations", f"127.0.0.1:{agent.operations}", code=DONE)
        self.lake.once()
        until(lambda: agent.metric("bidlake_commit_events_total") == 1, "a receipt")
        texts.append(agent.get("/metrics", agent.operations)[1])
        for text in texts:
            self.assertEqual(promtool("check", "metrics", text=text), (0, ""))
        # It would say so.
        self.assertNotEqual(promtool("check", "metrics", text=b"x_total{a=\"\"\n")[0], 0)
        agent.stop()

    def test_alerts(self):
        self.assertTrue(RULES)
        code, said = promtool("check", "rules", *RULES)
        self.assertEqual(code, 0, said)
        code, said = promtool("test", "rules", os.path.join(HERE, "alerts.yaml"))
        self.assertEqual(code, 0, said)

    def test_each_alert_was_seen_firing(self):
        """One that can't fire is no alert."""
        with open(os.path.join(HERE, "alerts.yaml"), encoding="utf-8") as file:
            seen = set(re.findall(r'alertname="(\w+)"', file.read()))
        known = set()
        for path in RULES:
            with open(path, encoding="utf-8") as file:
                known |= set(re.findall(r"alert: (\w+)", file.read()))
        self.assertEqual(known - seen, set())


if __name__ == "__main__":
    unittest.main()
